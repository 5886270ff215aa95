/* SPDX-License-Identifier: MIT */
/* fast.c: the instruction sets this machine can run, and the kernels of this folder put
 * into a context's table; one of them, draws, is here, since core/random.c makes them.
 * Whether the process may use matrix tiles is asked once, by the first context that may.
 * Read next: loops.h, elementwise.c. */
#include <pthread.h>

#include "amx.h"
#include "loops.h"

static const struct hti_loops *loops_plain(int index)
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

#if HTI_AMX
static struct {
    pthread_once_t once;
    struct hti_loops loops;
    hti_gemm_loops gemm;
    bool usable;
} tiled = {.once = PTHREAD_ONCE_INIT};

static void tiled_ask(void)
{
    tiled.gemm = *hti_loops_avx512.gemm;
    tiled.gemm.tiles = &hti_tiles_amx;
    tiled.loops = hti_loops_avx512;
    tiled.loops.name = "amx";
    tiled.loops.gemm = &tiled.gemm;
    tiled.usable = hti_amx_usable();
}
#endif

const struct hti_loops *hti_loops_at(int index)
{
    const struct hti_loops *loops = loops_plain(index);
#if HTI_AMX
    if (!loops && loops_plain(index - 1) == &hti_loops_avx512) {
        pthread_once(&tiled.once, tiled_ask);
        if (tiled.usable) return &tiled.loops;
    }
#endif
    return loops;
}

/* Two at a time, over threads. */
static void fast_random(ht_context *ctx, hti_random f, ht_array out, uint64_t seed,
                        uint64_t stream, int32_t step, double rate)
{
    HT_ASSERT(hti_dtype_is_float(out.dtype), "output %s", ht_dtype_name(out.dtype));
    hti_draws w = hti_draws_of(f, out, seed, stream);
    w.block = (uint64_t)(uint32_t)step << 31;
    if (f == HTI_DROPOUT) w.shift = rate;
    int64_t count = ht_shape_count(out.shape);
    /* A draw costs about as much as ten elements of other loops. */
    if (count > 0) hti_parallel(ctx, 10 * count, (count + 1) / 2, hti_draw_pairs, &w);
}

bool hti_fast_fill(ht_context *ctx, int instruction_set)
{
#define FILL(name) hti_fast_##name,
    static void (*const fill[])(struct hti_kernels *) = {HTI_FAST_FILES(FILL)};
    const struct hti_loops *loops =
        (ctx->options.no_tiles ? loops_plain : hti_loops_at)(instruction_set);
    if (!loops) return false;
    ctx->loops = loops;
    ctx->kernels->name = loops->name;
    ctx->kernels->random = fast_random;
    for (size_t i = 0; i < sizeof fill / sizeof *fill; i++) fill[i](ctx->kernels);
    return true;
}
