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
