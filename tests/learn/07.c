/* SPDX-License-Identifier: MIT */
/* A solution of exercise 7, and wrong ones with what is said of each:
 * wrong 1: that is the gradient times u, element by element; H u is the derivative
 * wrong 2: each x[k] was taken by itself: the part of H between x[0] and x[1] is missing
 * wrong 3: that is H times ones: u is nowhere in it
 * wrong 4: H u has lost how it came to be
 * wrong 5: the two points lie 2 h apart, and it was divided by h
 * wrong 6: it is to become a quarter: go from x to both sides
 * wrong 7: that is the second derivative along u
 * wrong 8: it is to be multiplied by u, part by part, and summed
 * wrong 9: the sign: H s = -g, it leads down
 * wrong 10: H has parts beside the diagonal
 * wrong 11: that is a step down the gradient
 */
void hessian_times(ht_var y, int n, const ht_var *x, const ht_var *u, ht_var *hu)
{
    ht_var g[8], sum = HT_ZERO;
    ht_grad(y, n, x, g);
    for (int k = 0; k < n; k++) {
        ht_var term = ht_sum(WRONG == 3 ? g[k] : ht_mul(g[k], u[k]));
        if (WRONG == 2) ht_grad(term, 1, &x[k], &hu[k]);
        if (WRONG == 1) hu[k] = ht_mul(g[k], u[k]);
        sum = ht_add(sum, term);
    }
    if (WRONG == 1 || WRONG == 2) return;
    ht_grad(sum, n, x, hu);
    for (int k = 0; k < n && WRONG == 4; k++) hu[k] = ht_input(y.tape, ht_value(hu[k]));
}

void by_differences(void (*gradient)(const double *x, double *g), int n, const double *x,
                    const double *u, double h, double *hu)
{
    double points[2][8], g[2][8];
    for (int end = 0; end < 2; end++) {
        double step = end == 0 ? h : WRONG == 6 ? 0 : -h;
        for (int i = 0; i < n; i++) points[end][i] = x[i] + step * u[i];
        gradient(points[end], g[end]);
    }
    for (int i = 0; i < n; i++)
        hu[i] = (g[0][i] - g[1][i]) / (WRONG == 5 || WRONG == 6 ? h : 2 * h);
}

ht_var third(ht_var y, int n, const ht_var *x, const ht_var *u)
{
    ht_var d[8], sum = HT_ZERO;
    for (int i = 0; i < 2; i++) ht_jvp(n, x, u, 1, &y, &y);
    if (WRONG == 7) return y;
    ht_grad(y, n, x, d);
    for (int k = 0; k < n; k++)
        sum = ht_add(sum, ht_sum(WRONG == 8 ? d[k] : ht_mul(d[k], u[k])));
    return sum;
}

void newton_step(ht_var y, const ht_var *x, double *s)
{
    ht_var g[2], h[2][2];
    ht_grad(y, 2, x, g);
    for (int k = 0; k < 2; k++) {
        ht_var e[2] = {ht_number(k == 0), ht_number(k == 1)};
        ht_jvp(2, x, e, 2, g, h[k]);
    }
    double g0 = ht_item(g[0]), g1 = ht_item(g[1]), sign = WRONG == 9 ? 1 : -1;
    double p = ht_item(h[0][0]), q = ht_item(h[0][1]), r = ht_item(h[1][1]);
    if (WRONG == 10) q = 0;
    if (WRONG == 11) p = r = 1, q = 0;
    s[0] = sign * (r * g0 - q * g1) / (p * r - q * q);
    s[1] = sign * (p * g1 - q * g0) / (p * r - q * q);
}
