/* SPDX-License-Identifier: MIT */
/* hyperclean_write.c: the files of --out, each there whole or not at all.
 *
 *   metrics.csv          one row per outer step
 *   weights.csv          one row per train image: its weight, and why
 *   weights.safetensors  lambda
 *   model.safetensors    the model trained on the cleaned set
 *   distrusted.png       the images distrusted most, the given label beside each
 *
 * Read next: contact_sheet.c. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hyperclean.h"

enum { MOST_PATH = 4096, SHEET_IMAGES = 96 };

/* In the order of writing. */
enum { METRICS, WEIGHTS_CSV, WEIGHTS, MODEL, SHEET, N_FILES };
static const char *const file_names[N_FILES] = {"metrics.csv", "weights.csv",
                                                "weights.safetensors",
                                                "model.safetensors", "distrusted.png"};

typedef struct text_file {
    ht_context *ctx;
    FILE *file;
    char path[MOST_PATH], temporary[MOST_PATH + 8];
} text_file;

static ht_status file_fail(ht_context *ctx, const char *path, const char *what)
{
    return ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                           "%s: %s: %s\n  hint: --out wants a folder that you may write "
                           "in, or a name for a new one",
                           path, what, strerror(errno));
}

static bool join_path(ht_context *ctx, const char *folder, const char *name,
                      char path[MOST_PATH])
{
    if (snprintf(path, MOST_PATH, "%s/%s", folder, name) < MOST_PATH) return true;
    errno = ENAMETOOLONG;
    file_fail(ctx, folder, "cannot be used");
    return false;
}

/* Text goes to a temporary beside the file, which gets the name at the end, and the
 * permissions of a file that it replaces. */
static bool text_open(text_file *text, ht_context *ctx, const char *folder,
                      const char *name)
{
    struct stat old;
    text->ctx = ctx;
    text->file = NULL;
    if (!join_path(ctx, folder, name, text->path)) return false;
    snprintf(text->temporary, sizeof text->temporary, "%s.part", text->path);
    text->file = fopen(text->temporary, "w");
    if (!text->file) file_fail(ctx, text->path, "cannot be created");
    if (text->file && stat(text->path, &old) == 0)
        fchmod(fileno(text->file), old.st_mode & 0777);
    return text->file != NULL;
}

static ht_status text_close(text_file *text, bool keep)
{
    bool bad = ferror(text->file) != 0;
    bad = fclose(text->file) != 0 || bad;
    if (!bad && keep) bad = rename(text->temporary, text->path) != 0;
    ht_status status =
        bad ? file_fail(text->ctx, text->path, "cannot be written") : HT_OK;
    if (bad || !keep) remove(text->temporary);
    return status;
}

static bool earlier_files(const char *folder)
{
    char path[MOST_PATH];
    for (int k = 0; k < N_FILES; k++) {
        int length = snprintf(path, sizeof path, "%s/%s", folder, file_names[k]);
        if (length < MOST_PATH && access(path, F_OK) == 0) return true;
    }
    return false;
}

ht_status clean_out_check(ht_context *ctx, const char *folder)
{
    text_file text;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return file_fail(ctx, folder, "cannot be made");
    if (!text_open(&text, ctx, folder, file_names[METRICS]))
        return ht_context_status(ctx);
    ht_status status = text_close(&text, false);
    if (!status && earlier_files(folder))
        fprintf(stderr,
                "hyperclean: %s holds files of an earlier run, which will be replaced\n",
                folder);
    return status;
}

static void put_number(FILE *f, double value)
{
    if (isfinite(value))
        fprintf(f, ",%.9g", value);
    else
        fputc(',', f);
}

static ht_status write_metrics(ht_context *ctx, const char *folder,
                               const clean_result *result)
{
    text_file text;
    if (!text_open(&text, ctx, folder, file_names[METRICS]))
        return ht_context_status(ctx);
    fprintf(text.file, "outer_step,validation_loss,inner_loss,found,precision,recall,f1,"
                       "weight_sum,hypergradient_seconds\n");
    for (int64_t k = 0; k < result->n_steps; k++) {
        const clean_step *step = &result->step[k];
        fprintf(text.file, "%lld", (long long)k + 1);
        put_number(text.file, step->validation_loss);
        put_number(text.file, step->inner_loss);
        put_number(text.file, (double)step->score.found);
        put_number(text.file, step->score.precision);
        put_number(text.file, step->score.recall);
        put_number(text.file, step->score.f1);
        put_number(text.file, step->weight_sum);
        put_number(text.file, step->seconds);
        fputc('\n', text.file);
    }
    return text_close(&text, true);
}

static ht_status write_weights(ht_context *ctx, const char *folder,
                               const clean_data *data, const clean_result *result)
{
    text_file text;
    if (!text_open(&text, ctx, folder, file_names[WEIGHTS_CSV]))
        return ht_context_status(ctx);
    const float *lambda = ht_tensor_data(ht_set_tensor(result->eta, "lambda"));
    const int32_t *given = ht_tensor_data(ht_set_tensor(data->train, "label"));
    fprintf(text.file, "image,given_label,true_label,found_wrong,weight,distrust\n");
    for (int64_t i = 0; i < data->n_train; i++)
        fprintf(text.file, "%lld,%d,%d,%d,%.9g,%.9g\n", (long long)data->image[i],
                given[i], data->truth[i], (double)lambda[i] < FOUND_WRONG,
                (double)lambda[i], result->distrust[i]);
    return text_close(&text, true);
}

/* Smallest weight first; among equals, mostly zeros, the one that the hypergradients
 * pushed down most. */
typedef struct ranked {
    double weight, distrust;
    int64_t row;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *p = a, *q = b;
    if (p->weight < q->weight || p->weight > q->weight)
        return p->weight < q->weight ? -1 : 1;
    if (p->distrust < q->distrust || p->distrust > q->distrust)
        return p->distrust > q->distrust ? -1 : 1;
    return p->row < q->row ? -1 : p->row > q->row;
}

static ht_status write_sheet(ht_context *ctx, const char *path, const clean_data *data,
                             const clean_result *result)
{
    size_t n = (size_t)data->n_train;
    int shown = data->n_train < SHEET_IMAGES ? (int)data->n_train : SHEET_IMAGES;
    const float *lambda = ht_tensor_data(ht_set_tensor(result->eta, "lambda"));
    const float *pixels = ht_tensor_data(ht_set_tensor(data->train, "x"));
    const int32_t *given = ht_tensor_data(ht_set_tensor(data->train, "label"));
    ranked *order = malloc(n * sizeof *order);
    if (!order) return ht_context_fail(ctx, HT_ERROR_MEMORY, NULL, "%s: no memory", path);
    for (size_t i = 0; i < n; i++)
        order[i] = (ranked){(double)lambda[i], result->distrust[i], (int64_t)i};
    qsort(order, n, sizeof *order, compare_ranked);
    sheet_image image[SHEET_IMAGES];
    for (int k = 0; k < shown; k++) {
        int64_t row = order[k].row;
        image[k] = (sheet_image){.pixels = pixels + row * data->rows * data->cols,
                                 .label = given[row],
                                 .marked = data->corrupted[row] != 0};
    }
    free(order);
    return contact_sheet_write(ctx, path, data->rows, data->cols, shown, image);
}

/* The model, or without one nothing: that of an earlier run belongs to other weights. */
static ht_status write_model(ht_context *ctx, const char *path,
                             const clean_training *cleaned)
{
    if (cleaned->done) return ht_set_write(cleaned->theta, path);
    if (remove(path) == 0)
        fprintf(stderr, "hyperclean: %s, of an earlier run, has been removed\n", path);
    else if (errno != ENOENT)
        return file_fail(ctx, path, "is of an earlier run and cannot be removed");
    return HT_OK;
}

ht_status clean_write(ht_context *ctx, const clean_options *options,
                      const clean_data *data, const clean_result *result)
{
    char path[MOST_PATH];
    bool earlier = earlier_files(options->out);
    ht_status status = write_metrics(ctx, options->out, result);
    if (!status) status = write_weights(ctx, options->out, data, result);
    if (!status && join_path(ctx, options->out, file_names[WEIGHTS], path))
        status = ht_set_write(result->eta, path);
    if (!status && join_path(ctx, options->out, file_names[MODEL], path))
        status = write_model(ctx, path, &result->training[CLEANED]);
    if (!status && join_path(ctx, options->out, file_names[SHEET], path))
        write_sheet(ctx, path, data, result);
    if (ht_context_status(ctx) && earlier)
        fprintf(stderr, "hyperclean: %s may now hold files of two runs\n", options->out);
    return ht_context_status(ctx);
}
