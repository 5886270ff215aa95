/* SPDX-License-Identifier: MIT */
/* soba.c: a gradient step of each of theta, v and eta at the same point, so that every
 * direction is linear in the losses and, on a batch, unbiased (Dagreou, Ablin, Vaiter and
 * Moreau, NeurIPS 2022, arXiv 2201.13409; their v has the other sign):
 *
 *   theta = theta - rate_inner @G/@theta
 *   v     = v - rate_linear (H v - @F/@theta)
 *   eta   = eta - rate_outer (@F/@eta - J^T v)
 *
 * all three with decay. Read next: penalty.c. */
#include "single.h"

static const hti_kept soba_kept[] = {{.name = "v"}, {.name = NULL}};

static bool soba_step(ht_single *s)
{
    double *v = s->kept[0], *g = s->work[1].theta, *h = s->work[2].theta;
    hti_point f = s->work[0];
    const ht_single_options *o = &s->options;
    if (!hti_next_outer(s) || !hti_outer_gradients(s, s->at, f) || !hti_next_inner(s) ||
        !hti_inner_gradient(s, s->at, g) || !hti_hessian(s, s->at, v, h) ||
        !hti_less_mixed(s, s->at, v, f.eta))
        return false;
    hti_add_scaled(s->at.theta, -hti_rate(s, o->rate_inner), g, s->n);
    hti_add_scaled(v, -hti_rate(s, o->rate_linear), h, s->n);
    hti_add_scaled(v, hti_rate(s, o->rate_linear), f.theta, s->n);
    hti_add_scaled(s->at.eta, -hti_rate(s, o->rate_outer), f.eta, s->m);
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
