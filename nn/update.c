/* SPDX-License-Identifier: MIT */
/* update.c: update rules, each one function that appends a step to a tape. Plain training
 * replays it; bilevel/ differentiates it. Scalars are 0-d f64 variables, so that 1 -
 * beta^t keeps its digits; they meet the parameters' dtype at the last moment. Read next:
 * optimizer.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"

/* A 0-d f64 scalar for use beside x. */
static ht_var hti_beside(ht_var scalar, ht_var x)
{
    return ht_cast(scalar, ht_var_dtype(x));
}

static void hti_sgd_apply(hti_step *s)
{
    s->new_w = ht_sub(s->w, ht_mul(hti_beside(s->rate, s->w), s->g));
}

static void hti_momentum_apply(hti_step *s)
{
    s->new_state[0] = ht_add(ht_mul(hti_beside(s->momentum, s->w), s->state[0]), s->g);
    s->new_w = ht_sub(s->w, ht_mul(hti_beside(s->rate, s->w), s->new_state[0]));
}

/* beta a + (1 - beta) b */
static ht_var hti_average(ht_var beta, ht_var a, ht_var b)
{
    return ht_add(ht_mul(hti_beside(beta, a), a),
                  ht_mul(hti_beside(ht_sub(1.0, beta), a), b));
}

static void hti_adam_apply(hti_step *s)
{
    ht_var correction1 = ht_sub(1.0, ht_pow(s->momentum, s->t));
    ht_var correction2 = ht_sub(1.0, ht_pow(s->beta2, s->t));
    ht_var m = hti_average(s->momentum, s->state[0], s->g);
    ht_var v = hti_average(s->beta2, s->state[1], ht_square(s->g));
    ht_var scale = hti_beside(ht_sqrt(correction2), s->w);
    ht_var below = ht_add(ht_div(ht_sqrt(v), scale), hti_beside(s->eps, s->w));
    ht_var size = hti_beside(ht_div(s->rate, correction1), s->w);
    s->new_state[0] = m;
    s->new_state[1] = v;
    s->new_w = ht_sub(s->w, ht_div(ht_mul(size, m), below));
}

const ht_update_rule ht_sgd = {.name = "sgd", .apply = hti_sgd_apply};
const ht_update_rule ht_momentum = {.name = "momentum",
                                    .n_state = 1,
                                    .state = {"s"},
                                    .has_momentum = true,
                                    .apply = hti_momentum_apply};
const ht_update_rule ht_adam = {.name = "adam",
                                .n_state = 2,
                                .state = {"m", "v"},
                                .has_momentum = true,
                                .has_beta2 = true,
                                .has_eps = true,
                                .apply = hti_adam_apply};

/* Checking. */

static bool hti_scalar_is_zero(const ht_scalar *s)
{
    return !s->outer && s->value == 0;
}

/* How an outer scalar's tensor is read. */
typedef struct hti_scalar_axes {
    bool valid, per_step, per_tensor;
} hti_scalar_axes;

static hti_scalar_axes hti_scalar_layout(ht_shape shape, int64_t steps, int64_t n)
{
    hti_scalar_axes a = {.valid = shape.rank == 0};
    if (shape.rank == 1) {
        a.per_step = shape.dim[0] == steps;
        /* One step of one tensor: both readings are the same. */
        a.per_tensor = shape.dim[0] == n && (steps != 1 || n != 1);
        a.valid = a.per_step != a.per_tensor;
    } else if (shape.rank == 2) {
        a.per_step = shape.dim[0] == steps;
        a.per_tensor = shape.dim[1] == n;
        a.valid =
            (a.per_step || shape.dim[0] == 1) && (a.per_tensor || shape.dim[1] == 1);
    }
    return a;
}

static bool hti_update_complain(ht_context *ctx, const ht_update *u, const char *field,
                                const char *text)
{
    ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL, "update rule %s: %s %s", u->rule->name,
                    field, text);
    return false;
}

static bool hti_outer_check(ht_context *ctx, const ht_update *u, const char *field,
                            const ht_scalar *s, const ht_set *theta, const ht_set *eta,
                            int64_t steps)
{
    if (!s->outer) return true;
    if (!eta)
        return hti_update_complain(ctx, u, field,
                                   "is an outer variable; plain training "
                                   "needs fixed ones: HT_FIXED(value)");
    const ht_tensor *tensor = ht_set_tensor(eta, s->outer);
    if (!tensor) return false;
    ht_shape shape = ht_tensor_shape(tensor);
    if (hti_dtype_is_float(ht_tensor_dtype(tensor)) &&
        hti_scalar_layout(shape, steps, theta->n).valid)
        return true;
    char text[HT_SHAPE_TEXT];
    ht_context_fail(
        ctx, HT_ERROR_SHAPE, NULL,
        "update rule %s: %s is outer variable \"%s\" of %s %s; it must be f32 or f64 "
        "and () for one value, (%lld) per step, (%d) per parameter tensor or "
        "(%lld, %d) for both\n  hint: where the two are equal, (steps, 1) or "
        "(1, n) says which",
        u->rule->name, field, s->outer, ht_dtype_name(ht_tensor_dtype(tensor)),
        ht_shape_text(shape, text), (long long)steps, theta->n, (long long)steps,
        theta->n);
    return false;
}

/* No scalar of a rule means anything below zero; an average needs a beta below one. */
static bool hti_fixed_check(ht_context *ctx, const ht_update *u, const char *field,
                            const ht_scalar *s)
{
    if (s->outer) return true;
    bool beta = u->rule->has_beta2 && (s == &u->momentum || s == &u->beta2);
    if (!isfinite(s->value)) return hti_update_complain(ctx, u, field, "is not finite");
    if (s->value < 0) return hti_update_complain(ctx, u, field, "is negative");
    if (beta && s->value >= 1)
        return hti_update_complain(ctx, u, field, "is not below 1, as an average needs");
    return true;
}

static bool hti_parameters_check(ht_context *ctx, const ht_update *u, const ht_set *theta)
{
    if (!theta->n)
        return hti_update_complain(ctx, u, "theta", "is empty: nothing to train");
    for (int i = 0; i < theta->n; i++) {
        ht_dtype dtype = ht_tensor_dtype(theta->tensor[i]);
        if (hti_dtype_is_float(dtype)) continue;
        ht_context_fail(ctx, HT_ERROR_DTYPE, NULL,
                        "update rule %s: parameter \"%s\" is %s; it must be f32 or f64",
                        u->rule->name, theta->name[i], ht_dtype_name(dtype));
        return false;
    }
    return true;
}

bool hti_update_check(ht_context *ctx, const ht_update *u, const ht_set *theta,
                      const ht_set *eta, int64_t steps)
{
    HT_ASSERT(u->rule, "update.rule is NULL: &ht_sgd, &ht_momentum or &ht_adam");
    const struct {
        const char *name;
        const ht_scalar *scalar;
        bool used, needed;
    } field[] = {
        {"rate", &u->rate, true, true},
        {"momentum", &u->momentum, u->rule->has_momentum, false},
        {"beta2", &u->beta2, u->rule->has_beta2, true},
        {"eps", &u->eps, u->rule->has_eps, true},
        {"decay", &u->decay, true, false},
        {"clip", &u->clip, true, false},
    };
    for (size_t k = 0; k < sizeof field / sizeof field[0]; k++) {
        bool zero = hti_scalar_is_zero(field[k].scalar);
        if (!field[k].used && !zero)
            return hti_update_complain(ctx, u, field[k].name,
                                       "is set, but the rule has no such "
                                       "number");
        if (field[k].used && field[k].needed && zero)
            return hti_update_complain(
                ctx, u, field[k].name,
                "is zero\n  hint: usual are rate 0.1 (adam 0.001), beta2 "
                "0.999, eps 1e-8");
        if (!hti_fixed_check(ctx, u, field[k].name, field[k].scalar) ||
            !hti_outer_check(ctx, u, field[k].name, field[k].scalar, theta, eta, steps))
            return false;
    }
    return hti_parameters_check(ctx, u, theta);
}

/* State. */

/* Adds zeros like parameter i's under "name.part". */
static bool hti_state_add(ht_set *state, const ht_set *theta, int i, const char *part)
{
    const ht_tensor *w = theta->tensor[i];
    size_t bytes = strlen(theta->name[i]) + strlen(part) + 2;
    char *name = hti_resize(state->ctx, NULL, 0, bytes);
    if (!name) return false;
    snprintf(name, bytes, "%s.%s", theta->name[i], part);
    bool done = ht_set_add(state, name, ht_tensor_dtype(w), ht_tensor_shape(w)) != NULL;
    hti_resize(state->ctx, name, bytes, 0);
    return done;
}

ht_set *hti_update_state(const ht_update *u, const ht_set *theta)
{
    ht_set *state = ht_set_new(theta->ctx);
    for (int i = 0; state && i < theta->n; i++) {
        for (int k = 0; k < u->rule->n_state; k++) {
            if (hti_state_add(state, theta, i, u->rule->state[k])) continue;
            ht_set_free(state);
            return NULL;
        }
    }
    return state;
}

/* Emitting. */

/* What hti_update_emit's helpers share. */
typedef struct hti_emit {
    const ht_update *u;
    const ht_vars *theta, *eta;
    int64_t steps;
    ht_tape *tape;
} hti_emit;

/* The scalar for parameter tensor i in this step, 0-d f64. */
static ht_var hti_scalar_var(const hti_emit *e, const ht_scalar *s, int i)
{
    if (!s->outer) return hti_constant(e->tape, s->value, HT_F64, false, NULL);
    ht_var x = ht_get(e->eta, s->outer);
    if (hti_is_poison(x)) return x;
    ht_shape shape = ht_var_shape(x);
    hti_scalar_axes a = hti_scalar_layout(shape, e->steps, e->theta->n);
    if (a.per_step)
        x = ht_gather(x, e->theta->step);
    else if (shape.rank == 2)
        x = ht_reshape(x, HT_SHAPE(shape.dim[1]));
    if (a.per_tensor) x = ht_slice(x, 0, i, 1, 1);
    return ht_cast(ht_reshape(x, HT_SCALAR), HT_F64);
}

/* |g| over all of g, f64; HT_ZERO if clipping is off. */
static ht_var hti_clip_norm(const hti_emit *e, const ht_var *g)
{
    if (hti_scalar_is_zero(&e->u->clip)) return HT_ZERO;
    ht_var total = HT_ZERO;
    for (int i = 0; i < e->theta->n; i++)
        total = ht_add(total, ht_cast(ht_sum(ht_square(g[i])), HT_F64));
    return ht_sqrt(total);
}

/* g min(1, clip/norm). The norm is one for all; a clip per tensor scales its own. */
static ht_var hti_clip(const hti_emit *e, ht_var norm, ht_var g, int i)
{
    if (ht_is_zero(norm)) return g;
    ht_var clip = hti_scalar_var(e, &e->u->clip, i), over = ht_greater(norm, clip);
    ht_var scale = ht_where(over, ht_div(clip, ht_where(over, norm, 1.0)), 1.0);
    return ht_mul(g, hti_beside(scale, g));
}

void hti_update_emit(const ht_update *u, const ht_vars *theta, const ht_vars *state,
                     const ht_vars *eta, int64_t steps, const ht_var *gradient,
                     ht_var *new_theta, ht_var *new_state)
{
    hti_emit e = {u, theta, eta, steps, theta->tape};
    ht_var norm = hti_clip_norm(&e, gradient);
    int n_state = u->rule->n_state;
    for (int i = 0; i < theta->n; i++) {
        hti_step s = {.w = theta->var[i], .g = hti_clip(&e, norm, gradient[i], i)};
        if (!hti_scalar_is_zero(&u->decay))
            s.g = ht_add(s.g,
                         ht_mul(hti_beside(hti_scalar_var(&e, &u->decay, i), s.w), s.w));
        s.rate = hti_scalar_var(&e, &u->rate, i);
        if (u->rule->has_momentum) s.momentum = hti_scalar_var(&e, &u->momentum, i);
        if (u->rule->has_beta2) s.beta2 = hti_scalar_var(&e, &u->beta2, i);
        if (u->rule->has_eps) s.eps = hti_scalar_var(&e, &u->eps, i);
        s.t = ht_add(ht_cast(theta->step, HT_F64), 1.0);
        for (int k = 0; k < n_state; k++) s.state[k] = state->var[i * n_state + k];
        u->rule->apply(&s);
        new_theta[i] = s.new_w;
        for (int k = 0; k < n_state; k++) new_state[i * n_state + k] = s.new_state[k];
    }
}
