/* SPDX-License-Identifier: MIT */
/* test_conv.h: convolution by its definition, seven loops in f64, and random shapes and
 * options to try it on. Read next: test_tensor_conv.c. */
#ifndef HTI_TEST_CONV_H
#define HTI_TEST_CONV_H

#include "test_arrays.h"

struct test_conv {
    ht_shape x, w, y;
    hti_conv_geometry g;
};

/* side += product of the other two, over every pair that the definition
 * multiplies. Elements of x, w and y are doubles in row-major order. */
static inline void test_conv_loops(const struct test_conv *c, hti_conv_side side,
                                   double *x, double *w, double *y)
{
    const int64_t *X = c->x.dim, *W = c->w.dim, *Y = c->y.dim;
    int64_t outputs = W[0] / c->g.groups;
    for (int64_t n = 0; n < Y[0]; n++)
        for (int64_t o = 0; o < Y[1]; o++)
            for (int64_t i = 0; i < Y[2]; i++)
                for (int64_t j = 0; j < Y[3]; j++)
                    for (int64_t k = 0; k < W[1]; k++)
                        for (int64_t p = 0; p < W[2]; p++)
                            for (int64_t q = 0; q < W[3]; q++) {
                                int64_t channel = o / outputs * W[1] + k;
                                int64_t a = i * c->g.stride[0] - c->g.padding[0] +
                                            p * c->g.dilation[0];
                                int64_t b = j * c->g.stride[1] - c->g.padding[1] +
                                            q * c->g.dilation[1];
                                if (a < 0 || a >= X[2] || b < 0 || b >= X[3]) continue;
                                double *u =
                                    x + ((n * X[1] + channel) * X[2] + a) * X[3] + b;
                                double *v = w + ((o * W[1] + k) * W[2] + p) * W[3] + q;
                                double *t = y + ((n * Y[1] + o) * Y[2] + i) * Y[3] + j;
                                if (side == HTI_CONV_X) *u += *v * *t;
                                if (side == HTI_CONV_W) *v += *u * *t;
                                if (side == HTI_CONV_Y) *t += *u * *v;
                            }
}

/* One axis: sizes such that the kernel fits. */
static inline void test_conv_axis(struct test_random *any, struct test_conv *c, int i,
                                  int64_t largest)
{
    int64_t taps = 1 + test_below(any, 4), stride = 1 + test_below(any, 3);
    int64_t dilation = 1 + test_below(any, 3), padding = test_below(any, 4);
    int64_t reach = (taps - 1) * dilation + 1;
    int64_t least = reach - 2 * padding > 1 ? reach - 2 * padding : 1;
    int64_t size = least + test_below(any, largest);
    c->g.stride[i] = stride, c->g.padding[i] = padding, c->g.dilation[i] = dilation;
    c->x.dim[i + 2] = size;
    c->w.dim[i + 2] = taps;
    c->y.dim[i + 2] = (size + 2 * padding - reach) / stride + 1;
}

/* One in twenty has no images, channels or outputs. */
static inline struct test_conv test_conv_any(struct test_random *any, int64_t largest)
{
    int64_t groups = 1 + test_below(any, 3), n = 1 + test_below(any, 4);
    int64_t channels = 1 + test_below(any, 3), outputs = 1 + test_below(any, 3);
    switch (test_below(any, 60)) {
    case 0:
        n = 0;
        break;
    case 1:
        channels = 0;
        break;
    case 2:
        outputs = 0;
        break;
    default:
        break;
    }
    struct test_conv c = {.x = HT_SHAPE(n, channels * groups, 0, 0),
                          .w = HT_SHAPE(outputs * groups, channels, 0, 0),
                          .y = HT_SHAPE(n, outputs * groups, 0, 0),
                          .g = {.groups = groups}};
    for (int i = 0; i < 2; i++) test_conv_axis(any, &c, i, largest);
    if (test_below(any, 6)) return c;
    c.g = (hti_conv_geometry){{1, 1}, {0, 0}, {1, 1}, groups}; /* one tap, in place */
    for (int i = 2; i < 4; i++) c.w.dim[i] = 1, c.y.dim[i] = c.x.dim[i];
    return c;
}

/* Few images of rows that take several vectors, of up to two panels of channels. */
static inline struct test_conv test_conv_wide(struct test_random *any)
{
    int64_t groups = 1 + test_below(any, 2), n = 1 + test_below(any, 2);
    int64_t channels = (1 + test_below(any, 70)) / groups + 1;
    int64_t outputs = 1 + test_below(any, 20);
    struct test_conv c = {.x = HT_SHAPE(n, channels * groups, 0, 0),
                          .w = HT_SHAPE(outputs * groups, channels, 0, 0),
                          .y = HT_SHAPE(n, outputs * groups, 0, 0),
                          .g = {.groups = groups}};
    test_conv_axis(any, &c, 0, 4);
    test_conv_axis(any, &c, 1, test_below(any, 2) ? 80 : 20);
    return c;
}

/* What conv_winograd.c takes: 3 x 3 taps in place, on images of half a tile to several
 * blocks, or several images a block. */
static inline struct test_conv test_conv_three(struct test_random *any)
{
    int64_t groups = 1 + test_below(any, 2), n = 1 + test_below(any, 3);
    int64_t channels = 16 + test_below(any, 24), outputs = 16 + test_below(any, 40);
    struct test_conv c = {.x = HT_SHAPE(n, channels * groups, 0, 0),
                          .w = HT_SHAPE(outputs * groups, channels, 3, 3),
                          .y = HT_SHAPE(n, outputs * groups, 0, 0),
                          .g = {{1, 1}, {0, 0}, {1, 1}, groups}};
    for (int i = 0; i < 2; i++) {
        int64_t padding = test_below(any, 3), size = test_below(any, 4) ? 9 : 29;
        c.g.padding[i] = padding;
        c.x.dim[i + 2] = 4 + 2 * (padding == 0) + test_below(any, size);
        c.y.dim[i + 2] = c.x.dim[i + 2] + 2 * padding - 2;
    }
    return c;
}

/* a's elements as doubles, row-major; freed by the caller. */
static inline double *test_doubles(const ht_array *a)
{
    int64_t n = ht_shape_count(a->shape);
    double *out = calloc((size_t)n + 1, sizeof *out);
    assert_non_null(out);
    for (int64_t i = 0; i < n; i++) out[i] = test_get(a, i);
    return out;
}

#endif
