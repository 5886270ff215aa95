/* SPDX-License-Identifier: MIT */
/* schedules.c: checkpoint schedules under one number of states: the steps each runs
 * forward to reverse T of them, and the states it holds at most. Ours are run; the others
 * are played without tensors, their time being what their steps cost in our runs.
 *
 *   tree k       REPLAY's lazy k-ary tree (Engstrom et al. 2025): a stretch is cut into
 *                k, whose starts are kept while its parts are reversed, last first
 *   log          the tree of 2: recursive halves
 *   sqrt         one level of about sqrt(T) starts, each stretch then kept whole
 *   online       T not known before: checkpoints by levels, the dispensable replaced
 *                (Q. Wang, P. Moin & G. Iaccarino, SIAM J. Sci. Comput. 31(4), 2009)
 *   two-level, revolve, store-all   bilevel/unroll/checkpoints.c
 * Read next: ../../bilevel/unroll/checkpoints.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "hypertape.h"

enum { STATES = 64, WIDTH = 32, ROWS = 64 };

/* What a schedule comes to. */
typedef struct played {
    int64_t steps, states, held; /* held: now */
} played;

static void hold(played *p, int64_t n)
{
    p->held += n;
    if (p->held > p->states) p->states = p->held;
}

/* Reverses n steps from a state that is held. */
static void play_tree(played *p, int64_t n, int64_t k)
{
    if (n <= 1) {
        p->steps += n;
        return;
    }
    int64_t parts = n < k ? n : k, begin = (parts - 1) * n / parts;
    p->steps += begin; /* to the last start, keeping those on the way */
    hold(p, parts - 1);
    for (int64_t i = parts; i-- > 0;) {
        int64_t from = i * n / parts, to = (i + 1) * n / parts;
        play_tree(p, to - from, k);
        if (i > 0) hold(p, -1);
    }
}

/* One level of starts; each stretch is then run again and kept. */
static played play_sqrt(int64_t n)
{
    int64_t segment = (int64_t)ceil(sqrt((double)n)),
            starts = (n + segment - 1) / segment;
    played p = {.steps = n + n - (n - (starts - 1) * segment),
                .states = starts + segment};
    return p;
}

/* Wang, Moin & Iaccarino: levels of checkpoints, ascending in time. */
typedef struct online {
    int64_t at[STATES + 1];
    int level[STATES + 1];
    int n;
} online;

/* One with a later one of a higher level; -1: none. */
static int dispensable(const online *o)
{
    int highest = -1;
    for (int k = o->n; k-- > 1;) {
        if (o->level[k] < highest) return k;
        if (o->level[k] > highest) highest = o->level[k];
    }
    return -1;
}

static void online_advance(online *o, int64_t to)
{
    int drop, last = o->n - 1;
    if (o->n < STATES) {
        o->at[o->n] = to;
        o->level[o->n++] = 0;
        return;
    }
    drop = dispensable(o);
    if (drop < 0) {
        o->at[last] = to;
        o->level[last]++;
        return;
    }
    memmove(o->at + drop, o->at + drop + 1, (size_t)(last - drop) * sizeof *o->at);
    memmove(o->level + drop, o->level + drop + 1,
            (size_t)(last - drop) * sizeof *o->level);
    o->at[last] = to;
    o->level[last] = 0;
}

static played play_online(int64_t n)
{
    online o = {.n = 1, .level = {1 << 20}};
    played p = {.steps = n, .states = STATES};
    for (int64_t t = 1; t < n; t++) online_advance(&o, t);
    for (int64_t t = n; t-- > 0;) {
        for (int64_t from = o.at[o.n - 1]; from < t; from++, p.steps++)
            online_advance(&o, from + 1);
        if (o.n > 1 && o.at[o.n - 1] >= t) o.n--;
    }
    return p;
}

/* Ours: an MLP of one layer, whose step costs what its products do. */

static ht_var inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)user;
    ht_var y = ht_tanh(ht_matmul(ht_get(batch, "x"), ht_get(theta, "w")));
    ht_var each = ht_square(ht_sub(y, ht_get(batch, "x")));
    return ht_mean(ht_mul(each, ht_get(eta, "weight")));
}

typedef struct engine {
    ht_context *ctx;
    ht_set *theta, *eta, *data;
    ht_bilevel *bilevel;
    ht_bilevel_result last;
} engine;

static bool engine_open(engine *e, int64_t steps, ht_bilevel_options o)
{
    *e = (engine){.ctx = ht_context_new(&(ht_context_options){.seed = 1, .threads = 1})};
    e->theta = ht_set_new(e->ctx);
    e->eta = ht_set_new(e->ctx);
    e->data = ht_set_new(e->ctx);
    ht_tensor_normal(ht_set_add(e->theta, "w", HT_F32, HT_SHAPE(WIDTH, WIDTH)), 1, 0,
                     0.1);
    ht_tensor_fill(ht_set_add(e->eta, "weight", HT_F32, HT_SHAPE(ROWS, 1)), 1);
    ht_tensor_normal(ht_set_add(e->data, "x", HT_F32, HT_SHAPE(ROWS, WIDTH)), 2, 0, 1);
    ht_bilevel_problem problem = {.inner = inner,
                                  .outer = inner,
                                  .theta = e->theta,
                                  .eta = e->eta,
                                  .inner_data = e->data,
                                  .outer_data = e->data,
                                  .update = HT_SGD(0.01),
                                  .steps = steps};
    e->bilevel = ht_bilevel_new(e->ctx, &problem, &o);
    return e->bilevel != NULL;
}

static void engine_close(engine *e)
{
    ht_bilevel_free(e->bilevel);
    ht_set_free(e->theta);
    ht_set_free(e->eta);
    ht_set_free(e->data);
    ht_context_free(e->ctx);
}

/* Reports. */

enum { BARS = 48 };
static struct {
    char name[40];
    double steps;
    int64_t states;
} bars[BARS];
static int n_bars;

/* Of a step forward and of one back, as our runs took them. */
typedef struct costs {
    double forward, reverse;
    size_t state; /* bytes */
} costs;

static void row(const char *name, int64_t n, played p, double seconds, double bytes,
                const char *note)
{
    char full[40];
    snprintf(full, sizeof full, "%s_T%lld", name, (long long)n);
    if (n_bars < BARS) {
        snprintf(bars[n_bars].name, sizeof bars->name, "%s", full);
        bars[n_bars].states = p.states;
        bars[n_bars++].steps = (double)p.steps / (double)n;
    }
    bench_report(&(bench_row){.name = full,
                              .ms = 1e3 * seconds,
                              .value = (double)p.steps / (double)n,
                              .unit = "steps / T",
                              .note = note,
                              .extra = {{"forward_steps", (double)p.steps},
                                        {"states", (double)p.states},
                                        {"bytes", bytes}}});
}

/* One of ours, run; what a step takes is learned from it. */
static bool run_ours(const char *name, int64_t n, ht_bilevel_options o, costs *c)
{
    engine e;
    bool ok = engine_open(&e, n, o);
    if (ok) {
        double began = bench_seconds();
        e.last = ht_bilevel_evaluate(e.bilevel, 0);
        double forward = bench_seconds() - began;
        began = bench_seconds();
        e.last = ht_bilevel_run(e.bilevel, 0);
        double all = bench_seconds() - began;
        played p = {.steps = e.last.forward_steps, .states = o.slots};
        if (!o.slots) p.states = n;
        if (o.schedule == HT_TWO_LEVEL) p.states = 2 * (int64_t)ceil(sqrt((double)n));
        c->forward = forward / (double)n;
        c->reverse = (all - c->forward * (double)p.steps) / (double)n;
        c->state = sizeof(float) * WIDTH * WIDTH;
        row(name, n, p, all, (double)e.last.peak_bytes,
            p.states <= STATES ? NULL : "beyond the budget");
    } else {
        fprintf(stderr, "bench: %s\n", ht_context_message(e.ctx));
    }
    engine_close(&e);
    return ok;
}

static void report_played(const char *name, int64_t n, played p, const costs *c)
{
    double seconds = c->forward * (double)p.steps + c->reverse * (double)n;
    row(name, n, p, seconds, (double)c->state * (double)p.states,
        p.states <= STATES ? "played" : "played; beyond the budget");
}

static bool schedules_of(int64_t n)
{
    costs c = {0};
    bool ok = run_ours("revolve", n,
                       (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = STATES}, &c);
    const int64_t ways[] = {2, 4};
    for (int k = 0; ok && k < 2; k++) {
        char name[16];
        played p = {.states = 1, .held = 1};
        play_tree(&p, n, ways[k]);
        snprintf(name, sizeof name, "tree_%lld", (long long)ways[k]);
        report_played(name, n, p, &c);
        if (p.states > STATES) continue;
        snprintf(name, sizeof name, "revolve_as_%lld", (long long)ways[k]);
        ok = run_ours(
            name, n, (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = p.states}, &c);
    }
    if (!ok) return false;
    report_played("online", n, play_online(n), &c);
    report_played("sqrt", n, play_sqrt(n), &c);
    ok = run_ours("two_level", n, (ht_bilevel_options){.schedule = HT_TWO_LEVEL}, &c);
    return ok &&
           (n > 10000 ||
            run_ours("store_all", n, (ht_bilevel_options){.schedule = HT_STORE_ALL}, &c));
}

/* Steps a step, and states, as bars: what a schedule pays, and with what. */
static void chart(void)
{
    FILE *f = bench.json ? stderr : stdout;
    fprintf(f, "\n%-24s %-42s states held\n", "", "steps run forward / T");
    for (int k = 0; k < n_bars; k++) {
        int n = (int)(4 * bars[k].steps + 0.5);
        fprintf(f, "%-24s %.*s%*s %5.2f  %lld\n", bars[k].name, n,
                "########################################", n > 36 ? 0 : 36 - n, "",
                bars[k].steps, (long long)bars[k].states);
    }
}

bool bench_schedules(void)
{
    bool ok = true;
    int64_t most = bench.full ? 100000 : 10000;
    for (int64_t n = 100; n <= most; n *= 10) ok = schedules_of(n) && ok;
    chart();
    return ok;
}
