/* SPDX-License-Identifier: MIT */
/* rows.c: the array calls along the last axis: softmax, log-softmax, cross-entropy,
 * argmax.
 *
 * The other axes are merged as far as they lie alike; what does not merge is walked run
 * by run, each run a matrix of rows for one loop. Read next: loops_rows.h, index.c. */
#include "kernels.h"
#include "loops.h"

enum { ROWS_COST = 4 }; /* of an element, beside one of a sum of two arrays */

struct rows {
    ht_array leading; /* a without its last axis: element r is where row r starts */
    int64_t columns, stride[2];
    int64_t run;     /* this many rows, from a multiple of it, are stride[0] apart */
    size_t size;     /* of an element of a */
    char *out;       /* contiguous */
    int64_t out_row; /* bytes of out for each row */
    const int32_t *label;
    int64_t label_stride;
    hti_rows_loop loop; /* one of the three is set */
    hti_label_loop labelled;
    hti_argmax_loop argmax;
};

/* For an output of one element a row. */
static struct rows rows_plan(const ht_array *out, const ht_array *a)
{
    int last = a->shape.rank - 1;
    HT_ASSERT(last >= 0, "rows of an array of rank %d", a->shape.rank);
    struct rows w = {.leading = *a, .columns = a->shape.dim[last], .run = 1};
    w.leading.shape.rank = last;
    w.stride[0] = last > 0 ? a->stride[last - 1] : 0;
    w.stride[1] = a->stride[last];
    for (int i = last - 1; i >= 0 && a->stride[i] == w.stride[0] * w.run; --i)
        w.run *= a->shape.dim[i];
    w.size = ht_dtype_bytes(a->dtype);
    w.out = out->data;
    w.out_row = (int64_t)ht_dtype_bytes(out->dtype);
    return w;
}

static void rows_task(const void *work, int64_t first, int64_t last)
{
    const struct rows *w = work;
    while (first < last) {
        int64_t n = w->run - first % w->run;
        if (n > last - first) n = last - first;
        const char *a = w->leading.data;
        a += hti_offset(&w->leading, first) * (int64_t)w->size;
        char *out = w->out + first * w->out_row;
        if (w->loop)
            w->loop(n, w->columns, out, a, w->stride);
        else if (w->labelled)
            w->labelled(n, w->columns, out, a, w->stride,
                        w->label + first * w->label_stride, w->label_stride);
        else
            w->argmax(n, w->columns, (int32_t *)(void *)out, a, w->stride);
        first += n;
    }
}

static void rows_run(const ht_context *ctx, const struct rows *w)
{
    int64_t n = ht_shape_count(w->leading.shape);
    HT_ASSERT(w->loop || w->labelled || w->argmax, "no loop for dtype %s",
              ht_dtype_name(w->leading.dtype));
    if (n > 0) hti_parallel(ctx, ROWS_COST * n * w->columns, n, rows_task, w);
}

static void rows_map(const ht_context *ctx, hti_rows_loop loop, const ht_array *out,
                     const ht_array *a)
{
    struct rows w = rows_plan(out, a);
    HT_ASSERT(out->dtype == a->dtype, "output %s, operand %s", ht_dtype_name(out->dtype),
              ht_dtype_name(a->dtype));
    w.loop = loop;
    w.out_row *= w.columns;
    if (w.columns > 0) rows_run(ctx, &w);
}

static void fast_softmax(ht_context *ctx, ht_array out, ht_array a)
{
    rows_map(ctx, ctx->loops->softmax[hti_row(a.dtype)], &out, &a);
}

static void fast_log_softmax(ht_context *ctx, ht_array out, ht_array a)
{
    rows_map(ctx, ctx->loops->log_softmax[hti_row(a.dtype)], &out, &a);
}

static void fast_logsumexp(ht_context *ctx, ht_array out, ht_array a)
{
    struct rows w = rows_plan(&out, &a);
    HT_ASSERT(out.dtype == a.dtype, "output %s, operand %s", ht_dtype_name(out.dtype),
              ht_dtype_name(a.dtype));
    w.loop = ctx->loops->logsumexp[hti_row(a.dtype)];
    if (w.columns > 0) rows_run(ctx, &w);
}

static int64_t rows_labelled(const ht_context *ctx, hti_label_loop loop,
                             const ht_array *out, const ht_array *a,
                             const ht_array *labels, int64_t written)
{
    HT_ASSERT(a->shape.rank == 2 && labels->shape.rank == 1 &&
                  labels->shape.dim[0] == a->shape.dim[0],
              "logits of rank %d, labels of rank %d", a->shape.rank, labels->shape.rank);
    struct rows w = rows_plan(out, a);
    HT_ASSERT(out->dtype == a->dtype, "output %s, operand %s", ht_dtype_name(out->dtype),
              ht_dtype_name(a->dtype));
    int64_t bad = hti_first_outside(labels, w.columns);
    if (bad >= 0) return bad;
    w.labelled = loop;
    w.label = labels->data;
    w.label_stride = labels->stride[0];
    w.out_row *= written;
    rows_run(ctx, &w);
    return -1;
}

static int64_t fast_cross_entropy(ht_context *ctx, ht_array out, ht_array a,
                                  ht_array labels)
{
    return rows_labelled(ctx, ctx->loops->cross_entropy[hti_row(a.dtype)], &out, &a,
                         &labels, 1);
}

static int64_t fast_cross_entropy_slope(ht_context *ctx, ht_array out, ht_array a,
                                        ht_array labels)
{
    return rows_labelled(ctx, ctx->loops->cross_entropy_slope[hti_row(a.dtype)], &out, &a,
                         &labels, a.shape.dim[1]);
}

static void fast_argmax(ht_context *ctx, ht_array out, ht_array a)
{
    struct rows w = rows_plan(&out, &a);
    HT_ASSERT(out.dtype == HT_I32, "output %s, expected i32", ht_dtype_name(out.dtype));
    w.argmax = ctx->loops->argmax[hti_row(a.dtype)];
    rows_run(ctx, &w);
}

void hti_fast_rows(struct hti_kernels *kernels)
{
    kernels->argmax = fast_argmax;
    kernels->softmax = fast_softmax;
    kernels->log_softmax = fast_log_softmax;
    kernels->logsumexp = fast_logsumexp;
    kernels->cross_entropy = fast_cross_entropy;
    kernels->cross_entropy_slope = fast_cross_entropy_slope;
}
