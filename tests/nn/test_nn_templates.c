/* SPDX-License-Identifier: MIT */
/* test_nn_templates.c: the templates of a layer and of an update rule, made and run: the
 * layer against two linear ones, the rule against its loop. Read next: nn/README.md. */
#include "test_nn.h"

#include "template_layer.c"
#include "template_rule.c"

static void layer_template_is_a_gated_product(void **state)
{
    fixture *f = *state;
    ht_set *set = ht_set_new(f->ctx);
    ht_tensor *x = ht_set_add(set, "x", HT_F64, HT_SHAPE(4, 3));
    ht_tensor_normal(x, 1, 0, 1);
    gated_init(set, "l", HT_F64, 3, 2);
    ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
    ht_vars *vars = ht_vars_input(tape, set, 0);
    ht_var in = ht_get(vars, "x"), y = gated_at(in, vars, "l", HT_HERE);
    ht_var gate = ht_sigmoid(ht_linear(in, vars, "l.gate"));
    ht_var want = ht_mul(ht_linear(in, vars, "l.value"), gate);
    test_no_error(f->ctx);
    assert_memory_equal(ht_tensor_data(ht_value(y)), ht_tensor_data(ht_value(want)),
                        8 * sizeof(double));
    ht_tape_free(tape);
    ht_set_free(set);
}

static void layer_template_names_what_does_not_fit(void **state)
{
    fixture *f = *state;
    ht_set *set = ht_set_new(f->ctx);
    ht_set_add(set, "x", HT_F64, HT_SHAPE(4, 3));
    gated_init(set, "l", HT_F64, 5, 2);
    ht_tape *tape = ht_tape_new(f->ctx, HT_EAGER);
    ht_vars *vars = ht_vars_input(tape, set, 0);
    gated_at(ht_get(vars, "x"), vars, "l", HT_HERE);
    test_error(f->ctx, HT_ERROR_SHAPE, "gated: \"l.value.weight\" is f64 (5, 2)");
    gated_at(ht_get(vars, "x"), vars, "m", HT_HERE);
    test_error(f->ctx, HT_ERROR_ARGUMENT, "no variable \"m.value.weight\"");
    gated_init(set, "n", HT_F64, 0, 2);
    test_error(f->ctx, HT_ERROR_SHAPE, "gated_init: \"n\"");
    assert_int_equal(ht_set_count(set), 5);
    ht_tape_free(tape);
    ht_set_free(set);
}

static bool init_alone(ht_context *ctx, void *user)
{
    (void)user;
    ht_set *set = ht_set_new(ctx);
    if (!set) return false;
    gated_init(set, "l", HT_F64, 3, 2);
    bool all = ht_set_count(set) == 4;
    assert_true(all || ht_set_count(set) == 0);
    ht_set_free(set);
    return all;
}

static void layer_template_adds_all_of_its_tensors_or_none(void **state)
{
    (void)state;
    assert_int_not_equal(fail_each_allocation(init_alone, NULL), 0);
}

static void rule_template_is_its_loop(void **state)
{
    fixture *f = *state;
    ht_set *theta = ht_set_new(f->ctx), *gradient = ht_set_new(f->ctx);
    ht_tensor *w = ht_set_add(theta, "w", HT_F64, HT_SHAPE(1));
    ht_tensor *g = ht_set_add(gradient, "w", HT_F64, HT_SHAPE(1));
    ht_update update = {
        .rule = &averaged_rule, .rate = HT_FIXED(0.25), .momentum = HT_FIXED(0.75)};
    ht_optimizer *optimizer = ht_optimizer_new(theta, &update);
    test_no_error(f->ctx);
    double m = 0, at = 0;
    for (int t = 1; t <= 5; t++) {
        ht_tensor_fill(g, t);
        ht_optimizer_step(optimizer, gradient);
        m = 0.75 * m + 0.25 * t;
        at -= 0.25 * m;
        assert_near(ht_tensor_get(w, 0), at, 1e-15);
    }
    ht_optimizer_free(optimizer);
    ht_set_free(theta);
    ht_set_free(gradient);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_new, fixture_free)
        CASE(layer_template_is_a_gated_product),
        CASE(layer_template_names_what_does_not_fit),
        CASE(layer_template_adds_all_of_its_tensors_or_none),
        CASE(rule_template_is_its_loop),
    };
    return TEST_MAIN(tests);
}
