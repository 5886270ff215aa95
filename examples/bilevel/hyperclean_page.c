/* SPDX-License-Identifier: MIT */
/* hyperclean_page.c: report.html of --out: what was found and what it is worth, how it
 * went, and the digits themselves. Read next: ../common/report.c. */
#include <math.h>
#include <stdlib.h>

#include "hyperclean.h"

enum { SHOWN = 30, CAPTION = 48, BINS = 20, CLASSES = 10 };

/* Clearly better than the labels as given, and than leaving all of them out; or clearly
 * worse than either. */
static report_tone tone_of(const clean_run *run)
{
    clean_lead given = clean_compare(run, BASELINE);
    clean_lead none = clean_compare(run, VALIDATION_ONLY);
    if (given.points <= -2 * given.error || none.points <= -2 * none.error)
        return REPORT_BAD;
    bool clear = given.points > 2 * given.error && none.points > 2 * none.error;
    return clear ? REPORT_GOOD : REPORT_EVEN;
}

static void put_verdict(report *page, const clean_run *run)
{
    const clean_training *training = run->result.training;
    clean_score score = run->result.score;
    clean_lead given = clean_compare(run, BASELINE);
    clean_lead none = clean_compare(run, VALIDATION_ONLY);
    if (run->result.interrupted)
        report_verdict(page, REPORT_PLAIN,
                       "Interrupted: what the weights are worth was not measured. Of "
                       "%.0f labels found wrong %.0f are.",
                       score.found, score.right);
    else
        report_verdict(page, tone_of(run),
                       "Trained on the cleaned set, a model tells %.2f %% of the test "
                       "images right: %+.2f points (\302\261 %.2f) against the labels as "
                       "given, %+.2f (\302\261 %.2f) against leaving them all out. Of "
                       "%.0f labels found wrong %.0f are.",
                       training[CLEANED].accuracy, given.points, given.error, none.points,
                       none.error, score.found, score.right);
}

static void put_numbers(report *page, const clean_run *run)
{
    clean_score score = run->result.score;
    const clean_training *training = run->result.training;
    if (isfinite(score.f1))
        report_number(page, "F1", "of finding wrong labels", "%.3f", score.f1);
    if (isfinite(score.precision))
        report_number(page, "precision", "of those found are wrong", "%.1f %%",
                      100 * score.precision);
    if (isfinite(score.recall))
        report_number(page, "recall", "of the wrong are found", "%.1f %%",
                      100 * score.recall);
    if (training[ORACLE].done && training[ORACLE].accuracy > training[BASELINE].accuracy)
        report_number(page, "way to the oracle", "done, from the labels as given",
                      "%.0f %%",
                      100 * (training[CLEANED].accuracy - training[BASELINE].accuracy) /
                          (training[ORACLE].accuracy - training[BASELINE].accuracy));
}

static void put_trainings(report *page, const clean_run *run)
{
    static const char *const name[N_TRAININGS] = {
        "baseline: labels as given", "validation only: none of them",
        "cleaned: labels by their weights", "oracle: the right ones, knowing all"};
    report_bar bar[N_TRAININGS];
    int n = 0;
    for (int k = 0; k < N_TRAININGS; k++) {
        double part = run->result.training[k].accuracy / 100;
        if (run->result.training[k].done)
            bar[n++] = (report_bar){
                name[k], 100 * part,
                100 * sqrt(part * (1 - part) / (double)run->data.n_test), k != CLEANED};
    }
    report_bars(page,
                &(report_figure){"Test accuracy, per cent",
                                 .note = "Each also has the clean validation images. "
                                         "Lines: one standard error of each alone."},
                n, bar);
}

/* A column of the outer steps under another name. */
static report_series steps_of(const clean_run *run, const char *column, const char *name)
{
    report_series series = metrics_series(&run->result.steps, column);
    series.name = name;
    return series;
}

static void put_curves(report *page, const clean_run *run)
{
    report_series loss = steps_of(run, "validation_loss", "by the weights");
    report_curve(
        page, &(report_figure){"Validation loss of the trained model", "outer step"}, 2,
        (report_series[]){loss, {"weights all alike", 1, NULL, loss.y, .control = true}});
    report_curve(page, &(report_figure){"Wrong labels found", "outer step"}, 3,
                 (report_series[]){steps_of(run, "f1", "F1"),
                                   steps_of(run, "precision", "precision"),
                                   steps_of(run, "recall", "recall")});
    report_curve(page,
                 &(report_figure){"Mean weight, by what the label is", "outer step"}, 2,
                 (report_series[]){steps_of(run, "right_weight", "right labels"),
                                   steps_of(run, "wrong_weight", "wrong labels")});
}

static void put_weights(report *page, const clean_run *run)
{
    const clean_data *data = &run->data;
    const float *lambda = ht_tensor_data(ht_set_tensor(run->result.eta, "lambda"));
    double *value = malloc((size_t)data->n_train * sizeof *value);
    HT_ASSERT(value, "no memory for %lld weights", (long long)data->n_train);
    int64_t right = 0, wrong = data->n_train;
    for (int64_t i = 0; i < data->n_train; i++)
        value[data->corrupted[i] ? --wrong : right++] = (double)lambda[i];
    report_histogram(
        page,
        &(report_figure){"Weights at the end", "weight", "labels",
                         "The count is logarithmic.", .log_y = true},
        2,
        (report_values[]){{"right labels", right, value},
                          {"wrong labels", data->n_train - right, value + right}},
        BINS);
    free(value);
}

/* Images in the order of trust, from either end, of those whose label is one of these. */
typedef enum labels { ANY, RIGHT_BUT_DISTRUSTED, WRONG_BUT_TRUSTED } labels;

static bool is_shown(const clean_run *run, int64_t row, labels which)
{
    const float *lambda = ht_tensor_data(ht_set_tensor(run->result.eta, "lambda"));
    bool found = (double)lambda[row] < FOUND_WRONG, wrong = run->data.corrupted[row];
    return which == ANY || (found != wrong && wrong == (which == WRONG_BUT_TRUSTED));
}

/* The label given, what it should be, and the weight. */
static report_image digit_of(const clean_run *run, int64_t row, char caption[CAPTION])
{
    const clean_data *data = &run->data;
    const float *pixels = ht_tensor_data(ht_set_tensor(data->train, "x"));
    const int32_t *given = ht_tensor_data(ht_set_tensor(data->train, "label"));
    const float *lambda = ht_tensor_data(ht_set_tensor(run->result.eta, "lambda"));
    char is[16] = "";
    if (data->corrupted[row]) snprintf(is, sizeof is, ", is %d", data->truth[row]);
    snprintf(caption, CAPTION, "\342\200\234%d\342\200\235%s (%.2f)", given[row], is,
             (double)lambda[row]);
    return (report_image){pixels + row * data->channels * data->rows * data->cols,
                          caption, data->corrupted[row] ? REPORT_WRONG : REPORT_RIGHT};
}

static void put_digits(report *page, const clean_run *run, bool most_first, labels which,
                       const report_figure *figure)
{
    const clean_data *data = &run->data;
    double ink = data->channels == 1; /* else light */
    report_image image[SHOWN];
    char caption[SHOWN][CAPTION];
    int n = 0;
    int64_t *order = clean_rank(run);
    for (int64_t k = 0; k < data->n_train && n < SHOWN; k++) {
        int64_t row = order[most_first ? data->n_train - 1 - k : k];
        if (!is_shown(run, row, which)) continue;
        image[n] = digit_of(run, row, caption[n]);
        n++;
    }
    free(order);
    report_images(page, figure,
                  &(report_gallery){data->rows, data->cols, data->channels, ink, 1 - ink,
                                    n, image});
}

static void put_all_digits(report *page, const clean_run *run)
{
    report_section(page, "The images");
    report_text(page, "In quotes the label that the image was given, then what it is if "
                      "that is another, then its weight. Green frames: the label is "
                      "right. Red frames: it is wrong.");
    put_digits(page, run, false, ANY,
               &(report_figure){"Distrusted most",
                                .note = "Pushed down hardest by the hypergradients."});
    put_digits(page, run, false, RIGHT_BUT_DISTRUSTED,
               &(report_figure){"Falsely distrusted",
                                .note = "Labels that are right and were found wrong."});
    put_digits(page, run, true, ANY, &(report_figure){"Trusted most"});
    put_digits(page, run, true, WRONG_BUT_TRUSTED,
               &(report_figure){"Falsely trusted",
                                .note = "Labels that are wrong and were not found."});
}

static void put_found(report *page, const clean_run *run)
{
    static const char *const row[] = {"wrong label", "right label"};
    static const char *const column[] = {"found wrong", "kept"};
    clean_score score = run->result.score;
    double wrong = 0;
    for (int64_t i = 0; i < run->data.n_train; i++) wrong += run->data.corrupted[i];
    double all_right = (double)run->data.n_train - wrong,
           falsely = score.found - score.right;
    report_matrix(
        page, &(report_figure){"Labels: what they are, and what was found"}, 2, row, 2,
        column,
        (double[]){score.right, wrong - score.right, falsely, all_right - falsely});
}

static void put_confusion(report *page, const clean_run *run)
{
    static const char *const digit[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    double count[CLASSES * CLASSES] = {0};
    const clean_training *cleaned = &run->result.training[CLEANED];
    const int32_t *is = ht_tensor_data(ht_set_tensor(run->data.test, "label"));
    if (!cleaned->done) return;
    for (int64_t i = 0; i < run->data.n_test; i++)
        count[is[i] * CLASSES + cleaned->said[i]]++;
    report_matrix(page,
                  &(report_figure){"Test images: what they are, and what the model "
                                   "trained on the cleaned set says",
                                   .note = "A row is a class, a column an answer."},
                  CLASSES, digit, CLASSES, digit, count);
}

static void put_account(report *page, const clean_run *run)
{
    const clean_result *result = &run->result;
    double ratio = clean_time_ratio(result);
    report_section(page, "Memory and time");
    report_fact(page, "the unroll held", "%.1f MB", (double)result->peak_bytes / 1e6);
    report_fact(page, "predicted before the first step", "%.1f MB",
                (double)result->predicted_bytes / 1e6);
    report_fact(page, "checkpoints", "%s", result->schedule);
    report_fact(page, "hypergradients", "%lld in %.1f s", (long long)result->steps.rows,
                clean_seconds(result));
    if (isfinite(ratio))
        report_fact(page, "a hypergradient, in plain trainings of its length", "%.2f",
                    ratio);
    report_account(page, result->began);
    report_section(page, "Settings");
    report_settings(page);
}

ht_status clean_write_page(const clean_run *run, const char *path)
{
    report page;
    (void)path;
    if (!report_open(&page, run->ctx, run->options->demo.out,
                     "Hyper-cleaning: which labels are wrong?"))
        return ht_context_status(run->ctx);
    put_verdict(&page, run);
    put_numbers(&page, run);
    report_text(&page,
                "%lld images of which %.0f carry a wrong label, and %lld that are clean. "
                "Every image of the first got a weight, moved so that a training by the "
                "weights does well on the clean ones; a weight below %g says that the "
                "label is wrong. %lld steps, each through %lld steps of training.",
                (long long)run->data.n_train,
                round(run->options->corrupt * (double)run->data.n_train),
                (long long)run->data.n_validation, FOUND_WRONG,
                (long long)run->result.steps.rows, (long long)run->options->inner_steps);
    report_section(&page, "What it is worth, and how it went");
    if (run->result.training[CLEANED].done) put_trainings(&page, run);
    put_curves(&page, run);
    put_weights(&page, run);
    put_all_digits(&page, run);
    report_section(&page, "Mistakes");
    put_found(&page, run);
    put_confusion(&page, run);
    put_account(&page, run);
    return report_close(&page);
}
