/* SPDX-License-Identifier: MIT */
/* lucchetti_1987.c: R. Lucchetti, F. Mignanego, G. Pieri, Existence theorems of
 * equilibrium points in Stackelberg games with constraints, Optimization 18 (1987),
 * 857-866; an optimum that no neighbour shows.
 *
 *   F = (1 - x)/2 + x y,   f = (x - 1) y,   x, y in [0, 1].
 *
 * For x < 1 y = 1, F = (1 + x)/2, lowest at x = 0: 1/2. At x = 1 every y solves f, and F
 * = y is 0 with y = 0. So x = 1, y = 0, F = 0 is the optimistic optimum, alone; the
 * pessimistic one is x = 0, F = 1/2, since y = 1 is the worst at x = 1. A run from x < 1
 * follows y = 1 and ends in the pessimistic one. From x = 1 with the start of y as an
 * outer variable it finds the best y of all that solve f there. */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(ht_mul(ht_sub(1, x), 0.5), ht_mul(x, y)));
}

static ht_var lower(ht_var x, ht_var y)
{
    return ht_sum(ht_mul(ht_sub(x, 1), y));
}

static ht_var set(ht_var x, ht_var y)
{
    (void)x;
    return ht_project_box(y, 0, 1);
}

static void reaction(const double *x, double *y)
{
    *y = *x < 1;
}

const problem lucchetti_1987 = {
    .size = {1, 1},
    .box = {{0}, {1}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{1}, 0},
    .follower = {HT_REVERSE, .rate = 1, .steps = 20},
    .leader = {.rate = 0.1, .steps = 60},
    .run = {{.x = {1}, .y = {0.5}, .by = CHOOSING, .end = SOLVES},
            {.x = {0.5}, .y = {0.5}, .end = OTHER, .found = {0}, .value = 0.5}},
};
