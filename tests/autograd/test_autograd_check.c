/* SPDX-License-Identifier: MIT */
/* test_autograd_check.c: ht_gradient_check must pass right functions and rules and fail
 * wrong ones, here by op rows of the test's own. Read next: autograd/check.c. */
#include "test.h"

#include "ht_autograd.h"

typedef struct fixture {
    ht_context *ctx;
    ht_tensor *x, *w, *labels; /* f32 (5, 3), f64 (3, 4), i32 (5) */
    char *report;
    size_t size;
} fixture;

static int fixture_new(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = ht_context_new(&(ht_context_options){.seed = test_seed(), .threads = 1});
    f->x = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(5, 3));
    f->w = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(3, 4));
    f->labels = ht_tensor_new(f->ctx, HT_I32, HT_SHAPE(5));
    ht_tensor_uniform(f->x, 1, 0.5, 2);
    ht_tensor_uniform(f->w, 2, -1, 1);
    for (int i = 0; i < 5; i++) ht_tensor_set(f->labels, i, i % 4);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    fixture *f = *state;
    ht_tensor_free(f->x);
    ht_tensor_free(f->w);
    ht_tensor_free(f->labels);
    ht_context_free(f->ctx);
    free(f->report);
    free(f);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)

/* The check of fn at (x, w, labels); its report in f->report. */
static bool check(fixture *f, ht_scalar_fn fn, void *user)
{
    free(f->report);
    f->report = NULL;
    FILE *file = open_memstream(&f->report, &f->size);
    const ht_tensor *at[] = {f->x, f->w, f->labels};
    bool ok = ht_gradient_check(f->ctx, fn, 3, at, user, file);
    fclose(file);
    return ok;
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)); text++) n++;
    return n;
}

/* Cube: an op of the user's, with right or wrong rules. */

static void cube_run(const ht_run *r)
{
    const ht_array *x = r->in[0];
    int64_t columns = x->shape.rank == 2 ? x->shape.dim[1] : 1;
    int64_t n = ht_shape_count(x->shape);
    for (int64_t i = 0; i < n; i++) {
        int64_t from = i / columns * x->stride[0] + i % columns * x->stride[1];
        double v = ((const double *)x->data)[from];
        ((double *)r->out.data)[i] = v * v * v;
    }
}

static ht_var cube_slope(const ht_rule *r, ht_var v, double factor)
{
    return ht_mul(v, ht_mul(ht_square(r->in[0]), factor));
}
static void cube_vjp(ht_rule *r)
{
    r->d[0] = cube_slope(r, r->v, 3);
}
static ht_var cube_jvp(const ht_rule *r)
{
    return cube_slope(r, r->t[0], 3);
}
static void cube_wrong_vjp(ht_rule *r)
{
    r->d[0] = cube_slope(r, r->v, 3.0001);
}
static ht_var cube_wrong_jvp(const ht_rule *r)
{
    return cube_slope(r, r->t[0], 3.0001);
}
/* Right as a number, but a constant to the second derivative. */
static void cube_flat_vjp(ht_rule *r)
{
    r->d[0] = ht_mul(r->v, ht_stop_gradient(ht_mul(ht_square(r->in[0]), 3.0)));
}
static ht_var cube_flat_jvp(const ht_rule *r)
{
    return ht_mul(r->t[0], ht_stop_gradient(ht_mul(ht_square(r->in[0]), 3.0)));
}

static const ht_op cube = {.name = "cube",
                           .formula = "$0^3",
                           .flags = HT_OP_ELEMENTWISE,
                           .run = cube_run,
                           .vjp = cube_vjp,
                           .jvp = cube_jvp};
static const ht_op cube_wrong_backward = {.name = "cube_wrong_backward",
                                          .flags = HT_OP_ELEMENTWISE,
                                          .run = cube_run,
                                          .vjp = cube_wrong_vjp,
                                          .jvp = cube_jvp};
static const ht_op cube_wrong_forward = {.name = "cube_wrong_forward",
                                         .flags = HT_OP_ELEMENTWISE,
                                         .run = cube_run,
                                         .vjp = cube_vjp,
                                         .jvp = cube_wrong_jvp};
static const ht_op cube_wrong_both = {.name = "cube_wrong_both",
                                      .flags = HT_OP_ELEMENTWISE,
                                      .run = cube_run,
                                      .vjp = cube_wrong_vjp,
                                      .jvp = cube_wrong_jvp};
static const ht_op cube_flat = {.name = "cube_flat",
                                .flags = HT_OP_ELEMENTWISE,
                                .run = cube_run,
                                .vjp = cube_flat_vjp,
                                .jvp = cube_flat_jvp};
static const ht_op cube_without_rules = {
    .name = "cube_without_rules", .flags = HT_OP_ELEMENTWISE, .run = cube_run};

/* Mean cross-entropy of a layer whose weights went through the op given as user. */
static ht_var layer_loss(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)tape;
    assert_int_equal(n, 3);
    assert_int_equal(ht_var_dtype(x[0]), HT_F64);
    assert_int_equal(ht_var_dtype(x[2]), HT_I32);
    ht_var w = ht_transpose(x[1]);
    if (user) w = ht_apply(user, 1, &w, NULL, HT_HERE);
    return ht_mean(ht_cross_entropy(ht_matmul(ht_tanh(x[0]), ht_transpose(w)), x[2]));
}

static void *row(const ht_op *op)
{
    return (void *)(uintptr_t)op;
}

static void gradient_check_of_right_functions_holds(void **state)
{
    fixture *f = *state;
    double before = ht_tensor_get(f->x, 7);
    size_t live = ht_context_live_bytes(f->ctx);
    if (!check(f, layer_loss, NULL)) fail_msg("%s", f->report);
    assert_int_equal(count(f->report, "\n"), 5);
    assert_int_equal(count(f->report, "  ok\n"), 5);
    if (!check(f, layer_loss, row(&cube))) fail_msg("%s", f->report);
    const ht_tensor *at[] = {f->x, f->w, f->labels};
    assert_true(ht_gradient_check(f->ctx, layer_loss, 3, at, NULL, NULL));
    assert_near(ht_tensor_get(f->x, 7), before, 0);
    assert_int_equal(ht_tensor_dtype(f->x), HT_F32);
    assert_int_equal(ht_context_live_bytes(f->ctx), live);
}

static void gradient_check_of_wrong_rules_fails(void **state)
{
    fixture *f = *state;
    assert_false(check(f, layer_loss, row(&cube_wrong_backward)));
    assert_true(count(f->report, "WRONG") >= 1);
    assert_false(check(f, layer_loss, row(&cube_wrong_forward)));
    assert_int_equal(count(f->report, "  ok\n"), 1);
    assert_int_equal(count(f->report, "WRONG"), 1);
    assert_false(check(f, layer_loss, row(&cube_wrong_both)));
    assert_contains(f->report, "central differences");
    assert_contains(f->report, "WRONG");
    assert_int_equal(ht_context_status(f->ctx), HT_OK);
}

static void gradient_check_of_a_wrong_second_derivative_fails(void **state)
{
    fixture *f = *state;
    assert_false(check(f, layer_loss, row(&cube_flat)));
    assert_int_equal(count(f->report, "WRONG"), 1);
    const char *hessian = strstr(f->report, "Hessian, against central differences");
    assert_non_null(hessian);
    assert_true(strstr(f->report, "WRONG") > hessian);
}

static void gradient_check_of_a_row_without_rules_names_it(void **state)
{
    fixture *f = *state;
    assert_false(check(f, layer_loss, row(&cube_without_rules)));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_NO_GRADIENT);
    assert_contains(ht_context_message(f->ctx), "cube_without_rules");
    assert_contains(ht_context_message(f->ctx), "vjp");
    assert_contains(ht_context_message(f->ctx), "test_autograd_check.c:");
}

static ht_var not_a_number(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)tape, (void)n, (void)user;
    return ht_sum(ht_log(ht_neg(x[0])));
}

static ht_var stopped(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)tape, (void)n, (void)user;
    return ht_sum(ht_mul(x[1], ht_stop_gradient(x[1])));
}

static ht_var not_a_scalar(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)tape, (void)n, (void)user;
    return ht_exp(x[0]);
}

static ht_var constant(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)n, (void)x, (void)user;
    return ht_constant(tape, 2);
}

static void gradient_check_of_functions_that_have_none_fails(void **state)
{
    fixture *f = *state;
    assert_false(check(f, not_a_number, NULL));
    assert_contains(f->report, "WRONG");
    assert_int_equal(ht_context_status(f->ctx), HT_OK);
    assert_false(check(f, stopped, NULL));
    assert_contains(f->report, "WRONG");
    assert_false(check(f, not_a_scalar, NULL));
    assert_int_equal(ht_context_status(f->ctx), HT_ERROR_SHAPE);
    ht_context_clear(f->ctx);
    const ht_tensor *whole[] = {f->labels};
    assert_false(ht_gradient_check(f->ctx, constant, 1, whole, NULL, NULL));
    ht_context_clear(f->ctx);
    if (!check(f, constant, NULL)) fail_msg("%s", f->report);
}

static void gradient_check_of_no_elements_holds(void **state)
{
    fixture *f = *state;
    ht_tensor_free(f->x);
    ht_tensor_free(f->w);
    f->x = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(5, 0));
    f->w = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(0, 4));
    if (!check(f, layer_loss, NULL)) fail_msg("%s", f->report);
    assert_contains(f->report, "nothing to differentiate");
    assert_int_equal(ht_context_status(f->ctx), HT_OK);
    assert_false(check(f, not_a_scalar, NULL));
}

/* The allocator fails its n-th call: false, nothing leaked. */

typedef struct failing {
    size_t live;
    int calls, fail_at;
} failing;

static void *failing_alloc(void *user, void *old, size_t old_size, size_t new_size)
{
    failing *f = user;
    if (new_size == 0) {
        f->live -= old_size;
        free(old);
        return NULL;
    }
    if (++f->calls == f->fail_at) return NULL;
    f->live += new_size - old_size;
    return realloc(old, new_size);
}

/* Long, so that tapes grow. */
static ht_var square_loss(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)tape, (void)n, (void)user;
    ht_var y = ht_square(ht_tanh(x[0]));
    for (int i = 0; i < 100; i++) y = ht_tanh(ht_add(y, 0.01 * i));
    return ht_sum(y);
}

static void gradient_check_without_memory_fails_and_leaks_nothing(void **state)
{
    (void)state;
    int n = 4; /* a context, a tensor and its data */
    for (bool ok = false; !ok; n++) {
        failing f = {.fail_at = n};
        ht_context *ctx = ht_context_new(
            &(ht_context_options){.alloc = failing_alloc, .user = &f, .threads = 1});
        ht_tensor *x = ht_tensor_new(ctx, HT_F64, HT_SHAPE(6));
        ht_tensor_uniform(x, 1, -1, 1);
        ok = ht_gradient_check(ctx, square_loss, 1, (const ht_tensor *[]){x}, NULL, NULL);
        assert_int_equal(ht_context_status(ctx), f.calls >= n ? HT_ERROR_MEMORY : HT_OK);
        ht_tensor_free(x);
        ht_context_free(ctx);
        assert_int_equal(f.live, 0);
        assert_true(n < 10000);
    }
    printf("# failed at each of %d calls\n", n - 4);
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gradient_check_of_right_functions_holds),
        TEST(gradient_check_of_wrong_rules_fails),
        TEST(gradient_check_of_a_wrong_second_derivative_fails),
        TEST(gradient_check_of_a_row_without_rules_names_it),
        TEST(gradient_check_of_functions_that_have_none_fails),
        TEST(gradient_check_of_no_elements_holds),
        cmocka_unit_test(gradient_check_without_memory_fails_and_leaks_nothing),
    };
    return TEST_MAIN(tests);
}
