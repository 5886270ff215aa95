/* SPDX-License-Identifier: MIT */
/* reduce.c: sums and maxima over any axes of any view.
 *
 * Axes of one kind (kept, or folded away) that lie alike are merged. Then the kept and
 * the folded axis of the smallest strides make the block that a loop reduces at once;
 * totals of up to HTI_TILE outputs stay on the stack meanwhile, in f64. A large reduction
 * to a single tile of outputs is cut into HTI_SUM_PARTS, of blocks if there are so many,
 * else along the folded axis, joined in order: by shape alone, never by the number of
 * threads. A mean, a variance and a norm are one to three passes of sums in f64 about a
 * centre. What leaves the range of f64 on its way is added once more at another scale.
 * Read next: loops_reduce.h, loops_moment.h, rows.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    const ht_context *ctx;
    hti_reduce f;
    hti_reduce_loop loop;   /* NULL: a moment */
    hti_moment_loop moment; /* of this pass, about centre, all times scale */
    const double *centre;
    double scale, divisor;
    ht_dtype dtype;
    const char *in;
    void *out;
    size_t size; /* of an element */
    int64_t elements;
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
    return hti_offset_along(x->rank - 1, x->dim, stride, block);
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

/* What goes into one output. */
static int64_t reduce_count(const struct reduce *w)
{
    return reduce_blocks(&w->folded) * reduce_last(&w->folded);
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
        const char *a = w->in + offset * (int64_t)w->size;
        if (w->loop)
            w->loop(n, keep, to - from, fold, totals, a);
        else
            w->moment(n, keep, to - from, fold, totals->real, a, w->centre, w->scale);
    }
}

static void reduce_write(const struct reduce *w, int64_t unit,
                         const union reduce_totals *totals)
{
    int64_t start, n = reduce_tile(w, unit % w->tiles, &start);
    int64_t stride = w->kept.out[w->kept.rank - 1];
    int64_t at = reduce_offset(&w->kept, w->kept.out, unit / w->tiles) + start * stride;
    for (int64_t i = 0; i < n; ++i, at += stride)
        if (w->dtype == HT_F32 && w->f == HTI_MEAN)
            ((float *)w->out)[at] = (float)(totals->real[i] / (double)reduce_count(w));
        else if (w->dtype == HT_F32)
            ((float *)w->out)[at] = (float)totals->real[i];
        else if (w->dtype == HT_F64)
            ((double *)w->out)[at] = totals->real[i];
        else
            ((int32_t *)w->out)[at] = (int32_t)totals->integer[i];
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
        else if (w->f != HTI_MAX)
            totals->real[i] += more->real[i];
        else if (more->real[i] > totals->real[i] || isnan(more->real[i]))
            totals->real[i] = more->real[i];
}

/* All of a reduction to a single tile of outputs. */
static void reduce_in_parts(struct reduce *w, union reduce_totals *totals)
{
    union reduce_totals parts[HTI_SUM_PARTS];
    w->parts = parts;
    hti_parallel(w->ctx, w->elements, HTI_SUM_PARTS, reduce_parts, w);
    *totals = parts[0];
    for (int part = 1; part < HTI_SUM_PARTS; ++part) reduce_join(w, totals, &parts[part]);
}

static bool reduce_has_parts(const struct reduce *w)
{
    return w->elements >= HTI_SERIAL && reduce_length(w) >= HTI_SUM_PARTS &&
           w->tiles * reduce_blocks(&w->kept) == 1;
}

/* Totals of sums that left the range once more: the blocks of f32 that did in f64, those
 * of f64 out of smaller numbers. */
static void reduce_again(const struct reduce *w, int64_t unit,
                         union reduce_totals *totals)
{
    double lost = 0, scale = w->dtype == HT_F64 ? HTI_SMALL : 1;
    if (w->f != HTI_SUM || w->dtype == HT_I32) return;
    int64_t start, n = reduce_tile(w, unit % w->tiles, &start);
    for (int64_t i = 0; i < n; ++i) lost += totals->real[i] - totals->real[i];
    if (lost == 0) return;
    struct reduce pass = *w;
    pass.loop = w->ctx->loops->reduce[HTI_SUM_AGAIN][hti_row(w->dtype)];
    union reduce_totals again;
    if (reduce_has_parts(w))
        reduce_in_parts(&pass, &again);
    else
        reduce_unit(&pass, unit, 0, reduce_length(w), &again);
    for (int64_t i = 0; i < n; ++i)
        if (!isfinite(totals->real[i])) totals->real[i] = again.real[i] / scale;
}

/* Moments. */

/* One pass: totals of (a - centre)^power, all times scale. */
static void moment_pass(const struct reduce *w, int64_t unit, int power, double scale,
                        const double *centre, double *total)
{
    struct reduce pass = *w;
    union reduce_totals totals;
    int64_t start, n = reduce_tile(w, unit % w->tiles, &start);
    pass.moment = w->ctx->loops->moment[power - 1][hti_row(w->dtype)];
    pass.scale = scale;
    pass.centre = centre;
    if (reduce_has_parts(w))
        reduce_in_parts(&pass, &totals);
    else
        reduce_unit(&pass, unit, 0, reduce_length(w), &totals);
    memcpy(total, totals.real, (size_t)n * sizeof *total);
}

/* The mean; a sum past the range of f64 is made of smaller numbers. What is left of the
 * numbers about it is added: of equal ones nothing is left. Its rounding goes to rest. */
static void moment_means(const struct reduce *w, int64_t unit, int64_t n, double *mean,
                         double *rest)
{
    const double zero[HTI_TILE] = {0};
    double count = (double)reduce_count(w);
    bool large = false;
    moment_pass(w, unit, 1, 1, zero, mean);
    for (int64_t i = 0; i < n; ++i) large = large || !isfinite(mean[i]);
    if (large) moment_pass(w, unit, 1, HTI_SMALL, zero, rest);
    for (int64_t i = 0; i < n; ++i)
        mean[i] = isfinite(mean[i]) ? mean[i] / count : rest[i] / count / HTI_SMALL;
    moment_pass(w, unit, 1, 1, mean, rest);
    for (int64_t i = 0; i < n; ++i) {
        double first = mean[i], left = isfinite(rest[i]) ? rest[i] / count : 0;
        mean[i] = first + left;
        rest[i] = (first - mean[i]) + left;
    }
}

/* The variance or norm from squares times scale^2, about a centre off by rest. */
static double moment_value(const struct reduce *w, double squares, double rest,
                           double scale)
{
    if (w->f == HTI_VARIANCE) {
        double off = rest * scale;
        squares -= (double)reduce_count(w) * (off * off);
        return (squares < 0 ? 0 : squares) / w->divisor / scale / scale;
    }
    double root = sqrt(squares), norm = root / scale;
    hti_norm_range range = hti_norm_range_of(w->dtype);
    if (w->dtype == HT_F32) norm = (double)(float)norm;
    if (w->f == HTI_SCALED_NORM && norm > range.most) root *= range.down;
    if (w->f == HTI_SCALED_NORM && norm < range.least) root *= range.up;
    return root / scale;
}

/* Squares about the centre (n), which is off by rest; what is too large or too small for
 * them once more, at a scale at which it is not (there what equals a large centre may be
 * infinite). */
static void moment_squares(const struct reduce *w, int64_t unit, int64_t n,
                           const double *centre, const double *rest, double *value)
{
    const double scale[2] = {0x1p-600, 0x1p600};
    double squares[HTI_TILE], more[HTI_TILE];
    bool any[2] = {false, false};
    moment_pass(w, unit, 2, 1, centre, squares);
    for (int64_t i = 0; i < n; ++i) {
        value[i] = moment_value(w, squares[i], rest[i], 1);
        any[0] = any[0] || !(squares[i] < INFINITY);
        any[1] = any[1] || squares[i] < 0x1p-900;
    }
    for (int k = 0; k < 2; ++k) {
        if (!any[k] || w->dtype == HT_F32) continue;
        moment_pass(w, unit, 2, scale[k], centre, more);
        for (int64_t i = 0; i < n; ++i)
            if (k ? squares[i] < 0x1p-900 && isfinite(more[i]) : !(squares[i] < INFINITY))
                value[i] = moment_value(w, more[i], rest[i], scale[k]);
    }
}

static void moment_unit(const struct reduce *w, int64_t unit, union reduce_totals *totals)
{
    double centre[HTI_TILE] = {0}, rest[HTI_TILE] = {0};
    int64_t start, n = reduce_tile(w, unit % w->tiles, &start);
    if (w->f == HTI_MEAN || w->f == HTI_VARIANCE) moment_means(w, unit, n, centre, rest);
    if (w->f == HTI_MEAN)
        memcpy(totals->real, centre, sizeof centre);
    else
        moment_squares(w, unit, n, centre, rest, totals->real);
}

/* All together. */

static void reduce_units(const void *work, int64_t first, int64_t last)
{
    const struct reduce *w = work;
    union reduce_totals totals;
    for (int64_t unit = first; unit < last; ++unit) {
        if (w->loop)
            reduce_unit(w, unit, 0, reduce_length(w), &totals);
        else
            moment_unit(w, unit, &totals);
        reduce_again(w, unit, &totals);
        reduce_write(w, unit, &totals);
    }
}

/* Cut over threads by outputs, or else, with the same totals, by what is folded. */
static void reduce_run(struct reduce *w, const ht_array *out, const ht_array *a,
                       unsigned axes)
{
    HT_ASSERT(out->dtype == a->dtype && out->shape.rank == a->shape.rank,
              "output %s of rank %d, operand %s of rank %d", ht_dtype_name(out->dtype),
              out->shape.rank, ht_dtype_name(a->dtype), a->shape.rank);
    if (ht_shape_count(out->shape) == 0) return;
    w->dtype = a->dtype;
    w->size = ht_dtype_bytes(a->dtype);
    w->in = a->data;
    w->out = out->data;
    w->elements = ht_shape_count(a->shape);
    reduce_plan(w, out, a, axes);
    union reduce_totals totals;
    if (!reduce_has_parts(w)) {
        hti_parallel(w->ctx, w->elements, reduce_blocks(&w->kept) * w->tiles,
                     reduce_units, w);
        return;
    }
    if (w->loop)
        reduce_in_parts(w, &totals);
    else
        moment_unit(w, 0, &totals);
    reduce_again(w, 0, &totals);
    reduce_write(w, 0, &totals);
}

static void fast_reduce(ht_context *ctx, hti_reduce f, ht_array out, ht_array a,
                        unsigned axes)
{
    struct reduce w = {.ctx = ctx, .f = f};
    w.loop = ctx->loops->reduce[f][hti_row(a.dtype)];
    HT_ASSERT(w.loop, "no reduction %d of dtype %s", (int)f, ht_dtype_name(a.dtype));
    reduce_run(&w, &out, &a, axes);
}

static void fast_moment(ht_context *ctx, hti_reduce f, ht_array out, ht_array a,
                        unsigned axes, double divisor)
{
    struct reduce w = {.ctx = ctx, .f = f, .divisor = divisor};
    if (f == HTI_MEAN && a.dtype == HT_F32)
        w.loop = ctx->loops->reduce[f][hti_row(a.dtype)];
    HT_ASSERT(hti_dtype_is_float(a.dtype), "no moment %d of dtype %s", (int)f,
              ht_dtype_name(a.dtype));
    reduce_run(&w, &out, &a, axes);
}

void hti_fast_reduce(struct hti_kernels *kernels)
{
    kernels->reduce = fast_reduce;
    kernels->moment = fast_moment;
}
