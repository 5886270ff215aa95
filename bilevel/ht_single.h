/* SPDX-License-Identifier: MIT */
/* ht_single.h: bilevel problems by stochastic single loops, included by ht_bilevel.h.
 *
 * No training is run to its end: theta and eta move together, a batch each, and so does
 * v, where a method solves H v = @F/@theta. G is the inner loss, F the outer one,
 *   H = d2G/d theta2,   J = d2G/d theta d eta,   dF/d eta = @F/@eta - J^T H^-1 @F/@theta
 *
 *   ht_single *single = ht_single_new(ctx, &problem,
 *       &(ht_single_options){.method = HT_SOBA, .rate_inner = 0.1, .rate_linear = 0.1,
 *                            .rate_outer = 0.01, .decay = 0.5});
 *   for (int k = 0; k < 10000 && ht_single_step(single) == HT_OK; k++)
 *       ...
 *   ht_check(ctx);
 *
 * Costs, biases and sources: bilevel/README.md. Read next: bilevel/stochastic/soba.c. */
#ifndef HT_SINGLE_H
#define HT_SINGLE_H

#include "ht_bilevel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What moves v, or does without it. */
typedef enum ht_single_method {
    /* By products with H and J. */
    HT_SOBA,    /* theta, v and eta by a gradient step each (Dagreou et al. 2022) */
    HT_SABA,    /* the same by SAGA: no noise is left at the end (ibid.) */
    HT_STOCBIO, /* inner_steps, then a Neumann sum of linear_steps (Ji et al. 2021) */
    HT_MRBO,    /* one inner step, a Neumann sum, momentum in both (Yang et al. 2021) */
    HT_VRBO,    /* recursive differences between full gradients (ibid.) */
    HT_FSLA,    /* SOBA with momentum in eta's direction (Li, Gu and Huang 2022) */
    HT_AMIGO,   /* inner_steps, linear_steps on a v that stays (Arbel & Mairal 2022) */
    /* By gradients alone: G's excess over its minimum is a penalty on F. */
    HT_F2SA, /* two copies of theta go along (Kwon et al. 2023) */
    HT_BOME, /* the penalty is found in each step (Liu et al. 2022) */
    HT_PBGD  /* V-PBGD, a fixed penalty (Shen & Chen 2023) */
} ht_single_method;

/* A field that is 0 and that the method needs, or set and without a use in it, is an
 * error that names both. */
typedef struct ht_single_options {
    ht_single_method method;
    /* Of theta, of v (of the Neumann sum) and of eta, each below 2 / the largest
     * eigenvalue it meets. BOME, PBGD: rate_outer moves theta with eta, and rate_inner
     * the copy of theta that nears the minimum of G. */
    double rate_inner, rate_linear, rate_outer;
    double penalty;  /* F2SA, PBGD: of G in F + penalty (G - min G), the bias is
                        O(1/penalty); BOME: how fast G nears its minimum, 0.5 is usual */
    double momentum; /* MRBO, FSLA: of the last direction, in (0, 1); 0.9 is usual */
    int64_t inner_steps, linear_steps; /* in a step, of theta; products for v */
    /* Rates of step k = 0, 1, ... are rate / (1 + k)^decay, decay in 0 .. 1, not those
     * of what begins anew in each step: the Neumann sum, z of BOME and PBGD. MRBO, FSLA:
     * momentum_k = 1 - (1 - momentum) / (1 + k)^(2 decay). */
    double decay;
    /* SABA, VRBO: how many different batches there are; callbacks are given a number
     * below. Where there is no callback: 1. */
    int64_t inner_batches, outer_batches;
    int64_t period; /* VRBO: steps from one full gradient to the next */
    double growth;  /* F2SA, PBGD: the penalty in step k is penalty (1 + k)^growth */
} ht_single_options;

typedef struct ht_single ht_single; /* a problem's programs, and where the loop is */
/* Records losses and takes all memory, as ht_bilevel_new does. Of problem are used inner,
 * outer, the sets, the batch callbacks, coordinates and user; theta begins as it stands
 * and all of it trains. steps and update may be set, for they say how another method
 * trains, but not what moves the end of a training: update.decay, update.groups, init,
 * after, state, start, tolerance and tasks are errors. inner_batch and outer_batch are
 * each given 0, 1, 2, ..., batch by batch (SABA, VRBO: see inner_batches), again when one
 * is needed again. Owned; NULL after an error. */
ht_single *ht_single_new_at(ht_context *ctx, const ht_bilevel_problem *problem,
                            const ht_single_options *options, const char *site);
#define ht_single_new(...) ht_single_new_at(__VA_ARGS__, HT_HERE)
/* Moves theta and eta, where they lie, one step on. They may be changed in between:
 * projected, say. Allocates nothing. After an error they are as they were, and the loop's
 * own state is to be restored before another step. A loop that diverges is no error: the
 * values say so. */
ht_status ht_single_step(ht_single *single);
/* The outer loss that the last step saw, on its last batch; NaN before the first. */
double ht_single_outer(const ht_single *single);
/* What to save beside theta and eta: how far it is, v, directions, tables; in f64.
 * Borrowed until ht_single_free. */
const ht_set *ht_single_state(const ht_single *single);
/* Goes on from a state, and theta and eta as they were then, bit for bit, under the same
 * options and context's seed. Other names or shapes are an error that changes nothing. */
ht_status ht_single_restore(ht_single *single, const ht_set *state);
/* The most bytes it asks of the allocator, the recording included. */
size_t ht_single_bytes(const ht_single *single);
void ht_single_free(ht_single *single); /* frees it; NULL: nothing */

#ifdef __cplusplus
}
#endif

#endif
