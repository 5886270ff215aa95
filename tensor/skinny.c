/* SPDX-License-Identifier: MIT */
/* skinny.c: products with few columns, f32, where BLAS spends its time on packing the
 * large operand. Read once, as it lies:
 *
 *   y (m, n) = x (m, k) . w (k, n)     a block of rows of y in registers, along k
 *   g (k, n) = x (m, k)' . r (m, n)    a block of rows of g in the first cache, along m
 *
 * with the n columns in one or two vectors. Lanes past n hold whatever lies there
 * and are never stored. As loops.c this is compiled once per instruction set;
 * unlike it a product and a sum may be one instruction, so that, as with BLAS, the bits
 * are those of one machine. They do not depend on threads. Read next: matmul.c. */
#include <string.h>

#include "loops.h"

#define SKINNY_JOIN_(a, b) a##b
#define SKINNY_JOIN(a, b)  SKINNY_JOIN_(a, b)

/* Floats of a vector; an instruction set of shorter ones leaves such products to BLAS. */
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#endif
#if defined(__AVX2__)
/* Vectors of a row at most, and sums held in registers: rows times vectors. */
enum { MOST_WIDE = 2, SUMS = 8, MOST_ROWS = SUMS };

#if defined(__GNUC__) && !defined(__clang__)
#define SKINNY_UNROLL _Pragma("GCC unroll 8")
#else
#define SKINNY_UNROLL _Pragma("clang loop unroll(full)")
#endif
/* Inlined wherever called, with `rows` and `wide` numbers: loops over them unroll, and
 * arrays indexed by them are registers. */
#define SKINNY_INLINE static inline __attribute__((always_inline))

typedef float skinny_lanes __attribute__((vector_size(LANES * sizeof(float))));
/* The same anywhere in memory. */
typedef skinny_lanes skinny_memory __attribute__((aligned(4), may_alias));

/* `rows` of at least k contiguous floats, `step` apart. */
typedef struct skinny_matrix {
    const float *data;
    int64_t step;
} skinny_matrix;

/* Of k rows of n floats: how many can be read `width` wide without leaving the last. */
static int64_t skinny_whole(int64_t k, int64_t n, int64_t step, int64_t width)
{
    int64_t spare = (k - 1) * step + n - width;
    int64_t whole = spare < 0 ? 0 : spare / step + 1;
    return whole < k ? whole : k;
}

/* A row to read `wide` vectors of: itself, or a copy that is long enough. */
SKINNY_INLINE const float *skinny_row(const float *a, bool whole, int64_t n, float *copy)
{
    if (whole) return a;
    memcpy(copy, a, (size_t)n * sizeof *a);
    return copy;
}

/* y (rows, n) = x (rows, k) . w (k, n) */
SKINNY_INLINE void skinny_block(int rows, int wide, int64_t k, int64_t n, skinny_matrix x,
                                skinny_matrix w, float *y, int64_t y_step)
{
    skinny_lanes sum[MOST_ROWS][MOST_WIDE] = {{{0}}};
    float copy[MOST_WIDE * LANES] = {0};
    int64_t whole = skinny_whole(k, n, w.step, wide * LANES);
    for (int64_t l = 0; l < k; l++) {
        const float *b = skinny_row(w.data + l * w.step, l < whole, n, copy);
        SKINNY_UNROLL for (int r = 0; r < rows; r++)
        {
            float a = x.data[r * x.step + l];
            SKINNY_UNROLL for (int v = 0; v < wide; v++) sum[r][v] +=
                a * *(const skinny_memory *)(b + v * LANES);
        }
    }
    for (int r = 0; r < rows; r++) memcpy(y + r * y_step, sum[r], (size_t)n * sizeof *y);
}

/* g (k, wide vectors) += x (rows, k)' . r (rows, n), rows of r read at `b`. */
SKINNY_INLINE void skinny_gather(int rows, int wide, int64_t k, skinny_matrix x,
                                 const float *const *b, skinny_lanes *g)
{
    skinny_lanes r[MOST_ROWS][MOST_WIDE];
    SKINNY_UNROLL for (int i = 0; i < rows; i++)
        SKINNY_UNROLL for (int v = 0; v < wide; v++) r[i][v] =
            *(const skinny_memory *)(b[i] + v * LANES);
    for (int64_t l = 0; l < k; l++, g += wide) {
        skinny_lanes sum[MOST_WIDE];
        SKINNY_UNROLL for (int v = 0; v < wide; v++) sum[v] = x.data[l] * r[0][v];
        SKINNY_UNROLL for (int i = 1; i < rows; i++)
        {
            float a = x.data[i * x.step + l];
            SKINNY_UNROLL for (int v = 0; v < wide; v++) sum[v] += a * r[i][v];
        }
        SKINNY_UNROLL for (int v = 0; v < wide; v++) g[v] += sum[v];
    }
}

/* w with its rows in whole vectors: those that straddle lines cost twice. */
static skinny_matrix skinny_pack(const hti_skinny *p, int64_t width, float *to)
{
    memset(to, 0, (size_t)(p->k * width) * sizeof *to);
    for (int64_t l = 0; l < p->k; l++)
        memcpy(to + l * width, p->w + l * p->w_step, (size_t)p->n * sizeof *to);
    return (skinny_matrix){to, width};
}

/* Rows first .. last-1 of y. */
SKINNY_INLINE void skinny_forward_wide(const hti_skinny *p, int64_t first, int64_t last,
                                       int wide)
{
    skinny_lanes packed[MOST_WIDE * HTI_SKINNY_PART];
    int rows = SUMS / wide;
    skinny_matrix w = {p->w, p->w_step};
    if (p->k <= HTI_SKINNY_PART) w = skinny_pack(p, wide * LANES, (float *)packed);
    for (int64_t i = first; i < last;) {
        skinny_matrix x = {p->x + i * p->x_step, p->x_step};
        float *y = p->out + i * p->out_step;
        if (last - i >= rows) {
            skinny_block(rows, wide, p->k, p->n, x, w, y, p->out_step);
            i += rows;
        } else {
            skinny_block(1, wide, p->k, p->n, x, w, y, p->out_step);
            i++;
        }
    }
}

static void skinny_forward(const hti_skinny *p, int64_t first, int64_t last)
{
    if (p->n <= LANES)
        skinny_forward_wide(p, first, last, 1);
    else
        skinny_forward_wide(p, first, last, 2);
}

/* Rows first .. last-1 of g, at most HTI_SKINNY_PART. */
SKINNY_INLINE void skinny_backward_wide(const hti_skinny *p, int64_t first, int64_t last,
                                        int wide)
{
    skinny_lanes g[MOST_WIDE * HTI_SKINNY_PART];
    float copy[MOST_WIDE * LANES] = {0};
    int rows = SUMS / wide;
    int64_t k = last - first, width = wide * LANES;
    int64_t whole = skinny_whole(p->m, p->n, p->w_step, width);
    memset(g, 0, (size_t)(k * width) * sizeof(float));
    for (int64_t i = 0; i < p->m;) {
        skinny_matrix x = {p->x + i * p->x_step + first, p->x_step};
        const float *row[MOST_ROWS] = {p->w + i * p->w_step};
        if (whole - i >= rows) {
            for (int r = 1; r < rows; r++) row[r] = row[r - 1] + p->w_step;
            skinny_gather(rows, wide, k, x, row, g);
            i += rows;
        } else {
            row[0] = skinny_row(row[0], i < whole, p->n, copy);
            skinny_gather(1, wide, k, x, row, g);
            i++;
        }
    }
    for (int64_t l = 0; l < k; l++)
        memcpy(p->out + (first + l) * p->out_step, (const float *)g + l * width,
               (size_t)p->n * sizeof(float));
}

static void skinny_backward(const hti_skinny *p, int64_t first, int64_t last)
{
    if (p->n <= LANES)
        skinny_backward_wide(p, first, last, 1);
    else
        skinny_backward_wide(p, first, last, 2);
}

const hti_skinny_loops SKINNY_JOIN(hti_skinny_, HTI_ISA) = {
    MOST_WIDE * LANES, skinny_forward, skinny_backward};

#else
const hti_skinny_loops SKINNY_JOIN(hti_skinny_, HTI_ISA) = {0, NULL, NULL};
#endif
