/* SPDX-License-Identifier: MIT */
/* test_bilevel_reversible.c: trainings run backwards in integers. They come back to their
 * start bit for bit, give HT_REVERSE's gradient to the rounding of their units, and take
 * the memory that was foretold. Read next: bilevel/unroll/reversible.c. */
#include "test_bilevel.h"

#include <complex.h>

#include "bilevel_internal.h"
#include "ratio.h"
#include "unroll/integers.h"

/* Random numbers of the test's seed: number k of a stream, in 0 .. 1. */
static double drawn(uint64_t stream, int64_t k)
{
    static uint64_t seed;
    if (!seed) seed = test_seed();
    uint64_t z = seed + stream * 0x9e3779b97f4a7c15u + (uint64_t)k * 0xd1342543de82ef95u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* Ratios. */

static int64_t divisor(int64_t a, int64_t b)
{
    return b ? divisor(b, a % b) : a;
}

/* The nearest fraction of them all, by trying every denominator. */
static double least_distance(double x)
{
    double least = 1;
    for (int64_t d = 1; d <= HTI_RATIO_MOST; d++) {
        double n = rint(x * (double)d);
        if (n >= 1 && fabs(n / (double)d - x) < least) least = fabs(n / (double)d - x);
    }
    return least;
}

static void ratio_of_gives_the_nearest_fraction(void **state)
{
    (void)state;
    const double some[] = {0.9,     0.99,        1.0 / 3,    1,        0.5,
                           0x1p-16, 1 - 0x1p-16, 0.9 + 1e-6, 1 - 1e-7, 2e-5};
    for (int k = 0; k < 100; k++) {
        double x = k < 10 ? some[k] : drawn(1, k);
        hti_ratio q;
        assert_true(hti_ratio_of(x, &q));
        assert_true(q.n > 0 && q.n <= q.d && q.d <= HTI_RATIO_MOST);
        assert_int_equal(divisor(q.n, q.d), 1);
        assert_true(fabs((double)q.n / (double)q.d - x) <= least_distance(x));
    }
    hti_ratio q;
    assert_true(hti_ratio_of(0.9, &q) && q.n == 9 && q.d == 10);
    const double none[] = {0, -0.5, 1.5, (double)NAN, (double)INFINITY, 1e-6};
    for (int k = 0; k < 6; k++) assert_false(hti_ratio_of(none[k], &q));
}

enum { COUNT = 7, TIMES = 400 };

/* c n/d within (n + d) / 2, and 0 of 0 where nothing is kept. */
static void ratio_multiply_is_undone_bit_for_bit(void **state)
{
    (void)state;
    static int32_t layer[COUNT * TIMES], times[TIMES];
    int64_t rest[COUNT], v[COUNT], all[TIMES][COUNT];
    hti_ratio ratio[TIMES];
    for (int trial = 0; trial < 200; trial++) {
        hti_remainders r = {.count = COUNT,
                            .rest = rest,
                            .layer = layer,
                            .layer_times = times,
                            .most = TIMES};
        hti_remainders_clear(&r);
        bool fixed = trial % 2;
        for (int k = 0; k < COUNT; k++)
            v[k] = (int64_t)((drawn(2, trial * COUNT + k) - 0.5) * 0x1p62);
        if (trial % 3 == 0) v[0] = 0;
        for (int t = 0; t < TIMES; t++) {
            double x = drawn(3, fixed ? trial : trial * TIMES + t);
            assert_true(hti_ratio_of(x < 1e-4 ? 0.5 : x, &ratio[t]));
            memcpy(all[t], v, sizeof v);
            assert_true(hti_ratio_multiply(&r, ratio[t], v));
            long double n = (long double)ratio[t].n, d = (long double)ratio[t].d;
            for (int k = 0; k < COUNT; k++) {
                assert_true(fabsl((long double)v[k] - (long double)all[t][k] * n / d) <=
                            (n + d) / 2);
                v[k] +=
                    (int64_t)((drawn(4, t * COUNT + k) - 0.5) * 1e6) * (trial % 3 || k);
            }
        }
        if (trial % 3 == 0) assert_true(v[0] == 0 && rest[0] == 0);
        if (fixed) assert_int_equal(r.layers, hti_ratio_layers(ratio[0], TIMES));
        for (int t = TIMES; t-- > 0;) {
            for (int k = 0; k < COUNT; k++)
                v[k] -=
                    (int64_t)((drawn(4, t * COUNT + k) - 0.5) * 1e6) * (trial % 3 || k);
            hti_ratio_undo(&r, ratio[t], v);
            assert_memory_equal(v, all[t], sizeof v);
        }
        assert_true(hti_remainders_none(&r));
    }
}

static void ratio_multiply_keeps_the_bits_that_are_lost(void **state)
{
    (void)state;
    for (int k = 1; k < 20; k++) {
        hti_ratio q;
        assert_true(hti_ratio_of(k / 20.0, &q));
        double bits = 32.0 * (double)hti_ratio_layers(q, 100000) / 100000;
        assert_near(bits, log2(20.0 / k), 1e-3);
    }
    assert_int_equal(hti_ratio_layers((hti_ratio){1, 1}, 1000000), 0);
}

/* Quadratics in closed form: x_t = w_t - b lambda / a has x_t+1 = (1 + mu - rate a) x_t -
 * mu x_t-1, x_1 = (1 - rate a) x_0; of the roots r, q of that, x_t = x_0 phi_t with phi_t
 * = ((1 - rate a - q) r^t - (1 - rate a - r) q^t) / (r - q). */
typedef struct quadratic {
    double a, b, c, w0, lambda, rate, momentum;
    int64_t steps;
} quadratic;

static const quadratic cases[] = {
    {1.0, 2.0, 0.5, 3.0, 0.7, 0.1, 0.9, 20},
    {2.5, -1.0, 1.0, -2.0, 1.3, 0.05, 0.5, 37},
    {0.3, 0.5, -2.0, 0.0, -0.4, 0.9, 0.75, 1},
    {1.7, 1.1, 0.2, 50.0, 2.0, 0.031, 0.95, 64},
    {4.0, 3.0, 0.1, 1.0, 0.25, 0.15, 0.125, 40},
    {0.01, 1.0, 3.0, -1.0, 0.9, 1.5, 0.8, 100},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static ht_var quadratic_inner(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    const quadratic *q = user;
    (void)batch;
    ht_var w = ht_get(theta, "w");
    ht_var linear = ht_mul(ht_mul(ht_get(eta, "lambda"), w), q->b);
    return ht_sub(ht_mul(ht_square(w), q->a / 2), linear);
}

static ht_var quadratic_outer(const ht_vars *theta, const ht_vars *eta,
                              const ht_vars *batch, void *user)
{
    const quadratic *q = user;
    (void)batch, (void)eta;
    return ht_mul(ht_square(ht_sub(ht_get(theta, "w"), q->c)), 0.5);
}

static void quadratic_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "w", ht_get(eta, "w0"));
}

static double phi(const quadratic *q, double rate, double momentum)
{
    double complex first = 1 - rate * q->a, sum = first + momentum;
    double complex root = csqrt(sum * sum - 4 * momentum);
    double complex r = (sum + root) / 2, s = (sum - root) / 2;
    double t = (double)q->steps;
    return creal(((first - s) * cpow(r, t) - (first - r) * cpow(s, t)) / (r - s));
}

/* By the rate or the momentum, a central difference extrapolated once. */
static double phi_slope(const quadratic *q, double h_rate, double h_momentum)
{
    double slope[2], h = 1;
    for (int k = 0; k < 2; k++, h /= 2)
        slope[k] = (phi(q, q->rate + h * h_rate, q->momentum + h * h_momentum) -
                    phi(q, q->rate - h * h_rate, q->momentum - h * h_momentum)) /
                   (2 * h * (h_rate + h_momentum));
    return (4 * slope[1] - slope[0]) / 3;
}

/* Everything is of units of 2^-50 max(1, |w0|), some ten of them a step. */
static void quadratic_check(const quadratic *q)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_set *theta = ht_set_new(ctx), *eta = ht_set_new(ctx);
    ht_set_add(theta, "w", HT_F64, HT_SCALAR);
    const struct {
        const char *name;
        double value;
    } outer[] = {{"lambda", q->lambda},
                 {"w0", q->w0},
                 {"rate", q->rate},
                 {"momentum", q->momentum}};
    int n_outer = q->momentum < 0.5 ? 3 : 4; /* below that it has to be fixed */
    for (int k = 0; k < n_outer; k++)
        ht_tensor_fill(ht_set_add(eta, outer[k].name, HT_F64, HT_SCALAR), outer[k].value);
    ht_bilevel_problem problem = {.inner = quadratic_inner,
                                  .outer = quadratic_outer,
                                  .init = quadratic_init,
                                  .theta = theta,
                                  .eta = eta,
                                  .steps = q->steps,
                                  .user = (void *)(uintptr_t)q,
                                  .update = {.rule = &ht_momentum,
                                             .rate = HT_OUTER("rate"),
                                             .momentum = HT_OUTER("momentum")}};
    if (n_outer == 3) problem.update.momentum = HT_FIXED(q->momentum);
    ht_bilevel *bilevel =
        ht_bilevel_new(ctx, &problem, &(ht_bilevel_options){.method = HT_REVERSIBLE});
    if (!bilevel) fail_msg("%s", ht_context_message(ctx));
    ht_bilevel_result r = ht_bilevel_run(bilevel, 0);
    if (!r.gradient) fail_msg("%s", ht_context_message(ctx));
    double fixed = q->b * q->lambda / q->a, factor = phi(q, q->rate, q->momentum);
    double w = fixed + factor * (q->w0 - fixed), error = w - q->c;
    const double want[] = {error * (1 - factor) * q->b / q->a, error * factor,
                           error * (q->w0 - fixed) * phi_slope(q, 1e-3 * q->rate, 0),
                           error * (q->w0 - fixed) * phi_slope(q, 0, 1e-3 * q->momentum)};
    assert_near(ht_tensor_get(ht_set_tensor(r.theta, "w"), 0), w, 1e-11 * fabs(w));
    for (int k = 0; k < n_outer; k++) {
        double got = ht_tensor_get(ht_set_tensor(r.gradient, outer[k].name), 0);
        printf("# %-10s %.17g, off by %.1e\n", outer[k].name, got, fabs(got - want[k]));
        assert_near(got, want[k], (k < 2 ? 1e-10 : 1e-8) * fabs(want[k]) + 1e-12);
    }
    ht_bilevel_free(bilevel);
    ht_set_free(theta);
    ht_set_free(eta);
    ht_context_free(ctx);
}

static void reversible_run_matches_closed_form(void **state)
{
    (void)state;
    for (int k = 0; k < N_CASES; k++) quadratic_check(&cases[k]);
}

/* A momentum between fractions: the training and its gradient are those of the one that
 * ran, n/d, by s = n/d s + w - lambda; w -= rate s from 0, and its derivatives. By the
 * momentum as asked the gradient would be off by 7e-3 at 0.99999. */
typedef struct between {
    double momentum;
    int64_t n, d, steps;
    const char *said; /* NULL: nothing */
} between;

static void between_want(const between *m, double want[3])
{
    long double momentum = (long double)m->n / (long double)m->d, rate = 0.01L;
    long double w = 0, s = 0, w_mu = 0, s_mu = 0;
    for (int64_t t = 0; t < m->steps; t++) {
        s_mu = momentum * s_mu + s + w_mu;
        s = momentum * s + w - 1;
        w -= rate * s;
        w_mu -= rate * s_mu;
    }
    want[0] = (double)(w * w / 2);
    want[1] = (double)(w * w);
    want[2] = (double)(w * w_mu);
}

static void between_check(const between *m, bool outer)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_set *theta = ht_set_new(ctx), *eta = ht_set_new(ctx);
    quadratic q = {.a = 1, .b = 1, .c = 0};
    double want[3];
    ht_set_add(theta, "w", HT_F64, HT_SCALAR);
    ht_tensor_fill(ht_set_add(eta, "lambda", HT_F64, HT_SCALAR), 1);
    if (outer)
        ht_tensor_fill(ht_set_add(eta, "momentum", HT_F64, HT_SCALAR), m->momentum);
    ht_bilevel_problem problem = {.inner = quadratic_inner,
                                  .outer = quadratic_outer,
                                  .theta = theta,
                                  .eta = eta,
                                  .steps = m->steps,
                                  .user = &q,
                                  .update = HT_MOMENTUM(0.01, m->momentum)};
    if (outer) problem.update.momentum = HT_OUTER("momentum");
    ht_bilevel *b =
        ht_bilevel_new(ctx, &problem, &(ht_bilevel_options){.method = HT_REVERSIBLE});
    if (!b) fail_msg("%s", ht_context_message(ctx));
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    if (!r.gradient) fail_msg("%s", ht_context_message(ctx));
    between_want(m, want);
    double got[3] = {r.outer, ht_tensor_get(ht_set_at(r.gradient, 0), 0),
                     outer ? ht_tensor_get(ht_set_at(r.gradient, 1), 0) : want[2]};
    for (int k = 0; k < 3; k++) {
        printf("# %.9g: %.15g, off by %.1e\n", m->momentum, got[k],
               fabs(got[k] / want[k] - 1));
        assert_near(got[k], want[k], 1e-12 * fabs(want[k]));
    }
    assert_true(!m->said == !r.note);
    if (m->said) assert_contains(r.note, m->said);
    ht_bilevel_free(b);
    ht_set_free(theta);
    ht_set_free(eta);
    ht_context_free(ctx);
}

static void reversible_run_differentiates_the_fraction_that_ran(void **state)
{
    (void)state;
    const between some[] = {
        {0.99999, 65535, 65536, 2000, "momentum 0.99999 ran as 65535/65536"},
        {0.999995, 1, 1, 2000, "is off by 100 %: HT_REVERSE takes"},
        {0.999903, 41233, 41237, 2000, NULL},
        {0.9999, 9999, 10000, 2000, NULL},
        {0.500003, 1, 2, 20, NULL}};
    for (int k = 0; k < 10; k++) between_check(&some[k / 2], k % 2);
}

/* A regression by tanh(x w + b), its rows weighted, of random sizes and options. */
enum { ROWS = 6 };

typedef struct trial {
    counted memory;
    ht_context *ctx;
    ht_set *theta, *eta, *train, *validation;
    ht_bilevel_problem problem;
    ht_update frozen;
    ht_update_group group;
    int64_t width;
    uint64_t number;
    double momentum;
    bool impure;
} trial;

static ht_var regression(const ht_vars *theta, const ht_vars *batch)
{
    ht_var x = ht_matmul(ht_get(batch, "x"), ht_get(theta, "w"));
    ht_var y = ht_tanh(ht_add(x, ht_get(theta, "b")));
    return ht_square(ht_sub(y, ht_get(batch, "y")));
}

static ht_var trial_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)user;
    return ht_mean(ht_mul(regression(theta, batch), ht_get(eta, "weights")));
}

static ht_var trial_outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                          void *user)
{
    (void)user, (void)eta;
    return ht_mean(regression(theta, batch));
}

static void trial_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_vars_set(theta0, "w", ht_get(eta, "w0"));
}

static ht_status trial_batch(uint64_t step, ht_set *batch, void *user)
{
    trial *t = user;
    static uint64_t calls;
    uint64_t by = t->impure ? calls++ : step;
    ht_tensor_normal(ht_set_tensor(batch, "x"), 100 + 2 * by, 0, 1);
    ht_tensor_uniform(ht_set_tensor(batch, "y"), 101 + 2 * by, -1, 1);
    return HT_OK;
}

static ht_set *trial_data(trial *t, ht_dtype dtype, uint64_t stream)
{
    ht_set *set = ht_set_new(t->ctx);
    ht_tensor_normal(ht_set_add(set, "x", dtype, HT_SHAPE(ROWS, t->width)), stream, 0, 1);
    ht_tensor_uniform(ht_set_add(set, "y", dtype, HT_SHAPE(ROWS, 1)), stream + 1, -1, 1);
    return set;
}

static double trial_draw(const trial *t, int64_t k)
{
    return drawn(10 + t->number, k);
}

typedef enum momenta { OF_ANY, OF_64, PLAIN } momenta;

/* OF_64: the momentum is a fraction of 64. */
static void trial_update(trial *t, ht_dtype dtype, momenta of)
{
    ht_update *u = &t->problem.update;
    double momentum = 0.5 + 0.49 * trial_draw(t, 1);
    if (of == OF_64) momentum = rint(64 * momentum) / 64;
    if (of == PLAIN) momentum = 0.9;
    t->momentum = momentum;
    *u = HT_MOMENTUM(0.01 + 0.1 * trial_draw(t, 2), momentum);
    if (of == PLAIN) return;
    if (trial_draw(t, 3) < 0.3) u->decay = HT_FIXED(0.01);
    if (trial_draw(t, 4) < 0.2) u->clip = HT_FIXED(0.3);
    ht_shape by_step = HT_SHAPE(t->problem.steps, 1);
    if (trial_draw(t, 5) < 0.5) {
        ht_tensor *m = ht_set_add(t->eta, "momentum", dtype,
                                  trial_draw(t, 6) < 0.5 ? HT_SCALAR : by_step);
        ht_tensor_fill(m, momentum);
        u->momentum = HT_OUTER("momentum");
    }
    if (trial_draw(t, 7) < 0.5) {
        ht_tensor *rate = ht_set_add(t->eta, "rate", dtype, HT_SHAPE(1, 2));
        ht_tensor_fill(rate, u->rate.value);
        u->rate = HT_OUTER("rate");
    }
    if (trial_draw(t, 8) > 0.2) return;
    t->group = (ht_update_group){"b", NULL};
    u->groups = &t->group;
    u->n_groups = 1;
}

static void trial_new(trial *t, uint64_t number, ht_dtype dtype, int64_t steps,
                      momenta of)
{
    *t = (trial){.number = number};
    t->ctx = ht_context_new(
        &(ht_context_options){.alloc = counted_alloc, .user = &t->memory, .threads = 1});
    t->width = steps < 1000 ? 1 + (int64_t)(8 * trial_draw(t, 0)) : 500;
    t->theta = ht_set_new(t->ctx);
    t->eta = ht_set_new(t->ctx);
    ht_tensor_normal(ht_set_add(t->theta, "w", dtype, HT_SHAPE(t->width, 1)), number, 0,
                     1);
    ht_tensor_fill(ht_set_add(t->theta, "b", dtype, HT_SHAPE(1)), 0.1);
    ht_tensor_uniform(ht_set_add(t->eta, "weights", dtype, HT_SHAPE(ROWS, 1)), number + 1,
                      0.5, 1.5);
    ht_tensor_normal(ht_set_add(t->eta, "w0", dtype, HT_SHAPE(t->width, 1)), number, 0,
                     1);
    t->train = trial_data(t, dtype, 1000 + number);
    t->validation = trial_data(t, dtype, 2000 + number);
    t->problem = (ht_bilevel_problem){.inner = trial_inner,
                                      .outer = trial_outer,
                                      .init = trial_init,
                                      .theta = t->theta,
                                      .eta = t->eta,
                                      .inner_data = t->train,
                                      .outer_data = t->validation,
                                      .steps = steps,
                                      .user = t};
    trial_update(t, dtype, of);
    if (of != PLAIN && trial_draw(t, 9) < 0.5) t->problem.inner_batch = trial_batch;
}

static void trial_free(trial *t)
{
    ht_set_free(t->theta);
    ht_set_free(t->eta);
    ht_set_free(t->train);
    ht_set_free(t->validation);
    ht_context_free(t->ctx);
    assert_int_equal(t->memory.live, 0);
}

static ht_bilevel *trial_bilevel(trial *t, ht_bilevel_options o)
{
    ht_bilevel *b = ht_bilevel_new(t->ctx, &t->problem, &o);
    if (!b) fail_msg("problem %d: %s", (int)t->number, ht_context_message(t->ctx));
    return b;
}

static ht_bilevel_result trial_run(trial *t, ht_bilevel *b)
{
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    if (!r.gradient)
        fail_msg("problem %d: %s", (int)t->number, ht_context_message(t->ctx));
    return r;
}

static double set_distance(const ht_set *got, const ht_set *want)
{
    double above = 0, below = 0;
    for (int i = 0; i < ht_set_count(want); i++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(want, i)); k++) {
            double x = ht_tensor_get(ht_set_at(got, i), k),
                   y = ht_tensor_get(ht_set_at(want, i), k);
            above += (x - y) * (x - y);
            below += y * y;
        }
    return sqrt(above) / sqrt(below);
}

/* theta_0 = w0 in its units, a velocity of 0, and nothing kept. */
static void assert_at_start(const trial *t, const ht_bilevel *b)
{
    const hti_integers *m = (const void *)b->memory.own;
    for (int k = 0; k < m->n; k++) {
        const hti_integer *x = &m->tensor[k];
        const ht_tensor *from =
            k == 0 ? ht_set_tensor(t->eta, "w0") : ht_set_at(t->theta, 1);
        for (int64_t i = 0; i < x->count; i++) {
            assert_true(x->theta[i] ==
                        llrint(ldexp(ht_tensor_get(from, i), x->theta_bits)));
            assert_true(x->s[i] == 0 && x->remainders.rest[i] == 0);
        }
        assert_int_equal(x->remainders.layers, 0);
    }
}

/* What rounding may do to a gradient, if that is up to fifty times as sensitive:
 * a step moves s by (n + d) / 2 units and by what n/d is off the momentum, and theta by
 * rate / (1 - momentum) times that; in f32 HT_REVERSE rounds too. */
static double tolerance(const trial *t)
{
    hti_ratio q;
    double steps = (double)t->problem.steps, m = t->momentum;
    assert_true(hti_ratio_of(m, &q));
    bool narrow = ht_tensor_dtype(ht_set_at(t->theta, 0)) == HT_F32;
    double off = (double)q.d * 0x1p-50 + fabs((double)q.n / (double)q.d - m) +
                 (narrow ? 0x1p-24 : 0);
    return 50 * steps * off / (1 - m);
}

static void reversible_run_two_hundred_return_to_their_start(void **state)
{
    (void)state;
    double most[3] = {0};
    for (uint64_t k = 0; k < 200; k++) {
        trial t;
        bool narrow = k % 4 == 3, exact = k % 4 != 2;
        int64_t steps = 1 + (int64_t)(60 * drawn(5, (int64_t)k));
        trial_new(&t, k, narrow ? HT_F32 : HT_F64, steps, exact ? OF_64 : OF_ANY);
        ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE}),
                   *all = trial_bilevel(&t, (ht_bilevel_options){0});
        ht_bilevel_result want = trial_run(&t, all), r = trial_run(&t, b);
        assert_at_start(&t, b);
        double off = set_distance(r.gradient, want.gradient) / tolerance(&t),
               *largest = &most[narrow ? 2 : !exact];
        if (off > *largest) *largest = off;
        ht_set *first = ht_set_clone(r.gradient, 0);
        assert_true(ht_bilevel_evaluate(b, 0).outer == r.outer);
        assert_same_bits(trial_run(&t, b).gradient, first, "run twice");
        assert_int_equal(r.method, HT_REVERSIBLE);
        assert_int_equal(r.reverse_steps, steps);
        ht_set_free(first);
        ht_bilevel_free(b);
        ht_bilevel_free(all);
        trial_free(&t);
    }
    assert_distance(most[0], 1, "of the tolerance, a momentum of 1/64");
    assert_distance(most[1], 1, "of the tolerance, any momentum");
    assert_distance(most[2], 1, "of the tolerance, f32");
}

/* Memory. */

static void reversible_new_takes_the_bytes_it_says(void **state)
{
    (void)state;
    for (uint64_t k = 0; k < 40; k++) {
        trial t;
        trial_new(&t, k, k % 2 ? HT_F32 : HT_F64, 1 + 7 * (int64_t)k, OF_ANY);
        ht_bilevel_options o = {.method = HT_REVERSIBLE, .bytes = 1};
        assert_null(ht_bilevel_new(t.ctx, &t.problem, &o));
        assert_int_equal(ht_context_status(t.ctx), HT_ERROR_MEMORY);
        const char *said = ht_context_message(t.ctx);
        assert_contains(said, "too small for a reversible training\n  hint: it needs ");
        o.bytes = strtoull(strstr(said, "needs ") + 6, NULL, 10);
        ht_context_clear(t.ctx);
        size_t base = t.memory.peak = t.memory.live;
        ht_bilevel *b = trial_bilevel(&t, o);
        uint64_t calls = t.memory.calls, allocations = ht_context_allocations(t.ctx);
        ht_bilevel_result r = trial_run(&t, b);
        assert_non_null(ht_bilevel_evaluate(b, 0).theta);
        assert_true(t.memory.calls == calls &&
                    ht_context_allocations(t.ctx) == allocations);
        assert_int_equal(t.memory.peak - base, o.bytes);
        assert_int_equal(r.predicted_bytes, o.bytes);
        assert_int_equal(r.peak_bytes, o.bytes);
        assert_int_equal(ht_bilevel_bytes(b), o.bytes);
        ht_bilevel_free(b);
        o.bytes--;
        assert_null(ht_bilevel_new(t.ctx, &t.problem, &o));
        ht_context_clear(t.ctx);
        trial_free(&t);
    }
}

/* log2(10/9) bits a parameter and step beside what does not grow, where states take 128;
 * and revolve, given as many bytes, runs many times the steps. */
static void reversible_memory_of_ten_thousand_steps_is_bits(void **state)
{
    (void)state;
    trial t;
    trial_new(&t, 0, HT_F64, 10000, PLAIN);
    ht_bilevel *all = trial_bilevel(&t, (ht_bilevel_options){.schedule = HT_STORE_ALL});
    size_t stored = ht_bilevel_bytes(all);
    ht_bilevel_free(all);
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE});
    ht_bilevel_result r = trial_run(&t, b);
    ht_set *gradient = ht_set_clone(r.gradient, 0);
    size_t bytes = ht_bilevel_bytes(b);
    ht_bilevel_free(b);
    ht_bilevel_options o = {.schedule = HT_REVOLVE, .bytes = bytes};
    b = trial_bilevel(&t, o);
    ht_bilevel_result revolved = trial_run(&t, b);
    printf("# %zu bytes, store-all %zu, %.0f times as many; %.4f bits a parameter and "
           "step; revolve in as many bytes runs %lld steps, this %lld\n",
           bytes, stored, (double)stored / (double)bytes, r.remainder_bits,
           (long long)revolved.forward_steps, (long long)r.forward_steps);
    double steps = (double)t.problem.steps;
    assert_true(r.remainder_bits > log2(10.0 / 9) &&
                r.remainder_bits < log2(10.0 / 9) + 8 / steps);
    assert_true((double)stored > 300 * (double)bytes);
    assert_true(revolved.forward_steps > r.forward_steps);
    assert_distance(set_distance(gradient, revolved.gradient), tolerance(&t),
                    "gradient after %.0f steps", steps);
    ht_set_free(gradient);
    ht_bilevel_free(b);
    trial_free(&t);
}

/* What is refused. */

static ht_var trial_square(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                           void *user)
{
    return ht_square(trial_outer(theta, eta, batch, user));
}

static void trial_after(const ht_vars *eta, ht_vars *theta, void *user)
{
    (void)eta, (void)user;
    ht_vars_set(theta, "w", ht_clamp(ht_get(theta, "w"), -1, 1));
}

static void assert_refused(trial *t, ht_bilevel_options o, const char *words,
                           const char *instead)
{
    o.method = HT_REVERSIBLE;
    assert_null(ht_bilevel_new(t->ctx, &t->problem, &o));
    assert_contains(ht_context_message(t->ctx), words);
    assert_contains(ht_context_message(t->ctx), instead);
    ht_context_clear(t->ctx);
}

static void reversible_new_refuses_what_cannot_be_undone(void **state)
{
    (void)state;
    trial t;
    trial_new(&t, 0, HT_F64, 5, PLAIN);
#define REFUSED(words, instead, ...) \
    assert_refused(&t, (ht_bilevel_options){__VA_ARGS__}, words, instead)
    REFUSED("HT_REVERSIBLE, but options.truncate is set", "HT_REVERSE with it",
            .truncate = 2);
    REFUSED("HT_REVERSIBLE, but options.slots is set", "leave it 0", .slots = 2);
    REFUSED("HT_REVERSIBLE, but options.schedule is set", "leave it 0",
            .schedule = HT_TWO_LEVEL);
    REFUSED("options.damping is set, but options.method is HT_REVERSIBLE", "HT_IMPLICIT",
            .damping = 1);
    t.problem.tolerance = 1e-3;
    REFUSED("problem.tolerance is set, but options.method", "HT_IMPLICIT", 0);
    t.problem.tolerance = 0;
    t.problem.after = trial_after;
    REFUSED("HT_REVERSIBLE, but problem.after is set", "HT_REVERSE keeps states", 0);
    t.problem.after = NULL;
    const ht_update updates[] = {HT_SGD(0.1), HT_NESTEROV(0.1, 0.9), HT_ADAM(0.01),
                                 HT_RMSPROP(0.1)};
    const char *const name[] = {"sgd", "nesterov", "adam", "rmsprop"};
    for (int k = 0; k < 4; k++) {
        char words[80];
        t.problem.update = updates[k];
        snprintf(words, sizeof words, "but the update rule of \"w\" is %s", name[k]);
        REFUSED(words, "HT_MOMENTUM's can", 0);
    }
    t.group = (ht_update_group){"b", &updates[0]};
    t.problem.update = HT_MOMENTUM(0.1, 0.9);
    t.problem.update.groups = &t.group;
    t.problem.update.n_groups = 1;
    REFUSED("but the update rule of \"b\" is sgd", "HT_REVERSE takes any rule", 0);
    t.problem.update = HT_MOMENTUM(0.1, 1.25);
    REFUSED("but update.momentum of \"w\" is 1.25", "must lie in 2^-16 .. 1", 0);
    t.problem.update = HT_MOMENTUM(0.1, 1e-6);
    REFUSED("but update.momentum of \"w\" is 1e-06", "HT_REVERSE takes any", 0);
    trial_free(&t);
}

/* An outer momentum is known in the run alone. */
static void reversible_run_refuses_a_momentum_without_room(void **state)
{
    (void)state;
    trial t;
    trial_new(&t, 0, HT_F64, 300, PLAIN);
    ht_tensor *m = ht_set_add(t.eta, "momentum", HT_F64, HT_SCALAR);
    t.problem.update.momentum = HT_OUTER("momentum");
    const double value[] = {0.5, 0.3, 1.5, 1, 0, 0.9};
    const char *const words[] = {NULL,
                                 "more than a bit a step of remainders",
                                 "does not lie in 2^-16 .. 1 at step 0",
                                 NULL,
                                 "does not lie in 2^-16 .. 1 at step 0",
                                 NULL};
    ht_tensor_fill(m, 0.5);
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE});
    for (int k = 0; k < 6; k++) {
        ht_tensor_fill(m, value[k]);
        bool ok = ht_bilevel_run(b, 0).gradient != NULL;
        if (ok != !words[k]) fail_msg("%g: %s", value[k], ht_context_message(t.ctx));
        if (words[k]) assert_contains(ht_context_message(t.ctx), words[k]);
        ht_context_clear(t.ctx);
    }
    ht_bilevel_free(b);
    trial_free(&t);
}

static void reversible_run_says_where_it_leaves_its_range(void **state)
{
    (void)state;
    trial t;
    trial_new(&t, 0, HT_F64, 10, PLAIN);
    t.problem.update.rate.value = 1e7;
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE});
    ht_bilevel_result r = trial_run(&t, b);
    assert_int_equal(r.bad_where, HT_BAD_TRAINING);
    assert_int_equal(r.bad_step, 0);
    assert_contains(r.note, "grew to 4096 times the largest of its start (or 1)");
    assert_true(isnan(r.outer) && isnan(ht_tensor_get(ht_set_at(r.gradient, 0), 0)));
    assert_true(isnan(ht_bilevel_evaluate(b, 0).outer));
    ht_tensor_fill(ht_set_tensor(t.eta, "weights"), (double)INFINITY);
    r = trial_run(&t, b);
    assert_int_equal(r.bad_where, HT_BAD_TRAINING);
    assert_int_equal(r.bad_step, 0);
    assert_non_null(r.bad_op);
    assert_true(strcmp(r.bad_op, "fixed point") != 0);
    ht_bilevel_free(b);
    trial_free(&t);
}

static void reversible_run_refuses_a_batch_that_changes(void **state)
{
    (void)state;
    trial t;
    for (int64_t steps = 2; steps < 900; steps *= 3) { /* errors grow as 2^steps */
        trial_new(&t, 0, HT_F64, steps, PLAIN);
        t.problem.update.momentum.value = 0.5;
        t.problem.inner_batch = trial_batch;
        t.impure = true;
        ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE});
        assert_null(ht_bilevel_run(b, 0).gradient);
        assert_contains(ht_context_message(t.ctx), "did not come back to where it began");
        ht_context_clear(t.ctx);
        t.impure = false;
        trial_run(&t, b);
        ht_bilevel_free(b);
        trial_free(&t);
    }
}

/* With others. */

static ht_var trial_stopped(const ht_vars *theta, const ht_vars *eta,
                            const ht_vars *batch, void *user)
{
    ht_var loss = trial_inner(theta, eta, batch, user);
    return ht_mul(loss, ht_add(1.0, ht_stop_gradient(loss)));
}

static void reversible_run_of_a_hessian_that_is_not_symmetric(void **state)
{
    (void)state;
    trial t;
    trial_new(&t, 0, HT_F64, 20, PLAIN);
    t.problem.inner = trial_stopped;
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE}),
               *all = trial_bilevel(&t, (ht_bilevel_options){0});
    ht_bilevel_result r = trial_run(&t, b), want = trial_run(&t, all);
    assert_contains(r.note, "reverse over reverse");
    assert_distance(set_distance(r.gradient, want.gradient), tolerance(&t), "gradient");
    ht_bilevel_free(b);
    ht_bilevel_free(all);
    trial_free(&t);
}

static ht_var trial_rows(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    (void)user, (void)eta;
    return ht_reshape(regression(theta, batch), HT_SHAPE(ROWS));
}

static void reversible_run_of_many_outer_losses(void **state)
{
    (void)state;
    trial t;
    trial_new(&t, 0, HT_F64, 20, PLAIN);
    ht_bilevel *one = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE});
    t.problem.outer = trial_rows;
    ht_bilevel *many = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE});
    ht_bilevel_result r = trial_run(&t, many), mean = trial_run(&t, one);
    for (int j = 0; j < ht_set_count(mean.gradient); j++) {
        const ht_tensor *all = ht_set_at(r.gradient, j),
                        *want = ht_set_at(mean.gradient, j);
        for (int64_t k = 0, n = ht_tensor_count(want); k < n; k++) {
            double sum = 0;
            for (int64_t m = 0; m < ROWS; m++) sum += ht_tensor_get(all, m * n + k);
            assert_near(sum / ROWS, ht_tensor_get(want, k), 1e-14);
        }
    }
    ht_bilevel_free(one);
    ht_bilevel_free(many);
    trial_free(&t);
}

/* Windows begin at what the one before ended with, as floats: those of 50 bits have the
 * integer in them. */
static void reversible_commit_goes_on(void **state)
{
    (void)state;
    trial t;
    trial_new(&t, 0, HT_F64, 40, PLAIN);
    t.problem.inner_batch = trial_batch;
    ht_bilevel *whole = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE});
    t.problem.steps = 20;
    t.problem.horizon = 40;
    ht_bilevel *half = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE});
    ht_bilevel_result want = trial_run(&t, whole);
    trial_run(&t, half);
    assert_int_equal(ht_bilevel_commit(half), HT_OK);
    ht_bilevel_result r = trial_run(&t, half);
    assert_distance(set_distance(r.theta, want.theta), tolerance(&t), "theta");
    ht_bilevel_free(whole);
    ht_bilevel_free(half);
    trial_free(&t);
}

static void reversible_explain_says_what_is_kept(void **state)
{
    (void)state;
    trial t;
    char *text = NULL;
    size_t size;
    trial_new(&t, 0, HT_F64, 640, PLAIN);
    t.problem.outer = trial_square;
    ht_bilevel *b = trial_bilevel(&t, (ht_bilevel_options){.method = HT_REVERSIBLE});
    FILE *f = open_memstream(&text, &size);
    ht_bilevel_explain(b, f);
    fclose(f);
    assert_contains(text, "method    HT_REVERSIBLE");
    assert_contains(text, "640 steps forward, as many undone and back, in integers");
    assert_contains(text, "of remainders room for 0.2 bits a parameter and step");
    free(text);
    ht_bilevel_free(b);
    trial_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ratio_of_gives_the_nearest_fraction),
        cmocka_unit_test(ratio_multiply_is_undone_bit_for_bit),
        cmocka_unit_test(ratio_multiply_keeps_the_bits_that_are_lost),
        cmocka_unit_test(reversible_run_matches_closed_form),
        cmocka_unit_test(reversible_run_differentiates_the_fraction_that_ran),
        cmocka_unit_test(reversible_run_two_hundred_return_to_their_start),
        cmocka_unit_test(reversible_new_takes_the_bytes_it_says),
        cmocka_unit_test(reversible_memory_of_ten_thousand_steps_is_bits),
        cmocka_unit_test(reversible_new_refuses_what_cannot_be_undone),
        cmocka_unit_test(reversible_run_refuses_a_momentum_without_room),
        cmocka_unit_test(reversible_run_says_where_it_leaves_its_range),
        cmocka_unit_test(reversible_run_refuses_a_batch_that_changes),
        cmocka_unit_test(reversible_run_of_a_hessian_that_is_not_symmetric),
        cmocka_unit_test(reversible_run_of_many_outer_losses),
        cmocka_unit_test(reversible_commit_goes_on),
        cmocka_unit_test(reversible_explain_says_what_is_kept),
    };
    return TEST_MAIN(tests);
}
