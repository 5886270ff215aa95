/* SPDX-License-Identifier: MIT */
/* bilevel.c: making, running and freeing a bilevel of any method, of one training. Read
 * next: problem.c, record/record.c (programs), unroll/memory.c, training.c; front.c. */
#include <math.h>

#include "bilevel_internal.h"

/* Making. */

static bool flags_open(ht_bilevel *b)
{
    hti_programs *p = &b->programs;
    size_t n = (size_t)b->problem.eta->n;
    p->summed = hti_zalloc(b->ctx, 3 * n, sizeof *p->summed);
    p->reach = hti_zalloc(b->ctx, n, sizeof *p->reach);
    p->trained = hti_zalloc(b->ctx, (size_t)b->problem.theta->n, sizeof *p->trained);
    if (!p->summed || !p->reach || !p->trained) return false;
    for (int i = 0; i < b->problem.theta->n; i++)
        p->trained[i] =
            hti_update_of(&b->problem.asked.update, b->problem.theta->name[i]);
    p->initial_summed = p->summed + n;
    p->init_alone = p->initial_summed + n;
    return true;
}

/* Records under a peak of its own, so that it can be said how much recording took. */
static bool bilevel_plan(ht_bilevel *b, const ht_bilevel_options *o)
{
    ht_context *ctx = b->ctx;
    size_t peak = ctx->peak;
    b->planning->own_bytes = ctx->live - b->planning->base;
    ctx->peak = ctx->live;
    bool ok = hti_record(b, o);
    b->memory.recorded_peak = ctx->peak - b->planning->base;
    if (ctx->peak < peak) ctx->peak = peak;
    return ok;
}

/* base: bytes live before the bilevel. */
static bool bilevel_build(ht_bilevel *b, const ht_bilevel_problem *problem,
                          const ht_bilevel_options *o, size_t base)
{
    hti_memory *m = &b->memory;
    hti_planning planning = {.base = base};
    b->planning = &planning;
    int64_t last = b->method->last_steps ? b->method->last_steps : o->truncate;
    bool ok = hti_problem_open(b, problem, last) && flags_open(b) && hti_warm_open(b);
    if (ok)
        m->block_bytes =
            hti_set_bytes(b->problem.theta) + hti_set_bytes(b->problem.state);
    ok = ok && bilevel_plan(b, o) && hti_memory_allocate(b);
    b->planning = NULL;
    m->allocated_bytes = b->ctx->live - base;
    /* What they point to has been read, and is the caller's to free or change. */
    b->problem.asked.update = (ht_update){0};
    b->problem.asked.coordinates = NULL;
    return ok;
}

ht_bilevel *hti_bilevel_new(ht_context *ctx, const hti_method *method,
                            const ht_bilevel_problem *problem,
                            const ht_bilevel_options *o)
{
    if (ctx->status != HT_OK || !hti_problem_valid(ctx, method, problem, o)) return NULL;
    size_t base = ctx->live;
    ht_bilevel *b = hti_zalloc(ctx, 1, sizeof *b);
    if (!b) return NULL;
    static const hti_kind kind = {.name = "bilevel"};
    hti_own(ctx, &b->owned, &kind);
    b->ctx = ctx;
    b->method = method;
    b->options = *o;
    if (bilevel_build(b, problem, o, base)) {
        hti_note_made(b);
        return b;
    }
    hti_bilevel_free(b);
    return NULL;
}

void hti_bilevel_free(ht_bilevel *b)
{
    if (!b) return;
    ht_context *ctx = b->ctx;
    hti_programs *p = &b->programs;
    size_t n = (size_t)b->problem.loan[HTI_LENT_ETA].n;
    hti_memory_release(b);
    hti_curvature_free(b);
    for (int k = 0; k < HTI_CALLS; k++) hti_call_free(ctx, &p->call[k]);
    hti_resize(ctx, p->product, (size_t)p->n_products * sizeof *p->product, 0);
    hti_resize(ctx, p->summed, 3 * n * sizeof *p->summed, 0);
    hti_resize(ctx, p->reach, n * sizeof *p->reach, 0);
    hti_resize(ctx, p->trained,
               (size_t)b->problem.loan[HTI_LENT_THETA].n * sizeof *p->trained, 0);
    if (p->layers)
        hti_resize(ctx, p->layers, (size_t)b->problem.state->n * sizeof *p->layers, 0);
    hti_resize(ctx, b->why, HTI_NOTE, 0);
    hti_problem_close(b);
    hti_retire(&b->owned, sizeof *b);
}

/* The high water, of making it or of a run that takes so many more. */
static size_t most_bytes(const ht_bilevel *b, size_t run)
{
    const hti_memory *m = &b->memory;
    size_t bytes = m->allocated_bytes + run;
    return bytes < m->recorded_peak ? m->recorded_peak : bytes;
}

size_t hti_bilevel_bytes(const ht_bilevel *b)
{
    return most_bytes(b, 0);
}

/* Running. */

static bool result_finite(const ht_bilevel *b)
{
    const ht_bilevel_result *r = &b->run.result;
    return isfinite(r->outer) && isfinite(r->inner) &&
           (b->run.evaluating || isfinite(hti_largest(hti_gradient(b), NULL))) &&
           (!r->gradient_theta0 || isfinite(hti_largest(r->gradient_theta0, NULL)));
}

static bool run_once(ht_bilevel *b, uint64_t outer_step)
{
    return (b->run.evaluating ? hti_evaluate_run : b->method->run)(b, outer_step);
}

/* A run that ended in something not finite is made again, looking at every value. */
static bool find_bad(ht_bilevel *b, uint64_t outer_step)
{
    ht_bilevel_result result = b->run.result, *again = &b->run.result;
    b->run.watch = true;
    bool ok = run_once(b, outer_step);
    b->run.watch = false;
    result.bad_step = again->bad_step;
    result.bad_op = again->bad_op;
    result.bad_where = again->bad_where;
    if (result.bad_where == HT_BAD_NONE) { /* no op's: a sum of forward mode */
        result.bad_where = HT_BAD_DERIVATIVE;
        result.bad_step = b->problem.steps;
    }
    *again = result;
    return ok;
}

static void run_begin(ht_bilevel *b, bool evaluating)
{
    b->run.evaluating = evaluating;
    b->run.result = (ht_bilevel_result){.outer = (double)NAN,
                                        .inner = (double)NAN,
                                        .inner_residual = (double)NAN,
                                        .solver_residual = (double)NAN,
                                        .error_bound = (double)NAN,
                                        .bad_step = -1,
                                        .start = b->problem.start,
                                        .inner_steps = b->problem.steps,
                                        .method = b->method->kind,
                                        .schedule = b->memory.choice.schedule,
                                        .predicted_bytes = most_bytes(b, 0)};
    b->run.growth = (hti_growth){0};
    b->run.last = b->problem.steps - 1;
    b->run.solver_end = 0;
    b->run.drift = 0;
    b->run.started = hti_seconds();
    b->run.running = true;
    b->run.ended = false;
}

/* What was asked for, if all went well; `took`: bytes at the allocator's high water. */
static void run_end(ht_bilevel *b, bool ok, size_t took)
{
    ht_bilevel_result *r = &b->run.result;
    b->run.running = false;
    b->run.ended = ok;
    hti_note_run(b);
    r->gradient = ok && !b->run.evaluating ? hti_gradient(b) : NULL;
    r->outers = ok && b->problem.outers ? b->problem.outer_value : NULL;
    r->theta = ok ? b->problem.final : NULL;
    if (!ok) r->gradient_theta0 = NULL;
    r->peak_bytes = most_bytes(b, took);
}

ht_bilevel_result hti_run_whole(ht_bilevel *b, uint64_t outer_step, bool evaluating)
{
    ht_context *ctx = b->ctx;
    HT_ASSERT(!b->run.running, "a callback of the bilevel's run runs that bilevel again");
    size_t peak = ctx->peak, live = ctx->live;
    ctx->peak = live;
    run_begin(b, evaluating);
    if (!evaluating) b->run.outer_step = outer_step;
    bool ok = ctx->status == HT_OK && hti_sets_hold(b, NULL) && hti_within_horizon(b) &&
              run_once(b, outer_step);
    b->run.result.seconds = hti_seconds() - b->run.started;
    if (ok && !result_finite(b)) ok = find_bad(b, outer_step);
    run_end(b, ok, ctx->peak - live);
    if (ctx->peak < peak) ctx->peak = peak;
    return b->run.result;
}
