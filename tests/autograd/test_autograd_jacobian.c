/* SPDX-License-Identifier: MIT */
/* test_autograd_jacobian.c: Jacobians and Hessians against closed forms, eager and
 * replayed, differentiated again, and what is refused.
 * Read next: autograd/ops/ops_jacobian.c. */
#include <math.h>

#include "test.h"

#include "ht_autograd.h"

typedef struct fixture {
    ht_context *ctx;
    ht_tape *eager, *recorded;
    ht_tensor *x, *a, *b; /* f64 (4), f64 (6, 4), f64 (2, 4) */
} fixture;

static int fixture_new(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = ht_context_new(&(ht_context_options){.seed = 7, .threads = 1});
    f->eager = ht_tape_new(f->ctx, HT_EAGER);
    f->recorded = ht_tape_new(f->ctx, HT_RECORD);
    f->x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(4));
    f->a = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(6, 4));
    f->b = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(2, 4));
    ht_tensor_uniform(f->x, 1, 0.5, 2);
    ht_tensor_uniform(f->a, 2, -1, 1);
    ht_tensor_uniform(f->b, 3, -1, 1);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    fixture *f = *state;
    ht_tape_free(f->eager);
    ht_tape_free(f->recorded);
    ht_tensor_free(f->x);
    ht_tensor_free(f->a);
    ht_tensor_free(f->b);
    ht_context_free(f->ctx);
    free(f);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)

static double at(ht_var x, int64_t k)
{
    return ht_tensor_get(ht_value(x), k);
}

static void assert_refused(fixture *f, ht_var got, ht_status status, const char *part)
{
    (void)got;
    assert_string_equal(ht_status_name(ht_context_status(f->ctx)),
                        ht_status_name(status));
    assert_contains(ht_context_message(f->ctx), part);
    ht_context_clear(f->ctx);
}

/* A x of A (6, 4), by columns, and of A (2, 4), by rows: A to the bit. */
static void jacobian_of_a_product_is_the_matrix(void **state)
{
    fixture *f = *state;
    const ht_tensor *matrix[] = {f->a, f->b};
    for (int k = 0; k < 2; k++) {
        int64_t m = ht_tensor_shape(matrix[k]).dim[0];
        ht_var x = ht_input(f->eager, f->x), a = ht_input(f->eager, matrix[k]);
        ht_var y = ht_reshape(ht_matmul(a, ht_reshape(x, HT_SHAPE(4, 1))), HT_SHAPE(m));
        ht_var j = ht_jacobian(y, x);
        assert_true(ht_shape_equal(ht_var_shape(j), HT_SHAPE(m, 4)));
        for (int64_t i = 0; i < 4 * m; i++)
            assert_near(at(j, i), ht_tensor_get(matrix[k], i), 0);
    }
}

/* p_i (delta_ij - p_j) */
static void jacobian_of_softmax_is_its_closed_form(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), p = ht_softmax(x), j = ht_jacobian(p, x);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++)
            assert_near(at(j, 4 * i + k), at(p, i) * ((i == k) - at(p, k)), 1e-16);
}

/* Of x w by w: axes of y, then axes of w: x_ik where the columns are the same. */
static void jacobian_of_matrices_has_the_axes_of_both(void **state)
{
    fixture *f = *state;
    ht_tensor *w = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(4, 3));
    ht_var b = ht_input(f->eager, f->b), x = ht_input(f->eager, w);
    ht_var j = ht_jacobian(ht_matmul(b, x), x),
           one = ht_jacobian(ht_sum(ht_square(b)), b);
    assert_true(ht_shape_equal(ht_var_shape(j), HT_SHAPE(2, 3, 4, 3)));
    for (int k = 0; k < 2 * 3 * 4 * 3; k++) {
        int l = k % 3, c = k / 3 % 4, m = k / 12 % 3, r = k / 36;
        assert_near(at(j, k), l == m ? ht_tensor_get(f->b, 4 * r + c) : 0, 0);
    }
    assert_true(ht_shape_equal(ht_var_shape(one), HT_SHAPE(2, 4)));
    for (int k = 0; k < 8; k++)
        assert_near(at(one, k), 2 * ht_tensor_get(f->b, k), 1e-16);
    ht_tape_reset(f->eager);
    ht_tensor_free(w);
}

/* J = diag(3 x^2) of x^3; the gradient of the sum of its squares is 36 x^3. By columns,
 * and without the last row by rows. */
static void jacobian_is_differentiated_again(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), d, y = ht_pow(x, 3);
    for (int m = 4; m > 2; m--) {
        ht_var some = ht_slice(y, 0, 0, m, 1);
        ht_grad(ht_sum(ht_square(ht_jacobian(some, x))), 1, &x, &d);
        for (int i = 0; i < 4; i++)
            assert_near(at(d, i), i < m ? 36 * pow(ht_tensor_get(f->x, i), 3) : 0, 1e-12);
    }
}

/* f64 of f32 variables, by rows and by columns. */
static void jacobian_has_the_dtype_of_y(void **state)
{
    fixture *f = *state;
    ht_tensor *t = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(3));
    ht_tensor_fill(t, 3);
    ht_var x = ht_input(f->eager, t), wide = ht_square(ht_cast(x, HT_F64));
    ht_var rows = ht_jacobian(ht_slice(wide, 0, 1, 2, 1), x);
    ht_var columns = ht_jacobian(wide, x), h = ht_hessian(ht_sum(wide), x);
    assert_int_equal(ht_var_dtype(rows), HT_F64);
    assert_int_equal(ht_var_dtype(columns), HT_F64);
    assert_int_equal(ht_var_dtype(h), HT_F32);
    for (int k = 0; k < 6; k++) assert_near(at(rows, k), k == 1 || k == 5 ? 6 : 0, 0);
    for (int k = 0; k < 9; k++) assert_near(at(columns, k), k % 4 ? 0 : 6, 0);
    for (int k = 0; k < 9; k++) assert_near(at(h, k), k % 4 ? 0 : 2, 0);
    ht_tape_reset(f->eager);
    ht_tensor_free(t);
}

/* Of nothing, and by nothing. */
static void jacobian_without_elements_is_empty(void **state)
{
    fixture *f = *state;
    ht_tensor *t = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(0, 2));
    ht_var x = ht_input(f->eager, f->x), none = ht_input(f->eager, t);
    ht_var j = ht_jacobian(ht_slice(ht_exp(x), 0, 0, 0, 1), x);
    assert_true(ht_shape_equal(ht_var_shape(j), HT_SHAPE(0, 4)));
    j = ht_jacobian(ht_sum(ht_exp(none)), none);
    assert_true(ht_shape_equal(ht_var_shape(j), HT_SHAPE(0, 2)));
    j = ht_hessian(ht_sum(ht_exp(none)), none);
    assert_true(ht_shape_equal(ht_var_shape(j), HT_SHAPE(0, 2, 0, 2)));
    assert_int_equal(ht_context_status(f->ctx), HT_OK);
    ht_tape_reset(f->eager);
    ht_tensor_free(t);
}

/* sum_i 100 (x_i+1 - x_i^2)^2 + (1 - x_i)^2 (Rosenbrock 1960): its Hessian is
 * tridiagonal, -400 x_i beside 200 [i > 0] + (1200 x_i^2 - 400 x_i+1 + 2) [i < n - 1]. */
static ht_var rosenbrock(ht_var x)
{
    ht_var a = ht_slice(x, 0, 0, 3, 1), b = ht_slice(x, 0, 1, 3, 1);
    ht_var valley = ht_mul(ht_square(ht_sub(b, ht_square(a))), 100);
    return ht_sum(ht_add(valley, ht_square(ht_sub(1, a))));
}

static double rosenbrock_hessian(const ht_tensor *x, int i, int k)
{
    double a = ht_tensor_get(x, i < k ? i : k);
    if (i != k) return i - k == 1 || k - i == 1 ? -400 * a : 0;
    double next = i < 3 ? ht_tensor_get(x, i + 1) : 0;
    return (i > 0 ? 200 : 0) + (i < 3 ? 1200 * a * a - 400 * next + 2 : 0);
}

static void hessian_of_rosenbrock_is_its_closed_form(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->x), h = ht_hessian(rosenbrock(x), x);
    ht_var r = ht_input(f->recorded, f->x), g = ht_hessian(rosenbrock(r), r);
    ht_program *p = ht_program_new(f->recorded, 1, &r, 1, &g);
    ht_tensor *out = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(4, 4));
    assert_non_null(p);
    for (int run = 0; run < 2; run++) {
        uint64_t before = ht_context_allocations(f->ctx);
        ht_program_run(p, (const ht_tensor *const[]){f->x}, (ht_tensor *const[]){out});
        if (run) assert_int_equal(ht_context_allocations(f->ctx), before);
    }
    for (int k = 0; k < 16; k++) {
        assert_near(at(h, k), rosenbrock_hessian(f->x, k / 4, k % 4), 1e-12);
        assert_near(ht_tensor_get(out, k), at(h, k), 0);
    }
    ht_program_free(p);
    ht_tensor_free(out);
}

/* A layer's: symmetric, and its columns those of ht_hvp; of a linear y all zeros. */
static void hessian_of_a_network_is_symmetric(void **state)
{
    fixture *f = *state;
    ht_var x = ht_input(f->eager, f->b), a = ht_input(f->eager, f->a);
    ht_var y = ht_mean(ht_log_softmax(ht_tanh(ht_matmul(a, ht_transpose(x)))));
    ht_var h = ht_hessian(y, x), flat = ht_hessian(ht_sum(x), x);
    double largest = 0;
    for (int i = 0; i < 8; i++) {
        ht_tensor *hot = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(2, 4));
        ht_tensor_set(hot, i, 1);
        ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
        ht_var by = ht_input(tape, f->b), v = ht_input(tape, hot), hv;
        ht_var m = ht_tanh(ht_matmul(ht_input(tape, f->a), ht_transpose(by)));
        ht_hvp(ht_mean(ht_log_softmax(m)), 1, &by, &v, &hv);
        for (int k = 0; k < 8; k++) {
            assert_near(at(h, 8 * i + k), at(h, 8 * k + i), 1e-15);
            assert_near(at(h, 8 * k + i), at(hv, k), 1e-15);
            assert_near(at(flat, 8 * i + k), 0, 0);
            largest = fmax(largest, fabs(at(h, 8 * i + k)));
        }
        ht_tape_free(tape);
        ht_tensor_free(hot);
    }
    assert_true(largest > 1e-3);
}

static void jacobian_that_cannot_be_is_refused_in_a_sentence(void **state)
{
    fixture *f = *state;
    ht_tensor *big = ht_tensor_new(f->ctx, HT_F32, HT_SHAPE(4097));
    ht_tensor *deep = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(1, 2, 1, 2));
    ht_tensor *whole = ht_tensor_new(f->ctx, HT_I32, HT_SHAPE(3));
    for (int policy = 0; policy < 2; policy++) {
        ht_tape *tape = policy ? f->recorded : f->eager;
        ht_var x = ht_input(tape, f->x), b = ht_input(tape, big),
               d = ht_input(tape, deep);
        ht_var i = ht_input(tape, whole), y = ht_exp(x), c = ht_constant(tape, 3);
        assert_refused(f, ht_hessian(y, x), HT_ERROR_SHAPE,
                       "hessian: y must be 0-d, not (4)\n  hint: ht_sum or ht_mean it");
        assert_refused(f, ht_jacobian(ht_cast(x, HT_I32), x), HT_ERROR_DTYPE,
                       "jacobian: needs f32 or f64, not i32 (4)");
        assert_refused(f, ht_jacobian(y, i), HT_ERROR_NO_GRADIENT,
                       "is i32: only f32 and f64 have a gradient");
        assert_refused(f, ht_hessian(ht_sum(y), i), HT_ERROR_NO_GRADIENT,
                       "is i32: only f32 and f64 have a gradient");
        assert_refused(f, ht_jacobian(y, ht_name(b, "big")), HT_ERROR_NO_GRADIENT,
                       "jacobian: y does not depend on x[0] \"big\" (node ");
        assert_refused(f, ht_jacobian(ht_exp(b), b), HT_ERROR_ARGUMENT,
                       "jacobian: y (4097) by x (4097) takes 4097 derivatives");
        assert_refused(f, ht_hessian(ht_sum(ht_exp(b)), b), HT_ERROR_ARGUMENT,
                       "hessian: y (4097) by x (4097) takes 4097 derivatives");
        assert_refused(f, ht_hessian(ht_sum(ht_exp(d)), d), HT_ERROR_SHAPE,
                       "has 8 axes, at most 6");
        assert_refused(f, ht_jacobian(ht_mul(c, y), c), HT_ERROR_NO_GRADIENT,
                       "jacobian: ");
        assert_refused(f, ht_jacobian(y, HT_ZERO), HT_ERROR_ARGUMENT,
                       "jacobian: x is HT_ZERO");
        ht_var one = ht_jacobian(ht_sum(b), b);
        assert_int_equal(ht_context_status(f->ctx), HT_OK);
        assert_true(ht_shape_equal(ht_var_shape(one), HT_SHAPE(4097)));
        ht_tape_reset(tape);
    }
    ht_tensor_free(big);
    ht_tensor_free(deep);
    ht_tensor_free(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(jacobian_of_a_product_is_the_matrix),
        TEST(jacobian_of_softmax_is_its_closed_form),
        TEST(jacobian_of_matrices_has_the_axes_of_both),
        TEST(jacobian_is_differentiated_again),
        TEST(jacobian_has_the_dtype_of_y),
        TEST(jacobian_without_elements_is_empty),
        TEST(hessian_of_rosenbrock_is_its_closed_form),
        TEST(hessian_of_a_network_is_symmetric),
        TEST(jacobian_that_cannot_be_is_refused_in_a_sentence),
    };
    return TEST_MAIN(tests);
}
