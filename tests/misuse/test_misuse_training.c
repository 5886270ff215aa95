/* SPDX-License-Identifier: MIT */
/* test_misuse_training.c: mistakes of first training programs: sets, optimizers, owners,
 * files, bilevel problems. Each ends as those of test_misuse_first_hour.c do.
 * Read next: first_hour.h. */
#include <math.h>

#include "first_hour.h"

static ht_set *linear(desk *d)
{
    ht_linear_init(d->theta, "out", HT_F32, 20, 10);
    return d->theta;
}

/* Sets. */

static void name_that_is_not_there(desk *d)
{
    ht_get(VARS(linear(d)), "out.wieght");
}

static void tensor_that_is_not_there(desk *d)
{
    ht_tensor_fill(ht_set_tensor(linear(d), "out.wieght"), 1);
}

static void name_twice(desk *d)
{
    ht_set_add(linear(d), "out.bias", HT_F32, HT_SHAPE(10));
}

static void name_of_nothing(desk *d)
{
    ht_set_add(d->data, "", HT_F32, HT_SHAPE(10));
}

static void copy_of_another_network(desk *d)
{
    ht_linear_init(d->data, "hidden", HT_F32, 20, 10);
    ht_set_copy(linear(d), d->data);
}

static void copy_of_another_shape(desk *d)
{
    ht_tensor_copy(TENSOR(HT_F32, 8), TENSOR(HT_F32, 9));
}

static void dtype_forgotten(desk *d)
{
    ht_set_add(d->data, "x", (ht_dtype)0, HT_SHAPE(10));
}

static void size_below_zero(desk *d)
{
    ht_tensor_new(d->ctx, HT_F32, HT_SHAPE(8, -1));
}

static void label_of_minus_one_in_bytes(desk *d)
{
    ht_tensor_set(TENSOR(HT_U8, 8), 0, -1);
}

/* Update rules. */

static void optimizer(desk *d, ht_update update)
{
    ht_optimizer_new(linear(d), &update);
}

static void rate_forgotten(desk *d)
{
    optimizer(d, (ht_update){.rule = &ht_sgd});
}

static void rule_forgotten(desk *d)
{
    optimizer(d, (ht_update){.rate = HT_FIXED(0.1)});
}

static void adam_without_betas(desk *d)
{
    optimizer(d, (ht_update){.rule = &ht_adam, .rate = HT_FIXED(1e-3)});
}

static void adam_without_momentum(desk *d)
{
    optimizer(d, (ht_update){.rule = &ht_adam,
                             .rate = HT_FIXED(1e-3),
                             .beta2 = HT_FIXED(0.999),
                             .eps = HT_FIXED(1e-8)});
}

static void adam_without_eps(desk *d)
{
    optimizer(d, (ht_update){.rule = &ht_adam,
                             .rate = HT_FIXED(1e-3),
                             .momentum = HT_FIXED(0.9),
                             .beta2 = HT_FIXED(0.999)});
}

static void sgd_with_momentum(desk *d)
{
    optimizer(d, (ht_update){
                     .rule = &ht_sgd, .rate = HT_FIXED(0.1), .momentum = HT_FIXED(0.9)});
}

static void rate_below_zero(desk *d)
{
    optimizer(d, (ht_update){.rule = &ht_sgd, .rate = HT_FIXED(-0.1)});
}

static void momentum_of_infinity(desk *d)
{
    optimizer(d, (ht_update){.rule = &ht_momentum,
                             .rate = HT_FIXED(0.1),
                             .momentum = HT_FIXED(INFINITY)});
}

static void outer_rate_in_plain_training(desk *d)
{
    optimizer(d, (ht_update){.rule = &ht_sgd, .rate = HT_OUTER("rate")});
}

static void groups_without_their_number(desk *d)
{
    ht_update_group group = {.pattern = "*.bias"};
    optimizer(d, (ht_update){.rule = &ht_sgd, .rate = HT_FIXED(0.1), .groups = &group});
}

static void pattern_of_nobody(desk *d)
{
    ht_update_group group = {.pattern = "hidden.*"};
    optimizer(
        d, (ht_update){
               .rule = &ht_sgd, .rate = HT_FIXED(0.1), .groups = &group, .n_groups = 1});
}

/* Training. */

static ht_optimizer *sgd(desk *d)
{
    ht_update update = {.rule = &ht_sgd, .rate = HT_FIXED(0.1)};
    return ht_optimizer_new(linear(d), &update);
}

static void gradient_without_a_name(desk *d)
{
    ht_optimizer *o = sgd(d);
    ht_set_add(d->data, "out.weight", HT_F32, HT_SHAPE(20, 10));
    ht_optimizer_step(o, d->data);
}

static void gradient_of_another_shape(desk *d)
{
    ht_optimizer *o = sgd(d);
    ht_set_add(d->data, "out.weight", HT_F32, HT_SHAPE(10, 20));
    ht_set_add(d->data, "out.bias", HT_F32, HT_SHAPE(10));
    ht_optimizer_step(o, d->data);
}

static void gradient_that_is_not_finite(desk *d)
{
    ht_optimizer *o = sgd(d);
    ht_set *g = ht_set_clone(d->theta, 0);
    ht_tensor_fill(ht_set_tensor(g, "out.weight"), 0);
    ht_tensor_set(ht_set_tensor(g, "out.bias"), 3, NAN);
    ht_optimizer_step(o, g);
}

static void parameters_as_their_gradient(desk *d)
{
    ht_optimizer_step(sgd(d), d->theta);
}

static void step_before_the_gradient(desk *d)
{
    ht_optimizer *o = sgd(d);
    ht_optimizer_step(o, ht_set_clone(d->theta, 0));
}

static void gradient_into_the_parameters(desk *d)
{
    ht_vars *theta = VARS(linear(d));
    ht_backward(ht_mean(ht_get(theta, "out.weight")), theta, d->theta);
}

static void step_below_zero(desk *d)
{
    ht_vars_input(d->eager, linear(d), -1);
}

static ht_var warmed(desk *d, ht_rate rate)
{
    ht_update update = HT_SGD(0.1);
    update.rate.schedule = ht_rate_cosine;
    update.rate.user = &rate;
    ht_optimizer_new(linear(d), &update);
    return HT_ZERO;
}

static void warmup_alone(desk *d)
{
    warmed(d, (ht_rate){.warmup = 10});
}

static void tape_that_nobody_resets(desk *d)
{
    ht_context *small = ht_context_new(&(ht_context_options){
        .threads = 1, .byte_limit = 1 << 23, .on_error = ht_print_and_exit});
    ht_tape *tape = ht_tape_new(small, HT_EAGER);
    ht_tensor *one = ht_tensor_new(small, HT_F32, HT_SCALAR);
    for (;;) ht_exp(ht_input(tape, one));
    (void)d;
}

static ht_tensor *labels(desk *d)
{
    return TENSOR(HT_I32, 8);
}

static void accuracy_the_other_way_round(desk *d)
{
    ht_accuracy(labels(d), TENSOR(HT_F32, 8, 3));
}

static void accuracy_of_classes(desk *d)
{
    ht_accuracy(labels(d), labels(d));
}

static void accuracy_by_labels_of_floats(desk *d)
{
    ht_accuracy(TENSOR(HT_F32, 8, 3), TENSOR(HT_F32, 8));
}

static void counts_of_floats(desk *d)
{
    ht_confusion(TENSOR(HT_F32, 8, 3), labels(d), TENSOR(HT_F32, 3, 3));
}

static void pixels_into_a_layer(desk *d)
{
    ht_linear(INPUT(HT_U8, 8, 20), VARS(linear(d)), "out");
}

static void variables_of_before_the_reset(desk *d)
{
    ht_vars *theta = VARS(linear(d));
    ht_tape_reset(d->eager);
    ht_linear(INPUT(HT_F32, 8, 20), theta, "out");
}

static void reshape_of_before_the_reset(desk *d)
{
    ht_var x = INPUT(HT_F32, 8);
    ht_tape_reset(d->eager);
    ht_reshape(x, HT_SHAPE(2, 4));
}

static void product_of_numbers(desk *d)
{
    (void)d;
    ht_mul(2, 3);
}

static void layer_added_after_the_optimizer(desk *d)
{
    ht_optimizer *o = sgd(d);
    ht_set *g = ht_set_clone(d->theta, 0);
    ht_linear_init(d->theta, "late", HT_F32, 10, 10);
    ht_optimizer_step(o, g);
}

static void step_before_the_value_is_read(desk *d)
{
    ht_optimizer *o = sgd(d);
    ht_set *g = ht_set_clone(d->theta, 0);
    ht_vars *theta = VARS(d->theta);
    ht_tensor_fill(ht_set_tensor(g, "out.weight"), 0.1);
    ht_tensor_fill(ht_set_tensor(g, "out.bias"), 0.1);
    ht_optimizer_step(o, g);
    ht_linear(INPUT(HT_F32, 8, 20), theta, "out");
}

static void tensor_of_another_context_changed(desk *d)
{
    ht_context *other = ht_context_new(NULL);
    ht_tensor *x = ht_tensor_new(other, HT_F32, HT_SHAPE(8));
    ht_input(d->eager, x);
    ht_tensor_fill(x, 1);
}

static void state_of_another_rule(desk *d)
{
    ht_optimizer *o = sgd(d);
    ht_set_add(d->data, "out.weight.m", HT_F32, HT_SHAPE(20, 10));
    ht_optimizer_restore(o, d->data, 10);
}

/* Owners. */

static void tensor_of_a_set_freed(desk *d)
{
    ht_tensor_free(ht_set_tensor(linear(d), "out.bias"));
}

static void tensor_freed_twice(desk *d)
{
    ht_tensor *x = TENSOR(HT_F32, 8);
    ht_tensor_free(x);
    ht_tensor_free(x);
}

static void set_freed_twice(desk *d)
{
    ht_set *set = linear(d);
    ht_set_free(set);
    ht_set_free(set);
}

static void set_freed_under_its_optimizer(desk *d)
{
    sgd(d);
    ht_set_free(d->theta);
}

static void tensor_freed_under_a_tape(desk *d)
{
    ht_tensor *x = TENSOR(HT_F32, 8);
    ht_input(d->eager, x);
    ht_tensor_free(x);
}

static void context_freed_first(desk *d)
{
    linear(d);
    ht_context_free(d->ctx);
}

static void null_where_a_tensor_is_wanted(desk *d)
{
    ht_input(d->eager, NULL);
    (void)d;
}

/* Files. */

static const char *text_file(void)
{
    FILE *f = fopen("first_hour.txt", "w");
    if (f) fprintf(f, "epoch,loss\n1,2.31\n"), fclose(f);
    return "first_hour.txt";
}

static void folder_that_is_not_there(desk *d)
{
    ht_images images;
    ht_mnist_read(d->ctx, "nowhere/mnist", false, &images);
}

static void weights_that_are_not_there(desk *d)
{
    ht_set_load(d->ctx, "nowhere.safetensors");
}

static void weights_of_another_format(desk *d)
{
    ht_set_load(d->ctx, text_file());
}

static void digits_of_another_format(desk *d)
{
    ht_idx_read(d->ctx, text_file());
}

static void weights_into_no_folder(desk *d)
{
    ht_set_write(linear(d), "nowhere/weights.safetensors");
}

static void weights_of_another_network(desk *d)
{
    ht_set_write(linear(d), "first_hour.safetensors");
    ht_set_add(d->data, "hidden.weight", HT_F32, HT_SHAPE(20, 10));
    ht_set_read(d->data, "first_hour.safetensors");
}

static void picture_of_floats(desk *d)
{
    ht_png_write(d->ctx, "first_hour.png", TENSOR(HT_F32, 28, 28));
}

static void batch_of_more_than_all(desk *d)
{
    int64_t rows[8];
    ht_batch_order(1, 0, 7, 8, rows);
    (void)d;
}

static void row_past_the_images(desk *d)
{
    ht_images images = {
        .pixels = TENSOR(HT_U8, 8, 28, 28), .labels = TENSOR(HT_I32, 8), .classes = 10};
    ht_images_rows(&images, NULL, 4, 8, TENSOR(HT_F32, 8, 784), NULL);
}

static void split_of_more_than_all(desk *d)
{
    int64_t rows[20], *parts[2] = {rows, rows + 10};
    ht_split(d->ctx, 1, 12, 2, (int64_t[]){10, 10}, parts);
}

/* Bilevel problems. */

static ht_var fit(const ht_vars *theta, const ht_vars *eta, const ht_vars *data, void *u)
{
    (void)eta, (void)u;
    ht_var guess = ht_matmul(ht_get(data, "x"), ht_get(theta, "w"));
    return ht_mean(ht_squared_error(guess, ht_get(data, "y")));
}

static ht_var ridge(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                    void *u)
{
    ht_var norm = ht_sum(ht_square(ht_get(theta, "w")));
    return ht_add(fit(theta, eta, data, u), ht_mul(ht_get(eta, "penalty"), norm));
}

static ht_bilevel_problem problem(desk *d)
{
    ht_set *eta = ht_set_new(d->ctx);
    ht_set_add(d->theta, "w", HT_F64, HT_SHAPE(8, 1));
    ht_set_add(eta, "penalty", HT_F64, HT_SCALAR);
    ht_tensor_normal(ht_set_add(d->data, "x", HT_F64, HT_SHAPE(20, 8)), 1, 0, 1);
    ht_tensor_normal(ht_set_add(d->data, "y", HT_F64, HT_SHAPE(20, 1)), 2, 0, 1);
    return (ht_bilevel_problem){.inner = ridge,
                                .outer = fit,
                                .theta = d->theta,
                                .eta = eta,
                                .inner_data = d->data,
                                .outer_data = d->data,
                                .steps = 10,
                                .update = {.rule = &ht_sgd, .rate = HT_FIXED(0.1)}};
}

static void outer_name_that_is_not_there(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.update.rate = HT_OUTER("rate");
    ht_bilevel_new(d->ctx, &p, NULL);
}

static ht_var row_losses(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                         void *u)
{
    (void)u;
    ht_var guess = ht_matmul(ht_get(data, "x"), ht_get(theta, "w"));
    return ht_mul(ht_get(eta, "penalty"), ht_square(ht_sub(guess, ht_get(data, "y"))));
}

static void inner_loss_a_row(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.inner = row_losses;
    ht_bilevel_new(d->ctx, &p, NULL);
}

static void eta_that_nothing_uses(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.inner = fit;
    ht_bilevel_new(d->ctx, &p, NULL);
}

static ht_var of_data_alone(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                            void *u)
{
    (void)theta, (void)eta, (void)u;
    return ht_mean(ht_get(data, "y"));
}

static void inner_loss_of_data_alone(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.inner = of_data_alone;
    ht_bilevel_new(d->ctx, &p, NULL);
}

static void outer_loss_of_data_alone(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.outer = of_data_alone;
    ht_bilevel_new(d->ctx, &p, NULL);
}

static ht_var branches(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                       void *u)
{
    ht_var loss = ridge(theta, eta, data, u);
    return ht_item(loss) > 1 ? loss : ht_mul(loss, 2);
}

static void branch_on_a_recorded_value(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.inner = branches;
    ht_bilevel_new(d->ctx, &p, NULL);
}

/* A variable of a tape of the caller's, into a loss. */
static ht_var takes_along(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                          void *user)
{
    return ht_add(ridge(theta, eta, data, NULL), *(const ht_var *)user);
}

static void loss_with_a_variable_of_another_tape(desk *d)
{
    ht_bilevel_problem p = problem(d);
    ht_var own = ht_mean(INPUT(HT_F64, 8));
    p.inner = takes_along;
    p.user = &own;
    ht_bilevel_new(d->ctx, &p, NULL);
}

static ht_var returns_nothing(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *data, void *user)
{
    (void)theta, (void)eta, (void)data, (void)user;
    return (ht_var){0};
}

static void loss_that_returns_nothing(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.outer = returns_nothing;
    ht_bilevel_new(d->ctx, &p, NULL);
}

static ht_status of_another_name(uint64_t step, ht_set *batch, void *user)
{
    (void)user;
    return ht_tensor_normal(ht_set_tensor(batch, "X"), step, 0, 1);
}

static void batch_of_another_name(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.inner_batch = of_another_name;
    ht_bilevel_run(ht_bilevel_new(d->ctx, &p, NULL), 0);
}

static void item_of_several(desk *d)
{
    ht_var x = INPUT(HT_F32, 8);
    ht_item(x);
}

/* A tensor that the problem does not know. */
static ht_var reads_a_global(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *data, void *user)
{
    ht_var weight = ht_input(ht_vars_tape(theta), user);
    return ht_mul(ridge(theta, eta, data, NULL), weight);
}

static void loss_of_a_global_tensor(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.inner = reads_a_global;
    p.user = ht_tensor_new(d->ctx, HT_F64, HT_SCALAR);
    ht_bilevel_new(d->ctx, &p, NULL);
}

static void coordinates_without_their_number(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.coordinates = &(ht_coordinate){"penalty", HT_LOG, 0, 0};
    ht_bilevel_new(d->ctx, &p, NULL);
}

static void more_steps_than_memory(desk *d)
{
    ht_context *small = ht_context_new(&(ht_context_options){
        .threads = 1, .byte_limit = 1 << 24, .on_error = ht_print_and_exit});
    desk other = {.ctx = small, .theta = ht_set_new(small), .data = ht_set_new(small)};
    ht_bilevel_problem p = problem(&other);
    p.steps = 1 << 29;
    ht_bilevel_new(small, &p, NULL);
    (void)d;
}

static void no_steps(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.steps = 0;
    ht_bilevel_new(d->ctx, &p, NULL);
}

static void no_inner_loss(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.inner = NULL;
    ht_bilevel_new(d->ctx, &p, NULL);
}

static void budget_too_small(desk *d)
{
    ht_bilevel_problem p = problem(d);
    ht_bilevel_new(d->ctx, &p, &(ht_bilevel_options){.bytes = 100});
}

static void truncated_without_a_length(desk *d)
{
    ht_bilevel_problem p = problem(d);
    ht_bilevel_new(d->ctx, &p, &(ht_bilevel_options){.method = HT_TRUNCATED});
}

static void gradient_of_before_the_evaluation(desk *d)
{
    ht_bilevel_problem p = problem(d);
    ht_bilevel *b = ht_bilevel_new(d->ctx, &p, NULL);
    ht_update update = HT_SGD(0.1);
    ht_optimizer *outer = ht_optimizer_new(p.eta, &update);
    const ht_set *gradient = ht_bilevel_run(b, 0).gradient;
    ht_bilevel_evaluate(b, 0);
    ht_optimizer_step(outer, gradient);
}

static void rows_past_the_end(desk *d)
{
    ht_rows(TENSOR(HT_F32, 8, 20), TENSOR(HT_F32, 10, 20), NULL, 5, 8);
}

static void eta_of_integers(desk *d)
{
    ht_bilevel_problem p = problem(d);
    ht_set_add(p.eta, "classes", HT_I32, HT_SCALAR);
    ht_bilevel_new(d->ctx, &p, NULL);
}

static void rates_of_another_length(desk *d)
{
    ht_bilevel_problem p = problem(d);
    ht_set_add(p.eta, "rate", HT_F64, HT_SHAPE(7));
    p.update.rate = HT_OUTER("rate");
    ht_bilevel_new(d->ctx, &p, NULL);
}

static void data_forgotten(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.outer_data = NULL;
    ht_bilevel_new(d->ctx, &p, NULL);
}

static void theta_as_data(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.outer_data = p.theta;
    ht_bilevel_new(d->ctx, &p, NULL);
}

static ht_status forgets(uint64_t step, ht_set *batch, void *user)
{
    (void)step, (void)batch, (void)user;
    return HT_ERROR_FILE;
}

static void batch_that_fails(desk *d)
{
    ht_bilevel_problem p = problem(d);
    p.inner_batch = forgets;
    ht_bilevel_run(ht_bilevel_new(d->ctx, &p, NULL), 0);
}

static void memory_that_is_not_there(desk *d)
{
    (void)d;
    ht_context *small = ht_context_new(&(ht_context_options){
        .threads = 1, .byte_limit = 1 << 20, .on_error = ht_print_and_exit});
    ht_tensor_new(small, HT_F64, HT_SHAPE(1 << 20));
}

static const mistake mistakes[] = {
    M(name_that_is_not_there, "out.wieght", HERE, "out.weight"),
    M(tensor_that_is_not_there, "out.wieght", HERE, "out.weight"),
    M(name_twice, "out.bias", HERE, "a name stands once"),
    M(name_of_nothing, "\"\"", HERE, "not empty"),
    M(copy_of_another_network, "hidden.weight", "ht_set_copy", "out.weight"),
    M(copy_of_another_shape, "(9)", "ht_tensor_copy", "(8)"),
    M(dtype_forgotten, "dtype 0", "ht_tensor_new", "HT_F32"),
    M(size_below_zero, "(8, -1)", "ht_tensor_new", "none negative"),
    M(label_of_minus_one_in_bytes, "-1", "ht_tensor_set", "255"),
    M(rate_forgotten, "rate is zero", HERE, "0.1"),
    STOPS(rule_forgotten, "NULL", HERE, "&ht_sgd"),
    M(adam_without_betas, "momentum", HERE, "0.9"),
    M(adam_without_momentum, "momentum", "update rule", "0.9"),
    M(adam_without_eps, "eps", "update rule", "1e-8"),
    M(sgd_with_momentum, "momentum", "update rule", "ht_momentum"),
    M(rate_below_zero, "rate is negative", "update rule sgd", "0.1"),
    M(momentum_of_infinity, "momentum is not finite", "update rule momentum", "0.9"),
    M(outer_rate_in_plain_training, "outer variable", "update rule", "HT_FIXED"),
    M(groups_without_their_number, "n_groups is 0", "update rule", "how many"),
    M(pattern_of_nobody, "hidden.*", HERE, "out.weight"),
    M(gradient_without_a_name, "out.bias", HERE, "the same names"),
    M(gradient_of_another_shape, "(10, 20)", HERE, "(20, 10)"),
    M(gradient_that_is_not_finite, "out.bias", HERE, "finite"),
    M(parameters_as_their_gradient, "out.weight", HERE, "ht_backward"),
    M(step_before_the_gradient, "never written", HERE, "ht_backward"),
    M(gradient_into_the_parameters, "variables' own", HERE, "ht_set_clone"),
    M(step_below_zero, "step is -1", HERE, "from 0"),
    M(warmup_alone, "start is zero", HERE, "0.1"),
    M(tape_that_nobody_resets, "over the limit", "a tape holds",
      "ht_tape_reset after each step"),
    M(accuracy_the_other_way_round, "i32 (8) and f32 (8, 3)", HERE, "exchanged"),
    M(accuracy_of_classes, "i32 (8) and i32 (8)", HERE, "not their ht_argmax"),
    M(accuracy_by_labels_of_floats, "HT_ERROR_DTYPE", HERE, "labels are i32"),
    M(counts_of_floats, "HT_ERROR_DTYPE", HERE, "i32 (3, 3)"),
    M(pixels_into_a_layer, "u8 (8, 20)", HERE, "ht_images_rows"),
    STOPS(variables_of_before_the_reset, "linear: stale", HERE, "each ht_tape_reset"),
    STOPS(reshape_of_before_the_reset, "ht_reshape: stale", HERE, "each ht_tape_reset"),
    STOPS(product_of_numbers, "no input", HERE, "ht_constant"),
    M(layer_added_after_the_optimizer, "late", HERE, "before"),
    M(step_before_the_value_is_read, "out.weight", HERE, "reset"),
    STOPS(tensor_of_another_context_changed, "another context", "ht_tensor_fill",
          "reset"),
    M(state_of_another_rule, "out.weight.m", "ht_set_copy", "the same names"),
    STOPS(tensor_of_a_set_freed, "set", "ht_tensor_free", "ht_set_free"),
    STOPS(tensor_freed_twice, "freed", "ht_tensor_free", "once"),
    STOPS(set_freed_twice, "freed", "ht_set_free", "once"),
    STOPS(set_freed_under_its_optimizer, "optimizer", "ht_set_free", "first"),
    STOPS(tensor_freed_under_a_tape, "tape", "ht_tensor_free", "reset"),
    STOPS(context_freed_first, "out.weight", "ht_context_free", "before"),
    STOPS(null_where_a_tensor_is_wanted, "NULL", "ht_input", "ht_check"),
    M(folder_that_is_not_there, "nowhere/mnist", "No such file", "share/hypertape"),
    M(weights_that_are_not_there, "nowhere.safetensors", "No such file",
      "is the path right"),
    M(weights_of_another_format, "first_hour.txt", "safetensors", "safetensors"),
    M(digits_of_another_format, "first_hour.txt", "IDX", "IDX"),
    M(weights_into_no_folder, "nowhere", "No such file", "does the folder exist"),
    M(weights_of_another_network, "out.weight", "header", "ht_set_load"),
    M(picture_of_floats, "f32", "first_hour.png", "u8 tensor"),
    STOPS(batch_of_more_than_all, "8", "ht_batch_order", "7"),
    M(row_past_the_images, "8", HERE, "0..7"),
    M(split_of_more_than_all, "12", "ht_split", "fewer rows"),
    M(outer_name_that_is_not_there, "\"rate\"", HERE, "penalty"),
    M(inner_loss_a_row, "(20, 1)", HERE, "ht_mean"),
    M(eta_that_nothing_uses, "penalty", HERE, "leave it out of eta"),
    M(inner_loss_of_data_alone, "nothing to train", HERE, "ht_get(theta, name)"),
    M(outer_loss_of_data_alone, "does not depend on theta", HERE, "ht_get(theta, name)"),
    M(branch_on_a_recorded_value, "recorded", HERE, "ht_where"),
    STOPS(loss_with_a_variable_of_another_tape, "another tape", HERE, "given to them"),
    STOPS(loss_that_returns_nothing, "problem.outer", HERE, "return the variable"),
    M(batch_of_another_name, "\"X\"", HERE, "did you mean \"x\""),
    M(item_of_several, "(8)", "made at " HERE, "ht_mean"),
    M(loss_of_a_global_tensor, "not among the inputs", HERE, "inner_data"),
    M(coordinates_without_their_number, "n_coordinates is 0", HERE, "how many"),
    M(more_steps_than_memory, "bytes asked", HERE, "HT_REVOLVE"),
    M(no_steps, "steps", HERE, "1 .. 2^30"),
    STOPS(no_inner_loss, "NULL", "problem.inner", "function"),
    M(budget_too_small, "100", HERE, "bytes"),
    M(truncated_without_a_length, "truncate", HERE, "last"),
    M(gradient_of_before_the_evaluation, "\"penalty\" is nan", "ht_optimizer_step",
      "hint"),
    M(rows_past_the_end, "got 10", HERE, "0..9"),
    M(eta_of_integers, "classes", HERE, "into the data"),
    M(rates_of_another_length, "(7)", HERE, "(10) per step"),
    M(data_forgotten, "\"x\"", HERE, "outer_data"),
    M(theta_as_data, "outer_data is the set theta", HERE, "ht_set_clone"),
    M(batch_that_fails, "HT_ERROR_FILE", "inner_batch", "step 0"),
    M(memory_that_is_not_there, "bytes asked", "over the limit", "smaller batches"),
};

FIRST_HOUR(mistakes)
