/* SPDX-License-Identifier: MIT */
/* 10_unroll.c: back through a training, with one forward product a step.
 *
 * (Needs lessons 6, 7 and 9. Do lesson 9's case on paper first: the indices are the same.
 * In the code read losses() to unroll(); main() only fills sets and prints.)
 *
 *     ht_set              tensors with names. Here are three sets: theta, which is
 *                         trained; eta, the outer variables; data, the points
 *     ht_vars             a set's variables on a tape, which ht_vars_input makes;
 *                         ht_get(vars, "w") is one, ht_vars_set puts another there
 *     ht_grad_or_zero     ht_grad, with 0 where y does not depend on x (ht_grad refuses)
 *     ht_slice(x, 0, 0, 4, 1)   of axis 0 what is at 0, 1, 2, 3 (below 4, by steps of 1)
 *     ht_bilevel_problem  losses, sets, steps: ht_bilevel_run does all this by it;
 *                         HT_OUTER("rate"): the rate of a step is eta's "rate"
 *
 * Example i has the loss l_i, and counts w_i times. A step of training is
 *
 *     U(theta, w, rate) = theta - rate g(theta, w)         g = dL/dtheta, L = sum w_i l_i
 *
 * How good is theta_T after T steps? The outer loss F says it. Wanted are dF/dw and
 * dF/drate. Lesson 9's sweep takes v = dF/dtheta_t+1 past step t, and needs three things:
 * v dU/dtheta, v dU/dw and v dU/drate. There are two ways to them.
 *
 * Reverse over reverse is the vjp of all of U, as in lesson 9. But g is made by a sweep
 * back. So this goes back through a sweep back, and then through the loss again.
 *
 * Mixed mode (Kemaev et al., MixFlow-MG, ICML 2025) has two parts. In the first, forget
 * where g came from: let it be a leaf. Then theta' = theta - rate g is a simple formula.
 * Its vjp needs no derivative of L:
 *
 *     to theta: v         to g: gbar = -rate v         to the rate: -g . v
 *
 * In the second, gbar goes on from g to theta and to w: gbar dg/dtheta and gbar dg/dw.
 * Let q = dL/dw. The Jacobian of (g, q) by (theta, w) is the Hessian of L: symmetric.
 *
 *              theta       w
 *     g   | dg/dtheta   dg/dw |         dg/dtheta = (dg/dtheta)^T
 *     q   | dq/dtheta   dq/dw |             dg/dw = (dq/dtheta)^T
 *
 * So a row times a matrix becomes a matrix times a column, which is a tangent:
 *
 *     gbar dg/dtheta = dg/dtheta gbar      how g moves as theta moves by gbar
 *     gbar dg/dw     = dq/dtheta gbar      how q moves as theta moves by gbar
 *
 * ONE jvp of (g, q), along gbar for theta and nothing for w, gives both. (Here q_i = l_i:
 * what comes to w_i is how l_i moves.) From v_T = dF/dtheta_T on, the step back of t is
 *
 *     v_t = v_t+1 + gbar dg/dtheta     dF/dw += gbar dg/dw     dF/drate += -g . v_t+1
 *
 * F also sees w directly, by a price on it, sum w_i^2 / 20. So dF/dw begins with w / 10.
 * Differentiate F by theta_T and w in *one* call: then both are leaves, and w's way
 * through theta_T is not counted. It must not be: the steps back count it.
 *
 * Both ways give the same numbers. Mixed mode spares memory in engines that keep what a
 * sweep back computed until they have gone back through it. Where dF/dw_i is positive,
 * less of example i makes F less: so look at w 4 and w 5. Next: lesson 11. */
#include "lesson.h"

enum { N = 6, STEPS = 30 };

/* Six points in the plane, each times its label, 1 or -1. Those of 4 and 5 are wrong. F
 * counts the losses of 0 to 3. */
static const double points[] = {2, 1, 1, 2, 1, 0, 1, 2, -2, -1, -1, 0};

/* The loss of each example, log(1 + e^(-label point . theta)). */
static ht_var losses(const ht_vars *theta, const ht_vars *data)
{
    return ht_softplus(ht_neg(ht_matmul(ht_get(data, "points"), ht_get(theta, "theta"))));
}

static ht_var inner(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                    void *u)
{
    return ht_sum(ht_mul(ht_get(eta, "w"), losses(theta, data)));
}

static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                    void *u)
{
    ht_var price = ht_mul(ht_sum(ht_square(ht_get(eta, "w"))), 0.05);
    return ht_add(ht_sum(ht_slice(losses(theta, data), 0, 0, 4, 1)), price);
}

/* The step back of x = {theta_t, w, rate}, with joint = {g, q}: v dU/dx[k] to d[k]. */
static void step_back(const ht_var *x, const ht_var *joint, ht_var v, ht_var *d)
{
    ht_var gbar = ht_neg(ht_mul(x[2], v));
    ht_jvp(1, x, &gbar, 2, joint, d);
    d[0] = ht_add(v, d[0]);
    d[2] = ht_neg(ht_sum(ht_mul(joint[0], v)));
}

/* dF/dw and dF/drate to found. All is on one tape here, with every theta_t. */
static void unroll(ht_set *const *sets, bool mixed, double *found)
{
    ht_tape *tape = ht_tape_new(ht_set_context(sets[0]), HT_EAGER);
    ht_vars *theta = ht_vars_input(tape, sets[0], 0);
    const ht_vars *eta = ht_vars_input(tape, sets[1], 0);
    const ht_vars *data = ht_vars_input(tape, sets[2], 0);
    ht_var w = ht_get(eta, "w"), rate = ht_get(eta, "rate"), d[3], sum[3];
    ht_var x[STEPS + 1][3] = {{ht_get(theta, "theta"), w, rate}}, joint[STEPS][2];
    for (int t = 0; t < STEPS; t++) {
        ht_grad(inner(theta, eta, data, NULL), 2, x[t], joint[t]);
        x[t + 1][0] = ht_sub(x[t][0], ht_mul(rate, joint[t][0]));
        x[t + 1][1] = w, x[t + 1][2] = rate;
        ht_vars_set(theta, "theta", x[t + 1][0]);
    }
    ht_var F = outer(theta, eta, data, NULL);
    /* Reverse over reverse: from F back to theta_0, w and rate; that is all of it. */
    if (!mixed) ht_grad_or_zero(F, 3, x[0], sum);
    /* Mixed mode: from F to theta_T, w and rate, each a leaf; then the steps back. */
    if (mixed) ht_grad_or_zero(F, 3, x[STEPS], sum);
    for (int t = STEPS - 1; t >= 0 && mixed; t--) {
        step_back(x[t], joint[t], sum[0], d); /* sum[0] is v_t+1 */
        sum[0] = d[0], sum[1] = ht_add(sum[1], d[1]), sum[2] = ht_add(sum[2], d[2]);
    }
    for (int i = 0; i < N; i++) found[i] = ht_tensor_get(ht_value(sum[1]), i);
    found[N] = ht_item(sum[2]);
    ht_tape_free(tape);
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    ht_context *ctx = lesson_context();
    ht_set *sets[3]; /* theta, eta, data */
    for (int i = 0; i < 3; i++) sets[i] = ht_set_new(ctx);
    ht_set_add(sets[0], "theta", HT_F64, HT_SHAPE(2, 1));
    ht_tensor_fill(ht_set_add(sets[1], "w", HT_F64, HT_SHAPE(N, 1)), 1);
    ht_tensor_fill(ht_set_add(sets[1], "rate", HT_F64, HT_SCALAR), 0.1);
    ht_tensor *x = ht_set_add(sets[2], "points", HT_F64, HT_SHAPE(N, 2));
    memcpy(ht_tensor_data(x), points, sizeof points);
    ht_bilevel_problem p = {inner, outer, .theta = sets[0], .eta = sets[1]};
    p.inner_data = p.outer_data = sets[2], p.steps = STEPS;
    p.update = (ht_update){&ht_sgd, .rate = HT_OUTER("rate")};
    ht_bilevel *library = ht_bilevel_new(ctx, &p, NULL);
    const ht_set *gradient = ht_bilevel_run(library, 0).gradient;
    double found[2][N + 1];
    for (int k = 0; k < 2; k++) unroll(sets, k == 0, found[k]);
    puts("dF/d        mixed    reverse  ht_bilevel_run");
    for (int i = 0; i <= N; i++)
        printf("%-4s %d %10.4f %10.4f %10.4f%s\n", i < N ? "w" : "rate", i % N,
               found[0][i], found[1][i], ht_tensor_get(ht_set_at(gradient, i / N), i % N),
               i == 4 || i == 5 ? "  <- its label is wrong" : "");
    if (page) ht_bilevel_write_html(library, page);
    ht_bilevel_free(library);
    for (int i = 0; i < 3; i++) ht_set_free(sets[i]);
    ht_context_free(ctx);
}
