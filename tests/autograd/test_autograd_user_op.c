/* SPDX-License-Identifier: MIT */
/* test_autograd_user_op.c: rows as a program outside the library writes them, with the
 * public headers alone, and what ht_op_check says of them: yes to those that are right;
 * to each that is wrong a line that names the failure. Read next: autograd/README.md,
 * "An op of your own". */
#include "ht_autograd.h"
#include "test.h"

/* Elements of any strides, f32 or f64, in row-major order. */

static int64_t offset(const ht_array *a, int64_t i)
{
    int64_t at = 0;
    for (int k = a->shape.rank - 1; k >= 0; k--) {
        at += i % a->shape.dim[k] * a->stride[k];
        i /= a->shape.dim[k];
    }
    return at;
}

static double get(const ht_array *a, int64_t i)
{
    int64_t at = offset(a, i);
    return a->dtype == HT_F64 ? ((const double *)a->data)[at]
                              : (double)((const float *)a->data)[at];
}

static void put(const ht_array *a, int64_t i, double value)
{
    if (a->dtype == HT_F64)
        ((double *)a->data)[i] = value;
    else
        ((float *)a->data)[i] = (float)value;
}

/* A right row: x^3. */

static void cube_run(const ht_run *r)
{
    for (int64_t i = 0; i < ht_shape_count(r->out.shape); i++) {
        double x = get(r->in[0], i);
        put(&r->out, i, x * x * x);
    }
}

static ht_var cube_slope(const ht_rule *r, ht_var v)
{
    return ht_mul(v, ht_mul(ht_square(r->in[0]), 3.0));
}

static void cube_vjp(ht_rule *r)
{
    r->d[0] = cube_slope(r, r->v);
}

static ht_var cube_jvp(const ht_rule *r)
{
    return cube_slope(r, r->t[0]);
}

static ht_var cube_decompose(const ht_rule *r)
{
    return ht_mul(r->in[0], ht_square(r->in[0]));
}

static const ht_sample cube_samples[] = {
    {1, {{0, {2, {HT_SOME_1, HT_SOME_2}}, -2, 2}}, NULL},
    {1, {{0, {0, {0}}, -2, 2}}, NULL},
    {1, {{0, {1, {HT_ANY_1}}, -2, 2}}, NULL},
};
enum { N_CUBE_SAMPLES = sizeof cube_samples / sizeof *cube_samples };

/* An elementwise row over those samples. */
#define ROW(row_name, ...)                                      \
    static const ht_op row_name = {.name = #row_name,           \
                                   .n_samples = N_CUBE_SAMPLES, \
                                   .samples = cube_samples,     \
                                   .flags = HT_OP_ELEMENTWISE,  \
                                   __VA_ARGS__}

ROW(cube, .run = cube_run, .vjp = cube_vjp, .jvp = cube_jvp);
ROW(cube_parts, .run = cube_run, .decompose = cube_decompose);
ROW(cube_both, .run = cube_run, .vjp = cube_vjp, .decompose = cube_decompose);

/* No gradient: 1 where x > 0, else 0. */
static void step_run(const ht_run *r)
{
    for (int64_t i = 0; i < ht_shape_count(r->out.shape); i++)
        put(&r->out, i, get(r->in[0], i) > 0);
}
static const ht_op step = {.name = "step",
                           .run = step_run,
                           .flags = HT_OP_ELEMENTWISE | HT_OP_NO_GRADIENT,
                           .n_samples = N_CUBE_SAMPLES,
                           .samples = cube_samples};

/* Wrong rows: rules. */

static void sign_vjp(ht_rule *r)
{
    r->d[0] = ht_neg(cube_slope(r, r->v));
}
ROW(sign, .run = cube_run, .vjp = sign_vjp, .jvp = cube_jvp);

static ht_var twice_jvp(const ht_rule *r)
{
    return ht_mul(cube_slope(r, r->t[0]), 2.0);
}
ROW(twice, .run = cube_run, .vjp = cube_vjp, .jvp = twice_jvp);

/* Wrong by 1e-6 in both, so that they agree. */
static ht_var near_slope(const ht_rule *r, ht_var v)
{
    return ht_mul(cube_slope(r, v), 1.000001);
}
static void near_vjp(ht_rule *r)
{
    r->d[0] = near_slope(r, r->v);
}
static ht_var near_jvp(const ht_rule *r)
{
    return near_slope(r, r->t[0]);
}
ROW(nearly, .run = cube_run, .vjp = near_vjp, .jvp = near_jvp);

/* The slope right, its own derivative left out: in both rules, then in one. */
static ht_var once_slope(const ht_rule *r, ht_var v)
{
    return ht_mul(v, ht_mul(ht_stop_gradient(ht_square(r->in[0])), 3.0));
}
static void once_vjp(ht_rule *r)
{
    r->d[0] = once_slope(r, r->v);
}
static ht_var once_jvp(const ht_rule *r)
{
    return once_slope(r, r->t[0]);
}
ROW(once, .run = cube_run, .vjp = once_vjp, .jvp = once_jvp);
ROW(once_back, .run = cube_run, .vjp = once_vjp, .jvp = cube_jvp);

/* Right to second order: 3 x^2 with 6 x for its slope, which is then cut off. */
static ht_var twice_only_slope(const ht_rule *r, ht_var v)
{
    ht_var x = r->in[0], at = ht_stop_gradient(x), d = ht_sub(x, at);
    ht_var slope = ht_add(ht_mul(ht_square(at), 3.0), ht_mul(ht_mul(at, 6.0), d));
    return ht_mul(v, slope);
}
static void twice_only_vjp(ht_rule *r)
{
    r->d[0] = twice_only_slope(r, r->v);
}
static ht_var twice_only_jvp(const ht_rule *r)
{
    return twice_only_slope(r, r->t[0]);
}
ROW(twice_only, .run = cube_run, .vjp = twice_only_vjp, .jvp = twice_only_jvp);

static ht_var wrong_decompose(const ht_rule *r)
{
    return ht_add(cube_decompose(r), ht_mul(r->in[0], 1e-9));
}
ROW(parts, .run = cube_run, .vjp = cube_vjp, .jvp = cube_jvp,
    .decompose = wrong_decompose);

static ht_var summed_decompose(const ht_rule *r)
{
    return ht_sum(cube_decompose(r));
}
ROW(shrunk, .run = cube_run, .decompose = summed_decompose);

/* Rules of wrong types. */

static void summed_vjp(ht_rule *r)
{
    r->d[0] = ht_sum(r->v);
}
ROW(summed, .run = cube_run, .vjp = summed_vjp, .jvp = cube_jvp);

static void single_vjp(ht_rule *r)
{
    r->d[0] = ht_cast(r->v, HT_F32);
}
static ht_var single_jvp(const ht_rule *r)
{
    return ht_cast(r->t[0], HT_F32);
}
ROW(single, .run = cube_run, .vjp = single_vjp, .jvp = single_jvp);

static void wide_vjp(ht_rule *r)
{
    r->d[0] = ht_broadcast(r->v, HT_SHAPE(2, 3));
}
static ht_var wide_jvp(const ht_rule *r)
{
    return ht_broadcast(r->t[0], HT_SHAPE(2, 3));
}
ROW(wide, .run = cube_run, .vjp = wide_vjp, .jvp = wide_jvp);

/* Right where x is 0-d: a weak scalar takes its type. */
static void weak_vjp(ht_rule *r)
{
    r->d[0] = ht_constant(r->v.tape, 12);
}
static ht_var weak_jvp(const ht_rule *r)
{
    return ht_constant(r->out.tape, 12);
}
ROW(weak, .run = cube_run, .vjp = weak_vjp, .jvp = weak_jvp);

/* Wrong rows: values. */

static void f32_run(const ht_run *r)
{
    double off = r->out.dtype == HT_F32 ? 1.0001 : 1;
    for (int64_t i = 0; i < ht_shape_count(r->out.shape); i++) {
        double x = get(r->in[0], i);
        put(&r->out, i, off * x * x * x);
    }
}
ROW(coarse, .run = f32_run, .vjp = cube_vjp, .jvp = cube_jvp);

/* Reads its input as if it were contiguous. */
static void dense_run(const ht_run *r)
{
    ht_array in = *r->in[0];
    int64_t stride = 1;
    for (int k = in.shape.rank - 1; k >= 0; k--) {
        in.stride[k] = in.stride[k] ? stride : 0; /* stays inside, though */
        stride *= in.shape.dim[k];
    }
    for (int64_t i = 0; i < ht_shape_count(r->out.shape); i++) {
        double x = get(&in, i);
        put(&r->out, i, x * x * x);
    }
}

/* Says its result as a view, but not of the right elements. */
static bool self_view(const void *attributes, const ht_type *out, const ht_array *in,
                      ht_array *result)
{
    (void)attributes, (void)out;
    *result = *in;
    return true;
}
ROW(viewed, .run = cube_run, .view = self_view, .vjp = cube_vjp, .jvp = cube_jvp);

/* Depends on how often it ran, in the last bits. */
static void forgetful_run(const ht_run *r)
{
    static int runs;
    runs++;
    for (int64_t i = 0; i < ht_shape_count(r->out.shape); i++) {
        double x = get(r->in[0], i);
        put(&r->out, i, x * x * x * (1 + runs % 2 * 4e-16));
    }
}
ROW(fickle, .run = forgetful_run, .vjp = cube_vjp, .jvp = cube_jvp);

/* Leaves the last element to chance, which valgrind would tell of. */
static void short_run(const ht_run *r)
{
    for (int64_t i = 0; i < ht_shape_count(r->out.shape) - 1; i++) {
        double x = get(r->in[0], i);
        put(&r->out, i, x * x * x);
    }
}
ROW(shorted, .run = short_run, .vjp = cube_vjp, .jvp = cube_jvp);

static bool never_infer(ht_infer *it)
{
    return ht_infer_fail(it, HT_ERROR_SHAPE, "takes nothing");
}
ROW(picky, .run = cube_run, .infer = never_infer, .vjp = cube_vjp, .jvp = cube_jvp);

/* Wrong rows: flags. */

static void shift_run(const ht_run *r)
{
    for (int64_t i = 0; i < ht_shape_count(r->out.shape); i++)
        put(&r->out, i, get(r->in[0], i) + 1);
}
static void shift_vjp(ht_rule *r)
{
    r->d[0] = r->v;
}
static ht_var shift_jvp(const ht_rule *r)
{
    return r->t[0];
}
static const ht_op affine = {.name = "affine",
                             .flags = HT_OP_ELEMENTWISE | HT_OP_LINEAR,
                             .run = shift_run,
                             .vjp = shift_vjp,
                             .jvp = shift_jvp,
                             .n_samples = N_CUBE_SAMPLES,
                             .samples = cube_samples};

static void minus_run(const ht_run *r)
{
    for (int64_t i = 0; i < ht_shape_count(r->out.shape); i++)
        put(&r->out, i, get(r->in[0], i) - get(r->in[1], i));
}
static ht_var minus_decompose(const ht_rule *r)
{
    return ht_sub(r->in[0], r->in[1]);
}
static const ht_sample pairs[] = {{2, {{0, {1, {5}}, 0, 3}, {0, {1, {5}}, 0, 3}}, NULL}};
static const ht_op minus = {.name = "minus",
                            .flags = HT_OP_ELEMENTWISE | HT_OP_COMMUTATIVE,
                            .run = minus_run,
                            .decompose = minus_decompose,
                            .n_samples = 1,
                            .samples = pairs};

/* Says it is piecewise constant. */
static const ht_op unmoved = {.name = "unmoved",
                              .flags = HT_OP_ELEMENTWISE | HT_OP_NO_GRADIENT,
                              .run = cube_run,
                              .n_samples = N_CUBE_SAMPLES,
                              .samples = cube_samples};

/* Wrong rows: no rows at all. */

static const ht_sample integers[] = {{1, {{HT_I32, {1, {3}}, 0, 3}}, NULL}};
static const ht_sample hollows[] = {{1, {{0, {2, {0, 3}}, 0, 3}}, NULL}};
static const ht_sample many[] = {{1, {{0, {2, {40, 40}}, 0, 3}}, NULL}};
static const ht_sample sizes[] = {{1, {{0, {1, {-7}}, 0, 3}}, NULL}};
static const ht_sample table[] = {{1, {{0, {2, {3, 4}}, 0, 3}}, NULL}};
static const ht_sample empty[] = {{1, {{0, {1, {2}}, 3, 3}}, NULL}};
static const ht_sample nine[] = {{HT_OP_INPUTS + 1, {{0, {1, {2}}, 0, 3}}, NULL}};
static const ht_sample given[] = {{1, {{0, {1, {2}}, 0, 3}}, &nine}};
#define BARE(row_name, ...)         \
    static const ht_op row_name = { \
        .name = #row_name, .flags = HT_OP_ELEMENTWISE, __VA_ARGS__}
#define CUBE        .run = cube_run, .vjp = cube_vjp, .jvp = cube_jvp
#define OVER(table) .n_samples = 1, .samples = (table)
BARE(dense, .run = dense_run, .vjp = cube_vjp, .jvp = cube_jvp, OVER(table));
BARE(unsampled, CUBE);
BARE(valueless, .vjp = cube_vjp, .jvp = cube_jvp, OVER(cube_samples));
BARE(half, .run = cube_run, .vjp = cube_vjp, OVER(cube_samples));
BARE(unruled, .run = cube_run, OVER(cube_samples));
static const ht_op contrary = {
    .name = "contrary", .flags = HT_OP_NO_GRADIENT, CUBE, OVER(cube_samples)};
BARE(underived, CUBE, OVER(integers));
BARE(hollow, CUBE, OVER(hollows));
BARE(large, CUBE, OVER(many));
BARE(sizeless, CUBE, OVER(sizes));
BARE(rangeless, CUBE, OVER(empty));
BARE(crowded, CUBE, OVER(nine));
BARE(burdened, CUBE, OVER(given));

typedef struct verdict {
    const ht_op *op;
    const char *says; /* NULL: right */
} verdict;

static const verdict verdicts[] = {
    {&cube, NULL},
    {&cube_parts, NULL},
    {&cube_both, NULL},
    {&step, NULL},
    {&sign, "<v, J u> = <J' v, u>"},
    {&twice, "<v, J u> = <J' v, u>"},
    {&nearly, "jvp against differences"},
    {&once, "Hessian product against differences"},
    {&once_back, "reverse over forward"},
    {&twice_only, "third order against differences"},
    {&parts, "value, fused against decomposed"},
    {&shrunk, "decompose gave"},
    {&summed, "vjp gave f64 () for input 0, expected f64 ("},
    {&coarse, "f32 value against f64"},
    {&dense, "transposed, f64"},
    {&viewed, "jvp against differences"},
    {&fickle, "replayed"},
    {&shorted, ""},
    {&picky, "takes nothing"},
    {&affine, "HT_OP_LINEAR"},
    {&minus, "HT_OP_COMMUTATIVE"},
    {&unsampled, "no samples"},
    {&valueless, "no run"},
    {&half, "no jvp and no decompose"},
    {&unruled, "no vjp and no decompose"},
    {&contrary, "HT_OP_NO_GRADIENT"},
    {&underived, "derivatives would go unchecked"},
    {&unmoved, "HT_OP_NO_GRADIENT, against differences"},
    {&hollow, "no sample has elements"},
    {&large, "more than 1024 elements"},
    {&sizeless, "-7 is no size"},
    {&rangeless, "the range [3, 3] is empty"},
    {&crowded, "9 inputs, expected 1 to 8"},
    {&burdened, "attributes given"},
};

/* The verdict is the expected one; a failure is told, beginning with the row's name; the
 * caller's context is none the worse. */
static void check_verdict(ht_context *ctx, const verdict *v)
{
    char text[2048] = "", start[64];
    int64_t cases = -1;
    FILE *report = tmpfile();
    assert_non_null(report);
    bool ok = ht_op_check(ctx, v->op, report, &cases);
    rewind(report);
    size_t n = fread(text, 1, sizeof text - 1, report);
    fclose(report);
    if (ok != !v->says)
        fail_msg("%s: %s\n%s", v->op->name, ok ? "passed" : "failed", text);
    assert_int_equal(ht_context_status(ctx), HT_OK);
    if (ok) {
        assert_int_equal(n, 0);
        assert_true(cases >= 100);
        return;
    }
    snprintf(start, sizeof start, "%s", v->op->name);
    assert_memory_equal(text, start, strlen(start));
    assert_contains(text, v->says);
    assert_int_equal(text[n - 1], '\n');
    assert_false(ht_op_check(ctx, v->op, NULL, NULL));
}

static void op_check_tells_right_rows_from_wrong(void **state)
{
    (void)state;
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.seed = test_seed(), .threads = 1});
    size_t n = sizeof verdicts / sizeof verdicts[0];
    for (size_t i = 0; i < n; i++)
        if (verdicts[i].op != &shorted || !getenv("HYPERTAPE_VALGRIND"))
            check_verdict(ctx, &verdicts[i]);
    printf("# %zu rows\n", n);
    ht_context_free(ctx);
}

/* The row in use: x^3 at 2 has slope 12 and curvature 12; so has its decomposition. */
static void apply_of_a_row_of_ones_own_derives(void **state)
{
    (void)state;
    const ht_op *const rows[] = {&cube, &cube_parts};
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *at = ht_tensor_new(ctx, HT_F64, HT_SCALAR);
    ht_tensor_fill(at, 2);
    for (int i = 0; i < 2; i++) {
        ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
        ht_var x = ht_input(tape, at), g, h;
        ht_var y = ht_apply(rows[i], 1, &x, NULL, HT_HERE);
        ht_grad(y, 1, &x, &g);
        ht_grad(g, 1, &x, &h);
        assert_near(ht_item(y), 8, 0);
        assert_near(ht_item(g), 12, 0);
        assert_near(ht_item(h), 12, 0);
        ht_tape_free(tape);
    }
    ht_tensor_free(at);
    ht_context_free(ctx);
}

/* What a rule gives must have a type that fits: said of the op, not of what the library
 * would have done with it. */
static void rules_of_wrong_types_are_refused(void **state)
{
    (void)state;
    static const struct {
        const ht_op *op;
        bool jvp;
        ht_status status;
        const char *says;
    } wrong[] = {
        {&summed, false, HT_ERROR_SHAPE,
         "summed: vjp gave f64 () for input 0, expected f64 (3)"},
        {&single, false, HT_ERROR_DTYPE,
         "single: vjp gave f32 (3) for input 0, expected f64 (3)"},
        {&wide, false, HT_ERROR_SHAPE,
         "wide: vjp gave f64 (2, 3) for input 0, expected f64 (3)"},
        {&weak, false, HT_ERROR_SHAPE,
         "weak: vjp gave f64 () for input 0, expected f64 (3)"},
        {&single, true, HT_ERROR_DTYPE,
         "single: jvp gave f32 (3) for the output, expected f64 (3)"},
        {&wide, true, HT_ERROR_SHAPE,
         "wide: jvp gave f64 (2, 3) for the output, expected f64 (3)"},
    };
    ht_context *ctx = ht_context_new(NULL);
    ht_type type = {HT_F64, HT_SHAPE(3)};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
        ht_var x = ht_input_like(tape, type), dx = HT_ZERO;
        ht_var y = ht_apply(wrong[k].op, 1, &x, NULL, HT_HERE);
        if (wrong[k].jvp)
            ht_jvp(1, &x, &x, 1, &y, &dx);
        else
            ht_vjp(1, &y, &x, 1, &x, &dx);
        assert_int_equal(ht_context_status(ctx), wrong[k].status);
        assert_contains(ht_context_message(ctx), wrong[k].says);
        assert_contains(ht_context_message(ctx), "test_autograd_user_op.c:");
        ht_context_clear(ctx);
        ht_tape_free(tape);
    }
    ht_context_free(ctx);
}

static void weak_result_of_a_rule_takes_the_type(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *at = ht_tensor_new(ctx, HT_F32, HT_SCALAR);
    ht_tensor_fill(at, 2);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_var x = ht_input(tape, at), y = ht_apply(&weak, 1, &x, NULL, HT_HERE), g, t;
    ht_grad(y, 1, &x, &g);
    ht_jvp(1, &x, &x, 1, &y, &t);
    assert_int_equal(ht_var_dtype(g), HT_F32);
    assert_int_equal(ht_var_dtype(t), HT_F32);
    assert_near(ht_item(g), 12, 0);
    assert_near(ht_item(t), 12, 0);
    ht_tape_free(tape);
    ht_tensor_free(at);
    ht_context_free(ctx);
}

/* No memory is a failure, not a crash, wherever it runs out. */
static void op_check_without_memory_fails(void **state)
{
    (void)state;
    for (size_t limit = 3000; limit < 20000; limit += 1000) {
        ht_context *ctx = ht_context_new(&(ht_context_options){.byte_limit = limit});
        assert_false(ht_op_check(ctx, &cube, NULL, NULL));
        ht_context_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(op_check_tells_right_rows_from_wrong),
        cmocka_unit_test(apply_of_a_row_of_ones_own_derives),
        cmocka_unit_test(rules_of_wrong_types_are_refused),
        cmocka_unit_test(weak_result_of_a_rule_takes_the_type),
        cmocka_unit_test(op_check_without_memory_fails),
    };
    return TEST_MAIN(tests);
}
