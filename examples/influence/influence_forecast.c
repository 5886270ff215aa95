/* SPDX-License-Identifier: MIT */
/* influence_forecast.c: what leaving images out does, foretold by the hypergradient of
 * the training and by three that are cheaper, and found by training again.
 *
 *   gradient product     grad F_k . grad CE_i           at theta_T
 *   TracIn               the sum of that                over checkpoints (Pruthi et al.
 *                                                       2020, arXiv 2002.08484)
 *   influence function   grad F_k . (H + damping)^-1 grad CE_i    H of all images, at
 *                        theta_T (Koh & Liang 2017, arXiv 1703.04730), by
 *                        conjugate gradients; a network's H has negative curvature
 *                        there, which takes GMRES
 *
 * All are hypergradients too: the first of a single step of descent from theta_T on all
 * images, -rate/n grad F_k . grad CE_i by w_i, the last of where it ends (HT_IMPLICIT).
 * Read next: influence_page.c. */
#include <math.h>
#include <stdlib.h>

#include "influence.h"

enum { RESAMPLES = 400, CHECKPOINTS = 5, PRODUCTS = 20 };
#define TINY 1e-4 /* a rate by which theta stays where it is */

/* Scores take a reverse sweep a query, those beside them some three trainings, proofs
 * two; truth one a subset. */
void plan(study *s)
{
    double left = s->budget / s->training_seconds - 8;
    s->queries = (int64_t)fmax(1, fmin((double)s->most_queries, 0.5 * left / 8));
    double rows = 0.5 * left / (PARTS + 1);
    s->subsets = (int64_t)fmax(FEWEST, fmin((double)s->most_subsets, rows));
}

static ht_tensor *table(const study *s, int64_t rows, int64_t columns, ht_dtype dtype)
{
    ht_tensor *x = ht_tensor_new(s->ctx, dtype, HT_SHAPE(rows, columns));
    ht_check(s->ctx);
    return x;
}

/* Controls. */

/* A step from theta on all images. */
static ht_bilevel_problem step_from(const study *s, ht_set *theta, ht_set *asked)
{
    ht_bilevel_problem problem = training_of(asked);
    problem.theta = theta;
    problem.inner_data = s->train;
    problem.inner_batch = NULL;
    problem.update = HT_SGD(TINY);
    problem.steps = 1;
    return problem;
}

/* theta becomes theta_T; on the way there products are summed. */
static void score_by_products(study *s, ht_set *theta, ht_set *asked)
{
    ht_tensor *product = s->by[PRODUCT].scores = table(s, s->queries, s->n_train, HT_F64),
              *sum = s->by[TRACIN].scores = table(s, s->queries, s->n_train, HT_F64);
    ht_bilevel_problem training = training_of(asked), step = step_from(s, theta, asked);
    int64_t windows = CHECKPOINTS;
    while (s->steps % windows) windows--;
    training.theta = theta;
    training.steps = s->steps / windows;
    ht_bilevel *run =
        ht_bilevel_new(s->ctx, &training, &(ht_bilevel_options){.method = HT_ONE_STEP});
    ht_influence *influence = ht_influence_new(
        s->ctx, &step, &(ht_influence_options){.weight = "w", .at_once = 1});
    ht_tensor_fill(sum, 0);
    for (int64_t k = 0; k < windows && !interrupted(); k++) {
        ht_bilevel_evaluate(run, 0);
        ht_bilevel_commit(run);
        ht_influence_scores(influence, product);
        ht_check(s->ctx);
        for (int64_t i = 0; i < s->queries * s->n_train; i++)
            ht_tensor_set(sum, i, ht_tensor_get(sum, i) + ht_tensor_get(product, i));
    }
    s->trainings++;
    ht_influence_free(influence);
    ht_bilevel_free(run);
}

static void score_by_implicit(study *s, foreteller *by, ht_set *theta,
                              const ht_set *asked)
{
    ht_set *one = demo_room(asked, 1);
    ht_bilevel_problem step = step_from(s, theta, one);
    ht_bilevel *ends = ht_bilevel_new(
        s->ctx, &step,
        &(ht_bilevel_options){.method = HT_IMPLICIT,
                              .solver = s->model == SOFTMAX ? HT_CG : HT_GMRES,
                              .rank = s->model == SOFTMAX ? 0 : PRODUCTS,
                              .damping = by->damping,
                              .solver_steps = PRODUCTS,
                              .no_bound = true});
    ht_check(s->ctx);
    by->scores = table(s, s->queries, s->n_train, HT_F64);
    for (int64_t k = 0; k < s->queries && !interrupted(); k++) {
        demo_fill(one, asked, NULL, k);
        const ht_set *slope = ht_bilevel_run(ends, 0).gradient;
        ht_check(s->ctx);
        for (int64_t i = 0; i < s->n_train; i++)
            ht_tensor_set(by->scores, k * s->n_train + i,
                          -ht_tensor_get(ht_set_at(slope, 0), i));
    }
    ht_bilevel_free(ends);
    ht_set_free(one);
}

static void score_controls(study *s, ht_set *asked)
{
    ht_set *theta = ht_set_clone(s->theta, 0);
    ht_check(s->ctx);
    progress(1, "controls: gradient products", "");
    score_by_products(s, theta, asked);
    progress(2, "controls: influence functions", "");
    for (int k = IMPLICIT; k < FORETELLERS && !interrupted(); k++)
        score_by_implicit(s, &s->by[k], theta, asked);
    ht_set_free(theta);
}

/* Truth. */

static const double *sorted_by;

static int ascending(const void *a, const void *b)
{
    double x = sorted_by[*(const int64_t *)a], y = sorted_by[*(const int64_t *)b];
    return (x > y) - (x < y);
}

/* Those without which the margin falls most, and those without which it rises most. */
static void choose(study *s)
{
    int64_t *order = calloc((size_t)s->n_train, sizeof *order);
    s->drawn = calloc((size_t)(2 * DRAWN * s->queries), sizeof *s->drawn);
    HT_ASSERT(order && s->drawn, "no memory for an order of %lld", (long long)s->n_train);
    for (int64_t k = 0; k < s->queries; k++) {
        sorted_by = (double *)ht_tensor_data(s->by[EXACT].scores) + k * s->n_train;
        for (int64_t i = 0; i < s->n_train; i++) order[i] = i;
        qsort(order, (size_t)s->n_train, sizeof *order, ascending);
        for (int64_t i = 0; i < DRAWN; i++) {
            s->drawn[2 * DRAWN * k + i] = order[i];
            s->drawn[2 * DRAWN * k + DRAWN + i] = order[s->n_train - 1 - i];
        }
    }
    free(order);
}

/* changes (rows, queries) of trainings without what left_out (rows, n) says. */
static ht_tensor *train_without(study *s, ht_influence *influence,
                                const ht_tensor *left_out)
{
    int64_t rows = ht_tensor_shape(left_out).dim[0];
    ht_tensor *changes = table(s, rows, s->queries, HT_F64);
    ht_influence_retrain(influence, left_out, changes);
    ht_check(s->ctx);
    s->trainings += rows + 1;
    return changes;
}

/* Without all that helped a query most, and without all that hurt it. */
static void prove(study *s, ht_influence *influence)
{
    ht_tensor *left_out = table(s, 2 * s->queries, s->n_train, HT_U8);
    s->foretold = calloc((size_t)(2 * s->queries), sizeof *s->foretold);
    s->found = calloc((size_t)(2 * s->queries), sizeof *s->found);
    HT_ASSERT(s->foretold && s->found, "no memory for %lld proofs",
              (long long)s->queries);
    ht_tensor_fill(left_out, 0);
    choose(s);
    for (int64_t k = 0; k < 2 * s->queries * DRAWN; k++) {
        int64_t row = k / DRAWN, i = s->drawn[k];
        ht_tensor_set(left_out, row * s->n_train + i, 1);
        s->foretold[row] += ht_tensor_get(s->by[EXACT].scores, row / 2 * s->n_train + i);
    }
    ht_tensor *changes = train_without(s, influence, left_out);
    for (int64_t row = 0; row < 2 * s->queries; row++)
        s->found[row] = ht_tensor_get(changes, row * s->queries + row / 2);
    ht_tensor_free(left_out);
    ht_tensor_free(changes);
}

/* Without random subsets of a part, or of one image (part -1), by all who foretell. */
static void compare(study *s, ht_influence *influence, int part)
{
    int64_t k = part < 0 ? 1 : (int64_t)(parts[part] * (double)s->n_train / 100);
    ht_tensor *left_out = table(s, s->subsets, s->n_train, HT_U8);
    ht_influence_random(left_out, k, s->common.seed + (uint64_t)(part + 2));
    ht_tensor *changes = train_without(s, influence, left_out);
    for (foreteller *by = s->by; by < s->by + FORETELLERS; by++) {
        ht_lds *to = part < 0 ? &by->loo : &by->lds[part];
        if (by->scores)
            *to = ht_influence_lds(by->scores, left_out, changes, RESAMPLES,
                                   s->common.seed);
    }
    ht_check(s->ctx);
    ht_tensor_free(left_out);
    ht_tensor_free(changes);
}

void forecast(study *s)
{
    ht_set *asked = test_images(s->queries);
    ht_bilevel_problem problem = training_of(asked);
    ht_influence *influence = ht_influence_new(
        s->ctx, &problem,
        &(ht_influence_options){.weight = "w", .bilevel = {.bytes = s->memory}});
    ht_check(s->ctx);
    progress(0, "one training, and back for each query", "");
    s->by[EXACT].scores = table(s, s->queries, s->n_train, HT_F64);
    ht_influence_scores(influence, s->by[EXACT].scores);
    ht_check(s->ctx);
    s->trainings++;
    if (!interrupted()) score_controls(s, asked);
    progress(3, "training without those that helped or hurt", "");
    if (!interrupted()) prove(s, influence);
    for (int part = -1; part < PARTS && !interrupted(); part++) {
        progress(4 + part, "training without random images", "");
        compare(s, influence, part);
    }
    ht_influence_free(influence);
    ht_set_free(asked);
}
