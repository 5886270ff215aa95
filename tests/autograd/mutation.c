/* SPDX-License-Identifier: MIT */
/* mutation.c: derivative rules made wrong on purpose while they emit, one place at a
 * time, chosen by number. A check that does not notice is no check. A tape without a
 * mutation pays one test of a pointer an op. Read next: mutate.c. */
#include "mutation.h"

#include <string.h>

/* Comes to the next place of a kind, where the mutation may apply or not: so the number
 * of a place does not depend on shapes. */
static bool mutation_hits(hti_mutation *m, hti_mutation_kind kind, bool may)
{
    int place = m->seen[kind]++;
    HT_ASSERT(place < 64, "%s: more than 64 places in a rule", m->op->name);
    if (may) m->places[kind] |= (uint64_t)1 << place;
    return may && m->kind == kind && m->place == place;
}

static bool mutation_is_float(ht_var x)
{
    return !ht_is_zero(x) &&
           (hti_is_number(x) ||
            (!hti_is_poison(x) && hti_dtype_is_float(hti_type(x).dtype)));
}

/* Whether a and b can change places, being of one type or broadcast to one. */
static bool mutation_swaps(ht_var a, ht_var b, bool broadcast)
{
    if (!mutation_is_float(a) || !mutation_is_float(b)) return false;
    if (hti_is_number(a) || hti_is_number(b)) return broadcast;
    return a.index != b.index && hti_type(a).dtype == hti_type(b).dtype &&
           (broadcast || ht_shape_equal(hti_type(a).shape, hti_type(b).shape));
}

/* What is left of in[0] + in[1] or in[0] - in[1] without term k. */
static ht_var mutation_drop(const ht_op *op, const ht_var *in, int k, ht_var out,
                            const char *site)
{
    ht_var rest = in[1 - k];
    if (hti_is_number(rest))
        rest = ht_add_at(ht_mul_at(out, ht_number(0), site), rest, site);
    if (k == 0 && op == &hti_op_sub) rest = ht_neg_at(rest, site);
    return ht_broadcast_at(rest, hti_type(out).shape, site);
}

/* An emitted op: inputs exchanged, a term left out, the sign of the result flipped. */
static ht_var mutation_emit(hti_mutation *m, const ht_op *op, int n, const ht_var *in,
                            const void *attributes, const char *site)
{
    int first = op == &hti_op_where;
    if (n == 2 + first && !(op->flags & HT_OP_COMMUTATIVE)) {
        bool may =
            mutation_swaps(in[first], in[first + 1], op->flags & HT_OP_ELEMENTWISE);
        if (mutation_hits(m, HTI_MUTATE_SWAP, may)) {
            ht_var swapped[3] = {in[0], in[1], in[2 * first]};
            swapped[first] = in[first + 1];
            swapped[first + 1] = in[first];
            return ht_apply(op, n, swapped, attributes, site);
        }
    }
    ht_var out = ht_apply(op, n, in, attributes, site);
    if (hti_is_poison(out)) return out;
    for (int k = 0; k < 2 && (op == &hti_op_add || op == &hti_op_sub); k++)
        if (mutation_hits(m, HTI_MUTATE_DROP, true))
            return mutation_drop(op, in, k, out, site);
    return mutation_hits(m, HTI_MUTATE_FLIP, mutation_is_float(out))
               ? ht_neg_at(out, site)
               : out;
}

static hti_mutation *mutation_of(ht_tape *tape)
{
    return (hti_mutation *)tape->hook;
}

static ht_var mutation_apply(ht_tape *tape, const ht_op *op, int n, const ht_var *in,
                             const void *attributes, const char *site)
{
    hti_mutation *m = mutation_of(tape);
    m->hook.emitting = false;
    ht_var out = mutation_emit(m, op, n, in, attributes, site);
    m->hook.emitting = true;
    return out;
}

/* The rule's own result. */
static ht_var mutation_return(hti_mutation *m, ht_var d)
{
    bool may = mutation_is_float(d);
    if (mutation_hits(m, HTI_MUTATE_FLIP, may)) return ht_neg(d);
    return mutation_hits(m, HTI_MUTATE_DROP, may) ? HT_ZERO : d;
}

/* r's first two inputs exchanged in `swapped`, if that is the mutation. */
static void mutation_inputs(hti_mutation *m, ht_rule *r, ht_var *swapped)
{
    if (r->n_in < 2 || r->n_in > 3) return;
    bool may = mutation_swaps(r->in[0], r->in[1], false);
    if (!mutation_hits(m, HTI_MUTATE_SWAP, may)) return;
    memcpy(swapped, r->in, (size_t)r->n_in * sizeof *swapped);
    swapped[0] = r->in[1];
    swapped[1] = r->in[0];
    r->in = swapped;
}

/* Whether the mutation is for this rule, which is about to be called. */
static bool mutation_begins(hti_mutation *m, const ht_op *op, bool jvp)
{
    if (m->op != op || m->jvp != jvp) return false;
    memset(m->seen, 0, sizeof m->seen);
    return true;
}

static void mutation_vjp(ht_tape *tape, const ht_op *op, ht_rule *r)
{
    hti_mutation *m = mutation_of(tape);
    if (!mutation_begins(m, op, false)) {
        op->vjp(r);
        return;
    }
    const ht_var *in = r->in;
    ht_var swapped[3];
    mutation_inputs(m, r, swapped);
    m->hook.emitting = true;
    op->vjp(r);
    m->hook.emitting = false;
    r->in = in;
    for (int e = 0; e < r->n_in; e++)
        if (r->wanted[e]) r->d[e] = mutation_return(m, r->d[e]);
}

static ht_var mutation_jvp(ht_tape *tape, const ht_op *op, ht_rule *r)
{
    hti_mutation *m = mutation_of(tape);
    if (!mutation_begins(m, op, true)) return op->jvp(r);
    const ht_var *in = r->in;
    ht_var swapped[3];
    mutation_inputs(m, r, swapped);
    m->hook.emitting = true;
    ht_var out = op->jvp(r);
    m->hook.emitting = false;
    r->in = in;
    return mutation_return(m, out);
}

hti_hook *hti_mutation_hook(hti_mutation *m)
{
    m->hook =
        (hti_hook){.vjp = mutation_vjp, .jvp = mutation_jvp, .apply = mutation_apply};
    return &m->hook;
}
