/* SPDX-License-Identifier: MIT */
/* update_valid.c: what an update is refused for: numbers that are missing, superfluous or
 * out of range, outer variables of a wrong shape, groups that decide nothing. Read next:
 * update.c. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "nn_internal.h"

/* One update under examination. */
typedef struct hti_examined {
    ht_context *ctx;
    const ht_update *u, *main; /* main: the one that has the groups */
    const char *group;         /* the pattern it belongs to; NULL: the main update */
    const ht_set *theta, *eta;
    int64_t steps;
} hti_examined;

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static bool
update_complain(const hti_examined *x, ht_status status, const char *format, ...)
{
    char text[HTI_MESSAGE / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ht_context_fail(x->ctx, status, NULL, "update rule %s%s%s%s: %s", x->u->rule->name,
                    x->group ? " (group \"" : "", x->group ? x->group : "",
                    x->group ? "\")" : "", text);
    return false;
}

static bool outer_check(const hti_examined *x, const char *field, const ht_scalar *s)
{
    if (!s->outer) return true;
    if (!x->eta)
        return update_complain(x, HT_ERROR_ARGUMENT,
                               "%s is an outer variable; plain training needs fixed "
                               "ones: HT_FIXED(value)",
                               field);
    int at = ht_set_find(x->eta, s->outer);
    if (at < 0) {
        char names[HTI_NAMES];
        hti_set_names(names, sizeof names, x->eta->n, x->eta->name);
        return update_complain(x, HT_ERROR_ARGUMENT,
                               "%s is HT_OUTER(\"%s\"), but in eta there is no tensor "
                               "\"%s\"; this set has: %s",
                               field, s->outer, s->outer, names);
    }
    const ht_tensor *tensor = x->eta->tensor[at];
    ht_shape shape = ht_tensor_shape(tensor);
    if (hti_dtype_is_float(ht_tensor_dtype(tensor)) &&
        hti_scalar_layout(shape, x->steps, x->theta->n).valid)
        return true;
    char text[HT_SHAPE_TEXT];
    return update_complain(
        x, hti_dtype_is_float(ht_tensor_dtype(tensor)) ? HT_ERROR_SHAPE : HT_ERROR_DTYPE,
        "%s is outer variable \"%s\" of %s %s; it must be f32 or f64 and () for one "
        "value, (%lld) per step, (%d) per parameter tensor or (%lld, %d) for both\n"
        "  hint: where the two are equal, (steps, 1) or (1, n) says which",
        field, s->outer, ht_dtype_name(ht_tensor_dtype(tensor)),
        ht_shape_text(shape, text), (long long)x->steps, x->theta->n, (long long)x->steps,
        x->theta->n);
}

/* A parameter that follows the update and is too narrow for the number: it would be 0 or
 * infinite beside it. NULL: none. clip is of all that train. */
static const char *too_narrow(const hti_examined *x, const ht_scalar *s)
{
    float narrow = (float)s->value;
    if (s->value == 0 || (narrow != 0 && isfinite(narrow))) return NULL;
    for (int i = 0; i < x->theta->n; i++) {
        const ht_update *own = hti_update_of(x->main, x->theta->name[i]);
        if (own && (own == x->u || s == &x->u->clip) &&
            ht_tensor_dtype(x->theta->tensor[i]) == HT_F32)
            return x->theta->name[i];
    }
    return NULL;
}

/* No scalar of a rule means anything below zero; an average needs a beta below one. */
static bool fixed_check(const hti_examined *x, const char *field, const ht_scalar *s)
{
    const ht_update *u = x->u;
    bool beta = u->rule->has_beta2 && (s == &u->momentum || s == &u->beta2);
    const char *wrong = NULL;
    if (s->outer) return true;
    if (!isfinite(s->value))
        wrong = "is not finite";
    else if (s->value < 0)
        wrong = "is negative";
    else if (beta && s->value >= 1)
        wrong = "is not below 1, as an average needs";
    else if (s->schedule && s->value == 0)
        wrong = "has a schedule, but is zero: a schedule is a factor";
    if (wrong)
        return update_complain(x, HT_ERROR_ARGUMENT,
                               "%s %s\n  hint: usual are a rate of 0.1 (adam 0.001), "
                               "momentum 0.9",
                               field, wrong);
    const char *narrow = too_narrow(x, s);
    return !narrow ||
           update_complain(x, HT_ERROR_ARGUMENT,
                           "%s is %g, which is %s beside parameter \"%s\" of f32\n"
                           "  hint: f32 holds 1.5e-45 to 3.4e38; 0 where that is meant, "
                           "or f64 parameters",
                           field, s->value, s->value < 1 ? "0" : "infinite", narrow);
}

static bool zero_complain(const hti_examined *x, const char *field)
{
    const char *usual = x->u->rule->usual;
    return update_complain(x, HT_ERROR_ARGUMENT,
                           "%s is zero\n  hint: %s%susual are momentum (beta1) 0.9, "
                           "beta2 0.999, eps 1e-8",
                           field, usual ? usual : "",
                           usual ? " has the usual numbers; " : "");
}

static bool field_check(const hti_examined *x, const hti_field *f)
{
    bool zero = hti_scalar_is_zero(f->scalar);
    if (!f->used && !zero)
        return update_complain(x, HT_ERROR_ARGUMENT,
                               "%s is set, but the rule has no such number\n"
                               "  hint: leave it out, or take a rule that has it "
                               "(ht_momentum, ht_adam, ht_adamw, ...)",
                               f->name);
    if (f->used && f->needed && zero) return zero_complain(x, f->name);
    return fixed_check(x, f->name, f->scalar) && outer_check(x, f->name, f->scalar);
}

/* A row as it may be; users write their own. */
static bool row_check(const hti_examined *x)
{
    const ht_update_rule *r = x->u->rule;
    const char *wrong = NULL;
    HT_ASSERT(r->name && r->apply, "an update rule's name or apply is NULL%s%s",
              HTI_AT(x->ctx->site));
    if (r->n_state < 0 || r->n_state > HT_UPDATE_STATES)
        wrong = "n_state must lie in 0 .. HT_UPDATE_STATES";
    for (int k = 0; !wrong && k < r->n_state; k++) {
        if (!r->state[k]) wrong = "a state has no name: there are n_state";
        if (!isfinite(r->initial[k])) wrong = "a state's initial value is not finite";
    }
    for (int k = 1; !wrong && k < HT_UPDATE_OWN; k++)
        if (r->own[k] && !r->own[k - 1]) wrong = "own has a gap: names come first";
    if (!wrong && r->reads_eta && !x->eta)
        wrong = "it reads outer variables, and plain training has none: a bilevel has";
    return !wrong || update_complain(x, HT_ERROR_ARGUMENT, "%s", wrong);
}

static bool fields_check(const hti_examined *x)
{
    hti_field field[HTI_FIELDS];
    if (!row_check(x)) return false;
    hti_update_fields(x->u, field);
    for (int k = 0; k < HTI_FIELDS; k++)
        if (!field_check(x, &field[k])) return false;
    return true;
}

static bool parameters_check(const hti_examined *x)
{
    const ht_set *theta = x->theta;
    bool trained = false;
    for (int i = 0; i < theta->n; i++) {
        ht_dtype dtype = ht_tensor_dtype(theta->tensor[i]);
        if (!hti_dtype_is_float(dtype))
            return update_complain(x, HT_ERROR_DTYPE,
                                   "parameter \"%s\" is %s; it must be f32 or f64",
                                   theta->name[i], ht_dtype_name(dtype));
        trained = trained || hti_update_of(x->u, theta->name[i]);
    }
    if (trained) return true;
    return update_complain(x, HT_ERROR_ARGUMENT, "%s: nothing to train",
                           theta->n ? "every parameter is frozen" : "theta is empty");
}

static bool group_matches(const ht_set *theta, const char *pattern)
{
    for (int i = 0; i < theta->n; i++)
        if (ht_name_matches(pattern, theta->name[i])) return true;
    return false;
}

/* One group: its pattern, then its update like any other, but for what only the main one
 * may have. */
static bool group_check(const hti_examined *outside, const ht_update_group *group)
{
    hti_examined x = *outside;
    char names[HTI_MESSAGE / 4];
    HT_ASSERT(group->pattern,
              "the pattern of a group is NULL; \"*\" matches all names%s%s",
              HTI_AT(x.ctx->site));
    hti_set_names(names, sizeof names, x.theta->n, x.theta->name);
    if (!group_matches(x.theta, group->pattern))
        return update_complain(&x, HT_ERROR_ARGUMENT,
                               "group \"%s\" matches no parameter; they are: %s",
                               group->pattern, names);
    if (!group->update) return true;
    HT_ASSERT(group->update->rule, "the rule of group \"%s\" is NULL%s%s", group->pattern,
              HTI_AT(x.ctx->site));
    x.u = group->update;
    x.group = group->pattern;
    if (x.u->n_groups)
        return update_complain(&x, HT_ERROR_ARGUMENT,
                               "has groups of its own\n  hint: list all groups in "
                               "the main update; the first that matches counts");
    if (!hti_scalar_is_zero(&x.u->clip))
        return update_complain(&x, HT_ERROR_ARGUMENT,
                               "clip is set, but the norm is of all groups together"
                               "\n  hint: set clip in the main update, or clip_value "
                               "here");
    return fields_check(&x);
}

bool hti_update_valid(ht_context *ctx, const ht_update *u, const ht_set *theta,
                      const ht_set *eta, int64_t steps)
{
    HT_ASSERT(u->rule,
              "%s: update.rule is NULL: &ht_sgd, &ht_momentum, &ht_adam, ..., or "
              "HT_ADAM(1e-3) for a whole update%s%s",
              eta ? "ht_bilevel_new" : "ht_optimizer_new", HTI_AT(ctx->site));
    HT_ASSERT(u->n_groups == 0 || (u->n_groups > 0 && u->groups),
              "update.groups is %p, n_groups %d%s%s", (const void *)u->groups,
              u->n_groups, HTI_AT(ctx->site));
    hti_examined x = {
        .ctx = ctx, .u = u, .main = u, .theta = theta, .eta = eta, .steps = steps};
    if (u->groups && !u->n_groups)
        return update_complain(&x, HT_ERROR_ARGUMENT,
                               "groups are given, but n_groups is 0\n"
                               "  hint: how many are there? NULL is none");
    if (!fields_check(&x)) return false;
    for (int k = 0; k < u->n_groups; k++)
        if (!group_check(&x, &u->groups[k])) return false;
    return parameters_check(&x);
}
