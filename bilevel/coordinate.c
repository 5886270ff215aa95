/* SPDX-License-Identifier: MIT */
/* coordinate.c: positive and bounded outer variables as free coordinates: a gradient step
 * in u can't leave the range. Read next: bilevel.c. */
#include <float.h>
#include <math.h>

#include "bilevel_internal.h"

bool hti_coordinate_bounded(const ht_coordinate *c)
{
    return c->kind != HT_SIGMOID || (c->low < c->high && isfinite(c->high - c->low));
}

static double coordinate_of(const ht_coordinate *c, double value)
{
    if (c->kind == HT_LOG) return log(value);
    if (c->kind == HT_SIGMOID) return log((value - c->low) / (c->high - value));
    return value;
}

static double coordinate_value(const ht_coordinate *c, double u)
{
    if (c->kind == HT_LOG) return exp(u);
    if (c->kind == HT_SIGMOID) return c->low + (c->high - c->low) / (1 + exp(-u));
    return u;
}

/* So near an end that the quotient under- or overflows is outside as well. */
static bool coordinate_inside(const ht_coordinate *c, double value)
{
    if (c->kind == HT_LOG) return value > 0 && isfinite(value);
    if (c->kind == HT_SIGMOID)
        return value > c->low && value < c->high && isfinite(coordinate_of(c, value));
    return true;
}

static ht_status coordinate_float(const ht_tensor *x)
{
    if (ht_tensor_dtype(x) == HT_F32 || ht_tensor_dtype(x) == HT_F64) return HT_OK;
    return ht_context_fail(ht_tensor_context(x), HT_ERROR_DTYPE, NULL,
                           "coordinate: needs f32 or f64, not %s",
                           ht_dtype_name(ht_tensor_dtype(x)));
}

ht_status ht_coordinate_from_value(const ht_coordinate *c, ht_tensor *x)
{
    HT_ASSERT(c && x, "ht_coordinate_from_value: coordinate or x is NULL");
    ht_status status = coordinate_float(x);
    int64_t n = ht_tensor_count(x);
    for (int64_t k = 0; status == HT_OK && k < n; k++)
        if (!coordinate_inside(c, ht_tensor_get(x, k)))
            status = ht_context_fail(
                ht_tensor_context(x), HT_ERROR_ARGUMENT, NULL,
                "coordinate: \"%s\": element %lld is %g, outside the open range (%g, "
                "%g)\n"
                "  hint: values that begin at an end of the range could not move",
                c->outer ? c->outer : "", (long long)k, ht_tensor_get(x, k),
                c->kind == HT_LOG ? 0 : c->low,
                c->kind == HT_LOG ? (double)INFINITY : c->high);
    for (int64_t k = 0; status == HT_OK && k < n; k++)
        ht_tensor_set(x, k, coordinate_of(c, ht_tensor_get(x, k)));
    return status;
}

ht_status ht_coordinate_to_value(const ht_coordinate *c, ht_tensor *x)
{
    HT_ASSERT(c && x, "ht_coordinate_to_value: coordinate or x is NULL");
    ht_status status = coordinate_float(x);
    int64_t n = ht_tensor_count(x);
    double most = ht_tensor_dtype(x) == HT_F32 ? (double)FLT_MAX : DBL_MAX;
    for (int64_t k = 0; status == HT_OK && k < n; k++)
        if (!(fabs(coordinate_value(c, ht_tensor_get(x, k))) <= most))
            status = ht_context_fail(ht_tensor_context(x), HT_ERROR_ARGUMENT, NULL,
                                     "coordinate: element %lld is %g, whose value %s "
                                     "does not hold",
                                     (long long)k, ht_tensor_get(x, k),
                                     ht_dtype_name(ht_tensor_dtype(x)));
    for (int64_t k = 0; status == HT_OK && k < n; k++)
        ht_tensor_set(x, k, coordinate_value(c, ht_tensor_get(x, k)));
    return status;
}
