/* SPDX-License-Identifier: MIT */
/* update_check_slopes.c: derivatives of a training of a few steps, by its parameters,
 * states, numbers and gradients: both modes against each other and against differences,
 * the second ones too. Read next: update_check.c. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "update_check.h"

/* y = <weights, w>, one number of the parameters a training ends with. */
typedef struct slopes {
    hti_rule_check *c;
    ht_set *weights, *along; /* along: a direction in `point` */
    ht_set *at;       /* `point`, but for the states, which a training has led to */
    ht_set *moved;    /* a point beside it */
    ht_set *gradient; /* of y by all of `point` */
} slopes;

static double dot_of(const ht_tensor *a, const ht_tensor *b)
{
    double sum = 0;
    for (int64_t k = 0, n = ht_tensor_count(a); k < n; k++)
        sum += ht_tensor_get(a, k) * ht_tensor_get(b, k);
    return sum;
}

/* A training on a tape of its own, and y of it. */
typedef struct trained {
    ht_tape *tape;
    ht_vars *at;
    ht_var y, *dx;
} trained;

static trained train_at(const slopes *s, const ht_set *point)
{
    const hti_rule_check *c = s->c;
    trained t = {.tape = ht_tape_new(c->ctx, HT_EAGER), .y = HT_ZERO};
    if (t.tape) t.at = ht_vars_input_at(t.tape, point, 0, NULL);
    ht_var *end = t.at ? hti_tape_alloc(t.tape, (size_t)c->end->n * sizeof *end) : NULL;
    if (t.at) t.dx = hti_tape_alloc(t.tape, (size_t)t.at->n * sizeof *t.dx);
    if (!end || !t.dx) return t;
    hti_check_unroll(c, &c->outer, t.at, HTI_CHECK_STEPS, end);
    for (int i = 0; i < c->theta->n; i++) {
        ht_var weight = ht_input_at(t.tape, s->weights->tensor[i], NULL);
        t.y = ht_add(t.y, ht_sum(ht_mul(end[i], weight)));
    }
    return t;
}

/* The gradient at a point, to a set; also how much of it is along `along`, by forward
 * mode, to *forward unless that is NULL. */
static bool gradient_at(const slopes *s, const ht_set *point, ht_set *to, double *forward)
{
    trained t = train_at(s, point);
    bool ok = s->c->ctx->status == HT_OK && t.dx;
    if (ok) {
        ht_grad_or_zero_at(t.y, t.at->n, t.at->var, t.dx, NULL);
        for (int i = 0; i < t.at->n && s->c->ctx->status == HT_OK; i++)
            hti_check_take(to->tensor[i], t.dx[i]);
    }
    if (ok && forward) {
        ht_var dy;
        for (int i = 0; i < t.at->n; i++)
            t.dx[i] = ht_input_at(t.tape, s->along->tensor[i], NULL);
        ht_jvp_at(t.at->n, t.at->var, t.dx, 1, &t.y, &dy, NULL);
        *forward = s->c->ctx->status == HT_OK ? ht_item(dy) : NAN;
    }
    ht_tape_free(t.tape);
    return s->c->ctx->status == HT_OK;
}

static double y_at(const slopes *s, const ht_set *point)
{
    double y = 0;
    if (!hti_check_run(s->c, &s->c->outer, point, HTI_CHECK_STEPS, s->c->end)) return NAN;
    for (int i = 0; i < s->c->theta->n; i++)
        y += dot_of(s->c->end->tensor[i], s->weights->tensor[i]);
    return y;
}

/* `moved` becomes the point, h along `along` in tensors first .. first + n - 1. */
static void move_by(const slopes *s, int first, int n, double h)
{
    ht_set_copy(s->moved, s->at);
    for (int i = first; i < first + n; i++) {
        ht_tensor *x = s->moved->tensor[i];
        for (int64_t k = 0, m = ht_tensor_count(x); k < m; k++)
            ht_tensor_set(
                x, k, ht_tensor_get(x, k) + h * ht_tensor_get(s->along->tensor[i], k));
    }
}

/* (y(h) - y(-h)) / 2h along some of the tensors. */
static double difference(const slopes *s, int first, int n, double h)
{
    move_by(s, first, n, h);
    double up = y_at(s, s->moved);
    move_by(s, first, n, -h);
    return (up - y_at(s, s->moved)) / (2 * h);
}

/* Of y, were each of its summands rounded up: what a difference is divided by h of. */
static double y_rounding(const slopes *s)
{
    double size = 0;
    for (int i = 0; i < s->c->theta->n; i++)
        for (int64_t k = 0, n = ht_tensor_count(s->weights->tensor[i]); k < n; k++)
            size += fabs(ht_tensor_get(s->c->end->tensor[i], k) *
                         ht_tensor_get(s->weights->tensor[i], k));
    return 8 * DBL_EPSILON * size;
}

/* Whether a difference agrees with the slope but for what rounding can do to it; `near`
 * is that of 1e-6. A rule that bends where a state is small wants shorter ones, one whose
 * step is small longer ones: what is wrong agrees with none. */
static bool slope_agrees(const slopes *s, int first, int n, double slope, double size,
                         double *near)
{
    static const double step[] = {1e-6, 1e-4, 1e-5, 1e-7, 1e-8};
    for (size_t k = 0; k < sizeof step / sizeof *step; k++) {
        double is = difference(s, first, n, step[k]), most = fmax(size, fabs(is));
        double rounding = y_rounding(s) / step[k];
        if (k == 0) *near = is;
        if (k > 0 && rounding > 1e-4 * most) continue; /* it tells nothing */
        if (fabs(is - slope) <= 1e-6 * most + rounding) return true;
    }
    return false;
}

/* First derivatives, a kind of input after the other. */

/* A long difference agrees where a short one is off: not so if a part is missing. */
static bool is_rounded(const slopes *s, int first, int n, double slope, double near)
{
    double off = fabs(difference(s, first, n, 1e-3) - slope);
    return off <= 1e-2 * fabs(slope) && off <= 0.1 * fabs(near - slope);
}

static void check_kind(slopes *s, const char *kind, int first, int n)
{
    hti_rule_check *c = s->c;
    char what[80];
    double slope = 0, size = 0, near = 0;
    for (int i = first; i < first + n; i++) {
        slope += dot_of(s->gradient->tensor[i], s->along->tensor[i]);
        size += dot_of(s->gradient->tensor[i], s->gradient->tensor[i]);
    }
    bool agrees = slope_agrees(s, first, n, slope, sqrt(size), &near);
    snprintf(what, sizeof what, "derivative by %s, against differences", kind);
    if (c->ctx->status != HT_OK) return;
    bool flat = size == 0 && near == 0;
    bool ok = flat || agrees;
    hti_check_line(c, ok, what);
    if (flat)
        hti_check_say(c,
                      "it is 0 by rule and by differences (a sign, a step function): no "
                      "hypergradient goes through %s",
                      kind);
    else if (!ok && size == 0)
        hti_check_say(c,
                      "it is 0, but differences say %g: what it goes through is detached "
                      "(ht_stop_gradient, an op whose vjp gives nothing)",
                      near);
    else if (!ok && is_rounded(s, first, n, slope, near))
        hti_check_say(
            c,
            "along one direction %g, differences of 1e-6 say %g, but those of 1e-3 "
            "agree: something is rounded to f32 on the way; cast to "
            "ht_var_dtype(s->w), to no fixed type",
            slope, near);
    else if (!ok)
        hti_check_say(
            c,
            "along one direction %g, differences say %g: a part of it is detached "
            "(ht_stop_gradient), or the rule of an op of yours is not its "
            "derivative (ht_op_check), or the step jumps there",
            slope, near);
}

static void slopes_first(slopes *s)
{
    hti_rule_check *c = s->c;
    const int *first = c->first;
    check_kind(s, "w", first[HTI_AT_W], c->theta->n);
    if (c->state->n) check_kind(s, "state", first[HTI_AT_STATE], c->state->n);
    for (int i = 0; i < c->eta->n; i++)
        check_kind(s, c->eta->name[i], first[HTI_AT_ETA] + i, 1);
    check_kind(s, "g", first[HTI_AT_G], first[HTI_PARTS] - first[HTI_AT_G]);
}

/* All at once: the modes, and second derivatives. */

static double set_inner(const ht_set *a, const ht_set *b)
{
    double sum = 0;
    for (int i = 0; i < a->n; i++) sum += dot_of(a->tensor[i], b->tensor[i]);
    return sum;
}

/* |a - b| beside the larger of both. */
static double set_apart(const ht_set *a, const ht_set *b)
{
    double aa = set_inner(a, a), bb = set_inner(b, b), most = fmax(aa, bb), d = 0;
    for (int i = 0; i < a->n; i++)
        for (int64_t k = 0, n = ht_tensor_count(a->tensor[i]); k < n; k++)
            d += pow(ht_tensor_get(a->tensor[i], k) - ht_tensor_get(b->tensor[i], k), 2);
    return most > 0 ? sqrt(d / most) : d;
}

/* H along, by reverse over reverse and by forward over reverse. */
static bool second_at(const slopes *s, ht_set *twice, ht_set *tangent)
{
    trained t = train_at(s, s->at);
    int n = s->c->point->n;
    ht_var *v = t.dx ? hti_tape_alloc(t.tape, 2 * (size_t)n * sizeof *v) : NULL,
           z = HT_ZERO;
    if (v && s->c->ctx->status == HT_OK) {
        ht_grad_or_zero_at(t.y, n, t.at->var, t.dx, NULL);
        for (int i = 0; i < n; i++) {
            v[i] = ht_input_at(t.tape, s->along->tensor[i], NULL);
            z = ht_add(z, ht_sum(ht_mul(t.dx[i], v[i])));
        }
        ht_jvp_at(n, t.at->var, v, n, t.dx, v + n, NULL);
        for (int i = 0; i < n && s->c->ctx->status == HT_OK; i++)
            hti_check_take(tangent->tensor[i], v[n + i]);
        ht_grad_or_zero_at(z, n, t.at->var, v, NULL);
        for (int i = 0; i < n && s->c->ctx->status == HT_OK; i++)
            hti_check_take(twice->tensor[i], v[i]);
    }
    ht_tape_free(t.tape);
    return s->c->ctx->status == HT_OK;
}

/* The gradient's own differences along all of `point`, to `twice`. */
static bool second_difference(const slopes *s, ht_set *to, double h)
{
    ht_set *down = ht_set_clone(to, 0);
    move_by(s, 0, s->c->point->n, h);
    bool ok = down && gradient_at(s, s->moved, to, NULL);
    if (ok) {
        move_by(s, 0, s->c->point->n, -h);
        ok = gradient_at(s, s->moved, down, NULL);
    }
    for (int i = 0; ok && i < to->n; i++)
        for (int64_t k = 0, n = ht_tensor_count(to->tensor[i]); k < n; k++)
            ht_tensor_set(
                to->tensor[i], k,
                (ht_tensor_get(to->tensor[i], k) - ht_tensor_get(down->tensor[i], k)) /
                    (2 * h));
    ht_set_free(down);
    return ok;
}

static void slopes_modes(slopes *s, double forward)
{
    hti_rule_check *c = s->c;
    double reverse = set_inner(s->gradient, s->along);
    double size = sqrt(set_inner(s->gradient, s->gradient));
    bool ok = fabs(forward - reverse) <= 1e-10 * fmax(size, fabs(reverse));
    if (!hti_check_line(c, ok, "reverse = forward mode"))
        hti_check_say(c,
                      "they say %.12g and %.12g: an op's vjp and jvp are not of one "
                      "derivative (ht_op_check)",
                      reverse, forward);
}

static void slopes_second(slopes *s)
{
    hti_rule_check *c = s->c;
    ht_set *twice = ht_set_clone(c->point, 0), *other = ht_set_clone(c->point, 0);
    bool ran = twice && other && second_at(s, twice, other);
    double apart = ran ? set_apart(twice, other) : 0;
    if (ran &&
        !hti_check_line(c, apart <= 1e-10, "reverse over reverse = forward over reverse"))
        hti_check_say(c, "they differ by %.1e: an op's jvp is not that of its vjp",
                      apart);
    apart = INFINITY;
    for (double h = 1e-5; ran && apart > 1e-4 && h > 5e-8; h /= 10) {
        ran = second_difference(s, other, h);
        if (ran) apart = fmin(apart, set_apart(twice, other));
    }
    if (ran &&
        !hti_check_line(c, apart <= 1e-4, "second derivatives, against differences"))
        hti_check_say(
            c,
            "they differ by %.1e: a derivative's own derivative is detached, or "
            "jumps there",
            apart);
    ht_set_free(twice);
    ht_set_free(other);
}

/* The first tensor with a value that is not finite; NULL: none. */
static const char *not_finite(const ht_set *set)
{
    for (int i = 0; i < set->n; i++)
        if (hti_not_finite(&set->tensor[i]->array) >= 0) return set->name[i];
    return NULL;
}

/* No gradient at any step, as a unit that is never on has: values and derivatives. */
static void slopes_zero(slopes *s)
{
    hti_rule_check *c = s->c;
    const char *what = "finite where the gradient is 0 at every step";
    ht_set_copy(s->moved, c->point);
    for (int i = c->first[HTI_AT_G]; i < c->first[HTI_PARTS]; i++)
        ht_tensor_fill(s->moved->tensor[i], 0);
    if (!hti_check_run(c, &c->outer, s->moved, 0, c->end) ||
        !gradient_at(s, s->moved, s->gradient, NULL))
        return;
    const char *value = not_finite(c->end), *slope = not_finite(s->gradient);
    if (hti_check_line(c, !value && !slope, what)) return;
    if (value)
        hti_check_say(c, "\"%s\" is not: 0/0? put eps below", value);
    else
        hti_check_say(c,
                      "the derivative by \"%s\" is not: select on what is divided by, or "
                      "stands under a root, not on the result",
                      slope);
}

/* A direction: normal; of the rule's numbers as small as they, or 1 less them, are. */
static void open_along(slopes *s)
{
    const hti_rule_check *c = s->c;
    for (int i = 0; i < c->point->n; i++)
        ht_tensor_normal(s->along->tensor[i], 6000 + (uint64_t)i, 0, 1);
    for (int i = c->first[HTI_AT_ETA] + c->n_users; i < c->first[HTI_AT_G]; i++) {
        double x = ht_tensor_get(c->point->tensor[i], 0);
        ht_tensor_fill(s->along->tensor[i], x < 1 ? fmin(x, 1 - x) : x);
    }
}

static bool slopes_open(slopes *s)
{
    hti_rule_check *c = s->c;
    s->weights = ht_set_clone(c->theta, 0);
    s->along = ht_set_clone(c->point, 0);
    s->at = ht_set_clone(c->point, 0);
    s->moved = ht_set_clone(c->point, 0);
    s->gradient = ht_set_clone(c->point, 0);
    if (c->ctx->status != HT_OK || !hti_check_run(c, &c->outer, c->point, 0, c->end))
        return false;
    for (int i = c->first[HTI_AT_STATE]; i < c->first[HTI_AT_ETA]; i++)
        ht_tensor_copy(s->at->tensor[i], c->end->tensor[i]);
    for (int i = 0; i < c->theta->n; i++)
        ht_tensor_normal(s->weights->tensor[i], 5000 + (uint64_t)i, 0, 1);
    open_along(s);
    return c->ctx->status == HT_OK;
}

void hti_check_slopes(hti_rule_check *c)
{
    slopes s = {.c = c};
    double forward = 0;
    if (slopes_open(&s) && gradient_at(&s, s.at, s.gradient, &forward)) {
        slopes_first(&s);
        slopes_modes(&s, forward);
        slopes_second(&s);
        slopes_zero(&s);
    }
    ht_set *const own[] = {s.weights, s.along, s.at, s.moved, s.gradient};
    for (size_t k = 0; k < sizeof own / sizeof *own; k++) ht_set_free(own[k]);
}
