/* SPDX-License-Identifier: MIT */
/* machine.c: which machine this is, and what it can do at most, now: multiply-adds in
 * registers, and reading so many bytes again and again. Read next: report.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "floor.h"
#include "kernels.h"

enum { LINE = 4096, TRIES = 5, LEVELS = 4 };

/* The value of a line "key : value" of /proc/cpuinfo; empty: there is none. */
static void cpu_field(const char *key, char value[LINE])
{
    char line[LINE];
    FILE *f = fopen("/proc/cpuinfo", "r");
    *value = 0;
    while (f && !*value && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        size_t n = strlen(key);
        if (!colon || strncmp(line, key, n) != 0 || !strchr("\t :", line[n])) continue;
        colon += strspn(colon, ": \t");
        colon[strcspn(colon, "\n")] = 0;
        snprintf(value, LINE, "%s", colon);
    }
    if (f) fclose(f);
}

/* Of the flags those that our kernels, or others', are made for. */
static void instruction_sets(char to[LINE])
{
    static const char *const set[] = {"avx2", "fma", "avx512f", "avx512_bf16",
                                      "amx_bf16"};
    char flags[LINE], padded[LINE + 2], word[32];
    size_t used = 0;
    cpu_field("flags", flags);
    snprintf(padded, sizeof padded, " %s ", flags);
    *to = 0;
    for (size_t k = 0; k < sizeof set / sizeof *set; k++) {
        snprintf(word, sizeof word, " %s ", set[k]);
        if (strstr(padded, word))
            used +=
                (size_t)snprintf(to + used, LINE - used, "%s%s", used ? " " : "", set[k]);
    }
}

/* "32K, 1024K, 32768K": of data caches, from the first level on. */
static void caches(char to[LINE])
{
    size_t used = 0;
    *to = 0;
    for (int k = 0; k < 2 * LEVELS; k++) {
        char path[128], kind[32] = "", size[32] = "";
        const char *const part[] = {"type", "size"};
        for (int p = 0; p < 2; p++) {
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s",
                     k, part[p]);
            FILE *f = fopen(path, "r");
            if (f && fscanf(f, "%31s", p ? size : kind) != 1) *kind = 0;
            if (f) fclose(f);
        }
        if (*size && strcmp(kind, "Instruction") != 0)
            used +=
                (size_t)snprintf(to + used, LINE - used, "%s%s", used ? ", " : "", size);
    }
}

/* The instruction set a context has: "amx" where products run on matrix tiles. */
static const char *kernels_name(void)
{
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    const char *name = ctx ? ctx->kernels->name : "none";
    ht_context_free(ctx);
    return name;
}

void bench_machine(void)
{
    const char *ours = kernels_name();
    char make[LINE], model[LINE], sets[LINE], sizes[LINE];
    cpu_field("vendor_id", make);
    cpu_field("model name", model);
    instruction_sets(sets);
    caches(sizes);
    double peak = bench_peak();
    fprintf(bench.json ? stderr : stdout,
            "%s, %s; %s, ours %s; caches %s; OpenBLAS's core %s; %.0f Gflop/s in "
            "registers\n\n",
            make, model, sets, ours, sizes, bench_blas_core(), 1e-9 * peak);
    if (bench.json)
        printf("{\"make\":\"%s\",\"model\":\"%s\",\"sets\":\"%s\",\"caches\":\"%s\","
               "\"blas_core\":\"%s\",\"peak_gflops\":%.4g,\"kernels\":\"%s\"}\n",
               make, model, sets, sizes, bench_blas_core(), 1e-9 * peak, ours);
}

/* The fastest of a few tries: what else runs can only slow one. */
double bench_peak(void)
{
    static volatile float kept;
    const int64_t flops = 400000000;
    double best = 0;
    for (int k = 0; k < TRIES; k++) {
        double begin = bench_seconds();
        kept = bench_hand_fma(flops);
        double rate = (double)flops / (bench_seconds() - begin);
        if (rate > best) best = rate;
    }
    (void)kept;
    return best;
}

double bench_read_rate(double bytes)
{
    static volatile uint64_t kept;
    size_t n = (size_t)(bytes / sizeof(uint64_t)) + 1;
    int64_t times = (int64_t)(1e8 / bytes) + 1;
    uint64_t *x = calloc(n, sizeof *x);
    double best = 0;
    if (!x) return 0;
    memset(x, 1, n * sizeof *x);
    for (int k = 0; k < TRIES; k++) {
        double begin = bench_seconds();
        for (int64_t i = 0; i < times; i++) kept = bench_hand_read(n, x);
        double rate = (double)times * bytes / (bench_seconds() - begin);
        if (rate > best) best = rate;
    }
    (void)kept;
    free(x);
    return best;
}
