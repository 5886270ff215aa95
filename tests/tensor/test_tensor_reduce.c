/* SPDX-License-Identifier: MIT */
/* test_tensor_reduce.c: sums and maxima of every length and random view against a plain
 * f64 loop, bit for bit across instruction sets and threads. */
#include "test_arrays.h"

static struct test_random any;

static ht_shape reduced_shape(ht_shape shape, unsigned axes)
{
    for (int i = 0; i < shape.rank; ++i)
        if (axes & (1u << i)) shape.dim[i] = 1;
    return shape;
}

/* Output element that input element i goes to. */
static int64_t reduced_index(ht_shape in, ht_shape out, int64_t i)
{
    int64_t at = 0, step = 1;
    for (int k = in.rank - 1; k >= 0; --k) {
        at += (out.dim[k] == 1 ? 0 : i % in.dim[k]) * step;
        step *= out.dim[k];
        i /= in.dim[k];
    }
    return at;
}

/* A sum may be off by `tolerance` of the sum of the absolute values, a maximum not at
 * all. */
static void check_reduce(const ht_array *out, const ht_array *a, hti_reduce f,
                         double tolerance)
{
    int64_t n = ht_shape_count(a->shape), outputs = ht_shape_count(out->shape);
    double *want = calloc((size_t)outputs + 1, sizeof *want);
    double *scale = calloc((size_t)outputs + 1, sizeof *scale);
    assert_non_null(want);
    assert_non_null(scale);
    for (int64_t i = 0; i < outputs && f == HTI_MAX; ++i) want[i] = -INFINITY;
    for (int64_t i = 0; i < n; ++i) {
        int64_t o = reduced_index(a->shape, out->shape, i);
        double x = test_get(a, i);
        scale[o] += fabs(x);
        if (f == HTI_SUM)
            want[o] += x;
        else if (x > want[o] || isnan(x))
            want[o] = x;
    }
    for (int64_t i = 0; i < outputs; ++i) {
        double got = test_get(out, i), allowed = f == HTI_SUM ? tolerance * scale[i] : 0;
        bool same = got == want[i] || (isnan(got) && isnan(want[i]));
        if (!same && !(fabs(got - want[i]) <= allowed))
            fail_msg("output %lld of %lld: got %.17g, want %.17g", (long long)i,
                     (long long)outputs, got, want[i]);
    }
    free(want);
    free(scale);
}

static double tolerance_of(ht_dtype dtype)
{
    return dtype == HT_F32 ? 1e-6 : dtype == HT_F64 ? 1e-12 : 0;
}

static void check_every_isa(ht_context *ctx, hti_reduce f, const ht_array *a,
                            unsigned axes)
{
    ht_shape shape = reduced_shape(a->shape, axes);
    struct test_array out = test_dense(&any, a->dtype, shape);
    struct test_array first = test_dense(&any, a->dtype, shape);
    for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
        hti_kernel(ctx, reduce, f, out.array, *a, axes);
        if (isa <= HTI_BASELINE) {
            check_reduce(&out.array, a, f, tolerance_of(a->dtype));
            hti_run_copy(ctx, first.array, out.array);
        }
        test_same_bits(&out.array, &first.array, ctx->kernels->name);
    }
    test_array_free(&out), test_array_free(&first);
}

static void reduce_any_length_matches_reference(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int f = HTI_SUM; f <= HTI_MAX; ++f)
        for (int d = HT_F32; d <= (f == HTI_SUM ? HT_I32 : HT_F64); ++d)
            for (int64_t n = 0; n <= 67; ++n) {
                struct test_array run = test_dense(&any, (ht_dtype)d, HT_SHAPE(3, n));
                struct test_array tall =
                    test_dense(&any, (ht_dtype)d, HT_SHAPE(n, 70 - n));
                check_every_isa(ctx, (hti_reduce)f, &run.array, 2);
                check_every_isa(ctx, (hti_reduce)f, &tall.array, 1);
                check_every_isa(ctx, (hti_reduce)f, &tall.array, 3);
                test_array_free(&run), test_array_free(&tall);
            }
    ht_context_free(ctx);
}

static void reduce_random_views_match_reference(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 1500; ++k) {
        hti_reduce f = k % 5 < 3 ? HTI_SUM : HTI_MAX;
        ht_dtype dtype = (ht_dtype)(HT_F32 + k % (f == HTI_SUM ? 3 : 2));
        struct test_array a = test_view(&any, dtype, test_shape(&any), true);
        unsigned axes = (unsigned)test_below(&any, 1 << a.array.shape.rank);
        check_every_isa(ctx, f, &a.array, axes);
        test_array_free(&a);
    }
    ht_context_free(ctx);
}

static void reduce_long_axes_match_reference(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_shape shapes[] = {HT_SHAPE(5000, 10), HT_SHAPE(1300, 784), HT_SHAPE(3, 2500),
                         HT_SHAPE(30, 7, 600), HT_SHAPE(2100, 3, 5)};
    for (int k = 0; k < 20; ++k) {
        ht_shape shape = shapes[k % 5];
        struct test_array a = test_view(&any, k % 2 ? HT_F64 : HT_F32, shape, k > 10);
        for (unsigned axes = 0; axes < 1u << shape.rank; ++axes) {
            check_every_isa(ctx, HTI_SUM, &a.array, axes);
            check_every_isa(ctx, HTI_MAX, &a.array, axes);
        }
        test_array_free(&a);
    }
    ht_context_free(ctx);
}

/* Added up in f32 one after the other, ten million tenths come to 1087937. */
static void reduce_ten_million_tenths_keep_f32_accuracy(void **state)
{
    (void)state;
    ht_context *ctx = test_context(2);
    float tenth = 0.1f, sum[4] = {0};
    ht_array a = {.data = &tenth, .dtype = HT_F32, .shape = HT_SHAPE(10000000, 1)};
    hti_kernel(ctx, reduce, HTI_SUM, hti_contiguous(sum, HT_F32, HT_SHAPE(1, 1)), a, 3);
    assert_near(sum[0] / 1e7, (double)tenth, 1e-7);
    a.shape = HT_SHAPE(2500000, 4);
    hti_kernel(ctx, reduce, HTI_SUM, hti_contiguous(sum, HT_F32, HT_SHAPE(1, 4)), a, 1);
    for (int i = 0; i < 4; ++i) assert_near(sum[i] / 2.5e6, (double)tenth, 1e-7);
    ht_context_free(ctx);
}

/* Moments. */

/* In long double, the mean's error made good. */
static double moment_of(const double *x, int64_t n, hti_reduce f, double divisor)
{
    long double mean = 0, rest = 0, squares = 0;
    if (n == 0 && f == HTI_VARIANCE) return NAN;
    for (int64_t i = 0; i < n; ++i) mean += x[i];
    mean = f == HTI_NORM ? 0 : mean / (long double)n;
    for (int64_t i = 0; i < n && f != HTI_NORM; ++i) rest += x[i] - mean;
    mean += n > 0 ? rest / (long double)n : 0;
    for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
    return (double)(f == HTI_MEAN   ? mean
                    : f == HTI_NORM ? sqrtl(squares)
                                    : squares / (long double)divisor);
}

static void check_moment(const ht_array *out, const ht_array *a, hti_reduce f,
                         double divisor)
{
    int64_t n = ht_shape_count(a->shape), outputs = ht_shape_count(out->shape);
    double *group = calloc((size_t)n + 1, sizeof *group);
    assert_non_null(group);
    for (int64_t o = 0; o < outputs; ++o) {
        int64_t m = 0;
        for (int64_t i = 0; i < n; ++i)
            if (reduced_index(a->shape, out->shape, i) == o) group[m++] = test_get(a, i);
        double got = test_get(out, o), want = moment_of(group, m, f, divisor), most = 0;
        for (int64_t i = 0; i < m; ++i) most = fmax(most, fabs(group[i]));
        double scale = f == HTI_MEAN ? most : fabs(want);
        double tolerance = a->dtype == HT_F32 ? 1.2e-7 : 2e-14;
        if (!(fabs(got - want) <= tolerance * scale) && !(isnan(got) && isnan(want)))
            fail_msg("moment %d of %lld: got %.17g, want %.17g", (int)f, (long long)m,
                     got, want);
    }
    free(group);
}

static void check_moments(ht_context *ctx, const ht_array *a, unsigned axes)
{
    ht_shape shape = reduced_shape(a->shape, axes);
    struct test_array out = test_dense(&any, a->dtype, shape);
    struct test_array first = test_dense(&any, a->dtype, shape);
    for (int f = HTI_MEAN; f <= HTI_NORM; ++f) {
        for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
            hti_kernel(ctx, moment, (hti_reduce)f, out.array, *a, axes, 3);
            if (isa <= HTI_BASELINE) {
                check_moment(&out.array, a, (hti_reduce)f, 3);
                hti_run_copy(ctx, first.array, out.array);
            }
            test_same_bits(&out.array, &first.array, ctx->kernels->name);
        }
    }
    test_array_free(&out), test_array_free(&first);
}

static void moment_random_views_match_long_double(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 600; ++k) {
        ht_dtype dtype = k % 2 ? HT_F64 : HT_F32;
        struct test_array a = test_view(&any, dtype, test_shape(&any), true);
        check_moments(ctx, &a.array, (unsigned)test_below(&any, 1 << a.array.shape.rank));
        test_array_free(&a);
    }
    for (int64_t n = 0; n <= 67; ++n) {
        struct test_array a = test_dense(&any, n % 2 ? HT_F64 : HT_F32, HT_SHAPE(n, 3));
        for (unsigned axes = 0; axes < 4; ++axes) check_moments(ctx, &a.array, axes);
        test_array_free(&a);
    }
    ht_context_free(ctx);
}

/* One value everywhere but for its sign in odd places, if `turns`. */
static double moment_of_equals(ht_context *ctx, ht_dtype dtype, int64_t n, double value,
                               bool turns, hti_reduce f)
{
    struct test_array a = test_dense(&any, dtype, HT_SHAPE(1, n)),
                      out = test_dense(&any, dtype, HT_SHAPE(1, 1));
    for (int64_t i = 0; i < n; ++i)
        test_put(&a.array, i, turns && i % 2 ? -value : value);
    hti_kernel(ctx, moment, f, out.array, a.array, 2, (double)n);
    double got = test_get(&out.array, 0);
    test_array_free(&a), test_array_free(&out);
    return got;
}

static void moments_of_equal_and_extreme_values_are_exact(void **state)
{
    (void)state;
    static const struct {
        ht_dtype dtype;
        double value;
    } at[] = {{HT_F32, 1e10},   {HT_F32, 14.62},  {HT_F32, 3e38},  {HT_F32, 1e-45},
              {HT_F32, 0.1},    {HT_F64, 14.62},  {HT_F64, 1e10},  {HT_F64, 1.7e308},
              {HT_F64, 1e-310}, {HT_F64, 5e-324}, {HT_F64, 1e200}, {HT_F64, 1 / 3.0}};
    static const int64_t lengths[] = {1, 2, 3, 7, 10, 17, 49, 1000, 70001};
    ht_context *ctx = test_context(2);
    for (size_t k = 0; k < sizeof at / sizeof *at; ++k)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; ++l) {
            ht_dtype dtype = at[k].dtype;
            int64_t n = lengths[l];
            double value = dtype == HT_F32 ? (double)(float)at[k].value : at[k].value;
            double mean = moment_of_equals(ctx, dtype, n, value, false, HTI_MEAN),
                   variance = moment_of_equals(ctx, dtype, n, value, false, HTI_VARIANCE);
            if (mean != value || variance != 0)
                fail_msg("%lld x %.17g: mean %.17g, variance %.17g", (long long)n, value,
                         mean, variance);
            if (n % 2 == 0) {
                mean = moment_of_equals(ctx, dtype, n, value, true, HTI_MEAN);
                if (mean != 0)
                    fail_msg("%lld x +-%.17g: mean %.17g", (long long)n, value, mean);
            }
        }
    assert_near(moment_of_equals(ctx, HT_F32, 10, 1e19, true, HTI_VARIANCE) / 1e38, 1,
                1e-6);
    assert_near(moment_of_equals(ctx, HT_F64, 10, 1e154, true, HTI_VARIANCE) / 1e308, 1,
                1e-15);
    assert_near(moment_of_equals(ctx, HT_F64, 4, 5e-324, true, HTI_NORM), 1e-323, 0);
    assert_near(moment_of_equals(ctx, HT_F64, 70000, 1e200, true, HTI_NORM) / 1e202,
                sqrt(7), 1e-14);
    ht_context_free(ctx);
}

/* n / 2 + 1 large numbers, then as many less one of the other sign: one is left. */
static void check_past_range(ht_context *ctx, ht_dtype dtype, int64_t n, int64_t lines,
                             bool across)
{
    double big = dtype == HT_F32 ? (double)3e38f : 1.5e308;
    ht_shape shape = across ? HT_SHAPE(n, lines) : HT_SHAPE(lines, n);
    unsigned axes = across ? 1 : 2;
    struct test_array a = test_dense(&any, dtype, shape),
                      out = test_dense(&any, dtype, reduced_shape(shape, axes));
    for (int64_t i = 0; i < n * lines; ++i)
        test_put(&a.array, i, (across ? i / lines : i % n) <= n / 2 ? big : -big);
    for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
        hti_kernel(ctx, reduce, HTI_SUM, out.array, a.array, axes);
        double sum = test_get(&out.array, lines - 1);
        hti_kernel(ctx, moment, HTI_MEAN, out.array, a.array, axes, 1);
        double mean = test_get(&out.array, lines - 1);
        if (!(fabs(sum / big - 1) < 1e-7 + 1e-10 * (double)n) ||
            !(fabs(mean / (big / (double)n) - 1) < 1e-7 + 1e-10 * (double)n))
            fail_msg("%s, %lld x %lld: sum %g, mean %g of numbers +-%g",
                     ht_dtype_name(dtype), (long long)n, (long long)lines, sum, mean,
                     big);
    }
    test_array_free(&a), test_array_free(&out);
}

static void sums_that_leave_the_range_on_their_way_come_back(void **state)
{
    (void)state;
    ht_context *ctx = test_context(2);
    static const int64_t lengths[] = {3, 5, 17, 31, 101, 515, 1201, 70001};
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; ++k)
        for (int d = HT_F32; d <= HT_F64; ++d)
            for (int64_t lines = 1; lines < (lengths[k] > 2000 ? 3 : 700); lines *= 5) {
                check_past_range(ctx, (ht_dtype)d, lengths[k], lines, false);
                check_past_range(ctx, (ht_dtype)d, lengths[k], lines, true);
            }
    ht_context_free(ctx);
}

static void reduce_nothing_gives_zero_and_minus_infinity(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    float nothing = 5, out[3] = {5, 5, 5};
    ht_array a = hti_contiguous(&nothing, HT_F32, HT_SHAPE(3, 0));
    hti_kernel(ctx, reduce, HTI_SUM, hti_contiguous(out, HT_F32, HT_SHAPE(3, 1)), a, 2);
    for (int i = 0; i < 3; ++i) assert_near(out[i], 0, 0);
    hti_kernel(ctx, reduce, HTI_MAX, hti_contiguous(out, HT_F32, HT_SHAPE(3, 1)), a, 2);
    for (int i = 0; i < 3; ++i) assert_near(out[i], -INFINITY, 0);
    hti_kernel(ctx, reduce, HTI_SUM, hti_contiguous(NULL, HT_F32, HT_SHAPE(1, 0)), a, 1);
    assert_int_equal(ht_context_status(ctx), HT_OK);
    ht_context_free(ctx);
}

static void reduce_nan_anywhere_wins(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int64_t n = 1; n <= 67; ++n)
        for (int64_t at = 0; at < n; ++at) {
            struct test_array a = test_dense(&any, HT_F32, HT_SHAPE(n, 2));
            test_put(&a.array, 2 * at, NAN);
            float out[2];
            ht_array o = hti_contiguous(out, HT_F32, HT_SHAPE(1, 2));
            for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa)
                for (int f = HTI_SUM; f <= HTI_MAX; ++f) {
                    hti_context_use(ctx, isa);
                    hti_kernel(ctx, reduce, (hti_reduce)f, o, a.array, 1);
                    assert_near(out[0], NAN, 0);
                    assert_int_equal(isnan(out[1]) != 0, 0);
                }
            test_array_free(&a);
        }
    ht_context_free(ctx);
}

static void reduce_large_arrays_same_bits_for_any_threads(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_shape shapes[] = {HT_SHAPE(300007, 1), HT_SHAPE(30011, 10), HT_SHAPE(400, 784),
                         HT_SHAPE(7, 3, 10007), HT_SHAPE(37, 5, 700)};
    for (int k = 0; k < 10; ++k) {
        struct test_array a = test_view(&any, HT_F32, shapes[k % 5], false);
        for (unsigned axes = 0; axes < 1u << a.array.shape.rank; ++axes) {
            ht_shape shape = reduced_shape(a.array.shape, axes);
            struct test_array one = test_dense(&any, HT_F32, shape);
            struct test_array two = test_dense(&any, HT_F32, shape);
            ctx->options.threads = 1;
            hti_kernel(ctx, reduce, HTI_SUM, one.array, a.array, axes);
            ctx->options.threads = 2;
            hti_kernel(ctx, reduce, HTI_SUM, two.array, a.array, axes);
            test_same_bits(&two.array, &one.array, "2 threads");
            check_reduce(&two.array, &a.array, HTI_SUM, 1e-6);
            test_array_free(&one), test_array_free(&two);
        }
        test_array_free(&a);
    }
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reduce_any_length_matches_reference),
        cmocka_unit_test(reduce_random_views_match_reference),
        cmocka_unit_test(reduce_long_axes_match_reference),
        cmocka_unit_test(reduce_ten_million_tenths_keep_f32_accuracy),
        cmocka_unit_test(moment_random_views_match_long_double),
        cmocka_unit_test(moments_of_equal_and_extreme_values_are_exact),
        cmocka_unit_test(sums_that_leave_the_range_on_their_way_come_back),
        cmocka_unit_test(reduce_nothing_gives_zero_and_minus_infinity),
        cmocka_unit_test(reduce_nan_anywhere_wins),
        cmocka_unit_test(reduce_large_arrays_same_bits_for_any_threads),
    };
    any.seed = test_seed();
    return TEST_MAIN(tests);
}
