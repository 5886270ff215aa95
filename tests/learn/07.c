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
 * wrong 12: if it calls hessian_times, which is not right, mend that first
 * wrong 13: each x[i] was moved by itself, which gives H_ii u_i alone
 * wrong 14: x was moved by h u, and the result was multiplied by u again
 * wrong 15: each x[i] was moved by h; it is to move by h times u[i]
 * wrong 16: each part was divided by the sum of a row of H
 * wrong 17: that is H times g, or -g: H s = -g is to be solved for s
 * wrong 18: a step of 0 leads nowhere
 * wrong 19: take ht_sum of each product, and add those
 * wrong 20: that is <u, H H u>, or near it: two products with one H
 * wrong 21: one number, such as <g, u>, is to be differentiated by x once more
 * wrong 22: the sign of H01
 * wrong 23: and was moved from there by += or -=: s is the step itself
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
    for (int k = 0; k < n && WRONG == 12; k++) hu[k] = ht_mul(2, hu[k]);
    for (int k = 0; k < n && WRONG == 21; k++) hu[k] = sum;
    for (int k = 0; k < n && WRONG == 4; k++) hu[k] = ht_input(y.tape, ht_value(hu[k]));
}

void by_differences(void (*gradient)(const double *x, double *g), int n, const double *x,
                    const double *u, double h, double *hu)
{
    double moved[8], plus[8], minus[8];
    for (int i = 0; i < n; i++) moved[i] = x[i] + h * (WRONG == 15 ? 1 : u[i]);
    gradient(moved, plus);
    for (int i = 0; i < n; i++) moved[i] = x[i] - h * (WRONG == 15 ? 1 : u[i]);
    gradient(WRONG == 6 ? x : moved, minus);
    for (int i = 0; i < n; i++) {
        if (WRONG == 13) {
            memcpy(moved, x, n * sizeof *x);
            moved[i] = x[i] + h * u[i], gradient(moved, plus);
            moved[i] = x[i] - h * u[i], gradient(moved, minus);
        }
        hu[i] = (plus[i] - minus[i]) / (WRONG == 5 || WRONG == 6 ? h : 2 * h);
        if (WRONG == 14) hu[i] *= u[i];
    }
}

ht_var third(ht_var y, int n, const ht_var *x, const ht_var *u)
{
    ht_var d[8], sum = HT_ZERO;
    if (WRONG == 12 || WRONG == 19 || WRONG == 20) {
        hessian_times(y, n, x, u, d);
        if (WRONG == 20) hessian_times(y, n, x, d, d);
        for (int k = 0; k < n; k++)
            sum = ht_add(sum,
                         WRONG == 19 ? ht_mul(d[k], u[k]) : ht_sum(ht_mul(d[k], u[k])));
        return sum;
    }
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
    if (WRONG == 16) p += q, r += q, q = 0;
    if (WRONG == 22) q = -q;
    double was[2] = {s[0], s[1]};
    s[0] = sign * (r * g0 - q * g1) / (p * r - q * q);
    s[1] = sign * (p * g1 - q * g0) / (p * r - q * q);
    if (WRONG == 23) s[0] += was[0], s[1] += was[1];
    if (WRONG == 17) s[0] = -(p * g0 + q * g1), s[1] = -(q * g0 + r * g1);
    if (WRONG == 18) s[0] = s[1] = 0;
}
