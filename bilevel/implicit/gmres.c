/* SPDX-License-Identifier: MIT */
/* gmres.c: Y. Saad and M. Schultz, SIAM J. Sci. Stat. Comput. 7(3), 1986. Of all x in the
 * space that r, A r, A A r, ... span, the one of the least residual, for any A; begun
 * again from it after `rank` steps, as each keeps a vector. Modified Gram-Schmidt once is
 * enough for a solution as good as rounding lets it be (C. Paige, M. Rozloznik and Z.
 * Strakos, SIAM J. Matrix Anal. Appl. 28(1), 2006). Read next: neumann.c. */
#include <math.h>
#include <string.h>

#include "ritz.h"
#include "system.h"

/* A (q_0 ... q_k-1) = (q_0 ... q_k) H, with H made triangular by a rotation a column. */
typedef struct gmres_cycle {
    int64_t n, most;
    double *basis;    /* q_i at i n; q_0 is r */
    double *triangle; /* columns of `most` each */
    double *cosine, *sine;
    double *left;   /* of r, in the basis, rotated */
    double largest; /* of |A q| */
} gmres_cycle;

static int64_t gmres_steps(int64_t n, const hti_solver_options *options)
{
    int64_t most = n < options->most ? n : options->most;
    most = options->rank < most ? options->rank : most;
    return most > 1 ? most : 1;
}

static int64_t gmres_room(int64_t n, const hti_solver_options *options)
{
    int64_t m = gmres_steps(n, options);
    return m * n + m * m + 3 * m + 1 + hti_ritz_room(m);
}

/* w less its parts along the k vectors before it, and the length that is left. */
static double gmres_orthogonal(const gmres_cycle *c, int64_t k, double *w, double *part)
{
    for (int64_t i = 0; i < k; i++) {
        const double *q = c->basis + i * c->n;
        part[i] = hti_dot(w, q, c->n);
        hti_add_scaled(w, -part[i], q, c->n);
    }
    double length = hti_norm(w, c->n);
    if (length > 0) hti_scale(w, 1 / length, c->n);
    return length;
}

/* Column k of H under the rotations before it, and one of its own. False: A takes what is
 * new in q_k to what is had already. */
static bool gmres_rotate(gmres_cycle *c, int64_t k, double below, double rounding)
{
    double *column = c->triangle + k * c->most;
    for (int64_t i = 0; i < k; i++) {
        double up = column[i], down = column[i + 1];
        column[i] = c->cosine[i] * up + c->sine[i] * down;
        column[i + 1] = c->cosine[i] * down - c->sine[i] * up;
    }
    double length = hypot(column[k], below);
    if (!(length > rounding * c->largest)) return false;
    c->cosine[k] = column[k] / length;
    c->sine[k] = below / length;
    column[k] = length;
    c->left[k + 1] = -c->sine[k] * c->left[k];
    c->left[k] *= c->cosine[k];
    return true;
}

/* x += Q y with triangle y = left, of k columns. */
static void gmres_end(gmres_cycle *c, int64_t k, double *x)
{
    for (int64_t j = k; j-- > 0;) {
        const double *column = c->triangle + j * c->most;
        double y = c->left[j] / column[j];
        for (int64_t i = 0; i < j; i++) c->left[i] -= y * column[i];
        hti_add_scaled(x, y, c->basis + j * c->n, c->n);
    }
}

/* A step; false: a product failed. */
static bool gmres_step(hti_system *s, gmres_cycle *c, int64_t k, hti_ritz *t)
{
    double *w = c->basis + (k + 1) * c->n, *column = c->triangle + k * c->most;
    if (!hti_multiply(s, c->basis + k * c->n, w)) return false;
    c->largest = fmax(c->largest, hti_norm(w, c->n));
    double below = gmres_orthogonal(c, k + 1, w, column);
    hti_ritz_add(t, column[k], below);
    if (!gmres_rotate(c, k, below, s->rounding)) s->s.end = HTI_SINGULAR;
    return true;
}

static bool gmres_improve(hti_system *s)
{
    int64_t n = s->a->n, m = gmres_steps(n, s->options), k = 0;
    double *h = s->work + m * n, *rotations = h + m * m, size = hti_norm(s->r, n);
    gmres_cycle c = {n, m, s->r, h, rotations, rotations + m, rotations + 2 * m, 0};
    hti_ritz t = hti_ritz_new(c.left + m + 1, m);
    double small = fmax(s->small, s->rounding * size);
    c.left[0] = size;
    hti_scale(s->r, 1 / size, n);
    bool fine = true;
    while (fine && k < m && fabs(c.left[k]) > small && hti_products_left(s) > 0) {
        fine = gmres_step(s, &c, k, &t);
        if (s->s.end != HTI_GOES_ON) break;
        k += fine;
    }
    s->worth = fabs(c.left[k]) > small ? 1 : 0.5; /* rounding is what is left */
    gmres_end(&c, k, s->x);
    if (!s->a->transpose && t.n > 0) { /* H is tridiagonal */
        hti_see(s, hti_ritz_value(&t, 0));
        hti_see(s, hti_ritz_value(&t, t.n - 1));
    }
    return fine;
}

const hti_solver hti_gmres = {
    .name = "GMRES", .least = 1, .room = gmres_room, .improve = gmres_improve};
