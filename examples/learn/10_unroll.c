/* SPDX-License-Identifier: MIT */
/* 10_unroll.c: back through a training, with one forward product a step.
 *
 * (Needs lessons 6, jvp, 7 and 9.) L is a sum of losses l_i, one an example, each counted
 * w_i times. The outer variables are w and the rate; a step of training is
 *
 *     U(theta, w, rate) = theta - rate g(theta, w)         g = dL/dtheta, L = sum w_i l_i
 *
 * The sweep of lesson 9 needs, of each step, v dU/dtheta, v dU/dw and v dU/drate. There
 * are two ways to them.
 *
 * Reverse over reverse: the vjp of all of U, as lesson 9 did. A gradient is a sweep back;
 * its vjp goes back through that sweep, then through the loss again.
 *
 * Mixed mode (Kemaev et al., MixFlow-MG, ICML 2025): first the vjp of U with g as a leaf,
 * of theta' = theta - rate g alone, which is elementwise:
 *
 *     to theta: v         to g: gbar = -rate v         to the rate: -g . v
 *
 * What is left is gbar dg/dtheta and gbar dg/dw. Take g together with q = dL/dw: the
 * Jacobian of the joint gradient (g, q) by (theta, w) is a Hessian, so it is symmetric,
 *
 *              theta       w
 *     g   | dg/dtheta   dg/dw |         dg/dtheta = (dg/dtheta)^T
 *     q   | dq/dtheta   dq/dw |             dg/dw = (dq/dtheta)^T
 *
 * and gbar times its first row is its first column times gbar. But that is a tangent:
 * ONE jvp of (g, q), along gbar for theta and nothing for w, gives both:
 *
 *     (gbar dg/dtheta, gbar dg/dw) = jvp of (g, q) along (gbar, 0)
 *
 * (q_i = l_i here: what comes to w_i is the slope of l_i along -rate v.) So, from v_T =
 * dF/dtheta at theta_T on, the step back of t is
 *
 *     v_t = v_t+1 + gbar dg/dtheta     dF/dw += gbar dg/dw     dF/drate += -g . v_t+1
 *
 * dF/dw begins with what F says of w itself, not through theta_T: here F has a price on
 * w, sum w_i^2 / 20; so it begins with w / 10, not with 0.
 *
 * Is it cheaper? A jvp goes along with the gradient, in its order; to go back through a
 * gradient, all of it must be there first. Where that is kept, mixed mode saves much
 * memory. In an engine where equal nodes are one, both append about as many nodes: the
 * two counts are printed. ht_bilevel_run does what stands here, by programs of a step.
 * Next: lesson 11, which states to keep; lesson 12, what such w tell about labels. */
#include "lesson.h"

enum { N = 6, STEPS = 30 };

/* Points in the plane, multiplied by their labels, 1 or -1: the last two labels are
 * wrong. F counts the first four. */
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

/* dF/dw and dF/drate to found. All is on one tape here, with every theta_t. What a
 * derivative is taken by are its leaves: of {theta_t, w}, w's way to theta_t is none. */
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
    double before = ht_tape_nodes(tape);
    ht_grad_or_zero(F, 3, x[mixed ? STEPS : 0],
                    sum); /* reverse over reverse: that is all */
    for (int t = STEPS - 1; t >= 0 && mixed; t--) {
        step_back(x[t], joint[t], sum[0], d); /* sum[0] is v_t+1 */
        sum[0] = d[0], sum[1] = ht_add(sum[1], d[1]), sum[2] = ht_add(sum[2], d[2]);
    }
    printf("%-20s  %.0f nodes for %d steps back\n",
           mixed ? "mixed mode" : "reverse over reverse", ht_tape_nodes(tape) - before,
           STEPS);
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
        printf("%-4s %d %10.4f %10.4f %10.4f\n", i < N ? "w" : "rate", i % N, found[0][i],
               found[1][i], ht_tensor_get(ht_set_at(gradient, i / N), i % N));
    if (page) ht_bilevel_write_html(library, page);
    ht_bilevel_free(library);
    for (int i = 0; i < 3; i++) ht_set_free(sets[i]);
    ht_context_free(ctx);
}
