/* SPDX-License-Identifier: MIT */
/* Exercise 3: finite differences. Fill the four holes; ./dev learn 3 marks them. */
#include "mark.h"

#define EPS 0x1p-52 /* of doubles: rounding is about EPS |f| */

/* A function of n numbers x. */
typedef double (*scalar_fn)(int n, const double *x);

/* The central difference of f by x[i], with step h, the others held. Afterwards x is, bit
 * for bit, what it was. */
double partial(scalar_fn f, int n, double *x, int i, double h)
{
    /* your code */
    UNWRITTEN;
    return 0;
}

/* d and half are central differences with steps h and h/2:
 *     d = f' + c h^2 + O(h^4)          half = f' + c (h/2)^2 + O(h^4)
 * with one c, which nobody knows. Returns what they say together, f' + O(h^4). */
double extrapolate(double d, double half)
{
    /* your code */
    UNWRITTEN;
    return 0;
}

/* The step of a central difference for which h^2/6 |f3| + EPS |f| / h is least, of a
 * function with value f and third derivative f3, neither 0, of either sign. */
double best_step(double f, double f3)
{
    /* your code */
    UNWRITTEN;
    return 0;
}

/* As much as a central difference may be off by rounding alone, with some to spare. */
static double rounding(double f, double h) { return 4 * EPS * fabs(f) / h; }

/* Whether g[0] .. g[n-1] is the gradient of f at x. e(h) is how far the difference by
 * x[i], which partial gives, is from g[i]. True if for every i e(h/2) is less than a
 * third of e(h) (a quarter, and some to spare), or no more than rounding(f(x), h/2).
 * Leaves x as it was. */
bool is_gradient(scalar_fn f, int n, double *x, const double *g, double h)
{
    /* your code */
    UNWRITTEN;
    (void)rounding;
    return false;
}
