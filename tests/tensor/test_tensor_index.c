/* SPDX-License-Identifier: MIT */
/* test_tensor_index.c: one-hot, gather and scatter-add on random views against plain
 * loops. */
#include "test_arrays.h"

static struct test_random any;

/* Shape of `index` followed by `row`, at most six axes together. */
static ht_shape joined_shape(ht_shape index, ht_shape row)
{
    for (int i = 0; i < row.rank; ++i) index.dim[index.rank++] = row.dim[i];
    return index;
}

static ht_shape small_shape(int rank)
{
    ht_shape shape = {.rank = rank};
    for (int i = 0; i < rank; ++i)
        shape.dim[i] = test_below(&any, 30) ? 1 + test_below(&any, 5) : 0;
    return shape;
}

static struct test_array random_index(ht_shape shape, int64_t below)
{
    struct test_array index = test_view(&any, HT_I32, shape, false);
    for (int64_t i = 0, n = ht_shape_count(shape); i < n; ++i)
        test_put(&index.array, i, (double)test_below(&any, below));
    return index;
}

static void gather_random_views_take_rows(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 800; ++k) {
        ht_dtype dtype = (ht_dtype)(1 + k % 4);
        ht_shape row = small_shape((int)test_below(&any, 3));
        ht_shape index_shape = small_shape((int)test_below(&any, 4));
        int64_t rows = 1 + test_below(&any, 9);
        struct test_array index = random_index(index_shape, rows);
        struct test_array x =
            test_view(&any, dtype, joined_shape(HT_SHAPE(rows), row), true);
        struct test_array out = test_dense(&any, dtype, joined_shape(index_shape, row));
        assert_int_equal(hti_kernel(ctx, gather, out.array, x.array, index.array), -1);
        int64_t length = ht_shape_count(row);
        for (int64_t i = 0, n = ht_shape_count(out.array.shape); i < n; ++i) {
            int64_t from =
                (int64_t)test_get(&index.array, i / length) * length + i % length;
            assert_near(test_get(&out.array, i), test_get(&x.array, from), 0);
        }
        test_array_free(&index), test_array_free(&x), test_array_free(&out);
    }
    ht_context_free(ctx);
}

static void scatter_add_random_views_add_in_order(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 800; ++k) {
        ht_dtype dtype = (ht_dtype)(1 + k % 3);
        ht_shape row = small_shape((int)test_below(&any, 3));
        ht_shape index_shape = small_shape((int)test_below(&any, 4));
        int64_t rows = 1 + test_below(&any, 4);
        struct test_array index = random_index(index_shape, rows);
        struct test_array x =
            test_view(&any, dtype, joined_shape(index_shape, row), true);
        struct test_array out =
            test_dense(&any, dtype, joined_shape(HT_SHAPE(rows), row));
        struct test_array want = test_dense(&any, dtype, out.array.shape);
        hti_run_copy(ctx, want.array, out.array);
        int64_t length = ht_shape_count(row);
        for (int64_t i = 0, n = ht_shape_count(x.array.shape); i < n; ++i) {
            int64_t to =
                (int64_t)test_get(&index.array, i / length) * length + i % length;
            test_put(&want.array, to, test_get(&want.array, to) + test_get(&x.array, i));
        }
        assert_int_equal(hti_kernel(ctx, scatter_add, out.array, index.array, x.array),
                         -1);
        test_same_bits(&out.array, &want.array, "scatter_add");
        test_array_free(&index), test_array_free(&x);
        test_array_free(&out), test_array_free(&want);
    }
    ht_context_free(ctx);
}

static void one_hot_every_dtype_marks_the_label(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 200; ++k) {
        ht_shape shape = small_shape((int)test_below(&any, 4));
        int64_t classes = 1 + test_below(&any, 12);
        struct test_array labels = random_index(shape, classes);
        struct test_array out = test_dense(&any, (ht_dtype)(1 + k % 4),
                                           joined_shape(shape, HT_SHAPE(classes)));
        assert_int_equal(hti_kernel(ctx, one_hot, out.array, labels.array), -1);
        for (int64_t i = 0, n = ht_shape_count(out.array.shape); i < n; ++i)
            assert_near(test_get(&out.array, i),
                        i % classes == (int64_t)test_get(&labels.array, i / classes), 0);
        test_array_free(&labels), test_array_free(&out);
    }
    ht_context_free(ctx);
}

static void index_outside_is_reported_and_nothing_written(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    float x[] = {1, 2, 3, 4, 5, 6}, out[12];
    int32_t index[] = {0, 2, 3, -1};
    ht_array from = hti_contiguous(x, HT_F32, HT_SHAPE(3, 2));
    ht_array at = hti_contiguous(index, HT_I32, HT_SHAPE(2, 2));
    for (int i = 0; i < 12; ++i) out[i] = -7;
    ht_array rows = hti_contiguous(out, HT_F32, HT_SHAPE(2, 2, 2));
    ht_array hot = hti_contiguous(out, HT_F32, HT_SHAPE(2, 2, 3));
    assert_int_equal(hti_kernel(ctx, gather, rows, from, at), 2);
    assert_int_equal(hti_kernel(ctx, scatter_add, from, at, rows), 2);
    assert_int_equal(hti_kernel(ctx, one_hot, hot, at), 2);
    index[2] = 1;
    assert_int_equal(hti_kernel(ctx, gather, rows, from, at), 3);
    for (int i = 0; i < 12; ++i) assert_near(out[i], -7, 0);
    for (int i = 0; i < 6; ++i) assert_near(x[i], i + 1, 0);
    ht_context_free(ctx);
}

static void gather_large_arrays_same_for_any_threads(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    struct test_array x = test_view(&any, HT_F32, HT_SHAPE(50, 30), false);
    struct test_array index = random_index(HT_SHAPE(8000), 50);
    struct test_array one = test_dense(&any, HT_F32, HT_SHAPE(8000, 30));
    struct test_array two = test_dense(&any, HT_F32, HT_SHAPE(8000, 30));
    assert_int_equal(hti_kernel(ctx, gather, one.array, x.array, index.array), -1);
    ctx->options.threads = 2;
    assert_int_equal(hti_kernel(ctx, gather, two.array, x.array, index.array), -1);
    test_same_bits(&two.array, &one.array, "2 threads");
    test_array_free(&x), test_array_free(&index), test_array_free(&one),
        test_array_free(&two);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gather_random_views_take_rows),
        cmocka_unit_test(gather_large_arrays_same_for_any_threads),
        cmocka_unit_test(scatter_add_random_views_add_in_order),
        cmocka_unit_test(one_hot_every_dtype_marks_the_label),
        cmocka_unit_test(index_outside_is_reported_and_nothing_written),
    };
    any.seed = test_seed();
    return TEST_MAIN(tests);
}
