/* SPDX-License-Identifier: MIT */
/* metrics.c: numbers of each step, for metrics.csv and for the curves of a report.
 * Read next: output.c, report_chart.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

static int n_columns(const metrics *log)
{
    int n = 0;
    while (n < METRICS && log->name[n]) n++;
    return n;
}

void metrics_row(metrics *log, int n, const double *cell)
{
    HT_ASSERT(n == n_columns(log), "%d values for %d columns", n, n_columns(log));
    if (log->rows == log->room) {
        HT_ASSERT(!log->borrowed, "a row after the last of %lld", (long long)log->room);
        log->room = log->room ? 2 * log->room : 64;
        log->cell = realloc(log->cell, (size_t)log->room * METRICS * sizeof *cell);
        HT_ASSERT(log->cell, "no memory for %lld rows", (long long)log->room);
    }
    memcpy(log->cell + METRICS * log->rows++, cell, (size_t)n * sizeof *cell);
}

void metrics_in(metrics *log, ht_tensor *cells)
{
    HT_ASSERT(ht_tensor_dtype(cells) == HT_F64 &&
                  ht_tensor_shape(cells).dim[1] == METRICS,
              "rows of %lld numbers, not %d of f64",
              (long long)ht_tensor_shape(cells).dim[1], METRICS);
    log->cell = ht_tensor_data(cells);
    log->room = ht_tensor_shape(cells).dim[0];
    log->borrowed = true;
}

report_series metrics_series(const metrics *log, const char *name)
{
    int column = 0;
    while (column < METRICS && log->name[column] && strcmp(log->name[column], name) != 0)
        column++;
    HT_ASSERT(column < n_columns(log), "no column is called %s", name);
    return (report_series){name, log->rows, log->cell, log->cell + column,
                           .stride = METRICS};
}

ht_status metrics_write(const metrics *log, ht_context *ctx, const char *folder)
{
    char path[OUTPUT_PATH];
    output out;
    if (!path_join(ctx, path, folder, "metrics.csv") ||
        !output_open(&out, ctx, path, false))
        return ht_context_status(ctx);
    for (int k = 0; k < n_columns(log); k++)
        fprintf(out.file, "%s%s", k ? "," : "", log->name[k]);
    fputc('\n', out.file);
    for (int64_t i = 0; i < log->rows; i++)
        csv_row(&out, n_columns(log), log->cell + METRICS * i);
    return output_close(&out, true);
}

void metrics_free(metrics *log)
{
    if (!log->borrowed) free(log->cell);
    log->cell = NULL;
    log->rows = log->room = 0;
}
