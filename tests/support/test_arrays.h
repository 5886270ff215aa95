/* SPDX-License-Identifier: MIT */
/* test_arrays.h: arrays of random values in random views, and one element at a time as
 * the oracle sees them, for the tests of the kernels. Blocks are exactly as large as
 * their view, so that a sanitizer sees a read outside. */
#ifndef HTI_TEST_ARRAYS_H
#define HTI_TEST_ARRAYS_H

#include "kernels.h"
#include "test.h"

struct test_random {
    uint64_t seed, next;
};

struct test_array {
    ht_array array;
    void *block;
};

/* Kinds of `elementwise` by themselves. */
static inline void hti_run_unary(ht_context *ctx, hti_unary f, ht_array out, ht_array a)
{
    hti_kernel(ctx, elementwise, HTI_LOOP_UNARY, (int)f, &out, 1,
               (const ht_array *[]){&a});
}

static inline void hti_run_compare(ht_context *ctx, hti_compare f, ht_array out,
                                   ht_array a, ht_array b)
{
    hti_kernel(ctx, elementwise, HTI_LOOP_COMPARE, (int)f, &out, 2,
               (const ht_array *[]){&a, &b});
}

static inline void hti_run_where(ht_context *ctx, ht_array out, ht_array condition,
                                 ht_array a, ht_array b)
{
    hti_kernel(ctx, elementwise, HTI_LOOP_WHERE, 0, &out, 3,
               (const ht_array *[]){&condition, &a, &b});
}

/* 0 .. n - 1 */
static inline int64_t test_below(struct test_random *random, int64_t n)
{
    return ht_random_below(random->seed, 1, random->next++, n);
}

/* Mostly about one, at times zero, large or small; whole numbers repeat, for ties. */
static inline double test_value(struct test_random *random, ht_dtype dtype)
{
    double x = 4 * ht_random_uniform(random->seed, 2, random->next++) - 2;
    if (dtype == HT_U8) return (double)test_below(random, 256);
    if (dtype == HT_I32) return (double)(test_below(random, 21) - 10);
    switch (test_below(random, 8)) {
    case 0:
        return 0;
    case 1:
        return 20 * x;
    case 2:
        return 0.001 * x;
    case 3:
        return (double)(int)x;
    default:
        return x;
    }
}

static inline int64_t test_place(const ht_array *a, int64_t i)
{
    int64_t at = 0;
    for (int k = a->shape.rank - 1; k >= 0; --k) {
        at += i % a->shape.dim[k] * a->stride[k];
        i /= a->shape.dim[k];
    }
    return at;
}

/* Element i in row-major order. */
static inline double test_get(const ht_array *a, int64_t i)
{
    int64_t at = test_place(a, i);
    switch (a->dtype) {
    case HT_F32:
        return (double)((const float *)a->data)[at];
    case HT_F64:
        return ((const double *)a->data)[at];
    case HT_I32:
        return ((const int32_t *)a->data)[at];
    default:
        return ((const uint8_t *)a->data)[at];
    }
}

static inline void test_put(const ht_array *a, int64_t i, double value)
{
    int64_t at = test_place(a, i);
    switch (a->dtype) {
    case HT_F32:
        ((float *)a->data)[at] = (float)value;
        break;
    case HT_F64:
        ((double *)a->data)[at] = value;
        break;
    case HT_I32:
        ((int32_t *)a->data)[at] = (int32_t)value;
        break;
    default:
        ((uint8_t *)a->data)[at] = (uint8_t)value;
        break;
    }
}

static inline struct test_array test_array_of(struct test_random *random, ht_array a,
                                              int64_t elements, int64_t start)
{
    size_t size = ht_dtype_bytes(a.dtype);
    char *block = malloc((size_t)elements * size + 1);
    assert_non_null(block);
    a.data = block + start * (int64_t)size;
    for (int64_t i = 0, n = ht_shape_count(a.shape); i < n; ++i)
        test_put(&a, i, test_value(random, a.dtype));
    return (struct test_array){a, block};
}

static inline struct test_array test_dense(struct test_random *random, ht_dtype dtype,
                                           ht_shape shape)
{
    return test_array_of(random, hti_contiguous(NULL, dtype, shape),
                         ht_shape_count(shape), 0);
}

/* The axes lie in memory in any order, some stepped, some backwards and, if `repeat`,
 * some of stride 0. */
static inline struct test_array test_view(struct test_random *random, ht_dtype dtype,
                                          ht_shape shape, bool repeat)
{
    ht_array a = {.dtype = dtype, .shape = shape};
    int order[HT_MAX_RANK] = {0, 1, 2, 3, 4, 5};
    int64_t extent = 1, start = 0;
    bool plain = test_below(random, 3) == 0;
    for (int i = 0; i < shape.rank; ++i) {
        int j = plain ? shape.rank - 1 - i : i + (int)test_below(random, shape.rank - i);
        int axis = plain ? j : order[j];
        order[j] = order[i];
        if (repeat && test_below(random, 4) == 0) continue;
        int64_t step = plain || test_below(random, 3) ? 1 : 2;
        a.stride[axis] = extent * step;
        extent *= step * (shape.dim[axis] > 0 ? shape.dim[axis] : 1);
        if (plain || test_below(random, 5) || shape.dim[axis] == 0) continue;
        start += a.stride[axis] * (shape.dim[axis] - 1);
        a.stride[axis] = -a.stride[axis];
    }
    return test_array_of(random, a, extent, start);
}

/* Rank 0 .. 6, axes 0 .. 6 long, 0 rarely. */
static inline ht_shape test_shape(struct test_random *random)
{
    ht_shape shape = {.rank = (int)test_below(random, HT_MAX_RANK + 1)};
    for (int i = 0; i < shape.rank; ++i)
        shape.dim[i] = test_below(random, 30) ? 1 + test_below(random, 6) : 0;
    return shape;
}

static inline void test_array_free(struct test_array *a)
{
    free(a->block);
}

/* The first difference in bits, NaNs being alike, fails with both values. */
static inline void test_same_bits(const ht_array *got, const ht_array *want,
                                  const char *what)
{
    int64_t n = ht_shape_count(want->shape);
    size_t size = ht_dtype_bytes(want->dtype);
    for (int64_t i = 0; i < n; ++i) {
        const char *x = (const char *)got->data + test_place(got, i) * (int64_t)size;
        const char *y = (const char *)want->data + test_place(want, i) * (int64_t)size;
        double a = test_get(got, i), b = test_get(want, i);
        if (memcmp(x, y, size) == 0 || (isnan(a) && isnan(b))) continue;
        fail_msg("%s: element %lld of %lld: got %.17g, want %.17g", what, (long long)i,
                 (long long)n, a, b);
    }
}

static inline ht_context *test_context(int threads)
{
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = threads});
    assert_non_null(ctx);
    return ctx;
}

#endif
