/* SPDX-License-Identifier: MIT */
/* hyperclean_report.c: what the demo says: the table, and the object of --json.
 * Read next: hyperclean_files.c. */
#include <math.h>
#include <sys/resource.h>

#include "hyperclean.h"

clean_score clean_score_weights(const clean_data *data, const float *lambda)
{
    clean_score score = {0};
    double wrong = 0, wrong_sum = 0, sum = 0;
    for (int64_t i = 0; i < data->n_train; i++) {
        bool found = (double)lambda[i] < FOUND_WRONG;
        wrong += data->corrupted[i];
        score.found += found;
        score.right += found && data->corrupted[i];
        sum += (double)lambda[i];
        wrong_sum += data->corrupted[i] ? (double)lambda[i] : 0;
    }
    score.precision = score.right / score.found;
    score.recall = score.right / wrong;
    score.f1 = 2 * score.right / (score.found + wrong);
    score.weight_sum = sum;
    score.wrong_weight = wrong_sum / wrong;
    score.right_weight = (sum - wrong_sum) / ((double)data->n_train - wrong);
    return score;
}

static const char *const training_names[N_TRAININGS] = {"baseline", "validation only",
                                                        "cleaned", "oracle"};

clean_lead clean_compare(const clean_run *run, int other)
{
    const uint8_t *a = run->result.training[CLEANED].right,
                  *b = run->result.training[other].right;
    double n = (double)run->data.n_test, only_a = 0, only_b = 0;
    for (int64_t i = 0; i < run->data.n_test; i++) {
        only_a += a[i] && !b[i];
        only_b += b[i] && !a[i];
    }
    double difference = only_a - only_b;
    double variance = only_a + only_b - difference * difference / n;
    return (clean_lead){100 * difference / n, 100 * sqrt(fmax(0, variance)) / n};
}

double clean_time_ratio(const clean_result *result)
{
    return 2 / (double)result->n_timed *
           stopwatch_ratio(result->hypergradients, result->plain);
}

double clean_seconds(const clean_result *result)
{
    report_series seconds = metrics_series(&result->steps, "hypergradient_seconds");
    double sum = 0;
    for (int64_t i = 0; i < seconds.n; i++) sum += seconds.y[i * seconds.stride];
    return sum;
}

static void print_versus(FILE *f, const clean_run *run, int other, const char *name)
{
    clean_lead c = clean_compare(run, other);
    const char *verdict = !(fabs(c.points) > 0)           ? "ties with"
                          : fabs(c.points) <= 2 * c.error ? "no clear difference from"
                          : c.points > 0                  ? "beats"
                                                          : "loses to";
    fprintf(f, "  cleaned %s %s: %+.2f points (+- %.2f)\n", verdict, name, c.points,
            c.error);
}

/* The best of those that know no more than given labels. */
static double best_accuracy(const clean_result *result)
{
    double best = 0;
    for (int k = 0; k < ORACLE; k++) best = fmax(best, result->training[k].accuracy);
    return best;
}

static void print_trainings(FILE *f, const clean_run *run)
{
    const clean_result *result = &run->result;
    long long validation = (long long)run->data.n_validation,
              train = (long long)run->data.n_train;
    double right = (double)train - round(run->options->corrupt * (double)train);
    char on[N_TRAININGS][64];
    snprintf(on[0], sizeof on[0], "%lld given labels + %lld clean", train, validation);
    snprintf(on[1], sizeof on[1], "%lld clean", validation);
    snprintf(on[2], sizeof on[2], "%lld weighted labels + %lld clean", train, validation);
    snprintf(on[3], sizeof on[3], "%.0f right labels + %lld clean; knows all", right,
             validation);
    fprintf(f, "\n  %-16s %-43s %s\n", "", "trained on", "test accuracy");
    for (int k = 0; k < N_TRAININGS; k++) {
        const clean_training *training = &result->training[k];
        bool best = k != ORACLE && training->accuracy >= best_accuracy(result);
        fprintf(f, "  %-16s %-43s", training_names[k], on[k]);
        if (training->done)
            fprintf(f, " %6.2f %%%s\n", training->accuracy, best ? " best" : "");
        else
            fprintf(f, "      not run\n");
    }
    fprintf(f,
            "  all: %lld steps of momentum 0.9, rate 0.1, full batch; %lld test images\n",
            (long long)run->options->final_steps, (long long)run->data.n_test);
}

static void print_verdict(FILE *f, const clean_run *run)
{
    const clean_training *training = run->result.training;
    const char *before = "";
    fprintf(f, "\nBest without knowing the answer: ");
    for (int k = 0; k < ORACLE; k++) {
        if (training[k].accuracy < best_accuracy(&run->result)) continue;
        fprintf(f, "%s%s", before, training_names[k]);
        before = " and ";
    }
    fprintf(f, ". On the same test images\n");
    print_versus(f, run, BASELINE, "the baseline");
    print_versus(f, run, VALIDATION_ONLY, "validation only");
    print_versus(f, run, ORACLE, "the oracle");
    fprintf(f, "  (+-: one standard error of the paired difference)\n");
    if (training[CLEANED].accuracy - training[VALIDATION_ONLY].accuracy < 1 &&
        run->data.n_validation > 1000)
        fprintf(
            f,
            "The %lld clean images alone are nearly enough here. Cleaning is for when\n"
            "there are few of them: try --validation 500\n",
            (long long)run->data.n_validation);
}

enum { RATIO_TEXT = 16 };

/* Three digits, or a dash where there was nothing to divide by. */
static const char *ratio_text(double ratio, char text[RATIO_TEXT])
{
    snprintf(text, RATIO_TEXT, isfinite(ratio) ? "%.3f" : "-", ratio);
    return text;
}

static void print_score(FILE *f, const clean_run *run)
{
    char precision[RATIO_TEXT], recall[RATIO_TEXT], f1[RATIO_TEXT];
    const clean_result *result = &run->result;
    const clean_score *score = &result->score;
    fprintf(f, "\nFound wrong (weight below %g): %.0f labels, %.0f of them rightly\n",
            FOUND_WRONG, score->found, score->right);
    fprintf(f, "  precision %s, recall %s, F1 %s\n",
            ratio_text(score->precision, precision), ratio_text(score->recall, recall),
            ratio_text(score->f1, f1));
    fprintf(f, "  %lld outer steps of T = %lld, %s; weights sum to at most R = %g\n",
            (long long)result->steps.rows, (long long)run->options->inner_steps,
            result->schedule, run->options->radius);
    double ratio = clean_time_ratio(result);
    if (isfinite(ratio))
        fprintf(f, "  a hypergradient took %.2f x a plain training of the same length\n",
                ratio);
    else
        fprintf(f, "  the machine was too busy to compare a hypergradient's time\n");
}

static void print_interrupt(FILE *f, const clean_run *run)
{
    const clean_result *result = &run->result;
    if (!result->steps.rows)
        fprintf(f,
                "\nInterrupted before the first outer step: nothing was learned yet%s\n",
                run->options->demo.out ? ", nothing\nhas been written" : "");
    else
        fprintf(f, "\nInterrupted: %lld of %lld outer steps done%s\n",
                (long long)result->steps.rows, (long long)run->options->outer_steps,
                result->written ? "; what there is has been written" : "");
}

void clean_print(const clean_run *run)
{
    FILE *f = command_text(&run->options->demo.common);
    const clean_result *result = &run->result;
    int64_t n = run->data.n_train;
    fprintf(
        f, "Data hyper-cleaning: %lld train images, %.0f with a wrong label; seed %llu\n",
        (long long)n, round(run->options->corrupt * (double)n),
        (unsigned long long)run->options->demo.common.seed);
    if (result->steps.rows) print_score(f, run);
    print_trainings(f, run);
    if (result->interrupted)
        print_interrupt(f, run);
    else
        print_verdict(f, run);
    if (result->written)
        fprintf(f,
                "\nWritten to %s: report.html, to open in a browser; metrics.csv,\n"
                "  config.json, weights.csv, weights.safetensors, %sdistrusted.png\n",
                run->options->demo.out,
                result->training[CLEANED].done ? "model.safetensors,\n  " : "");
    fprintf(f, "\n%.1f s of computing; the unroll held %.1f MB (predicted %.1f)\n",
            result->seconds, (double)result->peak_bytes / 1e6,
            (double)result->predicted_bytes / 1e6);
}

static void put_results(output *out, const clean_result *result)
{
    static const char *const names[N_TRAININGS] = {"baseline_accuracy",
                                                   "validation_only_accuracy",
                                                   "cleaned_accuracy", "oracle_accuracy"};
    const double none = (double)NAN;
    clean_score score = {none, none, none, none, none, none, none, none};
    if (result->steps.rows) score = result->score;
    for (int k = 0; k < N_TRAININGS; k++)
        json_number(out, names[k],
                    result->training[k].done ? result->training[k].accuracy : none);
    json_number(out, "f1", score.f1);
    json_number(out, "precision", score.precision);
    json_number(out, "recall", score.recall);
    json_number(out, "found", score.found);
    json_number(out, "validation_loss", result->validation_loss);
    json_number(out, "outer_steps", (double)result->steps.rows);
}

ht_status clean_write_json(const clean_run *run)
{
    const clean_options *options = run->options;
    const clean_result *result = &run->result;
    struct rusage usage;
    output out;
    getrusage(RUSAGE_SELF, &usage);
    if (!output_open(&out, run->ctx, options->demo.common.json, false))
        return ht_context_status(run->ctx);
    put_results(&out, result);
    json_number(&out, "inner_steps", (double)options->inner_steps);
    json_number(&out, "final_steps", (double)options->final_steps);
    json_number(&out, "train", (double)run->data.n_train);
    json_number(&out, "validation", (double)run->data.n_validation);
    json_number(&out, "test", (double)run->data.n_test);
    json_number(&out, "corrupt", options->corrupt);
    json_number(&out, "radius", options->radius);
    json_number(&out, "seconds", result->seconds);
    json_number(&out, "hypergradient_seconds", clean_seconds(result));
    json_number(&out, "inner_seconds", result->inner_seconds);
    json_number(&out, "predicted_bytes", (double)result->predicted_bytes);
    json_number(&out, "peak_bytes", (double)result->peak_bytes);
    json_number(&out, "peak_rss_bytes", 1024.0 * (double)usage.ru_maxrss);
    json_text(&out, "schedule", "\"%s\"", result->schedule);
    json_text(&out, "interrupted", result->interrupted ? "true" : "false");
    json_text(&out, "seed", "%llu", (unsigned long long)options->demo.common.seed);
    return json_close(&out);
}
