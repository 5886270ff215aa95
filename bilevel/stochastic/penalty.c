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

const hti_single_row hti_single_f2sa = {
    .kind = HT_F2SA,
    .name = "HT_F2SA",
    .needs = HTI_TAKES(rate_inner) | HTI_TAKES(rate_outer) | HTI_TAKES(penalty) |
             HTI_TAKES(inner_steps),
    .may = HTI_TAKES(growth),
    .kept = f2sa_kept,
    .work = 3,
    .step = f2sa_step};
