/* SPDX-License-Identifier: MIT */
/* update_loops.h: the update rules as plain loops over arrays, one number for each
 * scalar, step and parameter tensor: what the tape functions are held against.
 * Read next: test_nn_update.c, test_nn_update_outer.c. */
#ifndef HTI_TEST_UPDATE_LOOPS_H
#define HTI_TEST_UPDATE_LOOPS_H

#include "nn_internal.h"
#include "test_nn.h"

typedef struct numbers {
    double rate, momentum, beta2, eps, decay, clip, clip_value, eps_root;
} numbers;

/* What clip_value leaves of a gradient. */
static inline double cut_of(double g, double clip_value)
{
    return clip_value > 0 ? fmin(fmax(g, -clip_value), clip_value) : g;
}

/* sqrt(a x^2 + b y^2) to the last place. */
static inline double root_of(double a, double x, double b, double y)
{
    return (double)sqrtl((long double)a * x * x + (long double)b * y * y);
}

/* sqrt(u^2 + eps_root); u itself, where there is none. */
static inline double rooted(double u, double eps_root)
{
    return eps_root > 0 ? root_of(1, u, eps_root, 1) : u;
}

/* One tensor's step t = 1, 2, ... in type `real`; scalars are made in f64, as documented.
 * s holds n elements of each state. */
#define LOOP_STEP(real)                                                                  \
    static inline void loop_step_##real(const ht_update_rule *rule, const numbers *x,    \
                                        double scale, int t, int64_t n, real *w,         \
                                        const real *gradient, real *s)                   \
    {                                                                                    \
        real rate = (real)x->rate, beta = (real)x->momentum, beta2 = (real)x->beta2;     \
        real size = (real)(x->rate / (1 - pow(x->momentum, t)));                         \
        real below = (real)sqrt(1 - pow(x->beta2, t)), eps = (real)x->eps;               \
        real decay = (real)x->decay, rest = (real)(1 - x->beta2);                        \
        for (int64_t i = 0; i < n; i++) {                                                \
            real g = (real)cut_of(gradient[i], (real)x->clip_value) * (real)scale;       \
            if (rule == &ht_adamw || rule == &ht_muon)                                   \
                w[i] -= (real)(x->rate * x->decay) * w[i];                               \
            else                                                                         \
                g += decay * w[i];                                                       \
            if (rule == &ht_sgd) {                                                       \
                w[i] -= rate * g;                                                        \
            } else if (x->beta2 == 0 && x->eps == 0 && x->eps_root == 0) {               \
                s[i] = beta * s[i] + g;                                                  \
                w[i] -= rate * (rule == &ht_momentum ? s[i] : g + beta * s[i]);          \
            } else if (rule == &ht_rmsprop || rule == &ht_adagrad) {                     \
                bool all = rule == &ht_adagrad;                                          \
                s[i] = (real)root_of(all ? 1 : beta2, s[i], all ? 1 : rest, g);          \
                w[i] -= rate * (g / ((real)rooted(s[i], x->eps_root) + eps));            \
            } else {                                                                     \
                real *m = s, *u = s + n;                                                 \
                m[i] = beta * m[i] + (real)(1 - x->momentum) * g;                        \
                u[i] = (real)root_of(beta2, u[i], rest, g);                              \
                w[i] -= size * (m[i] / ((real)rooted(u[i] / below, x->eps_root) + eps)); \
            }                                                                            \
        }                                                                                \
    }
LOOP_STEP(double)
LOOP_STEP(float)

/* a b, or a b' where `turned`; (m, k) and (k, n). */
static inline void product(int m, int k, int n, const double *a, const double *b,
                           bool turned, double *to)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            to[i * n + j] = 0;
            for (int l = 0; l < k; l++)
                to[i * n + j] += a[i * k + l] * (turned ? b[j * k + l] : b[l * n + j]);
        }
}

/* Five steps of Newton and Schulz from x / (|x| + 1e-7), x (rows, columns) at most 5000
 * elements, by the products of rows alone. */
static inline void orthonormal_loop(int rows, int columns, double *x)
{
    static double square[32 * 32], fourth[32 * 32], more[5000];
    double norm = 0;
    for (int i = 0; i < rows * columns; i++) norm += x[i] * x[i];
    for (int i = 0; i < rows * columns; i++) x[i] /= sqrt(norm) + 1e-7;
    for (int step = 0; step < 5; step++) {
        product(rows, columns, rows, x, x, true, square);
        product(rows, rows, rows, square, square, false, fourth);
        for (int i = 0; i < rows * rows; i++)
            square[i] = -4.7750 * square[i] + 2.0315 * fourth[i];
        product(rows, rows, columns, square, x, false, more);
        for (int i = 0; i < rows * columns; i++) x[i] = 3.4445 * x[i] + more[i];
    }
}

static const ht_shape shapes[] = {{0, {0}},  {1, {1}},       {1, {3}},   {2, {4, 5}},
                                  {1, {67}}, {3, {2, 3, 4}}, {2, {0, 3}}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], MOST = 67 };

/* Parameters and states of a few tensors, as the loops see them. */
typedef struct loop {
    const ht_update_rule *rule;
    ht_dtype dtype;
    int n;
    int64_t count[N_SHAPES];
    union values {
        double f64[2 * MOST];
        float f32[2 * MOST];
    } w[N_SHAPES], s[N_SHAPES];
    double reach[N_SHAPES][MOST];
} loop;

static inline loop loop_of(const ht_update_rule *rule, const ht_set *theta)
{
    loop l = {.rule = rule, .n = ht_set_count(theta)};
    l.dtype = ht_tensor_dtype(ht_set_at(theta, 0));
    for (int i = 0; i < l.n; i++) {
        const ht_tensor *x = ht_set_at(theta, i);
        l.count[i] = ht_tensor_count(x);
        memcpy(&l.w[i], ht_tensor_data(x), ht_tensor_bytes(x));
        for (int64_t k = 0; k < l.count[i]; k++)
            l.reach[i][k] = fabs(ht_tensor_get(x, k));
    }
    return l;
}

/* Muon's step of a matrix or kernel i, in f64. */
static inline void loop_muon(loop *l, const numbers *x, double scale, int i,
                             const ht_tensor *gradient)
{
    ht_shape shape = shapes[i];
    int n = (int)l->count[i], rows = (int)shape.dim[0], columns = rows ? n / rows : 0;
    bool kernel = shape.rank > 2, wide = l->dtype == HT_F64;
    double in = kernel ? columns : rows, out = kernel ? rows : columns;
    double ahead[MOST], size = x->rate * sqrt(fmax(1, out / fmax(1, in)));
    for (int k = 0; k < n; k++) {
        double g = cut_of(ht_tensor_get(gradient, k), x->clip_value) * scale;
        double s = x->momentum * (wide ? l->s[i].f64[k] : (double)l->s[i].f32[k]) + g;
        ahead[k] = g + x->momentum * s;
        if (wide)
            l->s[i].f64[k] = s;
        else
            l->s[i].f32[k] = (float)s;
    }
    orthonormal_loop(rows, columns, ahead);
    for (int k = 0; k < n; k++) {
        double w = wide ? l->w[i].f64[k] : (double)l->w[i].f32[k];
        w -= x->rate * x->decay * w + size * ahead[k];
        if (wide)
            l->w[i].f64[k] = w;
        else
            l->w[i].f32[k] = (float)w;
    }
}

static inline double norm_of(const ht_set *gradient, const numbers *x)
{
    double sum = 0;
    for (int i = 0; i < ht_set_count(gradient); i++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(gradient, i)); k++)
            sum +=
                pow(cut_of(ht_tensor_get(ht_set_at(gradient, i), k), x[i].clip_value), 2);
    return sqrt(sum);
}

/* Step t with numbers x[i] for tensor i. */
static inline void loop_step(loop *l, const numbers *x, int t, const ht_set *gradient)
{
    double norm = norm_of(gradient, x);
    for (int i = 0; i < l->n; i++) {
        double scale = x[i].clip > 0 && norm > x[i].clip ? x[i].clip / norm : 1;
        const void *g = ht_tensor_data(ht_set_at(gradient, i));
        if (l->rule == &ht_muon && shapes[i].rank > 1)
            loop_muon(l, &x[i], scale, i, ht_set_at(gradient, i));
        else if (l->dtype == HT_F64)
            loop_step_double(l->rule, &x[i], scale, t, l->count[i], l->w[i].f64, g,
                             l->s[i].f64);
        else
            loop_step_float(l->rule, &x[i], scale, t, l->count[i], l->w[i].f32, g,
                            l->s[i].f32);
    }
}

/* Element k of parameter tensor i. */
static inline double loop_get(const loop *l, int i, int64_t k)
{
    return l->dtype == HT_F64 ? l->w[i].f64[k] : (double)l->w[i].f32[k];
}

/* Largest |got - want| over the largest |want| that element has had: what it was rounded
 * to on its way, even if it is near zero now. */
static inline double loop_difference(loop *l, const ht_set *theta, double *at)
{
    double most = 0;
    for (int i = 0; i < l->n; i++)
        for (int64_t k = 0; k < l->count[i]; k++) {
            double got = ht_tensor_get(ht_set_at(theta, i), k), want = loop_get(l, i, k);
            l->reach[i][k] = fmax(l->reach[i][k], fabs(want));
            double difference = fabs(got - want) / l->reach[i][k];
            if (difference <= most) continue;
            most = difference;
            at[0] = got;
            at[1] = want;
            if (isnan(difference)) return difference;
        }
    return most;
}

static inline void check_loop(loop *l, const ht_set *theta, double tolerance,
                              const char *what, int step)
{
    double at[2] = {0, 0}, difference = loop_difference(l, theta, at);
    if (!(difference <= tolerance))
        fail_msg("%s, step %d: got %.17g, want %.17g (relative %.2e, tolerance %.0e)",
                 what, step, at[0], at[1], difference, tolerance);
}

static inline void random_fill(ht_set *set, uint64_t stream)
{
    for (int i = 0; i < ht_set_count(set); i++)
        ht_tensor_normal(ht_set_at(set, i), stream + (uint64_t)i, 0.1, 1);
}

#endif
