/* SPDX-License-Identifier: MIT */
/* Marks exercise 10: against ht_vjp of the step and ht_grad of the whole training, which
 * go back through gradients. What well-known mistakes give is computed beside. */
#include "mark.h"

/* Sweeps that were asked for. */
static int backward, forward;
#undef ht_grad
#undef ht_grad_or_zero
#undef ht_vjp
#undef ht_jvp
#undef ht_hvp
#define ht_grad(...)         (backward++, ht_grad_at(__VA_ARGS__, HT_HERE))
#define ht_grad_or_zero(...) (backward++, ht_grad_or_zero_at(__VA_ARGS__, HT_HERE))
#define ht_vjp(...)          (backward++, ht_vjp_at(__VA_ARGS__, HT_HERE))
#define ht_jvp(...)          (forward++, ht_jvp_at(__VA_ARGS__, HT_HERE))
#define ht_hvp(...)          (backward++, forward++, ht_hvp_at(__VA_ARGS__, HT_HERE))
#include EXERCISE

enum { N = 3, STEPS = 4 };
static ht_tape *tape;

static ht_var leaf(int n, const double *from)
{
    ht_tensor *x =
        ht_tensor_new(ht_tape_context(tape), HT_F64, n ? HT_SHAPE(n) : HT_SCALAR);
    for (int i = 0; i < ht_tensor_count(x); i++) ht_tensor_set(x, i, from[i]);
    return ht_input(tape, x);
}

static double element(ht_var x, int i) { return ht_tensor_get(ht_value(x), i); }

/* What a hole gave: a variable, with n numbers (0: one, of shape ()). */
static void made(ht_var x, const char *name, int n)
{
    char text[HT_SHAPE_TEXT];
    if (ht_is_zero(x))
        mark_wrong("%s is HT_ZERO, nothing, as it was before your code%s", name,
                   strcmp(name, "d_w") ? ""
                                       : "; w stands in g too, so something comes to "
                                         "it: the tangent of dL/dw along d_g");
    ht_shape shape = ht_var_shape(x), right = n ? HT_SHAPE(n) : HT_SCALAR;
    if (!ht_shape_equal(shape, right))
        mark_wrong("%s has shape %s where %s is right%s", name,
                   ht_shape_text(shape, text), n ? "(3)" : "()",
                   n ? "" : ": the rate is one number, so its share is a sum, ht_sum");
}

static void begin(void) { tape = ht_tape_new(mark_context(), HT_EAGER); }

static ht_var gradient(ht_var theta, ht_var w)
{
    ht_var g;
    ht_grad(loss(theta, w), 1, &theta, &g);
    return g;
}

static void check_update_vjp(void)
{
    const double gs[] = {2, -1, 3}, vs[] = {0.5, 4, 2}, r = 0.2, dot = 3; /* g . v */
    begin();
    ht_var g = leaf(N, gs), rate = leaf(0, &r), v = leaf(N, vs), d_g = HT_ZERO,
           d_rate = HT_ZERO;
    backward = forward = 0;
    update_vjp(g, rate, v, &d_g, &d_rate);
    const char *at = "g = (2, -1, 3), v = (0.5, 4, 2), rate = 0.2";
    made(d_g, "d_g", N);
    for (int i = 0; i < N; i++)
        mark_number(
            element(d_g, i), -r * vs[i], 1e-12,
            SLIPS({r * vs[i], "the sign: theta' has - rate g in it"},
                  {-vs[i], "the rate is missing: g stands in theta' as rate g"},
                  {vs[i], "that is what comes to theta; g stands in theta' as -rate g"},
                  {-r * gs[i], "that is -rate g; it is v that goes back"}),
            "%s: d_g[%d]", at, i);
    made(d_rate, "d_rate", 0);
    mark_number(
        ht_item(d_rate), -dot, 1e-12,
        SLIPS({dot, "the sign: theta' falls by rate g, so the slope is -g"},
              {-r * dot, "the slope of rate g by the rate is g, without the rate"},
              {-dot / N, "a sum, not a mean"}),
        "%s: d_rate, -g . v", at);
    if (backward || forward)
        mark_wrong("the numbers are right, but by ht_grad, ht_vjp or ht_jvp (%d calls): "
                   "write the formulas, a product or two each",
                   backward + forward);
}

static void check_sweeps(int back, int ahead)
{
    if (back <= 1 && ahead <= 1) return;
    mark_wrong("the numbers are right, but by %d sweeps back and %d forward; one of each "
               "do: %s",
               back, ahead,
               !ahead ? "that is reverse over reverse, which goes back through a sweep "
                        "back; a tangent of the gradient goes along with it"
               : back > 1 ? "one ht_grad by {theta, w} gives g and dL/dw together"
                          : "one ht_jvp gives the tangents of both, g and dL/dw");
}

static void check_at(const double *thetas, const double *ws, const double *vs)
{
    const double gbar[] = {0.3, -0.6, 0.2};
    begin();
    ht_var x[2] = {leaf(N, thetas), leaf(N, ws)}, v = leaf(N, vs), d_g = leaf(N, gbar);
    ht_var both[2] = {d_g, d_g}, second[2], along_v[2], along_both[2], along_w[2],
           joint[2], right[2];
    ht_var d_theta = HT_ZERO, d_w = HT_ZERO, g = gradient(x[0], x[1]);
    ht_vjp(1, &g, &d_g, 2, x, right);
    ht_grad(loss(x[0], x[1]), 2, x, joint);
    ht_jvp(1, x, &d_g, 2, joint, second);
    ht_jvp(1, x, &v, 2, joint, along_v);
    ht_jvp(2, x, both, 2, joint, along_both);
    ht_jvp(2, x, (ht_var[]){d_g, x[1]}, 2, joint, along_w);
    backward = forward = 0;
    second_order(x[0], x[1], v, d_g, &d_theta, &d_w);
    int back = backward, ahead = forward;
    const char *at = mark_text("theta = (%g, %g, %g), w = (%g, %g, %g)", thetas[0],
                               thetas[1], thetas[2], ws[0], ws[1], ws[2]);
    const char *tangent_of_w = "w has a tangent too; only theta has one, d_g: (d_g, 0)";
    made(d_theta, "d_theta", N);
    for (int i = 0; i < N; i++) {
        double h = element(right[0], i), hv = element(along_v[0], i);
        mark_number(
            element(d_theta, i), vs[i] + h, 1e-9,
            SLIPS(
                {h, "theta' has a theta of its own, to which v comes unchanged: v is "
                    "missing"},
                {vs[i], "only v is there; g moves with theta too: add the tangent of g"},
                {vs[i] - h, "d_g has its sign already: the tangent is added to v"},
                {vs[i] + hv, "that is the tangent along v; it is to be along d_g"},
                {hv, "that is the tangent along v; it is to be along d_g, and v is to "
                     "be added"},
                {vs[i] + element(along_both[0], i), tangent_of_w},
                {vs[i] + element(along_w[0], i), tangent_of_w}),
            "%s: d_theta[%d], which ht_vjp of the step has", at, i);
    }
    made(d_w, "d_w", N);
    for (int i = 0; i < N; i++)
        mark_number(
            element(d_w, i), element(right[1], i), 1e-9,
            SLIPS({element(along_v[1], i),
                   "that is the tangent along v; it is to be along d_g"},
                  {element(joint[1], i),
                   "that is dL/dw itself, l_i; its tangent along d_g is wanted"},
                  {-element(right[1], i), "the sign: d_g has its sign already"},
                  {0, "w stands in g too: of the joint gradient (g, dL/dw) the second "
                      "part's tangent is what comes to w"}),
            "%s: d_w[%d], which ht_vjp of the step has", at, i);
    check_sweeps(back, ahead);
}

static void check_second_order(void)
{
    check_at((double[]){0.5, -1, 2}, (double[]){1, 2, 0.5}, (double[]){1, 3, -2});
    check_at((double[]){-0.3, 0.4, 0.1}, (double[]){0.7, 1, 3}, (double[]){2, -1, 0.5});
}

static ht_var next_of(ht_var theta, ht_var w, ht_var rate)
{
    return ht_sub(theta, ht_mul(rate, gradient(theta, w)));
}

/* The right step back, which the last hole is given. Its sweeps are not the hole's. */
static int calls, n_states;
static const ht_var *states; /* theta[0 .. n_states - 1] */
static void check_state(ht_var theta)
{
    for (int t = 0; t < n_states; t++)
        if (theta.tape == tape && theta.index == states[t].index) return;
    mark_wrong("T = %d: call %d of back was given no state of the training: t goes from "
               "T - 1 down to 0 (t--, not t++)",
               n_states - 1, calls + 1);
}

static void right_back(ht_var theta, ht_var w, ht_var rate, ht_var v, ht_var *d)
{
    int before = backward;
    check_state(theta);
    ht_var next = next_of(theta, w, rate);
    calls++;
    ht_vjp(1, &next, &v, 3, (ht_var[]){theta, w, rate}, d);
    backward = before;
}

/* One that no training has: what does not use it is told. */
static void twice_back(ht_var theta, ht_var w, ht_var rate, ht_var v, ht_var *d)
{
    right_back(theta, w, rate, v, d);
    for (int k = 1; k < 3; k++) d[k] = ht_mul(d[k], 2);
}

/* The sums that mistakes make. */
enum { DIRECT, LAST, FIRST, AFTER, TWICE, DETACHED, FORWARD, SUMMED, WHOLE, MISTAKES };

static void mistakes(int T, const ht_var *theta, ht_var w, ht_var rate, ht_var F,
                     ht_var (*sum)[3])
{
    ht_var x[3] = {theta[T], w, rate}, d[3], e[3], v, late, ahead, summed, whole;
    ht_grad_or_zero(F, 3, x, d);
    for (int i = 0; i < MISTAKES; i++) memcpy(sum[i], d, sizeof d);
    sum[DIRECT][1] = ht_mul(w, 0);
    ht_grad(F, 2, x + 1, sum[TWICE] + 1);
    ht_grad(F, 3, (ht_var[]){theta[0], w, rate}, sum[WHOLE]), whole = sum[WHOLE][0];
    v = late = ahead = summed = d[0];
    ht_var first = d[0], dw = d[1], dr = d[2];
    for (int t = T - 1; t >= 0; t--) {
        right_back(theta[t + 1], w, rate, late, e), late = e[0];
        for (int k = 1; k < 3; k++) sum[AFTER][k] = ht_add(sum[AFTER][k], e[k]);
        right_back(theta[t], w, rate, first, e), sum[DETACHED][0] = e[0];
        for (int k = 1; k < 3; k++) sum[DETACHED][k] = ht_add(sum[DETACHED][k], e[k]);
        right_back(theta[T - 1 - t], w, rate, ahead, e), ahead = e[0];
        right_back(theta[t], w, rate, summed, e), summed = ht_add(summed, e[0]);
        right_back(theta[t], w, rate, whole, e), whole = e[0];
        for (int k = 1; k < 3; k++) sum[WHOLE][k] = ht_add(sum[WHOLE][k], e[k]);
        right_back(theta[t], w, rate, v, e), v = e[0];
        for (int k = 1; k < 3; k++) {
            sum[DIRECT][k] = ht_add(sum[DIRECT][k], e[k]);
            sum[TWICE][k] = ht_add(sum[TWICE][k], e[k]);
            if (t == T - 1) sum[LAST][k] = ht_add(k == 1 ? dw : dr, e[k]);
            if (t == 0) sum[FIRST][k] = e[k];
        }
    }
    sum[AFTER][0] = late, sum[FORWARD][0] = ahead, sum[SUMMED][0] = summed;
    sum[WHOLE][0] = whole;
}

#define MISTAKE(m) element(sum[m][k], i)
static void compare(ht_var yours, ht_var right, const ht_var (*sum)[3], int k, int T)
{
    const char *name[] = {"dF/dtheta_0", "dF/dw", "dF/drate"};
    made(yours, name[k], k < 2 ? N : 0);
    for (int i = 0; i < (k < 2 ? N : 1); i++)
        mark_number(
            element(yours, i), element(right, i), 1e-9,
            SLIPS(
                {k ? NAN : MISTAKE(FORWARD),
                 "the steps were taken back from the first to the last: v_T belongs to "
                 "the last step, so t goes from T - 1 down to 0"},
                {k ? NAN : MISTAKE(SUMMED),
                 "d[0] was added to the v before it: the d[0] of a step back is the next "
                 "v itself, and takes its place; only d[1] and d[2] are sums"},
                {k ? MISTAKE(DIRECT) : NAN,
                 "F sees w without theta_T too: the sum begins with F's derivative by "
                 "w, theta_T held still, not with 0"},
                {k ? MISTAKE(TWICE) : NAN,
                 "w's way through the training is counted twice: differentiate F by "
                 "theta_T and w in one call, where each is a leaf"},
                {MISTAKE(WHOLE),
                 "F was differentiated by theta[0], which goes through the whole "
                 "training, and back does so again: begin with F by theta[T]"},
                {MISTAKE(LAST), k ? "only the last step's share is there: every step "
                                    "gives one"
                                  : "that is dF/dtheta_T: v goes back through all steps"},
                {k ? MISTAKE(FIRST) : NAN,
                 "only step 0's share is there: they are added, the "
                 "last is not to be written over the others"},
                {MISTAKE(AFTER), "step t was taken back at theta_t+1, the state after "
                                 "it; it is theta_t, the state before"},
                {MISTAKE(DETACHED), "every step was given dF/dtheta_T: d[0] of a step "
                                    "is the v of the one before it"}),
            "T = %d: %s[%d], which ht_grad of the whole training has", T, name[k], i);
}

typedef struct training {
    ht_var theta[STEPS + 1], w, rate, F, right[3];
} training;

static training train(int T)
{
    begin();
    training a = {.theta = {leaf(N, (double[]){0.5, -1, 2})}};
    a.w = leaf(N, (double[]){1, 2, 0.5}), a.rate = leaf(0, (double[]){0.3});
    for (int t = 0; t < T; t++) a.theta[t + 1] = next_of(a.theta[t], a.w, a.rate);
    a.F = ht_add(ht_sum(ht_exp(a.theta[T])), ht_sum(ht_square(a.w)));
    ht_grad(a.F, 3, (ht_var[]){a.theta[0], a.w, a.rate}, a.right);
    return a;
}

static void check_training(int T)
{
    training a = train(T);
    ht_var sum[MISTAKES][3], d[3] = {HT_ZERO, HT_ZERO, HT_ZERO};
    states = a.theta, n_states = T + 1;
    mistakes(T, a.theta, a.w, a.rate, a.F, sum);
    calls = backward = forward = 0;
    hypergradient(right_back, T, a.theta, a.w, a.rate, a.F, d);
    int sweeps = backward + forward;
    for (int k = 0; k < 3; k++) compare(d[k], a.right[k], (const ht_var(*)[3])sum, k, T);
    if (calls != T)
        mark_wrong("T = %d: the numbers are right, but back was called %d times: once "
                   "for each step, so that no gradient is gone back through",
                   T, calls);
    if (sweeps > 1)
        mark_wrong(
            "T = %d: the numbers are right, but by %d sweeps beside those of back; "
            "one is enough, of F by {theta_T, w, rate}",
            T, sweeps);
}

static void check_uses_back(void)
{
    training a = train(STEPS);
    ht_var d[3], direct[3];
    ht_grad_or_zero(a.F, 3, (ht_var[]){a.theta[STEPS], a.w, a.rate}, direct);
    states = a.theta, n_states = STEPS + 1;
    hypergradient(twice_back, STEPS, a.theta, a.w, a.rate, a.F, d);
    for (int k = 1; k < 3; k++)
        for (int i = 0; i < (k < 2 ? N : 1); i++) {
            double whole = element(a.right[k], i);
            mark_number(element(d[k], i), 2 * whole - element(direct[k], i), 1e-9,
                        SLIPS({whole, "that is ht_grad of the whole training; back was "
                                      "called, but what it gave is not in the sum"}),
                        "T = %d, with a back that gives twice the shares of w and of the "
                        "rate: %s[%d]",
                        STEPS, k < 2 ? "dF/dw" : "dF/drate", i);
        }
}

static void check_hypergradient(void)
{
    for (int T = STEPS; T > 0; T -= 3) check_training(T);
    check_uses_back();
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"update_vjp",
         check_update_vjp,
         {"in theta' = theta - rate g hold the rate still: how does theta' move with g?",
          "d_g is -rate v, number by number; d_rate is one number, -(g . v)",
          "*d_g = ht_neg(ht_mul(rate, v)); *d_rate = ht_neg(ht_sum(ht_mul(g, v)));"}},
        {"second_order",
         check_second_order,
         {"take the joint gradient of loss(theta, w) by {theta, w}, with one ht_grad",
          "its tangent along d_g for theta, and nothing for w: what is first goes to "
          "theta, what is second to w; theta is given v besides",
          "ht_grad(loss(theta, w), 2, x, joint); ht_jvp(1, &theta, &d_g, 2, joint, d); "
          "then *d_theta = ht_add(v, d[0]); *d_w = d[1];"}},
        {"hypergradient",
         check_hypergradient,
         {"begin with F's derivatives by {theta[T], w, rate}; no rate is in F itself, so "
          "ht_grad_or_zero",
          "from step T - 1 to step 0: back at theta[t] with v = d[0]; its d[0] is the "
          "next v, its d[1] and d[2] are added",
          "ht_grad_or_zero(F, 3, x, d) with x = {theta[T], w, rate}; then for each t: "
          "back(theta[t], w, rate, d[0], e); d[0] = e[0]; d[1] = ht_add(d[1], e[1]); "
          "and so d[2]"}},
    };
    return mark_exercise(argc, argv, 10, holes, sizeof holes / sizeof *holes);
}
