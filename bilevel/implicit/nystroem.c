/* SPDX-License-Identifier: MIT */
/* nystroem.c: A of rank k that agrees with A on k random directions W,
 *     A_k = (A W) (W^T A W)^-1 (A W)^T,
 * made as J. Tropp, A. Yurtsever, M. Udell and V. Cevher do it (NeurIPS 2017): shifted
 * by as much as rounding may have made of it, which is taken off its eigenvalues again.
 * x gains (A_k + damping I)^-1 r, once (R. Hataya and M. Yamada, AISTATS 2023, by
 * Woodbury's identity, which eigenvectors make needless). Of damping 0 it is the
 * pseudo-inverse: what A_k does not reach stays in the residual. It is exact of k = n,
 * and of k a few above the rank of A. Read next: solver.c. */
#include <float.h>
#include <math.h>

#include "system.h"

static int64_t nystroem_rank(int64_t n, const hti_solver_options *options)
{
    int64_t most = n < options->most ? n : options->most;
    most = options->rank < most ? options->rank : most;
    return most > 0 ? most : 0;
}

static int64_t nystroem_room(int64_t n, const hti_solver_options *options)
{
    int64_t k = nystroem_rank(n, options);
    return 2 * k * n + k * k + k;
}

/* About normal: the sum of four even numbers (splitmix64, G. Steele and others 2014). */
static double nystroem_random(uint64_t seed, uint64_t at)
{
    uint64_t z = seed + (at + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)((z & 65535) + (z >> 16 & 65535) + (z >> 32 & 65535) + (z >> 48)) -
           131070;
}

/* Orthonormal columns, but for rounding: A_k depends on their span alone. */
static void nystroem_sketch(double *w, int64_t n, int64_t k, uint64_t seed)
{
    for (int64_t i = 0; i < n * k; i++) w[i] = nystroem_random(seed, (uint64_t)i);
    for (int64_t j = 0; j < k; j++) {
        double *column = w + j * n;
        for (int64_t i = 0; i < j; i++) {
            const double *before = w + i * n;
            hti_add_scaled(column, -hti_dot(column, before, n), before, n);
        }
        hti_scale(column, 1 / hti_norm(column, n), n);
    }
}

/* The lower factor of W^T Y, row by row; false: it is not positive definite. */
static bool nystroem_factor(const double *w, const double *y, int64_t n, int64_t k,
                            double *lower)
{
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0.5 * (hti_dot(w + i * n, y + j * n, n) +
                                hti_dot(w + j * n, y + i * n, n));
            sum -= hti_dot(lower + i * k, lower + j * k, j);
            if (i == j && !(sum > 0)) return false;
            lower[i * k + j] = i == j ? sqrt(sum) : sum / lower[j * k + j];
        }
    return true;
}

/* Turns two columns until they are orthogonal (M. Hestenes 1958); false: they are. */
static bool nystroem_turn(double *p, double *q, int64_t n)
{
    double pp = hti_dot(p, p, n), qq = hti_dot(q, q, n), pq = hti_dot(p, q, n);
    if (!(fabs(pq) > DBL_EPSILON * sqrt((double)n) * sqrt(pp) * sqrt(qq))) return false;
    double ratio = (qq - pp) / (2 * pq);
    double tangent = copysign(1, ratio) / (fabs(ratio) + hypot(1, ratio));
    double cosine = 1 / hypot(1, tangent), sine = cosine * tangent;
    for (int64_t i = 0; i < n; i++) {
        double u = p[i], v = q[i];
        p[i] = cosine * u - sine * v;
        q[i] = sine * u + cosine * v;
    }
    return true;
}

/* Left singular vectors times singular values. */
static void nystroem_turn_all(double *y, int64_t n, int64_t k)
{
    bool turned = true;
    for (int sweep = 0; turned && sweep < 40; sweep++) {
        turned = false;
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = i + 1; j < k; j++)
                turned |= nystroem_turn(y + i * n, y + j * n, n);
    }
}

/* Y = A W, shifted, as U S with A_k = U S S U^T - shift; false: a product failed. */
static bool nystroem_product(hti_system *s, double *y, const double *w, int64_t k)
{
    for (int64_t j = 0; j < k; j++) {
        if (!hti_multiply_undamped(s, w + j * s->a->n, y + j * s->a->n)) return false;
        double quotient = hti_dot(w + j * s->a->n, y + j * s->a->n, s->a->n);
        hti_see(s, quotient + s->a->damping);
    }
    return true;
}

/* Y becomes Y lower^-T: A_k + shift is then Y Y^T. */
static void nystroem_divide(double *y, int64_t n, int64_t k, const double *lower)
{
    for (int64_t j = 0; j < k; j++) {
        double *column = y + j * n;
        for (int64_t i = 0; i < j; i++)
            hti_add_scaled(column, -lower[j * k + i], y + i * n, n);
        hti_scale(column, 1 / lower[j * k + j], n);
    }
}

/* Columns of length 1, and the eigenvalues of A_k; the largest is returned. */
static double nystroem_values(double *y, int64_t n, int64_t k, double shift,
                              double *value)
{
    double largest = 0;
    for (int64_t j = 0; j < k; j++) {
        double size = hti_norm(y + j * n, n);
        hti_scale(y + j * n, 1 / size, n);
        value[j] = fmax(0, size * size - shift);
        largest = fmax(largest, value[j]);
    }
    return largest;
}

/* x += (A_k + damping I)^-1 r; what is left of r is orthogonal to all columns of U after
 * two rounds, and A_k takes it to 0. */
static void nystroem_add(hti_system *s, const double *u, const double *value, int64_t k,
                         double least)
{
    int64_t n = s->a->n;
    for (int64_t i = 0; i < 2 * k; i++) {
        const double *column = u + i % k * n;
        double along = hti_dot(column, s->r, n), full = value[i % k] + s->a->damping;
        hti_add_scaled(s->r, -along, column, n);
        if (full > least) hti_add_scaled(s->x, along / full, column, n);
    }
    if (s->a->damping > 0) hti_add_scaled(s->x, 1 / s->a->damping, s->r, n);
}

/* False: A is not positive semidefinite. Then U is in y. */
static bool nystroem_decompose(hti_system *s, const double *w, double *y, int64_t k,
                               double shift, double *lower, double *value)
{
    int64_t n = s->a->n;
    hti_add_scaled(y, shift, w, n * k);
    if (!nystroem_factor(w, y, n, k, lower)) return false;
    nystroem_divide(y, n, k, lower);
    nystroem_turn_all(y, n, k);
    double largest = nystroem_values(y, n, k, shift, value);
    hti_see(s, largest + s->a->damping);
    return true;
}

static bool nystroem_improve(hti_system *s)
{
    int64_t n = s->a->n, k = nystroem_rank(n, s->options);
    if (k > hti_products_left(s)) k = hti_products_left(s);
    double *w = s->work, *y = w + k * n, *lower = y + k * n, *value = lower + k * k;
    nystroem_sketch(w, n, k, s->options->seed);
    if (!nystroem_product(s, y, w, k)) return false;
    double size = hti_norm(y, n * k), shift = s->rounding * sqrt((double)n) * size;
    if (!(size > 0)) k = 0;
    s->s.end = HTI_STALLED;
    if (k == 0 && !(s->a->damping > 0))
        s->s.end = HTI_SINGULAR;
    else if (!nystroem_decompose(s, w, y, k, shift, lower, value))
        s->s.end = HTI_INDEFINITE;
    else
        nystroem_add(s, y, value, k, s->a->damping > 0 ? 0 : 16 * shift);
    return true;
}

const hti_solver hti_nystroem = {
    .name = "Nystroem's matrix", .room = nystroem_room, .improve = nystroem_improve};
