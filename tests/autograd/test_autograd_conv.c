/* SPDX-License-Identifier: MIT */
/* test_autograd_conv.c: conv2d and pooling as ops: values and gradients against plain
 * loops over random shapes and options, a small network differentiated twice, the
 * workspace in the plan, ties, and what each refuses and says. */
#include "test_conv.h"

#include "ht_autograd.h"

static struct test_random any;

static ht_conv_options options_of(const hti_conv_geometry *g)
{
    ht_conv_options o = {.groups = g->groups};
    for (int i = 0; i < 2; i++) {
        o.stride[i] = g->stride[i];
        o.padding[i] = g->padding[i];
        o.dilation[i] = g->dilation[i];
    }
    return o;
}

static void same_numbers(const ht_tensor *got, ht_shape shape, const double *want)
{
    assert_non_null(got);
    assert_true(ht_shape_equal(ht_tensor_shape(got), shape));
    for (int64_t i = 0; i < ht_shape_count(shape); i++)
        assert_near(ht_tensor_get(got, i), want[i], 1e-12);
}

/* y, and the gradient of <v, y> by x and by the weight. */
static void conv2d_random_options_match_loops(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    for (int k = 0; k < 300; k++) {
        struct test_conv c = test_conv_any(&any, 6);
        const ht_shape shape[] = {c.y, c.x, c.w};
        ht_tensor *t[3];
        ht_var leaf[3], dx[2];
        double *from[3], *to[3];
        for (int i = 0; i < 3; i++) {
            t[i] = ht_tensor_new(ctx, HT_F64, shape[i]);
            ht_tensor_uniform(t[i], (uint64_t)(3 * k + i), -1, 1);
            leaf[i] = ht_input(tape, t[i]);
            ht_array a = ht_tensor_array(t[i]);
            from[i] = test_doubles(&a);
            to[i] = calloc((size_t)ht_tensor_count(t[i]) + 1, sizeof(double));
        }
        ht_var y = ht_conv2d(leaf[1], leaf[2], options_of(&c.g));
        ht_vjp(1, &y, &leaf[0], 2, leaf + 1, dx);
        assert_string_equal(ht_context_message(ctx), "");
        test_conv_loops(&c, HTI_CONV_Y, from[1], from[2], to[0]);
        test_conv_loops(&c, HTI_CONV_X, to[1], from[2], from[0]);
        test_conv_loops(&c, HTI_CONV_W, from[1], to[2], from[0]);
        same_numbers(ht_value(y), c.y, to[0]);
        same_numbers(ht_value(dx[0]), c.x, to[1]);
        same_numbers(ht_value(dx[1]), c.w, to[2]);
        ht_tape_reset(tape);
        for (int i = 0; i < 3; i++) ht_tensor_free(t[i]), free(from[i]), free(to[i]);
    }
    ht_tape_free(tape);
    ht_context_free(ctx);
}

static const ht_conv_options plain = {{1, 1}, {0, 0}, {1, 1}, 1};
static const ht_pool_options two = {{2, 2}, {2, 2}, {0, 0}};

/* conv, tanh, max and average pooling side by side, the mean of their product. */
static ht_var network(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)tape, (void)n, (void)user;
    ht_conv_options same = {{1, 1}, {1, 1}, {1, 1}, 1};
    ht_var y = ht_tanh(ht_conv2d(x[0], x[1], same));
    ht_var pooled = ht_mul(ht_max_pool2d(y, two), ht_avg_pool2d(y, two));
    return ht_sum(ht_square(ht_global_avg_pool2d(pooled)));
}

static void network_of_conv_and_pooling_passes_the_gradient_check(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_tensor *at[] = {ht_tensor_new(ctx, HT_F64, HT_SHAPE(2, 2, 5, 6)),
                       ht_tensor_new(ctx, HT_F64, HT_SHAPE(3, 2, 3, 3))};
    for (int i = 0; i < 2; i++) ht_tensor_normal(at[i], (uint64_t)i + 1, 0, 1);
    bool ok =
        ht_gradient_check(ctx, network, 2, (const ht_tensor *const *)at, NULL, NULL);
    assert_string_equal(ht_context_message(ctx), "");
    assert_true(ok);
    for (int i = 0; i < 2; i++) ht_tensor_free(at[i]);
    ht_context_free(ctx);
}

/* The workspace is bytes of the arena, shared by instructions, and replays allocate
 * nothing. */
static void program_of_convolutions_works_in_its_arena(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_type x = {HT_F32, HT_SHAPE(2, 8, 16, 16)}, w = {HT_F32, HT_SHAPE(8, 8, 3, 3)};
    ht_var in[] = {ht_input_like(tape, x), ht_input_like(tape, w)};
    ht_var one = ht_conv2d(in[0], in[1], plain), twice = ht_conv2d(one, in[1], plain);
    ht_var y = ht_conv2d(twice, in[1], plain);
    ht_program *short_one = ht_program_new(tape, 2, in, 1, &one);
    ht_program *p = ht_program_new(tape, 2, in, 1, &y);
    size_t values = 2 * 8 * (14 * 14 + 12 * 12) * sizeof(float);
    hti_conv_geometry g = {{1, 1}, {0, 0}, {1, 1}, 1};
    size_t first = hti_kernel(ctx, conv_workspace, HTI_CONV_Y, HT_F32, x.shape, w.shape,
                              ht_var_shape(one), &g);
    assert_near(ht_program_bytes(short_one), first, 0);
    size_t bytes = ht_program_bytes(p);
    printf("# workspace %zu, arena %zu, values %zu\n", first, bytes, values);
    assert_true(bytes >= first && bytes <= first + values);
    ht_program_poison(p, true);
    ht_tensor *from[] = {ht_tensor_new(ctx, HT_F32, x.shape),
                         ht_tensor_new(ctx, HT_F32, w.shape)};
    ht_tensor *out = ht_tensor_new(ctx, HT_F32, ht_var_shape(y));
    ht_tensor_uniform(from[0], 1, -1, 1), ht_tensor_uniform(from[1], 2, -1, 1);
    const ht_tensor *given[] = {from[0], from[1]};
    assert_int_equal(ht_program_run(p, given, &out), HT_OK);
    uint64_t allocations = ht_context_allocations(ctx);
    assert_int_equal(ht_program_run(p, given, &out), HT_OK);
    assert_int_equal(ht_context_allocations(ctx), allocations);
    ht_tape *eager = ht_tape_new(ctx, HT_EAGER);
    ht_var e = ht_input(eager, from[0]), k = ht_input(eager, from[1]);
    for (int i = 0; i < 3; i++) e = ht_conv2d(e, k, plain);
    assert_memory_equal(ht_tensor_data(ht_value(e)), ht_tensor_data(out),
                        ht_tensor_bytes(out));
    ht_tape_free(eager), ht_tape_free(tape);
    ht_program_free(short_one), ht_program_free(p);
    ht_tensor_free(from[0]), ht_tensor_free(from[1]), ht_tensor_free(out);
    ht_context_free(ctx);
}

static void max_pool2d_tie_gives_all_to_the_first(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *t = ht_tensor_new(ctx, HT_F64, HT_SHAPE(1, 1, 2, 2));
    const double at[] = {1, 3, 3, 2}, slope[] = {0, 1, 0, 0};
    for (int i = 0; i < 4; i++) ht_tensor_set(t, i, at[i]);
    ht_var x = ht_input(tape, t), d, y = ht_sum(ht_max_pool2d(x, two));
    ht_grad(y, 1, &x, &d);
    assert_near(ht_item(y), 3, 0);
    for (int i = 0; i < 4; i++) assert_near(ht_tensor_get(ht_value(d), i), slope[i], 0);
    const ht_pool_options wide = {{2, 2}, {1, 1}, {1, 1}};
    const double mean[] = {0.25, 1, 0.75, 1, 2.25, 1.25, 0.75, 1.25, 0.5};
    same_numbers(ht_value(ht_avg_pool2d(x, wide)), HT_SHAPE(1, 1, 3, 3), mean);
    same_numbers(ht_value(ht_global_avg_pool2d(x)), HT_SHAPE(1, 1), mean + 4);
    ht_tape_free(tape);
    ht_tensor_free(t);
    ht_context_free(ctx);
}

/* Errors. */

static ht_tape *recorded;

static ht_var leaf_of(ht_dtype dtype, ht_shape shape)
{
    ht_type type = {dtype, shape};
    return ht_input_like(recorded, type);
}

static void check_line(const char *message, int line)
{
    static const char file[] = "test_autograd_conv.c:";
    const char *at = strstr(message, file);
    int said = at ? atoi(at + strlen(file)) : 0;
    if (said != line && said != line - 1) fail_msg("\"%s\": not line %d", message, line);
}

/* The op fails with this status; its message holds op, shapes, rule and this line (of a
 * macro call of two, compilers differ in which they count). */
#define REFUSED(call, status, op, shapes, rule)                                 \
    do {                                                                        \
        (void)(call);                                                           \
        assert_int_equal(ht_context_status(ht_tape_context(recorded)), status); \
        const char *message = ht_context_message(ht_tape_context(recorded));    \
        assert_contains(message, op);                                           \
        assert_contains(message, shapes);                                       \
        assert_contains(message, rule);                                         \
        check_line(message, __LINE__);                                          \
        ht_context_clear(ht_tape_context(recorded));                            \
    } while (0)

static void conv2d_mistakes_are_named(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    recorded = ht_tape_new(ctx, HT_RECORD);
    ht_var x = leaf_of(HT_F32, HT_SHAPE(2, 4, 5, 6)), flat = leaf_of(HT_F32, HT_SHAPE(4));
    ht_var w = leaf_of(HT_F32, HT_SHAPE(3, 4, 3, 3)),
           f64 = leaf_of(HT_F64, HT_SHAPE(3, 4, 3, 3));
    ht_conv_options bad = plain;
    const char *both = "f32 (2, 4, 5, 6), f32 (3, 4, 3, 3)";
    REFUSED(ht_conv2d(flat, w, plain), HT_ERROR_SHAPE, "conv2d: ", "f32 (4), f32",
            "4 axes");
    REFUSED(ht_conv2d(x, f64, plain), HT_ERROR_DTYPE, "conv2d: ", "f64 (3",
            "one float type");
    bad.groups = -1;
    REFUSED(ht_conv2d(x, w, bad), HT_ERROR_ARGUMENT, "conv2d: ", both, "groups is -1");
    bad.groups = 2;
    REFUSED(ht_conv2d(x, w, bad), HT_ERROR_SHAPE, "conv2d: ", both, "(3, 4 / 2, kh, kw)");
    bad = plain, bad.stride[1] = -1;
    REFUSED(ht_conv2d(x, w, bad), HT_ERROR_ARGUMENT, "conv2d: ", both,
            "axis 3 has stride -1");
    bad = plain, bad.padding[0] = -1;
    REFUSED(ht_conv2d(x, w, bad), HT_ERROR_ARGUMENT, "conv2d: ", both, "padding -1");
    bad = plain, bad.dilation[0] = 3;
    REFUSED(ht_conv2d(x, w, bad), HT_ERROR_SHAPE, "conv2d: ", both,
            "a kernel of 3 taps, dilation 3, does not fit into 5 with padding 0");
    ht_tape_free(recorded);
    ht_context_free(ctx);
}

/* Equal nodes are one. */
static void window_options_of_zero_are_the_usual(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    recorded = ht_tape_new(ctx, HT_RECORD);
    ht_var x = leaf_of(HT_F32, HT_SHAPE(2, 4, 5, 6));
    ht_var w = leaf_of(HT_F32, HT_SHAPE(3, 4, 3, 3));
    assert_int_equal(ht_conv2d(x, w, (ht_conv_options){.padding = {1, 1}}).index,
                     ht_conv2d(x, w, (ht_conv_options){{1, 1}, {1, 1}, {1, 1}, 1}).index);
    ht_pool_options stepped = {.kernel = {2, 3}, .stride = {2, 3}};
    assert_int_equal(ht_max_pool2d(x, (ht_pool_options){.kernel = {2, 3}}).index,
                     ht_max_pool2d(x, stepped).index);
    assert_int_equal(ht_avg_pool2d(x, (ht_pool_options){.kernel = {2, 3}}).index,
                     ht_avg_pool2d(x, stepped).index);
    ht_check(ctx);
    ht_tape_free(recorded);
    ht_context_free(ctx);
}

static void pooling_mistakes_are_named(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    recorded = ht_tape_new(ctx, HT_RECORD);
    ht_var x = leaf_of(HT_F32, HT_SHAPE(2, 4, 5, 6)), flat = leaf_of(HT_F32, HT_SHAPE(4));
    ht_var whole = leaf_of(HT_I32, HT_SHAPE(2, 4, 5, 6));
    ht_pool_options large = two, far = two;
    large.kernel[0] = 6, far.padding[1] = 2;
    const char *shape = "f32 (2, 4, 5, 6)";
    REFUSED(ht_max_pool2d(flat, two), HT_ERROR_SHAPE, "max_pool2d: ", "(4)", "4 axes");
    REFUSED(ht_avg_pool2d(flat, two), HT_ERROR_SHAPE, "avg_pool2d: ", "(4)", "4 axes");
    REFUSED(ht_max_pool2d(whole, two), HT_ERROR_DTYPE, "max_pool", "i32", "f32 or f64");
    REFUSED(ht_max_pool2d(x, far), HT_ERROR_ARGUMENT, "max_pool", shape, "padding 2");
    REFUSED(ht_avg_pool2d(x, large), HT_ERROR_SHAPE, "avg_pool", shape,
            "axis 2: a kernel of 6 does not fit into 5");
    REFUSED(ht_global_avg_pool2d(flat), HT_ERROR_SHAPE, "global_avg", "(4)", "4 axes");
    REFUSED(ht_take_last(flat, whole), HT_ERROR_SHAPE, "take_last: ", "f32 (4), i32 (2",
            "the same axes");
    REFUSED(ht_take_last(x, x), HT_ERROR_DTYPE, "take_last: ", shape, "indices of i32");
    ht_tape_free(recorded);
    ht_context_free(ctx);
}

static void take_last_index_outside_is_named(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    recorded = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *x = ht_tensor_new(ctx, HT_F32, HT_SHAPE(2, 3));
    ht_tensor *index = ht_tensor_new(ctx, HT_I32, HT_SHAPE(2, 1));
    ht_tensor_set(index, 1, 3);
    ht_var in[] = {ht_input(recorded, x), ht_input(recorded, index)};
    REFUSED(ht_take_last(in[0], in[1]), HT_ERROR_ARGUMENT, "take_last: ", "at place 1",
            "0 .. 2");
    ht_tape_free(recorded);
    ht_tensor_free(x), ht_tensor_free(index);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv2d_random_options_match_loops),
        cmocka_unit_test(network_of_conv_and_pooling_passes_the_gradient_check),
        cmocka_unit_test(program_of_convolutions_works_in_its_arena),
        cmocka_unit_test(max_pool2d_tie_gives_all_to_the_first),
        cmocka_unit_test(conv2d_mistakes_are_named),
        cmocka_unit_test(window_options_of_zero_are_the_usual),
        cmocka_unit_test(pooling_mistakes_are_named),
        cmocka_unit_test(take_last_index_outside_is_named),
    };
    any.seed = test_seed();
    return TEST_MAIN(tests);
}
