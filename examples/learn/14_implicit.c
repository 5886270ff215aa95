/* SPDX-License-Identifier: MIT */
/* 14_implicit.c: the hypergradient of a training that has arrived.
 *
 * Lesson 10 goes back through all T steps. But if the training has come to a minimum of
 * the inner loss L, how it came there does not matter. Call w the n parameters, w(eta)
 * the minimum; the gradient g = dL/dw is 0 there, whatever eta is:  g(w(eta), eta) = 0
 *
 * Move eta, and w(eta) moves so that g stays 0. Differentiated by the m numbers of eta,
 * with H = d2L/dw2 (n by n, symmetric) and the mixed term M = d2L/dw deta (n by m):
 *
 *     H dw/deta + M = 0             so    dw/deta = -H^-1 M
 *
 * and for an outer loss F(w(eta), eta), by the chain rule (A' is A transposed; @ is the
 * derivative by one of the two while the other stands still):
 *
 *     dF/deta = @F/@eta - M' v      where H v = b,  b = @F/@w
 *     eta --- minimum of L ---> w(eta) ---> F        one linear system at the end in the
 *      `-----------------------------------^         place of T steps backwards
 *
 * H is not made. Conjugate gradients solve H v = b by products H p (lesson 7), at most n:
 *     begin   v = 0,  r = p = b                      r = b - H v is what is left
 *     step    a = r'r / p'H p;   v = v + a p;   s = r - a H p
 *             p = s + (s's / r'r) p;   r = s         p'H p_before = 0: none undoes others
 * M' v is the vjp of g by eta (lesson 5), v a fixed cotangent whatever it came from.
 * Nothing here depends on T. The price: training stops before it arrives, M and b are
 * those of w_T, and once only the slowest direction of w_T - w(eta) is left (T = 100 on,
 * below) the error is in proportion to |g|. The unroll is exact for T steps, but w_T is
 * off by c rho^T, rho = 1 - rate (least eigenvalue of H), c and rho move with eta, and
 * (A + B T) rho^T is missing: by |g| that grows with T. Before, neither holds: at T = 10
 * and 30 the unroll is nearer. Rates and initial values are in no minimum and get 0.
 * Where H has an eigenvalue 0 (many minima, or none) there is no v. */
#include "lesson.h"

enum { N = 12, D = 3 };
static ht_bilevel_problem the;
static ht_set *end; /* w_T of the last training */
static const char *page;

/* Regression; eta is a weight for each example. */
static ht_var squares(const ht_vars *p, const ht_vars *data)
{
    ht_var guess = ht_matmul(ht_get(data, "x"), ht_get(p, "w"));
    return ht_square(ht_sub(guess, ht_get(data, "y")));
}

static ht_var inner(const ht_vars *p, const ht_vars *e, const ht_vars *data, void *user)
{
    ht_var penalty = ht_mul(ht_sum(ht_square(ht_get(p, "w"))), 0.05);
    return ht_add(ht_mean(ht_mul(ht_get(e, "weight"), squares(p, data))), penalty);
}

static ht_var outer(const ht_vars *p, const ht_vars *e, const ht_vars *data, void *user)
{
    return ht_mean(squares(p, data));
}

static double dot(ht_var a, ht_var b) { return ht_item(ht_sum(ht_mul(a, b))); }
static ht_var solve(ht_var loss, ht_var w, ht_var b) /* v with (d2L/dw2) v = b */
{
    ht_var v = ht_mul(b, 0), r = b, p = b, hp;
    double left = dot(r, r);
    for (int k = 0; k < D && left > 1e-30; k++) {
        ht_hvp(loss, 1, &w, &p, &hp);
        double a = left / dot(p, hp), before = left;
        v = ht_add(v, ht_mul(p, a)), r = ht_sub(r, ht_mul(hp, a));
        left = dot(r, r);
        p = ht_add(r, ht_mul(p, left / before));
    }
    return v;
}

/* -M' v at w_T, as F has no eta of its own here. Returns |g|. */
static double on_paper(double *gradient)
{
    ht_tape *t = ht_tape_new(ht_set_context(end), HT_EAGER);
    ht_vars *p = ht_vars_input(t, end, 0), *e = ht_vars_input(t, the.eta, 0);
    ht_var w = ht_get(p, "w"), weight = ht_get(e, "weight"), g, b, mixed;
    ht_var loss = inner(p, e, ht_vars_input(t, the.inner_data, 0), NULL);
    ht_grad(loss, 1, &w, &g);
    ht_grad(outer(p, e, ht_vars_input(t, the.outer_data, 0), NULL), 1, &w, &b);
    ht_var v = solve(loss, w, b);
    ht_vjp(1, &g, &v, 1, &weight, &mixed);
    for (int i = 0; i < N; i++) gradient[i] = -ht_tensor_get(ht_value(mixed), i);
    double norm = sqrt(dot(g, g));
    if (page) ht_tape_write_html(t, page);
    ht_tape_free(t);
    return norm;
}

static void by_library(ht_method method, int64_t steps, double *gradient)
{
    the.steps = steps;
    ht_bilevel *training = ht_bilevel_new(ht_set_context(end), &the,
                                          &(ht_bilevel_options){.method = method});
    ht_bilevel_result r = ht_bilevel_run(training, 0);
    for (int i = 0; i < N; i++) gradient[i] = ht_tensor_get(ht_set_at(r.gradient, 0), i);
    ht_set_copy(end, r.theta);
    ht_bilevel_free(training);
}

static double error(const double *a, const double *b)
{
    double sum = 0;
    for (int i = 0; i < N; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sqrt(sum);
}

static void show(void)
{
    double exact[N], own[N], implicit[N], unroll[N];
    by_library(HT_REVERSE, 4000, unroll);
    by_library(HT_IMPLICIT, 4000, implicit);
    on_paper(exact);
    puts("minimum    on paper  HT_IMPLICIT  unroll of 4000 steps");
    for (int i = 0; i < 4; i++)
        printf("dF/deta_%d  %9.6f  %11.6f  %9.6f\n", i, exact[i], implicit[i], unroll[i]);
    puts("\nhow far from that if training stops after T steps, and that by |g|");
    puts("    T      |g|  on paper  by |g|  HT_IMPLICIT   unroll  by |g|");
    for (int k = 0; k < 5; k++) {
        int steps = (int[]){10, 30, 100, 300, 1000}[k];
        by_library(HT_REVERSE, steps, unroll);
        by_library(HT_IMPLICIT, steps, implicit);
        double g = on_paper(own), off = error(own, exact), far = error(unroll, exact);
        printf("%5d  %.1e   %.1e  %6.2f      %.1e  %.1e  %6.2f\n", steps, g, off, off / g,
               error(implicit, exact), far, far / g);
    }
}

int main(int argc, char **argv)
{
    page = lesson_page(argc, argv);
    ht_context *ctx = lesson_context();
    ht_set *set[4]; /* to learn from, to judge by, parameters, eta */
    for (int k = 0; k < 4; k++) {
        set[k] = ht_set_new(ctx);
        ht_shape shape = HT_SHAPE(N, k % 2 ? 1 : D);
        ht_tensor *x = ht_set_add(set[k / 2], k % 2 ? "y" : "x", HT_F64, shape);
        ht_tensor_normal(x, (uint64_t)k, 0, 1);
    }
    ht_set_add(set[2], "w", HT_F64, HT_SHAPE(D, 1));
    ht_tensor_fill(ht_set_add(set[3], "weight", HT_F64, HT_SHAPE(N, 1)), 1);
    the.inner = inner, the.inner_data = set[0];
    the.outer = outer, the.outer_data = set[1];
    the.theta = set[2], the.eta = set[3], the.update = HT_SGD(0.02);
    end = ht_set_clone(the.theta, 0);
    show();
    ht_set_free(end);
    for (int k = 0; k < 4; k++) ht_set_free(set[k]);
    ht_context_free(ctx);
}
