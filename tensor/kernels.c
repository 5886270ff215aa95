/* SPDX-License-Identifier: MIT */
/* kernels.c: which loops this machine can run.
 * Read next: loops.h, elementwise.c. */
#include "kernels.h"

#include "loops.h"

const struct hti_kernels *hti_kernels_at(int index)
{
    const struct hti_kernels *usable[4] = {&hti_kernels_baseline};
#if defined(HTI_X86) && HTI_X86
    int n = 1;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        usable[n++] = &hti_kernels_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        usable[n++] = &hti_kernels_avx512;
#endif
    return index >= 0 && index < 4 ? usable[index] : NULL;
}

const char *hti_kernels_name(const struct hti_kernels *kernels)
{
    return kernels->name;
}

int64_t hti_offset(const ht_array *a, int64_t flat)
{
    int64_t offset = 0;
    for (int i = a->shape.rank - 1; i > 0; --i) {
        offset += flat % a->shape.dim[i] * a->stride[i];
        flat /= a->shape.dim[i];
    }
    return a->shape.rank ? offset + flat * a->stride[0] : 0;
}
