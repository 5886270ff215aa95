/* SPDX-License-Identifier: MIT */
/* second.c: products with second derivatives, for methods that differentiate where a
 * training ends and not how it got there.
 *
 * There g(theta, eta) = 0, g being what the update rule descends. Along v one jvp of the
 * joint gradient of the loss gives (dg/d theta) v and (dg/d eta)^T v, the Hessian being
 * symmetric: mixed mode without the update (step.c). Where it is not, or where the rule
 * adds its decay to g, the vjp of g gives both, with (dg/d theta)^T.
 *
 * With a map after the update, or a rule that decays by itself, the step as a whole has
 * a fixed point, (theta, s) = Phi(theta, s, eta), and the products are those of its
 * reverse.
 * Read next: ../implicit/implicit.c. */
#include "record.h"

#define TANGENTS HTI_LIST(HTI_THETA_TANGENT, HTI_STATE_TANGENT)

/* The parts of g, without those of frozen parameters, with v's and their numbers. */
typedef struct parts {
    int n;
    ht_var *g, *v;
    int *place;
} parts;

static bool find_parts(hti_recorder *r, parts *p)
{
    p->g = hti_vars_list(r->tape, r->n_theta);
    p->v = hti_vars_list(r->tape, r->n_theta);
    p->place = hti_tape_alloc(r->tape, (size_t)r->n_theta * sizeof *p->place);
    if (!p->g || !p->v || !p->place) return false;
    for (int i = 0; i < r->n_theta; i++) {
        if (ht_is_zero(r->descent[i])) continue;
        p->g[p->n] = r->descent[i];
        p->v[p->n] = r->in[HTI_THETA_TANGENT][i];
        p->place[p->n++] = i;
    }
    return true;
}

/* (dg/d theta)^T v and (dg/d eta)^T v, theta before eta. */
static bool derive_parts(hti_recorder *r, const parts *p, ht_var *d)
{
    return hti_derive(r, p->n, p->g, p->v, HTI_LIST(HTI_THETA, HTI_ETA), d, NULL);
}

static bool derive_joint(hti_recorder *r, ht_var *d)
{
    int n = r->n_theta + r->n_eta;
    return hti_jvp(r->tape, r->n_theta, r->in[HTI_THETA], r->in[HTI_THETA_TANGENT], n,
                   r->joint, d, NULL);
}

static bool decays(const hti_recorder *r)
{
    for (int i = 0; i < r->n_theta; i++)
        if (!ht_is_zero(r->descent[i]) &&
            r->descent[i].index != r->in[HTI_THETA_GRADIENT][i].index)
            return true;
    return false;
}

/* (dg/d theta) v, where it is another than the transposed one. */
static bool cut_transposed(hti_recorder *r, const parts *p)
{
    ht_var *dy = hti_vars_list(r->tape, p->n);
    hti_made(r, TANGENTS);
    if (!dy || !hti_jvp(r->tape, r->n_theta, r->in[HTI_THETA], r->in[HTI_THETA_TANGENT],
                        p->n, p->g, dy, NULL))
        return false;
    for (int k = 0; k < p->n; k++) r->out[HTI_THETA_TANGENT][p->place[k]] = dy[k];
    hti_fill_zeros(r, HTI_THETA_TANGENT);
    hti_fill_zeros(r, HTI_STATE_TANGENT);
    return hti_cut_call(r, HTI_TRANSPOSED);
}

/* d, theta before eta, as two programs; the latter's part is taken from the gradient. */
static bool cut_products(hti_recorder *r, ht_var *d)
{
    bool any = false, *summed = r->b->programs.summed;
    if (!hti_made(r, TANGENTS)) return false;
    for (int i = 0; i < r->n_theta; i++) r->out[HTI_THETA_TANGENT][i] = d[i];
    hti_fill_zeros(r, HTI_THETA_TANGENT);
    hti_fill_zeros(r, HTI_STATE_TANGENT);
    for (int j = r->n_theta; j < r->n_theta + r->n_eta; j++)
        if (!ht_is_zero(d[j])) d[j] = ht_neg(d[j]);
    hti_add_sums(r, d + r->n_theta, summed);
    for (int j = 0; j < r->n_eta; j++) any = any || summed[j];
    return hti_cut_call(r, HTI_PRODUCT) && (!any || hti_cut_call(r, HTI_MIXED));
}

/* Where g is 0. */
static bool record_stationary(hti_recorder *r)
{
    parts p = {0};
    ht_var *d = hti_vars_list(r->tape, r->n_theta + r->n_eta);
    r->b->programs.symmetric = !r->asymmetric;
    if (!d || !find_parts(r, &p)) return false;
    bool joint = !r->asymmetric && !decays(r);
    if (!(joint ? derive_joint(r, d) : derive_parts(r, &p, d)) || !cut_products(r, d))
        return false;
    r->out[HTI_THETA_GRADIENT] = r->descent;
    hti_fill_zeros(r, HTI_THETA_GRADIENT);
    return hti_cut_call(r, HTI_RESIDUAL) && (!r->asymmetric || cut_transposed(r, &p));
}

/* Where the step ends where it began. */
static bool record_fixed(hti_recorder *r)
{
    bool any = false, *summed = r->b->programs.summed;
    if (!hti_derive_step(r)) return false;
    r->out[HTI_THETA_TANGENT] = r->out[HTI_THETA_COTANGENT];
    r->out[HTI_STATE_TANGENT] = r->out[HTI_STATE_COTANGENT];
    hti_fill_zeros(r, HTI_THETA_TANGENT);
    hti_fill_zeros(r, HTI_STATE_TANGENT);
    hti_add_sums(r, r->out[HTI_ETA_COTANGENT], summed);
    for (int j = 0; j < r->n_eta; j++) any = any || summed[j];
    if (!hti_cut_call(r, HTI_PRODUCT) || (any && !hti_cut_call(r, HTI_MIXED)))
        return false;
    int n = r->n_theta + r->n_state;
    ht_var *dy = hti_made(r, TANGENTS);
    if (!dy || !hti_jvp(r->tape, n, r->in[HTI_THETA], r->in[HTI_THETA_TANGENT], n,
                        r->out[HTI_THETA], dy, NULL))
        return false;
    hti_fill_zeros(r, HTI_THETA_TANGENT);
    hti_fill_zeros(r, HTI_STATE_TANGENT);
    return hti_cut_call(r, HTI_TRANSPOSED);
}

/* A rate that only the problem can give. */
static bool rate_known(const hti_recorder *r)
{
    const ht_bilevel_options *o = r->options;
    bool needed = o->solver == HT_NEUMANN || o->solver == HT_FIXED_POINT;
    return !needed || o->solver_rate > 0 || r->b->programs.whole_step ||
           HTI_REFUSED(r->b->ctx, HT_ERROR_ARGUMENT,
                       "options.solver is %s, which needs options.solver_rate\n"
                       "  hint: below 2 / the largest eigenvalue of the Hessian; the "
                       "rate of a descent that converges will do",
                       o->solver == HT_NEUMANN ? "HT_NEUMANN" : "HT_FIXED_POINT");
}

/* A solver that takes A to be symmetric goes with one that is. */
static bool symmetry_fits(const hti_recorder *r)
{
    ht_solver solver = r->options->solver;
    bool whole = r->b->programs.whole_step;
    if ((solver != HT_CG && solver != HT_NYSTROM) || (!whole && !r->asymmetric))
        return true;
    const char *name = solver == HT_CG ? "HT_CG" : "HT_NYSTROM";
    if (whole)
        return HTI_REFUSED(r->b->ctx, HT_ERROR_ARGUMENT,
                           "options.solver is %s, but with problem.%s the derivative of "
                           "the whole step is solved for, which is not symmetric\n"
                           "  hint: HT_GMRES, or HT_FIXED_POINT with solver_rate 1",
                           name, r->b->problem.asked.after ? "after" : "update.decay");
    return HTI_REFUSED(r->b->ctx, HT_ERROR_ARGUMENT,
                       "options.solver is %s, but %s stands in the inner loss, so its "
                       "Hessian may not be symmetric\n  hint: HT_GMRES or HT_NORMAL_CG",
                       name, r->asymmetric);
}

/* Those of where the training ends. */
static bool record_products(hti_recorder *r)
{
    hti_programs *p = &r->b->programs;
    p->whole_step = hti_whole_step(&r->b->problem.asked);
    p->asymmetric = r->asymmetric;
    r->in[HTI_THETA_TANGENT] = r->in[HTI_THETA_COTANGENT];
    r->in[HTI_STATE_TANGENT] = r->in[HTI_STATE_COTANGENT];
    return symmetry_fits(r) && rate_known(r) && hti_record_descent(r) &&
           (p->whole_step ? record_fixed(r) : record_stationary(r));
}

bool hti_record_second(hti_recorder *r)
{
    return hti_cut_call(r, HTI_FORWARD) && record_products(r) && hti_record_end(r);
}

bool hti_record_products(hti_recorder *r)
{
    return record_products(r) && hti_record_end(r);
}

bool hti_record_gradients(hti_recorder *r)
{
    ht_var *d = hti_made(r, HTI_LIST(HTI_THETA_GRADIENT, HTI_ETA_GRADIENT));
    if (!d) return false;
    for (int k = 0; k < r->n_theta + r->n_eta; k++) d[k] = r->joint[k];
    hti_fill_zeros(r, HTI_THETA_GRADIENT);
    hti_fill_zeros(r, HTI_ETA_GRADIENT);
    return hti_cut_call(r, HTI_INNER_GRADIENT) && hti_cut_call(r, HTI_RESIDUAL) &&
           hti_record_end(r);
}
