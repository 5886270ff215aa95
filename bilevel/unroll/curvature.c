/* SPDX-License-Identifier: MIT */
/* curvature.c: the second derivative of the outer loss along a direction v of eta. With
 * x = (theta, s) and the cotangents l of it, one run and its reverse are
 *     x' = step(x, eta),   l = reverse(x, x', eta, l')
 * and every value has a tangent along v beside it, by the derivative of the program that
 * made it (../record/tangent.c). The tangent of dF/d eta is (d2F/d eta2) v. All states
 * are kept, so that each program runs once a step. Read next: ../outer/newton.c. */
#include <string.h>

#include "unroll.h"

typedef struct hti_curvature {
    hti_call call[HTI_CALLS];           /* with tangents; those that are used */
    ht_set *gradient, *product, *along; /* the last: v, which may be the product before */
    size_t bytes;
    unsigned char *allocation, *arena, *zeros;
    unsigned char *state[2], *cotangent[2]; /* and their tangents */
} hti_curvature;

/* Where a program's operands are, and their tangents. */
typedef struct pair {
    hti_places at[2];
} pair;

static const hti_call_kind used[] = {HTI_INITIAL, HTI_FORWARD, HTI_OUTER_LOSS,
                                     HTI_REVERSE_STEP, HTI_INITIAL_REVERSE};
/* Of the set a call gives; never written. */
static hti_loan owner = {.borrower = "bilevel", .role = "product"};

enum { USED = sizeof used / sizeof *used };

/* Making. */

/* T + 1 states, two cotangents, zeros, an arena; of all but the last two a tangent. */
static void curvature_carve(ht_bilevel *b, hti_curvature *c, unsigned char *at)
{
    size_t block = b->memory.block_bytes, arena = 0;
    unsigned char *begin = at;
    for (int k = 0; k < USED; k++) {
        const ht_program *p = c->call[used[k]].program;
        if (p && ht_program_bytes(p) > arena) arena = ht_program_bytes(p);
    }
    for (int k = 0; k < 2; k++) {
        c->state[k] = hti_carve(&at, (size_t)(b->problem.steps + 1) * block);
        c->cotangent[k] = hti_carve(&at, 2 * block);
    }
    c->zeros = hti_carve(&at, block);
    c->arena = hti_carve(&at, arena);
    c->bytes = (size_t)(at - begin) + HTI_ALIGN;
}

static bool make_programs(ht_bilevel *b, hti_curvature *c)
{
    for (int k = 0; k < USED; k++) {
        bool needed = used[k] != HTI_INITIAL_REVERSE ||
                      b->programs.call[HTI_INITIAL_REVERSE].program;
        if (needed && !hti_record_tangents(b, used[k], &c->call[used[k]])) return false;
    }
    return true;
}

static bool curvature_make(ht_bilevel *b, hti_curvature *c)
{
    c->gradient = ht_set_clone(b->problem.eta, 0);
    c->product = ht_set_clone(b->problem.eta, 0);
    c->along = ht_set_clone(b->problem.eta, 0);
    if (!c->gradient || !c->product || !c->along || !make_programs(b, c)) return false;
    hti_set_own(c->product, &owner);
    curvature_carve(b, c, (unsigned char *)(uintptr_t)HTI_ALIGN);
    c->allocation = hti_resize(b->ctx, NULL, 0, c->bytes);
    if (!c->allocation) return false;
    curvature_carve(b, c,
                    (unsigned char *)hti_round_up((uintptr_t)c->allocation, HTI_ALIGN));
    memset(c->zeros, 0, b->memory.block_bytes);
    for (int k = 0; k < USED; k++)
        if (c->call[used[k]].program)
            hti_program_bind(c->call[used[k]].program, c->arena);
    return true;
}

void hti_curvature_free(ht_bilevel *b)
{
    hti_curvature *c = b->curvature;
    if (!c) return;
    for (int k = 0; k < HTI_CALLS; k++) hti_call_free(b->ctx, &c->call[k]);
    ht_set_free(c->gradient);
    ht_set_free(c->along);
    hti_set_disown(c->product, &owner);
    ht_set_free(c->product);
    if (c->allocation) hti_resize(b->ctx, c->allocation, c->bytes, 0);
    hti_resize(b->ctx, c, sizeof *c, 0);
    b->curvature = NULL;
}

/* What it takes counts as the bilevel's from here on. */
static bool curvature_open(ht_bilevel *b)
{
    ht_context *ctx = b->ctx;
    hti_memory *m = &b->memory;
    if (b->curvature) return true;
    size_t live = ctx->live, peak = ctx->peak;
    ctx->peak = live;
    b->curvature = hti_zalloc(ctx, 1, sizeof *b->curvature);
    bool ok = b->curvature && curvature_make(b, b->curvature);
    if (!ok) hti_curvature_free(b);
    size_t most = m->allocated_bytes + ctx->peak - live;
    if (ok && most > m->recorded_peak) m->recorded_peak = most;
    if (ok) m->allocated_bytes += ctx->live - live;
    if (ctx->peak < peak) ctx->peak = peak;
    return ok;
}

/* Running. */

static void **point_parts(void **to, const ht_set *set, const bool *marked)
{
    for (int j = 0; j < set->n; j++)
        if (!marked || marked[j]) *to++ = set->tensor[j]->array.data;
    return to;
}

/* Of a set that is neither theta nor the state: eta and its gradients, or data. */
static const ht_set *own_set(const ht_bilevel *b, hti_operand operand, const ht_set *v)
{
    bool sum = operand == HTI_ETA_COTANGENT || operand == HTI_ETA_GRADIENT;
    if (sum) return v ? b->curvature->product : b->curvature->gradient;
    return operand == HTI_ETA && v ? v : hti_operand_set(b, operand);
}

/* v: the direction, where tangents are pointed at; NULL: the values. */
static void **curvature_point(ht_bilevel *b, hti_call_kind kind,
                              const hti_operand *operands, unsigned char *const *at,
                              const ht_set *v, void **to)
{
    const hti_programs *p = &b->programs;
    const bool *summed = kind == HTI_INITIAL_REVERSE ? p->initial_summed : p->summed;
    unsigned char *buffer = NULL;
    for (const hti_operand *o = operands; *o != HTI_END; o++) {
        const ht_set *set = hti_operand_set(b, *o);
        if (v && !hti_has_tangent(*o)) continue;
        if (at[*o]) buffer = at[*o];
        if (*o == HTI_STEP)
            *to++ = &b->run.step;
        else if (*o == HTI_LOSS)
            *to++ = v ? &b->run.square : &b->run.loss;
        else if (*o == HTI_SQUARE || *o == HTI_PICK) /* absent */
            continue;
        else if (set == b->problem.state || at[*o])
            to = hti_point_buffer(to, set, &buffer);
        else
            to = point_parts(to, own_set(b, *o, v),
                             *o == HTI_ETA_COTANGENT ? summed : NULL);
    }
    return to;
}

static bool curvature_run(ht_bilevel *b, hti_call_kind kind, const pair *p,
                          const ht_set *v)
{
    hti_call *c = &b->curvature->call[kind];
    const hti_signature *s = &hti_signatures[kind];
    void **to = curvature_point(b, kind, s->in, p->at[0].in, NULL, c->in);
    curvature_point(b, kind, s->in, p->at[1].in, v, to);
    to = curvature_point(b, kind, s->out, p->at[0].out, NULL, c->out);
    curvature_point(b, kind, s->out, p->at[1].out, v, to);
    return hti_program_run(c->program, c->in, c->out) == HT_OK;
}

static unsigned char *state_at(const ht_bilevel *b, int half, int64_t step)
{
    return b->curvature->state[half] + (size_t)step * b->memory.block_bytes;
}

static unsigned char *cotangent_at(const ht_bilevel *b, int half, int64_t step)
{
    return b->curvature->cotangent[half] + (size_t)(step & 1) * b->memory.block_bytes;
}

static void fill_block(unsigned char *to, const ht_set *set, unsigned char **end)
{
    for (int i = 0; i < set->n; i++) {
        memcpy(to, set->tensor[i]->array.data, ht_tensor_bytes(set->tensor[i]));
        to += hti_round_up(ht_tensor_bytes(set->tensor[i]), HTI_ALIGN);
    }
    *end = to;
}

static bool curvature_initial(ht_bilevel *b, const ht_set *v)
{
    pair p = {0};
    unsigned char *end;
    b->run.batch_step = -1;
    for (int k = 0; k < 2; k++) {
        memset(state_at(b, k, 0), 0, b->memory.block_bytes);
        p.at[k].out[HTI_THETA] = state_at(b, k, 0);
    }
    p.at[1].in[HTI_THETA] = b->curvature->zeros; /* as it stands in its set */
    if (!b->problem.begun) return curvature_run(b, HTI_INITIAL, &p, v);
    fill_block(state_at(b, 0, 0), b->problem.theta, &end);
    fill_block(end, b->problem.state, &end);
    return true;
}

static bool curvature_forward(ht_bilevel *b, const ht_set *v, int64_t t)
{
    pair p = {0};
    for (int k = 0; k < 2; k++) {
        p.at[k].in[HTI_THETA] = state_at(b, k, t);
        p.at[k].out[HTI_THETA] = state_at(b, k, t + 1);
    }
    return hti_enter_step(b, t) && curvature_run(b, HTI_FORWARD, &p, v);
}

static bool curvature_outer(ht_bilevel *b, const ht_set *v)
{
    pair p = {0};
    int64_t last = b->problem.steps;
    for (int k = 0; k < 2; k++) {
        memset(cotangent_at(b, k, last), 0, b->memory.block_bytes);
        p.at[k].in[HTI_THETA] = state_at(b, k, last);
        p.at[k].out[HTI_THETA_GRADIENT] = cotangent_at(b, k, last);
    }
    return hti_enter_step(b, last - 1) && hti_enter_outer(b, b->run.outer_step) &&
           curvature_run(b, HTI_OUTER_LOSS, &p, v);
}

static bool curvature_reverse(ht_bilevel *b, const ht_set *v, int64_t t)
{
    pair p = {0};
    for (int k = 0; k < 2; k++) {
        p.at[k].in[HTI_THETA] = state_at(b, k, t);
        p.at[k].in[HTI_NEXT_THETA] = state_at(b, k, t + 1);
        p.at[k].in[HTI_THETA_COTANGENT] = cotangent_at(b, k, t + 1);
        p.at[k].out[HTI_THETA_COTANGENT] = cotangent_at(b, k, t);
    }
    return hti_enter_step(b, t) && curvature_run(b, HTI_REVERSE_STEP, &p, v);
}

static bool curvature_initial_reverse(ht_bilevel *b, const ht_set *v)
{
    pair p = {0};
    if (b->problem.begun || !b->curvature->call[HTI_INITIAL_REVERSE].program) return true;
    p.at[1].in[HTI_THETA] = b->curvature->zeros;
    for (int k = 0; k < 2; k++) p.at[k].in[HTI_THETA_COTANGENT] = cotangent_at(b, k, 0);
    return curvature_run(b, HTI_INITIAL_REVERSE, &p, v);
}

static bool run_all(ht_bilevel *b, const ht_set *v)
{
    int64_t n = b->problem.steps;
    bool ok = curvature_initial(b, v);
    for (int64_t t = 0; ok && t < n; t++) ok = curvature_forward(b, v, t);
    ok = ok && curvature_outer(b, v);
    for (int64_t t = n; ok && t-- > 0;) ok = curvature_reverse(b, v, t);
    return ok && curvature_initial_reverse(b, v);
}

/* What can be derived twice, along what. */

static bool method_fits(const ht_bilevel *b)
{
    ht_method kind = b->method->kind;
    if (b->tasks)
        return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                           "ht_bilevel_hvp: problem.tasks is set, but one training has a "
                           "second derivative\n  hint: a bilevel of one task");
    if (b->problem.outers)
        return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                           "ht_bilevel_hvp: the outer loss is %lld losses, but one has a "
                           "second derivative\n  hint: ht_sum of them, in outer",
                           (long long)b->problem.outers);
    if (b->memory.disk)
        return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                           "ht_bilevel_hvp: states are in options.disk, but a second "
                           "derivative keeps all of them in memory\n  hint: no disk");
    if (kind == HT_REVERSE || kind == HT_REVERSE_REVERSE) return true;
    return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                       "ht_bilevel_hvp: options.method is %s, whose gradient has no "
                       "second derivative here\n"
                       "  hint: HT_REVERSE, of all steps",
                       b->method->name);
}

const ht_set *ht_bilevel_hvp(ht_bilevel *b, const ht_set *v)
{
    HT_ASSERT(b && v, "ht_bilevel_hvp: bilevel %p, v %p", (void *)b, (const void *)v);
    HTI_ALIVE(b, "ht_bilevel_hvp", "bilevel");
    HT_ASSERT(!b->run.running, "ht_bilevel_hvp: called by a callback of its run");
    if (b->ctx->status != HT_OK || !method_fits(b) ||
        !hti_like_eta(b, v, "ht_bilevel_hvp: v") || !hti_sets_hold(b, NULL) ||
        !hti_within_horizon(b) || !curvature_open(b))
        return NULL;
    b->run.running = true;
    bool ok =
        ht_set_copy(b->curvature->along, v) == HT_OK && run_all(b, b->curvature->along);
    b->run.running = false;
    for (int j = 0; j < b->curvature->product->n; j++)
        hti_tensor_write(b->curvature->product->tensor[j], "ht_bilevel_hvp", NULL);
    return ok ? b->curvature->product : NULL;
}
