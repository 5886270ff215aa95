/* SPDX-License-Identifier: MIT */
/* demo_trust.c: a set with few examples of some classes and wrong labels, and for a page
 * what learned weights make of it: which labels are trusted, of which class, and which
 * photographs. Read next: report_gallery.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"

enum { CLASSES = 10, BINS = 24, SHOWN = 24, CAPTION = 64 };

static const char *const class_name[] = {"plane", "car",  "bird",  "cat",  "deer",
                                         "dog",   "frog", "horse", "ship", "truck"};

/* Rows of the images, in chosen: of each class n_clean, which come last, and before them
 * of the rest as many as its share. Gives the number of those. */
static int64_t choose(const ht_images *images, const int64_t *row, int64_t n_clean,
                      double imbalance, int64_t *chosen)
{
    int64_t total = ht_tensor_count(images->labels), n = 0, clean = total;
    int64_t count[CLASSES] = {0};
    for (int64_t i = 0; i < total; i++) {
        int k = (int)ht_tensor_get(images->labels, row[i]);
        double share = (double)(total / CLASSES - n_clean) *
                       pow(imbalance, -(double)k / (CLASSES - 1));
        if (count[k]++ < n_clean)
            chosen[--clean] = row[i];
        else if ((double)(count[k] - n_clean) <= share + 0.5)
            chosen[n++] = row[i];
    }
    if (total - clean != CLASSES * n_clean) {
        ht_context_fail(ht_tensor_context(images->labels), HT_ERROR_ARGUMENT, NULL,
                        "--data: expected %lld clean images of each of %d classes, found "
                        "%lld of all\n  hint: a smaller --clean, or the full set",
                        (long long)n_clean, CLASSES, (long long)(total - clean));
        return 0;
    }
    memmove(chosen + n, chosen + clean, (size_t)(total - clean) * sizeof *row);
    return n;
}

doubtful demo_doubtful(ht_context *ctx, const ht_images *images, int64_t n_clean,
                       double imbalance, double noise)
{
    int64_t total = ht_tensor_count(images->labels), *row = demo_rows(ctx, images, total),
            *chosen = demo_rows(ctx, images, total);
    doubtful d = {.n_doubtful = choose(images, row, n_clean, imbalance, chosen)};
    ht_check(ctx);
    d.n = d.n_doubtful + CLASSES * n_clean;
    d.set = demo_set(ctx, images, chosen, d.n);
    ht_tensor *label = ht_set_tensor(d.set, "label");
    d.given = ht_tensor_data(label);
    d.truth = ht_tensor_new(ctx, HT_I32, HT_SHAPE(d.n));
    ht_check(ctx);
    ht_tensor_copy(d.truth, label);
    ht_tensor *part = ht_tensor_wrap(ctx, HT_I32, HT_SHAPE(d.n_doubtful), d.given);
    ht_corrupt_labels(ctx, 2, noise, CLASSES, part, NULL);
    ht_tensor_free(part);
    ht_check(ctx);
    d.row = row;
    d.part = ht_tensor_data(ht_tensor_new(ctx, HT_I32, HT_SHAPE(d.n)));
    ht_check(ctx);
    for (int64_t i = 0; i < d.n; i++) {
        row[i] = i;
        d.part[i] = d.given[i] + (i < d.n_doubtful ? 0 : CLASSES);
    }
    free(chosen);
    return d;
}

static int truth_of(const doubtful *d, int64_t row)
{
    return ((const int32_t *)ht_tensor_data(d->truth))[row];
}

static bool is_right(const doubtful *d, int64_t row)
{
    return d->given[row] == truth_of(d, row);
}

static double log_weight(const doubtful *d, const ht_set *eta, int64_t row)
{
    return ht_tensor_get(ht_set_tensor(eta, "class"), d->part[row]) +
           ht_tensor_get(ht_set_tensor(eta, "example"), row);
}

static void put_histogram(report *page, const doubtful *d, const ht_set *eta)
{
    double *value = calloc((size_t)d->n_doubtful, sizeof *value);
    int64_t right = 0, wrong = d->n_doubtful;
    HT_ASSERT(value, "no memory for %lld weights", (long long)d->n_doubtful);
    for (int64_t i = 0; i < d->n_doubtful; i++)
        value[is_right(d, i) ? right++ : --wrong] = log_weight(d, eta, i) / log(10);
    report_histogram(
        page,
        &(report_figure){"Weights where labels are in doubt", "log10 w", "examples"}, 2,
        (report_values[]){{"right labels", right, value},
                          {"wrong labels", d->n_doubtful - right, value + right}},
        BINS);
    free(value);
}

static void put_classes(report *page, const doubtful *d, const ht_set *eta)
{
    double mean[CLASSES] = {0}, n[CLASSES] = {0};
    report_bar weight[CLASSES], count[CLASSES];
    for (int64_t i = 0; i < d->n; i++) {
        n[d->given[i]]++;
        mean[d->given[i]] += exp(log_weight(d, eta, i));
    }
    for (int k = 0; k < CLASSES; k++) {
        weight[k] = (report_bar){class_name[k], mean[k] / fmax(n[k], 1)};
        count[k] = (report_bar){class_name[k], n[k], .control = true};
    }
    report_bars(page, &(report_figure){"Mean weight of a label"}, CLASSES, weight);
    report_bars(page, &(report_figure){"Examples with that label"}, CLASSES, count);
}

typedef struct place {
    int64_t row;
    double weight;
} place;

static int by_weight(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->weight != y->weight ? (x->weight < y->weight ? -1 : 1)
                                  : (x->row > y->row) - (x->row < y->row);
}

/* From one end of the order to the middle. */
static void put_photographs(report *page, const doubtful *d, const char *title,
                            const place *from, int stride)
{
    char caption[SHOWN][CAPTION];
    report_image image[SHOWN];
    const float *pixels = ht_tensor_data(ht_set_tensor(d->set, "x"));
    int n = 0;
    for (; n < SHOWN && n < d->n_doubtful; n++) {
        int64_t i = from[n * stride].row;
        bool right = is_right(d, i);
        snprintf(caption[n], CAPTION, "\u201c%s\u201d%s%s", class_name[d->given[i]],
                 right ? "" : ", is ", right ? "" : class_name[truth_of(d, i)]);
        image[n] = (report_image){pixels + 3 * 32 * 32 * i, caption[n],
                                  right ? REPORT_RIGHT : REPORT_WRONG};
    }
    report_images(page,
                  &(report_figure){title, .note = "In quotes the label it was given. "
                                                  "Green frames: right; red: wrong."},
                  &(report_gallery){32, 32, 3, 0, 1, n, image});
}

static void put_confusion(report *page, const ht_tensor *counts)
{
    double count[CLASSES * CLASSES];
    for (int i = 0; i < CLASSES * CLASSES; i++) count[i] = ht_tensor_get(counts, i);
    report_matrix(page,
                  &(report_figure){"Test images: what they are, and what is answered",
                                   .note = "A row is a class, a column an answer."},
                  CLASSES, class_name, CLASSES, class_name, count);
}

void demo_trust(report *page, const doubtful *d, const ht_set *eta,
                const ht_tensor *confusion)
{
    place *order = calloc((size_t)d->n_doubtful, sizeof *order);
    HT_ASSERT(order, "no memory for %lld rows", (long long)d->n_doubtful);
    for (int64_t i = 0; i < d->n_doubtful; i++)
        order[i] = (place){i, log_weight(d, eta, i)};
    qsort(order, (size_t)d->n_doubtful, sizeof *order, by_weight);
    report_section(page, "Weights");
    put_histogram(page, d, eta);
    put_classes(page, d, eta);
    report_section(page, "The photographs");
    put_photographs(page, d, "Trusted least", order, 1);
    put_photographs(page, d, "Trusted most", order + d->n_doubtful - 1, -1);
    free(order);
    put_confusion(page, confusion);
}
