/* SPDX-License-Identifier: MIT */
/* steps.c: a training step of four networks against their matrix products alone, by
 * OpenBLAS: forward, and for the backward each one's two, without the input gradient of
 * the first. Read next: plain.c, floor.c, threads.c, NOTES.md. */
#include "steps.h"

#include <stdio.h>

#include "bench.h"

#define STEPS_SGD                                 \
    {                                             \
        .rule = &ht_sgd, .rate = {.value = 0.01 } \
    }
#define STEPS_ADAM                                                                  \
    .rate = {.value = 1e-3}, .momentum = {.value = 0.9}, .beta2 = {.value = 0.999}, \
    .eps = {.value = 1e-8}

const step_case step_cases[STEP_CASES] = {
    {"mlp_step",
     1.10,
     &bench_mlp,
     128,
     STEPS_SGD,
     {{1, 128, 512, 784}, {1, 128, 512, 512}, {1, 128, 10, 512}}},
    {"tiny_step", 0, &bench_tiny, 32, STEPS_SGD, {{1, 32, 64, 32}, {1, 32, 10, 64}}},
    {"cnn_step",
     1.8,
     &bench_cnn,
     64,
     {.rule = &ht_adam, STEPS_ADAM},
     {{64, 1024, 32, 27}, {64, 1024, 32, 288}, {64, 256, 64, 288}, {1, 64, 10, 4096}}},
    {"vit_step",
     1.5,
     &bench_vit,
     32,
     {.rule = &ht_adamw, STEPS_ADAM, .decay = {.value = 0.05}},
     {{1, 2048, 96, 48},
      {4, 2048, 288, 96},
      {512, 64, 64, 24},
      {512, 64, 24, 64},
      {4, 2048, 96, 96},
      {4, 2048, 384, 96},
      {4, 2048, 96, 384},
      {1, 32, 10, 96}}},
};

static ht_var steps_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    const step *s = user;
    (void)eta;
    return ht_mean(bench_model_losses(s->c->model, theta, ht_get(batch, "x"),
                                      ht_get(batch, "label")));
}

bool step_good(const step *s)
{
    if (s->ctx && ht_context_status(s->ctx) == HT_OK) return true;
    fprintf(stderr, "bench: %s: %s\n", s->c->name,
            s->ctx ? ht_context_message(s->ctx) : "no memory");
    return false;
}

bool step_open(step *s, const step_case *c, int threads)
{
    *s = (step){.c = c};
    s->ctx = bench_context(0, threads);
    if (!s->ctx) return step_good(s);
    s->theta = ht_set_new(s->ctx);
    s->batch = bench_noise(s->ctx, 1, c->model->image, c->batch);
    if (!step_good(s)) return false;
    c->model->init(c->model, s->theta);
    ht_bilevel_problem problem = {.inner = steps_loss,
                                  .theta = s->theta,
                                  .inner_data = s->batch,
                                  .update = c->update,
                                  .steps = 1,
                                  .user = s};
    return bench_plain_open(&s->plain, &problem, true) || step_good(s);
}

void step_close(step *s)
{
    bench_floor_close(&s->floor);
    bench_plain_close(&s->plain);
    ht_set_free(s->theta);
    ht_set_free(s->batch);
    ht_context_free(s->ctx);
}

/* The step counter stays at 0: the work of a step does not depend on it. */
void step_run(void *user)
{
    step *s = user;
    bench_plain_step(&s->plain, 0);
}

void step_run_floor(void *user)
{
    step *s = user;
    bench_floor_run(&s->floor);
}

void step_run_record(void *user)
{
    step *s = user;
    bench_plain_record(&s->plain);
}

static void steps_report_record(step *s)
{
    char name[64];
    double ms = bench_time(step_run_record, s);
    if (!step_good(s)) return;
    snprintf(name, sizeof name, "%s_record", s->c->name);
    bench_report(
        &(bench_row){.name = name,
                     .ms = ms,
                     .value = ms,
                     .unit = "ms",
                     .most = s->c->model == &bench_vit ? 20 : 0,
                     .extra = {{"nodes", (double)ht_program_nodes(s->plain.program)},
                               {"bytes", (double)ht_program_bytes(s->plain.program)}}});
}

static bool steps_case_run(const step_case *c)
{
    step s;
    bool ok = step_open(&s, c, 1);
    bench_row row = {.name = c->name, .most = c->most};
    if (ok) row.flops = ht_program_flops(s.plain.program);
    if (ok && !bench_floor_open(&s.floor, c->product, 1)) {
        fprintf(stderr, "bench: no memory for the products of %s\n", c->name);
        ok = false;
    }
    if (ok && bench_has_blas()) {
        row.pairs = bench_compare(step_run, step_run_floor, &s);
    } else if (ok) {
        row.ms = bench_time(step_run, &s);
        row.note = "no floor: built without OpenBLAS";
    }
    ok = ok && step_good(&s);
    if (ok) bench_report(&row);
    if (ok) steps_report_record(&s);
    step_close(&s);
    return ok;
}

bool bench_mlp_step(void)
{
    return steps_case_run(&step_cases[0]);
}

bool bench_tiny_step(void)
{
    return steps_case_run(&step_cases[1]);
}

bool bench_cnn_step(void)
{
    return steps_case_run(&step_cases[2]);
}

bool bench_vit_step(void)
{
    return steps_case_run(&step_cases[3]);
}

bool bench_steps(void)
{
    bool ok = true;
    for (int i = 0; i < STEP_CASES; i++) ok = steps_case_run(&step_cases[i]) && ok;
    return ok;
}
