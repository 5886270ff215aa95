/* SPDX-License-Identifier: MIT */
/* influence_trust.c: whether to believe it, asked before a query is: S^ of 100 margins,
 * and of the weights, and how the first half of the margins' change correlates with the
 * second; then S^ of each query by itself; and what scores cost, in trainings.
 * Read next: influence_controls.c. */
#include "influence.h"

#include <math.h>

#define SMALL      1e-3
#define ASKED_PART 0.05
enum { DRAWS = 8, TOGETHER = 8 };

/* What is not enough is asked again at a small change, which tells why. */
void ask(study *s)
{
    double *row = now(s);
    ht_set *asked = test_images(s, MOST_QUERIES);
    ht_bilevel_problem problem = training_of(s, asked);
    ht_bilevel *training =
        ht_bilevel_new(s->own, &problem, &(ht_bilevel_options){.method = HT_ONE_STEP});
    ht_set *v = ht_set_clone(s->weights, 0);
    ht_check(s->own);
    stopwatch began = stopwatch_now();
    ht_bilevel_result got = ht_bilevel_evaluate(training, 0);
    row[CPU_TRAINING] = stopwatch_since(began).all_cpu;
    ht_check(s->own);
    row[LOSS] = got.inner;
    row[ACCURACY] = test_accuracy(s, got.theta);
    for (int64_t i = 0; i < s->n_train; i++) {
        bool falls = ht_random_uniform(s->seed, 1, (uint64_t)i) < ASKED_PART;
        ht_tensor_set(ht_set_at(v, 0), i, falls ? -1 : 0);
    }
    ht_smoothness smooth = ht_bilevel_smoothness(training, v, 0.5);
    row[SMOOTH] = smooth.outer;
    row[HALVES] = smooth.halves;
    row[SMOOTH_THETA] = smooth.theta;
    row[TRAININGS] = 4;
    if (!(smooth.outer >= ENOUGH && smooth.halves >= ENOUGH)) {
        row[SMOOTH_SMALL] = ht_bilevel_smoothness(training, v, SMALL).outer;
        row[TRAININGS] += 3;
    }
    ht_check(s->own);
    ht_set_free(v);
    ht_bilevel_free(training);
    ht_set_free(asked);
}

void ask_each(study *s, ht_influence *influence)
{
    ht_tensor *each = ht_tensor_new(s->own, HT_F64, HT_SHAPE(n_queries(s)));
    ht_check(s->own);
    ht_influence_smoothness_each(influence, ASKED_PART, DRAWS, s->seed, each);
    ht_check(s->own);
    for (int64_t k = 0; k < n_queries(s); k++)
        s->query[k * OF_QUERY + Q_SMOOTH] = ht_tensor_get(each, k);
    now(s)[TRAININGS] += 2 * DRAWS + 1;
    ht_tensor_free(each);
}

/* Seconds of the processor: of scores of so many queries, and of a training before. */
static double scores_take(study *s, int64_t queries, double *training)
{
    ht_set *asked = test_images(s, queries);
    ht_bilevel_problem problem = training_of(s, asked);
    ht_bilevel *run = ht_bilevel_new(s->own, &problem,
                                     &(ht_bilevel_options){.bytes = s->options.memory});
    ht_check(s->own);
    if (queries == 1) ht_bilevel_run(run, 0); /* the system gives pages when touched */
    ht_bilevel_evaluate(run, 0);
    stopwatch began = stopwatch_now();
    ht_bilevel_evaluate(run, 0);
    *training += stopwatch_since(began).all_cpu;
    began = stopwatch_now();
    now(s)[SCHEDULE] = ht_bilevel_run(run, 0).schedule;
    double took = stopwatch_since(began).all_cpu;
    ht_check(s->own);
    ht_bilevel_free(run);
    ht_set_free(asked);
    return took;
}

/* As many trainings beside, in turn. */
void ask_cost(study *s)
{
    double training = 0;
    double one = scores_take(s, 1, &training), many = scores_take(s, TOGETHER, &training);
    now(s)[COST_ONE] = 2 * one / training;
    now(s)[COST_EIGHT] = 2 * many / TOGETHER / training;
    now(s)[TRAININGS] += 7;
}

/* Scores take a reverse sweep a query, and those beside them some six trainings; proofs
 * two a query; truth one a subset and order. */
void plan(study *s)
{
    double seconds = s->budget / (double)s->seeds,
           left = seconds / now(s)[CPU_TRAINING] - 25;
    double queries = fmin((double)s->most_queries, fmax(1, 0.4 * left / 10)),
           rows = (left - 10 * queries) / (double)((PARTS + 1) * s->orders);
    s->progress[QUERIES] = floor(queries);
    s->progress[SUBSETS] =
        s->most_subsets ? floor(fmax(FEWEST, fmin((double)s->most_subsets, rows))) : 0;
}
