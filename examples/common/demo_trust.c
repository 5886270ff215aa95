/* SPDX-License-Identifier: MIT */
/* demo_trust.c: sets with wrong labels, and what learned weights make of them: how many
 * they find, and for a page and files which labels are trusted, of which class, and which
 * images. Read next: report_gallery.c, contact_sheet.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"

enum { CLASSES = 10, BINS = 24, SHOWN = 30, CAPTION = 64, SHEET_PART = 48 };

static const char *const digit_name[] = {"0", "1", "2", "3", "4",
                                         "5", "6", "7", "8", "9"};
static const char *const photograph_name[] = {"plane", "car",  "bird",  "cat",  "deer",
                                              "dog",   "frog", "horse", "ship", "truck"};

static const char *const *class_names(const doubtful *d)
{
    return d->channels == 3 ? photograph_name : digit_name;
}

/* So many of each class are to be had, and one more to be in doubt. */
static void check_clean(ht_context *ctx, const ht_images *images, int64_t n_clean)
{
    int64_t count[CLASSES] = {0}, least = 0;
    const int32_t *label = ht_tensor_data(images->labels);
    for (int64_t i = 0; i < ht_tensor_count(images->labels); i++) count[label[i]]++;
    for (int k = 1; k < CLASSES; k++)
        if (count[k] < count[least]) least = k;
    if (count[least] <= n_clean)
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "--clean %lld: expected fewer than there are images of each "
                        "class, got %lld of class %lld\n"
                        "  hint: a smaller --clean, or a larger set in --data",
                        (long long)n_clean, (long long)count[least], (long long)least);
    ht_check(ctx);
}

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
    memmove(chosen + n, chosen + clean, (size_t)(total - clean) * sizeof *row);
    return n;
}

doubtful demo_doubtful(ht_context *ctx, const ht_images *images, int64_t *order,
                       int64_t n, int64_t n_doubtful, double noise)
{
    ht_shape shape = ht_tensor_shape(images->pixels);
    doubtful d = {.n = n,
                  .n_doubtful = n_doubtful,
                  .channels = shape.rank == 4 ? shape.dim[1] : 1,
                  .rows = shape.dim[shape.rank - 2],
                  .cols = shape.dim[shape.rank - 1],
                  .image = order,
                  .set = demo_set(ctx, images, order, n)};
    ht_tensor *label = ht_set_tensor(d.set, "label"),
              *row = ht_set_add(d.set, "row", HT_I32, HT_SHAPE(n)),
              *truth = ht_tensor_new(ctx, HT_I32, HT_SHAPE(n));
    ht_check(ctx);
    ht_tensor_copy(truth, label);
    d.given = ht_tensor_data(label);
    d.truth = ht_tensor_data(truth);
    for (int64_t i = 0; i < n; i++) ht_tensor_set(row, i, (double)i);
    ht_tensor *part = ht_tensor_wrap(ctx, HT_I32, HT_SHAPE(n_doubtful), d.given);
    ht_corrupt_labels(ctx, 2, noise, CLASSES, part, NULL);
    ht_tensor_free(part);
    ht_check(ctx);
    return d;
}

doubtful demo_long_tail(ht_context *ctx, const ht_images *images, int64_t n_clean,
                        double imbalance, double noise)
{
    int64_t total = ht_tensor_count(images->labels);
    check_clean(ctx, images, n_clean);
    int64_t *row = demo_rows(ctx, images, total), *chosen = demo_rows(ctx, images, total);
    int64_t n = choose(images, row, n_clean, imbalance, chosen);
    free(row);
    return demo_doubtful(ctx, images, chosen, n + CLASSES * n_clean, n, noise);
}

static bool is_wrong(const trust *t, int64_t row)
{
    return t->of->given[row] != t->of->truth[row];
}

static double weight_at(const trust *t, int64_t row)
{
    return (double)t->weight[row];
}

trust_score trust_measure(const trust *t)
{
    trust_score s = {0};
    double wrong_sum = 0, n = (double)t->of->n_doubtful;
    for (int64_t i = 0; i < t->of->n_doubtful; i++) {
        bool found = weight_at(t, i) < t->below, wrong = is_wrong(t, i);
        s.wrong += wrong;
        s.found += found;
        s.right += found && wrong;
        s.weight_sum += weight_at(t, i);
        wrong_sum += wrong ? weight_at(t, i) : 0;
    }
    s.precision = s.right / s.found;
    s.recall = s.right / s.wrong;
    s.f1 = 2 * s.right / (s.found + s.wrong);
    s.wrong_weight = wrong_sum / s.wrong;
    s.right_weight = (s.weight_sum - wrong_sum) / (n - s.wrong);
    return s;
}

static void put_weights(report *page, const trust *t)
{
    int64_t n = t->of->n_doubtful, right = 0, wrong = n;
    double *value = calloc((size_t)n, sizeof *value);
    HT_ASSERT(value, "no memory for %lld weights", (long long)n);
    for (int64_t i = 0; i < n; i++)
        value[is_wrong(t, i) ? --wrong : right++] =
            t->logarithm ? log10(weight_at(t, i)) : weight_at(t, i);
    report_section(page, "Weights");
    report_text(page,
                "Every image in doubt has a weight, moved so that a training by the "
                "weights does well on clean ones.");
    if (t->below > 0)
        report_text(page, "A weight below %g says that the label is wrong.", t->below);
    report_histogram(page,
                     &(report_figure){"Weights where labels are in doubt",
                                      t->logarithm ? "log10 w" : "weight", "labels",
                                      t->logarithm ? NULL : "The count is logarithmic.",
                                      .log_y = !t->logarithm},
                     2,
                     (report_values[]){{"right labels", right, value},
                                       {"wrong labels", n - right, value + right}},
                     BINS);
    free(value);
}

static void put_classes(report *page, const trust *t)
{
    const doubtful *d = t->of;
    double sum[CLASSES] = {0}, n[CLASSES] = {0};
    report_bar weight[CLASSES], count[CLASSES];
    for (int64_t i = 0; i < d->n; i++) {
        n[d->given[i]]++;
        sum[d->given[i]] += weight_at(t, i);
    }
    for (int k = 0; k < CLASSES; k++) {
        weight[k] = (report_bar){class_names(d)[k], sum[k] / fmax(n[k], 1)};
        count[k] = (report_bar){class_names(d)[k], n[k], .control = true};
    }
    report_bars(page, &(report_figure){"Mean weight of a label"}, CLASSES, weight);
    report_bars(page, &(report_figure){"Examples with that label"}, CLASSES, count);
}

typedef struct place {
    double weight, distrust;
    int64_t row;
} place;

static int by_trust(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->weight < y->weight || x->weight > y->weight)
        return x->weight < y->weight ? -1 : 1;
    if (x->distrust < y->distrust || x->distrust > y->distrust)
        return x->distrust > y->distrust ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* Those in doubt, the least trusted first: owned. */
static place *rank(const trust *t)
{
    int64_t n = t->of->n_doubtful;
    place *order = calloc((size_t)n, sizeof *order);
    HT_ASSERT(order, "no memory to rank %lld examples", (long long)n);
    for (int64_t i = 0; i < n; i++)
        order[i] = (place){weight_at(t, i), t->distrust ? t->distrust[i] : 0, i};
    qsort(order, (size_t)n, sizeof *order, by_trust);
    return order;
}

static const float *pixels_of(const doubtful *d, int64_t row)
{
    const float *pixels = ht_tensor_data(ht_set_tensor(d->set, "x"));
    return pixels + row * d->channels * d->rows * d->cols;
}

/* The label given, what it should be, and the weight. */
static report_image image_of(const trust *t, int64_t row, char caption[CAPTION])
{
    const doubtful *d = t->of;
    const char *const *name = class_names(d);
    bool wrong = is_wrong(t, row);
    snprintf(caption, CAPTION, "\u201c%s\u201d%s%s (%.2f)", name[d->given[row]],
             wrong ? ", is " : "", wrong ? name[d->truth[row]] : "", weight_at(t, row));
    return (report_image){pixels_of(d, row), caption,
                          wrong ? REPORT_WRONG : REPORT_RIGHT};
}

/* From the first of the order on, or the last; all, or those that are so by mistake. */
static void put_images(report *page, const trust *t, const place *order, bool last,
                       bool mistaken, const report_figure *figure)
{
    const doubtful *d = t->of;
    double ink = d->channels == 1; /* else light */
    char caption[SHOWN][CAPTION];
    report_image image[SHOWN];
    int n = 0;
    for (int64_t k = 0; k < d->n_doubtful && n < SHOWN; k++) {
        int64_t row = order[last ? d->n_doubtful - 1 - k : k].row;
        bool found = weight_at(t, row) < t->below, wrong = is_wrong(t, row);
        if (mistaken && (found == wrong || found == last)) continue;
        image[n] = image_of(t, row, caption[n]);
        n++;
    }
    report_images(
        page, figure,
        &(report_gallery){d->rows, d->cols, d->channels, ink, 1 - ink, n, image});
}

static void put_galleries(report *page, const trust *t)
{
    place *order = rank(t);
    report_section(page, "The images");
    report_text(page, "In quotes the label that the image was given, then what it is if "
                      "that is another, then its weight. Green frames: the label is "
                      "right. Red frames: it is wrong.");
    put_images(page, t, order, false, false, &(report_figure){"Trusted least"});
    if (t->below > 0)
        put_images(page, t, order, false, true,
                   &(report_figure){"Falsely distrusted",
                                    .note = "Labels that are right and were found "
                                            "wrong."});
    put_images(page, t, order, true, false, &(report_figure){"Trusted most"});
    if (t->below > 0)
        put_images(page, t, order, true, true,
                   &(report_figure){"Falsely trusted",
                                    .note = "Labels that are wrong and were not found."});
    free(order);
}

static void put_mistakes(report *page, const trust *t, const ht_tensor *confusion)
{
    static const char *const row[] = {"wrong label", "right label"}, *const column[] = {
                                                                         "found wrong",
                                                                         "kept"};
    trust_score s = trust_measure(t);
    double count[CLASSES * CLASSES], falsely = s.found - s.right,
                                     right = (double)t->of->n_doubtful - s.wrong;
    report_section(page, "Mistakes");
    if (t->below > 0)
        report_matrix(page, &(report_figure){"Labels: what they are, and what was found"},
                      2, row, 2, column,
                      (double[]){s.right, s.wrong - s.right, falsely, right - falsely});
    if (!confusion) return;
    for (int i = 0; i < CLASSES * CLASSES; i++) count[i] = ht_tensor_get(confusion, i);
    report_matrix(page,
                  &(report_figure){"Test images: what they are, and what is answered",
                                   .note = "A row is a class, a column an answer."},
                  CLASSES, class_names(t->of), CLASSES, class_names(t->of), count);
}

void trust_page(report *page, const trust *t, const ht_tensor *confusion)
{
    put_weights(page, t);
    if (!(t->below > 0)) put_classes(page, t);
    put_galleries(page, t);
    put_mistakes(page, t, confusion);
}

void trust_curves(report *page, const metrics *steps)
{
    report_series found[] = {metrics_series(steps, "f1"),
                             metrics_series(steps, "precision"),
                             metrics_series(steps, "recall")},
                  mean[] = {metrics_series(steps, "right_weight"),
                            metrics_series(steps, "wrong_weight")};
    found[0].name = "F1";
    mean[0].name = "right labels";
    mean[1].name = "wrong labels";
    report_curve(page, &(report_figure){"Wrong labels found", "outer step"}, 3, found);
    report_curve(page,
                 &(report_figure){"Mean weight, by what the label is", "outer step"}, 2,
                 mean);
}

static ht_status write_table(ht_context *ctx, const trust *t, const char *path)
{
    const doubtful *d = t->of;
    output out;
    if (!output_open(&out, ctx, path, false)) return ht_context_status(ctx);
    fprintf(out.file, "image,given_label,true_label,found_wrong,weight,distrust\n");
    for (int64_t i = 0; i < d->n_doubtful; i++)
        CSV_ROW(&out, (double)d->image[i], d->given[i], d->truth[i],
                weight_at(t, i) < t->below, weight_at(t, i),
                t->distrust ? t->distrust[i] : (double)NAN);
    return output_close(&out, true);
}

static ht_status write_sheet(ht_context *ctx, const trust *t, const char *path)
{
    const doubtful *d = t->of;
    int shown = d->n_doubtful < SHEET_PART ? (int)d->n_doubtful : SHEET_PART;
    sheet_image image[2][SHEET_PART];
    place *order = rank(t);
    for (int k = 0; k < 2 * shown; k++) {
        int64_t row = order[k % 2 ? d->n_doubtful - 1 - k / 2 : k / 2].row;
        image[k % 2][k / 2] =
            (sheet_image){pixels_of(d, row), d->given[row], is_wrong(t, row)};
    }
    free(order);
    const sheet_part part[] = {{"Trusted least:", shown, image[0]},
                               {"Trusted most:", shown, image[1]}};
    return contact_sheet_write(
        ctx, path,
        &(contact_sheet){"Images beside the labels they were given",
                         "Blue: the label is right", "Red: it is wrong", d->rows, d->cols,
                         2, part, d->channels == 3});
}

ht_status trust_write(ht_context *ctx, const trust *t, const char *folder)
{
    char path[OUTPUT_PATH];
    if (path_join(ctx, path, folder, "weights.csv") && !write_table(ctx, t, path) &&
        path_join(ctx, path, folder, "distrusted.png"))
        write_sheet(ctx, t, path);
    return ht_context_status(ctx);
}
