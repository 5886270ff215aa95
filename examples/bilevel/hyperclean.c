/* SPDX-License-Identifier: MIT */
/* hyperclean.c: data hyper-cleaning: which of these labels are wrong?
 *
 * (Franceschi, Donini, Frasconi & Pontil, "Forward and reverse gradient-based
 * hyperparameter optimization", ICML 2017, section 5.1.)
 *
 * Of N train images x_i, with labels y_i, a fraction carry a label that was replaced by a
 * different one; V validation images are clean. Every train image gets a weight lambda_i.
 * Training is T steps of full-batch gradient descent on softmax regression, from zeros:
 *
 *   L(theta, lambda) = 1/N sum_i lambda_i CE(x_i theta.weight + theta.bias, y_i)
 *   theta_{t+1} = theta_t - rate dL/dtheta(theta_t, lambda),     theta_0 = 0
 *
 * and what is wanted are the weights that make the *trained* model good on clean images:
 *
 *   minimise  F(lambda) = 1/V sum_j CE(validation image j; theta_T(lambda))
 *   subject to  0 <= lambda_i <= 1,  sum_i lambda_i <= R
 *
 * ht_bilevel_run gives dF/dlambda, exactly, through all T steps: one number per image
 * that says whether training more on it makes validation worse. Adam moves lambda along
 * it, and after each step lambda is projected onto the constraint. The budget R forces a
 * choice: a weight that ends below 0.001 says "this label is wrong". R is an option and
 * never taken from the number of wrong labels, which nobody knows.
 *
 * lambda starts at R/N for everybody, on the constraint. At first every step of Adam is
 * as long as its rate, whatever the gradient's scale, so a dozen steps suffice. The inner
 * rate acts on a loss whose weights are a fifth on average: 0.3 is like 0.06 of plain
 * training. A larger one fits the V images better and, where V is small, too well.
 *
 * The true labels are used twice only, both after the fact: to score what was found and
 * to train the oracle. What the learned weights are worth is decided by plain trainings
 * on train + validation images, all alike: see hyperclean_train.c.
 *
 * Output of the default run, seed 1 (the last digits depend on the machine's BLAS):
 *
 *   Found wrong (weight below 0.001): 2412 labels, 2313 of them rightly
 *     precision 0.959, recall 0.925, F1 0.942
 *     12 outer steps of T = 100, store-all; weights sum to at most R = 1000
 *
 *                      trained on                                  test accuracy
 *     baseline         5000 given labels + 5000 clean               88.37 %
 *     validation only  5000 clean                                   90.25 %
 *     cleaned          5000 weighted labels + 5000 clean            90.57 % best
 *     oracle           2500 right labels + 5000 clean; knows all    90.90 %
 *
 * Read next: hyperclean_train.c, hyperclean_report.c, bilevel/README.md. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hyperclean.h"

enum { STREAM_SPLIT = 1, STREAM_LABELS = 2 };

ht_var clean_cross_entropy(const ht_vars *theta, const ht_vars *images)
{
    ht_var logits = ht_linear(ht_get(images, "x"), theta, "softmax");
    return ht_cross_entropy(logits, ht_get(images, "label"));
}

static ht_var inner_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *train,
                         void *user)
{
    (void)user;
    return ht_mean(ht_mul(ht_get(eta, "lambda"), clean_cross_entropy(theta, train)));
}

static ht_var outer_loss(const ht_vars *theta, const ht_vars *eta,
                         const ht_vars *validation, void *user)
{
    (void)eta, (void)user;
    return ht_mean(clean_cross_entropy(theta, validation));
}

/* Softmax regression at zero. */
static ht_set *model_new(ht_context *ctx, const clean_data *data)
{
    ht_set *theta = ht_set_new(ctx);
    ht_check(ctx);
    ht_set_add(theta, "softmax.weight", HT_F32, HT_SHAPE(data->rows * data->cols, 10));
    ht_set_add(theta, "softmax.bias", HT_F32, HT_SHAPE(10));
    ht_check(ctx);
    return theta;
}

/* Data. */

static void *allocate(ht_context *ctx, size_t n, size_t size)
{
    void *memory = calloc(n ? n : 1, size);
    if (!memory)
        ht_context_fail(ctx, HT_ERROR_MEMORY, NULL, "hyperclean: no memory for %zu x %zu",
                        n, size);
    ht_check(ctx);
    return memory;
}

static ht_set *images_set(ht_context *ctx, const ht_images *images, const int64_t *order,
                          int64_t n)
{
    ht_shape shape = ht_tensor_shape(images->pixels);
    ht_set *set = ht_set_new(ctx);
    ht_check(ctx);
    ht_tensor *x = ht_set_add(set, "x", HT_F32, HT_SHAPE(n, shape.dim[1] * shape.dim[2]));
    ht_tensor *label = ht_set_add(set, "label", HT_I32, HT_SHAPE(n));
    ht_check(ctx);
    ht_images_rows(images, order, 0, n, x, label);
    ht_check(ctx);
    return set;
}

static void check_images(ht_context *ctx, const clean_options *options,
                         const ht_images *train, const ht_images *test)
{
    char a[HT_SHAPE_TEXT], b[HT_SHAPE_TEXT];
    ht_shape one = ht_tensor_shape(train->pixels), other = ht_tensor_shape(test->pixels);
    int64_t wanted = options->n_train + options->n_validation;
    if (wanted > one.dim[0])
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "hyperclean: --train %lld and --validation %lld ask for %lld "
                        "images, %s has %lld\n  hint: ./dev data mnist fetches 60000",
                        (long long)options->n_train, (long long)options->n_validation,
                        (long long)wanted, options->data, (long long)one.dim[0]);
    else if (one.dim[1] != other.dim[1] || one.dim[2] != other.dim[2])
        ht_context_fail(ctx, HT_ERROR_SHAPE, NULL,
                        "%s: train images are %s, test images %s\n"
                        "  hint: the files belong to different sets",
                        options->data, ht_shape_text(one, a), ht_shape_text(other, b));
    else if (!other.dim[0] || !one.dim[1] || !one.dim[2])
        ht_context_fail(ctx, HT_ERROR_SHAPE, NULL,
                        "%s: expected test images with pixels, got %s\n"
                        "  hint: ./dev data mnist fetches 10000",
                        options->data, ht_shape_text(other, b));
    ht_check(ctx);
}

static clean_data data_read(ht_context *ctx, const clean_options *options)
{
    ht_images train, test;
    ht_mnist_read(ctx, options->data, false, &train);
    ht_check(ctx);
    ht_mnist_read(ctx, options->data, true, &test);
    ht_check(ctx);
    check_images(ctx, options, &train, &test);
    clean_data data = {.n_train = options->n_train,
                       .n_validation = options->n_validation,
                       .n_test = ht_tensor_count(test.labels),
                       .rows = ht_tensor_shape(train.pixels).dim[1],
                       .cols = ht_tensor_shape(train.pixels).dim[2]};
    size_t n = (size_t)data.n_train;
    data.image = allocate(ctx, n + (size_t)data.n_validation, sizeof *data.image);
    data.truth = allocate(ctx, n, sizeof *data.truth);
    data.corrupted = allocate(ctx, n, sizeof *data.corrupted);
    int64_t *parts[] = {data.image, data.image + n};
    const int64_t sizes[] = {data.n_train, data.n_validation};
    ht_split(ctx, STREAM_SPLIT, ht_tensor_count(train.labels), 2, sizes, parts);
    ht_check(ctx);
    data.train = images_set(ctx, &train, parts[0], data.n_train);
    data.validation = images_set(ctx, &train, parts[1], data.n_validation);
    data.test = images_set(ctx, &test, NULL, data.n_test);
    ht_tensor *label = ht_set_tensor(data.train, "label");
    memcpy(data.truth, ht_tensor_data(label), n * sizeof *data.truth);
    ht_corrupt_labels(ctx, STREAM_LABELS, options->corrupt, train.classes, label,
                      data.corrupted);
    ht_check(ctx);
    ht_images_free(&train);
    ht_images_free(&test);
    return data;
}

static void data_free(clean_data *data)
{
    ht_set_free(data->train);
    ht_set_free(data->validation);
    ht_set_free(data->test);
    free(data->image);
    free(data->truth);
    free(data->corrupted);
}

/* Cleaning. */

static clean_score score_weights(const clean_data *data, const float *lambda)
{
    clean_score score = {0};
    int64_t wrong = 0;
    for (int64_t i = 0; i < data->n_train; i++) {
        bool found = (double)lambda[i] < FOUND_WRONG;
        wrong += data->corrupted[i];
        score.found += found;
        score.right += found && data->corrupted[i];
    }
    score.precision = (double)score.right / (double)score.found;
    score.recall = (double)score.right / (double)wrong;
    score.f1 = 2 * (double)score.right / (double)(score.found + wrong);
    return score;
}

static double sum_weights(const clean_data *data, const float *lambda)
{
    double sum = 0;
    for (int64_t i = 0; i < data->n_train; i++) sum += (double)lambda[i];
    return sum;
}

/* Divergence is a result of a run, not an error; here it ends the program. The gradient
 * of cross-entropy is bounded, so that theta grows by rate times a constant a step and
 * only an absurd rate overflows it. The hypergradient is a product of T factors
 * I - rate H and overflows long before. */
static void check_run(ht_context *ctx, const clean_options *options,
                      const ht_bilevel_result *run)
{
    ht_check(ctx);
    if (run->bad_step < 0) return;
    bool trained = isfinite(run->outer) && isfinite(run->inner);
    clean_progress_end();
    ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                    "hyperclean: %s diverged: step %lld of %lld, op %s\n"
                    "  hint: a smaller --rate, or fewer --inner-steps",
                    trained ? "training is finite, but its derivative" : "training",
                    (long long)run->bad_step, (long long)options->inner_steps,
                    run->bad_op);
    ht_check(ctx);
}

double clean_outer_work(const clean_options *options, int64_t steps)
{
    const double hypergradient = 2.1; /* plain trainings; two more are measured */
    return (hypergradient * (double)steps + 2) * (double)options->inner_steps *
           (double)options->n_train;
}

/* The time of a plain training of T steps, and F at the weights as they stand. */
static double evaluate(ht_context *ctx, const clean_options *options, ht_bilevel *bilevel,
                       clean_result *result)
{
    static const char *const schedules[] = {"auto", "store-all", "two-level", "revolve"};
    ht_bilevel_result run = ht_bilevel_evaluate(bilevel, 0);
    check_run(ctx, options, &run);
    result->validation_loss = run.outer;
    result->schedule = schedules[run.schedule];
    return run.seconds;
}

/* One outer step: hypergradient, Adam, projection. */
static void outer_step(ht_context *ctx, const clean_options *options,
                       const clean_data *data, ht_bilevel *bilevel,
                       ht_optimizer *optimizer, clean_result *result)
{
    ht_tensor *lambda = ht_set_tensor(result->eta, "lambda");
    ht_bilevel_result run = ht_bilevel_run(bilevel, 0);
    check_run(ctx, options, &run);
    const float *gradient = ht_tensor_data(ht_set_tensor(run.gradient, "lambda"));
    for (int64_t i = 0; i < data->n_train; i++)
        result->distrust[i] += (double)gradient[i];
    ht_optimizer_step(optimizer, run.gradient);
    ht_project_capped_simplex(lambda, options->radius);
    ht_check(ctx);
    const float *weights = ht_tensor_data(lambda);
    result->step[result->n_steps++] =
        (clean_step){.validation_loss = run.outer,
                     .inner_loss = run.inner,
                     .score = score_weights(data, weights),
                     .weight_sum = sum_weights(data, weights),
                     .seconds = run.seconds};
    result->hypergradient_seconds += run.seconds;
    result->peak_bytes = run.peak_bytes;
}

static void clean(ht_context *ctx, const clean_options *options, const clean_data *data,
                  ht_bilevel *bilevel, clean_result *result)
{
    ht_optimizer *optimizer =
        ht_optimizer_new(result->eta, &(ht_update){.rule = &ht_adam,
                                                   .rate = HT_FIXED(options->outer_rate),
                                                   .momentum = HT_FIXED(0.9),
                                                   .beta2 = HT_FIXED(0.999),
                                                   .eps = HT_FIXED(1e-12)});
    ht_check(ctx);
    double first = evaluate(ctx, options, bilevel, result);
    while (result->n_steps < options->outer_steps && !clean_stopped()) {
        outer_step(ctx, options, data, bilevel, optimizer, result);
        char text[80];
        const clean_step *step = &result->step[result->n_steps - 1];
        snprintf(text, sizeof text, "cleaning %lld/%lld, validation loss %.4f",
                 (long long)result->n_steps, (long long)options->outer_steps,
                 step->validation_loss);
        clean_progress(clean_outer_work(options, result->n_steps), text);
    }
    double last = result->n_steps ? evaluate(ctx, options, bilevel, result) : first;
    result->inner_seconds = (first + last) / 2 * (double)result->n_steps;
    ht_optimizer_free(optimizer);
}

static ht_bilevel *problem_new(ht_context *ctx, const clean_options *options,
                               const clean_data *data, ht_set *theta, ht_set *eta)
{
    const ht_bilevel_problem problem = {
        .inner = inner_loss,
        .outer = outer_loss,
        .theta = theta,
        .eta = eta,
        .inner_data = data->train,
        .outer_data = data->validation,
        .update = {.rule = &ht_sgd, .rate = HT_FIXED(options->rate)},
        .steps = options->inner_steps};
    ht_bilevel_options how = {.schedule = options->schedule, .bytes = options->memory};
    if (how.schedule == HT_REVOLVE && !how.bytes)
        how.slots = (int64_t)ceil(sqrt((double)options->inner_steps));
    ht_bilevel *bilevel = ht_bilevel_new(ctx, &problem, &how);
    ht_check(ctx);
    return bilevel;
}

static clean_result result_new(ht_context *ctx, const clean_options *options,
                               const clean_data *data)
{
    clean_result result = {.eta = ht_set_new(ctx)};
    ht_check(ctx);
    ht_tensor *lambda = ht_set_add(result.eta, "lambda", HT_F32, HT_SHAPE(data->n_train));
    ht_check(ctx);
    ht_tensor_fill(lambda, fmin(1, options->radius / (double)data->n_train));
    size_t n = (size_t)data->n_train;
    result.distrust = allocate(ctx, n, sizeof *result.distrust);
    result.step = allocate(ctx, (size_t)options->outer_steps, sizeof *result.step);
    for (int k = 0; k < N_TRAININGS; k++)
        result.training[k].right = allocate(ctx, (size_t)data->n_test, 1);
    return result;
}

static void result_free(clean_result *result)
{
    for (int k = 0; k < N_TRAININGS; k++) {
        ht_set_free(result->training[k].theta);
        free(result->training[k].right);
    }
    ht_set_free(result->eta);
    free(result->step);
    free(result->distrust);
}

/* The computing part: outer steps, then the trainings of the table. */
static void compute(ht_context *ctx, const clean_options *options, const clean_data *data,
                    ht_bilevel *bilevel, const ht_set *theta, clean_result *result)
{
    double began = clean_seconds();
    result->predicted_bytes = ht_bilevel_bytes(bilevel);
    clean_watch_interrupt();
    clean_progress_begin(clean_outer_work(options, options->outer_steps) +
                         clean_training_work(options));
    clean(ctx, options, data, bilevel, result);
    if (!clean_stopped()) clean_train_all(ctx, options, data, theta, result);
    clean_progress_end();
    result->interrupted = clean_stopped();
    result->seconds = clean_seconds() - began;
}

static int run(const clean_options *options)
{
    const ht_context_options how = {.seed = options->seed, .threads = options->threads};
    ht_context *ctx = ht_context_new(&how);
    if (!ctx) {
        fprintf(stderr, "hyperclean: no memory\n");
        return 1;
    }
    clean_data data = data_read(ctx, options);
    clean_result result = result_new(ctx, options, &data);
    ht_set *theta = model_new(ctx, &data);
    ht_bilevel *bilevel = problem_new(ctx, options, &data, theta, result.eta);
    if (options->out) clean_out_check(ctx, options->out);
    ht_check(ctx);
    compute(ctx, options, &data, bilevel, theta, &result);
    if (options->out && result.n_steps)
        result.written = clean_write(ctx, options, &data, &result) == HT_OK;
    clean_print(options, &data, &result);
    bool printed = !options->json || clean_print_json(options, &data, &result);
    printed = clean_printed() && printed;
    ht_check(ctx);
    int code = !printed ? 1 : result.interrupted ? 130 : 0;
    ht_bilevel_free(bilevel);
    ht_set_free(theta);
    result_free(&result);
    data_free(&data);
    ht_context_free(ctx);
    return code;
}

int main(int argc, char **argv)
{
    clean_options options;
    switch (clean_options_parse(&options, argc, argv)) {
    case CLEAN_HELP:
        return clean_printed() ? 0 : 1;
    case CLEAN_BAD:
        return 2;
    case CLEAN_RUN:
        break;
    }
    return run(&options);
}
