/* SPDX-License-Identifier: MIT */
/* skinny.c: products with few columns, f32, where packing either operand costs more
 * than it brings. The large one is read once, as it lies:
 *
 *   y (m, n) = x (m, k) . w (k, n)     a block of rows of y in registers, along k
 *   g (k, n) = x (m, k)' . r (m, n)    a block of rows of g in the first cache, along m
 *
 * with the n columns in a vector. Lanes past n hold whatever lies there and are never
 * stored. As loops.c this is compiled once per instruction set; unlike it a product and a
 * sum may be one instruction, so that the bits are those of one machine. They do not
 * depend on threads. Read next: gemm.h, matmul.c. */
#include <string.h>

#include "loops.h"

#define SKINNY_JOIN_(a, b) a##b
#define SKINNY_JOIN(a, b)  SKINNY_JOIN_(a, b)

/* Floats of a vector; an instruction set of shorter ones has no such loops. */
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#endif
#if defined(__AVX2__)
enum { ROWS = 8 }; /* of sums in registers */

#if defined(__GNUC__) && !defined(__clang__)
#define SKINNY_UNROLL _Pragma("GCC unroll 8")
#else
#define SKINNY_UNROLL _Pragma("clang loop unroll(full)")
#endif
/* Inlined wherever called, with `rows` a number: loops over it unroll, and arrays indexed
 * by it are registers. */
#define SKINNY_INLINE static inline __attribute__((always_inline))

typedef float skinny_lanes __attribute__((vector_size(LANES * sizeof(float))));
/* The same anywhere in memory. */
typedef skinny_lanes skinny_memory __attribute__((aligned(4), may_alias));

/* `rows` of at least k contiguous floats, `step` apart. */
typedef struct skinny_matrix {
    const float *data;
    int64_t step;
} skinny_matrix;

/* Of k rows of n floats: how many can be read as vectors without leaving the last. */
static int64_t skinny_whole(int64_t k, int64_t n, int64_t step)
{
    int64_t spare = (k - 1) * step + n - LANES;
    int64_t whole = spare < 0 ? 0 : spare / step + 1;
    return whole < k ? whole : k;
}

/* A row to read as a vector: itself, or a copy that is long enough. */
SKINNY_INLINE const float *skinny_row(const float *a, bool whole, int64_t n, float *copy)
{
    if (whole) return a;
    memcpy(copy, a, (size_t)n * sizeof *a);
    return copy;
}

/* y (rows, n) = x (rows, k) . w (k, n) */
SKINNY_INLINE void skinny_block(int rows, int64_t k, int64_t n, skinny_matrix x,
                                skinny_matrix w, float *y, int64_t y_step)
{
    skinny_lanes sum[ROWS] = {{0}};
    float copy[LANES] = {0};
    int64_t whole = skinny_whole(k, n, w.step);
    for (int64_t l = 0; l < k; l++) {
        const float *b = skinny_row(w.data + l * w.step, l < whole, n, copy);
        SKINNY_UNROLL for (int r = 0; r < rows; r++) sum[r] +=
            x.data[r * x.step + l] * *(const skinny_memory *)b;
    }
    for (int r = 0; r < rows; r++) memcpy(y + r * y_step, &sum[r], (size_t)n * sizeof *y);
}

/* g (k, vector) += x (rows, k)' . r (rows, n), rows of r read at `b`. */
SKINNY_INLINE void skinny_gather(int rows, int64_t k, skinny_matrix x,
                                 const float *const *b, skinny_lanes *g)
{
    skinny_lanes r[ROWS];
    SKINNY_UNROLL for (int i = 0; i < rows; i++) r[i] = *(const skinny_memory *)b[i];
    for (int64_t l = 0; l < k; l++) {
        skinny_lanes sum = x.data[l] * r[0];
        SKINNY_UNROLL for (int i = 1; i < rows; i++) sum += x.data[i * x.step + l] * r[i];
        g[l] += sum;
    }
}

/* w with its rows in whole vectors: those that straddle lines cost twice. */
static skinny_matrix skinny_pack(const hti_skinny *p, float *to)
{
    memset(to, 0, (size_t)(p->k * LANES) * sizeof *to);
    for (int64_t l = 0; l < p->k; l++)
        memcpy(to + l * LANES, p->w + l * p->w_step, (size_t)p->n * sizeof *to);
    return (skinny_matrix){to, LANES};
}

/* Rows first .. last-1 of y. */
static void skinny_forward(const hti_skinny *p, int64_t first, int64_t last)
{
    skinny_lanes packed[HTI_SKINNY_PART];
    skinny_matrix w = {p->w, p->w_step};
    if (p->k <= HTI_SKINNY_PART) w = skinny_pack(p, (float *)packed);
    for (int64_t i = first; i < last;) {
        skinny_matrix x = {p->x + i * p->x_step, p->x_step};
        float *y = p->out + i * p->out_step;
        if (last - i >= ROWS) {
            skinny_block(ROWS, p->k, p->n, x, w, y, p->out_step);
            i += ROWS;
        } else {
            skinny_block(1, p->k, p->n, x, w, y, p->out_step);
            i++;
        }
    }
}

/* Rows first .. last-1 of g, at most HTI_SKINNY_PART. */
static void skinny_backward(const hti_skinny *p, int64_t first, int64_t last)
{
    skinny_lanes g[HTI_SKINNY_PART];
    float copy[LANES] = {0};
    int64_t k = last - first, whole = skinny_whole(p->m, p->n, p->w_step);
    memset(g, 0, (size_t)k * sizeof *g);
    for (int64_t i = 0; i < p->m;) {
        skinny_matrix x = {p->x + i * p->x_step + first, p->x_step};
        const float *row[ROWS] = {p->w + i * p->w_step};
        if (whole - i >= ROWS) {
            for (int r = 1; r < ROWS; r++) row[r] = row[r - 1] + p->w_step;
            skinny_gather(ROWS, k, x, row, g);
            i += ROWS;
        } else {
            row[0] = skinny_row(row[0], i < whole, p->n, copy);
            skinny_gather(1, k, x, row, g);
            i++;
        }
    }
    for (int64_t l = 0; l < k; l++)
        memcpy(p->out + (first + l) * p->out_step, &g[l], (size_t)p->n * sizeof(float));
}

const hti_skinny_loops SKINNY_JOIN(hti_skinny_, HTI_ISA) = {LANES, skinny_forward,
                                                            skinny_backward};

#else
const hti_skinny_loops SKINNY_JOIN(hti_skinny_, HTI_ISA) = {0, NULL, NULL};
#endif
