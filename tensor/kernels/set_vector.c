/* SPDX-License-Identifier: MIT */
/* set_vector.c: sets as vectors: their sums of products, multiples and one long tensor.
 * All is computed in f64, tensor by tensor as the first set has them. Read next:
 * ../core/floats.c. */
#include <math.h>

#include "set.h"

/* Whether all tensors are of a float type. */
static ht_status vector_floats(ht_context *ctx, const ht_set *set, const char *who)
{
    for (int j = 0; j < set->n; j++)
        if (!hti_dtype_is_float(set->tensor[j]->array.dtype))
            return ht_context_fail(ctx, HT_ERROR_DTYPE, NULL,
                                   "%s: tensor \"%s\" is %s, but elements of a vector "
                                   "are f32 or f64",
                                   who, set->name[j],
                                   ht_dtype_name(set->tensor[j]->array.dtype));
    return HT_OK;
}

/* Whether they are vectors of one form. */
static ht_status vectors_fit(const ht_set *a, const ht_set *b, const char *who,
                             const char *const called[2])
{
    HTI_ALIVE(a, who, "set");
    HTI_ALIVE(b, who, "set");
    ht_status status = hti_set_alike(a, b, who, called);
    if (!status) status = vector_floats(a->ctx, a, who);
    return status ? status : vector_floats(a->ctx, b, who);
}

static const ht_tensor *namesake(const ht_set *set, const char *name)
{
    return set->tensor[ht_set_find(set, name)];
}

static double tensor_dot(const ht_tensor *x, const ht_tensor *y)
{
    double sum = 0;
    for (int64_t k = 0, n = ht_tensor_count(x); k < n; k++)
        sum += hti_float_at(x, x->array.data, k) * hti_float_at(y, y->array.data, k);
    return sum;
}

double ht_set_dot(const ht_set *a, const ht_set *b)
{
    static const char who[] = "ht_set_dot", *const called[] = {"a", "b"};
    HT_ASSERT(a && b, "%s: a %p, b %p", who, (const void *)a, (const void *)b);
    if (vectors_fit(a, b, who, called)) return (double)NAN;
    double sum = 0;
    for (int j = 0; j < a->n; j++)
        sum += tensor_dot(a->tensor[j], namesake(b, a->name[j]));
    return sum;
}

static void tensor_axpy(double alpha, const ht_tensor *x, ht_tensor *y)
{
    const void *from = x->array.data;
    void *to = y->array.data;
    for (int64_t k = 0, n = ht_tensor_count(y); k < n; k++)
        hti_float_to(y, to, k, hti_float_at(y, to, k) + alpha * hti_float_at(x, from, k));
}

ht_status ht_set_axpy(double alpha, const ht_set *x, ht_set *y)
{
    static const char who[] = "ht_set_axpy", *const called[] = {"y", "x"};
    HT_ASSERT(x && y, "%s: x %p, y %p", who, (const void *)x, (const void *)y);
    ht_status status = vectors_fit(y, x, who, called);
    for (int j = 0; j < y->n && !status; j++) {
        tensor_axpy(alpha, namesake(x, y->name[j]), y->tensor[j]);
        hti_tensor_write(y->tensor[j], who, NULL);
    }
    return status;
}

/* Whether x is a vector of as many elements as the set has. */
static ht_status flat_fits(const ht_set *set, const ht_tensor *x, const char *who)
{
    char got[HT_SHAPE_TEXT];
    HTI_ALIVE(set, who, "set");
    HTI_ALIVE(x, who, "tensor");
    long long n = (long long)ht_set_elements(set);
    ht_status status = vector_floats(set->ctx, set, who);
    if (status) return status;
    if (x->array.shape.rank != 1 || x->array.shape.dim[0] != n)
        return ht_context_fail(set->ctx, HT_ERROR_SHAPE, NULL,
                               "%s: expected a tensor of shape (%lld), the elements of "
                               "the set, got %s",
                               who, n, ht_shape_text(x->array.shape, got));
    if (hti_dtype_is_float(x->array.dtype)) return HT_OK;
    return ht_context_fail(set->ctx, HT_ERROR_DTYPE, NULL,
                           "%s: expected a tensor of f32 or f64, got %s", who,
                           ht_dtype_name(x->array.dtype));
}

/* n elements of one into another, from there on. */
static void move_floats(const ht_tensor *from, int64_t at, ht_tensor *to, int64_t put,
                        int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        hti_float_to(to, to->array.data, put + k,
                     hti_float_at(from, from->array.data, at + k));
}

ht_status ht_set_flatten(const ht_set *set, ht_tensor *to)
{
    static const char who[] = "ht_set_flatten";
    HT_ASSERT(set && to, "%s: set %p, to %p", who, (const void *)set, (void *)to);
    ht_status status = flat_fits(set, to, who);
    if (status) return status;
    int64_t at = 0;
    for (int j = 0; j < set->n; j++) {
        int64_t n = ht_tensor_count(set->tensor[j]);
        move_floats(set->tensor[j], 0, to, at, n);
        at += n;
    }
    hti_tensor_write(to, who, NULL);
    return HT_OK;
}

ht_status ht_set_unflatten(ht_set *set, const ht_tensor *from)
{
    static const char who[] = "ht_set_unflatten";
    HT_ASSERT(set && from, "%s: set %p, from %p", who, (void *)set, (const void *)from);
    ht_status status = flat_fits(set, from, who);
    if (status) return status;
    int64_t at = 0;
    for (int j = 0; j < set->n; j++) {
        int64_t n = ht_tensor_count(set->tensor[j]);
        move_floats(from, at, set->tensor[j], 0, n);
        hti_tensor_write(set->tensor[j], who, NULL);
        at += n;
    }
    return HT_OK;
}
