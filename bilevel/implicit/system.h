/* SPDX-License-Identifier: MIT */
/* system.h: a linear system while it is solved, and what rows of solvers are made of:
 * products, which are counted, damped and checked here alone, and sums over vectors. Read
 * next: system.c. */
#ifndef HTI_SYSTEM_H
#define HTI_SYSTEM_H

#include "solver.h"

struct hti_system {
    const hti_linear *a;
    const hti_solver_options *options;
    const double *b;
    double scale;    /* a power of two: x and r are of scale b, whose norm is `size`, */
    double size;     /* in [1/2, 1), so that no square leaves the range of numbers */
    double small;    /* tolerance * size: what |r| has to come down to */
    double rounding; /* of a product, relative */
    double *x, *r;   /* r = b - (A + damping I) x, when an improvement begins */
    double *work;    /* the row's room; r ends where it begins */
    /* What makes another improvement worth while, as the last one has it: a residual of
     * less than this many times what it was before. */
    double worth;
    hti_solution s;
};

/* y = (A + damping I) x; y = (A^T + damping I) x; y = A x. False: it failed. */
bool hti_multiply(hti_system *s, const double *x, double *y);
bool hti_multiply_transpose(hti_system *s, const double *x, double *y);
bool hti_multiply_undamped(hti_system *s, const double *x, double *y);

/* Products there are before the one that judges x. */
int64_t hti_products_left(const hti_system *s);

/* A Rayleigh quotient of A + damping I. */
void hti_see(hti_system *s, double quotient);

double hti_dot(const double *x, const double *y, int64_t n);
double hti_norm(const double *x, int64_t n); /* of any scale */
bool hti_finite(const double *x, int64_t n);
double hti_power(double size); /* the power of two that takes a size to about 1 */
/* y = y + scale x; x = scale x. */
void hti_add_scaled(double *y, double scale, const double *x, int64_t n);
void hti_scale(double *x, double scale, int64_t n);

#endif
