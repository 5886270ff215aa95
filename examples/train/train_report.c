/* SPDX-License-Identifier: MIT */
/* train_report.c: what a training says and writes. Read next: README.md. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train.h"

double train_loss(train_score score)
{
    return score.images > 0 ? score.loss / (double)score.images : (double)NAN;
}

double train_accuracy(train_score score)
{
    return score.images > 0 ? 100 * score.right / (double)score.images : (double)NAN;
}

int64_t train_epochs_done(const train_run *run)
{
    return ht_optimizer_steps(run->optimizer) / run->epoch_steps;
}

/* Said. */

void train_show_start(const train_run *run)
{
    const train_options *options = run->options;
    FILE *f = command_text(&options->common);
    fprintf(f,
            "%s: %lld parameters; %lld images to train on, %lld to validate, "
            "%lld to test\n",
            run->task->name, (long long)ht_set_elements(run->theta),
            (long long)run->n_fit, (long long)run->n_validation, (long long)run->n_test);
    long long done = (long long)train_epochs_done(run);
    if (options->resume)
        fprintf(f, "resumed %s after step %lld\n", options->resume,
                (long long)ht_optimizer_steps(run->optimizer));
    if (!options->evaluate && options->resume && done >= options->epochs)
        fprintf(f, "nothing to train: --epochs is %lld in all, %lld are done\n",
                (long long)options->epochs, done);
    fflush(f);
}

void train_show_step(const train_run *run)
{
    int64_t step = ht_optimizer_steps(run->optimizer);
    char what[64];
    snprintf(what, sizeof what, "epoch %lld/%lld, step",
             (long long)((step - 1) / run->epoch_steps + 1),
             (long long)run->options->epochs);
    progress_step((double)(step - run->first_step), what,
                  (step - 1) % run->epoch_steps + 1, run->epoch_steps,
                  train_loss(run->epoch));
}

/* The log. */

static const char columns[] = "epoch,steps,train_loss,train_accuracy,validation_loss,"
                              "validation_accuracy,seconds";

/* Rows of the epochs that a resumed training has behind it; those after it come again. */
static void keep_rows(const train_run *run, FILE *from, FILE *to)
{
    char *line = NULL;
    size_t room = 0;
    for (int i = 0; getline(&line, &room, from) >= 0; i++) {
        line[strcspn(line, "\r\n")] = 0;
        if (i == 0 && strcmp(line, columns) != 0)
            ht_context_fail(run->ctx, HT_ERROR_FORMAT, NULL,
                            "%s: --csv: expected a log that begins with %s, got \"%.60s\""
                            "\n  hint: name another file, or a new one",
                            run->options->csv, columns, line);
        ht_check(run->ctx);
        long long epoch = strtoll(line, NULL, 10);
        if (i > 0 && epoch >= 1 && epoch <= train_epochs_done(run))
            fprintf(to, "%s\n", line);
    }
    free(line);
}

/* What the log has before this run: it may be the file that is about to be written. */
static char *old_log(const train_run *run)
{
    const char *path = run->options->csv;
    char *kept = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&kept, &size);
    HT_ASSERT(to, "no memory for the log %s", path);
    fprintf(to, "%s\n", columns);
    FILE *from = run->options->resume ? fopen(path, "rb") : NULL;
    if (from) {
        keep_rows(run, from, to);
        fclose(from);
    } else if (run->options->resume && errno != ENOENT) {
        ht_context_fail(run->ctx, HT_ERROR_FILE, NULL,
                        "%s: cannot be read: %s\n  hint: name another file, or a new one",
                        path, strerror(errno));
    }
    ht_check(run->ctx);
    bool whole = fclose(to) == 0;
    HT_ASSERT(whole, "no memory for the log %s", path);
    return kept;
}

void train_log_begin(const train_run *run)
{
    char *kept = old_log(run);
    output out;
    output_open(&out, run->ctx, run->options->csv, false);
    ht_check(run->ctx);
    fputs(kept, out.file);
    free(kept);
    output_close(&out, true);
    ht_check(run->ctx);
}

static double milliseconds(double seconds)
{
    return rint(1e3 * seconds) / 1e3;
}

static void log_epoch(const train_run *run)
{
    output out;
    output_open(&out, run->ctx, run->options->csv, true);
    ht_check(run->ctx);
    CSV_ROW(
        &out, (double)train_epochs_done(run), (double)ht_optimizer_steps(run->optimizer),
        train_loss(run->epoch), train_accuracy(run->epoch), train_loss(run->validated),
        train_accuracy(run->validated), milliseconds(seconds_now() - run->epoch_began));
    output_close(&out, true);
    ht_check(run->ctx);
}

void train_show_epoch(const train_run *run)
{
    FILE *f = command_text(&run->options->common);
    progress_end();
    fprintf(f, "epoch %lld/%lld  train loss %.4f, %.2f %%",
            (long long)train_epochs_done(run), (long long)run->options->epochs,
            train_loss(run->epoch), train_accuracy(run->epoch));
    if (run->validated.images > 0)
        fprintf(f, "  validation loss %.4f, %.2f %%", train_loss(run->validated),
                train_accuracy(run->validated));
    fprintf(f, "  %.1f s\n", seconds_now() - run->epoch_began);
    fflush(f);
    if (run->options->csv) log_epoch(run);
}

/* Results. */

void train_write_json(const train_run *run)
{
    output out;
    output_open(&out, run->ctx, run->options->common.json, false);
    ht_check(run->ctx);
    json_text(&out, "model", "\"%s\"", run->task->name);
    json_number(&out, "test_accuracy", train_accuracy(run->tested));
    json_number(&out, "validation_accuracy", train_accuracy(run->validated));
    json_number(&out, "seconds", milliseconds(seconds_now() - run->began));
    json_number(&out, "parameters", (double)ht_set_elements(run->theta));
    json_number(&out, "epochs", (double)train_epochs_done(run));
    json_number(&out, "steps", (double)ht_optimizer_steps(run->optimizer));
    json_number(&out, "train_images", (double)run->n_fit);
    json_number(&out, "validation_images", (double)run->n_validation);
    json_number(&out, "test_images", (double)run->n_test);
    json_text(&out, "seed", "%llu", (unsigned long long)run->options->common.seed);
    json_close(&out);
    ht_check(run->ctx);
}

void train_predict(const train_run *run, output *out, int64_t first, int64_t n)
{
    const int32_t *label = ht_tensor_data(ht_set_tensor(run->batch, "label"));
    const int32_t *predicted = ht_tensor_data(ht_set_tensor(run->rows_of, "class"));
    const ht_tensor *probability = ht_set_tensor(run->rows_of, "probability");
    for (int64_t i = 0; i < n; i++)
        CSV_ROW(out, (double)(first + i), label[i], predicted[i],
                ht_tensor_get(probability, i));
}
