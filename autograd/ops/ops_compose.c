/* SPDX-License-Identifier: MIT */
/* ops_compose.c: functions that need no row, since they are a few ops one after another:
 * derivatives of every order come with these, and a kernel of their own would bring
 * little. Read next: README.md, "Add an op". */
#include <float.h>
#include <math.h>

#include "ops.h"

/* Absent (HT_ZERO) or poisoned: what the ops below would not take or not change. */
static bool compose_pass(ht_var x, const char *op, const char *site)
{
    return ht_is_zero(x) || hti_check_named(x, op, site) == HTI_NONE;
}

/* Elementwise. */

ht_var ht_reciprocal_at(ht_var x, const char *site)
{
    HT_ASSERT(!ht_is_zero(x), "reciprocal: x is HT_ZERO");
    return HTI_CALL("reciprocal", x, ht_div_at(ht_number(1), x, site));
}

static ht_var compose_leaky_relu(ht_var x, double slope, const char *site)
{
    if (compose_pass(x, "leaky_relu", site)) return x;
    double most = hti_type(x).dtype == HT_F32 ? (double)FLT_MAX : DBL_MAX;
    if (!(fabs(slope) <= most))
        return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, "leaky_relu",
                        "needs a slope that is finite in %s, got %g",
                        ht_dtype_name(hti_type(x).dtype), slope);
    if (slope == 0) return ht_relu_at(x, site); /* -inf * 0 would be NaN */
    ht_var positive = ht_greater_at(x, ht_number(0), site);
    return ht_where_at(positive, x, ht_mul_at(x, ht_number(slope), site), site);
}

ht_var ht_leaky_relu_at(ht_var x, double slope, const char *site)
{
    return HTI_CALL("leaky_relu", x, compose_leaky_relu(x, slope, site));
}

/* The bound where x lies below or above it, and everywhere if it is NaN; x that is NaN is
 * neither, hence stays, and so does what has no bound. */
static ht_var compose_bound(ht_var x, ht_var bound, bool below, const char *site)
{
    double number;
    if (hti_is_zero(bound)) bound = ht_number(0);
    if (hti_is_number(bound) &&
        hti_number_value(bound) == (below ? -(double)INFINITY : (double)INFINITY))
        return x;
    if (hti_is_number(bound) && isnan(number = hti_number_value(bound)))
        bound = hti_constant(x.tape, number, hti_type(x).dtype, true, site);
    ht_var beyond = below ? ht_greater_at(bound, x, site) : ht_greater_at(x, bound, site);
    if (!hti_is_number(bound))
        x = ht_where_at(ht_equal_at(bound, bound, site), x, bound, site);
    return ht_where_at(beyond, bound, x, site);
}

static ht_var compose_clamp(ht_var x, ht_var low, ht_var high, const char *site)
{
    if (compose_pass(x, "clamp", site)) return x;
    if (hti_is_number(low) && hti_is_number(high) &&
        hti_number_value(low) > hti_number_value(high))
        return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, "clamp",
                        "low %g must not be above high %g", hti_number_value(low),
                        hti_number_value(high));
    return compose_bound(compose_bound(x, low, true, site), high, false, site);
}

static ht_var compose_between(ht_var x, ht_var low, ht_var high, const char *name,
                              const char *site)
{
    ht_tape *tape = hti_tape_among(3, (ht_var[]){x, low, high});
    x = hti_needs(tape, x, name, "x", -1, site);
    low = hti_takes(tape, low, name, "low", site);
    high = hti_takes(tape, high, name, "high", site);
    return HTI_CALL(name, x, compose_clamp(x, low, high, site));
}

ht_var ht_clamp_at(ht_var x, ht_var low, ht_var high, const char *site)
{
    return compose_between(x, low, high, "clamp", site);
}

ht_var ht_project_box_at(ht_var x, ht_var low, ht_var high, const char *site)
{
    return compose_between(x, low, high, "project_box", site);
}

/* Reductions. */

ht_var ht_min_axes_at(ht_var x, ht_axes axes, bool keep, const char *site)
{
    uint64_t bits;
    if (compose_pass(x, "min_axes", site)) return x;
    if (!hti_axes_bits(x, "min_axes", axes, site, &bits)) return hti_poison(x.tape);
    return HTI_CALL(
        "min_axes", x,
        ht_neg_at(ht_max_axes_at(ht_neg_at(x, site), axes, keep, site), site));
}

ht_var ht_argmin_at(ht_var x, const char *site)
{
    if (hti_check_var(x) == HTI_NONE) return x;
    if (!hti_needs_floats(x, "argmin", site)) return hti_poison(x.tape);
    return HTI_CALL("argmin", x, ht_argmax_at(ht_neg_at(x, site), site));
}

/* The row takes the last axis: the folded axes go there and become one. */
static ht_var compose_logsumexp(ht_var x, ht_axes axes, bool keep, const char *site)
{
    uint64_t folded;
    HT_ASSERT(!ht_is_zero(x), "logsumexp_axes: x is HT_ZERO");
    if (compose_pass(x, "logsumexp_axes", site) || axes.n == 0) return x;
    if (!hti_axes_bits(x, "logsumexp_axes", axes, site, &folded))
        return hti_poison(x.tape);
    ht_shape kept = hti_type(x).shape, matrix = {0, {0}};
    ht_axes order = {0};
    int64_t columns = 1;
    for (int i = 0; i < kept.rank; i++)
        if (!(folded >> i & 1)) {
            order.axis[order.n++] = i;
            matrix.dim[matrix.rank++] = kept.dim[i];
        }
    for (int i = 0; i < kept.rank; i++)
        if (folded >> i & 1) {
            order.axis[order.n++] = i;
            columns *= kept.dim[i];
            kept.dim[i] = 1;
        }
    matrix.dim[matrix.rank++] = columns;
    ht_var flat = ht_reshape_at(ht_permute_at(x, order, site), matrix, site);
    ht_var out = ht_apply(&hti_op_logsumexp, 1, &flat, NULL, site);
    return keep ? ht_reshape_at(out, kept, site) : out;
}

ht_var ht_logsumexp_axes_at(ht_var x, ht_axes axes, bool keep, const char *site)
{
    return HTI_CALL("logsumexp_axes", x, compose_logsumexp(x, axes, keep, site));
}

/* Movement. */

ht_var ht_flip_at(ht_var x, int axis, const char *site)
{
    if (compose_pass(x, "flip", site)) return x;
    int at = hti_needs_axis(x, axis, "flip", site);
    if (at < 0) return hti_poison(x.tape);
    int64_t n = hti_type(x).shape.dim[at];
    return n < 2 ? x : ht_slice_at(x, at, n - 1, n, -1, site);
}

/* x with an axis of size 1 before axis `at`. */
static ht_var compose_unsqueeze(ht_var x, int at, const char *site)
{
    ht_shape shape = hti_type(x).shape;
    for (int i = shape.rank++; i > at; i--) shape.dim[i] = shape.dim[i - 1];
    shape.dim[at] = 1;
    return ht_reshape_at(x, shape, site);
}

ht_var ht_stack_at(int n, const ht_var *x, int axis, const char *site)
{
    HT_ASSERT(n > 0 && x, "stack of %d variables at %p", n, (const void *)x);
    ht_tape *tape = hti_tape_among(n, x);
    for (int i = 0; i < n; i++) {
        ht_var in = hti_needs(tape, x[i], "stack", "x", i, site);
        if (hti_is_poison(in)) return in;
    }
    ht_shape shape = hti_type(x[0]).shape;
    int at = axis < 0 ? axis + shape.rank + 1 : axis;
    char text[HT_SHAPE_TEXT], first[HT_SHAPE_TEXT];
    if (at < 0 || at > shape.rank || shape.rank == HT_MAX_RANK)
        return hti_fail(tape, HT_ERROR_ARGUMENT, site, "stack",
                        "shape %s takes no new axis %d (at most %d axes in all)",
                        ht_shape_text(shape, text), axis, HT_MAX_RANK);
    for (int i = 1; i < n; i++)
        if (hti_type(x[i]).dtype != hti_type(x[0]).dtype)
            return hti_fail(tape, HT_ERROR_DTYPE, site, "stack",
                            "element types differ: input %d is %s, the first %s\n"
                            "  hint: ht_cast",
                            i, ht_dtype_name(hti_type(x[i]).dtype),
                            ht_dtype_name(hti_type(x[0]).dtype));
        else if (!ht_shape_equal(hti_type(x[i]).shape, shape))
            return hti_fail(tape, HT_ERROR_SHAPE, site, "stack",
                            "input %d has shape %s, the first %s: all must be alike", i,
                            ht_shape_text(hti_type(x[i]).shape, text),
                            ht_shape_text(shape, first));
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    ht_var *wide = hti_arena_alloc(&tape->scratch, (size_t)n * sizeof *wide);
    if (!wide) return hti_poison(tape);
    for (int i = 0; i < n; i++) wide[i] = compose_unsqueeze(x[i], at, site);
    ht_var out = HTI_CALL("stack", x[0], ht_concat_at(n, wide, at, site));
    hti_arena_rewind(&tape->scratch, mark);
    return out;
}
