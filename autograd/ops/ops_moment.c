/* SPDX-License-Identifier: MIT */
/* ops_moment.c: mean, variance and norm, whose values come from sums in f64 that stay in
 * range, and whose rules keep the digits of what is very large or very small. Read next:
 * ops_reduce.c, tensor/reduce.c. */
#include "ops.h"

typedef struct norm_attributes {
    uint64_t axes;   /* bit i: axis i */
    uint64_t scaled; /* 1: HTI_SCALED_NORM */
} norm_attributes;

static bool moment_infer(ht_infer *it)
{
    return hti_infer_reduced(it, *(const uint64_t *)it->attributes); /* they come first */
}

static ht_axes moment_axes(uint64_t bits)
{
    ht_axes axes = {0};
    for (int i = 0; i < HT_MAX_RANK; i++)
        if (bits >> i & 1) axes.axis[axes.n++] = i;
    return axes;
}

/* Elements of x that go into each of out. */
static double moment_count(ht_var x, uint64_t axes)
{
    double n = 1;
    ht_shape shape = ht_var_shape(x);
    for (int i = 0; i < shape.rank; i++)
        if (axes >> i & 1) n *= (double)shape.dim[i];
    return n;
}

/* Mean. */

typedef struct mean_attributes {
    uint64_t axes; /* bit i: axis i */
} mean_attributes;

HTI_RUN(mean, mean_attributes,
        hti_run_moment(r->ctx, HTI_MEAN, r->out, *r->in[0], (unsigned)a->axes, 1))

static ht_var mean_apply(ht_var x, uint64_t axes)
{
    mean_attributes a = {axes};
    return ht_apply(&hti_op_mean, 1, &x, &a, HT_HERE);
}

/* 1/n is a constant, not a number: then 1 times it is no node. */
static void mean_vjp(ht_rule *r)
{
    ht_type type = hti_type(r->in[0]);
    double n = moment_count(r->in[0], ((const mean_attributes *)r->attributes)->axes);
    ht_var share = hti_constant(r->v.tape, 1 / n, type.dtype, false, HT_HERE);
    r->d[0] = ht_broadcast(ht_mul(r->v, share), type.shape);
}

static void mean_describe(const void *attributes, char *text, size_t size)
{
    hti_describe_axes(((const mean_attributes *)attributes)->axes, text, size);
}

static const ht_sample mean_samples[] = {
    {1, {HTI_X(HT_SOME_1, HT_ANY_1)}, &(mean_attributes){1}},
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, &(mean_attributes){2}},
    {1, {HTI_X(HT_SOME_1, HT_ANY_1, HT_SOME_2)}, &(mean_attributes){5}},
    {1, {HTI_X(3, 1, HT_SOME_1)}, &(mean_attributes){7}},
    {1, {HTI_X(HT_SOME_1)}, &(mean_attributes){1}},
    {1, {HTI_SCALAR}, &(mean_attributes){0}},
};

HTI_ROW(mean, mean_samples, .flags = HT_OP_LINEAR,
        .attribute_size = sizeof(mean_attributes), .infer = moment_infer,
        .loop = {HTI_LOOP_SUM, HTI_MEAN}, HTI_LINEAR_RULES(mean),
        .describe = mean_describe);

ht_var ht_mean_axes_at(ht_var x, ht_axes axes, bool keep, const char *site)
{
    mean_attributes a = {0};
    return HTI_CALL("mean_axes", x,
                    hti_reduce_axes(&hti_op_mean, x, axes, keep, &a, &a.axes, site));
}

/* Variance: its derivative is 2 (x - mean) / divisor. */

typedef struct variance_attributes {
    uint64_t axes; /* bit i: axis i */
    double divisor;
} variance_attributes;

HTI_RUN(variance, variance_attributes,
        hti_run_moment(r->ctx, HTI_VARIANCE, r->out, *r->in[0], (unsigned)a->axes,
                       a->divisor))

/* v (x - mean) 2 / divisor. The mean is rounded: what is left of it is taken off too. */
static ht_var variance_slope(const ht_rule *r, ht_var v)
{
    const variance_attributes *a = r->attributes;
    ht_var rest = ht_sub(r->in[0], mean_apply(r->in[0], a->axes));
    rest = ht_sub(rest, mean_apply(rest, a->axes));
    return ht_mul(v, ht_mul(rest, 2 / a->divisor));
}

static void variance_vjp(ht_rule *r)
{
    r->d[0] = variance_slope(r, r->v);
}

static ht_var variance_jvp(const ht_rule *r)
{
    const variance_attributes *a = r->attributes;
    return ht_sum_axes(variance_slope(r, r->t[0]), moment_axes(a->axes), true);
}

static void variance_describe(const void *attributes, char *text, size_t size)
{
    const variance_attributes *a = attributes;
    size_t used = hti_describe_axes(a->axes, text, size);
    if (used < size) snprintf(text + used, size - used, ", divisor %g", a->divisor);
}

static const ht_sample variance_samples[] = {
    {1, {HTI_X(HT_SOME_1, HT_ANY_1)}, &(variance_attributes){1, 2}},
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, &(variance_attributes){2, 3}},
    {1, {HTI_X(HT_SOME_1, HT_ANY_1, 2)}, &(variance_attributes){5, 1}},
    {1, {HTI_X(3, 1, HT_SOME_1)}, &(variance_attributes){7, 4}},
    {1, {HTI_X(2, HT_SOME_1)}, &(variance_attributes){0, 1}},
};

HTI_ROW(variance, variance_samples, .attribute_size = sizeof(variance_attributes),
        .infer = moment_infer, HTI_RULES(variance), .describe = variance_describe);

ht_var hti_variance(ht_var x, uint64_t axes, double divisor, bool keep, const char *site)
{
    variance_attributes a = {axes, divisor};
    ht_var out = ht_apply(&hti_op_variance, 1, &x, &a, site);
    return keep ? out : hti_drop_axes(out, x, axes, site);
}

static ht_var variance_call(ht_var x, ht_axes axes, bool keep, int correction,
                            const char *site)
{
    uint64_t bits;
    char text[HT_SHAPE_TEXT];
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    if (!hti_axes_bits(x, "variance", axes, site, &bits)) return hti_poison(x.tape);
    double n = moment_count(x, bits), divisor = n - correction;
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

/* Norm: its derivative is u = x / norm, the direction, and 0 where the norm is. */

HTI_RUN(norm, norm_attributes,
        hti_run_moment(r->ctx, a->scaled ? HTI_SCALED_NORM : HTI_NORM, r->out, *r->in[0],
                       (unsigned)a->axes, 1))

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

static void norm_vjp(ht_rule *r)
{
    r->d[0] = ht_mul(r->v, norm_direction(r));
}

static ht_var norm_jvp(const ht_rule *r)
{
    const norm_attributes *a = r->attributes;
    return ht_sum_axes(ht_mul(norm_direction(r), r->t[0]), moment_axes(a->axes), true);
}

static void norm_describe(const void *attributes, char *text, size_t size)
{
    const norm_attributes *a = attributes;
    size_t used = hti_describe_axes(a->axes, text, size);
    if (a->scaled && used < size) snprintf(text + used, size - used, ", scaled");
}

static const ht_sample norm_samples[] = {
    {1, {{0, {2, {HT_SOME_1, HT_ANY_1}}, 0.2, 2}}, &(norm_attributes){1, 0}},
    {1, {{0, {2, {HT_ANY_1, HT_SOME_1}}, 0.2, 2}}, &(norm_attributes){2, 0}},
    {1, {{0, {3, {HT_SOME_1, HT_ANY_1, 2}}, -2, -0.2}}, &(norm_attributes){5, 1}},
    {1, {{0, {3, {3, 1, HT_SOME_1}}, 0.2, 2}}, &(norm_attributes){7, 0}},
    {1, {{0, {2, {2, HT_SOME_1}}, 0.2, 2}}, &(norm_attributes){0, 0}},
    {1, {{0, {0, {0}}, 0.2, 2}}, &(norm_attributes){0, 0}},
};

HTI_ROW(norm, norm_samples, .attribute_size = sizeof(norm_attributes),
        .infer = moment_infer, HTI_RULES(norm), .describe = norm_describe);

ht_var ht_norm_axes_at(ht_var x, ht_axes axes, bool keep, const char *site)
{
    norm_attributes a = {0, 0};
    return HTI_CALL("norm_axes", x,
                    hti_reduce_axes(&hti_op_norm, x, axes, keep, &a, &a.axes, site));
}
