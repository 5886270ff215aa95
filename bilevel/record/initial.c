/* SPDX-License-Identifier: MIT */
/* initial.c: what is recorded beside the step: the update rule and its vjp, which steps
 * emit, the initial values and the outer loss. Read next: step.c. */
#include <string.h>

#include "record.h"

/* The update. */

/* Which of theta, s, eta and g have a cotangent, so that a step can tell what it gets. */
static bool record_update_vjp(hti_recorder *r, const ht_var *cotangent)
{
    int n_out = r->n_theta + r->n_state, n = n_out + r->n_eta + r->n_theta;
    ht_var *d = hti_made(r, HTI_LIST(HTI_THETA_COTANGENT, HTI_STATE_COTANGENT,
                                     HTI_ETA_COTANGENT, HTI_THETA_GRADIENT));
    bool *reached = hti_tape_alloc(r->tape, (size_t)n);
    if (!d || !reached ||
        !hti_derive(r, n_out, r->out[HTI_THETA], cotangent,
                    HTI_LIST(HTI_THETA, HTI_STATE, HTI_ETA, HTI_THETA_GRADIENT), d,
                    reached))
        return false;
    for (int k = 0; k < n; k++) r->present[k] = !ht_is_zero(d[k]);
    for (int j = 0; j < r->n_eta; j++)
        if (reached[n_out + j]) {
            r->eta_reached[j] = true;
            r->b->programs.reach[j] |= HTI_BY_UPDATE;
        }
    r->update_vjp = hti_cut_program(r, HTI_UPDATE_VJP);
    return r->update_vjp != NULL;
}

/* What is set of theta after the update is what the step makes. */
static bool call_after(hti_recorder *r)
{
    const ht_bilevel_problem *p = &r->b->problem.asked;
    if (!p->after) return true;
    ht_vars *theta = hti_vars_of(r, HTI_THETA, r->out[HTI_THETA]);
    if (!theta) return false;
    p->after(r->eta, theta, p->user);
    memcpy(r->out[HTI_THETA], theta->var, (size_t)theta->n * sizeof *theta->var);
    return hti_sets_hold(r->b, "after") && r->b->ctx->status == HT_OK;
}

/* The update has the inner gradient g as leaves; its results may be read as well, since
 * the sweep has them at hand. */
bool hti_record_update(hti_recorder *r)
{
    const hti_problem *p = &r->b->problem;
    hti_leaves(r, HTI_LIST(HTI_THETA_GRADIENT));
    ht_var *cotangent = hti_leaves(r, HTI_LIST(HTI_THETA_COTANGENT, HTI_STATE_COTANGENT));
    hti_made(r, HTI_LIST(HTI_THETA, HTI_STATE));
    if (r->b->ctx->status != HT_OK) return false;
    r->in[HTI_NEXT_THETA] = r->out[HTI_THETA];
    r->in[HTI_NEXT_STATE] = r->out[HTI_STATE];
    hti_update_emit(&p->asked.update, r->theta, r->state, r->eta, hti_horizon(&p->asked),
                    r->in[HTI_THETA_GRADIENT], r->b->method->momentum, r->out[HTI_THETA],
                    r->out[HTI_STATE]);
    if (!hti_sets_hold(r->b, "a schedule") || !call_after(r)) return false;
    r->update = hti_cut_program(r, HTI_UPDATE);
    return r->update && record_update_vjp(r, cotangent);
}

/* Initial values. */

/* theta_0 by init; where theta is eta, it begins as eta's values. */
static bool call_init(hti_recorder *r)
{
    const hti_problem *p = &r->b->problem;
    hti_operand from = p->theta == p->eta ? HTI_ETA : HTI_THETA;
    ht_vars *theta0 = hti_vars_of(r, HTI_THETA, r->in[from]);
    if (!theta0) return false;
    if (p->asked.init) p->asked.init(r->eta, theta0, p->asked.user);
    r->out[HTI_THETA] = theta0->var;
    return hti_sets_hold(r->b, "init") && r->b->ctx->status == HT_OK;
}

bool hti_record_initial(hti_recorder *r)
{
    bool *reached = r->b->programs.init_alone;
    ht_var *d = hti_made(r, HTI_LIST(HTI_ETA_COTANGENT));
    hti_leaves(r, HTI_LIST(HTI_THETA_COTANGENT));
    r->in[HTI_ETA_TANGENT] = hti_leaves(r, HTI_LIST(HTI_ETA_COTANGENT));
    if (r->b->ctx->status != HT_OK || !call_init(r) || !hti_cut_call(r, HTI_INITIAL) ||
        !hti_derive(r, r->n_theta, r->out[HTI_THETA], r->in[HTI_THETA_COTANGENT],
                    HTI_LIST(HTI_ETA), d, reached))
        return false;
    for (int j = 0; j < r->n_eta; j++)
        if (reached[j]) r->b->programs.reach[j] |= HTI_BY_INIT;
    return r->b->method->record_initial(r);
}

bool hti_record_initial_reverse(hti_recorder *r)
{
    bool any = false, *summed = r->b->programs.initial_summed;
    hti_add_sums(r, r->out[HTI_ETA_COTANGENT], summed);
    for (int j = 0; j < r->n_eta; j++) any = any || summed[j];
    return !any || hti_cut_call(r, HTI_INITIAL_REVERSE);
}

bool hti_record_initial_tangent(hti_recorder *r)
{
    ht_var *dy = hti_made(r, HTI_LIST(HTI_THETA_TANGENT));
    if (!dy || !hti_jvp(r->tape, r->n_eta, r->in[HTI_ETA], r->in[HTI_ETA_TANGENT],
                        r->n_theta, r->out[HTI_THETA], dy, NULL))
        return false;
    hti_fill_zeros(r, HTI_THETA_TANGENT);
    return hti_cut_call(r, HTI_INITIAL_TANGENT);
}

/* The outer loss. */

/* Of m losses the cotangent is one more input, so that each can be derived by itself. */
static bool open_many(hti_recorder *r, ht_var loss, ht_var *cotangent)
{
    const ht_bilevel *b = r->b;
    ht_type type = hti_type(loss);
    if (!r->in[HTI_PICK]) return false;
    if (type.shape.rank == 0) return true;
    if (!b->method->many)
        return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                           "the outer loss is %lld losses, but options.method is %s, "
                           "which derives one\n"
                           "  hint: ht_sum of them, or HT_REVERSE derives each",
                           (long long)type.shape.dim[0], b->method->name);
    *cotangent = *r->in[HTI_PICK] = ht_input_like_at(r->tape, type, "pick");
    return hti_outers_open(r->b, type.shape.dim[0], type.dtype);
}

bool hti_record_outer(hti_recorder *r)
{
    const ht_bilevel_problem *p = &r->b->problem.asked;
    int n = r->n_theta + r->n_eta;
    ht_var loss = p->outer(r->theta, r->eta, r->batch, p->user), one = ht_number(1);
    r->in[HTI_PICK] = hti_vars_list(r->tape, 1);
    ht_var *d = hti_made(r, HTI_LIST(HTI_THETA_GRADIENT, HTI_ETA_GRADIENT, HTI_LOSS));
    bool *reached = hti_tape_alloc(r->tape, (size_t)n);
    if (!hti_sets_hold(r->b, "outer") || !hti_loss_valid(r, loss, true)) return false;
    if (!d || !reached || !open_many(r, loss, &one) ||
        !hti_derive(r, 1, &loss, &one, HTI_LIST(HTI_THETA, HTI_ETA), d, reached) ||
        !hti_loss_reads(r, loss, reached, false))
        return false;
    hti_join_reached(r, reached, HTI_BY_OUTER);
    *r->out[HTI_LOSS] = loss;
    hti_fill_zeros(r, HTI_THETA_GRADIENT);
    hti_fill_zeros(r, HTI_ETA_GRADIENT);
    return hti_cut_call(r, HTI_OUTER_LOSS);
}
