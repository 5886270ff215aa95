/* SPDX-License-Identifier: MIT */
/* test_nn_schedule.c: schedules against PyTorch's numbers, as factors in plain training
 * and under derivatives, and what they refuse.
 * Read next: nn/schedule.c, test_nn_update.c. */
#include "ht_bilevel.h"
#include "reference.h"
#include "test_nn.h"

/* The factor at a step, on an eager tape of its own. */
static double factor_at(ht_context *ctx, const ht_scalar *s, int32_t step)
{
    ht_tensor *t = ht_tensor_new(ctx, HT_I32, HT_SCALAR);
    ht_tensor_set(t, 0, step);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_var factor = s->schedule(ht_input(tape, t), s->user);
    double value = ht_context_status(ctx) == HT_OK ? ht_item(factor) : (double)NAN;
    ht_tape_free(tape);
    ht_tensor_free(t);
    return value;
}

static void expect_factor(ht_context *ctx, const char *what, const ht_scalar *s,
                          int32_t step, double want)
{
    double got = factor_at(ctx, s, step);
    test_no_error(ctx);
    if (!(fabs(got - want) <= 1e-12))
        fail_msg("%s, step %d: got %.17g, want %.17g", what, (int)step, got, want);
}

/* What reference/update.py writes: a function, its options, its factors. */
enum { SCHEDULES = 7, SCHEDULE_STEPS = 12 };
typedef struct schedule_reference {
    char name[16];
    ht_schedule_fn schedule;
    ht_rate options;
    double factor[SCHEDULE_STEPS];
} schedule_reference;

static ht_schedule_fn schedule_named(const char *name)
{
    if (!strcmp(name, "constant")) return ht_rate_constant;
    if (!strcmp(name, "step")) return ht_rate_step;
    if (!strcmp(name, "cosine")) return ht_rate_cosine;
    assert_string_equal(name, "one_cycle");
    return ht_rate_one_cycle;
}

static void read_references(schedule_reference to[SCHEDULES])
{
    static reference r;
    int n = 0;
    reference_open(&r, "schedule.txt");
    for (; reference_next(&r); n++) {
        double x[7];
        assert_true(n < SCHEDULES);
        snprintf(to[n].name, sizeof to[n].name, "%s", reference_word(&r));
        to[n].schedule = schedule_named(to[n].name);
        assert_int_equal(reference_numbers(&r, "options", 7, x), 7);
        to[n].options = (ht_rate){.warmup = (int64_t)x[0],
                                  .start = x[1],
                                  .steps = (int64_t)x[2],
                                  .final = x[3],
                                  .every = (int64_t)x[4],
                                  .factor = x[5],
                                  .rise = x[6]};
        assert_int_equal(reference_numbers(&r, "factors", SCHEDULE_STEPS, to[n].factor),
                         SCHEDULE_STEPS);
    }
    assert_int_equal(n, SCHEDULES);
}

static void rate_of_every_schedule_agrees_with_pytorch(void **state)
{
    fixture *f = *state;
    static schedule_reference references[SCHEDULES];
    read_references(references);
    for (int k = 0; k < SCHEDULES; k++) {
        const schedule_reference *r = &references[k];
        const ht_scalar s = {.schedule = r->schedule, .user = &r->options};
        for (int32_t step = 0; step < SCHEDULE_STEPS; step++)
            expect_factor(f->ctx, r->name, &s, step, r->factor[step]);
    }
}

static void rate_after_the_last_step_stays(void **state)
{
    fixture *f = *state;
    const ht_rate cosine = {.warmup = 2, .start = 0.5, .steps = 4, .final = 0.25};
    const ht_rate cycle = {.steps = 6, .start = 0.5, .final = 0.125, .rise = 0.5};
    const ht_scalar a = {.schedule = ht_rate_cosine, .user = &cosine},
                    b = {.schedule = ht_rate_one_cycle, .user = &cycle};
    for (int32_t step = 6; step < 40; step += 11) {
        expect_factor(f->ctx, "cosine", &a, step, 0.25);
        expect_factor(f->ctx, "one cycle", &b, step, 0.125);
    }
    const ht_scalar c = {.schedule = ht_rate_constant, .user = &(ht_rate){0}};
    expect_factor(f->ctx, "constant", &c, 0, 1);
    expect_factor(f->ctx, "constant", &c, 100000, 1);
}

static void rate_of_wrong_options_names_schedule_and_field(void **state)
{
    fixture *f = *state;
    const struct {
        ht_schedule_fn schedule;
        ht_rate options;
        const char *message;
    } wrong[] = {
        {ht_rate_constant, {.warmup = 3}, "ht_rate_constant: start is zero"},
        {ht_rate_constant, {.start = 0.5}, "ht_rate_constant: start is set, but"},
        {ht_rate_constant, {.warmup = -1, .start = 1}, "warmup is negative"},
        {ht_rate_constant, {.steps = 5}, "ht_rate_constant: steps is set, but"},
        {ht_rate_step, {.every = 5}, "ht_rate_step: factor is zero"},
        {ht_rate_step, {.factor = 0.5}, "ht_rate_step: every is zero"},
        {ht_rate_step, {.every = 2, .factor = (double)NAN}, "factor is negative or not"},
        {ht_rate_step, {.every = 2, .factor = 0.1, .final = 1}, "final is set, but"},
        {ht_rate_cosine, {.final = 0.5}, "ht_rate_cosine: steps is zero"},
        {ht_rate_cosine, {.steps = 9, .rise = 0.5}, "ht_rate_cosine: rise is set, but"},
        {ht_rate_cosine, {.steps = 9, .factor = 0.5}, "factor is set, but"},
        {ht_rate_one_cycle, {.steps = 9, .rise = 0.3}, "one_cycle: start is zero"},
        {ht_rate_one_cycle, {.steps = 9, .start = 0.3}, "one_cycle: rise is zero"},
        {ht_rate_one_cycle,
         {.warmup = 2, .steps = 9, .start = 0.3, .rise = 0.3},
         "one_cycle: warmup is set, but"},
        {ht_rate_one_cycle,
         {.steps = 9, .start = 0.3, .rise = 0.1},
         "more than one step, not all"},
        {ht_rate_one_cycle,
         {.steps = 9, .start = 0.3, .rise = 1},
         "more than one step, not all"},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        const ht_scalar s = {.schedule = wrong[k].schedule, .user = &wrong[k].options};
        factor_at(f->ctx, &s, 0);
        test_error(f->ctx, HT_ERROR_ARGUMENT, wrong[k].message);
    }
}

/* 1/(1 + step / user) */
static ht_var hyperbola(ht_var step, const void *user)
{
    const double *scale = user;
    return ht_reciprocal(ht_add(ht_div(ht_cast(step, HT_F32), *scale), 1.0));
}

static ht_var two_numbers(ht_var step, const void *user)
{
    (void)user;
    return ht_broadcast(ht_cast(step, HT_F64), HT_SHAPE(2));
}

/* w -= rate * 1 */
static ht_set *one_weight(ht_context *ctx, double value)
{
    ht_set *set = ht_set_new(ctx);
    ht_tensor_fill(ht_set_add(set, "w", HT_F64, HT_SCALAR), value);
    return set;
}

static void optimizer_step_with_a_schedule_moves_by_its_factor(void **state)
{
    fixture *f = *state;
    const double scale = 4;
    const ht_rate cosine = {.warmup = 3, .start = 0.2, .steps = 9};
    const ht_scalar rates[] = {{0.5, .schedule = ht_rate_cosine, .user = &cosine},
                               {2, .schedule = hyperbola, .user = &scale}};
    for (int k = 0; k < 2; k++) {
        ht_set *theta = one_weight(f->ctx, 0), *gradient = one_weight(f->ctx, 1);
        const ht_update update = {.rule = &ht_sgd, .rate = rates[k]};
        ht_optimizer *optimizer = ht_optimizer_new(theta, &update);
        double w = 0;
        for (int32_t step = 0; step < 15; step++) {
            ht_optimizer_step(optimizer, gradient);
            test_no_error(f->ctx);
            w -= rates[k].value * factor_at(f->ctx, &rates[k], step);
            assert_near(ht_tensor_get(ht_set_at(theta, 0), 0), w, 1e-14);
        }
        ht_optimizer_free(optimizer);
        ht_set_free(theta);
        ht_set_free(gradient);
    }
}

static void optimizer_new_with_a_schedule_of_two_numbers_is_an_error(void **state)
{
    fixture *f = *state;
    ht_set *theta = one_weight(f->ctx, 0);
    ht_update update = {.rule = &ht_sgd, .rate = {1, .schedule = two_numbers}};
    assert_null(ht_optimizer_new(theta, &update));
    test_error(f->ctx, HT_ERROR_SHAPE, "sgd: a schedule gave (2); it must give one");
    update.rate = (ht_scalar){1, .schedule = ht_rate_cosine, .user = &(ht_rate){0}};
    assert_null(ht_optimizer_new(theta, &update));
    test_error(f->ctx, HT_ERROR_ARGUMENT, "ht_rate_cosine: steps is zero");
    ht_set_free(theta);
}

/* Derivatives: inner a w^2 / 2, outer w_T^2 / 2, rate r_t f_t of step t:
 *   w_T = w_0 prod (1 - a r_t f_t),  dF/dr_t = -w_T^2 a f_t / (1 - a r_t f_t) */
enum { T = 12 };
static const double curvature = 0.7;

static ht_var half_square(const ht_vars *theta, double a)
{
    return ht_mul(ht_square(ht_get(theta, "w")), a / 2);
}

static ht_var scheduled_inner(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    (void)eta, (void)batch, (void)user;
    return half_square(theta, curvature);
}

static ht_var scheduled_outer(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    (void)eta, (void)batch, (void)user;
    return half_square(theta, 1);
}

static void bilevel_run_of_a_scheduled_rate_has_the_closed_gradient(void **state)
{
    fixture *f = *state;
    static schedule_reference references[SCHEDULES];
    read_references(references);
    for (int k = 0; k < SCHEDULES; k++) {
        const schedule_reference *r = &references[k];
        ht_set *theta = one_weight(f->ctx, 1.5), *eta = ht_set_new(f->ctx);
        ht_tensor *rate = ht_set_add(eta, "rate", HT_F64, HT_SHAPE(T));
        ht_tensor_uniform(rate, 3, 0.1, 0.4);
        ht_bilevel_problem problem = {
            .inner = scheduled_inner,
            .outer = scheduled_outer,
            .theta = theta,
            .eta = eta,
            .steps = T,
            .update = {
                .rule = &ht_sgd,
                .rate = {.outer = "rate", .schedule = r->schedule, .user = &r->options}}};
        ht_bilevel *bilevel = ht_bilevel_new(f->ctx, &problem, NULL);
        test_no_error(f->ctx);
        ht_bilevel_result result = ht_bilevel_run(bilevel, 0);
        double w = 1.5;
        for (int t = 0; t < T; t++)
            w *= 1 - curvature * ht_tensor_get(rate, t) * r->factor[t];
        assert_near(result.outer, w * w / 2, 1e-14);
        for (int t = 0; t < T; t++) {
            double a = curvature * r->factor[t];
            double want = -w * w * a / (1 - a * ht_tensor_get(rate, t));
            assert_near(ht_tensor_get(ht_set_at(result.gradient, 0), t), want, 1e-13);
        }
        ht_bilevel_free(bilevel);
        ht_set_free(theta);
        ht_set_free(eta);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(rate_of_every_schedule_agrees_with_pytorch),
        CASE(rate_after_the_last_step_stays),
        CASE(rate_of_wrong_options_names_schedule_and_field),
        CASE(optimizer_step_with_a_schedule_moves_by_its_factor),
        CASE(optimizer_new_with_a_schedule_of_two_numbers_is_an_error),
        CASE(bilevel_run_of_a_scheduled_rate_has_the_closed_gradient),
    };
    return TEST_MAIN(tests);
}
