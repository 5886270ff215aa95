/* SPDX-License-Identifier: MIT */
/* influence_truth.c: what leaving images out does, foretold by the hypergradient of the
 * training, and found by training again. Read next: influence_kept.c. */
#include "influence.h"

#include <math.h>
#include <stdlib.h>

enum { RESAMPLES = 400 };

static ht_tensor *table(const study *s, int64_t rows, int64_t columns, ht_dtype dtype)
{
    ht_tensor *x = ht_tensor_new(s->own, dtype, HT_SHAPE(rows, columns));
    ht_check(s->own);
    return x;
}

/* Of one who foretells: (queries, n), to be freed, on what is kept. */
static ht_tensor *scores_of(const study *s, int which)
{
    ht_tensor *x = ht_tensor_wrap(s->own, HT_F64, HT_SHAPE(n_queries(s), s->n_train),
                                  s->scores[which]);
    ht_check(s->own);
    return x;
}

/* Those beside are not asked where nothing is to be found. */
static void score(study *s, ht_influence *influence, ht_set *asked)
{
    ht_tensor *exact = scores_of(s, EXACT);
    stopwatch began = stopwatch_now();
    ht_influence_scores(influence, exact);
    ht_check(s->own);
    now(s)[CPU_SCORES] = stopwatch_since(began).all_cpu;
    now(s)[TRAININGS] += (double)s->score_orders;
    ht_tensor_free(exact);
    if (n_subsets(s) && !s->alone && !interrupted()) score_controls(s, asked);
    if (s->seed != s->options.common.seed) return;
    for (int64_t i = 0; i < n_queries(s) * s->n_train; i++)
        s->shown[i] = s->scores[EXACT][i];
    if (!interrupted()) ask_each(s, influence);
    if (!interrupted()) ask_cost(s);
}

static const double *sorted_by;

static int ascending(const void *a, const void *b)
{
    double x = sorted_by[*(const int64_t *)a], y = sorted_by[*(const int64_t *)b];
    return (x > y) - (x < y);
}

/* Those without which a margin falls most, and those without which it rises most: put to
 * left_out (2 queries, n), and what is foretold of them. */
static void choose(const study *s, ht_tensor *left_out, int32_t *drawn, double *foretold)
{
    int64_t n = s->n_train, *order = calloc((size_t)n, sizeof *order);
    HT_ASSERT(order, "no memory for an order of %lld", (long long)n);
    ht_tensor_fill(left_out, 0);
    for (int64_t k = 0; k < n_queries(s); k++) {
        sorted_by = s->scores[EXACT] + k * n;
        for (int64_t i = 0; i < n; i++) order[i] = i;
        qsort(order, (size_t)n, sizeof *order, ascending);
        for (int64_t j = 0; j < 2 * DRAWN; j++) {
            int64_t row = 2 * k + j / DRAWN, place = j % DRAWN,
                    i = order[j < DRAWN ? place : n - 1 - place];
            drawn[2 * DRAWN * k + j] = (int32_t)i;
            foretold[row] += sorted_by[i];
            ht_tensor_set(left_out, row * n + i, 1);
        }
    }
    free(order);
}

/* changes (rows, queries) of trainings without what left_out (rows, n) says. */
static ht_tensor *train_without(study *s, ht_influence *influence,
                                const ht_tensor *left_out)
{
    int64_t rows = ht_tensor_shape(left_out).dim[0];
    ht_tensor *changes = table(s, rows, n_queries(s), HT_F64);
    ht_influence_retrain(influence, left_out, changes);
    ht_check(s->own);
    now(s)[TRAININGS] += (double)((rows + 1) * s->orders);
    return changes;
}

static double pearson(int64_t n, const double *a, const double *b)
{
    double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
    for (int64_t k = 0; k < n; k++) ma += a[k] / (double)n, mb += b[k] / (double)n;
    for (int64_t k = 0; k < n; k++) {
        double x = a[k] - ma, y = b[k] - mb;
        aa += x * x, bb += y * y, ab += x * y;
    }
    return ab / sqrt(aa * bb);
}

/* Without all that helped a query most, and without all that hurt it. */
static void prove(study *s, ht_influence *influence)
{
    int64_t m = n_queries(s);
    bool first = s->seed == s->options.common.seed;
    ht_tensor *left_out = table(s, 2 * m, s->n_train, HT_U8);
    double foretold[2 * MOST_QUERIES] = {0}, found[2 * MOST_QUERIES];
    int32_t drawn[2 * DRAWN * MOST_QUERIES];
    choose(s, left_out, drawn, foretold);
    ht_tensor *changes = train_without(s, influence, left_out);
    for (int64_t row = 0; row < 2 * m; row++)
        found[row] = ht_tensor_get(changes, row * m + row / 2);
    now(s)[PROOF] = pearson(2 * m, foretold, found);
    for (int64_t j = 0; first && j < 2 * DRAWN * m; j++) s->drawn[j] = drawn[j];
    for (int64_t row = 0; first && row < 2 * m; row++) {
        double *query = s->query + row / 2 * OF_QUERY;
        query[Q_FORETOLD + row % 2] = foretold[row];
        query[Q_FOUND + row % 2] = found[row];
    }
    ht_tensor_free(left_out);
    ht_tensor_free(changes);
}

/* LDS of each query by itself. */
static void judge_queries(const study *s, const ht_tensor *left_out,
                          const ht_tensor *changes, int part)
{
    int64_t m = n_queries(s), rows = n_subsets(s);
    ht_tensor *of_one = table(s, rows, 1, HT_F64);
    for (int64_t k = 0; k < m; k++) {
        ht_tensor *score = ht_tensor_wrap(s->own, HT_F64, HT_SHAPE(1, s->n_train),
                                          s->scores[EXACT] + k * s->n_train);
        for (int64_t i = 0; i < rows; i++)
            ht_tensor_set(of_one, i, ht_tensor_get(changes, i * m + k));
        s->query[k * OF_QUERY + Q_LDS + part] =
            ht_influence_lds(score, left_out, of_one, 0, 1).mean;
        ht_check(s->own);
        ht_tensor_free(score);
    }
    ht_tensor_free(of_one);
}

/* Without random subsets of a part, or of one image (part -1), by all who foretell. */
static void compare(study *s, ht_influence *influence, int part)
{
    double *row = now(s), best = -1;
    int64_t k = part < 0 ? 1 : (int64_t)(parts[part] * (double)s->n_train / 100);
    ht_tensor *left_out = table(s, n_subsets(s), s->n_train, HT_U8);
    ht_influence_random(left_out, k, s->seed + (uint64_t)(part + 2));
    ht_tensor *changes = train_without(s, influence, left_out);
    for (int by = 0; by < (s->alone ? 1 : FORETELLERS); by++) {
        ht_tensor *scores = scores_of(s, by);
        ht_lds got = ht_influence_lds(scores, left_out, changes, part < 0 ? 0 : RESAMPLES,
                                      s->seed);
        ht_check(s->own);
        ht_tensor_free(scores);
        if (part < 0) {
            row[OF(by, 0)] = got.pearson;
            continue;
        }
        row[OF(by, LDS + part)] = got.mean;
        row[OF(by, LDS_LOW + part)] = got.low;
        row[OF(by, LDS_HIGH + part)] = got.high;
        if (by >= IMPLICIT) best = fmax(best, got.mean);
    }
    if (part >= 0 && !s->alone) row[LEAD + part] = row[OF(EXACT, LDS + part)] - best;
    if (part >= 0 && s->seed == s->options.common.seed)
        judge_queries(s, left_out, changes, part);
    ht_tensor_free(left_out);
    ht_tensor_free(changes);
}

void forecast(study *s)
{
    double before = (double)(s->seed - s->options.common.seed) * (4 + PARTS);
    ht_set *asked = test_images(s, n_queries(s));
    ht_bilevel_problem problem = training_of(s, asked);
    ht_influence *influence = ht_influence_new(
        s->own, &problem,
        &(ht_influence_options){.weight = "w",
                                .bilevel = {.bytes = s->options.memory},
                                .orders = s->orders,
                                .first_order = s->orders > 1 ? s->score_orders : 0,
                                .score_orders = s->score_orders});
    ht_check(s->own);
    int stage = (int)s->progress[STAGE], last = n_subsets(s) ? COMPARED + PARTS : SCORED;
    while (stage < last && !interrupted()) {
        static const char *const doing[] = {"", "one training, and back for each query",
                                            "training without those that helped or hurt"};
        progress(before + stage,
                 stage < PROVED ? doing[stage] : "training without random images", "");
        if (stage == ASKED) score(s, influence, asked);
        if (stage == SCORED) prove(s, influence);
        if (stage >= PROVED) compare(s, influence, stage - COMPARED);
        if (!interrupted()) kept_save(s, ++stage);
    }
    ht_influence_free(influence);
    ht_set_free(asked);
}
