/* SPDX-License-Identifier: MIT */
/* fill.c: what the public interface of tensors asks of kernels. Read next: kernels.h. */
#include "kernels.h"

void ht_tensor_fill_at(ht_tensor *x, double value, const char *site)
{
    HT_ASSERT(x, "ht_tensor_fill: the tensor is NULL");
    if (!hti_tensor_takes(x, &value, "ht_tensor_fill", 0)) return;
    hti_tensor_write(x, "ht_tensor_fill", site);
    hti_run_fill(x->ctx, x->array, value);
}

ht_status ht_tensor_copy_at(ht_tensor *to, const ht_tensor *from, const char *site)
{
    char got[HT_SHAPE_TEXT], expected[HT_SHAPE_TEXT];
    HT_ASSERT(to, "ht_tensor_copy: the tensor is NULL");
    HT_ASSERT(from, "ht_tensor_copy: from is NULL");
    HTI_ALIVE(to, "ht_tensor_copy", "tensor");
    HTI_ALIVE(from, "ht_tensor_copy", "tensor");
    if (!ht_shape_equal(to->array.shape, from->array.shape))
        return ht_context_fail(to->ctx, HT_ERROR_SHAPE, NULL,
                               "ht_tensor_copy: expected a %s tensor to copy, got %s",
                               ht_shape_text(to->array.shape, expected),
                               ht_shape_text(from->array.shape, got));
    ht_status status = hti_tensor_holds(to, from, "ht_tensor_copy");
    if (status || to == from) return status;
    hti_tensor_write(to, "ht_tensor_copy", site);
    hti_run_copy(to->ctx, to->array, from->array);
    return status;
}

/* A row of `from` may stand in `to`, and all that are asked for exist. */
static ht_status rows_check(const ht_tensor *to, const ht_tensor *from,
                            const int64_t *order, int64_t first, int64_t n,
                            const char *site)
{
    HT_ASSERT(to && from && first >= 0 && n >= 0,
              "ht_rows: to %p, from %p, first %lld, n %lld", (const void *)to,
              (const void *)from, (long long)first, (long long)n);
    HTI_ALIVE(to, "ht_rows", "tensor");
    HTI_ALIVE(from, "ht_rows", "tensor");
    char a[HTI_TENSOR_TEXT], b[HTI_TENSOR_TEXT];
    ht_shape want = from->array.shape;
    want.dim[0] = n;
    if (!want.rank || !ht_shape_equal(to->array.shape, want))
        return ht_context_fail(
            to->ctx, HT_ERROR_SHAPE, site,
            "ht_rows: %lld rows of %s do not make %s\n"
            "  hint: to is (n, ...), with the axes of from but for the first",
            (long long)n, hti_tensor_text(from, a), hti_tensor_text(to, b));
    if (hti_narrows(from->array.dtype, to->array.dtype))
        return ht_context_fail(to->ctx, HT_ERROR_DTYPE, site,
                               "ht_rows: %s may not hold the elements of %s",
                               hti_tensor_text(to, b), hti_tensor_text(from, a));
    int64_t count = from->array.shape.dim[0];
    for (int64_t i = first; i < first + n; i++)
        if ((order ? order[i] : i) < 0 || (order ? order[i] : i) >= count)
            return ht_context_fail(to->ctx, HT_ERROR_ARGUMENT, site,
                                   "ht_rows: expected a row in 0..%lld, got %lld",
                                   (long long)count - 1,
                                   (long long)(order ? order[i] : i));
    return HT_OK;
}

ht_status ht_rows_at(ht_tensor *to, const ht_tensor *from, const int64_t *order,
                     int64_t first, int64_t n, const char *site)
{
    ht_status status = rows_check(to, from, order, first, n, site);
    if (status || !n) return status;
    hti_tensor_write(to, "ht_rows", site);
    ht_array a = to->array, b = from->array;
    a.shape.dim[0] = b.shape.dim[0] = 1;
    size_t a_row = hti_bytes(a.dtype, a.shape), b_row = hti_bytes(b.dtype, b.shape);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = order ? order[first + i] : first + i;
        a.data = hti_at(to->array.data, i * (int64_t)a_row);
        b.data = hti_at(from->array.data, row * (int64_t)b_row);
        hti_run_copy(to->ctx, a, b);
    }
    return HT_OK;
}
