/* SPDX-License-Identifier: MIT */
/* test_tensor_random.c: the published vectors of Philox4x32-10, and the distributions
 * drawn from it. Read next: tensor/random.c. */
#include "test.h"

#include "tensor_internal.h"

/* The words of Random123's kat_vectors: counter and key in, four words out. A stream is
 * the first half of the counter, half an index the second. (Their all-ones counter lies
 * past the last 64-bit index.) */
static void random_bits_known_vectors_agree(void **state)
{
    (void)state;
    const struct {
        uint64_t seed, stream, block, want[2];
    } rows[] = {
        {0, 0, 0, {UINT64_C(0xe169c58d6627e8d5), UINT64_C(0x9b00dbd8bc57ac4c)}},
        {UINT64_C(0x299f31d0a4093822),
         UINT64_C(0x85a308d3243f6a88),
         UINT64_C(0x0370734413198a2e),
         {UINT64_C(0x94fdccebd16cfe09), UINT64_C(0x24126ea15001e420)}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (unsigned half = 0; half < 2; half++) {
            uint64_t index = 2 * rows[i].block + half;
            uint64_t got = ht_random_bits(rows[i].seed, rows[i].stream, index);
            assert_int_equal(got, rows[i].want[half]);
        }
}

static void random_bits_each_argument_matters(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), high = UINT64_C(1) << 63;
    const uint64_t draws[] = {
        ht_random_bits(seed, 1, 4),        ht_random_bits(seed + 1, 1, 4),
        ht_random_bits(seed ^ high, 1, 4), ht_random_bits(seed, 2, 4),
        ht_random_bits(seed, 1 | high, 4), ht_random_bits(seed, 1, 5),
        ht_random_bits(seed, 1, 6),        ht_random_bits(seed, 1, 4 | high)};
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < i; j++) assert_int_not_equal(draws[i], draws[j]);
    assert_int_equal(draws[0], ht_random_bits(seed, 1, 4));
}

static void random_uniform_is_the_top_53_bits(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t i = 0; i < 1000; i++) {
        double u = ht_random_uniform(seed, 3, i);
        assert_true(u >= 0 && u < 1);
        assert_near(u, (double)(ht_random_bits(seed, 3, i) >> 11) / 9007199254740992.0,
                    0);
    }
}

static void random_below_counts_are_even(void **state)
{
    (void)state;
    enum { SIDES = 6, THROWS = 60000 };
    uint64_t seed = test_seed();
    int counts[SIDES] = {0};
    for (uint64_t i = 0; i < THROWS; i++) {
        int64_t side = ht_random_below(seed, 9, i, SIDES);
        assert_in_range(side, 0, SIDES - 1);
        counts[side]++;
    }
    double chi = 0, want = (double)THROWS / SIDES;
    for (int i = 0; i < SIDES; i++) chi += (counts[i] - want) * (counts[i] - want) / want;
    print_message("# chi squared %.2f, 5 degrees of freedom\n", chi);
    assert_true(chi < 30); /* one seed in 70,000 */
    assert_int_equal(ht_random_below(seed, 9, 0, 1), 0);
    /* 0xe169c58d6627e8d5 (2^63 - 1) / 2^64 */
    assert_int_equal(ht_random_below(0, 0, 0, INT64_MAX), 0x70b4e2c6b313f469);
}

static void random_permutation_holds_each_number_once(void **state)
{
    (void)state;
    enum { N = 1000 };
    uint64_t seed = test_seed();
    int64_t order[N], again[N];
    bool seen[N] = {false};
    ht_random_permutation(seed, 5, N, order);
    ht_random_permutation(seed, 5, N, again);
    int fixed = 0;
    for (int64_t i = 0; i < N; i++) {
        assert_in_range(order[i], 0, N - 1);
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
        fixed += order[i] == i;
        assert_int_equal(order[i], again[i]);
    }
    assert_in_range(fixed, 0, 12); /* Poisson of mean 1: one seed in 10^10 beyond */
    ht_random_permutation(seed, 5, 0, NULL);
}

static void random_permutation_of_3_meets_every_order(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    int counts[27] = {0};
    for (uint64_t stream = 0; stream < 6000; stream++) {
        int64_t p[3];
        ht_random_permutation(seed, stream, 3, p);
        counts[9 * p[0] + 3 * p[1] + p[2]]++;
    }
    const int orders[] = {5, 7, 11, 15, 19, 21}; /* 012 021 102 120 201 210 in base 3 */
    for (int i = 0; i < 6; i++) assert_in_range(counts[orders[i]], 850, 1150);
}

/* Mean and variance of n draws, against what they should be within 5 standard errors. */
static void check_moments(const ht_tensor *x, double mean, double variance,
                          double kurtosis)
{
    int64_t n = ht_tensor_count(x);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += ht_tensor_get(x, i) - mean;
    for (int64_t i = 0; i < n; i++)
        squares += (ht_tensor_get(x, i) - mean) * (ht_tensor_get(x, i) - mean);
    assert_near(sum / (double)n, 0, 5 * sqrt(variance / (double)n));
    assert_near(squares / (double)n / variance, 1, 5 * sqrt((kurtosis - 1) / (double)n));
}

static void tensor_uniform_and_normal_have_their_moments(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(&(ht_context_options){.seed = test_seed()});
    for (int dtype = HT_F32; dtype <= HT_F64; dtype++) {
        ht_tensor *x = ht_tensor_new(ctx, (ht_dtype)dtype, HT_SHAPE(201, 99));
        assert_int_equal(ht_tensor_uniform(x, 1, -3, 5), HT_OK);
        check_moments(x, 1, 64.0 / 12, 1.8);
        for (int64_t i = 0; i < ht_tensor_count(x); i++)
            assert_true(ht_tensor_get(x, i) >= -3 && ht_tensor_get(x, i) <= 5);
        assert_int_equal(ht_tensor_normal(x, 2, 2, 0.5), HT_OK);
        check_moments(x, 2, 0.25, 3);
        ht_tensor_free(x);
    }
    ht_context_free(ctx);
}

static void tensor_uniform_element_is_the_draw_of_its_index(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    ht_context *ctx = ht_context_new(&(ht_context_options){.seed = seed});
    float data[8] = {[7] = 42};
    ht_tensor *x = ht_tensor_wrap(ctx, HT_F32, HT_SHAPE(7), data);
    ht_tensor *y = ht_tensor_new(ctx, HT_F64, HT_SHAPE(7));
    ht_tensor_uniform(x, 4, 0, 1);
    ht_tensor_uniform(y, 4, 0, 1);
    for (int64_t i = 0; i < 7; i++) {
        double want = ht_random_uniform(seed, 4, (uint64_t)i);
        assert_near(ht_tensor_get(y, i), want, 0);
        assert_near(ht_tensor_get(x, i), (float)want, 0);
    }
    ht_tensor_normal(x, 4, 0, 1);
    ht_tensor_normal(y, 4, 0, 1);
    for (int64_t i = 0; i < 7; i++)
        assert_near(ht_tensor_get(x, i), (float)ht_tensor_get(y, i), 0);
    assert_near(data[7], 42, 0);
    double r = sqrt(-2 * log(1 - ht_random_uniform(seed, 4, 2)));
    double angle = 8 * atan(1) * ht_random_uniform(seed, 4, 3);
    assert_near(ht_tensor_get(y, 2), r * cos(angle), 1e-14);
    assert_near(ht_tensor_get(y, 3), r * sin(angle), 1e-14);
    ht_tensor_free(x);
    ht_tensor_free(y);
    ht_context_free(ctx);
}

/* Few numbers lie between these bounds, so that draws often round to an end that is not
 * meant: the upper one, or what lies below a lower one the type does not have. */
static void tensor_uniform_narrow_bounds_hold_every_value(void **state)
{
    (void)state;
    enum { N = 4096 };
    const struct {
        ht_dtype dtype;
        double low, high, least, most; /* least and most: to be met */
    } rows[] = {
        {HT_F32, 1, 1 + 0x1p-21, 1, 1 + 3 * 0x1p-23},
        {HT_F64, 1, 1 + 0x1p-50, 1, 1 + 3 * 0x1p-52},
        {HT_F32, -1, -1 + 0x1p-22, -1, -1 + 3 * 0x1p-24},
        {HT_F64, -3, -3 + 0x1p-49, -3, -3 + 3 * 0x1p-51},
        {HT_F32, 1 + 0x1p-25, 1 + 0x1p-22, 1 + 0x1p-23, 1 + 0x1p-23},
        {HT_F32, 1, 1 + 0x1p-40, 1, 1},
        {HT_F32, 1 + 0x1p-40, 1 + 0x1p-39, 1, 1},
        {HT_F64, 7, 7, 7, 7},
        {HT_F32, 7, 7, 7, 7},
        {HT_F32, 0, 0x1p-148, 0, 0x1p-149},
    };
    ht_context *ctx = ht_context_new(&(ht_context_options){.seed = test_seed()});
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        ht_tensor *x = ht_tensor_new(ctx, rows[k].dtype, HT_SHAPE(N));
        assert_int_equal(ht_tensor_uniform(x, k, rows[k].low, rows[k].high), HT_OK);
        double least = INFINITY, most = -INFINITY;
        for (int64_t i = 0; i < N; i++) {
            least = fmin(least, ht_tensor_get(x, i));
            most = fmax(most, ht_tensor_get(x, i));
        }
        assert_near(least, rows[k].least, 0);
        assert_near(most, rows[k].most, 0);
        ht_tensor_free(x);
    }
    ht_context_free(ctx);
}

/* This draw is nearer to 1 than to any other f32. */
static void tensor_uniform_f32_draw_nearest_one_stays_below(void **state)
{
    (void)state;
    enum { STREAM = 378, INDEX = 33047 };
    ht_context *ctx = ht_context_new(&(ht_context_options){.seed = 0});
    ht_tensor *x = ht_tensor_new(ctx, HT_F32, HT_SHAPE(INDEX + 1));
    ht_tensor_uniform(x, STREAM, 0, 1);
    assert_true(ht_random_uniform(0, STREAM, INDEX) > 1 - 0x1p-25);
    assert_near(ht_tensor_get(x, INDEX), 1 - 0x1p-24, 0);
    ht_tensor_free(x);
    ht_context_free(ctx);
}

static void tensor_uniform_bad_arguments_are_refused(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *x = ht_tensor_new(ctx, HT_F32, HT_SHAPE(3));
    ht_tensor *labels = ht_tensor_new(ctx, HT_I32, HT_SHAPE(3));
    assert_int_equal(ht_tensor_uniform(labels, 0, 0, 1), HT_ERROR_DTYPE);
    assert_contains(ht_context_message(ctx), "expected an f32 or f64 tensor, got i32");
    ht_context_clear(ctx);
    assert_int_equal(ht_tensor_normal(labels, 0, 0, 1), HT_ERROR_DTYPE);
    ht_context_clear(ctx);
    assert_int_equal(ht_tensor_uniform(x, 0, 1, 0), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(ctx), "low <= high, got 1, 0");
    ht_context_clear(ctx);
    assert_int_equal(ht_tensor_uniform(x, 0, -1e308, 1e308), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(ctx), "high - low and low <= high, got -1e+308");
    ht_context_clear(ctx);
    assert_int_equal(ht_tensor_uniform(x, 0, 0, 1e300), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(ctx), "finite in f32");
    ht_context_clear(ctx);
    assert_int_equal(ht_tensor_normal(x, 0, 0, 1e39), HT_ERROR_ARGUMENT);
    ht_context_clear(ctx);
    assert_int_equal(ht_tensor_normal(x, 0, 0, (double)NAN), HT_ERROR_ARGUMENT);
    for (int64_t i = 0; i < 3; i++) assert_near(ht_tensor_get(x, i), 0, 0);
    ht_tensor_free(x);
    ht_tensor_free(labels);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_bits_known_vectors_agree),
        cmocka_unit_test(random_bits_each_argument_matters),
        cmocka_unit_test(random_uniform_is_the_top_53_bits),
        cmocka_unit_test(random_below_counts_are_even),
        cmocka_unit_test(random_permutation_holds_each_number_once),
        cmocka_unit_test(random_permutation_of_3_meets_every_order),
        cmocka_unit_test(tensor_uniform_and_normal_have_their_moments),
        cmocka_unit_test(tensor_uniform_element_is_the_draw_of_its_index),
        cmocka_unit_test(tensor_uniform_narrow_bounds_hold_every_value),
        cmocka_unit_test(tensor_uniform_f32_draw_nearest_one_stays_below),
        cmocka_unit_test(tensor_uniform_bad_arguments_are_refused),
    };
    return TEST_MAIN(tests);
}
