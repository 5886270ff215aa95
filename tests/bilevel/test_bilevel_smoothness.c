/* SPDX-License-Identifier: MIT */
/* test_bilevel_smoothness.c: smoothness along a direction, against closed forms: linear,
 * quadratic, with a kink and chaotic; and that it leaves everything as it was. Read next:
 * bilevel/smoothness.c. */
#include "test_stationary.h"

enum { STEPS = 5, CHAOS = 200, DOUBLINGS = 20 };

/* L = |w - target|^2 / 2 from 0 by steps of 1/4: w_T = (1 - (3/4)^T) target, which for
 * few bits is exact. */
static const double reached = 1 - 243.0 / 1024;

static ht_var follow(const ht_vars *theta, ht_var target)
{
    return ht_mul(ht_sum(ht_square(ht_sub(ht_get(theta, "w"), target))), 0.5);
}

static ht_var follow_eta(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    (void)user;
    return follow(theta, ht_add(ht_get(eta, "e"), ht_get(batch, "shift")));
}

static ht_var follow_size(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)batch, (void)user;
    return follow(theta, ht_abs(ht_get(eta, "e")));
}

static ht_var total(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)eta, (void)batch, (void)user;
    return ht_sum(ht_get(theta, "w"));
}

/* One loss an element, (w - y)^2 / 2. */
static ht_var distances(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                        void *user)
{
    (void)eta, (void)user;
    return ht_mul(ht_square(ht_sub(ht_get(theta, "w"), ht_get(batch, "y"))), 0.5);
}

static ht_var distance_sum(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    return ht_sum(distances(theta, eta, batch, user));
}

/* e as given; y is reached where e is at `aim`. */
static void follow_open(trial *t, ht_dtype dtype, int n, const double *e,
                        const double *aim)
{
    trial_open(t);
    ht_tensor *at = ht_set_add(t->problem.eta, "e", dtype, HT_SHAPE(n)),
              *y = ht_set_add(t->problem.inner_data, "y", dtype, HT_SHAPE(n));
    ht_set_add(t->problem.inner_data, "shift", dtype, HT_SCALAR);
    ht_set_add(t->problem.theta, "w", dtype, HT_SHAPE(n));
    for (int i = 0; i < n; i++) {
        ht_tensor_set(at, i, e[i]);
        ht_tensor_set(y, i, aim ? reached * aim[i] : 0);
    }
    t->problem.inner = follow_eta;
    t->problem.outer = total;
    t->problem.update = HT_SGD(0.25);
    t->problem.steps = STEPS;
}

static ht_set *ones(const ht_set *eta, double value)
{
    ht_set *v = ht_set_clone(eta, 0);
    for (int j = 0; j < ht_set_count(v); j++) ht_tensor_fill(ht_set_at(v, j), value);
    return v;
}

/* Along ones. */
static ht_smoothness along_ones(trial *t, ht_bilevel_options o, double h)
{
    ht_bilevel *b = trial_bilevel(t, o);
    ht_set *v = ones(t->problem.eta, 1);
    ht_smoothness s = ht_bilevel_smoothness(b, v, h);
    ht_set_free(v);
    ht_bilevel_free(b);
    return s;
}

#define NEAR(found, want, tolerance)              \
    if (!(fabs((found) - (want)) <= (tolerance))) \
    fail_msg("%.17g, not %.17g", found, want)

static void smoothness_of_what_is_linear_is_one(void **state)
{
    (void)state;
    const ht_dtype dtype[] = {HT_F64, HT_F32};
    for (int k = 0; k < 2; k++) {
        trial t;
        follow_open(&t, dtype[k], 3, (double[]){0.5, -2, 1}, NULL);
        ht_smoothness s = along_ones(&t, (ht_bilevel_options){0}, 0.5);
        assert_true(s.outer == 1 && s.theta == 1 && s.second == 0 && !s.note);
        NEAR(s.moved, reached * 0.5 * sqrt(3), 1e-15);
        for (int i = 0; i < 3; i++) NEAR(s.at[i], reached * (-0.5 + 1.5 * i), 0);
        NEAR(s.inner, 0.5 * (1 - reached) * (1 - reached) * 5.25, 1e-15);
        trial_close(&t);
    }
}

/* Parabolas in h, with their least at h v = aim - e; by hand 7/9: the first goes on to
 * fall behind its least, by 8 of 9 parts of all that changes. */
static void smoothness_of_a_quadratic_is_its_curvature(void **state)
{
    (void)state;
    trial t;
    follow_open(&t, HT_F64, 2, (double[]){1, 1}, (double[]){0, 1.75});
    double square = reached * reached;
    t.problem.outer = distance_sum;
    ht_smoothness s = along_ones(&t, (ht_bilevel_options){0}, 1);
    NEAR(s.second, 2 * square, 1e-14);
    assert_true(s.outer == 1 && s.theta == 1);
    t.problem.outer = distances;
    s = along_ones(&t, (ht_bilevel_options){0}, 1);
    NEAR(s.second, 2 * square, 1e-14);
    NEAR(s.outer, 7.0 / 9, 1e-15);
    trial_close(&t);
    follow_open(&t, HT_F64, 1, (double[]){1}, (double[]){1.75});
    t.problem.outer = distance_sum;
    s = along_ones(&t, (ht_bilevel_options){0}, 1);
    assert_true(s.outer == -1 && s.theta == 1);
    trial_close(&t);
}

/* Parabolas again, at distances d of 0, 1, 2 and -3 from their least: all change by 1/2 -
 * d, then by 3/2 - d. One that turns instead, 1.5, 0.5, 0.5 about 2, changes by 1 and 0:
 * of (1/2, 1, -3/2, 7/2) and (3/2, 0, -1/2, 9/2) by hand. */
static void halves_are_the_correlation_of_both_changes(void **state)
{
    (void)state;
    enum { N = 4 };
    const double aim[N] = {1, 2, 3, -2};
    trial t;
    follow_open(&t, HT_F64, N, (double[]){1, 1, 1, 1}, aim);
    t.problem.outer = distances;
    NEAR(along_ones(&t, (ht_bilevel_options){0}, 1).halves, 1.0, 1e-14);
    trial_close(&t);
    follow_open(&t, HT_F64, N, (double[]){1, -1.5, 1, 1}, aim);
    t.problem.inner = follow_size;
    t.problem.outer = distances;
    NEAR(along_ones(&t, (ht_bilevel_options){0}, 1).halves,
         12.4375 / sqrt(12.6875 * 15.1875), 1e-14);
    trial_close(&t);
    follow_open(&t, HT_F64, 2, (double[]){1, 1}, aim);
    t.problem.outer = distances;
    assert_true(isnan(along_ones(&t, (ht_bilevel_options){0}, 1).halves));
    trial_close(&t);
}

/* |e| turns: 0.75, 0.25, 1.25, a change of 0.5 beside one of 2, so (2 - 0.5) / 2.5; and
 * back to where it was, 1, 0, 1. */
static void smoothness_at_a_kink_is_the_share_that_does_not_turn(void **state)
{
    (void)state;
    trial t;
    follow_open(&t, HT_F64, 2, (double[]){-0.75, 0.5}, NULL);
    t.problem.inner = follow_size;
    ht_smoothness s = along_ones(&t, (ht_bilevel_options){0}, 1);
    NEAR(s.theta, 0.6, 1e-15);
    assert_true(s.outer == 1);
    NEAR(s.second, 1.5 * reached, 1e-15);
    s = along_ones(&t, (ht_bilevel_options){0}, 0.125); /* no kink on this scale */
    assert_true(s.theta == 1 && s.second == 0 && isnan(s.outer)); /* one up, one down */
    assert_non_null(strstr(s.note, "theta moves along this direction, and the outer"));
    trial_close(&t);
    follow_open(&t, HT_F64, 1, (double[]){-1}, NULL);
    t.problem.inner = follow_size;
    s = along_ones(&t, (ht_bilevel_options){0}, 1);
    assert_true(s.theta == -1 && s.outer == -1);
    trial_close(&t);
}

/* w <- 4 w (1 - w), a step of rate 1, from w_0 = e:  w_T = sin^2(2^T asin sqrt e). */
static ht_var doubling(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                       void *user)
{
    (void)eta, (void)batch, (void)user;
    ht_var w = ht_get(theta, "w"), square = ht_square(w);
    return ht_sum(ht_sub(ht_mul(ht_mul(square, w), 4.0 / 3), ht_mul(square, 1.5)));
}

static void from_eta(const ht_vars *eta, ht_vars *theta, void *user)
{
    (void)user;
    ht_vars_set(theta, "w", ht_get(eta, "e"));
}

static double doubled(double e, int steps)
{
    double s = sin(ldexp(asin(sqrt(e)), steps));
    return s * s;
}

/* The definition, of the closed form. */
static double doubled_smoothness(const double *e, double h, int steps)
{
    double sum = 0, size = 0;
    for (int i = 0; i < CHAOS; i++) {
        double a = doubled(e[i], steps), b = doubled(e[i] + h, steps),
               c = doubled(e[i] + 2 * h, steps);
        sum += (b - a) * (c - b) > 0 ? fabs(c - a) : -fabs(c - a);
        size += fabs(c - a);
    }
    return sum / size;
}

static void smoothness_of_chaos_is_low(void **state)
{
    (void)state;
    trial t;
    double e[CHAOS], h = 1e-3;
    for (int i = 0; i < CHAOS; i++) e[i] = 0.5 + 0.4 * draw();
    follow_open(&t, HT_F64, CHAOS, e, NULL);
    t.problem.inner = doubling;
    t.problem.init = from_eta;
    t.problem.update = HT_SGD(1);
    for (int steps = 1; steps <= DOUBLINGS; steps += DOUBLINGS - 1) {
        t.problem.steps = steps;
        double found = along_ones(&t, (ht_bilevel_options){0}, h).theta,
               want = doubled_smoothness(e, h, steps);
        NEAR(found, want, 1e-7);
        assert_true(steps == 1 ? found > 0.99 : fabs(found) < 0.25);
    }
    trial_close(&t);
}

/* Weights of examples that go from 1 by 0.5 to 0: the training of those at hand. With
 * g = r (W w - B), W = sum of weights, B = of weights times y:
 * w_T = B / W (1 - (1 - r W)^T). */
static ht_var weighted(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                       void *user)
{
    (void)user;
    ht_var off = ht_square(ht_sub(ht_get(batch, "y"), ht_get(theta, "w")));
    return ht_mul(ht_sum(ht_mul(ht_get(eta, "weight"), off)), 0.5);
}

static void smoothness_of_weights_is_of_trainings_without_those(void **state)
{
    (void)state;
    enum { N = 8 };
    trial t;
    trial_open(&t);
    ht_tensor_fill(ht_set_add(t.problem.eta, "weight", HT_F64, HT_SHAPE(N)), 1);
    ht_set_add(t.problem.theta, "w", HT_F64, HT_SCALAR);
    ht_tensor *y = ht_set_add(t.problem.inner_data, "y", HT_F64, HT_SHAPE(N));
    for (int i = 0; i < N; i++) ht_tensor_set(y, i, i);
    t.problem.inner = weighted;
    t.problem.outer = total;
    t.problem.update = HT_SGD(0.05);
    t.problem.steps = 7;
    ht_set *v = ones(t.problem.eta, 0);
    ht_tensor_set(ht_set_at(v, 0), 2, -1);
    ht_tensor_set(ht_set_at(v, 0), 5, -1);
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
    ht_smoothness s = ht_bilevel_smoothness(b, v, 0.5);
    for (int k = 0; k < 3; k++) {
        double weights = N - k, sum = N * (N - 1) / 2.0 - 0.5 * k * (2 + 5);
        NEAR(s.at[k], sum / weights * (1 - pow(1 - 0.05 * weights, 7)), 1e-14);
    }
    ht_set_free(v);
    ht_bilevel_free(b);
    trial_close(&t);
}

/* Everything is as it was. */

typedef struct copies {
    ht_set *set[2];
} copies;

static copies copies_of(const trial *t)
{
    return (copies){{ht_set_clone(t->problem.theta, 0), ht_set_clone(t->problem.eta, 0)}};
}

static void assert_copies(const trial *t, copies *c)
{
    ht_set *const now[] = {t->problem.theta, t->problem.eta};
    for (int k = 0; k < 2; k++) {
        for (int j = 0; j < ht_set_count(now[k]); j++)
            assert_memory_equal(ht_tensor_data(ht_set_at(now[k], j)),
                                ht_tensor_data(ht_set_at(c->set[k], j)),
                                ht_tensor_bytes(ht_set_at(now[k], j)));
        ht_set_free(c->set[k]);
    }
}

/* Evaluated by hand, with eta moved by hand. */
static double evaluated(trial *t, ht_bilevel *b, const ht_set *v, double h)
{
    ht_set *eta = ht_set_clone(t->problem.eta, 0);
    for (int j = 0; j < ht_set_count(eta); j++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(eta, j)); k++)
            ht_tensor_set(ht_set_at(t->problem.eta, j), k,
                          ht_tensor_get(ht_set_at(eta, j), k) +
                              h * ht_tensor_get(ht_set_at(v, j), k));
    double outer = ht_bilevel_evaluate(b, 0).outer;
    ht_set_copy(t->problem.eta, eta);
    ht_set_free(eta);
    return outer;
}

static void smoothness_is_of_evaluations_of_any_method(void **state)
{
    (void)state;
    const ht_bilevel_options by[] = {{0},
                                     {.method = HT_REVERSE_REVERSE},
                                     {.method = HT_FORWARD},
                                     {.truncate = 4},
                                     {.truncate = 4, .compare = true},
                                     {.method = HT_ONE_STEP},
                                     {.method = HT_FIRST_ORDER},
                                     {.method = HT_REVERSIBLE},
                                     {.schedule = HT_REVOLVE, .slots = 2},
                                     {.method = HT_IMPLICIT},
                                     {.method = HT_IMPLICIT, .warm = true}};
    for (size_t k = 0; k < sizeof by / sizeof *by; k++) {
        trial t;
        ridge g;
        ridge_open(&t, &g, 15, 4, HT_F64);
        t.problem.steps = 12;
        if (by[k].method != HT_IMPLICIT) t.problem.tolerance = 0;
        t.problem.update = HT_MOMENTUM(0.01, 0.75);
        ht_bilevel *b = trial_bilevel(&t, by[k]);
        ht_set *v = ht_set_clone(t.problem.eta, 0);
        for (int i = 0; i < 4; i++) ht_tensor_set(ht_set_at(v, 0), i, draw());
        ht_bilevel_run(b, 0); /* what a warm one begins from */
        double want[3];
        for (int i = 0; i < 3; i++) want[i] = evaluated(&t, b, v, 0.1 * i);
        copies c = copies_of(&t);
        ht_smoothness s = ht_bilevel_smoothness(b, v, 0.1);
        assert_string_equal(ht_context_message(t.ctx), "");
        assert_copies(&t, &c);
        for (int i = 0; i < 3; i++) NEAR(s.at[i], want[i], 0);
        NEAR(s.second, fabs(want[2] - 2 * want[1] + want[0]) / 0.01, 1e-9 * s.second);
        if (!(s.theta > 0 && s.theta <= 1 && s.moved > 0))
            fail_msg("way %d: S^ %g, moved %g", (int)k, s.theta, s.moved);
        ht_set_free(v);
        ht_bilevel_free(b);
        trial_close(&t);
    }
}

/* What a bilevel or its problem holds may be the direction: no copy of it is needed. */
static void smoothness_along_what_it_writes_over_is_along_that(void **state)
{
    (void)state;
    trial t;
    ridge g;
    ridge_open(&t, &g, 15, 4, HT_F64);
    t.problem.tolerance = 0;
    t.problem.steps = 12;
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
    for (int k = 0; k < 2; k++) {
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        const ht_set *v = k ? t.problem.eta : r.gradient;
        ht_set *copy = ht_set_clone(v, 0);
        ht_smoothness s = ht_bilevel_smoothness(b, v, 0.1);
        for (int i = 0; i < 3; i++) NEAR(s.at[i], evaluated(&t, b, copy, 0.1 * i), 0);
        assert_true(s.at[1] != s.at[0] && s.at[1] != s.at[2]);
        ht_set_free(copy);
    }
    ht_bilevel_free(b);
    trial_close(&t);
}

/* Batches, one of which fails when it is told to. */
typedef struct calls {
    int made, fails; /* at that call; 0: never */
} calls;

static ht_status shifted(uint64_t step, ht_set *batch, void *user)
{
    calls *c = user;
    if (++c->made == c->fails) return HT_ERROR_FILE;
    ht_tensor_fill(ht_set_tensor(batch, "shift"), sin(1.3 * (double)step));
    return HT_OK;
}

/* A window of a training by Adam with batches, gone on with as if nothing had been. */
static void smoothness_leaves_a_commit_as_it_was(void **state)
{
    (void)state;
    double end[2];
    for (int asked = 0; asked < 2; asked++) {
        trial t;
        calls c = {0};
        follow_open(&t, HT_F32, 3, (double[]){0.5, -2, 1}, NULL);
        t.problem.inner_batch = shifted;
        t.problem.update = HT_ADAM(0.1);
        t.problem.user = &c;
        ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
        for (int window = 0; window < 3; window++) {
            if (asked) {
                copies before = copies_of(&t);
                ht_smoothness s = ht_bilevel_smoothness(b, NULL, 0.25);
                assert_true(s.at[0] != s.at[1] && s.theta > 0);
                assert_copies(&t, &before);
            } else {
                ht_bilevel_evaluate(b, 0);
            }
            assert_int_equal(ht_bilevel_commit(b), HT_OK);
        }
        end[asked] = ht_bilevel_evaluate(b, 0).outer;
        ht_bilevel_free(b);
        trial_close(&t);
    }
    assert_true(end[0] == end[1]);
}

static void smoothness_after_an_error_leaves_eta_as_it_was(void **state)
{
    (void)state;
    trial t;
    calls c = {0};
    follow_open(&t, HT_F32, 3, (double[]){0.5, -2, 1}, NULL);
    t.problem.inner_batch = shifted;
    t.problem.user = &c;
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
    for (int at = 1; at <= 3 * (STEPS + 1); at++) {
        copies before = copies_of(&t);
        c = (calls){.fails = at};
        ht_smoothness s = ht_bilevel_smoothness(b, NULL, 0.25);
        if (ht_context_status(t.ctx) == HT_OK) {
            assert_true(at > 3 * STEPS);
        } else {
            assert_true(isnan(s.outer) && isnan(s.theta) && isnan(s.at[0]));
            ht_context_clear(t.ctx);
        }
        assert_copies(&t, &before);
    }
    ht_bilevel_free(b);
    trial_close(&t);
}

/* Of tasks S^ is over all their thetas, and all their outer losses. */
static ht_status of_task(uint64_t step, ht_set *batch, void *user)
{
    (void)step;
    ht_tensor_fill(ht_set_tensor(batch, "shift"), *(const double *)user);
    return HT_OK;
}

static ht_var task_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    (void)user;
    return follow(theta, ht_abs(ht_add(ht_get(eta, "e"), ht_get(batch, "shift"))));
}

static void smoothness_of_tasks_is_of_all_of_them(void **state)
{
    (void)state;
    trial t;
    double shift[] = {-0.75, 0.5, -1.5}, moved = 0.5 + 2 + 1;
    void *tasks[] = {&shift[0], &shift[1], &shift[2]};
    follow_open(&t, HT_F64, 1, (double[]){0}, NULL);
    t.problem.inner = task_inner;
    t.problem.inner_batch = of_task;
    t.problem.tasks = tasks;
    t.problem.n_tasks = 3;
    for (int at_once = 1; at_once <= 3; at_once++) {
        /* 0.75 0.25 1.25; 0.5 1.5 2.5; 1.5 0.5 0.5, whose second change is none. */
        ht_smoothness s = along_ones(&t, (ht_bilevel_options){.at_once = at_once}, 1);
        NEAR(s.theta, (2 - 0.5) / moved, 1e-15);
        NEAR(s.outer, (2 - 0.5) / moved, 1e-15);
        NEAR(s.moved, reached * sqrt(0.25 + 1 + 1), 1e-15);
    }
    trial_close(&t);
}

static void smoothness_counts_its_memory(void **state)
{
    (void)state;
    trial t;
    ridge g;
    ridge_open(&t, &g, 15, 4, HT_F32);
    size_t base = t.memory.live;
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_IMPLICIT});
    t.memory.peak = t.memory.live;
    size_t before = t.memory.live;
    ht_bilevel_smoothness(b, NULL, 0.1);
    assert_string_equal(ht_context_message(t.ctx), "");
    assert_true(t.memory.live == before && t.memory.peak > before);
    assert_true(t.memory.peak - base <= ht_bilevel_bytes(b));
    ht_bilevel_free(b);
    trial_close(&t);
}

/* What cannot be asked. */

static void assert_refused(trial *t, ht_bilevel *b, const ht_set *v, double h,
                           const char *why)
{
    ht_smoothness s = ht_bilevel_smoothness(b, v, h);
    assert_true(isnan(s.outer) && isnan(s.theta) && isnan(s.second) && isnan(s.moved));
    if (!strstr(ht_context_message(t->ctx), why))
        fail_msg("\"%s\" is not in \"%s\"", why, ht_context_message(t->ctx));
    ht_context_clear(t->ctx);
}

static void smoothness_of_no_such_direction_is_refused(void **state)
{
    (void)state;
    trial t;
    follow_open(&t, HT_F64, 2, (double[]){1, 2}, NULL);
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
    ht_set *name = ht_set_new(t.ctx), *shape = ht_set_new(t.ctx),
           *more = ones(t.problem.eta, 1), *narrow = ht_set_clone(more, HT_F32);
    ht_set_add(name, "f", HT_F64, HT_SHAPE(2));
    ht_set_add(shape, "e", HT_F64, HT_SHAPE(3));
    ht_set_add(more, "f", HT_F64, HT_SHAPE(2));
    assert_refused(&t, b, name, 1, "direction has no \"e\" like eta's at place 0");
    assert_refused(&t, b, shape, 1, "direction has no \"e\" like eta's");
    assert_refused(&t, b, narrow, 1, "direction has no \"e\" like eta's");
    assert_refused(&t, b, more, 1, "direction has \"f\", which eta has not");
    assert_refused(&t, b, NULL, 0, "h is 0");
    assert_refused(&t, b, NULL, -1, "h is -1");
    assert_refused(&t, b, NULL, INFINITY, "h is inf");
    assert_refused(&t, b, NULL, NAN, "h is ");
    ht_set_free(name);
    ht_set_free(shape);
    ht_set_free(more);
    ht_set_free(narrow);
    ht_bilevel_free(b);
    trial_close(&t);
}

static void smoothness_says_what_does_not_move_or_is_not_finite(void **state)
{
    (void)state;
    trial t;
    follow_open(&t, HT_F32, 1, (double[]){1}, NULL);
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
    ht_smoothness s = ht_bilevel_smoothness(b, NULL, 1e-12);
    assert_true(isnan(s.theta) && isnan(s.outer) && s.moved == 0 && s.second == 0);
    assert_non_null(strstr(s.note, "theta does not move along this direction"));
    s = ht_bilevel_smoothness(b, NULL, 3e38);
    assert_true(isnan(s.outer) && isnan(s.theta) && isfinite(s.at[0]));
    assert_non_null(strstr(s.note, "not finite"));
    assert_string_equal(ht_context_message(t.ctx), "");
    ht_bilevel_free(b);
    trial_close(&t);
}

/* Random signs: by the seed, and not all alike. */
static void smoothness_without_a_direction_is_along_random_signs(void **state)
{
    (void)state;
    enum { N = 64 };
    trial t;
    double e[N] = {0};
    follow_open(&t, HT_F64, N, e, NULL);
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){0});
    ht_smoothness s = ht_bilevel_smoothness(b, NULL, 1), again;
    double sum = s.at[1] / reached;
    assert_true(sum == floor(sum) && fabs(sum) < N / 2);
    NEAR(s.moved, reached * sqrt(N), 1e-14);
    again = ht_bilevel_smoothness(b, NULL, 1);
    assert_true(again.at[1] == s.at[1] && again.at[2] == s.at[2]);
    ht_bilevel_free(b);
    trial_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smoothness_of_what_is_linear_is_one),
        cmocka_unit_test(smoothness_of_a_quadratic_is_its_curvature),
        cmocka_unit_test(halves_are_the_correlation_of_both_changes),
        cmocka_unit_test(smoothness_at_a_kink_is_the_share_that_does_not_turn),
        cmocka_unit_test(smoothness_of_chaos_is_low),
        cmocka_unit_test(smoothness_of_weights_is_of_trainings_without_those),
        cmocka_unit_test(smoothness_is_of_evaluations_of_any_method),
        cmocka_unit_test(smoothness_along_what_it_writes_over_is_along_that),
        cmocka_unit_test(smoothness_leaves_a_commit_as_it_was),
        cmocka_unit_test(smoothness_after_an_error_leaves_eta_as_it_was),
        cmocka_unit_test(smoothness_of_tasks_is_of_all_of_them),
        cmocka_unit_test(smoothness_counts_its_memory),
        cmocka_unit_test(smoothness_of_no_such_direction_is_refused),
        cmocka_unit_test(smoothness_says_what_does_not_move_or_is_not_finite),
        cmocka_unit_test(smoothness_without_a_direction_is_along_random_signs),
    };
    return TEST_MAIN(tests);
}
