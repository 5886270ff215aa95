/* SPDX-License-Identifier: MIT */
/* influence.c: which train images made the model answer so? Proved by training again.
 * (Ilyas & Engstrom et al. 2025, arXiv 2503.13751; Park et al. 2023, arXiv 2303.14186.)
 * Each of n train images has a weight w_i in T steps of mini-batches, and of each of m
 * test images the margin of its class y is asked about:
 *
 *   L_t(theta, w) = mean over the batch of w_i CE_i(theta)           w_i = 1
 *   F_k(w) = z_y - log sum over c != y of exp z_c                    z at theta_T(w)
 *   F_k(w without S) - F_k(w) = - sum over i in S of dF_k/dw_i       to first order
 *
 * One hypergradient through all T steps gives dF_k/dw_i for all n and m. Whether it can
 * be believed is asked first, without a gradient: S^ of 100 margins, as the weights of a
 * random 5 % go 1, 1/2, 0. Below 0.95 nothing is foretold, unless by --anyway. What is
 * foretold is then held against trainings that leave images out: those that helped and
 * hurt each query most; single ones; and random 1, 5, 20 and 50 %, where LDS is the rank
 * correlation of foretold and found. Truth is the same start, batches and order.
 *
 * Output of the default run, seed 1, without its queries (39 s of a processor; the last
 * digits depend on the machine's BLAS; the first row has its interval below it):
 *   S^ of 100 margins as 5 % of the weights fall to 0: 1.000 (0.95 wanted)
 *                              single    1 %     5 %    20 %    50 %
 *     through the training      1.000  1.000   0.998   0.990   0.960
 *     gradient product          0.369  0.464   0.458   0.437   0.554
 *     TracIn                    0.401  0.471   0.470   0.442   0.569
 *     influence function, 1     0.539  0.653   0.658   0.641   0.718
 *     influence function, 0.1   0.939  0.938   0.950   0.939   0.915
 *     influence function, 0.01  0.890  0.851   0.862   0.822   0.786
 * Read next: influence_forecast.c, influence_page.c, ../../bilevel/ht_influence.h. */
#include "influence.h"

#include <math.h>

#define ENOUGH 0.95
#define SMALL  1e-3
enum { MOST_BATCH = 4096, JUDGED = 100, CLASSES = 10 };
const double parts[PARTS] = {1, 5, 20, 50};
const char *const models[] = {"softmax", "mlp", "relu", NULL};
static study s = {.common = {.seed = 1, .data = MNIST_DATA},
                  .budget = 120,
                  .rate = 0.01,
                  .momentum = -1,
                  .n_train = 5000,
                  .epochs = 20,
                  .most_queries = 10,
                  .most_subsets = 50,
                  .memory = 400000000,
                  .by = {{"exact", "through the training"},
                         {"product", "gradient product", true},
                         {"tracin", "TracIn", true},
                         {"implicit_one", "influence function, 1", true, 1},
                         {"implicit_tenth", "influence function, 0.1", true, 0.1},
                         {"implicit_hundredth", "influence function, 0.01", true, 0.01}}};

bool trusted(const study *of)
{
    return of->smooth.outer >= ENOUGH;
}

/* The problem. */

static ht_var network(ht_var x, const ht_vars *params)
{
    static const char *const hidden[] = {"hidden", "narrow"};
    if (s.model == SOFTMAX) return demo_linear(x, params);
    for (int k = 0; k < 2; k++) {
        x = ht_linear(x, params, hidden[k]);
        x = s.model == RELU ? ht_relu(x) : ht_gelu(x);
    }
    return ht_linear(x, params, "out");
}

static void network_init(int64_t pixels)
{
    ht_set *theta = s.theta = ht_set_new(s.ctx);
    if (s.model == SOFTMAX) {
        demo_linear_init(theta, pixels);
    } else {
        ht_linear_init(theta, "hidden", HT_F32, pixels, 128);
        ht_linear_init(theta, "narrow", HT_F32, 128, 64);
        ht_linear_init(theta, "out", HT_F32, 64, CLASSES);
    }
    ht_check(s.ctx);
}

static ht_var inner_loss(const ht_vars *params, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    ht_var w = ht_gather(ht_get(outer, "w"), ht_get(images, "row"));
    return ht_mean(ht_mul(w, demo_losses(network, params, images)));
}

/* (m), or of one 0-d. What is masked is no summand: exp of it is 0. */
static ht_var margins(const ht_vars *params, const ht_vars *outer, const ht_vars *images,
                      void *user)
{
    ht_var z = network(ht_get(images, "x"), params);
    ht_var is = ht_one_hot(ht_get(images, "label"), CLASSES, HT_F32);
    ht_var others = ht_logsumexp_axes(ht_sub(z, ht_mul(is, 1e9)), HT_AXES(1), false);
    z = ht_sub(ht_sum_axes(ht_mul(z, is), HT_AXES(1), false), others);
    return ht_var_shape(z).dim[0] == 1 ? ht_sum(z) : z;
}

/* From several threads at once: nothing here is shared. */
static ht_status batch(uint64_t step, ht_set *room, void *user)
{
    int64_t rows[MOST_BATCH];
    ht_batch_order(s.common.seed, step, s.n_train, s.n_batch, rows);
    return demo_fill(room, s.train, rows, 0);
}

ht_set *test_images(int64_t n)
{
    return demo_set(s.ctx, &s.others, s.asked, n);
}

ht_bilevel_problem training_of(ht_set *asked)
{
    static ht_set *room;
    if (!room) room = demo_room(s.train, s.n_batch);
    return (ht_bilevel_problem){.inner = inner_loss,
                                .outer = margins,
                                .theta = s.theta,
                                .eta = s.weights,
                                .inner_data = room,
                                .inner_batch = batch,
                                .outer_data = asked,
                                .update = s.momentum > 0 ? HT_MOMENTUM(s.rate, s.momentum)
                                                         : HT_SGD(s.rate),
                                .steps = s.steps};
}

/* Whether to believe it. */

static judge *test_judge;

static double test_accuracy(const ht_set *trained)
{
    ht_set *all = demo_set(s.ctx, &s.others, NULL, ht_tensor_count(s.others.labels));
    if (!test_judge) test_judge = judge_new(trained, all, network);
    return judge_accuracy(test_judge, trained, NULL);
}

/* What is not enough is asked again at a small change, which tells why. */
static void ask(void)
{
    ht_bilevel_problem problem = training_of(test_images(JUDGED));
    ht_bilevel *training =
        ht_bilevel_new(s.ctx, &problem, &(ht_bilevel_options){.method = HT_ONE_STEP});
    ht_set *v = ht_set_clone(s.weights, 0);
    ht_check(s.ctx);
    progress(0, "asking whether to believe it", "");
    stopwatch began = stopwatch_now();
    ht_bilevel_result got = ht_bilevel_evaluate(training, 0);
    s.training_seconds = stopwatch_since(began).all_cpu;
    ht_check(s.ctx);
    s.loss = got.inner;
    s.accuracy = test_accuracy(got.theta);
    for (int64_t i = 0; i < s.n_train; i++) {
        bool falls = ht_random_uniform(s.common.seed, 1, (uint64_t)i) < 0.05;
        ht_tensor_set(ht_set_at(v, 0), i, falls ? -1 : 0);
    }
    s.smooth = ht_bilevel_smoothness(training, v, 0.5);
    s.trainings = 4;
    if (!trusted(&s)) s.small = ht_bilevel_smoothness(training, v, SMALL);
    ht_check(s.ctx);
    ht_set_free(v);
    ht_bilevel_free(training);
}

static void set_up(void)
{
    demo_read(s.ctx, s.common.data, s.n_train, &s.images, &s.others);
    s.row = demo_rows(s.ctx, &s.images, s.n_train);
    s.asked = demo_rows(s.ctx, &s.others, JUDGED);
    s.train = demo_set(s.ctx, &s.images, s.row, s.n_train);
    ht_tensor *row = ht_set_add(s.train, "row", HT_I32, HT_SHAPE(s.n_train));
    s.weights = ht_set_new(s.ctx);
    ht_tensor *w = ht_set_add(s.weights, "w", HT_F32, HT_SHAPE(s.n_train));
    ht_check(s.ctx);
    ht_tensor_fill(w, 1);
    for (int64_t i = 0; i < s.n_train; i++) ht_tensor_set(row, i, (double)i);
    network_init(ht_tensor_count(s.images.pixels) / ht_tensor_count(s.images.labels));
    s.steps = s.epochs * (s.n_train / s.n_batch);
    for (foreteller *by = s.by; by < s.by + FORETELLERS; by++) {
        const ht_lds none = {(double)NAN, (double)NAN, (double)NAN, (double)NAN};
        by->loo = none;
        for (int part = 0; part < PARTS; part++) by->lds[part] = none;
    }
}

static bool parse(int argc, char **argv, int *status)
{
    const flag flags[] = {
        {"model", FLAG_CHOICE, &s.model, "softmax, mlp (gelu) or relu",
         .choices = models},
        {"train", FLAG_COUNT, &s.n_train, "images to learn from", 100, 1e8},
        {"batch", FLAG_COUNT, &s.n_batch, "images of a step (64; mlp 256)", 1,
         MOST_BATCH},
        {"epochs", FLAG_COUNT, &s.epochs, "of the training", 1, 1e6},
        {"rate", FLAG_ABOVE, &s.rate, "of its descent", 0, 1e38},
        {"momentum", FLAG_NUMBER, &s.momentum, "of it (0; mlp and relu 0.9)", 0, 1},
        {"budget", FLAG_ABOVE, &s.budget, "of the processor, in seconds", 0, 1e9},
        {"queries", FLAG_COUNT, &s.most_queries, "at most, test images", 1, JUDGED},
        {"subsets", FLAG_COUNT, &s.most_subsets, "at most, of each size", FEWEST, 1e6},
        {"anyway", FLAG_SWITCH, &s.anyway, "go on where S^ says: do not trust it"},
        {"memory", FLAG_BYTES, &s.memory, "of the unroll, like 50M; 0: no limit"},
        {"out", FLAG_FOLDER, &s.out, "write report.html and the scores"}};
    bool good = command_parse(
        &(command){"influence",
                   "Says which train images made a model answer as it does, by a\n"
                   "hypergradient through its whole training, and proves it by training\n"
                   "without them; says first whether to believe it.",
                   "If S^ says that gradients foretell nothing, no query is asked.",
                   &s.common, sizeof flags / sizeof *flags, flags},
        argc, argv, status);
    if (!s.n_batch) s.n_batch = s.model == MLP ? 256 : 64;
    if (s.momentum < 0) s.momentum = s.model == SOFTMAX ? 0 : 0.9;
    if (!good || s.n_batch <= s.n_train) return good;
    *status = 2;
    return command_refuse("influence", "batch", "at most --train", "more",
                          "a smaller one, or more images to --train on");
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"report.html", "config.json",
                                        "scores.safetensors", NULL};
    int status = 2;
    if (!parse(argc, argv, &status)) return status;
    s.ctx = ht_context_new(
        &(ht_context_options){.seed = s.common.seed, .threads = s.common.threads});
    HT_ASSERT(s.ctx, "no memory for a context");
    if (s.out) output_folder(s.ctx, "influence", s.out, files);
    output_check(s.ctx, "json", s.common.json);
    ht_check(s.ctx);
    s.began = stopwatch_now();
    interrupt_watch();
    progress_begin(4 + PARTS);
    set_up();
    ask();
    s.refused = !trusted(&s) && !s.anyway;
    if (!s.refused && !interrupted()) {
        plan(&s);
        forecast(&s);
    }
    progress_end();
    say(&s);
    if (s.out) write_page(&s);
    if (s.common.json) write_json(&s);
    ht_check(s.ctx);
    return !command_printed("influence") ? 1 : interrupted() ? 130 : 0;
}
