/* SPDX-License-Identifier: MIT */
/* influence.c: which training images made a network say that, and is it so?
 *
 * Each of N training images has a weight w_i = 1 in a training by mini-batches. F_k is
 * the margin by which test image k is answered wrongly. One hypergradient a query,
 *
 *   score_ki = -w_i dF_k/dw_i       what leaving image i out does to query k, foretold
 *
 * ranks all images: those without which the query would do worse have helped, the others
 * have hurt. It is then proved: by training again without each that is shown, and without
 * random parts, from the same start with the same batches. First of all three trainings
 * say whether to believe it (S^, ht_influence_smoothness); if not, no query is asked.
 *
 * Output of the default run, seed 1 (the last digits depend on the machine's BLAS):
 *
 *   Believe it: S^ of the margins 1.000, wanted 0.95; training loss 0.52
 *   Foretold and found, 30 parts of 5 % left out: rank correlation 0.997 (0.986 .. 0.999)
 *   Foretold and found, 24 images left out alone: correlation 1.000
 *
 * Read next: ../../bilevel/ht_influence.h, ../bilevel/hyperclean.c. */
#include <math.h>
#include <stdlib.h>

#include "demo.h"

enum { MOST = 16, SHOWN = 3, CAPTION = 48, BATCH = 512, HIDDEN = 64 };
#define ENOUGH    0.95 /* S^ */
#define AGREEMENT 0.85 /* LDS */

static int64_t n_train = 5000, epochs = 20, n_batch = 64, n_queries = 4, n_parts = 30;
static double rate = 0.01, momentum = 0;
static int model;
static bool anyway;
static const char *out;
static common_options options = {.seed = 1, .data = MNIST_DATA};

static ht_context *ctx;
static logits_fn logits;
static ht_images images, others;
static ht_set *train, *room, *queries, *theta, *eta;
static ht_influence *influence;
static ht_smoothness smooth;
static ht_tensor *scores;
static ht_lds parts, single;                     /* where scores are */
static double trainings, found[MOST][2 * SHOWN]; /* of the images shown */
static int64_t shown[MOST][2 * SHOWN];           /* helped most, then hurt most */

static ht_var train_loss(const ht_vars *weights, const ht_vars *outer,
                         const ht_vars *data, void *user)
{
    ht_var w = ht_gather(ht_get(outer, "w"), ht_get(data, "row"));
    return ht_mean(ht_mul(w, demo_losses(logits, weights, data)));
}

/* (n) how far the right answer is behind all others, log sum exp of those. */
static ht_var margins(const ht_vars *weights, const ht_vars *outer, const ht_vars *data,
                      void *user)
{
    ht_var z = logits(ht_get(data, "x"), weights),
           right = ht_one_hot(ht_get(data, "label"), 10, HT_F32);
    ht_var rest = ht_sum_axes(ht_mul(ht_exp(z), ht_sub(1, right)), HT_AXES(1), false);
    return ht_sub(ht_log(rest), ht_sum_axes(ht_mul(z, right), HT_AXES(1), false));
}

/* By several trainings at once, each with a room of its own. */
static ht_status fill(uint64_t step, ht_set *to, void *user)
{
    int64_t order[BATCH];
    ht_batch_order(options.seed, step, n_train, n_batch, order);
    return demo_fill(to, train, order, 0);
}

static void set_up(void)
{
    int64_t *row = demo_rows(ctx, &images, n_train), *asked;
    train = demo_set(ctx, &images, row, n_train);
    ht_tensor *number = ht_set_add(train, "row", HT_I32, HT_SHAPE(n_train));
    ht_check(ctx);
    for (int64_t i = 0; i < n_train; i++) ht_tensor_set(number, i, (double)i);
    room = demo_room(train, n_batch);
    asked = demo_rows(ctx, &others, n_queries);
    queries = demo_set(ctx, &others, asked, n_queries);
    theta = ht_set_new(ctx);
    logits = demo_model(model, theta, &images, HIDDEN);
    eta = ht_set_new(ctx);
    ht_tensor *w = ht_set_add(eta, "w", HT_F32, HT_SHAPE(n_train));
    ht_check(ctx);
    ht_tensor_fill(w, 1);
}

static void open_influence(void)
{
    ht_update update = momentum > 0 ? HT_MOMENTUM(rate, momentum) : HT_SGD(rate);
    const ht_bilevel_problem problem = {train_loss,
                                        margins,
                                        NULL,
                                        theta,
                                        eta,
                                        room,
                                        queries,
                                        fill,
                                        NULL,
                                        update,
                                        epochs * (n_train / n_batch)};
    influence = ht_influence_new(ctx, &problem, &(ht_influence_options){.weight = "w"});
    ht_check(ctx);
}

/* The places of the largest scores of a query, and of the smallest. */
static void choose(int64_t query, int64_t *place)
{
    for (int k = 0; k < 2 * SHOWN; k++) {
        double best = (double)NAN, sign = k < SHOWN ? 1 : -1;
        for (int64_t i = 0; i < n_train; i++) {
            double score = sign * ht_tensor_get(scores, query * n_train + i);
            bool taken = false;
            for (int j = 0; j < k; j++) taken = taken || place[j] == i;
            if (taken || score <= best) continue;
            best = score;
            place[k] = i;
        }
    }
}

static ht_tensor *table(ht_dtype dtype, int64_t rows, int64_t columns)
{
    ht_tensor *x = ht_tensor_new(ctx, dtype, HT_SHAPE(rows, columns));
    ht_check(ctx);
    return x;
}

/* Without each of those shown, alone. */
static void prove_shown(void)
{
    int64_t each = 2 * SHOWN, rows = n_queries * each;
    ht_tensor *without = table(HT_U8, rows, n_train), *one = table(HT_U8, rows, rows),
              *changes = table(HT_F64, rows, n_queries), *is = table(HT_F64, rows, 1),
              *foretold = table(HT_F64, 1, rows);
    for (int64_t i = 0; i < rows; i++)
        ht_tensor_set(without, i * n_train + shown[i / each][i % each], 1);
    ht_influence_retrain(influence, without, changes);
    for (int64_t i = 0; i < rows; i++) {
        int64_t q = i / each, k = i % each;
        found[q][k] = ht_tensor_get(changes, i * n_queries + q);
        ht_tensor_set(is, i, found[q][k]);
        ht_tensor_set(foretold, i, ht_tensor_get(scores, q * n_train + shown[q][k]));
    }
    ht_influence_random(one, 1, 1); /* each in turn */
    single = ht_influence_lds(foretold, one, is, 0, options.seed);
    ht_check(ctx);
    trainings += (double)rows + 1;
}

/* Without random parts. */
static void prove_parts(void)
{
    ht_tensor *without = table(HT_U8, n_parts, n_train),
              *changes = table(HT_F64, n_parts, n_queries);
    ht_influence_random(without, n_train / 20, options.seed);
    ht_influence_retrain(influence, without, changes);
    parts = ht_influence_lds(scores, without, changes, 1000, options.seed);
    ht_check(ctx);
    trainings += (double)n_parts + 1;
}

static bool believed(void)
{
    return smooth.outer >= ENOUGH;
}

static void compute(void)
{
    progress_begin(4);
    progress(0, "asking whether to believe it", "");
    smooth = ht_influence_smoothness(influence, 0.05, options.seed);
    ht_check(ctx);
    trainings = 3;
    if (!believed() && !anyway) return;
    progress(1, "scores of all images", "");
    scores = table(HT_F64, n_queries, n_train);
    ht_influence_scores(influence, scores);
    ht_check(ctx);
    for (int64_t q = 0; q < n_queries; q++) choose(q, shown[q]);
    progress(2, "trainings without those shown", "");
    if (!interrupted()) prove_shown();
    progress(3, "trainings without random parts", "");
    if (!interrupted()) prove_parts();
}

static void print_found(FILE *f)
{
    fprintf(f, "%s: S^ of the margins %.3f, wanted %.2f; training loss %.3g\n",
            believed() ? "Believe it" : "Do not trust it", smooth.outer, ENOUGH,
            smooth.inner);
    if (!believed())
        fputs("  a gradient does not foretell what images do here: try a smaller rate, "
              "a larger\n  batch, fewer epochs, linear; --anyway asks all the same\n",
              f);
    if (!scores) return;
    fprintf(
        f,
        "Foretold and found, %lld parts of 5 %% left out: rank correlation %.3f (%.3f "
        ".. %.3f)\nForetold and found, %lld images left out alone: correlation "
        "%.3f\n",
        (long long)n_parts, parts.mean, parts.low, parts.high,
        (long long)(n_queries * 2 * SHOWN), single.pearson);
}

/* A query, what helped and what hurt, each with the change foretold and the change. */
static void put_query(report *page, int64_t q)
{
    enum { N = 1 + 2 * SHOWN };
    ht_shape shape = ht_tensor_shape(images.pixels);
    const int64_t *side = shape.dim + shape.rank - 2, colour = shape.rank == 4,
                  pixels = ht_tensor_count(images.pixels) / shape.dim[0];
    char title[CAPTION], caption[N][CAPTION];
    report_image image[N];
    for (int k = 0; k < N; k++) {
        const ht_set *set = k ? train : queries;
        int64_t row = k ? shown[q][k - 1] : q;
        const float *x = ht_tensor_data(ht_set_tensor(set, "x"));
        int n = snprintf(caption[k], CAPTION, "\u201c%d\u201d%s",
                         (int)ht_tensor_get(ht_set_tensor(set, "label"), row),
                         k ? "" : ", asked");
        if (k)
            snprintf(caption[k] + n, (size_t)(CAPTION - n), ": %+.4f, %+.4f",
                     ht_tensor_get(scores, q * n_train + row), found[q][k - 1]);
        image[k] = (report_image){x + row * pixels, caption[k],
                                  (report_mark)(k ? 1 + (k > SHOWN) : 0)};
    }
    snprintf(title, sizeof title, "Test image %lld", (long long)q + 1);
    report_images(page, &(report_figure){title},
                  &(report_gallery){side[0], side[1], colour ? 3 : 1, !colour,
                                    (double)colour, N, image});
}

static void write_page(stopwatch began)
{
    static const char *const verdict[] = {
        [REPORT_GOOD] = "What the gradient foretells is what training finds.",
        [REPORT_EVEN] = "What the gradient foretells, training finds in part at most.",
        [REPORT_BAD] = "Do not trust it."};
    report page;
    if (!report_open(&page, ctx, out, "Which images made it say that?")) return;
    report_tone tone = !believed()                         ? REPORT_BAD
                       : scores && parts.mean >= AGREEMENT ? REPORT_GOOD
                                                           : REPORT_EVEN;
    report_verdict(&page, tone, "%s", verdict[tone]);
    report_number(&page, "S^", "of the margins, 0.95 wanted", "%.3f", smooth.outer);
    if (scores) {
        report_number(&page, "LDS", "parts left out at random", "%.3f", parts.mean);
        report_number(&page, "95 % of it", "by bootstrap", "%.3f to %.3f", parts.low,
                      parts.high);
        report_number(&page, "alone", "correlation, images shown", "%.3f",
                      single.pearson);
    }
    report_section(&page, "What helped and what hurt");
    report_text(&page,
                "In quotes the label, then by how much more a test image would be "
                "answered wrongly without this one: foretold by the gradient, and found "
                "by training again. Green frames have helped most, red ones hurt.");
    for (int64_t q = 0; q < n_queries && scores; q++) put_query(&page, q);
    report_section(&page, "Memory and time");
    report_fact(&page, "trainings", "%.0f", trainings);
    report_account(&page, began);
    report_section(&page, "Settings");
    report_settings(&page);
    report_close(&page);
}

static void write_json(void)
{
    const double none = (double)NAN;
    const demo_number number[] = {{"smooth_outer", smooth.outer},
                                  {"smooth_weights", smooth.theta},
                                  {"training_loss", smooth.inner},
                                  {"lds", scores ? parts.mean : none},
                                  {"lds_low", scores ? parts.low : none},
                                  {"lds_high", scores ? parts.high : none},
                                  {"alone_pearson", scores ? single.pearson : none},
                                  {"trainings", trainings},
                                  {NULL}};
    output o;
    if (!options.json || !output_open(&o, ctx, options.json, false)) return;
    json_text(&o, "trusted", believed() ? "true" : "false");
    for (const demo_number *n = number; n->key; n++) json_number(&o, n->key, n->value);
    json_close(&o);
}

static bool parse(int argc, char **argv, int *status)
{
    const flag flags[] = {
        {"model", FLAG_CHOICE, &model, "linear, mlp or conv", .choices = demo_models},
        {"train", FLAG_COUNT, &n_train, "images to train on", 64, 1e6},
        {"epochs", FLAG_COUNT, &epochs, "over them", 1, 1e4},
        {"batch", FLAG_COUNT, &n_batch, "images of a step", 1, BATCH},
        {"rate", FLAG_ABOVE, &rate, "of its descent", 0, 1e3},
        {"momentum", FLAG_NUMBER, &momentum, "of its descent; 0: none", 0, 0.9999},
        {"queries", FLAG_COUNT, &n_queries, "test images asked about", 1, MOST},
        {"parts", FLAG_COUNT, &n_parts, "random parts of 5 % left out", 3, 1e4},
        {"anyway", FLAG_SWITCH, &anyway, "ask, even if it is not to be believed"},
        {"out", FLAG_FOLDER, &out, "write report.html"}};
    return command_parse(
        &(command){"influence",
                   "Says which training images made a network answer as it does, by the\n"
                   "gradient through its training, and proves it by training without "
                   "them.",
                   "If S^ says that gradients foretell nothing, no query is asked.",
                   &options, sizeof flags / sizeof *flags, flags},
        argc, argv, status);
}

int main(int argc, char **argv)
{
    static const char *const files[] = {"report.html", NULL};
    int status;
    if (!parse(argc, argv, &status)) return status;
    ctx = ht_context_new(
        &(ht_context_options){.seed = options.seed, .threads = options.threads});
    HT_ASSERT(ctx, "no memory for a context");
    stopwatch began = stopwatch_now();
    if (out) output_folder(ctx, "influence", out, files);
    output_check(ctx, "json", options.json);
    ht_check(ctx);
    interrupt_watch();
    demo_read(ctx, options.data, n_train, &images, &others);
    set_up();
    open_influence();
    compute();
    progress_end();
    print_found(command_text(&options));
    if (out) write_page(began);
    write_json();
    ht_check(ctx);
    ht_influence_free(influence);
    return !command_printed("influence") ? 1 : interrupted() ? 130 : 0;
}
