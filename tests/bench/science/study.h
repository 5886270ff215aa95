/* SPDX-License-Identifier: MIT */
/* study.h: a small training on MNIST, set by a few fields, that is run again with other
 * weights of its examples, and whose influence is computed.
 *
 *   L_t(theta, w) = mean over the batch of w_i CE_i(theta)           w_i = 1
 *   F_k(w) = z_y - log sum over c != y of exp z_c    the margin of test image k
 *
 * The same as examples/influence, without its pages. Read next: study.c, gate.c. */
#ifndef SCIENCE_STUDY_H
#define SCIENCE_STUDY_H

#include <stdint.h>

#include "hypertape.h"

typedef enum study_network {
    STUDY_SOFTMAX,
    STUDY_GELU,
    STUDY_SOFTPLUS,
    STUDY_RELU
} study_network;

typedef struct setting {
    const char *name;
    study_network network;
    double sharp;             /* of softplus: ln(1 + exp(sharp x)) / sharp */
    int64_t wide, narrow;     /* the hidden layers' units; softmax has none */
    int64_t n, batch, epochs; /* train images, in steps of `batch` */
    double rate, momentum;    /* 0: none */
    double dropout;           /* of both hidden layers, in training */
    bool cosine;              /* the rate falls to 0 by half a cosine */
} setting;

enum {
    STUDY_ASKED = 100, /* test images whose margins a training gives */
    STUDY_MOST_BATCH = 256,
    STUDY_MOST_QUERIES = 16 /* the first of them, those with scores */
};

#define STUDY_PART 0.05 /* of the examples, in subsets and directions */

/* What is drawn. Trainings alike in all four are the same bits. */
typedef struct study_seeds {
    uint64_t data, start, order, masks; /* images; theta_0; batches; dropout */
} study_seeds;

typedef struct study {
    setting is;
    study_seeds seeds;
    int64_t steps, queries;
    ht_context *ctx;
    ht_images images, others; /* train and test */
    ht_set *train, *room, *theta, *weights, *asked, *asking;
    ht_bilevel *training;    /* of all margins, without a gradient */
    ht_influence *influence; /* of the queries' */
    ht_rate fall;
} study;

/* `queries`: how many have scores; 0: none. Seeds are all `seed`. */
void study_open(study *s, const setting *is, uint64_t seed, int64_t queries);
void study_close(study *s);
/* Another start, order or masks for the same images and the same memory. */
void study_vary(study *s, study_seeds seeds);
/* Trains with those that left_out (n) says are 1 at the weight `left`, the others at 1:
 * the margins (STUDY_ASKED). NULL: all at 1. */
void study_train(study *s, const uint8_t *left_out, double left, double *margins);
/* 1 for the examples from the part `from` to the part `to` of a random order, (n).
 * Directions are orders. Owned by the caller, by free. */
uint8_t *study_part(const study *s, uint64_t direction, double from, double to);
/* The margins as the weights of STUDY_PART of the examples go 1, 1/2, 0. */
void study_line(study *s, uint64_t direction, double margins[3][STUDY_ASKED]);
/* S^ of n margins that go from x to y to z. */
double study_smooth(int n, const double *x, const double *y, const double *z);
/* The mean cross-entropy of the train images, and the part of all test images that is
 * right, of the last training. */
typedef struct study_fit {
    double loss, accuracy;
} study_fit;
study_fit study_measure(study *s);
/* Exact scores (queries, n) by a hypergradient. Owned by the caller. */
ht_tensor *study_scores(study *s);
/* Subsets (subsets, n) of STUDY_PART of the examples each, the same for all starts, and
 * the queries' changes (subsets, queries) of trainings without them. Owned by the caller.
 */
ht_tensor *study_subsets(study *s, int64_t subsets);
ht_tensor *study_changes(study *s, const ht_tensor *subsets);
/* sum += x of f64; a NULL sum becomes a copy, owned by the caller. */
void study_sum(ht_tensor **sum, const ht_tensor *x);
double study_lds(const ht_tensor *scores, const ht_tensor *subsets,
                 const ht_tensor *changes);

#endif
