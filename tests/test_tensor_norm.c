/* SPDX-License-Identifier: MIT */
/* test_tensor_norm.c: normalised rows and triangles against plain loops over random
 * views, and the same bits for every instruction set and thread count. Read next:
 * tensor/norm.c. */
#include "test_arrays.h"

enum { CASES = 300 };

static void check_normalize(ht_context *ctx, const struct test_array *a, bool centred)
{
    ht_array x = a->array;
    int64_t columns = x.shape.dim[x.shape.rank - 1];
    int64_t n = ht_shape_count(x.shape), rows = columns ? n / columns : 0;
    struct test_random none = {1, 0};
    ht_shape one = x.shape;
    one.dim[one.rank - 1] = 1;
    struct test_array y = test_dense(&none, x.dtype, x.shape);
    struct test_array s = test_dense(&none, x.dtype, one);
    hti_run_normalize(ctx, y.array, x, 0.01, centred);
    hti_run_inverse_deviation(ctx, s.array, x, 0.01, centred);
    double tolerance = x.dtype == HT_F32 ? 1e-6 : 1e-13;
    for (int64_t r = 0; r < rows; r++) {
        long double total = 0, square = 0;
        for (int64_t c = 0; c < columns && centred; c++)
            total += (long double)test_get(&x, r * columns + c);
        double mean = (double)(total / (long double)columns);
        for (int64_t c = 0; c < columns; c++)
            square += (long double)pow(test_get(&x, r * columns + c) - mean, 2);
        double scale = 1 / sqrt((double)square / (double)columns + 0.01);
        assert_near(test_get(&s.array, r), scale, tolerance);
        for (int64_t c = 0; c < columns; c++)
            assert_near(test_get(&y.array, r * columns + c),
                        (test_get(&x, r * columns + c) - mean) * scale, tolerance);
    }
    test_array_free(&y);
    test_array_free(&s);
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
        check_normalize(ctx, &a, k % 3 > 0);
        test_array_free(&a);
    }
    ht_context_free(ctx);
}

/* Each row a hundred million and a little: the mean must go first. */
static void normalize_of_a_large_mean_keeps_the_rest(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    double x[5] = {1e8 - 2, 1e8 - 1, 1e8, 1e8 + 1, 1e8 + 2}, y[5];
    hti_run_normalize(ctx, hti_contiguous(y, HT_F64, HT_SHAPE(1, 5)),
                      hti_contiguous(x, HT_F64, HT_SHAPE(1, 5)), 1e-5, true);
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
        ht_context *one = test_context(1);
        hti_run_copy(one, dense.array, a.array);
        one->kernels = hti_kernels_at(0);
        hti_run_normalize(one, want.array, dense.array, 1e-3, k % 3 > 0);
        for (int i = 0; hti_kernels_at(i); i++)
            for (int threads = 1; threads <= 2; threads++) {
                ht_context *ctx = test_context(threads);
                ctx->kernels = hti_kernels_at(i);
                hti_run_normalize(ctx, got.array, a.array, 1e-3, k % 3 > 0);
                test_same_bits(&got.array, &want.array, hti_kernels_name(ctx->kernels));
                ht_context_free(ctx);
            }
        ht_context_free(one);
        test_array_free(&a);
        test_array_free(&dense);
        test_array_free(&want);
        test_array_free(&got);
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
        hti_run_tril(ctx, y.array, a.array, diagonal, -(double)INFINITY);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalize_of_random_views_is_the_formula),
        cmocka_unit_test(normalize_of_a_large_mean_keeps_the_rest),
        cmocka_unit_test(normalize_has_the_same_bits_everywhere),
        cmocka_unit_test(tril_of_random_views_is_the_formula),
    };
    return TEST_MAIN(tests);
}
