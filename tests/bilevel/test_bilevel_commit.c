/* SPDX-License-Identifier: MIT */
/* test_bilevel_commit.c: windows of a training that follow each other by commit are the
 * one long training, bit for bit, and so are their gradients. Read next:
 * test_bilevel_minimize.c. */
#include "test_bilevel.h"
#include "test_nn.h"

enum { ROWS = 6, WINDOW = 4, WINDOWS = 5, ALL = WINDOW * WINDOWS };

/* A weighted regression with dropout, on batches that are formulas of the step. */
typedef struct commit {
    counted memory;
    ht_context *ctx;
    ht_set *theta, *first, *eta, *batch, *outer;
    ht_bilevel_problem problem;
} commit;

static ht_var residual(const ht_vars *theta, const ht_vars *batch, bool drop)
{
    ht_var h = ht_tanh(ht_matmul(ht_get(batch, "x"), ht_get(theta, "a")));
    if (drop) h = ht_dropout(h, 0.3, 9, ht_step(theta));
    ht_var y = ht_matmul(h, ht_get(theta, "b"));
    return ht_sub(ht_reshape(y, HT_SHAPE(ROWS)), ht_get(batch, "y"));
}

static ht_var inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)user;
    return ht_mean(
        ht_mul(ht_get(eta, "weight"), ht_square(residual(theta, batch, true))));
}

static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)eta, (void)user;
    return ht_mean(ht_square(residual(theta, batch, false)));
}

static void init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "b", ht_mul(ht_get(theta0, "b"), ht_get(eta, "scale")));
}

static ht_status fill(uint64_t step, ht_set *batch, void *user)
{
    (void)user;
    for (int k = 0; k < 2; k++) {
        ht_tensor *t = ht_set_at(batch, k);
        for (int64_t i = 0; i < ht_tensor_count(t); i++)
            ht_tensor_set(t, i, sin(1.7 * (double)i + 3.1 * (double)step + k));
    }
    return HT_OK;
}

static ht_set *batch_new(ht_context *ctx, ht_dtype dtype)
{
    ht_set *set = ht_set_new(ctx);
    ht_set_add(set, "x", dtype, HT_SHAPE(ROWS, 3));
    ht_set_add(set, "y", dtype, HT_SHAPE(ROWS));
    fill(1000, set, NULL);
    return set;
}

static void commit_open(commit *u, ht_dtype dtype, ht_update update)
{
    *u = (commit){0};
    u->ctx = counted_context(&u->memory, 1);
    u->theta = ht_set_new(u->ctx);
    ht_tensor_normal(ht_set_add(u->theta, "a", dtype, HT_SHAPE(3, 5)), 1, 0, 0.5);
    ht_tensor_normal(ht_set_add(u->theta, "b", dtype, HT_SHAPE(5, 1)), 2, 0, 0.5);
    u->first = ht_set_clone(u->theta, 0);
    u->eta = ht_set_new(u->ctx);
    ht_tensor_fill(ht_set_add(u->eta, "weight", dtype, HT_SHAPE(ROWS)), 0.7);
    ht_tensor_fill(ht_set_add(u->eta, "rate", dtype, HT_SHAPE(ALL)), 0.05);
    ht_tensor_fill(ht_set_add(u->eta, "scale", dtype, HT_SCALAR), 1.1);
    u->batch = batch_new(u->ctx, dtype);
    u->outer = batch_new(u->ctx, dtype);
    update.rate = HT_OUTER("rate");
    u->problem = (ht_bilevel_problem){.inner = inner,
                                      .outer = outer,
                                      .init = init,
                                      .theta = u->theta,
                                      .eta = u->eta,
                                      .inner_data = u->batch,
                                      .outer_data = u->outer,
                                      .inner_batch = fill,
                                      .update = update,
                                      .steps = WINDOW,
                                      .horizon = ALL};
}

static ht_bilevel *bilevel_of(commit *u, ht_bilevel_options options)
{
    ht_bilevel *bilevel = ht_bilevel_new(u->ctx, &u->problem, &options);
    test_no_error(u->ctx);
    return bilevel;
}

static void commit_close(commit *u)
{
    ht_set *const set[] = {u->theta, u->first, u->eta, u->batch, u->outer};
    test_no_error(u->ctx);
    for (int k = 0; k < 5; k++) ht_set_free(set[k]);
    ht_context_free(u->ctx);
    assert_int_equal(u->memory.live, 0);
}

/* The training in one run that differentiates its last steps. */
static ht_bilevel *whole_of(commit *u, int64_t steps, ht_bilevel_options options)
{
    if (options.method == HT_AUTO) options.method = HT_TRUNCATED;
    options.truncate = steps > WINDOW ? WINDOW : 0;
    if (!options.truncate && options.method == HT_TRUNCATED) options.method = HT_REVERSE;
    u->problem.steps = steps;
    ht_bilevel *whole = bilevel_of(u, options);
    u->problem.steps = WINDOW;
    return whole;
}

/* Each window's run is the last of a long one: losses, gradients, and where it ends. */
static void assert_windows(ht_dtype dtype, ht_update update, ht_bilevel_options options)
{
    commit u;
    commit_open(&u, dtype, update);
    ht_bilevel *window = bilevel_of(&u, options);
    for (int k = 1; k <= WINDOWS; k++) {
        ht_bilevel_result got = ht_bilevel_run(window, 0);
        ht_set *now = ht_set_clone(u.theta, 0);
        ht_set_copy(u.theta, u.first);
        ht_bilevel *whole = whole_of(&u, k * WINDOW, options);
        ht_bilevel_result want = ht_bilevel_run(whole, 0);
        test_no_error(u.ctx);
        assert_same_bits(got.gradient, want.gradient, "the gradient of a window");
        assert_same_bits(got.theta, want.theta, "where a window ends");
        assert_near(got.outer, want.outer, 0);
        assert_near(got.inner, want.inner, 0);
        assert_int_equal(got.start, (k - 1) * WINDOW);
        ht_bilevel_free(whole);
        ht_set_copy(u.theta, now);
        ht_set_free(now);
        if (k % 2) ht_bilevel_evaluate(window, 0);
        assert_int_equal(ht_bilevel_commit(window), HT_OK);
        assert_int_equal(ht_bilevel_start(window), k * WINDOW);
    }
    ht_bilevel_free(window);
    commit_close(&u);
}

static const ht_bilevel_options ways[] = {
    {.schedule = HT_STORE_ALL},
    {.schedule = HT_TWO_LEVEL},
    {.schedule = HT_REVOLVE, .slots = 1},
    {.method = HT_REVERSE_REVERSE, .schedule = HT_REVOLVE, .slots = 2},
    {.method = HT_FORWARD},
};

static void commit_windows_of_every_rule_are_the_training_bit_for_bit(void **state)
{
    (void)state;
    const ht_update rule[] = {HT_SGD(1),    HT_MOMENTUM(1, 0.9), HT_NESTEROV(1, 0.9),
                              HT_ADAM(1),   HT_ADAMW(1, 0.01),   HT_RMSPROP(1),
                              HT_ADAGRAD(1)};
    for (size_t k = 0; k < sizeof rule / sizeof *rule; k++)
        for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++)
            assert_windows(dtype, rule[k], ways[0]);
}

static void commit_windows_of_every_method_are_truncation_bit_for_bit(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++)
        assert_windows(HT_F64, HT_ADAM(1), ways[k]);
}

/* A window that is itself truncated differentiates less, and ends where others do. */
static void commit_of_a_truncated_window_goes_on_too(void **state)
{
    (void)state;
    commit u;
    commit_open(&u, HT_F64, HT_ADAM(1));
    ht_bilevel *window = bilevel_of(&u, (ht_bilevel_options){.truncate = 2});
    for (int k = 0; k < WINDOWS; k++) {
        ht_bilevel_run(window, 0);
        assert_int_equal(ht_bilevel_commit(window), HT_OK);
    }
    ht_set *end = ht_set_clone(u.theta, 0);
    ht_set_copy(u.theta, u.first);
    ht_bilevel *whole = whole_of(&u, ALL, (ht_bilevel_options){0});
    assert_same_bits(end, ht_bilevel_evaluate(whole, 0).theta, "the end");
    ht_set_free(end);
    ht_bilevel_free(window);
    ht_bilevel_free(whole);
    commit_close(&u);
}

static void commit_state_given_to_another_bilevel_goes_on_bit_for_bit(void **state)
{
    (void)state;
    commit u;
    commit_open(&u, HT_F64, HT_ADAM(1));
    ht_bilevel *first = bilevel_of(&u, (ht_bilevel_options){0});
    assert_null(ht_bilevel_state(first));
    ht_bilevel_run(first, 0);
    assert_int_equal(ht_bilevel_commit(first), HT_OK);
    assert_non_null(ht_bilevel_state(first));
    u.problem.state = ht_bilevel_state(first);
    u.problem.start = ht_bilevel_start(first);
    ht_bilevel *second = bilevel_of(&u, (ht_bilevel_options){0});
    ht_bilevel_result want = ht_bilevel_run(first, 0), got = ht_bilevel_run(second, 0);
    assert_same_bits(got.gradient, want.gradient, "the gradient");
    assert_same_bits(got.gradient_theta0, want.gradient_theta0, "of theta");
    assert_same_bits(got.theta, want.theta, "theta");
    assert_true(ht_bilevel_check(u.ctx, &u.problem, 3, NULL));
    ht_bilevel_free(first);
    ht_bilevel_free(second);
    commit_close(&u);
}

static void commit_ends_what_init_depends_on_and_says_so(void **state)
{
    (void)state;
    commit u;
    commit_open(&u, HT_F64, HT_SGD(1));
    ht_bilevel *window = bilevel_of(&u, (ht_bilevel_options){0});
    ht_bilevel_result r = ht_bilevel_run(window, 0);
    assert_true(ht_tensor_get(ht_set_tensor(r.gradient, "scale"), 0) != 0);
    assert_null(r.note);
    ht_bilevel_commit(window);
    r = ht_bilevel_run(window, 0);
    assert_near(ht_tensor_get(ht_set_tensor(r.gradient, "scale"), 0), 0, 0);
    assert_contains(r.note, "what init alone uses gets 0: scale");
    ht_bilevel_free(window);
    commit_close(&u);
}

static void commit_takes_memory_once_and_as_said(void **state)
{
    (void)state;
    commit u;
    commit_open(&u, HT_F64, HT_ADAM(1));
    size_t base = u.memory.live;
    ht_bilevel *window = bilevel_of(&u, (ht_bilevel_options){0});
    ht_bilevel_run(window, 0);
    ht_bilevel_commit(window);
    uint64_t calls = u.memory.calls;
    for (int k = 1; k < WINDOWS; k++) {
        u.memory.peak = u.memory.live;
        ht_bilevel_result r = ht_bilevel_run(window, 0);
        assert_int_equal(ht_bilevel_commit(window), HT_OK);
        assert_int_equal(u.memory.peak, u.memory.live);
        assert_true(u.memory.peak - base <= r.predicted_bytes);
    }
    assert_int_equal(u.memory.calls, calls);
    ht_bilevel_free(window);
    commit_close(&u);
}

/* Without memory the first commit changes nothing, and may be tried again. */
static void commit_without_memory_changes_nothing(void **state)
{
    (void)state;
    commit u;
    commit_open(&u, HT_F64, HT_ADAM(1));
    ht_bilevel *window = bilevel_of(&u, (ht_bilevel_options){0});
    for (uint64_t after = 1;; after++) {
        ht_bilevel_run(window, 0);
        u.memory.fail_at = u.memory.calls + after;
        ht_status status = ht_bilevel_commit(window);
        u.memory.fail_at = 0;
        if (status == HT_OK) break;
        assert_int_equal(status, HT_ERROR_MEMORY);
        assert_same_bits(u.theta, u.first, "theta");
        assert_int_equal(ht_bilevel_start(window), 0);
        ht_context_clear(u.ctx);
    }
    ht_bilevel_free(window);
    commit_close(&u);
}

static void refused(ht_bilevel *b, commit *u, const char *why)
{
    ht_set *theta = ht_set_clone(u->theta, 0);
    int64_t start = ht_bilevel_start(b);
    assert_int_equal(ht_bilevel_commit(b), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(u->ctx), why);
    ht_context_clear(u->ctx);
    assert_same_bits(u->theta, theta, "theta");
    assert_int_equal(ht_bilevel_start(b), start);
    ht_set_free(theta);
}

static ht_status no_batch(uint64_t step, ht_set *batch, void *user)
{
    return step == 2 && *(bool *)user ? HT_ERROR_FILE : fill(step, batch, user);
}

static void commit_of_no_run_or_a_failed_one_is_refused(void **state)
{
    (void)state;
    commit u;
    bool fails = true;
    commit_open(&u, HT_F64, HT_MOMENTUM(1, 0.9));
    u.problem.inner_batch = no_batch;
    u.problem.user = &fails;
    ht_bilevel *window = bilevel_of(&u, (ht_bilevel_options){0});
    refused(window, &u, "there is no run to commit");
    ht_bilevel_run(window, 0);
    ht_context_clear(u.ctx);
    refused(window, &u, "there is no run to commit");
    fails = false;
    ht_bilevel_run(window, 0);
    assert_int_equal(ht_bilevel_commit(window), HT_OK);
    refused(window, &u, "there is no run to commit");
    ht_bilevel_free(window);
    commit_close(&u);
}

static void commit_of_a_diverged_run_is_refused_and_the_next_is_not(void **state)
{
    (void)state;
    commit u;
    commit_open(&u, HT_F64, HT_MOMENTUM(1, 0.9));
    ht_bilevel *window = bilevel_of(&u, (ht_bilevel_options){0});
    ht_tensor_fill(ht_set_tensor(u.eta, "rate"), 1e200);
    assert_int_equal(ht_bilevel_run(window, 0).bad_where, HT_BAD_TRAINING);
    refused(window, &u, "is not finite (from its step");
    ht_tensor_fill(ht_set_tensor(u.eta, "rate"), 0.05);
    ht_bilevel_run(window, 0);
    assert_int_equal(ht_bilevel_commit(window), HT_OK);
    ht_bilevel_free(window);
    commit_close(&u);
}

static void commit_past_the_horizon_ends_the_next_run(void **state)
{
    (void)state;
    commit u;
    commit_open(&u, HT_F64, HT_SGD(1));
    ht_bilevel *window = bilevel_of(&u, (ht_bilevel_options){0});
    for (int k = 0; k < WINDOWS; k++) {
        ht_bilevel_run(window, 0);
        assert_int_equal(ht_bilevel_commit(window), HT_OK);
    }
    assert_null(ht_bilevel_run(window, 0).gradient);
    assert_contains(ht_context_message(u.ctx), "next run's steps are 20 .. 23, but 20");
    ht_context_clear(u.ctx);
    refused(window, &u, "there is no run to commit");
    ht_bilevel_free(window);
    commit_close(&u);
}

static void new_of_a_state_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    commit u;
    commit_open(&u, HT_F64, HT_ADAM(1));
    const struct {
        int64_t start, horizon;
        const ht_set *from;
        const char *why;
    } wrong[] = {{4, ALL, NULL, "problem.state is NULL"},
                 {4, ALL, u.theta, "no tensor \"a.m\""},
                 {-1, ALL, NULL, "start is -1"},
                 {ALL - WINDOW + 1, ALL, NULL, "below horizon"},
                 {0, WINDOW - 1, NULL, "below horizon"},
                 {INT64_MAX, 0, NULL, "start is 9223372036854775807"}};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        u.problem.start = wrong[k].start;
        u.problem.horizon = wrong[k].horizon;
        u.problem.state = wrong[k].from;
        assert_null(ht_bilevel_new(u.ctx, &u.problem, NULL));
        assert_contains(ht_context_message(u.ctx), wrong[k].why);
        ht_context_clear(u.ctx);
    }
    commit_close(&u);
}

static ht_var squares(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                      void *user)
{
    (void)batch, (void)user;
    return ht_add(ht_l2(theta, NULL), ht_l2(eta, NULL));
}

static void commit_where_theta_is_eta_is_refused(void **state)
{
    (void)state;
    commit u;
    commit_open(&u, HT_F64, HT_SGD(1));
    u.problem = (ht_bilevel_problem){.inner = squares,
                                     .outer = squares,
                                     .theta = u.theta,
                                     .eta = u.theta,
                                     .update = HT_SGD(0.1),
                                     .steps = 2};
    ht_bilevel *window = bilevel_of(&u, (ht_bilevel_options){0});
    ht_bilevel_run(window, 0);
    refused(window, &u, "theta is eta");
    ht_bilevel_free(window);
    commit_close(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commit_windows_of_every_rule_are_the_training_bit_for_bit),
        cmocka_unit_test(commit_windows_of_every_method_are_truncation_bit_for_bit),
        cmocka_unit_test(commit_of_a_truncated_window_goes_on_too),
        cmocka_unit_test(commit_state_given_to_another_bilevel_goes_on_bit_for_bit),
        cmocka_unit_test(commit_ends_what_init_depends_on_and_says_so),
        cmocka_unit_test(commit_takes_memory_once_and_as_said),
        cmocka_unit_test(commit_without_memory_changes_nothing),
        cmocka_unit_test(commit_of_no_run_or_a_failed_one_is_refused),
        cmocka_unit_test(commit_of_a_diverged_run_is_refused_and_the_next_is_not),
        cmocka_unit_test(commit_past_the_horizon_ends_the_next_run),
        cmocka_unit_test(new_of_a_state_that_does_not_fit_is_refused),
        cmocka_unit_test(commit_where_theta_is_eta_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
