/* SPDX-License-Identifier: MIT */
/* gaps.c: the free gaps of an arena that is being laid out. Read next: plan.c. */
#include "gaps.h"

#include <string.h>

#include "tensor_internal.h"

static void gaps_remove(hti_gaps *gaps, uint32_t at)
{
    gaps->n--;
    memmove(gaps->gap + at, gaps->gap + at + 1, (gaps->n - at) * sizeof *gaps->gap);
}

/* The smallest gap that holds `size`, else the top of the arena (with the last gap, if it
 * reaches there). */
size_t hti_gaps_take(hti_gaps *gaps, size_t size)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t g = 0; g < gaps->n; g++)
        if (gaps->gap[g].size >= size &&
            (best == UINT32_MAX || gaps->gap[g].size < gaps->gap[best].size))
            best = g;
    if (best != UINT32_MAX) {
        size_t offset = gaps->gap[best].offset;
        gaps->gap[best].offset += size;
        gaps->gap[best].size -= size;
        if (!gaps->gap[best].size) gaps_remove(gaps, best);
        return offset;
    }
    size_t offset = gaps->top;
    struct hti_gap *last = gaps->n ? &gaps->gap[gaps->n - 1] : NULL;
    if (last && last->offset + last->size == gaps->top) {
        offset = last->offset;
        gaps->n--;
    }
    gaps->top = offset + size;
    return offset;
}

void hti_gaps_give(hti_gaps *gaps, size_t offset, size_t size)
{
    uint32_t at = 0;
    while (at < gaps->n && gaps->gap[at].offset < offset) at++;
    memmove(gaps->gap + at + 1, gaps->gap + at, (gaps->n - at) * sizeof *gaps->gap);
    gaps->gap[at] = (struct hti_gap){offset, size};
    gaps->n++;
    if (at + 1 < gaps->n && offset + size == gaps->gap[at + 1].offset) {
        gaps->gap[at].size += gaps->gap[at + 1].size;
        gaps_remove(gaps, at + 1);
    }
    if (at > 0 && gaps->gap[at - 1].offset + gaps->gap[at - 1].size == offset) {
        gaps->gap[at - 1].size += gaps->gap[at].size;
        gaps_remove(gaps, at);
    }
}
