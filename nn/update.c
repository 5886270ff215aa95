/* SPDX-License-Identifier: MIT */
/* update.c: a step of an update rule appended to a tape: which parameter follows which
 * rule, clipping and decay, scalars of this step. Plain training replays it; bilevel/
 * differentiates it. Read next: update_valid.c, optimizer.c. */
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

void hti_update_fields(const ht_update *u, hti_field field[HTI_FIELDS])
{
    const ht_update_rule *r = u->rule;
    bool rooted = r->has_eps && !hti_scalar_is_zero(&u->eps_root);
    const hti_field first[] = {
        {"rate", &u->rate, true, true},
        {"momentum", &u->momentum, r->has_momentum, true},
        {"beta2", &u->beta2, r->has_beta2, true},
        {"eps", &u->eps, r->has_eps, !rooted},
        {"decay", &u->decay, true, false},
        {"clip", &u->clip, true, false},
        {"clip_value", &u->clip_value, true, false},
        {"eps_root", &u->eps_root, r->has_eps, false},
    };
    memcpy(field, first, sizeof first);
    for (int k = 0; k < HT_UPDATE_OWN; k++) {
        const char *own = r->own[k];
        field[8 + k] = (hti_field){own ? own : "own", &u->own[k], own != NULL, true};
    }
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
    hti_field field[HTI_FIELDS];
    hti_update_fields(u, field);
    for (int k = 0; k < HTI_FIELDS; k++)
        if (scalar_by_step(field[k].scalar, theta, eta, steps)) return true;
    for (int k = 0; k < u->n_groups; k++)
        if (u->groups[k].update &&
            hti_update_by_step(u->groups[k].update, theta, eta, steps))
            return true;
    return false;
}

/* State. */

/* Adds state k of parameter i under "name.part", as it begins. */
static bool state_add(ht_set *state, const ht_set *theta, int i,
                      const ht_update_rule *rule, int k)
{
    const ht_tensor *w = theta->tensor[i];
    const char *part = rule->state[k];
    ht_shape shape = ht_tensor_shape(w);
    if (rule->shape) shape = rule->shape(k, shape);
    size_t bytes = strlen(theta->name[i]) + strlen(part) + 2;
    char *name = hti_resize(state->ctx, NULL, 0, bytes);
    if (!name) return false;
    snprintf(name, bytes, "%s.%s", theta->name[i], part);
    ht_tensor *added = ht_set_add_at(state, name, ht_tensor_dtype(w), shape, NULL);
    hti_resize(state->ctx, name, bytes, 0);
    if (added && rule->initial[k] != 0) ht_tensor_fill(added, rule->initial[k]);
    return added != NULL;
}

ht_set *hti_update_state(const ht_update *u, const ht_set *theta)
{
    ht_set *state = ht_set_new(theta->ctx);
    for (int i = 0; state && i < theta->n; i++) {
        const ht_update *own = hti_update_of(u, theta->name[i]);
        for (int k = 0; own && k < own->rule->n_state; k++) {
            if (state_add(state, theta, i, own->rule, k)) continue;
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

/* |g| over all of g that trains, f64; HT_ZERO if clipping is off. */
static ht_var clip_norm(const hti_emit *e, const ht_var *g)
{
    if (hti_scalar_is_zero(&e->u->clip)) return HT_ZERO;
    ht_var total = HT_ZERO, one = ht_number(1);
    for (int i = 0; i < e->theta->n; i++) {
        const ht_update *own = hti_update_of(e->u, e->theta->name[i]);
        if (!own) continue;
        ht_var part = hti_norm_of(clip_value(e, own, g[i], i));
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

/* All that a row may not have. */
static ht_update_step step_empty(ht_var w)
{
    ht_update_step s = {.w = w};
    s.momentum = s.beta2 = s.eps = s.eps_root = s.decay = HT_ZERO;
    for (int k = 0; k < HT_UPDATE_OWN; k++) s.own[k] = HT_ZERO;
    return s;
}

/* Parameter i's step but for its state. */
static ht_update_step step_of(const hti_emit *e, const ht_update *own, ht_var norm,
                              ht_var g, int i)
{
    const ht_update_rule *rule = own->rule;
    ht_update_step s = step_empty(e->theta->var[i]);
    s.g = clipped(e, norm, clip_value(e, own, g, i), i);
    if (!hti_scalar_is_zero(&own->decay)) s.decay = scalar_var(e, &own->decay, i);
    if (!rule->decays_itself) s.g = decayed(s.decay, s.w, s.g);
    s.rate = scalar_var(e, &own->rate, i);
    if (rule->has_momentum) s.momentum = scalar_var(e, &own->momentum, i);
    if (rule->has_momentum && e->momentum) s.momentum = e->momentum(s.momentum);
    if (rule->has_beta2) s.beta2 = scalar_var(e, &own->beta2, i);
    if (rule->has_eps) s.eps = scalar_var(e, &own->eps, i);
    if (!hti_scalar_is_zero(&own->eps_root))
        s.eps_root = scalar_var(e, &own->eps_root, i);
    for (int k = 0; k < HT_UPDATE_OWN; k++)
        if (rule->own[k]) s.own[k] = scalar_var(e, &own->own[k], i);
    s.eta = rule->reads_eta ? e->eta : NULL;
    s.user = own->user;
    s.t = ht_add(ht_cast(e->theta->step, HT_F64), 1.0);
    return s;
}

/* What a rule made in place of `was`, of its type; or an error that calls it `what`. */
static ht_var made(const hti_emit *e, const ht_update_rule *rule, int i, const char *what,
                   ht_var was, ht_var now)
{
    if (hti_is_poison(now) || ht_is_zero(now)) return now;
    char got[HTI_TYPE_TEXT], want[HTI_TYPE_TEXT];
    bool set = now.tape == e->tape;
    ht_type type = set ? hti_type(now) : (ht_type){0}, like = hti_type(was);
    if (set && hti_same_type(&type, &like)) return now;
    ht_context_fail(ht_tape_context(e->tape), set ? HT_ERROR_SHAPE : HT_ERROR_ARGUMENT,
                    NULL, "update rule %s: %s of parameter \"%s\" is %s; it must be %s%s",
                    rule->name, what, e->theta->name[i],
                    set ? hti_type_text(type, got) : "not set",
                    set ? "" : "a variable of this tape, ", hti_type_text(like, want));
    return hti_poison(e->tape);
}

/* Whether a rule left the inputs of its step alone; one that is replaced would be read as
 * the new value where the old one is meant. */
static bool kept(const hti_emit *e, const ht_update_rule *rule, int i,
                 const ht_update_step *given, const ht_update_step *now)
{
    const char *replaced = NULL;
    if (now->w.index != given->w.index) replaced = "w";
    if (now->g.index != given->g.index) replaced = "g";
    for (int k = 0; k < rule->n_state; k++)
        if (now->state[k].index != given->state[k].index) replaced = rule->state[k];
    if (!replaced) return true;
    ht_context_fail(
        ht_tape_context(e->tape), HT_ERROR_ARGUMENT, NULL,
        "update rule %s: the step of parameter \"%s\" writes over its input "
        "%s, which what follows reads as new where the old one is meant\n"
        "  hint: new values go to new_w and new_state; a variable of your own "
        "for what is between",
        rule->name, e->theta->name[i], replaced);
    return false;
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
        ht_update_step s = step_of(&e, own, norm, gradient[i], i);
        for (int k = 0; k < n_state; k++) s.state[k] = state->var[at + k];
        const ht_update_step given = s;
        own->rule->apply(&s);
        if (!kept(&e, own->rule, i, &given, &s)) return;
        new_theta[i] = made(&e, own->rule, i, "new_w", given.w, s.new_w);
        for (int k = 0; k < n_state; k++, at++)
            new_state[at] = made(&e, own->rule, i, own->rule->state[k], state->var[at],
                                 s.new_state[k]);
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
