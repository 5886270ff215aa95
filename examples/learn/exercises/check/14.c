/* SPDX-License-Identifier: MIT */
/* Marks exercise 14 on a problem that plain C solves too:
 *   L = 1/2 w'A w - w'B eta + 1/4 sum w^4         H = A + 3 diag w^2,  M = -B
 *   F = 1/2 |w - 1|^2 + cost sum eta^2
 * by Gauss, and by differences of F at the minimum that Newton's method finds. eta has
 * n_eta numbers; here it is filled up to N with 0. Products with H are counted as the
 * exercise's own calls of the library. */
#include "../mark.h"

static int products, gradients;

static void counted_hvp(ht_var y, int n, const ht_var *x, const ht_var *v, ht_var *hv,
                        const char *site)
{
    products++;
    ht_hvp_at(y, n, x, v, hv, site);
}

static void counted_vjp(int m, const ht_var *y, const ht_var *v, int n, const ht_var *x,
                        ht_var *dx, const char *site)
{
    products++;
    ht_vjp_at(m, y, v, n, x, dx, site);
}

static void counted_jvp(int n, const ht_var *x, const ht_var *dx, int m, const ht_var *y,
                        ht_var *dy, const char *site)
{
    products++;
    ht_jvp_at(n, x, dx, m, y, dy, site);
}

static void counted_grad(ht_var y, int n, const ht_var *x, ht_var *dx, const char *site)
{
    gradients++;
    ht_grad_at(y, n, x, dx, site);
}

#define ht_hvp_at  counted_hvp
#define ht_vjp_at  counted_vjp
#define ht_jvp_at  counted_jvp
#define ht_grad_at counted_grad
#include EXERCISE
#undef ht_hvp_at
#undef ht_vjp_at
#undef ht_jvp_at
#undef ht_grad_at

enum { N = 3 };

static int n_eta = N;
static double cost = 0.3; /* of eta in F */

static const double A[N][N] = {{2, 0.5, -0.3}, {0.5, 1, 0.2}, {-0.3, 0.2, 3}};
static const double B[N][N] = {{1, 2, -1}, {0.5, -1, 0.3}, {0.2, 1.5, 0.7}};

static void times(const double m[N][N], bool transposed, const double *x, double *to)
{
    double y[N] = {0};
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) y[i] += (transposed ? m[j][i] : m[i][j]) * x[j];
    memcpy(to, y, sizeof y);
}

static void hessian(const double *w, double h[N][N])
{
    memcpy(h, A, sizeof A);
    for (int i = 0; i < N; i++) h[i][i] += 3 * w[i] * w[i];
}

/* x with m x = b; m is positive definite. */
static void gauss(const double m[N][N], const double *b, double *x)
{
    double a[N][N + 1];
    for (int i = 0; i < N; i++) memcpy(a[i], m[i], sizeof m[i]), a[i][N] = b[i];
    for (int k = 0; k < N; k++)
        for (int i = 0; i < N; i++) {
            double f = i == k ? 0 : a[i][k] / a[k][k];
            for (int j = k; j <= N; j++) a[i][j] -= f * a[k][j];
        }
    for (int i = 0; i < N; i++) x[i] = a[i][N] / a[i][i];
}

static void slope(const double *w, const double *eta, double *g)
{
    double pull[N];
    times(A, false, w, g);
    times(B, false, eta, pull);
    for (int i = 0; i < N; i++) g[i] += pow(w[i], 3) - pull[i];
}

/* The minimum of L, and F there. */
static double minimum(const double *eta, double *w)
{
    double g[N], h[N][N], step[N], F = 0;
    for (int i = 0; i < N; i++) w[i] = 0;
    for (int k = 0; k < 50; k++) {
        slope(w, eta, g);
        hessian(w, h);
        gauss((const double(*)[N])h, g, step);
        for (int i = 0; i < N; i++) w[i] -= step[i];
    }
    for (int i = 0; i < N; i++) F += (w[i] - 1) * (w[i] - 1) / 2 + cost * eta[i] * eta[i];
    return F;
}

/* The same on a tape. */
typedef struct problem {
    ht_var w, eta, L, F, g;
} problem;

static ht_var column(ht_tape *t, int n, const double *number)
{
    ht_tensor *x = ht_tensor_new(ht_tape_context(t), HT_F64, HT_SHAPE(n, 1));
    for (int i = 0; i < n; i++) ht_tensor_set(x, i, number[i]);
    return ht_input(t, x);
}

static ht_var matrix(ht_tape *t, int columns, const double m[N][N])
{
    ht_tensor *x = ht_tensor_new(ht_tape_context(t), HT_F64, HT_SHAPE(N, columns));
    for (int i = 0; i < N * columns; i++)
        ht_tensor_set(x, i, m[i / columns][i % columns]);
    return ht_input(t, x);
}

static problem on_tape(const double *w, const double *eta)
{
    ht_tape *t = ht_tape_new(mark_context(), HT_EAGER);
    problem p;
    p.w = column(t, N, w), p.eta = column(t, n_eta, eta);
    ht_var turned = ht_mul(ht_matmul(matrix(t, N, A), p.w), 0.5);
    ht_var pull = ht_matmul(matrix(t, n_eta, B), p.eta);
    ht_var fourth = ht_mul(ht_square(ht_square(p.w)), 0.25);
    p.L = ht_sum(ht_add(ht_mul(p.w, ht_sub(turned, pull)), fourth));
    p.F = ht_add(ht_mul(ht_sum(ht_square(ht_sub(p.w, 1))), 0.5),
                 ht_mul(ht_sum(ht_square(p.eta)), cost));
    ht_grad(p.L, 1, &p.w, &p.g);
    return p;
}

static void numbers(ht_var x, int n, const char *what, double *to)
{
    char text[HT_SHAPE_TEXT];
    if (!ht_shape_equal(ht_var_shape(x), HT_SHAPE(n, 1)))
        mark_wrong("%s has shape %s, and (%d, 1) is right", what,
                   ht_shape_text(ht_var_shape(x), text), n);
    for (int i = 0; i < n; i++) to[i] = ht_tensor_get(ht_value(x), i);
}

static double dot(const double *a, const double *b)
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/* Conjugate gradients as they are, and as they are written by mistake. */
enum { RIGHT, STEEPEST, INVERTED, LEFT_BY_P, ONE_LESS, FROM_OLD };
static void conjugate(const double h[N][N], const double *b, int mistake, double *v)
{
    double r[N], p[N], hp[N], s[N];
    for (int i = 0; i < N; i++) v[i] = 0, r[i] = p[i] = b[i];
    for (int k = 0; k < N - (mistake == ONE_LESS); k++) {
        times(h, false, p, hp);
        double left = dot(r, r), a = left / dot(p, hp);
        for (int i = 0; i < N; i++)
            v[i] += a * p[i], s[i] = r[i] - a * (mistake == LEFT_BY_P ? p : hp)[i];
        double turn = dot(s, s) / left;
        if (mistake == STEEPEST) turn = 0;
        if (mistake == INVERTED) turn = 1 / turn;
        for (int i = 0; i < N; i++) p[i] = (mistake == FROM_OLD ? r : s)[i] + turn * p[i];
        memcpy(r, s, sizeof r);
    }
}

static void check_solve_nothing(const problem *p)
{
    double yours[N];
    numbers(solve(p->L, p->w, ht_mul(p->w, 0)), N, "v for b = 0", yours);
    for (int i = 0; i < N; i++)
        mark_number(yours[i], 0, 1e-12, NULL,
                    "b = 0, v[%d] (NaN is 0 / 0: end when r'r is 0)", i);
}

enum { MOST = 5 };

/* The sentence for what is left of b, and for products beyond the n-th. */
static void judge_solved(int n, double left)
{
    if (!(left <= 1e-8))
        mark_wrong(
            "w of %d numbers: |b - H v| is %.3g after %d products with H, and 0 is "
            "right: a step for each number of w, %d, ht_var_shape(w).dim[0]",
            n, left, products, n);
    if (products > n || gradients > n + 1)
        mark_wrong("w of %d numbers: yours took %d products with H, and %d suffice: each "
                   "p is to be conjugate to those before, p'H p_before = 0; then end",
                   n, products > n ? products : gradients, n);
}

/* w of n numbers, L = 1/2 (sum w)^2 + 1/2 sum (i + 1) w_i^2, so H = 1 1' + diag (i+1). */
static void check_solve_of(int n)
{
    ht_tape *t = ht_tape_new(mark_context(), HT_EAGER);
    double w[MOST], b[MOST], root[MOST], v[MOST], sum = 0, left = 0;
    for (int i = 0; i < n; i++)
        w[i] = 0.1 * i, b[i] = i % 2 ? -1 : 1 + i, root[i] = sqrt(i + 1);
    ht_var x = column(t, n, w), scaled = ht_mul(column(t, n, root), x);
    ht_var L = ht_mul(ht_add(ht_square(ht_sum(x)), ht_sum(ht_square(scaled))), 0.5);
    products = gradients = 0;
    numbers(solve(L, x, column(t, n, b)), n, "v", v);
    for (int i = 0; i < n; i++) sum += v[i];
    for (int i = 0; i < n; i++) left += fabs((i + 1) * v[i] + sum - b[i]);
    judge_solved(n, left);
}

static void check_solve(void)
{
    const double w[] = {0.3, -0.7, 0.5}, b[] = {1, -2, 0.5}, eta[] = {0.4, 1, -0.6};
    static const char *const why[] = {
        [STEEPEST] =
            "p is the new r alone: p = r_new + (r_new'r_new / r'r) p, else steps "
            "undo each other",
        [INVERTED] = "the factor of p is upside down: r_new'r_new / r'r",
        [LEFT_BY_P] = "what is left falls by a H p, not by a p",
        [ONE_LESS] = "a step is missing: 3 numbers take 3 steps",
        [FROM_OLD] = "p begins from the new r, not from the old"};
    problem p = on_tape(w, eta);
    double h[N][N], right[N], wrong[N], yours[N], hb[N];
    hessian(w, h);
    const double(*H)[N] = (const double(*)[N])h;
    gauss(H, b, right);
    times(H, false, b, hb);
    numbers(solve(p.L, p.w, column(p.w.tape, N, b)), N, "v", yours);
    for (int i = 0; i < N; i++) {
        for (int k = STEEPEST; k <= FROM_OLD; k++) {
            conjugate(H, b, k, wrong);
            if (mark_is(yours[i], wrong[i]) && !mark_is(right[i], wrong[i]))
                mark_wrong(
                    "w = (0.3, -0.7, 0.5), b = (1, -2, 0.5), v[%d]: yours is %.9g, "
                    "right is %.9g: %s",
                    i, yours[i], right[i], why[k]);
        }
        mark_number(yours[i], right[i], 1e-9,
                    SLIPS({b[i], "that is b itself: nothing is solved"},
                          {hb[i], "that is H b; H v = b is to be solved"},
                          {-right[i], "the sign"}),
                    "w = (0.3, -0.7, 0.5), b = (1, -2, 0.5): v[%d]", i);
    }
    check_solve_nothing(&p);
    for (int n = 1; n <= MOST; n++) check_solve_of(n);
}

static void check_mixed_at(const double *w, const double *eta)
{
    problem p = on_tape(w, eta);
    double v[N], g[N], right[N], straight[N], h[N][N], hv[N], yours[N];
    for (int i = 0; i < N; i++) v[i] = eta[i] * eta[i] + 1;
    slope(w, eta, g);
    times(B, true, v, right);
    times(B, false, v, straight);
    hessian(w, h);
    times((const double(*)[N])h, false, v, hv);
    ht_var given = ht_add(ht_square(p.eta), 1);
    numbers(mixed(p.g, p.eta, n_eta == N ? given : column(p.w.tape, N, v)), n_eta, "M' v",
            yours);
    for (int i = 0; i < n_eta; i++)
        mark_number(
            yours[i], -right[i], 1e-9,
            SLIPS({-straight[i], "that is M v: M stands transposed, M' v, as everywhere "
                                 "where one goes backwards"},
                  {-right[i] + 2 * eta[i] * g[i],
                   "v was differentiated too: it is a cotangent, as ht_vjp takes it"},
                  {right[i], "the sign: the minus is not here but in dF/deta"},
                  {hv[i], "that is H v: the derivative of g is by eta, not by w"},
                  {v[i], "that is v itself"}),
            "w = (%g, %g, %g), eta = (%g, %g, %g), v = eta * eta + 1: (M' v)[%d]", w[0],
            w[1], w[2], eta[0], eta[1], eta[2], i);
}

static void check_mixed(void)
{
    check_mixed_at((const double[]){0.3, -0.7, 0.5}, (const double[]){0.4, 1, -0.6});
    n_eta = 2;
    check_mixed_at((const double[]){-0.2, 0.4, 1}, (const double[]){-0.8, 0.5, 0});
}

/* -M'x and -M x */
static void turned(const double *x, double *back, double *forth)
{
    times(B, true, x, back);
    times(B, false, x, forth);
}

static void check_hypergradient_at(const double *at)
{
    const double h = 1e-4;
    double w[N], other[N], b[N], v[N], H[N][N], hb[N], yours[N];
    double way[N], straight[N], unsolved[N], product[N], unused[N];
    minimum(at, w);
    hessian(w, H);
    for (int i = 0; i < N; i++) b[i] = w[i] - 1;
    gauss((const double(*)[N])H, b, v);
    times((const double(*)[N])H, false, b, hb);
    turned(v, way, straight);
    turned(b, unsolved, unused);
    turned(hb, product, unused);
    problem p = on_tape(w, at);
    numbers(hypergradient(p.L, p.F, p.w, p.eta), n_eta, "dF/deta", yours);
    for (int i = 0; i < n_eta; i++) {
        double eta[N], F[2], direct = 2 * cost * at[i];
        for (int side = 0; side < 2; side++) {
            memcpy(eta, at, sizeof eta);
            eta[i] += side ? h : -h;
            F[side] = minimum(eta, other);
        }
        mark_number(
            yours[i], (F[1] - F[0]) / (2 * h), 1e-6,
            SLIPS({direct - way[i],
                   "the sign before M' v: H dw/deta + M = 0, so dw/deta = "
                   "-H^-1 M"},
                  {way[i], "@F/@eta is missing: F depends on eta itself too"},
                  {-way[i], "@F/@eta is missing, and the sign before M' v"},
                  {direct, "that is @F/@eta alone: w moves too when eta does"},
                  {direct + straight[i], "M stands transposed: M' v"},
                  {direct + unsolved[i], "that is with M' b: H v = b is to be solved"},
                  {direct + product[i], "that is with H b in the place of v: H v = b"},
                  {0.6 * at[i] + way[i], "@F/@eta is not 0.6 eta for every F: let "
                                         "ht_grad find it"},
                  {at[i], "that is eta itself"}),
            "eta = (%g, %g, %g), @F/@eta = %g eta: dF/deta_%d, which differences have",
            at[0], at[1], at[2], 2 * cost, i);
    }
}

/* Then another F, and an eta of fewer numbers than w. */
static void check_hypergradient(void)
{
    check_hypergradient_at((const double[]){0.4, 1, -0.6});
    cost = 0.7;
    check_hypergradient_at((const double[]){-0.8, 0.5, 1.2});
    n_eta = 2;
    check_hypergradient_at((const double[]){-0.8, 0.5, 0});
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"solve",
         check_solve,
         {"begin with v = 0 (ht_mul(b, 0)), r = p = b",
          "a step: ht_hvp(loss, 1, &w, &p, &hp); a = r'r / p'hp; v = v + a p; r = r - a "
          "hp",
          "then p = r + (r'r now / r'r before) p; stop when r'r is 0, or very small"}},
        {"mixed",
         check_mixed,
         {"g goes from eta to numbers of w's shape; v is a cotangent of g",
          "what takes a cotangent of g back to eta?",
          "ht_vjp(1, &g, &v, 1, &eta, &to) and return to"}},
        {"hypergradient",
         check_hypergradient,
         {"dF/deta = @F/@eta - M' v, H v = @F/@w",
          "ht_grad(F, 1, &eta, ...) is @F/@eta, as w is a leaf; ht_grad(L, 1, &w, &g) is "
          "g",
          "ht_sub(direct, mixed(g, eta, solve(L, w, b)))"}},
    };
    return mark_exercise(argc, argv, 14, holes, sizeof holes / sizeof *holes);
}
