/* SPDX-License-Identifier: MIT */
/* test_tensor_rows.c: softmax, log-softmax, cross-entropy and argmax against plain f64
 * loops: every row length about a tile, random views, extreme and non-finite rows. */
#include "test_arrays.h"

static struct test_random any;

/* max and log(sum(exp(a - max))) of row r. */
static double row_log_sum(const ht_array *a, int64_t r, int64_t columns, double *top)
{
    double sum = 0;
    *top = -INFINITY;
    for (int64_t c = 0; c < columns; ++c) *top = fmax(*top, test_get(a, r * columns + c));
    for (int64_t c = 0; c < columns; ++c) sum += exp(test_get(a, r * columns + c) - *top);
    return log(sum);
}

static void check_rows(ht_context *ctx, const ht_array *a)
{
    double tolerance = a->dtype == HT_F32 ? 2e-6 : 1e-13;
    int64_t columns = a->shape.dim[a->shape.rank - 1], n = ht_shape_count(a->shape);
    struct test_array soft = test_dense(&any, a->dtype, a->shape);
    struct test_array logs = test_dense(&any, a->dtype, a->shape);
    hti_kernel(ctx, softmax, soft.array, *a);
    hti_kernel(ctx, log_softmax, logs.array, *a);
    for (int64_t r = 0; columns && r < n / columns; ++r) {
        double top, log_sum = row_log_sum(a, r, columns, &top);
        for (int64_t i = r * columns; i < (r + 1) * columns; ++i) {
            double want = test_get(a, i) - top - log_sum;
            assert_near(test_get(&logs.array, i), want, tolerance);
            assert_near(test_get(&soft.array, i) / exp(want), 1, tolerance * 10);
        }
    }
    test_array_free(&soft), test_array_free(&logs);
}

static void check_labels(ht_context *ctx, const ht_array *a)
{
    int64_t n = a->shape.dim[0], columns = a->shape.dim[1];
    struct test_array labels = test_view(&any, HT_I32, HT_SHAPE(n), false);
    struct test_array logs = test_dense(&any, a->dtype, a->shape);
    struct test_array out = test_dense(&any, a->dtype, HT_SHAPE(n));
    for (int64_t i = 0; i < n; ++i)
        test_put(&labels.array, i, (double)test_below(&any, columns));
    hti_kernel(ctx, log_softmax, logs.array, *a);
    assert_int_equal(hti_kernel(ctx, cross_entropy, out.array, *a, labels.array), -1);
    for (int64_t i = 0; i < n; ++i) {
        int64_t k = (int64_t)test_get(&labels.array, i);
        assert_near(test_get(&out.array, i), -test_get(&logs.array, i * columns + k), 0);
    }
    test_array_free(&labels), test_array_free(&logs), test_array_free(&out);
}

static void rows_any_length_match_reference(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    static const int64_t longer[] = {100, 255,  256,  257,  511, 512,
                                     513, 1023, 1024, 1025, 3000};
    for (int k = 1; k < 68 + (int)(sizeof longer / sizeof *longer); ++k)
        for (int d = HT_F32; d <= HT_F64; ++d)
            for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
                int64_t columns = k < 68 ? k : longer[k - 68],
                        rows = 1 + test_below(&any, 70);
                hti_context_use(ctx, isa);
                struct test_array a =
                    test_view(&any, (ht_dtype)d, HT_SHAPE(rows, columns), true);
                check_rows(ctx, &a.array);
                check_labels(ctx, &a.array);
                test_array_free(&a);
            }
    ht_context_free(ctx);
}

static void softmax_random_ranks_match_reference(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 600; ++k) {
        ht_shape shape = test_shape(&any);
        if (shape.rank == 0) shape = HT_SHAPE(1);
        struct test_array a = test_view(&any, k % 2 ? HT_F32 : HT_F64, shape, true);
        check_rows(ctx, &a.array);
        test_array_free(&a);
    }
    ht_context_free(ctx);
}

static void softmax_every_isa_same_bits(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int64_t columns = 1; columns < 1100; columns += 1 + columns / 8)
        for (int d = HT_F32; d <= HT_F64; ++d) {
            ht_shape shape = HT_SHAPE(60, columns);
            struct test_array a = test_dense(&any, (ht_dtype)d, shape);
            struct test_array first = test_dense(&any, (ht_dtype)d, shape);
            struct test_array out = test_dense(&any, (ht_dtype)d, shape);
            for (int kind = 0; kind < 2; ++kind)
                for (int isa = HTI_BASELINE; hti_context_use(ctx, isa); ++isa) {
                    (kind ? ctx->kernels->softmax
                          : ctx->kernels->log_softmax)(ctx, out.array, a.array);
                    if (isa == HTI_BASELINE) hti_run_copy(ctx, first.array, out.array);
                    test_same_bits(&out.array, &first.array, ctx->kernels->name);
                }
            test_array_free(&a), test_array_free(&first), test_array_free(&out);
        }
    ht_context_free(ctx);
}

static void softmax_extreme_rows_stay_finite(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    float a[] = {3e38f, -3e38f, 3e38f, -INFINITY, 1000, 999, -1e30f, -1e30f, -1e30f},
          out[9];
    ht_array in = hti_contiguous(a, HT_F32, HT_SHAPE(3, 3));
    ht_array to = hti_contiguous(out, HT_F32, HT_SHAPE(3, 3));
    const double e = exp(-1),
                 want[] = {0.5,         0,       0.5,     0,      1 / (1 + e),
                           e / (1 + e), 1.0 / 3, 1.0 / 3, 1.0 / 3};
    hti_kernel(ctx, softmax, to, in);
    for (int i = 0; i < 9; ++i) assert_near(out[i], want[i], 1e-7);
    hti_kernel(ctx, log_softmax, to, in);
    for (int i = 0; i < 9; ++i) assert_near(exp((double)out[i]), want[i], 1e-6);
    ht_context_free(ctx);
}

static void softmax_nan_fills_its_row_only(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int64_t columns = 1; columns <= 600; columns += columns < 40 ? 1 : 93)
        for (int k = 0; k < 4; ++k) {
            ht_shape shape = HT_SHAPE(5, columns);
            struct test_array a = test_dense(&any, HT_F32, shape);
            struct test_array out = test_dense(&any, HT_F32, shape);
            test_put(&a.array, 2 * columns + test_below(&any, columns), NAN);
            (k % 2 ? ctx->kernels->softmax : ctx->kernels->log_softmax)(ctx, out.array,
                                                                        a.array);
            for (int64_t i = 0; i < 5 * columns; ++i)
                assert_int_equal(isnan(test_get(&out.array, i)) != 0, i / columns == 2);
            test_array_free(&a), test_array_free(&out);
        }
    ht_context_free(ctx);
}

static void cross_entropy_label_outside_is_reported(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    float a[12] = {0}, out[4] = {-7, -7, -7, -7};
    int32_t labels[] = {0, 2, 3, -1};
    ht_array in = hti_contiguous(a, HT_F32, HT_SHAPE(4, 3));
    ht_array to = hti_contiguous(out, HT_F32, HT_SHAPE(4));
    ht_array label = hti_contiguous(labels, HT_I32, HT_SHAPE(4));
    assert_int_equal(hti_kernel(ctx, cross_entropy, to, in, label), 2);
    for (int i = 0; i < 4; ++i) assert_near(out[i], -7, 0);
    labels[2] = 1;
    assert_int_equal(hti_kernel(ctx, cross_entropy, to, in, label), 3);
    labels[3] = 2;
    assert_int_equal(hti_kernel(ctx, cross_entropy, to, in, label), -1);
    for (int i = 0; i < 4; ++i) assert_near(out[i], log(3), 1e-7);
    ht_context_free(ctx);
}

static void argmax_random_views_find_first_largest(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 600; ++k) {
        ht_shape shape = test_shape(&any);
        if (shape.rank == 0 || shape.dim[shape.rank - 1] == 0) continue;
        struct test_array a = test_view(&any, (ht_dtype)(1 + k % 4), shape, true);
        int64_t columns = shape.dim[--shape.rank];
        struct test_array out = test_dense(&any, HT_I32, shape);
        for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
            hti_kernel(ctx, argmax, out.array, a.array);
            for (int64_t r = 0; r < ht_shape_count(shape); ++r) {
                int64_t best = 0;
                for (int64_t c = 1; c < columns; ++c)
                    if (test_get(&a.array, r * columns + c) >
                        test_get(&a.array, r * columns + best))
                        best = c;
                assert_near(test_get(&out.array, r), best, 0);
            }
        }
        test_array_free(&a), test_array_free(&out);
    }
    ht_context_free(ctx);
}

static void argmax_nan_counts_as_largest(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    float a[] = {1, NAN, INFINITY, NAN};
    int32_t out = -1;
    hti_kernel(ctx, argmax, hti_contiguous(&out, HT_I32, HT_SCALAR),
               hti_contiguous(a, HT_F32, HT_SHAPE(4)));
    assert_int_equal(out, 1);
    ht_context_free(ctx);
}

static void softmax_large_arrays_same_bits_for_any_threads(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_shape shapes[] = {HT_SHAPE(20011, 10), HT_SHAPE(3, 50021), HT_SHAPE(100, 11, 101)};
    for (int k = 0; k < 6; ++k) {
        struct test_array a = test_view(&any, HT_F32, shapes[k % 3], false);
        struct test_array one = test_dense(&any, HT_F32, shapes[k % 3]);
        struct test_array two = test_dense(&any, HT_F32, shapes[k % 3]);
        ctx->options.threads = 1;
        hti_kernel(ctx, softmax, one.array, a.array);
        ctx->options.threads = 2;
        hti_kernel(ctx, softmax, two.array, a.array);
        test_same_bits(&two.array, &one.array, "2 threads");
        check_rows(ctx, &a.array);
        test_array_free(&a), test_array_free(&one), test_array_free(&two);
    }
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_any_length_match_reference),
        cmocka_unit_test(softmax_random_ranks_match_reference),
        cmocka_unit_test(softmax_every_isa_same_bits),
        cmocka_unit_test(softmax_extreme_rows_stay_finite),
        cmocka_unit_test(softmax_nan_fills_its_row_only),
        cmocka_unit_test(softmax_large_arrays_same_bits_for_any_threads),
        cmocka_unit_test(cross_entropy_label_outside_is_reported),
        cmocka_unit_test(argmax_random_views_find_first_largest),
        cmocka_unit_test(argmax_nan_counts_as_largest),
    };
    any.seed = test_seed();
    return TEST_MAIN(tests);
}
