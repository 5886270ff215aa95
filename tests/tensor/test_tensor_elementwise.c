/* SPDX-License-Identifier: MIT */
/* test_tensor_elementwise.c: every elementwise loop on every instruction set against libm
 * in f64, bit for bit against the baseline, and the walk over random views. */
#include "test_arrays.h"

enum { LONGEST = 67 };

static struct test_random any;

/* 1 - Phi(a), phi(a) */
static long double tail(long double a)
{
    return 0.5L * erfcl(a * 0.70710678118654752440084436L);
}

static long double density(long double a)
{
    return 0.39894228040143267793994606L * expl(-0.5L * a * a);
}

/* In the limit, where infinity would be multiplied by a tail that is 0. */
static double exact_gelu(double x)
{
    if (x < -100) return 0;
    return x > 100 ? x : (double)(x * tail(-(long double)x));
}

static double exact_gelu_slope(double x)
{
    if (fabs(x) > 100) return x > 0;
    return (double)(tail(-(long double)x) + (long double)x * density(x));
}

/* e / (1 + e)^2 of e = exp(-a), a >= 0; subnormal f64 included. */
static long double logistic(long double a)
{
    long double e = expl(-a);
    return e / ((1 + e) * (1 + e));
}

/* x sigmoid(w) and its slope, w of x's sign, dw the slope of w. */
static double exact_gate(long double x, long double w, long double dw, bool slope)
{
    long double e = expl(-fabsl(w)), s = (x < 0 ? e : 1) / (1 + e);
    if (fabsl(w) > 1000) return x < 0 ? 0 : slope ? 1 : (double)x;
    return (double)(slope ? s + x * dw * logistic(fabsl(w)) : x * s);
}

static double exact_gelu_tanh(double at, bool slope)
{
    const long double line = 1.59576912160573071175978423973753L, k = 0.044715L;
    long double x = at < -1000 ? -1000 : at > 1000 ? 1000 : at;
    double y =
        exact_gate(x, line * (x + k * x * x * x), line * (1 + 3 * k * x * x), slope);
    return at > 1000 && !slope ? at : isnan(at) ? at : y;
}

static double exact_unary(hti_unary f, double x)
{
    switch (f) {
    case HTI_UNARY_neg:
        return -x;
    case HTI_UNARY_exp:
        return exp(x);
    case HTI_UNARY_log:
        return log(x);
    case HTI_UNARY_sqrt:
        return sqrt(x);
    case HTI_UNARY_tanh:
        return tanh(x);
    case HTI_UNARY_sigmoid:
        return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
    case HTI_UNARY_relu:
        return isnan(x) || x > 0 ? x : 0;
    case HTI_UNARY_log1p:
        return log1p(x);
    case HTI_UNARY_expm1:
        return expm1(x);
    case HTI_UNARY_rsqrt:
        return (double)(1 / sqrtl((long double)x));
    case HTI_UNARY_sin:
        return sin(x);
    case HTI_UNARY_cos:
        return cos(x);
    case HTI_UNARY_erf:
        return erf(x);
    case HTI_UNARY_softplus:
        return x > 0 ? (double)(x + log1pl(expl(-x))) : (double)log1pl(expl(x));
    case HTI_UNARY_gelu:
        return exact_gelu(x);
    case HTI_UNARY_gelu_slope:
        return exact_gelu_slope(x);
    case HTI_UNARY_density:
        return (double)density(x);
    case HTI_UNARY_sigmoid_slope:
        return (double)logistic(fabsl((long double)x));
    case HTI_UNARY_tanh_slope:
        return (double)(4 * logistic(2 * fabsl((long double)x)));
    case HTI_UNARY_silu:
    case HTI_UNARY_silu_slope:
        return exact_gate(x, x, 1, f == HTI_UNARY_silu_slope);
    case HTI_UNARY_gelu_tanh:
    case HTI_UNARY_gelu_tanh_slope:
        return exact_gelu_tanh(x, f == HTI_UNARY_gelu_tanh_slope);
    case HTI_UNARY_erf_slope:
        return (double)(1.12837916709551257389615890312154517L *
                        expl(-(long double)x * x));
    default:
        return fabs(x);
    }
}

static double exact_binary(hti_binary f, double x, double y)
{
    switch (f) {
    case HTI_BINARY_add:
        return x + y;
    case HTI_BINARY_sub:
        return x - y;
    case HTI_BINARY_mul:
        return x * y;
    case HTI_BINARY_div:
        return x / y;
    case HTI_BINARY_pow:
        return pow(x, y);
    case HTI_BINARY_maximum:
        return isnan(x) || isnan(y) ? NAN : fmax(x, y);
    default:
        return isnan(x) || isnan(y) ? NAN : fmin(x, y);
    }
}

static double exact_compare(hti_compare f, double x, double y)
{
    return f == HTI_COMPARE_equal ? x == y : f == HTI_COMPARE_greater ? x > y : x >= y;
}

/* |got - want| in units of the last place of want as an f32 or f64. */
static double ulps(double got, double want, ht_dtype dtype)
{
    double rounded = dtype == HT_F32 ? (double)(float)want : want;
    int exponent, digits = dtype == HT_F32 ? 24 : 53,
                  least = dtype == HT_F32 ? -125 : -1021;
    if (got == rounded || (isnan(got) && isnan(want))) return 0;
    if (!isfinite(got) || !isfinite(rounded)) return INFINITY;
    frexp(want, &exponent);
    return fabs(got - want) / ldexp(1, (exponent > least ? exponent : least) - digits);
}

static double allowed_ulps(hti_unary f, ht_dtype dtype)
{
    if (dtype == HT_F32 && (f == HTI_UNARY_exp || f == HTI_UNARY_log)) return 1;
    if (dtype == HT_F32 && f == HTI_UNARY_tanh) return 1.5;
    if (f == HTI_UNARY_sigmoid) return 2.5;
    if (dtype == HT_F32 && f == HTI_UNARY_erf) return 0.75;
    if (f == HTI_UNARY_gelu_tanh && dtype == HT_F32) return 0.51;
    if (f == HTI_UNARY_gelu || f == HTI_UNARY_gelu_slope) return 6;
    if (f > HTI_UNARY_gelu_slope) return 5;
    if (dtype == HT_F32 && f > HTI_UNARY_abs) return 0.51;
    return f == HTI_UNARY_rsqrt || f == HTI_UNARY_softplus ? 1.5 : 0.500001;
}

/* The size of what adds up to a slope of x Phi(x) or x sigmoid(w), where it cancels near
 * the function's least value: as much as the larger term loses. */
static double terms_of_slope(hti_unary f, double x)
{
    if (!(x > -4 && x < 0)) return 0;
    if (f == HTI_UNARY_gelu_slope) return (double)(tail(-x) - x * density(x));
    if (f == HTI_UNARY_silu_slope) return exact_unary(HTI_UNARY_sigmoid, x) * (1 - x);
    return f == HTI_UNARY_gelu_tanh_slope ? 1 : 0;
}

/* The f64 tail of gelu is subnormal before a times it is. */
static double allowed_at(hti_unary f, double x, double want, ht_dtype dtype)
{
    double allowed = allowed_ulps(f, dtype), terms = terms_of_slope(f, x);
    if (dtype == HT_F64 && x < -37 && f <= HTI_UNARY_gelu_slope && f >= HTI_UNARY_gelu)
        allowed += 40;
    return terms > fabs(want) ? allowed * 2 * terms / fabs(want) : allowed;
}

static void check_ulps(const ht_array *out, const ht_array *a, hti_unary f,
                       const char *isa)
{
    for (int64_t i = 0, n = ht_shape_count(a->shape); i < n; ++i) {
        double x = test_get(a, i), got = test_get(out, i), want = exact_unary(f, x);
        double error = ulps(got, want, a->dtype);
        double allowed = allowed_at(f, x, want, a->dtype);
        if (error > allowed)
            fail_msg("%s, function %d of %.9g: got %.17g, want %.17g, %.3g ulp", isa,
                     (int)f, x, got, want, error);
    }
}

static void unary_any_length_matches_libm_and_baseline(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int f = 0; f < HTI_N_UNARY; ++f)
        for (int d = HT_F32; d <= HT_F64; ++d)
            for (int64_t n = 0; n <= LONGEST; ++n) {
                struct test_array a = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
                struct test_array first = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
                struct test_array out = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
                for (int isa = HTI_BASELINE; hti_context_use(ctx, isa); ++isa) {
                    hti_run_unary(ctx, (hti_unary)f, out.array, a.array);
                    check_ulps(&out.array, &a.array, (hti_unary)f, ctx->kernels->name);
                    if (isa == HTI_BASELINE) hti_run_copy(ctx, first.array, out.array);
                    test_same_bits(&out.array, &first.array, ctx->kernels->name);
                }
                test_array_free(&a), test_array_free(&first), test_array_free(&out);
            }
    ht_context_free(ctx);
}

/* Every 9,973th f32 there is: all exponents, subnormals, infinities and NaNs among them.
 */
static void unary_whole_f32_range_stays_within_ulps(void **state)
{
    (void)state;
    int64_t n = (int64_t)(UINT32_MAX / 9973);
    ht_context *ctx = test_context(2);
    struct test_array a = test_dense(&any, HT_F32, HT_SHAPE(n));
    struct test_array out = test_dense(&any, HT_F32, HT_SHAPE(n));
    struct test_array first = test_dense(&any, HT_F32, HT_SHAPE(n));
    for (int64_t i = 0; i < n; ++i) ((uint32_t *)a.block)[i] = (uint32_t)i * 9973u;
    for (int f = HTI_UNARY_exp; f < HTI_N_UNARY; ++f)
        for (int isa = HTI_BASELINE; hti_context_use(ctx, isa); ++isa) {
            hti_run_unary(ctx, (hti_unary)f, out.array, a.array);
            if (isa == HTI_BASELINE)
                check_ulps(&out.array, &a.array, (hti_unary)f, "baseline");
            if (isa == HTI_BASELINE) hti_run_copy(ctx, first.array, out.array);
            test_same_bits(&out.array, &first.array, ctx->kernels->name);
        }
    test_array_free(&a), test_array_free(&first), test_array_free(&out);
    ht_context_free(ctx);
}

static void unary_special_values_are_those_of_libm(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    static const double special[] = {0.0,   -0.0,   INFINITY, -INFINITY, NAN,    1,
                                     -1,    88.722, 88.7229,  -87.4,     -103.9, -104,
                                     -1000, 1000,   1e-40,    -1e-40,    3e38,   -3e38,
                                     1e-45, 710,    -745};
    int64_t n = sizeof special / sizeof special[0];
    for (int d = HT_F32; d <= HT_F64; ++d) {
        struct test_array a = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
        struct test_array out = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
        for (int64_t i = 0; i < n; ++i) test_put(&a.array, i, special[i]);
        for (int f = 0; f < HTI_N_UNARY; ++f)
            for (int isa = HTI_BASELINE; hti_context_use(ctx, isa); ++isa) {
                hti_run_unary(ctx, (hti_unary)f, out.array, a.array);
                check_ulps(&out.array, &a.array, (hti_unary)f, ctx->kernels->name);
            }
        test_array_free(&a), test_array_free(&out);
    }
    ht_context_free(ctx);
}

/* What elementwise.def says of each function, which reference/ is made of. */
static double formula_unary(hti_unary f, double x)
{
    switch (f) {
#define HTI_UNARY(name, dtypes, formula) \
    case HTI_UNARY_##name:               \
        return formula;
#include "elementwise.def"
    default:
        return NAN;
    }
}

static double formula_binary(hti_binary f, double x, double y)
{
    switch (f) {
#define HTI_BINARY(name, dtypes, formula) \
    case HTI_BINARY_##name:               \
        return formula;
#include "elementwise.def"
    default:
        return NAN;
    }
}

static void check_formula(double got, double want, const char *what, int f, double x)
{
    if (!(fabs(got - want) <= 1e-14 * (1 + fabs(want))) && ulps(got, want, HT_F64) > 0)
        fail_msg("%s function %d of %.9g: the formula gives %.17g, want %.17g", what, f,
                 x, got, want);
}

static void formulas_are_the_functions(void **state)
{
    (void)state;
    static const double at[] = {0,    0.01, -0.01,     1,   -1, 3.7, -6,   6,    INFINITY,
                                -800, 800,  -INFINITY, -45, 45, NAN, 1e-9, -1e-9};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        for (int f = 0; f < HTI_N_UNARY; f++)
            check_formula(formula_unary((hti_unary)f, at[i]),
                          exact_unary((hti_unary)f, at[i]), "unary", f, at[i]);
        for (size_t j = 0; j < sizeof at / sizeof *at; j++)
            for (int f = 0; f < HTI_N_BINARY; f++)
                check_formula(formula_binary((hti_binary)f, at[i], at[j]),
                              exact_binary((hti_binary)f, at[i], at[j]), "binary", f,
                              at[i]);
    }
}

/* f32 sums, products, quotients rounded from f64 are the correctly rounded ones. */
static void check_binary(const ht_array *out, const ht_array *a, const ht_array *b,
                         hti_binary f)
{
    for (int64_t i = 0, n = ht_shape_count(out->shape); i < n; ++i) {
        double x = test_get(a, i), y = test_get(b, i), want = exact_binary(f, x, y);
        double error = ulps(test_get(out, i), want, out->dtype);
        if (error > (f == HTI_BINARY_pow ? 1 : 0.500001))
            fail_msg("function %d of %.9g, %.9g: got %.17g, want %.17g", (int)f, x, y,
                     test_get(out, i), want);
    }
}

static void binary_any_length_matches_libm_and_baseline(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int f = 0; f < HTI_N_BINARY; ++f)
        for (int d = HT_F32; d <= HT_I32; ++d)
            for (int64_t n = 0; n <= LONGEST; ++n) {
                if (d == HT_I32 && (f == HTI_BINARY_div || f == HTI_BINARY_pow)) continue;
                struct test_array a = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
                struct test_array b = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
                struct test_array out = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
                struct test_array first = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
                if (n > 2 && d != HT_I32) test_put(&a.array, n - 1, NAN);
                if (n > 2 && d != HT_I32) test_put(&b.array, n - 2, NAN);
                for (int isa = HTI_BASELINE; hti_context_use(ctx, isa); ++isa) {
                    hti_run_binary(ctx, (hti_binary)f, out.array, a.array, b.array);
                    check_binary(&out.array, &a.array, &b.array, (hti_binary)f);
                    if (isa == HTI_BASELINE) hti_run_copy(ctx, first.array, out.array);
                    test_same_bits(&out.array, &first.array, ctx->kernels->name);
                }
                test_array_free(&a), test_array_free(&b);
                test_array_free(&out), test_array_free(&first);
            }
    ht_context_free(ctx);
}

static void binary_i32_overflow_wraps(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    int32_t least = INT32_MIN, most = INT32_MAX, one = 1, out = 0;
    ht_array a = hti_contiguous(&least, HT_I32, HT_SCALAR);
    ht_array b = hti_contiguous(&one, HT_I32, HT_SCALAR);
    ht_array o = hti_contiguous(&out, HT_I32, HT_SCALAR);
    hti_run_binary(ctx, HTI_BINARY_sub, o, a, b);
    assert_int_equal(out, most);
    hti_run_unary(ctx, HTI_UNARY_neg, o, a);
    assert_int_equal(out, least);
    hti_run_unary(ctx, HTI_UNARY_abs, o, a);
    assert_int_equal(out, least);
    hti_run_binary(ctx, HTI_BINARY_add, o, hti_contiguous(&most, HT_I32, HT_SCALAR), b);
    assert_int_equal(out, least);
    ht_context_free(ctx);
}

static void compare_every_dtype_and_length_matches(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int d = HT_F32; d <= HT_U8; ++d)
        for (int64_t n = 0; n <= LONGEST; ++n) {
            struct test_array a = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
            struct test_array b = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
            struct test_array out = test_dense(&any, HT_U8, HT_SHAPE(n));
            for (int64_t i = 0; i < n; i += 3)
                test_put(&b.array, i, test_get(&a.array, i));
            if (n > 0 && d <= HT_F64) test_put(&a.array, n - 1, NAN);
            for (int f = 0; f < HTI_N_COMPARE; ++f)
                for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
                    hti_run_compare(ctx, (hti_compare)f, out.array, a.array, b.array);
                    for (int64_t i = 0; i < n; ++i)
                        assert_near(test_get(&out.array, i),
                                    exact_compare((hti_compare)f, test_get(&a.array, i),
                                                  test_get(&b.array, i)),
                                    0);
                }
            test_array_free(&a), test_array_free(&b), test_array_free(&out);
        }
    ht_context_free(ctx);
}

static void where_random_views_choose_by_condition(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 400; ++k) {
        ht_dtype dtype = (ht_dtype)(HT_F32 + k % HT_U8);
        ht_shape shape = test_shape(&any);
        struct test_array a = test_view(&any, dtype, shape, true);
        struct test_array b = test_view(&any, dtype, shape, true);
        struct test_array condition = test_view(&any, HT_U8, shape, true);
        struct test_array out = test_dense(&any, dtype, shape);
        for (int64_t i = 0, n = ht_shape_count(shape); i < n; ++i)
            test_put(&condition.array, i, (double)test_below(&any, 2));
        for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
            hti_run_where(ctx, out.array, condition.array, a.array, b.array);
            for (int64_t i = 0, n = ht_shape_count(shape); i < n; ++i) {
                const ht_array *from =
                    test_get(&condition.array, i) != 0 ? &a.array : &b.array;
                assert_near(test_get(&out.array, i), test_get(from, i), 0);
            }
        }
        test_array_free(&a), test_array_free(&b);
        test_array_free(&condition), test_array_free(&out);
    }
    ht_context_free(ctx);
}

static void check_binary_views(ht_context *ctx, ht_dtype dtype, ht_shape shape)
{
    struct test_array a = test_view(&any, dtype, shape, true);
    struct test_array b = test_view(&any, dtype, shape, true);
    struct test_array out = test_dense(&any, dtype, shape);
    for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
        hti_run_binary(ctx, HTI_BINARY_mul, out.array, a.array, b.array);
        check_binary(&out.array, &a.array, &b.array, HTI_BINARY_mul);
    }
    test_array_free(&a), test_array_free(&b), test_array_free(&out);
}

static void binary_random_views_match_reference(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 600; ++k) check_binary_views(ctx, HT_F32, test_shape(&any));
    for (int k = 0; k < 200; ++k) check_binary_views(ctx, HT_F64, test_shape(&any));
    for (int k = 0; k < 40; ++k) {
        check_binary_views(ctx, HT_F32, HT_SHAPE(1 + test_below(&any, 300), 1 + k));
        check_binary_views(ctx, HT_F64, HT_SHAPE(3, 500 + 13 * k));
        check_binary_views(ctx, HT_F32, HT_SHAPE(500 + 13 * k, 3, 2));
        check_binary_views(ctx, HT_I32, HT_SHAPE(2, 40, 40));
    }
    ht_context_free(ctx);
}

/* Towards zero; outside the range the nearest end, NaN zero. */
static double exact_convert(ht_dtype to, double x)
{
    if (to == HT_F32) return (double)(float)x;
    if (to == HT_F64) return x;
    if (isnan(x)) return 0;
    double low = to == HT_U8 ? 0 : INT32_MIN, high = to == HT_U8 ? 255 : INT32_MAX;
    return x < low ? low : x > high ? high : trunc(x);
}

static void copy_random_views_convert_between_all_dtypes(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    static const double edge[] = {NAN,  INFINITY, -INFINITY, 255.9, 256,
                                  -0.9, -1.9,     3e9,       -3e9};
    for (int k = 0; k < 1600; ++k) {
        ht_dtype from = (ht_dtype)(1 + k % 4), to = (ht_dtype)(1 + k / 4 % 4);
        ht_shape shape = test_shape(&any);
        int64_t n = ht_shape_count(shape);
        struct test_array a = test_view(&any, from, shape, true);
        struct test_array out = test_view(&any, to, shape, false);
        if (from <= HT_F64 && n > 0) test_put(&a.array, test_below(&any, n), edge[k % 9]);
        for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
            hti_run_copy(ctx, out.array, a.array);
            for (int64_t i = 0; i < n; ++i)
                assert_near(test_get(&out.array, i),
                            exact_convert(to, test_get(&a.array, i)), 0);
        }
        test_array_free(&a), test_array_free(&out);
    }
    ht_context_free(ctx);
}

static void copy_stepped_output_leaves_gaps_alone(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    float to[2 * 30];
    for (int i = 0; i < 60; ++i) to[i] = -7;
    ht_array out = {
        .data = to, .dtype = HT_F32, .shape = HT_SHAPE(3, 10), .stride = {20, 2}};
    hti_run_fill(ctx, out, 1.5);
    for (int i = 0; i < 60; ++i) assert_near(to[i], i % 2 ? -7 : 1.5, 0);
    ht_context_free(ctx);
}

static void fill_every_dtype_and_length_writes_value(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int d = HT_F32; d <= HT_U8; ++d)
        for (int64_t n = 0; n <= 700; n += n < LONGEST ? 1 : 211) {
            struct test_array out = test_dense(&any, (ht_dtype)d, HT_SHAPE(n));
            hti_run_fill(ctx, out.array, 3.75);
            for (int64_t i = 0; i < n; ++i)
                assert_near(test_get(&out.array, i), exact_convert((ht_dtype)d, 3.75), 0);
            test_array_free(&out);
        }
    ht_context_free(ctx);
}

static void binary_in_place_equals_out_of_place(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_shape shape = HT_SHAPE(57, 10);
    struct test_array a = test_dense(&any, HT_F32, shape),
                      b = test_dense(&any, HT_F32, shape);
    struct test_array row = test_dense(&any, HT_F32, HT_SHAPE(10));
    struct test_array out = test_dense(&any, HT_F32, shape);
    ht_array wide = hti_broadcast_array(row.array, shape);
    hti_run_binary(ctx, HTI_BINARY_sub, out.array, a.array, b.array);
    hti_run_binary(ctx, HTI_BINARY_sub, b.array, a.array, b.array);
    test_same_bits(&b.array, &out.array, "out is b");
    hti_run_binary(ctx, HTI_BINARY_mul, out.array, a.array, wide);
    hti_run_binary(ctx, HTI_BINARY_mul, a.array, a.array, wide);
    test_same_bits(&a.array, &out.array, "out is a");
    hti_run_unary(ctx, HTI_UNARY_exp, out.array, a.array);
    hti_run_unary(ctx, HTI_UNARY_exp, a.array, a.array);
    test_same_bits(&a.array, &out.array, "unary");
    test_array_free(&a), test_array_free(&b), test_array_free(&row),
        test_array_free(&out);
    ht_context_free(ctx);
}

static void binary_large_arrays_same_bits_for_any_threads(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_shape shapes[] = {HT_SHAPE(200003), HT_SHAPE(20011, 10), HT_SHAPE(7, 3, 10007)};
    for (int k = 0; k < 12; ++k) {
        ht_shape shape = shapes[k % 3];
        struct test_array a = test_view(&any, HT_F32, shape, true);
        struct test_array b = test_view(&any, HT_F32, shape, true);
        struct test_array one = test_dense(&any, HT_F32, shape);
        struct test_array two = test_dense(&any, HT_F32, shape);
        ctx->options.threads = 1;
        hti_run_binary(ctx, HTI_BINARY_div, one.array, a.array, b.array);
        ctx->options.threads = 2;
        hti_run_binary(ctx, HTI_BINARY_div, two.array, a.array, b.array);
        test_same_bits(&two.array, &one.array, "2 threads");
        check_binary(&two.array, &a.array, &b.array, HTI_BINARY_div);
        test_array_free(&a), test_array_free(&b), test_array_free(&one),
            test_array_free(&two);
    }
    ht_context_free(ctx);
}

static void context_use_knows_the_reference_and_all_that_this_machine_runs(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    int n = 0;
    for (; hti_context_use(ctx, n); ++n) {
        const char *name = n == HTI_REFERENCE  ? "reference"
                           : n == HTI_BASELINE ? "baseline"
                                               : ctx->kernels->name;
        assert_string_equal(ctx->kernels->name, name);
        printf("# %s\n", ctx->kernels->name);
    }
    assert_true(n > HTI_REFERENCE);
    assert_false(hti_context_use(ctx, -1));
    assert_false(hti_context_use(ctx, n + 100));
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_use_knows_the_reference_and_all_that_this_machine_runs),
        cmocka_unit_test(unary_any_length_matches_libm_and_baseline),
        cmocka_unit_test(unary_whole_f32_range_stays_within_ulps),
        cmocka_unit_test(unary_special_values_are_those_of_libm),
        cmocka_unit_test(formulas_are_the_functions),
        cmocka_unit_test(binary_any_length_matches_libm_and_baseline),
        cmocka_unit_test(binary_i32_overflow_wraps),
        cmocka_unit_test(binary_random_views_match_reference),
        cmocka_unit_test(binary_in_place_equals_out_of_place),
        cmocka_unit_test(binary_large_arrays_same_bits_for_any_threads),
        cmocka_unit_test(compare_every_dtype_and_length_matches),
        cmocka_unit_test(where_random_views_choose_by_condition),
        cmocka_unit_test(copy_random_views_convert_between_all_dtypes),
        cmocka_unit_test(copy_stepped_output_leaves_gaps_alone),
        cmocka_unit_test(fill_every_dtype_and_length_writes_value),
    };
    any.seed = test_seed();
    return TEST_MAIN(tests);
}
