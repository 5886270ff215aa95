/* SPDX-License-Identifier: MIT */
/* hyperclean.h: what the files of the hyper-cleaning demo share. The method and its
 * mathematics are in hyperclean.c; options in hyperclean_options.c, the plain trainings
 * in hyperclean_train.c, what is shown and written in hyperclean_report.c,
 * hyperclean_write.c and contact_sheet.c. Read next: hyperclean.c. */
#ifndef HYPERCLEAN_H
#define HYPERCLEAN_H

#include "hypertape.h"

#define FOUND_WRONG 1e-3 /* a weight below this says: this label is wrong */

typedef struct clean_options {
    uint64_t seed;
    int threads;
    int64_t n_train, n_validation, inner_steps, outer_steps, final_steps;
    double corrupt, radius, rate, outer_rate;
    size_t memory;
    ht_schedule schedule;
    const char *data, *out; /* out NULL: nothing is written */
    bool json;
} clean_options;

typedef enum clean_parsed { CLEAN_RUN, CLEAN_HELP, CLEAN_BAD } clean_parsed;
/* Fills every field, defaults included; what is wrong is said on stderr. */
clean_parsed clean_options_parse(clean_options *options, int argc, char **argv);

/* Sets hold "x" (n, pixels) f32 and "label" (n) i32. */
typedef struct clean_data {
    int64_t n_train, n_validation, n_test;
    int64_t rows, cols;                /* of an image */
    int64_t *image;                    /* (n_train + n_validation): which in the file */
    int32_t *truth;                    /* (n_train) labels before corruption */
    uint8_t *corrupted;                /* (n_train) 1 where the label was changed */
    ht_set *train, *validation, *test; /* train carries the corrupted labels */
} clean_data;

/* How well lambda < FOUND_WRONG tells the corrupted labels; NAN where 0/0. */
typedef struct clean_score {
    int64_t found, right; /* labels found wrong, and those of them that are */
    double precision, recall, f1;
} clean_score;

typedef struct clean_step {
    double validation_loss, inner_loss; /* at theta_T, before this step's update */
    clean_score score;                  /* after it */
    double weight_sum, seconds;         /* sum of lambda; of the hypergradient */
} clean_step;

enum { BASELINE, VALIDATION_ONLY, CLEANED, ORACLE, N_TRAININGS };

/* A plain training's verdicts on the test images. */
typedef struct clean_training {
    bool done;
    double accuracy; /* percent */
    uint8_t *right;  /* (n_test) */
    ht_set *theta;
} clean_training;

typedef struct clean_result {
    clean_step *step; /* (outer_steps), the first n_steps done */
    int64_t n_steps;
    ht_set *eta;      /* "lambda" (n_train) */
    double *distrust; /* (n_train) sum of the hypergradients so far */
    clean_training training[N_TRAININGS];
    double seconds, hypergradient_seconds, inner_seconds;
    double validation_loss; /* after the last outer step */
    size_t predicted_bytes, peak_bytes;
    const char *schedule;      /* the one chosen */
    bool interrupted, written; /* written: all files of --out */
} clean_result;

/* Cross-entropy per row of softmax regression on a set of images: the model. */
ht_var clean_cross_entropy(const ht_vars *theta, const ht_vars *images);

/* Work is counted in rows times steps of plain training; of `steps` outer steps. */
double clean_outer_work(const clean_options *options, int64_t steps);

/* hyperclean_train.c: trains all four, or as many as come before an interrupt. */
double clean_training_work(const clean_options *options);
void clean_train_all(ht_context *ctx, const clean_options *options,
                     const clean_data *data, const ht_set *theta, clean_result *result);

/* hyperclean_report.c. The progress is a bar on a terminal, else a line now and then. */
double clean_seconds(void); /* monotonic */
void clean_watch_interrupt(void);
bool clean_stopped(void); /* Ctrl-C was pressed since */
void clean_progress_begin(double work);
void clean_progress(double done, const char *text);
void clean_progress_end(void);
void clean_print(const clean_options *options, const clean_data *data,
                 const clean_result *result);
bool clean_print_json(const clean_options *options, const clean_data *data,
                      const clean_result *result);

/* What was printed has arrived; if not, it is said on stderr. */
bool clean_printed(void);

/* hyperclean_write.c. The first makes the folder if need be and tries to write in it; it
 * says so if files of an earlier run are there. Of those the second leaves none. */
ht_status clean_out_check(ht_context *ctx, const char *folder);
ht_status clean_write(ht_context *ctx, const clean_options *options,
                      const clean_data *data, const clean_result *result);

/* contact_sheet.c: images with a number of one digit beside each. */
typedef struct sheet_image {
    const float *pixels; /* (rows, cols), 0 to 1 */
    int label;           /* 0..9 */
    bool marked;         /* drawn in red */
} sheet_image;
ht_status contact_sheet_write(ht_context *ctx, const char *path, int64_t rows,
                              int64_t cols, int n, const sheet_image *image);

#endif
