/* SPDX-License-Identifier: MIT */
/* corrupt.c: wrong labels on purpose, the noise that data hyper-cleaning has to find
 * (Franceschi et al., ICML 2017). Read next: examples/bilevel/hyperclean.c. */
#include "data_internal.h"

#include <math.h>
#include <string.h>

static ht_status corrupt_check(ht_context *ctx, double fraction, int classes,
                               const ht_tensor *labels)
{
    char text[HT_SHAPE_TEXT];
    if (!(fraction >= 0 && fraction <= 1))
        return ht_context_fail(
            ctx, HT_ERROR_ARGUMENT, NULL,
            "ht_corrupt_labels: expected a fraction in [0, 1], got %g\n"
            "  hint: 0.5 is half of the rows",
            fraction);
    if (classes < 2)
        return ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                               "ht_corrupt_labels: expected 2 classes or more, got %d\n"
                               "  hint: with one class no label can be different",
                               classes);
    if (ht_tensor_dtype(labels) != HT_I32)
        return ht_context_fail(ctx, HT_ERROR_DTYPE, NULL,
                               "ht_corrupt_labels: expected i32 labels, got %s\n"
                               "  hint: ht_tensor_copy converts",
                               ht_dtype_name(ht_tensor_dtype(labels)));
    if (ht_tensor_shape(labels).rank != 1)
        return ht_context_fail(ctx, HT_ERROR_SHAPE, NULL,
                               "ht_corrupt_labels: expected labels (n), got %s\n"
                               "  hint: one class number a row, not one-hot",
                               ht_shape_text(ht_tensor_shape(labels), text));
    const int32_t *label = ht_tensor_data(labels);
    for (int64_t row = 0; row < ht_tensor_count(labels); row++)
        if (label[row] < 0 || label[row] >= classes)
            return ht_context_fail(
                ctx, HT_ERROR_ARGUMENT, NULL,
                "ht_corrupt_labels: row %lld: expected a label in 0..%d, "
                "got %d\n  hint: does `classes` count them all?",
                (long long)row, classes - 1, label[row]);
    return HT_OK;
}

/* label' = label + 1 + u mod classes, u uniform in 0 .. classes-2: never the same, the
 * others equally likely. */
ht_status ht_corrupt_labels(ht_context *ctx, uint64_t stream, double fraction,
                            int classes, ht_tensor *labels, uint8_t *corrupted)
{
    HT_ASSERT(ctx && labels, "ht_corrupt_labels: context %p, labels %p", (void *)ctx,
              (void *)labels);
    ht_status status = corrupt_check(ctx, fraction, classes, labels);
    if (status) return status;
    int64_t n = ht_tensor_count(labels), n_wrong = llround(fraction * (double)n);
    uint64_t seed = ht_context_seed(ctx);
    int32_t *label = ht_tensor_data(labels);
    hti_tensor_write(labels, "ht_corrupt_labels", NULL);
    hti_order order = hti_order_new(seed, stream, n);
    if (corrupted) memset(corrupted, 0, (size_t)n);
    for (int64_t i = 0; i < n_wrong; i++) {
        int64_t row = hti_order_at(&order, i);
        int64_t u =
            ht_random_below(seed, stream, HTI_ORDER_INDICES + (uint64_t)i, classes - 1);
        label[row] = (int32_t)((label[row] + 1 + u) % classes);
        if (corrupted) corrupted[row] = 1;
    }
    return HT_OK;
}
