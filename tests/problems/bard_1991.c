/* SPDX-License-Identifier: MIT */
/* bard_1991.c: J. F. Bard, Some properties of the bilevel programming problem, J.
 * Optimization Theory and Applications 68 (1991), 371-378, the first example; a simplex,
 * and a lower level with many solutions at the optimum.
 *
 *   F = x + y2,   f = 2 y1 + x y2,   2 <= x <= 4,
 *   y1 + y2 >= x + 4, y >= 0 at the lower level; prices are positive: y1 + y2 = x + 4.
 *
 * For x > 2 y1 is cheaper: y = (x + 4, 0), F = x. At x = 2 every y with y1 + y2 = 6
 * solves f; the best for F is (6, 0). So x = 2, F = 2 is the optimistic optimum. The
 * pessimistic one is not attained: F comes as near to 2 as one likes for x > 2, and is 8
 * at 2 with y = (0, 6).
 *
 * After a training of length L = rate steps from y2 > 0 it is left with max(0, y2 - L (x
 * - 2)/2), so that F has its minimum 2 y2/L beyond 2, steep to its left: L is 2e5, and F
 * is followed by steps that lower it (newton, without curvature descent by halvings). */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(x, part(y, 1)));
}

static ht_var lower(ht_var x, ht_var y)
{
    return ht_sum(ht_add(ht_mul(part(y, 0), 2), ht_mul(x, part(y, 1))));
}

static ht_var set(ht_var x, ht_var y)
{
    return ht_project_simplex(y, ht_add(x, 4));
}

static void reaction(const double *x, double *y)
{
    y[0] = *x + 4;
    y[1] = 0;
}

const problem bard_1991 = {
    .size = {1, 2},
    .box = {{2}, {4}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{2}, 2},
    .follower = {HT_REVERSE, .rate = 2000, .steps = 100},
    .leader = {.newton = 1, .steps = 40},
    .run = {{.x = {4}, .y = {6, 0}, .end = SOLVES},
            {.x = {3}, .y = {1, 5}, .end = SOLVES}},
};
