/* SPDX-License-Identifier: MIT */
/* curate.c: which images of a doubtful pool are worth training on?
 *
 * The target is a skewed task: nine images in ten are a 3, a 5 or an 8, and V of them are
 * there to say so. The pool is N images of four kinds, a quarter each: such digits
 * rightly labelled; the other digits, which the target has few of; 3, 5 and 8 taken for
 * each other, always in the same way; and photographs under the label of some digit. K =
 * N/4 of them are to be kept, and a network trained on these alone.
 *
 * Every image of the pool has a weight w_i in T steps of descent with momentum, on
 * batches of the pool,
 *
 *   L(theta, w) = 1/B sum_i in batch N/K w_i CE(x_i, y_i; theta)
 *   minimise  F(w) = 1/V sum_j CE(target image j; theta_T(w))
 *   subject to  0 <= w_i <= 1,  sum_i w_i <= K
 *
 * and dF/dw, through all T steps, says of each whether training more on it makes the
 * target worse (as in Engstrom et al. 2025, arXiv 2503.13751, who flip counts by its
 * sign; here Adam moves weights, all K/N at first). Each of its steps has a start and
 * batches of its own. In the end the K largest weights are kept, and count as 1. The rate
 * is a fifth of that of the trainings in the table: F(w) has V images to go by, and the
 * longer the training, the fewer of them still have a loss to learn from.
 *
 * What is chosen is judged by trainings alike in all rows: as many steps, batches of the
 * same size, from the same starts, which choosing has not seen. The controls keep K too:
 * at random; at random by label, in the target's proportions; those a network trained on
 * all of the pool has the lowest loss on; those nearest to a target image of their label;
 * those whose gradient at that network goes along the target's. And what a sceptic asks:
 * all of the pool; the V images alone; these and the pool; these and the nearest. The
 * oracle knows which labels are right, and keeps them in the target's proportions.
 *
 * Output of the default run, seed 1 (the last digits depend on the machine's BLAS):
 *
 *                         learns from                        test trainings
 *   all of the pool       N images                        47.36 %        5
 *   random                K of them at random             44.77 %        5
 *   classes as the target K at random, by their labels    44.41 %        5
 *   lowest loss           K, by a model of all            41.83 %        6
 *   nearest               K, in pixels, by their labels   78.77 %        5
 *   gradient product      K, by a model of all            55.48 %        6
 *   target only           V images                        78.71 %        5
 *   pool and target       N + V images                    58.37 %        5
 *   nearest and target    K + V images                    81.25 %        5
 *   chosen                K by the gradient               83.09 %      245  best
 *   chosen and target     K + V images                    82.97 %      245
 *   oracle                K right ones; it knows all      88.02 %        5
 *
 * Read next: curate_pool.c, curate_choose.c, ../common/demo.h. */
#include <math.h>
#include <stdlib.h>

#include "curate.h"

/* A hypergradient in trainings of the table: of the pool, batches are KINDS as large. */
#define STEP_COST (HYPERGRADIENT * (double)(inner_steps * KINDS) / (double)final_steps)

static int64_t n_pool = 2400, n_target = 150, n_batch = 64, inner_steps = 100,
               outer_steps = 40, final_steps = 200, n_starts = 5, hidden = 32;
static double skew = 0.9, rate = 0.01, final_rate = 0.05, outer_rate = 0.01;
static const char *photograph_folder = CIFAR_DATA;
static demo_options options = {.common = {.seed = 1, .data = MNIST_DATA}};

static entrant rows[N_ENTRANTS] = {
    {"pool", "all of the pool", "N images"},
    {"random", "random", "K of them at random"},
    {"skew", "classes as the target", "K at random, by their labels"},
    {"loss", "lowest loss", "K, by a model of all"},
    {"near", "nearest", "K, in pixels, by their labels"},
    {"product", "gradient product", "K, by a model of all"},
    {"target", "target only", "V images"},
    {"pool_target", "pool and target", "N + V images"},
    {"near_target", "nearest and target", "K + V images"},
    {"learned", "chosen", "K by the gradient", .learned = true, .as = "what was chosen",
     .doing = "choosing"},
    {"learned_target", "chosen and target", "K + V images", .learned = true},
    {"oracle", "oracle", "K right ones; it knows all", .knows_all = true,
     .as = "the oracle"}};
static metrics steps = {.name = {"outer_step", "target_loss", "inner_loss",
                                 "weight_relevant", "weight_other", "weight_wrong",
                                 "weight_photographs"}};
static demo_number numbers[N_NUMBERS];
static char title[96];
static demo run = {.name = "curate",
                   .title = title,
                   .options = &options,
                   .entrant = rows,
                   .n_entrants = N_ENTRANTS,
                   .learned = LEARNED,
                   .control = POOL,
                   .note = "of test images as skewed as the target",
                   .steps = &steps,
                   .numbers = numbers};
static pool data;
static trainer judged;
static choice chosen[N_ENTRANTS]; /* row NULL: not yet */
static ht_set *theta, *eta;
static judge *test_judge;
static demo_batches batches;
static int64_t turn; /* the outer step, which has batches of its own */

static ht_var outer_loss(const ht_vars *weights, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    return ht_mean(demo_losses(curate_model, weights, images));
}

static ht_var inner_loss(const ht_vars *weights, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    ht_var w = ht_gather(ht_get(outer, "weight"), ht_get(images, "row"));
    ht_var loss = ht_mul(w, demo_losses(curate_model, weights, images));
    return ht_mul(ht_mean(loss), (double)KINDS);
}

static ht_status fill_batch(uint64_t step, ht_set *room, void *user)
{
    return demo_batch((uint64_t)(turn * inner_steps) + step, room, user);
}

static ht_bilevel *training_new(void)
{
    const ht_bilevel_problem problem = {.inner = inner_loss,
                                        .outer = outer_loss,
                                        .theta = theta,
                                        .eta = eta,
                                        .inner_data = batches.room,
                                        .inner_batch = fill_batch,
                                        .user = &batches,
                                        .outer_data = data.target,
                                        .update = HT_MOMENTUM(rate, 0.9),
                                        .steps = inner_steps};
    ht_bilevel *training =
        ht_bilevel_new(run.ctx, &problem, &(ht_bilevel_options){.bytes = options.memory});
    ht_check(run.ctx);
    return training;
}

static void project(ht_set *outer, void *user)
{
    ht_project_capped_simplex(ht_set_at(outer, 0), (double)(data.n / KINDS));
}

static void begin_turn(int64_t number)
{
    turn = number;
    demo_start(theta, number);
}

static bool each(const ht_outer_step *step, void *user)
{
    const ht_bilevel_result *got = &step->result;
    const float *w = ht_tensor_data(ht_set_at(eta, 0));
    double sum[KINDS] = {0}, each_has = (double)(data.n / KINDS);
    demo_finite(&run, got, inner_steps);
    for (int64_t i = 0; i < data.n; i++) sum[data.kind[i]] += (double)w[i] / each_has;
    METRICS_ROW(&steps, (double)(step->step + 1), got->outer, got->inner, sum[RELEVANT],
                sum[OTHER], sum[WRONG], sum[PHOTOGRAPH]);
    begin_turn(step->step + 1);
    return true;
}

/* Leaves the weights in eta. */
static void learn(void)
{
    ht_update adam = HT_ADAM(outer_rate);
    adam.eps = HT_FIXED(1e-12); /* of so many images, each has a small gradient */
    begin_turn(run.done);
    ht_bilevel *training = training_new();
    rows[LEARNED].loss = demo_minimize(&run, LEARNED, training,
                                       (ht_outer_options){.update = adam,
                                                          .steps = outer_steps,
                                                          .project = project,
                                                          .each = each,
                                                          .guard = HT_GUARD_OFF},
                                       STEP_COST);
    ht_bilevel_free(training);
}

static void compute(void)
{
    double cost = STEP_COST * (double)outer_steps;
    progress_begin((double)(N_ENTRANTS * n_starts + 1) + cost);
    choose_controls(&judged, &run, chosen, UNSEEN - 1);
    if (!interrupted()) learn();
    if (steps.rows) choose_learned(&data, ht_set_at(eta, 0), chosen);
    for (int k = 0; k < N_ENTRANTS && !interrupted(); k++)
        trainer_enter(&judged, &run, test_judge, &rows[k], &chosen[k], n_starts,
                      rows[k].learned ? cost : k == LOSS || k == PRODUCT);
    choose_count(chosen, numbers);
}

static void write_page(void)
{
    report page;
    const ht_tensor *weight = ht_set_at(eta, 0);
    if (curate_write(run.ctx, &data, weight, &chosen[LEARNED], options.out)) return;
    if (!demo_page(&page, &run)) return;
    curate_draw(&page, &data, &steps, weight, chosen);
    demo_page_end(&page, &run, eta, "weights.safetensors");
}

static bool parse(int argc, char **argv, int *status)
{
    const flag flags[] = {
        {"pool", FLAG_COUNT, &n_pool, "N, images to choose from", 40, 1e6},
        {"target", FLAG_COUNT, &n_target, "V, images to do well on", 10, 1e6},
        {"skew", FLAG_ABOVE, &skew, "part of the target that is 3, 5 or 8", 0, 1},
        {"hidden", FLAG_COUNT, &hidden, "units of the network", 1, 1e5},
        {"batch", FLAG_COUNT, &n_batch, "images kept, a step; of the pool 4 x", 1, 1e6},
        {"inner-steps", FLAG_COUNT, &inner_steps, "T, of a training to choose by", 1,
         1e6},
        {"outer-steps", FLAG_COUNT, &outer_steps, "of Adam on the weights", 1, 1e6},
        {"final-steps", FLAG_COUNT, &final_steps, "of trainings in the table", 1, 1e6},
        {"starts", FLAG_COUNT, &n_starts, "trainings of a row", 1, 1e6},
        {"rate", FLAG_ABOVE, &rate, "of descent, to choose by", 0, 1},
        {"final-rate", FLAG_ABOVE, &final_rate, "of descent, in the table", 0, 1},
        {"outer-rate", FLAG_ABOVE, &outer_rate, "of Adam", 0, 100},
        {"photographs", FLAG_FOLDER, &photograph_folder, "a folder of CIFAR-10"},
        DEMO_FLAGS(&options)};
    return command_parse(
        &(command){
            "curate",
            "Chooses a quarter of a doubtful pool of images, so that a network trained\n"
            "on it does well on a skewed target, by the gradient through its training.",
            "Of N images a quarter each is wanted, off the target's classes, wrongly\n"
            "labelled, and photographs. K = N / 4 are kept.",
            &options.common, sizeof flags / sizeof *flags, flags},
        argc, argv, status);
}

static void set_up(const ht_images *images, const ht_images *others,
                   const ht_images *photographs)
{
    data = pool_new(run.ctx, images, others, photographs, n_pool, n_target, skew);
    int64_t keep = data.n / KINDS;
    if (n_batch > keep) n_batch = keep;
    batches = demo_batches_new(data.set, n_batch * KINDS);
    judged = trainer_new(&data, hidden, n_batch, final_steps, final_rate);
    theta = ht_set_clone(judged.theta, 0);
    run.eta = eta = ht_set_new(run.ctx);
    ht_check(run.ctx);
    ht_tensor *weight = ht_set_add(eta, "weight", HT_F32, HT_SHAPE(data.n));
    ht_check(run.ctx);
    ht_tensor_fill(weight, 1.0 / KINDS);
    test_judge = judge_new(theta, data.test, curate_model);
    snprintf(title, sizeof title,
             "Which %lld images of %lld are worth training on, for a target of %lld",
             (long long)keep, (long long)data.n, (long long)n_target);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"report.html",         "chosen.csv",
                                        "metrics.csv",         "config.json",
                                        "weights.safetensors", NULL};
    int status;
    ht_images images, others, photographs, unused;
    if (!parse(argc, argv, &status)) return status;
    demo_begin(&run, files);
    demo_read(run.ctx, options.common.data, n_pool, &images, &others);
    demo_read_photographs(run.ctx, photograph_folder, n_pool / KINDS, &photographs,
                          &unused);
    set_up(&images, &others, &photographs);
    compute();
    if (options.out && steps.rows) write_page();
    demo_print(&run);
    ht_images_free(&images);
    ht_images_free(&others);
    ht_images_free(&photographs);
    ht_images_free(&unused);
    return demo_end(&run);
}
