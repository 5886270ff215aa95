/* SPDX-License-Identifier: MIT */
/* steps.c: a training step of four networks against their matrix products alone, by
 * OpenBLAS, one thread: forward, and for the backward each one's two, without the input
 * gradient of the first. The step is one program: loss, gradient and update, written over
 * the parameters it read. Read next: linear.c, NOTES.md. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "hypertape.h"
#include "kernels.h"
#include "nn_internal.h"

enum { STEPS_TENSORS = 256, STEPS_PRODUCTS = 12 };

/* `count` products (m, k) . (k, n) in the forward. */
typedef struct steps_product {
    int64_t count, m, n, k;
} steps_product;

typedef struct steps_case {
    const char *name;
    double must;
    void (*init)(ht_set *theta, ht_set *batch);
    ht_var (*logits)(const ht_vars *theta, ht_var x);
    ht_update update;
    steps_product product[STEPS_PRODUCTS]; /* the first has no input gradient */
} steps_case;

static void steps_batch(ht_set *batch, ht_shape x)
{
    ht_tensor *image = ht_set_add(batch, "x", HT_F32, x);
    ht_tensor *label = ht_set_add(batch, "label", HT_I32, HT_SHAPE(x.dim[0]));
    if (image) ht_tensor_uniform(image, 1, 0, 1);
    for (int64_t i = 0; label && i < x.dim[0]; i++)
        ht_tensor_set(label, i, (double)(i % 10));
}

/* 784-512-512-10. */

static void steps_mlp_init(ht_set *theta, ht_set *batch)
{
    ht_linear_init(theta, "fc1", HT_F32, 784, 512);
    ht_linear_init(theta, "fc2", HT_F32, 512, 512);
    ht_linear_init(theta, "out", HT_F32, 512, 10);
    steps_batch(batch, HT_SHAPE(128, 784));
}

static ht_var steps_mlp(const ht_vars *theta, ht_var x)
{
    x = ht_relu(ht_linear(x, theta, "fc1"));
    x = ht_relu(ht_linear(x, theta, "fc2"));
    return ht_linear(x, theta, "out");
}

/* 32-64-10. */

static void steps_tiny_init(ht_set *theta, ht_set *batch)
{
    ht_linear_init(theta, "fc1", HT_F32, 32, 64);
    ht_linear_init(theta, "out", HT_F32, 64, 10);
    steps_batch(batch, HT_SHAPE(32, 32));
}

static ht_var steps_tiny(const ht_vars *theta, ht_var x)
{
    return ht_linear(ht_relu(ht_linear(x, theta, "fc1")), theta, "out");
}

/* 3 x 32 x 32: convolutions 3 x 3 to 32, 32, pool, 64, pool, linear. */

static const ht_conv_options steps_conv = {{1, 1}, {1, 1}, {1, 1}, 1};
static const ht_pool_options steps_pool = {{2, 2}, {2, 2}, {0, 0}};

static void steps_cnn_init(ht_set *theta, ht_set *batch)
{
    ht_conv2d_init(theta, "conv1", HT_F32, HT_SHAPE(32, 3, 3, 3));
    ht_conv2d_init(theta, "conv2", HT_F32, HT_SHAPE(32, 32, 3, 3));
    ht_conv2d_init(theta, "conv3", HT_F32, HT_SHAPE(64, 32, 3, 3));
    ht_linear_init(theta, "out", HT_F32, 4096, 10);
    steps_batch(batch, HT_SHAPE(64, 3, 32, 32));
}

static ht_var steps_cnn(const ht_vars *theta, ht_var x)
{
    x = ht_relu(ht_conv2d_layer(x, theta, "conv1", steps_conv));
    x = ht_relu(ht_conv2d_layer(x, theta, "conv2", steps_conv));
    x = ht_max_pool2d(x, steps_pool);
    x = ht_relu(ht_conv2d_layer(x, theta, "conv3", steps_conv));
    x = ht_max_pool2d(x, steps_pool);
    return ht_linear(ht_reshape(x, HT_SHAPE(-1, 4096)), theta, "out");
}

/* Patches of 4 x 4, 64 tokens of width 96, 4 heads, 4 blocks with 384 between. */

enum { STEPS_WIDTH = 96, STEPS_BLOCKS = 4 };
static const char *const steps_blocks[STEPS_BLOCKS] = {"b1", "b2", "b3", "b4"};

static void steps_vit_init(ht_set *theta, ht_set *batch)
{
    ht_linear_init(theta, "patch", HT_F32, 48, STEPS_WIDTH);
    ht_set_add(theta, "position", HT_F32, HT_SHAPE(64, STEPS_WIDTH));
    for (int i = 0; i < STEPS_BLOCKS; i++)
        ht_transformer_block_init(theta, steps_blocks[i], HT_F32, STEPS_WIDTH,
                                  4 * STEPS_WIDTH);
    ht_norm_init(theta, "norm", HT_F32, STEPS_WIDTH);
    ht_linear_init(theta, "out", HT_F32, STEPS_WIDTH, 10);
    steps_batch(batch, HT_SHAPE(32, 3, 32, 32));
}

static ht_var steps_vit(const ht_vars *theta, ht_var x)
{
    static const ht_transformer_options block = {.attention = {.heads = 4}, .eps = 1e-5};
    x = ht_reshape(x, HT_SHAPE(-1, 3, 8, 4, 8, 4));
    x = ht_reshape(ht_permute(x, HT_AXES(0, 2, 4, 1, 3, 5)), HT_SHAPE(-1, 64, 48));
    x = ht_add(ht_linear(x, theta, "patch"), ht_get(theta, "position"));
    for (int i = 0; i < STEPS_BLOCKS; i++)
        x = ht_transformer_block(x, theta, steps_blocks[i], &block);
    x = ht_layernorm_layer(x, theta, "norm", block.eps);
    return ht_linear(ht_mean_axes(x, HT_AXES(1), false), theta, "out");
}

#define STEPS_ADAM                                                                  \
    .rate = {.value = 1e-3}, .momentum = {.value = 0.9}, .beta2 = {.value = 0.999}, \
    .eps = {.value = 1e-8}

static const steps_case steps_cases[] = {
    {"mlp_step",
     1.10,
     steps_mlp_init,
     steps_mlp,
     {.rule = &ht_sgd, .rate = {.value = 0.01}},
     {{1, 128, 512, 784}, {1, 128, 512, 512}, {1, 128, 10, 512}}},
    {"tiny_step",
     0,
     steps_tiny_init,
     steps_tiny,
     {.rule = &ht_sgd, .rate = {.value = 0.01}},
     {{1, 32, 64, 32}, {1, 32, 10, 64}}},
    {"cnn_step",
     1.8,
     steps_cnn_init,
     steps_cnn,
     {.rule = &ht_adam, STEPS_ADAM},
     {{64, 1024, 32, 27}, {64, 1024, 32, 288}, {64, 256, 64, 288}, {1, 64, 10, 4096}}},
    {"vit_step",
     1.5,
     steps_vit_init,
     steps_vit,
     {.rule = &ht_adamw, STEPS_ADAM, .decay = {.value = 0.05}},
     {{1, 2048, 96, 48},
      {4, 2048, 288, 96},
      {512, 64, 64, 24},
      {512, 64, 24, 64},
      {4, 2048, 96, 96},
      {4, 2048, 384, 96},
      {4, 2048, 96, 384},
      {1, 32, 10, 96}}},
};

/* Running. */

typedef struct steps {
    const steps_case *c;
    ht_context *ctx;
    ht_set *theta, *state, *batch;
    ht_tensor *loss;
    ht_program *program;
    float *operand[STEPS_PRODUCTS][3]; /* a, b, out of the forward */
} steps;

static int steps_inputs(const ht_vars *vars, int n, ht_var *in)
{
    for (int i = 0; vars && i < ht_vars_count(vars); i++) in[n++] = ht_vars_at(vars, i);
    return n;
}

/* theta, state, batch -> loss, theta', state'. The step counter stays at 0: the work of a
 * step does not depend on it. */
static void steps_record(steps *s)
{
    ht_var in[STEPS_TENSORS], out[STEPS_TENSORS], gradient[STEPS_TENSORS];
    ht_tape *tape = ht_tape_new(s->ctx, HT_RECORD);
    ht_vars *theta = ht_vars_input(tape, s->theta, 0);
    ht_vars *state = ht_vars_input(tape, s->state, 0);
    ht_vars *batch = ht_vars_input(tape, s->batch, 0);
    ht_check(s->ctx);
    ht_var logits = s->c->logits(theta, ht_get(batch, "x"));
    out[0] = ht_mean(ht_cross_entropy(logits, ht_get(batch, "label")));
    ht_vars_grad(out[0], theta, gradient);
    int n_theta = ht_vars_count(theta), n_out = 1 + n_theta + ht_vars_count(state);
    hti_update_emit(&s->c->update, theta, state, NULL, 1, gradient, out + 1,
                    out + 1 + n_theta);
    int n = steps_inputs(batch, steps_inputs(state, steps_inputs(theta, 0, in), in), in);
    s->program = ht_program_new(tape, n, in, n_out, out);
    ht_tape_free(tape);
}

static int steps_tensors(const ht_set *set, int n, ht_tensor **to)
{
    for (int i = 0; i < ht_set_count(set); i++) to[n++] = ht_set_at(set, i);
    return n;
}

static void steps_run(void *user)
{
    steps *s = user;
    ht_tensor *in[STEPS_TENSORS], *out[STEPS_TENSORS] = {s->loss};
    steps_tensors(s->state, steps_tensors(s->theta, 1, out), out);
    int n = steps_tensors(s->state, steps_tensors(s->theta, 0, in), in);
    steps_tensors(s->batch, n, in);
    ht_program_run(s->program, (const ht_tensor *const *)in, out);
}

static ht_array steps_matrix(float *data, int64_t rows, int64_t cols, bool transposed)
{
    ht_array a = {data, HT_F32, HT_SHAPE(rows, cols), {cols, 1}};
    return transposed ? (ht_array){data, HT_F32, HT_SHAPE(cols, rows), {1, cols}} : a;
}

/* OpenBLAS's gemm on one thread, as it is. */
static void steps_floor(void *user)
{
    steps *s = user;
    hti_matmul_ready();
    for (int i = 0; i < STEPS_PRODUCTS && s->c->product[i].count; i++) {
        const steps_product *p = &s->c->product[i];
        float *a = s->operand[i][0], *b = s->operand[i][1], *c = s->operand[i][2];
        for (int64_t r = 0; r < p->count; r++) {
            hti_matmul_tile(steps_matrix(c, p->m, p->n, false),
                            steps_matrix(a, p->m, p->k, false),
                            steps_matrix(b, p->k, p->n, false), false);
            hti_matmul_tile(steps_matrix(b, p->k, p->n, false),
                            steps_matrix(a, p->m, p->k, true),
                            steps_matrix(c, p->m, p->n, false), false);
            if (i > 0)
                hti_matmul_tile(steps_matrix(a, p->m, p->k, false),
                                steps_matrix(c, p->m, p->n, false),
                                steps_matrix(b, p->k, p->n, true), false);
        }
    }
}

/* Zeros multiply as fast as anything, and stay tame however often. */
static bool steps_operands(steps *s)
{
    for (int i = 0; i < STEPS_PRODUCTS && s->c->product[i].count; i++) {
        const steps_product *p = &s->c->product[i];
        const int64_t count[3] = {p->m * p->k, p->k * p->n, p->m * p->n};
        for (int k = 0; k < 3; k++) {
            s->operand[i][k] = calloc((size_t)count[k], sizeof(float));
            if (!s->operand[i][k]) return false;
        }
    }
    return true;
}

static void steps_open(steps *s)
{
    s->theta = ht_set_new(s->ctx);
    s->batch = ht_set_new(s->ctx);
    ht_check(s->ctx);
    s->c->init(s->theta, s->batch);
    s->state = hti_update_state(&s->c->update, s->theta);
    s->loss = ht_tensor_new(s->ctx, HT_F32, HT_SCALAR);
    ht_check(s->ctx);
}

static void steps_close(steps *s)
{
    ht_program_free(s->program);
    ht_tensor_free(s->loss);
    ht_set *const sets[] = {s->theta, s->state, s->batch};
    for (int i = 0; i < 3; i++) ht_set_free(sets[i]);
    ht_context_free(s->ctx);
    for (int i = 0; i < STEPS_PRODUCTS; i++)
        for (int k = 0; k < 3; k++) free(s->operand[i][k]);
}

static bool steps_case_run(const steps_case *c)
{
    steps s = {.c = c, .ctx = ht_context_new(&(ht_context_options){.threads = 1})};
    if (!s.ctx || !steps_operands(&s)) {
        fprintf(stderr, "bench: no memory for %s\n", c->name);
        return false;
    }
    steps_open(&s);
    double start = bench_seconds();
    steps_record(&s);
    double record = 1e3 * (bench_seconds() - start);
    ht_check(s.ctx);
    bench_pairs pairs = bench_compare(steps_run, steps_floor, &s);
    bool ok = ht_context_status(s.ctx) == HT_OK;
    if (ok) {
        char name[64];
        bench_report_pairs(c->name, pairs, c->must);
        snprintf(name, sizeof name, "%s_record", c->name);
        bench_report_value(name, record, (double)ht_program_nodes(s.program), "nodes");
    } else {
        fprintf(stderr, "bench: %s\n", ht_context_message(s.ctx));
    }
    steps_close(&s);
    return ok;
}

bool bench_steps(void)
{
    bool ok = true;
    for (size_t i = 0; i < sizeof steps_cases / sizeof steps_cases[0]; i++)
        ok = steps_case_run(&steps_cases[i]) && ok;
    return ok;
}
