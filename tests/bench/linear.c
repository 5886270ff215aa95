/* SPDX-License-Identifier: MIT */
/* linear.c: the flagship, measured: softmax regression on 5,000 MNIST images with one
 * weight per image, full batch, SGD, f32; its step against its two matrix products, and
 * its hypergradient against plain training of the same length. Read next: nodes.c. */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "bilevel_internal.h"
#include "hypertape.h"
#include "kernels.h"

enum { LINEAR_ROWS = 5000, LINEAR_PIXELS = 784, LINEAR_CLASSES = 10, LINEAR_STEPS = 100 };
static const double linear_rate = 0.5;

typedef struct linear {
    ht_context *ctx;
    ht_set *theta, *eta, *train, *validation;
    ht_set *moving; /* theta of the plain loop */
    ht_program *step;
    ht_bilevel *bilevel;
    ht_tensor *logits, *residual, *gradient; /* operands of the bare products */
    double sink;
} linear;

/* The problem. */

static ht_var linear_rows_loss(const ht_vars *theta, const ht_vars *batch)
{
    ht_var logits = ht_linear(ht_get(batch, "x"), theta, "fc");
    return ht_cross_entropy(logits, ht_get(batch, "labels"));
}

static ht_var linear_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    (void)user;
    return ht_mean(ht_mul(ht_get(eta, "lambda"), linear_rows_loss(theta, batch)));
}

static ht_var linear_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    (void)eta, (void)user;
    return ht_mean(linear_rows_loss(theta, batch));
}

static ht_set *linear_batch(ht_context *ctx, const ht_images *images, int64_t first)
{
    ht_set *set = ht_set_new(ctx);
    ht_tensor *x = ht_set_add(set, "x", HT_F32, HT_SHAPE(LINEAR_ROWS, LINEAR_PIXELS));
    ht_tensor *labels = ht_set_add(set, "labels", HT_I32, HT_SHAPE(LINEAR_ROWS));
    if (x && labels) ht_images_rows(images, NULL, first, LINEAR_ROWS, x, labels);
    return set;
}

static void linear_load(linear *l)
{
    char path[4096];
    const char *data = getenv("HYPERTAPE_DATA");
    snprintf(path, sizeof path, "%s/mnist", data ? data : BENCH_DATA);
    ht_images images;
    if (ht_mnist_read(l->ctx, path, false, &images) == HT_OK) {
        l->train = linear_batch(l->ctx, &images, 0);
        l->validation = linear_batch(l->ctx, &images, LINEAR_ROWS);
    }
    ht_images_free(&images);
}

static ht_bilevel *linear_bilevel(const linear *l)
{
    ht_bilevel_problem problem = {
        .inner = linear_inner,
        .outer = linear_outer,
        .theta = l->theta,
        .eta = l->eta,
        .inner_data = l->train,
        .outer_data = l->validation,
        .steps = LINEAR_STEPS,
        .update = {.rule = &ht_sgd, .rate = HT_FIXED(linear_rate)},
    };
    return ht_bilevel_new(l->ctx, &problem,
                          &(ht_bilevel_options){.schedule = HT_STORE_ALL});
}

/* The plain step as anyone would record it: theta eta batch -> theta. */
static ht_program *linear_record(const linear *l)
{
    ht_var in[8], g[2], out[2];
    int n = 0;
    ht_tape *tape = ht_tape_new(l->ctx, HT_RECORD);
    ht_vars *theta = ht_vars_input(tape, l->theta, 0);
    ht_vars *set[] = {theta, ht_vars_input(tape, l->eta, 0),
                      ht_vars_input(tape, l->train, 0)};
    ht_check(l->ctx);
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < ht_vars_count(set[s]); i++) in[n++] = ht_vars_at(set[s], i);
    ht_vars_grad(linear_inner(theta, set[1], set[2], NULL), theta, g);
    for (int i = 0; i < 2; i++) out[i] = ht_sub(in[i], ht_mul(linear_rate, g[i]));
    ht_program *step = ht_program_new(tape, n, in, 2, out);
    ht_tape_free(tape);
    return step;
}

static void linear_close(linear *l)
{
    ht_bilevel_free(l->bilevel);
    ht_program_free(l->step);
    ht_set *const sets[] = {l->theta, l->eta, l->train, l->validation, l->moving};
    for (int i = 0; i < 5; i++) ht_set_free(sets[i]);
    ht_tensor_free(l->logits);
    ht_tensor_free(l->residual);
    ht_tensor_free(l->gradient);
    ht_context_free(l->ctx);
}

static bool linear_say(const linear *l)
{
    if (ht_context_status(l->ctx) == HT_OK) return true;
    fprintf(stderr, "bench: %s\n", ht_context_message(l->ctx));
    return false;
}

/* Everything but a bilevel; close it also after false. */
static bool linear_open(linear *l)
{
    *l = (linear){.ctx = ht_context_new(&(ht_context_options){.seed = 1, .threads = 1})};
    if (!l->ctx) return false;
    l->theta = ht_set_new(l->ctx);
    l->eta = ht_set_new(l->ctx);
    linear_load(l);
    if (!linear_say(l)) return false;
    ht_linear_init(l->theta, "fc", HT_F32, LINEAR_PIXELS, LINEAR_CLASSES);
    ht_tensor *lambda = ht_set_add(l->eta, "lambda", HT_F32, HT_SHAPE(LINEAR_ROWS));
    ht_shape rows = HT_SHAPE(LINEAR_ROWS, LINEAR_CLASSES);
    l->logits = ht_tensor_new(l->ctx, HT_F32, rows);
    l->residual = ht_tensor_new(l->ctx, HT_F32, rows);
    l->gradient = ht_tensor_new(l->ctx, HT_F32, HT_SHAPE(LINEAR_PIXELS, LINEAR_CLASSES));
    if (!linear_say(l)) return false;
    ht_tensor_uniform(lambda, 1, 0, 1);
    ht_tensor_uniform(l->residual, 2, -1e-4, 1e-4);
    l->moving = ht_set_clone(l->theta, 0);
    l->step = linear_record(l);
    return linear_say(l);
}

/* What is timed. */

static void linear_run_step(void *user)
{
    linear *l = user;
    ht_tensor *out[] = {ht_set_at(l->moving, 0), ht_set_at(l->moving, 1)};
    const ht_tensor *in[] = {out[0], out[1], ht_set_at(l->eta, 0), ht_set_at(l->train, 0),
                             ht_set_at(l->train, 1)};
    ht_program_run(l->step, in, out);
}

/* The products by the library's own call, on the step's own operands. */
static void linear_run_forward(void *user)
{
    linear *l = user;
    hti_run_matmul(l->ctx, ht_tensor_array(l->logits),
                   ht_tensor_array(ht_set_at(l->train, 0)),
                   ht_tensor_array(ht_set_at(l->moving, 0)));
}

static void linear_run_backward(void *user)
{
    linear *l = user;
    ht_array x = ht_tensor_array(ht_set_at(l->train, 0)), t = x;
    t.shape = HT_SHAPE(LINEAR_PIXELS, LINEAR_ROWS);
    t.stride[0] = x.stride[1];
    t.stride[1] = x.stride[0];
    hti_run_matmul(l->ctx, ht_tensor_array(l->gradient), t, ht_tensor_array(l->residual));
}

static void linear_run_products(void *user)
{
    linear_run_forward(user);
    linear_run_backward(user);
}

static void linear_run_loop(void *user)
{
    linear *l = user;
    ht_set_copy(l->moving, l->theta);
    for (int t = 0; t < LINEAR_STEPS; t++) linear_run_step(l);
}

static void linear_run_evaluate(void *user)
{
    linear *l = user;
    l->sink += ht_bilevel_evaluate(l->bilevel, 0).outer;
}

static void linear_run_gradient(void *user)
{
    linear *l = user;
    l->sink += ht_bilevel_run(l->bilevel, 0).outer;
}

static void linear_run_record(void *user)
{
    linear *l = user;
    ht_bilevel_free(linear_bilevel(l));
}

/* The cases. */

static void linear_report_product(linear *l, const char *name, bench_fn product)
{
    const double flops = 2.0 * LINEAR_ROWS * LINEAR_PIXELS * LINEAR_CLASSES;
    double ms = bench_time(product, l);
    bench_report_value(name, ms, flops / ms / 1e6, "GF/s");
}

bool bench_linear_step(void)
{
    linear l;
    bool ok = linear_open(&l);
    if (ok) {
        bench_pairs pairs = bench_compare(linear_run_step, linear_run_products, &l);
        ok = linear_say(&l);
        if (ok) bench_report_pairs("hyper_linear_step", pairs, 1.15);
    }
    if (ok) {
        linear_report_product(&l, "hyper_linear_x_w", linear_run_forward);
        linear_report_product(&l, "hyper_linear_xt_r", linear_run_backward);
    }
    linear_close(&l);
    return ok;
}

static double linear_seconds(bench_fn run, linear *l)
{
    double start = bench_seconds();
    run(l);
    return bench_seconds() - start;
}

/* A run is longer than a slice should be, so the three take turns, first in one order,
 * then in the other. */
bool bench_linear(void)
{
    enum { N = 64 };
    double seconds[3][N];
    const bench_fn run[] = {linear_run_gradient, linear_run_evaluate, linear_run_loop};
    int rounds = bench.quick ? 3 : 15;
    linear l;
    bool ok = linear_open(&l);
    if (ok) l.bilevel = linear_bilevel(&l);
    ok = ok && linear_say(&l);
    if (ok) {
        linear_run_evaluate(&l);
        for (int i = 0; i < rounds; i++)
            for (int k = 0; k < 3; k++) {
                int which = i % 2 ? 2 - k : k;
                seconds[which][i] = linear_seconds(run[which], &l);
            }
        ok = linear_say(&l);
    }
    if (ok) {
        bench_report_pairs("hyper_linear", bench_paired(rounds, seconds[0], seconds[1]),
                           2.4);
        bench_report_pairs("hyper_linear_loop",
                           bench_paired(rounds, seconds[0], seconds[2]), 2.4);
    }
    linear_close(&l);
    return ok;
}

bool bench_linear_record(void)
{
    linear l;
    bool ok = linear_open(&l);
    if (ok) {
        double ms = bench_time(linear_run_record, &l);
        ok = linear_say(&l);
        if (ok) bench_report_value("hyper_linear_record", ms, ms, "ms");
    }
    linear_close(&l);
    return ok;
}

/* Counted by the context, from before the bilevel is made to after its run. */
static void linear_report_memory(linear *l)
{
    size_t base = ht_context_live_bytes(l->ctx);
    ht_context_reset_peak(l->ctx);
    l->bilevel = linear_bilevel(l);
    if (!l->bilevel) return;
    linear_run_gradient(l);
    size_t peak = ht_context_peak_bytes(l->ctx) - base;
    uint64_t before = ht_context_allocations(l->ctx);
    linear_run_gradient(l);
    uint64_t run = ht_context_allocations(l->ctx) - before;
    linear_run_step(l);
    before = ht_context_allocations(l->ctx);
    linear_run_step(l);
    uint64_t step = ht_context_allocations(l->ctx) - before;
    const hti_call *call = l->bilevel->call;
    const struct {
        const char *name;
        double value;
        const char *unit;
    } row[] = {
        {"memory_predicted", (double)ht_bilevel_bytes(l->bilevel), "bytes"},
        {"memory_peak", (double)peak, "bytes"},
        {"memory_kept_per_step",
         (double)(l->bilevel->block_bytes + l->bilevel->log_bytes), "bytes"},
        {"nodes_step", (double)ht_program_nodes(l->step), "nodes"},
        {"nodes_forward", (double)ht_program_nodes(call[HTI_FORWARD_LOGGED].program),
         "nodes"},
        {"nodes_reverse", (double)ht_program_nodes(call[HTI_REVERSE_LOGGED].program),
         "nodes"},
        {"allocations_step", (double)step, "allocations"},
        {"allocations_run", (double)run, "allocations"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        bench_report_value(row[i].name, 0, row[i].value, row[i].unit);
}

bool bench_linear_memory(void)
{
    linear l;
    bool ok = linear_open(&l);
    if (ok) linear_report_memory(&l);
    ok = ok && linear_say(&l);
    linear_close(&l);
    return ok;
}
