/* SPDX-License-Identifier: MIT */
/* Exercise 7: second and third derivatives. Fill the four holes; ./dev learn 7 marks
 * them.
 *
 * On the tape there are ht_grad(y, n, x, g) and ht_jvp(n, x, u, m, y, ju) as in lesson 7;
 * ht_add, ht_sub, ht_mul and ht_div, element by element; ht_sum(z), of all elements;
 * ht_number(c); HT_ZERO, nothing yet: HT_ZERO + z = z; and ht_item(z), the number of a
 * node that has one element. ht_hvp is what you write here; so it is taken away. */
#include "mark.h"

#undef ht_hvp
#undef ht_hessian

/* hu[k] = the part for x[k] of H u, k < n: H the Hessian of the one number y by all n of
 * the x together; u[k] has the shape of x[k], which may have many elements. Nodes, so
 * that they can be differentiated again. Here and below n is at most 8. */
void hessian_times(ht_var y, int n, const ht_var *x, const ht_var *u, ht_var *hu)
{
    /* your code */
    UNWRITTEN;
    for (int k = 0; k < n; k++) hu[k] = u[k];
}

/* hu = H u without a tape, from gradient(x, g), which writes the n parts of the gradient
 * at x to g: by differences whose error becomes a quarter when h is halved. x may not
 * be changed. */
void by_differences(void (*gradient)(const double *x, double *g), int n, const double *x,
                    const double *u, double h, double *hu)
{
    /* your code */
    UNWRITTEN;
}

/* T(u, u, u), the third derivative of y as x moves along x + s u, as a node with one
 * element. */
ht_var third(ht_var y, int n, const ht_var *x, const ht_var *u)
{
    /* your code */
    UNWRITTEN;
    return y;
}

/* Newton's step for a y of two numbers, x[0] and x[1]: the s with H s = -g. */
void newton_step(ht_var y, const ht_var *x, double *s)
{
    /* your code */
    UNWRITTEN;
}
