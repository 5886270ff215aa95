/* SPDX-License-Identifier: MIT */
/* threads.c: what a second thread brings, by the wall clock. Around each pair a spin of
 * fixed length runs on one thread, then on two: if two take longer, something else has a
 * core, and the pair is not taken. Where too few can be taken the row says so instead. A
 * speed-up of 1.7 is a ratio of 0.588. In the rows `.._beside` a spin has a core all the
 * time: then two threads are to be no slower than one. Read next: measure.c. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench.h"
#include "floor.h"
#include "hyper.h"
#include "steps.h"

/* Two spins may take this much longer than one; so long, or as five pairs take,
 * free cores are looked for. */
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

/* As many pairs as bench_rounds says, or none. `beside`: of the two cores the caller has
 * taken one himself, and no other is asked for. */
static bench_pairs threads_compare(threads_pair *p, bool beside)
{
    double seconds[2][BENCH_MAX_ROUNDS], start = bench_wall_seconds(), both = 0;
    int n = 0;
    for (int k = 0; k < 2; k++) p->calls[k] = bench_calls(p->run[k], p->user[k]);
    while (n < bench_rounds() &&
           bench_wall_seconds() - start < threads_patience + 5 * both) {
        if (!beside && !threads_cores_free()) continue;
        double first = threads_wall(p, n % 2), second = threads_wall(p, 1 - n % 2);
        both += first * p->calls[n % 2] + second * p->calls[1 - n % 2];
        if (!beside && !threads_cores_free()) continue;
        seconds[n % 2][n] = first;
        seconds[1 - n % 2][n] = second;
        n++;
    }
    if (n < bench_rounds()) return (bench_pairs){0};
    return bench_paired(n, seconds[0], seconds[1]);
}

/* Quartiles so far apart that something else had the cores. */
static const double threads_scatter = 1.25;

static void threads_report(const char *name, const char *what, bench_pairs pairs,
                           double most, bool speedup)
{
    char text[64];
    snprintf(text, sizeof text, "%s%s", name, what);
    bench_row row = {.name = text, .threads = 2, .most = most, .pairs = pairs};
    if (pairs.n == 0 || pairs.high > threads_scatter * pairs.low) {
        row.pairs.n = 0;
        row.note = "not measured: busy";
    } else if (speedup) {
        row.extra[0].key = "speedup";
        row.extra[0].value = 1 / pairs.ratio;
    }
    bench_report(&row);
}

/* A speed-up of 1.7, and no loss. */
static const double threads_speedup = 1 / 1.7, threads_even = 1.05;

static atomic_bool threads_taken;

static void *threads_take(void *sink)
{
    while (threads_taken) threads_spin(sink);
    return NULL;
}

/* Two threads, user 0, over one, user 1; while cores are free, and while one is not. */
static void threads_over_one(const char *name, bench_fn run, void *two, void *one,
                             double most)
{
    threads_pair p = {{run, run}, {two, one}, {0}};
    bench_pairs pairs = threads_compare(&p, false);
    threads_report(name, "_over_1", pairs, most, true);
    pthread_t other;
    if (pairs.n == 0) return; /* who has the cores is not known */
    threads_taken = true;
    if (pthread_create(&other, NULL, threads_take, threads_sink[1]) != 0) return;
    pairs = threads_compare(&p, true);
    threads_taken = false;
    pthread_join(other, NULL);
    threads_report(name, "_beside", pairs, threads_even, true);
}

static bool threads_step(const step_case *c)
{
    step one, two;
    bool tiny = !strcmp(c->name, "tiny_step"), products = c == step_cases;
    bool ok = step_open(&one, c, 1);
    ok = step_open(&two, c, 2) && ok;
    if (ok)
        threads_over_one(c->name, step_run, &two, &one,
                         tiny ? threads_even : threads_speedup);
    if (ok && products && bench_has_blas() &&
        bench_floor_open(&two.floor, c->product, 2)) {
        threads_pair p = {{step_run, step_run_floor}, {&two, &two}, {0}};
        threads_report(c->name, "", threads_compare(&p, false), 1.15, false);
    }
    ok = ok && step_good(&one) && step_good(&two);
    step_close(&one);
    step_close(&two);
    return ok;
}

bool bench_step_threads(void)
{
    bool ok = true;
    for (int i = 0; i < STEP_CASES; i++) ok = threads_step(&step_cases[i]) && ok;
    return ok;
}

static bool threads_hyper(const hyper_case *c)
{
    hyper one, two;
    bool ok = hyper_open(&one, c, 1) && hyper_open_bilevel(&one);
    ok = hyper_open(&two, c, 2) && hyper_open_bilevel(&two) && ok;
    if (ok) threads_over_one(c->name, hyper_run_gradient, &two, &one, threads_speedup);
    ok = ok && hyper_good(&one) && hyper_good(&two);
    hyper_close(&one);
    hyper_close(&two);
    return ok;
}

bool bench_hyper_threads(void)
{
    static const hyper_case *const cases[] = {&hyper_linear, &hyper_mlp, &hyper_cnn,
                                              &hyper_vit};
    bool ok = true;
    for (int i = 0; i < 4; i++) ok = threads_hyper(cases[i]) && ok;
    return ok;
}
