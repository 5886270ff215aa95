/* SPDX-License-Identifier: MIT */
/* kernels.c: which loops this machine can run, and how work is cut over threads.
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

static int64_t piece_start(int64_t units, int64_t pieces, int64_t i)
{
    return units / pieces * i + (i < units % pieces ? i : units % pieces);
}

void hti_parallel(const ht_context *ctx, int64_t elements, int64_t units, hti_task_fn run,
                  const void *work)
{
    int threads = ht_context_threads(ctx);
    if (elements < HTI_SERIAL || units < 2 || threads < 2) {
        run(work, 0, units);
        return;
    }
    int64_t pieces = elements / HTI_CHUNK < units ? elements / HTI_CHUNK : units;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(static)
#endif
    for (int64_t i = 0; i < pieces; ++i)
        run(work, piece_start(units, pieces, i), piece_start(units, pieces, i + 1));
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
