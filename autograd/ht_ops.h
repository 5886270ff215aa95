/* SPDX-License-Identifier: MIT */
/* ht_ops.h: the ops, included by ht_autograd.h. Each is a macro over its _at function, which
 * takes the caller's file and line; wherever a variable is taken a number is, where that
 * makes sense. Read next: autograd/README.md, "Add an op". */
#ifndef HT_OPS_H
#define HT_OPS_H

#include "ht_autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Ops: elementwise, numpy broadcasting. Derivatives at awkward points:
 * sqrt'(0) = 0, relu'(0) = 0, |.|'(0) = 0, x^y at x = 0 by its limit where finite and
 * d/dy = 0; ties of maximum and minimum share equally. */
#define HT_OP_1(name) ht_var ht_##name##_at(ht_var x, const char *site)
#define HT_OP_2(name) ht_var ht_##name##_at(ht_var a, ht_var b, const char *site)
HT_OP_1(neg);
HT_OP_1(exp);
HT_OP_1(log);
HT_OP_1(sqrt);
HT_OP_1(tanh);
HT_OP_1(sigmoid);
HT_OP_1(relu);
HT_OP_1(abs);
HT_OP_1(square);
HT_OP_2(add);
HT_OP_2(sub);
HT_OP_2(mul);
HT_OP_2(div);
HT_OP_2(pow);
HT_OP_2(maximum);
HT_OP_2(minimum);
HT_OP_2(equal); /* u8, 1 where true; no gradient, nor have the next two */
HT_OP_2(greater);
HT_OP_2(greater_equal);
#define ht_neg(x)              ht_neg_at(x, HT_HERE)
#define ht_exp(x)              ht_exp_at(x, HT_HERE)
#define ht_log(x)              ht_log_at(x, HT_HERE)
#define ht_sqrt(x)             ht_sqrt_at(x, HT_HERE)
#define ht_tanh(x)             ht_tanh_at(x, HT_HERE)
#define ht_sigmoid(x)          ht_sigmoid_at(x, HT_HERE)
#define ht_relu(x)             ht_relu_at(x, HT_HERE)
#define ht_abs(x)              ht_abs_at(x, HT_HERE)
#define ht_square(x)           ht_square_at(x, HT_HERE)
#define ht_add(a, b)           ht_add_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_sub(a, b)           ht_sub_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_mul(a, b)           ht_mul_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_div(a, b)           ht_div_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_pow(a, b)           ht_pow_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_maximum(a, b)       ht_maximum_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_minimum(a, b)       ht_minimum_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_equal(a, b)         ht_equal_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_greater(a, b)       ht_greater_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_greater_equal(a, b) ht_greater_equal_at(HT_VAR(a), HT_VAR(b), HT_HERE)
/* condition (u8) ? a : b, elementwise. */
ht_var ht_where_at(ht_var condition, ht_var a, ht_var b, const char *site);
#define ht_where(condition, a, b) ht_where_at(condition, HT_VAR(a), HT_VAR(b), HT_HERE)
/* Converted; differentiable between f32 and f64. */
ht_var ht_cast_at(ht_var x, ht_dtype dtype, const char *site);
#define ht_cast(x, dtype) ht_cast_at(x, dtype, HT_HERE)
/* x itself, with derivative zero by decree. */
HT_OP_1(stop_gradient);
#define ht_stop_gradient(x) ht_stop_gradient_at(x, HT_HERE)

/* Ops: reductions. */

/* Axes from -rank to rank-1, each once. */
typedef struct ht_axes {
    int n;
    int axis[HT_MAX_RANK];
} ht_axes;
#define HT_AXES(...) \
    ((ht_axes){(int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), {__VA_ARGS__}})
HT_OP_1(sum); /* of all elements, 0-d */
HT_OP_1(mean);
#define ht_sum(x)  ht_sum_at(x, HT_HERE)
#define ht_mean(x) ht_mean_at(x, HT_HERE)
/* Over the given axes, which stay with size 1 if keep. Ties of max share the gradient. */
ht_var ht_sum_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
ht_var ht_mean_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
ht_var ht_max_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
#define ht_sum_axes(x, axes, keep)  ht_sum_axes_at(x, axes, keep, HT_HERE)
#define ht_mean_axes(x, axes, keep) ht_mean_axes_at(x, axes, keep, HT_HERE)
#define ht_max_axes(x, axes, keep)  ht_max_axes_at(x, axes, keep, HT_HERE)
/* Index (i32) of the first largest element along the last axis; no gradient. */
HT_OP_1(argmax);
#define ht_argmax(x) ht_argmax_at(x, HT_HERE)

/* Ops: movement (views wherever strides allow). */

/* Same elements in row-major order; one dimension may be -1. */
ht_var ht_reshape_at(ht_var x, ht_shape shape, const char *site);
#define ht_reshape(x, shape) ht_reshape_at(x, shape, HT_HERE)
/* Axis i of the result is axis axes.axis[i] of x. ht_transpose swaps the last two. */
ht_var ht_permute_at(ht_var x, ht_axes axes, const char *site);
#define ht_permute(x, axes) ht_permute_at(x, axes, HT_HERE)
HT_OP_1(transpose);
#define ht_transpose(x) ht_transpose_at(x, HT_HERE)
/* Repeats axes of size 1 and adds leading ones, by numpy's rule. */
ht_var ht_broadcast_at(ht_var x, ht_shape shape, const char *site);
#define ht_broadcast(x, shape) ht_broadcast_at(x, shape, HT_HERE)
/* count elements start, start+step, ... of one axis; step may be negative, not 0. */
ht_var ht_slice_at(ht_var x, int axis, int64_t start, int64_t count, int64_t step,
                   const char *site);
#define ht_slice(x, axis, start, count, step) \
    ht_slice_at(x, axis, start, count, step, HT_HERE)
/* before and after zeros around one axis. */
ht_var ht_pad_at(ht_var x, int axis, int64_t before, int64_t after, const char *site);
#define ht_pad(x, axis, before, after) ht_pad_at(x, axis, before, after, HT_HERE)
ht_var ht_concat_at(int n, const ht_var *x, int axis, const char *site);
#define ht_concat(n, x, axis) ht_concat_at(n, x, axis, HT_HERE)

/* Ops: indices (i32, checked when run), products, rows. */

/* x's rows: out[i...] = x[index[i...]]. */
HT_OP_2(gather);
#define ht_gather(x, index) ht_gather_at(x, index, HT_HERE)
/* base with base[index[i...]] += updates[i...]. */
ht_var ht_scatter_add_at(ht_var base, ht_var index, ht_var updates, const char *site);
#define ht_scatter_add(base, index, updates) \
    ht_scatter_add_at(base, index, updates, HT_HERE)
/* labels' shape + (classes), of dtype. */
ht_var ht_one_hot_at(ht_var labels, int64_t classes, ht_dtype dtype, const char *site);
#define ht_one_hot(labels, classes, dtype) ht_one_hot_at(labels, classes, dtype, HT_HERE)
/* (..., m, k) . (..., k, n) -> (..., m, n); leading axes broadcast. */
HT_OP_2(matmul);
#define ht_matmul(a, b) ht_matmul_at(a, b, HT_HERE)
HT_OP_1(softmax); /* along the last axis, as is log_softmax */
HT_OP_1(log_softmax);
#define ht_softmax(x)     ht_softmax_at(x, HT_HERE)
#define ht_log_softmax(x) ht_log_softmax_at(x, HT_HERE)
/* logits (n, classes), labels (n) i32 -> (n): -log softmax at the label, per row. */
HT_OP_2(cross_entropy);
#define ht_cross_entropy(logits, labels) ht_cross_entropy_at(logits, labels, HT_HERE)

#undef HT_OP_1
#undef HT_OP_2
#ifdef __cplusplus
}
#endif
#endif
