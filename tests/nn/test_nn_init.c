/* SPDX-License-Identifier: MIT */
/* test_nn_init.c: initial values: ranges, moments, and what they may and may not depend
 * on. Sets as such: test_tensor_set.c. Read next: nn/init.c. */
#include "test_nn.h"

static const int64_t sizes[][2] = {{1, 1}, {3, 2}, {784, 10}, {10, 300}, {257, 63}};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static ht_context *context_of(uint64_t seed, int threads)
{
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.seed = seed, .threads = threads});
    assert_non_null(ctx);
    return ctx;
}

/* Mean, mean square and mean fourth power. */
typedef struct moments {
    double mean, square, fourth, most;
} moments;

static moments moments_of(const ht_tensor *x)
{
    moments m = {0, 0, 0, 0};
    int64_t n = ht_tensor_count(x);
    for (int64_t i = 0; i < n; i++) {
        double v = ht_tensor_get(x, i);
        m.mean += v / (double)n;
        m.square += v * v / (double)n;
        m.fourth += v * v * v * v / (double)n;
        m.most = fmax(m.most, fabs(v));
    }
    return m;
}

/* Five standard errors of each sample moment: a right generator fails once in 10^6. */
static void check_moments(const ht_tensor *x, double variance, double kurtosis,
                          double sixth_eighth)
{
    moments m = moments_of(x);
    double n = (double)ht_tensor_count(x);
    assert_near(m.mean / sqrt(variance), 0, 5 / sqrt(n));
    assert_near(m.square / variance, 1, 5 * sqrt((kurtosis - 1) / n));
    assert_near(m.fourth / (variance * variance) / kurtosis, 1,
                5 * sqrt(sixth_eighth / n));
}

/* Uniform: E x^4 = 9/5, E x^8 / (E x^4)^2 - 1 = 16/9. Normal: 3, and 105/9 - 1. */
static void check_uniform(const ht_tensor *x, double bound)
{
    check_moments(x, bound * bound / 3, 1.8, 16.0 / 9);
    moments m = moments_of(x);
    double n = (double)ht_tensor_count(x);
    assert_true(m.most <= bound);
    /* All of n fall below bound (1 - 14/n) once in 10^6. */
    if (n > 28) assert_true(m.most >= bound * (1 - 14 / n));
}

static void linear_init_of_many_sizes_fills_the_range(void **state)
{
    (void)state;
    const ht_dtype dtypes[] = {HT_F32, HT_F64};
    ht_context *ctx = context_of(test_seed(), 1);
    for (int s = 0; s < N_SIZES; s++)
        for (int d = 0; d < 2; d++) {
            ht_set *theta = ht_set_new(ctx);
            ht_linear_init(theta, "layer", dtypes[d], sizes[s][0], sizes[s][1]);
            test_no_error(ctx);
            assert_int_equal(ht_set_count(theta), 2);
            const ht_tensor *w = ht_set_tensor(theta, "layer.weight");
            const ht_tensor *b = ht_set_tensor(theta, "layer.bias");
            assert_true(
                ht_shape_equal(ht_tensor_shape(w), HT_SHAPE(sizes[s][0], sizes[s][1])));
            assert_true(ht_shape_equal(ht_tensor_shape(b), HT_SHAPE(sizes[s][1])));
            assert_int_equal(ht_tensor_dtype(w), dtypes[d]);
            assert_int_equal(ht_tensor_dtype(b), dtypes[d]);
            /* An f32 may be rounded up to the bound's own rounding. */
            double bound = 1 / sqrt((double)sizes[s][0]) * (1 + 1e-7);
            check_uniform(w, bound);
            check_uniform(b, bound);
            ht_set_free(theta);
        }
    ht_context_free(ctx);
}

static void linear_init_of_weight_and_bias_draws_unrelated_numbers(void **state)
{
    (void)state;
    ht_context *ctx = context_of(test_seed(), 1);
    ht_set *theta = ht_set_new(ctx);
    ht_linear_init(theta, "a", HT_F64, 1, 400);
    ht_linear_init(theta, "b", HT_F64, 1, 400);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++) {
            double sum = 0;
            for (int64_t k = 0; k < 400; k++)
                sum += ht_tensor_get(ht_set_at(theta, i), k) *
                       ht_tensor_get(ht_set_at(theta, j), k);
            /* Correlation: 1 if alike, 5 standard errors are 0.25. */
            assert_near(sum / (400. / 3), 0, 0.25);
        }
    ht_set_free(theta);
    ht_context_free(ctx);
}

/* The values of "layer" under a seed, with n_before other layers made first. */
static void layer_values(uint64_t seed, int threads, int n_before, ht_dtype dtype,
                         double values[72])
{
    ht_context *ctx = context_of(seed, threads);
    ht_set *theta = ht_set_new(ctx);
    for (int k = 0; k < n_before; k++) {
        char name[] = {(char)('a' + k), '\0'};
        ht_linear_init(theta, name, HT_F32, 3 + k, 5);
    }
    ht_linear_init(theta, "layer", dtype, 8, 8);
    test_no_error(ctx);
    for (int64_t k = 0; k < 64; k++)
        values[k] = ht_tensor_get(ht_set_tensor(theta, "layer.weight"), k);
    for (int64_t k = 0; k < 8; k++)
        values[64 + k] = ht_tensor_get(ht_set_tensor(theta, "layer.bias"), k);
    ht_set_free(theta);
    ht_context_free(ctx);
}

static void linear_init_depends_on_seed_and_name_alone(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    double want[72], got[72], narrow[72];
    layer_values(seed, 1, 0, HT_F64, want);
    layer_values(seed, 2, 4, HT_F64, got);
    assert_memory_equal(got, want, sizeof want);
    layer_values(seed, 1, 1, HT_F32, narrow);
    for (int k = 0; k < 72; k++) assert_near(narrow[k], (double)(float)want[k], 0);
    layer_values(seed + 1, 1, 0, HT_F64, got);
    int same = 0;
    for (int k = 0; k < 72; k++) same += got[k] == want[k];
    assert_int_equal(same, 0);
}

static void glorot_and_he_of_many_sizes_have_their_variance(void **state)
{
    (void)state;
    const ht_dtype dtypes[] = {HT_F32, HT_F64};
    ht_context *ctx = context_of(test_seed(), 1);
    for (int s = 1; s < N_SIZES; s++)
        for (int d = 0; d < 2; d++) {
            double n_in = (double)sizes[s][0], n_out = (double)sizes[s][1];
            ht_tensor *w =
                ht_tensor_new(ctx, dtypes[d], HT_SHAPE(sizes[s][0], sizes[s][1]));
            assert_int_equal(ht_glorot_uniform(w, (uint64_t)s), HT_OK);
            check_uniform(w, sqrt(6 / (n_in + n_out)) * (1 + 1e-7));
            assert_int_equal(ht_he_normal(w, (uint64_t)s), HT_OK);
            if (n_in > 3) check_moments(w, 2 / n_in, 3, 105.0 / 9 - 1);
            assert_true(moments_of(w).most < 6 * sqrt(2 / n_in));
            ht_tensor_free(w);
        }
    ht_context_free(ctx);
}

/* Torch's default, and what the formulas call inputs and outputs: taps times channels. */
static void init_of_convolutions_counts_their_taps(void **state)
{
    (void)state;
    ht_context *ctx = context_of(test_seed(), 1);
    ht_set *theta = ht_set_new(ctx);
    ht_conv2d_init(theta, "c", HT_F64, HT_SHAPE(64, 5, 3, 2));
    test_no_error(ctx);
    ht_tensor *w = ht_set_tensor(theta, "c.weight"), *b = ht_set_tensor(theta, "c.bias");
    assert_true(ht_shape_equal(ht_tensor_shape(w), HT_SHAPE(64, 5, 3, 2)));
    assert_true(ht_shape_equal(ht_tensor_shape(b), HT_SHAPE(64)));
    check_uniform(w, 1 / sqrt(30));
    check_uniform(b, 1 / sqrt(30));
    assert_int_equal(ht_glorot_uniform(w, 1), HT_OK);
    check_uniform(w, sqrt(6.0 / (5 * 6 + 64 * 6)));
    assert_int_equal(ht_he_normal(w, 1), HT_OK);
    check_moments(w, 2.0 / 30, 3, 105.0 / 9 - 1);
    ht_set_free(theta);
    ht_context_free(ctx);
}

static void glorot_and_he_of_a_stream_repeat_and_of_another_differ(void **state)
{
    (void)state;
    ht_context *ctx = context_of(test_seed(), 1);
    ht_status (*const init[])(ht_tensor *, uint64_t) = {ht_glorot_uniform, ht_he_normal};
    ht_tensor *a = ht_tensor_new(ctx, HT_F32, HT_SHAPE(9, 7));
    ht_tensor *b = ht_tensor_new(ctx, HT_F32, HT_SHAPE(9, 7));
    for (int k = 0; k < 2; k++) {
        init[k](a, ht_stream("a"));
        init[k](b, ht_stream("a"));
        assert_memory_equal(ht_tensor_data(a), ht_tensor_data(b), ht_tensor_bytes(a));
        init[k](b, ht_stream("b"));
        int same = 0;
        for (int64_t i = 0; i < 63; i++)
            same += ht_tensor_get(a, i) == ht_tensor_get(b, i);
        assert_int_equal(same, 0);
    }
    ht_tensor_free(a);
    ht_tensor_free(b);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_init_of_many_sizes_fills_the_range),
        cmocka_unit_test(linear_init_of_weight_and_bias_draws_unrelated_numbers),
        cmocka_unit_test(linear_init_depends_on_seed_and_name_alone),
        cmocka_unit_test(glorot_and_he_of_many_sizes_have_their_variance),
        cmocka_unit_test(init_of_convolutions_counts_their_taps),
        cmocka_unit_test(glorot_and_he_of_a_stream_repeat_and_of_another_differ),
    };
    return TEST_MAIN(tests);
}
