/* SPDX-License-Identifier: MIT */
/* mutation.c: derivative rules made wrong on purpose while they emit, one place at a
 * time, chosen by number. A check that does not notice is no check. Costs one test of a
 * pointer per op where it is not used. Read next: derive.c, tests/mutate.c. */
#include <string.h>

#include "autograd_internal.h"

static bool mutation_hits(hti_mutation *m, hti_mutation_kind kind)
{
    int place = m->seen[kind]++;
    if (m->seen[kind] > m->most[kind]) m->most[kind] = m->seen[kind];
    return m->kind == kind && m->place == place;
}

static bool mutation_is_float(ht_var x)
{
    return !ht_is_zero(x) &&
           (hti_is_number(x) ||
            (!hti_is_poison(x) && hti_dtype_is_float(hti_type(x).dtype)));
}

/* Whether exchanging a and b leaves types as they were and may change the value. */
static bool mutation_swaps(ht_var a, ht_var b)
{
    if (!mutation_is_float(a) || !mutation_is_float(b)) return false;
    if (hti_is_number(a) || hti_is_number(b)) return true;
    return a.index != b.index && hti_type(a).dtype == hti_type(b).dtype &&
           ht_shape_equal(hti_type(a).shape, hti_type(b).shape);
}

static bool mutation_is_sum(const ht_op *op)
{
    return op == &hti_op_add || op == &hti_op_sub;
}

/* An emitted op: inputs exchanged, a term left out, the sign of the result flipped. */
static ht_var mutation_emit(hti_mutation *m, const ht_op *op, int n, const ht_var *in,
                            const void *attributes, const char *site)
{
    int first = op == &hti_op_where;
    bool two = n == 2 + first && !(op->flags & HT_OP_COMMUTATIVE);
    if (two && mutation_swaps(in[first], in[first + 1]) &&
        mutation_hits(m, HTI_MUTATE_SWAP)) {
        ht_var swapped[3] = {in[0], in[first + 1], in[first]};
        if (!first) swapped[0] = in[1], swapped[1] = in[0];
        return ht_apply(op, n, swapped, attributes, site);
    }
    ht_var out = ht_apply(op, n, in, attributes, site);
    for (int k = 0; mutation_is_sum(op) && k < 2; k++) {
        ht_var rest = in[1 - k];
        bool whole = !hti_is_number(rest) && !hti_is_poison(out) &&
                     ht_shape_equal(hti_type(rest).shape, hti_type(out).shape);
        if (whole && mutation_hits(m, HTI_MUTATE_DROP))
            return k == 0 && op == &hti_op_sub ? ht_neg_at(rest, site) : rest;
    }
    return mutation_is_float(out) && mutation_hits(m, HTI_MUTATE_FLIP)
               ? ht_neg_at(out, site)
               : out;
}

ht_var hti_mutation_apply(ht_tape *tape, const ht_op *op, int n, const ht_var *in,
                          const void *attributes, const char *site)
{
    hti_mutation *m = tape->emitting;
    tape->emitting = NULL;
    ht_var out = mutation_emit(m, op, n, in, attributes, site);
    tape->emitting = m;
    return out;
}

/* The rule's own result. */
static ht_var mutation_return(hti_mutation *m, ht_var d)
{
    if (!mutation_is_float(d)) return d;
    if (mutation_hits(m, HTI_MUTATE_FLIP)) return ht_neg(d);
    return mutation_hits(m, HTI_MUTATE_DROP) ? HT_ZERO : d;
}

/* r's first two inputs exchanged in `swapped`, if that is the mutation. */
static void mutation_inputs(hti_mutation *m, ht_rule *r, ht_var *swapped)
{
    if (r->n_in < 2 || r->n_in > 3 || !mutation_swaps(r->in[0], r->in[1])) return;
    if (!mutation_hits(m, HTI_MUTATE_SWAP)) return;
    memcpy(swapped, r->in, (size_t)r->n_in * sizeof *swapped);
    swapped[0] = r->in[1];
    swapped[1] = r->in[0];
    r->in = swapped;
}

/* The mutation, if it is for this rule, from here to hti_mutation_end. */
static hti_mutation *mutation_begin(ht_tape *tape, const ht_op *op, bool jvp)
{
    hti_mutation *m = tape->mutation;
    if (!m || m->op != op || m->jvp != jvp) return NULL;
    memset(m->seen, 0, sizeof m->seen);
    return m;
}

void hti_rule_vjp(ht_tape *tape, const ht_op *op, ht_rule *r)
{
    hti_mutation *m = mutation_begin(tape, op, false);
    if (!m) {
        op->vjp(r);
        return;
    }
    const ht_var *in = r->in;
    ht_var swapped[3];
    mutation_inputs(m, r, swapped);
    tape->emitting = m;
    op->vjp(r);
    tape->emitting = NULL;
    r->in = in;
    for (int e = 0; e < r->n_in; e++)
        if (r->wanted[e]) r->d[e] = mutation_return(m, r->d[e]);
}

ht_var hti_rule_jvp(ht_tape *tape, const ht_op *op, ht_rule *r)
{
    hti_mutation *m = mutation_begin(tape, op, true);
    if (!m) return op->jvp(r);
    const ht_var *in = r->in;
    ht_var swapped[3];
    mutation_inputs(m, r, swapped);
    tape->emitting = m;
    ht_var out = op->jvp(r);
    tape->emitting = NULL;
    r->in = in;
    return mutation_return(m, out);
}
