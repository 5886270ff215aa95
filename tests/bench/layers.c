/* SPDX-License-Identifier: MIT */
/* layers.c: what a second derivative of a layer costs over a first. A layer y(x) stands
 * in a network as <v, y(x)>, with x its inputs and parameters and v the cotangent that
 * comes from above. Its gradient by (x, v) is the layer's forward and backward; the
 * Hessian times a direction, their tangents (forward over reverse), with as much of the
 * two as these need. Both are replayed programs. Read next: autograd/derive.c. */
#include <stdio.h>

#include "bench.h"
#include "hypertape.h"

enum { LAYERS_MOST = 16, LAYERS_OUT = 2 };

/* Fills y from a set of inputs and parameters; returns how many. */
typedef int (*layers_fn)(const ht_vars *x, ht_var *y);

typedef struct layers {
    ht_context *ctx;
    ht_set *x, *v, *direction, *gradient, *product; /* the last three like x and v */
    ht_program *first, *second;
} layers;

static void layers_tensor(ht_set *set, const char *name, ht_shape shape)
{
    ht_tensor *t = ht_set_add(set, name, HT_F32, shape);
    if (t) ht_tensor_normal(t, ht_stream(name), 0, 1);
}

/* The layers: inputs and parameters, then the function. */

static void layers_linear_init(ht_set *x)
{
    layers_tensor(x, "x", HT_SHAPE(128, 512));
    ht_linear_init(x, "fc", HT_F32, 512, 512);
}

static int layers_linear(const ht_vars *x, ht_var *y)
{
    y[0] = ht_linear(ht_get(x, "x"), x, "fc");
    return 1;
}

static void layers_conv_init(ht_set *x)
{
    layers_tensor(x, "x", HT_SHAPE(16, 32, 32, 32));
    layers_tensor(x, "weight", HT_SHAPE(32, 32, 3, 3));
    layers_tensor(x, "bias", HT_SHAPE(32, 1, 1));
}

static int layers_conv(const ht_vars *x, ht_var *y)
{
    ht_conv_options options = {{1, 1}, {1, 1}, {1, 1}, 1};
    y[0] = ht_add(ht_conv2d(ht_get(x, "x"), ht_get(x, "weight"), options),
                  ht_get(x, "bias"));
    return 1;
}

static void layers_layernorm_init(ht_set *x)
{
    layers_tensor(x, "x", HT_SHAPE(2048, 96));
    ht_norm_init(x, "norm", HT_F32, 96);
}

static int layers_layernorm(const ht_vars *x, ht_var *y)
{
    y[0] = ht_layernorm_layer(ht_get(x, "x"), x, "norm", 1e-5);
    return 1;
}

static void layers_batchnorm_init(ht_set *x)
{
    layers_tensor(x, "x", HT_SHAPE(64, 32, 16, 16));
    ht_norm_init(x, "norm", HT_F32, 32);
}

static int layers_batchnorm(const ht_vars *x, ht_var *y)
{
    y[0] = ht_batchnorm_layer(ht_get(x, "x"), x, "norm", 1e-5);
    return 1;
}

static void layers_pool_init(ht_set *x)
{
    layers_tensor(x, "x", HT_SHAPE(64, 32, 32, 32));
}

static int layers_max_pool(const ht_vars *x, ht_var *y)
{
    y[0] = ht_max_pool2d(ht_get(x, "x"), ((ht_pool_options){{2, 2}, {2, 2}, {0, 0}}));
    return 1;
}

static int layers_avg_pool(const ht_vars *x, ht_var *y)
{
    y[0] = ht_avg_pool2d(ht_get(x, "x"), ((ht_pool_options){{2, 2}, {2, 2}, {0, 0}}));
    return 1;
}

static void layers_attention_init(ht_set *x)
{
    layers_tensor(x, "x", HT_SHAPE(8, 64, 96));
    ht_multi_head_attention_init(x, "attention", HT_F32, 96);
}

static int layers_attention(const ht_vars *x, ht_var *y)
{
    ht_var in = ht_get(x, "x");
    y[0] = ht_multi_head_attention(in, in, x, "attention", &(ht_heads){.heads = 4});
    return 1;
}

static void layers_lstm_init(ht_set *x)
{
    layers_tensor(x, "x", HT_SHAPE(64, 128));
    layers_tensor(x, "h", HT_SHAPE(64, 128));
    layers_tensor(x, "c", HT_SHAPE(64, 128));
    ht_lstm_cell_init(x, "cell", HT_F32, 128, 128);
}

static int layers_lstm(const ht_vars *x, ht_var *y)
{
    y[0] = ht_get(x, "h");
    y[1] = ht_get(x, "c");
    ht_lstm_cell(ht_get(x, "x"), &y[0], &y[1], x, "cell");
    return 2;
}

static const struct layers_case {
    const char *name;
    void (*init)(ht_set *x);
    layers_fn layer;
} layers_cases[] = {
    {"order2_linear", layers_linear_init, layers_linear},
    {"order2_conv2d", layers_conv_init, layers_conv},
    {"order2_layernorm", layers_layernorm_init, layers_layernorm},
    {"order2_batchnorm", layers_batchnorm_init, layers_batchnorm},
    {"order2_max_pool2d", layers_pool_init, layers_max_pool},
    {"order2_avg_pool2d", layers_pool_init, layers_avg_pool},
    {"order2_attention", layers_attention_init, layers_attention},
    {"order2_lstm_cell", layers_lstm_init, layers_lstm},
};

/* Programs. */

/* Variables of a tensor each, appended to `to`; returns how many there are then. */
static int layers_inputs(ht_tape *tape, const ht_set *set, int n, ht_var *to)
{
    for (int i = 0; i < ht_set_count(set); i++)
        to[n++] = ht_input(tape, ht_set_at(set, i));
    return n;
}

/* <v, y>, and v: tensors of y's shapes, and variables appended to `to`. */
static ht_var layers_scalar(layers *l, ht_tape *tape, layers_fn layer, int *n, ht_var *to)
{
    static const char *const name[LAYERS_OUT] = {"v0", "v1"};
    ht_var y[LAYERS_OUT], sum = HT_ZERO;
    ht_vars *x = ht_vars_input(tape, l->x, 0);
    ht_check(l->ctx);
    int outputs = layer(x, y);
    for (int i = 0; i < ht_vars_count(x); i++) to[(*n)++] = ht_vars_at(x, i);
    for (int k = 0; k < outputs; k++) {
        layers_tensor(l->v, name[k], ht_var_shape(y[k]));
        ht_var v = ht_input(tape, ht_set_at(l->v, k));
        to[(*n)++] = v;
        sum = ht_add(sum, ht_sum(ht_mul(v, y[k])));
    }
    return sum;
}

/* As many tensors as x and v have, of the same shapes. */
static ht_set *layers_like(const layers *l)
{
    ht_set *like = ht_set_clone(l->x, 0);
    for (int i = 0; i < ht_set_count(l->v); i++)
        layers_tensor(like, ht_set_name(l->v, i),
                      ht_tensor_array(ht_set_at(l->v, i)).shape);
    return like;
}

static void layers_record(layers *l, layers_fn layer)
{
    ht_var x[2 * LAYERS_MOST], out[LAYERS_MOST];
    int n = 0;
    ht_tape *tape = ht_tape_new(l->ctx, HT_RECORD);
    ht_var f = layers_scalar(l, tape, layer, &n, x);
    ht_grad(f, n, x, out);
    l->first = ht_program_new(tape, n, x, n, out);
    l->direction = layers_like(l);
    l->gradient = layers_like(l);
    l->product = layers_like(l);
    ht_check(l->ctx);
    for (int i = 0; i < n; i++)
        ht_tensor_normal(ht_set_at(l->direction, i), (uint64_t)i, 0, 1);
    layers_inputs(tape, l->direction, n, x);
    ht_hvp(f, n, x, x + n, out);
    l->second = ht_program_new(tape, 2 * n, x, n, out);
    ht_tape_free(tape);
}

/* What is timed. */

static void layers_run(const layers *l, ht_program *program, const ht_set *to)
{
    const ht_set *const from[] = {l->x, l->v, l->direction};
    const ht_tensor *in[2 * LAYERS_MOST];
    ht_tensor *out[LAYERS_MOST];
    int n = 0;
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < ht_set_count(from[s]); i++) in[n++] = ht_set_at(from[s], i);
    for (int i = 0; i < ht_set_count(to); i++) out[i] = ht_set_at(to, i);
    ht_program_run(program, in, out);
}

static void layers_run_first(void *user)
{
    const layers *l = user;
    layers_run(l, l->first, l->gradient);
}

static void layers_run_second(void *user)
{
    const layers *l = user;
    layers_run(l, l->second, l->product);
}

static bool layers_case_run(const struct layers_case *c)
{
    layers l = {.ctx = ht_context_new(&(ht_context_options){.seed = 1, .threads = 1})};
    if (!l.ctx) return false;
    l.x = ht_set_new(l.ctx);
    l.v = ht_set_new(l.ctx);
    ht_check(l.ctx);
    c->init(l.x);
    layers_record(&l, c->layer);
    bool ok = ht_context_status(l.ctx) == HT_OK;
    if (ok) {
        bench_pairs pairs = bench_compare(layers_run_second, layers_run_first, &l);
        bench_report(&(bench_row){.name = c->name, .pairs = pairs, .most = 3.5});
    } else {
        fprintf(stderr, "bench: %s\n", ht_context_message(l.ctx));
    }
    ht_program_free(l.first);
    ht_program_free(l.second);
    ht_set *const sets[] = {l.x, l.v, l.direction, l.gradient, l.product};
    for (int i = 0; i < 5; i++) ht_set_free(sets[i]);
    ht_context_free(l.ctx);
    return ok;
}

bool bench_order2(void)
{
    bool ok = true;
    for (size_t i = 0; i < sizeof layers_cases / sizeof layers_cases[0]; i++)
        ok = layers_case_run(&layers_cases[i]) && ok;
    return ok;
}
