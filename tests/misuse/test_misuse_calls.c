/* SPDX-License-Identifier: MIT */
/* test_misuse_calls.c: what on_error may do and may not, lists that are each other's,
 * axes and steps out of bounds, and a tape that is full.
 * Read next: test_misuse_inputs.c, test_misuse_null.c. */
#include "ht_nn.h"
#include "misuse.h"
#include "ops.h"

typedef struct desk {
    misuse_heap heap;
    ht_context *ctx;
    ht_tape *tape, *eager;
    ht_tensor *x; /* f64 (2, 3), 1 to 6 */
    int handled;
    void (*handle)(struct desk *d);
    ht_program *program;
} desk;

static void desk_on_error(ht_context *ctx, void *user)
{
    desk *d = user;
    (void)ctx;
    d->handled++;
    if (d->handle) d->handle(d);
}

static int desk_new(void **state)
{
    desk *d = calloc(1, sizeof *d);
    *state = d;
    d->ctx = ht_context_new(
        &(ht_context_options){.on_error = desk_on_error, .user = d, .threads = 1});
    d->tape = ht_tape_new(d->ctx, HT_RECORD);
    d->eager = ht_tape_new(d->ctx, HT_EAGER);
    d->x = ht_tensor_new(d->ctx, HT_F64, HT_SHAPE(2, 3));
    for (int i = 0; i < 6; i++) ht_tensor_set(d->x, i, i + 1);
    return 0;
}

static int desk_free(void **state)
{
    desk *d = *state;
    ht_program_free(d->program);
    ht_tape_free(d->tape);
    ht_tape_free(d->eager);
    ht_tensor_free(d->x);
    ht_context_free(d->ctx);
    free(d);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, desk_new, desk_free)

static void assert_status(const desk *d, ht_status want)
{
    if (ht_context_status(d->ctx) != want)
        fail_msg("status is %s, want %s: %s", ht_status_name(ht_context_status(d->ctx)),
                 ht_status_name(want), ht_context_message(d->ctx));
}

static void assert_says(desk *d, ht_status want, const char *text)
{
    assert_status(d, want);
    assert_contains(ht_context_message(d->ctx), text);
    ht_context_clear(d->ctx);
}

/* A program whose second instruction fails: rows of x by an index of 5. */
static ht_tensor *failing(desk *d, ht_tensor **index)
{
    ht_var in[] = {ht_input_like(d->tape, ((ht_type){HT_F64, HT_SHAPE(2, 3)})),
                   ht_input_like(d->tape, ((ht_type){HT_I32, HT_SHAPE(2)}))};
    ht_var out = ht_exp(ht_gather(ht_sin(in[0]), in[1]));
    d->program = ht_program_new(d->tape, 2, in, 1, &out);
    *index = ht_tensor_new(d->ctx, HT_I32, HT_SHAPE(2));
    ht_tensor_fill(*index, 5);
    return ht_tensor_new(d->ctx, HT_F64, HT_SHAPE(2, 3));
}

static void clear_it(desk *d)
{
    ht_context_clear(d->ctx);
}

static void context_clear_within_on_error_leaves_the_error(void **state)
{
    desk *d = *state;
    ht_tensor *index, *y = failing(d, &index);
    d->handle = clear_it;
    ht_status got = ht_program_run(d->program, (const ht_tensor *[]){d->x, index}, &y);
    if (got != HT_ERROR_ARGUMENT) fail_msg("run answered %s", ht_status_name(got));
    assert_int_equal(d->handled, 1);
    assert_says(d, HT_ERROR_ARGUMENT, "index 5 at place 0");
    /* Eager: no variable over what was not computed. */
    ht_var z = ht_gather(ht_input(d->eager, d->x), ht_input(d->eager, index));
    assert_null(ht_value(z));
    assert_int_equal(d->handled, 2);
    assert_says(d, HT_ERROR_ARGUMENT, "gather: index 5");
    ht_tape_reset(d->eager);
    /* And after the call it does clear, and the next error is told again. */
    ht_tensor_fill(index, 1);
    assert_int_equal(ht_program_run(d->program, (const ht_tensor *[]){d->x, index}, &y),
                     HT_OK);
    assert_near(ht_tensor_get(y, 5), exp(sin(6.0)), 1e-15);
    ht_tensor_free(index);
    ht_tensor_free(y);
}

/* Makes things on the context, and runs the very program that failed. */
static void make_and_run(desk *d)
{
    ht_tensor *t = ht_tensor_new(d->ctx, HT_F64, HT_SHAPE(2, 3));
    assert_non_null(t);
    assert_near(ht_tensor_get(t, 0), 0, 0);
    ht_var v = ht_constant(d->tape, 1);
    assert_true(hti_is_poison(v));
    assert_int_equal(ht_program_run(d->program, (const ht_tensor *[]){t, t}, &t),
                     HT_ERROR_ARGUMENT);
    ht_tensor_free(t);
    assert_int_equal(ht_context_fail(d->ctx, HT_ERROR_FILE, NULL, "another"),
                     HT_ERROR_FILE);
}

static void on_error_that_makes_and_runs_keeps_the_first_error(void **state)
{
    desk *d = *state;
    ht_tensor *index, *y = failing(d, &index);
    d->handle = make_and_run;
    ht_status got = ht_program_run(d->program, (const ht_tensor *[]){d->x, index}, &y);
    if (got != HT_ERROR_ARGUMENT) fail_msg("run answered %s", ht_status_name(got));
    assert_int_equal(d->handled, 1);
    assert_says(d, HT_ERROR_ARGUMENT, "index 5 at place 0");
    ht_tensor_free(index);
    ht_tensor_free(y);
}

static void reset_it(desk *d)
{
    ht_tape_reset(d->tape);
}

static void free_it(desk *d)
{
    ht_tape_free(d->tape);
}

static void free_program(desk *d)
{
    ht_program_free(d->program);
}

static void fail_on_tape(void *data)
{
    desk *d = data;
    ht_context_clear(d->ctx);
    ht_var x = ht_input_like(d->tape, ((ht_type){HT_F64, HT_SHAPE(2, 3)}));
    ht_matmul(x, x);
}

static void on_error_that_resets_or_frees_is_an_assertion(void **state)
{
    desk *d = *state;
    ht_var x = ht_input(d->tape, d->x);
    d->program = ht_program_new(d->tape, 1, &x, 1, &x);
    static void (*const handles[])(desk *) = {reset_it, free_it, free_program};
    static const char *const says[] = {"ht_tape_reset", "ht_tape_free",
                                       "ht_program_free"};
    for (int k = 0; k < 3; k++) {
        d->handle = handles[k];
        assert_true(misuse_aborts(fail_on_tape, d));
        assert_contains(misuse_text, says[k]);
        assert_contains(misuse_text, "on_error");
        /* The assertion was left by a jump: what on_error began is over. */
        d->ctx->handling = false;
        ht_context_clear(d->ctx);
    }
    d->handle = NULL;
}

/* Poison whose error was cleared ends in an error where there is no result at all. */
static void poison_of_a_cleared_error_is_refused_by_a_program(void **state)
{
    desk *d = *state;
    ht_var x = ht_input(d->tape, d->x), bad = ht_matmul(x, x);
    ht_context_clear(d->ctx);
    assert_null(ht_program_new(d->tape, 1, &x, 1, &bad));
    assert_says(d, HT_ERROR_ARGUMENT, "program: a variable without a value");
    assert_null(ht_program_new(d->tape, 1, &bad, 1, &x));
    assert_says(d, HT_ERROR_ARGUMENT, "program: a variable without a value");
}

/* Results may stand in the list of the variables or vectors. */
static void derivative_into_its_own_lists_is_right(void **state)
{
    desk *d = *state;
    for (int policy = 0; policy < 2; policy++) {
        ht_tape *tape = policy ? d->tape : d->eager;
        ht_var x = ht_input(tape, d->x), y = ht_sum(ht_mul(ht_square(x), x));
        ht_var v = ht_exp(x), v0 = v, in[2], out[2], other = ht_input(tape, d->x);
        ht_grad_or_zero(y, 2, (ht_var[]){x, other}, out);
        in[0] = x, in[1] = other;
        ht_grad_or_zero(y, 2, in, in);
        assert_int_equal(in[0].index, out[0].index);
        assert_int_equal(in[1].index, out[1].index);
        ht_hvp(y, 1, &x, &v0, &out[0]);
        ht_hvp(y, 1, &x, &v, &v);
        assert_int_equal(v.index, out[0].index);
        assert_status(d, HT_OK);
        if (!policy)
            for (int i = 0; i < 6; i++)
                assert_near(ht_tensor_get(ht_value(v), i), 6.0 * (i + 1) * exp(i + 1.0),
                            1e-14);
        v = v0;
        ht_jvp(1, &x, &v0, 1, &y, &out[0]);
        ht_jvp(1, &x, &v, 1, &y, &v);
        assert_int_equal(v.index, out[0].index);
    }
    ht_tape_reset(d->eager);
}

static void jvp_of_an_absent_output_is_refused(void **state)
{
    desk *d = *state;
    ht_var x = ht_input(d->eager, d->x), none = HT_ZERO, y = ht_sum(x), dx;
    ht_jvp(1, &x, &x, 1, &none, &dx);
    assert_says(d, HT_ERROR_ARGUMENT, "jvp: y[0] is HT_ZERO");
    ht_grad(none, 1, &x, &dx);
    assert_says(d, HT_ERROR_ARGUMENT, "grad: y[0] is HT_ZERO");
    ht_hvp(none, 1, &x, &x, &dx);
    assert_says(d, HT_ERROR_ARGUMENT, "hvp: y[0] is HT_ZERO");
    ht_var ys[] = {none, y}, vs[] = {ht_number(7), ht_number(2)};
    ht_vjp(2, ys, vs, 1, &x, &dx);
    assert_near(ht_tensor_get(ht_value(dx), 5), 2, 0);
    ht_vjp(1, ys, vs, 1, &x, &dx);
    assert_near(ht_tensor_get(ht_value(dx), 5), 0, 0);
    assert_status(d, HT_OK);
    ht_tape_reset(d->eager);
}

static void axes_of_any_number_are_refused(void **state)
{
    desk *d = *state;
    static const int counts[] = {-1, 7, 3, INT32_MIN, INT32_MAX};
    for (int policy = 0; policy < 2; policy++) {
        ht_var x = ht_input(policy ? d->tape : d->eager, d->x);
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            ht_axes axes = {counts[k], {0, 1, 0, 1, 0, 1}};
#define REFUSED(name, ...)                                      \
    assert_true(hti_is_poison(ht_##name(x, axes __VA_ARGS__))); \
    assert_contains(ht_context_message(d->ctx), #name ": ");    \
    assert_says(d, HT_ERROR_ARGUMENT, "(2, 3)")
            REFUSED(sum_axes, , false);
            REFUSED(mean_axes, , true);
            REFUSED(max_axes, , false);
            REFUSED(min_axes, , true);
            REFUSED(logsumexp_axes, , false);
            REFUSED(variance_axes, , false, 0);
            REFUSED(norm_axes, , true);
            REFUSED(permute, );
        }
    }
    ht_tape_reset(d->eager);
}

static void shapes_of_any_rank_or_size_are_refused(void **state)
{
    desk *d = *state;
    static const ht_shape shapes[] = {{-1, {0}},
                                      {7, {1}},
                                      {INT32_MAX, {0}},
                                      {2, {-2, 3}},
                                      {1, {INT64_MIN}},
                                      {2, {2, -3}},
                                      {2, {INT64_MAX, INT64_MAX}},
                                      {INT32_MIN, {0}}};
    ht_var step = ht_cast(ht_constant(d->eager, 3), HT_I32);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        ht_var x = ht_input(d->eager, d->x), one = ht_constant(d->eager, 1);
        ht_type type = {HT_F64, shapes[k]};
#define SHAPE_REFUSED(says, call)     \
    assert_true(hti_is_poison(call)); \
    assert_says(d, HT_ERROR_SHAPE, says)
        SHAPE_REFUSED("reshape: ", ht_reshape(x, shapes[k]));
        SHAPE_REFUSED("broadcast: ", ht_broadcast(one, shapes[k]));
        SHAPE_REFUSED("uniform: ", ht_uniform(step, type, 1));
        SHAPE_REFUSED("normal: ", ht_normal(step, type, 1));
        SHAPE_REFUSED("dropout_mask: ", ht_dropout_mask(step, type, 0.5, 1));
        SHAPE_REFUSED("input_like: ", ht_input_like(d->tape, type));
        assert_null(ht_tensor_new(d->ctx, HT_F64, shapes[k]));
        assert_says(d, HT_ERROR_SHAPE, "ht_tensor_new: ");
    }
    ht_tape_reset(d->eager);
}

/* Of one element, or none, nothing takes a step: any is right. */
static void slice_of_one_element_takes_any_step(void **state)
{
    desk *d = *state;
    static const int64_t steps[] = {INT64_MIN, INT64_MAX, -7, 2, INT64_MIN + 1};
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
        ht_var x = ht_input(d->eager, d->x), dx;
        ht_var one = ht_slice(x, 1, 2, 1, steps[k]),
               none = ht_slice(x, 0, 0, 0, steps[k]);
        assert_near(ht_tensor_get(ht_value(one), 1), 6, 0);
        assert_int_equal(ht_tensor_count(ht_value(none)), 0);
        ht_grad(ht_add(ht_sum(ht_square(one)), ht_sum(none)), 1, &x, &dx);
        for (int i = 0; i < 6; i++)
            assert_near(ht_tensor_get(ht_value(dx), i), i % 3 == 2 ? 2 * (i + 1) : 0, 0);
        assert_status(d, HT_OK);
        if (steps[k] == 2) continue;
        ht_slice(x, 1, 0, 2, steps[k]);
        assert_says(d, HT_ERROR_ARGUMENT, "slice: start 0, count 2, step");
        ht_slice(x, 1, steps[k], 1, 1);
        assert_says(d, HT_ERROR_ARGUMENT, "slice: start");
    }
    ht_tape_reset(d->eager);
}

static void sizes_near_the_largest_are_refused_or_right(void **state)
{
    desk *d = *state;
    const int64_t huge = INT64_MAX;
    ht_var x = ht_input(d->tape, d->x);
    ht_var wide = ht_input_like(d->tape, ((ht_type){HT_F64, HT_SHAPE(0, huge)}));
#define TOO_LARGE(name, call)         \
    assert_true(hti_is_poison(call)); \
    assert_says(d, HT_ERROR_SHAPE, name ": ")
    TOO_LARGE("pad", ht_pad(x, 0, huge, 0));
    TOO_LARGE("pad", ht_pad(x, 0, 0, huge));
    TOO_LARGE("pad", ht_pad(x, 0, huge / 4, huge / 4));
    TOO_LARGE("pad", ht_pad(wide, 1, 1, 1));
    TOO_LARGE("concat", ht_concat(2, ((ht_var[]){wide, wide}), 1));
    TOO_LARGE("one_hot", ht_one_hot(ht_cast(x, HT_I32), huge, HT_F64));
    ht_pad(x, 0, INT64_MIN, 1);
    assert_says(d, HT_ERROR_ARGUMENT, "pad: ");
    ht_slice(x, 0, huge, huge, huge);
    assert_says(d, HT_ERROR_ARGUMENT, "slice: ");
    ht_slice(x, 0, 0, INT64_MIN, 1);
    assert_says(d, HT_ERROR_ARGUMENT, "slice: ");
    ht_slice(x, INT32_MIN, 0, 1, 1);
    assert_says(d, HT_ERROR_ARGUMENT, "slice: ");
    ht_stack(1, &x, INT32_MAX);
    assert_says(d, HT_ERROR_ARGUMENT, "stack: ");
    ht_flip(x, INT32_MIN);
    assert_says(d, HT_ERROR_ARGUMENT, "flip: ");
    ht_variance_axes(x, HT_AXES(0), false, INT32_MIN);
    assert_says(d, HT_ERROR_ARGUMENT, "variance_axes: ");
    ht_tril(x, INT32_MIN, 0);
    ht_tril(x, INT32_MAX, 0);
    assert_status(d, HT_OK);
}

static void windows_near_the_largest_are_refused(void **state)
{
    desk *d = *state;
    const int64_t huge = INT64_MAX;
    ht_var x = ht_input_like(d->tape, ((ht_type){HT_F64, HT_SHAPE(1, 2, 5, 5)}));
    ht_var w = ht_input_like(d->tape, ((ht_type){HT_F64, HT_SHAPE(2, 2, 3, 3)}));
    ht_var wide = ht_input_like(d->tape, ((ht_type){HT_F64, HT_SHAPE(0, 1, huge, 1)}));
    ht_conv_options good = {{1, 1}, {0, 0}, {1, 1}, 1};
    for (int field = 0; field < 7; field++)
        for (int sign = 0; sign < 3; sign++) {
            ht_conv_options o = good;
            int64_t *at[] = {&o.stride[0],   &o.stride[1],   &o.padding[0], &o.padding[1],
                             &o.dilation[0], &o.dilation[1], &o.groups};
            *at[field] = sign == 2 ? INT64_MIN : sign ? huge : INT64_C(1) << 32;
            assert_true(hti_is_poison(ht_conv2d(x, w, o)));
            assert_contains(ht_context_message(d->ctx), "conv2d: ");
            ht_context_clear(d->ctx);
        }
    ht_conv2d(wide, ht_reshape(w, HT_SHAPE(4, 1, 3, 3)), good);
    assert_says(d, HT_ERROR_SHAPE, "conv2d: ");
    ht_pool_options two = {{2, 2}, {1, 1}, {0, 0}};
    for (int field = 0; field < 6; field++)
        for (int sign = 0; sign < 3; sign++) {
            ht_pool_options o = two;
            int64_t *at[] = {&o.kernel[0], &o.kernel[1],  &o.stride[0],
                             &o.stride[1], &o.padding[0], &o.padding[1]};
            *at[field] = sign == 2 ? INT64_MIN : sign ? huge : INT64_C(1) << 32;
            ht_max_pool2d(x, o);
            bool fits =
                field / 2 == 1 && sign < 2; /* a stride past the end: one window */
            if (fits) assert_status(d, HT_OK);
            if (!fits) assert_contains(ht_context_message(d->ctx), "max_pool2d: ");
            ht_context_clear(d->ctx);
            ht_avg_pool2d(x, o);
            if (fits) assert_status(d, HT_OK);
            if (!fits) assert_contains(ht_context_message(d->ctx), "avg_pool2d: ");
            ht_context_clear(d->ctx);
        }
    ht_avg_pool2d(wide, two);
    assert_says(d, HT_ERROR_SHAPE, "avg_pool2d: ");
}

static void rates_that_are_no_numbers_are_refused(void **state)
{
    desk *d = *state;
    ht_var x = ht_input(d->eager, d->x), step = ht_cast(ht_constant(d->eager, 3), HT_I32);
    ht_type type = {HT_F64, HT_SHAPE(2)};
    static const double rates[] = {(double)NAN, -0.1, 1, (double)INFINITY,
                                   -(double)INFINITY};
    for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
        ht_dropout(x, rates[k], 1, step);
        assert_says(d, HT_ERROR_ARGUMENT, "dropout: needs 0 <= rate < 1");
        ht_dropout_mask(step, type, rates[k], 1);
        assert_says(d, HT_ERROR_ARGUMENT, "dropout_mask: needs 0 <= rate < 1");
    }
    ht_tape_reset(d->eager);
}

/* Nodes and edges are counted in 32 bits: pretended, since none has the memory. */
static void tape_that_is_full_is_an_error(void **state)
{
    desk *d = *state;
    ht_var x = ht_input(d->tape, d->x), y = ht_exp(x);
    ht_tape *tape = d->tape;
    uint32_t n = tape->n, capacity = tape->capacity, edges = tape->n_edges,
             room = tape->edge_capacity;
    tape->n_edges = tape->edge_capacity = UINT32_MAX - 1;
    assert_true(hti_is_poison(ht_add(x, y)));
    assert_says(d, HT_ERROR_MEMORY, "no room for more edges");
    tape->n_edges = edges, tape->edge_capacity = room;
    tape->n = tape->capacity = UINT32_C(1) << 31;
    assert_true(hti_is_poison(ht_input(tape, d->x)));
    assert_says(d, HT_ERROR_MEMORY, "no room for more nodes");
    tape->n = n, tape->capacity = capacity;
    assert_false(hti_is_poison(ht_add(x, y)));
    assert_status(d, HT_OK);
}

/* One weight for all rows is their mean, however it is given. */
static void weighted_mean_by_a_number_is_the_mean(void **state)
{
    desk *d = *state;
    ht_var rows = ht_reshape(ht_input(d->eager, d->x), HT_SHAPE(6));
    assert_near(ht_item(ht_weighted_mean(rows, ht_number(2))), 3.5, 1e-15);
    ht_var one = ht_cast(ht_constant(d->eager, 4), HT_F64);
    assert_near(ht_item(ht_weighted_mean(rows, one)), 3.5, 1e-15);
    assert_status(d, HT_OK);
    ht_tape_reset(d->eager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(context_clear_within_on_error_leaves_the_error),
        TEST(on_error_that_makes_and_runs_keeps_the_first_error),
        TEST(on_error_that_resets_or_frees_is_an_assertion),
        TEST(poison_of_a_cleared_error_is_refused_by_a_program),
        TEST(derivative_into_its_own_lists_is_right),
        TEST(jvp_of_an_absent_output_is_refused),
        TEST(axes_of_any_number_are_refused),
        TEST(shapes_of_any_rank_or_size_are_refused),
        TEST(slice_of_one_element_takes_any_step),
        TEST(sizes_near_the_largest_are_refused_or_right),
        TEST(windows_near_the_largest_are_refused),
        TEST(rates_that_are_no_numbers_are_refused),
        TEST(tape_that_is_full_is_an_error),
        TEST(weighted_mean_by_a_number_is_the_mean),
    };
    return TEST_MAIN(tests);
}
