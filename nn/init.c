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

/* A matrix with at least one input, so that the formulas have a value. */
static ht_status init_check(const ht_tensor *weight, const char *who)
{
    char text[HT_SHAPE_TEXT];
    HT_ASSERT(weight, "%s: the weight is NULL", who);
    ht_shape shape = ht_tensor_shape(weight);
    if (shape.rank == 2 && shape.dim[0] > 0) return HT_OK;
    return ht_context_fail(ht_tensor_context(weight), HT_ERROR_SHAPE, NULL,
                           "%s: expected a weight (n_in, n_out) with n_in > 0, got %s",
                           who, ht_shape_text(shape, text));
}

ht_status ht_glorot_uniform(ht_tensor *weight, uint64_t stream)
{
    ht_status status = init_check(weight, "ht_glorot_uniform");
    if (status) return status;
    ht_shape shape = ht_tensor_shape(weight);
    double bound = sqrt(6 / ((double)shape.dim[0] + (double)shape.dim[1]));
    return ht_tensor_uniform(weight, stream, -bound, bound);
}

ht_status ht_he_normal(ht_tensor *weight, uint64_t stream)
{
    ht_status status = init_check(weight, "ht_he_normal");
    if (status) return status;
    return ht_tensor_normal(weight, stream, 0,
                            sqrt(2 / (double)ht_tensor_shape(weight).dim[0]));
}

/* Adds "name.part", uniform in +-bound. */
static bool init_add(ht_set *theta, const char *name, const char *part, ht_dtype dtype,
                     ht_shape shape, double bound)
{
    size_t bytes = strlen(name) + strlen(part) + 2;
    char *full = hti_resize(theta->ctx, NULL, 0, bytes);
    if (!full) return false;
    snprintf(full, bytes, "%s.%s", name, part);
    ht_tensor *x = ht_set_add(theta, full, dtype, shape);
    bool done = x && !ht_tensor_uniform(x, ht_stream(full), -bound, bound);
    hti_resize(theta->ctx, full, bytes, 0);
    return done;
}

/* Half a layer would be worse than none. */
static void init_undo(ht_set *theta, int n)
{
    while (theta->n > n) {
        char *name = theta->name[--theta->n];
        ht_tensor_free(theta->tensor[theta->n]);
        hti_resize(theta->ctx, name, strlen(name) + 1, 0);
    }
}

void ht_linear_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                    int64_t n_out)
{
    HT_ASSERT(theta && name, "ht_linear_init: theta %p, name %p", (void *)theta,
              (const void *)name);
    if (n_in <= 0 || n_out <= 0 || !hti_dtype_is_float(dtype)) {
        ht_context_fail(theta->ctx,
                        hti_dtype_is_float(dtype) ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, NULL,
                        "ht_linear_init: \"%s\": expected HT_F32 or HT_F64, n_in > 0 and "
                        "n_out > 0, got dtype %d, %lld and %lld",
                        name, (int)dtype, (long long)n_in, (long long)n_out);
        return;
    }
    int before = theta->n;
    double bound = 1 / sqrt((double)n_in);
    if (!init_add(theta, name, "weight", dtype, HT_SHAPE(n_in, n_out), bound) ||
        !init_add(theta, name, "bias", dtype, HT_SHAPE(n_out), bound))
        init_undo(theta, before);
}
