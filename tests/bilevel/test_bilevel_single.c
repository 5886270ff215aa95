/* SPDX-License-Identifier: MIT */
/* test_bilevel_single.c: single loops on quadratics whose hypergradient and solution are
 * known, whole and split into batches. Read next: bilevel/ht_single.h. */
#include "test_stationary.h"

/* The quadratic of test_stationary.h is the mean of BATCHES of them: batch j has a + e_j,
 * and so on, the e of a pair of batches being each other's negative. */
enum { BATCHES = 8, N = 6, M = 3 };

static const char *const part_name[] = {"a", "b", "c", "d", "linear"};

typedef struct split {
    trial t;
    blocks q;
    double solution[M];
    ht_set *batch[BATCHES];
} split;

/* dF/de at e, of the whole. */
static void gradient_at(const blocks *q, const double *e, double *gradient)
{
    double right[MOST], w[MOST], v[MOST], part[MOST];
    multiply(&q->b, false, e, right);
    for (int i = 0; i < N; i++) right[i] = -right[i];
    matrix_solve(&q->a, right, w);
    multiply(&q->c, false, w, right);
    for (int i = 0; i < N; i++) right[i] += q->linear[i];
    matrix_solve(&q->a, right, v);
    multiply(&q->b, true, v, part);
    multiply(&q->d, false, e, gradient);
    for (int j = 0; j < M; j++) gradient[j] -= part[j];
}

static void eta_of(const split *p, double *e)
{
    for (int j = 0; j < M; j++)
        e[j] = ht_tensor_get(ht_set_tensor(p->t.problem.eta, "e"), j);
}

static double square_of(const split *p)
{
    double e[MOST], g[MOST], square = 0;
    eta_of(p, e);
    gradient_at(&p->q, e, g);
    for (int j = 0; j < M; j++) square += g[j] * g[j];
    return square;
}

/* From the solution, relative. */
static double distance_of(const split *p)
{
    double e[MOST], off = 0, size = 0;
    eta_of(p, e);
    for (int j = 0; j < M; j++) {
        off = hypot(off, e[j] - p->solution[j]);
        size = hypot(size, p->solution[j]);
    }
    return off / size;
}

/* The gradient is affine: its zero. */
static void solve(split *p)
{
    matrix h = {.rows = M, .columns = M};
    double zero[MOST] = {0}, right[MOST], column[MOST];
    gradient_at(&p->q, zero, right);
    for (int j = 0; j < M; j++) {
        double unit[MOST] = {0};
        unit[j] = 1;
        gradient_at(&p->q, unit, column);
        for (int i = 0; i < M; i++) h.at[i][j] = column[i] - right[i];
    }
    for (int i = 0; i < M; i++) right[i] = -right[i];
    matrix_solve(&h, right, p->solution);
}

/* Each batch once, then drawn ones: a product of batches that are not independent would
 * not be that of their means. */
static ht_status fill(uint64_t step, ht_set *batch, void *user)
{
    const split *p = user;
    uint64_t j = step < BATCHES ? step : ht_random_bits(11, 2, step) % BATCHES;
    return ht_set_copy(batch, p->batch[j]);
}

/* What a batch is off by, of a, c and d symmetric; that of each other one is the last
 * one's, negative. */
static void draw_batch(ht_set *batch, const ht_set *whole, const ht_set *opposite,
                       double noise)
{
    for (size_t k = 0; k < 5; k++) {
        ht_tensor *t = ht_set_tensor(batch, part_name[k]);
        const ht_tensor *mean = ht_set_tensor(whole, part_name[k]);
        int64_t rows = ht_tensor_shape(t).dim[0], columns = ht_tensor_shape(t).dim[1];
        for (int64_t i = 0; i < rows * columns; i++) {
            int64_t mirror = i % columns * columns + i / columns;
            double value = ht_tensor_get(mean, i) + noise * draw();
            if (opposite)
                value = 2 * ht_tensor_get(mean, i) -
                        ht_tensor_get(ht_set_tensor(opposite, part_name[k]), i);
            else if (rows == columns && mirror < i)
                value = ht_tensor_get(t, mirror);
            ht_tensor_set(t, i, value);
        }
    }
}

/* noise 0: no batches, all the data at once. */
static void split_open(split *p, int seed, double noise)
{
    draws = (uint64_t)(1000 * seed);
    blocks_open(&p->t, &p->q, N, M);
    ht_tensor *d = ht_set_tensor(p->t.problem.inner_data, "d"),
              *b = ht_set_tensor(p->t.problem.inner_data, "b");
    for (int j = 0; j < M; j++) ht_tensor_set(d, j * M + j, p->q.d.at[j][j] += 1);
    for (int k = 0; k < N * M; k++) ht_tensor_set(b, k, p->q.b.at[k / M][k % M] *= 0.4);
    solve(p);
    p->t.problem.tolerance = 0;
    p->t.problem.user = p;
    const ht_set *whole = p->t.problem.inner_data;
    for (int j = 0; j < BATCHES; j++) {
        p->batch[j] = ht_set_clone(whole, 0);
        draw_batch(p->batch[j], whole, j % 2 ? p->batch[j - 1] : NULL, noise);
    }
    if (noise > 0) p->t.problem.inner_batch = p->t.problem.outer_batch = fill;
}

static void split_close(split *p)
{
    for (int j = 0; j < BATCHES; j++) ht_set_free(p->batch[j]);
    trial_close(&p->t);
}

static ht_single *loop_open(split *p, const ht_single_options *o)
{
    ht_single *single = ht_single_new(p->t.ctx, &p->t.problem, o);
    if (!single) fail_msg("%s", ht_context_message(p->t.ctx));
    return single;
}

static void loop_run(split *p, ht_single *single, int64_t steps)
{
    for (int64_t k = 0; k < steps; k++)
        if (ht_single_step(single) != HT_OK) fail_msg("%s", ht_context_message(p->t.ctx));
}

/* How far e is from the solution after so many steps on the whole data. */
static double distance_after(const ht_single_options *o, int seed, int64_t steps)
{
    split p;
    split_open(&p, seed, 0);
    ht_single *single = loop_open(&p, o);
    loop_run(&p, single, steps);
    double distance = distance_of(&p);
    ht_single_free(single);
    split_close(&p);
    return distance;
}

/* What each method is run with: on batches, and to the end on all the data. BOME has no
 * batches: its penalty is a ratio of products of gradients, which noise makes another
 * one. PBGD's penalty multiplies the noise of z. */
typedef struct recipe {
    const char *name;
    double noise;  /* of the batches */
    int64_t steps; /* on batches, until |dF/de|^2 has fallen by 10^4 */
    ht_single_options noisy;
    int64_t whole_steps; /* to 1e-8; 0: it is biased */
    ht_single_options whole;
} recipe;

#define RATES(inner, linear, outer) \
    .rate_inner = inner, .rate_linear = linear, .rate_outer = outer
#define BATCHED .inner_batches = BATCHES, .outer_batches = BATCHES
#define ONE     .inner_batches = 1, .outer_batches = 1

static const recipe recipes[] = {
    {"SOBA",
     0.03,
     8000,
     {.method = HT_SOBA, RATES(0.2, 0.2, 0.05), .decay = 0.5},
     2000,
     {.method = HT_SOBA, RATES(0.3, 0.3, 0.1)}},
    {"SABA",
     0.03,
     2000,
     {.method = HT_SABA, RATES(0.1, 0.1, 0.02), BATCHED},
     1000,
     {.method = HT_SABA, RATES(0.3, 0.3, 0.1), ONE}},
    {"stocBiO",
     0.03,
     2000,
     {.method = HT_STOCBIO,
      RATES(0.2, 0.4, 0.1),
      .decay = 0.6,
      .inner_steps = 5,
      .linear_steps = 40},
     300,
     {.method = HT_STOCBIO, RATES(0.3, 0.5, 0.1), .inner_steps = 5, .linear_steps = 100}},
    {"MRBO",
     0.03,
     2000,
     {.method = HT_MRBO,
      RATES(0.2, 0.4, 0.1),
      .decay = 0.33,
      .linear_steps = 40,
      .momentum = 0.5},
     500,
     {.method = HT_MRBO, RATES(0.3, 0.5, 0.1), .linear_steps = 100, .momentum = 0.9}},
    {"VRBO",
     0.03,
     300,
     {.method = HT_VRBO,
      RATES(0.1, 0.4, 0.1),
      .linear_steps = 40,
      .inner_steps = 3,
      .period = 3,
      BATCHED},
     300,
     {.method = HT_VRBO,
      RATES(0.3, 0.5, 0.1),
      .linear_steps = 100,
      .inner_steps = 2,
      .period = 5,
      ONE}},
    {"FSLA",
     0.03,
     8000,
     {.method = HT_FSLA, RATES(0.2, 0.2, 0.1), .decay = 0.5, .momentum = 0.5},
     2000,
     {.method = HT_FSLA, RATES(0.3, 0.3, 0.1), .momentum = 0.9}},
    {"AmIGO",
     0.03,
     2000,
     {.method = HT_AMIGO,
      RATES(0.2, 0.2, 0.1),
      .decay = 0.6,
      .inner_steps = 5,
      .linear_steps = 5},
     500,
     {.method = HT_AMIGO, RATES(0.3, 0.3, 0.1), .inner_steps = 5, .linear_steps = 5}},
    {"F2SA",
     0.03,
     2000,
     {.method = HT_F2SA,
      .rate_inner = 0.2,
      .rate_outer = 0.05,
      .penalty = 10,
      .inner_steps = 5,
      .decay = 0.5,
      .growth = 0.25},
     0,
     {.method = HT_F2SA,
      .rate_inner = 0.3,
      .rate_outer = 0.1,
      .penalty = 100,
      .inner_steps = 20}},
    {"BOME",
     0,
     4000,
     {.method = HT_BOME,
      .rate_inner = 0.5,
      .rate_outer = 0.01,
      .penalty = 0.5,
      .inner_steps = 20},
     0,
     {.method = HT_BOME,
      .rate_inner = 0.5,
      .rate_outer = 0.01,
      .penalty = 0.5,
      .inner_steps = 60}},
    {"PBGD",
     0.003,
     10000,
     {.method = HT_PBGD,
      .rate_inner = 0.4,
      .rate_outer = 0.02,
      .penalty = 10,
      .inner_steps = 40,
      .decay = 0.4,
      .growth = 0.35},
     0,
     {.method = HT_PBGD,
      .rate_inner = 0.5,
      .rate_outer = 0.005,
      .penalty = 10,
      .inner_steps = 40}},
};
enum { RECIPES = sizeof recipes / sizeof *recipes, SEEDS = 3 };

static void each_method_falls_by_ten_thousand_on_batches(void **state)
{
    (void)state;
    for (int k = 0; k < RECIPES * SEEDS; k++) {
        split p;
        const recipe *r = &recipes[k / SEEDS];
        split_open(&p, k % SEEDS, r->noise);
        double before = square_of(&p);
        ht_single *single = loop_open(&p, &r->noisy);
        loop_run(&p, single, r->steps);
        print_message("# %s: |dF/de|^2 %.2e of %.2e\n", r->name, square_of(&p), before);
        if (!(square_of(&p) <= 1e-4 * before))
            fail_msg("%s: %.2e of %.2e", r->name, square_of(&p), before);
        ht_single_free(single);
        split_close(&p);
    }
}

/* |dF/de| by HT_IMPLICIT, where the loop left e. */
static double implicit_norm(split *p)
{
    ht_bilevel_options o = {.method = HT_IMPLICIT};
    double norm = 0;
    p->t.problem.tolerance = 1e-13;
    ht_bilevel *b = trial_bilevel(&p->t, o);
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    for (int j = 0; j < M; j++) norm = hypot(norm, found(r, "e", j));
    ht_bilevel_free(b);
    p->t.problem.tolerance = 0;
    return norm;
}

static void each_unbiased_method_ends_at_the_implicit_solution(void **state)
{
    (void)state;
    for (int k = 0; k < RECIPES * SEEDS; k++) {
        split p;
        const recipe *r = &recipes[k / SEEDS];
        if (!r->whole_steps) continue;
        split_open(&p, k % SEEDS, 0);
        ht_single *single = loop_open(&p, &r->whole);
        loop_run(&p, single, r->whole_steps);
        print_message("# %s: off by %.1e, |dF/de| by HT_IMPLICIT %.1e\n", r->name,
                      distance_of(&p), implicit_norm(&p));
        if (!(distance_of(&p) <= 1e-12 && implicit_norm(&p) <= 1e-8))
            fail_msg("%s: off by %.2e, %.2e", r->name, distance_of(&p),
                     implicit_norm(&p));
        ht_single_free(single);
        split_close(&p);
    }
}

/* By O(1 / penalty); BOME's is of its rate, since it finds the penalty by itself. */
static void penalty_bias_halves_when_the_penalty_doubles(void **state)
{
    (void)state;
    for (int k = 0; k < RECIPES * SEEDS; k++) {
        const recipe *r = &recipes[k / SEEDS];
        ht_single_options o = r->whole;
        int64_t steps = 3000;
        if (o.penalty == 0) continue;
        double once = distance_after(&o, k % SEEDS, steps);
        if (o.method == HT_BOME)
            o.rate_outer /= 2, steps *= 2;
        else
            o.penalty *= 2;
        double twice = distance_after(&o, k % SEEDS, steps);
        print_message("# %s: off by %.2e, then by %.2e\n", r->name, once, twice);
        if (!(fabs(twice / once - 0.5) < 0.05))
            fail_msg("%s: %.3f", r->name, twice / once);
    }
}

/* Going on, and memory. */

static void save(const split *p, const ht_single *single, ht_set *copy[3])
{
    copy[0] = ht_set_clone(p->t.problem.theta, 0);
    copy[1] = ht_set_clone(p->t.problem.eta, 0);
    copy[2] = ht_set_clone(ht_single_state(single), 0);
}

static void assert_same(const ht_set *a, const ht_set *b)
{
    for (int i = 0; i < ht_set_count(a); i++)
        if (memcmp(ht_tensor_data(ht_set_at(a, i)), ht_tensor_data(ht_set_at(b, i)),
                   ht_tensor_bytes(ht_set_at(a, i))))
            fail_msg("%s differs", ht_set_name(a, i));
}

static void free_copies(ht_set *copy[3])
{
    for (int k = 0; k < 3; k++) ht_set_free(copy[k]);
}

#define SAVED "test_bilevel_single.safetensors"

static void a_restored_loop_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    for (int k = 0; k < RECIPES; k++) {
        split p;
        ht_set *half[3], *end[3], *again[3];
        split_open(&p, k, 0.03);
        ht_single *single = loop_open(&p, &recipes[k].noisy);
        loop_run(&p, single, 37);
        save(&p, single, half);
        assert_int_equal(ht_set_write(half[2], SAVED), HT_OK);
        loop_run(&p, single, 23);
        save(&p, single, end);
        ht_single_free(single);
        ht_set_copy(p.t.problem.theta, half[0]);
        ht_set_copy(p.t.problem.eta, half[1]);
        single = loop_open(&p, &recipes[k].noisy);
        ht_set *read = ht_set_clone(end[2], 0);
        ht_set_read(read, SAVED);
        assert_int_equal(ht_single_restore(single, read), HT_OK);
        ht_set_free(read);
        loop_run(&p, single, 23);
        save(&p, single, again);
        for (int i = 0; i < 3; i++) assert_same(end[i], again[i]);
        assert_int_equal(ht_tensor_get(ht_set_tensor(again[2], "step"), 0), 60);
        remove(SAVED);
        free_copies(half), free_copies(end), free_copies(again);
        ht_single_free(single);
        split_close(&p);
    }
}

static void steps_allocate_nothing_and_bytes_are_the_most_there_are(void **state)
{
    (void)state;
    for (int k = 0; k < RECIPES; k++) {
        split p;
        split_open(&p, k, 0.03);
        counted *memory = &p.t.memory;
        size_t live = memory->peak = memory->live;
        ht_single *single = loop_open(&p, &recipes[k].noisy);
        assert_int_equal(memory->peak - live, ht_single_bytes(single));
        uint64_t calls = memory->calls;
        size_t made = memory->live;
        loop_run(&p, single, 30);
        assert_int_equal(memory->calls, calls);
        assert_int_equal(memory->live, made);
        ht_single_free(single);
        assert_int_equal(memory->live, live);
        split_close(&p);
    }
}

static ht_var wide_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                        void *user)
{
    (void)user;
    ht_var w = ht_get(theta, "w"), off = ht_sub(ht_matmul(ht_get(batch, "x"), w), 1);
    return ht_add(ht_mean(ht_square(off)),
                  ht_mul(ht_sum(ht_square(w)), ht_get(eta, "e")));
}

/* More of theta than memory is rounded up by: what is written behind it is noticed. */
static void a_wide_theta_stays_within_its_memory(void **state)
{
    (void)state;
    counted memory = {0};
    ht_context *ctx = counted_context(&memory, 1);
    ht_set *theta = ht_set_new(ctx), *eta = ht_set_new(ctx), *data = ht_set_new(ctx);
    ht_tensor_fill(ht_set_add(theta, "w", HT_F32, HT_SHAPE(300, 1)), 0);
    ht_tensor_fill(ht_set_add(eta, "e", HT_F32, HT_SCALAR), 1);
    ht_tensor_fill(ht_set_add(data, "x", HT_F32, HT_SHAPE(4, 300)), 0.1);
    ht_bilevel_problem problem = {.inner = wide_loss,
                                  .outer = wide_loss,
                                  .theta = theta,
                                  .eta = eta,
                                  .inner_data = data,
                                  .outer_data = data};
    ht_single *single = ht_single_new(
        ctx, &problem, &(ht_single_options){.method = HT_SOBA, RATES(0.01, 0.01, 0.01)});
    for (int k = 0; k < 3; k++) assert_int_equal(ht_single_step(single), HT_OK);
    ht_single_free(single);
    ht_set_free(theta);
    ht_set_free(eta);
    ht_set_free(data);
    ht_context_free(ctx);
    assert_int_equal(memory.live, 0);
}

/* Memory that is not to be had is an error, wherever it is, and all is given back. */
static void each_failed_allocation_is_an_error(void **state)
{
    (void)state;
    for (int k = 0; k < RECIPES; k++) {
        bool failed = true;
        for (uint64_t i = 1; failed; i++) {
            split p;
            split_open(&p, k, 0.03);
            p.t.memory.fail_at = p.t.memory.calls + i;
            ht_single *single = ht_single_new(p.t.ctx, &p.t.problem, &recipes[k].noisy);
            failed = !single;
            if (failed) assert_int_equal(ht_context_status(p.t.ctx), HT_ERROR_MEMORY);
            p.t.memory.fail_at = 0;
            ht_context_clear(p.t.ctx);
            ht_single_free(single);
            split_close(&p);
        }
    }
}

/* theta and eta of f32: as far as their rounding. */
static void single_precision_is_solved_to_its_rounding(void **state)
{
    (void)state;
    for (int k = 0; k < RECIPES; k++) {
        split p;
        split_open(&p, 1, 0);
        ht_bilevel_problem *of = &p.t.problem;
        ht_set **const set[] = {&of->theta, &of->eta, &of->inner_data};
        for (int i = 0; i < 3; i++) {
            ht_set *narrow = ht_set_clone(*set[i], HT_F32);
            ht_set_free(*set[i]);
            *set[i] = narrow;
        }
        of->outer_data = of->inner_data;
        ht_single *single = loop_open(&p, &recipes[k].whole);
        loop_run(&p, single, 500);
        double wide = distance_after(&recipes[k].whole, 1, 500);
        if (!(fabs(distance_of(&p) - wide) < (recipes[k].whole_steps ? 1e-6 : 1e-3)))
            fail_msg("%s: %.3e, in f64 %.3e", recipes[k].name, distance_of(&p), wide);
        assert_true(isfinite(ht_single_outer(single)));
        ht_single_free(single);
        split_close(&p);
    }
}

/* Refusing. */

static void assert_refused(split *p, const ht_single_options *o, const char *words)
{
    ht_single *single = ht_single_new(p->t.ctx, &p->t.problem, o);
    if (single || !strstr(ht_context_message(p->t.ctx), words) ||
        !strstr(ht_context_message(p->t.ctx), "hint: "))
        fail_msg("%s: %s", words, ht_context_message(p->t.ctx));
    ht_context_clear(p->t.ctx);
}

static void options_that_do_not_go_together_are_refused(void **state)
{
    (void)state;
#define SOBA         .method = HT_SOBA, RATES(1, 1, 1)
#define SABA         .method = HT_SABA, RATES(1, 1, 1)
#define SERIES(name) .method = name, RATES(1, 1, 1), .linear_steps = 3
#define F2SA         .method = HT_F2SA, .rate_inner = 1, .rate_outer = 1, .penalty = 1
    const struct {
        ht_single_options o;
        const char *words;
    } bad[] = {
        {{.method = HT_SOBA},
         "rate_inner is 0, but options.method is HT_SOBA, which need"},
        {{.method = HT_SOBA, RATES(1, 0, 1)},
         "rate_linear is 0, but options.method is HT_SOBA"},
        {{.method = HT_SOBA, RATES(1, 1, 0)},
         "rate_outer is 0, but options.method is HT_SOBA"},
        {{SOBA, .penalty = 1},
         "penalty is set, but options.method is HT_SOBA, which has"},
        {{SOBA, .inner_steps = 1}, "inner_steps is set, but options.method is HT_SOBA"},
        {{SOBA, .growth = 1}, "growth is set, but options.method is HT_SOBA"},
        {{SOBA, .decay = 2}, "decay is 2, but"},
        {{.method = HT_SOBA, RATES(-1, 1, 1)}, "rate_inner is -1, but"},
        {{F2SA}, "inner_steps is 0, but options.method is HT_F2SA, which needs it"},
        {{F2SA, .inner_steps = 1, .rate_linear = 1}, "rate_linear is set, but options.m"},
        {{F2SA, .inner_steps = 1, .momentum = 0.5},
         "momentum is set, but options.method"},
        {{F2SA, .inner_steps = -1}, "inner_steps is -1, but"},
        {{SABA, .inner_batches = 8}, "outer_batches is 0, but options.method is HT_SABA"},
        {{SABA, .outer_batches = 8}, "inner_batches is 0, but options.method is HT_SABA"},
        {{SABA, BATCHED, .period = 2}, "period is set, but options.method is HT_SABA"},
        {{SERIES(HT_STOCBIO)}, "inner_steps is 0, but options.method is HT_STOCBIO"},
        {{SERIES(HT_AMIGO)}, "inner_steps is 0, but options.method is HT_AMIGO"},
        {{SERIES(HT_MRBO)}, "momentum is 0, but options.method is HT_MRBO"},
        {{SERIES(HT_MRBO), .momentum = 1}, "momentum is 1, but it lies in (0, 1)"},
        {{SERIES(HT_MRBO), .momentum = 0.5, .inner_steps = 3}, "inner_steps is set, but"},
        {{SERIES(HT_VRBO), BATCHED, .inner_steps = 3},
         "period is 0, but options.method is"},
        {{SERIES(HT_VRBO), .period = 3, .inner_steps = 3}, "inner_batches is 0, but"},
        {{SERIES(HT_FSLA), .momentum = 0.5},
         "linear_steps is set, but options.method is"},
        {{.method = HT_FSLA, RATES(1, 1, 1)},
         "momentum is 0, but options.method is HT_FSLA"},
        {{.method = HT_BOME, RATES(1, 0, 1), .penalty = 1, .inner_steps = 1, .growth = 1},
         "growth is set, but options.method is HT_BOME"},
        {{.method = HT_BOME, RATES(1, 1, 1), .penalty = 1, .inner_steps = 1},
         "rate_linear is set, but options.method is HT_BOME"},
        {{.method = HT_PBGD, RATES(1, 0, 1), .inner_steps = 1},
         "penalty is 0, but options.method is HT_PBGD"},
    };
    split p;
    split_open(&p, 0, 0.03);
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        assert_refused(&p, &bad[k].o, bad[k].words);
    p.t.problem.outer_batch = NULL;
    assert_refused(&p, &recipes[1].noisy,
                   "outer_batches is 8, but problem.outer_batch is");
    split_close(&p);
}

static void set_nothing(const ht_vars *eta, ht_vars *theta, void *user)
{
    (void)eta, (void)theta, (void)user;
}

static void problems_whose_training_says_more_are_refused(void **state)
{
    (void)state;
    const ht_update_group group = {.pattern = "w"};
    split p;
    split_open(&p, 0, 0.03);
    const ht_bilevel_problem whole = p.t.problem;
    ht_bilevel_problem *of = &p.t.problem;
    const ht_single_options o = {SOBA};
    of->init = set_nothing, assert_refused(&p, &o, "problem.init"), *of = whole;
    of->after = set_nothing, assert_refused(&p, &o, "problem.after"), *of = whole;
    of->state = of->eta, assert_refused(&p, &o, "problem.state"), *of = whole;
    of->start = 3, assert_refused(&p, &o, "problem.start"), *of = whole;
    of->tolerance = 1, assert_refused(&p, &o, "problem.tolerance"), *of = whole;
    of->update.groups = &group, of->update.n_groups = 1;
    assert_refused(&p, &o, "problem.update.groups"), *of = whole;
    of->update.decay = HT_FIXED(0.1);
    assert_refused(&p, &o, "problem.update.decay"), *of = whole;
    of->theta = of->eta, assert_refused(&p, &o, "theta is the set eta"), *of = whole;
    split_close(&p);
}

/* Another method's state has other names. */
static void a_state_of_another_loop_is_refused(void **state)
{
    (void)state;
    split p;
    split_open(&p, 0, 0.03);
    ht_single *single = loop_open(&p, &recipes[0].noisy),
              *other = loop_open(&p, &recipes[RECIPES - 1].noisy);
    assert_int_not_equal(ht_single_restore(single, ht_single_state(other)), HT_OK);
    ht_context_clear(p.t.ctx);
    ht_set *copy = ht_set_clone(ht_single_state(single), 0);
    ht_tensor_fill(ht_set_tensor(copy, "step"), (double)NAN);
    assert_int_not_equal(ht_single_restore(single, copy), HT_OK);
    assert_non_null(strstr(ht_context_message(p.t.ctx), "\"step\" of the state"));
    ht_context_clear(p.t.ctx);
    ht_set_free(copy);
    ht_single_free(single);
    ht_single_free(other);
    split_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_method_falls_by_ten_thousand_on_batches),
        cmocka_unit_test(each_unbiased_method_ends_at_the_implicit_solution),
        cmocka_unit_test(penalty_bias_halves_when_the_penalty_doubles),
        cmocka_unit_test(a_restored_loop_goes_on_to_the_same_bits),
        cmocka_unit_test(steps_allocate_nothing_and_bytes_are_the_most_there_are),
        cmocka_unit_test(a_wide_theta_stays_within_its_memory),
        cmocka_unit_test(each_failed_allocation_is_an_error),
        cmocka_unit_test(single_precision_is_solved_to_its_rounding),
        cmocka_unit_test(options_that_do_not_go_together_are_refused),
        cmocka_unit_test(problems_whose_training_says_more_are_refused),
        cmocka_unit_test(a_state_of_another_loop_is_refused),
    };
    return TEST_MAIN(tests);
}
