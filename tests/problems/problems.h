/* SPDX-License-Identifier: MIT */
/* problems.h: a bilevel problem of the literature as a page of mathematics,
 *
 *   min over x in [low, high] of F(x, y),  y in argmin of f(x, y) over y in Y(x),
 *
 * with its optimum by derivation, and from where which method ends where. Several y: the
 * optimistic problem, in which the upper level chooses among them. Read next: README.md,
 * bard_1988.c, problems.c. */
#ifndef HTI_PROBLEMS_H
#define HTI_PROBLEMS_H

#include <math.h>

#include "hypertape.h"

enum { PROBLEM_N = 2, PROBLEM_M = 4, PROBLEM_RUNS = 4 };

/* A run, and where it ends. */
typedef struct problem_run {
    double x[PROBLEM_N], y[PROBLEM_M]; /* it starts from */
    enum {
        TRAINING, /* y by descent on f, from its start in each outer step */
        CHOOSING, /* and the start is an outer variable: of many solutions F's own */
        TWO       /* one from y and one from `second`; the better for f counts */
    } by;
    double second[PROBLEM_M];
    enum {
        NOT_A_RUN,
        SOLVES, /* at the optimum */
        OTHER,  /* at another point (found, value) whose y solves f too */
        MISLED  /* at one whose y does not: it is another stationary point of f */
    } end;
    double found[PROBLEM_N], value;
} problem_run;

typedef struct problem {
    int size[2]; /* of x, of y */
    struct {
        double low[PROBLEM_N], high[PROBLEM_N];
    } box; /* of x */
    struct {
        ht_var (*upper)(ht_var x, ht_var y), (*lower)(ht_var x, ht_var y); /* F, f: 0-d */
        ht_var (*set)(ht_var x, ht_var y); /* point of Y(x) nearest to y; NULL: R^m */
        /* Derived: the y that solves f for x, of several one that is best for F. */
        void (*reaction)(const double *x, double *y);
    } maps;
    struct {
        double x[PROBLEM_N], value;
    } optimum;
    struct { /* descent on f */
        ht_method method;
        double rate;
        int64_t steps;
    } follower;
    struct { /* on F: Newton's method, or descent by a rate that falls to 0 */
        int64_t newton;
        double rate;
        int64_t steps;
    } leader;
    problem_run run[PROBLEM_RUNS];
} problem;

#define PROBLEMS(X)          \
    X(aiyoshi_shimizu_1984)  \
    X(bard_1988)             \
    X(bard_1991)             \
    X(bard_1998)             \
    X(clark_westerberg_1990) \
    X(de_silva_1978)         \
    X(dempe_dutta_2012)      \
    X(lucchetti_1987)        \
    X(mirrlees_1999)         \
    X(mitsos_barton_314)     \
    X(mitsos_barton_319)     \
    X(shimizu_aiyoshi_1981)  \
    X(smd1)                  \
    X(smd2)                  \
    X(smd6)                  \
    X(ye_zhu_2010)           \
    X(yezza_1996)

#define PROBLEM_DECLARED(name) extern const problem name;
PROBLEMS(PROBLEM_DECLARED)

/* Element i of a vector, as a vector of one. */
static inline ht_var part(ht_var x, int i)
{
    return ht_slice(x, 0, i, 1, 1);
}

/* (x - a)^2. */
static inline ht_var square_off(ht_var x, double a)
{
    return ht_square(ht_sub(x, a));
}

static inline double clamped(double x, double low, double high)
{
    return fmin(fmax(x, low), high);
}

void problem_check(const problem *p);  /* the derivation, by brute force */
void problem_differ(const problem *p); /* gradients, by differences of the derivation */
void problem_solve(const problem *p);  /* the runs, by ht_bilevel_minimize */
/* Where y's solutions are many and F's slope among them is not 0, as at the first start,
 * the implicit system has no solution: the result says so, and that no bound is known. */
void problem_breaks(const problem *p);

#endif
