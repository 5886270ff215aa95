/* SPDX-License-Identifier: MIT */
/* hyperclean.h: what the files of the hyper-cleaning demo share.
 *
 *   hyperclean.c         the method and its mathematics
 *   hyperclean_train.c   the plain trainings that say what the weights are worth
 *   hyperclean_setup.c   flags, images, wrong labels
 *   hyperclean_report.c  what is said: the table and --json
 *   hyperclean_files.c   what is written: the folder of --out
 *   hyperclean_page.c    its report.html
 *
 * Read next: hyperclean.c. */
#ifndef HYPERCLEAN_H
#define HYPERCLEAN_H

#include "demo.h"

#define FOUND_WRONG 1e-3 /* a weight below this says: this label is wrong */

typedef struct clean_options {
    demo_options demo;
    int64_t n_train, n_validation, inner_steps, outer_steps, final_steps, batch, hidden;
    double corrupt, radius, rate, outer_rate;
    int model;    /* linear, mlp, conv */
    int schedule; /* an ht_schedule */
} clean_options;

/* Sets hold "x" (n, pixels) f32 and "label" (n) i32; train, and a batch, "row" (n) i32,
 * the places of lambda. */
typedef struct clean_data {
    int64_t n_train, n_validation, n_test;
    int64_t channels, rows, cols;      /* of an image */
    int64_t *image;                    /* (n_train + n_validation): which in the file */
    int32_t *truth;                    /* (n_train) labels before corruption */
    uint8_t *corrupted;                /* (n_train) 1 where the label was changed */
    ht_set *train, *validation, *test; /* train carries the corrupted labels */
} clean_data;

/* How well lambda < FOUND_WRONG tells the corrupted labels; NAN where 0/0. */
typedef struct clean_score {
    double found, right; /* labels found wrong, and those of them that are */
    double precision, recall, f1;
    double weight_sum;                 /* of lambda */
    double right_weight, wrong_weight; /* mean lambda where the label is so */
} clean_score;

enum { BASELINE, VALIDATION_ONLY, CLEANED, ORACLE, N_TRAININGS };

/* A plain training's verdicts on the test images. */
typedef struct clean_training {
    bool done;
    double accuracy; /* percent */
    uint8_t *right;  /* (n_test) */
    int32_t *said;   /* (n_test) classes */
    ht_set *theta;
} clean_training;

typedef struct clean_result {
    metrics steps;     /* a row an outer step */
    ht_set *eta;       /* "lambda" (n_train) */
    ht_set *more;      /* what is saved beside it: "rows" of steps; and the next */
    double *distrust;  /* (n_train) sum of the hypergradients so far; borrowed */
    clean_score score; /* of lambda as it stands */
    int64_t n_timed;   /* steps of this sitting */
    clean_training training[N_TRAININGS];
    double seconds, inner_seconds;
    stopwatch began, step_began;
    stopwatch hypergradients, plain; /* all, each with its step; and two trainings */
    double validation_loss;          /* after the last outer step */
    size_t predicted_bytes, peak_bytes;
    const char *schedule;      /* the one chosen */
    bool interrupted, written; /* written: all files of --out */
} clean_result;

/* Everything of a run. */
typedef struct clean_run {
    ht_context *ctx;
    const clean_options *options;
    clean_data data;
    ht_set *theta;     /* where trainings begin */
    logits_fn logits;  /* the model */
    ht_set *batch;     /* of inner steps; NULL: all of train is it */
    int64_t *order;    /* (batch) */
    const char *state; /* of the outer run; NULL: not saved */
    clean_result result;
} clean_run;

/* False: leave with *status; command_parse has said why. */
bool clean_parse(clean_options *options, int argc, char **argv, int *status);
extern const char *const clean_schedules[]; /* by ht_schedule, for --schedule */

extern const char *const clean_models[]; /* for --model */

/* theta at its start, for images of that size, and the model that it is for. */
logits_fn clean_model(const clean_options *options, const clean_data *data,
                      ht_set *theta);
/* Cross-entropy per row on a set of images. */
ht_var clean_cross_entropy(const clean_run *run, const ht_vars *theta,
                           const ht_vars *images);

/* Work is counted in rows times steps of plain training; of `steps` outer steps. */
double clean_outer_work(const clean_options *options, int64_t steps);

/* Trains all four, or as many as come before an interrupt. */
double clean_training_work(const clean_options *options);
void clean_train_all(clean_run *run);

/* Reads data, makes room for the model and results; what is wrong ends the program. */
clean_run clean_run_new(const clean_options *options);
void clean_run_free(clean_run *run);
clean_score clean_score_weights(const clean_data *data, const float *lambda);

/* By how much the cleaned training's accuracy leads another's, in points, and the
 * standard error, paired: only images on which they disagree count (McNemar 1947). */
typedef struct clean_lead {
    double points, error;
} clean_lead;
clean_lead clean_compare(const clean_run *run, int other);
/* Plain trainings that a hypergradient took, by processor time; NaN: the machine was too
 * busy to tell. */
double clean_time_ratio(const clean_result *result);

double clean_seconds(const clean_result *result); /* of all hypergradients */

void clean_print(const clean_run *run);
ht_status clean_write_json(const clean_run *run);

/* The first makes the folder if need be and tries to write in it; it says so if files of
 * an earlier run are there. Of those the second leaves none. */
ht_status clean_out_check(const clean_run *run);
ht_status clean_write(const clean_run *run);
ht_status clean_write_page(const clean_run *run, const char *path);
/* Rows by trust, the least first: (n_train), owned. */
int64_t *clean_rank(const clean_run *run);

#endif
