/* SPDX-License-Identifier: MIT */
/* Marks exercise 9: the vjp of a step against differences of it, its sweep against
 * differences of whole trainings. What well-known mistakes give is computed beside. */
#include EXERCISE

enum { STEPS = 5, CASES = 3 };
static const double cases[CASES][3] = {
    {1, -0.5, 0.1}, {0.2, 0.7, 0.25}, {-0.6, 0.4, 0.05}};
static double start[2], rate_at; /* of the training in hand */
static double before;            /* dF/drate of the one before it */
static int calls;                /* of the vjp that a hole is given */

static void begin(int i)
{
    start[0] = cases[i][0], start[1] = cases[i][1], rate_at = cases[i][2];
}

static double dot(const double *a, const double *b) { return a[0] * b[0] + a[1] * b[1]; }

/* What the exercise gives, once more: its own may have been changed. */
static void own_gradient(const double *theta, double *g)
{
    for (int i = 0; i < 2; i++) g[i] = exp(theta[i]) + theta[0] + theta[1];
}

static void own_hessian_times(const double *theta, const double *v, double *hv)
{
    for (int i = 0; i < 2; i++) hv[i] = exp(theta[i]) * v[i] + v[0] + v[1];
}

static void own_outer_gradient(const double *theta, double *v)
{
    for (int i = 0; i < 2; i++) v[i] = theta[i] - 0.5;
}

static void own_step(const double *theta, double rate, double *next)
{
    double g[2];
    own_gradient(theta, g);
    for (int i = 0; i < 2; i++) next[i] = theta[i] - rate * g[i];
}

static void same(const char *name, const double *yours, const double *own)
{
    for (int i = 0; i < 2; i++)
        mark_number(yours[i], own[i], 1e-12, NULL,
                    "%s was given and has been changed, put it back; its number %d at "
                    "theta = (1, -0.5), rate = 0.1, v = (2, 3)",
                    name, i);
}

static void check_given(void)
{
    const double theta[2] = {1, -0.5}, v[2] = {2, 3};
    double a[2], b[2];
    gradient(theta, a), own_gradient(theta, b), same("gradient", a, b);
    hessian_times(theta, v, a), own_hessian_times(theta, v, b);
    same("hessian_times", a, b);
    outer_gradient(theta, a), own_outer_gradient(theta, b), same("outer_gradient", a, b);
    step(theta, 0.1, a), own_step(theta, 0.1, b), same("step", a, b);
}

/* v . U(theta, rate) */
static double moved(const double *theta, double rate, const double *v)
{
    double next[2];
    own_step(theta, rate, next);
    return dot(v, next);
}

/* F after T steps from first. */
static double trained(const double *first, double rate, int T)
{
    double theta[2] = {first[0], first[1]}, next[2];
    for (int t = 0; t < T; t++) {
        own_step(theta, rate, next);
        memcpy(theta, next, sizeof theta);
    }
    return ((theta[0] - 0.5) * (theta[0] - 0.5) + (theta[1] - 0.5) * (theta[1] - 0.5)) /
           2;
}

static double by_first(int T, int i)
{
    double h = 1e-5, up[2] = {start[0], start[1]}, down[2] = {start[0], start[1]};
    up[i] += h, down[i] -= h;
    return (trained(up, rate_at, T) - trained(down, rate_at, T)) / (2 * h);
}

static double by_rate(int T)
{
    double h = 1e-5;
    return (trained(start, rate_at + h, T) - trained(start, rate_at - h, T)) / (2 * h);
}

/* The vjp, its second derivative times `hessian`: 0 for the mistake of leaving it out. */
static double vjp_with(const double *theta, double rate, double *v, double hessian)
{
    double g[2], hv[2];
    own_gradient(theta, g);
    own_hessian_times(theta, v, hv);
    double share = -dot(g, v);
    for (int i = 0; i < 2; i++) v[i] -= hessian * rate * hv[i];
    return share;
}

static double right_vjp(const double *theta, double rate, double *v)
{
    return vjp_with(theta, rate, v, 1);
}

static double given_vjp(const double *theta, double rate, double *v)
{
    calls++;
    return right_vjp(theta, rate, v);
}

static void check_at(const double *theta, double rate, const double *v)
{
    double h = 1e-6, g[2], hv[2], back[2] = {v[0], v[1]};
    own_gradient(theta, g);
    own_hessian_times(theta, v, hv);
    double share = step_vjp(theta, rate, back), spoiled = -dot(g, back);
    const char *at = mark_text("theta = (%g, %g), rate = %g, v = (%g, %g)", theta[0],
                               theta[1], rate, v[0], v[1]);
    for (int i = 0; i < 2; i++) {
        double up[2] = {theta[0], theta[1]}, down[2] = {theta[0], theta[1]};
        up[i] += h, down[i] -= h;
        mark_number(
            back[i], (moved(up, rate, v) - moved(down, rate, v)) / (2 * h), 1e-6,
            SLIPS({v[i],
                   "v came out as it went in: g moves with theta too, by H, so - rate H "
                   "v is missing"},
                  {-rate * hv[i],
                   "theta' = theta - rate g has a theta of its own, which gives v; only "
                   "the part of g is there"},
                  {v[i] + rate * hv[i], "the sign: theta' has - rate g in it"},
                  {v[i] - hv[i], "H v is not multiplied by the rate"},
                  {v[i] - rate * g[i],
                   "that is v - rate g; the Jacobian of g is H, so it is rate H v"}),
            "%s: the new v[%d], which differences have", at, i);
    }
    mark_number(
        share, (moved(theta, rate + h, v) - moved(theta, rate - h, v)) / (2 * h), 1e-6,
        SLIPS({spoiled,
               "that is -g . the new v: v was written over before its last use; take the "
               "share first"},
              {dot(g, v), "the sign: theta falls by rate g, so the rate's slope is -g"},
              {-rate * dot(g, v), "the slope of rate g by the rate is g, without rate"},
              {0, "nothing is returned; theta' moves with the rate by -g"}),
        "%s: the rate's share, which differences have", at);
}

static void check_step_vjp(void)
{
    check_given();
    check_at((double[]){1, -0.5}, 0.1, (double[]){2, 3});
    check_at((double[]){0.2, 0.3}, 0.4, (double[]){-1, 0.5});
}

/* The sums that mistakes make, of T steps from start. */
enum { LAST, FIRST, FIRST_ORDER, AFTER, SAME_V, OUTER_FIRST, RATE, MISTAKES };

static void mistakes(int T, double *sum)
{
    double theta[STEPS + 1][2], v[STEPS + 1][2], g[2], u[2], w[2], r[2], plain[2];
    memcpy(theta[0], start, sizeof start);
    for (int t = 0; t < T; t++) own_step(theta[t], rate_at, theta[t + 1]);
    own_outer_gradient(theta[T], v[T]);
    memcpy(w, v[T], sizeof w), memcpy(plain, v[T], sizeof plain);
    memcpy(r, v[T], sizeof r);
    own_outer_gradient(theta[0], u);
    for (int i = 0; i < MISTAKES; i++) sum[i] = 0;
    for (int t = T - 1; t >= 0; t--) {
        memcpy(v[t], v[t + 1], sizeof v[t]);
        double share = right_vjp(theta[t], rate_at, v[t]);
        if (t == T - 1) sum[LAST] = share;
        if (t == 0) sum[FIRST] = share;
        sum[AFTER] += right_vjp(theta[t + 1], rate_at, w);
        sum[RATE] += right_vjp(theta[t], cases[0][2], r);
        sum[OUTER_FIRST] += right_vjp(theta[t], rate_at, u);
        sum[FIRST_ORDER] += vjp_with(theta[t], rate_at, plain, 0);
        own_gradient(theta[t], g);
        sum[SAME_V] -= dot(g, v[t]);
    }
}

static void check_rate(double yours, int T, const char *at)
{
    double wrong[MISTAKES];
    mistakes(T, wrong);
    mark_number(
        yours, by_rate(T), 1e-6,
        SLIPS({wrong[LAST],
               "that is the share of the last step alone: every step uses the rate, and "
               "the shares are added"},
              {wrong[FIRST],
               "that is the share of step 0 alone: add the shares, the last is not to be "
               "written over the others"},
              {wrong[AFTER],
               "the vjp of step t was taken at theta_t+1, the state after the step; it "
               "is a matter of theta_t, the state before"},
              {wrong[FIRST_ORDER],
               "v_1 is not v_2: each vjp is given the v that the one before left"},
              {wrong[SAME_V],
               "g_t is multiplied by v_t; it was v_t+1, the cotangent after step t, that "
               "the share needs"},
              {wrong[OUTER_FIRST],
               "the sweep began with dF/dtheta at theta_0; F is a function of the last "
               "state"},
              {before, "that is what the training before had, from another start and "
                       "at another rate: make it of what your function is given"},
              {wrong[RATE],
               "that is with vjps at rate 0.1, which the first training had; "
               "the rate is what your function is given"},
              {-by_rate(T), "the sign"}),
        "%s: dF/drate, which differences of whole trainings have", at);
    before = by_rate(T);
}

static void check_calls(int steps)
{
    if (calls != steps)
        mark_wrong(
            "the numbers are right, but vjp was called %d times in trainings of %d "
            "steps in all: they are to be made of vjps, one of each step",
            calls, steps);
}

static const char *training(int T)
{
    return mark_text("T = %d from (%g, %g) at rate %g", T, start[0], start[1], rate_at);
}

static void check_two_steps(void)
{
    check_given();
    before = NAN;
    for (int i = 0; i < CASES; i++) {
        begin(i);
        double first[2] = {start[0], start[1]};
        const char *at = training(2);
        check_rate(two_steps(given_vjp, first, rate_at), 2, at);
        if (first[0] != start[0] || first[1] != start[1])
            mark_wrong("theta_0 was (%g, %g) and is (%g, %g) now: it is not yours to "
                       "change",
                       start[0], start[1], first[0], first[1]);
    }
    check_calls(2 * CASES);
}

static void check_sweep_of(int T)
{
    double theta[STEPS + 1][2], v[2], last[2];
    memcpy(theta[0], start, sizeof start);
    for (int t = 0; t < T; t++) own_step(theta[t], rate_at, theta[t + 1]);
    for (int t = T + 1; t <= STEPS; t++) theta[t][0] = theta[t][1] = NAN;
    own_outer_gradient(theta[T], v);
    memcpy(last, v, sizeof v);
    const char *at = training(T);
    check_rate(sweep(given_vjp, T, (const double(*)[2])theta, rate_at, v), T, at);
    for (int i = 0; i < 2; i++)
        mark_number(v[i], by_first(T, i), 1e-6,
                    SLIPS({last[i], "v is still dF/dtheta_T: take it through the "
                                    "steps in place"}),
                    "%s: v[%d], to be dF/dtheta_0, which differences have", at, i);
}

static void check_sweep(void)
{
    int steps = 0;
    check_given();
    before = NAN;
    for (int i = 0; i < CASES; i++) {
        begin(i);
        check_sweep_of(1 + 2 * i);
        steps += 1 + 2 * i;
    }
    check_calls(steps);
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"step_vjp",
         check_step_vjp,
         {"theta' = theta - rate g(theta): theta stands in it twice, the rate once",
          "the rate's share is -g . v, with the v that came in; the new v is v - rate H "
          "v",
          "gradient(theta, g); hessian_times(theta, v, hv); take share = -(g . v); only "
          "then v[i] -= rate * hv[i]"}},
        {"two_steps",
         check_two_steps,
         {"first all states, theta_1 and theta_2 by step; then back",
          "v begins as the outer gradient at theta_2; the vjp of step 1 is at theta_1, "
          "that of step 0 at theta_0",
          "step(first, rate, one); step(one, rate, two); outer_gradient(two, v); then "
          "vjp(one, rate, v), and after it vjp(first, rate, v): add what they return"}},
        {"sweep",
         check_sweep,
         {"the steps in reverse order, v handed from each to the one before it",
          "step t takes theta[t] to theta[t + 1]; its vjp is at theta[t]",
          "for (int t = T - 1; t >= 0; t--) sum += vjp(theta[t], rate, v);"}},
    };
    return mark_exercise(argc, argv, 9, holes, sizeof holes / sizeof *holes);
}
