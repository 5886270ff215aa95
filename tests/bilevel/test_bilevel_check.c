/* SPDX-License-Identifier: MIT */
/* test_bilevel_check.c: ht_bilevel_check says yes to right problems, f32 ones recorded
 * again in f64, and no to one whose op has a wrong derivative. Read next:
 * bilevel/check.c. */
#include <math.h>
#include <time.h>

#include "test_bilevel.h"

enum { ROWS = 12, BATCH = 5, INPUTS = 4, HIDDEN = 6, CLASSES = 3, STEPS = 9 };

/* A small network in f32, weights and penalty and rates as outer variables. */
typedef struct small {
    ht_context *ctx;
    size_t live; /* bytes of the context itself */
    ht_set *theta, *eta, *train, *validation, *all;
    ht_bilevel_problem problem;
    FILE *report;
    char text[4096]; /* of the report */
    time_t began;
} small;

static ht_var small_logits(const ht_vars *theta, const ht_vars *batch)
{
    ht_var hidden = ht_tanh(ht_linear(ht_get(batch, "x"), theta, "hidden"));
    return ht_linear(hidden, theta, "out");
}

static ht_var small_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)user;
    ht_var loss = ht_cross_entropy(small_logits(theta, batch), ht_get(batch, "y"));
    ht_var squares = ht_sum(ht_square(ht_get(theta, "out.weight")));
    return ht_add(
        ht_mean(ht_mul(ht_gather(ht_get(eta, "lambda"), ht_get(batch, "row")), loss)),
        ht_mul(ht_get(eta, "penalty"), squares));
}

static ht_var small_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)eta, (void)user;
    return ht_mean(ht_cross_entropy(small_logits(theta, batch), ht_get(batch, "y")));
}

static ht_set *small_data(ht_context *ctx, uint64_t stream, int64_t n)
{
    ht_set *set = ht_set_new(ctx);
    ht_tensor_normal(ht_set_add(set, "x", HT_F32, HT_SHAPE(n, INPUTS)), stream, 0, 1);
    ht_tensor *y = ht_set_add(set, "y", HT_I32, HT_SHAPE(n));
    ht_tensor *row = ht_set_add(set, "row", HT_I32, HT_SHAPE(n));
    for (int64_t i = 0; i < n; i++) {
        ht_tensor_set(y, i, (double)(i % CLASSES));
        ht_tensor_set(row, i, (double)i);
    }
    return set;
}

static int small_new(void **state)
{
    small *s = calloc(1, sizeof *s);
    s->ctx = ht_context_new(&(ht_context_options){.seed = test_seed(), .threads = 1});
    s->live = ht_context_live_bytes(s->ctx);
    s->train = small_data(s->ctx, 1, ROWS);
    s->validation = small_data(s->ctx, 2, ROWS);
    s->theta = ht_set_new(s->ctx);
    ht_linear_init(s->theta, "hidden", HT_F32, INPUTS, HIDDEN);
    ht_linear_init(s->theta, "out", HT_F32, HIDDEN, CLASSES);
    s->eta = ht_set_new(s->ctx);
    ht_tensor_uniform(ht_set_add(s->eta, "lambda", HT_F32, HT_SHAPE(ROWS)), 3, 0.2, 1);
    ht_tensor_fill(ht_set_add(s->eta, "penalty", HT_F32, HT_SCALAR), -5);
    ht_tensor_uniform(ht_set_add(s->eta, "rate", HT_F32, HT_SHAPE(STEPS)), 4, 0.1, 0.4);
    static const ht_coordinate positive = {.outer = "penalty", .kind = HT_LOG};
    s->problem = (ht_bilevel_problem){.inner = small_inner,
                                      .outer = small_outer,
                                      .theta = s->theta,
                                      .eta = s->eta,
                                      .inner_data = s->train,
                                      .outer_data = s->validation,
                                      .steps = STEPS,
                                      .update = {.rule = &ht_momentum,
                                                 .rate = HT_OUTER("rate"),
                                                 .momentum = HT_FIXED(0.7)},
                                      .user = s,
                                      .coordinates = &positive,
                                      .n_coordinates = 1};
    assert_int_equal(ht_context_status(s->ctx), HT_OK);
    s->report = tmpfile();
    assert_non_null(s->report);
    *state = s;
    return 0;
}

static int small_free(void **state)
{
    small *s = *state;
    fclose(s->report);
    ht_set_free(s->theta);
    ht_set_free(s->eta);
    ht_set_free(s->train);
    ht_set_free(s->validation);
    ht_set_free(s->all);
    assert_int_equal(ht_context_live_bytes(s->ctx), s->live);
    ht_context_free(s->ctx);
    free(s);
    return 0;
}

/* The check's answer, its report in s->text and printed; the problem's own sets, but for
 * storage a batch is written to, and the context's memory are as before. */
static bool small_check(small *s)
{
    ht_set *theta = ht_set_clone(s->theta, 0), *eta = ht_set_clone(s->eta, 0);
    size_t live = ht_context_live_bytes(s->ctx);
    rewind(s->report);
    bool ok = ht_bilevel_check(s->ctx, &s->problem, 5, s->report);
    long n = ftell(s->report);
    rewind(s->report);
    s->text[fread(s->text, 1, n > 0 ? (size_t)n : 0, s->report)] = '\0';
    assert_true(n >= 0 && (size_t)n < sizeof s->text);
    for (const char *at = s->text; *at; at += strcspn(at, "\n") + 1) print_line(at);
    assert_int_equal(ht_context_live_bytes(s->ctx), live);
    assert_same_bits(s->theta, theta, "theta");
    assert_same_bits(s->eta, eta, "eta");
    ht_set_free(theta);
    ht_set_free(eta);
    return ok;
}

static int count_lines(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

static void bilevel_check_right_f32_problem_holds(void **state)
{
    small *s = *state;
    assert_true(small_check(s));
    assert_int_equal(ht_context_status(s->ctx), HT_OK);
    assert_int_equal(count_lines(s->text, "  ok\n"), 5);
    assert_contains(s->text, "hypergradient, against central differences");
    assert_contains(s->text, "mixed mode = reverse over reverse");
    assert_contains(s->text, "reverse = forward mode");
    assert_contains(s->text, "store-all = two-level");
    assert_contains(s->text, "store-all = revolve");
    assert_null(strstr(s->text, "WRONG"));
    assert_true(ht_bilevel_check(s->ctx, &s->problem, 1, NULL));
}

static void bilevel_check_adam_and_one_step_hold(void **state)
{
    small *s = *state;
    s->problem.update = (ht_update){.rule = &ht_adam,
                                    .rate = HT_OUTER("rate"),
                                    .momentum = HT_FIXED(0.8),
                                    .beta2 = HT_FIXED(0.9),
                                    .eps = HT_FIXED(1e-2)};
    ht_tensor_uniform(ht_set_tensor(s->eta, "rate"), 4, 0.01, 0.04);
    assert_true(small_check(s));
    ht_set_free(s->eta);
    s->eta = s->problem.eta = ht_set_new(s->ctx);
    ht_tensor_fill(ht_set_add(s->eta, "lambda", HT_F32, HT_SHAPE(ROWS)), 0.5);
    ht_tensor_fill(ht_set_add(s->eta, "penalty", HT_F32, HT_SCALAR), -5);
    s->problem.update.rate = HT_FIXED(0.02);
    s->problem.steps = 1;
    assert_true(small_check(s));
}

static void small_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "out.bias", ht_mul(ht_get(eta, "start"), 2));
}

static void bilevel_check_init_holds_and_unreached_is_refused(void **state)
{
    small *s = *state;
    ht_tensor_normal(ht_set_add(s->eta, "start", HT_F32, HT_SHAPE(CLASSES)), 9, 0, 1);
    s->problem.init = small_init;
    assert_true(small_check(s));
    assert_int_equal(count_lines(s->text, "  ok\n"), 5);
    ht_tensor_normal(ht_set_add(s->eta, "many", HT_F32, HT_SHAPE(40)), 11, 0, 1);
    assert_false(small_check(s));
    assert_contains(ht_context_message(s->ctx), "reaches neither");
    ht_context_clear(s->ctx);
}

static ht_var many_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    ht_var prior = ht_sub(ht_get(theta, "out.bias"), ht_mean(ht_get(eta, "many")));
    return ht_add(small_inner(theta, eta, batch, user), ht_mean(ht_square(prior)));
}

/* The report says so. */
static void bilevel_check_forward_mode_is_left_out_beyond_a_few(void **state)
{
    small *s = *state;
    ht_tensor_normal(ht_set_add(s->eta, "many", HT_F32, HT_SHAPE(40)), 11, 0, 1);
    s->problem.inner = many_inner;
    assert_true(small_check(s));
    assert_int_equal(count_lines(s->text, "  ok\n"), 4);
    assert_contains(s->text, "skipped: 62 outer elements");
}

static ht_status small_fill(uint64_t step, ht_set *batch, void *user)
{
    const small *s = user;
    int64_t rows[BATCH];
    ht_batch_order(3, step, ROWS, BATCH, rows);
    for (int64_t i = 0; i < BATCH; i++) {
        for (int k = 0; k < INPUTS; k++)
            ht_tensor_set(
                ht_set_tensor(batch, "x"), i * INPUTS + k,
                ht_tensor_get(ht_set_tensor(s->all, "x"), rows[i] * INPUTS + k));
        ht_tensor_set(ht_set_tensor(batch, "y"), i,
                      ht_tensor_get(ht_set_tensor(s->all, "y"), rows[i]));
        ht_tensor_set(ht_set_tensor(batch, "row"), i, (double)rows[i]);
    }
    return HT_OK;
}

static void bilevel_check_minibatches_hold(void **state)
{
    small *s = *state;
    s->all = s->train;
    s->train = s->problem.inner_data = small_data(s->ctx, 1, BATCH);
    s->problem.inner_batch = small_fill;
    assert_true(small_check(s));
}

static ht_status small_fill_anew(uint64_t step, ht_set *batch, void *user)
{
    static uint64_t calls;
    return small_fill(step + 7 * calls++, batch, user);
}

static void bilevel_check_batch_of_more_than_step_is_said(void **state)
{
    small *s = *state;
    s->all = s->train;
    s->train = s->problem.inner_data = small_data(s->ctx, 1, BATCH);
    s->problem.inner_batch = small_fill_anew;
    assert_false(small_check(s));
    assert_contains(s->text, "is inner_batch a function of step alone?");
    assert_int_equal(count_lines(s->text, "WRONG"), 0);
    assert_int_equal(ht_context_status(s->ctx), HT_OK);
}

static ht_status fill_nothing(uint64_t step, ht_set *batch, void *user)
{
    (void)step, (void)user;
    assert_int_equal(ht_set_count(batch), 0);
    return HT_OK;
}

static ht_var bare_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                        void *user)
{
    (void)batch, (void)user;
    ht_var product = ht_mul(ht_get(theta, "out.bias"), ht_mean(ht_get(eta, "lambda")));
    return ht_mean(ht_square(ht_sub(product, 1)));
}

/* A batch callback may have nowhere to put a batch. */
static void bilevel_check_batches_without_data_hold(void **state)
{
    small *s = *state;
    ht_set *theta = s->theta, *eta = s->eta;
    s->theta = s->problem.theta = ht_set_new(s->ctx);
    ht_tensor_fill(ht_set_add(s->theta, "out.bias", HT_F32, HT_SHAPE(3)), 0.5);
    s->eta = s->problem.eta = ht_set_new(s->ctx);
    ht_tensor_fill(ht_set_add(s->eta, "lambda", HT_F32, HT_SHAPE(2)), 0.7);
    ht_set_free(theta);
    ht_set_free(eta);
    s->problem.inner = s->problem.outer = bare_loss;
    s->problem.inner_data = s->problem.outer_data = NULL;
    s->problem.inner_batch = s->problem.outer_batch = fill_nothing;
    s->problem.update = (ht_update){.rule = &ht_sgd, .rate = HT_FIXED(0.1)};
    s->problem.coordinates = NULL;
    s->problem.n_coordinates = 0;
    assert_true(small_check(s));
}

static ht_status small_torn(uint64_t step, ht_set *batch, void *user)
{
    (void)batch, (void)user;
    return step == 4 ? HT_ERROR_FILE : HT_OK;
}

static void bilevel_check_failing_batch_is_false_with_the_error(void **state)
{
    small *s = *state;
    s->problem.inner_batch = small_torn;
    assert_false(small_check(s));
    assert_contains(ht_context_message(s->ctx), "inner_batch failed at step 4");
    ht_context_clear(s->ctx);
    s->problem.steps = 0;
    assert_false(small_check(s));
    assert_contains(ht_context_message(s->ctx), "steps must lie in");
    ht_context_clear(s->ctx);
}

/* x^3 as an op of the user's own, with derivative rules of a factor: 3 is right. */
static void cube_run(const ht_run *r)
{
    const ht_array *x = r->in[0];
    for (int64_t i = 0; i < ht_shape_count(r->out.shape); i++) {
        int64_t rest = i, at = 0;
        for (int k = r->out.shape.rank; k-- > 0; rest /= r->out.shape.dim[k])
            at += rest % r->out.shape.dim[k] * x->stride[k];
        if (r->out.dtype == HT_F64) {
            double value = ((const double *)x->data)[at];
            ((double *)r->out.data)[i] = value * value * value;
        } else {
            float value = ((const float *)x->data)[at];
            ((float *)r->out.data)[i] = value * value * value;
        }
    }
}

static ht_var cube_slope(const ht_var *in, double factor)
{
    return ht_mul(ht_square(in[0]), factor);
}

static void cube_vjp(ht_rule *r)
{
    r->d[0] = ht_mul(r->v, cube_slope(r->in, 3));
}

static void cube_wrong_vjp(ht_rule *r)
{
    r->d[0] = ht_mul(r->v, cube_slope(r->in, 2));
}

static ht_var cube_jvp(const ht_rule *r)
{
    return ht_mul(r->t[0], cube_slope(r->in, 3));
}

static const ht_op cube = {.name = "cube",
                           .flags = HT_OP_ELEMENTWISE,
                           .run = cube_run,
                           .vjp = cube_vjp,
                           .jvp = cube_jvp};
static const ht_op wrong_cube = {.name = "wrong_cube",
                                 .flags = HT_OP_ELEMENTWISE,
                                 .run = cube_run,
                                 .vjp = cube_wrong_vjp,
                                 .jvp = cube_jvp};

static const ht_op *cube_op;

static ht_var cubed_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    ht_var weight = ht_get(theta, "out.weight");
    ht_var cubes = ht_apply(cube_op, 1, &weight, NULL, HT_HERE);
    return ht_add(small_inner(theta, eta, batch, user), ht_mean(cubes));
}

static ht_var cubed_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    ht_var weight = ht_get(theta, "out.weight");
    ht_var cubes = ht_apply(cube_op, 1, &weight, NULL, HT_HERE);
    return ht_add(small_outer(theta, eta, batch, user), ht_mean(cubes));
}

static void bilevel_check_wrong_derivative_is_found(void **state)
{
    small *s = *state;
    s->problem.inner = cubed_inner;
    s->problem.outer = cubed_outer;
    cube_op = &cube;
    assert_true(small_check(s));
    cube_op = &wrong_cube;
    assert_false(small_check(s));
    assert_int_equal(ht_context_status(s->ctx), HT_OK);
    assert_contains(s->text, "WRONG");
    const char *line = strstr(s->text, "against central differences");
    assert_non_null(line);
    assert_true(strstr(line, "WRONG") < strchr(line, '\n'));
}

/* The wrong op at a thousandth of the loss. */
static ht_var slightly_wrong_outer(const ht_vars *theta, const ht_vars *eta,
                                   const ht_vars *batch, void *user)
{
    ht_var weight = ht_get(theta, "out.weight");
    ht_var cubes = ht_apply(&wrong_cube, 1, &weight, NULL, HT_HERE);
    return ht_add(small_outer(theta, eta, batch, user), ht_mul(ht_mean(cubes), 1e-3));
}

/* The same wrong rule in the inner loss alone is another training, differentiated right:
 * what a vjp says is what trains. */
static void bilevel_check_wrong_inner_rule_trains_by_what_it_says(void **state)
{
    small *s = *state;
    s->problem.inner = cubed_inner;
    cube_op = &wrong_cube;
    assert_true(small_check(s));
}

/* Differences see through a stop, whose derivative is zero by decree: the check says that
 * they disagree, and that the ways to the gradient agree with each other. */
static ht_var stopped_inner(const ht_vars *theta, const ht_vars *eta,
                            const ht_vars *batch, void *user)
{
    ht_var weight = ht_get(theta, "out.weight");
    ht_var held = ht_mul(ht_stop_gradient(weight), ht_square(weight));
    return ht_add(small_inner(theta, eta, batch, user), ht_mean(held));
}

static void bilevel_check_stop_gradient_disagrees_with_differences(void **state)
{
    small *s = *state;
    s->problem.inner = stopped_inner;
    assert_false(small_check(s));
    assert_int_equal(count_lines(s->text, "WRONG"), 1);
    /* Reverse over reverse is what ran: holding it against itself would be no check. */
    assert_int_equal(count_lines(s->text, "  ok\n"), 3);
    assert_contains(s->text, "mixed mode = reverse over reverse");
    assert_int_equal(count_lines(s->text, "skipped: the inner loss"), 1);
    assert_true(strstr(s->text, "WRONG") < strchr(s->text, '\n'));
}

/* A wrong derivative, however small its part, is found by several steps as by one. */
static void bilevel_check_slightly_wrong_derivative_is_found(void **state)
{
    small *s = *state;
    s->problem.outer = slightly_wrong_outer;
    assert_false(small_check(s));
    assert_int_equal(count_lines(s->text, "WRONG"), 1);
    assert_null(strstr(s->text, "undecided"));
}

/* Bends of Adam's where gradients are near 0: its eps is far below any one step, the
 * derivative is right. Of a batch whose weights are 1e-9 all gradients are. */
static void bilevel_check_adam_of_small_eps_is_not_called_wrong(void **state)
{
    small *s = *state;
    s->problem.update = (ht_update){.rule = &ht_adam,
                                    .rate = HT_FIXED(0.05),
                                    .momentum = HT_FIXED(0.8),
                                    .beta2 = HT_FIXED(0.9),
                                    .eps = HT_FIXED(1e-8)};
    const double around[] = {1e-3, 1e-5, 1e-7, 1e-8, 1e-9};
    ht_set *eta = ht_set_new(s->ctx);
    ht_tensor_fill(ht_set_add(eta, "lambda", HT_F32, HT_SHAPE(ROWS)), 1);
    ht_tensor_fill(ht_set_add(eta, "penalty", HT_F32, HT_SCALAR), -25);
    ht_set_free(s->eta);
    s->eta = s->problem.eta = eta;
    for (size_t k = 0; k < sizeof around / sizeof *around; k++) {
        ht_tensor_uniform(ht_set_tensor(eta, "lambda"), k, 0, around[k]);
        assert_true(small_check(s));
        assert_null(strstr(s->text, "WRONG"));
    }
}

/* relu at its kink: every weight of a layer is 0, and one outer variable moves them all.
 */
static void kinked_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "out.bias", ht_mul(ht_get(theta0, "out.bias"), 0));
    ht_vars_set(theta0, "out.weight",
                ht_broadcast(ht_mean(ht_get(eta, "start")), HT_SHAPE(HIDDEN, CLASSES)));
}

static ht_var kinked_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    (void)batch, (void)user;
    ht_var far = ht_sum(ht_relu(ht_get(eta, "start")));
    return ht_add(far, ht_mean(ht_square(ht_get(theta, "out.weight"))));
}

static void bilevel_check_at_a_kink_is_undecided_and_says_so(void **state)
{
    small *s = *state;
    ht_set_add(s->eta, "start", HT_F32, HT_SHAPE(CLASSES));
    s->problem.init = kinked_init;
    s->problem.outer = kinked_outer;
    assert_true(small_check(s));
    assert_int_equal(count_lines(s->text, "undecided"), 1);
    assert_int_equal(count_lines(s->text, "  ok\n"), 4);
    assert_contains(s->text, "a kink lies there");
    assert_contains(s->text, "the lines of other modes decide");
}

/* A jump beside the point, within every step but the smallest. */
static ht_var jumping_outer(const ht_vars *theta, const ht_vars *eta,
                            const ht_vars *batch, void *user)
{
    ht_var start = ht_sum(ht_get(eta, "start"));
    ht_var jump = ht_where(ht_greater(start, 1e-10), ht_exp(ht_mul(start, 0)), 0);
    return ht_add(small_outer(theta, eta, batch, user), ht_add(jump, ht_mul(start, 0.1)));
}

static void bilevel_check_beside_a_jump_is_undecided_and_says_so(void **state)
{
    small *s = *state;
    ht_set_add(s->eta, "start", HT_F32, HT_SHAPE(CLASSES));
    s->problem.outer = jumping_outer;
    assert_true(small_check(s));
    assert_int_equal(count_lines(s->text, "undecided"), 1);
    assert_contains(s->text, "do not settle");
}

/* w' = w - eta (w - 3.9 w (1 - w)), the logistic map, beyond 4 without a bound: each step
 * doubles a difference about, so that after 70 no step is small enough. */
static ht_var logistic_inner(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *batch, void *user)
{
    (void)batch, (void)user;
    ht_var w = ht_get(theta, "w"), square = ht_square(w);
    ht_var potential = ht_sub(ht_mul(ht_mul(square, w), 1.3), ht_mul(square, 1.45));
    return ht_mul(ht_get(eta, "scale"), ht_sum(potential));
}

static ht_var logistic_outer(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *batch, void *user)
{
    (void)eta, (void)batch, (void)user;
    return ht_mean(ht_square(ht_get(theta, "w")));
}

static void bilevel_check_chaos_is_undecided_and_says_so(void **state)
{
    small *s = *state;
    ht_set_free(s->theta);
    ht_set_free(s->eta);
    s->theta = ht_set_new(s->ctx);
    ht_tensor_uniform(ht_set_add(s->theta, "w", HT_F64, HT_SHAPE(3)), 1, 0.3, 0.4);
    s->eta = ht_set_new(s->ctx);
    ht_tensor_fill(ht_set_add(s->eta, "scale", HT_F64, HT_SCALAR), 1);
    s->problem = (ht_bilevel_problem){.inner = logistic_inner,
                                      .outer = logistic_outer,
                                      .theta = s->theta,
                                      .eta = s->eta,
                                      .steps = 70,
                                      .update = {.rule = &ht_sgd, .rate = HT_FIXED(1)}};
    for (double scale = 1; scale < 1.04; scale += 0.01) {
        ht_tensor_fill(ht_set_at(s->eta, 0), scale);
        assert_true(small_check(s));
        assert_int_equal(count_lines(s->text, "undecided"), 1);
        assert_contains(s->text, "do not settle");
        assert_int_equal(count_lines(s->text, "  ok\n"), 4);
    }
}

static void bilevel_check_diverging_run_is_not_checked(void **state)
{
    small *s = *state;
    s->problem.update = (ht_update){.rule = &ht_sgd, .rate = HT_FIXED(1e200)};
    ht_set_free(s->eta);
    s->eta = s->problem.eta = ht_set_new(s->ctx);
    ht_tensor_fill(ht_set_add(s->eta, "lambda", HT_F32, HT_SHAPE(ROWS)), 1);
    ht_tensor_fill(ht_set_add(s->eta, "penalty", HT_F32, HT_SCALAR), 1);
    assert_false(small_check(s));
    assert_int_equal(ht_context_status(s->ctx), HT_OK);
    assert_contains(s->text, "not checked: the run is not finite from step");
    assert_null(strstr(s->text, "WRONG"));
}

/* A network of relu trained until differences lose its track: none is small enough, and
 * neither side settles. Every way to the gradient agrees, and that decides. */
static ht_var relu_network(const ht_vars *theta, const ht_vars *batch)
{
    ht_var hidden = ht_relu(ht_linear(ht_get(batch, "x"), theta, "hidden"));
    return ht_cross_entropy(
        ht_linear(ht_relu(ht_linear(hidden, theta, "second")), theta, "out"),
        ht_get(batch, "y"));
}

static ht_var relu_network_inner(const ht_vars *theta, const ht_vars *eta,
                                 const ht_vars *batch, void *user)
{
    (void)user;
    return ht_mean(ht_mul(ht_get(eta, "lambda"), relu_network(theta, batch)));
}

static ht_var relu_network_outer(const ht_vars *theta, const ht_vars *eta,
                                 const ht_vars *batch, void *user)
{
    (void)eta, (void)user;
    return ht_mean(relu_network(theta, batch));
}

/* Numbers that look random and do not depend on the seed. */
static void waves(ht_tensor *x, double height, int phase)
{
    for (int64_t k = 0; k < ht_tensor_count(x); k++)
        ht_tensor_set(x, k, height * sin(12.9898 * (double)k + 7.1 * phase));
}

static void bilevel_check_relu_network_of_200_steps_is_never_called_wrong(void **state)
{
    small *s = *state;
    enum { WIDE = 24, MANY = 200, NETWORKS = 4 };
    int undecided = 0;
    ht_set_free(s->theta);
    ht_set_free(s->eta);
    s->theta = s->problem.theta = ht_set_new(s->ctx);
    ht_linear_init(s->theta, "hidden", HT_F32, INPUTS, WIDE);
    ht_linear_init(s->theta, "second", HT_F32, WIDE, WIDE);
    ht_linear_init(s->theta, "out", HT_F32, WIDE, CLASSES);
    s->eta = s->problem.eta = ht_set_new(s->ctx);
    ht_tensor_fill(ht_set_add(s->eta, "lambda", HT_F32, HT_SHAPE(ROWS)), 1);
    ht_tensor_fill(ht_set_add(s->eta, "rate", HT_F32, HT_SCALAR), 1.7);
    waves(ht_set_tensor(s->train, "x"), 1.5, 100);
    waves(ht_set_tensor(s->validation, "x"), 1.5, 200);
    s->problem.inner = relu_network_inner;
    s->problem.outer = relu_network_outer;
    s->problem.update = (ht_update){.rule = &ht_sgd, .rate = HT_OUTER("rate")};
    s->problem.steps = MANY;
    s->problem.coordinates = NULL;
    s->problem.n_coordinates = 0;
    for (int network = 0; network < NETWORKS; network++) {
        for (int i = 0; i < ht_set_count(s->theta); i++)
            waves(ht_set_at(s->theta, i), 0.35, network + i);
        assert_true(small_check(s));
        assert_null(strstr(s->text, "WRONG"));
        bool unsure = strstr(s->text, "undecided");
        assert_int_equal(count_lines(s->text, "  ok\n"), unsure ? 4 : 5);
        if (unsure) assert_contains(s->text, "relu on the way");
        if (unsure) assert_contains(s->text, "the lines of other modes decide");
        undecided += unsure;
    }
    assert_in_range(undecided, 1, NETWORKS);
}

/* Batches that take their time, until the check has taken the time to say so. */
static ht_status slow_fill(uint64_t step, ht_set *batch, void *user)
{
    const small *s = user;
    (void)step, (void)batch;
    struct timespec now, wait = {.tv_nsec = 50000000};
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec < s->began + 4) nanosleep(&wait, NULL);
    return HT_OK;
}

static void bilevel_check_that_takes_long_says_where_it_is(void **state)
{
    small *s = *state;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    assert_true(small_check(s));
    assert_null(strstr(s->text, "trainings"));
    s->began = now.tv_sec;
    s->problem.inner_batch = slow_fill;
    assert_true(small_check(s));
    assert_int_equal(count_lines(s->text, "  ok\n"), 5);
    assert_in_range(count_lines(s->text, " trainings: "), 1, 4);
    const char *line = strstr(s->text, "  ... ");
    assert_non_null(line);
    assert_contains(line, "hypergradient, against central differences\n");
}

/* relu away from its kink: the pre-activations are positive throughout. */
static ht_var relu_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    ht_var weight = ht_get(theta, "out.weight");
    ht_var far = ht_relu(ht_add(weight, 10));
    return ht_add(small_inner(theta, eta, batch, user), ht_mean(ht_square(far)));
}

static void bilevel_check_relu_off_its_kink_holds(void **state)
{
    small *s = *state;
    s->problem.inner = relu_inner;
    assert_true(small_check(s));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, small_new, small_free)
    const struct CMUnitTest tests[] = {
        CASE(bilevel_check_right_f32_problem_holds),
        CASE(bilevel_check_adam_and_one_step_hold),
        CASE(bilevel_check_init_holds_and_unreached_is_refused),
        CASE(bilevel_check_forward_mode_is_left_out_beyond_a_few),
        CASE(bilevel_check_minibatches_hold),
        CASE(bilevel_check_batch_of_more_than_step_is_said),
        CASE(bilevel_check_batches_without_data_hold),
        CASE(bilevel_check_failing_batch_is_false_with_the_error),
        CASE(bilevel_check_wrong_derivative_is_found),
        CASE(bilevel_check_wrong_inner_rule_trains_by_what_it_says),
        CASE(bilevel_check_stop_gradient_disagrees_with_differences),
        CASE(bilevel_check_relu_off_its_kink_holds),
        CASE(bilevel_check_slightly_wrong_derivative_is_found),
        CASE(bilevel_check_adam_of_small_eps_is_not_called_wrong),
        CASE(bilevel_check_at_a_kink_is_undecided_and_says_so),
        CASE(bilevel_check_beside_a_jump_is_undecided_and_says_so),
        CASE(bilevel_check_chaos_is_undecided_and_says_so),
        CASE(bilevel_check_relu_network_of_200_steps_is_never_called_wrong),
        CASE(bilevel_check_that_takes_long_says_where_it_is),
        CASE(bilevel_check_diverging_run_is_not_checked),
    };
    return TEST_MAIN(tests);
}
