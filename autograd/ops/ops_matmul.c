/* SPDX-License-Identifier: MIT */
/* ops_matmul.c: batched matrix product. Transposes are strides, so its derivatives are
 * products of views. Read next: ops_rows.c. */
#include "ops.h"

/* The axes before the last two. */
static ht_shape matmul_batch(ht_shape shape)
{
    shape.rank -= 2;
    return shape;
}

static bool matmul_infer(ht_infer *it)
{
    ht_shape a = it->in[0].shape, b = it->in[1].shape;
    if (a.rank < 2 || b.rank < 2)
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "needs at least 2 axes each\n  hint: ht_reshape a vector to "
                             "(1, n) or (n, 1)");
    if (!hti_infer_one_float(it)) return false;
    if (a.dim[a.rank - 1] != b.dim[b.rank - 2])
        return ht_infer_fail(
            it, HT_ERROR_SHAPE,
            "(m, k) . (k, n) needs the inner sizes equal; they are %lld and "
            "%lld\n  hint: ht_transpose one of them, or exchange the two",
            (long long)a.dim[a.rank - 1], (long long)b.dim[b.rank - 2]);
    if (!hti_broadcast_shapes(matmul_batch(a), matmul_batch(b), &it->out.shape))
        return ht_infer_fail(it, HT_ERROR_SHAPE, "the leading axes do not broadcast");
    it->out.shape.dim[it->out.shape.rank++] = a.dim[a.rank - 2];
    it->out.shape.dim[it->out.shape.rank++] = b.dim[b.rank - 1];
    return true;
}

ht_array hti_batch_operand(const ht_array *x, ht_shape out)
{
    out.dim[out.rank - 2] = x->shape.dim[x->shape.rank - 2];
    out.dim[out.rank - 1] = x->shape.dim[x->shape.rank - 1];
    return hti_broadcast_array(*x, out);
}

HTI_RUN(matmul, void,
        hti_kernel(r->ctx, matmul, r->out, hti_batch_operand(r->in[0], r->out.shape),
                   hti_batch_operand(r->in[1], r->out.shape)))

/* All matrices of a batch as one, its rows one after another. */
static ht_var matmul_tall(ht_var x)
{
    ht_shape shape = ht_var_shape(x);
    int64_t cols = shape.dim[shape.rank - 1], rows = 1;
    for (int i = 0; i < shape.rank - 1; i++) rows *= shape.dim[i];
    return ht_reshape(x, HT_SHAPE(rows, cols));
}

/* One b for a whole batch: the sum over the batch is part of the product. */
static ht_var matmul_slope_b(const ht_rule *r)
{
    ht_var a = r->in[0], v = r->v;
    if (ht_var_shape(a).rank > 2 && ht_var_shape(r->in[1]).rank == 2)
        a = matmul_tall(a), v = matmul_tall(v);
    return ht_matmul(ht_transpose(a), v);
}

static void matmul_vjp(ht_rule *r)
{
    if (r->wanted[0]) r->d[0] = ht_matmul(r->v, ht_transpose(r->in[1]));
    if (r->wanted[1]) r->d[1] = matmul_slope_b(r);
}

static double matmul_flops(const ht_type *in, const ht_type *out)
{
    double k = (double)in[0].shape.dim[in[0].shape.rank - 1];
    return 2 * k * (double)ht_shape_count(out->shape);
}

static const ht_sample matmul_samples[] = {
    {2, {HTI_X(HT_ANY_1, HT_ANY_2), HTI_X(HT_ANY_2, HT_ANY_3)}, NULL},
    {2, {HTI_X(HT_SOME_1, HT_SOME_2), HTI_X(HT_SOME_2, HT_SOME_3)}, NULL},
    {2, {HTI_X(1, HT_SOME_1), HTI_X(HT_SOME_1, 1)}, NULL},
    {2, {HTI_X(HT_SOME_1, HT_SOME_1), HTI_X(HT_SOME_1, HT_SOME_1)}, NULL},
    {2, {HTI_X(HT_ANY_1, 3, HT_ANY_2), HTI_X(HT_ANY_2, HT_ANY_3)}, NULL},
    {2, {HTI_X(1, HT_SOME_1, 2), HTI_X(2, HT_SOME_2, 2, HT_SOME_3)}, NULL},
    {2, {HTI_X(3, 0), HTI_X(0, 2)}, NULL},
};

HTI_ROW(matmul, matmul_samples, .formula = "$0 @ $1",
        .flags = HT_OP_PRODUCT | HT_OP_LINEAR, .infer = matmul_infer,
        HTI_LINEAR_RULES(matmul), .flops = matmul_flops);

HTI_AT_2(matmul)
