/* SPDX-License-Identifier: MIT */
/* ht_losses.h: losses and penalties, included by ht_nn.h.
 *
 * A loss of n examples is n numbers, one for each row; the mean is the caller's (ht_mean,
 * or ht_weighted_mean for example weights). x is (n, ...), f32 or f64; where an element
 * has a loss of its own, a row is the mean over its elements, so that the mean of rows is
 * torch's mean. A target has x's dtype and shape exactly, or is a number: nothing
 * broadcasts unasked. All are differentiable by every float they take, to any order. What
 * does not fit is HT_ERROR_SHAPE, _DTYPE or _ARGUMENT with both types and the caller's
 * line. Cost: a few elementwise ops, in a program a pass or two. ht_cross_entropy is an
 * op, in ht_ops.h. Read next: nn/loss.c. */
#ifndef HT_LOSSES_H
#define HT_LOSSES_H

#include "ht_nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ht_cross_entropy with labels mixed with the uniform distribution: (1 - smoothing) of
 * the one, smoothing of the other (Szegedy et al. 2016; torch's label_smoothing).
 * smoothing is a number in 0 .. 1 or a variable, 0-d or (n). */
ht_var ht_cross_entropy_smoothed_at(ht_var logits, ht_var labels, ht_var smoothing,
                                    const char *site);
#define ht_cross_entropy_smoothed(logits, labels, smoothing) \
    ht_cross_entropy_smoothed_at(logits, labels, HT_VAR(smoothing), HT_HERE)
/* -t log sigmoid(z) - (1 - t) log(1 - sigmoid(z)) of logits z and targets t in 0 .. 1,
 * finite for every finite logit (torch's binary_cross_entropy_with_logits). An infinite
 * one is infinite, but 0, with slopes 0, where the target agrees. */
ht_var ht_binary_cross_entropy_at(ht_var logits, ht_var target, const char *site);
#define ht_binary_cross_entropy(logits, target) \
    ht_binary_cross_entropy_at(logits, HT_VAR(target), HT_HERE)
/* (x - target)^2 (torch's mse_loss). */
ht_var ht_squared_error_at(ht_var x, ht_var target, const char *site);
#define ht_squared_error(x, target) ht_squared_error_at(x, HT_VAR(target), HT_HERE)
/* With d = x - target: d^2/2 where |d| <= delta, else delta (|d| - delta/2) (Huber 1964;
 * torch's huber_loss). delta > 0 is a number or a 0-d variable. At |d| = delta the second
 * derivative is that of the inside, 1. */
ht_var ht_huber_at(ht_var x, ht_var target, ht_var delta, const char *site);
#define ht_huber(x, target, delta) ht_huber_at(x, HT_VAR(target), HT_VAR(delta), HT_HERE)
/* KL(p || q), the sum of p (log p - log q) over a row, from log_q (ht_log_softmax) and
 * probabilities p, both (n, classes, ...): torch's kl_div(log_q, p), whose "batchmean" is
 * the mean of these rows. 0 log 0 = 0; at p = 0, where the slope of p log p is infinite,
 * its derivatives are 0 by decree. */
ht_var ht_kl_divergence_at(ht_var log_q, ht_var p, const char *site);
#define ht_kl_divergence(log_q, p) ht_kl_divergence_at(log_q, p, HT_HERE)

/* sum(weights rows) / sum(weights), 0-d: example weights; NaN if they sum to 0, and
 * both sums within the dtype's range. One weight for all (ht_number) gives the mean. */
ht_var ht_weighted_mean_at(ht_var rows, ht_var weights, const char *site);
#define ht_weighted_mean(rows, weights) ht_weighted_mean_at(rows, weights, HT_HERE)
/* sum |w|, 0-d, with slope 0 at 0, over all elements of the variables whose names match
 * (ht_name_matches; NULL: all). A pattern that matches nothing is an error listing the
 * names. */
ht_var ht_l1_at(const ht_vars *vars, const char *pattern, const char *site);
/* sum w^2 so: torch's weight_decay d is d/2 times that. */
ht_var ht_l2_at(const ht_vars *vars, const char *pattern, const char *site);
#define ht_l1(vars, pattern) ht_l1_at(vars, pattern, HT_HERE)
#define ht_l2(vars, pattern) ht_l2_at(vars, pattern, HT_HERE)

#ifdef __cplusplus
}
#endif
#endif
