/* SPDX-License-Identifier: MIT */
/* floats.c: elements of either float type as f64 and back, a tensor's, or all of a set's
 * one after the other. Read next: ../kernels/set_vector.c. */
#include <string.h>

#include "set.h"

void hti_floats_get(double *to, const ht_tensor *like, const void *from)
{
    int64_t n = ht_tensor_count(like);
    const float *narrow = from;
    if (like->array.dtype == HT_F64)
        memcpy(to, from, (size_t)n * sizeof *to);
    else
        for (int64_t k = 0; k < n; k++) to[k] = (double)narrow[k];
}

void hti_floats_put(void *to, const ht_tensor *like, const double *from)
{
    int64_t n = ht_tensor_count(like);
    float *narrow = to;
    if (like->array.dtype == HT_F64)
        memcpy(to, from, (size_t)n * sizeof *from);
    else
        for (int64_t k = 0; k < n; k++) narrow[k] = (float)from[k];
}

void hti_set_get(double *v, const ht_set *set)
{
    for (int j = 0; j < set->n; j++) {
        hti_floats_get(v, set->tensor[j], set->tensor[j]->array.data);
        v += ht_tensor_count(set->tensor[j]);
    }
}

void hti_set_put(const ht_set *set, const double *v)
{
    for (int j = 0; j < set->n; j++) {
        hti_floats_put(set->tensor[j]->array.data, set->tensor[j], v);
        v += ht_tensor_count(set->tensor[j]);
    }
}
