/* SPDX-License-Identifier: MIT */
/* loss.c: losses by row, as compositions of ops whose derivatives stay finite where a
 * textbook formula would give 0 * inf. Read next: ht_losses.h, ops/ops_rows.c. */
#include <math.h>

#include "nn_internal.h"

/* What a loss is called with, for checks and messages. */
typedef struct loss {
    const char *name, *x_name, *target_name, *site;
    int axes; /* x has at least so many */
} loss;

/* False, with an error kept, unless x is of floats and target of x's very type: a target
 * that broadcasts is nearly always a mistake, and a quiet one. A number becomes a
 * constant, and *in poison where it is no variable. */
static bool loss_check(const loss *l, ht_var *in, ht_var *target)
{
    ht_tape *tape = hti_tape_among(2, (ht_var[]){*in, *target});
    ht_var x = *in = hti_needs(tape, *in, l->name, l->x_name, -1, l->site);
    if (hti_is_poison(x)) return false;
    if (!hti_is_number(*target))
        *target = hti_needs(tape, *target, l->name, l->target_name, -1, l->site);
    ht_type a = hti_type(x);
    double number;
    bool one = hti_is_constant(*target, &number) &&
               (hti_is_number(*target) || hti_type(*target).shape.rank == 0);
    if (one) *target = hti_constant(x.tape, number, a.dtype, false, l->site);
    if (hti_is_poison(*target)) return false;
    ht_type b = hti_type(*target);
    bool dtypes = hti_dtype_is_float(a.dtype) && a.dtype == b.dtype;
    bool shapes = a.shape.rank >= l->axes && (one || ht_shape_equal(a.shape, b.shape));
    char text[2][HT_SHAPE_TEXT];
    if (dtypes && shapes) return true;
    hti_fail(x.tape, dtypes ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, l->site, l->name,
             "needs %s of f32 or f64, and %s of the same dtype and shape, got %s %s and "
             "%s %s",
             l->x_name, l->target_name, ht_dtype_name(a.dtype),
             ht_shape_text(a.shape, text[0]), ht_dtype_name(b.dtype),
             ht_shape_text(b.shape, text[1]));
    return false;
}

/* All axes but the first. */
static ht_axes loss_axes(ht_var x)
{
    return (ht_axes){hti_type(x).shape.rank - 1, {1, 2, 3, 4, 5}};
}

static ht_var loss_rows(ht_var v, const char *site)
{
    if (hti_check_var(v) == HTI_NONE || hti_type(v).shape.rank == 1) return v;
    return ht_mean_axes_at(v, loss_axes(v), false, site);
}

/* Labels as distributions, y + s (1/classes - y): what has none of either has none of the
 * mixture, so that 0 log 0 stays 0. */
static ht_var loss_mixed(ht_var logits, ht_var labels, ht_var smoothing, const char *site)
{
    ht_type type = hti_type(logits);
    int64_t classes = type.shape.dim[type.shape.rank - 1];
    if (hti_type(labels).dtype == HT_I32)
        labels = ht_one_hot_at(labels, classes, type.dtype, site);
    if (!hti_is_number(smoothing) && hti_type(smoothing).shape.rank > 0) {
        ht_shape column = hti_type(smoothing).shape;
        column.dim[column.rank++] = 1;
        smoothing = ht_reshape_at(smoothing, column, site);
    }
    ht_var uniform = ht_number(1 / (double)classes);
    ht_var rest = ht_mul_at(smoothing, ht_sub_at(uniform, labels, site), site);
    return ht_add_at(labels, rest, site);
}

static ht_var loss_smoothed(ht_var logits, ht_var labels, ht_var smoothing,
                            const char *site)
{
    const char *name = "cross_entropy_smoothed";
    ht_var rows = ht_cross_entropy_at(logits, labels, site);
    if (hti_is_poison(rows)) return rows;
    if (!hti_is_number(smoothing))
        smoothing = hti_needs(rows.tape, smoothing, name, "smoothing", -1, site);
    if (hti_is_number(smoothing)) {
        double s = hti_number_value(smoothing);
        if (!(s >= 0 && s <= 1))
            return hti_fail(rows.tape, HT_ERROR_ARGUMENT, site, name,
                            "needs 0 <= smoothing <= 1, got %g", s);
        /* Not rows + 0 rest, which is NaN where the rest is infinite. */
        if (s == 0) return rows;
    } else if (hti_is_poison(smoothing)) {
        return smoothing;
    } else {
        ht_shape shape = hti_type(smoothing).shape;
        char text[2][HT_SHAPE_TEXT];
        if (shape.rank > 0 && !ht_shape_equal(shape, hti_type(rows).shape))
            return hti_fail(rows.tape, HT_ERROR_SHAPE, site, name,
                            "needs smoothing () or, one for each row, %s, got %s",
                            ht_shape_text(hti_type(rows).shape, text[0]),
                            ht_shape_text(shape, text[1]));
    }
    return ht_cross_entropy_at(logits, loss_mixed(logits, labels, smoothing, site), site);
}

ht_var ht_cross_entropy_smoothed_at(ht_var logits, ht_var labels, ht_var smoothing,
                                    const char *site)
{
    const char *name = "cross_entropy_smoothed";
    ht_tape *tape = hti_tape_among(2, (ht_var[]){logits, labels});
    logits = hti_needs(tape, logits, name, "logits", -1, site);
    labels = hti_needs(tape, labels, name, "labels", -1, site);
    return HTI_CALL(name, logits, loss_smoothed(logits, labels, smoothing, site));
}

/* log(1 + exp(-|z|)) + |z| (1 - t for z > 0, else t): for t = 0 and 1 one term that keeps
 * its digits however sure the logit; softplus(z) - t z would cancel. An infinite logit
 * whose target agrees is seen as 0 where it meets the 0, which it would make NaN. */
static ht_var loss_binary(ht_var z, ht_var target, const char *site)
{
    ht_var above = ht_greater_at(z, ht_number(0), site), minus = ht_neg_at(z, site);
    ht_var size = ht_where_at(above, z, minus, site);
    ht_var wrong =
        ht_where_at(above, ht_sub_at(ht_number(1), target, site), target, site);
    ht_var sure = ht_equal_at(size, ht_number((double)INFINITY), site);
    ht_var right = ht_equal_at(wrong, ht_number(0), site);
    ht_var met =
        ht_where_at(right, ht_where_at(sure, ht_number(0), size, site), size, site);
    ht_var tail = ht_softplus_at(ht_where_at(above, minus, z, site), site);
    return ht_add_at(tail, ht_mul_at(wrong, met, site), site);
}

ht_var ht_binary_cross_entropy_at(ht_var logits, ht_var target, const char *site)
{
    loss l = {"binary_cross_entropy", "logits (n, ...)", "target", site, 1};
    if (!loss_check(&l, &logits, &target)) return hti_poison(logits.tape);
    double number;
    if (hti_is_constant(target, &number) && !(number >= 0 && number <= 1))
        return hti_fail(logits.tape, HT_ERROR_ARGUMENT, site, l.name,
                        "needs 0 <= target <= 1, got %g", number);
    return loss_rows(loss_binary(logits, target, site), site);
}

ht_var ht_squared_error_at(ht_var x, ht_var target, const char *site)
{
    loss l = {"squared_error", "x (n, ...)", "target", site, 1};
    if (!loss_check(&l, &x, &target)) return hti_poison(x.tape);
    return loss_rows(ht_square_at(ht_sub_at(x, target, site), site), site);
}

/* With d = x - target, d^2 / 2 where |d| <= delta, elsewhere delta (|d| - delta / 2). The
 * square is that of d clamped to +-delta, so that where it is not taken it and its slope
 * are finite for every d. */
ht_var ht_huber_at(ht_var x, ht_var target, ht_var delta, const char *site)
{
    loss l = {"huber", "x (n, ...)", "target", site, 1};
    if (!loss_check(&l, &x, &target)) return hti_poison(x.tape);
    if (hti_is_number(delta)) {
        double number = hti_number_value(delta);
        if (!(number > 0 && isfinite(number)))
            return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, l.name,
                            "needs delta > 0, got %g", number);
        delta = hti_constant(x.tape, number, hti_type(x).dtype, false, site);
    }
    delta = hti_needs(x.tape, delta, l.name, "delta", -1, site);
    if (hti_is_poison(delta)) return delta;
    char text[HT_SHAPE_TEXT];
    if (hti_type(delta).shape.rank > 0)
        return hti_fail(x.tape, HT_ERROR_SHAPE, site, l.name, "needs delta (), got %s",
                        ht_shape_text(hti_type(delta).shape, text));
    ht_var d = ht_sub_at(x, target, site);
    ht_var size = ht_abs_at(d, site), half = ht_number(0.5);
    ht_var c = ht_clamp_at(d, ht_neg_at(delta, site), delta, site);
    ht_var inside = ht_mul_at(ht_square_at(c, site), half, site);
    ht_var outside = ht_sub_at(size, ht_mul_at(delta, half, site), site);
    outside = ht_mul_at(delta, outside, site);
    ht_var near = ht_greater_equal_at(delta, size, site);
    return loss_rows(ht_where_at(near, inside, outside, site), site);
}

/* p (log p - log q). Where p = 0, log p is seen as log 1 and an infinite log q as 0: the
 * singular inputs are replaced, not the results, whose derivatives would be 0 * inf. */
ht_var ht_kl_divergence_at(ht_var log_q, ht_var p, const char *site)
{
    loss l = {"kl_divergence", "log_q (n, classes, ...)", "p", site, 2};
    if (!loss_check(&l, &log_q, &p)) return hti_poison(log_q.tape);
    ht_var none = ht_equal_at(p, ht_number(0), site);
    ht_var log_p = ht_log_at(ht_where_at(none, ht_number(1), p, site), site);
    ht_var never = ht_equal_at(log_q, ht_number(-(double)INFINITY), site);
    ht_var zero = ht_where_at(none, ht_number(0), log_q, site);
    log_q = ht_where_at(never, zero, log_q, site);
    ht_var each = ht_mul_at(p, ht_sub_at(log_p, log_q, site), site);
    if (hti_check_var(each) == HTI_NONE) return each;
    return ht_sum_axes_at(each, loss_axes(each), false, site);
}

ht_var ht_weighted_mean_at(ht_var rows, ht_var weights, const char *site)
{
    loss l = {"weighted_mean", "rows", "weights", site, 0};
    if (!loss_check(&l, &rows, &weights)) return hti_poison(rows.tape);
    weights = ht_broadcast_at(weights, hti_type(rows).shape, site); /* a number is */
    ht_var total = ht_sum_at(ht_mul_at(weights, rows, site), site);
    return ht_div_at(total, ht_sum_at(weights, site), site);
}

/* The sum of f over every element of the variables that match. */
static ht_var loss_penalty(const char *name, const ht_vars *vars, const char *pattern,
                           ht_var (*f)(ht_var, const char *), const char *site)
{
    hti_vars_check(vars, name, site);
    ht_var total = HT_ZERO;
    for (int i = 0; i < vars->n; i++) {
        if (pattern && !ht_name_matches(pattern, vars->name[i])) continue;
        if (hti_check_named(vars->var[i], name, site) == HTI_NONE) return vars->var[i];
        ht_dtype dtype = hti_type(vars->var[i]).dtype;
        ht_dtype want = ht_is_zero(total) ? dtype : hti_type(total).dtype;
        if (!hti_dtype_is_float(dtype) || dtype != want)
            return hti_fail(vars->tape, HT_ERROR_DTYPE, site, name,
                            "needs variables of one float type, \"%s\" is %s%s%s",
                            vars->name[i], ht_dtype_name(dtype),
                            want == dtype ? "" : ", those before it ",
                            want == dtype ? "" : ht_dtype_name(want));
        total = ht_add_at(total, ht_sum_at(f(vars->var[i], site), site), site);
        if (hti_check_named(total, name, site) == HTI_NONE) return total;
    }
    if (!ht_is_zero(total)) return total;
    char names[HTI_NAMES];
    hti_set_names(names, sizeof names, vars->n, vars->name);
    return hti_fail(vars->tape, HT_ERROR_ARGUMENT, site, name,
                    "no variable matches \"%s\"; there are: %s", pattern ? pattern : "*",
                    names);
}

ht_var ht_l1_at(const ht_vars *vars, const char *pattern, const char *site)
{
    return loss_penalty("l1", vars, pattern, ht_abs_at, site);
}

ht_var ht_l2_at(const ht_vars *vars, const char *pattern, const char *site)
{
    return loss_penalty("l2", vars, pattern, ht_square_at, site);
}
