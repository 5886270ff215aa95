/* SPDX-License-Identifier: MIT */
/* conv.c: convolution and its two transposes as matrix products. A group of one image
 * becomes a matrix of *columns* (im2col): one row per (channel, tap), one column per
 * output position. It is made for a few rows of the output at a time, so that it stays in
 * the second cache, and is never kept:
 *
 *   y = weight . columns(x),   x += columns'(weight' . y),   weight += y . columns(x)'
 *
 * with columns' the transpose of columns. In f32 conv_direct.c does without where it can,
 * and conv_winograd.c with fewer multiplications where taps are 3 x 3.
 * Work is cut into units whose sums do not depend on the number of threads. Read next:
 * conv_direct.c, conv_winograd.c, autograd's ops_conv.c. */
#include <string.h>

#include "conv_direct.h"
#include "loops.h"
#include "matmul.h"

enum {
    CONV_TILE_BYTES = 512 * 1024, /* of the columns of one tile */
    CONV_PARTIAL_BYTES = 8 << 20, /* of all partial weights, unless there are two */
    CONV_MOST_PARTIALS = 8        /* hence threads, where weights are the result */
};

/* A block of a row of columns, `rows` times n, `pitch` apart, and the elements of x it
 * stands for. */
typedef void (*conv_block_fn)(const struct hti_loops *loops, int64_t rows, int64_t n,
                              void *columns, int64_t pitch, void *x,
                              const int64_t stride[2]);

#define CONV_BLOCKS(s, T, D)                                                             \
    static void conv_gather_##s(const struct hti_loops *loops, int64_t rows, int64_t n,  \
                                void *columns, int64_t pitch, void *x,                   \
                                const int64_t stride[2])                                 \
    {                                                                                    \
        T *o = columns;                                                                  \
        const T *a = x;                                                                  \
        (void)loops;                                                                     \
        for (int64_t r = 0; r < rows; r++, o += pitch, a += stride[0])                   \
            if (stride[1] == 1)                                                          \
                memcpy(o, a, (size_t)n * sizeof *o);                                     \
            else                                                                         \
                for (int64_t j = 0; j < n; j++) o[j] = a[j * stride[1]];                 \
    }                                                                                    \
                                                                                         \
    static void conv_scatter_##s(const struct hti_loops *loops, int64_t rows, int64_t n, \
                                 void *columns, int64_t pitch, void *x,                  \
                                 const int64_t stride[2])                                \
    {                                                                                    \
        const T *a = columns;                                                            \
        T *o = x;                                                                        \
        hti_loop add = loops->binary[HTI_BINARY_add][hti_row(D)][0];                     \
        for (int64_t r = 0; r < rows; r++, a += pitch, o += stride[0])                   \
            if (stride[1] == 1)                                                          \
                add(n, o, (const void *[]){o, a});                                       \
            else                                                                         \
                for (int64_t j = 0; j < n; j++) o[j * stride[1]] += a[j];                \
    }                                                                                    \
                                                                                         \
    static void conv_sides_##s(int64_t rows, int64_t width, const int64_t inside[2],     \
                               void *columns)                                            \
    {                                                                                    \
        T *o = columns;                                                                  \
        for (int64_t j = 0; j < width; j++)                                              \
            for (int64_t r = j < inside[0] || j >= inside[1] ? 0 : rows; r < rows; r++)  \
                o[r * width + j] = 0;                                                    \
    }

CONV_BLOCKS(f32, float, HT_F32)
CONV_BLOCKS(f64, double, HT_F64)

typedef struct conv_plan {
    hti_conv_side side;
    hti_conv_geometry g;
    ht_dtype dtype;
    size_t size; /* of an element */
    ht_shape x, w, y;
    int64_t channels, outputs, terms;   /* of a group; terms: rows of columns */
    int64_t tile, tiles;                /* rows of the output */
    int64_t units, pieces, partials;    /* pieces: of the units, each with a slot */
    size_t weight_bytes, partial_bytes; /* in workspace, in this order, then slots of */
    size_t columns_bytes, y_bytes;
} conv_plan;

static int64_t conv_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t conv_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static size_t conv_bytes(const conv_plan *p, int64_t count)
{
    return hti_round_up((size_t)count * p->size, HTI_ALIGN);
}

/* Weights summed over images in parts, however many threads there are; the parts are
 * transposed, (terms, outputs), since BLAS is slow at the other way of this product. */
static int64_t conv_partials(const conv_plan *p)
{
    int64_t bytes = conv_most(1, (int64_t)conv_bytes(p, ht_shape_count(p->w)));
    int64_t n = conv_least(CONV_MOST_PARTIALS, conv_most(2, CONV_PARTIAL_BYTES / bytes));
    return conv_most(1, conv_least(n, p->x.dim[0]));
}

static conv_plan conv_plan_of(const ht_context *ctx, hti_conv_side side, ht_dtype dtype,
                              ht_shape x, ht_shape w, ht_shape y,
                              const hti_conv_geometry *g)
{
    conv_plan p = {.side = side, .g = *g, .dtype = dtype, .x = x, .w = w, .y = y};
    p.size = ht_dtype_bytes(dtype);
    p.channels = w.dim[1];
    p.outputs = w.dim[0] / g->groups;
    p.terms = p.channels * w.dim[2] * w.dim[3];
    int64_t row = conv_most(1, p.terms * y.dim[3] * (int64_t)p.size);
    p.tile = conv_most(1, conv_least(y.dim[2], CONV_TILE_BYTES / row));
    p.tiles = (y.dim[2] + p.tile - 1) / p.tile;
    p.tile = conv_most(1, (y.dim[2] + p.tiles - 1) / conv_most(1, p.tiles));
    p.partials = side == HTI_CONV_W ? conv_partials(&p) : 0;
    p.units = side == HTI_CONV_W   ? p.partials
              : side == HTI_CONV_X ? x.dim[0] * g->groups
                                   : x.dim[0] * g->groups * p.tiles;
    int64_t work = ht_shape_count(y) * p.terms;
    p.pieces = work < HTI_CONV_SERIAL
                   ? 1
                   : conv_most(1, conv_least(p.units, ht_context_threads(ctx)));
    p.weight_bytes = side == HTI_CONV_W ? 0 : conv_bytes(&p, ht_shape_count(w));
    p.partial_bytes = conv_bytes(&p, ht_shape_count(w));
    p.columns_bytes = conv_bytes(&p, p.terms * p.tile * y.dim[3]);
    p.y_bytes = side == HTI_CONV_Y ? 0 : conv_bytes(&p, p.outputs * p.tile * y.dim[3]);
    return p;
}

static size_t conv_partials_bytes(const conv_plan *p)
{
    return (size_t)p->partials * p->partial_bytes;
}

static size_t fast_conv_workspace(const ht_context *ctx, hti_conv_side side,
                                  ht_dtype dtype, ht_shape x, ht_shape weight, ht_shape y,
                                  const hti_conv_geometry *geometry)
{
    conv_plan p = conv_plan_of(ctx, side, dtype, x, weight, y, geometry);
    if (hti_conv_is_winograd(ctx, side, dtype, x, weight, y, geometry))
        return hti_conv_winograd_workspace(ctx, side, x, weight, y, geometry, p.partials);
    if (hti_conv_is_direct(ctx, side, dtype, x, weight, y, geometry))
        return hti_conv_direct_workspace(ctx, side, x, weight, y, geometry, p.partials);
    return p.weight_bytes + conv_partials_bytes(&p) +
           (size_t)p.pieces * (p.columns_bytes + p.y_bytes);
}

/* What the units of a run share. */
typedef struct conv_work {
    conv_plan p;
    const struct hti_loops *loops;
    ht_array x, w, y; /* w contiguous */
    char *partials, *slots;
} conv_work;

/* A tile: rows first .. last-1 of the output of one group of one image. */
typedef struct conv_tile {
    int64_t image, group, first, last;
    char *slot;
} conv_tile;

static conv_tile conv_tile_at(const conv_work *k, int64_t image, int64_t group, int64_t t,
                              char *slot)
{
    int64_t first = t * k->p.tile;
    return (conv_tile){image, group, first, conv_least(first + k->p.tile, k->p.y.dim[2]),
                       slot};
}

static char *conv_at(const ht_array *a, int64_t offset)
{
    return hti_at(a->data, offset * (int64_t)ht_dtype_bytes(a->dtype));
}

static ht_array conv_matrix(void *data, ht_dtype dtype, int64_t rows, int64_t cols,
                            int64_t row, int64_t col)
{
    return (ht_array){data, dtype, {2, {rows, cols}}, {row, col}};
}

static ht_array conv_transposed(ht_array a)
{
    return conv_matrix(a.data, a.dtype, a.shape.dim[1], a.shape.dim[0], a.stride[1],
                       a.stride[0]);
}

static int64_t conv_positions(const conv_work *k, const conv_tile *t)
{
    return (t->last - t->first) * k->p.y.dim[3];
}

/* Rows of x's planes that follow on another, element by element: the matrix itself can be
 * read as columns where the kernel is one tap. */
static bool conv_is_plain(const conv_work *k)
{
    const hti_conv_geometry *g = &k->p.g;
    const ht_array *x = &k->x;
    return k->p.terms == k->p.channels && g->stride[0] == 1 && g->stride[1] == 1 &&
           !g->padding[0] && !g->padding[1] && x->stride[3] == 1 &&
           x->stride[2] == x->shape.dim[3] &&
           x->stride[1] >= x->shape.dim[2] * x->shape.dim[3];
}

static ht_array conv_plain(const conv_work *k, const conv_tile *t)
{
    int64_t offset = t->image * k->x.stride[0] +
                     t->group * k->p.channels * k->x.stride[1] +
                     t->first * k->x.stride[2];
    return conv_matrix(conv_at(&k->x, offset), k->p.dtype, k->p.terms,
                       conv_positions(k, t), k->x.stride[1], 1);
}

static ht_array conv_slot_columns(const conv_work *k, const conv_tile *t)
{
    int64_t positions = conv_positions(k, t);
    return conv_matrix(t->slot, k->p.dtype, k->p.terms, positions, positions, 1);
}

/* The i of one axis of the output whose element i*stride - padding + tap*dilation is
 * inside x, among from .. to-1. */
static void conv_span(const conv_work *k, int axis, int64_t tap, int64_t from, int64_t to,
                      int64_t span[2])
{
    const hti_conv_geometry *g = &k->p.g;
    int64_t step = g->stride[axis], shift = g->padding[axis] - tap * g->dilation[axis];
    int64_t past = k->p.x.dim[axis + 2] + shift; /* inside: shift <= i*step < past */
    span[0] = shift > 0 ? (shift + step - 1) / step : 0;
    span[1] = past > 0 ? (past + step - 1) / step : 0;
    span[0] = conv_least(to, conv_most(from, span[0]));
    span[1] = conv_least(to, conv_most(span[0], span[1]));
}

/* Zeros in a row of columns, (rows, width), outside of rows i and columns j. */
static void conv_frame(const conv_work *k, char *columns, int64_t rows, const int64_t *i,
                       const int64_t *j)
{
    int64_t width = k->p.y.dim[3], bytes = width * (int64_t)k->p.size;
    memset(columns, 0, (size_t)(i[0] * bytes));
    memset(columns + i[1] * bytes, 0, (size_t)((rows - i[1]) * bytes));
    columns += i[0] * bytes;
    if (k->p.dtype == HT_F32)
        conv_sides_f32(i[1] - i[0], width, j, columns);
    else
        conv_sides_f64(i[1] - i[0], width, j, columns);
}

/* One row of columns: channel c, tap (p, q). Where its rows lie as x's do, the frame's
 * zeros let them pass as a single run. */
static void conv_walk_row(const conv_work *k, const conv_tile *t, int64_t c, int64_t p,
                          int64_t q, char *columns, bool gather)
{
    static const conv_block_fn blocks[2][2] = {{conv_scatter_f32, conv_scatter_f64},
                                               {conv_gather_f32, conv_gather_f64}};
    const hti_conv_geometry *g = &k->p.g;
    const ht_array *x = &k->x;
    int64_t i[2], j[2], width = k->p.y.dim[3];
    conv_span(k, 0, p, t->first, t->last, i);
    conv_span(k, 1, q, 0, width, j);
    int64_t rows = i[1] - i[0], n = j[1] - j[0], first = i[0] - t->first;
    int64_t y = i[0] * g->stride[0] - g->padding[0] + p * g->dilation[0];
    int64_t left = j[0] * g->stride[1] - g->padding[1] + q * g->dilation[1];
    int64_t plane =
        t->image * x->stride[0] + (t->group * k->p.channels + c) * x->stride[1];
    int64_t stride[2] = {g->stride[0] * x->stride[2], g->stride[1] * x->stride[3]};
    bool run = rows > 0 && n > 0 && stride[1] == 1 && stride[0] == width;
    const int64_t inside[2] = {first, first + rows};
    if (!gather && run) conv_frame(k, columns, t->last - t->first, inside, j);
    if (rows > 0 && n > 0)
        blocks[gather][k->p.dtype == HT_F64](
            k->loops, run ? 1 : rows, run ? (rows - 1) * width + n : n,
            columns + (first * width + j[0]) * (int64_t)k->p.size, width,
            conv_at(x, plane + y * x->stride[2] + left * x->stride[3]), stride);
    if (gather) conv_frame(k, columns, t->last - t->first, inside, j);
}

static void conv_walk(const conv_work *k, const conv_tile *t, bool gather)
{
    int64_t bytes = conv_positions(k, t) * (int64_t)k->p.size;
    char *columns = t->slot;
    for (int64_t c = 0; c < k->p.channels; c++)
        for (int64_t p = 0; p < k->p.w.dim[2]; p++)
            for (int64_t q = 0; q < k->p.w.dim[3]; q++, columns += bytes)
                conv_walk_row(k, t, c, p, q, columns, gather);
}

/* The columns (terms, positions) of a tile. */
static ht_array conv_columns(const conv_work *k, const conv_tile *t)
{
    if (conv_is_plain(k)) return conv_plain(k, t);
    conv_walk(k, t, true);
    return conv_slot_columns(k, t);
}

/* The tile of y as (outputs, positions), packed where BLAS could not read it. */
static ht_array conv_y_tile(const conv_work *k, const conv_tile *t)
{
    const ht_array *y = &k->y;
    int64_t width = k->p.y.dim[3], positions = conv_positions(k, t);
    int64_t offset = t->image * y->stride[0] + t->group * k->p.outputs * y->stride[1] +
                     t->first * y->stride[2];
    if (y->stride[3] == 1 && y->stride[2] == width &&
        y->stride[1] >= k->p.y.dim[2] * width)
        return conv_matrix(conv_at(y, offset), k->p.dtype, k->p.outputs, positions,
                           y->stride[1], 1);
    char *packed = t->slot + k->p.columns_bytes;
    int64_t bytes = positions * (int64_t)k->p.size;
    for (int64_t o = 0; o < k->p.outputs; o++)
        k->loops->pack[hti_row(k->p.dtype)](t->last - t->first, width, packed + o * bytes,
                                            conv_at(y, offset + o * y->stride[1]),
                                            y->stride + 2);
    return conv_matrix(packed, k->p.dtype, k->p.outputs, positions, positions, 1);
}

/* The weights of a group, (outputs, terms). */
static ht_array conv_weight(const conv_work *k, char *weights, int64_t group)
{
    int64_t offset = group * k->p.outputs * k->p.terms * (int64_t)k->p.size;
    return conv_matrix(weights + offset, k->p.dtype, k->p.outputs, k->p.terms, k->p.terms,
                       1);
}

static void conv_unit_y(const conv_work *k, int64_t unit, char *slot)
{
    int64_t at = unit / k->p.tiles;
    conv_tile t =
        conv_tile_at(k, at / k->p.g.groups, at % k->p.g.groups, unit % k->p.tiles, slot);
    hti_matmul_tile(k->loops, conv_y_tile(k, &t), conv_weight(k, k->w.data, t.group),
                    conv_columns(k, &t), false);
}

static void conv_unit_x(const conv_work *k, int64_t unit, char *slot)
{
    int64_t image = unit / k->p.g.groups, group = unit % k->p.g.groups;
    int64_t count = k->p.channels * k->p.x.dim[2] * k->p.x.dim[3];
    bool plain = conv_is_plain(k);
    memset(conv_at(&k->x, unit * count), 0, (size_t)count * k->p.size);
    for (int64_t i = 0; i < k->p.tiles; i++) {
        conv_tile t = conv_tile_at(k, image, group, i, slot);
        ht_array to = plain ? conv_plain(k, &t) : conv_slot_columns(k, &t);
        hti_matmul_tile(k->loops, to, conv_transposed(conv_weight(k, k->w.data, group)),
                        conv_y_tile(k, &t), false);
        if (!plain) conv_walk(k, &t, false);
    }
}

/* Part `unit` of the images, each group (terms, outputs). */
static void conv_unit_w(const conv_work *k, int64_t unit, char *slot)
{
    if (ht_shape_count(k->p.w) == 0) return;
    char *to = k->partials + (size_t)unit * k->p.partial_bytes;
    int64_t n = k->p.x.dim[0], groups = k->p.g.groups;
    int64_t first = n * unit / k->p.units, last = n * (unit + 1) / k->p.units;
    memset(to, 0, (size_t)ht_shape_count(k->p.w) * k->p.size);
    for (int64_t at = first * groups * k->p.tiles; at < last * groups * k->p.tiles;
         at++) {
        conv_tile t = conv_tile_at(k, at / k->p.tiles / groups, at / k->p.tiles % groups,
                                   at % k->p.tiles, slot);
        int64_t group = t.group * k->p.terms * k->p.outputs * (int64_t)k->p.size;
        hti_matmul_tile(k->loops,
                        conv_matrix(to + group, k->p.dtype, k->p.terms, k->p.outputs,
                                    k->p.outputs, 1),
                        conv_columns(k, &t), conv_transposed(conv_y_tile(k, &t)), true);
    }
}

/* The parts added up in order, into the first, and turned round into w: each group is
 * (channels, taps, outputs), or (outputs, taps, channels) of the direct form. */
static void conv_join(ht_context *ctx, const conv_work *k, bool direct)
{
    const conv_plan *p = &k->p;
    int64_t taps = p->w.dim[2] * p->w.dim[3];
    ht_shape shape = HT_SHAPE(p->g.groups, p->outputs, p->channels, taps);
    ht_array sum = {k->partials, p->dtype, {1, {ht_shape_count(p->w)}}, {1}}, part = sum;
    for (int64_t i = 1; i < p->partials; i++) {
        part.data = k->partials + (size_t)i * p->partial_bytes;
        hti_run_binary(ctx, HTI_BINARY_add, sum, sum, part);
    }
    ht_array turned = {sum.data,
                       p->dtype,
                       shape,
                       {p->outputs * p->terms, 1, taps * p->outputs, p->outputs}};
    if (direct)
        turned.stride[1] = p->terms, turned.stride[2] = 1, turned.stride[3] = p->channels;
    hti_run_copy(ctx, hti_contiguous(k->w.data, p->dtype, shape), turned);
}

static void conv_piece(const void *work, int64_t piece, int64_t next)
{
    const conv_work *k = work;
    static void (*const run[])(const conv_work *, int64_t, char *) = {
        [HTI_CONV_Y] = conv_unit_y,
        [HTI_CONV_X] = conv_unit_x,
        [HTI_CONV_W] = conv_unit_w,
    };
    const conv_plan *p = &k->p;
    int64_t size = (int64_t)(p->columns_bytes + p->y_bytes);
    char *slot = hti_at(k->slots, piece * size);
    int64_t last = p->units * next / p->pieces;
    for (int64_t unit = p->units * piece / p->pieces; unit < last; unit++)
        run[p->side](k, unit, slot);
}

static void fast_conv(ht_context *ctx, hti_conv_side side, ht_array x, ht_array weight,
                      ht_array y, const hti_conv_geometry *geometry, void *workspace)
{
    conv_work k = {
        .p = conv_plan_of(ctx, side, x.dtype, x.shape, weight.shape, y.shape, geometry),
        .loops = ctx->loops,
        .x = x,
        .w = weight,
        .y = y};
    const conv_plan *p = &k.p;
    char *packed = workspace;
    if (hti_conv_is_winograd(ctx, side, x.dtype, x.shape, weight.shape, y.shape,
                             geometry)) {
        hti_run_conv_winograd(ctx, side, x, weight, y, geometry, workspace, p->partials);
        return;
    }
    if (hti_conv_is_direct(ctx, side, x.dtype, x.shape, weight.shape, y.shape,
                           geometry)) {
        k.partials = workspace;
        hti_run_conv_direct(ctx, side, x, weight, y, geometry, workspace, p->partials);
        if (side == HTI_CONV_W) conv_join(ctx, &k, true);
        return;
    }
    k.partials = hti_at(packed, (int64_t)p->weight_bytes);
    k.slots = hti_at(k.partials, (int64_t)conv_partials_bytes(p));
    if (side != HTI_CONV_W && !hti_is_contiguous(&weight)) {
        k.w = hti_contiguous(packed, weight.dtype, weight.shape);
        hti_run_copy(ctx, k.w, weight);
    }
    hti_matmul_counts before = hti_matmul_enter(ctx, x.dtype, false, p->pieces > 1);
    hti_share(ctx, p->pieces, conv_piece, &k);
    hti_matmul_leave(before);
    if (side == HTI_CONV_W) conv_join(ctx, &k, false);
}

void hti_fast_conv(struct hti_kernels *kernels)
{
    kernels->conv = fast_conv;
    kernels->conv_workspace = fast_conv_workspace;
}
