/* SPDX-License-Identifier: MIT */
/* augment_vit.c: how strongly should a small set of photographs be distorted?
 * (Hataya and others, ECCV 2020; MacKay and others, ICLR 2019.)
 *
 * A vision transformer learns a few thousand images by heart. Against that stand
 * augmentation, dropout and weight decay. Here their strengths eta, as a rule taken from
 * papers, are learned while the network is, in windows of K steps:
 *   theta_t+1 = AdamW(theta_t, dL/dtheta(theta_t, eta; distorted batch t))     K times
 *   eta moves by Adam along -d/deta of
 *       F(eta) = 1/V sum_j CE(validation image j, as it is; theta_t+K(eta))
 * and the next window goes on from theta_t+K: that network is judged, not another one.
 * Dropout is Gaussian, x (1 + sqrt(p / (1 - p)) z), whose rate has a derivative
 * (Srivastava and others, JMLR 2014, section 10). Controls have the same batches, steps
 * and learning rates.
 *
 * Output of the default run, seed 1 (the last digits depend on the machine's BLAS):
 *                         learns from                        test trainings
 *   no augmentation       images as they are              33.50 %        1
 *   hand-set policy       strengths as in papers          33.70 %        1
 *   half of it            where learning begins           36.20 %        1
 *   learned strengths     by the gradient                 37.00 %        3  best
 * Read next: tune_schedule.c, ../../nn/ht_augment.h, ../common/demo.h. */
#include <math.h>
#include <stdlib.h>

#include "demo.h"

enum { NONE, HAND, HALF, LEARNED, N_ENTRANTS };
enum { SIDE = 16, PATCH = 4, COLOURS = 3, TOKENS = SIDE * SIDE / PATCH / PATCH };
enum { WIDTH = 64, N_BLOCKS = 2, BATCH = 50, PART = 250 };
static int64_t n_train = 2000, n_validation = 500, n_steps = 800, window = 5, windows;
static double outer_rate = 0.1;
static demo_options options = {.common = {.seed = 1, .data = CIFAR_DATA}};

static entrant rows[] = {
    {"none", "no augmentation", "images as they are"},
    {"hand", "hand-set policy", "strengths as in papers"},
    {"half", "half of it", "where learning begins"},
    {"learned", "learned strengths", "by the gradient", .learned = true}};
static metrics curve[N_ENTRANTS]; /* the learned one's has the strengths too */
static demo run = {.name = "augment_vit",
                   .title = "How strongly to distort what a transformer sees",
                   .options = &options,
                   .entrant = rows,
                   .n_entrants = N_ENTRANTS,
                   .learned = LEARNED,
                   .control = HAND,
                   .steps = &curve[LEARNED]};

/* The outer variables: how large they can be, and are in papers. Shift is in pixels of
 * 16, colours in deviations, cutout in parts of a side. Decays have no upper end. */
enum { MIXUP = 5, DROPOUT = 6, DECAY = 8, N_OUTER = 12 };
static const ht_coordinate coordinate[N_OUTER] = {
    {"shift", HT_SIGMOID, 0, 4},      {"brightness", HT_SIGMOID, 0, 2},
    {"contrast", HT_SIGMOID, 0, 1},   {"colour", HT_SIGMOID, 0, 1},
    {"cutout", HT_SIGMOID, 0, 1},     {"mixup", HT_SIGMOID, 0, 1.5},
    {"dropout1", HT_SIGMOID, 0, 0.6}, {"dropout2", HT_SIGMOID, 0, 0.6},
    {"decay.patch", HT_LOG, 0, 0},    {"decay.block1", HT_LOG, 0, 0},
    {"decay.block2", HT_LOG, 0, 0},   {"decay.out", HT_LOG, 0, 0}};
static const double hand[N_OUTER] = {2,   0.8, 0.4,  0.4,  0.5,  1,
                                     0.1, 0.1, 0.05, 0.05, 0.05, 0.05};
static ht_var (*const distort[MIXUP])(ht_var, ht_var, uint64_t, ht_var, const char *) = {
    ht_random_shift_at, ht_random_brightness_at, ht_random_contrast_at,
    ht_random_colour_at, ht_random_cutout_at};
static const char *const block_name[N_BLOCKS] = {"block1", "block2"};
static ht_images images;
static int64_t *row; /* of images: those to train on and, behind them, for validation */
static ht_set *batch, *part, *test, *theta, *start, *eta;
static judge *test_judge;

/* In deviations around the mean, at half the size. */
static ht_var pixels(ht_var x)
{
    x = ht_reshape(x, HT_SHAPE(-1, COLOURS, 2 * SIDE, 2 * SIDE));
    return ht_mul(ht_sub(ht_avg_pool2d(x, (ht_pool_options){.kernel = {2, 2}}), 0.47), 4);
}

/* outer NULL: without dropout. */
static ht_var network(ht_var x, const ht_vars *weights, const ht_vars *outer)
{
    const ht_transformer_options block = {.attention = {.heads = 4}, .eps = 1e-5};
    x = ht_conv2d_layer(x, weights, "patch", (ht_conv_options){.stride = {PATCH, PATCH}});
    x = ht_transpose(ht_reshape(x, HT_SHAPE(-1, WIDTH, TOKENS)));
    x = ht_add(x, ht_get(weights, "position"));
    for (int i = 0; i < N_BLOCKS; i++) {
        const char *name = coordinate[DROPOUT + i].outer;
        if (outer) {
            ht_var p = ht_get(outer, name), odds = ht_div(p, ht_sub(1, p));
            ht_var z = ht_normal(ht_step(weights), (ht_type){HT_F32, ht_var_shape(x)},
                                 ht_stream(name));
            x = ht_mul(x, ht_add(1, ht_mul(ht_sqrt(odds), z)));
        }
        x = ht_transformer_block(x, weights, block_name[i], &block);
    }
    x = ht_layernorm_layer(x, weights, "norm", block.eps);
    return ht_linear(ht_mean_axes(x, HT_AXES(1), false), weights, "out");
}

static ht_var logits(ht_var x, const ht_vars *weights)
{
    return network(pixels(x), weights, NULL);
}

/* On images as they are: of validation, and the test. */
static ht_var loss(const ht_vars *weights, const ht_vars *outer, const ht_vars *data,
                   void *user)
{
    return ht_mean(demo_losses(logits, weights, data));
}

static ht_var augmented_loss(const ht_vars *weights, const ht_vars *outer,
                             const ht_vars *data, void *user)
{
    ht_var step = ht_step(weights), x = pixels(ht_get(data, "x")),
           label = ht_one_hot(ht_get(data, "label"), 10, HT_F32);
    for (int i = 0; i < MIXUP; i++) {
        const char *name = coordinate[i].outer;
        x = distort[i](x, ht_get(outer, name), ht_stream(name), step, HT_HERE);
    }
    ht_mixup(&x, &label, ht_get(outer, "mixup"), ht_stream("mixup"), step);
    return ht_mean(ht_cross_entropy(network(x, weights, outer), label));
}

/* Of inner steps and outer ones: the set says which. */
static ht_status fill(uint64_t step, ht_set *to, void *user)
{
    bool inner = to == batch;
    int64_t order[PART], n = inner ? BATCH : PART;
    ht_batch_order(options.common.seed, step, inner ? n_train : n_validation, n, order);
    for (int64_t i = 0; i < n; i++) order[i] = row[order[i] + (inner ? 0 : n_train)];
    return ht_images_rows(&images, order, 0, n, ht_set_at(to, 0), ht_set_at(to, 1));
}

/* From the start, in windows. AdamW, a decay each layer. */
static ht_bilevel *training_new(void)
{
    int64_t warmup = 1 + n_steps / 20;
    const ht_rate rates = {warmup, 1 / (double)warmup, n_steps - warmup, .final = 0.01};
    ht_update layer[4], update = HT_ADAMW(0.001, 0);
    update.rate.schedule = ht_rate_cosine, update.rate.user = &rates;
    for (int i = 0; i < 4; i++) {
        layer[i] = update;
        layer[i].decay = HT_OUTER(coordinate[DECAY + i].outer);
    }
    const ht_update_group group[] = {
        {"patch.*", &layer[0]}, {"block1.*", &layer[1]}, {"block2.*", &layer[2]}};
    update = layer[3];
    update.groups = group, update.n_groups = 3;
    for (int i = 0; i < ht_set_count(theta); i++)
        ht_tensor_copy(ht_set_at(theta, i), ht_set_at(start, i));
    const ht_bilevel_problem problem = {augmented_loss, loss, NULL,       theta,  eta,
                                        batch,          part, fill,       fill,   update,
                                        window,         NULL, coordinate, N_OUTER};
    return ht_bilevel_new(run.ctx, &problem,
                          &(ht_bilevel_options){.bytes = options.memory});
}

/* Strengths as a part, not 0, of those in papers; decays as there. */
static void set_strengths(double part_of)
{
    for (int i = 0; i < N_OUTER; i++) {
        double is = part_of * hand[i] / coordinate[i].high;
        ht_tensor_fill(ht_set_at(eta, i), i < DECAY ? log(is / (1 - is)) : log(hand[i]));
    }
}

static bool each(const ht_outer_step *step, void *user)
{
    double cell[2 + N_OUTER] = {(double)(step->step * window), step->result.outer};
    for (int i = 0; i < N_OUTER; i++) {
        double u = ht_tensor_get(ht_set_at(eta, i), 0);
        cell[2 + i] = i < DECAY ? coordinate[i].high / (1 + exp(-u)) : exp(u);
    }
    metrics_row(&curve[LEARNED], 2 + N_OUTER, cell);
    return true;
}

static double learn(ht_bilevel *training)
{
    ht_outer_options outer = {.each = each, .online = true, .steps = windows};
    outer.update = ht_update_of(&ht_adam, outer_rate, 0.9, 0.99, 1e-8, 0);
    outer.save_every = run.state ? 10 : 0;
    return demo_minimize(&run, LEARNED, training, outer, HYPERGRADIENT / (double)windows);
}

/* The strengths as they are; gives the validation loss of the last window. */
static double control(int which, ht_bilevel *training)
{
    double found = 0;
    for (int64_t k = 0; k < windows && !interrupted(); k++) {
        found = ht_bilevel_evaluate(training, (uint64_t)k).outer;
        ht_bilevel_commit(training);
        ht_check(run.ctx);
        METRICS_ROW(&curve[which], (double)(k * window), found);
        demo_worked(&run, 1 / (double)windows, rows[which].name, k + 1, windows, found);
    }
    return found;
}

static void enter(int which, double part_of)
{
    bool learned = which == LEARNED;
    if (interrupted()) return;
    set_strengths(part_of);
    ht_bilevel *training = training_new();
    ht_check(run.ctx);
    double found = learned ? learn(training) : control(which, training);
    ht_check(run.ctx);
    entrant_judge_theta(&rows[which], test_judge, theta, found,
                        learned ? HYPERGRADIENT : 1);
    ht_bilevel_free(training);
}

static void write_page(void)
{
    static const char *const title[] = {"Augmentation", "Dropout before each block",
                                        "Weight decay of each layer"};
    static const int first[] = {0, DROPOUT, DECAY, N_OUTER};
    report page;
    report_series losses[N_ENTRANTS], eta_of[N_OUTER];
    if (!demo_page(&page, &run)) return;
    for (int k = 0; k < N_ENTRANTS; k++) {
        losses[k] = metrics_series(&curve[k], "validation_loss");
        losses[k].name = rows[k].name, losses[k].control = k != LEARNED;
    }
    report_curve(&page, &(report_figure){"Validation loss", "step"}, N_ENTRANTS, losses);
    for (int i = 0; i < N_OUTER; i++)
        eta_of[i] = metrics_series(&curve[LEARNED], coordinate[i].outer);
    for (int g = 0; g < 3; g++)
        report_curve(&page, &(report_figure){title[g], "step", .log_y = g == 2},
                     first[g + 1] - first[g], eta_of + first[g]);
    demo_page_end(&page, &run, eta, "strengths.safetensors");
}

static bool parse(int argc, char **argv, int *status)
{
    const flag flags[] = {
        {"train", FLAG_COUNT, &n_train, "images to train on", BATCH, 1e6},
        {"validation", FLAG_COUNT, &n_validation, "V, to learn strengths", PART, 1e6},
        {"steps", FLAG_COUNT, &n_steps, "of every training", 40, 1e7},
        {"window", FLAG_COUNT, &window, "K, steps from one change to the next", 1, 40},
        {"outer-rate", FLAG_ABOVE, &outer_rate, "of Adam on the strengths", 0, 100},
        DEMO_FLAGS(&options)};
    return command_parse(
        &(command){
            "augment_vit",
            "Learns strengths of augmentation, dropout and weight decay of a small\n"
            "vision transformer, while it is trained on CIFAR-10.",
            "The full set has room for --train 45000 --validation 5000.", &options.common,
            sizeof flags / sizeof *flags, flags},
        argc, argv, status);
}

static void set_up(const ht_images *others)
{
    row = demo_rows(run.ctx, &images, n_train + n_validation);
    batch = demo_set(run.ctx, &images, row, BATCH);
    part = demo_set(run.ctx, &images, row, PART);
    test = demo_set(run.ctx, others, NULL, ht_tensor_count(others->labels));
    theta = ht_set_new(run.ctx);
    ht_conv2d_init(theta, "patch", HT_F32, HT_SHAPE(WIDTH, COLOURS, PATCH, PATCH));
    ht_tensor *position = ht_set_add(theta, "position", HT_F32, HT_SHAPE(TOKENS, WIDTH));
    ht_tensor_normal(position, ht_stream("position"), 0, 0.02);
    for (int i = 0; i < N_BLOCKS; i++)
        ht_transformer_block_init(theta, block_name[i], HT_F32, WIDTH, 2 * WIDTH);
    ht_norm_init(theta, "norm", HT_F32, WIDTH);
    ht_linear_init(theta, "out", HT_F32, WIDTH, 10);
    start = ht_set_clone(theta, 0);
    run.eta = eta = ht_set_new(run.ctx);
    for (int i = 0; i < N_OUTER; i++)
        ht_set_add(eta, coordinate[i].outer, HT_F32, HT_SCALAR);
    for (int k = 0; k < N_ENTRANTS; k++)
        curve[k].name[0] = "step", curve[k].name[1] = "validation_loss";
    for (int i = 0; i < N_OUTER; i++) curve[LEARNED].name[2 + i] = coordinate[i].outer;
    ht_check(run.ctx);
    test_judge = judge_new(theta, test, logits);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"report.html", "metrics.csv", "config.json",
                                        "strengths.safetensors", NULL};
    int status;
    ht_images others;
    if (!parse(argc, argv, &status)) return status;
    demo_begin(&run, files);
    windows = n_steps / window;
    demo_read_photographs(run.ctx, options.common.data, n_train + n_validation, &images,
                          &others);
    set_up(&others);
    ht_images_free(&others);
    progress_begin(3 + HYPERGRADIENT);
    enter(NONE, 1e-12);
    enter(HAND, 1);
    enter(HALF, 0.5);
    enter(LEARNED, 0.5);
    if (options.out) write_page();
    demo_print(&run);
    return demo_end(&run);
}
