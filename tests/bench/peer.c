/* SPDX-License-Identifier: MIT */
/* peer.c: a case of the bench as one of several contenders (`./dev bench peers`). It
 * writes the initial tensors for the others to start from, then does what it is told on
 * stdin and answers in JSON lines; peers/contender.py says what, and does it for Python.
 * Read next: peers/run.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hyper.h"
#include "resident.h"
#include "steps.h"

enum { PEER_CHECK_STEPS = 10, PEER_PATH = 4096 };

typedef struct peer {
    const char *folder;
    const step_case *step_case; /* or NULL: hyper */
    step step;
    hyper hyper;
    hyper_case lean; /* its case, within the budget */
    ht_context *ctx;
    bool f64;
    int64_t steps; /* done */
} peer;

static double peer_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void peer_write(const peer *p, const ht_set *set, const char *name)
{
    char path[PEER_PATH];
    snprintf(path, sizeof path, "%s/%s.safetensors", p->folder, name);
    if (set) ht_set_write(set, path);
    ht_check(p->ctx);
}

/* Adds a copy of every tensor of `from`, as "<prefix><name>". */
static void peer_add(ht_set *to, const char *prefix, const ht_set *from)
{
    char name[256];
    for (int i = 0; i < ht_set_count(from); i++) {
        const ht_tensor *x = ht_set_at(from, i);
        snprintf(name, sizeof name, "%s%s", prefix, ht_set_name(from, i));
        ht_tensor *y = ht_set_add(to, name, ht_tensor_dtype(x), ht_tensor_shape(x));
        if (y) memcpy(ht_tensor_data(y), ht_tensor_data(x), ht_tensor_bytes(x));
    }
}

/* The same values in f64; NULL stays. */
static void peer_widen(ht_set **set)
{
    ht_set *narrow = *set;
    *set = narrow ? ht_set_clone(narrow, HT_F64) : NULL;
    ht_set_free(narrow);
}

/* Steps. */

static void peer_open_step(peer *p, int threads)
{
    step *s = &p->step;
    if (!step_open(s, p->step_case, threads)) exit(1);
    p->ctx = s->ctx;
    peer_write(p, s->theta, "theta");
    peer_write(p, s->batch, "batch");
    if (!p->f64) return;
    ht_bilevel_problem problem = s->plain.problem;
    bench_plain_close(&s->plain);
    peer_widen(&s->theta);
    peer_widen(&s->batch);
    problem.theta = s->theta;
    problem.inner_data = s->batch;
    bench_plain_open(&s->plain, &problem, true);
    ht_check(p->ctx);
}

static void peer_run_step(peer *p)
{
    bench_plain_step(&p->step.plain, p->steps++);
}

/* The first losses, and the parameters they lead to. */
static ht_set *peer_check_step(peer *p)
{
    ht_set *results = ht_set_new(p->ctx);
    ht_tensor *losses = ht_set_add(results, "losses", HT_F64, HT_SHAPE(PEER_CHECK_STEPS));
    for (int i = 0; i < PEER_CHECK_STEPS; i++) {
        peer_run_step(p);
        ht_tensor_set(losses, i, ht_tensor_get(p->step.plain.loss, 0));
    }
    peer_add(results, "", p->step.plain.theta);
    return results;
}

/* Hypergradients. */

static void peer_open_hyper(peer *p, const hyper_case *c, int threads)
{
    hyper *h = &p->hyper;
    p->lean = *c;
    if (c->lean) p->lean.options = (ht_bilevel_options){.bytes = c->lean};
    if (p->f64) p->lean.options.bytes *= 2;
    if (!hyper_open(h, &p->lean, threads)) exit(1);
    p->ctx = h->ctx;
    peer_write(p, h->theta, "theta");
    peer_write(p, h->eta, "eta");
    peer_write(p, h->data, "data");
    peer_write(p, h->outer_data, "outer");
    ht_set **const sets[] = {&h->theta, &h->eta, &h->data, &h->batch, &h->outer_data};
    for (int i = 0; p->f64 && i < 5; i++) peer_widen(sets[i]);
    if (!hyper_open_bilevel(h)) exit(1);
}

static ht_set *peer_check_hyper(peer *p)
{
    ht_set *results = ht_set_new(p->ctx);
    ht_tensor *losses = ht_set_add(results, "losses", HT_F64, HT_SHAPE(1));
    hyper_run_gradient(&p->hyper);
    ht_check(p->ctx);
    ht_tensor_set(losses, 0, p->hyper.last.outer);
    peer_add(results, "gradient.", p->hyper.last.gradient);
    return results;
}

/* Serving. */

static void peer_run(peer *p)
{
    if (p->step_case)
        peer_run_step(p);
    else
        hyper_run_gradient(&p->hyper);
}

/* Of a run that has data and parameters, but records and plans its programs anew. */
static double peer_peak_mb(peer *p)
{
    if (p->step_case) {
        ht_program_free(p->step.plain.program);
        p->step.plain.program = NULL;
    } else {
        ht_bilevel_free(p->hyper.bilevel);
        p->hyper.bilevel = NULL;
    }
    long before = resident_kb();
    if (p->step_case)
        bench_plain_record(&p->step.plain);
    else
        hyper_open_bilevel(&p->hyper);
    ht_check(p->ctx);
    peer_run(p);
    return (double)(status_kb("VmHWM:") - before) / 1024;
}

static void peer_serve_run(peer *p, int n)
{
    double cpu = peer_seconds(CLOCK_PROCESS_CPUTIME_ID),
           wall = peer_seconds(CLOCK_MONOTONIC);
    for (int i = 0; i < n; i++) peer_run(p);
    ht_check(p->ctx);
    printf("{\"n\":%d,\"cpu\":%.9f,\"wall\":%.9f}\n", n,
           peer_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu,
           peer_seconds(CLOCK_MONOTONIC) - wall);
}

static void peer_serve(peer *p, ht_set *results)
{
    char line[64];
    printf("{\"ready\":true}\n");
    while (fflush(stdout) == 0 && fgets(line, sizeof line, stdin)) {
        if (!strncmp(line, "run ", 4)) {
            peer_serve_run(p, (int)strtol(line + 4, NULL, 10));
        } else if (!strcmp(line, "peak\n")) {
            printf("{\"peak_mb\":%.3f}\n", peer_peak_mb(p));
        } else if (!strcmp(line, "check\n")) {
            peer_write(p, results, p->f64 ? "ours-f64" : "ours-f32");
            printf("{\"done\":true}\n");
        } else {
            return;
        }
    }
}

static const hyper_case *peer_find_hyper(const char *name)
{
    const hyper_case *const cases[] = {&hyper_linear, &hyper_mlp, &hyper_cnn, &hyper_vit};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (!strcmp(cases[i]->name, name)) return cases[i];
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: peer <case> <folder> <threads> <f32 or f64>\n");
        return 2;
    }
    peer p = {.folder = argv[2], .f64 = !strcmp(argv[4], "f64")};
    int threads = (int)strtol(argv[3], NULL, 10);
    const hyper_case *c = peer_find_hyper(argv[1]);
    for (int i = 0; i < STEP_CASES; i++)
        if (!strcmp(step_cases[i].name, argv[1])) p.step_case = &step_cases[i];
    if (!c && !p.step_case) {
        fprintf(stderr, "peer: no case \"%s\"\n", argv[1]);
        return 2;
    }
    if (c)
        peer_open_hyper(&p, c, threads);
    else
        peer_open_step(&p, threads);
    ht_set *results = c ? peer_check_hyper(&p) : peer_check_step(&p);
    peer_serve(&p, results);
    ht_set_free(results);
    if (c)
        hyper_close(&p.hyper);
    else
        step_close(&p.step);
    return 0;
}
