/* SPDX-License-Identifier: MIT */
/* forward.c: forward mode: one tangent of (theta, s) per element of eta, carried along
 * with the training. Work grows with the elements, memory not with the steps; and since
 * it shares no derivative with the reverse sweep, it is its independent check. Read next:
 * check.c. */
#include <math.h>
#include <string.h>

#include "bilevel_internal.h"

/* Two tangents per element (read one, write the other), and one direction of eta. */
size_t hti_forward_bytes(const ht_bilevel *b)
{
    if (b->method != HT_FORWARD) return 0;
    size_t state = hti_set_room(b->theta) + hti_set_room(b->state);
    return 2 * (size_t)ht_set_elements(b->eta) * state + hti_set_room(b->eta);
}

static unsigned char *hti_tangent(const ht_bilevel *b, int64_t element, int which)
{
    return b->tangents + hti_set_room(b->eta) +
           (size_t)(2 * element + which) * b->block_bytes;
}

/* Sets direction `element` of eta, in order, to value. */
static void hti_set_direction(ht_bilevel *b, int64_t element, double value)
{
    unsigned char *at = b->tangents;
    for (int j = 0; j < b->eta->n; j++) {
        const ht_tensor *t = b->eta->tensor[j];
        int64_t n = ht_tensor_count(t);
        if (element < n) {
            if (ht_tensor_dtype(t) == HT_F64)
                ((double *)(void *)at)[element] = value;
            else
                ((float *)(void *)at)[element] = (float)value;
            return;
        }
        element -= n;
        at += hti_round_up(ht_tensor_bytes(t), HTI_ALIGN);
    }
}

static bool hti_tangent_initial(ht_bilevel *b, int64_t element)
{
    hti_call *c = &b->call[HTI_INITIAL_TANGENT];
    memset(hti_tangent(b, element, 0), 0, b->block_bytes);
    void **in = hti_point_set(hti_point_set(c->in, b->eta), b->theta);
    hti_point_room(in, b->eta, b->tangents);
    hti_point_room(c->out, b->theta, hti_tangent(b, element, 0));
    hti_set_direction(b, element, 1);
    bool ok = hti_run_call(b, c, 0);
    hti_set_direction(b, element, 0);
    return ok;
}

/* The tangent of one step, at the state the step starts from. */
static bool hti_tangent_step(ht_bilevel *b, int64_t element, int64_t step)
{
    hti_call *c = &b->call[HTI_TANGENT];
    int which = (int)(step & 1);
    void **in = hti_point_block(b, c->in, hti_block(b, b->current));
    in = hti_point_set(hti_point_set(in, b->eta), b->inner_data);
    *in++ = &b->step;
    in = hti_point_block(b, in, hti_tangent(b, element, which));
    hti_point_room(in, b->eta, b->tangents);
    hti_point_block(b, c->out, hti_tangent(b, element, !which));
    hti_set_direction(b, element, 1);
    bool ok = hti_run_call(b, c, step);
    hti_set_direction(b, element, 0);
    return ok;
}

/* The largest tangent of theta after the step before state `step`. */
static double hti_tangent_largest(ht_bilevel *b, int64_t step)
{
    double largest = 0;
    for (int64_t e = 0, n = ht_set_elements(b->eta); e < n; e++) {
        hti_point_room(b->cotangent, b->theta, hti_tangent(b, e, (int)(step & 1)));
        double here = hti_largest(b->theta, b->cotangent);
        if (here > largest || isnan(here)) largest = here;
    }
    return largest;
}

/* <dF/dtheta, tangent>, in f64. */
static double hti_tangent_dot(const ht_bilevel *b, const unsigned char *gradient,
                              const unsigned char *tangent)
{
    double sum = 0;
    size_t at = 0;
    for (int i = 0; i < b->theta->n; i++) {
        const ht_tensor *t = b->theta->tensor[i];
        const void *x = gradient + at, *y = tangent + at;
        for (int64_t k = 0, n = ht_tensor_count(t); k < n; k++)
            sum += ht_tensor_dtype(t) == HT_F64
                       ? ((const double *)x)[k] * ((const double *)y)[k]
                       : (double)((const float *)x)[k] * (double)((const float *)y)[k];
        at += hti_round_up(ht_tensor_bytes(t), HTI_ALIGN);
    }
    return sum;
}

static void hti_forward_gradient(ht_bilevel *b)
{
    int64_t element = 0;
    int which = (int)(b->problem.steps & 1);
    for (int j = 0; j < b->eta->n; j++) {
        ht_tensor *t = b->gradient->tensor[j];
        for (int64_t k = 0, n = ht_tensor_count(t); k < n; k++, element++)
            ht_tensor_set(
                t, k,
                ht_tensor_get(t, k) +
                    hti_tangent_dot(b, b->room[0], hti_tangent(b, element, which)));
    }
}

bool hti_forward_run(ht_bilevel *b, uint64_t outer_step)
{
    int64_t n = ht_set_elements(b->eta);
    memset(b->tangents, 0, hti_set_room(b->eta));
    bool ok = hti_run_initial(b);
    for (int64_t e = 0; ok && e < n; e++) {
        if (b->first == 0)
            ok = hti_tangent_initial(b, e);
        else
            memset(hti_tangent(b, e, (int)(b->first & 1)), 0, b->block_bytes);
    }
    for (int64_t t = 0; ok && t < b->problem.steps; t++) {
        ok = hti_fill_inner(b, t);
        b->step = (int32_t)t;
        for (int64_t e = 0; ok && t >= b->first && e < n; e++)
            ok = hti_tangent_step(b, e, t);
        b->result.reverse_steps += t >= b->first;
        if (ok && t >= b->first && (t == b->first || hti_growth_due(b, t + 1 - b->first)))
            hti_growth_look(b, hti_tangent_largest(b, t + 1), t + 1);
        ok = ok && hti_run_step(b, t);
    }
    b->result.inner_seconds = hti_seconds() - b->started;
    ok = ok && hti_run_losses(b, outer_step, b->room[0]);
    if (ok) hti_forward_gradient(b);
    return ok;
}
