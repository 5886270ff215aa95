/* SPDX-License-Identifier: MIT */
/* integers.h: a training by momentum in integers, and back. Read next: integers.c;
 * ../ratio.h. */
#ifndef HTI_INTEGERS_H
#define HTI_INTEGERS_H

#include "bilevel_internal.h"
#include "ratio.h"

/* Of a tensor as a training begins its largest element is below 2^HTI_FINE units, if not
 * below 2^0 in value; all have to stay below 2^HTI_WIDE units. */
enum { HTI_FINE = 50, HTI_WIDE = 62 };

/* A parameter that trains. */
typedef struct hti_integer {
    int64_t *theta, *s;    /* in units of 2^-theta_bits, 2^-s_bits */
    size_t theta_at, s_at; /* bytes into a block; into the gradient it is s's too */
    int64_t count;
    int theta_bits, s_bits;
    bool f64;
    hti_remainders remainders;
} hti_integer;

typedef struct hti_integers {
    int n;
    hti_integer *tensor;
    unsigned char *gradient; /* what s adds up, like the state's part of a block */
    double *speeds;          /* rate and momentum of each */
    size_t bytes;            /* of all, this included */
    uint64_t start;          /* digest of where the training began */
    /* The momentum whose ratio is off by the most of 1 - momentum. */
    double momentum, off;
    hti_ratio ratio;
} hti_integers;

/* How a step went. */
typedef enum hti_stepped {
    HTI_STEPPED,
    HTI_BEYOND,   /* something is not finite, or past the range of its units */
    HTI_NO_RATIO, /* a momentum is not in 2^-16 .. 1 */
    HTI_NO_LAYER  /* nor has a remainder any room */
} hti_stepped;

/* The method's own memory, laid out; at NULL: for its size alone. */
hti_integers hti_integers_open(const ht_bilevel *b, unsigned char *own);
/* Takes over theta of a block, which is rounded to its units; then s, in units that fit
 * the gradient there as well. */
hti_stepped hti_integers_begin_theta(hti_integers *m, unsigned char *block);
hti_stepped hti_integers_begin_s(hti_integers *m, const unsigned char *block);
/* A step by the gradient and the speeds; theta back, by the speeds of that step; then s,
 * by its gradient too. What they change is put to a block as well. */
hti_stepped hti_integers_step(hti_integers *m, unsigned char *block);
void hti_integers_undo_theta(hti_integers *m, unsigned char *block);
void hti_integers_undo_s(hti_integers *m, unsigned char *block);
/* Whether all is as it began. */
bool hti_integers_returned(const hti_integers *m);
/* Bits of remainders of all integers. */
double hti_integers_bits(const hti_integers *m);

#endif
