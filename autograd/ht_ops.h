/* SPDX-License-Identifier: MIT */
/* ht_ops.h: the ops, included by ht_autograd.h. Each is a macro over its _at function,
 * which takes the caller's file and line. Where a number is taken for a variable, and
 * what happens where it is not: ht_autograd.h, "Numbers". Read next: autograd/README.md,
 * "Add an op". */
#ifndef HT_OPS_H
#define HT_OPS_H

#include "ht_autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Ops: elementwise, numpy broadcasting. A value and its first two derivatives are right
 * to a few units in their own last place, however tiny, where x saturates too; at
 * infinity they are the limit. Within a few powers of ten of the range's ends what comes
 * between may leave it (a^b in pow's mixed derivative), and then so does the result. What
 * loses more says so, and where terms of opposite sign cancel it is the larger that has
 * the digits. NaN in is NaN out, but for comparisons,
 * which are 0, and x^0 and 1^y, which are 1; derivatives that select by x (relu, abs,
 * ...) are 0 there. Derivatives at kinks are by decree. In reverse mode 0 times infinity
 * is NaN: an element that is not chosen (by where, relu, maximum, clamp, slice, gather,
 * tril ...) must not stand where what came before has an infinite slope; choose first. */
#define HT_OP_1(name) ht_var ht_##name##_at(ht_var x, const char *site)
#define HT_OP_2(name) ht_var ht_##name##_at(ht_var a, ht_var b, const char *site)
HT_OP_1(neg);
HT_OP_1(exp);  /* subnormal down to 0; inf above 88.7 (f32), 709.7 (f64) */
HT_OP_1(log);  /* -inf with slope inf at 0, NaN below, where the slope stays 1 / x */
HT_OP_1(sqrt); /* slope 0 at 0; NaN below */
HT_OP_1(tanh); /* the slope by exp(-2 |x|), not from the rounded value: 1.7e-17 at 20 */
HT_OP_1(sigmoid); /* so here: the slope is 4.2e-18 at 40 and at -40 */
HT_OP_1(relu);    /* slope 0 at 0 */
HT_OP_1(abs);     /* slope 0 at 0 */
HT_OP_1(square);
HT_OP_2(add);
HT_OP_2(sub);
HT_OP_2(mul);
HT_OP_2(div); /* slopes 1 / b and -(a / b) / b: b^2 is never formed */
/* C's pow. At a = 0 slopes are their limit where finite, and d/db is 0 wherever a <= 0.
 * A variable b that b - 1 rounds costs d/da |log a| units in the last place. */
HT_OP_2(pow);
HT_OP_2(maximum); /* of two that are equal each has half the slope; so for minimum */
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
/* condition (u8) ? a : b, elementwise. Forward, what is not taken does not count. In
 * reverse its cotangent is 0, and 0 times a slope that is infinite or NaN is NaN: a
 * branch whose slope may be so chooses its input first, as in
 * ht_where(p, ht_sqrt(ht_where(p, x, 1)), x) with p = ht_greater(x, 0). */
ht_var ht_where_at(ht_var condition, ht_var a, ht_var b, const char *site);
#define ht_where(condition, a, b) ht_where_at(condition, HT_VAR(a), HT_VAR(b), HT_HERE)
/* Converted, as ht_tensor_set does (what does not fit is an error when run);
 * differentiable between f32 and f64. */
ht_var ht_cast_at(ht_var x, ht_dtype dtype, const char *site);
#define ht_cast(x, dtype) ht_cast_at(x, dtype, HT_HERE)
/* x itself, with derivative zero by decree. */
HT_OP_1(stop_gradient);
#define ht_stop_gradient(x) ht_stop_gradient_at(x, HT_HERE)

/* Computed without cancellation: log(1 + x), exp(x) - 1, log(1 + exp(x)). */
HT_OP_1(log1p);      /* -inf with slope inf at -1 */
HT_OP_1(expm1);      /* the slope is exp(x), also where the value is -1 */
HT_OP_1(softplus);   /* the slope is sigmoid(x) */
HT_OP_1(rsqrt);      /* 1 / sqrt x: inf with slope -inf at 0, as is the next */
HT_OP_1(reciprocal); /* 1 / x */
HT_OP_1(sin);        /* any finite x; NaN at infinity, as is cos */
HT_OP_1(cos);
HT_OP_1(erf);  /* slope by exp(-x^2), whose square is not rounded */
HT_OP_1(silu); /* x sigmoid(x), 0 at -inf as are the next two */
/* x (1 + erf(x / sqrt 2)) / 2, from the tail on x's side. Then x sigmoid(2 u) =
 * x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3); its second derivative loses
 * 2 |u| units. */
HT_OP_1(gelu);
HT_OP_1(gelu_tanh);
#define ht_log1p(x)      ht_log1p_at(x, HT_HERE)
#define ht_expm1(x)      ht_expm1_at(x, HT_HERE)
#define ht_softplus(x)   ht_softplus_at(x, HT_HERE)
#define ht_rsqrt(x)      ht_rsqrt_at(x, HT_HERE)
#define ht_reciprocal(x) ht_reciprocal_at(x, HT_HERE)
#define ht_sin(x)        ht_sin_at(x, HT_HERE)
#define ht_cos(x)        ht_cos_at(x, HT_HERE)
#define ht_erf(x)        ht_erf_at(x, HT_HERE)
#define ht_silu(x)       ht_silu_at(x, HT_HERE)
#define ht_gelu(x)       ht_gelu_at(x, HT_HERE)
#define ht_gelu_tanh(x)  ht_gelu_tanh_at(x, HT_HERE)
/* x where positive, elsewhere slope x; at 0 the derivative is slope. Slope 0 is relu. */
ht_var ht_leaky_relu_at(ht_var x, double slope, const char *site);
#define ht_leaky_relu(x, slope) ht_leaky_relu_at(x, slope, HT_HERE)
/* min(max(x, low), high), each bound a number or a variable: where low is above high that
 * is high, but two numbers so are refused. The derivative is 1 to x at the ends too, to a
 * bound where that is the value. NaN in x or a bound is NaN. */
ht_var ht_clamp_at(ht_var x, ht_var low, ht_var high, const char *site);
#define ht_clamp(x, low, high) ht_clamp_at(x, HT_VAR(low), HT_VAR(high), HT_HERE)

/* Ops: reductions. */

/* Axes from -rank to rank-1, each once; any other, or n below 0 or above 6, is
 * HT_ERROR_ARGUMENT. So is HT_ERROR_SHAPE a shape of such a rank or a size below 0. */
typedef struct ht_axes {
    int n;
    int axis[HT_MAX_RANK];
} ht_axes;
#define HT_AXES(...) \
    ((ht_axes){(int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), {__VA_ARGS__}})
/* A total may leave the dtype's range on its way and come back. The mean of equal numbers
 * is that number (in f64 too), that of nothing NaN; the sum of nothing is 0, a largest of
 * nothing an error. NaN wins everywhere. */
HT_OP_1(sum); /* of all elements, 0-d */
HT_OP_1(mean);
#define ht_sum(x)  ht_sum_at(x, HT_HERE)
#define ht_mean(x) ht_mean_at(x, HT_HERE)
/* Over the given axes, which stay with size 1 if keep. Ties of max share the gradient.
 * Variadic, as all that take a struct, so that one can be written in place. */
ht_var ht_sum_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
ht_var ht_mean_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
ht_var ht_max_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
#define ht_sum_axes(...)  ht_sum_axes_at(__VA_ARGS__, HT_HERE)
#define ht_mean_axes(...) ht_mean_axes_at(__VA_ARGS__, HT_HERE)
#define ht_max_axes(...)  ht_max_axes_at(__VA_ARGS__, HT_HERE)
ht_var ht_min_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
#define ht_min_axes(...) ht_min_axes_at(__VA_ARGS__, HT_HERE)
/* log(sum(exp(x))) without overflow; infinite if the largest is, its derivative NaN. */
ht_var ht_logsumexp_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
#define ht_logsumexp_axes(...) ht_logsumexp_axes_at(__VA_ARGS__, HT_HERE)
/* Squared distance from the mean, divided by the number of elements less correction,
 * which must be fewer; of equal numbers 0, with derivatives 0. */
ht_var ht_variance_axes_at(ht_var x, ht_axes axes, bool keep, int correction,
                           const char *site);
#define ht_variance_axes(...) ht_variance_axes_at(__VA_ARGS__, HT_HERE)
/* sqrt(sum(x^2)); no square leaves the range, however large or small x, nor in the
 * derivatives. Where it is 0, so are they. */
ht_var ht_norm_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
#define ht_norm_axes(...) ht_norm_axes_at(__VA_ARGS__, HT_HERE)
/* out[i] = x[0] + ... + x[i] along one axis. */
ht_var ht_cumsum_at(ht_var x, int axis, const char *site);
#define ht_cumsum(x, axis) ht_cumsum_at(x, axis, HT_HERE)
/* Index (i32) of the first largest element along the last axis; no gradient. */
HT_OP_1(argmax);
#define ht_argmax(x) ht_argmax_at(x, HT_HERE)
HT_OP_1(argmin);
#define ht_argmin(x) ht_argmin_at(x, HT_HERE)

/* Ops: movement (views wherever strides allow). */

/* Same elements in row-major order; one dimension may be -1. */
ht_var ht_reshape_at(ht_var x, ht_shape shape, const char *site);
#define ht_reshape(...) ht_reshape_at(__VA_ARGS__, HT_HERE)
/* Axis i of the result is axis axes.axis[i] of x. ht_transpose swaps the last two. */
ht_var ht_permute_at(ht_var x, ht_axes axes, const char *site);
#define ht_permute(...) ht_permute_at(__VA_ARGS__, HT_HERE)
HT_OP_1(transpose);
#define ht_transpose(x) ht_transpose_at(x, HT_HERE)
/* Repeats axes of size 1 and adds leading ones, by numpy's rule. */
ht_var ht_broadcast_at(ht_var x, ht_shape shape, const char *site);
#define ht_broadcast(...) ht_broadcast_at(__VA_ARGS__, HT_HERE)
/* count elements start, start+step, ... of one axis; step may be negative, not 0, and any
 * if count is below 2. */
ht_var ht_slice_at(ht_var x, int axis, int64_t start, int64_t count, int64_t step,
                   const char *site);
#define ht_slice(x, axis, start, count, step) \
    ht_slice_at(x, axis, start, count, step, HT_HERE)
/* before and after zeros around one axis. */
ht_var ht_pad_at(ht_var x, int axis, int64_t before, int64_t after, const char *site);
#define ht_pad(x, axis, before, after) ht_pad_at(x, axis, before, after, HT_HERE)
ht_var ht_concat_at(int n, const ht_var *x, int axis, const char *site);
#define ht_concat(...) ht_concat_at(__VA_ARGS__, HT_HERE)
/* Along a new axis, from -rank-1 to rank; flip turns one axis round. */
ht_var ht_stack_at(int n, const ht_var *x, int axis, const char *site);
#define ht_stack(...) ht_stack_at(__VA_ARGS__, HT_HERE)
ht_var ht_flip_at(ht_var x, int axis, const char *site);
#define ht_flip(x, axis) ht_flip_at(x, axis, HT_HERE)

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
/* Along the last axis. Where one class is nearly all, what is left of it - value, first
 * and second derivatives, of cross_entropy too - keeps its digits, be it ever so small. A
 * logit of -inf has probability 0; with +inf, NaN, or all -inf the row is NaN. */
HT_OP_1(softmax);
HT_OP_1(log_softmax);
#define ht_softmax(x)     ht_softmax_at(x, HT_HERE)
#define ht_log_softmax(x) ht_log_softmax_at(x, HT_HERE)
/* logits (n, classes), labels (n) i32 -> (n): -log softmax at the label, per row. Or
 * labels of the logits' type, a distribution p each row: -sum(p log softmax), with a
 * gradient to both; 0 log 0 = 0, with derivatives 0. */
HT_OP_2(cross_entropy);
#define ht_cross_entropy(logits, labels) ht_cross_entropy_at(logits, labels, HT_HERE)

/* Ops: images (n, c, h, w). Options by axis, h then w; sizes and strides at least 1. */

typedef struct ht_conv_options {
    int64_t stride[2], padding[2], dilation[2], groups;
} ht_conv_options;
/* weight (o, c/groups, kh, kw), zeros around: (n, o, yh, yw) with
 * yh = (h + 2 padding - dilation (kh - 1) - 1) / stride + 1. Not flipped, as usual. */
ht_var ht_conv2d_at(ht_var x, ht_var weight, ht_conv_options options, const char *site);
#define ht_conv2d(...) ht_conv2d_at(__VA_ARGS__, HT_HERE)
typedef struct ht_pool_options {
    int64_t kernel[2], stride[2], padding[2]; /* padding at most half the kernel */
} ht_pool_options;
/* Of each window the first largest, which takes all of the gradient; the mean, zeros of
 * the padding counted; the mean of each plane, (n, c). */
ht_var ht_max_pool2d_at(ht_var x, ht_pool_options options, const char *site);
ht_var ht_avg_pool2d_at(ht_var x, ht_pool_options options, const char *site);
HT_OP_1(global_avg_pool2d);
#define ht_max_pool2d(...)      ht_max_pool2d_at(__VA_ARGS__, HT_HERE)
#define ht_avg_pool2d(...)      ht_avg_pool2d_at(__VA_ARGS__, HT_HERE)
#define ht_global_avg_pool2d(x) ht_global_avg_pool2d_at(x, HT_HERE)
/* out[..., k] = x[..., index[..., k]]: gather in each row by itself. */
HT_OP_2(take_last);
#define ht_take_last(x, index) ht_take_last_at(x, index, HT_HERE)

/* Ops: normalisation. Rows to mean 0 and mean square 1: (x - mean)/sqrt(variance + eps),
 * by the variance with 1/n, then gain and shift, HT_ZERO for none; eps > 0. Equal numbers
 * give 0 exactly; squares may leave the range, x be up to 1e37 and 1e300. */

/* Along the last axis (Ba, Kiros & Hinton 2016); without the mean (Zhang & Sennrich
 * 2019). */
ht_var ht_layernorm_at(ht_var x, ht_var gain, ht_var shift, double eps, const char *site);
ht_var ht_rmsnorm_at(ht_var x, ht_var gain, double eps, const char *site);
/* x (n, channels, ...), gain and shift (channels): over groups of neighbouring channels
 * of one example (Wu & He 2018); over the batch, by channel (Ioffe & Szegedy 2015). */
ht_var ht_groupnorm_at(ht_var x, int64_t groups, ht_var gain, ht_var shift, double eps,
                       const char *site);
ht_var ht_batchnorm_at(ht_var x, ht_var gain, ht_var shift, double eps, const char *site);
/* A batch's mean and variance (1/n), each (channels): to be averaged by the caller, who
 * keeps them, for evaluation: (x - mean)/sqrt(variance + eps). */
void ht_batch_statistics_at(ht_var x, ht_var *mean, ht_var *variance, const char *site);
ht_var ht_batchnorm_given_at(ht_var x, ht_var mean, ht_var variance, double eps,
                             const char *site);
#define ht_layernorm(x, gain, shift, eps) ht_layernorm_at(x, gain, shift, eps, HT_HERE)
#define ht_rmsnorm(x, gain, eps)          ht_rmsnorm_at(x, gain, eps, HT_HERE)
#define ht_groupnorm(x, groups, gain, shift, eps) \
    ht_groupnorm_at(x, groups, gain, shift, eps, HT_HERE)
#define ht_batchnorm(x, gain, shift, eps) ht_batchnorm_at(x, gain, shift, eps, HT_HERE)
#define ht_batch_statistics(x, mean, variance) \
    ht_batch_statistics_at(x, mean, variance, HT_HERE)
#define ht_batchnorm_given(x, mean, variance, eps) \
    ht_batchnorm_given_at(x, mean, variance, eps, HT_HERE)

/* Ops: attention. */

/* x where column - row <= diagonal in the last two axes, else fill, whatever x is there
 * (its gradient 0). */
ht_var ht_tril_at(ht_var x, int diagonal, double fill, const char *site);
#define ht_tril(x, diagonal, fill) ht_tril_at(x, diagonal, fill, HT_HERE)
/* softmax(q k' / sqrt(d) + mask) v for q (..., t, d), k (..., s, d), v (..., s, e); mask
 * broadcasts to (..., t, s), HT_ZERO for none; causal: row i sees columns 0 .. i only. A
 * row must see something. Without a mask, scores stay in cache, in the gradient and its
 * derivatives too (not in third ones), and of causal ones half are left out.
 * Causal: what row i does not see, NaN and infinity included, reaches neither it nor its
 * derivatives, of any order, nor does row i reach that. Without a mask and to second
 * order a row whose cotangent is all 0 adds nothing to a gradient, whatever it sees; with
 * one, or in third derivatives, a row that sees NaN makes those of what it sees NaN. A
 * mask is added: one of -inf hides what is finite, and NaN stays NaN under it. */
ht_var ht_attention_at(ht_var q, ht_var k, ht_var v, ht_var mask, bool causal,
                       const char *site);
#define ht_attention(q, k, v, mask, causal) \
    ht_attention_at(q, k, v, mask, causal, HT_HERE)

/* Ops: random numbers of the context's seed, as it is when the op is appended, a stream
 * of the caller's choice (ht_stream) and a step, i32 and 0-d: the same wherever, and
 * however often, they are computed. No gradient. Ops of one stream and step are equal.
 * Uniform: 0 <= x < 1, f32 too, so that log(1 - x) is finite; x is 0 once in 2^53 draws.
 * Normal: |x| < 8.6. */

ht_var ht_uniform_at(ht_var step, ht_type type, uint64_t stream, const char *site);
ht_var ht_normal_at(ht_var step, ht_type type, uint64_t stream, const char *site);
#define ht_uniform(...) ht_uniform_at(__VA_ARGS__, HT_HERE)
#define ht_normal(...)  ht_normal_at(__VA_ARGS__, HT_HERE)
/* 0 with probability rate, else 1/(1 - rate); dropout is x times that (Srivastava et al.
 * 2014). 0 <= rate < 1; rate 0 is x itself. */
ht_var ht_dropout_mask_at(ht_var step, ht_type type, double rate, uint64_t stream,
                          const char *site);
ht_var ht_dropout_at(ht_var x, double rate, uint64_t stream, ht_var step,
                     const char *site);
#define ht_dropout_mask(...)              ht_dropout_mask_at(__VA_ARGS__, HT_HERE)
#define ht_dropout(x, rate, stream, step) ht_dropout_at(x, rate, stream, step, HT_HERE)

#undef HT_OP_1
#undef HT_OP_2
#ifdef __cplusplus
}
#endif
#endif
