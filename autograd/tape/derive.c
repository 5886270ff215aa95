/* SPDX-License-Identifier: MIT */
/* derive.c: the two drivers. vjp walks the tape backward and adds up cotangents; jvp
 * walks it forward and carries tangents. Rules append nodes, so results can be derived
 * again. Absent values (HT_ZERO) never become nodes. Read next: program.c. */
#include <stdio.h>
#include <string.h>

#include "autograd_internal.h"

/* One derivative's bookkeeping over the nodes low .. high, in scratch memory. */
typedef struct hti_walk {
    ht_tape *tape;
    uint32_t low, high;
    bool *depends;  /* on some x */
    bool *variable; /* is some x: nothing before it counts */
    bool *needed;   /* by some y, along a path that has a derivative */
    ht_var *value;  /* cotangent or tangent */
    hti_arena_mark memory;
    const char *outer_site;
} hti_walk;

static void hti_walk_end(hti_walk *w)
{
    w->tape->rule_site = w->outer_site;
    hti_arena_rewind(&w->tape->scratch, w->memory);
}

static bool hti_node_derives(const ht_tape *tape, uint32_t i)
{
    return !(tape->op[i]->flags & HT_OP_NO_GRADIENT) &&
           hti_dtype_is_float(tape->type[i].dtype);
}

/* Marks what depends on x and what y needs. False after an error. */
static bool hti_walk_begin(hti_walk *w, ht_tape *tape, int n, const ht_var *x, int m,
                           const ht_var *y)
{
    *w = (hti_walk){.tape = tape,
                    .low = UINT32_MAX,
                    .memory = hti_arena_at(&tape->scratch),
                    .outer_site = tape->rule_site};
    if (tape->ctx->status != HT_OK) return false;
    for (int i = 0; i < n; i++)
        if (x[i].index < w->low) w->low = x[i].index;
    for (int j = 0; j < m; j++)
        if (!ht_is_zero(y[j]) && y[j].index > w->high) w->high = y[j].index;
    size_t span = w->high >= w->low ? (size_t)w->high - w->low + 1 : 0;
    hti_arena *arena = &tape->scratch;
    bool *flags = hti_arena_alloc(arena, 3 * span);
    w->value = flags ? hti_arena_alloc(arena, span * sizeof *w->value) : NULL;
    if (!w->value) return hti_walk_end(w), false;
    if (span) memset(flags, 0, 3 * span);
    w->depends = flags;
    w->variable = flags + span;
    w->needed = flags + 2 * span;
    for (size_t k = 0; k < span; k++) w->value[k] = HT_ZERO;
    for (int i = 0; i < n; i++)
        if (x[i].index <= w->high) w->variable[x[i].index - w->low] = true;
    for (int j = 0; j < m; j++)
        if (!ht_is_zero(y[j]) && y[j].index >= w->low)
            w->needed[y[j].index - w->low] = true;
    for (size_t k = 0; k < span; k++) {
        uint32_t i = w->low + (uint32_t)k;
        const uint32_t *in = tape->edge + tape->first_in[i];
        bool depends = false;
        for (uint32_t e = 0; e < tape->n_in[i]; e++)
            depends = depends || (in[e] >= w->low && w->depends[in[e] - w->low]);
        w->depends[k] = w->variable[k] ? hti_dtype_is_float(tape->type[i].dtype)
                                       : depends && hti_node_derives(tape, i);
    }
    for (size_t k = span; k-- > 0;) {
        uint32_t i = w->low + (uint32_t)k;
        const uint32_t *in = tape->edge + tape->first_in[i];
        if (!w->needed[k] || w->variable[k] || !w->depends[k]) continue;
        for (uint32_t e = 0; e < tape->n_in[i]; e++)
            if (in[e] >= w->low) w->needed[in[e] - w->low] = true;
    }
    return true;
}

/* A rule over node i, its inputs gathered into scratch. False if there is no memory. */
static bool hti_rule_begin(ht_tape *tape, uint32_t i, ht_rule *r, bool **wanted,
                           ht_var **d)
{
    uint32_t n = tape->n_in[i];
    ht_var *in = hti_arena_alloc(&tape->scratch, n * sizeof *in);
    *wanted = in ? hti_arena_alloc(&tape->scratch, n * sizeof **wanted) : NULL;
    *d = *wanted ? hti_arena_alloc(&tape->scratch, n * sizeof **d) : NULL;
    if (!*d) return false;
    for (uint32_t e = 0; e < n; e++) {
        in[e] = hti_var(tape, tape->edge[tape->first_in[i] + e]);
        (*d)[e] = HT_ZERO;
    }
    *r = (ht_rule){.n_in = (int)n,
                   .in = in,
                   .out = hti_var(tape, i),
                   .attributes = tape->attributes[i]};
    tape->rule_site = tape->site[i];
    return true;
}

/* Where a row has no rule: node i once more, out of other ops; poison if it can't be. The
 * inputs are what will be differentiated by: no movement of them may go past them. */
static ht_var hti_decompose(ht_tape *tape, uint32_t i, const ht_rule *r, const char *rule)
{
    const ht_op *op = tape->op[i];
    if (!op->decompose)
        return hti_fail(tape, HT_ERROR_NO_GRADIENT, NULL, op->name,
                        "this op has no %s rule\n  hint: give its ht_op row one, or "
                        "`decompose`, or HT_OP_NO_GRADIENT",
                        rule);
    uint32_t opaque = tape->opaque;
    tape->opaque = tape->n;
    ht_var y = op->decompose(r);
    tape->opaque = opaque;
    if (hti_check_named(y, op->name) == HTI_NONE) return y;
    HT_ASSERT(y.tape == tape, "%s: decompose gave a variable of another tape", op->name);
    ht_type want = hti_type(r->out), got = hti_type(y);
    HT_ASSERT(y.index != i, "%s: decompose gave the op itself", op->name);
    if (got.dtype == want.dtype && ht_shape_equal(got.shape, want.shape)) return y;
    char wanted[HT_SHAPE_TEXT], is[HT_SHAPE_TEXT];
    return hti_fail(tape, HT_ERROR_SHAPE, NULL, op->name,
                    "decompose gave %s %s, the op is %s %s", ht_dtype_name(got.dtype),
                    ht_shape_text(got.shape, is), ht_dtype_name(want.dtype),
                    ht_shape_text(want.shape, wanted));
}

/* Whether r's input e stands at an earlier place too. */
static bool hti_input_repeats(const ht_rule *r, int e)
{
    for (int k = 0; k < e; k++)
        if (r->in[k].index == r->in[e].index) return true;
    return false;
}

/* The rules of a decomposed node: its inputs, each once, are the variables. */
static void hti_decomposed_vjp(ht_tape *tape, uint32_t i, ht_rule *r)
{
    ht_var *x = hti_arena_alloc(&tape->scratch, 2 * (size_t)r->n_in * sizeof *x);
    ht_var y = x ? hti_decompose(tape, i, r, "vjp") : hti_poison(tape), *dx = x + r->n_in;
    int n = 0;
    for (int e = 0; x && e < r->n_in; e++)
        if (r->wanted[e] && !hti_input_repeats(r, e)) x[n++] = r->in[e];
    if (hti_is_poison(y) || !hti_vjp(tape, 1, &y, &r->v, n, x, dx, NULL, NULL)) return;
    for (int e = 0; e < r->n_in; e++)
        if (r->wanted[e] && !hti_input_repeats(r, e)) r->d[e] = *dx++;
}

static ht_var hti_decomposed_jvp(ht_tape *tape, uint32_t i, const ht_rule *r)
{
    ht_var *x = hti_arena_alloc(&tape->scratch, 2 * (size_t)r->n_in * sizeof *x);
    ht_var y = x ? hti_decompose(tape, i, r, "jvp") : hti_poison(tape), dy = y;
    int n = 0;
    for (int e = 0; x && e < r->n_in; e++) {
        if (ht_is_zero(r->t[e]) || hti_input_repeats(r, e)) continue;
        x[r->n_in + n] = r->t[e];
        x[n++] = r->in[e];
    }
    bool ok = !hti_is_poison(y) && hti_jvp(tape, n, x, x + r->n_in, 1, &y, &dy, NULL);
    return ok ? dy : hti_poison(tape);
}

/* Whether `got` is `least`, but for axes of size 1 or none, which may be as in `most`: so
 * the batch axes of a product are, where others are not the output's. */
static bool hti_widens(ht_shape least, ht_shape got, ht_shape most)
{
    int axes = least.rank > most.rank ? least.rank : most.rank;
    for (int k = 1; k <= got.rank; k++) {
        int64_t size = got.dim[got.rank - k];
        int64_t from = k <= least.rank ? least.dim[least.rank - k] : 1;
        int64_t to = k <= most.rank ? most.dim[most.rank - k] : from;
        if (size != from && !(from == 1 && size == to)) return false;
    }
    return got.rank >= least.rank && got.rank <= axes;
}

/* Whether the rule of node i gave *d a type it may have: the dtype of x, which is input
 * e (the output if e is -1), and a shape that widens `least`. A weak one takes x's. */
static bool hti_rule_fits(ht_tape *tape, uint32_t i, int e, ht_var x, ht_shape least,
                          ht_var *d)
{
    if (ht_is_zero(*d)) return true;
    const char *name = tape->op[i]->name, *rule = e < 0 ? "jvp" : "vjp";
    if (hti_check_named(*d, name) == HTI_NONE) return false;
    HT_ASSERT(d->tape == tape, "%s: its %s gave a variable of another tape", name, rule);
    ht_type want = hti_type(x), got = hti_type(*d);
    if (got.dtype != want.dtype && tape->weak[d->index]) {
        *d = ht_cast(*d, want.dtype);
        if (hti_is_poison(*d)) return false;
        got.dtype = want.dtype;
    }
    bool shape = hti_widens(least, got.shape, tape->type[i].shape);
    if (shape && got.dtype == want.dtype) return true;
    char wanted[HT_SHAPE_TEXT], is[HT_SHAPE_TEXT], place[32] = "the output";
    if (e >= 0) snprintf(place, sizeof place, "input %d", e);
    hti_fail(tape, shape ? HT_ERROR_DTYPE : HT_ERROR_SHAPE, NULL, name,
             "%s gave %s %s for %s, expected %s %s", rule, ht_dtype_name(got.dtype),
             ht_shape_text(got.shape, is), place, ht_dtype_name(want.dtype),
             ht_shape_text(want.shape, wanted));
    return false;
}

/* Cotangents of node i's inputs, added to what they have. */
static bool hti_vjp_node(hti_walk *w, uint32_t i)
{
    ht_tape *tape = w->tape;
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    ht_rule r;
    bool *wanted;
    ht_var *d;
    bool ok = hti_rule_begin(tape, i, &r, &wanted, &d);
    for (int e = 0; ok && e < r.n_in; e++)
        wanted[e] = r.in[e].index >= w->low && w->depends[r.in[e].index - w->low];
    if (ok) {
        r.v = w->value[i - w->low];
        r.wanted = wanted;
        r.d = d;
        if (tape->op[i]->vjp)
            hti_rule_vjp(tape, tape->op[i], &r);
        else
            hti_decomposed_vjp(tape, i, &r);
        ok = tape->ctx->status == HT_OK;
    }
    for (int e = 0; ok && e < r.n_in; e++) {
        if (!wanted[e] || ht_is_zero(d[e])) continue;
        ht_shape shape = hti_type(r.in[e]).shape;
        ok = hti_rule_fits(tape, i, e, r.in[e], shape, &d[e]);
        if (!ok) break;
        ht_var *sum = &w->value[r.in[e].index - w->low];
        *sum = ht_add(*sum, hti_sum_to(d[e], shape, HT_HERE));
        ok = !hti_is_poison(*sum);
    }
    hti_arena_rewind(&tape->scratch, mark);
    return ok;
}

/* A cotangent or tangent must have its variable's type; a number takes it. */
static bool hti_match(ht_tape *tape, ht_var x, ht_var *dx, const char *what,
                      const char *site)
{
    if (ht_is_zero(*dx)) return true;
    ht_type type = hti_type(x);
    if (hti_is_number(*dx))
        *dx = ht_broadcast_at(
            hti_constant(tape, hti_number_value(*dx), type.dtype, false, site),
            type.shape, site);
    if (hti_check_named(*dx, what) == HTI_NONE) return false;
    HT_ASSERT(dx->tape == tape, "%s: a vector is on another tape than its variable",
              what);
    if (tape->weak[dx->index]) *dx = ht_cast_at(*dx, type.dtype, site);
    if (hti_is_poison(*dx)) return false;
    ht_type is = hti_type(*dx);
    if (is.dtype == type.dtype && ht_shape_equal(is.shape, type.shape)) return true;
    char want[HT_SHAPE_TEXT], got[HT_SHAPE_TEXT];
    hti_fail(tape, HT_ERROR_SHAPE, site, what,
             "the vector for a %s %s variable must have its type, not %s %s",
             ht_dtype_name(type.dtype), ht_shape_text(type.shape, want),
             ht_dtype_name(is.dtype), ht_shape_text(is.shape, got));
    return false;
}

/* All variables live, on one tape, not poisoned; HT_ZERO only where it may stand. */
static bool hti_match_tape(ht_tape *tape, int n, const ht_var *x, bool absent,
                           const char *what)
{
    for (int i = 0; i < n; i++) {
        if (absent && ht_is_zero(x[i])) continue;
        if (hti_check_named(x[i], what) == HTI_NONE) return false;
        HT_ASSERT(x[i].tape == tape, "%s: variable %d is on another tape", what, i);
    }
    return true;
}

bool hti_vjp(ht_tape *tape, int m, const ht_var *y, const ht_var *v, int n,
             const ht_var *x, ht_var *dx, bool *reached, const char *site)
{
    hti_walk w;
    if (!hti_match_tape(tape, m, y, true, "vjp") ||
        !hti_match_tape(tape, n, x, false, "vjp"))
        return false;
    if (!hti_walk_begin(&w, tape, n, x, m, y)) return false;
    bool ok = true;
    for (int j = 0; ok && j < m; j++) {
        ht_var vj = v[j];
        ok = ht_is_zero(y[j]) || hti_match(tape, y[j], &vj, "vjp", site);
        if (!ok || ht_is_zero(y[j]) || y[j].index < w.low) continue;
        ht_var *sum = &w.value[y[j].index - w.low];
        *sum = ht_add_at(*sum, vj, site);
    }
    for (uint32_t i = w.high + 1; ok && i-- > w.low;) {
        size_t k = i - w.low;
        if (!w.variable[k] && w.depends[k] && !ht_is_zero(w.value[k]))
            ok = hti_vjp_node(&w, i);
    }
    for (int i = 0; ok && i < n; i++) {
        bool inside = x[i].index <= w.high;
        size_t k = inside ? x[i].index - w.low : 0;
        if (reached) reached[i] = inside && w.needed[k] && w.depends[k];
        dx[i] = inside && w.depends[k] ? w.value[k] : HT_ZERO;
    }
    hti_walk_end(&w);
    return ok && tape->ctx->status == HT_OK;
}

/* Tangent of node i, widened to its shape if the rule's broadcast is smaller. */
static bool hti_jvp_node(hti_walk *w, uint32_t i)
{
    ht_tape *tape = w->tape;
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    ht_rule r;
    bool *wanted;
    ht_var *t;
    bool ok = hti_rule_begin(tape, i, &r, &wanted, &t), any = false;
    for (int e = 0; ok && e < r.n_in; e++) {
        if (r.in[e].index >= w->low && w->depends[r.in[e].index - w->low])
            t[e] = w->value[r.in[e].index - w->low];
        any = any || !ht_is_zero(t[e]);
    }
    if (ok && any) {
        r.t = t;
        const ht_op *op = tape->op[i];
        ht_var out =
            op->jvp ? hti_rule_jvp(tape, op, &r) : hti_decomposed_jvp(tape, i, &r);
        ok = tape->ctx->status == HT_OK &&
             hti_rule_fits(tape, i, -1, r.out, HT_SCALAR, &out);
        if (ok) w->value[i - w->low] = ht_broadcast(out, tape->type[i].shape);
        ok = ok && tape->ctx->status == HT_OK;
    }
    hti_arena_rewind(&tape->scratch, mark);
    return ok;
}

bool hti_jvp(ht_tape *tape, int n, const ht_var *x, const ht_var *dx, int m,
             const ht_var *y, ht_var *dy, const char *site)
{
    hti_walk w;
    if (!hti_match_tape(tape, m, y, true, "jvp") ||
        !hti_match_tape(tape, n, x, false, "jvp"))
        return false;
    if (!hti_walk_begin(&w, tape, n, x, m, y)) return false;
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        ht_var t = dx[i];
        ok = hti_match(tape, x[i], &t, "jvp", site);
        if (ok && x[i].index <= w.high) {
            ht_var *sum = &w.value[x[i].index - w.low];
            *sum = ht_add_at(*sum, t, site);
        }
    }
    for (uint32_t i = w.low; ok && i <= w.high; i++) {
        size_t k = i - w.low;
        if (!w.variable[k] && w.depends[k] && w.needed[k]) ok = hti_jvp_node(&w, i);
    }
    for (int j = 0; ok && j < m; j++)
        dy[j] = ht_is_zero(y[j]) || y[j].index < w.low ? HT_ZERO
                                                       : w.value[y[j].index - w.low];
    hti_walk_end(&w);
    return ok && tape->ctx->status == HT_OK;
}

/* The public forms. */

/* A derivative asked for from outside. Its results are given when everything has been
 * read, so they may stand where its variables or vectors do. */
typedef struct hti_asked {
    ht_tape *tape;
    hti_arena_mark memory;
    ht_var *out; /* the results: scratch */
    bool ok;
} hti_asked;

static uint32_t hti_first_input(const ht_tape *tape, uint32_t node)
{
    return tape->edge[tape->first_in[node]];
}

/* Whether y uses what x is made of otherwise than through x, after x was made. Two
 * reshapes, permutes or broadcasts in a row are recorded as one, past what is between: a
 * derivative by that would come out too small, so it is refused. */
static bool hti_is_bypassed(const ht_tape *tape, int m, const ht_var *y, ht_var x,
                            bool *needed)
{
    const ht_op *op = tape->op[x.index];
    uint32_t under = hti_first_input(tape, x.index);
    memset(needed, 0, tape->n);
    for (int j = 0; j < m; j++)
        if (!ht_is_zero(y[j])) needed[y[j].index] = true;
    for (uint32_t i = tape->n; i-- > x.index + 1;)
        for (uint32_t e = 0; needed[i] && e < tape->n_in[i]; e++) {
            uint32_t in = tape->edge[tape->first_in[i] + e];
            if (in == under) return true;
            if (in != x.index && tape->op[in] == op && hti_first_input(tape, in) == under)
                return true;
            needed[in] = true;
        }
    return needed[under];
}

/* That no x is bypassed. */
static bool hti_not_bypassed(ht_tape *tape, int m, const ht_var *y, int n,
                             const ht_var *x, const char *name, const char *site)
{
    for (int i = 0; i < n; i++) {
        const ht_op *op = tape->op[x[i].index];
        if (op != &hti_op_reshape && op != &hti_op_permute && op != &hti_op_broadcast)
            continue;
        hti_arena_mark mark = hti_arena_at(&tape->scratch);
        bool *needed = hti_arena_alloc(&tape->scratch, tape->n);
        bool bypassed = needed && hti_is_bypassed(tape, m, y, x[i], needed);
        hti_arena_rewind(&tape->scratch, mark);
        if (!needed) return false;
        if (!bypassed) continue;
        uint32_t under = hti_first_input(tape, x[i].index);
        hti_fail(tape, HT_ERROR_NO_GRADIENT, site, name,
                 "x[%d] (node %%%u) is a %s of node %%%u, which y uses past it: two of "
                 "these in a row are recorded as one\n"
                 "  hint: differentiate by node %%%u",
                 i, x[i].index, op->name, under, under);
        return false;
    }
    return true;
}

/* The n variables of a list, live and on the tape; numbers, and HT_ZERO unless it may
 * stand there, are refused. */
static bool hti_asked_of(ht_tape *tape, int n, const ht_var *list, bool absent,
                         const char *name, const char *what, const char *site)
{
    bool ok = true;
    for (int i = 0; ok && i < n; i++)
        ok = (absent && ht_is_zero(list[i])) ||
             !hti_is_poison(hti_needs(tape, list[i], name, what, i, site));
    return ok && hti_match_tape(tape, n, list, absent, name);
}

/* The same of vectors, which may be numbers and HT_ZERO too. */
static bool hti_asked_along(ht_tape *tape, int n, const ht_var *list, const char *name,
                            const char *what, const char *site)
{
    bool ok = true;
    for (int i = 0; ok && i < n; i++)
        ok = ht_is_zero(list[i]) || hti_is_number(list[i]) ||
             !hti_is_poison(hti_needs(tape, list[i], name, what, i, site));
    return ok;
}

/* n_out results of y by x are asked for; y may have HT_ZERO among it if `absent`. */
static hti_asked hti_ask(const char *name, int m, const ht_var *y, bool absent, int n,
                         const ht_var *x, int n_out, const char *site)
{
    HT_ASSERT(m > 0 && n >= 0, "%s: %d outputs by %d variables", name, m, n);
    HT_ASSERT(y && (x || !n), "%s: y %p, x %p", name, (const void *)y, (const void *)x);
    ht_tape *tape = hti_tape_among(n, x);
    if (!tape) tape = hti_tape_among(m, y);
    HT_ASSERT(tape, "%s: no variable is on a tape", name);
    hti_asked a = {.tape = tape, .memory = hti_arena_at(&tape->scratch)};
    a.ok = hti_asked_of(tape, n, x, false, name, "x", site) &&
           hti_asked_of(tape, m, y, absent, name, "y", site) &&
           tape->ctx->status == HT_OK && hti_not_bypassed(tape, m, y, n, x, name, site);
    if (a.ok) a.out = hti_arena_alloc(&tape->scratch, (size_t)n_out * sizeof *a.out);
    a.ok = a.ok && a.out;
    return a;
}

/* The results, absent ones as zeros of `like`; all poisoned if the derivative failed. */
static void hti_answer(hti_asked *a, int n, const ht_var *like, ht_var *to,
                       const char *name, const char *site)
{
    HT_ASSERT(to || !n, "%s: the results have no place: NULL", name);
    for (int i = 0; a->ok && i < n; i++)
        if (ht_is_zero(a->out[i]))
            a->out[i] = hti_zeros(a->tape, hti_type(like[i]), site);
    for (int i = 0; i < n; i++) to[i] = a->ok ? a->out[i] : hti_poison(a->tape);
    hti_arena_rewind(&a->tape->scratch, a->memory);
}

/* That x[i], of which no y depends, is an error. */
static void hti_unreached(const ht_tape *tape, int i, ht_var x, const char *site)
{
    const char *made = tape->site[x.index];
    ht_dtype dtype = hti_type(x).dtype;
    if (!hti_dtype_is_float(dtype))
        hti_fail(x.tape, HT_ERROR_NO_GRADIENT, site, "grad",
                 "x[%d] (node %%%u) is %s: only f32 and f64 have a gradient", i, x.index,
                 ht_dtype_name(dtype));
    else
        hti_fail(x.tape, HT_ERROR_NO_GRADIENT, site, "grad",
                 "y does not depend on x[%d] (node %%%u%s%s)\n"
                 "  hint: ht_grad_or_zero gives zeros",
                 i, x.index, made ? ", made at " : "", made ? made : "");
}

/* dy/dx into a->out, absent where it is; every x reached, if `strict`. */
static bool hti_grad(const hti_asked *a, ht_var y, int n, const ht_var *x, bool strict,
                     const char *site)
{
    ht_tape *tape = a->tape;
    if (!a->ok) return false;
    if (hti_type(y).shape.rank != 0) {
        char text[HT_SHAPE_TEXT];
        hti_fail(tape, HT_ERROR_SHAPE, site, "grad",
                 "y must be 0-d, not %s\n  hint: ht_sum or ht_mean it, or use ht_vjp",
                 ht_shape_text(hti_type(y).shape, text));
        return false;
    }
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    bool *reached = hti_arena_alloc(&tape->scratch, (size_t)n * sizeof *reached);
    ht_var one = ht_number(1);
    bool ok = reached && hti_vjp(tape, 1, &y, &one, n, x, a->out, reached, site);
    for (int i = 0; ok && strict && i < n; i++) {
        if (reached[i]) continue;
        hti_unreached(tape, i, x[i], site);
        ok = false;
    }
    hti_arena_rewind(&tape->scratch, mark);
    return ok;
}

void ht_grad_at(ht_var y, int n, const ht_var *x, ht_var *dx, const char *site)
{
    hti_asked a = hti_ask("grad", 1, &y, false, n, x, n, site);
    a.ok = hti_grad(&a, y, n, x, true, site);
    hti_answer(&a, n, x, dx, "grad", site);
}

void ht_grad_or_zero_at(ht_var y, int n, const ht_var *x, ht_var *dx, const char *site)
{
    hti_asked a = hti_ask("grad_or_zero", 1, &y, false, n, x, n, site);
    a.ok = hti_grad(&a, y, n, x, false, site);
    hti_answer(&a, n, x, dx, "grad_or_zero", site);
}

void ht_vjp_at(int m, const ht_var *y, const ht_var *v, int n, const ht_var *x,
               ht_var *dx, const char *site)
{
    HT_ASSERT(v && n > 0, "vjp: v %p, %d variables", (const void *)v, n);
    hti_asked a = hti_ask("vjp", m, y, true, n, x, n, site);
    a.ok = a.ok && hti_asked_along(a.tape, m, v, "vjp", "v", site) &&
           hti_vjp(a.tape, m, y, v, n, x, a.out, NULL, site);
    hti_answer(&a, n, x, dx, "vjp", site);
}

void ht_jvp_at(int n, const ht_var *x, const ht_var *dx, int m, const ht_var *y,
               ht_var *dy, const char *site)
{
    HT_ASSERT(dx && n > 0, "jvp: dx %p, %d variables", (const void *)dx, n);
    hti_asked a = hti_ask("jvp", m, y, false, n, x, m, site);
    a.ok = a.ok && hti_asked_along(a.tape, n, dx, "jvp", "dx", site) &&
           hti_jvp(a.tape, n, x, dx, m, y, a.out, site);
    hti_answer(&a, m, y, dy, "jvp", site);
}

void ht_hvp_at(ht_var y, int n, const ht_var *x, const ht_var *v, ht_var *hv,
               const char *site)
{
    HT_ASSERT(v && n > 0, "hvp: v %p, %d variables", (const void *)v, n);
    hti_asked a = hti_ask("hvp", 1, &y, false, n, x, n, site);
    a.ok = a.ok && hti_asked_along(a.tape, n, v, "hvp", "v", site) &&
           hti_grad(&a, y, n, x, false, site) &&
           hti_jvp(a.tape, n, x, v, n, a.out, a.out, site);
    hti_answer(&a, n, x, hv, "hvp", site);
}
