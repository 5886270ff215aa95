/* SPDX-License-Identifier: MIT */
/* rater_pool.c: images made worse, as what is gathered without looking is: a label that
 * is not the image's, noise over it, a patch that hides the most of it, and photographs
 * that are no digits. Read next: rater_filter.c. */
#include <math.h>
#include <stdlib.h>

#include "rater.h"

const char *const kinds[KINDS] = {"right", "wrong label", "noise", "covered",
                                  "off topic"};
static const double share[KINDS] = {0.4, 0.3, 0.1, 0.1, 0.1};
#define NOISE 0.75 /* of a noisy image */
#define PATCH 0.6  /* of a side */

/* The numbers of an example, by what they are for. */
typedef struct draws {
    uint64_t seed, stream;
} draws;

static double draw(draws d, int64_t example, int64_t which)
{
    return ht_random_uniform(d.seed, d.stream, (uint64_t)(example << 20 | which));
}

static int below(draws d, int64_t example, int64_t which, int64_t n)
{
    return (int)(draw(d, example, which) * (double)n);
}

static void add_noise(draws d, int64_t i, float *x, int64_t pixels)
{
    for (int64_t k = 0; k < pixels; k++)
        x[k] = (float)((1 - NOISE) * (double)x[k] + NOISE * draw(d, i, 8 + k));
}

/* A grey patch anywhere inside. */
static void cover(draws d, int64_t i, float *x, int64_t planes, int64_t rows,
                  int64_t cols)
{
    int64_t high = lround(PATCH * (double)rows), wide = lround(PATCH * (double)cols);
    int64_t top = below(d, i, 1, rows - high + 1), left = below(d, i, 2, cols - wide + 1);
    float grey = (float)draw(d, i, 3);
    for (int64_t k = 0; k < planes * high * wide; k++)
        x[(k / wide / high * rows + top + k / wide % high) * cols + left + k % wide] =
            grey;
}

/* One of the photographs, grey, at the size of the others; its label is any. */
static void replace(draws d, int64_t i, float *x, int64_t planes, int64_t rows,
                    int64_t cols, const ht_images *photographs)
{
    ht_shape shape = ht_tensor_shape(photographs->pixels);
    int64_t high = shape.dim[shape.rank - 2], wide = shape.dim[shape.rank - 1];
    int64_t colours = shape.rank == 4 ? shape.dim[1] : 1;
    const uint8_t *from = ht_tensor_data(photographs->pixels);
    from += below(d, i, 4, shape.dim[0]) * colours * high * wide;
    for (int64_t k = 0; k < planes * rows * cols; k++) {
        int64_t at = k / cols % rows * high / rows * wide + k % cols * wide / cols;
        double sum = 0;
        for (int64_t c = 0; c < colours; c++) sum += from[c * high * wide + at];
        x[k] = (float)(sum / (double)colours / 255);
    }
}

static void make_worse(pool *p, draws d, int64_t i, ht_shape image,
                       const ht_images *photographs)
{
    int64_t planes = image.rank == 4 ? image.dim[1] : 1;
    int64_t rows = image.dim[image.rank - 2], cols = image.dim[image.rank - 1];
    int64_t pixels = planes * rows * cols;
    float *x = (float *)ht_tensor_data(ht_set_tensor(p->set, "x")) + i * pixels;
    int32_t *label = (int32_t *)ht_tensor_data(ht_set_tensor(p->set, "label")) + i;
    p->truth[i] = *label;
    switch (p->kind[i]) {
    case WRONG:
        *label = (*label + 1 + below(d, i, 0, 9)) % 10;
        break;
    case NOISY:
        add_noise(d, i, x, pixels);
        break;
    case COVERED:
        cover(d, i, x, planes, rows, cols);
        break;
    case OFF_TOPIC:
        replace(d, i, x, planes, rows, cols, photographs);
        *label = below(d, i, 0, 10);
        p->truth[i] = -1;
        break;
    }
}

pool pool_new(ht_context *ctx, const ht_images *images, const int64_t *row, int64_t n,
              const ht_images *photographs, uint64_t stream)
{
    draws d = {ht_context_seed(ctx), stream};
    pool p = {n, demo_set(ctx, images, row, n), calloc((size_t)n, sizeof *p.kind),
              calloc((size_t)n, sizeof *p.truth)};
    int64_t *order = calloc((size_t)n, sizeof *order);
    HT_ASSERT(p.kind && p.truth && order, "no memory for %lld examples", (long long)n);
    ht_random_permutation(d.seed, stream + 1, n, order);
    for (int64_t i = 0; i < n; i++) {
        double left = ((double)i + 0.5) / (double)n;
        int kind = 0;
        while (kind < KINDS - 1 && left >= share[kind]) left -= share[kind++];
        p.kind[order[i]] = kind;
    }
    for (int64_t i = 0; i < n; i++)
        make_worse(&p, d, i, ht_tensor_shape(images->pixels), photographs);
    free(order);
    return p;
}
