/* SPDX-License-Identifier: MIT */
/* hyperclean.c: data hyper-cleaning: which of these labels are wrong?
 * (Franceschi, Donini, Frasconi & Pontil, ICML 2017, section 5.1.)
 * Of N train images x_i a fraction carry a label y_i that is not theirs; V validation
 * images are clean. Each train image has a weight lambda_i in T steps of descent:
 *
 *   L(theta, lambda) = 1/N sum_i lambda_i CE(x_i, y_i; theta)     over all, or a batch
 *   minimise  F(lambda) = 1/V sum_j CE(validation image j; theta_T(lambda))
 *   subject to  0 <= lambda_i <= 1,  sum_i lambda_i <= R
 *
 * dF/dlambda, through all T steps, says of each image whether training more on it makes
 * validation worse; Adam moves lambda along it from R/N each, projected onto the
 * constraint. R forces a choice: a weight that ends below 0.001 says "this label is
 * wrong". It is not taken from the number of wrong labels, which nobody knows. Adam's
 * first steps are as long as its rate, so a dozen suffice. The inner rate acts on a loss
 * whose weights are a fifth on average; a larger one fits V too well where it is small.
 * The true labels serve twice, after the fact: to score what was found, and the oracle.
 * What weights are worth is decided by plain trainings, all alike, full batch, on
 *   ( sum_i w_i CE_i + sum_j CE_j ) / ( sum_i w_i + V )    w_i = 1, 0, lambda_i, right_i
 * with momentum 0.9 and rate 0.1, from the same start.
 * Output of the default run, seed 1 (the last digits depend on the machine's BLAS):
 *   Found wrong (weight below 0.001): 2412 labels, 2313 of them rightly
 *     precision 0.959, recall 0.925, F1 0.942
 *                           learns from                        test trainings
 *     baseline              all labels as given             88.37 %        1
 *     validation only       none of them                    90.25 %        1
 *     cleaned               labels by their weights         90.57 %        7  best
 *     oracle                right labels; it knows all      90.90 %        1
 * Read next: tune_penalty.c, ../common/demo.h. */
#include <math.h>

#include "demo.h"

enum { BASELINE, VALIDATION_ONLY, CLEANED, ORACLE, N_ENTRANTS };
enum { SECONDS = 8 }; /* the column of steps */
static int64_t n_train = 5000, n_validation = 5000, inner_steps, outer_steps,
               final_steps = 300, n_batch, hidden = 64;
static double corrupt = 0.5, radius, rate, outer_rate = 0.1;
static int model, schedule;
static bool paper;
static demo_options options = {.common = {.seed = 1, .data = MNIST_DATA}};

/* A hypergradient in trainings of the table. */
#define STEP_COST                                                                  \
    (HYPERGRADIENT * (double)inner_steps * (double)(n_batch ? n_batch : n_train) / \
     (double)final_steps / (double)(n_train + n_validation))

static entrant rows[] = {
    {"baseline", "baseline", "all labels as given", .as = "the baseline"},
    {"validation_only", "validation only", "none of them"},
    {"cleaned", "cleaned", "labels by their weights", .learned = true,
     .doing = "cleaning"},
    {"oracle", "oracle", "right labels; it knows all", .knows_all = true,
     .as = "the oracle"}};
static metrics steps = {.name = {"outer_step", "validation_loss", "inner_loss", "found",
                                 "precision", "recall", "f1", "weight_sum",
                                 "hypergradient_seconds", "right_weight",
                                 "wrong_weight"}};
static doubtful data;
static trust trusted = {&data, .below = 1e-3};
static demo_number numbers[5];
static char title[96];
static demo run = {.name = "hyperclean",
                   .title = title,
                   .options = &options,
                   .entrant = rows,
                   .n_entrants = N_ENTRANTS,
                   .learned = CLEANED,
                   .control = BASELINE,
                   .note = "all learn from the clean validation images too",
                   .steps = &steps,
                   .trust = &trusted,
                   .numbers = numbers};
static logits_fn logits;
static judge *test_judge;
static demo_batches batches;
static ht_set *validation, *test, *eta, *theta, *trained, *weights;
static ht_set *cleaned;  /* the model that learned from the weights; NULL: none yet */
static double *distrust; /* (n_train) sums of the hypergradients */

static ht_var outer_loss(const ht_vars *params, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    return ht_mean(demo_losses(logits, params, images));
}

static ht_var inner_loss(const ht_vars *params, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    ht_var w = ht_get(outer, "lambda");
    if (n_batch) w = ht_gather(w, ht_get(images, "row"));
    return ht_mean(ht_mul(w, demo_losses(logits, params, images)));
}

static ht_bilevel *training_new(void)
{
    const ht_bilevel_problem problem = {
        .inner = inner_loss,
        .outer = outer_loss,
        .theta = theta,
        .eta = eta,
        .inner_data = n_batch ? batches.room : data.set,
        .inner_batch = n_batch ? demo_batch : NULL,
        .user = &batches,
        .outer_data = validation,
        .update = {.rule = &ht_sgd, .rate = HT_FIXED(rate)},
        .steps = inner_steps};
    ht_bilevel_options how = {.schedule = (ht_schedule)schedule, .bytes = options.memory};
    if (how.schedule == HT_REVOLVE && !how.bytes)
        how.slots = (int64_t)ceil(sqrt((double)inner_steps));
    ht_bilevel *training = ht_bilevel_new(run.ctx, &problem, &how);
    ht_check(run.ctx);
    return training;
}

static void project(ht_set *outer, void *user)
{
    ht_project_capped_simplex(ht_set_at(outer, 0), radius);
}

static bool each(const ht_outer_step *step, void *user)
{
    const ht_bilevel_result *got = &step->result;
    const float *slope = ht_tensor_data(ht_set_at(got->gradient, 0));
    demo_finite(&run, got, inner_steps);
    trust_score s = trust_measure(&trusted);
    METRICS_ROW(&steps, (double)(step->step + 1), got->outer, got->inner, s.found,
                s.precision, s.recall, s.f1, s.weight_sum, got->seconds, s.right_weight,
                s.wrong_weight);
    for (int64_t i = 0; i < n_train; i++) distrust[i] += (double)slope[i];
    return true;
}

/* F, and the time of a plain training of T steps, are those of before and after. */
static void learn(ht_bilevel *training)
{
    ht_outer_options outer = {.project = project, .each = each};
    outer.update = HT_ADAM(outer_rate), outer.steps = outer_steps;
    outer.update.eps = HT_FIXED(1e-12), outer.guard = HT_GUARD_OFF;
    ht_bilevel_result first = demo_evaluate(&run, training, inner_steps), last = first;
    if (!interrupted()) demo_minimize(&run, CLEANED, training, outer, STEP_COST);
    if (steps.rows) last = demo_evaluate(&run, training, inner_steps);
    double plain = (first.seconds + last.seconds) / 2 * (double)steps.rows, all = 0;
    for (int64_t k = 0; k < steps.rows; k++) all += steps.cell[k * METRICS + SECONDS];
    numbers[0] = (demo_number){"validation_loss", last.outer};
    numbers[1] = (demo_number){"hypergradient_seconds", all};
    numbers[2] = (demo_number){"inner_seconds", plain};
    numbers[3] = (demo_number){"test", (double)ht_tensor_count(ht_set_at(test, 1))};
}

/* Of validation images, and of train images and w unless these are left out, which is the
 * same as w = 0. */
static void build_gradient(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_var loss = ht_sum(demo_losses(logits, in[0], in[1])),
           total = ht_constant(ht_vars_tape(in[0]), (double)n_validation);
    if (in[2]) {
        ht_var w = ht_get(in[3], "w");
        loss = ht_add(loss, ht_sum(ht_mul(w, demo_losses(logits, in[0], in[2]))));
        total = ht_add(ht_sum(w), total);
    }
    ht_vars_backward(ht_div(loss, total), in[0], out[0]);
}

static void set_weights(int which)
{
    ht_tensor *w = ht_set_at(weights, 0);
    ht_tensor_copy(w, ht_set_at(eta, 0));
    for (int64_t i = 0; which != CLEANED && i < n_train; i++)
        ht_tensor_set(w, i, which == BASELINE || data.given[i] == data.truth[i]);
}

/* A row of the table. */
static void enter(int which)
{
    static const char *const what[] = {
        "training the baseline", "training on validation only",
        "training on the cleaned set", "training the oracle"};
    const ht_set *in[] = {trained, validation, which == VALIDATION_ONLY ? NULL : data.set,
                          weights, NULL};
    const ht_update momentum = HT_MOMENTUM(0.1, 0.9);
    if (interrupted()) return;
    ht_set_copy(trained, theta);
    set_weights(which);
    demo_train(&run, what[which], trained, in, build_gradient, &momentum, final_steps);
    entrant_judge_theta(&rows[which], test_judge, trained, (double)NAN,
                        1 + (which == CLEANED ? STEP_COST * (double)outer_steps : 0));
    if (which == CLEANED && rows[which].n) cleaned = ht_set_clone(trained, 0);
}

static void compute(ht_bilevel *training)
{
    progress_begin(N_ENTRANTS + STEP_COST * (double)outer_steps);
    learn(training);
    enter(CLEANED);
    enter(BASELINE);
    enter(VALIDATION_ONLY);
    enter(ORACLE);
    ht_bilevel_free(training);
}

static void write_page(void)
{
    report page;
    report_series loss = metrics_series(&steps, "validation_loss");
    loss.name = "by the weights";
    if (!demo_page(&page, &run)) return;
    report_curve(
        &page, &(report_figure){"Validation loss of the trained model", "outer step"}, 2,
        (report_series[]){loss, {"weights all alike", 1, NULL, loss.y, .control = true}});
    trust_curves(&page, &steps);
    trust_page(&page, &trusted, cleaned ? judge_confusion(test_judge, cleaned) : NULL);
    demo_write(&run, "model.safetensors", cleaned);
    demo_page_end(&page, &run, eta, "weights.safetensors");
}

static bool parse(int argc, char **argv, int *status)
{
    const flag flags[] = {
        {"train", FLAG_COUNT, &n_train, "images with doubtful labels", 1, 1e8},
        {"validation", FLAG_COUNT, &n_validation, "images with clean labels", 1, 1e8},
        {"corrupt", FLAG_NUMBER, &corrupt, "fraction of wrong labels", 0, 1},
        {"radius", FLAG_ABOVE, &radius, "R, what weights may sum to (train / 5)", 0, 1e8},
        {"inner-steps", FLAG_COUNT, &inner_steps, "T, of a training (100)", 1, 1e6},
        {"outer-steps", FLAG_COUNT, &outer_steps, "of Adam on the weights (12)", 1, 1e6},
        {"final-steps", FLAG_COUNT, &final_steps, "of trainings in the table", 1, 1e6},
        {"rate", FLAG_ABOVE, &rate, "of its descent (0.3; mlp and conv 1)", 0, 1e38},
        {"outer-rate", FLAG_ABOVE, &outer_rate, "of Adam", 0, 1e6},
        {"model", FLAG_CHOICE, &model, "linear, mlp or conv", .choices = demo_models},
        {"hidden", FLAG_COUNT, &hidden, "units of the mlp", 1, 1e5},
        {"batch", FLAG_COUNT, &n_batch, "images of an inner step; 0: all", 0, 1e8},
        {"schedule", FLAG_CHOICE, &schedule, "auto, store-all, two-level or revolve",
         .choices = demo_schedules},
        {"paper", FLAG_SWITCH, &paper, "the paper's setting: T = 2000, 500 outer steps"},
        DEMO_FLAGS(&options)};
    bool good = command_parse(
        &(command){
            "hyperclean",
            "Finds wrong labels by differentiating through a whole training: every\n"
            "image gets a weight, moved so that training with the weights does well on\n"
            "clean validation images. A weight below 0.001 says: this label is wrong.",
            "hypergradient_seconds is of all outer steps, inner_seconds of as many "
            "plain\n"
            "trainings of T steps. Revolve keeps sqrt(T) states if --memory says "
            "nothing.",
            &options.common, sizeof flags / sizeof *flags, flags},
        argc, argv, status);
    if (!inner_steps) inner_steps = paper ? 2000 : 100;
    if (!outer_steps) outer_steps = paper ? 500 : 12;
    if (rate <= 0) rate = model ? 1 : 0.3;
    if (radius <= 0) radius = (double)n_train / 5;
    if (paper) run.note = "paper: baseline 87.74, cleaned 90.0+, F1 .91+, oracle 90.46";
    return good;
}

static void set_up(const ht_images *images, const ht_images *others)
{
    int64_t *row = demo_rows(run.ctx, images, n_train + n_validation);
    validation = demo_set(run.ctx, images, row + n_train, n_validation);
    data = demo_doubtful(run.ctx, images, row, n_train, n_train, corrupt);
    if (n_batch) batches = demo_batches_new(data.set, n_batch);
    test = demo_set(run.ctx, others, NULL, ht_tensor_count(others->labels));
    theta = ht_set_new(run.ctx);
    logits = demo_model(model, theta, images, hidden);
    trained = ht_set_clone(theta, 0);
    test_judge = judge_new(theta, test, logits);
    run.eta = eta = ht_set_new(run.ctx);
    weights = ht_set_new(run.ctx);
    ht_tensor *lambda = ht_set_add(eta, "lambda", HT_F32, HT_SHAPE(n_train));
    ht_set_add(weights, "w", HT_F32, HT_SHAPE(n_train));
    ht_tensor *sums = ht_set_add(run.more, "distrust", HT_F64, HT_SHAPE(n_train));
    ht_check(run.ctx);
    ht_tensor_fill(lambda, fmin(1, radius / (double)n_train));
    trusted.weight = ht_tensor_data(lambda);
    trusted.distrust = distrust = ht_tensor_data(sums);
    snprintf(title, sizeof title,
             "Data hyper-cleaning: %lld train images, %.0f with a wrong label",
             (long long)n_train, round(corrupt * (double)n_train));
}

int main(int argc, char **argv)
{
    static const char *const files[] = {
        "metrics.csv",       "config.json",    "weights.csv", "weights.safetensors",
        "model.safetensors", "distrusted.png", "report.html", NULL};
    int status;
    ht_images images, others;
    if (!parse(argc, argv, &status)) return status;
    demo_begin(&run, NULL);
    demo_read(run.ctx, options.common.data, n_train + n_validation, &images, &others);
    set_up(&images, &others);
    ht_bilevel *training = training_new();
    demo_folder(&run, files);
    compute(training);
    if (options.out && steps.rows) write_page();
    demo_print(&run);
    ht_images_free(&images);
    ht_images_free(&others);
    return demo_end(&run);
}
