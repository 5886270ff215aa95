/* SPDX-License-Identifier: MIT */
/* penalty.c: methods by gradients alone, which minimise F + lambda (G - min G) over
 * theta and eta. Its derivative by eta needs none of the minimum's,
 *
 *   d/d eta = @F/@eta + lambda (@G/@eta at theta - @G/@eta at z),   z = argmin G,
 *
 * and the hypergradient is its limit for a lambda without bound, the error O(1/lambda).
 *
 * F2SA (Kwon, Kwon, Wright and Nowak, ICML 2023, arXiv 2301.10945):
 *   inner_steps times  z     = z - rate_inner @G/@theta(z)
 *                      theta = theta - rate_inner / lambda (@F/@theta + lambda @G/@theta)
 *   eta = eta - rate_outer d/d eta
 * with lambda = penalty (1 + k)^growth. theta and z see the same inner batches.
 *
 * V-PBGD (Shen and Chen, ICML 2023, arXiv 2302.05185): z comes from theta in each step by
 * inner_steps of rate_inner, then with q = G(theta, eta) - G(z, eta), z held fixed,
 *   (theta, eta) = (theta, eta) - rate_outer (dF + lambda dq),   lambda as above
 *
 * BOME (Liu, Ye, Wright, Stone and Liu, NeurIPS 2022, arXiv 2209.08709): the same, but
 *   lambda = max(penalty - <dF, dq> / |dq|^2, 0),
 * the least with which q falls at the rate penalty |dq|^2.
 * Read next: the table of README.md. */
#include <math.h>
#include <string.h>

#include "single.h"

static double penalty(const ht_single *s)
{
    return s->options.penalty * pow(1 + *s->count[HTI_STEPS], s->options.growth);
}

static hti_point beside(const ht_single *s, double *z)
{
    return (hti_point){z, s->at.eta};
}

static const hti_kept f2sa_kept[] = {{.name = "z"}, {.name = NULL}};

static bool f2sa_inner(ht_single *s, double *z)
{
    hti_point f = s->work[0];
    double *g = s->work[1].theta, rate = hti_rate(s, s->options.rate_inner);
    if (!hti_next_outer(s) || !hti_outer_gradients(s, s->at, f) || !hti_next_inner(s) ||
        !hti_inner_gradient(s, beside(s, z), g))
        return false;
    hti_add_scaled(z, -rate, g, s->n);
    if (!hti_inner_gradient(s, s->at, g)) return false;
    hti_add_scaled(s->at.theta, -rate / penalty(s), f.theta, s->n);
    hti_add_scaled(s->at.theta, -rate, g, s->n);
    return true;
}

static bool f2sa_step(ht_single *s)
{
    double *z = s->kept[0], lambda = penalty(s),
           rate = hti_rate(s, s->options.rate_outer);
    hti_point f = s->work[0], g = s->work[1], least = s->work[2];
    if (*s->count[HTI_STEPS] == 0) memcpy(z, s->at.theta, (size_t)s->n * sizeof *z);
    for (int64_t t = 0; t < s->options.inner_steps; t++)
        if (!f2sa_inner(s, z)) return false;
    if (!hti_next_outer(s) || !hti_outer_gradients(s, s->at, f) || !hti_next_inner(s) ||
        !hti_inner_gradients(s, s->at, g) || !hti_inner_gradients(s, beside(s, z), least))
        return false;
    hti_add_scaled(s->at.eta, -rate, f.eta, s->m);
    hti_add_scaled(s->at.eta, -rate * lambda, g.eta, s->m);
    hti_add_scaled(s->at.eta, rate * lambda, least.eta, s->m);
    return true;
}

/* dF and dq at the point at hand, on fresh batches. */
static bool gap(ht_single *s, hti_point f, hti_point q)
{
    hti_point z = beside(s, s->work[2].theta), g = s->work[3];
    double rate = s->options.rate_inner; /* z begins anew, and must get as far */
    memcpy(z.theta, s->at.theta, (size_t)s->n * sizeof *z.theta);
    for (int64_t t = 0; t < s->options.inner_steps; t++) {
        if (!hti_next_inner(s) || !hti_inner_gradient(s, z, g.theta)) return false;
        hti_add_scaled(z.theta, -rate, g.theta, s->n);
    }
    if (!hti_next_outer(s) || !hti_outer_gradients(s, s->at, f) || !hti_next_inner(s) ||
        !hti_inner_gradients(s, s->at, q) || !hti_inner_gradients(s, z, g))
        return false;
    hti_add_scaled(q.eta, -1, g.eta, s->m);
    return true;
}

static bool pbgd_step(ht_single *s)
{
    hti_point f = s->work[0], q = s->work[1];
    double rate = hti_rate(s, s->options.rate_outer);
    if (!gap(s, f, q)) return false;
    hti_add_scaled(s->at.theta, -rate, f.theta, s->n + s->m);
    hti_add_scaled(s->at.theta, -rate * penalty(s), q.theta, s->n + s->m);
    return true;
}

static bool bome_step(ht_single *s)
{
    hti_point f = s->work[0], q = s->work[1];
    int64_t n = s->n + s->m;
    double rate = hti_rate(s, s->options.rate_outer);
    if (!gap(s, f, q)) return false;
    double square = hti_dot(q.theta, q.theta, n), along = hti_dot(f.theta, q.theta, n);
    double lambda = square > 0 ? fmax(s->options.penalty - along / square, 0) : 0;
    hti_add_scaled(s->at.theta, -rate, f.theta, n);
    hti_add_scaled(s->at.theta, -rate * lambda, q.theta, n);
    return true;
}

#define NEEDS                                                             \
    (HTI_TAKES(rate_inner) | HTI_TAKES(rate_outer) | HTI_TAKES(penalty) | \
     HTI_TAKES(inner_steps))

const hti_single_row hti_single_f2sa = {.kind = HT_F2SA,
                                        .name = "HT_F2SA",
                                        .needs = NEEDS,
                                        .may = HTI_TAKES(growth),
                                        .kept = f2sa_kept,
                                        .work = 3,
                                        .step = f2sa_step};

const hti_single_row hti_single_bome = {
    .kind = HT_BOME, .name = "HT_BOME", .needs = NEEDS, .work = 4, .step = bome_step};

const hti_single_row hti_single_pbgd = {.kind = HT_PBGD,
                                        .name = "HT_PBGD",
                                        .needs = NEEDS,
                                        .may = HTI_TAKES(growth),
                                        .work = 4,
                                        .step = pbgd_step};
