/* SPDX-License-Identifier: MIT */
/* init.c: initial values. Each tensor draws from the stream of its own name, so a network
 * starts from the same numbers whatever the order it is put together in.
 * Read next: layers.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"

/* FNV-1a, 64 bits (Fowler, Noll & Vo). */
uint64_t ht_stream(const char *name)
{
    HT_ASSERT(name, "ht_stream: the name is NULL");
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    return hash;
}

/* The numbers of inputs and outputs of a weight, (n_in, n_out) or, of a convolution,
 * (out, in, kh, kw), whose taps count. Without an input the formulas have no value. */
static ht_status init_fans(const ht_tensor *weight, const char *who, double *n_in,
                           double *n_out)
{
    char text[HT_SHAPE_TEXT];
    HT_ASSERT(weight, "%s: the weight is NULL", who);
    ht_shape shape = ht_tensor_shape(weight);
    bool conv = shape.rank == 4;
    double taps = conv ? (double)shape.dim[2] * (double)shape.dim[3] : 1;
    *n_in = taps * (double)shape.dim[conv];
    *n_out = taps * (double)shape.dim[!conv];
    if ((conv || shape.rank == 2) && *n_in > 0) return HT_OK;
    return ht_context_fail(
        ht_tensor_context(weight), HT_ERROR_SHAPE, NULL,
        "%s: expected a weight (n_in, n_out) or (out, in, kh, kw) with "
        "inputs, got %s",
        who, ht_shape_text(shape, text));
}

ht_status ht_glorot_uniform(ht_tensor *weight, uint64_t stream)
{
    double n_in, n_out;
    ht_status status = init_fans(weight, "ht_glorot_uniform", &n_in, &n_out);
    if (status) return status;
    double bound = sqrt(6 / (n_in + n_out));
    return ht_tensor_uniform(weight, stream, -bound, bound);
}

ht_status ht_he_normal(ht_tensor *weight, uint64_t stream)
{
    double n_in, n_out;
    ht_status status = init_fans(weight, "ht_he_normal", &n_in, &n_out);
    if (status) return status;
    return ht_tensor_normal(weight, stream, 0, sqrt(2 / n_in));
}

char *hti_init_name(ht_context *ctx, const char *name, const char *part)
{
    size_t bytes = strlen(name) + strlen(part) + 2;
    char *full = hti_resize(ctx, NULL, 0, bytes);
    if (full) snprintf(full, bytes, "%s.%s", name, part);
    return full;
}

void hti_init_unname(ht_context *ctx, char *name)
{
    hti_resize(ctx, name, strlen(name) + 1, 0);
}

ht_tensor *hti_init_add(ht_set *theta, const char *name, const char *part, ht_dtype dtype,
                        ht_shape shape, uint64_t *stream)
{
    char *full = hti_init_name(theta->ctx, name, part);
    if (!full) return NULL;
    ht_tensor *x = ht_set_add_at(theta, full, dtype, shape, NULL);
    if (stream) *stream = ht_stream(full);
    hti_init_unname(theta->ctx, full);
    return x;
}

bool hti_init_uniform(ht_set *theta, const char *name, const char *part, ht_dtype dtype,
                      ht_shape shape, double bound)
{
    uint64_t stream;
    ht_tensor *x = hti_init_add(theta, name, part, dtype, shape, &stream);
    return x && !ht_tensor_uniform(x, stream, -bound, bound);
}

bool hti_init_fill(ht_set *theta, const char *name, const char *part, ht_dtype dtype,
                   int64_t n, double value)
{
    ht_tensor *x = hti_init_add(theta, name, part, dtype, HT_SHAPE(n), NULL);
    if (x && value != 0) ht_tensor_fill(x, value);
    return x != NULL;
}

void hti_init_undo(ht_set *theta, int n)
{
    hti_set_drop(theta, theta->n - n);
}

bool hti_init_sizes(ht_set *theta, const char *who, const char *name, ht_dtype dtype,
                    const char *sizes, int64_t a, int64_t b)
{
    HT_ASSERT(theta && name, "%s: theta %p, name %p", who, (void *)theta,
              (const void *)name);
    bool is_float = hti_dtype_is_float(dtype);
    if (a > 0 && b > 0 && is_float) return true;
    char text[HTI_DTYPE_TEXT];
    ht_context_fail(theta->ctx, is_float ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, NULL,
                    "%s: \"%s\": expected HT_F32 or HT_F64, %s, got %s, %lld and %lld",
                    who, name, sizes, hti_dtype_text(dtype, text), (long long)a,
                    (long long)b);
    return false;
}

void ht_linear_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                    int64_t n_out)
{
    if (!hti_init_sizes(theta, "ht_linear_init", name, dtype, "n_in > 0 and n_out > 0",
                        n_in, n_out))
        return;
    int before = theta->n;
    double bound = 1 / sqrt((double)n_in);
    if (!hti_init_uniform(theta, name, "weight", dtype, HT_SHAPE(n_in, n_out), bound) ||
        !hti_init_uniform(theta, name, "bias", dtype, HT_SHAPE(n_out), bound))
        hti_init_undo(theta, before);
}

void ht_conv2d_init(ht_set *theta, const char *name, ht_dtype dtype, ht_shape weight)
{
    HT_ASSERT(theta && name, "ht_conv2d_init: theta %p, name %p", (void *)theta,
              (const void *)name);
    char text[HT_SHAPE_TEXT], type[HTI_DTYPE_TEXT];
    bool is_float = hti_dtype_is_float(dtype);
    if (weight.rank != 4 || ht_shape_count(weight) < 1 || !is_float) {
        ht_context_fail(theta->ctx, is_float ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, NULL,
                        "ht_conv2d_init: \"%s\": expected HT_F32 or HT_F64 and a weight "
                        "(out, in / groups, kh, kw), none of them 0, got %s, %s",
                        name, hti_dtype_text(dtype, type), ht_shape_text(weight, text));
        return;
    }
    int before = theta->n;
    int64_t out = weight.dim[0];
    double bound = 1 / sqrt((double)ht_shape_count(weight) / (double)out);
    if (!hti_init_uniform(theta, name, "weight", dtype, weight, bound) ||
        !hti_init_uniform(theta, name, "bias", dtype, HT_SHAPE(out), bound))
        hti_init_undo(theta, before);
}

void ht_embedding_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n,
                       int64_t width)
{
    if (!hti_init_sizes(theta, "ht_embedding_init", name, dtype, "n > 0 and width > 0", n,
                        width))
        return;
    int before = theta->n;
    uint64_t stream;
    ht_tensor *x =
        hti_init_add(theta, name, "weight", dtype, HT_SHAPE(n, width), &stream);
    if (!x || ht_tensor_normal(x, stream, 0, 1)) hti_init_undo(theta, before);
}
