/* SPDX-License-Identifier: MIT */
/* convert.c: whether an integer dtype holds a number once it is cut towards zero. What
 * lies outside the range then, or is NaN, is refused before anything is written: the
 * loops would give the nearest end. Read next: elementwise.c. */
#include <math.h>
#include <string.h>

#include "tensor_internal.h"

/* The open interval that is cut to what the dtype holds; every double lies in that of a
 * float, which has its own infinities and NaN. */
static void convert_range(ht_dtype to, double *low, double *high)
{
    *low = to == HT_U8 ? -1 : INT32_MIN - 1.0;
    *high = to == HT_U8 ? UINT8_MAX + 1.0 : INT32_MAX + 1.0;
}

bool hti_narrows(ht_dtype from, ht_dtype to)
{
    if (hti_dtype_is_float(to) || from == to) return false;
    return hti_dtype_is_float(from) || to == HT_U8;
}

bool hti_holds(ht_dtype to, double value)
{
    double low, high;
    convert_range(to, &low, &high);
    return hti_dtype_is_float(to) || (value > low && value < high);
}

/* The first of n elements, `stride` apart, that is not within; n if all are. A block is
 * counted without a branch. */
#define CONVERT_OUTSIDE(T, a)                                                      \
    for (int64_t first = 0; first < n; first += CONVERT_BLOCK) {                   \
        int64_t last = first + CONVERT_BLOCK < n ? first + CONVERT_BLOCK : n,      \
                within = 0;                                                        \
        const T *x = (a);                                                          \
        for (int64_t i = first; i < last; i++)                                     \
            within += (double)x[i * stride] > low && (double)x[i * stride] < high; \
        for (int64_t i = first; within < last - first && i < last; i++)            \
            if (!((double)x[i * stride] > low && (double)x[i * stride] < high))    \
                return i;                                                          \
    }

enum { CONVERT_BLOCK = 2048 };

static int64_t convert_outside(ht_dtype from, const void *data, int64_t stride, int64_t n,
                               double low, double high)
{
    if (from == HT_F32) CONVERT_OUTSIDE(float, data)
    if (from == HT_F64) CONVERT_OUTSIDE(double, data)
    if (from == HT_I32) CONVERT_OUTSIDE(int32_t, data)
    return n;
}

int64_t hti_unheld(ht_dtype to, const ht_array *a)
{
    int64_t count = hti_count(&a->shape);
    if (count == 0 || !hti_narrows(a->dtype, to)) return -1;
    double low, high;
    convert_range(to, &low, &high);
    int last = a->shape.rank - 1;
    bool whole = last < 0 || hti_is_contiguous(a);
    int64_t n = whole ? count : a->shape.dim[last], stride = whole ? 1 : a->stride[last];
    for (int64_t row = 0; row < count / n; row++) {
        const char *data = whole ? a->data : hti_part(a, last, row);
        int64_t at = convert_outside(a->dtype, data, stride, n, low, high);
        if (at < n) return row * n + at;
    }
    return -1;
}

/* Whether n numbers are finite: an exponent of all ones carries into the sign. Without a
 * branch, and in four parts side by side: the pass is as fast as memory. */
#define CONVERT_FINITE(T, bits_t, exponent, one)                                 \
    static bool finite_##T(const T *x, int64_t n)                                \
    {                                                                            \
        bits_t signs = 0, a, b, c, d;                                            \
        int64_t part = n / 4;                                                    \
        for (int64_t i = 0; i < part; i++) {                                     \
            memcpy(&a, x + i, sizeof a);                                         \
            memcpy(&b, x + part + i, sizeof b);                                  \
            memcpy(&c, x + 2 * part + i, sizeof c);                              \
            memcpy(&d, x + 3 * part + i, sizeof d);                              \
            signs |= (((a & (exponent)) + (one)) | ((b & (exponent)) + (one))) | \
                     (((c & (exponent)) + (one)) | ((d & (exponent)) + (one)));  \
        }                                                                        \
        for (int64_t i = 4 * part; i < n; i++) {                                 \
            memcpy(&a, x + i, sizeof a);                                         \
            signs |= (a & (exponent)) + (one);                                   \
        }                                                                        \
        return !(signs >> (8 * sizeof signs - 1));                               \
    }
CONVERT_FINITE(float, uint32_t, 0x7f800000u, 0x00800000u)
CONVERT_FINITE(double, uint64_t, UINT64_C(0x7ff) << 52, UINT64_C(1) << 52)

int64_t hti_not_finite(const ht_array *a)
{
    int64_t count = hti_dtype_is_float(a->dtype) ? hti_count(&a->shape) : 0;
    for (int64_t first = 0; first < count; first += CONVERT_BLOCK) {
        int64_t n = count - first < CONVERT_BLOCK ? count - first : CONVERT_BLOCK;
        bool finite = a->dtype == HT_F32
                          ? finite_float((const float *)a->data + first, n)
                          : finite_double((const double *)a->data + first, n);
        for (int64_t i = first; !finite; i++)
            if (!isfinite(hti_element(a, i))) return i;
    }
    return -1;
}

double hti_element(const ht_array *a, int64_t k)
{
    return hti_read(a, hti_offset(a, k));
}

ht_status hti_fail_unheld(ht_context *ctx, const char *site, const char *who, ht_dtype to,
                          double value, int64_t at)
{
    double low, high;
    convert_range(to, &low, &high);
    return ht_context_fail(ctx, HT_ERROR_ARGUMENT, site,
                           "%s: %.9g at place %lld is outside the %.0f .. %.0f of %s",
                           who, value, (long long)at, low + 1, high - 1,
                           ht_dtype_name(to));
}
