/* SPDX-License-Identifier: MIT */
/* tune_penalty.c: how strongly should each weight be pulled towards zero?
 *
 * Softmax regression with few labels wants a penalty, and one number for it is found by a
 * grid. A grid of 7,840 numbers, one a weight, has no end; their gradient costs about two
 * trainings. Training is T steps of descent with momentum from zeros,
 *
 *   L(theta, lambda) = 1/N sum_i CE(x_i theta.weight + theta.bias, y_i)
 *                      + 1/2 sum_jk lambda_jk theta.weight_jk^2
 *
 * and the penalties are moved, as ln lambda and by Adam, along the gradient through all T
 * steps of what the trained model does on V validation images:
 *
 *   minimise  F(lambda) = 1/V sum_j CE(validation image j; theta_T(lambda))
 *   subject to  e^-18 <= lambda <= MOST, past which descent with momentum would diverge
 *
 * They begin at the best single penalty, so that what they gain is theirs (or at BEGIN,
 * if that is less: the derivative by ln lambda vanishes with lambda). Beside them: none;
 * a single one, the best of a grid on the same validation images; one a class, by the
 * same gradient. And what a sceptic asks: are the validation labels not better trained
 * on? So both sets are, with the best single penalty and with the learned ones, each
 * times N / (N + V), so that it stays what it was beside the sum of losses.
 *
 * Output of the default run, seed 1 (the last digits depend on the machine's BLAS):
 *
 *                         learns from                        test trainings
 *   no penalty            N labels                        85.31 %        1
 *   best single penalty   N labels; V choose from a grid  85.46 %       40
 *   one a class           N labels; V by the gradient     85.86 %      190
 *   one a weight          N labels; V by the gradient     87.78 %      190
 *   single on N + V       both; the penalty of above      87.89 %       42
 *   one a weight on N + V both; the penalties of above    88.02 %      192  best
 *
 * Read next: distill.c, ../common/demo.h. */
#include <math.h>
#include <stdlib.h>

#include "demo.h"

#define MOST  10.0  /* of a penalty */
#define BEGIN 0.003 /* at least, where learning begins */
enum { LEAST_LOG = -18 };
enum { NONE, SINGLE, CLASS, WEIGHT, JOINED, JOINED_WEIGHT, N_ENTRANTS };

static int64_t n_train = 500, n_validation = 500, inner_steps = 100, outer_steps = 50,
               n_grid = 40;
static double rate = 0.1, outer_rate = 0.1;
static demo_options options = {.common = {.seed = 1, .data = MNIST_DATA}};

static entrant rows[N_ENTRANTS] = {
    {"no_penalty", "no penalty", "N labels"},
    {"single", "best single penalty", "N labels; V choose from a grid"},
    {"class", "one a class", "N labels; V by the gradient", .learned = true},
    {"weight", "one a weight", "N labels; V by the gradient", .learned = true},
    {"joined", "single on N + V", "both; the penalty of above"},
    {"joined_weight", "one a weight on N + V", "both; the penalties of above",
     .learned = true}};

#define COLUMNS                                                                    \
    {                                                                              \
        .name = { "outer_step", "validation_loss", "inner_loss", "test_accuracy" } \
    }
static metrics steps[] = {COLUMNS, COLUMNS}; /* one a class, one a weight */
static demo run = {.name = "tune_penalty",
                   .title = "A penalty for each weight",
                   .options = &options,
                   .entrant = rows,
                   .n_entrants = N_ENTRANTS,
                   .learned = WEIGHT,
                   .control = SINGLE,
                   .note =
                       "N labels to train on (--train), V to choose by (--validation)",
                   .steps = &steps[1]};
static ht_set *train, *validation, *both, *test, *theta;
static ht_set *eta[N_ENTRANTS]; /* "penalty", as its logarithm */
static judge *test_judge;
static double best_single; /* its logarithm */

static ht_var outer_loss(const ht_vars *weights, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    return ht_mean(demo_losses(demo_linear, weights, images));
}

/* A penalty () or (10, 1) or (10, pixels) is broadcast to all weights. */
static ht_var inner_loss(const ht_vars *weights, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    ht_var w = ht_transpose(ht_get(weights, "softmax.weight"));
    ht_var pull = ht_sum(ht_mul(ht_get(outer, "penalty"), ht_mul(w, w)));
    return ht_add(outer_loss(weights, outer, images, user), ht_mul(pull, 0.5));
}

static ht_bilevel *training_new(int which, ht_set *images)
{
    const ht_coordinate positive = {.outer = "penalty", .kind = HT_LOG};
    const ht_bilevel_problem problem = {.inner = inner_loss,
                                        .outer = outer_loss,
                                        .theta = theta,
                                        .eta = eta[which],
                                        .inner_data = images,
                                        .outer_data = validation,
                                        .update = HT_MOMENTUM(rate, 0.9),
                                        .steps = inner_steps,
                                        .coordinates = &positive,
                                        .n_coordinates = 1};
    ht_bilevel *training =
        ht_bilevel_new(run.ctx, &problem, &(ht_bilevel_options){.bytes = options.memory});
    ht_check(run.ctx);
    return training;
}

/* No penalty, then `grid` of them, evenly in their logarithm: the best on validation. */
static void search_grid(void)
{
    ht_tensor *penalty = ht_set_at(eta[SINGLE], 0);
    ht_bilevel *training = training_new(SINGLE, train);
    double low = log(1e-6), high = log(MOST), least = (double)INFINITY;
    ht_tensor_fill(penalty, -80);
    entrant_judge(&rows[NONE], test_judge, training, 1);
    for (int64_t i = 0; i < n_grid && !interrupted(); i++) {
        double at = low + (high - low) * (double)i / (double)(n_grid - 1);
        ht_tensor_fill(penalty, at);
        double loss = ht_bilevel_evaluate(training, 0).outer;
        ht_check(run.ctx);
        if (loss < least) best_single = at;
        least = fmin(loss, least);
        demo_worked(&run, 1, "grid", i + 1, n_grid, loss);
    }
    ht_tensor_fill(penalty, best_single);
    if (!interrupted())
        entrant_judge(&rows[SINGLE], test_judge, training, (double)n_grid);
    ht_bilevel_free(training);
}

static void project(ht_set *outer, void *user)
{
    float *at = ht_tensor_data(ht_set_at(outer, 0));
    for (int64_t i = 0; i < ht_tensor_count(ht_set_at(outer, 0)); i++)
        at[i] = fminf(fmaxf(at[i], LEAST_LOG), (float)log(MOST));
}

static bool each(const ht_outer_step *step, void *user)
{
    const ht_bilevel_result *got = &step->result;
    METRICS_ROW((metrics *)user, (double)step->step, got->outer, got->inner,
                judge_accuracy(test_judge, got->theta, NULL));
    return true;
}

/* From the best single penalty along the gradient. */
static void learn(int which)
{
    ht_update adam = HT_ADAM(outer_rate);
    adam.eps = HT_FIXED(1e-12); /* gradients by ln lambda are small where lambda is */
    ht_tensor_fill(ht_set_at(eta[which], 0), fmax(best_single, log(BEGIN)));
    ht_bilevel *training = training_new(which, train);
    run.eta = eta[which];
    demo_minimize(&run, which, training,
                  (ht_outer_options){.update = adam,
                                     .steps = outer_steps,
                                     .project = project,
                                     .each = each,
                                     .user = &steps[which == WEIGHT]},
                  HYPERGRADIENT);
    if (!interrupted())
        entrant_judge(&rows[which], test_judge, training,
                      (double)(n_grid + HYPERGRADIENT * outer_steps));
    ht_bilevel_free(training);
}

/* Validation images to train on as well, with the penalties found before. */
static void join(int which, int from)
{
    double n = (double)n_train, more = 1 + (double)n_validation / n;
    ht_tensor *penalty = ht_set_at(eta[which], 0);
    ht_tensor_copy(penalty, ht_set_at(eta[from], 0));
    float *at = ht_tensor_data(penalty);
    for (int64_t i = 0; i < ht_tensor_count(penalty); i++) at[i] -= (float)log(more);
    ht_bilevel *training = training_new(which, both);
    entrant_judge(&rows[which], test_judge, training, rows[from].cost + more);
    rows[which].loss = (double)NAN; /* it was trained on */
    demo_worked(&run, more, rows[which].name, 1, 1, rows[which].loss);
    ht_bilevel_free(training);
}

static void compute(void)
{
    int64_t all = n_grid + 2 * HYPERGRADIENT * outer_steps + 2;
    progress_begin((double)all + 2 * (double)n_validation / (double)n_train);
    search_grid();
    if (!interrupted()) learn(CLASS);
    if (!interrupted()) learn(WEIGHT);
    if (!interrupted()) join(JOINED, SINGLE);
    if (!interrupted()) join(JOINED_WEIGHT, WEIGHT);
}

static void write_page(const ht_images *images)
{
    report page;
    if (!demo_page(&page, &run)) return;
    report_series series[] = {metrics_series(&steps[1], "validation_loss"),
                              metrics_series(&steps[0], "validation_loss"),
                              {"best single penalty", 1, NULL, &rows[SINGLE].loss, true}};
    series[0].name = "one a weight";
    series[1].name = "one a class";
    report_curve(&page, &(report_figure){"Validation loss", "outer step"}, 3, series);
    if (steps[1].rows)
        demo_images(&page,
                    &(report_figure){"Where each class may have weights",
                                     .note = "Grey: the best single penalty; dark: a "
                                             "hundredth; light: a hundredfold."},
                    images, ht_set_at(eta[WEIGHT], 0), best_single - log(100),
                    best_single + log(100));
    demo_page_end(&page, &run, eta[WEIGHT], "penalties.safetensors");
}

static bool parse(int argc, char **argv, int *status)
{
    const flag flags[] = {
        {"train", FLAG_COUNT, &n_train, "N, images to train on", 1, 1e6},
        {"validation", FLAG_COUNT, &n_validation, "V, to choose penalties", 1, 1e6},
        {"inner-steps", FLAG_COUNT, &inner_steps, "T, of a training", 1, 1e6},
        {"outer-steps", FLAG_COUNT, &outer_steps, "of Adam on penalties", 1, 1e6},
        {"grid", FLAG_COUNT, &n_grid, "single penalties to try", 2, 1e6},
        {"rate", FLAG_ABOVE, &rate, "of the inner descent", 0, 1},
        {"outer-rate", FLAG_ABOVE, &outer_rate, "of Adam", 0, 100},
        DEMO_FLAGS(&options)};
    return command_parse(
        &(command){
            "tune_penalty",
            "Learns an L2 penalty for each of the 7,840 weights of a classifier of\n"
            "digits that has few labels, by the gradient through its training.",
            "Penalties start at the best single one of the grid.", &options.common,
            sizeof flags / sizeof *flags, flags},
        argc, argv, status);
}

static void set_up(const ht_images *images, const ht_images *others)
{
    int64_t n = n_train, n_all = n + n_validation;
    int64_t *row = demo_rows(run.ctx, images, n_all);
    train = demo_set(run.ctx, images, row, n);
    validation = demo_set(run.ctx, images, row + n, n_validation);
    both = demo_set(run.ctx, images, row, n_all);
    test = demo_set(run.ctx, others, NULL, ht_tensor_count(others->labels));
    free(row);
    int64_t pixels = ht_tensor_shape(ht_set_tensor(test, "x")).dim[1];
    ht_shape one = HT_SCALAR, all = HT_SHAPE(10, pixels);
    const ht_shape shape[] = {one, one, HT_SHAPE(10, 1), all, one, all};
    for (int k = 0; k < N_ENTRANTS; k++) {
        eta[k] = ht_set_new(run.ctx);
        ht_set_add(eta[k], "penalty", HT_F32, shape[k]);
    }
    theta = ht_set_new(run.ctx);
    demo_linear_init(theta, pixels);
    ht_check(run.ctx);
    test_judge = judge_new(theta, test, demo_linear);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"report.html", "metrics.csv", "config.json",
                                        "penalties.safetensors", NULL};
    int status;
    ht_images images, others;
    if (!parse(argc, argv, &status)) return status;
    demo_begin(&run, files);
    demo_read(run.ctx, options.common.data, n_train + n_validation, &images, &others);
    set_up(&images, &others);
    compute();
    if (options.out) write_page(&images);
    demo_print(&run);
    ht_images_free(&images);
    ht_images_free(&others);
    return demo_end(&run);
}
