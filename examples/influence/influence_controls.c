/* SPDX-License-Identifier: MIT */
/* influence_controls.c: three that foretell, cheaper than by the training's own gradient:
 *
 *   gradient product     grad F_k . grad CE_i           at theta_T
 *   TracIn               the sum of rate times that     over checkpoints (Pruthi et al.
 *                                                       2020, arXiv 2002.08484)
 *   influence function   grad F_k . (H + damping)^-1 grad CE_i    H of all images, at
 *                        theta_T (Koh & Liang 2017, arXiv 1703.04730), by
 *                        conjugate gradients; a network's H has negative curvature
 *                        there, which takes GMRES
 *
 * All are hypergradients too: the first of a single step of descent from theta_T on all
 * images, -rate/n grad F_k . grad CE_i by w_i, the last of where it ends (HT_IMPLICIT).
 * Read next: influence_truth.c. */
#include "influence.h"

#include <math.h>

enum { CHECKPOINTS = 5, PRODUCTS = 20 };
#define TINY 1e-4 /* a rate by which theta stays where it is */

/* A step from theta on all images. */
static ht_bilevel_problem step_from(const study *s, ht_set *theta, ht_set *asked)
{
    ht_bilevel_problem problem = training_of(s, asked);
    problem.theta = theta;
    problem.inner_data = s->train;
    problem.inner_batch = NULL;
    problem.update = HT_SGD(TINY);
    problem.update.decay = HT_FIXED(s->decay);
    problem.steps = 1;
    return problem;
}

static double rate_in(const study *s, int64_t window, int64_t windows)
{
    double at = ((double)window + 0.5) / (double)windows;
    return s->cosine ? 0.5 * (1 + cos(acos(-1) * at)) : 1;
}

/* theta becomes theta_T; on the way there products are summed. */
static void score_by_products(study *s, ht_set *theta, ht_set *asked)
{
    int64_t n = n_queries(s) * s->n_train, windows = CHECKPOINTS;
    while (s->steps % windows) windows--;
    ht_bilevel_problem training = training_of(s, asked),
                       step = step_from(s, theta, asked);
    training.theta = theta;
    training.steps = s->steps / windows;
    ht_bilevel *run =
        ht_bilevel_new(s->own, &training, &(ht_bilevel_options){.method = HT_ONE_STEP});
    ht_influence *influence = ht_influence_new(
        s->own, &step, &(ht_influence_options){.weight = "w", .at_once = 1});
    ht_tensor *product = ht_tensor_wrap(
        s->own, HT_F64, HT_SHAPE(n_queries(s), s->n_train), s->scores[PRODUCT]);
    ht_check(s->own);
    for (int64_t i = 0; i < n; i++) s->scores[TRACIN][i] = 0;
    for (int64_t k = 0; k < windows && !interrupted(); k++) {
        ht_bilevel_evaluate(run, 0);
        ht_bilevel_commit(run);
        ht_influence_scores(influence, product);
        ht_check(s->own);
        for (int64_t i = 0; i < n; i++)
            s->scores[TRACIN][i] += rate_in(s, k, windows) * s->scores[PRODUCT][i];
    }
    ht_tensor_free(product);
    ht_influence_free(influence);
    ht_bilevel_free(run);
}

static void score_by_implicit(study *s, int which, ht_set *theta, const ht_set *asked)
{
    ht_set *one = demo_room(asked, 1);
    ht_bilevel_problem step = step_from(s, theta, one);
    ht_bilevel *ends = ht_bilevel_new(
        s->own, &step,
        &(ht_bilevel_options){.method = HT_IMPLICIT,
                              .solver = s->model == SOFTMAX ? HT_CG : HT_GMRES,
                              .rank = s->model == SOFTMAX ? 0 : PRODUCTS,
                              .damping = foretellers[which].damping,
                              .solver_steps = PRODUCTS,
                              .no_bound = true});
    ht_check(s->own);
    for (int64_t k = 0; k < n_queries(s) && !interrupted(); k++) {
        demo_fill(one, asked, NULL, k);
        const ht_set *slope = ht_bilevel_run(ends, 0).gradient;
        ht_check(s->own);
        for (int64_t i = 0; i < s->n_train; i++)
            s->scores[which][k * s->n_train + i] = -ht_tensor_get(ht_set_at(slope, 0), i);
    }
    ht_bilevel_free(ends);
    ht_set_free(one);
}

void score_controls(study *s, ht_set *asked)
{
    ht_set *theta = ht_set_clone(s->theta, 0);
    ht_check(s->own);
    score_by_products(s, theta, asked);
    for (int k = IMPLICIT; k < FORETELLERS && !interrupted(); k++)
        score_by_implicit(s, k, theta, asked);
    now(s)[TRAININGS]++;
    ht_set_free(theta);
}
