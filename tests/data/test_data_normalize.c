/* SPDX-License-Identifier: MIT */
/* test_data_normalize.c: columns and channels get mean 0 and deviation 1, others what the
 * training set's say, also from a file; equal numbers; what is refused.
 * Read next: data/normalize.c. */
#include "test_data.h"

static ht_tensor *numbers(const fixture *f, ht_dtype dtype, ht_shape shape)
{
    ht_tensor *x = ht_tensor_new(f->ctx, dtype, shape);
    ht_tensor_normal(x, 3, 5, 2);
    return x;
}

/* Channel k of x (n, c, inner): its mean and deviation. */
static void moments(const ht_tensor *x, int64_t c, int64_t inner, int64_t k, double m[2])
{
    double sum = 0, squares = 0, n = 0;
    for (int64_t i = 0; i < ht_tensor_count(x); i++) {
        if (i / inner % c != k) continue;
        double v = ht_tensor_get(x, i);
        sum += v, squares += v * v, n++;
    }
    m[0] = sum / n;
    m[1] = sqrt(squares / n - m[0] * m[0]);
}

static void normalize_by_its_own_leaves_mean_0_and_deviation_1(void **state)
{
    fixture *f = *state;
    for (int d = 0; d < 2; d++)
        for (int images = 0; images < 2; images++) {
            ht_shape shape = images ? HT_SHAPE(6, 3, 4, 5) : HT_SHAPE(40, 3);
            int64_t inner = images ? 20 : 1;
            double m[2], before[3][2], tolerance = d ? 1e-5 : 1e-12;
            ht_tensor *x = numbers(f, d ? HT_F32 : HT_F64, shape);
            for (int k = 0; k < 3; k++) moments(x, 3, inner, k, before[k]);
            ht_set *by = ht_normalizer_new(x);
            assert_int_equal(ht_normalize(x, by), HT_OK);
            for (int k = 0; k < 3; k++) {
                moments(x, 3, inner, k, m);
                assert_near(m[0], 0, tolerance);
                assert_near(m[1], 1, tolerance);
                assert_near(ht_tensor_get(ht_set_at(by, 0), k), before[k][0], tolerance);
                assert_near(ht_tensor_get(ht_set_at(by, 1), k), before[k][1], tolerance);
            }
            ht_tensor_free(x);
            ht_set_free(by);
        }
}

/* By the training set's numbers, written and read back. */
static void normalize_of_others_takes_the_training_sets(void **state)
{
    fixture *f = *state;
    char path[PATH];
    ht_tensor *x = numbers(f, HT_F64, HT_SHAPE(4, 2));
    ht_tensor *other = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(1, 2));
    static const double rows[] = {1, 7, 3, 7, 1, 7, 3, 7}; /* means 2, 7; 1 and 0 */
    for (int i = 0; i < 8; i++) ht_tensor_set(x, i, rows[i]);
    ht_tensor_fill(other, 10);
    ht_set *by = ht_normalizer_new(x);
    assert_int_equal(ht_npz_write(by, path_in(f, "by.npz", path)), HT_OK);
    ht_set_free(by);
    by = ht_npz_read(f->ctx, path);
    assert_int_equal(ht_normalize(other, by), HT_OK);
    assert_near(ht_tensor_get(other, 0), 8, 0);
    assert_near(ht_tensor_get(other, 1), 3, 0); /* equal numbers: the mean alone */
    ht_set_free(by);
    ht_tensor_free(x);
    ht_tensor_free(other);
}

static void assert_refused(const fixture *f, ht_status status, const char *words)
{
    assert_int_equal(ht_context_status(f->ctx), status);
    assert_contains(ht_context_message(f->ctx), words);
    assert_contains(ht_context_message(f->ctx), "\n  hint: ");
    ht_context_clear(f->ctx);
}

static void what_cannot_be_normalized_is_refused(void **state)
{
    fixture *f = *state;
    ht_tensor *x = numbers(f, HT_F32, HT_SHAPE(4, 3));
    ht_tensor *wide = numbers(f, HT_F32, HT_SHAPE(4, 5));
    ht_tensor *row = numbers(f, HT_F32, HT_SHAPE(4));
    ht_tensor *pixels = ht_tensor_new(f->ctx, HT_U8, HT_SHAPE(4, 3));
    ht_set *by = ht_normalizer_new(x);
    assert_int_equal(ht_normalize(wide, by), HT_ERROR_SHAPE);
    assert_refused(f, HT_ERROR_SHAPE, "mean and deviation f64 (5)");
    assert_null(ht_normalizer_new(row));
    assert_refused(f, HT_ERROR_SHAPE, "got f32 (4)");
    assert_null(ht_normalizer_new(pixels));
    assert_refused(f, HT_ERROR_DTYPE, "got u8 (4, 3)");
    ht_tensor_set(x, 7, NAN);
    assert_null(ht_normalizer_new(x));
    assert_refused(f, HT_ERROR_ARGUMENT, "column 1 has a NaN");
    ht_set_free(by);
    ht_tensor_free(x);
    ht_tensor_free(wide);
    ht_tensor_free(row);
    ht_tensor_free(pixels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(normalize_by_its_own_leaves_mean_0_and_deviation_1),
        CASE(normalize_of_others_takes_the_training_sets),
        CASE(what_cannot_be_normalized_is_refused),
    };
    return TEST_MAIN(tests);
}
