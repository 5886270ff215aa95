/* SPDX-License-Identifier: MIT */
/* test_bilevel_mnist.c: hyper-cleaning at small size, real images and f64: softmax
 * regression on 200 images of which half are mislabelled, one weight per image, against
 * 200 clean ones. The hypergradient, the schedules, and the memory they say they need.
 * Read next: test_bilevel_mlp.c. */
#include "test_bilevel.h"

#define N      test_size(200, 24)
#define STEPS  test_size(50, 10)
#define SLOPES ((int)test_size(50, 5))

typedef struct cleaning {
    counted memory;
    ht_context *ctx;
    size_t base; /* bytes of the context itself */
    ht_set *theta, *eta, *train, *validation;
    ht_bilevel_problem problem;
} cleaning;

static int cleaning_new(void **state)
{
    cleaning *c = calloc(1, sizeof *c);
    c->ctx = counted_context(&c->memory, 1);
    c->base = c->memory.live;
    ht_images images = mnist_images(c->ctx);
    c->train = mnist_set(c->ctx, &images, 0, N, HT_F64);
    c->validation = mnist_set(c->ctx, &images, N, N, HT_F64);
    ht_images_free(&images);
    ht_corrupt_labels(c->ctx, 1, 0.5, 10, ht_set_tensor(c->train, "y"), NULL);
    c->theta = ht_set_new(c->ctx);
    ht_linear_init(c->theta, "layer", HT_F64, 784, 10);
    c->eta = ht_set_new(c->ctx);
    ht_tensor_uniform(ht_set_add(c->eta, "lambda", HT_F64, HT_SHAPE(N)), 2, 0.1, 1);
    c->problem = (ht_bilevel_problem){.inner = cleaning_inner,
                                      .outer = cleaning_outer,
                                      .theta = c->theta,
                                      .eta = c->eta,
                                      .inner_data = c->train,
                                      .outer_data = c->validation,
                                      .steps = STEPS,
                                      .update = {.rule = &ht_sgd, .rate = HT_FIXED(0.5)}};
    assert_int_equal(ht_context_status(c->ctx), HT_OK);
    *state = c;
    return 0;
}

static int cleaning_free(void **state)
{
    cleaning *c = *state;
    ht_set_free(c->theta);
    ht_set_free(c->eta);
    ht_set_free(c->train);
    ht_set_free(c->validation);
    assert_int_equal(c->memory.live, c->base);
    ht_context_free(c->ctx);
    assert_int_equal(c->memory.live, 0);
    free(c);
    return 0;
}

static ht_bilevel *cleaning_bilevel(cleaning *c, ht_bilevel_options options)
{
    ht_bilevel *bilevel = ht_bilevel_new(c->ctx, &c->problem, &options);
    if (!bilevel) fail_msg("%s", ht_context_message(c->ctx));
    return bilevel;
}

/* What a run gave, its sets copied, and what the allocator saw of it. */
typedef struct outcome {
    ht_bilevel_result result;
    ht_set *gradient, *gradient_theta0, *theta;
    size_t high_water;
} outcome;

static outcome cleaning_run(cleaning *c, ht_bilevel_options options)
{
    outcome o = {0};
    size_t base = c->memory.live;
    c->memory.peak = base;
    ht_bilevel *bilevel = cleaning_bilevel(c, options);
    o.result = ht_bilevel_run(bilevel, 0);
    o.high_water = c->memory.peak - base;
    assert_int_equal(ht_context_status(c->ctx), HT_OK);
    assert_int_equal(o.result.bad_step, -1);
    assert_int_equal(ht_bilevel_bytes(bilevel), o.result.predicted_bytes);
    o.gradient = ht_set_clone(o.result.gradient, 0);
    o.gradient_theta0 = ht_set_clone(o.result.gradient_theta0, 0);
    o.theta = ht_set_clone(o.result.theta, 0);
    ht_bilevel_free(bilevel);
    return o;
}

static void outcome_free(outcome *o)
{
    ht_set_free(o->gradient);
    ht_set_free(o->gradient_theta0);
    ht_set_free(o->theta);
}

static void outcome_assert_same(const outcome *got, const outcome *want, const char *what)
{
    assert_same_bits(got->gradient, want->gradient, what);
    assert_same_bits(got->gradient_theta0, want->gradient_theta0, what);
    assert_same_bits(got->theta, want->theta, what);
    assert_memory_equal(&got->result.outer, &want->result.outer, sizeof(double));
    assert_memory_equal(&got->result.inner, &want->result.inner, sizeof(double));
}

static void bilevel_run_mnist_weights_match_central_differences(void **state)
{
    cleaning *c = *state;
    ht_bilevel *bilevel = cleaning_bilevel(c, (ht_bilevel_options){0});
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    ht_set *gradient = ht_set_clone(r.gradient, 0);
    ht_set *gradient_theta0 = ht_set_clone(r.gradient_theta0, 0);
    assert_int_equal(r.method, HT_REVERSE);
    assert_distance(slope_distance(bilevel, ht_set_tensor(c->eta, "lambda"),
                                   ht_set_tensor(gradient, "lambda"), SLOPES, 1e-4),
                    1e-6, "weights, against differences");
    assert_distance(slope_distance(bilevel, ht_set_tensor(c->theta, "layer.bias"),
                                   ht_set_tensor(gradient_theta0, "layer.bias"), 10,
                                   1e-3),
                    1e-6, "initial bias, against differences");
    ht_set_free(gradient);
    ht_set_free(gradient_theta0);
    ht_bilevel_free(bilevel);
}

static void bilevel_run_mnist_mixed_mode_equals_reverse_over_reverse(void **state)
{
    cleaning *c = *state;
    outcome mixed = cleaning_run(c, (ht_bilevel_options){.method = HT_REVERSE});
    outcome twice = cleaning_run(c, (ht_bilevel_options){.method = HT_REVERSE_REVERSE});
    assert_int_equal(mixed.result.method, HT_REVERSE);
    assert_int_equal(twice.result.method, HT_REVERSE_REVERSE);
    assert_distance(tensor_distance(ht_set_tensor(mixed.gradient, "lambda"),
                                    ht_set_tensor(twice.gradient, "lambda")),
                    1e-11, "weights, mixed against reverse over reverse");
    for (int i = 0; i < ht_set_count(c->theta); i++)
        assert_distance(tensor_distance(ht_set_at(mixed.gradient_theta0, i),
                                        ht_set_at(twice.gradient_theta0, i)),
                        1e-11, "initial %s, mixed against reverse over reverse",
                        ht_set_name(c->theta, i));
    outcome_free(&mixed);
    outcome_free(&twice);
}

static double binomial(int64_t n, int64_t k)
{
    double value = 1;
    for (int64_t i = 1; i <= k; i++) value = value * (double)(n - k + i) / (double)i;
    return k < 0 ? 0 : nearbyint(value);
}

/* Griewank & Walther 2000: with s slots, and r the least for which C(s+r, s) >= n, a
 * sweep advances r n - C(s+r, r-1) steps before those it reverses; the engine takes the
 * last one too, to reach the outer loss. */
static int64_t binomial_steps(int64_t n, int64_t s)
{
    int64_t r = 0;
    while (binomial(s + r, s) < (double)n) r++;
    return r * n - (int64_t)binomial(s + r, r - 1) + 1;
}

static void bilevel_run_mnist_schedules_equal_store_all_bit_for_bit(void **state)
{
    cleaning *c = *state;
    const int64_t slots[] = {1, 2, 3, 5, 8, 13, STEPS - 1, STEPS, 10 * STEPS};
    outcome want = cleaning_run(c, (ht_bilevel_options){.schedule = HT_STORE_ALL});
    assert_int_equal(want.result.schedule, HT_STORE_ALL);
    assert_int_equal(want.result.forward_steps, STEPS);
    assert_int_equal(want.result.reverse_steps, STEPS);
    outcome got = cleaning_run(c, (ht_bilevel_options){.schedule = HT_TWO_LEVEL});
    outcome_assert_same(&got, &want, "two-level");
    outcome_free(&got);
    for (size_t k = 0; k < sizeof slots / sizeof *slots; k++) {
        char what[32];
        snprintf(what, sizeof what, "revolve, %lld slots", (long long)slots[k]);
        got = cleaning_run(
            c, (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = slots[k]});
        outcome_assert_same(&got, &want, what);
        assert_int_equal(got.result.forward_steps,
                         binomial_steps(STEPS, slots[k] < STEPS ? slots[k] : STEPS));
        assert_int_equal(got.result.reverse_steps, STEPS);
        outcome_free(&got);
    }
    outcome_free(&want);
}

static void assert_within(size_t got, size_t want, double tolerance, const char *what)
{
    printf("# %-36s %zu bytes, %zu seen\n", what, got, want);
    if (fabs((double)got - (double)want) <= tolerance * (double)want) return;
    fail_msg("%s: %zu bytes predicted, the allocator's high water is %zu", what, got,
             want);
}

static void bilevel_bytes_mnist_equal_the_allocators_high_water(void **state)
{
    cleaning *c = *state;
    const struct {
        const char *what;
        ht_bilevel_options options;
    } cases[] = {
        {"store-all", {.schedule = HT_STORE_ALL}},
        {"store-all, reverse over reverse", {.method = HT_REVERSE_REVERSE}},
        {"two-level", {.schedule = HT_TWO_LEVEL}},
        {"revolve, 1 slot", {.schedule = HT_REVOLVE, .slots = 1}},
        {"revolve, 7 slots", {.schedule = HT_REVOLVE, .slots = 7}},
        {"last 10 steps", {.truncate = 10}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        size_t base = c->memory.live;
        c->memory.peak = base;
        ht_bilevel *bilevel = cleaning_bilevel(c, cases[k].options);
        size_t predicted = ht_bilevel_bytes(bilevel);
        ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
        ht_bilevel_run(bilevel, 1);
        assert_within(predicted, c->memory.peak - base, 0.05, cases[k].what);
        assert_int_equal(r.predicted_bytes, predicted);
        assert_int_equal(r.peak_bytes, c->memory.peak - base);
        ht_bilevel_free(bilevel);
        assert_int_equal(c->memory.live, base);
    }
}

/* The four sizes the message offers, smallest first. */
typedef struct offer {
    size_t revolve, two_level, store_all, logged;
} offer;

static offer refused_offer(cleaning *c, ht_bilevel_options options)
{
    offer o = {0};
    size_t base = c->memory.live;
    assert_null(ht_bilevel_new(c->ctx, &c->problem, &options));
    assert_int_equal(c->memory.live, base);
    assert_int_equal(ht_context_status(c->ctx), HT_ERROR_MEMORY);
    const char *message = ht_context_message(c->ctx);
    const char *hint = strstr(message, "revolve with 1 slot needs");
    if (!hint ||
        sscanf(hint, "revolve with 1 slot needs %zu, two-level %zu, store-all %zu (%zu",
               &o.revolve, &o.two_level, &o.store_all, &o.logged) != 4)
        fail_msg("no sizes in \"%s\"", message);
    ht_context_clear(c->ctx);
    return o;
}

/* A budget of exactly `bytes` does, and one byte less does not. */
static void assert_least(cleaning *c, ht_bilevel_options options, size_t bytes,
                         ht_schedule schedule, const outcome *want, const char *what)
{
    options.bytes = bytes;
    outcome o = cleaning_run(c, options);
    printf("# %-24s budget %zu, high water %zu\n", what, bytes, o.high_water);
    assert_true(o.high_water <= bytes);
    assert_true(o.result.peak_bytes <= bytes);
    assert_true(o.result.predicted_bytes <= bytes);
    assert_int_equal(o.result.schedule, schedule);
    assert_within(bytes, o.high_water, 0.05, what);
    outcome_assert_same(&o, want, what);
    outcome_free(&o);
}

static void bilevel_new_budget_too_small_says_what_does(void **state)
{
    cleaning *c = *state;
    outcome want = cleaning_run(c, (ht_bilevel_options){0});
    offer o = refused_offer(c, (ht_bilevel_options){.bytes = 1000});
    assert_true(o.revolve < o.two_level && o.two_level < o.store_all &&
                o.store_all < o.logged);
    ht_bilevel_options any = {0}, two_level = {.schedule = HT_TWO_LEVEL},
                       store_all = {.schedule = HT_STORE_ALL};
    assert_least(c, any, o.revolve, HT_REVOLVE, &want, "revolve, 1 slot");
    assert_least(c, two_level, o.two_level, HT_TWO_LEVEL, &want, "two-level");
    assert_least(c, store_all, o.store_all, HT_STORE_ALL, &want, "store-all");
    assert_least(c, store_all, o.logged, HT_STORE_ALL, &want, "store-all with products");
    any.bytes = o.revolve - 1;
    assert_int_equal(refused_offer(c, any).revolve, o.revolve);
    two_level.bytes = o.two_level - 1;
    assert_int_equal(refused_offer(c, two_level).two_level, o.two_level);
    store_all.bytes = o.store_all - 1;
    assert_int_equal(refused_offer(c, store_all).store_all, o.store_all);
    outcome_free(&want);
}

static void bilevel_new_any_budget_is_honoured(void **state)
{
    cleaning *c = *state;
    outcome want = cleaning_run(c, (ht_bilevel_options){0});
    offer o = refused_offer(c, (ht_bilevel_options){.bytes = 1});
    int64_t steps = INT64_MAX;
    for (int k = 0; k <= 8; k++) {
        ht_bilevel_options options = {.bytes = o.revolve +
                                               (o.logged - o.revolve) / 8 * (size_t)k};
        outcome got = cleaning_run(c, options);
        printf("# budget %zu: high water %zu, %lld forward steps\n", options.bytes,
               got.high_water, (long long)got.result.forward_steps);
        assert_true(got.high_water <= options.bytes);
        assert_true(got.result.forward_steps <= steps);
        steps = got.result.forward_steps;
        outcome_assert_same(&got, &want, "within a budget");
        outcome_free(&got);
    }
    assert_int_equal(steps, STEPS);
    outcome_free(&want);
}

/* Few small states: what recording takes is then most of it. */
static void bilevel_new_one_step_budget_is_honoured(void **state)
{
    cleaning *c = *state;
    c->problem.steps = 1;
    offer o = refused_offer(c, (ht_bilevel_options){.bytes = 1});
    outcome got = cleaning_run(c, (ht_bilevel_options){.bytes = o.revolve});
    printf("# budget %zu: high water %zu\n", o.revolve, got.high_water);
    assert_true(got.high_water <= o.revolve);
    outcome_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bilevel_run_mnist_weights_match_central_differences),
        cmocka_unit_test(bilevel_run_mnist_mixed_mode_equals_reverse_over_reverse),
        cmocka_unit_test(bilevel_run_mnist_schedules_equal_store_all_bit_for_bit),
        cmocka_unit_test(bilevel_bytes_mnist_equal_the_allocators_high_water),
        cmocka_unit_test(bilevel_new_budget_too_small_says_what_does),
        cmocka_unit_test(bilevel_new_any_budget_is_honoured),
        cmocka_unit_test_setup_teardown(bilevel_new_one_step_budget_is_honoured,
                                        cleaning_new, cleaning_free),
    };
    return cmocka_run_group_tests(tests, cleaning_new, cleaning_free);
}
