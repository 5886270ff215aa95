/* SPDX-License-Identifier: MIT */
/* plain.h: the training a bilevel unrolls, as anyone would run it: its step recorded
 * once, with the gradient and the update, and replayed. Read next: plain.c, hyper.c. */
#ifndef BENCH_PLAIN_H
#define BENCH_PLAIN_H

#include "hypertape.h"

enum { BENCH_TENSORS = 320 };

typedef struct bench_plain {
    ht_bilevel_problem problem; /* its inner half */
    ht_set *theta, *state;      /* what moves, in place */
    ht_tensor *step, *loss;     /* loss NULL: not asked for */
    ht_program *program;        /* theta state eta batch step -> theta' state' (loss) */
    const ht_tensor *in[BENCH_TENSORS];
    ht_tensor *out[BENCH_TENSORS];
} bench_plain;

/* False after an error, kept on the context of problem->theta; close it then too. The
 * sets of the problem are borrowed until closed. */
bool bench_plain_open(bench_plain *plain, const ht_bilevel_problem *problem, bool loss);
void bench_plain_close(bench_plain *plain);
/* The program again, from the callbacks. */
void bench_plain_record(bench_plain *plain);
/* One step from where theta and state are. */
void bench_plain_step(bench_plain *plain, int64_t step);
/* All steps from problem.theta and no state. */
void bench_plain_train(bench_plain *plain);

#endif
