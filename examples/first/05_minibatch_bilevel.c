/* SPDX-License-Identifier: MIT */
/* 05_minibatch_bilevel.c: a learning rate and a weight decay, tuned by the gradient of a
 * validation loss through 100 steps of training. A page to copy: yours are the network,
 * the losses, and where the rows of a batch come from.
 *
 *   theta_t+1 = theta_t - rate (d inner / d theta + decay theta_t)     t = 0 .. STEPS-1
 *   inner: cross-entropy of a mini-batch of training images, the one of step t
 *   outer: cross-entropy of a mini-batch of validation images, the one of outer step k
 *   (log rate, log decay) moves by Adam along -d outer / d (log rate, log decay)
 *
 *   before: rate 0.01 decay 0.100 validation loss 2.14
 *   after:  rate 0.38 decay 0.003 validation loss 0.37
 */
#include <hypertape.h>
#include <math.h>

enum { TRAIN = 2000, VALIDATION = 1000, BATCH = 100, STEPS = 100, OUTER_STEPS = 20 };

static ht_images images; /* those to train on and, behind them, those for validation */

/* Images first .. first + n - 1 in batches, each epoch in another order: a function of
 * the step and of nothing else, since steps are asked for again. */
static ht_status fill(ht_set *batch, uint64_t step, int64_t first, int64_t n)
{
    int64_t rows[BATCH];
    ht_batch_order(1, step, n, BATCH, rows);
    for (int i = 0; i < BATCH; i++) rows[i] += first;
    return ht_images_rows(&images, rows, 0, BATCH, ht_set_tensor(batch, "x"),
                          ht_set_tensor(batch, "y"));
}

/* step: 0 .. STEPS-1, in every run. */
static ht_status inner_batch(uint64_t step, ht_set *batch, void *user)
{
    return fill(batch, step, 0, TRAIN);
}

/* step: the outer step that ht_bilevel_run is given. */
static ht_status outer_batch(uint64_t step, ht_set *batch, void *user)
{
    return fill(batch, step, TRAIN, VALIDATION);
}

static ht_var loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *data, void *u)
{
    ht_var hidden = ht_relu(ht_linear(ht_get(data, "x"), theta, "hidden"));
    return ht_mean(ht_cross_entropy(ht_linear(hidden, theta, "out"), ht_get(data, "y")));
}

static ht_set *batch_of(ht_context *ctx)
{
    ht_set *batch = ht_set_new(ctx);
    ht_set_add(batch, "x", HT_F32, HT_SHAPE(BATCH, 28 * 28));
    ht_set_add(batch, "y", HT_I32, HT_SHAPE(BATCH));
    return batch;
}

/* The mean over all validation batches, at the eta of now. */
static void report(ht_bilevel *training, const ht_set *eta, const char *when)
{
    double mean = 0, rate = exp(ht_tensor_get(ht_set_tensor(eta, "rate"), 0)),
           decay = exp(ht_tensor_get(ht_set_tensor(eta, "decay"), 0));
    const int n = VALIDATION / BATCH;
    for (int k = 0; k < n; k++)
        mean += ht_bilevel_evaluate(training, (uint64_t)k).outer / n;
    printf("%s rate %.2f decay %.3f validation loss %.2f\n", when, rate, decay, mean);
}

int main(int argc, char **argv)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_mnist_read(ctx, argc > 1 ? argv[1] : "data/bundled/mnist", false, &images);
    ht_check(ctx);
    ht_set *theta = ht_set_new(ctx), *eta = ht_set_new(ctx);
    ht_linear_init(theta, "hidden", HT_F32, 28 * 28, 32);
    ht_linear_init(theta, "out", HT_F32, 32, 10);
    ht_tensor_fill(ht_set_add(eta, "rate", HT_F64, HT_SCALAR), log(0.01));
    ht_tensor_fill(ht_set_add(eta, "decay", HT_F64, HT_SCALAR), log(0.1));
    /* Both are positive, so eta holds their logarithms. */
    ht_coordinate logs[] = {{"rate", HT_LOG, 0, 0}, {"decay", HT_LOG, 0, 0}};
    ht_set *train = batch_of(ctx), *validation = batch_of(ctx);
    ht_update sgd = {&ht_sgd, .rate = HT_OUTER("rate"), .decay = HT_OUTER("decay")};
    ht_update adam = {&ht_adam, .rate = HT_FIXED(0.2), .momentum = HT_FIXED(0.9),
                      .beta2 = HT_FIXED(0.99), .eps = HT_FIXED(1e-8)};
    ht_bilevel *training = ht_bilevel_new(
        ctx,
        &(ht_bilevel_problem){loss, loss, .theta = theta, .eta = eta, .inner_data = train,
                              .inner_batch = inner_batch, .outer_data = validation,
                              .outer_batch = outer_batch, .update = sgd, .steps = STEPS,
                              .coordinates = logs, .n_coordinates = 2},
        NULL);
    ht_check(ctx);
    report(training, eta, "before:");
    ht_bilevel_minimize(training,
                        &(ht_outer_options){.update = adam, .steps = OUTER_STEPS});
    ht_check(ctx);
    report(training, eta, "after: ");
}
