/* SPDX-License-Identifier: MIT */
/* pages.c: large pages for large blocks, where the system gives them when asked (Linux
 * with transparent huge pages on "madvise"): a sweep over hundreds of megabytes then
 * misses the table of addresses 512 times less. Contents are not touched; where nothing
 * answers, nothing happens. Read next: context.c. */
#if defined(__linux__) && !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE
#endif
#include "tensor_internal.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

enum { PAGES_LARGE = 2 << 20 };

void hti_large_pages(void *memory, size_t bytes)
{
#if defined(MADV_HUGEPAGE)
    uintptr_t first = hti_round_up((uintptr_t)memory, PAGES_LARGE);
    uintptr_t last = ((uintptr_t)memory + bytes) / PAGES_LARGE * PAGES_LARGE;
    if (memory && first < last)
        (void)madvise((unsigned char *)memory + (first - (uintptr_t)memory), last - first,
                      MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}
