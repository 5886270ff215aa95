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
    int64_t orders, first_order, score_orders;
    size_t bytes, peak; /* of the workers' contexts: live, and while they were made */
    int n_workers;
    hti_worker worker[];
};

/* Making. */

static bool orders_valid(ht_context *ctx, const ht_bilevel_problem *p,
                         const ht_influence_options *o)
{
    int64_t most = HTI_MAX_STEPS / (p->steps > 0 ? p->steps : 1);
    bool counts = o->orders >= 0 && o->first_order >= 0 && o->score_orders >= 0 &&
                  o->orders <= most && o->first_order <= most - o->orders &&
                  o->score_orders <= most;
    bool others = o->orders > 1 || o->first_order > 0 || o->score_orders > 1;
    return (counts && (!others || p->inner_batch)) ||
           HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                       "ht_influence_new: options.orders is %lld, first_order %lld, "
                       "score_orders %lld, expected %s\n"
                       "  hint: 0 is the order of the problem's batches alone",
                       (long long)o->orders, (long long)o->first_order,
                       (long long)o->score_orders,
                       counts ? "an inner_batch to shuffle, got NULL"
                              : "counts whose batches have a number");
}

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
    return ((!p->tasks && o->at_once >= 0) ||
            HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                        "ht_influence_new: problem.tasks is %s, options.at_once %d: one "
                        "training, and as many at once as are counted",
                        p->tasks ? "set" : "NULL", o->at_once)) &&
           orders_valid(ctx, p, o);
}

/* Trainings keep no states, unless a method has its own way. */
static ht_bilevel_options without_states(ht_bilevel_options o)
{
    if (!hti_method_of(&o)->keeps_states) return o;
    o.compare = false;
    o.schedule = HT_REVOLVE;
    o.slots = 1;
    o.bytes = o.disk_bytes = 0;
    o.disk = NULL;
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
    f->orders = o->orders ? o->orders : 1;
    f->first_order = o->first_order;
    f->score_orders = o->score_orders ? o->score_orders : 1;
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

/* Whether x is of a type and shape; else an error. */
static bool is_of(ht_context *ctx, const ht_tensor *x, ht_dtype dtype, ht_shape shape,
                  const char *what)
{
    char want[HT_SHAPE_TEXT], got[HT_SHAPE_TEXT];
    ht_shape is = ht_tensor_shape(x);
    if (ht_tensor_dtype(x) == dtype && ht_shape_equal(is, shape)) return true;
    return HTI_REFUSED(ctx, HT_ERROR_SHAPE, "%s: expected %s %s, got %s %s", what,
                       ht_dtype_name(dtype), ht_shape_text(shape, want),
                       ht_dtype_name(ht_tensor_dtype(x)), ht_shape_text(is, got));
}

/* Its batches become those of an order. */
static void in_order(ht_bilevel *b, int64_t order)
{
    b->problem.batches_from = order * b->problem.steps;
    if (b->twice) b->twice->problem.batches_from = b->problem.batches_from;
}

/* Foretelling. */

/* Adds the part of the mean over orders that is of this one. */
static bool score_order(const ht_influence *f, int64_t order, ht_tensor *scores)
{
    in_order(f->bilevel, order);
    ht_bilevel_result r = ht_bilevel_run(f->bilevel, f->outer_step);
    if (!r.gradient) return false;
    const ht_tensor *slope = r.gradient->tensor[f->which],
                    *weight = f->bilevel->problem.eta->tensor[f->which];
    for (int64_t k = 0; k < f->m * f->n; k++) {
        double sum = order ? ht_tensor_get(scores, k) : 0;
        sum -= ht_tensor_get(weight, k % f->n) * ht_tensor_get(slope, k);
        bool last = order == f->score_orders - 1;
        ht_tensor_set(scores, k, last ? sum / (double)f->score_orders : sum);
    }
    return true;
}

ht_status ht_influence_scores(ht_influence *f, ht_tensor *scores)
{
    static const char who[] = "ht_influence_scores";
    HT_ASSERT(f && scores, "%s: influence %p, scores %p", who, (void *)f, (void *)scores);
    HTI_ALIVE(f, who, "influence");
    HTI_ALIVE(scores, who, "tensor");
    if (!is_of(f->ctx, scores, HT_F64, HT_SHAPE(f->m, f->n),
               "ht_influence_scores: scores"))
        return f->ctx->status;
    for (int64_t order = 0; order < f->score_orders; order++)
        if (!score_order(f, order, scores)) break;
    in_order(f->bilevel, 0);
    return f->ctx->status;
}

ht_smoothness ht_influence_smoothness(ht_influence *f, double part, uint64_t seed)
{
    static const char who[] = "ht_influence_smoothness";
    HT_ASSERT(f, "%s: influence is NULL", who);
    HTI_ALIVE(f, who, "influence");
    const ht_set *eta = f->bilevel->problem.eta;
    ht_smoothness s = {.outer = (double)NAN, .theta = (double)NAN, .halves = (double)NAN};
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

/* s + 1 trainings an order, one after the other by rows: the last of all examples. Of
 * each: without those of a row; or, where left_out is NULL, with the weights of a random
 * part of them at a half, in an even row, and at 0. */
typedef struct again {
    ht_influence *f;
    const uint8_t *left_out; /* (s, n) */
    double part;
    uint64_t seed;
    int64_t s, orders, first_order;
    double *loss; /* (s + 1, orders, m) */
} again;

static double factor_of(const again *a, int64_t row, int64_t i)
{
    if (row == a->s) return 1;
    if (a->left_out) return a->left_out[row * a->f->n + i] ? 0 : 1;
    bool falls = ht_random_uniform(a->seed, (uint64_t)row / 2, (uint64_t)i) < a->part;
    return !falls ? 1 : row % 2 ? 0 : 0.5;
}

static void train_again(const again *a, hti_worker *w, int64_t number)
{
    const ht_influence *f = a->f;
    const ht_tensor *all = f->bilevel->problem.eta->tensor[f->which];
    ht_tensor *weight = w->bilevel->problem.eta->tensor[f->which];
    for (int64_t i = 0; i < f->n; i++)
        ht_tensor_set(weight, i,
                      factor_of(a, number / a->orders, i) * ht_tensor_get(all, i));
    in_order(w->bilevel, a->first_order + number % a->orders);
    w->result = hti_run_whole(w->bilevel, f->outer_step, true);
    const double *loss = w->result.outers ? w->result.outers : &w->result.outer;
    memcpy(a->loss + number * f->m, loss, (size_t)f->m * sizeof *loss);
}

/* A worker's share: each n_workers-th training. */
static void train_share(const void *work, int64_t begin, int64_t end)
{
    const again *a = work;
    for (int64_t k = begin; k < end; k++) {
        hti_worker *w = &a->f->worker[k];
        hti_worker_refresh(w, a->f->bilevel);
        for (int64_t number = k;
             number < (a->s + 1) * a->orders && ht_context_status(w->ctx) == HT_OK;
             number += a->f->n_workers)
            train_again(a, w, number);
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

static size_t again_bytes(const again *a)
{
    return (size_t)((a->s + 1) * a->orders * a->f->m) * sizeof *a->loss;
}

/* Trains; false after an error. */
static bool again_begin(again *a)
{
    a->loss = hti_resize(a->f->ctx, NULL, 0, again_bytes(a));
    return a->loss && train_all(a);
}

static void again_end(const again *a)
{
    if (a->loss) hti_resize(a->f->ctx, a->loss, again_bytes(a), 0);
}

/* Of a query by a row, k = row m + query: the mean over orders. */
static double change_of(const again *a, int64_t k)
{
    int64_t m = a->f->m, row = k / m;
    double sum = 0;
    for (int64_t order = 0; order < a->orders; order++)
        sum += a->loss[(row * a->orders + order) * m + k % m] -
               a->loss[(a->s * a->orders + order) * m + k % m];
    return sum / (double)a->orders;
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
        !is_of(f->ctx, left_out, HT_U8, HT_SHAPE(s, f->n),
               "ht_influence_retrain: left_out") ||
        !is_of(f->ctx, changes, HT_F64, HT_SHAPE(s, f->m),
               "ht_influence_retrain: changes"))
        return f->ctx->status;
    again a = {.f = f,
               .left_out = ht_tensor_data(left_out),
               .s = s,
               .orders = f->orders,
               .first_order = f->first_order};
    if (again_begin(&a))
        for (int64_t k = 0; k < s * f->m; k++)
            ht_tensor_set(changes, k, change_of(&a, k));
    again_end(&a);
    return f->ctx->status;
}

/* S^ of a query over pairs of rows, as ht_bilevel_smoothness has it over losses. */
static double agreement_of(const again *a, int64_t query)
{
    double sum = 0, size = 0, moved = 0;
    const double *loss = a->loss + query, *all = loss + a->s * a->f->m;
    for (int64_t row = 0; row < a->s; row += 2) {
        double first = loss[row * a->f->m] - *all,
               second = loss[(row + 1) * a->f->m] - loss[row * a->f->m];
        double whole = fabs(first + second);
        sum += first * second > 0 ? whole : first * second < 0 ? -whole : 0;
        size += whole;
        moved += fabs(first);
    }
    return size == 0 && moved > 0 ? -1 : sum / size;
}

ht_status ht_influence_smoothness_each(ht_influence *f, double part, int draws,
                                       uint64_t seed, ht_tensor *each)
{
    static const char who[] = "ht_influence_smoothness_each";
    HT_ASSERT(f && each, "%s: influence %p, each %p", who, (void *)f, (void *)each);
    HTI_ALIVE(f, who, "influence");
    HTI_ALIVE(each, who, "tensor");
    if (!(part > 0 && part <= 1 && draws > 0))
        return ht_context_fail(f->ctx, HT_ERROR_ARGUMENT, NULL,
                               "%s: part is %g, draws %d, expected one in (0, 1], and 1 "
                               "or more",
                               who, part, draws);
    if (f->ctx->status != HT_OK || !is_of(f->ctx, each, HT_F64, HT_SHAPE(f->m),
                                          "ht_influence_smoothness_each: each"))
        return f->ctx->status;
    again a = {.f = f, .part = part, .seed = seed, .s = 2 * (int64_t)draws, .orders = 1};
    if (again_begin(&a))
        for (int64_t k = 0; k < f->m; k++) ht_tensor_set(each, k, agreement_of(&a, k));
    again_end(&a);
    return f->ctx->status;
}
