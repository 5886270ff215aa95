/* SPDX-License-Identifier: MIT */
/* rater.h: a rater of training images: rater.c learns it, rater_network.c has the
 * networks, rater_pool.c makes images worse, rater_filter.c has what it is held against,
 * rater_page.c draws what it did. */
#ifndef RATER_H
#define RATER_H

#include "demo.h"

/* What may be wrong with an example. */
enum { RIGHT, WRONG, NOISY, COVERED, OFF_TOPIC, KINDS };
extern const char *const kinds[KINDS];

/* Examples, a part of them made worse. All is owned, and stays. */
typedef struct pool {
    int64_t n;
    ht_set *set;    /* "x" (n, pixels), "label" (n) as given */
    int *kind;      /* (n) */
    int32_t *truth; /* (n) labels before some were made wrong; of what is no digit: -1 */
} pool;
/* The images row[0 .. n-1], and photographs among them, made worse by `stream`. */
pool pool_new(ht_context *ctx, const ht_images *images, const int64_t *row, int64_t n,
              const ht_images *photographs, uint64_t stream);

/* Units of the classifier that is trained and of the rater; images of a batch. */
enum { UNITS = 64, BATCH = 64, STARTS = 3, MODELS = 8 };
void network_init(ht_set *theta, int64_t pixels, int64_t outputs);
ht_var classifier(ht_var x, const ht_vars *theta);
/* (n) of a set's images and the labels they are given. */
ht_var rating(const ht_vars *rater, const ht_vars *examples);
/* out[0] "score" (n) from a network and examples. */
void build_rating(const ht_vars *const *in, ht_vars *const *out, void *user);

/* MODELS of such a classifier as one set; model k of it begins anew, as start `number`
 * (`one` is room for it); and the losses (MODELS, images of each) of all at once, each on
 * its own part of the images. */
ht_set *population_of(const ht_set *model);
void population_begin(ht_set *theta, ht_set *one, int64_t k, int64_t number);
ht_var population_losses(const ht_vars *weights, const ht_vars *images);

/* Rows of the table; those from RANDOM to ORACLE choose what is trained on. */
enum {
    NONE,
    RANDOM,
    SMALL_LOSS,
    LARGE_LOSS,
    DENSITY,
    REFERENCE,
    RATER,
    ORACLE,
    HELD_OUT,
    ENTRANTS
};
enum { FRACTIONS = 3, NUMBERS = FRACTIONS + 1 + KINDS };
extern const double fractions[FRACTIONS]; /* kept */

typedef struct contest {
    demo *run;
    judge *test;
    const pool *pool;       /* to filter */
    const ht_set *held_out; /* surely right */
    const ht_set *rater;
    int64_t steps; /* of a training */
    int fraction;  /* of the table */
    ht_set *model, *gradient, *batch;
    ht_recording *learning;
    double
        *score[ENTRANTS]; /* (n) the largest are kept; NULL: not a filter, or not yet */
    double accuracy[ENTRANTS][FRACTIONS]; /* in percent; NaN: not run */
    double auc[ENTRANTS];                 /* of telling what is right from the rest */
    double share[ENTRANTS][KINDS]; /* of a kind kept, in percent, by the table's part */
} contest;
void contest_begin(contest *c);
/* Scores, and trainings on what is kept, by fresh models: a row of the table. */
void contest_enter(contest *c, int which, double cost);
/* For --json, at most NUMBERS from `next` on: what is behind the last. */
demo_number *contest_numbers(const contest *c, int which, demo_number *next);
double contest_trainings(void); /* of all rows */
/* Rows of the pool by a filter's score, the best first: owned. */
int64_t *contest_ranked(const contest *c, int which);

void write_page(contest *c, const ht_images *like);

#endif
