/* SPDX-License-Identifier: MIT */
/* implicit.c: the derivative of where a training ends, by the implicit function theorem.
 * With g(theta, eta) = 0 there, or (theta, s) = Phi(theta, s, eta), one linear system
 * takes the place of the sweep back over the steps:
 *   A v = @F/@theta,   dF/d eta = @F/@eta - (dg/d eta)^T v      A = (dg/d theta)^T
 *                      dF/d eta = @F/@eta + (dPhi/d eta)^T v    A = 1 - (dPhi/d theta)^T
 * A is known by products, which are programs (record/second.c). Read next: bound.c. */
#include "implicit.h"

#include <math.h>
#include <string.h>

/* Options. */

static bool numbers_fit(ht_context *ctx, const ht_bilevel_options *o)
{
    bool valid = o->solver_steps >= 0 && o->rank >= 0 && o->solver_tolerance >= 0 &&
                 o->solver_tolerance < 1 && o->damping >= 0 && isfinite(o->damping) &&
                 o->solver_rate >= 0 && isfinite(o->solver_rate);
    return valid || HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                                "options.solver_steps (%lld), rank (%lld), damping (%g) "
                                "and solver_rate (%g) must not be negative, "
                                "solver_tolerance (%g) must lie in 0 .. 1",
                                (long long)o->solver_steps, (long long)o->rank,
                                o->damping, o->solver_rate, o->solver_tolerance);
}

static const char *const solver_name[] = {
    "HT_SOLVER_AUTO", "HT_CG",          "HT_NORMAL_CG", "HT_GMRES",
    "HT_NEUMANN",     "HT_FIXED_POINT", "HT_NYSTROM"};

/* A number with a solver that has no use for it. */
static bool solver_fits(ht_context *ctx, const ht_bilevel_options *o)
{
    bool rate = o->solver == HT_NEUMANN || o->solver == HT_FIXED_POINT;
    bool rank = o->solver == HT_GMRES || o->solver == HT_NYSTROM;
    if (o->solver < HT_SOLVER_AUTO || o->solver > HT_NYSTROM)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT, "no such solver");
    const char *solver = solver_name[o->solver];
    if (o->solver_rate > 0 && !rate)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "options.solver_rate is set, but options.solver is %s, which "
                           "takes no rate\n  hint: HT_NEUMANN and HT_FIXED_POINT do",
                           solver);
    if (o->rank && !rank)
        return HTI_REFUSED(
            ctx, HT_ERROR_ARGUMENT,
            "options.rank is set, but options.solver is %s, which has none\n"
            "  hint: it is HT_NYSTROM's, and HT_GMRES's restart",
            solver);
    if (o->solver == HT_NYSTROM && !o->rank)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "options.solver is HT_NYSTROM, which needs options.rank\n"
                           "  hint: as many products as may be afforded, say 20");
    return true;
}

static bool implicit_fits(ht_context *ctx, const ht_bilevel_options *o)
{
    const char *other = o->truncate                       ? "truncate"
                        : o->slots                        ? "slots"
                        : o->schedule != HT_SCHEDULE_AUTO ? "schedule"
                                                          : NULL;
    if (other)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "options.method is HT_IMPLICIT, but options.%s is set, and no "
                           "step is differentiated\n"
                           "  hint: leave it 0, or HT_REVERSE differentiates the steps",
                           other);
    return numbers_fit(ctx, o) && solver_fits(ctx, o);
}

/* Memory. */

static hti_room implicit_room(const ht_bilevel *b, hti_choice c)
{
    (void)c;
    return (hti_room){
        .blocks = 2, .cotangents = 1, .own = hti_implicit_open(b, NULL).bytes};
}

static void implicit_refuse(const ht_bilevel *b, const ht_bilevel_options *o)
{
    hti_refuse(b, o, "the implicit method");
}

/* The run. */

/* Parameters that stay as they began: what they are made of is known by init alone. Their
 * cotangent is @F/@theta and what the products say of them, along v. */
static bool run_untrained(hti_implicit *m)
{
    ht_bilevel *b = m->b;
    const hti_problem *p = &b->problem;
    if (!b->programs.call[HTI_INITIAL_REVERSE].program || p->begun) return true;
    if (!hti_implicit_second(m, HTI_PRODUCT, m->v)) return false;
    unsigned char *from = b->memory.cotangents[0], *through = m->out;
    double sign = b->programs.whole_step ? 1 : -1;
    for (int i = 0; i < p->theta->n; i++) {
        const ht_tensor *t = p->theta->tensor[i];
        size_t bytes = hti_round_up(ht_tensor_bytes(t), HTI_ALIGN);
        b->run.cotangent[i] = from;
        if (b->programs.trained[i])
            memset(from, 0, bytes);
        else
            hti_add_elements(t, from, sign, through);
        from += bytes, through += bytes;
    }
    return hti_run_call(b, HTI_INITIAL_REVERSE, &(hti_places){0}, 0);
}

static void keep_warm(hti_implicit *m)
{
    hti_problem *p = &m->b->problem;
    if (!p->warm || !hti_finite(m->v, m->n) || !isfinite(hti_largest(p->final, NULL)))
        return;
    ht_set_copy(p->warm_theta, p->final);
    memcpy(ht_tensor_data(p->warm->tensor[0]), m->v, (size_t)m->n * sizeof *m->v);
    ht_tensor_fill(p->warm->tensor[1], 1);
}

static void begin_v(hti_implicit *m)
{
    const ht_set *warm = m->b->problem.warm;
    size_t bytes = (size_t)m->n * sizeof *m->v;
    if (warm && ht_tensor_get(warm->tensor[1], 0) != 0)
        memcpy(m->v, ht_tensor_data(warm->tensor[0]), bytes);
    else
        memset(m->v, 0, bytes);
}

static bool fill_gradient(ht_bilevel *b, double value)
{
    for (int j = 0; j < b->problem.gradient->n; j++)
        ht_tensor_fill(b->problem.gradient->tensor[j], value);
    return true;
}

/* From theta_T, both losses and their gradients being known. */
static bool run_solve(hti_implicit *m, uint64_t outer_step)
{
    ht_bilevel *b = m->b;
    ht_bilevel_result *r = &b->run.result;
    hti_linear a = hti_implicit_system(m);
    hti_implicit_right(m);
    if (!hti_enter_step(b, b->run.last) || !hti_implicit_residual(m)) return false;
    r->inner_residual = hti_norm(m->residual, hti_trained_elements(b));
    begin_v(m);
    hti_solution s = hti_solve(m->row, &a, &m->options, m->right, m->v, m->work);
    r->solver_residual = s.residual;
    r->solver_steps = s.products;
    b->run.solver_end = (int)s.end;
    b->run.drift = -hti_dot(m->v, m->residual, m->n);
    if (b->ctx->status != HT_OK) return false;
    if (s.end == HTI_FAILED) return fill_gradient(b, (double)NAN);
    if (!hti_implicit_mixed(m, m->v) || !run_untrained(m)) return false;
    keep_warm(m);
    return hti_implicit_bound(m, &s, outer_step, &r->error_bound);
}

static bool implicit_run(ht_bilevel *b, uint64_t outer_step)
{
    if (!hti_train(b) || !hti_run_losses(b, outer_step)) return false;
    hti_implicit m = hti_implicit_open(b, b->memory.own);
    m.here.at = hti_block(b, b->run.current);
    return run_solve(&m, outer_step);
}

/* Words. */

/* Names of the outer variables that reach something by these alone. */
static void note_alone(ht_bilevel *b, uint8_t by, const char *what)
{
    const ht_set *eta = b->problem.eta;
    char *name[HTI_NOTE / 4], names[HTI_NOTE / 4];
    int n = 0;
    for (int j = 0; j < eta->n && n < HTI_NOTE / 4; j++)
        if (!(b->programs.reach[j] & ~by) && !b->programs.summed[j])
            name[n++] = eta->name[j];
    if (!n) return;
    hti_set_names(names, sizeof names, n, name);
    hti_note(b,
             "implicit: what %s alone uses gets 0, where a training ends does not "
             "depend on it: %s",
             what, names);
}

static void implicit_explain(ht_bilevel *b)
{
    bool all = hti_trained_elements(b) == ht_set_elements(b->problem.theta);
    note_alone(b, (uint8_t)(HTI_BY_UPDATE | (all ? HTI_BY_INIT : 0)),
               all ? "the update rule or init" : "the update rule");
    if (b->problem.asked.inner_batch)
        hti_note(b, "implicit: the inner loss is the one on the last step's batch");
}

static void implicit_explain_run(ht_bilevel *b)
{
    static const char *const why[] = {
        [HTI_OUT_OF_PRODUCTS] = "solver_steps were too few",
        [HTI_STALLED] = "it came no nearer, by rounding or for lack of progress",
        [HTI_INDEFINITE] = "A has a direction of negative curvature: no minimum of the "
                           "inner loss, or use HT_GMRES, or damping",
        [HTI_SINGULAR] = "A is singular: damping makes it regular",
        [HTI_FAILED] = "a product is not finite"};
    const ht_bilevel_result *r = &b->run.result;
    bool nystroem = b->options.solver == HT_NYSTROM;
    hti_end end = (hti_end)b->run.solver_end;
    /* Where no tolerance was asked for, rounding may keep it from ours. */
    bool near = !(b->options.solver_tolerance > 0) && end == HTI_STALLED &&
                r->solver_residual <= 1e4 * hti_usual_tolerance(b);
    if (end != HTI_SOLVED && end != HTI_GOES_ON && !near && r->bad_where == HT_BAD_NONE)
        hti_note(b,
                 "implicit: the solver did not reach its tolerance, |b - A v| / |b| is "
                 "%.1e after %lld products: %s",
                 r->solver_residual, (long long)r->solver_steps,
                 nystroem ? "a matrix of that rank comes no nearer" : why[end]);
    if (fabs(b->run.drift) > 1e-2 * fabs(r->outer) && r->bad_where == HT_BAD_NONE)
        hti_note(
            b,
            "implicit: far from where the training would end: the inner gradient's "
            "norm is %.1e, and the outer loss would still change by about %.1e of %.1e",
            r->inner_residual, b->run.drift, r->outer);
}

static void implicit_tell(const ht_bilevel *b, FILE *f)
{
    hti_implicit m = hti_implicit_open(b, NULL);
    const char *of = b->programs.whole_step ? "the whole step" : "the inner loss";
    fprintf(f,
            "solver    %s, of %lld unknowns, by products with the second derivative of "
            "%s, %s: at most %lld, to %.1e\n",
            m.row->name, (long long)m.n, of,
            b->programs.symmetric ? "which is symmetric" : "which may not be symmetric",
            (long long)m.options.most, m.options.tolerance);
    fprintf(f, "run       %lld steps at most, and no state kept\n",
            (long long)b->problem.steps);
}

const hti_method hti_method_implicit = {.kind = HT_IMPLICIT,
                                        .name = "HT_IMPLICIT",
                                        .solves = true,
                                        .ends_early = true,
                                        .fits = implicit_fits,
                                        .record_initial = hti_record_initial_reverse,
                                        .record = hti_record_second,
                                        .room = implicit_room,
                                        .refuse = implicit_refuse,
                                        .run = implicit_run,
                                        .explain = implicit_explain,
                                        .explain_run = implicit_explain_run,
                                        .tell = implicit_tell,
                                        .follows = HTI_BY_INNER | HTI_BY_OUTER};
