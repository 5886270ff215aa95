/* SPDX-License-Identifier: MIT */
/* optimizer.c: plain training: one step of an update rule as a program, replayed in
 * place. Read next: ht_bilevel.h. */
#include <string.h>

#include "nn_internal.h"
#include "program_internal.h"

struct ht_optimizer {
    ht_context *ctx;
    ht_set *theta;
    ht_set *state;
    ht_tensor *step;      /* i32, steps done */
    ht_program *program;  /* theta, state, gradient, step -> theta, state */
    const ht_tensor **in; /* what the program reads */
    ht_tensor **out;      /* and writes */
    int n_in, n_out;
};

static ht_var hti_optimizer_input(ht_tape *tape, const ht_tensor *tensor)
{
    return ht_input_like(tape,
                         ((ht_type){ht_tensor_dtype(tensor), ht_tensor_shape(tensor)}));
}

/* Variables for a set's tensors, which are also listed as inputs from *at on. */
static ht_vars *hti_optimizer_vars(ht_tape *tape, const ht_set *set, ht_var step,
                                   ht_var *in, int *at)
{
    ht_vars *vars = hti_vars_new(tape, set, step);
    for (int i = 0; vars && i < set->n; i++)
        in[(*at)++] = vars->var[i] = hti_optimizer_input(tape, set->tensor[i]);
    return vars;
}

static bool hti_optimizer_record(ht_optimizer *o, const ht_update *update)
{
    ht_tape *tape = ht_tape_new(o->ctx, HT_RECORD);
    int n = o->theta->n, at = 0;
    size_t n_vars = (size_t)o->n_in + (size_t)o->n_out;
    ht_var *in = hti_zalloc(o->ctx, n_vars, sizeof *in);
    if (tape && in) {
        ht_var step = hti_optimizer_input(tape, o->step);
        ht_vars *theta = hti_optimizer_vars(tape, o->theta, step, in, &at);
        ht_vars *state = theta ? hti_optimizer_vars(tape, o->state, step, in, &at) : NULL;
        ht_vars *gradient =
            state ? hti_optimizer_vars(tape, o->theta, step, in, &at) : NULL;
        if (gradient) {
            ht_var *out = in + o->n_in;
            in[at] = step;
            hti_update_emit(update, theta, state, NULL, 0, gradient->var, out, out + n);
            o->program = ht_program_new(tape, o->n_in, in, o->n_out, out);
        }
    }
    hti_resize(o->ctx, in, n_vars * sizeof *in, 0);
    ht_tape_free(tape);
    return o->program != NULL;
}

ht_optimizer *ht_optimizer_new(ht_set *theta, const ht_update *update)
{
    HT_ASSERT(theta && update, "theta or update is NULL");
    ht_context *ctx = theta->ctx;
    if (ctx->status != HT_OK || !hti_update_check(ctx, update, theta, NULL, 0))
        return NULL;
    ht_optimizer *o = hti_zalloc(ctx, 1, sizeof *o);
    if (!o) return NULL;
    o->ctx = ctx;
    o->theta = theta;
    o->state = hti_update_state(update, theta);
    o->step = ht_tensor_new(ctx, HT_I32, HT_SCALAR);
    int n_state = o->state ? o->state->n : 0;
    o->n_in = 2 * theta->n + n_state + 1;
    o->n_out = theta->n + n_state;
    o->in = hti_zalloc(ctx, (size_t)o->n_in, sizeof *o->in);
    o->out = hti_zalloc(ctx, (size_t)o->n_out, sizeof *o->out);
    if (ctx->status == HT_OK && hti_optimizer_record(o, update)) return o;
    ht_optimizer_free(o);
    return NULL;
}

/* Gradient i by its name; NULL after an error. */
static const ht_tensor *hti_optimizer_gradient(const ht_optimizer *o,
                                               const ht_set *gradient, int i)
{
    const ht_tensor *w = o->theta->tensor[i];
    const ht_tensor *g = ht_set_tensor(gradient, o->theta->name[i]);
    if (!g) return NULL;
    ht_shape want = ht_tensor_shape(w), got = ht_tensor_shape(g);
    bool same_dtype = ht_tensor_dtype(w) == ht_tensor_dtype(g);
    if (same_dtype && ht_shape_equal(want, got)) return g;
    char a[HT_SHAPE_TEXT], b[HT_SHAPE_TEXT];
    ht_context_fail(o->ctx, same_dtype ? HT_ERROR_SHAPE : HT_ERROR_DTYPE, NULL,
                    "ht_optimizer_step: the gradient of \"%s\" must be %s %s, not %s %s",
                    o->theta->name[i], ht_dtype_name(ht_tensor_dtype(w)),
                    ht_shape_text(want, a), ht_dtype_name(ht_tensor_dtype(g)),
                    ht_shape_text(got, b));
    return NULL;
}

ht_status ht_optimizer_step(ht_optimizer *o, const ht_set *gradient)
{
    HT_ASSERT(o && gradient, "optimizer or gradient is NULL");
    int n = o->theta->n, n_state = o->state->n;
    HT_ASSERT(2 * n + n_state + 1 == o->n_in,
              "theta has %d tensors; it had %d when the optimizer was made", n,
              (o->n_in - n_state - 1) / 2);
    for (int i = 0; i < n; i++) {
        const ht_tensor *g = hti_optimizer_gradient(o, gradient, i);
        if (!g) return o->ctx->status;
        o->in[i] = o->out[i] = o->theta->tensor[i];
        o->in[n + n_state + i] = g;
    }
    for (int k = 0; k < n_state; k++) o->in[n + k] = o->out[n + k] = o->state->tensor[k];
    o->in[2 * n + n_state] = o->step;
    ht_status status = ht_program_run(o->program, o->in, o->out);
    if (status == HT_OK) ++*(int32_t *)ht_tensor_data(o->step);
    return status;
}

int64_t ht_optimizer_steps(const ht_optimizer *o)
{
    HT_ASSERT(o, "optimizer is NULL (did making it fail? see ht_check)");
    return *(const int32_t *)ht_tensor_data(o->step);
}

const ht_set *ht_optimizer_state(const ht_optimizer *o)
{
    HT_ASSERT(o, "optimizer is NULL (did making it fail? see ht_check)");
    return o->state;
}

void ht_optimizer_free(ht_optimizer *o)
{
    if (!o) return;
    ht_program_free(o->program);
    ht_tensor_free(o->step);
    ht_set_free(o->state);
    hti_resize(o->ctx, o->in, (size_t)o->n_in * sizeof *o->in, 0);
    hti_resize(o->ctx, o->out, (size_t)o->n_out * sizeof *o->out, 0);
    hti_resize(o->ctx, o, sizeof *o, 0);
}
