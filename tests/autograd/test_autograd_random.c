/* SPDX-License-Identifier: MIT */
/* test_autograd_random.c: random ops: values by their definition, the same under every
 * policy, thread count and recomputation; dropout and its derivatives; what is refused.
 * Read next: tensor/random.c. */
#include "ht_autograd.h"
#include "test.h"

typedef struct fixture {
    ht_context *ctx;
    ht_tape *tape; /* eager */
    ht_tensor *step;
    size_t bytes; /* of the context alone */
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->ctx = ht_context_new(&(ht_context_options){.seed = test_seed(), .threads = 2});
    f->bytes = ht_context_live_bytes(f->ctx);
    f->tape = ht_tape_new(f->ctx, HT_EAGER);
    f->step = ht_tensor_new(f->ctx, HT_I32, HT_SCALAR);
    ht_tensor_set(f->step, 0, 3);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    ht_tape_free(f->tape);
    ht_tensor_free(f->step);
    assert_int_equal(ht_context_live_bytes(f->ctx), f->bytes);
    ht_context_free(f->ctx);
    free(f);
    return 0;
}

static ht_type type_of(ht_dtype dtype, int64_t n)
{
    return (ht_type){dtype, HT_SHAPE(n)};
}

static void uniform_element_is_the_draw_of_its_step_and_index(void **state)
{
    fixture *f = *state;
    uint64_t seed = ht_context_seed(f->ctx);
    ht_var step = ht_input(f->tape, f->step);
    const ht_tensor *x = ht_value(ht_uniform(step, type_of(HT_F64, 67), 9));
    const ht_tensor *y = ht_value(ht_uniform(step, type_of(HT_F32, 67), 9));
    const ht_tensor *m = ht_value(ht_dropout_mask(step, type_of(HT_F64, 67), 0.75, 9));
    for (uint64_t i = 0; i < 67; i++) {
        double want = ht_random_uniform(seed, 9, ((uint64_t)3 << 32) + i);
        assert_near(ht_tensor_get(x, (int64_t)i), want, 0);
        assert_near(ht_tensor_get(y, (int64_t)i), (float)want, 0);
        assert_near(ht_tensor_get(m, (int64_t)i), want < 0.75 ? 0 : 4, 0);
    }
}

/* Draw 11 of this step is nearer to 1 than to any other f32. */
static void uniform_f32_draw_nearest_one_stays_below(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(&(ht_context_options){.seed = 0});
    for (int policy = 0; policy < 2; policy++) {
        ht_tape *tape = ht_tape_new(ctx, policy ? HT_RECORD : HT_EAGER);
        ht_tensor *at = ht_tensor_new(ctx, HT_I32, HT_SCALAR);
        ht_tensor *y = ht_tensor_new(ctx, HT_F32, HT_SHAPE(12));
        ht_tensor_set(at, 0, 747343);
        ht_var step = ht_input(tape, at), u = ht_uniform(step, type_of(HT_F32, 12), 1);
        if (policy) {
            ht_program *p = ht_program_new(tape, 1, &step, 1, &u);
            ht_program_run(p, (const ht_tensor *const[]){at}, &y);
            ht_program_free(p);
        } else {
            ht_tensor_copy(y, ht_value(u));
        }
        assert_true(ht_random_uniform(0, 1, ((uint64_t)747343 << 32) + 11) > 1 - 0x1p-25);
        assert_near(ht_tensor_get(y, 11), 1 - 0x1p-24, 0);
        ht_tape_free(tape);
        ht_tensor_free(at), ht_tensor_free(y);
    }
    ht_check(ctx);
    ht_context_free(ctx);
}

static void normal_at_step_zero_is_what_a_tensor_is_filled_with(void **state)
{
    fixture *f = *state;
    ht_tensor *want = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(67));
    ht_tensor_normal(want, 9, 0, 1);
    ht_tensor_set(f->step, 0, 0);
    const ht_tensor *x =
        ht_value(ht_normal(ht_input(f->tape, f->step), type_of(HT_F64, 67), 9));
    for (int64_t i = 0; i < 67; i++)
        assert_near(ht_tensor_get(x, i), ht_tensor_get(want, i), 0);
    ht_tensor_free(want);
}

/* Moments of n draws, within five standard errors. */
static void random_ops_have_their_moments(void **state)
{
    fixture *f = *state;
    enum { N = 100000 };
    ht_var step = ht_input(f->tape, f->step);
    ht_var u = ht_uniform(step, type_of(HT_F64, N), 1);
    ht_var z = ht_normal(step, type_of(HT_F64, N), 2);
    ht_var m = ht_dropout_mask(step, type_of(HT_F64, N), 0.25, 3);
    double error = 5 / sqrt(N);
    assert_near(ht_item(ht_mean(u)), 0.5, error * sqrt(1.0 / 12));
    assert_near(ht_item(ht_mean(ht_square(u))), 1.0 / 3, error * sqrt(4.0 / 45));
    assert_near(ht_item(ht_mean(z)), 0, error);
    assert_near(ht_item(ht_mean(ht_square(z))), 1, error * sqrt(2));
    assert_near(ht_item(ht_mean(m)), 1, error * sqrt(1.0 / 3));
    assert_near(ht_item(ht_mean(ht_mul(u, z))), 0, error * sqrt(1.0 / 3));
}

static void random_ops_of_another_stream_or_step_differ(void **state)
{
    fixture *f = *state;
    ht_tensor *next = ht_tensor_new(f->ctx, HT_I32, HT_SCALAR);
    ht_tensor_set(next, 0, 4);
    ht_var step = ht_input(f->tape, f->step), later = ht_input(f->tape, next);
    ht_type type = type_of(HT_F64, 64);
    ht_var x = ht_uniform(step, type, 1), same = ht_uniform(step, type, 1);
    ht_var other[] = {ht_uniform(step, type, 2), ht_uniform(later, type, 1)};
    assert_int_equal(x.index, same.index);
    for (int k = 0; k < 2; k++) {
        int equal = 0;
        for (int64_t i = 0; i < 64; i++)
            equal +=
                ht_tensor_get(ht_value(x), i) == ht_tensor_get(ht_value(other[k]), i);
        assert_int_equal(equal, 0);
    }
    ht_tape_reset(f->tape);
    ht_tensor_free(next);
}

/* x, step -> dropout(x), its gradient by x of the sum of squares, and noise. */
static void append_dropout(ht_var x, ht_var step, ht_var out[3])
{
    out[0] = ht_dropout(x, 0.5, 7, step);
    ht_grad(ht_sum(ht_square(out[0])), 1, &x, &out[1]);
    out[2] = ht_normal(step, (ht_type){HT_F32, ht_var_shape(x)}, 8);
}

/* Enough elements for more than one thread and chunk. */
static void dropout_is_the_same_for_any_policy_and_threads(void **state)
{
    fixture *f = *state;
    enum { N = 40001 };
    ht_context *ctx[2] = {f->ctx, ht_context_new(&(ht_context_options){
                                      .seed = ht_context_seed(f->ctx), .threads = 1})};
    ht_tensor *want[3] = {NULL};
    for (int c = 0; c < 2; c++) {
        ht_tensor *x = ht_tensor_new(ctx[c], HT_F32, HT_SHAPE(N)), *got[3];
        ht_tensor *step = ht_tensor_new(ctx[c], HT_I32, HT_SCALAR);
        ht_tensor_fill(x, 2);
        ht_tape *tape = ht_tape_new(ctx[c], HT_RECORD);
        ht_var in[] = {ht_input(tape, x), ht_input(tape, step)}, out[3], eager[3];
        append_dropout(in[0], in[1], out);
        ht_program *p = ht_program_new(tape, 2, in, 3, out);
        assert_non_null(p);
        ht_tensor_set(step, 0, 3);
        for (int k = 0; k < 3; k++) got[k] = ht_tensor_new(ctx[c], HT_F32, HT_SHAPE(N));
        assert_int_equal(ht_program_run(p, (const ht_tensor *[]){x, step}, got), HT_OK);
        ht_tape *run = ht_tape_new(ctx[c], HT_EAGER);
        append_dropout(ht_input(run, x), ht_input(run, step), eager);
        for (int k = 0; k < 3; k++) {
            const void *a = ht_tensor_data(got[k]);
            assert_memory_equal(a, ht_tensor_data(ht_value(eager[k])), N * sizeof(float));
            if (c) assert_memory_equal(a, ht_tensor_data(want[k]), N * sizeof(float));
        }
        for (int64_t i = 0; i < N; i++)
            assert_near(ht_tensor_get(got[1], i), ht_tensor_get(got[0], i) == 0 ? 0 : 16,
                        0);
        ht_tape_free(run);
        ht_program_free(p);
        ht_tape_free(tape);
        ht_tensor_free(x);
        ht_tensor_free(step);
        for (int k = 0; k < 3; k++) {
            ht_tensor_free(c ? want[k] : NULL);
            if (c)
                ht_tensor_free(got[k]);
            else
                want[k] = got[k];
        }
    }
    ht_context_free(ctx[1]);
}

static void dropout_of_rate_zero_is_its_input(void **state)
{
    fixture *f = *state;
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(4));
    ht_var v = ht_input(f->tape, x);
    assert_int_equal(ht_dropout(v, 0, 1, ht_input(f->tape, f->step)).index, v.index);
    ht_tape_reset(f->tape);
    ht_tensor_free(x);
}

static void random_ops_refuse_what_cannot_be_meant(void **state)
{
    fixture *f = *state;
    ht_tensor *x = ht_tensor_new(f->ctx, HT_F64, HT_SHAPE(4));
    ht_tensor *steps = ht_tensor_new(f->ctx, HT_I32, HT_SHAPE(4));
    ht_var v = ht_input(f->tape, x), step = ht_input(f->tape, f->step);
    ht_type type = type_of(HT_F64, 4);
    const char *const message[] = {"dropout: needs 0 <= rate < 1, the rate is 1",
                                   "the rate is -0.5",
                                   "the rate is nan",
                                   "uniform: the step must be i32",
                                   "normal: needs a 0-d step",
                                   "makes f32 or f64, not i32",
                                   "makes 0 to 2^32 - 1 elements"};
    for (int k = 0; k < 7; k++) {
        if (k == 0) ht_dropout(v, 1, 1, step);
        if (k == 1) ht_dropout(v, -0.5, 1, step);
        if (k == 2) ht_dropout_mask(step, type, (double)NAN, 1);
        if (k == 3) ht_uniform(v, type, 1);
        if (k == 4) ht_normal(ht_input(f->tape, steps), type, 1);
        if (k == 5) ht_uniform(step, type_of(HT_I32, 4), 1);
        if (k == 6) ht_uniform(step, type_of(HT_F32, (int64_t)1 << 32), 1);
        assert_int_not_equal(ht_context_status(f->ctx), HT_OK);
        assert_contains(ht_context_message(f->ctx), message[k]);
        assert_contains(ht_context_message(f->ctx), "test_autograd_random.c:");
        ht_context_clear(f->ctx);
    }
    ht_tape_reset(f->tape);
    ht_tensor_free(x);
    ht_tensor_free(steps);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(uniform_element_is_the_draw_of_its_step_and_index),
        CASE(uniform_f32_draw_nearest_one_stays_below),
        CASE(normal_at_step_zero_is_what_a_tensor_is_filled_with),
        CASE(random_ops_have_their_moments),
        CASE(random_ops_of_another_stream_or_step_differ),
        CASE(dropout_is_the_same_for_any_policy_and_threads),
        CASE(dropout_of_rate_zero_is_its_input),
        CASE(random_ops_refuse_what_cannot_be_meant),
    };
    return TEST_MAIN(tests);
}
