/* SPDX-License-Identifier: MIT */
/* demo.h: what the demos of bilevel/ share beside common.h: their flags, images as sets,
 * who is right about the test images, and the table that says whether what was learned
 * or a control has won. Read next: demo.c, demo_state.c, demo_verdict.c,
 * ../bilevel/tune_penalty.c. */
#ifndef DEMO_H
#define DEMO_H

#include "common.h"

/* What a hypergradient counts where costs are in trainings: its own, forward, and the
 * way back, whose steps cost up to twice as much (measured: 1 to 1.5 times). */
enum { HYPERGRADIENT = 3 };

typedef struct demo_options {
    common_options common;
    size_t memory;
    const char *out, *save, *resume; /* NULL: not asked for */
} demo_options;
#define DEMO_FLAGS(o)                                                              \
    {"memory", FLAG_BYTES, &(o)->memory, "of the unroll, like 50M; 0: no limit"},  \
        {"out", FLAG_FOLDER, &(o)->out, "write report.html and what was learned"}, \
        {"save", FLAG_FILE, &(o)->save, "a new file, for the state of the run"},   \
        {"resume", FLAG_FILE, &(o)->resume, "go on from such a file, and save there"},
/* The file to save in, or NULL. An error, on the context: --save with a file that is
 * there, --resume with one that is not, or both. */
const char *demo_state(ht_context *ctx, const demo_options *options);

/* The images in `folder`, as MNIST or CIFAR-10 is laid out (the second: only the latter),
 * owned, of which `wanted` are needed; which of them, at random (owned: free); and as a
 * set, "x" (n, elements) f32 and "label" (n) i32 of the images order[0 .. n-1] (NULL: as
 * they stand). What is wrong ends the program. */
void demo_read(ht_context *ctx, const char *folder, int64_t wanted, ht_images *train,
               ht_images *test);
void demo_read_photographs(ht_context *ctx, const char *folder, int64_t wanted,
                           ht_images *train, ht_images *test);
int64_t *demo_rows(ht_context *ctx, const ht_images *images, int64_t n);
ht_set *demo_set(ht_context *ctx, const ht_images *images, const int64_t *order,
                 int64_t n);

/* ten (10, pixels): of each class the mean of the first `most` images from image `from`
 * on, round the end. */
void demo_digits(const ht_images *images, int64_t from, int64_t most, ht_tensor *ten);
/* theta as a random start of that number: weights He's normal, the rest 0. */
void demo_start(ht_set *theta, int64_t number);

/* Networks for rows of pixels: one hidden layer of relu; and for CIFAR's photographs at
 * half their size, two convolutions of 3 x 3 with relu and pooling, the second with twice
 * as many filters. Their parameters at the start; their logits (n, 10). */
typedef ht_var (*logits_fn)(ht_var x, const ht_vars *theta);
void demo_mlp_init(ht_set *theta, int64_t pixels, int64_t hidden);
ht_var demo_mlp(ht_var x, const ht_vars *theta);
void demo_convnet_init(ht_set *theta, int64_t filters);
ht_var demo_convnet(ht_var x, const ht_vars *theta);
/* (n) cross-entropy of a set's images. */
ht_var demo_losses(logits_fn model, const ht_vars *theta, const ht_vars *images);

/* A model's accuracy on a set, in percent. */
typedef struct judge {
    logits_fn model;
    const ht_set *test;
    ht_set *theta, *logits;
    ht_recording *recording;
} judge;
judge *judge_new(const ht_set *theta, const ht_set *test, logits_fn model); /* stays */
/* score (n), NULL or 100 where row i is right and 0 elsewhere. */
double judge_accuracy(judge *j, const ht_set *theta, double *score);

/* A row of the table: what was learned, or a control. Scores are paired with those of the
 * other rows: of the same test images, or of trainings from the same starts. */
typedef struct entrant {
    const char *key, *name, *how; /* in JSON; in the table; what it learns from */
    bool learned;                 /* else a control */
    double cost;                  /* in trainings */
    double loss;                  /* of validation; NaN: it has none */
    int64_t n;                    /* 0: not run */
    double *score;                /* (n) percent, owned */
    double accuracy;              /* their mean */
} entrant;
/* Room for n scores. */
void entrant_begin(entrant *row, int64_t n, double cost);
void entrant_end(entrant *row, double loss); /* after Ctrl-C it counts as not run */
/* Both, of theta: scores by the judge. And of a training as eta now stands, with its
 * outer loss. */
void entrant_judge_theta(entrant *row, judge *j, const ht_set *theta, double loss,
                         double cost);
void entrant_judge(entrant *row, judge *j, ht_bilevel *training, double cost);
/* The mean difference of two rows in points (b NULL: a alone), and its standard error. */
typedef struct lead {
    double points, error;
} lead;
lead entrant_lead(const entrant *a, const entrant *b);

/* A run, as far as it has come. */
typedef struct demo {
    const char *name, *title; /* of the program; of what it says */
    const demo_options *options;
    ht_context *ctx;
    entrant *entrant;
    int n_entrants, learned, control; /* those that the verdict is about first */
    const char *note;                 /* on the table's words; NULL: none */
    metrics *steps;                   /* of the outer run */
    const char *state;                /* of it, by --save or --resume; NULL: neither */
    ht_set *more;                     /* what is saved beside it */
    int64_t done;                     /* its steps in earlier sittings */
    double trainings;                 /* done, all rows together */
    size_t predicted_bytes, peak_bytes;
    stopwatch began;
} demo;
/* After the flags: threads, seed, Ctrl-C, that all files asked for can be written, and
 * that --resume goes on with the same flags. */
void demo_begin(demo *d, const char *const *files);
void demo_kept_begin(demo *d);
/* ht_bilevel_minimize for a row of the table, with progress and Ctrl-C; a step counts as
 * `cost` trainings. That of d->learned is saved if so asked, with all rows of d->steps
 * and what else is in d->more. Only outer.each gets outer.user. Gives the last loss. */
double demo_minimize(demo *d, int which, ht_bilevel *training, ht_outer_options outer,
                     double cost);
/* More trainings are done: the line of progress. loss NaN: there is none. */
void demo_worked(demo *d, double trainings, const char *what, int64_t step, int64_t n,
                 double loss);
/* Learned or a control: who has won, in plain words and first; then the table. */
void demo_print(const demo *d);
/* report.html as far as it is the same for all: verdict and rows, and its end, with
 * metrics.csv, config.json and, after a step at least, what was learned. False: an error,
 * and nothing else is to be called. */
bool demo_page(report *page, const demo *d);
/* Ten images, (10, pixels), of the classes 0 to 9, and of the size of `like`. */
void demo_images(report *page, const report_figure *figure, const ht_images *like,
                 const ht_tensor *images, double black, double white);
typedef struct demo_ten {
    char title[64]; /* empty: left out */
    ht_tensor *images;
} demo_ten;
/* Up to 8 times ten images, ink on paper (photographs: light), and as a contact sheet of
 * that name beside. */
void demo_tens(report *page, const demo *d, const char *name, const ht_images *like,
               int n, const demo_ten *ten);
/* A set as studies make them worse: long-tailed, class k with imbalance^(-k/9) as many as
 * class 0, and a part `noise` of labels wrong; and last n_clean of each class which are
 * as they should be. All is owned, and stays. */
typedef struct doubtful {
    int64_t n, n_doubtful; /* examples; the first of them, that are in doubt */
    ht_set *set;           /* "x" (n, elements), "label" (n) */
    int32_t *given;        /* (n) labels of the set */
    ht_tensor *truth;      /* (n) i32 */
    int64_t *row;          /* (n) 0, 1, 2, ..., for ht_rows */
    int32_t *part;         /* (n) that label; 10 + it where it is not in doubt */
} doubtful;
doubtful demo_doubtful(ht_context *ctx, const ht_images *images, int64_t n_clean,
                       double imbalance, double noise);
/* What learned weights of CIFAR-10, ln w_i = eta.class[part_i] + eta.example[i], trust:
 * which labels, of which class, and galleries of the least and the most trusted. And the
 * answers about the test images, counts (10, 10) of ht_confusion. */
void demo_trust(report *page, const doubtful *d, const ht_set *eta,
                const ht_tensor *confusion);
ht_status demo_page_end(report *page, const demo *d, const ht_set *learned,
                        const char *name);
/* The object of --json, and the exit status: 0, 1, or 130 after Ctrl-C. Frees scores. */
int demo_end(demo *d);

#endif
