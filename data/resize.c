/* SPDX-License-Identifier: MIT */
/* resize.c: pictures made smaller and larger, along one axis and then the other.
 *
 * A new pixel is the mean of the old ones it covers, weighted by a triangle (bilinear,
 * which where a picture shrinks is as wide as two new pixels) or evenly (area). Weights
 * are whole multiples of 2^-22 and every pass rounds to bytes, as in Pillow's
 * Resample.c, so that the bytes are Pillow's. Read next: picture.c. */
#include <math.h>

#include "picture.h"

enum { RESIZE_BITS = 22 };

/* Along one axis: lines of pixels, `step` bytes from one to the next. */
typedef struct resize_axis {
    int64_t in, out, lines; /* pixels of a line, and of one that is made; lines */
    int64_t step, line_step, out_step, out_line_step;
    double begin, length; /* the part of a line that is scaled */
    int channels;
    bool area;
} resize_axis;

static double resize_weight(bool area, double x)
{
    if (area) return x > -0.5 && x <= 0.5 ? 1 : 0;
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double resize_shrink(const resize_axis *a)
{
    double scale = a->length / (double)a->out;
    return scale > 1 ? scale : 1;
}

static int64_t resize_most_taps(const resize_axis *a)
{
    double reach = resize_shrink(a) * (a->area ? 0.5 : 1);
    return 2 * (int64_t)ceil(reach) + 1;
}

/* Weights of the pixels that make new pixel `to`: how many, the first being *first. */
static int64_t resize_weights(const resize_axis *a, int64_t to, int64_t *first,
                              double *weight, int32_t *whole)
{
    double shrink = resize_shrink(a), reach = shrink * (a->area ? 0.5 : 1), sum = 0;
    double scale = a->length / (double)a->out, inverse = 1 / shrink;
    double centre = a->begin + ((double)to + 0.5) * scale;
    *first = hti_most(0, (int64_t)(centre - reach + 0.5));
    int64_t n = hti_least(a->in, (int64_t)(centre + reach + 0.5)) - *first;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)(i + *first) - centre + 0.5;
        weight[i] = resize_weight(a->area, x * inverse);
        sum += weight[i];
    }
    for (int64_t i = 0; i < n; i++) {
        double w = sum != 0 ? weight[i] * (1 / sum) : weight[i];
        whole[i] = (int32_t)(0.5 + w * (1 << RESIZE_BITS));
    }
    return n;
}

static void resize_pixel(const resize_axis *a, const uint8_t *from, const int32_t *weight,
                         int64_t n, uint8_t *to)
{
    for (int c = 0; c < a->channels; c++) {
        int64_t sum = 1 << (RESIZE_BITS - 1);
        for (int64_t i = 0; i < n; i++) sum += (int64_t)weight[i] * from[i * a->step + c];
        sum >>= RESIZE_BITS;
        to[c] = (uint8_t)(sum > 255 ? 255 : sum);
    }
}

static ht_status resize_along(ht_context *ctx, const resize_axis *a, const uint8_t *from,
                              uint8_t *to)
{
    size_t most = (size_t)resize_most_taps(a), bytes = most * sizeof(double);
    size_t whole_bytes = most * sizeof(int32_t);
    double *weight = hti_resize(ctx, NULL, 0, bytes + whole_bytes);
    if (!weight) return HT_ERROR_MEMORY;
    int32_t *whole = (int32_t *)(weight + most);
    for (int64_t o = 0; o < a->out; o++) {
        int64_t first = 0, n = resize_weights(a, o, &first, weight, whole);
        for (int64_t line = 0; line < a->lines; line++)
            resize_pixel(a, from + line * a->line_step + first * a->step, whole, n,
                         to + line * a->out_line_step + o * a->out_step);
    }
    hti_resize(ctx, weight, bytes + whole_bytes, 0);
    return HT_OK;
}

ht_status hti_picture_scale(ht_context *ctx, const hti_picture *from, hti_window part,
                            ht_filter filter, const hti_picture *to)
{
    int channels = from->channels;
    int64_t middle_row = to->width * channels;
    ht_tensor *middle = ht_tensor_new(ctx, HT_U8, HT_SHAPE(from->height, middle_row));
    if (!middle) return ht_context_status(ctx);
    const resize_axis across = {.in = from->width,
                                .out = to->width,
                                .lines = from->height,
                                .step = channels,
                                .line_step = from->width * channels,
                                .out_step = channels,
                                .out_line_step = middle_row,
                                .begin = part.x,
                                .length = part.width,
                                .channels = channels,
                                .area = filter == HT_AREA};
    const resize_axis down = {.in = from->height,
                              .out = to->height,
                              .lines = to->width,
                              .step = middle_row,
                              .line_step = channels,
                              .out_step = middle_row,
                              .out_line_step = channels,
                              .begin = part.y,
                              .length = part.height,
                              .channels = channels,
                              .area = filter == HT_AREA};
    ht_status status = resize_along(ctx, &across, from->pixel, ht_tensor_data(middle));
    if (!status) status = resize_along(ctx, &down, ht_tensor_data(middle), to->pixel);
    ht_tensor_free(middle);
    return status;
}
