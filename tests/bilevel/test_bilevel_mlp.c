/* SPDX-License-Identifier: MIT */
/* test_bilevel_mlp.c: a 784-32-10 tanh network on 200 real images, f64, trained by every
 * rule, with everything outer in one call: weights, rates, momenta, penalties, initial
 * values. Also minibatches, clipping, truncation and the fallback. Read next:
 * test_bilevel_memory.c. */
#include "bilevel_internal.h"
#include "test_bilevel.h"

enum { TENSORS = 4, BATCH = 40 };
#define N     test_size(200, 48)
#define STEPS test_size(50, 20)

typedef struct network {
    ht_context *ctx;
    size_t live; /* bytes of the context itself */
    ht_images images;
    ht_set *theta, *eta, *train, *validation;
    ht_bilevel_problem problem;
    uint64_t fills, shift; /* of the minibatches: how many, and the number of step 0 */
} network;

static ht_var network_logits(const ht_vars *theta, const ht_vars *batch)
{
    ht_var hidden = ht_tanh(ht_linear(ht_get(batch, "x"), theta, "hidden"));
    return ht_linear(hidden, theta, "out");
}

static ht_var network_outer(const ht_vars *theta, const ht_vars *eta,
                            const ht_vars *batch, void *user)
{
    (void)eta, (void)user;
    return ht_mean(ht_cross_entropy(network_logits(theta, batch), ht_get(batch, "y")));
}

/* Weighted cross-entropy alone. */
static ht_var network_weighted(const ht_vars *theta, const ht_vars *eta,
                               const ht_vars *batch, void *user)
{
    (void)user;
    ht_var loss = ht_cross_entropy(network_logits(theta, batch), ht_get(batch, "y"));
    return ht_mean(ht_mul(ht_get(eta, "lambda"), loss));
}

static ht_var network_penalised(const ht_vars *theta, const ht_vars *eta,
                                const ht_vars *batch, void *user)
{
    ht_var squares = ht_add(ht_sum(ht_square(ht_get(theta, "hidden.weight"))),
                            ht_sum(ht_square(ht_get(theta, "out.weight"))));
    return ht_add(network_weighted(theta, eta, batch, user),
                  ht_mul(ht_get(eta, "penalty"), squares));
}

/* The last layer's initial weights are an outer variable, scaled. */
static void network_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "out.weight", ht_mul(ht_get(eta, "start"), 0.5));
}

static int network_new(void **state)
{
    network *w = calloc(1, sizeof *w);
    w->ctx = ht_context_new(&(ht_context_options){.seed = test_seed(), .threads = 1});
    w->live = ht_context_live_bytes(w->ctx);
    w->images = mnist_images(w->ctx);
    w->train = mnist_set(w->ctx, &w->images, 0, N, HT_F64);
    w->validation = mnist_set(w->ctx, &w->images, N, N, HT_F64);
    ht_corrupt_labels(w->ctx, 1, 0.5, 10, ht_set_tensor(w->train, "y"), NULL);
    w->theta = ht_set_new(w->ctx);
    ht_linear_init(w->theta, "hidden", HT_F64, 784, 32);
    ht_linear_init(w->theta, "out", HT_F64, 32, 10);
    w->eta = ht_set_new(w->ctx);
    ht_tensor_uniform(ht_set_add(w->eta, "lambda", HT_F64, HT_SHAPE(N)), 2, 0.1, 1);
    w->problem = (ht_bilevel_problem){.inner = network_weighted,
                                      .outer = network_outer,
                                      .theta = w->theta,
                                      .eta = w->eta,
                                      .inner_data = w->train,
                                      .outer_data = w->validation,
                                      .steps = STEPS,
                                      .user = w};
    assert_int_equal(ht_context_status(w->ctx), HT_OK);
    *state = w;
    return 0;
}

static int network_free(void **state)
{
    network *w = *state;
    ht_images_free(&w->images);
    ht_set_free(w->theta);
    ht_set_free(w->eta);
    ht_set_free(w->train);
    ht_set_free(w->validation);
    assert_int_equal(ht_context_live_bytes(w->ctx), w->live);
    ht_context_free(w->ctx);
    free(w);
    return 0;
}

static void network_outer_scalar(network *w, const char *name, double value)
{
    ht_tensor_fill(ht_set_add(w->eta, name, HT_F64, HT_SCALAR), value);
}

/* Everything outer: weights, rates by step, penalties in loss and update, the last
 * layer's initial weights; the rule's own numbers are the caller's. */
static void network_everything(network *w, double rate)
{
    ht_tensor_uniform(ht_set_add(w->eta, "rate", HT_F64, HT_SHAPE(STEPS)), 3, 0.8 * rate,
                      1.2 * rate);
    network_outer_scalar(w, "penalty", 1e-3);
    network_outer_scalar(w, "decay", 2e-3);
    ht_tensor_normal(ht_set_add(w->eta, "start", HT_F64, HT_SHAPE(32, 10)), 4, 0, 0.3);
    w->problem.inner = network_penalised;
    w->problem.init = network_init;
    w->problem.update.rate = HT_OUTER("rate");
    w->problem.update.decay = HT_OUTER("decay");
}

static void network_momentum(network *w)
{
    w->problem.update = (ht_update){.rule = &ht_momentum, .momentum = HT_OUTER("beta1")};
    network_outer_scalar(w, "beta1", 0.8);
    network_everything(w, 0.1);
}

/* eps is large enough to matter. */
static void network_adam(network *w)
{
    w->problem.update = (ht_update){.rule = &ht_adam,
                                    .momentum = HT_OUTER("beta1"),
                                    .beta2 = HT_OUTER("beta2"),
                                    .eps = HT_OUTER("eps")};
    network_outer_scalar(w, "beta1", 0.85);
    network_outer_scalar(w, "beta2", 0.95);
    network_outer_scalar(w, "eps", 1e-2);
    network_everything(w, 0.01);
}

typedef struct outcome {
    ht_bilevel_result result;
    ht_set *gradient, *gradient_theta0, *theta;
    char note[256];
} outcome;

static ht_bilevel *network_bilevel(network *w, ht_bilevel_options options)
{
    ht_bilevel *bilevel = ht_bilevel_new(w->ctx, &w->problem, &options);
    if (!bilevel) fail_msg("%s", ht_context_message(w->ctx));
    return bilevel;
}

static outcome outcome_of(ht_bilevel *bilevel)
{
    outcome o = {.result = ht_bilevel_run(bilevel, 0)};
    assert_int_equal(o.result.bad_step, -1);
    o.gradient = ht_set_clone(o.result.gradient, 0);
    if (o.result.gradient_theta0)
        o.gradient_theta0 = ht_set_clone(o.result.gradient_theta0, 0);
    o.theta = ht_set_clone(o.result.theta, 0);
    if (o.result.note) snprintf(o.note, sizeof o.note, "%s", o.result.note);
    return o;
}

static outcome network_run(network *w, ht_bilevel_options options)
{
    ht_bilevel *bilevel = network_bilevel(w, options);
    outcome o = outcome_of(bilevel);
    ht_bilevel_free(bilevel);
    return o;
}

static void outcome_free(outcome *o)
{
    ht_set_free(o->gradient);
    ht_set_free(o->gradient_theta0);
    ht_set_free(o->theta);
}

/* A step of differences suited to how large the variable is. */
static double network_difference(const char *name)
{
    if (!strcmp(name, "lambda") || !strcmp(name, "start")) return 2e-5;
    if (!strcmp(name, "beta1") || !strcmp(name, "beta2")) return 5e-6;
    return 5e-6;
}

static void network_assert_slope(ht_bilevel *bilevel, ht_tensor *x,
                                 const ht_tensor *gradient, double h, const char *name)
{
    enum { MOST = 10 };
    int64_t n = ht_tensor_count(x) < MOST ? ht_tensor_count(x) : MOST;
    assert_distance(slope_distance(bilevel, x, gradient, n, h), 1e-6,
                    "%s, against differences", name);
}

/* Each outer variable at up to 10 random elements. */
static void network_assert_slopes(network *w)
{
    ht_bilevel *bilevel = network_bilevel(w, (ht_bilevel_options){0});
    outcome o = outcome_of(bilevel);
    for (int j = 0; j < ht_set_count(w->eta); j++) {
        const char *name = ht_set_name(w->eta, j);
        network_assert_slope(bilevel, ht_set_at(w->eta, j), ht_set_at(o.gradient, j),
                             network_difference(name), name);
    }
    outcome_free(&o);
    ht_bilevel_free(bilevel);
}

/* The same of each initial parameter that init leaves alone. */
static void network_assert_initial_slopes(network *w)
{
    ht_bilevel *bilevel = network_bilevel(w, (ht_bilevel_options){0});
    outcome o = outcome_of(bilevel);
    for (int i = 0; i < TENSORS; i++) {
        const char *name = ht_set_name(w->theta, i);
        if (w->problem.init && !strcmp(name, "out.weight")) continue;
        network_assert_slope(bilevel, ht_set_at(w->theta, i),
                             ht_set_at(o.gradient_theta0, i), 2e-5, name);
    }
    outcome_free(&o);
    ht_bilevel_free(bilevel);
}

static void network_assert_same(const outcome *got, const outcome *want, const char *what)
{
    assert_same_bits(got->gradient, want->gradient, what);
    assert_same_bits(got->theta, want->theta, what);
    assert_memory_equal(&got->result.outer, &want->result.outer, sizeof(double));
    assert_true(!got->gradient_theta0 == !want->gradient_theta0);
    if (want->gradient_theta0)
        assert_same_bits(got->gradient_theta0, want->gradient_theta0, what);
}

/* Every schedule, with these steps truncated, has the bits of store-all. */
static void network_assert_schedules(network *w, int64_t truncate)
{
    const ht_bilevel_options options[] = {
        {.schedule = HT_TWO_LEVEL, .truncate = truncate},
        {.schedule = HT_REVOLVE, .slots = 1, .truncate = truncate},
        {.schedule = HT_REVOLVE, .slots = 4, .truncate = truncate},
        {.schedule = HT_REVOLVE, .slots = 9, .truncate = truncate}};
    outcome want = network_run(
        w, (ht_bilevel_options){.schedule = HT_STORE_ALL, .truncate = truncate});
    for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
        outcome got = network_run(w, options[k]);
        network_assert_same(&got, &want, "another schedule than store-all");
        assert_true(got.result.forward_steps > STEPS);
        outcome_free(&got);
    }
    outcome_free(&want);
}

/* Mixed mode against reverse over reverse. */
static void network_assert_modes(network *w)
{
    outcome mixed = network_run(w, (ht_bilevel_options){.method = HT_REVERSE});
    outcome twice = network_run(w, (ht_bilevel_options){.method = HT_REVERSE_REVERSE});
    assert_int_equal(mixed.result.method, HT_REVERSE);
    assert_int_equal(twice.result.method, HT_REVERSE_REVERSE);
    for (int j = 0; j < ht_set_count(w->eta); j++)
        assert_distance(
            tensor_distance(ht_set_at(mixed.gradient, j), ht_set_at(twice.gradient, j)),
            1e-11, "%s, mixed against reverse over reverse", ht_set_name(w->eta, j));
    for (int i = 0; i < TENSORS; i++)
        assert_distance(tensor_distance(ht_set_at(mixed.gradient_theta0, i),
                                        ht_set_at(twice.gradient_theta0, i)),
                        1e-11, "initial %s, mixed against reverse over reverse",
                        ht_set_name(w->theta, i));
    outcome_free(&mixed);
    outcome_free(&twice);
}

static void bilevel_run_mlp_momentum_matches_central_differences(void **state)
{
    network_momentum(*state);
    network_assert_slopes(*state);
    network_assert_initial_slopes(*state);
}

static void bilevel_run_mlp_adam_matches_central_differences(void **state)
{
    network_adam(*state);
    network_assert_slopes(*state);
    network_assert_initial_slopes(*state);
}

static void bilevel_run_mlp_momentum_mixed_mode_equals_reverse_over_reverse(void **state)
{
    network_momentum(*state);
    network_assert_modes(*state);
}

static void bilevel_run_mlp_adam_mixed_mode_equals_reverse_over_reverse(void **state)
{
    network_adam(*state);
    network_assert_modes(*state);
}

static void bilevel_run_mlp_schedules_equal_store_all_bit_for_bit(void **state)
{
    network *w = *state;
    network_adam(w);
    network_assert_schedules(w, 0);
}

/* Within these options' bytes, foretold to the byte, with the bits of `want`; returns how
 * many products are kept. */
static int network_assert_budget(network *w, ht_bilevel_options o, const outcome *want)
{
    ht_bilevel *bilevel = network_bilevel(w, o);
    outcome got = outcome_of(bilevel);
    int kept = bilevel->programs.n_kept;
    network_assert_same(&got, want, "within a budget");
    assert_true(got.result.peak_bytes <= o.bytes);
    assert_int_equal(got.result.peak_bytes, ht_bilevel_bytes(bilevel));
    outcome_free(&got);
    ht_bilevel_free(bilevel);
    return kept;
}

/* Between the bytes of all states and those of all products beside them some products are
 * kept: the more, the more there is room for. */
static void bilevel_new_mlp_budget_between_keeps_some_products(void **state)
{
    enum { BUDGETS = 12 };
    network *w = *state;
    network_adam(w);
    ht_bilevel *all = network_bilevel(w, (ht_bilevel_options){0});
    outcome want = outcome_of(all);
    size_t most = ht_bilevel_bytes(all),
           logs = (size_t)all->memory.choice.slots * all->memory.product_bytes;
    int n_products = all->programs.n_products, before = 0, some = 0;
    ht_bilevel_free(all);
    for (size_t k = 1; k <= BUDGETS; k++) {
        ht_bilevel_options o = {.schedule = HT_STORE_ALL,
                                .bytes = most - logs + logs / BUDGETS * k};
        int kept = network_assert_budget(w, o, &want);
        assert_true(kept >= before);
        before = kept;
        some += kept > 0 && kept < n_products;
        o.schedule = HT_SCHEDULE_AUTO;
        o.bytes = most / 4 + most / BUDGETS / 2 * k;
        network_assert_budget(w, o, &want);
    }
    printf("# %d of %d budgets keep some of %d products\n", some, BUDGETS, n_products);
    assert_true(some > 1);
    outcome_free(&want);
}

/* The initial value of a layer and the layer's theta_0 are one cotangent, scaled. */
static void bilevel_run_mlp_init_carries_the_theta0_gradient(void **state)
{
    network *w = *state;
    network_momentum(w);
    outcome o = network_run(w, (ht_bilevel_options){0});
    const double *start = ht_tensor_data(ht_set_tensor(o.gradient, "start"));
    const double *theta0 = ht_tensor_data(ht_set_tensor(o.gradient_theta0, "out.weight"));
    for (int k = 0; k < 320; k++) {
        assert_true(theta0[k] != 0);
        assert_true(start[k] == 0.5 * theta0[k]);
    }
    outcome_free(&o);
}

/* Rates by parameter tensor, and by step and tensor. */
static void network_rates(network *w, ht_shape shape)
{
    w->problem.update = (ht_update){
        .rule = &ht_momentum, .momentum = HT_FIXED(0.8), .rate = HT_OUTER("rate")};
    ht_tensor_uniform(ht_set_add(w->eta, "rate", HT_F64, shape), 3, 0.05, 0.15);
}

static void bilevel_run_mlp_rate_per_tensor_matches_central_differences(void **state)
{
    network_rates(*state, HT_SHAPE(TENSORS));
    network_assert_slopes(*state);
    network_assert_modes(*state);
}

static void bilevel_run_mlp_rate_per_step_and_tensor_matches_differences(void **state)
{
    network_rates(*state, HT_SHAPE(STEPS, TENSORS));
    network_assert_slopes(*state);
    network_assert_modes(*state);
}

/* The gradient is longer than this in some steps and not in others. */
static void bilevel_run_mlp_clip_matches_central_differences(void **state)
{
    network *w = *state;
    w->problem.update = (ht_update){.rule = &ht_momentum,
                                    .rate = HT_FIXED(0.1),
                                    .momentum = HT_OUTER("beta1"),
                                    .clip = HT_OUTER("clip")};
    network_outer_scalar(w, "beta1", 0.8);
    network_outer_scalar(w, "clip", 0.15);
    network_assert_slopes(w);
    network_assert_modes(w);
    outcome clipped = network_run(w, (ht_bilevel_options){0});
    assert_true(ht_tensor_get(ht_set_tensor(clipped.gradient, "clip"), 0) != 0);
    ht_tensor_fill(ht_set_tensor(w->eta, "clip"), 1e6);
    outcome never = network_run(w, (ht_bilevel_options){0});
    assert_true(ht_tensor_get(ht_set_tensor(never.gradient, "clip"), 0) == 0);
    w->problem.update.clip = HT_FIXED(1e6);
    assert_true(clipped.result.outer != never.result.outer);
    outcome_free(&clipped);
    outcome_free(&never);
}

/* Rows by a pure function of the step; what the last call left is wiped first. */
static ht_status network_fill(uint64_t step, ht_set *batch, void *user)
{
    network *w = user;
    int64_t rows[BATCH];
    w->fills++;
    ht_tensor_fill(ht_set_tensor(batch, "x"), NAN);
    ht_batch_order(9, step + w->shift, N, BATCH, rows);
    return ht_images_rows(&w->images, rows, 0, BATCH, ht_set_tensor(batch, "x"),
                          ht_set_tensor(batch, "y"));
}

static ht_var network_decayed(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    (void)user;
    ht_var loss =
        ht_mean(ht_cross_entropy(network_logits(theta, batch), ht_get(batch, "y")));
    ht_var squares = ht_sum(ht_square(ht_get(theta, "hidden.weight")));
    return ht_add(loss, ht_mul(ht_get(eta, "penalty"), squares));
}

/* Minibatches, the penalty and rates by step as eta. */
static void network_minibatches(network *w, const ht_update_rule *rule, int64_t steps)
{
    ht_set_free(w->eta);
    ht_set_free(w->train);
    w->train = mnist_set(w->ctx, &w->images, 0, BATCH, HT_F64);
    w->eta = ht_set_new(w->ctx);
    network_outer_scalar(w, "penalty", 1e-3);
    ht_tensor_fill(ht_set_add(w->eta, "rate", HT_F64, HT_SHAPE(steps)), 0.1);
    w->problem.inner = network_decayed;
    w->problem.inner_batch = network_fill;
    w->problem.inner_data = w->train;
    w->problem.eta = w->eta;
    w->problem.steps = steps;
    w->problem.update = (ht_update){.rule = rule, .rate = HT_OUTER("rate")};
    if (rule != &ht_sgd) w->problem.update.momentum = HT_FIXED(0.8);
}

static void bilevel_run_mlp_minibatches_have_the_same_bits_in_every_schedule(void **state)
{
    network *w = *state;
    network_minibatches(w, &ht_momentum, STEPS);
    network_assert_slopes(w);
    network_assert_initial_slopes(w);
    network_assert_schedules(w, 0);
    network_assert_schedules(w, 20);
    w->fills = 0;
    outcome o = network_run(w, (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 4});
    printf("# %llu batches for %lld steps\n", (unsigned long long)w->fills,
           (long long)o.result.forward_steps);
    assert_true((int64_t)w->fills > STEPS);
    outcome_free(&o);
}

/* A pixel that is zero in every training image, and not in the validation images: Adam
 * leaves its weights alone, and the outer loss feels them directly. */
static void bilevel_run_mlp_adam_zero_gradient_stays_finite_and_right(void **state)
{
    enum { PIXEL = 5, HIDDEN = 32, SLOPES = 6 };
    network *w = *state;
    network_adam(w);
    ht_set_free(w->eta);
    w->eta = w->problem.eta = ht_set_new(w->ctx);
    ht_tensor_uniform(ht_set_add(w->eta, "lambda", HT_F64, HT_SHAPE(N)), 2, 0.1, 1);
    network_outer_scalar(w, "rate", 0.003);
    network_outer_scalar(w, "beta1", 0.9);
    network_outer_scalar(w, "beta2", 0.999);
    network_outer_scalar(w, "eps", 1e-8);
    w->problem.inner = network_weighted;
    w->problem.init = NULL;
    w->problem.update.decay = HT_FIXED(0);
    ht_tensor *x = ht_set_tensor(w->train, "x"),
              *seen = ht_set_tensor(w->validation, "x");
    for (int64_t i = 0; i < N; i++) {
        assert_true(ht_tensor_get(x, i * 784 + PIXEL) == 0);
        ht_tensor_set(seen, i * 784 + PIXEL, (double)(i % 7) / 7);
    }
    ht_bilevel *bilevel = network_bilevel(w, (ht_bilevel_options){0});
    outcome o = outcome_of(bilevel);
    for (int j = 0; j < ht_set_count(w->eta); j++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(o.gradient, j)); k++)
            assert_true(isfinite(ht_tensor_get(ht_set_at(o.gradient, j), k)));
    ht_tensor *weight = ht_set_tensor(w->theta, "hidden.weight");
    const ht_tensor *after = ht_set_tensor(o.theta, "hidden.weight");
    const ht_tensor *slope = ht_set_tensor(o.gradient_theta0, "hidden.weight");
    double got[SLOPES], want[SLOPES];
    for (int k = 0; k < SLOPES; k++) {
        int64_t i = PIXEL * HIDDEN + 5 * k;
        assert_true(ht_tensor_get(after, i) == ht_tensor_get(weight, i));
        got[k] = ht_tensor_get(slope, i);
        want[k] = outer_slope(bilevel, weight, i, 1e-4);
    }
    assert_distance(norm_distance(SLOPES, got, want), 1e-6,
                    "weights of a blank pixel, against differences");
    ht_tensor *rate = ht_set_tensor(w->eta, "rate");
    assert_distance(
        slope_distance(bilevel, rate, ht_set_tensor(o.gradient, "rate"), 1, 1e-8), 1e-6,
        "the rate, against differences");
    outcome_free(&o);
    ht_bilevel_free(bilevel);
    network_assert_modes(w);
}

/* Weights by the network's own distrust, which is not to be differentiated. */
static ht_var network_stopped(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    (void)user;
    ht_var loss = ht_cross_entropy(network_logits(theta, batch), ht_get(batch, "y"));
    ht_var distrust = ht_stop_gradient(ht_exp(ht_neg(loss)));
    return ht_mean(ht_mul(ht_mul(ht_get(eta, "lambda"), distrust), loss));
}

static void bilevel_run_mlp_stop_gradient_falls_back_and_says_so(void **state)
{
    network *w = *state;
    w->problem.inner = network_stopped;
    w->problem.update = (ht_update){.rule = &ht_sgd, .rate = HT_FIXED(0.5)};
    outcome twice = network_run(w, (ht_bilevel_options){.method = HT_REVERSE_REVERSE});
    outcome got = network_run(w, (ht_bilevel_options){0});
    assert_int_equal(got.result.method, HT_REVERSE_REVERSE);
    assert_contains(got.note, "stop_gradient");
    network_assert_same(&got, &twice, "the fallback");
    outcome cut = network_run(w, (ht_bilevel_options){.truncate = 7});
    assert_int_equal(cut.result.method, HT_TRUNCATED);
    assert_contains(cut.note, "stop_gradient");
    outcome_free(&twice);
    outcome_free(&got);
    outcome_free(&cut);
}

/* K steps more from theta_{T-K} as a constant, its batches and rates the last K. */
static void bilevel_run_mlp_truncated_equals_the_last_steps_alone(void **state)
{
    network *w = *state;
    const int64_t last = 13, first = STEPS - last;
    network_minibatches(w, &ht_sgd, STEPS);
    outcome want = network_run(w, (ht_bilevel_options){.truncate = last});
    assert_int_equal(want.result.method, HT_TRUNCATED);
    assert_int_equal(want.result.reverse_steps, last);
    assert_null(want.result.gradient_theta0);

    network_minibatches(w, &ht_sgd, first);
    outcome before = network_run(w, (ht_bilevel_options){0});
    assert_int_equal(ht_set_copy(w->theta, before.theta), HT_OK);
    network_minibatches(w, &ht_sgd, last);
    w->shift = (uint64_t)first;
    outcome after = network_run(w, (ht_bilevel_options){0});
    assert_same_bits(after.theta, want.theta, "theta_T");
    double got = ht_tensor_get(ht_set_tensor(want.gradient, "penalty"), 0);
    assert_true(got == ht_tensor_get(ht_set_tensor(after.gradient, "penalty"), 0));
    assert_true(got != 0);
    const double *rate = ht_tensor_data(ht_set_tensor(want.gradient, "rate"));
    const double *alone = ht_tensor_data(ht_set_tensor(after.gradient, "rate"));
    for (int64_t t = 0; t < STEPS; t++)
        assert_true(rate[t] == (t < first ? 0 : alone[t - first]));
    assert_true(rate[first] != 0);
    outcome_free(&want);
    outcome_free(&before);
    outcome_free(&after);
}

/* With momentum too, the rates of the last K steps have the slopes of the whole run. */
static void bilevel_run_mlp_truncated_momentum_has_the_last_rates_slopes(void **state)
{
    network *w = *state;
    const int64_t last = 9;
    network_minibatches(w, &ht_momentum, STEPS);
    outcome whole = network_run(w, (ht_bilevel_options){0});
    outcome part = network_run(w, (ht_bilevel_options){.truncate = last});
    const double *want = ht_tensor_data(ht_set_tensor(whole.gradient, "rate"));
    const double *got = ht_tensor_data(ht_set_tensor(part.gradient, "rate"));
    for (int64_t t = 0; t < STEPS; t++) {
        assert_true(want[t] != 0);
        assert_true(got[t] == (t < STEPS - last ? 0 : want[t]));
    }
    outcome_free(&whole);
    outcome_free(&part);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, network_new, network_free)
    const struct CMUnitTest tests[] = {
        CASE(bilevel_run_mlp_momentum_matches_central_differences),
        CASE(bilevel_run_mlp_adam_matches_central_differences),
        CASE(bilevel_run_mlp_momentum_mixed_mode_equals_reverse_over_reverse),
        CASE(bilevel_run_mlp_adam_mixed_mode_equals_reverse_over_reverse),
        CASE(bilevel_run_mlp_schedules_equal_store_all_bit_for_bit),
        CASE(bilevel_new_mlp_budget_between_keeps_some_products),
        CASE(bilevel_run_mlp_init_carries_the_theta0_gradient),
        CASE(bilevel_run_mlp_rate_per_tensor_matches_central_differences),
        CASE(bilevel_run_mlp_rate_per_step_and_tensor_matches_differences),
        CASE(bilevel_run_mlp_clip_matches_central_differences),
        CASE(bilevel_run_mlp_minibatches_have_the_same_bits_in_every_schedule),
        CASE(bilevel_run_mlp_adam_zero_gradient_stays_finite_and_right),
        CASE(bilevel_run_mlp_stop_gradient_falls_back_and_says_so),
        CASE(bilevel_run_mlp_truncated_equals_the_last_steps_alone),
        CASE(bilevel_run_mlp_truncated_momentum_has_the_last_rates_slopes),
    };
    return TEST_MAIN(tests);
}
