/* SPDX-License-Identifier: MIT */
/* Exercise 14: the implicit hypergradient. Fill three holes; ./dev learn 14 marks them.
 *
 * The letters are lesson 14's: parameters w, outer variables eta, inner loss L, outer
 * loss F, H = d2L/dw2, M = d2L/dw deta. All are variables on an eager tape, w and eta
 * columns: ht_item(ht_sum(ht_mul(a, b))) is the number a'b, ht_var_shape(w).dim[0] how
 * many numbers w has, and ht_grad(F, 1, &x, &dx) gives @F/@x of a leaf x. */
#include "mark.h"

/* v, of b's shape, with H v = b, by conjugate gradients: products with H (ht_hvp) alone,
 * a step for each element of w at most (w is a column of n). If nothing is left, r'r = 0,
 * it ends; b may be 0. */
ht_var solve(ht_var loss, ht_var w, ht_var b)
{
    /* your code */
    UNWRITTEN;
    return b;
}

/* M' v, of eta's shape: g = dL/dw on the tape, v of w's shape. v counts as a number here,
 * though it may have been computed from eta. */
ht_var mixed(ht_var g, ht_var eta, ht_var v)
{
    /* your code */
    UNWRITTEN;
    return v;
}

/* dF/deta, of eta's shape, where w is the minimum of L. F depends on w, and on eta itself
 * too. Use the functions above. */
ht_var hypergradient(ht_var L, ht_var F, ht_var w, ht_var eta)
{
    /* your code */
    UNWRITTEN;
    return eta;
}
