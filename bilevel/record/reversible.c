/* SPDX-License-Identifier: MIT */
/* reversible.c: what a training by momentum needs to be run in integers and back: what
 * its velocity adds up, its rate and momentum as numbers, and the reverse of a step at
 * states that are known, by the fraction that ran for a momentum. Read next:
 * ../unroll/integers.h. */
#include "ratio.h"
#include "record.h"

/* Whether there is a velocity of each parameter that trains, and no more to a step. */
static bool step_undoes(const hti_recorder *r)
{
    const hti_problem *p = &r->b->problem;
    ht_context *ctx = r->b->ctx;
    if (p->asked.after)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "options.method is HT_REVERSIBLE, but problem.after is set, a "
                           "map that cannot be undone\n"
                           "  hint: HT_REVERSE keeps states, and takes it");
    for (int i = 0; i < r->n_theta; i++) {
        const ht_update *own = hti_update_of(&p->asked.update, p->theta->name[i]);
        if (!own || own->rule == &ht_momentum) continue;
        return HTI_REFUSED(
            ctx, HT_ERROR_ARGUMENT,
            "options.method is HT_REVERSIBLE, but the update rule of \"%s\" "
            "is %s, whose steps cannot be undone\n"
            "  hint: HT_MOMENTUM's can; HT_REVERSE takes any rule",
            p->theta->name[i], own->rule->name);
    }
    return true;
}

/* The momentum of a run in integers. */

static bool infer_ratio(ht_infer *it)
{
    it->out = it->in[0];
    return true;
}

/* x that has none is refused in the run. */
static double nearest_ratio(double x)
{
    hti_ratio ratio;
    return hti_ratio_of(x, &ratio) ? (double)ratio.n / (double)ratio.d : x;
}

static void run_ratio(const ht_run *r)
{
    *(double *)r->out.data = nearest_ratio(*(const double *)r->in[0]->data);
}

static void ratio_vjp(ht_rule *r)
{
    r->d[0] = r->v;
}

static ht_var ratio_jvp(const ht_rule *r)
{
    return r->t[0];
}

/* Of a 0-d f64. Its slope is 1, that of what it rounds. */
static const ht_op nearest = {.name = "nearest_ratio",
                              .flags = HT_OP_STOPS,
                              .infer = infer_ratio,
                              .run = run_ratio,
                              .vjp = ratio_vjp,
                              .jvp = ratio_jvp};

/* So that what is differentiated is the training that ran. */
ht_var hti_momentum_ratio(ht_var momentum)
{
    double fixed;
    if (!hti_is_constant(momentum, &fixed))
        return ht_apply(&nearest, 1, &momentum, NULL, HT_HERE);
    return hti_constant(momentum.tape, nearest_ratio(fixed), HT_F64, false, NULL);
}

/* Layers for all steps: of a momentum that is known, or as 1/2 takes and one for digits
 * that are wider. */
static bool layers_of(const hti_recorder *r, int i, int64_t *layers)
{
    const hti_problem *p = &r->b->problem;
    const ht_scalar *m = &hti_update_of(&p->asked.update, p->theta->name[i])->momentum;
    hti_ratio ratio = {1, 2};
    bool varies = m->outer || m->schedule;
    if (!varies && !hti_ratio_of(m->value, &ratio))
        return HTI_REFUSED(
            r->b->ctx, HT_ERROR_ARGUMENT,
            "options.method is HT_REVERSIBLE, but update.momentum of \"%s\" "
            "is %g, which must lie in 2^-16 .. 1\n"
            "  hint: HT_REVERSE takes any",
            p->theta->name[i], m->value);
    *layers = hti_ratio_layers(ratio, p->steps) + varies;
    return true;
}

static bool open_layers(hti_recorder *r)
{
    ht_bilevel *b = r->b;
    size_t live = b->ctx->live;
    b->programs.layers = hti_zalloc(b->ctx, (size_t)r->n_state, sizeof(int64_t));
    if (!b->programs.layers) return false;
    b->planning->own_bytes += b->ctx->live - live;
    int64_t *layers = b->programs.layers;
    for (int i = 0; i < r->n_theta; i++)
        if (b->programs.trained[i] && !layers_of(r, i, layers++)) return false;
    return true;
}

/* The velocity that the update makes of one that is 0. */
static bool cut_descent(hti_recorder *r)
{
    int n;
    ht_var *in = hti_list(r, r->in, hti_signatures[HTI_UPDATE].in, &n),
           *next = hti_vars_list(r->tape, r->n_theta + r->n_state),
           *state = r->out[HTI_STATE];
    if (!in || !next) return false;
    for (int k = r->n_theta; k < r->n_theta + r->n_state; k++)
        in[k] = hti_spread(r->tape, 0, hti_type(in[k]), NULL);
    ht_call_at(r->tape, r->update, in, next, NULL);
    r->out[HTI_STATE] = next + r->n_theta;
    bool ok = r->b->ctx->status == HT_OK && hti_cut_call(r, HTI_DESCENT);
    r->out[HTI_STATE] = state;
    return ok;
}

static bool cut_speeds(hti_recorder *r)
{
    const ht_bilevel_problem *p = &r->b->problem.asked;
    int n = 2 * r->n_state;
    ht_var *speeds = hti_vars_list(r->tape, n);
    if (!speeds || !hti_made(r, HTI_LIST(HTI_SPEEDS))) return false;
    hti_update_speeds(&p->update, r->theta, r->eta, hti_horizon(p), speeds);
    *r->out[HTI_SPEEDS] = ht_stack(n, speeds, 0);
    return hti_sets_hold(r->b, "a schedule") && r->b->ctx->status == HT_OK &&
           hti_cut_call(r, HTI_SPEEDS_NOW);
}

bool hti_record_reversible(hti_recorder *r)
{
    r->b->programs.asymmetric = r->asymmetric;
    return step_undoes(r) && open_layers(r) && cut_descent(r) && cut_speeds(r) &&
           hti_derive_step(r) && hti_cut_reverse_alone(r) && hti_record_end(r);
}
