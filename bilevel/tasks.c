/* SPDX-License-Identifier: MIT */
/* tasks.c: many inner trainings of one eta, side by side. The first worker is the bilevel
 * itself; each other one is a bilevel on a context of its own, with one thread and clones
 * of the problem's sets. Tasks run in waves of as many as there are workers, and what
 * they gave is added in their order: who ran which changes no bit. Read next: bilevel.c.
 */
#include <math.h>
#include <string.h>

#include "bilevel_internal.h"

struct hti_tasks {
    void *const *user;
    int n, n_workers;
    char note[HTI_NOTE]; /* of the first task that has something to say */
    size_t bytes,
        peak; /* of all contexts but the first: live, and while they were made */
    double *outer, *sum; /* n; of the gradient's elements */
    size_t n_sum;
    double *theta;       /* where theta_T of each is put; NULL: nowhere */
    hti_worker worker[]; /* the first: the bilevel's own */
};

/* A wave at hand. */
typedef struct wave {
    ht_bilevel *b;
    uint64_t outer_step;
    int first, n;
    bool evaluating;
} wave;

/* Making. */

static bool task_open(ht_bilevel *b, hti_worker *w, ht_bilevel_problem p,
                      const ht_bilevel_options *o)
{
    p.user = p.tasks[0];
    p.tasks = NULL;
    p.n_tasks = 0;
    return hti_worker_open(b->ctx, w, b->method, p, o) &&
           hti_worker_error(b->ctx, w, "task", 0);
}

static bool tasks_valid(const ht_bilevel *b, const ht_bilevel_problem *p,
                        const ht_bilevel_options *o)
{
    ht_context *ctx = b->ctx;
    if (p->n_tasks <= 0 || !p->tasks || o->at_once < 0)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "problem.n_tasks is %d, problem.tasks %s, options.at_once %d: "
                           "tasks are as many pointers as n_tasks says",
                           p->n_tasks, p->tasks ? "given" : "NULL", o->at_once);
    if (b->problem.outers)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "the outer loss is %lld losses, and problem.tasks is set, but "
                           "a task has one\n  hint: ht_sum of them, in outer",
                           (long long)b->problem.outers);
    if (o->warm)
        return HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                           "options.warm is set, and so is problem.tasks, but a run "
                           "begins where one training ended\n  hint: leave warm 0");
    return true;
}

bool hti_tasks_open(ht_bilevel *b, const ht_bilevel_problem *p,
                    const ht_bilevel_options *o)
{
    ht_context *ctx = b->ctx;
    if (!p->n_tasks && !p->tasks) {
        return !o->at_once || HTI_REFUSED(ctx, HT_ERROR_ARGUMENT,
                                          "options.at_once is %d, but problem.tasks is "
                                          "NULL: there is one training\n"
                                          "  hint: leave at_once 0",
                                          o->at_once);
    }
    if (!tasks_valid(b, p, o)) return false;
    int most = o->at_once ? o->at_once : ctx->options.threads;
    int n_workers = most < p->n_tasks ? most : p->n_tasks;
    size_t live = ctx->live;
    struct hti_tasks *t =
        hti_zalloc(ctx, 1, sizeof *t + (size_t)n_workers * sizeof *t->worker);
    if (!t) return false;
    b->tasks = t;
    t->user = p->tasks;
    t->n = p->n_tasks;
    t->n_workers = n_workers;
    t->n_sum = (size_t)ht_set_elements(b->problem.gradient);
    t->outer = hti_zalloc(ctx, (size_t)t->n, sizeof *t->outer);
    t->sum = hti_zalloc(ctx, t->n_sum, sizeof *t->sum);
    t->worker[0].ctx = ctx;
    t->worker[0].bilevel = b;
    b->memory.allocated_bytes += ctx->live - live;
    bool ok = t->outer && t->sum;
    for (int k = 1; ok && k < n_workers; k++) {
        hti_worker *w = &t->worker[k];
        ok = task_open(b, w, *p, o);
        if (!w->ctx) break;
        size_t peak = t->bytes + w->ctx->peak;
        t->bytes += w->ctx->live;
        if (peak > t->peak) t->peak = peak;
    }
    return ok;
}

void hti_tasks_close(ht_bilevel *b)
{
    struct hti_tasks *t = b->tasks;
    if (!t) return;
    b->tasks = NULL;
    for (int k = 1; k < t->n_workers; k++) hti_worker_close(&t->worker[k]);
    if (t->outer) hti_resize(b->ctx, t->outer, (size_t)t->n * sizeof *t->outer, 0);
    if (t->sum) hti_resize(b->ctx, t->sum, t->n_sum * sizeof *t->sum, 0);
    hti_resize(b->ctx, t, sizeof *t + (size_t)t->n_workers * sizeof *t->worker, 0);
}

size_t hti_tasks_beside(const ht_bilevel *b)
{
    const struct hti_tasks *t = b->tasks;
    if (!t) return 0;
    return t->bytes > t->peak ? t->bytes : t->peak;
}

size_t hti_tasks_bytes(const ht_bilevel *b)
{
    size_t bytes = b->memory.allocated_bytes + hti_tasks_beside(b);
    size_t first = hti_bilevel_bytes(b);
    return bytes > first ? bytes : first;
}

int hti_tasks_count(const ht_bilevel *b)
{
    return b->tasks ? b->tasks->n : 0;
}

void hti_tasks_keep(ht_bilevel *b, double *theta)
{
    if (b->tasks) b->tasks->theta = theta;
}

/* Running. */

/* A worker's data are what the problem's are, where no callback fills them. */
static void refresh(ht_bilevel *b)
{
    for (int k = 1; k < b->tasks->n_workers; k++)
        hti_worker_refresh(&b->tasks->worker[k], b);
}

static void run_pieces(const void *work, int64_t begin, int64_t end)
{
    const wave *now = work;
    struct hti_tasks *t = now->b->tasks;
    for (int64_t k = begin; k < end; k++) {
        hti_worker *w = &t->worker[k];
        w->bilevel->problem.asked.user = t->user[now->first + (int)k];
        w->result = hti_run_whole(w->bilevel, now->outer_step, now->evaluating);
    }
}

/* gradient's elements to the sum, or the mean back. */
static void add_task(ht_bilevel *b, const ht_set *gradient)
{
    double *sum = b->tasks->sum;
    for (int j = 0; j < gradient->n; j++)
        for (int64_t k = 0, n = ht_tensor_count(gradient->tensor[j]); k < n; k++)
            *sum++ += ht_tensor_get(gradient->tensor[j], k);
}

static void put_mean(ht_bilevel *b)
{
    const double *sum = b->tasks->sum;
    ht_set *gradient = b->problem.gradient;
    for (int j = 0; j < gradient->n; j++)
        for (int64_t k = 0, n = ht_tensor_count(gradient->tensor[j]); k < n; k++)
            ht_tensor_set(gradient->tensor[j], k, *sum++ / b->tasks->n);
}

/* The largest so far; a NaN stays. */
static void larger(int task, double *most, double x)
{
    if (task == 0 || (!isnan(*most) && !(x <= *most))) *most = x;
}

static void keep_theta(const struct hti_tasks *t, int task, const hti_worker *w)
{
    const ht_set *theta = w->bilevel->problem.final;
    if (t->theta) hti_set_get(t->theta + task * ht_set_elements(theta), theta);
}

/* What a task's run adds to that of all. */
static void join(ht_bilevel *b, int task, const ht_bilevel_result *r,
                 ht_bilevel_result *all)
{
    struct hti_tasks *t = b->tasks;
    t->outer[task] = r->outer;
    all->outer += r->outer / t->n;
    all->inner += r->inner / t->n;
    all->forward_steps += r->forward_steps;
    all->reverse_steps += r->reverse_steps;
    all->solver_steps += r->solver_steps;
    larger(task, &all->inner_residual, r->inner_residual);
    larger(task, &all->solver_residual, r->solver_residual);
    all->inner_seconds += r->inner_seconds;
    if (r->inner_steps > all->inner_steps) all->inner_steps = r->inner_steps;
    all->remainder_bits = fmax(all->remainder_bits, r->remainder_bits);
    all->error_bound += r->error_bound / t->n; /* NaN stays */
    if (all->bad_where == HT_BAD_NONE && r->bad_where != HT_BAD_NONE) {
        all->bad_where = r->bad_where;
        all->bad_step = r->bad_step;
        all->bad_op = r->bad_op;
    }
    if (!r->note || all->note) return;
    snprintf(t->note, sizeof t->note, "task %d: %.*s", task, HTI_NOTE - 24, r->note);
    all->note = t->note;
}

static bool run_wave(wave *now, ht_bilevel_result *all)
{
    ht_bilevel *b = now->b;
    bool ok = true;
    hti_share(b->ctx, now->n, run_pieces, now);
    for (int k = 1; k < now->n; k++) /* each worker's error is taken off it */
        ok = hti_worker_error(b->ctx, &b->tasks->worker[k], "task", now->first + k) && ok;
    ok = ok && b->ctx->status == HT_OK;
    for (int k = 0; ok && k < now->n; k++) {
        hti_worker *w = &b->tasks->worker[k];
        join(b, now->first + k, &w->result, all);
        keep_theta(b->tasks, now->first + k, w);
        if (!now->evaluating) add_task(b, w->result.gradient);
    }
    return ok;
}

ht_bilevel_result hti_tasks_run(ht_bilevel *b, uint64_t outer_step, bool evaluating)
{
    struct hti_tasks *t = b->tasks;
    ht_bilevel_result all = {.bad_step = -1, .start = b->problem.start};
    double began = hti_seconds();
    bool ok = b->ctx->status == HT_OK && hti_sets_hold(b, NULL);
    memset(t->sum, 0, t->n_sum * sizeof *t->sum);
    if (ok) refresh(b);
    for (int k = 0; ok && k < t->n; k += t->n_workers) {
        int n = t->n - k < t->n_workers ? t->n - k : t->n_workers;
        wave now = {b, outer_step, k, n, evaluating};
        ok = run_wave(&now, &all);
    }
    all.method = b->method->kind;
    all.schedule = b->memory.choice.schedule;
    all.predicted_bytes = all.peak_bytes = hti_tasks_bytes(b);
    all.seconds = hti_seconds() - began;
    if (!ok)
        return (ht_bilevel_result){.outer = (double)NAN,
                                   .inner = (double)NAN,
                                   .inner_residual = (double)NAN,
                                   .solver_residual = (double)NAN,
                                   .error_bound = (double)NAN,
                                   .bad_step = -1};
    all.outers = t->outer;
    if (evaluating) return all;
    put_mean(b);
    all.gradient = b->problem.gradient;
    return all;
}
