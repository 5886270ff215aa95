/* SPDX-License-Identifier: MIT */
/* hyper.h: hypergradients, each with the plain training it goes through. Read next:
 * hyper.c. */
#ifndef BENCH_HYPER_H
#define BENCH_HYPER_H

#include "models.h"
#include "plain.h"

typedef struct hyper_case hyper_case;
struct hyper_case {
    const char *name;
    const bench_model *model;
    int64_t steps;
    int64_t batch, rows, outer_rows; /* of a step; of all training data; of F */
    bool mnist;                      /* else noise */
    bool weights;                    /* outer: one weight per training row */
    ht_update update; /* and outer scalars named "rate" (steps), "momentum" (), "l2" (n),
                       * for n tensors, which start as in `eta` */
    double rate, momentum, l2;
    ht_bilevel_options options;
    size_t lean; /* budget beside other libraries, whose least it is below; 0: none */
};

typedef struct hyper {
    const hyper_case *c;
    ht_context *ctx;
    ht_set *theta, *eta;
    ht_set *data; /* all rows that are trained on */
    ht_set *batch, *outer_data;
    bench_plain plain;
    ht_bilevel *bilevel, *single; /* the latter of one outer loss, where there are many */
    int64_t outers;               /* losses of what is recorded; 0: one */
    double record_seconds;        /* to record, derive, cut and plan it */
    ht_bilevel_result last;
} hyper;

extern const hyper_case hyper_linear, hyper_mlp, hyper_cnn, hyper_vit;

/* All but the bilevel. False: has said why; close it then too. */
bool hyper_open(hyper *h, const hyper_case *c, int threads);
bool hyper_open_bilevel(hyper *h);
void hyper_close(hyper *h);
/* The programs of a step and of its reverse, as its runs replay them. */
const ht_program *hyper_forward(const hyper *h);
const ht_program *hyper_reverse(const hyper *h);
/* Prints the context's error, if there is one. */
bool hyper_good(const hyper *h);

/* For bench_fn. */
void hyper_run_gradient(void *user);
void hyper_run_evaluate(void *user);
void hyper_run_plain(void *user);
void hyper_run_single(void *user);

#endif
