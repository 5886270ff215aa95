/* SPDX-License-Identifier: MIT */
/* mitsos_barton_319.c: A. Mitsos, P. I. Barton, A test set for bilevel programs, MIT
 * 2006, example 3.19; two solutions of the lower level, one for each sign.
 *
 *   F = x y - y + y^2/2,   f = y^4/2 - x y^2,   x, y in [-1, 1].
 *
 * f = ((y^2 - x)^2 - x^2)/2: y = 0 for x <= 0, F = 0; y = sqrt x and -sqrt x for x > 0.
 * With s = sqrt x the first has F = s^3 + s^2/2 - s, lowest where 3 s^2 + s - 1 = 0: y =
 * s = (sqrt 13 - 1)/6 = 0.434259, x = s^2 = 0.188580, F = -0.258076. With the second F
 * >= 0. This is the optimistic optimum. The report is quoted with y = -0.768, the other
 * root (at x = 0.189 no solution of f), and BASBLib, which says so, prints y = 0.439 for
 * 0.434.
 *
 * The sign of y's start decides. From y < 0 F = -s^3 + s^2/2 + s has its highest point
 * at s = (1 + sqrt 13)/6 = 0.768: beyond it a run ends at x = 1, y = -1, F = 1/2, where
 * y = 1 is as good for both. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(ht_mul(ht_sub(x, 1), y), ht_mul(ht_square(y), 0.5)));
}

static ht_var lower(ht_var x, ht_var y)
{
    ht_var y2 = ht_square(y);
    return ht_sum(ht_sub(ht_mul(ht_square(y2), 0.5), ht_mul(x, y2)));
}

static ht_var set(ht_var x, ht_var y)
{
    (void)x;
    return ht_project_box(y, -1, 1);
}

static void reaction(const double *x, double *y)
{
    *y = sqrt(fmax(*x, 0));
}

const problem mitsos_barton_319 = {
    .size = {1, 1},
    .box = {{-1}, {1}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{0.18858048469644503}, -0.2580756164910357},
    .follower = {HT_IMPLICIT, .rate = 0.2, .steps = 200},
    .leader = {.rate = 0.05, .steps = 200},
    .run = {{.x = {0.9}, .y = {0.5}, .end = SOLVES},
            {.x = {0.1}, .y = {1}, .end = SOLVES},
            {.x = {0.8}, .y = {-0.5}, .end = OTHER, .found = {1}, .value = 0.5}},
};
