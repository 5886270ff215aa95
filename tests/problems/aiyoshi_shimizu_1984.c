/* SPDX-License-Identifier: MIT */
/* aiyoshi_shimizu_1984.c: E. Aiyoshi, K. Shimizu, A solution method for the static
 * constrained Stackelberg problem via penalty method, IEEE Trans. Automatic Control 29
 * (1984), 1111-1114, the second example.
 *
 *   F = 2 x1 + 2 x2 - 3 y1 - 3 y2 - 60,   f = (y1 - x1 + 20)^2 + (y2 - x2 + 20)^2,
 *   x in [0, 50]^2, x1 + x2 + y1 - 2 y2 <= 40 at the upper level,
 *   2 y <= x - 10, y in [-10, 20]^2 at the lower.
 *
 * y = min(max(x - 20, -10), (x - 10)/2), unique, element by element, and so is F =
 * phi(x1) + phi(x2) - 60: phi = 2 x + 30 to x = 10, 60 - x to 30, x/2 + 15 beyond. It
 * has two minima of 30, at 0 and at 30, and F is never below 0. Of the four corners (0,
 * 0) and (0, 30) keep the upper constraint; (30, 0) and (30, 30) do not. So there are
 * two optima, F = 0; x = (25, 30), F = 5, often quoted as the solution, is where the
 * constraint cuts off (30, 30), a local one. The kinks at 30 have slopes -1 and 1/2
 * beside them. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sub(ht_sum(ht_sub(ht_mul(x, 2), ht_mul(y, 3))), 60);
}

static ht_var lower(ht_var x, ht_var y)
{
    return ht_sum(square_off(ht_sub(y, x), -20));
}

static ht_var set(ht_var x, ht_var y)
{
    return ht_project_box(y, -10, ht_mul(ht_sub(x, 10), 0.5));
}

static void reaction(const double *x, double *y)
{
    for (int i = 0; i < 2; i++) y[i] = fmin(fmax(x[i] - 20, -10), (x[i] - 10) / 2);
}

const problem aiyoshi_shimizu_1984 = {
    .size = {2, 2},
    .box = {{0}, {50, 50}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{0, 0}, 0},
    .follower = {HT_IMPLICIT, .rate = 0.25, .steps = 80},
    .leader = {.rate = 0.5, .steps = 400},
    .run = {{.x = {5, 5}, .end = SOLVES},
            {.x = {9, 20}, .end = OTHER, .found = {0, 30}, .value = 0}},
};
