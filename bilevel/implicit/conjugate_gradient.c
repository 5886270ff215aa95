/* SPDX-License-Identifier: MIT */
/* conjugate_gradient.c: M. Hestenes and E. Stiefel, J. Res. NBS 49(6), 1952. Of all x in
 * the space that b, A b, A A b, ... span, the one nearest to the solution in the norm of
 * A; a direction of negative curvature, where A is not positive definite, ends it. The
 * coefficients are those of the Lanczos process on A (G. Golub and C. Van Loan, Matrix
 * Computations, 10.2). Read next: ritz.h. */
#include <math.h>
#include <string.h>

#include "ritz.h"
#include "system.h"

static int64_t cg_room(int64_t n, const hti_solver_options *options)
{
    return 2 * n + hti_ritz_room(options->most);
}

/* Curvature that may be what rounding made of 0 is not negative. */
static hti_end cg_breakdown(const hti_system *s, double curvature,
                            const double *direction, const double *product)
{
    int64_t n = s->a->n;
    double size = hti_norm(direction, n) * hti_norm(product, n);
    bool negative = curvature < -s->rounding * sqrt((double)n) * size;
    return negative ? HTI_INDEFINITE : HTI_SINGULAR;
}

/* Steps along conjugate directions, until r is small, or as small beside the r it began
 * with as it can truly be, or a direction's curvature is none beside the largest. */
static bool cg_descend(hti_system *s, double *direction, double *product, hti_ritz *t)
{
    int64_t n = s->a->n;
    double square = hti_dot(s->r, s->r, n), ratio = 0, slope = 0, largest = 0;
    double small = fmax(s->small, s->rounding * sqrt(square));
    memcpy(direction, s->r, (size_t)n * sizeof *direction);
    while (sqrt(square) > small && hti_products_left(s) > 0) {
        if (!hti_multiply(s, direction, product)) return false;
        double curvature = hti_dot(direction, product, n), before = square;
        double quotient = curvature / hti_dot(direction, direction, n);
        double diagonal = ratio * slope;
        slope = curvature / square; /* 1 / the step length */
        largest = fmax(largest, quotient);
        if (!(quotient > s->rounding * largest)) {
            s->s.end = cg_breakdown(s, curvature, direction, product);
            hti_ritz_add(t, diagonal + slope, 0);
            return true;
        }
        hti_add_scaled(s->x, 1 / slope, direction, n);
        hti_add_scaled(s->r, -1 / slope, product, n);
        square = hti_dot(s->r, s->r, n);
        ratio = square / before;
        hti_ritz_add(t, diagonal + slope, sqrt(ratio) * slope);
        hti_scale(direction, ratio, n);
        hti_add_scaled(direction, 1, s->r, n);
    }
    return true;
}

static bool cg_improve(hti_system *s)
{
    int64_t n = s->a->n;
    hti_ritz t = hti_ritz_new(s->work + 2 * n, s->options->most);
    s->worth = 0.5; /* r was small, and what is left is rounding */
    bool fine = cg_descend(s, s->work, s->work + n, &t);
    if (t.n > 0) {
        hti_see(s, hti_ritz_value(&t, 0));
        hti_see(s, hti_ritz_value(&t, t.n - 1));
    }
    return fine;
}

const hti_solver hti_conjugate_gradient = {
    .name = "conjugate gradients", .least = 1, .room = cg_room, .improve = cg_improve};
