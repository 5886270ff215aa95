/* SPDX-License-Identifier: MIT */
/* test_bilevel_coordinate.c: log and sigmoid coordinates: there and back, what is
 * refused, and hypergradients by the chain rule: with v the natural value and u its
 * coordinate,
 *
 *   dE/du = dE/dv dv/du;   log: dv/du = v;   sigmoid: (v - low)(high - v)/(high - low)
 *
 * Read next: bilevel/coordinate.c. */
#include "hypertape.h"
#include "test_nn.h"

static const ht_coordinate coordinates[] = {{"plain", HT_IDENTITY, 0, 0},
                                            {"positive", HT_LOG, 0, 0},
                                            {"unit", HT_SIGMOID, 0, 1},
                                            {"wide", HT_SIGMOID, -3, 5},
                                            {"narrow", HT_SIGMOID, 0.1, 0.1 + 1e-6}};
enum { N_COORDINATES = sizeof coordinates / sizeof coordinates[0] };

/* dv/du */
static double chain_factor(const ht_coordinate *c, double v)
{
    if (c->kind == HT_LOG) return v;
    if (c->kind == HT_SIGMOID) return (v - c->low) * (c->high - v) / (c->high - c->low);
    return 1;
}

/* A value inside the range: share 0 .. 1 of the way. */
static double value_inside(const ht_coordinate *c, double share)
{
    if (c->kind == HT_LOG) return pow(10, 8 * share - 4);
    if (c->kind == HT_SIGMOID) return c->low + (c->high - c->low) * share;
    return 4 * share - 2;
}

/* There and back. */

static void coordinate_there_and_back_is_the_value(void **state)
{
    fixture *f = *state;
    for (int c = 0; c < N_COORDINATES; c++)
        for (int dtype = HT_F32; dtype <= HT_F64; dtype++) {
            double step = dtype == HT_F32 ? 0x1p-23 : 0x1p-52, value[99], factor;
            ht_tensor *x = ht_tensor_new(f->ctx, (ht_dtype)dtype, HT_SHAPE(9, 11));
            for (int k = 0; k < 99; k++) {
                ht_tensor_set(x, k, value_inside(&coordinates[c], (k + 1) / 100.0));
                value[k] = ht_tensor_get(x, k);
            }
            if (c == 4 && dtype == HT_F32) { /* few f32 lie in so narrow a range */
                ht_tensor_free(x);
                continue;
            }
            assert_int_equal(ht_coordinate_from_value(&coordinates[c], x), HT_OK);
            double last = -INFINITY, largest[99];
            for (int k = 0; k < 99; k++) {
                largest[k] = fabs(ht_tensor_get(x, k));
                assert_true(ht_tensor_get(x, k) > last); /* increasing */
                last = ht_tensor_get(x, k);
            }
            assert_int_equal(ht_coordinate_to_value(&coordinates[c], x), HT_OK);
            for (int k = 0; k < 99; k++) {
                /* u is rounded once, and f64's log and exp by an ulp or so. */
                factor = chain_factor(&coordinates[c], value[k]);
                assert_near(ht_tensor_get(x, k), value[k],
                            step * (2 + 4 * factor * (1 + largest[k])));
            }
            ht_tensor_free(x);
        }
    test_no_error(f->ctx);
}

static void coordinate_of_known_values_is_the_formula(void **state)
{
    fixture *f = *state;
    static const struct {
        int c;
        double value, u;
    } known[] = {{0, -1.5, -1.5},
                 {1, 1, 0},
                 {1, 2.718281828459045, 1},
                 {1, 1e-300, -690.77552789821371},
                 {2, 0.5, 0},
                 {2, 0.75, 1.0986122886681098},
                 {3, 1, 0},
                 {3, -1, -1.0986122886681098}};
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F64, HT_SCALAR);
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        ht_tensor_fill(x, known[k].value);
        assert_int_equal(ht_coordinate_from_value(&coordinates[known[k].c], x), HT_OK);
        assert_near(ht_tensor_get(x, 0), known[k].u, 1e-15);
        ht_tensor_fill(x, known[k].u);
        assert_int_equal(ht_coordinate_to_value(&coordinates[known[k].c], x), HT_OK);
        double got = ht_tensor_get(x, 0);
        assert_near(got / known[k].value, 1, 1e-13);
    }
    ht_tensor_free(x);
}

static void coordinate_far_out_reaches_the_ends_and_no_further(void **state)
{
    fixture *f = *state;
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(2));
    for (int c = 2; c < 4; c++) {
        ht_tensor_set(x, 0, -1000);
        ht_tensor_set(x, 1, 1000);
        assert_int_equal(ht_coordinate_to_value(&coordinates[c], x), HT_OK);
        assert_near(ht_tensor_get(x, 0), coordinates[c].low, 0);
        assert_near(ht_tensor_get(x, 1), coordinates[c].high, 0);
    }
    ht_tensor_free(x);
}

/* Refusals. */

static void coordinate_from_value_outside_changes_nothing(void **state)
{
    fixture *f = *state;
    const double inf = (double)INFINITY, nan = (double)NAN;
    const struct {
        ht_coordinate c;
        double good, bad;
        const char *message;
    } outside[] = {
        {{"x", HT_LOG, 0, 0}, 1, 0, "is 0, outside the open range (0, inf)"},
        {{"x", HT_LOG, 0, 0}, 1, -0.5, "is -0.5, outside the open range (0, inf)"},
        {{"x", HT_LOG, 0, 0}, 1, inf, "is inf, outside the open range (0, inf)"},
        {{"x", HT_LOG, 0, 0}, 1, nan, "nan, outside the open range (0, inf)"},
        {{"x", HT_SIGMOID, 0, 1}, 0.5, 0, "\"x\": element 2 is 0, outside the open"},
        {{"x", HT_SIGMOID, 0, 1}, 0.5, 1, "is 1, outside the open range (0, 1)"},
        {{"x", HT_SIGMOID, -2, 1}, 0, 1.5, "is 1.5, outside the open range (-2, 1)"},
        {{"x", HT_SIGMOID, -2, 1}, 0, -3, "is -3, outside the open range (-2, 1)"},
        {{"x", HT_SIGMOID, -2, 1}, 0, nan, "nan, outside the open range (-2, 1)"},
        {{"x", HT_SIGMOID, 0, 1e10}, 1, 5e-324, "outside the open range (0, 1e+10)"},
    };
    for (size_t k = 0; k < sizeof outside / sizeof outside[0]; k++) {
        ht_tensor *x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(4));
        ht_tensor_fill(x, outside[k].good);
        ht_tensor_set(x, 2, outside[k].bad);
        double before[4];
        memcpy(before, ht_tensor_data(x), sizeof before);
        assert_int_equal(ht_coordinate_from_value(&outside[k].c, x), HT_ERROR_ARGUMENT);
        assert_contains(ht_context_message(f->ctx), "element 2 is ");
        test_error(f->ctx, HT_ERROR_ARGUMENT, outside[k].message);
        assert_memory_equal(ht_tensor_data(x), before, sizeof before);
        ht_tensor_free(x);
    }
}

static void coordinate_of_no_range_refuses_every_value(void **state)
{
    fixture *f = *state;
    const ht_coordinate none[] = {{"x", HT_SIGMOID, 1, 1},
                                  {"x", HT_SIGMOID, 2, -2},
                                  {"x", HT_SIGMOID, (double)-INFINITY, (double)INFINITY}};
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F64, HT_SCALAR);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(ht_coordinate_from_value(&none[k], x), HT_ERROR_ARGUMENT);
        test_error(f->ctx, HT_ERROR_ARGUMENT, "element 0 is 0, outside");
        assert_near(ht_tensor_get(x, 0), 0, 0);
    }
    ht_tensor_free(x);
}

static void coordinate_of_integers_is_an_error_both_ways(void **state)
{
    fixture *f = *state;
    ht_tensor *x = ht_tensor_new(f->ctx, HT_I32, HT_SHAPE(2));
    ht_tensor_fill(x, 3);
    assert_int_equal(ht_coordinate_from_value(&coordinates[1], x), HT_ERROR_DTYPE);
    test_error(f->ctx, HT_ERROR_DTYPE, "needs f32 or f64, not i32");
    assert_int_equal(ht_coordinate_to_value(&coordinates[1], x), HT_ERROR_DTYPE);
    test_error(f->ctx, HT_ERROR_DTYPE, "needs f32 or f64, not i32");
    assert_near(ht_tensor_get(x, 1), 3, 0);
    ht_tensor_free(x);
}

/* Hypergradients. */

/* inner: sum of weight tanh(w - target)^2 / 2 + penalty w^2 / 2; outer: sum of
 * (w - goal)^2 / 2 + penalty^2, so that one variable reaches the outer loss directly. */
static ht_var curved_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    (void)batch, (void)user;
    ht_var w = ht_get(theta, "w");
    ht_var far = ht_square(ht_tanh(ht_sub(w, ht_get(eta, "target"))));
    ht_var data = ht_sum(ht_mul(ht_get(eta, "weight"), far));
    return ht_mul(ht_add(data, ht_mul(ht_get(eta, "penalty"), ht_sum(ht_square(w)))),
                  0.5);
}

static ht_var curved_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    (void)batch, (void)user;
    ht_var far = ht_sub(ht_get(theta, "w"), 0.8);
    return ht_add(ht_mul(ht_sum(ht_square(far)), 0.5), ht_square(ht_get(eta, "penalty")));
}

static void curved_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "w", ht_get(eta, "start"));
}

enum { N_OUTER = 7, CURVED_STEPS = 12 };
static const struct {
    ht_coordinate c;
    ht_shape shape;
    double value;
} outers[N_OUTER] = {
    {{"weight", HT_SIGMOID, 0, 1}, {1, {3}}, 0.3},
    {{"target", HT_IDENTITY, 0, 0}, {1, {3}}, 0.9},
    {{"penalty", HT_LOG, 0, 0}, {0, {0}}, 0.05},
    {{"start", HT_SIGMOID, -2, 3}, {1, {3}}, -0.4},
    {{"rate", HT_LOG, 0, 0}, {1, {CURVED_STEPS}}, 0.1},
    {{"momentum", HT_SIGMOID, 0, 1}, {0, {0}}, 0.7},
    {{"decay", HT_LOG, 0, 0}, {0, {0}}, 1e-3},
};

/* Natural values, all different. */
static ht_set *curved_eta(ht_context *ctx)
{
    ht_set *eta = ht_set_new(ctx);
    for (int j = 0; j < N_OUTER; j++) {
        ht_tensor *x = ht_set_add(eta, outers[j].c.outer, HT_F64, outers[j].shape);
        for (int64_t k = 0; k < ht_tensor_count(x); k++)
            ht_tensor_set(x, k, outers[j].value * (1 + 0.07 * (double)k));
    }
    return eta;
}

static ht_bilevel_problem curved_problem(ht_set *theta, ht_set *eta)
{
    return (ht_bilevel_problem){.inner = curved_inner,
                                .outer = curved_outer,
                                .init = curved_init,
                                .theta = theta,
                                .eta = eta,
                                .steps = CURVED_STEPS,
                                .update = {.rule = &ht_momentum,
                                           .rate = HT_OUTER("rate"),
                                           .momentum = HT_OUTER("momentum"),
                                           .decay = HT_OUTER("decay")}};
}

/* The outer loss; gradients by name into `gradient`, a set like eta. */
static double curved_run(ht_context *ctx, bool in_coordinates, ht_bilevel_options options,
                         ht_set *gradient)
{
    ht_set *theta = ht_set_new(ctx), *eta = curved_eta(ctx);
    ht_coordinate c[N_OUTER];
    ht_set_add(theta, "w", HT_F64, HT_SHAPE(3));
    for (int j = 0; j < N_OUTER; j++) c[j] = outers[j].c;
    ht_bilevel_problem problem = curved_problem(theta, eta);
    if (in_coordinates) {
        problem.coordinates = c;
        problem.n_coordinates = N_OUTER;
        for (int j = 0; j < N_OUTER; j++)
            ht_coordinate_from_value(&c[j], ht_set_at(eta, j));
    }
    ht_bilevel *bilevel = ht_bilevel_new(ctx, &problem, &options);
    test_no_error(ctx);
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    test_no_error(ctx);
    assert_int_equal(r.bad_step, -1);
    ht_set_copy(gradient, r.gradient);
    ht_bilevel_free(bilevel);
    ht_set_free(theta);
    ht_set_free(eta);
    return r.outer;
}

static void check_chain_rule(ht_context *ctx, ht_bilevel_options options)
{
    ht_set *value = curved_eta(ctx), *natural = curved_eta(ctx), *in_u = curved_eta(ctx);
    double want = curved_run(ctx, false, options, natural);
    double got = curved_run(ctx, true, options, in_u);
    assert_near(got / want, 1, 1e-14);
    for (int j = 0; j < N_OUTER; j++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(value, j)); k++) {
            double dv = ht_tensor_get(ht_set_at(natural, j), k);
            double du = ht_tensor_get(ht_set_at(in_u, j), k);
            double chain =
                dv * chain_factor(&outers[j].c, ht_tensor_get(ht_set_at(value, j), k));
            assert_true(dv != 0);
            if (fabs(du - chain) > 1e-12 * fabs(chain))
                fail_msg("%s[%d]: dE/du %.17g, dE/dv dv/du %.17g (relative %.2e)",
                         outers[j].c.outer, (int)k, du, chain,
                         fabs(du - chain) / fabs(chain));
        }
    ht_set_free(value);
    ht_set_free(natural);
    ht_set_free(in_u);
}

static void bilevel_run_in_coordinates_follows_the_chain_rule(void **state)
{
    fixture *f = *state;
    const ht_bilevel_options ways[] = {
        {.method = HT_REVERSE, .schedule = HT_STORE_ALL},
        {.method = HT_REVERSE, .schedule = HT_TWO_LEVEL},
        {.method = HT_REVERSE, .schedule = HT_REVOLVE, .slots = 3},
        {.method = HT_REVERSE_REVERSE},
        {.method = HT_FORWARD},
    };
    for (int k = 0; k < 5; k++) check_chain_rule(f->ctx, ways[k]);
}

/* inner (w - p)^2 / 2, one step of rate r from 0: w = r p. outer w: dE/d log p = r p =
 * dE/d log r. */
static ht_var line_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    (void)batch, (void)user;
    return ht_mul(ht_square(ht_sub(ht_get(theta, "w"), ht_get(eta, "p"))), 0.5);
}

static ht_var line_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    (void)eta, (void)batch, (void)user;
    return ht_get(theta, "w");
}

static void bilevel_run_of_one_step_in_coordinates_is_the_product(void **state)
{
    fixture *f = *state;
    const ht_coordinate c[] = {{"p", HT_LOG, 0, 0}, {"r", HT_LOG, 0, 0}};
    ht_set *theta = ht_set_new(f->ctx), *eta = ht_set_new(f->ctx);
    ht_set_add(theta, "w", HT_F64, HT_SCALAR);
    ht_tensor_fill(ht_set_add(eta, "p", HT_F64, HT_SCALAR), log(3));
    ht_tensor_fill(ht_set_add(eta, "r", HT_F64, HT_SCALAR), log(0.2));
    ht_bilevel_problem problem = {.inner = line_inner,
                                  .outer = line_outer,
                                  .theta = theta,
                                  .eta = eta,
                                  .steps = 1,
                                  .update = {.rule = &ht_sgd, .rate = HT_OUTER("r")},
                                  .coordinates = c,
                                  .n_coordinates = 2};
    ht_bilevel *bilevel = ht_bilevel_new(f->ctx, &problem, NULL);
    test_no_error(f->ctx);
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    assert_near(r.outer, 0.6, 1e-15);
    assert_near(ht_tensor_get(ht_set_at(r.gradient, 0), 0), 0.6, 1e-15);
    assert_near(ht_tensor_get(ht_set_at(r.gradient, 1), 0), 0.6, 1e-15);
    ht_bilevel_free(bilevel);
    ht_set_free(theta);
    ht_set_free(eta);
}

static void bilevel_new_of_wrong_coordinates_is_an_error(void **state)
{
    fixture *f = *state;
    const struct {
        ht_coordinate c;
        const char *message;
    } wrong[] = {{{"lambda", HT_LOG, 0, 0}, "no tensor \"lambda\"; this set has: weight"},
                 {{"weight", HT_SIGMOID, 1, 1}, "needs low < high"},
                 {{"weight", HT_SIGMOID, 0, (double)NAN}, "needs low < high"}};
    ht_set *theta = ht_set_new(f->ctx), *eta = curved_eta(f->ctx);
    ht_set_add(theta, "w", HT_F64, HT_SHAPE(3));
    ht_bilevel_problem problem = curved_problem(theta, eta);
    problem.n_coordinates = 1;
    for (int k = 0; k < 3; k++) {
        problem.coordinates = &wrong[k].c;
        assert_null(ht_bilevel_new(f->ctx, &problem, NULL));
        test_error(f->ctx, HT_ERROR_ARGUMENT, wrong[k].message);
    }
    ht_set_free(theta);
    ht_set_free(eta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(coordinate_there_and_back_is_the_value),
        CASE(coordinate_of_known_values_is_the_formula),
        CASE(coordinate_far_out_reaches_the_ends_and_no_further),
        CASE(coordinate_from_value_outside_changes_nothing),
        CASE(coordinate_of_no_range_refuses_every_value),
        CASE(coordinate_of_integers_is_an_error_both_ways),
        CASE(bilevel_run_in_coordinates_follows_the_chain_rule),
        CASE(bilevel_run_of_one_step_in_coordinates_is_the_product),
        CASE(bilevel_new_of_wrong_coordinates_is_an_error),
    };
    return TEST_MAIN(tests);
}
