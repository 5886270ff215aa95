/* SPDX-License-Identifier: MIT */
/* 07_second_derivatives.c: the gradient of a gradient, Hessian products, Newton's step.
 *
 * (Needs lessons 5 and 6. In the code read from inner() to reverse_reverse(), products()
 * and newton(); skip the rest.) The library takes the place of engine.c from here on:
 *
 *     engine.c          library
 *     var, v_mul(a, b)  ht_var, ht_mul(a, b); a or b may be a C number: ht_mul(10, x)
 *     number(tape, c)   ht_number(c), where a list of ht_var wants one; it has no tape
 *     input(tape, m)    ht_input(tape, tensor); a tensor is an array of numbers
 *     *value(x).data    ht_item(x), the number of a node that has one
 *     grad, jvp, NONE   ht_grad, ht_jvp, HT_ZERO; results may be written over inputs
 *
 * y = f(x) is one number, x is n numbers, g_i = dy/dx_i (i from 0) is the gradient. The
 * Hessian is the Jacobian of g: H_ij = dg_i/dx_j. Rules emit nodes (lesson 5). So g is on
 * the tape, and can be swept over like y. H has n by n numbers; mostly one needs only n,
 * a product H u. It costs one sweep more, forward or back (reverse):
 *
 *     forward over reverse   H u   = dg/ds as x moves by u: the jvp of g along u
 *     reverse over reverse   H^T u = the gradient of the one number <g, u>, u held still
 *
 *     x --- f --- y        x --- f --- y -+- grad --- g --- jvp along u ---> H u
 *     g <-- grad -'                       '- grad --- g --- <g, u> --- grad ---> H^T u
 *
 * The order of two derivatives does not matter (Schwarz): H_ij = H_ji. So the two agree,
 * and there is a test like lesson 6's, for any u and w, with no step h in it. A second
 * test has a step; half of h leaves a quarter of its error:
 *
 *     <w, H u> = <u, H w>          H u = (g(x + h u) - g(x - h u)) / (2 h) + O(h h)
 *
 * The first fails where a rule has read a number (lesson 5): part of H is gone, and the
 * rest is not symmetric. H u is not g times u, element by element, nor is it <g, u>, one
 * number. Let x move on a line, x + s u, with u held still. The derivatives of y by s are
 *
 *     first   <g, u>       second   <u, H u>       third   <gradient of <u, H u>, u>
 *
 * and T(u, u, u) is the name of the third. (T: all third derivatives; u comes in thrice.)
 *
 * Newton's step s goes to where g would be 0 if H stayed as it is: g + H s = 0, or H s =
 * -g. Near a minimum each step about doubles the right digits. Far from it y may rise.
 * Where H is not positive, the step may lead anywhere.
 *
 * Here y = (1 - a)^2 + 10 (b - a a)^2, x = (a, b): a valley, bent, least at a = b = 1. By
 * hand, with q = b - a a,
 *
 *     g = (-2 (1 - a) - 40 a q, 20 q)       T(u, u, u) = 240 a u_0^3 - 120 u_0^2 u_1
 *
 * Next: lesson 9, a step with a gradient in it; lesson 14, H s = -g for large n. */
#include "lesson.h"

static ht_var valley(const ht_var *x)
{
    ht_var p = ht_sub(1, x[0]), q = ht_sub(x[1], ht_mul(x[0], x[0]));
    return ht_add(ht_mul(p, p), ht_mul(10, ht_mul(q, q)));
}

/* Each part of x is one number here. Where it is many, take ht_sum of each product. */
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
    printf("%-32s %9.4f %9.4f\n", name, first, second);
}

static void products(const ht_var *x, double a, double b)
{
    const ht_var u[2] = {ht_number(0.6), ht_number(-1)}; /* numbers, no nodes */
    const ht_var w[2] = {ht_number(1), ht_number(0.5)};
    ht_var y = valley(x), g[2], hu[2], hw[2], third[2];
    double h = 0.01, plus[2], minus[2];
    ht_grad(y, 2, x, g);
    pair("g", ht_item(g[0]), ht_item(g[1]));
    by_hand(a, b, plus);
    pair("  by hand", plus[0], plus[1]);
    reverse_reverse(y, x, u, hu);
    pair("H u, reverse over reverse", ht_item(hu[0]), ht_item(hu[1]));
    forward_reverse(y, x, u, hu);
    pair("H u, forward over reverse", ht_item(hu[0]), ht_item(hu[1]));
    by_hand(a + h * 0.6, b - h, plus);
    by_hand(a - h * 0.6, b + h, minus);
    pair("  differences, h = 0.01", (plus[0] - minus[0]) / (2 * h),
         (plus[1] - minus[1]) / (2 * h));
    forward_reverse(y, x, w, hw);
    pair("<w, H u>, <u, H w>", ht_item(inner(w, hu)), ht_item(inner(u, hw)));
    ht_grad(inner(u, hu), 2, x, third);
    pair("T(u, u, u), by hand", ht_item(inner(third, u)), 51.84 * a + 43.2);
    g[0] = ht_stop_gradient(g[0]); /* the same number, detached (lesson 5) */
    ht_jvp(2, x, u, 2, g, hu);
    ht_jvp(2, x, w, 2, g, hw);
    pair("<w, H u>, <u, H w>, g_0 cut off", ht_item(inner(w, hu)), ht_item(inner(u, hw)));
}

/* Solves H s = -g, two products being H's columns, and goes to x + s. */
static void newton(const ht_var *x, double *at)
{
    const ht_var e[2][2] = {{ht_number(1), ht_number(0)}, {ht_number(0), ht_number(1)}};
    ht_var y = valley(x), g[2], h[2][2];
    ht_grad(y, 2, x, g);
    for (int k = 0; k < 2; k++) forward_reverse(y, x, e[k], h[k]);
    double error = fmax(fabs(at[0] - 1), fabs(at[1] - 1));
    printf("%9.6f  %9.6f  %13.10f  ", at[0], at[1], ht_item(y));
    printf(error < 1e-12 ? "under 1e-12\n" : "%.1e  %4.1f\n", error, 0 - log10(error));
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
    ht_tensor *p[2]; /* a and b, which are in at[] */
    for (int k = 0; k < 2; k++) p[k] = ht_tensor_wrap(ctx, HT_F64, HT_SCALAR, at + k);
    puts("y = (1 - a)^2 + 10 (b - a a)^2 at (-0.5, 0.6); u = (0.6, -1), w = (1, 0.5)");
    ht_var x[] = {ht_name(ht_input(t, p[0]), "a"), ht_name(ht_input(t, p[1]), "b")};
    products(x, at[0], at[1]);
    if (page) ht_tape_write_html(t, page);
    puts("\nNewton: a          b              y  error, right digits");
    at[0] = 1.5, at[1] = 2;
    for (int step = 0; step < 8; step++) {
        ht_tape_reset(t);
        newton((ht_var[]){ht_input(t, p[0]), ht_input(t, p[1])}, at);
    }
    ht_tape_free(t);
    for (int k = 0; k < 2; k++) ht_tensor_free(p[k]);
    ht_context_free(ctx);
}
