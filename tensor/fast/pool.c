/* SPDX-License-Identifier: MIT */
/* pool.c: windows over planes. The largest element of a window is kept as an index, so
 * that pooling and everything derived from it is taking and putting by that index, which
 * are each other's transposes; the mean and its transpose need no index. Planes are
 * independent, hence the units of work. Read next: loops_window.h, index.c, autograd's
 * ops_pool.c. */
#include <string.h>

#include "kernels.h"
#include "loops.h"

typedef struct pool_work {
    hti_window_loop loop;
    ht_array from, to; /* to contiguous; */
    bool clear;        /* the loop adds to it */
    hti_window window;
} pool_work;

static void pool_planes(const void *work, int64_t first, int64_t last)
{
    const pool_work *w = work;
    const int64_t *n = w->to.shape.dim;
    int64_t to_size = (int64_t)ht_dtype_bytes(w->to.dtype);
    for (int64_t unit = first; unit < last; unit++) {
        void *to = hti_at(w->to.data, unit * n[2] * n[3] * to_size);
        if (w->clear) memset(to, 0, (size_t)(n[2] * n[3] * to_size));
        w->loop(&w->window, to, hti_part(&w->from, 2, unit));
    }
}

/* Planes of x (n, c, h, w) and of y, one of them `from` and one `to`, a task each. */
static void pool_run(const ht_context *ctx, const hti_window_loop *loops,
                     const ht_array *x, const ht_array *y, const ht_array *from,
                     const ht_array *to, const hti_pool_geometry *g)
{
    pool_work w = {.loop = loops[hti_row(x->dtype)],
                   .from = *from,
                   .to = *to,
                   .clear = to == x,
                   .window = {.geometry = *g}};
    w.window.scale = 1 / ((double)g->kernel[0] * (double)g->kernel[1]);
    for (int i = 0; i < 2; i++) {
        w.window.in[i] = x->shape.dim[i + 2];
        w.window.out[i] = y->shape.dim[i + 2];
        w.window.stride[i] = from->stride[i + 2];
    }
    if (ht_shape_count(x->shape) > 0)
        hti_parallel(ctx, ht_shape_count(x->shape), x->shape.dim[0] * x->shape.dim[1],
                     pool_planes, &w);
}

static void fast_max_pool_index(ht_context *ctx, ht_array index, ht_array x,
                                const hti_pool_geometry *geometry)
{
    pool_run(ctx, ctx->loops->window_index, &x, &index, &x, &index, geometry);
}

static void fast_avg_pool(ht_context *ctx, ht_array y, ht_array x,
                          const hti_pool_geometry *geometry)
{
    pool_run(ctx, ctx->loops->window_mean, &x, &y, &x, &y, geometry);
}

static void fast_avg_pool_spread(ht_context *ctx, ht_array x, ht_array y,
                                 const hti_pool_geometry *geometry)
{
    pool_run(ctx, ctx->loops->window_spread, &x, &y, &y, &x, geometry);
}

void hti_fast_pool(struct hti_kernels *kernels)
{
    kernels->max_pool_index = fast_max_pool_index;
    kernels->avg_pool = fast_avg_pool;
    kernels->avg_pool_spread = fast_avg_pool_spread;
}
