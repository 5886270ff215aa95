/* SPDX-License-Identifier: MIT */
/* apply.c: what stands between a call like ht_mul(x, 0.5) and a node: numbers and weak
 * scalars take their partner's dtype, absent and poisoned inputs are dealt with, the row
 * infers the type or refuses. Read next: tape.c (hti_append), ops_elementwise.c. */
#include <math.h>

#include "tape.h"

/* Numbers and weak scalars. */

bool hti_is_constant(ht_var x, double *value)
{
    if (hti_is_number(x)) return *value = hti_number_value(x), true;
    ht_tape *tape = x.tape;
    uint32_t i = x.index;
    /* One that is none, or stale, is for the function to name that was given it. */
    if (!tape || i >= tape->n || x.stamp != tape->stamp[i]) return false;
    while (tape->op[i]->flags & HTI_OP_REPEATS) i = hti_inputs(tape, i)[0];
    if (tape->op[i] != &hti_op_constant) return false;
    *value = ((const hti_constant_attributes *)tape->attributes[i])->value;
    return true;
}

static ht_var number_node(ht_tape *tape, const ht_op *op, double value, ht_dtype dtype,
                          bool weak, const char *site)
{
    bool whole = dtype == HT_I32 ? value >= INT32_MIN && value <= INT32_MAX
                                 : value >= 0 && value <= UINT8_MAX;
    if (!hti_dtype_is_float(dtype) && !(whole && value == floor(value)))
        return hti_fail(tape, HT_ERROR_DTYPE, site, op->name,
                        "the number %g meets a partner of dtype %s, which can't hold it\n"
                        "  hint: ht_cast the partner to HT_F32 or HT_F64 first",
                        value, ht_dtype_name(dtype));
    return hti_constant(tape, value, dtype, weak, site);
}

/* The dtype numbers and weak scalars take: that of the first strong partner; 0 if none.
 */
static ht_dtype partner_dtype(int n, const ht_var *in)
{
    for (int i = 0; i < n; i++)
        if (!hti_is_number(in[i]) && !hti_is_zero(in[i]) &&
            !in[i].tape->weak[in[i].index])
            return hti_type(in[i]).dtype;
    return 0;
}

static ht_var resolve_input(ht_tape *tape, const ht_op *op, ht_var x, ht_dtype dtype,
                            const char *site)
{
    double value;
    bool weak = dtype == 0;
    if (hti_is_number(x))
        return number_node(tape, op, hti_number_value(x), weak ? HT_F64 : dtype, weak,
                           site);
    if (hti_is_zero(x) || weak || !tape->weak[x.index]) return x;
    if (hti_is_constant(x, &value) && hti_type(x).shape.rank == 0)
        return number_node(tape, op, value, dtype, false, site);
    return tape->linear->cast(x, dtype, site);
}

/* Types. */

bool hti_infer_broadcast(ht_infer *it)
{
    it->out = it->in[0];
    for (int i = 1; i < it->n_in; i++)
        if (!hti_same_shape(&it->out.shape, &it->in[i].shape) &&
            !hti_broadcast_shapes(it->out.shape, it->in[i].shape, &it->out.shape))
            return ht_infer_fail(
                it, HT_ERROR_SHAPE,
                "shapes do not broadcast: counted from the last axis, sizes "
                "must be equal or 1\n  hint: ht_reshape adds axes of size 1");
    return true;
}

/* Elementwise rows without an infer of their own: one float type, broadcast. */
static bool infer_default(ht_infer *it)
{
    for (int i = 0; i < it->n_in; i++) {
        if (it->in[i].dtype != it->in[0].dtype)
            return ht_infer_fail(it, HT_ERROR_DTYPE,
                                 "element types differ\n  hint: ht_cast one of them");
        if (!hti_dtype_is_float(it->in[i].dtype))
            return ht_infer_fail(it, HT_ERROR_DTYPE, "needs f32 or f64\n  hint: ht_cast");
    }
    return hti_infer_broadcast(it);
}

/* The type of op(in), or an error kept. Field by field: to clear what is about to be
 * written costs as much as the rest. A type that an input has is not too large. */
static bool infer_type(ht_tape *tape, const ht_op *op, int n, const ht_var *in,
                       const void *attributes, const char *site, ht_type *out)
{
    ht_type few[HT_OP_INPUTS], *types = few;
    hti_arena_mark mark = {0};
    if (n > HT_OP_INPUTS) {
        mark = hti_arena_at(&tape->scratch);
        types = hti_arena_alloc(&tape->scratch, (size_t)n * sizeof *types);
        if (!types) return false;
    }
    for (int i = 0; i < n; i++) types[i] = tape->type[in[i].index];
    ht_infer it;
    it.op = op;
    it.ctx = tape->ctx;
    it.n_in = n;
    it.in = types;
    it.attributes = attributes;
    it.site = site;
    it.name = hti_called(tape, op->name);
    it.var = in;
    it.out = (ht_type){0};
    bool ok = op->infer ? op->infer(&it) : infer_default(&it);
    bool known = n > 0 && it.out.dtype == types[0].dtype &&
                 hti_same_shape(&it.out.shape, &types[0].shape);
    if (ok && !known && hti_bytes_at(it.out.dtype, &it.out.shape) == SIZE_MAX)
        ok = ht_infer_fail(&it, HT_ERROR_SHAPE, "the result would be too large");
    *out = it.out;
    if (n > HT_OP_INPUTS) hti_arena_rewind(&tape->scratch, mark);
    return ok;
}

/* Apply. */

/* Whether all inputs are of one tape, alive and not weak, so that there is nothing to
 * resolve. */
static inline bool all_plain(int n, const ht_var *in)
{
    const ht_tape *tape = in[0].tape;
    if (!tape || hti_is_number(in[0])) return false;
    for (int i = 0; i < n; i++)
        if (in[i].tape != tape || in[i].index >= tape->n ||
            in[i].stamp != tape->stamp[in[i].index] || tape->weak[in[i].index])
            return false;
    return true;
}

/* The tape the inputs are on, NULL if all are numbers or HT_ZERO. */
static ht_tape *tape_of(const ht_op *op, int n, const ht_var *in, const char *site)
{
    ht_tape *tape = hti_tape_among(n, in);
    const char *name = tape ? hti_called(tape, op->name) : op->name;
    for (int i = 0; i < n; i++) {
        if (hti_is_number(in[i]) || hti_is_zero(in[i])) continue;
        hti_check_named(in[i], name, site);
        HT_ASSERT(tape == in[i].tape,
                  "%s: input %d is on another tape than the first" HTI_ONE_TAPE "%s%s",
                  name, i, HTI_AT(site));
    }
    return tape;
}

static bool all_zero(int n, const ht_var *in)
{
    for (int i = 0; i < n; i++)
        if (!hti_is_zero(in[i])) return false;
    return n > 0;
}

/* Whether op's result has the type of input 0 because all have: so it is, mostly. */
static inline bool is_alike(const ht_tape *tape, const ht_op *op, int n, const ht_var *in)
{
    if (!(op->flags & HTI_OP_SAME)) return false;
    const ht_type *type = &tape->type[in[0].index];
    for (int i = 1; i < n; i++)
        if (!hti_same_type(type, &tape->type[in[i].index])) return false;
    return hti_dtype_is_float(type->dtype);
}

/* Inputs are variables of the tape. */
static inline ht_var apply_typed(ht_tape *tape, const ht_op *op, int n, const ht_var *in,
                                 const void *attributes, bool weak, const char *site)
{
    ht_type type;
    if (is_alike(tape, op, n, in))
        type = tape->type[in[0].index];
    else if (!infer_type(tape, op, n, in, attributes, site, &type))
        return hti_poison(tape);
    return hti_append(tape, op, (uint32_t)n, in, attributes, &type,
                      weak && type.dtype == HT_F64, site);
}

static ht_var apply_resolved(ht_tape *tape, const ht_op *op, int n, const ht_var *in,
                             const void *attributes, const char *site)
{
    bool weak = n > 0 && !(op->flags & HTI_OP_CONVERTS);
    for (int i = 0; i < n; i++) {
        if (hti_is_poison(in[i])) return in[i];
        if (hti_is_number(in[i]))
            return hti_needs(tape, in[i], op->name, "input", i, site);
        if (hti_is_zero(in[i]) && op->flags & HT_OP_LINEAR) return HT_ZERO;
        HT_ASSERT(!hti_is_zero(in[i]), "%s: input %d is HT_ZERO%s%s",
                  hti_called(tape, op->name), i, HTI_AT(site));
        if (op->flags & HTI_OP_CHOOSES && i == 0) continue; /* a condition has no say */
        weak = weak && tape->weak[in[i].index];
    }
    return apply_typed(tape, op, n, in, attributes, weak, site);
}

ht_var ht_apply(const ht_op *op, int n, const ht_var *in, const void *attributes,
                const char *site)
{
    HT_ASSERT(op && n >= 0 && (in || !n), "ht_apply: op %p, %d inputs at %p",
              (const void *)op, n, (const void *)in);
    HT_ASSERT(n <= HTI_MOST_ELEMENTWISE || !(op->flags & HT_OP_ELEMENTWISE),
              "%s: an elementwise op has at most %d inputs, not %d", op->name,
              HTI_MOST_ELEMENTWISE, n);
    HT_ASSERT(attributes || !op->attribute_size,
              "%s: attributes is NULL, %zu bytes are needed", op->name,
              op->attribute_size);
    bool plain = n > 0 && all_plain(n, in);
    ht_tape *tape = plain ? in[0].tape : tape_of(op, n, in, site);
    if (!tape && op->flags & HT_OP_LINEAR && all_zero(n, in)) return HT_ZERO;
    HT_ASSERT(tape, "%s: no input is on a tape; use ht_constant(tape, number)%s%s",
              op->name, HTI_AT(site));
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    if (tape->hook && tape->hook->emitting)
        return tape->hook->apply(tape, op, n, in, attributes, site);
    if (plain) return apply_typed(tape, op, n, in, attributes, false, site);
    for (int i = 0; i < n; i++)
        if (hti_is_poison(in[i])) return in[i];
    if (!(op->flags & HT_OP_ELEMENTWISE) || n < 2)
        return apply_resolved(tape, op, n, in, attributes, site);
    int first = !!(op->flags & HTI_OP_CHOOSES); /* a condition is nobody's partner */
    ht_dtype dtype = partner_dtype(n - first, in + first);
    ht_var resolved[HTI_MOST_ELEMENTWISE];
    for (int i = 0; i < n; i++) resolved[i] = resolve_input(tape, op, in[i], dtype, site);
    return apply_resolved(tape, op, n, resolved, attributes, site);
}
