/* SPDX-License-Identifier: MIT */
/* fill.c: what the public interface of tensors asks of kernels. Read next: kernels.h. */
#include "kernels.h"

void ht_tensor_fill(ht_tensor *x, double value)
{
    hti_tensor_assert_unborrowed(x, "ht_tensor_fill");
    if (hti_tensor_takes(x, &value, "ht_tensor_fill", 0))
        hti_run_fill(x->ctx, x->array, value);
}

ht_status ht_tensor_copy(ht_tensor *to, const ht_tensor *from)
{
    char got[HT_SHAPE_TEXT], expected[HT_SHAPE_TEXT];
    hti_tensor_assert_unborrowed(to, "ht_tensor_copy");
    HT_ASSERT(from, "ht_tensor_copy: from is NULL");
    if (!ht_shape_equal(to->array.shape, from->array.shape))
        return ht_context_fail(to->ctx, HT_ERROR_SHAPE, NULL,
                               "ht_tensor_copy: expected a %s tensor to copy, got %s",
                               ht_shape_text(to->array.shape, expected),
                               ht_shape_text(from->array.shape, got));
    ht_status status = hti_tensor_holds(to, from, "ht_tensor_copy");
    if (!status && to != from) hti_run_copy(to->ctx, to->array, from->array);
    return status;
}
