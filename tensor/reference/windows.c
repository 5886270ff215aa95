/* SPDX-License-Identifier: MIT */
/* windows.c: pooling: windows over the last two axes of x (n, c, h, w), to (n, c, yh,
 * yw). Read next: ../fast/fast.c. */
#include "reference.h"

/* Element (row, col) of plane k, or what is outside of it. */
static double plane_at(const ht_array *x, int64_t k, int64_t row, int64_t col,
                       double outside)
{
    const int64_t *n = x->shape.dim;
    if (row < 0 || row >= n[2] || col < 0 || col >= n[3]) return outside;
    return hti_element(x, (k * n[2] + row) * n[3] + col);
}

static void reference_max_pool_index(ht_context *ctx, ht_array index, ht_array x,
                                     const hti_pool_geometry *g)
{
    (void)ctx;
    const int64_t *n = x.shape.dim, *m = index.shape.dim;
    for (int64_t at = 0; at < ht_shape_count(index.shape); at++) {
        int64_t k = at / m[3] / m[2], best = -1;
        int64_t top = at / m[3] % m[2] * g->stride[0] - g->padding[0];
        int64_t left = at % m[3] * g->stride[1] - g->padding[1];
        double most = 0;
        for (int64_t i = top < 0 ? 0 : top; i < top + g->kernel[0] && i < n[2]; i++)
            for (int64_t j = left < 0 ? 0 : left; j < left + g->kernel[1] && j < n[3];
                 j++) {
                double here = plane_at(&x, k, i, j, 0);
                bool larger = here > most || (isnan(here) && !isnan(most));
                if (best >= 0 && !larger) continue;
                best = i * n[3] + j;
                most = here;
            }
        hti_put_element(&index, at, (double)best);
    }
}

static double area(const hti_pool_geometry *g)
{
    return (double)g->kernel[0] * (double)g->kernel[1];
}

static void reference_avg_pool(ht_context *ctx, ht_array y, ht_array x,
                               const hti_pool_geometry *g)
{
    (void)ctx;
    const int64_t *m = y.shape.dim;
    for (int64_t at = 0; at < ht_shape_count(y.shape); at++) {
        hti_long_sum sum = {0};
        int64_t top = at / m[3] % m[2] * g->stride[0] - g->padding[0];
        int64_t left = at % m[3] * g->stride[1] - g->padding[1];
        for (int64_t i = 0; i < g->kernel[0]; i++)
            for (int64_t j = 0; j < g->kernel[1]; j++)
                hti_add(&sum, plane_at(&x, at / m[3] / m[2], top + i, left + j, 0));
        hti_put_element(&y, at, hti_over(sum, area(g)));
    }
}

/* The window whose element number `offset` is place `at`, or -1. */
static int64_t window_of(int64_t at, int64_t offset, int64_t stride)
{
    return at >= offset && (at - offset) % stride == 0 ? (at - offset) / stride : -1;
}

static void reference_avg_pool_spread(ht_context *ctx, ht_array x, ht_array y,
                                      const hti_pool_geometry *g)
{
    (void)ctx;
    const int64_t *n = x.shape.dim;
    for (int64_t at = 0; at < ht_shape_count(x.shape); at++) {
        hti_long_sum sum = {0};
        int64_t row = at / n[3] % n[2] + g->padding[0], col = at % n[3] + g->padding[1];
        for (int64_t i = 0; i < g->kernel[0]; i++)
            for (int64_t j = 0; j < g->kernel[1]; j++)
                hti_add(&sum,
                        plane_at(&y, at / n[3] / n[2], window_of(row, i, g->stride[0]),
                                 window_of(col, j, g->stride[1]), 0));
        hti_put_element(&x, at, hti_over(sum, area(g)));
    }
}

void hti_reference_windows(struct hti_kernels *kernels)
{
    kernels->max_pool_index = reference_max_pool_index;
    kernels->avg_pool = reference_avg_pool;
    kernels->avg_pool_spread = reference_avg_pool_spread;
}
