/* SPDX-License-Identifier: MIT */
/* conv_direct.c: f32 convolutions without columns. One group of one image, or some rows
 * of it, is copied with its borders of zeros, small enough for the second cache; what a
 * row of columns would hold then lies there already, at a distance, and gemm.h's listed
 * products read it:
 *
 *   y = weight . columns(x)   (outputs, terms) . (terms, positions): a term is a distance
 *   weight += y . columns(x)' (outputs, positions) . (positions, terms): a position is
 *   x = columns'(weight' . y) where strides are 1: the first, of y and turned weights
 *
 * The copy for y has columns of x that a stride leads to side by side (its *phases*), so
 * that vectors run along a row of y; the copy for weights has channels side by side, so
 * that vectors run along terms. Sums do not depend on tiles of y, nor on threads. Read
 * next: gemm.h, conv.c. */
#include <string.h>

#include "conv.h"

enum {
    DIRECT_TILE_BYTES = 512 * 1024, /* of the copy of one tile */
    DIRECT_TERMS = 384,             /* of a sum before it is added: of y, */
    DIRECT_POSITIONS = 128,         /* of weights */
    DIRECT_PANELS = 64,
    DIRECT_FEW = 4 /* rows of a product that leave registers idle */
};

/* A copy: for y (channels, rows, phases, pitch), each channel `plane`; for weights panels
 * of channels, the gemm's columns or less, each (rows, pitch, columns), of y's tile
 * outputs `step` apart. n_at: distances. */

/* Rows as wide as a vector; and where columns' products have many more rows than ours,
 * they are the faster. */
static bool direct_applies(const hti_conv *c)
{
    const int64_t *stride = c->g.stride, *padding = c->g.padding;
    int64_t lanes = c->loops->gemm->columns / 2;
    bool still = stride[0] == 1 && stride[1] == 1;
    if (c->w.dtype != HT_F32 || lanes == 0 || !ht_shape_count(c->w.shape) ||
        !ht_shape_count(c->y.shape) || !ht_shape_count(c->x.shape))
        return false;
    if (c->taps == 1 && still && !padding[0] && !padding[1]) return false;
    if (c->side == HTI_CONV_W) return c->channels >= lanes;
    if (c->side == HTI_CONV_Y) return c->y.shape.dim[3] >= lanes;
    return still && c->x.shape.dim[3] >= lanes &&
           (c->channels >= DIRECT_FEW || c->outputs < DIRECT_FEW);
}

/* The copy for `tile` rows of y. */
static void direct_size(hti_conv *c, int64_t tile)
{
    const hti_conv_geometry *g = &c->g;
    const int64_t *w = c->w.shape.dim, *y = c->y.shape.dim;
    int64_t columns = c->loops->gemm->columns, reach = (w[4] - 1) * g->dilation[1];
    c->tile = tile;
    c->rows = (tile - 1) * g->stride[0] + (w[3] - 1) * g->dilation[0] + 1;
    if (c->parts) {
        c->pitch = (y[3] - 1) * g->stride[1] + reach + 1;
        c->step = hti_conv_odd(tile * y[3]);
        c->plane = c->rows * c->pitch * columns;
        c->copy = (c->channels + columns - 1) / columns * c->plane;
        return;
    }
    c->phases = hti_least(g->stride[1], reach + 1);
    c->pitch = y[3] + reach / g->stride[1];
    c->plane = hti_conv_odd(c->rows * c->phases * c->pitch);
    c->copy = c->channels * c->plane;
}

static void direct_plan(hti_conv *c)
{
    const int64_t *y = c->y.shape.dim;
    direct_size(c, 1);
    int64_t one = c->copy;
    direct_size(c, hti_least(2, y[2]));
    int64_t more = hti_most(1, c->copy - one), room = DIRECT_TILE_BYTES / 4 - one;
    int64_t tile = hti_most(1, hti_least(y[2], 1 + room / more));
    c->tiles = (y[2] + tile - 1) / tile;
    direct_size(c, (y[2] + c->tiles - 1) / c->tiles);
    c->whole = c->x.shape.dim[0], c->each = c->g.groups * c->tiles;
    c->n_at = c->parts ? c->tile * y[3] : c->terms;
    c->shared_bytes = hti_conv_bytes(c, 2 * c->n_at);
    c->slot_bytes = c->clear_bytes = hti_conv_bytes(c, c->copy);
    if (c->parts) c->slot_bytes += hti_conv_bytes(c, c->outputs * c->step);
    int64_t stride[] = {c->outputs * c->terms, c->terms, 1,
                        c->w.shape.dim[4] * c->channels, c->channels};
    memcpy(c->stride, stride, sizeof stride);
}

/* Row r of the copy is this one of x, or outside: -1. */
static int64_t direct_row(const hti_conv *c, const hti_conv_tile *t, int64_t r)
{
    int64_t row = t->first * c->g.stride[0] - c->g.padding[0] + r;
    return row >= 0 && row < c->x.shape.dim[2] ? row : -1;
}

/* Elements from .. to-1 of `count` that lie in x's row, element j at column j*step +
 * shift. */
static void direct_span(const hti_conv *c, int64_t shift, int64_t step, int64_t count,
                        int64_t span[2])
{
    int64_t past = c->x.shape.dim[3] - shift;
    span[0] = hti_least(count, shift < 0 ? (step - 1 - shift) / step : 0);
    span[1] = hti_least(count, past > 0 ? (past + step - 1) / step : 0);
    span[1] = hti_most(span[0], span[1]);
}

static void direct_copy_row(float *to, int64_t n, const float *from, int64_t stride)
{
    if (stride == 1)
        memcpy(to, from, (size_t)n * sizeof *to);
    else
        for (int64_t j = 0; j < n; j++) to[j] = from[j * stride];
}

/* Borders left and right are zeros since the piece began. */
static void direct_copy(const hti_conv *c, const hti_conv_tile *t, float *copy)
{
    int64_t step = c->g.stride[1], rows = c->rows - (c->tile - t->rows) * c->g.stride[0];
    for (int64_t f = 0; f < c->phases; f++) {
        int64_t shift = f - c->g.padding[1], span[2];
        direct_span(c, shift, step, c->pitch, span);
        if (span[0] == span[1]) continue;
        for (int64_t i = 0; i < c->channels; i++) {
            const float *from = (const float *)hti_conv_plane(
                                    &c->x, t->image, t->group * c->channels + i) +
                                (span[0] * step + shift) * c->x.stride[3];
            float *to = copy + i * c->plane + f * c->pitch + span[0];
            for (int64_t r = 0; r < rows; r++, to += c->phases * c->pitch) {
                int64_t row = direct_row(c, t, r);
                if (row < 0)
                    memset(to, 0, (size_t)(span[1] - span[0]) * sizeof *to);
                else
                    direct_copy_row(to, span[1] - span[0], from + row * c->x.stride[2],
                                    step * c->x.stride[3]);
            }
        }
    }
}

/* The same with channels side by side. */
static void direct_copy_across(const hti_conv *c, const hti_conv_tile *t, float *copy)
{
    const ht_array *x = &c->x;
    int64_t rows = c->rows - (c->tile - t->rows) * c->g.stride[0], span[2], wide;
    direct_span(c, -c->g.padding[1], 1, c->pitch, span);
    int64_t n = span[1] - span[0];
    if (n == 0) return;
    for (int64_t i = 0; i < c->channels; i += wide, copy += c->plane) {
        wide = hti_gemm_panel_width(c->loops->gemm->columns, c->channels - i);
        const float *from =
            (const float *)hti_conv_plane(x, t->image, t->group * c->channels + i) +
            (span[0] - c->g.padding[1]) * x->stride[3];
        for (int64_t r = 0; r < rows; r++) {
            float *to = copy + (r * c->pitch + span[0]) * c->loops->gemm->columns;
            int64_t row = direct_row(c, t, r);
            if (row < 0)
                memset(to, 0, (size_t)(n * c->loops->gemm->columns) * sizeof *to);
            else
                c->loops->gemm->pack(n, wide, from + row * x->stride[2], x->stride[3],
                                     x->stride[1], to);
        }
    }
}

/* A product whose panels come one by one. */
typedef struct direct_list {
    const hti_gemm_loops *gemm;
    hti_gemm_listed product;
    hti_gemm_panel panel[DIRECT_PANELS];
} direct_list;

static void direct_list_end(direct_list *list)
{
    list->product.panel = list->panel;
    if (list->product.panels) list->gemm->multiply_listed(&list->product);
    list->product.panels = 0;
}

/* Two single vectors make a panel; none of them overlap. */
static void direct_list_add(direct_list *list, hti_gemm_panel next)
{
    int64_t n = list->product.panels, lanes = list->gemm->columns / 2;
    hti_gemm_panel *last = list->panel + (n > 0 ? n - 1 : 0);
    if (n > 0 && last->width == lanes && next.width == lanes) {
        last->b_next = next.from - last->from;
        last->next = next.to - last->to;
        last->width = 2 * lanes;
        return;
    }
    if (n == DIRECT_PANELS) {
        direct_list_end(list);
        n = 0;
    }
    list->panel[n] = next;
    list->product.panels = n + 1;
}

/* The tile of y. */
static void direct_make_tile(const hti_conv *c, const hti_conv_tile *t, float *copy)
{
    const int64_t *at = (const int64_t *)(const void *)c->shared;
    int64_t width = c->y.shape.dim[3], columns = c->loops->gemm->columns, n;
    int64_t blocks = (c->terms + DIRECT_TERMS - 1) / DIRECT_TERMS;
    direct_list list = {.gemm = c->loops->gemm};
    direct_copy(c, t, copy);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t from = c->terms * b / blocks, to = c->terms * (b + 1) / blocks;
        list.product = (hti_gemm_listed){
            .m = c->outputs,
            .k = to - from,
            .a = (const float *)c->w.data + t->group * c->outputs * c->terms + from,
            .b = copy,
            .out = (float *)hti_conv_plane(&c->y, t->image, t->group * c->outputs) +
                   t->first * width,
            .a_row = c->terms,
            .step = c->y.stride[1],
            .at = at + from,
            .add = b > 0};
        for (int64_t i = 0; i < t->rows; i++)
            for (int64_t j = 0; j < width; j += n) {
                n = hti_gemm_panel_width(columns, width - j);
                int64_t second = n - columns / 2;
                direct_list_add(
                    &list, (hti_gemm_panel){i * c->g.stride[0] * c->phases * c->pitch + j,
                                            second, i * width + j, second, n});
            }
        direct_list_end(&list);
    }
}

/* Panels of terms: channels side by side, of each tap in turn. */
static void direct_list_taps(const hti_conv *c, direct_list *list)
{
    const hti_conv_geometry *g = &c->g;
    int64_t columns = c->loops->gemm->columns, from = 0, n;
    for (int64_t i = 0; i < c->channels; i += n, from += c->plane) {
        n = hti_gemm_panel_width(columns, c->channels - i);
        for (int64_t tap = 0; tap < c->taps; tap++) {
            int64_t row = tap / c->w.shape.dim[4] * g->dilation[0];
            int64_t col = tap % c->w.shape.dim[4] * g->dilation[1];
            direct_list_add(list,
                            (hti_gemm_panel){from + (row * c->pitch + col) * columns,
                                             columns / 2, tap * c->channels + i,
                                             n - columns / 2, n});
        }
    }
    direct_list_end(list);
}

/* Adds one tile's product to a group's weights, (outputs, taps, channels). */
static void direct_add_tile(const hti_conv *c, const hti_conv_tile *t, float *copy,
                            float *to)
{
    const int64_t *at = (const int64_t *)(const void *)c->shared;
    float *y = copy + c->clear_bytes / sizeof(float);
    int64_t positions = t->rows * c->y.shape.dim[3];
    int64_t blocks = (positions + DIRECT_POSITIONS - 1) / DIRECT_POSITIONS;
    direct_list list = {.gemm = c->loops->gemm};
    hti_conv_pack_y(c, t, (char *)y, c->step);
    direct_copy_across(c, t, copy);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = positions * b / blocks, last = positions * (b + 1) / blocks;
        list.product = (hti_gemm_listed){.m = c->outputs,
                                         .k = last - first,
                                         .a = y + first,
                                         .b = copy,
                                         .out = to + t->group * c->outputs * c->terms,
                                         .a_row = c->step,
                                         .step = c->terms,
                                         .at = at + first,
                                         .add = true};
        direct_list_taps(c, &list);
    }
}

static void direct_tile(const hti_conv *c, int64_t at, char *slot, char *sum)
{
    hti_conv_tile t = hti_conv_tile_at(c, at);
    float *copy = (float *)(void *)slot;
    if (c->parts)
        direct_add_tile(c, &t, copy, (float *)(void *)sum);
    else
        direct_make_tile(c, &t, copy);
}

/* Distances within a copy: of terms, or of a tile's positions. */
static void direct_begin(ht_context *ctx, hti_conv *c)
{
    const hti_conv_geometry *g = &c->g;
    int64_t width = c->parts ? c->y.shape.dim[3] : c->w.shape.dim[4];
    int64_t *at = (int64_t *)(void *)c->shared;
    for (int64_t l = 0; l < c->n_at; l++) {
        int64_t col = l % width * (c->parts ? g->stride[1] : g->dilation[1]);
        int64_t row =
            c->parts ? l / width * g->stride[0] : l % c->taps / width * g->dilation[0];
        at[l] = c->parts ? (row * c->pitch + col) * c->loops->gemm->columns
                         : l / c->taps * c->plane + col / g->stride[1] +
                               (row * c->phases + col % g->stride[1]) * c->pitch;
    }
    hti_conv_pack_weights(ctx, c);
}

const hti_conv_method hti_conv_direct = {.turns = true,
                                         .fits = direct_applies,
                                         .plan = direct_plan,
                                         .begin = direct_begin,
                                         .tile = direct_tile};
