/* SPDX-License-Identifier: MIT */
/* normal_gradient.c: conjugate gradients on A^T A x = A^T b, for any A, as C. Paige and
 * M. Saunders do it (LSQR, ACM TOMS 8(1), 1982): by the bidiagonal matrix
 *     A (v_1 ... v_k) = (u_1 ... u_k+1) B,  beta_1 u_1 = r,
 * so that no square of the condition is ever formed. Of all x in the space that A^T b,
 * A^T A A^T b, ... span, the one of the least residual. Read next: gmres.c, which needs
 * no transpose. */
#include <math.h>
#include <string.h>

#include "ritz.h"
#include "system.h"

/* The vectors of a step, and what one hands to the next. */
typedef struct normal_step {
    double *u, *v, *along, *product;     /* x moves along `along` */
    double beta, cosine, sine, diagonal; /* the last column of B, and its rotation */
    double left, largest;                /* |r|; the largest element of B yet */
} normal_step;

static int64_t normal_room(int64_t n, const hti_solver_options *options)
{
    return 3 * n + hti_ritz_room(options->most + 1);
}

/* to = A from - back to, of length 1, and the length it had; by A or A^T. */
static bool normal_next(hti_system *s,
                        bool (*multiply)(hti_system *, const double *, double *),
                        normal_step *p, const double *from, double back, double *to,
                        double *length)
{
    int64_t n = s->a->n;
    if (!multiply(s, from, p->product)) return false;
    hti_scale(to, -back, n);
    hti_add_scaled(to, 1, p->product, n);
    *length = hti_norm(to, n);
    if (*length > 0) hti_scale(to, 1 / *length, n);
    p->largest = fmax(p->largest, *length);
    return true;
}

/* A column of B, turned triangular by a rotation. Where its corner is 0 by rounding, r is
 * what A cannot reach. */
static bool normal_advance(hti_system *s, normal_step *p, hti_ritz *t)
{
    int64_t n = s->a->n;
    double alpha;
    if (!normal_next(s, hti_multiply_transpose, p, p->u, p->beta, p->v, &alpha))
        return false;
    double corner = -p->cosine * alpha;
    if (!(fabs(corner) > s->rounding * p->largest)) s->s.end = HTI_SINGULAR;
    if (s->s.end != HTI_GOES_ON) return true;
    hti_scale(p->along, -p->sine * alpha / p->diagonal, n);
    hti_add_scaled(p->along, 1, p->v, n);
    if (!normal_next(s, hti_multiply, p, p->v, alpha, p->u, &p->beta)) return false;
    hti_ritz_add(t, 0, alpha);
    hti_ritz_add(t, 0, p->beta);
    p->diagonal = hypot(corner, p->beta);
    p->cosine = corner / p->diagonal;
    p->sine = p->beta / p->diagonal;
    hti_add_scaled(s->x, p->cosine * p->left / p->diagonal, p->along, n);
    p->left *= p->sine;
    return true;
}

/* (0 B; B^T 0), its rows in the order of u_1, v_1, u_2, ..., is tridiagonal: its
 * eigenvalues are the singular values of B, their negatives, and a 0 between. */
static void normal_see(hti_system *s, hti_ritz *t)
{
    if (t->n == 0) return;
    t->n -= t->n % 2; /* of a column that had half of its room */
    if (t->n == t->most) t->n -= 2;
    hti_ritz_add(t, 0, 0);
    hti_see(s, hti_ritz_value(t, t->n / 2 + 1));
    hti_see(s, hti_ritz_value(t, t->n - 1));
}

static bool normal_improve(hti_system *s)
{
    int64_t n = s->a->n;
    double *r = s->r, *v = s->work;
    normal_step p = {r, v, v + n, v + 2 * n, 0, -1, 0, 1, hti_norm(r, n), 0};
    hti_ritz t = hti_ritz_new(v + 3 * n, s->options->most + 1);
    double small = fmax(s->small, s->rounding * p.left);
    bool fine = true;
    s->worth = 0.5; /* r was small, and what is left is rounding */
    hti_scale(r, 1 / p.left, n);
    memset(v, 0, 2 * (size_t)n * sizeof *v);
    while (fine && s->s.end == HTI_GOES_ON && p.left > small && hti_products_left(s) > 1)
        fine = normal_advance(s, &p, &t);
    normal_see(s, &t);
    return fine;
}

const hti_solver hti_normal_gradient = {.name = "normal-equation CG",
                                        .least = 2,
                                        .room = normal_room,
                                        .improve = normal_improve};
