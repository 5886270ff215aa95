/* SPDX-License-Identifier: MIT */
/* test_nn_vars.c: a set on a tape, by name, and the linear layer.
 * Read next: nn/vars.c, nn/layers.c. */
#include "tensor_internal.h"
#include "test_nn.h"

/* "a.weight" f64 (3, 2), "a.bias" f64 (2), "b.weight" f64 (2, 2), "x" f64 (4, 3) and
 * "labels" i32 (4), all different numbers. */
static ht_set *sample(ht_context *ctx)
{
    static const struct {
        const char *name;
        ht_dtype dtype;
        ht_shape shape;
    } tensors[] = {{"a.weight", HT_F64, {2, {3, 2}}},
                   {"a.bias", HT_F64, {1, {2}}},
                   {"b.weight", HT_F64, {2, {2, 2}}},
                   {"x", HT_F64, {2, {4, 3}}},
                   {"labels", HT_I32, {1, {4}}}};
    ht_set *set = ht_set_new(ctx);
    int k = 0;
    for (int i = 0; i < 5; i++) {
        ht_tensor *x =
            ht_set_add(set, tensors[i].name, tensors[i].dtype, tensors[i].shape);
        for (int64_t j = 0; j < ht_tensor_count(x); j++, k++)
            ht_tensor_set(x, j, tensors[i].dtype == HT_I32 ? k : 0.25 * (k * k % 17) - 2);
    }
    return set;
}

typedef struct bench {
    ht_context *ctx;
    ht_set *set;
    ht_tape *tape;
    ht_vars *vars;
} bench;

static bench open_bench(const fixture *f, ht_policy policy, int32_t step)
{
    bench b = {.ctx = f->ctx, .set = sample(f->ctx)};
    b.tape = ht_tape_new(f->ctx, policy);
    b.vars = ht_vars_input(b.tape, b.set, step);
    assert_non_null(b.vars);
    test_no_error(f->ctx);
    return b;
}

static void close_bench(bench *b)
{
    ht_tape_free(b->tape);
    ht_set_free(b->set);
}

/* Variables. */

static void vars_input_of_a_set_has_its_names_types_and_values(void **state)
{
    bench b = open_bench(*state, HT_EAGER, 41);
    assert_int_equal(ht_vars_count(b.vars), 5);
    assert_ptr_equal(ht_vars_tape(b.vars), b.tape);
    for (int i = 0; i < 5; i++) {
        const ht_tensor *want = ht_set_at(b.set, i);
        ht_var x = ht_get(b.vars, ht_set_name(b.set, i));
        assert_string_equal(ht_vars_name(b.vars, i), ht_set_name(b.set, i));
        assert_int_equal(ht_vars_at(b.vars, i).index, x.index);
        assert_ptr_equal(ht_value(x), want);
        assert_int_equal(ht_var_dtype(x), ht_tensor_dtype(want));
        assert_true(ht_shape_equal(ht_var_shape(x), ht_tensor_shape(want)));
    }
    ht_var step = ht_step(b.vars);
    assert_int_equal(ht_var_dtype(step), HT_I32);
    assert_int_equal(ht_var_shape(step).rank, 0);
    assert_near(ht_item(step), 41, 0);
    test_no_error(b.ctx);
    close_bench(&b);
}

static void vars_input_on_a_recorded_tape_borrows_nothing(void **state)
{
    bench b = open_bench(*state, HT_RECORD, 0);
    ht_tensor_fill(ht_set_at(b.set, 0), 1);
    assert_int_equal(ht_set_at(b.set, 0)->borrows, 0);
    assert_true(ht_shape_equal(ht_var_shape(ht_get(b.vars, "x")), HT_SHAPE(4, 3)));
    assert_null(ht_value(ht_get(b.vars, "x")));
    test_error(b.ctx, HT_ERROR_ARGUMENT, "is recorded");
    close_bench(&b);
}

static void vars_input_on_an_eager_tape_borrows_until_reset(void **state)
{
    bench b = open_bench(*state, HT_EAGER, 0);
    ht_tensor_fill(ht_set_at(b.set, 0), 1);
    ht_exp(ht_get(b.vars, "a.weight"));
    test_error(b.ctx, HT_ERROR_ARGUMENT,
               "exp: reads \"a.weight\" f64 (3, 2), which ht_tensor_fill at ");
    ht_tape_reset(b.tape);
    assert_int_equal(ht_set_at(b.set, 0)->borrows, 0);
    close_bench(&b);
}

/* More names than there was room for: the list moves. */
static void add_many(ht_set *set)
{
    char name[16];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "more%d", i);
        ht_set_add(set, name, HT_F64, HT_SCALAR);
    }
}

static void vars_input_of_a_set_that_grows_keeps_its_names(void **state)
{
    for (int policy = HT_EAGER; policy <= HT_RECORD; policy++) {
        bench b = open_bench(*state, (ht_policy)policy, 0);
        ht_var x = ht_get(b.vars, "x");
        add_many(b.set);
        assert_int_equal(ht_vars_count(b.vars), 5);
        assert_int_equal(ht_get(b.vars, "x").index, x.index);
        assert_string_equal(ht_vars_name(b.vars, 3), "x");
        test_no_error(b.ctx);
        ht_get(b.vars, "more7");
        test_error(b.ctx, HT_ERROR_ARGUMENT,
                   "no variable \"more7\"; there are: a.weight, a.bias, b.weight, x");
        close_bench(&b);
    }
}

/* What a listing says of the leaf's line, and where a leaf is missed. */
static void vars_input_names_its_leaves_in_listings_and_errors(void **state)
{
    for (int policy = 0; policy < 2; policy++) {
        bench b = open_bench(*state, policy ? HT_RECORD : HT_EAGER, 0);
        ht_var x = ht_get(b.vars, "a.bias"), d;
        char *text = NULL, line[64];
        size_t size = 0;
        FILE *file = open_memstream(&text, &size);
        ht_tape_print(b.tape, file);
        fclose(file);
        for (int i = 0; i < 5; i++) {
            snprintf(line, sizeof line, " \"%s\" ", ht_set_name(b.set, i));
            assert_contains(text, line);
        }
        free(text);
        ht_grad(ht_sum(ht_get(b.vars, "x")), 1, &x, &d);
        test_error(b.ctx, HT_ERROR_NO_GRADIENT, "x[0] \"a.bias\" (node %");
        ht_context_clear(b.ctx);
        close_bench(&b);
    }
}

static void vars_input_on_a_recorded_tape_outlives_the_set(void **state)
{
    bench b = open_bench(*state, HT_RECORD, 0);
    ht_var x = ht_get(b.vars, "x");
    ht_set_free(b.set);
    assert_int_equal(ht_get(b.vars, "x").index, x.index);
    assert_string_equal(ht_vars_name(b.vars, 4), "labels");
    ht_tape_free(b.tape);
}

static void free_set(void *argument)
{
    ht_set_free(argument);
}

static void free_tensor(void *argument)
{
    ht_tensor_free(argument);
}

static void set_free_while_a_tape_borrows_it_names_the_tensor(void **state)
{
    bench b = open_bench(*state, HT_EAGER, 0);
    test_aborts(free_set, b.set,
                "ht_set_free: a live tape still borrows \"a.weight\" of this set: reset "
                "or free the tape first");
    ht_var twice = ht_mul(ht_get(b.vars, "x"), 2.0);
    test_aborts(free_tensor, (void *)(uintptr_t)ht_value(twice),
                "this tensor, f64 (4, 3), belongs to a tape, which frees it");
    ht_tape_reset(b.tape);
    test_aborts(free_tensor, ht_set_at(b.set, 0),
                "this tensor, \"a.weight\" f64 (3, 2), belongs to a set, which frees it: "
                "leave it to ht_set_free");
    close_bench(&b);
}

static void vars_input_of_an_empty_set_or_after_an_error(void **state)
{
    fixture *f = *state;
    ht_set *set = ht_set_new(f->ctx);
    ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
    ht_vars *vars = ht_vars_input(tape, set, 7);
    assert_int_equal(ht_vars_count(vars), 0);
    assert_near(ht_item(ht_step(vars)), 7, 0);
    ht_get(vars, "w");
    test_error(f->ctx, HT_ERROR_ARGUMENT, "no variable \"w\"; there are: none");
    ht_context_fail(f->ctx, HT_ERROR_ARGUMENT, NULL, "before");
    assert_null(ht_vars_input(tape, set, 0));
    test_error(f->ctx, HT_ERROR_ARGUMENT, "before");
    ht_tape_free(tape);
    ht_set_free(set);
}

static void get_unknown_name_lists_names_and_poisons(void **state)
{
    bench b = open_bench(*state, HT_EAGER, 0);
    ht_var lost = ht_mul(ht_get(b.vars, "a.wieght"), 2.0);
    assert_int_equal(ht_context_status(b.ctx), HT_ERROR_ARGUMENT);
    assert_contains(ht_context_message(b.ctx),
                    "ht_get: no variable \"a.wieght\"; there are: a.weight, a.bias, "
                    "b.weight, x, labels\n  hint: did you mean \"a.weight\"?\n  at ");
    assert_contains(ht_context_message(b.ctx), "test_nn_vars.c:");
    assert_null(ht_value(lost));
    ht_context_clear(b.ctx);
    close_bench(&b);
}

static void use_null_vars(void *argument)
{
    ht_step(argument);
}

static void name_outside(void *argument)
{
    ht_vars_name(argument, 5);
}

static void vars_misuse_aborts_with_values(void **state)
{
    bench b = open_bench(*state, HT_EAGER, 0);
    test_aborts(use_null_vars, NULL, "vars is NULL");
    test_aborts(name_outside, b.vars, "variable 5 of 5");
    close_bench(&b);
}

/* Setting. */

static void vars_set_of_the_same_type_replaces_one(void **state)
{
    bench b = open_bench(*state, HT_EAGER, 0);
    ht_var x = ht_get(b.vars, "x"), twice = ht_mul(x, 2.0);
    ht_vars_set(b.vars, "x", twice);
    test_no_error(b.ctx);
    assert_int_equal(ht_get(b.vars, "x").index, twice.index);
    for (int64_t j = 0; j < 12; j++)
        assert_near(ht_tensor_get(ht_value(ht_get(b.vars, "x")), j),
                    2 * ht_tensor_get(ht_set_tensor(b.set, "x"), j), 0);
    close_bench(&b);
}

static void vars_set_of_another_type_or_name_is_an_error(void **state)
{
    bench b = open_bench(*state, HT_EAGER, 0);
    ht_var x = ht_get(b.vars, "x");
    ht_vars_set(b.vars, "x", ht_cast(x, HT_F32));
    assert_contains(ht_context_message(b.ctx), "test_nn_vars.c:");
    test_error(b.ctx, HT_ERROR_DTYPE, "\"x\" is f64 (4, 3), the value f32 (4, 3)");
    ht_var turned = ht_transpose(x);
    const char *site = (ht_vars_set(b.vars, "x", turned), HT_HERE);
    assert_contains(ht_context_message(b.ctx), site);
    test_error(b.ctx, HT_ERROR_SHAPE, "\"x\" is f64 (4, 3), the value f64 (3, 4)");
    site = (ht_vars_set(b.vars, "y", x), HT_HERE);
    assert_contains(ht_context_message(b.ctx), site);
    test_error(b.ctx, HT_ERROR_ARGUMENT,
               "ht_vars_set: no variable \"y\"; there are: a.weight, a.bias, b.weight");
    assert_int_equal(ht_get(b.vars, "x").index, x.index);
    close_bench(&b);
}

static void set_from_another_tape(void *argument)
{
    bench *b = argument;
    ht_tape *other = ht_tape_new(b->ctx, HT_EAGER);
    ht_vars_set(b->vars, "x", ht_input(other, ht_set_tensor(b->set, "x")));
}

static void vars_set_from_another_tape_aborts(void **state)
{
    bench b = open_bench(*state, HT_EAGER, 0);
    test_aborts(set_from_another_tape, &b, "the value of \"x\" is on another tape");
    close_bench(&b);
}

/* Gradients. */

/* y = sum a.weight^2 + 3 sum a.bias, of a set of those two. */
static void vars_grad_of_a_known_function_is_in_the_order_of_the_set(void **state)
{
    fixture *f = *state;
    ht_set *set = ht_set_new(f->ctx);
    ht_tensor *w = ht_set_add(set, "w", HT_F64, HT_SHAPE(3)), *b;
    b = ht_set_add(set, "b", HT_F64, HT_SHAPE(2, 2));
    for (int i = 0; i < 3; i++) ht_tensor_set(w, i, i - 0.75);
    ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
    ht_vars *vars = ht_vars_input(tape, set, 0);
    ht_var g[2], y = ht_add(ht_sum(ht_square(ht_get(vars, "w"))),
                            ht_mul(ht_sum(ht_get(vars, "b")), 3.0));
    ht_vars_grad(y, vars, g);
    test_no_error(f->ctx);
    for (int i = 0; i < 3; i++)
        assert_near(ht_tensor_get(ht_value(g[0]), i), 2 * ht_tensor_get(w, i), 0);
    for (int i = 0; i < 4; i++) assert_near(ht_tensor_get(ht_value(g[1]), i), 3, 0);
    assert_true(ht_shape_equal(ht_var_shape(g[1]), ht_tensor_shape(b)));
    ht_vars_grad(ht_sum(ht_get(vars, "w")), vars, g);
    test_error(f->ctx, HT_ERROR_NO_GRADIENT, "test_nn_vars.c:");
    ht_tape_free(tape);
    ht_set_free(set);
}

/* Linear. */

/* The layer written out: y[i][j] = sum_k x[i][k] w[k][j] (+ b[j]). */
static double linear_element(const ht_tensor *x, const ht_tensor *w, const ht_tensor *b,
                             int64_t i, int64_t j)
{
    int64_t n_in = ht_tensor_shape(w).dim[0], n_out = ht_tensor_shape(w).dim[1];
    double sum = b ? ht_tensor_get(b, j) : 0;
    for (int64_t k = 0; k < n_in; k++)
        sum += ht_tensor_get(x, i * n_in + k) * ht_tensor_get(w, k * n_out + j);
    return sum;
}

/* The numbers are quarters, so sums are exact in any order. */
static void check_linear(const ht_tensor *y, const ht_tensor *x, const ht_tensor *w,
                         const ht_tensor *b)
{
    assert_int_equal(ht_tensor_count(y), 4 * 2);
    for (int64_t i = 0; i < 4; i++)
        for (int64_t j = 0; j < 2; j++)
            assert_near(ht_tensor_get(y, 2 * i + j), linear_element(x, w, b, i, j), 0);
}

static void linear_with_and_without_bias_is_the_sum(void **state)
{
    bench b = open_bench(*state, HT_EAGER, 0);
    ht_var x = ht_get(b.vars, "x"), y = ht_linear(x, b.vars, "a");
    ht_var z = ht_linear(y, b.vars, "b");
    test_no_error(b.ctx);
    check_linear(ht_value(y), ht_set_tensor(b.set, "x"), ht_set_tensor(b.set, "a.weight"),
                 ht_set_tensor(b.set, "a.bias"));
    check_linear(ht_value(z), ht_value(y), ht_set_tensor(b.set, "b.weight"), NULL);
    ht_var batched = ht_linear(ht_reshape(x, HT_SHAPE(2, 2, 3)), b.vars, "a");
    assert_true(ht_shape_equal(ht_var_shape(batched), HT_SHAPE(2, 2, 2)));
    check_linear(ht_value(batched), ht_set_tensor(b.set, "x"),
                 ht_set_tensor(b.set, "a.weight"), ht_set_tensor(b.set, "a.bias"));
    close_bench(&b);
}

static void linear_missing_weight_or_wrong_width_is_an_error_with_the_site(void **state)
{
    bench b = open_bench(*state, HT_EAGER, 0);
    ht_var x = ht_get(b.vars, "x");
    ht_var lost = ht_linear(x, b.vars, "c");
    assert_null(ht_value(lost));
    assert_contains(ht_context_message(b.ctx), "test_nn_vars.c:");
    test_error(b.ctx, HT_ERROR_ARGUMENT,
               "no variable \"c.weight\"; there are: a.weight, a.bias, b.weight, x");
    ht_linear(x, b.vars, "a.w");
    test_error(b.ctx, HT_ERROR_ARGUMENT, "no variable \"a.w.weight\"");
    ht_linear(x, b.vars, "b");
    assert_contains(ht_context_message(b.ctx), "test_nn_vars.c:");
    assert_contains(ht_context_message(b.ctx), "(4, 3)");
    test_error(b.ctx, HT_ERROR_SHAPE, "(2, 2)");
    close_bench(&b);
}

/* loss = mean of tanh(linear)^2, by x, weight and bias. */
static ht_var linear_loss(ht_tape *tape, int n, const ht_var *x, void *user)
{
    (void)n;
    ht_vars *vars = ht_vars_input(tape, user, 0);
    ht_vars_set(vars, "a.weight", x[1]);
    ht_vars_set(vars, "a.bias", x[2]);
    return ht_mean(ht_square(ht_tanh(ht_linear(x[0], vars, "a"))));
}

static void linear_gradients_agree_with_differences(void **state)
{
    fixture *f = *state;
    ht_set *set = sample(f->ctx);
    const ht_tensor *at[] = {ht_set_tensor(set, "x"), ht_set_tensor(set, "a.weight"),
                             ht_set_tensor(set, "a.bias")};
    assert_true(ht_gradient_check(f->ctx, linear_loss, 3, at, set, NULL));
    test_no_error(f->ctx);
    ht_set_free(set);
}

/* Memory. */

/* False after an error. */
static bool forward_and_gradient(ht_context *ctx, void *user)
{
    (void)user;
    ht_set *set = ht_set_new(ctx);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    if (set) ht_linear_init(set, "a", HT_F32, 3, 2);
    ht_tensor *x = set ? ht_set_add(set, "x", HT_F32, HT_SHAPE(4, 3)) : NULL;
    ht_vars *vars = tape && x ? ht_vars_input(tape, set, 0) : NULL;
    if (vars) {
        ht_var g[3], y = ht_sum(ht_tanh(ht_linear(ht_get(vars, "x"), vars, "a")));
        ht_vars_grad(y, vars, g);
    }
    ht_tape_free(tape);
    ht_set_free(set);
    return ht_context_status(ctx) == HT_OK;
}

static void vars_with_nth_allocation_failing_leak_nothing(void **state)
{
    (void)state;
    assert_in_range(fail_each_allocation(forward_and_gradient, NULL), 15, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(vars_input_of_a_set_has_its_names_types_and_values),
        CASE(vars_input_on_a_recorded_tape_borrows_nothing),
        CASE(vars_input_on_an_eager_tape_borrows_until_reset),
        CASE(vars_input_of_a_set_that_grows_keeps_its_names),
        CASE(vars_input_names_its_leaves_in_listings_and_errors),
        CASE(vars_input_on_a_recorded_tape_outlives_the_set),
        CASE(set_free_while_a_tape_borrows_it_names_the_tensor),
        CASE(vars_input_of_an_empty_set_or_after_an_error),
        CASE(get_unknown_name_lists_names_and_poisons),
        CASE(vars_misuse_aborts_with_values),
        CASE(vars_set_of_the_same_type_replaces_one),
        CASE(vars_set_of_another_type_or_name_is_an_error),
        CASE(vars_set_from_another_tape_aborts),
        CASE(vars_grad_of_a_known_function_is_in_the_order_of_the_set),
        CASE(linear_with_and_without_bias_is_the_sum),
        CASE(linear_missing_weight_or_wrong_width_is_an_error_with_the_site),
        CASE(linear_gradients_agree_with_differences),
        CASE(vars_with_nth_allocation_failing_leak_nothing),
    };
    return TEST_MAIN(tests);
}
