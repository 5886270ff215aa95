/* SPDX-License-Identifier: MIT */
/* test_bilevel_outers.c: many outer losses of one training: each has the bits of a run of
 * its own. Read next: bilevel/unroll/sweep.c. */
#include "test_stationary.h"

enum { OUTERS = 5 };

/* Ridge regression's residuals, squared, on five parts of the rows. */
static ht_var losses(const ht_vars *theta, const ht_vars *batch)
{
    ht_var off =
        ht_sub(ht_matmul(ht_get(batch, "xv"), ht_get(theta, "w")), ht_get(batch, "yv"));
    return ht_mean_axes(ht_reshape(ht_square(off), HT_SHAPE(OUTERS, 3)), HT_AXES(1),
                        false);
}

static ht_var all(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                  void *user)
{
    (void)user;
    return ht_add(losses(theta, batch), ht_mean(ht_get(eta, "l")));
}

static ht_var one(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                  void *user)
{
    const trial *t = user;
    ht_var every = all(theta, eta, batch, user);
    return ht_reshape(ht_slice(every, 0, (int64_t)t->rate, 1, 1), HT_SCALAR);
}

static void scaled_init(const ht_vars *eta, ht_vars *theta, void *user)
{
    (void)user;
    ht_vars_set(theta, "w", ht_mul(ht_get(theta, "w"), ht_exp(ht_get(eta, "l"))));
}

static void outers_open(trial *t, ridge *g, ht_dtype dtype, ht_update update)
{
    ridge_open(t, g, 15, 4, dtype);
    ht_tensor *w = ht_set_tensor(t->problem.theta, "w");
    for (int j = 0; j < 4; j++) ht_tensor_set(w, j, draw());
    t->problem.tolerance = 0;
    t->problem.steps = 9;
    t->problem.init = scaled_init;
    t->problem.update = update;
}

static void assert_part(const ht_set *many, const ht_set *single, int64_t k)
{
    for (int j = 0; j < ht_set_count(single); j++) {
        const ht_tensor *t = ht_set_at(single, j), *all_of = ht_set_at(many, j);
        int64_t n = ht_tensor_count(t);
        assert_int_equal(ht_tensor_shape(all_of).dim[0], OUTERS);
        for (int64_t i = 0; i < n; i++)
            if (ht_tensor_get(all_of, k * n + i) != ht_tensor_get(t, i))
                fail_msg("loss %lld: %.17g, not %.17g", (long long)k,
                         ht_tensor_get(all_of, k * n + i), ht_tensor_get(t, i));
    }
}

static void check_outers(ht_dtype dtype, ht_update update, ht_bilevel_options o)
{
    trial t;
    ridge g;
    outers_open(&t, &g, dtype, update);
    t.problem.outer = all;
    size_t base = t.memory.live;
    t.memory.peak = base;
    ht_bilevel *b = trial_bilevel(&t, o);
    uint64_t calls = t.memory.calls;
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    double sum = 0;
    assert_non_null(r.outers);
    assert_int_equal(t.memory.calls, calls);
    assert_int_equal(t.memory.peak - base, r.predicted_bytes);
    t.problem.outer = one;
    for (int64_t k = 0; k < OUTERS; k++) {
        t.rate = (double)k;
        ht_bilevel *single = trial_bilevel(&t, o);
        ht_bilevel_result s = ht_bilevel_run(single, 0);
        assert_true(s.outer == r.outers[k] && !s.outers);
        sum += s.outer;
        assert_part(r.gradient, s.gradient, k);
        if (s.gradient_theta0) assert_part(r.gradient_theta0, s.gradient_theta0, k);
        ht_bilevel_free(single);
    }
    assert_true(sum == r.outer);
    double each[OUTERS];
    memcpy(each, r.outers, sizeof each);
    r = ht_bilevel_evaluate(b, 0);
    assert_true(r.outer == sum && r.outers && !r.gradient);
    assert_memory_equal(r.outers, each, sizeof each);
    ht_bilevel_free(b);
    trial_close(&t);
}

static void outers_have_the_bits_of_runs_of_their_own(void **state)
{
    (void)state;
    const ht_update rules[] = {HT_SGD(0.02), HT_ADAM(0.05)};
    const ht_bilevel_options by[] = {{0},
                                     {.method = HT_REVERSE_REVERSE},
                                     {.schedule = HT_REVOLVE, .slots = 2},
                                     {.schedule = HT_TWO_LEVEL},
                                     {.truncate = 4},
                                     {.method = HT_ONE_STEP}};
    for (size_t rule = 0; rule < 2; rule++)
        for (size_t k = 0; k < sizeof by / sizeof *by; k++) {
            check_outers(HT_F64, rules[rule], by[k]);
            check_outers(HT_F32, rules[rule], by[k]);
        }
}

/* A budget too small says what is enough, to the byte. */
static void outers_count_in_a_budget(void **state)
{
    (void)state;
    trial t;
    ridge g;
    outers_open(&t, &g, HT_F64, HT_ADAM(0.05));
    t.problem.outer = all;
    ht_bilevel_options o = {.bytes = 1};
    assert_null(ht_bilevel_new(t.ctx, &t.problem, &o));
    const char *words = strstr(ht_context_message(t.ctx), "1 slot needs ");
    o.bytes = strtoull(words + 13, NULL, 10);
    ht_context_clear(t.ctx);
    ht_bilevel *b = trial_bilevel(&t, o);
    assert_int_equal(ht_bilevel_bytes(b), o.bytes);
    ht_bilevel_free(b);
    trial_close(&t);
}

static void outers_are_refused_where_one_is_meant(void **state)
{
    (void)state;
    trial t;
    ridge g;
    outers_open(&t, &g, HT_F64, HT_SGD(0.02));
    t.problem.outer = all;
    const ht_method no[] = {HT_FORWARD, HT_IMPLICIT};
    for (int k = 0; k < 2; k++) {
        ht_bilevel_options o = {.method = no[k]};
        assert_null(ht_bilevel_new(t.ctx, &t.problem, &o));
        assert_contains(ht_context_message(t.ctx), "the outer loss is 5 losses, but");
        ht_context_clear(t.ctx);
    }
    assert_false(ht_bilevel_check(t.ctx, &t.problem, 1, NULL));
    assert_contains(ht_context_message(t.ctx), "5 losses, but one is checked");
    ht_context_clear(t.ctx);
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
    ht_bilevel_minimize(b, &(ht_outer_options){.update = HT_SGD(1), .steps = 1});
    assert_contains(ht_context_message(t.ctx), "5 losses, but one is minimised");
    ht_context_clear(t.ctx);
    assert_null(ht_bilevel_hvp(b, t.problem.eta));
    assert_contains(ht_context_message(t.ctx), "5 losses, but one has a second");
    ht_context_clear(t.ctx);
    ht_bilevel_free(b);
    trial_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outers_have_the_bits_of_runs_of_their_own),
        cmocka_unit_test(outers_count_in_a_budget),
        cmocka_unit_test(outers_are_refused_where_one_is_meant),
    };
    return TEST_MAIN(tests);
}
