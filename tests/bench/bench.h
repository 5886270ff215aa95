/* SPDX-License-Identifier: MIT */
/* bench.h: how the benchmarks measure and report. Time is CPU time of the one thread that
 * runs; two things compared take turns, so that whatever slows the machine meets both,
 * and the ratio is the median over the pairs. Read next: bench.c, linear.c. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>

typedef struct bench_settings {
    bool quick, json;
} bench_settings;
extern bench_settings bench;

typedef void (*bench_fn)(void *user);

/* Times of one call, and the median and quartiles of the ratios of pairs. */
typedef struct bench_pairs {
    double ours_ms, floor_ms, ratio, low, high;
    int n;
} bench_pairs;

double bench_seconds(void); /* CPU time of this thread */
/* Pairs of slices below 50 ms of `ours` and `floor`, in alternating order. */
bench_pairs bench_compare(bench_fn ours, bench_fn floor, void *user);
/* The same from times already taken, in seconds. */
bench_pairs bench_paired(int n, const double *ours, const double *floor);
/* Milliseconds of one call: the median over slices. */
double bench_time(bench_fn ours, void *user);
int bench_rounds(void); /* pairs to take */

/* A row of the report; must 0: no bound. */
void bench_report_pairs(const char *name, bench_pairs pairs, double must);
/* A row that compares nothing; ms 0: not a time. */
void bench_report_value(const char *name, double ms, double value, const char *unit);

/* The cases. False: could not run, and has said why. */
bool bench_linear_step(void);
bool bench_linear(void);
bool bench_linear_record(void);
bool bench_linear_memory(void);
bool bench_hyper_mlp(void);
bool bench_eager_scalar(void);
bool bench_replay_scalar(void);
bool bench_order2(void);
bool bench_steps(void);

#endif
