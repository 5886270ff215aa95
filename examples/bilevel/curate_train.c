/* SPDX-License-Identifier: MIT */
/* curate_train.c: a network trained on chosen images, and what it says of the pool.
 * Read next: curate_page.c. */
#include <math.h>
#include <stdlib.h>

#include "curate.h"

ht_var curate_model(ht_var x, const ht_vars *theta)
{
    return ht_linear(ht_gelu(ht_linear(x, theta, "hidden")), theta, "out");
}

trainer trainer_new(const pool *p, int64_t hidden, int64_t n_batch, int64_t steps,
                    double rate)
{
    ht_context *ctx = ht_set_context(p->all);
    trainer t = {p, hidden, n_batch, steps, rate, .theta = ht_set_new(ctx)};
    demo_mlp_init(t.theta, p->rows * p->cols, hidden);
    ht_check(ctx);
    t.gradient = ht_set_clone(t.theta, 0);
    t.room = demo_room(p->all, n_batch);
    ht_check(ctx);
    return t;
}

static void build_gradient(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_vars_backward(ht_mean(demo_losses(curate_model, in[0], in[1])), in[0], out[0]);
}

/* Batch `step` of what was chosen; of fewer images than it has, again from the first. */
static void fill(const trainer *t, const choice *c, uint64_t step, int64_t *order)
{
    ht_context *ctx = ht_set_context(t->room);
    int64_t n = c->n < t->n_batch ? c->n : t->n_batch;
    ht_batch_order(ht_context_seed(ctx), step, c->n, n, order);
    for (int64_t i = n; i < t->n_batch; i++) order[i] = order[i - n];
    for (int64_t i = 0; i < t->n_batch; i++) order[i] = c->row[order[i]];
    demo_fill(t->room, t->pool->all, order, 0);
    ht_check(ctx);
}

void train_on(trainer *t, demo *d, const char *what, const choice *c, int64_t start)
{
    const ht_update momentum = HT_MOMENTUM(t->rate, 0.9);
    int64_t *order = calloc((size_t)t->n_batch, sizeof *order);
    HT_ASSERT(order, "no memory for a batch of %lld", (long long)t->n_batch);
    ht_recording *recording =
        ht_recording_new((const ht_set *[]){t->theta, t->room, NULL},
                         (ht_set *[]){t->gradient, NULL}, build_gradient, NULL);
    ht_optimizer *optimizer = ht_optimizer_new(t->theta, &momentum);
    ht_check(d->ctx);
    demo_start(t->theta, start);
    for (int64_t k = 0; k < t->steps && !interrupted(); k++) {
        fill(t, c, (uint64_t)(start * t->steps + k), order);
        ht_recording_run(recording, (int32_t)k);
        ht_optimizer_step(optimizer, t->gradient);
        ht_check(d->ctx);
        demo_worked(d, 1 / (double)t->steps, what, 0, 0, (double)NAN);
    }
    ht_optimizer_free(optimizer);
    ht_recording_free(recording);
    free(order);
}

static void negate(ht_tensor *to, const ht_tensor *x)
{
    for (int64_t i = 0; i < ht_tensor_count(x); i++)
        ht_tensor_set(to, i, -ht_tensor_get(x, i));
}

static void build_losses(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_vars_set(out[0], "loss", demo_losses(curate_model, in[0], in[1]));
}

/* Of the network trained last, minus the loss of each image. */
static void score_loss(const trainer *t, ht_tensor *score)
{
    ht_context *ctx = ht_set_context(t->theta);
    ht_set *losses = ht_set_new(ctx);
    ht_tensor *loss = ht_set_add(losses, "loss", HT_F32, HT_SHAPE(t->pool->n));
    ht_recording *recording =
        ht_recording_new((const ht_set *[]){t->theta, t->pool->set, NULL},
                         (ht_set *[]){losses, NULL}, build_losses, NULL);
    ht_check(ctx);
    ht_recording_run(recording, 0);
    ht_check(ctx);
    negate(score, loss);
    ht_recording_free(recording);
    ht_set_free(losses);
}

static ht_var target_loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *images,
                          void *user)
{
    return ht_mean(demo_losses(curate_model, theta, images));
}

static ht_var weighted_loss(const ht_vars *theta, const ht_vars *eta,
                            const ht_vars *images, void *user)
{
    return ht_sum(
        ht_mul(ht_get(eta, "weight"), demo_losses(curate_model, theta, images)));
}

/* The product of each image's gradient with the target's, by a training of one step from
 * weights of 0: theta stays where it is, and dF/dw_i is -grad CE_i . grad F. */
static void score_product(const trainer *t, ht_tensor *score)
{
    ht_context *ctx = ht_set_context(t->theta);
    ht_set *eta = ht_set_new(ctx);
    ht_set_add(eta, "weight", HT_F32, HT_SHAPE(t->pool->n));
    ht_check(ctx);
    const ht_bilevel_problem step = {.inner = weighted_loss,
                                     .outer = target_loss,
                                     .theta = t->theta,
                                     .eta = eta,
                                     .inner_data = t->pool->set,
                                     .outer_data = t->pool->target,
                                     .update = {.rule = &ht_sgd, .rate = HT_FIXED(1)},
                                     .steps = 1};
    ht_bilevel *bilevel = ht_bilevel_new(ctx, &step, NULL);
    ht_check(ctx);
    ht_bilevel_result got = ht_bilevel_run(bilevel, 0);
    ht_check(ctx);
    negate(score, ht_set_at(got.gradient, 0));
    ht_bilevel_free(bilevel);
    ht_set_free(eta);
}

static double distance(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++) sum += (double)((a[k] - b[k]) * (a[k] - b[k]));
    return sum;
}

/* Minus the square of the distance to the nearest target image of the same label. */
static void score_near(const pool *p, ht_tensor *score)
{
    int64_t pixels = p->rows * p->cols;
    const float *x = ht_tensor_data(ht_set_tensor(p->all, "x"));
    for (int64_t i = 0; i < p->n; i++) {
        double least = (double)INFINITY;
        for (int64_t j = p->n; j < p->n + p->n_target; j++)
            if (p->given[i] == p->given[j])
                least = fmin(least, distance(x + i * pixels, x + j * pixels, pixels));
        ht_tensor_set(score, i, -least);
    }
}

void trainer_enter(trainer *t, demo *d, judge *j, entrant *row, const choice *c,
                   int64_t n_starts, double cost)
{
    int64_t n = ht_tensor_count(ht_set_tensor(t->pool->test, "label"));
    double *one = calloc((size_t)n, sizeof *one);
    HT_ASSERT(one, "no memory for %lld scores", (long long)n);
    entrant_begin(row, n, (double)n_starts + cost);
    for (int64_t s = 0; s < n_starts && !interrupted(); s++) {
        train_on(t, d, row->name, c, UNSEEN + s);
        judge_accuracy(j, t->theta, one);
        for (int64_t i = 0; i < n; i++) row->score[i] += one[i] / (double)n_starts;
    }
    entrant_end(row, row->loss);
    free(one);
}

void choose_controls(trainer *t, demo *d, choice chosen[N_ENTRANTS], int64_t start)
{
    const pool *p = t->pool;
    int64_t keep = p->n / KINDS;
    ht_tensor *score = ht_tensor_new(d->ctx, HT_F64, HT_SHAPE(p->n));
    ht_check(d->ctx);
    chosen[POOL] = choice_range(p, 0, p->n);
    chosen[TARGET] = choice_range(p, p->n, p->n_target);
    chosen[POOL_TARGET] = choice_range(p, 0, p->n + p->n_target);
    chosen[RANDOM] = choice_random(p, keep);
    chosen[SKEW] = choice_skewed(p, keep);
    chosen[ORACLE] = choice_oracle(p, keep);
    score_near(p, score);
    chosen[NEAR] = choice_best(p, score, keep);
    chosen[NEAR_TARGET] = choice_joined(p, &chosen[NEAR], &chosen[TARGET]);
    train_on(t, d, "training on all", &chosen[POOL], start);
    score_loss(t, score);
    chosen[LOSS] = choice_best(p, score, keep);
    score_product(t, score);
    chosen[PRODUCT] = choice_best(p, score, keep);
    ht_tensor_free(score);
}

void choose_learned(const pool *p, const ht_tensor *weight, choice chosen[N_ENTRANTS])
{
    chosen[LEARNED] = choice_best(p, weight, p->n / KINDS);
    chosen[LEARNED_TARGET] = choice_joined(p, &chosen[LEARNED], &chosen[TARGET]);
}

void choose_count(const choice chosen[N_ENTRANTS], demo_number numbers[N_NUMBERS])
{
    static const char *const kept[KINDS] = {"kept_relevant", "kept_other", "kept_wrong",
                                            "kept_photographs"};
    static const char *const right[] = {"random_right", "skew_right", "loss_right",
                                        "near_right", "product_right"};
    const choice *c = &chosen[LEARNED];
    for (int k = 0; k < KINDS; k++)
        *numbers++ = (demo_number){kept[k], c->n ? (double)c->kept[k] : (double)NAN};
    for (int k = RANDOM; k <= PRODUCT; k++) {
        c = &chosen[k];
        *numbers++ =
            (demo_number){right[k - RANDOM],
                          (double)(c->kept[RELEVANT] + c->kept[OTHER]) / (double)c->n};
    }
}
