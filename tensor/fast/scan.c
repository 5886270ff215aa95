/* SPDX-License-Identifier: MIT */
/* scan.c: cumulative sums along one axis of any view.
 *
 * A line is what remains when every other axis stands still. Lines whose elements lie
 * side by side in the output go SCAN_LINES at a time, place by place; along the last axis
 * each goes by itself. Every line is added up in order, in f64: neither threads nor
 * instruction sets change a bit. Read next: reduce.c. */
#include <math.h>

#include "kernels.h"
#include "loops.h"

enum { SCAN_LINES = 256 };

struct scan {
    ht_array in, out; /* without the axis: element i is where line i starts */
    ht_dtype dtype;
    int64_t n, in_step, out_step; /* along the axis */
    int64_t lines, group;         /* lines taken at once */
};

/* Lines first .. first + count - 1; at: where each is in the input and the output. A
 * total that left the range of f64 on its way may come back to it: its line goes once
 * more, of smaller numbers. */
#define SCAN_GROUP(suffix, T)                                                            \
    static void scan_again_##suffix(const struct scan *w, int64_t in_at, int64_t out_at) \
    {                                                                                    \
        const T *a = (const T *)w->in.data + in_at;                                      \
        T *o = (T *)w->out.data + out_at;                                                \
        double small = 0;                                                                \
        for (int64_t j = 0; j < w->n; ++j) {                                             \
            small += (double)a[j * w->in_step] * HTI_SMALL;                              \
            if (!isfinite(o[j * w->out_step]))                                           \
                o[j * w->out_step] = (T)(small / HTI_SMALL);                             \
        }                                                                                \
    }                                                                                    \
                                                                                         \
    static void scan_group_##suffix(const struct scan *w, int64_t count,                 \
                                    const int64_t *in_at, const int64_t *out_at)         \
    {                                                                                    \
        double total[SCAN_LINES] = {0};                                                  \
        for (int64_t j = 0; j < w->n; ++j) {                                             \
            const T *a = (const T *)w->in.data + j * w->in_step;                         \
            T *o = (T *)w->out.data + j * w->out_step;                                   \
            for (int64_t i = 0; i < count; ++i) {                                        \
                total[i] += (double)a[in_at[i]];                                         \
                o[out_at[i]] = (T)total[i];                                              \
            }                                                                            \
        }                                                                                \
        for (int64_t i = 0; i < count; ++i)                                              \
            if (!isfinite(total[i])) scan_again_##suffix(w, in_at[i], out_at[i]);        \
    }
SCAN_GROUP(f32, float)
SCAN_GROUP(f64, double)

/* Task: groups first .. last - 1. */
static void scan_groups(const void *work, int64_t first, int64_t last)
{
    const struct scan *w = work;
    int64_t in_at[SCAN_LINES], out_at[SCAN_LINES];
    for (int64_t g = first; g < last; ++g) {
        int64_t line = g * w->group, left = w->lines - line;
        int64_t count = left < w->group ? left : w->group;
        for (int64_t i = 0; i < count; ++i) {
            in_at[i] = hti_offset(&w->in, line + i);
            out_at[i] = hti_offset(&w->out, line + i);
        }
        if (w->dtype == HT_F32)
            scan_group_f32(w, count, in_at, out_at);
        else
            scan_group_f64(w, count, in_at, out_at);
    }
}

/* The array of the lines' starts, the last ones' if `backward`. */
static ht_array scan_starts(ht_array a, int axis, bool backward)
{
    int64_t size = (int64_t)ht_dtype_bytes(a.dtype);
    if (backward)
        a.data = hti_at(a.data, (a.shape.dim[axis] - 1) * a.stride[axis] * size);
    a.shape.rank--;
    for (int i = axis; i < a.shape.rank; ++i) {
        a.shape.dim[i] = a.shape.dim[i + 1];
        a.stride[i] = a.stride[i + 1];
    }
    return a;
}

static void fast_cumsum(ht_context *ctx, ht_array out, ht_array a, int axis,
                        bool backward)
{
    HT_ASSERT(axis >= 0 && axis < a.shape.rank, "axis %d of rank %d", axis, a.shape.rank);
    HT_ASSERT(out.dtype == a.dtype && hti_dtype_is_float(a.dtype),
              "output %s, operand %s", ht_dtype_name(out.dtype), ht_dtype_name(a.dtype));
    int64_t elements = ht_shape_count(a.shape);
    if (elements == 0) return;
    int sign = backward ? -1 : 1;
    struct scan w = {.in = scan_starts(a, axis, backward),
                     .out = scan_starts(out, axis, backward),
                     .dtype = a.dtype,
                     .n = a.shape.dim[axis],
                     .in_step = sign * a.stride[axis],
                     .out_step = sign * out.stride[axis],
                     .group = out.stride[axis] == 1 ? 1 : SCAN_LINES};
    w.lines = elements / w.n;
    hti_parallel(ctx, elements, (w.lines + w.group - 1) / w.group, scan_groups, &w);
}

void hti_fast_scan(struct hti_kernels *kernels)
{
    kernels->cumsum = fast_cumsum;
}
