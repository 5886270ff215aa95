/* SPDX-License-Identifier: MIT */
/* edges.h: the table of edges: right values and two derivatives at awkward places, from
 * reference/edges.txt, held against what the library gives on both policies, by reverse
 * and by forward mode, for every instruction set. Read next: reference/edges.py (where
 * the numbers come from), test_edges_elementwise.c. */
#ifndef HTI_EDGES_H
#define HTI_EDGES_H

#include <float.h>

#include "ht_nn.h"
#include "kernels.h"
#include "ops.h"
#include "reference.h"

enum { EDGE_INPUTS = 4, EDGE_ELEMENTS = 8, EDGE_OUTPUTS = 8 };
enum { EDGE_LEAVES = 2 * EDGE_ELEMENTS + EDGE_INPUTS + 40 };
enum { EDGE_MOST = EDGE_OUTPUTS * EDGE_ELEMENTS * EDGE_ELEMENTS };

/* What a form makes of its inputs, whose shapes are "2x3 3x1" and whose elements together
 * are a case's x in order. A list of forms ends in one without a name. */
typedef struct edge_form {
    const char *name;
    ht_var (*make)(const ht_var *x);
    const char *shapes;
    int n_in;
    ht_shape shape[EDGE_INPUTS];
} edge_form;

#define FORM(name, call)                       \
    static ht_var form_##name(const ht_var *x) \
    {                                          \
        return call;                           \
    }
#define ROW(form, dimensions)                                    \
    {                                                            \
        .name = #form, .make = form_##form, .shapes = dimensions \
    }

typedef struct edge_numbers {
    int n;
    double at[EDGE_MOST];
    bool open[EDGE_MOST]; /* not promised */
} edge_numbers;

typedef struct edge_case {
    const char *form; /* of the line read last */
    ht_dtype dtype;
    edge_numbers x, y, d, h;
    double digits[3];
    bool of_largest[3]; /* digits of the largest number beside it, not of each */
} edge_case;

/* Counted over a file. */
typedef struct edge_tally {
    int cases, failed, fewer; /* fewer: with a reason for fewer digits */
    long numbers[3], open;    /* values, first and second derivatives; not promised */
} edge_tally;

/* Reading. */

static inline void edge_read_numbers(reference *r, const char *letter, edge_numbers *to)
{
    to->n = reference_count(r, letter, EDGE_MOST);
    for (int i = 0; i < to->n; i++) {
        const char *word = reference_word(r);
        to->open[i] = *word == '?';
        to->at[i] = to->open[i] ? 0 : strtod(word, NULL);
    }
}

static inline void edge_read(reference *r, edge_case *c)
{
    c->form = reference_word(r);
    c->dtype = strcmp(reference_word(r), "f32") ? HT_F64 : HT_F32;
    edge_read_numbers(r, "x", &c->x);
    edge_read_numbers(r, "y", &c->y);
    edge_read_numbers(r, "d", &c->d);
    edge_read_numbers(r, "h", &c->h);
    reference_label(r, "digits");
    for (int k = 0; k < 3; k++) {
        const char *word = reference_word(r);
        c->digits[k] = atof(word);
        c->of_largest[k] = strchr(word, 'r') != NULL;
    }
}

/* Comparing. */

/* How many digits agree, relative to |scale|: 99 if all; infinite and NaN must be so, and
 * 0 unless it is beside larger numbers. Where a number below the least normal one has
 * come between, 256 units of the last place of those are allowed. */
static inline double edge_digits(double got, double want, double scale, ht_dtype dtype)
{
    double least = dtype == HT_F32 ? 0x1p-149 : 0x1p-1074;
    if (got == want || (isnan(got) && isnan(want))) return 99;
    if (!isfinite(got) || !isfinite(want)) return -99;
    if (fabs(got - want) <= 256 * least) return 99;
    return scale == 0 ? -99 : -log10(fabs(got - want) / fabs(scale));
}

static inline double edge_largest(const edge_numbers *all)
{
    double most = 0;
    for (int i = 0; i < all->n; i++)
        if (!all->open[i] && isfinite(all->at[i]) && fabs(all->at[i]) > most)
            most = fabs(all->at[i]);
    return most;
}

/* Order 0: values; 1 and 2: derivatives. */
static inline bool edge_compare(const edge_case *c, const char *what, int order,
                                const double *got)
{
    const edge_numbers *want = (const edge_numbers *[]){&c->y, &c->d, &c->h}[order];
    double digits = c->digits[order], largest = edge_largest(want);
    for (int i = 0; i < want->n; i++) {
        if (want->open[i]) continue;
        double scale = c->of_largest[order] ? largest : want->at[i];
        double have = edge_digits(got[i], want->at[i], scale, c->dtype);
        if (have >= digits) continue;
        printf("# %s %s at (", c->form, ht_dtype_name(c->dtype));
        for (int k = 0; k < c->x.n; k++) printf("%s%.9g", k ? ", " : "", c->x.at[k]);
        printf("): %s[%d] is %.17g, right is %.17g: %.1f digits of %g\n", what, i, got[i],
               want->at[i], have, digits);
        return false;
    }
    return true;
}

/* Computing. */

/* The variables of one case, on either kind of tape. In the order of `out`: y; by reverse
 * mode d; by forward mode d, transposed; h forward over reverse; h reverse over reverse.
 */
typedef struct edge_graph {
    int n_in, n, n_y, n_out;
    bool first, second;
    ht_var in[EDGE_INPUTS], unit[EDGE_INPUTS][EDGE_ELEMENTS], unit_y[EDGE_OUTPUTS];
    ht_var out[1 + EDGE_INPUTS * EDGE_OUTPUTS + EDGE_ELEMENTS +
               2 * EDGE_OUTPUTS * EDGE_ELEMENTS * EDGE_INPUTS];
    ht_var leaf[EDGE_LEAVES];
    const ht_tensor *given[EDGE_LEAVES];
    ht_tensor *made[EDGE_LEAVES]; /* NULL: another's */
    int n_leaves;
} edge_graph;

/* The one at hand: forms that have parameters put them among its leaves. */
static edge_graph edge_now;

static inline void edge_parameters(ht_set *set, const ht_vars *vars)
{
    edge_graph *g = &edge_now;
    for (int i = 0; i < ht_set_count(set); i++) {
        g->given[g->n_leaves] = ht_set_at(set, i);
        g->made[g->n_leaves] = NULL;
        g->leaf[g->n_leaves++] = ht_vars_at(vars, i);
    }
}

/* An input of the tape: zeros, then `at` filled in. */
static inline ht_var edge_leaf(edge_graph *g, ht_tape *tape, ht_dtype dtype,
                               ht_shape shape, int n, const double *at)
{
    ht_tensor *x = ht_tensor_new(ht_tape_context(tape), dtype, shape);
    for (int i = 0; i < n; i++) {
        if (dtype == HT_F32)
            ((float *)ht_tensor_data(x))[i] = (float)at[i];
        else
            ((double *)ht_tensor_data(x))[i] = at[i];
    }
    g->given[g->n_leaves] = g->made[g->n_leaves] = x;
    return g->leaf[g->n_leaves++] = ht_input(tape, x);
}

static inline ht_var edge_unit(edge_graph *g, ht_tape *tape, ht_dtype dtype,
                               ht_shape shape, int64_t i)
{
    double at[EDGE_MOST] = {0};
    at[i] = 1;
    return edge_leaf(g, tape, dtype, shape, (int)ht_shape_count(shape), at);
}

/* A tangent of the inputs: one element's unit, the others absent. */
static inline void edge_tangent(const edge_graph *g, int input, int element, ht_var *t)
{
    for (int k = 0; k < g->n_in; k++) t[k] = HT_ZERO;
    t[input] = g->unit[input][element];
}

static inline void edge_derive_first(edge_graph *g, ht_tape *tape, ht_dtype dtype,
                                     const edge_form *form, ht_var y)
{
    for (int o = 0; o < g->n_y; o++) {
        g->unit_y[o] = edge_unit(g, tape, dtype, ht_var_shape(y), o);
        ht_vjp(1, &y, &g->unit_y[o], g->n_in, g->in, g->out + g->n_out);
        g->n_out += g->n_in;
    }
    for (int k = 0; k < g->n_in; k++)
        for (int i = 0; i < ht_shape_count(form->shape[k]); i++) {
            ht_var t[EDGE_INPUTS];
            g->unit[k][i] = edge_unit(g, tape, dtype, form->shape[k], i);
            edge_tangent(g, k, i, t);
            ht_jvp(g->n_in, g->in, t, 1, &y, g->out + g->n_out++);
        }
}

/* Row (o, i) of h by each mode: the derivative of dy[o]/dx along, and of its i-th. */
static inline void edge_derive_second(edge_graph *g, const edge_form *form, bool reverse)
{
    for (int o = 0; o < g->n_y; o++) {
        const ht_var *d = g->out + 1 + o * g->n_in;
        for (int k = 0; k < g->n_in; k++)
            for (int i = 0; i < ht_shape_count(form->shape[k]); i++) {
                ht_var t[EDGE_INPUTS], *out = g->out + g->n_out;
                edge_tangent(g, k, i, t);
                if (reverse)
                    ht_vjp(g->n_in, d, t, g->n_in, g->in, out);
                else
                    ht_jvp(g->n_in, g->in, t, g->n_in, d, out);
                g->n_out += g->n_in;
            }
    }
}

static inline void edge_build(edge_graph *g, ht_tape *tape, const edge_form *form,
                              const edge_case *c)
{
    g->n_in = form->n_in;
    g->n = c->x.n;
    g->n_y = c->y.n;
    g->n_leaves = g->n_out = 0;
    const double *at = c->x.at;
    for (int k = 0; k < g->n_in; k++) {
        int n = (int)ht_shape_count(form->shape[k]);
        g->in[k] = edge_leaf(g, tape, c->dtype, form->shape[k], n, at);
        at += n;
    }
    assert_int_equal(at - c->x.at, c->x.n);
    ht_var y = g->out[g->n_out++] = form->make(g->in);
    assert_int_equal(ht_shape_count(ht_var_shape(y)), c->y.n);
    if (!c->d.n) return;
    edge_derive_first(g, tape, c->dtype, form, y);
    if (!c->h.n) return;
    edge_derive_second(g, form, false);
    edge_derive_second(g, form, true);
}

/* All numbers of all outputs, eager. */
static inline int edge_read_out(const edge_graph *g, double *to)
{
    int at = 0;
    for (int k = 0; k < g->n_out; k++) {
        const ht_tensor *value = ht_value(g->out[k]);
        for (int64_t i = 0; value && i < ht_tensor_count(value); i++)
            to[at++] = ht_tensor_get(value, i);
    }
    return at;
}

static inline void edge_free(edge_graph *g, ht_tape *tape)
{
    ht_tape_free(tape);
    for (int k = 0; k < g->n_leaves; k++) ht_tensor_free(g->made[k]);
}

enum { EDGE_NUMBERS = EDGE_OUTPUTS + 2 * EDGE_OUTPUTS * EDGE_ELEMENTS + 2 * EDGE_MOST };

static inline int edge_eager(ht_context *ctx, const edge_form *form, const edge_case *c,
                             double *to)
{
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    edge_build(&edge_now, tape, form, c);
    int n = edge_read_out(&edge_now, to);
    edge_free(&edge_now, tape);
    return n;
}

static inline int edge_replayed(ht_context *ctx, const edge_form *form,
                                const edge_case *c, double *to)
{
    edge_graph *g = &edge_now;
    static ht_tensor *out[sizeof g->out / sizeof *g->out];
    ht_tape *tape = ht_tape_new(ctx, HT_RECORD);
    edge_build(g, tape, form, c);
    ht_program *p = ht_program_new(tape, g->n_leaves, g->leaf, g->n_out, g->out);
    for (int k = 0; k < g->n_out; k++)
        out[k] = ht_tensor_new(ctx, ht_var_dtype(g->out[k]), ht_var_shape(g->out[k]));
    int n = 0;
    if (p) ht_program_run(p, g->given, out);
    for (int k = 0; k < g->n_out; k++) {
        for (int64_t i = 0; i < ht_tensor_count(out[k]); i++)
            to[n++] = ht_tensor_get(out[k], i);
        ht_tensor_free(out[k]);
    }
    ht_program_free(p);
    edge_free(g, tape);
    return n;
}

/* Checking. */

/* The forward pass gives d by columns. */
static inline void edge_transpose(const edge_case *c, const double *from, double *to)
{
    for (int i = 0; i < c->x.n; i++)
        for (int o = 0; o < c->y.n; o++) to[o * c->x.n + i] = *from++;
}

static inline bool edge_check_numbers(const edge_case *c, const double *got)
{
    static double turned[EDGE_MOST];
    int first = c->y.n * c->x.n, second = first * c->x.n;
    bool ok = edge_compare(c, "y", 0, got);
    if (!c->d.n) return ok;
    got += c->y.n;
    ok = edge_compare(c, "reverse d", 1, got) && ok;
    edge_transpose(c, got + first, turned);
    ok = edge_compare(c, "forward d", 1, turned) && ok;
    if (!c->h.n) return ok;
    got += 2 * first;
    ok = edge_compare(c, "h, forward over reverse", 2, got) && ok;
    return edge_compare(c, "h, reverse over reverse", 2, got + second) && ok;
}

static inline bool edge_same_bits(const double *a, const double *b, int n)
{
    for (int i = 0; i < n; i++)
        if (!(a[i] == b[i] || (isnan(a[i]) && isnan(b[i])))) return false;
    return true;
}

static inline bool edge_check(ht_context *ctx, const edge_form *form, const edge_case *c)
{
    static double got[EDGE_NUMBERS], other[EDGE_NUMBERS];
    int n = edge_eager(ctx, form, c, got);
    bool ok = edge_check_numbers(c, got);
    int m = edge_replayed(ctx, form, c, other);
    if (ht_context_status(ctx) != HT_OK) {
        printf("# %s: %s\n", c->form, ht_context_message(ctx));
        ht_context_clear(ctx);
        return false;
    }
    if (n == m && edge_same_bits(got, other, n)) return ok;
    printf("# %s: eager and replayed differ\n", c->form);
    return false;
}

/* The form of that name, its shapes read. */
static inline bool edge_find(const edge_form *forms, const char *name, edge_form *form)
{
    while (forms->name && strcmp(forms->name, name)) forms++;
    *form = *forms;
    char *at = (char *)(uintptr_t)forms->shapes;
    for (; at && *at; form->n_in++) {
        ht_shape *shape = &form->shape[form->n_in];
        do shape->dim[shape->rank++] = strtol(at + (*at == 'x'), &at, 10);
        while (*at == 'x');
    }
    return forms->name != NULL;
}

/* Every case of the file whose form is one of these, on every instruction set. done, or
 * NULL, frees what forms made on the context. */
static inline edge_tally edge_walk(const edge_form *forms, void (*done)(void))
{
    static reference r;
    static edge_case c;
    edge_form form;
    edge_tally tally = {0};
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    reference_open(&r, "edges.txt");
    while (reference_next(&r)) {
        edge_read(&r, &c);
        if (!edge_find(forms, c.form, &form)) continue;
        bool ok = true;
        for (int isa = HTI_BASELINE; hti_context_use(ctx, isa); isa++) {
            ok = edge_check(ctx, &form, &c) && ok;
        }
        tally.cases++;
        tally.failed += !ok;
        tally.fewer += *r.remark != '\0';
        const edge_numbers *all[] = {&c.y, &c.d, &c.h};
        for (int k = 0; k < 3; k++)
            for (int i = 0; i < all[k]->n; i++)
                *(all[k]->open[i] ? &tally.open : &tally.numbers[k]) += 1;
    }
    if (done) done();
    ht_context_free(ctx);
    printf("# %d cases: %ld values, %ld first and %ld second derivatives, %ld not "
           "promised, %d cases to fewer digits\n",
           tally.cases, tally.numbers[0], tally.numbers[1], tally.numbers[2], tally.open,
           tally.fewer);
    return tally;
}

#endif
