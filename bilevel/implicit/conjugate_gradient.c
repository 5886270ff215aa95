/* SPDX-License-Identifier: MIT */
/* conjugate_gradient.c: M. Hestenes and E. Stiefel, J. Res. NBS 49(6), 1952. Of all x in
 * the space that b, A b, A A b, ... span, the one nearest to the solution in the norm of
 * A; a direction of negative curvature, where A is not positive definite, ends it. The
 * coefficients are those of the Lanczos process on A (G. Golub and C. Van Loan, Matrix
 * Computations, 10.2). Read next: solver.h, to add another. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "ritz.h"
#include "system.h"

static int64_t cg_room(int64_t n, const hti_solver_options *options)
{
    return 2 * n + hti_ritz_room(n, options->most);
}

/* What rounding alone makes of 0 is not negative. */
static hti_end cg_breakdown(double curvature, const double *direction,
                            const double *product, int64_t n)
{
    double size = hti_norm(direction, n) * hti_norm(product, n);
    return curvature < -DBL_EPSILON * (double)n * size ? HTI_INDEFINITE : HTI_SINGULAR;
}

/* Steps along conjugate directions, until r is small, or as small beside the r it began
 * with as it can truly be. */
static bool cg_descend(hti_system *s, double *direction, double *product, hti_ritz *t)
{
    int64_t n = s->a->n;
    double square = hti_dot(s->r, s->r, n), ratio = 0, slope = 0;
    double small = fmax(s->small, DBL_EPSILON * sqrt(square));
    memcpy(direction, s->r, (size_t)n * sizeof *direction);
    while (sqrt(square) > small && hti_products_left(s) > 0) {
        if (!hti_multiply(s, direction, product)) return false;
        double curvature = hti_dot(direction, product, n), before = square;
        double diagonal = ratio * slope;
        slope = curvature / square; /* 1 / the step length */
        diagonal += slope;
        if (!(curvature > 0))
            s->s.end = cg_breakdown(curvature, direction, product, n);
        else {
            hti_add_scaled(s->x, 1 / slope, direction, n);
            hti_add_scaled(s->r, -1 / slope, product, n);
            square = hti_dot(s->r, s->r, n);
            ratio = square / before;
        }
        hti_ritz_add(t, diagonal, sqrt(ratio) * slope);
        if (s->s.end != HTI_GOES_ON) return true;
        hti_scale(direction, ratio, n);
        hti_add_scaled(direction, 1, s->r, n);
    }
    return true;
}

static bool cg_improve(hti_system *s)
{
    int64_t n = s->a->n;
    hti_ritz t = hti_ritz_new(s->work + 2 * n, n, s->options->most);
    bool fine = cg_descend(s, s->work, s->work + n, &t);
    if (t.n > 0) {
        hti_see(s, hti_ritz_value(&t, 0));
        hti_see(s, hti_ritz_value(&t, t.n - 1));
    }
    return fine;
}

const hti_solver hti_conjugate_gradient = {.name = "conjugate gradients",
                                           .least = 1,
                                           .worth = 0.5,
                                           .room = cg_room,
                                           .improve = cg_improve};
