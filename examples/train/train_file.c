/* SPDX-License-Identifier: MIT */
/* train_file.c: a training as a safetensors file, complete: from it training goes on to
 * the same bits.
 *
 *   theta.<name>  the parameters       state.<name>  the optimizer's state
 *   run.model     the script's name    run.seed      8 bytes, low first
 *   run.settings  batch, images, decay epochs, steps done; rate; sums of the epoch so
 *                 far; the mark of the training images
 *
 * Read next: data/safetensors.c, train_report.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train.h"

enum { BATCH, IMAGES, DECAY_EPOCHS, STEPS, RATE, LOSS, RIGHT, COUNTED, MARK, N_SETTINGS };

static void add_set(ht_set *file, const char *prefix, const ht_set *set)
{
    for (int i = 0; i < ht_set_count(set); i++) {
        char name[256];
        ht_tensor *x = ht_set_at(set, i);
        snprintf(name, sizeof name, "%s.%s", prefix, ht_set_name(set, i));
        ht_set_add(file, name, ht_tensor_dtype(x), ht_tensor_shape(x));
    }
}

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

/* Zeros of every name and type that the file has. */
static ht_set *file_new(train_run *run)
{
    run->mark = images_mark(run);
    ht_set *file = ht_set_new(run->ctx);
    ht_check(run->ctx);
    add_set(file, "theta", run->theta);
    add_set(file, "state", ht_optimizer_state(run->optimizer));
    ht_set_add(file, "run.model", HT_U8, HT_SHAPE((int64_t)strlen(run->task->name)));
    ht_set_add(file, "run.seed", HT_U8, HT_SHAPE(8));
    ht_set_add(file, "run.settings", HT_F64, HT_SHAPE(N_SETTINGS));
    ht_check(run->ctx);
    return file;
}

/* The tensors of a set stand in the file from place `at` on. */
static void put_set(ht_set *file, int at, const ht_set *set)
{
    for (int i = 0; i < ht_set_count(set); i++)
        ht_tensor_copy(ht_set_at(file, at + i), ht_set_at(set, i));
}

static void take_set(const ht_set *file, int at, ht_set *set)
{
    for (int i = 0; i < ht_set_count(set); i++)
        ht_tensor_copy(ht_set_at(set, i), ht_set_at(file, at + i));
}

void train_save(train_run *run)
{
    if (!run->file) run->file = file_new(run);
    ht_set *file = run->file;
    put_set(file, 0, run->theta);
    put_set(file, ht_set_count(run->theta), ht_optimizer_state(run->optimizer));
    memcpy(ht_tensor_data(ht_set_tensor(file, "run.model")), run->task->name,
           strlen(run->task->name));
    uint8_t *seed = ht_tensor_data(ht_set_tensor(file, "run.seed"));
    for (int i = 0; i < 8; i++) seed[i] = (uint8_t)(run->options->common.seed >> 8 * i);
    double *settings = ht_tensor_data(ht_set_tensor(file, "run.settings"));
    settings[BATCH] = (double)run->options->batch;
    settings[IMAGES] = (double)run->n_fit;
    settings[DECAY_EPOCHS] = (double)run->options->decay_epochs;
    settings[STEPS] = (double)ht_optimizer_steps(run->optimizer);
    settings[RATE] = run->options->rate;
    settings[LOSS] = run->epoch.loss;
    settings[RIGHT] = run->epoch.right;
    settings[COUNTED] = (double)run->epoch.images;
    settings[MARK] = run->mark;
    ht_set_write(file, run->options->save);
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
    bool ours = has(file, "run.model", HT_U8, 0) && has(file, "run.seed", HT_U8, 8) &&
                has(file, "run.settings", HT_F64, N_SETTINGS);
    if (ours) {
        const ht_tensor *text = ht_set_tensor(file, "run.model");
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
    double value = ht_tensor_get(ht_set_tensor(file, "run.settings"), i);
    if (!(value >= low && value <= high))
        ht_context_fail(ctx, HT_ERROR_FORMAT, NULL,
                        "%s: run.settings[%d]: expected a value in %g..%g, got %g\n"
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
    setting(ctx, file, path, STEPS, 0, INT32_MAX);
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

static void check_finite(const train_run *run)
{
    for (int i = 0; i < ht_set_count(run->file); i++) {
        const ht_tensor *x = ht_set_at(run->file, i);
        for (int64_t k = 0; k < ht_tensor_count(x); k++)
            if (!isfinite(ht_tensor_get(x, k)))
                ht_context_fail(run->ctx, HT_ERROR_FORMAT, NULL,
                                "%s: %s[%lld]: expected a finite number, got %g\n"
                                "  hint: the file was changed, or is damaged",
                                run->options->resume, ht_set_name(run->file, i),
                                (long long)k, ht_tensor_get(x, k));
        ht_check(run->ctx);
    }
}

void train_resume(train_run *run)
{
    const train_options *options = run->options;
    run->file = file_new(run);
    ht_set_read(run->file, options->resume);
    ht_check(run->ctx);
    const double *settings = ht_tensor_data(ht_set_tensor(run->file, "run.settings"));
    check_finite(run);
    check_same(run, "a batch of", "leave --batch out", (uint64_t)settings[BATCH],
               (uint64_t)options->batch);
    check_images(run, (int64_t)settings[IMAGES], settings[MARK]);
    check_same(run, "the seed", "leave --seed out", file_seed(run->file),
               options->common.seed);
    run->epoch_steps = (int64_t)settings[IMAGES] / (int64_t)settings[BATCH];
    int n = ht_set_count(run->theta);
    ht_set *state = ht_set_clone(ht_optimizer_state(run->optimizer), 0);
    ht_check(run->ctx);
    take_set(run->file, 0, run->theta);
    take_set(run->file, n, state);
    ht_optimizer_restore(run->optimizer, state, (int64_t)settings[STEPS]);
    ht_set_free(state);
    run->epoch =
        (train_score){settings[LOSS], settings[RIGHT], (int64_t)settings[COUNTED]};
    ht_check(run->ctx);
}
