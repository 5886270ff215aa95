/* SPDX-License-Identifier: MIT */
/* train_file.c: a training as a safetensors file, complete: from it training goes on to
 * the same bits.
 *
 *   ht_checkpoint_write's theta.<name>, state.<name>, run.step and run.seed; of our own
 *   more.model     the script's name
 *   more.settings  batch, images, decay epochs; rate; sums of the epoch so far; the mark
 *                  of the training images
 *
 * Read next: data/safetensors.c, train_report.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train.h"

enum { BATCH, IMAGES, DECAY_EPOCHS, RATE, LOSS, RIGHT, COUNTED, MARK, N_SETTINGS };

/* FNV-1a (Fowler, Noll & Vo), eight bytes at a time. */
static uint64_t mark_bytes(uint64_t mark, const void *data, size_t n)
{
    const char *bytes = data;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, n - i < 8 ? n - i : 8);
        mark = (mark ^ word) * 0x100000001b3;
        mark ^= mark >> 32; /* or high bits of a word would never reach low ones */
    }
    return mark;
}

/* What tells the training images from others of their number, as a whole double. */
static double images_mark(const train_run *run)
{
    const ht_images *images = &run->train;
    size_t n = (size_t)(run->n_fit + run->n_validation);
    size_t row =
        ht_tensor_bytes(images->pixels) / (size_t)ht_tensor_count(images->labels);
    uint64_t mark = 0xcbf29ce484222325;
    mark = mark_bytes(mark, ht_tensor_data(images->labels), n * sizeof(int32_t));
    return (double)(mark_bytes(mark, ht_tensor_data(images->pixels), n * row) >> 11);
}

/* What a file has beside the checkpoint, of zeros. */
static ht_set *file_new(train_run *run)
{
    run->mark = images_mark(run);
    ht_set *file = ht_set_new(run->ctx);
    ht_check(run->ctx);
    ht_set_add(file, "model", HT_U8, HT_SHAPE((int64_t)strlen(run->task->name)));
    ht_set_add(file, "settings", HT_F64, HT_SHAPE(N_SETTINGS));
    ht_check(run->ctx);
    return file;
}

void train_save(train_run *run)
{
    if (!run->file) run->file = file_new(run);
    memcpy(ht_tensor_data(ht_set_tensor(run->file, "model")), run->task->name,
           strlen(run->task->name));
    double *settings = ht_tensor_data(ht_set_tensor(run->file, "settings"));
    settings[BATCH] = (double)run->options->batch;
    settings[IMAGES] = (double)run->n_fit;
    settings[DECAY_EPOCHS] = (double)run->options->decay_epochs;
    settings[RATE] = run->options->rate;
    settings[LOSS] = run->epoch.loss;
    settings[RIGHT] = run->epoch.right;
    settings[COUNTED] = (double)run->epoch.images;
    settings[MARK] = run->mark;
    ht_checkpoint_write(run->options->save, run->optimizer, run->file);
    ht_check(run->ctx);
}

static bool has(const ht_set *file, const char *name, ht_dtype dtype, int64_t n)
{
    int i = ht_set_find(file, name);
    return i >= 0 && ht_tensor_dtype(ht_set_at(file, i)) == dtype &&
           (n == 0 || ht_tensor_count(ht_set_at(file, i)) == n);
}

static void check_model(ht_context *ctx, const ht_set *file, const train_options *options,
                        const train_task *task)
{
    char model[64] = "another program, or an older one";
    bool ours = has(file, "more.model", HT_U8, 0) && has(file, "run.seed", HT_U8, 8) &&
                has(file, "more.settings", HT_F64, N_SETTINGS);
    if (ours) {
        const ht_tensor *text = ht_set_tensor(file, "more.model");
        int64_t n = ht_tensor_count(text);
        snprintf(model, sizeof model, "%.*s", (int)(n < 60 ? n : 60),
                 (const char *)ht_tensor_data(text));
    }
    if (!ours || strcmp(model, task->name) != 0)
        ht_context_fail(ctx, HT_ERROR_FORMAT, NULL,
                        "%s: --resume: expected a training saved by %s, got one of %s\n"
                        "  hint: each script reads what it wrote with --save itself",
                        options->resume, task->name, model);
    ht_check(ctx);
}

/* A setting as it was saved; one that --save cannot have written is refused. */
static double setting(ht_context *ctx, const ht_set *file, const char *path, int i,
                      double low, double high)
{
    double value = ht_tensor_get(ht_set_tensor(file, "more.settings"), i);
    if (!(value >= low && value <= high))
        ht_context_fail(ctx, HT_ERROR_FORMAT, NULL,
                        "%s: more.settings[%d]: expected a value in %g..%g, got %g\n"
                        "  hint: the file was changed, or is damaged",
                        path, i, low, high, value);
    ht_check(ctx);
    return value;
}

static uint64_t file_seed(const ht_set *file)
{
    const uint8_t *byte = ht_tensor_data(ht_set_tensor(file, "run.seed"));
    uint64_t seed = 0;
    for (int i = 0; i < 8; i++) seed |= (uint64_t)byte[i] << 8 * i;
    return seed;
}

void train_peek(train_options *options, const train_task *task)
{
    ht_context *ctx = ht_context_new(NULL);
    HT_ASSERT(ctx, "no memory for a context");
    ht_set *file = ht_set_load(ctx, options->resume);
    ht_check(ctx);
    check_model(ctx, file, options, task);
    const char *path = options->resume;
    options->batch = (int64_t)setting(ctx, file, path, BATCH, 1, 1e5);
    options->decay_epochs = (int64_t)setting(ctx, file, path, DECAY_EPOCHS, 1, 1e5);
    options->rate = setting(ctx, file, path, RATE, 1e-300, 1e6);
    setting(ctx, file, path, IMAGES, (double)options->batch, 1e9);
    setting(ctx, file, path, COUNTED, 0, 1e9);
    options->common.seed = file_seed(file);
    ht_set_free(file);
    ht_context_free(ctx);
}

/* Steps count batches of these images: other ones would make epochs mean nothing. */
static void check_same(const train_run *run, const char *what, const char *hint,
                       uint64_t expected, uint64_t got)
{
    if (run->options->evaluate || expected == got) return;
    ht_context_fail(run->ctx, HT_ERROR_ARGUMENT, NULL,
                    "%s: --resume: expected %s %llu, as when it was saved, got %llu\n"
                    "  hint: %s, or start anew without --resume",
                    run->options->resume, what, (unsigned long long)expected,
                    (unsigned long long)got, hint);
    ht_check(run->ctx);
}

static void check_images(const train_run *run, int64_t n, double mark)
{
    check_same(run, "a number of images to train on of",
               n < run->n_fit ? "a smaller --limit, or the --data of then"
                              : "a larger --limit or none, or the --data of then",
               (uint64_t)n, (uint64_t)run->n_fit);
    if (!run->options->evaluate && !(mark >= run->mark && mark <= run->mark))
        ht_context_fail(run->ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s: --resume: expected the training images and labels that it "
                        "was saved with, got as many others\n"
                        "  hint: the --data of then, or start anew without --resume",
                        run->options->resume);
    ht_check(run->ctx);
}

static void check_finite(const train_run *run, const ht_set *set, const char *prefix)
{
    for (int i = 0; i < ht_set_count(set); i++) {
        const ht_tensor *x = ht_set_at(set, i);
        for (int64_t k = 0; k < ht_tensor_count(x); k++)
            if (!isfinite(ht_tensor_get(x, k)))
                ht_context_fail(run->ctx, HT_ERROR_FORMAT, NULL,
                                "%s: %s.%s[%lld]: expected a finite number, got %g\n"
                                "  hint: the file was changed, or is damaged",
                                run->options->resume, prefix, ht_set_name(set, i),
                                (long long)k, ht_tensor_get(x, k));
        ht_check(run->ctx);
    }
}

/* The context's seed is an option's, and the file's the default of that. */
void train_resume(train_run *run)
{
    const train_options *options = run->options;
    run->file = file_new(run);
    ht_checkpoint_read(options->resume, run->optimizer, run->file);
    ht_check(run->ctx);
    const double *settings = ht_tensor_data(ht_set_tensor(run->file, "settings"));
    check_finite(run, run->theta, "theta");
    check_finite(run, ht_optimizer_state(run->optimizer), "state");
    check_finite(run, run->file, "more");
    check_same(run, "a batch of", "leave --batch out", (uint64_t)settings[BATCH],
               (uint64_t)options->batch);
    check_images(run, (int64_t)settings[IMAGES], settings[MARK]);
    run->epoch_steps = (int64_t)settings[IMAGES] / (int64_t)settings[BATCH];
    run->epoch =
        (train_score){settings[LOSS], settings[RIGHT], (int64_t)settings[COUNTED]};
    ht_check(run->ctx);
}
