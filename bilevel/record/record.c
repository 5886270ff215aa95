/* SPDX-License-Identifier: MIT */
/* record.c: the callbacks on tapes, derived and cut into the programs of a bilevel.
 *
 * The update is recorded by itself, with the inner gradient g as leaves, and its vjp cut
 * into a program; the reverse step calls that with the real g and carries the cotangent
 * of g through one jvp of the joint gradient (theta, eta) -> d inner: with a symmetric
 * Hessian that gives both H gbar and the mixed term (Kemaev et al., ICML 2025). The
 * update's results are inputs of the reverse step, since the sweep has them at hand. Read
 * next: memory.c. */
#include <string.h>

#include "record.h"

ht_var *hti_vars_list(ht_tape *tape, int n)
{
    ht_var *list = hti_arena_alloc(&tape->memory, (size_t)n * sizeof *list);
    for (int i = 0; list && i < n; i++) list[i] = HT_ZERO;
    return list;
}

/* Leaves of a set's types. */
ht_var *hti_leaves(ht_tape *tape, const ht_set *set)
{
    ht_var *leaf = hti_vars_list(tape, set->n);
    for (int i = 0; leaf && i < set->n; i++) {
        const ht_tensor *t = set->tensor[i];
        leaf[i] = ht_input_like_at(tape, (ht_type){t->array.dtype, t->array.shape},
                                   set->name[i]);
    }
    return leaf;
}

/* Leaves of the types of theta and the state, in one list. */
ht_var *hti_state_leaves(const ht_bilevel *b, ht_tape *tape)
{
    ht_var *theta = hti_leaves(tape, b->theta), *state = hti_leaves(tape, b->state);
    ht_var *both = hti_vars_list(tape, b->theta->n + b->state->n);
    if (!theta || !state || !both) return NULL;
    memcpy(both, theta, (size_t)b->theta->n * sizeof *both);
    memcpy(both + b->theta->n, state, (size_t)b->state->n * sizeof *both);
    return both;
}

/* Copies list `from` to *to and moves on. */
void hti_push(ht_var **to, const ht_var *from, int n)
{
    memcpy(*to, from, (size_t)n * sizeof *from);
    *to += n;
}

ht_var hti_zero_filled(ht_tape *tape, ht_var x, const ht_set *set, int i)
{
    const ht_tensor *t = set->tensor[i];
    return ht_is_zero(x)
               ? hti_zeros(tape, (ht_type){t->array.dtype, t->array.shape}, NULL)
               : x;
}

/* The value the callbacks see of a coordinate. */
static ht_var hti_natural(const ht_bilevel_problem *p, const char *name, ht_var u)
{
    for (int k = 0; k < p->n_coordinates; k++) {
        const ht_coordinate *c = &p->coordinates[k];
        if (strcmp(c->outer, name) != 0 || c->kind == HT_IDENTITY) continue;
        if (c->kind == HT_LOG) return ht_exp(u);
        return ht_add(ht_mul(ht_sigmoid(u), c->high - c->low), c->low);
    }
    return u;
}

static ht_vars *hti_stage_vars(ht_tape *tape, const ht_set *set, const ht_var *var,
                               ht_var step)
{
    ht_vars *vars = hti_vars_new(tape, set, step);
    if (vars) memcpy(vars->var, var, (size_t)set->n * sizeof *var);
    return vars;
}

bool hti_stage_open(hti_stage *s, const ht_bilevel *b, const ht_set *batch)
{
    *s = (hti_stage){.tape = ht_tape_new(b->ctx, HT_RECORD)};
    if (!s->tape) return false;
    s->theta = hti_leaves(s->tape, b->theta);
    s->state = hti_leaves(s->tape, b->state);
    s->eta = hti_leaves(s->tape, b->eta);
    s->batch = hti_leaves(s->tape, batch);
    s->step = ht_input_like_at(s->tape, (ht_type){HT_I32, HT_SCALAR}, "step");
    s->natural = hti_vars_list(s->tape, b->eta->n);
    if (b->ctx->status != HT_OK) return false;
    for (int j = 0; j < b->eta->n; j++)
        s->natural[j] = hti_natural(&b->problem, b->eta->name[j], s->eta[j]);
    s->theta_vars = hti_stage_vars(s->tape, b->theta, s->theta, s->step);
    s->state_vars = hti_stage_vars(s->tape, b->state, s->state, s->step);
    s->eta_vars = hti_stage_vars(s->tape, b->eta, s->natural, s->step);
    s->batch_vars = hti_stage_vars(s->tape, batch, s->batch, s->step);
    return b->ctx->status == HT_OK;
}

/* Cutting. */

/* A program as a call: its pointer lists are made here, once. */
bool hti_cut_call(ht_bilevel *b, hti_call *call, ht_tape *tape, const ht_var *in,
                  const ht_var *in_end, const ht_var *out, const ht_var *out_end)
{
    call->n_in = (int)(in_end - in);
    call->n_out = (int)(out_end - out);
    call->program = ht_program_new_at(tape, call->n_in, in, call->n_out, out, NULL);
    if (!call->program) return false;
    call->in = hti_zalloc(b->ctx, (size_t)call->n_in, sizeof *call->in);
    call->out = hti_zalloc(b->ctx, (size_t)call->n_out, sizeof *call->out);
    return b->ctx->status == HT_OK;
}

void hti_call_free(ht_context *ctx, hti_call *call)
{
    ht_program_free(call->program);
    hti_resize(ctx, call->in, (size_t)call->n_in * sizeof *call->in, 0);
    hti_resize(ctx, call->out, (size_t)call->n_out * sizeof *call->out, 0);
    hti_resize(ctx, call->over, (size_t)call->n_out * sizeof *call->over, 0);
    *call = (hti_call){0};
}

/* A loss as the callback gave it: 0-d and float, or an error. */
bool hti_loss_valid(ht_bilevel *b, ht_tape *tape, ht_var loss, const char *which)
{
    if (b->ctx->status != HT_OK) return false;
    HT_ASSERT(!ht_is_zero(loss) && !hti_is_number(loss),
              "the %s loss is a number, not a variable of the tape", which);
    if (hti_check_var(loss) == HTI_NONE)
        return hti_fail_poisoned(b->ctx, which, NULL), false;
    HT_ASSERT(loss.tape == tape, "the %s loss is on another tape", which);
    ht_type type = hti_type(loss);
    if (type.shape.rank == 0 && hti_dtype_is_float(type.dtype)) return true;
    char text[HT_SHAPE_TEXT];
    ht_context_fail(b->ctx, HT_ERROR_SHAPE, tape->site[loss.index],
                    "bilevel: the %s loss must be a 0-d float, it is %s %s\n"
                    "  hint: ht_mean or ht_sum it",
                    which, ht_dtype_name(type.dtype), ht_shape_text(type.shape, text));
    return false;
}

/* Adds each present part of d to its sum; what is absent is neither read nor written. */
ht_var *hti_push_sums(int n, const ht_var *sum, const ht_var *d, bool *summed,
                      ht_var *end)
{
    for (int j = 0; j < n; j++) {
        summed[j] = !ht_is_zero(d[j]);
        if (summed[j]) *end++ = ht_add(sum[j], d[j]);
    }
    return end;
}

/* The update and its vjp. */

static bool hti_record_update(hti_recorder *r)
{
    ht_bilevel *b = r->b;
    hti_stage s;
    int n_out = r->n_theta + r->n_state, n_x = n_out + r->n_eta + r->n_theta;
    bool ok = hti_stage_open(&s, b, b->empty);
    if (!ok) return ht_tape_free(s.tape), false;
    ht_tape *tape = s.tape;
    ht_var *g = hti_leaves(tape, b->theta), *cotangent = hti_state_leaves(b, tape);
    ht_var *out = hti_vars_list(tape, n_out),
           *in = hti_vars_list(tape, n_x + 1 + 2 * n_out);
    ht_var *x = hti_vars_list(tape, n_x), *d = hti_vars_list(tape, n_x), *x_end = x;
    bool *reached = hti_arena_alloc(&tape->memory, (size_t)n_x);
    ok = g && cotangent && out && in && x && d && reached;
    if (ok) {
        ht_var *in_end = in;
        hti_update_emit(&b->problem.update, s.theta_vars, s.state_vars, s.eta_vars,
                        b->problem.steps, g, out, out + r->n_theta);
        hti_push(&in_end, s.theta, r->n_theta);
        hti_push(&in_end, s.state, r->n_state);
        hti_push(&in_end, s.eta, r->n_eta);
        hti_push(&in_end, &s.step, 1);
        hti_push(&in_end, g, r->n_theta);
        if (hti_sets_hold(b, "a schedule"))
            r->update = ht_program_new_at(tape, (int)(in_end - in), in, n_out, out, NULL);
        hti_push(&x_end, s.theta, r->n_theta);
        hti_push(&x_end, s.state, r->n_state);
        hti_push(&x_end, s.eta, r->n_eta);
        hti_push(&x_end, g, r->n_theta);
        ok = r->update && hti_vjp(tape, n_out, out, cotangent, n_x, x, d, reached, NULL);
        int present = 0;
        for (int k = 0; ok && k < n_x; k++) {
            r->present[k] = !ht_is_zero(d[k]);
            if (r->present[k]) d[present++] = d[k];
        }
        for (int j = 0; ok && j < r->n_eta; j++)
            if (reached[n_out + j]) r->eta_reached[j] = true;
        hti_push(&in_end, out, n_out);
        hti_push(&in_end, cotangent, n_out);
        if (ok)
            r->update_vjp =
                ht_program_new_at(tape, (int)(in_end - in), in, present, d, NULL);
        ok = r->update_vjp != NULL;
    }
    ht_tape_free(tape);
    return ok;
}

/* Initial values and the outer loss. */

static bool hti_cut_initial(hti_recorder *r, hti_stage *s)
{
    ht_bilevel *b = r->b;
    ht_tape *tape = s->tape;
    const ht_var *first = b->theta == b->eta ? s->eta : s->theta;
    ht_vars *theta0 = hti_stage_vars(tape, b->theta, first, s->step);
    int n_in = 2 * (r->n_eta + r->n_theta);
    ht_var *in = hti_vars_list(tape, n_in), *in_end = in;
    ht_var *cotangent = hti_leaves(tape, b->theta), *sum = hti_leaves(tape, b->eta);
    ht_var *d = hti_vars_list(tape, r->n_eta), *out = hti_vars_list(tape, r->n_eta);
    ht_var *dy = hti_vars_list(tape, r->n_theta);
    bool *reached = hti_arena_alloc(&tape->memory, (size_t)r->n_eta);
    if (!theta0 || !in || !cotangent || !sum || !d || !out || !dy || !reached)
        return false;
    if (b->problem.init) b->problem.init(s->eta_vars, theta0, b->problem.user);
    if (!hti_sets_hold(b, "init") || b->ctx->status != HT_OK) return false;
    hti_push(&in_end, s->eta, r->n_eta);
    hti_push(&in_end, s->theta, r->n_theta);
    if (!hti_cut_call(b, &b->call[HTI_INITIAL], tape, in, in_end, theta0->var,
                      theta0->var + r->n_theta) ||
        !hti_vjp(tape, r->n_theta, theta0->var, cotangent, r->n_eta, s->eta, d, reached,
                 NULL))
        return false;
    memcpy(b->init_alone, reached, (size_t)r->n_eta * sizeof *reached);
    if (b->method == HT_FORWARD) {
        if (!hti_jvp(tape, r->n_eta, s->eta, sum, r->n_theta, theta0->var, dy, NULL))
            return false;
        for (int i = 0; i < r->n_theta; i++)
            dy[i] = hti_zero_filled(tape, dy[i], b->theta, i);
        hti_push(&in_end, sum, r->n_eta);
        return hti_cut_call(b, &b->call[HTI_INITIAL_TANGENT], tape, in, in_end, dy,
                            dy + r->n_theta);
    }
    hti_push(&in_end, cotangent, r->n_theta);
    for (int j = 0; j < r->n_eta; j++)
        if (!ht_is_zero(d[j])) *in_end++ = sum[j];
    ht_var *out_end = hti_push_sums(r->n_eta, sum, d, b->initial_summed, out);
    return out_end == out ||
           hti_cut_call(b, &b->call[HTI_INITIAL_REVERSE], tape, in, in_end, out, out_end);
}

static bool hti_cut_outer(hti_recorder *r, hti_stage *s)
{
    ht_bilevel *b = r->b;
    ht_tape *tape = s->tape;
    int n_joint = r->n_theta + r->n_eta;
    ht_var loss =
        b->problem.outer(s->theta_vars, s->eta_vars, s->batch_vars, b->problem.user);
    if (!hti_sets_hold(b, "outer") || !hti_loss_valid(b, tape, loss, "outer"))
        return false;
    ht_var *in = hti_vars_list(tape, n_joint + b->outer_data->n + 1), *in_end = in;
    ht_var *out = hti_vars_list(tape, n_joint + 1), one = ht_number(1);
    bool *reached = hti_arena_alloc(&tape->memory, (size_t)n_joint);
    if (!in || !out || !reached) return false;
    hti_push(&in_end, s->theta, r->n_theta);
    hti_push(&in_end, s->eta, r->n_eta);
    if (!hti_vjp(tape, 1, &loss, &one, n_joint, in, out + 1, reached, NULL)) return false;
    for (int k = 0; k < n_joint; k++) {
        bool *any =
            k < r->n_theta ? &r->theta_reached[k] : &r->eta_reached[k - r->n_theta];
        *any = *any || reached[k];
        out[k + 1] = k < r->n_theta
                         ? hti_zero_filled(tape, out[k + 1], b->theta, k)
                         : hti_zero_filled(tape, out[k + 1], b->eta, k - r->n_theta);
    }
    out[0] = loss;
    hti_push(&in_end, s->batch, b->outer_data->n);
    hti_push(&in_end, &s->step, 1);
    return hti_cut_call(b, &b->call[HTI_OUTER_LOSS], tape, in, in_end, out,
                        out + n_joint + 1);
}

/* Records on a tape of its own. */
static bool hti_record_stage(hti_recorder *r, const ht_set *batch,
                             bool (*cut)(hti_recorder *, hti_stage *))
{
    hti_stage s;
    bool ok = hti_stage_open(&s, r->b, batch) && cut(r, &s);
    ht_tape_free(s.tape);
    return ok;
}

bool hti_all_reached(const hti_recorder *r)
{
    const ht_bilevel *b = r->b;
    for (int j = 0; j < r->n_eta; j++) {
        bool others = r->eta_reached[j];
        r->eta_reached[j] = others || b->init_alone[j];
        b->init_alone[j] = b->init_alone[j] && !others;
    }
    for (int k = 0; k < r->n_eta + r->n_theta; k++) {
        bool outer = k < r->n_eta;
        if (outer ? r->eta_reached[k] : r->theta_reached[k - r->n_eta]) continue;
        ht_context_fail(
            b->ctx, HT_ERROR_NO_GRADIENT, NULL,
            "bilevel: %s \"%s\" reaches neither the inner loss, the update rule, the "
            "initial value nor the outer loss\n  hint: use it in one of them, or "
            "leave it out of %s",
            outer ? "outer variable" : "parameter",
            outer ? b->eta->name[k] : b->theta->name[k - r->n_eta],
            outer ? "eta" : "theta");
        return false;
    }
    return true;
}

bool hti_bilevel_record(ht_bilevel *b, const ht_bilevel_options *options)
{
    hti_recorder r = {.b = b,
                      .options = options,
                      .n_theta = b->theta->n,
                      .n_state = b->state->n,
                      .n_eta = b->eta->n,
                      .mixed = b->method == HT_REVERSE || b->method == HT_TRUNCATED};
    size_t n_flags = 3 * (size_t)r.n_theta + (size_t)r.n_state + 2 * (size_t)r.n_eta;
    r.present = hti_zalloc(b->ctx, n_flags, sizeof *r.present);
    if (!r.present) return false;
    r.eta_reached = r.present + 2 * r.n_theta + r.n_state + r.n_eta;
    r.theta_reached = r.eta_reached + r.n_eta;
    bool ok = hti_record_update(&r) && hti_record_stage(&r, b->empty, hti_cut_initial) &&
              hti_record_stage(&r, b->outer_data, hti_cut_outer) && hti_record_step(&r);
    ht_program_free(r.update);
    ht_program_free(r.update_vjp);
    hti_resize(b->ctx, r.present, n_flags * sizeof *r.present, 0);
    return ok;
}
