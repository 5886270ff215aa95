/* SPDX-License-Identifier: MIT */
/* test_nn_own_rule.c: update rules of a user's own, by the public row alone: states of
 * any shape and first value, scalars of its own, outer variables it reads, and what a row
 * or a step is refused for. Read next: ../../nn/ht_update.h, test_nn_update.c. */
#include "test_bilevel.h"
#include "test_nn.h"

static ht_var beside(ht_var scalar, ht_var x)
{
    return ht_cast(scalar, ht_var_dtype(x));
}

/* w -= rate power g / peak, peak = max(fade peak, |g|) over the rows: (1, n). */
static void peaked_apply(ht_update_step *s)
{
    ht_var largest = ht_max_axes(ht_abs(s->g), HT_AXES(0), true);
    ht_var peak = ht_maximum(ht_mul(beside(s->own[0], s->w), s->state[0]), largest);
    ht_var size = beside(ht_mul(s->rate, s->own[1]), s->w);
    s->new_state[0] = peak;
    s->new_w = ht_sub(s->w, ht_mul(size, ht_div(s->g, peak)));
}

static ht_shape peaked_shape(int k, ht_shape w)
{
    (void)k;
    w.dim[0] = 1;
    return w;
}

static const ht_update_rule peaked = {.name = "peaked",
                                      .n_state = 1,
                                      .state = {"peak"},
                                      .initial = {0.5},
                                      .shape = peaked_shape,
                                      .own = {"fade", "power"},
                                      .apply = peaked_apply};

static ht_update peaked_update(void)
{
    return (ht_update){
        .rule = &peaked, .rate = HT_FIXED(0.1), .own = {HT_FIXED(0.75), HT_FIXED(2)}};
}

/* theta "w" (2, 3) of 1, and gradients along which its peaks differ. */
static const double along[2][6] = {{0.25, -4, 1, -0.125, 2, 3}, {1, 1, -1, 0, 8, 2}};

static double peaked_after(int steps, int i)
{
    double w = 1, peak = 0.5;
    for (int t = 0; t < steps; t++) {
        double largest = fmax(fabs(along[t][i % 3]), fabs(along[t][i % 3 + 3]));
        peak = fmax(0.75 * peak, largest);
        w -= 0.2 * along[t][i] / peak;
    }
    return w;
}

static void optimizer_of_a_row_with_shapes_and_first_values_is_its_loop(void **state)
{
    fixture *f = *state;
    for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++) {
        ht_set *theta = ht_set_new(f->ctx), *gradient = ht_set_new(f->ctx);
        ht_tensor *w = ht_set_add(theta, "w", dtype, HT_SHAPE(2, 3));
        ht_tensor *g = ht_set_add(gradient, "w", dtype, HT_SHAPE(2, 3));
        ht_update update = peaked_update();
        ht_tensor_fill(w, 1);
        ht_optimizer *o = ht_optimizer_new(theta, &update);
        test_no_error(f->ctx);
        const ht_tensor *peak = ht_set_tensor(ht_optimizer_state(o), "w.peak");
        assert_true(ht_shape_equal(ht_tensor_shape(peak), HT_SHAPE(1, 3)));
        assert_near(ht_tensor_get(peak, 2), 0.5, 0);
        for (int t = 0; t < 2; t++) {
            for (int i = 0; i < 6; i++) ht_tensor_set(g, i, along[t][i]);
            ht_optimizer_step(o, gradient);
        }
        test_no_error(f->ctx);
        for (int i = 0; i < 6; i++)
            assert_near(ht_tensor_get(w, i), peaked_after(2, i),
                        dtype == HT_F64 ? 1e-15 : 1e-6);
        ht_optimizer_free(o);
        ht_set_free(theta);
        ht_set_free(gradient);
    }
}

/* A bilevel of it: inner loss sum(w g), g the batch: the run is the loop above. */
static ht_var along_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)user;
    ht_var g = ht_mul(ht_get(batch, "g"), ht_get(eta, "scale"));
    return ht_sum(ht_mul(ht_get(theta, "w"), g));
}

static ht_var along_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)eta, (void)batch, (void)user;
    return ht_sum(ht_square(ht_get(theta, "w")));
}

static ht_status along_batch(uint64_t step, ht_set *batch, void *user)
{
    (void)user;
    for (int i = 0; i < 6; i++) ht_tensor_set(ht_set_at(batch, 0), i, along[step % 2][i]);
    return HT_OK;
}

typedef struct row_run {
    ht_set *theta, *eta, *batch;
    ht_bilevel_problem problem;
} row_run;

static row_run row_run_new(ht_context *ctx, ht_update update)
{
    row_run r = {ht_set_new(ctx), ht_set_new(ctx), ht_set_new(ctx), {0}};
    ht_tensor_fill(ht_set_add(r.theta, "w", HT_F64, HT_SHAPE(2, 3)), 1);
    ht_tensor_fill(ht_set_add(r.eta, "scale", HT_F64, HT_SCALAR), 1);
    ht_set_add(r.batch, "g", HT_F64, HT_SHAPE(2, 3));
    r.problem = (ht_bilevel_problem){.inner = along_inner,
                                     .outer = along_outer,
                                     .theta = r.theta,
                                     .eta = r.eta,
                                     .inner_data = r.batch,
                                     .inner_batch = along_batch,
                                     .update = update,
                                     .steps = 2};
    return r;
}

static void row_run_free(row_run *r)
{
    ht_set_free(r->theta);
    ht_set_free(r->eta);
    ht_set_free(r->batch);
}

static void bilevel_of_a_row_starts_each_run_from_its_first_values(void **state)
{
    fixture *f = *state;
    row_run r = row_run_new(f->ctx, peaked_update());
    ht_tensor_fill(ht_set_add(r.eta, "fade", HT_F64, HT_SCALAR), 0.75);
    ht_tensor_fill(ht_set_add(r.eta, "power", HT_F64, HT_SHAPE(2)), 2);
    r.problem.update.own[0] = HT_OUTER("fade");
    r.problem.update.own[1] = HT_OUTER("power");
    double want = 0;
    for (int i = 0; i < 6; i++) want += pow(peaked_after(2, i), 2);
    ht_bilevel *b = ht_bilevel_new(f->ctx, &r.problem, NULL);
    for (int k = 0; k < 3; k++) {
        assert_near(ht_bilevel_run(b, 0).outer, want, 1e-14);
        test_no_error(f->ctx);
    }
    assert_int_equal(ht_bilevel_commit(b), HT_OK);
    assert_near(ht_tensor_get(ht_set_tensor(ht_bilevel_state(b), "w.peak"), 1), 8, 0);
    ht_bilevel_free(b);
    ht_tensor_fill(ht_set_at(r.theta, 0), 1);
    assert_true(ht_bilevel_check(f->ctx, &r.problem, 3, NULL));
    test_no_error(f->ctx);
    row_run_free(&r);
}

/* The step is what a small network of outer variables makes of g. */
static void learned_apply(ht_update_step *s)
{
    ht_var x = ht_reshape(s->g, HT_SHAPE(-1, 1));
    ht_var hidden = ht_tanh(ht_linear(x, s->eta, s->user));
    ht_var step = ht_reshape(ht_sum_axes(hidden, HT_AXES(1), false), ht_var_shape(s->w));
    s->new_w = ht_sub(s->w, ht_mul(beside(s->rate, s->w), step));
}

static const ht_update_rule learned = {
    .name = "learned", .reads_eta = true, .apply = learned_apply};

static void bilevel_of_a_row_that_reads_eta_learns_it(void **state)
{
    fixture *f = *state;
    ht_update update = {.rule = &learned, .rate = HT_FIXED(0.1), .user = "net"};
    row_run r = row_run_new(f->ctx, update);
    ht_linear_init(r.eta, "net", HT_F64, 1, 4);
    assert_true(ht_bilevel_check(f->ctx, &r.problem, 3, NULL));
    test_no_error(f->ctx);
    assert_null(ht_optimizer_new(r.theta, &update));
    test_error(f->ctx, HT_ERROR_ARGUMENT,
               "update rule learned: it reads outer variables, and plain training has");
    row_run_free(&r);
}

/* Rows that are not right. */

static void forgets_w(ht_update_step *s)
{
    s->new_state[0] = s->g;
}

static void forgets_state(ht_update_step *s)
{
    s->new_w = ht_sub(s->w, s->g);
}

static void makes_a_sum(ht_update_step *s)
{
    s->new_w = ht_sub(s->w, s->g);
    s->new_state[0] = ht_sum(s->g);
}

static void makes_f64(ht_update_step *s)
{
    s->new_w = ht_sub(ht_cast(s->w, HT_F64), ht_cast(s->g, HT_F64));
    s->new_state[0] = s->g;
}

static void row_that_is_not_right_is_named(void **state)
{
    fixture *f = *state;
#define ROW(...)                                         \
    {                                                    \
        .name = "yours", .apply = forgets_w, __VA_ARGS__ \
    }
    const struct {
        ht_update_rule row;
        ht_status status;
        const char *message;
    } wrong[] = {
        {ROW(.n_state = 5), HT_ERROR_ARGUMENT, "yours: n_state must lie in 0 .. "},
        {ROW(.n_state = -1), HT_ERROR_ARGUMENT, "yours: n_state must lie in 0 .. "},
        {ROW(.n_state = 2, .state = {"m"}), HT_ERROR_ARGUMENT, "a state has no name"},
        {ROW(.n_state = 1, .state = {"m"}, .initial = {(double)NAN}), HT_ERROR_ARGUMENT,
         "initial value is not finite"},
        {ROW(.n_state = 2, .state = {"m", "m"}), HT_ERROR_ARGUMENT, "\"w.m\""},
        {ROW(.own = {NULL, "fade"}), HT_ERROR_ARGUMENT, "own has a gap"},
        {ROW(.own = {"fade"}), HT_ERROR_ARGUMENT, "yours: fade is zero"},
        {ROW(.n_state = 1, .state = {"m"}), HT_ERROR_ARGUMENT,
         "yours: new_w of parameter \"w\" is not set; it must be a variable of this "
         "tape, f32 (2, 3)"},
        {{.name = "yours", .n_state = 1, .state = {"m"}, .apply = forgets_state},
         HT_ERROR_ARGUMENT,
         "yours: m of parameter \"w\" is not set"},
        {{.name = "yours", .n_state = 1, .state = {"m"}, .apply = makes_a_sum},
         HT_ERROR_SHAPE,
         "yours: m of parameter \"w\" is f32 (); it must be f32 (2, 3)"},
        {{.name = "yours", .n_state = 1, .state = {"m"}, .apply = makes_f64},
         HT_ERROR_SHAPE,
         "yours: new_w of parameter \"w\" is f64 (2, 3); it must be f32 (2, 3)"},
    };
    ht_set *theta = ht_set_new(f->ctx);
    ht_set_add(theta, "w", HT_F32, HT_SHAPE(2, 3));
    size_t live = ht_context_live_bytes(f->ctx);
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        ht_update update = {.rule = &wrong[k].row, .rate = HT_FIXED(0.1)};
        assert_null(ht_optimizer_new(theta, &update));
        test_error(f->ctx, wrong[k].status, wrong[k].message);
        assert_int_equal(ht_context_live_bytes(f->ctx), live);
    }
    ht_update sgd = HT_SGD(0.1);
    sgd.own[0] = HT_FIXED(1);
    assert_null(ht_optimizer_new(theta, &sgd));
    test_error(f->ctx, HT_ERROR_ARGUMENT, "sgd: own is set, but the rule has no such");
    ht_set_free(theta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(optimizer_of_a_row_with_shapes_and_first_values_is_its_loop),
        CASE(bilevel_of_a_row_starts_each_run_from_its_first_values),
        CASE(bilevel_of_a_row_that_reads_eta_learns_it),
        CASE(row_that_is_not_right_is_named),
    };
    return TEST_MAIN(tests);
}
