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
