/* SPDX-License-Identifier: MIT */
/* bard_1998.c: J. F. Bard, Practical Bilevel Optimization, Kluwer 1998, an example; a
 * lower level that answers x fifty-fold.
 *
 *   F = (x - 1)^2 + (y - 1)^2,   f = y^2/2 + 500 y - 50 x y,   x, y in [-100, 100].
 *
 * f is convex: y = 50 x - 500 within [-100, 100], unique. There F' = 2 (x - 1) + 100 (50
 * x - 501) = 0 at x = 611/61, y = 50/61, F = 4961/61, the optimum. For x <= 8 y stays at
 * -100, F' = 2 (x - 1), and x = 1, F = 101^2 is a local one. Where y answers F'' is
 * 5002: one step of Newton's method, hundreds of descent. Tables round x to 10.02, at
 * which y is 1, not their 0.82. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(square_off(x, 1), square_off(y, 1)));
}

static ht_var lower(ht_var x, ht_var y)
{
    ht_var slope = ht_sub(500, ht_mul(x, 50));
    return ht_sum(ht_add(ht_mul(ht_square(y), 0.5), ht_mul(slope, y)));
}

static ht_var set(ht_var x, ht_var y)
{
    (void)x;
    return ht_project_box(y, -100, 100);
}

static void reaction(const double *x, double *y)
{
    *y = clamped(50 * *x - 500, -100, 100);
}

const problem bard_1998 = {
    .size = {1, 1},
    .box = {{-100}, {100}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{611.0 / 61}, 4961.0 / 61},
    .follower = {HT_REVERSE, .rate = 0.5, .steps = 60},
    .leader = {.newton = 1, .steps = 3},
    .run = {{.x = {9}, .end = SOLVES},
            {.x = {11.9}, .end = SOLVES},
            {.x = {7}, .end = OTHER, .found = {1}, .value = 101 * 101}},
};
