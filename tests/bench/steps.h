/* SPDX-License-Identifier: MIT */
/* steps.h: training steps of four networks: loss, gradient and update as one program.
 * Read next: steps.c. */
#ifndef BENCH_STEPS_H
#define BENCH_STEPS_H

#include "floor.h"
#include "models.h"
#include "plain.h"

typedef struct step_case {
    const char *name;
    double most; /* its time over its products'; 0: no bound */
    const bench_model *model;
    int64_t batch;
    ht_update update;
    bench_product product[BENCH_PRODUCTS];
} step_case;

enum { STEP_CASES = 4 };
extern const step_case step_cases[STEP_CASES]; /* mlp, tiny, cnn, vit */

typedef struct step {
    const step_case *c;
    ht_context *ctx;
    ht_set *theta, *batch;
    bench_plain plain;
    bench_floor floor; /* not opened by step_open */
} step;

/* False: has said why; close it then too. */
bool step_open(step *s, const step_case *c, int threads);
void step_close(step *s);
bool step_good(const step *s);

/* For bench_fn. */
void step_run(void *user);
void step_run_floor(void *user);
void step_run_record(void *user);

#endif
