/* SPDX-License-Identifier: MIT */
/* smd2.c: A. Sinha, P. Malo, K. Deb, Test problem construction for single-objective
 * bilevel optimization, Evolutionary Computation 22 (2014), 439-477, SMD2 with p = q = r
 * = 1: the levels want opposite things.
 *
 *   F = x1^2 - y1^2 + x2^2 - (x2 - ln y2)^2,   f = x1^2 + y1^2 + (x2 - ln y2)^2,
 *   x1 in [-5, 10], x2 in [-5, 1],  y2 in (0, e].
 *
 * y1 = 0, y2 = e^x2 make both squares of f 0, unique. Then F = |x|^2: x = 0, y = (0, 1),
 * F = 0. A follower that is off by d is worth -d^2 to F. f's curvature by y2 is 2 e^(-2
 * x2), so that x2 = -5 would ask for rates that x2 = 1 never ends with. */
#include "problems.h"

static ht_var off_log(ht_var x, ht_var y)
{
    return ht_square(ht_sub(part(x, 1), ht_log(part(y, 1))));
}

static ht_var upper(ht_var x, ht_var y)
{
    ht_var squares = ht_sub(ht_sum(ht_square(x)), ht_square(part(y, 0)));
    return ht_sum(ht_sub(squares, off_log(x, y)));
}

static ht_var lower(ht_var x, ht_var y)
{
    ht_var squares = ht_add(ht_square(part(x, 0)), ht_square(part(y, 0)));
    return ht_sum(ht_add(squares, off_log(x, y)));
}

static ht_var set(ht_var x, ht_var y)
{
    (void)x;
    ht_var in[] = {part(y, 0), ht_project_box(part(y, 1), 1e-3, exp(1))};
    return ht_concat(2, in, 0);
}

static void reaction(const double *x, double *y)
{
    y[0] = 0;
    y[1] = exp(x[1]);
}

const problem smd2 = {
    .size = {2, 2},
    .box = {{-5, -5}, {10, 1}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{0, 0}, 0},
    .follower = {HT_IMPLICIT, .rate = 0.1, .steps = 800},
    .leader = {.rate = 0.1, .steps = 200},
    .run = {{.x = {3, 1}, .y = {1, 1}, .end = SOLVES},
            {.x = {-4, -1}, .y = {1, 1}, .end = SOLVES}},
};
