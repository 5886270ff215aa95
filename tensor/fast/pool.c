/* SPDX-License-Identifier: MIT */
/* pool.c: windows over planes. The largest element of a window is kept as an index, so
 * that pooling and everything derived from it is taking and putting by that index, which
 * are each other's transposes; the mean and its transpose need no index. Planes and rows
 * are independent, hence the units of work. Read next: index.c, autograd's ops_pool.c. */
#include <string.h>

#include "kernels.h"
#include "loops.h"

typedef struct pool_work {
    const struct hti_loops *loops;
    ht_array x, y, index; /* the last axis of rows, the last two of planes */
    hti_window window;
} pool_work;

/* Where plane (or row) `unit` of a begins: the first `axes` axes counted in order. */
static int64_t pool_start(const ht_array *a, int axes, int64_t unit)
{
    return hti_offset_along(axes, a->shape.dim, a->stride, unit);
}

/* Planes of x (n, c, h, w) and of y, either the result, one task each. */
static void pool_planes(ht_context *ctx, const ht_array *x, const ht_array *y,
                        const ht_array *read, const hti_pool_geometry *g, hti_task_fn run)
{
    pool_work w = {.loops = ctx->loops, .x = *x, .y = *y, .window = {.geometry = *g}};
    for (int i = 0; i < 2; i++) {
        w.window.in[i] = x->shape.dim[i + 2];
        w.window.out[i] = y->shape.dim[i + 2];
        w.window.stride[i] = read->stride[i + 2];
    }
    if (ht_shape_count(x->shape) > 0)
        hti_parallel(ctx, ht_shape_count(x->shape), x->shape.dim[0] * x->shape.dim[1],
                     run, &w);
}

/* Plane `unit` of what is read, and of what is written, contiguous. */
static const void *pool_from(const ht_array *a, int64_t unit)
{
    return (const char *)a->data +
           pool_start(a, 2, unit) * (int64_t)ht_dtype_bytes(a->dtype);
}

static int64_t pool_plane_elements(const ht_array *a)
{
    return a->shape.dim[2] * a->shape.dim[3];
}

static void *pool_to(const ht_array *a, int64_t unit)
{
    int64_t size = (int64_t)ht_dtype_bytes(a->dtype);
    return hti_at(a->data, unit * pool_plane_elements(a) * size);
}

static double pool_scale(const hti_pool_geometry *g)
{
    return 1 / ((double)g->kernel[0] * (double)g->kernel[1]);
}

static void pool_index_planes(const void *work, int64_t first, int64_t last)
{
    const pool_work *w = work;
    for (int64_t unit = first; unit < last; unit++)
        w->loops->window_index[hti_row(w->x.dtype)](&w->window, pool_to(&w->y, unit),
                                                    pool_from(&w->x, unit));
}

static void pool_mean_planes(const void *work, int64_t first, int64_t last)
{
    const pool_work *w = work;
    for (int64_t unit = first; unit < last; unit++)
        w->loops->window_mean[hti_row(w->x.dtype)](&w->window, pool_to(&w->y, unit),
                                                   pool_from(&w->x, unit),
                                                   pool_scale(&w->window.geometry));
}

static void pool_spread_planes(const void *work, int64_t first, int64_t last)
{
    const pool_work *w = work;
    size_t bytes = (size_t)pool_plane_elements(&w->x) * ht_dtype_bytes(w->x.dtype);
    for (int64_t unit = first; unit < last; unit++) {
        memset(pool_to(&w->x, unit), 0, bytes);
        w->loops->window_spread[hti_row(w->x.dtype)](&w->window, pool_to(&w->x, unit),
                                                     pool_from(&w->y, unit),
                                                     pool_scale(&w->window.geometry));
    }
}

static void fast_max_pool_index(ht_context *ctx, ht_array index, ht_array x,
                                const hti_pool_geometry *geometry)
{
    pool_planes(ctx, &x, &index, &x, geometry, pool_index_planes);
}

static void fast_avg_pool(ht_context *ctx, ht_array y, ht_array x,
                          const hti_pool_geometry *geometry)
{
    pool_planes(ctx, &x, &y, &x, geometry, pool_mean_planes);
}

static void fast_avg_pool_spread(ht_context *ctx, ht_array x, ht_array y,
                                 const hti_pool_geometry *geometry)
{
    pool_planes(ctx, &x, &y, &y, geometry, pool_spread_planes);
}

/* By index along the last axis: y (rows, k), x (rows, m), one of them the result. */
#define POOL_ROWS(s, T)                                                                 \
    static void pool_take_##s(const pool_work *w, int64_t unit, const int32_t *index,   \
                              int64_t step)                                             \
    {                                                                                   \
        int last = w->y.shape.rank - 1;                                                 \
        int64_t n = w->y.shape.dim[last];                                               \
        const T *x = (const T *)w->x.data + pool_start(&w->x, last, unit);              \
        T *o = (T *)w->y.data + unit * n;                                               \
        for (int64_t k = 0; k < n; k++) o[k] = x[index[k * step] * w->x.stride[last]];  \
    }                                                                                   \
                                                                                        \
    static void pool_put_##s(const pool_work *w, int64_t unit, const int32_t *index,    \
                             int64_t step)                                              \
    {                                                                                   \
        int last = w->y.shape.rank - 1;                                                 \
        int64_t n = w->y.shape.dim[last], m = w->x.shape.dim[last];                     \
        const T *y = (const T *)w->y.data + pool_start(&w->y, last, unit);              \
        T *x = (T *)w->x.data + unit * m;                                               \
        memset(x, 0, (size_t)m * sizeof *x);                                            \
        for (int64_t k = 0; k < n; k++) x[index[k * step]] += y[k * w->y.stride[last]]; \
    }

POOL_ROWS(f32, float)
POOL_ROWS(f64, double)

typedef void (*pool_row_fn)(const pool_work *w, int64_t unit, const int32_t *index,
                            int64_t step);

static void pool_rows(const pool_work *w, int64_t first, int64_t last, pool_row_fn row)
{
    int axis = w->index.shape.rank - 1;
    for (int64_t unit = first; unit < last; unit++)
        row(w, unit, (const int32_t *)w->index.data + pool_start(&w->index, axis, unit),
            w->index.stride[axis]);
}

static void pool_take_rows(const void *work, int64_t first, int64_t last)
{
    const pool_work *w = work;
    pool_rows(w, first, last, w->x.dtype == HT_F32 ? pool_take_f32 : pool_take_f64);
}

static void pool_put_rows(const void *work, int64_t first, int64_t last)
{
    const pool_work *w = work;
    pool_rows(w, first, last, w->x.dtype == HT_F32 ? pool_put_f32 : pool_put_f64);
}

/* The rows of a, its axes before the last. */
static int64_t pool_n_rows(const ht_array *a)
{
    ht_shape leading = a->shape;
    HT_ASSERT(leading.rank > 0, "rows of an array of rank %d", leading.rank);
    leading.rank--;
    return ht_shape_count(leading);
}

static int64_t fast_take_last(ht_context *ctx, ht_array out, ht_array x, ht_array index)
{
    pool_work w = {.x = x, .y = out, .index = index};
    int64_t bad = hti_first_outside(&index, x.shape.dim[x.shape.rank - 1]);
    if (bad < 0)
        hti_parallel(ctx, ht_shape_count(out.shape), pool_n_rows(&out), pool_take_rows,
                     &w);
    return bad;
}

static int64_t fast_put_last(ht_context *ctx, ht_array out, ht_array y, ht_array index)
{
    pool_work w = {.x = out, .y = y, .index = index};
    int64_t bad = hti_first_outside(&index, out.shape.dim[out.shape.rank - 1]);
    if (bad < 0)
        hti_parallel(ctx, ht_shape_count(out.shape), pool_n_rows(&out), pool_put_rows,
                     &w);
    return bad;
}

void hti_fast_pool(struct hti_kernels *kernels)
{
    kernels->max_pool_index = fast_max_pool_index;
    kernels->avg_pool = fast_avg_pool;
    kernels->avg_pool_spread = fast_avg_pool_spread;
    kernels->take_last = fast_take_last;
    kernels->put_last = fast_put_last;
}
