/* SPDX-License-Identifier: MIT */
/* hyperclean_report.c: what the demo says: progress on stderr, the table and one JSON
 * object on stdout, and Ctrl-C. Read next: hyperclean_write.c. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "hyperclean.h"

double clean_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Ctrl-C. */

static volatile sig_atomic_t stopped;

static void on_interrupt(int number)
{
    static const char text[] = "\nstopping after this step; Ctrl-C again: at once\n";
    (void)number;
    stopped = 1;
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
}

bool clean_stopped(void)
{
    return stopped;
}

void clean_watch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt,
                               .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

/* Progress. */

enum { BAR = 16, NARROWEST = 40, WIDEST = 160 };

static struct {
    double work, began, shown;
    int columns;         /* of the terminal */
    char text[WIDEST];   /* of the last plain line */
    bool terminal, open; /* open: the bar's line is not ended */
} progress;

/* What the environment says, if it is sensible. The last column stays free: a cursor
 * there may wrap. */
static int bar_columns(void)
{
    const char *text = getenv("COLUMNS");
    long columns = text ? strtol(text, NULL, 10) : 0;
    if (columns <= 0) return 79;
    return columns < NARROWEST ? NARROWEST - 1
           : columns < WIDEST  ? (int)columns - 1
                               : WIDEST - 1;
}

void clean_progress_begin(double work)
{
    progress.columns = bar_columns();
    progress.work = work;
    progress.began = progress.shown = clean_seconds();
    progress.terminal = isatty(STDERR_FILENO) != 0;
    progress.text[0] = 0;
}

/* The time left, if the rest goes as the work so far. */
static double seconds_left(double done)
{
    return (clean_seconds() - progress.began) * (progress.work - done) / done;
}

static void draw_bar(double done, const char *text)
{
    char bar[BAR + 1], line[WIDEST];
    int full = (int)(BAR * done / progress.work + 0.5);
    for (int i = 0; i < BAR; i++) bar[i] = i < full ? '#' : '.';
    bar[BAR] = 0;
    snprintf(line, (size_t)progress.columns + 1, "[%s] %3.0f %%  ETA %3.0f s  %s", bar,
             100 * done / progress.work, seconds_left(done), text);
    fprintf(stderr, "\r%-*s", progress.columns, line);
    fflush(stderr);
    progress.open = true;
}

/* At most ten pictures a second; without a terminal one line a second, and no line
 * twice. */
void clean_progress(double done, const char *text)
{
    double now = clean_seconds();
    bool end = done >= progress.work;
    if (!end && now - progress.shown < (progress.terminal ? 0.1 : 1.0)) return;
    if (progress.terminal) {
        draw_bar(done, text);
    } else if (strcmp(progress.text, text) != 0) {
        snprintf(progress.text, sizeof progress.text, "%s", text);
        fprintf(stderr, "%3.0f %%, ETA %.0f s: %s\n", 100 * done / progress.work,
                seconds_left(done), text);
    }
    progress.shown = now;
}

void clean_progress_end(void)
{
    if (progress.open) fprintf(stderr, "\r%*s\r", progress.columns, "");
    progress.open = false;
}

/* The table. */

/* The difference of two trainings' accuracies in points and its standard error, paired:
 * only images on which they disagree count (McNemar 1947). */
typedef struct comparison {
    double points, error;
} comparison;

static comparison compare(const clean_data *data, const clean_training *a,
                          const clean_training *b)
{
    double n = (double)data->n_test, only_a = 0, only_b = 0;
    for (int64_t i = 0; i < data->n_test; i++) {
        only_a += a->right[i] && !b->right[i];
        only_b += b->right[i] && !a->right[i];
    }
    double difference = only_a - only_b;
    double variance = only_a + only_b - difference * difference / n;
    return (comparison){100 * difference / n, 100 * sqrt(fmax(0, variance)) / n};
}

static void print_versus(const clean_data *data, const clean_result *result, int other,
                         const char *name)
{
    comparison c = compare(data, &result->training[CLEANED], &result->training[other]);
    const char *verdict = !(fabs(c.points) > 0)           ? "ties with"
                          : fabs(c.points) <= 2 * c.error ? "no clear difference from"
                          : c.points > 0                  ? "beats"
                                                          : "loses to";
    printf("  cleaned %s %s: %+.2f points (+- %.2f)\n", verdict, name, c.points, c.error);
}

static const char *const training_names[N_TRAININGS] = {"baseline", "validation only",
                                                        "cleaned", "oracle"};

static void print_row(const clean_result *result, int which, const char *trained_on)
{
    const clean_training *training = &result->training[which];
    double best = 0;
    for (int k = 0; k < ORACLE; k++) best = fmax(best, result->training[k].accuracy);
    printf("  %-16s %-43s", training_names[which], trained_on);
    if (training->done)
        printf(" %6.2f %%%s\n", training->accuracy,
               which != ORACLE && training->accuracy >= best ? " best" : "");
    else
        printf("      not run\n");
}

static void print_trainings(const clean_options *options, const clean_data *data,
                            const clean_result *result)
{
    char text[N_TRAININGS][64];
    long long validation = (long long)data->n_validation,
              train = (long long)data->n_train;
    double wrong = round(options->corrupt * (double)train);
    snprintf(text[0], sizeof text[0], "%lld given labels + %lld clean", train,
             validation);
    snprintf(text[1], sizeof text[1], "%lld clean", validation);
    snprintf(text[2], sizeof text[2], "%lld weighted labels + %lld clean", train,
             validation);
    snprintf(text[3], sizeof text[3], "%.0f right labels + %lld clean; knows all",
             (double)train - wrong, validation);
    printf("\n  %-16s %-43s %s\n", "", "trained on", "test accuracy");
    for (int k = 0; k < N_TRAININGS; k++) print_row(result, k, text[k]);
    printf("  all: %lld steps of momentum 0.9, rate 0.1, full batch; %lld test images\n",
           (long long)options->final_steps, (long long)data->n_test);
}

static void print_verdict(const clean_options *options, const clean_data *data,
                          const clean_result *result)
{
    double all[N_TRAININGS];
    int best = BASELINE;
    for (int k = 0; k < N_TRAININGS; k++) {
        all[k] = result->training[k].accuracy;
        if (k < ORACLE && all[k] > all[best]) best = k;
    }
    printf("\nBest without knowing the answer: %s", training_names[best]);
    for (int k = best + 1; k < ORACLE; k++)
        if (all[k] >= all[best]) printf(" and %s", training_names[k]);
    printf(". On the same test images\n");
    print_versus(data, result, BASELINE, "the baseline");
    print_versus(data, result, VALIDATION_ONLY, "validation only");
    print_versus(data, result, ORACLE, "the oracle");
    printf("  (+-: one standard error of the paired difference)\n");
    if (all[CLEANED] - all[VALIDATION_ONLY] < 1 && options->n_validation > 1000)
        printf(
            "The %lld clean images alone are nearly enough here. Cleaning is for when\n"
            "there are few of them: try --validation 500\n",
            (long long)options->n_validation);
}

enum { RATIO_TEXT = 16 };

/* Three digits, or a dash where there was nothing to divide by. */
static const char *ratio_text(double ratio, char text[RATIO_TEXT])
{
    snprintf(text, RATIO_TEXT, isfinite(ratio) ? "%.3f" : "-", ratio);
    return text;
}

static void print_score(const clean_options *options, const clean_result *result)
{
    char precision[RATIO_TEXT], recall[RATIO_TEXT], f1[RATIO_TEXT];
    const clean_score *score = &result->step[result->n_steps - 1].score;
    printf("\nFound wrong (weight below %g): %lld labels, %lld of them rightly\n",
           FOUND_WRONG, (long long)score->found, (long long)score->right);
    printf("  precision %s, recall %s, F1 %s\n", ratio_text(score->precision, precision),
           ratio_text(score->recall, recall), ratio_text(score->f1, f1));
    printf("  %lld outer steps of T = %lld, %s; weights sum to at most R = %g\n",
           (long long)result->n_steps, (long long)options->inner_steps, result->schedule,
           options->radius);
    printf("  a hypergradient took %.2f x a plain training of the same length\n",
           result->hypergradient_seconds / result->inner_seconds);
}

void clean_print(const clean_options *options, const clean_data *data,
                 const clean_result *result)
{
    printf("Data hyper-cleaning: %lld train images, %.0f with a wrong label; seed %llu\n",
           (long long)data->n_train, round(options->corrupt * (double)data->n_train),
           (unsigned long long)options->seed);
    if (result->n_steps) print_score(options, result);
    print_trainings(options, data, result);
    if (result->interrupted && !result->n_steps)
        printf("\nInterrupted before the first outer step: nothing was learned yet%s\n",
               options->out ? ", nothing\nhas been written" : "");
    else if (result->interrupted)
        printf("\nInterrupted: %lld of %lld outer steps done%s\n",
               (long long)result->n_steps, (long long)options->outer_steps,
               result->written ? "; what there is has been written" : "");
    else
        print_verdict(options, data, result);
    if (result->written)
        printf("\nWritten to %s: metrics.csv, weights.csv, weights.safetensors,\n"
               "  %sdistrusted.png\n"
               "  (given labels beside its images: red is wrong, blue right after all)\n",
               options->out, result->training[CLEANED].done ? "model.safetensors, " : "");
    printf("\n%.1f s of computing; the unroll held %.1f MB (predicted %.1f)\n",
           result->seconds, (double)result->peak_bytes / 1e6,
           (double)result->predicted_bytes / 1e6);
}

/* JSON. */

/* In as many digits as it takes to be read back the same. */
static void put_number(const char *name, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value) snprintf(text, sizeof text, "%.17g", value);
    printf("\"%s\":%s,", name, isfinite(value) ? text : "null");
}

static void put_results(const clean_result *result)
{
    static const char *const names[N_TRAININGS] = {"baseline_accuracy",
                                                   "validation_only_accuracy",
                                                   "cleaned_accuracy", "oracle_accuracy"};
    const clean_score none = {
        .precision = (double)NAN, .recall = (double)NAN, .f1 = (double)NAN};
    const clean_score *score =
        result->n_steps ? &result->step[result->n_steps - 1].score : &none;
    for (int k = 0; k < N_TRAININGS; k++)
        put_number(names[k],
                   result->training[k].done ? result->training[k].accuracy : (double)NAN);
    put_number("f1", score->f1);
    put_number("precision", score->precision);
    put_number("recall", score->recall);
    put_number("found", result->n_steps ? (double)score->found : (double)NAN);
    put_number("validation_loss", result->validation_loss);
    put_number("outer_steps", (double)result->n_steps);
}

bool clean_print_json(const clean_options *options, const clean_data *data,
                      const clean_result *result)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    putchar('{');
    put_results(result);
    put_number("inner_steps", (double)options->inner_steps);
    put_number("final_steps", (double)options->final_steps);
    put_number("train", (double)data->n_train);
    put_number("validation", (double)data->n_validation);
    put_number("test", (double)data->n_test);
    put_number("corrupt", options->corrupt);
    put_number("radius", options->radius);
    put_number("seconds", result->seconds);
    put_number("hypergradient_seconds", result->hypergradient_seconds);
    put_number("inner_seconds", result->inner_seconds);
    put_number("predicted_bytes", (double)result->predicted_bytes);
    put_number("peak_bytes", (double)result->peak_bytes);
    put_number("peak_rss_bytes", 1024.0 * (double)usage.ru_maxrss);
    printf("\"schedule\":\"%s\",\"interrupted\":%s,\"seed\":%llu}\n",
           result->schedule ? result->schedule : "",
           result->interrupted ? "true" : "false", (unsigned long long)options->seed);
    return !ferror(stdout);
}

bool clean_printed(void)
{
    bool flushed = fflush(stdout) == 0;
    if (flushed && !ferror(stdout)) return true;
    fprintf(stderr, "hyperclean: standard output cannot be written: %s\n",
            flushed ? "an earlier write failed" : strerror(errno));
    return false;
}
