/* SPDX-License-Identifier: MIT */
/* curate_pool.c: a pool of images of which a quarter is what the target wants, and the
 * rest is off-topic, mislabelled, or both. Read next: curate_choose.c. */
#include <stdlib.h>

#include "curate.h"

enum { CLASSES = 10, POOL_ORDER = 6 };

const char *const kind_names[KINDS] = {"relevant", "other digits", "wrong labels",
                                       "photographs"};

static bool is_wanted(int32_t label)
{
    return label == 3 || label == 5 || label == 8;
}

/* Digits in a random order, to be taken from two stacks. */
typedef struct stacks {
    const ht_images *images;
    int64_t *row, n, at[2]; /* the next that is not of a wanted class, that is */
} stacks;

/* The next; ends the program if there is none. */
static int64_t take(ht_context *ctx, stacks *s, bool wanted)
{
    const int32_t *label = ht_tensor_data(s->images->labels);
    int64_t *at = &s->at[wanted];
    while (*at < s->n && is_wanted(label[s->row[*at]]) != wanted) ++*at;
    if (*at == s->n)
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "--data: expected more images %s 3, 5 and 8, there are too few\n"
                        "  hint: a smaller --pool or --target; ./dev data fetches the "
                        "full sets",
                        wanted ? "of" : "of classes other than");
    ht_check(ctx);
    return s->row[(*at)++];
}

/* A set of images, of n rows: none is filled yet. */
static ht_set *set_new(ht_context *ctx, int64_t n, int64_t pixels)
{
    ht_set *set = ht_set_new(ctx);
    ht_set_add(set, "x", HT_F32, HT_SHAPE(n, pixels));
    ht_set_add(set, "label", HT_I32, HT_SHAPE(n));
    ht_set_add(set, "row", HT_I32, HT_SHAPE(n));
    ht_check(ctx);
    int32_t *row = ht_tensor_data(ht_set_tensor(set, "row"));
    for (int64_t i = 0; i < n; i++) row[i] = (int32_t)i;
    return set;
}

/* Row i becomes a digit. */
static void put_digit(ht_set *set, int64_t i, const ht_images *images, int64_t image)
{
    ht_tensor *x = ht_set_tensor(set, "x"), *label = ht_set_tensor(set, "label");
    int64_t pixels = ht_tensor_shape(x).dim[1];
    const uint8_t *from =
        (const uint8_t *)ht_tensor_data(images->pixels) + image * pixels;
    float *to = (float *)ht_tensor_data(x) + i * pixels;
    for (int64_t k = 0; k < pixels; k++) to[k] = (float)from[k] / 255;
    ht_tensor_set(label, i, ht_tensor_get(images->labels, image));
}

/* Row i becomes the middle of a photograph, grey, and as digits are: ink, not light. */
static void put_photograph(const pool *p, int64_t i, const ht_images *photographs,
                           int64_t image)
{
    static const float luma[] = {0.299F, 0.587F, 0.114F};
    ht_shape shape = ht_tensor_shape(photographs->pixels);
    int64_t rows = shape.dim[2], cols = shape.dim[3], top = (rows - p->rows) / 2,
            left = (cols - p->cols) / 2;
    const uint8_t *from =
        (const uint8_t *)ht_tensor_data(photographs->pixels) + image * 3 * rows * cols;
    float *to =
        (float *)ht_tensor_data(ht_set_tensor(p->all, "x")) + i * p->rows * p->cols;
    for (int64_t k = 0; k < p->rows * p->cols; k++) {
        int64_t at = (top + k / p->cols) * cols + left + k % p->cols;
        to[k] = 1;
        for (int64_t c = 0; c < 3; c++)
            to[k] -= luma[c] * (float)from[c * rows * cols + at] / 255;
    }
}

/* A quarter of the pool of each kind, in any order. */
static void fill_pool(ht_context *ctx, pool *p, stacks *s, const ht_images *photographs)
{
    int64_t quarter = p->n / KINDS, *photograph = demo_rows(ctx, photographs, quarter);
    int64_t *row = calloc((size_t)p->n, sizeof *row);
    HT_ASSERT(row, "no memory for %lld rows", (long long)p->n);
    ht_split(ctx, POOL_ORDER, p->n, 1, &p->n, &row);
    ht_check(ctx);
    for (int64_t k = 0; k < p->n; k++) {
        kind is = p->kind[row[k]] = (kind)(k / quarter);
        bool wanted = is == RELEVANT || is == WRONG;
        if (is == PHOTOGRAPH)
            put_photograph(p, row[k], photographs, photograph[k % quarter]);
        else
            put_digit(p->all, row[k], s->images, take(ctx, s, wanted));
    }
    free(photograph);
    free(row);
}

static int32_t taken_for(int32_t digit)
{
    return digit == 3 ? 5 : digit == 5 ? 8 : 3;
}

/* Of what has no right label, each gets a wrong one; a photograph is of no digit. */
static void spoil_labels(ht_context *ctx, const pool *p)
{
    ht_tensor *wrong = ht_tensor_new(ctx, HT_I32, HT_SHAPE(p->n));
    ht_check(ctx);
    for (int64_t i = 0; i < p->n; i++) {
        p->truth[i] = p->kind[i] == PHOTOGRAPH ? -1 : p->given[i];
        ht_tensor_set(wrong, i, (double)(p->truth[i] < 0 ? i % CLASSES : p->truth[i]));
    }
    ht_corrupt_labels(ctx, 2, 1, CLASSES, wrong, NULL);
    ht_check(ctx);
    for (int64_t i = 0; i < p->n; i++)
        if (p->kind[i] == WRONG)
            p->given[i] = taken_for(p->truth[i]);
        else if (p->kind[i] == PHOTOGRAPH)
            p->given[i] = (int32_t)ht_tensor_get(wrong, i);
    ht_tensor_free(wrong);
}

/* The first n rows of a set, or those behind. */
static ht_set *part_of(const ht_set *all, int64_t first, int64_t n)
{
    ht_set *part = demo_room(all, n);
    demo_fill(part, all, NULL, first);
    ht_check(ht_set_context(all));
    return part;
}

/* All test images that are wanted, and of others as many as keep the skew. */
static ht_set *test_new(ht_context *ctx, const ht_images *others, double skew,
                        int64_t pixels)
{
    const int32_t *label = ht_tensor_data(others->labels);
    int64_t n = ht_tensor_count(others->labels), wanted = 0;
    for (int64_t i = 0; i < n; i++) wanted += is_wanted(label[i]);
    int64_t rest = (int64_t)((double)wanted * (1 - skew) / skew + 0.5);
    if (rest > n - wanted) rest = n - wanted;
    stacks s = {others, demo_rows(ctx, others, n), n, {0, 0}};
    ht_set *test = set_new(ctx, wanted + rest, pixels);
    for (int64_t i = 0; i < wanted + rest; i++)
        put_digit(test, i, others, take(ctx, &s, i < wanted));
    free(s.row);
    return test;
}

static void check_sizes(ht_context *ctx, const ht_images *images,
                        const ht_images *photographs)
{
    ht_shape is = ht_tensor_shape(images->pixels),
             other = ht_tensor_shape(photographs->pixels);
    if (is.rank != 3 || is.dim[1] > other.dim[2] || is.dim[2] > other.dim[3])
        ht_context_fail(ctx, HT_ERROR_SHAPE, NULL,
                        "--data: expected grey images no larger than photographs, 32 x "
                        "32\n  hint: MNIST's form, as Fashion-MNIST has it");
    ht_check(ctx);
}

pool pool_new(ht_context *ctx, const ht_images *images, const ht_images *others,
              const ht_images *photographs, int64_t n, int64_t n_target, double skew)
{
    check_sizes(ctx, images, photographs);
    ht_shape shape = ht_tensor_shape(images->pixels);
    pool p = {n / KINDS * KINDS, n_target, shape.dim[1], shape.dim[2]};
    int64_t total = shape.dim[0], most = (int64_t)(skew * (double)n_target + 0.5);
    stacks s = {images, demo_rows(ctx, images, total), total, {0, 0}};
    p.kind = calloc((size_t)p.n, sizeof *p.kind);
    p.truth = calloc((size_t)p.n, sizeof *p.truth);
    HT_ASSERT(p.kind && p.truth, "no memory for a pool of %lld", (long long)p.n);
    p.all = set_new(ctx, p.n + n_target, p.rows * p.cols);
    p.given = ht_tensor_data(ht_set_tensor(p.all, "label"));
    for (int64_t i = 0; i < n_target; i++)
        put_digit(p.all, p.n + i, images, take(ctx, &s, i < most));
    fill_pool(ctx, &p, &s, photographs);
    spoil_labels(ctx, &p);
    p.set = part_of(p.all, 0, p.n);
    p.target = part_of(p.all, p.n, n_target);
    p.test = test_new(ctx, others, skew, p.rows * p.cols);
    free(s.row);
    return p;
}
