/* SPDX-License-Identifier: MIT */
/* solver.c: an iterate is improved by a row and judged by its true residual, until it is
 * solved or nothing more is to be had. What a row carries along drifts from b - A x by
 * rounding: each improvement begins from the true one again. Read next: the rows. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "system.h"

size_t hti_solver_room(const hti_solver *row, int64_t n,
                       const hti_solver_options *options)
{
    return (size_t)(n + row->room(n, options)) * sizeof(double);
}

/* r and its norm, relative to that of b. */
static bool solver_residual(hti_system *s)
{
    int64_t n = s->a->n;
    if (hti_norm(s->x, n) == 0)
        memset(s->r, 0, (size_t)n * sizeof *s->r);
    else if (!hti_multiply(s, s->x, s->r))
        return false;
    for (int64_t i = 0; i < n; i++) s->r[i] = s->b[i] * s->scale - s->r[i];
    s->s.residual = hti_norm(s->r, n) / s->size;
    return true;
}

static hti_end solver_judge(const hti_solver *row, const hti_system *s, double last)
{
    if (s->s.residual <= s->options->tolerance) return HTI_SOLVED;
    if (s->s.end != HTI_GOES_ON) return s->s.end;
    if (hti_products_left(s) < row->least) return HTI_OUT_OF_PRODUCTS;
    return s->s.residual < s->worth * last ? HTI_GOES_ON : HTI_STALLED;
}

static void solver_improve(const hti_solver *row, hti_system *s)
{
    double last = (double)INFINITY;
    while (solver_residual(s)) {
        s->s.end = solver_judge(row, s, last);
        if (s->s.end != HTI_GOES_ON) return;
        last = s->s.residual;
        if (!row->improve(s)) break;
    }
    s->s.end = HTI_FAILED;
}

/* A step along a direction that A all but ignores may lead farther from the solution than
 * 0 is. */
static void solver_drop_worse(hti_system *s)
{
    bool broke = s->s.end == HTI_SINGULAR || s->s.end == HTI_INDEFINITE;
    if (!broke || s->s.residual <= 1) return;
    memset(s->x, 0, (size_t)s->a->n * sizeof *s->x);
    s->s.residual = 1;
}

hti_solution hti_solve(const hti_solver *row, const hti_linear *a,
                       const hti_solver_options *options, const double *b, double *x,
                       void *work)
{
    double norm = hti_norm(b, a->n), *r = work, none = (double)NAN;
    hti_system s = {.a = a, .options = options, .b = b, .x = x, .r = r, .work = r + a->n};
    s.rounding = fmax(a->rounding, DBL_EPSILON);
    s.worth = 1;
    s.s = (hti_solution){.end = HTI_FAILED, .smallest = none, .largest = none};
    if (norm == 0 || row->ignores_guess) memset(x, 0, (size_t)a->n * sizeof *x);
    if (norm == 0) s.s.end = HTI_SOLVED;
    if (norm > 0 && isfinite(norm)) {
        s.scale = hti_power(norm);
        s.size = norm * s.scale;
        s.small = options->tolerance * s.size;
        s.s.end = HTI_GOES_ON;
        hti_scale(x, s.scale, a->n);
        solver_improve(row, &s);
        solver_drop_worse(&s);
        hti_scale(x, 1 / s.scale, a->n);
    }
    if (!hti_finite(x, a->n)) s.s.end = HTI_FAILED;
    if (s.s.end == HTI_FAILED) s.s.residual = none;
    s.s.solved = s.s.end == HTI_SOLVED;
    return s.s;
}

/* In the order of ht_solver. */
const hti_solver *hti_solver_row(int kind)
{
    static const hti_solver *const rows[] = {
        NULL,         &hti_conjugate_gradient, &hti_normal_gradient, &hti_gmres,
        &hti_neumann, &hti_fixed_point,        &hti_nystroem};
    size_t n = sizeof rows / sizeof *rows;
    return kind >= 0 && (size_t)kind < n ? rows[kind] : NULL;
}
