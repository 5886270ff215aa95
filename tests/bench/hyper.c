/* SPDX-License-Identifier: MIT */
/* hyper.c: hypergradients over plain training: the recorded step in a loop (plain.c) and,
 * to see what the bilevel's own machinery adds, ht_bilevel_evaluate.
 *
 *   hyper_linear    softmax regression, 5,000 rows at once, SGD; a weight per row
 *   hyper_mlp       784-300-10 ReLU, batches of 100, momentum; a rate per step, the
 *                   momentum, and L2 per tensor, as the decay of the update rule
 *   hyper_mlp_long  the same for more steps than 128 MB hold the states of
 *   hyper_mlp_disk  for many more, with states on a disk
 *   hyper_cnn       batches of 64, Adam; a weight per row
 *   hyper_vit       batches of 32, AdamW; a rate per step
 *
 * A batch is copied out of all rows, in order, and starts again at the end; so it is in
 * the plain training. Read next: plain.c, streams.c, tables.c. */
#include "hyper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "bilevel_internal.h"
#include "streams.h"

const hyper_case hyper_linear = {
    .name = "hyper_linear",
    .model = &bench_softmax,
    .steps = 100,
    .batch = 5000,
    .rows = 5000,
    .outer_rows = 5000,
    .mnist = true,
    .weights = true,
    .update = {.rule = &ht_sgd, .rate = {.value = 0.5}},
    .options = {.schedule = HT_STORE_ALL},
    .lean = 3700000,
};

const hyper_case hyper_mlp = {
    .name = "hyper_mlp",
    .model = &bench_mlp_300,
    .steps = 100,
    .batch = 100,
    .rows = 9000,
    .outer_rows = 1000,
    .mnist = true,
    .update = {.rule = &ht_momentum,
               .rate = {.outer = "rate"},
               .momentum = {.outer = "momentum"},
               .decay = {.outer = "l2"}},
    .rate = 0.05,
    .momentum = 0.9,
    .l2 = 1e-4,
    .options = {.schedule = HT_STORE_ALL},
    .lean = 190000000,
};

const hyper_case hyper_cnn = {
    .name = "hyper_cnn",
    .model = &bench_cnn,
    .steps = 10,
    .batch = 64,
    .rows = 640,
    .outer_rows = 64,
    .weights = true,
    .update = {.rule = &ht_adam,
               .rate = {.value = 1e-3},
               .momentum = {.value = 0.9},
               .beta2 = {.value = 0.999},
               .eps = {.value = 1e-8}},
    .options = {.schedule = HT_STORE_ALL},
};

const hyper_case hyper_vit = {
    .name = "hyper_vit",
    .model = &bench_vit,
    .steps = 10,
    .batch = 32,
    .rows = 320,
    .outer_rows = 32,
    .update = {.rule = &ht_adamw,
               .rate = {.outer = "rate"},
               .momentum = {.value = 0.9},
               .beta2 = {.value = 0.999},
               .eps = {.value = 1e-8},
               .decay = {.value = 0.05}},
    .rate = 1e-3,
    .options = {.schedule = HT_STORE_ALL},
    .lean = 340000000,
};

/* The problem. */

static ht_var hyper_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    const hyper *h = user;
    ht_var losses = bench_model_losses(h->c->model, theta, ht_get(batch, "x"),
                                       ht_get(batch, "label"));
    if (!h->c->weights) return ht_mean(losses);
    ht_var weight = ht_get(eta, "weight");
    if (h->batch) weight = ht_gather(weight, ht_get(batch, "index"));
    return ht_mean(ht_mul(weight, losses));
}

static ht_var hyper_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    const hyper *h = user;
    (void)eta;
    ht_var losses = bench_model_losses(h->c->model, theta, ht_get(batch, "x"),
                                       ht_get(batch, "label"));
    if (!h->outers) return ht_mean(losses);
    int64_t rows = h->c->outer_rows / h->outers;
    losses = ht_reshape(ht_slice(losses, 0, 0, h->outers * rows, 1),
                        HT_SHAPE(h->outers, rows));
    return ht_mean_axes(losses, HT_AXES(1), false);
}

static void hyper_copy_rows(ht_tensor *to, const ht_tensor *from, int64_t first)
{
    int64_t n = ht_tensor_shape(to).dim[0], all = ht_tensor_shape(from).dim[0];
    size_t row = ht_tensor_bytes(from) / (size_t)all;
    memcpy(ht_tensor_data(to), (char *)ht_tensor_data(from) + (size_t)first * row,
           (size_t)n * row);
}

static ht_status hyper_fill(uint64_t step, ht_set *batch, void *user)
{
    const hyper *h = user;
    int64_t first = (int64_t)step * h->c->batch % h->c->rows;
    for (int i = 0; i < 2; i++)
        hyper_copy_rows(ht_set_at(batch, i), ht_set_at(h->data, i), first);
    for (int64_t k = 0; h->c->weights && k < h->c->batch; k++)
        ((int32_t *)ht_tensor_data(ht_set_at(batch, 2)))[k] = (int32_t)(first + k);
    return HT_OK;
}

/* An outer variable of one value. */
static void hyper_outer_scalar(ht_set *eta, const ht_scalar *s, ht_shape shape,
                               double value)
{
    ht_tensor *x = s->outer ? ht_set_add(eta, s->outer, HT_F32, shape) : NULL;
    if (x) ht_tensor_fill(x, value);
}

static void hyper_fill_eta(hyper *h)
{
    const hyper_case *c = h->c;
    hyper_outer_scalar(h->eta, &c->update.rate, HT_SHAPE(c->steps), c->rate);
    hyper_outer_scalar(h->eta, &c->update.momentum, HT_SCALAR, c->momentum);
    hyper_outer_scalar(h->eta, &c->update.decay, HT_SHAPE(ht_set_count(h->theta)), c->l2);
    ht_tensor *weight =
        c->weights ? ht_set_add(h->eta, "weight", HT_F32, HT_SHAPE(c->rows)) : NULL;
    if (weight) ht_tensor_uniform(weight, 1, 0, 1);
}

static ht_set *hyper_rows(const hyper *h, uint64_t stream, int64_t first, int64_t rows)
{
    return h->c->mnist ? bench_mnist(h->ctx, first, rows)
                       : bench_noise(h->ctx, stream, h->c->model->image, rows);
}

static ht_bilevel_problem hyper_problem(hyper *h)
{
    bool all = !h->batch;
    return (ht_bilevel_problem){.inner = hyper_inner,
                                .outer = hyper_outer,
                                .theta = h->theta,
                                .eta = h->eta,
                                .inner_data = all ? h->data : h->batch,
                                .inner_batch = all ? NULL : hyper_fill,
                                .outer_data = h->outer_data,
                                .update = h->c->update,
                                .steps = h->c->steps,
                                .user = h};
}

bool hyper_good(const hyper *h)
{
    if (h->ctx && ht_context_status(h->ctx) == HT_OK) return true;
    fprintf(stderr, "bench: %s\n", h->ctx ? ht_context_message(h->ctx) : "no memory");
    return false;
}

bool hyper_open(hyper *h, const hyper_case *c, int threads)
{
    *h = (hyper){.c = c};
    h->ctx = bench_context(1, threads);
    if (!h->ctx) return hyper_good(h);
    h->theta = ht_set_new(h->ctx);
    h->eta = ht_set_new(h->ctx);
    h->data = hyper_rows(h, 2, 0, c->rows);
    h->outer_data = hyper_rows(h, 3, c->rows, c->outer_rows);
    if (c->batch < c->rows) h->batch = bench_rows(h->ctx, c->model->image, c->batch);
    if (h->batch && c->weights) ht_set_add(h->batch, "index", HT_I32, HT_SHAPE(c->batch));
    if (!hyper_good(h)) return false;
    c->model->init(c->model, h->theta);
    hyper_fill_eta(h);
    if (!hyper_good(h)) return false;
    ht_bilevel_problem problem = hyper_problem(h);
    return bench_plain_open(&h->plain, &problem, false) || hyper_good(h);
}

bool hyper_open_bilevel(hyper *h)
{
    ht_bilevel_problem problem = hyper_problem(h);
    double start = bench_seconds();
    h->bilevel = ht_bilevel_new(h->ctx, &problem, &h->c->options);
    h->record_seconds = bench_seconds() - start;
    return hyper_good(h);
}

static const ht_program *hyper_program(const hyper *h, hti_call_kind logged,
                                       hti_call_kind otherwise)
{
    const hti_call *call = h->bilevel->programs.call;
    return call[logged].program ? call[logged].program : call[otherwise].program;
}

const ht_program *hyper_forward(const hyper *h)
{
    return hyper_program(h, HTI_FORWARD_KEPT, HTI_FORWARD);
}

const ht_program *hyper_reverse(const hyper *h)
{
    return hyper_program(h, HTI_REVERSE_KEPT, HTI_REVERSE_STEP);
}

void hyper_close(hyper *h)
{
    ht_bilevel_free(h->bilevel);
    ht_bilevel_free(h->single);
    bench_plain_close(&h->plain);
    ht_set *const sets[] = {h->theta, h->eta, h->data, h->batch, h->outer_data};
    for (int i = 0; i < 5; i++) ht_set_free(sets[i]);
    ht_context_free(h->ctx);
}

/* What is timed. */

void hyper_run_gradient(void *user)
{
    hyper *h = user;
    h->last = ht_bilevel_run(h->bilevel, 0);
}

void hyper_run_evaluate(void *user)
{
    hyper *h = user;
    ht_bilevel_evaluate(h->bilevel, 0);
}

void hyper_run_plain(void *user)
{
    hyper *h = user;
    bench_plain_train(&h->plain);
}

void hyper_run_single(void *user)
{
    hyper *h = user;
    ht_bilevel_run(h->single, 0);
}

/* The cases. */

static double hyper_nodes(const ht_program *program)
{
    return (double)ht_program_nodes(program);
}

/* Of the last run, but for its losses. */
static double hyper_flops(const hyper *h)
{
    return (double)h->last.forward_steps * ht_program_flops(hyper_forward(h)) +
           (double)h->last.reverse_steps * ht_program_flops(hyper_reverse(h));
}

/* A run is longer than a slice should be, so the pairs are runs. Very long ones are not
 * warmed up. */
static void hyper_measure(hyper *h, bool evaluate, int rounds, double most)
{
    double seconds[3][BENCH_MAX_ROUNDS];
    const bench_fn run[] = {hyper_run_gradient, hyper_run_plain, hyper_run_evaluate};
    const int calls[] = {1, 1, 1};
    char name[64];
    for (int k = 0; k < 2 && h->c->steps <= 100; k++) run[k](h);
    bench_turns(evaluate ? 3 : 2, run, h, calls, rounds, seconds);
    bench_report(
        &(bench_row){.name = h->c->name,
                     .pairs = bench_paired(rounds, seconds[0], seconds[1]),
                     .most = most,
                     .flops = hyper_flops(h),
                     .extra = {{"bytes", (double)h->last.predicted_bytes},
                               {"peak_bytes", (double)h->last.peak_bytes},
                               {"slots", (double)h->bilevel->memory.choice.slots},
                               {"forward_steps", (double)h->last.forward_steps},
                               {"nodes_forward", hyper_nodes(hyper_forward(h))},
                               {"nodes_reverse", hyper_nodes(hyper_reverse(h))},
                               {"record_ms", 1e3 * h->record_seconds},
                               {"disk_written", (double)h->last.disk_written}}});
    if (!evaluate) return;
    snprintf(name, sizeof name, "%s_evaluate", h->c->name);
    bench_report(&(bench_row){.name = name,
                              .pairs = bench_paired(rounds, seconds[0], seconds[2])});
}

/* Passes over arrays as large as the largest parameter: what a step costs beside its
 * products. */
static void hyper_report_streams(const hyper *h, double most)
{
    char name[64];
    int64_t largest = bench_largest(h->theta);
    double forward = (double)bench_streams(hyper_forward(h), largest),
           reverse = (double)bench_streams(hyper_reverse(h), largest);
    snprintf(name, sizeof name, "%s_streams", h->c->name);
    bench_report(&(bench_row){.name = name,
                              .value = reverse / forward,
                              .unit = "reverse / forward",
                              .most = most,
                              .extra = {{"forward", forward}, {"reverse", reverse}}});
}

static bool hyper_case_run(const hyper_case *c, bool evaluate, int rounds, double most)
{
    hyper h;
    bool ok = hyper_open(&h, c, 1) && hyper_open_bilevel(&h);
    if (ok) hyper_measure(&h, evaluate, rounds, most);
    ok = ok && hyper_good(&h);
    if (ok && c == &hyper_mlp) hyper_report_streams(&h, 2.2);
    hyper_close(&h);
    return ok;
}

bool bench_hyper_linear(void)
{
    return hyper_case_run(&hyper_linear, true, bench_rounds(), 2.5);
}

/* Sixteen outer losses of one training, to sixteen trainings with one each. */
bool bench_hyper_outers(void)
{
    enum { OUTERS = 16 };
    double seconds[2][BENCH_MAX_ROUNDS];
    const bench_fn run[] = {hyper_run_gradient, hyper_run_single};
    const int calls[] = {1, 1};
    int rounds = bench_rounds();
    hyper h;
    bool ok = hyper_open(&h, &hyper_linear, 1) && hyper_open_bilevel(&h);
    h.single = h.bilevel;
    h.bilevel = NULL;
    h.outers = OUTERS;
    ok = ok && hyper_open_bilevel(&h);
    if (ok) {
        for (int k = 0; k < 2; k++) run[k](&h);
        bench_turns(2, run, &h, calls, rounds, seconds);
        bench_pairs pairs = bench_paired(rounds, seconds[0], seconds[1]);
        bench_report(&(bench_row){.name = "hyper_outers",
                                  .ms = pairs.ours_ms,
                                  .value = pairs.ratio / OUTERS,
                                  .unit = "of 16 runs",
                                  .most = 0.6,
                                  .extra = {{"bytes", (double)h.last.predicted_bytes}}});
    }
    ok = ok && hyper_good(&h);
    hyper_close(&h);
    return ok;
}

bool bench_hyper_mlp(void)
{
    return hyper_case_run(&hyper_mlp, true, bench_rounds(), 2.9);
}

bool bench_hyper_mlp_long(void)
{
    hyper_case c = hyper_mlp;
    c.options = (ht_bilevel_options){.bytes = 128000000};
    c.name = "hyper_mlp_long_1000";
    c.steps = 1000;
    bool ok = hyper_case_run(&c, false, bench.full ? 5 : 3, 3.7);
    c.name = "hyper_mlp_long_10000";
    c.steps = 10000;
    return hyper_case_run(&c, false, bench.full ? 3 : 1, 4.8) && ok;
}

/* The tensors of two sets that are not the same bits. */
static double hyper_differ(const ht_set *a, const ht_set *b)
{
    int n = 0;
    for (int i = 0; i < ht_set_count(a); i++) {
        const ht_tensor *x = ht_set_at(a, i), *y = ht_set_at(b, i);
        n += memcmp(ht_tensor_data(x), ht_tensor_data(y), ht_tensor_bytes(x)) != 0;
    }
    return n;
}

/* Runs again in less memory, by other segments and other states, and holds the gradient
 * against that of the last run. */
static void hyper_run_in_less(hyper *h, hyper_case *c, size_t bytes)
{
    ht_set *eta = ht_set_clone(h->last.gradient, 0);
    ht_set *theta = ht_set_clone(h->last.gradient_theta0, 0);
    int64_t steps = h->last.forward_steps;
    ht_bilevel_free(h->bilevel);
    h->bilevel = NULL;
    c->options.bytes = bytes;
    if (hyper_good(h) && hyper_open_bilevel(h)) hyper_run_gradient(h);
    if (hyper_good(h)) {
        double differ = hyper_differ(eta, h->last.gradient) +
                        hyper_differ(theta, h->last.gradient_theta0);
        bench_report(
            &(bench_row){.name = "hyper_mlp_disk_bits",
                         .value = differ,
                         .unit = "tensors differ",
                         .most = 0.5,
                         .extra = {{"peak_bytes", (double)h->last.peak_bytes},
                                   {"forward_steps", (double)h->last.forward_steps},
                                   {"forward_steps_before", (double)steps}}});
    }
    ht_set_free(eta);
    ht_set_free(theta);
}

/* So many steps that 128 MB hold the states of one in a thousand; the rest of those that
 * are begun from lie on a disk. In half of that memory the bits are the same. */
bool bench_hyper_mlp_disk(void)
{
    hyper_case c = hyper_mlp;
    char folder[] = "/tmp/bench-states-XXXXXX";
    if (!mkdtemp(folder)) {
        perror("bench: a folder for states");
        return false;
    }
    c.options = (ht_bilevel_options){.bytes = 128000000, .disk = folder};
    c.name = "hyper_mlp_disk";
    c.steps = 1000000;
    bool ok = !bench.full || hyper_case_run(&c, false, 1, 5);
    c.steps = 20000;
    hyper h;
    bool open = hyper_open(&h, &c, 1) && hyper_open_bilevel(&h);
    if (open && bench.full)
        hyper_run_gradient(&h);
    else if (open)
        hyper_measure(&h, false, 1, 5);
    if (open && hyper_good(&h)) hyper_run_in_less(&h, &c, 64000000);
    ok = hyper_good(&h) && open && ok;
    hyper_close(&h);
    rmdir(folder);
    return ok;
}

bool bench_hyper_cnn(void)
{
    return hyper_case_run(&hyper_cnn, false, bench.full ? 5 : 3, 0);
}

bool bench_hyper_vit(void)
{
    return hyper_case_run(&hyper_vit, false, bench.full ? 5 : 3, 0);
}
