/* SPDX-License-Identifier: MIT */
/* op_checks.h: one sample of one op row as a function of leaves, seen through views, with
 * random directions and cotangents; and vectors of doubles to compare by norm. Read next:
 * test_autograd_ops.c. */
#ifndef HTI_OP_CHECKS_H
#define HTI_OP_CHECKS_H

#include "autograd_internal.h"
#include "test.h"

/* How an input reaches the op. */
enum layout { DENSE, TRANSPOSED, STEPPED, REPEATED, N_LAYOUTS };
enum { MOST_INPUTS = 3, MOST_ELEMENTS = 640 };

/* Several tensors end to end. */
typedef struct vec {
    int n;
    double at[MOST_ELEMENTS];
} vec;

typedef struct op_case {
    const ht_op *op;
    const ht_sample *sample;
    enum layout layout;
    ht_dtype dtype; /* the float type under test */
    uint64_t seed;
    ht_context *ctx;
    ht_tape *tape;                   /* eager */
    int n_float, place[MOST_INPUTS]; /* which inputs are floats */
    ht_tensor *leaf[MOST_INPUTS], *u[MOST_INPUTS], *w[MOST_INPUTS], *v;
    vec base, u_flat, w_flat; /* of the float leaves */
    char name[96];
} op_case;

/* The case on one tape: leaves, op, and <v, op> with its gradient, once asked for. */
typedef struct op_graph {
    ht_var leaf[MOST_INPUTS], x[MOST_INPUTS], u[MOST_INPUTS], w[MOST_INPUTS], v, y, phi;
    ht_var g[MOST_INPUTS];
} op_graph;

static inline double vec_dot(const vec *a, const vec *b)
{
    double sum = 0;
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) sum += a->at[i] * b->at[i];
    return sum;
}

/* |a - b| / max(1, |b|), NaN if anything is. */
static inline double vec_distance(const vec *a, const vec *b)
{
    double sum = 0, norm = sqrt(vec_dot(b, b));
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) sum += (a->at[i] - b->at[i]) * (a->at[i] - b->at[i]);
    return sqrt(sum) / (norm > 1 ? norm : 1);
}

static inline vec vec_of(int n, const ht_var *x)
{
    vec out = {0};
    for (int i = 0; i < n; i++) {
        const ht_tensor *value = ht_value(x[i]);
        assert_non_null(value);
        assert_true(out.n + ht_tensor_count(value) <= MOST_ELEMENTS);
        for (int64_t k = 0; k < ht_tensor_count(value); k++)
            out.at[out.n++] = ht_tensor_get(value, k);
    }
    return out;
}

static inline void op_near(const op_case *c, const vec *got, const vec *want,
                           double tolerance, const char *what)
{
    double error = vec_distance(got, want);
    if (error <= tolerance) return;
    for (int i = 0; i < got->n && i < 8; i++)
        print_error("  [%d] got %.17g, want %.17g\n", i, got->at[i], want->at[i]);
    fail_msg("%s: %s: distance %.3g, at most %.3g", c->name, what, error, tolerance);
}

static inline void op_near_number(const op_case *c, double got, double want,
                                  double tolerance, const char *what)
{
    vec a = {1, {got}}, b = {1, {want}};
    op_near(c, &a, &b, tolerance, what);
}

/* The leaf whose view in this layout has `shape`: transposed, every second element
 * backwards, or one row repeated. */
static inline ht_shape op_leaf_shape(enum layout layout, ht_shape shape)
{
    int last = shape.rank - 1;
    if (layout == TRANSPOSED && last >= 1) {
        int64_t rows = shape.dim[last - 1];
        shape.dim[last - 1] = shape.dim[last];
        shape.dim[last] = rows;
    }
    if (layout == STEPPED) {
        if (shape.rank == 0) return HT_SHAPE(3);
        shape.dim[last] = 2 * shape.dim[last] + 1;
    }
    if (layout == REPEATED && shape.rank > 0) shape.dim[0] = 1;
    return shape;
}

static inline ht_var op_view(enum layout layout, ht_shape shape, ht_var x)
{
    int64_t n = shape.rank ? shape.dim[shape.rank - 1] : 0;
    if (layout == TRANSPOSED && shape.rank >= 2) return ht_transpose(x);
    if (layout == STEPPED && shape.rank == 0)
        return ht_reshape(ht_slice(x, 0, 1, 1, 1), HT_SCALAR);
    if (layout == STEPPED) return ht_slice(x, -1, 2 * n - 1, n, -2);
    return layout == REPEATED ? ht_broadcast(x, shape) : x;
}

static inline bool op_is_float(const op_case *c, int i)
{
    return c->sample->in[i].dtype == 0;
}

/* Floats come from distinct cells of [low, high], so that no two are within reach of a
 * difference step, and neither is the middle of the range: kinks and ties are for tests
 * of their own. */
static inline void op_fill_leaves(op_case *c)
{
    int64_t n = 0, order[MOST_ELEMENTS], at = 0;
    for (int f = 0; f < c->n_float; f++) n += ht_tensor_count(c->leaf[c->place[f]]);
    n += n % 2;
    assert_true(n <= MOST_ELEMENTS);
    ht_random_permutation(c->seed, 1, n, order);
    for (int i = 0; i < c->sample->n_in; i++) {
        double low = c->sample->in[i].low, width = c->sample->in[i].high - low;
        for (int64_t k = 0; k < ht_tensor_count(c->leaf[i]); k++) {
            double jitter = 0.4 + 0.2 * ht_random_uniform(c->seed, 2, (uint64_t)at);
            int64_t whole = ht_random_below(c->seed, 3 + (uint64_t)i, (uint64_t)k,
                                            (int64_t)width + 1);
            if (op_is_float(c, i))
                ht_tensor_set(c->leaf[i], k,
                              low + width * ((double)order[at++] + jitter) / (double)n);
            else
                ht_tensor_set(c->leaf[i], k, low + (double)whole);
        }
    }
}

/* Appends the leaves and the op: on an eager tape it runs, on a recorded one only the
 * tensors' types are looked at. */
static inline void op_append(const op_case *c, ht_tape *tape, op_graph *g)
{
    ht_var in[MOST_INPUTS];
    *g = (op_graph){0};
    for (int i = 0; i < c->sample->n_in; i++) {
        g->leaf[i] = ht_input(tape, c->leaf[i]);
        in[i] = op_view(c->layout, c->sample->in[i].shape, g->leaf[i]);
    }
    for (int f = 0; f < c->n_float; f++) g->x[f] = g->leaf[c->place[f]];
    g->y = ht_apply(c->op, c->sample->n_in, in, c->sample->attributes, HT_HERE);
    if (ht_context_status(c->ctx) != HT_OK)
        fail_msg("%s: %s", c->name, ht_context_message(c->ctx));
}

/* Then directions, phi = <v, y> and its gradient. */
static inline void op_append_gradient(const op_case *c, ht_tape *tape, op_graph *g)
{
    op_append(c, tape, g);
    for (int f = 0; f < c->n_float; f++) {
        g->u[f] = ht_input(tape, c->u[f]);
        g->w[f] = ht_input(tape, c->w[f]);
    }
    g->v = ht_input(tape, c->v);
    g->phi = ht_sum(ht_mul(g->y, g->v));
    ht_vjp(1, &g->y, &g->v, c->n_float, g->x, g->g);
}

static inline vec op_flat(const op_case *c, ht_tensor *const *x)
{
    vec out = {0};
    for (int f = 0; f < c->n_float; f++)
        for (int64_t k = 0; k < ht_tensor_count(x[f]); k++)
            out.at[out.n++] = ht_tensor_get(x[f], k);
    return out;
}

/* The float leaves become base + step * direction; nothing may be live on the tape. */
static inline void op_move(op_case *c, const vec *direction, double step)
{
    int at = 0;
    ht_tape_reset(c->tape);
    for (int f = 0; f < c->n_float; f++)
        for (int64_t k = 0; k < ht_tensor_count(c->leaf[c->place[f]]); k++, at++)
            ht_tensor_set(c->leaf[c->place[f]], k,
                          c->base.at[at] + step * direction->at[at]);
}

static inline void op_open(op_case *c, const ht_op *op, const ht_sample *sample,
                           enum layout layout, ht_dtype dtype, uint64_t seed)
{
    static const char *const layouts[] = {"dense", "transposed", "stepped", "repeated"};
    *c = (op_case){.op = op, .sample = sample, .layout = layout, .dtype = dtype};
    c->seed = seed;
    c->ctx = ht_context_new(&(ht_context_options){.seed = seed, .threads = 1});
    c->tape = ht_tape_new(c->ctx, HT_EAGER);
    snprintf(c->name, sizeof c->name, "%s, sample %td, %s, %s, seed %llu", op->name,
             sample - op->samples, layouts[layout], ht_dtype_name(dtype),
             (unsigned long long)seed);
    for (int i = 0; i < sample->n_in; i++) {
        ht_shape shape = op_leaf_shape(layout, sample->in[i].shape);
        ht_dtype type = op_is_float(c, i) ? dtype : sample->in[i].dtype;
        c->leaf[i] = ht_tensor_new(c->ctx, type, shape);
        if (!op_is_float(c, i)) continue;
        int f = c->n_float++;
        c->place[f] = i;
        c->u[f] = ht_tensor_new(c->ctx, dtype, shape);
        c->w[f] = ht_tensor_new(c->ctx, dtype, shape);
        ht_tensor_uniform(c->u[f], 10 + (uint64_t)f, -1, 1);
        ht_tensor_uniform(c->w[f], 20 + (uint64_t)f, -1, 1);
    }
    op_fill_leaves(c);
    op_graph g;
    op_append(c, c->tape, &g);
    ht_dtype out = ht_var_dtype(g.y);
    if (out == HT_F32 || out == HT_F64) {
        c->v = ht_tensor_new(c->ctx, out, ht_var_shape(g.y));
        ht_tensor_uniform(c->v, 30, -1, 1);
    }
    ht_tensor *leaves[MOST_INPUTS];
    for (int f = 0; f < c->n_float; f++) leaves[f] = c->leaf[c->place[f]];
    c->base = op_flat(c, leaves);
    c->u_flat = op_flat(c, c->u);
    c->w_flat = op_flat(c, c->w);
    ht_tape_reset(c->tape);
}

static inline void op_close(op_case *c)
{
    if (ht_context_status(c->ctx) != HT_OK)
        fail_msg("%s: %s", c->name, ht_context_message(c->ctx));
    ht_tape_free(c->tape);
    for (int i = 0; i < c->sample->n_in; i++) ht_tensor_free(c->leaf[i]);
    for (int f = 0; f < c->n_float; f++) {
        ht_tensor_free(c->u[f]);
        ht_tensor_free(c->w[f]);
    }
    ht_tensor_free(c->v);
    ht_context_free(c->ctx);
}

#endif
