/* SPDX-License-Identifier: MIT */
/* influence.h: a study of what train images did. influence.c has the flags and goes
 * through the seeds; influence_model.c is what is trained; influence_trust.c asks whether
 * to believe it; influence_controls.c and influence_truth.c foretell and find;
 * influence_kept.c keeps what is found, between seeds and sittings, and its means;
 * influence_say.c and influence_page.c show it. */
#ifndef INFLUENCE_H
#define INFLUENCE_H

#include "demo.h"

enum {
    PARTS = 4,
    DRAWN = 5, /* images that helped most, and hurt */
    FEWEST = 8,
    NAME = 96,
    MOST_QUERIES = 100,
    MOST_SEEDS = 32
};
enum { SOFTMAX, MLP, RELU, CONVNET }; /* models */
#define ENOUGH 0.95                   /* of S^, and of halves */

/* Ways to foretell: the first through the training, the others controls. */
enum { EXACT, PRODUCT, TRACIN, IMPLICIT, FORETELLERS = IMPLICIT + 3 };
typedef struct foreteller {
    const char *key, *name;
    double damping; /* of an influence function, else 0 */
} foreteller;
extern const foreteller foretellers[FORETELLERS];

/* What a seed is told by: a row of numbers, NaN where there is none. Behind these, of
 * each who foretells: single images, then LDS of each part, then the low ends of its
 * interval, then the high ones. */
enum {
    SMOOTH,       /* S^ of 100 margins */
    HALVES,       /* how both halves of their change correlate */
    SMOOTH_THETA, /* and of the weights */
    SMOOTH_SMALL, /* and of the margins by a change of 0.001, where it is not enough */
    LOSS,
    ACCURACY,
    PROOF, /* Pearson's correlation of foretold and found */
    LEAD,  /* (PARTS) above the best influence function, of each part its own */
    TRAININGS = LEAD + PARTS,
    CPU, /* seconds: of all, of a training, of the scores of all queries */
    CPU_TRAINING,
    CPU_SCORES,
    COST_ONE, /* scores of a query alone, in trainings; of 8 together, each */
    COST_EIGHT,
    SCHEDULE, /* of the states these keep, an ht_schedule */
    OF_FORETELLERS,
    LDS = 1,
    LDS_LOW = LDS + PARTS,
    LDS_HIGH = LDS_LOW + PARTS,
    OF_ONE = LDS_HIGH + PARTS,
    COLUMNS = OF_FORETELLERS + FORETELLERS * OF_ONE
};
#define OF(k, column) (OF_FORETELLERS + (k)*OF_ONE + (column))
/* Of a query of the first seed: S^, LDS of each part, and its margin without those that
 * helped and without those that hurt, foretold and found. */
enum {
    Q_SMOOTH,
    Q_LDS,
    Q_FORETOLD = Q_LDS + PARTS,
    Q_FOUND = Q_FORETOLD + 2,
    OF_QUERY = Q_FOUND + 2
};
/* How far a study has come. */
enum { SEEDS_DONE, STAGE, QUERIES, SUBSETS, PROGRESS };
enum { BEGUN, ASKED, SCORED, PROVED, COMPARED }; /* stages; a part more each from here */

typedef struct study {
    demo_options options;
    double budget, rate, momentum, decay, smoothing;
    int model;
    bool anyway, recipe, cosine, alone;
    int64_t seeds, n_train, n_batch, epochs, steps, orders, score_orders;
    int64_t most_queries, most_subsets;
    ht_context *ctx;          /* of what lasts */
    ht_images images, others; /* train and test */
    judge *judge;
    stopwatch began, seed_began;
    /* Of the seed at hand, on a context of its own. */
    uint64_t seed;
    ht_context *own;
    int64_t *row;   /* (n_train) where each stands among the images */
    int64_t *asked; /* the test images, the first of which are queries */
    ht_set *train, *room, *theta, *weights; /* images; a batch; the start; w */
    /* What is found, and kept. */
    ht_set *kept;
    const char *state; /* the file; NULL: none */
    double *progress;  /* (PROGRESS) */
    double *rows;      /* (seeds, COLUMNS) */
    double *query;     /* (most_queries, OF_QUERY) of the first seed */
    int32_t *drawn;    /* (most_queries, 2, DRAWN): those that helped most; that hurt */
    double *shown;     /* (most_queries, n_train) scores, of the first seed */
    double *scores[FORETELLERS]; /* (queries, n_train), of the seed at hand */
} study;

extern const double parts[PARTS];  /* of the examples, in percent */
extern const char *const models[]; /* NULL after the last */

/* influence_model.c: what flags leave open, by the model; the seed at hand, and its end;
 * the training, asked about the margins of such a set (the first of the test images that
 * are asked; to be freed). */
bool has_recipe(int model);
void model_defaults(study *s);
void model_data(study *s);
void seed_begin(study *s);
void seed_end(study *s);
ht_bilevel_problem training_of(const study *s, ht_set *asked);
ht_set *test_images(const study *s, int64_t n);
double test_accuracy(study *s, const ht_set *theta);
/* influence_trust.c: S^ of the seed at hand, asked before anything; of each query; what
 * scores cost; and so many queries and subsets as the budget allows. */
void ask(study *s);
void ask_each(study *s, ht_influence *influence);
void ask_cost(study *s);
void plan(study *s);
/* Scores of those beside; trainings without, until Ctrl-C. */
void score_controls(study *s, ht_set *asked);
void forecast(study *s);
/* influence_kept.c: what is found of the seed at hand; and a seed. */
void kept_begin(study *s);
void kept_save(study *s, int stage); /* to the file, if so asked: that stage is done */
double *now(const study *s);
bool trusted(const study *s, int64_t seed);
bool refused(const study *s, int64_t seed);
int64_t n_queries(const study *s);
int64_t n_subsets(const study *s);
/* Of those seeds which have it: the mean and its interval of 95 %, by t, which one seed
 * does not have; of one seed, that of resampled subsets, of an LDS. */
typedef struct summary {
    double mean, low, high;
    int n;
} summary;
summary summary_of(const study *s, int column);
const char *why_not(const study *s, int64_t seed); /* to believe it */
void say(const study *s);
void write_json(const study *s);
void write_page(const study *s);

#endif
