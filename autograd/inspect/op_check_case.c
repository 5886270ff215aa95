/* SPDX-License-Identifier: MIT */
/* op_check_case.c: one case of ht_op_check: sizes drawn, leaves filled and put on tapes,
 * results read back and compared by norm. Read next: op_check_derive.c. */
#include <math.h>
#include <stdarg.h>

#include "op_check.h"

/* Comparing. */

bool hti_op_fail(const hti_op_case *c, const char *what, const char *format, ...)
{
    static const char *const layouts[] = {"dense", "transposed", "stepped", "repeated"};
    FILE *f = c->check->options.report;
    va_list list;
    if (!f) return false;
    fprintf(f, "%s, sample %td", c->check->op->name, c->sample - c->check->op->samples);
    for (int i = 0; i < c->sample->n_in; i++) {
        char text[HT_SHAPE_TEXT];
        fprintf(f, " %s", ht_shape_text(c->shape[i], text));
    }
    fprintf(f, ", %s, %s, seed %llu: %s: ", layouts[c->layout], ht_dtype_name(c->dtype),
            (unsigned long long)c->seed, what);
    va_start(list, format);
    vfprintf(f, format, list);
    va_end(list);
    fputc('\n', f);
    return false;
}

double hti_op_dot(const hti_op_vec *a, const hti_op_vec *b)
{
    double sum = 0;
    for (int64_t i = 0; i < a->n && i < b->n; i++) sum += a->at[i] * b->at[i];
    return sum;
}

bool hti_op_near(const hti_op_case *c, const hti_op_vec *got, const hti_op_vec *want,
                 double tolerance, const char *what)
{
    double sum = 0, most = -1, norm = sqrt(hti_op_dot(want, want));
    int64_t worst = 0;
    if (ht_context_status(c->check->ctx) != HT_OK)
        return hti_op_fail(c, what, "%s", ht_context_message(c->check->ctx));
    if (got->n != want->n)
        return hti_op_fail(c, what, "%lld elements, want %lld", (long long)got->n,
                           (long long)want->n);
    for (int64_t i = 0; i < got->n; i++) {
        double error = fabs(got->at[i] - want->at[i]);
        sum += error * error;
        if (!(error <= most) && !isnan(most)) most = error, worst = i;
    }
    double distance = sqrt(sum) / (norm > 1 ? norm : 1);
    if (distance <= tolerance) return true;
    return hti_op_fail(
        c, what, "distance %.3g, at most %.3g; element %lld: got %.17g, want %.17g",
        distance, tolerance, (long long)worst, got->at[worst], want->at[worst]);
}

bool hti_op_near_number(const hti_op_case *c, double got, double want, double tolerance,
                        const char *what)
{
    return hti_op_near(c, &(hti_op_vec){1, {got}}, &(hti_op_vec){1, {want}}, tolerance,
                       what);
}

static void op_read_tensor(const ht_tensor *x, hti_op_vec *out)
{
    for (int64_t k = 0; x && k < ht_tensor_count(x) && out->n < HTI_OP_ELEMENTS; k++)
        out->at[out->n++] = ht_tensor_get(x, k);
}

void hti_op_read(int n, const ht_var *x, hti_op_vec *out)
{
    out->n = 0;
    for (int i = 0; i < n; i++) op_read_tensor(ht_value_at(x[i], NULL), out);
}

/* Views. */

/* The shape of the leaf whose view in this layout has `shape`. */
static ht_shape op_leaf_shape(hti_op_layout layout, ht_shape shape)
{
    int last = shape.rank - 1;
    if (layout == HTI_OP_TRANSPOSED && last >= 1) {
        int64_t rows = shape.dim[last - 1];
        shape.dim[last - 1] = shape.dim[last];
        shape.dim[last] = rows;
    }
    if (layout == HTI_OP_STEPPED) {
        if (shape.rank == 0) return HT_SHAPE(3);
        shape.dim[last] = 2 * shape.dim[last] + 1;
    }
    if (layout == HTI_OP_REPEATED && shape.rank > 0) shape.dim[0] = 1;
    return shape;
}

static ht_var op_view(hti_op_layout layout, ht_shape shape, ht_var x)
{
    int64_t n = shape.rank ? shape.dim[shape.rank - 1] : 0;
    if (layout == HTI_OP_TRANSPOSED && shape.rank >= 2) return ht_transpose(x);
    if (layout == HTI_OP_STEPPED && shape.rank == 0)
        return ht_reshape(ht_slice(x, 0, 1, 1, 1), HT_SCALAR);
    if (layout == HTI_OP_STEPPED) return ht_slice(x, -1, 2 * n - 1, n, -2);
    return layout == HTI_OP_REPEATED ? ht_broadcast(x, shape) : x;
}

/* Drawing. Streams: 1 sizes, 2 cells, 3 jitter, 4.. integers, 10.. u, 20.. w, 30 v. */

enum { HTI_OP_TRIES = 64 };

static bool op_is_float(const hti_op_case *c, int i)
{
    return c->sample->in[i].dtype == 0;
}

static ht_dtype op_dtype(const hti_op_case *c, int i)
{
    return op_is_float(c, i) ? c->dtype : c->sample->in[i].dtype;
}

/* The size of a symbol: now and then 0 or 1, else a few, or up to 67 for the odd tails of
 * vectors; less with every try. */
static int64_t op_draw_size(const hti_op_case *c, int64_t symbol, int try)
{
    uint64_t at = 16 * (uint64_t)try + 2 * (uint64_t)-symbol;
    int64_t least = symbol <= HT_SOME_1 ? 1 : 0;
    int64_t kind = ht_random_below(c->seed, 1, at, 12), most = kind < 6 ? 67 : 8;
    if (kind == 0) return least;
    if (kind == 1) return 1;
    while (most > 2 && try > HTI_OP_TRIES / 8) most /= 2, try -= HTI_OP_TRIES / 8;
    return 1 + ht_random_below(c->seed, 1, at + 1, most);
}

/* Whether leaves and output are few enough; an error is kept if the row refuses. */
static bool op_draw_fits(const hti_op_case *c)
{
    int64_t leaves = 0, most = HTI_OP_ELEMENTS;
    ht_tape *tape = c->check->recorded;
    ht_var in[HT_OP_INPUTS];
    for (int i = 0; i < c->sample->n_in; i++) {
        int64_t n = ht_shape_count(op_leaf_shape(c->layout, c->shape[i]));
        if (n < 0 || n > most || ht_shape_count(c->shape[i]) > most) return false;
        if (op_is_float(c, i)) leaves += n;
        ht_type type = {op_dtype(c, i), c->shape[i]};
        in[i] = ht_input_like(tape, type);
    }
    ht_var y =
        ht_apply(c->check->op, c->sample->n_in, in, c->sample->attributes, HT_HERE);
    int64_t n = ht_shape_count(ht_var_shape(y));
    ht_tape_reset(tape);
    return leaves <= most && n <= most;
}

static bool op_draw(hti_op_case *c)
{
    for (int try = 0; try < HTI_OP_TRIES; try++) {
        for (int i = 0; i < c->sample->n_in; i++) {
            c->shape[i] = c->sample->in[i].shape;
            for (int k = 0; k < c->shape[i].rank; k++)
                if (c->shape[i].dim[k] < 0)
                    c->shape[i].dim[k] = op_draw_size(c, c->shape[i].dim[k], try);
        }
        if (op_draw_fits(c)) return true;
    }
    return hti_op_fail(c, "sample", "more than %d elements in inputs or output",
                       HTI_OP_ELEMENTS);
}

/* Floats come from distinct cells of [low, high], so that no two are within reach of a
 * difference step, and neither is the middle of the range: kinks and ties are for tests
 * of their own. */
static void op_fill_leaves(hti_op_case *c)
{
    int64_t n = 0, order[HTI_OP_ELEMENTS + 1], at = 0;
    for (int f = 0; f < c->n_float; f++) n += ht_tensor_count(c->leaf[c->place[f]]);
    n += n % 2;
    if (n) ht_random_permutation(c->seed, 2, n, order);
    c->cell = 1;
    for (int i = 0; i < c->sample->n_in; i++) {
        double low = c->sample->in[i].low, width = c->sample->in[i].high - low;
        if (op_is_float(c, i) && n) c->cell = fmin(c->cell, width / (double)n);
        for (int64_t k = 0; k < ht_tensor_count(c->leaf[i]); k++) {
            double jitter = 0.4 + 0.2 * ht_random_uniform(c->seed, 3, (uint64_t)at);
            int64_t whole = ht_random_below(c->seed, 4 + (uint64_t)i, (uint64_t)k,
                                            (int64_t)width + 1);
            if (op_is_float(c, i))
                ht_tensor_set(c->leaf[i], k,
                              low + width * ((double)order[at++] + jitter) / (double)n);
            else
                ht_tensor_set(c->leaf[i], k, low + (double)whole);
        }
    }
}

static bool op_new_tensors(hti_op_case *c)
{
    for (int i = 0; i < c->sample->n_in; i++) {
        ht_shape shape = op_leaf_shape(c->layout, c->shape[i]);
        c->leaf[i] = ht_tensor_new(c->check->ctx, op_dtype(c, i), shape);
        if (!c->leaf[i]) return false;
        if (!op_is_float(c, i)) continue;
        int f = c->n_float++;
        c->place[f] = i;
        c->u[f] = ht_tensor_new(c->check->ctx, c->dtype, shape);
        c->w[f] = ht_tensor_new(c->check->ctx, c->dtype, shape);
        if (!c->u[f] || !c->w[f]) return false;
        ht_tensor_uniform(c->u[f], 10 + (uint64_t)f, -1, 1);
        ht_tensor_uniform(c->w[f], 20 + (uint64_t)f, -1, 1);
    }
    return true;
}

bool hti_op_open(hti_op_case *c, hti_op_check *check, const ht_sample *sample,
                 hti_op_layout layout, ht_dtype dtype, uint64_t seed)
{
    hti_op_graph g;
    int64_t elements = 0;
    c->check = check;
    c->sample = sample;
    c->layout = layout;
    c->dtype = dtype;
    c->seed = check->ctx->options.seed = seed;
    c->derives = c->decomposed = false;
    c->n_float = 0;
    for (int i = 0; i < HT_OP_INPUTS; i++) c->leaf[i] = c->u[i] = c->w[i] = NULL;
    c->v = NULL;
    c->base.n = c->u_flat.n = c->w_flat.n = c->v_flat.n = 0;
    if (!op_draw(c)) return false;
    if (op_new_tensors(c)) {
        op_fill_leaves(c);
        hti_op_append(c, check->recorded, &g);
        ht_dtype out = ht_var_dtype(g.y);
        elements = ht_shape_count(ht_var_shape(g.y));
        if (hti_dtype_is_float(out) && ht_context_status(check->ctx) == HT_OK) {
            c->v = ht_tensor_new(check->ctx, out, ht_var_shape(g.y));
            if (c->v) ht_tensor_uniform(c->v, 30, -1, 1);
        }
        ht_tape_reset(check->recorded);
    }
    if (ht_context_status(check->ctx) != HT_OK)
        return hti_op_fail(c, "sample", "%s", ht_context_message(check->ctx));
    c->derives = c->v && c->n_float && !(check->op->flags & HT_OP_NO_GRADIENT);
    for (int f = 0; f < c->n_float; f++) {
        op_read_tensor(c->leaf[c->place[f]], &c->base);
        op_read_tensor(c->u[f], &c->u_flat);
        op_read_tensor(c->w[f], &c->w_flat);
    }
    op_read_tensor(c->v, &c->v_flat);
    bool constant = check->op->flags & HT_OP_NO_GRADIENT;
    check->compared = check->compared || (elements > 0 && (c->base.n > 0 || constant));
    return true;
}

void hti_op_close(hti_op_case *c)
{
    ht_tape_reset(c->check->eager);
    ht_tape_reset(c->check->recorded);
    for (int i = 0; i < HT_OP_INPUTS; i++) {
        ht_tensor_free(c->leaf[i]);
        ht_tensor_free(c->u[i]);
        ht_tensor_free(c->w[i]);
    }
    ht_tensor_free(c->v);
}

void hti_op_move(hti_op_case *c, const hti_op_vec *direction, double step)
{
    int64_t at = 0;
    ht_tape_reset(c->check->eager);
    for (int f = 0; f < c->n_float; f++)
        for (int64_t k = 0; k < ht_tensor_count(c->leaf[c->place[f]]); k++, at++)
            ht_tensor_set(c->leaf[c->place[f]], k,
                          c->base.at[at] + step * direction->at[at]);
}

/* Appending. */

void hti_op_append(const hti_op_case *c, ht_tape *tape, hti_op_graph *g)
{
    const ht_op *op = c->check->op;
    ht_var in[HT_OP_INPUTS];
    *g = (hti_op_graph){0};
    for (int i = 0; i < c->sample->n_in; i++) {
        g->leaf[i] = ht_input(tape, c->leaf[i]);
        in[i] = op_view(c->layout, c->shape[i], g->leaf[i]);
    }
    for (int f = 0; f < c->n_float; f++) g->x[f] = g->leaf[c->place[f]];
    ht_rule r = {.n_in = c->sample->n_in, .in = in, .attributes = c->sample->attributes};
    r.out = r.v = HT_ZERO;
    g->y = c->decomposed ? c->check->options.decompose(&r)
                         : ht_apply(op, r.n_in, in, c->sample->attributes, HT_HERE);
}

void hti_op_append_gradient(const hti_op_case *c, ht_tape *tape, hti_op_graph *g)
{
    hti_op_append(c, tape, g);
    for (int f = 0; f < c->n_float; f++) {
        g->u[f] = ht_input(tape, c->u[f]);
        g->w[f] = ht_input(tape, c->w[f]);
    }
    g->v = ht_input(tape, c->v);
    g->phi = ht_sum(ht_mul(g->y, g->v));
    ht_vjp(1, &g->y, &g->v, c->n_float, g->x, g->g);
}
