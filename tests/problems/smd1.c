/* SPDX-License-Identifier: MIT */
/* smd1.c: A. Sinha, P. Malo, K. Deb, Test problem construction for single-objective
 * bilevel optimization, Evolutionary Computation 22 (2014), 439-477, SMD1 with p = q = r
 * = 1.
 *
 *   F = x1^2 + y1^2 + x2^2 + (x2 - tan y2)^2,   f = x1^2 + y1^2 + (x2 - tan y2)^2,
 *   x in [-5, 10]^2,  y2 in (-pi/2, pi/2).
 *
 * Two squares in f depend on y: y1 = 0, y2 = atan x2 make both 0, unique. Then F =
 * |x|^2: x = 0, F = 0. f is not convex, and its slope by y2 grows as tan' = 1 + tan^2: a
 * rate that is right for x2 = 2 (curvature 2 (1 + x2^2)^2 = 50) is slow at 0. */
#include "problems.h"

static ht_var off_tangent(ht_var x, ht_var y)
{
    ht_var y2 = part(y, 1);
    return ht_square(ht_sub(part(x, 1), ht_div(ht_sin(y2), ht_cos(y2))));
}

static ht_var upper(ht_var x, ht_var y)
{
    ht_var squares = ht_add(ht_sum(ht_square(x)), ht_square(part(y, 0)));
    return ht_sum(ht_add(squares, off_tangent(x, y)));
}

static ht_var lower(ht_var x, ht_var y)
{
    ht_var squares = ht_add(ht_square(part(x, 0)), ht_square(part(y, 0)));
    return ht_sum(ht_add(squares, off_tangent(x, y)));
}

static void reaction(const double *x, double *y)
{
    y[0] = 0;
    y[1] = atan(x[1]);
}

const problem smd1 = {
    .size = {2, 2},
    .box = {{-5, -5}, {10, 10}},
    .maps = {upper, lower, NULL, reaction},
    .optimum = {{0, 0}, 0},
    .follower = {HT_IMPLICIT, .rate = 0.02, .steps = 500},
    .leader = {.rate = 0.1, .steps = 200},
    .run = {{.x = {2, 2}, .y = {1, 1}, .end = SOLVES},
            {.x = {-4, -2}, .y = {2, 1}, .end = SOLVES}},
};
