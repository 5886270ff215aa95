/* SPDX-License-Identifier: MIT */
/* rater_page.c: what the rater did, drawn: accuracy by the part that is kept, ratings of
 * each kind, and the images it rates best and worst. Read next: ../common/demo.h. */
#include <math.h>
#include <stdlib.h>

#include "rater.h"

enum { SHOWN = 30, CAPTION = 64, BINS = 24, CELL = 24 };

static bool filters(const contest *c, int which)
{
    return c->score[which] && !isnan(c->accuracy[which][0]);
}

static demo_number named(const char *key, const char *what, double value)
{
    char *name = malloc(CAPTION);
    HT_ASSERT(name, "no memory for a name of %d letters", CAPTION);
    snprintf(name, CAPTION, "%s_%s", key, what);
    return (demo_number){name, value};
}

demo_number *contest_numbers(const contest *c, int which, demo_number *next)
{
    static const char *const part[FRACTIONS] = {"kept_75", "kept_50", "kept_25"};
    static const char *const keeps[KINDS] = {"keeps_right", "keeps_wrong_label",
                                             "keeps_noise", "keeps_covered",
                                             "keeps_off_topic"};
    const char *key = c->run->entrant[which].key;
    for (int k = 0; k < FRACTIONS; k++)
        *next++ = named(key, part[k], c->accuracy[which][k]);
    if (!filters(c, which)) return next;
    *next++ = named(key, "auc", c->auc[which]);
    for (int k = 0; k < KINDS; k++) *next++ = named(key, keeps[k], c->share[which][k]);
    return next;
}

/* From all of the pool, which no filter touches, to the smallest part. */
static void put_fractions(report *page, const contest *c)
{
    report_series line[ENTRANTS];
    double x[FRACTIONS + 1], y[ENTRANTS][FRACTIONS + 1];
    int n = 0;
    for (int k = 0; k <= FRACTIONS; k++)
        x[k] = k < FRACTIONS ? 100 * fractions[FRACTIONS - 1 - k] : 100;
    for (int i = 0; i < ENTRANTS; i++) {
        int which = (RATER + i) % ENTRANTS; /* the first is drawn boldest */
        if (!filters(c, which) || which == LARGE_LOSS) continue;
        for (int k = 0; k < FRACTIONS; k++)
            y[which][k] = c->accuracy[which][FRACTIONS - 1 - k];
        y[which][FRACTIONS] = c->accuracy[NONE][0];
        line[n++] = (report_series){c->run->entrant[which].name, FRACTIONS + 1, x,
                                    y[which], .control = which != RATER};
    }
    if (!n) return;
    report_curve(page,
                 &(report_figure){"Test accuracy by the part that is kept",
                                  "percent of the pool kept", "percent",
                                  .note = "As many steps whatever is kept. Large loss is "
                                          "left out: it keeps what is worst."},
                 n, line);
}

static void put_learning(report *page, const contest *c)
{
    static const char *const column[] = {"right", "wrong_label", "noise", "covered",
                                         "off_topic"};
    report_series loss = metrics_series(c->run->steps, "validation_loss"), of[KINDS];
    loss.name = "eight models";
    report_curve(page,
                 &(report_figure){"Loss held out, while the rater learns", "outer step",
                                  .note = "A mean over models of all ages: each begins "
                                          "anew in its turn."},
                 1, &loss);
    for (int k = 0; k < KINDS; k++) {
        of[k] = metrics_series(c->run->steps, column[k]);
        of[k].name = kinds[k];
    }
    report_curve(page,
                 &(report_figure){"Mean rating of each kind, less that of all",
                                  "outer step",
                                  .note = "A rating is the logarithm of a weight. What "
                                          "is wrong with an image is never told."},
                 KINDS, of);
}

static void put_ratings(report *page, const contest *c)
{
    int64_t n = c->pool->n, filled = 0;
    double *value = calloc((size_t)n, sizeof *value);
    report_values of[KINDS];
    HT_ASSERT(value, "no memory for %lld ratings", (long long)n);
    for (int k = 0; k < KINDS; k++) {
        of[k] = (report_values){kinds[k], 0, value + filled};
        for (int64_t i = 0; i < n; i++)
            if (c->pool->kind[i] == k) value[filled++] = c->score[RATER][i];
        of[k].n = value + filled - of[k].value;
    }
    report_histogram(page,
                     &(report_figure){"Ratings of images it has not learned from",
                                      "rating", "images", "The count is logarithmic.",
                                      .log_y = true},
                     KINDS, of, BINS);
    free(value);
}

/* What each filter keeps of each kind, and how well it tells right ones. */
static void put_shares(report *page, const contest *c)
{
    enum { COLUMNS = KINDS + 2 };
    const char *heading[COLUMNS] = {"filter"}, *cell[ENTRANTS * COLUMNS];
    char text[ENTRANTS][COLUMNS][CELL];
    int n = 0;
    for (int k = 0; k < KINDS; k++) heading[1 + k] = kinds[k];
    heading[COLUMNS - 1] = "AUC";
    for (int which = 0; which < ENTRANTS; which++) {
        if (!filters(c, which)) continue;
        for (int k = 0; k < KINDS; k++)
            snprintf(text[n][1 + k], CELL, "%.0f %%", c->share[which][k]);
        snprintf(text[n][COLUMNS - 1], CELL, "%.3f", c->auc[which]);
        for (int k = 0; k < COLUMNS; k++) cell[n * COLUMNS + k] = text[n][k];
        cell[n * COLUMNS] = c->run->entrant[which].name;
        n++;
    }
    if (n)
        report_table(page,
                     &(report_figure){"What is kept of each kind, by the part of the "
                                      "table",
                                      .note = "AUC: how often an image that is right has "
                                              "the better score than one that is not."},
                     COLUMNS, heading, n, cell);
}

/* One of the pool: the label given, what is wrong, the rating. */
static report_image image_of(const contest *c, int64_t i, char caption[CAPTION])
{
    const pool *p = c->pool;
    int64_t pixels = ht_tensor_shape(ht_set_tensor(p->set, "x")).dim[1];
    const int32_t *given = ht_tensor_data(ht_set_tensor(p->set, "label"));
    char truth[CELL] = "";
    if (p->kind[i] == WRONG) snprintf(truth, CELL, ", is %d", p->truth[i]);
    snprintf(caption, CAPTION, "\u201c%d\u201d%s (%.1f)", given[i], truth,
             c->score[RATER][i]);
    return (report_image){(float *)ht_tensor_data(ht_set_tensor(p->set, "x")) +
                              i * pixels,
                          caption, p->kind[i] == RIGHT ? REPORT_RIGHT : REPORT_WRONG};
}

/* From one end of the order on; those that are right, that are not, or (-1) all. */
static void put_images(report *page, const contest *c, const ht_images *like,
                       const int64_t *order, bool worst, int right,
                       const report_figure *figure)
{
    ht_shape is = ht_tensor_shape(like->pixels);
    char caption[SHOWN][CAPTION];
    report_image image[SHOWN];
    int n = 0;
    bool ink = is.rank < 4;
    for (int64_t k = 0; k < c->pool->n && n < SHOWN; k++) {
        int64_t i = order[worst ? c->pool->n - 1 - k : k];
        if (right >= 0 && right != (c->pool->kind[i] == RIGHT)) continue;
        image[n] = image_of(c, i, caption[n]);
        n++;
    }
    report_images(page, figure,
                  &(report_gallery){is.dim[is.rank - 2], is.dim[is.rank - 1],
                                    ink ? 1 : is.dim[1], ink, !ink, n, image});
}

static void put_galleries(report *page, const contest *c, const ht_images *like)
{
    int64_t *order = contest_ranked(c, RATER);
    report_section(page, "The images");
    report_text(page, "None of them was there when the rater learned. In quotes the "
                      "label that the image was given, then what it is if that is "
                      "another, then its rating. Green frames: nothing is wrong. Red "
                      "frames: it was made worse.");
    put_images(page, c, like, order, false, -1, &(report_figure){"Rated best"});
    put_images(page, c, like, order, true, -1, &(report_figure){"Rated worst"});
    put_images(page, c, like, order, true, 1,
               &(report_figure){"Rated worst of those that nothing is wrong with"});
    put_images(page, c, like, order, false, 0,
               &(report_figure){"Rated best of those that were made worse"});
    free(order);
}

void write_page(contest *c, const ht_images *like)
{
    report page;
    if (!demo_page(&page, c->run)) return;
    put_fractions(&page, c);
    put_learning(&page, c);
    if (filters(c, RATER)) {
        report_section(&page, "Ratings");
        put_ratings(&page, c);
        put_shares(&page, c);
        put_galleries(&page, c, like);
    }
    demo_page_end(&page, c->run, c->rater, "rater.safetensors");
}
