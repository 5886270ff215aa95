/* SPDX-License-Identifier: MIT */
/* demo.h: what the demos of bilevel/ share beside common.h: their flags, images as sets,
 * who is right about the test images, the table that says whether what was learned or a
 * control has won, and which labels learned weights trust.
 * Read next: demo.c, demo_state.c, demo_verdict.c, demo_smooth.c, demo_trust.c, and then
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
/* Room for n rows of each tensor of a set, and as many of them, order[first] and so on
 * (NULL: as they stand), put there: a batch. */
ht_set *demo_room(const ht_set *set, int64_t n);
ht_status demo_fill(ht_set *room, const ht_set *set, const int64_t *order, int64_t first);
/* Batches of n rows of a set (--batch, --train), by their step, with the context's seed:
 * for .inner_batch, with .user. */
typedef struct demo_batches {
    const ht_set *set;
    ht_set *room;
    int64_t n, *order;
} demo_batches;
demo_batches demo_batches_new(const ht_set *set, int64_t n);
ht_status demo_batch(uint64_t step, ht_set *room, void *batches);

/* ten (10, pixels): of each class the mean of the first `most` images from image `from`
 * on, round the end. */
void demo_digits(const ht_images *images, int64_t from, int64_t most, ht_tensor *ten);
/* theta as a random start of that number: weights He's normal, the rest 0. */
void demo_start(ht_set *theta, int64_t number);

/* Networks for rows of pixels: softmax regression, from zeros; one hidden layer of relu;
 * and for CIFAR's photographs at half their size, two convolutions of 3 x 3 with relu and
 * pooling, the second with twice as many filters. Their parameters at the start; their
 * logits (n, 10). */
typedef ht_var (*logits_fn)(ht_var x, const ht_vars *theta);
void demo_linear_init(ht_set *theta, int64_t pixels);
ht_var demo_linear(ht_var x, const ht_vars *theta);
void demo_mlp_init(ht_set *theta, int64_t pixels, int64_t hidden);
ht_var demo_mlp(ht_var x, const ht_vars *theta);
void demo_convnet_init(ht_set *theta, int64_t filters);
ht_var demo_convnet(ht_var x, const ht_vars *theta);
/* One of linear, mlp and conv, by its place in their names, for a flag. hidden: units of
 * the mlp; conv: 8 filters of 5 x 5 in steps of two, relu and pooling, for square images
 * like those. */
extern const char *const demo_models[];
logits_fn demo_model(int which, ht_set *theta, const ht_images *like, int64_t hidden);
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
/* What is answered of each class, counts (10, 10) of ht_confusion. Owned. */
ht_tensor *judge_confusion(judge *j, const ht_set *theta);

/* A row of the table: what was learned, or a control. Scores are paired with those of the
 * other rows: of the same test images, or of trainings from the same starts. */
typedef struct entrant {
    const char *key, *name, *how; /* in JSON; in the table; what it learns from */
    bool learned;                 /* else a control */
    bool knows_all;               /* what nobody knows: it is not in the contest */
    const char *as, *doing;       /* in a sentence; while it learns; NULL: its name */
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

/* Examples of which some have a wrong label. All is owned, and stays. */
typedef struct doubtful {
    int64_t n, n_doubtful;        /* examples; the first of them, that are in doubt */
    int64_t channels, rows, cols; /* of an image */
    int64_t *image;               /* (n) where each stands among the images */
    ht_set *set;            /* "x" (n, elements), "label", "row" (n): 0, 1, 2, ... */
    int32_t *given, *truth; /* (n) labels: the set's; before some were made wrong */
} doubtful;
/* Those images, in that order, which is taken. A part `noise` of the labels in doubt
 * becomes wrong. */
doubtful demo_doubtful(ht_context *ctx, const ht_images *images, int64_t *order,
                       int64_t n, int64_t n_doubtful, double noise);
/* As studies make a set worse: long-tailed, class k with imbalance^(-k/9) as many as
 * class 0; and last n_clean (--clean) of each class which are as they should be. */
doubtful demo_long_tail(ht_context *ctx, const ht_images *images, int64_t n_clean,
                        double imbalance, double noise);

/* What learned weights make of them: which labels they trust. */
typedef struct trust {
    const doubtful *of;
    const float *weight;    /* (n) */
    const double *distrust; /* (n) orders weights that are equal, the largest first; NULL:
                               the row does */
    double below;           /* a weight below it says: the label is wrong; 0: none does */
    bool logarithm;         /* weights are to be looked at as log10 */
} trust;
/* How well that tells wrong labels; NaN where 0/0. */
typedef struct trust_score {
    double wrong, found, right; /* labels; those found wrong; of these, that are */
    double precision, recall, f1;
    double weight_sum, right_weight, wrong_weight; /* means where the label is so */
} trust_score;
trust_score trust_measure(const trust *t);
/* For a page: weights, or where none says that a label is wrong those of each class too;
 * galleries of the least and the most trusted, and mistakes; and the answers about the
 * test images, (10, 10) of ht_confusion (NULL: none). */
void trust_page(report *page, const trust *t, const ht_tensor *confusion);
/* From outer steps with columns f1, precision, recall, right_weight and wrong_weight. */
void trust_curves(report *page, const metrics *steps);
/* weights.csv, a row an example, and distrusted.png, both ends, in a folder. */
ht_status trust_write(ht_context *ctx, const trust *t, const char *folder);

/* A run, as far as it has come. */
typedef struct demo_number {
    const char *key; /* NULL after the last */
    double value;
} demo_number;
typedef struct demo {
    const char *name, *title; /* of the program; of what it says */
    const demo_options *options;
    ht_context *ctx;
    ht_set *eta; /* what is learned */
    entrant *entrant;
    int n_entrants, learned, control; /* those that the verdict is about first */
    const char *note;                 /* on the table's words; NULL: none */
    const char *measure;              /* what scores are of; NULL: test accuracy */
    bool lower;         /* what is learned is to lower accuracy: the lowest row wins */
    metrics *steps;     /* of the outer run */
    const trust *trust; /* if it looks for wrong labels, else NULL; so the next */
    const demo_number *numbers; /* more for --json */
    const char *state;     /* of the outer run, by --save or --resume; NULL: neither */
    ht_set *more;          /* what is saved beside it */
    int64_t done, n_steps; /* its steps in earlier sittings; in all */
    double trainings;      /* done, all rows together */
    size_t predicted_bytes, peak_bytes;
    const char *schedule; /* of checkpoints in demo_evaluate; NULL: none yet */
    stopwatch began, run_began, plain, hypergradients;
    int64_t n_plain, n_hypergradients;  /* of this sitting, those that are timed */
    ht_smoothness smooth, smooth_small; /* of d->learned, if it was asked */
    bool asked;
    bool earlier, written; /* files of --out: are there from before; have been begun */
} demo;
/* After the flags: threads, seed, Ctrl-C, that all files asked for can be written (NULL:
 * demo_folder is to see to those of --out, once all else is right), and that --resume
 * goes on with the same flags. */
void demo_begin(demo *d, const char *const *files);
void demo_folder(demo *d, const char *const *files);
void demo_kept_begin(demo *d);
/* For programs that keep a state of their own (of d: name, options, ctx, state): the
 * program and its flags, but for those that may differ when it goes on, a line each; and
 * an error, which ends the program, by the first line that differs from what was kept. */
enum { DEMO_FLAGS_TEXT = 1024 };
void demo_flags(const demo *d, char text[DEMO_FLAGS_TEXT]);
void demo_flags_check(const demo *d, char was[DEMO_FLAGS_TEXT],
                      const char now[DEMO_FLAGS_TEXT]);
/* ht_bilevel_minimize for a row of the table, with progress and Ctrl-C; a step counts as
 * `cost` trainings. That of d->learned is saved if so asked, with all rows of d->steps
 * and what else is in d->more. Only outer.each gets outer.user. Gives the last loss. */
double demo_minimize(demo *d, int which, ht_bilevel *training, ht_outer_options outer,
                     double cost);
/* Whether what a step of the run changes goes on to change the same way in the next (S^
 * of weights and outer loss): d->learned is asked when it has learned, where it began,
 * and also at a change of 0.001, which tells why not. Six trainings, or windows. eta is
 * put back. Then whether it is so; and in words, and as numbers. */
void demo_smooth(demo *d, ht_bilevel *training, const ht_set *begin);
bool demo_believes(const demo *d);
enum { DEMO_SENTENCE = 640 };
void demo_smooth_say(char text[DEMO_SENTENCE], const demo *d);
void demo_smooth_json(output *out, const demo *d);
/* More trainings are done: the line of progress. loss NaN: there is none. */
void demo_worked(demo *d, double trainings, const char *what, int64_t step, int64_t n,
                 double loss);
/* A training of so many steps, with eta as it stands, timed; hypergradients that follow
 * are compared with it. One that diverged ends the program. */
ht_bilevel_result demo_evaluate(demo *d, ht_bilevel *training, int64_t steps);
/* A result of such a training. */
void demo_finite(const demo *d, const ht_bilevel_result *got, int64_t steps);
/* A hypergradient in trainings of its length, by processor time; NaN: not known. */
double demo_ratio(const demo *d);
extern const char *const demo_schedules[]; /* of checkpoints, by ht_schedule */
/* theta by so many steps of a rule, with the gradient that `build` puts for it in out[0],
 * recorded from sets whose first is theta, and which end with NULL. A training, counted,
 * or what Ctrl-C leaves of it. */
void demo_train(demo *d, const char *what, ht_set *theta, const ht_set *const *sets,
                ht_record_fn build, const ht_update *update, int64_t steps);
/* Learned or a control: who has won, in plain words and first; then the table. */
void demo_print(const demo *d);
/* Lines of 78 columns; those after the first stand below the words after the label. */
void demo_wrap(FILE *f, const char *label, const char *text);
/* report.html as far as it is the same for all: verdict and rows, and what d->trust has
 * to be written; and its end, with metrics.csv, config.json and, after a step at least,
 * what was learned. False: an error, and nothing else is to be called. */
bool demo_page(report *page, demo *d);
/* One more file beside it. NULL: there is none, and one of an earlier run goes. */
ht_status demo_write(const demo *d, const char *name, const ht_set *set);
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
ht_status demo_page_end(report *page, const demo *d, const ht_set *learned,
                        const char *name);
/* The object of --json, and the exit status: 0, 1, or 130 after Ctrl-C. Frees scores. */
int demo_end(demo *d);

#endif
