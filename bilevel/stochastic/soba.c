/* SPDX-License-Identifier: MIT */
/* soba.c: a gradient step of each of theta, v and eta at the same point, so that every
 * direction is linear in the losses and, on a batch, unbiased (Dagreou, Ablin, Vaiter and
 * Moreau, NeurIPS 2022, arXiv 2201.13409; their v has the other sign):
 *
 *   theta = theta - rate_inner @G/@theta
 *   v     = v - rate_linear (H v - @F/@theta)
 *   eta   = eta - rate_outer (@F/@eta - J^T v)
 *
 * all three with decay. SABA (ibid.) takes each part x of the three by SAGA, from a batch
 * i drawn from the numbered ones,
 *
 *   d = x_i - table_i + mean(table),   then  table_i = x_i,
 *
 * whose variance goes to 0 with the steps, so that rates need not. The first step fills
 * the tables: H v and J^T v are 0 there, as v is. Read next: fsla.c. */
#include <string.h>

#include "single.h"

static const hti_kept soba_kept[] = {{.name = "v"}, {.name = NULL}};

/* Along @G/@theta, H v, @F/@theta and eta's direction. */
static void step_along(ht_single *s, double *v, const double *g, const double *h,
                       hti_point f)
{
    const ht_single_options *o = &s->options;
    hti_add_scaled(s->at.theta, -hti_rate(s, o->rate_inner), g, s->n);
    hti_add_scaled(v, -hti_rate(s, o->rate_linear), h, s->n);
    hti_add_scaled(v, hti_rate(s, o->rate_linear), f.theta, s->n);
    hti_add_scaled(s->at.eta, -hti_rate(s, o->rate_outer), f.eta, s->m);
}

static bool soba_step(ht_single *s)
{
    double *v = s->kept[0], *g = s->work[1].theta, *h = s->work[2].theta;
    hti_point f = s->work[0];
    if (!hti_next_outer(s) || !hti_outer_gradients(s, s->at, f) || !hti_next_inner(s) ||
        !hti_inner_gradient(s, s->at, g) || !hti_hessian(s, s->at, v, h) ||
        !hti_less_mixed(s, s->at, v, f.eta))
        return false;
    step_along(s, v, g, h, f);
    return true;
}

const hti_single_row hti_single_soba = {
    .kind = HT_SOBA,
    .name = "HT_SOBA",
    .needs = HTI_TAKES(rate_inner) | HTI_TAKES(rate_linear) | HTI_TAKES(rate_outer),
    .second = true,
    .kept = soba_kept,
    .work = 3,
    .step = soba_step};

/* SABA. */

/* V: v. The rest, of @G/@theta, H v, -J^T v, @F/@theta and @F/@eta: the means of their
 * tables and, behind them in the same order, the tables. */
enum { V, MEAN, TABLE = MEAN + 5, PARTS = 5 };
static const hti_kept saba_kept[] = {
    {.name = "v"},
    {.name = "mean_inner"},
    {.name = "mean_hessian"},
    {.name = "mean_mixed", .like = HTI_LIKE_ETA},
    {.name = "mean_outer_theta"},
    {.name = "mean_outer_eta", .like = HTI_LIKE_ETA},
    {.name = "inner", .times = HTI_PER_INNER},
    {.name = "hessian", .times = HTI_PER_INNER},
    {.name = "mixed", .like = HTI_LIKE_ETA, .times = HTI_PER_INNER},
    {.name = "outer_theta", .times = HTI_PER_OUTER},
    {.name = "outer_eta", .like = HTI_LIKE_ETA, .times = HTI_PER_OUTER},
    {.name = NULL}};

/* A part's size and number of batches. */
static int64_t part_size(const ht_single *s, int part)
{
    return saba_kept[TABLE + part].like == HTI_LIKE_ETA ? s->m : s->n;
}

static int64_t part_batches(const ht_single *s, int part)
{
    bool inner = saba_kept[TABLE + part].times == HTI_PER_INNER;
    return inner ? s->options.inner_batches : s->options.outer_batches;
}

/* x to its direction; the table's row of this batch, and the mean, by x. */
static void saga(ht_single *s, int part, int64_t batch, double *x)
{
    int64_t n = part_size(s, part);
    double *mean = s->kept[MEAN + part], *row = s->kept[TABLE + part] + batch * n,
           share = 1 / (double)part_batches(s, part);
    for (int64_t k = 0; k < n; k++) {
        double change = x[k] - row[k], direction = change + mean[k];
        mean[k] += share * change;
        row[k] = x[k];
        x[k] = direction;
    }
}

static bool take_inner(ht_single *s, int64_t batch, double *x[PARTS])
{
    if (!hti_inner_batch(s, batch) || !hti_inner_gradient(s, s->at, x[0]) ||
        !hti_hessian(s, s->at, s->kept[V], x[1]))
        return false;
    memset(x[2], 0, (size_t)s->m * sizeof *x[2]);
    if (!hti_less_mixed(s, s->at, s->kept[V], x[2])) return false;
    for (int part = 0; part < 3; part++) saga(s, part, batch, x[part]);
    return true;
}

static bool take_outer(ht_single *s, int64_t batch, double *x[PARTS])
{
    if (!hti_outer_batch(s, batch) ||
        !hti_outer_gradients(s, s->at, (hti_point){x[3], x[4]}))
        return false;
    for (int part = 3; part < PARTS; part++) saga(s, part, batch, x[part]);
    return true;
}

static bool fill_tables(ht_single *s, double *x[PARTS])
{
    for (int64_t j = 0; j < s->options.inner_batches; j++)
        if (!take_inner(s, j, x)) return false;
    for (int64_t j = 0; j < s->options.outer_batches; j++)
        if (!take_outer(s, j, x)) return false;
    return true;
}

/* One of n, by the step alone. */
static int64_t drawn_batch(const ht_single *s, uint64_t of, int64_t n)
{
    uint64_t index = 2 * (uint64_t)*s->count[HTI_STEPS] + of;
    double part = ht_random_uniform(s->ctx->options.seed, ht_stream("saba"), index);
    return (int64_t)(part * (double)n);
}

static bool saba_step(ht_single *s)
{
    double *x[PARTS] = {s->work[0].theta, s->work[1].theta, s->work[0].eta,
                        s->work[2].theta, s->work[1].eta};
    if (*s->count[HTI_STEPS] == 0 && !fill_tables(s, x)) return false;
    if (!take_outer(s, drawn_batch(s, 1, s->options.outer_batches), x) ||
        !take_inner(s, drawn_batch(s, 0, s->options.inner_batches), x))
        return false;
    hti_add_scaled(x[4], 1, x[2], s->m);
    step_along(s, s->kept[V], x[0], x[1], (hti_point){x[3], x[4]});
    return true;
}

const hti_single_row hti_single_saba = {
    .kind = HT_SABA,
    .name = "HT_SABA",
    .needs = HTI_TAKES(rate_inner) | HTI_TAKES(rate_linear) | HTI_TAKES(rate_outer) |
             HTI_TAKES(inner_batches) | HTI_TAKES(outer_batches),
    .second = true,
    .kept = saba_kept,
    .work = 3,
    .step = saba_step};
