/* SPDX-License-Identifier: MIT */
/* measure.c: clocks, turns, medians. Read next: report.c. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"
#include "kernels.h"

static const double measure_slice = 0.030;

bench_settings bench;

ht_context *bench_context(uint64_t seed, int threads)
{
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.seed = seed, .threads = threads});
    if (ctx && bench.set) hti_context_use(ctx, bench.set);
    if (ctx && bench.prepare) bench.prepare(ctx);
    return ctx;
}

static double measure_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_seconds(void)
{
    return measure_clock(CLOCK_THREAD_CPUTIME_ID);
}

double bench_wall_seconds(void)
{
    return measure_clock(CLOCK_MONOTONIC);
}

int bench_rounds(void)
{
    return bench.full ? 21 : 3;
}

static double measure_calls(bench_fn run, void *user, int calls)
{
    double start = bench_seconds();
    for (int i = 0; i < calls; i++) run(user);
    return bench_seconds() - start;
}

int bench_calls(bench_fn run, void *user)
{
    run(user);
    int calls = (int)(measure_slice / (measure_calls(run, user, 1) + 1e-9));
    return calls < 1 ? 1 : calls > 1000000 ? 1000000 : calls;
}

void bench_turns(int n, const bench_fn *run, void *user, const int *calls, int rounds,
                 double seconds[][BENCH_MAX_ROUNDS])
{
    for (int i = 0; i < rounds; i++)
        for (int k = 0; k < n; k++) {
            int which = i % 2 ? n - 1 - k : k;
            seconds[which][i] =
                measure_calls(run[which], user, calls[which]) / calls[which];
        }
}

static int measure_by_size(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* Sorts x. */
static double measure_quantile(int n, double *x, double q)
{
    qsort(x, (size_t)n, sizeof *x, measure_by_size);
    double at = q * (n - 1), low = floor(at);
    int i = (int)low, j = i + 1 < n ? i + 1 : i;
    return x[i] + (at - low) * (x[j] - x[i]);
}

bench_pairs bench_paired(int n, const double *ours, const double *floor)
{
    double ratio[BENCH_MAX_ROUNDS], a[BENCH_MAX_ROUNDS], b[BENCH_MAX_ROUNDS];
    for (int i = 0; i < n; i++) {
        a[i] = ours[i];
        b[i] = floor[i];
        ratio[i] = a[i] / b[i];
    }
    return (bench_pairs){.ours_ms = 1e3 * measure_quantile(n, a, 0.5),
                         .floor_ms = 1e3 * measure_quantile(n, b, 0.5),
                         .ratio = measure_quantile(n, ratio, 0.5),
                         .low = measure_quantile(n, ratio, 0.25),
                         .high = measure_quantile(n, ratio, 0.75),
                         .n = n};
}

bench_pairs bench_compare(bench_fn ours, bench_fn floor, void *user)
{
    double seconds[2][BENCH_MAX_ROUNDS];
    const bench_fn run[] = {ours, floor};
    const int calls[] = {bench_calls(ours, user), bench_calls(floor, user)};
    bench_turns(2, run, user, calls, bench_rounds(), seconds);
    return bench_paired(bench_rounds(), seconds[0], seconds[1]);
}

double bench_time(bench_fn ours, void *user)
{
    double seconds[1][BENCH_MAX_ROUNDS];
    int n = bench_rounds(), calls = bench_calls(ours, user);
    bench_turns(1, &ours, user, &calls, n, seconds);
    return 1e3 * measure_quantile(n, seconds[0], 0.5);
}
