/* SPDX-License-Identifier: MIT */
/* tangent.c: a program and its derivative along tangents of what it reads, as one
 * program. It is made of the program itself, which is emitted into a tape again: no
 * callback is called, and what they read may be long gone. Read next:
 * ../unroll/curvature.c. */
#include <string.h>

#include "record.h"

/* Tapes of one program: its own inputs, and their tangents where there are any. */
typedef struct tangents {
    ht_bilevel *b;
    ht_tape *tape;
    hti_call_kind kind;
    int n_in, n_out, n_dx;
    ht_var *in, *out; /* with the tangents behind them */
    ht_var *x, *dx;   /* those inputs that have one */
} tangents;

bool hti_has_tangent(hti_operand operand)
{
    return operand != HTI_BATCH && operand != HTI_OUTER_BATCH && operand != HTI_STEP;
}

/* The program there is of a kind; another one that keeps products gives as much. */
static const hti_call *call_of(const ht_bilevel *b, hti_call_kind kind, bool *kept)
{
    const hti_call *call = b->programs.call;
    *kept = !call[kind].program;
    if (!*kept) return &call[kind];
    return &call[kind == HTI_FORWARD ? HTI_FORWARD_KEPT : HTI_REVERSE_KEPT];
}

static int count_in(const tangents *t)
{
    int n = 0;
    for (const hti_operand *o = hti_signatures[t->kind].in; *o != HTI_END; o++)
        n += hti_program_operands(t->b, t->kind, *o);
    return n;
}

static bool tangent_lists(tangents *t)
{
    t->in = hti_vars_list(t->tape, 2 * t->n_in);
    t->x = hti_vars_list(t->tape, 2 * t->n_in);
    t->out = hti_vars_list(t->tape, 2 * t->n_out);
    t->dx = t->x ? t->x + t->n_in : NULL;
    return t->in && t->x && t->out;
}

/* Leaves like what the program reads, operand by operand. */
static void tangent_leaves(tangents *t, const ht_program *program)
{
    int at = 0;
    for (const hti_operand *o = hti_signatures[t->kind].in; *o != HTI_END; o++)
        for (int k = 0; k < hti_program_operands(t->b, t->kind, *o); k++, at++) {
            ht_type type = *hti_program_in_type(program, (uint32_t)at);
            t->in[at] = ht_input_like_at(t->tape, type, "in");
            if (!hti_has_tangent(*o)) continue;
            t->x[t->n_dx] = t->in[at];
            t->dx[t->n_dx++] = ht_input_like_at(t->tape, type, "tangent");
        }
    memcpy(t->in + t->n_in, t->dx, (size_t)t->n_dx * sizeof *t->in);
}

/* Its results; of a reverse that reads products, those of the step it is of. */
static bool emit(tangents *t, const hti_call *call, bool kept)
{
    ht_var *in = t->in;
    if (kept && t->kind == HTI_REVERSE_STEP) {
        const hti_call *step = &t->b->programs.call[HTI_FORWARD_KEPT];
        ht_var *made = hti_vars_list(t->tape, step->n_out);
        in = hti_vars_list(t->tape, call->n_in);
        if (!made || !in) return false;
        ht_call_at(t->tape, step->program, t->in, made, NULL);
        memcpy(in, t->in, (size_t)t->n_in * sizeof *in);
        memcpy(in + t->n_in, made + step->n_out - t->b->programs.n_kept,
               (size_t)t->b->programs.n_kept * sizeof *in);
    }
    ht_var *out = hti_vars_list(t->tape, call->n_out); /* products last */
    if (!out) return false;
    ht_call_at(t->tape, call->program, in, out, NULL);
    memcpy(t->out, out, (size_t)t->n_out * sizeof *out);
    return t->b->ctx->status == HT_OK;
}

/* Zeros for results that do not depend on what has a tangent. */
static void fill(tangents *t, const ht_program *program)
{
    for (int k = 0; k < t->n_out; k++)
        if (ht_is_zero(t->out[t->n_out + k]))
            t->out[t->n_out + k] =
                hti_spread(t->tape, 0, *hti_program_out_type(program, (uint32_t)k), NULL);
}

static bool cut(tangents *t, hti_call *to)
{
    to->n_in = t->n_in + t->n_dx;
    to->n_out = 2 * t->n_out;
    to->program = ht_program_new_at(t->tape, to->n_in, t->in, to->n_out, t->out, NULL);
    if (!to->program) return false;
    to->in = hti_zalloc(t->b->ctx, (size_t)to->n_in, sizeof *to->in);
    to->out = hti_zalloc(t->b->ctx, (size_t)to->n_out, sizeof *to->out);
    return t->b->ctx->status == HT_OK;
}

bool hti_record_tangents(ht_bilevel *b, hti_call_kind kind, hti_call *to)
{
    bool kept;
    const hti_call *call = call_of(b, kind, &kept);
    tangents t = {.b = b, .kind = kind, .tape = ht_tape_new(b->ctx, HT_RECORD)};
    t.n_in = count_in(&t);
    t.n_out = call->n_out - (kept && kind == HTI_FORWARD ? b->programs.n_kept : 0);
    bool ok = t.tape && tangent_lists(&t);
    if (ok) tangent_leaves(&t, call->program);
    ok = ok && emit(&t, call, kept) &&
         hti_jvp(t.tape, t.n_dx, t.x, t.dx, t.n_out, t.out, t.out + t.n_out, NULL);
    if (ok) fill(&t, call->program);
    ok = ok && cut(&t, to);
    ht_tape_free(t.tape);
    return ok;
}
