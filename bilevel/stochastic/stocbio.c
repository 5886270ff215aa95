/* SPDX-License-Identifier: MIT */
/* stocbio.c: inner steps before each step of eta, and H^-1 @F/@theta by many products.
 *
 * stocBiO (Ji, Yang and Liang, ICML 2021, arXiv 2010.07962) sums a Neumann series afresh,
 * each product on a batch of its own, at theta after inner_steps of descent:
 *
 *   r = @F/@theta,  v = rate r,   linear_steps times  r = r - rate H r,  v = v + rate r
 *   eta = eta - rate_outer (@F/@eta - J^T v),                     rate = rate_linear
 *
 * so that its v is off by (1 - rate H)^(linear_steps + 1) H^-1 @F/@theta. AmIGO (Arbel
 * and Mairal, ICLR 2022, arXiv 2111.14580) lets v go on from step to step instead:
 *
 *   linear_steps times  v = v - rate_linear (H v - @F/@theta)
 *
 * with which no such error is left. Rates decay but for the series' own.
 * Read next: recursive.c. */
#include <string.h>

#include "single.h"

/* Means over batches. */

typedef bool (*part_fn)(ht_single *s, hti_point at, const double *x, double *y);

static bool gradient_part(ht_single *s, hti_point at, const double *x, double *y)
{
    (void)x;
    return hti_inner_gradient(s, at, y);
}

static bool mixed_part(ht_single *s, hti_point at, const double *x, double *y)
{
    memset(y, 0, (size_t)s->m * sizeof *y);
    return hti_less_mixed(s, at, x, y);
}

/* y += the mean of the part over inner batches first .. first + n - 1. */
static bool add_mean(ht_single *s, part_fn part, hti_point at, const double *x,
                     int64_t first, int64_t n, double *y)
{
    bool eta = part == mixed_part;
    double *one = eta ? s->work[5].eta : s->work[5].theta;
    for (int64_t j = 0; j < n; j++) {
        if (!hti_inner_batch(s, first + j) || !part(s, at, x, one)) return false;
        hti_add_scaled(y, 1 / (double)n, one, eta ? s->m : s->n);
    }
    return true;
}

static bool mean_outer(ht_single *s, hti_point at, hti_sample of, hti_point f)
{
    hti_point one = s->work[5];
    memset(f.theta, 0, (size_t)s->n * sizeof *f.theta);
    memset(f.eta, 0, (size_t)s->m * sizeof *f.eta);
    for (int64_t j = 0; j < of.n_outer; j++) {
        if (!hti_outer_batch(s, of.outer + j) || !hti_outer_gradients(s, at, one))
            return false;
        hti_add_scaled(f.theta, 1 / (double)of.n_outer, one.theta, s->n);
        hti_add_scaled(f.eta, 1 / (double)of.n_outer, one.eta, s->m);
    }
    return true;
}

bool hti_mean_gradient(ht_single *s, hti_point at, hti_sample of, double *g)
{
    memset(g, 0, (size_t)s->n * sizeof *g);
    return add_mean(s, gradient_part, at, NULL, of.inner, of.n_inner, g);
}

/* One batch a product, or all of them in each. */
bool hti_series(ht_single *s, hti_point at, hti_sample of, double *d)
{
    double *r = s->work[3].theta, *v = s->work[4].theta, *h = s->work[2].theta,
           rate = s->options.rate_linear;
    int64_t first = of.inner;
    if (!mean_outer(s, at, of, (hti_point){r, d})) return false;
    memset(v, 0, (size_t)s->n * sizeof *v);
    hti_add_scaled(v, rate, r, s->n);
    for (int64_t i = 0; i < s->options.linear_steps; i++) {
        memset(h, 0, (size_t)s->n * sizeof *h);
        if (!add_mean(s, hti_hessian, at, r, first, of.n_inner, h)) return false;
        if (of.n_inner == 1) first++;
        hti_add_scaled(r, -rate, h, s->n);
        hti_add_scaled(v, rate, r, s->n);
    }
    return add_mean(s, mixed_part, at, v, first, of.n_inner, d);
}

hti_sample hti_sample_next(ht_single *s)
{
    int64_t inner = hti_take(s, HTI_INNER, s->options.linear_steps + 1);
    return (hti_sample){inner, 1, hti_take(s, HTI_OUTER, 1), 1};
}

/* Steps. */

static bool descend(ht_single *s)
{
    double *g = s->work[0].theta, rate = hti_rate(s, s->options.rate_inner);
    for (int64_t t = 0; t < s->options.inner_steps; t++) {
        if (!hti_next_inner(s) || !hti_inner_gradient(s, s->at, g)) return false;
        hti_add_scaled(s->at.theta, -rate, g, s->n);
    }
    return true;
}

static bool stocbio_step(ht_single *s)
{
    double *d = s->work[0].eta;
    if (!descend(s) || !hti_series(s, s->at, hti_sample_next(s), d)) return false;
    hti_add_scaled(s->at.eta, -hti_rate(s, s->options.rate_outer), d, s->m);
    return true;
}

static const hti_kept amigo_kept[] = {{.name = "v"}, {.name = NULL}};

static bool amigo_step(ht_single *s)
{
    double *v = s->kept[0], *h = s->work[0].theta,
           rate = hti_rate(s, s->options.rate_linear);
    hti_point f = s->work[1];
    if (!descend(s) || !hti_next_outer(s) || !hti_outer_gradients(s, s->at, f))
        return false;
    for (int64_t t = 0; t < s->options.linear_steps; t++) {
        if (!hti_next_inner(s) || !hti_hessian(s, s->at, v, h)) return false;
        hti_add_scaled(v, -rate, h, s->n);
        hti_add_scaled(v, rate, f.theta, s->n);
    }
    if (!hti_next_inner(s) || !hti_less_mixed(s, s->at, v, f.eta)) return false;
    hti_add_scaled(s->at.eta, -hti_rate(s, s->options.rate_outer), f.eta, s->m);
    return true;
}

#define NEEDS                                                                 \
    (HTI_TAKES(rate_inner) | HTI_TAKES(rate_linear) | HTI_TAKES(rate_outer) | \
     HTI_TAKES(inner_steps) | HTI_TAKES(linear_steps))

const hti_single_row hti_single_stocbio = {.kind = HT_STOCBIO,
                                           .name = "HT_STOCBIO",
                                           .needs = NEEDS,
                                           .second = true,
                                           .work = 6,
                                           .step = stocbio_step};

const hti_single_row hti_single_amigo = {.kind = HT_AMIGO,
                                         .name = "HT_AMIGO",
                                         .needs = NEEDS,
                                         .second = true,
                                         .kept = amigo_kept,
                                         .work = 2,
                                         .step = amigo_step};
