/* SPDX-License-Identifier: MIT */
/* ops_rows.c: softmax, log-softmax and cross-entropy by rows. Values come from fused
 * kernels; rules are written in primitives, so every further derivative exists. Read
 * next: tensor/rows.c. */
#include "autograd_internal.h"
#include "kernels.h"

static ht_axes rows_last(ht_var x)
{
    return HT_AXES(ht_var_shape(x).rank - 1);
}

static bool rows_infer(ht_infer *it)
{
    it->out = it->in[0];
    if (!hti_dtype_is_float(it->out.dtype))
        return ht_infer_fail(it, HT_ERROR_DTYPE, "needs f32 or f64\n  hint: ht_cast");
    if (it->out.shape.rank < 1 || it->out.shape.dim[it->out.shape.rank - 1] < 1)
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "needs a last axis of at least one element");
    return true;
}

static const ht_sample rows_samples[] = {
    {1, {{0, {2, {HT_ANY_1, HT_SOME_1}}, -2, 2}}, NULL},
    {1, {{0, {1, {HT_SOME_1}}, -2, 2}}, NULL},
    {1, {{0, {3, {HT_SOME_1, HT_SOME_2, 1}}, -2, 2}}, NULL},
    {1, {{0, {2, {0, 3}}, -2, 2}}, NULL},
};

/* Softmax: J = diag(p) - p p', its own transpose. */

static void softmax_run(const ht_run *r)
{
    hti_run_softmax(r->ctx, r->out, *r->in[0]);
}

static ht_var softmax_jacobian(const ht_rule *r, ht_var v)
{
    ht_var dot = ht_sum_axes(ht_mul(r->out, v), rows_last(r->out), true);
    return ht_mul(r->out, ht_sub(v, dot));
}

static void softmax_vjp(ht_rule *r)
{
    r->d[0] = softmax_jacobian(r, r->v);
}

static ht_var softmax_jvp(const ht_rule *r)
{
    return softmax_jacobian(r, r->t[0]);
}

/* exp(x - max), which the rows below say in primitives. */
static ht_var rows_shifted(ht_var x)
{
    return ht_sub(x, ht_max_axes(x, rows_last(x), true));
}

static ht_var softmax_decompose(const ht_rule *r)
{
    ht_var weight = ht_exp(rows_shifted(r->in[0]));
    return ht_div(weight, ht_sum_axes(weight, rows_last(weight), true));
}

HTI_ROW(softmax, rows_samples, .infer = rows_infer, .run = softmax_run,
        .vjp = softmax_vjp, .jvp = softmax_jvp, .decompose = softmax_decompose);

ht_var ht_softmax_at(ht_var x, const char *site)
{
    return ht_apply(&hti_op_softmax, 1, &x, NULL, site);
}

/* Log_softmax: J = I - 1 p'. */

static void log_softmax_run(const ht_run *r)
{
    hti_run_log_softmax(r->ctx, r->out, *r->in[0]);
}

static void log_softmax_vjp(ht_rule *r)
{
    ht_var total = ht_sum_axes(r->v, rows_last(r->out), true);
    r->d[0] = ht_sub(r->v, ht_mul(ht_softmax(r->in[0]), total));
}

static ht_var log_softmax_jvp(const ht_rule *r)
{
    ht_var weighted = ht_mul(ht_softmax(r->in[0]), r->t[0]);
    return ht_sub(r->t[0], ht_sum_axes(weighted, rows_last(r->out), true));
}

static ht_var log_softmax_decompose(const ht_rule *r)
{
    ht_var shifted = rows_shifted(r->in[0]);
    ht_var sum = ht_sum_axes(ht_exp(shifted), rows_last(shifted), true);
    return ht_sub(shifted, ht_log(sum));
}

HTI_ROW(log_softmax, rows_samples, .infer = rows_infer, .run = log_softmax_run,
        .vjp = log_softmax_vjp, .jvp = log_softmax_jvp,
        .decompose = log_softmax_decompose);

ht_var ht_log_softmax_at(ht_var x, const char *site)
{
    return ht_apply(&hti_op_log_softmax, 1, &x, NULL, site);
}

/* Cross_entropy: gradient softmax - one_hot, by row. */

static bool cross_entropy_infer(ht_infer *it)
{
    it->out = it->in[0];
    bool soft = it->in[1].dtype == it->out.dtype; /* here only if it does not fit */
    if (!hti_dtype_is_float(it->out.dtype) || (it->in[1].dtype != HT_I32 && !soft))
        return ht_infer_fail(
            it, HT_ERROR_DTYPE,
            "needs float logits, and labels of i32 or probabilities of the "
            "logits' dtype");
    if (soft || it->out.shape.rank != 2 || it->in[1].shape.rank != 1 ||
        it->out.shape.dim[1] < 1 || it->out.shape.dim[0] != it->in[1].shape.dim[0])
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "needs logits (n, classes) and labels (n) of the same n, "
                             "or probabilities of the logits' shape");
    it->out.shape.rank = 1;
    return true;
}

static void cross_entropy_run(const ht_run *r)
{
    const ht_array *labels = r->in[1];
    int64_t bad = hti_run_cross_entropy(r->ctx, r->out, *r->in[0], *labels);
    if (bad < 0) return;
    ht_context_fail(r->ctx, HT_ERROR_ARGUMENT, r->site,
                    "cross_entropy: label %d of row %lld lies outside 0 .. %lld",
                    ((const int32_t *)labels->data)[bad * labels->stride[0]],
                    (long long)bad, (long long)r->in[0]->shape.dim[1] - 1);
}

static ht_var cross_entropy_slope(const ht_rule *r)
{
    ht_type type = hti_type(r->in[0]);
    ht_var hot = ht_one_hot(r->in[1], type.shape.dim[1], type.dtype);
    return ht_sub(ht_softmax(r->in[0]), hot);
}

static void cross_entropy_vjp(ht_rule *r)
{
    int64_t n = ht_var_shape(r->v).dim[0];
    r->d[0] = ht_mul(ht_reshape(r->v, HT_SHAPE(n, 1)), cross_entropy_slope(r));
}

static ht_var cross_entropy_jvp(const ht_rule *r)
{
    return ht_sum_axes(ht_mul(cross_entropy_slope(r), r->t[0]), HT_AXES(1), false);
}

static const ht_sample cross_entropy_samples[] = {
    {2, {{0, {2, {HT_ANY_1, 7}}, -2, 2}, {HT_I32, {1, {HT_ANY_1}}, 0, 6}}, NULL},
    {2, {{0, {2, {HT_SOME_1, 1}}, -2, 2}, {HT_I32, {1, {HT_SOME_1}}, 0, 0}}, NULL},
    {2, {{0, {2, {1, HT_SOME_1}}, -2, 2}, {HT_I32, {1, {1}}, 0, 0}}, NULL},
    {2, {{0, {2, {0, 4}}, -2, 2}, {HT_I32, {1, {0}}, 0, 3}}, NULL},
};

static ht_var cross_entropy_decompose(const ht_rule *r)
{
    ht_type type = hti_type(r->in[0]);
    ht_var hot = ht_one_hot(r->in[1], type.shape.dim[1], type.dtype);
    return ht_neg(ht_sum_axes(ht_mul(hot, log_softmax_decompose(r)), HT_AXES(1), false));
}

HTI_ROW(cross_entropy, cross_entropy_samples, .infer = cross_entropy_infer,
        .run = cross_entropy_run, .vjp = cross_entropy_vjp, .jvp = cross_entropy_jvp,
        .decompose = cross_entropy_decompose);

/* Probabilities for labels: -sum(p log_softmax(z)), with derivatives to both. */
static ht_var cross_entropy_soft(ht_var logits, ht_var labels, const char *site)
{
    ht_var terms = ht_mul_at(labels, ht_log_softmax_at(logits, site), site);
    return ht_neg_at(ht_sum_axes_at(terms, HT_AXES(1), false, site), site);
}

ht_var ht_cross_entropy_at(ht_var logits, ht_var labels, const char *site)
{
    ht_tape *tape = hti_tape_among(2, (ht_var[]){logits, labels});
    logits = hti_needs(tape, logits, "cross_entropy", "logits", -1, site);
    labels = hti_needs(tape, labels, "cross_entropy", "labels", -1, site);
    if (hti_is_poison(logits)) return logits;
    if (hti_is_poison(labels)) return labels;
    ht_type z = hti_type(logits), p = hti_type(labels);
    if (hti_dtype_is_float(p.dtype) && z.dtype == p.dtype && z.shape.rank == 2 &&
        ht_shape_equal(z.shape, p.shape))
        return HTI_CALL("cross_entropy", logits,
                        cross_entropy_soft(logits, labels, site));
    return ht_apply(&hti_op_cross_entropy, 2, (ht_var[]){logits, labels}, NULL, site);
}
