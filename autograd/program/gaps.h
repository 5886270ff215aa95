/* SPDX-License-Identifier: MIT */
/* gaps.h: best fit in one arena: offsets taken and given back while a program is planned.
 */
#ifndef HTI_GAPS_H
#define HTI_GAPS_H

#include <stddef.h>
#include <stdint.h>

/* The free gaps of the arena, sorted by offset; neighbours are merged. */
typedef struct hti_gaps {
    struct hti_gap {
        size_t offset, size;
    } * gap;
    uint32_t n;
    size_t top; /* bytes of the arena so far */
} hti_gaps;

/* An offset where `size` bytes are free, the smallest gap that holds them or the top;
 * and back. */
size_t hti_gaps_take(hti_gaps *gaps, size_t size);
void hti_gaps_give(hti_gaps *gaps, size_t offset, size_t size);

#endif
