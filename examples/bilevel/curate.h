/* SPDX-License-Identifier: MIT */
/* curate.h: what the parts of a demo share: curate.c learns which images to keep,
 * curate_pool.c makes the pool they are kept of, curate_choose.c chooses by a rule or a
 * score, curate_train.c trains on what was chosen and has the choices of the table, and
 * curate_page.c draws what was kept. */
#ifndef CURATE_H
#define CURATE_H

#include "demo.h"

/* Of the pool: digits the target is made of, 3, 5 and 8, and digits it has few of, both
 * rightly labelled; more of 3, 5 and 8, taken for each other, as by somebody who errs in
 * one way: 3 for 5, 5 for 8, 8 for 3; photographs under some digit's label. */
typedef enum kind { RELEVANT, OTHER, WRONG, PHOTOGRAPH, KINDS } kind;
extern const char *const kind_names[KINDS];

typedef struct pool {
    int64_t n, n_target, rows, cols;
    kind *kind;             /* (n) */
    int32_t *given, *truth; /* (n); truth -1: no digit */
    /* "x", "label" and "row", 0, 1, ...: the pool; the pool and behind it the target; the
     * target; test images of the target's skew, of which no choice knows. */
    ht_set *set, *all, *target, *test;
} pool;
/* n images, of each kind as many, and a target of n_target, of which a part `skew` is of
 * 3, 5 and 8. What is wrong ends the program. */
pool pool_new(ht_context *ctx, const ht_images *images, const ht_images *others,
              const ht_images *photographs, int64_t n, int64_t n_target, double skew);

/* Rows of pool.all that are trained on, owned, and how many of each kind. */
typedef struct choice {
    int64_t n, *row, kept[KINDS];
} choice;
choice choice_range(const pool *p, int64_t first, int64_t n);
choice choice_random(const pool *p, int64_t keep);
/* Those with the highest scores (n), f32 or f64. */
choice choice_best(const pool *p, const ht_tensor *score, int64_t keep);
/* Of each label as large a share as in the target, at random. */
choice choice_skewed(const pool *p, int64_t keep);
/* So of those with right labels alone, which nobody knows. */
choice choice_oracle(const pool *p, int64_t keep);
choice choice_joined(const pool *p, const choice *a, const choice *b);
/* The rows of the table. */
enum {
    POOL,
    RANDOM,
    SKEW,
    LOSS,
    NEAR,
    PRODUCT,
    TARGET,
    POOL_TARGET,
    NEAR_TARGET,
    LEARNED,
    LEARNED_TARGET,
    ORACLE,
    N_ENTRANTS
};

/* Trainings of a small network with gelu, which is smooth, on what was chosen. */
typedef struct trainer {
    const pool *pool;
    int64_t hidden, n_batch, steps;
    double rate;
    ht_set *theta, *room, *gradient; /* as trained last; a batch */
} trainer;
ht_var curate_model(ht_var x, const ht_vars *theta);
trainer trainer_new(const pool *p, int64_t hidden, int64_t n_batch, int64_t steps,
                    double rate);
/* From a start by number: counted as a training, or what Ctrl-C leaves of one. */
void train_on(trainer *t, demo *d, const char *what, const choice *c, int64_t start);
/* A row of the table, of so many starts from UNSEEN on: each test image's share of those
 * in which it is right. Its loss stays. */
#define UNSEEN (INT64_C(1) << 20) /* the first start that no outer step has */
void trainer_enter(trainer *t, demo *d, judge *j, entrant *row, const choice *c,
                   int64_t n_starts, double cost);

/* What takes no learning, and a training from that start of the network some go by; the
 * largest weights, and they and the target. */
void choose_controls(trainer *t, demo *d, choice chosen[N_ENTRANTS], int64_t start);
void choose_learned(const pool *p, const ht_tensor *weight, choice chosen[N_ENTRANTS]);
/* For JSON: of each kind, how many were kept; of choices, the share with right labels. */
enum { N_NUMBERS = KINDS + 6 };
void choose_count(const choice chosen[N_ENTRANTS], demo_number numbers[N_NUMBERS]);

/* What was kept, drawn; and chosen.csv in a folder, a row an image. */
void curate_draw(report *page, const pool *p, const metrics *steps,
                 const ht_tensor *weight, const choice chosen[N_ENTRANTS]);
ht_status curate_write(ht_context *ctx, const pool *p, const ht_tensor *weight,
                       const choice *kept, const char *folder);

#endif
