/* SPDX-License-Identifier: MIT */
/* test_nn_eps_root.c: eps inside the root against formulas written out for one and two
 * steps, and hypergradients against complex steps through the papers' v: an independent
 * path, right to the last places (Squire & Trapp 1998).
 * Read next: ../../nn/ht_update.h. */
#include <complex.h>

#include "test_bilevel.h"
#include "test_nn.h"

/* The outer variables of a run of one parameter, in this order in eta. */
enum { START, SLOPE, RATE, BETA1, BETA2, EPS, EPS_ROOT, N_OUTER };
static const char *const outer_name[N_OUTER] = {"start", "slope", "rate",    "beta1",
                                                "beta2", "eps",   "eps_root"};

/* The inner loss is slope (w - 0.3)^2/2, whose gradient is slope (w - 0.3). */
static ht_var inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)batch, (void)user;
    ht_var w = ht_sub(ht_get(theta, "w"), 0.3);
    return ht_mul(ht_mul(ht_square(w), ht_get(eta, "slope")), 0.5);
}

static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)eta, (void)batch, (void)user;
    ht_var w = ht_get(theta, "w");
    return ht_add(ht_square(w), w);
}

static void init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "w", ht_get(eta, "start"));
}

/* 1 - beta^t, by its factors: no digits lost next to beta = 1. */
static double complex one_less_power(double complex beta, int t)
{
    double complex sum = 0;
    for (int k = 0; k < t; k++) sum = sum * beta + 1;
    return (1 - beta) * sum;
}

/* w^2 + w after steps of a rule as it stands in its paper, v and all. */
static double complex formula(const ht_update_rule *rule, int steps,
                              const double complex *x)
{
    bool adam = rule == &ht_adam || rule == &ht_adamw, sum = rule == &ht_adagrad;
    double complex w = x[START], m = 0, v = 0;
    for (int t = 1; t <= steps; t++) {
        double complex g = x[SLOPE] * (w - 0.3), right1 = 1, right2 = 1;
        m = adam ? x[BETA1] * m + (1 - x[BETA1]) * g : g;
        v = sum ? v + g * g : x[BETA2] * v + (1 - x[BETA2]) * g * g;
        if (adam) {
            right1 = one_less_power(x[BETA1], t);
            right2 = one_less_power(x[BETA2], t);
        }
        if (rule == &ht_adamw) w -= x[RATE] * 0.2 * w;
        w -= x[RATE] * (m / right1) / (csqrt(v / right2 + x[EPS_ROOT]) + x[EPS]);
    }
    return w * w + w;
}

/* The slope by number k, without a difference. */
static double formula_slope(const ht_update_rule *rule, int steps, const double *at,
                            int k)
{
    double complex x[N_OUTER];
    for (int i = 0; i < N_OUTER; i++) x[i] = at[i];
    x[k] += 1e-100 * I;
    return cimag(formula(rule, steps, x)) / 1e-100;
}

static const ht_update_rule *const rooted_rules[] = {&ht_adam, &ht_adamw, &ht_rmsprop,
                                                     &ht_adagrad};

static bool has(const ht_update_rule *rule, int k)
{
    bool adam = rule == &ht_adam || rule == &ht_adamw;
    return k == BETA1 ? adam : k == BETA2 ? rule != &ht_adagrad : true;
}

typedef struct run {
    ht_set *theta, *eta;
    ht_bilevel_problem problem;
} run;

static run run_new(ht_context *ctx, const ht_update_rule *rule, int steps,
                   const double *at)
{
    run r = {.theta = ht_set_new(ctx), .eta = ht_set_new(ctx)};
    ht_set_add(r.theta, "w", HT_F64, HT_SCALAR);
    ht_update u = {.rule = rule,
                   .rate = HT_OUTER("rate"),
                   .eps = HT_OUTER("eps"),
                   .eps_root = HT_OUTER("eps_root")};
    if (has(rule, BETA1)) u.momentum = HT_OUTER("beta1");
    if (has(rule, BETA2)) u.beta2 = HT_OUTER("beta2");
    if (rule == &ht_adamw) u.decay = HT_FIXED(0.2);
    for (int k = 0; k < N_OUTER; k++)
        if (has(rule, k))
            ht_tensor_fill(ht_set_add(r.eta, outer_name[k], HT_F64, HT_SCALAR), at[k]);
    r.problem = (ht_bilevel_problem){.inner = inner,
                                     .outer = outer,
                                     .init = init,
                                     .theta = r.theta,
                                     .eta = r.eta,
                                     .update = u,
                                     .steps = steps};
    return r;
}

static void run_free(run *r)
{
    ht_set_free(r->theta);
    ht_set_free(r->eta);
}

/* Value and hypergradient in every mode against the formula's. */
static void check_run(ht_context *ctx, const ht_update_rule *rule, int steps,
                      const double *at)
{
    run r = run_new(ctx, rule, steps, at);
    double complex x[N_OUTER];
    for (int i = 0; i < N_OUTER; i++) x[i] = at[i];
    for (ht_method method = HT_REVERSE; method <= HT_FORWARD; method++) {
        ht_bilevel *b =
            ht_bilevel_new(ctx, &r.problem, &(ht_bilevel_options){.method = method});
        test_no_error(ctx);
        ht_bilevel_result result = ht_bilevel_run(b, 0);
        test_no_error(ctx);
        assert_near(result.outer, creal(formula(rule, steps, x)), 1e-12);
        for (int k = 0; k < N_OUTER; k++) {
            if (!has(rule, k)) continue;
            double got = ht_tensor_get(ht_set_tensor(result.gradient, outer_name[k]), 0);
            double want = formula_slope(rule, steps, at, k);
            if (!(fabs(got - want) <= 1e-12 * fmax(1, fabs(want))))
                fail_msg("%s, %d steps, method %d: by %s got %.17g, want %.17g",
                         rule->name, steps, (int)method, outer_name[k], got, want);
        }
        ht_bilevel_free(b);
    }
    run_free(&r);
}

static void hypergradient_with_eps_root_is_that_of_the_formula(void **state)
{
    fixture *f = *state;
    const double at[][N_OUTER] = {{0.9, 1.7, 0.05, 0.8, 0.9, 0.01, 0.02},
                                  {-2, 0.6, 0.2, 0.9, 0.999, 1e-8, 1e-8},
                                  {0.31, 3, 0.01, 0.5, 0.99, 0, 0.5}};
    for (size_t p = 0; p < sizeof at / sizeof *at; p++)
        for (int k = 0; k < 4; k++)
            for (int steps = 1; steps <= 3; steps++)
                check_run(f->ctx, rooted_rules[k], steps, at[p]);
}

/* slope = 0: no gradient, ever, and v = 0. u has a kink there, the step none. */
static void hypergradient_at_no_gradient_is_finite_and_right(void **state)
{
    fixture *f = *state;
    const double at[N_OUTER] = {0.9, 0, 0.05, 0.8, 0.9, 1e-8, 1e-4};
    for (int k = 0; k < 4; k++)
        for (int steps = 1; steps <= 3; steps++)
            check_run(f->ctx, rooted_rules[k], steps, at);
    run r = run_new(f->ctx, &ht_rmsprop, 1, at);
    ht_bilevel *b = ht_bilevel_new(f->ctx, &r.problem, NULL);
    double slope =
        ht_tensor_get(ht_set_tensor(ht_bilevel_run(b, 0).gradient, "slope"), 0);
    /* d(w^2 + w)/dw at 0.9 times -rate (0.9 - 0.3)/(sqrt(eps_root) + eps). */
    assert_near(slope, -2.8 * 0.05 * 0.6 / (1e-2 + 1e-8), 1e-12);
    ht_bilevel_free(b);
    run_free(&r);
}

/* Plain training, two steps along 2 and -1, by hand. */
static void optimizer_step_with_eps_root_is_the_closed_form(void **state)
{
    fixture *f = *state;
    const double rate = 0.1, b1 = 0.75, b2 = 0.5, eps = 0.25, root = 3;
    const double adam1 = rate * 2 / (sqrt(4 + root) + eps);
    const double adam2 = rate * ((b1 * 0.5 - 0.25) / (1 - b1 * b1)) /
                         (sqrt((b2 * 2 + 0.5) / (1 - b2 * b2) + root) + eps);
    const double rms1 = rate * 2 / (sqrt(2 + root) + eps);
    const double rms2 = rate * -1 / (sqrt(1.5 + root) + eps);
    const double ada1 = rate * 2 / (sqrt(4 + root) + eps);
    const double ada2 = rate * -1 / (sqrt(5 + root) + eps);
    const struct {
        ht_update update;
        double first, second;
    } c[] = {{ht_update_of(&ht_adam, rate, b1, b2, eps, 0), adam1, adam2},
             {ht_update_of(&ht_rmsprop, rate, 0, b2, eps, 0), rms1, rms2},
             {ht_update_of(&ht_adagrad, rate, 0, 0, eps, 0), ada1, ada2}};
    for (size_t k = 0; k < sizeof c / sizeof *c; k++) {
        ht_set *theta = ht_set_new(f->ctx), *gradient = ht_set_new(f->ctx);
        ht_tensor *w = ht_set_add(theta, "w", HT_F64, HT_SCALAR);
        ht_tensor *g = ht_set_add(gradient, "w", HT_F64, HT_SCALAR);
        ht_update u = c[k].update;
        u.eps_root = HT_FIXED(root);
        ht_optimizer *o = ht_optimizer_new(theta, &u);
        ht_tensor_fill(g, 2);
        ht_optimizer_step(o, gradient);
        assert_near(ht_tensor_get(w, 0), -c[k].first, 1e-12);
        ht_tensor_fill(g, -1);
        ht_optimizer_step(o, gradient);
        assert_near(ht_tensor_get(w, 0), -c[k].first - c[k].second, 1e-12);
        test_no_error(f->ctx);
        ht_optimizer_free(o);
        ht_set_free(theta);
        ht_set_free(gradient);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(hypergradient_with_eps_root_is_that_of_the_formula),
        CASE(hypergradient_at_no_gradient_is_finite_and_right),
        CASE(optimizer_step_with_eps_root_is_the_closed_form),
    };
    return TEST_MAIN(tests);
}
