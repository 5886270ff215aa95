/* SPDX-License-Identifier: MIT */
/* gradient_check.c: a user's function checked against central differences, in f64:
 * gradient, Hessian along directions, its symmetry, and forward mode against reverse. Its
 * float inputs are parts of one vector, by which all derivatives are taken. */
#include <math.h>

#include "inspect.h"

enum { HTI_DIRECTIONS = 4 };

/* Vectors of the check: the point, two directions, gradients. */
enum { CHECK_AT, CHECK_U, CHECK_W, CHECK_GRADIENTS, CHECK_VECTORS = CHECK_GRADIENTS + 4 };

typedef struct check {
    ht_context *ctx;
    ht_scalar_fn f;
    void *user;
    int n;
    bool differentiable; /* some input is of floats */
    int64_t count;       /* elements of those together */
    const ht_tensor *const *original;
    ht_tape *tape;
    ht_var *x;                        /* n: what f is given */
    ht_tensor *vector[CHECK_VECTORS]; /* (count) f64 */
    FILE *report;
} check;

static bool check_is_float(const check *c, int i)
{
    return hti_dtype_is_float(ht_tensor_dtype(c->original[i]));
}

/* f on a fresh tape, of parts of the vector `at`. They are copies, so that no movement of
 * them is recorded as one of the vector. */
static ht_var check_value(check *c, ht_var *at)
{
    int64_t from = 0;
    ht_tape_reset(c->tape);
    *at = ht_input(c->tape, c->vector[CHECK_AT]);
    for (int i = 0; i < c->n; i++) {
        const ht_tensor *t = c->original[i];
        if (!check_is_float(c, i)) {
            c->x[i] = ht_input(c->tape, t);
            continue;
        }
        ht_var part = ht_slice(*at, 0, from, ht_tensor_count(t), 1);
        part = ht_reshape(part, ht_tensor_shape(t));
        c->x[i] = ht_apply(&hti_op_copy, 1, &part, NULL, HT_HERE);
        from += ht_tensor_count(t);
    }
    return c->f(c->tape, c->n, c->x, c->user);
}

/* A direction of length about 1; of no elements too. */
static void check_draw(check *c, ht_tensor *direction, uint64_t stream)
{
    ht_tape_reset(c->tape);
    ht_tensor_normal(direction, stream, 0, 1 / sqrt(fmax(1, (double)c->count)));
}

/* Adds scale * direction to the point. */
static void check_move(check *c, const ht_tensor *direction, double scale)
{
    double *at = ht_tensor_data(c->vector[CHECK_AT]);
    const double *d = ht_tensor_data(direction);
    ht_tape_reset(c->tape);
    for (int64_t k = 0; k < c->count; k++) at[k] += scale * d[k];
}

static double check_dot(const ht_tensor *a, const ht_tensor *b)
{
    const double *x = ht_tensor_data(a), *y = ht_tensor_data(b);
    double sum = 0;
    for (int64_t k = ht_tensor_count(a); k-- > 0;) sum += *x++ * *y++;
    return sum;
}

/* |a - b| / max(1, |a|, |b|), normwise. */
static double check_distance(const ht_tensor *a, const ht_tensor *b)
{
    const double *x = ht_tensor_data(a), *y = ht_tensor_data(b);
    double sum = 0, scale = fmax(1, fmax(check_dot(a, a), check_dot(b, b)));
    for (int64_t k = 0; k < ht_tensor_count(a); k++) sum += (x[k] - y[k]) * (x[k] - y[k]);
    return sqrt(sum / scale);
}

static double check_relative(double a, double b)
{
    return fabs(a - b) / fmax(1, fmax(fabs(a), fabs(b)));
}

/* The larger error; unlike fmax, NaN is the largest of all and stays. */
static double check_worse(double a, double b)
{
    return isnan(a) || b <= a ? a : b;
}

static bool check_line(check *c, const char *what, double error, double tolerance)
{
    bool ok = c->ctx->status == HT_OK && error <= tolerance;
    if (c->report)
        fprintf(c->report, "%-44s %9.2e  (at most %.0e)  %s\n", what, error, tolerance,
                ok ? "ok" : "WRONG");
    return ok;
}

static void check_keep(ht_var x, ht_tensor *to)
{
    const ht_tensor *value = ht_value_at(x, NULL);
    if (value) ht_tensor_copy(to, value);
}

/* f's value and gradient a step along the direction u. */

static double check_value_at(check *c, double step)
{
    ht_var at;
    check_move(c, c->vector[CHECK_U], step);
    double value = ht_item_at(check_value(c, &at), NULL);
    check_move(c, c->vector[CHECK_U], -step);
    return value;
}

static void check_gradient_at(check *c, double step, ht_tensor *to)
{
    ht_var at, g;
    check_move(c, c->vector[CHECK_U], step);
    ht_var y = check_value(c, &at);
    ht_grad_or_zero(y, 1, &at, &g);
    check_keep(g, to);
    check_move(c, c->vector[CHECK_U], -step);
}

/* Gradient against differences of f along random directions; then the tangent. */
static bool check_first(check *c)
{
    const double h = 1e-5;
    double worst = 0, forward = 0;
    ht_tensor *u = c->vector[CHECK_U], *gradient = c->vector[CHECK_GRADIENTS];
    check_gradient_at(c, 0, gradient);
    for (uint64_t k = 0; k < HTI_DIRECTIONS && c->ctx->status == HT_OK; k++) {
        check_draw(c, u, 2 * k);
        double slope = check_dot(gradient, u), up = check_value_at(c, h);
        double difference = (up - check_value_at(c, -h)) / (2 * h);
        worst = check_worse(worst, check_relative(difference, slope));
        ht_var at, y = check_value(c, &at), t = ht_input(c->tape, u), dy;
        ht_jvp(1, &at, &t, 1, &y, &dy);
        forward = check_worse(forward, check_relative(ht_item_at(dy, NULL), slope));
    }
    bool ok = check_line(c, "gradient, against central differences", worst, 1e-6);
    return check_line(c, "gradient, forward against reverse", forward, 1e-11) && ok;
}

static void check_hvp(check *c, const ht_tensor *direction, ht_tensor *to)
{
    ht_var at, y = check_value(c, &at), t = ht_input(c->tape, direction), h;
    ht_hvp(y, 1, &at, &t, &h);
    check_keep(h, to);
}

/* The gradient of <gradient, direction>: reverse over reverse. */
static void check_reverse_hvp(check *c, const ht_tensor *direction, ht_tensor *to)
{
    ht_var at, y = check_value(c, &at), g;
    ht_grad_or_zero(y, 1, &at, &g);
    y = ht_sum(ht_mul(g, ht_input(c->tape, direction)));
    ht_grad_or_zero(y, 1, &at, &g);
    check_keep(g, to);
}

static bool check_second(check *c)
{
    const double h = 1e-5;
    double worst = 0, modes = 0, symmetry = 0;
    for (uint64_t k = 0; k < HTI_DIRECTIONS && c->ctx->status == HT_OK; k++) {
        ht_tensor *u = c->vector[CHECK_U], *w = c->vector[CHECK_W],
                  **g = c->vector + CHECK_GRADIENTS;
        check_draw(c, u, 100 + 2 * k);
        check_draw(c, w, 101 + 2 * k);
        check_hvp(c, u, g[0]);
        check_hvp(c, w, g[1]);
        double across = check_relative(check_dot(g[0], w), check_dot(g[1], u));
        symmetry = check_worse(symmetry, across);
        check_reverse_hvp(c, u, g[1]);
        modes = check_worse(modes, check_distance(g[0], g[1]));
        check_gradient_at(c, h, g[2]);
        check_gradient_at(c, -h, g[3]);
        double *up = ht_tensor_data(g[2]), *down = ht_tensor_data(g[3]);
        for (int64_t i = 0; i < c->count; i++) up[i] = (up[i] - down[i]) / (2 * h);
        worst = check_worse(worst, check_distance(g[0], g[2]));
    }
    bool ok = check_line(c, "Hessian, against central differences", worst, 1e-6);
    ok = check_line(c, "Hessian, forward over reverse = reverse twice", modes, 1e-11) &&
         ok;
    return check_line(c, "Hessian, symmetry", symmetry, 1e-11) && ok;
}

static bool check_open(check *c)
{
    int64_t at = 0;
    for (int i = 0; i < c->n; i++) {
        if (!check_is_float(c, i)) continue;
        c->differentiable = true;
        c->count += ht_tensor_count(c->original[i]);
    }
    c->x = hti_zalloc(c->ctx, (size_t)c->n, sizeof *c->x);
    c->tape = ht_tape_new(c->ctx, HT_EAGER);
    if (!c->x || !c->tape) return false;
    for (int k = 0; k < CHECK_VECTORS; k++) {
        c->vector[k] = ht_tensor_new(c->ctx, HT_F64, HT_SHAPE(c->count));
        if (!c->vector[k]) return false;
    }
    for (int i = 0; i < c->n; i++)
        for (int64_t k = 0; check_is_float(c, i) && k < ht_tensor_count(c->original[i]);)
            ht_tensor_set(c->vector[CHECK_AT], at++, ht_tensor_get(c->original[i], k++));
    return c->differentiable;
}

static void check_close(check *c)
{
    ht_tape_free(c->tape);
    for (int k = 0; k < CHECK_VECTORS; k++) ht_tensor_free(c->vector[k]);
    hti_resize(c->ctx, c->x, (size_t)c->n * sizeof *c->x, 0);
}

bool ht_gradient_check(ht_context *ctx, ht_scalar_fn f, int n, const ht_tensor *const *at,
                       void *user, FILE *report)
{
    HT_ASSERT(ctx && f && n > 0 && at,
              "ht_gradient_check: ctx %p, f %s, %d tensors at %p", (void *)ctx,
              f ? "given" : "NULL", n, (const void *)at);
    for (int i = 0; i < n; i++)
        HT_ASSERT(at[i], "ht_gradient_check: tensor %d is NULL", i);
    check c = {
        .ctx = ctx, .f = f, .user = user, .n = n, .original = at, .report = report};
    bool ok = check_open(&c);
    if (ok && report && c.count == 0)
        fprintf(report, "no float input has elements: nothing to differentiate\n");
    ok = ok && check_first(&c);
    ok = ok && check_second(&c);
    check_close(&c);
    return ok && ctx->status == HT_OK;
}
