/* SPDX-License-Identifier: MIT */
/* grad.c: derivatives as the public functions give them: lists looked at, absent results
 * as zeros, an x that y does not depend on refused. Read next: derive.c. */
#include <string.h>

#include "derive.h"

/* A derivative asked for from outside. Its results are given when everything has been
 * read, so they may stand where its variables or vectors do. */
typedef struct request {
    ht_tape *tape;
    hti_arena_mark memory;
    ht_var *out; /* the results: scratch */
    bool ok;
} request;

/* None of the list is a number: equal numbers are one node, those that rules make too, so
 * a derivative by one would count them all. */
static bool no_numbers(ht_tape *tape, int n, const ht_var *x, const char *name,
                       const char *site)
{
    double value;
    for (int i = 0; i < n; i++)
        if (hti_is_constant(x[i], &value)) {
            hti_fail(tape, HT_ERROR_ARGUMENT, site, name,
                     "x[%d] is the constant %g, which may stand in other places too\n"
                     "  hint: differentiate by an ht_input",
                     i, value);
            return false;
        }
    return true;
}

/* n_out results of y by x are asked for; y may have HT_ZERO among it if `absent`. */
static request ask(const char *name, int m, const ht_var *y, bool absent, int n,
                   const ht_var *x, int n_out, const char *site)
{
    HT_ASSERT(m > 0 && n >= 0, "%s: %d outputs by %d variables", name, m, n);
    HT_ASSERT(y && (x || !n), "%s: y %p, x %p", name, (const void *)y, (const void *)x);
    ht_tape *tape = hti_tape_among(n, x);
    if (!tape) tape = hti_tape_among(m, y);
    HT_ASSERT(tape, "%s: no variable is on a tape", name);
    request a = {.tape = tape, .memory = hti_arena_at(&tape->scratch)};
    a.ok = hti_needs_all(tape, n, x, false, false, name, "x", site) &&
           no_numbers(tape, n, x, name, site) &&
           hti_needs_all(tape, m, y, absent, false, name, "y", site) &&
           tape->ctx->status == HT_OK && hti_not_bypassed(tape, m, y, n, x, name, site);
    if (a.ok) a.out = hti_arena_alloc(&tape->scratch, (size_t)n_out * sizeof *a.out);
    a.ok = a.ok && a.out;
    return a;
}

/* The results, absent ones as zeros of `like`; all poisoned if the derivative failed. */
static void answer(request *a, int n, const ht_var *like, ht_var *to, const char *name,
                   const char *site)
{
    HT_ASSERT(to || !n, "%s: the results have no place: NULL", name);
    for (int i = 0; a->ok && i < n; i++)
        if (ht_is_zero(a->out[i]))
            a->out[i] = hti_spread(a->tape, 0, hti_type(like[i]), site);
    for (int i = 0; i < n; i++) to[i] = a->ok ? a->out[i] : hti_poison(a->tape);
    hti_arena_rewind(&a->tape->scratch, a->memory);
}

/* The first op without a derivative on a way from x to y; HTI_NONE: no way, no memory. */
static uint32_t stopped_at(ht_tape *tape, ht_var y, ht_var x)
{
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    enum { BELOW = 1, ABOVE = 2 };
    unsigned char *seen = hti_arena_alloc(&tape->scratch, (size_t)y.index + 1);
    if (!seen) return HTI_NONE;
    memset(seen, 0, (size_t)y.index + 1);
    seen[y.index] = BELOW;
    for (uint32_t i = y.index; i > x.index; i--)
        for (uint32_t k = 0; seen[i] && k < tape->n_in[i]; k++)
            seen[hti_inputs(tape, i)[k]] = BELOW;
    uint32_t stop = HTI_NONE;
    seen[x.index] |= ABOVE;
    for (uint32_t i = x.index + 1; i <= y.index && stop == HTI_NONE; i++) {
        for (uint32_t k = 0; k < tape->n_in[i]; k++)
            seen[i] |= seen[hti_inputs(tape, i)[k]] & ABOVE;
        if (seen[i] == (BELOW | ABOVE) && tape->op[i]->flags & HT_OP_NO_GRADIENT)
            stop = i;
    }
    hti_arena_rewind(&tape->scratch, mark);
    return stop;
}

/* That x[i], of which y does not depend, is an error; where `zeros` would do. */
static void unreached(ht_tape *tape, ht_var y, int i, ht_var x, const char *zeros,
                      const char *site)
{
    const char *made = tape->site[x.index];
    char name[HTI_QUOTED], its[HTI_QUOTED];
    hti_quoted(tape, x.index, name);
    ht_dtype dtype = hti_type(x).dtype;
    uint32_t stop = hti_dtype_is_float(dtype) ? stopped_at(tape, y, x) : HTI_NONE;
    if (!hti_dtype_is_float(dtype))
        hti_fail(x.tape, HT_ERROR_NO_GRADIENT, site, "grad",
                 "x[%d]%s (node %%%u) is %s: only f32 and f64 have a gradient", i, name,
                 x.index, ht_dtype_name(dtype));
    else if (stop != HTI_NONE)
        hti_fail(x.tape, HT_ERROR_NO_GRADIENT, site, "grad",
                 "%s%s (node %%%u%s%s), which stands between x[%d]%s and y, has no "
                 "gradient\n"
                 "  hint: %s gives zeros",
                 tape->op[stop]->name, hti_quoted(tape, stop, its), stop,
                 tape->site[stop] ? ", made at " : "",
                 tape->site[stop] ? tape->site[stop] : "", i, name, zeros);
    else
        hti_fail(x.tape, HT_ERROR_NO_GRADIENT, site, "grad",
                 "y does not depend on x[%d]%s (node %%%u%s%s)\n"
                 "  hint: %s gives zeros",
                 i, name, x.index, made ? ", made at " : "", made ? made : "", zeros);
}

bool hti_reaches(ht_var y, ht_var x, const char *zeros, const char *site)
{
    ht_var none = HT_ZERO;
    bool reached = false;
    if (!hti_vjp(y.tape, 1, &y, &none, 1, &x, &none, &reached, site)) return false;
    if (!reached) unreached(y.tape, y, 0, x, zeros, site);
    return reached;
}

/* dy/dx into a->out, absent where it is; every x reached, if `strict`. */
static bool gradient(const request *a, ht_var y, int n, const ht_var *x, bool strict,
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
        unreached(tape, y, i, x[i], "ht_grad_or_zero", site);
        ok = false;
    }
    hti_arena_rewind(&tape->scratch, mark);
    return ok;
}

void ht_grad_at(ht_var y, int n, const ht_var *x, ht_var *dx, const char *site)
{
    request a = ask("grad", 1, &y, false, n, x, n, site);
    a.ok = gradient(&a, y, n, x, true, site);
    answer(&a, n, x, dx, "grad", site);
}

void ht_grad_or_zero_at(ht_var y, int n, const ht_var *x, ht_var *dx, const char *site)
{
    request a = ask("grad_or_zero", 1, &y, false, n, x, n, site);
    a.ok = gradient(&a, y, n, x, false, site);
    answer(&a, n, x, dx, "grad_or_zero", site);
}

void ht_vjp_at(int m, const ht_var *y, const ht_var *v, int n, const ht_var *x,
               ht_var *dx, const char *site)
{
    HT_ASSERT(v && n > 0, "vjp: v %p, %d variables", (const void *)v, n);
    request a = ask("vjp", m, y, true, n, x, n, site);
    a.ok = a.ok && hti_needs_all(a.tape, m, v, true, true, "vjp", "v", site) &&
           hti_vjp(a.tape, m, y, v, n, x, a.out, NULL, site);
    answer(&a, n, x, dx, "vjp", site);
}

void ht_jvp_at(int n, const ht_var *x, const ht_var *dx, int m, const ht_var *y,
               ht_var *dy, const char *site)
{
    HT_ASSERT(dx && n > 0, "jvp: dx %p, %d variables", (const void *)dx, n);
    request a = ask("jvp", m, y, false, n, x, m, site);
    a.ok = a.ok && hti_needs_all(a.tape, n, dx, true, true, "jvp", "dx", site) &&
           hti_jvp(a.tape, n, x, dx, m, y, a.out, site);
    answer(&a, m, y, dy, "jvp", site);
}

void ht_hvp_at(ht_var y, int n, const ht_var *x, const ht_var *v, ht_var *hv,
               const char *site)
{
    HT_ASSERT(v && n > 0, "hvp: v %p, %d variables", (const void *)v, n);
    request a = ask("hvp", 1, &y, false, n, x, n, site);
    a.ok = a.ok && hti_needs_all(a.tape, n, v, true, true, "hvp", "v", site) &&
           gradient(&a, y, n, x, false, site) &&
           hti_jvp(a.tape, n, x, v, n, a.out, a.out, site);
    answer(&a, n, x, hv, "hvp", site);
}
