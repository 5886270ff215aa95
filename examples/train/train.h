/* SPDX-License-Identifier: MIT */
/* train.h: what a training script is given: a command line, data, epochs, a log, files to
 * save and resume, so that the script itself is a model and its settings.
 *
 * Files: train.c (the loop), train_options.c (flags), train_file.c (--save, --resume),
 * train_report.c (--csv, --json, --predict). Read next: mnist_mlp.c. */
#ifndef TRAIN_H
#define TRAIN_H

#include "common.h"

/* Settings that flags change, or else a resumed file. */
typedef struct train_options {
    common_options common;
    int64_t epochs, batch, limit; /* limit 0: all images */
    int64_t patience;             /* epochs without a lower validation loss; 0: all */
    int64_t decay_epochs;         /* until the rate has come down to a hundredth */
    double rate;
    const char *save, *resume, *csv, *predict; /* NULL: not asked */
    bool evaluate;
} train_options;

typedef struct train_task {
    const char *name, *about;
    ht_status (*read)(ht_context *ctx, const char *folder, bool test, ht_images *out);
    bool flip; /* train on mirror images too */
    train_options defaults;
    double warmup;    /* epochs in which the rate rises */
    ht_update update; /* but its rate */
    void (*init)(ht_set *theta);
    /* x (batch, an image's axes) f32, 0 to 1; gives (batch, classes). */
    ht_var (*logits)(const ht_vars *theta, ht_var x);
} train_task;

/* A script's main: the exit status. */
int train_main(int argc, char **argv, const train_task *task);

/* The rest is for the files above. */

/* Sums over images. */
typedef struct train_score {
    double loss, right;
    int64_t images;
} train_score;

typedef struct train_run {
    ht_context *ctx;
    const train_task *task;
    const train_options *options;
    ht_images train, test;
    int64_t n_fit, n_validation, n_test;
    int64_t epoch_steps;              /* of the training that made theta */
    int64_t *fit, *validation;        /* rows of train; validation is never trained on */
    int64_t *rows, *ahead;            /* (batch), of what is evaluated; of the next */
    ht_prefetch *batches;             /* to train on */
    double waited;                    /* seconds, for them */
    ht_set *theta, *gradient, *batch; /* batch: "x" and "label" */
    ht_set *file;                     /* what --save has beside them: train_file.c */
    double mark;                      /* of the training images, in that file */
    ht_rate schedule;
    ht_optimizer *optimizer;
    ht_recording *step, *classify; /* theta, batch -> result, gradient; -> rows_of */
    ht_set *result, *rows_of;      /* loss, right; loss, class, probability by row */
    train_score epoch;             /* so far */
    double began, epoch_began;     /* seconds_now() */
    int64_t first_step;            /* of this run; those before it are resumed */
    train_score validated, tested; /* no images: not with theta as it is */
} train_run;

double train_loss(train_score score);     /* mean; NaN of no images */
double train_accuracy(train_score score); /* percent; NaN of no images */
int64_t train_epochs_done(const train_run *run);

/* False: exit with *status. What is wrong is said on stderr. */
bool train_parse(train_options *options, const train_task *task, int argc, char **argv,
                 int *status);

/* Defaults for flags from the file of --resume; an error if another task wrote it. */
void train_peek(train_options *options, const train_task *task);
void train_save(train_run *run);
void train_resume(train_run *run);

void train_show_start(const train_run *run);
void train_show_step(const train_run *run);
/* Begins the log, or cuts the resumed one to the epochs that are done. */
void train_log_begin(const train_run *run);
void train_show_epoch(const train_run *run);
/* What was reached: all of it, or as much as came before Ctrl-C. */
void train_write_json(const train_run *run);
/* One line a test image; called with rows of a batch, the first `n` of them valid. */
void train_predict(const train_run *run, output *out, int64_t first, int64_t n);

#endif
