/* SPDX-License-Identifier: MIT */
/* Exercise 9: the vjp of a step. Fill the three holes; ./dev learn 9 marks them.
 *
 * theta is two numbers. The loss is L = sum e^theta + (sum theta)^2 / 2, the outer loss
 * F = sum (theta - 0.5)^2 / 2, a step theta' = theta - rate g(theta). What one needs to
 * know of them is here: */
#include "mark.h"

/* g = dL/dtheta */
static void gradient(const double *theta, double *g)
{
    for (int i = 0; i < 2; i++) g[i] = exp(theta[i]) + theta[0] + theta[1];
}

/* hv = H v, with H = dg/dtheta at theta. hv is not v. */
static void hessian_times(const double *theta, const double *v, double *hv)
{
    for (int i = 0; i < 2; i++) hv[i] = exp(theta[i]) * v[i] + v[0] + v[1];
}

/* v = dF/dtheta at theta */
static void outer_gradient(const double *theta, double *v)
{
    for (int i = 0; i < 2; i++) v[i] = theta[i] - 0.5;
}

/* next = theta after a step. next is not theta. */
static void step(const double *theta, double rate, double *next)
{
    gradient(theta, next);
    for (int i = 0; i < 2; i++) next[i] = theta[i] - rate * next[i];
}

/* The vjp of the step from theta: v, a cotangent of theta', becomes the cotangent of
 * theta, in place. Returns the rate's share. */
typedef double vjp_fn(const double *theta, double rate, double *v);

double step_vjp(const double *theta, double rate, double *v)
{
    /* your code */
    UNWRITTEN;
    return 0;
}

/* dF/drate of T = 2 steps from `first`, theta_0, without a loop over steps. `vjp` is a
 * step_vjp: call it as vjp(theta, rate, v). */
double two_steps(vjp_fn *vjp, const double *first, double rate)
{
    /* your code */
    UNWRITTEN;
    return 0;
}

/* The way back of T steps. theta[t], t = 0 .. T, are the states, all known. v comes
 * in as dF/dtheta_T and goes out as dF/dtheta_0. Returns dF/drate. */
double sweep(vjp_fn *vjp, int T, const double (*theta)[2], double rate, double *v)
{
    /* your code */
    UNWRITTEN;
    return 0;
}
