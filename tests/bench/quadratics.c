/* SPDX-License-Identifier: MIT */
/* quadratics.c: a bilevel problem of quadratics, and the gradient of its value function
 * in closed form. Read next: single.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "single.h"

enum { INNER = 100, OUTER = 10 };

/* Quadratics. A row has a Hessian x x^T of theta (and y y^T of eta, in F), x normal with
 * a covariance of eigenvalues 0.1 .. 1, logarithmically spaced in a random basis; the
 * form p g^T between eta and theta; the linear terms l (and m). What G has of eta alone
 * moves nothing and is left out. */

static ht_var form(const ht_vars *theta, const ht_vars *eta, const ht_vars *rows)
{
    ht_var w = ht_get(theta, "w"), e = ht_get(eta, "e");
    ht_var square = ht_mean(ht_square(ht_matmul(ht_get(rows, "x"), w)));
    ht_var cross =
        ht_mul(ht_matmul(ht_get(rows, "p"), e), ht_matmul(ht_get(rows, "g"), w));
    ht_var linear = ht_mean(ht_matmul(ht_get(rows, "l"), w));
    return ht_add(ht_add(ht_mul(square, 0.5), ht_mean(cross)), linear);
}

static ht_var quadratic_inner(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    (void)user;
    return form(theta, eta, batch);
}

static ht_var quadratic_outer(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    (void)user;
    ht_var e = ht_get(eta, "e");
    ht_var square = ht_mean(ht_square(ht_matmul(ht_get(batch, "y"), e)));
    ht_var linear = ht_mean(ht_matmul(ht_get(batch, "m"), e));
    return ht_add(form(theta, eta, batch), ht_add(ht_mul(square, 0.5), linear));
}

/* x = x - 2 u (u . x) */
static void reflect(float *x, const double *u, int64_t n)
{
    double dot = 0;
    for (int64_t i = 0; i < n; i++) dot += u[i] * x[i];
    for (int64_t i = 0; i < n; i++) x[i] = (float)(x[i] - 2 * u[i] * dot);
}

/* Normal rows of covariance U D U, D = 0.1 .. 1 and U a random reflection. */
static void correlate(ht_tensor *rows, uint64_t stream)
{
    int64_t n = ht_tensor_shape(rows).dim[1];
    double u[INNER], norm = 0;
    float *x = ht_tensor_data(rows);
    for (int64_t i = 0; i < n; i++) {
        u[i] = ht_random_uniform(7, stream, (uint64_t)i) - 0.5;
        norm = hypot(norm, u[i]);
    }
    for (int64_t i = 0; i < n; i++) u[i] /= norm;
    for (int64_t r = 0; r < ht_tensor_shape(rows).dim[0]; r++, x += n) {
        reflect(x, u, n);
        for (int64_t i = 0; i < n; i++)
            x[i] *= (float)pow(10, -0.5 * (1 - (double)i / (double)(n - 1)));
        reflect(x, u, n);
    }
}

static ht_set *quadratic_rows(ht_context *ctx, int which, int64_t n)
{
    uint64_t stream = which ? 20 : 10;
    const struct {
        const char *name;
        int64_t columns;
    } part[] = {{"x", INNER}, {"y", OUTER}, {"g", INNER},
                {"p", OUTER}, {"l", INNER}, {"m", OUTER}};
    ht_set *rows = ht_set_new(ctx);
    for (uint64_t k = 0; k < 6; k++) {
        ht_tensor *t =
            ht_set_add(rows, part[k].name, HT_F32, HT_SHAPE(n, part[k].columns));
        ht_tensor_normal(t, stream + k, 0, 1);
        if (k < 2) correlate(t, stream + k);
    }
    /* p is 0.1 of the columns of g that it goes with, others in F than in G. */
    float *p = ht_tensor_data(ht_set_tensor(rows, "p"));
    const float *g = ht_tensor_data(ht_set_tensor(rows, "g"));
    for (int64_t i = 0; i < n * OUTER; i++)
        p[i] = 0.1F * g[i / OUTER * INNER + i % OUTER + which * OUTER];
    return rows;
}

bool quadratics_open(single_task *t)
{
    *t = (single_task){
        .ctx = ht_context_new(&(ht_context_options){.seed = 1, .threads = 1})};
    t->theta = ht_set_new(t->ctx);
    t->eta = ht_set_new(t->ctx);
    ht_tensor_fill(ht_set_add(t->theta, "w", HT_F32, HT_SHAPE(INNER, 1)), 0);
    ht_tensor_normal(ht_set_add(t->eta, "e", HT_F32, HT_SHAPE(OUTER, 1)), 1, 0, 1);
    t->rows[0] = quadratic_rows(t->ctx, 0, 32768);
    t->rows[1] = quadratic_rows(t->ctx, 1, 1024);
    t->inner = quadratic_inner;
    t->outer = quadratic_outer;
    return ht_context_status(t->ctx) == HT_OK;
}

/* to (n_a, n_b) = the mean of a b^T over the rows; b NULL: of a. */
static void mean_of(const ht_set *rows, const char *a, const char *b, double *to)
{
    const ht_tensor *left = ht_set_tensor(rows, a),
                    *right = b ? ht_set_tensor(rows, b) : NULL;
    int64_t n = ht_tensor_shape(left).dim[0], na = ht_tensor_shape(left).dim[1],
            nb = b ? ht_tensor_shape(right).dim[1] : 1;
    const float one = 1, *x = ht_tensor_data(left), *y = b ? ht_tensor_data(right) : &one;
    memset(to, 0, (size_t)(na * nb) * sizeof *to);
    for (int64_t r = 0; r < n; r++, x += na, y += b ? nb : 0)
        for (int64_t i = 0; i < na; i++)
            for (int64_t j = 0; j < nb; j++) to[i * nb + j] += (double)x[i] * y[j];
    for (int64_t i = 0; i < na * nb; i++) to[i] /= (double)n;
}

/* The means of both losses; h[0] then holds its Cholesky factor. */
struct quadratics_means {
    double h[2][INNER * INNER], c[2][OUTER * INNER], l[2][INNER], e[OUTER * OUTER],
        m[OUTER];
};

static void cholesky(double *a)
{
    for (int j = 0; j < INNER; j++)
        for (int i = j; i < INNER; i++) {
            double sum = a[i * INNER + j];
            for (int k = 0; k < j; k++) sum -= a[i * INNER + k] * a[j * INNER + k];
            a[i * INNER + j] = i == j ? sqrt(sum) : sum / a[j * INNER + j];
        }
}

static void solve(const double *factor, double *x)
{
    for (int i = 0; i < INNER; i++) {
        for (int k = 0; k < i; k++) x[i] -= factor[i * INNER + k] * x[k];
        x[i] /= factor[i * INNER + i];
    }
    for (int i = INNER; i-- > 0;) {
        for (int k = i + 1; k < INNER; k++) x[i] -= factor[k * INNER + i] * x[k];
        x[i] /= factor[i * INNER + i];
    }
}

quadratics_means *quadratics_means_new(const single_task *t)
{
    quadratics_means *m = malloc(sizeof *m);
    if (!m) return NULL;
    for (int which = 0; which < 2; which++) {
        mean_of(t->rows[which], "x", "x", m->h[which]);
        mean_of(t->rows[which], "p", "g", m->c[which]);
        mean_of(t->rows[which], "l", NULL, m->l[which]);
    }
    mean_of(t->rows[1], "y", "y", m->e);
    mean_of(t->rows[1], "m", NULL, m->m);
    cholesky(m->h[0]);
    return m;
}

double quadratics_square(const quadratics_means *m, const ht_set *eta)
{
    const float *e = ht_tensor_data(ht_set_at(eta, 0));
    double w[INNER], v[INNER], square = 0;
    for (int i = 0; i < INNER; i++) {
        w[i] = -m->l[0][i];
        for (int j = 0; j < OUTER; j++) w[i] -= m->c[0][j * INNER + i] * e[j];
    }
    solve(m->h[0], w);
    for (int i = 0; i < INNER; i++) {
        v[i] = m->l[1][i];
        for (int j = 0; j < OUTER; j++) v[i] += m->c[1][j * INNER + i] * e[j];
        for (int k = 0; k < INNER; k++) v[i] += m->h[1][i * INNER + k] * w[k];
    }
    solve(m->h[0], v);
    for (int j = 0; j < OUTER; j++) {
        double g = m->m[j];
        for (int k = 0; k < OUTER; k++) g += m->e[j * OUTER + k] * e[k];
        for (int i = 0; i < INNER; i++)
            g += m->c[1][j * INNER + i] * w[i] - m->c[0][j * INNER + i] * v[i];
        square += g * g;
    }
    return square;
}
