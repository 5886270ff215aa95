/* SPDX-License-Identifier: MIT */
/* derive.c: the two sweeps. vjp walks the tape backward and adds up cotangents; jvp walks
 * it forward and carries tangents. Rules append nodes, so results can be derived again.
 * Absent values (HT_ZERO) never become nodes. Read next: ops_elementwise.c; then grad.c
 * and guard.c, which a first reader may skip. */
#include "derive.h"

#include <string.h>

/* One derivative's bookkeeping over the nodes low .. high, in scratch memory. */
typedef struct sweep {
    ht_tape *tape;
    uint32_t low, high;
    bool *depends;  /* on some x */
    bool *variable; /* is some x: nothing before it counts */
    bool *needed;   /* by some y, along a path that has a derivative */
    ht_var *value;  /* cotangent or tangent */
    hti_arena_mark memory;
    const char *outer_site;
    hti_origin outer; /* of what calls this */
    uint32_t n, n_origins, order;
} sweep;

static void sweep_end(sweep *w)
{
    ht_tape *tape = w->tape;
    tape->rule_site = w->outer_site;
    if (tape->n == w->n) {
        tape->n_origins = w->n_origins;
        if (w->n_origins) tape->origin[w->n_origins - 1] = w->outer;
    } else
        hti_origin_next(tape, w->outer.kind, w->outer.node, w->outer.order);
    hti_arena_rewind(&tape->scratch, w->memory);
}

static bool node_derives(const ht_tape *tape, uint32_t i)
{
    return !(tape->op[i]->flags & HT_OP_NO_GRADIENT) &&
           hti_dtype_is_float(tape->type[i].dtype);
}

/* The nodes from the first x to the last y, in scratch memory, nothing marked. False
 * after an error. */
static bool sweep_alloc(sweep *w, int n, const ht_var *x, int m, const ht_var *y)
{
    for (int i = 0; i < n; i++)
        if (x[i].index < w->low) w->low = x[i].index;
    for (int j = 0; j < m; j++)
        if (!ht_is_zero(y[j]) && y[j].index > w->high) w->high = y[j].index;
    size_t span = w->high >= w->low ? (size_t)w->high - w->low + 1 : 0;
    bool *flags = hti_arena_alloc(&w->tape->scratch, 3 * span);
    if (flags) w->value = hti_arena_alloc(&w->tape->scratch, span * sizeof *w->value);
    if (!w->value) return false;
    if (span) memset(flags, 0, 3 * span);
    w->depends = flags;
    w->variable = flags + span;
    w->needed = flags + 2 * span;
    for (size_t k = 0; k < span; k++) w->value[k] = HT_ZERO;
    return true;
}

/* Forward: what depends on some x, along a path that has a derivative. */
static void sweep_mark_depends(sweep *w, int n, const ht_var *x)
{
    const ht_tape *tape = w->tape;
    for (int i = 0; i < n; i++)
        if (x[i].index <= w->high) w->variable[x[i].index - w->low] = true;
    for (uint32_t i = w->low; i <= w->high; i++) {
        const uint32_t *in = hti_inputs(tape, i);
        bool depends = false;
        for (uint32_t e = 0; e < tape->n_in[i]; e++)
            depends = depends || (in[e] >= w->low && w->depends[in[e] - w->low]);
        w->depends[i - w->low] = w->variable[i - w->low]
                                     ? hti_dtype_is_float(tape->type[i].dtype)
                                     : depends && node_derives(tape, i);
    }
}

/* Backward: what some y needs. */
static void sweep_mark_needed(sweep *w, int m, const ht_var *y)
{
    const ht_tape *tape = w->tape;
    for (int j = 0; j < m; j++)
        if (!ht_is_zero(y[j]) && y[j].index >= w->low)
            w->needed[y[j].index - w->low] = true;
    for (uint32_t i = w->high + 1; i-- > w->low;) {
        size_t k = i - w->low;
        const uint32_t *in = hti_inputs(tape, i);
        if (!w->needed[k] || w->variable[k] || !w->depends[k]) continue;
        for (uint32_t e = 0; e < tape->n_in[i]; e++)
            if (in[e] >= w->low) w->needed[in[e] - w->low] = true;
    }
}

/* The highest order among the nodes the sweep goes over: what a call makes of a gradient,
 * its norm say, came to be by a call, and is a function of a derivative all the same. */
static uint32_t swept_order(const sweep *w)
{
    uint32_t most = 0;
    for (uint32_t i = w->low, end; i <= w->high; i = end) {
        uint32_t order = hti_origin_of(w->tape, i).order;
        end = hti_origin_end(w->tape, i);
        for (uint32_t k = i; k < end && k <= w->high && order > most; k++)
            if (w->needed[k - w->low] && w->depends[k - w->low] &&
                !w->variable[k - w->low])
                most = order;
    }
    return most;
}

/* Says of what order the derivative is, one more than what it goes over, or that of the
 * one it is part of (a decomposed node's), and that it starts at these. */
static void sweep_start(sweep *w, int m, const ht_var *y, hti_origin_kind kind, int n,
                        const ht_var *from)
{
    ht_tape *tape = w->tape;
    if (!w->outer.order) w->order = 1 + swept_order(w);
    for (int j = 0; j < m && !w->outer.order; j++) {
        if (ht_is_zero(y[j])) continue;
        uint32_t order = 1 + hti_origin_of(tape, y[j].index).order;
        if (order > w->order) w->order = order;
    }
    for (int i = 0; i < n; i++)
        if (!ht_is_zero(from[i])) hti_origin_next(tape, kind, from[i].index, w->order);
}

static bool sweep_begin(sweep *w, ht_tape *tape, int n, const ht_var *x, int m,
                        const ht_var *y)
{
    *w = (sweep){.tape = tape,
                 .low = UINT32_MAX,
                 .memory = hti_arena_at(&tape->scratch),
                 .outer_site = tape->rule_site,
                 .outer = hti_origin_of(tape, tape->n),
                 .n = tape->n,
                 .n_origins = tape->n_origins};
    w->order = w->outer.order;
    if (tape->ctx->status != HT_OK) return false;
    if (!sweep_alloc(w, n, x, m, y)) return sweep_end(w), false;
    sweep_mark_depends(w, n, x);
    sweep_mark_needed(w, m, y);
    return true;
}

/* A rule over node i, in scratch: its inputs, whether each depends on an x, and room for
 * a derivative of each. False if there is no memory. */
static bool rule_begin(const sweep *w, uint32_t i, ht_rule *r)
{
    ht_tape *tape = w->tape;
    uint32_t n = tape->n_in[i];
    ht_var *in = hti_arena_alloc(&tape->scratch, n * (2 * sizeof *in + sizeof(bool)));
    if (!in) return false;
    ht_var *d = in + n;
    bool *wanted = (bool *)(d + n);
    for (uint32_t e = 0; e < n; e++) {
        uint32_t from = hti_inputs(tape, i)[e];
        in[e] = hti_var(tape, from);
        d[e] = HT_ZERO;
        wanted[e] = from >= w->low && w->depends[from - w->low];
    }
    *r = (ht_rule){.n_in = (int)n,
                   .in = in,
                   .out = hti_var(tape, i),
                   .attributes = tape->attributes[i],
                   .wanted = wanted,
                   .d = d};
    tape->rule_site = tape->site[i];
    hti_origin_next(tape, HTI_BY_RULE, i, w->order);
    return true;
}

/* Whether r's input e stands at an earlier place too. */
static bool input_repeats(const ht_rule *r, int e)
{
    for (int k = 0; k < e; k++)
        if (r->in[k].index == r->in[e].index) return true;
    return false;
}

/* The rules of a decomposed node: its inputs, each once, are the variables. */
static void decomposed_vjp(ht_tape *tape, uint32_t i, ht_rule *r)
{
    ht_var *x = hti_arena_alloc(&tape->scratch, 2 * (size_t)r->n_in * sizeof *x);
    ht_var y = x ? hti_decompose(tape, i, r, "vjp") : hti_poison(tape), *dx = x + r->n_in;
    int n = 0;
    for (int e = 0; x && e < r->n_in; e++)
        if (r->wanted[e] && !input_repeats(r, e)) x[n++] = r->in[e];
    if (hti_is_poison(y) || !hti_vjp(tape, 1, &y, &r->v, n, x, dx, NULL, NULL)) return;
    for (int e = 0; e < r->n_in; e++)
        if (r->wanted[e] && !input_repeats(r, e)) r->d[e] = *dx++;
}

static ht_var decomposed_jvp(ht_tape *tape, uint32_t i, const ht_rule *r)
{
    ht_var *x = hti_arena_alloc(&tape->scratch, 2 * (size_t)r->n_in * sizeof *x);
    ht_var y = x ? hti_decompose(tape, i, r, "jvp") : hti_poison(tape), dy = y;
    int n = 0;
    for (int e = 0; x && e < r->n_in; e++) {
        if (ht_is_zero(r->t[e]) || input_repeats(r, e)) continue;
        x[r->n_in + n] = r->t[e];
        x[n++] = r->in[e];
    }
    bool ok = !hti_is_poison(y) && hti_jvp(tape, n, x, x + r->n_in, 1, &y, &dy, NULL);
    return ok ? dy : hti_poison(tape);
}

/* Cotangents of node i's inputs, added to what they have. */
static bool vjp_node(sweep *w, uint32_t i)
{
    ht_tape *tape = w->tape;
    const hti_linear *linear = tape->linear;
    const ht_op *op = tape->op[i];
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    ht_rule r;
    bool ok = rule_begin(w, i, &r);
    if (ok) {
        r.v = w->value[i - w->low];
        if (!op->vjp)
            decomposed_vjp(tape, i, &r);
        else if (tape->hook)
            tape->hook->vjp(tape, op, &r);
        else
            op->vjp(&r);
        ok = tape->ctx->status == HT_OK;
    }
    for (int e = 0; ok && e < r.n_in; e++) {
        if (!r.wanted[e] || ht_is_zero(r.d[e])) continue;
        ht_shape shape = hti_type(r.in[e]).shape;
        ok = hti_rule_fits(tape, i, e, r.in[e], shape, &r.d[e]);
        if (!ok) break;
        ht_var *sum = &w->value[r.in[e].index - w->low];
        *sum = linear->add(*sum, linear->sum_to(r.d[e], shape, HT_HERE), HT_HERE);
        ok = !hti_is_poison(*sum);
    }
    hti_arena_rewind(&tape->scratch, mark);
    return ok;
}

bool hti_vjp(ht_tape *tape, int m, const ht_var *y, const ht_var *v, int n,
             const ht_var *x, ht_var *dx, bool *reached, const char *site)
{
    sweep w;
    if (!hti_needs_all(tape, m, y, true, false, "vjp", "y", site) ||
        !hti_needs_all(tape, n, x, false, false, "vjp", "x", site) ||
        !sweep_begin(&w, tape, n, x, m, y))
        return false;
    sweep_start(&w, m, y, HTI_BY_VJP, m, y);
    bool ok = true;
    for (int j = 0; ok && j < m; j++) {
        ht_var vj = v[j];
        ok = ht_is_zero(y[j]) || hti_match(tape, y[j], &vj, "vjp", site);
        if (!ok || ht_is_zero(y[j]) || y[j].index < w.low) continue;
        ht_var *sum = &w.value[y[j].index - w.low];
        *sum = tape->linear->add(*sum, vj, site);
    }
    for (uint32_t i = w.high + 1; ok && i-- > w.low;) {
        size_t k = i - w.low;
        if (!w.variable[k] && w.depends[k] && !ht_is_zero(w.value[k]))
            ok = vjp_node(&w, i);
    }
    for (int i = 0; ok && i < n; i++) {
        bool inside = x[i].index <= w.high;
        size_t k = inside ? x[i].index - w.low : 0;
        if (reached) reached[i] = inside && w.needed[k] && w.depends[k];
        dx[i] = inside && w.depends[k] ? w.value[k] : HT_ZERO;
    }
    sweep_end(&w);
    return ok && tape->ctx->status == HT_OK;
}

static ht_var jvp_rule(ht_tape *tape, uint32_t i, ht_rule *r)
{
    const ht_op *op = tape->op[i];
    if (!op->jvp) return decomposed_jvp(tape, i, r);
    return tape->hook ? tape->hook->jvp(tape, op, r) : op->jvp(r);
}

/* Tangent of node i, widened to its shape if the rule's broadcast is smaller. */
static bool jvp_node(sweep *w, uint32_t i)
{
    ht_tape *tape = w->tape;
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    ht_rule r;
    bool ok = rule_begin(w, i, &r), any = false;
    for (int e = 0; ok && e < r.n_in; e++) {
        if (r.wanted[e]) r.d[e] = w->value[r.in[e].index - w->low];
        any = any || !ht_is_zero(r.d[e]);
    }
    if (ok && any) {
        r.t = r.d;
        ht_var out = jvp_rule(tape, i, &r);
        ok = tape->ctx->status == HT_OK &&
             hti_rule_fits(tape, i, -1, r.out, HT_SCALAR, &out);
        if (ok)
            w->value[i - w->low] =
                tape->linear->broadcast(out, tape->type[i].shape, HT_HERE);
        ok = ok && tape->ctx->status == HT_OK;
    }
    hti_arena_rewind(&tape->scratch, mark);
    return ok;
}

bool hti_jvp(ht_tape *tape, int n, const ht_var *x, const ht_var *dx, int m,
             const ht_var *y, ht_var *dy, const char *site)
{
    sweep w;
    if (!hti_needs_all(tape, m, y, true, false, "jvp", "y", site) ||
        !hti_needs_all(tape, n, x, false, false, "jvp", "x", site) ||
        !sweep_begin(&w, tape, n, x, m, y))
        return false;
    sweep_start(&w, m, y, HTI_BY_JVP, n, x);
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        ht_var t = dx[i];
        ok = hti_match(tape, x[i], &t, "jvp", site);
        if (ok && x[i].index <= w.high) {
            ht_var *sum = &w.value[x[i].index - w.low];
            *sum = tape->linear->add(*sum, t, site);
        }
    }
    for (uint32_t i = w.low; ok && i <= w.high; i++) {
        size_t k = i - w.low;
        if (!w.variable[k] && w.depends[k] && w.needed[k]) ok = jvp_node(&w, i);
    }
    for (int j = 0; ok && j < m; j++)
        dy[j] = ht_is_zero(y[j]) || y[j].index < w.low ? HT_ZERO
                                                       : w.value[y[j].index - w.low];
    sweep_end(&w);
    return ok && tape->ctx->status == HT_OK;
}
