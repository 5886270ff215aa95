/* SPDX-License-Identifier: MIT */
/* ye_zhu_2010.c: J. J. Ye, D. L. Zhu, New necessary optimality conditions for bilevel
 * programs by combining the MPEC and value function approaches, SIAM J. Optimization 20
 * (2010), 1885-1905, an example; a lower level that is not convex.
 *
 *   F = (x - 1)^2 + y^2,   f = y^3 - 3 y,   -3 <= x <= 2,  y >= x at the lower level.
 *
 * f has its minimum -2 at y = 1 and falls below it for y < -2: y = x for x < -2, both x
 * and 1 at -2, y = 1 up to x = 1, y = x beyond. F = (x - 1)^2 + x^2 >= 13 before -2;
 * then (x - 1)^2 + 1, whose lowest value is 1 at x = 1, and beyond that (x - 1)^2 + x^2,
 * which rises. So x = 1, y = 1, F = 1, where the set begins to bind. A training from y =
 * 0 finds y = 1 wherever it is in the set, for x < -2 too, where it is a local minimum
 * of f only; no matter, F falls from there to x = 1. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(square_off(x, 1), ht_square(y)));
}

static ht_var lower(ht_var x, ht_var y)
{
    (void)x;
    return ht_sum(ht_sub(ht_mul(ht_square(y), y), ht_mul(y, 3)));
}

static ht_var set(ht_var x, ht_var y)
{
    return ht_project_box(y, x, INFINITY);
}

static void reaction(const double *x, double *y)
{
    *y = *x < -2 ? *x : fmax(*x, 1);
}

const problem ye_zhu_2010 = {
    .size = {1, 1},
    .box = {{-3}, {2}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{1}, 1},
    .follower = {HT_IMPLICIT, .rate = 0.1, .steps = 80},
    .leader = {.rate = 0.1, .steps = 150},
    .run = {{.x = {-3}, .end = SOLVES},
            {.x = {0}, .end = SOLVES},
            {.x = {2}, .end = SOLVES}},
};
