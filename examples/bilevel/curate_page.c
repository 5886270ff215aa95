/* SPDX-License-Identifier: MIT */
/* curate_page.c: what was kept of a pool, of which kind, and how it looks.
 * Read next: ../common/demo_verdict.c. */
#include <stdlib.h>

#include "curate.h"

enum { SHOWN = 24, CAPTION = 64, BINS = 24 };

static void draw_bars(report *page, const pool *p, const choice *kept)
{
    report_bar bar[KINDS];
    for (int k = 0; k < KINDS; k++)
        bar[k] = (report_bar){kind_names[k],
                              100 * (double)kept->kept[k] / (double)(p->n / KINDS),
                              .control = k > OTHER};
    report_bars(page,
                &(report_figure){"Of each kind, kept, in percent",
                                 .note = "Grey: what should not be in it."},
                KINDS, bar);
}

static void draw_choices(report *page, const choice chosen[N_ENTRANTS])
{
    static const int which[] = {LEARNED, RANDOM, SKEW, LOSS, NEAR, PRODUCT, ORACLE};
    static const char *const name[] = {"chosen",  "random",  "as target", "lowest loss",
                                       "nearest", "product", "oracle"};
    enum { N = sizeof which / sizeof *which };
    double count[N * KINDS];
    for (int i = 0; i < N * KINDS; i++)
        count[i] = (double)chosen[which[i / KINDS]].kept[i % KINDS];
    report_matrix(page, &(report_figure){"How many of each kind were kept, by whom"}, N,
                  name, KINDS, kind_names, count);
}

static void draw_weights(report *page, const pool *p, const ht_tensor *weight)
{
    int64_t quarter = p->n / KINDS, n[KINDS] = {0};
    report_values group[KINDS];
    double *value = calloc((size_t)p->n, sizeof *value);
    HT_ASSERT(value, "no memory for %lld weights", (long long)p->n);
    for (int64_t i = 0; i < p->n; i++)
        value[p->kind[i] * quarter + n[p->kind[i]]++] = ht_tensor_get(weight, i);
    for (int k = 0; k < KINDS; k++)
        group[k] = (report_values){kind_names[k], quarter, value + k * quarter};
    report_histogram(page,
                     &(report_figure){"Weights", "weight", "images",
                                      "The largest are kept. The count is logarithmic.",
                                      .log_y = true},
                     KINDS, group, BINS);
    free(value);
}

/* The label it came with, what it is if that is something else, and the weight. */
static report_image image_of(const pool *p, int64_t i, double weight,
                             char caption[CAPTION])
{
    const float *x = ht_tensor_data(ht_set_tensor(p->set, "x"));
    int n = snprintf(caption, CAPTION, "\u201c%d\u201d", p->given[i]);
    if (p->kind[i] == WRONG)
        n += snprintf(caption + n, (size_t)(CAPTION - n), ", is %d", p->truth[i]);
    snprintf(caption + n, (size_t)(CAPTION - n), " (%.2f)", weight);
    return (report_image){x + i * p->rows * p->cols, caption,
                          p->kind[i] > OTHER ? REPORT_WRONG : REPORT_RIGHT};
}

/* From one end of the order on; all, or those that are there by mistake. */
static void draw_images(report *page, const pool *p, const ht_tensor *weight,
                        const choice *order, bool last, bool mistaken,
                        const report_figure *figure)
{
    char caption[SHOWN][CAPTION];
    report_image image[SHOWN];
    int n = 0;
    for (int64_t k = 0; k < order->n && n < SHOWN; k++) {
        int64_t i = order->row[last ? order->n - 1 - k : k];
        bool good = p->kind[i] <= OTHER;
        if (mistaken && good != last) continue;
        image[n] = image_of(p, i, ht_tensor_get(weight, i), caption[n]);
        n++;
    }
    report_images(page, figure, &(report_gallery){p->rows, p->cols, 1, 1, 0, n, image});
}

static void draw_curves(report *page, const metrics *steps)
{
    static const char *const column[KINDS] = {"weight_relevant", "weight_other",
                                              "weight_wrong", "weight_photographs"};
    report_series mean[KINDS];
    for (int k = 0; k < KINDS; k++) {
        mean[k] = metrics_series(steps, column[k]);
        mean[k].name = kind_names[k];
        mean[k].control = k > OTHER;
    }
    report_curve(page, &(report_figure){"Mean weight, by kind", "outer step"}, KINDS,
                 mean);
    report_curve(page, &(report_figure){"Loss of the target", "outer step"}, 1,
                 (report_series[]){metrics_series(steps, "target_loss")});
}

void curate_draw(report *page, const pool *p, const metrics *steps,
                 const ht_tensor *weight, const choice chosen[N_ENTRANTS])
{
    const choice *kept = &chosen[LEARNED];
    choice order = choice_best(p, weight, p->n);
    draw_curves(page, steps);
    report_section(page, "What was kept");
    draw_bars(page, p, kept);
    draw_weights(page, p, weight);
    draw_choices(page, chosen);
    report_section(page, "The images");
    report_text(page, "In quotes the label that an image came with, then what it is if "
                      "that is another digit, then its weight. Green frames: rightly "
                      "labelled digits. Red frames: wrong labels and photographs.");
    draw_images(page, p, weight, &order, false, false,
                &(report_figure){"Kept: the largest weights"});
    draw_images(page, p, weight, &order, true, false,
                &(report_figure){"Refused: the smallest weights"});
    draw_images(page, p, weight, kept, false, true,
                &(report_figure){"Kept by mistake: the largest weights of them"});
    free(order.row);
}

ht_status curate_write(ht_context *ctx, const pool *p, const ht_tensor *weight,
                       const choice *kept, const char *folder)
{
    char path[OUTPUT_PATH];
    output out;
    bool *is_kept = calloc((size_t)p->n, sizeof *is_kept);
    HT_ASSERT(is_kept, "no memory for %lld marks", (long long)p->n);
    for (int64_t k = 0; k < kept->n; k++) is_kept[kept->row[k]] = true;
    if (path_join(ctx, path, folder, "chosen.csv") &&
        output_open(&out, ctx, path, false)) {
        fprintf(out.file, "row,kind,label,digit,weight,kept\n");
        for (int64_t i = 0; i < p->n; i++)
            CSV_ROW(&out, (double)i, p->kind[i], p->given[i], p->truth[i],
                    ht_tensor_get(weight, i), is_kept[i]);
        output_close(&out, true);
    }
    free(is_kept);
    return ht_context_status(ctx);
}
