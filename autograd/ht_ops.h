/* SPDX-License-Identifier: MIT */
/* ht_ops.h: the ops, included by ht_autograd.h. Each is a macro over its _at function,
 * which takes the caller's file and line: ht_exp(x) is ht_exp_at(x, HT_HERE). Where a
 * number is taken for a variable, and what happens where it is not: ht_autograd.h,
 * "Numbers". Read next: autograd/README.md, "Add an op".
 *
 * Beside each op stand y, the derivative y' where y does not say it, and what is awkward.
 * Ops take f32 or f64, inputs of one op the same, and are differentiable to any order;
 * other dtypes and ops without gradient are named. What does not fit is HT_ERROR_SHAPE,
 * _DTYPE or _ARGUMENT, with the op, all types and the caller's line, and y is poisoned:
 * ops on it do nothing. Empty arrays are fine but where a row or window must have an
 * element. Views cost nothing; others cost a pass over their elements, in a program one
 * pass for many elementwise ones; products say their flops. */
#ifndef HT_OPS_H
#define HT_OPS_H

#include "ht_autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Ops: elementwise. Shapes broadcast as numpy's: counted from the last axis, sizes are
 * equal or one is 1. A value and its first two derivatives are right to a few units in
 * their own last place, however tiny, where x saturates too; at infinity they are the
 * limit. Within a few powers of ten of the range's ends what comes between may leave it
 * (a^b in pow's mixed derivative), and then so does the result. What loses more says so,
 * and where terms of opposite sign cancel it is the larger that has the digits.
 *
 * NaN in is NaN out, but for comparisons, which are 0, and x^0 and 1^y, which are 1;
 * derivatives that select by x (relu, abs, maximum ...) are 0 there, leaky_relu's its
 * slope, clamp's 1 to x. Derivatives at kinks are by decree. In reverse mode 0 times
 * infinity is NaN: an element that is not chosen (by where, relu, maximum, clamp, slice,
 * gather, tril ...) must not stand where what came before has an infinite slope; choose
 * first.
 *
 * pow: at a = 0 slopes are their limit where finite, and d/db is 0 wherever a <= 0. A
 * variable b that b - 1 rounds costs d/da |ln a| units in the last place; u of gelu_tanh
 * costs its second derivative 2 |u|. */
#define HT_OP_1(name) ht_var ht_##name##_at(ht_var x, const char *site)
#define HT_OP_2(name) ht_var ht_##name##_at(ht_var a, ht_var b, const char *site)
HT_OP_1(neg);        /* -x */
HT_OP_1(abs);        /* |x|; y' = sign x, 0 at 0 */
HT_OP_1(square);     /* x^2; of i32 too */
HT_OP_1(sqrt);       /* sqrt x; y' = 1/(2 y), but 0 at 0 (for Adam's sake); NaN below */
HT_OP_1(rsqrt);      /* 1 / sqrt x; inf with slope -inf at 0, NaN below */
HT_OP_1(reciprocal); /* 1 / x; inf with slope -inf at 0, -inf at -0 */
HT_OP_1(exp);        /* e^x; subnormal down to 0; inf above 88.7 (f32), 709.7 (f64) */
HT_OP_1(expm1);      /* e^x - 1, not cancelling around 0; y' = e^x where y is -1 too */
HT_OP_1(log);        /* ln x; -inf with slope inf at 0; NaN below, where y' stays 1/x */
HT_OP_1(log1p);      /* ln(1 + x), not cancelling around 0; at -1 as log at 0 */
HT_OP_1(sin);        /* sin x of any finite x; NaN at infinity, as is the next */
HT_OP_1(cos);        /* cos x; y' = -sin x */
HT_OP_1(tanh);       /* tanh x; y' by exp(-2 |x|), not 1 - y^2: 1.7e-17 at 20 */
HT_OP_1(sigmoid);    /* 1/(1 + e^-x); so here: y' is 4.2e-18 at 40 and at -40 */
HT_OP_1(softplus);   /* ln(1 + e^x), finite where e^x is not; y' = sigmoid x */
HT_OP_1(erf);        /* 2/sqrt(pi) int_0^x e^(-t^2) dt; y' by e^(-x^2), x^2 not rounded */
HT_OP_1(relu);       /* max(x, 0); y' = 1 where x > 0, 0 at 0 */
HT_OP_1(silu);      /* x sigmoid x; 0 at -inf, as the next two (Hendrycks, Gimpel 2016) */
HT_OP_1(gelu);      /* x (1 + erf(x/sqrt 2))/2, from the tail on x's side */
HT_OP_1(gelu_tanh); /* x (1 + tanh u)/2, u = sqrt(2/pi) (x + 0.044715 x^3) */
/* x itself, with derivative 0 by decree: no Hessian is symmetric across it. Any dtype. */
HT_OP_1(stop_gradient);
/* Of two inputs; the first five and the comparisons take i32 too, which wraps round and
 * has no gradient. */
HT_OP_2(add);           /* a + b */
HT_OP_2(sub);           /* a - b */
HT_OP_2(mul);           /* a b; 0 inf = NaN */
HT_OP_2(maximum);       /* max(a, b); of two that are equal each has half the slope */
HT_OP_2(minimum);       /* min(a, b); so here */
HT_OP_2(div);           /* a / b; slopes 1/b and -(a/b)/b, without b^2; 0/0 = NaN */
HT_OP_2(pow);           /* a^b as C's pow; slopes b a^(b-1) and a^b ln a, above */
HT_OP_2(equal);         /* a == b as u8, 1 where true; no gradient, as the next two */
HT_OP_2(greater);       /* a > b; u8 too, as all three */
HT_OP_2(greater_equal); /* a >= b */
#define ht_neg(x)              ht_neg_at(x, HT_HERE)
#define ht_abs(x)              ht_abs_at(x, HT_HERE)
#define ht_square(x)           ht_square_at(x, HT_HERE)
#define ht_sqrt(x)             ht_sqrt_at(x, HT_HERE)
#define ht_rsqrt(x)            ht_rsqrt_at(x, HT_HERE)
#define ht_reciprocal(x)       ht_reciprocal_at(x, HT_HERE)
#define ht_exp(x)              ht_exp_at(x, HT_HERE)
#define ht_expm1(x)            ht_expm1_at(x, HT_HERE)
#define ht_log(x)              ht_log_at(x, HT_HERE)
#define ht_log1p(x)            ht_log1p_at(x, HT_HERE)
#define ht_sin(x)              ht_sin_at(x, HT_HERE)
#define ht_cos(x)              ht_cos_at(x, HT_HERE)
#define ht_tanh(x)             ht_tanh_at(x, HT_HERE)
#define ht_sigmoid(x)          ht_sigmoid_at(x, HT_HERE)
#define ht_softplus(x)         ht_softplus_at(x, HT_HERE)
#define ht_erf(x)              ht_erf_at(x, HT_HERE)
#define ht_relu(x)             ht_relu_at(x, HT_HERE)
#define ht_silu(x)             ht_silu_at(x, HT_HERE)
#define ht_gelu(x)             ht_gelu_at(x, HT_HERE)
#define ht_gelu_tanh(x)        ht_gelu_tanh_at(x, HT_HERE)
#define ht_stop_gradient(x)    ht_stop_gradient_at(x, HT_HERE)
#define ht_add(a, b)           ht_add_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_sub(a, b)           ht_sub_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_mul(a, b)           ht_mul_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_maximum(a, b)       ht_maximum_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_minimum(a, b)       ht_minimum_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_div(a, b)           ht_div_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_pow(a, b)           ht_pow_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_equal(a, b)         ht_equal_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_greater(a, b)       ht_greater_at(HT_VAR(a), HT_VAR(b), HT_HERE)
#define ht_greater_equal(a, b) ht_greater_equal_at(HT_VAR(a), HT_VAR(b), HT_HERE)
/* condition (u8) ? a : b, elementwise; a and b of any one dtype. Forward, what is not
 * taken does not count. In reverse its cotangent is 0, and 0 times a slope that is
 * infinite or NaN is NaN: a branch whose slope may be so chooses its input first, as in
 * ht_where(p, ht_sqrt(ht_where(p, x, 1)), x) with p = ht_greater(x, 0). */
ht_var ht_where_at(ht_var condition, ht_var a, ht_var b, const char *site);
#define ht_where(condition, a, b) ht_where_at(condition, HT_VAR(a), HT_VAR(b), HT_HERE)
/* x converted, as ht_tensor_copy does: to the nearest float (past the largest: inf),
 * towards 0 into i32 and u8, where NaN and what does not fit are HT_ERROR_ARGUMENT when
 * run. Differentiable between f32 and f64; else no gradient. */
ht_var ht_cast_at(ht_var x, ht_dtype dtype, const char *site);
#define ht_cast(x, dtype) ht_cast_at(x, dtype, HT_HERE)
/* x where x > 0, else slope x; at 0 y' = slope, of any sign but finite in x's dtype; with
 * slope 0 it is relu (Maas et al. 2013). */
ht_var ht_leaky_relu_at(ht_var x, double slope, const char *site);
#define ht_leaky_relu(x, slope) ht_leaky_relu_at(x, slope, HT_HERE)
/* min(max(x, low), high), each bound a number or a variable: where low is above high that
 * is high, but two numbers so are refused. y' is 1 to x at the ends too, to a bound where
 * that is the value. NaN in x or a bound is NaN. */
ht_var ht_clamp_at(ht_var x, ht_var low, ht_var high, const char *site);
#define ht_clamp(x, low, high) ht_clamp_at(x, HT_VAR(low), HT_VAR(high), HT_HERE)

/* Ops: reductions. NaN wins everywhere. */

/* Axes from -rank to rank-1, each once; any other, or n below 0 or above 6, is
 * HT_ERROR_ARGUMENT. So is HT_ERROR_SHAPE a shape of such a rank or a size below 0. */
typedef struct ht_axes {
    int n;
    int axis[HT_MAX_RANK];
} ht_axes;
/* Written in place, HT_AXES(0, -1): macros that take a struct are variadic for it. */
#define HT_AXES(...) HT_COUNTED(ht_axes, int, __VA_ARGS__)
/* Of all elements, 0-d; f32 in short sums that f64 adds up. A total may leave the dtype's
 * range on its way and come back. */
HT_OP_1(sum);  /* x_1 + ... + x_n; 0 of nothing */
HT_OP_1(mean); /* sum / n; of equal numbers that number, NaN of nothing */
#define ht_sum(x)  ht_sum_at(x, HT_HERE)
#define ht_mean(x) ht_mean_at(x, HT_HERE)
/* The sum over some axes; here and below they stay, with size 1, if keep; axes {0} are
 * none. */
ht_var ht_sum_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
/* The mean of each group, as ht_mean. */
ht_var ht_mean_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
/* The largest; n that tie have 1/n of the slope each. Of nothing it is HT_ERROR_SHAPE. */
ht_var ht_max_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
/* The smallest, -max(-x). */
ht_var ht_min_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
/* ln sum e^x without overflow, at least one element each; y' = softmax x. Infinite where
 * the largest x is, y' then NaN. */
ht_var ht_logsumexp_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
/* sum (x - mean)^2 / (n - correction), 0 <= correction < n (1: unbiased);
 * y' = 2 (x - mean)/(n - correction). Of equal numbers 0, with derivatives 0. */
ht_var ht_variance_axes_at(ht_var x, ht_axes axes, bool keep, int correction,
                           const char *site);
/* sqrt(sum x^2); y' = x / y, and 0 with all derivatives where y = 0. No square leaves the
 * range, however large or small x, nor in the derivatives. Infinite if an x is; y' is
 * then NaN by such x and 0 by finite ones. */
ht_var ht_norm_axes_at(ht_var x, ht_axes axes, bool keep, const char *site);
#define ht_sum_axes(...)       ht_sum_axes_at(__VA_ARGS__, HT_HERE)
#define ht_mean_axes(...)      ht_mean_axes_at(__VA_ARGS__, HT_HERE)
#define ht_max_axes(...)       ht_max_axes_at(__VA_ARGS__, HT_HERE)
#define ht_min_axes(...)       ht_min_axes_at(__VA_ARGS__, HT_HERE)
#define ht_logsumexp_axes(...) ht_logsumexp_axes_at(__VA_ARGS__, HT_HERE)
#define ht_variance_axes(...)  ht_variance_axes_at(__VA_ARGS__, HT_HERE)
#define ht_norm_axes(...)      ht_norm_axes_at(__VA_ARGS__, HT_HERE)
/* y_i = x_0 + ... + x_i along one axis, added in f64; its transpose is the same from the
 * other end. */
ht_var ht_cumsum_at(ht_var x, int axis, const char *site);
#define ht_cumsum(x, axis) ht_cumsum_at(x, axis, HT_HERE)
/* Index (i32) along the last axis, of at least one element; no gradient. */
HT_OP_1(argmax); /* where the first largest is, NaN above all */
HT_OP_1(argmin); /* where the first smallest is, NaN below all */
#define ht_argmax(x) ht_argmax_at(x, HT_HERE)
#define ht_argmin(x) ht_argmin_at(x, HT_HERE)

/* Ops: movement. Of any dtype, and exact: views where strides allow, but for pad, concat
 * and stack. All are linear; the derivative is the way back. */

/* Same elements in row-major order; one size may be -1, what is left for it. */
ht_var ht_reshape_at(ht_var x, ht_shape shape, const char *site);
#define ht_reshape(...) ht_reshape_at(__VA_ARGS__, HT_HERE)
/* Axis i of y is axis axes.axis[i] of x: all axes, each once. */
ht_var ht_permute_at(ht_var x, ht_axes axes, const char *site);
#define ht_permute(...) ht_permute_at(__VA_ARGS__, HT_HERE)
HT_OP_1(transpose); /* the last two axes exchanged; a view, in a product too */
#define ht_transpose(x) ht_transpose_at(x, HT_HERE)
/* Repeats axes of size 1 and adds leading ones, by numpy's rule. */
ht_var ht_broadcast_at(ht_var x, ht_shape shape, const char *site);
#define ht_broadcast(...) ht_broadcast_at(__VA_ARGS__, HT_HERE)
/* y_i = x_(start + i step), i < count, along one axis. step may be negative, not 0, and
 * any if count is below 2; an index outside is HT_ERROR_ARGUMENT, none is cut off. */
ht_var ht_slice_at(ht_var x, int axis, int64_t start, int64_t count, int64_t step,
                   const char *site);
#define ht_slice(x, axis, start, count, step) \
    ht_slice_at(x, axis, start, count, step, HT_HERE)
/* So many zeros before and after along one axis, neither below 0. */
ht_var ht_pad_at(ht_var x, int axis, int64_t before, int64_t after, const char *site);
#define ht_pad(x, axis, before, after) ht_pad_at(x, axis, before, after, HT_HERE)
/* x[0], x[1], ... one after another along an axis, in which alone they may differ. */
ht_var ht_concat_at(int n, const ht_var *x, int axis, const char *site);
#define ht_concat(...) ht_concat_at(__VA_ARGS__, HT_HERE)
/* n > 0 of one type along a new axis, from -rank-1 to rank. */
ht_var ht_stack_at(int n, const ht_var *x, int axis, const char *site);
#define ht_stack(...) ht_stack_at(__VA_ARGS__, HT_HERE)
/* y_i = x_(n-1-i) along one axis. */
ht_var ht_flip_at(ht_var x, int axis, const char *site);
#define ht_flip(x, axis) ht_flip_at(x, axis, HT_HERE)

/* Ops: indices. i32 from 0 up; one outside is HT_ERROR_ARGUMENT when run. */

/* x's rows by index: y[i...] = x[index[i...]], index's shape, then x's without its first
 * axis. x of any dtype. Its transpose is the next from zeros. */
HT_OP_2(gather);
#define ht_gather(x, index) ht_gather_at(x, index, HT_HERE)
/* base with base[index[i...]] += updates[i...], in order of i: equal indices add up. */
ht_var ht_scatter_add_at(ht_var base, ht_var index, ht_var updates, const char *site);
#define ht_scatter_add(base, index, updates) \
    ht_scatter_add_at(base, index, updates, HT_HERE)
/* 1 at the label, else 0: labels' shape, then classes, in f32 or f64; no gradient. */
ht_var ht_one_hot_at(ht_var labels, int64_t classes, ht_dtype dtype, const char *site);
#define ht_one_hot(labels, classes, dtype) ht_one_hot_at(labels, classes, dtype, HT_HERE)
/* y[..., k] = x[..., index[..., k]]: gather in each row by itself; leading axes equal. */
HT_OP_2(take_last);
#define ht_take_last(x, index) ht_take_last_at(x, index, HT_HERE)

/* Ops: products and rows. */

/* (..., m, k) . (..., k, n) -> (..., m, n); leading axes broadcast; k = 0 gives zeros.
 * Gradients v b' and a' v, a transpose never a copy. 2 m k n flops a matrix (in
 * blocks: Goto & van de Geijn 2008). */
HT_OP_2(matmul);
#define ht_matmul(a, b) ht_matmul_at(a, b, HT_HERE)
/* Along the last axis, of at least one element. Where one class is nearly all, what is
 * left of it - value, first and second derivatives, of cross_entropy too - keeps its
 * digits, be it ever so small. A logit of -inf has probability 0; with +inf, NaN, or all
 * -inf the row is NaN. */
HT_OP_1(softmax);     /* p = e^x / sum e^x;   y' v = p (v - sum p v) */
HT_OP_1(log_softmax); /* x - ln sum e^x;      y' v = v - sum p v */
#define ht_softmax(x)     ht_softmax_at(x, HT_HERE)
#define ht_log_softmax(x) ht_log_softmax_at(x, HT_HERE)
/* logits (n, classes), labels (n) i32 -> (n): -log softmax at the label, per row, with
 * gradient softmax - one_hot; a label outside is HT_ERROR_ARGUMENT when run. Or labels of
 * the logits' type, a distribution p each row: -sum p log softmax, with a gradient to
 * both; 0 log 0 = 0, with derivatives 0. */
HT_OP_2(cross_entropy);
#define ht_cross_entropy(logits, labels) ht_cross_entropy_at(logits, labels, HT_HERE)

/* Ops: projections, to the nearest point of a set, and proximal maps, by rows, the last
 * axis. At kinks the derivative is that of the side that is inside: a row that lies in
 * the set, to rounding, stays, with slope 1, and what stands at an end moves; what is
 * shrunk to 0 is flat, at the end too. radius and t are numbers or variables of at least
 * 0, () or (..., 1), one a row; both are differentiable. Where such a variable is below 0
 * the row is NaN; so is a row with NaN or infinity, but for box and soft_threshold, and
 * -inf where that makes 0. */

/* low <= y <= high: ht_clamp; with 0 and INFINITY what is not negative. */
ht_var ht_project_box_at(ht_var x, ht_var low, ht_var high, const char *site);
#define HT_OP_BOUND(name) ht_var ht_##name##_at(ht_var x, ht_var bound, const char *site)
/* y >= 0, sum y = radius: y = max(x - tau, 0); of the m with x >= tau each dy is dx less
 * the mean of their dx, and radius moves each by 1/m. n log n, as the next two
 * (Held, Wolfe & Crowder 1974). */
HT_OP_BOUND(project_simplex);
/* 0 <= y <= 1, sum y <= radius: min(max(x - tau, 0), 1), dy as above; tau = 0 where that
 * is inside, and then dy = dx where 0 <= x <= 1. */
HT_OP_BOUND(project_capped);
HT_OP_BOUND(project_l1); /* sum |y| <= radius: |y| is so made of |x|, with x's signs */
HT_OP_BOUND(project_l2); /* |y| <= radius: x radius/|x| outside, |x| being the norm */
/* x - t above t, x + t below -t, else 0; y' by t is -1, 1, 0. t broadcasts with x. */
HT_OP_BOUND(soft_threshold);
HT_OP_BOUND(group_soft_threshold); /* x max(|x| - t, 0)/|x| by the norm, 0 at 0 */
#undef HT_OP_BOUND
#define ht_project_box(x, low, high) \
    ht_project_box_at(x, HT_VAR(low), HT_VAR(high), HT_HERE)
#define ht_project_simplex(x, radius) ht_project_simplex_at(x, HT_VAR(radius), HT_HERE)
#define ht_project_capped(x, radius)  ht_project_capped_at(x, HT_VAR(radius), HT_HERE)
#define ht_project_l1(x, radius)      ht_project_l1_at(x, HT_VAR(radius), HT_HERE)
#define ht_project_l2(x, radius)      ht_project_l2_at(x, HT_VAR(radius), HT_HERE)
#define ht_soft_threshold(x, t)       ht_soft_threshold_at(x, HT_VAR(t), HT_HERE)
#define ht_group_soft_threshold(x, t) ht_group_soft_threshold_at(x, HT_VAR(t), HT_HERE)

/* Ops: images (n, c, h, w). Options by axis, h then w; sizes and strides at least 1. */

/* groups divides c and o; padding >= 0 zeros on each side. 0 is the usual: stride,
 * dilation and groups 1, so that {0} is a plain convolution. */
typedef struct ht_conv_options {
    int64_t stride[2], padding[2], dilation[2], groups;
} ht_conv_options;
/* weight (o, c/groups, kh, kw) -> (n, o, yh, yw), not flipped, as usual:
 *   y[n,o,i,j] = sum over c,p,q of weight[o,c,p,q] x[n, c, i stride - padding +
 *                p dilation, j stride - padding + q dilation],
 *   yh = floor((h + 2 padding - dilation (kh - 1) - 1) / stride) + 1.
 * A kernel that does not fit is refused. 2 c/groups kh kw flops an element of y; in f32
 * 3 x 3 of many channels, at stride 1, takes 4/9 of the products (Lavin & Gray 2016). */
ht_var ht_conv2d_at(ht_var x, ht_var weight, ht_conv_options options, const char *site);
#define ht_conv2d(...) ht_conv2d_at(__VA_ARGS__, HT_HERE)
/* Windows (n, c, yh, yw), yh = floor((h + 2 padding - kernel) / stride) + 1. */
typedef struct ht_pool_options {
    int64_t kernel[2], stride[2]; /* stride 0: the kernel, windows side by side */
    int64_t padding[2];           /* at most half the kernel */
} ht_pool_options;
/* The first largest of each window, which takes all of the gradient; NaN is largest, and
 * padding never is. */
ht_var ht_max_pool2d_at(ht_var x, ht_pool_options options, const char *site);
/* sum / (kh kw) of each window: zeros of the padding count. */
ht_var ht_avg_pool2d_at(ht_var x, ht_pool_options options, const char *site);
HT_OP_1(global_avg_pool2d); /* the mean of each plane, (n, c) */
#define ht_max_pool2d(...)      ht_max_pool2d_at(__VA_ARGS__, HT_HERE)
#define ht_avg_pool2d(...)      ht_avg_pool2d_at(__VA_ARGS__, HT_HERE)
#define ht_global_avg_pool2d(x) ht_global_avg_pool2d_at(x, HT_HERE)

/* Ops: normalisation. y = (x - mean)/sqrt(variance + eps), by the variance with 1/n over
 * the n >= 1 elements of a row, then y gain + shift, HT_ZERO for none; eps > 0. With
 * s = 1/sqrt(variance + eps): y' v = s (v - mean v - y mean(y v)). Equal numbers give 0
 * exactly; squares may leave the range, x be up to 1e37 and 1e300. */

/* y of rows, the last axis; gain and shift broadcast (Ba, Kiros & Hinton 2016). */
ht_var ht_layernorm_at(ht_var x, ht_var gain, ht_var shift, double eps, const char *site);
/* x / sqrt(mean x^2 + eps), without the mean (Zhang & Sennrich 2019). */
ht_var ht_rmsnorm_at(ht_var x, ht_var gain, double eps, const char *site);
/* x (n, channels, ...), gain and shift (channels): a row is a group of neighbouring
 * channels of one example; groups divides channels (Wu & He 2018). */
ht_var ht_groupnorm_at(ht_var x, int64_t groups, ht_var gain, ht_var shift, double eps,
                       const char *site);
/* y of the same x; a row is a channel of the whole batch (Ioffe & Szegedy 2015). */
ht_var ht_batchnorm_at(ht_var x, ht_var gain, ht_var shift, double eps, const char *site);
/* A batch's mean and variance (1/n), each (channels), both differentiable: to be averaged
 * by the caller, who keeps them, for evaluation. */
void ht_batch_statistics_at(ht_var x, ht_var *mean, ht_var *variance, const char *site);
/* (x - mean)/sqrt(variance + eps) by channel, of such two, differentiable by all three;
 * eps is not 0 in x's dtype. */
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
/* softmax(q k' / sqrt(d) + mask) v for q (..., t, d), k (..., s, d), v (..., s, e), s and
 * d at least 1, leading axes broadcasting -> (..., t, e) (Vaswani et al. 2017); mask
 * broadcasts to (..., t, s), HT_ZERO for none; causal: row i sees columns 0 .. i only. A
 * row must see something, else it is NaN. Without a mask, scores stay in cache, in the
 * gradient and its derivatives too (not in third ones), and of causal ones half are left
 * out; with one they are made. 2 t s (d + e) flops a matrix.
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
 * type is f32 or f64, below 2^32 elements (Philox: Salmon et al. 2011). */

/* Uniform, 0 <= x < 1, f32 too, so that log(1 - x) is finite; 0 once in 2^53 draws. */
ht_var ht_uniform_at(ht_var step, ht_type type, uint64_t stream, const char *site);
/* Normal, of mean 0 and deviation 1, |x| < 8.6 (Box & Muller 1958). */
ht_var ht_normal_at(ht_var step, ht_type type, uint64_t stream, const char *site);
#define ht_uniform(...) ht_uniform_at(__VA_ARGS__, HT_HERE)
#define ht_normal(...)  ht_normal_at(__VA_ARGS__, HT_HERE)
/* 0 with probability rate, else 1/(1 - rate); 0 <= rate < 1. */
ht_var ht_dropout_mask_at(ht_var step, ht_type type, double rate, uint64_t stream,
                          const char *site);
/* x times that mask, whose 0 makes an infinite x NaN; rate 0 is x itself (Srivastava et
 * al. 2014). */
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
