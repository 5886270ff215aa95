/* SPDX-License-Identifier: MIT */
/* oracle.c: gradients and products of a single loop, at a point and on the batch at hand,
 * by the programs of the bilevel below. Points are vectors in f64, programs read tensors
 * of the sets' types. Read next: soba.c. */
#include <math.h>
#include <string.h>

#include "single.h"

/* Vectors and tensors. */

static void floats_onto(double *to, const ht_tensor *like, const void *from)
{
    int64_t n = ht_tensor_count(like);
    const double *wide = from;
    const float *narrow = from;
    if (ht_tensor_dtype(like) == HT_F64)
        for (int64_t k = 0; k < n; k++) to[k] += wide[k];
    else
        for (int64_t k = 0; k < n; k++) to[k] += (double)narrow[k];
}

/* A set's tensors, or those like them in a buffer, from a vector. */
static void put(const ht_set *set, unsigned char *buffer, const double *v)
{
    for (int i = 0; i < set->n; i++) {
        const ht_tensor *t = set->tensor[i];
        hti_floats_put(buffer ? buffer : t->array.data, t, v);
        v += ht_tensor_count(t);
        if (buffer) buffer += hti_round_up(ht_tensor_bytes(t), HTI_ALIGN);
    }
}

static void get(double *v, const ht_set *set, const unsigned char *buffer)
{
    for (int i = 0; i < set->n; i++) {
        const ht_tensor *t = set->tensor[i];
        hti_floats_get(v, t, buffer ? buffer : t->array.data);
        v += ht_tensor_count(t);
        if (buffer) buffer += hti_round_up(ht_tensor_bytes(t), HTI_ALIGN);
    }
}

void hti_single_load(ht_single *s)
{
    get(s->at.theta, s->b->problem.theta, NULL);
    get(s->at.eta, s->b->problem.eta, NULL);
}

void hti_single_store(ht_single *s)
{
    const ht_set *set[] = {s->b->problem.theta, s->b->problem.eta};
    put(set[0], NULL, s->at.theta);
    put(set[1], NULL, s->at.eta);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < set[k]->n; i++)
            hti_tensor_write(set[k]->tensor[i], "ht_single_step", NULL);
}

/* Batches. */

/* Numbers also stand in a file, which may hold anything. */
static bool is_number(double number)
{
    return number >= 0 && number < HTI_MAX_STEPS;
}

static bool number_valid(const ht_single *s, int64_t number)
{
    return is_number((double)number) ||
           HTI_REFUSED(s->ctx, HT_ERROR_ARGUMENT,
                       "ht_single_step: batch %lld, but they lie in 0 .. 2^30 - 1",
                       (long long)number);
}

int64_t hti_take(ht_single *s, int of, int64_t n)
{
    double first = *s->count[of];
    *s->count[of] = first + (double)n;
    return is_number(first) ? (int64_t)first : -1;
}

bool hti_inner_batch(ht_single *s, int64_t number)
{
    return number_valid(s, number) && hti_enter_step(s->b, number);
}

bool hti_outer_batch(ht_single *s, int64_t number)
{
    return number_valid(s, number) && hti_enter_outer(s->b, (uint64_t)number);
}

bool hti_next_inner(ht_single *s)
{
    return hti_inner_batch(s, hti_take(s, HTI_INNER, 1));
}

bool hti_next_outer(ht_single *s)
{
    return hti_outer_batch(s, hti_take(s, HTI_OUTER, 1));
}

/* At a point. */

static hti_places places(ht_single *s, hti_point at)
{
    put(s->b->problem.theta, s->theta, at.theta);
    put(s->b->problem.eta, s->eta, at.eta);
    return (hti_places){
        .in = {[HTI_THETA] = s->theta, [HTI_ETA] = s->eta},
        .out = {[HTI_THETA_GRADIENT] = s->of_theta, [HTI_ETA_GRADIENT] = s->of_eta}};
}

static void get_gradients(ht_single *s, hti_point g)
{
    get(g.theta, s->b->problem.theta, s->of_theta);
    get(g.eta, s->b->problem.eta, s->of_eta);
}

bool hti_inner_gradient(ht_single *s, hti_point at, double *g)
{
    hti_places where = places(s, at);
    if (!hti_run_call(s->b, HTI_RESIDUAL, &where, 0)) return false;
    get(g, s->b->problem.theta, s->of_theta);
    return true;
}

bool hti_inner_gradients(ht_single *s, hti_point at, hti_point g)
{
    hti_places where = places(s, at);
    if (!hti_run_call(s->b, HTI_INNER_GRADIENT, &where, 0)) return false;
    get_gradients(s, g);
    return true;
}

bool hti_outer_gradients(ht_single *s, hti_point at, hti_point f)
{
    hti_places where = places(s, at);
    if (!hti_run_loss(s->b, HTI_OUTER_LOSS, &where, 0, &s->outer)) return false;
    get_gradients(s, f);
    return true;
}

static bool run_along(ht_single *s, hti_call_kind kind, hti_point at, const double *v)
{
    hti_places where = places(s, at);
    put(s->b->problem.theta, s->v, v);
    where.in[HTI_THETA_TANGENT] = s->v;
    where.out[HTI_THETA_TANGENT] = s->of_theta;
    return hti_run_call(s->b, kind, &where, 0);
}

bool hti_hessian(ht_single *s, hti_point at, const double *v, double *h)
{
    if (!run_along(s, HTI_PRODUCT, at, v)) return false;
    get(h, s->b->problem.theta, s->of_theta);
    return true;
}

/* The program takes from what the gradient's set holds. */
bool hti_less_mixed(ht_single *s, hti_point at, const double *v, double *d)
{
    ht_set *gradient = s->b->problem.gradient;
    if (!s->b->programs.call[HTI_MIXED].program) return true;
    for (int j = 0; j < gradient->n; j++) ht_tensor_fill(gradient->tensor[j], 0);
    if (!run_along(s, HTI_MIXED, at, v)) return false;
    for (int j = 0; j < gradient->n; j++) {
        floats_onto(d, gradient->tensor[j], gradient->tensor[j]->array.data);
        d += ht_tensor_count(gradient->tensor[j]);
    }
    return true;
}

void hti_point_copy(const ht_single *s, hti_point to, hti_point from)
{
    memcpy(to.theta, from.theta, (size_t)s->n * sizeof *to.theta);
    memcpy(to.eta, from.eta, (size_t)s->m * sizeof *to.eta);
}

double hti_rate(const ht_single *s, double rate)
{
    return rate / pow(1 + *s->count[HTI_STEPS], s->options.decay);
}

double hti_momentum(const ht_single *s)
{
    double fresh = 1 - s->options.momentum;
    return 1 - fresh / pow(1 + *s->count[HTI_STEPS], 2 * s->options.decay);
}
