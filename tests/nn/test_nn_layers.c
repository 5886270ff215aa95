/* SPDX-License-Identifier: MIT */
/* test_nn_layers.c: every layer's value, gradient and Hessian product against PyTorch's
 * numbers; statistics, masks and dropout by their definitions; initial values; what is
 * refused. Read next: reference/layers.py, nn/layers.c. */
#include "test_layers.h"

static ht_var make_linear(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(2, 3, 4));
    ht_linear_init(c->theta, "l", HT_F64, 4, 5);
    layer_vars(c);
    return ht_linear(x, c->vars, "l");
}

static ht_var make_conv(layer_case *c, ht_set *set, ht_shape x, ht_shape weight,
                        ht_conv_options options)
{
    ht_var in = layer_free(c, set, x);
    ht_conv2d_init(c->theta, "l", HT_F64, weight);
    layer_vars(c);
    return ht_conv2d_layer(in, c->vars, "l", options);
}

static ht_var make_conv_plain(layer_case *c, ht_set *set)
{
    return make_conv(
        c, set, HT_SHAPE(2, 3, 5, 4), HT_SHAPE(4, 3, 3, 2),
        (ht_conv_options){.stride = {1, 1}, .dilation = {1, 1}, .groups = 1});
}

static ht_var make_conv_stride(layer_case *c, ht_set *set)
{
    return make_conv(c, set, HT_SHAPE(2, 2, 5, 6), HT_SHAPE(3, 2, 3, 3),
                     (ht_conv_options){{2, 1}, {1, 2}, {1, 1}, 1});
}

static ht_var make_conv_dilation(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(1, 2, 6, 7));
    assert_non_null(ht_set_add(c->theta, "l.weight", HT_F64, HT_SHAPE(3, 2, 3, 3)));
    layer_vars(c);
    return ht_conv2d_layer(x, c->vars, "l", (ht_conv_options){{1, 1}, {2, 1}, {2, 3}, 1});
}

static ht_var make_conv_groups(layer_case *c, ht_set *set)
{
    return make_conv(c, set, HT_SHAPE(2, 4, 5, 5), HT_SHAPE(6, 2, 3, 3),
                     (ht_conv_options){{2, 2}, {1, 1}, {1, 1}, 2});
}

static ht_var make_max_pool(layer_case *c, ht_set *set)
{
    ht_pool_options options = {{3, 2}, {2, 2}, {1, 0}};
    return ht_max_pool2d(layer_free(c, set, HT_SHAPE(2, 3, 6, 5)), options);
}

static ht_var make_avg_pool(layer_case *c, ht_set *set)
{
    ht_pool_options options = {{3, 2}, {2, 1}, {1, 1}};
    return ht_avg_pool2d(layer_free(c, set, HT_SHAPE(2, 3, 6, 5)), options);
}

static ht_var make_global_pool(layer_case *c, ht_set *set)
{
    return ht_global_avg_pool2d(layer_free(c, set, HT_SHAPE(2, 3, 4, 5)));
}

static ht_var make_dropout(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(5, 7));
    layer_vars(c);
    return ht_dropout_layer(x, c->vars, "l", 0.25);
}

static ht_var make_embedding(layer_case *c, ht_set *set)
{
    static const int32_t index[] = {3, 0, 3, 1, 4, 0};
    ht_tensor *i = ht_set_add(set, "index", HT_I32, HT_SHAPE(2, 3));
    memcpy(ht_tensor_data(i), index, sizeof index);
    ht_embedding_init(c->theta, "l", HT_F64, 5, 4);
    layer_vars(c);
    return ht_embedding(ht_input(c->tape, i), c->vars, "l");
}

static ht_var make_layernorm(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(5, 7));
    ht_norm_init(c->theta, "l", HT_F64, 7);
    layer_vars(c);
    return ht_layernorm_layer(x, c->vars, "l", 1e-5);
}

static ht_var make_rmsnorm(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(5, 7));
    ht_rmsnorm_init(c->theta, "l", HT_F64, 7);
    layer_vars(c);
    return ht_rmsnorm_layer(x, c->vars, "l", 1e-6);
}

static ht_var make_groupnorm(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(2, 6, 3, 2));
    ht_norm_init(c->theta, "l", HT_F64, 6);
    layer_vars(c);
    return ht_groupnorm_layer(x, c->vars, "l", 3, 1e-5);
}

static ht_var make_batchnorm(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(3, 4, 2, 3));
    ht_norm_init(c->theta, "l", HT_F64, 4);
    layer_vars(c);
    return ht_batchnorm_layer(x, c->vars, "l", 1e-5);
}

static ht_var make_batchnorm_given(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(3, 4, 2));
    ht_set *running = c->other = ht_set_new(c->ctx);
    ht_norm_init(c->theta, "l", HT_F64, 4);
    ht_batchnorm_running_init(running, "l", HT_F64, 4);
    layer_vars(c);
    layer_fill(ht_set_tensor(running, "l.mean"), 50);
    layer_fill(ht_set_tensor(running, "l.variance"), 51);
    ht_vars *vars = ht_vars_input(c->tape, running, 0);
    ht_vars_set(vars, "l.variance", ht_square(ht_get(vars, "l.variance")));
    return ht_batchnorm_given_layer(x, c->vars, vars, "l", 1e-5);
}

/* The layer's result, then what is kept of the statistics. */
static ht_var make_batchnorm_tracked(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(3, 4, 2, 3)), all[3];
    ht_norm_init(c->theta, "l", HT_F64, 4);
    ht_batchnorm_running_init(c->theta, "l", HT_F64, 4);
    layer_vars(c);
    ht_batchnorm_track(x, c->vars, "l", 0.1);
    all[0] = ht_reshape(ht_batchnorm_layer(x, c->vars, "l", 1e-5), HT_SHAPE(-1));
    all[1] = ht_get(c->vars, "l.mean");
    all[2] = ht_get(c->vars, "l.variance");
    return ht_concat(3, all, 0);
}

static ht_var make_attention(layer_case *c, ht_set *set)
{
    ht_var q = layer_free(c, set, HT_SHAPE(2, 2, 4, 3));
    ht_var k = layer_free(c, set, HT_SHAPE(2, 2, 5, 3));
    ht_var v = layer_free(c, set, HT_SHAPE(2, 2, 5, 2));
    return ht_attention(q, k, v, HT_ZERO, false);
}

static ht_var make_attention_mask(layer_case *c, ht_set *set)
{
    ht_var q = layer_free(c, set, HT_SHAPE(2, 4, 3));
    ht_var k = layer_free(c, set, HT_SHAPE(2, 5, 3));
    ht_var v = layer_free(c, set, HT_SHAPE(2, 5, 2));
    return ht_attention(q, k, v, layer_free(c, set, HT_SHAPE(4, 5)), false);
}

static ht_var make_attention_causal(layer_case *c, ht_set *set)
{
    ht_var q = layer_free(c, set, HT_SHAPE(2, 5, 3));
    ht_var k = layer_free(c, set, HT_SHAPE(2, 5, 3));
    ht_var v = layer_free(c, set, HT_SHAPE(2, 5, 3));
    return ht_attention(q, k, v, HT_ZERO, true);
}

static ht_var make_heads_causal(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(2, 4, 6));
    ht_multi_head_attention_init(c->theta, "l", HT_F64, 6);
    layer_vars(c);
    ht_heads options = {.heads = 2, .causal = true};
    return ht_multi_head_attention(x, x, c->vars, "l", &options);
}

static ht_var make_heads_context(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(2, 4, 6));
    ht_var context = layer_free(c, set, HT_SHAPE(2, 3, 6));
    ht_multi_head_attention_init(c->theta, "l", HT_F64, 6);
    layer_vars(c);
    ht_heads options = {.heads = 2};
    return ht_multi_head_attention(x, context, c->vars, "l", &options);
}

static ht_var make_heads_mask(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(2, 4, 6));
    ht_var context = layer_free(c, set, HT_SHAPE(2, 3, 6));
    ht_var mask = layer_free(c, set, HT_SHAPE(4, 3));
    ht_multi_head_attention_init(c->theta, "l", HT_F64, 6);
    layer_vars(c);
    ht_heads options = {.heads = 2, .mask = &mask};
    return ht_multi_head_attention(x, context, c->vars, "l", &options);
}

static ht_var make_block(layer_case *c, ht_set *set,
                         const ht_transformer_options *options)
{
    ht_var x = layer_free(c, set, HT_SHAPE(2, 4, 6));
    ht_transformer_block_init(c->theta, "l", HT_F64, 6, 5);
    layer_vars(c);
    return ht_transformer_block(x, c->vars, "l", options);
}

static ht_var make_block_plain(layer_case *c, ht_set *set)
{
    return make_block(c, set,
                      &(ht_transformer_options){.attention.heads = 2, .eps = 1e-5});
}

static ht_var make_block_causal(layer_case *c, ht_set *set)
{
    return make_block(c, set,
                      &(ht_transformer_options){.attention = {.heads = 2, .causal = true},
                                                .eps = 1e-5});
}

static ht_var make_block_post(layer_case *c, ht_set *set)
{
    return make_block(
        c, set,
        &(ht_transformer_options){.attention.heads = 2, .eps = 1e-5, .post_norm = true});
}

static ht_var make_gru(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(3, 4)), h = layer_free(c, set, HT_SHAPE(3, 5));
    ht_gru_cell_init(c->theta, "l", HT_F64, 4, 5);
    layer_vars(c);
    return ht_gru_cell(x, h, c->vars, "l");
}

static ht_var make_lstm(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(3, 4)), state[2];
    for (int i = 0; i < 2; i++) state[i] = layer_free(c, set, HT_SHAPE(3, 5));
    ht_lstm_cell_init(c->theta, "l", HT_F64, 4, 5);
    layer_vars(c);
    ht_lstm_cell(x, &state[0], &state[1], c->vars, "l");
    return ht_concat(2, state, 1);
}

static const struct layer_maker makers[] = {
    {"linear", make_linear},
    {"conv2d", make_conv_plain},
    {"conv2d, stride, padding", make_conv_stride},
    {"conv2d, dilation, no bias", make_conv_dilation},
    {"conv2d, groups", make_conv_groups},
    {"max pool", make_max_pool},
    {"average pool", make_avg_pool},
    {"global average pool", make_global_pool},
    {"dropout", make_dropout},
    {"embedding", make_embedding},
    {"layernorm", make_layernorm},
    {"rmsnorm", make_rmsnorm},
    {"groupnorm", make_groupnorm},
    {"batchnorm", make_batchnorm},
    {"batchnorm given", make_batchnorm_given},
    {"batchnorm, tracked", make_batchnorm_tracked},
    {"attention", make_attention},
    {"attention, mask", make_attention_mask},
    {"attention, causal", make_attention_causal},
    {"heads, causal", make_heads_causal},
    {"heads, context", make_heads_context},
    {"heads, mask", make_heads_mask},
    {"transformer block", make_block_plain},
    {"transformer block, causal", make_block_causal},
    {"transformer block, post-norm", make_block_post},
    {"gru", make_gru},
    {"lstm", make_lstm},
};

static void layers_values_gradients_and_hessians_agree_with_pytorch(void **state)
{
    (void)state;
    assert_int_equal(check_layers(sizeof makers / sizeof *makers, makers, "layers.txt"),
                     9816);
}

/* Statistics, evaluation. */

static void batchnorm_given_the_batch_statistics_is_batchnorm(void **state)
{
    (void)state;
    layer_case c = {.ctx = ht_context_new(NULL)};
    c.tape = ht_tape_new(c.ctx, HT_EAGER);
    ht_set *set = ht_set_new(c.ctx);
    ht_var x = layer_free(&c, set, HT_SHAPE(3, 4, 2)), mean, variance;
    ht_batch_statistics(x, &mean, &variance);
    const ht_tensor *got = ht_value(ht_batchnorm_given(x, mean, variance, 1e-3));
    const ht_tensor *want = ht_value(ht_batchnorm(x, HT_ZERO, HT_ZERO, 1e-3));
    test_no_error(c.ctx);
    assert_int_equal(ht_tensor_count(got), 24);
    for (int64_t i = 0; i < 24; i++)
        assert_near(ht_tensor_get(got, i), ht_tensor_get(want, i), 1e-14);
    ht_tape_free(c.tape);
    ht_set_free(set);
    ht_context_free(c.ctx);
}

/* A row of one value: y = 0 and every derivative is finite, because eps > 0. */
static void layernorm_of_a_constant_row_is_zero_with_finite_derivatives(void **state)
{
    (void)state;
    layer_case c = {.ctx = ht_context_new(NULL)};
    c.tape = ht_tape_new(c.ctx, HT_EAGER);
    ht_tensor *t = ht_tensor_new(c.ctx, HT_F64, HT_SHAPE(1, 4));
    ht_tensor *v = ht_tensor_new(c.ctx, HT_F64, HT_SHAPE(1, 4));
    ht_tensor_fill(t, 7);
    for (int i = 0; i < 4; i++) ht_tensor_set(v, i, i);
    ht_var x = ht_input(c.tape, t), u = ht_input(c.tape, v), y, g, h;
    y = ht_layernorm(x, HT_ZERO, HT_ZERO, 0.25);
    ht_var phi = ht_sum(ht_mul(y, u));
    ht_grad(phi, 1, &x, &g);
    ht_hvp(phi, 1, &x, &u, &h);
    test_no_error(c.ctx);
    for (int i = 0; i < 4; i++) {
        assert_near(ht_tensor_get(ht_value(y), i), 0, 0);
        assert_near(ht_tensor_get(ht_value(g), i), 2 * (i - 1.5), 1e-15);
        assert_near(ht_tensor_get(ht_value(h), i), 0, 1e-15);
    }
    ht_tape_free(c.tape);
    ht_tensor_free(t);
    ht_tensor_free(v);
    ht_context_free(c.ctx);
}

static void attention_of_masked_columns_has_no_weight_there(void **state)
{
    (void)state;
    layer_case c = {.ctx = ht_context_new(NULL)};
    c.tape = ht_tape_new(c.ctx, HT_EAGER);
    ht_set *set = ht_set_new(c.ctx);
    ht_var q = layer_free(&c, set, HT_SHAPE(3, 2)),
           k = layer_free(&c, set, HT_SHAPE(3, 2));
    ht_var v = layer_free(&c, set, HT_SHAPE(3, 2)), u[3], g[3], h[3];
    ht_tensor *m = ht_set_add(set, "mask", HT_F64, HT_SHAPE(3, 3));
    for (int i = 0; i < 3; i++) ht_tensor_set(m, 3 * i + 2, -(double)INFINITY);
    ht_var y = ht_attention(q, k, v, ht_input(c.tape, m), true);
    ht_var phi = ht_sum(ht_square(y));
    ht_grad(phi, 3, c.operand, g);
    for (int i = 0; i < 3; i++) u[i] = layer_filled(&c, set, HT_SHAPE(3, 2), 200 + i);
    ht_hvp(phi, 3, c.operand, u, h);
    test_no_error(c.ctx);
    for (int i = 0; i < 2; i++) {
        assert_near(ht_tensor_get(ht_value(y), i), ht_tensor_get(ht_value(v), i), 1e-15);
        for (int j = 1; j < 3; j++) {
            assert_near(ht_tensor_get(ht_value(g[j]), 4 + i), 0, 0);
            assert_near(ht_tensor_get(ht_value(h[j]), 4 + i), 0, 0);
        }
        assert_true(isfinite(ht_tensor_get(ht_value(h[0]), 4 + i)));
    }
    ht_tape_free(c.tape);
    ht_set_free(set);
    ht_context_free(c.ctx);
}

static void dropout_layer_draws_from_its_name_and_the_step(void **state)
{
    (void)state;
    layer_case c = {.ctx = ht_context_new(&(ht_context_options){.seed = test_seed()})};
    c.tape = ht_tape_new(c.ctx, HT_EAGER);
    ht_set *set = ht_set_new(c.ctx);
    ht_tensor *t = ht_set_add(set, "x", HT_F64, HT_SHAPE(40));
    ht_tensor_fill(t, 3);
    ht_vars *vars = ht_vars_input(c.tape, set, 5);
    ht_var y = ht_dropout_layer(ht_get(vars, "x"), vars, "drop", 0.25);
    test_no_error(c.ctx);
    for (int64_t i = 0; i < 40; i++) {
        double draw = ht_random_uniform(ht_context_seed(c.ctx), ht_stream("drop"),
                                        ((uint64_t)5 << 32) + (uint64_t)i);
        assert_near(ht_tensor_get(ht_value(y), i), draw < 0.25 ? 0 : 4, 1e-15);
    }
    ht_tape_free(c.tape);
    ht_set_free(set);
    ht_context_free(c.ctx);
}

/* With out and hidden zero the block adds its dropped attention only: bias / (1 - rate)
 * where the mask is not 0. */
static void transformer_block_with_dropout_drops_what_it_adds(void **state)
{
    (void)state;
    layer_case c = {.ctx = ht_context_new(&(ht_context_options){.seed = test_seed()})};
    c.tape = ht_tape_new(c.ctx, HT_EAGER);
    ht_set *set = ht_set_new(c.ctx);
    ht_transformer_block_init(set, "b", HT_F64, 4, 3);
    for (int i = 0; i < ht_set_count(set); i++) ht_tensor_fill(ht_set_at(set, i), 0);
    ht_tensor_fill(ht_set_tensor(set, "b.attention.out.bias"), 3);
    ht_var x = layer_free(&c, set, HT_SHAPE(10, 4));
    ht_vars *vars = ht_vars_input(c.tape, set, 5);
    ht_transformer_options options = {.attention.heads = 1, .eps = 1e-5, .dropout = 0.25};
    ht_var y = ht_sub(ht_transformer_block(x, vars, "b", &options), x);
    test_no_error(c.ctx);
    for (int64_t i = 0; i < 40; i++) {
        double draw = ht_random_uniform(ht_context_seed(c.ctx), ht_stream("b.dropout1"),
                                        ((uint64_t)5 << 32) + (uint64_t)i);
        assert_near(ht_tensor_get(ht_value(y), i), draw < 0.25 ? 0 : 4, 1e-14);
    }
    ht_tape_free(c.tape);
    ht_set_free(set);
    ht_context_free(c.ctx);
}

/* One program: the batch in, the new statistics out over the old. Three equal batches of
 * mean m and unbiased variance v leave m (1 - 0.5^3) and v + (1 - v) 0.5^3. */
static void batchnorm_trained_and_replayed_keeps_its_statistics(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    ht_set *running = ht_set_new(ctx);
    ht_batchnorm_running_init(running, "n", HT_F64, 2);
    ht_tensor *batch = ht_tensor_new(ctx, HT_F64, HT_SHAPE(3, 2));
    for (int i = 0; i < 6; i++) ht_tensor_set(batch, i, i * i);
    ht_vars *vars = ht_vars_input(tape, running, 0);
    ht_var in[] = {ht_input(tape, batch), ht_vars_at(vars, 0), ht_vars_at(vars, 1)};
    ht_batchnorm_track(in[0], vars, "n", 0.5);
    ht_var out[] = {ht_get(vars, "n.mean"), ht_get(vars, "n.variance")};
    ht_program *program = ht_program_new(tape, 3, in, 2, out);
    test_no_error(ctx);
    ht_tensor *const to[] = {ht_set_at(running, 0), ht_set_at(running, 1)};
    for (int i = 0; i < 3; i++)
        ht_program_run(program, (const ht_tensor *[]){batch, to[0], to[1]}, to);
    test_no_error(ctx);
    for (int i = 0; i < 2; i++) {
        const double x[] = {i * i, (i + 2) * (i + 2), (i + 4) * (i + 4)};
        double mean = (x[0] + x[1] + x[2]) / 3, variance = 0;
        for (int k = 0; k < 3; k++) variance += pow(x[k] - mean, 2) / 2;
        assert_near(ht_tensor_get(to[0], i), mean * 0.875, 1e-14);
        assert_near(ht_tensor_get(to[1], i), variance + (1 - variance) / 8, 1e-14);
    }
    ht_program_free(program);
    ht_tape_free(tape);
    ht_tensor_free(batch);
    ht_set_free(running);
    ht_context_free(ctx);
}

/* Initial values. */

static void init_of_layers_has_the_documented_names_and_values(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_set *theta = ht_set_new(ctx);
    ht_norm_init(theta, "n", HT_F32, 4);
    ht_rmsnorm_init(theta, "r", HT_F32, 4);
    ht_embedding_init(theta, "e", HT_F32, 500, 8);
    ht_multi_head_attention_init(theta, "m", HT_F64, 12);
    ht_gru_cell_init(theta, "g", HT_F64, 3, 4);
    ht_lstm_cell_init(theta, "l", HT_F64, 3, 4);
    ht_transformer_block_init(theta, "t", HT_F32, 6, 7);
    test_no_error(ctx);
    assert_int_equal(ht_set_count(theta), 2 + 1 + 1 + 8 + 4 + 4 + 16);
    assert_int_equal(ht_set_counts(theta, "t.attention.*").elements, 4 * (36 + 6));
    assert_true(ht_shape_equal(ht_tensor_shape(ht_set_tensor(theta, "t.out.weight")),
                               HT_SHAPE(7, 6)));
    double square = 0, most = 0;
    for (int i = 0; i < 4; i++) {
        assert_near(ht_tensor_get(ht_set_tensor(theta, "n.gain"), i), 1, 0);
        assert_near(ht_tensor_get(ht_set_tensor(theta, "n.shift"), i), 0, 0);
        assert_near(ht_tensor_get(ht_set_tensor(theta, "r.gain"), i), 1, 0);
    }
    for (int i = 0; i < 4000; i++)
        square += pow(ht_tensor_get(ht_set_tensor(theta, "e.weight"), i), 2) / 4000;
    assert_near(square, 1, 5 * sqrt(2.0 / 4000));
    for (int i = 0; i < 144; i++)
        most = fmax(most, fabs(ht_tensor_get(ht_set_tensor(theta, "m.key.weight"), i)));
    assert_true(most <= 0.5 && most > 0.45);
    assert_near(ht_tensor_get(ht_set_tensor(theta, "m.out.bias"), 11), 0, 0);
    most = 0;
    for (int i = 0; i < 64; i++)
        most =
            fmax(most, fabs(ht_tensor_get(ht_set_tensor(theta, "l.hidden.weight"), i)));
    assert_true(most <= 0.5 && most > 0.4);
    assert_int_equal(ht_tensor_count(ht_set_tensor(theta, "g.input.weight")), 36);
    ht_set_free(theta);
    ht_context_free(ctx);
}

static void linear_of_one_axis_is_a_row_of_many(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_set *set = ht_set_new(ctx);
    layer_fill(ht_set_add(set, "x", HT_F64, HT_SHAPE(4)), 1);
    ht_linear_init(set, "l", HT_F64, 4, 5);
    ht_vars *vars = ht_vars_input(tape, set, 0);
    ht_var x = ht_get(vars, "x"), y = ht_linear(x, vars, "l");
    ht_var row = ht_linear(ht_reshape(x, HT_SHAPE(1, 4)), vars, "l"), g[3], want[3];
    assert_true(ht_shape_equal(ht_var_shape(y), HT_SHAPE(5)));
    ht_vars_grad(ht_sum(ht_square(y)), vars, g);
    ht_vars_grad(ht_sum(ht_square(row)), vars, want);
    test_no_error(ctx);
    for (int64_t k = 0; k < 5; k++)
        assert_near(ht_tensor_get(ht_value(y), k), ht_tensor_get(ht_value(row), k), 0);
    for (int i = 0; i < 3; i++)
        for (int64_t k = 0; k < ht_tensor_count(ht_value(want[i])); k++)
            assert_near(ht_tensor_get(ht_value(g[i]), k),
                        ht_tensor_get(ht_value(want[i]), k), 1e-15);
    ht_tape_free(tape);
    ht_set_free(set);
    ht_context_free(ctx);
}

static void layers_list_whole_names_however_many(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_set *set = ht_set_new(ctx);
    for (int i = 0; i < 60; i++) {
        char name[32];
        snprintf(name, sizeof name, "encoder.%d.weight", 10 + i);
        ht_set_add(set, name, HT_F64, HT_SHAPE(2, 2));
    }
    ht_vars *vars = ht_vars_input(tape, set, 0);
    for (int k = 0; k < 2; k++) {
        if (k == 0) ht_linear(ht_vars_at(vars, 0), vars, "decoder");
        if (k == 1) ht_l2(vars, "decoder.*");
        assert_contains(ht_context_message(ctx), "encoder.10.weight, encoder.11.weight");
        test_error(ctx, HT_ERROR_ARGUMENT, ".weight, ... (60)\n  at ");
    }
    ht_tape_free(tape);
    ht_set_free(set);
    ht_context_free(ctx);
}

static void init_of_bad_sizes_adds_nothing(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_set *theta = ht_set_new(ctx);
    ht_norm_init(theta, "n", HT_F32, 0);
    test_error(ctx, HT_ERROR_SHAPE, "ht_norm_init: \"n\"");
    ht_embedding_init(theta, "e", HT_I32, 3, 4);
    test_error(
        ctx, HT_ERROR_DTYPE,
        "ht_embedding_init: \"e\": expected HT_F32 or HT_F64, n > 0 and width > 0, "
        "got i32, 3 and 4");
    ht_embedding_init(theta, "e", (ht_dtype)9, 3, 4);
    test_error(ctx, HT_ERROR_DTYPE, "got dtype 9, 3 and 4");
    ht_multi_head_attention_init(theta, "m", HT_F32, -1);
    test_error(ctx, HT_ERROR_SHAPE, "ht_multi_head_attention_init: \"m\"");
    ht_gru_cell_init(theta, "g", HT_F32, 3, 0);
    test_error(ctx, HT_ERROR_SHAPE, "ht_gru_cell_init: \"g\"");
    ht_conv2d_init(theta, "c", HT_F32, HT_SHAPE(4, 3, 0, 3));
    test_error(ctx, HT_ERROR_SHAPE,
               "ht_conv2d_init: \"c\": expected HT_F32 or HT_F64 and a weight (out, in / "
               "groups, kh, kw), none of them 0, got f32, (4, 3, 0, 3)");
    ht_conv2d_init(theta, "c", HT_I32, HT_SHAPE(4, 3, 3, 3));
    test_error(ctx, HT_ERROR_DTYPE, "none of them 0, got i32, (4, 3, 3, 3)");
    ht_batchnorm_running_init(theta, "b", HT_F32, 0);
    test_error(ctx, HT_ERROR_SHAPE, "ht_batchnorm_running_init: \"b\"");
    ht_transformer_block_init(theta, "t", HT_F32, 4, 0);
    test_error(ctx, HT_ERROR_SHAPE,
               "ht_transformer_block_init: \"t\": expected HT_F32 or HT_F64, width > 0 "
               "and hidden > 0, got f32, 4 and 0");
    assert_int_equal(ht_set_count(theta), 0);
    ht_set_add(theta, "l.hidden.bias", HT_F32, HT_SHAPE(1));
    ht_lstm_cell_init(theta, "l", HT_F32, 3, 4);
    assert_int_not_equal(ht_context_status(ctx), HT_OK);
    ht_context_clear(ctx);
    assert_int_equal(ht_set_count(theta), 1);
    ht_set_add(theta, "t.out.bias", HT_F32, HT_SHAPE(1));
    ht_transformer_block_init(theta, "t", HT_F32, 3, 4);
    test_error(ctx, HT_ERROR_ARGUMENT, "\"t.out.bias\", which the set has already");
    assert_int_equal(ht_set_count(theta), 2);
    ht_set_free(theta);
    ht_context_free(ctx);
}

/* Errors. */

static ht_var refused_layer(int k, ht_var x, const ht_vars *vars)
{
    ht_var matrix = ht_reshape(x, HT_SHAPE(2, 6)), state[] = {matrix, matrix};
    ht_var eights = ht_broadcast(ht_slice(x, 0, 0, 1, 1), HT_SHAPE(3, 8));
    switch (k) {
    case 0:
        return ht_layernorm(matrix, HT_ZERO, HT_ZERO, 0);
    case 1:
        return ht_layernorm(ht_sum(x), HT_ZERO, HT_ZERO, 1e-5);
    case 2:
        return ht_groupnorm(matrix, 4, HT_ZERO, HT_ZERO, 1e-5);
    case 3:
        return ht_batchnorm(x, HT_ZERO, HT_ZERO, 1e-5);
    case 4:
        return ht_batchnorm_given(x, x, x, 1e-5);
    case 5:
        return ht_attention(matrix, eights, eights, HT_ZERO, false);
    case 6:
        return ht_tril(x, 0, 0);
    case 7:
        return ht_layernorm_layer(matrix, vars, "nobody", 1e-5);
    case 8:
        return ht_multi_head_attention(matrix, matrix, vars, "w",
                                       &(ht_heads){.heads = 4});
    case 9:
        return ht_multi_head_attention(matrix, matrix, vars, "w",
                                       &(ht_heads){.heads = 2});
    case 10:
        return ht_gru_cell(eights, matrix, vars, "w");
    case 11:
        ht_lstm_cell(matrix, &state[0], &state[1], vars, "w");
        return state[0];
    case 12:
        return ht_embedding(x, vars, "w");
    default:
        return ht_rmsnorm(ht_cast(x, HT_I32), HT_ZERO, 1e-5);
    }
}

/* x is (2, 3, 4, 4); "l" a linear layer of the wrong bias, "c" a convolution of 3
 * channels to 4, "n" a batchnorm of 3, "t" a block of width 4, "g" a GRU cell of 4 to
 * 5. */
/* x is (24, 4), "t.attention" of 4. */
static ht_var refused_attention(int k, ht_var x, const ht_vars *vars)
{
    ht_var mask = ht_cast(ht_slice(x, 0, 0, 1, 1), HT_F32), context = x;
    ht_heads options = {.heads = 2, .mask = k == 2 ? &mask : NULL};
    if (k == 0) {
        x = ht_reshape(x, HT_SHAPE(2, 12, 4));
        context = ht_reshape(context, HT_SHAPE(3, 8, 4));
    }
    if (k == 1) context = ht_slice(x, 0, 0, 0, 1);
    return ht_multi_head_attention(x, context, vars, "t.attention", &options);
}

static ht_var refused_by_name(int k, ht_var x, ht_vars *vars)
{
    ht_conv_options options = {{1, 1}, {0, 0}, {1, 1}, 1};
    ht_transformer_options block = {.attention.heads = 2};
    ht_var flat = ht_reshape(x, HT_SHAPE(24, 4)), two = ht_slice(x, 1, 0, 2, 1);
    ht_var state[] = {flat, ht_slice(flat, 1, 0, 2, 1)};
    switch (k) {
    case 0:
        return ht_linear(flat, vars, "l");
    case 1:
        return ht_linear(ht_cast(flat, HT_F32), vars, "l");
    case 2:
        return ht_linear(ht_slice(flat, 1, 0, 3, 1), vars, "l");
    case 3:
        return ht_conv2d_layer(two, vars, "c", options);
    case 4:
        return ht_conv2d_layer(x, vars, "l", options);
    case 5:
        options.groups = 2;
        return ht_conv2d_layer(x, vars, "c", options);
    case 6:
        return ht_conv2d_layer(flat, vars, "c", options);
    case 7:
        return ht_conv2d_layer(x, vars, "n", options);
    case 8:
        return ht_batchnorm_layer(two, vars, "n", 1e-5);
    case 9:
        return ht_layernorm_layer(x, vars, "n", 1e-5);
    case 10:
        return ht_batchnorm_given_layer(x, vars, vars, "n", 0);
    case 11:
        return ht_batchnorm_given_layer(two, vars, vars, "n", 1e-5);
    case 12:
        return ht_batchnorm_given_layer(x, vars, vars, "c", 1e-5);
    case 13:
        ht_batchnorm_track(x, vars, "n", 0);
        return x;
    case 14:
        ht_batchnorm_track(ht_slice(flat, 0, 0, 1, 1), vars, "n", 0.1);
        return x;
    case 15:
        ht_batchnorm_track(two, vars, "n", 0.1);
        return x;
    case 16:
        return ht_transformer_block(flat, vars, "t", &block);
    case 17:
        return ht_transformer_block(flat, vars, "l", &block);
    case 18:
        block = (ht_transformer_options){.attention.heads = 3, .eps = 1e-5};
        return ht_transformer_block(flat, vars, "t", &block);
    case 19:
        block = (ht_transformer_options){.attention.heads = 2, .eps = 1e-5, .dropout = 1};
        return ht_transformer_block(flat, vars, "t", &block);
    case 20:
        return ht_transformer_block(ht_slice(flat, 1, 0, 2, 1), vars, "t", &block);
    case 21:
        ht_lstm_cell(flat, &state[0], &state[1], vars, "l");
        return x;
    case 22:
        return ht_gru_cell(flat, state[1], vars, "g");
    case 23:
        return ht_linear(ht_sum(x), vars, "g.input");
    case 24:
        return ht_batchnorm_layer(ht_slice(ht_slice(flat, 0, 0, 0, 1), 1, 0, 3, 1), vars,
                                  "n", 1e-5);
    default:
        return refused_attention(k - 25, flat, vars);
    }
}

static void layers_name_the_variable_that_does_not_fit(void **state)
{
    (void)state;
    static const char *const message[] = {
        "linear: \"l.bias\" is f64 (6); beside x f64 (24, 4) it must be (5)",
        "linear: \"l.weight\" is f64 (4, 5); beside x f32 (24, 4) it must be (4, *) of "
        "the same dtype\n  hint: ht_cast",
        "linear: \"l.weight\" is f64 (4, 5); beside x f64 (24, 3) it must be (3, *)",
        "conv2d: \"c.weight\" is f64 (4, 3, 3, 3); beside x f64 (2, 2, 4, 4) it must be "
        "(*, 2, *, *)",
        "conv2d: \"l.weight\" is f64 (4, 5); beside x f64 (2, 3, 4, 4) it must be "
        "(*, 3, *, *)",
        "conv2d: 3 channels in, 4 out and 2 groups need a weight (4, 3 / 2, kh, kw)",
        "conv2d: needs 4 axes each",
        "conv2d: no variable \"n.weight\"; there are: x, ",
        "batchnorm: \"n.gain\" is f64 (3); beside x f64 (2, 2, 4, 4) it must be (2)",
        "layernorm: \"n.gain\" is f64 (3); beside x f64 (2, 3, 4, 4) it must be (4)",
        "batchnorm_given: needs eps > 0, \"n\" has 0",
        "batchnorm_given: \"n.mean\" is f64 (3); beside x f64 (2, 2, 4, 4) it must be "
        "(2)",
        "batchnorm_given: no variable \"c.mean\"",
        "batchnorm_track: needs a momentum above 0 and at most 1, \"n\" has 0",
        "batchnorm_track: \"n\": a variance needs two values a channel, x is (1, 4)",
        "batchnorm_track: \"n.mean\" is f64 (3); beside x f64 (2, 2, 4, 4) it must be "
        "(2)",
        "layernorm: needs eps > 0, eps is 0",
        "layernorm: no variable \"l.norm1.gain\"",
        "multi_head_attention: needs x (..., t, width) and context (..., s, width)",
        "dropout",
        "layernorm: \"t.norm1.gain\" is f64 (4); beside x f64 (24, 2) it must be (2)",
        "lstm_cell: needs h and c of the same shape, got (24, 4) and (24, 2)",
        "gru_cell: \"g.input.weight\" is f64 (4, 15); beside x f64 (24, 4) it must be "
        "(4, 6)",
        "linear: \"g.input\" needs x (..., n_in), got ()",
        "batchnorm: \"n\": statistics need a value a channel, x is (0, 3)",
        "multi_head_attention: x (2, 12, 4) and context (3, 8, 4) must have equal "
        "leading "
        "axes",
        "multi_head_attention: x (24, 4) and context (0, 4) must have keys: s > 0",
        "multi_head_attention: the mask is f32, it must be f64 like x",
    };
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_set *set = ht_set_new(ctx);
    ht_set_add(set, "x", HT_F64, HT_SHAPE(2, 3, 4, 4));
    ht_set_add(set, "l.weight", HT_F64, HT_SHAPE(4, 5));
    ht_set_add(set, "l.bias", HT_F64, HT_SHAPE(6));
    ht_conv2d_init(set, "c", HT_F64, HT_SHAPE(4, 3, 3, 3));
    ht_norm_init(set, "n", HT_F64, 3);
    ht_batchnorm_running_init(set, "n", HT_F64, 3);
    ht_transformer_block_init(set, "t", HT_F64, 4, 7);
    ht_gru_cell_init(set, "g", HT_F64, 4, 5);
    ht_vars *vars = ht_vars_input(tape, set, 0);
    test_no_error(ctx);
    for (int k = 0; k < (int)(sizeof message / sizeof *message); k++) {
        refused_by_name(k, ht_get(vars, "x"), vars);
        if (ht_context_status(ctx) == HT_OK) fail_msg("%s: no error", message[k]);
        assert_contains(ht_context_message(ctx), message[k]);
        assert_contains(ht_context_message(ctx), "test_nn_layers.c:");
        ht_context_clear(ctx);
    }
    ht_tape_free(tape);
    ht_set_free(set);
    ht_context_free(ctx);
}

static void layers_refuse_what_does_not_fit(void **state)
{
    (void)state;
    static const char *const message[] = {
        "layernorm: needs eps > 0, eps is 0",
        "layernorm: needs a last axis of at least one element",
        "groupnorm: 6 channels of x (2, 6) do not make 4 equal groups",
        "batchnorm: needs x (n, channels, ...), got (12)",
        "batchnorm_given: needs x (n, channels, ...), got (12)",
        "attention: needs q (..., t, d), k (..., s, d) and v (..., s, e), got (2, 6), "
        "(3, 8) and (3, 8)",
        "tril: needs (..., rows, columns)",
        "layernorm: no variable \"nobody.gain\"; there are: x, w.weight",
        "multi_head_attention: needs x (..., t, width)",
        "multi_head_attention: no variable \"w.query.weight\"",
        "gru_cell: needs x (n, n_in) and h (n, n_hidden) of the same n, got (3, 8) and "
        "(2, 6)",
        "lstm_cell: no variable \"w.input.weight\"",
        "embedding: index must be i32, got f64",
        "rmsnorm: needs f32 or f64",
    };
    enum { N = sizeof message / sizeof message[0] };
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_set *set = ht_set_new(ctx);
    ht_set_add(set, "x", HT_F64, HT_SHAPE(12));
    ht_set_add(set, "w.weight", HT_F64, HT_SHAPE(3, 2));
    ht_vars *vars = ht_vars_input(tape, set, 0);
    for (int k = 0; k < N; k++) {
        ht_var y = refused_layer(k, ht_get(vars, "x"), vars);
        assert_null(ht_value(y));
        if (ht_context_status(ctx) == HT_OK) fail_msg("%s: no error", message[k]);
        assert_contains(ht_context_message(ctx), message[k]);
        assert_contains(ht_context_message(ctx), "test_nn_layers.c:");
        ht_context_clear(ctx);
    }
    ht_tape_free(tape);
    ht_set_free(set);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_values_gradients_and_hessians_agree_with_pytorch),
        cmocka_unit_test(batchnorm_given_the_batch_statistics_is_batchnorm),
        cmocka_unit_test(layernorm_of_a_constant_row_is_zero_with_finite_derivatives),
        cmocka_unit_test(attention_of_masked_columns_has_no_weight_there),
        cmocka_unit_test(dropout_layer_draws_from_its_name_and_the_step),
        cmocka_unit_test(transformer_block_with_dropout_drops_what_it_adds),
        cmocka_unit_test(batchnorm_trained_and_replayed_keeps_its_statistics),
        cmocka_unit_test(init_of_layers_has_the_documented_names_and_values),
        cmocka_unit_test(linear_of_one_axis_is_a_row_of_many),
        cmocka_unit_test(layers_list_whole_names_however_many),
        cmocka_unit_test(init_of_bad_sizes_adds_nothing),
        cmocka_unit_test(layers_refuse_what_does_not_fit),
        cmocka_unit_test(layers_name_the_variable_that_does_not_fit),
    };
    return TEST_MAIN(tests);
}
