/* SPDX-License-Identifier: MIT */
/* test_bilevel_implicit.c: derivatives where a training ends, against closed forms. Read
 * next: test_bilevel_implicit_options.c; bilevel/implicit/implicit.c. */
#include "test_stationary.h"

static const ht_bilevel_options ways[] = {
    {.method = HT_IMPLICIT},
    {.method = HT_IMPLICIT, .solver = HT_CG},
    {.method = HT_IMPLICIT, .solver = HT_NORMAL_CG, .solver_tolerance = 1e-12},
    {.method = HT_IMPLICIT, .solver = HT_GMRES, .rank = MOST},
    {.method = HT_IMPLICIT, .solver = HT_NYSTROM, .rank = MOST},
};

static void implicit_ridge_matches_closed_form_by_every_solver(void **state)
{
    (void)state;
    for (int k = 0; k < 20; k++) {
        trial t;
        ridge g;
        ridge_open(&t, &g, 8 + k % 5, 2 + k, HT_F64);
        for (size_t way = 0; way < sizeof ways / sizeof *ways + 2; way++) {
            ht_bilevel_options o = {.method = HT_IMPLICIT,
                                    .solver_rate = t.rate,
                                    .solver_steps = 100000,
                                    .solver_tolerance = 1e-12};
            if (way < 2)
                o.solver = way ? HT_NEUMANN : HT_FIXED_POINT;
            else
                o = ways[way - 2];
            if (o.rank) o.rank = t.n;
            ht_bilevel *b = trial_bilevel(&t, o);
            ht_bilevel_result r = ht_bilevel_run(b, 0);
            assert_int_equal(ht_context_status(t.ctx), HT_OK);
            if (r.note) fail_msg("way %zu: %s", way, r.note);
            assert_all(r, "l", g.gradient, t.n, 1e-10);
            assert_true(r.inner_residual <= 1e-12 && r.inner_steps < 100000);
            assert_true(r.solver_steps > 0 && r.solver_residual < 1e-9);
            assert_int_equal(r.peak_bytes, r.predicted_bytes);
            ht_bilevel_free(b);
        }
        trial_close(&t);
    }
}

static void implicit_quadratic_blocks_match_closed_form(void **state)
{
    (void)state;
    for (int k = 0; k < 20; k++) {
        trial t;
        blocks q;
        blocks_open(&t, &q, 3 + k, 1 + k % 10);
        ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT});
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        assert_all(r, "e", q.gradient, 1 + k % 10, 1e-10);
        assert_null(r.note);
        ht_bilevel_free(b);
        trial_close(&t);
    }
}

/* The bound, of a training and a system that end anywhere. */
static int ascending(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static void implicit_bound_holds_and_is_near(void **state)
{
    (void)state;
    enum { TRIALS = 1000 };
    static double times[TRIALS];
    int known = 0;
    for (int k = 0; k < TRIALS; k++) {
        trial t;
        ridge g;
        ridge_open(&t, &g, 4 + k % 17, 1 + k % 20, HT_F64);
        t.problem.tolerance = pow(10, -6 + 6 * draw());
        ht_bilevel_options o = {.method = HT_IMPLICIT,
                                .solver_tolerance = pow(10, -6 + 5.5 * draw())};
        ht_bilevel *b = trial_bilevel(&t, o);
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        double off = 0;
        for (int j = 0; j < t.n; j++) off = hypot(off, found(r, "l", j) - g.gradient[j]);
        if (!(off <= r.error_bound))
            fail_msg("trial %d of %d: off by %.3e, bound %.3e (residuals %.1e, %.1e)", k,
                     t.n, off, r.error_bound, r.inner_residual, r.solver_residual);
        if (off > 0) times[known++] = r.error_bound / off;
        ht_bilevel_free(b);
        trial_close(&t);
    }
    qsort(times, (size_t)known, sizeof *times, ascending);
    print_message("# bound / error: median %.3g, most %.3g\n", times[known / 2],
                  times[known - 1]);
    assert_true(times[known / 2] <= 10);
}

/* Of momentum mu the threshold counts for 1 - mu of lambda: the step is g / (1 - mu). */
static void assert_lasso(ht_bilevel_result r, double mu)
{
    double lambda = 0, b[6];
    for (int i = 0; i < 6; i++) {
        bool in = fabs(lasso_b[i]) > 0.5 * (1 - mu);
        b[i] = in ? lasso_c[i] : 0;
        lambda -= in ? (1 - mu) * lasso_c[i] * copysign(1, lasso_b[i]) : 0;
    }
    assert_all(r, "lambda", &lambda, 1, 1e-12);
    assert_all(r, "b", b, 6, 1e-12);
}

static void implicit_lasso_path_is_that_of_the_whole_step(void **state)
{
    (void)state;
    const ht_update rules[] = {HT_SGD(0.25), HT_MOMENTUM(0.25, 0.5)};
    const ht_bilevel_options by[] = {
        {.method = HT_IMPLICIT},
        {.method = HT_IMPLICIT, .solver = HT_NORMAL_CG},
        {.method = HT_IMPLICIT, .solver = HT_NEUMANN, .solver_tolerance = 1e-13},
        {.method = HT_IMPLICIT, .solver = HT_FIXED_POINT, .solver_tolerance = 1e-13}};
    for (size_t rule = 0; rule < 2; rule++)
        for (size_t k = 0; k < sizeof by / sizeof *by; k++) {
            trial t;
            lasso_open(&t);
            t.problem.update = rules[rule];
            ht_bilevel *b = trial_bilevel(&t, by[k]);
            ht_bilevel_result r = ht_bilevel_run(b, 0);
            assert_lasso(r, rule ? 0.5 : 0);
            assert_null(r.note);
            if (!(r.inner_residual <= 1e-14 && r.error_bound < 1e-10))
                fail_msg("rule %zu, way %zu: residual %.2e, bound %.2e", rule, k,
                         r.inner_residual, r.error_bound);
            ht_bilevel_free(b);
            trial_close(&t);
        }
}

/* Directions that are nearly flat hold little of the residual and most of the error:
 *   L = (x - e)^2 / 2 + flat (y - e)^2 / 2,  F = (x - 3)^2 / 2 + y^4 / 4
 *   dF/de = (e - 3) + e^3 at the end, which few steps are far from in y. */
static ht_var flat_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    const trial *t = user;
    (void)batch;
    ht_var e = ht_get(eta, "e"), x = ht_square(ht_sub(ht_get(theta, "x"), e)),
           y = ht_square(ht_sub(ht_get(theta, "y"), e));
    return ht_mul(ht_add(x, ht_mul(y, t->rate)), 0.5);
}

static ht_var flat_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    (void)eta, (void)batch, (void)user;
    ht_var x = ht_square(ht_sub(ht_get(theta, "x"), 3));
    return ht_add(ht_mul(x, 0.5), ht_mul(ht_square(ht_square(ht_get(theta, "y"))), 0.25));
}

static void flat_after(const ht_vars *eta, ht_vars *theta, void *user)
{
    (void)eta, (void)user;
    ht_vars_set(theta, "x", ht_project_box(ht_get(theta, "x"), -10, 10));
}

static void implicit_bound_holds_in_flat_directions(void **state)
{
    (void)state;
    for (int k = 0; k < 16; k++) {
        trial t;
        trial_open(&t);
        t.rate = pow(10, -1 - k / 2);
        t.problem.inner = flat_inner;
        t.problem.outer = flat_outer;
        t.problem.after = k % 2 ? flat_after : NULL;
        t.problem.update = HT_SGD(0.5);
        t.problem.steps = 9;
        ht_set_add(t.problem.theta, "x", HT_F64, HT_SCALAR);
        ht_set_add(t.problem.theta, "y", HT_F64, HT_SCALAR);
        ht_tensor_fill(ht_set_add(t.problem.eta, "e", HT_F64, HT_SCALAR), 1);
        ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT});
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        double off = fabs(found(r, "e", 0) + 1);
        if (!(off <= r.error_bound && r.error_bound <= 3 * off + 1e-9))
            fail_msg("flat %g, way %d: off by %.3e, bound %.3e", t.rate, k % 2, off,
                     r.error_bound);
        ht_bilevel_free(b);
        trial_close(&t);
    }
}

/* And of a long unrolled run, whose recorded map is differentiated step by step. */
static void after_is_differentiated_by_every_method(void **state)
{
    (void)state;
    const ht_method by[] = {HT_REVERSE, HT_REVERSE_REVERSE, HT_FORWARD};
    for (size_t k = 0; k < 3; k++) {
        trial t;
        lasso_open(&t);
        t.problem.steps = 150;
        t.problem.tolerance = 0;
        ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = by[k]});
        assert_lasso(ht_bilevel_run(b, 0), 0);
        ht_bilevel_free(b);
        t.problem.steps = 7; /* not at the end: against differences */
        ht_tensor_fill(ht_set_tensor(t.problem.theta, "w"), 1.3);
        if (k == 0) assert_true(ht_bilevel_check(t.ctx, &t.problem, 3, NULL));
        trial_close(&t);
    }
}

/* A decay of the rule's is a penalty of L's: L + decay |w|^2 / 2, decay an outer variable
 * or not, the rule what it may. w* = b / (1 + decay), F = sum c w. */
static void implicit_decay_is_part_of_what_is_descended(void **state)
{
    (void)state;
    ht_update rule = HT_MOMENTUM(0.25, 0.5);
    rule.decay = HT_OUTER("decay");
    for (int k = 0; k < 2; k++) {
        trial t;
        lasso_open(&t);
        ht_set_free(t.problem.eta);
        t.problem.eta = ht_set_new(t.ctx);
        ht_tensor *b = ht_set_add(t.problem.eta, "b", HT_F64, HT_SHAPE(6));
        for (int i = 0; i < 6; i++) ht_tensor_set(b, i, lasso_b[i]);
        ht_tensor_fill(ht_set_add(t.problem.eta, "decay", HT_F64, HT_SCALAR), 0.4);
        t.problem.after = NULL;
        t.problem.update = rule;
        double of_b[6], decay = 0;
        for (int i = 0; i < 6; i++) {
            of_b[i] = lasso_c[i] / 1.4;
            decay -= lasso_c[i] * lasso_b[i] / (1.4 * 1.4);
        }
        ht_bilevel_options o = {.method = HT_IMPLICIT,
                                .solver = k ? HT_CG : HT_SOLVER_AUTO};
        ht_bilevel *bilevel = trial_bilevel(&t, o);
        ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
        assert_all(r, "b", of_b, 6, 1e-12);
        assert_all(r, "decay", &decay, 1, 1e-12);
        assert_true(r.error_bound < 1e-11);
        ht_bilevel_free(bilevel);
        trial_close(&t);
    }
}

/* What is set by init and does not train: L = |w - b k|^2 / 2, k = 3 s set by init and
 * frozen, F = sum c w + k^2: dF/ds = 3 (sum c b + 2 k). */
static ht_var frozen_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    (void)eta, (void)user;
    ht_var off =
        ht_sub(ht_get(theta, "w"), ht_mul(ht_get(batch, "b"), ht_get(theta, "k")));
    return ht_mul(ht_sum(ht_square(off)), 0.5);
}

static ht_var frozen_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    return ht_add(lasso_outer(theta, eta, batch, user), ht_square(ht_get(theta, "k")));
}

static void frozen_init(const ht_vars *eta, ht_vars *theta, void *user)
{
    (void)user;
    ht_vars_set(theta, "k", ht_mul(ht_get(eta, "s"), 3));
}

static void implicit_what_does_not_train_is_what_init_made_it(void **state)
{
    (void)state;
    trial t;
    lasso_open(&t);
    ht_set_free(t.problem.eta);
    t.problem.eta = ht_set_new(t.ctx);
    ht_tensor_fill(ht_set_add(t.problem.eta, "s", HT_F64, HT_SCALAR), 0.2);
    ht_set_add(t.problem.theta, "k", HT_F64, HT_SCALAR);
    ht_tensor *b = ht_set_add(t.problem.inner_data, "b", HT_F64, HT_SHAPE(6));
    for (int i = 0; i < 6; i++) ht_tensor_set(b, i, lasso_b[i]);
    const ht_update_group frozen[] = {{"k", NULL}};
    t.problem.update.groups = frozen;
    t.problem.update.n_groups = 1;
    t.problem.inner = frozen_inner;
    t.problem.outer = frozen_outer;
    t.problem.init = frozen_init;
    t.problem.after = NULL;
    double want = 6 * 0.6;
    for (int i = 0; i < 6; i++) want += 3 * lasso_c[i] * lasso_b[i];
    ht_bilevel *bilevel = trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT});
    assert_all(ht_bilevel_run(bilevel, 0), "s", &want, 1, 1e-12);
    ht_bilevel_free(bilevel);
    trial_close(&t);
}

static void implicit_in_f32_is_as_near_as_f32_is(void **state)
{
    (void)state;
    trial t;
    ridge g;
    ridge_open(&t, &g, 12, 8, HT_F32);
    t.problem.tolerance = 1e-5;
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT});
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    assert_all(r, "l", g.gradient, 8, 1e-4);
    double off = 0;
    for (int j = 0; j < 8; j++) off = hypot(off, found(r, "l", j) - g.gradient[j]);
    assert_true(off <= r.error_bound);
    ht_bilevel_free(b);
    trial_close(&t);
}

/* Weighted least squares, the weights outer variables, W = diag(sigmoid(e)):
 *   L = sum w_i (x_i v - y_i)^2 / 2,   H = X^T W X + 1e-2,
 *   dF/dw_i = -(x_i H^-1 dF/dv) (x_i v - y_i),  dw_i/de_i = w_i (1 - w_i) */
static ht_var weighted_inner(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *batch, void *user)
{
    (void)user;
    ht_var v = ht_get(theta, "w");
    ht_var off = ht_sub(ht_matmul(ht_get(batch, "x"), v), ht_get(batch, "y"));
    ht_var loss = ht_sum(ht_mul(ht_sigmoid(ht_get(eta, "e")), ht_square(off)));
    return ht_mul(ht_add(loss, ht_mul(ht_sum(ht_square(v)), 1e-2)), 0.5);
}

static void implicit_weighted_least_squares_match_closed_form(void **state)
{
    (void)state;
    for (int trials = 0; trials < 10; trials++) {
        enum { N = 5, DATA = 14 };
        trial t;
        ridge g;
        double e[DATA], b[MOST] = {0}, v[MOST], adjoint[MOST], right[MOST] = {0},
                        want[DATA];
        ridge_open(&t, &g, DATA, N, HT_F64);
        matrix h = {.rows = N, .columns = N};
        const ht_tensor *xv = ht_set_tensor(t.problem.inner_data, "xv"),
                        *yv = ht_set_tensor(t.problem.inner_data, "yv");
        for (int i = 0; i < DATA; i++) e[i] = 2 * draw();
        for (int i = 0; i < DATA; i++)
            for (int j = 0; j < N; j++) {
                double w = 1 / (1 + exp(-e[i]));
                b[j] += w * g.x.at[i][j] * g.y[i];
                for (int k = 0; k < N; k++) h.at[j][k] += w * g.x.at[i][j] * g.x.at[i][k];
            }
        for (int j = 0; j < N; j++) h.at[j][j] += 1e-2;
        matrix_solve(&h, b, v);
        for (int i = 0; i < DATA; i++) {
            double off = -ht_tensor_get(yv, i);
            for (int j = 0; j < N; j++) off += ht_tensor_get(xv, i * N + j) * v[j];
            for (int j = 0; j < N; j++) right[j] += ht_tensor_get(xv, i * N + j) * off;
        }
        matrix_solve(&h, right, adjoint);
        for (int i = 0; i < DATA; i++) {
            double w = 1 / (1 + exp(-e[i])), off = -g.y[i], along = 0;
            for (int j = 0; j < N; j++) off += g.x.at[i][j] * v[j];
            for (int j = 0; j < N; j++) along += g.x.at[i][j] * adjoint[j];
            want[i] = -along * off * w * (1 - w);
        }
        ht_set_free(t.problem.eta);
        t.problem.eta = ht_set_new(t.ctx);
        ht_tensor *weight = ht_set_add(t.problem.eta, "e", HT_F64, HT_SHAPE(DATA, 1));
        for (int i = 0; i < DATA; i++) ht_tensor_set(weight, i, e[i]);
        t.problem.inner = weighted_inner;
        ht_bilevel *bilevel =
            trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT});
        assert_all(ht_bilevel_run(bilevel, 0), "e", want, DATA, 1e-10);
        ht_bilevel_free(bilevel);
        trial_close(&t);
    }
}

/* One step is the last of a truncated run, bit for bit. */
static void one_step_is_a_truncation_of_one(void **state)
{
    (void)state;
    trial t;
    ridge g;
    double gradient[8];
    ridge_open(&t, &g, 12, 8, HT_F64);
    t.problem.steps = 9;
    t.problem.tolerance = 0;
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.truncate = 1});
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    for (int j = 0; j < 8; j++) gradient[j] = found(r, "l", j);
    ht_bilevel_free(b);
    b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_ONE_STEP});
    r = ht_bilevel_run(b, 0);
    assert_int_equal(r.method, HT_ONE_STEP);
    assert_int_equal(r.reverse_steps, 1);
    for (int j = 0; j < 8; j++) assert_true(found(r, "l", j) == gradient[j]);
    ht_bilevel_free(b);
    trial_close(&t);
}

/* Of one parameter that contracts by rho a step, K steps give 1 - rho^K of the whole. */
static ht_var pull(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                   void *user)
{
    (void)batch, (void)user;
    return ht_mul(ht_square(ht_sub(ht_get(theta, "w"), ht_get(eta, "e"))), 0.5);
}

static ht_var end(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                  void *user)
{
    (void)eta, (void)batch, (void)user;
    return ht_mul(ht_get(theta, "w"), 1.0);
}

static void truncation_is_compared_with_twice_the_steps(void **state)
{
    (void)state;
    trial t;
    char want[64];
    double rho = 0.9;
    trial_open(&t);
    t.problem.inner = pull;
    t.problem.outer = end;
    t.problem.steps = 40;
    t.problem.outer_data = t.problem.inner_data;
    ht_set_add(t.problem.theta, "w", HT_F64, HT_SCALAR);
    ht_tensor_fill(ht_set_add(t.problem.eta, "e", HT_F64, HT_SCALAR), 1);
    size_t base = t.memory.live;
    t.memory.peak = base;
    ht_bilevel *b =
        trial_bilevel(&t, (ht_bilevel_options){.truncate = 5, .compare = true});
    uint64_t calls = t.memory.calls;
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    double few = 1 - pow(rho, 5), twice = 1 - pow(rho, 10);
    snprintf(want, sizeof want, "by 10 steps the gradient is %.1e, %.1e of it away",
             twice, (twice - few) / twice);
    assert_contains(r.note, want);
    assert_near(found(r, "e", 0), few, 1e-14);
    assert_int_equal(t.memory.calls, calls);
    assert_int_equal(t.memory.peak - base, ht_bilevel_bytes(b));
    ht_bilevel_free(b);
    assert_null(
        ht_bilevel_new(t.ctx, &t.problem, &(ht_bilevel_options){.compare = true}));
    assert_contains(ht_context_message(t.ctx),
                    "options.compare is set, but options.method is");
    ht_context_clear(t.ctx);
    trial_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(implicit_ridge_matches_closed_form_by_every_solver),
        cmocka_unit_test(implicit_weighted_least_squares_match_closed_form),
        cmocka_unit_test(truncation_is_compared_with_twice_the_steps),
        cmocka_unit_test(implicit_quadratic_blocks_match_closed_form),
        cmocka_unit_test(implicit_bound_holds_and_is_near),
        cmocka_unit_test(implicit_bound_holds_in_flat_directions),
        cmocka_unit_test(implicit_lasso_path_is_that_of_the_whole_step),
        cmocka_unit_test(after_is_differentiated_by_every_method),
        cmocka_unit_test(implicit_decay_is_part_of_what_is_descended),
        cmocka_unit_test(implicit_what_does_not_train_is_what_init_made_it),
        cmocka_unit_test(implicit_in_f32_is_as_near_as_f32_is),
        cmocka_unit_test(one_step_is_a_truncation_of_one),
    };
    return TEST_MAIN(tests);
}
