/* SPDX-License-Identifier: MIT */
/* A solution of exercise 9, and wrong ones with what is said of each:
 * wrong 1: v was written over before its last use; take the share first
 * wrong 2: g moves with theta too, by H, so - rate H v is missing
 * wrong 3: the sign: theta falls by rate g, so the rate's slope is -g
 * wrong 4: H v is not multiplied by the rate
 * wrong 5: v_1 is not v_2: each vjp is given the v that the one before left
 * wrong 6: taken at theta_t+1, the state after the step
 * wrong 7: that is the share of step 0 alone: add the shares
 * wrong 8: that is the share of the last step alone
 * wrong 9: the sweep began with dF/dtheta at theta_0
 * wrong 10: g_t is multiplied by v_t; it was v_t+1
 * wrong 11: v is still dF/dtheta_T
 * wrong 12: that is what the training before had, from another start
 * wrong 13: the numbers are right, but vjp was called 0 times
 * wrong 14: that is with vjps at rate 0.1, which the first training had
 * wrong 15: gradient was given and has been changed, put it back
 */
static void gradient(const double *theta, double *g)
{
    for (int i = 0; i < 2; i++)
        g[i] = exp(theta[i]) + theta[0] + (WRONG != 15) * theta[1];
}

double step_vjp(const double *theta, double rate, double *v)
{
    double g[2], hv[2], share = 0;
    gradient(theta, g);
    hessian_times(theta, v, hv);
    if (WRONG != 1)
        for (int i = 0; i < 2; i++) share -= g[i] * v[i];
    for (int i = 0; i < 2 && WRONG != 2; i++) v[i] -= (WRONG == 4 ? 1 : rate) * hv[i];
    if (WRONG == 1)
        for (int i = 0; i < 2; i++) share -= g[i] * v[i];
    return WRONG == 3 ? -share : share;
}

double two_steps(vjp_fn *vjp, const double *first, double rate)
{
    double one[2], two[2], v[2], w[2];
    if (WRONG == 12) return 1.54201077; /* what the first case is told */
    step(first, rate, one);
    step(one, rate, two);
    outer_gradient(WRONG == 9 ? first : two, v);
    memcpy(w, v, sizeof v);
    if (WRONG == 13) {
        double r[2][2], F[2] = {0, 0}, h = 1e-5;
        for (int k = 0; k < 2; k++) {
            step(first, rate + (k ? h : -h), one), step(one, rate + (k ? h : -h), r[k]);
            for (int i = 0; i < 2; i++) F[k] += (r[k][i] - 0.5) * (r[k][i] - 0.5) / 2;
        }
        return (F[1] - F[0]) / (2 * h);
    }
    double share = vjp(WRONG == 6 ? two : one, rate, v);
    if (WRONG == 8) return share;
    return share + vjp(WRONG == 6 ? one : first, rate, WRONG == 5 ? w : v);
}

double sweep(vjp_fn *vjp, int T, const double (*theta)[2], double rate, double *v)
{
    double sum = 0, copy[2] = {v[0], v[1]};
    for (int t = T - 1; t >= 0; t--) {
        double share = vjp(theta[t], WRONG == 14 ? 0.1 : rate, v), g[2];
        gradient(theta[t], g);
        if (WRONG == 10) share = -g[0] * v[0] - g[1] * v[1];
        sum = WRONG == 7 ? share : sum + share;
    }
    if (WRONG == 11) memcpy(v, copy, sizeof copy);
    return sum;
}
