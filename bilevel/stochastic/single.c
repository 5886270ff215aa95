/* SPDX-License-Identifier: MIT */
/* single.c: making, moving, saving and freeing a single loop of any method. Read next:
 * oracle.c, soba.c. */
#include <math.h>

#include "single.h"

/* The bilevel below: programs, and no run. */

static bool fits_any(ht_context *ctx, const ht_bilevel_options *o)
{
    (void)ctx, (void)o;
    return true;
}

static bool record_no_initial(hti_recorder *r)
{
    (void)r;
    return true;
}

static hti_room room_for_programs(const ht_bilevel *b, hti_choice c)
{
    (void)b, (void)c;
    return (hti_room){0};
}

static void explain_nothing(ht_bilevel *b)
{
    (void)b;
}

static bool bilevel_open(ht_single *s, const ht_bilevel_problem *problem)
{
    ht_bilevel_problem of = *problem;
    of.steps = 1;
    of.horizon = 0;
    of.update = HT_SGD(1);
    s->method = (hti_method){.kind = HT_IMPLICIT,
                             .name = s->row->name,
                             .fits = fits_any,
                             .record_initial = record_no_initial,
                             .record = s->row->second ? hti_record_products
                                                      : hti_record_gradients,
                             .room = room_for_programs,
                             .explain = explain_nothing};
    s->b = hti_bilevel_new(s->ctx, &s->method, &of, &(ht_bilevel_options){0});
    if (s->b) s->b->run.batch_step = -1;
    return s->b != NULL;
}

/* Memory. */

static const char *const count_name[] = {"step", "inner_batch", "outer_batch"};
static hti_loan state_owner = {.borrower = "single loop", .role = "state"};

static double *add_vector(ht_single *s, const char *name, int64_t times, int64_t n)
{
    ht_shape shape = times ? HT_SHAPE(times, n) : HT_SHAPE(n);
    ht_tensor *t = ht_set_add_at(s->state, name, HT_F64, shape, NULL);
    return t ? ht_tensor_data(t) : NULL;
}

static bool kept_open(ht_single *s)
{
    const int64_t times[] = {0, s->options.inner_batches, s->options.outer_batches};
    s->state = ht_set_new(s->ctx);
    if (!s->state) return false;
    for (int k = 0; k < HTI_COUNTS; k++) {
        ht_tensor *t = ht_set_add_at(s->state, count_name[k], HT_F64, HT_SCALAR, NULL);
        if (t) s->count[k] = ht_tensor_data(t);
    }
    for (int k = 0; s->row->kept && s->row->kept[k].name; k++) {
        const hti_kept *of = &s->row->kept[k];
        int64_t n = of->like == HTI_LIKE_THETA ? s->n : s->m;
        s->kept[k] = add_vector(s, of->name, times[of->times], n);
    }
    hti_set_own(s->state, &state_owner);
    return s->ctx->status == HT_OK;
}

static bool memory_open(ht_single *s)
{
    const hti_problem *p = &s->b->problem;
    size_t theta = hti_set_bytes(p->theta), eta = hti_set_bytes(p->eta);
    size_t point = hti_round_up((size_t)(s->n + s->m) * sizeof(double), HTI_ALIGN);
    s->memory_bytes =
        3 * theta + 2 * eta + (1 + (size_t)s->row->work) * point + HTI_ALIGN;
    s->memory = hti_zalloc(s->ctx, 1, s->memory_bytes);
    if (!s->memory) return false;
    unsigned char *at = (unsigned char *)hti_round_up((uintptr_t)s->memory, HTI_ALIGN);
    unsigned char **const like_theta[] = {&s->theta, &s->v, &s->of_theta};
    unsigned char **const like_eta[] = {&s->eta, &s->of_eta};
    for (int k = 0; k < 3; k++, at += theta) *like_theta[k] = at;
    for (int k = 0; k < 2; k++, at += eta) *like_eta[k] = at;
    for (int k = -1; k < s->row->work; k++, at += point) {
        hti_point *to = k < 0 ? &s->at : &s->work[k];
        to->theta = (double *)(void *)at;
        to->eta = to->theta + s->n;
    }
    return true;
}

/* Making. */

static bool single_open(ht_single *s, const ht_bilevel_problem *problem)
{
    size_t base = s->ctx->live - sizeof *s, peak = s->ctx->peak;
    s->ctx->peak = s->ctx->live;
    bool ok = bilevel_open(s, problem);
    if (ok) {
        s->n = ht_set_elements(s->b->problem.theta);
        s->m = ht_set_elements(s->b->problem.eta);
    }
    ok = ok && kept_open(s) && memory_open(s);
    s->bytes = s->ctx->peak - base;
    if (s->ctx->peak < peak) s->ctx->peak = peak;
    return ok;
}

static ht_single *single_new(ht_context *ctx, const ht_bilevel_problem *problem,
                             const ht_single_options *options)
{
    static const hti_kind kind = {.name = "single loop"};
    if (ctx->status != HT_OK) return NULL;
    const hti_single_row *row = hti_single_valid(ctx, problem, options);
    ht_single *s = row ? hti_zalloc(ctx, 1, sizeof *s) : NULL;
    if (!s) return NULL;
    hti_own(ctx, &s->owned, &kind);
    s->ctx = ctx;
    s->row = row;
    s->options = *options;
    s->outer = (double)NAN;
    if (single_open(s, problem)) return s;
    ht_single_free(s);
    return NULL;
}

ht_single *ht_single_new_at(ht_context *ctx, const ht_bilevel_problem *problem,
                            const ht_single_options *options, const char *site)
{
    HT_ASSERT(ctx && problem && options,
              "ht_single_new: ctx, problem or options is NULL%s%s", HTI_AT(site));
    const char *outer = hti_enter(ctx, site);
    ht_single *s = single_new(ctx, problem, options);
    ctx->site = outer;
    return s;
}

void ht_single_free(ht_single *s)
{
    if (!s) return;
    HTI_ALIVE(s, "ht_single_free", "single loop");
    HT_ASSERT(!s->stepping, "ht_single_free: called by a callback of the loop's step");
    ht_bilevel_free(s->b);
    if (s->state) hti_set_disown(s->state, &state_owner);
    ht_set_free(s->state);
    hti_resize(s->ctx, s->memory, s->memory_bytes, 0);
    hti_retire(&s->owned, sizeof *s);
}

/* Moving. */

ht_status ht_single_step(ht_single *s)
{
    HT_ASSERT(s, "ht_single_step: single is NULL (did ht_single_new fail? see ht_check)");
    HTI_ALIVE(s, "ht_single_step", "single loop");
    HT_ASSERT(!s->stepping, "a callback of the loop's step makes a step of that loop");
    if (s->ctx->status != HT_OK || !hti_sets_hold(s->b, NULL)) return s->ctx->status;
    s->stepping = s->b->run.running = true;
    hti_single_load(s);
    if (s->row->step(s)) {
        hti_single_store(s);
        *s->count[HTI_STEPS] += 1;
    }
    s->stepping = s->b->run.running = false;
    return s->ctx->status;
}

double ht_single_outer(const ht_single *s)
{
    HT_ASSERT(s, "ht_single_outer: single is NULL");
    HTI_ALIVE(s, "ht_single_outer", "single loop");
    return s->outer;
}

const ht_set *ht_single_state(const ht_single *s)
{
    HT_ASSERT(s, "ht_single_state: single is NULL");
    HTI_ALIVE(s, "ht_single_state", "single loop");
    return s->state;
}

/* A file may hold anything, and these count. */
static bool counts_valid(const ht_set *state)
{
    for (int k = 0; k < HTI_COUNTS; k++) {
        const ht_tensor *t = ht_set_tensor_at(state, count_name[k], NULL);
        if (!t) return false;
        double count = ht_tensor_count(t) == 1 ? ht_tensor_get(t, 0) : -1;
        if (count >= 0 && count < HTI_MAX_STEPS && floor(count) == count) continue;
        return HTI_REFUSED(state->ctx, HT_ERROR_ARGUMENT,
                           "ht_single_restore: \"%s\" of the state counts nothing\n"
                           "  hint: ht_single_state, as it was then",
                           count_name[k]);
    }
    return true;
}

ht_status ht_single_restore(ht_single *s, const ht_set *state)
{
    HT_ASSERT(s && state, "ht_single_restore: single %p, state %p", (void *)s,
              (const void *)state);
    HTI_ALIVE(s, "ht_single_restore", "single loop");
    if (s->ctx->status != HT_OK || !counts_valid(state)) return s->ctx->status;
    s->b->run.batch_step = -1;
    return ht_set_copy(s->state, state);
}

size_t ht_single_bytes(const ht_single *s)
{
    HT_ASSERT(s, "ht_single_bytes: single is NULL");
    HTI_ALIVE(s, "ht_single_bytes", "single loop");
    return s->bytes;
}
