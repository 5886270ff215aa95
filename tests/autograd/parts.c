/* SPDX-License-Identifier: MIT */
/* parts.c: formulas of rows, in other ops: the same but for the digits the rows are there
 * to keep. No row needs them to be differentiated. Read next: test_autograd_ops.c. */
#include "parts.h"

#include <string.h>

#include "ops.h"

#define PARTS(op, value)                       \
    static ht_var op##_parts(const ht_rule *r) \
    {                                          \
        ht_var x = r->in[0];                   \
        return value;                          \
    }

/* Elementwise. */

static ht_var parts_positive(ht_var x, ht_var a, ht_var b)
{
    return ht_where(ht_greater(x, 0.0), a, b);
}

PARTS(tanh_slope, ht_sub(1.0, ht_square(ht_tanh(x))))
PARTS(sigmoid_slope, ht_mul(ht_sigmoid(x), ht_sigmoid(ht_neg(x))))
PARTS(sigmoid, ht_div(1.0, ht_add(ht_exp(ht_neg(x)), 1.0)))
PARTS(relu, parts_positive(x, x, HT_ZERO))
PARTS(abs, parts_positive(x, x, ht_neg(x)))
PARTS(log1p, ht_log(ht_add(x, 1.0)))
PARTS(expm1, ht_sub(ht_exp(x), 1.0))
PARTS(rsqrt, ht_div(1.0, ht_sqrt(x)))
PARTS(softplus, ht_log(ht_add(ht_exp(x), 1.0)))

static ht_var parts_distribution(ht_var x)
{
    return ht_mul(ht_add(ht_erf(ht_mul(x, 0.70710678118654752440)), 1.0), 0.5);
}

/* exp(-x^2 / 2) / sqrt(2 pi) */
static ht_var parts_density(ht_var x)
{
    return ht_mul(ht_exp(ht_mul(ht_square(x), -0.5)), 0.39894228040143267794);
}

PARTS(gelu, ht_mul(x, parts_distribution(x)))
PARTS(gelu_slope, ht_add(parts_distribution(x), ht_mul(x, parts_density(x))))
PARTS(density, parts_density(x))
PARTS(erf_slope, ht_mul(ht_exp(ht_neg(ht_square(x))), 1.12837916709551257390))
PARTS(silu, ht_mul(x, ht_sigmoid(x)))

/* s + x s' */
static ht_var silu_slope_parts(const ht_rule *r)
{
    ht_var x = r->in[0], s = ht_sigmoid(x);
    return ht_add(s, ht_mul(x, ht_mul(s, ht_sub(1.0, s))));
}

/* Twice sqrt(2 / pi), and that by 0.044715: Hendrycks & Gimpel, arXiv 1606.08415. */
static const double gelu_line = 1.5957691216057308,
                    gelu_cubic = 0.044715 * 1.5957691216057308;

/* (1 + tanh(w / 2)) / 2 */
static ht_var parts_gate(ht_var x)
{
    ht_var cubic = ht_mul(ht_mul(ht_square(x), x), gelu_cubic / 2);
    ht_var t = ht_tanh(ht_add(cubic, ht_mul(x, gelu_line / 2)));
    return ht_mul(ht_add(t, 1.0), 0.5);
}

PARTS(gelu_tanh, ht_mul(x, parts_gate(x)))

static ht_var gelu_tanh_slope_parts(const ht_rule *r)
{
    ht_var x = r->in[0], s = parts_gate(x);
    ht_var dw = ht_add(ht_mul(ht_square(x), 3 * gelu_cubic), gelu_line);
    return ht_add(s, ht_mul(ht_mul(x, dw), ht_mul(s, ht_sub(1.0, s))));
}

static ht_var weighted_hypot_parts(const ht_rule *r)
{
    const ht_var *in = r->in;
    return ht_sqrt(
        ht_add(ht_mul(in[0], ht_square(in[1])), ht_mul(in[2], ht_square(in[3]))));
}

/* Reductions: their attributes begin with the axes, a bit each. */

static ht_axes parts_axes(const ht_rule *r)
{
    uint64_t bits = *(const uint64_t *)r->attributes;
    ht_axes axes = {0};
    for (int i = 0; i < HT_MAX_RANK; i++)
        if (bits >> i & 1) axes.axis[axes.n++] = i;
    return axes;
}

static ht_var parts_mean(const ht_rule *r)
{
    ht_axes axes = parts_axes(r);
    double n = 1;
    for (int i = 0; i < axes.n; i++)
        n *= (double)ht_var_shape(r->in[0]).dim[axes.axis[i]];
    return ht_mul(ht_sum_axes(r->in[0], axes, true), 1 / n);
}

PARTS(mean, ((void)x, parts_mean(r)))

static ht_var variance_parts(const ht_rule *r)
{
    const struct {
        uint64_t axes;
        double divisor;
    } *a = r->attributes;
    ht_var rest = ht_sub(r->in[0], parts_mean(r));
    return ht_mul(ht_sum_axes(ht_square(rest), parts_axes(r), true), 1 / a->divisor);
}

PARTS(norm, ht_sqrt(ht_sum_axes(ht_square(x), parts_axes(r), true)))

/* Rows. */

static ht_var parts_total(ht_var x)
{
    return ht_sum_axes(x, HT_AXES(-1), true);
}

/* x - max */
static ht_var parts_shifted(ht_var x)
{
    return ht_sub(x, ht_max_axes(x, HT_AXES(-1), true));
}

static ht_var parts_log_softmax(ht_var x)
{
    ht_var shifted = parts_shifted(x);
    return ht_sub(shifted, ht_log(parts_total(ht_exp(shifted))));
}

static ht_var softmax_parts(const ht_rule *r)
{
    ht_var weight = ht_exp(parts_shifted(r->in[0]));
    return ht_div(weight, parts_total(weight));
}

PARTS(log_softmax, parts_log_softmax(x))

static ht_var logsumexp_parts(const ht_rule *r)
{
    ht_var most = ht_max_axes(r->in[0], HT_AXES(-1), true);
    ht_var sum = parts_total(ht_exp(ht_sub(r->in[0], most)));
    ht_shape row = ht_var_shape(most);
    row.rank--;
    return ht_reshape(ht_add(most, ht_log(sum)), row);
}

static ht_var parts_one_hot(const ht_rule *r)
{
    return ht_one_hot(r->in[1], ht_var_shape(r->in[0]).dim[1], ht_var_dtype(r->in[0]));
}

static ht_var cross_entropy_parts(const ht_rule *r)
{
    ht_var terms = ht_mul(parts_one_hot(r), parts_log_softmax(r->in[0]));
    return ht_neg(ht_sum_axes(terms, HT_AXES(1), false));
}

PARTS(cross_entropy_slope, ht_sub(ht_softmax(x), parts_one_hot(r)))

/* v - p.v */
static ht_var parts_rest(ht_var p, ht_var v)
{
    return ht_sub(v, parts_total(ht_mul(p, v)));
}

static ht_var softmax_slope_parts(const ht_rule *r)
{
    ht_var p = ht_softmax(r->in[0]);
    return ht_mul(p, parts_rest(p, r->in[1]));
}

PARTS(log_softmax_rest, parts_rest(ht_softmax(x), r->in[1]))
PARTS(log_softmax_back, ht_sub(r->in[1], ht_mul(ht_softmax(x), parts_total(r->in[1]))))

/* Normalisation: see ops_norm.c. */

typedef struct parts_normal {
    ht_var y, s;
    bool centred;
} parts_normal;

static ht_var parts_row_mean(ht_var x)
{
    return ht_mean_axes(x, HT_AXES(-1), true);
}

static parts_normal parts_normalize(const ht_rule *r)
{
    const struct {
        double eps;
        int64_t centred;
    } *a = r->attributes;
    ht_var rest = r->in[0];
    if (a->centred) rest = ht_sub(rest, parts_row_mean(rest));
    ht_var s = ht_rsqrt(ht_add(parts_row_mean(ht_square(rest)), a->eps));
    return (parts_normal){ht_mul(rest, s), s, a->centred};
}

PARTS(normalize, ((void)x, parts_normalize(r).y))

static ht_var normalize_slope_parts(const ht_rule *r)
{
    parts_normal n = parts_normalize(r);
    ht_var v = r->in[1], rest = ht_mul(n.y, parts_row_mean(ht_mul(n.y, v)));
    if (n.centred) rest = ht_add(rest, parts_row_mean(v));
    return ht_mul(n.s, ht_sub(v, rest));
}

/* The same draw, held against the rate. */
static ht_var dropout_mask_parts(const ht_rule *r)
{
    const struct {
        uint64_t seed, stream;
        int64_t dtype;
        double rate;
    } *a = r->attributes;
    ht_var draw = ht_apply(&hti_op_uniform, 1, r->in, a, HT_HERE);
    ht_var kept = ht_cast(ht_greater_equal(draw, a->rate), (ht_dtype)a->dtype);
    return ht_mul(kept, 1 / (1 - a->rate));
}

static const struct {
    const ht_op *op;
    hti_parts_fn *parts;
} parts_table[] = {
#define ROW(name)                    \
    {                                \
        &hti_op_##name, name##_parts \
    }
    ROW(tanh_slope),
    ROW(sigmoid_slope),
    ROW(sigmoid),
    ROW(relu),
    ROW(abs),
    ROW(log1p),
    ROW(expm1),
    ROW(rsqrt),
    ROW(softplus),
    ROW(gelu),
    ROW(gelu_slope),
    ROW(density),
    ROW(erf_slope),
    ROW(silu),
    ROW(silu_slope),
    ROW(gelu_tanh),
    ROW(gelu_tanh_slope),
    ROW(weighted_hypot),
    ROW(mean),
    ROW(variance),
    ROW(norm),
    ROW(softmax),
    ROW(log_softmax),
    ROW(logsumexp),
    ROW(cross_entropy),
    ROW(cross_entropy_slope),
    ROW(softmax_slope),
    ROW(log_softmax_rest),
    ROW(log_softmax_back),
    ROW(normalize),
    ROW(normalize_slope),
    ROW(dropout_mask),
};

hti_parts_fn *hti_parts_of(const ht_op *op)
{
    for (size_t k = 0; k < sizeof parts_table / sizeof *parts_table; k++)
        if (parts_table[k].op == op) return parts_table[k].parts;
    return op->decompose;
}
