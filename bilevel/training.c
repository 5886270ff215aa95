/* SPDX-License-Identifier: MIT */
/* training.c: one inner training, and the pieces of it that methods are made of. States
 * live in blocks, shared by reference: saving and loading copy nothing, and what nobody
 * refers to may be written over. Read next: unroll/sweep.c. */
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

/* Blocks. */

unsigned char *hti_block(const ht_bilevel *b, int64_t block)
{
    HT_ASSERT(block >= 0 && block < b->memory.n_blocks, "block %lld of %lld",
              (long long)block, (long long)b->memory.n_blocks);
    return b->memory.blocks + (size_t)block * b->memory.block_bytes;
}

void hti_block_move(ht_bilevel *b, int64_t *place, int64_t block)
{
    hti_memory *m = &b->memory;
    if (block != HTI_NO_BLOCK) m->references[block]++;
    if (*place != HTI_NO_BLOCK && --m->references[*place] == 0)
        m->free_block[m->n_free++] = *place;
    *place = block;
}

int64_t hti_block_take(ht_bilevel *b)
{
    HT_ASSERT(b->memory.n_free > 0, "no free block among %lld",
              (long long)b->memory.n_blocks);
    return b->memory.free_block[--b->memory.n_free];
}

static void blocks_reset(ht_bilevel *b)
{
    hti_memory *m = &b->memory;
    m->n_free = 0;
    for (int64_t i = m->n_blocks; i-- > 0;) {
        m->references[i] = 0;
        m->free_block[m->n_free++] = i;
    }
    for (int64_t k = 0; k < m->choice.slots; k++) m->pinned[k] = HTI_NO_BLOCK;
    b->run.current = b->run.before = b->run.after = HTI_NO_BLOCK;
    b->run.slot = HTI_NO_SLOT;
}

static void point_cotangents(ht_bilevel *b, void **to, unsigned char *buffer)
{
    to = hti_point_buffer(to, b->problem.theta, &buffer);
    hti_point_buffer(to, b->problem.state, &buffer);
}

void hti_cotangents_clear(ht_bilevel *b)
{
    const hti_memory *m = &b->memory;
    size_t outers = b->problem.outers ? (size_t)b->problem.outers : 1;
    memset(m->cotangents[0], 0, outers * m->block_bytes);
    point_cotangents(b, b->run.cotangent, m->cotangents[0]);
    point_cotangents(b, b->run.back, m->cotangents[1]);
}

/* Batches. */

/* Fills `filled`, as a rule the data themselves (NULL: there are none, and they are
 * empty). */
static bool fill_batch(ht_bilevel *b, ht_batch_fn fill, uint64_t step, ht_set *filled,
                       ht_set *data, const char *which)
{
    if (!fill) return true;
    if (!filled) filled = data;
    if (data->n > 0) data->fills++;
    ht_status status = fill(step, filled, b->problem.asked.user);
    if (status == HT_OK && filled != data) status = ht_set_copy(data, filled);
    if (status != HT_OK && b->ctx->status == HT_OK)
        ht_context_fail(b->ctx, status, NULL, "bilevel: %s failed at step %llu (%s)",
                        which, (unsigned long long)step, ht_status_name(status));
    return hti_sets_hold(b, which) && b->ctx->status == HT_OK;
}

/* A recomputed step mostly follows the one whose batch is there, unless another callback
 * was given the set since: outer_batch, or one of another bilevel. */
bool hti_enter_step(ht_bilevel *b, int64_t step)
{
    b->run.step = (int32_t)(b->problem.start + step);
    const ht_bilevel_problem *asked = &b->problem.asked;
    ht_set *data = b->problem.inner_data;
    if (b->run.batch_step == step && b->run.batch_fill == data->fills) return true;
    int64_t number = b->problem.start + b->problem.batches_from + step;
    bool ok = fill_batch(b, asked->inner_batch, (uint64_t)number, asked->inner_data, data,
                         "inner_batch");
    b->run.batch_step = step;
    b->run.batch_fill = data->fills;
    return ok;
}

/* Pieces. */

/* A set's tensors one after the other, from a buffer or into it; what lies behind. */
static unsigned char *set_out(unsigned char *from, const ht_set *set)
{
    for (int i = 0; i < set->n; i++) {
        ht_tensor *to = set->tensor[i];
        memcpy(to->array.data, from, ht_tensor_bytes(to));
        hti_tensor_write(to, "ht_bilevel_run", NULL);
        from += hti_round_up(ht_tensor_bytes(to), HTI_ALIGN);
    }
    return from;
}

static unsigned char *set_in(unsigned char *to, const ht_set *set)
{
    for (int i = 0; i < set->n; i++) {
        memcpy(to, set->tensor[i]->array.data, ht_tensor_bytes(set->tensor[i]));
        to += hti_round_up(ht_tensor_bytes(set->tensor[i]), HTI_ALIGN);
    }
    return to;
}

/* (theta_0, s_0) into a block, which becomes current: what was committed, or what init
 * makes and the rule's initial values. */
bool hti_run_initial(ht_bilevel *b)
{
    blocks_reset(b);
    b->run.batch_step = -1;
    int64_t block = hti_block_take(b);
    unsigned char *theta0 = hti_block(b, block);
    hti_block_move(b, &b->run.current, block);
    if (b->problem.begun)
        return set_in(set_in(theta0, b->problem.theta), b->problem.state) != NULL;
    memset(theta0, 0, b->memory.block_bytes);
    if (b->problem.initial) set_in(set_in(theta0, b->problem.theta), b->problem.initial);
    if (b->problem.warm && ht_tensor_get(b->problem.warm->tensor[1], 0) != 0)
        return set_in(theta0, b->problem.warm_theta) != NULL;
    return hti_run_call(b, HTI_INITIAL, &(hti_places){.out = {[HTI_THETA] = theta0}}, 0);
}

/* Whether the step may write over current: nothing else refers to it, nor will what comes
 * after the last step ask for it. */
static bool writes_over(const ht_bilevel *b, const hti_call *c, int64_t step)
{
    return c->over && c->over_all && b->run.slot == HTI_NO_SLOT &&
           b->memory.references[b->run.current] == 1 && step + 1 < b->problem.steps &&
           !hti_ends_early(b);
}

/* A step from a state in a slot keeps its products, where its reverse will find them. */
static hti_call_kind step_kind(const ht_bilevel *b)
{
    bool kept = b->programs.n_kept > 0 && b->run.slot != HTI_NO_SLOT;
    return kept || !b->programs.call[HTI_FORWARD].program ? HTI_FORWARD_KEPT
                                                          : HTI_FORWARD;
}

/* current (step) -> a fresh block, which becomes current; what was stays as `before`, if
 * it was not written over. */
bool hti_run_step(ht_bilevel *b, int64_t step)
{
    hti_run *run = &b->run;
    hti_call_kind kind = step_kind(b);
    if (!hti_enter_step(b, step)) return false;
    hti_block_move(b, &run->before, HTI_NO_BLOCK);
    bool over = writes_over(b, &b->programs.call[kind], step);
    int64_t to = over ? run->current : hti_block_take(b);
    hti_places at = {.in = {[HTI_THETA] = hti_block(b, run->current)},
                     .out = {[HTI_THETA] = hti_block(b, to)}};
    bool ok = hti_run_call(b, kind, &at, step);
    if (run->slot != HTI_NO_SLOT) b->memory.kept[run->slot] = kind == HTI_FORWARD_KEPT;
    run->slot = HTI_NO_SLOT;
    if (!over) {
        hti_block_move(b, &run->before, run->current);
        hti_block_move(b, &run->current, to);
    }
    run->result.forward_steps++;
    return ok;
}

/* At theta_t whose gradient the step from it has found small enough: the step is
 * forgotten. */
static bool ends_here(ht_bilevel *b, int64_t step)
{
    double tolerance = b->problem.asked.tolerance;
    if (!hti_ends_early(b) || !(sqrt(b->run.square) <= tolerance)) return false;
    hti_block_move(b, &b->run.current, b->run.before);
    b->run.result.inner_steps = b->run.last = step;
    return true;
}

bool hti_train(ht_bilevel *b)
{
    bool ok = hti_run_initial(b);
    for (int64_t t = 0; ok && t < b->problem.steps; t++) {
        ok = hti_run_step(b, t);
        if (ok && ends_here(b, t)) break;
    }
    b->run.result.inner_seconds = hti_seconds() - b->run.started;
    return ok;
}

/* Losses. */

bool hti_run_loss(ht_bilevel *b, hti_call_kind kind, const hti_places *at, int64_t step,
                  double *value)
{
    float narrow;
    if (!hti_run_call(b, kind, at, step)) return false;
    memcpy(&narrow, &b->run.loss, sizeof narrow);
    const ht_program *program = b->programs.call[kind].program;
    bool wide = hti_program_out_type(program, 0)->dtype == HT_F64;
    *value = wide ? b->run.loss : (double)narrow;
    return true;
}

bool hti_enter_outer(ht_bilevel *b, uint64_t outer_step)
{
    const hti_problem *p = &b->problem;
    b->run.step = (int32_t)outer_step;
    return fill_batch(b, p->asked.outer_batch, outer_step, p->asked.outer_data,
                      p->outer_data, "outer_batch");
}

/* Element k of floats of either type. */
static double loss_at(const ht_bilevel *b, const void *losses, int64_t k)
{
    const ht_program *program = b->programs.call[HTI_OUTER_LOSS].program;
    bool wide = hti_program_out_type(program, 0)->dtype == HT_F64;
    return wide ? ((const double *)losses)[k] : (double)((const float *)losses)[k];
}

static void pick(ht_bilevel *b, int64_t which)
{
    const hti_problem *p = &b->problem;
    const ht_program *program = b->programs.call[HTI_OUTER_LOSS].program;
    bool wide = hti_program_out_type(program, 0)->dtype == HT_F64;
    for (int64_t k = 0; k < p->outers; k++)
        if (wide)
            ((double *)p->outer_pick)[k] = k == which;
        else
            ((float *)p->outer_pick)[k] = k == which ? 1.0f : 0.0f;
}

/* Each of many losses is derived by a run of the program, which gives them all. */
static bool run_many(ht_bilevel *b, hti_places *at, double *value)
{
    hti_problem *p = &b->problem;
    bool ok = true;
    for (int64_t k = 0; ok && k < (b->run.evaluating ? 1 : p->outers); k++) {
        b->run.which = k;
        at->out[HTI_THETA_GRADIENT] =
            b->memory.cotangents[0] + (size_t)k * b->memory.block_bytes;
        pick(b, k);
        ok = hti_run_call(b, HTI_OUTER_LOSS, at, p->steps);
    }
    b->run.which = 0;
    *value = 0;
    for (int64_t k = 0; k < p->outers; k++)
        *value += p->outer_value[k] = loss_at(b, p->outer_loss, k);
    return ok;
}

bool hti_run_outer(ht_bilevel *b, unsigned char *theta, uint64_t outer_step,
                   double *value)
{
    hti_places at = {.in = {[HTI_THETA] = theta},
                     .out = {[HTI_THETA_GRADIENT] = b->memory.cotangents[0]}};
    if (!hti_enter_outer(b, outer_step)) return false;
    if (b->problem.outers) return run_many(b, &at, value);
    return hti_run_loss(b, HTI_OUTER_LOSS, &at, b->problem.steps, value);
}

/* Both losses at current, which is theta_T; d outer/d theta to the first buffer of
 * cotangents, d outer/d eta to the gradient set; theta_T and s_T to theirs. The inner one
 * first: its batch is what the outer loss sees of a set that only inner_batch fills. */
bool hti_run_losses(ht_bilevel *b, uint64_t outer_step)
{
    hti_problem *p = &b->problem;
    int64_t last = b->run.last;
    unsigned char *theta = hti_block(b, b->run.current);
    hti_places at = {.in = {[HTI_THETA] = theta}};
    if (!hti_enter_step(b, last) ||
        !hti_run_loss(b, HTI_INNER_LOSS, &at, last, &b->run.result.inner) ||
        !hti_run_outer(b, theta, outer_step, &b->run.result.outer))
        return false;
    return set_out(set_out(theta, p->final), p->ended) != NULL;
}

bool hti_evaluate_run(ht_bilevel *b, uint64_t outer_step)
{
    bool (*train)(ht_bilevel *) = b->method->train ? b->method->train : hti_train;
    return train(b) && hti_run_losses(b, outer_step);
}
