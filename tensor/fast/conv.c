/* SPDX-License-Identifier: MIT */
/* conv.c: convolution and its two transposes, by the first of three methods that fits:
 * in f32 conv_winograd.c, with fewer multiplications where taps are 3 x 3, or
 * conv_direct.c, without columns; else conv_columns.c, which takes all.
 *
 * Work is cut into units whose sums do not depend on the number of threads; weights are
 * summed over images in parts, however many threads there are. Read next: conv_tile.c,
 * conv_columns.c, conv_direct.c, conv_winograd.c, autograd's ops_conv.c. */
#include "conv.h"

#include <string.h>

enum {
    CONV_SERIAL = 1 << 20,        /* multiply-adds not worth a second thread */
    CONV_PARTIAL_BYTES = 8 << 20, /* of all parts of weights, unless there are two */
    CONV_MOST_PARTIALS = 8        /* hence threads, where weights are the result */
};

static int64_t conv_parts(const hti_conv *c)
{
    int64_t bytes = hti_most(1, (int64_t)c->weight_bytes);
    int64_t n = hti_least(CONV_MOST_PARTIALS, hti_most(2, CONV_PARTIAL_BYTES / bytes));
    return hti_most(1, hti_least(n, c->x.shape.dim[0]));
}

/* x of the transposed product is y of one with turned weights, and the other way: taps
 * are read backwards, and the channels and outputs of a group exchanged. */
static void conv_turn(hti_conv *c)
{
    ht_array x = c->x, w = c->w;
    int64_t *n = c->w.shape.dim, *s = c->w.stride;
    c->x = c->y, c->y = x;
    n[1] = w.shape.dim[2], n[2] = w.shape.dim[1];
    s[1] = w.stride[2], s[2] = w.stride[1];
    for (int i = 0; i < 2; i++) {
        int64_t last = n[i + 3] - 1;
        c->w.data = hti_at(c->w.data, last * s[i + 3] * (int64_t)c->size);
        s[i + 3] = -s[i + 3];
        c->g.padding[i] = last * c->g.dilation[i] - c->g.padding[i];
    }
}

static void conv_count(hti_conv *c)
{
    const int64_t *n = c->w.shape.dim;
    c->outputs = n[1], c->channels = n[2], c->taps = n[3] * n[4];
    c->terms = c->channels * c->taps;
}

hti_conv hti_conv_of(const ht_context *ctx, hti_conv_side side, const ht_array *x,
                     const ht_array *w, const ht_array *y, const hti_conv_geometry *g)
{
    const int64_t *n = w->shape.dim, *s = w->stride, outputs = n[0] / g->groups;
    hti_conv c = {.loops = ctx->loops,
                  .side = side,
                  .g = *g,
                  .x = *x,
                  .w = {w->data,
                        w->dtype,
                        {5, {g->groups, outputs, n[1], n[2], n[3]}},
                        {outputs * s[0], s[0], s[1], s[2], s[3]}},
                  .y = *y,
                  .size = ht_dtype_bytes(w->dtype)};
    conv_count(&c);
    return c;
}

static void conv_plan(const ht_context *ctx, hti_conv *c)
{
    static const hti_conv_method *const methods[] = {&hti_conv_winograd, &hti_conv_direct,
                                                     &hti_conv_columns};
    int i = 0;
    while (methods[i]->fits && !methods[i]->fits(c)) i++;
    c->method = methods[i];
    c->weight_bytes = hti_conv_bytes(c, ht_shape_count(c->w.shape));
    if (c->side == HTI_CONV_W) c->parts = conv_parts(c);
    if (c->side == HTI_CONV_X && c->method->turns) conv_turn(c);
    conv_count(c);
    c->method->plan(c);
    if (c->parts) c->sum_bytes = c->weight_bytes;
    if (!c->sum_bytes) c->whole *= c->each, c->each = 1;
    c->units = c->parts ? c->parts : c->whole;
    c->pieces = ht_shape_count(c->y.shape) * c->terms < CONV_SERIAL
                    ? 1
                    : hti_most(1, hti_least(c->units, ht_context_threads(ctx)));
}

static int64_t conv_shared_at(const hti_conv *c)
{
    return hti_most(1, c->parts) * (int64_t)c->weight_bytes;
}

static size_t fast_conv_workspace(const ht_context *ctx, hti_conv_side side,
                                  ht_dtype dtype, ht_shape x, ht_shape weight, ht_shape y,
                                  const hti_conv_geometry *geometry)
{
    ht_array a = {.dtype = dtype, .shape = x}, w = a, b = a;
    w.shape = weight, b.shape = y;
    hti_conv c = hti_conv_of(ctx, side, &a, &w, &b, geometry);
    conv_plan(ctx, &c);
    return (size_t)conv_shared_at(&c) + c.shared_bytes + (size_t)c.pieces * c.slot_bytes;
}

static void conv_unit(const hti_conv *c, int64_t unit, char *slot)
{
    int64_t last = c->whole * (unit + 1) / c->units * c->each;
    char *sum = hti_at(c->sums, unit * (int64_t)c->sum_bytes);
    if (c->sum_bytes) memset(sum, 0, c->sum_bytes);
    for (int64_t at = c->whole * unit / c->units * c->each; at < last; at++)
        c->method->tile(c, at, slot, sum);
}

static void conv_piece(const void *work, int64_t piece, int64_t next)
{
    const hti_conv *c = work;
    char *slot = hti_at(c->slots, piece * (int64_t)c->slot_bytes);
    if (c->clear_bytes) memset(slot + c->clear_at, 0, c->clear_bytes);
    int64_t last = c->units * next / c->pieces;
    for (int64_t unit = c->units * piece / c->pieces; unit < last; unit++)
        conv_unit(c, unit, slot);
}

/* The parts added up in order, into the first, and turned round into w. */
static void conv_join(ht_context *ctx, const hti_conv *c)
{
    int64_t n = (int64_t)(c->weight_bytes / c->size);
    ht_array sum = hti_contiguous(c->weights, c->w.dtype, HT_SHAPE(n)), part = sum;
    for (int64_t i = 1; i < c->parts; i++) {
        part.data = c->weights + (size_t)i * c->weight_bytes;
        hti_run_binary(ctx, HTI_BINARY_add, sum, sum, part);
    }
    if (c->method->finish) c->method->finish(c);
    sum.shape = c->w.shape;
    memcpy(sum.stride, c->stride, sizeof c->stride);
    hti_run_copy(ctx, c->w, sum);
}

static void fast_conv(ht_context *ctx, hti_conv_side side, ht_array x, ht_array weight,
                      ht_array y, const hti_conv_geometry *geometry, void *workspace)
{
    const ht_array *const result[] = {&y, &x, &weight}; /* by side */
    if (ht_shape_count(result[side]->shape) == 0) return;
    hti_conv c = hti_conv_of(ctx, side, &x, &weight, &y, geometry);
    conv_plan(ctx, &c);
    c.weights = workspace;
    c.shared = hti_at(workspace, conv_shared_at(&c));
    c.slots = hti_at(c.shared, (int64_t)c.shared_bytes);
    c.sums = c.parts ? c.weights : x.data;
    c.method->begin(ctx, &c);
    hti_matmul_counts before = hti_matmul_enter(ctx, x.dtype, false, c.pieces > 1);
    hti_share(ctx, c.pieces, conv_piece, &c);
    hti_matmul_leave(before);
    if (c.parts) conv_join(ctx, &c);
}

void hti_fast_conv(struct hti_kernels *kernels)
{
    kernels->conv = fast_conv;
    kernels->conv_workspace = fast_conv_workspace;
}
