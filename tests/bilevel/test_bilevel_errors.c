/* SPDX-License-Identifier: MIT */
/* test_bilevel_errors.c: what a bilevel refuses and in which words, what it reports as a
 * result instead, and that a refusal leaves nothing behind. Read next:
 * test_bilevel_check.c. */
#include "test_bilevel.h"

enum { ROWS = 6, STEPS = 8 };

/* A small linear regression, weighted by row, with a fixed and free form for each part
 * that a case wants to break. */
typedef struct regression {
    counted memory;
    ht_context *ctx;
    size_t base; /* bytes of the context itself */
    ht_set *theta, *eta, *train, *validation;
    ht_bilevel_problem problem;
    int64_t fail_at; /* step whose batch fails */
    bool tell;       /* and puts a message of its own on the context */
} regression;

static ht_var residual(const ht_vars *theta, const ht_vars *batch)
{
    ht_var y = ht_matmul(ht_get(batch, "x"), ht_get(theta, "w"));
    return ht_sub(ht_reshape(y, HT_SHAPE(ROWS)), ht_get(batch, "y"));
}

static ht_var regression_inner(const ht_vars *theta, const ht_vars *eta,
                               const ht_vars *batch, void *user)
{
    (void)user;
    return ht_mean(ht_mul(ht_get(eta, "lambda"), ht_square(residual(theta, batch))));
}

static ht_var regression_outer(const ht_vars *theta, const ht_vars *eta,
                               const ht_vars *batch, void *user)
{
    (void)eta, (void)user;
    return ht_mean(ht_square(residual(theta, batch)));
}

static ht_set *regression_data(ht_context *ctx, uint64_t stream)
{
    ht_set *set = ht_set_new(ctx);
    ht_tensor_normal(ht_set_add(set, "x", HT_F64, HT_SHAPE(ROWS, 3)), stream, 0, 1);
    ht_tensor_normal(ht_set_add(set, "y", HT_F64, HT_SHAPE(ROWS)), stream + 1, 0, 1);
    return set;
}

static int regression_new(void **state)
{
    regression *g = calloc(1, sizeof *g);
    g->ctx = counted_context(&g->memory, 1);
    g->base = g->memory.live;
    g->train = regression_data(g->ctx, 1);
    g->validation = regression_data(g->ctx, 3);
    g->theta = ht_set_new(g->ctx);
    ht_tensor_normal(ht_set_add(g->theta, "w", HT_F64, HT_SHAPE(3, 1)), 5, 0, 1);
    g->eta = ht_set_new(g->ctx);
    ht_tensor_fill(ht_set_add(g->eta, "lambda", HT_F64, HT_SHAPE(ROWS)), 0.7);
    g->fail_at = -1;
    g->problem = (ht_bilevel_problem){.inner = regression_inner,
                                      .outer = regression_outer,
                                      .theta = g->theta,
                                      .eta = g->eta,
                                      .inner_data = g->train,
                                      .outer_data = g->validation,
                                      .steps = STEPS,
                                      .update = {.rule = &ht_sgd, .rate = HT_FIXED(0.1)},
                                      .user = g};
    assert_int_equal(ht_context_status(g->ctx), HT_OK);
    *state = g;
    return 0;
}

static int regression_free(void **state)
{
    regression *g = *state;
    ht_set_free(g->theta);
    ht_set_free(g->eta);
    ht_set_free(g->train);
    ht_set_free(g->validation);
    assert_int_equal(g->memory.live, g->base);
    ht_context_free(g->ctx);
    assert_int_equal(g->memory.live, 0);
    free(g);
    return 0;
}

static ht_bilevel *regression_bilevel(regression *g, ht_bilevel_options options)
{
    ht_bilevel *bilevel = ht_bilevel_new(g->ctx, &g->problem, &options);
    if (!bilevel) fail_msg("%s", ht_context_message(g->ctx));
    return bilevel;
}

/* The problem as it stands works: whatever was refused left nothing broken. */
static void assert_works(regression *g)
{
    ht_bilevel *bilevel = regression_bilevel(g, (ht_bilevel_options){0});
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    assert_int_equal(ht_context_status(g->ctx), HT_OK);
    assert_non_null(r.gradient);
    assert_int_equal(r.bad_step, -1);
    ht_bilevel_free(bilevel);
}

/* Refused with this status and these words, nothing kept; the message stays readable in
 * g->ctx until the next clear, done here. */
static void assert_refused(regression *g, ht_bilevel_options options, ht_status status,
                           const char *part, const char *another)
{
    size_t live = g->memory.live;
    assert_null(ht_bilevel_new(g->ctx, &g->problem, &options));
    assert_int_equal(g->memory.live, live);
    const char *message = ht_context_message(g->ctx);
    print_line(message);
    assert_string_equal(ht_status_name(ht_context_status(g->ctx)),
                        ht_status_name(status));
    assert_contains(message, part);
    if (another) assert_contains(message, another);
    ht_context_clear(g->ctx);
}

static const ht_bilevel_options usual = {0};

static void bilevel_new_zero_steps_is_refused(void **state)
{
    regression *g = *state;
    g->problem.steps = 0;
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "steps must lie in 1", "hint");
    g->problem.steps = -3;
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "steps must lie in 1", NULL);
    g->problem.steps = INT64_MAX;
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "steps must lie in 1", NULL);
    g->problem.steps = STEPS;
    assert_works(g);
}

static void bilevel_new_unknown_outer_name_lists_the_names(void **state)
{
    regression *g = *state;
    ht_tensor_fill(ht_set_add(g->eta, "speed", HT_F64, HT_SCALAR), 0.1);
    g->problem.update.rate = HT_OUTER("sped");
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "\"sped\"", "lambda, speed");
    g->problem.update.rate = HT_OUTER("speed");
    assert_works(g);
    ht_coordinate coordinate = {.outer = "lamda", .kind = HT_LOG};
    g->problem.coordinates = &coordinate;
    g->problem.n_coordinates = 1;
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "\"lamda\"", "lambda, speed");
}

/* Where the op that fails stands, known once the callback has been called. */
static const char *mismatch_site;

static ht_var mismatched_inner(const ht_vars *theta, const ht_vars *eta,
                               const ht_vars *batch, void *user)
{
    (void)user, (void)eta;
    ht_var w = ht_get(theta, "w"), x = ht_get(batch, "x");
    return mismatch_site = HT_HERE, ht_mean(ht_matmul(w, x));
}

static ht_var unequal_inner(const ht_vars *theta, const ht_vars *eta,
                            const ht_vars *batch, void *user)
{
    (void)user;
    ht_var weight = ht_reshape(ht_get(theta, "w"), HT_SHAPE(3));
    (void)batch;
    ht_var lambda = ht_get(eta, "lambda");
    return mismatch_site = HT_HERE, ht_sum(ht_mul(lambda, weight));
}

static void bilevel_new_mismatched_shapes_names_op_shapes_and_line(void **state)
{
    regression *g = *state;
    g->problem.inner = mismatched_inner;
    assert_refused(g, usual, HT_ERROR_SHAPE, "matmul", "(3, 1)");
    assert_refused(g, usual, HT_ERROR_SHAPE, "(6, 3)", mismatch_site);
    assert_contains(mismatch_site, "test_bilevel_errors.c:");
    g->problem.inner = unequal_inner;
    assert_refused(g, usual, HT_ERROR_SHAPE, "mul", "(6)");
    assert_refused(g, usual, HT_ERROR_SHAPE, "(3)", mismatch_site);
    g->problem.inner = regression_inner;
    g->problem.outer = mismatched_inner;
    assert_refused(g, usual, HT_ERROR_SHAPE, "(3, 1)", "(6, 3)");
    assert_refused(g, usual, HT_ERROR_SHAPE, "matmul", mismatch_site);
    g->problem.outer = regression_outer;
    assert_works(g);
}

static ht_var misspelt_inner(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *batch, void *user)
{
    (void)user, (void)batch;
    return ht_sum(ht_mul(ht_get(theta, "weight"), ht_mean(ht_get(eta, "lambda"))));
}

static void misspelt_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "v", ht_get(eta, "lambda"));
}

static void shapeless_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "w", ht_get(eta, "lambda"));
}

static void bilevel_new_unknown_name_in_a_callback_lists_the_names(void **state)
{
    regression *g = *state;
    g->problem.inner = misspelt_inner;
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "\"weight\"", "there are: w");
    g->problem.inner = regression_inner;
    g->problem.init = misspelt_init;
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "\"v\"", "there are: w");
    g->problem.init = shapeless_init;
    assert_refused(g, usual, HT_ERROR_SHAPE, "\"w\" is f64 (3, 1)", "f64 (6)");
}

static ht_var vector_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)user;
    return ht_mul(ht_get(eta, "lambda"), residual(theta, batch));
}

static ht_var matrix_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    return ht_reshape(vector_loss(theta, eta, batch, user), HT_SHAPE(3, 2));
}

/* Of the outer one a vector is that many losses. */
static void bilevel_new_loss_that_is_no_scalar_is_refused(void **state)
{
    regression *g = *state;
    g->problem.inner = vector_loss;
    assert_refused(g, usual, HT_ERROR_SHAPE, "the inner loss must be a 0-d float",
                   "f64 (6)");
    assert_refused(g, usual, HT_ERROR_SHAPE, "test_bilevel_errors.c:", "hint");
    g->problem.inner = regression_inner;
    g->problem.outer = matrix_loss;
    assert_refused(g, usual, HT_ERROR_SHAPE,
                   "the outer loss must be a 0-d float, or (m) of them", "f64 (3, 2)");
}

static void bilevel_new_unreached_variables_are_named(void **state)
{
    regression *g = *state;
    ht_set_add(g->eta, "idle", HT_F64, HT_SHAPE(2));
    for (int method = HT_AUTO; method <= HT_FORWARD; method++)
        assert_refused(g, (ht_bilevel_options){.method = (ht_method)method},
                       HT_ERROR_NO_GRADIENT, "outer variable \"idle\"", "leave it out");
    ht_set_free(g->eta);
    g->eta = g->problem.eta = ht_set_new(g->ctx);
    ht_tensor_fill(ht_set_add(g->eta, "lambda", HT_F64, HT_SHAPE(ROWS)), 0.7);
    ht_set_add(g->theta, "lonely", HT_F64, HT_SHAPE(4));
    assert_refused(g, usual, HT_ERROR_NO_GRADIENT, "parameter \"lonely\"", "theta");
}

static void bilevel_new_integers_in_theta_or_eta_are_refused(void **state)
{
    regression *g = *state;
    ht_set_add(g->eta, "count", HT_I32, HT_SCALAR);
    assert_refused(g, usual, HT_ERROR_NO_GRADIENT, "\"count\" in eta is i32", "hint");
    ht_set *eta = g->problem.eta = ht_set_new(g->ctx);
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "eta is empty", NULL);
    ht_set_free(eta);
    g->problem.eta = g->eta;
    ht_set *theta = g->problem.theta = ht_set_new(g->ctx);
    ht_set_add(theta, "level", HT_U8, HT_SCALAR);
    assert_refused(g, usual, HT_ERROR_NO_GRADIENT, "\"level\" in theta is u8", NULL);
    ht_set_free(theta);
}

static void bilevel_new_options_out_of_range_are_refused(void **state)
{
    regression *g = *state;
    const struct {
        ht_bilevel_options options;
        const char *part;
    } cases[] = {
        {{.truncate = -1}, "truncate must lie in 0 .. steps"},
        {{.truncate = STEPS + 1}, "truncate must lie in 0 .. steps"},
        {{.slots = -1}, "slots not be negative"},
        {{.slots = 3}, "options.slots is 3, but options.schedule is HT_SCHEDULE_AUTO"},
        {{.schedule = HT_STORE_ALL, .slots = 1},
         "options.slots is 1, but options.schedule is HT_STORE_ALL"},
        {{.schedule = HT_TWO_LEVEL, .slots = 9},
         "options.slots is 9, but options.schedule is HT_TWO_LEVEL"},
        {{.method = HT_FORWARD, .slots = 2, .bytes = 1 << 20},
         "options.slots is 2, but options.schedule is HT_SCHEDULE_AUTO"},
        {{.method = HT_TRUNCATED}, "needs options.truncate"},
        {{.schedule = HT_REVOLVE}, "revolve needs options.slots, or options.bytes"},
        {{.method = (ht_method)99}, "no such method"},
        {{.schedule = (ht_schedule)99}, "no such method or schedule"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        assert_refused(g, cases[k].options, HT_ERROR_ARGUMENT, cases[k].part, NULL);
    assert_works(g);
}

static void bilevel_new_scalars_of_another_shape_are_refused(void **state)
{
    regression *g = *state;
    const ht_shape wrong[] = {HT_SHAPE(STEPS + 1), HT_SHAPE(1, STEPS), HT_SHAPE(STEPS, 2),
                              HT_SHAPE(1, 1, 1)};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        char name[8], text[HT_SHAPE_TEXT];
        snprintf(name, sizeof name, "rate%zu", k);
        ht_set_add(g->eta, name, HT_F64, wrong[k]);
        g->problem.update.rate = HT_OUTER(name);
        assert_refused(g, usual, HT_ERROR_SHAPE, name, ht_shape_text(wrong[k], text));
        assert_refused(g, usual, HT_ERROR_SHAPE, "(8) per step",
                       "(1) per parameter tensor");
    }
    g->problem.update.rate = HT_FIXED(0);
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "rate is zero", "hint");
    g->problem.update.rate = HT_FIXED(0.1);
    g->problem.update.beta2 = HT_FIXED(0.9);
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "sgd: beta2 is set", NULL);
}

static void bilevel_new_sigmoid_without_range_is_refused(void **state)
{
    regression *g = *state;
    ht_coordinate coordinate = {
        .outer = "lambda", .kind = HT_SIGMOID, .low = 1, .high = 1};
    g->problem.coordinates = &coordinate;
    g->problem.n_coordinates = 1;
    assert_refused(g, usual, HT_ERROR_ARGUMENT, "low < high", NULL);
}

/* The number a refusal offers after these words does, and one byte less does not. */
static void assert_offer_does(regression *g, ht_bilevel_options options,
                              const char *words)
{
    options.bytes = 100;
    assert_null(ht_bilevel_new(g->ctx, &g->problem, &options));
    assert_int_equal(ht_context_status(g->ctx), HT_ERROR_MEMORY);
    const char *hint = strstr(ht_context_message(g->ctx), words);
    if (!hint) fail_msg("no \"%s\" in \"%s\"", words, ht_context_message(g->ctx));
    size_t base = g->memory.live;
    options.bytes = strtoull(hint + strlen(words), NULL, 10);
    ht_context_clear(g->ctx);
    g->memory.peak = base;
    ht_bilevel *bilevel = regression_bilevel(g, options);
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    printf("# budget %zu, high water %zu\n", options.bytes, g->memory.peak - base);
    assert_true(g->memory.peak - base <= options.bytes);
    assert_int_equal(r.peak_bytes, g->memory.peak - base);
    assert_int_equal(r.predicted_bytes, r.peak_bytes);
    ht_bilevel_free(bilevel);
    options.bytes--;
    assert_refused(g, options, HT_ERROR_MEMORY, "too small", words);
}

/* A problem this small takes most while it is recorded; that counts too. */
static void bilevel_new_budget_too_small_offers_one_that_does(void **state)
{
    regression *g = *state;
    assert_offer_does(g, usual, "1 slot needs ");
    assert_offer_does(g, (ht_bilevel_options){.truncate = 3}, "1 slot needs ");
    assert_offer_does(g, (ht_bilevel_options){.method = HT_FORWARD}, "it needs ");
    g->problem.steps = 1;
    assert_offer_does(g, usual, "1 slot needs ");
    g->problem.steps = 100000;
    assert_offer_does(g, (ht_bilevel_options){.schedule = HT_TWO_LEVEL}, "two-level ");
    assert_offer_does(g, (ht_bilevel_options){.schedule = HT_STORE_ALL}, "store-all ");
}

static void assert_no_results(const ht_bilevel_result *r)
{
    assert_null(r->gradient);
    assert_null(r->gradient_theta0);
    assert_null(r->theta);
}

static ht_status failing_batch(uint64_t step, ht_set *batch, void *user)
{
    regression *g = user;
    (void)batch;
    if ((int64_t)step != g->fail_at) return HT_OK;
    if (g->tell)
        return ht_context_fail(g->ctx, HT_ERROR_FORMAT, NULL, "row %d is torn", 12);
    return HT_ERROR_FILE;
}

static void bilevel_run_failing_batch_ends_with_a_message(void **state)
{
    regression *g = *state;
    g->problem.inner_batch = g->problem.outer_batch = failing_batch;
    ht_bilevel *bilevel =
        regression_bilevel(g, (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 1});
    assert_non_null(ht_bilevel_run(bilevel, 100).gradient);
    for (int64_t t = 0; t < STEPS; t++) {
        char text[64];
        g->fail_at = t;
        ht_bilevel_result r = ht_bilevel_run(bilevel, 100);
        snprintf(text, sizeof text, "failed at step %lld", (long long)t);
        assert_no_results(&r);
        assert_int_equal(ht_context_status(g->ctx), HT_ERROR_FILE);
        assert_contains(ht_context_message(g->ctx), "inner_batch");
        assert_contains(ht_context_message(g->ctx), text);
        r = ht_bilevel_run(bilevel, 100);
        assert_no_results(&r);
        ht_context_clear(g->ctx);
    }
    g->fail_at = 100;
    ht_bilevel_result r = ht_bilevel_run(bilevel, 100);
    assert_no_results(&r);
    assert_contains(ht_context_message(g->ctx), "outer_batch failed at step 100");
    ht_context_clear(g->ctx);
    g->tell = true;
    r = ht_bilevel_run(bilevel, 100);
    assert_no_results(&r);
    assert_int_equal(ht_context_status(g->ctx), HT_ERROR_FORMAT);
    assert_string_equal(ht_context_message(g->ctx), "row 12 is torn");
    ht_context_clear(g->ctx);
    assert_non_null(ht_bilevel_run(bilevel, 101).gradient);
    ht_bilevel_free(bilevel);
}

static ht_var gathered_inner(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *batch, void *user)
{
    (void)user;
    ht_var w = ht_gather(ht_get(theta, "w"), ht_get(batch, "rows"));
    return ht_mul(ht_sum(ht_square(w)), ht_mean(ht_get(eta, "lambda")));
}

static void bilevel_run_index_out_of_range_is_an_error(void **state)
{
    regression *g = *state;
    ht_tensor *rows = ht_set_add(g->train, "rows", HT_I32, HT_SHAPE(2));
    g->problem.inner = gathered_inner;
    ht_bilevel *bilevel = regression_bilevel(g, usual);
    assert_non_null(ht_bilevel_run(bilevel, 0).gradient);
    ht_tensor_set(rows, 1, 3);
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    assert_no_results(&r);
    assert_contains(ht_context_message(g->ctx), "gather");
    assert_contains(ht_context_message(g->ctx), "test_bilevel_errors.c:");
    ht_context_clear(g->ctx);
    ht_tensor_set(rows, 1, 2);
    assert_non_null(ht_bilevel_run(bilevel, 0).gradient);
    ht_bilevel_free(bilevel);
}

static ht_var quartic_inner(const ht_vars *theta, const ht_vars *eta,
                            const ht_vars *batch, void *user)
{
    (void)user, (void)batch;
    ht_var w = ht_get(theta, "w");
    return ht_mul(ht_sum(ht_pow(w, 4)), ht_mean(ht_get(eta, "lambda")));
}

/* |w| goes as its cube: from 10 by w -= 10 * 4 * 0.7 w^3, past 1e308 in a few steps. */
static void bilevel_run_divergence_is_a_result(void **state)
{
    regression *g = *state;
    g->problem.inner = quartic_inner;
    g->problem.update.rate = HT_FIXED(10);
    ht_tensor_fill(ht_set_tensor(g->theta, "w"), 10);
    double w = 10;
    int64_t bad = 0;
    for (; isfinite(w); bad++) w -= 10 * 0.7 * 4 * w * w * w;
    const ht_bilevel_options options[] = {{.schedule = HT_STORE_ALL},
                                          {.schedule = HT_REVOLVE, .slots = 2},
                                          {.method = HT_REVERSE_REVERSE},
                                          {.method = HT_FORWARD},
                                          {.truncate = 2}};
    for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
        ht_bilevel *bilevel = regression_bilevel(g, options[k]);
        ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
        assert_int_equal(ht_context_status(g->ctx), HT_OK);
        assert_non_null(r.bad_op);
        printf("# not finite: step %lld, op %s, reckoned step %lld\n",
               (long long)r.bad_step, r.bad_op, (long long)bad - 1);
        assert_int_equal(r.bad_step, bad - 1);
        assert_non_null(r.gradient);
        assert_non_null(r.theta);
        assert_true(!isfinite(r.outer));
        r = ht_bilevel_evaluate(bilevel, 0);
        assert_int_equal(r.bad_step, bad - 1);
        assert_null(r.gradient);
        ht_tensor_fill(ht_set_tensor(g->theta, "w"), 1e-3);
        r = ht_bilevel_run(bilevel, 0);
        assert_int_equal(r.bad_step, -1);
        assert_null(r.bad_op);
        assert_true(isfinite(r.outer));
        ht_tensor_fill(ht_set_tensor(g->theta, "w"), 10);
        ht_bilevel_free(bilevel);
    }
}

/* A NaN that is there before the first step. */
static void bilevel_run_nan_in_data_is_step_zero(void **state)
{
    regression *g = *state;
    ht_tensor_set(ht_set_tensor(g->train, "y"), 2, NAN);
    ht_bilevel *bilevel = regression_bilevel(g, usual);
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    assert_int_equal(ht_context_status(g->ctx), HT_OK);
    assert_int_equal(r.bad_step, 0);
    assert_string_equal(r.bad_op, "sub");
    ht_bilevel_free(bilevel);
}

static void bilevel_run_two_on_one_context_do_not_mix(void **state)
{
    regression *g = *state;
    ht_bilevel *one = regression_bilevel(g, usual);
    ht_set *want = ht_set_clone(ht_bilevel_run(one, 0).gradient, 0);
    g->problem.steps = 2 * STEPS;
    g->problem.update = (ht_update){
        .rule = &ht_momentum, .rate = HT_FIXED(0.05), .momentum = HT_FIXED(0.9)};
    ht_bilevel *two =
        regression_bilevel(g, (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 2});
    ht_set *other = ht_set_clone(ht_bilevel_run(two, 0).gradient, 0);
    for (int k = 0; k < 3; k++) {
        ht_bilevel_result first = ht_bilevel_run(one, (uint64_t)k);
        ht_bilevel_result second = ht_bilevel_run(two, (uint64_t)k);
        assert_same_bits(first.gradient, want, "the first");
        assert_same_bits(second.gradient, other, "the second");
    }
    assert_true(ht_tensor_get(ht_set_at(want, 0), 0) !=
                ht_tensor_get(ht_set_at(other, 0), 0));
    ht_bilevel_free(one);
    assert_same_bits(ht_bilevel_run(two, 0).gradient, other, "after the first is gone");
    ht_bilevel_free(two);
    ht_set_free(want);
    ht_set_free(other);
}

/* eta and theta are read at each run: a bilevel made before a change and one made after
 * it agree; the sets themselves are not written. */
static void bilevel_run_changed_values_are_read_again(void **state)
{
    regression *g = *state;
    ht_bilevel *before = regression_bilevel(g, usual);
    double outer = ht_bilevel_run(before, 0).outer;
    ht_tensor_uniform(ht_set_tensor(g->eta, "lambda"), 21, 0, 2);
    ht_tensor_uniform(ht_set_tensor(g->theta, "w"), 22, -1, 1);
    ht_tensor_uniform(ht_set_tensor(g->train, "y"), 23, -1, 1);
    ht_set *eta = ht_set_clone(g->eta, 0), *theta = ht_set_clone(g->theta, 0);
    ht_bilevel *after = regression_bilevel(g, usual);
    ht_bilevel_result got = ht_bilevel_run(before, 0), want = ht_bilevel_run(after, 0);
    assert_same_bits(got.gradient, want.gradient, "after a change");
    assert_same_bits(got.gradient_theta0, want.gradient_theta0, "after a change");
    assert_true(got.outer == want.outer && got.outer != outer);
    assert_same_bits(g->eta, eta, "eta");
    assert_same_bits(g->theta, theta, "theta");
    ht_bilevel_free(before);
    ht_bilevel_free(after);
    ht_set_free(eta);
    ht_set_free(theta);
}

static void bilevel_evaluate_gives_the_loss_alone(void **state)
{
    regression *g = *state;
    ht_bilevel *bilevel = regression_bilevel(g, usual);
    ht_bilevel_result run = ht_bilevel_run(bilevel, 0);
    double outer = run.outer, inner = run.inner;
    ht_bilevel_result r = ht_bilevel_evaluate(bilevel, 0);
    assert_true(r.outer == outer && r.inner == inner);
    assert_null(r.gradient);
    assert_null(r.gradient_theta0);
    assert_non_null(r.theta);
    assert_int_equal(r.forward_steps, STEPS);
    assert_int_equal(r.reverse_steps, 0);
    ht_bilevel_free(bilevel);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, regression_new, regression_free)
    const struct CMUnitTest tests[] = {
        CASE(bilevel_new_zero_steps_is_refused),
        CASE(bilevel_new_unknown_outer_name_lists_the_names),
        CASE(bilevel_new_mismatched_shapes_names_op_shapes_and_line),
        CASE(bilevel_new_unknown_name_in_a_callback_lists_the_names),
        CASE(bilevel_new_loss_that_is_no_scalar_is_refused),
        CASE(bilevel_new_unreached_variables_are_named),
        CASE(bilevel_new_integers_in_theta_or_eta_are_refused),
        CASE(bilevel_new_options_out_of_range_are_refused),
        CASE(bilevel_new_scalars_of_another_shape_are_refused),
        CASE(bilevel_new_sigmoid_without_range_is_refused),
        CASE(bilevel_new_budget_too_small_offers_one_that_does),
        CASE(bilevel_run_failing_batch_ends_with_a_message),
        CASE(bilevel_run_index_out_of_range_is_an_error),
        CASE(bilevel_run_divergence_is_a_result),
        CASE(bilevel_run_nan_in_data_is_step_zero),
        CASE(bilevel_run_two_on_one_context_do_not_mix),
        CASE(bilevel_run_changed_values_are_read_again),
        CASE(bilevel_evaluate_gives_the_loss_alone),
    };
    return TEST_MAIN(tests);
}
