/* SPDX-License-Identifier: MIT */
/* test_nn_training.c: what a training loop is made of: a gradient straight into a set, a
 * function of sets recorded once, gradients that are not finite, a training as one file,
 * how good predictions are. Read next: test_nn_update.c. */
#include <unistd.h>

#include "nn_internal.h"
#include "test_nn.h"

enum { ROWS = 6, CLASSES = 3 };

typedef struct desk {
    ht_context *ctx;
    ht_set *theta, *batch, *gradient, *result;
} desk;

static int desk_new(void **state)
{
    desk *d = calloc(1, sizeof *d);
    d->ctx = ht_context_new(&(ht_context_options){.seed = 9, .threads = 1});
    d->theta = ht_set_new(d->ctx);
    ht_linear_init(d->theta, "hidden", HT_F64, 4, 5);
    ht_linear_init(d->theta, "out", HT_F64, 5, CLASSES);
    d->gradient = ht_set_clone(d->theta, 0);
    d->batch = ht_set_new(d->ctx);
    ht_tensor_normal(ht_set_add(d->batch, "x", HT_F64, HT_SHAPE(ROWS, 4)), 1, 0, 1);
    ht_tensor *label = ht_set_add(d->batch, "label", HT_I32, HT_SHAPE(ROWS));
    for (int i = 0; i < ROWS; i++) ht_tensor_set(label, i, i % CLASSES);
    d->result = ht_set_new(d->ctx);
    ht_set_add(d->result, "loss", HT_F64, HT_SCALAR);
    ht_set_add(d->result, "logits", HT_F64, HT_SHAPE(ROWS, CLASSES));
    test_no_error(d->ctx);
    *state = d;
    return 0;
}

static int desk_free(void **state)
{
    desk *d = *state;
    ht_set_free(d->theta);
    ht_set_free(d->batch);
    ht_set_free(d->gradient);
    ht_set_free(d->result);
    ht_context_free(d->ctx);
    free(d);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, desk_new, desk_free)

static ht_var logits_of(const ht_vars *theta, const ht_vars *batch)
{
    return ht_linear(ht_tanh(ht_linear(ht_get(batch, "x"), theta, "hidden")), theta,
                     "out");
}

static ht_var loss_of(const ht_vars *theta, const ht_vars *batch)
{
    return ht_mean(ht_cross_entropy(logits_of(theta, batch), ht_get(batch, "label")));
}

/* Gradients. */

static void assert_equal_sets(const ht_set *a, const ht_set *b)
{
    for (int i = 0; i < ht_set_count(a); i++) {
        const ht_tensor *x = ht_set_at(a, i), *y = ht_set_tensor(b, ht_set_name(a, i));
        assert_memory_equal(ht_tensor_data(x), ht_tensor_data(y), ht_tensor_bytes(x));
    }
}

static void backward_gives_by_name_what_grad_gives(void **state)
{
    desk *d = *state;
    ht_tape *tape = ht_tape_new(d->ctx, HT_EAGER);
    ht_vars *theta = ht_vars_input(tape, d->theta, 0);
    ht_var loss = loss_of(theta, ht_vars_input(tape, d->batch, 0)), dx[4];
    ht_vars_grad(loss, theta, dx);
    /* Another order, and no bias of "out". */
    ht_set *some = ht_set_new(d->ctx);
    ht_set_add(some, "out.weight", HT_F64, HT_SHAPE(5, CLASSES));
    ht_set_add(some, "hidden.bias", HT_F64, HT_SHAPE(5));
    ht_set_add(some, "hidden.weight", HT_F64, HT_SHAPE(4, 5));
    ht_backward(loss, theta, d->gradient);
    ht_backward(loss, theta, some);
    test_no_error(d->ctx);
    for (int i = 0; i < 4; i++)
        assert_memory_equal(ht_tensor_data(ht_set_at(d->gradient, i)),
                            ht_tensor_data(ht_value(dx[i])),
                            ht_tensor_bytes(ht_set_at(d->gradient, i)));
    assert_equal_sets(some, d->gradient);
    ht_set_free(some);
    ht_tape_free(tape);
}

static void backward_refuses_what_does_not_match(void **state)
{
    desk *d = *state;
    ht_tape *tapes[] = {ht_tape_new(d->ctx, HT_EAGER), ht_tape_new(d->ctx, HT_RECORD)};
    const struct {
        const char *name;
        ht_dtype dtype;
        ht_shape shape;
        const char *says;
    } wrong[] = {
        {"hiden.bias", HT_F64, HT_SHAPE(5),
         "ht_backward: no variable \"hiden.bias\"; there are: hidden.weight,"},
        {"hidden.bias", HT_F32, HT_SHAPE(5),
         "ht_backward: the gradient set has \"hidden.bias\" f32 (5), the variable is f64 "
         "(5)"},
        {"hidden.bias", HT_F64, HT_SHAPE(5, 1),
         "ht_backward: the gradient set has \"hidden.bias\" f64 (5, 1), the variable is "
         "f64 (5)"},
        {NULL, HT_F64, HT_SCALAR, "ht_backward: the gradient has no tensors"},
    };
    ht_vars *theta = ht_vars_input(tapes[0], d->theta, 0);
    ht_var loss = loss_of(theta, ht_vars_input(tapes[0], d->batch, 0));
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        ht_set *gradient = ht_set_new(d->ctx);
        if (wrong[k].name) ht_set_add(gradient, "out.bias", HT_F64, HT_SHAPE(CLASSES));
        if (wrong[k].name)
            ht_set_add(gradient, wrong[k].name, wrong[k].dtype, wrong[k].shape);
        ht_backward(loss, theta, gradient);
        assert_contains(ht_context_message(d->ctx), wrong[k].says);
        assert_contains(ht_context_message(d->ctx), "test_nn_training.c:");
        ht_context_clear(d->ctx);
        if (wrong[k].name) assert_near(ht_tensor_get(ht_set_at(gradient, 0), 0), 0, 0);
        ht_set_free(gradient);
    }
    theta = ht_vars_input(tapes[1], d->theta, 0);
    ht_backward(ht_l2(theta, NULL), theta, d->gradient);
    test_error(d->ctx, HT_ERROR_ARGUMENT, "ht_backward: the tape is recorded");
    ht_backward(ht_l2(ht_vars_input(tapes[0], d->theta, 0), "out*"),
                ht_vars_input(tapes[0], d->theta, 0), d->gradient);
    test_error(d->ctx, HT_ERROR_NO_GRADIENT, "grad");
    for (int i = 0; i < 2; i++) ht_tape_free(tapes[i]);
}

/* Recordings. */

static void step_of_training(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_var logits = logits_of(in[0], in[1]);
    ht_var loss = ht_mean(ht_cross_entropy(logits, ht_get(in[1], "label")));
    if (user) loss = ht_mul(loss, ht_cast(ht_add(ht_step(in[0]), 1), HT_F64));
    ht_vars_set(out[0], "logits", logits);
    ht_vars_set(out[0], "loss", loss);
    ht_vars_backward(loss, in[0], out[1]);
}

static ht_recording *record_step(desk *d, void *user)
{
    return ht_recording_new((const ht_set *[]){d->theta, d->batch, NULL},
                            (ht_set *[]){d->result, d->gradient, NULL}, step_of_training,
                            user);
}

static void recording_run_is_the_eager_step_at_every_step(void **state)
{
    desk *d = *state;
    ht_tape *tape = ht_tape_new(d->ctx, HT_EAGER);
    ht_set *want = ht_set_clone(d->theta, 0);
    ht_recording *r = record_step(d, d);
    test_no_error(d->ctx);
    for (int step = 0; step < 3; step++) {
        ht_tensor_normal(ht_set_at(d->batch, 0), 10 + (uint64_t)step, 0, 1);
        ht_vars *theta = ht_vars_input(tape, d->theta, step);
        ht_var loss =
            ht_mul(loss_of(theta, ht_vars_input(tape, d->batch, 0)), step + 1.0);
        ht_backward(loss, theta, want);
        assert_int_equal(ht_recording_run(r, step), HT_OK);
        assert_near(ht_tensor_get(ht_set_at(d->result, 0), 0), ht_item(loss), 0);
        assert_equal_sets(want, d->gradient);
        ht_tape_reset(tape);
    }
    uint64_t allocations = ht_context_allocations(d->ctx);
    ht_recording_run(r, 3);
    assert_int_equal(ht_context_allocations(d->ctx), allocations);
    assert_true(ht_program_nodes(ht_recording_program(r)) > 10);
    ht_recording_free(r);
    ht_set_free(want);
    ht_tape_free(tape);
}

/* s' = s + x, in place: what is read and written is one set. */
static void gather(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    (void)user;
    ht_vars_set(out[0], "loss",
                ht_add(ht_get(out[0], "loss"), ht_sum(ht_get(in[1], "x"))));
    ht_vars_set(out[0], "logits", ht_mul(ht_get(in[0], "logits"), 2));
}

static void recording_of_a_set_read_and_written_goes_on_from_it(void **state)
{
    desk *d = *state;
    ht_tensor_fill(ht_set_at(d->batch, 0), 0.5);
    ht_tensor_fill(ht_set_at(d->result, 1), 1);
    ht_recording *r = ht_recording_new((const ht_set *[]){d->result, d->batch, NULL},
                                       (ht_set *[]){d->result, NULL}, gather, NULL);
    for (int k = 1; k <= 3; k++) {
        assert_int_equal(ht_recording_run(r, 0), HT_OK);
        assert_near(ht_tensor_get(ht_set_at(d->result, 0), 0), 12 * k, 0);
        assert_near(ht_tensor_get(ht_set_at(d->result, 1), 7), pow(2, k), 0);
    }
    ht_recording_free(r);
}

static void forgets_the_logits(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    (void)user;
    ht_vars_set(out[0], "loss", loss_of(in[0], in[1]));
}

static void sets_a_matrix(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    (void)user;
    ht_vars_set(out[0], "loss", logits_of(in[0], in[1]));
}

static void adds_a_tensor(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    desk *d = user;
    ht_set_add(d->batch, "late", HT_F64, HT_SCALAR);
    ht_vars_set(out[0], "logits", logits_of(in[0], in[1]));
    ht_vars_set(out[0], "loss", loss_of(in[0], in[1]));
}

static void recording_new_of_a_wrong_function_is_an_error(void **state)
{
    desk *d = *state;
    const struct {
        ht_record_fn f;
        const char *says;
    } wrong[] = {
        {forgets_the_logits, "nothing was put in \"logits\" of out[0]"},
        {sets_a_matrix, "\"loss\" is f64 (), the value f64 (6, 3)"},
        {adds_a_tensor, "\"late\" was added by its function"},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        assert_null(ht_recording_new((const ht_set *[]){d->theta, d->batch, NULL},
                                     (ht_set *[]){d->result, NULL}, wrong[k].f, d));
        assert_contains(ht_context_message(d->ctx), wrong[k].says);
        ht_context_clear(d->ctx);
    }
}

static void free_set(void *set)
{
    ht_set_free(set);
}

static void recording_of_a_set_freed_or_grown_says_so(void **state)
{
    desk *d = *state;
    ht_recording *r = record_step(d, NULL);
    test_aborts(free_set, d->batch,
                "ht_set_free: a live recording still borrows this set (x, label) as its "
                "in: call ht_recording_free first");
    test_aborts(free_set, d->gradient, "as its out: call ht_recording_free first");
    ht_set_add(d->batch, "late", HT_F64, HT_SCALAR);
    assert_int_equal(ht_recording_run(r, 0), HT_ERROR_ARGUMENT);
    test_error(d->ctx, HT_ERROR_ARGUMENT, "\"late\" was added since");
    ht_recording_free(r);
}

static bool record_and_run(ht_context *ctx, void *user)
{
    desk d = {ctx, ht_set_new(ctx), ht_set_new(ctx), ht_set_new(ctx), ht_set_new(ctx)};
    ht_recording *r = NULL;
    (void)user;
    if (d.theta && d.batch && d.gradient && d.result) {
        ht_linear_init(d.theta, "hidden", HT_F64, 4, 5);
        ht_linear_init(d.theta, "out", HT_F64, 5, CLASSES);
        ht_set_add(d.gradient, "hidden.weight", HT_F64, HT_SHAPE(4, 5));
        ht_set_add(d.batch, "x", HT_F64, HT_SHAPE(ROWS, 4));
        ht_set_add(d.batch, "label", HT_I32, HT_SHAPE(ROWS));
        ht_set_add(d.result, "loss", HT_F64, HT_SCALAR);
        ht_set_add(d.result, "logits", HT_F64, HT_SHAPE(ROWS, CLASSES));
        r = record_step(&d, NULL);
    }
    bool done = r && ht_recording_run(r, 0) == HT_OK;
    ht_recording_free(r);
    ht_set_free(d.theta);
    ht_set_free(d.batch);
    ht_set_free(d.gradient);
    ht_set_free(d.result);
    return done;
}

static void recording_with_nth_allocation_failing_leaks_nothing(void **state)
{
    (void)state;
    assert_in_range(fail_each_allocation(record_and_run, NULL), 40, 400);
}

/* Gradients that are not finite. */

/* At every place of a tensor as long as some blocks that are looked at in four parts. */
static void step_along_a_gradient_that_is_not_finite_changes_nothing(void **state)
{
    desk *d = *state;
    const double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++) {
        ht_set *theta = ht_set_new(d->ctx);
        ht_tensor_fill(ht_set_add(theta, "a", dtype, HT_SHAPE(3)), 1);
        ht_tensor_fill(ht_set_add(theta, "b", dtype, HT_SHAPE(7, 643)), 2);
        ht_set *g = ht_set_clone(theta, 0), *before = ht_set_clone(theta, 0);
        ht_update update = HT_SGD(0.5);
        ht_optimizer *o = ht_optimizer_new(theta, &update);
        ht_tensor_fill(ht_set_at(g, 0), 0);
        for (int k = 0; k < 7 * 643; k++) {
            ht_tensor_set(ht_set_at(g, 1), k, bad[k % 3]);
            assert_int_equal(ht_optimizer_step(o, g), HT_ERROR_ARGUMENT);
            char says[96];
            snprintf(says, sizeof says, "of \"b\" is %g at element %d of 4501, in step 0",
                     bad[k % 3], k);
            assert_contains(ht_context_message(d->ctx), says);
            ht_context_clear(d->ctx);
            ht_tensor_set(ht_set_at(g, 1), k, dtype == HT_F32 ? 3.4e38 : 1.7e308);
        }
        assert_equal_sets(theta, before);
        assert_int_equal(ht_optimizer_steps(o), 0);
        ht_optimizer_free(o);
        ht_set_free(theta);
        ht_set_free(g);
        ht_set_free(before);
    }
}

static void step_of_an_update_that_takes_any_gradient_takes_it(void **state)
{
    desk *d = *state;
    ht_update update = HT_SGD(0.5);
    update.non_finite = true;
    ht_optimizer *o = ht_optimizer_new(d->theta, &update);
    for (int i = 0; i < ht_set_count(d->gradient); i++)
        ht_tensor_fill(ht_set_at(d->gradient, i), 1);
    ht_tensor_set(ht_set_at(d->gradient, 1), 2, INFINITY);
    assert_int_equal(ht_optimizer_step(o, d->gradient), HT_OK);
    assert_true(isinf(ht_tensor_get(ht_set_at(d->theta, 1), 2)));
    ht_optimizer_free(o);
}

/* Of 0 the logarithm is -inf. */
static void takes_a_logarithm(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    (void)user;
    ht_var x = ht_log(ht_get(in[1], "x"));
    ht_var loss = ht_sum(ht_mul(ht_linear(x, in[0], "hidden"), 2));
    ht_vars_backward(ht_add(loss, ht_l2(in[0], NULL)), in[0], out[0]);
}

static void step_along_a_recorded_gradient_names_the_op_it_began_at(void **state)
{
    desk *d = *state;
    ht_update update = HT_ADAM(0.1);
    ht_optimizer *o = ht_optimizer_new(d->theta, &update);
    ht_recording *r =
        ht_recording_new((const ht_set *[]){d->theta, d->batch, NULL},
                         (ht_set *[]){d->gradient, NULL}, takes_a_logarithm, NULL);
    ht_tensor_fill(ht_set_at(d->batch, 0), 1);
    ht_recording_run(r, 0);
    assert_int_equal(ht_optimizer_step(o, d->gradient), HT_OK);
    ht_tensor_set(ht_set_at(d->batch, 0), 5, 0);
    ht_recording_run(r, 1);
    assert_int_equal(ht_optimizer_step(o, d->gradient), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(d->ctx),
                    "the gradient of \"hidden.weight\" is -inf");
    assert_contains(ht_context_message(d->ctx), "not finite: log at ");
    test_error(d->ctx, HT_ERROR_ARGUMENT, "in step 1: nothing was changed");
    ht_recording_free(r);
    assert_int_equal(ht_optimizer_step(o, d->gradient), HT_ERROR_ARGUMENT);
    assert_null(strstr(ht_context_message(d->ctx), "log"));
    ht_context_clear(d->ctx);
    ht_optimizer_free(o);
}

/* Checkpoints. */

static void train(desk *d, ht_recording *r, ht_optimizer *o, int steps)
{
    for (int k = 0; k < steps; k++) {
        ht_recording_run(r, (int32_t)ht_optimizer_steps(o));
        ht_optimizer_step(o, d->gradient);
    }
    test_no_error(d->ctx);
}

static const char *checkpoint_path(void)
{
    static char path[64];
    snprintf(path, sizeof path, "checkpoint_%ld.safetensors", (long)getpid());
    return path;
}

static void checkpoint_goes_on_to_the_same_bits(void **state)
{
    desk *d = *state;
    ht_update update = HT_ADAM(0.1);
    ht_recording *r = record_step(d, d);
    ht_optimizer *o = ht_optimizer_new(d->theta, &update);
    ht_set *more = ht_set_new(d->ctx), *want;
    ht_tensor_fill(ht_set_add(more, "epoch", HT_F64, HT_SCALAR), 7);
    train(d, r, o, 3);
    assert_int_equal(ht_checkpoint_write(checkpoint_path(), o, more), HT_OK);
    train(d, r, o, 4);
    want = ht_set_clone(d->theta, 0);
    ht_optimizer_free(o);
    o = ht_optimizer_new(d->theta, &update);
    ht_tensor_fill(ht_set_at(more, 0), 0);
    assert_int_equal(ht_checkpoint_read(checkpoint_path(), o, more), HT_OK);
    assert_int_equal(ht_optimizer_steps(o), 3);
    assert_near(ht_tensor_get(ht_set_at(more, 0), 0), 7, 0);
    train(d, r, o, 4);
    assert_equal_sets(want, d->theta);
    ht_set_free(more);
    ht_set_free(want);
    ht_recording_free(r);
    ht_optimizer_free(o);
    unlink(checkpoint_path());
}

static void checkpoint_of_another_training_changes_nothing(void **state)
{
    desk *d = *state;
    ht_update update = HT_ADAM(0.1), sgd = HT_SGD(0.1);
    ht_optimizer *o = ht_optimizer_new(d->theta, &update);
    ht_checkpoint_write(checkpoint_path(), o, NULL);
    ht_optimizer_free(o);
    ht_set *before = ht_set_clone(d->theta, 0);
    o = ht_optimizer_new(d->theta, &sgd);
    ht_tensor_fill(ht_set_at(d->theta, 0), 3);
    ht_set_copy(before, d->theta);
    assert_int_not_equal(ht_checkpoint_read(checkpoint_path(), o, NULL), HT_OK);
    assert_contains(ht_context_message(d->ctx), checkpoint_path());
    ht_context_clear(d->ctx);
    ht_optimizer_free(o);
    ht_context *other = ht_context_new(&(ht_context_options){.seed = 10});
    ht_set *theta = ht_set_new(other);
    ht_linear_init(theta, "hidden", HT_F64, 4, 5);
    ht_linear_init(theta, "out", HT_F64, 5, CLASSES);
    o = ht_optimizer_new(theta, &update);
    assert_int_equal(ht_checkpoint_read(checkpoint_path(), o, NULL), HT_ERROR_ARGUMENT);
    test_error(other, HT_ERROR_ARGUMENT,
               "a training of seed 9, this one's is 10: it would go on with other random "
               "numbers\n  hint: .seed = 9");
    assert_equal_sets(before, d->theta);
    ht_optimizer_free(o);
    ht_set_free(theta);
    ht_context_free(other);
    ht_set_free(before);
    unlink(checkpoint_path());
}

/* Measures. */

static void accuracy_and_confusion_count_rows(void **state)
{
    desk *d = *state;
    ht_tensor *logits = ht_set_at(d->result, 1), *label = ht_set_at(d->batch, 1);
    const double x[ROWS][CLASSES] = {{2, 1, 0}, {0, 1, 0}, {0, 1, 0},
                                     {1, 1, 1}, {0, 0, 5}, {0, (double)NAN, 9}};
    for (int i = 0; i < ROWS * CLASSES; i++)
        ht_tensor_set(logits, i, x[i / CLASSES][i % CLASSES]);
    /* Labels 0 1 2 0 1 2, predicted 0 1 1 0 2 and nothing. */
    assert_near(ht_accuracy(logits, label), 3.0 / 6, 0);
    ht_tensor *counts = ht_tensor_new(d->ctx, HT_I32, HT_SHAPE(CLASSES, CLASSES));
    for (int k = 1; k <= 2; k++) {
        assert_int_equal(ht_confusion(logits, label, counts), HT_OK);
        const int want[] = {2, 0, 0, 0, 1, 1, 0, 1, 0};
        for (int i = 0; i < 9; i++) assert_near(ht_tensor_get(counts, i), k * want[i], 0);
    }
    ht_tensor_set(label, 4, CLASSES);
    assert_true(isnan(ht_accuracy(logits, label)));
    test_error(
        d->ctx, HT_ERROR_ARGUMENT,
        "ht_accuracy: expected labels in 0..2, the classes of the logits, got 3 in "
        "row 4");
    assert_true(isnan(ht_accuracy(logits, logits)));
    test_error(d->ctx, HT_ERROR_DTYPE,
               "got \"logits\" f64 (6, 3) and \"logits\" f64 (6, 3)");
    ht_tensor_set(label, 4, 0);
    assert_int_equal(ht_confusion(logits, label, label), HT_ERROR_SHAPE);
    test_error(d->ctx, HT_ERROR_SHAPE,
               "expected counts i32 (3, 3), got \"label\" i32 (6)");
    ht_tensor_free(counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(backward_gives_by_name_what_grad_gives),
        CASE(backward_refuses_what_does_not_match),
        CASE(recording_run_is_the_eager_step_at_every_step),
        CASE(recording_of_a_set_read_and_written_goes_on_from_it),
        CASE(recording_new_of_a_wrong_function_is_an_error),
        CASE(recording_of_a_set_freed_or_grown_says_so),
        CASE(recording_with_nth_allocation_failing_leaks_nothing),
        CASE(step_along_a_gradient_that_is_not_finite_changes_nothing),
        CASE(step_of_an_update_that_takes_any_gradient_takes_it),
        CASE(step_along_a_recorded_gradient_names_the_op_it_began_at),
        CASE(checkpoint_goes_on_to_the_same_bits),
        CASE(checkpoint_of_another_training_changes_nothing),
        CASE(accuracy_and_confusion_count_rows),
    };
    return TEST_MAIN(tests);
}
