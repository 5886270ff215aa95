/* SPDX-License-Identifier: MIT */
/* test_stationary.h: small problems whose training ends at a point known in closed form,
 * with the derivative there: ridge regression with a penalty a feature, quadratics of
 * random blocks, the lasso. What each is is derived beside it. Read next:
 * ../bilevel/test_bilevel_implicit.c. */
#ifndef HTI_TEST_STATIONARY_H
#define HTI_TEST_STATIONARY_H

#include <string.h>

#include "test_bilevel.h"

enum { MOST = 24 }; /* of unknowns and outer variables */

/* Dense numbers. */

static uint64_t draws;

static inline double draw(void)
{
    return 2 * ht_random_uniform(7, 1, draws++) - 1;
}

typedef struct matrix {
    int rows, columns;
    double at[MOST][MOST];
} matrix;

static inline void matrix_draw(matrix *a, int rows, int columns)
{
    a->rows = rows;
    a->columns = columns;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) a->at[i][j] = draw();
}

/* a a^T / columns + least. */
static inline void matrix_positive(matrix *a, int n, double least)
{
    matrix b;
    matrix_draw(&b, n, n);
    a->rows = a->columns = n;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            a->at[i][j] = i == j ? least : 0;
            for (int k = 0; k < n; k++) a->at[i][j] += b.at[i][k] * b.at[j][k] / n;
        }
}

/* x = a^-1 b, by elimination with pivots. */
static inline void matrix_solve(const matrix *from, const double *b, double *x)
{
    matrix a = *from;
    int n = a.rows;
    memcpy(x, b, (size_t)n * sizeof *x);
    for (int k = 0; k < n; k++) {
        int p = k;
        for (int i = k; i < n; i++)
            if (fabs(a.at[i][k]) > fabs(a.at[p][k])) p = i;
        for (int j = 0; j < n; j++) {
            double t = a.at[k][j];
            a.at[k][j] = a.at[p][j], a.at[p][j] = t;
        }
        double t = x[k];
        x[k] = x[p], x[p] = t;
        for (int i = k + 1; i < n; i++) {
            double part = a.at[i][k] / a.at[k][k];
            for (int j = k; j < n; j++) a.at[i][j] -= part * a.at[k][j];
            x[i] -= part * x[k];
        }
    }
    for (int k = n; k-- > 0;) {
        for (int j = k + 1; j < n; j++) x[k] -= a.at[k][j] * x[j];
        x[k] /= a.at[k][k];
    }
}

static inline void matrix_to(ht_tensor *t, const matrix *a)
{
    for (int i = 0; i < a->rows; i++)
        for (int j = 0; j < a->columns; j++)
            ht_tensor_set(t, (int64_t)i * a->columns + j, a->at[i][j]);
}

/* Problems. */

typedef struct trial {
    counted memory;
    ht_context *ctx;
    ht_bilevel_problem problem;
    int n;
    double rate;
} trial;

static inline void trial_open(trial *t)
{
    memset(t, 0, sizeof *t);
    t->ctx = ht_context_new(&(ht_context_options){
        .alloc = counted_alloc, .user = &t->memory, .threads = 1, .seed = 5});
    t->problem = (ht_bilevel_problem){.theta = ht_set_new(t->ctx),
                                      .eta = ht_set_new(t->ctx),
                                      .inner_data = ht_set_new(t->ctx),
                                      .update = HT_SGD(0.1),
                                      .steps = 1,
                                      .user = t};
    t->problem.outer_data = t->problem.inner_data;
}

static inline void trial_close(trial *t)
{
    ht_set_free(t->problem.theta);
    ht_set_free(t->problem.eta);
    ht_set_free(t->problem.inner_data);
    ht_context_free(t->ctx);
    assert_int_equal(t->memory.live, 0);
}

static inline ht_bilevel *trial_bilevel(trial *t, ht_bilevel_options o)
{
    ht_bilevel *b = ht_bilevel_new(t->ctx, &t->problem, &o);
    if (!b) fail_msg("%s", ht_context_message(t->ctx));
    return b;
}

static inline double found(ht_bilevel_result r, const char *name, int64_t k)
{
    return ht_tensor_get(ht_set_tensor(r.gradient, name), k);
}

static inline void assert_all(ht_bilevel_result r, const char *name, const double *want,
                              int n, double tolerance)
{
    double size = 0, off = 0;
    for (int k = 0; k < n; k++) {
        size = hypot(size, want[k]);
        off = hypot(off, found(r, name, k) - want[k]);
    }
    if (!(off <= tolerance * size))
        fail_msg("%s is off by %.2e of %.2e", name, off, size);
}

/* Ridge regression with a penalty a feature:
 *   L = |X w - y|^2 / 2 + sum_j exp(l_j) w_j^2 / 2,   F = |Xv w - yv|^2 / 2
 *   H = X^T X + diag exp(l),  dF/dl_j = -exp(l_j) w_j [H^-1 Xv^T (Xv w - yv)]_j */
typedef struct ridge {
    matrix x, h;
    double y[MOST], l[MOST], w[MOST], right[MOST], gradient[MOST];
} ridge;

static inline ht_var squares(const ht_vars *theta, const ht_vars *batch, const char *x,
                             const char *y)
{
    ht_var product = ht_matmul(ht_get(batch, x), ht_get(theta, "w"));
    return ht_mul(ht_sum(ht_square(ht_sub(product, ht_get(batch, y)))), 0.5);
}

static inline ht_var ridge_inner(const ht_vars *theta, const ht_vars *eta,
                                 const ht_vars *batch, void *user)
{
    (void)user;
    ht_var penalty = ht_mul(ht_exp(ht_get(eta, "l")), ht_square(ht_get(theta, "w")));
    return ht_add(squares(theta, batch, "x", "y"), ht_mul(ht_sum(penalty), 0.5));
}

static inline ht_var validation(const ht_vars *theta, const ht_vars *eta,
                                const ht_vars *batch, void *user)
{
    (void)eta, (void)user;
    return squares(theta, batch, "xv", "yv");
}

static inline void ridge_open(trial *t, ridge *g, int rows, int n, ht_dtype dtype)
{
    matrix xv;
    double yv[MOST], residual, b[MOST] = {0};
    trial_open(t);
    matrix_draw(&g->x, rows, n);
    matrix_draw(&xv, rows, n);
    g->h.rows = g->h.columns = n;
    for (int i = 0; i < rows; i++) g->y[i] = draw(), yv[i] = draw();
    for (int j = 0; j < n; j++) g->l[j] = draw();
    for (int j = 0; j < n; j++)
        for (int k = 0; k < n; k++) {
            g->h.at[j][k] = j == k ? exp(g->l[j]) : 0;
            for (int i = 0; i < rows; i++) g->h.at[j][k] += g->x.at[i][j] * g->x.at[i][k];
        }
    for (int j = 0; j < n; j++)
        for (int i = 0; i < rows; i++) b[j] += g->x.at[i][j] * g->y[i];
    matrix_solve(&g->h, b, g->w);
    memset(g->right, 0, sizeof g->right);
    for (int i = 0; i < rows; i++) {
        residual = -yv[i];
        for (int j = 0; j < n; j++) residual += xv.at[i][j] * g->w[j];
        for (int j = 0; j < n; j++) g->right[j] += xv.at[i][j] * residual;
    }
    matrix_solve(&g->h, g->right, b);
    for (int j = 0; j < n; j++) g->gradient[j] = -exp(g->l[j]) * g->w[j] * b[j];
    ht_set *data = t->problem.inner_data;
    ht_shape shape = HT_SHAPE(rows, n), row = HT_SHAPE(rows, 1);
    matrix_to(ht_set_add(data, "x", dtype, shape), &g->x);
    matrix_to(ht_set_add(data, "xv", dtype, shape), &xv);
    ht_tensor *y = ht_set_add(data, "y", dtype, row),
              *v = ht_set_add(data, "yv", dtype, row);
    for (int i = 0; i < rows; i++)
        ht_tensor_set(y, i, g->y[i]), ht_tensor_set(v, i, yv[i]);
    ht_tensor *w = ht_set_add(t->problem.theta, "w", dtype, HT_SHAPE(n, 1)),
              *l = ht_set_add(t->problem.eta, "l", dtype, HT_SHAPE(n, 1));
    for (int j = 0; j < n; j++) ht_tensor_set(l, j, g->l[j]);
    ht_tensor_fill(w, 0);
    t->problem.inner = ridge_inner;
    t->problem.outer = validation;
    double most = 0;
    for (int j = 0; j < n; j++) {
        double sum = 0;
        for (int k = 0; k < n; k++) sum += fabs(g->h.at[j][k]);
        most = fmax(most, sum);
    }
    t->n = n;
    t->rate = 1 / most;
    t->problem.update = HT_SGD(t->rate);
    t->problem.steps = 100000;
    t->problem.tolerance = 1e-12;
}

/* Quadratics of random blocks:
 *   L = w^T A w / 2 + w^T B e,   F = w^T C w / 2 + e^T D e / 2 + c^T w
 *   w* = -A^-1 B e,   dF/de = D e - B^T A^-1 (C w* + c) */
static inline ht_var form(ht_var x, ht_var a, ht_var y)
{
    return ht_sum(ht_mul(x, ht_matmul(a, y)));
}

static inline ht_var blocks_inner(const ht_vars *theta, const ht_vars *eta,
                                  const ht_vars *batch, void *user)
{
    (void)user;
    ht_var w = ht_get(theta, "w");
    return ht_add(ht_mul(form(w, ht_get(batch, "a"), w), 0.5),
                  form(w, ht_get(batch, "b"), ht_get(eta, "e")));
}

static inline ht_var blocks_outer(const ht_vars *theta, const ht_vars *eta,
                                  const ht_vars *batch, void *user)
{
    (void)user;
    ht_var w = ht_get(theta, "w"), e = ht_get(eta, "e");
    ht_var quadratic =
        ht_add(form(w, ht_get(batch, "c"), w), form(e, ht_get(batch, "d"), e));
    return ht_add(ht_mul(quadratic, 0.5), ht_sum(ht_mul(w, ht_get(batch, "linear"))));
}

typedef struct blocks {
    matrix a, b, c, d;
    double linear[MOST], e[MOST], w[MOST], gradient[MOST];
} blocks;

static inline void multiply(const matrix *a, bool transposed, const double *x, double *y)
{
    int rows = transposed ? a->columns : a->rows,
        columns = transposed ? a->rows : a->columns;
    for (int i = 0; i < rows; i++) {
        y[i] = 0;
        for (int j = 0; j < columns; j++)
            y[i] += (transposed ? a->at[j][i] : a->at[i][j]) * x[j];
    }
}

static inline void blocks_open(trial *t, blocks *q, int n, int m)
{
    double right[MOST], v[MOST], part[MOST];
    trial_open(t);
    matrix_positive(&q->a, n, 0.5);
    matrix_draw(&q->b, n, m);
    matrix_positive(&q->c, n, 0);
    matrix_positive(&q->d, m, 0);
    for (int i = 0; i < n; i++) q->linear[i] = draw();
    for (int j = 0; j < m; j++) q->e[j] = draw();
    multiply(&q->b, false, q->e, right);
    for (int i = 0; i < n; i++) right[i] = -right[i];
    matrix_solve(&q->a, right, q->w);
    multiply(&q->c, false, q->w, right);
    for (int i = 0; i < n; i++) right[i] += q->linear[i];
    matrix_solve(&q->a, right, v);
    multiply(&q->b, true, v, part);
    multiply(&q->d, false, q->e, q->gradient);
    for (int j = 0; j < m; j++) q->gradient[j] -= part[j];
    ht_set *data = t->problem.inner_data;
    matrix_to(ht_set_add(data, "a", HT_F64, HT_SHAPE(n, n)), &q->a);
    matrix_to(ht_set_add(data, "b", HT_F64, HT_SHAPE(n, m)), &q->b);
    matrix_to(ht_set_add(data, "c", HT_F64, HT_SHAPE(n, n)), &q->c);
    matrix_to(ht_set_add(data, "d", HT_F64, HT_SHAPE(m, m)), &q->d);
    ht_tensor *linear = ht_set_add(data, "linear", HT_F64, HT_SHAPE(n, 1)),
              *w = ht_set_add(t->problem.theta, "w", HT_F64, HT_SHAPE(n, 1)),
              *e = ht_set_add(t->problem.eta, "e", HT_F64, HT_SHAPE(m, 1));
    for (int i = 0; i < n; i++) ht_tensor_set(linear, i, q->linear[i]);
    for (int i = 0; i < n; i++) ht_tensor_set(w, i, draw());
    for (int j = 0; j < m; j++) ht_tensor_set(e, j, q->e[j]);
    t->problem.inner = blocks_inner;
    t->problem.outer = blocks_outer;
    t->n = n;
    t->rate = 0.3;
    t->problem.update = HT_SGD(t->rate);
    t->problem.steps = 20000;
    t->problem.tolerance = 1e-13;
}

/* The lasso, a proximal map after each update, by any rule that gets there:
 *   L = |w - b|^2 / 2, then w = soft(w, rate lambda),   F = sum c w
 *   w_i = soft(b_i, lambda),  dF/d lambda = -sum c_i sign b_i over |b_i| > lambda
 *   dF/db_i = c_i there, else 0 */
static inline ht_var lasso_inner(const ht_vars *theta, const ht_vars *eta,
                                 const ht_vars *batch, void *user)
{
    (void)batch, (void)user;
    ht_var off = ht_sub(ht_get(theta, "w"), ht_get(eta, "b"));
    return ht_mul(ht_sum(ht_square(off)), 0.5);
}

static inline ht_var lasso_outer(const ht_vars *theta, const ht_vars *eta,
                                 const ht_vars *batch, void *user)
{
    (void)eta, (void)user;
    return ht_sum(ht_mul(ht_get(theta, "w"), ht_get(batch, "c")));
}

static inline void lasso_after(const ht_vars *eta, ht_vars *theta, void *user)
{
    const trial *t = user;
    ht_var w = ht_get(theta, "w"), most = ht_mul(ht_get(eta, "lambda"), t->rate);
    ht_vars_set(theta, "w",
                ht_sub(ht_relu(ht_sub(w, most)), ht_relu(ht_sub(ht_neg(w), most))));
}

static const double lasso_b[] = {2, -1.5, 0.3, -0.2, 0.9, -3},
                    lasso_c[] = {1, -2, 3, 0.5, -1, 0.25};

static inline void lasso_open(trial *t)
{
    trial_open(t);
    t->n = 6;
    t->rate = 0.25;
    t->problem.inner = lasso_inner;
    t->problem.outer = lasso_outer;
    t->problem.after = lasso_after;
    t->problem.update = HT_SGD(t->rate);
    t->problem.steps = 2000;
    t->problem.tolerance = 1e-14;
    ht_tensor_fill(ht_set_add(t->problem.theta, "w", HT_F64, HT_SHAPE(6)), 1);
    ht_tensor_fill(ht_set_add(t->problem.eta, "lambda", HT_F64, HT_SCALAR), 0.5);
    ht_tensor *b = ht_set_add(t->problem.eta, "b", HT_F64, HT_SHAPE(6)),
              *c = ht_set_add(t->problem.inner_data, "c", HT_F64, HT_SHAPE(6));
    for (int i = 0; i < 6; i++)
        ht_tensor_set(b, i, lasso_b[i]), ht_tensor_set(c, i, lasso_c[i]);
}

#endif
