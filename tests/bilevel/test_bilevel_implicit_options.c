/* SPDX-License-Identifier: MIT */
/* test_bilevel_implicit_options.c: what an implicit derivative says and takes: options
 * that do not go together, notes, memory, where a run begins. Read next:
 * bilevel/implicit/implicit.c. */
#include "test_stationary.h"

/* A warm run that begins at the end has nothing left to do. */
static void implicit_warm_run_begins_where_the_last_ended(void **state)
{
    (void)state;
    trial t;
    ridge g;
    ridge_open(&t, &g, 12, 8, HT_F64);
    ht_bilevel_options o = {.method = HT_IMPLICIT,
                            .warm = true,
                            .solver = HT_FIXED_POINT,
                            .solver_rate = t.rate};
    ht_bilevel *b = trial_bilevel(&t, o);
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    assert_true(r.inner_steps > 10 && r.solver_steps > 10);
    size_t bytes = r.peak_bytes;
    r = ht_bilevel_run(b, 0);
    assert_int_equal(r.inner_steps, 0);
    assert_int_equal(r.solver_steps, 1);
    assert_int_equal(r.peak_bytes, bytes);
    assert_all(r, "l", g.gradient, 8, 1e-9);
    ht_bilevel_free(b);
    trial_close(&t);
}

/* What is said of a run that is not at its end, or not solved. */
static void implicit_notes_say_what_is_short(void **state)
{
    (void)state;
    trial t;
    ridge g;
    ridge_open(&t, &g, 12, 8, HT_F64);
    t.problem.steps = 3;
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT});
    assert_contains(ht_bilevel_run(b, 0).note, "far from where the training would end");
    ht_bilevel_free(b);
    t.problem.steps = 100000;
    b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT, .solver_steps = 3});
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    assert_contains(r.note, "solver did not reach its tolerance");
    assert_contains(r.note, "solver_steps were too few");
    assert_true(r.solver_residual > 1e-10);
    ht_bilevel_free(b);
    trial_close(&t);
}

static void implicit_a_direction_of_negative_curvature_is_said(void **state)
{
    (void)state;
    trial t;
    blocks q;
    blocks_open(&t, &q, 3, 2);
    ht_tensor_fill(ht_set_tensor(t.problem.inner_data, "a"), 0);
    for (int i = 0; i < 3; i++)
        ht_tensor_set(ht_set_tensor(t.problem.inner_data, "a"), 4 * i, i == 1 ? -1 : 1);
    t.problem.steps = 5;
    ht_bilevel *b =
        trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT, .solver = HT_CG});
    assert_contains(ht_bilevel_run(b, 0).note, "direction of negative curvature");
    ht_bilevel_free(b);
    trial_close(&t);
}

/* What does not go together is refused by both names, and what to do instead. */
static void implicit_bad_pairs_of_options_are_refused(void **state)
{
    (void)state;
    const struct {
        ht_bilevel_options o;
        const char *words;
    } bad[] = {
        {{.method = HT_IMPLICIT, .truncate = 3}, "HT_IMPLICIT, but options.truncate"},
        {{.method = HT_IMPLICIT, .slots = 3}, "HT_IMPLICIT, but options.slots"},
        {{.method = HT_IMPLICIT, .schedule = HT_REVOLVE},
         "HT_IMPLICIT, but options.schedule"},
        {{.method = HT_IMPLICIT, .solver_rate = 1},
         "solver_rate is set, but options.solver is HT_SOLVER_AUTO"},
        {{.method = HT_IMPLICIT, .solver = HT_CG, .rank = 4},
         "rank is set, but options.solver is HT_CG"},
        {{.method = HT_IMPLICIT, .solver = HT_NYSTROM},
         "HT_NYSTROM, which needs options"},
        {{.method = HT_IMPLICIT, .solver = HT_NEUMANN},
         "HT_NEUMANN, which needs options.solver_rate"},
        {{.method = HT_IMPLICIT, .solver = HT_FIXED_POINT},
         "HT_FIXED_POINT, which needs options.solver_rate"},
        {{.method = HT_IMPLICIT, .solver = (ht_solver)9}, "no such solver"},
        {{.method = HT_IMPLICIT, .damping = -1}, "damping (-1)"},
        {{.method = HT_IMPLICIT, .solver_tolerance = 1}, "solver_tolerance (1)"},
        {{.method = HT_ONE_STEP, .truncate = 2}, "HT_ONE_STEP, but options.truncate"},
        {{.method = HT_ONE_STEP, .solver = HT_CG},
         "options.solver is set, but options.method is HT_ONE_STEP"},
        {{.warm = true}, "options.warm is set, but options.method is HT_REVERSE"},
        {{.damping = 1}, "options.damping is set, but options.method is HT_REVERSE"},
        {{.method = HT_FORWARD, .rank = 1},
         "options.rank is set, but options.method is "
         "HT_FORWARD"},
        {{0}, "problem.tolerance is set, but options.method"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        trial t;
        ridge g;
        ridge_open(&t, &g, 5, 3, HT_F64);
        size_t live = t.memory.live;
        if (ht_bilevel_new(t.ctx, &t.problem, &bad[k].o)) fail_msg("%s", bad[k].words);
        assert_contains(ht_context_message(t.ctx), bad[k].words);
        assert_int_equal(t.memory.live, live);
        ht_context_clear(t.ctx);
        trial_close(&t);
    }
    for (int k = 0; k < 2; k++) {
        trial t;
        lasso_open(&t);
        ht_bilevel_options o = {
            .method = HT_IMPLICIT, .solver = k ? HT_CG : HT_NYSTROM, .rank = k ? 0 : 3};
        assert_null(ht_bilevel_new(t.ctx, &t.problem, &o));
        assert_contains(ht_context_message(t.ctx), "but with problem.after");
        ht_context_clear(t.ctx);
        trial_close(&t);
    }
}

/* A budget that is too small says what is enough, to the byte; runs allocate nothing. */
static void implicit_takes_what_it_says(void **state)
{
    (void)state;
    trial t;
    ridge g;
    ridge_open(&t, &g, 9, 5, HT_F64);
    ht_bilevel_options o = {.method = HT_IMPLICIT, .bytes = 1};
    assert_null(ht_bilevel_new(t.ctx, &t.problem, &o));
    const char *words = strstr(ht_context_message(t.ctx), "it needs ");
    assert_non_null(words);
    o.bytes = strtoull(words + 9, NULL, 10) - 1;
    ht_context_clear(t.ctx);
    assert_null(ht_bilevel_new(t.ctx, &t.problem, &o));
    ht_context_clear(t.ctx);
    o.bytes++;
    size_t base = t.memory.live;
    t.memory.peak = base;
    ht_bilevel *b = trial_bilevel(&t, o);
    uint64_t calls = t.memory.calls;
    for (int k = 0; k < 3; k++) ht_bilevel_run(b, 0);
    assert_int_equal(t.memory.calls, calls);
    assert_int_equal(t.memory.peak - base, o.bytes);
    ht_bilevel_free(b);
    trial_close(&t);
}

/* What is explained names the solver and the ways outer variables are seen by. */
static void explain_names_ways_and_those_not_followed(void **state)
{
    (void)state;
    char text[4096] = "";
    trial t;
    lasso_open(&t);
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT});
    FILE *f = tmpfile();
    ht_bilevel_explain(b, f);
    ht_bilevel_free(b);
    t.problem.after = NULL;
    t.problem.tolerance = 0;
    t.problem.steps = 30;
    t.problem.update.rate = HT_OUTER("lambda");
    b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT});
    ht_bilevel_explain(b, f);
    ht_bilevel_free(b);
    b = trial_bilevel(&t, (ht_bilevel_options){.bytes = 1 << 20});
    ht_bilevel_explain(b, f);
    ht_bilevel_free(b);
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    const char *const words[] = {
        "method    HT_IMPLICIT\n",
        "solver    GMRES, of 6 unknowns",
        "the whole step, which may not be symmetric",
        "outer     \"lambda\" by the update rule\n",
        "outer     \"b\" by the inner loss\n",
        "solver    conjugate gradients",
        "by the update rule; not followed: the update rule\n",
        "method    HT_REVERSE, as nothing else was asked for",
        "schedule  store-all, as all states fit the budget: 30 of 30 states",
        "run       30 steps forward, 30 back, ",
        " of a budget of "};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (!strstr(text, words[k])) fail_msg("no \"%s\" in:\n%s", words[k], text);
    trial_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(explain_names_ways_and_those_not_followed),
        cmocka_unit_test(implicit_warm_run_begins_where_the_last_ended),
        cmocka_unit_test(implicit_notes_say_what_is_short),
        cmocka_unit_test(implicit_a_direction_of_negative_curvature_is_said),
        cmocka_unit_test(implicit_bad_pairs_of_options_are_refused),
        cmocka_unit_test(implicit_takes_what_it_says),
    };
    return TEST_MAIN(tests);
}
