/* SPDX-License-Identifier: MIT */
/* fast.c: the instruction sets this machine can run, and the kernels of this folder put
 * into a context's table. Read next: loops.h, elementwise.c. */
#include "loops.h"

const struct hti_loops *hti_loops_at(int index)
{
    const struct hti_loops *usable[4] = {&hti_loops_baseline};
#if defined(HTI_X86) && HTI_X86
    int n = 1;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        usable[n++] = &hti_loops_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        usable[n++] = &hti_loops_avx512;
#endif
    return index >= 0 && index < 4 ? usable[index] : NULL;
}

bool hti_fast_fill(ht_context *ctx, int instruction_set)
{
    static void (*const fill[])(struct hti_kernels *) = {
        hti_fast_elementwise, hti_fast_reduce,    hti_fast_scan,  hti_fast_rows,
        hti_fast_triangle,    hti_fast_attention, hti_fast_index, hti_fast_draws,
        hti_fast_matmul,      hti_fast_conv,      hti_fast_pool,
    };
    const struct hti_loops *loops = hti_loops_at(instruction_set);
    if (!loops) return false;
    ctx->loops = loops;
    ctx->kernels->name = loops->name;
    for (size_t i = 0; i < sizeof fill / sizeof *fill; i++) fill[i](ctx->kernels);
    return true;
}
