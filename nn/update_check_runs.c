/* SPDX-License-Identifier: MIT */
/* update_check_runs.c: what both halves of a check of a rule share: a training of a few
 * steps on one tape, and lines of the report. Read next: update_check.c. */
#include <stdarg.h>
#include <string.h>

#include "update_check.h"

bool hti_check_line(hti_rule_check *c, bool ok, const char *what)
{
    c->ok = c->ok && ok;
    if (c->report) fprintf(c->report, "%-52s  %s\n", what, ok ? "ok" : "WRONG");
    return ok;
}

void hti_check_say(const hti_rule_check *c, const char *format, ...)
{
    if (!c->report) return;
    va_list args;
    va_start(args, format);
    fputs("  ", c->report);
    vfprintf(c->report, format, args);
    fputc('\n', c->report);
    va_end(args);
}

/* Variables of a set, those of `point` from i on. */
static ht_vars *part_vars(const ht_vars *point, int i, const ht_set *set, ht_var step)
{
    ht_vars *vars = hti_vars_new(point->tape, set, step);
    for (int k = 0; vars && k < set->n; k++) vars->var[k] = point->var[i + k];
    return vars;
}

void hti_check_unroll(const hti_rule_check *c, const ht_update *u, const ht_vars *point,
                      int start, ht_var *end)
{
    int n = c->theta->n, n_state = c->state->n;
    ht_tape *tape = point->tape;
    memcpy(end, point->var, (size_t)(n + n_state) * sizeof *end);
    for (int t = 0; t < HTI_CHECK_STEPS && c->ctx->status == HT_OK; t++) {
        ht_var step = hti_constant(tape, start + t, HT_I32, false, NULL);
        ht_vars *theta = hti_vars_new(tape, c->theta, step);
        ht_vars *state = hti_vars_new(tape, c->state, step);
        ht_vars *eta = part_vars(point, c->first[HTI_AT_ETA], c->eta, step);
        if (!theta || !state || !eta) return;
        memcpy(theta->var, end, (size_t)n * sizeof *end);
        memcpy(state->var, end + n, (size_t)n_state * sizeof *end);
        hti_update_emit(u, theta, state, eta, HTI_CHECK_STEPS,
                        point->var + c->first[HTI_AT_G] + t * n, NULL, end, end + n);
    }
}

void hti_check_take(ht_tensor *to, ht_var x)
{
    const ht_tensor *value = ht_value(x);
    if (value) ht_tensor_copy(to, value);
}

bool hti_check_run(const hti_rule_check *c, const ht_update *u, const ht_set *point,
                   int start, ht_set *end)
{
    ht_tape *tape = ht_tape_new(c->ctx, HT_EAGER);
    ht_vars *vars = tape ? ht_vars_input_at(tape, point, 0, NULL) : NULL;
    ht_var *out = vars ? hti_tape_alloc(tape, (size_t)end->n * sizeof *out) : NULL;
    if (out) hti_check_unroll(c, u, vars, start, out);
    for (int i = 0; out && i < end->n && c->ctx->status == HT_OK; i++)
        hti_check_take(end->tensor[i], out[i]);
    ht_tape_free(tape);
    return c->ctx->status == HT_OK;
}
