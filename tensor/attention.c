/* SPDX-License-Identifier: MIT */
/* attention.c: attention and its gradient, head by head, a tile of rows of the scores at
 * a time: what is as large as (t, s) never leaves the cache. With p = softmax(scale q
 * k'), y = p v, and g the cotangent of y (FlashAttention's recomputation, Dao et al.
 * 2022, by whole rows):
 *
 *   dv = p' g,   ds = scale p (g v' - rows' sums of p g v'),   dq = ds k,   dk = ds' q
 *
 * Operands are (..., rows, heads, width), as linear layers leave them: a head is a matrix
 * whose rows lie apart. Read next: loops_attention.h, autograd's ops_attention.c. */
#include <string.h>

#include "kernels.h"
#include "loops.h"

enum {
    ATTENTION_TILE_BYTES = 64 * 1024, /* of a tile of scores */
    ATTENTION_LEAST_ROWS = 16,
    ATTENTION_SERIAL = 1 << 18 /* scores not worth a second thread */
};

typedef struct attention_plan {
    ht_dtype dtype;
    int64_t t, s, tile, units, pieces; /* units: heads; pieces: of the units */
    size_t tile_bytes, slot_bytes;     /* slot: the tiles of a piece */
} attention_plan;

static int64_t attention_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static attention_plan attention_plan_of(const ht_context *ctx, ht_dtype dtype, ht_shape q,
                                        ht_shape k, int tiles)
{
    attention_plan p = {.dtype = dtype, .t = q.dim[q.rank - 3], .s = k.dim[k.rank - 3]};
    int64_t row = p.s * (int64_t)ht_dtype_bytes(dtype);
    p.tile = attention_least(p.t, ATTENTION_TILE_BYTES / row);
    if (p.tile < ATTENTION_LEAST_ROWS)
        p.tile = attention_least(p.t, ATTENTION_LEAST_ROWS);
    p.units = q.dim[q.rank - 2];
    for (int i = 0; i < q.rank - 3; i++) p.units *= q.dim[i];
    p.pieces = attention_least(p.units, ht_context_threads(ctx));
    if (p.units * p.t * p.s < ATTENTION_SERIAL) p.pieces = attention_least(p.units, 1);
    p.tile_bytes = hti_round_up((size_t)(p.tile * row), HTI_ALIGN);
    p.slot_bytes = (size_t)tiles * p.tile_bytes;
    return p;
}

size_t hti_attention_workspace(const ht_context *ctx, ht_dtype dtype, ht_shape q,
                               ht_shape k, bool gradient)
{
    attention_plan p = attention_plan_of(ctx, dtype, q, k, gradient ? 2 : 1);
    return (size_t)p.pieces * p.slot_bytes;
}

/* What the units of a run share; dq, dk, dv and g of the gradient only. */
typedef struct attention_work {
    attention_plan p;
    const struct hti_kernels *kernels;
    ht_array q, k, v, y, g, dq, dk, dv;
    double scale;
    bool causal;
    char *slots;
} attention_work;

/* Head number `unit` of a: (rows, width). */
static ht_array attention_head(const ht_array *a, int64_t unit)
{
    int last = a->shape.rank - 1;
    int64_t heads = a->shape.dim[last - 1], offset = unit % heads * a->stride[last - 1];
    unit /= heads;
    for (int i = last - 3; i >= 0; i--) {
        offset += unit % a->shape.dim[i] * a->stride[i];
        unit /= a->shape.dim[i];
    }
    char *data = (char *)a->data + offset * (int64_t)ht_dtype_bytes(a->dtype);
    return (ht_array){data,
                      a->dtype,
                      HT_SHAPE(a->shape.dim[last - 2], a->shape.dim[last]),
                      {a->stride[last - 2], a->stride[last]}};
}

static ht_array attention_rows(ht_array a, int64_t first, int64_t n)
{
    a.data = (char *)a.data + first * a.stride[0] * (int64_t)ht_dtype_bytes(a.dtype);
    a.shape.dim[0] = n;
    return a;
}

static ht_array attention_turned(ht_array a)
{
    return (ht_array){a.data,
                      a.dtype,
                      HT_SHAPE(a.shape.dim[1], a.shape.dim[0]),
                      {a.stride[1], a.stride[0]}};
}

/* The weights of rows `first` on of a head, in `slot`. */
static ht_array attention_weights(const attention_work *w, ht_array q, ht_array k,
                                  int64_t first, char *slot)
{
    int64_t n = attention_least(w->p.tile, w->p.t - first);
    ht_array score = hti_contiguous(slot, w->p.dtype, HT_SHAPE(n, w->p.s));
    hti_matmul_tile(w->kernels, score, attention_rows(q, first, n), attention_turned(k),
                    false);
    w->kernels->attend[hti_row(w->p.dtype)](n, w->p.s, slot, w->scale,
                                            w->causal ? first + 1 : w->p.s);
    return score;
}

static void attention_unit(const attention_work *w, int64_t unit, char *slot)
{
    ht_array q = attention_head(&w->q, unit), k = attention_head(&w->k, unit),
             v = attention_head(&w->v, unit), y = attention_head(&w->y, unit);
    for (int64_t first = 0; first < w->p.t; first += w->p.tile) {
        ht_array weight = attention_weights(w, q, k, first, slot);
        hti_matmul_tile(w->kernels, attention_rows(y, first, weight.shape.dim[0]), weight,
                        v, false);
    }
}

static void attention_unit_vjp(const attention_work *w, int64_t unit, char *slot)
{
    ht_array q = attention_head(&w->q, unit), k = attention_head(&w->k, unit),
             v = attention_head(&w->v, unit), g = attention_head(&w->g, unit),
             dq = attention_head(&w->dq, unit), dk = attention_head(&w->dk, unit),
             dv = attention_head(&w->dv, unit);
    for (int64_t first = 0; first < w->p.t; first += w->p.tile) {
        ht_array weight = attention_weights(w, q, k, first, slot), slope = weight;
        int64_t n = weight.shape.dim[0];
        ht_array g_rows = attention_rows(g, first, n);
        slope.data = slot + w->p.tile_bytes;
        hti_matmul_tile(w->kernels, dv, attention_turned(weight), g_rows, first > 0);
        hti_matmul_tile(w->kernels, slope, g_rows, attention_turned(v), false);
        w->kernels->attend_slope[hti_row(w->p.dtype)](n, w->p.s, slope.data, weight.data,
                                                      w->scale);
        hti_matmul_tile(w->kernels, attention_rows(dq, first, n), slope, k, false);
        hti_matmul_tile(w->kernels, dk, attention_turned(slope),
                        attention_rows(q, first, n), first > 0);
    }
}

static void attention_units(const attention_work *w,
                            void (*run)(const attention_work *, int64_t, char *))
{
    hti_matmul_ready();
#ifdef _OPENMP
#pragma omp parallel for num_threads((int)w->p.pieces) \
    schedule(static, 1) if (w->p.pieces > 1)
#endif
    for (int64_t i = 0; i < w->p.pieces; i++) {
        int64_t last = w->p.units * (i + 1) / w->p.pieces;
        for (int64_t unit = w->p.units * i / w->p.pieces; unit < last; unit++)
            run(w, unit, w->slots + (size_t)i * w->p.slot_bytes);
    }
}

void hti_run_attention(ht_context *ctx, ht_array out, const ht_array *const *in,
                       double scale, bool causal, void *workspace)
{
    attention_work w = {
        .p = attention_plan_of(ctx, out.dtype, in[0]->shape, in[1]->shape, 1),
        .kernels = ctx->kernels,
        .q = *in[0],
        .k = *in[1],
        .v = *in[2],
        .y = out,
        .scale = scale,
        .causal = causal,
        .slots = workspace};
    if (ht_shape_count(out.shape) > 0) attention_units(&w, attention_unit);
}

/* A part of `out` from *at on, of x's shape. */
static ht_array attention_part(const ht_array *out, int64_t *at, const ht_array *x)
{
    char *data = (char *)out->data + *at * (int64_t)ht_dtype_bytes(out->dtype);
    *at += ht_shape_count(x->shape);
    return hti_contiguous(data, out->dtype, x->shape);
}

void hti_run_attention_vjp(ht_context *ctx, ht_array out, const ht_array *const *in,
                           double scale, bool causal, void *workspace)
{
    attention_work w = {
        .p = attention_plan_of(ctx, out.dtype, in[0]->shape, in[1]->shape, 2),
        .kernels = ctx->kernels,
        .q = *in[0],
        .k = *in[1],
        .v = *in[2],
        .g = *in[3],
        .scale = scale,
        .causal = causal,
        .slots = workspace};
    int64_t at = 0;
    w.dq = attention_part(&out, &at, in[0]);
    w.dk = attention_part(&out, &at, in[1]);
    w.dv = attention_part(&out, &at, in[2]);
    if (w.p.t == 0) memset(out.data, 0, (size_t)at * ht_dtype_bytes(out.dtype));
    if (at > 0) attention_units(&w, attention_unit_vjp);
}
