/* SPDX-License-Identifier: MIT */
/* guard.c: what keeps a derivative right: a row without a rule said out of other ops, the
 * types of what rules and callers give, and variables that a path leads past. Read next:
 * derive.c. */
#include <stdio.h>
#include <string.h>

#include "derive.h"

/* Where a row has no rule: node i once more, out of other ops; poison if it can't be. The
 * inputs are what will be differentiated by: no movement of them may go past them. */
ht_var hti_decompose(ht_tape *tape, uint32_t i, const ht_rule *r, const char *rule)
{
    const ht_op *op = tape->op[i];
    if (!op->decompose)
        return hti_fail(tape, HT_ERROR_NO_GRADIENT, NULL, op->name,
                        "this op has no %s rule\n  hint: give its ht_op row one, or "
                        "`decompose`, or HT_OP_NO_GRADIENT",
                        rule);
    uint32_t from = tape->movements_from;
    tape->movements_from = tape->n;
    ht_var y = op->decompose(r);
    tape->movements_from = from;
    if (hti_check_named(y, op->name, NULL) == HTI_NONE) return y;
    HT_ASSERT(y.tape == tape, "%s: decompose gave a variable of another tape", op->name);
    ht_type want = hti_type(r->out), got = hti_type(y);
    HT_ASSERT(y.index != i, "%s: decompose gave the op itself", op->name);
    if (hti_same_type(&got, &want)) return y;
    char wanted[HTI_TYPE_TEXT], is[HTI_TYPE_TEXT];
    return hti_fail(tape, hti_unlike(want.dtype, got.dtype), NULL, op->name,
                    "decompose gave %s, the op is %s", hti_type_text(got, is),
                    hti_type_text(want, wanted));
}

/* Whether `got` lies between the two: of least (1, 3) and most (5, 4, 3) it may be
 * (1, 3), (4, 3), (5, 1, 3) ... So the rule of an input that was broadcast, as the batch
 * axes of a product are, may leave the output's axes, which are summed down after it. */
static bool fits_between(ht_shape least, ht_shape got, ht_shape most)
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

bool hti_rule_fits(ht_tape *tape, uint32_t i, int e, ht_var x, ht_shape least, ht_var *d)
{
    if (ht_is_zero(*d)) return true;
    const char *name = tape->op[i]->name, *rule = e < 0 ? "jvp" : "vjp";
    if (hti_check_named(*d, name, NULL) == HTI_NONE) return false;
    HT_ASSERT(d->tape == tape, "%s: its %s gave a variable of another tape", name, rule);
    ht_type want = hti_type(x), got = hti_type(*d);
    if (got.dtype != want.dtype && tape->weak[d->index]) {
        *d = tape->linear->cast(*d, want.dtype, HT_HERE);
        if (hti_is_poison(*d)) return false;
        got.dtype = want.dtype;
    }
    bool shape = fits_between(least, got.shape, tape->type[i].shape);
    if (shape && got.dtype == want.dtype) return true;
    char wanted[HTI_TYPE_TEXT], is[HTI_TYPE_TEXT], place[32] = "the output";
    if (e >= 0) snprintf(place, sizeof place, "input %d", e);
    hti_fail(tape, shape ? HT_ERROR_DTYPE : HT_ERROR_SHAPE, NULL, name,
             "%s gave %s for %s, expected %s", rule, hti_type_text(got, is), place,
             hti_type_text(want, wanted));
    return false;
}

ht_var hti_spread(ht_tape *tape, double value, ht_type type, const char *site)
{
    if (tape->ctx->status != HT_OK) return hti_poison(tape);
    ht_var number = hti_constant(tape, value, type.dtype, false, site);
    return tape->linear->broadcast(number, type.shape, site);
}

bool hti_match(ht_tape *tape, ht_var x, ht_var *dx, const char *what, const char *site)
{
    if (ht_is_zero(*dx)) return true;
    ht_type type = hti_type(x);
    if (hti_is_number(*dx)) *dx = hti_spread(tape, hti_number_value(*dx), type, site);
    if (hti_check_named(*dx, what, site) == HTI_NONE) return false;
    HT_ASSERT(dx->tape == tape,
              "%s: a vector is on another tape than its variable" HTI_ONE_TAPE "%s%s",
              what, HTI_AT(site));
    if (tape->weak[dx->index]) *dx = tape->linear->cast(*dx, type.dtype, site);
    if (hti_is_poison(*dx)) return false;
    ht_type is = hti_type(*dx);
    if (hti_same_type(&is, &type)) return true;
    char want[HTI_TYPE_TEXT], got[HTI_TYPE_TEXT];
    hti_fail(tape, hti_unlike(type.dtype, is.dtype), site, what,
             "the vector for a %s variable must have its type, not %s",
             hti_type_text(type, want), hti_type_text(is, got));
    return false;
}

static uint32_t first_input(const ht_tape *tape, uint32_t node)
{
    return hti_inputs(tape, node)[0];
}

/* Whether y uses what x is made of otherwise than through x, after x was made. Two
 * reshapes, permutes or broadcasts in a row are recorded as one, past what is between: a
 * derivative by that would come out too small, so it is refused. */
static bool is_bypassed(const ht_tape *tape, int m, const ht_var *y, ht_var x,
                        bool *needed)
{
    const ht_op *op = tape->op[x.index];
    uint32_t under = first_input(tape, x.index);
    memset(needed, 0, tape->n);
    for (int j = 0; j < m; j++)
        if (!ht_is_zero(y[j])) needed[y[j].index] = true;
    for (uint32_t i = tape->n; i-- > x.index + 1;)
        for (uint32_t e = 0; needed[i] && e < tape->n_in[i]; e++) {
            uint32_t in = hti_inputs(tape, i)[e];
            if (in == under) return true;
            if (in != x.index && tape->op[in] == op && first_input(tape, in) == under)
                return true;
            needed[in] = true;
        }
    return needed[under];
}

bool hti_not_bypassed(ht_tape *tape, int m, const ht_var *y, int n, const ht_var *x,
                      const char *name, const char *site)
{
    for (int i = 0; i < n; i++) {
        const ht_op *op = tape->op[x[i].index];
        if (!(op->flags & HTI_OP_MOVES)) continue;
        hti_arena_mark mark = hti_arena_at(&tape->scratch);
        bool *needed = hti_arena_alloc(&tape->scratch, tape->n);
        bool bypassed = needed && is_bypassed(tape, m, y, x[i], needed);
        hti_arena_rewind(&tape->scratch, mark);
        if (!needed) return false;
        if (!bypassed) continue;
        uint32_t under = first_input(tape, x[i].index);
        char its[HTI_QUOTED], of[HTI_QUOTED];
        hti_fail(
            tape, HT_ERROR_NO_GRADIENT, site, name,
            "x[%d]%s (node %%%u) is a %s of node %%%u%s, which y uses past it: two of "
            "these in a row are recorded as one\n"
            "  hint: differentiate by node %%%u",
            i, hti_quoted(tape, x[i].index, its), x[i].index, op->name, under,
            hti_quoted(tape, under, of), under);
        return false;
    }
    return true;
}
