/* SPDX-License-Identifier: MIT */
/* optimizer.c: plain training: one step of an update rule as a program, replayed in
 * place. Read next: ht_bilevel.h. */
#include <string.h>

#include "nn_internal.h"

struct ht_optimizer {
    hti_owned owned;
    ht_context *ctx;
    ht_set *theta;
    hti_loan loan; /* of theta */
    ht_set *state;
    ht_tensor *step;      /* i32, steps done */
    ht_program *program;  /* theta, state, gradient, step -> theta, state; of theta and
                             gradient what is not frozen */
    const ht_tensor **in; /* what the program reads */
    ht_tensor **out;      /* and writes */
    bool non_finite;      /* gradients that are not finite are followed */
    int n_in, n_out;
    int *trained, n_trained, n_theta; /* places in theta, in order */
};

/* Of ht_optimizer_state; never written. */
static hti_loan state_owner = {.borrower = "optimizer", .role = "state"};

static ht_var optimizer_input(ht_tape *tape, const ht_tensor *tensor)
{
    return ht_input_like(tape,
                         ((ht_type){ht_tensor_dtype(tensor), ht_tensor_shape(tensor)}));
}

/* Variables for a set's tensors, or n of them, also listed as inputs from *at on. */
static ht_vars *optimizer_vars(ht_tape *tape, const ht_set *set, int n, const int *some,
                               ht_var step, ht_var *in, int *at)
{
    ht_vars *vars = hti_vars_new(tape, set, step);
    for (int k = 0; vars && k < n; k++) {
        int i = some ? some[k] : k;
        in[(*at)++] = vars->var[i] = optimizer_input(tape, set->tensor[i]);
    }
    return vars;
}

static bool optimizer_record(ht_optimizer *o, const ht_update *update)
{
    ht_tape *tape = ht_tape_new(o->ctx, HT_RECORD);
    int n = o->n_theta, n_trained = o->n_trained, n_state = o->state->n, at = 0;
    size_t n_vars = (size_t)o->n_in + (size_t)n + (size_t)n_state;
    ht_var *in = hti_zalloc(o->ctx, n_vars, sizeof *in);
    if (tape && in) {
        ht_var step = optimizer_input(tape, o->step);
        ht_vars *theta =
            optimizer_vars(tape, o->theta, n_trained, o->trained, step, in, &at);
        ht_vars *state =
            theta ? optimizer_vars(tape, o->state, n_state, NULL, step, in, &at) : NULL;
        ht_vars *gradient =
            state ? optimizer_vars(tape, o->theta, n_trained, o->trained, step, in, &at)
                  : NULL;
        if (gradient) {
            ht_var *out = in + o->n_in;
            in[at] = step;
            hti_update_emit(update, theta, state, NULL, 0, gradient->var, NULL, out,
                            out + n);
            for (int k = 0; k < n_trained; k++) out[k] = out[o->trained[k]];
            memmove(out + n_trained, out + n, (size_t)n_state * sizeof *out);
            if (hti_loan_holds(&o->loan, "a schedule"))
                o->program = ht_program_new_at(tape, o->n_in, in, o->n_out, out, NULL);
        }
    }
    hti_resize(o->ctx, in, n_vars * sizeof *in, 0);
    ht_tape_free(tape);
    return o->program != NULL;
}

static ht_optimizer *optimizer_new(ht_set *theta, const ht_update *update)
{
    HTI_ALIVE(theta, "ht_optimizer_new", "set");
    ht_context *ctx = theta->ctx;
    if (ctx->status != HT_OK || !hti_update_valid(ctx, update, theta, NULL, 0))
        return NULL;
    ht_optimizer *o = hti_zalloc(ctx, 1, sizeof *o);
    if (!o) return NULL;
    static const hti_kind kind = {.name = "optimizer"};
    hti_own(ctx, &o->owned, &kind);
    o->ctx = ctx;
    o->theta = theta;
    o->non_finite = update->non_finite;
    hti_set_lend(theta, &o->loan, "optimizer", "theta");
    o->state = hti_update_state(update, theta);
    hti_set_own(o->state, &state_owner);
    o->step = ht_tensor_new(ctx, HT_I32, HT_SCALAR);
    o->n_theta = theta->n;
    o->trained = hti_zalloc(ctx, (size_t)theta->n, sizeof *o->trained);
    for (int i = 0; o->trained && i < theta->n; i++)
        if (hti_update_of(update, theta->name[i])) o->trained[o->n_trained++] = i;
    int n_state = o->state ? o->state->n : 0;
    o->n_in = 2 * o->n_trained + n_state + 1;
    o->n_out = o->n_trained + n_state;
    o->in = hti_zalloc(ctx, (size_t)o->n_in, sizeof *o->in);
    o->out = hti_zalloc(ctx, (size_t)o->n_out, sizeof *o->out);
    if (ctx->status == HT_OK && optimizer_record(o, update)) return o;
    ht_optimizer_free(o);
    return NULL;
}

ht_optimizer *ht_optimizer_new_at(ht_set *theta, const ht_update *update,
                                  const char *site)
{
    HT_ASSERT(theta && update, "ht_optimizer_new: theta or update is NULL%s%s",
              HTI_AT(site));
    const char *outer = hti_enter(theta->ctx, site);
    ht_optimizer *o = optimizer_new(theta, update);
    theta->ctx->site = outer;
    return o;
}

/* The tensor of `from` that has the name and type of set's tensor i; NULL after an error
 * that calls it `what`. */
static const ht_tensor *optimizer_same(const ht_set *set, int i, const ht_set *from,
                                       const char *what)
{
    const ht_tensor *w = set->tensor[i];
    int at = ht_set_find(from, set->name[i]);
    if (at < 0) {
        char names[HTI_NAMES];
        hti_set_names(names, sizeof names, from->n, from->name);
        ht_context_fail(set->ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s \"%s\": no tensor \"%s\"; this set has: %s\n  hint: both "
                        "sets must have the same names",
                        what, set->name[i], set->name[i], names);
        return NULL;
    }
    const ht_tensor *g = from->tensor[at];
    ht_shape want = ht_tensor_shape(w), got = ht_tensor_shape(g);
    bool same_dtype = ht_tensor_dtype(w) == ht_tensor_dtype(g);
    if (same_dtype && ht_shape_equal(want, got)) return g;
    char a[HT_SHAPE_TEXT], b[HT_SHAPE_TEXT];
    ht_context_fail(set->ctx, same_dtype ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, NULL,
                    "%s \"%s\" must be %s %s, not %s %s", what, set->name[i],
                    ht_dtype_name(ht_tensor_dtype(w)), ht_shape_text(want, a),
                    ht_dtype_name(ht_tensor_dtype(g)), ht_shape_text(got, b));
    return NULL;
}

/* Whether g is a gradient of parameter i and not the parameter: itself, or what
 * ht_set_clone copied of it. That is 0 where the parameter is, a step of nothing. */
static bool optimizer_derived(const ht_optimizer *o, int i, const ht_tensor *g)
{
    const ht_tensor *w = o->theta->tensor[i];
    size_t bytes = ht_tensor_bytes(w);
    const char *data = g->array.data;
    if (g != w && !(g->cloned && !memcmp(data, w->array.data, bytes))) return true;
    bool zero = !bytes || (!*data && !memcmp(data, data + 1, bytes - 1));
    if (g != w && zero) return true;
    ht_context_fail(o->ctx, HT_ERROR_ARGUMENT, NULL,
                    "ht_optimizer_step: the gradient of \"%s\" %s: nothing was changed\n"
                    "  hint: %s",
                    o->theta->name[i],
                    g == w ? "is the parameter itself: the gradient set is theta"
                           : "was never written since ht_set_clone: it is the parameter",
                    g == w ? "a set of its own, ht_set_clone(theta, 0), written by "
                             "ht_backward"
                           : "ht_backward(loss, vars, gradient) before the step, or an "
                             "ht_recording_run that writes it");
    return false;
}

/* Whether the gradient of parameter i is finite, or an error that says where it is not
 * and, of a program's, which op began it. */
static bool optimizer_finite(const ht_optimizer *o, int i, const ht_tensor *g,
                             ht_recording *made_by)
{
    int64_t at = o->non_finite ? -1 : hti_not_finite(&g->array);
    if (at < 0) return true;
    const char *where = NULL, *op = made_by ? hti_recording_bad(made_by, &where) : NULL;
    bool first = !ht_optimizer_steps(o);
    ht_context_fail(
        o->ctx, HT_ERROR_ARGUMENT, NULL,
        "ht_optimizer_step: the gradient of \"%s\" is %g at element %lld of "
        "%lld, in step %lld: nothing was changed%s%s%s%s\n"
        "  hint: %s (of ht_bilevel_run: of the inner training, see bad_step); "
        ".non_finite = true in ht_update goes on",
        o->theta->name[i], hti_printed(ht_tensor_get(g, at)), (long long)at,
        (long long)ht_tensor_count(g), (long long)ht_optimizer_steps(o),
        op ? "\n  the first that is not finite: " : "", op ? op : "", where ? " at " : "",
        where ? where : "",
        first
            ? "it is the first step, so no rate is to blame: is the loss finite? look at "
              "the inputs, the initial values, log and division by 0"
            : "a smaller rate, or clip in ht_update");
    return false;
}

static ht_status optimizer_step(ht_optimizer *o, const ht_set *gradient, const char *site)
{
    HTI_ALIVE(o, "ht_optimizer_step", "optimizer");
    HTI_ALIVE(gradient, "ht_optimizer_step", "set");
    int n = o->n_trained, n_state = o->n_out - n;
    if (!hti_loan_holds(&o->loan, NULL)) return o->ctx->status;
    if (ht_optimizer_steps(o) == INT32_MAX)
        return ht_context_fail(o->ctx, HT_ERROR_ARGUMENT, NULL,
                               "ht_optimizer_step: 2^31 - 1 steps are done, the most "
                               "its counter holds");
    for (int k = 0; k < n; k++) {
        int i = o->trained[k];
        const ht_tensor *g =
            optimizer_same(o->theta, i, gradient, "ht_optimizer_step: the gradient of");
        if (!g || !optimizer_derived(o, i, g) ||
            !optimizer_finite(o, i, g, gradient->made_by))
            return o->ctx->status;
        o->in[k] = o->out[k] = o->theta->tensor[i];
        o->in[n + n_state + k] = g;
    }
    for (int k = 0; k < n_state; k++) o->in[n + k] = o->out[n + k] = o->state->tensor[k];
    o->in[2 * n + n_state] = o->step;
    ht_status status = ht_program_run_at(o->program, o->in, o->out, site);
    for (int k = 0; k < n; k++) hti_tensor_write(o->out[k], "ht_optimizer_step", site);
    if (status == HT_OK) ++*(int32_t *)ht_tensor_data(o->step);
    return status;
}

ht_status ht_optimizer_step_at(ht_optimizer *o, const ht_set *gradient, const char *site)
{
    HT_ASSERT(o && gradient,
              "ht_optimizer_step: optimizer or gradient is NULL (ht_bilevel_evaluate "
              "gives none, nor does what failed: see ht_check)%s%s",
              HTI_AT(site));
    const char *outer = hti_enter(o->ctx, site);
    ht_status status = optimizer_step(o, gradient, site);
    o->ctx->site = outer;
    return status;
}

ht_set *hti_optimizer_theta(const ht_optimizer *o)
{
    return o->theta;
}

ht_status ht_optimizer_restore(ht_optimizer *o, const ht_set *state, int64_t steps)
{
    HT_ASSERT(o && state, "ht_optimizer_restore: optimizer or state is NULL");
    HTI_ALIVE(o, "ht_optimizer_restore", "optimizer");
    HTI_ALIVE(state, "ht_optimizer_restore", "set");
    if (o->ctx->status != HT_OK) return o->ctx->status;
    if (steps < 0 || steps > INT32_MAX)
        return ht_context_fail(o->ctx, HT_ERROR_ARGUMENT, NULL,
                               "ht_optimizer_restore: steps is %lld; it must lie in "
                               "0 .. 2^31 - 1",
                               (long long)steps);
    for (int k = 0; k < o->state->n; k++)
        if (!optimizer_same(o->state, k, state, "ht_optimizer_restore: state"))
            return o->ctx->status;
    ht_status status = ht_set_copy(o->state, state);
    if (status == HT_OK) *(int32_t *)ht_tensor_data(o->step) = (int32_t)steps;
    return status;
}

int64_t ht_optimizer_steps(const ht_optimizer *o)
{
    HT_ASSERT(o,
              "ht_optimizer_steps: optimizer is NULL (did making it fail? see ht_check)");
    return *(const int32_t *)ht_tensor_data(o->step);
}

const ht_set *ht_optimizer_state(const ht_optimizer *o)
{
    HT_ASSERT(o,
              "ht_optimizer_state: optimizer is NULL (did making it fail? see ht_check)");
    return o->state;
}

void ht_optimizer_free(ht_optimizer *o)
{
    if (!o) return;
    HTI_ALIVE(o, "ht_optimizer_free", "optimizer");
    hti_set_return(&o->loan);
    ht_program_free(o->program);
    ht_tensor_free(o->step);
    hti_set_disown(o->state, &state_owner);
    ht_set_free(o->state);
    hti_resize(o->ctx, o->in, (size_t)o->n_in * sizeof *o->in, 0);
    hti_resize(o->ctx, o->out, (size_t)o->n_out * sizeof *o->out, 0);
    hti_resize(o->ctx, o->trained, (size_t)o->n_theta * sizeof *o->trained, 0);
    hti_retire(&o->owned, sizeof *o);
}
