/* SPDX-License-Identifier: MIT */
/* smd6.c: A. Sinha, P. Malo, K. Deb, Test problem construction for single-objective
 * bilevel optimization, Evolutionary Computation 22 (2014), 439-477, SMD6 with p = q = r
 * = 1, s = 2: infinitely many solutions of the lower level for each x.
 *
 *   F = x1^2 - y1^2 + y2^2 + y3^2 + x2^2 - (x2 - y4)^2,
 *   f = x1^2 + y1^2 + (y3 - y2)^2 + (x2 - y4)^2.
 *
 * f is 0 but for x1^2 at y = (0, c, c, x2), for each c; F = |x|^2 + 2 c^2 there. The
 * optimistic optimum is x = 0, c = 0, F = 0; there is no pessimistic one, c^2 is
 * unbounded. Descent on f ends with c the mean of the starts of y2 and y3, so that F's
 * minimum is 2 c^2 of the start. With the start as an outer variable, through which the
 * gradient flows along the valley undiminished, the run chooses c = 0. */
#include "problems.h"

static ht_var pair(ht_var y)
{
    return ht_slice(y, 0, 1, 2, 1);
}

static ht_var upper(ht_var x, ht_var y)
{
    ht_var kept = ht_add(ht_sum(ht_square(x)), ht_sum(ht_square(pair(y))));
    ht_var lost = ht_square(ht_sub(part(x, 1), part(y, 3)));
    return ht_sum(ht_sub(ht_sub(kept, ht_square(part(y, 0))), lost));
}

static ht_var lower(ht_var x, ht_var y)
{
    ht_var valley = ht_square(ht_sub(part(y, 2), part(y, 1)));
    ht_var first = ht_add(ht_square(part(x, 0)), ht_square(part(y, 0)));
    ht_var last = ht_square(ht_sub(part(x, 1), part(y, 3)));
    return ht_sum(ht_add(ht_add(first, last), valley));
}

static void reaction(const double *x, double *y)
{
    y[0] = y[1] = y[2] = 0;
    y[3] = x[1];
}

const problem smd6 = {
    .size = {2, 4},
    .box = {{-5, -5}, {10, 10}},
    .maps = {upper, lower, NULL, reaction},
    .optimum = {{0, 0}, 0},
    .follower = {HT_REVERSE, .rate = 0.2, .steps = 100},
    .leader = {.rate = 0.1, .steps = 200},
    .run = {{.x = {2, 3}, .y = {1, 1, 2, 1}, .by = CHOOSING, .end = SOLVES},
            {.x = {2, 3}, .y = {1, 1, 2, 1}, .end = OTHER, .value = 4.5}},
};
