/* SPDX-License-Identifier: MIT */
/* update.c: a step of an update rule appended to a tape: which parameter follows which
 * rule, clipping and decay, scalars of this step. Plain training replays it; bilevel/
 * differentiates it. Read next: update_check.c, optimizer.c. */
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"

ht_update ht_update_of(const ht_update_rule *rule, double rate, double momentum,
                       double beta2, double eps, double decay)
{
    HT_ASSERT(rule, "ht_update_of: the rule is NULL");
    return (ht_update){.rule = rule,
                       .rate = HT_FIXED(rate),
                       .momentum = HT_FIXED(momentum),
                       .beta2 = HT_FIXED(beta2),
                       .eps = HT_FIXED(eps),
                       .decay = HT_FIXED(decay)};
}

/* Groups. */

const ht_update *hti_update_of(const ht_update *u, const char *name)
{
    for (int k = 0; k < u->n_groups; k++)
        if (ht_name_matches(u->groups[k].pattern, name)) return u->groups[k].update;
    return u;
}

/* Scalars. */

bool hti_scalar_is_zero(const ht_scalar *s)
{
    return !s->outer && s->value == 0;
}

hti_scalar_axes hti_scalar_layout(ht_shape shape, int64_t steps, int64_t n)
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

static bool scalar_by_step(const ht_scalar *s, const ht_set *theta, const ht_set *eta,
                           int64_t steps)
{
    if (!s->outer) return false;
    ht_shape shape = ht_tensor_shape(eta->tensor[ht_set_find(eta, s->outer)]);
    return hti_scalar_layout(shape, steps, theta->n).per_step;
}

bool hti_update_by_step(const ht_update *u, const ht_set *theta, const ht_set *eta,
                        int64_t steps)
{
    const ht_scalar *const scalar[] = {&u->rate,  &u->momentum, &u->beta2,     &u->eps,
                                       &u->decay, &u->clip,     &u->clip_value};
    for (size_t k = 0; k < sizeof scalar / sizeof *scalar; k++)
        if (scalar_by_step(scalar[k], theta, eta, steps)) return true;
    for (int k = 0; k < u->n_groups; k++)
        if (u->groups[k].update &&
            hti_update_by_step(u->groups[k].update, theta, eta, steps))
            return true;
    return false;
}

/* State. */

/* Adds zeros like parameter i's under "name.part". */
static bool state_add(ht_set *state, const ht_set *theta, int i, const char *part)
{
    const ht_tensor *w = theta->tensor[i];
    size_t bytes = strlen(theta->name[i]) + strlen(part) + 2;
    char *name = hti_resize(state->ctx, NULL, 0, bytes);
    if (!name) return false;
    snprintf(name, bytes, "%s.%s", theta->name[i], part);
    bool done =
        ht_set_add_at(state, name, ht_tensor_dtype(w), ht_tensor_shape(w), NULL) != NULL;
    hti_resize(state->ctx, name, bytes, 0);
    return done;
}

ht_set *hti_update_state(const ht_update *u, const ht_set *theta)
{
    ht_set *state = ht_set_new(theta->ctx);
    for (int i = 0; state && i < theta->n; i++) {
        const ht_update *own = hti_update_of(u, theta->name[i]);
        for (int k = 0; own && k < own->rule->n_state; k++) {
            if (state_add(state, theta, i, own->rule->state[k])) continue;
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
    ht_var (*momentum)(ht_var);
} hti_emit;

/* The scalar for parameter tensor i, before its schedule, 0-d f64. */
static ht_var scalar_base(const hti_emit *e, const ht_scalar *s, int i)
{
    if (!s->outer) return hti_constant(e->tape, s->value, HT_F64, false, NULL);
    ht_var x = ht_get_at(e->eta, s->outer, NULL);
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

/* The scalar for parameter tensor i in this step, 0-d f64. */
static ht_var scalar_var(const hti_emit *e, const ht_scalar *s, int i)
{
    ht_var base = scalar_base(e, s, i);
    if (!s->schedule) return base;
    ht_var factor = s->schedule(e->theta->step, s->user);
    if (hti_is_poison(factor)) return factor;
    HT_ASSERT(factor.tape == e->tape, "a schedule gave a variable of another tape");
    ht_shape shape = ht_var_shape(factor);
    if (shape.rank == 0) return ht_mul(base, ht_cast(factor, HT_F64));
    char text[HT_SHAPE_TEXT];
    ht_context_fail(ht_tape_context(e->tape), HT_ERROR_SHAPE, NULL,
                    "update rule %s: a schedule gave %s; it must give one number, ()",
                    e->u->rule->name, ht_shape_text(shape, text));
    return hti_poison(e->tape);
}

/* g with each element cut, for an update that clips values. */
static ht_var clip_value(const hti_emit *e, const ht_update *own, ht_var g, int i)
{
    double fixed;
    if (hti_scalar_is_zero(&own->clip_value)) return g;
    ht_var most = scalar_var(e, &own->clip_value, i);
    if (hti_is_constant(most, &fixed)) return ht_clamp(g, -fixed, fixed);
    most = hti_beside(most, g);
    return ht_clamp(g, ht_neg(most), most);
}

/* |g| of one tensor, f64, which holds the squares of every f32. */
static ht_var norm_of(ht_var g)
{
    if (ht_var_dtype(g) == HT_F32) return ht_sqrt(ht_sum(ht_square(ht_cast(g, HT_F64))));
    ht_axes all = {.n = ht_var_shape(g).rank};
    for (int i = 0; i < all.n; i++) all.axis[i] = i;
    return ht_norm_axes(g, all, false);
}

/* |g| over all of g that trains, f64; HT_ZERO if clipping is off. */
static ht_var clip_norm(const hti_emit *e, const ht_var *g)
{
    if (hti_scalar_is_zero(&e->u->clip)) return HT_ZERO;
    ht_var total = HT_ZERO, one = ht_number(1);
    for (int i = 0; i < e->theta->n; i++) {
        const ht_update *own = hti_update_of(e->u, e->theta->name[i]);
        if (!own) continue;
        ht_var part = norm_of(clip_value(e, own, g[i], i));
        total =
            ht_is_zero(total) ? part : hti_weighted_hypot(one, total, one, part, HT_HERE);
    }
    return total;
}

/* g min(1, clip/norm). The norm is one for all; a clip per tensor scales its own. Where
 * the norm is not finite no direction is left: all are NaN, by inf - inf where it is
 * infinite. Of f32 too all that is f64: clip/norm may be below all f32. g is divided
 * first, since the derivative of clip/norm, clip/norm^2, may be below all f64. */
static ht_var clipped(const hti_emit *e, ht_var norm, ht_var g, int i)
{
    if (ht_is_zero(norm)) return g;
    ht_var clip = scalar_var(e, &e->u->clip, i);
    ht_var within = ht_greater_equal(clip, norm);
    ht_var most = ht_where(within, 1.0, ht_add(norm, ht_sub(norm, norm)));
    ht_var part = ht_div(ht_cast(g, HT_F64), most);
    return ht_cast(ht_mul(part, ht_where(within, 1.0, clip)), ht_var_dtype(g));
}

/* g + decay w. */
static ht_var decayed(ht_var decay, ht_var w, ht_var g)
{
    return ht_is_zero(decay) ? g : ht_add(g, ht_mul(hti_beside(decay, w), w));
}

/* Parameter i's step but for its state. */
static hti_step step_of(const hti_emit *e, const ht_update *own, ht_var norm, ht_var g,
                        int i)
{
    const ht_update_rule *rule = own->rule;
    hti_step s = {.w = e->theta->var[i], .decay = HT_ZERO};
    s.g = clipped(e, norm, clip_value(e, own, g, i), i);
    if (!hti_scalar_is_zero(&own->decay)) s.decay = scalar_var(e, &own->decay, i);
    if (!rule->decays_itself) s.g = decayed(s.decay, s.w, s.g);
    s.rate = scalar_var(e, &own->rate, i);
    if (rule->has_momentum) s.momentum = scalar_var(e, &own->momentum, i);
    if (rule->has_momentum && e->momentum) s.momentum = e->momentum(s.momentum);
    if (rule->has_beta2) s.beta2 = scalar_var(e, &own->beta2, i);
    if (rule->has_eps) s.eps = scalar_var(e, &own->eps, i);
    s.t = ht_add(ht_cast(e->theta->step, HT_F64), 1.0);
    return s;
}

void hti_update_emit(const ht_update *u, const ht_vars *theta, const ht_vars *state,
                     const ht_vars *eta, int64_t steps, const ht_var *gradient,
                     ht_var (*momentum)(ht_var), ht_var *new_theta, ht_var *new_state)
{
    hti_emit e = {u, theta, eta, steps, theta->tape, momentum};
    ht_var norm = clip_norm(&e, gradient);
    int at = 0;
    for (int i = 0; i < theta->n; i++) {
        const ht_update *own = hti_update_of(u, theta->name[i]);
        new_theta[i] = theta->var[i];
        if (!own) continue;
        int n_state = own->rule->n_state;
        hti_step s = step_of(&e, own, norm, gradient[i], i);
        for (int k = 0; k < n_state; k++) s.state[k] = state->var[at + k];
        own->rule->apply(&s);
        new_theta[i] = s.new_w;
        for (int k = 0; k < n_state; k++) new_state[at++] = s.new_state[k];
    }
}

bool hti_update_decays_itself(const ht_update *u, const ht_set *theta)
{
    for (int i = 0; i < theta->n; i++) {
        const ht_update *own = hti_update_of(u, theta->name[i]);
        if (own && own->rule->decays_itself && !hti_scalar_is_zero(&own->decay))
            return true;
    }
    return false;
}

void hti_update_descent(const ht_update *u, const ht_vars *theta, const ht_vars *eta,
                        int64_t steps, const ht_var *gradient, ht_var *descent)
{
    hti_emit e = {u, theta, eta, steps, theta->tape, NULL};
    for (int i = 0; i < theta->n; i++) {
        const ht_update *own = hti_update_of(u, theta->name[i]);
        if (!own) continue;
        ht_var decay = HT_ZERO;
        if (!hti_scalar_is_zero(&own->decay)) decay = scalar_var(&e, &own->decay, i);
        descent[i] = decayed(decay, theta->var[i], gradient[i]);
    }
}

void hti_update_speeds(const ht_update *u, const ht_vars *theta, const ht_vars *eta,
                       int64_t steps, ht_var *speeds)
{
    hti_emit e = {u, theta, eta, steps, theta->tape, NULL};
    for (int i = 0; i < theta->n; i++) {
        const ht_update *own = hti_update_of(u, theta->name[i]);
        if (!own) continue;
        *speeds++ = scalar_var(&e, &own->rate, i);
        *speeds++ = scalar_var(&e, &own->momentum, i);
    }
}
