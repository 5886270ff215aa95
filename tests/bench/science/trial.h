/* SPDX-License-Identifier: MIT */
/* trial.h: three bilevel problems in f64, whole batches of 200 digits, and the ways to
 * their hypergradients that are compared; eta as it begins:
 *
 *   cleaning   softmax regression by SGD, 40 % of the labels wrong; a weight
 *              sigmoid(eta_i) for each image, 1/2
 *   penalties  MLP with GELU by Adam; a penalty exp(eta_jk)/2 for the square of each of
 *              6,592 weights, 10^-3
 *   rates      MLP with GELU by SGD; the logarithm of a rate for each step and tensor,
 *              0.1
 *
 * Read next: approximate.h, hypergradients.c. */
#ifndef SCIENCE_TRIAL_H
#define SCIENCE_TRIAL_H

#include "approximate.h"

enum { CLEANING, PENALTIES, RATES, PROBLEMS };
enum {
    EXACT,
    HALF,
    FIFTH,
    FIVE,
    ONE_STEP,
    SOLVED,
    NEUMANN,
    FIRST_ORDER,
    IDENTITY,
    DARTS,
    SAMA,
    SAMA_SMALL,
    METHODS,
    LIBRARY = IDENTITY
};
extern const char *const problem_names[], *const method_names[];

typedef struct trial {
    int which;
    int64_t steps;
    ht_context *ctx;
    ht_set *train, *validation, *theta, *eta, *begin; /* begin: eta's */
    ht_bilevel_problem problem;
    ht_coordinate positive;
    ht_bilevel *by[LIBRARY];
    approximate *approximate;
} trial;
bool trial_open(trial *t, int which, int64_t steps, uint64_t seed);
void trial_close(trial *t);
/* Puts the hypergradient at eta in `to`; false: the method has none. */
bool trial_gradient(trial *t, int method, ht_set *to);

#endif
