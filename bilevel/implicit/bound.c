/* SPDX-License-Identifier: MIT */
/* bound.c: how far an implicit derivative is from what it would be if the training had
 * ended and the system had been solved.
 *
 * Let h(theta, v) be the derivative, off by e from the exact one. Newton steps of theta
 * and solutions for v's residual, repeated, leave of either residual a part p, and so of
 * e at most q = p kappa, kappa ten times the condition of A as the solvers saw it:
 *     |e| <= |h - h corrected| + q |e|,   so   |e| <= |h - h corrected| / (1 - q)
 * without any constant of the problem, nor a norm of its mixed derivative: where the
 * bound of M. J. Ehrhardt and L. Roberts (IMA J. Numer. Anal., 2024; arXiv 2301.04764)
 * has the worst directions, this has the ones at hand. To it comes what rounding makes of
 * h. Where q is not below a half nothing is said, nor where A is singular: what has no
 * solution cannot be corrected. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "implicit.h"

enum { PASSES = 4 };
static const double deep = 1e-10;  /* of a residual: flat directions may hold little */
static const double part = 0.1;    /* q that is aimed at */
static const double unseen = 10;   /* kappa by what a solver saw of it */
static const double rounding = 64; /* last bits of what h is made of */

typedef struct correction {
    hti_implicit *m;
    double smallest, largest; /* eigenvalues of A seen */
    double epsilon;           /* of the type that programs compute in */
    double left;              /* p */
} correction;

/* |kept gradient - the set's|. */
static double gradient_moved(const hti_implicit *m)
{
    const ht_set *set = m->b->problem.gradient;
    const double *from = m->gradient;
    double moved = 0;
    for (int j = 0; j < set->n; j++)
        for (int64_t k = 0, n = ht_tensor_count(set->tensor[j]); k < n; k++)
            moved = hypot(moved, *from++ - ht_tensor_get(set->tensor[j], k));
    return moved;
}

static void look(correction *c, const hti_solution *s)
{
    if (s->smallest < c->smallest || isnan(c->smallest)) c->smallest = s->smallest;
    if (s->largest > c->largest || isnan(c->largest)) c->largest = s->largest;
}

static double condition(const correction *c)
{
    bool seen = c->smallest > 0 && c->largest >= c->smallest;
    return seen ? unseen * c->largest / c->smallest : unseen;
}

/* m->correction = what solves for m->residual, or by A^T; how large it is. */
static bool solve(correction *c, bool transposed)
{
    hti_implicit *m = c->m;
    hti_linear a = hti_implicit_system(m);
    hti_solver_options o = m->correcting;
    o.tolerance = fmax(fmin(part / condition(c), deep), c->epsilon);
    memset(m->correction, 0, (size_t)m->n * sizeof *m->correction);
    m->transposed = transposed;
    hti_solution s = hti_solve(m->corrector, &a, &o, m->residual, m->correction, m->work);
    m->transposed = false;
    look(c, &s);
    return m->b->ctx->status == HT_OK;
}

/* Whether another pass is worth it: p is what is left of `before`, or nothing, where the
 * correction was within the rounding of what it corrects. */
static bool goes_on(correction *c, double before, double size)
{
    const hti_implicit *m = c->m;
    c->left = before > 0 ? hti_norm(m->residual, m->n) / before : 0;
    if (hti_norm(m->correction, m->n) <= rounding * c->epsilon * size) c->left = 0;
    return c->left * condition(c) > part;
}

/* Theta by Newton steps. */
static bool correct_theta(correction *c)
{
    hti_implicit *m = c->m;
    double before = hti_norm(m->residual, m->n);
    for (int pass = 0; before > 0 && pass < PASSES; pass++) {
        if (!solve(c, !m->b->programs.symmetric)) return false;
        hti_vector_move(m, m->here.at, m->b->programs.whole_step ? 1 : -1, m->correction);
        if (!hti_implicit_residual(m)) return false;
        hti_vector_get(m, m->right, m->here.at);
        if (!goes_on(c, before, hti_norm(m->right, m->n))) break;
    }
    return true;
}

/* v by solving for its residual at the corrected theta. */
static bool correct_v(correction *c)
{
    hti_implicit *m = c->m;
    double before = 0;
    for (int pass = 0; pass <= PASSES; pass++) {
        if (!hti_implicit_product(m->v, m->residual, m)) return false;
        for (int64_t i = 0; i < m->n; i++) m->residual[i] = m->right[i] - m->residual[i];
        if (pass == 0) before = hti_norm(m->residual, m->n);
        if (pass > 0 && !goes_on(c, before, hti_norm(m->v, m->n))) break;
        if (!(before > 0) || pass == PASSES) break;
        if (!solve(c, false)) return false;
        hti_add_scaled(m->v, 1, m->correction, m->n);
    }
    return true;
}

/* h at both corrected, to the gradient set; q. */
static bool correct(correction *c, uint64_t outer_step, double *q)
{
    hti_implicit *m = c->m;
    ht_bilevel *b = m->b;
    double again;
    if (!(correct_theta(c))) return false;
    *q = c->left;
    c->left = 0;
    if (!hti_run_outer(b, m->here.at, outer_step, &again)) return false;
    hti_implicit_right(m);
    if (!hti_enter_step(b, b->run.last) || !correct_v(c) || !hti_implicit_mixed(m, m->v))
        return false;
    *q = fmax(*q, c->left) * condition(c);
    return true;
}

bool hti_implicit_bound(hti_implicit *m, const hti_solution *s, uint64_t outer_step,
                        double *bound)
{
    correction c = {.m = m,
                    .smallest = s->smallest,
                    .largest = s->largest,
                    .epsilon = m->f64 ? DBL_EPSILON : (double)FLT_EPSILON};
    double q;
    if (m->b->options.no_bound || m->b->options.damping > 0 || m->b->run.watch ||
        s->end == HTI_SINGULAR)
        return true;
    memcpy(m->corrected.at, m->here.at, m->b->memory.block_bytes);
    memcpy(m->corrected.next, m->here.next, m->b->memory.block_bytes);
    m->here = m->corrected;
    hti_set_get(m->gradient, m->b->problem.gradient);
    bool ok = correct(&c, outer_step, &q);
    double moved = gradient_moved(m), size = hti_norm(m->gradient, m->n_eta);
    hti_set_put(m->b->problem.gradient, m->gradient);
    if (ok && q < 0.5)
        *bound = moved / (1 - q) + rounding * c.epsilon * condition(&c) * size;
    return ok;
}
