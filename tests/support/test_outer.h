/* SPDX-License-Identifier: MIT */
/* test_outer.h: a small problem to minimise over eta, on batches by the step, and
 * callbacks that remember. Read next: test_bilevel_minimize.c. */
#ifndef HTI_TEST_OUTER_H
#define HTI_TEST_OUTER_H

#include "child.h"
#include "test_bilevel.h"
#include "test_nn.h"

enum { OUTER_ROWS = 6, OUTER_STEPS = 7, OUTER_SEEN = 64, OUTER_GROWN = 2 };

static const ht_update outer_adam = {.rule = &ht_adam,
                                     .rate = {.value = 0.05},
                                     .momentum = {.value = 0.9},
                                     .beta2 = {.value = 0.99},
                                     .eps = {.value = 1e-8}};

static uint64_t outer_seed; /* 0: the test's */

typedef struct outer {
    counted memory;
    ht_context *ctx;
    ht_set *theta, *eta, *batch, *held, *more;
    ht_bilevel_problem problem;
    ht_bilevel *bilevel;
    /* What callbacks do and saw. */
    int64_t stop_at, count_from;
    bool remember, unprojected;
    ht_outer_did did[OUTER_SEEN];
    double gradient[OUTER_SEEN], followed[OUTER_SEEN];
    char why[256];
    uint64_t calls_before, calls_after;
} outer;

/* Half of the rows of the inner batch have noisy y: a weight each, and the rate. */
static inline ht_var outer_residual(const ht_vars *theta, const ht_vars *batch)
{
    ht_var y = ht_matmul(ht_get(batch, "x"), ht_get(theta, "w"));
    return ht_sub(ht_reshape(y, HT_SHAPE(OUTER_ROWS)), ht_get(batch, "y"));
}

static inline ht_var outer_inner(const ht_vars *theta, const ht_vars *eta,
                                 const ht_vars *batch, void *user)
{
    (void)user;
    ht_var each = ht_square(outer_residual(theta, batch));
    return ht_mean(ht_mul(ht_get(eta, "weight"), each));
}

static inline ht_var outer_loss(const ht_vars *theta, const ht_vars *eta,
                                const ht_vars *batch, void *user)
{
    (void)eta, (void)user;
    return ht_mul(ht_get(batch, "factor"),
                  ht_mean(ht_square(outer_residual(theta, batch))));
}

static inline void outer_rows(ht_set *batch, double noise, double step)
{
    ht_tensor *x = ht_set_tensor(batch, "x"), *y = ht_set_tensor(batch, "y");
    for (int i = 0; i < OUTER_ROWS; i++) {
        double a = sin(1.7 * i + 3.1 * step), b = cos(2.9 * i + 0.3 * step);
        ht_tensor_set(x, 2 * i, a);
        ht_tensor_set(x, 2 * i + 1, b);
        ht_tensor_set(y, i, a - 2 * b + (i % 2 ? noise * (1.5 + b) : 0));
    }
}

static inline ht_status outer_fill(uint64_t step, ht_set *batch, void *user)
{
    (void)user;
    outer_rows(batch, 4, (double)step);
    return HT_OK;
}

static inline ht_set *outer_data(ht_context *ctx, ht_dtype dtype)
{
    ht_set *set = ht_set_new(ctx);
    ht_set_add(set, "x", dtype, HT_SHAPE(OUTER_ROWS, 2));
    ht_set_add(set, "y", dtype, HT_SHAPE(OUTER_ROWS));
    ht_tensor_fill(ht_set_add(set, "factor", dtype, HT_SCALAR), 1);
    outer_rows(set, 0, 1000);
    return set;
}

/* An outer batch: for OUTER_GROWN steps from 8 on the loss is 1e4 times as large. */
static inline ht_status outer_growing(uint64_t step, ht_set *batch, void *user)
{
    (void)user;
    double factor = step >= 8 && step < 8 + OUTER_GROWN ? 1e4 : 1;
    ht_tensor_fill(ht_set_tensor(batch, "factor"), factor);
    return HT_OK;
}

static inline void outer_open_with(outer *u, ht_dtype dtype, ht_bilevel_options options,
                                   ht_batch_fn outer_batch)
{
    *u = (outer){.stop_at = INT64_MAX, .count_from = INT64_MAX};
    u->ctx = ht_context_new(
        &(ht_context_options){.alloc = counted_alloc,
                              .user = &u->memory,
                              .seed = outer_seed ? outer_seed : test_seed(),
                              .threads = 1});
    u->theta = ht_set_new(u->ctx);
    ht_set_add(u->theta, "w", dtype, HT_SHAPE(2, 1));
    u->eta = ht_set_new(u->ctx);
    ht_tensor_fill(ht_set_add(u->eta, "weight", dtype, HT_SHAPE(OUTER_ROWS)), 0.5);
    ht_tensor_fill(ht_set_add(u->eta, "rate", dtype, HT_SCALAR), 0.1);
    u->more = ht_set_new(u->ctx);
    ht_set_add(u->more, "seen", HT_F64, HT_SCALAR);
    u->batch = outer_data(u->ctx, dtype);
    u->held = outer_data(u->ctx, dtype);
    u->problem = (ht_bilevel_problem){.inner = outer_inner,
                                      .outer = outer_loss,
                                      .theta = u->theta,
                                      .eta = u->eta,
                                      .inner_data = u->batch,
                                      .outer_data = u->held,
                                      .inner_batch = outer_fill,
                                      .outer_batch = outer_batch,
                                      .update = {.rule = &ht_momentum,
                                                 .rate = HT_OUTER("rate"),
                                                 .momentum = {.value = 0.8}},
                                      .steps = OUTER_STEPS};
    u->bilevel = ht_bilevel_new(u->ctx, &u->problem, &options);
    test_no_error(u->ctx);
}

static inline void outer_open(outer *u, ht_dtype dtype, ht_bilevel_options options)
{
    outer_open_with(u, dtype, options, NULL);
}

static inline void outer_close(outer *u)
{
    ht_set *const set[] = {u->theta, u->eta, u->batch, u->held, u->more};
    test_no_error(u->ctx);
    ht_bilevel_free(u->bilevel);
    for (int k = 0; k < 5; k++) ht_set_free(set[k]);
    ht_context_free(u->ctx);
    assert_int_equal(u->memory.live, 0);
}

static inline void outer_project(ht_set *eta, void *user)
{
    ht_tensor *weight = ht_set_tensor(eta, "weight"), *rate = ht_set_tensor(eta, "rate");
    if (((const outer *)user)->unprojected) return;
    for (int i = 0; i < OUTER_ROWS; i++)
        ht_tensor_set(weight, i, fmin(fmax(ht_tensor_get(weight, i), 0), 1));
    ht_tensor_set(rate, 0, fmin(fmax(ht_tensor_get(rate, 0), 0.01), 0.3));
}

static inline double outer_norm(const ht_set *set)
{
    double sum = 0;
    for (int i = 0; i < ht_set_count(set); i++)
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(set, i)); k++)
            sum += pow(ht_tensor_get(ht_set_at(set, i), k), 2);
    return sqrt(sum);
}

static inline bool outer_each(const ht_outer_step *step, void *user)
{
    outer *u = user;
    if (u->remember && step->step < OUTER_SEEN) {
        u->did[step->step] = step->did;
        u->gradient[step->step] = step->gradient;
        u->followed[step->step] = outer_norm(step->result.gradient);
        if (step->why) snprintf(u->why, sizeof u->why, "%s", step->why);
    }
    if (step->step == u->count_from) u->calls_before = u->memory.calls;
    u->calls_after = u->memory.calls;
    return step->step < u->stop_at;
}

/* With Adam if nothing else is said, and the projection. */
#define outer_try(u, ...)      outer_run(u, (ht_outer_options){__VA_ARGS__})
#define outer_minimize(u, ...) outer_checked(u, outer_try(u, __VA_ARGS__))

static inline ht_outer_result outer_run(outer *u, ht_outer_options options)
{
    if (!options.update.rule) options.update = outer_adam;
    options.project = outer_project;
    options.user = u;
    return ht_bilevel_minimize(u->bilevel, &options);
}

static inline ht_outer_result outer_checked(outer *u, ht_outer_result result)
{
    test_no_error(u->ctx);
    assert_non_null(result.why);
    assert_non_null(result.best_eta);
    return result;
}

#endif
