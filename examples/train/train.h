/* SPDX-License-Identifier: MIT */
/* train.h: what a training script is given: a command line, data, epochs, a log, files to
 * save and resume, so that the script itself is a model and its settings.
 *
 * Files: train.c (the loop), train_options.c (flags), train_file.c (--save, --resume),
 * train_report.c (progress, --csv, --json, --predict). Read next: mnist_mlp.c. */
#ifndef TRAIN_H
#define TRAIN_H

#include "hypertape.h"

/* Settings that flags change, or else a resumed file. */
typedef struct train_options {
    uint64_t seed;
    int threads;
    int64_t epochs, batch, limit; /* limit 0: all images */
    int64_t decay_epochs;         /* until the rate has come down to a hundredth */
    double rate;
    const char *data, *save, *resume, *csv, *json, *predict; /* NULL: not asked */
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
    int64_t *rows;                    /* (batch), of whatever is being read */
    ht_set *theta, *gradient, *batch; /* batch: "x" and "label" */
    ht_set *file;                     /* what --save writes: train_file.c */
    double mark;                      /* of the training images, in that file */
    ht_rate schedule;
    ht_optimizer *optimizer;
    ht_program *step;     /* theta, x, label -> loss, right, gradient */
    ht_program *classify; /* theta, x, label -> loss, class, probability by row */
    ht_tensor *loss, *right, *row_loss, *row_class, *row_probability;
    train_score epoch; /* so far */
    double began, epoch_began, seconds;
    double validation_accuracy, test_accuracy;
    bool validated; /* validation_accuracy is that of theta as it is */
} train_run;

double train_accuracy(train_score score); /* percent */

/* False: exit with *status. What is wrong is said on stderr. */
bool train_parse(train_options *options, const train_task *task, int argc, char **argv,
                 int *status);
/* The first files that could not be written in the end are refused at the beginning. */
void train_check_outputs(ht_context *ctx, const train_options *options);

/* Defaults for flags from the file of --resume; an error if another task wrote it. */
void train_peek(train_options *options, const train_task *task);
void train_save(train_run *run);
void train_resume(train_run *run);

double train_seconds(void); /* monotonic */
void train_watch_interrupt(void);
bool train_stopped(void); /* Ctrl-C was pressed since */
/* Text goes to stdout, or to stderr if --json - wants stdout for itself. */
FILE *train_text(const train_options *options);
void train_show_start(const train_run *run);
void train_show_step(const train_run *run); /* on a terminal, now and then */
/* Begins the log, or cuts the resumed one to the epochs that are done. */
void train_log_begin(const train_run *run);
void train_show_epoch(const train_run *run, train_score validation);
void train_write_json(const train_run *run);
/* One line a test image; called with rows of a batch, the first `n` of them valid. */
FILE *train_predict_open(const train_run *run);
void train_predict(const train_run *run, FILE *f, int64_t first, int64_t n);
void train_predict_close(const train_run *run, FILE *f);

#endif
