/* SPDX-License-Identifier: MIT */
/* norm.c: the array calls that normalise rows, those of derivatives of their softmax, and
 * the one that keeps a triangle of them (a causal mask). Rows are the last axis. Read
 * next: loops_norm.h, loops_slope.h, random.c. */
#include "kernels.h"
#include "loops.h"

struct unit {
    int n;
    ht_array in[3]; /* without their last axis: element r is where row r starts */
    int64_t run;    /* this many rows, from a multiple of it, are alike apart */
    char *out;
    int64_t size, out_row; /* bytes of an element; of out for each row */
    hti_norm norm;
    hti_norm_loop loop;
};

static void unit_task(const void *work, int64_t first, int64_t last)
{
    const struct unit *w = work;
    while (first < last) {
        int64_t n = w->run - first % w->run;
        const void *in[3] = {0};
        if (n > last - first) n = last - first;
        for (int k = 0; k < w->n; ++k)
            in[k] = hti_at(w->in[k].data, hti_offset(&w->in[k], first) * w->size);
        w->loop(&w->norm, n, w->out + first * w->out_row, in);
        first += n;
    }
}

/* a without its last axis; stride: of rows and columns. Returns the run of its rows. */
static int64_t unit_rows(ht_array *a, int64_t stride[2])
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
static void unit_run(const ht_context *ctx, const hti_norm_loop *loops,
                     const ht_array *out, int n, const ht_array *const *in, double eps,
                     bool centred)
{
    int columns = out->shape.rank - 1;
    struct unit w = {.n = n, .run = INT64_MAX, .out = out->data};
    w.norm = (hti_norm){.columns = in[0]->shape.dim[columns], .eps = eps};
    w.norm.centred = centred;
    for (int k = 0; k < n; ++k) {
        HT_ASSERT(in[k]->dtype == out->dtype, "output %s, operand %s",
                  ht_dtype_name(out->dtype), ht_dtype_name(in[k]->dtype));
        w.in[k] = *in[k];
        int64_t run = unit_rows(&w.in[k], w.norm.stride[k]);
        if (run < w.run) w.run = run;
    }
    w.size = (int64_t)ht_dtype_bytes(out->dtype);
    w.out_row = w.size * out->shape.dim[columns];
    w.loop = loops[hti_row(out->dtype)];
    HT_ASSERT(w.loop, "no loop for dtype %s", ht_dtype_name(out->dtype));
    int64_t rows = ht_shape_count(w.in[0].shape);
    if (rows > 0 && w.norm.columns > 0)
        hti_parallel(ctx, rows * w.norm.columns, rows, unit_task, &w);
}

static void fast_normalize(ht_context *ctx, ht_array out, ht_array a, double eps,
                           bool centred)
{
    unit_run(ctx, ctx->loops->normalize, &out, 1, (const ht_array *[]){&a}, eps, centred);
}

static void fast_normalize_slope(ht_context *ctx, ht_array out, const ht_array *const *in,
                                 double eps, bool centred)
{
    unit_run(ctx, ctx->loops->normalize_slope, &out, 2, in, eps, centred);
}

static void fast_normalize_bend(ht_context *ctx, ht_array out, const ht_array *const *in,
                                double eps, bool centred)
{
    unit_run(ctx, ctx->loops->normalize_bend, &out, 3, in, eps, centred);
}

static void fast_slope(ht_context *ctx, hti_slope kind, ht_array out,
                       const ht_array *const *in)
{
    unit_run(ctx, ctx->loops->slope[kind], &out, kind == HTI_SLOPE_BEND ? 3 : 2, in, 0,
             false);
}

static void fast_tril(ht_context *ctx, ht_array out, ht_array a, int64_t diagonal,
                      double fill)
{
    int rank = out.shape.rank;
    HT_ASSERT(rank >= 2, "a triangle of an array of rank %d", rank);
    hti_run_copy(ctx, out, a);
    int64_t rows = out.shape.dim[rank - 2], columns = out.shape.dim[rank - 1];
    int64_t all = columns > 0 ? ht_shape_count(out.shape) / columns : 0;
    for (int64_t r = 0; r < all; ++r) {
        int64_t keep = r % rows + diagonal + 1;
        for (int64_t c = keep > 0 ? keep : 0; c < columns; ++c)
            hti_write(&out, r * columns + c, fill);
    }
}

void hti_fast_norm(struct hti_kernels *kernels)
{
    kernels->slope = fast_slope;
    kernels->normalize = fast_normalize;
    kernels->normalize_slope = fast_normalize_slope;
    kernels->normalize_bend = fast_normalize_bend;
    kernels->tril = fast_tril;
}
