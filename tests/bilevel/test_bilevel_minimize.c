/* SPDX-License-Identifier: MIT */
/* test_bilevel_minimize.c: the outer run: where it goes and ends, what it keeps, logs and
 * refuses. Read next: test_bilevel_resume.c. */
#include "test_outer.h"

/* The loop a user would write. */
static void minimize_is_the_loop_of_run_step_and_project_bit_for_bit(void **state)
{
    (void)state;
    outer u, v;
    outer_open(&u, HT_F32, (ht_bilevel_options){0});
    outer_open(&v, HT_F32, (ht_bilevel_options){0});
    ht_optimizer *adam = ht_optimizer_new(v.eta, &outer_adam);
    double last = 0;
    for (uint64_t k = 0; k < 12; k++) {
        ht_bilevel_result r = ht_bilevel_run(v.bilevel, k);
        last = r.outer;
        ht_optimizer_step(adam, r.gradient);
        outer_project(v.eta, &v);
    }
    ht_outer_result got = outer_minimize(&u, .steps = 12);
    assert_same_bits(u.eta, v.eta, "eta");
    assert_near(got.outer, last, 0);
    assert_int_equal(got.steps, 12);
    assert_int_equal(got.end, HT_OUTER_STEPS);
    assert_contains(got.why, "all 12 steps are done");
    ht_optimizer_free(adam);
    outer_close(&u);
    outer_close(&v);
}

static void minimize_by_every_method_lowers_the_outer_loss(void **state)
{
    (void)state;
    const ht_bilevel_options way[] = {{.method = HT_REVERSE},
                                      {.method = HT_REVERSE_REVERSE},
                                      {.method = HT_FORWARD},
                                      {.method = HT_TRUNCATED, .truncate = 3},
                                      {.schedule = HT_REVOLVE, .slots = 2}};
    for (size_t k = 0; k < 2 * (sizeof way / sizeof *way); k++) {
        outer u;
        outer_open(&u, HT_F64, way[k / 2]);
        double before = ht_bilevel_evaluate(u.bilevel, 0).outer;
        ht_outer_result got = outer_minimize(&u, .steps = 40, .online = k % 2);
        double after = ht_bilevel_evaluate(u.bilevel, 0).outer;
        assert_true(after < 0.9 * before);
        assert_true(got.best < before && got.best_step > 0);
        assert_int_equal(ht_bilevel_start(u.bilevel), k % 2 ? 40 * OUTER_STEPS : 0);
        outer_close(&u);
    }
}

/* What was best is what had it: evaluated again, it gives the same. */
static void minimize_keep_best_ends_at_the_best_eta(void **state)
{
    (void)state;
    outer u;
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    const ht_update wild = {
        .rule = &ht_momentum, .rate = HT_FIXED(3), .momentum = HT_FIXED(0.95)};
    ht_outer_result got =
        outer_minimize(&u, .update = wild, .steps = 30, .keep_best = true);
    assert_same_bits(u.eta, got.best_eta, "eta");
    assert_true(got.best < got.outer);
    assert_near(ht_bilevel_evaluate(u.bilevel, (uint64_t)got.best_step).outer, got.best,
                0);
    outer_close(&u);
}

static void minimize_ends_at_the_tolerance_with_eta_unmoved(void **state)
{
    (void)state;
    outer u;
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    u.remember = true;
    ht_outer_result got =
        outer_minimize(&u, .steps = 900, .tolerance = 0.3, .each = outer_each);
    assert_int_equal(got.end, HT_OUTER_TOLERANCE);
    assert_contains(got.why, "is at most the tolerance, 0.3");
    assert_true(got.steps > 1 && got.steps <= OUTER_SEEN && got.gradient <= 0.3);
    assert_int_equal(u.did[got.steps - 1], HT_OUTER_STAYED);
    double again = ht_bilevel_run(u.bilevel, (uint64_t)got.steps - 1).outer;
    assert_near(again, got.outer, 0);
    outer_close(&u);
}

static double rising(const ht_outer_step *step, void *user)
{
    (void)user;
    return step->step == 3 ? (double)NAN : fabs((double)step->step - 5);
}

static void minimize_patience_counts_from_the_best_of_the_validation(void **state)
{
    (void)state;
    outer u;
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    ht_outer_result got =
        outer_minimize(&u, .steps = 100, .validate = rising, .patience = 4);
    assert_int_equal(got.end, HT_OUTER_PATIENCE);
    assert_contains(got.why, "4 steps brought nothing better than 0 at step 5");
    assert_int_equal(got.steps, 10);
    assert_int_equal(got.best_step, 5);
    assert_near(got.best, 0, 0);
    outer_close(&u);
}

static void minimize_each_stops_after_the_step_it_saw(void **state)
{
    (void)state;
    outer u;
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    u.stop_at = 6;
    ht_outer_result got = outer_minimize(&u, .each = outer_each);
    assert_int_equal(got.end, HT_OUTER_EACH);
    assert_contains(got.why, "each said to stop, after step 6");
    assert_int_equal(got.steps, 7);
    outer_close(&u);
}

static void minimize_windows_are_the_committed_training(void **state)
{
    (void)state;
    outer u, v;
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    outer_open(&v, HT_F64, (ht_bilevel_options){0});
    ht_optimizer *adam = ht_optimizer_new(v.eta, &outer_adam);
    for (uint64_t k = 0; k < 9; k++) {
        ht_bilevel_result r = ht_bilevel_run(v.bilevel, k);
        ht_optimizer_step(adam, r.gradient);
        outer_project(v.eta, &v);
        assert_int_equal(ht_bilevel_commit(v.bilevel), HT_OK);
    }
    outer_minimize(&u, .steps = 9, .online = true);
    assert_same_bits(u.eta, v.eta, "eta");
    assert_same_bits(u.theta, v.theta, "theta");
    assert_same_bits(ht_bilevel_state(u.bilevel), ht_bilevel_state(v.bilevel), "state");
    ht_optimizer_free(adam);
    outer_close(&u);
    outer_close(&v);
}

/* The guard. */

static void minimize_guard_refuses_a_gradient_that_grows(void **state)
{
    (void)state;
    outer u;
    outer_open_with(&u, HT_F64, (ht_bilevel_options){0}, outer_growing);
    u.remember = true;
    ht_outer_result got = outer_minimize(&u, .steps = 20, .each = outer_each);
    assert_int_equal(got.end, HT_OUTER_STEPS);
    assert_int_equal(got.refused, OUTER_GROWN);
    for (int k = 0; k < 20; k++)
        assert_int_equal(u.did[k], k >= 8 && k < 8 + OUTER_GROWN ? HT_OUTER_REFUSED
                                                                 : HT_OUTER_MOVED);
    assert_contains(u.why, "times the median of the last 9");
    outer_close(&u);
}

static void minimize_guard_clips_what_grows_to_a_thousand_times_the_median(void **state)
{
    (void)state;
    outer u;
    outer_open_with(&u, HT_F64, (ht_bilevel_options){0}, outer_growing);
    u.remember = true;
    ht_outer_result got =
        outer_minimize(&u, .steps = 20, .each = outer_each, .guard = HT_GUARD_CLIP);
    assert_int_equal(got.clipped, OUTER_GROWN);
    assert_int_equal(got.refused, 0);
    double sorted[8];
    memcpy(sorted, u.gradient, sizeof sorted);
    for (int i = 1; i < 8; i++)
        for (int k = i; k > 0 && sorted[k - 1] > sorted[k]; k--) {
            double t = sorted[k];
            sorted[k] = sorted[k - 1];
            sorted[k - 1] = t;
        }
    assert_near(u.followed[8], 1000 * sorted[4], 1e-12);
    outer_close(&u);
}

static void minimize_guard_stops_at_the_first_or_follows_all(void **state)
{
    (void)state;
    outer u;
    outer_open_with(&u, HT_F64, (ht_bilevel_options){0}, outer_growing);
    ht_outer_result got = outer_minimize(&u, .steps = 20, .guard = HT_GUARD_STOP);
    assert_int_equal(got.end, HT_OUTER_GUARD);
    assert_int_equal(got.steps, 9);
    assert_contains(got.why, "1 step in a row refused: |gradient|");
    outer_close(&u);
    outer_open_with(&u, HT_F64, (ht_bilevel_options){0}, outer_growing);
    got = outer_minimize(&u, .steps = 20, .guard = HT_GUARD_OFF);
    assert_int_equal(got.end, HT_OUTER_STEPS);
    assert_int_equal(got.refused + got.clipped, 0);
    outer_close(&u);
}

/* A rate past stability: the training is not finite, whatever the guard. */
static void minimize_of_a_diverging_training_ends_and_says_where(void **state)
{
    (void)state;
    for (int guard = HT_GUARD_REFUSE; guard <= HT_GUARD_OFF; guard++)
        for (int online = 0; online < 2; online++) {
            outer u;
            outer_open(&u, HT_F32, (ht_bilevel_options){0});
            ht_set *eta, *theta = ht_set_clone(u.theta, 0);
            ht_tensor_fill(ht_set_tensor(u.eta, "rate"), 1e30);
            eta = ht_set_clone(u.eta, 0);
            u.unprojected = true;
            ht_outer_result got = outer_minimize(&u, .steps = 20, .online = online,
                                                 .guard = (ht_guard)guard);
            assert_int_equal(got.end, HT_OUTER_GUARD);
            assert_int_equal(got.steps, guard == HT_GUARD_STOP ? 1 : 3);
            assert_int_equal(got.refused, got.steps);
            assert_contains(got.why,
                            "in a row refused: the inner training is not finite");
            assert_contains(got.why, "op ");
            assert_true(isinf(got.best) && got.best_step == -1);
            assert_same_bits(u.eta, eta, "eta");
            assert_same_bits(u.theta, theta, "theta");
            ht_set_free(eta);
            ht_set_free(theta);
            outer_close(&u);
        }
}

static bool mends_the_rate(const ht_outer_step *step, void *user)
{
    outer *u = user;
    if (step->step == 0) ht_tensor_fill(ht_set_tensor(u->eta, "rate"), 0.1);
    return true;
}

/* What each run computes is known by the second, unless someone changes something. */
static void minimize_without_batches_ends_where_a_refused_step_repeats(void **state)
{
    (void)state;
    for (int mended = 0; mended < 2; mended++) {
        outer u;
        outer_open(&u, HT_F32, (ht_bilevel_options){0});
        ht_bilevel_free(u.bilevel);
        u.problem.inner_batch = NULL;
        outer_fill(0, u.batch, &u);
        u.bilevel = ht_bilevel_new(u.ctx, &u.problem, NULL);
        test_no_error(u.ctx);
        ht_tensor_fill(ht_set_tensor(u.eta, "rate"), 1e30);
        ht_outer_result got =
            outer_minimize(&u, .steps = 20, .each = mended ? mends_the_rate : NULL);
        assert_int_equal(got.end, mended ? HT_OUTER_STEPS : HT_OUTER_GUARD);
        assert_int_equal(got.steps, mended ? 20 : 2);
        assert_int_equal(got.refused, mended ? 1 : 2);
        assert_contains(got.why, mended ? "all 20 steps are done"
                                        : "refused, run again with the same numbers, ");
        if (!mended) assert_contains(got.why, "the inner training is not finite");
        outer_close(&u);
    }
}

static bool spoils_the_rate(const ht_outer_step *step, void *user)
{
    (void)step;
    ht_tensor_fill(ht_set_tensor(((outer *)user)->eta, "rate"), 1e-4);
    return true;
}

static void minimize_without_a_better_step_says_so(void **state)
{
    (void)state;
    outer u;
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    u.unprojected = true;
    ht_outer_result got =
        outer_minimize(&u, .steps = 3, .each = spoils_the_rate, .keep_best = true);
    assert_int_equal(got.best_step, 0);
    assert_contains(got.why,
                    "all 3 steps are done, and none was better than where it be");
    outer_close(&u);
}

/* Options. */

static void minimize_options_that_cannot_be_meant_are_refused(void **state)
{
    (void)state;
    const struct {
        ht_outer_options o;
        const char *why;
    } wrong[] = {
        {{.steps = 1}, "options.update has no rule"},
        {{.update = {.rule = &ht_sgd}, .steps = 1}, "rate is zero"},
        {{.update = {.rule = &ht_sgd, .rate = HT_FIXED(1), .non_finite = true},
          .steps = 1},
         "update.non_finite is set"},
        {{.update = outer_adam, .steps = -1}, "steps is negative"},
        {{.update = outer_adam}, "neither tolerance, patience nor each"},
        {{.update = outer_adam, .tolerance = -1}, "tolerance is negative"},
        {{.update = outer_adam, .tolerance = (double)NAN}, "tolerance is negative"},
        {{.update = outer_adam, .steps = 1, .patience = -1}, "patience is negative"},
        {{.update = outer_adam, .steps = 1, .save_every = -1}, "save_every is negative"},
        {{.update = outer_adam, .steps = 1, .save_every = 5}, "save, the path, is NULL"},
        {{.update = outer_adam, .steps = 1, .save = "x", .log = "x"},
         "log and save are one file"},
        {{.update = outer_adam, .steps = 1, .guard = (ht_guard)9}, "guard is none of"},
        {{.update = outer_adam, .steps = 1, .log = "no/such/folder"}, "cannot be opened"},
        {{.update = outer_adam, .steps = 1, .save = "no/such/folder"},
         "cannot be created"},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        outer u;
        outer_open(&u, HT_F64, (ht_bilevel_options){0});
        ht_set *eta = ht_set_clone(u.eta, 0);
        ht_outer_result got = ht_bilevel_minimize(u.bilevel, &wrong[k].o);
        assert_int_equal(got.end, HT_OUTER_ERROR);
        assert_contains(ht_context_message(u.ctx), wrong[k].why);
        assert_contains(got.why, wrong[k].why);
        assert_int_equal(got.steps, 0);
        ht_context_clear(u.ctx);
        assert_same_bits(u.eta, eta, "eta");
        ht_set_free(eta);
        outer_close(&u);
    }
}

static double gives_nan(const ht_outer_step *step, void *user)
{
    (void)step;
    (void)user;
    return (double)NAN;
}

static void minimize_without_a_finite_number_says_so(void **state)
{
    (void)state;
    outer u;
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    ht_outer_result got =
        outer_minimize(&u, .steps = 5, .patience = 2, .validate = gives_nan);
    assert_int_equal(got.end, HT_OUTER_PATIENCE);
    assert_string_equal(got.why, "2 steps gave no finite value to judge by");
    ht_tensor_set(ht_set_at(u.eta, 0), 0, -(double)INFINITY);
    got = outer_run(&u, (ht_outer_options){.steps = 5});
    assert_int_equal(got.steps, 0);
    assert_contains(got.why, "is not finite: element 0 is -inf");
    ht_context_clear(u.ctx);
    outer_close(&u);
}

static void minimize_without_memory_says_so_and_leaks_nothing(void **state)
{
    (void)state;
    for (uint64_t fail = 1;; fail++) {
        outer u;
        outer_open(&u, HT_F64, (ht_bilevel_options){0});
        remove("minimize.safetensors");
        u.memory.fail_at = u.memory.calls + fail;
        ht_outer_result got =
            outer_try(&u, .steps = 2, .online = true, .save = "minimize.safetensors");
        u.memory.fail_at = 0;
        if (got.end != HT_OUTER_ERROR) {
            printf("# %llu allocations\n", (unsigned long long)fail - 1);
            outer_close(&u);
            break;
        }
        assert_int_equal(ht_context_status(u.ctx), HT_ERROR_MEMORY);
        assert_contains(got.why, "error");
        ht_context_clear(u.ctx);
        outer_close(&u);
    }
    remove("minimize.safetensors");
}

static void minimize_takes_no_memory_a_step(void **state)
{
    (void)state;
    outer u;
    outer_open(&u, HT_F32, (ht_bilevel_options){0});
    u.stop_at = INT64_MAX;
    outer_minimize(&u, .steps = 3, .online = true, .each = outer_each,
                   .log = "memory.csv");
    remove("memory.csv");
    u.count_from = 3;
    outer_minimize(&u, .steps = 200, .online = true, .each = outer_each,
                   .log = "memory.csv");
    assert_true(u.calls_after > 0);
    assert_int_equal(u.calls_after, u.calls_before);
    remove("memory.csv");
    outer_close(&u);
}

static bool each_minimizes(const ht_outer_step *step, void *user)
{
    (void)step;
    outer_try(user, .steps = 1);
    return true;
}

static double validate_runs(const ht_outer_step *step, void *user)
{
    (void)step;
    return ht_bilevel_evaluate(((outer *)user)->bilevel, 0).outer;
}

static void nested(void *nothing)
{
    outer u;
    (void)nothing;
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    outer_try(&u, .steps = 1, .each = each_minimizes);
}

static void reruns(void *nothing)
{
    outer u;
    (void)nothing;
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    outer_try(&u, .steps = 1, .validate = validate_runs);
}

static void minimize_in_a_callback_of_its_own_aborts(void **state)
{
    (void)state;
    test_not_under_valgrind();
    test_aborts(nested, NULL, "called by a callback of the same bilevel");
    test_aborts(reruns, NULL, "runs that bilevel again");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minimize_is_the_loop_of_run_step_and_project_bit_for_bit),
        cmocka_unit_test(minimize_by_every_method_lowers_the_outer_loss),
        cmocka_unit_test(minimize_keep_best_ends_at_the_best_eta),
        cmocka_unit_test(minimize_ends_at_the_tolerance_with_eta_unmoved),
        cmocka_unit_test(minimize_patience_counts_from_the_best_of_the_validation),
        cmocka_unit_test(minimize_each_stops_after_the_step_it_saw),
        cmocka_unit_test(minimize_windows_are_the_committed_training),
        cmocka_unit_test(minimize_guard_refuses_a_gradient_that_grows),
        cmocka_unit_test(minimize_guard_clips_what_grows_to_a_thousand_times_the_median),
        cmocka_unit_test(minimize_guard_stops_at_the_first_or_follows_all),
        cmocka_unit_test(minimize_of_a_diverging_training_ends_and_says_where),
        cmocka_unit_test(minimize_without_batches_ends_where_a_refused_step_repeats),
        cmocka_unit_test(minimize_without_a_better_step_says_so),
        cmocka_unit_test(minimize_options_that_cannot_be_meant_are_refused),
        cmocka_unit_test(minimize_without_a_finite_number_says_so),
        cmocka_unit_test(minimize_without_memory_says_so_and_leaks_nothing),
        cmocka_unit_test(minimize_takes_no_memory_a_step),
        cmocka_unit_test(minimize_in_a_callback_of_its_own_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
