/* SPDX-License-Identifier: MIT */
/* ht_influence.h: what a training would have been without some of its examples, foretold
 * by hypergradients and found by training again; included by ht_bilevel.h.
 *
 * The inner loss has a weight w_i for each example, an outer variable (n); F_k, k = 0 ..
 * m-1, are the losses asked about, an outer loss of shape (m), or one. To first order
 *   F_k(w without S) - F_k(w) = sum over i in S of score_ki,   score_ki = -w_i dF_k/dw_i
 * which is exact for what is linear in w, and foretells nothing where S^ is low: ask
 * ht_influence_smoothness first.
 *
 *   ht_influence *influence = ht_influence_new(ctx, &problem,
 *       &(ht_influence_options){.weight = "w"});
 *   ht_influence_scores(influence, scores);               (m, n) f64
 *   ht_influence_random(subsets, 50, 1);                  (s, n) u8: 50 of n left out
 *   ht_influence_retrain(influence, subsets, changes);    (s, m) f64: what became of it
 *   ht_lds lds = ht_influence_lds(scores, subsets, changes, 1000, 1);
 *   ht_check(ctx);
 *
 * Truth is the fixed trajectory's: the same start, batches and order, without the weight;
 * or, by `orders`, the mean over trainings by several orders of batches. In order o of a
 * training of T steps the inner batch callback is given o T more than its step; all else
 * is as in order 0, that of the problem itself: the start, rates, schedules and dropout,
 * the outer step. So the orders are those of a callback that goes on past T as it does
 * up to T (ht_batch_order where T is whole epochs).
 * Read next: bilevel/influence/influence.c. */
#ifndef HT_INFLUENCE_H
#define HT_INFLUENCE_H

#include "ht_bilevel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which weights, and how trainings are run. */
typedef struct ht_influence_options {
    const char *weight;  /* an outer variable (n), no coordinate */
    uint64_t outer_step; /* what outer_batch is given, in every training */
    /* Trainings side by side, each on one thread and context with sets of its own; batch
     * callbacks are called from several threads at once, with the problem's user. 0: as
     * many as the context has threads. */
    int at_once;
    ht_bilevel_options bilevel; /* of scores; trainings keep no states */
    /* What ht_influence_retrain finds is the mean over the orders first_order, and so
     * on, so many; ht_influence_scores over the orders 0 .. score_orders - 1. 0: one.
     * Orders other than 0 take an inner_batch. */
    int64_t orders, first_order, score_orders;
} ht_influence_options;
typedef struct ht_influence ht_influence; /* the problem, and trainings side by side */

/* Records the problem once for scores and, without states, once for each training at
 * once, and takes all their memory: the problem is copied, its sets are borrowed. Owned.
 * NULL after an error: no such weight, one that is a coordinate, tasks. */
ht_influence *ht_influence_new(ht_context *ctx, const ht_bilevel_problem *problem,
                               const ht_influence_options *options);
void ht_influence_free(ht_influence *influence); /* NULL: nothing */
/* Predicted peak bytes of all it asks of the allocator, its trainings' contexts included,
 * but for what calls take and give back: ht_influence_retrain (s + 1) m doubles an order,
 * ht_influence_smoothness as ht_bilevel_smoothness, and ht_influence_smoothness_each
 * (2 draws + 1) m doubles. */
size_t ht_influence_bytes(const ht_influence *influence);
/* Scores of every example for every query, in the time of one run an order: one training
 * and m reverse sweeps. scores (m, n) f64, else an error; of a training that is not
 * finite they are not either. Those of each query have the bits of scores of it alone. */
ht_status ht_influence_scores(ht_influence *influence, ht_tensor *scores);
/* S and S^ of the queries as the weights of a random `part` of the examples, in (0, 1],
 * go from what they are by half of it to 0: the change that scores foretell, by three
 * trainings. Below 0.95, of halves too, do not trust them. NaN after an error. */
ht_smoothness ht_influence_smoothness(ht_influence *influence, double part,
                                      uint64_t seed);
/* The same of each query by itself: S^ of all pairs of differences along `draws` random
 * parts, one of which alone would be a sign. each (m) f64, NaN where a query does not
 * move or is not finite. Other forms are an error. Costs 2 draws + 1 trainings; the same
 * bits by any at_once. */
ht_status ht_influence_smoothness_each(ht_influence *influence, double part, int draws,
                                       uint64_t seed, ht_tensor *each);
/* Trains s + 1 times an order: as the weights stand, and for each row of `left_out`,
 * (s, n) u8 of 0 and 1, with the weights of those that are 1 at 0. changes (s, m) f64:
 * each query's loss then, less that of all in the same order, the mean over orders; NaN
 * where it is not finite. The same bits by any at_once, in that part of the time. Other
 * forms are an error, and so is one of a callback. */
ht_status ht_influence_retrain(ht_influence *influence, const ht_tensor *left_out,
                               ht_tensor *changes);
/* Draws subsets: in each row of left_out (s, n) u8, k of n at random are 1, by the seed.
 * Where k is 1 and s is n: each in turn. A k that is not 1 .. n is an error. O(s n). */
ht_status ht_influence_random(ht_tensor *left_out, int64_t k, uint64_t seed);

/* The linear datamodeling score (Park et al. 2023, arXiv 2303.14186): Spearman's rank
 * correlation over subsets of what scores foretell and what became, the mean over
 * queries; ties share ranks. The interval has 95 %, by bootstrap over both. */
typedef struct ht_lds {
    double mean, low, high; /* NaN where all subsets are alike, or are not finite */
    double pearson;         /* of the same: for leave-one-out */
} ht_lds;
/* Compares them: scores (m, n) f64, left_out (s, n) u8, changes (s, m) f64; resamples 0:
 * no interval. NaN after an error. O(resamples m s log s). */
ht_lds ht_influence_lds(const ht_tensor *scores, const ht_tensor *left_out,
                        const ht_tensor *changes, int resamples, uint64_t seed);

#ifdef __cplusplus
}
#endif
#endif
