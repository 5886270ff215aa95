/* SPDX-License-Identifier: MIT */
/* tune_schedule.c: how fast should each layer learn, at each step?
 *
 * (Maclaurin, Duvenaud & Adams, ICML 2015; Franceschi and others, ICML 2017.)
 *
 * A network is trained by T steps of descent with momentum on mini-batches. A schedule is
 * usually a shape out of a book and two or three numbers from a grid. Here it is a rate
 * for each step and parameter tensor l, and a momentum for each step, 5 T numbers,
 *
 *   v_t+1,l = momentum_t v_t,l + dL/dtheta_l(theta_t, batch_t)
 *   theta_t+1,l = theta_t,l - rate_t,l v_t+1,l                       t = 0 .. T-1
 *   minimise  F(rate, momentum) = 1/V sum_j CE(validation image j; theta_T)
 *
 * moved by five steps of Adam, as ln rate and the logit of momentum, from a rate and a
 * momentum that are the same everywhere (the convnet: from a cosine amid the grid); the
 * best of the five trainings is taken. The controls choose on the same images: the best
 * of a grid of 60 (one-cycle and cosine, six rates, five momenta), and of as many random
 * ones as cost what the gradient cost.
 *
 * Output of the default run, seed 1 (the last digits depend on the machine's BLAS):
 *
 *                        learns from                        test trainings
 *   first schedule    where learning begins           92.09 %        1
 *   best of the grid  60 one-cycle and cosine         92.85 %       60
 *   best at random    as many as the gradient costs   92.29 %       15
 *   a rate a step     by the gradient                 92.92 %       15  best
 *
 * Read next: tune_penalty.c, ../common/demo.h. */
#include <math.h>
#include <stdlib.h>

#include "demo.h"

enum { BEGIN, GRID, RANDOM, LEARNED, N_ENTRANTS };
enum { BATCH = 100, MOST = 8, RATES = 6, MOMENTA = 5, SHAPES = 2 };
enum { MLP, CONVNET };
static const logits_fn network[] = {demo_mlp, demo_convnet};
static int model, layers; /* that many parameter tensors */
static int64_t n_train = 3000, n_validation = 0, hidden = 64, filters = 8,
               inner_steps = 200, outer_steps = 5;
static double outer_rate = 0.2;
static demo_options options = {.common = {.seed = 1}};

static entrant rows[] = {
    {"begin", "first schedule", "where learning begins"},
    {"grid", "best of the grid", "60 one-cycle and cosine"},
    {"random", "best at random", "as many as the gradient costs"},
    {"learned", "a rate a step", "by the gradient", .learned = true}};
static metrics steps = {.name = {"outer_step", "validation_loss", "inner_loss"}};
static metrics schedule = {.name = {"step", "momentum", "best of the grid"}};
static demo run = {.name = "tune_schedule",
                   .title = "A learning rate for each step and layer",
                   .options = &options,
                   .entrant = rows,
                   .n_entrants = N_ENTRANTS,
                   .learned = LEARNED,
                   .control = GRID,
                   .steps = &steps};
static const ht_coordinate coordinate[] = {{"rate", HT_LOG, 0, 0},
                                           {"momentum", HT_SIGMOID, 0, 1}};
static ht_set *train, *validation, *test, *theta, *eta;
static demo_batches batches;
static judge *test_judge;

static ht_var loss(const ht_vars *weights, const ht_vars *outer, const ht_vars *images,
                   void *user)
{
    return ht_mean(demo_losses(network[model], weights, images));
}

static ht_bilevel *training_new(void)
{
    const ht_bilevel_problem problem = {.inner = loss,
                                        .outer = loss,
                                        .theta = theta,
                                        .eta = eta,
                                        .inner_data = batches.room,
                                        .outer_data = validation,
                                        .inner_batch = demo_batch,
                                        .user = &batches,
                                        .update = {.rule = &ht_momentum,
                                                   .rate = HT_OUTER("rate"),
                                                   .momentum = HT_OUTER("momentum")},
                                        .steps = inner_steps,
                                        .coordinates = coordinate,
                                        .n_coordinates = 2};
    ht_bilevel *training =
        ht_bilevel_new(run.ctx, &problem, &(ht_bilevel_options){.bytes = options.memory});
    ht_check(run.ctx);
    return training;
}

/* A schedule out of a book: the rate rises, along half a cosine, to its peak in a first
 * part of the steps (0: it begins there), and falls along another. Peaks are said as
 * peak / (1 - momentum), in which momenta are alike. */
typedef struct book {
    double warm, peak, momentum;
} book;

static double wave(double from, double to, double at)
{
    return to + (from - to) * (1 + cos(3.14159265358979 * at)) / 2;
}

static double book_rate(const book *b, double at)
{
    double peak = b->peak * (1 - b->momentum);
    if (at < b->warm) return wave(peak / 25, peak, at / b->warm);
    return fmax(wave(peak, 0, (at - b->warm) / (1 - b->warm)), peak * 1e-4);
}

static void set_book(const book *b)
{
    double n = (double)(layers * inner_steps);
    for (int64_t i = 0; i < layers * inner_steps; i++)
        ht_tensor_set(ht_set_at(eta, 0), i,
                      log(book_rate(b, (double)(i - i % layers) / n)));
    ht_tensor_fill(ht_set_at(eta, 1), log(b->momentum / (1 - b->momentum)));
}

static book book_of_grid(int64_t i)
{
    static const double momentum[] = {0.5, 0.8, 0.9, 0.95, 0.98};
    return (book){.warm = i % SHAPES ? 0.3 : 0,
                  .peak = 0.125 * pow(2, (double)(i / SHAPES % RATES)),
                  .momentum = momentum[i / SHAPES / RATES]};
}

/* Of the same ranges, three numbers of 0 .. 1 a draw. */
static book book_of_draw(const ht_tensor *draws, int64_t i)
{
    double warm = ht_tensor_get(draws, 3 * i), peak = ht_tensor_get(draws, 3 * i + 1),
           momentum = ht_tensor_get(draws, 3 * i + 2);
    return (book){.warm = fmax(warm - 0.5, 0),
                  .peak = 0.125 * pow(32, peak),
                  .momentum = 1 - 0.5 * pow(0.04, momentum)};
}

/* The best of n on validation; draws NULL: those of the grid. */
static book search(int which, ht_bilevel *training, int64_t n, const ht_tensor *draws)
{
    book best = {0};
    double least = (double)INFINITY;
    for (int64_t i = 0; i < n && !interrupted(); i++) {
        book b = draws ? book_of_draw(draws, i) : book_of_grid(i);
        set_book(&b);
        double found = ht_bilevel_evaluate(training, 0).outer;
        ht_check(run.ctx);
        if (found < least) best = b;
        least = fmin(found, least);
        demo_worked(&run, 1, rows[which].name, i + 1, n, found);
    }
    set_book(&best);
    if (!interrupted()) entrant_judge(&rows[which], test_judge, training, (double)n);
    return best;
}

static bool each(const ht_outer_step *step, void *user)
{
    METRICS_ROW(&steps, (double)step->step, step->result.outer, step->result.inner);
    return true;
}

static void learn(ht_bilevel *training, double cost)
{
    ht_update adam = HT_ADAM(outer_rate);
    adam.momentum = HT_FIXED(0.5); /* of five steps the first is soon forgotten */
    adam.beta2 = HT_FIXED(0.9);
    adam.eps = HT_FIXED(1e-12);
    set_book(&(book){.peak = 0.5, .momentum = 0.8});
    if (model == MLP) ht_tensor_fill(ht_set_at(eta, 0), log(0.2));
    entrant_judge(&rows[BEGIN], test_judge, training, 1);
    demo_minimize(
        &run, LEARNED, training,
        (ht_outer_options){
            .update = adam, .steps = outer_steps, .each = each, .keep_best = true},
        HYPERGRADIENT);
    if (!interrupted()) entrant_judge(&rows[LEARNED], test_judge, training, cost);
}

static void note_schedule(const book *grid)
{
    for (int64_t t = 0; t < inner_steps; t++) {
        double cell[3 + MOST] = {(double)t,
                                 1 / (1 + exp(-ht_tensor_get(ht_set_at(eta, 1), t))),
                                 book_rate(grid, (double)t / (double)inner_steps)};
        for (int l = 0; l < layers; l++)
            cell[3 + l] = exp(ht_tensor_get(ht_set_at(eta, 0), t * layers + l));
        metrics_row(&schedule, 3 + layers, cell);
    }
}

static void write_page(void)
{
    report page;
    if (!demo_page(&page, &run)) return;
    report_curve(
        &page, &(report_figure){"Validation loss", "outer step"}, 2,
        (report_series[]){metrics_series(&steps, "validation_loss"),
                          {"best of the grid", 1, NULL, &rows[GRID].loss, true}});
    report_series rates[1 + MOST], momentum = metrics_series(&schedule, "momentum");
    for (int l = 0; l <= layers; l++)
        rates[l] = metrics_series(&schedule, schedule.name[l < layers ? 3 + l : 2]);
    rates[layers].control = true;
    report_curve(&page, &(report_figure){"Rates", "step", .log_y = true}, layers + 1,
                 rates);
    report_curve(&page, &(report_figure){"Momentum", "step"}, 1, &momentum);
    demo_page_end(&page, &run, eta, "schedule.safetensors");
}

static bool parse(int argc, char **argv, int *status)
{
    static const char *const models[] = {"mlp", "convnet", NULL};
    const flag flags[] = {
        {"model", FLAG_CHOICE, &model, "mlp, of digits, or convnet, of photographs",
         .choices = models},
        {"train", FLAG_COUNT, &n_train, "images to train on", BATCH, 1e6},
        {"validation", FLAG_COUNT, &n_validation, "V; 0: the rest, 2000 at most", 0, 1e6},
        {"hidden", FLAG_COUNT, &hidden, "units of the mlp", 1, 1e5},
        {"filters", FLAG_COUNT, &filters, "of the convnet's first layer", 1, 1e4},
        {"inner-steps", FLAG_COUNT, &inner_steps, "T, of a training", 2, 1e6},
        {"outer-steps", FLAG_COUNT, &outer_steps, "of Adam on the schedule", 1, 1e6},
        {"outer-rate", FLAG_ABOVE, &outer_rate, "of Adam", 0, 100},
        DEMO_FLAGS(&options)};
    return command_parse(
        &(command){
            "tune_schedule",
            "Learns a learning rate for each step and parameter tensor, and a momentum\n"
            "for each step, by the gradient through the training of a network.",
            "A hypergradient counts as three trainings; the grid has sixty.",
            &options.common, sizeof flags / sizeof *flags, flags},
        argc, argv, status);
}

static void set_up(const ht_images *images, const ht_images *others)
{
    int64_t rest = ht_tensor_count(images->labels) - n_train;
    if (!n_validation) n_validation = rest < 2000 ? rest : 2000;
    int64_t *row = demo_rows(run.ctx, images, n_train + n_validation);
    train = demo_set(run.ctx, images, row, n_train);
    validation = demo_set(run.ctx, images, row + n_train, n_validation);
    batches = demo_batches_new(train, BATCH);
    test = demo_set(run.ctx, others, NULL, ht_tensor_count(others->labels));
    free(row);
    theta = ht_set_new(run.ctx), run.eta = eta = ht_set_new(run.ctx);
    if (model == MLP)
        demo_mlp_init(theta, ht_tensor_shape(ht_set_tensor(test, "x")).dim[1], hidden);
    else
        demo_convnet_init(theta, filters);
    layers = ht_set_count(theta);
    for (int l = 0; l < layers; l++) schedule.name[3 + l] = ht_set_name(theta, l);
    ht_set_add(eta, "rate", HT_F64, HT_SHAPE(inner_steps, layers));
    ht_set_add(eta, "momentum", HT_F64, HT_SHAPE(inner_steps));
    ht_check(run.ctx);
    test_judge = judge_new(theta, test, network[model]);
}

static void compute(void)
{
    ht_bilevel *training = training_new();
    int64_t n_grid = SHAPES * RATES * MOMENTA, cost = HYPERGRADIENT * outer_steps;
    ht_tensor *draws = ht_tensor_new(run.ctx, HT_F64, HT_SHAPE(cost, 3));
    ht_tensor_uniform(draws, 1, 0, 1);
    progress_begin((double)(n_grid + 2 * cost));
    book grid = search(GRID, training, n_grid, NULL);
    if (!interrupted()) search(RANDOM, training, cost, draws);
    if (!interrupted()) learn(training, (double)cost);
    if (rows[LEARNED].n) note_schedule(&grid);
    ht_tensor_free(draws);
    ht_bilevel_free(training);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"report.html", "metrics.csv", "config.json",
                                        "schedule.safetensors", NULL};
    int status;
    ht_images images, others;
    if (!parse(argc, argv, &status)) return status;
    if (!options.common.data)
        options.common.data = model == MLP ? MNIST_DATA : CIFAR_DATA;
    demo_begin(&run, files);
    (model == MLP ? demo_read : demo_read_photographs)(
        run.ctx, options.common.data, n_train + (n_validation ? n_validation : 1),
        &images, &others);
    set_up(&images, &others);
    compute();
    if (options.out) write_page();
    demo_print(&run);
    ht_images_free(&images);
    ht_images_free(&others);
    return demo_end(&run);
}
