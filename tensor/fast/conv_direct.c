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

#include "conv_direct.h"
#include "loops.h"

enum {
    DIRECT_TILE_BYTES = 512 * 1024, /* of the copy of one tile */
    DIRECT_TERMS = 384,             /* of a sum before it is added: of y, */
    DIRECT_POSITIONS = 128,         /* of weights */
    DIRECT_PANELS = 64,
    DIRECT_FEW = 4 /* rows of a product that leave registers idle */
};

/* Sizes in elements. A copy: for y (channels, rows, phases, pitch), each channel `plane`;
 * for weights panels of channels, gemm->columns or less, each (rows, pitch, columns). */
typedef struct direct_plan {
    const hti_gemm_loops *gemm;
    hti_conv_side side;
    hti_conv_geometry g;
    ht_shape x, w, y;
    int64_t channels, outputs, terms, taps;         /* of a group */
    int64_t tile, tiles;                            /* rows of y */
    int64_t rows, pitch, phases, plane, copy, step; /* step: of the tile of y */
    int64_t units, pieces, parts;                   /* parts: of the weights */
    int64_t n_at;                                   /* distances */
    size_t at_bytes, weight_bytes, slot_bytes;
} direct_plan;

static int64_t direct_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t direct_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static size_t direct_bytes(int64_t count)
{
    return hti_round_up((size_t)count * sizeof(float), HTI_ALIGN);
}

/* x of the transposed product is y of one with turned weights, and the other way. */
static void direct_turn(direct_plan *p)
{
    ht_shape x = p->x;
    p->x = p->y, p->y = x;
    int64_t groups = p->g.groups, channels = p->w.dim[1];
    p->w.dim[1] = p->w.dim[0] / groups, p->w.dim[0] = channels * groups;
    for (int i = 0; i < 2; i++)
        p->g.padding[i] = (p->w.dim[i + 2] - 1) * p->g.dilation[i] - p->g.padding[i];
}

/* Room for n: an odd number of lines, so that rows begin in all sets of a cache. */
static int64_t direct_odd(int64_t n)
{
    return (n + 15) / 16 * 16 | 16;
}

/* The copy for `tile` rows of y. */
static void direct_size(direct_plan *p, int64_t tile)
{
    const hti_conv_geometry *g = &p->g;
    int64_t columns = p->gemm->columns, reach = (p->w.dim[3] - 1) * g->dilation[1];
    p->tile = tile;
    p->rows = (tile - 1) * g->stride[0] + (p->w.dim[2] - 1) * g->dilation[0] + 1;
    if (p->side == HTI_CONV_W) {
        p->pitch = (p->y.dim[3] - 1) * g->stride[1] + reach + 1;
        p->step = direct_odd(tile * p->y.dim[3]);
        p->plane = p->rows * p->pitch * columns;
        p->copy = (p->channels + columns - 1) / columns * p->plane;
        return;
    }
    p->phases = direct_least(g->stride[1], reach + 1);
    p->pitch = p->y.dim[3] + reach / g->stride[1];
    p->plane = direct_odd(p->rows * p->phases * p->pitch);
    p->copy = p->channels * p->plane;
}

static direct_plan direct_plan_of(const ht_context *ctx, hti_conv_side side, ht_shape x,
                                  ht_shape w, ht_shape y, const hti_conv_geometry *g,
                                  int64_t parts)
{
    direct_plan p = {
        .gemm = ctx->loops->gemm, .side = side, .g = *g, .x = x, .w = w, .y = y};
    if (side == HTI_CONV_X) direct_turn(&p);
    p.channels = p.w.dim[1];
    p.outputs = p.w.dim[0] / g->groups;
    p.taps = w.dim[2] * w.dim[3];
    p.terms = p.channels * p.taps;
    direct_size(&p, 1);
    int64_t one = p.copy;
    direct_size(&p, direct_least(2, p.y.dim[2]));
    int64_t more = direct_most(1, p.copy - one), room = DIRECT_TILE_BYTES / 4 - one;
    int64_t tile = direct_most(1, direct_least(p.y.dim[2], 1 + room / more));
    p.tiles = (p.y.dim[2] + tile - 1) / tile;
    direct_size(&p, (p.y.dim[2] + p.tiles - 1) / p.tiles);
    p.parts = side == HTI_CONV_W ? parts : 0;
    p.units = p.parts ? p.parts : p.x.dim[0] * g->groups * p.tiles;
    p.pieces = ht_shape_count(p.y) * p.terms < HTI_CONV_SERIAL
                   ? 1
                   : direct_most(1, direct_least(p.units, ht_context_threads(ctx)));
    p.n_at = p.parts ? p.tile * p.y.dim[3] : p.terms;
    p.at_bytes = direct_bytes(2 * p.n_at);
    p.weight_bytes = direct_bytes(ht_shape_count(w));
    p.slot_bytes = direct_bytes(p.copy);
    if (p.parts) p.slot_bytes += direct_bytes(p.outputs * p.step);
    return p;
}

/* Rows as wide as a vector; and where columns' products have many more rows than ours,
 * they are the faster. */
bool hti_conv_is_direct(const ht_context *ctx, hti_conv_side side, ht_dtype dtype,
                        ht_shape x, ht_shape w, ht_shape y, const hti_conv_geometry *g)
{
    int64_t lanes = ctx->loops->gemm->columns / 2;
    bool one = w.dim[2] == 1 && w.dim[3] == 1,
         still = g->stride[0] == 1 && g->stride[1] == 1;
    if (dtype != HT_F32 || lanes == 0 || !ht_shape_count(w) || !ht_shape_count(y) ||
        !ht_shape_count(x))
        return false;
    if (one && still && !g->padding[0] && !g->padding[1]) return false;
    if (side == HTI_CONV_W) return w.dim[1] >= lanes;
    if (side == HTI_CONV_Y) return y.dim[3] >= lanes;
    return still && x.dim[3] >= lanes &&
           (w.dim[1] >= DIRECT_FEW || w.dim[0] / g->groups < DIRECT_FEW);
}

size_t hti_conv_direct_workspace(const ht_context *ctx, hti_conv_side side, ht_shape x,
                                 ht_shape w, ht_shape y, const hti_conv_geometry *g,
                                 int64_t parts)
{
    direct_plan p = direct_plan_of(ctx, side, x, w, y, g, parts);
    return (size_t)direct_most(1, p.parts) * p.weight_bytes + p.at_bytes +
           (size_t)p.pieces * p.slot_bytes;
}

/* What the units of a run share. */
typedef struct direct_work {
    direct_plan p;
    const struct hti_loops *loops;
    ht_array x, w, y; /* w contiguous */
    int64_t *at;      /* distances within a copy: of terms, or of a tile's positions */
    char *parts, *slots;
} direct_work;

/* Rows first .. first+rows-1 of y, of one group of one image. */
typedef struct direct_tile {
    int64_t image, group, first, rows;
    float *copy;
} direct_tile;

static direct_tile direct_tile_at(const direct_work *k, int64_t at, float *copy)
{
    int64_t first = at % k->p.tiles * k->p.tile, groups = k->p.g.groups;
    at /= k->p.tiles;
    return (direct_tile){at / groups, at % groups, first,
                         direct_least(k->p.tile, k->p.y.dim[2] - first), copy};
}

static const float *direct_plane(const ht_array *a, int64_t image, int64_t channel)
{
    return (const float *)a->data + image * a->stride[0] + channel * a->stride[1];
}

/* Row r of the copy is this one of x, or outside: -1. */
static int64_t direct_row(const direct_work *k, const direct_tile *t, int64_t r)
{
    int64_t row = t->first * k->p.g.stride[0] - k->p.g.padding[0] + r;
    return row >= 0 && row < k->p.x.dim[2] ? row : -1;
}

/* Elements from .. to-1 of `count` that lie in x's row, element j at column j*step +
 * shift. */
static void direct_span(const direct_work *k, int64_t shift, int64_t step, int64_t count,
                        int64_t span[2])
{
    int64_t past = k->p.x.dim[3] - shift;
    span[0] = direct_least(count, shift < 0 ? (step - 1 - shift) / step : 0);
    span[1] = direct_least(count, past > 0 ? (past + step - 1) / step : 0);
    span[1] = direct_most(span[0], span[1]);
}

static void direct_copy_row(float *to, int64_t n, const float *from, int64_t stride)
{
    if (stride == 1)
        memcpy(to, from, (size_t)n * sizeof *to);
    else
        for (int64_t j = 0; j < n; j++) to[j] = from[j * stride];
}

/* Borders left and right are zeros since the piece began. */
static void direct_copy(const direct_work *k, const direct_tile *t)
{
    const direct_plan *p = &k->p;
    int64_t step = p->g.stride[1], rows = p->rows - (p->tile - t->rows) * p->g.stride[0];
    for (int64_t f = 0; f < p->phases; f++) {
        int64_t shift = f - p->g.padding[1], span[2];
        direct_span(k, shift, step, p->pitch, span);
        if (span[0] == span[1]) continue;
        for (int64_t c = 0; c < p->channels; c++) {
            const float *from =
                direct_plane(&k->x, t->image, t->group * p->channels + c) +
                (span[0] * step + shift) * k->x.stride[3];
            float *to = t->copy + c * p->plane + f * p->pitch + span[0];
            for (int64_t r = 0; r < rows; r++, to += p->phases * p->pitch) {
                int64_t row = direct_row(k, t, r);
                if (row < 0)
                    memset(to, 0, (size_t)(span[1] - span[0]) * sizeof *to);
                else
                    direct_copy_row(to, span[1] - span[0], from + row * k->x.stride[2],
                                    step * k->x.stride[3]);
            }
        }
    }
}

/* The same with channels side by side. */
static void direct_copy_across(const direct_work *k, const direct_tile *t)
{
    const direct_plan *p = &k->p;
    const ht_array *x = &k->x;
    int64_t rows = p->rows - (p->tile - t->rows) * p->g.stride[0], span[2], wide;
    direct_span(k, -p->g.padding[1], 1, p->pitch, span);
    int64_t n = span[1] - span[0];
    if (n == 0) return;
    float *copy = t->copy;
    for (int64_t c = 0; c < p->channels; c += wide, copy += p->plane) {
        wide = hti_gemm_panel_width(p->gemm->columns, p->channels - c);
        const float *from = direct_plane(x, t->image, t->group * p->channels + c) +
                            (span[0] - p->g.padding[1]) * x->stride[3];
        for (int64_t r = 0; r < rows; r++) {
            float *to = copy + (r * p->pitch + span[0]) * p->gemm->columns;
            int64_t row = direct_row(k, t, r);
            if (row < 0)
                memset(to, 0, (size_t)(n * p->gemm->columns) * sizeof *to);
            else
                p->gemm->pack(n, wide, from + row * x->stride[2], x->stride[3],
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

static void direct_unit_y(const direct_work *k, int64_t unit, float *slot)
{
    const direct_plan *p = &k->p;
    direct_tile t = direct_tile_at(k, unit, slot);
    int64_t width = p->y.dim[3], columns = p->gemm->columns, n;
    int64_t blocks = (p->terms + DIRECT_TERMS - 1) / DIRECT_TERMS;
    direct_list list = {.gemm = p->gemm};
    direct_copy(k, &t);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t from = p->terms * b / blocks, to = p->terms * (b + 1) / blocks;
        list.product = (hti_gemm_listed){
            .m = p->outputs,
            .k = to - from,
            .a = (const float *)k->w.data + t.group * p->outputs * p->terms + from,
            .b = slot,
            .out = (float *)k->y.data + t.image * k->y.stride[0] +
                   t.group * p->outputs * k->y.stride[1] + t.first * width,
            .a_row = p->terms,
            .step = k->y.stride[1],
            .at = k->at + from,
            .add = b > 0};
        for (int64_t i = 0; i < t.rows; i++)
            for (int64_t j = 0; j < width; j += n) {
                n = hti_gemm_panel_width(columns, width - j);
                int64_t second = n - columns / 2;
                direct_list_add(
                    &list, (hti_gemm_panel){i * p->g.stride[0] * p->phases * p->pitch + j,
                                            second, i * width + j, second, n});
            }
        direct_list_end(&list);
    }
}

/* Panels of terms: channels side by side, of each tap in turn. */
static void direct_list_taps(const direct_plan *p, direct_list *list)
{
    const hti_conv_geometry *g = &p->g;
    int64_t columns = p->gemm->columns, from = 0, n;
    for (int64_t c = 0; c < p->channels; c += n, from += p->plane) {
        n = hti_gemm_panel_width(columns, p->channels - c);
        for (int64_t tap = 0; tap < p->taps; tap++) {
            int64_t row = tap / p->w.dim[3] * g->dilation[0];
            int64_t col = tap % p->w.dim[3] * g->dilation[1];
            direct_list_add(list,
                            (hti_gemm_panel){from + (row * p->pitch + col) * columns,
                                             columns / 2, tap * p->channels + c,
                                             n - columns / 2, n});
        }
    }
    direct_list_end(list);
}

/* The tile of y, (outputs, positions) close together. */
static const float *direct_y(const direct_work *k, const direct_tile *t)
{
    const direct_plan *p = &k->p;
    float *packed = t->copy + direct_bytes(p->copy) / sizeof(float);
    for (int64_t o = 0; o < p->outputs; o++)
        k->loops->pack[hti_row(HT_F32)](
            t->rows, p->y.dim[3], packed + o * p->step,
            direct_plane(&k->y, t->image, t->group * p->outputs + o) +
                t->first * k->y.stride[2],
            k->y.stride + 2);
    return packed;
}

/* Adds one tile's product to a group's weights, (outputs, taps, channels). */
static void direct_add_tile(const direct_work *k, const direct_tile *t, float *to)
{
    const direct_plan *p = &k->p;
    int64_t positions = t->rows * p->y.dim[3];
    int64_t blocks = (positions + DIRECT_POSITIONS - 1) / DIRECT_POSITIONS;
    direct_list list = {.gemm = p->gemm};
    const float *y = direct_y(k, t);
    direct_copy_across(k, t);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = positions * b / blocks, last = positions * (b + 1) / blocks;
        list.product = (hti_gemm_listed){.m = p->outputs,
                                         .k = last - first,
                                         .a = y + first,
                                         .b = t->copy,
                                         .out = to,
                                         .a_row = p->step,
                                         .step = p->terms,
                                         .at = k->at + first,
                                         .add = true};
        direct_list_taps(p, &list);
    }
}

/* Part `unit` of the images. */
static void direct_unit_w(const direct_work *k, int64_t unit, float *slot)
{
    const direct_plan *p = &k->p;
    int64_t n = p->x.dim[0], each = p->g.groups * p->tiles;
    float *to = (float *)(k->parts + (size_t)unit * p->weight_bytes);
    memset(to, 0, p->weight_bytes);
    int64_t last = n * (unit + 1) / p->units * each;
    for (int64_t at = n * unit / p->units * each; at < last; at++) {
        direct_tile t = direct_tile_at(k, at, slot);
        direct_add_tile(k, &t, to + t.group * p->outputs * p->terms);
    }
}

static void direct_distances(const direct_work *k)
{
    const direct_plan *p = &k->p;
    const hti_conv_geometry *g = &p->g;
    int64_t width = p->parts ? p->y.dim[3] : p->w.dim[3];
    for (int64_t l = 0; l < p->n_at; l++) {
        int64_t col = l % width * (p->parts ? g->stride[1] : g->dilation[1]);
        int64_t row =
            p->parts ? l / width * g->stride[0] : l % p->taps / width * g->dilation[0];
        k->at[l] = p->parts ? (row * p->pitch + col) * p->gemm->columns
                            : l / p->taps * p->plane + col / g->stride[1] +
                                  (row * p->phases + col % g->stride[1]) * p->pitch;
    }
}

static void direct_piece(const void *work, int64_t piece, int64_t next)
{
    const direct_work *k = work;
    const direct_plan *p = &k->p;
    char *slot = k->slots + (size_t)piece * p->slot_bytes;
    memset(slot, 0, direct_bytes(p->copy));
    int64_t last = p->units * next / p->pieces;
    for (int64_t unit = p->units * piece / p->pieces; unit < last; unit++)
        (p->parts ? direct_unit_w : direct_unit_y)(k, unit, (float *)slot);
}

/* The weight as it is read: whole, and for x with taps backwards and the channels and
 * outputs of a group exchanged. */
static ht_array direct_weight(const direct_work *k, const ht_array *w)
{
    const int64_t *s = w->stride, *n = k->p.w.dim;
    ht_array turned = {.data = (float *)w->data + (n[2] - 1) * s[2] + (n[3] - 1) * s[3],
                       .dtype = HT_F32,
                       .shape = {5, {k->p.g.groups, k->p.outputs, n[1], n[2], n[3]}},
                       .stride = {n[1] * s[0], s[1], s[0], -s[2], -s[3]}};
    return k->p.side == HTI_CONV_X ? turned : *w;
}

void hti_run_conv_direct(ht_context *ctx, hti_conv_side side, ht_array x, ht_array weight,
                         ht_array y, const hti_conv_geometry *geometry, void *workspace,
                         int64_t parts)
{
    direct_work k = {
        .p = direct_plan_of(ctx, side, x.shape, weight.shape, y.shape, geometry, parts),
        .loops = ctx->loops,
        .x = side == HTI_CONV_X ? y : x,
        .w = weight,
        .y = side == HTI_CONV_X ? x : y,
        .parts = workspace};
    const direct_plan *p = &k.p;
    k.at = (int64_t *)(k.parts + (size_t)direct_most(1, p->parts) * p->weight_bytes);
    k.slots = (char *)k.at + p->at_bytes;
    direct_distances(&k);
    if (side == HTI_CONV_X || (side == HTI_CONV_Y && !hti_is_contiguous(&weight))) {
        ht_array from = direct_weight(&k, &weight);
        k.w = hti_contiguous(workspace, HT_F32, from.shape);
        hti_run_copy(ctx, k.w, from);
    }
    hti_share(ctx, p->pieces, direct_piece, &k);
}
