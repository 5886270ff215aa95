/* SPDX-License-Identifier: MIT */
/* reduce.c: sums and maxima over any axes of any view.
 *
 * Axes of one kind (kept, or folded away) that lie alike are merged. Then the kept and
 * the folded axis of the smallest strides make the block that a loop reduces at once;
 * totals of up to HTI_TILE outputs stay on the stack meanwhile, in f64. A large reduction
 * to a single tile of outputs is cut into HTI_SUM_PARTS, of blocks if there are so many,
 * else along the folded axis, joined in order: by shape alone, never by the number of
 * threads. Read next: loops_reduce.h, rows.c. */
#include <math.h>
#include <stdlib.h>

#include "kernels.h"
#include "loops.h"

/* Axes of one kind, with their strides in a and in the output. The last makes the block.
 */
struct reduce_axes {
    int rank;
    int64_t dim[HT_MAX_RANK], in[HT_MAX_RANK], out[HT_MAX_RANK];
};

/* The integers are those of i32. */
union reduce_totals {
    double real[HTI_TILE];
    int64_t integer[HTI_TILE];
};

struct reduce {
    hti_reduce f;
    hti_reduce_loop loop;
    ht_dtype dtype;
    const char *in;
    char *out;
    size_t size; /* of an element */
    struct reduce_axes kept, folded;
    int64_t tiles;              /* along the last kept axis */
    union reduce_totals *parts; /* (HTI_SUM_PARTS), of the only tile */
};

static int64_t reduce_last(const struct reduce_axes *x)
{
    return x->dim[x->rank - 1];
}

/* Blocks: the product of the axes but the last. */
static int64_t reduce_blocks(const struct reduce_axes *x)
{
    int64_t n = 1;
    for (int i = 0; i < x->rank - 1; ++i) n *= x->dim[i];
    return n;
}

/* Elements from the start of an operand with these strides to block number `block`. */
static int64_t reduce_offset(const struct reduce_axes *x, const int64_t *stride,
                             int64_t block)
{
    int64_t offset = 0;
    for (int i = x->rank - 2; i >= 0; --i) {
        offset += block % x->dim[i] * stride[i];
        block /= x->dim[i];
    }
    return offset;
}

static void reduce_add_axis(struct reduce_axes *x, int64_t dim, int64_t in, int64_t out)
{
    int last = x->rank - 1;
    bool merge = x->rank > 0 && x->in[last] == in * dim && x->out[last] == out * dim;
    int at = merge ? last : x->rank++;
    x->dim[at] = merge ? x->dim[at] * dim : dim;
    x->in[at] = in;
    x->out[at] = out;
}

static void reduce_swap(int64_t *x, int i, int j)
{
    int64_t xi = x[i];
    x[i] = x[j];
    x[j] = xi;
}

/* Puts the axis of the smallest stride last, one of size 1 if there is none. */
static void reduce_choose_last(struct reduce_axes *x)
{
    if (x->rank == 0) reduce_add_axis(x, 1, 0, 0);
    int best = x->rank - 1;
    for (int i = best - 1; i >= 0; --i)
        if (llabs(x->in[i]) < llabs(x->in[best])) best = i;
    reduce_swap(x->dim, best, x->rank - 1);
    reduce_swap(x->in, best, x->rank - 1);
    reduce_swap(x->out, best, x->rank - 1);
}

static void reduce_plan(struct reduce *w, const ht_array *out, const ht_array *a,
                        unsigned axes)
{
    for (int i = 0; i < a->shape.rank; ++i) {
        int64_t dim = a->shape.dim[i];
        if (dim == 1) continue;
        if (axes & (1u << i))
            reduce_add_axis(&w->folded, dim, a->stride[i], 0);
        else
            reduce_add_axis(&w->kept, dim, a->stride[i], out->stride[i]);
    }
    reduce_choose_last(&w->kept);
    reduce_choose_last(&w->folded);
    w->tiles = (reduce_last(&w->kept) + HTI_TILE - 1) / HTI_TILE;
}

/* Outputs of a tile; *start is its place along the last kept axis. */
static int64_t reduce_tile(const struct reduce *w, int64_t tile, int64_t *start)
{
    int64_t left = reduce_last(&w->kept) - tile * HTI_TILE;
    *start = tile * HTI_TILE;
    return left < HTI_TILE ? left : HTI_TILE;
}

static bool reduce_cuts_blocks(const struct reduce *w)
{
    return reduce_blocks(&w->folded) >= HTI_SUM_PARTS;
}

/* What parts are of: folded blocks, or the last folded axis. */
static int64_t reduce_length(const struct reduce *w)
{
    return reduce_cuts_blocks(w) ? reduce_blocks(&w->folded) : reduce_last(&w->folded);
}

/* Totals of unit (a tile of a kept block), over from .. to - 1 of reduce_length. */
static void reduce_unit(const struct reduce *w, int64_t unit, int64_t from, int64_t to,
                        union reduce_totals *totals)
{
    int64_t start, n = reduce_tile(w, unit % w->tiles, &start);
    int64_t keep = w->kept.in[w->kept.rank - 1], fold = w->folded.in[w->folded.rank - 1];
    int64_t at = reduce_offset(&w->kept, w->kept.in, unit / w->tiles) + start * keep;
    int64_t block = 0, blocks = reduce_blocks(&w->folded);
    if (reduce_cuts_blocks(w)) {
        block = from, blocks = to;
        from = 0, to = reduce_last(&w->folded);
    }
    for (int64_t i = 0; i < n; ++i)
        if (w->dtype == HT_I32)
            totals->integer[i] = 0;
        else
            totals->real[i] = w->f == HTI_MAX ? -INFINITY : 0;
    for (; block < blocks; ++block) {
        int64_t offset =
            at + reduce_offset(&w->folded, w->folded.in, block) + from * fold;
        w->loop(n, keep, to - from, fold, totals, w->in + offset * (int64_t)w->size);
    }
}

static void reduce_write(const struct reduce *w, int64_t unit,
                         const union reduce_totals *totals)
{
    int64_t start, n = reduce_tile(w, unit % w->tiles, &start);
    int64_t stride = w->kept.out[w->kept.rank - 1];
    int64_t at = reduce_offset(&w->kept, w->kept.out, unit / w->tiles) + start * stride;
    for (int64_t i = 0; i < n; ++i, at += stride)
        if (w->dtype == HT_F32)
            ((float *)w->out)[at] = (float)totals->real[i];
        else if (w->dtype == HT_F64)
            ((double *)w->out)[at] = totals->real[i];
        else
            ((int32_t *)w->out)[at] = (int32_t)totals->integer[i];
}

static void reduce_units(const void *work, int64_t first, int64_t last)
{
    const struct reduce *w = work;
    union reduce_totals totals;
    for (int64_t unit = first; unit < last; ++unit) {
        reduce_unit(w, unit, 0, reduce_length(w), &totals);
        reduce_write(w, unit, &totals);
    }
}

static void reduce_parts(const void *work, int64_t first, int64_t last)
{
    const struct reduce *w = work;
    int64_t n = reduce_length(w);
    for (int64_t part = first; part < last; ++part)
        reduce_unit(w, 0, hti_sum_part(n, HTI_SUM_PARTS, part),
                    hti_sum_part(n, HTI_SUM_PARTS, part + 1), &w->parts[part]);
}

static void reduce_join(const struct reduce *w, union reduce_totals *totals,
                        const union reduce_totals *more)
{
    for (int64_t i = 0; i < reduce_last(&w->kept); ++i)
        if (w->dtype == HT_I32)
            totals->integer[i] += more->integer[i];
        else if (w->f == HTI_SUM)
            totals->real[i] += more->real[i];
        else if (more->real[i] > totals->real[i] || isnan(more->real[i]))
            totals->real[i] = more->real[i];
}

static void reduce_in_parts(const ht_context *ctx, struct reduce *w, int64_t elements)
{
    union reduce_totals parts[HTI_SUM_PARTS];
    w->parts = parts;
    hti_parallel(ctx, elements, HTI_SUM_PARTS, reduce_parts, w);
    for (int part = 1; part < HTI_SUM_PARTS; ++part)
        reduce_join(w, &parts[0], &parts[part]);
    reduce_write(w, 0, &parts[0]);
}

void hti_run_reduce(ht_context *ctx, hti_reduce f, ht_array out, ht_array a,
                    unsigned axes)
{
    struct reduce w = {.f = f, .dtype = a.dtype, .size = ht_dtype_bytes(a.dtype)};
    w.loop = ctx->kernels->reduce[f][hti_row(a.dtype)];
    HT_ASSERT(w.loop, "no reduction %d of dtype %s", (int)f, ht_dtype_name(a.dtype));
    HT_ASSERT(out.dtype == a.dtype && out.shape.rank == a.shape.rank,
              "output %s of rank %d, operand %s of rank %d", ht_dtype_name(out.dtype),
              out.shape.rank, ht_dtype_name(a.dtype), a.shape.rank);
    if (ht_shape_count(out.shape) == 0) return;
    w.in = a.data;
    w.out = out.data;
    reduce_plan(&w, &out, &a, axes);
    int64_t elements = ht_shape_count(a.shape), units = reduce_blocks(&w.kept) * w.tiles;
    if (units == 1 && elements >= HTI_SERIAL && reduce_length(&w) >= HTI_SUM_PARTS)
        reduce_in_parts(ctx, &w, elements);
    else
        hti_parallel(ctx, elements, units, reduce_units, &w);
}
