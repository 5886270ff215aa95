/* SPDX-License-Identifier: MIT */
/* recursive.c: directions that are corrected from point to point instead of taken anew
 * (Yang, Ji and Liang, NeurIPS 2021, arXiv 2106.04692). With e(p) = (@G/@theta, stocBiO's
 * hypergradient) at the point p = (theta, eta), both e below on the same batches,
 *
 *   d = e(now) + keep (d - e(before))
 *
 * MRBO: keep_k = momentum_k, of fsla.c; theta and eta then each move along their part.
 *
 * VRBO: keep = 1, and in every period-th step d = e(now) on all batches. eta moves first,
 * then theta inner_steps times, d being corrected after each. Each d here is that of the
 * point where the step ends, so that the next one begins with it.
 * Read next: penalty.c. */
#include <string.h>

#include "single.h"

enum { THETA, ETA, THETA_BEFORE, ETA_BEFORE };
static const hti_kept recursive_kept[] = {{.name = "theta_direction"},
                                          {.name = "eta_direction", .like = HTI_LIKE_ETA},
                                          {.name = "theta_before"},
                                          {.name = "eta_before", .like = HTI_LIKE_ETA},
                                          {.name = NULL}};

/* Of @G/@theta and of the hypergradient, as they are drawn. */
typedef struct samples {
    hti_sample gradient, neumann;
} samples;

static samples next_samples(ht_single *s)
{
    hti_sample gradient = {.inner = hti_take(s, HTI_INNER, 1), .n_inner = 1};
    return (samples){gradient, hti_sample_next(s)};
}

static bool estimate_both(ht_single *s, hti_point at, const samples *of, hti_point e)
{
    return hti_mean_gradient(s, at, of->gradient, e.theta) &&
           hti_series(s, at, of->neumann, e.eta);
}

static hti_point direction(const ht_single *s)
{
    return (hti_point){s->kept[THETA], s->kept[ETA]};
}

static hti_point point_before(const ht_single *s)
{
    return (hti_point){s->kept[THETA_BEFORE], s->kept[ETA_BEFORE]};
}

static bool begin_here(ht_single *s, const samples *of)
{
    hti_point_copy(s, point_before(s), s->at);
    return estimate_both(s, s->at, of, direction(s));
}

/* d from the point before to that at hand. */
static bool follow(ht_single *s, double keep)
{
    samples of = next_samples(s);
    hti_point d = direction(s), e = s->work[0];
    if (!estimate_both(s, point_before(s), &of, e)) return false;
    hti_add_scaled(d.theta, -1, e.theta, s->n);
    hti_add_scaled(d.eta, -1, e.eta, s->m);
    hti_scale(d.theta, keep, s->n);
    hti_scale(d.eta, keep, s->m);
    if (!estimate_both(s, s->at, &of, e)) return false;
    hti_add_scaled(d.theta, 1, e.theta, s->n);
    hti_add_scaled(d.eta, 1, e.eta, s->m);
    hti_point_copy(s, point_before(s), s->at);
    return true;
}

static void theta_along(ht_single *s)
{
    double rate = hti_rate(s, s->options.rate_inner);
    hti_add_scaled(s->at.theta, -rate, s->kept[THETA], s->n);
}

static void eta_along(ht_single *s)
{
    double rate = hti_rate(s, s->options.rate_outer);
    hti_add_scaled(s->at.eta, -rate, s->kept[ETA], s->m);
}

static bool mrbo_step(ht_single *s)
{
    bool ok;
    if (*s->count[HTI_STEPS] == 0) {
        samples of = next_samples(s);
        ok = begin_here(s, &of);
    } else {
        ok = follow(s, hti_momentum(s));
    }
    theta_along(s);
    eta_along(s);
    return ok;
}

static bool vrbo_step(ht_single *s)
{
    hti_sample all = {0, s->options.inner_batches, 0, s->options.outer_batches};
    bool whole = (int64_t)*s->count[HTI_STEPS] % s->options.period == 0;
    if (whole && !begin_here(s, &(samples){all, all})) return false;
    eta_along(s);
    if (!follow(s, 1)) return false;
    for (int64_t t = 0; t < s->options.inner_steps; t++) {
        theta_along(s);
        if (!follow(s, 1)) return false;
    }
    return true;
}

#define NEEDS                                                                 \
    (HTI_TAKES(rate_inner) | HTI_TAKES(rate_linear) | HTI_TAKES(rate_outer) | \
     HTI_TAKES(linear_steps))

const hti_single_row hti_single_mrbo = {.kind = HT_MRBO,
                                        .name = "HT_MRBO",
                                        .needs = NEEDS | HTI_TAKES(momentum),
                                        .second = true,
                                        .kept = recursive_kept,
                                        .work = 6,
                                        .step = mrbo_step};

const hti_single_row hti_single_vrbo = {
    .kind = HT_VRBO,
    .name = "HT_VRBO",
    .needs = NEEDS | HTI_TAKES(inner_steps) | HTI_TAKES(period) |
             HTI_TAKES(inner_batches) | HTI_TAKES(outer_batches),
    .second = true,
    .kept = recursive_kept,
    .work = 6,
    .step = vrbo_step};
