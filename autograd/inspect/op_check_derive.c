/* SPDX-License-Identifier: MIT */
/* op_check_derive.c: derivatives of a case in every mode, against each other and against
 * differences. Read next: op_check_value.c. */
#include <math.h>

#include "op_check.h"

static void op_begin(hti_op_case *c, hti_op_graph *g)
{
    ht_tape_reset(c->check->eager);
    hti_op_append_gradient(c, c->check->eager, g);
}

void hti_op_value(hti_op_case *c, hti_op_vec *out)
{
    hti_op_graph g;
    ht_tape_reset(c->check->eager);
    hti_op_append(c, c->check->eager, &g);
    hti_op_read(1, &g.y, out);
}

void hti_op_phi(hti_op_case *c, hti_op_vec *out)
{
    hti_op_value(c, out);
    *out = (hti_op_vec){1, {hti_op_dot(out, &c->v_flat)}};
}

void hti_op_gradient(hti_op_case *c, hti_op_vec *out)
{
    hti_op_graph g;
    op_begin(c, &g);
    hti_op_read(c->n_float, g.g, out);
}

void hti_op_hvp(hti_op_case *c, hti_op_vec *out)
{
    hti_op_graph g;
    ht_var hv[HT_OP_INPUTS];
    op_begin(c, &g);
    ht_hvp(g.phi, c->n_float, g.x, g.u, hv);
    hti_op_read(c->n_float, hv, out);
}

void hti_op_jvp(hti_op_case *c, hti_op_vec *out)
{
    hti_op_graph g;
    ht_var dy;
    op_begin(c, &g);
    ht_jvp(c->n_float, g.x, g.u, 1, &g.y, &dy);
    hti_op_read(1, &dy, out);
}

/* Differences. */

/* out = sum_k weight[k] f(at[k] h) / h along a direction. */
static void op_stencil(hti_op_case *c, const hti_op_vec *direction, hti_op_fn *f,
                       int points, const double *at, const double *weight, double h,
                       hti_op_vec *out)
{
    hti_op_vec y = {.n = 0};
    for (int k = 0; k < points; k++) {
        hti_op_move(c, direction, at[k] * h);
        f(c, &y);
        for (int64_t i = 0; i < y.n; i++)
            out->at[i] = (k ? out->at[i] : 0) + weight[k] * y.at[i] / h;
        out->n = y.n;
    }
    hti_op_move(c, direction, 0);
}

/* (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h: fourth order, for tight tolerances. */
static void op_slope(hti_op_case *c, const hti_op_vec *direction, hti_op_fn *f,
                     hti_op_vec *out)
{
    static const double at[] = {1, -1, 2, -2};
    static const double weight[] = {8.0 / 12, -8.0 / 12, -1.0 / 12, 1.0 / 12};
    op_stencil(c, direction, f, 4, at, weight, fmin(5e-4, 0.15 * c->cell), out);
}

/* Plain central differences are off by h^2/6 f''' + O(h^4): where that is well above
 * rounding, half the step must make a quarter of the error. A derivative that is wrong by
 * however little gives a ratio of 1. */
static bool op_quarters(hti_op_case *c, hti_op_fn *f, const hti_op_vec *exact,
                        const char *what)
{
    static const double at[] = {1, -1}, weight[] = {0.5, -0.5};
    double h = fmin(1.0 / 256, 0.1 * c->cell), error[2];
    hti_op_vec d;
    f(c, &d);
    double size = 1 + sqrt(hti_op_dot(&d, &d));
    for (int k = 0; k < 2; k++, h /= 2) {
        op_stencil(c, &c->u_flat, f, 2, at, weight, h, &d);
        for (int64_t i = 0; i < d.n && i < exact->n; i++) d.at[i] -= exact->at[i];
        error[k] = sqrt(hti_op_dot(&d, &d));
    }
    double rounding = 1e-14 * size / h;
    if (error[1] < 1e3 * rounding) return true;
    c->check->ratios++;
    double ratio = error[0] / error[1];
    if (ratio > 3.8 && ratio < 4.2) return true;
    return hti_op_fail(c, what,
                       "half the step makes the error of central differences %.4g "
                       "times smaller, expected 4 (errors %.3g and %.3g)",
                       ratio, error[0], error[1]);
}

/* First order. */

/* Every coordinate if they are few, else some of them. */
static bool op_first_by_coordinates(hti_op_case *c, const hti_op_vec *gradient)
{
    enum { FEW = 6 };
    hti_op_vec axis = {.n = gradient->n}, some = {.n = 0}, each = {.n = 0}, slope;
    for (int64_t k = 0; k < FEW && k < gradient->n; k++) {
        int64_t i = gradient->n <= FEW
                        ? k
                        : ht_random_below(c->seed, 40, (uint64_t)k, gradient->n);
        axis.at[i] = 1;
        op_slope(c, &axis, hti_op_phi, &slope);
        axis.at[i] = 0;
        some.at[some.n++] = gradient->at[i];
        each.at[each.n++] = slope.at[0];
    }
    return hti_op_near(c, &some, &each, 1e-8, "vjp against differences");
}

bool hti_op_first(hti_op_case *c)
{
    hti_op_vec gradient, tangent, slope = {.n = 0};
    hti_op_gradient(c, &gradient);
    hti_op_jvp(c, &tangent);
    hti_op_vec along = {1, {hti_op_dot(&gradient, &c->u_flat)}};
    if (!hti_op_near_number(c, hti_op_dot(&c->v_flat, &tangent), along.at[0], 1e-12,
                            "<v, J u> = <J' v, u>"))
        return false;
    if (c->check->op->flags & HT_OP_STOPS) return true;
    op_slope(c, &c->u_flat, hti_op_value, &slope);
    return hti_op_near(c, &tangent, &slope, 1e-8, "jvp against differences") &&
           op_first_by_coordinates(c, &gradient) &&
           op_quarters(c, hti_op_value, &tangent, "jvp") &&
           op_quarters(c, hti_op_phi, &along, "vjp");
}

/* A row without gradient is constant but for jumps, which so small a step won't meet. */
bool hti_op_flat(hti_op_case *c)
{
    static const double at[] = {1, -1}, weight[] = {0.5, -0.5};
    hti_op_vec slope = {.n = 0};
    op_stencil(c, &c->u_flat, hti_op_value, 2, at, weight, 1e-6, &slope);
    return hti_op_near_number(c, sqrt(hti_op_dot(&slope, &slope)), 0, 1e-7,
                              "HT_OP_NO_GRADIENT, against differences");
}

/* Second order. */

/* The Hessian times u in the other three orders of modes, and its symmetry. */
static bool op_second_modes(hti_op_case *c, const hti_op_vec *hu)
{
    hti_op_graph g;
    hti_op_vec other;
    ht_var dot = HT_ZERO, dy = HT_ZERO, ddy = HT_ZERO, again[HT_OP_INPUTS];
    double huw = hti_op_dot(hu, &c->w_flat);
    op_begin(c, &g);
    for (int f = 0; f < c->n_float; f++)
        dot = ht_add(dot, ht_sum(ht_mul(g.g[f], g.u[f])));
    ht_grad_or_zero(dot, c->n_float, g.x, again);
    hti_op_read(c->n_float, again, &other);
    if (!hti_op_near(c, &other, hu, 1e-12, "reverse over reverse")) return false;
    ht_jvp(c->n_float, g.x, g.u, 1, &g.y, &dy);
    ht_vjp(1, &dy, &g.v, c->n_float, g.x, again);
    hti_op_read(c->n_float, again, &other);
    if (!hti_op_near(c, &other, hu, 1e-12, "reverse over forward")) return false;
    ht_jvp(c->n_float, g.x, g.w, 1, &dy, &ddy);
    hti_op_read(1, &ddy, &other);
    if (!hti_op_near_number(c, hti_op_dot(&c->v_flat, &other), huw, 1e-12,
                            "forward over forward"))
        return false;
    ht_hvp(g.phi, c->n_float, g.x, g.w, again);
    hti_op_read(c->n_float, again, &other);
    return hti_op_near_number(c, huw, hti_op_dot(&other, &c->u_flat), 1e-12,
                              "Hessian symmetry");
}

bool hti_op_second(hti_op_case *c)
{
    hti_op_vec hu, slope = {.n = 0};
    hti_op_hvp(c, &hu);
    if (!op_second_modes(c, &hu)) return false;
    op_slope(c, &c->u_flat, hti_op_gradient, &slope);
    return hti_op_near(c, &hu, &slope, 1e-8,
                       "Hessian product against differences of the gradient") &&
           op_quarters(c, hti_op_gradient, &hu, "Hessian product");
}

/* Third order: D^3 phi [u, u] by the tangent of H u, and by the gradient of <H u, w>. */
bool hti_op_third(hti_op_case *c)
{
    hti_op_graph g;
    hti_op_vec tangent, reverse, slope = {.n = 0};
    ht_var hu[HT_OP_INPUTS], out[HT_OP_INPUTS], dot = HT_ZERO;
    op_begin(c, &g);
    ht_hvp(g.phi, c->n_float, g.x, g.u, hu);
    ht_jvp(c->n_float, g.x, g.u, c->n_float, hu, out);
    hti_op_read(c->n_float, out, &tangent);
    for (int f = 0; f < c->n_float; f++) dot = ht_add(dot, ht_sum(ht_mul(hu[f], g.w[f])));
    ht_grad_or_zero(dot, c->n_float, g.x, out);
    hti_op_read(c->n_float, out, &reverse);
    if (!hti_op_near_number(c, hti_op_dot(&reverse, &c->u_flat),
                            hti_op_dot(&tangent, &c->w_flat), 1e-12,
                            "third order, reverse against forward"))
        return false;
    op_slope(c, &c->u_flat, hti_op_hvp, &slope);
    return hti_op_near(c, &tangent, &slope, 1e-7, "third order against differences");
}
