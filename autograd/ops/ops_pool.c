/* SPDX-License-Identifier: MIT */
/* ops_pool.c: pooling. A maximum is found once, as an index; its value and all
 * derivatives take and put by that index (take_last and put_last are each other's
 * transposes, as are avg_pool and avg_pool_spread), so no row here is only once
 * differentiable. Read next: tensor/pool.c. */
#include "ops.h"

typedef struct pool_attributes {
    hti_pool_geometry geometry;
    int64_t size[2]; /* the last two axes of the result of avg_pool_spread; else 0 */
} pool_attributes;

static bool pool_types_fit(ht_infer *it)
{
    if (it->in[0].shape.rank != 4)
        return ht_infer_fail(it, HT_ERROR_SHAPE, "needs 4 axes, (n, c, h, w)");
    return hti_infer_floats(it);
}

/* The last two axes of y from those of x. Windows reach outside by less than a kernel. */
static bool pool_sizes(ht_infer *it, const int64_t *x, int64_t *y)
{
    const hti_pool_geometry *g = &((const pool_attributes *)it->attributes)->geometry;
    for (int i = 0; i < 2; i++) {
        int64_t k = g->kernel[i], p = g->padding[i];
        bool fits = k > 0 && k <= INT32_MAX && g->stride[i] > 0 && p >= 0 && p <= k / 2;
        if (!fits)
            return ht_infer_fail(it, HT_ERROR_ARGUMENT,
                                 "axis %d has kernel %lld, stride %lld, padding %lld; "
                                 "they must be at least 1, 1 and 0, padding at most half "
                                 "the kernel, the kernel at most %d",
                                 i + 2, (long long)k, (long long)g->stride[i],
                                 (long long)p, INT32_MAX);
        if (x[i] < 1 || x[i] > INT64_MAX / 2 || x[i] + 2 * p < k)
            return ht_infer_fail(it, HT_ERROR_SHAPE,
                                 "axis %d: a kernel of %lld does not fit into %lld with "
                                 "padding %lld on both sides",
                                 i + 2, (long long)k, (long long)x[i], (long long)p);
        y[i] = (x[i] + 2 * p - k) / g->stride[i] + 1;
    }
    return true;
}

static bool pool_infer(ht_infer *it)
{
    return pool_types_fit(it) &&
           pool_sizes(it, it->in[0].shape.dim + 2, it->out.shape.dim + 2);
}

HTI_DESCRIBE(pool, pool_attributes, "kernel %lld %lld stride %lld %lld padding %lld %lld",
             (long long)a->geometry.kernel[0], (long long)a->geometry.kernel[1],
             (long long)a->geometry.stride[0], (long long)a->geometry.stride[1],
             (long long)a->geometry.padding[0], (long long)a->geometry.padding[1])

static pool_attributes pool_attributes_of(const ht_pool_options *options)
{
    pool_attributes a = {.size = {0, 0}};
    for (int i = 0; i < 2; i++) {
        a.geometry.kernel[i] = options->kernel[i];
        a.geometry.stride[i] =
            options->stride[i] ? options->stride[i] : options->kernel[i];
        a.geometry.padding[i] = options->padding[i];
    }
    return a;
}

#define POOL_TWO     .geometry = {{2, 2}, {2, 2}, {0, 0}}
#define POOL_OVERLAP .geometry = {{3, 2}, {2, 1}, {1, 1}}

/* Maximum. */

static bool max_pool_index_infer(ht_infer *it)
{
    if (!pool_infer(it)) return false;
    it->out.dtype = HT_I32;
    return it->in[0].shape.dim[2] <= INT32_MAX / it->in[0].shape.dim[3] ||
           ht_infer_fail(it, HT_ERROR_SHAPE, "a plane must have at most %d elements",
                         INT32_MAX);
}

HTI_RUN(max_pool_index, pool_attributes,
        hti_kernel(r->ctx, max_pool_index, r->out, *r->in[0], &a->geometry))

static const ht_sample pool_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_ANY_2, 4, 5)}, &(pool_attributes){POOL_TWO}},
    {1, {HTI_X(HT_SOME_1, HT_SOME_2, 5, 4)}, &(pool_attributes){POOL_OVERLAP}},
    {1, {HTI_X(0, 2, 3, 3)}, &(pool_attributes){POOL_TWO}},
};

HTI_ROW(max_pool_index, pool_samples, .flags = HT_OP_NO_GRADIENT,
        .attribute_size = sizeof(pool_attributes), .infer = max_pool_index_infer,
        .run = max_pool_index_run, .describe = pool_describe);

static ht_var pool_most(ht_var x, ht_pool_options options, const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    pool_attributes a = pool_attributes_of(&options);
    ht_var index = ht_apply(&hti_op_max_pool_index, 1, &x, &a, site);
    if (hti_is_poison(index)) return index;
    ht_shape in = hti_type(x).shape, out = hti_type(index).shape;
    ht_shape planes = HT_SHAPE(in.dim[0], in.dim[1], in.dim[2] * in.dim[3]);
    ht_shape windows = HT_SHAPE(out.dim[0], out.dim[1], out.dim[2] * out.dim[3]);
    ht_var most = ht_take_last_at(ht_reshape_at(x, planes, site),
                                  ht_reshape_at(index, windows, site), site);
    return ht_reshape_at(most, out, site);
}

ht_var ht_max_pool2d_at(ht_var x, ht_pool_options options, const char *site)
{
    return HTI_CALL("max_pool2d", x, pool_most(x, options, site));
}

/* By index along the last axis. */

typedef struct put_attributes {
    int64_t size; /* of the result's last axis */
} put_attributes;

/* Same shapes but for the last axis, f and i32. */
static bool pool_indexed_fit(ht_infer *it)
{
    ht_shape x = it->in[0].shape, index = it->in[1].shape;
    it->out = it->in[0];
    if (!hti_dtype_is_float(it->in[0].dtype) || it->in[1].dtype != HT_I32)
        return ht_infer_fail(it, HT_ERROR_DTYPE,
                             "needs values of f32 or f64 and indices of i32");
    if (x.rank < 1 || x.rank != index.rank)
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "values and indices need the same axes, at least one");
    x.dim[x.rank - 1] = index.dim[x.rank - 1];
    return ht_shape_equal(x, index) ||
           ht_infer_fail(it, HT_ERROR_SHAPE,
                         "values and indices must agree but for the last axis");
}

static bool take_last_infer(ht_infer *it)
{
    if (!pool_indexed_fit(it)) return false;
    it->out.shape = it->in[1].shape;
    return true;
}

static void take_last_run(const ht_run *r)
{
    const ht_shape *x = &r->in[0]->shape;
    hti_complain(r, 1, hti_kernel(r->ctx, take_last, r->out, *r->in[0], *r->in[1]),
                 x->dim[x->rank - 1]);
}

static void take_last_vjp(ht_rule *r)
{
    ht_shape x = ht_var_shape(r->in[0]);
    put_attributes a = {x.dim[x.rank - 1]};
    ht_var in[] = {r->v, r->in[1]};
    r->d[0] = ht_apply(&hti_op_put_last, 2, in, &a, HT_HERE);
}

static const ht_sample take_last_samples[] = {
    {2, {HTI_X(HT_ANY_1, HT_ANY_2, 5), HTI_INDEX(4, HT_ANY_1, HT_ANY_2, HT_ANY_3)}, NULL},
    {2, {HTI_X(3), HTI_INDEX(2, HT_SOME_1)}, NULL},
    {2, {HTI_X(2, 3), HTI_INDEX(2, 2, 0)}, NULL},
};

HTI_ROW(take_last, take_last_samples, .flags = HT_OP_LINEAR, .infer = take_last_infer,
        HTI_LINEAR_RULES(take_last));

ht_var ht_take_last_at(ht_var x, ht_var index, const char *site)
{
    ht_var in[] = {x, hti_needs_index(x, index, "take_last", site)};
    return ht_apply(&hti_op_take_last, 2, in, NULL, site);
}

static bool put_last_infer(ht_infer *it)
{
    if (!pool_indexed_fit(it)) return false;
    if (!ht_shape_equal(it->in[0].shape, it->in[1].shape))
        return ht_infer_fail(it, HT_ERROR_SHAPE, "needs one index for each value");
    it->out.shape.dim[it->out.shape.rank - 1] =
        ((const put_attributes *)it->attributes)->size;
    return true;
}

static void put_last_run(const ht_run *r)
{
    hti_complain(r, 1, hti_kernel(r->ctx, put_last, r->out, *r->in[0], *r->in[1]),
                 ((const put_attributes *)r->attributes)->size);
}

HTI_VJP(put_last, ht_take_last(r->v, r->in[1]))

HTI_DESCRIBE(put_last, put_attributes, "size %lld", (long long)a->size)

static const ht_sample put_last_samples[] = {
    {2,
     {HTI_X(HT_ANY_1, HT_ANY_2, HT_ANY_3), HTI_INDEX(4, HT_ANY_1, HT_ANY_2, HT_ANY_3)},
     &(put_attributes){5}},
    {2, {HTI_X(HT_SOME_1), HTI_INDEX(2, HT_SOME_1)}, &(put_attributes){3}},
    {2, {HTI_X(2, 0), HTI_INDEX(2, 2, 0)}, &(put_attributes){3}},
};

HTI_ROW(put_last, put_last_samples, .flags = HT_OP_LINEAR,
        .attribute_size = sizeof(put_attributes), .infer = put_last_infer,
        HTI_LINEAR_RULES(put_last), .describe = put_last_describe);

/* Average. */

HTI_RUN(avg_pool, pool_attributes,
        hti_kernel(r->ctx, avg_pool, r->out, *r->in[0], &a->geometry))

static void avg_pool_vjp(ht_rule *r)
{
    pool_attributes a = *(const pool_attributes *)r->attributes;
    for (int i = 0; i < 2; i++) a.size[i] = ht_var_shape(r->in[0]).dim[i + 2];
    r->d[0] = ht_apply(&hti_op_avg_pool_spread, 1, &r->v, &a, HT_HERE);
}

HTI_ROW(avg_pool, pool_samples, .flags = HT_OP_LINEAR,
        .attribute_size = sizeof(pool_attributes), .infer = pool_infer,
        HTI_LINEAR_RULES(avg_pool), .describe = pool_describe);

static bool avg_pool_spread_infer(ht_infer *it)
{
    const pool_attributes *a = it->attributes;
    int64_t want[2] = {0};
    if (!pool_types_fit(it) || !pool_sizes(it, a->size, want)) return false;
    const int64_t *y = it->in[0].shape.dim;
    for (int i = 0; i < 2; i++) it->out.shape.dim[i + 2] = a->size[i];
    return (want[0] == y[2] && want[1] == y[3]) ||
           ht_infer_fail(it, HT_ERROR_SHAPE, "the images must be %lld x %lld",
                         (long long)want[0], (long long)want[1]);
}

HTI_RUN(avg_pool_spread, pool_attributes,
        hti_kernel(r->ctx, avg_pool_spread, r->out, *r->in[0], &a->geometry))

static void avg_pool_spread_vjp(ht_rule *r)
{
    pool_attributes a = *(const pool_attributes *)r->attributes;
    a.size[0] = a.size[1] = 0;
    r->d[0] = ht_apply(&hti_op_avg_pool, 1, &r->v, &a, HT_HERE);
}

static const ht_sample avg_pool_spread_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_ANY_2, 2, 2)}, &(pool_attributes){POOL_TWO, {4, 5}}},
    {1, {HTI_X(HT_SOME_1, HT_SOME_2, 3, 5)}, &(pool_attributes){POOL_OVERLAP, {5, 4}}},
    {1, {HTI_X(0, 2, 1, 1)}, &(pool_attributes){POOL_TWO, {3, 3}}},
};

HTI_ROW(avg_pool_spread, avg_pool_spread_samples, .flags = HT_OP_LINEAR,
        .attribute_size = sizeof(pool_attributes), .infer = avg_pool_spread_infer,
        HTI_LINEAR_RULES(avg_pool_spread), .describe = pool_describe);

ht_var ht_avg_pool2d_at(ht_var x, ht_pool_options options, const char *site)
{
    pool_attributes a = pool_attributes_of(&options);
    return HTI_CALL("avg_pool2d", x, ht_apply(&hti_op_avg_pool, 1, &x, &a, site));
}

ht_var ht_global_avg_pool2d_at(ht_var x, const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    char text[HT_SHAPE_TEXT];
    ht_shape shape = hti_type(x).shape;
    ht_axes plane = HT_AXES(2, 3);
    if (shape.rank == 4)
        return HTI_CALL("global_avg_pool2d", x, ht_mean_axes_at(x, plane, false, site));
    return hti_fail(x.tape, HT_ERROR_SHAPE, site, "global_avg_pool2d",
                    "needs 4 axes, (n, c, h, w), not %s", ht_shape_text(shape, text));
}
