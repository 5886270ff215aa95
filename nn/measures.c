/* SPDX-License-Identifier: MIT */
/* measures.c: how good predictions are, of tensors: nothing here is differentiated. Read
 * next: checkpoint.c. */
#include <math.h>

#include "nn_internal.h"

/* Why what was given as logits and labels is not of their dtypes. */
static const char *measure_hint(const ht_tensor *logits, const ht_tensor *labels)
{
    if (hti_dtype_is_float(logits->array.dtype))
        return "labels are i32: ht_tensor_copy into an i32 tensor";
    if (labels->array.shape.rank > logits->array.shape.rank)
        return "the first argument is logits (n, classes): are the two exchanged?";
    return "the first argument is logits (n, classes), not their ht_argmax";
}

/* Logits (n, classes) and labels (n) i32 in 0 .. classes - 1; else an error of `who`. */
static bool measure_fits(const ht_tensor *logits, const ht_tensor *labels,
                         const char *who, const char *site)
{
    HT_ASSERT(logits && labels, "%s: logits %p, labels %p%s%s", who, (const void *)logits,
              (const void *)labels, HTI_AT(site));
    HTI_ALIVE(logits, who, "tensor");
    HTI_ALIVE(labels, who, "tensor");
    ht_shape x = ht_tensor_shape(logits), y = ht_tensor_shape(labels);
    char a[HTI_TENSOR_TEXT], b[HTI_TENSOR_TEXT];
    bool dtypes =
        hti_dtype_is_float(ht_tensor_dtype(logits)) && ht_tensor_dtype(labels) == HT_I32;
    bool shapes = x.rank == 2 && y.rank == 1 && x.dim[0] == y.dim[0];
    if (!dtypes || !shapes) {
        ht_context_fail(
            ht_tensor_context(logits), dtypes ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, site,
            "%s: expected logits (n, classes) of f32 or f64 and labels (n) of "
            "i32, got %s and %s%s%s",
            who, hti_tensor_text(logits, a), hti_tensor_text(labels, b),
            dtypes ? "" : "\n  hint: ", dtypes ? "" : measure_hint(logits, labels));
        return false;
    }
    for (int64_t i = 0; i < y.dim[0]; i++) {
        double label = ht_tensor_get(labels, i);
        if (label >= 0 && label < (double)x.dim[1]) continue;
        ht_context_fail(ht_tensor_context(logits), HT_ERROR_ARGUMENT, site,
                        "%s: expected labels in 0..%lld, the classes of the logits, got "
                        "%.0f in row %lld",
                        who, (long long)x.dim[1] - 1, label, (long long)i);
        return false;
    }
    return true;
}

/* The first of the largest of row i; -1 if one is NaN: that predicts nothing. */
static int64_t predicted(const ht_tensor *logits, int64_t i)
{
    int64_t n = ht_tensor_shape(logits).dim[1], best = 0;
    for (int64_t j = 0; j < n; j++) {
        double x = ht_tensor_get(logits, i * n + j);
        if (isnan(x)) return -1;
        if (x > ht_tensor_get(logits, i * n + best)) best = j;
    }
    return best;
}

double ht_accuracy_at(const ht_tensor *logits, const ht_tensor *labels, const char *site)
{
    if (!measure_fits(logits, labels, "ht_accuracy", site)) return (double)NAN;
    int64_t n = ht_tensor_count(labels), right = 0;
    for (int64_t i = 0; i < n; i++)
        right += (double)predicted(logits, i) == ht_tensor_get(labels, i);
    return (double)right / (double)n;
}

ht_status ht_confusion_at(const ht_tensor *logits, const ht_tensor *labels,
                          ht_tensor *counts, const char *site)
{
    HT_ASSERT(counts, "ht_confusion: the counts are NULL%s%s", HTI_AT(site));
    ht_context *ctx = ht_tensor_context(counts);
    if (!measure_fits(logits, labels, "ht_confusion", site)) return ctx->status;
    int64_t classes = ht_tensor_shape(logits).dim[1];
    char text[HTI_TENSOR_TEXT];
    if (ht_tensor_dtype(counts) != HT_I32 ||
        !ht_shape_equal(ht_tensor_shape(counts), HT_SHAPE(classes, classes)))
        return ht_context_fail(ctx, hti_unlike(HT_I32, ht_tensor_dtype(counts)), site,
                               "ht_confusion: expected counts i32 (%lld, %lld), got %s",
                               (long long)classes, (long long)classes,
                               hti_tensor_text(counts, text));
    hti_tensor_write(counts, "ht_confusion", site);
    int32_t *count = ht_tensor_data(counts);
    const int32_t *label = ht_tensor_data(labels);
    for (int64_t i = 0; i < ht_tensor_count(labels); i++) {
        int64_t class = predicted(logits, i);
        if (class >= 0) count[label[i] * classes + class]++;
    }
    return HT_OK;
}
