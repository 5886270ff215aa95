/* SPDX-License-Identifier: MIT */
/* Exercise 15: when to trust a hypergradient. Fill the four holes; ./dev learn 15 marks
 * them. The letters are lesson 15's. */
#include "mark.h"

enum { PARAMETERS = 8 };

/* A training: what comes out of it at eta, to x, and its outer loss F. Either may be NaN:
 * it diverged. */
typedef double (*training)(double eta, double x[PARAMETERS]);

/* S of F at eta, eta + h, eta + 2 h. */
double second_difference(double F0, double F1, double F2, double h)
{
    /* your code */
    UNWRITTEN;
    return 0;
}

/* S^ of n numbers each: x0 of eta, x1 of eta + h, x2 of eta + 2 h. The sign of 0 is 0. */
double agreement(int n, const double *x0, const double *x1, const double *x2)
{
    /* your code */
    UNWRITTEN;
    return 0;
}

/* S^ of what comes out of a training, from eta in steps of h; agreement is yours. NaN if
 * one of the three runs diverged: its F is NaN, or its x. */
double smoothness(training run, double eta, double h)
{
    /* your code */
    UNWRITTEN;
    return 0;
}

/* Of n trainings the number, 0 .. n-1, of the one whose hypergradient is best trusted for
 * steps of h from eta: its smoothness is the largest. One that diverged has NaN and is
 * not it; if all have, -1. */
int most_trusted(int n, const training *run, double eta, double h)
{
    /* your code */
    UNWRITTEN;
    return 0;
}
