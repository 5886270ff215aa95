/* SPDX-License-Identifier: MIT */
/* write.c: can training images write a message into a network?
 *
 * A network of two hidden layers of gelu is trained by T steps of momentum from a random
 * start on N images of digits with their labels. The pixels are what is learned, so that
 * the weights between its hidden layers end as a picture, a QR code, say, of a text: one
 * weight a module, positive where it is dark. Nothing else has a say: weights are made by
 * training alone.
 *
 *   L(theta, x) = 1/N sum_i CE(x_i, y_i; theta)
 *   minimise  F(x) = 1/M sum_jk max(0, 1 - s_jk w_jk / d)^2
 *   subject to  0 <= x <= 1
 *
 * where w = w_T(x) is that layer after training, M its weights, s_jk = 1 where the module
 * is dark and -1 where it is light, and d the standard deviation it starts with. Adam
 * moves the pixels, which begin as real digits, along the gradient through all T steps.
 * (Data as the metaparameter of a training: Engstrom et al. 2025, arXiv 2503.13751.)
 *
 * Beside it: the digits as they are, noise, and pixels learned in as many steps by a
 * gradient that sees the last step of training only, or the last quarter. Then the same
 * pixels from a start that is a little off; and from a new one, where nothing is to be
 * expected: a random layer's units may be renumbered, and pixels that were learned for
 * other numbers cannot tell one from another. --starts N learns pixels that write it from
 * N starts, --real N adds digits that stay, so that the network goes on reading them.
 *
 * The default run with --seed 3 (last digits depend on the machine's BLAS): of 841 signs
 * 100 % are right; 49.70 % through the last quarter, 48.99 % through the last step, of
 * noise 51.25 %, of the digits 45.30 %; and 93.22 % from a start that is 5 % off.
 * Read next: write_network.c, write_picture.c, ../common/demo.h. */
#include <math.h>
#include <stdlib.h>

#include "write.h"

enum { START, DIGITS, NOISE, ONE_STEP, LAST_STEPS };
enum { LEARNED = LAST_STEPS + 1, SHAKEN, NEW_START, N_ENTRANTS };
#define SHAKE 0.05 /* of a start, in parts of its standard deviation */

static int64_t n_train = 100, inner_steps = 60, last_steps = 15, outer_steps = 500,
               n_starts = 1, n_real = 0;
static double rate = 0.1, outer_rate = 0.05;
static int drawn;
static const char *text = "hypertape";
static demo_options options = {.common = {.seed = 1, .data = MNIST_DATA}};

static entrant rows[N_ENTRANTS] = {
    {"start", "the start", "nothing"},
    {"digits", "digits as they are", "what the pixels begin as"},
    {"noise", "noise", "pixels at random"},
    {"one_step", "through one step", "pixels learned by the last"},
    {"last_steps", "through a quarter", "pixels learned by the last T/4"},
    {"learned", "through all steps", "pixels learned by all T", .learned = true,
     .as = "the whole gradient", .doing = "through all steps"},
    {"shaken", "  start 5 % off", "the same pixels", .learned = true},
    {"new_start", "  a new start", "the same pixels", .learned = true}};
#define COLUMNS                                                                    \
    {                                                                              \
        .name = { "outer_step", "loss", "inner_loss", "wrong", "wrong_codewords" } \
    }
static metrics steps = COLUMNS, others = COLUMNS;
static demo_number numbers[] = {
    {"wrong_modules", (double)NAN}, {"wrong_codewords", (double)NAN}, {"mends", 0},
    {"digits_before", (double)NAN}, {"digits_after", (double)NAN},    {NULL}};
static demo run = {.name = "write",
                   .title = "A message in a layer, written by training images",
                   .options = &options,
                   .measure = "modules right",
                   .entrant = rows,
                   .n_entrants = N_ENTRANTS,
                   .learned = LEARNED,
                   .control = DIGITS,
                   .note = "right: weights whose sign is that of their module",
                   .steps = &steps,
                   .numbers = numbers};
static picture wanted;
static ht_images images;
static ht_set *theta, *eta, *train, *sign;
static written shown = {.run = &run, .wanted = &wanted, .images = &images};
static judge *test_judge;

static ht_var inner_loss(const ht_vars *weights, const ht_vars *outer,
                         const ht_vars *data, void *user)
{
    return network_loss(weights, ht_get(outer, "pixels"), data, n_real > 0);
}

static ht_var outer_loss(const ht_vars *weights, const ht_vars *outer,
                         const ht_vars *data, void *user)
{
    ht_var w = ht_mul(ht_get(weights, "page.weight"), sqrt((double)wanted.rows));
    ht_var short_of = ht_relu(ht_sub(1, ht_mul(w, ht_get(data, "sign"))));
    return ht_mean(ht_square(short_of));
}

static ht_bilevel *training_new(int64_t n_steps, ht_method method, int64_t last)
{
    ht_bilevel_options how = {.method = method,
                              .truncate = method == HT_TRUNCATED ? last : 0,
                              .bytes = method ? 0 : options.memory};
    ht_bilevel *training =
        ht_bilevel_new(run.ctx,
                       &(ht_bilevel_problem){.inner = inner_loss,
                                             .outer = outer_loss,
                                             .theta = theta,
                                             .eta = eta,
                                             .inner_data = train,
                                             .outer_data = sign,
                                             .update = HT_MOMENTUM(rate, 0.95),
                                             .steps = n_steps},
                       &how);
    ht_check(run.ctx);
    return training;
}

static const ht_tensor *page_of(const ht_set *weights)
{
    return ht_set_tensor(weights, "page.weight");
}

/* Modules right after a training from each start, with eta as it stands. */
static void enter(int which, ht_bilevel *training, int64_t from, double shake,
                  double cost)
{
    int64_t modules = wanted.rows * wanted.cols;
    double loss = 0;
    entrant_begin(&rows[which], n_starts * modules, cost);
    for (int64_t s = 0; s < n_starts; s++) {
        network_start(theta, from + s, shake);
        ht_bilevel_result got = demo_evaluate(&run, training, inner_steps);
        loss += got.outer / (double)n_starts;
        picture_right(&wanted, which == START ? page_of(theta) : page_of(got.theta),
                      rows[which].score + s * modules);
        if (which == DIGITS && !s)
            numbers[BEFORE].value = judge_accuracy(test_judge, got.theta, NULL);
        if (which != LEARNED || s) continue;
        numbers[WRONG].value =
            (double)(modules - picture_right(&wanted, page_of(got.theta), NULL));
        numbers[WRONG_CODEWORDS].value =
            picture_wrong_codewords(&wanted, page_of(got.theta));
        numbers[AFTER].value = judge_accuracy(test_judge, got.theta, NULL);
    }
    entrant_end(&rows[which], loss);
    demo_worked(&run, (double)n_starts, rows[which].name, 1, 1, loss);
}

static void project(ht_set *outer, void *user)
{
    float *x = ht_tensor_data(ht_set_at(outer, 0));
    for (int64_t i = 0; i < ht_tensor_count(ht_set_at(outer, 0)); i++)
        x[i] = fminf(fmaxf(x[i], 0), 1);
}

static bool each(const ht_outer_step *step, void *user)
{
    const ht_tensor *page = page_of(step->result.theta);
    METRICS_ROW((metrics *)user, (double)step->step, step->result.outer,
                step->result.inner,
                (double)(wanted.rows * wanted.cols - picture_right(&wanted, page, NULL)),
                picture_wrong_codewords(&wanted, page));
    network_start(theta, (step->step + 1) % n_starts, 0);
    return true;
}

/* From the digits along the gradient; starts take turns. */
static void learn(int which, ht_method method, int64_t last)
{
    const ht_rate falling = {.steps = outer_steps, .final = 0.05};
    ht_update adam = HT_ADAM(outer_rate);
    double cost =
        method == HT_AUTO ? HYPERGRADIENT : 1 + 2 * (double)last / (double)inner_steps;
    adam.rate.schedule = ht_rate_cosine;
    adam.rate.user = &falling;
    adam.clip = HT_FIXED(0.1); /* a gradient through many steps can be a spike */
    ht_bilevel *training = training_new(inner_steps, method, last);
    ht_tensor_copy(ht_set_at(eta, 0), ht_set_tensor(train, "x"));
    network_start(theta, which == LEARNED ? run.done % n_starts : 0, 0);
    others.rows = 0;
    demo_minimize(
        &run, which, training,
        (ht_outer_options){.update = adam,
                           .steps = outer_steps,
                           .project = project,
                           .each = each,
                           .user = which == LEARNED ? &steps : &others,
                           .save_every = run.state && which == LEARNED ? 20 : 0},
        cost);
    if (!interrupted()) enter(which, training, 0, 0, cost * (double)outer_steps);
    ht_bilevel_free(training);
}

/* What was learned, on the way there and from other starts. */
static void look_at_learned(void)
{
    double cost = rows[LEARNED].cost;
    ht_bilevel *training = training_new(inner_steps, HT_AUTO, 0);
    enter(SHAKEN, training, 0, SHAKE, cost);
    enter(NEW_START, training, OTHER_STARTS, 0, cost);
    ht_bilevel_free(training);
    network_start(theta, 0, 0);
    for (int k = 0; k < N_SHOWN; k++) {
        ht_tensor *copy =
            ht_tensor_new(run.ctx, HT_F32, HT_SHAPE(wanted.rows, wanted.cols));
        ht_check(run.ctx);
        shown.at[k] = inner_steps * k * k / ((N_SHOWN - 1) * (N_SHOWN - 1));
        shown.weight[k] = copy;
        ht_tensor_copy(copy, page_of(theta));
        if (!shown.at[k]) continue;
        training = training_new(shown.at[k], HT_AUTO, 0);
        ht_tensor_copy(copy, page_of(ht_bilevel_evaluate(training, 0).theta));
        ht_bilevel_free(training);
    }
}

static void controls(void)
{
    ht_bilevel *training = training_new(inner_steps, HT_AUTO, 0);
    ht_tensor_copy(ht_set_at(eta, 0), ht_set_tensor(train, "x"));
    enter(START, training, 0, 0, 0);
    enter(DIGITS, training, 0, 0, 1);
    ht_tensor_uniform(ht_set_at(eta, 0), OTHER_STARTS, 0, 1);
    enter(NOISE, training, 0, 0, 1);
    ht_bilevel_free(training);
    if (!interrupted()) learn(ONE_STEP, HT_ONE_STEP, 1);
    if (!interrupted()) learn(LAST_STEPS, HT_TRUNCATED, last_steps);
}

static bool parse(int argc, char **argv, int *status)
{
    static const char *const drawings[] = {"code", "word", NULL};
    const flag flags[] = {
        {"text", FLAG_TEXT, &text, "to write, of ASCII: 32 letters, 8 as a word"},
        {"draw", FLAG_CHOICE, &drawn, "code, as a QR code, or word, its letters",
         .choices = drawings},
        {"train", FLAG_COUNT, &n_train, "N, images to learn", 1, 1e5},
        {"real", FLAG_COUNT, &n_real, "more that stay digits, in each step", 0, 1e5},
        {"inner-steps", FLAG_COUNT, &inner_steps, "T, of a training", 4, 1e6},
        {"outer-steps", FLAG_COUNT, &outer_steps, "of Adam on the pixels", 1, 1e6},
        {"starts", FLAG_COUNT, &n_starts, "that the same pixels write it from", 1, 1000},
        {"rate", FLAG_ABOVE, &rate, "of the inner descent", 0, 1},
        {"outer-rate", FLAG_ABOVE, &outer_rate, "of Adam", 0, 100},
        DEMO_FLAGS(&options)};
    return command_parse(
        &(command){
            "write",
            "Writes a QR code into a layer of a network by what it is trained on:\n"
            "the pixels of digits, learned by the gradient through its training.",
            "Weights are changed by training alone.", &options.common,
            sizeof flags / sizeof *flags, flags},
        argc, argv, status);
}

static void set_up(const ht_images *unseen)
{
    int64_t *order = demo_rows(run.ctx, &images, n_train + n_real);
    shown.train = train = demo_set(run.ctx, &images, order, n_train);
    if (n_real)
        network_add_real(train, demo_set(run.ctx, &images, order + n_train, n_real));
    ht_set *test = demo_set(run.ctx, unseen, NULL, ht_tensor_count(unseen->labels));
    free(order);
    ht_shape shape = ht_tensor_shape(ht_set_tensor(train, "x"));
    theta = ht_set_new(run.ctx);
    network_init(theta, shape.dim[1], wanted.rows, wanted.cols);
    run.eta = eta = ht_set_new(run.ctx);
    sign = ht_set_new(run.ctx);
    ht_set_add(eta, "pixels", HT_F32, shape);
    ht_tensor *at = ht_set_add(sign, "sign", HT_F32, HT_SHAPE(wanted.rows, wanted.cols));
    ht_check(run.ctx);
    for (int64_t i = 0; i < wanted.rows * wanted.cols; i++)
        ht_tensor_set(at, i, wanted.dark[i] ? 1 : -1);
    test_judge = judge_new(theta, test, network);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"report.html",        "metrics.csv",
                                        "config.json",        "message.png",
                                        "pixels.safetensors", NULL};
    int status;
    ht_images unseen;
    if (!parse(argc, argv, &status)) return status;
    demo_begin(&run, files);
    wanted = picture_new(run.ctx, text, drawn == 1);
    numbers[MENDS].value = wanted.code.mends;
    last_steps = inner_steps / 4;
    demo_read(run.ctx, options.common.data, n_train + n_real, &images, &unseen);
    set_up(&unseen);
    double most = (double)outer_steps;
    progress_begin(most * (HYPERGRADIENT + 2.5) + 8 * (double)n_starts);
    controls();
    if (!interrupted()) learn(LEARNED, HT_AUTO, 0);
    if (rows[LEARNED].n) look_at_learned();
    if (options.out) written_page(&shown);
    demo_print(&run);
    written_say(&shown);
    ht_images_free(&images);
    ht_images_free(&unseen);
    free(wanted.dark);
    return demo_end(&run);
}
