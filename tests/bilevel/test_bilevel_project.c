/* SPDX-License-Identifier: MIT */
/* test_bilevel_project.c: the projection onto {0 <= x <= 1, sum x <= R} by closed forms,
 * by its optimality conditions and by bisection. Read next: bilevel/project.c. */
#include "test.h"

#include "ht_bilevel.h"

static ht_tensor *vector(ht_context *ctx, ht_dtype dtype, int64_t n, const double *values)
{
    ht_tensor *x = ht_tensor_new(ctx, dtype, HT_SHAPE(n));
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) ht_tensor_set(x, i, values[i]);
    return x;
}

static void check_values(int64_t n, const double *values, double radius,
                         const double *want)
{
    ht_context *ctx = ht_context_new(NULL);
    size_t live = ht_context_live_bytes(ctx);
    for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++) {
        ht_tensor *x = vector(ctx, dtype, n, values);
        ht_project_capped_simplex(x, radius);
        for (int64_t i = 0; i < n; i++)
            assert_near(ht_tensor_get(x, i), want[i], dtype == HT_F32 ? 3e-7 : 1e-15);
        ht_tensor_free(x);
    }
    assert_string_equal(ht_context_message(ctx), "");
    assert_int_equal(ht_context_live_bytes(ctx), live);
    ht_context_free(ctx);
}
#define CHECK_VALUES(radius, n, ...)                              \
    check_values(n, (const double[2][n]){__VA_ARGS__}[0], radius, \
                 (const double[2][n]){__VA_ARGS__}[1])

static void project_inside_clips_only(void **state)
{
    (void)state;
    CHECK_VALUES(2, 3, {0.25, 0.5, 1}, {0.25, 0.5, 1});
    CHECK_VALUES(2, 4, {-3, 0.5, 7, -0.0}, {0, 0.5, 1, 0});
    CHECK_VALUES(4, 4, {9, 9, 9, 9}, {1, 1, 1, 1});
    CHECK_VALUES(INFINITY, 3, {9, 0.5, -1}, {1, 0.5, 0});
    CHECK_VALUES(0, 2, {-1, -2}, {0, 0});
}

static void project_outside_equals_closed_forms(void **state)
{
    (void)state;
    CHECK_VALUES(1, 2, {1, 1}, {0.5, 0.5});
    CHECK_VALUES(1, 3, {0.5, 0.75, 0.25}, {1. / 3, 0.75 - 1. / 6, 0.25 - 1. / 6});
    CHECK_VALUES(1, 2, {5, 0.5}, {1, 0});
    CHECK_VALUES(1.5, 3, {5, 0.75, 0.25}, {1, 0.5, 0});
    CHECK_VALUES(1, 3, {0.8, 0.4, 0.1}, {0.7, 0.3, 0});
    CHECK_VALUES(2, 4, {3, 3, 3, 3}, {0.5, 0.5, 0.5, 0.5});
    CHECK_VALUES(2, 3, {7, 4, 1}, {1, 1, 0});
    CHECK_VALUES(0, 3, {7, 0.5, -1}, {0, 0, 0});
    CHECK_VALUES(0.25, 1, {0.75}, {0.25});
}

static void project_huge_elements_lose_nothing(void **state)
{
    (void)state;
    CHECK_VALUES(2, 4, {1e30, 1e30, 1e30, 1e30}, {0.5, 0.5, 0.5, 0.5});
    CHECK_VALUES(1.5, 3, {1e30, 1e15, -1e30}, {1, 0.5, 0});
    CHECK_VALUES(2.5, 4, {1e30, 3, 3.25, -3e38}, {1, 0.625, 0.875, 0});
}

static void project_subnormal_radius_ends(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++) {
        ht_tensor *x = vector(ctx, dtype, 3, (const double[]){0.5, 0.5, 0.5});
        ht_project_capped_simplex(x, 1e-323);
        for (int64_t i = 0; i < 3; i++) assert_near(ht_tensor_get(x, i), 0, 1e-323);
        ht_tensor_free(x);
    }
    ht_context_free(ctx);
}

/* Families of random input: smooth, with ties, all equal, wide, half negative. */
static double sample(int family, uint64_t seed, int64_t i)
{
    double u = ht_random_uniform(seed, 5, (uint64_t)i);
    if (family == 0) return u;
    if (family == 1) return floor(8 * u) / 4;
    if (family == 2) return 0.7;
    if (family == 3)
        return ldexp(u - 0.25, (int)(24 * ht_random_uniform(seed, 6, (uint64_t)i)));
    return 3 * u - 1.5;
}

static double clip(double value)
{
    return fmin(fmax(value, 0), 1);
}

/* x: before, y: after. y - x + tau - (bound multipliers) = 0, tau (sum - R) = 0: elements
 * strictly inside share x - y = tau >= 0, zeros have x <= tau, ones have x - 1 >= tau. */
static void check_optimal(const double *x, const ht_tensor *y, double radius,
                          double tolerance)
{
    double low = 0, high = INFINITY, clipped = 0, n = (double)ht_tensor_count(y);
    double sum = 0, rest = 0; /* Neumaier's sum: long double may be no wider */
    for (int64_t i = 0; i < ht_tensor_count(y); i++) {
        double value = ht_tensor_get(y, i), slack = tolerance * fmax(1, fabs(x[i]));
        assert_true(value >= 0 && value <= 1);
        if (value < 1) low = fmax(low, x[i] - value - slack);
        if (value > 0) high = fmin(high, x[i] - value + slack);
        double more = sum + value;
        rest += sum >= value ? sum - more + value : value - more + sum;
        sum = more;
        clipped += clip(x[i]);
    }
    if (low > high) print_error("no multiplier: %.17g > %.17g\n", low, high);
    assert_true(low <= high);
    sum += rest;
    if (sum > radius * (1 + 1e-15)) print_error("%.17g > %.17g\n", sum, radius);
    assert_true(sum <= radius * (1 + 1e-15));
    assert_near(sum, fmin(clipped, radius), n * tolerance);
    if (clipped <= radius) assert_near(low, 0, tolerance);
}

/* tau by bisection of sum clip(x - tau, 0, 1) = radius, which is exceeded at 0. */
static double bisect(const double *x, int64_t n, double radius)
{
    double low = 0, high = 0;
    for (int64_t i = 0; i < n; i++) high = fmax(high, x[i]);
    for (int k = 0; k < 100; k++) {
        double tau = low + (high - low) / 2;
        long double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += (long double)clip(x[i] - tau);
        *(sum > (long double)radius ? &low : &high) = tau;
    }
    return high;
}

static void check_random(ht_context *ctx, ht_dtype dtype, int64_t n, int family,
                         double radius)
{
    static double before[5000];
    double clipped = 0, tolerance = dtype == HT_F32 ? 5e-7 : 1e-12;
    ht_tensor *x = ht_tensor_new(ctx, dtype, HT_SHAPE(n)), *twice;
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        ht_tensor_set(x, i, sample(family, ht_context_seed(ctx), i));
        before[i] = ht_tensor_get(x, i);
        clipped += clip(before[i]);
    }
    ht_project_capped_simplex(x, radius);
    check_optimal(before, x, radius, tolerance);
    double tau = clipped > radius ? bisect(before, n, radius) : 0;
    for (int64_t i = 0; i < n; i++)
        assert_near(ht_tensor_get(x, i), clip(before[i] - tau),
                    tolerance * fmax(1, family == 3 ? 1e-3 * tau : 0));
    twice = ht_tensor_new(ctx, dtype, HT_SHAPE(n));
    assert_int_equal(ht_tensor_copy(twice, x), HT_OK);
    ht_project_capped_simplex(twice, radius);
    assert_memory_equal(ht_tensor_data(twice), ht_tensor_data(x), ht_tensor_bytes(x));
    ht_tensor_free(twice);
    ht_tensor_free(x);
}

static void project_random_is_optimal_and_equals_bisection(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 7, 64, 100, 1000, 5000};
    static const double parts[] = {0, 0.001, 0.1, 0.2, 0.5, 0.9, 1, 2};
    ht_context *ctx = ht_context_new(&(ht_context_options){.seed = test_seed()});
    size_t live = ht_context_live_bytes(ctx);
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++)
            for (int family = 0; family < 5; family++)
                for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++)
                    check_random(ctx, dtype, sizes[i], family,
                                 parts[j] * (double)sizes[i]);
    assert_string_equal(ht_context_message(ctx), "");
    assert_int_equal(ht_context_live_bytes(ctx), live);
    ht_context_free(ctx);
}

static void project_any_shape_is_one_sum(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *x = ht_tensor_new(ctx, HT_F64, HT_SHAPE(2, 3));
    ht_tensor *empty = ht_tensor_new(ctx, HT_F64, HT_SHAPE(0));
    ht_tensor_fill(x, 0.5);
    ht_project_capped_simplex(x, 1.5);
    for (int64_t i = 0; i < 6; i++) assert_near(ht_tensor_get(x, i), 0.25, 1e-15);
    ht_project_capped_simplex(empty, 0);
    assert_string_equal(ht_context_message(ctx), "");
    ht_tensor_free(empty);
    ht_tensor_free(x);
    ht_context_free(ctx);
}

static void check_refused(ht_dtype dtype, double last, double radius, ht_status status,
                          const char *message)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *x = vector(ctx, dtype, 3, (const double[]){2, 3, last});
    ht_project_capped_simplex(x, radius);
    assert_int_equal(ht_context_status(ctx), status);
    assert_contains(ht_context_message(ctx), message);
    assert_near(ht_tensor_get(x, 0), 2, 0);
    assert_near(ht_tensor_get(x, 1), 3, 0);
    assert_near(ht_tensor_get(x, 2), last, 0);
    ht_tensor_free(x);
    ht_context_free(ctx);
}

static void project_bad_input_is_refused_and_left_alone(void **state)
{
    (void)state;
    check_refused(HT_F64, NAN, 1, HT_ERROR_ARGUMENT, "got nan at 2");
    check_refused(HT_F32, NAN, 100, HT_ERROR_ARGUMENT, "got nan at 2");
    check_refused(HT_F32, INFINITY, 1, HT_ERROR_ARGUMENT, "got inf at 2");
    check_refused(HT_F64, 4, -0.5, HT_ERROR_ARGUMENT, "got -0.5");
    check_refused(HT_F64, 4, NAN, HT_ERROR_ARGUMENT, "got nan");
    check_refused(HT_I32, 4, 1, HT_ERROR_DTYPE, "got i32");
    check_refused(HT_U8, 4, 1, HT_ERROR_DTYPE, "got u8");
}

/* malloc, until *user allocations were made. */
static void *limited(void *user, void *old, size_t old_size, size_t new_size)
{
    int *left = user;
    (void)old_size;
    if (new_size == 0) {
        free(old);
        return NULL;
    }
    return (*left)-- > 0 ? realloc(old, new_size) : NULL;
}

static void project_without_memory_leaves_x_alone(void **state)
{
    (void)state;
    int left = 100;
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.alloc = limited, .user = &left});
    ht_tensor *x = vector(ctx, HT_F64, 3, (const double[]){2, 3, -4});
    left = 0;
    ht_project_capped_simplex(x, 1);
    assert_int_equal(ht_context_status(ctx), HT_ERROR_MEMORY);
    assert_near(ht_tensor_get(x, 0), 2, 0);
    assert_near(ht_tensor_get(x, 2), -4, 0);
    ht_context_clear(ctx);
    ht_project_capped_simplex(x, 2); /* clipping is enough: no memory needed */
    assert_int_equal(ht_context_status(ctx), HT_OK);
    assert_near(ht_tensor_get(x, 1), 1, 0);
    ht_tensor_free(x);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(project_inside_clips_only),
        cmocka_unit_test(project_outside_equals_closed_forms),
        cmocka_unit_test(project_huge_elements_lose_nothing),
        cmocka_unit_test(project_subnormal_radius_ends),
        cmocka_unit_test(project_random_is_optimal_and_equals_bisection),
        cmocka_unit_test(project_any_shape_is_one_sum),
        cmocka_unit_test(project_bad_input_is_refused_and_left_alone),
        cmocka_unit_test(project_without_memory_leaves_x_alone),
    };
    return TEST_MAIN(tests);
}
