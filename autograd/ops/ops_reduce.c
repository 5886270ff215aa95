/* SPDX-License-Identifier: MIT */
/* ops_reduce.c: sum, max, argmax. The rows keep reduced axes with size 1; dropping them
 * is a reshape. Read next: ops_moment.c, ops_shape.c. */
#include <string.h>

#include "ops.h"

typedef struct reduce_attributes {
    uint64_t axes; /* bit i: axis i */
} reduce_attributes;

static bool reduce_infer(ht_infer *it)
{
    const reduce_attributes *a = it->attributes;
    if (!hti_infer_reduced(it, a->axes)) return false;
    for (int i = 0; i < it->out.shape.rank && it->op == &hti_op_max; i++)
        if (a->axes >> i & 1 && it->in[0].shape.dim[i] == 0)
            return ht_infer_fail(
                it, HT_ERROR_SHAPE, "there is no %s element of none (axis %d)",
                strcmp(it->name, "min_axes") ? "largest" : "smallest", i);
    return true;
}

size_t hti_describe_axes(uint64_t axes, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "axes");
    for (int i = 0; i < HT_MAX_RANK && used < size; i++)
        if (axes >> i & 1) used += (size_t)snprintf(text + used, size - used, " %d", i);
    return used;
}

static void reduce_describe(const void *attributes, char *text, size_t size)
{
    hti_describe_axes(((const reduce_attributes *)attributes)->axes, text, size);
}

static const ht_sample reduce_samples[] = {
    {1, {HTI_X(HT_SOME_1, HT_ANY_1)}, &(reduce_attributes){1}},
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, &(reduce_attributes){2}},
    {1, {HTI_X(HT_SOME_1, HT_ANY_1, HT_SOME_2)}, &(reduce_attributes){5}},
    {1, {HTI_X(3, 1, HT_SOME_1)}, &(reduce_attributes){7}},
    {1, {HTI_X(HT_SOME_1)}, &(reduce_attributes){1}},
    {1, {HTI_SCALAR}, &(reduce_attributes){0}},
};

/* Sum. */

HTI_RUN(sum, reduce_attributes,
        hti_run_reduce(r->ctx, HTI_SUM, r->out, *r->in[0], (unsigned)a->axes))

static void sum_vjp(ht_rule *r)
{
    r->d[0] = ht_broadcast(r->v, ht_var_shape(r->in[0]));
}

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
        hti_run_reduce(r->ctx, HTI_MAX, r->out, *r->in[0], (unsigned)a->axes))

/* 1/(number of winners) at the winners, else 0. */
static ht_var max_share(const ht_rule *r)
{
    ht_var winners = ht_cast(ht_equal(r->in[0], r->out), ht_var_dtype(r->out));
    return ht_div(winners, ht_apply(&hti_op_sum, 1, &winners, r->attributes, HT_HERE));
}

static void max_vjp(ht_rule *r)
{
    r->d[0] = ht_mul(r->v, max_share(r));
}

static ht_var max_jvp(const ht_rule *r)
{
    ht_var t = ht_mul(r->t[0], max_share(r));
    return ht_apply(&hti_op_sum, 1, &t, r->attributes, HT_HERE);
}

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

HTI_RUN(argmax, void, hti_run_argmax(r->ctx, r->out, *r->in[0]))

static const ht_sample argmax_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, NULL},
    {1, {HTI_X(HT_SOME_1)}, NULL},
};

HTI_ROW(argmax, argmax_samples, .flags = HT_OP_NO_GRADIENT, .infer = argmax_infer,
        .run = argmax_run);

HTI_AT_1(argmax)

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

ht_var hti_drop_axes(ht_var out, ht_var x, uint64_t bits, const char *site)
{
    if (hti_is_poison(out)) return out;
    ht_shape shape = hti_type(x).shape, kept = {0, {0}};
    for (int i = 0; i < shape.rank; i++)
        if (!(bits >> i & 1)) kept.dim[kept.rank++] = shape.dim[i];
    return ht_reshape_at(out, kept, site);
}

ht_var hti_reduce_axes(const ht_op *op, ht_var x, ht_axes axes, bool keep,
                       const void *attributes, uint64_t *bits, const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    if (!hti_axes_bits(x, op->name, axes, site, bits)) return hti_poison(x.tape);
    ht_var out = ht_apply(op, 1, &x, attributes, site);
    return keep ? out : hti_drop_axes(out, x, *bits, site);
}

static ht_axes reduce_all(ht_var x)
{
    ht_axes axes = {0};
    if (!ht_is_zero(x))
        for (int rank = ht_var_shape(x).rank; axes.n < rank; axes.n++)
            axes.axis[axes.n] = axes.n;
    return axes;
}

ht_var ht_sum_axes_at(ht_var x, ht_axes axes, bool keep, const char *site)
{
    reduce_attributes a = {0};
    return HTI_CALL("sum_axes", x,
                    hti_reduce_axes(&hti_op_sum, x, axes, keep, &a, &a.axes, site));
}

ht_var ht_max_axes_at(ht_var x, ht_axes axes, bool keep, const char *site)
{
    reduce_attributes a = {0};
    return HTI_CALL("max_axes", x,
                    hti_reduce_axes(&hti_op_max, x, axes, keep, &a, &a.axes, site));
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
