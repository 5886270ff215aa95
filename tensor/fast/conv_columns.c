/* SPDX-License-Identifier: MIT */
/* conv_columns.c: convolution and its two transposes as matrix products. A group of one
 * image becomes a matrix of *columns* (im2col): one row per (channel, tap), one column
 * per output position. It is made for a few rows of the output at a time, so that it
 * stays in the second cache, and is never kept:
 *
 *   y = weight . columns(x),   x += columns'(weight' . y),   weight += y . columns(x)'
 *
 * with columns' the transpose of columns. Read next: conv_direct.c, matmul.h. */
#include <string.h>

#include "conv.h"

enum { COLUMNS_TILE_BYTES = 512 * 1024 /* of one tile */ };

/* A block of a row of columns, `rows` times n, `pitch` apart, and the elements of x it
 * stands for. */
typedef void (*columns_block_fn)(const struct hti_loops *loops, int64_t rows, int64_t n,
                                 void *columns, int64_t pitch, void *x,
                                 const int64_t stride[2]);

#define COLUMNS_BLOCKS(s, T, D)                                                         \
    static void columns_gather_##s(const struct hti_loops *loops, int64_t rows,         \
                                   int64_t n, void *columns, int64_t pitch, void *x,    \
                                   const int64_t stride[2])                             \
    {                                                                                   \
        T *o = columns;                                                                 \
        const T *a = x;                                                                 \
        (void)loops;                                                                    \
        for (int64_t r = 0; r < rows; r++, o += pitch, a += stride[0])                  \
            if (stride[1] == 1)                                                         \
                memcpy(o, a, (size_t)n * sizeof *o);                                    \
            else                                                                        \
                for (int64_t j = 0; j < n; j++) o[j] = a[j * stride[1]];                \
    }                                                                                   \
                                                                                        \
    static void columns_scatter_##s(const struct hti_loops *loops, int64_t rows,        \
                                    int64_t n, void *columns, int64_t pitch, void *x,   \
                                    const int64_t stride[2])                            \
    {                                                                                   \
        const T *a = columns;                                                           \
        T *o = x;                                                                       \
        hti_loop add = loops->binary[HTI_BINARY_add][hti_row(D)][0];                    \
        for (int64_t r = 0; r < rows; r++, a += pitch, o += stride[0])                  \
            if (stride[1] == 1)                                                         \
                add(n, o, (const void *[]){o, a});                                      \
            else                                                                        \
                for (int64_t j = 0; j < n; j++) o[j * stride[1]] += a[j];               \
    }                                                                                   \
                                                                                        \
    static void columns_sides_##s(int64_t rows, int64_t width, const int64_t inside[2], \
                                  void *columns)                                        \
    {                                                                                   \
        T *o = columns;                                                                 \
        for (int64_t j = 0; j < width; j++)                                             \
            for (int64_t r = j < inside[0] || j >= inside[1] ? 0 : rows; r < rows; r++) \
                o[r * width + j] = 0;                                                   \
    }

COLUMNS_BLOCKS(f32, float, HT_F32)
COLUMNS_BLOCKS(f64, double, HT_F64)

static size_t columns_bytes(const hti_conv *c)
{
    return hti_conv_bytes(c, c->terms * c->tile * c->y.shape.dim[3]);
}

/* Tiles of an x overlap, and are summed. Parts of weights are transposed, each group
 * (terms, outputs), since BLAS is slow at the other way of this product. */
static void columns_plan(hti_conv *c)
{
    const int64_t *x = c->x.shape.dim, *y = c->y.shape.dim;
    int64_t row = hti_most(1, c->terms * y[3] * (int64_t)c->size);
    c->tile = hti_most(1, hti_least(y[2], COLUMNS_TILE_BYTES / row));
    c->tiles = (y[2] + c->tile - 1) / c->tile;
    c->tile = hti_most(1, (y[2] + c->tiles - 1) / hti_most(1, c->tiles));
    c->whole = x[0], c->each = c->g.groups * c->tiles;
    c->slot_bytes = columns_bytes(c);
    if (c->side != HTI_CONV_Y)
        c->slot_bytes += hti_conv_bytes(c, c->outputs * c->tile * y[3]);
    if (c->side == HTI_CONV_X) {
        c->whole = x[0] * c->g.groups, c->each = c->tiles;
        c->sum_bytes = (size_t)(c->channels * x[2] * x[3]) * c->size;
    }
    int64_t stride[] = {c->outputs * c->terms, 1, c->taps * c->outputs,
                        c->w.shape.dim[4] * c->outputs, c->outputs};
    memcpy(c->stride, stride, sizeof stride);
}

/* Rows of x's planes that follow on another, element by element: the matrix itself can be
 * read as columns where the kernel is one tap. */
static bool columns_are_plain(const hti_conv *c)
{
    const hti_conv_geometry *g = &c->g;
    const ht_array *x = &c->x;
    return c->terms == c->channels && g->stride[0] == 1 && g->stride[1] == 1 &&
           !g->padding[0] && !g->padding[1] && x->stride[3] == 1 &&
           x->stride[2] == x->shape.dim[3] &&
           x->stride[1] >= x->shape.dim[2] * x->shape.dim[3];
}

/* A tile's positions of planes that lie so: `channels` from one on. */
static hti_matmul_view columns_in_place(const hti_conv *c, const hti_conv_tile *t,
                                        const ht_array *a, int64_t channels)
{
    char *plane = hti_conv_plane(a, t->image, t->group * channels);
    return (hti_matmul_view){hti_at(plane, t->first * a->stride[2] * (int64_t)c->size),
                             a->dtype,
                             channels,
                             t->rows * c->y.shape.dim[3],
                             a->stride[1],
                             1};
}

static hti_matmul_view columns_packed(const hti_conv *c, const hti_conv_tile *t, char *at,
                                      int64_t rows)
{
    int64_t positions = t->rows * c->y.shape.dim[3];
    return (hti_matmul_view){at, c->x.dtype, rows, positions, positions, 1};
}

/* The i of one axis of the output whose element i*stride - padding + tap*dilation is
 * inside x, among from .. to-1. */
static void columns_span(const hti_conv *c, int axis, int64_t tap, int64_t from,
                         int64_t to, int64_t span[2])
{
    const hti_conv_geometry *g = &c->g;
    int64_t step = g->stride[axis], shift = g->padding[axis] - tap * g->dilation[axis];
    int64_t past = c->x.shape.dim[axis + 2] + shift; /* inside: shift <= i*step < past */
    span[0] = shift > 0 ? (shift + step - 1) / step : 0;
    span[1] = past > 0 ? (past + step - 1) / step : 0;
    span[0] = hti_least(to, hti_most(from, span[0]));
    span[1] = hti_least(to, hti_most(span[0], span[1]));
}

/* Zeros in a row of columns, (rows, width), outside of rows i and columns j. */
static void columns_frame(const hti_conv *c, char *columns, int64_t rows,
                          const int64_t *i, const int64_t *j)
{
    int64_t width = c->y.shape.dim[3], bytes = width * (int64_t)c->size;
    memset(columns, 0, (size_t)(i[0] * bytes));
    memset(columns + i[1] * bytes, 0, (size_t)((rows - i[1]) * bytes));
    columns += i[0] * bytes;
    if (c->x.dtype == HT_F32)
        columns_sides_f32(i[1] - i[0], width, j, columns);
    else
        columns_sides_f64(i[1] - i[0], width, j, columns);
}

/* One row of columns: a channel and tap (p, q). Where its rows lie as x's do, the frame's
 * zeros let them pass as a single run. */
static void columns_walk_row(const hti_conv *c, const hti_conv_tile *t, int64_t channel,
                             int64_t p, int64_t q, char *columns, bool gather)
{
    static const columns_block_fn blocks[2][2] = {
        {columns_scatter_f32, columns_scatter_f64},
        {columns_gather_f32, columns_gather_f64}};
    const hti_conv_geometry *g = &c->g;
    const ht_array *x = &c->x;
    int64_t i[2], j[2], width = c->y.shape.dim[3];
    columns_span(c, 0, p, t->first, t->first + t->rows, i);
    columns_span(c, 1, q, 0, width, j);
    int64_t rows = i[1] - i[0], n = j[1] - j[0], first = i[0] - t->first;
    int64_t y = i[0] * g->stride[0] - g->padding[0] + p * g->dilation[0];
    int64_t left = j[0] * g->stride[1] - g->padding[1] + q * g->dilation[1];
    char *plane = hti_conv_plane(x, t->image, t->group * c->channels + channel);
    int64_t stride[2] = {g->stride[0] * x->stride[2], g->stride[1] * x->stride[3]};
    bool run = rows > 0 && n > 0 && stride[1] == 1 && stride[0] == width;
    const int64_t inside[2] = {first, first + rows};
    if (!gather && run) columns_frame(c, columns, t->rows, inside, j);
    if (rows > 0 && n > 0)
        blocks[gather][c->x.dtype == HT_F64](
            c->loops, run ? 1 : rows, run ? (rows - 1) * width + n : n,
            columns + (first * width + j[0]) * (int64_t)c->size, width,
            hti_at(plane, (y * x->stride[2] + left * x->stride[3]) * (int64_t)c->size),
            stride);
    if (gather) columns_frame(c, columns, t->rows, inside, j);
}

static void columns_walk(const hti_conv *c, const hti_conv_tile *t, char *columns,
                         bool gather)
{
    int64_t bytes = t->rows * c->y.shape.dim[3] * (int64_t)c->size;
    for (int64_t channel = 0; channel < c->channels; channel++)
        for (int64_t p = 0; p < c->w.shape.dim[3]; p++)
            for (int64_t q = 0; q < c->w.shape.dim[4]; q++, columns += bytes)
                columns_walk_row(c, t, channel, p, q, columns, gather);
}

/* The tile of y as (outputs, positions), packed where BLAS could not read it. */
static hti_matmul_view columns_y(const hti_conv *c, const hti_conv_tile *t, char *slot)
{
    const ht_array *y = &c->y;
    const int64_t *n = y->shape.dim;
    if (y->stride[3] == 1 && y->stride[2] == n[3] && y->stride[1] >= n[2] * n[3])
        return columns_in_place(c, t, y, c->outputs);
    hti_matmul_view packed = columns_packed(c, t, slot + columns_bytes(c), c->outputs);
    hti_conv_pack_y(c, t, packed.data, packed.row);
    return packed;
}

static void columns_tile(const hti_conv *c, int64_t at, char *slot, char *sum)
{
    hti_conv_tile t = hti_conv_tile_at(c, at);
    bool plain = columns_are_plain(c);
    int64_t group = t.group * c->outputs * c->terms * (int64_t)c->size;
    hti_matmul_view y = columns_y(c, &t, slot);
    hti_matmul_view columns = plain ? columns_in_place(c, &t, &c->x, c->channels)
                                    : columns_packed(c, &t, slot, c->terms);
    hti_matmul_view w = {
        hti_at(c->w.data, group), c->w.dtype, c->outputs, c->terms, c->terms, 1};
    if (c->side == HTI_CONV_X) {
        hti_matmul_tile(c->loops, columns, hti_matmul_transposed(w), y, false);
        if (!plain) columns_walk(c, &t, slot, false);
        return;
    }
    if (!plain) columns_walk(c, &t, slot, true);
    if (c->side == HTI_CONV_Y) {
        hti_matmul_tile(c->loops, y, w, columns, false);
        return;
    }
    hti_matmul_view part = {sum + group, c->w.dtype, c->terms, c->outputs, c->outputs, 1};
    hti_matmul_tile(c->loops, part, columns, hti_matmul_transposed(y), true);
}

const hti_conv_method hti_conv_columns = {
    .plan = columns_plan, .begin = hti_conv_pack_weights, .tile = columns_tile};
