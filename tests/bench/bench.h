/* SPDX-License-Identifier: MIT */
/* bench.h: how the benchmarks measure and report. Time is CPU time of the one thread that
 * runs; things compared take turns, so that whatever slows the machine meets all of them,
 * and a ratio is the median over the pairs. Read next: bench.c, measure.c, report.c. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "ht_tensor.h"

typedef struct bench_settings {
    bool full; /* more pairs */
    bool json;
    bool roofs; /* rows are held against what the machine does */
    int set;    /* instruction set of kernels, as in hti_context_use; 0: the best */
    void (*prepare)(ht_context *ctx); /* of a context; NULL: nothing */
} bench_settings;
extern bench_settings bench;
/* A context that the cases run on; NULL: no memory. */
ht_context *bench_context(uint64_t seed, int threads);

/* Measuring. */

enum { BENCH_MAX_ROUNDS = 64, BENCH_MAX_TURNS = 4 };
typedef void (*bench_fn)(void *user);

double bench_seconds(void);      /* CPU time of this thread */
double bench_wall_seconds(void); /* for what several threads do */
int bench_rounds(void);          /* times to repeat: 3, or 21 if `full` */
/* Calls that fill a slice below 50 ms; warms up first. */
int bench_calls(bench_fn run, void *user);
/* seconds[k][i]: a call of run[k] in round i, of calls[k] in a row, in turns: in order,
 * then backwards. */
void bench_turns(int n, const bench_fn *run, void *user, const int *calls, int rounds,
                 double seconds[][BENCH_MAX_ROUNDS]);
/* Milliseconds of one call, and the median and quartiles of the ratios of pairs. */
typedef struct bench_pairs {
    double ours_ms, floor_ms, ratio, low, high;
    int n;
} bench_pairs;
bench_pairs bench_paired(int n, const double *ours, const double *floor);
/* Both together, in slices. */
bench_pairs bench_compare(bench_fn ours, bench_fn floor, void *user);
/* Milliseconds of one call: the median over slices. */
double bench_time(bench_fn ours, void *user);

/* machine.c: prints which machine this is. Flops a second of multiply-adds in registers;
 * bytes a second of reading so many of one array again and again: both as they are at
 * this moment, by one thread. */
void bench_machine(void);
double bench_peak(void);
double bench_read_rate(double bytes);

/* Reporting. */

enum { BENCH_EXTRAS = 8 };
/* A bound is on the ratio of the pairs or, without, on the value; 0: none. */
typedef struct bench_row {
    const char *name;
    int threads;       /* 0: one */
    bench_pairs pairs; /* n 0: nothing is compared */
    double ms;         /* then: of a call, 0: not a time */
    double value;
    const char *unit; /* of value; NULL: there is none */
    double most;
    /* Of one call of ours, 0: not said. Reported as of_peak and of_read: their parts of
     * what this machine does, measured at once; products count as they are written, and
     * bytes are read once. */
    double flops, bytes;
    const char *note; /* NULL: none */
    struct {
        const char *key; /* NULL: the last was before */
        double value;
    } extra[BENCH_EXTRAS];
} bench_row;
void bench_report_head(void);
void bench_report(const bench_row *row);
/* How many bounds there were, and those that were missed. */
void bench_report_missed(void);

/* The cases. False: could not run, and has said why. */
bool bench_steps(void); /* these four */
bool bench_mlp_step(void);
bool bench_tiny_step(void);
bool bench_cnn_step(void);
bool bench_vit_step(void);
bool bench_step_threads(void);
bool bench_linear_step(void);
bool bench_roof(void);
bool bench_adam(void);
bool bench_hyper_linear(void);
bool bench_hyper_outers(void);
bool bench_hyper_mlp(void);
bool bench_hyper_mlp_long(void);
bool bench_hyper_mlp_disk(void);
bool bench_hyper_cnn(void);
bool bench_hyper_vit(void);
bool bench_hyper_threads(void);
bool bench_eager_scalar(void);
bool bench_replay_scalar(void);
bool bench_order2(void);
bool bench_tables(void);
bool bench_schedules(void);
bool bench_single(void);

#endif
