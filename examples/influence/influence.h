/* SPDX-License-Identifier: MIT */
/* influence.h: a study of what train images did: influence.c has the training and whether
 * to believe it, influence_forecast.c what is foretold and what becomes of it, and
 * influence_page.c says, writes and draws it. */
#ifndef INFLUENCE_H
#define INFLUENCE_H

#include "demo.h"

enum {
    PARTS = 4,
    DRAWN = 5,
    FEWEST = 8,
    NAME = 96
}; /* DRAWN: images that helped most, and hurt */

enum { SOFTMAX, MLP, RELU }; /* models */

/* A way to foretell: scores (queries, train) f64, and how well they did. */
typedef struct foreteller {
    const char *key, *name;
    bool control;
    double damping;    /* of an influence function, else 0 */
    ht_tensor *scores; /* NULL: not computed */
    ht_lds loo, lds[PARTS];
} foreteller;
enum { EXACT, PRODUCT, TRACIN, IMPLICIT, FORETELLERS = IMPLICIT + 3 };

typedef struct study {
    common_options common;
    const char *out;
    double budget, rate, momentum;
    int model;
    bool anyway;
    int64_t n_train, n_batch, epochs, steps, most_queries, most_subsets;
    size_t memory;
    ht_context *ctx;
    ht_images images, others;        /* train and test */
    int64_t *row;                    /* (n_train) where each stands among the images */
    int64_t *asked;                  /* the test images, the first of which are queries */
    ht_set *train, *theta, *weights; /* images; the start; w */
    /* What is found. */
    ht_smoothness smooth, small; /* along 5 % of the weights to 0; at 0.001 */
    double loss, accuracy;       /* of the last batch; of the test images, in percent */
    double training_seconds;
    bool refused;
    int64_t queries, subsets, trainings;
    int64_t *drawn; /* (queries, 2, DRAWN): those that helped most, first; that hurt */
    double *foretold, *found; /* (queries, 2): without them; NULL: not computed */
    foreteller by[FORETELLERS];
    stopwatch began;
} study;

extern const double parts[PARTS];  /* of the examples, in percent */
extern const char *const models[]; /* NULL after the last */
bool trusted(const study *s);      /* S^ is enough */
/* The training, asked about the margins of such a set: the first of the test images that
 * are asked. */
ht_bilevel_problem training_of(ht_set *asked);
ht_set *test_images(int64_t n);
/* So many queries and subsets as the budget allows; then all that is foretold and found,
 * until it is interrupted. */
void plan(study *s);
void forecast(study *s);
void say(const study *s);
void write_json(const study *s);
void write_page(const study *s);

#endif
