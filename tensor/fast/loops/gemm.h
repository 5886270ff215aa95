/* SPDX-License-Identifier: MIT */
/* gemm.h: products of f32 matrices, in two steps a caller can take apart.
 *
 *   pack      k rows of b become *panels*: k rows of `columns` floats each, whose columns
 *             stand in two vectors, so that what multiplies them reads memory in order
 *   multiply  out (m, n) = a (m, k) . panels, a read where it lies
 *
 * `product` does both for any k and n, in blocks that stay in cache. A caller whose b is
 * never whole in memory (the columns of a convolution) writes panels itself:
 *
 *   for each block of at most `depth` terms, in order, add = not the first
 *     for each panel: width = hti_gemm_panel_width(columns, those left)
 *       write it; multiply with .n = width
 *
 * A panel of width w >= columns/2 holds, in row l, b[l][0 .. columns/2-1] and then
 * b[l][w - columns/2 .. w-1]: the two overlap where w < columns, and no vector is ever
 * partial. One of w < columns/2 (only where n is) holds its w and then zeros.
 *
 * Every element is one sum along k, by multiply-adds in order within a block and then
 * block after block, whatever rows, columns and panels it is computed with: its bits
 * depend on the operands and the instruction set alone. Where the processor has matrix
 * tiles, a whole product may be made on them (amx/), which its shape settles: bits depend
 * on that as well. Read next: gemm.c, matmul.c. */
#ifndef HTI_GEMM_H
#define HTI_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* out (m, n) = a (m, k) . b (k, n), or += if `add`; k > 0. Strides in elements: of a and
 * b any, of out `step` between rows. Of what is multiplied alone k <= depth, a_row or
 * a_col is 1, and b is panels, one after another, if b_row is 0; else it is read as it
 * lies, b_col is 1 and n >= columns/2. */
typedef struct hti_gemm {
    int64_t m, k, n;
    const float *a, *b;
    float *out;
    int64_t a_row, a_col, b_row, b_col, step;
    bool add;
} hti_gemm;

/* The same with b by rows that lie anywhere, whole vectors of them: row l of panel j is
 * at b + at[l] + panel[j].from. a's rows are contiguous, k as large as is wished. */
typedef struct hti_gemm_panel {
    int64_t from, b_next; /* of b: the first vector, and the second from there */
    int64_t to, next;     /* of out, likewise */
    int64_t width;        /* columns/2 or less: one vector; of fewer, their store */
} hti_gemm_panel;
typedef struct hti_gemm_listed {
    int64_t m, k, panels;
    const float *a, *b;
    float *out;
    int64_t a_row, step;
    const int64_t *at;           /* k */
    const hti_gemm_panel *panel; /* where two vectors of out overlap, one panel's */
    bool add;
} hti_gemm_listed;

/* Products another way, any k and n: worth it where a whole product `fits`, which then
 * is cut at multiples of `grid` rows and columns alone. k <= depth: one sum. */
struct hti_gemm_loops;
typedef struct hti_tiles {
    int64_t grid, depth;
    bool (*fits)(int64_t m, int64_t k, int64_t n);
    /* What it cannot make it leaves to `others`. */
    void (*product)(const struct hti_gemm_loops *others, const hti_gemm *p);
} hti_tiles;

typedef struct hti_gemm_loops {
    int64_t columns, depth; /* columns 0: none for this instruction set */
    /* to: ceil(n / columns) * k * columns floats, aligned to HTI_ALIGN. */
    void (*pack)(int64_t k, int64_t n, const float *b, int64_t b_row, int64_t b_col,
                 float *to);
    void (*multiply)(const hti_gemm *p);
    void (*multiply_listed)(const hti_gemm_listed *p);
    void (*product)(const hti_gemm *p);
    const hti_tiles *tiles; /* NULL: none */
} hti_gemm_loops;

/* Those a product is made on, which is whole; NULL: none. */
static inline const hti_tiles *hti_gemm_tiles(const hti_gemm_loops *loops, int64_t m,
                                              int64_t k, int64_t n)
{
    const hti_tiles *tiles = loops->tiles;
    return tiles && tiles->fits(m, k, n) ? tiles : NULL;
}

/* A whole product, on tiles or by `product`. */
static inline void hti_gemm_whole(const hti_gemm_loops *loops, const hti_gemm *p)
{
    const hti_tiles *tiles = hti_gemm_tiles(loops, p->m, p->k, p->n);
    if (tiles)
        tiles->product(loops, p);
    else
        loops->product(p);
}

/* Columns of the next panel when `left` are left. */
static inline int64_t hti_gemm_panel_width(int64_t columns, int64_t left)
{
    if (left <= columns) return left;
    return left < columns + columns / 2 ? left - columns / 2 : columns;
}

#endif
