/* SPDX-License-Identifier: MIT */
/* test_nn_layers.c: every layer's value, gradient and Hessian product against PyTorch's
 * numbers; statistics, masks and dropout by their definitions; initial values; what is
 * refused. Read next: reference/layers.py, nn/layers.c. */
#include "reference/layers.h"
#include "test_nn.h"

enum { MOST = 12 };

typedef struct layer_case {
    ht_context *ctx;
    ht_tape *tape;
    int n; /* operands: free ones, then the set's */
    ht_var operand[MOST];
    ht_set *theta;
    ht_vars *vars;
} layer_case;

/* As tests/reference/layers.py makes them. */
static void layer_fill(ht_tensor *x, int salt)
{
    for (int64_t k = 0; k < ht_tensor_count(x); k++)
        ht_tensor_set(x, k, (double)((37 * k + 11 * salt) % 101 - 50) / 64);
}

/* Variables borrow their tensors, so those of a case stand in one set. */
static ht_var layer_filled(layer_case *c, ht_set *set, ht_shape shape, int salt)
{
    char name[32];
    snprintf(name, sizeof name, "filled %d", salt);
    ht_tensor *x = ht_set_add(set, name, HT_F64, shape);
    assert_non_null(x);
    layer_fill(x, salt);
    return ht_input(c->tape, x);
}

static ht_var layer_free(layer_case *c, ht_set *set, ht_shape shape)
{
    int salt = c->n++;
    return c->operand[salt] = layer_filled(c, set, shape, salt);
}

/* The parameters, once they are all added. */
static void layer_vars(layer_case *c)
{
    for (int i = 0; i < ht_set_count(c->theta); i++)
        layer_fill(ht_set_at(c->theta, i), c->n + i);
    c->vars = ht_vars_input(c->tape, c->theta, 0);
    for (int i = 0; i < ht_set_count(c->theta); i++)
        c->operand[c->n++] = ht_vars_at(c->vars, i);
}

typedef ht_var (*layer_fn)(layer_case *c, ht_set *set);

static ht_var make_linear(layer_case *c, ht_set *set)
{
    ht_var x = layer_free(c, set, HT_SHAPE(2, 3, 4));
    ht_linear_init(c->theta, "l", HT_F64, 4, 5);
    layer_vars(c);
    return ht_linear(x, c->vars, "l");
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
    ht_var mean = layer_filled(c, set, HT_SHAPE(4), 50);
    ht_var variance = ht_square(layer_filled(c, set, HT_SHAPE(4), 51));
    return ht_batchnorm_given(x, mean, variance, 1e-5);
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

static const struct layer_maker {
    const char *name;
    layer_fn make;
} layer_makers[] = {
    {"linear", make_linear},
    {"embedding", make_embedding},
    {"layernorm", make_layernorm},
    {"rmsnorm", make_rmsnorm},
    {"groupnorm", make_groupnorm},
    {"batchnorm", make_batchnorm},
    {"batchnorm given", make_batchnorm_given},
    {"attention", make_attention},
    {"attention, mask", make_attention_mask},
    {"attention, causal", make_attention_causal},
    {"heads, causal", make_heads_causal},
    {"heads, context", make_heads_context},
    {"gru", make_gru},
    {"lstm", make_lstm},
};

/* x against the reference from `at` on; returns where the next one starts. */
static int layer_compare(const struct layer_reference *r, int at, ht_var x,
                         const char *what)
{
    const ht_tensor *value = ht_value(x);
    if (!value) fail_msg("%s: no %s", r->name, what);
    for (int64_t k = 0; k < ht_tensor_count(value); k++, at++) {
        double got = ht_tensor_get(value, k), want = r->numbers[at];
        double scale = fabs(want) > 1 ? fabs(want) : 1;
        if (at >= r->n || !(fabs(got - want) <= 1e-10 * scale))
            fail_msg("%s, %s, element %lld: got %.17g, PyTorch %.17g", r->name, what,
                     (long long)k, got, want);
    }
    return at;
}

static int check_layer(const struct layer_maker *m, const struct layer_reference *r)
{
    layer_case c = {.ctx = ht_context_new(NULL)};
    assert_string_equal(m->name, r->name);
    c.tape = ht_tape_new(c.ctx, HT_EAGER);
    c.theta = ht_set_new(c.ctx);
    ht_set *set = ht_set_new(c.ctx);
    ht_var y = m->make(&c, set), g[MOST], hv[MOST], u[MOST];
    test_no_error(c.ctx);
    ht_var w = layer_filled(&c, set, ht_var_shape(y), 100);
    ht_var phi = ht_sum(ht_mul(y, w));
    ht_grad(phi, c.n, c.operand, g);
    for (int i = 0; i < c.n; i++)
        u[i] = layer_filled(&c, set, ht_var_shape(c.operand[i]), 200 + i);
    ht_hvp(phi, c.n, c.operand, u, hv);
    test_no_error(c.ctx);
    int at = layer_compare(r, 0, y, "value");
    for (int i = 0; i < c.n; i++) at = layer_compare(r, at, g[i], "gradient");
    for (int i = 0; i < c.n; i++) at = layer_compare(r, at, hv[i], "Hessian product");
    assert_int_equal(at, r->n);
    ht_tape_free(c.tape);
    ht_set_free(set);
    ht_set_free(c.theta);
    ht_context_free(c.ctx);
    return at;
}

static void layers_values_gradients_and_hessians_agree_with_pytorch(void **state)
{
    (void)state;
    enum { N = sizeof layer_references / sizeof layer_references[0] };
    int numbers = 0;
    assert_int_equal(N, sizeof layer_makers / sizeof layer_makers[0]);
    for (int i = 0; i < N; i++)
        numbers += check_layer(&layer_makers[i], &layer_references[i]);
    printf("# %d layers, %d numbers\n", N, numbers);
    assert_true(numbers >= 2000);
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
    test_no_error(ctx);
    assert_int_equal(ht_set_count(theta), 2 + 1 + 1 + 8 + 4 + 4);
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

static void init_of_bad_sizes_adds_nothing(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_set *theta = ht_set_new(ctx);
    ht_norm_init(theta, "n", HT_F32, 0);
    test_error(ctx, HT_ERROR_SHAPE, "ht_norm_init: \"n\"");
    ht_embedding_init(theta, "e", HT_I32, 3, 4);
    test_error(ctx, HT_ERROR_DTYPE, "ht_embedding_init: \"e\"");
    ht_multi_head_attention_init(theta, "m", HT_F32, -1);
    test_error(ctx, HT_ERROR_SHAPE, "ht_multi_head_attention_init: \"m\"");
    ht_gru_cell_init(theta, "g", HT_F32, 3, 0);
    test_error(ctx, HT_ERROR_SHAPE, "ht_gru_cell_init: \"g\"");
    assert_int_equal(ht_set_count(theta), 0);
    ht_set_add(theta, "l.hidden.bias", HT_F32, HT_SHAPE(1));
    ht_lstm_cell_init(theta, "l", HT_F32, 3, 4);
    assert_int_not_equal(ht_context_status(ctx), HT_OK);
    ht_context_clear(ctx);
    assert_int_equal(ht_set_count(theta), 1);
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

static void layers_refuse_what_does_not_fit(void **state)
{
    (void)state;
    static const char *const message[] = {
        "normalize: needs eps > 0, eps is 0",
        "normalize: needs a last axis of at least one element",
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
        "gather: indices must be i32",
        "normalize: needs f32 or f64",
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
        cmocka_unit_test(init_of_layers_has_the_documented_names_and_values),
        cmocka_unit_test(init_of_bad_sizes_adds_nothing),
        cmocka_unit_test(layers_refuse_what_does_not_fit),
    };
    return TEST_MAIN(tests);
}
