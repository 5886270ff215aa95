/* SPDX-License-Identifier: MIT */
/* resident.h: what of a process is in memory, as the system counts it, for programs that
 * are compared with others. Read next: peer.c. */
#ifndef BENCH_RESIDENT_H
#define BENCH_RESIDENT_H

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number of /proc/self/status, -1 if there is none. */
static inline long status_kb(const char *field)
{
    char line[256];
    long kb = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && kb < 0 && fgets(line, sizeof line, f))
        if (!strncmp(line, field, strlen(field)))
            kb = strtol(line + strlen(field), NULL, 10);
    if (f) fclose(f);
    return kb;
}

/* What is resident once freed memory is given back; the high water starts here. */
static inline long resident_kb(void)
{
    malloc_trim(0);
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f) fputs("5", f);
    if (f) fclose(f);
    return status_kb("VmRSS:");
}

#endif
