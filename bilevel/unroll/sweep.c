/* SPDX-License-Identifier: MIT */
/* sweep.c: one inner training and its reverse, obeying a checkpoint schedule. Read next:
 * checkpoints.h, forward.c. */
#include <string.h>

#include "checkpoints.h"
#include "disk.h"
#include "unroll.h"

/* Each cotangent goes to its back buffer, but where the program may write it over. */
static void swap_cotangents(ht_bilevel *b, const bool *over)
{
    for (int k = 0; k < b->problem.theta->n + b->problem.state->n; k++) {
        void *at = b->run.cotangent[k];
        if (over[k]) continue;
        b->run.cotangent[k] = b->run.back[k];
        b->run.back[k] = at;
    }
}

/* The derivative of a step: cotangents of state step+1 become those of `step`. */
static bool run_reverse(ht_bilevel *b, int64_t step)
{
    bool kept = b->run.slot != HTI_NO_SLOT && b->memory.kept[b->run.slot];
    hti_call_kind kind = kept ? HTI_REVERSE_KEPT : HTI_REVERSE_STEP;
    if (!hti_enter_step(b, step)) return false;
    hti_places at = {.in = {[HTI_THETA] = hti_block(b, b->run.current),
                            [HTI_NEXT_THETA] = hti_block(b, b->run.after)}};
    const bool *over = b->programs.call[kind].over;
    int64_t n = hti_outers(b);
    bool ok = true;
    for (int64_t k = 0; ok && k < n; k++) {
        if (k > 0) swap_cotangents(b, over);
        b->run.which = k;
        hti_point_in(b, kind, &at);
        swap_cotangents(b, over);
        hti_point_out(b, kind, &at);
        ok = hti_replay(b, kind, step);
    }
    b->run.which = 0;
    b->run.slot = HTI_NO_SLOT;
    b->run.result.reverse_steps += n;
    return ok;
}

bool hti_sweep_outer(ht_bilevel *b, uint64_t outer_step)
{
    b->run.result.inner_seconds = hti_seconds() - b->run.started;
    hti_cotangents_clear(b);
    bool ok = hti_run_losses(b, outer_step);
    hti_block_move(b, &b->run.after, b->run.current);
    hti_block_move(b, &b->run.current, b->run.before);
    hti_block_move(b, &b->run.before, HTI_NO_BLOCK);
    hti_growth_look(b, hti_largest(b->problem.theta, b->run.cotangent), b->problem.steps);
    return ok;
}

bool hti_sweep_back(ht_bilevel *b, int64_t step)
{
    bool ok = run_reverse(b, step);
    if (hti_growth_due(b, b->problem.steps - step))
        hti_growth_look(b, hti_largest(b->problem.theta, b->run.cotangent), step);
    hti_block_move(b, &b->run.after, b->run.current);
    hti_block_move(b, &b->run.current, HTI_NO_BLOCK);
    return ok;
}

static bool run_action(ht_bilevel *b, hti_action a, uint64_t outer_step)
{
    int64_t *pinned = b->memory.pinned;
    bool ok = true;
    switch (a.kind) {
    case HTI_ADVANCE:
        for (int64_t t = a.step; ok && t < a.to; t++) ok = hti_run_step(b, t);
        break;
    case HTI_SAVE:
        hti_block_move(b, &pinned[a.slot], b->run.current);
        b->run.slot = a.slot;
        b->memory.kept[a.slot] = false;
        break;
    case HTI_LOAD:
        hti_block_move(b, &b->run.current, pinned[a.slot]);
        b->run.slot = a.slot;
        break;
    case HTI_DROP:
        hti_block_move(b, &pinned[a.slot], HTI_NO_BLOCK);
        b->run.slot = a.slot; /* its products serve the reverse step that comes next */
        break;
    case HTI_OUTER:
        return hti_sweep_outer(b, outer_step);
    case HTI_REVERSE:
        return hti_sweep_back(b, a.step);
    case HTI_STORE:
        return hti_disk_store(b, a.slot);
    case HTI_FETCH:
        return hti_disk_fetch(b, a.slot);
    case HTI_MARK:
        return hti_disk_mark(b);
    case HTI_VACATE:
    case HTI_DONE:
        break;
    }
    return ok;
}

/* Cotangents of theta_0: a result, and through the initial values a part of eta's. */
bool hti_sweep_initial(ht_bilevel *b)
{
    hti_problem *p = &b->problem;
    ht_set *to = p->outers ? p->many_theta0 : p->gradient_theta0;
    bool ok = true, none = p->begun || !b->programs.call[HTI_INITIAL_REVERSE].program;
    b->run.result.gradient_theta0 = to;
    for (int64_t k = 0, n = hti_outers(b); ok && k < n; k++) {
        b->run.which = k;
        for (int i = 0; i < p->theta->n; i++)
            memcpy(p->outers ? hti_gradient_at(b, to, i) : to->tensor[i]->array.data,
                   (unsigned char *)b->run.cotangent[i] +
                       (size_t)k * b->memory.block_bytes,
                   ht_tensor_bytes(p->theta->tensor[i]));
        ok = none || hti_run_call(b, HTI_INITIAL_REVERSE, &(hti_places){0}, 0);
    }
    b->run.which = 0;
    for (int i = 0; i < to->n; i++)
        hti_tensor_write(to->tensor[i], "ht_bilevel_run", NULL);
    return ok;
}

bool hti_reverse_run(ht_bilevel *b, uint64_t outer_step)
{
    hti_plan_reset(&b->memory.plan);
    if (!hti_run_initial(b) || !hti_disk_begin(b, outer_step)) return false;
    for (;;) {
        hti_action a = hti_plan_next(&b->memory.plan);
        if (a.kind == HTI_DONE) break;
        if (!run_action(b, a, outer_step)) return false;
    }
    return (b->problem.first > 0 || hti_sweep_initial(b)) && hti_disk_end(b);
}
