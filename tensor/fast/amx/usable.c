/* SPDX-License-Identifier: MIT */
/* usable.c: may this process use matrix tiles? The processor has to have them, the
 * operating system to keep them for a thread, and to have said yes to this process.
 * Read next: amx.h, fast.c. */
#define _DEFAULT_SOURCE
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "amx.h"

enum {
    USABLE_TILES = 1 << 24, /* of leaf 7, edx */
    USABLE_BF16 = 1 << 22,
    USABLE_SAVES = 1 << 27, /* of leaf 1, ecx: the operating system says what it saves */
    USABLE_KEPT = 3 << 17,  /* of that: tiles and what they are configured to */
    USABLE_DATA = 18,
    USABLE_ASK = 0x1023 /* ARCH_REQ_XCOMP_PERM, of Linux 5.16 on */
};

static bool usable_processor(void)
{
    unsigned a, b, c, d;
    const unsigned need = USABLE_TILES | USABLE_BF16;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & need) != need) return false;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & USABLE_SAVES)) return false;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a & USABLE_KEPT) == USABLE_KEPT;
}

bool hti_amx_usable(void)
{
    return usable_processor() && syscall(SYS_arch_prctl, USABLE_ASK, USABLE_DATA) == 0 &&
           hti_amx_agrees();
}
