/* SPDX-License-Identifier: MIT */
/* test_misuse_first_hour.c: what goes wrong in somebody's first programs, a program each:
 * every one ends with a message that names the cause, the place and what to do, and exit
 * status 1 (a bug that no context can keep: an abort, with the same words).
 * Read next: test_misuse_files.c, which has the files and the training loops. */
#include "first_hour.h"

/* Layers and shapes. */

static void image_into_linear(desk *d)
{
    ht_linear_init(d->theta, "hidden", HT_F32, 784, 10);
    ht_linear(INPUT(HT_F32, 8, 28, 28), VARS(d->theta), "hidden");
}

static void features_of_another_width(desk *d)
{
    ht_linear_init(d->theta, "hidden", HT_F32, 20, 10);
    ht_linear(INPUT(HT_F32, 8, 30), VARS(d->theta), "hidden");
}

static void layer_misspelt(desk *d)
{
    ht_linear_init(d->theta, "hidden", HT_F32, 20, 10);
    ht_linear(INPUT(HT_F32, 8, 20), VARS(d->theta), "hiden");
}

static void layer_of_f64_on_f32(desk *d)
{
    ht_linear_init(d->theta, "hidden", HT_F64, 20, 10);
    ht_linear(INPUT(HT_F32, 8, 20), VARS(d->theta), "hidden");
}

static void layer_made_twice(desk *d)
{
    ht_linear_init(d->theta, "hidden", HT_F32, 20, 10);
    ht_linear_init(d->theta, "hidden", HT_F32, 10, 10);
}

static void product_the_wrong_way_round(desk *d)
{
    ht_matmul(INPUT(HT_F32, 20, 10), INPUT(HT_F32, 8, 20));
}

static void sum_of_shapes_that_do_not_fit(desk *d)
{
    ht_add(INPUT(HT_F32, 8, 20), INPUT(HT_F32, 8));
}

static void f32_times_f64(desk *d)
{
    ht_mul(INPUT(HT_F32, 8), INPUT(HT_F64, 8));
}

static void exp_of_integers(desk *d)
{
    ht_exp(INPUT(HT_I32, 8));
}

static void pixels_not_converted(desk *d)
{
    ht_linear_init(d->theta, "hidden", HT_F32, 784, 10);
    ht_linear(INPUT(HT_U8, 8, 784), VARS(d->theta), "hidden");
}

static void reshape_to_another_count(desk *d)
{
    ht_reshape(INPUT(HT_F32, 8, 28, 28), HT_SHAPE(8, 28));
}

static void reshape_with_two_unknowns(desk *d)
{
    ht_reshape(INPUT(HT_F32, 8, 28, 28), HT_SHAPE(-1, -1));
}

static void axis_that_is_not_there(desk *d)
{
    ht_sum_axes(INPUT(HT_F32, 8, 20), HT_AXES(2), false);
}

static void slice_past_the_end(desk *d)
{
    ht_slice(INPUT(HT_F32, 8, 20), 0, 4, 8, 1);
}

static void concat_of_other_widths(desk *d)
{
    ht_var parts[2] = {INPUT(HT_F32, 8, 20), INPUT(HT_F32, 8, 21)};
    ht_concat(2, parts, 0);
}

static void permute_with_an_axis_twice(desk *d)
{
    ht_permute(INPUT(HT_F32, 8, 28, 28), HT_AXES(0, 1, 1));
}

static void images_without_channels(desk *d)
{
    ht_conv2d_init(d->theta, "conv", HT_F32, HT_SHAPE(6, 1, 3, 3));
    ht_conv2d_layer(INPUT(HT_F32, 8, 28, 28), VARS(d->theta), "conv",
                    (ht_conv_options){{1, 1}, {1, 1}, {1, 1}, 1});
}

static void convolution_of_other_channels(desk *d)
{
    ht_conv2d_init(d->theta, "conv", HT_F32, HT_SHAPE(6, 1, 3, 3));
    ht_conv2d_layer(INPUT(HT_F32, 8, 3, 32, 32), VARS(d->theta), "conv",
                    (ht_conv_options){{1, 1}, {1, 1}, {1, 1}, 1});
}

static void kernel_larger_than_the_image(desk *d)
{
    ht_conv2d(INPUT(HT_F32, 8, 1, 4, 4), INPUT(HT_F32, 6, 1, 5, 5),
              (ht_conv_options){{1, 1}, {0, 0}, {1, 1}, 1});
}

static void pool_without_a_kernel(desk *d)
{
    ht_max_pool2d(INPUT(HT_F32, 8, 6, 28, 28), (ht_pool_options){.stride = {2, 2}});
}

static void heads_that_do_not_divide(desk *d)
{
    ht_multi_head_attention_init(d->theta, "attention", HT_F32, 30);
    ht_var x = INPUT(HT_F32, 8, 12, 30);
    ht_multi_head_attention(x, x, VARS(d->theta), "attention", &(ht_heads){.heads = 4});
}

static void norm_without_eps(desk *d)
{
    ht_norm_init(d->theta, "norm", HT_F32, 20);
    ht_layernorm_layer(INPUT(HT_F32, 8, 20), VARS(d->theta), "norm", 0);
}

static void embedding_of_floats(desk *d)
{
    ht_embedding_init(d->theta, "words", HT_F32, 100, 16);
    ht_embedding(INPUT(HT_F32, 8), VARS(d->theta), "words");
}

static void word_past_the_table(desk *d)
{
    ht_embedding_init(d->theta, "words", HT_F32, 100, 16);
    ht_tensor *index = TENSOR(HT_I32, 8);
    ht_tensor_set(index, 5, 100);
    ht_embedding(ht_input(d->eager, index), VARS(d->theta), "words");
}

static void dropout_of_everything(desk *d)
{
    ht_dropout_layer(INPUT(HT_F32, 8, 20), VARS(d->theta), "drop", 1);
}

/* Losses. */

static void labels_as_floats(desk *d)
{
    ht_cross_entropy(INPUT(HT_F32, 8, 10), INPUT(HT_F32, 8));
}

static void labels_as_bytes(desk *d)
{
    ht_cross_entropy(INPUT(HT_F32, 8, 10), INPUT(HT_U8, 8));
}

static void label_past_the_classes(desk *d)
{
    ht_tensor *labels = TENSOR(HT_I32, 8);
    ht_tensor_set(labels, 3, 10);
    ht_cross_entropy(INPUT(HT_F32, 8, 10), ht_input(d->eager, labels));
}

static void fewer_labels_than_rows(desk *d)
{
    ht_cross_entropy(INPUT(HT_F32, 8, 10), INPUT(HT_I32, 7));
}

static void target_of_another_shape(desk *d)
{
    ht_squared_error(INPUT(HT_F32, 8, 1), INPUT(HT_F32, 9, 1));
}

/* Derivatives. */

static void gradient_of_a_loss_a_row(desk *d)
{
    ht_var x = INPUT(HT_F32, 8, 10), g;
    ht_grad(ht_cross_entropy(x, INPUT(HT_I32, 8)), 1, &x, &g);
}

static void gradient_by_what_is_not_used(desk *d)
{
    ht_var x = INPUT(HT_F32, 8), other = INPUT(HT_F32, 8), g;
    ht_grad(ht_sum(ht_square(x)), 1, &other, &g);
}

static void gradient_through_argmax(desk *d)
{
    ht_var x = INPUT(HT_F32, 8, 10), g;
    ht_grad(ht_mean(ht_cast(ht_argmax(x), HT_F32)), 1, &x, &g);
}

static void gradient_by_a_number(desk *d)
{
    ht_var x = ht_constant(d->eager, 2), g;
    ht_grad(ht_mul(ht_exp(x), ht_square(x)), 1, &x, &g);
}

static void gradient_by_labels(desk *d)
{
    ht_var labels = INPUT(HT_I32, 8), g;
    ht_grad(ht_sum(ht_cross_entropy(INPUT(HT_F32, 8, 10), labels)), 1, &labels, &g);
}

static void tangent_of_another_shape(desk *d)
{
    ht_var x = INPUT(HT_F32, 8), v = INPUT(HT_F32, 9), y = ht_exp(x), dy;
    ht_jvp(1, &x, &v, 1, &y, &dy);
}

static void variables_of_two_tapes(desk *d)
{
    ht_tape *other = ht_tape_new(d->ctx, HT_EAGER);
    ht_mul(INPUT(HT_F32, 8), ht_input(other, TENSOR(HT_F32, 8)));
}

static void variable_of_before_the_reset(desk *d)
{
    ht_var x = INPUT(HT_F32, 8);
    ht_tape_reset(d->eager);
    ht_exp(x);
}

static void set_of_before_the_reset(desk *d)
{
    ht_linear_init(d->theta, "out", HT_F32, 20, 10);
    ht_vars *theta = VARS(d->theta);
    ht_tape_reset(d->eager);
    ht_linear(INPUT(HT_F32, 8, 20), theta, "out");
}

static void value_on_a_recorded_tape(desk *d)
{
    ht_item(ht_sum(ht_input(d->recorded, TENSOR(HT_F32, 8))));
}

static void item_of_many(desk *d)
{
    ht_item(INPUT(HT_F32, 8));
}

/* Programs. */

static void program_of_an_eager_tape(desk *d)
{
    ht_var x = INPUT(HT_F32, 8), y = ht_exp(x);
    ht_program_new(d->eager, 1, &x, 1, &y);
}

static void program_with_an_input_forgotten(desk *d)
{
    ht_var x = ht_input(d->recorded, TENSOR(HT_F32, 8));
    ht_var w = ht_input(d->recorded, TENSOR(HT_F32, 8)), y = ht_mul(x, w);
    ht_program_new(d->recorded, 1, &x, 1, &y);
}

static void program_run_on_another_batch_size(desk *d)
{
    ht_var x = ht_input(d->recorded, TENSOR(HT_F32, 8, 20)), y = ht_exp(x);
    ht_program *program = ht_program_new(d->recorded, 1, &x, 1, &y);
    ht_program_run(program, (const ht_tensor *[]){TENSOR(HT_F32, 5, 20)},
                   (ht_tensor *[]){TENSOR(HT_F32, 8, 20)});
}

static void program_run_into_another_type(desk *d)
{
    ht_var x = ht_input(d->recorded, TENSOR(HT_F32, 8)), y = ht_exp(x);
    ht_program *program = ht_program_new(d->recorded, 1, &x, 1, &y);
    ht_program_run(program, (const ht_tensor *[]){TENSOR(HT_F32, 8)},
                   (ht_tensor *[]){TENSOR(HT_F64, 8)});
}

/* Each: what the message says, where, and what it advises. */
static const mistake mistakes[] = {
    M(image_into_linear, "(8, 28, 28)", HERE, "flatten: ht_reshape"),
    M(features_of_another_width, "(8, 30)", HERE, "(30, *)"),
    M(layer_misspelt, "hiden.weight", HERE, "hidden.weight"),
    M(layer_of_f64_on_f32, "f64", HERE, "ht_cast"),
    M(layer_made_twice, "hidden.weight", "ht_set_add", "a name stands once"),
    M(product_the_wrong_way_round, "(20, 10)", HERE, "ht_transpose"),
    M(sum_of_shapes_that_do_not_fit, "(8, 20)", HERE, "ht_reshape"),
    M(f32_times_f64, "f64", HERE, "ht_cast"),
    M(exp_of_integers, "i32", HERE, "ht_cast"),
    M(pixels_not_converted, "u8", HERE, "ht_cast"),
    M(reshape_to_another_count, "6272", HERE, "-1"),
    M(reshape_with_two_unknowns, "(-1, -1)", HERE, "at most one size"),
    M(axis_that_is_not_there, "axis 2", HERE, "-2 .. 1"),
    M(slice_past_the_end, "start 4, count 8", HERE, "size 8"),
    M(concat_of_other_widths, "(8, 21)", HERE, "axis 0"),
    M(permute_with_an_axis_twice, "(8, 28, 28)", HERE, "each of 3 axes once"),
    M(images_without_channels, "(8, 28, 28)", HERE, "ht_reshape"),
    M(convolution_of_other_channels, "(8, 3, 32, 32)", HERE, "(*, 3, *, *)"),
    M(kernel_larger_than_the_image, "(6, 1, 5, 5)", HERE, "padding"),
    M(pool_without_a_kernel, "kernel", HERE, "at least 1"),
    M(heads_that_do_not_divide, "30", HERE, "multiple of the heads"),
    M(norm_without_eps, "eps", HERE, "1e-5"),
    M(embedding_of_floats, "f32", HERE, "i32"),
    M(word_past_the_table, "100", HERE, "0 .. 99"),
    M(dropout_of_everything, "rate is 1", HERE, "0 <= rate < 1"),
    M(labels_as_floats, "f32", HERE, "labels are i32"),
    M(labels_as_bytes, "u8", HERE, "labels are i32"),
    M(label_past_the_classes, "10", HERE, "0 .. 9"),
    M(fewer_labels_than_rows, "(7)", HERE, "labels (n) of the same n"),
    M(target_of_another_shape, "(9, 1)", HERE, "shape"),
    M(gradient_of_a_loss_a_row, "(8)", HERE, "ht_mean"),
    M(gradient_by_what_is_not_used, "does not depend", HERE, "ht_grad_or_zero"),
    M(gradient_through_argmax, "argmax", HERE, "has no gradient"),
    M(gradient_by_a_number, "the constant 2", HERE, "ht_input"),
    M(gradient_by_labels, "i32", HERE, "only f32 and f64"),
    M(tangent_of_another_shape, "(9)", HERE, "must have its type"),
    STOPS(variables_of_two_tapes, "another tape", "mul", "of one tape"),
    STOPS(variable_of_before_the_reset, "reset", "exp", "again"),
    STOPS(set_of_before_the_reset, "reset", "linear", "again"),
    M(value_on_a_recorded_tape, "recorded", HERE, "run a program"),
    M(item_of_many, "(8)", HERE, "ht_sum"),
    M(program_of_an_eager_tape, "eager", HERE, "HT_RECORD"),
    M(program_with_an_input_forgotten, "leaf %1", HERE, "not among the inputs"),
    M(program_run_on_another_batch_size, "(5, 20)", "ht_program_run", "(8, 20)"),
    M(program_run_into_another_type, "f64", "ht_program_run", "f32"),
};

FIRST_HOUR(mistakes)
