/* SPDX-License-Identifier: MIT */
/* ops_rows.c: softmax, logsumexp, log-softmax and cross-entropy by rows, and their
 * derivatives, rows too, as far as the second; from there on they are made of primitives.
 * Read next: tensor/rows.c, tensor/loops_slope.h. */
#include <math.h>

#include "ops.h"

static ht_axes rows_last(ht_var x)
{
    return HT_AXES(ht_var_shape(x).rank - 1);
}

static const ht_sample rows_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, NULL},
    {1, {HTI_X(HT_SOME_1)}, NULL},
    {1, {HTI_X(HT_SOME_1, HT_SOME_2, 1)}, NULL},
    {1, {HTI_X(0, 3)}, NULL},
};

/* Derivatives of rows x along rows v; see tensor/loops_slope.h. All rules below are made
 * of them, so that rows where one class is nearly all keep their digits. */

static ht_var rows_total(ht_var v)
{
    return ht_sum_axes(v, rows_last(v), true);
}

/* v - p.v, out of primitives. */
static ht_var rows_rest(ht_var p, ht_var v)
{
    return ht_sub(v, rows_total(ht_mul(p, v)));
}

#define SLOPE_INPUT HTI_X(HT_ANY_1, HT_SOME_1)
#define SLOPE_LONG  HTI_X(2, 19)
#define SLOPE_DEEP  HTI_X(HT_SOME_1, 2, 3)
static const ht_sample slope_samples[] = {
    {2, {SLOPE_INPUT, SLOPE_INPUT}, NULL},
    {2, {SLOPE_LONG, SLOPE_LONG}, NULL},
    {2, {SLOPE_DEEP, SLOPE_DEEP}, NULL},
};
static const ht_sample bend_samples[] = {
    {3, {SLOPE_INPUT, SLOPE_INPUT, SLOPE_INPUT}, NULL},
    {3, {SLOPE_LONG, SLOPE_LONG, SLOPE_LONG}, NULL},
};

#define SLOPE_ROW(op, kind, samples, ...)                                     \
    static void op##_run(const ht_run *r)                                     \
    {                                                                         \
        hti_kernel(r->ctx, slope, kind, r->out, r->in);                       \
    }                                                                         \
    HTI_ROW(op, samples, .flags = HTI_OP_ROWS, .infer = hti_infer_rows_alike, \
            .run = op##_run, __VA_ARGS__);

/* p (v - p.v) */
HTI_SYMMETRIC_RULES(softmax_slope, softmax_bend)

/* p (z - p.z), z = (v - p.v) (t - p.t): third derivatives are those of this. */
static ht_var softmax_bend_decompose(const ht_rule *r)
{
    ht_var p = ht_softmax(r->in[0]);
    ht_var z = ht_mul(rows_rest(p, r->in[1]), rows_rest(p, r->in[2]));
    return ht_mul(p, rows_rest(p, z));
}

/* v - p.v; by x along t: -sum(slope(t) v). */
static void log_softmax_rest_vjp(ht_rule *r)
{
    ht_var total = rows_total(r->v);
    if (r->wanted[0])
        r->d[0] = ht_neg(ht_mul(hti_along(&hti_op_softmax_slope, r, 1, r->in[1]), total));
    if (r->wanted[1]) r->d[1] = hti_along(&hti_op_log_softmax_back, r, 1, r->v);
}

static ht_var log_softmax_rest_jvp(const ht_rule *r)
{
    ht_var along = hti_along(&hti_op_log_softmax_rest, r, 1, r->t[1]);
    if (ht_is_zero(r->t[0])) return along;
    ht_var moved = hti_along(&hti_op_softmax_slope, r, 1, r->t[0]);
    ht_var down = ht_neg(rows_total(ht_mul(moved, r->in[1])));
    return ht_add(along, ht_broadcast(down, ht_var_shape(r->in[0])));
}

/* v - p sum(v); by x along t: -slope(t) sum(v). */
static void log_softmax_back_vjp(ht_rule *r)
{
    if (r->wanted[0])
        r->d[0] = ht_neg(
            ht_mul(hti_along(&hti_op_softmax_slope, r, 1, r->v), rows_total(r->in[1])));
    if (r->wanted[1]) r->d[1] = hti_along(&hti_op_log_softmax_rest, r, 1, r->v);
}

static ht_var log_softmax_back_jvp(const ht_rule *r)
{
    ht_var along = hti_along(&hti_op_log_softmax_back, r, 1, r->t[1]);
    if (ht_is_zero(r->t[0])) return along;
    ht_var moved = hti_along(&hti_op_softmax_slope, r, 1, r->t[0]);
    return ht_sub(along, ht_mul(moved, rows_total(r->in[1])));
}

SLOPE_ROW(softmax_slope, HTI_SLOPE_SLOPE, slope_samples, .vjp = softmax_slope_vjp,
          .jvp = softmax_slope_jvp)
SLOPE_ROW(softmax_bend, HTI_SLOPE_BEND, bend_samples, .decompose = softmax_bend_decompose)
SLOPE_ROW(log_softmax_rest, HTI_SLOPE_REST, slope_samples, .vjp = log_softmax_rest_vjp,
          .jvp = log_softmax_rest_jvp)
SLOPE_ROW(log_softmax_back, HTI_SLOPE_BACK, slope_samples, .vjp = log_softmax_back_vjp,
          .jvp = log_softmax_back_jvp)

/* Softmax: J = diag(p) - p p', its own transpose. */

HTI_RUN(softmax, void, hti_kernel(r->ctx, softmax, r->out, *r->in[0]))

static ht_var softmax_along(const ht_rule *r, ht_var v)
{
    return hti_along(&hti_op_softmax_slope, r, 1, v);
}

HTI_SLOPE_RULES(softmax, softmax_along)

HTI_ROW(softmax, rows_samples, .flags = HTI_OP_ROWS, .infer = hti_infer_rows,
        HTI_RULES(softmax));

HTI_AT_1(softmax)

/* Logsumexp of the last axis: the derivative is softmax. */

static bool logsumexp_infer(ht_infer *it)
{
    if (!hti_infer_rows(it)) return false;
    it->out.shape.rank--;
    return true;
}

HTI_RUN(logsumexp, void, hti_kernel(r->ctx, logsumexp, r->out, *r->in[0]))

static void logsumexp_vjp(ht_rule *r)
{
    ht_shape column = ht_var_shape(r->in[0]);
    column.dim[column.rank - 1] = 1;
    r->d[0] = ht_mul(ht_softmax(r->in[0]), ht_reshape(r->v, column));
}

static ht_var logsumexp_jvp(const ht_rule *r)
{
    ht_var weighted = ht_mul(ht_softmax(r->in[0]), r->t[0]);
    return ht_sum_axes(weighted, HT_AXES(-1), false);
}

HTI_ROW(logsumexp, rows_samples, .flags = HTI_OP_ROWS, .infer = logsumexp_infer,
        HTI_RULES(logsumexp));

/* Log_softmax: J = I - 1 p'. */

HTI_RUN(log_softmax, void, hti_kernel(r->ctx, log_softmax, r->out, *r->in[0]))

HTI_VJP(log_softmax, hti_along(&hti_op_log_softmax_back, r, 1, r->v))

HTI_JVP(log_softmax, hti_along(&hti_op_log_softmax_rest, r, 1, r->t[0]))

HTI_ROW(log_softmax, rows_samples, .flags = HTI_OP_ROWS, .infer = hti_infer_rows,
        HTI_RULES(log_softmax));

HTI_AT_1(log_softmax)

/* Cross_entropy: gradient softmax - one_hot, by row. */

static bool cross_entropy_infer(ht_infer *it)
{
    it->out = it->in[0];
    bool soft = it->in[1].dtype == it->out.dtype; /* here only if it does not fit */
    if (!hti_dtype_is_float(it->out.dtype) || (it->in[1].dtype != HT_I32 && !soft))
        return ht_infer_fail(it, HT_ERROR_DTYPE,
                             "needs float logits, and labels of i32 or probabilities of "
                             "the logits' dtype%s",
                             hti_dtype_is_float(it->in[1].dtype)
                                 ? ""
                                 : "\n  hint: labels are i32: ht_cast");
    if (soft && it->in[1].shape.rank == 1)
        return ht_infer_fail(it, HT_ERROR_DTYPE,
                             "labels are i32, one a row, or probabilities of the logits' "
                             "shape\n  hint: read them into an i32 tensor, or ht_cast");
    if (soft || it->out.shape.rank != 2 || it->in[1].shape.rank != 1 ||
        it->out.shape.dim[1] < 1 || it->out.shape.dim[0] != it->in[1].shape.dim[0])
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "needs logits (n, classes) and labels (n) of the same n, "
                             "or probabilities of the logits' shape");
    it->out.shape.rank = 1;
    return true;
}

static void cross_entropy_complain(const ht_run *r, int64_t bad)
{
    const ht_array *labels = r->in[1];
    if (bad < 0) return;
    ht_context_fail(r->ctx, HT_ERROR_ARGUMENT, r->site,
                    "cross_entropy: label %d of row %lld lies outside 0 .. %lld\n"
                    "  hint: labels count from 0; the logits' last size is how many "
                    "classes there are",
                    ((const int32_t *)labels->data)[bad * labels->stride[0]],
                    (long long)(r->ctx->first_row + bad),
                    (long long)r->in[0]->shape.dim[1] - 1);
}

static void cross_entropy_run(const ht_run *r)
{
    cross_entropy_complain(
        r, hti_kernel(r->ctx, cross_entropy, r->out, *r->in[0], *r->in[1]));
}

static ht_var cross_entropy_slope(const ht_rule *r)
{
    return ht_apply(&hti_op_cross_entropy_slope, 2, r->in, NULL, HT_HERE);
}

static void cross_entropy_vjp(ht_rule *r)
{
    int64_t n = ht_var_shape(r->v).dim[0];
    r->d[0] = ht_mul(ht_reshape(r->v, HT_SHAPE(n, 1)), cross_entropy_slope(r));
}

HTI_JVP(cross_entropy,
        ht_sum_axes(ht_mul(cross_entropy_slope(r), r->t[0]), HT_AXES(1), false))

static const ht_sample cross_entropy_samples[] = {
    {2, {HTI_X(HT_ANY_1, 7), HTI_INDEX(6, HT_ANY_1)}, NULL},
    {2, {HTI_X(HT_SOME_1, 1), HTI_INDEX(0, HT_SOME_1)}, NULL},
    {2, {HTI_X(1, HT_SOME_1), HTI_INDEX(0, 1)}, NULL},
    {2, {HTI_X(0, 4), HTI_INDEX(3, 0)}, NULL},
};

HTI_ROW(cross_entropy, cross_entropy_samples, .flags = HTI_OP_ROWS,
        .infer = cross_entropy_infer, HTI_RULES(cross_entropy));

/* Its slope, softmax - one_hot, whose derivative is that of softmax. */

static bool cross_entropy_slope_infer(ht_infer *it)
{
    if (!cross_entropy_infer(it)) return false;
    it->out = it->in[0];
    return true;
}

static void cross_entropy_slope_run(const ht_run *r)
{
    cross_entropy_complain(
        r, hti_kernel(r->ctx, cross_entropy_slope, r->out, *r->in[0], *r->in[1]));
}

HTI_SLOPE_RULES(cross_entropy_slope, softmax_along)

HTI_ROW(cross_entropy_slope, cross_entropy_samples, .flags = HTI_OP_ROWS,
        .infer = cross_entropy_slope_infer, HTI_RULES(cross_entropy_slope));

ht_var hti_weighted_log(ht_var p, ht_var log_q, const char *site)
{
    ht_var none = ht_equal_at(p, ht_number(0), site);
    ht_var never = ht_equal_at(log_q, ht_number(-(double)INFINITY), site);
    ht_var zero = ht_where_at(none, ht_number(0), log_q, site);
    return ht_mul_at(p, ht_where_at(never, zero, log_q, site), site);
}

/* Probabilities for labels: -sum(p log_softmax(z)), with derivatives to both. */
static ht_var cross_entropy_soft(ht_var logits, ht_var labels, const char *site)
{
    ht_var terms = hti_weighted_log(labels, ht_log_softmax_at(logits, site), site);
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
