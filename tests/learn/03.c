/* SPDX-License-Identifier: MIT */
/* A solution of exercise 3, and wrong ones with what is said of each:
 * wrong 1: Adding and subtracting h rounds: keep x[i] before, and write it back
 * wrong 2: from x - h to x + h it is 2 h
 * wrong 3: that is the one-sided difference up, whose error only halves
 * wrong 4: which of the two is the better, with the weight 4?
 * wrong 5: a 3 is missing
 * wrong 6: the square root is for one-sided differences
 * wrong 7: ask for that, not for digits
 * wrong 8: g[0] is right, g[1] is not; look at every i
 * wrong 9: so take fabs
 * wrong 10: f''' is 0, and e nothing but rounding, with any ratio
 * wrong 11: the two terms are equal there; their sum is least where their slopes cancel
 * wrong 12: 1 / 3 of two int is 0
 * wrong 13: one i that is right is not enough
 * wrong 14: the weights 4 and -1 sum to 3: divide by 3, not 4
 * wrong 15: calls partial, which is not right, mend that first
 */
double partial(scalar_fn f, int n, double *x, int i, double h)
{
    double kept = x[i], up, down;
    if (WRONG == 15) return 0;
    x[i] += h, up = f(n, x);
    x[i] -= h;
    if (WRONG != 3) x[i] -= h;
    down = f(n, x);
    if (WRONG != 3) x[i] += h;
    if (WRONG != 1) x[i] = kept;
    return (up - down) / (WRONG == 2 || WRONG == 3 ? h : 2 * h);
}

double extrapolate(double d, double half)
{
    if (WRONG == 14) return (4 * half - d) / 4;
    return WRONG == 4 ? (4 * d - half) / 3 : half + (half - d) / 3;
}

double best_step(double f, double f3)
{
    double cube = EPS * fabs(f) / fabs(f3);
    if (WRONG == 12) return pow(3 * cube, 1 / 3);
    if (WRONG == 6) return sqrt(cube);
    return cbrt((WRONG == 5 ? 1 : WRONG == 11 ? 6 : 3) * cube);
}

bool is_gradient(scalar_fn f, int n, double *x, const double *g, double h)
{
    bool right = true;
    for (int i = 0; i < (WRONG == 8 ? 1 : n); i++) {
        double e = partial(f, n, x, i, h) - g[i],
               half = partial(f, n, x, i, h / 2) - g[i];
        if (WRONG != 9) e = fabs(e), half = fabs(half);
        bool rounds = half <= rounding(f(n, x), h / 2) && WRONG != 10;
        if (WRONG == 13 && half < e / 3) return true;
        right &= WRONG == 7 ? half < 1e-3 : half < e / 3 || rounds;
    }
    return right;
}
