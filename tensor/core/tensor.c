/* SPDX-License-Identifier: MIT */
/* tensor.c: a contiguous array with an owner. Its data is a block of its own, given back
 * at once; the struct stays for a while (owned.c). Read next: random.c, kernels.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor_internal.h"

static bool tensor_kind_text(const void *x, char *text, size_t size)
{
    char one[HTI_TENSOR_TEXT];
    const ht_tensor *tensor = x;
    snprintf(text, size, "%s", hti_tensor_text(tensor, one));
    return !tensor->name;
}

static const hti_kind tensor_kind = {.name = "tensor", .text = tensor_kind_text};

/* A tensor of the caller's data, or of `bytes` of its own, zeros. */
static ht_tensor *tensor_make(ht_context *ctx, ht_dtype dtype, ht_shape shape, void *data,
                              size_t bytes)
{
    ht_tensor *x = hti_zalloc(ctx, 1, sizeof *x);
    /* The allocator promises malloc's alignment only: HTI_ALIGN bytes of slack. */
    size_t block_bytes = bytes ? bytes + HTI_ALIGN : 0;
    void *block = x && bytes ? hti_zalloc(ctx, 1, block_bytes) : NULL;
    if (!x || (bytes && !block)) return hti_resize(ctx, x, sizeof *x, 0);
    uintptr_t at = (uintptr_t)block;
    if (bytes) data = (char *)block + (hti_round_up(at, HTI_ALIGN) - at);
    hti_own(ctx, &x->owned, &tensor_kind);
    x->ctx = ctx;
    x->block = block;
    x->block_bytes = block_bytes;
    x->array = hti_contiguous(data, dtype, shape);
    return x;
}

/* The bytes of such a tensor, or SIZE_MAX with the error kept. */
static size_t tensor_bytes(ht_context *ctx, ht_dtype dtype, ht_shape shape,
                           const char *who)
{
    char text[HT_SHAPE_TEXT];
    HT_ASSERT(ctx, "%s: the context is NULL", who);
    if (!hti_dtype_is_valid(dtype)) {
        ht_context_fail(ctx, HT_ERROR_DTYPE, NULL,
                        "%s: dtype %d, expected HT_F32, HT_F64, HT_I32 or HT_U8", who,
                        (int)dtype);
        return SIZE_MAX;
    }
    size_t bytes = hti_bytes(dtype, shape);
    if (bytes == SIZE_MAX)
        ht_context_fail(
            ctx, HT_ERROR_SHAPE, NULL,
            "%s: %s %s is no shape: expected up to %d axes, none negative, and "
            "at most %td bytes in all",
            who, ht_dtype_name(dtype), ht_shape_text(shape, text), HT_MAX_RANK,
            (ptrdiff_t)PTRDIFF_MAX);
    return bytes;
}

ht_tensor *ht_tensor_new(ht_context *ctx, ht_dtype dtype, ht_shape shape)
{
    size_t bytes = tensor_bytes(ctx, dtype, shape, "ht_tensor_new");
    if (bytes == SIZE_MAX) return NULL;
    /* An empty tensor has an address too. */
    return tensor_make(ctx, dtype, shape, NULL, bytes ? bytes : 1);
}

ht_tensor *ht_tensor_wrap(ht_context *ctx, ht_dtype dtype, ht_shape shape, void *data)
{
    size_t bytes = tensor_bytes(ctx, dtype, shape, "ht_tensor_wrap");
    if (bytes == SIZE_MAX) return NULL;
    HT_ASSERT(data || bytes == 0, "ht_tensor_wrap: data is NULL, %zu bytes expected",
              bytes);
    HT_ASSERT((uintptr_t)data % ht_dtype_bytes(dtype) == 0,
              "ht_tensor_wrap: data %p is not aligned for %s", data,
              ht_dtype_name(dtype));
    return tensor_make(ctx, dtype, shape, data, 0);
}

void hti_tensor_write(ht_tensor *x, const char *who, const char *site)
{
    HTI_ALIVE(x, who, "tensor");
    x->cloned = false;
    if (x->borrows == 0) return;
    char text[HTI_TENSOR_TEXT];
    HT_ASSERT(!x->foreign,
              "%s: a live tape of another context borrows %s: reset it first", who,
              hti_tensor_text(x, text));
    x->changed = ++x->ctx->changes;
    x->changed_by = who;
    x->changed_at = site;
}

const char *hti_tensor_text(const ht_tensor *x, char text[HTI_TENSOR_TEXT])
{
    char shape[HT_SHAPE_TEXT];
    snprintf(text, HTI_TENSOR_TEXT, x->name ? "\"%.100s\" %s %s" : "%s%s %s",
             x->name ? x->name : "", ht_dtype_name(x->array.dtype),
             ht_shape_text(x->array.shape, shape));
    return text;
}

void ht_tensor_free(ht_tensor *x)
{
    if (!x) return;
    char text[HTI_TENSOR_TEXT];
    hti_tensor_text(x, text);
    HT_ASSERT(x->borrows == 0,
              "ht_tensor_free: a live tape still borrows this tensor, %s: reset or free "
              "the tape first",
              text);
    HT_ASSERT(!hti_was_freed(&x->owned),
              "ht_tensor_free: this tensor, %s, was freed before: one is freed once",
              text);
    HT_ASSERT(!x->name && x->owned.kind,
              "ht_tensor_free: this tensor, %s, belongs to a %s, which frees it: leave "
              "it to %s",
              text, x->name ? "set" : "tape",
              x->name ? "ht_set_free" : "ht_tape_reset or ht_tape_free");
    hti_resize(x->ctx, x->block, x->block_bytes, 0);
    x->block = NULL;
    hti_retire(&x->owned, sizeof *x);
}

#define TENSOR(type, name, value) \
    HTI_OWNED_GETTER(type, name, const ht_tensor *x, x, "tensor", value)
TENSOR(ht_shape, ht_tensor_shape, x->array.shape)
TENSOR(ht_dtype, ht_tensor_dtype, x->array.dtype)
TENSOR(int64_t, ht_tensor_count, ht_shape_count(x->array.shape))
TENSOR(size_t, ht_tensor_bytes, hti_bytes(x->array.dtype, x->array.shape))
TENSOR(ht_context *, ht_tensor_context, x->ctx)
TENSOR(void *, ht_tensor_data, x->array.data)
TENSOR(ht_array, ht_tensor_array, x->array)

double ht_tensor_get(const ht_tensor *x, int64_t i)
{
    HT_ASSERT(x, "ht_tensor_get: the tensor is NULL");
    HTI_ALIVE(x, "ht_tensor_get", "tensor");
    int64_t count = ht_tensor_count(x);
    HT_ASSERT(i >= 0 && i < count, "ht_tensor_get: element %lld of %lld", (long long)i,
              (long long)count);
    return hti_read(&x->array, i);
}

bool hti_tensor_takes(const ht_tensor *x, double *value, const char *who, int64_t at)
{
    ht_dtype dtype = x->array.dtype;
    double given = *value;
    if (!hti_dtype_is_float(dtype)) *value = rint(given);
    if (hti_holds(dtype, *value)) return true;
    hti_fail_unheld(x->ctx, NULL, who, dtype, given, at);
    return false;
}

void ht_tensor_set_at(ht_tensor *x, int64_t i, double value, const char *site)
{
    HT_ASSERT(x, "ht_tensor_set: the tensor is NULL");
    HTI_ALIVE(x, "ht_tensor_set", "tensor");
    int64_t count = ht_tensor_count(x);
    HT_ASSERT(i >= 0 && i < count, "ht_tensor_set: element %lld of %lld", (long long)i,
              (long long)count);
    if (!hti_tensor_takes(x, &value, "ht_tensor_set", i)) return;
    hti_tensor_write(x, "ht_tensor_set", site);
    hti_write(&x->array, i, value);
}

ht_status hti_tensor_holds(const ht_tensor *to, const ht_tensor *from, const char *who)
{
    int64_t at = hti_unheld(to->array.dtype, &from->array);
    if (at < 0) return HT_OK;
    return hti_fail_unheld(to->ctx, NULL, who, to->array.dtype, ht_tensor_get(from, at),
                           at);
}
