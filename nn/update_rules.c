/* SPDX-License-Identifier: MIT */
/* update_rules.c: update rules, each one function that appends a step of one parameter
 * tensor. Scalars are 0-d f64 variables, so that 1 - beta^t keeps its digits; they meet
 * the parameters' dtype at the last moment. Read next: update.c, which calls them. */
#include "nn_internal.h"

ht_var hti_beside(ht_var scalar, ht_var x)
{
    return ht_cast(scalar, ht_var_dtype(x));
}

static void hti_sgd_apply(hti_step *s)
{
    s->new_w = ht_sub(s->w, ht_mul(hti_beside(s->rate, s->w), s->g));
}

/* momentum s + x */
static ht_var hti_gather_speed(const hti_step *s, ht_var speed, ht_var x)
{
    return ht_add(ht_mul(hti_beside(s->momentum, s->w), speed), x);
}

static void hti_momentum_apply(hti_step *s)
{
    s->new_state[0] = hti_gather_speed(s, s->state[0], s->g);
    s->new_w = ht_sub(s->w, ht_mul(hti_beside(s->rate, s->w), s->new_state[0]));
}

static void hti_nesterov_apply(hti_step *s)
{
    s->new_state[0] = hti_gather_speed(s, s->state[0], s->g);
    ht_var ahead = hti_gather_speed(s, s->new_state[0], s->g);
    s->new_w = ht_sub(s->w, ht_mul(hti_beside(s->rate, s->w), ahead));
}

/* beta a + (1 - beta) b */
static ht_var hti_average(ht_var beta, ht_var a, ht_var b)
{
    return ht_add(ht_mul(hti_beside(beta, a), a),
                  ht_mul(hti_beside(ht_sub(1.0, beta), a), b));
}

static void hti_adam_apply(hti_step *s)
{
    ht_var correction1 = ht_sub(1.0, ht_pow(s->momentum, s->t));
    ht_var correction2 = ht_sub(1.0, ht_pow(s->beta2, s->t));
    ht_var m = hti_average(s->momentum, s->state[0], s->g);
    ht_var v = hti_average(s->beta2, s->state[1], ht_square(s->g));
    /* Not divided by: a division of every element costs as much as the rest. */
    ht_var scale = hti_beside(ht_rsqrt(correction2), s->w);
    ht_var below = ht_add(ht_mul(ht_sqrt(v), scale), hti_beside(s->eps, s->w));
    ht_var size = hti_beside(ht_div(s->rate, correction1), s->w);
    s->new_state[0] = m;
    s->new_state[1] = v;
    s->new_w = ht_sub(s->w, ht_div(ht_mul(size, m), below));
}

/* Not w (1 - rate decay): in f32 that factor would lose the digits of a small decay. */
static void hti_adamw_apply(hti_step *s)
{
    if (!ht_is_zero(s->decay)) {
        ht_var part = hti_beside(ht_mul(s->rate, s->decay), s->w);
        s->w = ht_sub(s->w, ht_mul(part, s->w));
    }
    hti_adam_apply(s);
}

/* w - rate g / (sqrt(v) + eps); sqrt'(0) = 0 keeps its derivatives finite, as Adam's. */
static void hti_scaled_apply(hti_step *s, ht_var v)
{
    ht_var below = ht_add(ht_sqrt(v), hti_beside(s->eps, s->w));
    s->new_state[0] = v;
    s->new_w = ht_sub(s->w, ht_div(ht_mul(hti_beside(s->rate, s->w), s->g), below));
}

static void hti_rmsprop_apply(hti_step *s)
{
    hti_scaled_apply(s, hti_average(s->beta2, s->state[0], ht_square(s->g)));
}

static void hti_adagrad_apply(hti_step *s)
{
    hti_scaled_apply(s, ht_add(s->state[0], ht_square(s->g)));
}

const ht_update_rule ht_sgd = {.name = "sgd", .apply = hti_sgd_apply};
const ht_update_rule ht_momentum = {.name = "momentum",
                                    .n_state = 1,
                                    .state = {"s"},
                                    .has_momentum = true,
                                    .apply = hti_momentum_apply};
const ht_update_rule ht_nesterov = {.name = "nesterov",
                                    .n_state = 1,
                                    .state = {"s"},
                                    .has_momentum = true,
                                    .apply = hti_nesterov_apply};
const ht_update_rule ht_adam = {.name = "adam",
                                .n_state = 2,
                                .state = {"m", "v"},
                                .has_momentum = true,
                                .has_beta2 = true,
                                .has_eps = true,
                                .apply = hti_adam_apply};
const ht_update_rule ht_adamw = {.name = "adamw",
                                 .n_state = 2,
                                 .state = {"m", "v"},
                                 .has_momentum = true,
                                 .has_beta2 = true,
                                 .has_eps = true,
                                 .decays_itself = true,
                                 .apply = hti_adamw_apply};
const ht_update_rule ht_rmsprop = {.name = "rmsprop",
                                   .n_state = 1,
                                   .state = {"v"},
                                   .has_beta2 = true,
                                   .has_eps = true,
                                   .apply = hti_rmsprop_apply};
const ht_update_rule ht_adagrad = {.name = "adagrad",
                                   .n_state = 1,
                                   .state = {"v"},
                                   .has_eps = true,
                                   .apply = hti_adagrad_apply};
