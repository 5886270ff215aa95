/* SPDX-License-Identifier: MIT */
/* ops_moment.c: mean, variance and norm, whose values come from sums in f64 that stay in
 * range, and whose rules keep the digits of what is very large or very small. Read next:
 * ops_reduce.c, tensor/reduce.c. */
#include "autograd_internal.h"
#include "kernels.h"

typedef struct norm_attributes {
    uint64_t axes;   /* bit i: axis i */
    uint64_t scaled; /* 1: HTI_SCALED_NORM */
} norm_attributes;

static bool moment_infer(ht_infer *it)
{
    uint64_t axes = *(const uint64_t *)it->attributes; /* they come first */
    it->out = it->in[0];
    if (!hti_dtype_is_float(it->out.dtype))
        return ht_infer_fail(it, HT_ERROR_DTYPE, "needs f32 or f64\n  hint: ht_cast");
    for (int i = 0; i < it->out.shape.rank; i++)
        if (axes >> i & 1) it->out.shape.dim[i] = 1;
    return true;
}

static size_t moment_describe_axes(uint64_t axes, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "axes");
    for (int i = 0; i < HT_MAX_RANK && used < size; i++)
        if (axes >> i & 1) used += (size_t)snprintf(text + used, size - used, " %d", i);
    return used;
}

static ht_axes moment_axes(uint64_t bits)
{
    ht_axes axes = {0};
    for (int i = 0; i < HT_MAX_RANK; i++)
        if (bits >> i & 1) axes.axis[axes.n++] = i;
    return axes;
}

/* Norm: its derivative is u = x / norm, the direction, and 0 where the norm is. */

static void norm_run(const ht_run *r)
{
    const norm_attributes *a = r->attributes;
    hti_run_moment(r->ctx, a->scaled ? HTI_SCALED_NORM : HTI_NORM, r->out, *r->in[0],
                   (unsigned)a->axes, 1);
}

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

static ht_var norm_decompose(const ht_rule *r)
{
    const norm_attributes *a = r->attributes;
    ht_var squares = ht_square(r->in[0]);
    return ht_sqrt(ht_sum_axes(squares, moment_axes(a->axes), true));
}

static void norm_describe(const void *attributes, char *text, size_t size)
{
    const norm_attributes *a = attributes;
    size_t used = moment_describe_axes(a->axes, text, size);
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
        .infer = moment_infer, .run = norm_run, .vjp = norm_vjp, .jvp = norm_jvp,
        .decompose = norm_decompose, .describe = norm_describe);

ht_var ht_norm_axes_at(ht_var x, ht_axes axes, bool keep, const char *site)
{
    norm_attributes a = {0, 0};
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    if (!hti_axes_bits(x, "norm_axes", axes, site, &a.axes)) return hti_poison(x.tape);
    ht_var out = HTI_CALL("norm_axes", x, ht_apply(&hti_op_norm, 1, &x, &a, site));
    return keep ? out : hti_drop_axes(out, x, a.axes, site);
}
