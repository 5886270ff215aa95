/* SPDX-License-Identifier: MIT */
/* 07_second_derivatives.c: the gradient of a gradient, Hessian products, Newton's step.
 *
 * y = f(x) is one number, x is n numbers, g_i = dy/dx_i its gradient. The Hessian is the
 * Jacobian of g: H_ij = dg_i/dx_j. Rules emit nodes (lesson 5), so g stands on the tape
 * and can be swept over like y. Of n by n numbers nobody wants all; a product H u, n
 * numbers, is one sweep more, and there are two ways:
 *
 *     forward over reverse   H u   = dg/ds as x moves by u: the jvp of g along u
 *     reverse over reverse   H^T u = the gradient of the one number <g, u>, u held still
 *
 *     x --- f --- y        x --- f --- y -+- grad --- g --- jvp along u ---> H u
 *     g <-- grad -'                       '- grad --- g --- <g, u> --- grad ---> H^T u
 *
 * H_ij = H_ji, as the order of two derivatives does not matter (Schwarz). So they agree,
 * and for every u and w there is a test like lesson 6's, with no step h in it:
 *
 *     <w, H u> = <u, H w>
 *
 * It fails where a rule has read a number (lesson 5): part of H is gone, and what is left
 * is not symmetric. The other test, where a halved h leaves a quarter of the error, is
 *
 *     H u = (g(x + h u) - g(x - h u)) / (2 h) + O(h h)
 *
 * H u is not g times u, element by element, nor <g, u>, the slope of y along u. As x
 * moves by u, the first, second and third derivatives of y are (u held still)
 *
 *     <g, u>        <u, H u>        T(u, u, u) = <gradient of <u, H u>, u>
 *
 * Newton's step s goes where g would be 0 if H stayed as it is: g + H s = 0, so that
 * H s = -g. Near a minimum the number of right digits doubles each time; far from it, or
 * where H is not positive, it may lead anywhere.
 *
 * Here y = (1 - a)^2 + 10 (b - a a)^2, a bent valley, least at a = b = 1, and
 *
 *     g = ( -2 (1 - a) - 40 a q,  20 q ),  q = b - a a
 *     T(u, u, u) = 240 a u1^3 - 120 u1^2 u2
 *
 * It needs lessons 5 and 6. In lesson 9 a step of training has a gradient in it, so its
 * derivative has a Hessian product in it. Lesson 14 solves H s = -g for large n. */
#include "lesson.h"

static ht_var valley(const ht_var *x)
{
    ht_var p = ht_sub(1, x[0]), q = ht_sub(x[1], ht_mul(x[0], x[0]));
    return ht_add(ht_mul(p, p), ht_mul(10, ht_mul(q, q)));
}

/* Lists have a part for each of x = (a, b), here one number. Where it is many, ht_sum of
 * each product. */
static ht_var inner(const ht_var *p, const ht_var *q)
{
    return ht_add(ht_mul(p[0], q[0]), ht_mul(p[1], q[1]));
}

static void forward_reverse(ht_var y, const ht_var *x, const ht_var *u, ht_var *hu)
{
    ht_grad(y, 2, x, hu);       /* the gradient, */
    ht_jvp(2, x, u, 2, hu, hu); /* and its tangent along u; ht_hvp is these two */
}

static void reverse_reverse(ht_var y, const ht_var *x, const ht_var *u, ht_var *hu)
{
    ht_grad(y, 2, x, hu);
    ht_grad(inner(hu, u), 2, x, hu);
}

static void by_hand(double a, double b, double *g)
{
    double q = b - a * a;
    g[0] = -2 * (1 - a) - 40 * a * q, g[1] = 20 * q;
}

static void pair(const char *name, double first, double second)
{
    printf("%-30s %9.4f %9.4f\n", name, first, second);
}
static void nodes(const char *name, const ht_var *p)
{
    pair(name, ht_item(p[0]), ht_item(p[1]));
}

static void products(const ht_var *x, double a, double b)
{
    const ht_var u[2] = {ht_number(0.6), ht_number(-1)}; /* numbers, no nodes */
    const ht_var w[2] = {ht_number(1), ht_number(0.5)};
    ht_var y = valley(x), g[2], hu[2], hw[2], third[2];
    double h = 0.01, plus[2], minus[2];
    ht_grad(y, 2, x, g);
    nodes("g", g);
    by_hand(a, b, plus);
    pair("  by hand", plus[0], plus[1]);
    reverse_reverse(y, x, u, hu);
    nodes("H u, reverse over reverse", hu);
    forward_reverse(y, x, u, hu);
    nodes("H u, forward over reverse", hu);
    by_hand(a + h * 0.6, b - h, plus);
    by_hand(a - h * 0.6, b + h, minus);
    pair("  differences, h = 0.01", (plus[0] - minus[0]) / (2 * h),
         (plus[1] - minus[1]) / (2 * h));
    forward_reverse(y, x, w, hw);
    pair("<w, H u>, <u, H w>", ht_item(inner(w, hu)), ht_item(inner(u, hw)));
    ht_grad(inner(u, hu), 2, x, third);
    pair("T(u, u, u), by hand", ht_item(inner(third, u)), 51.84 * a + 43.2);
    g[0] = ht_stop_gradient(g[0]); /* the same number, cut off from x (lesson 5) */
    ht_jvp(2, x, u, 2, g, hu);
    ht_jvp(2, x, w, 2, g, hw);
    pair("the same with g_1 detached", ht_item(inner(w, hu)), ht_item(inner(u, hw)));
}

/* Solves H s = -g, H's columns being two products, and goes to x + s. */
static void newton(const ht_var *x, double *at)
{
    const ht_var e[2][2] = {{ht_number(1), ht_number(0)}, {ht_number(0), ht_number(1)}};
    ht_var y = valley(x), g[2], h[2][2];
    ht_grad(y, 2, x, g);
    for (int k = 0; k < 2; k++) forward_reverse(y, x, e[k], h[k]);
    printf("    %9.6f  %9.6f  %14.10f\n", at[0], at[1], ht_item(y));
    double p = ht_item(h[0][0]), q = ht_item(h[0][1]), r = ht_item(h[1][1]);
    double g0 = ht_item(g[0]), g1 = ht_item(g[1]), det = p * r - q * q;
    at[0] -= (r * g0 - q * g1) / det, at[1] -= (p * g1 - q * g0) / det;
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    ht_context *ctx = lesson_context();
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    double at[2] = {-0.5, 0.6};
    ht_tensor *a = ht_tensor_wrap(ctx, HT_F64, HT_SCALAR, at);
    ht_tensor *b = ht_tensor_wrap(ctx, HT_F64, HT_SCALAR, at + 1);
    puts("y = (1 - a)^2 + 10 (b - a a)^2 at (-0.5, 0.6); u = (0.6, -1), w = (1, 0.5)");
    ht_var x[] = {ht_name(ht_input(t, a), "a"), ht_name(ht_input(t, b), "b")};
    products(x, at[0], at[1]);
    if (page) ht_tape_write_html(t, page);
    puts("\nNewton:     a          b               y");
    at[0] = 1.5, at[1] = 2;
    for (int step = 0; step < 6; step++) {
        ht_tape_reset(t);
        newton((ht_var[]){ht_input(t, a), ht_input(t, b)}, at);
    }
    ht_tape_free(t);
    ht_tensor_free(a);
    ht_tensor_free(b);
    ht_context_free(ctx);
}
