/* SPDX-License-Identifier: MIT */
/* problem.c: what is refused of a problem, and its sets: those that are borrowed, and
 * those a bilevel owns. Read next: training.c. */
#include <math.h>
#include <string.h>

#include "bilevel_internal.h"

/* Refusing. */

static const char *const role_name[HTI_ROLES] = {
    "theta", "eta", "inner_data", "outer_data",
    "the batch of a data set that is NULL in the problem"};

/* One set in two places. theta and eta: theta_0 is eta then. Inner and outer data: what
 * the one callback filled the other fills again. What cannot be right is refused. */
static bool sharing_valid(ht_context *ctx, const ht_bilevel_problem *p)
{
    const ht_set *variable[] = {p->theta, p->eta},
                 *data[] = {p->inner_data, p->outer_data};
    for (int k = 0; k < 4; k++) {
        if (variable[k / 2] == data[k % 2])
            return HTI_REFUSED(
                ctx, HT_ERROR_ARGUMENT,
                "%s is the set %s too, but a batch is a constant: derivatives through it "
                "would be missing\n  hint: the callbacks are given %s as variables; for "
                "constants give a clone (ht_set_clone)",
                role_name[HTI_LENT_INNER_DATA + k % 2], role_name[k / 2],
                role_name[k / 2]);
    }
    if (!p->inner_data || p->inner_data != p->outer_data) return true;
    if (p->inner_batch || !p->outer_batch) return true;
    return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "outer_batch fills the set that is inner_data too, and no "
                       "inner_batch fills it again for the inner steps\n  hint: "
                       "give an inner_batch as well, or outer_data a set of its own");
}

static bool sets_valid(ht_context *ctx, const ht_bilevel_problem *p)
{
    const ht_set *set[] = {p->theta, p->eta, p->inner_data, p->outer_data};
    const char *const *name = role_name;
    for (int k = 0; k < 4; k++) {
        if (!set[k]) continue;
        HT_ASSERT(set[k]->ctx == ctx, "%s is on another context", name[k]);
        for (int i = 0; k < 2 && i < set[k]->n; i++) {
            ht_dtype dtype = ht_tensor_dtype(set[k]->tensor[i]);
            if (!hti_dtype_is_float(dtype))
                return HTI_REFUSED(ctx, HT_ERROR_NO_GRADIENT,
                                   "\"%s\" in %s is %s, which has no gradient\n"
                                   "  hint: put labels and indices into the data",
                                   set[k]->name[i], name[k], ht_dtype_name(dtype));
        }
    }
    if (!p->theta->n)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT, "theta is empty: nothing to train");
    if (!p->eta->n)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "eta is empty: nothing to differentiate by");
    return sharing_valid(ctx, p);
}

static bool coordinates_valid(ht_context *ctx, const ht_bilevel_problem *p)
{
    HT_ASSERT(p->n_coordinates == 0 || (p->n_coordinates > 0 && p->coordinates),
              "bilevel: %d coordinates at %p", p->n_coordinates,
              (const void *)p->coordinates);
    if (p->coordinates && !p->n_coordinates)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "coordinates are given, but n_coordinates is 0\n"
                           "  hint: how many are there? NULL is none");
    for (int k = 0; k < p->n_coordinates; k++) {
        const ht_coordinate *c = &p->coordinates[k];
        HT_ASSERT(c->outer, "bilevel: the outer variable of coordinate %d is NULL", k);
        if (!ht_set_tensor_at(p->eta, c->outer, NULL)) return false;
        for (int j = 0; j < k; j++)
            if (!strcmp(p->coordinates[j].outer, c->outer))
                return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                                   "an outer variable has two coordinates");
        if (c->kind < HT_IDENTITY || c->kind > HT_SIGMOID)
            return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT, "no such kind of coordinate");
        if (!hti_coordinate_bounded(c))
            return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                               "a sigmoid coordinate needs low < high, and "
                               "high - low finite");
    }
    return true;
}

static bool tolerance_valid(ht_context *ctx, const hti_method *method,
                            const ht_bilevel_problem *p)
{
    if (!(p->tolerance >= 0) || isinf(p->tolerance))
        return HTI_REFUSED(
            ctx, HT_ERROR_ARGUMENT,
            "problem.tolerance is %g, but a norm is at most something from "
            "0 (all steps) on",
            p->tolerance);
    return p->tolerance == 0 || method->ends_early ||
           HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "problem.tolerance is set, but options.method differentiates a "
                       "number of steps that is known before\n"
                       "  hint: HT_IMPLICIT differentiates where a training ends");
}

/* Options of a linear system go with methods that solve one. */
static bool solver_valid(ht_context *ctx, const hti_method *method,
                         const ht_bilevel_options *o)
{
    const struct {
        const char *name;
        bool set;
    } option[] = {{"solver", o->solver != HT_SOLVER_AUTO},
                  {"solver_steps", o->solver_steps != 0},
                  {"solver_tolerance", o->solver_tolerance != 0},
                  {"damping", o->damping != 0},
                  {"solver_rate", o->solver_rate != 0},
                  {"rank", o->rank != 0},
                  {"no_bound", o->no_bound},
                  {"warm", o->warm}};
    for (size_t k = 0; k < sizeof option / sizeof *option && !method->solves; k++)
        if (option[k].set)
            return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                               "options.%s is set, but options.method is %s, which "
                               "solves no linear system\n"
                               "  hint: HT_IMPLICIT does; else leave it 0",
                               option[k].name, method->name);
    return true;
}

static bool disk_valid(ht_context *ctx, const hti_method *method,
                       const ht_bilevel_problem *p, const ht_bilevel_options *o)
{
    const char *what = NULL;
    if (!o->disk)
        return !o->disk_bytes ||
               HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "options.disk_bytes is set, but options.disk names no folder");
    if (!method->keeps_states) what = "a method that keeps no states";
    if (!o->bytes) what = "options.bytes of 0: nothing says when to leave memory";
    if (o->schedule) what = "options.schedule: the disk has one of its own";
    if (o->compare) what = "options.compare, a second bilevel";
    if (p->tasks) what = "problem.tasks, many trainings";
    return !what ||
           HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "options.disk is %s, which does not go with %s", o->disk, what);
}

bool hti_problem_valid(ht_context *ctx, const hti_method *method,
                       const ht_bilevel_problem *p, const ht_bilevel_options *o)
{
    HT_ASSERT(
        p->inner && p->outer,
        "problem.inner or problem.outer is NULL: each is a function that gives a loss");
    HT_ASSERT(p->theta && p->eta, "problem.theta or problem.eta is NULL");
    if (p->steps < 1 || p->steps > HTI_MAX_STEPS)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "steps must lie in 1 .. 2^30, not %lld\n  hint: a run of no "
                           "steps has no update to differentiate",
                           (long long)p->steps);
    if (o->truncate < 0 || o->truncate > p->steps || o->slots < 0)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "truncate must lie in 0 .. steps, slots not be negative");
    if (!method || o->schedule < HT_SCHEDULE_AUTO || o->schedule > HT_REVOLVE)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT, "no such method or schedule");
    if (p->start < 0 || p->start > HTI_MAX_STEPS - p->steps ||
        (p->horizon && p->horizon < p->start + p->steps) || p->horizon > HTI_MAX_STEPS)
        return HTI_REFUSED(
            ctx, HT_ERROR_ARGUMENT,
            "start is %lld, steps %lld, horizon %lld: steps start .. start "
            "+ steps - 1 must lie in 0 .. 2^30 - 1, and below horizon if "
            "that is not 0",
            (long long)p->start, (long long)p->steps, (long long)p->horizon);
    return solver_valid(ctx, method, o) && method->fits(ctx, o) &&
           disk_valid(ctx, method, p, o) && tolerance_valid(ctx, method, p) &&
           sets_valid(ctx, p) && coordinates_valid(ctx, p) &&
           hti_update_valid(ctx, &p->update, p->theta, p->eta, hti_horizon(p));
}

bool hti_whole_step(const ht_bilevel_problem *p)
{
    return p->after || hti_update_decays_itself(&p->update, p->theta);
}

bool hti_within_horizon(const ht_bilevel *b)
{
    const hti_problem *p = &b->problem;
    if (p->start + p->steps <= p->horizon) return true;
    return HTI_REFUSED(
        b->ctx, HT_ERROR_ARGUMENT,
        "the next run's steps are %lld .. %lld, but %lld are all there may be\n"
        "  hint: an outer scalar a step needs an element for each step of the whole "
        "training: set problem.horizon to their number, and give it so many",
        (long long)p->start, (long long)(p->start + p->steps - 1), (long long)p->horizon);
}

/* Sets. */

static void sets_lend(hti_problem *p)
{
    ht_set *const set[HTI_ROLES] = {p->theta, p->eta, p->inner_data, p->outer_data,
                                    p->empty};
    for (int k = 0; k < HTI_ROLES; k++)
        if (set[k]) hti_set_lend(set[k], &p->loan[k], "bilevel", role_name[k]);
}

bool hti_sets_hold(const ht_bilevel *b, const char *where)
{
    for (int k = 0; k < HTI_ROLES; k++)
        if (!hti_loan_holds(&b->problem.loan[k], where)) return false;
    return true;
}

/* Of the sets a result points to; never written. */
static hti_loan result_owner = {.borrower = "bilevel", .role = "result"};

bool hti_state_begin(ht_bilevel *b, int64_t start)
{
    hti_problem *p = &b->problem;
    if (!p->begun) {
        size_t live = b->ctx->live;
        ht_set *ended = ht_set_clone(p->state, 0);
        if (!ended) return false;
        hti_set_own(ended, &result_owner);
        p->ended = ended;
        b->memory.allocated_bytes += b->ctx->live - live;
    }
    p->begun = true;
    p->start = start;
    b->run.ended = false;
    return true;
}

bool hti_best_open(ht_bilevel *b)
{
    hti_problem *p = &b->problem;
    if (p->best) return true;
    p->best = ht_set_clone(p->eta, 0);
    hti_set_own(p->best, &result_owner);
    return p->best != NULL;
}

/* A training that has begun elsewhere goes on from there. */
static bool state_open(ht_bilevel *b)
{
    hti_problem *p = &b->problem;
    const ht_set *from = p->asked.state;
    p->ended = p->state;
    p->asked.state = NULL;
    if (!from && !p->asked.start) return true;
    if (!from && p->state->n)
        return HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                           "problem.start is %lld, but problem.state is NULL, and the "
                           "update rule has a state\n"
                           "  hint: ht_bilevel_state, as it was then",
                           (long long)p->asked.start);
    return (!from || ht_set_copy(p->state, from) == HT_OK) &&
           hti_state_begin(b, p->asked.start);
}

/* Steps of the whole training, if outer values are looked up by them. */
static int64_t horizon_of(const ht_bilevel_problem *p)
{
    int64_t steps = hti_horizon(p);
    return hti_update_by_step(&p->update, p->theta, p->eta, steps) ? steps
                                                                   : HTI_MAX_STEPS;
}

bool hti_problem_open(ht_bilevel *b, const ht_bilevel_problem *asked, int64_t truncate)
{
    hti_problem *p = &b->problem;
    *p = (hti_problem){.asked = *asked,
                       .steps = asked->steps,
                       .first = truncate ? asked->steps - truncate : 0,
                       .horizon = horizon_of(asked),
                       .theta = asked->theta,
                       .eta = asked->eta,
                       .inner_data = asked->inner_data,
                       .outer_data = asked->outer_data,
                       .empty = ht_set_new(b->ctx)};
    if (asked->n_tasks > 0 && asked->tasks) p->asked.user = asked->tasks[0];
    sets_lend(p);
    if (!p->inner_data) p->inner_data = p->empty;
    if (!p->outer_data) p->outer_data = p->empty;
    p->state = hti_update_state(&asked->update, p->theta);
    if (p->state && hti_largest(p->state, NULL) != 0)
        p->initial = ht_set_clone(p->state, 0);
    p->gradient = ht_set_clone(p->eta, 0);
    p->gradient_theta0 = ht_set_clone(p->theta, 0);
    p->final = ht_set_clone(p->theta, 0);
    hti_set_own(p->state, &result_owner);
    hti_set_own(p->initial, &result_owner);
    hti_set_own(p->gradient, &result_owner);
    hti_set_own(p->gradient_theta0, &result_owner);
    hti_set_own(p->final, &result_owner);
    return b->ctx->status == HT_OK && state_open(b);
}

/* Zeros like a set's tensors, with a leading axis m. */
static ht_set *set_of_many(const ht_set *set, int64_t m)
{
    ht_set *many = ht_set_new(set->ctx);
    for (int j = 0; many && j < set->n; j++) {
        ht_shape one = ht_tensor_shape(set->tensor[j]), shape = {.rank = one.rank + 1};
        shape.dim[0] = m;
        for (int i = 0; i < one.rank; i++) shape.dim[i + 1] = one.dim[i];
        ht_set_add_at(many, set->name[j], ht_tensor_dtype(set->tensor[j]), shape, NULL);
    }
    if (many) hti_set_own(many, &result_owner);
    return many;
}

/* No tensor has all the axes there may be. */
static bool has_axis(const ht_set *set)
{
    for (int j = 0; j < set->n; j++)
        if (ht_tensor_shape(set->tensor[j]).rank == HT_MAX_RANK)
            return HTI_REFUSED(set->ctx, HT_ERROR_SHAPE,
                               "\"%s\" has %d axes, and gradients of many outer losses "
                               "one more, which is too many",
                               set->name[j], HT_MAX_RANK);
    return true;
}

bool hti_outers_open(ht_bilevel *b, int64_t m, ht_dtype dtype)
{
    hti_problem *p = &b->problem;
    ht_context *ctx = b->ctx;
    size_t live = ctx->live, bytes = (size_t)m * ht_dtype_bytes(dtype);
    if (!has_axis(p->gradient) || !has_axis(p->gradient_theta0)) return false;
    p->outers = m;
    p->outer_bytes = bytes;
    p->many = set_of_many(p->gradient, m);
    p->many_theta0 = set_of_many(p->gradient_theta0, m);
    p->outer_value = hti_zalloc(ctx, (size_t)m, sizeof *p->outer_value);
    p->outer_loss = hti_zalloc(ctx, 1, bytes);
    p->outer_pick = hti_zalloc(ctx, 1, bytes);
    b->planning->own_bytes += ctx->live - live;
    return ctx->status == HT_OK;
}

bool hti_like_eta(const ht_bilevel *b, const ht_set *v, const char *who)
{
    const ht_set *eta = b->problem.eta;
    HT_ASSERT(v->ctx == b->ctx, "%s is on another context", who);
    for (int j = 0; j < eta->n; j++) {
        const ht_tensor *like = eta->tensor[j];
        if (j >= v->n || strcmp(v->name[j], eta->name[j]) != 0 ||
            ht_tensor_dtype(v->tensor[j]) != ht_tensor_dtype(like) ||
            !ht_shape_equal(ht_tensor_shape(v->tensor[j]), ht_tensor_shape(like)))
            return HTI_REFUSED(b->ctx, HT_ERROR_SHAPE,
                               "%s has no \"%s\" like eta's at place %d\n"
                               "  hint: ht_set_clone(eta, 0) is of eta's form",
                               who, eta->name[j], j);
    }
    return v->n == eta->n || HTI_REFUSED(b->ctx, HT_ERROR_SHAPE,
                                         "%s has \"%s\", which eta has not\n"
                                         "  hint: ht_set_clone(eta, 0) is of eta's form",
                                         who, v->name[eta->n]);
}

int64_t hti_trained_elements(const ht_bilevel *b)
{
    int64_t n = 0;
    for (int i = 0; i < b->problem.theta->n; i++)
        if (b->programs.trained[i]) n += ht_tensor_count(b->problem.theta->tensor[i]);
    return n;
}

/* v has an element for each of theta that trains, and of the rule's state if the whole
 * step is solved for. */
bool hti_warm_open(ht_bilevel *b)
{
    hti_problem *p = &b->problem;
    if (!b->options.warm) return true;
    int64_t n = hti_trained_elements(b);
    if (hti_whole_step(&p->asked)) n += ht_set_elements(p->state);
    p->warm_theta = ht_set_clone(p->theta, 0);
    p->warm = ht_set_new(b->ctx);
    if (!p->warm_theta || !p->warm ||
        !ht_set_add_at(p->warm, "v", HT_F64, HT_SHAPE(n), NULL) ||
        !ht_set_add_at(p->warm, "begun", HT_F64, HT_SCALAR, NULL))
        return false;
    hti_set_own(p->warm_theta, &result_owner);
    hti_set_own(p->warm, &result_owner);
    return true;
}

void hti_problem_close(ht_bilevel *b)
{
    hti_problem *p = &b->problem;
    ht_set *const own[] = {p->many,
                           p->many_theta0,
                           p->gradient,
                           p->gradient_theta0,
                           p->final,
                           p->best,
                           p->warm_theta,
                           p->warm,
                           p->initial,
                           p->state,
                           p->ended != p->state ? p->ended : NULL};
    for (int k = 0; k < HTI_ROLES; k++) hti_set_return(&p->loan[k]);
    ht_set_free(p->empty);
    if (p->outer_value)
        hti_resize(b->ctx, p->outer_value, (size_t)p->outers * sizeof *p->outer_value, 0);
    if (p->outer_loss) hti_resize(b->ctx, p->outer_loss, p->outer_bytes, 0);
    if (p->outer_pick) hti_resize(b->ctx, p->outer_pick, p->outer_bytes, 0);
    for (size_t k = 0; k < sizeof own / sizeof *own; k++) {
        hti_set_disown(own[k], &result_owner);
        ht_set_free(own[k]);
    }
}
