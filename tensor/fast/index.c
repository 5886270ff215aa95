/* SPDX-License-Identifier: MIT */
/* index.c: the array calls that go by an i32 index: one-hot, gather, scatter-add.
 *
 * Each checks every index before it writes anything. A row of x (one index into axis 0)
 * is moved as a whole; scattering is serial, so that sums come in order of the index.
 * Read next: kernels.h, elementwise.c. */
#include <string.h>

#include "kernels.h"
#include "loops.h"

struct gather {
    ht_context *ctx;
    ht_array out_row, x_row, index; /* rows at their place for index 0 */
    size_t row_bytes;
    int64_t x_stride; /* bytes between rows of x */
    bool dense;       /* rows of x are contiguous */
};

static int64_t index_at(const ht_array *index, int64_t i)
{
    return ((const int32_t *)index->data)[hti_offset(index, i)];
}

/* The usual case, without a division for each element: all are right. */
static bool index_all_inside(const ht_array *index, int64_t count, int64_t n)
{
    const int32_t *k = index->data;
    uint32_t last = (uint32_t)(n > INT32_MAX ? INT32_MAX : n - 1), signs = 0;
    if (!hti_is_contiguous(index)) return false;
    /* last - k is negative where k is larger. */
    for (int64_t i = 0; i < count; ++i) signs |= (uint32_t)k[i] | (last - (uint32_t)k[i]);
    return signs <= INT32_MAX;
}

int64_t hti_first_outside(const ht_array *index, int64_t n)
{
    int64_t count = ht_shape_count(index->shape);
    HT_ASSERT(index->dtype == HT_I32, "index of dtype %s", ht_dtype_name(index->dtype));
    if (index_all_inside(index, count, n)) return -1;
    for (int64_t i = 0; i < count; ++i) {
        int64_t k = index_at(index, i);
        if (k < 0 || k >= n) return i;
    }
    return -1;
}

/* a without its first `n` axes, at their start. */
static ht_array index_row(ht_array a, int n)
{
    ht_array row = {
        .data = a.data, .dtype = a.dtype, .shape = {.rank = a.shape.rank - n}};
    for (int i = 0; i < row.shape.rank; ++i) {
        row.shape.dim[i] = a.shape.dim[n + i];
        row.stride[i] = a.stride[n + i];
    }
    return row;
}

struct one_hot {
    ht_array out, labels;
    int64_t classes;
};

static void one_hot_rows(const void *work, int64_t first, int64_t last)
{
    const struct one_hot *w = work;
    size_t row = (size_t)w->classes * ht_dtype_bytes(w->out.dtype);
    memset(hti_at(w->out.data, first * (int64_t)row), 0, (size_t)(last - first) * row);
    for (int64_t i = first; i < last; ++i)
        hti_write(&w->out, i * w->classes + index_at(&w->labels, i), 1);
}

static int64_t fast_one_hot(ht_context *ctx, ht_array out, ht_array labels)
{
    HT_ASSERT(out.shape.rank > 0, "one-hot into rank %d", out.shape.rank);
    struct one_hot w = {out, labels, out.shape.dim[out.shape.rank - 1]};
    int64_t bad = hti_first_outside(&labels, w.classes), n = ht_shape_count(labels.shape);
    if (bad >= 0 || n == 0) return bad;
    /* A label costs about what four elements do. */
    hti_parallel(ctx, n * (w.classes + 4), n, one_hot_rows, &w);
    return -1;
}

static void gather_rows(const void *work, int64_t first, int64_t last)
{
    const struct gather *w = work;
    for (int64_t i = first; i < last; ++i) {
        ht_array out = w->out_row, x = w->x_row;
        out.data = hti_at(out.data, i * (int64_t)w->row_bytes);
        x.data = hti_at(x.data, index_at(&w->index, i) * w->x_stride);
        if (w->dense)
            memcpy(out.data, x.data, w->row_bytes);
        else
            hti_run_copy(w->ctx, out, x);
    }
}

static int64_t fast_gather(ht_context *ctx, ht_array out, ht_array x, ht_array index)
{
    HT_ASSERT(x.shape.rank > 0 && x.dtype == out.dtype, "gather of rank %d, %s into %s",
              x.shape.rank, ht_dtype_name(x.dtype), ht_dtype_name(out.dtype));
    int64_t bad = hti_first_outside(&index, x.shape.dim[0]);
    int64_t elements = ht_shape_count(out.shape);
    if (bad >= 0 || elements == 0) return bad;
    struct gather w = {
        .ctx = ctx, .index = index, .out_row = index_row(out, index.shape.rank)};
    w.x_row = index_row(x, 1);
    w.dense = hti_is_contiguous(&w.x_row);
    w.row_bytes = hti_bytes(out.dtype, w.out_row.shape);
    w.x_stride = x.stride[0] * (int64_t)ht_dtype_bytes(x.dtype);
    hti_parallel(ctx, elements, ht_shape_count(index.shape), gather_rows, &w);
    return -1;
}

static int64_t fast_scatter_add(ht_context *ctx, ht_array out, ht_array index,
                                ht_array updates)
{
    HT_ASSERT(out.shape.rank > 0 && updates.dtype == out.dtype,
              "scatter of rank %d, %s into %s", out.shape.rank,
              ht_dtype_name(updates.dtype), ht_dtype_name(out.dtype));
    int64_t bad = hti_first_outside(&index, out.shape.dim[0]);
    int64_t n = ht_shape_count(index.shape);
    if (bad >= 0 || ht_shape_count(updates.shape) == 0) return bad;
    hti_loop add = ctx->loops->binary[HTI_BINARY_add][hti_row(out.dtype)][0];
    ht_array to = index_row(out, 1), from = index_row(updates, index.shape.rank),
             leading = updates;
    leading.shape.rank = index.shape.rank;
    int64_t row = ht_shape_count(to.shape), size = (int64_t)ht_dtype_bytes(out.dtype);
    bool dense = hti_is_contiguous(&from);
    for (int64_t i = 0; i < n; ++i) {
        to.data = hti_at(out.data, index_at(&index, i) * row * size);
        from.data = hti_at(updates.data, hti_offset(&leading, i) * size);
        if (dense)
            add(row, to.data, (const void *[]){to.data, from.data});
        else
            hti_run_binary(ctx, HTI_BINARY_add, to, to, from);
    }
    return -1;
}

void hti_fast_index(struct hti_kernels *kernels)
{
    kernels->one_hot = fast_one_hot;
    kernels->gather = fast_gather;
    kernels->scatter_add = fast_scatter_add;
}
