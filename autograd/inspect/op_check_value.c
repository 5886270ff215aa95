/* SPDX-License-Identifier: MIT */
/* op_check_value.c: the same case computed otherwise: out of other ops, in f32, replayed;
 * and derivatives that must be refused. */
#include <math.h>
#include <string.h>

#include "op_check.h"

/* Value, gradient and Hessian product: what is compared. */
enum { HTI_OP_PARTS = 3 };
static hti_op_fn *const op_part[HTI_OP_PARTS] = {hti_op_value, hti_op_gradient,
                                                 hti_op_hvp};

/* How far f32 may be from f64. */
static const double op_f32_apart[HTI_OP_PARTS] = {2e-6, 1e-5, 1e-5};

static int op_parts(const hti_op_case *c)
{
    return c->derives ? HTI_OP_PARTS : 1;
}

/* The row's decompose. */
bool hti_op_fused(hti_op_case *c)
{
    static const char *const what[] = {"value, fused against decomposed",
                                       "gradient, fused against decomposed",
                                       "Hessian product, fused against decomposed"};
    for (int k = 0; k < op_parts(c); k++) {
        hti_op_vec fused, decomposed;
        op_part[k](c, &fused);
        c->decomposed = true;
        op_part[k](c, &decomposed);
        c->decomposed = false;
        if (!hti_op_near(c, &fused, &decomposed, 1e-12, what[k])) return false;
    }
    return true;
}

static void op_exchange(hti_op_case *c)
{
    ht_tensor *leaf = c->leaf[0];
    ht_shape shape = c->shape[0];
    c->leaf[0] = c->leaf[1], c->leaf[1] = leaf;
    c->shape[0] = c->shape[1], c->shape[1] = shape;
}

static void op_scale(hti_op_case *c, ht_tensor *leaf, double by, hti_op_vec *out)
{
    ht_tape_reset(c->check->eager);
    for (int64_t k = 0; k < ht_tensor_count(leaf); k++)
        ht_tensor_set(leaf, k, by * ht_tensor_get(leaf, k));
    hti_op_value(c, out);
}

/* What flags promise, bit by bit: inputs exchanged, the same; one input doubled (which is
 * exact), the output doubled. */
bool hti_op_flags(hti_op_case *c)
{
    unsigned flags = c->check->op->flags;
    hti_op_vec want, got;
    hti_op_value(c, &want);
    if (flags & HT_OP_COMMUTATIVE) {
        op_exchange(c);
        hti_op_value(c, &got);
        op_exchange(c);
        if (!hti_op_near(c, &got, &want, 0, "HT_OP_COMMUTATIVE")) return false;
    }
    if (!(flags & HT_OP_LINEAR)) return true;
    for (int64_t i = 0; i < want.n; i++) want.at[i] *= 2;
    for (int f = 0; f < c->n_float; f++) {
        op_scale(c, c->leaf[c->place[f]], 2, &got);
        if (!hti_op_near(c, &got, &want, 0, "HT_OP_LINEAR")) return false;
        op_scale(c, c->leaf[c->place[f]], 0.5, &got);
    }
    return true;
}

/* In f32 and, at the same (rounded) point, in f64. */
bool hti_op_f32(hti_op_case *c)
{
    static const char *const what[] = {"f32 value against f64",
                                       "f32 gradient against f64",
                                       "f32 Hessian product against f64"};
    hti_op_case d;
    bool ok = hti_op_open(&d, c->check, c->sample, c->layout, HT_F64, c->seed);
    ht_tape_reset(c->check->eager);
    for (int i = 0; ok && i < c->sample->n_in; i++) ht_tensor_copy(d.leaf[i], c->leaf[i]);
    for (int f = 0; ok && f < c->n_float; f++) ht_tensor_copy(d.u[f], c->u[f]);
    if (ok && c->v) ht_tensor_copy(d.v, c->v);
    for (int k = 0; ok && k < op_parts(c); k++) {
        hti_op_vec got, want;
        op_part[k](c, &got);
        op_part[k](&d, &want);
        ok = hti_op_near(c, &got, &want, op_f32_apart[k], what[k]);
    }
    hti_op_close(&d);
    return ok;
}

/* Replay. */

enum { HTI_OP_LEAVES = 3 * HT_OP_INPUTS + 1 };

static int op_leaves(const hti_op_case *c, const hti_op_graph *g, ht_var *in,
                     const ht_tensor **tensor)
{
    int n = 0;
    for (int i = 0; i < c->sample->n_in; i++)
        in[n] = g->leaf[i], tensor[n++] = c->leaf[i];
    if (!c->derives) return n;
    for (int f = 0; f < c->n_float; f++) in[n] = g->u[f], tensor[n++] = c->u[f];
    for (int f = 0; f < c->n_float; f++) in[n] = g->w[f], tensor[n++] = c->w[f];
    in[n] = g->v, tensor[n++] = c->v;
    return n;
}

/* Runs it twice with poison, into outputs of NaN bytes. */
static bool op_replays(hti_op_case *c, ht_program *p, const ht_tensor *const *given,
                       int n, ht_tensor *const *got, const ht_var *eager,
                       const char *what)
{
    ht_program_poison(p, true);
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < n; k++)
            if (ht_tensor_bytes(got[k]))
                memset(ht_tensor_data(got[k]), 0xff, ht_tensor_bytes(got[k]));
        ht_program_run(p, given, got);
        for (int k = 0; k < n; k++) {
            const ht_tensor *want = ht_value_at(eager[k], NULL);
            if (ht_context_status(c->check->ctx) != HT_OK)
                return hti_op_fail(c, what, "%s", ht_context_message(c->check->ctx));
            size_t bytes = ht_tensor_bytes(want);
            if (bytes != ht_tensor_bytes(got[k]) ||
                (bytes && memcmp(ht_tensor_data(got[k]), ht_tensor_data(want), bytes)))
                return hti_op_fail(
                    c, what, "output %d replayed is not bit by bit the eager one", k);
        }
    }
    return true;
}

/* A program of `out`, nodes of the recorded graph, against eager nodes. */
static bool op_program(hti_op_case *c, const hti_op_graph *g, int n, const ht_var *out,
                       const ht_var *eager, const char *what)
{
    ht_context *ctx = c->check->ctx;
    ht_var in[HTI_OP_LEAVES];
    const ht_tensor *given[HTI_OP_LEAVES];
    ht_tensor *got[HT_OP_INPUTS] = {0};
    if (ht_context_status(ctx) != HT_OK)
        return hti_op_fail(c, what, "%s", ht_context_message(ctx));
    int n_in = op_leaves(c, g, in, given);
    ht_program *p = ht_program_new_at(c->check->recorded, n_in, in, n, out, NULL);
    bool ok = p != NULL;
    for (int k = 0; ok && k < n; k++) {
        got[k] = ht_tensor_new(ctx, ht_var_dtype(out[k]), ht_var_shape(out[k]));
        ok = got[k] != NULL;
    }
    ok = ok ? op_replays(c, p, given, n, got, eager, what)
            : hti_op_fail(c, what, "%s", ht_context_message(ctx));
    for (int k = 0; k < n; k++) ht_tensor_free(got[k]);
    ht_program_free(p);
    return ok;
}

bool hti_op_replayed(hti_op_case *c)
{
    ht_tape *eager = c->check->eager, *recorded = c->check->recorded;
    ht_var he[HT_OP_INPUTS], hr[HT_OP_INPUTS];
    hti_op_graph e, r;
    ht_tape_reset(eager);
    ht_tape_reset(recorded);
    if (!c->derives) {
        hti_op_append(c, eager, &e);
        hti_op_append(c, recorded, &r);
        return op_program(c, &r, 1, &r.y, &e.y, "value");
    }
    hti_op_append_gradient(c, eager, &e);
    hti_op_append_gradient(c, recorded, &r);
    ht_hvp(e.phi, c->n_float, e.x, e.u, he);
    ht_hvp(r.phi, c->n_float, r.x, r.u, hr);
    if (ht_tape_nodes(eager) != ht_tape_nodes(recorded))
        return hti_op_fail(c, "tapes", "%u nodes eager, %u recorded",
                           ht_tape_nodes(eager), ht_tape_nodes(recorded));
    return op_program(c, &r, 1, &r.y, &e.y, "value") &&
           op_program(c, &r, c->n_float, r.g, e.g, "gradient") &&
           op_program(c, &r, c->n_float, hr, he, "Hessian product");
}

/* A row without gradient: sum(f64(y)) has none by the leaves, and zeros if asked. */
bool hti_op_refused(hti_op_case *c)
{
    ht_context *ctx = c->check->ctx;
    ht_tape *tape = c->check->eager;
    hti_op_graph g;
    hti_op_vec zeros;
    ht_var d[HT_OP_INPUTS];
    ht_tape_reset(tape);
    hti_op_append(c, tape, &g);
    ht_var y = ht_sum(ht_cast(g.y, HT_F64));
    ht_grad_or_zero(y, c->sample->n_in, g.leaf, d);
    hti_op_read(c->sample->n_in, d, &zeros);
    double size = sqrt(hti_op_dot(&zeros, &zeros));
    if (!hti_op_near_number(c, size, 0, 0, "gradient or zero")) return false;
    ht_grad(y, c->sample->n_in, g.leaf, d);
    ht_status status = ht_context_status(ctx);
    ht_context_clear(ctx);
    return status == HT_ERROR_NO_GRADIENT ||
           hti_op_fail(c, "gradient", "status %s, expected HT_ERROR_NO_GRADIENT",
                       ht_status_name(status));
}
