/* SPDX-License-Identifier: MIT */
/* reweight_cifar.c: how much should each example count, where labels are wrong?
 * (Ren, Zeng, Yang & Urtasun, ICML 2018; Shu and others, Meta-Weight-Net, NeurIPS 2019.)
 *
 * The first class has a hundred times as many photographs as the last, and two labels in
 * five are wrong; beside them lie ten clean ones a class. To count rare labels for more
 * counts wrong ones for more. Learned is ln w of each, a part of its own and one of its
 * class (of a clean image another), through T steps of Adam:
 *   L(theta, eta) = sum_i w_i CE(x_i, label_i; theta) / sum_i w_i        over a batch
 *   minimise  F(eta) = 1/V sum_j CE(clean image j; theta_T(eta))
 * Clean images train too, but for a half that F looks at: each outer step another, with
 * a start and batches of its own. The controls train on all of them. An accuracy is the
 * mean of three starts that no step has seen, of ten classes with as many test images.
 *
 * Output of the default run, seed 1 (the last digits depend on the machine's BLAS):
 *                         learns from                        test trainings
 *   plain                 all                             22.83 %        1
 *   inverse frequency     all, by the count of the label  23.63 %        1
 *   clean part alone      the clean part                  24.90 %        1
 *   clean as half         all; clean ones weigh as much   26.23 %        1
 *   a weight a class      all, by the gradient            22.47 %      120
 *   a weight an example   all, by the gradient            28.57 %      120  best
 * Read next: tune_schedule.c, ../common/demo.h. */
#include <math.h>

#include "demo.h"

enum { PLAIN, INVERSE, CLEAN, HALF, CLASS, EXAMPLE, N_ENTRANTS };
enum { CLASSES = 10, BATCH = 64, FOLDS = 2, STARTS = 3, FILTERS = 16 };
#define UNSEEN (INT64_C(1) << 20) /* the first turn that no outer step has */

static int64_t n_clean = 10, inner_steps = 150, outer_steps = 40;
static double imbalance = 100, noise = 0.4, outer_rate = 0.1;
static demo_options options = {.common = {.seed = 1, .data = CIFAR_DATA}};

static entrant rows[] = {
    {"plain", "plain", "all"},
    {"inverse", "inverse frequency", "all, by the count of the label"},
    {"clean", "clean part alone", "the clean part"},
    {"half", "clean as half", "all; clean ones weigh as much"},
    {"class", "a weight a class", "all, by the gradient", .learned = true},
    {"example", "a weight an example", "all, by the gradient", .learned = true}};
static metrics steps = {.name = {"outer_step", "validation_loss", "inner_loss"}};
static demo run = {.name = "reweight_cifar",
                   .title = "A weight for each example",
                   .options = &options,
                   .entrant = rows,
                   .n_entrants = N_ENTRANTS,
                   .learned = EXAMPLE,
                   .control = INVERSE,
                   .steps = &steps};
static doubtful data;
static ht_set *batch, *validation, *test, *theta, *eta;
static ht_tensor *confusion, *scores, *weight_of; /* (n) a weight an example */
static int32_t *part; /* of eta.class: a label, or 10 + it where it is not in doubt */
static judge *test_judge;
/* Rows that batches are drawn from: first .. data.n, without held .. held + n_held. */
static int64_t turn, first, held, n_held;

static ht_var outer_loss(const ht_vars *weights, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    return ht_mean(demo_losses(demo_convnet, weights, images));
}

static ht_var inner_loss(const ht_vars *weights, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    ht_var of_class = ht_gather(ht_get(outer, "class"), ht_get(images, "class"));
    ht_var own = ht_gather(ht_get(outer, "example"), ht_get(images, "row"));
    return ht_weighted_mean(demo_losses(demo_convnet, weights, images),
                            ht_exp(ht_add(of_class, own)));
}

static ht_status fill_batch(uint64_t step, ht_set *to, void *user)
{
    int64_t row[BATCH], n = data.n - first - n_held;
    uint64_t at = step + (uint64_t)(turn * inner_steps);
    ht_batch_order(options.common.seed, at, n, BATCH, row);
    for (int i = 0; i < BATCH; i++) {
        row[i] += first;
        if (row[i] >= held) row[i] += n_held;
    }
    return demo_fill(to, data.set, row, 0);
}

/* The fold that the step's batches leave out. */
static ht_status fill_validation(uint64_t outer_step, ht_set *to, void *user)
{
    return demo_fill(to, data.set, NULL, held);
}

static void begin_turn(int64_t number)
{
    n_held = n_clean * CLASSES / FOLDS;
    turn = number;
    first = 0;
    held = data.n_doubtful + turn % FOLDS * n_held;
    demo_start(theta, turn);
}

static ht_bilevel *training_new(void)
{
    const ht_rate falling = {.steps = inner_steps, .final = 0.1};
    ht_update adam = HT_ADAM(0.003);
    adam.rate.schedule = ht_rate_cosine;
    adam.rate.user = &falling;
    const ht_bilevel_problem problem = {.inner = inner_loss,
                                        .outer = outer_loss,
                                        .theta = theta,
                                        .eta = eta,
                                        .inner_data = batch,
                                        .outer_data = validation,
                                        .inner_batch = fill_batch,
                                        .outer_batch = fill_validation,
                                        .update = adam,
                                        .steps = inner_steps};
    ht_bilevel *training =
        ht_bilevel_new(run.ctx, &problem, &(ht_bilevel_options){.bytes = options.memory});
    ht_check(run.ctx);
    return training;
}

/* Trainings with the weights as they are, nothing held back, from starts of their own. */
static void enter(int which, ht_bilevel *training, double cost)
{
    int64_t n = ht_tensor_count(scores);
    double *score = ht_tensor_data(scores);
    entrant_begin(&rows[which], n, cost);
    for (int64_t s = 0; s < STARTS && !interrupted(); s++) {
        begin_turn(UNSEEN + s);
        n_held = 0;
        first = which == CLEAN ? data.n_doubtful : 0;
        ht_bilevel_result got = demo_evaluate(&run, training, inner_steps);
        judge_accuracy(test_judge, got.theta, score);
        for (int64_t i = 0; i < n; i++) rows[which].score[i] += score[i] / STARTS;
        if (which == EXAMPLE)
            ht_confusion(ht_set_at(test_judge->logits, 0), ht_set_at(test, 1), confusion);
        demo_worked(&run, 1, rows[which].name, s + 1, STARTS, got.inner);
    }
    entrant_end(&rows[which], (double)NAN); /* clean images were trained on */
}

/* By the labels as they are given; or the clean part as heavy as all others. */
static void set_weights(int which)
{
    double count[CLASSES] = {0};
    for (int64_t i = 0; i < data.n; i++) count[data.given[i]]++;
    for (int k = 0; k < 2 * CLASSES; k++) {
        double w = which == INVERSE ? 1 / count[k % CLASSES] : 1;
        if (which == HALF && k >= CLASSES)
            w = (double)data.n_doubtful / (double)(data.n - data.n_doubtful);
        ht_tensor_set(ht_set_tensor(eta, "class"), k, log(w));
    }
    ht_tensor_fill(ht_set_tensor(eta, "example"), 0);
}

static bool each(const ht_outer_step *step, void *user)
{
    if (*(const int *)user == EXAMPLE)
        METRICS_ROW(&steps, (double)step->step, step->result.outer, step->result.inner);
    begin_turn(step->step + 1);
    return true;
}

/* From equal weights along the gradient; of examples alike in class only, if so. */
static void learn(int which, ht_bilevel *training)
{
    const ht_update_group alike = {"example", NULL};
    ht_update adam = HT_ADAM(outer_rate);
    adam.beta2 = HT_FIXED(0.99);
    adam.eps = HT_FIXED(1e-12); /* gradients of a single weight are small */
    adam.groups = which == CLASS ? &alike : NULL;
    adam.n_groups = which == CLASS;
    set_weights(PLAIN);
    begin_turn(which == EXAMPLE ? run.done : 0);
    demo_minimize(&run, which, training,
                  (ht_outer_options){
                      .update = adam, .steps = outer_steps, .each = each, .user = &which},
                  HYPERGRADIENT);
    if (!interrupted()) enter(which, training, (double)(HYPERGRADIENT * outer_steps));
}

static void compute(void)
{
    ht_bilevel *training = training_new();
    progress_begin((double)(N_ENTRANTS * STARTS + 2 * HYPERGRADIENT * outer_steps));
    for (int which = PLAIN; which <= HALF && !interrupted(); which++) {
        set_weights(which);
        enter(which, training, 1);
    }
    if (!interrupted()) learn(CLASS, training);
    if (!interrupted()) learn(EXAMPLE, training);
    ht_bilevel_free(training);
}

static void write_page(void)
{
    report page;
    float *w = ht_tensor_data(weight_of);
    const trust trusted = {&data, w, .logarithm = true};
    for (int64_t i = 0; i < data.n; i++)
        w[i] = (float)exp(ht_tensor_get(ht_set_tensor(eta, "class"), part[i]) +
                          ht_tensor_get(ht_set_tensor(eta, "example"), i));
    if (!demo_page(&page, &run)) return;
    report_curve(&page, &(report_figure){"Loss of the half held back", "outer step"}, 1,
                 (report_series[]){metrics_series(&steps, "validation_loss")});
    if (rows[EXAMPLE].n) trust_page(&page, &trusted, confusion);
    demo_page_end(&page, &run, eta, "weights.safetensors");
}

static bool parse(int argc, char **argv, int *status)
{
    const flag flags[] = {
        {"clean", FLAG_COUNT, &n_clean, "images a class whose labels are sure", 8, 1000},
        {"imbalance", FLAG_NUMBER, &imbalance, "of the first class to the last", 1, 1e4},
        {"noise", FLAG_NUMBER, &noise, "of the other labels that are wrong", 0, 1},
        {"inner-steps", FLAG_COUNT, &inner_steps, "T, of a training", 1, 1e6},
        {"outer-steps", FLAG_COUNT, &outer_steps, "of Adam on the weights", 1, 1e6},
        {"outer-rate", FLAG_ABOVE, &outer_rate, "of the outer Adam", 0, 100},
        DEMO_FLAGS(&options)};
    return command_parse(
        &(command){
            "reweight_cifar",
            "Learns a weight for each photograph of a set that has many of some classes\n"
            "and few of others, and wrong labels, by the gradient through training.",
            "Weights begin equal.", &options.common, sizeof flags / sizeof *flags, flags},
        argc, argv, status);
}

static void set_up(const ht_images *images, const ht_images *others)
{
    data = demo_long_tail(run.ctx, images, n_clean, imbalance, noise);
    int64_t most = data.n - n_clean * CLASSES / FOLDS;
    if (most < BATCH)
        ht_context_fail(
            run.ctx, HT_ERROR_ARGUMENT, NULL,
            "%s: --imbalance %g leaves %lld photographs to train on, a batch "
            "has %d\n  hint: a smaller one, a larger --clean, or the full set",
            options.common.data, imbalance, (long long)most, BATCH);
    ht_check(run.ctx);
    part = ht_tensor_data(ht_set_add(data.set, "class", HT_I32, HT_SHAPE(data.n)));
    for (int64_t i = 0; i < data.n; i++)
        part[i] = data.given[i] + (i < data.n_doubtful ? 0 : CLASSES);
    validation = demo_room(data.set, n_clean * CLASSES / FOLDS);
    batch = demo_room(data.set, BATCH);
    test = demo_set(run.ctx, others, NULL, ht_tensor_count(others->labels));
    theta = ht_set_new(run.ctx);
    demo_convnet_init(theta, FILTERS);
    run.eta = eta = ht_set_new(run.ctx);
    ht_set_add(eta, "class", HT_F32, HT_SHAPE(2 * CLASSES));
    ht_set_add(eta, "example", HT_F32, HT_SHAPE(data.n));
    confusion = ht_tensor_new(run.ctx, HT_I32, HT_SHAPE(CLASSES, CLASSES));
    weight_of = ht_tensor_new(run.ctx, HT_F32, HT_SHAPE(data.n));
    scores = ht_tensor_new(run.ctx, HT_F64, ht_tensor_shape(others->labels));
    ht_check(run.ctx);
    test_judge = judge_new(theta, test, demo_convnet);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"report.html", "metrics.csv", "config.json",
                                        "weights.safetensors", NULL};
    int status;
    ht_images images, others;
    if (!parse(argc, argv, &status)) return status;
    demo_begin(&run, files);
    demo_read_photographs(run.ctx, options.common.data, BATCH, &images, &others);
    set_up(&images, &others);
    compute();
    if (options.out) write_page();
    demo_print(&run);
    ht_images_free(&images);
    ht_images_free(&others);
    return demo_end(&run);
}
