/* SPDX-License-Identifier: MIT */
/* floor.c: see floor.h. Read next: steps.c. */
#include "floor.h"

#include <stdlib.h>

#if BENCH_BLAS
#include <cblas.h>

bool bench_has_blas(void)
{
    return true;
}

const char *bench_blas_core(void)
{
    return openblas_get_corename();
}

void bench_blas_threads(int threads)
{
    if (openblas_get_num_threads() != threads) openblas_set_num_threads(threads);
}

void bench_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                const float *a, const float *b, float *out)
{
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1, a,
                (int)(transpose_a ? m : k), b, (int)(transpose_b ? k : n), 0, out,
                (int)n);
}

#else

bool bench_has_blas(void)
{
    return false;
}

const char *bench_blas_core(void)
{
    return "none";
}

void bench_blas_threads(int threads)
{
    (void)threads;
}

void bench_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                const float *a, const float *b, float *out)
{
    (void)transpose_a, (void)transpose_b, (void)m, (void)n, (void)k;
    (void)a, (void)b, (void)out;
}

#endif

/* Zeros multiply as fast as anything, and stay tame however often. */
bool bench_floor_open(bench_floor *f, const bench_product *product, int threads)
{
    *f = (bench_floor){.product = product, .threads = threads};
    for (int i = 0; i < BENCH_PRODUCTS && product[i].count; i++) {
        const bench_product *p = &product[i];
        const int64_t count[3] = {p->m * p->k, p->k * p->n, p->m * p->n};
        for (int j = 0; j < 3; j++) {
            f->operand[i][j] = calloc((size_t)count[j], sizeof(float));
            if (!f->operand[i][j]) return false;
        }
    }
    return true;
}

void bench_floor_close(bench_floor *f)
{
    for (int i = 0; i < BENCH_PRODUCTS; i++)
        for (int j = 0; j < 3; j++) free(f->operand[i][j]);
}

void bench_floor_run(bench_floor *f)
{
    bench_blas_threads(f->threads);
    for (int i = 0; i < BENCH_PRODUCTS && f->product[i].count; i++) {
        const bench_product *p = &f->product[i];
        float *a = f->operand[i][0], *b = f->operand[i][1], *c = f->operand[i][2];
        for (int64_t r = 0; r < p->count; r++) {
            bench_gemm(false, false, p->m, p->n, p->k, a, b, c);
            bench_gemm(true, false, p->k, p->n, p->m, a, c, b);
            if (i > 0) bench_gemm(false, true, p->m, p->k, p->n, c, b, a);
        }
    }
}
