/* SPDX-License-Identifier: MIT */
/* ratio.h: integers times n/d, so that it can be undone exactly: what n/d < 1 makes of an
 * integer has fewer bits than it had, and the rest is kept. Read next: ratio.c. */
#ifndef HTI_RATIO_H
#define HTI_RATIO_H

#include <stdbool.h>
#include <stdint.h>

enum { HTI_RATIO_MOST = 1 << 16 }; /* of a denominator */

typedef struct hti_ratio {
    int64_t n, d; /* 0 < n <= d <= HTI_RATIO_MOST, without a common divisor */
} hti_ratio;

/* The fraction nearest to x, within 1 / (2 HTI_RATIO_MOST): 0.9 is 9/10. False: it is not
 * positive, or x is above 1. */
bool hti_ratio_of(double x, hti_ratio *ratio);

/* What is kept of `count` integers: a number for each, |rest| <= largest, whose low 32
 * bits go to a layer where it would grow past int64_t. When they do follows from the
 * ratios alone. */
typedef struct hti_remainders {
    int64_t count;
    int64_t *rest;        /* count */
    int32_t *layer;       /* `most` layers of count */
    int32_t *layer_times; /* multiplications before each layer was taken */
    int64_t largest;
    int32_t times; /* multiplications */
    int64_t layers, most;
} hti_remainders;

/* Layers that so many multiplications by a ratio take. */
int64_t hti_ratio_layers(hti_ratio ratio, int64_t times);
/* None, in the room there is. */
void hti_remainders_clear(hti_remainders *r);
/* v times n/d, each within (n + d) / 2 units. False, and nothing is changed: no layer is
 * left. */
bool hti_ratio_multiply(hti_remainders *r, hti_ratio ratio, int64_t *v);
/* The last multiplication, by that ratio, undone. Undone are all before the next one. */
void hti_ratio_undo(hti_remainders *r, hti_ratio ratio, int64_t *v);
/* Whether nothing is kept, as before the first multiplication. */
bool hti_remainders_none(const hti_remainders *r);
/* Bits that are kept of each integer. */
double hti_remainders_bits(const hti_remainders *r);

#endif
