/* SPDX-License-Identifier: MIT */
/* ops_reduce.c: sum, max, argmax; mean, variance and norm, whose values come from sums in
 * f64 that stay in range, and whose rules keep the digits of what is very large or very
 * small. The rows keep reduced axes with size 1; dropping them is a reshape. Read next:
 * ops_shape.c, tensor/reduce.c. */
#include <string.h>

#include "ops.h"

/* Attributes of all these rows begin with the axes, bit i for axis i. */
typedef struct reduce_attributes {
    uint64_t axes;
} reduce_attributes;

static uint64_t reduce_bits(const ht_rule *r)
{
    return ((const reduce_attributes *)r->attributes)->axes;
}

static bool reduce_infer(ht_infer *it)
{
    const reduce_attributes *a = it->attributes;
    if (!hti_infer_floats(it)) return false;
    for (int i = 0; i < it->out.shape.rank; i++) {
        if (!(a->axes >> i & 1)) continue;
        if (it->op == &hti_op_max && it->out.shape.dim[i] == 0)
            return ht_infer_fail(
                it, HT_ERROR_SHAPE, "there is no %s element of none (axis %d)",
                strcmp(it->name, "min_axes") ? "largest" : "smallest", i);
        it->out.shape.dim[i] = 1;
    }
    return true;
}

/* "axes 0 2" */
static const char *reduce_text(uint64_t axes, char text[HT_SHAPE_TEXT])
{
    int used = snprintf(text, HT_SHAPE_TEXT, "axes");
    for (int i = 0; i < HT_MAX_RANK; i++)
        if (axes >> i & 1)
            used += snprintf(text + used, HT_SHAPE_TEXT - (size_t)used, " %d", i);
    return text;
}

HTI_DESCRIBE(reduce, reduce_attributes, "%s",
             reduce_text(a->axes, (char[HT_SHAPE_TEXT]){0}))

static const ht_sample reduce_samples[] = {
    {1, {HTI_X(HT_SOME_1, HT_ANY_1)}, &(reduce_attributes){1}},
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, &(reduce_attributes){2}},
    {1, {HTI_X(HT_SOME_1, HT_ANY_1, HT_SOME_2)}, &(reduce_attributes){5}},
    {1, {HTI_X(3, 1, HT_SOME_1)}, &(reduce_attributes){7}},
    {1, {HTI_X(HT_SOME_1)}, &(reduce_attributes){1}},
    {1, {HTI_SCALAR}, &(reduce_attributes){0}},
};

/* Sums kept as axes of size 1. */
static ht_var reduce_sum(ht_var x, uint64_t axes)
{
    reduce_attributes a = {axes};
    return ht_apply(&hti_op_sum, 1, &x, &a, HT_HERE);
}

/* Both rules from gradient(r), the derivative by every element of x. */
#define REDUCED_RULES(op, gradient)                                      \
    static void op##_vjp(ht_rule *r)                                     \
    {                                                                    \
        r->d[0] = ht_mul(r->v, gradient(r));                             \
    }                                                                    \
    static ht_var op##_jvp(const ht_rule *r)                             \
    {                                                                    \
        return reduce_sum(ht_mul(gradient(r), r->t[0]), reduce_bits(r)); \
    }

/* Sum. */

HTI_RUN(sum, reduce_attributes,
        hti_kernel(r->ctx, reduce, HTI_SUM, r->out, *r->in[0], (unsigned)a->axes))

HTI_VJP(sum, ht_broadcast(r->v, ht_var_shape(r->in[0])))

/* Of nothing too: there is a sum but no largest. */
static const ht_sample sum_samples[] = {
    {1, {{0, {2, {HT_ANY_1, HT_ANY_2}}, -0.5, 0.5}}, &(reduce_attributes){1}},
    {1, {{0, {2, {HT_ANY_1, HT_ANY_2}}, -0.5, 0.5}}, &(reduce_attributes){2}},
    {1,
     {{0, {3, {HT_SOME_1, HT_SOME_2, HT_SOME_3}}, -0.5, 0.5}},
     &(reduce_attributes){5}},
    {1, {{0, {3, {3, 1, HT_SOME_1}}, -0.5, 0.5}}, &(reduce_attributes){7}},
    {1, {{0, {0, {0}}, -0.5, 0.5}}, &(reduce_attributes){0}},
    {1, {{0, {2, {0, 3}}, -0.5, 0.5}}, &(reduce_attributes){1}},
};

HTI_ROW(sum, sum_samples, .flags = HT_OP_LINEAR,
        .attribute_size = sizeof(reduce_attributes), .infer = reduce_infer,
        .loop = {HTI_LOOP_SUM, HTI_SUM}, HTI_LINEAR_RULES(sum),
        .describe = reduce_describe);

/* Max: the winners of each group share equally. */

HTI_RUN(max, reduce_attributes,
        hti_kernel(r->ctx, reduce, HTI_MAX, r->out, *r->in[0], (unsigned)a->axes))

/* 1/(number of winners) at the winners, else 0. */
static ht_var max_share(const ht_rule *r)
{
    ht_var winners = ht_cast(ht_equal(r->in[0], r->out), ht_var_dtype(r->out));
    return ht_div(winners, reduce_sum(winners, reduce_bits(r)));
}

REDUCED_RULES(max, max_share)

HTI_ROW(max, reduce_samples, .attribute_size = sizeof(reduce_attributes),
        .infer = reduce_infer, HTI_RULES(max), .describe = reduce_describe);

/* Argmax. */

static bool argmax_infer(ht_infer *it)
{
    if (!hti_infer_rows(it)) return false;
    it->out.dtype = HT_I32;
    it->out.shape.rank--;
    return true;
}

HTI_RUN(argmax, void, hti_kernel(r->ctx, argmax, r->out, *r->in[0]))

static const ht_sample argmax_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, NULL},
    {1, {HTI_X(HT_SOME_1)}, NULL},
};

HTI_ROW(argmax, argmax_samples, .flags = HT_OP_NO_GRADIENT, .infer = argmax_infer,
        .run = argmax_run);

HTI_AT_1(argmax)

/* Elements of x that go into each of out. */
static double reduced_elements(ht_var x, uint64_t axes)
{
    double n = 1;
    ht_shape shape = ht_var_shape(x);
    for (int i = 0; i < shape.rank; i++)
        if (axes >> i & 1) n *= (double)shape.dim[i];
    return n;
}

/* Mean. */

HTI_RUN(mean, reduce_attributes,
        hti_kernel(r->ctx, moment, HTI_MEAN, r->out, *r->in[0], (unsigned)a->axes, 1))

/* 1/n is a constant, not a number: then 1 times it is no node. */
static void mean_vjp(ht_rule *r)
{
    ht_type type = hti_type(r->in[0]);
    double n = reduced_elements(r->in[0], reduce_bits(r));
    ht_var share = hti_constant(r->v.tape, 1 / n, type.dtype, false, HT_HERE);
    r->d[0] = ht_broadcast(ht_mul(r->v, share), type.shape);
}

HTI_ROW(mean, reduce_samples, .flags = HT_OP_LINEAR,
        .attribute_size = sizeof(reduce_attributes), .infer = reduce_infer,
        .loop = {HTI_LOOP_SUM, HTI_MEAN}, HTI_LINEAR_RULES(mean),
        .describe = reduce_describe);

/* Variance: its derivative is 2 (x - mean) / divisor. */

typedef struct variance_attributes {
    uint64_t axes;
    double divisor;
} variance_attributes;

HTI_RUN(variance, variance_attributes,
        hti_kernel(r->ctx, moment, HTI_VARIANCE, r->out, *r->in[0], (unsigned)a->axes,
                   a->divisor))

static ht_var variance_mean(const ht_rule *r, ht_var x)
{
    reduce_attributes a = {reduce_bits(r)};
    return ht_apply(&hti_op_mean, 1, &x, &a, HT_HERE);
}

/* (x - mean) 2 / divisor. The mean is rounded: what is left of it is taken off too. */
static ht_var variance_gradient(const ht_rule *r)
{
    const variance_attributes *a = r->attributes;
    ht_var rest = ht_sub(r->in[0], variance_mean(r, r->in[0]));
    rest = ht_sub(rest, variance_mean(r, rest));
    return ht_mul(rest, 2 / a->divisor);
}

REDUCED_RULES(variance, variance_gradient)

HTI_DESCRIBE(variance, variance_attributes, "%s, divisor %g",
             reduce_text(a->axes, (char[HT_SHAPE_TEXT]){0}), a->divisor)

static const ht_sample variance_samples[] = {
    {1, {HTI_X(HT_SOME_1, HT_ANY_1)}, &(variance_attributes){1, 2}},
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, &(variance_attributes){2, 3}},
    {1, {HTI_X(HT_SOME_1, HT_ANY_1, 2)}, &(variance_attributes){5, 1}},
    {1, {HTI_X(3, 1, HT_SOME_1)}, &(variance_attributes){7, 4}},
    {1, {HTI_X(2, HT_SOME_1)}, &(variance_attributes){0, 1}},
};

HTI_ROW(variance, variance_samples, .attribute_size = sizeof(variance_attributes),
        .infer = reduce_infer, HTI_RULES(variance), .describe = variance_describe);

/* Norm: its derivative is u = x / norm, the direction, and 0 where the norm is. */

typedef struct norm_attributes {
    uint64_t axes, scaled; /* scaled: HTI_SCALED_NORM */
} norm_attributes;

HTI_RUN(norm, norm_attributes,
        hti_kernel(r->ctx, moment, a->scaled ? HTI_SCALED_NORM : HTI_NORM, r->out,
                   *r->in[0], (unsigned)a->axes, 1))

static ht_var norm_apply(ht_var x, uint64_t axes, bool scaled)
{
    norm_attributes a = {axes, scaled};
    return ht_apply(&hti_op_norm, 1, &x, &a, HT_HERE);
}

/* What makes a norm fit to divide by, a constant as far as derivatives see. */
static ht_var norm_scale(ht_var norm)
{
    hti_norm_range range = hti_norm_range_of(ht_var_dtype(norm));
    ht_var small = ht_where(ht_greater(range.least, norm), range.up, 1.0);
    return ht_where(ht_greater(norm, range.most), range.down, small);
}

/* The derivative by x: u, times the scale if the row is scaled. */
static ht_var norm_direction(const ht_rule *r)
{
    const norm_attributes *a = r->attributes;
    ht_var scale = norm_scale(norm_apply(r->in[0], a->axes, false));
    ht_var norm = norm_apply(r->in[0], a->axes, true), zero = ht_equal(norm, 0.0);
    ht_var u = ht_div(ht_mul(r->in[0], scale), ht_where(zero, 1.0, norm));
    u = ht_where(zero, 0.0, u);
    return a->scaled ? ht_mul(u, scale) : u;
}

REDUCED_RULES(norm, norm_direction)

HTI_DESCRIBE(norm, norm_attributes, "%s%s",
             reduce_text(a->axes, (char[HT_SHAPE_TEXT]){0}), a->scaled ? ", scaled" : "")

static const ht_sample norm_samples[] = {
    {1, {{0, {2, {HT_SOME_1, HT_ANY_1}}, 0.2, 2}}, &(norm_attributes){1, 0}},
    {1, {{0, {2, {HT_ANY_1, HT_SOME_1}}, 0.2, 2}}, &(norm_attributes){2, 0}},
    {1, {{0, {3, {HT_SOME_1, HT_ANY_1, 2}}, -2, -0.2}}, &(norm_attributes){5, 1}},
    {1, {{0, {3, {3, 1, HT_SOME_1}}, 0.2, 2}}, &(norm_attributes){7, 0}},
    {1, {{0, {2, {2, HT_SOME_1}}, 0.2, 2}}, &(norm_attributes){0, 0}},
    {1, {{0, {0, {0}}, 0.2, 2}}, &(norm_attributes){0, 0}},
};

HTI_ROW(norm, norm_samples, .attribute_size = sizeof(norm_attributes),
        .infer = reduce_infer, HTI_RULES(norm), .describe = norm_describe);

/* The public forms. */

bool hti_axes_bits(ht_var x, const char *op, ht_axes axes, const char *site,
                   uint64_t *bits)
{
    ht_type type = hti_type(x);
    int rank = type.shape.rank;
    char text[HT_SHAPE_TEXT];
    *bits = 0;
    if (!hti_needs_floats(x, op, site)) return false;
    if (axes.n < 0 || axes.n > HT_MAX_RANK)
        return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, op,
                        "%d axes of shape %s; 0 to %d can be", axes.n,
                        ht_shape_text(type.shape, text), HT_MAX_RANK),
               false;
    for (int i = 0; i < axes.n; i++) {
        int axis = axes.axis[i] < 0 ? axes.axis[i] + rank : axes.axis[i];
        if (axis < 0 || axis >= rank || *bits >> axis & 1)
            return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, op,
                            "axis %d is not one of -%d .. %d (each once) of shape %s",
                            axes.axis[i], rank, rank - 1,
                            ht_shape_text(type.shape, text)),
                   false;
        *bits |= (uint64_t)1 << axis;
    }
    return true;
}

/* out, a reduction of x that kept its axes, without those. */
static ht_var reduce_drop(ht_var out, ht_var x, uint64_t bits, const char *site)
{
    if (hti_is_poison(out)) return out;
    ht_shape shape = hti_type(x).shape, kept = {0, {0}};
    for (int i = 0; i < shape.rank; i++)
        if (!(bits >> i & 1)) kept.dim[kept.rank++] = shape.dim[i];
    return ht_reshape_at(out, kept, site);
}

/* op over the axes of x, which become `*bits`, a field of the attributes; dropped unless
 * keep. */
static ht_var reduce_apply(const ht_op *op, ht_var x, ht_axes axes, bool keep,
                           const void *attributes, uint64_t *bits, const char *site)
{
    if (ht_is_zero(x) || hti_check_named(x, op->name, site) == HTI_NONE) return x;
    if (!hti_axes_bits(x, op->name, axes, site, bits)) return hti_poison(x.tape);
    ht_var out = ht_apply(op, 1, &x, attributes, site);
    return keep ? out : reduce_drop(out, x, *bits, site);
}

#define REDUCE_AT(op, attributes_type)                                                 \
    ht_var ht_##op##_axes_at(ht_var x, ht_axes axes, bool keep, const char *site)      \
    {                                                                                  \
        attributes_type a = {0};                                                       \
        return HTI_CALL(#op "_axes", x,                                                \
                        reduce_apply(&hti_op_##op, x, axes, keep, &a, &a.axes, site)); \
    }
REDUCE_AT(sum, reduce_attributes)
REDUCE_AT(max, reduce_attributes)
REDUCE_AT(mean, reduce_attributes)
REDUCE_AT(norm, norm_attributes)

ht_var hti_variance(ht_var x, uint64_t axes, double divisor, bool keep, const char *site)
{
    variance_attributes a = {axes, divisor};
    ht_var out = ht_apply(&hti_op_variance, 1, &x, &a, site);
    return keep ? out : reduce_drop(out, x, axes, site);
}

static ht_var variance_call(ht_var x, ht_axes axes, bool keep, int correction,
                            const char *site)
{
    uint64_t bits;
    char text[HT_SHAPE_TEXT];
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    if (!hti_axes_bits(x, "variance", axes, site, &bits)) return hti_poison(x.tape);
    double n = reduced_elements(x, bits), divisor = n - correction;
    if (correction >= 0 && divisor > 0) return hti_variance(x, bits, divisor, keep, site);
    return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, "variance",
                    "correction %d of %g elements, of shape %s: needs 0 <= correction < "
                    "elements",
                    correction, n, ht_shape_text(hti_type(x).shape, text));
}

ht_var ht_variance_axes_at(ht_var x, ht_axes axes, bool keep, int correction,
                           const char *site)
{
    return HTI_CALL("variance_axes", x, variance_call(x, axes, keep, correction, site));
}

static ht_axes reduce_all(ht_var x)
{
    ht_axes axes = {0};
    if (!ht_is_zero(x))
        for (int rank = ht_var_shape(x).rank; axes.n < rank; axes.n++)
            axes.axis[axes.n] = axes.n;
    return axes;
}

ht_var ht_sum_at(ht_var x, const char *site)
{
    return HTI_CALL("sum", x, ht_sum_axes_at(x, reduce_all(x), false, site));
}

ht_var ht_mean_at(ht_var x, const char *site)
{
    return HTI_CALL("mean", x, ht_mean_axes_at(x, reduce_all(x), false, site));
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
