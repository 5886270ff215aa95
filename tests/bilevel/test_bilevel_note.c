/* SPDX-License-Identifier: MIT */
/* test_bilevel_note.c: what a result says beside its numbers: truncation, growth of the
 * derivative, and where a value that is not finite began. Read next: bilevel/note.c. */
#include "test_bilevel.h"
#include "test_nn.h"

/* w' = (1 + a) w - lambda from w = scale, by w -= d inner/dw; F = factor w. */
typedef struct line {
    ht_context *ctx;
    ht_set *theta, *eta;
    ht_bilevel_problem problem;
    double a, factor;
} line;

static ht_var line_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    const line *l = user;
    (void)batch;
    ht_var w = ht_get(theta, "w");
    return ht_sub(ht_mul(ht_get(eta, "lambda"), w), ht_mul(ht_square(w), l->a / 2));
}

static ht_var stopped_inner(const ht_vars *theta, const ht_vars *eta,
                            const ht_vars *batch, void *user)
{
    ht_var w = ht_get(theta, "w");
    return ht_add(line_inner(theta, eta, batch, user),
                  ht_mul(ht_stop_gradient(w), ht_mul(w, 0.0)));
}

static ht_var line_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    const line *l = user;
    (void)batch, (void)eta;
    return ht_mul(ht_get(theta, "w"), l->factor);
}

/* Its root is NaN where w < 0, and its slope there. */
static ht_var root_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    (void)batch, (void)eta, (void)user;
    return ht_sqrt(ht_get(theta, "w"));
}

static void line_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "w", ht_get(eta, "scale"));
}

static line line_new(ht_dtype dtype, double a, int64_t steps)
{
    line l = {.a = a, .factor = 1};
    l.ctx = ht_context_new(&(ht_context_options){.threads = 1});
    l.theta = ht_set_new(l.ctx);
    l.eta = ht_set_new(l.ctx);
    ht_set_add(l.theta, "w", dtype, HT_SCALAR);
    ht_set_add(l.eta, "lambda", dtype, HT_SCALAR);
    ht_set_add(l.eta, "scale", dtype, HT_SCALAR);
    l.problem = (ht_bilevel_problem){.inner = line_inner,
                                     .outer = line_outer,
                                     .init = line_init,
                                     .theta = l.theta,
                                     .eta = l.eta,
                                     .steps = steps,
                                     .update = {.rule = &ht_sgd, .rate = HT_FIXED(1)}};
    test_no_error(l.ctx);
    return l;
}

static void line_free(line *l)
{
    ht_set_free(l->theta);
    ht_set_free(l->eta);
    ht_context_free(l->ctx);
}

static ht_bilevel *line_bilevel(line *l, ht_bilevel_options options)
{
    l->problem.user = l;
    ht_bilevel *bilevel = ht_bilevel_new(l->ctx, &l->problem, &options);
    if (!bilevel) fail_msg("%s", ht_context_message(l->ctx));
    return bilevel;
}

static void assert_lacks(const char *text, const char *part)
{
    if (text && strstr(text, part)) fail_msg("\"%s\" contains \"%s\"", text, part);
}

/* The note says this growth, between these states. */
static void assert_growth(line *l, ht_bilevel_options options, double factor,
                          int64_t from, int64_t to)
{
    ht_bilevel *bilevel = line_bilevel(l, options);
    for (int k = 0; k < 2; k++) {
        ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
        double got = 0;
        long long a = -1, b = -1;
        assert_non_null(r.gradient);
        assert_int_equal(r.bad_step, -1);
        const char *said = r.note ? strstr(r.note, "the derivative grows ") : NULL;
        if (!said) fail_msg("no growth in \"%s\"", r.note ? r.note : "(null)");
        print_line(r.note);
        assert_int_equal(sscanf(said,
                                "the derivative grows %lf-fold from step %lld to step "
                                "%lld: the training is unstable",
                                &got, &a, &b),
                         3);
        assert_near(got / factor, 1, 0.06);
        assert_int_equal(a, from);
        assert_int_equal(b, to);
    }
    ht_bilevel_free(bilevel);
}

static void bilevel_run_derivative_that_grows_says_so(void **state)
{
    (void)state;
    line l = line_new(HT_F64, 0.5, 200);
    const double all = pow(1.5, 200), last = pow(1.5, 60);
    assert_growth(&l, (ht_bilevel_options){0}, all, 200, 0);
    assert_growth(&l, (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 3}, all, 200,
                  0);
    assert_growth(&l, (ht_bilevel_options){.method = HT_REVERSE_REVERSE}, all, 200, 0);
    assert_growth(&l, (ht_bilevel_options){.truncate = 60}, last, 200, 140);
    /* lambda has the largest tangent, 1, 1 + 1.5, ...; the first is of scale, 1.5. */
    assert_growth(&l, (ht_bilevel_options){.method = HT_FORWARD}, 2 * all / 1.5, 1, 200);
    assert_growth(&l, (ht_bilevel_options){.method = HT_FORWARD, .truncate = 60},
                  2 * last, 141, 200);
    line_free(&l);
    l = line_new(HT_F32, 1, 21);
    assert_growth(&l, (ht_bilevel_options){0}, pow(2, 21), 21, 0);
    line_free(&l);
}

/* 1.05^200 = 17293; |-1|; 0.5. */
static void bilevel_run_derivative_that_grows_little_says_nothing(void **state)
{
    (void)state;
    const double a[] = {0.05, -2, -0.5, 0};
    for (size_t k = 0; k < sizeof a / sizeof *a; k++) {
        line l = line_new(HT_F64, a[k], 200);
        for (int method = HT_AUTO; method <= HT_FORWARD; method++) {
            ht_bilevel *b =
                line_bilevel(&l, (ht_bilevel_options){.method = (ht_method)method});
            assert_null(ht_bilevel_run(b, 0).note);
            assert_null(ht_bilevel_evaluate(b, 0).note);
            ht_bilevel_free(b);
        }
        line_free(&l);
    }
}

/* As much decay before as growth after: the gradient is small, the note the same. */
static ht_var hill_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    (void)user, (void)batch;
    ht_var w = ht_get(theta, "w"), t = ht_cast(ht_step(theta), HT_F64);
    ht_var late = ht_cast(ht_greater(t, 99.5), HT_F64);
    ht_var a = ht_sub(ht_mul(late, 1.5), 0.5); /* -0.5, then 1: w' = w / 2, then 2 w */
    return ht_sub(ht_mul(ht_get(eta, "lambda"), w), ht_mul(ht_mul(ht_square(w), 0.5), a));
}

static void bilevel_run_derivative_that_grows_on_the_way_says_so(void **state)
{
    (void)state;
    line l = line_new(HT_F64, 0, 200);
    l.problem.inner = hill_inner;
    assert_growth(&l, (ht_bilevel_options){0}, pow(2, 100), 200, 100);
    line_free(&l);
}

static void bilevel_run_truncated_says_biased_and_what_gets_zero(void **state)
{
    (void)state;
    line l = line_new(HT_F64, -0.1, 10);
    const ht_bilevel_options options[] = {
        {.truncate = 4},
        {.method = HT_TRUNCATED, .truncate = 4, .schedule = HT_TWO_LEVEL},
        {.method = HT_REVERSE, .truncate = 4, .schedule = HT_REVOLVE, .slots = 1},
        {.method = HT_REVERSE_REVERSE, .truncate = 4},
        {.method = HT_FORWARD, .truncate = 4}};
    for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
        ht_bilevel *b = line_bilevel(&l, options[k]);
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        assert_non_null(r.note);
        print_line(r.note);
        assert_contains(r.note, "only the last 4 of 10 steps are differentiated");
        assert_contains(r.note, "the gradient is biased");
        assert_contains(r.note, "what init alone uses gets 0: scale");
        assert_lacks(r.note, "lambda");
        assert_near(ht_tensor_get(ht_set_tensor(r.gradient, "scale"), 0), 0, 0);
        assert_near(ht_tensor_get(ht_set_tensor(r.gradient, "lambda"), 0),
                    -(1 - pow(0.9, 4)) / 0.1, 1e-14);
        ht_bilevel_free(b);
    }
    ht_bilevel *b = line_bilevel(&l, (ht_bilevel_options){.truncate = 10});
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    assert_null(r.note);
    assert_near(ht_tensor_get(ht_set_tensor(r.gradient, "scale"), 0), pow(0.9, 10),
                1e-14);
    ht_bilevel_free(b);
    line_free(&l);
}

static ht_var both_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    return ht_add(line_outer(theta, eta, batch, user), ht_square(ht_get(theta, "free")));
}

static void bilevel_run_parameters_that_the_inner_loss_leaves_are_named(void **state)
{
    (void)state;
    line l = line_new(HT_F64, -0.1, 10);
    ht_set_add(l.theta, "free", HT_F64, HT_SCALAR);
    l.problem.outer = both_outer;
    ht_bilevel *b = line_bilevel(&l, (ht_bilevel_options){0});
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    assert_contains(r.note, "does not depend on all of theta: free");
    assert_near(ht_tensor_get(ht_set_tensor(r.gradient, "scale"), 0), pow(0.9, 10),
                1e-14);
    ht_bilevel_free(b);
    line_free(&l);
}

/* All three at once, and the growth gone when the run after has none. */
static void bilevel_run_several_notes_stand_side_by_side(void **state)
{
    (void)state;
    line l = line_new(HT_F64, 0.5, 200);
    l.problem.inner = stopped_inner;
    ht_bilevel *b = line_bilevel(&l, (ht_bilevel_options){.truncate = 100});
    for (int k = 0; k < 3; k++) {
        ht_bilevel_result r = k == 1 ? ht_bilevel_evaluate(b, 0) : ht_bilevel_run(b, 0);
        print_line(r.note);
        assert_contains(r.note, "reverse over reverse: stop_gradient stands in");
        assert_contains(r.note, "symmetric; truncated: only the last 100 of 200 steps");
        assert_contains(r.note, "biased; what init alone uses gets 0: scale");
        if (k == 1)
            assert_lacks(r.note, "grows");
        else
            assert_contains(r.note, "scale; the derivative grows 4.1e+17-fold");
    }
    ht_bilevel_free(b);
    line_free(&l);
}

/* Not finite. */

static const ht_bilevel_options ways[] = {{.schedule = HT_STORE_ALL},
                                          {.schedule = HT_TWO_LEVEL},
                                          {.schedule = HT_REVOLVE, .slots = 2},
                                          {.method = HT_REVERSE_REVERSE},
                                          {.method = HT_FORWARD}};
enum { WAYS = sizeof ways / sizeof *ways };

static ht_bilevel_result assert_bad(ht_bilevel *b, ht_bad_where where, int64_t step)
{
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    printf("# where %d, step %lld, op %s: %s\n", (int)r.bad_where, (long long)r.bad_step,
           r.bad_op ? r.bad_op : "none", r.note ? r.note : "");
    assert_non_null(r.gradient);
    assert_int_equal(r.bad_where, where);
    assert_int_equal(r.bad_step, step);
    assert_non_null(r.bad_op);
    return r;
}

/* At w = 0 the training stays there, while 1.5^k passes f32's 3.4e38 at k = 219. */
static void bilevel_run_overflow_of_the_derivative_alone_is_told(void **state)
{
    (void)state;
    line l = line_new(HT_F32, 0.5, 300);
    for (int k = 0; k < WAYS; k++) {
        ht_bilevel *b = line_bilevel(&l, ways[k]);
        bool forward = ways[k].method == HT_FORWARD;
        /* lambda's tangent is 2 (1.5^k - 1) after k steps, its sum in reverse too. */
        ht_bilevel_result r = assert_bad(b, HT_BAD_DERIVATIVE, forward ? 217 : 300 - 218);
        assert_near(r.outer, 0, 0);
        assert_contains(r.note, "the training is finite, its derivative is not");
        r = ht_bilevel_evaluate(b, 0);
        assert_int_equal(r.bad_where, HT_BAD_NONE);
        assert_int_equal(r.bad_step, -1);
        assert_null(r.note);
        ht_bilevel_free(b);
    }
    line_free(&l);
}

/* 1e10 * 1.5^k passes it at k = 71: in step 70. */
static void bilevel_run_overflow_of_the_training_is_the_trainings(void **state)
{
    (void)state;
    line l = line_new(HT_F32, 0.5, 300);
    ht_tensor_fill(ht_set_tensor(l.eta, "scale"), 1e10);
    int64_t k = 0;
    for (double w = 1e10; w <= 3.4028235e38; w *= 1.5) k++;
    for (int i = 0; i < WAYS; i++) {
        ht_bilevel *b = line_bilevel(&l, ways[i]);
        ht_bilevel_result r = assert_bad(b, HT_BAD_TRAINING, k - 1);
        assert_lacks(r.note, "the training is finite");
        char says[64];
        snprintf(says, sizeof says, "the training is not finite from step %lld on (",
                 (long long)k - 1);
        assert_contains(r.note, says);
        ht_bilevel_free(b);
    }
    line_free(&l);
}

static void bilevel_run_outer_loss_not_finite_is_told(void **state)
{
    (void)state;
    line l = line_new(HT_F64, -0.1, 5);
    ht_tensor_fill(ht_set_tensor(l.eta, "scale"), -1);
    l.problem.outer = root_outer;
    for (int k = 0; k < WAYS; k++) {
        ht_bilevel *b = line_bilevel(&l, ways[k]);
        ht_bilevel_result r = assert_bad(b, HT_BAD_OUTER, 5);
        assert_contains(r.note, "the training is finite, the outer loss or its gradient");
        ht_bilevel_free(b);
    }
    line_free(&l);
}

/* In forward mode the last sum, dF/dw times the tangent, is no op's. */
static void bilevel_run_overflow_of_the_last_sum_is_the_derivatives(void **state)
{
    (void)state;
    line l = line_new(HT_F32, 0.5, 100);
    l.factor = 1e30;
    for (int k = 0; k < WAYS; k++) {
        ht_bilevel *b = line_bilevel(&l, ways[k]);
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        bool forward = ways[k].method == HT_FORWARD;
        assert_int_equal(r.bad_where, HT_BAD_DERIVATIVE);
        /* 1e30 (1 + 1.5 + ... + 1.5^46) is past 3.4e38. */
        assert_int_equal(r.bad_step, forward ? 100 : 99 - 46);
        assert_int_equal(r.bad_op == NULL, forward);
        assert_contains(r.note, "the training is finite");
        ht_bilevel_free(b);
    }
    line_free(&l);
}

static void bilevel_run_forward_mode_has_no_schedule(void **state)
{
    (void)state;
    line l = line_new(HT_F64, -0.1, 10);
    for (int schedule = HT_SCHEDULE_AUTO; schedule <= HT_REVOLVE; schedule++) {
        ht_bilevel *b = line_bilevel(
            &l, (ht_bilevel_options){HT_FORWARD, .schedule = (ht_schedule)schedule});
        assert_int_equal(ht_bilevel_run(b, 0).schedule, HT_SCHEDULE_NONE);
        assert_int_equal(ht_bilevel_evaluate(b, 0).schedule, HT_SCHEDULE_NONE);
        ht_bilevel_free(b);
    }
    ht_bilevel *b = line_bilevel(&l, (ht_bilevel_options){0});
    assert_int_equal(ht_bilevel_run(b, 0).schedule, HT_STORE_ALL);
    ht_bilevel_free(b);
    ht_bilevel_options none = {.schedule = HT_SCHEDULE_NONE};
    assert_null(ht_bilevel_new(l.ctx, &l.problem, &none));
    test_error(l.ctx, HT_ERROR_ARGUMENT, "no such method or schedule");
    line_free(&l);
}

/* A listing has every program that a run replays, and ends with what it takes. */
static void bilevel_print_lists_what_a_run_replays(void **state)
{
    (void)state;
    char text[16384] = "";
    line l = line_new(HT_F64, 0.5, 4);
    l.problem.user = &l;
    ht_bilevel *b = ht_bilevel_new(l.ctx, &l.problem, NULL);
    test_no_error(l.ctx);
    FILE *f = tmpfile();
    ht_bilevel_print(b, f);
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    const char *const words[] = {"--- initial values\n",
                                 "--- initial values, reverse\n",
                                 "--- step\n",
                                 "--- step, reverse\n",
                                 "--- outer loss and its gradient\n",
                                 "lambda",
                                 "blocks of ",
                                 "; predicted peak "};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (!strstr(text, words[k])) fail_msg("no \"%s\" in:\n%s", words[k], text);
    assert_null(strstr(text, "tangent")); /* of methods that were not asked for */
    ht_bilevel_free(b);
    line_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bilevel_run_derivative_that_grows_says_so),
        cmocka_unit_test(bilevel_run_derivative_that_grows_little_says_nothing),
        cmocka_unit_test(bilevel_run_derivative_that_grows_on_the_way_says_so),
        cmocka_unit_test(bilevel_run_truncated_says_biased_and_what_gets_zero),
        cmocka_unit_test(bilevel_run_parameters_that_the_inner_loss_leaves_are_named),
        cmocka_unit_test(bilevel_run_several_notes_stand_side_by_side),
        cmocka_unit_test(bilevel_run_overflow_of_the_derivative_alone_is_told),
        cmocka_unit_test(bilevel_run_overflow_of_the_training_is_the_trainings),
        cmocka_unit_test(bilevel_run_outer_loss_not_finite_is_told),
        cmocka_unit_test(bilevel_run_overflow_of_the_last_sum_is_the_derivatives),
        cmocka_unit_test(bilevel_run_forward_mode_has_no_schedule),
        cmocka_unit_test(bilevel_print_lists_what_a_run_replays),
    };
    return TEST_MAIN(tests);
}
