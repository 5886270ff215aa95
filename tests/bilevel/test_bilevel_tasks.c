/* SPDX-License-Identifier: MIT */
/* test_bilevel_tasks.c: many trainings of one eta: closed forms of meta-learning, by any
 * number of threads. Read next: bilevel/tasks.c. */
#include "test_stationary.h"

enum { TASKS = 7, SIZE = 4 };

/* MAML on quadratics: task k has its own centre c_k, which the batch callbacks are given.
 *   L = |w - c|^2 / 2, w_0 = m; F = |w_T - c'|^2 / 2, c' = c + 1
 *   w_T = c + (1 - rate)^T (m - c),   dF/dm = (1 - rate)^T (w_T - c') */
typedef struct centre {
    double at[SIZE];
    int64_t calls;
} centre;

typedef struct meta {
    trial t;
    centre centre[TASKS];
    void *user[TASKS];
} meta;

static ht_var meta_inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    (void)eta, (void)user;
    ht_var off = ht_sub(ht_get(theta, "w"), ht_get(batch, "c"));
    return ht_mul(ht_sum(ht_square(off)), 0.5);
}

static void meta_init(const ht_vars *eta, ht_vars *theta, void *user)
{
    (void)user;
    ht_vars_set(theta, "w", ht_get(eta, "m"));
}

static ht_status fill(ht_set *batch, void *user, double shift)
{
    centre *c = user;
    ht_tensor *t = ht_set_tensor(batch, "c");
    for (int i = 0; i < SIZE; i++) ht_tensor_set(t, i, c->at[i] + shift);
    c->calls++;
    return HT_OK;
}

static ht_status meta_inner_batch(uint64_t step, ht_set *batch, void *user)
{
    (void)step;
    return fill(batch, user, 0);
}

static ht_status meta_outer_batch(uint64_t step, ht_set *batch, void *user)
{
    (void)step;
    return fill(batch, user, 1);
}

static void meta_open(meta *m, int threads)
{
    trial *t = &m->t;
    memset(m, 0, sizeof *m);
    t->ctx = ht_context_new(&(ht_context_options){
        .alloc = counted_alloc, .user = &t->memory, .threads = threads, .seed = 5});
    t->problem = (ht_bilevel_problem){.inner = meta_inner,
                                      .outer = meta_inner,
                                      .init = meta_init,
                                      .theta = ht_set_new(t->ctx),
                                      .eta = ht_set_new(t->ctx),
                                      .inner_data = ht_set_new(t->ctx),
                                      .inner_batch = meta_inner_batch,
                                      .outer_batch = meta_outer_batch,
                                      .update = HT_SGD(0.1),
                                      .steps = 6,
                                      .tasks = m->user,
                                      .n_tasks = TASKS};
    t->problem.outer_data = ht_set_new(t->ctx);
    ht_set_add(t->problem.theta, "w", HT_F64, HT_SHAPE(SIZE));
    ht_set_add(t->problem.inner_data, "c", HT_F64, HT_SHAPE(SIZE));
    ht_set_add(t->problem.outer_data, "c", HT_F64, HT_SHAPE(SIZE));
    ht_tensor *eta = ht_set_add(t->problem.eta, "m", HT_F64, HT_SHAPE(SIZE));
    draws = 100;
    for (int i = 0; i < SIZE; i++) ht_tensor_set(eta, i, draw());
    for (int k = 0; k < TASKS; k++) {
        m->user[k] = &m->centre[k];
        for (int i = 0; i < SIZE; i++) m->centre[k].at[i] = draw();
    }
}

static void meta_close(meta *m)
{
    ht_set_free(m->t.problem.outer_data);
    m->t.problem.outer_data = NULL;
    trial_close(&m->t);
}

static double start(const meta *m, int i)
{
    return ht_tensor_get(ht_set_tensor(m->t.problem.eta, "m"), i);
}

/* factor: dw_T/dm as the method takes it. */
static void assert_meta(const meta *m, ht_bilevel_result r, double factor)
{
    double want[SIZE] = {0}, outer = 0, rho = pow(0.9, 6);
    for (int k = 0; k < TASKS; k++) {
        double task = 0;
        for (int i = 0; i < SIZE; i++) {
            double off = rho * (start(m, i) - m->centre[k].at[i]) - 1;
            want[i] += factor * off / TASKS;
            task += off * off / 2;
        }
        assert_near(r.outers[k], task, 1e-13);
        outer += task / TASKS;
    }
    assert_near(r.outer, outer, 1e-13);
    assert_all(r, "m", want, SIZE, 1e-13);
}

static void tasks_of_maml_match_closed_form(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        meta m;
        meta_open(&m, threads);
        ht_bilevel *b = trial_bilevel(&m.t, (ht_bilevel_options){0});
        uint64_t calls = m.t.memory.calls;
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        assert_meta(&m, r, pow(0.9, 6));
        assert_int_equal(r.forward_steps, 6 * TASKS);
        assert_int_equal(m.t.memory.calls, calls);
        for (int k = 0; k < TASKS; k++) assert_true(m.centre[k].calls > 1);
        assert_true(ht_bilevel_evaluate(b, 0).outer == r.outer);
        ht_bilevel_free(b);
        b = trial_bilevel(&m.t, (ht_bilevel_options){.method = HT_FIRST_ORDER});
        r = ht_bilevel_run(b, 0);
        assert_meta(&m, r, 1); /* dw_T/dm taken as 1 */
        assert_contains(r.note, "task 0: first order");
        ht_bilevel_free(b);
        meta_close(&m);
    }
}

static void tasks_have_the_same_bits_by_any_number_of_threads(void **state)
{
    (void)state;
    double gradient[SIZE];
    for (int threads = 1; threads <= 5; threads++) {
        meta m;
        meta_open(&m, threads);
        ht_bilevel *b = trial_bilevel(&m.t, (ht_bilevel_options){0});
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        for (int i = 0; i < SIZE; i++) {
            if (threads == 1) gradient[i] = found(r, "m", i);
            assert_true(gradient[i] == found(r, "m", i));
        }
        ht_outer_result o = ht_bilevel_minimize(
            b, &(ht_outer_options){.update = HT_SGD(1), .steps = 200, .tolerance = 1e-9});
        assert_int_equal(o.end, HT_OUTER_TOLERANCE);
        ht_bilevel_free(b);
        meta_close(&m);
    }
}

static void tasks_run_backwards_match_those_that_are_kept(void **state)
{
    (void)state;
    meta m;
    meta_open(&m, 3);
    m.t.problem.update = HT_MOMENTUM(0.1, 0.5);
    ht_bilevel *b = trial_bilevel(&m.t, (ht_bilevel_options){.method = HT_REVERSIBLE}),
               *kept = trial_bilevel(&m.t, (ht_bilevel_options){0});
    ht_bilevel_result r = ht_bilevel_run(b, 0), want = ht_bilevel_run(kept, 0);
    for (int i = 0; i < SIZE; i++)
        assert_near(found(r, "m", i), found(want, "m", i), 1e-13);
    assert_near(r.outer, want.outer, 1e-13);
    assert_true(r.remainder_bits > 0 && want.remainder_bits == 0);
    ht_bilevel_free(b);
    ht_bilevel_free(kept);
    meta_close(&m);
}

/* The implicit form: L = |w - c|^2 / 2 + |w - m|^2, trained to its end: w = (c + 2 m) /
 * 3, dF/dm = 2 / 3 (w - c'). */
static ht_var proximal_inner(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *batch, void *user)
{
    ht_var off = ht_sub(ht_get(theta, "w"), ht_get(eta, "m"));
    return ht_add(meta_inner(theta, eta, batch, user), ht_sum(ht_square(off)));
}

static void tasks_of_implicit_maml_match_closed_form(void **state)
{
    (void)state;
    meta m;
    double want[SIZE] = {0};
    meta_open(&m, 2);
    m.t.problem.inner = proximal_inner;
    m.t.problem.steps = 300;
    ht_bilevel *b = trial_bilevel(&m.t, (ht_bilevel_options){.method = HT_IMPLICIT});
    ht_bilevel_result r = ht_bilevel_run(b, 0);
    for (int k = 0; k < TASKS; k++)
        for (int i = 0; i < SIZE; i++) {
            double c = m.centre[k].at[i];
            want[i] += 2.0 / 3 * ((c + 2 * start(&m, i)) / 3 - c - 1) / TASKS;
        }
    assert_all(r, "m", want, SIZE, 1e-12);
    ht_bilevel_free(b);
    meta_close(&m);
}

static ht_status failing_batch(uint64_t step, ht_set *batch, void *user)
{
    (void)step, (void)batch, (void)user;
    return HT_ERROR_FILE;
}

static ht_var two_losses(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                         void *user)
{
    ht_var one = ht_reshape(meta_inner(theta, eta, batch, user), HT_SHAPE(1));
    return ht_concat(2, ((ht_var[]){one, one}), 0);
}

/* A task that is not finite is named, whoever ran it. */
static void tasks_name_what_is_not_finite(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        meta m;
        meta_open(&m, threads);
        m.centre[4].at[1] = (double)NAN;
        ht_bilevel *b = trial_bilevel(&m.t, (ht_bilevel_options){0});
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        assert_contains(r.note, "task 4: the training is not finite from step 0 on");
        assert_int_equal(r.bad_where, HT_BAD_TRAINING);
        assert_true(isnan(r.inner_residual) && isnan(r.outer));
        assert_int_equal(r.inner_steps, 6);
        ht_bilevel_free(b);
        meta_close(&m);
    }
}

static void assert_said(meta *m, const char *words)
{
    assert_contains(ht_context_message(m->t.ctx), words);
    ht_context_clear(m->t.ctx);
}

static void tasks_refuse_what_is_of_one_training(void **state)
{
    (void)state;
    meta m;
    meta_open(&m, 2);
    m.t.problem.outer_batch = failing_batch;
    ht_bilevel *b = trial_bilevel(&m.t, (ht_bilevel_options){0});
    assert_null(ht_bilevel_run(b, 0).gradient);
    assert_said(&m, "outer_batch failed");
    assert_null(ht_bilevel_run(b, 0).gradient); /* no worker kept an error of before */
    assert_said(&m, "outer_batch failed");
    ht_bilevel_free(b);
    m.t.problem.outer_batch = meta_outer_batch;
    const ht_bilevel_options warm = {.method = HT_IMPLICIT, .warm = true};
    assert_null(ht_bilevel_new(m.t.ctx, &m.t.problem, &warm));
    assert_said(&m, "options.warm is set, and so is problem.tasks");
    m.t.problem.tasks = NULL;
    assert_null(ht_bilevel_new(m.t.ctx, &m.t.problem, NULL));
    assert_said(&m, "tasks are as many pointers");
    m.t.problem.tasks = m.user;
    b = trial_bilevel(&m.t, (ht_bilevel_options){0});
    ht_bilevel_run(b, 0);
    assert_int_not_equal(ht_bilevel_commit(b), HT_OK);
    assert_said(&m, "problem.tasks are trainings each");
    assert_null(ht_bilevel_hvp(b, m.t.problem.eta));
    assert_said(&m, "but one training has a second derivative");
    m.t.problem.outer = two_losses;
    assert_null(ht_bilevel_new(m.t.ctx, &m.t.problem, NULL));
    assert_said(&m, "the outer loss is 2 losses, and problem.tasks is set");
    m.t.problem.outer = meta_inner;
    m.t.problem.tasks = NULL;
    m.t.problem.n_tasks = 0;
    const ht_bilevel_options side = {.at_once = 2};
    assert_null(ht_bilevel_new(m.t.ctx, &m.t.problem, &side));
    assert_said(&m, "options.at_once is 2, but problem.tasks is NULL");
    m.t.problem.tasks = m.user;
    m.t.problem.n_tasks = TASKS;
    assert_true(ht_bilevel_check(m.t.ctx, &m.t.problem, 2, NULL));
    ht_bilevel_free(b);
    meta_close(&m);
}

/* All that is taken is foretold, on whichever context. */
static void tasks_take_what_they_say(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        meta m;
        meta_open(&m, threads);
        size_t base = m.t.memory.live;
        m.t.memory.peak = base;
        ht_bilevel *b = trial_bilevel(&m.t, (ht_bilevel_options){0});
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        assert_int_equal(r.predicted_bytes, m.t.memory.peak - base);
        assert_int_equal(r.peak_bytes, r.predicted_bytes);
        ht_bilevel_free(b);
        meta_close(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_of_maml_match_closed_form),
        cmocka_unit_test(tasks_have_the_same_bits_by_any_number_of_threads),
        cmocka_unit_test(tasks_run_backwards_match_those_that_are_kept),
        cmocka_unit_test(tasks_of_implicit_maml_match_closed_form),
        cmocka_unit_test(tasks_refuse_what_is_of_one_training),
        cmocka_unit_test(tasks_name_what_is_not_finite),
        cmocka_unit_test(tasks_take_what_they_say),
    };
    return TEST_MAIN(tests);
}
