/* SPDX-License-Identifier: MIT */
/* Exercise 10: a training's derivative in mixed mode. Fill the three holes; ./dev learn
 * 10 marks them.
 *
 * theta and w are three numbers each, on an eager tape, the rate is one. A step is theta'
 * = theta - rate g, with g = dL/dtheta of the loss below. */
#include "mark.h"

/* L = sum w_i l_i */
static ht_var loss(ht_var theta, ht_var w)
{
    return ht_sum(ht_mul(w, ht_softplus(ht_neg(ht_cumsum(theta, 0)))));
}

/* theta' = theta - rate g, where g is a leaf: what it was made of does not count. From v,
 * the cotangent of theta', come those of g (three numbers) and of the rate (one). Without
 * ht_grad, ht_vjp and ht_jvp. */
void update_vjp(ht_var g, ht_var rate, ht_var v, ht_var *d_g, ht_var *d_rate)
{
    /* your code */
    UNWRITTEN;
}

/* All of v dU/dtheta and v dU/dw: what comes to theta and to w if v comes to theta', and
 * so d_g to g. By two sweeps in all: one ht_grad and one ht_jvp. */
void second_order(ht_var theta, ht_var w, ht_var v, ht_var d_g, ht_var *d_theta,
                  ht_var *d_w)
{
    /* your code */
    UNWRITTEN;
}

/* A step back, which the two above make: d[0 .. 2] = v times dU/dtheta, dU/dw, dU/drate
 * of the step from theta. */
typedef void back_fn(ht_var theta, ht_var w, ht_var rate, ht_var v, ht_var *d);

/* d[0 .. 2] = dF/dtheta_0, dF/dw and dF/drate of T steps, in all. theta[0 .. T] are the
 * states, on the tape. So is F, which was made from theta[T] and from w. Call
 * back(theta[t], w, rate, v, e) once for each step; besides, one sweep does, of F. */
void hypergradient(back_fn *back, int T, const ht_var *theta, ht_var w, ht_var rate,
                   ht_var F, ht_var *d)
{
    /* your code */
    UNWRITTEN;
}
