/* SPDX-License-Identifier: MIT */
/* neumann.c: the series (C. Neumann, 1877; of hypergradients: J. Lorraine, P. Vicol and
 * D. Duvenaud, AISTATS 2020)
 *     A^-1 b = rate b + rate (I - rate A) b + rate (I - rate A)^2 b + ...
 * cut off. From 0, `most` products are as many terms: the last judges them. Read next:
 * fixed_point.c, which goes the same way from a guess. */
#include "system.h"

static int64_t neumann_room(int64_t n, const hti_solver_options *options)
{
    (void)options;
    return n;
}

/* What b - A x is behind a term is the next one, but for the rate. */
static bool neumann_improve(hti_system *s)
{
    int64_t n = s->a->n;
    double rate = s->options->rate, *term = s->r, *product = s->work;
    hti_add_scaled(s->x, rate, term, n);
    while (hti_norm(term, n) > s->small && hti_products_left(s) > 0) {
        if (!hti_multiply(s, term, product)) return false;
        hti_see(s, hti_dot(term, product, n) / hti_dot(term, term, n));
        hti_add_scaled(term, -rate, product, n);
        hti_add_scaled(s->x, rate, term, n);
    }
    return true;
}

const hti_solver hti_neumann = {.name = "Neumann's series",
                                .ignores_guess = true,
                                .room = neumann_room,
                                .improve = neumann_improve};
