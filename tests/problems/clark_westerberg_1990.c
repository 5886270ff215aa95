/* SPDX-License-Identifier: MIT */
/* clark_westerberg_1990.c: P. A. Clark, A. W. Westerberg, Bilevel programming for
 * steady-state chemical process design I, Computers & Chemical Engineering 14 (1990),
 * 87-97; three optima, one to each constraint that is met.
 *
 *   F = (x - 3)^2 + (y - 2)^2,   f = (y - 5)^2,
 *   y <= 2 x + 1,  x <= 2 y - 2,  x + 2 y <= 14 at the lower level: for x in [0, 6]
 *   (x + 2)/2 <= y <= min(2 x + 1, (14 - x)/2).
 *
 * y = min(2 x + 1, 5, 7 - x/2), unique. By pieces: F' = 10 x - 10 to x = 2: x = 1, y =
 * 3, F = 5, the optimum; F' = 2 (x - 3) to 4: x = 3, y = 5, F = 9; F' = 2.5 x - 11 to 6:
 * x = 4.4, y = 4.8, F = 9.8. A run ends in the valley it starts in. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(square_off(x, 3), square_off(y, 2)));
}

static ht_var lower(ht_var x, ht_var y)
{
    (void)x;
    return ht_sum(square_off(y, 5));
}

static ht_var set(ht_var x, ht_var y)
{
    ht_var high = ht_minimum(ht_add(ht_mul(x, 2), 1), ht_sub(7, ht_mul(x, 0.5)));
    return ht_project_box(y, ht_add(ht_mul(x, 0.5), 1), high);
}

static void reaction(const double *x, double *y)
{
    *y = fmin(5, fmin(2 * *x + 1, 7 - *x / 2));
}

const problem clark_westerberg_1990 = {
    .size = {1, 1},
    .box = {{0}, {6}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{1}, 5},
    .follower = {HT_IMPLICIT, .rate = 0.25, .steps = 60},
    .leader = {.rate = 0.08, .steps = 200},
    .run = {{.x = {0.5}, .end = SOLVES},
            {.x = {1.9}, .end = SOLVES},
            {.x = {2.2}, .end = OTHER, .found = {3}, .value = 9},
            {.x = {5.9}, .end = OTHER, .found = {4.4}, .value = 9.8}},
};
