/* SPDX-License-Identifier: MIT */
/* rater_filter.c: ways to choose what to train on, and what comes of it: each gives every
 * example a score, the best part is kept, and fresh models train on it, from the same
 * starts with as many steps. Read next: rater_page.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rater.h"

const double fractions[FRACTIONS] = {0.75, 0.5, 0.25};

/* In descending order. */
typedef struct place {
    double score;
    int64_t row;
} place;

static int by_score(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->score < y->score || x->score > y->score) return x->score < y->score ? 1 : -1;
    return (x->row > y->row) - (x->row < y->row);
}

static void *room(int64_t n, size_t size)
{
    void *p = calloc((size_t)n, size);
    HT_ASSERT(p, "no memory for %lld rows", (long long)n);
    return p;
}

/* Of each label as great a part: else a filter keeps the classes that are easily told. */
int64_t *contest_ranked(const contest *c, int which)
{
    int64_t n = c->pool->n, *row = room(n, sizeof *row), passed[10] = {0}, of[10] = {0};
    const int32_t *label = ht_tensor_data(ht_set_tensor(c->pool->set, "label"));
    place *order = room(n, sizeof *order);
    for (int64_t i = 0; i < n; i++) order[i] = (place){c->score[which][i], i};
    for (int64_t i = 0; i < n; i++) of[label[i]]++;
    qsort(order, (size_t)n, sizeof *order, by_score);
    for (place *at = order; at < order + n; at++) {
        int k = label[at->row];
        at->score = -(double)++passed[k] / (double)of[k];
    }
    qsort(order, (size_t)n, sizeof *order, by_score);
    for (int64_t i = 0; i < n; i++) row[i] = order[i].row;
    free(order);
    return row;
}

static void build_classifying(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_vars_backward(ht_mean(demo_losses(classifier, in[0], in[1])), in[0], out[0]);
}

/* Held out, or of the pool: the label is now which. */
static void build_telling(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_var score = rating(in[0], in[1]);
    ht_var loss = ht_sub(ht_softplus(score), ht_mul(score, ht_get(in[1], "held_out")));
    ht_vars_backward(ht_mean(loss), in[0], out[0]);
}

static void build_minus_loss(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_vars_set(out[0], "score", ht_mul(demo_losses(classifier, in[0], in[1]), -1.0));
}

/* theta by Adam from start `number`, on batches of those rows. */
static void fit(contest *c, ht_set *theta, ht_set *gradient, ht_set *batch,
                ht_recording *learning, const ht_set *from, const int64_t *row, int64_t n,
                int64_t number, const char *what)
{
    const ht_rate cosine = {.steps = c->steps, .final = 0.01};
    int64_t order[BATCH];
    uint64_t seed = c->run->options->common.seed + 1000 * (uint64_t)(number + 1);
    ht_update adam = HT_ADAM(0.003);
    adam.rate.schedule = ht_rate_cosine, adam.rate.user = &cosine;
    demo_start(theta, number);
    ht_optimizer *optimizer = ht_optimizer_new(theta, &adam);
    for (int64_t t = 0; t < c->steps && !interrupted(); t++) {
        ht_batch_order(seed, (uint64_t)t, n, BATCH, order);
        for (int i = 0; i < BATCH; i++) order[i] = row[order[i]];
        demo_fill(batch, from, order, 0);
        ht_recording_run(learning, (int32_t)t);
        ht_optimizer_step(optimizer, gradient);
        ht_check(c->run->ctx);
        demo_worked(c->run, 1 / (double)c->steps, what, 0, 0, (double)NAN);
    }
    ht_optimizer_free(optimizer);
}

static void train(contest *c, const ht_set *from, const int64_t *row, int64_t n,
                  int64_t number, const char *what)
{
    fit(c, c->model, c->gradient, c->batch, c->learning, from, row, n, number, what);
}

/* What such a network says of each of the pool. */
static void examine(const contest *c, const ht_set *theta, ht_record_fn build,
                    double *score)
{
    ht_set *out = ht_set_new(c->run->ctx);
    ht_tensor *to = ht_set_add(out, "score", HT_F32, HT_SHAPE(c->pool->n));
    ht_check(c->run->ctx);
    ht_recording *r = ht_recording_new((const ht_set *[]){theta, c->pool->set, NULL},
                                       (ht_set *[]){out, NULL}, build, NULL);
    ht_recording_run(r, 0);
    ht_check(c->run->ctx);
    for (int64_t i = 0; i < c->pool->n; i++) score[i] = ht_tensor_get(to, i);
    ht_recording_free(r);
    ht_set_free(out);
}

/* 0, 1, ... less than `of`, again and again: owned. */
static int64_t *counted(int64_t n, int64_t of)
{
    int64_t *row = room(n, sizeof *row);
    for (int64_t i = 0; i < n; i++) row[i] = i % of;
    return row;
}

/* Losses of a model trained on the pool as it is, or on what is held out. */
static void score_by_losses(contest *c, const ht_set *from, double sign, double *score)
{
    int64_t n = ht_tensor_count(ht_set_tensor(from, "label"));
    int64_t *row = counted(n, n);
    train(c, from, row, n, STARTS, "training a model whose losses choose");
    examine(c, c->model, build_minus_loss, score);
    for (int64_t i = 0; i < c->pool->n; i++) score[i] *= sign;
    free(row);
}

/* Pool and held-out images as one set, with which they are in "held_out". */
static ht_set *joined(const contest *c)
{
    const ht_set *part[] = {c->pool->set, c->held_out};
    int64_t n[2], pixels = ht_tensor_shape(ht_set_tensor(part[0], "x")).dim[1];
    for (int k = 0; k < 2; k++) n[k] = ht_tensor_count(ht_set_tensor(part[k], "label"));
    ht_set *both = ht_set_new(c->run->ctx);
    ht_set_add(both, "x", HT_F32, HT_SHAPE(n[0] + n[1], pixels));
    ht_set_add(both, "label", HT_I32, HT_SHAPE(n[0] + n[1]));
    ht_tensor *held = ht_set_add(both, "held_out", HT_F32, HT_SHAPE(n[0] + n[1]));
    ht_check(c->run->ctx);
    for (int j = 0; j < 2; j++) {
        char *to = ht_tensor_data(ht_set_at(both, j));
        for (int k = 0; k < 2; k++) {
            const ht_tensor *x = ht_set_tensor(part[k], ht_set_name(both, j));
            memcpy(to, ht_tensor_data(x), ht_tensor_bytes(x));
            to += ht_tensor_bytes(x);
        }
    }
    for (int64_t i = 0; i < n[0] + n[1]; i++) ht_tensor_set(held, i, i >= n[0]);
    return both;
}

/* A rater's network that is trained to tell them, as many of both in a batch on average:
 * its logit is the log of the ratio of densities. */
static void score_by_density(contest *c, double *score)
{
    ht_set *both = joined(c), *theta = ht_set_clone(c->rater, 0),
           *gradient = ht_set_clone(c->rater, 0), *batch = demo_room(both, BATCH);
    int64_t n = c->pool->n, all = ht_tensor_count(ht_set_tensor(both, "label"));
    int64_t *row = room(2 * n, sizeof *row);
    for (int64_t i = 0; i < n; i++) row[i] = i, row[n + i] = n + i % (all - n);
    ht_recording *r = ht_recording_new((const ht_set *[]){theta, batch, NULL},
                                       (ht_set *[]){gradient, NULL}, build_telling, NULL);
    ht_check(c->run->ctx);
    fit(c, theta, gradient, batch, r, both, row, 2 * n, 0, "telling pool from held out");
    examine(c, theta, build_rating, score);
    free(row);
    ht_recording_free(r);
    ht_set_free(both), ht_set_free(theta), ht_set_free(gradient), ht_set_free(batch);
}

/* What has the right label before what has not. */
static double known(const pool *p, int64_t i)
{
    static const double worth[KINDS] = {2, 0, 1, 1, 0};
    return worth[p->kind[i]];
}

static void score_all(contest *c, int which)
{
    int64_t n = c->pool->n;
    double *score = c->score[which] = room(n, sizeof *score);
    uint64_t seed = c->run->options->common.seed;
    for (int64_t i = 0; i < n; i++)
        score[i] = ht_random_uniform(seed, ht_stream("random filter"), (uint64_t)i) +
                   (which == ORACLE ? known(c->pool, i) : 0);
    if (which == SMALL_LOSS) score_by_losses(c, c->pool->set, 1, score);
    if (which == LARGE_LOSS) score_by_losses(c, c->pool->set, -1, score);
    if (which == REFERENCE) score_by_losses(c, c->held_out, 1, score);
    if (which == DENSITY) score_by_density(c, score);
    if (which == RATER) examine(c, c->rater, build_rating, score);
}

/* Of telling what is right; and of each kind how many are kept. */
static void measure(contest *c, int which, const int64_t *row, int64_t n_kept)
{
    double right = 0, pairs = 0, count[KINDS] = {0}, kept[KINDS] = {0};
    for (int64_t k = c->pool->n - 1, rest = 0; k >= 0; k--) {
        int kind = c->pool->kind[row[k]];
        if (kind == RIGHT)
            right++, pairs += (double)rest;
        else
            rest++;
        count[kind]++, kept[kind] += k < n_kept;
    }
    c->auc[which] = pairs / right / ((double)c->pool->n - right);
    for (int k = 0; k < KINDS; k++) c->share[which][k] = 100 * kept[k] / count[k];
}

/* Mean accuracy of STARTS models on those rows; to the row of the table, unless NULL. */
static double judge_rows(contest *c, entrant *entered, const ht_set *from,
                         const int64_t *row, int64_t n, const char *what)
{
    int64_t n_test = ht_tensor_count(ht_set_tensor(c->test->test, "label"));
    double *score = room(n_test, sizeof *score), sum = 0;
    for (int s = 0; s < STARTS && !interrupted(); s++) {
        train(c, from, row, n, s, what);
        sum += judge_accuracy(c->test, c->model, score) / STARTS;
        for (int64_t i = 0; entered && i < n_test; i++)
            entered->score[i] += score[i] / STARTS;
    }
    free(score);
    return interrupted() ? (double)NAN : sum;
}

/* Rows without a filter: all of the pool, or of what is held out. */
static void enter_whole(contest *c, int which)
{
    entrant *row = &c->run->entrant[which];
    const ht_set *from = which == NONE ? c->pool->set : c->held_out;
    int64_t n = ht_tensor_count(ht_set_tensor(from, "label")), *all = counted(n, n);
    double found = judge_rows(c, row, from, all, n, row->name);
    for (int k = 0; k < FRACTIONS; k++) c->accuracy[which][k] = found;
    free(all);
}

void contest_enter(contest *c, int which, double cost)
{
    entrant *row = &c->run->entrant[which];
    if (interrupted()) return;
    entrant_begin(row, ht_tensor_count(ht_set_tensor(c->test->test, "label")), cost);
    if (which == NONE || which == HELD_OUT) {
        enter_whole(c, which);
    } else {
        score_all(c, which);
        int64_t *order = contest_ranked(c, which), n = c->pool->n;
        measure(c, which, order, (int64_t)(fractions[c->fraction] * (double)n));
        for (int k = 0; k < FRACTIONS && !interrupted(); k++)
            c->accuracy[which][k] =
                judge_rows(c, k == c->fraction ? row : NULL, c->pool->set, order,
                           (int64_t)(fractions[k] * (double)n), row->name);
        free(order);
    }
    entrant_end(row, (double)NAN);
}

double contest_trainings(void)
{
    return STARTS * (2 + (ORACLE - RANDOM + 1) * FRACTIONS) + 4;
}

void contest_begin(contest *c)
{
    c->model = ht_set_clone(c->test->theta, 0);
    c->gradient = ht_set_clone(c->model, 0);
    c->batch = demo_room(c->pool->set, BATCH);
    c->learning =
        ht_recording_new((const ht_set *[]){c->model, c->batch, NULL},
                         (ht_set *[]){c->gradient, NULL}, build_classifying, NULL);
    ht_check(c->run->ctx);
    for (int which = 0; which < ENTRANTS; which++) {
        c->auc[which] = (double)NAN;
        for (int k = 0; k < FRACTIONS; k++) c->accuracy[which][k] = (double)NAN;
        for (int k = 0; k < KINDS; k++) c->share[which][k] = (double)NAN;
    }
}
