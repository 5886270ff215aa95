/* SPDX-License-Identifier: MIT */
/* hyperclean.c: data hyper-cleaning: which of these labels are wrong?
 *
 * (Franceschi, Donini, Frasconi & Pontil, "Forward and reverse gradient-based
 * hyperparameter optimization", ICML 2017, section 5.1.)
 *
 * Of N train images x_i, with labels y_i, a fraction carry a label that was replaced by a
 * different one; V validation images are clean. Every train image gets a weight lambda_i.
 * Training is T steps of full-batch gradient descent on softmax regression, from zeros:
 *
 *   L(theta, lambda) = 1/N sum_i lambda_i CE(x_i theta.weight + theta.bias, y_i)
 *   theta_{t+1} = theta_t - rate dL/dtheta(theta_t, lambda),     theta_0 = 0
 *
 * and what is wanted are the weights that make the *trained* model good on clean images:
 *
 *   minimise  F(lambda) = 1/V sum_j CE(validation image j; theta_T(lambda))
 *   subject to  0 <= lambda_i <= 1,  sum_i lambda_i <= R
 *
 * A run gives dF/dlambda, exactly, through all T steps: one number per image that says
 * whether training more on it makes validation worse. ht_bilevel_minimize moves lambda
 * along it by Adam, projecting it onto the constraint. The budget R forces a choice: a
 * weight that ends below 0.001 says "this label is wrong". R is an option and never taken
 * from the number of wrong labels, which nobody knows.
 *
 * lambda starts at R/N for everybody, on the constraint. At first every step of Adam is
 * as long as its rate, whatever the gradient's scale, so a dozen steps suffice. The inner
 * rate acts on a loss whose weights are a fifth on average: 0.3 is like 0.06 of plain
 * training. A larger one fits the V images better and, where V is small, too well.
 *
 * The true labels are used twice only, both after the fact: to score what was found and
 * to train the oracle. What the learned weights are worth is decided by plain trainings
 * on train + validation images, all alike: see hyperclean_train.c.
 *
 * Output of the default run, seed 1 (the last digits depend on the machine's BLAS):
 *
 *   Found wrong (weight below 0.001): 2412 labels, 2313 of them rightly
 *     precision 0.959, recall 0.925, F1 0.942
 *     12 outer steps of T = 100, store-all; weights sum to at most R = 1000
 *
 *                      trained on                                  test accuracy
 *     baseline         5000 given labels + 5000 clean               88.37 %
 *     validation only  5000 clean                                   90.25 %
 *     cleaned          5000 weighted labels + 5000 clean            90.57 % best
 *     oracle           2500 right labels + 5000 clean; knows all    90.90 %
 *
 * Read next: hyperclean_train.c, hyperclean_setup.c, hyperclean_report.c. */
#include <math.h>

#include "hyperclean.h"

ht_var clean_cross_entropy(const clean_run *run, const ht_vars *theta,
                           const ht_vars *images)
{
    return ht_cross_entropy(run->logits(ht_get(images, "x"), theta),
                            ht_get(images, "label"));
}

static ht_var inner_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *train,
                         void *user)
{
    const clean_run *run = user;
    ht_var lambda = ht_get(eta, "lambda");
    if (run->batch) lambda = ht_gather(lambda, ht_get(train, "row"));
    return ht_mean(ht_mul(lambda, clean_cross_entropy(run, theta, train)));
}

/* Images of a step, and their places in lambda. */
static ht_status fill_batch(uint64_t step, ht_set *batch, void *user)
{
    const clean_run *run = user;
    int64_t n = run->options->batch;
    ht_batch_order(run->options->demo.common.seed, step, run->data.n_train, n,
                   run->order);
    for (int i = 0; i < ht_set_count(batch); i++)
        ht_rows(ht_set_at(batch, i), ht_set_at(run->data.train, i), run->order, 0, n);
    return ht_context_status(run->ctx);
}

static ht_var outer_loss(const ht_vars *theta, const ht_vars *eta,
                         const ht_vars *validation, void *user)
{
    (void)eta;
    return ht_mean(clean_cross_entropy(user, theta, validation));
}

static ht_bilevel *problem_new(clean_run *run)
{
    const clean_options *options = run->options;
    const ht_bilevel_problem problem = {
        .inner = inner_loss,
        .outer = outer_loss,
        .theta = run->theta,
        .eta = run->result.eta,
        .inner_data = run->batch ? run->batch : run->data.train,
        .inner_batch = run->batch ? fill_batch : NULL,
        .user = run,
        .outer_data = run->data.validation,
        .update = {.rule = &ht_sgd, .rate = HT_FIXED(options->rate)},
        .steps = options->inner_steps};
    ht_bilevel_options how = {.schedule = (ht_schedule)options->schedule,
                              .bytes = options->demo.memory};
    if (how.schedule == HT_REVOLVE && !how.bytes)
        how.slots = (int64_t)ceil(sqrt((double)options->inner_steps));
    ht_bilevel *bilevel = ht_bilevel_new(run->ctx, &problem, &how);
    ht_check(run->ctx);
    run->result.predicted_bytes = ht_bilevel_bytes(bilevel);
    return bilevel;
}

/* Divergence is a result of a run, not an error; here it ends the program. The gradient
 * of cross-entropy is bounded, so that theta grows by rate times a constant a step and
 * only an absurd rate overflows it. The hypergradient is a product of T factors
 * I - rate H and overflows long before. */
static void check_finite(const clean_run *run, const ht_bilevel_result *got)
{
    ht_check(run->ctx);
    if (got->bad_step < 0) return;
    bool trained = isfinite(got->outer) && isfinite(got->inner);
    progress_end();
    ht_context_fail(run->ctx, HT_ERROR_ARGUMENT, NULL,
                    "hyperclean: %s diverged: step %lld of %lld, op %s\n"
                    "  hint: a smaller --rate, or fewer --inner-steps",
                    trained ? "training is finite, but its derivative" : "training",
                    (long long)got->bad_step, (long long)run->options->inner_steps,
                    got->bad_op);
    ht_check(run->ctx);
}

/* The time of a plain training of T steps, and F at the weights as they stand. */
static double evaluate(clean_run *run, ht_bilevel *bilevel)
{
    stopwatch began = stopwatch_now();
    ht_bilevel_result got = ht_bilevel_evaluate(bilevel, 0);
    stopwatch_add(&run->result.plain, stopwatch_since(began));
    check_finite(run, &got);
    run->result.validation_loss = got.outer;
    run->result.schedule = clean_schedules[got.schedule];
    return got.seconds;
}

static void project(ht_set *eta, void *user)
{
    const clean_run *run = user;
    ht_project_capped_simplex(ht_set_tensor(eta, "lambda"), run->options->radius);
}

/* What an outer step found; false after Ctrl-C. */
static bool outer_step(const ht_outer_step *outer, void *user)
{
    clean_run *run = user;
    clean_result *result = &run->result;
    const ht_bilevel_result *got = &outer->result;
    int64_t done = outer->step + 1;
    stopwatch_add(&result->hypergradients, stopwatch_since(result->step_began));
    check_finite(run, got);
    const float *gradient = ht_tensor_data(ht_set_tensor(got->gradient, "lambda"));
    clean_score s = clean_score_weights(
        &run->data, ht_tensor_data(ht_set_tensor(outer->eta, "lambda")));
    result->steps.rows = outer->step; /* and those of earlier sittings */
    METRICS_ROW(&result->steps, (double)done, got->outer, got->inner, s.found,
                s.precision, s.recall, s.f1, s.weight_sum, got->seconds, s.right_weight,
                s.wrong_weight);
    for (int64_t i = 0; i < run->data.n_train; i++)
        result->distrust[i] += (double)gradient[i];
    result->n_timed++;
    result->peak_bytes = got->peak_bytes;
    progress_step(clean_outer_work(run->options, done), "cleaning", done,
                  run->options->outer_steps, got->outer);
    result->step_began = stopwatch_now();
    return !interrupted();
}

double clean_outer_work(const clean_options *options, int64_t steps)
{
    const double hypergradient = 2.1; /* plain trainings; two more are measured */
    return (hypergradient * (double)steps + 2) * (double)options->inner_steps *
           (double)options->n_train;
}

static void clean(clean_run *run, ht_bilevel *bilevel)
{
    clean_result *result = &run->result;
    ht_outer_options outer = {.update = HT_ADAM(run->options->outer_rate),
                              .steps = run->options->outer_steps,
                              .project = project,
                              .each = outer_step,
                              .user = run,
                              .guard = HT_GUARD_OFF,
                              .save = run->state,
                              .more = result->more};
    outer.update.eps = HT_FIXED(1e-12);
    double first = evaluate(run, bilevel);
    result->step_began = stopwatch_now();
    if (!interrupted()) result->steps.rows = ht_bilevel_minimize(bilevel, &outer).steps;
    ht_check(run->ctx);
    double last = result->steps.rows ? evaluate(run, bilevel) : first;
    result->inner_seconds = (first + last) / 2 * (double)result->steps.rows;
    result->score = clean_score_weights(
        &run->data, ht_tensor_data(ht_set_tensor(result->eta, "lambda")));
}

/* Outer steps, then the trainings of the table. */
static void compute(clean_run *run, ht_bilevel *bilevel)
{
    run->result.began = stopwatch_now();
    interrupt_watch();
    progress_begin(clean_outer_work(run->options, run->options->outer_steps) +
                   clean_training_work(run->options));
    clean(run, bilevel);
    if (!interrupted()) clean_train_all(run);
    progress_end();
    run->result.interrupted = interrupted();
    run->result.seconds = stopwatch_since(run->result.began).wall;
}

static int run_all(const clean_options *options)
{
    clean_run run = clean_run_new(options);
    ht_bilevel *bilevel = problem_new(&run);
    run.state = demo_state(run.ctx, &options->demo);
    if (options->demo.out) clean_out_check(&run);
    output_check(run.ctx, "json", options->demo.common.json);
    ht_check(run.ctx);
    compute(&run, bilevel);
    if (options->demo.out && run.result.steps.rows)
        run.result.written = !clean_write(&run);
    clean_print(&run);
    if (options->demo.common.json) clean_write_json(&run);
    ht_check(run.ctx);
    int code = !command_printed("hyperclean") ? 1 : run.result.interrupted ? 130 : 0;
    ht_bilevel_free(bilevel);
    clean_run_free(&run);
    return code;
}

int main(int argc, char **argv)
{
    clean_options options;
    int status = 0;
    return clean_parse(&options, argc, argv, &status) ? run_all(&options) : status;
}
