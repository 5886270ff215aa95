/* SPDX-License-Identifier: MIT */
/* train_report.c: what a training says and writes, and Ctrl-C. Read next: README.md. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "train.h"

double train_seconds(void)
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

bool train_stopped(void)
{
    return stopped;
}

void train_watch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt,
                               .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

/* Progress. */

FILE *train_text(const train_options *options)
{
    return options->json && !strcmp(options->json, "-") ? stderr : stdout;
}

void train_show_start(const train_run *run)
{
    const train_options *options = run->options;
    FILE *f = train_text(options);
    fprintf(f,
            "%s: %lld parameters; %lld images to train on, %lld to validate, "
            "%lld to test\n",
            run->task->name, (long long)ht_set_elements(run->theta),
            (long long)run->n_fit, (long long)run->n_validation, (long long)run->n_test);
    int64_t done = ht_optimizer_steps(run->optimizer) / run->epoch_steps;
    if (options->resume)
        fprintf(f, "resumed %s after step %lld\n", options->resume,
                (long long)ht_optimizer_steps(run->optimizer));
    if (!options->evaluate && options->resume && done >= options->epochs)
        fprintf(f, "nothing to train: --epochs is %lld in all, %lld are done\n",
                (long long)options->epochs, (long long)done);
    fflush(f);
}

static bool live(void)
{
    static int terminal = -1;
    if (terminal < 0) terminal = isatty(STDERR_FILENO);
    return terminal;
}

void train_show_step(const train_run *run)
{
    static double shown;
    double now = train_seconds();
    if (!live() || now - shown < 0.2) return;
    shown = now;
    int64_t per_epoch = run->epoch_steps;
    int64_t step = ht_optimizer_steps(run->optimizer) - 1;
    double left = (double)(run->options->epochs * per_epoch - step - 1);
    double pace = (now - run->epoch_began) / (double)(step % per_epoch + 1);
    fprintf(stderr, "\repoch %lld/%lld  step %lld/%lld  loss %.4f  ETA %.0f s   ",
            (long long)(step / per_epoch + 1), (long long)run->options->epochs,
            (long long)(step % per_epoch + 1), (long long)per_epoch,
            run->epoch.loss / (double)run->epoch.images, pace * left);
    fflush(stderr);
}

static void report_fail(ht_context *ctx, const char *path, const char *what)
{
    ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                    "%s: %s: %s\n  hint: may you write there, and is there room?", path,
                    what, strerror(errno));
    ht_check(ctx);
}

static FILE *open_text(ht_context *ctx, const char *path, const char *mode)
{
    FILE *f = fopen(path, mode);
    if (!f) report_fail(ctx, path, "cannot be created");
    return f;
}

static void close_text(ht_context *ctx, const char *path, FILE *f)
{
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad) report_fail(ctx, path, "cannot be written");
}

/* A file gets its name when it is whole, and the permissions of one that it replaces; but
 * a link stays, and is written through. */
static void part_name(const char *path, char *text, size_t size)
{
    char link;
    snprintf(text, size, "%s%s", path, readlink(path, &link, 1) < 0 ? ".part" : "");
}

static FILE *open_part(ht_context *ctx, const char *path)
{
    char part[4200];
    struct stat old;
    part_name(path, part, sizeof part);
    FILE *f = open_text(ctx, part, "wb");
    if (stat(path, &old) == 0) fchmod(fileno(f), old.st_mode & 0777);
    return f;
}

static void close_part(ht_context *ctx, const char *path, FILE *f)
{
    char part[4200];
    part_name(path, part, sizeof part);
    close_text(ctx, part, f);
    if (rename(part, path) != 0) report_fail(ctx, path, "cannot be given its name");
}

/* The log. */

static const char columns[] = "epoch,steps,train_loss,train_accuracy,validation_loss,"
                              "validation_accuracy,seconds";

/* Rows of the epochs that a resumed training has behind it; those after it come again. */
static void keep_rows(const train_run *run, FILE *from, FILE *to)
{
    char *line = NULL;
    size_t room = 0;
    int64_t done = ht_optimizer_steps(run->optimizer) / run->epoch_steps;
    for (int i = 0; getline(&line, &room, from) >= 0; i++) {
        line[strcspn(line, "\r\n")] = 0;
        if (i == 0 && strcmp(line, columns) != 0)
            ht_context_fail(run->ctx, HT_ERROR_FORMAT, NULL,
                            "%s: --csv: expected a log that begins with %s, got \"%.60s\""
                            "\n  hint: name another file, or a new one",
                            run->options->csv, columns, line);
        ht_check(run->ctx);
        long long epoch = strtoll(line, NULL, 10);
        if (i > 0 && epoch >= 1 && epoch <= done) fprintf(to, "%s\n", line);
    }
    free(line);
}

void train_log_begin(const train_run *run)
{
    const char *path = run->options->csv;
    char *kept = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&kept, &size);
    if (!to) report_fail(run->ctx, path, "no memory for the log");
    FILE *from = run->options->resume ? fopen(path, "rb") : NULL;
    if (!from && run->options->resume && errno != ENOENT)
        report_fail(run->ctx, path, "cannot be read");
    if (from) {
        keep_rows(run, from, to);
        fclose(from);
    }
    close_text(run->ctx, path, to);
    FILE *f = open_part(run->ctx, path);
    fprintf(f, "%s\n%s", columns, kept);
    close_part(run->ctx, path, f);
    free(kept);
}

static void log_epoch(const train_run *run, train_score validation, int64_t epoch)
{
    const char *path = run->options->csv;
    FILE *f = open_text(run->ctx, path, "ab");
    fprintf(f, "%lld,%lld,%.9g,%.6g,", (long long)epoch,
            (long long)ht_optimizer_steps(run->optimizer),
            run->epoch.loss / (double)run->epoch.images, train_accuracy(run->epoch));
    if (validation.images > 0)
        fprintf(f, "%.9g,%.6g", validation.loss / (double)validation.images,
                train_accuracy(validation));
    else
        fputc(',', f);
    fprintf(f, ",%.3f\n", train_seconds() - run->epoch_began);
    close_text(run->ctx, path, f);
}

void train_show_epoch(const train_run *run, train_score validation)
{
    int64_t epoch = ht_optimizer_steps(run->optimizer) / run->epoch_steps;
    FILE *f = train_text(run->options);
    if (live()) fprintf(stderr, "\r%79s\r", "");
    fprintf(f, "epoch %lld/%lld  train loss %.4f, %.2f %%", (long long)epoch,
            (long long)run->options->epochs, run->epoch.loss / (double)run->epoch.images,
            train_accuracy(run->epoch));
    if (validation.images > 0)
        fprintf(f, "  validation loss %.4f, %.2f %%",
                validation.loss / (double)validation.images, train_accuracy(validation));
    fprintf(f, "  %.1f s\n", train_seconds() - run->epoch_began);
    fflush(f);
    if (run->options->csv) log_epoch(run, validation, epoch);
}

/* Results. */

void train_write_json(const train_run *run)
{
    const train_options *options = run->options;
    bool plain = !strcmp(options->json, "-");
    FILE *f = plain ? stdout : open_part(run->ctx, options->json);
    fprintf(f, "{\"model\":\"%s\",\"test_accuracy\":%.6g,", run->task->name,
            run->test_accuracy);
    if (run->validated)
        fprintf(f, "\"validation_accuracy\":%.6g,", run->validation_accuracy);
    else
        fputs("\"validation_accuracy\":null,", f);
    fprintf(f,
            "\"seconds\":%.3f,\"parameters\":%lld,\"epochs\":%lld,\"steps\":%lld,"
            "\"train_images\":%lld,\"validation_images\":%lld,\"test_images\":%lld,"
            "\"seed\":%llu}\n",
            run->seconds, (long long)ht_set_elements(run->theta),
            (long long)(ht_optimizer_steps(run->optimizer) / run->epoch_steps),
            (long long)ht_optimizer_steps(run->optimizer), (long long)run->n_fit,
            (long long)run->n_validation, (long long)run->n_test,
            (unsigned long long)options->seed);
    if (!plain)
        close_part(run->ctx, options->json, f);
    else if (fflush(f) != 0)
        report_fail(run->ctx, "stdout", "cannot be written");
}

FILE *train_predict_open(const train_run *run)
{
    FILE *f = open_part(run->ctx, run->options->predict);
    fputs("index,label,predicted,probability\n", f);
    return f;
}

void train_predict(const train_run *run, FILE *f, int64_t first, int64_t n)
{
    const int32_t *label = ht_tensor_data(ht_set_tensor(run->batch, "label"));
    const int32_t *predicted = ht_tensor_data(run->row_class);
    for (int64_t i = 0; i < n; i++)
        fprintf(f, "%lld,%d,%d,%.6f\n", (long long)(first + i), label[i], predicted[i],
                ht_tensor_get(run->row_probability, i));
}

void train_predict_close(const train_run *run, FILE *f)
{
    close_part(run->ctx, run->options->predict, f);
}
