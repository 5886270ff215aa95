/* SPDX-License-Identifier: MIT */
/* conjugate_gradient.c: M. Hestenes and E. Stiefel, J. Res. NBS 49(6), 1952. Of all x in
 * the space that b, A b, A A b, ... span, the one nearest to the solution in the norm of
 * A; a direction of negative curvature, where A is not positive definite, ends it. Read
 * next: solver.h, to add another. */
#include <math.h>
#include <string.h>

#include "solver.h"

static double cg_dot(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* y = x + scale y, or y = y + scale x. */
static void cg_scale_add(double *y, double scale, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i] + scale * y[i];
}

static void cg_add_scaled(double *y, double scale, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += scale * x[i];
}

static bool cg_product(const hti_linear *a, const double *x, double *y, hti_solution *s)
{
    s->products++;
    return a->product(x, y, a->user);
}

/* r = b - A x. */
static bool cg_residual(const hti_linear *a, const double *b, const double *x, double *r,
                        hti_solution *s)
{
    if (!cg_product(a, x, r, s)) return false;
    for (int64_t i = 0; i < a->n; i++) r[i] = b[i] - r[i];
    return true;
}

/* Steps along conjugate directions from the residual r on, until it is at most `small`, A
 * curves the wrong way, or one product is left. False: a product failed. */
static bool cg_descend(const hti_linear *a, double *x, double *r, double small,
                       hti_solution *s)
{
    double *direction = r + a->n, *product = direction + a->n;
    double square = cg_dot(r, r, a->n);
    memcpy(direction, r, (size_t)a->n * sizeof *r);
    while (sqrt(square) > small && s->products + 1 < a->most) {
        if (!cg_product(a, direction, product, s)) return false;
        double curvature = cg_dot(direction, product, a->n), before = square;
        if (!(curvature > 0)) return true;
        cg_add_scaled(x, square / curvature, direction, a->n);
        cg_add_scaled(r, -square / curvature, product, a->n);
        square = cg_dot(r, r, a->n);
        cg_scale_add(direction, square / before, r, a->n);
    }
    return true;
}

static size_t cg_room(int64_t n)
{
    return 3 * (size_t)n * sizeof(double);
}

/* The residual that is carried along drifts from b - A x by rounding: where it has, the
 * descent begins again from the true one, as long as that helps. */
static hti_solution cg_solve(const hti_linear *a, const double *b, double *x,
                             double tolerance, void *work)
{
    double *r = work, size = sqrt(cg_dot(b, b, a->n)), last = (double)INFINITY;
    hti_solution s = {.residual = (double)NAN};
    if (!(size > 0)) memset(x, 0, (size_t)a->n * sizeof *x);
    while (cg_residual(a, b, x, r, &s)) {
        double off = sqrt(cg_dot(r, r, a->n));
        s.residual = off > 0 ? off / size : off;
        s.solved = s.residual <= tolerance;
        if (s.solved || !(s.residual < last) || s.products + 1 >= a->most) break;
        last = s.residual;
        s.residual = (double)NAN; /* of an x that is no more */
        if (!cg_descend(a, x, r, tolerance * size, &s)) break;
    }
    return s;
}

const hti_solver hti_conjugate_gradient = {
    .name = "conjugate gradients", .room = cg_room, .solve = cg_solve};
