/* SPDX-License-Identifier: MIT */
/* forward.c: forward mode: one tangent of (theta, s) per element of eta, carried along
 * with the training. Work grows with the elements, memory not with the steps; and since
 * it shares no derivative with the reverse sweep, it is its independent check. Read next:
 * check.c. */
#include <math.h>
#include <string.h>

#include "unroll.h"

/* Two tangents per element: one is read, the other written. The direction of eta they are
 * along stands in the gradient set, which is free until the outer loss. */
static unsigned char *tangent_at(const ht_bilevel *b, int64_t element, int64_t step)
{
    return b->memory.own + (size_t)(2 * element + (step & 1)) * b->memory.block_bytes;
}

static hti_room forward_room(const ht_bilevel *b, hti_choice c)
{
    (void)c;
    size_t n = (size_t)ht_set_elements(b->problem.eta);
    return (hti_room){.blocks = 2, .cotangents = 1, .own = 2 * n * b->memory.block_bytes};
}

/* Along element `element` of eta, counted through all of its tensors. */
static bool run_direction(ht_bilevel *b, hti_call_kind kind, const hti_places *at,
                          int64_t element, int64_t step)
{
    ht_tensor **direction = b->problem.gradient->tensor;
    for (; element >= ht_tensor_count(*direction); direction++)
        element -= ht_tensor_count(*direction);
    ht_tensor_set(*direction, element, 1);
    bool ok = hti_run_call(b, kind, at, step);
    ht_tensor_set(*direction, element, 0);
    return ok;
}

/* A truncated run begins with tangents of 0 at its first step, and so does one that goes
 * on from what was committed. */
static bool tangent_initial(ht_bilevel *b, int64_t element)
{
    unsigned char *to = tangent_at(b, element, b->problem.first);
    memset(to, 0, b->memory.block_bytes);
    if (b->problem.first > 0 || b->problem.begun) return true;
    hti_places at = {.out = {[HTI_THETA_TANGENT] = to}};
    return run_direction(b, HTI_INITIAL_TANGENT, &at, element, 0);
}

/* The tangent of one step, at the state the step starts from. */
static bool tangent_step(ht_bilevel *b, int64_t element, int64_t step)
{
    hti_places at = {.in = {[HTI_THETA] = hti_block(b, b->run.current),
                            [HTI_THETA_TANGENT] = tangent_at(b, element, step)},
                     .out = {[HTI_THETA_TANGENT] = tangent_at(b, element, step + 1)}};
    return run_direction(b, HTI_TANGENT, &at, element, step);
}

/* The largest tangent of theta at a state. */
static double tangent_largest(ht_bilevel *b, int64_t step)
{
    double largest = 0;
    for (int64_t e = 0, n = ht_set_elements(b->problem.eta); e < n; e++) {
        unsigned char *tangent = tangent_at(b, e, step);
        hti_point_buffer(b->run.cotangent, b->problem.theta, &tangent);
        double here = hti_largest(b->problem.theta, b->run.cotangent);
        if (here > largest || isnan(here)) largest = here;
    }
    return largest;
}

/* <dF/dtheta, tangent>, in f64. */
static double tangent_dot(const ht_set *theta, const unsigned char *gradient,
                          const unsigned char *tangent)
{
    double sum = 0;
    size_t at = 0;
    for (int i = 0; i < theta->n; i++) {
        const ht_tensor *t = theta->tensor[i];
        const void *x = gradient + at, *y = tangent + at;
        for (int64_t k = 0, n = ht_tensor_count(t); k < n; k++)
            sum += ht_tensor_dtype(t) == HT_F64
                       ? ((const double *)x)[k] * ((const double *)y)[k]
                       : (double)((const float *)x)[k] * (double)((const float *)y)[k];
        at += hti_round_up(ht_tensor_bytes(t), HTI_ALIGN);
    }
    return sum;
}

static void add_gradient(ht_bilevel *b)
{
    const hti_problem *p = &b->problem;
    int64_t element = 0;
    for (int j = 0; j < p->eta->n; j++) {
        ht_tensor *t = p->gradient->tensor[j];
        for (int64_t k = 0, n = ht_tensor_count(t); k < n; k++, element++)
            ht_tensor_set(t, k,
                          ht_tensor_get(t, k) +
                              tangent_dot(p->theta, b->memory.cotangents[0],
                                          tangent_at(b, element, p->steps)));
    }
}

/* All tangents through a step that is differentiated, then the step. */
static bool run_both(ht_bilevel *b, int64_t step)
{
    int64_t first = b->problem.first, n = ht_set_elements(b->problem.eta);
    if (step < first) return hti_run_step(b, step);
    bool ok = hti_enter_step(b, step);
    for (int64_t e = 0; ok && e < n; e++) ok = tangent_step(b, e, step);
    b->run.result.reverse_steps++;
    if (ok && (step == first || hti_growth_due(b, step + 1 - first)))
        hti_growth_look(b, tangent_largest(b, step + 1), step + 1);
    return ok && hti_run_step(b, step);
}

static bool forward_run(ht_bilevel *b, uint64_t outer_step)
{
    const hti_problem *p = &b->problem;
    int64_t n = ht_set_elements(p->eta);
    for (int j = 0; j < p->eta->n; j++) ht_tensor_fill(p->gradient->tensor[j], 0);
    bool ok = hti_run_initial(b);
    for (int64_t e = 0; ok && e < n; e++) ok = tangent_initial(b, e);
    for (int64_t t = 0; ok && t < p->steps; t++) ok = run_both(b, t);
    b->run.result.inner_seconds = hti_seconds() - b->run.started;
    ok = ok && hti_run_losses(b, outer_step);
    if (ok) add_gradient(b);
    return ok;
}

static void forward_tell(const ht_bilevel *b, FILE *f)
{
    fprintf(f, "run       %lld steps, with %lld tangents each, and no state kept\n",
            (long long)b->problem.steps, (long long)ht_set_elements(b->problem.eta));
}

static void forward_refuse(const ht_bilevel *b, const ht_bilevel_options *o)
{
    char what[64];
    snprintf(what, sizeof what, "forward mode over %lld outer elements",
             (long long)ht_set_elements(b->problem.eta));
    hti_refuse(b, o, what);
}

const hti_method hti_method_forward = {.kind = HT_FORWARD,
                                       .name = "HT_FORWARD",

                                       .fits = hti_slots_fit,
                                       .record_initial = hti_record_initial_tangent,
                                       .record = hti_record_tangent,
                                       .room = forward_room,
                                       .refuse = forward_refuse,
                                       .run = forward_run,
                                       .explain = hti_unroll_explain,
                                       .tell = forward_tell};
