/* SPDX-License-Identifier: MIT */
/* threads.c: what a second thread brings, by the wall clock. Around each pair a spin of
 * fixed length runs on one thread, then on two: if two take longer, something else has a
 * core, and the pair is not taken. Where too few can be taken the row says so instead. A
 * speed-up of 1.6 is a ratio of 0.625. Read next: measure.c. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"
#include "floor.h"
#include "hyper.h"
#include "steps.h"

/* Two spins may take this much longer than one; so long is looked for free cores. */
static const double threads_slack = 1.08, threads_patience = 12;
/* Of a spin: milliseconds of multiply-adds, which two threads of one core would share. */
static const int64_t threads_flops = 400000000;

static float threads_sink[2][64]; /* a cache line or more each */

static void *threads_spin(void *sink)
{
    *(float *)sink += bench_hand_fma(threads_flops);
    return NULL;
}

static double threads_spin_on(int threads)
{
    double start = bench_wall_seconds();
    pthread_t other;
    bool two =
        threads > 1 && pthread_create(&other, NULL, threads_spin, threads_sink[1]) == 0;
    threads_spin(threads_sink[0]);
    if (two) pthread_join(other, NULL);
    return bench_wall_seconds() - start;
}

/* If not, waits a little: others are to come to an end. */
static bool threads_cores_free(void)
{
    double one = threads_spin_on(1), two = threads_spin_on(2);
    if (two < threads_slack * one) return true;
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    return false;
}

/* A pair of functions with users of their own. */
typedef struct threads_pair {
    bench_fn run[2];
    void *user[2];
    int calls[2];
} threads_pair;

static double threads_wall(const threads_pair *p, int which)
{
    double start = bench_wall_seconds();
    for (int i = 0; i < p->calls[which]; i++) p->run[which](p->user[which]);
    return (bench_wall_seconds() - start) / p->calls[which];
}

/* As many pairs as bench_rounds says, or none. */
static bench_pairs threads_compare(threads_pair *p)
{
    double seconds[2][BENCH_MAX_ROUNDS];
    int n = 0;
    for (int k = 0; k < 2; k++) p->calls[k] = bench_calls(p->run[k], p->user[k]);
    double start = bench_wall_seconds();
    while (n < bench_rounds() && bench_wall_seconds() - start < threads_patience) {
        if (!threads_cores_free()) continue;
        double first = threads_wall(p, n % 2), second = threads_wall(p, 1 - n % 2);
        if (!threads_cores_free()) continue;
        seconds[n % 2][n] = first;
        seconds[1 - n % 2][n] = second;
        n++;
    }
    if (n < bench_rounds()) return (bench_pairs){0};
    return bench_paired(n, seconds[0], seconds[1]);
}

/* Quartiles so far apart that something else had the cores. */
static const double threads_scatter = 1.25;

static void threads_report(const char *name, threads_pair *p, double most)
{
    bench_row row = {
        .name = name, .threads = 2, .most = most, .pairs = threads_compare(p)};
    bool scattered = row.pairs.high > threads_scatter * row.pairs.low;
    if (row.pairs.n == 0 || scattered) {
        row.pairs.n = 0;
        row.note = "not measured: busy";
    } else {
        row.extra[0].key = p->user[0] != p->user[1] ? "speedup" : NULL;
        row.extra[0].value = 1 / row.pairs.ratio;
    }
    bench_report(&row);
}

static const double threads_speedup = 1 / 1.6;

bool bench_step_threads(void)
{
    const step_case *mlp = &step_cases[0];
    step one, two;
    bool ok = step_open(&one, mlp, 1);
    ok = step_open(&two, mlp, 2) && ok && bench_floor_open(&two.floor, mlp->product, 2);
    if (ok) {
        threads_pair both = {{step_run, step_run}, {&two, &one}, {0}};
        threads_report("mlp_step_over_1", &both, threads_speedup);
    }
    if (ok && bench_has_blas()) {
        threads_pair products = {{step_run, step_run_floor}, {&two, &two}, {0}};
        threads_report("mlp_step", &products, 1.15);
    }
    ok = ok && step_good(&one) && step_good(&two);
    step_close(&one);
    step_close(&two);
    return ok;
}

bool bench_hyper_threads(void)
{
    hyper one, two;
    bool ok = hyper_open(&one, &hyper_linear, 1) && hyper_open_bilevel(&one);
    ok = hyper_open(&two, &hyper_linear, 2) && hyper_open_bilevel(&two) && ok;
    if (ok) {
        threads_pair both = {{hyper_run_gradient, hyper_run_gradient}, {&two, &one}, {0}};
        threads_report("hyper_linear_over_1", &both, threads_speedup);
    }
    ok = ok && hyper_good(&one) && hyper_good(&two);
    hyper_close(&one);
    hyper_close(&two);
    return ok;
}
