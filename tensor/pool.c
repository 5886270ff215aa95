/* SPDX-License-Identifier: MIT */
/* pool.c: windows over planes. The largest element of a window is kept as an index, so
 * that pooling and everything derived from it is taking and putting by that index, which
 * are each other's transposes; the mean and its transpose need no index. Planes and rows
 * are independent, hence the units of work. Read next: index.c, autograd's ops_pool.c. */
#include <string.h>

#include "kernels.h"
#include "loops.h"

typedef struct pool_work {
    ht_array x, y, index; /* the last axis of rows, the last two of planes */
    const hti_pool_geometry *g;
} pool_work;

/* The elements of one axis under window i, of `size`. */
static void pool_window(const hti_pool_geometry *g, int axis, int64_t i, int64_t size,
                        int64_t *first, int64_t *last)
{
    int64_t start = i * g->stride[axis] - g->padding[axis];
    *first = start > 0 ? start : 0;
    *last = start + g->kernel[axis] < size ? start + g->kernel[axis] : size;
}

/* Where plane (or row) `unit` of a begins: the first `axes` axes counted in order. */
static int64_t pool_start(const ht_array *a, int axes, int64_t unit)
{
    ht_array leading = *a;
    leading.shape.rank = axes;
    return hti_offset(&leading, unit);
}

/* The first largest of a window; a NaN is larger than any number. Windows are never
 * empty: padding is smaller than the kernel. */
#define POOL_MAX(s, T)                                                                   \
    static int64_t pool_largest_##s(const T *x, const int64_t *stride, const int64_t *y, \
                                    const int64_t *z, int64_t width)                     \
    {                                                                                    \
        int64_t best = y[0] * width + z[0];                                              \
        T most = x[y[0] * stride[0] + z[0] * stride[1]];                                 \
        for (int64_t i = y[0]; i < y[1]; i++)                                            \
            for (int64_t j = z[0]; j < z[1]; j++) {                                      \
                T value = x[i * stride[0] + j * stride[1]];                              \
                if (!(value > most || (value != value && most == most))) continue;       \
                most = value;                                                            \
                best = i * width + j;                                                    \
            }                                                                            \
        return best;                                                                     \
    }

POOL_MAX(f32, float)
POOL_MAX(f64, double)

static void pool_index_planes(const void *work, int64_t first, int64_t last)
{
    const pool_work *w = work;
    const int64_t *in = w->x.shape.dim, *out = w->index.shape.dim;
    int32_t *o = (int32_t *)w->index.data + first * out[2] * out[3];
    for (int64_t unit = first; unit < last; unit++) {
        int64_t start = pool_start(&w->x, 2, unit), y[2], z[2];
        for (int64_t i = 0; i < out[2]; i++)
            for (int64_t j = 0; j < out[3]; j++) {
                pool_window(w->g, 0, i, in[2], &y[0], &y[1]);
                pool_window(w->g, 1, j, in[3], &z[0], &z[1]);
                *o++ = (int32_t)(w->x.dtype == HT_F32
                                     ? pool_largest_f32((const float *)w->x.data + start,
                                                        w->x.stride + 2, y, z, in[3])
                                     : pool_largest_f64((const double *)w->x.data + start,
                                                        w->x.stride + 2, y, z, in[3]));
            }
    }
}

void hti_run_max_pool_index(ht_context *ctx, ht_array index, ht_array x,
                            const hti_pool_geometry *geometry)
{
    pool_work w = {.x = x, .index = index, .g = geometry};
    if (ht_shape_count(index.shape) == 0) return;
    hti_parallel(ctx, ht_shape_count(x.shape), x.shape.dim[0] * x.shape.dim[1],
                 pool_index_planes, &w);
}

/* Means: y[i,j] = scale * sum of x over the window; spread: x += scale * y[i,j]. */
#define POOL_AVERAGE(s, T)                                                              \
    static void pool_mean_##s(const pool_work *w, int64_t unit, double scale)           \
    {                                                                                   \
        const int64_t *in = w->x.shape.dim, *out = w->y.shape.dim, *step = w->x.stride; \
        const T *x = (const T *)w->x.data + pool_start(&w->x, 2, unit);                 \
        T *o = (T *)w->y.data + unit * out[2] * out[3];                                 \
        int64_t y[2], z[2];                                                             \
        for (int64_t i = 0; i < out[2]; i++)                                            \
            for (int64_t j = 0; j < out[3]; j++) {                                      \
                double sum = 0;                                                         \
                pool_window(w->g, 0, i, in[2], &y[0], &y[1]);                           \
                pool_window(w->g, 1, j, in[3], &z[0], &z[1]);                           \
                for (int64_t p = y[0]; p < y[1]; p++)                                   \
                    for (int64_t q = z[0]; q < z[1]; q++)                               \
                        sum += (double)x[p * step[2] + q * step[3]];                    \
                *o++ = (T)(scale * sum);                                                \
            }                                                                           \
    }                                                                                   \
                                                                                        \
    static void pool_spread_##s(const pool_work *w, int64_t unit, double scale)         \
    {                                                                                   \
        const int64_t *in = w->x.shape.dim, *out = w->y.shape.dim, *step = w->y.stride; \
        const T *from = (const T *)w->y.data + pool_start(&w->y, 2, unit);              \
        T *x = (T *)w->x.data + unit * in[2] * in[3];                                   \
        int64_t y[2], z[2];                                                             \
        memset(x, 0, (size_t)(in[2] * in[3]) * sizeof *x);                              \
        for (int64_t i = 0; i < out[2]; i++)                                            \
            for (int64_t j = 0; j < out[3]; j++) {                                      \
                T part = (T)(scale * (double)from[i * step[2] + j * step[3]]);          \
                pool_window(w->g, 0, i, in[2], &y[0], &y[1]);                           \
                pool_window(w->g, 1, j, in[3], &z[0], &z[1]);                           \
                for (int64_t p = y[0]; p < y[1]; p++)                                   \
                    for (int64_t q = z[0]; q < z[1]; q++) x[p * in[3] + q] += part;     \
            }                                                                           \
    }

POOL_AVERAGE(f32, float)
POOL_AVERAGE(f64, double)

static double pool_scale(const hti_pool_geometry *g)
{
    return 1 / ((double)g->kernel[0] * (double)g->kernel[1]);
}

static void pool_mean_planes(const void *work, int64_t first, int64_t last)
{
    const pool_work *w = work;
    for (int64_t unit = first; unit < last; unit++)
        (w->x.dtype == HT_F32 ? pool_mean_f32 : pool_mean_f64)(w, unit, pool_scale(w->g));
}

static void pool_spread_planes(const void *work, int64_t first, int64_t last)
{
    const pool_work *w = work;
    for (int64_t unit = first; unit < last; unit++)
        (w->x.dtype == HT_F32 ? pool_spread_f32 : pool_spread_f64)(w, unit,
                                                                   pool_scale(w->g));
}

void hti_run_avg_pool(ht_context *ctx, ht_array y, ht_array x,
                      const hti_pool_geometry *geometry)
{
    pool_work w = {.x = x, .y = y, .g = geometry};
    if (ht_shape_count(y.shape) == 0) return;
    hti_parallel(ctx, ht_shape_count(x.shape), x.shape.dim[0] * x.shape.dim[1],
                 pool_mean_planes, &w);
}

void hti_run_avg_pool_spread(ht_context *ctx, ht_array x, ht_array y,
                             const hti_pool_geometry *geometry)
{
    pool_work w = {.x = x, .y = y, .g = geometry};
    if (ht_shape_count(x.shape) == 0) return;
    hti_parallel(ctx, ht_shape_count(x.shape), x.shape.dim[0] * x.shape.dim[1],
                 pool_spread_planes, &w);
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

int64_t hti_run_take_last(ht_context *ctx, ht_array out, ht_array x, ht_array index)
{
    pool_work w = {.x = x, .y = out, .index = index};
    int64_t bad = hti_first_outside(&index, x.shape.dim[x.shape.rank - 1]);
    if (bad < 0)
        hti_parallel(ctx, ht_shape_count(out.shape), pool_n_rows(&out), pool_take_rows,
                     &w);
    return bad;
}

int64_t hti_run_put_last(ht_context *ctx, ht_array out, ht_array y, ht_array index)
{
    pool_work w = {.x = out, .y = y, .index = index};
    int64_t bad = hti_first_outside(&index, out.shape.dim[out.shape.rank - 1]);
    if (bad < 0)
        hti_parallel(ctx, ht_shape_count(out.shape), pool_n_rows(&out), pool_put_rows,
                     &w);
    return bad;
}
