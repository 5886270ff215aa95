/* SPDX-License-Identifier: MIT */
/* test_bilevel_solver.c: the linear solvers against elimination in f64, with what is said
 * of each solution, which must be so. Read next: bilevel/implicit/solver.h. */
#include <float.h>

#include "ht_bilevel.h"
#include "implicit/solver.h"
#include "test_nn.h"

enum { MOST = 50, ROWS = HT_NYSTROM };
enum {
    CG = HT_CG,
    NORMAL = HT_NORMAL_CG,
    GMRES = HT_GMRES,
    NEUMANN = HT_NEUMANN,
    FIXED_POINT = HT_FIXED_POINT,
    NYSTROEM = HT_NYSTROM
};

typedef struct dense {
    int64_t n;
    double a[MOST * MOST];
    int64_t products;
    int64_t fails_at; /* the product of this number fails; 0: none */
    int64_t nan_at;   /* is not finite in one place */
    bool symmetric, single;
    double damping, rounding;
} dense;

static uint64_t seed;
static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / 4503599627370496.0 - 1;
}

static bool dense_multiply(dense *d, bool transpose, const double *x, double *y)
{
    int64_t n = d->n, row = transpose ? 1 : n, column = transpose ? n : 1;
    for (int64_t i = 0; i < n; i++) {
        y[i] = 0;
        for (int64_t j = 0; j < n; j++) y[i] += d->a[i * row + j * column] * x[j];
        if (d->single) y[i] = (float)y[i];
    }
    d->products++;
    if (d->products == d->nan_at) y[n / 2] = NAN;
    return d->products != d->fails_at;
}

static bool dense_product(const double *x, double *y, void *user)
{
    return dense_multiply(user, false, x, y);
}

static bool dense_transpose(const double *x, double *y, void *user)
{
    return dense_multiply(user, true, x, y);
}

/* M^T M + shift: symmetric, of least eigenvalue at least shift. */
static void dense_positive(dense *d, int64_t n, double shift)
{
    static double m[MOST * MOST];
    *d = (dense){.n = n, .symmetric = true};
    for (int64_t i = 0; i < n * n; i++) m[i] = uniform();
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = i == j ? shift : 0;
            for (int64_t k = 0; k < n; k++) sum += m[k * n + i] * m[k * n + j];
            d->a[i * n + j] = sum;
        }
}

/* Not symmetric, far from singular: eigenvalues around `centre`, 1 apart. */
static void dense_general(dense *d, int64_t n, double centre)
{
    *d = (dense){.n = n};
    for (int64_t i = 0; i < n * n; i++) d->a[i] = uniform() / (double)n;
    for (int64_t i = 0; i < n; i++) d->a[i * n + i] += centre;
}

static void dense_diagonal(dense *d, int64_t n, const double *value)
{
    *d = (dense){.n = n, .symmetric = true};
    for (int64_t i = 0; i < n; i++) d->a[i * n + i] = value[i];
}

/* Of A + damping I: elimination with row pivots. */
static void dense_solve(const dense *d, const double *b, double *x)
{
    static double a[MOST * MOST];
    int64_t n = d->n;
    memcpy(a, d->a, sizeof a);
    for (int64_t i = 0; i < n; i++) a[i * n + i] += d->damping;
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
static hti_solution run(int kind, dense *d, const double *b, double *x,
                        hti_solver_options options)
{
    hti_linear a = {.n = d->n,
                    .product = dense_product,
                    .transpose = d->symmetric ? NULL : dense_transpose,
                    .user = d,
                    .damping = d->damping,
                    .rounding = d->rounding};
    const hti_solver *row = hti_solver_row(kind);
    void *room = malloc(hti_solver_room(row, d->n, &options));
    d->products = 0;
    hti_solution s = hti_solve(row, &a, &options, b, x, room);
    free(room);
    assert_int_equal(s.products, d->products);
    assert_true(s.products <= options.most);
    assert_int_equal(s.solved, s.end == HTI_SOLVED);
    assert_int_equal(s.solved, s.residual <= options.tolerance);
    assert_true((isnan(s.residual) != 0) == (s.end == HTI_FAILED));
    assert_true(s.end != HTI_GOES_ON);
    assert_true(!(s.smallest > s.largest));
    return s;
}

/* Of all that a row may read, for matrices whose eigenvalues are in (0, most). */
static hti_solver_options options_of(double tolerance, int64_t n, double most)
{
    return (hti_solver_options){
        .tolerance = tolerance, .most = 4000, .rate = 1.9 / most, .rank = n, .seed = 5};
}

static double residual(dense *d, const double *b, const double *x)
{
    double y[MOST], off = 0, size = 0;
    dense_product(x, y, d);
    for (int64_t i = 0; i < d->n; i++) {
        double difference = b[i] - y[i] - d->damping * x[i];
        off += difference * difference;
        size += b[i] * b[i];
    }
    return sqrt(off / size);
}

static void random_side(double *b)
{
    for (int64_t i = 0; i < MOST; i++) b[i] = uniform();
}

static double largest_of(const double *x, int64_t n)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(x[i]));
    return largest;
}

/* Elements to within a part of the largest. */
static void assert_vector(const double *x, const double *want, int64_t n,
                          double tolerance)
{
    double size = largest_of(want, n);
    for (int64_t i = 0; i < n; i++) assert_near(x[i] / size, want[i] / size, tolerance);
}

static void row_of_each_kind_is_named_and_of_others_there_is_none(void **state)
{
    (void)state;
    const hti_solver *row[] = {
        NULL,         &hti_conjugate_gradient, &hti_normal_gradient, &hti_gmres,
        &hti_neumann, &hti_fixed_point,        &hti_nystroem,        NULL};
    for (int kind = HT_SOLVER_AUTO; kind <= ROWS + 1; kind++)
        assert_ptr_equal(hti_solver_row(kind), row[kind]);
    assert_null(hti_solver_row(-1));
}

/* n steps do in exact arithmetic; one product more judges. */
static void solve_of_n_unknowns_takes_n_steps_at_any_scale(void **state)
{
    (void)state;
    seed = test_seed();
    const double of_a[] = {1, 1e-200, 1e200, 3e-20, 7e30}, of_b[] = {1, 1e-90, 1e90};
    const int kinds[] = {CG, GMRES, NORMAL, NYSTROEM};
    for (int64_t n = 1; n <= MOST; n++)
        for (int k = 0; k < 60; k++) {
            dense d;
            double b[MOST], x[MOST] = {0}, want[MOST];
            int kind = kinds[k % 4];
            dense_positive(&d, n, (double)n);
            for (int64_t i = 0; i < n * n; i++) d.a[i] *= of_a[k / 4 % 5];
            random_side(b);
            for (int64_t i = 0; i < n; i++) b[i] *= of_b[k / 20];
            dense_solve(&d, b, want);
            hti_solution s = run(kind, &d, b, x, options_of(1e-12, n, 1));
            assert_true(s.solved);
            assert_in_range(s.products, 1, kind == NORMAL ? 2 * n + 5 : n + 1);
            assert_vector(x, want, n, 1e-11);
        }
}

/* The iterate that met the tolerance, not the one before. */
static void solve_of_twice_the_identity_is_half_of_b_whatever_the_tolerance(void **state)
{
    (void)state;
    const double tolerances[] = {0, 1e-300, 1e-16, 1e-8, 0.1, 0.5};
    for (int kind = 1; kind <= ROWS; kind++)
        for (int t = 0; t < 6; t++)
            for (int64_t n = 1; n <= 8; n++) {
                dense d;
                double two[MOST], b[MOST] = {0}, x[MOST] = {0};
                for (int64_t i = 0; i < MOST; i++) two[i] = 2;
                dense_diagonal(&d, n, two);
                b[0] = 1;
                hti_solver_options options = {tolerances[t], 100, 0.5, n, 1};
                hti_solution s = run(kind, &d, b, x, options);
                for (int64_t i = 0; i < n; i++)
                    assert_near(x[i], b[i] / 2, kind == NYSTROEM ? 1e-15 : 0);
                if (kind != NYSTROEM || tolerances[t] > 1e-15) assert_true(s.solved);
                if (kind != NYSTROEM) assert_in_range(s.products, 1, 3);
            }
}

static void solve_of_positive_matrices_is_elimination(void **state)
{
    (void)state;
    seed = test_seed();
    for (int64_t n = 1; n <= MOST; n++)
        for (int kind = 1; kind <= ROWS; kind++) {
            dense d;
            double b[MOST], x[MOST] = {0}, want[MOST];
            dense_positive(&d, n, (double)n);
            d.damping = n % 3 ? 0.5 : 0;
            random_side(b);
            dense_solve(&d, b, want);
            hti_solution s = run(kind, &d, b, x, options_of(1e-13, n, 4 * (double)n + 4));
            if (kind != NYSTROEM) assert_true(s.solved);
            assert_near(s.residual, residual(&d, b, x), 1e-15);
            assert_vector(x, want, n, 1e-12);
        }
}

static void solve_of_general_matrices_is_elimination(void **state)
{
    (void)state;
    seed = test_seed();
    const int kinds[] = {NORMAL, GMRES, NEUMANN, FIXED_POINT};
    for (int64_t n = 1; n <= MOST; n++)
        for (int k = 0; k < 8; k++) {
            dense d;
            double b[MOST], x[MOST] = {0}, want[MOST];
            dense_general(&d, n, 2);
            d.damping = k < 4 ? 0 : 0.25;
            random_side(b);
            dense_solve(&d, b, want);
            hti_solver_options options = options_of(1e-13, n, 4);
            hti_solution s = run(kinds[k % 4], &d, b, x, options);
            assert_true(s.solved);
            assert_vector(x, want, n, 1e-12);
            if (kinds[k % 4] == GMRES) assert_in_range(s.products, 1, n + 1);
            if (kinds[k % 4] == NORMAL) assert_in_range(s.products, 1, 2 * n + 4);
        }
}

/* Negative and imaginary eigenvalues as well. */
static void gmres_and_normal_equations_of_any_matrix_are_elimination(void **state)
{
    (void)state;
    seed = test_seed();
    for (int k = 0; k < 60; k++) {
        dense d;
        int64_t n = 1 + k % 30;
        double b[MOST], x[MOST] = {0}, want[MOST];
        dense_general(&d, n, 0);
        for (int64_t i = 0; i < n; i++) d.a[i * n + (i + 1) % n] += i % 2 ? 2 : -2;
        random_side(b);
        dense_solve(&d, b, want);
        hti_solution s = run(k % 2 ? GMRES : NORMAL, &d, b, x, options_of(1e-12, n, 1));
        assert_true(s.solved);
        assert_vector(x, want, n, 1e-10);
    }
}

static void gmres_of_few_steps_begins_again_and_is_elimination(void **state)
{
    (void)state;
    seed = test_seed();
    for (int64_t rank = 1; rank <= 12; rank += 3) {
        dense d;
        double b[MOST], x[MOST] = {0}, want[MOST];
        dense_general(&d, 40, 3);
        for (int64_t i = 0; i < 39; i++) d.a[i * 40 + i + 1] += 2;
        random_side(b);
        dense_solve(&d, b, want);
        hti_solver_options options = options_of(1e-13, rank, 1);
        hti_solution s = run(GMRES, &d, b, x, options);
        assert_true(s.solved);
        assert_vector(x, want, 40, 1e-12);
        assert_true(s.products > rank);
    }
}

/* Of a cyclic shift nothing short of n steps is any better than 0. */
static void gmres_without_progress_is_stalled(void **state)
{
    (void)state;
    dense d = {.n = 6};
    for (int64_t i = 0; i < 6; i++) d.a[i * 6 + (i + 5) % 6] = 1;
    double b[MOST] = {1}, x[MOST] = {0};
    hti_solution s = run(GMRES, &d, b, x, options_of(1e-10, 3, 1));
    assert_int_equal(s.end, HTI_STALLED);
    assert_near(s.residual, 1, 1e-15);
    s = run(GMRES, &d, b, x, options_of(1e-10, 6, 1));
    assert_true(s.solved);
    assert_near(x[5], 1, 1e-15);
}

/* By Horner's rule, in more digits. */
static void partial_sum(const dense *d, const double *b, double rate, int terms,
                        double *x)
{
    long double y[MOST] = {0}, next[MOST];
    for (int k = 0; k < terms; k++) {
        for (int64_t i = 0; i < d->n; i++) {
            long double sum = (long double)d->damping * y[i];
            for (int64_t j = 0; j < d->n; j++)
                sum += (long double)d->a[i * d->n + j] * y[j];
            next[i] = y[i] + (long double)rate * (b[i] - sum);
        }
        memcpy(y, next, sizeof y);
    }
    for (int64_t i = 0; i < d->n; i++) x[i] = (double)y[i];
}

static void neumann_of_k_products_is_the_sum_of_k_terms(void **state)
{
    (void)state;
    seed = test_seed();
    for (int terms = 1; terms <= 40; terms++)
        for (int kind = NEUMANN; kind <= FIXED_POINT; kind++) {
            dense d;
            double b[MOST], x[MOST] = {0}, want[MOST];
            int64_t n = 2 + terms % 20;
            dense_general(&d, n, 2);
            d.damping = terms % 2 ? 0 : 0.5;
            random_side(b);
            double rate = terms % 3 ? 0.1 : 1.2; /* of 1.2 it diverges */
            partial_sum(&d, b, rate, terms, want);
            if (kind == NEUMANN) random_side(x);
            hti_solution s =
                run(kind, &d, b, x, (hti_solver_options){0, terms, rate, 0, 0});
            assert_vector(x, want, n, 1e-13);
            assert_int_equal(s.products, terms);
            assert_int_equal(s.end, HTI_OUT_OF_PRODUCTS);
        }
}

/* x - x* = (1 - rate lambda)^k (guess - x*), in each coordinate. */
static void fixed_point_from_a_guess_has_the_error_of_the_guess_powered(void **state)
{
    (void)state;
    const double value[] = {0.5, 1, 1.75};
    dense d;
    dense_diagonal(&d, 3, value);
    for (int k = 1; k < 12; k++) {
        double b[MOST] = {1, 1, 1}, x[MOST] = {3, -2, 5}, guess[] = {3, -2, 5};
        run(FIXED_POINT, &d, b, x, (hti_solver_options){0, k + 1, 0.8, 0, 0});
        for (int i = 0; i < 3; i++) {
            double root = 1 / value[i];
            double want = root + pow(1 - 0.8 * value[i], k) * (guess[i] - root);
            assert_near(x[i], want, 1e-14);
        }
    }
}

/* A of rank k: of a few directions more A_k is A, whatever the sketch. Without damping it
 * is the least solution of least squares. */
static void nystroem_of_a_matrix_of_its_rank_is_exact(void **state)
{
    (void)state;
    seed = test_seed();
    for (int64_t k = 1; k <= 20; k++) {
        static double m[MOST * MOST];
        dense d = {.n = 40, .symmetric = true}, gram = {.n = k, .symmetric = true};
        double b[MOST], x[MOST] = {0}, want[MOST], part[MOST], y[MOST];
        for (int64_t i = 0; i < 40 * k; i++) m[i] = uniform();
        for (int64_t i = 0; i < 40; i++)
            for (int64_t j = 0; j < 40; j++)
                for (int64_t c = 0; c < k; c++)
                    d.a[i * 40 + j] += m[i * k + c] * m[j * k + c];
        random_side(b);
        d.damping = 0.25;
        dense_solve(&d, b, want);
        hti_solution s = run(NYSTROEM, &d, b, x, options_of(1e-10, k + 5, 1));
        assert_true(s.solved);
        assert_int_equal(s.products, k + 6);
        assert_vector(x, want, 40, 1e-10);
        /* A^+ b = M (M^T M)^-2 M^T b */
        d.damping = 0;
        for (int64_t r = 0; r < 40; r++)
            for (int64_t i = 0; i < k * k; i++)
                gram.a[i] += m[r * k + i / k] * m[r * k + i % k];
        for (int64_t c = 0; c < k; c++) {
            part[c] = 0;
            for (int64_t r = 0; r < 40; r++) part[c] += m[r * k + c] * b[r];
        }
        dense_solve(&gram, part, y);
        dense_solve(&gram, y, part);
        for (int64_t i = 0; i < 40; i++) {
            want[i] = 0;
            for (int64_t c = 0; c < k; c++) want[i] += m[i * k + c] * part[c];
        }
        memset(x, 0, sizeof x);
        s = run(NYSTROEM, &d, b, x, options_of(1e-10, k + 5, 1));
        assert_int_equal(s.end, HTI_STALLED);
        assert_near(s.residual, residual(&d, b, x), 1e-12);
        assert_vector(x, want, 40, 1e-8);
    }
}

static void nystroem_of_a_seed_gives_the_same_bits_and_of_another_others(void **state)
{
    (void)state;
    seed = test_seed();
    dense d;
    double b[MOST], x[3][MOST] = {{0}};
    dense_positive(&d, 30, 0.1);
    d.damping = 1;
    random_side(b);
    hti_solver_options options = options_of(1e-3, 8, 1);
    for (int i = 0; i < 3; i++) {
        options.seed = i < 2 ? 11 : 12;
        run(NYSTROEM, &d, b, x[i], options);
    }
    assert_memory_equal(x[0], x[1], sizeof *x);
    assert_memory_not_equal(x[0], x[2], sizeof *x);
}

/* Of rank 0 it is b / damping; from then on nearer, as A_k is nearer to A. */
static void nystroem_of_more_rank_is_nearer(void **state)
{
    (void)state;
    seed = test_seed();
    dense d;
    double b[MOST], want[MOST], before = INFINITY;
    dense_positive(&d, 40, 0);
    d.damping = 2;
    random_side(b);
    dense_solve(&d, b, want);
    for (int64_t rank = 0; rank <= 40; rank += 10) {
        double x[MOST] = {0}, off = 0;
        run(NYSTROEM, &d, b, x, options_of(1e-12, rank, 1));
        if (rank == 0) assert_near(x[7], b[7] / 2, 0);
        for (int64_t i = 0; i < 40; i++) off += (x[i] - want[i]) * (x[i] - want[i]);
        assert_true(off < before);
        before = off;
    }
    assert_near(before, 0, 1e-20);
}

static void solve_from_the_solution_takes_one_product(void **state)
{
    (void)state;
    seed = test_seed();
    for (int kind = 1; kind <= ROWS; kind++) {
        dense d;
        double b[MOST], x[MOST];
        dense_positive(&d, 20, 20);
        random_side(b);
        dense_solve(&d, b, x);
        hti_solution s = run(kind, &d, b, x, options_of(1e-12, 20, 100));
        if (kind == NEUMANN)
            assert_true(s.products > 10);
        else
            assert_int_equal(s.products, 1);
        assert_true(s.solved);
    }
}

static void solve_from_near_the_solution_takes_fewer_products(void **state)
{
    (void)state;
    seed = test_seed();
    const int kinds[] = {CG, NORMAL, GMRES, FIXED_POINT};
    for (int k = 0; k < 4; k++) {
        dense d;
        double b[MOST], cold[MOST] = {0}, warm[MOST];
        dense_positive(&d, 40, 40);
        random_side(b);
        dense_solve(&d, b, warm);
        for (int i = 0; i < 40; i++) warm[i] *= 1 + 1e-5 * uniform();
        hti_solver_options options = options_of(1e-8, 40, 160);
        hti_solution far = run(kinds[k], &d, b, cold, options);
        hti_solution near = run(kinds[k], &d, b, warm, options);
        assert_true(far.solved && near.solved);
        assert_true(near.products < far.products);
    }
}

static void solve_of_zero_is_zero_without_a_product(void **state)
{
    (void)state;
    seed = test_seed();
    for (int kind = 1; kind <= ROWS; kind++) {
        dense d;
        double b[MOST] = {0}, x[MOST];
        dense_positive(&d, 12, 1);
        random_side(x);
        hti_solution s = run(kind, &d, b, x, options_of(0, 12, 50));
        for (int64_t i = 0; i < d.n; i++) assert_near(x[i], 0, 0);
        assert_true(s.solved);
        assert_int_equal(s.products, 0);
        assert_near(s.residual, 0, 0);
    }
}

/* The residual carried along says 1e-15 long before b - A x does: of a condition of 1e12
 * what is said must be the true one, solved or not, and as small as rounding lets it. */
static void solve_of_a_bad_condition_says_the_true_residual(void **state)
{
    (void)state;
    seed = test_seed();
    for (int kind = CG; kind <= GMRES; kind++) {
        int solved = 0;
        for (int k = 0; k < 40; k++) {
            dense d;
            double b[MOST], x[MOST] = {0};
            dense_positive(&d, 30, 1e-9);
            random_side(b);
            hti_solver_options options = options_of(k % 2 ? 1e-8 : 1e-15, 30, 1);
            hti_solution s = run(kind, &d, b, x, options);
            double want = residual(&d, b, x),
                   size = largest_of(x, 30) / largest_of(b, 30);
            assert_near(s.residual, want, 1e-6 * want + 1e-16 * (1 + s.largest * size));
            if (!s.solved) assert_int_equal(s.end, HTI_STALLED);
            if (!s.solved)
                assert_near(s.residual, 0, 10 * DBL_EPSILON * s.largest * size);
            solved += s.solved;
        }
        printf("# %s: %d of 40 solved\n", hti_solver_row(kind)->name, solved);
        assert_in_range(solved, 10, 39);
    }
}

static void solve_of_few_products_is_not_solved_and_says_so(void **state)
{
    (void)state;
    seed = test_seed();
    dense d;
    double b[MOST];
    dense_positive(&d, 30, 30);
    random_side(b);
    for (int kind = 1; kind < ROWS; kind++) {
        double before = INFINITY;
        for (int64_t most = 1; most <= 12; most++) {
            double x[MOST] = {0};
            hti_solver_options options = options_of(1e-14, 30, 120);
            options.most = most;
            hti_solution s = run(kind, &d, b, x, options);
            assert_int_equal(s.end, HTI_OUT_OF_PRODUCTS);
            assert_in_range(s.products, 0, most);
            assert_near(s.residual, residual(&d, b, x), 1e-14);
            assert_true(s.residual <= before || most < 4);
            before = s.residual;
        }
    }
}

static void solve_of_indefinite_matrices_says_so_or_solves(void **state)
{
    (void)state;
    for (int kind = 1; kind <= ROWS; kind++) {
        dense d = {.n = 2, .a = {1, 0, 0, -1}, .symmetric = true};
        double b[MOST] = {1, 1}, x[MOST] = {0};
        hti_solution s = run(kind, &d, b, x, options_of(1e-10, 2, 2));
        assert_near(s.residual, residual(&d, b, x), 1e-15 * s.residual);
        if (kind == NORMAL || kind == GMRES) {
            assert_true(s.solved);
            assert_near(x[1], -1, 1e-15);
        }
        if (kind == CG) assert_int_equal(s.end, HTI_SINGULAR); /* b A b is 0 */
        d.a[3] = -2;
        memset(x, 0, sizeof x);
        s = run(kind, &d, b, x, options_of(1e-10, 2, 2));
        if (kind == CG || kind == NYSTROEM) {
            assert_int_equal(s.end, HTI_INDEFINITE);
            assert_true(s.smallest < 0 && s.residual > 0.5);
        }
    }
}

/* Of b that A reaches and does not reach; the least squares solution of the latter is
 * (1, 1/2, 0). */
static void solve_of_singular_matrices_ends(void **state)
{
    (void)state;
    const double value[] = {1, 2, 0};
    for (int kind = 1; kind <= ROWS; kind++)
        for (int out = 0; out < 2; out++) {
            dense d;
            dense_diagonal(&d, 3, value);
            double b[MOST] = {1, 1, out}, x[MOST] = {0};
            hti_solution s = run(kind, &d, b, x, options_of(1e-10, 3, 3));
            assert_near(s.residual, residual(&d, b, x), 1e-15);
            if (out) assert_false(s.solved);
            if (kind <= GMRES || kind == NYSTROEM) assert_true(largest_of(x, 3) < 1e9);
            if (!out || kind == NORMAL || kind == NYSTROEM) {
                assert_near(x[0], 1, 1e-9);
                assert_near(x[1], 0.5, 1e-9);
                assert_near(x[2], 0, 1e-9);
            }
            if (!out)
                assert_true(s.solved);
            else if (kind <= GMRES)
                assert_int_equal(s.end, HTI_SINGULAR);
        }
}

static void solve_of_no_matrix_at_all_is_not_solved(void **state)
{
    (void)state;
    for (int kind = 1; kind <= ROWS; kind++) {
        dense d = {.n = 5, .symmetric = true};
        double b[MOST] = {1, 2, 3, 4, 5}, x[MOST] = {0};
        hti_solution s = run(kind, &d, b, x, options_of(1e-10, 5, 1));
        assert_near(s.residual, 1, 1e-15);
        if (kind != NEUMANN && kind != FIXED_POINT) {
            assert_int_equal(s.end, HTI_SINGULAR);
            assert_near(x[4], 0, 0);
        }
        d.damping = 4;
        memset(x, 0, sizeof x);
        s = run(kind, &d, b, x, options_of(1e-10, 5, 4));
        assert_true(s.solved);
        assert_near(x[4], 1.25, 1e-9);
    }
}

/* Whichever product it is: n + 1 of them are always made. */
static void solve_where_a_product_fails_or_is_not_finite_is_not_solved(void **state)
{
    (void)state;
    seed = test_seed();
    for (int kind = 1; kind <= ROWS; kind++)
        for (int64_t at = 1; at <= 10; at++)
            for (int nan = 0; nan < 2; nan++) {
                dense d;
                double b[MOST], x[MOST] = {0};
                dense_positive(&d, 30, 1);
                random_side(b);
                *(nan ? &d.nan_at : &d.fails_at) = at;
                hti_solution s = run(kind, &d, b, x, options_of(1e-14, 30, 50));
                assert_int_equal(s.end, HTI_FAILED);
                assert_int_equal(s.products, at);
            }
}

static void solve_of_a_side_or_guess_that_is_not_finite_is_not_solved(void **state)
{
    (void)state;
    const double bad[] = {NAN, INFINITY};
    for (int kind = 1; kind <= ROWS; kind++)
        for (int k = 0; k < 4; k++) {
            dense d;
            seed = test_seed();
            dense_positive(&d, 8, 1);
            double b[MOST], x[MOST] = {0};
            random_side(b);
            (k < 2 ? b : x)[3] = bad[k % 2];
            hti_solution s = run(kind, &d, b, x, options_of(1e-10, 8, 50));
            if (k < 2 || kind != NEUMANN) assert_int_equal(s.end, HTI_FAILED);
        }
}

/* Seen from inside, and after n steps all there is. */
static void solve_sees_the_extreme_eigenvalues(void **state)
{
    (void)state;
    double value[MOST], b[MOST];
    for (int i = 0; i < MOST; i++) value[i] = 0.5 + i * i, b[i] = 1;
    for (int kind = 1; kind <= ROWS; kind++)
        for (int64_t n = 1; n <= 20; n++)
            for (int few = 0; few < 2; few++) {
                dense d;
                double x[MOST] = {0};
                dense_diagonal(&d, n, value);
                d.damping = 0.25;
                hti_solver_options options = options_of(1e-13, n, 400);
                if (few) options.most = 4;
                hti_solution s = run(kind, &d, b, x, options);
                double low = 0.75, high = value[n - 1] + 0.25;
                assert_true(!(s.smallest < low - 1e-12 * high));
                assert_true(!(s.largest > high * (1 + 1e-12)));
                if (few || kind == FIXED_POINT || kind == NEUMANN) continue;
                assert_near(s.largest, high, 1e-10 * high);
                if (kind != NYSTROEM) assert_near(s.smallest, low, 1e-5);
            }
}

/* Without end, were it not for what rounding has made of r. */
static void solve_to_no_tolerance_ends_when_nothing_more_is_had(void **state)
{
    (void)state;
    seed = test_seed();
    for (int kind = CG; kind <= GMRES; kind++)
        for (int64_t n = 5; n <= MOST; n += 5) {
            dense d;
            double b[MOST], x[MOST] = {0};
            dense_positive(&d, n, (double)n);
            random_side(b);
            hti_solution s = run(kind, &d, b, x, options_of(0, n, 1));
            assert_near(s.residual, 0, 1e-14);
            assert_in_range(s.products, 1, (kind == NORMAL ? 12 : 6) * (n + 1));
        }
}

/* What two rounds take off r, one leaves to be divided by the damping. */
static void nystroem_of_full_rank_is_exact_whatever_the_damping(void **state)
{
    (void)state;
    seed = test_seed();
    for (double damping = 1e-12; damping < 1e6; damping *= 1e3) {
        dense d;
        double b[MOST], x[MOST] = {0}, want[MOST];
        dense_positive(&d, 40, 1);
        d.damping = damping;
        random_side(b);
        dense_solve(&d, b, want);
        hti_solution s = run(NYSTROEM, &d, b, x, options_of(1e-11, 40, 1));
        assert_true(s.solved);
        assert_vector(x, want, 40, 1e-11);
    }
}

/* Rounding makes eigenvalues of 0 negative: not more so than it can. */
static void solve_of_singular_matrices_in_f32_is_not_indefinite(void **state)
{
    (void)state;
    seed = test_seed();
    const int kinds[] = {CG, NORMAL, GMRES, NYSTROEM};
    for (int k = 0; k < 80; k++) {
        dense d = {.n = 40, .symmetric = true, .single = true, .rounding = FLT_EPSILON};
        double m[40], b[MOST], x[MOST] = {0};
        for (int rank = 0; rank < 10; rank++) {
            for (int i = 0; i < 40; i++) m[i] = uniform();
            for (int i = 0; i < 1600; i++) d.a[i] += m[i / 40] * m[i % 40];
        }
        random_side(b);
        hti_solution s = run(kinds[k % 4], &d, b, x, options_of(1e-6, 30, 1));
        assert_true(s.end != HTI_INDEFINITE && s.end != HTI_FAILED);
        if (kinds[k % 4] != CG) assert_true(s.residual < 1);
    }
}

/* Products in f32 are neither indefinite nor solved further than they can be. */
static void solve_of_products_in_f32_is_as_good_as_they_are(void **state)
{
    (void)state;
    seed = test_seed();
    for (int kind = 1; kind <= ROWS; kind++)
        for (int k = 0; k < 40; k++) {
            dense d;
            double b[MOST], x[MOST] = {0}, want[MOST];
            dense_positive(&d, 40, 1);
            d.single = true;
            d.rounding = FLT_EPSILON;
            random_side(b);
            dense_solve(&d, b, want);
            hti_solution s = run(kind, &d, b, x, options_of(k % 2 ? 1e-4 : 0, 40, 90));
            if (k % 2)
                assert_true(s.solved);
            else
                assert_true(s.end == HTI_STALLED || s.end == HTI_OUT_OF_PRODUCTS);
            assert_vector(x, want, 40, k % 2 ? 5e-3 : 5e-5);
        }
}

/* What is said is so, whatever is asked: `run` and the residual hold it. */
static void solve_of_anything_says_what_is_so(void **state)
{
    (void)state;
    seed = test_seed();
    for (int k = 0; k < 6000; k++) {
        dense d;
        double b[MOST], x[MOST] = {0};
        int64_t n = 1 + (int64_t)(fabs(uniform()) * 12);
        if (k / 6 % 3 == 0)
            dense_positive(&d, n, uniform());
        else
            dense_general(&d, n, uniform());
        if (k / 18 % 3 == 0) d.damping = fabs(uniform());
        if (k / 54 % 4 == 0) memset(d.a, 0, (size_t)n * sizeof *d.a); /* a row of 0 */
        d.symmetric = k / 6 % 3 == 0;
        random_side(b);
        if (k / 7 % 2) random_side(x);
        hti_solver_options options = {.tolerance = pow(10, -18 * fabs(uniform())),
                                      .most = (int64_t)(1 + fabs(uniform()) * 40),
                                      .rate = fabs(uniform()),
                                      .rank = (int64_t)(fabs(uniform()) * 15),
                                      .seed = seed};
        hti_solution s = run(1 + k % ROWS, &d, b, x, options);
        if (s.end == HTI_FAILED) assert_false(true); /* nothing is that large here */
        double want = residual(&d, b, x), size = largest_of(x, n);
        assert_near(s.residual, want, 1e-13 * (1 + want + size));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_of_each_kind_is_named_and_of_others_there_is_none),
        cmocka_unit_test(solve_of_n_unknowns_takes_n_steps_at_any_scale),
        cmocka_unit_test(solve_of_twice_the_identity_is_half_of_b_whatever_the_tolerance),
        cmocka_unit_test(solve_of_positive_matrices_is_elimination),
        cmocka_unit_test(solve_of_general_matrices_is_elimination),
        cmocka_unit_test(gmres_and_normal_equations_of_any_matrix_are_elimination),
        cmocka_unit_test(gmres_of_few_steps_begins_again_and_is_elimination),
        cmocka_unit_test(gmres_without_progress_is_stalled),
        cmocka_unit_test(neumann_of_k_products_is_the_sum_of_k_terms),
        cmocka_unit_test(fixed_point_from_a_guess_has_the_error_of_the_guess_powered),
        cmocka_unit_test(nystroem_of_a_matrix_of_its_rank_is_exact),
        cmocka_unit_test(nystroem_of_a_seed_gives_the_same_bits_and_of_another_others),
        cmocka_unit_test(nystroem_of_more_rank_is_nearer),
        cmocka_unit_test(solve_from_the_solution_takes_one_product),
        cmocka_unit_test(solve_from_near_the_solution_takes_fewer_products),
        cmocka_unit_test(solve_of_zero_is_zero_without_a_product),
        cmocka_unit_test(solve_of_a_bad_condition_says_the_true_residual),
        cmocka_unit_test(solve_of_few_products_is_not_solved_and_says_so),
        cmocka_unit_test(solve_of_indefinite_matrices_says_so_or_solves),
        cmocka_unit_test(solve_of_singular_matrices_ends),
        cmocka_unit_test(solve_of_no_matrix_at_all_is_not_solved),
        cmocka_unit_test(solve_where_a_product_fails_or_is_not_finite_is_not_solved),
        cmocka_unit_test(solve_of_a_side_or_guess_that_is_not_finite_is_not_solved),
        cmocka_unit_test(solve_sees_the_extreme_eigenvalues),
        cmocka_unit_test(solve_to_no_tolerance_ends_when_nothing_more_is_had),
        cmocka_unit_test(nystroem_of_full_rank_is_exact_whatever_the_damping),
        cmocka_unit_test(solve_of_singular_matrices_in_f32_is_not_indefinite),
        cmocka_unit_test(solve_of_products_in_f32_is_as_good_as_they_are),
        cmocka_unit_test(solve_of_anything_says_what_is_so),
    };
    return TEST_MAIN(tests);
}
