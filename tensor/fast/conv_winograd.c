/* SPDX-License-Identifier: MIT */
/* conv_winograd.c: f32 convolutions of 3 x 3 taps, strides 1, with 16 multiplications
 * where the definition has 36: F(2 x 2, 3 x 3) of Lavin & Gray, "Fast Algorithms for
 * Convolutional Neural Networks" (CVPR 2016), after Winograd. For a tile of 2 x 2 outputs
 *
 *   y = A' (sum over channels of (G w G') * (B' x B)) A
 *
 * with x the 4 x 4 inputs under it and * by element: 16 matrix products, one for each
 * place of the 4 x 4, (outputs, channels) . (channels, tiles). B' and A' only add and
 * subtract (loops_winograd.h). Errors are as small as those of the definition, but beside
 * the largest of a tile, not element by element, and a NaN or infinity reaches all of its
 * tile. The transposes:
 *
 *   x   the same of y and turned weights
 *   w   G' (sum over tiles of (A y A') * (B' x B)) G
 *
 * A block is some rows of tiles of one image, or some images, so small that what is made
 * of it stays in the second cache. Read next: conv.c, conv_direct.c, gemm.h. */
#include <string.h>

#include "conv.h"

enum {
    WINOGRAD_PLACES = 16,
    WINOGRAD_BYTES = 512 * 1024, /* of a block, both sides of the products, */
    WINOGRAD_FEW = 32,    /* but of so many tiles at least that vectors are full, */
    WINOGRAD_TILES = 128, /* and at most */
    WINOGRAD_WIDTH = HTI_WINOGRAD_PLANE - 16, /* columns: two rows of tiles' fit */
    WINOGRAD_SUMS = 8,         /* multiply-adds that what B' and A' do costs, about */
    WINOGRAD_WEIGHTS = 1 << 16 /* most weights: their places fit a third cache */
};

static int64_t winograd_pieces(int64_t a, int64_t by)
{
    return (a + by - 1) / by;
}

/* Whether what products save, by channels * outputs, pays for the sums of each. Where
 * rows are short conv_direct.c is bad at y and x, but good at weights. */
static bool winograd_fits(const hti_conv *c)
{
    const hti_conv_geometry *g = &c->g;
    const int64_t *x = c->x.shape.dim, *y = c->y.shape.dim, *w = c->w.shape.dim;
    bool fits = c->w.dtype == HT_F32 && c->loops->gemm->columns && x[0] && c->outputs;
    for (int i = 0; i < 2; i++)
        fits = fits && w[i + 3] == 3 && g->stride[i] == 1 && g->dilation[i] == 1 &&
               g->padding[i] <= 2 && y[i + 2] >= 4 && x[i + 2] >= 4;
    fits = fits && x[3] <= WINOGRAD_WIDTH && y[3] <= WINOGRAD_WIDTH;
    int64_t product = c->channels * c->outputs, sums = WINOGRAD_SUMS;
    if (c->side == HTI_CONV_W && y[3] < 16) sums *= y[3] < 8 ? 64 : 4;
    return fits && product >= sums * (c->channels + c->outputs) &&
           product <= WINOGRAD_WEIGHTS;
}

/* A block: `rows` of tiles of as many images, `cuts` of them down an image. */
static void winograd_block_size(hti_conv *c)
{
    int64_t both = WINOGRAD_PLACES * (int64_t)sizeof(float) * (c->channels + c->outputs);
    int64_t room =
        hti_least(WINOGRAD_TILES, hti_most(WINOGRAD_FEW, WINOGRAD_BYTES / both));
    c->rows = hti_least(room / c->across, HTI_WINOGRAD_PLANE / (c->across + 1) - 1);
    c->rows = hti_least(c->down, hti_most(1, c->rows));
    c->cuts = winograd_pieces(c->down, c->rows);
    c->rows = winograd_pieces(c->down, c->cuts);
    c->images = c->cuts > 1 ? 1 : hti_most(1, room / (c->rows * c->across));
    c->images = hti_least(c->images, c->x.shape.dim[0]);
}

/* A piece's memory: what the products read and write, (places, channels, tiles) and as
 * much for outputs, places `data_step` and `more_step` apart, planes by parity of row and
 * of column (of y, and of x), lines of 4 places, and a copy of rows that are not
 * contiguous. */
typedef struct winograd_slot {
    float *data, *more, *phases[2], *lines, *line;
} winograd_slot;

static winograd_slot winograd_slot_at(const hti_conv *c, char *at)
{
    winograd_slot s = {.data = (float *)(void *)at};
    s.more = s.data + WINOGRAD_PLACES * c->data_step;
    s.phases[0] = s.more + WINOGRAD_PLACES * c->more_step;
    s.phases[1] = s.phases[0] + 4 * HTI_WINOGRAD_PLANE;
    s.lines = s.phases[1] + 4 * HTI_WINOGRAD_PLANE;
    s.line = s.lines + 8 * HTI_WINOGRAD_PLANE;
    return s;
}

/* The sum of weights is one of their places, (places, groups, outputs, channels). */
static void winograd_plan(hti_conv *c)
{
    const int64_t *x = c->x.shape.dim, *y = c->y.shape.dim;
    c->down = winograd_pieces(y[2], 2), c->across = winograd_pieces(y[3], 2);
    winograd_block_size(c);
    c->whole = winograd_pieces(x[0], c->images) * c->cuts, c->each = c->g.groups;
    int64_t tiles = c->images * c->rows * c->across;
    c->data_step = hti_conv_odd(c->channels * tiles);
    c->more_step = hti_conv_odd(c->outputs * tiles);
    int64_t line = hti_conv_odd((c->rows + 1) * hti_most(x[3], y[3]));
    int64_t places = WINOGRAD_PLACES * (c->data_step + c->more_step);
    c->clear_at = (size_t)places * sizeof(float);
    c->clear_bytes = 8 * HTI_WINOGRAD_PLANE * sizeof(float);
    c->slot_bytes = hti_conv_bytes(c, places + 16 * HTI_WINOGRAD_PLANE + line);
    c->pairs = c->g.groups * c->outputs * c->channels;
    c->weight_bytes = c->shared_bytes = hti_conv_bytes(c, WINOGRAD_PLACES * c->pairs);
    int64_t stride[] = {c->outputs * c->channels, c->channels, 1, 3 * c->pairs, c->pairs};
    memcpy(c->stride, stride, sizeof stride);
}

/* Tiles of a block: rows first .. first+rows-1, of some images. */
typedef struct winograd_block {
    int64_t image, images, group, first, rows, tiles;
} winograd_block;

/* Past the last one there are no images. */
static winograd_block winograd_block_at(const hti_conv *c, int64_t at)
{
    winograd_block b = {.group = at % c->g.groups};
    at /= c->g.groups;
    b.image = at / c->cuts * c->images;
    b.images = hti_least(c->images, c->x.shape.dim[0] - b.image);
    b.first = at % c->cuts * c->rows;
    b.rows = hti_least(c->rows, c->down - b.first);
    b.tiles = b.images * b.rows * c->across;
    return b;
}

/* A plane of x (its borders too) or of y on its way to the places of its tiles. */
typedef struct winograd_plane {
    const float *from;
    const int64_t *size, *stride; /* the plane's */
    int64_t padding[2], more;     /* more: rows and columns under the last tile */
    hti_winograd tiles;
} winograd_plane;

/* Rows of one parity, columns of each apart; outside of the plane zeros, those left and
 * right since the piece began. */
static void winograd_split(const hti_conv *c, const winograd_plane *f, int64_t base,
                           float *even, float *line)
{
    int64_t pitch = f->tiles.across + f->more, rows = f->tiles.rows + f->more;
    int64_t n = f->size[1], pad = f->padding[1], step = 2 * f->stride[0];
    int64_t from = hti_least(rows, base < 0 ? (1 - base) / 2 : 0);
    int64_t to = base < f->size[0] ? (f->size[0] - base + 1) / 2 : 0;
    float *phase[2] = {even, even + HTI_WINOGRAD_PLANE};
    to = hti_most(from, hti_least(rows, to));
    for (int i = 0; i < 2; i++) {
        if (from) memset(phase[i], 0, (size_t)(from * pitch) * sizeof(float));
        if (to < rows)
            memset(phase[i] + to * pitch, 0,
                   (size_t)((rows - to) * pitch) * sizeof(float));
    }
    if (from == to) return;
    const float *x = f->from + (base + 2 * from) * f->stride[0];
    if (f->stride[1] != 1) {
        c->loops->pack[hti_row(HT_F32)](to - from, n, line, x,
                                        (const int64_t[]){step, f->stride[1]});
        x = line, step = n;
    }
    float *first = phase[pad % 2] + from * pitch + pad / 2;
    float *second = phase[(pad + 1) % 2] + from * pitch + (pad + 1) / 2;
    c->loops->winograd->split(to - from, n / 2, first, second, pitch, x, step);
    for (int64_t r = 0; n % 2 && r < to - from; r++)
        first[r * pitch + n / 2] = x[r * step + n - 1];
}

/* All planes of a block of a (x, or y of the weights). */
static void winograd_planes(const hti_conv *c, const winograd_slot *s, const ht_array *a,
                            const winograd_block *b)
{
    bool data = a == &c->x;
    int64_t n = data ? c->channels : c->outputs;
    winograd_plane f = {.size = a->shape.dim + 2,
                        .stride = a->stride + 2,
                        .more = data,
                        .tiles = {.rows = b->rows,
                                  .across = c->across,
                                  .step = data ? c->data_step : c->more_step,
                                  .phases = s->phases[data],
                                  .lines = s->lines}};
    for (int i = 0; i < 2 && data; i++) f.padding[i] = c->g.padding[i];
    for (int64_t i = 0; i < b->images * n; i++) {
        int64_t image = i / n, channel = i % n;
        f.from = hti_conv_plane(a, b->image + i / n, b->group * n + channel);
        for (int parity = 0; parity < 2; parity++)
            winograd_split(c, &f, 2 * b->first + parity - f.padding[0],
                           f.tiles.phases + 2 * parity * HTI_WINOGRAD_PLANE, s->line);
        f.tiles.places =
            (data ? s->data : s->more) + channel * b->tiles + image * b->rows * c->across;
        (data ? c->loops->winograd->data : c->loops->winograd->spread)(&f.tiles);
    }
}

/* The rows of y under a block from the places of its tiles. */
static void winograd_back(const hti_conv *c, const winograd_slot *s,
                          const winograd_block *b)
{
    hti_winograd tiles = {
        .rows = b->rows, .across = c->across, .step = c->more_step, .lines = s->lines};
    int64_t row = 2 * b->first, height = hti_least(2 * b->rows, c->y.shape.dim[2] - row);
    for (int64_t i = 0; i < b->images * c->outputs; i++) {
        int64_t image = i / c->outputs, o = i % c->outputs;
        float *y = hti_conv_plane(&c->y, b->image + image, b->group * c->outputs + o);
        tiles.places = s->more + o * b->tiles + image * b->rows * c->across;
        c->loops->winograd->back(&tiles, height, c->y.shape.dim[3],
                                 y + row * c->y.shape.dim[3]);
    }
}

/* Asks for a share of the planes that a block reads, or writes, of a: while the products
 * of place after place run, which need no memory. Inline, or gcc thinks it does nothing
 * and leaves it out. */
static inline __attribute__((always_inline)) void
winograd_ask(const hti_conv *c, const ht_array *a, int64_t channels,
             const winograd_block *b, int64_t place)
{
    const int64_t width = a->shape.dim[3], planes = b->images * channels;
    const bool data = a == &c->x, write = !data && !c->parts;
    int64_t from = 2 * b->first, to = from + 2 * b->rows;
    if (b->images <= 0 || a->stride[3] != 1 || a->stride[2] != width) return;
    if (data) from = hti_most(0, from - c->g.padding[0]), to += 2 - c->g.padding[0];
    to = hti_least(a->shape.dim[2], to) * width;
    for (int64_t i = planes * place / WINOGRAD_PLACES;
         i < planes * (place + 1) / WINOGRAD_PLACES; i++) {
        const float *plane = hti_conv_plane(a, b->image + i / channels,
                                            b->group * channels + i % channels);
        for (int64_t j = from * width; j < to; j += HTI_ALIGN / (int64_t)sizeof(float))
            if (write)
                __builtin_prefetch(plane + j, 1);
            else
                __builtin_prefetch(plane + j);
    }
}

/* y of block `at`. */
static void winograd_make_block(const hti_conv *c, int64_t at, const winograd_slot *s)
{
    const winograd_block b = winograd_block_at(c, at),
                         next = winograd_block_at(c, at + 1);
    hti_gemm product = {.m = c->outputs,
                        .k = c->channels,
                        .n = b.tiles,
                        .a = (const float *)(const void *)c->weights +
                             b.group * c->outputs * c->channels,
                        .b = s->data,
                        .out = s->more,
                        .a_row = c->channels,
                        .a_col = 1,
                        .b_row = b.tiles,
                        .b_col = 1,
                        .step = b.tiles};
    winograd_planes(c, s, &c->x, &b);
    for (int64_t i = 0; i < WINOGRAD_PLACES; i++) {
        winograd_ask(c, &c->x, c->channels, &next, i);
        winograd_ask(c, &c->y, c->outputs, &b, i);
        hti_gemm_whole(c->loops->gemm, &product);
        product.a += c->pairs, product.b += c->data_step, product.out += c->more_step;
    }
    winograd_back(c, s, &b);
}

/* Adds block `at` to the places of the weights. */
static void winograd_add_block(const hti_conv *c, int64_t at, const winograd_slot *s,
                               float *to)
{
    const winograd_block b = winograd_block_at(c, at),
                         next = winograd_block_at(c, at + 1);
    hti_gemm product = {.m = c->outputs,
                        .k = b.tiles,
                        .n = c->channels,
                        .a = s->more,
                        .b = s->data,
                        .out = to + b.group * c->outputs * c->channels,
                        .a_row = b.tiles,
                        .a_col = 1,
                        .b_row = 1,
                        .b_col = b.tiles,
                        .step = c->channels,
                        .add = true};
    winograd_planes(c, s, &c->x, &b);
    winograd_planes(c, s, &c->y, &b);
    for (int64_t i = 0; i < WINOGRAD_PLACES; i++) {
        winograd_ask(c, &c->x, c->channels, &next, i);
        winograd_ask(c, &c->y, c->outputs, &next, i);
        hti_gemm_whole(c->loops->gemm, &product);
        product.a += c->more_step, product.b += c->data_step, product.out += c->pairs;
    }
}

static void winograd_tile(const hti_conv *c, int64_t at, char *slot, char *sum)
{
    winograd_slot s = winograd_slot_at(c, slot);
    if (c->parts)
        winograd_add_block(c, at, &s, (float *)(void *)sum);
    else
        winograd_make_block(c, at, &s);
}

/* places = G w G', by way of (3, 4, pairs) beside them. */
static void winograd_begin(ht_context *ctx, hti_conv *c)
{
    const hti_winograd_loops *loops = c->loops->winograd;
    float *weights = (float *)(void *)c->weights, *spare = (float *)(void *)c->shared;
    const int64_t *d = c->w.shape.dim, *s = c->w.stride;
    int64_t n = c->pairs;
    if (c->parts) return;
    ht_array from = {
        c->w.data, HT_F32, {5, {3, 3, d[0], d[1], d[2]}}, {s[3], s[4], s[0], s[1], s[2]}};
    hti_run_copy(ctx, hti_contiguous(weights, HT_F32, from.shape), from);
    for (int i = 0; i < 3; i++)
        loops->taps(n, spare + 4 * i * n, n, weights + 3 * i * n, n);
    for (int i = 0; i < 4; i++)
        loops->taps(n, weights + i * n, 4 * n, spare + i * n, 4 * n);
}

/* w = G' places G. */
static void winograd_finish(const hti_conv *c)
{
    const hti_winograd_loops *loops = c->loops->winograd;
    float *weights = (float *)(void *)c->weights, *spare = (float *)(void *)c->shared;
    int64_t n = c->pairs;
    for (int i = 0; i < 4; i++)
        loops->gather(n, spare + i * n, 4 * n, weights + i * n, 4 * n);
    for (int i = 0; i < 3; i++)
        loops->gather(n, weights + 3 * i * n, n, spare + 4 * i * n, n);
}

const hti_conv_method hti_conv_winograd = {.turns = true,
                                           .fits = winograd_fits,
                                           .plan = winograd_plan,
                                           .begin = winograd_begin,
                                           .tile = winograd_tile,
                                           .finish = winograd_finish};
