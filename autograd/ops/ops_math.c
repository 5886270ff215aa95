/* SPDX-License-Identifier: MIT */
/* ops_math.c: more maths of one input, and cumsum, along an axis. As in
 * ops_elementwise.c, whose rows these continue, one slope per elementwise row serves vjp
 * and jvp. Read next: ops_compose.c. */
#include "ops.h"

/* Elementwise: slope(r, v) is v times the derivative. */

HTI_SLOPE(log1p, ht_div(v, ht_add(x, 1.0)))

/* exp(x), not out + 1: the sum has no digits left where x is very negative. */
HTI_SLOPE(expm1, ht_mul(v, ht_exp(x)))

/* -1/2 x^(-3/2): at 0 the limit, -inf, as for 1/x. */
HTI_SLOPE(rsqrt, ht_mul(v, ht_mul(ht_div(y, x), -0.5)))
HTI_SLOPE(sin, ht_mul(v, ht_cos(x)))
HTI_SLOPE(cos, ht_neg(ht_mul(v, ht_sin(x))))

HTI_SLOPE(erf, ht_mul(v, hti_inner(&hti_op_erf_slope, x)))

/* What grows with x has a bound below, if only where the factor beside it is 0 long
 * since: infinity times that would be NaN, not the limit. */

/* x within +-bound */
static ht_var math_within(ht_var x, double bound)
{
    return ht_maximum(ht_minimum(x, bound), -bound);
}

/* 2 / sqrt(pi) exp(-x^2) (-2 x) */
HTI_SLOPE(erf_slope, ht_mul(v, ht_mul(y, ht_mul(math_within(x, 40), -2.0))))
HTI_SLOPE(softplus, ht_mul(v, ht_sigmoid(x)))
HTI_SLOPE(gelu, ht_mul(v, hti_inner(&hti_op_gelu_slope, x)))

/* density (2 - x^2) */
static ht_var gelu_slope_slope(const ht_rule *r, ht_var v)
{
    ht_var bend = ht_sub(2.0, ht_minimum(ht_square(r->in[0]), 3600.0));
    return ht_mul(v, ht_mul(hti_inner(&hti_op_density, r->in[0]), bend));
}

HTI_SLOPE(density, ht_neg(ht_mul(v, ht_mul(y, math_within(x, 60)))))
HTI_SLOPE(silu, ht_mul(v, hti_inner(&hti_op_silu_slope, x)))

/* s' (2 - x tanh(x / 2)), s the sigmoid */
static ht_var silu_slope_slope(const ht_rule *r, ht_var v)
{
    ht_var x = r->in[0], turn = ht_mul(x, ht_tanh(ht_mul(x, 0.5)));
    ht_var bend = ht_sub(2.0, ht_minimum(turn, 2000.0));
    return ht_mul(v, ht_mul(hti_inner(&hti_op_sigmoid_slope, x), bend));
}

HTI_SLOPE(gelu_tanh, ht_mul(v, hti_inner(&hti_op_gelu_tanh_slope, x)))

/* Twice sqrt(2 / pi), and that by 0.044715: Hendrycks & Gimpel, arXiv 1606.08415. */
static const double gelu_line = 1.5957691216057308,
                    gelu_cubic = 0.044715 * 1.5957691216057308;

/* s'(w) (2 w' + x w'' - x w'^2 tanh(w / 2)), w = line x + cubic x^3 */
static ht_var gelu_tanh_slope_slope(const ht_rule *r, ht_var v)
{
    ht_var x = r->in[0], square = ht_minimum(ht_square(x), 1000.0);
    ht_var w = ht_mul(x, ht_add(ht_mul(square, gelu_cubic), gelu_line));
    ht_var dw = ht_add(ht_mul(square, 3 * gelu_cubic), gelu_line);
    ht_var turn = ht_mul(ht_mul(x, ht_tanh(ht_mul(w, 0.5))), ht_square(dw));
    ht_var line = ht_add(ht_mul(square, 12 * gelu_cubic), 2 * gelu_line);
    ht_var bend = ht_sub(line, ht_minimum(turn, 1e7));
    return ht_mul(v, ht_mul(hti_inner(&hti_op_sigmoid_slope, w), bend));
}

HTI_UNARY_ROW(log1p, NULL, 0, -0.6, 2)
HTI_UNARY_ROW(expm1, NULL, 0, -2, 2)
HTI_UNARY_ROW(rsqrt, NULL, 0, 0.5, 3)
HTI_UNARY_ROW(sin, NULL, 0, -4, 4)
HTI_UNARY_ROW(cos, NULL, 0, -4, 4)
HTI_UNARY_ROW(erf, NULL, 0, -2, 2)
HTI_UNARY_ROW(softplus, NULL, 0, -4, 4)
HTI_UNARY_ROW(gelu, NULL, 0, -4, 4)
HTI_INNER_ROW(gelu_slope, NULL, 0, -4, 4)
HTI_INNER_ROW(density, NULL, 0, -2, 2)
HTI_INNER_ROW(erf_slope, NULL, 0, -2, 2)
HTI_UNARY_ROW(silu, NULL, 0, -4, 4)
HTI_INNER_ROW(silu_slope, NULL, 0, -4, 4)
HTI_UNARY_ROW(gelu_tanh, NULL, 0, -3, 3)
HTI_INNER_ROW(gelu_tanh_slope, NULL, 0, -3, 3)

/* Weighted hypot: h = sqrt(a x^2 + b y^2). Weights are inputs 0 and 2. Both selects are
 * needed where h is 0: one for the division, one for the derivatives. */

static ht_var hypot_slope(const ht_rule *r, int i, ht_var v)
{
    ht_var zero = ht_equal(r->out, 0.0), h = ht_where(zero, 1.0, r->out);
    ht_var x = r->in[i | 1];
    v = ht_mul(ht_where(zero, HT_ZERO, v), ht_div(x, h));
    return ht_mul(v, i & 1 ? r->in[i - 1] : ht_mul(x, 0.5));
}

static void weighted_hypot_vjp(ht_rule *r)
{
    for (int i = 0; i < r->n_in; i++)
        if (r->wanted[i]) r->d[i] = hypot_slope(r, i, r->v);
}

static ht_var weighted_hypot_jvp(const ht_rule *r)
{
    ht_var sum = HT_ZERO;
    for (int i = 0; i < r->n_in; i++)
        if (!ht_is_zero(r->t[i])) sum = ht_add(sum, hypot_slope(r, i, r->t[i]));
    return sum;
}

#define HYPOT_0(low)        \
    {                       \
        0, {0, {0}}, low, 2 \
    }
#define HYPOT(low, ...) HTI_X_IN(low, 2, __VA_ARGS__)
static const ht_sample weighted_hypot_samples[] = {
    {4,
     {HYPOT_0(0.4), HYPOT(-2, HT_ANY_1, HT_ANY_2), HYPOT_0(0.4),
      HYPOT(0.5, HT_ANY_1, HT_ANY_2)},
     NULL},
    {4,
     {HYPOT(0.4, HT_SOME_2), HYPOT_0(0.5), HYPOT(0.4, HT_SOME_1, 1),
      HYPOT(-2, HT_SOME_1, HT_SOME_2)},
     NULL},
    {4, {HYPOT_0(0.4), HYPOT_0(0.5), HYPOT(0.4, HT_SOME_1), HYPOT_0(-2)}, NULL},
};

HTI_ROW(weighted_hypot, weighted_hypot_samples, .flags = HT_OP_ELEMENTWISE,
        .loop = {HTI_LOOP_TREE, HTI_TREE_weighted_hypot}, .run = hti_loop_run,
        .vjp = weighted_hypot_vjp, .jvp = weighted_hypot_jvp);

ht_var hti_weighted_hypot(ht_var a, ht_var x, ht_var b, ht_var y, const char *site)
{
    if (ht_is_zero(y)) y = ht_number(0);
    return ht_apply(&hti_op_weighted_hypot, 4, (ht_var[]){a, x, b, y}, NULL, site);
}

/* Cumsum: its transpose is the cumulative sum from the other end. */

typedef struct cumsum_attributes {
    int64_t axis, backward;
} cumsum_attributes;

HTI_RUN(cumsum, cumsum_attributes,
        hti_kernel(r->ctx, cumsum, r->out, *r->in[0], (int)a->axis, a->backward != 0))

static void cumsum_vjp(ht_rule *r)
{
    cumsum_attributes a = *(const cumsum_attributes *)r->attributes;
    a.backward = !a.backward;
    r->d[0] = ht_apply(&hti_op_cumsum, 1, &r->v, &a, HT_HERE);
}

HTI_DESCRIBE(cumsum, cumsum_attributes, "axis %lld%s", (long long)a->axis,
             a->backward ? " backward" : "")

static const ht_sample cumsum_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_ANY_2)}, &(cumsum_attributes){0, 0}},
    {1, {HTI_X(HT_ANY_1, HT_ANY_2)}, &(cumsum_attributes){1, 1}},
    {1, {HTI_X(HT_SOME_1, HT_SOME_2, 5)}, &(cumsum_attributes){1, 0}},
    {1, {HTI_X(HT_SOME_1)}, &(cumsum_attributes){0, 0}},
    {1, {HTI_X(3, 0)}, &(cumsum_attributes){0, 1}},
};

HTI_ROW(cumsum, cumsum_samples, .flags = HT_OP_LINEAR,
        .attribute_size = sizeof(cumsum_attributes), .infer = hti_infer_floats,
        HTI_LINEAR_RULES(cumsum), .describe = cumsum_describe);

ht_var ht_cumsum_at(ht_var x, int axis, const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    cumsum_attributes a = {hti_needs_axis(x, axis, "cumsum", site), 0};
    if (a.axis < 0) return hti_poison(x.tape);
    return ht_apply(&hti_op_cumsum, 1, &x, &a, site);
}
