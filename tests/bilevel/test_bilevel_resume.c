/* SPDX-License-Identifier: MIT */
/* test_bilevel_resume.c: an outer run that is killed and goes on: the same bits, the same
 * log, no more memory. Read next: test_outer.h. */
#include <sys/resource.h>
#include <time.h>

#include "test_outer.h"

enum { STEPS = 40, KILLS = 30, EARLY = 500 };
#define SAVED "resume.safetensors"
#define LOG   "resume.csv"

static void clean(void)
{
    remove(SAVED);
    remove(LOG);
}

typedef struct way {
    bool online, keep_best;
    int64_t every;
    double pause; /* seconds a step, at most */
    ht_bilevel_options o;
} way;

static way at_hand;

static void pause_for(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)(1e9 * (seconds - (double)t.tv_sec));
    nanosleep(&t, NULL);
}

static bool rest(const ht_outer_step *step, void *user)
{
    double part = fmod(0.37 * (double)step->step, 1) * at_hand.pause;
    ht_tensor *seen = ht_set_tensor(((outer *)user)->more, "seen");
    ht_tensor_set(seen, 0, ht_tensor_get(seen, 0) + step->gradient);
    pause_for(part);
    return true;
}

static ht_outer_result run_saved(outer *u, int64_t steps)
{
    ht_outer_result got =
        outer_try(u, .steps = steps, .save = SAVED, .log = LOG, .each = rest,
                  .more = u->more, .online = at_hand.online,
                  .keep_best = at_hand.keep_best, .save_every = at_hand.every);
    test_no_error(u->ctx);
    return got;
}

static void child_runs(void *nothing)
{
    (void)nothing;
    outer u;
    outer_open(&u, HT_F32, at_hand.o);
    run_saved(&u, STEPS);
}

/* Killed after so long, unless it has ended; whether it was. */
static bool killed_after(double seconds)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        child_runs(NULL);
        _exit(0);
    }
    pause_for(seconds);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status);
}

/* The log's rows without times, in `text`; how many. */
static int log_rows(char *text, size_t size)
{
    char row[2048];
    size_t used = 0;
    int rows = 0;
    FILE *f = fopen(LOG, "r");
    assert_non_null(f);
    while (fgets(row, sizeof row, f)) {
        char *end = row;
        for (int column = 0; column < 12 && end; column++) end = strchr(end + 1, ',');
        assert_non_null(end);
        assert_non_null(strchr(end, '\n'));
        *end = 0;
        used += (size_t)snprintf(text + used, size - used, "%s\n", row);
        assert_true(used < size);
        rows++;
    }
    fclose(f);
    return rows;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A number in 0 .. 1 for each of many kills. */
static double random_part(ht_context *ctx, int k)
{
    ht_tensor *x = ht_tensor_new(ctx, HT_F64, HT_SHAPE(1));
    ht_tensor_uniform(x, (uint64_t)k, 0, 1);
    double part = ht_tensor_get(x, 0);
    ht_tensor_free(x);
    return part;
}

static void assert_same_outer(outer *got, outer *want)
{
    assert_same_bits(got->eta, want->eta, "eta");
    assert_same_bits(got->theta, want->theta, "theta");
    assert_same_bits(got->more, want->more, "more");
    if (at_hand.online)
        assert_same_bits(ht_bilevel_state(got->bilevel), ht_bilevel_state(want->bilevel),
                         "state");
}

/* Whether both came before the end; if not, the machine was busier when it was measured
 * how long a run takes. */
static bool killed_twice(double *took, double first, double second)
{
    bool both = killed_after(*took * first) && killed_after(*took * second / 2);
    if (!both) *took *= 0.8;
    return both;
}

static void killed_at_random(way how, int kills)
{
    static char want_log[1 << 16], got_log[1 << 16];
    outer whole;
    test_not_under_valgrind();
    at_hand = how;
    clean();
    outer_open(&whole, HT_F32, how.o);
    double began = now();
    ht_outer_result want = run_saved(&whole, STEPS);
    double took = now() - began;
    assert_int_equal(log_rows(want_log, sizeof want_log), STEPS + 1);
    for (int k = 0; k < kills / 2; k++) {
        outer u;
        do clean();
        while (!killed_twice(&took, random_part(whole.ctx, 2 * k),
                             random_part(whole.ctx, 2 * k + 1)));
        outer_open(&u, HT_F32, how.o);
        ht_outer_result got = run_saved(&u, STEPS);
        assert_same_outer(&u, &whole);
        assert_same_bits(got.best_eta, want.best_eta, "the best eta");
        assert_near(got.best, want.best, 0);
        assert_int_equal(got.best_step, want.best_step);
        assert_int_equal(got.steps, STEPS);
        assert_int_equal(log_rows(got_log, sizeof got_log), STEPS + 1);
        assert_string_equal(got_log, want_log);
        outer_close(&u);
    }
    outer_close(&whole);
    clean();
}

static void minimize_killed_at_30_moments_ends_in_the_same_bits(void **state)
{
    (void)state;
    killed_at_random((way){.pause = 2e-3}, KILLS);
}

static void minimize_online_killed_at_30_moments_ends_in_the_same_bits(void **state)
{
    (void)state;
    killed_at_random((way){.online = true, .keep_best = true, .every = 3, .pause = 2e-3},
                     KILLS);
}

/* Every other method; what a warm run begins from is saved as well. */
static const ht_bilevel_options methods[] = {
    {.method = HT_REVERSE_REVERSE},
    {.method = HT_FORWARD},
    {.truncate = 3},
    {.method = HT_ONE_STEP},
    {.method = HT_FIRST_ORDER},
    {.method = HT_REVERSIBLE},
    {.method = HT_IMPLICIT},
    {.method = HT_IMPLICIT, .solver = HT_GMRES, .warm = true}};
enum { METHODS = sizeof methods / sizeof *methods };

static void minimize_by_every_method_killed_ends_in_the_same_bits(void **state)
{
    (void)state;
    for (int k = 0; k < METHODS; k++)
        killed_at_random((way){.pause = 2e-3, .o = methods[k]},
                         methods[k].warm ? KILLS : 6);
}

/* In sittings of their own, and again when all is done. */
static void minimize_in_sittings_is_as_in_one(void **state)
{
    (void)state;
    outer whole;
    at_hand = (way){.online = true};
    clean();
    outer_open(&whole, HT_F64, (ht_bilevel_options){0});
    run_saved(&whole, STEPS);
    clean();
    for (int64_t steps = 0; steps <= STEPS + 7; steps += 7) {
        outer u;
        outer_open(&u, HT_F64, (ht_bilevel_options){0});
        int64_t upto = steps < STEPS ? steps : STEPS;
        if (upto) {
            ht_outer_result got = run_saved(&u, upto);
            assert_int_equal(got.steps, upto);
            assert_int_equal(got.end, HT_OUTER_STEPS);
        }
        if (upto == STEPS) assert_same_outer(&u, &whole);
        outer_close(&u);
    }
    outer_close(&whole);
    clean();
}

/* Guard and patience go on counting: the same end, at the same step. */
static double never_better(const ht_outer_step *step, void *user)
{
    (void)user;
    return step->step < 3 ? -(double)step->step : 0;
}

static void minimize_goes_on_counting_patience(void **state)
{
    (void)state;
    clean();
    for (int64_t steps = 5; steps <= 60; steps += 5) {
        outer u;
        outer_open(&u, HT_F64, (ht_bilevel_options){0});
        ht_outer_result got = outer_minimize(&u, .steps = steps, .save = SAVED,
                                             .validate = never_better, .patience = 12);
        assert_int_equal(got.steps, steps < 15 ? steps : 15);
        assert_int_equal(got.end, steps < 16 ? HT_OUTER_STEPS : HT_OUTER_PATIENCE);
        assert_int_equal(got.best_step, 2);
        outer_close(&u);
    }
    clean();
}

/* Norms of earlier sittings are those a gradient is held against. */
static void minimize_goes_on_guarding_by_the_norms_of_before(void **state)
{
    (void)state;
    clean();
    for (int64_t steps = 3; steps <= 18; steps += 3) {
        outer u;
        outer_open_with(&u, HT_F64, (ht_bilevel_options){0}, outer_growing);
        ht_outer_result got =
            outer_minimize(&u, .steps = steps, .save = SAVED, .guard = HT_GUARD_CLIP);
        assert_int_equal(got.clipped,
                         steps > 8 ? fmin((double)steps - 8, OUTER_GROWN) : 0);
        outer_close(&u);
    }
    clean();
}

/* Three in a row, however many sittings there are. */
static void minimize_goes_on_counting_what_was_refused(void **state)
{
    (void)state;
    const int64_t steps[] = {1, 2, 9, 9};
    clean();
    for (int k = 0; k < 4; k++) {
        outer u;
        outer_open(&u, HT_F32, (ht_bilevel_options){0});
        ht_tensor_fill(ht_set_tensor(u.eta, "rate"), 1e30);
        ht_outer_result got = outer_minimize(&u, .steps = steps[k], .save = SAVED);
        assert_int_equal(got.steps, k < 3 ? k + 1 : 6); /* tried three times again */
        assert_int_equal(got.end, k < 2 ? HT_OUTER_STEPS : HT_OUTER_GUARD);
        outer_close(&u);
    }
    clean();
}

/* The log. */

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Columns outside quotes. */
static int columns(const char *row)
{
    int n = 1;
    bool quoted = false;
    for (; *row && *row != '\n'; row++) {
        quoted ^= *row == '"';
        n += *row == ',' && !quoted;
    }
    assert_false(quoted);
    return n;
}

/* Refused steps too, whose reason has commas. */
static void minimize_log_has_a_header_and_as_many_columns_in_each_row(void **state)
{
    (void)state;
    char row[2048];
    outer u;
    clean();
    outer_open(&u, HT_F32, (ht_bilevel_options){0});
    ht_tensor_fill(ht_set_tensor(u.eta, "rate"), 1e30);
    u.unprojected = true;
    outer_minimize(&u, .steps = 5, .log = LOG, .validate = never_better);
    FILE *f = fopen(LOG, "r");
    assert_non_null(f);
    assert_non_null(fgets(row, sizeof row, f));
    assert_int_equal(strncmp(row, "step,outer,inner,validation,gradient,", 37), 0);
    int n = columns(row), rows = 0;
    for (; fgets(row, sizeof row, f); rows++) {
        assert_int_equal(columns(row), n);
        assert_int_equal(atoi(row), rows);
        assert_contains(row, ",refused,");
        assert_contains(row, ",\"the inner training is not finite, from step");
    }
    assert_int_equal(rows, 3);
    fclose(f);
    outer_close(&u);
    clean();
}

static void minimize_log_that_is_something_else_is_left_as_it_is(void **state)
{
    (void)state;
    char text[64] = "";
    outer u;
    write_text(LOG, "my thesis\n");
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    ht_outer_result got = outer_try(&u, .steps = 2, .log = LOG);
    assert_int_equal(got.end, HT_OUTER_ERROR);
    assert_contains(got.why, "holds something else");
    ht_context_clear(u.ctx);
    FILE *f = fopen(LOG, "r");
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_string_equal(text, "my thesis\n");
    outer_close(&u);
    clean();
}

/* Refusing. */

static void refused(outer *u, ht_outer_options options, const char *why)
{
    ht_set *eta = ht_set_clone(u->eta, 0), *theta = ht_set_clone(u->theta, 0);
    options.steps = 4;
    options.save = SAVED;
    ht_outer_result got = outer_run(u, options);
    assert_int_equal(got.end, HT_OUTER_ERROR);
    assert_contains(ht_context_message(u->ctx), why);
    assert_contains(got.why, "an error: ");
    ht_context_clear(u->ctx);
    assert_same_bits(u->eta, eta, "eta");
    assert_same_bits(u->theta, theta, "theta");
    ht_set_free(eta);
    ht_set_free(theta);
    outer_close(u);
}

static void minimize_state_of_another_problem_is_refused(void **state)
{
    (void)state;
    outer u;
    clean();
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    outer_minimize(&u, .steps = 2, .save = SAVED);
    outer_close(&u);
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    refused(&u, (ht_outer_options){.update = HT_SGD(0.1)}, "rule.adam");
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    refused(&u, (ht_outer_options){.online = true}, "missing in the file: theta.w");
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    refused(&u, (ht_outer_options){.more = u.more}, "missing in the file: more.seen");
    outer_open(&u, HT_F32, (ht_bilevel_options){0});
    refused(&u, (ht_outer_options){0}, "\"eta.weight\": expected f32 (6), got f64 (6)");
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    ht_bilevel_run(u.bilevel, 0);
    ht_bilevel_commit(u.bilevel);
    refused(&u, (ht_outer_options){0}, "here they go on from 7");
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    ht_bilevel_free(u.bilevel);
    u.problem.steps = 9;
    u.bilevel = ht_bilevel_new(u.ctx, &u.problem, NULL);
    refused(&u, (ht_outer_options){0}, "inner trainings of 7 steps, here they have 9");
    write_text(SAVED, "no state");
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    refused(&u, (ht_outer_options){0}, "header");
    clean();
}

static void minimize_state_of_another_seed_is_refused(void **state)
{
    (void)state;
    outer u;
    clean();
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    outer_minimize(&u, .steps = 2, .save = SAVED);
    outer_close(&u);
    outer_seed = test_seed() + 1;
    outer_open(&u, HT_F64, (ht_bilevel_options){0});
    outer_seed = 0;
    refused(&u, (ht_outer_options){0}, "it would go on with other random numbers");
    clean();
}

/* Memory. */

static long resident(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static long resident_early;
static size_t live_early, live_late;

static bool measure(const ht_outer_step *step, void *user)
{
    live_late = ((outer *)user)->memory.live;
    if (step->step != EARLY) return true;
    resident_early = resident();
    live_early = live_late;
    return true;
}

/* resident() is the most there ever was: later methods may not raise it either. */
static void takes_no_more(ht_bilevel_options o, bool online)
{
    outer u;
    int64_t steps = test_size(10000, EARLY + 100);
    clean();
    outer_open(&u, HT_F32, o);
    ht_outer_result got =
        outer_minimize(&u, .steps = steps, .each = measure, .log = LOG, .save = SAVED,
                       .save_every = 200, .online = online);
    assert_int_equal(got.steps, steps);
    printf("# kB resident: %ld after %d steps, %ld after %lld\n", resident_early, EARLY,
           resident(), (long long)steps);
    assert_true(live_early > 0);
    assert_int_equal(live_late, live_early);
#ifndef __SANITIZE_ADDRESS__ /* it keeps what is freed */
    assert_true(resident() - resident_early <= 128);
#endif
    outer_close(&u);
    clean();
}

static void minimize_10000_steps_take_no_more_memory_than_500(void **state)
{
    (void)state;
    takes_no_more((ht_bilevel_options){0}, true);
    for (int k = 0; k < METHODS; k++) takes_no_more(methods[k], false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minimize_killed_at_30_moments_ends_in_the_same_bits),
        cmocka_unit_test(minimize_online_killed_at_30_moments_ends_in_the_same_bits),
        cmocka_unit_test(minimize_by_every_method_killed_ends_in_the_same_bits),
        cmocka_unit_test(minimize_in_sittings_is_as_in_one),
        cmocka_unit_test(minimize_goes_on_counting_patience),
        cmocka_unit_test(minimize_goes_on_guarding_by_the_norms_of_before),
        cmocka_unit_test(minimize_goes_on_counting_what_was_refused),
        cmocka_unit_test(minimize_log_has_a_header_and_as_many_columns_in_each_row),
        cmocka_unit_test(minimize_log_that_is_something_else_is_left_as_it_is),
        cmocka_unit_test(minimize_state_of_another_problem_is_refused),
        cmocka_unit_test(minimize_state_of_another_seed_is_refused),
        cmocka_unit_test(minimize_10000_steps_take_no_more_memory_than_500),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
