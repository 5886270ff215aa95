/* SPDX-License-Identifier: MIT */
/* test_autograd_math.c: the functions of ops_math.c and ops_compose.c: values against
 * libm and against sums by hand, derivatives of the compositions, awkward points, errors.
 * The rows' derivatives are in test_autograd_ops.c, the loops in
 * test_tensor_elementwise.c. */
#include <float.h>

#include "ht_autograd.h"
#include "test_arrays.h"

static struct test_random any;

/* A context, an eager tape, and tensors to free with them. */
struct desk {
    ht_context *ctx;
    ht_tape *tape;
    ht_tensor *made[8];
    int n;
};

static struct desk desk_new(void)
{
    struct desk d = {.ctx = test_context(1)};
    d.tape = ht_tape_new(d.ctx, HT_EAGER);
    return d;
}

static ht_var desk_put(struct desk *d, ht_dtype dtype, ht_shape shape, const double *at)
{
    ht_tensor *x = ht_tensor_new(d->ctx, dtype, shape);
    for (int64_t i = 0; i < ht_tensor_count(x); i++) ht_tensor_set(x, i, at[i]);
    d->made[d->n++] = x;
    return ht_input(d->tape, x);
}

static void desk_free(struct desk *d)
{
    if (ht_context_status(d->ctx) != HT_OK) fail_msg("%s", ht_context_message(d->ctx));
    ht_tape_free(d->tape);
    for (int i = 0; i < d->n; i++) ht_tensor_free(d->made[i]);
    ht_context_free(d->ctx);
}

static void check_values(ht_var x, int64_t n, const double *want, double tolerance)
{
    const ht_tensor *value = ht_value(x);
    assert_non_null(value);
    assert_int_equal(ht_tensor_count(value), n);
    for (int64_t i = 0; i < n; i++)
        assert_near(ht_tensor_get(value, i), want[i], tolerance);
}

/* Fails with what ht_gradient_check had to say. */
static void fail_report(FILE *report, const char *name)
{
    char text[2000];
    rewind(report);
    text[fread(text, 1, sizeof text - 1, report)] = '\0';
    fail_msg("%s:\n%s", name, text);
}

static void check_shape(ht_var x, ht_shape want)
{
    char a[HT_SHAPE_TEXT], b[HT_SHAPE_TEXT];
    assert_string_equal(ht_shape_text(ht_var_shape(x), a), ht_shape_text(want, b));
}

/* Functions of one number. */

typedef struct function {
    const char *name;
    ht_var (*f)(ht_var x);
    double (*exact)(double x);
} function;

static ht_var f_leaky(ht_var x)
{
    return ht_leaky_relu(x, 0.1);
}
static ht_var f_clamp(ht_var x)
{
    return ht_clamp(x, -1.5, 2);
}
#define F(name)                      \
    static ht_var f_##name(ht_var x) \
    {                                \
        return ht_##name(x);         \
    }
F(log1p)
F(expm1)
F(rsqrt)
F(reciprocal)
F(sin)
F(cos)
F(erf)
F(softplus)
F(silu)
F(gelu)
F(gelu_tanh)

static double exact_leaky(double x)
{
    return x > 0 ? x : 0.1 * x;
}
static double exact_clamp(double x)
{
    return x < -1.5 ? -1.5 : x > 2 ? 2 : x;
}
static double exact_rsqrt(double x)
{
    return (double)(1 / sqrtl(x));
}
static double exact_reciprocal(double x)
{
    return 1 / x;
}
static double exact_softplus(double x)
{
    return (double)(x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x)));
}
static double exact_silu(double x)
{
    return (double)(x / (1 + expl(-x)));
}
static double exact_gelu(double x)
{
    return (double)(0.5L * x * erfcl(-x * 0.70710678118654752440084436L));
}
static double exact_gelu_tanh(double x)
{
    long double s = 0.79788456080286535587989212L * (x + 0.044715L * x * x * x);
    return (double)(0.5L * x * (1 + tanhl(s)));
}

static const function functions[] = {
    {"log1p", f_log1p, log1p},
    {"expm1", f_expm1, expm1},
    {"rsqrt", f_rsqrt, exact_rsqrt},
    {"reciprocal", f_reciprocal, exact_reciprocal},
    {"sin", f_sin, sin},
    {"cos", f_cos, cos},
    {"erf", f_erf, erf},
    {"softplus", f_softplus, exact_softplus},
    {"silu", f_silu, exact_silu},
    {"gelu", f_gelu, exact_gelu},
    {"gelu_tanh", f_gelu_tanh, exact_gelu_tanh},
    {"leaky_relu", f_leaky, exact_leaky},
    {"clamp", f_clamp, exact_clamp},
};
enum { N_FUNCTIONS = sizeof functions / sizeof functions[0], POINTS = 401 };

static void functions_of_one_number_match_libm(void **state)
{
    (void)state;
    for (int d = HT_F32; d <= HT_F64; ++d)
        for (int k = 0; k < N_FUNCTIONS; ++k) {
            double at[POINTS], want[POINTS];
            bool positive = functions[k].exact == exact_rsqrt;
            for (int i = 0; i < POINTS; ++i) {
                double x = (i - 200) * 0.0415 + 0.001;
                if (functions[k].exact == log1p) x = x / 9;
                if (positive) x = fabs(x);
                at[i] = d == HT_F32 ? (double)(float)x : x;
                want[i] = functions[k].exact(at[i]);
            }
            struct desk desk = desk_new();
            ht_var x = desk_put(&desk, (ht_dtype)d, HT_SHAPE(POINTS), at);
            ht_var y = functions[k].f(x);
            assert_int_equal(ht_var_dtype(y), d);
            check_values(y, POINTS, want, d == HT_F32 ? 4e-7 : 4e-16);
            desk_free(&desk);
        }
}

static ht_var checked_function(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)tape, (void)n;
    return ht_sum(ht_mul(((const function *)user)->f(x[0]), x[1]));
}

static void functions_of_one_number_pass_gradient_check(void **state)
{
    (void)state;
    for (int k = 0; k < N_FUNCTIONS; ++k) {
        ht_context *ctx = test_context(1);
        FILE *report = tmpfile();
        ht_tensor *x = ht_tensor_new(ctx, HT_F64, HT_SHAPE(9));
        ht_tensor *weight = ht_tensor_new(ctx, HT_F64, HT_SHAPE(9));
        bool positive = functions[k].exact == exact_rsqrt ||
                        functions[k].exact == exact_reciprocal ||
                        functions[k].exact == log1p;
        for (int i = 0; i < 9; ++i)
            ht_tensor_set(x, i, positive ? 0.5 + 0.3 * i : 0.62 * (i - 4) + 0.05);
        ht_tensor_uniform(weight, 1, -1, 1);
        if (!ht_gradient_check(ctx, checked_function, 2,
                               ((const ht_tensor *const[]){x, weight}),
                               (void *)(uintptr_t)&functions[k], report))
            fail_report(report, functions[k].name);
        fclose(report);
        ht_tensor_free(x), ht_tensor_free(weight);
        ht_context_free(ctx);
    }
}

/* Large angles beside small ones do not change the small ones' bits. */
static void sin_and_cos_of_large_f32_match_libm(void **state)
{
    (void)state;
    enum { N = 1500 };
    ht_context *ctx = test_context(1);
    struct test_array a = test_dense(&any, HT_F32, HT_SHAPE(N));
    struct test_array small = test_dense(&any, HT_F32, HT_SHAPE(N));
    struct test_array mixed = test_dense(&any, HT_F32, HT_SHAPE(N));
    double worst = 0;
    for (int f = HTI_UNARY_sin; f <= HTI_UNARY_cos; ++f)
        for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
            float *x = a.block;
            for (int i = 0; i < N; ++i) x[i] = (float)(i - N / 2) * 133.3f;
            hti_run_unary(ctx, (hti_unary)f, small.array, a.array);
            for (int i = 0; i < N; i += 3) x[i] = (float)(i + 1) * 1e33f;
            hti_run_unary(ctx, (hti_unary)f, mixed.array, a.array);
            for (int i = 0; i < N; ++i) {
                double at = (double)x[i], want = f == HTI_UNARY_sin ? sin(at) : cos(at);
                double error = fabs(test_get(&mixed.array, i) - want);
                assert_near(test_get(&mixed.array, i), want, 6e-8);
                worst = error > worst ? error : worst;
                if (i % 3 == 0) continue;
                assert_near(test_get(&mixed.array, i), test_get(&small.array, i), 0);
            }
        }
    printf("# largest error %.3g\n", worst);
    test_array_free(&a), test_array_free(&small), test_array_free(&mixed);
    ht_context_free(ctx);
}

/* Scans and reductions. */

static double exact_cumsum(const ht_array *a, int axis, bool backward, int64_t flat)
{
    int64_t inner = 1, n = a->shape.dim[axis];
    for (int i = axis + 1; i < a->shape.rank; ++i) inner *= a->shape.dim[i];
    int64_t place = flat / inner % n, line = flat - place * inner;
    double sum = 0;
    for (int64_t k = 0; k < n; ++k) {
        int64_t j = backward ? n - 1 - k : k;
        sum += test_get(a, line + j * inner);
        if (j == place) break;
    }
    return sum;
}

static void cumsum_random_views_match_sums_in_order(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    int compared = 0;
    for (int k = 0; k < 600; ++k) {
        ht_dtype dtype = (ht_dtype)(HT_F32 + k % 2);
        ht_shape shape = test_shape(&any);
        if (k % 50 == 0) shape = HT_SHAPE(3, 67, 301);
        if (shape.rank == 0) continue;
        int axis = (int)test_below(&any, shape.rank);
        struct test_array a = test_view(&any, dtype, shape, true);
        struct test_array out = test_dense(&any, dtype, shape);
        for (int backward = 0; backward < 2; ++backward) {
            hti_kernel(ctx, cumsum, out.array, a.array, axis, backward);
            for (int64_t i = 0; i < ht_shape_count(shape); ++i, ++compared) {
                double want = exact_cumsum(&a.array, axis, backward, i);
                if (dtype == HT_F32) want = (double)(float)want;
                assert_near(test_get(&out.array, i), want, 0);
            }
        }
        test_array_free(&a), test_array_free(&out);
    }
    printf("# %d sums\n", compared);
    assert_true(compared > 100000);
    ht_context_free(ctx);
}

static void cumsum_large_same_bits_for_any_threads(void **state)
{
    (void)state;
    ht_shape shapes[] = {HT_SHAPE(701, 301), HT_SHAPE(90, 40, 67), HT_SHAPE(200001)};
    for (int k = 0; k < 9; ++k) {
        struct test_array a = test_view(&any, HT_F32, shapes[k % 3], true);
        struct test_array one = test_dense(&any, HT_F32, shapes[k % 3]);
        struct test_array two = test_dense(&any, HT_F32, shapes[k % 3]);
        ht_context *serial = test_context(1), *parallel = test_context(2);
        int axis = k / 3 % shapes[k % 3].rank;
        hti_kernel(serial, cumsum, one.array, a.array, axis, k % 2);
        hti_kernel(parallel, cumsum, two.array, a.array, axis, k % 2);
        test_same_bits(&two.array, &one.array, "2 threads");
        test_array_free(&a), test_array_free(&one), test_array_free(&two);
        ht_context_free(serial), ht_context_free(parallel);
    }
}

static void logsumexp_random_views_match_long_double_on_every_isa(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < 400; ++k) {
        ht_dtype dtype = (ht_dtype)(HT_F32 + k % 2);
        ht_shape shape = test_shape(&any), rows = shape;
        if (k % 40 == 0) rows = shape = HT_SHAPE(4, 1201);
        if (shape.rank == 0 || shape.dim[--rows.rank] == 0) continue;
        int64_t columns = shape.dim[rows.rank], n = ht_shape_count(rows);
        struct test_array a = test_view(&any, dtype, shape, true);
        struct test_array out = test_dense(&any, dtype, rows);
        struct test_array first = test_dense(&any, dtype, rows);
        for (int isa = HTI_REFERENCE; hti_context_use(ctx, isa); ++isa) {
            hti_kernel(ctx, logsumexp, out.array, a.array);
            if (isa <= HTI_BASELINE) hti_run_copy(ctx, first.array, out.array);
            test_same_bits(&out.array, &first.array, ctx->kernels->name);
            for (int64_t r = 0; r < n; ++r) {
                long double sum = 0;
                for (int64_t c = 0; c < columns; ++c)
                    sum += expl(test_get(&a.array, r * columns + c));
                assert_near(test_get(&out.array, r), (double)logl(sum),
                            dtype == HT_F32 ? 3e-7 : 1e-15);
            }
        }
        test_array_free(&a), test_array_free(&out), test_array_free(&first);
    }
    ht_context_free(ctx);
}

static void logsumexp_infinite_and_huge_values_are_the_limits(void **state)
{
    (void)state;
    const double inf = INFINITY;
    const double at[] = {1000, 1000, 1000, -1e30, -1e30, -1e30, -inf, 0,   -inf,
                         -inf, -inf, -inf, inf,   2,     inf,   inf,  NAN, 1};
    const double log_3 = 1.09861228866810969140;
    const double want[] = {1000 + log_3, -1e30, 0, -inf, inf, NAN};
    for (int d = HT_F32; d <= HT_F64; ++d) {
        struct desk desk = desk_new();
        ht_var x = desk_put(&desk, (ht_dtype)d, HT_SHAPE(6, 3), at);
        ht_var y = ht_logsumexp_axes(x, HT_AXES(-1), false);
        check_values(y, 6, want, d == HT_F32 ? 1e-7 : 1e-15);
        desk_free(&desk);
    }
}

static const double cube[] = {3, 1, 2, 5, 4, 0, 9, 7, 8, 6, 2, 2};

static void reductions_over_axes_match_sums_by_hand(void **state)
{
    (void)state;
    struct desk desk = desk_new();
    ht_var x = desk_put(&desk, HT_F64, HT_SHAPE(2, 2, 3), cube);
    ht_var y = ht_logsumexp_axes(x, HT_AXES(0, 2), true);
    check_shape(y, HT_SHAPE(1, 2, 1));
    check_values(y, 2,
                 ((double[]){log(exp(3) + exp(1) + exp(2) + exp(9) + exp(7) + exp(8)),
                             log(exp(5) + exp(4) + exp(0) + exp(6) + exp(2) + exp(2))}),
                 1e-15);
    y = ht_logsumexp_axes(x, HT_AXES(1), false);
    check_shape(y, HT_SHAPE(2, 3));
    assert_near(ht_tensor_get(ht_value(y), 1), log(exp(1) + exp(4)), 1e-15);
    check_shape(ht_logsumexp_axes(x, HT_AXES(0, 1, 2), false), HT_SCALAR);
    y = ht_variance_axes(x, HT_AXES(-1), false, 0);
    check_shape(y, HT_SHAPE(2, 2));
    check_values(y, 4, ((double[]){2.0 / 3, 14.0 / 3, 2.0 / 3, 32.0 / 9}), 1e-15);
    y = ht_variance_axes(x, HT_AXES(0, 1), true, 1);
    check_shape(y, HT_SHAPE(1, 1, 3));
    check_values(y, 3, ((double[]){18.75 / 3, 21.0 / 3, 36.0 / 3}), 1e-15);
    y = ht_norm_axes(x, HT_AXES(2), false);
    check_values(y, 4, ((double[]){sqrt(14), sqrt(41), sqrt(194), sqrt(44)}), 1e-15);
    y = ht_min_axes(x, HT_AXES(0, 2), false);
    check_values(y, 2, ((double[]){1, 0}), 0);
    check_values(ht_argmin(x), 4, ((double[]){1, 2, 1, 1}), 0);
    y = ht_cumsum(x, -2);
    check_values(y, 12, ((double[]){3, 1, 2, 8, 5, 2, 9, 7, 8, 15, 9, 10}), 0);
    desk_free(&desk);
}

static void stack_and_flip_move_elements(void **state)
{
    (void)state;
    struct desk desk = desk_new();
    ht_var a = desk_put(&desk, HT_F64, HT_SHAPE(2), ((double[]){1, 2}));
    ht_var b = desk_put(&desk, HT_F64, HT_SHAPE(2), ((double[]){3, 4}));
    ht_var c = desk_put(&desk, HT_F64, HT_SHAPE(2), ((double[]){5, 6}));
    ht_var x = ht_stack(3, ((ht_var[]){a, b, c}), 0);
    check_shape(x, HT_SHAPE(3, 2));
    check_values(x, 6, ((double[]){1, 2, 3, 4, 5, 6}), 0);
    ht_var y = ht_stack(3, ((ht_var[]){a, b, c}), -1);
    check_shape(y, HT_SHAPE(2, 3));
    check_values(y, 6, ((double[]){1, 3, 5, 2, 4, 6}), 0);
    check_values(ht_flip(x, 0), 6, ((double[]){5, 6, 3, 4, 1, 2}), 0);
    check_values(ht_flip(x, -1), 6, ((double[]){2, 1, 4, 3, 6, 5}), 0);
    check_shape(ht_stack(1, &a, 1), HT_SHAPE(2, 1));
    ht_var s = ht_sum(a), t = ht_stack(2, ((ht_var[]){s, s}), 0);
    check_values(t, 2, ((double[]){3, 3}), 0);
    ht_var none = ht_slice(a, 0, 0, 0, 1);
    check_shape(ht_flip(none, 0), HT_SHAPE(0));
    check_shape(ht_stack(2, ((ht_var[]){none, none}), 0), HT_SHAPE(2, 0));
    desk_free(&desk);
}

static ht_var checked_reductions(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)tape, (void)n, (void)user;
    ht_axes ends = HT_AXES(0, 2);
    ht_var y = ht_logsumexp_axes(x[0], ends, false);
    y = ht_mul(y, ht_variance_axes(x[0], ends, false, 1));
    y = ht_add(y, ht_norm_axes(x[0], ends, false));
    y = ht_mul(y, ht_min_axes(x[0], ends, false));
    ht_var turned = ht_flip(ht_cumsum(x[0], 1), 2);
    ht_var both = ht_stack(2, ((ht_var[]){turned, x[0]}), 1);
    return ht_add(ht_sum(y), ht_sum(ht_mul(both, ht_sin(both))));
}

static void reductions_pass_gradient_check(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    FILE *report = tmpfile();
    ht_tensor *x = ht_tensor_new(ctx, HT_F64, HT_SHAPE(2, 3, 5));
    ht_tensor_uniform(x, 1, -1, 1);
    if (!ht_gradient_check(ctx, checked_reductions, 1, (const ht_tensor *const[]){x},
                           NULL, report))
        fail_report(report, "reductions");
    fclose(report);
    ht_tensor_free(x);
    ht_context_free(ctx);
}

static void check_relative(ht_var x, int64_t i, double want, double tolerance,
                           const char *what, int which)
{
    double got = ht_tensor_get(ht_value(x), i);
    if (!(fabs(got - want) <= tolerance * fabs(want)))
        fail_msg("%s of %s, %d: got %.17g, want %.17g", what,
                 ht_dtype_name(ht_var_dtype(x)), which, got, want);
}

/* Sum and mean of x / 2 + x / 2, x large and of both signs, past the range on the way. */
static void large_sum(ht_var x, ht_var out[2])
{
    ht_var half = ht_mul(x, 0.5), whole = ht_add(half, half);
    out[0] = ht_sum(whole);
    out[1] = ht_mean(whole);
}

static void check_large_sum(ht_dtype dtype, int64_t n)
{
    double big = dtype == HT_F32 ? (double)3e38f : 1.5e308,
           want[] = {big, big / (double)n};
    ht_context *ctx = test_context(2);
    ht_tensor *x = ht_tensor_new(ctx, dtype, HT_SHAPE(n)), *out[2];
    for (int64_t i = 0; i < n; i++) ht_tensor_set(x, i, i <= n / 2 ? big : -big);
    ht_tape *eager = ht_tape_new(ctx, HT_EAGER), *tape = ht_tape_new(ctx, HT_RECORD);
    ht_var y[2], z[2], in = ht_input(tape, x);
    large_sum(ht_input(eager, x), y);
    large_sum(in, z);
    ht_program *p = ht_program_new(tape, 1, &in, 2, z);
    for (int k = 0; k < 2; k++) out[k] = ht_tensor_new(ctx, dtype, HT_SCALAR);
    ht_program_run(p, (const ht_tensor *const[]){x}, out);
    if (ht_context_status(ctx) != HT_OK) fail_msg("%s", ht_context_message(ctx));
    for (int k = 0; k < 2; k++) {
        double got = ht_item(y[k]), replayed = ht_tensor_get(out[k], 0);
        if (got != replayed || !(fabs(got / want[k] - 1) < 1e-7 + 1e-10 * (double)n))
            fail_msg("%s of %lld +-%g: %.17g, replayed %.17g, want %.17g",
                     k ? "mean" : "sum", (long long)n, big, got, replayed, want[k]);
        ht_tensor_free(out[k]);
    }
    ht_program_free(p), ht_tape_free(tape), ht_tape_free(eager);
    ht_tensor_free(x), ht_context_free(ctx);
}

static void sums_past_the_range_are_right_eager_and_replayed(void **state)
{
    (void)state;
    for (int d = HT_F32; d <= HT_F64; d++)
        for (int64_t n = 3; n < 300000; n = n * 9 + 2) check_large_sum((ht_dtype)d, n);
}

/* Running totals of large numbers, some of them past the largest; means of windows. */
static void running_totals_and_windows_come_back_into_range(void **state)
{
    (void)state;
    for (int d = HT_F32; d <= HT_F64; d++) {
        double big = d == HT_F32 ? (double)3e38f : 1.5e308, inf = INFINITY;
        const double at[] = {big, big, -big, -big, -big, -big, big, big};
        struct desk desk = desk_new();
        ht_var x = desk_put(&desk, (ht_dtype)d, HT_SHAPE(8), at);
        const double want[] = {big, inf, big, 0, -big, -inf, -big, 0};
        check_values(ht_cumsum(x, 0), 8, want, 0);
        ht_pool_options options = {.kernel = {1, 4}, .stride = {1, 2}};
        ht_var y = ht_avg_pool2d(ht_reshape(x, HT_SHAPE(1, 1, 1, 8)), options);
        check_values(y, 3, ((double[]){0, -big, 0}), 0);
        y = ht_global_avg_pool2d(
            ht_reshape(ht_slice(x, 0, 2, 4, 1), HT_SHAPE(1, 1, 2, 2)));
        check_values(y, 1, ((double[]){-big}), 0);
        desk_free(&desk);
    }
}

/* Equal numbers vary by nothing, and 1e7 + (0, 1, 1) in f32 by 2 / 9. */
static void variance_of_equal_and_of_near_numbers_is_exact(void **state)
{
    (void)state;
    for (int d = HT_F32; d <= HT_F64; d++) {
        struct desk desk = desk_new();
        double at[7], none[7] = {0}, near = d == HT_F32 ? 1e7 : 9e15;
        for (int i = 0; i < 7; i++) at[i] = d == HT_F32 ? 1e10 : 14.62;
        ht_var x = desk_put(&desk, (ht_dtype)d, HT_SHAPE(7), at), g, mean, variance;
        ht_var y = ht_variance_axes(x, HT_AXES(0), false, 1);
        check_values(y, 1, none, 0);
        ht_grad(y, 1, &x, &g);
        check_values(g, 7, none, 0);
        ht_batch_statistics(ht_reshape(x, HT_SHAPE(7, 1)), &mean, &variance);
        check_values(variance, 1, none, 0);
        check_values(mean, 1, (double[]){ht_tensor_get(ht_value(x), 0)}, 0);
        const double close[] = {near, near + 1, near + 1};
        x = desk_put(&desk, (ht_dtype)d, HT_SHAPE(3), close);
        y = ht_variance_axes(x, HT_AXES(0), false, 0);
        check_values(y, 1, ((double[]){2.0 / 9}), d == HT_F32 ? 3e-8 : 1e-16);
        ht_grad(y, 1, &x, &g);
        check_values(g, 3, ((double[]){-4.0 / 9, 2.0 / 9, 2.0 / 9}),
                     d == HT_F32 ? 1e-7 : 2e-16);
        desk_free(&desk);
    }
}

/* A row z = (-a, ..., -a, 0) of n classes whose last, the label, is nearly all: beside it
 * is left (n - 1) e^-a / s, s = 1 + (n - 1) e^-a. */
static void check_corner(ht_dtype dtype, int n, double a)
{
    double tolerance = dtype == HT_F32 ? 2e-6 : 1e-13, tiny = exp(-a),
           s = 1 + (n - 1) * tiny;
    double left = (n - 1) * tiny / s, p = tiny / s, at[40], label[40] = {0},
           unit[40] = {0};
    struct desk desk = desk_new();
    for (int i = 0; i < n; i++) at[i] = i == n - 1 ? 0 : -a;
    label[n - 1] = unit[n - 1] = 1;
    ht_var z = desk_put(&desk, dtype, HT_SHAPE(1, n), at), e, g, h, t, q;
    ht_var hard = desk_put(&desk, HT_I32, HT_SHAPE(1), ((double[]){n - 1}));
    ht_var soft = desk_put(&desk, dtype, HT_SHAPE(1, n), label);
    e = desk_put(&desk, dtype, HT_SHAPE(1, n), unit);
    ht_var loss[] = {ht_cross_entropy(z, hard), ht_cross_entropy(z, soft),
                     ht_neg(ht_slice(ht_log_softmax(z), 1, n - 1, 1, 1)),
                     ht_logsumexp_axes(z, HT_AXES(1), false)};
    for (int k = 0; k < 4; k++) {
        ht_var y = ht_sum(loss[k]);
        check_relative(y, 0, log1p((n - 1) * tiny), tolerance, "loss", k);
        ht_grad(y, 1, &z, &g);
        check_relative(g, n - 1, k < 3 ? -left : 1 / s, tolerance, "gradient", k);
        check_relative(g, 0, p, tolerance, "gradient", k);
        ht_jvp(1, &z, &e, 1, &y, &t);
        check_relative(t, 0, k < 3 ? -left : 1 / s, tolerance, "slope", k);
        ht_hvp(y, 1, &z, &e, &h);
        check_relative(h, n - 1, left / s, tolerance, "Hessian", k);
        check_relative(h, 0, -p / s, tolerance, "Hessian", k);
        ht_grad(ht_sum(ht_mul(g, e)), 1, &z, &h);
        check_relative(h, n - 1, left / s, tolerance, "Hessian, reverse", k);
    }
    q = ht_softmax(z);
    ht_jvp(1, &z, &e, 1, &q, &t);
    check_relative(t, n - 1, left / s, tolerance, "softmax", 0);
    ht_grad(ht_sum(ht_mul(t, e)), 1, &z, &h);
    check_relative(h, n - 1, left / s * (2 * left - 1), tolerance, "softmax, twice", 0);
    desk_free(&desk);
}

static void rows_where_one_class_is_nearly_all_keep_their_digits(void **state)
{
    (void)state;
    static const int sizes[] = {2, 3, 10, 15, 16, 17, 33};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (double a = 1; a < 80; a *= 1.7) {
            check_corner(HT_F32, sizes[k], (double)(float)a);
            check_corner(HT_F64, sizes[k], 4 * a);
        }
}

/* What a distribution leaves out is 0 whatever its logit. */
static void soft_labels_leave_out_what_they_say_is_never(void **state)
{
    (void)state;
    for (int d = HT_F32; d <= HT_F64; d++) {
        struct desk desk = desk_new();
        double tolerance = d == HT_F32 ? 1e-7 : 1e-15;
        ht_var z =
            desk_put(&desk, (ht_dtype)d, HT_SHAPE(1, 3), ((double[]){-INFINITY, 0, 0}));
        ht_var p = desk_put(&desk, (ht_dtype)d, HT_SHAPE(1, 3), ((double[]){0, 1, 0})), g;
        ht_var y = ht_sum(ht_cross_entropy(z, p));
        check_values(y, 1, ((double[]){0.69314718055994530942}), tolerance);
        ht_grad(y, 1, &z, &g);
        check_values(g, 3, ((double[]){0, -0.5, 0.5}), tolerance);
        ht_grad(y, 1, &p, &g);
        check_values(g, 3,
                     ((double[]){0, 0.69314718055994530942, 0.69314718055994530942}),
                     tolerance);
        desk_free(&desk);
    }
}

/* (3 s, 4 s): 5 s, with gradient (.6, .8) and Hessian ((.128, -.096), (., .072)) / s. */
static void check_norm(ht_dtype dtype, double s)
{
    double tolerance = dtype == HT_F32 ? 2e-7 : 4e-16;
    struct desk desk = desk_new();
    ht_var x = desk_put(&desk, dtype, HT_SHAPE(2), ((double[]){3 * s, 4 * s})), g, h;
    ht_var one = desk_put(&desk, dtype, HT_SHAPE(2), ((double[]){1, 0})), slope;
    ht_var y = ht_norm_axes(x, HT_AXES(0), false);
    double n = ht_item(y), big = dtype == HT_F32 ? FLT_MAX : DBL_MAX;
    if (!(fabs(n / 5 - s) <= tolerance * s) && (s <= big / 5 || n != INFINITY))
        fail_msg("norm of %g (3, 4): %.17g, want %.17g", s, n, 5 * s);
    ht_grad(y, 1, &x, &g);
    check_values(g, 2, ((double[]){0.6, 0.8}), tolerance);
    ht_jvp(1, &x, &one, 1, &y, &slope);
    assert_near(ht_item(slope), 0.6, tolerance);
    ht_hvp(y, 1, &x, &one, &h);
    double want[] = {0.128 / s, -0.096 / s};
    for (int i = 0; i < 2; i++) {
        double got = ht_tensor_get(ht_value(h), i);
        if (!(fabs(got - want[i]) <= 4 * tolerance * fabs(want[i])))
            fail_msg("Hessian of %g (3, 4): %.17g, want %.17g", s, got, want[i]);
    }
    desk_free(&desk);
}

static void norm_of_any_size_keeps_its_digits_and_derivatives(void **state)
{
    (void)state;
    static const double f32[] = {1e-38, 1e-36, 1e-30, 1e-19, 1, 1e20, 1e30, 6e37, 8e37};
    static const double f64[] = {1e-305, 1e-200, 1e-154, 1, 1e153, 1e200, 3e307, 4e307};
    for (size_t k = 0; k < sizeof f32 / sizeof *f32; k++)
        check_norm(HT_F32, (double)(float)f32[k]);
    for (size_t k = 0; k < sizeof f64 / sizeof *f64; k++) check_norm(HT_F64, f64[k]);
}

/* Awkward points: f at x, its first and second derivative. */

static ht_var f_norm(ht_var x)
{
    return ht_norm_axes(ht_reshape(x, HT_SHAPE(1)), HT_AXES(0), false);
}
static ht_var f_clamp_2(ht_var x)
{
    return ht_clamp(x, -1, 2);
}

static const struct {
    const char *name;
    ht_var (*f)(ht_var x);
    double at, value, first, second;
} points[] = {
    {"norm at 0", f_norm, 0, 0, 0, 0},
    {"norm at -3", f_norm, -3, 3, -1, 0},
    {"clamp at its low end", f_clamp_2, -1, -1, 1, 0},
    {"clamp at its high end", f_clamp_2, 2, 2, 1, 0},
    {"clamp outside", f_clamp_2, 2.5, 2, 0, 0},
    {"leaky_relu at 0", f_leaky, 0, 0, 0.1, 0},
    {"rsqrt at 0", f_rsqrt, 0, INFINITY, -INFINITY, INFINITY},
    {"rsqrt at 4", f_rsqrt, 4, 0.5, -1.0 / 16, 3.0 / 128},
    {"reciprocal at 0", f_reciprocal, 0, INFINITY, -INFINITY, INFINITY},
    {"log1p at -1", f_log1p, -1, -INFINITY, INFINITY, -INFINITY},
    {"log1p at 1e-20", f_log1p, 1e-20, 1e-20, 1, -1},
    {"expm1 at -1000", f_expm1, -1000, -1, 0, 0},
    {"softplus at 1000", f_softplus, 1000, 1000, 1, 0},
    {"softplus at -1000", f_softplus, -1000, 0, 0, 0},
    {"softplus at 0", f_softplus, 0, 0.69314718055994530942, 0.5, 0.25},
    {"erf at 0", f_erf, 0, 0, 1.12837916709551257390, 0},
    {"erf at 40", f_erf, 40, 1, 0, 0},
    {"gelu at 0", f_gelu, 0, 0, 0.5, 0.79788456080286535588},
    {"gelu at -50", f_gelu, -50, 0, 0, 0},
    {"gelu_tanh at 0", f_gelu_tanh, 0, 0, 0.5, 0.79788456080286535588},
    {"silu at 0", f_silu, 0, 0, 0.5, 0.5},
    {"sin at 0", f_sin, 0, 0, 1, 0},
    {"cos at 0", f_cos, 0, 1, 0, -1},
};

static void derivatives_at_awkward_points_are_the_documented_ones(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof points / sizeof points[0]; ++k) {
        struct desk desk = desk_new();
        ht_var x = desk_put(&desk, HT_F64, HT_SCALAR, &points[k].at), g, h;
        ht_var one = desk_put(&desk, HT_F64, HT_SCALAR, (double[]){1}), forward;
        ht_var y = points[k].f(x);
        ht_grad(y, 1, &x, &g);
        ht_grad_or_zero(g, 1, &x, &h);
        ht_hvp(y, 1, &x, &one, &forward);
        printf("# %s: %g, %g, %g, %g\n", points[k].name, ht_item(y), ht_item(g),
               ht_item(h), ht_item(forward));
        assert_near(ht_item(y), points[k].value, 1e-15);
        assert_near(ht_item(g), points[k].first, 1e-15);
        assert_near(ht_item(h), points[k].second, 1e-15);
        assert_near(ht_item(forward), points[k].second, 1e-15);
        desk_free(&desk);
    }
}

static void min_ties_share_the_gradient(void **state)
{
    (void)state;
    struct desk desk = desk_new();
    ht_var x = desk_put(&desk, HT_F64, HT_SHAPE(4), ((double[]){2, 1, 1, 5})), g;
    ht_grad(ht_min_axes(x, HT_AXES(0), false), 1, &x, &g);
    check_values(g, 4, ((double[]){0, 0.5, 0.5, 0}), 0);
    desk_free(&desk);
}

/* f(x, low, high), its gradients and its tangent along (0.5, 0.25, 0.125). */
static void check_clamp(ht_policy policy, const double at[3], double value,
                        const double grad[3], ht_dtype dtype)
{
    ht_context *ctx = test_context(1);
    ht_tape *tape = ht_tape_new(ctx, policy);
    const double along[] = {0.5, 0.25, 0.125};
    ht_tensor *put[6], *got[5];
    ht_var in[6], out[5];
    for (int i = 0; i < 6; i++) {
        put[i] = ht_tensor_new(ctx, dtype, HT_SHAPE(1));
        ht_tensor_set(put[i], 0, i < 3 ? at[i] : along[i - 3]);
        in[i] = ht_input(tape, put[i]);
    }
    out[0] = ht_clamp(in[0], in[1], in[2]);
    ht_grad(ht_sum(out[0]), 3, in, out + 1);
    ht_jvp(3, in, in + 3, 1, out, out + 4);
    for (int i = 0; i < 5; i++) got[i] = ht_tensor_new(ctx, dtype, HT_SHAPE(1));
    if (policy == HT_RECORD) {
        ht_program *p = ht_program_new(tape, 6, in, 5, out);
        ht_program_run(p, (const ht_tensor *const *)put, got);
        ht_program_free(p);
    }
    for (int i = 0; i < 5 && policy == HT_EAGER; i++)
        ht_tensor_copy(got[i], ht_value(out[i]));
    ht_check(ctx);
    double tangent = 0;
    for (int i = 0; i < 3; i++) tangent += grad[i] * along[i];
    printf("# clamp(%g, %g, %g) = %g, gradients %g, %g, %g\n", at[0], at[1], at[2],
           ht_tensor_get(got[0], 0), ht_tensor_get(got[1], 0), ht_tensor_get(got[2], 0),
           ht_tensor_get(got[3], 0));
    assert_near(ht_tensor_get(got[0], 0), value, 0);
    for (int i = 0; i < 3; i++) assert_near(ht_tensor_get(got[i + 1], 0), grad[i], 0);
    assert_near(ht_tensor_get(got[4], 0), tangent, 0);
    ht_tape_free(tape);
    for (int i = 0; i < 6; i++) ht_tensor_free(put[i]);
    for (int i = 0; i < 5; i++) ht_tensor_free(got[i]);
    ht_context_free(ctx);
}

static void clamp_is_the_least_of_high_and_the_greatest_of_low(void **state)
{
    (void)state;
    const double inf = (double)INFINITY, nan = (double)NAN;
    const struct {
        double at[3], value, grad[3];
    } rows[] = {
        {{5, 8, 2}, 2, {0, 0, 1}},          {{1, 8, 2}, 2, {0, 0, 1}},
        {{9, 8, 2}, 2, {0, 0, 1}},          {{8, 8, 2}, 2, {0, 0, 1}},
        {{2, 8, 2}, 2, {0, 0, 1}},          {{5, 2, 8}, 5, {1, 0, 0}},
        {{2, 2, 8}, 2, {1, 0, 0}},          {{8, 2, 8}, 8, {1, 0, 0}},
        {{3, 3, 3}, 3, {1, 0, 0}},          {{1, 3, 3}, 3, {0, 1, 0}},
        {{4, 3, 3}, 3, {0, 0, 1}},          {{1, 2, 8}, 2, {0, 1, 0}},
        {{9, 2, 8}, 8, {0, 0, 1}},          {{inf, 2, 8}, 8, {0, 0, 1}},
        {{-inf, 2, 8}, 2, {0, 1, 0}},       {{5, -inf, inf}, 5, {1, 0, 0}},
        {{inf, -inf, inf}, inf, {1, 0, 0}}, {{5, inf, -inf}, -inf, {0, 0, 1}},
        {{nan, 2, 8}, nan, {1, 0, 0}},      {{nan, 8, 2}, nan, {1, 0, 0}},
        {{5, nan, 8}, nan, {0, 1, 0}},      {{9, nan, 8}, nan, {0, 1, 0}},
        {{5, 2, nan}, nan, {0, 0, 1}},      {{1, 2, nan}, nan, {0, 0, 1}},
        {{5, nan, nan}, nan, {0, 0, 1}},
    };
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++)
        for (int how = 0; how < 4; how++)
            check_clamp(how & 1 ? HT_RECORD : HT_EAGER, rows[k].at, rows[k].value,
                        rows[k].grad, how & 2 ? HT_F64 : HT_F32);
}

static void clamp_by_numbers_passes_nan(void **state)
{
    (void)state;
    const double inf = (double)INFINITY, nan = (double)NAN;
    struct desk desk = desk_new();
    const double at[] = {-5, nan, 9, 1, inf, -inf};
    ht_var x = desk_put(&desk, HT_F64, HT_SHAPE(6), at), g;
    ht_var y = ht_clamp(x, 0, 2);
    check_values(y, 6, ((double[]){0, nan, 2, 1, 2, 0}), 0);
    ht_grad(ht_sum(y), 1, &x, &g);
    check_values(g, 6, ((double[]){0, 1, 0, 1, 0, 0}), 0);
    for (int64_t i = 0; i < 6; i++) {
        assert_true(isnan(ht_tensor_get(ht_value(ht_clamp(x, nan, 2)), i)));
        assert_true(isnan(ht_tensor_get(ht_value(ht_clamp(x, 0, nan)), i)));
    }
    ht_var low = desk_put(&desk, HT_F64, HT_SCALAR, ((double[]){8}));
    check_values(ht_clamp(x, low, 2), 6, ((double[]){2, nan, 2, 2, 2, 2}), 0);
    check_values(ht_clamp(x, 12, low), 6, ((double[]){8, nan, 8, 8, 8, 8}), 0);
    desk_free(&desk);
}

static void clamp_derives_by_its_ends(void **state)
{
    (void)state;
    struct desk desk = desk_new();
    ht_var in[] = {desk_put(&desk, HT_F64, HT_SHAPE(3), ((double[]){-5, 1, 9})),
                   desk_put(&desk, HT_F64, HT_SCALAR, ((double[]){0})),
                   desk_put(&desk, HT_F64, HT_SCALAR, ((double[]){2}))};
    ht_var g[3];
    ht_grad(ht_sum(ht_clamp(in[0], in[1], in[2])), 3, in, g);
    check_values(g[0], 3, ((double[]){0, 1, 0}), 0);
    assert_near(ht_item(g[1]), 1, 0);
    assert_near(ht_item(g[2]), 1, 0);
    desk_free(&desk);
}

/* Errors. */

static ht_var wrong_cumsum(ht_var x)
{
    return ht_cumsum(x, 2);
}
static ht_var wrong_flip(ht_var x)
{
    return ht_flip(x, -3);
}
static ht_var wrong_logsumexp(ht_var x)
{
    return ht_logsumexp_axes(x, HT_AXES(0, -2), false);
}
static ht_var wrong_empty(ht_var x)
{
    return ht_logsumexp_axes(ht_slice(x, 1, 0, 0, 1), HT_AXES(1), false);
}
static ht_var wrong_variance(ht_var x)
{
    return ht_variance_axes(x, HT_AXES(0), false, 2);
}
static ht_var wrong_clamp(ht_var x)
{
    return ht_clamp(x, 2, 1);
}
static ht_var wrong_stack_shape(ht_var x)
{
    return ht_stack(2, ((ht_var[]){x, ht_transpose(x)}), 0);
}
static ht_var wrong_stack_axis(ht_var x)
{
    return ht_stack(1, &x, 3);
}
static ht_var wrong_dtype(ht_var x)
{
    return ht_log1p(ht_greater(x, 0.0));
}
static ht_var wrong_cumsum_dtype(ht_var x)
{
    return ht_cumsum(ht_greater(x, 0.0), 0);
}

static void functions_refuse_what_cannot_be_meant(void **state)
{
    (void)state;
    const struct {
        ht_var (*f)(ht_var x);
        ht_status status;
        const char *message;
    } wrong[] = {
        {wrong_cumsum, HT_ERROR_ARGUMENT, "cumsum: shape (2, 3) has no axis 2"},
        {wrong_flip, HT_ERROR_ARGUMENT, "flip: shape (2, 3) has no axis -3"},
        {wrong_logsumexp, HT_ERROR_ARGUMENT,
         "logsumexp_axes: axis -2 is not one of -2 .. 1"},
        {wrong_empty, HT_ERROR_SHAPE,
         "logsumexp_axes: needs a last axis of at least one"},
        {wrong_variance, HT_ERROR_ARGUMENT, "variance_axes: correction 2 of 2 elements"},
        {wrong_clamp, HT_ERROR_ARGUMENT, "clamp: low 2 must not be above high 1"},
        {wrong_stack_shape, HT_ERROR_SHAPE, "stack: input 1 has shape (3, 2), the first"},
        {wrong_stack_axis, HT_ERROR_ARGUMENT, "stack: shape (2, 3) takes no new axis 3"},
        {wrong_dtype, HT_ERROR_DTYPE, "log1p: needs f32 or f64"},
        {wrong_cumsum_dtype, HT_ERROR_DTYPE, "cumsum: needs f32 or f64"},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; ++k) {
        struct desk desk = desk_new();
        ht_var x = desk_put(&desk, HT_F64, HT_SHAPE(2, 3), cube);
        ht_var y = wrong[k].f(x);
        assert_int_equal(ht_context_status(desk.ctx), wrong[k].status);
        assert_contains(ht_context_message(desk.ctx), wrong[k].message);
        assert_contains(ht_context_message(desk.ctx), "test_autograd_math.c:");
        assert_null(ht_value(y));
        ht_context_clear(desk.ctx);
        desk_free(&desk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_of_one_number_match_libm),
        cmocka_unit_test(functions_of_one_number_pass_gradient_check),
        cmocka_unit_test(sin_and_cos_of_large_f32_match_libm),
        cmocka_unit_test(cumsum_random_views_match_sums_in_order),
        cmocka_unit_test(cumsum_large_same_bits_for_any_threads),
        cmocka_unit_test(logsumexp_random_views_match_long_double_on_every_isa),
        cmocka_unit_test(logsumexp_infinite_and_huge_values_are_the_limits),
        cmocka_unit_test(reductions_over_axes_match_sums_by_hand),
        cmocka_unit_test(stack_and_flip_move_elements),
        cmocka_unit_test(reductions_pass_gradient_check),
        cmocka_unit_test(sums_past_the_range_are_right_eager_and_replayed),
        cmocka_unit_test(running_totals_and_windows_come_back_into_range),
        cmocka_unit_test(variance_of_equal_and_of_near_numbers_is_exact),
        cmocka_unit_test(rows_where_one_class_is_nearly_all_keep_their_digits),
        cmocka_unit_test(soft_labels_leave_out_what_they_say_is_never),
        cmocka_unit_test(norm_of_any_size_keeps_its_digits_and_derivatives),
        cmocka_unit_test(derivatives_at_awkward_points_are_the_documented_ones),
        cmocka_unit_test(min_ties_share_the_gradient),
        cmocka_unit_test(clamp_is_the_least_of_high_and_the_greatest_of_low),
        cmocka_unit_test(clamp_by_numbers_passes_nan),
        cmocka_unit_test(clamp_derives_by_its_ends),
        cmocka_unit_test(functions_refuse_what_cannot_be_meant),
    };
    any.seed = test_seed();
    return TEST_MAIN(tests);
}
