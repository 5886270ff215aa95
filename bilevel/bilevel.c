/* SPDX-License-Identifier: MIT */
/* bilevel.c: making, running and freeing a bilevel; what is refused and what is reported.
 * Read next: record/record.c (programs), unroll/memory.c (schedules), unroll/sweep.c. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "bilevel_internal.h"

double hti_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Refusing. */

static const char *const role_name[HTI_ROLES] = {
    "theta", "eta", "inner_data", "outer_data",
    "the batch of a data set that is NULL in the problem"};

static bool hti_problem_fail(ht_context *ctx, const char *text)
{
    ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL, "bilevel: %s", text);
    return false;
}

/* One set in two places. theta and eta: theta_0 is eta then. Inner and outer data: what
 * the one callback filled the other fills again. What cannot be right is refused. */
static bool hti_sharing_valid(ht_context *ctx, const ht_bilevel_problem *p)
{
    const ht_set *variable[] = {p->theta, p->eta},
                 *data[] = {p->inner_data, p->outer_data};
    for (int k = 0; k < 4; k++) {
        if (variable[k / 2] != data[k % 2]) continue;
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "bilevel: %s is the set %s too, but a batch is a constant: "
                        "derivatives through it would be missing\n  hint: the callbacks "
                        "are given %s as variables; for constants give a clone "
                        "(ht_set_clone)",
                        role_name[HTI_INNER_DATA + k % 2], role_name[k / 2],
                        role_name[k / 2]);
        return false;
    }
    if (!p->inner_data || p->inner_data != p->outer_data) return true;
    if (p->inner_batch || !p->outer_batch) return true;
    return hti_problem_fail(
        ctx, "outer_batch fills the set that is inner_data too, and no "
             "inner_batch fills it again for the inner steps\n  hint: "
             "give an inner_batch as well, or outer_data a set of its own");
}

static bool hti_sets_valid(ht_context *ctx, const ht_bilevel_problem *p)
{
    const ht_set *set[] = {p->theta, p->eta, p->inner_data, p->outer_data};
    const char *const *name = role_name;
    for (int k = 0; k < 4; k++) {
        if (!set[k]) continue;
        HT_ASSERT(set[k]->ctx == ctx, "%s is on another context", name[k]);
        for (int i = 0; k < 2 && i < set[k]->n; i++) {
            if (hti_dtype_is_float(ht_tensor_dtype(set[k]->tensor[i]))) continue;
            ht_context_fail(ctx, HT_ERROR_NO_GRADIENT, NULL,
                            "bilevel: \"%s\" in %s is %s, which has no gradient\n"
                            "  hint: put labels and indices into the data",
                            set[k]->name[i], name[k],
                            ht_dtype_name(ht_tensor_dtype(set[k]->tensor[i])));
            return false;
        }
    }
    if (!p->theta->n) return hti_problem_fail(ctx, "theta is empty: nothing to train");
    if (!p->eta->n)
        return hti_problem_fail(ctx, "eta is empty: nothing to differentiate by");
    return hti_sharing_valid(ctx, p);
}

static bool hti_coordinates_valid(ht_context *ctx, const ht_bilevel_problem *p)
{
    HT_ASSERT(p->n_coordinates == 0 || (p->n_coordinates > 0 && p->coordinates),
              "bilevel: %d coordinates at %p", p->n_coordinates,
              (const void *)p->coordinates);
    for (int k = 0; k < p->n_coordinates; k++) {
        const ht_coordinate *c = &p->coordinates[k];
        HT_ASSERT(c->outer, "bilevel: the outer variable of coordinate %d is NULL", k);
        if (!ht_set_tensor(p->eta, c->outer)) return false;
        for (int j = 0; j < k; j++)
            if (!strcmp(p->coordinates[j].outer, c->outer))
                return hti_problem_fail(ctx, "an outer variable has two coordinates");
        if (c->kind < HT_IDENTITY || c->kind > HT_SIGMOID)
            return hti_problem_fail(ctx, "no such kind of coordinate");
        if (!hti_coordinate_bounded(c))
            return hti_problem_fail(ctx, "a sigmoid coordinate needs low < high, and "
                                         "high - low finite");
    }
    return true;
}

/* Slots go with revolve, and revolve needs them or a budget. */
static bool hti_slots_valid(ht_context *ctx, const ht_bilevel_options *o)
{
    static const char *const name[] = {"HT_SCHEDULE_AUTO", "HT_STORE_ALL",
                                       "HT_TWO_LEVEL"};
    if (o->schedule != HT_REVOLVE && o->slots) {
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "bilevel: options.slots is %lld, but options.schedule is %s, "
                        "which takes no number of slots\n"
                        "  hint: HT_REVOLVE does; or leave slots 0 and set options.bytes",
                        (long long)o->slots, name[o->schedule]);
        return false;
    }
    return o->schedule != HT_REVOLVE || o->slots || o->bytes || o->method == HT_FORWARD ||
           hti_problem_fail(ctx,
                            "revolve needs options.slots, or options.bytes to find them");
}

static bool hti_problem_valid(ht_context *ctx, const ht_bilevel_problem *p,
                              const ht_bilevel_options *o)
{
    HT_ASSERT(p->inner && p->outer, "problem.inner or problem.outer is NULL");
    HT_ASSERT(p->theta && p->eta, "problem.theta or problem.eta is NULL");
    if (p->steps < 1 || p->steps > HTI_MAX_STEPS)
        return hti_problem_fail(ctx,
                                "steps must lie in 1 .. 2^30\n  hint: a run of no steps "
                                "has no update to differentiate");
    if (o->truncate < 0 || o->truncate > p->steps || o->slots < 0)
        return hti_problem_fail(ctx,
                                "truncate must lie in 0 .. steps, slots not be negative");
    if (o->method == HT_TRUNCATED && !o->truncate)
        return hti_problem_fail(ctx,
                                "HT_TRUNCATED needs options.truncate, the number of last "
                                "steps to differentiate");
    if (o->method < HT_AUTO || o->method > HT_TRUNCATED ||
        o->schedule < HT_SCHEDULE_AUTO || o->schedule > HT_REVOLVE)
        return hti_problem_fail(ctx, "no such method or schedule");
    if (!hti_slots_valid(ctx, o)) return false;
    return hti_sets_valid(ctx, p) && hti_coordinates_valid(ctx, p) &&
           hti_update_check(ctx, &p->update, p->theta, p->eta, p->steps);
}

/* Making. */

static void hti_sets_lend(ht_bilevel *b)
{
    ht_set *const set[HTI_ROLES] = {b->theta, b->eta, b->inner_data, b->outer_data,
                                    b->empty};
    for (int k = 0; k < HTI_ROLES; k++)
        if (set[k]) hti_set_lend(set[k], &b->loan[k], "bilevel", role_name[k]);
}

bool hti_sets_hold(const ht_bilevel *b, const char *where)
{
    for (int k = 0; k < HTI_ROLES; k++)
        if (!hti_loan_holds(&b->loan[k], where)) return false;
    return true;
}

/* Of the sets a result points to; never written. */
static hti_loan result_owner = {.borrower = "bilevel", .role = "result"};

static void hti_results_own(ht_bilevel *b)
{
    hti_set_own(b->gradient, &result_owner);
    hti_set_own(b->gradient_theta0, &result_owner);
    hti_set_own(b->final, &result_owner);
}

static void hti_results_free(ht_bilevel *b)
{
    ht_set *const set[] = {b->gradient, b->gradient_theta0, b->final};
    for (int k = 0; k < 3; k++) {
        hti_set_disown(set[k], &result_owner);
        ht_set_free(set[k]);
    }
}

/* The sets and flags a bilevel owns. */
static bool hti_bilevel_open(ht_bilevel *b)
{
    ht_context *ctx = b->ctx;
    size_t n = (size_t)b->eta->n;
    b->empty = ht_set_new(ctx);
    hti_sets_lend(b);
    if (!b->inner_data) b->inner_data = b->empty;
    if (!b->outer_data) b->outer_data = b->empty;
    b->state = hti_update_state(&b->problem.update, b->theta);
    b->gradient = ht_set_clone(b->eta, 0);
    b->gradient_theta0 = ht_set_clone(b->theta, 0);
    b->final = ht_set_clone(b->theta, 0);
    hti_results_own(b);
    b->summed = hti_zalloc(ctx, 3 * n, sizeof *b->summed);
    b->initial_summed = b->summed ? b->summed + n : NULL;
    b->init_alone = b->summed ? b->initial_summed + n : NULL;
    return ctx->status == HT_OK;
}

static ht_method hti_method(const ht_bilevel_options *o)
{
    bool reverse = o->method == HT_AUTO || o->method == HT_REVERSE;
    if (reverse && o->truncate) return HT_TRUNCATED;
    return reverse ? HT_REVERSE : o->method;
}

/* Records under a peak of its own, so that it can be said how much recording took. */
static bool hti_bilevel_plan(ht_bilevel *b, const ht_bilevel_options *o)
{
    ht_context *ctx = b->ctx;
    size_t peak = ctx->peak;
    b->planning->own_bytes = ctx->live - b->planning->base;
    ctx->peak = ctx->live;
    bool ok = hti_bilevel_record(b, o);
    b->recorded_peak = ctx->peak - b->planning->base;
    if (ctx->peak < peak) ctx->peak = peak;
    return ok;
}

static bool hti_bilevel_build(ht_bilevel *b, const ht_bilevel_options *o, size_t base)
{
    hti_planning planning = {.base = base};
    b->planning = &planning;
    bool ok = hti_bilevel_open(b) && hti_bilevel_plan(b, o) && hti_bilevel_allocate(b);
    b->planning = NULL;
    b->predicted_bytes = b->allocated_bytes = b->ctx->live - base;
    if (b->predicted_bytes < b->recorded_peak) b->predicted_bytes = b->recorded_peak;
    return ok;
}

ht_bilevel *ht_bilevel_new(ht_context *ctx, const ht_bilevel_problem *problem,
                           const ht_bilevel_options *options)
{
    HT_ASSERT(ctx && problem, "ht_bilevel_new: ctx or problem is NULL");
    ht_bilevel_options none = {0}, o = options ? *options : none;
    if (ctx->status != HT_OK || !hti_problem_valid(ctx, problem, &o)) return NULL;
    size_t base = ctx->live;
    ht_bilevel *b = hti_zalloc(ctx, 1, sizeof *b);
    if (!b) return NULL;
    b->ctx = ctx;
    b->problem = *problem;
    b->theta = problem->theta;
    b->eta = problem->eta;
    b->inner_data = problem->inner_data;
    b->outer_data = problem->outer_data;
    b->method = hti_method(&o);
    b->first = o.truncate ? problem->steps - o.truncate : 0;
    bool ok = hti_bilevel_build(b, &o, base);
    /* What they point to has been read, and is the caller's to free or change. */
    b->problem.update = (ht_update){0};
    b->problem.coordinates = NULL;
    if (ok) {
        hti_note_made(b);
        return b;
    }
    ht_bilevel_free(b);
    return NULL;
}

void ht_bilevel_free(ht_bilevel *b)
{
    if (!b) return;
    HT_ASSERT(!b->running, "ht_bilevel_free: called by a callback of the bilevel's run");
    ht_context *ctx = b->ctx;
    for (int k = 0; k < HTI_ROLES; k++) hti_set_return(&b->loan[k]);
    hti_bilevel_release(b);
    for (int k = 0; k < HTI_CALLS; k++) hti_call_free(ctx, &b->call[k]);
    hti_resize(ctx, b->log, (size_t)b->n_log * sizeof *b->log, 0);
    hti_resize(ctx, b->summed, 3 * (size_t)b->loan[HTI_ETA].n * sizeof *b->summed, 0);
    ht_set_free(b->empty);
    ht_set_free(b->state);
    hti_results_free(b);
    hti_resize(ctx, b, sizeof *b, 0);
}

size_t ht_bilevel_bytes(const ht_bilevel *b)
{
    HT_ASSERT(b, "ht_bilevel_bytes: bilevel is NULL");
    return b->predicted_bytes;
}

void ht_bilevel_print(const ht_bilevel *b, FILE *f)
{
    HT_ASSERT(b && f, "ht_bilevel_print: bilevel %p, file %p", (const void *)b,
              (void *)f);
    static const char *const title[HTI_CALLS] = {"initial values",
                                                 "initial values, reverse",
                                                 "initial values, tangent",
                                                 "step",
                                                 "step, products kept",
                                                 "step, reverse",
                                                 "step, reverse with products kept",
                                                 "step, tangent",
                                                 "outer loss and its gradient",
                                                 "inner loss"};
    for (int k = 0; k < HTI_CALLS; k++) {
        if (!b->call[k].program) continue;
        fprintf(f, "--- %s\n", title[k]);
        ht_program_print(b->call[k].program, f);
    }
    fprintf(f,
            "--- %lld blocks of %zu bytes, %zu bytes of products a step; predicted peak ",
            (long long)b->n_blocks, b->block_bytes, b->log_bytes);
    hti_print_bytes(f, (double)b->predicted_bytes);
    fprintf(f, "\n");
}

/* Running. */

static bool hti_result_finite(const ht_bilevel *b)
{
    return isfinite(b->result.outer) && isfinite(b->result.inner) &&
           (b->evaluating || isfinite(hti_largest(b->gradient, NULL))) &&
           (!b->result.gradient_theta0 ||
            isfinite(hti_largest(b->result.gradient_theta0, NULL)));
}

static bool hti_run_once(ht_bilevel *b, uint64_t outer_step)
{
    if (b->evaluating) return hti_evaluate_run(b, outer_step);
    return b->method == HT_FORWARD ? hti_forward_run(b, outer_step)
                                   : hti_reverse_run(b, outer_step);
}

/* A run that ended in something not finite is made again, looking at every value. */
static bool hti_find_bad(ht_bilevel *b, uint64_t outer_step)
{
    ht_bilevel_result result = b->result;
    b->watch = true;
    bool ok = hti_run_once(b, outer_step);
    b->watch = false;
    result.bad_step = b->result.bad_step;
    result.bad_op = b->result.bad_op;
    result.bad_where = b->result.bad_where;
    if (result.bad_where == HT_BAD_NONE) { /* no op's: a sum of forward mode */
        result.bad_where = HT_BAD_DERIVATIVE;
        result.bad_step = b->problem.steps;
    }
    b->result = result;
    return ok;
}

static ht_bilevel_result hti_run(ht_bilevel *b, uint64_t outer_step, bool evaluating)
{
    ht_context *ctx = b->ctx;
    HT_ASSERT(!b->running, "a callback of the bilevel's run runs that bilevel again");
    size_t peak = ctx->peak, live = ctx->live;
    ctx->peak = live;
    b->evaluating = evaluating;
    b->result = (ht_bilevel_result){.outer = (double)NAN,
                                    .inner = (double)NAN,
                                    .bad_step = -1,
                                    .method = b->method,
                                    .schedule = b->method == HT_FORWARD ? HT_SCHEDULE_NONE
                                                                        : b->schedule,
                                    .predicted_bytes = b->predicted_bytes};
    b->growth = (hti_growth){0};
    b->started = hti_seconds();
    b->running = true;
    bool ok =
        ctx->status == HT_OK && hti_sets_hold(b, NULL) && hti_run_once(b, outer_step);
    b->result.seconds = hti_seconds() - b->started;
    if (ok && !hti_result_finite(b)) ok = hti_find_bad(b, outer_step);
    b->running = false;
    hti_note_run(b);
    b->result.gradient = ok && !evaluating ? b->gradient : NULL;
    b->result.theta = ok ? b->final : NULL;
    if (!ok) b->result.gradient_theta0 = NULL;
    b->result.peak_bytes = b->allocated_bytes + (ctx->peak - live);
    if (b->result.peak_bytes < b->recorded_peak) b->result.peak_bytes = b->recorded_peak;
    if (ctx->peak < peak) ctx->peak = peak;
    return b->result;
}

ht_bilevel_result ht_bilevel_run(ht_bilevel *b, uint64_t outer_step)
{
    HT_ASSERT(b,
              "ht_bilevel_run: bilevel is NULL (did ht_bilevel_new fail? see ht_check)");
    return hti_run(b, outer_step, false);
}

ht_bilevel_result ht_bilevel_evaluate(ht_bilevel *b, uint64_t outer_step)
{
    HT_ASSERT(
        b,
        "ht_bilevel_evaluate: bilevel is NULL (did ht_bilevel_new fail? see ht_check)");
    return hti_run(b, outer_step, true);
}
