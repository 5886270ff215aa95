/* SPDX-License-Identifier: MIT */
/* blas.c: the one file that knows BLAS, of which it wants products on the calling thread:
 * what it asks of OpenBLAS's threads, and how strides are said to it.
 * Read next: matmul.c. */
#include "matmul.h"

#include "loops.h"

#if HTI_BLAS
#include <cblas.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

/* A matrix as row-major BLAS takes it: `transpose` of what is stored with `leading`. */
typedef struct blas_stored {
    CBLAS_TRANSPOSE transpose;
    int leading;
} blas_stored;

static int64_t blas_at_least_1(int64_t n)
{
    return n > 1 ? n : 1;
}

/* Rows of `cols` elements side by side, `*leading` apart; a stride never stepped is free.
 */
static bool blas_row_major(int64_t rows, int64_t cols, int64_t row, int64_t col,
                           int *leading)
{
    int64_t step = rows > 1 ? row : blas_at_least_1(cols);
    if ((cols > 1 && col != 1) || step < blas_at_least_1(cols) || step > INT_MAX)
        return false;
    *leading = (int)step;
    return true;
}

static bool blas_store(const hti_matmul_view *a, blas_stored *stored)
{
    if (a->rows > INT_MAX || a->cols > INT_MAX) return false;
    stored->transpose = CblasNoTrans;
    if (blas_row_major(a->rows, a->cols, a->row, a->col, &stored->leading)) return true;
    stored->transpose = CblasTrans;
    return blas_row_major(a->cols, a->rows, a->col, a->row, &stored->leading);
}

/* out (m, 1) = a (m, k) . x (k, 1). gemm packs a for every use and takes 5 times as long.
 */
static bool blas_gemv(hti_matmul_view out, hti_matmul_view a, hti_matmul_view x)
{
    blas_stored s;
    int64_t step = x.rows > 1 ? x.row : 1;
    if (!blas_store(&a, &s) || step < 1 || step > INT_MAX) return false;
    bool plain = s.transpose == CblasNoTrans;
    int rows = (int)(plain ? a.rows : a.cols), cols = (int)(plain ? a.cols : a.rows);

    /* Zeros and beta = 1: some OpenBLAS releases read the old values with beta = 0 here,
     * and what was NaN would stay NaN. */
    memset(out.data, 0, (size_t)a.rows * ht_dtype_bytes(out.dtype));
    if (out.dtype == HT_F32)
        cblas_sgemv(CblasRowMajor, s.transpose, rows, cols, 1, a.data, s.leading, x.data,
                    (int)step, 1, out.data, 1);
    else
        cblas_dgemv(CblasRowMajor, s.transpose, rows, cols, 1, a.data, s.leading, x.data,
                    (int)step, 1, out.data, 1);
    return true;
}

bool hti_blas_product(hti_matmul_view out, hti_matmul_view a, hti_matmul_view b, bool add)
{
    blas_stored s, t;
    if (out.rows == 1) out.row = out.cols;
    if (a.cols == 0 || out.row > INT_MAX || !blas_store(&a, &s) || !blas_store(&b, &t))
        return false;
    int m = (int)out.rows, n = (int)out.cols, k = (int)a.cols, leading = (int)out.row;
    if (out.dtype == HT_F32)
        cblas_sgemm(CblasRowMajor, s.transpose, t.transpose, m, n, k, 1, a.data,
                    s.leading, b.data, t.leading, add ? 1 : 0, out.data, leading);
    else
        cblas_dgemm(CblasRowMajor, s.transpose, t.transpose, m, n, k, 1, a.data,
                    s.leading, b.data, t.leading, add ? 1 : 0, out.data, leading);
    return true;
}

bool hti_blas_fits(const hti_matmul_view *a, const hti_matmul_view *b)
{
    blas_stored s;
    return blas_store(a, &s) && blas_store(b, &s);
}

/* A vector on either side, which no tile of rows and columns fits. */
bool hti_blas_vector(hti_matmul_view out, hti_matmul_view a, hti_matmul_view b)
{
    if (a.cols == 0) return false;
    if (out.cols == 1) return blas_gemv(out, a, b);
    return out.rows == 1 && blas_gemv(hti_matmul_transposed(out),
                                      hti_matmul_transposed(b), hti_matmul_transposed(a));
}

/* OpenBLAS has one number of threads for the process. The first product to enter notes
 * it, the last to leave puts it back, for some releases change it even where they are
 * told by OpenMP. Of what was inside when a process forked, nothing is in the child. */
static struct {
    pthread_mutex_t lock;
    int inside, before;
} blas_process = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void blas_process_lock(void)
{
    pthread_mutex_lock(&blas_process.lock);
}

static void blas_process_unlock(void)
{
    pthread_mutex_unlock(&blas_process.lock);
}

static void blas_process_enter(bool one)
{
    blas_process_lock();
    if (blas_process.inside++ == 0) blas_process.before = openblas_get_num_threads();
    if (one && openblas_get_num_threads() != 1) openblas_set_num_threads(1);
    blas_process_unlock();
}

static void blas_process_empty(void)
{
    blas_process.inside = 0;
    if (openblas_get_num_threads() != blas_process.before)
        openblas_set_num_threads(blas_process.before);
}

static void blas_process_leave(void)
{
    blas_process_lock();
    if (--blas_process.inside == 0) blas_process_empty();
    blas_process_unlock();
}

static void blas_process_child(void)
{
    if (blas_process.inside > 0) blas_process_empty();
    blas_process_unlock();
}

__attribute__((constructor)) static void blas_watch_forks(void)
{
    pthread_atfork(blas_process_lock, blas_process_unlock, blas_process_child);
}

/* In its OpenMP build OpenBLAS asks the calling thread's OpenMP for a number; the threads
 * of a context have 1 (threads.c). Releases that remember it free shared buffers when it
 * changes, which must not happen on several threads at a time: there the process's is 1
 * before. Nothing is done if the products are ours. */
hti_matmul_counts hti_matmul_enter(const ht_context *ctx, ht_dtype dtype, bool vector,
                                   bool several)
{
    hti_matmul_counts before = {0};
    if (dtype == HT_F32 && !vector && ctx->loops->gemm->columns > 0) return before;
    int build = openblas_get_parallel();
    if (build == OPENBLAS_SEQUENTIAL) return before;
    before.inside = true;
    if (build == OPENBLAS_OPENMP) before.openmp = hti_openmp_threads();
    blas_process_enter(several || build != OPENBLAS_OPENMP);
    if (before.openmp > 1) hti_openmp_set(1);
    return before;
}

void hti_matmul_leave(hti_matmul_counts before)
{
    if (!before.inside) return;
    blas_process_leave();
    if (before.openmp > 0) hti_openmp_set(before.openmp);
}

/* OPENBLAS_VERSION is " OpenBLAS 0.3.21 ", spaces included. How it was threaded is asked
 * of the library loaded, which need not be the one linked. */
const char *hti_matmul_backend(void)
{
    switch (openblas_get_parallel()) {
    case OPENBLAS_OPENMP:
        return &(OPENBLAS_VERSION "(OpenMP)")[1];
    case OPENBLAS_THREAD:
        return &(OPENBLAS_VERSION "(pthreads)")[1];
    default:
        return &(OPENBLAS_VERSION "(one thread)")[1];
    }
}

#else

bool hti_blas_fits(const hti_matmul_view *a, const hti_matmul_view *b)
{
    (void)a, (void)b;
    return false;
}

bool hti_blas_product(hti_matmul_view out, hti_matmul_view a, hti_matmul_view b, bool add)
{
    (void)out, (void)a, (void)b, (void)add;
    return false;
}

bool hti_blas_vector(hti_matmul_view out, hti_matmul_view a, hti_matmul_view b)
{
    return hti_blas_product(out, a, b, false);
}

hti_matmul_counts hti_matmul_enter(const ht_context *ctx, ht_dtype dtype, bool vector,
                                   bool several)
{
    (void)ctx, (void)dtype, (void)vector, (void)several;
    return (hti_matmul_counts){0};
}

void hti_matmul_leave(hti_matmul_counts before)
{
    (void)before;
}

const char *hti_matmul_backend(void)
{
    return "reference";
}

#endif
