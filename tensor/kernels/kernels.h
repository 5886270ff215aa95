/* SPDX-License-Identifier: MIT */
/* kernels.h: the contract of the value kernels over strided arrays. A context has a table
 * of them, struct hti_kernels, and an op's `run` is one call of its: hti_kernel(ctx,
 * softmax, ...). reference/ answers each by its shortest correct loop; fast/, where it is
 * built, answers in its place.
 *
 * Outputs are contiguous unless said otherwise; inputs have any strides (0 repeats). An
 * output is none of its inputs' memory unless said otherwise. Zero-size arrays are fine
 * everywhere. The same inputs give the same bits for any thread count and, matrix
 * products apart, for any instruction set; the reference gives numbers close to those.
 * Read next: kernels.c, reference/elementwise.c; of the fast ones, fast/loops/loops.h. */
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
    HTI_MEAN,      /* the loop sums in f64; this and the rest: `moment` */
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

/* Several elementwise functions, one after another. A slot is an operand (outputs first)
 * or, past them, what only later steps see. A step may write over a slot it reads. */
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

typedef enum hti_slope {
    HTI_SLOPE_SLOPE,
    HTI_SLOPE_BEND,
    HTI_SLOPE_REST,
    HTI_SLOPE_BACK,
    HTI_N_SLOPE
} hti_slope;

/* The first and the last block of rows; a block is of so many, or a multiple; elements of
 * an operand that is gone through so: 4 MB, what a core has of a third cache. */
typedef enum hti_block_ends { HTI_BLOCK_FIRST = 1, HTI_BLOCK_LAST = 2 } hti_block_ends;
enum { HTI_BLOCK_ROWS = 64, HTI_BLOCK_LEAST = 1 << 20 };

typedef enum hti_triangle {
    HTI_TRIANGLE_PAIRS,
    HTI_TRIANGLE_BELOW,
    HTI_TRIANGLE_BESIDE
} hti_triangle;

/* Sets that rows are projected to: {y >= 0, sum y = r}, {0 <= y <= 1, sum y <= r},
 * {sum |y| <= r}. */
typedef enum hti_projection {
    HTI_SIMPLEX,
    HTI_CAPPED,
    HTI_L1_BALL,
    HTI_N_PROJECTION
} hti_projection;

typedef struct hti_attention {
    double scale;
    bool causal;
    bool gradient; /* out: not y but, in 1 axis, the cotangents of q, k and v */
    bool tangent;  /* out is the tangent of that */
} hti_attention;

typedef struct hti_conv_geometry {
    int64_t stride[2], padding[2], dilation[2], groups;
} hti_conv_geometry;
/* Which of the three the other two make; the sum below is read three ways. */
typedef enum hti_conv_side { HTI_CONV_Y, HTI_CONV_X, HTI_CONV_W } hti_conv_side;

typedef struct hti_pool_geometry {
    int64_t kernel[2], stride[2], padding[2];
} hti_pool_geometry;

/* The table. What returns int64_t checks an index before it writes anything: the flat
 * position of the first that is out of range, or -1. */
struct hti_kernels {
    const char *name; /* "reference", "baseline", "avx2", ... */
    /* out = f(in), the function of that kind. Operands broadcast to out's shape; their
     * dtype is one, but for a condition's. out may be the very memory of an input if
     * both are contiguous; of HTI_LOOP_CONVERT alone it may have any strides that do
     * not repeat. */
    void (*elementwise)(ht_context *ctx, hti_loop_kind kind, int function,
                        const ht_array *out, int n_in, const ht_array *const *in);
    /* The steps of `fused`, element by element, each rounded as by itself. operand lists
     * n_outputs arrays, contiguous, to write, then those to read, of any strides and the
     * same shape; then, of one element each, n_sums totals to write. For y = a * b and
     * s = sum(y): {y, a, b, s}. With totals, what is read is contiguous or repeats one
     * number. An output may be the very memory of a contiguous input that no later step
     * reads. bad, if not NULL, becomes the first step whose result is not finite,
     * n_steps if all are; all then runs on one thread. */
    void (*fused)(ht_context *ctx, const hti_fused *fused, const ht_array *const *operand,
                  int *bad);
    /* The loop that is all of a step, in one call: where its operands, out first, are
     * contiguous, of one size and too small for a second thread. NULL where they are
     * not, or where there is none. */
    hti_loop (*whole_loop)(const ht_context *ctx, const hti_fused_step *step,
                           int operands, const ht_array *const *operand);

    /* out = sum or maximum of a over the axes whose bit is set in `axes` (bit i: axis
     * i); out has a's shape with those axes of size 1. Floats; sum also i32. A sum is
     * as good as one in f64, and in range wherever the result is. Max of nothing is
     * -inf; NaN wins. */
    void (*reduce)(ht_context *ctx, hti_reduce f, ht_array out, ht_array a,
                   unsigned axes);
    /* The same for the mean, of equal numbers that number; for the variance, which is
     * sum of (a - mean)^2 / divisor; for the norm, sqrt(sum of a^2). Floats, in f64, in
     * range wherever the result is. */
    void (*moment)(ht_context *ctx, hti_reduce f, ht_array out, ht_array a, unsigned axes,
                   double divisor);
    /* out[..., i, ...] = sum over j <= i of a[..., j, ...] along one axis, over j >= i
     * if `backward`. Floats, added in f64. */
    void (*cumsum)(ht_context *ctx, ht_array out, ht_array a, int axis, bool backward);

    /* Rows are the last axis. Floats. out (i32, a's shape without the last axis) =
     * index of the first largest element, a NaN being larger than any; also of i32. */
    void (*argmax)(ht_context *ctx, ht_array out, ht_array a);
    /* out = exp(a - max) / sum of exp(a - max). */
    void (*softmax)(ht_context *ctx, ht_array out, ht_array a);
    /* out = a - max - log(sum of exp(a - max)). */
    void (*log_softmax)(ht_context *ctx, ht_array out, ht_array a);
    /* out (a's shape without the last axis) = max + log(sum of exp(a - max)); an
     * infinite max as it is. */
    void (*logsumexp)(ht_context *ctx, ht_array out, ht_array a);
    /* out (n) = -log_softmax(a (n, classes))[i, labels[i]]. labels i32. */
    int64_t (*cross_entropy)(ht_context *ctx, ht_array out, ht_array a, ht_array labels);
    /* out (a's shape) = softmax(a) - one_hot(labels), the gradient of that. */
    int64_t (*cross_entropy_slope)(ht_context *ctx, ht_array out, ht_array a,
                                   ht_array labels);
    /* A derivative of softmax or log-softmax at x = in[0], p = softmax(x), along v =
     * in[1] and t = in[2], by rows:
     *   slope  p (v - p.v)     of softmax; its own transpose
     *   bend   p (z - p.z)     its derivative by x along t, z = (v - p.v) (t - p.t)
     *   rest   v - p.v         of log-softmax
     *   back   v - p sum(v)    the transpose of rest
     * counted from v at the largest x: near a corner, where p is 1 for one class, what is
     * left is made of the others alone. */
    void (*slope)(ht_context *ctx, hti_slope kind, ht_array out,
                  const ht_array *const *in);
    /* Rows of x = in[0] normalised, y = (x - mean) s, or x s if not centred; s = 1 /
     * sqrt(mean of squares + eps), of what is left of x. With 2 operands the derivative
     * of that along v = in[1], its own transpose, with means of rows s (v - mean v - y
     * mean(y v)); no mean v if not centred. With 3 the derivative of this by x along t =
     * in[2], its own transpose too: with a = mean(y t), b = mean(y v), and v and t less
     * their means if centred, -s^2 (a v + b t + (mean(v t) - 3 a b) y). */
    void (*normalize)(ht_context *ctx, ht_array out, int n_in, const ht_array *const *in,
                      double eps, bool centred);

    /* out = the nearest point of `set` to each row of a, r being the row's element of
     * radius (a's shape, but a last axis of 1). Of the last two sets the stored elements'
     * sum, in order by Kahan, is at most r. A row without one (NaN, infinity but the -inf
     * that is 0, r < 0) is NaN. Or, if `slopes`, out (a last axis twice a's) = s, then g,
     * of dy/da = diag(s s) - s g' and dy/dr = g: g is s over how many move, 0 while the
     * sum is below r; s +-1 for those that move, at the ends too, 0 where that leaves no
     * way. v: doubles for a row; NULL: false, with nothing written, where it is needed,
     * which is for rows outside. out may be the memory of a. Floats. */
    bool (*project)(ht_context *ctx, hti_projection set, bool slopes, ht_array out,
                    ht_array a, ht_array radius, double *v);

    /* out[..., i, j] = a[..., i, j] where j - i <= diagonal, else fill. Floats. */
    void (*tril)(ht_context *ctx, ht_array out, ht_array a, int64_t diagonal,
                 double fill);
    /* Of a matrix (..., t, s) only what is seen is read, (i, j) where j <= i:
     *   pairs   out (..., t, s) = x y' of x (..., t, d), y (..., s, d), 0 if not seen
     *   below   out (..., t, e) = x y  of x (..., t, s)
     *   beside  out (..., s, e) = x' y of x (..., t, s)
     * leading axes already broadcast. Floats. */
    void (*triangle)(ht_context *ctx, hti_triangle side, ht_array out, ht_array x,
                     ht_array y);
    /* y (..., t, heads, e) = softmax(scale q k') v for each head of q (..., t, heads,
     * d), k (..., s, heads, d) and v (..., s, heads, e), leading axes equal, s > 0; row
     * i sees columns 0 .. i if causal. in: q, k, v; the cotangent of y if `gradient`;
     * the tangents of all these if `tangent`. One that is a view of a single 0 costs
     * nothing. Floats. */
    void (*attention)(ht_context *ctx, ht_array out, const ht_array *const *in,
                      const hti_attention *what, void *workspace);
    /* Bytes it works in, for this context's threads. */
    size_t (*attention_workspace)(const ht_context *ctx, ht_dtype dtype, ht_shape q,
                                  ht_shape k, const hti_attention *what);

    /* out[i] (floats) = draw i of (seed, stream), step by step 2^32 draws on: u,
     * uniform in [0, 1); standard normal; or 1 / (1 - rate) with probability 1 - rate,
     * else 0. Step 0 draws as ht_tensor_uniform and _normal do. */
    void (*random)(ht_context *ctx, hti_random f, ht_array out, uint64_t seed,
                   uint64_t stream, int32_t step, double rate);

    /* out (labels' shape + classes)[i..., k] = 1 where k = labels[i...], else 0. */
    int64_t (*one_hot)(ht_context *ctx, ht_array out, ht_array labels);
    /* out (index shape + x's shape without its axis 0)[i...] = x[index[i...]]. Any
     * dtype. */
    int64_t (*gather)(ht_context *ctx, ht_array out, ht_array x, ht_array index);
    /* out[index[i...]] += updates[i...], in order of i; out is read and written
     * (floats, i32). */
    int64_t (*scatter_add)(ht_context *ctx, ht_array out, ht_array index,
                           ht_array updates);
    /* out[..., k] = x[..., index[..., k]] along the last axis, the axes before it
     * equal. Floats. */
    int64_t (*take_last)(ht_context *ctx, ht_array out, ht_array x, ht_array index);
    /* Its transpose: out[..., index[..., k]] += y[..., k], from zeros, in order of k. */
    int64_t (*put_last)(ht_context *ctx, ht_array out, ht_array y, ht_array index);

    /* out (..., m, n) = a (..., m, k) . b (..., k, n), leading axes already broadcast
     * (equal, strides may be 0). Floats. k = 0: zeros. */
    void (*matmul)(ht_context *ctx, ht_array out, ht_array a, ht_array b);
    /* out (m, n) += a (m, k) . b (k, n). */
    void (*matmul_add)(ht_context *ctx, ht_array out, ht_array a, ht_array b);
    /* Whether that gives the bits of the product by itself, then added. */
    bool (*matmul_adds)(const ht_context *ctx, ht_dtype dtype, int64_t m, int64_t n,
                        int64_t k);
    /* A product with few columns whose large operand is a (m, k) or a' (k, m), some rows
     * of that one at a time, in order, on the calling thread: for a, rows of out; for
     * a', out is there after the last. `ends` are bits of hti_block_ends, `room` of the
     * bytes that matmul_room says, the same all along; the bits are matmul's. */
    void (*matmul_block)(ht_context *ctx, ht_array out, ht_array a, ht_array b,
                         unsigned ends, void *room);
    /* 0: this product is none of those. Data is not looked at. */
    size_t (*matmul_room)(const ht_context *ctx, const ht_array *out, const ht_array *a,
                          const ht_array *b);

    /* Writes `side` (contiguous) from the other two. x (n, c, h, w), weight (o,
     * c/groups, kh, kw), y (n, o, yh, yw), zeros around x, group after group of channels
     * by itself, r = i*stride - padding + p*dilation, s likewise of j and q, by axis:
     * y[n, o, i, j] = sum over c, p, q of weight[o, c, p, q] x[n, c, r, s]. Floats. */
    void (*conv)(ht_context *ctx, hti_conv_side side, ht_array x, ht_array weight,
                 ht_array y, const hti_conv_geometry *geometry, void *workspace);
    /* Bytes it works in, for this context's threads. */
    size_t (*conv_workspace)(const ht_context *ctx, hti_conv_side side, ht_dtype dtype,
                             ht_shape x, ht_shape weight, ht_shape y,
                             const hti_conv_geometry *geometry);
    /* Windows over the last two axes of x (n, c, h, w), to (n, c, yh, yw): window (i,
     * j) is rows i*stride - padding on, and columns j*stride - padding on, kernel of
     * each. index (i32) = row*w + column of the first largest element; NaN is largest. */
    void (*max_pool_index)(ht_context *ctx, ht_array index, ht_array x,
                           const hti_pool_geometry *geometry);
    /* y = sum over each window / (kernel's area); zeros count where a window overhangs.
     */
    void (*avg_pool)(ht_context *ctx, ht_array y, ht_array x,
                     const hti_pool_geometry *geometry);
    /* Its transpose: x = from zeros, every y / (kernel's area) added all over its
     * window. */
    void (*avg_pool_spread)(ht_context *ctx, ht_array x, ht_array y,
                            const hti_pool_geometry *geometry);
};

/* A call of one of them: hti_kernel(ctx, softmax, out, a). */
#define hti_kernel(ctx, name, ...) (ctx)->kernels->name(ctx, __VA_ARGS__)

/* Kinds of `elementwise` by themselves.
 * out = f(a, b). Floats; +, -, *, max, min also i32. */
void hti_run_binary(ht_context *ctx, hti_binary f, ht_array out, ht_array a, ht_array b);
/* out = a converted, towards zero for i32/u8; same dtype: a plain copy. */
void hti_run_copy(ht_context *ctx, ht_array out, ht_array a);
/* out = value, converted. */
void hti_run_fill(ht_context *ctx, ht_array out, double value);

/* A norm past `most` or below `least` may be infinite or short of digits; multiplied by
 * `down` or `up`, powers of two, it is fit to divide by. */
typedef struct hti_norm_range {
    double least, most, up, down;
} hti_norm_range;
hti_norm_range hti_norm_range_of(ht_dtype dtype);

/* Flat position of the first element of an i32 index that is not in 0 .. n - 1, or -1. */
int64_t hti_first_outside(const ht_array *index, int64_t n);

/* The contexts' tables, by index: the reference, then what fast/ has for the instruction
 * sets this machine can run, the plainest first. */
enum { HTI_REFERENCE, HTI_BASELINE };
/* Fills the table with those of number `index`; false, with nothing changed, past the
 * last. A context starts with the last. */
bool hti_context_use(ht_context *ctx, int index);
/* "OpenBLAS 0.3.21 (OpenMP)" or "reference": what products run on that are not ours. */
const char *hti_matmul_backend(void);

/* The product by three plain loops, sums in f64. */
void hti_run_matmul_reference(ht_context *ctx, ht_array out, ht_array a, ht_array b);

/* What those two rooms answer; instruction sets count from 0. */
void hti_reference_fill(struct hti_kernels *kernels);
bool hti_fast_fill(ht_context *ctx, int instruction_set);

#endif
