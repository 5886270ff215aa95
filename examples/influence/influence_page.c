/* SPDX-License-Identifier: MIT */
/* influence_page.c: what a study found, as a page. Read next: ../common/common.h. */
#include "influence.h"

#include <math.h>
#include <stdlib.h>

#define AGREEMENT 0.85 /* LDS of a good verdict */

static ht_status write_scores(const study *s)
{
    char path[OUTPUT_PATH];
    ht_set *set = isnan(s->rows[CPU_SCORES]) ? NULL : ht_set_new(s->ctx);
    if (set) {
        int64_t n = n_queries(s) * s->n_train,
                *rows = demo_rows(s->ctx, &s->images, s->n_train);
        ht_tensor *to = ht_set_add(set, "scores", HT_F64,
                                   HT_SHAPE(n_queries(s), s->n_train)),
                  *row = ht_set_add(set, "train_row", HT_I32, HT_SHAPE(s->n_train));
        ht_check(s->ctx);
        for (int64_t i = 0; i < n; i++) ht_tensor_set(to, i, s->shown[i]);
        for (int64_t i = 0; i < s->n_train; i++) ht_tensor_set(row, i, (double)rows[i]);
        free(rows);
    }
    if (path_join(s->ctx, path, s->options.out, "scores.safetensors"))
        output_set(s->ctx, "influence", set, path);
    ht_set_free(set);
    return ht_context_status(s->ctx);
}

/* Drawn. */

static void put_verdict(report *page, const study *s)
{
    summary few = summary_of(s, OF(EXACT, LDS + 1)), smooth = summary_of(s, SMOOTH),
            halves = summary_of(s, HALVES);
    const char *kind = s->seeds > 1 ? "over seeds" : "by bootstrap";
    if (!(smooth.mean >= ENOUGH && halves.mean >= ENOUGH))
        report_verdict(page, REPORT_BAD,
                       "Do not trust what this gradient foretells: S^ of the margins is "
                       "%.2f, and both halves of their change correlate by %.2f; 0.95 is "
                       "wanted.%s",
                       smooth.mean, halves.mean, s->anyway ? "" : " No query was asked.");
    else
        report_verdict(page, few.mean >= AGREEMENT ? REPORT_GOOD : REPORT_EVEN,
                       "Foretold by one gradient and found by training without the "
                       "images: rank correlation %.3f where 5 %% are left out.",
                       few.mean);
    report_number(page, "S^", "of 100 margins, asked first", "%.3f", smooth.mean);
    report_number(page, "halves", "how both correlate", "%.3f", halves.mean);
    if (isnan(few.mean)) return;
    report_number(page, "LDS, 5 %", "rank correlation", "%.3f", few.mean);
    report_number(page, "95 % of it", kind, "%.2f to %.2f", few.low, few.high);
    report_number(page, "single images", "Pearson's correlation", "%.3f",
                  summary_of(s, OF(EXACT, 0)).mean);
    report_number(page, "helped and hurt most", "foretold and found", "%.3f",
                  summary_of(s, PROOF).mean);
}

/* A query, then those that helped, then those that hurt. */
static void put_query(report *page, const study *s, int64_t k, int64_t image_of_query,
                      const int64_t *rows)
{
    enum { N = 1 + 2 * DRAWN };
    char title[NAME], note[4 * NAME], caption[N][NAME];
    report_image image[N];
    int64_t order[2 * DRAWN];
    ht_shape shape = ht_tensor_shape(s->images.pixels);
    const int64_t *side = shape.dim + shape.rank - 2, colour = shape.rank == 4,
                  size = ht_tensor_count(s->images.pixels) / shape.dim[0];
    const double *q = s->query + k * OF_QUERY;
    const int32_t *drawn = s->drawn + 2 * DRAWN * k;
    for (int j = 0; j < 2 * DRAWN; j++) order[j] = rows[drawn[j]];
    ht_set *asked = demo_set(s->ctx, &s->others, &image_of_query, 1),
           *found = demo_set(s->ctx, &s->images, order, 2 * DRAWN);
    for (int j = 0; j < N; j++) {
        const ht_set *set = j ? found : asked;
        int64_t i = j ? j - 1 : 0;
        int n = snprintf(caption[j], NAME, "%s%.0f", j ? "" : "asked, ",
                         ht_tensor_get(ht_set_tensor(set, "label"), i));
        if (j)
            snprintf(caption[j] + n, (size_t)(NAME - n), ": %+.3f",
                     s->shown[k * s->n_train + drawn[i]]);
        image[j] = (report_image){
            (float *)ht_tensor_data(ht_set_tensor(set, "x")) + i * size, caption[j],
            !j           ? REPORT_UNMARKED
            : j <= DRAWN ? REPORT_RIGHT
                         : REPORT_WRONG};
    }
    snprintf(title, sizeof title, "Test image %lld", (long long)image_of_query);
    snprintf(note, sizeof note,
             "%s, S^ of this one %.2f. Its margin without the %d that helped: %+.3f "
             "foretold, %+.3f found. Without the %d that hurt: %+.3f foretold, %+.3f "
             "found. LDS of it, 5 %% left out: %.2f.",
             q[Q_SMOOTH] >= ENOUGH ? "To be believed" : "Do not believe it", q[Q_SMOOTH],
             DRAWN, q[Q_FORETOLD], q[Q_FOUND], DRAWN, q[Q_FORETOLD + 1], q[Q_FOUND + 1],
             q[Q_LDS + 1]);
    report_images(page, &(report_figure){title, .note = note},
                  &(report_gallery){side[0], side[1], colour ? 3 : 1, !colour,
                                    (double)colour, N, image});
    ht_set_free(asked);
    ht_set_free(found);
}

static void put_queries(report *page, const study *s)
{
    int64_t *rows = demo_rows(s->ctx, &s->images, s->n_train),
            *asked = demo_rows(s->ctx, &s->others, MOST_QUERIES);
    report_section(page, "What helped and what hurt");
    report_text(page,
                "The label, then what leaving out this image alone does to the "
                "margin of the one asked about: the logit of its class less the log of "
                "the sum of exponentials of the others. Green frames helped, red ones "
                "hurt. All of a colour were then left out together.%s",
                s->seeds > 1 ? " These are of the first seed." : "");
    for (int64_t k = 0; k < n_queries(s); k++) put_query(page, s, k, asked[k], rows);
    free(rows);
    free(asked);
}

/* LDS by part, of all who foretell. */
static void put_forecasts(report *page, const study *s)
{
    report_series line[FORETELLERS];
    double y[FORETELLERS][PARTS];
    if (!summary_of(s, OF(EXACT, LDS)).n) return;
    int n = s->alone ? 1 : FORETELLERS;
    for (int k = 0; k < n; k++) {
        for (int part = 0; part < PARTS; part++)
            y[k][part] = summary_of(s, OF(k, LDS + part)).mean;
        line[k] = (report_series){foretellers[k].name, PARTS, parts, y[k],
                                  .control = k != EXACT};
    }
    report_section(page, "Foretold and found");
    report_curve(page,
                 &(report_figure){"LDS, a rank correlation over random subsets",
                                  "percent left out", "LDS", .log_x = true,
                                  .note = "Controls foretell the same trainings."},
                 n, line);
}

/* Means and their intervals. */
static void put_means(report *page, const study *s)
{
    enum { ROWS = FORETELLERS + 1, WIDE = 2 + PARTS };
    static const char *const heading[WIDE] = {"", "single", "1 %", "5 %", "20 %", "50 %"};
    char text[ROWS][WIDE][NAME];
    const char *cell[ROWS * WIDE];
    if (!summary_of(s, OF(EXACT, 0)).n) return;
    for (int k = 0; k < ROWS; k++)
        for (int j = 0; j < WIDE; j++) {
            bool above = k == FORETELLERS;
            summary is =
                summary_of(s, above ? LEAD + (j > 1 ? j - 2 : 0) : OF(k, j - 1 + !j));
            char *to = text[k][j];
            if (!j)
                snprintf(to, NAME, "%s",
                         above ? "above the best influence function"
                               : foretellers[k].name);
            else if (above && j == 1)
                *to = 0;
            else if (isnan(is.low))
                snprintf(to, NAME, "%.3f", is.mean);
            else
                snprintf(to, NAME, "%.3f (%.2f\u00a0to\u00a0%.2f)", is.mean, is.low,
                         is.high); /* in two lines at most */
            cell[k * WIDE + j] = to;
        }
    report_table(
        page,
        &(report_figure){s->seeds > 1 ? "Means over seeds, and their intervals of 95 %"
                                      : "Correlations, and their intervals of 95 %",
                         .note = s->seeds > 1 ? "Student's t over seeds."
                                              : "By resampling subsets and queries."},
        WIDE, heading, s->alone ? 1 : ROWS, cell);
}

static void put_seeds(report *page, const study *s)
{
    for (int64_t k = 0; k < s->seeds && s->seeds > 1; k++) {
        const double *row = s->rows + k * COLUMNS;
        char name[NAME];
        if (isnan(row[TRAININGS])) continue;
        snprintf(name, sizeof name, "seed %llu",
                 (unsigned long long)s->options.common.seed + (unsigned long long)k);
        report_fact(
            page, name,
            "S^ %.3f, halves %.3f%s, test accuracy %.1f %%, loss of the last batch %.3g",
            row[SMOOTH], row[HALVES], refused(s, k) ? ", refused" : "", row[ACCURACY],
            row[LOSS]);
    }
}

void write_page(const study *s)
{
    report page;
    summary trainings = summary_of(s, TRAININGS);
    write_scores(s);
    if (!report_open(&page, s->ctx, s->options.out, "Which images made it say that?"))
        return;
    put_verdict(&page, s);
    if (!isnan(s->rows[PROOF])) put_queries(&page, s);
    put_forecasts(&page, s);
    put_means(&page, s);
    report_section(&page, "Trainings, memory and time");
    put_seeds(&page, s);
    report_fact(&page, "test accuracy", "%.1f %%", summary_of(s, ACCURACY).mean);
    report_fact(&page, "loss of the last batch", "%.3g", summary_of(s, LOSS).mean);
    report_fact(&page, "trainings", "%.0f", trainings.mean * trainings.n);
    if (!isnan(s->rows[COST_ONE]))
        report_fact(&page, "scores of a query",
                    "%.2f trainings alone, %.2f among 8, by processor time; %s",
                    s->rows[COST_ONE], s->rows[COST_EIGHT],
                    demo_schedules[(int)s->rows[SCHEDULE]]);
    report_account(&page, s->began);
    report_section(&page, "Settings");
    report_settings(&page);
    report_close(&page);
    command_write_config(s->ctx, s->options.out);
}
