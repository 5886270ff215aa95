/* SPDX-License-Identifier: MIT */
/* sweep.c: one inner training and its derivative, obeying a checkpoint schedule. States
 * live in blocks that are written once and shared by reference: saving and loading copy
 * nothing. Read next: forward.c, bilevel.c. */
#include <math.h>
#include <string.h>

#include "bilevel_internal.h"
#include "checkpoints.h"

enum { HTI_NO_BLOCK = -1, HTI_NO_SLOT = -1 };

/* Blocks. */

unsigned char *hti_block(const ht_bilevel *b, int64_t block)
{
    HT_ASSERT(block >= 0 && block < b->n_blocks, "block %lld of %lld", (long long)block,
              (long long)b->n_blocks);
    return b->blocks + (size_t)block * b->block_bytes;
}

static void hti_block_release(ht_bilevel *b, int64_t block)
{
    if (block != HTI_NO_BLOCK && --b->references[block] == 0)
        b->free_block[b->n_free++] = block;
}

/* *place refers to block instead of what it did. */
static void hti_block_move(ht_bilevel *b, int64_t *place, int64_t block)
{
    if (block != HTI_NO_BLOCK) b->references[block]++;
    hti_block_release(b, *place);
    *place = block;
}

static int64_t hti_block_take(ht_bilevel *b)
{
    HT_ASSERT(b->n_free > 0, "no free block among %lld", (long long)b->n_blocks);
    return b->free_block[--b->n_free];
}

static void hti_blocks_reset(ht_bilevel *b)
{
    b->n_free = 0;
    for (int64_t i = b->n_blocks; i-- > 0;) {
        b->references[i] = 0;
        b->free_block[b->n_free++] = i;
    }
    for (int64_t k = 0; k < b->slots; k++) b->pinned[k] = HTI_NO_BLOCK;
    b->current = b->before = b->after = HTI_NO_BLOCK;
    b->slot = HTI_NO_SLOT;
}

/* Pointer lists. */

void **hti_point_set(void **to, const ht_set *set)
{
    for (int i = 0; i < set->n; i++) *to++ = set->tensor[i]->array.data;
    return to;
}

void **hti_point_room(void **to, const ht_set *set, unsigned char *memory)
{
    for (int i = 0; i < set->n; i++) {
        *to++ = memory;
        memory += hti_round_up(ht_tensor_bytes(set->tensor[i]), HTI_ALIGN);
    }
    return to;
}

void **hti_point_block(const ht_bilevel *b, void **to, unsigned char *block)
{
    to = hti_point_room(to, b->theta, block);
    return hti_point_room(to, b->state, block + hti_set_room(b->theta));
}

/* Of current's slot, if it is in one: else no one will read them. */
static void **hti_point_logs(const ht_bilevel *b, void **to)
{
    size_t slot = b->slot == HTI_NO_SLOT ? 0 : (size_t)b->slot;
    unsigned char *memory = b->logs + slot * b->log_bytes;
    for (int k = 0; k < b->n_kept; k++) {
        *to++ = memory;
        memory += hti_log_room(&b->log[k]);
    }
    return to;
}

static void **hti_point_sums(const ht_bilevel *b, void **to, const bool *summed)
{
    for (int j = 0; j < b->eta->n; j++)
        if (summed[j]) *to++ = b->gradient->tensor[j]->array.data;
    return to;
}

/* Pieces. */

static ht_bad_where hti_where(const ht_bilevel *b, const hti_call *c)
{
    static const ht_bad_where where[HTI_CALLS] = {
        [HTI_INITIAL] = HT_BAD_TRAINING,
        [HTI_INITIAL_REVERSE] = HT_BAD_DERIVATIVE,
        [HTI_INITIAL_TANGENT] = HT_BAD_DERIVATIVE,
        [HTI_FORWARD] = HT_BAD_TRAINING,
        [HTI_FORWARD_LOGGED] = HT_BAD_TRAINING,
        [HTI_REVERSE_STEP] = HT_BAD_DERIVATIVE,
        [HTI_REVERSE_LOGGED] = HT_BAD_DERIVATIVE,
        [HTI_TANGENT] = HT_BAD_DERIVATIVE,
        [HTI_OUTER_LOSS] = HT_BAD_OUTER,
        [HTI_INNER_LOSS] = HT_BAD_TRAINING};
    return where[c - b->call];
}

/* The first value that is not finite: of the training if it has one, which tangents run
 * ahead of; then of the outer loss; else of the derivative. */
static void hti_keep_bad(ht_bilevel *b, const hti_call *c, int64_t step)
{
    ht_bilevel_result *r = &b->result;
    ht_bad_where where = hti_where(b, c);
    if (c->program->bad == HTI_NONE) return;
    if (r->bad_where != HT_BAD_NONE && r->bad_where <= where) return;
    r->bad_where = where;
    r->bad_step = step;
    r->bad_op = c->program->value[c->program->bad].op->name;
}

bool hti_run_call(ht_bilevel *b, hti_call *c, int64_t step)
{
    c->program->watch = b->watch;
    ht_status status = hti_program_run(c->program, c->in, c->out);
    if (b->watch) hti_keep_bad(b, c, step);
    return status == HT_OK;
}

static bool hti_fill_batch(ht_bilevel *b, ht_batch_fn fill, uint64_t step, ht_set *data,
                           const char *which)
{
    if (!fill) return true;
    if (data->n > 0) data->fills++;
    ht_status status = fill(step, data, b->problem.user);
    if (status != HT_OK && b->ctx->status == HT_OK)
        ht_context_fail(b->ctx, status, NULL, "bilevel: %s failed at step %llu (%s)",
                        which, (unsigned long long)step, ht_status_name(status));
    return hti_sets_hold(b, which) && b->ctx->status == HT_OK;
}

/* A recomputed step mostly follows the one whose batch is there, unless another callback
 * was given the set since: outer_batch, or one of another bilevel. */
bool hti_fill_inner(ht_bilevel *b, int64_t step)
{
    ht_set *data = b->inner_data;
    if (b->batch_step == step && b->batch_fill == data->fills) return true;
    bool ok =
        hti_fill_batch(b, b->problem.inner_batch, (uint64_t)step, data, "inner_batch");
    b->batch_step = step;
    b->batch_fill = data->fills;
    return ok;
}

/* theta_0 and zero state into a block, which becomes current. */
bool hti_run_initial(ht_bilevel *b)
{
    hti_call *c = &b->call[HTI_INITIAL];
    hti_blocks_reset(b);
    b->batch_step = -1;
    int64_t block = hti_block_take(b);
    memset(hti_block(b, block), 0, b->block_bytes);
    hti_block_move(b, &b->current, block);
    hti_point_set(hti_point_set(c->in, b->eta), b->theta);
    hti_point_room(c->out, b->theta, hti_block(b, block));
    return hti_run_call(b, c, 0);
}

/* Whether the step may write over current: nothing else refers to it, nor will what comes
 * after the last step ask for it. */
static bool hti_step_over(const ht_bilevel *b, const hti_call *c, int64_t step)
{
    return c->over && c->over_all && b->slot == HTI_NO_SLOT &&
           b->references[b->current] == 1 && step + 1 < b->problem.steps;
}

/* current (step) -> a fresh block, which becomes current; what was stays as `before`, if
 * it was not written over. */
bool hti_run_step(ht_bilevel *b, int64_t step)
{
    bool logged = b->n_kept > 0 && b->slot != HTI_NO_SLOT;
    if (!b->call[HTI_FORWARD].program) logged = true;
    hti_call *c = &b->call[logged ? HTI_FORWARD_LOGGED : HTI_FORWARD];
    if (!hti_fill_inner(b, step)) return false;
    hti_block_move(b, &b->before, HTI_NO_BLOCK);
    bool over = hti_step_over(b, c, step);
    int64_t next = over ? b->current : hti_block_take(b);
    b->step = (int32_t)step;
    void **in = hti_point_block(b, c->in, hti_block(b, b->current));
    in = hti_point_set(hti_point_set(in, b->eta), b->inner_data);
    *in = &b->step;
    void **out = hti_point_block(b, c->out, hti_block(b, next));
    if (logged) hti_point_logs(b, out);
    if (b->slot != HTI_NO_SLOT) b->kept[b->slot] = logged;
    b->slot = HTI_NO_SLOT;
    bool ok = hti_run_call(b, c, step);
    if (!over) {
        hti_block_move(b, &b->before, b->current);
        hti_block_move(b, &b->current, next);
    }
    b->result.forward_steps++;
    return ok;
}

/* A 0-d program output in b->loss, whichever float type it has. */
static double hti_loss_value(const ht_bilevel *b, const hti_call *c)
{
    float value;
    if (hti_program_out_type(c->program, 0)->dtype == HT_F64) return b->loss;
    memcpy(&value, &b->loss, sizeof value);
    return (double)value;
}

/* Both losses at current, which is theta_T; d outer/d theta to gradient_theta, d outer/d
 * eta to the gradient set. The inner one first: its batch is what the outer loss sees of
 * a set that only inner_batch fills. */
bool hti_run_losses(ht_bilevel *b, uint64_t outer_step, unsigned char *gradient_theta)
{
    hti_call *c = &b->call[HTI_INNER_LOSS];
    int64_t last = b->problem.steps - 1;
    unsigned char *theta = hti_block(b, b->current);
    if (!hti_fill_inner(b, last)) return false;
    b->step = (int32_t)last;
    void **in = hti_point_set(hti_point_room(c->in, b->theta, theta), b->eta);
    *hti_point_set(in, b->inner_data) = &b->step;
    c->out[0] = &b->loss;
    if (!hti_run_call(b, c, last)) return false;
    b->result.inner = hti_loss_value(b, c);

    c = &b->call[HTI_OUTER_LOSS];
    if (!hti_fill_batch(b, b->problem.outer_batch, outer_step, b->outer_data,
                        "outer_batch"))
        return false;
    b->step = (int32_t)outer_step;
    in = hti_point_set(hti_point_room(c->in, b->theta, theta), b->eta);
    *hti_point_set(in, b->outer_data) = &b->step;
    c->out[0] = &b->loss;
    hti_point_set(hti_point_room(c->out + 1, b->theta, gradient_theta), b->gradient);
    if (!hti_run_call(b, c, b->problem.steps)) return false;
    b->result.outer = hti_loss_value(b, c);
    for (int i = 0; i < b->theta->n; i++) {
        ht_tensor *to = b->final->tensor[i];
        memcpy(to->array.data, theta, ht_tensor_bytes(to));
        theta += hti_round_up(ht_tensor_bytes(to), HTI_ALIGN);
    }
    return true;
}

/* The reverse sweep. */

/* The derivative of a step: cotangents of state step+1 become those of `step`. */
static bool hti_run_reverse(ht_bilevel *b, int64_t step)
{
    bool logged = b->slot != HTI_NO_SLOT && b->kept[b->slot];
    hti_call *c = &b->call[logged ? HTI_REVERSE_LOGGED : HTI_REVERSE_STEP];
    if (!hti_fill_inner(b, step)) return false;
    b->step = (int32_t)step;
    void **in = hti_point_block(b, c->in, hti_block(b, b->current));
    in = hti_point_set(hti_point_set(in, b->eta), b->inner_data);
    *in++ = &b->step;
    in = hti_point_block(b, in, hti_block(b, b->after));
    void **out = c->out;
    for (int k = 0; k < b->theta->n + b->state->n; k++) {
        void *at = *in++ = b->cotangent[k];
        if (!c->over[k]) {
            b->cotangent[k] = b->spare[k];
            b->spare[k] = at;
        }
        *out++ = b->cotangent[k];
    }
    in = hti_point_sums(b, in, b->summed);
    if (logged) hti_point_logs(b, in);
    b->slot = HTI_NO_SLOT;
    hti_point_sums(b, out, b->summed);
    b->result.reverse_steps++;
    return hti_run_call(b, c, step);
}

static bool hti_run_outer(ht_bilevel *b, uint64_t outer_step)
{
    memset(b->room[0], 0, b->block_bytes);
    hti_point_block(b, b->cotangent, b->room[0]);
    hti_point_block(b, b->spare, b->room[1]);
    bool ok = hti_run_losses(b, outer_step, b->room[0]);
    hti_block_move(b, &b->after, b->current);
    hti_block_move(b, &b->current, b->before);
    hti_block_move(b, &b->before, HTI_NO_BLOCK);
    return ok;
}

static bool hti_run_action(ht_bilevel *b, hti_action a, uint64_t outer_step)
{
    bool ok = true;
    switch (a.kind) {
    case HTI_ADVANCE:
        for (int64_t t = a.step; ok && t < a.to; t++) ok = hti_run_step(b, t);
        break;
    case HTI_SAVE:
        hti_block_move(b, &b->pinned[a.slot], b->current);
        b->slot = a.slot;
        b->kept[a.slot] = false;
        break;
    case HTI_LOAD:
        hti_block_move(b, &b->current, b->pinned[a.slot]);
        b->slot = a.slot;
        break;
    case HTI_DROP:
        hti_block_move(b, &b->pinned[a.slot], HTI_NO_BLOCK);
        b->slot = a.slot; /* its products serve the reverse step that comes next */
        break;
    case HTI_OUTER:
        b->result.inner_seconds = hti_seconds() - b->started;
        ok = hti_run_outer(b, outer_step);
        hti_growth_look(b, hti_largest(b->theta, b->cotangent), b->problem.steps);
        break;
    case HTI_REVERSE:
        ok = hti_run_reverse(b, a.step);
        if (hti_growth_due(b, b->problem.steps - a.step))
            hti_growth_look(b, hti_largest(b->theta, b->cotangent), a.step);
        hti_block_move(b, &b->after, b->current);
        hti_block_move(b, &b->current, HTI_NO_BLOCK);
        break;
    case HTI_DONE:
        break;
    }
    return ok;
}

/* Cotangents of theta_0: a result, and through the initial values a part of eta's. */
static bool hti_run_initial_reverse(ht_bilevel *b)
{
    for (int i = 0; i < b->theta->n; i++) {
        ht_tensor *to = b->gradient_theta0->tensor[i];
        memcpy(to->array.data, b->cotangent[i], ht_tensor_bytes(to));
    }
    hti_call *c = &b->call[HTI_INITIAL_REVERSE];
    if (!c->program) return true;
    void **in = hti_point_set(hti_point_set(c->in, b->eta), b->theta);
    for (int i = 0; i < b->theta->n; i++) *in++ = b->cotangent[i];
    hti_point_sums(b, in, b->initial_summed);
    hti_point_sums(b, c->out, b->initial_summed);
    return hti_run_call(b, c, 0);
}

bool hti_reverse_run(ht_bilevel *b, uint64_t outer_step)
{
    hti_schedule_reset(b->plan);
    if (!hti_run_initial(b)) return false;
    for (;;) {
        hti_action a = hti_schedule_next(b->plan);
        if (a.kind == HTI_DONE) break;
        if (!hti_run_action(b, a, outer_step)) return false;
    }
    if (b->first > 0) return true;
    b->result.gradient_theta0 = b->gradient_theta0;
    return hti_run_initial_reverse(b);
}

bool hti_evaluate_run(ht_bilevel *b, uint64_t outer_step)
{
    bool ok = hti_run_initial(b);
    for (int64_t t = 0; ok && t < b->problem.steps; t++) ok = hti_run_step(b, t);
    b->result.inner_seconds = hti_seconds() - b->started;
    return ok && hti_run_losses(b, outer_step, b->room[0]);
}
