/* SPDX-License-Identifier: MIT */
/* test_nn_update_bilevel.c: hypergradients through every update rule, by all its scalars
 * and the initial values, with coordinates whose gradient is zero at every step: finite,
 * the same in every mode, and what differences say.
 * Read next: nn/update_rules.c, test_nn_update_outer.c. */
#include "nn_internal.h"
#include "test_bilevel.h"
#include "test_nn.h"

static const ht_update_rule *const rules[] = {&ht_sgd,     &ht_momentum, &ht_nesterov,
                                              &ht_adam,    &ht_adamw,    &ht_rmsprop,
                                              &ht_adagrad, &ht_muon};
enum { N_RULES = sizeof rules / sizeof rules[0], STEPS = 7, N_W = 5 };
/* What is asked for beside what the rule has. */
enum { DECAY = 1, CLIP = 2, CLIP_VALUE = 4, EPS_ROOT = 8 };
static const int asked_for[] = {
    0, DECAY, CLIP, CLIP_VALUE, DECAY | CLIP | CLIP_VALUE, EPS_ROOT, EPS_ROOT | DECAY};
enum { N_ASKED = sizeof asked_for / sizeof asked_for[0] };

/* inner: scale sum_i m_i (sin(w_i) w_i + w_i sum_j m_j w_j / 4), m = (0, 0, 1, 1, 1): the
 * first two never have a gradient. w_0 = start = (0, 0.7, ...), "start" outer variable.
 * outer: sum (w_i - 0.1 i - 0.3)^2 / 2. */
static ht_var masked_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    (void)user;
    ht_var w = ht_mul(ht_get(theta, "w"), ht_get(batch, "mask"));
    ht_var joint = ht_mul(ht_square(ht_sum(w)), 0.25);
    return ht_mul(ht_add(ht_sum(ht_mul(ht_sin(w), w)), joint), ht_get(eta, "scale"));
}

static ht_var masked_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    (void)eta, (void)user;
    return ht_mul(ht_sum(ht_square(ht_sub(ht_get(theta, "w"), ht_get(batch, "goal")))),
                  0.5);
}

static void masked_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "w", ht_get(eta, "start"));
}

typedef struct masked {
    ht_set *theta, *eta, *inner, *outer;
    ht_bilevel_problem problem;
} masked;

static ht_scalar masked_scalar(ht_set *eta, const char *name, double value)
{
    ht_tensor_fill(ht_set_add(eta, name, HT_F64, HT_SCALAR), value);
    return HT_OUTER(name);
}

static void masked_open(masked *m, ht_context *ctx, const ht_update_rule *rule, int asked)
{
    static const double start[N_W] = {0, 0.7, 1.1, -0.8, 0.4};
    *m = (masked){.theta = ht_set_new(ctx),
                  .eta = ht_set_new(ctx),
                  .inner = ht_set_new(ctx),
                  .outer = ht_set_new(ctx)};
    ht_set_add(m->theta, "w", HT_F64, HT_SHAPE(N_W));
    ht_tensor *w = ht_set_add(m->eta, "start", HT_F64, HT_SHAPE(N_W));
    ht_tensor *mask = ht_set_add(m->inner, "mask", HT_F64, HT_SHAPE(N_W));
    ht_tensor *goal = ht_set_add(m->outer, "goal", HT_F64, HT_SHAPE(N_W));
    for (int i = 0; i < N_W; i++) {
        ht_tensor_set(w, i, start[i]);
        ht_tensor_set(mask, i, i >= 2);
        ht_tensor_set(goal, i, 0.1 * i + 0.3);
    }
    ht_update u = {.rule = rule, .rate = masked_scalar(m->eta, "rate", 0.05)};
    masked_scalar(m->eta, "scale", 1.1);
    if (rule->has_momentum) u.momentum = masked_scalar(m->eta, "momentum", 0.8);
    if (rule->has_beta2) u.beta2 = masked_scalar(m->eta, "beta2", 0.9);
    if (rule->has_eps) u.eps = masked_scalar(m->eta, "eps", 0.01);
    if (asked & DECAY) u.decay = masked_scalar(m->eta, "decay", 0.2);
    if (asked & CLIP) u.clip = masked_scalar(m->eta, "clip", 1.9);
    if (asked & CLIP_VALUE) u.clip_value = masked_scalar(m->eta, "clip_value", 1.3);
    if (asked & EPS_ROOT && rule->has_eps)
        u.eps_root = masked_scalar(m->eta, "eps_root", 0.02);
    m->problem = (ht_bilevel_problem){.inner = masked_inner,
                                      .outer = masked_outer,
                                      .init = masked_init,
                                      .theta = m->theta,
                                      .eta = m->eta,
                                      .inner_data = m->inner,
                                      .outer_data = m->outer,
                                      .update = u,
                                      .steps = STEPS};
}

static void masked_close(masked *m)
{
    ht_set_free(m->theta);
    ht_set_free(m->eta);
    ht_set_free(m->inner);
    ht_set_free(m->outer);
}

/* Gradients by all of eta, one after the other; returns how many. */
static int64_t masked_gradient(ht_context *ctx, const masked *m, ht_method method,
                               double *gradient)
{
    ht_bilevel *bilevel =
        ht_bilevel_new(ctx, &m->problem, &(ht_bilevel_options){.method = method});
    test_no_error(ctx);
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    test_no_error(ctx);
    assert_int_equal(r.method, method);
    assert_int_equal(r.bad_step, -1);
    int64_t n = 0;
    for (int j = 0; j < ht_set_count(r.gradient); j++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(r.gradient, j)); k++)
            gradient[n++] = ht_tensor_get(ht_set_at(r.gradient, j), k);
    ht_bilevel_free(bilevel);
    return n;
}

/* Central differences by all of eta; but where decay joins a gradient that is zero with
 * its parameter, sqrt(v) has a kink, and no differences say what the slope is, unless it
 * is sqrt(v + eps_root). */
static void masked_differences(ht_context *ctx, const masked *m, bool kink,
                               const double *gradient, double *slope)
{
    ht_bilevel *bilevel = ht_bilevel_new(ctx, &m->problem, NULL);
    int64_t n = 0;
    for (int j = 0; j < ht_set_count(m->eta); j++) {
        ht_tensor *x = ht_set_at(m->eta, j);
        for (int64_t k = 0; k < ht_tensor_count(x); k++, n++)
            slope[n] = kink && n == 0 ? gradient[n] : outer_slope(bilevel, x, k, 1e-6);
    }
    test_no_error(ctx);
    ht_bilevel_free(bilevel);
}

static void check_masked(ht_context *ctx, const ht_update_rule *rule, int asked)
{
    enum { MOST = 16 };
    double mixed[MOST], twice[MOST], forward[MOST], slope[MOST];
    masked m;
    masked_open(&m, ctx, rule, asked);
    int64_t n = masked_gradient(ctx, &m, HT_REVERSE, mixed);
    assert_int_equal(masked_gradient(ctx, &m, HT_REVERSE_REVERSE, twice), n);
    assert_int_equal(masked_gradient(ctx, &m, HT_FORWARD, forward), n);
    /* The outer variables after the start all decide something, the clips too. */
    for (int64_t k = 0; k < n; k++)
        if (!isfinite(mixed[k]) || (k >= N_W && mixed[k] == 0))
            fail_msg("%s, asked %d: gradient %d is %g", rule->name, asked, (int)k,
                     mixed[k]);
    /* Element 0 is the start of a coordinate that is not moved, w_0 - goal_0 there. */
    if (!(asked & DECAY)) assert_near(mixed[0], -0.3, 1e-15);
    bool kink =
        asked & DECAY && !(asked & EPS_ROOT) && !rule->decays_itself && rule->has_eps;
    masked_differences(ctx, &m, kink, mixed, slope);
    assert_distance(norm_distance(n, mixed, twice), 1e-13, "%s, asked %d: reverse twice",
                    rule->name, asked);
    assert_distance(norm_distance(n, mixed, forward), 1e-13, "%s, asked %d: forward",
                    rule->name, asked);
    assert_distance(norm_distance(n, mixed, slope), 1e-7, "%s, asked %d: differences",
                    rule->name, asked);
    masked_close(&m);
}

static void bilevel_run_with_gradients_always_zero_is_finite_and_right(void **state)
{
    fixture *f = *state;
    for (int r = 0; r < N_RULES; r++)
        for (int k = 0; k < N_ASKED; k++) check_masked(f->ctx, rules[r], asked_for[k]);
}

/* The same where eps is as small as in use. */
static void bilevel_run_with_usual_eps_is_finite(void **state)
{
    fixture *f = *state;
    for (int r = 0; r < N_RULES; r++) {
        double gradient[16];
        masked m;
        if (!rules[r]->has_eps) continue;
        masked_open(&m, f->ctx, rules[r], 0);
        ht_tensor_fill(ht_set_tensor(m.eta, "eps"), 1e-8);
        int64_t n = masked_gradient(f->ctx, &m, HT_REVERSE, gradient);
        for (int64_t k = 0; k < n; k++) assert_true(isfinite(gradient[k]));
        assert_near(gradient[0], -0.3, 1e-15);
        masked_close(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(bilevel_run_with_gradients_always_zero_is_finite_and_right),
        CASE(bilevel_run_with_usual_eps_is_finite),
    };
    return TEST_MAIN(tests);
}
