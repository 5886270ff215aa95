/* SPDX-License-Identifier: MIT */
/* problems.c: what is derived on a problem's page tried by brute force, and its runs
 * made by ht_bilevel_minimize. Read next: test_problems.c. */
#include "problems.h"

#include "test.h"

static const double close_enough = 1e-4;

static ht_tensor *vector(ht_set *set, const char *name, int n, const double *values)
{
    ht_tensor *t = ht_set_add(set, name, HT_F64, HT_SHAPE(n));
    for (int i = 0; i < n; i++) ht_tensor_set(t, i, values[i]);
    return t;
}

static void get(const ht_tensor *t, double *values)
{
    for (int64_t i = 0; i < ht_tensor_count(t); i++) values[i] = ht_tensor_get(t, i);
}

/* Brute force. */

/* A point (x, y) at which F and f are wanted, op by op. */
typedef struct desk {
    const problem *p;
    ht_context *ctx;
    ht_tape *tape;
    ht_tensor *x, *y;
    uint64_t drawn;
} desk;

static void desk_open(desk *d, const problem *p)
{
    *d = (desk){.p = p, .ctx = ht_context_new(NULL)};
    d->tape = ht_tape_new(d->ctx, HT_EAGER);
    d->x = ht_tensor_new(d->ctx, HT_F64, HT_SHAPE(p->size[0]));
    d->y = ht_tensor_new(d->ctx, HT_F64, HT_SHAPE(p->size[1]));
}

static void desk_close(desk *d)
{
    assert_string_equal(ht_context_message(d->ctx), "");
    ht_tape_free(d->tape);
    ht_tensor_free(d->x);
    ht_tensor_free(d->y);
    ht_context_free(d->ctx);
}

static double draw(desk *d, double low, double high)
{
    return low + (high - low) * ht_random_uniform(1, 0, d->drawn++);
}

typedef ht_var (*desk_fn)(ht_var x, ht_var y);

static ht_var on_desk(desk *d, desk_fn f, const double *x, const double *y)
{
    ht_tape_reset(d->tape);
    for (int i = 0; i < d->p->size[0]; i++) ht_tensor_set(d->x, i, x[i]);
    for (int i = 0; i < d->p->size[1]; i++) ht_tensor_set(d->y, i, y[i]);
    return f(ht_input(d->tape, d->x), ht_input(d->tape, d->y));
}

static double value_of(desk *d, desk_fn f, const double *x, const double *y)
{
    return ht_item(on_desk(d, f, x, y));
}

/* No y of Y(x), drawn near and far, is better for f than the reaction, nor one that is as
 * good better for F. */
static void check_reaction(desk *d, const double *x)
{
    const problem *p = d->p;
    double best[PROBLEM_M], y[PROBLEM_M];
    p->maps.reaction(x, best);
    if (p->maps.set) {
        get(ht_value(on_desk(d, p->maps.set, x, best)), y);
        for (int i = 0; i < p->size[1]; i++) assert_near(best[i], y[i], 1e-14);
    }
    double f = value_of(d, p->maps.lower, x, best), slack = 1e-13 * fmax(1, fabs(f));
    for (int k = 0; k < test_size(300, 30); k++) {
        double size = exp(draw(d, -5, 3));
        for (int i = 0; i < p->size[1]; i++) y[i] = best[i] + draw(d, -size, size);
        if (p->maps.set) get(ht_value(on_desk(d, p->maps.set, x, y)), y);
        double other = value_of(d, p->maps.lower, x, y);
        if (!(other < f - slack) &&
            (other > f + slack || value_of(d, p->maps.upper, x, y) >=
                                      value_of(d, p->maps.upper, x, best) - 1e-13))
            continue;
        fail_msg("at x %g %g y %.15g %.15g is better than the reaction %.15g %.15g", x[0],
                 x[1], y[0], y[1], best[0], best[1]);
    }
}

static double outcome(desk *d, const double *x)
{
    double y[PROBLEM_M];
    d->p->maps.reaction(x, y);
    return value_of(d, d->p->maps.upper, x, y);
}

/* F at the optimum is as said, at no point of a grid lower, at 30 with y as it should. */
void problem_check(const problem *p)
{
    desk d;
    desk_open(&d, p);
    check_reaction(&d, p->optimum.x);
    assert_near(outcome(&d, p->optimum.x), p->optimum.value, 1e-12);
    int plane = (int)test_size(121, 11), line = (int)test_size(4001, 101);
    int side = p->size[0] == 1 ? line : plane, all = p->size[0] == 1 ? line : side * side;
    for (int k = 0; k < all; k++) {
        double x[PROBLEM_N] = {0}, at[] = {k % side, k / side};
        for (int i = 0; i < p->size[0]; i++)
            x[i] = p->box.low[i] + (p->box.high[i] - p->box.low[i]) * at[i] / (side - 1);
        double F = outcome(&d, x);
        if (!(F >= p->optimum.value - 1e-12 * fmax(1, fabs(p->optimum.value))))
            fail_msg("F is %.15g at x %.15g %.15g", F, x[0], x[1]);
        if (k % (all / 29) == 0) check_reaction(&d, x);
    }
    desk_close(&d);
}

/* Runs. */

static ht_var inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)batch;
    return ((const problem *)user)->maps.lower(ht_get(eta, "x"), ht_get(theta, "y"));
}

static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)batch;
    return ((const problem *)user)->maps.upper(ht_get(eta, "x"), ht_get(theta, "y"));
}

static ht_var inner_of_two(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    ht_var second =
        ((const problem *)user)->maps.lower(ht_get(eta, "x"), ht_get(theta, "z"));
    return ht_add(inner(theta, eta, batch, user), second);
}

static ht_var outer_of_two(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    const problem *p = user;
    ht_var x = ht_get(eta, "x"), y = ht_get(theta, "y"), z = ht_get(theta, "z");
    ht_var better = ht_greater(p->maps.lower(x, y), p->maps.lower(x, z));
    return ht_where(better, p->maps.upper(x, z), outer(theta, eta, batch, user));
}

static void after(const ht_vars *eta, ht_vars *theta, void *user)
{
    const problem *p = user;
    for (int i = 0; i < ht_vars_count(theta); i++)
        ht_vars_set(theta, ht_vars_name(theta, i),
                    p->maps.set(ht_get(eta, "x"), ht_vars_at(theta, i)));
}

static void begin(const ht_vars *eta, ht_vars *theta, void *user)
{
    (void)user;
    ht_vars_set(theta, "y", ht_get(eta, "y"));
}

static void keep_in_box(ht_set *eta, void *user)
{
    const problem *p = user;
    ht_tensor *x = ht_set_tensor(eta, "x");
    for (int i = 0; i < p->size[0]; i++)
        ht_tensor_set(x, i, clamped(ht_tensor_get(x, i), p->box.low[i], p->box.high[i]));
}

static ht_outer_options outer_options(const problem *p, ht_rate *fall)
{
    ht_outer_options o = {.newton = p->leader.newton,
                          .steps = p->leader.steps,
                          .project = keep_in_box,
                          .user = (void *)p,
                          .guard = HT_GUARD_OFF};
    *fall = (ht_rate){.steps = p->leader.steps};
    if (!p->leader.newton) {
        o.update = HT_SGD(p->leader.rate);
        o.update.rate.schedule = ht_rate_cosine;
        o.update.rate.user = fall;
    }
    return o;
}

/* What a run found: x, F, and y, of two followers both. */
typedef struct found {
    double x[PROBLEM_N], y[PROBLEM_M], z[PROBLEM_M], F;
} found;

/* A problem of the library, from a run's start. */
typedef struct play {
    const problem *p;
    ht_context *ctx;
    ht_set *eta, *theta;
    ht_bilevel *bilevel;
} play;

static void play_open(play *g, const problem *p, const problem_run *run, ht_method method)
{
    *g = (play){.p = p, .ctx = ht_context_new(NULL)};
    g->eta = ht_set_new(g->ctx);
    g->theta = ht_set_new(g->ctx);
    bool two = run->by == TWO, choosing = run->by == CHOOSING;
    vector(g->eta, "x", p->size[0], run->x);
    vector(g->theta, "y", p->size[1], run->y);
    if (choosing) vector(g->eta, "y", p->size[1], run->y);
    if (two) vector(g->theta, "z", p->size[1], run->second);
    ht_bilevel_problem pair = {.inner = two ? inner_of_two : inner,
                               .outer = two ? outer_of_two : outer,
                               .init = choosing ? begin : NULL,
                               .after = p->maps.set ? after : NULL,
                               .theta = g->theta,
                               .eta = g->eta,
                               .update = HT_SGD(p->follower.rate),
                               .steps = p->follower.steps,
                               .user = (void *)p};
    ht_bilevel_options o = {.method = method};
    g->bilevel = ht_bilevel_new(g->ctx, &pair, &o);
    if (!g->bilevel) fail_msg("%s", ht_context_message(g->ctx));
}

static void play_close(play *g)
{
    assert_string_equal(ht_context_message(g->ctx), "");
    ht_bilevel_free(g->bilevel);
    ht_set_free(g->eta);
    ht_set_free(g->theta);
    ht_context_free(g->ctx);
}

static void minimize(play *g, const problem_run *run, found *at)
{
    ht_rate fall;
    ht_outer_options o = outer_options(g->p, &fall);
    ht_outer_result r = ht_bilevel_minimize(g->bilevel, &o);
    ht_bilevel_result end = ht_bilevel_evaluate(g->bilevel, 0);
    if (r.end == HT_OUTER_ERROR || !end.theta) fail_msg("%s", r.why);
    get(ht_set_tensor(g->eta, "x"), at->x);
    get(ht_set_tensor(end.theta, "y"), at->y);
    if (run->by == TWO) get(ht_set_tensor(end.theta, "z"), at->z);
    at->F = end.outer;
    printf("# from %g %g: x %.8g %.8g, y %.8g %.8g, F %.8g; %s\n", run->x[0], run->x[1],
           at->x[0], at->x[1], at->y[0], at->y[1], at->F, r.why);
}

/* Whether dF/dx of a run is that of the derivation, at a point where y has arrived at the
 * derived one and F has no kink. */
static bool slope_is_derived(play *g, desk *d, const double *x)
{
    static const double h = 1e-5;
    double y[PROBLEM_M], best[PROBLEM_M];
    ht_bilevel_result r = ht_bilevel_run(g->bilevel, 0);
    get(ht_set_tensor(r.theta, "y"), y);
    g->p->maps.reaction(x, best);
    for (int i = 0; i < g->p->size[1]; i++)
        if (!(fabs(y[i] - best[i]) <= 1e-9)) return false;
    for (int i = 0; i < g->p->size[0]; i++) {
        double at[] = {x[0], x[1]}, F = outcome(d, at), up, down;
        at[i] = x[i] + h;
        up = (outcome(d, at) - F) / h;
        at[i] = x[i] - h;
        down = (F - outcome(d, at)) / h;
        if (!(fabs(up - down) <= 1e-2 * fmax(1, fabs(up)))) return false;
        double slope = ht_tensor_get(ht_set_tensor(r.gradient, "x"), i);
        assert_near(slope, (up + down) / 2, 1e-5);
    }
    return true;
}

/* From the optimum's y, at points of the box. */
static void differ_by(const problem *p, ht_method method)
{
    desk d;
    play g;
    problem_run from = {.by = TRAINING};
    int seen = 0, all = (int)test_size(40, 8);
    p->maps.reaction(p->optimum.x, from.y);
    desk_open(&d, p);
    play_open(&g, p, &from, method);
    for (int k = 0; k < all; k++) {
        double x[PROBLEM_N] = {0};
        for (int i = 0; i < p->size[0]; i++) {
            x[i] = draw(&d, p->box.low[i], p->box.high[i]);
            ht_tensor_set(ht_set_tensor(g.eta, "x"), i, x[i]);
        }
        seen += slope_is_derived(&g, &d, x);
    }
    printf("# method %d: %d of %d\n", (int)method, seen, all);
    assert_true(seen >= all / 4);
    play_close(&g);
    desk_close(&d);
}

void problem_differ(const problem *p)
{
    differ_by(p, HT_REVERSE);
    differ_by(p, HT_FORWARD);
    differ_by(p, HT_IMPLICIT);
}

/* A point that a run found is of the kind that the page says: the better follower's y
 * solves f, or not. */
static void check_end(const problem *p, const problem_run *run, const found *at)
{
    desk d;
    desk_open(&d, p);
    double best[PROBLEM_M], f = value_of(&d, p->maps.lower, at->x, at->y);
    if (run->by == TWO) f = fmin(f, value_of(&d, p->maps.lower, at->x, at->z));
    p->maps.reaction(at->x, best);
    f -= value_of(&d, p->maps.lower, at->x, best);
    if (run->end == MISLED)
        assert_true(f > 1e-3);
    else
        assert_near(f, 0, close_enough);
    if (run->end == OTHER) assert_true(run->value >= p->optimum.value);
    desk_close(&d);
}

void problem_solve(const problem *p)
{
    for (const problem_run *run = p->run; run < p->run + PROBLEM_RUNS && run->end;
         run++) {
        found at = {{0}, {0}, {0}, 0};
        play g;
        play_open(&g, p, run, p->follower.method);
        minimize(&g, run, &at);
        play_close(&g);
        bool solves = run->end == SOLVES;
        for (int i = 0; i < p->size[0]; i++)
            assert_near(at.x[i], solves ? p->optimum.x[i] : run->found[i], close_enough);
        assert_near(at.F, solves ? p->optimum.value : run->value, close_enough);
        check_end(p, run, &at);
    }
}

void problem_breaks(const problem *p)
{
    play g;
    problem_run from = p->run[0];
    from.by = TRAINING;
    play_open(&g, p, &from, HT_IMPLICIT);
    ht_bilevel_result r = ht_bilevel_run(g.bilevel, 0);
    assert_contains(r.note, "A is singular");
    assert_near(r.solver_residual, 1, 1e-12);
    assert_true(isnan(r.error_bound));
    play_close(&g);
}
