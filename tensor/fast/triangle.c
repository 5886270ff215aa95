/* SPDX-License-Identifier: MIT */
/* triangle.c: products with a matrix of which the lower triangle alone is seen. What is
 * above is left out of the sums, not multiplied by 0: beside NaN and infinity these
 * differ. Blocks of rows meet what all of them see in one product; what is left, a
 * triangle in each block, row by row. Read next: attention.c, matmul.c. */
#include <string.h>

#include "loops.h"
#include "matmul.h"

enum { TRIANGLE_BLOCK = 32 };

typedef struct triangle_work {
    const struct hti_loops *loops;
    hti_triangle side;
    ht_array out, x, y;
    int64_t rows, blocks; /* of out, a matrix; blocks of rows */
} triangle_work;

static hti_matmul_view triangle_part(hti_matmul_view a, int64_t first, int64_t last,
                                     int64_t left, int64_t right)
{
    return hti_matmul_cols(hti_matmul_rows(a, first, last), left, right);
}

/* out's only row += x's element (i, j) times row `row` of y. */
static void triangle_add(hti_matmul_view out, hti_matmul_view x, int64_t i, int64_t j,
                         hti_matmul_view y, int64_t row)
{
    int64_t n = out.cols, at = i * x.row + j * x.col;
    int64_t from = row * y.row, step = y.col;
    if (out.dtype == HT_F32)
        for (int64_t c = 0; c < n; c++)
            ((float *)out.data)[c] +=
                ((const float *)x.data)[at] * ((const float *)y.data)[from + c * step];
    else
        for (int64_t c = 0; c < n; c++)
            ((double *)out.data)[c] +=
                ((const double *)x.data)[at] * ((const double *)y.data)[from + c * step];
}

/* Rows first .. last-1 of out, of x y' and 0 above. */
static void triangle_pairs(const triangle_work *w, hti_matmul_view out, hti_matmul_view x,
                           hti_matmul_view y, int64_t first, int64_t last)
{
    int64_t n = out.cols, seen = hti_least(last, n);
    size_t size = ht_dtype_bytes(out.dtype);
    hti_matmul_tile(w->loops, triangle_part(out, first, last, 0, seen),
                    hti_matmul_rows(x, first, last),
                    hti_matmul_transposed(hti_matmul_rows(y, 0, seen)), false);
    for (int64_t i = first; i < last && i + 1 < n; i++)
        memset((char *)hti_matmul_rows(out, i, i + 1).data + (size_t)(i + 1) * size, 0,
               (size_t)(n - i - 1) * size);
}

/* Of the triangle of x, times y. */
static void triangle_below(const triangle_work *w, hti_matmul_view out, hti_matmul_view x,
                           hti_matmul_view y, int64_t first, int64_t last)
{
    int64_t n = x.cols, all = hti_least(first + 1, n);
    hti_matmul_tile(w->loops, hti_matmul_rows(out, first, last),
                    triangle_part(x, first, last, 0, all), hti_matmul_rows(y, 0, all),
                    false);
    for (int64_t i = first; i < last; i++)
        for (int64_t j = all; j <= i && j < n; j++)
            triangle_add(hti_matmul_rows(out, i, i + 1), x, i, j, y, j);
}

/* Of the triangle of x, turned, times y. */
static void triangle_beside(const triangle_work *w, hti_matmul_view out,
                            hti_matmul_view x, hti_matmul_view y, int64_t first,
                            int64_t last)
{
    int64_t n = x.rows, all = hti_least(last - 1, n);
    hti_matmul_tile(w->loops, hti_matmul_rows(out, first, last),
                    hti_matmul_transposed(triangle_part(x, all, n, first, last)),
                    hti_matmul_rows(y, all, n), false);
    for (int64_t j = first; j < last; j++)
        for (int64_t i = j; i < all; i++)
            triangle_add(hti_matmul_rows(out, j, j + 1), x, i, j, y, i);
}

/* Task: blocks first .. last-1, counted over all matrices. */
static void triangle_blocks(const void *work, int64_t first, int64_t last)
{
    const triangle_work *w = work;
    for (; first < last; first++) {
        int64_t batch = first / w->blocks, row = first % w->blocks * TRIANGLE_BLOCK;
        (w->side == HTI_TRIANGLE_PAIRS   ? triangle_pairs
         : w->side == HTI_TRIANGLE_BELOW ? triangle_below
                                         : triangle_beside)(
            w, hti_matmul_matrix(&w->out, batch), hti_matmul_matrix(&w->x, batch),
            hti_matmul_matrix(&w->y, batch), row,
            hti_least(row + TRIANGLE_BLOCK, w->rows));
    }
}

static void fast_triangle(ht_context *ctx, hti_triangle side, ht_array out, ht_array x,
                          ht_array y)
{
    int last = out.shape.rank - 1;
    int64_t count = ht_shape_count(out.shape);
    if (count == 0) return;
    triangle_work w = {ctx->loops, side, out, x, y, out.shape.dim[last - 1], 0};
    w.blocks = (w.rows + TRIANGLE_BLOCK - 1) / TRIANGLE_BLOCK;
    int64_t units = count / (w.rows * out.shape.dim[last]) * w.blocks;
    int64_t terms = x.shape.dim[side == HTI_TRIANGLE_BESIDE ? last - 1 : last];
    int64_t work = count * (1 + terms / 8);
    hti_matmul_counts before =
        hti_matmul_enter(ctx, out.dtype, false, work >= HTI_SERIAL);
    hti_parallel(ctx, work, units, triangle_blocks, &w);
    hti_matmul_leave(before);
}

void hti_fast_triangle(struct hti_kernels *kernels)
{
    kernels->triangle = fast_triangle;
}
