/* SPDX-License-Identifier: MIT */
/* draws.c: draws, two at a time, over threads. Read next: core/random.c. */
#include "kernels.h"
#include "loops.h"

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

void hti_fast_draws(struct hti_kernels *kernels)
{
    kernels->random = fast_random;
}
