/* SPDX-License-Identifier: MIT */
/* attention.c: attention, its gradient, and the tangents of both, head by head, a tile of
 * scores at a time: what is as large as (t, s) never leaves the cache. With
 * p = softmax(scale q k'), y = p v, and g the cotangent of y (FlashAttention's
 * recomputation, Dao et al. 2022, by whole rows):
 *
 *   dv = p' g,   ds = scale p (g v' - rows' sums of p g v'),   dq = ds k,   dk = ds' q
 *
 * A tile is p' or ds' of some queries, one a column: then a softmax goes down columns,
 * and no sum across a vector.
 *
 * What a query does not see must not reach it, and 0 times NaN or infinity is NaN. Keys
 * past a tile's last query are left out, and the weights of what its others do not see
 * are 0, and so their slopes, as long as all numbers on the way are finite. Heads whose
 * operands do not promise that go query by query, tiles of one, in which all keys are
 * seen. There a query whose cotangent is 0 has no part in the gradient, whatever its
 * weights are.
 *
 * Every matrix but the outputs is a *dual*: itself and, where tangents are asked for, its
 * tangent, that of a product being a.t b.x + a.x b.t, and that of p being to the tangent
 * of q k' what ds is to g v'. Operands are (..., rows, heads, width), as linear layers
 * leave them: a head is a matrix whose rows lie apart. Read next: loops_attention.h,
 * autograd's ops_attention.c. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "loops.h"
#include "matmul.h"

enum {
    ATTENTION_TILE_BYTES = 64 * 1024, /* of a tile of scores */
    ATTENTION_COLUMNS = 32,           /* as many as a product takes at once, or more */
    ATTENTION_SERIAL = 1 << 18        /* scores not worth a second thread */
};

typedef struct attention_plan {
    ht_dtype dtype;
    int64_t t, s, tile, units, pieces; /* units: heads; pieces: of the units */
    size_t tile_bytes, slot_bytes;     /* slot: the tiles of a piece */
} attention_plan;

static attention_plan attention_plan_of(const ht_context *ctx, ht_dtype dtype, ht_shape q,
                                        ht_shape k, const hti_attention *what)
{
    attention_plan p = {.dtype = dtype, .t = q.dim[q.rank - 3], .s = k.dim[k.rank - 3]};
    int64_t row = p.s * (int64_t)ht_dtype_bytes(dtype);
    p.tile = ATTENTION_TILE_BYTES / row / ATTENTION_COLUMNS * ATTENTION_COLUMNS;
    if (p.tile < ATTENTION_COLUMNS) p.tile = ATTENTION_COLUMNS;
    p.tile = hti_least(p.tile, p.t);
    p.units = q.dim[q.rank - 2];
    for (int i = 0; i < q.rank - 3; i++) p.units *= q.dim[i];
    p.pieces = hti_least(p.units, ht_context_threads(ctx));
    if (p.units * p.t * p.s < ATTENTION_SERIAL) p.pieces = hti_least(p.units, 1);
    p.tile_bytes = hti_round_up((size_t)(p.tile * row), HTI_ALIGN);
    p.slot_bytes = p.tile_bytes << (what->gradient + what->tangent);
    return p;
}

static size_t fast_attention_workspace(const ht_context *ctx, ht_dtype dtype, ht_shape q,
                                       ht_shape k, const hti_attention *what)
{
    attention_plan p = attention_plan_of(ctx, dtype, q, k, what);
    return (size_t)p.pieces * p.slot_bytes;
}

/* Of a tangent that is absent, t.data is NULL. */
typedef struct attention_dual {
    hti_matmul_view x, t;
} attention_dual;

/* What the units of a run share. in: q, k, v, g; out: y, or dq, dk, dv. */
typedef struct attention_work {
    attention_plan p;
    hti_attention what;
    const struct hti_loops *loops;
    ht_array in[4][2]; /* and its tangent, of data NULL if absent */
    ht_array out[3];
    char *slots;
} attention_work;

/* Head number `unit` of a: (rows, width). */
static hti_matmul_view attention_head(const ht_array *a, int64_t unit)
{
    if (!a->data) return (hti_matmul_view){0};
    int last = a->shape.rank - 1;
    int64_t heads = a->shape.dim[last - 1], offset = unit % heads * a->stride[last - 1];
    offset += hti_offset_along(last - 2, a->shape.dim, a->stride, unit / heads);
    return (hti_matmul_view){hti_at(a->data, offset * (int64_t)ht_dtype_bytes(a->dtype)),
                             a->dtype,
                             a->shape.dim[last - 2],
                             a->shape.dim[last],
                             a->stride[last - 2],
                             a->stride[last]};
}

static attention_dual attention_rows(attention_dual a, int64_t first, int64_t last)
{
    return (attention_dual){hti_matmul_rows(a.x, first, last),
                            hti_matmul_rows(a.t, first, last)};
}

static attention_dual attention_turned(attention_dual a)
{
    return (attention_dual){hti_matmul_transposed(a.x), hti_matmul_transposed(a.t)};
}

/* out = 0, if not `add`. */
static void attention_clear(hti_matmul_view out, bool add)
{
    size_t bytes = (size_t)out.cols * ht_dtype_bytes(out.dtype);
    for (int64_t i = 0; !add && i < out.rows; i++)
        memset(hti_matmul_rows(out, i, i + 1).data, 0, bytes);
}

/* out = the tangent of a b, or += if `add`. */
static void attention_tangent(const attention_work *w, hti_matmul_view out,
                              attention_dual a, attention_dual b, bool add)
{
    if (a.t.data) hti_matmul_tile(w->loops, out, a.t, b.x, add), add = true;
    if (b.t.data) hti_matmul_tile(w->loops, out, a.x, b.t, add), add = true;
    attention_clear(out, add);
}

/* out = what is asked for of a b, or += if `add`. */
static void attention_out(const attention_work *w, hti_matmul_view out, attention_dual a,
                          attention_dual b, bool add)
{
    if (w->what.tangent)
        attention_tangent(w, out, a, b, add);
    else
        hti_matmul_tile(w->loops, out, a.x, b.x, add);
}

/* a b' in tile number `tile` of a slot, its tangent in the next, if that is needed. */
static attention_dual attention_pairs(const attention_work *w, attention_dual a,
                                      attention_dual b, char *slot, int tile)
{
    slot += (size_t)(tile << w->what.tangent) * w->p.tile_bytes;
    int64_t n = b.x.rows;
    attention_dual pairs = {.x = {slot, w->p.dtype, a.x.rows, n, n, 1}};
    b = attention_turned(b);
    hti_matmul_tile(w->loops, pairs.x, a.x, b.x, false);
    if (w->what.tangent) {
        pairs.t = pairs.x;
        pairs.t.data = slot + w->p.tile_bytes;
        attention_tangent(w, pairs.t, a, b, false);
    }
    return pairs;
}

/* The weights of queries `first` on of a head, q those, by columns. */
static attention_dual attention_weights(const attention_work *w, attention_dual q,
                                        attention_dual k, int64_t first, char *slot)
{
    attention_dual p = attention_pairs(w, k, q, slot, 0);
    int64_t m = p.x.rows, n = p.x.cols, row = hti_row(w->p.dtype);
    w->loops->attend[row](m, n, p.x.data, w->what.scale, w->what.causal ? first + 1 : m);
    if (w->what.tangent)
        w->loops->attend_slope[row](m, n, p.t.data, p.x.data, w->what.scale);
    return p;
}

/* The scores' cotangent from p and v g', in place of the latter. */
static void attention_slope(const attention_work *w, attention_dual p, attention_dual u)
{
    int64_t m = p.x.rows, n = p.x.cols, row = hti_row(w->p.dtype);
    if (w->what.tangent)
        w->loops->attend_bend[row](m, n, (void *[]){u.x.data, u.t.data},
                                   (const void *[]){p.x.data, p.t.data}, w->what.scale);
    else
        w->loops->attend_slope[row](m, n, u.x.data, p.x.data, w->what.scale);
}

/* Queries first .. last-1 of a head. Of keys, those the last of them sees. dk and dv are
 * added to, if `add`. */
static void attention_tile(const attention_work *w, const attention_dual *in,
                           const hti_matmul_view *out, int64_t first, int64_t last,
                           bool add, char *slot)
{
    int64_t seen = w->what.causal ? hti_least(last, w->p.s) : w->p.s;
    attention_dual q = attention_rows(in[0], first, last),
                   k = attention_rows(in[1], 0, seen), v = attention_rows(in[2], 0, seen);
    attention_dual p = attention_weights(w, q, k, first, slot);
    hti_matmul_view rows = hti_matmul_rows(out[0], first, last);
    if (!w->what.gradient) {
        attention_out(w, rows, attention_turned(p), v, false);
        return;
    }
    attention_dual g = attention_rows(in[3], first, last);
    attention_out(w, hti_matmul_rows(out[2], 0, seen), p, g, add);
    attention_dual slope = attention_pairs(w, v, g, slot, 1);
    attention_slope(w, p, slope);
    attention_out(w, rows, attention_turned(slope), k, false);
    attention_out(w, hti_matmul_rows(out[1], 0, seen), slope, q, add);
}

/* Asks for a head's rows, which lie too far apart for the processor to foresee them. */
static void attention_fetch(hti_matmul_view head)
{
    int64_t size = (int64_t)ht_dtype_bytes(head.dtype), bytes = head.cols * size;
    if (head.col != 1 || bytes == 0) return;
    for (int64_t i = 0; i < head.rows; i++) {
        uintptr_t at = (uintptr_t)head.data + (uintptr_t)(i * head.row * size);
        uintptr_t end = at + (uintptr_t)bytes;
        for (at -= at % HTI_ALIGN; at < end; at += HTI_ALIGN)
            __builtin_prefetch((const void *)at, 0, 2);
    }
}

static void attention_fetch_unit(const attention_work *w, int64_t unit)
{
    for (int i = 0; i < 3 + w->what.gradient; i++)
        for (int k = 0; k < 2; k++) attention_fetch(attention_head(&w->in[i][k], unit));
    for (int i = 0; i < (w->what.gradient ? 3 : 1); i++)
        attention_fetch(attention_head(&w->out[i], unit));
}

/* The largest magnitude in the entry of the batch that `unit` is of, all its heads: rows
 * of heads side by side are one run of memory, and so may be all of them. */
static double attention_largest(const attention_work *w, const ht_array *x, int64_t unit)
{
    int last = x->shape.rank - 1;
    int64_t heads = x->shape.dim[last - 1], width = x->shape.dim[last];
    int64_t first = unit / heads * heads, rows = x->shape.dim[last - 2], run = width;
    bool one_run = x->stride[last] == 1;
    if (one_run && x->stride[last - 1] == width) run *= heads, heads = 1;
    if (one_run && heads == 1 && x->stride[last - 2] == run) run *= rows, rows = 1;
    double most = 0;
    for (int64_t k = first; k < first + heads; k++)
        for (int64_t i = 0; i < rows && isfinite(most); i++) {
            hti_matmul_view row = hti_matmul_rows(attention_head(x, k), i, i + 1);
            double here =
                w->loops->attend_largest[hti_row(w->p.dtype)](run, row.data, row.col);
            if (!(here <= most)) most = here;
        }
    return most;
}

/* No element of operand i or of its tangent, in this entry of the batch, is larger. */
static double attention_size(const attention_work *w, int i, int64_t unit)
{
    double size = 1 + attention_largest(w, &w->in[i][0], unit);
    return w->in[i][1].data ? size + attention_largest(w, &w->in[i][1], unit) : size;
}

/* Whether what stands where nothing is seen is finite, and so 0 times it 0: values and,
 * for tangents, scores'; for a gradient, where queries meet in a sum, the weights, slopes
 * and all operands of the last products. */
static bool attention_tame(const attention_work *w, int64_t unit)
{
    double most = (w->p.dtype == HT_F32 ? (double)FLT_MAX : DBL_MAX) / 16;
    const ht_shape *q = &w->in[0][0].shape, *v = &w->in[2][0].shape;
    double values = attention_size(w, 2, unit), scores = 1;
    if (w->what.gradient || w->what.tangent)
        scores = (double)q->dim[q->rank - 1] * attention_size(w, 0, unit) *
                 attention_size(w, 1, unit);
    if (w->what.gradient)
        values *= (double)v->dim[v->rank - 1] * attention_size(w, 3, unit);
    return values < most && scores < most &&
           (!w->what.gradient || !w->what.tangent || values * scores < most);
}

/* Whether all of x and its tangent is 0. */
static bool attention_zero(attention_dual x)
{
    for (int k = 0; k < 2; k++) {
        ht_array a = {.data = k ? x.t.data : x.x.data, .dtype = x.x.dtype};
        int64_t step = k ? x.t.col : x.x.col;
        for (int64_t i = 0; a.data && i < x.x.cols; i++)
            if (hti_read(&a, i * step) != 0) return false;
    }
    return true;
}

static void attention_by_query(const attention_work *w, const attention_dual *in,
                               const hti_matmul_view *out, char *slot)
{
    for (int i = 1; w->what.gradient && i < 3; i++) attention_clear(out[i], false);
    for (int64_t i = 0; i < w->p.t; i++)
        if (w->what.gradient && attention_zero(attention_rows(in[3], i, i + 1)))
            attention_clear(hti_matmul_rows(out[0], i, i + 1), false);
        else
            attention_tile(w, in, out, i, i + 1, true, slot);
}

/* The last tile first, for it sees all keys that are seen at all. */
static void attention_by_tile(const attention_work *w, const attention_dual *in,
                              const hti_matmul_view *out, char *slot)
{
    int64_t unseen = w->what.causal && w->what.gradient ? w->p.s - w->p.t : 0;
    for (int i = 1; unseen > 0 && i < 3; i++)
        attention_clear(hti_matmul_rows(out[i], w->p.t, w->p.s), false);
    int64_t first = (w->p.t - 1) / w->p.tile * w->p.tile;
    for (; first >= 0; first -= w->p.tile) {
        int64_t last = hti_least(first + w->p.tile, w->p.t);
        attention_tile(w, in, out, first, last, last < w->p.t, slot);
    }
}

static void attention_unit(const attention_work *w, int64_t unit, bool tame, char *slot)
{
    attention_dual in[4];
    hti_matmul_view out[3];
    for (int i = 0; i < 3 + w->what.gradient; i++)
        in[i] = (attention_dual){attention_head(&w->in[i][0], unit),
                                 attention_head(&w->in[i][1], unit)};
    for (int i = 0; i < (w->what.gradient ? 3 : 1); i++)
        out[i] = attention_head(&w->out[i], unit);
    (tame ? attention_by_tile : attention_by_query)(w, in, out, slot);
}

static void attention_share(const void *work, int64_t piece, int64_t next)
{
    const attention_work *w = work;
    int64_t first = w->p.units * piece / w->p.pieces;
    int64_t last = w->p.units * next / w->p.pieces;
    char *slot = w->slots + (size_t)piece * w->p.slot_bytes;
    const ht_shape *q = &w->in[0][0].shape;
    bool tame = true;
    for (int64_t unit = first; unit < last; unit++) {
        if (w->what.causal && (unit == first || unit % q->dim[q->rank - 2] == 0))
            tame = attention_tame(w, unit);
        if (unit + 1 < last) attention_fetch_unit(w, unit + 1);
        attention_unit(w, unit, tame, slot);
    }
}

static void attention_units(const ht_context *ctx, const attention_work *w)
{
    hti_matmul_counts before = hti_matmul_enter(ctx, w->p.dtype, false, w->p.pieces > 1);
    hti_share(ctx, w->p.pieces, attention_share, w);
    hti_matmul_leave(before);
}

/* Whether a is a view of a single 0. */
static bool attention_absent(const ht_array *a)
{
    if (ht_shape_count(a->shape) == 0) return true;
    for (int i = 0; i < a->shape.rank; i++)
        if (a->shape.dim[i] > 1 && a->stride[i] != 0) return false;
    return hti_read(a, 0) == 0;
}

/* A part of `out` from *at on, of x's shape. */
static ht_array attention_part(const ht_array *out, int64_t *at, const ht_array *x)
{
    char *data = hti_at(out->data, *at * (int64_t)ht_dtype_bytes(out->dtype));
    *at += ht_shape_count(x->shape);
    return hti_contiguous(data, out->dtype, x->shape);
}

static void fast_attention(ht_context *ctx, ht_array out, const ht_array *const *in,
                           const hti_attention *what, void *workspace)
{
    attention_work w = {
        .p = attention_plan_of(ctx, out.dtype, in[0]->shape, in[1]->shape, what),
        .what = *what,
        .loops = ctx->loops,
        .out = {out},
        .slots = workspace};
    int n = 3 + what->gradient;
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        w.in[i][0] = *in[i];
        if (what->tangent && !attention_absent(in[n + i])) w.in[i][1] = *in[n + i];
        if (what->gradient && i < 3) w.out[i] = attention_part(&out, &at, in[i]);
    }
    size_t bytes = (size_t)ht_shape_count(out.shape) * ht_dtype_bytes(out.dtype);
    if (bytes > 0 && w.p.t == 0)
        memset(out.data, 0, bytes);
    else if (bytes > 0)
        attention_units(ctx, &w);
}

void hti_fast_attention(struct hti_kernels *kernels)
{
    kernels->attention = fast_attention;
    kernels->attention_workspace = fast_attention_workspace;
}
