/* SPDX-License-Identifier: MIT */
/* Exercise 13: attention. Fill the four holes; ./dev learn 13 marks them.
 *
 * All are of ops on variables, as in lesson 13: T rows of Q (T, d) ask, n rows of K (n,
 * d) answer, V (n, e) has what is to be had. Some of the ops that you may want:
 *   ht_matmul  ht_transpose  ht_add  ht_sub  ht_mul  ht_div (also by a number)  ht_exp
 *   ht_sum_axes(x, HT_AXES(-1), true)    the sum of each row, as a column (rows, 1)
 *   ht_max_axes(x, HT_AXES(-1), true)    the largest of each row, so
 *   ht_tril(x, 0, fill)                  x on and below the diagonal, fill above it
 *   ht_var_shape(x).dim[1]               how many columns x has */
#include "mark.h"

/* The scores (T, n): S = Q K' / sqrt d. */
ht_var scores(ht_var q, ht_var k)
{
    /* your code */
    UNWRITTEN;
    return q;
}

/* P, of s's shape: the softmax of each row of s, without ht_softmax. A score may be 1000,
 * or -INFINITY, which has weight 0. */
ht_var softmax(ht_var s)
{
    /* your code */
    UNWRITTEN;
    return s;
}

/* dS, of p's shape: p is softmax(s), dp the cotangent of p, dS that of s. */
ht_var softmax_vjp(ht_var p, ht_var dp)
{
    /* your code */
    UNWRITTEN;
    return dp;
}

/* The output (T, e), in which row i sees the rows 0 .. i of k and v only. q, k and v have
 * T rows each. You may use the functions above, or ht_softmax. */
ht_var causal_attention(ht_var q, ht_var k, ht_var v)
{
    /* your code */
    UNWRITTEN;
    return v;
}
