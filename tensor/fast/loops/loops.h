/* SPDX-License-Identifier: MIT */
/* loops.h: the table of loops, one per instruction set, and what the array calls need to
 * drive them.
 *
 * A loop runs over contiguous elements and knows nothing of shapes: an operand with other
 * strides is first packed into a tile that stays in the nearest cache. So each function
 * is written once, and a broadcast row of ten costs what a long run costs. Read next:
 * loops.c, elementwise.c. */
#ifndef HTI_LOOPS_H
#define HTI_LOOPS_H

#include "gemm.h"
#include "kernels.h"

/* Of what is compiled once per instruction set: names that end in its own. */
#define HTI_JOIN_(a, b)  a##b
#define HTI_JOIN(a, b)   HTI_JOIN_(a, b)
#define HTI_OF_ISA(name) HTI_JOIN(name, HTI_ISA)
/* Functions inlined wherever called, with sizes that are numbers: loops over these
 * unroll, and arrays indexed by them are registers. */
#define HTI_INLINE static inline __attribute__((always_inline))
#if defined(__GNUC__) && !defined(__clang__)
#define HTI_UNROLL _Pragma("GCC unroll 32")
#else
#define HTI_UNROLL _Pragma("clang loop unroll(full)")
#endif

enum {
    HTI_TILE = 512,           /* elements of a tile */
    HTI_SUM_BLOCK = HTI_TILE, /* most terms added up in f32 */
    HTI_SUM_PARTS = 8,        /* of a sum to one number, from HTI_SERIAL elements on */
    HTI_N_DTYPE = HT_U8,
    HTI_NUMBERS = 8 /* sets of up to three inputs */
};

/* What f64 is multiplied by where its sums leave the range. */
#define HTI_SMALL 0x1p-64

/* Index of a dtype in the tables below. */
static inline int hti_row(ht_dtype dtype)
{
    return (int)dtype - 1;
}

/* Where part `part` of a sum over n elements begins; past the last: where it ends. By n
 * alone, never by the number of threads. */
static inline int64_t hti_sum_part(int64_t n, int parts, int64_t part)
{
    return part == parts ? n : n / parts * part;
}

/* out (rows, columns), contiguous, = a[r * stride[0] + c * stride[1]]. */
typedef void (*hti_pack_loop)(int64_t rows, int64_t columns, void *out, const void *a,
                              const int64_t stride[2]);
/* The other way: out[r * stride[0] + c * stride[1]] = a (rows, columns), contiguous. */
typedef void (*hti_unpack_loop)(int64_t rows, int64_t columns, void *out,
                                const int64_t stride[2], const void *a);
/* total[i] = f(total[i], a[i * keep_stride + j * fold_stride] over all j < fold), for
 * i < keep <= HTI_TILE. Totals are double, for i32 int64_t. */
typedef void (*hti_reduce_loop)(int64_t keep, int64_t keep_stride, int64_t fold,
                                int64_t fold_stride, void *total, const void *a);
/* See loops_moment.h. */
typedef void (*hti_moment_loop)(int64_t keep, int64_t keep_stride, int64_t fold,
                                int64_t fold_stride, double *total, const void *a,
                                const double *centre, double scale);
/* Rows of up to three operands, their strides by row and column; labels, which are
 * valid, are operand 1 of loops that have such. out is contiguous, a row of it of one
 * element or as many as in[0]'s. */
typedef struct hti_rows {
    int64_t columns, stride[3][2];
    double eps;
    bool centred;
} hti_rows;
typedef void (*hti_rows_loop)(const hti_rows *w, int64_t rows, void *out,
                              const void *const *in);

/* Of attention: see loops_attention.h. */
typedef void (*hti_attend_loop)(int64_t rows, int64_t columns, void *out, double scale,
                                int64_t seen);
typedef double (*hti_attend_largest_loop)(int64_t n, const void *x, int64_t step);
typedef void (*hti_attend_slope_loop)(int64_t rows, int64_t columns, void *out,
                                      const void *weights, double scale);
typedef void (*hti_attend_bend_loop)(int64_t rows, int64_t columns, void *const out[2],
                                     const void *const weights[2], double scale);

/* A plane of x, `in` rows and columns, under windows to `out` of them. `stride` is of the
 * operand read; what is written is contiguous. */
typedef struct hti_window {
    hti_pool_geometry geometry;
    int64_t in[2], out[2], stride[2];
    double scale;
} hti_window;
/* index from x; y = scale * sum of x over each window; or the transpose, x += of y. */
typedef void (*hti_window_loop)(const hti_window *w, void *out, const void *in);

/* Tiles of a plane on their way to the 16 places of a product, `step` apart, or back;
 * what is between lies in planes. See conv_winograd.c, loops_winograd.h. */
enum { HTI_WINOGRAD_PLANE = 528 }; /* an odd number of lines */
typedef struct hti_winograd {
    int64_t rows, across; /* tiles */
    float *places;
    int64_t step;
    float *phases, *lines; /* 4 planes: rows by columns, even and odd; 8 planes */
} hti_winograd;
typedef struct hti_winograd_loops {
    void (*split)(int64_t rows, int64_t n, float *even, float *odd, int64_t pitch,
                  const float *x, int64_t row);
    void (*data)(const hti_winograd *p);
    void (*spread)(const hti_winograd *p);
    void (*back)(const hti_winograd *p, int64_t height, int64_t width, float *y);
    /* 3 arrays to 4, 4 to 3; not in place. */
    void (*taps)(int64_t n, float *out, int64_t step, const float *in, int64_t in_step);
    void (*gather)(int64_t n, float *out, int64_t step, const float *in, int64_t in_step);
} hti_winograd_loops;

/* A product of few columns (skinny.c): out = x . w, or x' . w of the transposed loop.
 * Rows of x, w and out are contiguous, `*_step` apart. */
enum { HTI_SKINNY_LEAST = 128 };
typedef struct hti_skinny {
    int64_t m, k, n; /* x (m, k), k >= HTI_SKINNY_LEAST; n columns */
    const float *x, *w;
    float *out;
    int64_t x_step, w_step, out_step;
} hti_skinny;
/* Rows first .. last-1 of out. */
typedef void (*hti_skinny_loop)(const hti_skinny *p, int64_t first, int64_t last);
/* The m rows of x at hand, of more: what the product keeps between them is in `room`. */
typedef void (*hti_skinny_block_loop)(const hti_skinny *p, unsigned ends, void *room);
typedef struct hti_skinny_loops {
    int64_t columns[2];     /* at most; 0: not for this instruction set */
    hti_skinny_loop run[2]; /* plain, transposed */
    hti_skinny_block_loop block[2];
    size_t (*room[2])(int64_t k, int64_t n); /* bytes */
} hti_skinny_loops;

/* Rows of the tables are dtypes (hti_row); NULL where a function does not exist. */
struct hti_loops {
    const char *name;
    const hti_skinny_loops *skinny;
    const hti_gemm_loops *gemm;
    hti_loop unary[HTI_N_UNARY][HTI_N_DTYPE];
    /* Then by the inputs that are one number, bit e for in[e], whose pointer is to it;
     * NULL where there is no such loop. */
    hti_loop binary[HTI_N_BINARY][HTI_N_DTYPE][HTI_NUMBERS];
    hti_loop tree[HTI_N_TREE][2][HTI_TREE_SETS]; /* f32 and f64; by hti_trees */
    hti_loop compare[HTI_N_COMPARE][HTI_N_DTYPE][HTI_NUMBERS];
    hti_loop where[HTI_N_DTYPE][HTI_NUMBERS];
    hti_loop convert[HTI_N_DTYPE][HTI_N_DTYPE]; /* [to][from] */
    hti_pack_loop pack[HTI_N_DTYPE];
    hti_unpack_loop unpack[HTI_N_DTYPE];
    hti_reduce_loop reduce[HTI_N_REDUCE][HTI_N_DTYPE];
    hti_moment_loop moment[2][HTI_N_DTYPE]; /* by power - 1 */
    hti_rows_loop argmax[HTI_N_DTYPE];
    hti_rows_loop softmax[HTI_N_DTYPE], log_softmax[HTI_N_DTYPE], logsumexp[HTI_N_DTYPE];
    hti_rows_loop cross_entropy[HTI_N_DTYPE], cross_entropy_slope[HTI_N_DTYPE];
    hti_rows_loop slope[HTI_N_SLOPE][HTI_N_DTYPE];
    hti_rows_loop normalize[3][HTI_N_DTYPE]; /* by the operands, less one */
    hti_attend_loop attend[HTI_N_DTYPE];
    hti_attend_largest_loop attend_largest[HTI_N_DTYPE];
    hti_attend_slope_loop attend_slope[HTI_N_DTYPE];
    hti_attend_bend_loop attend_bend[HTI_N_DTYPE];
    hti_window_loop window_index[HTI_N_DTYPE];
    hti_window_loop window_mean[HTI_N_DTYPE], window_spread[HTI_N_DTYPE];
    const hti_winograd_loops *winograd; /* f32 */
};

extern const struct hti_loops hti_loops_baseline;
#if defined(HTI_X86) && HTI_X86
extern const struct hti_loops hti_loops_avx2, hti_loops_avx512;
#endif
/* The instruction sets this build and this machine can run, baseline first; NULL past the
 * last. The last may be another's with matrix tiles besides (gemm->tiles), for which the
 * process then asks the operating system. */
const struct hti_loops *hti_loops_at(int index);

/* Each file's kernels, into the table: hti_fast_elementwise and so on. */
#define HTI_FAST_FILES(X) \
    X(elementwise)        \
    X(reduce) X(scan) X(rows) X(triangle) X(attention) X(index) X(matmul) X(conv) X(pool)
#define HTI_FAST_FILE(name) void hti_fast_##name(struct hti_kernels *kernels);
HTI_FAST_FILES(HTI_FAST_FILE)

#endif
