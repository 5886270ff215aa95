/* SPDX-License-Identifier: MIT */
/* shimizu_aiyoshi_1981.c: K. Shimizu, E. Aiyoshi, A new computational method for
 * Stackelberg and min-max problems by use of a penalty method, IEEE Trans. Automatic
 * Control 26 (1981), 460-466, the first example.
 *
 *   F = x^2 + (y - 10)^2,   f = (x + 2 y - 30)^2,
 *   0 <= x <= 15, y <= x at the upper level,  x + y <= 20, 0 <= y <= 20 at the lower.
 *
 * f is convex: y = min(15 - x/2, 20 - x), unique, the second from x = 10 on. With the
 * first y <= x says x >= 10, with the second it holds: the upper level's constraint on y
 * is x in [10, 15]. There F' = 2 x - 2 (10 - x) > 0: x = 10, y = 10, F = 100, an end of
 * the range and a kink of y at once. (Without y <= x the optimum would be x = 2, F =
 * 20.) */
#include "problems.h"

static ht_var upper(ht_var x, ht_var y)
{
    return ht_sum(ht_add(ht_square(x), square_off(y, 10)));
}

static ht_var lower(ht_var x, ht_var y)
{
    return ht_sum(square_off(ht_add(x, ht_mul(y, 2)), 30));
}

static ht_var set(ht_var x, ht_var y)
{
    return ht_project_box(y, 0, ht_sub(20, x));
}

static void reaction(const double *x, double *y)
{
    *y = fmin(15 - *x / 2, 20 - *x);
}

const problem shimizu_aiyoshi_1981 = {
    .size = {1, 1},
    .box = {{10}, {15}},
    .maps = {upper, lower, set, reaction},
    .optimum = {{10}, 100},
    .follower = {HT_IMPLICIT, .rate = 0.1, .steps = 100},
    .leader = {.rate = 0.05, .steps = 60},
    .run = {{.x = {15}, .end = SOLVES}, {.x = {11}, .y = {5}, .end = SOLVES}},
};
