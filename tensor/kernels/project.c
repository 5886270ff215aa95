/* SPDX-License-Identifier: MIT */
/* project.c: tensors projected and shrunk in place, to the bits of the ops of those
 * names: what keeps outer variables in their set. Read next: kernels.h,
 * tensor/reference/project.c. */
#include <float.h>
#include <math.h>

#include "kernels.h"

/* What may be refused. */

static ht_status project_typed(const ht_tensor *x, bool rows, const char *who)
{
    char text[HT_SHAPE_TEXT];
    if (!hti_dtype_is_float(x->array.dtype))
        return ht_context_fail(x->ctx, HT_ERROR_DTYPE, NULL,
                               "%s: expected f32 or f64, got %s\n"
                               "hint: only real numbers can be projected",
                               who, ht_dtype_name(x->array.dtype));
    if (!rows || x->array.shape.rank > 0) return HT_OK;
    return ht_context_fail(x->ctx, HT_ERROR_SHAPE, NULL,
                           "%s: expected a last axis, got shape %s", who,
                           ht_shape_text(x->array.shape, text));
}

static ht_status project_finite(const ht_tensor *x, const char *who)
{
    for (int64_t i = 0; i < ht_tensor_count(x); i++) {
        double value = ht_tensor_get(x, i);
        if (isfinite(value)) continue;
        return ht_context_fail(x->ctx, HT_ERROR_ARGUMENT, NULL,
                               "%s: expected finite elements, got %g at %lld\n"
                               "hint: the step before this projection diverged",
                               who, value, (long long)i);
    }
    return HT_OK;
}

static ht_status project_bounded(const ht_tensor *x, const char *what, double value,
                                 const char *who)
{
    if (value >= 0) return HT_OK;
    return ht_context_fail(x->ctx, HT_ERROR_ARGUMENT, NULL,
                           "%s: expected %s >= 0, got %g", who, what, value);
}

/* value as x's dtype holds it. */
static double project_rounded(const ht_tensor *x, double value)
{
    return x->array.dtype == HT_F32 ? (double)(float)value : value;
}

/* Onto sets by the sum of a row. */

/* `whole` is x's memory. More is asked for only if a row is outside. */
static ht_status project_array(ht_tensor *x, ht_array whole, hti_projection set,
                               double radius, const char *who)
{
    ht_shape column = whole.shape;
    int64_t *last = &column.dim[column.rank - 1], n = *last;
    *last = 1;
    ht_array r = hti_broadcast_array(hti_contiguous(&radius, HT_F64, HT_SCALAR), column);
    hti_tensor_write(x, who, NULL);
    if (hti_kernel(x->ctx, project, set, false, whole, whole, r, NULL)) return HT_OK;
    size_t bytes = (size_t)n * sizeof(double);
    double *v = hti_resize(x->ctx, NULL, 0, bytes);
    if (!v) return x->ctx->status;
    hti_kernel(x->ctx, project, set, false, whole, whole, r, v);
    hti_resize(x->ctx, v, bytes, 0);
    return HT_OK;
}

void ht_project_capped_simplex(ht_tensor *x, double radius)
{
    static const char who[] = "ht_project_capped_simplex";
    HT_ASSERT(x, "%s: the tensor is NULL", who);
    HTI_ALIVE(x, who, "tensor");
    ht_array whole = x->array;
    whole.shape = HT_SHAPE(1, ht_tensor_count(x));
    whole.stride[0] = ht_tensor_count(x);
    whole.stride[1] = 1;
    if (project_typed(x, false, who) || project_bounded(x, "radius", radius, who) ||
        project_finite(x, who))
        return;
    project_array(x, whole, HTI_CAPPED, radius, who);
}

static ht_status project_set(ht_tensor *x, hti_projection set, double radius,
                             const char *who)
{
    HT_ASSERT(x, "%s: the tensor is NULL", who);
    HTI_ALIVE(x, who, "tensor");
    ht_status status = project_typed(x, true, who);
    if (!status) status = project_bounded(x, "radius", radius, who);
    if (!status && set == HTI_SIMPLEX && isinf(project_rounded(x, radius)))
        return ht_context_fail(x->ctx, HT_ERROR_ARGUMENT, NULL,
                               "%s: expected a finite radius, got %g", who, radius);
    if (!status && set == HTI_SIMPLEX && x->array.shape.dim[x->array.shape.rank - 1] == 0)
        return ht_context_fail(x->ctx, HT_ERROR_SHAPE, NULL,
                               "%s: expected a last axis of at least one element", who);
    if (!status) status = project_finite(x, who);
    return status ? status
                  : project_array(x, x->array, set, project_rounded(x, radius), who);
}

ht_status ht_tensor_project_simplex(ht_tensor *x, double radius)
{
    return project_set(x, HTI_SIMPLEX, radius, "ht_tensor_project_simplex");
}

ht_status ht_tensor_project_capped(ht_tensor *x, double radius)
{
    return project_set(x, HTI_CAPPED, radius, "ht_tensor_project_capped");
}

ht_status ht_tensor_project_l1(ht_tensor *x, double radius)
{
    return project_set(x, HTI_L1_BALL, radius, "ht_tensor_project_l1");
}

/* By the norm of a row. */

static double project_row_norm(const ht_tensor *x, int64_t row, int64_t n)
{
    union {
        float f32;
        double f64;
    } cell;
    ht_dtype dtype = x->array.dtype;
    int64_t bytes = row * n * (int64_t)ht_dtype_bytes(dtype);
    ht_array a = hti_contiguous(hti_at(x->array.data, bytes), dtype, HT_SHAPE(1, n));
    ht_array norm = hti_contiguous(&cell, dtype, HT_SHAPE(1, 1));
    hti_kernel(x->ctx, moment, HTI_NORM, norm, a, 2, 1);
    return hti_element(&norm, 0);
}

/* A row of that norm is multiplied by: R / norm where it is above R, beyond the rounding
 * of what that makes; or (norm - t) / norm, 0 where it is at most t. */
static double project_scale(const ht_tensor *x, double norm, double bound, bool shrinks)
{
    double u = x->array.dtype == HT_F32 ? FLT_EPSILON : DBL_EPSILON;
    if (shrinks)
        return norm > bound ? project_rounded(x, project_rounded(x, norm - bound) / norm)
                            : 0;
    return norm > project_rounded(x, bound * (1 + 4 * u))
               ? project_rounded(x, bound / norm)
               : 1;
}

static void project_scale_row(ht_tensor *x, int64_t row, int64_t n, double scale)
{
    for (int64_t j = 0; j < n; j++) {
        int64_t at = row * n + j;
        hti_write(&x->array, at, ht_tensor_get(x, at) * scale);
    }
}

static ht_status project_by_norm(ht_tensor *x, double bound, bool shrinks,
                                 const char *what, const char *who)
{
    HT_ASSERT(x, "%s: the tensor is NULL", who);
    HTI_ALIVE(x, who, "tensor");
    ht_status status = project_typed(x, true, who);
    if (!status) status = project_bounded(x, what, bound, who);
    if (!status) status = project_finite(x, who);
    if (status || ht_tensor_count(x) == 0) return status;
    int64_t n = x->array.shape.dim[x->array.shape.rank - 1];
    bound = project_rounded(x, bound);
    for (int64_t row = 0; row < ht_tensor_count(x) / n; row++)
        if (!isfinite(project_row_norm(x, row, n)))
            return ht_context_fail(x->ctx, HT_ERROR_ARGUMENT, NULL,
                                   "%s: the norm of row %lld is too large for %s", who,
                                   (long long)row, ht_dtype_name(x->array.dtype));
    hti_tensor_write(x, who, NULL);
    for (int64_t row = 0; row < ht_tensor_count(x) / n; row++)
        project_scale_row(x, row, n,
                          project_scale(x, project_row_norm(x, row, n), bound, shrinks));
    return HT_OK;
}

ht_status ht_tensor_project_l2(ht_tensor *x, double radius)
{
    return project_by_norm(x, radius, false, "radius", "ht_tensor_project_l2");
}

ht_status ht_tensor_group_soft_threshold(ht_tensor *x, double t)
{
    return project_by_norm(x, t, true, "t", "ht_tensor_group_soft_threshold");
}

/* Element by element. */

ht_status ht_tensor_project_box(ht_tensor *x, double low, double high)
{
    static const char who[] = "ht_tensor_project_box";
    HT_ASSERT(x, "%s: the tensor is NULL", who);
    HTI_ALIVE(x, who, "tensor");
    ht_status status = project_typed(x, false, who);
    if (!status && !(low <= high))
        return ht_context_fail(x->ctx, HT_ERROR_ARGUMENT, NULL,
                               "%s: expected low <= high, got %g and %g", who, low, high);
    if (!status) status = project_finite(x, who);
    if (status) return status;
    hti_tensor_write(x, who, NULL);
    low = project_rounded(x, low), high = project_rounded(x, high);
    for (int64_t i = 0; i < ht_tensor_count(x); i++) {
        double value = ht_tensor_get(x, i);
        hti_write(&x->array, i, value < low ? low : value > high ? high : value);
    }
    return HT_OK;
}

ht_status ht_tensor_soft_threshold(ht_tensor *x, double t)
{
    static const char who[] = "ht_tensor_soft_threshold";
    HT_ASSERT(x, "%s: the tensor is NULL", who);
    HTI_ALIVE(x, who, "tensor");
    ht_status status = project_typed(x, false, who);
    if (!status) status = project_bounded(x, "t", t, who);
    if (!status) status = project_finite(x, who);
    if (status) return status;
    hti_tensor_write(x, who, NULL);
    t = project_rounded(x, t);
    for (int64_t i = 0; i < ht_tensor_count(x); i++) {
        double value = ht_tensor_get(x, i);
        hti_write(&x->array, i, value > t ? value - t : value < -t ? value + t : 0);
    }
    return HT_OK;
}
