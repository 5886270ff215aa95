/* SPDX-License-Identifier: MIT */
/* fma.c: multiply-adds in registers alone, as many under way at once as this machine can
 * have: what no product is faster than. See floor.h. */
#include "floor.h"

#if defined(__AVX512F__)
enum { SUMS = 24, LANES = 16 };
#else
enum { SUMS = 12, LANES = 8 };
#endif
typedef float fma_lanes __attribute__((vector_size(LANES * sizeof(float))));

#if defined(__GNUC__) && !defined(__clang__)
#define FMA_UNROLL _Pragma("GCC unroll 24")
#else
#define FMA_UNROLL _Pragma("clang loop unroll(full)")
#endif

/* Rounds go to the sums' fixed point, by / (1 - by): 1. */
float bench_hand_fma(int64_t flops)
{
    fma_lanes sum[SUMS], by = {0};
    float all = 0;
    by += 0.5f;
    FMA_UNROLL for (int s = 0; s < SUMS; s++) sum[s] = by * (float)s;
    for (int64_t i = 0; i < flops / (2 * SUMS * LANES); i++)
        FMA_UNROLL for (int s = 0; s < SUMS; s++) sum[s] = sum[s] * by + by;
    FMA_UNROLL for (int s = 0; s < SUMS; s++) all += sum[s][0];
    return all;
}
