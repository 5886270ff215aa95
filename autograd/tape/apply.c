/* SPDX-License-Identifier: MIT */
/* apply.c: what stands between a call like ht_mul(x, 0.5) and a node: numbers and weak
 * scalars take their partner's dtype, absent and poisoned inputs are dealt with, the row
 * infers the type or refuses. Read next: tape.c (hti_append), ops_elementwise.c. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "autograd_internal.h"
#include "kernels.h"

double hti_number_value(ht_var x)
{
    union {
        uint32_t word[2];
        double value;
    } bits = {{x.index, x.stamp}};
    return bits.value;
}

bool ht_is_zero(ht_var x)
{
    return hti_is_zero(x);
}

/* Errors. */

ht_var hti_fail(ht_tape *tape, ht_status status, const char *site, const char *op,
                const char *format, ...)
{
    char text[HTI_MESSAGE / 2];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    ht_context_fail(tape->ctx, status, tape->rule_site ? tape->rule_site : site, "%s: %s",
                    hti_called(tape, op), text);
    return hti_poison(tape);
}

bool ht_infer_fail(ht_infer *it, ht_status status, const char *format, ...)
{
    HT_ASSERT(it, "ht_infer_fail: the infer is NULL");
    char text[HTI_MESSAGE / 2], types[HTI_MESSAGE / 3] = "", shape[HT_SHAPE_TEXT];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    for (int i = 0; i < it->n_in && i < HT_OP_INPUTS; i++) {
        size_t used = strlen(types);
        snprintf(types + used, sizeof types - used, "%s%s %s", i ? ", " : "",
                 ht_dtype_name(it->in[i].dtype), ht_shape_text(it->in[i].shape, shape));
    }
    ht_context_fail(it->ctx, status, it->site, "%s: %s\n  inputs: %s%s", it->name, text,
                    types, it->n_in > HT_OP_INPUTS ? ", ..." : "");
    return false;
}

/* Numbers and weak scalars. */

void hti_fail_poisoned(ht_context *ctx, const char *who, const char *site)
{
    ht_context_fail(ctx, HT_ERROR_ARGUMENT, site,
                    "%s: a variable without a value: the op that should have made it "
                    "failed, and its error was cleared",
                    who);
}

ht_tape *hti_tape_among(int n, const ht_var *x)
{
    for (int i = 0; i < n; i++)
        if (x[i].tape && !hti_is_number(x[i])) return x[i].tape;
    return NULL;
}

ht_var hti_needs(ht_tape *tape, ht_var x, const char *name, const char *input, int i,
                 const char *site)
{
    if (!tape) hti_check_unusual(x, name);
    if (hti_is_live(x) && x.tape == tape) return x;
    char place[16] = "";
    if (i >= 0) snprintf(place, sizeof place, "[%d]", i);
    if (x.tape && !hti_is_number(x)) {
        hti_check_unusual(x, name);
        HT_ASSERT(x.tape == tape, "%s: %s%s is on another tape", hti_called(tape, name),
                  input, place);
        return x;
    }
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    if (!hti_is_number(x))
        return hti_fail(tape, HT_ERROR_ARGUMENT, site, name,
                        "%s%s is HT_ZERO, or was never set: it must be a variable", input,
                        place);
    return hti_fail(tape, HT_ERROR_ARGUMENT, site, name,
                    "%s%s is the number %g: it must be a variable\n"
                    "  hint: ht_constant, and ht_broadcast to a shape",
                    input, place, hti_number_value(x));
}

static ht_var hti_number_node(ht_tape *tape, const ht_op *op, double value,
                              ht_dtype dtype, bool weak, const char *site)
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
static ht_dtype hti_partner_dtype(int n, const ht_var *in)
{
    for (int i = 0; i < n; i++)
        if (!hti_is_number(in[i]) && !hti_is_zero(in[i]) &&
            !in[i].tape->weak[in[i].index])
            return hti_type(in[i]).dtype;
    return 0;
}

static ht_var hti_resolve(ht_tape *tape, const ht_op *op, ht_var x, ht_dtype dtype,
                          const char *site)
{
    double value;
    bool weak = dtype == 0;
    if (hti_is_number(x))
        return hti_number_node(tape, op, hti_number_value(x), weak ? HT_F64 : dtype, weak,
                               site);
    if (hti_is_zero(x) || weak || !tape->weak[x.index]) return x;
    if (hti_is_constant(x, &value) && hti_type(x).shape.rank == 0)
        return hti_number_node(tape, op, value, dtype, false, site);
    return ht_cast_at(x, dtype, site);
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
                "must be equal or 1");
    return true;
}

/* Elementwise rows without an infer of their own: one float type, broadcast. */
static bool hti_infer_default(ht_infer *it)
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
static bool hti_infer(ht_tape *tape, const ht_op *op, int n, const ht_var *in,
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
    it.site = tape->rule_site ? tape->rule_site : site;
    it.name = hti_called(tape, op->name);
    it.out = (ht_type){0};
    bool ok = op->infer ? op->infer(&it) : hti_infer_default(&it);
    bool known = n > 0 && it.out.dtype == types[0].dtype &&
                 hti_same_shape(&it.out.shape, &types[0].shape);
    if (ok && !known && hti_bytes_at(it.out.dtype, &it.out.shape) == SIZE_MAX)
        ok = ht_infer_fail(&it, HT_ERROR_SHAPE, "the result would be too large");
    *out = it.out;
    if (n > HT_OP_INPUTS) hti_arena_rewind(&tape->scratch, mark);
    return ok;
}

/* Apply. */

/* What an assertion calls op: by what some tape of its inputs says was called. */
static const char *hti_called_with(const ht_op *op, int n, const ht_var *in)
{
    const char *name = op->name;
    for (int i = 0; i < n; i++)
        if (in[i].tape && !hti_is_number(in[i])) name = hti_called(in[i].tape, name);
    return name;
}

/* Whether all inputs are of one tape, alive and not weak, so that there is nothing to
 * resolve. */
static inline bool hti_all_plain(int n, const ht_var *in)
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
static ht_tape *hti_tape_of(const ht_op *op, int n, const ht_var *in)
{
    ht_tape *tape = NULL;
    for (int i = 0; i < n; i++) {
        if (hti_is_number(in[i]) || hti_is_zero(in[i])) continue;
        hti_check_named(in[i], hti_called_with(op, n, in));
        if (!tape) tape = in[i].tape;
        HT_ASSERT(tape == in[i].tape, "%s: input %d is on another tape than the first",
                  hti_called_with(op, n, in), i);
    }
    return tape;
}

static bool hti_all_zero(int n, const ht_var *in)
{
    for (int i = 0; i < n; i++)
        if (!hti_is_zero(in[i])) return false;
    return n > 0;
}

/* Inputs are variables of the tape. */
static inline ht_var hti_apply_typed(ht_tape *tape, const ht_op *op, int n,
                                     const ht_var *in, const void *attributes, bool weak,
                                     const char *site)
{
    ht_type type;
    if (!hti_infer(tape, op, n, in, attributes, site, &type)) return hti_poison(tape);
    return hti_append(tape, op, (uint32_t)n, in, attributes, &type,
                      weak && type.dtype == HT_F64, site);
}

static ht_var hti_apply_resolved(ht_tape *tape, const ht_op *op, int n, const ht_var *in,
                                 const void *attributes, const char *site)
{
    bool weak = n > 0 && op != &hti_op_cast;
    for (int i = 0; i < n; i++) {
        if (hti_is_poison(in[i])) return in[i];
        if (hti_is_number(in[i]))
            return hti_needs(tape, in[i], op->name, "input", i, site);
        if (hti_is_zero(in[i]) && op->flags & HT_OP_LINEAR) return HT_ZERO;
        HT_ASSERT(!hti_is_zero(in[i]), "%s: input %d is HT_ZERO",
                  hti_called(tape, op->name), i);
        if (op == &hti_op_where && i == 0) continue; /* a condition has no say */
        weak = weak && tape->weak[in[i].index];
    }
    return hti_apply_typed(tape, op, n, in, attributes, weak, site);
}

ht_var ht_apply(const ht_op *op, int n, const ht_var *in, const void *attributes,
                const char *site)
{
    HT_ASSERT(op && n >= 0 && (in || !n), "ht_apply: op %p, %d inputs at %p",
              (const void *)op, n, (const void *)in);
    HT_ASSERT(n <= HTI_ELEMENTWISE_INPUTS || !(op->flags & HT_OP_ELEMENTWISE),
              "%s: an elementwise op has at most %d inputs, not %d", op->name,
              HTI_ELEMENTWISE_INPUTS, n);
    HT_ASSERT(attributes || !op->attribute_size,
              "%s: attributes is NULL, %zu bytes are needed", op->name,
              op->attribute_size);
    bool plain = n > 0 && hti_all_plain(n, in);
    ht_tape *tape = plain ? in[0].tape : hti_tape_of(op, n, in);
    if (!tape && op->flags & HT_OP_LINEAR && hti_all_zero(n, in)) return HT_ZERO;
    HT_ASSERT(tape, "%s: no input is on a tape; use ht_constant(tape, number)", op->name);
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    if (tape->emitting) return hti_mutation_apply(tape, op, n, in, attributes, site);
    if (plain) return hti_apply_typed(tape, op, n, in, attributes, false, site);
    for (int i = 0; i < n; i++)
        if (hti_is_poison(in[i])) return in[i];
    if (!(op->flags & HT_OP_ELEMENTWISE) || n < 2)
        return hti_apply_resolved(tape, op, n, in, attributes, site);
    int first = op == &hti_op_where; /* a condition is nobody's partner */
    ht_dtype dtype = hti_partner_dtype(n - first, in + first);
    ht_var resolved[HTI_ELEMENTWISE_INPUTS];
    for (int i = 0; i < n; i++) resolved[i] = hti_resolve(tape, op, in[i], dtype, site);
    return hti_apply_resolved(tape, op, n, resolved, attributes, site);
}

/* Helpers of rules. */

bool hti_is_constant(ht_var x, double *value)
{
    if (hti_is_number(x)) return *value = hti_number_value(x), true;
    ht_tape *tape = x.tape;
    uint32_t i = x.index;
    /* One that is none, or stale, is for the function to name that was given it. */
    if (!tape || i >= tape->n || x.stamp != tape->stamp[i]) return false;
    while (tape->op[i] == &hti_op_broadcast || tape->op[i] == &hti_op_reshape)
        i = tape->edge[tape->first_in[i]];
    if (tape->op[i] != &hti_op_constant) return false;
    *value = ((const hti_constant_attributes *)tape->attributes[i])->value;
    return true;
}

ht_var hti_zeros(ht_tape *tape, ht_type type, const char *site)
{
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    return ht_broadcast_at(hti_constant(tape, 0, type.dtype, false, site), type.shape,
                           site);
}

ht_var hti_sum_to(ht_var v, ht_shape shape, const char *site)
{
    if (hti_is_zero(v) || hti_is_poison(v)) return v;
    ht_shape from = hti_type(v).shape;
    if (ht_shape_equal(from, shape)) return v;
    ht_axes axes = {0};
    int extra = from.rank - shape.rank;
    for (int i = 0; i < from.rank; i++)
        if (i < extra || (shape.dim[i - extra] == 1 && from.dim[i] != 1))
            axes.axis[axes.n++] = i;
    if (axes.n) v = ht_sum_axes_at(v, axes, true, site);
    return ht_reshape_at(v, shape, site);
}
