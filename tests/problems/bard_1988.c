/* SPDX-License-Identifier: MIT */
/* bard_1988.c: J. F. Bard, Convex two-level optimization, Mathematical Programming 40
 * (1988), 15-27, the example.
 *
 *   F = (x - 5)^2 + (2 y + 1)^2,   f = (y - 1)^2 - 3/2 x y,
 *   3 x - y >= 3,  x - y/2 <= 4,  x + y <= 7,  x, y >= 0: for x in [1, 5]
 *   max(0, 2 x - 8) <= y <= min(3 x - 3, 7 - x), an interval whose ends x moves.
 *
 * f is convex: y = min(1 + 3/4 x, 3 x - 3, 7 - x), unique. With y = 3 x - 3, to x =
 * 16/9, F' = 2 (x - 5) + 12 (6 x - 5) > 0; with 1 + 3/4 x, to 24/7, F' = 6.5 x - 1 > 0;
 * with 7 - x F' = 10 x - 70 < 0 up to 5, where the set ends. So x = 1, y = 0, F = 17 is
 * the optimum, and x = 5, y = 2, F = 25 a local one that runs from beyond 24/7 end
 * in. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(square_off(x, 5), square_off(ht_mul(y, 2), -1)));
}

static ht_var lower(ht_var x, ht_var y)
{
    return ht_sum(ht_sub(square_off(y, 1), ht_mul(ht_mul(x, y), 1.5)));
}

static ht_var set(ht_var x, ht_var y)
{
    ht_var low = ht_maximum(ht_sub(ht_mul(x, 2), 8), 0);
    return ht_project_box(y, low, ht_minimum(ht_sub(ht_mul(x, 3), 3), ht_sub(7, x)));
}

static void reaction(const double *x, double *y)
{
    *y = fmin(1 + 0.75 * *x, fmin(3 * *x - 3, 7 - *x));
}

const problem bard_1988 = {
    .size = {1, 1},
    .box = {{1}, {5}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{1}, 17},
    .follower = {HT_IMPLICIT, .rate = 0.25, .steps = 60},
    .leader = {.rate = 0.01, .steps = 200},
    .run = {{.x = {1.5}, .end = SOLVES},
            {.x = {3}, .end = SOLVES},
            {.x = {4}, .end = OTHER, .found = {5}, .value = 25}},
};
