/* SPDX-License-Identifier: MIT */
/* floor.h: what our times are held against: matrix products by OpenBLAS itself, and loops
 * as a person would write them, built for this machine. Read next: floor.c, hand.c. */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `count` products (m, k) . (k, n) in the forward. */
typedef struct bench_product {
    int64_t count, m, n, k;
} bench_product;

enum { BENCH_PRODUCTS = 12 };
typedef struct bench_floor {
    const bench_product *product; /* up to one of count 0; the first has no input gradient
                                   */
    float *operand[BENCH_PRODUCTS][3]; /* a, b, out of the forward */
    int threads;
} bench_floor;

/* Without OpenBLAS there is no floor. */
bool bench_has_blas(void);
const char *bench_blas_core(void); /* the processor it takes this for */
/* out (m, n) = a (m, k) . b (k, n), each row-major, a or b stored transposed. */
void bench_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                const float *a, const float *b, float *out);
/* Of the process; the library sets it back to one for itself. */
void bench_blas_threads(int threads);
/* False without memory; close it then too. */
bool bench_floor_open(bench_floor *floor, const bench_product *product, int threads);
void bench_floor_close(bench_floor *floor);
/* The products of a step: each of the forward, and for the backward two for each. */
void bench_floor_run(bench_floor *floor);

/* hand.c */

/* Reads x once. */
uint64_t bench_hand_read(size_t n, const uint64_t *x);
/* Adam's step t (Kingma & Ba 2015), in one pass. */
void bench_hand_adam(size_t n, float *w, float *m, float *v, const float *g, float rate,
                     float beta1, float beta2, float eps, int64_t t);

/* fma.c: about so many, on registers. */
float bench_hand_fma(int64_t flops);

#endif
