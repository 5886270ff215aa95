/* SPDX-License-Identifier: MIT */
/* ops_norm.c: layer, RMS, group and batch normalisation are one row, `normalize`, over
 * the last axis of some view of x; the gain, the shift and the view are other ops.
 *
 * With n elements a row, m their mean (0 if not centred), s = 1/sqrt(mean (x-m)^2 + eps)
 * and y = (x - m) s:  dy = J dx = s (dx - mean dx - y mean(y dx)).
 * J is symmetric, so that one row, `normalize_slope` (x, v -> J v), serves vjp and jvp.
 * The derivative of J v by x, along t, is symmetric too, and the row `normalize_bend`;
 * from there on derivatives are those of the primitives it decomposes into. Read next:
 * tensor/fast/norm.c, ops_attention.c. */
#include <math.h>

#include "ops.h"

typedef struct normalize_attributes {
    double eps;
    int64_t centred;
} normalize_attributes;

static bool normalize_infer(ht_infer *it)
{
    const normalize_attributes *a = it->attributes;
    if (!hti_infer_rows_alike(it)) return false;
    if (!(a->eps > 0 && isfinite(a->eps)))
        return ht_infer_fail(it, HT_ERROR_ARGUMENT,
                             "needs eps > 0, eps is %g\n  hint: 1e-5 is usual", a->eps);
    return true;
}

static ht_var normalize_mean(ht_var v)
{
    return ht_mean_axes(v, HT_AXES(-1), true);
}

HTI_RUN(normalize, normalize_attributes,
        hti_kernel(r->ctx, normalize, r->out, 1, r->in, a->eps, a->centred != 0))

static ht_var normalize_along(const ht_rule *r, ht_var v)
{
    return hti_along(&hti_op_normalize_slope, r, 1, v);
}

HTI_SLOPE_RULES(normalize, normalize_along)

HTI_DESCRIBE(normalize, normalize_attributes, "eps %g%s", a->eps,
             a->centred ? "" : ", not centred")

/* The mean's distance, and s from it. */
static ht_var normalize_parts(const ht_rule *r, ht_var *s)
{
    const normalize_attributes *a = r->attributes;
    ht_var rest = r->in[0];
    if (a->centred) rest = ht_sub(rest, normalize_mean(rest));
    *s = ht_div(1.0, ht_sqrt(ht_add(normalize_mean(ht_mul(rest, rest)), a->eps)));
    return rest;
}

static const ht_sample normalize_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, &(normalize_attributes){1e-1, 1}},
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, &(normalize_attributes){1e-1, 0}},
    {1, {HTI_X(HT_SOME_1)}, &(normalize_attributes){0.1, 1}},
    {1, {HTI_X(HT_SOME_1, 3, 1)}, &(normalize_attributes){0.5, 1}},
    {1, {HTI_X(2, HT_SOME_1, 1)}, &(normalize_attributes){0.5, 0}},
    {1, {HTI_X(0, 3)}, &(normalize_attributes){0.5, 1}},
};

HTI_ROW(normalize, normalize_samples, .attribute_size = sizeof(normalize_attributes),
        .infer = normalize_infer, HTI_RULES(normalize), .describe = normalize_describe);

/* Normalize_slope: J v. Its derivative by v is J again; that by x, along t, is a row too:
 * normalize_bend, -s (mean(y t) J v + mean(y v) J t + mean(v J t) y), its own transpose.
 */

HTI_RUN(normalize_slope, normalize_attributes,
        hti_kernel(r->ctx, normalize, r->out, 2, r->in, a->eps, a->centred != 0))

HTI_RUN(normalize_bend, normalize_attributes,
        hti_kernel(r->ctx, normalize, r->out, 3, r->in, a->eps, a->centred != 0))

HTI_SYMMETRIC_RULES(normalize_slope, normalize_bend)

/* J v from y and s. */
static ht_var slope_of(const ht_rule *r, ht_var y, ht_var s, ht_var v)
{
    const normalize_attributes *a = r->attributes;
    ht_var rest = ht_mul(y, normalize_mean(ht_mul(y, v)));
    if (a->centred) rest = ht_add(rest, normalize_mean(v));
    return ht_mul(s, ht_sub(v, rest));
}

static ht_var bend_decompose(const ht_rule *r)
{
    ht_var s, y = ht_apply(&hti_op_normalize, 1, r->in, r->attributes, HT_HERE);
    normalize_parts(r, &s);
    ht_var v = r->in[1], t = r->in[2], along = slope_of(r, y, s, t);
    ht_var sum = ht_mul(normalize_mean(ht_mul(y, t)), slope_of(r, y, s, v));
    sum = ht_add(sum, ht_mul(normalize_mean(ht_mul(y, v)), along));
    sum = ht_add(sum, ht_mul(normalize_mean(ht_mul(v, along)), y));
    return ht_neg(ht_mul(s, sum));
}

#define SLOPE_SAMPLE(n, is_centred, ...)                                 \
    {                                                                    \
        n, {HTI_X(__VA_ARGS__), HTI_X(__VA_ARGS__), HTI_X(__VA_ARGS__)}, \
            &(normalize_attributes)                                      \
        {                                                                \
            0.1, is_centred                                              \
        }                                                                \
    }
#define SLOPE_SAMPLES(n)                                                    \
    SLOPE_SAMPLE(n, 1, HT_ANY_1, 4), SLOPE_SAMPLE(n, 0, HT_ANY_1, 4),       \
        SLOPE_SAMPLE(n, 1, HT_SOME_1), SLOPE_SAMPLE(n, 1, 2, HT_SOME_1, 2), \
        SLOPE_SAMPLE(n, 0, 2, HT_SOME_1, 1), SLOPE_SAMPLE(n, 1, 0, 3)

static const ht_sample normalize_slope_samples[] = {SLOPE_SAMPLES(2)};
static const ht_sample normalize_bend_samples[] = {SLOPE_SAMPLES(3)};

HTI_ROW(normalize_slope, normalize_slope_samples,
        .attribute_size = sizeof(normalize_attributes), .infer = normalize_infer,
        HTI_RULES(normalize_slope), .describe = normalize_describe);
HTI_ROW(normalize_bend, normalize_bend_samples,
        .attribute_size = sizeof(normalize_attributes), .infer = normalize_infer,
        .run = normalize_bend_run, .decompose = bend_decompose,
        .describe = normalize_describe);

/* The public forms. */

static ht_var normalize_apply(ht_var x, double eps, bool centred, const char *site)
{
    normalize_attributes a = {eps, centred};
    return ht_apply(&hti_op_normalize, 1, &x, &a, site);
}

/* x gain + shift, either absent. */
static ht_var normalize_affine(ht_var x, ht_var gain, ht_var shift, const char *site)
{
    if (!hti_needs_beside(x, gain, "gain", "x", "normalize", site) ||
        !hti_needs_beside(x, shift, "shift", "x", "normalize", site))
        return hti_poison(x.tape);
    if (!ht_is_zero(gain)) x = ht_mul_at(x, gain, site);
    return ht_is_zero(shift) ? x : ht_add_at(x, shift, site);
}

/* x, if it is a variable; gain and shift may be numbers. */
static ht_var normalize_input(ht_var x, ht_var *gain, ht_var *shift, const char *name,
                              const char *site)
{
    ht_tape *tape = hti_tape_among(3, (ht_var[]){x, *gain, *shift});
    *gain = hti_takes(tape, *gain, name, "gain", site);
    *shift = hti_takes(tape, *shift, name, "shift", site);
    return hti_needs(tape, x, name, "x", -1, site);
}

static ht_var normalize_rows(ht_var x, ht_var gain, ht_var shift, double eps,
                             bool centred, const char *site)
{
    return normalize_affine(normalize_apply(x, eps, centred, site), gain, shift, site);
}

ht_var ht_layernorm_at(ht_var x, ht_var gain, ht_var shift, double eps, const char *site)
{
    x = normalize_input(x, &gain, &shift, "layernorm", site);
    return HTI_CALL("layernorm", x, normalize_rows(x, gain, shift, eps, true, site));
}

ht_var ht_rmsnorm_at(ht_var x, ht_var gain, double eps, const char *site)
{
    ht_var none = HT_ZERO;
    x = normalize_input(x, &gain, &none, "rmsnorm", site);
    return HTI_CALL("rmsnorm", x, normalize_rows(x, gain, none, eps, false, site));
}

/* A vector over channels, x's `what`, beside x (n, c, ...): (c, 1, ...). */
static ht_var normalize_channels(ht_var v, ht_shape x, const char *what, const char *site)
{
    if (ht_is_zero(v) || hti_is_number(v) || hti_check_var(v) == HTI_NONE) return v;
    char text[2][HT_SHAPE_TEXT];
    if (ht_shape_count(hti_type(v).shape) != x.dim[1])
        return hti_fail(v.tape, HT_ERROR_SHAPE, site, "normalize",
                        "%s %s must be (%lld), one for each channel of x %s", what,
                        ht_shape_text(hti_type(v).shape, text[0]), (long long)x.dim[1],
                        ht_shape_text(x, text[1]));
    ht_shape shape = {x.rank - 1, {x.dim[1]}};
    for (int i = 1; i < shape.rank; i++) shape.dim[i] = 1;
    return ht_reshape_at(v, shape, site);
}

/* True for floats (n, c, ...); else the error is kept. */
static bool normalize_has_channels(ht_var x, const char *site)
{
    if (hti_check_var(x) == HTI_NONE) return false;
    char text[HT_SHAPE_TEXT];
    ht_shape shape = hti_type(x).shape;
    if (shape.rank >= 2) return hti_needs_floats(x, "normalize", site);
    hti_fail(x.tape, HT_ERROR_SHAPE, site, "normalize",
             "needs x (n, channels, ...), got %s", ht_shape_text(shape, text));
    return false;
}

/* x normalised as `rows`, a shape of as many elements. */
static ht_var normalize_as(ht_var x, ht_shape rows, double eps, const char *site)
{
    ht_shape shape = ht_var_shape(x);
    ht_var y = normalize_apply(ht_reshape_at(x, rows, site), eps, true, site);
    return ht_reshape_at(y, shape, site);
}

static ht_var normalize_groups(ht_var x, int64_t groups, ht_var gain, ht_var shift,
                               double eps, const char *site)
{
    if (!normalize_has_channels(x, site)) return hti_poison(x.tape);
    ht_shape shape = hti_type(x).shape;
    char text[HT_SHAPE_TEXT];
    if (groups < 1 || shape.dim[1] % groups)
        return hti_fail(x.tape, HT_ERROR_SHAPE, site, "normalize",
                        "%lld channels of x %s do not make %lld equal groups",
                        (long long)shape.dim[1], ht_shape_text(shape, text),
                        (long long)groups);
    int64_t group = shape.dim[1] / groups;
    for (int i = 2; i < shape.rank; i++) group *= shape.dim[i];
    ht_var y = normalize_as(x, HT_SHAPE(shape.dim[0], groups, group), eps, site);
    return normalize_affine(y, normalize_channels(gain, shape, "gain", site),
                            normalize_channels(shift, shape, "shift", site), site);
}

ht_var ht_groupnorm_at(ht_var x, int64_t groups, ht_var gain, ht_var shift, double eps,
                       const char *site)
{
    x = normalize_input(x, &gain, &shift, "groupnorm", site);
    return HTI_CALL("groupnorm", x, normalize_groups(x, groups, gain, shift, eps, site));
}

static ht_var normalize_batch(ht_var x, ht_var gain, ht_var shift, double eps,
                              const char *site)
{
    if (!normalize_has_channels(x, site)) return hti_poison(x.tape);
    ht_shape shape = hti_type(x).shape;
    int64_t each = shape.dim[0];
    for (int i = 2; i < shape.rank; i++) each *= shape.dim[i];
    ht_var y = normalize_as(hti_swap_axes(x, 0, 1, site), HT_SHAPE(shape.dim[1], each),
                            eps, site);
    return normalize_affine(hti_swap_axes(y, 0, 1, site),
                            normalize_channels(gain, shape, "gain", site),
                            normalize_channels(shift, shape, "shift", site), site);
}

ht_var ht_batchnorm_at(ht_var x, ht_var gain, ht_var shift, double eps, const char *site)
{
    x = normalize_input(x, &gain, &shift, "batchnorm", site);
    return HTI_CALL("batchnorm", x, normalize_batch(x, gain, shift, eps, site));
}

/* The mean; the variance aside. */
static ht_var normalize_statistics(ht_var x, ht_var *variance, const char *site)
{
    if (!normalize_has_channels(x, site)) return *variance = hti_poison(x.tape);
    int rank = hti_type(x).shape.rank;
    int64_t channels = hti_type(x).shape.dim[1];
    ht_axes axes = {rank - 1, {0, 2, 3, 4, 5}};
    ht_var kept = ht_mean_axes_at(x, axes, true, site);
    double n = 1;
    uint64_t bits = 0;
    for (int i = 0; i < axes.n; i++) {
        bits |= (uint64_t)1 << axes.axis[i];
        n *= (double)hti_type(x).shape.dim[axes.axis[i]];
    }
    *variance = hti_variance(x, bits, n, false, site);
    return ht_reshape_at(kept, HT_SHAPE(channels), site);
}

void ht_batch_statistics_at(ht_var x, ht_var *mean, ht_var *variance, const char *site)
{
    HT_ASSERT(mean && variance, "batch_statistics: mean %p, variance %p", (void *)mean,
              (void *)variance);
    hti_check_named(x, "batch_statistics", site);
    *mean = HTI_CALL("batch_statistics", x, normalize_statistics(x, variance, site));
}

static ht_var normalize_given(ht_var x, ht_var mean, ht_var variance, double eps,
                              const char *site)
{
    if (!normalize_has_channels(x, site)) return hti_poison(x.tape);
    if (!(eps > 0 && isfinite(eps)))
        return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, "batchnorm_given",
                        "needs eps > 0, eps is %g", eps);
    if (hti_type(x).dtype == HT_F32 && (float)eps == 0)
        return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, "batchnorm_given",
                        "eps %g is 0 in f32, where a variance of 0 has no inverse", eps);
    ht_shape shape = hti_type(x).shape;
    mean = normalize_channels(mean, shape, "mean", site);
    variance = normalize_channels(variance, shape, "variance", site);
    ht_var deviation = ht_sqrt_at(ht_add_at(variance, ht_number(eps), site), site);
    return ht_div_at(ht_sub_at(x, mean, site), deviation, site);
}

ht_var ht_batchnorm_given_at(ht_var x, ht_var mean, ht_var variance, double eps,
                             const char *site)
{
    static const char *const name[] = {"x", "mean", "variance"};
    ht_var in[] = {x, mean, variance};
    ht_tape *tape = hti_tape_among(3, in);
    for (int i = 0; i < 3; i++)
        in[i] = hti_needs(tape, in[i], "batchnorm_given", name[i], -1, site);
    return HTI_CALL("batchnorm_given", in[0],
                    normalize_given(in[0], in[1], in[2], eps, site));
}
