/* SPDX-License-Identifier: MIT */
/* array.c: the arithmetic of shapes and strides; nothing here reads an element.
 * Read next: tensor.c, elementwise.c. */
#include <stdio.h>
#include <string.h>

#include "tensor_internal.h"

/* Whether a * b, both positive, is past `most`; small factors need no division. */
static bool array_product_exceeds(uint64_t a, uint64_t b, uint64_t most)
{
    return (a | b) >> 31 && a > most / b;
}

int64_t hti_count(const ht_shape *shape)
{
    if (shape->rank < 0 || shape->rank > HT_MAX_RANK) return -1;
    int64_t extent = 1; /* of the axes that are not empty: it bounds every stride */
    bool empty = false;
    for (int i = 0; i < shape->rank; i++) {
        int64_t dim = shape->dim[i];
        if (dim < 0) return -1;
        if (dim > 0 && array_product_exceeds((uint64_t)extent, (uint64_t)dim, INT64_MAX))
            return -1;
        empty = empty || dim == 0;
        extent *= dim > 0 ? dim : 1;
    }
    return empty ? 0 : extent;
}

int64_t ht_shape_count(ht_shape shape)
{
    return hti_count(&shape);
}

bool ht_shape_equal(ht_shape a, ht_shape b)
{
    return hti_same_shape(&a, &b);
}

const char *ht_shape_text(ht_shape shape, char text[HT_SHAPE_TEXT])
{
    HT_ASSERT(text, "ht_shape_text: the text is NULL");
    if (shape.rank < 0 || shape.rank > HT_MAX_RANK) {
        snprintf(text, HT_SHAPE_TEXT, "(rank %d)", shape.rank);
        return text;
    }
    int used = snprintf(text, HT_SHAPE_TEXT, "(");
    for (int i = 0; i < shape.rank; i++)
        used += snprintf(text + used, (size_t)(HT_SHAPE_TEXT - used), "%s%lld",
                         i ? ", " : "", (long long)shape.dim[i]);
    snprintf(text + used, (size_t)(HT_SHAPE_TEXT - used), ")");
    return text;
}

typedef struct array_dtype {
    const char *name;
    size_t bytes;
} array_dtype;

static array_dtype array_dtype_of(ht_dtype dtype)
{
    static const array_dtype known[] = {
        [HT_F32] = {"f32", sizeof(float)},
        [HT_F64] = {"f64", sizeof(double)},
        [HT_I32] = {"i32", sizeof(int32_t)},
        [HT_U8] = {"u8", sizeof(uint8_t)},
    };
    unsigned index = (unsigned)dtype;
    bool is_known = index >= HT_F32 && index <= HT_U8;
    return is_known ? known[index] : (array_dtype){"unknown dtype", 0};
}

const char *ht_dtype_name(ht_dtype dtype)
{
    return array_dtype_of(dtype).name;
}

size_t ht_dtype_bytes(ht_dtype dtype)
{
    return array_dtype_of(dtype).bytes;
}

bool hti_dtype_is_float(ht_dtype dtype)
{
    return dtype == HT_F32 || dtype == HT_F64;
}

bool hti_dtype_is_valid(ht_dtype dtype)
{
    return ht_dtype_bytes(dtype) > 0;
}

size_t hti_bytes(ht_dtype dtype, ht_shape shape)
{
    return hti_bytes_at(dtype, &shape);
}

size_t hti_bytes_at(ht_dtype dtype, const ht_shape *shape)
{
    int64_t count = hti_count(shape);
    size_t size = array_dtype_of(dtype).bytes;
    if (count < 0 || size == 0) return SIZE_MAX;
    if (array_product_exceeds((uint64_t)count, size, PTRDIFF_MAX)) return SIZE_MAX;
    return (size_t)count * size;
}

size_t hti_lay_out(ht_array *a, void *data, ht_dtype dtype, const ht_shape *shape)
{
    a->data = data;
    a->dtype = dtype;
    a->shape = *shape;
    memset(a->stride, 0, sizeof a->stride);
    int64_t stride = 1;
    bool empty = false;
    for (int i = shape->rank - 1; i >= 0; i--) {
        a->stride[i] = stride;
        empty = empty || shape->dim[i] == 0;
        if (shape->dim[i] > 0) stride *= shape->dim[i];
    }
    return empty ? 0 : (size_t)stride * ht_dtype_bytes(dtype);
}

ht_array hti_contiguous(void *data, ht_dtype dtype, ht_shape shape)
{
    ht_array a;
    hti_lay_out(&a, data, dtype, &shape);
    return a;
}

bool hti_broadcast_shapes(ht_shape a, ht_shape b, ht_shape *out)
{
    if (hti_same_shape(&a, &b)) return *out = a, true;
    ht_shape joined = {.rank = a.rank > b.rank ? a.rank : b.rank};
    for (int back = 1; back <= joined.rank; back++) {
        int64_t p = back <= a.rank ? a.dim[a.rank - back] : 1;
        int64_t q = back <= b.rank ? b.dim[b.rank - back] : 1;
        if (p != q && p != 1 && q != 1) return false;
        joined.dim[joined.rank - back] = p == 1 ? q : p;
    }
    *out = joined;
    return true;
}

ht_array hti_broadcast_array(ht_array a, ht_shape shape)
{
    if (hti_same_shape(&a.shape, &shape)) return a;
    ht_array seen = a;
    seen.shape = shape;
    memset(seen.stride, 0, sizeof seen.stride);
    char from[HT_SHAPE_TEXT], to[HT_SHAPE_TEXT];
    int added = shape.rank - a.shape.rank;
    bool fits = added >= 0;
    for (int i = 0; fits && i < a.shape.rank; i++) {
        bool repeats = a.shape.dim[i] == 1 && shape.dim[i + added] != 1;
        seen.stride[i + added] = repeats ? 0 : a.stride[i];
        fits = repeats || a.shape.dim[i] == shape.dim[i + added];
    }
    HT_ASSERT(fits, "hti_broadcast_array: %s does not broadcast to %s",
              ht_shape_text(a.shape, from), ht_shape_text(shape, to));
    return seen;
}

int64_t hti_offset_along(int rank, const int64_t *dim, const int64_t *stride,
                         int64_t flat)
{
    int64_t offset = 0;
    for (int i = rank - 1; i > 0; --i) {
        offset += flat % dim[i] * stride[i];
        flat /= dim[i];
    }
    return rank > 0 ? offset + flat * stride[0] : 0;
}

int64_t hti_offset(const ht_array *a, int64_t flat)
{
    return hti_offset_along(a->shape.rank, a->shape.dim, a->stride, flat);
}

char *hti_part(const ht_array *a, int axes, int64_t flat)
{
    int64_t at = hti_offset_along(axes, a->shape.dim, a->stride, flat);
    return hti_at(a->data, at * (int64_t)array_dtype_of(a->dtype).bytes);
}

const char *hti_dtype_text(ht_dtype dtype, char text[HTI_DTYPE_TEXT])
{
    if (ht_dtype_bytes(dtype)) return ht_dtype_name(dtype);
    snprintf(text, HTI_DTYPE_TEXT, "dtype %d", (int)dtype);
    return text;
}
