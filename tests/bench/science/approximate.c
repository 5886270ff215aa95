/* SPDX-License-Identifier: MIT */
/* approximate.c: hypergradients by differences of gradients after a plain training.
 * Read next: trial.h. */
#include "approximate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct approximate {
    ht_bilevel_problem problem;
    ht_context *ctx;
    ht_optimizer *optimizer;        /* of the last training */
    ht_set *theta, *start, *before; /* theta_T; theta_0; theta_T-1 */
    ht_set *gradient, *outer, *v;   /* of the last step; b; what is gone along */
    ht_set *low, *high;             /* dL/d eta on both sides */
    ht_recording *descend, *judge, *by_eta, *mixed;
};

/* What is recorded. in: theta, eta, a batch, and for `mixed` v. */

static ht_var inner_of(const approximate *a, const ht_vars *const *in)
{
    return a->problem.inner(in[0], in[1], in[2], a->problem.user);
}

static void record_descent(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_vars_backward(inner_of(user, in), in[0], out[0]);
}

static void record_outer(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    const approximate *a = user;
    ht_vars_backward(a->problem.outer(in[0], in[1], in[2], a->problem.user), in[0],
                     out[0]);
}

static void record_by_eta(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_vars_backward(inner_of(user, in), in[1], out[0]);
}

enum { MOST_TENSORS = 8 };

static void record_mixed(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_var g[MOST_TENSORS], sum = ht_number(0);
    ht_vars_grad(inner_of(user, in), in[0], g);
    for (int i = 0; i < ht_vars_count(in[0]); i++)
        sum = ht_add(sum, ht_sum(ht_mul(g[i], ht_vars_at(in[3], i))));
    ht_vars_backward(sum, in[1], out[0]);
}

approximate *approximate_new(const ht_bilevel_problem *problem)
{
    approximate *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->problem = *problem;
    a->ctx = ht_set_context(problem->theta);
    ht_set **const of_theta[] = {&a->theta,    &a->start, &a->before,
                                 &a->gradient, &a->outer, &a->v};
    for (int i = 0; i < 6; i++) *of_theta[i] = ht_set_clone(problem->theta, 0);
    a->low = ht_set_clone(problem->eta, 0);
    a->high = ht_set_clone(problem->eta, 0);
    ht_set *theta = a->theta, *eta = problem->eta;
    const ht_set *inner[] = {theta, eta, problem->inner_data, NULL},
                 *outer[] = {theta, eta, problem->outer_data, NULL},
                 *with_v[] = {theta, eta, problem->inner_data, a->v, NULL};
    ht_set *to[][2] = {{a->gradient}, {a->outer}, {a->low}, {a->low}};
    a->descend = ht_recording_new(inner, to[0], record_descent, a);
    a->judge = ht_recording_new(outer, to[1], record_outer, a);
    a->by_eta = ht_recording_new(inner, to[2], record_by_eta, a);
    a->mixed = ht_recording_new(with_v, to[3], record_mixed, a);
    if (lab_good(a->ctx, "approximate")) return a;
    approximate_free(a);
    return NULL;
}

void approximate_free(approximate *a)
{
    if (!a) return;
    ht_recording *const recordings[] = {a->descend, a->judge, a->by_eta, a->mixed};
    for (int i = 0; i < 4; i++) ht_recording_free(recordings[i]);
    ht_optimizer_free(a->optimizer);
    ht_set *const sets[] = {a->theta, a->start, a->before, a->gradient,
                            a->outer, a->v,     a->low,    a->high};
    for (int i = 0; i < 8; i++) ht_set_free(sets[i]);
    free(a);
}

bool approximate_train(approximate *a)
{
    ht_optimizer_free(a->optimizer);
    ht_set_copy(a->theta, a->problem.theta);
    a->optimizer = ht_optimizer_new(a->theta, &a->problem.update);
    for (int64_t t = 0; a->optimizer && t < a->problem.steps; t++) {
        if (t + 1 == a->problem.steps) ht_set_copy(a->before, a->theta);
        ht_recording_run(a->descend, (int32_t)t);
        ht_optimizer_step(a->optimizer, a->gradient);
    }
    ht_recording_run(a->judge, (int32_t)a->problem.steps);
    return lab_good(a->ctx, "a plain training");
}

/* eta's names, minus the gradient, times `scale`. */
static void put(const ht_set *from, double scale, ht_set *to)
{
    for (int i = 0; i < ht_set_count(to); i++) ht_tensor_fill(ht_set_at(to, i), 0);
    ht_set_axpy(scale, from, to);
}

bool approximate_identity(approximate *a, ht_set *to)
{
    ht_set_copy(a->v, a->outer);
    ht_recording_run(a->mixed, 0);
    put(a->low, -1, to);
    return lab_good(a->ctx, "identity");
}

/* -scale (dL/d eta(at + e v) - dL/d eta(at - e v)) / 2e, e |v| = alpha, theta left at
 * theta_T */
static bool difference(approximate *a, const ht_set *at, double alpha, double scale,
                       ht_set *to)
{
    double e = alpha / lab_norm(a->v);
    ht_set_copy(a->start, a->theta);
    ht_set_copy(a->theta, at == a->theta ? a->start : at);
    ht_set_axpy(e, a->v, a->theta);
    ht_recording_run(a->by_eta, 0);
    ht_set_copy(a->high, a->low);
    ht_set_axpy(-2 * e, a->v, a->theta);
    ht_recording_run(a->by_eta, 0);
    ht_set_copy(a->theta, a->start);
    put(a->high, -scale / (2 * e), to);
    ht_set_axpy(scale / (2 * e), a->low, to);
    return lab_good(a->ctx, "a difference of gradients");
}

bool approximate_darts(approximate *a, ht_set *to)
{
    ht_set_copy(a->v, a->outer);
    return difference(a, a->before, 0.01, a->problem.update.rate.value, to);
}

/* v = (du/dg) b of Adam's last step, with u = sqrt v its state. */
static void adapt(approximate *a)
{
    const ht_update *rule = &a->problem.update;
    double beta1 = rule->momentum.value, beta2 = rule->beta2.value;
    double t = (double)a->problem.steps, right1 = 1 - pow(beta1, t),
           right2 = sqrt(1 - pow(beta2, t));
    char name[64];
    for (int i = 0; i < ht_set_count(a->v); i++) {
        const ht_set *state = ht_optimizer_state(a->optimizer);
        snprintf(name, sizeof name, "%s.m", ht_set_name(a->v, i));
        const ht_tensor *m = ht_set_at(state, ht_set_find(state, name));
        snprintf(name, sizeof name, "%s.u", ht_set_name(a->v, i));
        const ht_tensor *u = ht_set_at(state, ht_set_find(state, name));
        for (int64_t k = 0; k < ht_tensor_count(m); k++) {
            double g = ht_tensor_get(ht_set_at(a->gradient, i), k);
            double root = ht_tensor_get(u, k), old = root * root - (1 - beta2) * g * g;
            double m_old = ht_tensor_get(m, k) - (1 - beta1) * g;
            double slope = (1 - beta1) * old - (1 - beta2) * g * m_old;
            slope /= right1 * right2 * right2 * pow(root / right2 + rule->eps.value, 3);
            ht_tensor *v = ht_set_at(a->v, i);
            ht_tensor_set(v, k, rule->rate.value * slope * ht_tensor_get(v, k));
        }
    }
}

bool approximate_sama(approximate *a, double alpha, ht_set *to)
{
    ht_set_copy(a->v, a->outer);
    if (a->problem.update.rule == &ht_adam) adapt(a);
    return difference(a, a->theta, alpha, 1, to);
}
