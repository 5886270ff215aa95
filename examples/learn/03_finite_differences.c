/* SPDX-License-Identifier: MIT */
/* 03_finite_differences.c: finite differences, and why a halved step quarters the error.
 *
 * Run f a little beside x, and subtract: that is a slope without any calculus. So it can
 * judge derivatives that were made with calculus. How well, Taylor's series at x says:
 *
 *     f(x + h) = f + h f' + h^2/2 f'' + h^3/6 f''' + ...
 *     f(x - h) = f - h f' + h^2/2 f'' - h^3/6 f''' + ...
 *
 *     one-sided  (f(x + h) - f) / h             = f' + h/2 f''    + ...
 *     central    (f(x + h) - f(x - h)) / (2 h)  = f' + h^2/6 f''' + ...
 *
 * In the central difference the even terms cancel. Its error goes with h^2: half the step
 * has a quarter of it. The one-sided error only halves.
 *
 * A very small h does not help, since f is rounded, to about eps |f| with eps = 2^-52.
 * (So is x + h, to the same effect.) Divided by h this grows as h falls. Both together:
 *
 *     error <= h^2/6 |f'''| + eps |f| / h          error
 *                                                    |\                     /
 *     least where the slope by h is zero,            |  \ eps f/h         /
 *         h/3 |f'''| = eps |f| / h^2                 |    \             / h^2/6 f'''
 *         h = (3 eps |f| / |f'''|)^(1/3)             |      \__     __/
 *                                                    |         \___/
 *     eps^(1/3) is 6e-6, and there the error         +----------------------------- h
 *     is about eps^(2/3): ten digits of sixteen.     1e-16     6e-6               1
 *
 * To check a gradient g, ask for each i whether the error quarters when h is halved:
 *
 *     e(h) = |central difference by x_i - g_i|       e(h) / e(h/2) = 4
 *
 * If g_i is wrong by d, more than h^2/6 f''', e goes to |d| and the ratio to 1. Where
 * f''' is 0, e is all rounding, with any ratio; so e <= eps |f| / h is right as well.
 *
 * At a kink there is no f'''. With one between x - h and x + h, the difference mixes both
 * slopes and is no judge. For |x| at 0.005 it is 0.25 with h = 0.02 and 0.5 with 0.01.
 * The slope is 1, so the errors are 0.75 and 0.5: the ratio is 1.50, though 1 is right.
 *
 * Next, lesson 4: arrays, where a judge is needed more often. Needs: lesson 2. */
#include "lesson.h"

typedef double (*scalar_fn)(const double *x);

static double exponential(const double *x) { return exp(x[0]); }
static double magnitude(const double *x) { return fabs(x[0]); }
static double product(const double *x) { return x[0] * exp(x[0] * x[1]); }

static double one_sided(scalar_fn f, double x, double h)
{
    return (f(&(double){x + h}) - f(&x)) / h;
}

/* By x[i], the others held. x is put back: adding and subtracting h might not do that. */
static double central(scalar_fn f, double *x, int i, double h)
{
    double kept = x[i], up, down;
    x[i] = kept + h, up = f(x);
    x[i] = kept - h, down = f(x);
    x[i] = kept;
    return (up - down) / (2 * h);
}

/* f = e^x at 1, where f' = f'' = f''' = e. */
static void halve(void)
{
    double x = 1, one = one_sided(exponential, x, 0.8) - exp(1),
           two = central(exponential, &x, 0, 0.8) - exp(1);
    puts("e^x at 1: errors, and how many times less than at 2 h");
    puts("h           one-sided               central");
    for (double h = 0.4; h > 0.02; h /= 2) {
        double was_one = one, was_two = two;
        one = one_sided(exponential, x, h) - exp(1);
        two = central(exponential, &x, 0, h) - exp(1);
        printf("%-7.4g %13.7f %7.3f %13.7f %7.3f\n", h, one, was_one / one, two,
               was_two / two);
    }
    printf("by hand at 0.025: h/2 f'' = %.7f, h^2/6 f''' = %.7f\n\n", 0.025 / 2 * exp(1),
           0.025 * 0.025 / 6 * exp(1));
}

/* The worst error at 128 points from 1 to 2, and both terms of its bound. */
static void shrink(void)
{
    const double eps = ldexp(1, -52);
    puts("h = 2^-k    h^2/6 f'''   eps f / h    0.1 <= worst error / their sum <= 1");
    for (int k = 4; k <= 44; k += 8) {
        double h = ldexp(1, -k), by_h = h * h / 6 * exp(2 + h), by_eps = eps / h * exp(2),
               worst = 0;
        for (int j = 0; j < 128; j++) {
            double x = 1 + j / 128.0;
            worst = fmax(worst, fabs(central(exponential, &x, 0, h) - exp(x)));
        }
        printf("k = %-2d %14.1e %12.1e    %s\n", k, by_h, by_eps,
               worst <= by_h + by_eps && 10 * worst >= by_h + by_eps ? "yes" : "no");
    }
    printf("best: h = (3 eps f / f''')^(1/3) = %.1e = 2^%.1f\n\n", cbrt(3 * eps),
           log2(cbrt(3 * eps)));
}

static void check(const char *what, scalar_fn f, double *x, int i, double g)
{
    double h = 0.02, e = fabs(central(f, x, i, h) - g),
           half = fabs(central(f, x, i, h / 2) - g);
    printf("%-34s %8.4f    ratio %.2f\n", what, g, e / half);
}

/* Skip the rest at first reading. x e^(x y) in the form that ht_gradient_check asks for.
 * If *user, ht_stop_gradient (same value, slope 0) cuts a path, and ht_grad is wrong. */
static ht_var in_ops(ht_tape *t, int n, const ht_var *x, void *user)
{
    ht_var product = ht_mul(x[0], x[1]);
    if (*(int *)user) product = ht_stop_gradient(product);
    return ht_mul(x[0], ht_exp(product));
}

static void by_the_library(double *x, const char *page)
{
    ht_context *ctx = lesson_context();
    ht_tensor *at[2];
    for (int i = 0; i < 2; i++) at[i] = ht_tensor_wrap(ctx, HT_F64, HT_SCALAR, &x[i]);
    ht_tape *t = ht_tape_new(ctx, HT_EAGER);
    ht_var v[2] = {ht_name(ht_input(t, at[0]), "x"), ht_name(ht_input(t, at[1]), "y")},
           g[2];
    ht_grad(in_ops(t, 2, v, &(int){0}), 2, v, g);
    printf("by ht_grad: %.4f and %.4f\n", ht_item(g[0]), ht_item(g[1]));
    if (page) ht_tape_write_html(t, page);
    ht_tape_free(t);
    for (int cut = 0; cut < 2; cut++)
        printf("ht_gradient_check, %s: %s\n", cut ? "with a path cut" : "as it is",
               ht_gradient_check(ctx, in_ops, 2, (const ht_tensor *const *)at, &cut, NULL)
                   ? "right"
                   : "wrong");
    for (int i = 0; i < 2; i++) ht_tensor_free(at[i]);
    ht_context_free(ctx);
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    double x[2] = {0.5, 0.8}, y = exp(0.4), near = 0.005;
    halve();
    shrink();
    puts("checks at h = 0.02 and 0.01           slope");
    check("x e^(x y) by x: (1 + x y) e^(x y)", product, x, 0, (1 + 0.4) * y);
    check("wrong: 1.01 of that", product, x, 0, 1.01 * (1 + 0.4) * y);
    check("x e^(x y) by y: x x e^(x y)", product, x, 1, 0.25 * y);
    check("wrong: x e^(x y)", product, x, 1, 0.5 * y);
    check("|x| at 0.005, beside its kink", magnitude, &near, 0, 1);
    by_the_library(x, page);
}
