/* SPDX-License-Identifier: MIT */
/* index.c: the array calls that go by an i32 index, where the reference's loops over
 * elements are not enough: scatter-add, take and put along the last axis.
 *
 * Each checks every index before it writes anything. A row of x (one index into axis 0)
 * is moved as a whole; scattering is serial, so that sums come in order of the index.
 * Take and put are each other's transposes, row by row, and what pooling is made of.
 * Read next: pool.c. */
#include <string.h>

#include "kernels.h"
#include "loops.h"

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
    ht_array to = index_row(out, 1), from = index_row(updates, index.shape.rank);
    int64_t row = ht_shape_count(to.shape), size = (int64_t)ht_dtype_bytes(out.dtype);
    bool dense = hti_is_contiguous(&from);
    for (int64_t i = 0; i < n; ++i) {
        to.data = hti_at(out.data, (int64_t)hti_element(&index, i) * row * size);
        from.data = hti_part(&updates, index.shape.rank, i);
        if (dense)
            add(row, to.data, (const void *[]){to.data, from.data});
        else
            hti_run_binary(ctx, HTI_BINARY_add, to, to, from);
    }
    return -1;
}

typedef struct index_work {
    ht_array out, in, index;
    void (*row)(const struct index_work *w, int64_t row);
} index_work;

#define INDEX_ROWS(s, T)                                                             \
    static void index_take_##s(const index_work *w, int64_t row)                     \
    {                                                                                \
        int last = w->out.shape.rank - 1;                                            \
        int64_t n = w->out.shape.dim[last], step = w->index.stride[last];            \
        const int32_t *k = (const void *)hti_part(&w->index, last, row);             \
        const T *x = (const void *)hti_part(&w->in, last, row);                      \
        T *o = (T *)w->out.data + row * n;                                           \
        for (int64_t j = 0; j < n; j++) o[j] = x[k[j * step] * w->in.stride[last]];  \
    }                                                                                \
                                                                                     \
    static void index_put_##s(const index_work *w, int64_t row)                      \
    {                                                                                \
        int last = w->out.shape.rank - 1;                                            \
        int64_t n = w->in.shape.dim[last], m = w->out.shape.dim[last];               \
        int64_t step = w->index.stride[last];                                        \
        const int32_t *k = (const void *)hti_part(&w->index, last, row);             \
        const T *y = (const void *)hti_part(&w->in, last, row);                      \
        T *o = (T *)w->out.data + row * m;                                           \
        memset(o, 0, (size_t)m * sizeof *o);                                         \
        for (int64_t j = 0; j < n; j++) o[k[j * step]] += y[j * w->in.stride[last]]; \
    }

INDEX_ROWS(f32, float)
INDEX_ROWS(f64, double)

static void index_rows(const void *work, int64_t first, int64_t last)
{
    const index_work *w = work;
    for (int64_t row = first; row < last; row++) w->row(w, row);
}

/* Of indices into `whole`, in or out. */
static int64_t index_run(const ht_context *ctx, const index_work *w,
                         const ht_array *whole)
{
    ht_shape leading = w->out.shape;
    HT_ASSERT(leading.rank > 0, "rows of an array of rank %d", leading.rank);
    leading.rank--;
    int64_t bad = hti_first_outside(&w->index, whole->shape.dim[leading.rank]);
    if (bad < 0)
        hti_parallel(ctx, ht_shape_count(w->out.shape), ht_shape_count(leading),
                     index_rows, w);
    return bad;
}

static int64_t fast_take_last(ht_context *ctx, ht_array out, ht_array x, ht_array index)
{
    index_work w = {out, x, index, x.dtype == HT_F32 ? index_take_f32 : index_take_f64};
    return index_run(ctx, &w, &x);
}

static int64_t fast_put_last(ht_context *ctx, ht_array out, ht_array y, ht_array index)
{
    index_work w = {out, y, index, y.dtype == HT_F32 ? index_put_f32 : index_put_f64};
    return index_run(ctx, &w, &out);
}

void hti_fast_index(struct hti_kernels *kernels)
{
    kernels->scatter_add = fast_scatter_add;
    kernels->take_last = fast_take_last;
    kernels->put_last = fast_put_last;
}
