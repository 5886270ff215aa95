/* SPDX-License-Identifier: MIT */
/* test_bilevel_hvp.c: second derivatives of a whole training, against closed forms,
 * differences of exact gradients, and their own symmetry. Read next:
 * bilevel/unroll/curvature.c. */
#include "test_stationary.h"

/* An MLP of two layers on 12 rows, its penalty, rate, momentum and data weights outer
 * variables, and one that the initial values are made of. */
static ht_var network(const ht_vars *theta, const ht_vars *batch)
{
    ht_var h = ht_tanh(ht_matmul(ht_get(batch, "x"), ht_get(theta, "a")));
    return ht_matmul(h, ht_get(theta, "b"));
}

static ht_var mlp_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                        void *user)
{
    (void)user;
    ht_var off = ht_square(ht_sub(network(theta, batch), ht_get(batch, "y")));
    ht_var penalty =
        ht_mul(ht_exp(ht_get(eta, "l")), ht_sum(ht_square(ht_get(theta, "a"))));
    return ht_add(ht_mean(ht_mul(off, ht_sigmoid(ht_get(eta, "weight")))), penalty);
}

static ht_var mlp_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                        void *user)
{
    (void)user;
    ht_var off = ht_square(ht_sub(network(theta, batch), ht_get(batch, "yv")));
    return ht_add(ht_mean(off), ht_mul(ht_square(ht_get(eta, "l")), 1e-2));
}

static void mlp_init(const ht_vars *eta, ht_vars *theta, void *user)
{
    (void)user;
    ht_vars_set(theta, "b", ht_mul(ht_get(theta, "b"), ht_exp(ht_get(eta, "scale"))));
}

static ht_tensor *drawn(ht_set *set, const char *name, ht_shape shape, double size)
{
    ht_tensor *t = ht_set_add(set, name, HT_F64, shape);
    for (int64_t k = 0; k < ht_tensor_count(t); k++) ht_tensor_set(t, k, size * draw());
    return t;
}

static void mlp_open(trial *t, ht_update update)
{
    trial_open(t);
    ht_set *data = t->problem.inner_data, *eta = t->problem.eta;
    drawn(data, "x", HT_SHAPE(12, 4), 1);
    drawn(data, "y", HT_SHAPE(12, 2), 1);
    drawn(data, "yv", HT_SHAPE(12, 2), 1);
    drawn(t->problem.theta, "a", HT_SHAPE(4, 5), 0.5);
    drawn(t->problem.theta, "b", HT_SHAPE(5, 2), 0.5);
    drawn(eta, "weight", HT_SHAPE(12, 1), 1);
    ht_tensor_fill(ht_set_add(eta, "l", HT_F64, HT_SCALAR), -3);
    ht_tensor_fill(ht_set_add(eta, "scale", HT_F64, HT_SCALAR), 0.1);
    ht_tensor_fill(ht_set_add(eta, "rate", HT_F64, HT_SCALAR), log(0.2));
    static const ht_coordinate coordinates[] = {{"rate", HT_LOG, 0, 0}};
    t->problem.inner = mlp_inner;
    t->problem.outer = mlp_outer;
    t->problem.init = mlp_init;
    t->problem.update = update;
    t->problem.update.rate = HT_OUTER("rate");
    t->problem.coordinates = coordinates;
    t->problem.n_coordinates = 1;
    t->problem.steps = 12;
}

static ht_set *direction(const ht_set *eta)
{
    ht_set *v = ht_set_clone(eta, 0);
    for (int j = 0; j < ht_set_count(v); j++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(v, j)); k++)
            ht_tensor_set(ht_set_at(v, j), k, draw());
    return v;
}

static void move(ht_set *eta, const ht_set *from, const ht_set *v, double h)
{
    ht_set_copy(eta, from);
    ht_set_axpy(h, v, eta);
}
/* w . (G(eta + h v) - G(eta - h v)) / 2 h, extrapolated from h and h / 2. */
static double differences(trial *t, ht_bilevel *b, const ht_set *v, const ht_set *w)
{
    ht_set *eta = ht_set_clone(t->problem.eta, 0);
    double h = 2e-4, found[2];
    for (int k = 0; k < 2; k++, h /= 2) {
        move(t->problem.eta, eta, v, h);
        double up = ht_set_dot(ht_bilevel_run(b, 0).gradient, w);
        move(t->problem.eta, eta, v, -h);
        found[k] = (up - ht_set_dot(ht_bilevel_run(b, 0).gradient, w)) / (2 * h);
    }
    ht_set_copy(t->problem.eta, eta);
    ht_set_free(eta);
    return (4 * found[1] - found[0]) / 3;
}

static void check_problem(trial *t, ht_bilevel_options o)
{
    ht_bilevel *b = trial_bilevel(t, o);
    ht_set *v = direction(t->problem.eta), *w = direction(t->problem.eta);
    double want = differences(t, b, v, w);
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    ht_set *gradient = ht_set_clone(r.gradient, 0);
    const ht_set *product = ht_bilevel_hvp(b, v);
    if (!product) fail_msg("%s", ht_context_message(t->ctx));
    for (int j = 0; j < ht_set_count(gradient); j++) /* the run's result stays */
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(gradient, j)); k++)
            assert_true(ht_tensor_get(ht_set_at(gradient, j), k) ==
                        ht_tensor_get(ht_set_at(r.gradient, j), k));
    double vw = ht_set_dot(product, w), size = sqrt(ht_set_dot(product, product));
    size_t bytes = ht_bilevel_bytes(b);
    uint64_t calls = t->memory.calls;
    double wv = ht_set_dot(ht_bilevel_hvp(b, w), v);
    assert_int_equal(t->memory.calls, calls);
    assert_int_equal(ht_bilevel_bytes(b), bytes);
    if (!(fabs(vw - want) <= 1e-7 * size)) fail_msg("%.15g, not %.15g", vw, want);
    if (!(fabs(vw - wv) <= 1e-10 * size)) fail_msg("%.15g one way, %.15g", vw, wv);
    ht_set_free(v);
    ht_set_free(w);
    ht_set_free(gradient);
    ht_bilevel_free(b);
}

static void hvp_is_the_slope_of_the_gradient_and_symmetric(void **state)
{
    (void)state;
    const ht_update rules[] = {HT_SGD(0.1), HT_MOMENTUM(0.1, 0.8), HT_ADAM(0.1)};
    const ht_bilevel_options by[] = {{0},
                                     {.method = HT_REVERSE_REVERSE},
                                     {.schedule = HT_TWO_LEVEL},
                                     {.schedule = HT_REVOLVE, .slots = 2}};
    for (size_t rule = 0; rule < 3; rule++)
        for (size_t k = 0; k < sizeof by / sizeof *by; k++) {
            trial t;
            mlp_open(&t, rules[rule]);
            check_problem(&t, by[k]);
            trial_close(&t);
        }
}

/* Of quadratics trained to their end F is a quadratic of e: with P = -A^-1 B the second
 * derivative is D + P^T C P. */
static void hvp_of_quadratic_blocks_matches_closed_form(void **state)
{
    (void)state;
    for (int k = 0; k < 5; k++) {
        trial t;
        blocks q;
        int n = 3 + 3 * k, m = 1 + 2 * k;
        double v[MOST], want[MOST], part[MOST], x[MOST];
        blocks_open(&t, &q, n, m);
        t.problem.tolerance = 0;
        t.problem.steps = 600;
        ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
        ht_set *set = direction(t.problem.eta);
        for (int j = 0; j < m; j++) v[j] = ht_tensor_get(ht_set_at(set, 0), j);
        multiply(&q.b, false, v, part);
        matrix_solve(&q.a, part, x);
        multiply(&q.c, false, x, part);
        matrix_solve(&q.a, part, x);
        multiply(&q.b, true, x, part);
        multiply(&q.d, false, v, want);
        for (int j = 0; j < m; j++) want[j] += part[j];
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        r.gradient = ht_bilevel_hvp(b, set);
        assert_all(r, "e", want, m, 1e-10);
        ht_set_free(set);
        ht_bilevel_free(b);
        trial_close(&t);
    }
}

/* Newton's method is at the minimum of a quadratic after one step, whatever the start: D
 * e + P^T (C P e + c) = 0. Another step finds nothing to do. */
static void minimize_by_newton_solves_a_quadratic_in_two_steps(void **state)
{
    (void)state;
    for (int k = 0; k < 5; k++) {
        trial t;
        blocks q;
        blocks_open(&t, &q, 4 + 2 * k, 1 + k);
        t.problem.tolerance = 0;
        t.problem.steps = 600;
        ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
        const ht_set *gradient = ht_bilevel_run(b, 0).gradient;
        double before = sqrt(ht_set_dot(gradient, gradient));
        ht_outer_result r = ht_bilevel_minimize(
            b, &(ht_outer_options){.newton = 40, .steps = 3, .tolerance = 1e-9 * before});
        if (r.end != HT_OUTER_TOLERANCE || r.steps > 3)
            fail_msg("%lld steps: %s, |gradient| %g of %g", (long long)r.steps, r.why,
                     r.gradient, before);
        assert_int_equal(r.refused, 0);
        ht_bilevel_free(b);
        trial_close(&t);
    }
}

/* On the network's training it goes down, and quadratically in the end. */
static void minimize_by_newton_goes_down_a_network(void **state)
{
    (void)state;
    trial t;
    mlp_open(&t, HT_MOMENTUM(0.1, 0.8));
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
    double before = ht_bilevel_run(b, 0).outer;
    ht_outer_result r = ht_bilevel_minimize(
        b, &(ht_outer_options){.newton = 30, .steps = 12, .keep_best = true});
    assert_true(r.best < before);
    print_message("# %g to %g by Newton (%lld refused)\n", before, r.best,
                  (long long)r.refused);
    ht_outer_options both = {.newton = 3, .steps = 1, .update = HT_SGD(1)};
    assert_int_equal(ht_bilevel_minimize(b, &both).end, HT_OUTER_ERROR);
    assert_contains(ht_context_message(t.ctx), "newton is set, and so is update");
    ht_context_clear(t.ctx);
    ht_bilevel_free(b);
    trial_close(&t);
}

/* v may be what the last call gave, as in a power iteration. */
static void hvp_of_a_product_is_that_of_its_copy(void **state)
{
    (void)state;
    trial t;
    mlp_open(&t, HT_SGD(0.1));
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
    ht_bilevel_run(b, 0);
    ht_set *v = direction(t.problem.eta);
    ht_set *once = ht_set_clone(ht_bilevel_hvp(b, v), 0);
    ht_set *want = ht_set_clone(ht_bilevel_hvp(b, once), 0);
    const ht_set *twice = ht_bilevel_hvp(b, ht_bilevel_hvp(b, v));
    for (int j = 0; j < ht_set_count(want); j++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(want, j)); k++)
            assert_true(ht_tensor_get(ht_set_at(twice, j), k) ==
                        ht_tensor_get(ht_set_at(want, j), k));
    ht_set_free(v);
    ht_set_free(once);
    ht_set_free(want);
    ht_bilevel_free(b);
    trial_close(&t);
}

/* Each request for memory of the first product, failing, is an error and no more. */
static void hvp_each_failed_allocation_is_an_error(void **state)
{
    (void)state;
    trial t;
    mlp_open(&t, HT_SGD(0.1));
    const ht_set *product = NULL;
    for (uint64_t k = 1; !product; k++) {
        ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
        ht_bilevel_run(b, 0);
        size_t live = t.memory.live;
        t.memory.fail_at = t.memory.calls + k;
        product = ht_bilevel_hvp(b, t.problem.eta);
        t.memory.fail_at = 0;
        if (!product) {
            assert_int_equal(ht_context_status(t.ctx), HT_ERROR_MEMORY);
            assert_int_equal(t.memory.live, live);
            ht_context_clear(t.ctx);
            assert_non_null(ht_bilevel_run(b, 0).gradient);
        }
        ht_bilevel_free(b);
    }
    trial_close(&t);
}

static void hvp_refuses_what_it_cannot_derive(void **state)
{
    (void)state;
    const ht_bilevel_options no[] = {{.method = HT_FORWARD},
                                     {.truncate = 2},
                                     {.method = HT_ONE_STEP},
                                     {.method = HT_IMPLICIT}};
    for (size_t k = 0; k < sizeof no / sizeof *no; k++) {
        trial t;
        mlp_open(&t, HT_SGD(0.1));
        ht_bilevel *b = trial_bilevel(&t, no[k]);
        assert_null(ht_bilevel_hvp(b, t.problem.eta));
        assert_contains(ht_context_message(t.ctx), "has no second derivative here");
        ht_context_clear(t.ctx);
        ht_bilevel_free(b);
        b = trial_bilevel(&t, (ht_bilevel_options){0});
        assert_null(ht_bilevel_hvp(b, t.problem.theta));
        assert_contains(ht_context_message(t.ctx), "v has no \"weight\" like eta's");
        ht_context_clear(t.ctx);
        ht_set *more = direction(t.problem.eta);
        ht_set_add(more, "more", HT_F64, HT_SCALAR);
        assert_null(ht_bilevel_hvp(b, more));
        assert_contains(ht_context_message(t.ctx), "v has \"more\", which eta has not");
        ht_context_clear(t.ctx);
        ht_set_free(more);
        ht_bilevel_free(b);
        trial_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hvp_is_the_slope_of_the_gradient_and_symmetric),
        cmocka_unit_test(hvp_of_quadratic_blocks_matches_closed_form),
        cmocka_unit_test(minimize_by_newton_solves_a_quadratic_in_two_steps),
        cmocka_unit_test(minimize_by_newton_goes_down_a_network),
        cmocka_unit_test(hvp_of_a_product_is_that_of_its_copy),
        cmocka_unit_test(hvp_each_failed_allocation_is_an_error),
        cmocka_unit_test(hvp_refuses_what_it_cannot_derive),
    };
    return TEST_MAIN(tests);
}
