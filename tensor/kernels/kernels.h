/* SPDX-License-Identifier: MIT */
/* kernels.h: the value kernels over strided arrays; every op's `run` is one of these
 * calls.
 *
 * Two levels. *Loops* (hti_kernels) are plain C over one run of elements, compiled once
 * per instruction set and picked with the context. *Array calls* (hti_run_*) walk shapes
 * and strides, split work into fixed chunks over threads, and call the loops. Outputs are
 * contiguous unless said otherwise; inputs have any strides (0 repeats). Zero-size arrays
 * are fine everywhere. Same inputs, same bits: for any thread count and, matrix products
 * apart, any instruction set (no contraction, no reassociation; sums run over fixed lanes
 * and chunks in order).
 * Read next: loops.h (the loops), elementwise.c, reduce.c, rows.c, matmul.c. */
#ifndef HTI_KERNELS_H
#define HTI_KERNELS_H

#include "tensor_internal.h"

/* The functions of elementwise.def, each list an enum. */
typedef enum hti_unary {
#define HTI_UNARY(name, dtypes, formula) HTI_UNARY_##name,
#include "elementwise.def"
    HTI_N_UNARY
} hti_unary;
typedef enum hti_binary {
#define HTI_BINARY(name, dtypes, formula) HTI_BINARY_##name,
#include "elementwise.def"
    HTI_N_BINARY
} hti_binary;
typedef enum hti_compare {
#define HTI_COMPARE(name, dtypes, formula) HTI_COMPARE_##name,
#include "elementwise.def"
    HTI_N_COMPARE
} hti_compare;
typedef enum hti_tree {
#define HTI_TREE(name, pattern, formula, p, q, r, s) HTI_TREE_##name,
#include "elementwise.def"
    HTI_N_TREE
} hti_tree;
enum { HTI_TREE_INPUTS = 6, HTI_TREE_SETS = 4, HTI_ELEMENTWISE_INPUTS = 4 };
typedef struct hti_tree_row {
    const char *pattern;
    uint8_t numbers[HTI_TREE_SETS];
} hti_tree_row;
extern const hti_tree_row hti_trees[HTI_N_TREE];

typedef enum hti_reduce {
    HTI_SUM,
    HTI_MAX,
    HTI_SUM_AGAIN, /* a loop only: f32 by f64 blocks, f64 times HTI_SMALL */
    HTI_MEAN,      /* the loop sums in f64; this and the rest: hti_run_moment */
    HTI_N_REDUCE,
    HTI_VARIANCE = HTI_N_REDUCE,
    HTI_NORM,
    HTI_SCALED_NORM /* times what hti_norm_range says */
} hti_reduce;

typedef enum hti_loop_kind {
    HTI_LOOP_NONE,
    HTI_LOOP_UNARY,
    HTI_LOOP_BINARY,
    HTI_LOOP_COMPARE,
    HTI_LOOP_WHERE,
    HTI_LOOP_CONVERT,
    HTI_LOOP_TREE,
    HTI_LOOP_SUM /* fused only, HTI_SUM or, of f32, HTI_MEAN of all: `out` counts */
} hti_loop_kind;
/* out = f(in), one of those below: what they all come down to. Operands broadcast to
 * out's shape; their dtype is one, but for a condition's. */
void hti_run_elementwise(ht_context *ctx, hti_loop_kind kind, int function,
                         const ht_array *out, int n_in, const ht_array *const *in);
/* out = f(a). Floats; HTI_UNARY_neg and _abs also i32. a of any strides.
 * out may be the very memory of a if both are contiguous; so for binary and where. */
void hti_run_unary(ht_context *ctx, hti_unary f, ht_array out, ht_array a);
/* out = f(a, b). Floats; +, -, *, max, min also i32. */
void hti_run_binary(ht_context *ctx, hti_binary f, ht_array out, ht_array a, ht_array b);
/* out (u8) = 1 where the relation holds. a, b of one dtype. */
void hti_run_compare(ht_context *ctx, hti_compare f, ht_array out, ht_array a,
                     ht_array b);
/* out = condition (u8) ? a : b. Any dtype. */
void hti_run_where(ht_context *ctx, ht_array out, ht_array condition, ht_array a,
                   ht_array b);
/* out = a converted, towards zero for i32/u8; same dtype: a plain copy. Here, and only
 * here, out may have any strides that do not repeat. */
void hti_run_copy(ht_context *ctx, ht_array out, ht_array a);
/* out = value, converted. */
void hti_run_fill(ht_context *ctx, ht_array out, double value);

/* Several of the above over tiles that stay in the nearest cache. A slot is an operand
 * (outputs first) or, past them, what only later steps see. A step may write over a slot
 * it reads. */
enum {
    HTI_FUSED_STEPS = 32,
    HTI_FUSED_OPERANDS = 16,
    HTI_FUSED_SLOTS = HTI_FUSED_OPERANDS + HTI_FUSED_STEPS,
    HTI_FUSE_LEAST = 64 /* fewer elements cost what the calls cost, fused or not */
};
typedef struct hti_fused_step {
    uint8_t kind, function;                 /* an hti_loop_kind; an hti_unary, ... */
    uint8_t from, to;                       /* dtypes: of the last input, of the output */
    uint8_t n_in, in[HTI_TREE_INPUTS], out; /* slots */
} hti_fused_step;
typedef struct hti_fused {
    int n_steps, n_outputs, n_operands, n_sums;
    hti_fused_step step[HTI_FUSED_STEPS];
} hti_fused;
/* out[i] = f(in[0][i], in[1][i], ...), i < n; out may be one of the inputs. */
typedef void (*hti_loop)(int64_t n, void *out, const void *const *in);
/* The loop that is all of a step, in one call: where its operands, out first, are
 * contiguous, of one size and too small for a second thread. NULL where they are not. */
hti_loop hti_whole_loop(const ht_context *ctx, const hti_fused_step *step, int operands,
                        const ht_array *const *operand);
/* Runs the steps over arrays of one shape. operand lists n_outputs of them, contiguous,
 * to write, then those to read, of any strides; then, of one element each, n_sums totals
 * to write. For y = a * b and s = sum(y): {y, a, b, s}. With totals, what is read is
 * contiguous or repeats one number. An output may be the very memory of a contiguous
 * input that no later step reads. bad, if not NULL, becomes the first step whose result
 * is not finite, n_steps if all are; all then runs on one thread. */
void hti_run_fused(ht_context *ctx, const hti_fused *fused,
                   const ht_array *const *operand, int *bad);

/* Reduces the axes whose bit is set in `axes` (bit i: axis i); out has a's shape with
 * those axes of size 1. Floats; sum also i32. f32 sums keep partial sums short and
 * combine them in f64. Max of nothing is -inf; NaN wins. */
void hti_run_reduce(ht_context *ctx, hti_reduce f, ht_array out, ht_array a,
                    unsigned axes);
/* The same for the mean, of equal numbers that number; the squared distance from it
 * divided by `divisor`; the root of the sum of squares. Floats, in f64, in range wherever
 * the result is. */
void hti_run_moment(ht_context *ctx, hti_reduce f, ht_array out, ht_array a,
                    unsigned axes, double divisor);
/* A norm past `most` or below `least` may be infinite or short of digits; multiplied by
 * `down` or `up`, powers of two, it is fit to divide by. */
typedef struct hti_norm_range {
    double least, most, up, down;
} hti_norm_range;
hti_norm_range hti_norm_range_of(ht_dtype dtype);
/* out = sums of a up to and with each place along one axis, from its end if `backward`.
 * Floats, added in f64. out is not a. */
void hti_run_cumsum(ht_context *ctx, ht_array out, ht_array a, int axis, bool backward);
/* out (i32, a's shape without the last axis) = index of the first largest element. */
void hti_run_argmax(ht_context *ctx, ht_array out, ht_array a);

/* Rows are the last axis. a contiguous or not.
 * softmax: exp(a - max) / sum; log_softmax: a - max - log(sum exp(a - max)). */
void hti_run_softmax(ht_context *ctx, ht_array out, ht_array a);
void hti_run_log_softmax(ht_context *ctx, ht_array out, ht_array a);
/* out (a's shape without the last axis) = max + log(sum exp(a - max)); an infinite max as
 * it is. */
void hti_run_logsumexp(ht_context *ctx, ht_array out, ht_array a);
/* out (n) = -log_softmax(a (n, classes))[i, labels[i]]. labels i32, checked. Returns the
 * first row whose label lies outside 0 .. classes-1, or -1. */
int64_t hti_run_cross_entropy(ht_context *ctx, ht_array out, ht_array a, ht_array labels);
/* out (a's shape) = softmax - 1 at the label, the gradient of that; else as above. */
int64_t hti_run_cross_entropy_slope(ht_context *ctx, ht_array out, ht_array a,
                                    ht_array labels);
/* out, a derivative of softmax or log-softmax of rows in[0], by its name in
 * loops_slope.h. in: 2 arrays of one shape, of a bend 3. Floats. out is none of them. */
typedef enum hti_slope {
    HTI_SLOPE_SLOPE,
    HTI_SLOPE_BEND,
    HTI_SLOPE_REST,
    HTI_SLOPE_BACK,
    HTI_N_SLOPE
} hti_slope;
void hti_run_slope(ht_context *ctx, hti_slope kind, ht_array out,
                   const ht_array *const *in);
/* out (labels' shape + classes) = 1 at the label, else 0. Returns as above (flat index).
 */
int64_t hti_run_one_hot(ht_context *ctx, ht_array out, ht_array labels);

/* out = (a - mean) s by rows, or a s if not centred; s = 1/sqrt(mean square + eps), of
 * what is left of a. */
void hti_run_normalize(ht_context *ctx, ht_array out, ht_array a, double eps,
                       bool centred);
/* out = the derivative of the first at in[0] along in[1] (of in[0]'s shape), which is its
 * own transpose; and the derivative of that by in[0] along in[2], which is so too. */
void hti_run_normalize_slope(ht_context *ctx, ht_array out, const ht_array *const *in,
                             double eps, bool centred);
void hti_run_normalize_bend(ht_context *ctx, ht_array out, const ht_array *const *in,
                            double eps, bool centred);
/* out = a where column - row <= diagonal in the last two axes, else fill. Floats. */
void hti_run_tril(ht_context *ctx, ht_array out, ht_array a, int64_t diagonal,
                  double fill);

/* Of x (..., t, s) only what is seen is read, (i, j) where j <= i: out (..., t, s) = x y'
 * of x (..., t, d) and y (..., s, d), 0 where nothing is seen; out (..., t, e) = x y; or
 * out (..., s, e) = x' y, leading axes already broadcast. Floats. */
typedef enum hti_triangle {
    HTI_TRIANGLE_PAIRS,
    HTI_TRIANGLE_BELOW,
    HTI_TRIANGLE_BESIDE
} hti_triangle;
void hti_run_triangle(ht_context *ctx, hti_triangle side, ht_array out, ht_array x,
                      ht_array y);

/* Attention, y (..., t, heads, e) = softmax(scale q k') v for each head of q (..., t,
 * heads, d), k (..., s, heads, d) and v (..., s, heads, e), leading axes equal, s > 0;
 * row i sees columns 0 .. i if causal. Same bits for any thread count. */
typedef struct hti_attention {
    double scale;
    bool causal;
    bool gradient; /* out: not y but, in 1 axis, the cotangents of q, k and v */
    bool tangent;  /* out is the tangent of that */
} hti_attention;
/* in: q, k, v; the cotangent of y if `gradient`; the tangents of all these if `tangent`.
 * One that is a view of a single 0 costs nothing. Floats. */
void hti_run_attention(ht_context *ctx, ht_array out, const ht_array *const *in,
                       const hti_attention *what, void *workspace);
/* Bytes it works in, for this context's threads. */
size_t hti_attention_workspace(const ht_context *ctx, ht_dtype dtype, ht_shape q,
                               ht_shape k, const hti_attention *what);

typedef enum hti_random { HTI_UNIFORM, HTI_NORMAL, HTI_DROPOUT } hti_random;
/* Element i of out (floats) from draw i of (seed, stream), step by step 2^32 draws on:
 * uniform in [0, 1); standard normal; or 1/(1 - rate), with probability 1 - rate, else 0.
 * A pure function of its arguments; step 0 draws as ht_tensor_uniform and _normal do. */
void hti_run_random(ht_context *ctx, hti_random f, ht_array out, uint64_t seed,
                    uint64_t stream, int32_t step, double rate);

/* out (index shape + x's shape without its axis 0): out[i...] = x[index[i...]]. Any
 * dtype. Returns the flat position of the first index out of range, or -1. */
int64_t hti_run_gather(ht_context *ctx, ht_array out, ht_array x, ht_array index);
/* out[index[i...]] += updates[i...], in order of i; out is read and written (floats,
 * i32). */
int64_t hti_run_scatter_add(ht_context *ctx, ht_array out, ht_array index,
                            ht_array updates);

/* out (..., m, n) = a (..., m, k) . b (..., k, n), leading axes already broadcast (equal,
 * strides may be 0). Floats. f32 runs in gemm.c where the instruction set has it;
 * the rest in OpenBLAS when the last two strides of each operand can be said as a
 * (transposed) matrix with a leading dimension, else in the reference. k = 0: zeros. */
void hti_run_matmul(ht_context *ctx, ht_array out, ht_array a, ht_array b);
/* out (m, n) += a (m, k) . b (k, n). */
void hti_run_matmul_add(ht_context *ctx, ht_array out, ht_array a, ht_array b);
/* Whether that gives the bits of the product by itself, then added. */
bool hti_matmul_adds(const ht_context *ctx, ht_dtype dtype, int64_t m, int64_t n,
                     int64_t k);
/* The same by three plain loops, sums in f64: the oracle, and with -Dblas=disabled all
 * that gemm.c has not. */
void hti_run_matmul_reference(ht_context *ctx, ht_array out, ht_array a, ht_array b);
/* Numbers of threads that are 1 while products run, as they were: OpenBLAS's and, if that
 * follows it, the calling thread's of OpenMP. 0: left alone. */
typedef struct hti_matmul_counts {
    int blas, openmp;
} hti_matmul_counts;
/* For kernels that cut their work over threads themselves: out (m, n; rows any distance
 * apart) = a (m, k) . b (k, n), or += if `add`, on the calling thread. Around their
 * threads stand hti_matmul_enter (are there vectors among the operands?) and
 * hti_matmul_leave. */
hti_matmul_counts hti_matmul_enter(const ht_context *ctx, ht_dtype dtype, bool vector);
void hti_matmul_leave(hti_matmul_counts before);
void hti_matmul_tile(const struct hti_kernels *kernels, ht_array out, ht_array a,
                     ht_array b, bool add);
/* "OpenBLAS 0.3.21 (OpenMP)" or "reference": what products run on that are not ours. */
const char *hti_matmul_backend(void);

/* Two-dimensional convolution: x (n, c, h, w), weight (o, c/groups, kh, kw), y (n, o, yh,
 * yw), zeros around x, group after group of channels by itself:
 * y[n,o,i,j] = sum over c,p,q of weight[o,c,p,q] x[n, c, i*stride - padding + p*dilation,
 * j*stride - padding + q*dilation], the options by axis. */
typedef struct hti_conv_geometry {
    int64_t stride[2], padding[2], dilation[2], groups;
} hti_conv_geometry;
/* Which of the three the other two make; the sum above is read three ways. */
typedef enum hti_conv_side { HTI_CONV_Y, HTI_CONV_X, HTI_CONV_W } hti_conv_side;
/* Bytes hti_run_conv works in, for this context's threads. */
size_t hti_conv_workspace(const ht_context *ctx, hti_conv_side side, ht_dtype dtype,
                          ht_shape x, ht_shape weight, ht_shape y,
                          const hti_conv_geometry *geometry);
/* Writes `side` (contiguous) from the other two. Floats. */
void hti_run_conv(ht_context *ctx, hti_conv_side side, ht_array x, ht_array weight,
                  ht_array y, const hti_conv_geometry *geometry, void *workspace);

/* Windows over the last two axes of x (n, c, h, w), to y (n, c, yh, yw). */
typedef struct hti_pool_geometry {
    int64_t kernel[2], stride[2], padding[2];
} hti_pool_geometry;
/* index (i32) = i*w + j of the first largest element of each window; NaN is largest. */
void hti_run_max_pool_index(ht_context *ctx, ht_array index, ht_array x,
                            const hti_pool_geometry *geometry);
/* y = sum over each window / (kernel's area); zeros count where a window overhangs. */
void hti_run_avg_pool(ht_context *ctx, ht_array y, ht_array x,
                      const hti_pool_geometry *geometry);
/* Its transpose: every y spread evenly over its window. */
void hti_run_avg_pool_spread(ht_context *ctx, ht_array x, ht_array y,
                             const hti_pool_geometry *geometry);
/* Along the last axis, the axes before it equal: out[..., k] = x[..., index[..., k]].
 * Floats. The flat position of the first index out of range, or -1. */
int64_t hti_run_take_last(ht_context *ctx, ht_array out, ht_array x, ht_array index);
/* Its transpose: out[..., index[..., k]] += y[..., k], from zeros, in order of k. */
int64_t hti_run_put_last(ht_context *ctx, ht_array out, ht_array y, ht_array index);

#endif
