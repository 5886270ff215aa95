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

static ht_array triangle_matrix(const ht_array *a, int64_t batch)
{
    int last = a->shape.rank - 1;
    int64_t at = hti_offset_along(last - 1, a->shape.dim, a->stride, batch);
    return (ht_array){hti_at(a->data, at * (int64_t)ht_dtype_bytes(a->dtype)),
                      a->dtype,
                      HT_SHAPE(a->shape.dim[last - 1], a->shape.dim[last]),
                      {a->stride[last - 1], a->stride[last]}};
}

/* Rows first .. last-1 of a matrix. */
static ht_array triangle_rows(ht_array a, int64_t first, int64_t last)
{
    a.data = hti_at(a.data, first * a.stride[0] * (int64_t)ht_dtype_bytes(a.dtype));
    a.shape.dim[0] = last - first;
    return a;
}

static ht_array triangle_turned(ht_array a)
{
    return (ht_array){a.data,
                      a.dtype,
                      HT_SHAPE(a.shape.dim[1], a.shape.dim[0]),
                      {a.stride[1], a.stride[0]}};
}

static ht_array triangle_part(ht_array a, int64_t first, int64_t last, int64_t left,
                              int64_t right)
{
    a = triangle_turned(triangle_rows(a, first, last));
    return triangle_turned(triangle_rows(a, left, right));
}

static int64_t triangle_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* out's only row += x's element (i, j) times row `row` of y. */
static void triangle_add(ht_array out, ht_array x, int64_t i, int64_t j, ht_array y,
                         int64_t row)
{
    int64_t n = out.shape.dim[1], at = i * x.stride[0] + j * x.stride[1];
    int64_t from = row * y.stride[0], step = y.stride[1];
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
static void triangle_pairs(const triangle_work *w, ht_array out, ht_array x, ht_array y,
                           int64_t first, int64_t last)
{
    int64_t n = out.shape.dim[1], seen = triangle_least(last, n);
    size_t size = ht_dtype_bytes(out.dtype);
    hti_matmul_tile(w->loops, triangle_part(out, first, last, 0, seen),
                    triangle_rows(x, first, last),
                    triangle_turned(triangle_rows(y, 0, seen)), false);
    for (int64_t i = first; i < last && i + 1 < n; i++)
        memset((char *)triangle_rows(out, i, i + 1).data + (size_t)(i + 1) * size, 0,
               (size_t)(n - i - 1) * size);
}

/* Of the triangle of x, times y. */
static void triangle_below(const triangle_work *w, ht_array out, ht_array x, ht_array y,
                           int64_t first, int64_t last)
{
    int64_t n = x.shape.dim[1], all = triangle_least(first + 1, n);
    hti_matmul_tile(w->loops, triangle_rows(out, first, last),
                    triangle_part(x, first, last, 0, all), triangle_rows(y, 0, all),
                    false);
    for (int64_t i = first; i < last; i++)
        for (int64_t j = all; j <= i && j < n; j++)
            triangle_add(triangle_rows(out, i, i + 1), x, i, j, y, j);
}

/* Of the triangle of x, turned, times y. */
static void triangle_beside(const triangle_work *w, ht_array out, ht_array x, ht_array y,
                            int64_t first, int64_t last)
{
    int64_t n = x.shape.dim[0], all = triangle_least(last - 1, n);
    hti_matmul_tile(w->loops, triangle_rows(out, first, last),
                    triangle_turned(triangle_part(x, all, n, first, last)),
                    triangle_rows(y, all, n), false);
    for (int64_t j = first; j < last; j++)
        for (int64_t i = j; i < all; i++)
            triangle_add(triangle_rows(out, j, j + 1), x, i, j, y, i);
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
            w, triangle_matrix(&w->out, batch), triangle_matrix(&w->x, batch),
            triangle_matrix(&w->y, batch), row,
            triangle_least(row + TRIANGLE_BLOCK, w->rows));
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
