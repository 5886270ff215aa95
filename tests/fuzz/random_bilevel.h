/* SPDX-License-Identifier: MIT */
/* random_bilevel.h: a bilevel problem made of bytes: a small network, losses, an update
 * rule, outer variables of every kind, batches. Read next: fuzz_bilevel.c. */
#ifndef HTI_RANDOM_BILEVEL_H
#define HTI_RANDOM_BILEVEL_H

#include "hypertape.h"
#include "target.h"

enum { RANDOM_COORDINATES = 3, RANDOM_LAYERS = 3, RANDOM_GROUPS = 2 };

typedef enum random_loss {
    RANDOM_CROSS_ENTROPY,
    RANDOM_SQUARED_ERROR,
    RANDOM_HUBER,
    RANDOM_BINARY,
    RANDOM_LOSSES
} random_loss;

/* The problem points to its own parts: it is not copied. */
typedef struct random_bilevel {
    ht_bilevel_problem problem;
    ht_dtype dtype;
    int n_layers, activation; /* of the hidden layers */
    random_loss inner, outer;
    int64_t rows, width[RANDOM_LAYERS + 1];
    bool weights, penalty, pixels, start,
        outer_penalty;              /* outer variables in the losses */
    bool layernorm, dropout, kinks; /* kinks: derivatives jump somewhere */
    ht_set *theta, *eta, *data[2];
    ht_coordinate coordinate[RANDOM_COORDINATES];
    ht_update grouped;
    ht_update_group group[RANDOM_GROUPS];
    ht_rate rate;
    uint64_t seed;
} random_bilevel;

/* Bytes of problem `number` by a seed: splitmix64's last steps (Steele, Lea & Flood,
 * OOPSLA 2014). */
static inline void random_bilevel_bytes(uint64_t seed, uint64_t number, uint8_t *bytes,
                                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t z = (seed + 1000003 * number + i) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        bytes[i] = (uint8_t)(z >> 56);
    }
}

/* Callbacks. */

static inline ht_var random_activation(int kind, ht_var x)
{
    switch (kind) {
    case 0:
        return ht_tanh(x);
    case 1:
        return ht_sigmoid(x);
    case 2:
        return ht_softplus(x);
    case 3:
        return ht_gelu(x);
    case 4:
        return ht_silu(x);
    case 5:
        return ht_sin(x);
    case 6:
        return ht_relu(x);
    default:
        return ht_leaky_relu(x, 0.1);
    }
}

static inline ht_var random_logits(const random_bilevel *r, const ht_vars *theta,
                                   ht_var x)
{
    static const char *const name[RANDOM_LAYERS] = {"first", "second", "third"};
    for (int l = 0; l < r->n_layers; l++) {
        x = ht_linear(x, theta, name[l]);
        if (l + 1 == r->n_layers) break;
        if (r->layernorm) x = ht_layernorm(x, HT_ZERO, HT_ZERO, 1e-3);
        x = random_activation(r->activation, x);
        if (r->dropout) x = ht_dropout(x, 0.25, 5, ht_step(theta));
    }
    return x;
}

static inline ht_var random_rows(random_loss kind, ht_var logits, const ht_vars *batch)
{
    switch (kind) {
    case RANDOM_CROSS_ENTROPY:
        return ht_cross_entropy(logits, ht_get(batch, "y"));
    case RANDOM_SQUARED_ERROR:
        return ht_squared_error(logits, ht_get(batch, "target"));
    case RANDOM_HUBER:
        return ht_huber(logits, ht_get(batch, "target"), 0.7);
    default:
        return ht_binary_cross_entropy(logits, ht_sigmoid(ht_get(batch, "target")));
    }
}

static inline ht_var random_inner(const ht_vars *theta, const ht_vars *eta,
                                  const ht_vars *batch, void *user)
{
    const random_bilevel *r = user;
    ht_var x = ht_get(batch, "x");
    if (r->pixels) x = ht_add(x, ht_get(eta, "pixels"));
    ht_var rows = random_rows(r->inner, random_logits(r, theta, x), batch);
    if (r->weights) rows = ht_mul(rows, ht_get(eta, "weights"));
    ht_var loss = ht_mean(rows);
    if (r->penalty)
        loss = ht_add(loss, ht_mul(ht_get(eta, "penalty"), ht_l2(theta, NULL)));
    return loss;
}

static inline ht_var random_outer(const ht_vars *theta, const ht_vars *eta,
                                  const ht_vars *batch, void *user)
{
    random_bilevel r = *(const random_bilevel *)user;
    r.dropout = false;
    ht_var logits = random_logits(&r, theta, ht_get(batch, "x"));
    ht_var loss = ht_mean(random_rows(r.outer, logits, batch));
    if (r.outer_penalty && r.penalty)
        loss = ht_add(loss, ht_square(ht_get(eta, "penalty")));
    return loss;
}

static inline void random_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    (void)user;
    ht_var weight = ht_get(theta0, "first.weight");
    ht_vars_set(theta0, "first.weight", ht_mul(weight, ht_get(eta, "start")));
}

/* A batch is a function of the step alone. */
static inline ht_status random_fill(uint64_t step, ht_set *batch, void *user)
{
    const random_bilevel *r = user;
    ht_tensor_normal(ht_set_tensor(batch, "x"), 100 + 2 * step, 0, 1);
    ht_tensor *y = ht_set_tensor(batch, "y"), *target = ht_set_tensor(batch, "target");
    ht_tensor_uniform(target, 101 + 2 * step, -1, 1);
    for (int64_t i = 0; i < r->rows; i++)
        ht_tensor_set(y, i,
                      (double)((r->seed + step + (uint64_t)(i * i)) %
                               (uint64_t)r->width[r->n_layers]));
    return HT_OK;
}

/* Making. */

static inline ht_set *random_data(random_bilevel *r, ht_context *ctx, uint64_t step)
{
    ht_set *set = ht_set_new(ctx);
    ht_set_add(set, "x", r->dtype, HT_SHAPE(r->rows, r->width[0]));
    ht_set_add(set, "y", HT_I32, HT_SHAPE(r->rows));
    ht_set_add(set, "target", r->dtype, HT_SHAPE(r->rows, r->width[r->n_layers]));
    random_fill(step, set, r);
    return set;
}

static inline void random_network(random_bilevel *r, fuzz_bytes *b)
{
    static const uint32_t widest[] = {6, 16, 48, 96};
    uint32_t most = widest[fuzz_below(b, 4)];
    r->n_layers = 1 + (int)fuzz_below(b, RANDOM_LAYERS);
    r->rows = 1 + fuzz_below(b, most);
    for (int l = 0; l <= r->n_layers; l++) r->width[l] = 1 + fuzz_below(b, most);
    r->width[r->n_layers] = 2 + fuzz_below(b, 4);
    r->activation = (int)fuzz_below(b, 8);
    r->layernorm = fuzz_below(b, 6) == 1;
    r->dropout = fuzz_below(b, 8) == 1;
    r->inner = (random_loss)fuzz_below(b, RANDOM_LOSSES);
    r->outer = (random_loss)fuzz_below(b, RANDOM_LOSSES);
    r->kinks = r->activation >= 6 || r->inner == RANDOM_HUBER || r->outer == RANDOM_HUBER;
    static const char *const name[RANDOM_LAYERS] = {"first", "second", "third"};
    for (int l = 0; l < r->n_layers; l++)
        ht_linear_init(r->theta, name[l], r->dtype, r->width[l], r->width[l + 1]);
}

/* An outer variable of values around `value`; some in a coordinate. */
static inline ht_tensor *random_variable(random_bilevel *r, fuzz_bytes *b,
                                         const char *name, ht_shape shape, double value)
{
    ht_tensor *x = ht_set_add(r->eta, name, r->dtype, shape);
    ht_tensor_uniform(x, ht_stream(name), 0.8 * value, 1.2 * value);
    uint32_t kind = value > 0 ? fuzz_below(b, 4) : 0;
    int *n = &r->problem.n_coordinates;
    if (kind < 2 || *n == RANDOM_COORDINATES) return x;
    r->coordinate[*n] =
        kind == 2 ? (ht_coordinate){.outer = name, .kind = HT_LOG}
                  : (ht_coordinate){
                        .outer = name, .kind = HT_SIGMOID, .low = 0, .high = 2 * value};
    ht_coordinate_from_value(&r->coordinate[(*n)++], x);
    r->problem.coordinates = r->coordinate;
    return x;
}

/* Fixed or outer, with a schedule or without. */
static inline ht_scalar random_scalar(random_bilevel *r, fuzz_bytes *b, const char *name,
                                      double value)
{
    ht_scalar scalar = HT_FIXED(value);
    uint32_t kind = fuzz_below(b, 8);
    int64_t steps = r->problem.steps, n = ht_set_count(r->theta);
    if (kind >= 4) {
        ht_shape shape[] = {HT_SCALAR, HT_SHAPE(steps, 1), HT_SHAPE(1, n),
                            HT_SHAPE(steps, n)};
        bool whole = !strncmp(name, "clip", 4);
        random_variable(r, b, name, shape[whole ? 0 : kind - 4], value);
        scalar = HT_OUTER(name);
    }
    static const ht_schedule_fn schedule[] = {ht_rate_constant, ht_rate_step,
                                              ht_rate_cosine, ht_rate_one_cycle};
    if (strcmp(name, "rate") != 0 || fuzz_below(b, 3)) return scalar;
    kind = fuzz_below(b, 4);
    scalar.schedule = schedule[kind];
    r->rate = (ht_rate){0};
    if (kind < 3 && (r->rate.warmup = fuzz_below(b, 4))) r->rate.start = 0.3;
    if (kind == 1) r->rate.every = 1 + fuzz_below(b, 8), r->rate.factor = 0.5;
    if (kind >= 2) r->rate.steps = steps + 2, r->rate.final = 0.1;
    if (kind == 3) r->rate.start = 0.2, r->rate.rise = 0.4;
    scalar.user = &r->rate;
    return scalar;
}

/* Outside the root, inside it, or both. */
static inline void random_eps(random_bilevel *r, fuzz_bytes *b, ht_update *u)
{
    uint32_t where = fuzz_below(b, 4);
    double eps = fuzz_below(b, 3) ? 1e-2 : 1e-6;
    if (where != 1) u->eps = random_scalar(r, b, "eps", eps);
    if (where == 1 || where == 2)
        u->eps_root = random_scalar(r, b, "eps_root", eps * eps);
}

static inline void random_update(random_bilevel *r, fuzz_bytes *b)
{
    static const ht_update_rule *const rule[] = {&ht_sgd,     &ht_momentum, &ht_nesterov,
                                                 &ht_adam,    &ht_adamw,    &ht_rmsprop,
                                                 &ht_adagrad, &ht_muon};
    uint32_t k = fuzz_below(b, 8);
    ht_update *u = &r->problem.update;
    bool adam = k == 3 || k == 4, rooted = k >= 3 && k < 7, slow = k >= 3;
    u->rule = rule[k];
    double rate = slow ? 0.02 : fuzz_real(b, 0.02, 0.3);
    if (fuzz_below(b, 12) == 1) rate *= fuzz_below(b, 2) ? 1e4 : 1e30; /* wild */
    u->rate = random_scalar(r, b, "rate", rate);
    if (k == 1 || k == 2 || k == 7 || adam)
        u->momentum = random_scalar(r, b, "momentum", 0.6);
    if (adam || k == 5) u->beta2 = random_scalar(r, b, "beta2", 0.8);
    if (rooted) random_eps(r, b, u);
    if (fuzz_below(b, 3) == 1) u->decay = random_scalar(r, b, "decay", 0.01);
    if (fuzz_below(b, 4) == 1) u->clip = random_scalar(r, b, "clip", 0.5);
    if (fuzz_below(b, 6) == 1) u->clip_value = random_scalar(r, b, "clip_value", 0.2);
    r->kinks = r->kinks || u->clip.value > 0 || u->clip.outer ||
               u->clip_value.value > 0 || u->clip_value.outer;
    if (fuzz_below(b, 4) != 1) return;
    r->grouped = (ht_update){.rule = &ht_sgd, .rate = HT_FIXED(0.05)};
    r->group[0] = (ht_update_group){"*.bias", fuzz_below(b, 2) ? &r->grouped : NULL};
    u->groups = r->group;
    u->n_groups = 1;
}

static inline void random_outers(random_bilevel *r, fuzz_bytes *b)
{
    uint32_t which = fuzz_byte(b);
    r->weights = which & 1 || ht_set_count(r->eta) == 0;
    r->penalty = which & 2;
    r->pixels = which & 4;
    r->start = which & 8;
    r->outer_penalty = which & 16;
    if (r->weights) random_variable(r, b, "weights", HT_SHAPE(r->rows), 1);
    if (r->penalty) random_variable(r, b, "penalty", HT_SCALAR, 0.01);
    if (r->pixels)
        ht_tensor_normal(
            ht_set_add(r->eta, "pixels", r->dtype, HT_SHAPE(r->rows, r->width[0])), 7, 0,
            0.1);
    if (r->start) random_variable(r, b, "start", HT_SCALAR, 1.1);
    if (r->start) r->problem.init = random_init;
}

/* Everything by the bytes; freed by random_bilevel_free. */
static inline void random_bilevel_new(random_bilevel *r, ht_context *ctx, fuzz_bytes *b)
{
    *r = (random_bilevel){.dtype = fuzz_below(b, 3) ? HT_F64 : HT_F32};
    ht_bilevel_problem *p = &r->problem;
    r->theta = ht_set_new(ctx);
    r->eta = ht_set_new(ctx);
    p->steps = 1 + fuzz_below(b, fuzz_below(b, 4) ? 12 : 40);
    r->seed = fuzz_byte(b);
    random_network(r, b);
    random_update(r, b);
    random_outers(r, b);
    r->data[0] = random_data(r, ctx, 1000);
    uint32_t batches = fuzz_below(b, 6);
    if (batches < 5) r->data[1] = random_data(r, ctx, 2000); /* else one set is both */
    if (batches == 1 || batches >= 3) p->inner_batch = random_fill;
    if (batches == 2 || batches >= 3) p->outer_batch = random_fill;
    p->inner = random_inner;
    p->outer = random_outer;
    p->theta = r->theta;
    p->eta = r->eta;
    p->inner_data = r->data[0];
    p->outer_data = r->data[1] ? r->data[1] : r->data[0];
    p->user = r;
}

static inline void random_bilevel_free(random_bilevel *r)
{
    ht_set_free(r->theta);
    ht_set_free(r->eta);
    ht_set_free(r->data[0]);
    ht_set_free(r->data[1]);
}

#endif
