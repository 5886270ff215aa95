/* SPDX-License-Identifier: MIT */
/* test_tensor_norm.c: normalised rows and triangles against plain loops over random
 * views, and the same bits for every instruction set and thread count. Read next:
 * tensor/fast/rows.c. */
#include "test_arrays.h"

enum { CASES = 300 };

static void check_normalize(ht_context *ctx, const struct test_array *a, bool centred)
{
    ht_array x = a->array;
    int64_t columns = x.shape.dim[x.shape.rank - 1];
    int64_t n = ht_shape_count(x.shape), rows = columns ? n / columns : 0;
    struct test_random none = {1, 0};
    struct test_array y = test_dense(&none, x.dtype, x.shape);
    hti_kernel(ctx, normalize, y.array, 1, (const ht_array *[]){&x}, 0.01, centred);
    double tolerance = x.dtype == HT_F32 ? 1e-6 : 1e-13;
    for (int64_t r = 0; r < rows; r++) {
        long double total = 0, square = 0;
        for (int64_t c = 0; c < columns && centred; c++)
            total += (long double)test_get(&x, r * columns + c);
        double mean = (double)(total / (long double)columns);
        for (int64_t c = 0; c < columns; c++)
            square += (long double)pow(test_get(&x, r * columns + c) - mean, 2);
        double scale = 1 / sqrt((double)square / (double)columns + 0.01);
        for (int64_t c = 0; c < columns; c++)
            assert_near(test_get(&y.array, r * columns + c),
                        (test_get(&x, r * columns + c) - mean) * scale, tolerance);
    }
    test_array_free(&y);
}

/* s (v - mean v - y mean(y v)) */
static void check_slope(ht_context *ctx, const struct test_array *a,
                        const struct test_array *v, bool centred)
{
    ht_array x = a->array;
    struct test_random none = {1, 0};
    int64_t columns = x.shape.dim[x.shape.rank - 1];
    int64_t n = ht_shape_count(x.shape), rows = columns ? n / columns : 0;
    struct test_array out = test_dense(&none, x.dtype, x.shape);
    hti_kernel(ctx, normalize, out.array, 2, (const ht_array *[]){&x, &v->array}, 0.01,
               centred);
    double tolerance = x.dtype == HT_F32 ? 3e-6 : 1e-13, count = (double)columns;
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0, square = 0, plain = 0, dot = 0, most = 0;
        for (int64_t c = r * columns; c < (r + 1) * columns && centred; c++) {
            mean += test_get(&x, c) / count;
            plain += test_get(&v->array, c) / count;
        }
        for (int64_t c = r * columns; c < (r + 1) * columns; c++) {
            square += pow(test_get(&x, c) - mean, 2) / count;
            dot += (test_get(&x, c) - mean) * test_get(&v->array, c) / count;
            most = fmax(most, fabs(test_get(&v->array, c)));
        }
        double s = 1 / sqrt(square + 0.01);
        for (int64_t c = r * columns; c < (r + 1) * columns; c++) {
            double y = (test_get(&x, c) - mean) * s;
            double want = s * (test_get(&v->array, c) - plain - y * dot * s);
            double room = tolerance * s * (1 + most) * (1 + y * y);
            if (!(fabs(test_get(&out.array, c) - want) <= room))
                fail_msg("%lld columns, at %lld: got %.17g, want %.17g",
                         (long long)columns, (long long)c, test_get(&out.array, c), want);
        }
    }
    test_array_free(&out);
}

static void normalize_of_random_views_is_the_formula(void **state)
{
    (void)state;
    struct test_random random = {test_seed(), 0};
    ht_context *ctx = test_context(1);
    for (int k = 0; k < CASES; k++) {
        ht_shape shape = test_shape(&random);
        if (shape.rank == 0) shape = HT_SHAPE(1 + test_below(&random, 1500));
        struct test_array a = test_view(&random, k % 2 ? HT_F32 : HT_F64, shape, true);
        struct test_array v = test_view(&random, a.array.dtype, shape, true);
        for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); isa++) {
            check_normalize(ctx, &a, k % 3 > 0);
            check_slope(ctx, &a, &v, k % 3 > 0);
        }
        test_array_free(&a);
        test_array_free(&v);
    }
    ht_context_free(ctx);
}

/* Squares that f32 does not hold, and a mean a million times the rest. */
static void normalize_of_any_scale_keeps_its_digits(void **state)
{
    (void)state;
    enum { N = 37 };
    ht_context *ctx = test_context(1);
    static const double scale[] = {1e-30, 1e-12, 1, 1e12, 1e25, 1e36}, mean[] = {0, 4e6};
    for (int k = 0; k < 12; k++) {
        double by = scale[k / 2], total = 0, square = 0;
        float x[N], v[N], y[N], slope[N];
        for (int i = 0; i < N; i++) x[i] = (float)((mean[k % 2] + i % 11 + i % 5) * by);
        for (int i = 0; i < N; i++) v[i] = (float)(1e34 * cos(i)), total += (double)x[i];
        for (int i = 0; i < N; i++) square += pow((double)x[i] - total / N, 2) / N;
        if (!(by * (1 + mean[k % 2]) < 1e37)) continue;
        double eps = by * by * 1e-3, s = 1 / sqrt(square + eps), plain = 0, dot = 0;
        ht_array a = hti_contiguous(x, HT_F32, HT_SHAPE(1, N)), b = a, out = a, along = a;
        b.data = v, out.data = y, along.data = slope;
        hti_kernel(ctx, normalize, out, 1, (const ht_array *[]){&a}, eps, true);
        hti_kernel(ctx, normalize, along, 2, (const ht_array *[]){&a, &b}, eps, true);
        for (int i = 0; i < N; i++) {
            double want = ((double)x[i] - total / N) * s;
            assert_near((double)y[i], want, 1e-6);
            plain += (double)v[i] / N, dot += want * (double)v[i] / N;
        }
        for (int i = 0; i < N; i++) {
            double unit = ((double)x[i] - total / N) * s;
            double want = s * ((double)v[i] - plain - unit * dot);
            if (s * 1e34 < 1e37)
                assert_near((double)slope[i] / (s * 1e34), want / (s * 1e34), 1e-5);
        }
    }
    ht_context_free(ctx);
}

/* Each row a hundred million and a little: the mean must go first. */
static void normalize_of_a_large_mean_keeps_the_rest(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    double x[5] = {1e8 - 2, 1e8 - 1, 1e8, 1e8 + 1, 1e8 + 2}, y[5];
    ht_array from = hti_contiguous(x, HT_F64, HT_SHAPE(1, 5));
    hti_kernel(ctx, normalize, hti_contiguous(y, HT_F64, HT_SHAPE(1, 5)), 1,
               (const ht_array *[]){&from}, 1e-5, true);
    for (int i = 0; i < 5; i++) assert_near(y[i], (i - 2) / sqrt(2 + 1e-5), 1e-15);
    ht_context_free(ctx);
}

/* Large enough for two threads, dense and strided. */
static void normalize_has_the_same_bits_everywhere(void **state)
{
    (void)state;
    struct test_random random = {test_seed(), 0};
    for (int k = 0; k < 12; k++) {
        ht_dtype dtype = k % 2 ? HT_F32 : HT_F64;
        int64_t columns = (int64_t[]){1, 7, 67, 513, 1030, 2500}[k / 2];
        ht_shape shape = HT_SHAPE(1 + 70000 / columns, columns);
        struct test_array a = test_view(&random, dtype, shape, false);
        struct test_array dense = test_dense(&random, dtype, shape);
        struct test_array want = test_dense(&random, dtype, shape);
        struct test_array got = test_dense(&random, dtype, shape);
        ht_context *ctx = test_context(1);
        hti_run_copy(ctx, dense.array, a.array);
        struct test_array slope = test_dense(&random, dtype, shape);
        hti_context_use(ctx, HTI_BASELINE);
        hti_kernel(ctx, normalize, want.array, 1, (const ht_array *[]){&dense.array},
                   1e-3, k % 3 > 0);
        hti_kernel(ctx, normalize, slope.array, 2,
                   (const ht_array *[]){&dense.array, &want.array}, 1e-3, true);
        for (int i = HTI_BASELINE; hti_context_use(ctx, i); i++)
            for (int threads = 1; threads <= 2; threads++) {
                ctx->options.threads = threads;
                hti_kernel(ctx, normalize, got.array, 1, (const ht_array *[]){&a.array},
                           1e-3, k % 3 > 0);
                test_same_bits(&got.array, &want.array, ctx->kernels->name);
                hti_kernel(ctx, normalize, got.array, 2,
                           (const ht_array *[]){&a.array, &want.array}, 1e-3, true);
                test_same_bits(&got.array, &slope.array, ctx->kernels->name);
            }
        ht_context_free(ctx);
        test_array_free(&a);
        test_array_free(&dense);
        test_array_free(&want);
        test_array_free(&got);
        test_array_free(&slope);
    }
}

static void tril_of_random_views_is_the_formula(void **state)
{
    (void)state;
    struct test_random random = {test_seed(), 0};
    ht_context *ctx = test_context(1);
    for (int k = 0; k < CASES; k++) {
        ht_shape shape = test_shape(&random);
        if (shape.rank < 2) shape = HT_SHAPE(3, 1 + test_below(&random, 70));
        struct test_array a = test_view(&random, k % 2 ? HT_F32 : HT_F64, shape, true);
        struct test_array y = test_dense(&random, a.array.dtype, shape);
        int64_t columns = shape.dim[shape.rank - 1], rows = shape.dim[shape.rank - 2];
        int64_t diagonal = test_below(&random, 13) - 6;
        hti_kernel(ctx, tril, y.array, a.array, diagonal, -(double)INFINITY);
        for (int64_t i = 0; i < ht_shape_count(shape); i++) {
            bool keep = i % columns - i / columns % rows <= diagonal;
            assert_near(test_get(&y.array, i),
                        keep ? test_get(&a.array, i) : -(double)INFINITY, 0);
        }
        test_array_free(&a);
        test_array_free(&y);
    }
    ht_context_free(ctx);
}

/* (s, 2 s, -3 s): (1, 2, -3) / sqrt(14/3) whatever s, with the mean, which is 0, or not.
 */
static void normalize_of_any_size_is_the_same_row(void **state)
{
    (void)state;
    static const double f32[] = {1e-30, 1e-12, 1, 1e19, 1e30, 5e37},
                        f64[] = {1e-140, 1e-130, 1, 1e155, 1e200, 1e300};
    struct test_random any = {test_seed(), 0};
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 24; ++k) {
        ht_dtype dtype = k % 2 ? HT_F64 : HT_F32;
        double s = (k % 2 ? f64 : f32)[k / 4], tolerance = k % 2 ? 1e-15 : 3e-7;
        struct test_array a = test_dense(&any, dtype, HT_SHAPE(1, 3)),
                          out = test_dense(&any, dtype, HT_SHAPE(1, 3));
        for (int i = 0; i < 3; ++i) test_put(&a.array, i, s * (i < 2 ? i + 1 : -3));
        for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
            hti_kernel(ctx, normalize, out.array, 1, (const ht_array *[]){&a.array},
                       1e-300, k % 4 > 1);
            for (int i = 0; i < 3; ++i) {
                double want = (i < 2 ? i + 1 : -3) / sqrt(14 / 3.0);
                assert_near(test_get(&out.array, i), want, tolerance * 3);
            }
        }
        test_array_free(&a), test_array_free(&out);
    }
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalize_of_any_size_is_the_same_row),
        cmocka_unit_test(normalize_of_random_views_is_the_formula),
        cmocka_unit_test(normalize_of_a_large_mean_keeps_the_rest),
        cmocka_unit_test(normalize_of_any_scale_keeps_its_digits),
        cmocka_unit_test(normalize_has_the_same_bits_everywhere),
        cmocka_unit_test(tril_of_random_views_is_the_formula),
    };
    return TEST_MAIN(tests);
}
