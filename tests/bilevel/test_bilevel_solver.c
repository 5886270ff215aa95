/* SPDX-License-Identifier: MIT */
/* test_bilevel_solver.c: conjugate gradients against elimination in f64, with what is
 * said of each solution, which must be so. Read next: bilevel/implicit/solver.h. */
#include "implicit/solver.h"
#include "test_nn.h"

enum { MOST = 40 };

typedef struct dense {
    int64_t n;
    double a[MOST * MOST];
    int64_t products, fails_at; /* the product of this number fails; 0: none */
} dense;

static uint64_t seed;
static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / 4503599627370496.0 - 1;
}

static bool dense_product(const double *x, double *y, void *user)
{
    dense *d = user;
    for (int64_t i = 0; i < d->n; i++) {
        y[i] = 0;
        for (int64_t j = 0; j < d->n; j++) y[i] += d->a[i * d->n + j] * x[j];
    }
    return ++d->products != d->fails_at;
}

/* M^T M + shift: symmetric, of least eigenvalue at least shift. */
static void dense_positive(dense *d, int64_t n, double shift)
{
    static double m[MOST * MOST];
    *d = (dense){.n = n};
    for (int64_t i = 0; i < n * n; i++) m[i] = uniform();
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = i == j ? shift : 0;
            for (int64_t k = 0; k < n; k++) sum += m[k * n + i] * m[k * n + j];
            d->a[i * n + j] = sum;
        }
}

/* Elimination with row pivots. */
static void dense_solve(const dense *d, const double *b, double *x)
{
    static double a[MOST * MOST];
    int64_t n = d->n;
    memcpy(a, d->a, sizeof a);
    memcpy(x, b, (size_t)n * sizeof *x);
    for (int64_t k = 0; k < n; k++) {
        int64_t pivot = k;
        for (int64_t i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[pivot * n + k])) pivot = i;
        for (int64_t j = 0; j < n; j++) {
            double t = a[k * n + j];
            a[k * n + j] = a[pivot * n + j];
            a[pivot * n + j] = t;
        }
        double t = x[k];
        x[k] = x[pivot];
        x[pivot] = t;
        for (int64_t i = k + 1; i < n; i++) {
            double factor = a[i * n + k] / a[k * n + k];
            for (int64_t j = k; j < n; j++) a[i * n + j] -= factor * a[k * n + j];
            x[i] -= factor * x[k];
        }
    }
    for (int64_t k = n; k-- > 0;) {
        for (int64_t j = k + 1; j < n; j++) x[k] -= a[k * n + j] * x[j];
        x[k] /= a[k * n + k];
    }
}

/* Memory of exactly the size asked for, so that sanitizers see one byte more. */
static hti_solution run(dense *d, const double *b, double *x, double tolerance,
                        int64_t most)
{
    hti_linear a = {.n = d->n, .product = dense_product, .user = d};
    hti_solver_options options = {.tolerance = tolerance, .most = most};
    const hti_solver *row = &hti_conjugate_gradient;
    void *room = malloc(hti_solver_room(row, d->n, &options));
    hti_solution s = hti_solve(row, &a, &options, b, x, room);
    free(room);
    assert_int_equal(s.products, d->products);
    return s;
}

static double residual(dense *d, const double *b, const double *x)
{
    double y[MOST], off = 0, size = 0;
    dense_product(x, y, d);
    for (int64_t i = 0; i < d->n; i++) {
        off += (b[i] - y[i]) * (b[i] - y[i]);
        size += b[i] * b[i];
    }
    return sqrt(off / size);
}

static void random_side(double *b)
{
    for (int64_t i = 0; i < MOST; i++) b[i] = uniform();
}

/* n steps do in exact arithmetic; one product more begins and one ends it. */
static void conjugate_gradient_of_positive_matrices_is_elimination(void **state)
{
    (void)state;
    seed = test_seed();
    for (int64_t n = 1; n <= MOST; n++) {
        dense d;
        double b[MOST], x[MOST] = {0}, want[MOST];
        dense_positive(&d, n, (double)n);
        random_side(b);
        hti_solution s = run(&d, b, x, 1e-13, 1000);
        dense_solve(&d, b, want);
        for (int64_t i = 0; i < n; i++) assert_near(x[i], want[i], 1e-12);
        assert_true(s.solved);
        assert_near(s.residual, residual(&d, b, x), 1e-15);
        assert_in_range(s.products, 1, n + 4);
    }
}

static void conjugate_gradient_from_the_solution_takes_one_product(void **state)
{
    (void)state;
    seed = test_seed();
    dense d;
    double b[MOST], x[MOST];
    dense_positive(&d, 20, 20);
    random_side(b);
    dense_solve(&d, b, x);
    hti_solution s = run(&d, b, x, 1e-12, 100);
    assert_true(s.solved);
    assert_int_equal(s.products, 1);
}

static void conjugate_gradient_of_zero_is_zero(void **state)
{
    (void)state;
    seed = test_seed();
    dense d;
    double b[MOST] = {0}, x[MOST];
    dense_positive(&d, 12, 1);
    random_side(x);
    hti_solution s = run(&d, b, x, 0, 100);
    for (int64_t i = 0; i < d.n; i++) assert_near(x[i], 0, 0);
    assert_true(s.solved);
    assert_near(s.residual, 0, 0);
}

/* The residual carried along says 1e-15 long before b - A x does: of a condition of 1e12
 * what is said must be the true one, solved or not. */
static void conjugate_gradient_of_a_bad_condition_says_the_true_residual(void **state)
{
    (void)state;
    seed = test_seed();
    int solved = 0;
    for (int k = 0; k < 40; k++) {
        dense d;
        double b[MOST], x[MOST] = {0};
        dense_positive(&d, 30, 1e-9);
        random_side(b);
        hti_solution s = run(&d, b, x, k % 2 ? 1e-8 : 1e-15, 2000);
        double want = residual(&d, b, x);
        assert_near(s.residual, want, 1e-6 * want);
        assert_int_equal(s.solved, s.residual <= (k % 2 ? 1e-8 : 1e-15));
        solved += s.solved;
    }
    printf("# %d of 40 solved\n", solved);
    assert_in_range(solved, 20, 39);
}

static void conjugate_gradient_of_few_products_is_not_solved_and_says_so(void **state)
{
    (void)state;
    seed = test_seed();
    dense d;
    double b[MOST], before = INFINITY;
    dense_positive(&d, 30, 30);
    random_side(b);
    for (int64_t most = 2; most <= 10; most += 4) {
        double x[MOST] = {0};
        d.products = 0;
        hti_solution s = run(&d, b, x, 1e-14, most);
        assert_false(s.solved);
        assert_in_range(s.products, 1, most);
        assert_true(s.residual < before);
        before = s.residual;
    }
}

static void conjugate_gradient_of_indefinite_matrices_ends_unsolved(void **state)
{
    (void)state;
    seed = test_seed();
    dense d = {.n = 2, .a = {1, 0, 0, -1}};
    double b[MOST] = {1, 1}, x[MOST] = {0};
    hti_solution s = run(&d, b, x, 1e-10, 100);
    assert_false(s.solved);
    assert_near(s.residual, residual(&d, b, x), 1e-15);
    d = (dense){.n = 1, .a = {NAN}};
    s = run(&d, b, x, 1e-10, 100);
    assert_false(s.solved);
    assert_true(isnan(s.residual));
}

static void conjugate_gradient_where_a_product_fails_is_not_solved(void **state)
{
    (void)state;
    seed = test_seed();
    for (int64_t at = 1; at <= 5; at++) {
        dense d;
        double b[MOST], x[MOST] = {0};
        dense_positive(&d, 30, 1);
        random_side(b);
        d.fails_at = at;
        hti_solution s = run(&d, b, x, 1e-14, 100);
        assert_false(s.solved);
        assert_true(isnan(s.residual));
        assert_int_equal(s.products, at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conjugate_gradient_of_positive_matrices_is_elimination),
        cmocka_unit_test(conjugate_gradient_from_the_solution_takes_one_product),
        cmocka_unit_test(conjugate_gradient_of_zero_is_zero),
        cmocka_unit_test(conjugate_gradient_of_a_bad_condition_says_the_true_residual),
        cmocka_unit_test(conjugate_gradient_of_few_products_is_not_solved_and_says_so),
        cmocka_unit_test(conjugate_gradient_of_indefinite_matrices_ends_unsolved),
        cmocka_unit_test(conjugate_gradient_where_a_product_fails_is_not_solved),
    };
    return TEST_MAIN(tests);
}
