/* SPDX-License-Identifier: MIT */
/* rows.c: the array calls along the last axis: softmax, log-softmax, cross-entropy and
 * argmax, derivatives of these, and rows normalised.
 *
 * Rows of up to three operands meet in one of the output. The other axes are merged as
 * far as they lie alike; what does not merge is walked run by run, each run a matrix of
 * rows for one loop. Read next: loops_rows.h, loops_slope.h, loops_norm.h, index.c. */
#include "kernels.h"
#include "loops.h"

enum { ROWS_COST = 4 }; /* of an element, beside one of a sum of two arrays */

struct rows {
    hti_rows_loop loop;
    hti_rows what;
    int cost;        /* of an element */
    ht_array in[3];  /* without their last axis: element r is where row r starts */
    int64_t size[3]; /* bytes of an element */
    int64_t run;     /* this many rows, from a multiple of it, are alike apart */
    char *out;       /* contiguous */
    int64_t out_row; /* bytes of out for each row */
};

static void rows_task(const void *work, int64_t first, int64_t last)
{
    const struct rows *w = work;
    while (first < last) {
        int64_t n = w->run - first % w->run;
        const void *in[3] = {0};
        if (n > last - first) n = last - first;
        for (int k = 0; k < 3 && w->size[k]; ++k)
            in[k] = hti_at(w->in[k].data, hti_offset(&w->in[k], first) * w->size[k]);
        w->loop(&w->what, n, w->out + first * w->out_row, in);
        first += n;
    }
}

/* a without its last axis; stride: of rows and columns. Returns the run of its rows. */
static int64_t rows_lead(ht_array *a, int64_t stride[2])
{
    int last = --a->shape.rank;
    int64_t run = 1;
    HT_ASSERT(last >= 0, "rows of an array of rank %d", last + 1);
    stride[0] = last > 0 ? a->stride[last - 1] : 0;
    stride[1] = a->stride[last];
    for (int i = last - 1; i >= 0 && a->stride[i] == stride[0] * run; --i)
        run *= a->shape.dim[i];
    return run;
}

/* Runs are products of last axes: the shorter divides the longer. */
static void rows_run(const ht_context *ctx, struct rows w, const ht_array *out, int n,
                     const ht_array *const *in)
{
    w.what.columns = in[0]->shape.dim[in[0]->shape.rank - 1];
    w.run = INT64_MAX;
    for (int k = 0; k < n; ++k) {
        w.in[k] = *in[k];
        w.size[k] = (int64_t)ht_dtype_bytes(in[k]->dtype);
        int64_t run = rows_lead(&w.in[k], w.what.stride[k]);
        if (run < w.run) w.run = run;
    }
    HT_ASSERT(w.loop, "no loop for dtype %s", ht_dtype_name(in[0]->dtype));
    int64_t rows = ht_shape_count(w.in[0].shape);
    if (rows == 0 || w.what.columns == 0) return;
    w.out = out->data;
    w.out_row = (int64_t)hti_bytes_at(out->dtype, &out->shape) / rows;
    hti_parallel(ctx, w.cost * rows * w.what.columns, rows, rows_task, &w);
}

/* Of operands and an output of one dtype. */
static void rows_floats(const ht_context *ctx, struct rows w, const ht_array *out, int n,
                        const ht_array *const *in)
{
    for (int k = 0; k < n; ++k)
        HT_ASSERT(in[k]->dtype == out->dtype, "output %s, operand %s",
                  ht_dtype_name(out->dtype), ht_dtype_name(in[k]->dtype));
    rows_run(ctx, w, out, n, in);
}

static void rows_map(const ht_context *ctx, const hti_rows_loop *loops,
                     const ht_array *out, const ht_array *a)
{
    struct rows w = {.loop = loops[hti_row(a->dtype)], .cost = ROWS_COST};
    rows_floats(ctx, w, out, 1, &a);
}

#define ROWS_MAP(name)                                                 \
    static void fast_##name(ht_context *ctx, ht_array out, ht_array a) \
    {                                                                  \
        rows_map(ctx, ctx->loops->name, &out, &a);                     \
    }
ROWS_MAP(softmax)
ROWS_MAP(log_softmax)
ROWS_MAP(logsumexp)

static void fast_argmax(ht_context *ctx, ht_array out, ht_array a)
{
    struct rows w = {.loop = ctx->loops->argmax[hti_row(a.dtype)], .cost = ROWS_COST};
    HT_ASSERT(out.dtype == HT_I32, "output %s, expected i32", ht_dtype_name(out.dtype));
    rows_run(ctx, w, &out, 1, (const ht_array *[]){&a});
}

/* Labels are rows of one. */
static int64_t rows_labelled(const ht_context *ctx, const hti_rows_loop *loops,
                             const ht_array *out, const ht_array *a, ht_array labels)
{
    struct rows w = {.loop = loops[hti_row(a->dtype)], .cost = ROWS_COST};
    HT_ASSERT(a->shape.rank == 2 && labels.shape.rank == 1 &&
                  labels.shape.dim[0] == a->shape.dim[0],
              "logits of rank %d, labels of rank %d", a->shape.rank, labels.shape.rank);
    HT_ASSERT(out->dtype == a->dtype, "output %s, operand %s", ht_dtype_name(out->dtype),
              ht_dtype_name(a->dtype));
    int64_t bad = hti_first_outside(&labels, a->shape.dim[1]);
    if (bad >= 0) return bad;
    labels.shape.dim[labels.shape.rank++] = 1;
    rows_run(ctx, w, out, 2, (const ht_array *[]){a, &labels});
    return -1;
}

#define ROWS_LABELLED(name)                                               \
    static int64_t fast_##name(ht_context *ctx, ht_array out, ht_array a, \
                               ht_array labels)                           \
    {                                                                     \
        return rows_labelled(ctx, ctx->loops->name, &out, &a, labels);    \
    }
ROWS_LABELLED(cross_entropy)
ROWS_LABELLED(cross_entropy_slope)

static void fast_slope(ht_context *ctx, hti_slope kind, ht_array out,
                       const ht_array *const *in)
{
    struct rows w = {.loop = ctx->loops->slope[kind][hti_row(out.dtype)], .cost = 1};
    rows_floats(ctx, w, &out, kind == HTI_SLOPE_BEND ? 3 : 2, in);
}

static void fast_normalize(ht_context *ctx, ht_array out, int n_in,
                           const ht_array *const *in, double eps, bool centred)
{
    struct rows w = {.loop = ctx->loops->normalize[n_in - 1][hti_row(out.dtype)],
                     .what = {.eps = eps, .centred = centred},
                     .cost = 1};
    rows_floats(ctx, w, &out, n_in, in);
}

void hti_fast_rows(struct hti_kernels *kernels)
{
    kernels->argmax = fast_argmax;
    kernels->softmax = fast_softmax;
    kernels->log_softmax = fast_log_softmax;
    kernels->logsumexp = fast_logsumexp;
    kernels->cross_entropy = fast_cross_entropy;
    kernels->cross_entropy_slope = fast_cross_entropy_slope;
    kernels->slope = fast_slope;
    kernels->normalize = fast_normalize;
}
