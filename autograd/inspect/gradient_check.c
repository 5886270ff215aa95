/* SPDX-License-Identifier: MIT */
/* gradient_check.c: a user's function checked against central differences, in f64:
 * gradient, Hessian along directions, its symmetry, and forward mode against reverse. */
#include <math.h>
#include <string.h>

#include "inspect.h"

enum { HTI_DIRECTIONS = 4 };

typedef struct check {
    ht_context *ctx;
    ht_scalar_fn f;
    void *user;
    int n, n_float;
    int64_t count;  /* elements of the float tensors together */
    ht_tensor **at; /* f64 where float, a borrowed original elsewhere */
    const ht_tensor *const *original;
    ht_tape *tape;
    ht_var *x, *dx, *wx; /* n variables; the float ones' gradient and direction first */
    ht_tensor *direction[2], *gradient[4]; /* (count) f64 */
    FILE *report;
} check;

static bool check_is_float(const check *c, int i)
{
    return hti_dtype_is_float(ht_tensor_dtype(c->original[i]));
}

/* Adds scale * direction to the point, tensor by tensor. */
static void check_move(check *c, const ht_tensor *direction, double scale)
{
    const double *d = ht_tensor_data(direction);
    for (int i = 0; i < c->n; i++) {
        if (!check_is_float(c, i)) continue;
        double *at = ht_tensor_data(c->at[i]);
        for (int64_t k = ht_tensor_count(c->at[i]); k-- > 0;) *at++ += scale * *d++;
    }
}

/* f on a fresh tape. After it c->x has the float variables alone, in order: those that
 * derivatives are taken by. */
static ht_var check_value(check *c)
{
    int packed = 0;
    ht_tape_reset(c->tape);
    for (int i = 0; i < c->n; i++) c->x[i] = ht_input(c->tape, c->at[i]);
    ht_var y = c->f(c->tape, c->n, c->x, c->user);
    for (int i = 0; i < c->n; i++)
        if (check_is_float(c, i)) c->x[packed++] = c->x[i];
    return y;
}

static void check_pack(check *c, const ht_var *parts, ht_tensor *to)
{
    double *d = ht_tensor_data(to);
    for (int i = 0; i < c->n_float; i++) {
        const ht_tensor *part = ht_value(parts[i]);
        if (!part) return;
        if (!ht_tensor_bytes(part)) continue;
        memcpy(d, ht_tensor_data(part), ht_tensor_bytes(part));
        d += ht_tensor_count(part);
    }
}

/* The direction as variables of the shapes of x. */
static void check_unpack(check *c, const ht_tensor *from, ht_var *parts)
{
    ht_var all = ht_input(c->tape, from);
    int64_t at = 0;
    for (int i = 0; i < c->n_float; i++) {
        ht_shape shape = ht_var_shape(c->x[i]);
        int64_t n = ht_shape_count(shape);
        parts[i] = ht_reshape(ht_slice(all, 0, at, n, 1), shape);
        at += n;
    }
}

/* A direction of length about 1; of no elements too. */
static void check_draw(check *c, ht_tensor *direction, uint64_t stream)
{
    ht_tensor_normal(direction, stream, 0, 1 / sqrt(fmax(1, (double)c->count)));
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

static void check_gradient_at(check *c, ht_tensor *to)
{
    ht_var y = check_value(c);
    ht_grad_or_zero(y, c->n_float, c->x, c->dx);
    check_pack(c, c->dx, to);
}

/* Gradient against differences of f along random directions; then the tangent. */
static bool check_first(check *c)
{
    const double h = 1e-5;
    double worst = 0, forward = 0;
    check_gradient_at(c, c->gradient[0]);
    for (uint64_t k = 0; k < HTI_DIRECTIONS && c->ctx->status == HT_OK; k++) {
        check_draw(c, c->direction[0], 2 * k);
        check_move(c, c->direction[0], h);
        double up = ht_item(check_value(c));
        ht_tape_reset(c->tape);
        check_move(c, c->direction[0], -2 * h);
        double down = ht_item(check_value(c));
        ht_tape_reset(c->tape);
        check_move(c, c->direction[0], h);
        double slope = check_dot(c->gradient[0], c->direction[0]);
        worst = check_worse(worst, check_relative((up - down) / (2 * h), slope));
        ht_var y = check_value(c), dy;
        check_unpack(c, c->direction[0], c->wx);
        ht_jvp(c->n_float, c->x, c->wx, 1, &y, &dy);
        forward = check_worse(forward, check_relative(ht_item(dy), slope));
        ht_tape_reset(c->tape);
    }
    bool ok = check_line(c, "gradient, against central differences", worst, 1e-6);
    return check_line(c, "gradient, forward against reverse", forward, 1e-11) && ok;
}

static void check_hvp(check *c, const ht_tensor *direction, ht_tensor *to)
{
    ht_var y = check_value(c);
    check_unpack(c, direction, c->wx);
    ht_hvp(y, c->n_float, c->x, c->wx, c->dx);
    check_pack(c, c->dx, to);
    ht_tape_reset(c->tape);
}

/* The gradient of <gradient, direction>: reverse over reverse. */
static void check_reverse_hvp(check *c, const ht_tensor *direction, ht_tensor *to)
{
    ht_var y = check_value(c), dot = HT_ZERO;
    check_unpack(c, direction, c->wx);
    ht_grad_or_zero(y, c->n_float, c->x, c->dx);
    for (int i = 0; i < c->n_float; i++)
        dot = ht_add(dot, ht_sum(ht_mul(c->dx[i], c->wx[i])));
    ht_grad_or_zero(dot, c->n_float, c->x, c->dx);
    check_pack(c, c->dx, to);
    ht_tape_reset(c->tape);
}

static bool check_second(check *c)
{
    const double h = 1e-5;
    double worst = 0, modes = 0, symmetry = 0;
    for (uint64_t k = 0; k < HTI_DIRECTIONS && c->ctx->status == HT_OK; k++) {
        ht_tensor *u = c->direction[0], *w = c->direction[1], **g = c->gradient;
        check_draw(c, u, 100 + 2 * k);
        check_draw(c, w, 101 + 2 * k);
        check_hvp(c, u, g[0]);
        check_hvp(c, w, g[1]);
        symmetry =
            check_worse(symmetry, check_relative(check_dot(g[0], w), check_dot(g[1], u)));
        check_reverse_hvp(c, u, g[1]);
        modes = check_worse(modes, check_distance(g[0], g[1]));
        check_move(c, u, h);
        check_gradient_at(c, g[2]);
        ht_tape_reset(c->tape);
        check_move(c, u, -2 * h);
        check_gradient_at(c, g[3]);
        ht_tape_reset(c->tape);
        check_move(c, u, h);
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
    size_t n = (size_t)c->n;
    c->at = hti_zalloc(c->ctx, n, sizeof *c->at);
    c->x = hti_zalloc(c->ctx, 3 * n, sizeof *c->x);
    c->tape = ht_tape_new(c->ctx, HT_EAGER);
    if (!c->at || !c->x || !c->tape) return false;
    c->dx = c->x + n;
    c->wx = c->x + 2 * n;
    for (int i = 0; i < c->n; i++) {
        const ht_tensor *t = c->original[i];
        c->at[i] = (ht_tensor *)(uintptr_t)t;
        if (!check_is_float(c, i)) continue;
        c->at[i] = ht_tensor_new(c->ctx, HT_F64, ht_tensor_shape(t));
        if (!c->at[i] || ht_tensor_copy(c->at[i], t) != HT_OK) return false;
        c->n_float++;
        c->count += ht_tensor_count(t);
    }
    for (int k = 0; k < 6; k++) {
        ht_tensor **t = k < 2 ? &c->direction[k] : &c->gradient[k - 2];
        *t = ht_tensor_new(c->ctx, HT_F64, HT_SHAPE(c->count));
        if (!*t) return false;
    }
    return c->n_float > 0;
}

static void check_close(check *c)
{
    ht_tape_free(c->tape);
    for (int i = 0; c->at && i < c->n; i++)
        if (check_is_float(c, i)) ht_tensor_free(c->at[i]);
    for (int k = 0; k < 2; k++) ht_tensor_free(c->direction[k]);
    for (int k = 0; k < 4; k++) ht_tensor_free(c->gradient[k]);
    hti_resize(c->ctx, c->at, (size_t)c->n * sizeof *c->at, 0);
    hti_resize(c->ctx, c->x, 3 * (size_t)c->n * sizeof *c->x, 0);
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
