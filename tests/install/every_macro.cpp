/* SPDX-License-Identifier: MIT */
/* every_macro.cpp: each macro of the public headers, in C++17. It is compiled and linked,
 * not run: test_install.sh sees that no macro is missing here. Read next: train.cpp. */
#include <hypertape.h>

#include <vector>

static ht_var numbers(ht_var x, ht_var y)
{
    int two = 2;
    float half = 0.5f;
    x = ht_add(ht_sub(x, 1), ht_mul(two, ht_div(1.0, x)));
    x = ht_maximum(ht_minimum(x, half), ht_pow(x, 2u));
    x = ht_where(ht_greater(x, 0), x, ht_clamp(x, 0, y));
    x = ht_where(ht_equal(x, y), 0, ht_cast(ht_greater_equal(y, 1.5), HT_F64));
    return ht_add(x, HT_VAR(two));
}

static ht_var elementwise(ht_var x)
{
    x = ht_neg(ht_abs(ht_square(ht_sqrt(ht_rsqrt(ht_reciprocal(x))))));
    x = ht_exp(ht_expm1(ht_log(ht_log1p(ht_sin(ht_cos(ht_tanh(x)))))));
    x = ht_sigmoid(ht_softplus(ht_erf(ht_relu(ht_silu(ht_gelu(ht_gelu_tanh(x)))))));
    return ht_stop_gradient(ht_leaky_relu(x, 0.1));
}

static ht_var reduced(ht_var x)
{
    x = ht_sum_axes(ht_mean_axes(x, HT_AXES(0, -1), true), HT_AXES(1), true);
    x = ht_max_axes(ht_min_axes(x, HT_AXES(0), true), HT_AXES(0), true);
    x = ht_logsumexp_axes(ht_variance_axes(x, HT_AXES(0), true, 1), HT_AXES(0), true);
    x = ht_cumsum(ht_norm_axes(x, HT_AXES(0), true), 0);
    return ht_add(ht_add(ht_sum(x), ht_mean(x)), ht_add(ht_argmax(x), ht_argmin(x)));
}

static ht_var moved(ht_var x, ht_var index)
{
    std::vector<ht_var> two(2, x);
    size_t rows = two.size();
    x = ht_reshape(ht_permute(ht_transpose(x), HT_AXES(1, 0)), HT_SHAPE(rows, 3));
    x = ht_slice(ht_pad(ht_broadcast(x, HT_SHAPE(4, 3)), 0, 1, 1), 0, 0, 2, 1);
    x = ht_concat(2, two.data(), ht_var_shape(x).rank - 1);
    x = ht_flip(ht_stack(2, two.data(), 0), 0);
    x = ht_scatter_add(x, index, ht_gather(x, index));
    return ht_matmul(ht_take_last(x, index), ht_one_hot(index, 10, HT_F32));
}

static ht_var losses(ht_var x, ht_var labels, const ht_vars *theta)
{
    ht_var rows = ht_cross_entropy(ht_softmax(ht_log_softmax(x)), labels);
    rows = ht_add(rows, ht_cross_entropy_smoothed(x, labels, 0.1));
    rows = ht_add(rows, ht_binary_cross_entropy(x, 1));
    rows = ht_add(rows, ht_add(ht_squared_error(x, 0.5), ht_huber(x, x, 1)));
    rows = ht_add(rows, ht_kl_divergence(x, x));
    return ht_add(ht_weighted_mean(rows, ht_number(1)),
                  ht_add(ht_l1(theta, "*"), ht_l2(theta, nullptr)));
}

static ht_var projected(ht_var x)
{
    x = ht_project_box(ht_project_simplex(x, 1), 0, x);
    x = ht_project_l2(ht_project_l1(ht_project_capped(x, 2.5), x), 1);
    return ht_group_soft_threshold(ht_soft_threshold(x, 0.5f), x);
}

static ht_var images(ht_var x, const ht_vars *theta)
{
    x = ht_conv2d(x, ht_get(theta, "w"), ht_conv_options{{1, 1}, {0, 0}, {1, 1}, 1});
    x = ht_conv2d_layer(x, theta, "c", ht_conv_options{{1, 1}, {0, 0}, {1, 1}, 1});
    x = ht_max_pool2d(x, ht_pool_options{{2, 2}, {2, 2}, {0, 0}});
    x = ht_avg_pool2d(x, ht_pool_options{{2, 2}, {2, 2}, {0, 0}});
    return ht_global_avg_pool2d(x);
}

static ht_var augmented(ht_var x, ht_var *labels, ht_var step)
{
    x = ht_random_shift(ht_translate(x, 1, x), 2.5, 1, step);
    x = ht_random_cutout(ht_random_flip(x, 0.5, 2, step), x, 3, step);
    x = ht_random_contrast(ht_random_brightness(x, 0.2, 4, step), 0.2, 5, step);
    x = ht_random_colour(x, 0.1, 6, step);
    ht_mixup(&x, labels, 0.5, 7, step);
    return x;
}

static ht_var norms(ht_var x, const ht_vars *theta, ht_vars *running)
{
    ht_var mean, variance;
    ht_batch_statistics(x, &mean, &variance);
    x = ht_layernorm(ht_rmsnorm(x, HT_ZERO, 1e-5), HT_ZERO, HT_ZERO, 1e-5);
    x = ht_batchnorm(ht_groupnorm(x, 2, mean, HT_ZERO, 1e-5), HT_ZERO, mean, 1e-5);
    x = ht_batchnorm_given(x, mean, variance, 1e-5);
    x = ht_layernorm_layer(ht_rmsnorm_layer(x, theta, "a", 1e-5), theta, "b", 1e-5);
    x = ht_batchnorm_layer(ht_groupnorm_layer(x, theta, "c", 2, 1e-5), theta, "d", 1e-5);
    ht_batchnorm_track(x, running, "d", 0.1);
    return ht_batchnorm_given_layer(x, theta, running, "d", 1e-5);
}

static ht_var layers(ht_var x, ht_var *c, const ht_vars *theta)
{
    ht_heads heads = {};
    heads.heads = 4;
    ht_transformer_options block = {};
    block.attention = heads;
    x = ht_linear(ht_embedding(x, theta, "e"), theta, "l");
    x = ht_multi_head_attention(x, x, theta, "m", &heads);
    x = ht_transformer_block(x, theta, "t", &block);
    x = ht_attention(x, x, x, HT_ZERO, true);
    x = ht_gru_cell(x, ht_tril(x, 0, -1), theta, "g");
    ht_lstm_cell(x, &x, c, theta, "h");
    return ht_dropout_layer(x, theta, "d", 0.5);
}

static ht_var drawn(ht_var x, ht_var step)
{
    ht_type type = {HT_F32, HT_SHAPE(2, 3)};
    ht_var noise = ht_add(ht_uniform(step, type, 1), ht_normal(step, type, 2));
    ht_var mask = ht_dropout_mask(step, ht_type{HT_F32, HT_SCALAR}, 0.5, 3);
    return ht_add(ht_dropout(x, 0.5, 4, step), ht_mul(noise, mask));
}

static void derived(ht_tape *tape, const ht_set *set, ht_var *dx)
{
    ht_vars *vars = ht_vars_input(tape, set, 0);
    ht_var x = ht_input(tape, ht_set_at(set, 0));
    ht_var y = ht_input_like(tape, ht_type{HT_F32, HT_SHAPE(2)});
    ht_vars_set(vars, "x", y);
    ht_vars_grad(y, vars, dx);
    ht_grad(y, 1, &x, dx);
    ht_grad_or_zero(y, 1, &x, dx);
    ht_vjp(1, &y, &y, 1, &x, dx);
    ht_jvp(1, &x, &x, 1, &y, dx);
    ht_hvp(y, 1, &x, &x, dx);
    dx[0] = ht_add(ht_jacobian(y, x), ht_hessian(y, x));
    ht_program *program = ht_program_new(tape, 1, &x, 1, &y);
    ht_call(tape, program, &x, dx);
    HT_ASSERT(program, "%s", HT_HERE);
}

static void trained(const ht_set *set, ht_set *gradient, ht_vars *vars, ht_var loss)
{
    int rate = 1;
    ht_update update = HT_SGD(rate);
    for (const ht_update &other :
         {HT_MOMENTUM(0.1f, 0.9), HT_NESTEROV(0.1, 0.9), HT_ADAM(1e-3),
          HT_ADAMW(1e-3, 0.1), HT_RMSPROP(rate), HT_ADAGRAD(0.1), HT_MUON(rate, 0.95)})
        update = other;
    update.rate = HT_FIXED(rate);
    update.decay = HT_OUTER("decay");
    ht_backward(loss, vars, gradient);
    ht_vars_backward(loss, vars, vars);
    ht_optimizer_step(ht_optimizer_new(gradient, &update), gradient);
    ht_recording_run(nullptr, 0);
    ht_tensor *to = ht_set_at(gradient, 0);
    const ht_tensor *from = ht_set_at(set, 0);
    ht_program_run(nullptr, &from, &to);
    ht_rows(to, from, nullptr, 0, 1);
    ht_tensor_copy(to, from);
    ht_tensor_fill(to, rate);
    ht_tensor_set(to, 0, 0.5);
}

static double measured(ht_context *ctx, ht_set *set, ht_var x, const ht_images *images)
{
    ht_bilevel_problem problem = {};
    ht_tensor *counts = ht_set_add(set, "counts", HT_I32, HT_SHAPE(10, 10));
    const ht_tensor *logits = ht_value(x), *labels = ht_set_tensor(set, "labels");
    ht_bilevel_free(ht_bilevel_new(ctx, &problem, nullptr));
    ht_single_options loop = {};
    ht_single_free(ht_single_new(ctx, &problem, &loop));
    ht_confusion(logits, labels, counts);
    ht_images_rows(images, nullptr, 0, 1, counts, nullptr);
    ht_image_row(counts, counts, 0);
    return ht_accuracy(logits, labels) + ht_item(x);
}

void every_macro(ht_tape *tape, ht_set *set, const ht_vars *theta, ht_vars *running,
                 ht_var *x)
{
    derived(tape, set, x);
    trained(set, set, running, x[0]);
    measured(ht_tape_context(tape), set, x[0], nullptr);
    *x = norms(images(losses(moved(reduced(elementwise(numbers(x[0], x[1]))), x[2]), x[3],
                             theta),
                      theta),
               theta, running);
    *x = projected(augmented(*x, x + 1, ht_step(theta)));
    *x = layers(drawn(*x, ht_step(theta)), x + 1, theta);
}
