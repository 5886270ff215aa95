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

#include "conv_direct.h"
#include "loops.h"

enum {
    WINOGRAD_PLACES = 16,
    WINOGRAD_BYTES = 512 * 1024, /* of a block, both sides of the products, */
    WINOGRAD_FEW = 32,    /* but of so many tiles at least that vectors are full, */
    WINOGRAD_TILES = 128, /* and at most */
    WINOGRAD_WIDTH = HTI_WINOGRAD_PLANE - 16, /* columns: two rows of tiles' fit */
    WINOGRAD_SUMS = 8,         /* multiply-adds that what B' and A' do costs, about */
    WINOGRAD_WEIGHTS = 1 << 16 /* most weights: their places fit a third cache */
};

/* Sizes in elements. A block has data (places, channels, tiles) and as much for outputs,
 * places `data_step` and `more_step` apart. */
typedef struct winograd_plan {
    hti_conv_side side;
    int64_t groups, padding[2];
    ht_shape x, w, y;
    int64_t channels, outputs, taps; /* of a group; taps: channels * outputs, of all */
    int64_t down, across;            /* tiles of an image */
    int64_t rows, images;            /* of a block */
    int64_t cuts, blocks;            /* blocks down an image, and in all */
    int64_t units, pieces, parts;
    int64_t data_step, more_step, line, slot;
} winograd_plan;

static int64_t winograd_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t winograd_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t winograd_pieces(int64_t a, int64_t by)
{
    return (a + by - 1) / by;
}

/* An odd number of lines: places lie in different sets of a cache. */
static int64_t winograd_odd(int64_t n)
{
    return (n + 15) / 16 * 16 | 16;
}

/* Whether what products save, by channels * outputs, pays for the sums of each. Where
 * rows are short conv_direct.c is bad at y and x, but good at weights. */
bool hti_conv_is_winograd(const ht_context *ctx, hti_conv_side side, ht_dtype dtype,
                          ht_shape x, ht_shape w, ht_shape y, const hti_conv_geometry *g)
{
    bool fits = dtype == HT_F32 && ctx->loops->gemm->columns && x.dim[0] && w.dim[0];
    for (int i = 0; i < 2; i++)
        fits = fits && w.dim[i + 2] == 3 && g->stride[i] == 1 && g->dilation[i] == 1 &&
               g->padding[i] <= 2 && y.dim[i + 2] >= 4 && x.dim[i + 2] >= 4;
    fits = fits && x.dim[3] <= WINOGRAD_WIDTH && y.dim[3] <= WINOGRAD_WIDTH;
    int64_t channels = w.dim[1], outputs = w.dim[0] / g->groups, sums = WINOGRAD_SUMS;
    if (side == HTI_CONV_W && y.dim[3] < 16) sums *= y.dim[3] < 8 ? 64 : 4;
    return fits && channels * outputs >= sums * (channels + outputs) &&
           channels * outputs <= WINOGRAD_WEIGHTS;
}

static void winograd_block_size(winograd_plan *p)
{
    int64_t both = WINOGRAD_PLACES * (int64_t)sizeof(float) * (p->channels + p->outputs);
    int64_t room = winograd_least(WINOGRAD_TILES,
                                  winograd_most(WINOGRAD_FEW, WINOGRAD_BYTES / both));
    p->rows = winograd_least(room / p->across, HTI_WINOGRAD_PLANE / (p->across + 1) - 1);
    p->rows = winograd_least(p->down, winograd_most(1, p->rows));
    p->cuts = winograd_pieces(p->down, p->rows);
    p->rows = winograd_pieces(p->down, p->cuts);
    p->images = p->cuts > 1 ? 1 : winograd_most(1, room / (p->rows * p->across));
    p->images = winograd_least(p->images, p->x.dim[0]);
}

static winograd_plan winograd_plan_of(const ht_context *ctx, hti_conv_side side,
                                      ht_shape x, ht_shape w, ht_shape y,
                                      const hti_conv_geometry *g, int64_t parts)
{
    bool turned = side == HTI_CONV_X;
    winograd_plan p = {.side = side,
                       .groups = g->groups,
                       .x = turned ? y : x,
                       .w = w,
                       .y = turned ? x : y};
    for (int i = 0; i < 2; i++) p.padding[i] = turned ? 2 - g->padding[i] : g->padding[i];
    p.channels = turned ? w.dim[0] / g->groups : w.dim[1];
    p.outputs = turned ? w.dim[1] : w.dim[0] / g->groups;
    p.taps = w.dim[0] * w.dim[1];
    p.down = winograd_pieces(p.y.dim[2], 2), p.across = winograd_pieces(p.y.dim[3], 2);
    winograd_block_size(&p);
    p.parts = side == HTI_CONV_W ? parts : 0;
    p.blocks = winograd_pieces(x.dim[0], p.images) * p.cuts;
    p.units = p.parts ? p.parts : p.blocks * p.groups;
    p.pieces = ht_shape_count(p.y) * p.channels * 9 < HTI_CONV_SERIAL
                   ? 1
                   : winograd_least(p.units, ht_context_threads(ctx));
    int64_t tiles = p.images * p.rows * p.across;
    p.data_step = winograd_odd(p.channels * tiles);
    p.more_step = winograd_odd(p.outputs * tiles);
    p.line = winograd_odd((p.rows + 1) * winograd_most(p.x.dim[3], p.y.dim[3]));
    p.slot =
        WINOGRAD_PLACES * (p.data_step + p.more_step) + 16 * HTI_WINOGRAD_PLANE + p.line;
    return p;
}

static size_t winograd_weight_bytes(const winograd_plan *p)
{
    return hti_round_up((size_t)(WINOGRAD_PLACES * p->taps) * sizeof(float), HTI_ALIGN);
}

static size_t winograd_slot_bytes(const winograd_plan *p)
{
    return hti_round_up((size_t)p->slot * sizeof(float), HTI_ALIGN);
}

size_t hti_conv_winograd_workspace(const ht_context *ctx, hti_conv_side side, ht_shape x,
                                   ht_shape w, ht_shape y, const hti_conv_geometry *g,
                                   int64_t parts)
{
    winograd_plan p = winograd_plan_of(ctx, side, x, w, y, g, parts);
    return (size_t)(winograd_most(1, p.parts) + 1) * winograd_weight_bytes(&p) +
           (size_t)p.pieces * winograd_slot_bytes(&p);
}

/* What the units of a run share; `weights` (places, groups, outputs, channels), or as
 * many parts of them as there are units. */
typedef struct winograd_work {
    winograd_plan p;
    const struct hti_loops *loops;
    ht_array x, w, y;
    float *weights, *spare;
    char *slots;
} winograd_work;

/* A piece's memory: what the products read and write, planes by parity of row and of
 * column (of x, and of y), lines of 4 places, and a copy of rows that are not
 * contiguous. */
typedef struct winograd_slot {
    float *data, *more, *phases[2], *lines, *line;
} winograd_slot;

static winograd_slot winograd_slot_at(const winograd_plan *p, float *at)
{
    winograd_slot s = {.data = at};
    s.more = s.data + WINOGRAD_PLACES * p->data_step;
    s.phases[0] = s.more + WINOGRAD_PLACES * p->more_step;
    s.phases[1] = s.phases[0] + 4 * HTI_WINOGRAD_PLANE;
    s.lines = s.phases[1] + 4 * HTI_WINOGRAD_PLANE;
    s.line = s.lines + 8 * HTI_WINOGRAD_PLANE;
    return s;
}

/* Tiles of a block: rows first .. first+rows-1, of some images. */
typedef struct winograd_block {
    int64_t image, images, group, first, rows, tiles;
} winograd_block;

/* Past the last one there are no images. */
static winograd_block winograd_block_at(const winograd_plan *p, int64_t at)
{
    winograd_block b = {.group = at % p->groups};
    at /= p->groups;
    b.image = at / p->cuts * p->images;
    b.images = winograd_least(p->images, p->x.dim[0] - b.image);
    b.first = at % p->cuts * p->rows;
    b.rows = winograd_least(p->rows, p->down - b.first);
    b.tiles = b.images * b.rows * p->across;
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
static void winograd_split(const winograd_work *k, const winograd_plane *f, int64_t base,
                           float *even, float *line)
{
    int64_t pitch = f->tiles.across + f->more, rows = f->tiles.rows + f->more;
    int64_t n = f->size[1], pad = f->padding[1], step = 2 * f->stride[0];
    int64_t from = winograd_least(rows, base < 0 ? (1 - base) / 2 : 0);
    int64_t to = base < f->size[0] ? (f->size[0] - base + 1) / 2 : 0;
    float *phase[2] = {even, even + HTI_WINOGRAD_PLANE};
    to = winograd_most(from, winograd_least(rows, to));
    for (int i = 0; i < 2; i++) {
        if (from) memset(phase[i], 0, (size_t)(from * pitch) * sizeof(float));
        if (to < rows)
            memset(phase[i] + to * pitch, 0,
                   (size_t)((rows - to) * pitch) * sizeof(float));
    }
    if (from == to) return;
    const float *x = f->from + (base + 2 * from) * f->stride[0];
    if (f->stride[1] != 1) {
        k->loops->pack[hti_row(HT_F32)](to - from, n, line, x,
                                        (const int64_t[]){step, f->stride[1]});
        x = line, step = n;
    }
    float *first = phase[pad % 2] + from * pitch + pad / 2;
    float *second = phase[(pad + 1) % 2] + from * pitch + (pad + 1) / 2;
    k->loops->winograd->split(to - from, n / 2, first, second, pitch, x, step);
    for (int64_t r = 0; n % 2 && r < to - from; r++)
        first[r * pitch + n / 2] = x[r * step + n - 1];
}

/* All planes of a block of a (x, or y of the weights). */
static void winograd_planes(const winograd_work *k, const winograd_slot *s,
                            const ht_array *a, const winograd_block *b)
{
    const winograd_plan *p = &k->p;
    bool data = a == &k->x;
    int64_t n = data ? p->channels : p->outputs;
    winograd_plane f = {.size = a->shape.dim + 2,
                        .stride = a->stride + 2,
                        .more = data,
                        .tiles = {.rows = b->rows,
                                  .across = p->across,
                                  .step = data ? p->data_step : p->more_step,
                                  .phases = s->phases[data],
                                  .lines = s->lines}};
    for (int i = 0; i < 2 && data; i++) f.padding[i] = p->padding[i];
    for (int64_t i = 0; i < b->images * n; i++) {
        int64_t image = i / n, c = i % n;
        f.from = (const float *)a->data + (b->image + image) * a->stride[0] +
                 (b->group * n + c) * a->stride[1];
        for (int parity = 0; parity < 2; parity++)
            winograd_split(k, &f, 2 * b->first + parity - f.padding[0],
                           f.tiles.phases + 2 * parity * HTI_WINOGRAD_PLANE, s->line);
        f.tiles.places =
            (data ? s->data : s->more) + c * b->tiles + image * b->rows * p->across;
        (data ? k->loops->winograd->data : k->loops->winograd->spread)(&f.tiles);
    }
}

/* The rows of y under a block from the places of its tiles. */
static void winograd_back(const winograd_work *k, const winograd_slot *s,
                          const winograd_block *b)
{
    const winograd_plan *p = &k->p;
    hti_winograd tiles = {
        .rows = b->rows, .across = p->across, .step = p->more_step, .lines = s->lines};
    int64_t row = 2 * b->first, height = winograd_least(2 * b->rows, p->y.dim[2] - row);
    for (int64_t i = 0; i < b->images * p->outputs; i++) {
        int64_t image = i / p->outputs, o = i % p->outputs;
        float *y = (float *)k->y.data + (b->image + image) * k->y.stride[0] +
                   (b->group * p->outputs + o) * k->y.stride[1];
        tiles.places = s->more + o * b->tiles + image * b->rows * p->across;
        k->loops->winograd->back(&tiles, height, p->y.dim[3], y + row * p->y.dim[3]);
    }
}

/* Asks for a share of the planes that a block reads, or writes, of a: while the products
 * of place after place run, which need no memory. Inline, or gcc thinks it does nothing
 * and leaves it out. */
static inline __attribute__((always_inline)) void
winograd_ask(const winograd_work *k, const ht_array *a, int64_t channels,
             const winograd_block *b, int64_t place)
{
    const int64_t width = a->shape.dim[3], planes = b->images * channels;
    const bool data = a == &k->x, write = !data && !k->p.parts;
    int64_t from = 2 * b->first, to = from + 2 * b->rows;
    if (b->images <= 0 || a->stride[3] != 1 || a->stride[2] != width) return;
    if (data) from = winograd_most(0, from - k->p.padding[0]), to += 2 - k->p.padding[0];
    to = winograd_least(a->shape.dim[2], to) * width;
    for (int64_t i = planes * place / WINOGRAD_PLACES;
         i < planes * (place + 1) / WINOGRAD_PLACES; i++) {
        const float *plane = (const float *)a->data +
                             (b->image + i / channels) * a->stride[0] +
                             (b->group * channels + i % channels) * a->stride[1];
        for (int64_t j = from * width; j < to; j += HTI_ALIGN / (int64_t)sizeof(float))
            if (write)
                __builtin_prefetch(plane + j, 1);
            else
                __builtin_prefetch(plane + j);
    }
}

/* y of block `unit`. */
static void winograd_unit_y(const winograd_work *k, int64_t unit, const winograd_slot *s)
{
    const winograd_plan *p = &k->p;
    const winograd_block b = winograd_block_at(p, unit),
                         next = winograd_block_at(p, unit + 1);
    hti_gemm product = {.m = p->outputs,
                        .k = p->channels,
                        .n = b.tiles,
                        .a = k->weights + b.group * p->outputs * p->channels,
                        .b = s->data,
                        .out = s->more,
                        .a_row = p->channels,
                        .a_col = 1,
                        .b_row = b.tiles,
                        .b_col = 1,
                        .step = b.tiles};
    winograd_planes(k, s, &k->x, &b);
    for (int64_t i = 0; i < WINOGRAD_PLACES; i++) {
        winograd_ask(k, &k->x, p->channels, &next, i);
        winograd_ask(k, &k->y, p->outputs, &b, i);
        k->loops->gemm->product(&product);
        product.a += p->taps, product.b += p->data_step, product.out += p->more_step;
    }
    winograd_back(k, s, &b);
}

/* Adds block `at` to the places of the weights. */
static void winograd_add_block(const winograd_work *k, int64_t at, const winograd_slot *s,
                               float *to)
{
    const winograd_plan *p = &k->p;
    const winograd_block b = winograd_block_at(p, at),
                         next = winograd_block_at(p, at + 1);
    hti_gemm product = {.m = p->outputs,
                        .k = b.tiles,
                        .n = p->channels,
                        .a = s->more,
                        .b = s->data,
                        .out = to + b.group * p->outputs * p->channels,
                        .a_row = b.tiles,
                        .a_col = 1,
                        .b_row = 1,
                        .b_col = b.tiles,
                        .step = p->channels,
                        .add = true};
    winograd_planes(k, s, &k->x, &b);
    winograd_planes(k, s, &k->y, &b);
    for (int64_t i = 0; i < WINOGRAD_PLACES; i++) {
        winograd_ask(k, &k->x, p->channels, &next, i);
        winograd_ask(k, &k->y, p->outputs, &next, i);
        k->loops->gemm->product(&product);
        product.a += p->more_step, product.b += p->data_step, product.out += p->taps;
    }
}

/* Part `unit` of the blocks. */
static void winograd_unit_w(const winograd_work *k, int64_t unit, const winograd_slot *s)
{
    const winograd_plan *p = &k->p;
    float *to = k->weights + unit * WINOGRAD_PLACES * p->taps;
    int64_t last = p->blocks * (unit + 1) / p->units * p->groups;
    memset(to, 0, (size_t)(WINOGRAD_PLACES * p->taps) * sizeof *to);
    for (int64_t at = p->blocks * unit / p->units * p->groups; at < last; at++)
        winograd_add_block(k, at, s, to);
}

/* (taps, taps, groups, outputs, channels) as they lie in w: for x with taps backwards and
 * the channels and outputs of a group exchanged. */
static ht_array winograd_view(const winograd_work *k)
{
    const winograd_plan *p = &k->p;
    const int64_t *s = k->w.stride;
    bool turned = p->side == HTI_CONV_X;
    float *w = k->w.data;
    int64_t group = (turned ? p->channels : p->outputs) * s[0];
    return (ht_array){
        turned ? w + 2 * s[2] + 2 * s[3] : w,
        HT_F32,
        {5, {3, 3, p->groups, p->outputs, p->channels}},
        {turned ? -s[2] : s[2], turned ? -s[3] : s[3], group, s[turned], s[!turned]}};
}

/* places = G w G', by way of (3, 4, taps) beside them. */
static void winograd_weights(ht_context *ctx, const winograd_work *k)
{
    const hti_winograd_loops *loops = k->loops->winograd;
    int64_t n = k->p.taps;
    ht_array from = winograd_view(k);
    hti_run_copy(ctx, hti_contiguous(k->weights, HT_F32, from.shape), from);
    for (int i = 0; i < 3; i++)
        loops->taps(n, k->spare + 4 * i * n, n, k->weights + 3 * i * n, n);
    for (int i = 0; i < 4; i++)
        loops->taps(n, k->weights + i * n, 4 * n, k->spare + i * n, 4 * n);
}

/* The parts added up in order, into the first, and w = G' places G. */
static void winograd_join(ht_context *ctx, const winograd_work *k)
{
    const winograd_plan *p = &k->p;
    const hti_winograd_loops *loops = k->loops->winograd;
    int64_t n = p->taps;
    ht_array sum = hti_contiguous(k->weights, HT_F32, HT_SHAPE(WINOGRAD_PLACES * n));
    ht_array part = sum;
    for (int64_t i = 1; i < p->parts; i++) {
        part.data = k->weights + i * WINOGRAD_PLACES * n;
        hti_run_binary(ctx, HTI_BINARY_add, sum, sum, part);
    }
    for (int i = 0; i < 4; i++)
        loops->gather(n, k->spare + i * n, 4 * n, k->weights + i * n, 4 * n);
    for (int i = 0; i < 3; i++)
        loops->gather(n, k->weights + 3 * i * n, n, k->spare + 4 * i * n, n);
    ht_array turned = {k->weights,
                       HT_F32,
                       {5, {p->groups, p->outputs, p->channels, 3, 3}},
                       {p->outputs * p->channels, p->channels, 1, 3 * n, n}};
    hti_run_copy(ctx, hti_contiguous(k->w.data, HT_F32, turned.shape), turned);
}

static void winograd_piece(const void *work, int64_t piece, int64_t next)
{
    const winograd_work *k = work;
    const winograd_plan *p = &k->p;
    float *at = (float *)(k->slots + (size_t)piece * winograd_slot_bytes(p));
    winograd_slot s = winograd_slot_at(p, at);
    memset(s.phases[0], 0, 8 * HTI_WINOGRAD_PLANE * sizeof(float));
    int64_t last = p->units * next / p->pieces;
    for (int64_t unit = p->units * piece / p->pieces; unit < last; unit++)
        (p->parts ? winograd_unit_w : winograd_unit_y)(k, unit, &s);
}

void hti_run_conv_winograd(ht_context *ctx, hti_conv_side side, ht_array x,
                           ht_array weight, ht_array y, const hti_conv_geometry *geometry,
                           void *workspace, int64_t parts)
{
    bool turned = side == HTI_CONV_X;
    winograd_work k = {
        .p = winograd_plan_of(ctx, side, x.shape, weight.shape, y.shape, geometry, parts),
        .loops = ctx->loops,
        .x = turned ? y : x,
        .w = weight,
        .y = turned ? x : y,
        .weights = workspace};
    const winograd_plan *p = &k.p;
    size_t bytes = winograd_weight_bytes(p);
    k.spare = (float *)((char *)workspace + (size_t)winograd_most(1, p->parts) * bytes);
    k.slots = (char *)k.spare + bytes;
    if (!p->parts) winograd_weights(ctx, &k);
    hti_share(ctx, p->pieces, winograd_piece, &k);
    if (p->parts) winograd_join(ctx, &k);
}
