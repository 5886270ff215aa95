/* SPDX-License-Identifier: MIT */
/* influence.c: what a training would have been without some examples: scores of all by
 * one hypergradient, and trainings again, side by side. Read next: lds.c. */
#include <math.h>
#include <string.h>

#include "bilevel_internal.h"

struct ht_influence {
    hti_owned owned;
    ht_context *ctx;
    ht_bilevel *bilevel; /* of scores */
    int which;           /* of eta */
    int64_t n, m;        /* examples, queries */
    uint64_t outer_step;
    size_t bytes, peak; /* of the workers' contexts: live, and while they were made */
    int n_workers;
    hti_worker worker[];
};

/* Making. */

static bool influence_valid(ht_context *ctx, const ht_bilevel_problem *p,
                            const ht_influence_options *o)
{
    HT_ASSERT(p->eta, "ht_influence_new: problem.eta is NULL");
    int which = o->weight ? ht_set_find(p->eta, o->weight) : -1;
    if (which < 0)
        return HTI_REFUSED(
            ctx, HT_ERROR_ARGUMENT,
            "ht_influence_new: options.weight is %s, but no outer variable "
            "is called so\n  hint: the weights of the examples, in eta",
            o->weight ? o->weight : "NULL");
    if (ht_tensor_shape(p->eta->tensor[which]).rank != 1)
        return HTI_REFUSED(
            ctx, HT_ERROR_SHAPE,
            "ht_influence_new: \"%s\" has %d axes, but weights of examples "
            "are of shape (n)",
            o->weight, ht_tensor_shape(p->eta->tensor[which]).rank);
    for (int k = 0; k < p->n_coordinates; k++)
        if (!strcmp(p->coordinates[k].outer, o->weight) &&
            p->coordinates[k].kind != HT_IDENTITY)
            return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                               "ht_influence_new: \"%s\" is a coordinate, in which no "
                               "weight is 0\n  hint: the weights themselves",
                               o->weight);
    return (!p->tasks && o->at_once >= 0) ||
           HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "ht_influence_new: problem.tasks is %s, options.at_once %d: one "
                       "training, and as many at once as are counted",
                       p->tasks ? "set" : "NULL", o->at_once);
}

/* Trainings keep no states, unless a method has its own way. */
static ht_bilevel_options without_states(ht_bilevel_options o)
{
    if (!hti_method_of(&o)->keeps_states) return o;
    o.compare = false;
    o.schedule = HT_REVOLVE;
    o.slots = 1;
    o.bytes = 0;
    return o;
}

static bool workers_open(ht_influence *f, const ht_bilevel_problem *p,
                         const ht_bilevel_options *asked)
{
    ht_bilevel_options o = without_states(*asked);
    bool ok = true;
    for (int k = 0; ok && k < f->n_workers; k++) {
        hti_worker *w = &f->worker[k];
        ok = hti_worker_open(f->ctx, w, hti_method_of(&o), *p, &o) &&
             hti_worker_error(f->ctx, w, "worker", k);
        if (!ok) break;
        if (f->bytes + w->ctx->peak > f->peak) f->peak = f->bytes + w->ctx->peak;
        f->bytes += w->ctx->live;
    }
    return ok;
}

ht_influence *ht_influence_new(ht_context *ctx, const ht_bilevel_problem *p,
                               const ht_influence_options *o)
{
    HT_ASSERT(ctx && p && o, "ht_influence_new: ctx %p, problem %p, options %p",
              (void *)ctx, (const void *)p, (const void *)o);
    if (ctx->status != HT_OK || !influence_valid(ctx, p, o)) return NULL;
    int n_workers = o->at_once ? o->at_once : ctx->options.threads;
    ht_influence *f =
        hti_zalloc(ctx, 1, sizeof *f + (size_t)n_workers * sizeof *f->worker);
    if (!f) return NULL;
    static const hti_kind kind = {.name = "influence"};
    hti_own(ctx, &f->owned, &kind);
    f->ctx = ctx;
    f->n_workers = n_workers;
    f->outer_step = o->outer_step;
    f->which = ht_set_find(p->eta, o->weight);
    f->n = ht_tensor_count(p->eta->tensor[f->which]);
    f->bilevel = ht_bilevel_new_at(ctx, p, &o->bilevel, NULL);
    if (f->bilevel && workers_open(f, p, &o->bilevel)) {
        f->m = f->bilevel->problem.outers ? f->bilevel->problem.outers : 1;
        return f;
    }
    ht_influence_free(f);
    return NULL;
}

void ht_influence_free(ht_influence *f)
{
    if (!f) return;
    HTI_ALIVE(f, "ht_influence_free", "influence");
    for (int k = 0; k < f->n_workers; k++)
        if (f->worker[k].ctx) hti_worker_close(&f->worker[k]);
    ht_bilevel_free(f->bilevel);
    hti_retire(&f->owned, sizeof *f + (size_t)f->n_workers * sizeof *f->worker);
}

size_t ht_influence_bytes(const ht_influence *f)
{
    HT_ASSERT(f, "ht_influence_bytes: influence is NULL");
    HTI_ALIVE(f, "ht_influence_bytes", "influence");
    size_t own = sizeof *f + (size_t)f->n_workers * sizeof *f->worker;
    size_t first = ht_bilevel_bytes(f->bilevel); /* made before the workers */
    size_t all =
        f->bilevel->memory.allocated_bytes + (f->bytes > f->peak ? f->bytes : f->peak);
    return own + (first > all ? first : all);
}

/* Whether x is (rows, columns) of a type; else an error. */
static bool is_table(ht_context *ctx, const ht_tensor *x, ht_dtype dtype, int64_t rows,
                     int64_t columns, const char *what)
{
    char want[HT_SHAPE_TEXT], got[HT_SHAPE_TEXT];
    ht_shape shape = HT_SHAPE(rows, columns), is = ht_tensor_shape(x);
    if (ht_tensor_dtype(x) == dtype && ht_shape_equal(is, shape)) return true;
    return HTI_REFUSED(ctx, HT_ERROR_SHAPE, "%s: expected %s %s, got %s %s", what,
                       ht_dtype_name(dtype), ht_shape_text(shape, want),
                       ht_dtype_name(ht_tensor_dtype(x)), ht_shape_text(is, got));
}

/* Foretelling. */

ht_status ht_influence_scores(ht_influence *f, ht_tensor *scores)
{
    static const char who[] = "ht_influence_scores";
    HT_ASSERT(f && scores, "%s: influence %p, scores %p", who, (void *)f, (void *)scores);
    HTI_ALIVE(f, who, "influence");
    HTI_ALIVE(scores, who, "tensor");
    if (!is_table(f->ctx, scores, HT_F64, f->m, f->n, "ht_influence_scores: scores"))
        return f->ctx->status;
    ht_bilevel_result r = ht_bilevel_run(f->bilevel, f->outer_step);
    if (!r.gradient) return f->ctx->status;
    const ht_tensor *slope = r.gradient->tensor[f->which],
                    *weight = f->bilevel->problem.eta->tensor[f->which];
    for (int64_t k = 0; k < f->m * f->n; k++)
        ht_tensor_set(scores, k,
                      -ht_tensor_get(weight, k % f->n) * ht_tensor_get(slope, k));
    return HT_OK;
}

ht_smoothness ht_influence_smoothness(ht_influence *f, double part, uint64_t seed)
{
    static const char who[] = "ht_influence_smoothness";
    HT_ASSERT(f, "%s: influence is NULL", who);
    HTI_ALIVE(f, who, "influence");
    const ht_set *eta = f->bilevel->problem.eta;
    ht_smoothness s = {.outer = (double)NAN, .theta = (double)NAN};
    if (!(part > 0 && part <= 1)) {
        ht_context_fail(f->ctx, HT_ERROR_ARGUMENT, NULL,
                        "%s: part is %g, expected one in (0, 1]", who, part);
        return s;
    }
    ht_set *v = ht_set_clone(eta, 0);
    if (!v) return s;
    for (int j = 0; j < v->n; j++) ht_tensor_fill(v->tensor[j], 0);
    for (int64_t i = 0; i < f->n; i++)
        if (ht_random_uniform(seed, 0, (uint64_t)i) < part)
            ht_tensor_set(v->tensor[f->which], i,
                          -ht_tensor_get(eta->tensor[f->which], i));
    f->bilevel->run.outer_step = f->outer_step;
    s = ht_bilevel_smoothness(f->bilevel, v, 0.5);
    ht_set_free(v);
    return s;
}

/* Training again. */

typedef struct again {
    ht_influence *f;
    const uint8_t *left_out; /* (s, n) */
    int64_t s;
    double *loss; /* (s + 1, m): the last of all examples */
} again;

static void train_without(const again *a, hti_worker *w, int64_t row)
{
    const ht_influence *f = a->f;
    const ht_tensor *all = f->bilevel->problem.eta->tensor[f->which];
    ht_tensor *weight = w->bilevel->problem.eta->tensor[f->which];
    for (int64_t i = 0; i < f->n; i++)
        ht_tensor_set(weight, i,
                      row < a->s && a->left_out[row * f->n + i] ? 0
                                                                : ht_tensor_get(all, i));
    w->result = hti_run_whole(w->bilevel, f->outer_step, true);
    const double *loss = w->result.outers ? w->result.outers : &w->result.outer;
    memcpy(a->loss + row * f->m, loss, (size_t)f->m * sizeof *loss);
}

/* A worker's share: each n_workers-th row. */
static void train_share(const void *work, int64_t begin, int64_t end)
{
    const again *a = work;
    for (int64_t k = begin; k < end; k++) {
        hti_worker *w = &a->f->worker[k];
        hti_worker_refresh(w, a->f->bilevel);
        for (int64_t row = k; row <= a->s && ht_context_status(w->ctx) == HT_OK;
             row += a->f->n_workers)
            train_without(a, w, row);
    }
}

static bool train_all(const again *a)
{
    ht_influence *f = a->f;
    bool ok = hti_sets_hold(f->bilevel, NULL);
    if (!ok) return false;
    hti_share(f->ctx, f->n_workers, train_share, a);
    for (int k = 0; k < f->n_workers; k++)
        ok = hti_worker_error(f->ctx, &f->worker[k], "worker", k) && ok;
    return ok;
}

ht_status ht_influence_retrain(ht_influence *f, const ht_tensor *left_out,
                               ht_tensor *changes)
{
    static const char who[] = "ht_influence_retrain";
    HT_ASSERT(f && left_out && changes, "%s: influence %p, left_out %p, changes %p", who,
              (void *)f, (const void *)left_out, (void *)changes);
    HTI_ALIVE(f, who, "influence");
    HTI_ALIVE(left_out, who, "tensor");
    HTI_ALIVE(changes, who, "tensor");
    ht_shape is = ht_tensor_shape(left_out);
    int64_t s = is.rank == 2 ? is.dim[0] : 0;
    if (f->ctx->status != HT_OK ||
        !is_table(f->ctx, left_out, HT_U8, s, f->n, "ht_influence_retrain: left_out") ||
        !is_table(f->ctx, changes, HT_F64, s, f->m, "ht_influence_retrain: changes"))
        return f->ctx->status;
    again a = {f, ht_tensor_data(left_out), s, NULL};
    size_t bytes = (size_t)((s + 1) * f->m) * sizeof *a.loss;
    a.loss = hti_resize(f->ctx, NULL, 0, bytes);
    if (!a.loss) return f->ctx->status;
    if (train_all(&a))
        for (int64_t k = 0; k < s * f->m; k++)
            ht_tensor_set(changes, k, a.loss[k] - a.loss[s * f->m + k % f->m]);
    hti_resize(f->ctx, a.loss, bytes, 0);
    return f->ctx->status;
}
