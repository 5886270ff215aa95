/* SPDX-License-Identifier: MIT */
/* matmul.h: products for kernels that cut their work over threads themselves, and what
 * matmul.c asks of OpenBLAS, through blas.c. Read next: matmul.c, blas.c. */
#ifndef HTI_MATMUL_H
#define HTI_MATMUL_H

#include "kernels.h"

/* What is to be as it was after products: whether OpenBLAS's number of threads is ours,
 * and, if that follows it, the calling thread's of OpenMP; 0: left alone. */
typedef struct hti_matmul_counts {
    bool inside;
    int openmp;
} hti_matmul_counts;
/* Around calls of hti_matmul_tile; are there vectors among the operands, and do several
 * threads call? */
hti_matmul_counts hti_matmul_enter(const ht_context *ctx, ht_dtype dtype, bool vector,
                                   bool several);
void hti_matmul_leave(hti_matmul_counts before);
/* One matrix of a batch; row and col are the strides, in elements. */
typedef struct hti_matmul_view {
    void *data;
    ht_dtype dtype;
    int64_t rows, cols, row, col;
} hti_matmul_view;

/* Matrix number `batch` of a's last two axes. */
hti_matmul_view hti_matmul_matrix(const ht_array *a, int64_t batch);
/* Its rows first .. last-1. */
static inline hti_matmul_view hti_matmul_rows(hti_matmul_view a, int64_t first,
                                              int64_t last)
{
    a.data = hti_at(a.data, first * a.row * (int64_t)ht_dtype_bytes(a.dtype));
    a.rows = last - first;
    return a;
}
static inline hti_matmul_view hti_matmul_transposed(hti_matmul_view a)
{
    return (hti_matmul_view){a.data, a.dtype, a.cols, a.rows, a.col, a.row};
}
static inline hti_matmul_view hti_matmul_cols(hti_matmul_view a, int64_t first,
                                              int64_t last)
{
    return hti_matmul_transposed(hti_matmul_rows(hti_matmul_transposed(a), first, last));
}
/* out (m, n; rows any distance apart) = a (m, k) . b (k, n), or += if `add`, on the
 * calling thread. Its bits may depend on its shape (matrix tiles), so that no shape may
 * depend on the number of threads. */
void hti_matmul_tile(const struct hti_loops *loops, hti_matmul_view out,
                     hti_matmul_view a, hti_matmul_view b, bool add);

/* Whether these strides can be said to it. */
bool hti_blas_fits(const hti_matmul_view *a, const hti_matmul_view *b);
/* out = a b, or += if `add`, on the calling thread; false, with nothing done, where that
 * cannot be said to it or there is none. Between hti_matmul_enter and _leave. */
bool hti_blas_product(hti_matmul_view out, hti_matmul_view a, hti_matmul_view b,
                      bool add);
/* Likewise, one of them a vector; false as well if none is. */
bool hti_blas_vector(hti_matmul_view out, hti_matmul_view a, hti_matmul_view b);

#endif
