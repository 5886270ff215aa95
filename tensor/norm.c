/* SPDX-License-Identifier: MIT */
/* norm.c: the array calls that normalise rows, and the one that keeps a triangle of them
 * (a causal mask). Rows are the last axis. Read next: loops_norm.h, random.c. */
#include "kernels.h"
#include "loops.h"

struct unit {
    ht_array leading; /* a without its last axis: element r is where row r starts */
    int64_t columns, stride;
    char *out;
    int64_t out_row; /* bytes of out for each row */
    double eps;
    bool centred, scale;
    hti_norm_loop loop;
};

static void unit_store(char *to, ht_dtype dtype, double value)
{
    if (dtype == HT_F32)
        *(float *)(void *)to = (float)value;
    else
        *(double *)(void *)to = value;
}

static void unit_task(const void *work, int64_t first, int64_t last)
{
    const struct unit *w = work;
    int64_t size = (int64_t)ht_dtype_bytes(w->leading.dtype);
    for (int64_t r = first; r < last; ++r) {
        const char *a = w->leading.data;
        a += hti_offset(&w->leading, r) * size;
        char *out = w->out + r * w->out_row;
        double s =
            w->loop(w->columns, w->scale ? NULL : out, a, w->stride, w->eps, w->centred);
        if (w->scale) unit_store(out, w->leading.dtype, s);
    }
}

static void unit_run(const ht_context *ctx, const ht_array *out, const ht_array *a,
                     double eps, bool centred, bool scale)
{
    int last = a->shape.rank - 1;
    HT_ASSERT(last >= 0, "rows of an array of rank %d", a->shape.rank);
    HT_ASSERT(out->dtype == a->dtype, "output %s, operand %s", ht_dtype_name(out->dtype),
              ht_dtype_name(a->dtype));
    struct unit w = {.leading = *a, .columns = a->shape.dim[last], .out = out->data};
    w.leading.shape.rank = last;
    w.stride = a->stride[last];
    w.out_row = (int64_t)ht_dtype_bytes(a->dtype) * (scale ? 1 : w.columns);
    w.eps = eps;
    w.centred = centred;
    w.scale = scale;
    w.loop = ctx->kernels->normalize[hti_row(a->dtype)];
    HT_ASSERT(w.loop, "no loop for dtype %s", ht_dtype_name(a->dtype));
    int64_t n = ht_shape_count(w.leading.shape);
    if (n > 0 && w.columns > 0) hti_parallel(ctx, n * w.columns, n, unit_task, &w);
}

void hti_run_normalize(ht_context *ctx, ht_array out, ht_array a, double eps,
                       bool centred)
{
    unit_run(ctx, &out, &a, eps, centred, false);
}

void hti_run_inverse_deviation(ht_context *ctx, ht_array out, ht_array a, double eps,
                               bool centred)
{
    unit_run(ctx, &out, &a, eps, centred, true);
}

void hti_run_tril(ht_context *ctx, ht_array out, ht_array a, int64_t diagonal,
                  double fill)
{
    int rank = out.shape.rank;
    HT_ASSERT(rank >= 2, "a triangle of an array of rank %d", rank);
    hti_run_copy(ctx, out, a);
    int64_t rows = out.shape.dim[rank - 2], columns = out.shape.dim[rank - 1];
    int64_t all = columns > 0 ? ht_shape_count(out.shape) / columns : 0;
    int64_t size = (int64_t)ht_dtype_bytes(out.dtype);
    for (int64_t r = 0; r < all; ++r) {
        int64_t keep = r % rows + diagonal + 1;
        char *row = (char *)out.data + r * columns * size;
        for (int64_t c = keep > 0 ? keep : 0; c < columns; ++c)
            unit_store(row + c * size, out.dtype, fill);
    }
}
