/* SPDX-License-Identifier: MIT */
/* update_rules.c: update rules, each one function that appends a step of one parameter
 * tensor. Scalars are 0-d f64 variables, so that 1 - beta^t keeps its digits; they meet
 * the parameters' dtype at the last moment. Read next: update.c, which calls them. */
#include <math.h>

#include "nn_internal.h"

ht_var hti_beside(ht_var scalar, ht_var x)
{
    return ht_cast(scalar, ht_var_dtype(x));
}

ht_var hti_norm_of(ht_var x)
{
    if (ht_var_dtype(x) == HT_F32) return ht_sqrt(ht_sum(ht_square(ht_cast(x, HT_F64))));
    ht_axes all = {.n = ht_var_shape(x).rank};
    for (int i = 0; i < all.n; i++) all.axis[i] = i;
    return ht_norm_axes(x, all, false);
}

static void sgd_apply(ht_update_step *s)
{
    s->new_w = ht_sub(s->w, ht_mul(hti_beside(s->rate, s->w), s->g));
}

/* momentum s + x */
static ht_var gather_speed(const ht_update_step *s, ht_var speed, ht_var x)
{
    return ht_add(ht_mul(hti_beside(s->momentum, s->w), speed), x);
}

static void momentum_apply(ht_update_step *s)
{
    s->new_state[0] = gather_speed(s, s->state[0], s->g);
    s->new_w = ht_sub(s->w, ht_mul(hti_beside(s->rate, s->w), s->new_state[0]));
}

/* Not w - rate (g + momentum s): a small rate keeps in range what that sum is not. */
static void nesterov_from(ht_update_step *s, ht_var w)
{
    s->new_state[0] = gather_speed(s, s->state[0], s->g);
    ht_var ahead = hti_beside(ht_mul(s->rate, s->momentum), s->w);
    ht_var step =
        ht_add(ht_mul(hti_beside(s->rate, s->w), s->g), ht_mul(ahead, s->new_state[0]));
    s->new_w = ht_sub(w, step);
}

static void nesterov_apply(ht_update_step *s)
{
    nesterov_from(s, s->w);
}

/* beta a + (1 - beta) b */
static ht_var moving_average(ht_var beta, ht_var a, ht_var b)
{
    return ht_add(ht_mul(hti_beside(beta, a), a),
                  ht_mul(hti_beside(ht_sub(1.0, beta), a), b));
}

/* sqrt(beta u^2 + (1 - beta) g^2): the root of the average is the state, since an f32
 * holds no square of what is above 1.8e19 or below 1e-23. */
static ht_var moving_root(ht_var beta, ht_var u, ht_var g)
{
    return hti_weighted_hypot(hti_beside(beta, u), u, hti_beside(ht_sub(1.0, beta), u), g,
                              HT_HERE);
}

/* m / (root + eps), root = sqrt(scaled^2 + eps_root): its slope by `scaled` is bounded,
 * and 0 where `scaled` has its kink. Fixed, eps and eps_root are not both 0; where outer
 * ones are, and u too, the element has had no gradient: it does not move, and no
 * derivative goes through it. */
static ht_var divided_by_root(const ht_update_step *s, ht_var m, ht_var scaled)
{
    double eps = 0, under = 0;
    ht_var one = ht_number(1), root = scaled;
    if (!ht_is_zero(s->eps_root)) {
        hti_is_constant(s->eps_root, &under);
        root =
            hti_weighted_hypot(one, scaled, hti_beside(s->eps_root, s->w), one, HT_HERE);
    }
    ht_var below = ht_add(root, hti_beside(s->eps, s->w));
    if ((hti_is_constant(s->eps, &eps) && eps != 0) || under != 0)
        return ht_div(m, below);
    ht_var none = ht_equal(below, 0.0);
    return ht_where(none, HT_ZERO, ht_div(m, ht_where(none, 1.0, below)));
}

/* 1 - beta^t, to the last places near beta = 1 too, where the difference itself would
 * have lost them; below 1/2 it is right, and has a derivative at 0. */
static ht_var correction(ht_var beta, ht_var t)
{
    double fixed;
    bool is_fixed = hti_is_constant(beta, &fixed);
    if (is_fixed && fixed >= 0.5) return ht_neg(ht_expm1(ht_mul(t, log(fixed))));
    ht_var far = ht_sub(1.0, ht_pow(beta, t));
    if (is_fixed) return far;
    ht_var near = ht_greater(beta, 0.5);
    ht_var power = ht_mul(t, ht_log(ht_where(near, beta, 1.0)));
    return ht_where(near, ht_neg(ht_expm1(power)), far);
}

static void adam_from(ht_update_step *s, ht_var w)
{
    ht_var correction1 = correction(s->momentum, s->t);
    ht_var correction2 = correction(s->beta2, s->t);
    ht_var m = moving_average(s->momentum, s->state[0], s->g);
    ht_var u = moving_root(s->beta2, s->state[1], s->g);
    /* Not divided by: a division of every element costs as much as the rest. */
    ht_var scale = hti_beside(ht_rsqrt(correction2), s->w);
    ht_var size = hti_beside(ht_div(s->rate, correction1), s->w);
    s->new_state[0] = m;
    s->new_state[1] = u;
    s->new_w = ht_sub(w, ht_mul(size, divided_by_root(s, m, ht_mul(u, scale))));
}

static void adam_apply(ht_update_step *s)
{
    adam_from(s, s->w);
}

/* w - rate decay w. Not w (1 - rate decay): in f32 that factor would lose the digits of a
 * small decay. */
static ht_var shrunk(const ht_update_step *s)
{
    if (ht_is_zero(s->decay)) return s->w;
    return ht_sub(s->w, ht_mul(hti_beside(ht_mul(s->rate, s->decay), s->w), s->w));
}

static void adamw_apply(ht_update_step *s)
{
    adam_from(s, shrunk(s));
}

/* w - rate g / (u + eps) */
static void scaled_apply(ht_update_step *s, ht_var u)
{
    s->new_state[0] = u;
    s->new_w =
        ht_sub(s->w, ht_mul(hti_beside(s->rate, s->w), divided_by_root(s, s->g, u)));
}

static void rmsprop_apply(ht_update_step *s)
{
    scaled_apply(s, moving_root(s->beta2, s->state[0], s->g));
}

static void adagrad_apply(ht_update_step *s)
{
    ht_var one = ht_number(1);
    scaled_apply(s, hti_weighted_hypot(one, s->state[0], one, s->g, HT_HERE));
}

/* The nearest matrix of orthonormal rows or columns, about: five times a x + (b xx' + c
 * (xx')^2) x, which moves every singular value in (0, 1] to 0.7 .. 1.2. The smaller of
 * xx' and x'x is taken. */
static ht_var orthonormal(ht_var x)
{
    ht_shape shape = ht_var_shape(x);
    if (shape.dim[0] > shape.dim[1]) return ht_transpose(orthonormal(ht_transpose(x)));
    for (int k = 0; k < 5; k++) {
        ht_var square = ht_matmul(x, ht_transpose(x));
        ht_var more =
            ht_add(ht_mul(square, -4.7750), ht_mul(ht_matmul(square, square), 2.0315));
        x = ht_add(ht_mul(x, 3.4445), ht_matmul(more, x));
    }
    return x;
}

/* Muon: what Nesterov's momentum would descend along, made orthonormal. A weight is
 * (n_in, n_out), a kernel (n_out, n_in, ...), flattened. */
static void muon_apply(ht_update_step *s)
{
    ht_shape shape = ht_var_shape(s->w);
    if (shape.rank < 2) {
        nesterov_from(s, shrunk(s));
        return;
    }
    int64_t rows = shape.dim[0], columns = 1;
    for (int i = 1; i < shape.rank; i++) columns *= shape.dim[i];
    double in = (double)(shape.rank == 2 ? rows : columns);
    double out = (double)(shape.rank == 2 ? columns : rows);
    ht_var w = shrunk(s), speed = gather_speed(s, s->state[0], s->g);
    ht_var ahead = ht_reshape(gather_speed(s, speed, s->g), HT_SHAPE(rows, columns));
    ht_var size = hti_beside(ht_add(hti_norm_of(ahead), 1e-7), ahead);
    ht_var step = ht_reshape(orthonormal(ht_div(ahead, size)), shape);
    ht_var rate = ht_mul(s->rate, sqrt(fmax(1, out / fmax(1, in))));
    s->new_state[0] = speed;
    s->new_w = ht_sub(w, ht_mul(hti_beside(rate, s->w), step));
}

const ht_update_rule ht_sgd = {.name = "sgd", .usual = "HT_SGD(0.1)", .apply = sgd_apply};
const ht_update_rule ht_momentum = {.name = "momentum",
                                    .usual = "HT_MOMENTUM(0.01, 0.9)",
                                    .n_state = 1,
                                    .state = {"s"},
                                    .has_momentum = true,
                                    .apply = momentum_apply};
const ht_update_rule ht_nesterov = {.name = "nesterov",
                                    .usual = "HT_NESTEROV(0.01, 0.9)",
                                    .n_state = 1,
                                    .state = {"s"},
                                    .has_momentum = true,
                                    .apply = nesterov_apply};
const ht_update_rule ht_adam = {.name = "adam",
                                .usual = "HT_ADAM(0.001)",
                                .n_state = 2,
                                .state = {"m", "u"},
                                .has_momentum = true,
                                .has_beta2 = true,
                                .has_eps = true,
                                .apply = adam_apply};
const ht_update_rule ht_adamw = {.name = "adamw",
                                 .usual = "HT_ADAMW(0.001, 0.01)",
                                 .n_state = 2,
                                 .state = {"m", "u"},
                                 .has_momentum = true,
                                 .has_beta2 = true,
                                 .has_eps = true,
                                 .decays_itself = true,
                                 .apply = adamw_apply};
const ht_update_rule ht_rmsprop = {.name = "rmsprop",
                                   .usual = "HT_RMSPROP(0.001)",
                                   .n_state = 1,
                                   .state = {"u"},
                                   .has_beta2 = true,
                                   .has_eps = true,
                                   .apply = rmsprop_apply};
const ht_update_rule ht_adagrad = {.name = "adagrad",
                                   .usual = "HT_ADAGRAD(0.01)",
                                   .n_state = 1,
                                   .state = {"u"},
                                   .has_eps = true,
                                   .apply = adagrad_apply};
const ht_update_rule ht_muon = {.name = "muon",
                                .usual = "HT_MUON(0.02, 0.95)",
                                .n_state = 1,
                                .state = {"s"},
                                .has_momentum = true,
                                .decays_itself = true,
                                .apply = muon_apply};
