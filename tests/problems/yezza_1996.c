/* SPDX-License-Identifier: MIT */
/* yezza_1996.c: A. Yezza, First-order necessary optimality conditions for general
 * bilevel programming problems, J. Optimization Theory and Applications 89 (1996),
 * 189-219; an optimum at a jump of the reaction.
 *
 *   F = 2 x + 1 - (4 x - 3) y,   f = (4 x - 1) y - 2 x - 2,   x, y in [0, 1].
 *
 * y = 1 for x < 1/4, where F = 4 - 2 x > 3.5; y = 0 for x > 1/4, where F = 2 x + 1; at
 * 1/4 every y solves f, and F = 1.5 + 2 y is best with y = 0. So x = 1/4, y = 0, F = 1.5
 * is the optimistic optimum; the pessimistic F there is 3.5, and its infimum 1.5 is not
 * attained. From y = 0 a training stays at 0 down to 1/4 and goes to 1 soon after it: F
 * jumps, and steps that lower it (newton) end there. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    ht_var price = ht_sub(3, ht_mul(x, 4));
    return ht_sum(ht_add(ht_add(ht_mul(x, 2), 1), ht_mul(price, y)));
}

static ht_var lower(ht_var x, ht_var y)
{
    ht_var price = ht_sub(ht_mul(x, 4), 1);
    return ht_sum(ht_sub(ht_sub(ht_mul(price, y), ht_mul(x, 2)), 2));
}

static ht_var set(ht_var x, ht_var y)
{
    (void)x;
    return ht_project_box(y, 0, 1);
}

static void reaction(const double *x, double *y)
{
    *y = *x < 0.25;
}

const problem yezza_1996 = {
    .size = {1, 1},
    .box = {{0}, {1}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{0.25}, 1.5},
    .follower = {HT_REVERSE, .rate = 1e4, .steps = 20},
    .leader = {.newton = 1, .steps = 40},
    .run = {{.x = {0.9}, .end = SOLVES}, {.x = {0.1}, .end = SOLVES}},
};
