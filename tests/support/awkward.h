/* SPDX-License-Identifier: MIT */
/* awkward.h: points where a derivative is a matter of choice - kinks, ties, the rim of a
 * domain - and what the documentation chose, by hand. ht_op_check stays away from them.
 * Read next: test_autograd_ops.c, mutate.c. */
#ifndef HTI_AWKWARD_H
#define HTI_AWKWARD_H

#include <math.h>
#include <stdio.h>

#include "ops.h"

/* f's value, gradient by each of n numbers, and Hessian, by hand, row-major. NAN: finite,
 * no more is promised; INFINITY: that it is. */
typedef struct awkward {
    const char *name;
    ht_var (*f)(const ht_var *x);
    int n;
    double at[3], value, gradient[3], hessian[9];
} awkward;

static ht_var at_sqrt(const ht_var *x)
{
    return ht_sqrt(x[0]);
}
static ht_var at_sqrt_of_square(const ht_var *x)
{
    return ht_sqrt(ht_square(x[0]));
}
static ht_var at_adam(const ht_var *x)
{
    return ht_div(x[0], ht_add(ht_sqrt(ht_square(x[0])), 0.5));
}
static ht_var at_relu(const ht_var *x)
{
    return ht_relu(x[0]);
}
static ht_var at_abs(const ht_var *x)
{
    return ht_abs(x[0]);
}
static ht_var at_maximum(const ht_var *x)
{
    return ht_maximum(x[0], x[1]);
}
static ht_var at_minimum(const ht_var *x)
{
    return ht_minimum(x[0], x[1]);
}
static ht_var at_maximum_square(const ht_var *x)
{
    return ht_square(ht_maximum(x[0], x[1]));
}
static ht_var at_max(const ht_var *x)
{
    ht_var rows[3];
    for (int i = 0; i < 3; i++) rows[i] = ht_reshape(x[i], HT_SHAPE(1));
    return ht_sum(ht_max_axes(ht_concat(3, rows, 0), HT_AXES(0), false));
}
static ht_var at_norm(const ht_var *x)
{
    ht_var rows[2];
    for (int i = 0; i < 2; i++) rows[i] = ht_reshape(x[i], HT_SHAPE(1));
    return ht_norm_axes(ht_concat(2, rows, 0), HT_AXES(0), false);
}
static ht_var at_variance(const ht_var *x)
{
    ht_var rows[3];
    for (int i = 0; i < 3; i++) rows[i] = ht_reshape(x[i], HT_SHAPE(1));
    return ht_variance_axes(ht_concat(3, rows, 0), HT_AXES(0), false, 0);
}
static ht_var at_pow_0(const ht_var *x)
{
    return ht_pow(x[0], 0.0);
}
static ht_var at_pow_1(const ht_var *x)
{
    return ht_pow(x[0], 1.0);
}
static ht_var at_pow_2(const ht_var *x)
{
    return ht_pow(x[0], 2.0);
}
static ht_var at_pow_3(const ht_var *x)
{
    return ht_pow(x[0], 3.0);
}
static ht_var at_pow_half(const ht_var *x)
{
    return ht_pow(x[0], 1.5);
}
static ht_var at_pow(const ht_var *x)
{
    return ht_pow(x[0], x[1]);
}
static ht_var at_log_square(const ht_var *x)
{
    return ht_mul(ht_square(ht_log(x[0])), 0.5);
}

/* y_0^2 + 2 y_1^2 of what f makes of a row of the first two, the third being its bound.
 */
static ht_var at_row(ht_var f(ht_var x, ht_var bound, const char *site), const ht_var *x)
{
    ht_var rows[2];
    for (int i = 0; i < 2; i++) rows[i] = ht_reshape(x[i], HT_SHAPE(1));
    ht_var y = f(ht_concat(2, rows, 0), x[2], HT_HERE), squares = ht_square(y);
    return ht_add(ht_sum(squares), ht_sum(ht_slice(squares, 0, 1, 1, 1)));
}
static ht_var at_simplex(const ht_var *x)
{
    return at_row(ht_project_simplex_at, x);
}
static ht_var at_capped(const ht_var *x)
{
    return at_row(ht_project_capped_at, x);
}
static ht_var at_l1(const ht_var *x)
{
    return at_row(ht_project_l1_at, x);
}
static ht_var at_l2(const ht_var *x)
{
    return at_row(ht_project_l2_at, x);
}
static ht_var at_soft(const ht_var *x)
{
    return at_row(ht_soft_threshold_at, x);
}
static ht_var at_group_soft(const ht_var *x)
{
    return at_row(ht_group_soft_threshold_at, x);
}

/* Hessians where the row's sum is held: both move, of one sign; of two; only the first
 * does, by the bound alone. Where it is not, its elements are their own. */
#define HELD                                            \
    {                                                   \
        1.5, -1.5, -0.5, -1.5, 1.5, 0.5, -0.5, 0.5, 1.5 \
    }
#define HELD_SIGNS                                      \
    {                                                   \
        1.5, 1.5, -0.5, 1.5, 1.5, -0.5, -0.5, -0.5, 1.5 \
    }
#define HELD_ONE                  \
    {                             \
        0, 0, 0, 0, 0, 0, 0, 0, 2 \
    }
#define FREE                      \
    {                             \
        2, 0, 0, 0, 4, 0, 0, 0, 0 \
    }

#define LN_2 0.69314718055994530942

static const awkward awkward_points[] = {
    {"sqrt at 0", at_sqrt, 1, {0}, 0, {0}, {0}},
    {"sqrt(x^2) at 0", at_sqrt_of_square, 1, {0}, 0, {0}, {0}},
    {"sqrt(x^2) at -3", at_sqrt_of_square, 1, {-3}, 3, {-1}, {0}},
    {"x / (sqrt(x^2) + 1/2) at 0", at_adam, 1, {0}, 0, {2}, {0}},
    {"relu at 0", at_relu, 1, {0}, 0, {0}, {0}},
    {"abs at 0", at_abs, 1, {0}, 0, {0}, {0}},
    {"maximum at a tie", at_maximum, 2, {2, 2}, 2, {0.5, 0.5}, {0}},
    {"minimum at a tie", at_minimum, 2, {2, 2}, 2, {0.5, 0.5}, {0}},
    {"maximum^2 at a tie", at_maximum_square, 2, {3, 3}, 9, {3, 3}, {0.5, 0.5, 0.5, 0.5}},
    {"max at a tie of two", at_max, 3, {5, 1, 5}, 5, {0.5, 0, 0.5}, {0}},
    {"max at a tie of three", at_max, 3, {4, 4, 4}, 4, {1.0 / 3, 1.0 / 3, 1.0 / 3}, {0}},
    {"variance of 1e16 + (0, 2, 2)",
     at_variance,
     3,
     {1e16, 1e16 + 2, 1e16 + 2},
     8.0 / 9,
     {-8.0 / 9, 4.0 / 9, 4.0 / 9},
     {4.0 / 9, -2.0 / 9, -2.0 / 9, -2.0 / 9, 4.0 / 9, -2.0 / 9, -2.0 / 9, -2.0 / 9,
      4.0 / 9}},
    {"norm at 0", at_norm, 2, {0, 0}, 0, {0, 0}, {0}},
    {"norm at 3e200, 4e200", at_norm, 2, {3e200, 4e200}, 5e200, {0.6, 0.8}, {0}},
    {"norm at 3e-200, 4e-200",
     at_norm,
     2,
     {3e-200, 4e-200},
     5e-200,
     {0.6, 0.8},
     {1.28e199, -9.6e198, -9.6e198, 7.2e198}},
    {"x^0 at 0", at_pow_0, 1, {0}, 1, {0}, {0}},
    {"x^1 at 0", at_pow_1, 1, {0}, 0, {1}, {0}},
    {"x^2 at 0", at_pow_2, 1, {0}, 0, {0}, {2}},
    {"x^3 at 0", at_pow_3, 1, {0}, 0, {0}, {0}},
    {"x^3 at -2", at_pow_3, 1, {-2}, -8, {12}, {-12}},
    {"x^(3/2) at 0", at_pow_half, 1, {0}, 0, {0}, {INFINITY}},
    {"x^y at 0, 2", at_pow, 2, {0, 2}, 0, {0, 0}, {2, 0, 0, 0}},
    {"x^y at 0, 1", at_pow, 2, {0, 1}, 0, {1, 0}, {0, NAN, NAN, 0}},
    {"x^y at 0, 0", at_pow, 2, {0, 0}, 1, {0, 0}, {0, NAN, NAN, 0}},
    {"x^y at 2, 0", at_pow, 2, {2, 0}, 1, {0, LN_2}, {0, 0.5, 0.5, LN_2 *LN_2}},
    {"x^y at 1e-160, 0",
     at_pow,
     2,
     {1e-160, 0},
     1,
     {0, -368.41361487904730945},
     {0, 1e160, 1e160, 135728.59162824700}},
    {"x^y at -2, 2", at_pow, 2, {-2, 2}, 4, {-4, 0}, {2, NAN, NAN, 0}},
    {"simplex, both", at_simplex, 3, {1, 0.5, 1}, 0.6875, {0.25, -0.25, 1.25}, HELD},
    {"simplex, one", at_simplex, 3, {3, 1, 1}, 1, {0, 0, 2}, HELD_ONE},
    {"simplex, one enters", at_simplex, 3, {2, 1, 1}, 1, {1, -1, 1}, HELD},
    {"simplex, its own point", at_simplex, 3, {1, 0, 1}, 1, {1, -1, 1}, HELD},
    {"simplex, a point", at_simplex, 3, {7, 7, 0}, 0, {0}, {0, 0, 0, 0, 0, 0, 0, 0, 1.5}},
    {"capped, both",
     at_capped,
     3,
     {0.75, 0.5, 1},
     0.671875,
     {-0.125, 0.125, 1.375},
     HELD},
    {"capped, inside", at_capped, 3, {0.25, 0.5, 2}, 0.5625, {0.5, 2, 0}, FREE},
    {"capped, sum at its end",
     at_capped,
     3,
     {0.25, 0.5, 0.75},
     0.5625,
     {0.5, 2, 0},
     FREE},
    {"capped, at its ends", at_capped, 3, {0, 1, 2}, 2, {0, 4, 0}, FREE},
    {"capped, one full", at_capped, 3, {0.75, 2, 1.5}, 2.25, {0, 0, 1}, HELD_ONE},
    {"capped, one becomes full",
     at_capped,
     3,
     {1.5, 0.75, 1.25},
     1.125,
     {0.5, -0.5, 1.5},
     HELD},
    {"capped, none has a way", at_capped, 3, {7, 3, 1}, 1, {0, 0, 2}, HELD_ONE},
    {"l1, both", at_l1, 3, {1, -0.5, 1}, 0.6875, {0.25, 0.25, 1.25}, HELD_SIGNS},
    {"l1, on the ball", at_l1, 3, {0.25, -0.75, 1}, 1.1875, {0.5, -3, 0}, FREE},
    {"l1, one enters", at_l1, 3, {2, -1, 1}, 1, {1, 1, 1}, HELD_SIGNS},
    {"l1, one at 0", at_l1, 3, {2, 0, 1}, 1, {0, 0, 2}, HELD_ONE},
    {"l2, on the ball", at_l2, 3, {3, 4, 5}, 41, {6, 16, 0}, FREE},
    {"l2, a point", at_l2, 3, {0, 0, 0}, 0, {0, 0, 0}, FREE},
    {"soft threshold",
     at_soft,
     3,
     {2, -2, 0.5},
     6.75,
     {3, -6, -9},
     {2, 0, -2, 0, 4, 4, -2, 4, 6}},
    {"soft threshold, one at t",
     at_soft,
     3,
     {2, -0.5, 0.5},
     2.25,
     {3, 0, -3},
     {2, 0, -2, 0, 0, 0, -2, 0, 2}},
    {"group soft threshold at t", at_group_soft, 3, {3, 4, 5}, 0, {0}, {0}},
    {"group soft threshold of 0", at_group_soft, 3, {0, 0, 0}, 0, {0}, {0}},
    {"log(x)^2 / 2 at 1", at_log_square, 1, {1}, 0, {0}, {1}},
};
enum { N_AWKWARD = sizeof awkward_points / sizeof awkward_points[0] };

/* One point, by every mode. */
typedef struct awkward_run {
    const awkward *p;
    FILE *report; /* NULL: none */
    ht_context *ctx;
    ht_tape *tape;
    ht_tensor *at[3], *one;
    ht_var x[3], y;
    bool ok;
} awkward_run;

static void awkward_near(awkward_run *r, const char *what, int i, ht_var x, double want)
{
    double scale = isfinite(want) && fabs(want) > 1 ? fabs(want) : 1, got = ht_item(x);
    if (isnan(want) ? isfinite(got) : got == want || fabs(got - want) <= 1e-15 * scale)
        return;
    r->ok = false;
    if (r->report)
        fprintf(r->report, "%s: %s [%d] is %.17g, expected %.17g\n", r->p->name, what, i,
                got, want);
}

/* Slope and Hessian along axis j: tangents, each mode over the other, reverse twice. */
static void awkward_axis(awkward_run *r, int j, const ht_var *gradient)
{
    const awkward *p = r->p;
    ht_var v[3] = {HT_ZERO, HT_ZERO, HT_ZERO}, h[3], slope;
    v[j] = ht_input(r->tape, r->one);
    awkward_near(r, "gradient", j, gradient[j], p->gradient[j]);
    ht_jvp(p->n, r->x, v, 1, &r->y, &slope);
    awkward_near(r, "tangent", j, slope, p->gradient[j]);
    ht_hvp(r->y, p->n, r->x, v, h);
    for (int i = 0; i < p->n; i++)
        awkward_near(r, "Hessian, forward over reverse", i * p->n + j, h[i],
                     p->hessian[i * p->n + j]);
    if (!ht_is_zero(slope)) ht_grad_or_zero(slope, p->n, r->x, h);
    for (int i = 0; i < p->n && !ht_is_zero(slope); i++)
        awkward_near(r, "Hessian, reverse over forward", j * p->n + i, h[i],
                     p->hessian[j * p->n + i]);
    ht_grad_or_zero(gradient[j], p->n, r->x, h);
    for (int i = 0; i < p->n; i++)
        awkward_near(r, "Hessian, reverse twice", j * p->n + i, h[i],
                     p->hessian[j * p->n + i]);
}

/* The slope along all axes at once. */
static void awkward_diagonal(awkward_run *r)
{
    ht_var v[3], slope, one = ht_input(r->tape, r->one);
    double want = 0;
    for (int i = 0; i < r->p->n; i++) v[i] = one, want += r->p->gradient[i];
    ht_jvp(r->p->n, r->x, v, 1, &r->y, &slope);
    awkward_near(r, "tangent along the diagonal", 0, slope, want);
}

/* Whether the point is as documented, rules under a hook or (NULL) as they are. */
static inline bool awkward_holds(const awkward *p, hti_hook *hook, FILE *report)
{
    awkward_run r = {.p = p, .report = report, .ctx = ht_context_new(NULL), .ok = true};
    ht_var g[3];
    r.tape = ht_tape_new(r.ctx, HT_EAGER);
    r.tape->hook = hook;
    r.one = ht_tensor_new(r.ctx, HT_F64, HT_SCALAR);
    ht_tensor_fill(r.one, 1);
    for (int i = 0; i < p->n; i++) {
        r.at[i] = ht_tensor_new(r.ctx, HT_F64, HT_SCALAR);
        ht_tensor_fill(r.at[i], p->at[i]);
        r.x[i] = ht_input(r.tape, r.at[i]);
    }
    r.y = p->f(r.x);
    awkward_near(&r, "value", 0, r.y, p->value);
    ht_grad_or_zero(r.y, p->n, r.x, g);
    for (int j = 0; j < p->n; j++) awkward_axis(&r, j, g);
    awkward_diagonal(&r);
    r.ok = r.ok && ht_context_status(r.ctx) == HT_OK;
    ht_tape_free(r.tape);
    for (int i = 0; i < p->n; i++) ht_tensor_free(r.at[i]);
    ht_tensor_free(r.one);
    ht_context_free(r.ctx);
    return r.ok;
}

#endif
