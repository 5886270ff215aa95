/* SPDX-License-Identifier: MIT */
/* 09_step_as_function.c: a step of training is a function, and has a vjp.
 *
 * (Needs lessons 2, the sweep, and 7, Hessian products; the code also 8, programs.) The
 * parameters theta are n numbers. A step of gradient descent makes the next ones of them:
 *
 *     U(theta, rate) = theta - rate g(theta)        g = dL/dtheta of a loss L
 *
 * The rate says how far the step goes. A derivative, g, stands in the formula; that makes
 * no difference. U is a function. With H = dg/dtheta, the Hessian of L, its Jacobians are
 *
 *     dU/dtheta = I - rate H                        dU/drate = -g
 *
 * So U has a vjp. It takes v, the cotangent of U's result (n numbers), past the step:
 * v times each Jacobian. H is symmetric, so v H = H v: a Hessian product, no matrix.
 *
 *     to theta: v - rate H v                        to the rate: -g . v
 *
 * A training is U after U, and F(theta_T) says how good it was. With v_t = dF/dtheta_t
 * its derivative is lesson 2's sweep, whose nodes are steps. For T = 2 steps:
 *
 *     theta_0 --U--> theta_1 --U--> theta_2 ---> F
 *                                      |
 *       v_0 <--vjp--- v_1 <--vjp--- v_2 = dF/dtheta at theta_2
 *
 *     v_1 = v_2 - rate H(theta_1) v_2               to the rate: -g(theta_1) . v_2
 *     v_0 = v_1 - rate H(theta_0) v_1               to the rate: -g(theta_0) . v_1
 *
 * The rate is used by every step, so its shares are added (fan-out!), for any T:
 *
 *     dF/drate = - sum over t < T of g(theta_t) . v_t+1          dF/dtheta_0 = v_0
 *
 * Mind the indices. The vjp of step t needs theta_t, the state *before* the step, and
 * v_t+1, the cotangent *after* it. So the states are kept on the way forward, and the way
 * back begins when all are there.
 *
 * A case to do on paper: n = 1, L = a theta^2 / 2, F = theta_T^2 / 2. Then g = a theta,
 * H = a, theta_T = (1 - rate a)^T theta_0, dF/drate = -T a (1 - rate a)^(2T-1) theta_0^2.
 *
 * Section 6 of engine.c, training_new and train, is this page for any number of parts.
 * Next: lesson 10 makes the vjp cheap, lesson 11 keeps fewer states. */
#include "lesson.h"

enum { MOST = 50 };

static void on_paper(double a, double rate, double first, int T)
{
    double theta[MOST + 1] = {first}, share = 0, d_rate = 0;
    for (int t = 0; t < T; t++) theta[t + 1] = theta[t] - rate * a * theta[t];
    double v = theta[T]; /* dF/dtheta */
    puts("  t    theta_t        g_t      v_t+1  to the rate");
    for (int t = T - 1; t >= 0; t--) {
        double g = a * theta[t];
        share = -g * v;
        d_rate += share;
        printf("%3d %10.4f %10.4f %10.4f %12.4f\n", t, theta[t], g, v, share);
        v -= rate * a * v;
    }
    printf("dF/drate = %.4f; by the formula %.4f\n", d_rate,
           -T * a * pow(1 - rate * a, 2 * T - 1) * first * first);
    printf("dF/dtheta_0 = %.4f; by the formula %.4f\n\n", v,
           pow(1 - rate * a, 2 * T) * first);
}

/* Now n = 2, L = sum e^theta + (sum theta)^2 / 2 and F = sum (theta - 0.5)^2 / 2. The
 * Hessian, diag(e^theta) plus 1 everywhere, changes from step to step. Nobody writes g, H
 * or v H: the step is recorded once, on inputs that have a type and no numbers yet
 * (ht_input_like). ht_grad appends g, ht_vjp the way back. Then each is cut out as a
 * program, which ht_program_run runs with numbers. */
typedef struct training {
    ht_context *ctx;
    ht_program *step, *back, *outer;
} training;

static training record(ht_context *ctx, const char *page)
{
    ht_tape *t = ht_tape_new(ctx, HT_RECORD);
    ht_type pair = {HT_F64, HT_SHAPE(2)}, number = {HT_F64, HT_SCALAR};
    ht_var theta = ht_name(ht_input_like(t, pair), "theta"), g, back[2], outer[2];
    ht_var rate = ht_name(ht_input_like(t, number), "rate");
    ht_var v = ht_name(ht_input_like(t, pair), "v"), in[3] = {theta, rate, v};
    ht_var half = ht_mul(ht_square(ht_sum(theta)), 0.5);
    ht_grad(ht_add(ht_sum(ht_exp(theta)), half), 1, &theta, &g);
    ht_var next = ht_name(ht_sub(theta, ht_mul(rate, g)), "next");
    ht_vjp(1, &next, &v, 2, in, back);
    outer[0] = ht_mul(ht_sum(ht_square(ht_sub(theta, 0.5))), 0.5);
    ht_grad(outer[0], 1, &theta, &outer[1]);
    training p = {.ctx = ctx};
    p.step = ht_program_new(t, 2, in, 1, &next);  /* theta, rate to theta' */
    p.back = ht_program_new(t, 3, in, 2, back);   /* theta, rate, v to v', rate's share */
    p.outer = ht_program_new(t, 1, in, 2, outer); /* theta to F, dF/dtheta */
    if (page) ht_tape_write_html(t, page);
    ht_tape_free(t);
    return p;
}

/* F after T steps, and dF/drate, from theta_0 = (1, 0). */
static double train(const training *p, int T, double at, double *d_rate)
{
    ht_tensor *all[MOST + 5];
    for (int i = 0; i < T + 5; i++)
        all[i] = ht_tensor_new(p->ctx, HT_F64, i < 2 ? HT_SCALAR : HT_SHAPE(2));
    ht_tensor *rate = all[0], *share = all[1], **v = all + 2, **theta = all + 4;
    ht_tensor_fill(rate, at);
    ht_tensor_set(theta[0], 0, 1);
    for (int t = 0; t < T; t++)
        ht_program_run(p->step, (const ht_tensor *[]){theta[t], rate}, &theta[t + 1]);
    ht_program_run(p->outer, (const ht_tensor *[]){theta[T]},
                   (ht_tensor *[]){share, v[T % 2]});
    double F = ht_tensor_get(share, 0);
    *d_rate = 0;
    for (int t = T - 1; t >= 0; t--) { /* v_t is in v[t % 2] */
        const ht_tensor *in[] = {theta[t], rate, v[(t + 1) % 2]};
        ht_program_run(p->back, in, (ht_tensor *[]){v[t % 2], share});
        *d_rate += ht_tensor_get(share, 0);
    }
    for (int i = 0; i < T + 5; i++) ht_tensor_free(all[i]);
    return F;
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    on_paper(2, 0.1, 3, 2);
    ht_context *ctx = lesson_context();
    training p = record(ctx, page);
    printf("two parameters: a step is %d nodes, its vjp %d\n",
           (int)ht_program_nodes(p.step), (int)ht_program_nodes(p.back));
    for (int T = 2; T <= MOST; T += MOST - 2) {
        double h = 1e-6, d, unused, up = train(&p, T, 0.1 + h, &unused);
        double down = train(&p, T, 0.1 - h, &unused), F = train(&p, T, 0.1, &d);
        printf("T = %2d: F = %.4f, dF/drate = %.4f; differences %.4f\n", T, F, d,
               (up - down) / (2 * h));
    }
    ht_program_free(p.step);
    ht_program_free(p.back);
    ht_program_free(p.outer);
    ht_context_free(ctx);
}
