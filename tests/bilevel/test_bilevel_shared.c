/* SPDX-License-Identifier: MIT */
/* test_bilevel_shared.c: one set in two places of a problem: as right as two, or refused.
 * Read next: test_bilevel_borrow.c. */
#include "test_borrow.h"

/* What the outer loss sees if only inner_batch fills the set: the last step's batch. */
static ht_status last_inner_batch(uint64_t step, ht_set *batch, void *user)
{
    (void)step, (void)user;
    fill(batch, STEPS - 1);
    return HT_OK;
}

/* Every method and schedule, and budgets that leave auto ever fewer states. */
static const ht_bilevel_options ways[] = {
    {.schedule = HT_STORE_ALL},
    {.schedule = HT_TWO_LEVEL},
    {.schedule = HT_REVOLVE, .slots = 1},
    {.schedule = HT_REVOLVE, .slots = 2},
    {.schedule = HT_REVOLVE, .slots = 3},
    {.schedule = HT_REVOLVE, .slots = STEPS},
    {.method = HT_REVERSE_REVERSE, .schedule = HT_STORE_ALL},
    {.method = HT_REVERSE_REVERSE, .schedule = HT_REVOLVE, .slots = 2},
    {.method = HT_FORWARD},
    {.method = HT_FORWARD, .truncate = 4},
    {.method = HT_TRUNCATED, .truncate = 1},
    {.method = HT_TRUNCATED, .truncate = 4, .schedule = HT_TWO_LEVEL},
    {.method = HT_TRUNCATED, .truncate = 4, .schedule = HT_REVOLVE, .slots = 1},
};
enum { WAYS = sizeof ways / sizeof *ways };

/* The gradient and both losses of the problem as it is, and of the same with sets of
 * their own and this outer batch, in a first and a second run: the same bits. */
static void assert_as_apart(borrow *u, ht_bilevel_options options, ht_batch_fn outer)
{
    ht_bilevel *shared = bilevel_of(u, options);
    u->problem.outer_data = u->other;
    ht_batch_fn own = u->problem.outer_batch;
    u->problem.outer_batch = outer;
    ht_bilevel *apart = bilevel_of(u, options);
    u->problem.outer_data = u->data;
    u->problem.outer_batch = own;
    for (uint64_t k = 0; k < 3; k++) {
        ht_bilevel_result want = ht_bilevel_run(apart, OUTER_STEP + k);
        double outer_want = want.outer, inner_want = want.inner;
        ht_bilevel_result got = ht_bilevel_run(shared, OUTER_STEP + k);
        test_no_error(u->ctx);
        assert_same_bits(got.gradient, want.gradient, "one set");
        assert_near(got.outer, outer_want, 0);
        assert_near(got.inner, inner_want, 0);
        got = ht_bilevel_evaluate(shared, OUTER_STEP + k);
        assert_near(got.outer, outer_want, 0);
    }
    ht_bilevel_free(shared);
    ht_bilevel_free(apart);
}

static void bilevel_run_one_data_set_for_both_is_as_two(void **state)
{
    borrow *u = *state;
    for (int k = 0; k < WAYS; k++) assert_as_apart(u, ways[k], outer_batch);
}

static size_t bytes_of(borrow *u, ht_bilevel_options options)
{
    ht_bilevel *bilevel = bilevel_of(u, options);
    size_t bytes = ht_bilevel_bytes(bilevel);
    ht_bilevel_free(bilevel);
    return bytes;
}

/* Steps enough that states weigh beside the programs. */
static void bilevel_run_one_data_set_within_a_budget_is_as_two(void **state)
{
    borrow *u = *state;
    u->problem.steps = 3000;
    size_t most = bytes_of(u, (ht_bilevel_options){.schedule = HT_STORE_ALL});
    size_t least =
        bytes_of(u, (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 1}) + 2000;
    for (int k = 0; k <= 4; k++) {
        size_t bytes = least + (size_t)(k * k) * (most - least) / 16;
        printf("# %zu bytes of %zu\n", bytes, most);
        assert_as_apart(u, (ht_bilevel_options){.bytes = bytes}, outer_batch);
    }
}

static void bilevel_run_one_data_set_for_both_is_as_differences(void **state)
{
    borrow *u = *state;
    u->bilevel = bilevel_of(u, (ht_bilevel_options){0});
    for (int round = 0; round < 2; round++) {
        ht_set *gradient = ht_set_clone(ht_bilevel_run(u->bilevel, 0).gradient, 0);
        assert_distance(slope_distance(u->bilevel, ht_set_at(u->eta, 0),
                                       ht_set_at(gradient, 0), ROWS, 1e-5),
                        1e-8, "hypergradient, one data set");
        ht_set_free(gradient);
    }
    assert_true(ht_bilevel_check(u->ctx, &u->problem, 3, stdout));
}

/* One more fill a run is all it costs. */
static void bilevel_run_one_data_set_fills_once_more(void **state)
{
    borrow *u = *state;
    for (int apart = 0; apart < 2; apart++) {
        if (apart) u->problem.outer_data = u->other;
        ht_bilevel *b = bilevel_of(u, (ht_bilevel_options){.schedule = HT_STORE_ALL});
        u->inner_fills = u->outer_fills = 0;
        ht_bilevel_run(b, 0);
        assert_int_equal(u->inner_fills, 2 * STEPS - apart);
        assert_int_equal(u->outer_fills, 1);
        ht_bilevel_free(b);
    }
}

static void bilevel_run_inner_batch_alone_outer_sees_the_last_step(void **state)
{
    borrow *u = *state;
    u->problem.outer_batch = NULL;
    for (int k = 0; k < WAYS; k++) assert_as_apart(u, ways[k], last_inner_batch);
    assert_true(ht_bilevel_check(u->ctx, &u->problem, 3, stdout));
}

static void assert_refused(borrow *u, const char *part, const char *another)
{
    size_t live = u->memory.live;
    for (int k = 0; k < WAYS; k++) {
        assert_null(ht_bilevel_new(u->ctx, &u->problem, &ways[k]));
        assert_int_equal(u->memory.live, live);
        assert_contains(ht_context_message(u->ctx), another);
        test_error(u->ctx, HT_ERROR_ARGUMENT, part);
    }
    assert_false(ht_bilevel_check(u->ctx, &u->problem, 3, NULL));
    test_error(u->ctx, HT_ERROR_ARGUMENT, part);
    assert_int_equal(u->memory.live, live);
}

static void bilevel_new_outer_batch_alone_on_a_shared_set_is_refused(void **state)
{
    borrow *u = *state;
    u->problem.inner_batch = NULL;
    assert_refused(u, "outer_batch fills the set that is inner_data too", "hint");
    u->problem.outer_data = u->other;
    u->bilevel = bilevel_of(u, (ht_bilevel_options){0});
    assert_non_null(ht_bilevel_run(u->bilevel, 0).gradient);
}

static void bilevel_new_theta_or_eta_as_data_is_refused(void **state)
{
    borrow *u = *state;
    u->problem.inner = u->problem.outer = free_loss;
    for (int k = 0; k < 16; k++) {
        ht_set *variable = k & 1 ? u->theta : u->eta;
        u->problem.inner_data = k & 2 ? variable : u->data;
        u->problem.outer_data = k & 2 ? u->data : variable;
        u->problem.inner_batch = k & 4 ? inner_batch : NULL;
        u->problem.outer_batch = k & 8 ? outer_batch : NULL;
        char part[64];
        snprintf(part, sizeof part, "%s is the set %s too",
                 k & 2 ? "inner_data" : "outer_data", k & 1 ? "theta" : "eta");
        assert_refused(u, part, "ht_set_clone");
    }
}

/* theta_0 is eta: a move of eta moves it. */
static ht_var self_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                        void *user)
{
    (void)user;
    ht_var far = ht_sub(ht_get(theta, "w"), ht_get(eta, "w"));
    return ht_add(ht_mean(ht_square(residual(theta, batch))),
                  ht_mean(ht_pow(ht_add(far, 0.5), 4)));
}

static void half_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "w", ht_sin(ht_get(eta, "w")));
}

static void bilevel_run_theta_and_eta_one_set_is_as_differences(void **state)
{
    borrow *u = *state;
    ht_coordinate coordinate = {.outer = "w", .kind = HT_LOG};
    u->problem.inner = u->problem.outer = self_loss;
    u->problem.eta = u->theta;
    for (int k = 0; k < 12; k++) {
        const ht_method method[] = {HT_REVERSE, HT_REVERSE_REVERSE, HT_FORWARD};
        u->problem.init = k % 2 ? half_init : NULL;
        u->problem.coordinates = k >= 6 ? &coordinate : NULL;
        u->problem.n_coordinates = k >= 6;
        ht_bilevel *b = bilevel_of(u, (ht_bilevel_options){.method = method[k / 2 % 3]});
        ht_set *gradient = ht_set_clone(ht_bilevel_run(b, 0).gradient, 0);
        assert_distance(
            slope_distance(b, ht_set_at(u->theta, 0), ht_set_at(gradient, 0), 2, 1e-5),
            1e-7, "one set: %s, init %d, log %d",
            method[k / 2 % 3] == HT_FORWARD ? "forward" : "reverse", k % 2, k >= 6);
        ht_set_free(gradient);
        ht_bilevel_free(b);
        assert_true(ht_bilevel_check(u->ctx, &u->problem, 2, NULL));
    }
}

/* A data set is a batch's storage: two bilevels in turn, and values changed between. */
static void bilevel_run_two_that_share_a_data_set_do_not_mix(void **state)
{
    borrow *u = *state;
    ht_bilevel *one = bilevel_of(u, (ht_bilevel_options){0});
    ht_set *want = ht_set_clone(ht_bilevel_run(one, 3).gradient, 0);
    u->problem.steps = 2;
    ht_bilevel *two = bilevel_of(u, (ht_bilevel_options){.method = HT_FORWARD});
    ht_set *other = ht_set_clone(ht_bilevel_run(two, 4).gradient, 0);
    for (int k = 0; k < 3; k++) {
        assert_same_bits(ht_bilevel_run(one, 3).gradient, want, "the first");
        assert_same_bits(ht_bilevel_run(two, 4).gradient, other, "the second");
        fill(u->data, 11 * k);
    }
    ht_bilevel_free(one);
    ht_bilevel_free(two);
    ht_set_free(want);
    ht_set_free(other);
}

/* An outer_batch that trains another bilevel on the inner data, then fills its own. */
static ht_status trains_another(uint64_t step, ht_set *batch, void *user)
{
    borrow *u = user;
    if (!ht_bilevel_run(u->bilevel, step).gradient) return HT_ERROR_ARGUMENT;
    return outer_batch(step, batch, user);
}

static void bilevel_run_another_in_a_callback_on_the_same_data_does_not_mix(void **state)
{
    borrow *u = *state;
    u->problem.outer_data = u->other;
    for (int k = 0; k < WAYS; k++) {
        ht_bilevel *alone = bilevel_of(u, ways[k]);
        u->bilevel = bilevel_of(u, (ht_bilevel_options){.truncate = 2});
        u->problem.outer_batch = trains_another;
        ht_bilevel *beside = bilevel_of(u, ways[k]);
        u->problem.outer_batch = outer_batch;
        ht_set *want = ht_set_clone(ht_bilevel_run(alone, 3).gradient, 0);
        assert_same_bits(ht_bilevel_run(beside, 3).gradient, want, "with another");
        test_no_error(u->ctx);
        ht_set_free(want);
        ht_bilevel_free(alone);
        ht_bilevel_free(beside);
        ht_bilevel_free(u->bilevel);
        u->bilevel = NULL;
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, borrow_new, borrow_free)
    const struct CMUnitTest tests[] = {
        CASE(bilevel_run_one_data_set_for_both_is_as_two),
        CASE(bilevel_run_one_data_set_within_a_budget_is_as_two),
        CASE(bilevel_run_one_data_set_for_both_is_as_differences),
        CASE(bilevel_run_one_data_set_fills_once_more),
        CASE(bilevel_run_inner_batch_alone_outer_sees_the_last_step),
        CASE(bilevel_new_outer_batch_alone_on_a_shared_set_is_refused),
        CASE(bilevel_new_theta_or_eta_as_data_is_refused),
        CASE(bilevel_run_theta_and_eta_one_set_is_as_differences),
        CASE(bilevel_run_two_that_share_a_data_set_do_not_mix),
        CASE(bilevel_run_another_in_a_callback_on_the_same_data_does_not_mix),
    };
    return TEST_MAIN(tests);
}
