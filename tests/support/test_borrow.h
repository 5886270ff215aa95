/* SPDX-License-Identifier: MIT */
/* test_borrow.h: a problem whose sets the tests of borrowed sets share, add to and free.
 * Read next: test_bilevel_shared.c, test_bilevel_borrow.c. */
#ifndef HTI_TEST_BORROW_H
#define HTI_TEST_BORROW_H

#include "test_bilevel.h"
#include "test_nn.h"

enum { ROWS = 5, STEPS = 9, OUTER_STEP = 100 };

typedef enum place {
    NOWHERE,
    INNER,
    OUTER,
    INIT,
    SCHEDULE,
    INNER_BATCH,
    OUTER_BATCH
} place;

/* A weighted regression whose batches are filled, by formulas of the step. */
typedef struct borrow {
    counted memory;
    ht_context *ctx;
    size_t base;
    ht_set *theta, *eta, *data, *other;
    ht_bilevel_problem problem;
    ht_bilevel *bilevel;
    ht_set *grows; /* where, or at once when NOWHERE */
    place where;
    int64_t inner_fills, outer_fills;
} borrow;

/* Adds to u->grows, once, if this is the place. */
static inline void grow(borrow *u, place here)
{
    if (u->where == here && u->grows && ht_set_find(u->grows, "late") < 0)
        ht_set_add(u->grows, "late", HT_F64, HT_SHAPE(3));
}

static inline ht_var residual(const ht_vars *theta, const ht_vars *batch)
{
    ht_var y = ht_matmul(ht_get(batch, "x"), ht_get(theta, "w"));
    return ht_sub(ht_reshape(y, HT_SHAPE(ROWS)), ht_get(batch, "y"));
}

static inline ht_var inner_loss(const ht_vars *theta, const ht_vars *eta,
                                const ht_vars *batch, void *user)
{
    grow(user, INNER);
    ht_var fit =
        ht_mean(ht_mul(ht_get(eta, "weight"), ht_square(residual(theta, batch))));
    return ht_add(fit, ht_mean(ht_pow(ht_get(theta, "w"), 4)));
}

static inline ht_var outer_loss(const ht_vars *theta, const ht_vars *eta,
                                const ht_vars *batch, void *user)
{
    (void)eta;
    grow(user, OUTER);
    return ht_mean(ht_square(residual(theta, batch)));
}

static inline ht_var free_loss(const ht_vars *theta, const ht_vars *eta,
                               const ht_vars *batch, void *user)
{
    (void)batch, (void)user;
    return ht_mul(ht_mean(ht_get(eta, "weight")), ht_sum(ht_pow(ht_get(theta, "w"), 4)));
}

static inline void fill(ht_set *batch, double seed)
{
    ht_tensor *x = ht_set_tensor(batch, "x"), *y = ht_set_tensor(batch, "y");
    for (int i = 0; i < 2 * ROWS; i++) ht_tensor_set(x, i, sin(1.7 * i + 3.1 * seed));
    for (int i = 0; i < ROWS; i++) ht_tensor_set(y, i, cos(2.3 * i + 0.7 * seed));
}

static inline ht_status inner_batch(uint64_t step, ht_set *batch, void *user)
{
    borrow *u = user;
    u->inner_fills++;
    grow(u, INNER_BATCH);
    if (ht_set_find(batch, "x") >= 0) fill(batch, (double)step);
    return HT_OK;
}

static inline ht_status outer_batch(uint64_t step, ht_set *batch, void *user)
{
    borrow *u = user;
    u->outer_fills++;
    grow(u, OUTER_BATCH);
    if (ht_set_find(batch, "x") >= 0) fill(batch, -(double)step);
    return HT_OK;
}

static inline ht_set *data_new(ht_context *ctx)
{
    ht_set *set = ht_set_new(ctx);
    ht_set_add(set, "x", HT_F64, HT_SHAPE(ROWS, 2));
    ht_set_add(set, "y", HT_F64, HT_SHAPE(ROWS));
    fill(set, 50);
    return set;
}

static inline int borrow_new(void **state)
{
    borrow *u = calloc(1, sizeof *u);
    u->ctx = counted_context(&u->memory, 1);
    u->base = u->memory.live;
    u->data = data_new(u->ctx);
    u->other = data_new(u->ctx);
    u->theta = ht_set_new(u->ctx);
    ht_tensor_fill(ht_set_add(u->theta, "w", HT_F64, HT_SHAPE(2, 1)), 0.4);
    u->eta = ht_set_new(u->ctx);
    ht_tensor_fill(ht_set_add(u->eta, "weight", HT_F64, HT_SHAPE(ROWS)), 0.3);
    u->problem = (ht_bilevel_problem){.inner = inner_loss,
                                      .outer = outer_loss,
                                      .theta = u->theta,
                                      .eta = u->eta,
                                      .inner_data = u->data,
                                      .outer_data = u->data,
                                      .inner_batch = inner_batch,
                                      .outer_batch = outer_batch,
                                      .steps = STEPS,
                                      .update = {.rule = &ht_momentum,
                                                 .rate = HT_FIXED(0.2),
                                                 .momentum = HT_FIXED(0.5)},
                                      .user = u};
    test_no_error(u->ctx);
    *state = u;
    return 0;
}

static inline int borrow_free(void **state)
{
    borrow *u = *state;
    ht_bilevel_free(u->bilevel);
    ht_set_free(u->theta);
    ht_set_free(u->eta);
    ht_set_free(u->data);
    ht_set_free(u->other);
    assert_int_equal(u->memory.live, u->base);
    ht_context_free(u->ctx);
    free(u);
    return 0;
}

static inline ht_bilevel *bilevel_of(borrow *u, ht_bilevel_options options)
{
    ht_bilevel *bilevel = ht_bilevel_new(u->ctx, &u->problem, &options);
    if (!bilevel) fail_msg("%s", ht_context_message(u->ctx));
    return bilevel;
}

#endif
