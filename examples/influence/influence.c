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
 * random 5 % go 1, 1/2, 0, and how the first half of their change correlates with the
 * second (of 29 trainings that foretold badly 4 pass the first, none the second:
 * tests/bench/SCIENCE.md). If one is below 0.95 nothing is foretold, unless by --anyway.
 * What is foretold is then held against trainings that leave images out: those that
 * helped and hurt each query most; single ones; and random 1, 5, 20 and 50 %, where LDS
 * is the rank correlation of foretold and found. Truth is the same start, batches and
 * order; with --orders the mean over trainings by other orders.
 *
 * Output of the default run, seed 1, without its queries (the last digits depend on the
 * machine's BLAS; the first row has its interval below it):
 *   100 margins as 5 % of the weights fall to 0: S^ 1.000, halves 0.999
 *                              single    1 %     5 %    20 %    50 %
 *     through the training      1.000  1.000   0.998   0.990   0.960
 *     gradient product          0.369  0.464   0.458   0.437   0.554
 *     TracIn                    0.401  0.471   0.470   0.442   0.569
 *     influence function, 1     0.539  0.653   0.658   0.641   0.718
 *     influence function, 0.1   0.939  0.938   0.950   0.939   0.915
 *     influence function, 0.01  0.890  0.851   0.862   0.822   0.786
 * Read next: influence_model.c, influence_trust.c, ../../bilevel/ht_influence.h. */
#include "influence.h"

#include <math.h>

const double parts[PARTS] = {1, 5, 20, 50};
const foreteller foretellers[FORETELLERS] = {
    {"exact", "through the training", 0},
    {"product", "gradient product", 0},
    {"tracin", "TracIn", 0},
    {"implicit_one", "influence function, 1", 1},
    {"implicit_tenth", "influence function, 0.1", 0.1},
    {"implicit_hundredth", "influence function, 0.01", 0.01}};
static study s = {.options = {.common = {.seed = 1}, .memory = 400000000},
                  .budget = 540,
                  .momentum = -1,
                  .smoothing = -1,
                  .decay = -1,
                  .most_queries = -1,
                  .most_subsets = -1,
                  .seeds = 1,
                  .orders = 1,
                  .score_orders = 1};

static const char notes[] =
    "If S^ says that gradients foretell nothing, no query is asked. What is 0 here is "
    "by\n"
    "the model: mlp 8 queries, 32 subsets, 5000 images, 20 epochs in batches of 256.";

static bool parse(int argc, char **argv, int *status)
{
    const flag flags[] = {
        {"model", FLAG_CHOICE, &s.model, "softmax, mlp (gelu), relu or convnet (CIFAR)",
         .choices = models},
        {"recipe", FLAG_SWITCH, &s.recipe, "the training of mlp, convnet foretold best"},
        {"seeds", FLAG_COUNT, &s.seeds, "so many, from --seed on", 1, MOST_SEEDS},
        {"train", FLAG_COUNT, &s.n_train, "images to learn from", 100, 1e8},
        {"batch", FLAG_COUNT, &s.n_batch, "images of a step", 1, 4096},
        {"epochs", FLAG_COUNT, &s.epochs, "of the training", 1, 1e6},
        {"rate", FLAG_ABOVE, &s.rate, "of its descent", 0, 1e38},
        {"cosine", FLAG_SWITCH, &s.cosine, "let the rate fall to 0 by half a cosine"},
        {"momentum", FLAG_NUMBER, &s.momentum, "of it", 0, 1},
        {"decay", FLAG_NUMBER, &s.decay, "of the parameters, beside the gradient", 0,
         1e3},
        {"smoothing", FLAG_NUMBER, &s.smoothing, "part of each label for all classes", 0,
         1},
        {"budget", FLAG_ABOVE, &s.budget, "of the processor, seconds of all seeds", 0,
         1e9},
        {"queries", FLAG_COUNT, &s.most_queries, "at most, test images; 0: S^ alone", 0,
         MOST_QUERIES},
        {"subsets", FLAG_COUNT, &s.most_subsets,
         "at most, of each size, from 8 on; 0: scores alone", 0, 1e6},
        {"orders", FLAG_COUNT, &s.orders, "of batches in truth; 1: that of the scores", 0,
         1000},
        {"score-orders", FLAG_COUNT, &s.score_orders, "scores are the mean of", 1, 1000},
        {"alone", FLAG_SWITCH, &s.alone, "without controls, which foretell the same"},
        {"anyway", FLAG_SWITCH, &s.anyway, "go on where S^ says: do not trust it"},
        DEMO_FLAGS(&s.options)};
    bool good = command_parse(
        &(command){"influence",
                   "Says which train images made a model answer as it does, by a\n"
                   "hypergradient through its whole training, and proves it by training\n"
                   "without them; says first whether to believe it.",
                   notes, &s.options.common, sizeof flags / sizeof *flags, flags},
        argc, argv, status);
    model_defaults(&s);
    bool fits = s.n_batch <= s.n_train, recipe = !s.recipe || has_recipe(s.model),
         enough = s.most_subsets == 0 || s.most_subsets >= FEWEST;
    if (!good || (fits && recipe && enough)) return good;
    *status = 2;
    if (!recipe)
        return command_refuse("influence", "recipe", "--model mlp or convnet",
                              models[s.model],
                              "softmax needs none, none is known of relu");
    if (!enough)
        return command_refuse("influence", "subsets", "0, or 8 and more", "fewer",
                              "a rank correlation of fewer says nothing");
    return command_refuse("influence", "batch", "at most --train", "more",
                          "a smaller one, or more images to --train on");
}

/* What is done of the seed is not done again. */
static void study_seed(void)
{
    seed_begin(&s);
    if (s.progress[STAGE] < ASKED) {
        progress((double)(s.seed - s.options.common.seed) * (4 + PARTS),
                 "asking whether to believe it", "");
        ask(&s);
        if (!interrupted()) kept_save(&s, ASKED);
    }
    bool goes_on = s.progress[STAGE] >= ASKED && !interrupted() &&
                   !refused(&s, (int64_t)(s.seed - s.options.common.seed));
    goes_on = goes_on && s.most_queries > 0;
    if (goes_on && !(s.progress[QUERIES] > 0)) plan(&s);
    if (goes_on) forecast(&s);
    if (!interrupted()) kept_save(&s, BEGUN);
    seed_end(&s);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"report.html", "config.json",
                                        "scores.safetensors", NULL};
    int status = 2;
    if (!parse(argc, argv, &status)) return status;
    const common_options *o = &s.options.common;
    s.ctx = ht_context_new(&(ht_context_options){.seed = o->seed, .threads = o->threads});
    HT_ASSERT(s.ctx, "no memory for a context");
    s.state = demo_state(s.ctx, &s.options);
    if (s.options.out) output_folder(s.ctx, "influence", s.options.out, files);
    output_check(s.ctx, "json", o->json);
    ht_check(s.ctx);
    s.began = stopwatch_now();
    interrupt_watch();
    progress_begin((double)s.seeds * (4 + PARTS));
    kept_begin(&s);
    model_data(&s);
    while (s.progress[SEEDS_DONE] < (double)s.seeds && !interrupted()) {
        s.seed = o->seed + (uint64_t)s.progress[SEEDS_DONE];
        study_seed();
    }
    progress_end();
    say(&s);
    if (s.options.out) write_page(&s);
    if (o->json) write_json(&s);
    ht_check(s.ctx);
    return !command_printed("influence") ? 1 : interrupted() ? 130 : 0;
}
