/* SPDX-License-Identifier: MIT */
/* start.c: a context and its table: the reference first, then what fast/ answers in its
 * place, if it was built. Read next: reference/reference.c, fast/fast.c. */
#include "kernels.h"

#if !HTI_FAST
bool hti_fast_fill(ht_context *ctx, int instruction_set)
{
    (void)ctx, (void)instruction_set;
    return false;
}

const char *hti_matmul_backend(void)
{
    return "reference";
}
#endif

bool hti_context_use(ht_context *ctx, int index)
{
    if (index != HTI_REFERENCE) return hti_fast_fill(ctx, index - HTI_BASELINE);
    hti_reference_fill(ctx->kernels);
    ctx->loops = NULL;
    return true;
}

static void start_kernels(ht_context *ctx)
{
    ctx->fuse_least = HTI_FUSE_LEAST;
    ctx->block_least = HTI_BLOCK_LEAST;
    for (int i = HTI_REFERENCE; hti_context_use(ctx, i);) i++;
}

ht_context *ht_context_new(const ht_context_options *options)
{
    return hti_context_new(options, sizeof(struct hti_kernels), start_kernels);
}
