/* SPDX-License-Identifier: MIT */
/* weighing.h: a training in f32 or f64 whose images have weights, and may be moved: what
 * eps_root and precision ask about. Inner loss and what is judged:
 *
 *   L_t = mean over a batch of 50 of w_i CE_i(x_i + shift)      w_i = 1, shift = 0
 *   F_k = CE of validation image k at theta_T, k < 100          their mean, or each
 *
 * Equal options and seed give the same digits, order and initial numbers, whatever the
 * dtype. Read next: eps_root.c, precision.c. */
#ifndef SCIENCE_WEIGHING_H
#define SCIENCE_WEIGHING_H

#include "lab.h"

enum { WEIGHED = 1000, WEIGHED_BATCH = 50, JUDGED = 100, QUERIES = 20, LEFT_OUT = 50 };

typedef struct weighing_options {
    lab_model model;
    ht_dtype dtype;
    ht_update update; /* without groups */
    int64_t steps;
    uint64_t seed;
    bool shift; /* eta has one, (196), beside the weights */
} weighing_options;
typedef struct weighing {
    weighing_options options;
    ht_context *ctx;
    ht_set *train, *room, *judged, *queries, *theta, *eta;
    lab_batches batches;
    bool each; /* F is each loss, as a bilevel is made */
} weighing;
/* False, and said on stderr: an error. */
bool weighing_open(weighing *w, const weighing_options *options);
void weighing_close(weighing *w);
/* Owned; F the mean of JUDGED losses. */
ht_bilevel *weighing_mean(weighing *w);
/* S^ of each of JUDGED losses, as the weights of a random 5 % fall by h, and h more. */
ht_smoothness weighing_smooth(weighing *w, double h);
/* Scores of WEIGHED images for QUERIES losses, (queries, weighed) f64, owned. */
ht_tensor *weighing_scores(weighing *w);
/* Subsets of LEFT_OUT at random, (n, weighed) u8, owned; what their absence does, by
 * training again, (n, queries) f64, owned. */
ht_tensor *weighing_subsets(weighing *w, int n);
ht_tensor *weighing_truth(weighing *w, const ht_tensor *subsets);
/* LDS of scores and changes, which may be another's. */
double weighing_lds(const ht_tensor *scores, const ht_tensor *subsets,
                    const ht_tensor *changes);

#endif
