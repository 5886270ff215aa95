/* SPDX-License-Identifier: MIT */
/* step.c: one inner step on a tape and its derivatives.
 *
 * Mixed mode: the vjp of the update alone gives gbar, the cotangent of the inner gradient
 * g. One jvp of the joint gradient (theta, eta) -> d inner along (gbar, 0) gives both
 * H gbar and the mixed term, because H is symmetric (Kemaev et al., ICML 2025). The
 * step's results are inputs, since the sweep has them at hand. Read next: products.c. */
#include <string.h>

#include "record.h"

/* An op behind the inner loss whose rules may not be its derivative, so that its Hessian
 * may not be symmetric; NULL: none. */
static const char *find_asymmetric(const ht_tape *tape)
{
    for (uint32_t i = 0; i < ht_tape_nodes(tape); i++) {
        const ht_op *op = hti_node_op(tape, i);
        bool known = false;
        for (int k = 0; ht_op_at(k) && !known; k++) known = ht_op_at(k) == op;
        if (!known || op->flags & HT_OP_STOPS) return op->name;
    }
    return NULL;
}

/* Whether every outer variable and parameter reaches something; else an error. */
static bool all_reached(const hti_recorder *r)
{
    const hti_problem *p = &r->b->problem;
    bool *init_alone = r->b->programs.init_alone;
    for (int j = 0; j < r->n_eta; j++) {
        bool others = r->eta_reached[j];
        r->eta_reached[j] = others || init_alone[j];
        init_alone[j] = init_alone[j] && !others;
    }
    for (int k = 0; k < r->n_eta + r->n_theta; k++) {
        bool outer = k < r->n_eta;
        if (outer ? r->eta_reached[k] : r->theta_reached[k - r->n_eta]) continue;
        return HTI_REFUSED(
            r->b->ctx, HT_ERROR_NO_GRADIENT,
            "%s \"%s\" reaches neither the inner loss, the update rule, the "
            "initial value nor the outer loss\n  hint: use it in one of them, or "
            "leave it out of %s",
            outer ? "outer variable" : "parameter",
            outer ? p->eta->name[k] : p->theta->name[k - r->n_eta],
            outer ? "eta" : "theta");
    }
    return true;
}

static bool record_loss(hti_recorder *r)
{
    const ht_bilevel_problem *p = &r->b->problem.asked;
    hti_leaves(r, HTI_LIST(HTI_NEXT_THETA, HTI_NEXT_STATE, HTI_THETA_COTANGENT,
                           HTI_STATE_COTANGENT, HTI_ETA_COTANGENT));
    hti_made(r, HTI_LIST(HTI_LOSS));
    if (r->b->ctx->status != HT_OK) return false;
    ht_var loss = p->inner(r->theta, r->eta, r->batch, p->user);
    if (!hti_sets_hold(r->b, "inner") || !hti_loss_valid(r, loss, false)) return false;
    *r->out[HTI_LOSS] = loss;
    r->asymmetric = find_asymmetric(r->tape);
    return hti_cut_call(r, HTI_INNER_LOSS);
}

/* The joint gradient; its theta part without absent ones is what the update is given. */
static bool record_gradient(hti_recorder *r)
{
    int n = r->n_theta + r->n_eta;
    ht_var one = ht_number(1), *g = hti_made(r, HTI_LIST(HTI_THETA_GRADIENT));
    bool *reached = hti_tape_alloc(r->tape, (size_t)n);
    r->joint = hti_vars_list(r->tape, n);
    if (!g || !reached || !r->joint ||
        !hti_derive(r, 1, r->out[HTI_LOSS], &one, HTI_LIST(HTI_THETA, HTI_ETA), r->joint,
                    reached) ||
        !hti_loss_reads(r, *r->out[HTI_LOSS], reached, true))
        return false;
    hti_note_idle(r, reached);
    hti_join_reached(r, reached, HTI_BY_INNER);
    memcpy(g, r->joint, (size_t)r->n_theta * sizeof *g);
    r->in[HTI_THETA_GRADIENT] = g;
    hti_fill_zeros(r, HTI_THETA_GRADIENT);
    return r->b->ctx->status == HT_OK;
}

static bool record_next(hti_recorder *r)
{
    int n;
    ht_var *in = hti_list(r, r->in, hti_signatures[HTI_UPDATE].in, &n);
    ht_var *next = hti_made(r, HTI_LIST(HTI_THETA, HTI_STATE, HTI_SQUARE));
    if (!in || !next) return false;
    ht_call_at(r->tape, r->update, in, next, NULL);
    return r->b->ctx->status == HT_OK && all_reached(r);
}

bool hti_record_descent(hti_recorder *r)
{
    const hti_problem *p = &r->b->problem;
    if (r->descent) return true;
    r->descent = hti_vars_list(r->tape, r->n_theta);
    if (!r->descent) return false;
    if (!hti_whole_step(&p->asked)) {
        hti_update_descent(&p->asked.update, r->theta, r->eta, hti_horizon(&p->asked),
                           r->in[HTI_THETA_GRADIENT], r->descent);
        return hti_sets_hold(r->b, "a schedule");
    }
    for (int i = 0; i < r->n_theta; i++)
        r->descent[i] = ht_sub(r->out[HTI_THETA][i], r->in[HTI_THETA][i]);
    return r->b->ctx->status == HT_OK;
}

/* |descent|^2 in f64, for problem.tolerance. */
static bool record_square(hti_recorder *r)
{
    ht_var sum = HT_ZERO;
    for (int i = 0; i < r->n_theta; i++) {
        if (ht_is_zero(r->descent[i])) continue;
        ht_var part = ht_sum(ht_square(ht_cast(r->descent[i], HT_F64)));
        sum = ht_is_zero(sum) ? part : ht_add(sum, part);
    }
    *r->out[HTI_SQUARE] = sum;
    return r->b->ctx->status == HT_OK;
}

bool hti_record_step(hti_recorder *r)
{
    return record_loss(r) && record_gradient(r) && record_next(r) &&
           (!hti_ends_early(r->b) || (hti_record_descent(r) && record_square(r))) &&
           r->b->method->record(r);
}

/* Reverse. */

#define COTANGENTS HTI_LIST(HTI_THETA_COTANGENT, HTI_STATE_COTANGENT, HTI_ETA_COTANGENT)

/* Through the update alone: d, and the cotangent gbar of g. */
static bool through_update(hti_recorder *r, ht_var *d, ht_var *gbar)
{
    int n, n_d = r->n_theta + r->n_state + r->n_eta;
    ht_var *in = hti_list(r, r->in, hti_signatures[HTI_UPDATE_VJP].in, &n);
    ht_var *part = hti_vars_list(r->tape, n_d + r->n_theta);
    if (!in || !part) return false;
    ht_call_at(r->tape, r->update_vjp, in, part, NULL);
    if (r->b->ctx->status != HT_OK) return false;
    for (int k = 0; k < n_d + r->n_theta; k++) {
        ht_var *to = k < n_d ? &d[k] : &gbar[k - n_d];
        if (r->present[k]) *to = *part++;
    }
    return true;
}

static bool derive_mixed(hti_recorder *r)
{
    int n_joint = r->n_theta + r->n_eta;
    ht_var *d = hti_made(r, COTANGENTS), *gbar = hti_vars_list(r->tape, r->n_theta),
           *second = hti_vars_list(r->tape, n_joint);
    if (!d || !gbar || !second || !through_update(r, d, gbar) ||
        !hti_jvp(r->tape, r->n_theta, r->in[HTI_THETA], gbar, n_joint, r->joint, second,
                 NULL))
        return false;
    ht_var *d_eta = r->out[HTI_ETA_COTANGENT];
    for (int i = 0; i < r->n_theta; i++) d[i] = ht_add(d[i], second[i]);
    for (int j = 0; j < r->n_eta; j++)
        d_eta[j] = ht_add(d_eta[j], second[r->n_theta + j]);
    return r->b->ctx->status == HT_OK;
}

/* By the vjp of the whole step, gradient included. */
static bool derive_twice(hti_recorder *r)
{
    ht_var *d = hti_made(r, COTANGENTS);
    return d && hti_derive(r, r->n_theta + r->n_state, r->out[HTI_THETA],
                           r->in[HTI_THETA_COTANGENT],
                           HTI_LIST(HTI_THETA, HTI_STATE, HTI_ETA), d, NULL);
}

/* As if g were a constant. */
bool hti_record_first_order(hti_recorder *r)
{
    ht_var *d = hti_made(r, COTANGENTS), *gbar = hti_vars_list(r->tape, r->n_theta);
    return d && gbar && through_update(r, d, gbar) && hti_cut_reverse(r);
}

bool hti_derive_step(hti_recorder *r)
{
    return r->asymmetric ? derive_twice(r) : derive_mixed(r);
}

bool hti_record_reverse_twice(hti_recorder *r)
{
    return derive_twice(r) && hti_cut_reverse(r);
}

bool hti_record_mixed(hti_recorder *r)
{
    if (!r->asymmetric) return derive_mixed(r) && hti_cut_reverse(r);
    r->b->programs.asymmetric = r->asymmetric;
    if (r->b->method->otherwise) r->b->method = r->b->method->otherwise;
    return hti_record_reverse_twice(r);
}

/* Forward. */

/* Tangents of theta', s' along tangents of theta, s, eta. Leaves of a cotangent's types
 * serve as tangents. */
bool hti_record_tangent(hti_recorder *r)
{
    int n_out = r->n_theta + r->n_state;
    r->in[HTI_THETA_TANGENT] = r->in[HTI_THETA_COTANGENT];
    r->in[HTI_STATE_TANGENT] = r->in[HTI_STATE_COTANGENT];
    r->in[HTI_ETA_TANGENT] = r->in[HTI_ETA_COTANGENT];
    ht_var *dy = hti_made(r, HTI_LIST(HTI_THETA_TANGENT, HTI_STATE_TANGENT));
    if (!dy || !hti_cut_call(r, HTI_FORWARD) ||
        !hti_jvp(r->tape, n_out + r->n_eta, r->in[HTI_THETA], r->in[HTI_THETA_TANGENT],
                 n_out, r->out[HTI_THETA], dy, NULL))
        return false;
    hti_fill_zeros(r, HTI_THETA_TANGENT);
    hti_fill_zeros(r, HTI_STATE_TANGENT);
    return hti_cut_call(r, HTI_TANGENT) && hti_record_end(r);
}

bool hti_record_end(hti_recorder *r)
{
    hti_planning *planning = r->b->planning;
    planning->n_level = 1;
    planning->level[0] = (hti_level){.peak = r->b->ctx->peak - planning->base};
    return hti_choose_all(r->b, r->options);
}
