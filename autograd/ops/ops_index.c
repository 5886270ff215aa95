/* SPDX-License-Identifier: MIT */
/* ops_index.c: gather, scatter_add (each other's transposes) and one_hot. Indices are
 * data, so they are checked when the op runs. Read next: ops_matmul.c. */
#include "ops.h"

/* Index `at` (flat) of array a, for messages. */
static int index_value(const ht_array *a, int64_t at)
{
    int64_t offset = 0;
    for (int i = a->shape.rank - 1; i >= 0; i--) {
        offset += at % a->shape.dim[i] * a->stride[i];
        at /= a->shape.dim[i];
    }
    return ((const int32_t *)a->data)[offset];
}

void hti_complain(const ht_run *r, int which, int64_t bad, int64_t size)
{
    if (bad < 0) return;
    char text[HT_SHAPE_TEXT];
    ht_context_fail(r->ctx, HT_ERROR_ARGUMENT, r->site,
                    "%s: index %d at place %lld of shape %s lies outside 0 .. %lld",
                    r->op->name, index_value(r->in[which], bad), (long long)bad,
                    ht_shape_text(r->in[which]->shape, text), (long long)size - 1);
}

/* Gather. */

/* index shape + row shape; false if that is too many axes. */
static bool index_rows_shape(ht_shape index, ht_shape x, ht_shape *out)
{
    *out = index;
    if (x.rank < 1 || index.rank + x.rank - 1 > HT_MAX_RANK) return false;
    for (int i = 1; i < x.rank; i++) out->dim[out->rank++] = x.dim[i];
    return true;
}

static bool gather_infer(ht_infer *it)
{
    it->out.dtype = it->in[0].dtype;
    if (it->in[1].dtype != HT_I32)
        return ht_infer_fail(it, HT_ERROR_DTYPE, "indices must be i32");
    if (!index_rows_shape(it->in[1].shape, it->in[0].shape, &it->out.shape))
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "needs at least one axis to take rows of, and at most %d "
                             "axes in the result",
                             HT_MAX_RANK);
    return true;
}

static void gather_run(const ht_run *r)
{
    int64_t bad = hti_kernel(r->ctx, gather, r->out, *r->in[0], *r->in[1]);
    hti_complain(r, 1, bad, r->in[0]->shape.dim[0]);
}

HTI_VJP(gather, ht_scatter_add(hti_spread(r->out.tape, 0, hti_type(r->in[0]), HT_HERE),
                               r->in[1], r->v))

static const ht_sample gather_samples[] = {
    {2, {HTI_X(4, HT_ANY_1), HTI_INDEX(3, HT_ANY_2)}, NULL},
    {2, {HTI_X(5), {HT_I32, {0, {0}}, 0, 4}}, NULL},
    {2, {HTI_X(3, HT_SOME_1, 2), HTI_INDEX(2, 2, HT_SOME_2)}, NULL},
};

HTI_ROW(gather, gather_samples, .formula = "$0[$1]", .flags = HT_OP_LINEAR,
        .infer = gather_infer, HTI_LINEAR_RULES(gather));

ht_var ht_gather_at(ht_var x, ht_var index, const char *site)
{
    ht_var in[] = {x, hti_needs_index(x, index, "gather", site)};
    return ht_apply(&hti_op_gather, 2, in, NULL, site);
}

/* Scatter_add. */

static bool scatter_infer(ht_infer *it)
{
    ht_shape want;
    it->out = it->in[0];
    if (it->in[1].dtype != HT_I32)
        return ht_infer_fail(it, HT_ERROR_DTYPE, "indices must be i32");
    if (it->in[0].dtype != it->in[2].dtype || !hti_dtype_is_float(it->in[0].dtype))
        return ht_infer_fail(it, HT_ERROR_DTYPE,
                             "base and updates must be one float type");
    if (!index_rows_shape(it->in[1].shape, it->in[0].shape, &want) ||
        !ht_shape_equal(want, it->in[2].shape))
        return ht_infer_fail(
            it, HT_ERROR_SHAPE,
            "updates must have the indices' shape, then base's row shape");
    return true;
}

static void scatter_run(const ht_run *r)
{
    if (r->in[0]->data != r->out.data) hti_run_copy(r->ctx, r->out, *r->in[0]);
    int64_t bad = hti_kernel(r->ctx, scatter_add, r->out, *r->in[1], *r->in[2]);
    hti_complain(r, 1, bad, r->out.shape.dim[0]);
}

static void scatter_vjp(ht_rule *r)
{
    r->d[0] = r->v;
    if (r->wanted[2]) r->d[2] = ht_gather(r->v, r->in[1]);
}

static ht_var scatter_jvp(const ht_rule *r)
{
    if (ht_is_zero(r->t[2])) return r->t[0];
    ht_var base = r->t[0];
    if (ht_is_zero(base)) base = hti_spread(r->out.tape, 0, hti_type(r->out), HT_HERE);
    return ht_scatter_add(base, r->in[1], r->t[2]);
}

static const ht_sample scatter_samples[] = {
    {3, {HTI_X(4, HT_ANY_1), HTI_INDEX(3, HT_ANY_2), HTI_X(HT_ANY_2, HT_ANY_1)}, NULL},
    {3,
     {HTI_X(5), HTI_INDEX(4, HT_SOME_1, HT_SOME_2), HTI_X(HT_SOME_1, HT_SOME_2)},
     NULL},
    {3, {HTI_X(5), {HT_I32, {0, {0}}, 0, 4}, HTI_SCALAR}, NULL},
};

HTI_ROW(scatter_add, scatter_samples, .formula = "$0; [$1] += $2",
        .flags = HT_OP_OVERWRITES, .infer = scatter_infer, HTI_RULES(scatter));

ht_var ht_scatter_add_at(ht_var base, ht_var index, ht_var updates, const char *site)
{
    if (ht_is_zero(updates)) return base;
    return ht_apply(&hti_op_scatter_add, 3, (ht_var[]){base, index, updates}, NULL, site);
}

/* One_hot. */

typedef struct one_hot_attributes {
    int64_t classes, dtype;
} one_hot_attributes;

static bool one_hot_infer(ht_infer *it)
{
    const one_hot_attributes *a = it->attributes;
    it->out = (ht_type){(ht_dtype)a->dtype, it->in[0].shape};
    if (it->in[0].dtype != HT_I32)
        return ht_infer_fail(it, HT_ERROR_DTYPE, "labels must be i32");
    if (!hti_dtype_is_float(it->out.dtype))
        return ht_infer_fail(it, HT_ERROR_DTYPE, "makes f32 or f64, not %s",
                             ht_dtype_name(it->out.dtype));
    if (it->out.shape.rank == HT_MAX_RANK || a->classes < 1)
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "%lld classes as a further axis: needs at least 1, and at "
                             "most %d axes in all",
                             (long long)a->classes, HT_MAX_RANK);
    it->out.shape.dim[it->out.shape.rank++] = a->classes;
    return true;
}

static void one_hot_run(const ht_run *r)
{
    int64_t bad = hti_kernel(r->ctx, one_hot, r->out, *r->in[0]);
    hti_complain(r, 0, bad, r->out.shape.dim[r->out.shape.rank - 1]);
}

HTI_DESCRIBE(one_hot, one_hot_attributes, "%lld classes", (long long)a->classes)

static const ht_sample one_hot_samples[] = {
    {1, {HTI_INDEX(3, HT_ANY_1)}, &(one_hot_attributes){4, HT_F64}},
    {1, {{HT_I32, {0, {0}}, 0, 2}}, &(one_hot_attributes){3, HT_F32}},
    {1, {HTI_INDEX(2, HT_SOME_1, HT_SOME_2)}, &(one_hot_attributes){3, HT_F32}},
};

HTI_ROW(one_hot, one_hot_samples, .flags = HT_OP_NO_GRADIENT,
        .attribute_size = sizeof(one_hot_attributes), .infer = one_hot_infer,
        .run = one_hot_run, .describe = one_hot_describe);

ht_var ht_one_hot_at(ht_var labels, int64_t classes, ht_dtype dtype, const char *site)
{
    one_hot_attributes a = {classes, dtype};
    return ht_apply(&hti_op_one_hot, 1, &labels, &a, site);
}
