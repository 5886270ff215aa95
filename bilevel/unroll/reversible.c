/* SPDX-License-Identifier: MIT */
/* reversible.c: a training by momentum in integers that is run backwards, and swept as it
 * goes: no state is kept, since the one before follows from the one after. Read next:
 * integers.c; sweep.c. */
#include <math.h>
#include <string.h>

#include "checkpoints.h"
#include "integers.h"
#include "unroll.h"

#define MOMENTUM_SAID 1e-3 /* of 1 - momentum */

static bool reversible_fits(ht_context *ctx, const ht_bilevel_options *o)
{
    const char *other = o->truncate                       ? "truncate"
                        : o->slots                        ? "slots"
                        : o->schedule != HT_SCHEDULE_AUTO ? "schedule"
                                                          : NULL;
    return !other ||
           HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "options.method is HT_REVERSIBLE, but options.%s is set, and all "
                       "steps are undone, from no state kept\n"
                       "  hint: leave it 0, or HT_REVERSE with it",
                       other);
}

/* The state that is known, and the one before it. */
static hti_room reversible_room(const ht_bilevel *b, hti_choice c)
{
    return (hti_room){.blocks = 2,
                      .cotangents = hti_reverse_room(b, c).cotangents,
                      .own = hti_integers_open(b, NULL).bytes};
}

static void reversible_refuse(const ht_bilevel *b, const ht_bilevel_options *o)
{
    hti_refuse(b, o, "a reversible training");
}

/* Forward. */

/* What a step asks of the programs: rates, whichever state; the gradient at one. */
static bool run_speeds(ht_bilevel *b, int64_t step)
{
    return hti_enter_step(b, step) &&
           hti_run_call(b, HTI_SPEEDS_NOW, &(hti_places){0}, step);
}

static bool run_descent(ht_bilevel *b, const hti_integers *m, int64_t step)
{
    hti_places at = {.in = {[HTI_THETA] = hti_block(b, b->run.current)},
                     .out = {[HTI_STATE] = m->gradient}};
    b->run.result.forward_steps++;
    return hti_run_call(b, HTI_DESCENT, &at, step);
}

static bool refuse_momentum(const ht_bilevel *b, hti_stepped how, int64_t step)
{
    if (how == HTI_NO_RATIO)
        return HTI_REFUSED(
            b->ctx, HT_ERROR_ARGUMENT,
            "options.method is HT_REVERSIBLE, but update.momentum does not "
            "lie in 2^-16 .. 1 at step %lld\n"
            "  hint: a sigmoid coordinate keeps it there; HT_REVERSE takes "
            "any",
            (long long)step);
    return HTI_REFUSED(
        b->ctx, HT_ERROR_MEMORY,
        "options.method is HT_REVERSIBLE, but update.momentum, which is no "
        "fixed number, took more than a bit a step of remainders, at step "
        "%lld\n  hint: keep it above 1/2, or HT_REVERSE takes any",
        (long long)step);
}

/* A training that has left what integers hold is one that is not finite. */
static void leave(ht_bilevel *b, int64_t step)
{
    ht_bilevel_result *r = &b->run.result;
    unsigned char *block = hti_block(b, b->run.current);
    for (int i = 0; i < b->problem.theta->n; i++) {
        const ht_tensor *t = b->problem.theta->tensor[i];
        for (int64_t k = 0, n = ht_tensor_count(t); k < n; k++)
            if (ht_tensor_dtype(t) == HT_F64)
                ((double *)(void *)block)[k] = (double)NAN;
            else
                ((float *)(void *)block)[k] = NAN;
        block += hti_round_up(ht_tensor_bytes(t), HTI_ALIGN);
    }
    b->run.left = step;
    if (!b->run.watch || r->bad_where == HT_BAD_TRAINING) return;
    r->bad_where = HT_BAD_TRAINING;
    r->bad_step = step;
    r->bad_op = "fixed point";
}

/* False after an error, and where the training ends by leaving its range. */
static bool go_on(ht_bilevel *b, hti_stepped how, int64_t step)
{
    if (how == HTI_BEYOND) leave(b, step);
    return how == HTI_STEPPED || (how != HTI_BEYOND && refuse_momentum(b, how, step));
}

static bool step_forward(ht_bilevel *b, hti_integers *m, int64_t step)
{
    unsigned char *block = hti_block(b, b->run.current);
    if (step == 0 && !go_on(b, hti_integers_begin_theta(m, block), step)) return false;
    if (!run_speeds(b, step) || !run_descent(b, m, step)) return false;
    if (step == 0 && !go_on(b, hti_integers_begin_s(m, block), step)) return false;
    return go_on(b, hti_integers_step(m, block), step);
}

static hti_integers *integers(const ht_bilevel *b)
{
    return (hti_integers *)(void *)b->memory.own;
}

static bool reversible_train(ht_bilevel *b)
{
    hti_integers *m = integers(b);
    *m = hti_integers_open(b, b->memory.own);
    b->run.speeds = m->speeds;
    b->run.left = -1;
    bool ok = hti_run_initial(b);
    for (int64_t t = 0; ok && t < b->problem.steps; t++) ok = step_forward(b, m, t);
    b->run.result.inner_seconds = hti_seconds() - b->run.started;
    double elements = (double)hti_trained_elements(b) * (double)b->problem.steps;
    if (ok) b->run.result.remainder_bits = hti_integers_bits(m) / elements;
    return ok || b->run.left >= 0;
}

/* Back. */

/* The state `step` to a block of its own, from the one after it. What does not train is
 * in both. */
static bool undo(ht_bilevel *b, hti_integers *m, int64_t step)
{
    hti_block_move(b, &b->run.current, hti_block_take(b));
    unsigned char *block = hti_block(b, b->run.current);
    memcpy(block, hti_block(b, b->run.after), b->memory.block_bytes);
    if (!run_speeds(b, step)) return false;
    hti_integers_undo_theta(m, block);
    if (!run_descent(b, m, step)) return false;
    hti_integers_undo_s(m, block);
    return true;
}

/* Else the gradients of the way back were not those of the way there. */
static bool returned(const ht_bilevel *b, const hti_integers *m)
{
    return hti_integers_returned(m) ||
           HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                       "HT_REVERSIBLE: the training, run backwards, did not come back to "
                       "where it began: its gradients changed on the way\n"
                       "  hint: inner_batch must fill the batch by the step alone");
}

static bool sweep_nothing(ht_bilevel *b)
{
    ht_set *gradient = hti_gradient(b);
    for (int j = 0; j < gradient->n; j++)
        ht_tensor_fill(gradient->tensor[j], (double)NAN);
    return true;
}

static bool reversible_run(ht_bilevel *b, uint64_t outer_step)
{
    hti_integers *m = integers(b);
    bool ok = reversible_train(b) && hti_sweep_outer(b, outer_step);
    if (ok && b->run.left >= 0) return sweep_nothing(b);
    for (int64_t t = b->problem.steps; ok && t-- > 0;)
        ok = undo(b, m, t) && hti_sweep_back(b, t);
    return ok && returned(b, m) && hti_sweep_initial(b);
}

/* Words. */

/* 1 / (1 - momentum) is how far a step goes in the end. */
static void note_momentum(ht_bilevel *b)
{
    const hti_integers *m = integers(b);
    if (m->off <= MOMENTUM_SAID) return;
    hti_note(
        b,
        "reversible: update.momentum %.9g ran as %lld/%lld, the nearest fraction of a "
        "denominator up to 2^16, and the gradient is that training's; 1 - momentum is "
        "off by %.3g %%: HT_REVERSE takes it as it is",
        m->momentum, (long long)m->ratio.n, (long long)m->ratio.d, 100 * m->off);
}

static void reversible_explain_run(ht_bilevel *b)
{
    const ht_bilevel_result *r = &b->run.result;
    note_momentum(b);
    if (r->bad_where != HT_BAD_TRAINING || !r->bad_op || strcmp(r->bad_op, "fixed point"))
        return;
    hti_note(
        b,
        "reversible: theta or its velocity grew to %d times the largest of its start "
        "(or 1), which fixed point does not hold",
        1 << (HTI_WIDE - HTI_FINE));
}

static void reversible_tell(const ht_bilevel *b, FILE *f)
{
    int64_t layers = 0, n = 0;
    for (int i = 0, k = 0; i < b->problem.theta->n; i++) {
        int64_t count = ht_tensor_count(b->problem.theta->tensor[i]);
        if (!b->programs.trained[i]) continue;
        layers += b->programs.layers[k++] * count;
        n += count;
    }
    double bits = (32 * (double)layers + 64 * (double)n) / (double)n;
    fprintf(f, "run       %lld steps forward, as many undone and back, in integers\n",
            (long long)b->problem.steps);
    fprintf(f,
            "kept      no state; of remainders room for %.3g bits a parameter and step\n",
            bits / (double)b->problem.steps);
}

const hti_method hti_method_reversible = {.kind = HT_REVERSIBLE,
                                          .name = "HT_REVERSIBLE",
                                          .many = true,
                                          .fits = reversible_fits,
                                          .momentum = hti_momentum_ratio,
                                          .record_initial = hti_record_initial_reverse,
                                          .record = hti_record_reversible,
                                          .room = reversible_room,
                                          .refuse = reversible_refuse,
                                          .train = reversible_train,
                                          .run = reversible_run,
                                          .explain = hti_unroll_explain,
                                          .explain_run = reversible_explain_run,
                                          .tell = reversible_tell};
