/* SPDX-License-Identifier: MIT */
/* poison.c: how far do a few changed images lower what is learned, and who finds them?
 *
 * (Engstrom et al. 2025, arXiv 2503.13751.)
 *
 * Of N training images P may be changed by at most eps a pixel; their labels stay.
 * Training is T steps of descent with momentum on mini-batches, in an order o:
 *
 *   L_t(theta, d) = mean over the batch of CE(x_i + d_i; y_i)       d_i = 0 but for P
 *   maximise  F(d) = 1/V sum_j CE(validation image j; theta_T(d, o))
 *   subject to  |d| <= eps,  0 <= x + d <= 1
 *
 * by the gradient through all T steps: Adam on d, put back into the box after each step.
 * An outer step has an order of its own (and, by --model mlp, a start). What was learned
 * is judged in orders that no step has had, on test images that the attack has not seen.
 * Beside it, by the same judge: nothing changed; changes of the same size at random, each
 * pixel at an end of its box, drawn anew for each order; changes that a trained model
 * finds hardest, which is what can be had without the way back through training; wrong
 * labels for the same images, which the box does not allow; and the same attack by the
 * gradient through the last epoch alone.
 *
 * Output of the default run, seed 1 (19 s of a processor; the last digits depend on the
 * machine's BLAS):
 *
 *                         learns from                        test trainings
 *   nothing changed       all images as they are          90.22 %        0
 *   random changes        pixels at ends of their box     90.22 %        0
 *   hardest changes       ascent on their own loss        89.21 %        1
 *   wrong labels          no box allows them              89.30 %        0
 *   the last epoch alone  the way back through it         87.94 %       80
 *   learned changes       the way back through training   86.37 %      180  lowest
 *
 * Of the 125 changed images influence finds 62 at once and 97 in five rounds; without
 * those, training ends at 90.06 %.
 *
 * Read next: poison_controls.c, poison_find.c, poison_page.c, ../common/demo.h. */
#include "poison.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_BATCH = 4096, SOFTMAX = 0, MLP };

static entrant rows[N_ENTRANTS] = {
    {"clean", "nothing changed", "all images as they are"},
    {"random", "random changes", "pixels at ends of their box"},
    {"ascent", "hardest changes", "ascent on their own loss"},
    {"labels", "wrong labels", "no box allows them"},
    {"epoch", "the last epoch alone", "the way back through it"},
    {"learned", "learned changes", "the way back through training", .learned = true,
     .as = "the attack"}};
static metrics steps = {
    .name = {"outer_step", "validation_loss", "inner_loss", "test_accuracy"}};
static poisoning p = {
    .options = {.common = {.seed = 1, .data = MNIST_DATA}},
    .n_train = 5000,
    .n_validation = 2000,
    .n_clean = 3000,
    .n_batch = 100,
    .inner_steps = 300,
    .outer_steps = 60,
    .orders = 10,
    .hidden = 64,
    .part = 2.5,
    .eps = 0.5,
    .outer_rate = 0.1,
    .by = {{"influence", "influence", "hypergradient of the clean loss"},
           {"loss", "train loss", "at the end of training"},
           {"gradient", "gradient norm", "at the end of training"},
           {"distance", "distance", "to the mean image of its class"}}};

ht_var network(ht_var x, const ht_vars *theta)
{
    if (p.model == SOFTMAX) return demo_linear(x, theta);
    return ht_linear(ht_gelu(ht_linear(x, theta, "hidden")), theta, "out");
}

static ht_var inner_loss(const ht_vars *theta, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    ht_var change = ht_gather(ht_get(outer, "change"), ht_get(images, "row"));
    ht_var x = ht_add(ht_get(images, "x"), ht_mul(ht_get(images, "altered"), change));
    return ht_mean(ht_cross_entropy(network(x, theta), ht_get(images, "label")));
}

/* What is minimised. */
static ht_var outer_loss(const ht_vars *theta, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    return ht_neg(ht_mean(demo_losses(network, theta, images)));
}

/* Of the set that is user; from several threads at once: nothing here is changed. */
static ht_status batch(uint64_t step, ht_set *room, void *user)
{
    int64_t row[MOST_BATCH];
    uint64_t seed = ht_random_bits(p.options.common.seed, UNSEEN, (uint64_t)p.order);
    ht_batch_order(seed, step, p.n_train, p.n_batch, row);
    return demo_fill(room, user, row, 0);
}

void begin_order(poisoning *of, int64_t number)
{
    of->order = number;
    if (of->model == MLP) demo_start(of->theta, number);
}

ht_bilevel_problem training_of(poisoning *of)
{
    static ht_set *room;
    if (!room) room = demo_room(of->train, of->n_batch);
    return (ht_bilevel_problem){.inner = inner_loss,
                                .outer = outer_loss,
                                .theta = of->theta,
                                .eta = of->eta,
                                .inner_data = room,
                                .inner_batch = batch,
                                .outer_data = of->validation,
                                .update = HT_MOMENTUM(of->rate, 0.9),
                                .steps = of->inner_steps,
                                .user = of->train};
}

void project(ht_set *eta, void *user)
{
    const float *x = ht_tensor_data(ht_set_tensor(p.train, "x"));
    float *d = ht_tensor_data(ht_set_at(eta, 0)), most = (float)p.eps;
    for (int64_t i = 0; i < ht_tensor_count(ht_set_at(eta, 0)); i++)
        d[i] = fminf(fmaxf(x[i] + fminf(fmaxf(d[i], -most), most), 0), 1) - x[i];
}

static bool each(const ht_outer_step *step, void *user)
{
    const ht_bilevel_result *got = &step->result;
    if (!user)
        METRICS_ROW(&steps, (double)step->step, -got->outer, got->inner,
                    judge_accuracy(p.judge, got->theta, NULL));
    begin_order(&p, step->step + 1);
    return true;
}

static double truncated_cost(int64_t last)
{
    return 1 + (HYPERGRADIENT - 1) * (double)last / (double)p.inner_steps;
}

/* Back through the last `truncate` steps; 0: through all. */
static void learn(int which, int64_t truncate)
{
    const ht_bilevel_problem problem = training_of(&p);
    const ht_bilevel_options through = {.bytes = p.options.memory,
                                        .method = truncate ? HT_TRUNCATED : HT_AUTO,
                                        .truncate = truncate};
    const ht_rate falling = {.steps = p.outer_steps, .final = 0.1};
    double cost = truncate ? truncated_cost(truncate) : HYPERGRADIENT;
    ht_bilevel *training = ht_bilevel_new(p.run.ctx, &problem, &through);
    ht_check(p.run.ctx);
    ht_update adam = HT_ADAM(p.outer_rate);
    adam.eps = HT_FIXED(1e-12); /* gradients by a pixel are small */
    adam.rate.schedule = ht_rate_cosine;
    adam.rate.user = &falling;
    ht_tensor_fill(ht_set_at(p.eta, 0), 0);
    begin_order(&p, which == LEARNED ? p.run.done : 0);
    p.run.n_hypergradients = 0;
    p.run.hypergradients = (stopwatch){0};
    demo_minimize(&p.run, which, training,
                  (ht_outer_options){.update = adam,
                                     .steps = p.outer_steps,
                                     .project = project,
                                     .each = each,
                                     .user = which == LEARNED ? NULL : &p},
                  cost);
    if (!interrupted()) enter(&p, which, training, cost * (double)p.outer_steps);
    ht_bilevel_free(training);
}

static void compute(void)
{
    int64_t epoch = p.n_train / p.n_batch;
    epoch = epoch < p.inner_steps ? epoch : p.inner_steps;
    const ht_bilevel_problem problem = training_of(&p);
    ht_bilevel *training =
        ht_bilevel_new(p.run.ctx, &problem, &(ht_bilevel_options){.method = HT_ONE_STEP});
    ht_check(p.run.ctx);
    progress_begin((double)(N_ENTRANTS * p.orders + 1) + FIND_COST(p.orders) +
                   (double)p.outer_steps * (HYPERGRADIENT + truncated_cost(epoch)));
    for (int which = 0; which < EPOCH && !interrupted(); which++)
        enter(&p, which, training, which == ASCENT);
    ht_bilevel_free(training);
    if (!interrupted()) learn(EPOCH, epoch);
    if (!interrupted()) learn(LEARNED, 0);
    if (!interrupted()) find(&p);
}

static bool refuse(int *status, const char *name, const char *expected, const char *hint)
{
    *status = 2;
    return command_refuse("poison", name, expected, "more", hint);
}

static bool parse(int argc, char **argv, int *status)
{
    static const char *const models[] = {"softmax", "mlp", NULL};
    const flag flags[] = {
        {"model", FLAG_CHOICE, &p.model, "softmax regression, or mlp (gelu)",
         .choices = models},
        {"train", FLAG_COUNT, &p.n_train, "N, images to train on", 100, 1e8},
        {"part", FLAG_ABOVE, &p.part, "of them that may be changed, in percent", 0, 100},
        {"eps", FLAG_ABOVE, &p.eps, "most change of a pixel in 0 .. 1", 0, 1},
        {"validation", FLAG_COUNT, &p.n_validation, "V, of the attack", 1, 1e8},
        {"clean", FLAG_COUNT, &p.n_clean, "images of who looks for it", 1, 1e8},
        {"hidden", FLAG_COUNT, &p.hidden, "units of the mlp", 1, 1e5},
        {"batch", FLAG_COUNT, &p.n_batch, "images of a step", 1, MOST_BATCH},
        {"inner-steps", FLAG_COUNT, &p.inner_steps, "T, of a training", 1, 1e6},
        {"rate", FLAG_ABOVE, &p.rate, "of the inner descent (0.1; mlp 0.02)", 0, 100},
        {"outer-steps", FLAG_COUNT, &p.outer_steps, "of Adam on the changes", 1, 1e6},
        {"outer-rate", FLAG_ABOVE, &p.outer_rate, "of Adam", 0, 100},
        {"orders", FLAG_COUNT, &p.orders, "trainings that judge each row", 2, 1e4},
        DEMO_FLAGS(&p.options)};
    bool good = command_parse(
        &(command){
            "poison",
            "Changes a few training images within a box so that a classifier of\n"
            "digits learned from all of them reads worse, by the gradient through\n"
            "its training; then asks influence which images they were.",
            "--eps 1 allows all that a pixel can be. Orders that judge are of\n"
            "trainings that the attack has not made.",
            &p.options.common, sizeof flags / sizeof *flags, flags},
        argc, argv, status);
    if (!(p.rate > 0)) p.rate = p.model == MLP ? 0.02 : 0.1;
    p.n_changed = (int64_t)floor(p.part / 100 * (double)p.n_train + 1e-9);
    if (good && p.n_batch > p.n_train)
        return refuse(status, "batch", "at most --train", "a smaller one");
    if (good && (p.n_changed < 1 || p.n_changed == p.n_train))
        return refuse(status, "part", "of --train an image at least, and not all",
                      "2.5, the default, of 100 images or more");
    return good;
}

static void set_up(const ht_images *images, const ht_images *others)
{
    int64_t n = p.n_train, v = p.n_validation, m = p.n_clean;
    int64_t *row = demo_rows(p.run.ctx, images, n + v + m);
    p.train = demo_set(p.run.ctx, images, row, n);
    p.validation = demo_set(p.run.ctx, images, row + n, v);
    p.clean = demo_set(p.run.ctx, images, row + n + v, m);
    ht_set *test = demo_set(p.run.ctx, others, NULL, ht_tensor_count(others->labels));
    free(row);
    int64_t pixels = ht_tensor_shape(ht_set_tensor(test, "x")).dim[1];
    ht_tensor *place = ht_set_add(p.train, "row", HT_I32, HT_SHAPE(n)),
              *altered = ht_set_add(p.train, "altered", HT_F32, HT_SHAPE(n, 1));
    p.run.eta = p.eta = ht_set_new(p.run.ctx);
    ht_set_add(p.eta, "change", HT_F32, HT_SHAPE(p.n_changed, pixels));
    p.theta = ht_set_new(p.run.ctx);
    if (p.model == MLP)
        demo_mlp_init(p.theta, pixels, p.hidden);
    else
        demo_linear_init(p.theta, pixels);
    ht_check(p.run.ctx);
    for (int64_t i = 0; i < n; i++) {
        ht_tensor_set(place, i, i < p.n_changed ? (double)i : 0);
        ht_tensor_set(altered, i, i < p.n_changed);
    }
    p.random = ht_tensor_new(p.run.ctx, HT_F32, HT_SHAPE(p.n_changed, pixels));
    ht_check(p.run.ctx);
    p.judge = judge_new(p.theta, test, network);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"report.html", "metrics.csv", "config.json",
                                        "changes.safetensors", NULL};
    int status;
    ht_images images, others;
    if (!parse(argc, argv, &status)) return status;
    p.run = (demo){.name = "poison",
                   .title = "A few changed images against all the others",
                   .options = &p.options,
                   .entrant = rows,
                   .n_entrants = N_ENTRANTS,
                   .learned = LEARNED,
                   .control = RANDOM,
                   .lower = true,
                   .note = "means over orders that no outer step has had",
                   .steps = &steps};
    demo_begin(&p.run, files);
    demo_read(p.run.ctx, p.options.common.data, p.n_train + p.n_validation + p.n_clean,
              &images, &others);
    set_up(&images, &others);
    compute();
    count(&p);
    if (p.options.out) write_page(&p);
    demo_print(&p.run);
    say(&p);
    ht_images_free(&images);
    ht_images_free(&others);
    return demo_end(&p.run);
}
