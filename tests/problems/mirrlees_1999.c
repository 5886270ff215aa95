/* SPDX-License-Identifier: MIT */
/* mirrlees_1999.c: J. A. Mirrlees, The theory of moral hazard and unobservable behaviour
 * I, Review of Economic Studies 66 (1999), 3-21 (written in 1975): why the lower level's
 * stationarity may not stand for its solution.
 *
 *   F = (x - 2)^2 + (y - 1)^2,   f = -x exp(-(y + 1)^2) - exp(-(y - 1)^2).
 *
 * f is stationary where x = (1 - y)/(1 + y) e^(4 y). Two of those are minima, near y = 1
 * and near -1; the lower is the first for x < 1 and the second for x > 1, and at x = 1
 * they are y = +-0.957504, where e^(4 y) = (1 + y)/(1 - y). With the first F falls up to
 * x = 1, with the second F > 3.8. So x = 1, y = 0.957504, F = 1.001806 is the
 * (optimistic) optimum.
 *
 * One follower from y = 1 keeps to its minimum beyond x = 1, to x = 1.99, F = 0.011,
 * which is no point of the problem: y = -0.98 is better for f. That is the first-order
 * approach's mistake. Two followers, of whom the better is taken, end at the jump. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(square_off(x, 2), square_off(y, 1)));
}

static ht_var lower(ht_var x, ht_var y)
{
    ht_var left = ht_exp(ht_neg(square_off(y, -1)));
    ht_var right = ht_exp(ht_neg(square_off(y, 1)));
    return ht_neg(ht_sum(ht_add(ht_mul(x, left), right)));
}

/* Newton's method on x (1 + y) e^(-4 y) = 1 - y, from the side where it is a minimum. */
static void reaction(const double *x, double *y)
{
    *y = *x <= 1 ? 1 : -1;
    for (int k = 0; k < 60; k++) {
        double e = *x * exp(-4 * *y), off = e * (1 + *y) - 1 + *y;
        *y -= off / (e - 4 * e * (1 + *y) + 1);
    }
}

const problem mirrlees_1999 = {
    .size = {1, 1},
    .box = {{0}, {3}},
    .maps = {upper, lower, NULL, reaction},
    .optimum = {{1}, 1.0018059079696253},
    .follower = {HT_REVERSE, .rate = 0.25, .steps = 300},
    .leader = {.newton = 1, .steps = 40},
    .run = {{.x = {0.2}, .y = {1}, .by = TWO, .second = {-1}, .end = SOLVES},
            {.x = {0.5},
             .y = {1},
             .end = MISLED,
             .found = {1.99122383},
             .value = 0.01116343}},
};
