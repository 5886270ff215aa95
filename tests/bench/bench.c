/* SPDX-License-Identifier: MIT */
/* bench.c: the benchmark program: picks cases, measures, prints a table or JSON lines. A
 * bound that is missed is reported, not failed: what else the machine does is not ours.
 * Read next: linear.c (the flagship), nodes.c, layers.c, NOTES.md. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BENCH_MAX_PAIRS = 64 };
static const double bench_slice = 0.030;

bench_settings bench;

/* Measuring. */

double bench_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int bench_rounds(void)
{
    return bench.quick ? 5 : 21;
}

static double bench_slice_seconds(bench_fn run, void *user, int calls)
{
    double start = bench_seconds();
    for (int i = 0; i < calls; i++) run(user);
    return bench_seconds() - start;
}

/* Calls that fill a slice; the first call warms up. */
static int bench_calls(bench_fn run, void *user)
{
    run(user);
    int calls = (int)(bench_slice / (bench_slice_seconds(run, user, 1) + 1e-9));
    return calls < 1 ? 1 : calls > 1000000 ? 1000000 : calls;
}

static int bench_by_size(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* Sorts x. */
static double bench_quantile(int n, double *x, double q)
{
    qsort(x, (size_t)n, sizeof *x, bench_by_size);
    double at = q * (n - 1), low = floor(at);
    int i = (int)low, j = i + 1 < n ? i + 1 : i;
    return x[i] + (at - low) * (x[j] - x[i]);
}

bench_pairs bench_paired(int n, const double *ours, const double *floor)
{
    double ratio[BENCH_MAX_PAIRS], a[BENCH_MAX_PAIRS], b[BENCH_MAX_PAIRS];
    for (int i = 0; i < n; i++) {
        a[i] = ours[i];
        b[i] = floor[i];
        ratio[i] = a[i] / b[i];
    }
    return (bench_pairs){.ours_ms = 1e3 * bench_quantile(n, a, 0.5),
                         .floor_ms = 1e3 * bench_quantile(n, b, 0.5),
                         .ratio = bench_quantile(n, ratio, 0.5),
                         .low = bench_quantile(n, ratio, 0.25),
                         .high = bench_quantile(n, ratio, 0.75),
                         .n = n};
}

bench_pairs bench_compare(bench_fn ours, bench_fn floor, void *user)
{
    double a[BENCH_MAX_PAIRS], b[BENCH_MAX_PAIRS];
    int n = bench_rounds(), calls_a = bench_calls(ours, user),
        calls_b = bench_calls(floor, user);
    for (int i = 0; i < n; i++) {
        if (i % 2) b[i] = bench_slice_seconds(floor, user, calls_b) / calls_b;
        a[i] = bench_slice_seconds(ours, user, calls_a) / calls_a;
        if (i % 2 == 0) b[i] = bench_slice_seconds(floor, user, calls_b) / calls_b;
    }
    return bench_paired(n, a, b);
}

double bench_time(bench_fn ours, void *user)
{
    double t[BENCH_MAX_PAIRS];
    int n = bench_rounds(), calls = bench_calls(ours, user);
    for (int i = 0; i < n; i++) t[i] = bench_slice_seconds(ours, user, calls) / calls;
    return 1e3 * bench_quantile(n, t, 0.5);
}

/* Reporting. The table goes to stderr when stdout carries JSON. */

static FILE *bench_table(void)
{
    return bench.json ? stderr : stdout;
}

void bench_report_pairs(const char *name, bench_pairs p, double must)
{
    FILE *f = bench_table();
    bool ok = must == 0 || p.ratio <= must;
    fprintf(f, "%-22s %10.3f ms %10.3f ms   %6.3f (%.3f .. %.3f, %d pairs)", name,
            p.ours_ms, p.floor_ms, p.ratio, p.low, p.high, p.n);
    if (must > 0 && ok) fprintf(f, "  <= %.2f ok", must);
    if (!ok)
        fprintf(f, "  <= %.2f MISSED by %.3f (%.1f %%)", must, p.ratio - must,
                100 * (p.ratio / must - 1));
    fprintf(f, "\n");
    if (!bench.json) return;
    printf("{\"case\":\"%s\",\"threads\":1,\"ours_ms\":%.6g,\"floor_ms\":%.6g,"
           "\"ratio\":%.6g,\"low\":%.6g,\"high\":%.6g,\"pairs\":%d",
           name, p.ours_ms, p.floor_ms, p.ratio, p.low, p.high, p.n);
    if (must > 0) printf(",\"must\":%g,\"ok\":%s", must, ok ? "true" : "false");
    printf("}\n");
}

void bench_report_value(const char *name, double ms, double value, const char *unit)
{
    FILE *f = bench_table();
    fprintf(f, "%-22s ", name);
    if (ms > 0)
        fprintf(f, "%10.3f ms %16s", ms, "");
    else
        fprintf(f, "%30s", "");
    fprintf(f, "%.10g %s\n", value, unit);
    if (!bench.json) return;
    printf("{\"case\":\"%s\",\"threads\":1,\"ours_ms\":", name);
    if (ms > 0)
        printf("%.6g", ms);
    else
        printf("null");
    printf(",\"floor_ms\":null,\"ratio\":null,\"value\":%.10g,\"unit\":\"%s\"}\n", value,
           unit);
}

/* Running. */

static const struct bench_case {
    const char *name, *what;
    bool (*run)(void);
} bench_cases[] = {
    {"hyper_linear_step", "inner step of hyper-cleaning / its matrix products",
     bench_linear_step},
    {"hyper_linear", "hypergradient, T = 100, store-all / plain training", bench_linear},
    {"hyper_linear_record", "record, derive, cut and plan that bilevel",
     bench_linear_record},
    {"hyper_linear_memory", "its bytes, nodes and allocations", bench_linear_memory},
    {"hyper_mlp", "hypergradient of an MLP, T = 100, store-all / plain training",
     bench_hyper_mlp},
    {"eager_scalar", "append and run a 0-d node", bench_eager_scalar},
    {"replay_scalar", "replay a 0-d node", bench_replay_scalar},
    {"steps", "training steps of four networks / their products by OpenBLAS",
     bench_steps},
    {"order2", "layer by layer, hvp / gradient", bench_order2},
};
enum { BENCH_CASES = sizeof bench_cases / sizeof bench_cases[0] };

static void bench_usage(FILE *f)
{
    fprintf(f, "usage: bench [--quick] [--json] [case ...]\n\n");
    for (int k = 0; k < BENCH_CASES; k++)
        fprintf(f, "  %-22s %s\n", bench_cases[k].name, bench_cases[k].what);
    fprintf(f, "\nCPU time of one thread, paired in turns, medians (quartiles).\n"
               "--quick takes fewer pairs; --json prints a JSON line per row.\n"
               "HYPERTAPE_DATA is the folder with mnist/ in it.\n");
}

/* Index of the case of that name, or -1. */
static int bench_find(const char *name)
{
    for (int k = 0; k < BENCH_CASES; k++)
        if (!strcmp(name, bench_cases[k].name)) return k;
    return -1;
}

int main(int argc, char **argv)
{
    bool chosen[BENCH_CASES] = {false}, any = false;
    for (int i = 1; i < argc; i++) {
        int k = bench_find(argv[i]);
        if (!strcmp(argv[i], "--help")) {
            bench_usage(stdout);
            return 0;
        } else if (!strcmp(argv[i], "--quick")) {
            bench.quick = true;
        } else if (!strcmp(argv[i], "--json")) {
            bench.json = true;
        } else if (k >= 0) {
            chosen[k] = any = true;
        } else {
            fprintf(stderr, "bench: no flag or case \"%s\"\n", argv[i]);
            bench_usage(stderr);
            return 2;
        }
    }
    bool ok = true;
    fprintf(bench_table(), "%-22s %13s %13s   %6s\n", "case", "ours", "floor", "ratio");
    for (int k = 0; k < BENCH_CASES; k++)
        if (!any || chosen[k]) ok = bench_cases[k].run() && ok;
    return ok ? 0 : 1;
}
