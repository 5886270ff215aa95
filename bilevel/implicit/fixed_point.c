/* SPDX-License-Identifier: MIT */
/* fixed_point.c: x <- x + rate (b - A x) (L. F. Richardson, 1910), from the guess; its
 * error after k steps is (I - rate A)^k times the guess's. From 0 these are the partial
 * sums of Neumann's series, which does not look at a guess and carries its terms along
 * instead of x. A step may make the residual larger, where A is not symmetric, and still
 * lead on. Read next: solver.c. */
#include <math.h>

#include "system.h"

static int64_t fixed_point_room(int64_t n, const hti_solver_options *options)
{
    (void)n;
    (void)options;
    return 0;
}

/* The product that judges x is the one of the next step. */
static bool fixed_point_improve(hti_system *s)
{
    s->worth = (double)INFINITY;
    hti_add_scaled(s->x, s->options->rate, s->r, s->a->n);
    return true;
}

const hti_solver hti_fixed_point = {
    .name = "fixed point", .room = fixed_point_room, .improve = fixed_point_improve};
