/* SPDX-License-Identifier: MIT */
/* distill.c: which ten images teach a classifier most?
 *
 * (Wang, Zhu, Torralba & Efros, "Dataset distillation", 2018.)
 *
 * A network with one hidden layer of relu is trained from a random start by T steps of
 * descent on ten images and nothing else. Images, labels and the rate of each step are
 * what is learned, eta, so that training on them does well on real images:
 *
 *   L(theta, eta) = 1/10 sum_k CE(image_k; softmax(label_k))
 *   theta_{t+1} = theta_t - rate_t dL/dtheta(theta_t, eta),     theta_0 at random
 *   minimise  F(eta) = E CE(a batch of the training set; theta_T(eta))
 *
 * Pixels stay in 0 .. 1 (a sigmoid), rates positive (a logarithm). Every outer step has a
 * batch and a start of its own, so that the images cannot lean on one; they are judged on
 * starts that no step has seen. They begin as noise.
 *
 * The controls have the same T steps from the same starts, labels that are certain, and
 * the rate of a grid that does best on the test images, more than a control may know: ten
 * real images, drawn anew for each start, and the means of the ten classes.
 *
 * Output of the default run, seed 1 (the last digits depend on the machine's BLAS):
 *
 *                         learns from                        test trainings
 *   ten real images       one of each class, at random    42.31 %       50
 *   ten class means       the mean of each class          75.82 %       50
 *   ten learned images    images, labels, rates: learned  87.23 %    12667  best
 *
 * Read next: ../common/demo.h. */
#include <math.h>
#include <stdlib.h>

#include "demo.h"

enum { REAL, MEANS, DISTILLED, N_ENTRANTS };
enum { BATCH = 500, STARTS = 20, TRIALS = 5, N_RATES = 10, N_SHOWN = 4 };
#define UNSEEN (INT64_C(1) << 30) /* the first start that no outer step has */

/* In trainings: the outer loss looks at more images than a training does. */
#define STEP_COST (HYPERGRADIENT + BATCH / (10.0 * (double)inner_steps))

static int64_t hidden = 64, inner_steps = 15, outer_steps = 2000;
static double outer_rate = 0.05;
static demo_options options = {.common = {.seed = 1, .data = MNIST_DATA}};

static entrant rows[] = {{"real", "ten real images", "one of each class, at random"},
                         {"means", "ten class means", "the mean of each class"},
                         {"distilled", "ten learned images",
                          "images, labels, rates: learned", .learned = true,
                          .as = "the learned set"}};
static metrics steps = {
    .name = {"outer_step", "loss", "inner_loss", "first_rate", "last_rate"}};
static demo run = {.name = "distill",
                   .title = "Ten images to learn from",
                   .options = &options,
                   .entrant = rows,
                   .n_entrants = N_ENTRANTS,
                   .learned = DISTILLED,
                   .control = MEANS,
                   .steps = &steps};
/* A little wider than 0 .. 1, where white and black would be at infinity. */
static const ht_coordinate coordinate[] = {{"images", HT_SIGMOID, -0.001, 1.001},
                                           {"rate", HT_LOG, 0, 0}};
static ht_images images;
static ht_set *theta, *eta, *batch, *test;
static judge *test_judge;
static const char *const shown_name[N_SHOWN] = {"shown0", "shown1", "shown2", "shown3"};
static demo_ten shown[N_SHOWN]; /* as they form */
static ht_tensor *shown_at;     /* (N_SHOWN) after so many outer steps; -1: never */

static ht_var loss_of_batch(const ht_vars *weights, const ht_vars *outer,
                            const ht_vars *data, void *user)
{
    return ht_mean(demo_losses(demo_mlp, weights, data));
}

static ht_var loss_of_ten(const ht_vars *weights, const ht_vars *outer,
                          const ht_vars *none, void *user)
{
    ht_var z = demo_mlp(ht_get(outer, "images"), weights);
    return ht_mean(ht_cross_entropy(z, ht_softmax(ht_get(outer, "labels"))));
}

static ht_status fill_batch(uint64_t step, ht_set *to, void *user)
{
    int64_t order[BATCH];
    ht_batch_order(options.common.seed, step, ht_tensor_count(images.labels), BATCH,
                   order);
    return ht_images_rows(&images, order, 0, BATCH, ht_set_tensor(to, "x"),
                          ht_set_tensor(to, "label"));
}

static ht_bilevel *training_new(void)
{
    ht_bilevel *training =
        ht_bilevel_new(run.ctx,
                       &(ht_bilevel_problem){.inner = loss_of_ten,
                                             .outer = loss_of_batch,
                                             .theta = theta,
                                             .eta = eta,
                                             .outer_data = batch,
                                             .outer_batch = fill_batch,
                                             .update = {&ht_sgd, HT_OUTER("rate")},
                                             .steps = inner_steps,
                                             .coordinates = coordinate,
                                             .n_coordinates = 2},
                       &(ht_bilevel_options){.bytes = options.memory});
    ht_check(run.ctx);
    return training;
}

static void set_control(int which, int64_t start)
{
    int64_t n = ht_tensor_count(images.labels);
    demo_digits(&images, which == REAL ? start % n * 37 : 0, which == REAL ? 1 : n,
                ht_set_tensor(eta, "images"));
    ht_coordinate_from_value(&coordinate[0], ht_set_tensor(eta, "images"));
}

static void set_labels(double certain, double rate)
{
    for (int i = 0; i < 100; i++)
        ht_tensor_set(ht_set_tensor(eta, "labels"), i, i % 11 ? 0 : certain);
    ht_tensor_fill(ht_set_tensor(eta, "rate"), log(rate));
}

/* Scores of trainings from `n` starts that no outer step has; gives their mean loss. */
static double try_starts(int which, ht_bilevel *training, int64_t from, int64_t n,
                         double *score)
{
    double loss = 0;
    for (int64_t s = 0; s < n && !interrupted(); s++) {
        if (which == REAL) set_control(which, from + s);
        demo_start(theta, UNSEEN + from + s);
        ht_bilevel_result got = ht_bilevel_evaluate(training, (uint64_t)s);
        ht_check(run.ctx);
        loss += got.outer / (double)n;
        score[s] = judge_accuracy(test_judge, got.theta, NULL);
        demo_worked(&run, 1, rows[which].name, s + 1, n, got.outer);
    }
    return loss;
}

static void enter(int which, ht_bilevel *training, double cost)
{
    entrant_begin(&rows[which], STARTS, cost);
    double loss = try_starts(which, training, 0, STARTS, rows[which].score);
    entrant_end(&rows[which], loss);
}

/* Ten images that nobody learned, at that rate of a grid which does best on the test
 * images, from starts of its own: more than a control may know. */
static void control(int which, ht_bilevel *training)
{
    double most = 0, best = 0, score[TRIALS];
    set_control(which, 0);
    for (int k = 0; k < N_RATES && !interrupted(); k++) {
        double rate = 0.02 * pow(1.6, k), mean = 0;
        set_labels(10, rate);
        try_starts(which, training, STARTS, TRIALS, score);
        for (int s = 0; s < TRIALS; s++) mean += score[s] / TRIALS;
        if (mean > most) best = rate;
        most = fmax(mean, most);
    }
    set_labels(10, best);
    if (!interrupted()) enter(which, training, N_RATES * TRIALS);
}

static void show(int k, int64_t step)
{
    ht_tensor_copy(shown[k].images, ht_set_tensor(eta, "images"));
    ht_coordinate_to_value(&coordinate[0], shown[k].images);
    ht_tensor_set(shown_at, k, (double)step);
}

static bool each(const ht_outer_step *step, void *user)
{
    const ht_bilevel_result *got = &step->result;
    const ht_tensor *rate = ht_set_tensor(eta, "rate");
    int64_t done = step->step + 1;
    METRICS_ROW(&steps, (double)step->step, got->outer, got->inner,
                exp(ht_tensor_get(rate, 0)), exp(ht_tensor_get(rate, inner_steps - 1)));
    for (int k = 1; k < N_SHOWN; k++)
        if ((double)done <= (double)outer_steps * pow(0.15, N_SHOWN - 1 - k))
            show(k, done);
    demo_start(theta, done);
    return true;
}

/* From noise along the gradient. */
static void learn(ht_bilevel *training)
{
    const ht_rate falling = {.steps = outer_steps, .final = 0.02};
    ht_tensor *ten = ht_set_tensor(eta, "images");
    ht_he_normal(ten, UNSEEN - 1);
    for (int64_t i = 0; i < ht_tensor_count(ten); i++)
        ht_tensor_set(ten, i, ht_tensor_get(ten, i) - 2);
    set_labels(2, 0.1);
    show(0, 0);
    demo_start(theta, run.done);
    ht_update adam = HT_ADAM(outer_rate);
    adam.rate.schedule = ht_rate_cosine;
    adam.rate.user = &falling;
    ht_update slow = adam;
    slow.rate.value /= 10;
    adam.clip = HT_FIXED(0.1);
    adam.groups = &(ht_update_group){"rate", &slow};
    adam.n_groups = 1;
    demo_minimize(&run, DISTILLED, training,
                  (ht_outer_options){.update = adam,
                                     .steps = outer_steps,
                                     .each = each,
                                     .save_every = run.state ? 100 : 0},
                  STEP_COST);
    if (!interrupted()) enter(DISTILLED, training, STEP_COST * (double)outer_steps);
}

static void write_page(void)
{
    report page;
    if (!demo_page(&page, &run)) return;
    report_curve(&page, &(report_figure){"Loss of a batch of real images", "outer step"},
                 1, (report_series[]){metrics_series(&steps, "loss")});
    report_section(&page, "As they form");
    for (int k = 0; k < N_SHOWN; k++) {
        int64_t at = (int64_t)ht_tensor_get(shown_at, k);
        if (at >= 0)
            snprintf(shown[k].title, sizeof shown[k].title, "After %lld outer steps",
                     (long long)at);
    }
    demo_tens(&page, &run, "forming.png", &images, N_SHOWN, shown);
    demo_page_end(&page, &run, eta, "distilled.safetensors");
}

static bool parse(int argc, char **argv, int *status)
{
    const flag flags[] = {
        {"hidden", FLAG_COUNT, &hidden, "units of the network", 1, 1e5},
        {"inner-steps", FLAG_COUNT, &inner_steps, "T, of a training", 1, 1e6},
        {"outer-steps", FLAG_COUNT, &outer_steps, "of Adam on the images", 1, 1e6},
        {"outer-rate", FLAG_ABOVE, &outer_rate, "of Adam", 0, 100},
        DEMO_FLAGS(&options)};
    return command_parse(
        &(command){
            "distill",
            "Learns ten images, with labels and rates, from which a network that\n"
            "starts anywhere learns to read digits in a few steps.",
            "Pixels begin as noise. Accuracies are of 20 starts never seen before.",
            &options.common, sizeof flags / sizeof *flags, flags},
        argc, argv, status);
}

static void set_up(const ht_images *others)
{
    int64_t pixels = ht_tensor_count(images.pixels) / ht_tensor_count(images.labels);
    theta = ht_set_new(run.ctx);
    demo_mlp_init(theta, pixels, hidden);
    run.eta = eta = ht_set_new(run.ctx);
    ht_set_add(eta, "images", HT_F32, HT_SHAPE(10, pixels));
    ht_set_add(eta, "labels", HT_F32, HT_SHAPE(10, 10));
    ht_set_add(eta, "rate", HT_F32, HT_SHAPE(inner_steps));
    ht_check(run.ctx);
    shown_at = ht_set_add(run.more, "shown_at", HT_F64, HT_SHAPE(N_SHOWN));
    ht_check(run.ctx);
    ht_tensor_fill(shown_at, -1);
    for (int k = 0; k < N_SHOWN; k++)
        shown[k].images =
            ht_set_add(run.more, shown_name[k], HT_F32, HT_SHAPE(10, pixels));
    ht_check(run.ctx);
    batch = demo_set(run.ctx, &images, NULL, BATCH);
    test = demo_set(run.ctx, others, NULL, ht_tensor_count(others->labels));
    test_judge = judge_new(theta, test, demo_mlp);
}

int main(int argc, char **argv)
{
    const char *const files[] = {"report.html", "metrics.csv",           "config.json",
                                 "forming.png", "distilled.safetensors", NULL};
    int status;
    ht_images others; /* for the test */
    if (!parse(argc, argv, &status)) return status;
    demo_begin(&run, files);
    demo_read(run.ctx, options.common.data, BATCH, &images, &others);
    set_up(&others);
    ht_bilevel *training = training_new();
    progress_begin(2 * (N_RATES * TRIALS + STARTS) + STARTS +
                   STEP_COST * (double)outer_steps);
    control(REAL, training);
    if (!interrupted()) control(MEANS, training);
    if (!interrupted()) learn(training);
    if (options.out) write_page();
    demo_print(&run);
    ht_bilevel_free(training);
    ht_images_free(&others);
    return demo_end(&run);
}
