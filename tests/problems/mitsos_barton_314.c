/* SPDX-License-Identifier: MIT */
/* mitsos_barton_314.c: A. Mitsos, P. I. Barton, A test set for bilevel programs, MIT
 * 2006, example 3.14; an optimum at a jump between two minima of a lower level that is
 * not convex.
 *
 *   F = (x - 1/4)^2 + y^2,   f = y^3/3 - x y,   x, y in [-1, 1].
 *
 * f has the minima y = sqrt x, of -2/3 x^1.5, for x >= 0, and y = -1, of x - 1/3. They
 * are equal where s = sqrt x has 2 s^3 + 3 s^2 - 1 = (s + 1)^2 (2 s - 1) = 0: at x =
 * 1/4. For x < 1/4 y = -1, F >= 1; from 1/4 on y = sqrt x, F = (x - 1/4)^2 + x rises. At
 * 1/4 both solve f: x = 1/4, y = 1/2, F = 1/4 is the optimistic optimum; the pessimistic
 * F there is 1.
 *
 * One follower keeps to its own minimum: at y = -1 it ends at x = 1/4 with F = 1, the
 * pessimistic value; at sqrt x F would fall on to x = 0, where that minimum ends. Two
 * followers of whom the better is taken make F as it is, with its jump. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(square_off(x, 0.25), ht_square(y)));
}

static ht_var lower(ht_var x, ht_var y)
{
    return ht_sum(ht_sub(ht_mul(ht_mul(ht_square(y), y), 1 / 3.0), ht_mul(x, y)));
}

static ht_var set(ht_var x, ht_var y)
{
    (void)x;
    return ht_project_box(y, -1, 1);
}

static void reaction(const double *x, double *y)
{
    *y = *x < 0.25 ? -1 : sqrt(*x);
}

const problem mitsos_barton_314 = {
    .size = {1, 1},
    .box = {{-1}, {1}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{0.25}, 0.25},
    .follower = {HT_REVERSE, .rate = 0.4, .steps = 100},
    .leader = {.newton = 1, .steps = 40},
    .run = {{.x = {0.9}, .y = {0.5}, .by = TWO, .second = {-1}, .end = SOLVES},
            {.x = {0.6}, .y = {-1}, .end = OTHER, .found = {0.25}, .value = 1}},
};
