/* SPDX-License-Identifier: MIT */
/* hyperclean_files.c: the files of --out.
 *
 *   report.html          all that is to be seen: hyperclean_page.c
 *   config.json          the flags, with their defaults
 *   metrics.csv          one row per outer step
 *   weights.csv          one row per train image: its weight, and why
 *   weights.safetensors  lambda
 *   model.safetensors    the model trained on the cleaned set
 *   distrusted.png       the images trusted least, and most, with the labels given
 *
 * Read next: ../common/output.c, ../common/contact_sheet.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hyperclean.h"

enum { SHEET_PART = 48, N_FILES = 7 };

static ht_status write_metrics(const clean_run *run, const char *path)
{
    (void)path;
    return metrics_write(&run->result.steps, run->ctx, run->options->demo.out);
}

static ht_status write_weights(const clean_run *run, const char *path)
{
    const clean_data *data = &run->data;
    const float *lambda = ht_tensor_data(ht_set_tensor(run->result.eta, "lambda"));
    const int32_t *given = ht_tensor_data(ht_set_tensor(data->train, "label"));
    output out;
    if (!output_open(&out, run->ctx, path, false)) return ht_context_status(run->ctx);
    fprintf(out.file, "image,given_label,true_label,found_wrong,weight,distrust\n");
    for (int64_t i = 0; i < data->n_train; i++)
        CSV_ROW(&out, (double)data->image[i], given[i], data->truth[i],
                (double)lambda[i] < FOUND_WRONG, (double)lambda[i],
                run->result.distrust[i]);
    return output_close(&out, true);
}

static ht_status write_lambda(const clean_run *run, const char *path)
{
    return ht_set_write(run->result.eta, path);
}

/* The model, or without one nothing: that of an earlier run belongs to other weights. */
static ht_status write_model(const clean_run *run, const char *path)
{
    const clean_training *cleaned = &run->result.training[CLEANED];
    if (cleaned->done) return ht_set_write(cleaned->theta, path);
    if (remove(path) == 0)
        fprintf(stderr, "hyperclean: %s, of an earlier run, has been removed\n", path);
    else if (errno != ENOENT)
        return ht_context_fail(run->ctx, HT_ERROR_FILE, NULL,
                               "%s: is of an earlier run and cannot be removed: %s\n"
                               "  hint: remove it, it belongs to other weights",
                               path, strerror(errno));
    return HT_OK;
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

int64_t *clean_rank(const clean_run *run)
{
    size_t n = (size_t)run->data.n_train;
    const float *lambda = ht_tensor_data(ht_set_tensor(run->result.eta, "lambda"));
    ranked *order = malloc(n * sizeof *order);
    int64_t *row = malloc(n * sizeof *row);
    HT_ASSERT(order && row, "no memory to rank %zu images", n);
    for (size_t i = 0; i < n; i++)
        order[i] = (ranked){(double)lambda[i], run->result.distrust[i], (int64_t)i};
    qsort(order, n, sizeof *order, compare_ranked);
    for (size_t i = 0; i < n; i++) row[i] = order[i].row;
    free(order);
    return row;
}

static sheet_image image_of(const clean_run *run, int64_t row)
{
    const clean_data *data = &run->data;
    const float *pixels = ht_tensor_data(ht_set_tensor(data->train, "x"));
    const int32_t *given = ht_tensor_data(ht_set_tensor(data->train, "label"));
    return (sheet_image){.pixels =
                             pixels + row * data->channels * data->rows * data->cols,
                         .label = given[row],
                         .marked = data->corrupted[row] != 0};
}

/* Both ends of the ranking, the middle left out. */
static ht_status write_sheet(const clean_run *run, const char *path)
{
    const clean_data *data = &run->data;
    int shown = data->n_train < SHEET_PART ? (int)data->n_train : SHEET_PART;
    int64_t *order = clean_rank(run);
    sheet_image least[SHEET_PART], most[SHEET_PART];
    for (int k = 0; k < shown; k++) {
        least[k] = image_of(run, order[k]);
        most[k] = image_of(run, order[data->n_train - 1 - k]);
    }
    free(order);
    const sheet_part part[] = {{"Trusted least:", shown, least},
                               {"Trusted most:", shown, most}};
    return contact_sheet_write(
        run->ctx, path,
        &(contact_sheet){"Images beside the labels they were given",
                         "Blue: the label is right", "Red: it is wrong", data->rows,
                         data->cols, 2, part, data->channels == 3});
}

static ht_status write_config(const clean_run *run, const char *path)
{
    (void)path;
    return command_write_config(run->ctx, run->options->demo.out);
}

/* In the order of writing. */
static const char *const file_names[N_FILES + 1] = {
    "metrics.csv",       "config.json",    "weights.csv", "weights.safetensors",
    "model.safetensors", "distrusted.png", "report.html", NULL};
static ht_status (*const file_writers[N_FILES])(const clean_run *run,
                                                const char *path) = {
    write_metrics, write_config, write_weights,   write_lambda,
    write_model,   write_sheet,  clean_write_page};

ht_status clean_out_check(const clean_run *run)
{
    return output_folder(run->ctx, "hyperclean", run->options->demo.out, file_names);
}

ht_status clean_write(const clean_run *run)
{
    char path[OUTPUT_PATH];
    const char *folder = run->options->demo.out;
    bool earlier = output_earlier(run->ctx, folder, file_names);
    for (int k = 0; k < N_FILES && !ht_context_status(run->ctx); k++)
        if (path_join(run->ctx, path, folder, file_names[k])) file_writers[k](run, path);
    if (ht_context_status(run->ctx) && earlier)
        fprintf(stderr, "hyperclean: %s may now hold files of two runs\n", folder);
    return ht_context_status(run->ctx);
}
