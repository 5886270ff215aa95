/* SPDX-License-Identifier: MIT */
/* A solution of exercise 15, and wrong ones with what is said of each:
 * wrong 1: divide by h^2, not by h
 * wrong 2: its size, without a sign
 * wrong 3: each counts alike: it is to count by d_i
 * wrong 4: d_i is |x_2i - x_0i|, of both halves
 * wrong 5: the signs are of what changed
 * wrong 6: what does not move in one half has sign 0 there
 * wrong 7: eta, eta + h and eta + 2 h are right
 * wrong 8: that one diverged; no comparison with NaN is true
 * wrong 9: that is the least smooth; the largest S^ is wanted
 * wrong 10: all diverged, none is to be trusted
 * wrong 12: S^ may be below 0, and -1: a best that begins at 0 or -1
 * wrong 13: one all of which turns back (S^ = -1) (eta = 0.1, h = 0.05): yours is -1
 * wrong 14: it diverged, though x does not show it
 * wrong 15: F = NaN says that it diverged, though x is finite: ask F too
 * wrong 11: that is S^ of F, one number: it is wanted of all of x
 */
double second_difference(double F0, double F1, double F2, double h)
{
    double change = (F2 - F1) - (F1 - F0);
    if (WRONG == 1) return fabs(change) / h;
    return (WRONG == 2 ? change : fabs(change)) / (h * h);
}

double agreement(int n, const double *x0, const double *x1, const double *x2)
{
    double sum = 0, all = 0;
    for (int i = 0; i < n; i++) {
        double a = WRONG == 5 ? x1[i] : x1[i] - x0[i];
        double b = WRONG == 5 ? x2[i] : x2[i] - x1[i];
        double d = WRONG == 3 ? 1 : fabs(WRONG == 4 ? x1[i] - x0[i] : x2[i] - x0[i]);
        if (a * b > 0) sum += d;
        if (a * b < 0 || (WRONG == 6 && a * b <= 0)) sum -= d;
        all += d;
    }
    return sum / all;
}

double smoothness(training run, double eta, double h)
{
    double x[3][PARAMETERS], F[3];
    for (int k = 0; k < 3; k++) F[k] = run(eta + (WRONG == 7 ? k - 1 : k) * h, x[k]);
    if (isnan(F[0] + F[1] + F[2]) && WRONG < 14) return (double)NAN;
    if (WRONG == 11) return agreement(1, F, F + 1, F + 2);
    return agreement(PARAMETERS, x[0], x[1], x[2]);
}

int most_trusted(int n, const training *run, double eta, double h)
{
    int number = WRONG == 10 ? 0 : -1;
    double best = WRONG == 12 ? 0 : WRONG == 13 ? -1 : -INFINITY;
    for (int i = 0; i < n; i++) {
        double s = smoothness(run[i], eta, h);
        if (WRONG == 9) s = -s;
        if (s > best || (WRONG == 8 && !i)) best = s, number = i;
    }
    return number;
}
