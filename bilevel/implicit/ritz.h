/* SPDX-License-Identifier: MIT */
/* ritz.h: the tridiagonal matrix that a Lanczos process leaves, whose eigenvalues (Ritz
 * values) lie among those of A; the outermost are soon near its outermost. Read next:
 * normal_gradient.c. */
#ifndef HTI_RITZ_H
#define HTI_RITZ_H

#include <stdint.h>

typedef struct hti_ritz {
    double *diagonal, *beside; /* beside[i]: between rows i and i + 1 */
    int64_t n, most;
} hti_ritz;

/* Doubles for that many rows, and the rows on them. Of a great many the first are kept:
 * their values lie inside as well. */
int64_t hti_ritz_room(int64_t rows);
hti_ritz hti_ritz_new(double *room, int64_t rows);
/* A row, and what is beside it in the next. */
void hti_ritz_add(hti_ritz *t, double diagonal, double beside);
/* Of the eigenvalues in ascending order the one at an index, by bisection. */
double hti_ritz_value(const hti_ritz *t, int64_t index);

#endif
