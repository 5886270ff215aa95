/* SPDX-License-Identifier: MIT */
/* test_bilevel_closed_form.c: a quadratic inner problem whose unrolled hypergradients are
 * known in closed form, under every schedule and method.
 *
 *   inner (a/2) w^2 - b lambda w,  outer (w_T - c)^2 / 2,  rho = 1 - eta a
 *   w_T          = rho^T w_0 + (1 - rho^T) b lambda / a
 *   dE/dlambda   = (w_T - c) (1 - rho^T) b / a        (last K steps: 1 - rho^K)
 *   dE/dw_0      = (w_T - c) rho^T
 *   dE/deta      = -(w_T - c) T a rho^(T-1) (w_0 - b lambda / a) */
#include "hypertape.h"
#include "test.h"

typedef struct quadratic {
    double a, b, c, w0, lambda, rate;
    int64_t steps;
} quadratic;

/* rho^T stays well above 2^-53: below it dE/drate is smaller than the rounding of w_T. */
static const quadratic cases[] = {
    {1.0, 2.0, 0.5, 3.0, 0.7, 0.1, 20},   {2.5, -1.0, 1.0, -2.0, 1.3, 0.05, 37},
    {0.3, 0.5, -2.0, 0.0, -0.4, 0.9, 1},  {1.7, 1.1, 0.2, 5.0, 2.0, 0.031, 64},
    {4.0, 3.0, 0.1, 1.0, 0.25, 0.45, 50}, {0.01, 1.0, 3.0, -1.0, 0.9, 1.5, 100},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static ht_var quadratic_inner(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    const quadratic *q = user;
    (void)batch;
    ht_var w = ht_get(theta, "w");
    ht_var linear = ht_mul(ht_mul(ht_get(eta, "lambda"), w), q->b);
    return ht_sub(ht_mul(ht_square(w), q->a / 2), linear);
}

static ht_var quadratic_outer(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    const quadratic *q = user;
    (void)batch, (void)eta;
    return ht_mul(ht_square(ht_sub(ht_get(theta, "w"), q->c)), 0.5);
}

static void quadratic_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "w", ht_get(eta, "w0"));
}

/* All three outer variables in one call; returns the result with its tensors read out. */
typedef struct answer {
    double outer, w, lambda, w0, rate, theta0;
    int64_t forward_steps;
} answer;

static answer quadratic_solve(const quadratic *q, ht_bilevel_options options)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_set *theta = ht_set_new(ctx), *eta = ht_set_new(ctx);
    ht_set_add(theta, "w", HT_F64, HT_SCALAR);
    ht_tensor_fill(ht_set_add(eta, "lambda", HT_F64, HT_SCALAR), q->lambda);
    ht_tensor_fill(ht_set_add(eta, "w0", HT_F64, HT_SCALAR), q->w0);
    ht_tensor_fill(ht_set_add(eta, "rate", HT_F64, HT_SCALAR), q->rate);
    ht_bilevel_problem problem = {.inner = quadratic_inner,
                                  .outer = quadratic_outer,
                                  .init = quadratic_init,
                                  .theta = theta,
                                  .eta = eta,
                                  .steps = q->steps,
                                  .user = (void *)(uintptr_t)q,
                                  .update = {.rule = &ht_sgd, .rate = HT_OUTER("rate")}};
    ht_bilevel *bilevel = ht_bilevel_new(ctx, &problem, &options);
    if (!bilevel) fail_msg("%s", ht_context_message(ctx));
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    assert_int_equal(ht_context_status(ctx), HT_OK);
    assert_int_equal(r.bad_step, -1);
    answer out = {.outer = r.outer,
                  .w = ht_tensor_get(ht_set_tensor(r.theta, "w"), 0),
                  .lambda = ht_tensor_get(ht_set_tensor(r.gradient, "lambda"), 0),
                  .w0 = ht_tensor_get(ht_set_tensor(r.gradient, "w0"), 0),
                  .rate = ht_tensor_get(ht_set_tensor(r.gradient, "rate"), 0),
                  .forward_steps = r.forward_steps};
    out.theta0 =
        r.gradient_theta0 ? ht_tensor_get(ht_set_at(r.gradient_theta0, 0), 0) : out.w0;
    ht_bilevel_free(bilevel);
    ht_set_free(theta);
    ht_set_free(eta);
    ht_context_free(ctx);
    return out;
}

/* |got - want| <= 1e-12 |want|, except where want itself is rounding noise. */
static void assert_relative(double got, double want, const char *what)
{
    if (fabs(got - want) <= 1e-12 * fabs(want) + 1e-300) return;
    fail_msg("%s: got %.17g, want %.17g (relative %.2e)", what, got, want,
             fabs(got - want) / fabs(want));
}

static void quadratic_check(const quadratic *q, ht_bilevel_options options)
{
    answer got = quadratic_solve(q, options);
    double rho = 1 - q->rate * q->a, T = (double)q->steps,
           fixed = q->b * q->lambda / q->a;
    double K = options.truncate ? (double)options.truncate : T;
    double w = pow(rho, T) * q->w0 + (1 - pow(rho, T)) * fixed, error = w - q->c;
    assert_relative(got.w, w, "w_T");
    assert_relative(got.outer, error * error / 2, "outer loss");
    assert_relative(got.lambda, error * (1 - pow(rho, K)) * q->b / q->a, "dE/dlambda");
    if (options.truncate) return;
    assert_relative(got.w0, error * pow(rho, T), "dE/dw0 through init");
    assert_relative(got.theta0, error * pow(rho, T), "dE/dtheta0");
    assert_relative(got.rate, -error * T * q->a * pow(rho, T - 1) * (q->w0 - fixed),
                    "dE/drate");
}

static void quadratic_check_all(ht_bilevel_options options)
{
    for (int i = 0; i < N_CASES; i++) quadratic_check(&cases[i], options);
}

static void bilevel_run_store_all_matches_closed_form(void **state)
{
    (void)state;
    quadratic_check_all((ht_bilevel_options){.schedule = HT_STORE_ALL});
}

static void bilevel_run_two_level_matches_closed_form(void **state)
{
    (void)state;
    quadratic_check_all((ht_bilevel_options){.schedule = HT_TWO_LEVEL});
}

static void bilevel_run_revolve_matches_closed_form(void **state)
{
    (void)state;
    for (int64_t slots = 1; slots <= 12; slots++)
        quadratic_check_all((ht_bilevel_options){.schedule = HT_REVOLVE, .slots = slots});
}

static void bilevel_run_reverse_reverse_matches_closed_form(void **state)
{
    (void)state;
    quadratic_check_all((ht_bilevel_options){.method = HT_REVERSE_REVERSE});
}

static void bilevel_run_forward_matches_closed_form(void **state)
{
    (void)state;
    quadratic_check_all((ht_bilevel_options){.method = HT_FORWARD});
}

static void bilevel_run_truncated_matches_closed_form(void **state)
{
    (void)state;
    const ht_schedule schedules[] = {HT_STORE_ALL, HT_TWO_LEVEL, HT_REVOLVE};
    for (int i = 0; i < N_CASES; i++)
        for (int64_t k = 1; k < cases[i].steps; k += 1 + k / 3)
            for (int s = 0; s < 3; s++)
                quadratic_check(&cases[i], (ht_bilevel_options){.method = HT_TRUNCATED,
                                                                .schedule = schedules[s],
                                                                .truncate = k,
                                                                .slots = s == 2 ? 2 : 0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bilevel_run_store_all_matches_closed_form),
        cmocka_unit_test(bilevel_run_two_level_matches_closed_form),
        cmocka_unit_test(bilevel_run_revolve_matches_closed_form),
        cmocka_unit_test(bilevel_run_reverse_reverse_matches_closed_form),
        cmocka_unit_test(bilevel_run_forward_matches_closed_form),
        cmocka_unit_test(bilevel_run_truncated_matches_closed_form),
    };
    return TEST_MAIN(tests);
}
