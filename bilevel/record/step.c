/* SPDX-License-Identifier: MIT */
/* step.c: one inner step on a tape, its derivative in mixed mode, by reverse over
 * reverse or forward, and the programs cut from them. Read next: memory.c. */
#include <stdlib.h>
#include <string.h>

#include "record.h"

/* Whether every op behind the inner loss has rules that are its derivative, so that its
 * Hessian is symmetric. Names one that may not in `op`. */
static bool hti_is_symmetric(const ht_tape *tape, const char **op)
{
    for (uint32_t i = 0; i < tape->n; i++) {
        bool known = false;
        for (int k = 0; ht_op_at(k) && !known; k++) known = ht_op_at(k) == tape->op[i];
        if (known && !(tape->op[i]->flags & HT_OP_STOPS)) continue;
        *op = tape->op[i]->name;
        return false;
    }
    return true;
}

/* Everything recorded of one inner step. */
typedef struct hti_step_stage {
    hti_stage s;
    ht_var loss;
    ht_var *joint;             /* d loss / d (theta, eta), absent parts HT_ZERO */
    ht_var *g;                 /* its theta part, no absent ones */
    ht_var *out;               /* theta', s' */
    ht_var *known, *cotangent; /* leaves of out's types */
    ht_var *sum;               /* leaves of eta's types */
    ht_var *d;                 /* cotangents of theta, s, eta */
} hti_step_stage;

static bool hti_step_open(hti_recorder *r, hti_step_stage *t)
{
    ht_bilevel *b = r->b;
    *t = (hti_step_stage){0};
    if (!hti_stage_open(&t->s, b, b->inner_data)) return false;
    ht_tape *tape = t->s.tape;
    int n_out = r->n_theta + r->n_state;
    t->joint = hti_vars_list(tape, r->n_theta + r->n_eta);
    t->g = hti_vars_list(tape, r->n_theta);
    t->out = hti_vars_list(tape, n_out);
    t->known = hti_state_leaves(b, tape);
    t->cotangent = hti_state_leaves(b, tape);
    t->d = hti_vars_list(tape, n_out + r->n_eta);
    t->sum = hti_leaves(tape, b->eta);
    if (b->ctx->status != HT_OK) return false;
    t->loss = b->problem.inner(t->s.theta_vars, t->s.eta_vars, t->s.batch_vars,
                               b->problem.user);
    return hti_sets_hold(b, "inner") && hti_loss_valid(b, tape, t->loss, "inner");
}

/* The joint gradient and the real step. */
static bool hti_step_forward(hti_recorder *r, hti_step_stage *t)
{
    ht_bilevel *b = r->b;
    ht_tape *tape = t->s.tape;
    int n_joint = r->n_theta + r->n_eta;
    ht_var *x = hti_vars_list(tape, n_joint), *end = x, one = ht_number(1);
    bool *reached = hti_arena_alloc(&tape->memory, (size_t)n_joint);
    ht_var *in = hti_vars_list(tape, 2 * r->n_theta + r->n_state + r->n_eta + 1),
           *in_end = in;
    if (!x || !reached || !in) return false;
    hti_push(&end, t->s.theta, r->n_theta);
    hti_push(&end, t->s.eta, r->n_eta);
    if (!hti_vjp(tape, 1, &t->loss, &one, n_joint, x, t->joint, reached, NULL))
        return false;
    for (int i = 0; i < r->n_theta; i++) {
        r->theta_reached[i] = r->theta_reached[i] || reached[i];
        t->g[i] = hti_zero_filled(tape, t->joint[i], b->theta, i);
    }
    for (int j = 0; j < r->n_eta; j++)
        r->eta_reached[j] = r->eta_reached[j] || reached[r->n_theta + j];
    hti_push(&in_end, t->s.theta, r->n_theta);
    hti_push(&in_end, t->s.state, r->n_state);
    hti_push(&in_end, t->s.eta, r->n_eta);
    hti_push(&in_end, &t->s.step, 1);
    hti_push(&in_end, t->g, r->n_theta);
    ht_call_at(tape, r->update, in, t->out, NULL);
    return b->ctx->status == HT_OK;
}

/* d by the vjp of the update and one jvp of the joint gradient. */
static bool hti_step_mixed(hti_recorder *r, hti_step_stage *t)
{
    ht_tape *tape = t->s.tape;
    int n_out = r->n_theta + r->n_state, n_d = n_out + r->n_eta,
        n_joint = r->n_theta + r->n_eta;
    ht_var *in = hti_vars_list(tape, n_d + 1 + r->n_theta + 2 * n_out), *in_end = in;
    ht_var *part = hti_vars_list(tape, n_d + r->n_theta);
    ht_var *gbar = hti_vars_list(tape, r->n_theta),
           *second = hti_vars_list(tape, n_joint);
    if (!in || !part || !gbar || !second) return false;
    hti_push(&in_end, t->s.theta, r->n_theta);
    hti_push(&in_end, t->s.state, r->n_state);
    hti_push(&in_end, t->s.eta, r->n_eta);
    hti_push(&in_end, &t->s.step, 1);
    hti_push(&in_end, t->g, r->n_theta);
    hti_push(&in_end, t->known, n_out);
    hti_push(&in_end, t->cotangent, n_out);
    ht_call_at(tape, r->update_vjp, in, part, NULL);
    if (tape->ctx->status != HT_OK) return false;
    for (int k = 0; k < n_d + r->n_theta; k++) {
        ht_var x = r->present[k] ? *part++ : HT_ZERO;
        if (k < n_d)
            t->d[k] = x;
        else
            gbar[k - n_d] = x;
    }
    if (!hti_jvp(tape, r->n_theta, t->s.theta, gbar, n_joint, t->joint, second, NULL))
        return false;
    for (int i = 0; i < r->n_theta; i++) t->d[i] = ht_add(t->d[i], second[i]);
    for (int j = 0; j < r->n_eta; j++)
        t->d[n_out + j] = ht_add(t->d[n_out + j], second[r->n_theta + j]);
    return tape->ctx->status == HT_OK;
}

/* d by the vjp of the whole step, gradient included: reverse over reverse. */
static bool hti_step_reverse_twice(hti_recorder *r, hti_step_stage *t)
{
    ht_tape *tape = t->s.tape;
    int n_out = r->n_theta + r->n_state, n_d = n_out + r->n_eta;
    ht_var *x = hti_vars_list(tape, n_d), *end = x;
    if (!x) return false;
    hti_push(&end, t->s.theta, r->n_theta);
    hti_push(&end, t->s.state, r->n_state);
    hti_push(&end, t->s.eta, r->n_eta);
    return hti_vjp(tape, n_out, t->out, t->cotangent, n_d, x, t->d, NULL, NULL);
}

/* The lists reverse and forward are cut by. */
typedef struct hti_reverse_lists {
    ht_var *in, *forward_in_end, *in_end, *out, *out_end, *forward, *forward_end, *log;
} hti_reverse_lists;

static bool hti_list_reverse(hti_recorder *r, hti_step_stage *t, hti_reverse_lists *l)
{
    ht_bilevel *b = r->b;
    ht_tape *tape = t->s.tape;
    int n_out = r->n_theta + r->n_state, n_batch = b->inner_data->n,
        n_nodes = (int)tape->n;
    l->in = hti_vars_list(tape, 3 * n_out + 2 * r->n_eta + n_batch + 1 + n_nodes);
    l->out = hti_vars_list(tape, n_out + r->n_eta);
    l->forward = hti_vars_list(tape, n_out + n_nodes);
    l->log = hti_vars_list(tape, n_nodes);
    if (!l->in || !l->out || !l->forward || !l->log) return false;
    l->in_end = l->in;
    l->out_end = l->out;
    l->forward_end = l->forward;
    hti_push(&l->forward_end, t->out, n_out);
    hti_push(&l->in_end, t->s.theta, r->n_theta);
    hti_push(&l->in_end, t->s.state, r->n_state);
    hti_push(&l->in_end, t->s.eta, r->n_eta);
    hti_push(&l->in_end, t->s.batch, n_batch);
    hti_push(&l->in_end, &t->s.step, 1);
    l->forward_in_end = l->in_end;
    hti_push(&l->in_end, t->known, n_out);
    hti_push(&l->in_end, t->cotangent, n_out);
    for (int j = 0; j < r->n_eta; j++)
        if (!ht_is_zero(t->d[n_out + j])) *l->in_end++ = t->sum[j];
    for (int k = 0; k < n_out; k++)
        *l->out_end++ = k < r->n_theta
                            ? hti_zero_filled(tape, t->d[k], b->theta, k)
                            : hti_zero_filled(tape, t->d[k], b->state, k - r->n_theta);
    l->out_end = hti_push_sums(r->n_eta, t->sum, t->d + n_out, b->summed, l->out_end);
    return b->ctx->status == HT_OK;
}

/* Marks what `out` needs; a node in `stop` is needed but not looked behind. */
static void hti_mark_needed(const ht_tape *tape, const ht_var *out, const ht_var *out_end,
                            const bool *stop, bool *needed)
{
    memset(needed, 0, tape->n * sizeof *needed);
    for (; out < out_end; out++) needed[out->index] = true;
    for (uint32_t i = tape->n; i-- > 0;) {
        if (!needed[i] || stop[i]) continue;
        for (uint32_t e = 0; e < tape->n_in[i]; e++)
            needed[tape->edge[tape->first_in[i] + e]] = true;
    }
}

/* Most flops to a byte first; the tape's order where equal. */
static int hti_log_order(const void *x, const void *y)
{
    const hti_log *a = x, *b = y;
    double p = a->flops * (double)hti_bytes(b->type.dtype, b->type.shape),
           q = b->flops * (double)hti_bytes(a->type.dtype, a->type.shape);
    if (p != q) return p < q ? 1 : -1;
    return (a->node > b->node) - (a->node < b->node);
}

static double hti_node_flops(const ht_tape *tape, uint32_t i)
{
    const uint32_t *edge = tape->edge + tape->first_in[i];
    ht_type in[HT_OP_INPUTS] = {0};
    for (uint32_t e = 0; e < tape->n_in[i] && e < HT_OP_INPUTS; e++)
        in[e] = tape->type[edge[e]];
    return tape->op[i]->flops ? tape->op[i]->flops(in, &tape->type[i]) : 0;
}

/* The products that forward and reverse both compute, to b->log: those that only others
 * of them need are none. */
static bool hti_find_logs(ht_bilevel *b, const ht_tape *tape, const hti_reverse_lists *l,
                          bool *stop)
{
    bool *both = stop + tape->n, *needed = both + tape->n;
    int n = 0;
    memset(stop, 0, tape->n);
    for (const ht_var *in = l->in; in < l->in_end; in++) stop[in->index] = true;
    hti_mark_needed(tape, l->forward, l->forward_end, stop, both);
    hti_mark_needed(tape, l->out, l->out_end, stop, needed);
    for (uint32_t i = 0; i < tape->n; i++) {
        both[i] = both[i] && needed[i] && !stop[i] && tape->op[i]->flags & HT_OP_PRODUCT;
        stop[i] = stop[i] || both[i];
    }
    hti_mark_needed(tape, l->out, l->out_end, stop, needed);
    for (uint32_t i = 0; i < tape->n; i++) n += both[i] && needed[i];
    b->log = hti_zalloc(b->ctx, (size_t)n, sizeof *b->log);
    if (b->ctx->status != HT_OK) return false;
    for (uint32_t i = 0; i < tape->n; i++)
        if (both[i] && needed[i])
            b->log[b->n_log++] = (hti_log){tape->type[i], hti_node_flops(tape, i), i};
    if (n > 0) qsort(b->log, (size_t)n, sizeof *b->log, hti_log_order);
    return true;
}

/* Lists them. */
static bool hti_list_logs(ht_bilevel *b, ht_tape *tape, hti_reverse_lists *l)
{
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    bool *flags = hti_arena_alloc(&tape->scratch, 3 * (size_t)tape->n);
    if (!flags || !hti_find_logs(b, tape, l, flags)) return false;
    for (int k = 0; k < b->n_log; k++) l->log[k] = hti_var(tape, b->log[k].node);
    hti_arena_rewind(&tape->scratch, mark);
    return true;
}

/* Which of theta and s, or of their cotangents, a program may write over: its first
 * outputs, and its inputs from `first` on. */
static bool hti_find_over(hti_recorder *r, hti_call *call, int first)
{
    call->over = hti_zalloc(r->b->ctx, (size_t)call->n_out, sizeof *call->over);
    if (!call->over) return false;
    call->over_all = true;
    for (int k = 0; k < r->n_theta + r->n_state; k++) {
        call->over[k] =
            hti_program_may_share(call->program, (uint32_t)k, (uint32_t)(first + k));
        call->over_all = call->over_all && call->over[k];
    }
    return true;
}

static bool hti_cut_forward_call(hti_recorder *r, hti_call *call, ht_tape *tape,
                                 const hti_reverse_lists *l)
{
    return hti_cut_call(r->b, call, tape, l->in, l->forward_in_end, l->forward,
                        l->forward_end) &&
           hti_find_over(r, call, 0);
}

/* Cotangents of theta and s stand before the sums and the logs. */
static bool hti_cut_reverse_call(hti_recorder *r, hti_call *call, ht_tape *tape,
                                 const hti_reverse_lists *l, const ht_var *cotangent)
{
    int first = 0;
    while (l->in[first].index != cotangent->index) first++;
    return hti_cut_call(r->b, call, tape, l->in, l->in_end, l->out, l->out_end) &&
           hti_find_over(r, call, first);
}

/* The two that keep the first `kept` products, or one of them. */
static bool hti_cut_logged(hti_recorder *r, hti_step_stage *t, hti_reverse_lists l,
                           int kept, bool forward, bool reverse)
{
    hti_call *call = r->b->call;
    ht_tape *tape = t->s.tape;
    hti_push(&l.in_end, l.log, kept);
    hti_push(&l.forward_end, l.log, kept);
    return (!forward || hti_cut_forward_call(r, &call[HTI_FORWARD_LOGGED], tape, &l)) &&
           (!reverse ||
            hti_cut_reverse_call(r, &call[HTI_REVERSE_LOGGED], tape, &l, t->cotangent));
}

/* What the logged calls there are take is a part of what their level does. */
static void hti_level_add(const ht_bilevel *b, hti_level *level)
{
    for (int k = 0; k < HTI_CALLS; k++) {
        const hti_call *call = &b->call[k];
        if ((k != HTI_FORWARD_LOGGED && k != HTI_REVERSE_LOGGED) || !call->program)
            continue;
        level->bytes += hti_call_bytes(call);
        if (call->program->arena_bytes > level->arena)
            level->arena = call->program->arena_bytes;
        if (k == HTI_REVERSE_LOGGED) level->over_all = call->over_all;
    }
}

static void hti_drop_logged(ht_bilevel *b)
{
    hti_call_free(b->ctx, &b->call[HTI_FORWARD_LOGGED]);
    hti_call_free(b->ctx, &b->call[HTI_REVERSE_LOGGED]);
}

/* One call of a level at a time, so that measuring takes no more than all products do;
 * the peak is that of both together. */
static bool hti_measure_level(hti_recorder *r, hti_step_stage *t,
                              const hti_reverse_lists *l, hti_level *level)
{
    ht_bilevel *b = r->b;
    ht_context *ctx = b->ctx;
    for (int reverse = 0; reverse < 2; reverse++) {
        size_t peak = ctx->peak;
        ctx->peak = ctx->live;
        bool ok = hti_cut_logged(r, t, *l, level->kept, !reverse, reverse);
        level->peak = ctx->peak - b->planning->base + level->bytes;
        if (ctx->peak < peak) ctx->peak = peak;
        if (!ok) return false;
        hti_level_add(b, level);
        hti_drop_logged(b);
    }
    return true;
}

/* Of many products some numbers of them, evenly spread. */
static void hti_set_levels(ht_bilevel *b)
{
    int n = b->n_log < HTI_LEVELS ? b->n_log : HTI_LEVELS;
    b->planning->n_level = n + 1;
    for (int i = 0; i <= n; i++)
        b->planning->level[i] = (hti_level){.kept = n ? b->n_log * i / n : 0};
}

/* The choice among all levels, each measured. What measuring took, any of them took. */
static bool hti_choose_measured(hti_recorder *r, hti_step_stage *t,
                                const hti_reverse_lists *l)
{
    ht_bilevel *b = r->b;
    hti_drop_logged(b);
    for (int i = 1; i + 1 < b->planning->n_level; i++)
        if (!hti_measure_level(r, t, l, &b->planning->level[i])) return false;
    for (int i = 0; i < b->planning->n_level; i++)
        if (b->planning->level[i].peak < b->ctx->peak - b->planning->base)
            b->planning->level[i].peak = b->ctx->peak - b->planning->base;
    return hti_bilevel_choose(b, r->options) &&
           (!b->n_kept || hti_cut_logged(r, t, *l, b->n_kept, true, true));
}

/* forward and reverse, and both again with as many products kept as are chosen. */
static bool hti_cut_reverse(hti_recorder *r, hti_step_stage *t)
{
    ht_bilevel *b = r->b;
    ht_tape *tape = t->s.tape;
    hti_reverse_lists l;
    if (!hti_list_reverse(r, t, &l) ||
        !hti_cut_forward_call(r, &b->call[HTI_FORWARD], tape, &l) ||
        !hti_cut_reverse_call(r, &b->call[HTI_REVERSE_STEP], tape, &l, t->cotangent) ||
        !hti_list_logs(b, tape, &l))
        return false;
    hti_set_levels(b);
    hti_level *all = &b->planning->level[b->planning->n_level - 1];
    if (b->n_log && !hti_cut_logged(r, t, l, b->n_log, true, true)) return false;
    hti_level_add(b, all);
    all->peak = b->ctx->peak - b->planning->base;
    return hti_bilevel_choose_all(b, r->options) || hti_choose_measured(r, t, &l);
}

/* Tangents of theta', s' along tangents of theta, s, eta. */
static bool hti_cut_tangent(hti_recorder *r, hti_step_stage *t)
{
    ht_bilevel *b = r->b;
    ht_tape *tape = t->s.tape;
    int n_out = r->n_theta + r->n_state, n_x = n_out + r->n_eta,
        n_batch = b->inner_data->n;
    ht_var *in = hti_vars_list(tape, 2 * n_x + n_batch + 1), *in_end = in;
    ht_var *x = hti_vars_list(tape, n_x), *x_end = x, *dy = hti_vars_list(tape, n_out);
    ht_var *tangent = hti_vars_list(tape, n_x), *tangent_end = tangent;
    if (!in || !x || !dy || !tangent) return false;
    hti_push(&in_end, t->s.theta, r->n_theta);
    hti_push(&in_end, t->s.state, r->n_state);
    hti_push(&in_end, t->s.eta, r->n_eta);
    hti_push(&in_end, t->s.batch, n_batch);
    hti_push(&in_end, &t->s.step, 1);
    if (!hti_cut_call(b, &b->call[HTI_FORWARD], tape, in, in_end, t->out, t->out + n_out))
        return false;
    hti_push(&x_end, t->s.theta, r->n_theta);
    hti_push(&x_end, t->s.state, r->n_state);
    hti_push(&x_end, t->s.eta, r->n_eta);
    hti_push(&tangent_end, t->cotangent, n_out);
    hti_push(&tangent_end, t->sum, r->n_eta);
    hti_push(&in_end, tangent, n_x);
    if (!hti_jvp(tape, n_x, x, tangent, n_out, t->out, dy, NULL)) return false;
    for (int k = 0; k < n_out; k++)
        dy[k] = k < r->n_theta ? hti_zero_filled(tape, dy[k], b->theta, k)
                               : hti_zero_filled(tape, dy[k], b->state, k - r->n_theta);
    if (!hti_cut_call(b, &b->call[HTI_TANGENT], tape, in, in_end, dy, dy + n_out))
        return false;
    b->planning->n_level = 1;
    b->planning->level[0] = (hti_level){.peak = b->ctx->peak - b->planning->base};
    return hti_bilevel_choose_all(b, r->options);
}

bool hti_record_step(hti_recorder *r)
{
    ht_bilevel *b = r->b;
    hti_step_stage t;
    const char *op = NULL;
    bool ok = hti_step_open(r, &t);
    if (ok && r->mixed && !hti_is_symmetric(t.s.tape, &op)) {
        r->mixed = false;
        if (b->method == HT_REVERSE) b->method = HT_REVERSE_REVERSE;
        b->asymmetric = op;
    }
    if (ok) {
        ht_var *in =
            hti_vars_list(t.s.tape, r->n_theta + r->n_eta + b->inner_data->n + 1);
        ht_var *end = in;
        ok = in != NULL;
        if (ok) {
            hti_push(&end, t.s.theta, r->n_theta);
            hti_push(&end, t.s.eta, r->n_eta);
            hti_push(&end, t.s.batch, b->inner_data->n);
            hti_push(&end, &t.s.step, 1);
            ok = hti_cut_call(b, &b->call[HTI_INNER_LOSS], t.s.tape, in, end, &t.loss,
                              &t.loss + 1);
        }
    }
    ok = ok && hti_step_forward(r, &t) && hti_all_reached(r);
    if (ok && b->method == HT_FORWARD)
        ok = hti_cut_tangent(r, &t);
    else if (ok)
        ok = (r->mixed ? hti_step_mixed(r, &t) : hti_step_reverse_twice(r, &t)) &&
             hti_cut_reverse(r, &t);
    ht_tape_free(t.s.tape);
    return ok;
}
