/* SPDX-License-Identifier: MIT */
/* vars.c: a set's tensors as variables of a tape, by name. Read next: layers.c. */
#include <string.h>

#include "nn_internal.h"

/* The set's names in the tape's memory: the set's own list moves when it grows. The texts
 * too, unless the tape borrows the tensors, and so keeps the set. */
static char **vars_names(ht_tape *tape, const ht_set *set)
{
    bool borrows = hti_tape_policy(tape) == HT_EAGER;
    size_t list = (size_t)set->n * sizeof(char *), texts = 0;
    for (int i = 0; !borrows && i < set->n; i++) texts += strlen(set->name[i]) + 1;
    char **name = hti_tape_alloc(tape, list + texts);
    char *text = hti_at(name, (int64_t)list);
    for (int i = 0; name && i < set->n; i++) {
        name[i] = set->name[i];
        if (borrows) continue;
        size_t bytes = strlen(name[i]) + 1;
        name[i] = memcpy(text, name[i], bytes);
        text += bytes;
    }
    return name;
}

/* Those of before a reset, and those that now lie where they lay, would be one to the
 * eye: so the place alternates, and the other one is left as nobody's. */
static ht_vars *vars_place(ht_tape *tape)
{
    ht_vars *pair = hti_tape_alloc(tape, 2 * sizeof *pair);
    int now = hti_tape_resets(tape) & 1;
    if (!pair) return NULL;
    pair[1 - now] = (ht_vars){.tape = NULL};
    return &pair[now];
}

void hti_vars_check(const ht_vars *vars, const char *who, const char *site)
{
    HT_ASSERT(vars, "%s: vars is NULL (did making them fail? see ht_check)%s%s", who,
              HTI_AT(site));
    HT_ASSERT(vars->tape,
              "%s: stale variables: the tape was reset since they were made; call "
              "ht_vars_input again after each ht_tape_reset%s%s",
              who, HTI_AT(site));
}

ht_vars *hti_vars_new(ht_tape *tape, const ht_set *set, ht_var step)
{
    ht_vars *vars = vars_place(tape);
    ht_var *var = hti_tape_alloc(tape, (size_t)set->n * sizeof *var);
    char **name = vars_names(tape, set);
    if (!vars || !var || !name) return NULL;
    for (int i = 0; i < set->n; i++) var[i] = hti_poison(tape);
    *vars = (ht_vars){tape, set->n, set, name, var, step};
    return vars;
}

bool hti_step_counts(ht_context *ctx, int32_t step, const char *who, const char *site)
{
    return step >= 0 || ht_context_fail(ctx, HT_ERROR_ARGUMENT, site,
                                        "%s: step is %d; it counts the steps done, from "
                                        "0\n  hint: 0 where nothing depends on it",
                                        who, (int)step) == HT_OK;
}

/* The counter as a constant: a tape of its own is made for each step. */
static ht_var step_constant(ht_tape *tape, int32_t step)
{
    return hti_constant(tape, step, HT_I32, false, NULL);
}

ht_vars *ht_vars_input_at(ht_tape *tape, const ht_set *set, int32_t step,
                          const char *site)
{
    HT_ASSERT(tape && set, "ht_vars_input: tape %p, set %p", (void *)tape,
              (const void *)set);
    HTI_ALIVE(set, "ht_vars_input", "set");
    ht_context *ctx = ht_tape_context(tape);
    if (ctx->status != HT_OK || !hti_step_counts(ctx, step, "ht_vars_input", site))
        return NULL;
    ht_vars *vars = hti_vars_new(tape, set, step_constant(tape, step));
    for (int i = 0; vars && i < set->n; i++)
        vars->var[i] = ht_input_at(tape, set->tensor[i], site);
    if (vars) hti_name_all(tape, vars->n, vars->var, vars->name);
    return vars;
}

static int vars_find(const ht_vars *vars, const char *name)
{
    for (int i = 0; i < vars->n; i++)
        if (!strcmp(vars->name[i], name)) return i;
    return -1;
}

static void vars_unknown(const ht_vars *vars, const char *what, const char *name,
                         const char *site)
{
    char names[HTI_MESSAGE / 2], near[HTI_NEAR];
    hti_set_names(names, sizeof names, vars->n, vars->name);
    ht_context_fail(ht_tape_context(vars->tape), HT_ERROR_ARGUMENT, site,
                    "%s: no variable \"%s\"; there are: %s%s", what, name, names,
                    vars->n ? hti_set_near(near, vars->n, vars->name, name)
                            : "\n  hint: the set is empty, or was left NULL (a "
                              "bilevel's inner_data, outer_data)");
}

ht_var ht_get_at(const ht_vars *vars, const char *name, const char *site)
{
    hti_vars_check(vars, "ht_get", site);
    HT_ASSERT(name, "ht_get: the name is NULL%s%s", HTI_AT(site));
    int i = vars_find(vars, name);
    if (i >= 0) return vars->var[i];
    vars_unknown(vars, "ht_get", name, site);
    return hti_poison(vars->tape);
}

ht_var ht_step(const ht_vars *vars)
{
    hti_vars_check(vars, "ht_step", NULL);
    return vars->step;
}

int ht_vars_count(const ht_vars *vars)
{
    hti_vars_check(vars, "ht_vars_count", NULL);
    return vars->n;
}

ht_var ht_vars_at(const ht_vars *vars, int i)
{
    hti_vars_check(vars, "ht_vars_at", NULL);
    HT_ASSERT(i >= 0 && i < vars->n, "ht_vars_at: variable %d of %d", i, vars->n);
    return vars->var[i];
}

const char *ht_vars_name(const ht_vars *vars, int i)
{
    hti_vars_check(vars, "ht_vars_name", NULL);
    HT_ASSERT(i >= 0 && i < vars->n, "ht_vars_name: variable %d of %d", i, vars->n);
    return vars->name[i];
}

ht_tape *ht_vars_tape(const ht_vars *vars)
{
    hti_vars_check(vars, "ht_vars_tape", NULL);
    return vars->tape;
}

void ht_vars_set_at(ht_vars *vars, const char *name, ht_var value, const char *site)
{
    hti_vars_check(vars, "ht_vars_set", site);
    HT_ASSERT(name, "ht_vars_set: the name is NULL%s%s", HTI_AT(site));
    int i = vars_find(vars, name);
    if (i < 0) {
        vars_unknown(vars, "ht_vars_set", name, site);
        return;
    }
    HT_ASSERT(!value.tape || hti_is_number(value) || value.tape == vars->tape,
              "ht_vars_set: the value of \"%s\" is on another tape", name);
    value = hti_needs(vars->tape, value, "ht_vars_set", name, -1, site);
    if (hti_is_poison(value))
        hti_fail_poisoned(ht_tape_context(vars->tape), "ht_vars_set", site);
    if (hti_is_poison(value) || hti_is_poison(vars->var[i])) return;
    ht_type want = hti_type(vars->var[i]), got = hti_type(value);
    if (want.dtype == got.dtype && ht_shape_equal(want.shape, got.shape)) {
        vars->var[i] = value;
        return;
    }
    char a[HT_SHAPE_TEXT], b[HT_SHAPE_TEXT];
    hti_fail(vars->tape, hti_unlike(want.dtype, got.dtype), site, "ht_vars_set",
             "\"%s\" is %s %s, the value %s %s", name, ht_dtype_name(want.dtype),
             ht_shape_text(want.shape, a), ht_dtype_name(got.dtype),
             ht_shape_text(got.shape, b));
}

void ht_vars_grad_at(ht_var y, const ht_vars *vars, ht_var *gradient, const char *site)
{
    hti_vars_check(vars, "ht_vars_grad", site);
    ht_grad_at(y, vars->n, vars->var, gradient, site);
}

/* d loss by the variables of these names; NULL after an error of `who`. */
static ht_var *backward(ht_var loss, const ht_vars *vars, int n, char *const *name,
                        const char *who, const char *site)
{
    ht_context *ctx = ht_tape_context(vars->tape);
    if (ctx->status != HT_OK) return NULL;
    if (!n)
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, site,
                        "%s: the gradient has no tensors\n"
                        "  hint: ht_set_clone(theta, 0) has theta's",
                        who);
    ht_var *x = hti_tape_alloc(vars->tape, 2 * (size_t)n * sizeof *x);
    for (int k = 0; x && k < n; k++) {
        bool same = k < vars->n && !strcmp(vars->name[k], name[k]);
        int i = same ? k : vars_find(vars, name[k]);
        if (i < 0) {
            vars_unknown(vars, who, name[k], site);
            return NULL;
        }
        x[k] = vars->var[i];
    }
    if (ctx->status == HT_OK) ht_grad_at(loss, n, x, x + n, site);
    return ctx->status == HT_OK ? x + n : NULL;
}

void ht_vars_backward_at(ht_var loss, const ht_vars *vars, ht_vars *gradient,
                         const char *site)
{
    hti_vars_check(vars, "ht_vars_backward", site);
    hti_vars_check(gradient, "ht_vars_backward", site);
    const ht_var *dx =
        backward(loss, vars, gradient->n, gradient->name, "ht_vars_backward", site);
    for (int k = 0; dx && k < gradient->n; k++)
        ht_vars_set_at(gradient, gradient->name[k], dx[k], site);
}

void ht_backward_at(ht_var loss, const ht_vars *vars, ht_set *gradient, const char *site)
{
    hti_vars_check(vars, "ht_backward", site);
    HT_ASSERT(gradient, "ht_backward: the gradient set is NULL%s%s", HTI_AT(site));
    HTI_ALIVE(gradient, "ht_backward", "set");
    if (hti_tape_policy(vars->tape) != HT_EAGER) {
        hti_fail(vars->tape, HT_ERROR_ARGUMENT, site, "ht_backward",
                 "the tape is recorded and has no values yet\n"
                 "  hint: an HT_EAGER tape, or ht_vars_backward in ht_recording_new");
        return;
    }
    if (gradient == vars->set) {
        hti_fail(vars->tape, HT_ERROR_ARGUMENT, site, "ht_backward",
                 "the gradient set is the variables' own: the gradient would take the "
                 "place of what it is of\n"
                 "  hint: a set of its own, ht_set_clone(theta, 0)");
        return;
    }
    const ht_var *dx =
        backward(loss, vars, gradient->n, gradient->name, "ht_backward", site);
    for (int k = 0; dx && k < gradient->n; k++) {
        char want[HTI_TENSOR_TEXT], got[HT_SHAPE_TEXT];
        ht_type type = hti_type(dx[k]);
        const ht_tensor *to = gradient->tensor[k];
        if (type.dtype == to->array.dtype &&
            hti_same_shape(&type.shape, &to->array.shape))
            continue;
        hti_fail(vars->tape, hti_unlike(type.dtype, to->array.dtype), site, "ht_backward",
                 "the gradient set has %s, the variable is %s %s",
                 hti_tensor_text(to, want), ht_dtype_name(type.dtype),
                 ht_shape_text(type.shape, got));
        return;
    }
    gradient->made_by = NULL;
    for (int k = 0; dx && k < gradient->n; k++)
        ht_tensor_copy_at(gradient->tensor[k], ht_value_at(dx[k], site), site);
}
