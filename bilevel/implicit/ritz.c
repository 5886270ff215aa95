/* SPDX-License-Identifier: MIT */
/* ritz.c: eigenvalues of a symmetric tridiagonal matrix by bisection: Givens' count of
 * those below a number is that of the negative pivots of T - x I, which is exact for a
 * matrix near T whatever the pivots are (J. Wilkinson, The Algebraic Eigenvalue Problem,
 * 1965, 5.39). Read next: normal_gradient.c. */
#include "ritz.h"

#include <math.h>

enum { RITZ_MOST = 256 };

static int64_t ritz_most(int64_t rows)
{
    return rows < RITZ_MOST ? rows : RITZ_MOST;
}

int64_t hti_ritz_room(int64_t rows)
{
    return 2 * ritz_most(rows);
}

hti_ritz hti_ritz_new(double *room, int64_t rows)
{
    int64_t most = ritz_most(rows);
    return (hti_ritz){.diagonal = room, .beside = room + most, .most = most};
}

void hti_ritz_add(hti_ritz *t, double diagonal, double beside)
{
    if (t->n == t->most) return;
    t->diagonal[t->n] = diagonal;
    t->beside[t->n++] = beside;
}

static int64_t ritz_below(const hti_ritz *t, double x)
{
    int64_t below = 0;
    double pivot = 1;
    for (int64_t i = 0; i < t->n; i++) {
        double off = i ? t->beside[i - 1] : 0;
        pivot = t->diagonal[i] - x - (off != 0 ? off / pivot * off : 0);
        below += pivot < 0;
    }
    return below;
}

double hti_ritz_value(const hti_ritz *t, int64_t index)
{
    double reach = 0; /* Gershgorin: no eigenvalue is larger */
    for (int64_t i = 0; i < t->n; i++) {
        double row = fabs(t->diagonal[i]) + (i ? fabs(t->beside[i - 1]) : 0) +
                     (i + 1 < t->n ? fabs(t->beside[i]) : 0);
        if (row > reach) reach = row;
    }
    double low = -reach, high = reach;
    for (int i = 0; i < 60; i++) {
        double middle = low + (high - low) / 2;
        if (ritz_below(t, middle) > index)
            high = middle;
        else
            low = middle;
    }
    return low + (high - low) / 2;
}
