/* SPDX-License-Identifier: MIT */
/* dempe_dutta_2012.c: S. Dempe, J. Dutta, Is bilevel programming a special case of a
 * mathematical program with complementarity constraints?, Mathematical Programming 131
 * (2012), 37-48, an example. The lower level's multipliers are not unique at x = 0, and
 * with one choice of them (0, 1) is a local optimum of the complementarity program, as
 * it is not here.
 *
 *   F = (x - 1)^2 + (y - 1)^2,   f = -y,   x + y <= 1,  y - x <= 1 at the lower level.
 *
 * y = 1 - |x|, unique. On both sides F = (x - 1)^2 + x^2, smooth through x = 0, with its
 * minimum at x = 0.5, y = 0.5, F = 0.5. Here y alone is differentiated, no multiplier:
 * runs from the left pass (0, 1). */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(square_off(x, 1), square_off(y, 1)));
}

static ht_var lower(ht_var x, ht_var y)
{
    (void)x;
    return ht_neg(ht_sum(y));
}

static ht_var set(ht_var x, ht_var y)
{
    return ht_project_box(y, -INFINITY, ht_sub(1, ht_abs(x)));
}

static void reaction(const double *x, double *y)
{
    *y = 1 - fabs(*x);
}

const problem dempe_dutta_2012 = {
    .size = {1, 1},
    .box = {{-3}, {3}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{0.5}, 0.5},
    .follower = {HT_IMPLICIT, .rate = 1, .steps = 10},
    .leader = {.rate = 0.1, .steps = 100},
    .run = {{.x = {-2}, .end = SOLVES},
            {.x = {0}, .end = SOLVES},
            {.x = {3}, .end = SOLVES}},
};
