/* SPDX-License-Identifier: MIT */
/* test_bilevel_borrow.c: sets that a bilevel borrows: one that grows, one that is freed
 * too soon, and what may go once the bilevel is made. Read next: bilevel/bilevel.c. */
#include "test_borrow.h"

static void init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    grow(user, INIT);
    ht_vars_set(theta0, "w", ht_mul(ht_get(theta0, "w"), ht_sum(ht_get(eta, "weight"))));
}

static ht_var schedule(ht_var step, const void *user)
{
    grow((borrow *)(uintptr_t)user, SCHEDULE);
    return ht_div(1.0, ht_add(ht_cast(step, HT_F64), 1.0));
}

/* Growth. */

static const char *const place_text[] = {
    "added since",         "added by inner",       "added by outer",      "added by init",
    "added by a schedule", "added by inner_batch", "added by outer_batch"};
static const char *const role_text[] = {
    "theta has 2 tensors; it had 1", "eta has 2 tensors; it had 1",
    "inner_data has 3 tensors; it had 2", "outer_data has 3 tensors; it had 2"};

/* A set grows in a place: an error that says so, from then on, and nothing lost. */
static void assert_growth_is_an_error(borrow *u, int role, place where,
                                      ht_bilevel_options options)
{
    ht_set **set[] = {&u->theta, &u->eta, &u->data, &u->other};
    ht_set *fresh = ht_set_clone(*set[role], 0);
    u->grows = *set[role];
    u->where = where;
    ht_bilevel *b = ht_bilevel_new(u->ctx, &u->problem, &options);
    assert_int_equal(b == NULL, where >= INNER && where <= SCHEDULE);
    for (int k = 0; b && k < 2; k++) {
        if (where == NOWHERE) grow(u, NOWHERE);
        ht_bilevel_result r = k ? ht_bilevel_evaluate(b, 0) : ht_bilevel_run(b, 0);
        assert_null(r.gradient);
        assert_null(r.gradient_theta0);
        assert_null(r.theta);
        assert_contains(ht_context_message(u->ctx),
                        k ? "added since" : place_text[where]);
        assert_contains(ht_context_message(u->ctx), "ht_bilevel_new was called");
        test_error(u->ctx, HT_ERROR_ARGUMENT, role_text[role]);
    }
    if (!b) {
        assert_contains(ht_context_message(u->ctx), place_text[where]);
        test_error(u->ctx, HT_ERROR_ARGUMENT, role_text[role]);
    }
    ht_bilevel_free(b);
    ht_set_free(*set[role]);
    *set[role] = fresh;
    u->problem.theta = u->theta;
    u->problem.eta = u->eta;
    u->problem.inner_data = u->data;
    u->problem.outer_data = u->other;
}

static void bilevel_set_that_grows_is_an_error(void **state)
{
    borrow *u = *state;
    u->problem.outer_data = u->other;
    u->problem.init = init;
    u->problem.update.rate = (ht_scalar){0.2, .schedule = schedule, .user = u};
    const ht_bilevel_options some[] = {{.method = HT_REVERSE},
                                       {.schedule = HT_REVOLVE, .slots = 1},
                                       {.method = HT_REVERSE_REVERSE},
                                       {.method = HT_FORWARD},
                                       {.truncate = 3}};
    for (size_t k = 0; k < sizeof some / sizeof *some; k++)
        for (int role = 0; role < 4; role++)
            for (int where = NOWHERE; where <= OUTER_BATCH; where++)
                assert_growth_is_an_error(u, role, (place)where, some[k]);
}

static ht_status adds_to_its_batch(uint64_t step, ht_set *batch, void *user)
{
    (void)step, (void)user;
    return ht_set_add(batch, "late", HT_F64, HT_SCALAR) ? HT_OK : HT_ERROR_ARGUMENT;
}

static void bilevel_run_batch_added_to_where_there_is_no_data_is_an_error(void **state)
{
    borrow *u = *state;
    u->problem.inner = u->problem.outer = free_loss;
    u->problem.inner_data = u->problem.outer_data = NULL;
    for (int k = 0; k < 2; k++) {
        u->problem.inner_batch = k ? NULL : adds_to_its_batch;
        u->problem.outer_batch = k ? adds_to_its_batch : NULL;
        ht_bilevel *b = bilevel_of(u, (ht_bilevel_options){0});
        assert_null(ht_bilevel_run(b, 0).gradient);
        test_error(u->ctx, HT_ERROR_ARGUMENT,
                   "the batch of a data set that is NULL in the problem has 1 tensors");
        ht_bilevel_free(b);
    }
    u->problem.inner_data = u->data;
    u->problem.inner_batch = adds_to_its_batch;
    assert_false(ht_bilevel_check(u->ctx, &u->problem, 1, NULL));
    test_error(u->ctx, HT_ERROR_ARGUMENT, "\"late\"");
}

/* Freed too soon. */

static void free_set(void *argument)
{
    ht_set_free(argument);
}

static void free_first(void *argument)
{
    ht_tensor_free(ht_set_at(argument, 0));
}

static void bilevel_outlived_by_a_set_aborts_and_says_what_to_free(void **state)
{
    borrow *u = *state;
    u->problem.outer_data = u->other;
    u->bilevel = bilevel_of(u, (ht_bilevel_options){0});
    ht_bilevel *second = bilevel_of(u, (ht_bilevel_options){.method = HT_FORWARD});
    ht_set *const set[] = {u->theta, u->eta, u->data, u->other};
    const char *const said[] = {"(w) as its theta", "(weight) as its eta",
                                "(x, y) as its inner_data", "(x, y) as its outer_data"};
    for (int k = 0; k < 8; k++) {
        test_aborts(free_set, set[k % 4], said[k % 4]);
        test_aborts(free_set, set[k % 4],
                    "ht_set_free: a live bilevel still borrows this set");
        test_aborts(free_set, set[k % 4], "call ht_bilevel_free first");
        test_aborts(free_first, set[k % 4], "belongs to a set, which frees it");
        if (k == 3) ht_bilevel_free(u->bilevel);
    }
    u->bilevel = second;
    assert_non_null(ht_bilevel_run(second, 0).gradient);
}

static ht_status frees_its_batch(uint64_t step, ht_set *batch, void *user)
{
    (void)step, (void)user;
    ht_set_free(batch);
    return HT_OK;
}

static ht_status frees_the_bilevel(uint64_t step, ht_set *batch, void *user)
{
    (void)step, (void)batch;
    ht_bilevel_free(((borrow *)user)->bilevel);
    return HT_OK;
}

static ht_status runs_the_bilevel(uint64_t step, ht_set *batch, void *user)
{
    (void)step, (void)batch;
    ht_bilevel_evaluate(((borrow *)user)->bilevel, 0);
    return HT_OK;
}

static void run_bilevel(void *argument)
{
    ht_bilevel_run(argument, 0);
}

static void bilevel_run_callback_that_frees_or_runs_it_aborts(void **state)
{
    borrow *u = *state;
    const struct {
        ht_batch_fn batch;
        const char *said;
    } cases[] = {
        {frees_its_batch, "a live bilevel still borrows this set (x, y)"},
        {frees_the_bilevel, "ht_bilevel_free: called by a callback of the bilevel's run"},
        {runs_the_bilevel, "a callback of the bilevel's run runs that bilevel again"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        u->problem.inner_batch = cases[k].batch;
        u->bilevel = bilevel_of(u, (ht_bilevel_options){0});
        test_aborts(run_bilevel, u->bilevel, cases[k].said);
        ht_bilevel_free(u->bilevel);
        u->bilevel = NULL;
    }
}

/* What may go. */

static void *copied(const void *from, size_t bytes)
{
    return memcpy(malloc(bytes), from, bytes);
}

static void wiped(void *memory, size_t bytes)
{
    memset(memory, 0x5a, bytes);
    free(memory);
}

/* The problem, its options, coordinates, groups, their strings and schedules' options are
 * read by ht_bilevel_new alone. */
static void bilevel_run_after_the_problem_is_gone_is_the_same(void **state)
{
    borrow *u = *state;
    ht_set *want = NULL;
    ht_bilevel *bilevel[2];
    for (int k = 0; k < 2; k++) {
        char *outer = copied("weight", 7), *pattern = copied("w*", 3);
        ht_rate *rate = copied(&(ht_rate){.steps = STEPS, .final = 0.1}, sizeof *rate);
        ht_update *own =
            copied(&(ht_update){.rule = &ht_sgd,
                                .rate = {0.2, .schedule = ht_rate_cosine, .user = rate}},
                   sizeof *own);
        ht_update_group *group = copied(&(ht_update_group){pattern, own}, sizeof *group);
        ht_coordinate *c = copied(&(ht_coordinate){outer, HT_LOG, 0, 0}, sizeof *c);
        ht_bilevel_problem *p = copied(&u->problem, sizeof *p);
        ht_bilevel_options *o =
            copied(&(ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 2}, sizeof *o);
        p->update.groups = group;
        p->update.n_groups = p->n_coordinates = 1;
        p->coordinates = c;
        bilevel[k] = ht_bilevel_new(u->ctx, p, o);
        test_no_error(u->ctx);
        if (k == 0) want = ht_set_clone(ht_bilevel_run(bilevel[0], 0).gradient, 0);
        wiped(p, sizeof *p);
        wiped(o, sizeof *o);
        wiped(c, sizeof *c);
        wiped(outer, 7);
        wiped(pattern, 3);
        wiped(own, sizeof *own);
        wiped(group, sizeof *group);
        wiped(rate, sizeof *rate);
    }
    for (int k = 0; k < 4; k++)
        assert_same_bits(ht_bilevel_run(bilevel[k % 2], 0).gradient, want, "all wiped");
    ht_bilevel_free(bilevel[0]);
    ht_bilevel_free(bilevel[1]);
    ht_set_free(want);
}

static void bilevel_result_freed_or_added_to_is_refused(void **state)
{
    borrow *u = *state;
    ht_bilevel *b = ht_bilevel_new(u->ctx, &u->problem, NULL);
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    const ht_set *set[] = {r.gradient, r.gradient_theta0, r.theta};
    for (int k = 0; k < 3; k++) {
        ht_set *mine = (ht_set *)(uintptr_t)set[k];
        test_aborts(free_set, mine, "as its result: call ht_bilevel_free first");
        assert_null(ht_set_add(mine, "more", HT_F64, HT_SCALAR));
        test_error(u->ctx, HT_ERROR_ARGUMENT, "is the result of a bilevel");
    }
    ht_bilevel_free(b);
}

static void coordinate_of_a_range_without_width_is_refused(void **state)
{
    borrow *u = *state;
    static const double bound[][2] = {
        {0, (double)INFINITY}, {-1.7e308, 1.7e308}, {1, 1}, {0, (double)NAN}};
    for (int k = 0; k < 4; k++) {
        ht_coordinate c = {ht_set_name(u->eta, 0), HT_SIGMOID, bound[k][0], bound[k][1]};
        ht_bilevel_problem p = u->problem;
        p.coordinates = &c;
        p.n_coordinates = 1;
        assert_null(ht_bilevel_new(u->ctx, &p, NULL));
        test_error(u->ctx, HT_ERROR_ARGUMENT, "needs low < high, and high - low finite");
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, borrow_new, borrow_free)
    const struct CMUnitTest tests[] = {
        CASE(bilevel_set_that_grows_is_an_error),
        CASE(bilevel_run_batch_added_to_where_there_is_no_data_is_an_error),
        CASE(bilevel_outlived_by_a_set_aborts_and_says_what_to_free),
        CASE(bilevel_run_callback_that_frees_or_runs_it_aborts),
        CASE(bilevel_run_after_the_problem_is_gone_is_the_same),
        CASE(bilevel_result_freed_or_added_to_is_refused),
        CASE(coordinate_of_a_range_without_width_is_refused),
    };
    return TEST_MAIN(tests);
}
