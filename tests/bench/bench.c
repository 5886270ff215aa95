/* SPDX-License-Identifier: MIT */
/* bench.c: the benchmark program: picks cases and runs them. Read next: bench.h, steps.c,
 * hyper.c (what the cases are), NOTES.md (what was found). */
#include "bench.h"

#include <stdio.h>
#include <string.h>

static bool bench_bilevel(void)
{
    bool ok = bench_schedules();
    return bench_single() && ok;
}

static const struct bench_case {
    const char *name, *what;
    bool (*run)(void);
    bool long_one; /* only when named */
} bench_cases[] = {
    {"steps", "training steps of four networks / their products by OpenBLAS", bench_steps,
     false},
    {"mlp_step", "each of the four by itself", bench_mlp_step, true},
    {"tiny_step", "", bench_tiny_step, true},
    {"cnn_step", "", bench_cnn_step, true},
    {"vit_step", "", bench_vit_step, true},
    {"step_threads", "the steps on two threads / one thread, also beside other work",
     bench_step_threads, false},
    {"hyper_linear_step", "inner step of hyper-cleaning / its products, / by OpenBLAS",
     bench_linear_step, false},
    {"roof", "its two products / reading X once", bench_roof, false},
    {"adam", "Adam over 670,000 parameters / a C loop", bench_adam, false},
    {"hyper_linear", "hypergradient, T = 100, store-all / plain training",
     bench_hyper_linear, false},
    {"hyper_outers", "16 outer losses of one such training / 16 of them",
     bench_hyper_outers, false},
    {"hyper_mlp", "the same of an MLP, with momentum", bench_hyper_mlp, false},
    {"hyper_mlp_long", "the same, T = 1,000 and 10,000 in 128 MB", bench_hyper_mlp_long,
     false},
    {"hyper_mlp_disk", "states on a disk, T = 20,000, --full 10^6 (an hour)",
     bench_hyper_mlp_disk, true},
    {"hyper_cnn", "the same of a CNN with Adam, T = 10", bench_hyper_cnn, false},
    {"hyper_vit", "the same of a ViT with AdamW, T = 10", bench_hyper_vit, false},
    {"hyper_threads", "the hypergradients likewise", bench_hyper_threads, false},
    {"eager_scalar", "append and run a 0-d node", bench_eager_scalar, false},
    {"replay_scalar", "replay a 0-d node", bench_replay_scalar, false},
    {"order2", "layer by layer, hvp / gradient", bench_order2, false},
    {"bilevel", "the next two", bench_bilevel, true},
    {"schedules", "checkpoint schedules of 64 states, T = 10^2 .. 10^4, --full 10^5",
     bench_schedules, true},
    {"single", "ten single loops, and CG: quadratics, data cleaning", bench_single, true},
    {"tables", "hypergradients against T, N, width, depth (only when named)",
     bench_tables, true},
};
enum { BENCH_CASES = sizeof bench_cases / sizeof bench_cases[0] };

static void bench_usage(FILE *f)
{
    fprintf(f, "usage: bench [--quick | --full] [--json] [case ...]\n\n");
    for (int k = 0; k < BENCH_CASES; k++)
        fprintf(f, "  %-18s %s\n", bench_cases[k].name, bench_cases[k].what);
    fprintf(f, "\nCPU time of one thread (two threads: wall clock, if both cores are "
               "free), in turns,\nmedians (quartiles, pairs). --quick takes 3 pairs and "
               "is the default, --full 21;\n--json prints a JSON line per row. "
               "HYPERTAPE_DATA is the folder with mnist/ in it.\nWhat can be counted "
               "is a test: ./dev test counts callgrind\n");
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
    bool chosen[BENCH_CASES] = {false}, any = false, ok = true;
    for (int i = 1; i < argc; i++) {
        int k = bench_find(argv[i]);
        if (!strcmp(argv[i], "--help")) {
            bench_usage(stdout);
            return 0;
        } else if (!strcmp(argv[i], "--quick")) {
            bench.full = false;
        } else if (!strcmp(argv[i], "--full")) {
            bench.full = true;
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
    bench.roofs = true;
    bench_machine();
    bench_report_head();
    for (int k = 0; k < BENCH_CASES; k++)
        if (any ? chosen[k] : !bench_cases[k].long_one) ok = bench_cases[k].run() && ok;
    bench_report_missed();
    return ok ? 0 : 1;
}
