/* SPDX-License-Identifier: MIT */
/* de_silva_1978.c: A. H. de Silva, Sensitivity formulas for nonlinear factorable
 * programming and their application to the solution of an implicitly defined
 * optimization model of US crude oil production, dissertation, George Washington
 * University 1978; also in J. E. Falk, J. Liu, On bilevel programming I, Mathematical
 * Programming 70 (1995), 47-72.
 *
 *   F = x1^2 - 2 x1 + x2^2 - 2 x2 + y1^2 + y2^2,   f = (y1 - x1)^2 + (y2 - x2)^2,
 *   x >= 0,  (y - 1)^2 <= 1/4: y in [0.5, 1.5]^2.
 *
 * y is x within [0.5, 1.5], unique. By element F is x^2 - 2 x + 1/4 to 0.5, which falls,
 * then 2 x^2 - 2 x, which rises from its lowest point on, 0.5, and beyond 1.5 x^2 - 2 x
 * + 9/4. So x = y = (0.5, 0.5), F = -1: at the kink of y, with slope -1 before and 0
 * after it. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(ht_sub(ht_square(x), ht_mul(x, 2)), ht_square(y)));
}

static ht_var lower(ht_var x, ht_var y)
{
    return ht_sum(ht_square(ht_sub(y, x)));
}

static ht_var set(ht_var x, ht_var y)
{
    (void)x;
    return ht_project_box(y, 0.5, 1.5);
}

static void reaction(const double *x, double *y)
{
    for (int i = 0; i < 2; i++) y[i] = clamped(x[i], 0.5, 1.5);
}

const problem de_silva_1978 = {
    .size = {2, 2},
    .box = {{0}, {2, 2}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{0.5, 0.5}, -1},
    .follower = {HT_IMPLICIT, .rate = 0.25, .steps = 60},
    .leader = {.rate = 0.1, .steps = 100},
    .run = {{.x = {0.1, 1}, .y = {1, 1}, .end = SOLVES},
            {.x = {2, 1.4}, .y = {1, 1}, .end = SOLVES}},
};
