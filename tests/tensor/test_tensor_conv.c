/* SPDX-License-Identifier: MIT */
/* test_tensor_conv.c: the three products of a convolution against seven plain loops,
 * over random shapes, options and views; and pooling by windows against plain loops. */
#include "conv.h"
#include "test_conv.h"

static struct test_random any;

/* Terms of the longest sum that makes an element of `side`. */
static double longest_sum(const struct test_conv *c, hti_conv_side side)
{
    double taps = (double)(c->w.dim[2] * c->w.dim[3]);
    if (side == HTI_CONV_W) return (double)(c->y.dim[0] * c->y.dim[2] * c->y.dim[3]);
    return taps * (double)(side == HTI_CONV_Y ? c->w.dim[1] : c->w.dim[0] / c->g.groups);
}

/* Each element of the planes becomes the largest within `reach` rows and columns. */
static void largest_near(ht_shape shape, int64_t reach, double *a)
{
    int64_t rows = shape.dim[2], columns = shape.dim[3], n = ht_shape_count(shape);
    double *from = calloc((size_t)n + 1, sizeof *from);
    memcpy(from, a, (size_t)n * sizeof *from);
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = -reach; i <= reach; i++)
            for (int64_t j = -reach; j <= reach; j++) {
                int64_t row = k / columns % rows + i, column = k % columns + j;
                if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
                double value = from[k + i * columns + j];
                if (value > a[k]) a[k] = value;
            }
    free(from);
}

static bool is_winograd(const ht_context *ctx, const struct test_conv *c,
                        hti_conv_side side, ht_dtype dtype)
{
    ht_array x = {.dtype = dtype, .shape = c->x}, w = {.dtype = dtype, .shape = c->w},
             y = {.dtype = dtype, .shape = c->y};
    hti_conv of = hti_conv_of(ctx, side, &x, &w, &y, &c->g);
    return hti_conv_winograd.fits(&of);
}

/* |got - want| <= (terms + 2) u times the same sum of absolute values, for two sums in
 * whatever order (Higham 2002, section 3.1); u is the unit
 * roundoff, twice it for f64, since the loops round as well. By tiles: a place's product
 * is at most 4 times the largest x of a tile and 9/4 the largest weight, and 9 of them
 * make an element; each is rounded channels + 12 times. Thus the same bound, of
 * operands as large as the largest near them. */
static void check_sums(const ht_context *ctx, const struct test_conv *c,
                       hti_conv_side side, const ht_array *got, double *const *want)
{
    const ht_shape shape[] = {c->y, c->x, c->w};
    bool tiles = is_winograd(ctx, c, side, got->dtype);
    double u = got->dtype == HT_F32 ? 0x1p-24 : 0x1p-52, *size[3];
    double limit = (longest_sum(c, side) + (tiles ? 108 : 2)) * u;
    for (int i = 0; i < 3; i++) {
        int64_t n = ht_shape_count(shape[i]);
        size[i] = calloc((size_t)n + 1, sizeof(double));
        for (int64_t k = 0; k < n && i != (int)side; k++) size[i][k] = fabs(want[i][k]);
        if (tiles && i != (int)side) largest_near(shape[i], 3, size[i]);
    }
    test_conv_loops(c, side, size[HTI_CONV_X], size[HTI_CONV_W], size[HTI_CONV_Y]);
    for (int64_t k = 0; k < ht_shape_count(shape[side]); k++) {
        double value = test_get(got, k);
        if (fabs(value - want[side][k]) <= limit * size[side][k]) continue;
        fail_msg("side %d, element %lld: got %.17g, want %.17g", (int)side, (long long)k,
                 value, want[side][k]);
    }
    for (int i = 0; i < 3; i++) free(size[i]);
}

/* The operands as views or dense, the result dense and filled with NaN, as is the
 * workspace, which is as large as it must be. */
static void check_conv_by(ht_context *ctx, const struct test_conv *c, ht_dtype dtype,
                          hti_conv_side side, bool dense)
{
    const ht_shape shape[] = {c->y, c->x, c->w};
    struct test_array a[3];
    double *loops[3];
    for (int i = 0; i < 3; i++) {
        a[i] = dense || i == (int)side ? test_dense(&any, dtype, shape[i])
                                       : test_view(&any, dtype, shape[i], true);
        loops[i] = test_doubles(&a[i].array);
    }
    size_t n = (size_t)ht_shape_count(shape[side]);
    memset(loops[side], 0, n * sizeof(double));
    memset(a[side].array.data, 0xff, n * ht_dtype_bytes(dtype));
    size_t bytes = hti_kernel(ctx, conv_workspace, side, dtype, c->x, c->w, c->y, &c->g);
    assert_int_equal(bytes % HTI_ALIGN, 0);
    void *workspace = aligned_alloc(HTI_ALIGN, bytes ? bytes : HTI_ALIGN);
    memset(workspace, 0xff, bytes);
    hti_kernel(ctx, conv, side, a[HTI_CONV_X].array, a[HTI_CONV_W].array,
               a[HTI_CONV_Y].array, &c->g, workspace);
    test_conv_loops(c, side, loops[HTI_CONV_X], loops[HTI_CONV_W], loops[HTI_CONV_Y]);
    check_sums(ctx, c, side, &a[side].array, loops);
    free(workspace);
    for (int i = 0; i < 3; i++) free(loops[i]), test_array_free(&a[i]);
}

static void check_conv(ht_context *ctx, const struct test_conv *c, ht_dtype dtype,
                       hti_conv_side side, bool dense)
{
    for (int i = HTI_BASELINE; hti_context_use(ctx, i); i++)
        check_conv_by(ctx, c, dtype, side, dense);
}

static void conv_random_views_agree_with_loops(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    int n = 0;
    for (int k = 0; k < 600; k++) {
        struct test_conv c = test_conv_any(&any, 8);
        for (int side = HTI_CONV_Y; side <= HTI_CONV_W; side++, n++)
            check_conv(ctx, &c, k % 2 ? HT_F32 : HT_F64, (hti_conv_side)side, k % 3 == 0);
    }
    printf("# %d products\n", n);
    assert_int_equal(n, 1800);
    ht_context_free(ctx);
}

/* Widths of vectors and a bit, taps that leave the image, strides within a vector. */
static void conv_wide_rows_agree_with_loops(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 120; k++) {
        struct test_conv c = test_conv_wide(&any);
        check_conv(ctx, &c, HT_F32, (hti_conv_side)(k % 3), k % 4 > 0);
    }
    ht_context_free(ctx);
}

static void conv_three_by_three_in_place_agrees_with_loops(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    struct test_conv none = {.x = HT_SHAPE(2, 0, 8, 8),
                             .w = HT_SHAPE(0, 0, 3, 3),
                             .y = HT_SHAPE(2, 0, 6, 6),
                             .g = {{1, 1}, {0, 0}, {1, 1}, 1}};
    for (int side = HTI_CONV_Y; side <= HTI_CONV_W; side++)
        check_conv(ctx, &none, HT_F32, (hti_conv_side)side, true);
    for (int k = 0; k < 30; k++) {
        struct test_conv c = test_conv_three(&any);
        check_conv(ctx, &c, HT_F32, (hti_conv_side)(k % 3), k % 4 > 0);
    }
    ht_context_free(ctx);
}

/* The result of `side` on this many threads, from dense random operands of one seed. */
static struct test_array conv_result(int threads, const struct test_conv *c,
                                     hti_conv_side side)
{
    struct test_random again = {any.seed, 1u << 30};
    ht_context *ctx = test_context(threads);
    const ht_shape shape[] = {c->y, c->x, c->w};
    struct test_array a[3];
    for (int i = 0; i < 3; i++) a[i] = test_dense(&again, HT_F32, shape[i]);
    size_t bytes = hti_kernel(ctx, conv_workspace, side, HT_F32, c->x, c->w, c->y, &c->g);
    void *workspace = aligned_alloc(HTI_ALIGN, hti_round_up(bytes + 1, HTI_ALIGN));
    hti_kernel(ctx, conv, side, a[HTI_CONV_X].array, a[HTI_CONV_W].array,
               a[HTI_CONV_Y].array, &c->g, workspace);
    free(workspace);
    for (int i = 0; i < 3; i++)
        if (i != (int)side) test_array_free(&a[i]);
    ht_context_free(ctx);
    return a[side];
}

static void check_threads(const struct test_conv *c)
{
    for (int side = HTI_CONV_Y; side <= HTI_CONV_W; side++) {
        struct test_array one = conv_result(1, c, (hti_conv_side)side);
        for (int threads = 2; threads <= 7; threads += 5) {
            struct test_array more = conv_result(threads, c, (hti_conv_side)side);
            test_same_bits(&more.array, &one.array, "threads");
            test_array_free(&more);
        }
        test_array_free(&one);
    }
    ht_context *ctx = test_context(3);
    for (int side = HTI_CONV_Y; side <= HTI_CONV_W; side++)
        for (int dtype = HT_F32; dtype <= HT_F64; dtype++)
            check_conv(ctx, c, (ht_dtype)dtype, (hti_conv_side)side, false);
    ht_context_free(ctx);
}

/* Several tiles of one image, the last smaller, several blocks of terms and panels of
 * channels, and enough work for threads. */
static void conv_any_thread_count_gives_the_same_bits(void **state)
{
    (void)state;
    const struct test_conv conv_large[] = {{.x = HT_SHAPE(5, 64, 31, 30),
                                            .w = HT_SHAPE(20, 32, 3, 3),
                                            .y = HT_SHAPE(5, 20, 31, 15),
                                            .g = {{1, 2}, {1, 1}, {1, 1}, 2}},
                                           {.x = HT_SHAPE(2, 70, 53, 50),
                                            .w = HT_SHAPE(5, 70, 3, 3),
                                            .y = HT_SHAPE(2, 5, 53, 50),
                                            .g = {{1, 1}, {1, 1}, {1, 1}, 1}},
                                           {.x = HT_SHAPE(3, 33, 37, 35),
                                            .w = HT_SHAPE(34, 33, 3, 3),
                                            .y = HT_SHAPE(3, 34, 37, 37),
                                            .g = {{1, 1}, {1, 2}, {1, 1}, 1}},
                                           {.x = HT_SHAPE(2, 66, 61, 67),
                                            .w = HT_SHAPE(4, 66, 2, 3),
                                            .y = HT_SHAPE(2, 4, 31, 35),
                                            .g = {{2, 2}, {1, 2}, {1, 1}, 1}}};
    for (size_t i = 0; i < sizeof conv_large / sizeof conv_large[0]; i++)
        check_threads(&conv_large[i]);
}

/* Rows of y as long as those of x: columns are copied in runs, the border put right
 * afterwards. */
static void conv_rows_alike_in_several_tiles_agree_with_loops(void **state)
{
    (void)state;
    struct test_conv c = {.x = HT_SHAPE(3, 40, 23, 64),
                          .w = HT_SHAPE(4, 40, 3, 5),
                          .y = HT_SHAPE(3, 4, 23, 64),
                          .g = {{1, 1}, {1, 2}, {1, 1}, 1}};
    ht_context *ctx = test_context(2);
    for (int side = HTI_CONV_Y; side <= HTI_CONV_W; side++)
        for (int dtype = HT_F32; dtype <= HT_F64; dtype++)
            check_conv(ctx, &c, (ht_dtype)dtype, (hti_conv_side)side, true);
    ht_context_free(ctx);
}

/* Pooling. */

struct windows {
    ht_shape x, y;
    hti_pool_geometry g;
};

/* One in fifty has rows of y longer than a tile of the loops. */
static struct windows windows_any(void)
{
    struct windows w = {.x =
                            HT_SHAPE(1 + test_below(&any, 3), test_below(&any, 4), 0, 0)};
    w.y = w.x;
    for (int i = 0; i < 2; i++) {
        int64_t kernel = 1 + test_below(&any, 4), stride = 1 + test_below(&any, 4);
        int64_t padding = test_below(&any, kernel / 2 + 1);
        int64_t size = kernel + test_below(&any, 7);
        if (i == 1 && test_below(&any, 50) == 0) size += 600 * stride;
        w.g.kernel[i] = kernel, w.g.stride[i] = stride, w.g.padding[i] = padding;
        w.x.dim[i + 2] = size;
        w.y.dim[i + 2] = (size + 2 * padding - kernel) / stride + 1;
    }
    if (test_below(&any, 4)) return w;
    for (int i = 0; i < 2; i++) { /* 2 x 2, apart */
        w.g.kernel[i] = w.g.stride[i] = 2, w.g.padding[i] = 0;
        w.x.dim[i + 2] = 2 + test_below(&any, 40);
        w.y.dim[i + 2] = w.x.dim[i + 2] / 2;
    }
    return w;
}

static struct test_array windows_array(int k, ht_dtype dtype, ht_shape shape)
{
    return k % 3 ? test_view(&any, dtype, shape, true) : test_dense(&any, dtype, shape);
}

/* Each index in turn. */
static void windows_use(ht_context *ctx, int k)
{
    int n = 0;
    while (hti_context_use(ctx, n + HTI_BASELINE)) n++;
    hti_context_use(ctx, k % n + HTI_BASELINE);
}

/* Element (i, j) of window `at` of y lies at the flat place of x, or outside: -1. */
static int64_t window_place(const struct windows *w, int64_t at, int64_t i, int64_t j)
{
    int64_t col = at % w->y.dim[3], row = at / w->y.dim[3] % w->y.dim[2];
    int64_t plane = at / w->y.dim[3] / w->y.dim[2];
    i += row * w->g.stride[0] - w->g.padding[0];
    j += col * w->g.stride[1] - w->g.padding[1];
    bool inside = i >= 0 && i < w->x.dim[2] && j >= 0 && j < w->x.dim[3];
    return inside ? (plane * w->x.dim[2] + i) * w->x.dim[3] + j : -1;
}

static void max_pool_index_random_views_find_the_first_largest(void **state)
{
    (void)state;
    ht_context *ctx = test_context(2);
    for (int k = 0; k < 500; k++) {
        struct windows w = windows_any();
        struct test_array x = windows_array(k, k % 2 ? HT_F32 : HT_F64, w.x);
        struct test_array index = test_dense(&any, HT_I32, w.y);
        windows_use(ctx, k);
        /* Views repeat elements; and few different values, some of them NaN. */
        for (int64_t i = 0; k % 5 == 0 && i < ht_shape_count(w.x); i++)
            test_put(&x.array, i,
                     test_below(&any, 9) ? (double)test_below(&any, 3) : (double)NAN);
        hti_kernel(ctx, max_pool_index, index.array, x.array, &w.g);
        for (int64_t at = 0; at < ht_shape_count(w.y); at++) {
            int64_t best = -1, plane = w.x.dim[2] * w.x.dim[3];
            double most = 0;
            for (int64_t i = 0; i < w.g.kernel[0]; i++)
                for (int64_t j = 0; j < w.g.kernel[1]; j++) {
                    int64_t place = window_place(&w, at, i, j);
                    if (place < 0) continue;
                    double value = test_get(&x.array, place);
                    if (best >= 0 && !(value > most) && !(isnan(value) && !isnan(most)))
                        continue;
                    best = place;
                    most = value;
                }
            assert_near(test_get(&index.array, at), best % plane, 0);
        }
        test_array_free(&x), test_array_free(&index);
    }
    ht_context_free(ctx);
}

static void avg_pool_and_its_transpose_agree_with_loops(void **state)
{
    (void)state;
    ht_context *ctx = test_context(2);
    for (int k = 0; k < 500; k++) {
        struct windows w = windows_any();
        ht_dtype dtype = k % 2 ? HT_F32 : HT_F64;
        double tolerance = dtype == HT_F32 ? 2e-5 : 1e-13;
        struct test_array x = windows_array(k, dtype, w.x), mean;
        struct test_array y = windows_array(k, dtype, w.y), spread;
        windows_use(ctx, k);
        mean = test_dense(&any, dtype, w.y), spread = test_dense(&any, dtype, w.x);
        hti_kernel(ctx, avg_pool, mean.array, x.array, &w.g);
        hti_kernel(ctx, avg_pool_spread, spread.array, y.array, &w.g);
        double *want = calloc((size_t)ht_shape_count(w.x) + 1, sizeof *want);
        double scale = 1 / (double)(w.g.kernel[0] * w.g.kernel[1]);
        for (int64_t at = 0; at < ht_shape_count(w.y); at++) {
            double sum = 0;
            for (int64_t i = 0; i < w.g.kernel[0]; i++)
                for (int64_t j = 0; j < w.g.kernel[1]; j++) {
                    int64_t place = window_place(&w, at, i, j);
                    if (place < 0) continue;
                    sum += test_get(&x.array, place) * scale;
                    want[place] += test_get(&y.array, at) * scale;
                }
            assert_near(test_get(&mean.array, at), sum, tolerance);
        }
        for (int64_t i = 0; i < ht_shape_count(w.x); i++)
            assert_near(test_get(&spread.array, i), want[i], tolerance);
        free(want);
        test_array_free(&x), test_array_free(&y);
        test_array_free(&mean), test_array_free(&spread);
    }
    ht_context_free(ctx);
}

/* Ties and NaN of few different values included. */
static void pool_any_instruction_set_and_threads_give_the_same_bits(void **state)
{
    (void)state;
    ht_shape wide = HT_SHAPE(3, 70, 19, 34), narrow = HT_SHAPE(3, 70, 10, 17);
    hti_pool_geometry g = {{3, 2}, {2, 2}, {1, 0}};
    ht_context *ctx = test_context(1);
    for (int d = HT_F32; d <= HT_F64; d++) {
        ht_dtype dtype = (ht_dtype)d;
        struct test_array x = test_dense(&any, dtype, wide), y, first[3], next[3];
        y = test_dense(&any, dtype, narrow);
        for (int64_t i = 0; i < ht_shape_count(wide); i += 2)
            test_put(&x.array, i, i % 5 ? (double)(i % 3) : (double)NAN);
        for (int isa = HTI_BASELINE; hti_context_use(ctx, isa); isa++)
            for (int threads = 1; threads <= 2; threads++) {
                bool begin = isa == HTI_BASELINE && threads == 1;
                struct test_array *to = begin ? first : next;
                ctx->options.threads = threads;
                to[0] = test_dense(&any, HT_I32, narrow);
                to[1] = test_dense(&any, dtype, narrow);
                to[2] = test_dense(&any, dtype, wide);
                hti_kernel(ctx, max_pool_index, to[0].array, x.array, &g);
                hti_kernel(ctx, avg_pool, to[1].array, x.array, &g);
                hti_kernel(ctx, avg_pool_spread, to[2].array, y.array, &g);
                for (int i = 0; i < 3 && !begin; i++) {
                    test_same_bits(&to[i].array, &first[i].array, ctx->kernels->name);
                    test_array_free(&to[i]);
                }
            }
        for (int i = 0; i < 3; i++) test_array_free(&first[i]);
        test_array_free(&x), test_array_free(&y);
    }
    ht_context_free(ctx);
}

static void take_last_and_put_last_random_views_go_by_index(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 500; k++) {
        ht_dtype dtype = k % 2 ? HT_F32 : HT_F64;
        int64_t rows = test_below(&any, 5), m = 1 + test_below(&any, 9);
        int64_t n = test_below(&any, 9);
        ht_shape wide = HT_SHAPE(2, rows, m), narrow = HT_SHAPE(2, rows, n);
        struct test_array x = test_view(&any, dtype, wide, true);
        struct test_array y = test_view(&any, dtype, narrow, true);
        struct test_array index = test_view(&any, HT_I32, narrow, false);
        struct test_array took = test_dense(&any, dtype, narrow);
        struct test_array put = test_dense(&any, dtype, wide);
        for (int64_t i = 0; i < ht_shape_count(narrow); i++)
            test_put(&index.array, i, (double)test_below(&any, m));
        assert_int_equal(hti_kernel(ctx, take_last, took.array, x.array, index.array),
                         -1);
        assert_int_equal(hti_kernel(ctx, put_last, put.array, y.array, index.array), -1);
        double *want = calloc((size_t)ht_shape_count(wide) + 1, sizeof *want);
        for (int64_t i = 0; i < ht_shape_count(narrow); i++) {
            int64_t to = i / n * m + (int64_t)test_get(&index.array, i);
            assert_near(test_get(&took.array, i), test_get(&x.array, to), 0);
            want[to] += test_get(&y.array, i);
        }
        for (int64_t i = 0; i < ht_shape_count(wide); i++)
            assert_near(test_get(&put.array, i), want[i], dtype == HT_F32 ? 2e-5 : 1e-13);
        if (rows && n) {
            test_put(&index.array, n, (double)m);
            assert_int_equal(hti_kernel(ctx, put_last, put.array, y.array, index.array),
                             n);
            assert_int_equal(hti_kernel(ctx, take_last, took.array, x.array, index.array),
                             n);
        }
        free(want);
        test_array_free(&x), test_array_free(&y), test_array_free(&index);
        test_array_free(&took), test_array_free(&put);
    }
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv_random_views_agree_with_loops),
        cmocka_unit_test(conv_wide_rows_agree_with_loops),
        cmocka_unit_test(conv_three_by_three_in_place_agrees_with_loops),
        cmocka_unit_test(conv_any_thread_count_gives_the_same_bits),
        cmocka_unit_test(conv_rows_alike_in_several_tiles_agree_with_loops),
        cmocka_unit_test(max_pool_index_random_views_find_the_first_largest),
        cmocka_unit_test(avg_pool_and_its_transpose_agree_with_loops),
        cmocka_unit_test(pool_any_instruction_set_and_threads_give_the_same_bits),
        cmocka_unit_test(take_last_and_put_last_random_views_go_by_index),
    };
    any.seed = test_seed();
    return TEST_MAIN(tests);
}
