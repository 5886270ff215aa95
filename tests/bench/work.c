/* SPDX-License-Identifier: MIT */
/* work.c: small fixed pieces of work, for counting instructions: `work <name>` does one,
 * with the baseline loops (one with AVX2's; 77: there are none), inside work_measured.
 * Read next: callgrind.sh. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hyper.h"
#include "kernels.h"
#include "steps.h"

enum { WORK_CHAIN = 1000, WORK_AVX2 = HTI_BASELINE + 1, WORK_SKIPPED = 77 };

/* Everything callgrind counts. */
__attribute__((noinline)) static void work_measured(void (*run)(void *), void *user,
                                                    int times)
{
    for (int i = 0; i < times; i++) run(user);
}

/* A step: replayed, and recorded, derived and planned. */

static bool work_step(const step_case *c, int set, void (*run)(void *), int times)
{
    step s;
    bool ok = step_open(&s, c, 1);
    if (ok) {
        if (!hti_context_use(s.ctx, set)) exit(WORK_SKIPPED);
        run(&s);
        work_measured(run, &s, times);
    }
    ok = ok && step_good(&s);
    step_close(&s);
    return ok;
}

static bool work_replay_step(void)
{
    return work_step(&step_cases[1], HTI_BASELINE, step_run, 100);
}

/* Its products too: those above are OpenBLAS's. */
static bool work_tiny_step(void)
{
    return work_step(&step_cases[1], WORK_AVX2, step_run, 100);
}

static bool work_record_mlp(void)
{
    return work_step(&step_cases[0], HTI_BASELINE, step_run_record, 10);
}

static bool work_record_vit(void)
{
    return work_step(&step_cases[3], HTI_BASELINE, step_run_record, 1);
}

/* Adam over the parameters of 32-64-10. */
static bool work_replay_adam(void)
{
    step_case c = step_cases[1];
    c.update = step_cases[2].update;
    return work_step(&c, HTI_BASELINE, step_run, 100);
}

/* Hypergradients of 32-64-10. */

static hyper_case work_hyper(void)
{
    hyper_case c = hyper_mlp;
    c.model = &bench_tiny;
    c.mnist = false;
    c.steps = 10;
    c.batch = 32;
    c.rows = 320;
    c.outer_rows = 32;
    return c;
}

static void work_record_bilevel_once(void *user)
{
    hyper *h = user;
    ht_bilevel_free(h->bilevel);
    hyper_open_bilevel(h);
}

static bool work_bilevel(ht_bilevel_options options, void (*run)(void *), int times)
{
    hyper h;
    hyper_case c = work_hyper();
    c.options = options;
    bool ok = hyper_open(&h, &c, 1) && hyper_open_bilevel(&h);
    if (ok) {
        hti_context_use(h.ctx, HTI_BASELINE);
        run(&h);
        work_measured(run, &h, times);
    }
    ok = ok && hyper_good(&h);
    hyper_close(&h);
    return ok;
}

static bool work_hypergradient(void)
{
    return work_bilevel((ht_bilevel_options){.schedule = HT_STORE_ALL},
                        hyper_run_gradient, 5);
}

static bool work_revolve(void)
{
    return work_bilevel((ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 2},
                        hyper_run_gradient, 5);
}

static bool work_record_bilevel(void)
{
    return work_bilevel((ht_bilevel_options){0}, work_record_bilevel_once, 5);
}

/* Chains of 0-d products and sums. */

typedef struct work_chain {
    ht_context *ctx;
    ht_tape *tape;
    ht_tensor *x, *y;
    ht_program *program;
} work_chain;

static ht_var work_links(ht_var x, ht_var w)
{
    for (int i = 0; i < WORK_CHAIN; i += 2) x = ht_add(ht_mul(x, w), w);
    return x;
}

static void work_run_eager(void *user)
{
    work_chain *c = user;
    ht_tape_reset(c->tape);
    ht_var x = ht_input(c->tape, c->x);
    work_links(x, x);
}

static void work_run_replay(void *user)
{
    work_chain *c = user;
    ht_program_run(c->program, (const ht_tensor *[]){c->x}, &c->y);
}

static bool work_scalars(ht_policy policy, void (*run)(void *))
{
    work_chain c = {.ctx = ht_context_new(&(ht_context_options){.threads = 1})};
    if (!c.ctx) return false;
    c.x = ht_tensor_new(c.ctx, HT_F64, HT_SCALAR);
    c.y = ht_tensor_new(c.ctx, HT_F64, HT_SCALAR);
    c.tape = ht_tape_new(c.ctx, policy);
    ht_check(c.ctx);
    hti_context_use(c.ctx, HTI_BASELINE);
    if (policy == HT_RECORD) {
        ht_var x = ht_input(c.tape, c.x), y = work_links(x, x);
        c.program = ht_program_new(c.tape, 1, &x, 1, &y);
        ht_check(c.ctx);
    }
    run(&c);
    work_measured(run, &c, 10);
    bool ok = ht_context_status(c.ctx) == HT_OK;
    ht_program_free(c.program);
    ht_tape_free(c.tape);
    ht_tensor_free(c.x);
    ht_tensor_free(c.y);
    ht_context_free(c.ctx);
    return ok;
}

static bool work_eager(void)
{
    return work_scalars(HT_EAGER, work_run_eager);
}

static bool work_replay(void)
{
    return work_scalars(HT_RECORD, work_run_replay);
}

static const struct work_case {
    const char *name;
    bool (*run)(void);
} work_cases[] = {
    {"eager_scalar", work_eager},      {"replay_scalar", work_replay},
    {"replay_step", work_replay_step}, {"tiny_step_avx2", work_tiny_step},
    {"replay_adam", work_replay_adam}, {"hypergradient", work_hypergradient},
    {"revolve", work_revolve},         {"record_mlp", work_record_mlp},
    {"record_vit", work_record_vit},   {"record_bilevel", work_record_bilevel},
};

int main(int argc, char **argv)
{
    for (size_t k = 0; k < sizeof work_cases / sizeof work_cases[0]; k++)
        if (argc == 2 && !strcmp(argv[1], work_cases[k].name))
            return work_cases[k].run() ? 0 : 1;
    fprintf(stderr, "usage: work <name>\n");
    return 2;
}
