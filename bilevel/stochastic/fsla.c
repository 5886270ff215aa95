/* SPDX-License-Identifier: MIT */
/* fsla.c: SOBA's steps of theta and v, and for eta a direction with the memory of a
 * recursive momentum (Li, Gu and Huang, AAAI 2022, "A fully single loop algorithm for
 * bilevel optimization without Hessian inverse"). With h(p) = @F/@eta - J^T v at
 * p = (theta, v, eta), on the batches of step k,
 *
 *   d = h(p_k) + momentum_k (d - h(p_k-1)),   eta = eta - rate_outer d
 *
 * where 1 - momentum_k = (1 - momentum) / (1 + k)^(2 decay). Read next: stocbio.c. */
#include <string.h>

#include "single.h"

enum { V, V_BEFORE, THETA_BEFORE, ETA_BEFORE, DIRECTION };
static const hti_kept fsla_kept[] = {{.name = "v"},
                                     {.name = "v_before"},
                                     {.name = "theta_before"},
                                     {.name = "eta_before", .like = HTI_LIKE_ETA},
                                     {.name = "direction", .like = HTI_LIKE_ETA},
                                     {.name = NULL}};

/* h to f.eta, @F/@theta to f.theta; the inner batch is then at hand. */
static bool estimate(ht_single *s, hti_point at, const double *v, const int64_t batch[2],
                     hti_point f)
{
    return hti_outer_batch(s, batch[1]) && hti_outer_gradients(s, at, f) &&
           hti_inner_batch(s, batch[0]) && hti_less_mixed(s, at, v, f.eta);
}

static hti_point before(const ht_single *s)
{
    return (hti_point){s->kept[THETA_BEFORE], s->kept[ETA_BEFORE]};
}

/* d without the last point's part, which is the fresh one in the first step. */
static bool fade(ht_single *s, const int64_t batch[2])
{
    hti_point f = s->work[1];
    if (*s->count[HTI_STEPS] == 0) return true;
    if (!estimate(s, before(s), s->kept[V_BEFORE], batch, f)) return false;
    hti_add_scaled(s->kept[DIRECTION], -1, f.eta, s->m);
    hti_scale(s->kept[DIRECTION], hti_momentum(s), s->m);
    return true;
}

static bool fsla_step(ht_single *s)
{
    double *v = s->kept[V], *g = s->work[2].theta, *h = s->work[3].theta,
           rate = hti_rate(s, s->options.rate_linear);
    hti_point f = s->work[0];
    int64_t batch[2] = {hti_take(s, HTI_INNER, 1), hti_take(s, HTI_OUTER, 1)};
    if (!fade(s, batch) || !estimate(s, s->at, v, batch, f) ||
        !hti_inner_gradient(s, s->at, g) || !hti_hessian(s, s->at, v, h))
        return false;
    hti_point_copy(s, before(s), s->at);
    memcpy(s->kept[V_BEFORE], v, (size_t)s->n * sizeof *v);
    hti_add_scaled(s->kept[DIRECTION], 1, f.eta, s->m);
    hti_add_scaled(s->at.theta, -hti_rate(s, s->options.rate_inner), g, s->n);
    hti_add_scaled(v, -rate, h, s->n);
    hti_add_scaled(v, rate, f.theta, s->n);
    hti_add_scaled(s->at.eta, -hti_rate(s, s->options.rate_outer), s->kept[DIRECTION],
                   s->m);
    return true;
}

const hti_single_row hti_single_fsla = {
    .kind = HT_FSLA,
    .name = "HT_FSLA",
    .needs = HTI_TAKES(rate_inner) | HTI_TAKES(rate_linear) | HTI_TAKES(rate_outer) |
             HTI_TAKES(momentum),
    .second = true,
    .kept = fsla_kept,
    .work = 4,
    .step = fsla_step};
