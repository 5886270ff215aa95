/* SPDX-License-Identifier: MIT */
/* learn_optimizer.c: can a small network learn to train another, better than tuned Adam?
 *
 * (Andrychowicz and others, NIPS 2016; Metz and others, ICML 2019 and 2022; Harrison,
 * Metz & Sohl-Dickstein, NeurIPS 2022, for what it starts from.)
 *
 * An update rule of its own: each weight is moved by a network of 16 hidden units that
 * sees, of that weight, the gradient and its averages over 2, 10 and 100 steps, all over
 * the root of the mean square, and how far the training has come,
 *
 *   n_k = m_k / sqrt(v + 1e-8),  (a, b) = N(g / sqrt(v + 1e-8), n_1, n_2, n_3, t; eta)
 *   w -= rate exp(b) (n_2 + a)
 *
 * with the last layer of N at zero to begin with, so that it begins as Adam with the best
 * rate of a grid. The weights eta of N are outer variables: they go down the gradient of
 * the loss at the end of windows of a training, which goes on after each
 * (ht_bilevel_commit), over many trainings of T steps, each from other weights with other
 * batches. Then both run trainings that nobody has seen, compared in pairs. Whether the
 * rule is of use for other networks, data or T is not asked.
 *
 * Read next: ../own_rule.c, augment_vit.c, ../common/common.h. */
#include <math.h>
#include <stdlib.h>

#include "demo.h"

enum { HIDDEN = 16, SEEN = 4, N_TIMES = 2, UNITS = 20, BATCH = 128, PART = 500 };
enum { SIDE = 28, HALF = SIDE / 2, RATES = 12, HELD_OUT = 1000000, TUNING = 500000 };
static const double kept[SEEN] = {0.5, 0.9, 0.99, 0.99}; /* of m_1 .. m_3, v */
static int64_t steps = 100, window = 25, trainings = 200, held_out = 20, tuned_on = 5;
static const double outer_rate = 0.01; /* of Adam on eta */
static demo_options options = {.common = {.seed = 1, .data = MNIST_DATA}};
static ht_context *ctx;
static ht_set *train, *validation, *test, *theta, *eta, *batch, *part;

static ht_var column(ht_var x)
{
    return ht_reshape(x, HT_SHAPE(-1, 1));
}

/* kept a + (1 - kept) x, and that over 1 - kept^t, as it is less the zero it began at. */
static ht_var average(ht_update_step *s, int k, ht_var x, ht_var *next)
{
    ht_var begun = ht_sub(1.0, ht_exp(ht_mul(s->t, log(kept[k]))));
    *next = ht_add(ht_mul(s->state[k], kept[k]), ht_mul(x, 1 - kept[k]));
    return ht_div(*next, ht_cast(begun, ht_var_dtype(x)));
}

static void learned_apply(ht_update_step *s)
{
    ht_dtype dtype = ht_var_dtype(s->w);
    ht_var v = average(s, 3, ht_square(s->g), &s->new_state[3]);
    ht_var scale = ht_rsqrt(ht_add(v, 1e-8)), seen[SEEN] = {ht_mul(s->g, scale)};
    for (int k = 0; k < 3; k++)
        seen[1 + k] = ht_mul(average(s, k, s->g, &s->new_state[k]), scale);
    ht_var adam = seen[2], part_of = ht_div(s->t, (double)steps);
    ht_var time[N_TIMES] = {column(ht_exp(ht_mul(s->t, -0.1))), column(part_of)};
    for (int k = 0; k < SEEN; k++) seen[k] = column(seen[k]);
    ht_var hidden =
        ht_add(ht_linear(ht_concat(SEEN, seen, 1), s->eta, "seen"),
               ht_linear(ht_cast(ht_concat(N_TIMES, time, 1), dtype), s->eta, "time"));
    ht_var out = ht_linear(ht_tanh(hidden), s->eta, "out");
    ht_var a = ht_reshape(ht_slice(out, 1, 0, 1, 1), ht_var_shape(s->w));
    ht_var b = ht_reshape(ht_slice(out, 1, 1, 1, 1), ht_var_shape(s->w));
    ht_var rate = ht_mul(ht_exp(b), ht_cast(s->rate, dtype));
    s->new_w = ht_sub(s->w, ht_mul(rate, ht_add(adam, a)));
}

static const ht_update_rule learned = {.name = "learned",
                                       .n_state = SEEN,
                                       .state = {"m1", "m2", "m3", "v"},
                                       .reads_eta = true,
                                       .apply = learned_apply};

/* What is trained: 20 units, on digits of half the size. */

static ht_var loss(const ht_vars *weights, const ht_vars *outer, const ht_vars *images,
                   void *user)
{
    ht_var x = ht_reshape(ht_get(images, "x"), HT_SHAPE(-1, HALF, 2, HALF, 2));
    x = ht_reshape(ht_mean_axes(x, HT_AXES(2, 4), false), HT_SHAPE(-1, HALF * HALF));
    x = ht_linear(ht_sigmoid(ht_linear(x, weights, "hidden")), weights, "out");
    return ht_mean(ht_cross_entropy(x, ht_get(images, "label")));
}

/* Weights and batches of a training of that number. */
static uint64_t number;

static ht_status fill(uint64_t step, ht_set *to, void *user)
{
    bool inner = to == batch;
    const ht_set *from = inner ? train : validation;
    int64_t order[PART], n = inner ? BATCH : PART;
    int64_t rows = ht_tensor_count(ht_set_tensor(from, "label"));
    if (!inner) step += 4096;
    ht_batch_order(options.common.seed + number, step, rows, n, order);
    return demo_fill(to, from, order, 0);
}

/* Of so many steps; the outer loss is of test images or of a part of validation. */
static ht_bilevel *training_new(ht_set *outer, ht_update update, bool whole)
{
    ht_bilevel_problem problem = {loss, loss, NULL, theta,  outer, batch,
                                  part, fill, fill, update, window};
    if (whole) problem.outer_data = test, problem.outer_batch = NULL;
    if (whole) problem.steps = steps;
    return ht_bilevel_new(ctx, &problem, NULL);
}

/* The test loss after T steps, a mean over n trainings; to each[n] unless NULL. */
static double run(ht_set *outer, ht_update update, uint64_t first, int64_t n,
                  double *each)
{
    double sum = 0;
    ht_bilevel *b = training_new(outer, update, true);
    for (int64_t i = 0; i < n && !interrupted(); i++) {
        demo_start(theta, (int64_t)(number = first + (uint64_t)i));
        double found = ht_bilevel_evaluate(b, 0).outer;
        if (each) each[i] = found;
        sum += found;
    }
    ht_bilevel_free(b);
    return sum / (double)n;
}

/* The best rate of a grid, on trainings of its own, left in `outer`. */
static double tune(int which, ht_set *outer, ht_update adam)
{
    ht_tensor *is = ht_set_at(outer, 0);
    double best = 0, least = (double)INFINITY;
    for (int k = 0; k < RATES && !interrupted(); k++) {
        ht_tensor_fill(is, 0.01 * pow(2, 0.5 * k));
        double found = run(outer, adam, TUNING, tuned_on, NULL);
        progress_step(which * RATES + k, "Adam's rate", k + 1, RATES, found);
        if (found < least) best = ht_tensor_get(is, 0);
        least = fmin(least, found);
    }
    ht_tensor_fill(is, best);
    return best;
}

/* A training of that number in windows; eta moves after each. */
static double train_once(ht_optimizer *outer, ht_update update)
{
    double last = NAN;
    demo_start(theta, (int64_t)number);
    ht_bilevel *b = training_new(eta, update, false);
    for (int64_t k = 0; k < steps / window; k++) {
        ht_bilevel_result r = ht_bilevel_run(b, (uint64_t)k);
        if (r.bad_step >= 0) break; /* it diverged: another one */
        ht_optimizer_step(outer, r.gradient);
        ht_bilevel_commit(b);
        last = r.outer;
    }
    ht_bilevel_free(b);
    return last;
}

static void learn(ht_update update)
{
    const ht_rate cosine = {.steps = trainings * (steps / window), .final = 0.01};
    ht_update adam = HT_ADAM(outer_rate);
    adam.rate.schedule = ht_rate_cosine, adam.rate.user = &cosine;
    adam.clip = HT_FIXED(1);
    ht_optimizer *outer = ht_optimizer_new(eta, &adam);
    for (int64_t i = 0; i < trainings && !interrupted(); i++) {
        number = (uint64_t)i;
        double found = train_once(outer, update);
        progress_step(2 * RATES + (double)i, "learning", i + 1, trainings, found);
    }
    ht_optimizer_free(outer);
}

/* The contest: losses of the same trainings, which nobody has learned from. */
enum { ADAM, COSINE, BEGUN, LEARNED, N_RULES };
static const char *const name[] = {"Adam", "Adam, rate by a cosine",
                                   "the rule as it begins", "the rule as learned"};
static double *losses[N_RULES];

/* The mean of a (less b, unless NULL), and its standard error. */
static double mean_of(const double *a, const double *b, double *error)
{
    double sum = 0, squares = 0, n = (double)held_out;
    for (int64_t i = 0; i < held_out; i++) {
        double x = a[i] - (b ? b[i] : 0);
        sum += x, squares += x * x;
    }
    *error = sqrt(fmax(squares / n - sum / n * (sum / n), 0) / (n - 1));
    return sum / n;
}

static void say(const double *rate)
{
    FILE *f = command_text(&options.common);
    for (int k = ADAM; k <= COSINE; k++) {
        double error, behind = mean_of(losses[k], losses[LEARNED], &error);
        const char *who = behind > 0 ? "The learned rule wins" : "The learned rule loses";
        fprintf(f, "%s against %s at T = %d: its loss is %.4f (+- %.4f) %s\n", who,
                name[k], (int)steps, fabs(behind), error,
                behind > 0 ? "lower" : "higher");
    }
    for (int k = 0; k < N_RULES; k++) {
        double error, mean = mean_of(losses[k], NULL, &error);
        fprintf(f, "  %-23s rate %-6.3g loss %.4f +- %.4f\n", name[k], rate[k], mean,
                error);
    }
    fprintf(f, "Means of %d trainings, held out.\n", (int)held_out);
}

static void write_json(void)
{
    output out;
    if (!output_open(&out, ctx, options.common.json, false)) return;
    double error, behind = mean_of(losses[ADAM], losses[LEARNED], &error);
    json_number(&out, "lead", behind);
    json_number(&out, "lead_error", error);
    json_number(&out, "adam", mean_of(losses[ADAM], NULL, &error));
    json_number(&out, "learned", mean_of(losses[LEARNED], NULL, &error));
    json_close(&out);
}

static bool parse(int argc, char **argv, int *status)
{
    const flag flags[] = {
        {"steps", FLAG_COUNT, &steps, "T, of every training", 2, 4096},
        {"window", FLAG_COUNT, &window, "steps between changes of the rule", 1, 4096},
        {"trainings", FLAG_COUNT, &trainings, "to learn from", 1, 100000},
        {"held-out", FLAG_COUNT, &held_out, "trainings to judge by", 2, 10000}};
    return command_parse(
        &(command){
            "learn_optimizer",
            "Learns an update rule, a network a weight, and holds it against Adam.",
            "A training is of 20 units on digits of half the size, from any start.",
            &options.common, sizeof flags / sizeof *flags, flags},
        argc, argv, status);
}

static void set_up(void)
{
    ht_images images, others;
    demo_read(ctx, options.common.data, 7000, &images, &others);
    int64_t *row = demo_rows(ctx, &images, 7000);
    train = demo_set(ctx, &images, row, 5000);
    validation = demo_set(ctx, &images, row + 5000, 2000);
    test = demo_set(ctx, &others, NULL, ht_tensor_count(others.labels));
    batch = demo_room(train, BATCH);
    part = demo_room(validation, PART);
    free(row);
    ht_images_free(&images), ht_images_free(&others);
    theta = ht_set_new(ctx);
    ht_linear_init(theta, "hidden", HT_F32, HALF * HALF, UNITS);
    ht_linear_init(theta, "out", HT_F32, UNITS, 10);
    eta = ht_set_new(ctx);
    ht_linear_init(eta, "seen", HT_F32, SEEN, HIDDEN);
    ht_linear_init(eta, "time", HT_F32, N_TIMES, HIDDEN);
    ht_linear_init(eta, "out", HT_F32, HIDDEN, 2);
    ht_tensor_fill(ht_set_tensor(eta, "out.weight"), 0);
    ht_tensor_fill(ht_set_tensor(eta, "out.bias"), 0);
}

static void compute(double *rate)
{
    ht_set *outer = ht_set_new(ctx);
    ht_set_add(outer, "rate", HT_F64, HT_SCALAR);
    const ht_rate cosine = {.steps = steps};
    ht_update adam = HT_ADAM(1), rule = {.rule = &learned};
    adam.rate = HT_OUTER("rate");
    for (int k = ADAM; k <= COSINE; k++) {
        if (k == COSINE) adam.rate.schedule = ht_rate_cosine, adam.rate.user = &cosine;
        rate[k] = tune(k, outer, adam);
        run(outer, adam, HELD_OUT, held_out, losses[k]);
    }
    rate[BEGUN] = rate[LEARNED] = rate[ADAM];
    rule.rate = HT_FIXED(rate[ADAM]);
    run(eta, rule, HELD_OUT, held_out, losses[BEGUN]);
    learn(rule);
    run(eta, rule, HELD_OUT, held_out, losses[LEARNED]);
}

int main(int argc, char **argv)
{
    int status;
    double rate[N_RULES];
    if (!parse(argc, argv, &status)) return status;
    ctx = ht_context_new(&(ht_context_options){.seed = options.common.seed,
                                               .threads = options.common.threads,
                                               .on_error = ht_print_and_exit});
    output_check(ctx, "json", options.common.json);
    interrupt_watch();
    set_up();
    for (int k = 0; k < N_RULES; k++)
        losses[k] = calloc((size_t)held_out, sizeof(double));
    progress_begin(2 * RATES + (double)trainings);
    compute(rate);
    progress_end();
    if (!interrupted()) say(rate);
    if (!interrupted() && options.common.json) write_json();
    for (int k = 0; k < N_RULES; k++) free(losses[k]);
    return !command_printed("learn_optimizer") ? 1 : interrupted() ? 130 : 0;
}
