/* SPDX-License-Identifier: MIT */
/* A solution of exercise 1, and wrong ones with what is said of each:
 * wrong 1: the slope is 1 - v v with the value v, not the input a
 * wrong 2: the sign: a - b falls when b rises
 * wrong 3: a number that was taken out by t->value[] has forgotten where it came from
 * wrong 4: the powers are given to the c in the wrong order
 * wrong 5: x is there to the first power only
 * wrong 6: go from the first node to the last
 * wrong 7: leaf x is to be given the new value first
 * wrong 8: that is still its value at x = 1.5
 * wrong 9: add and mul take numbers of nodes, not their values
 */
void compute_more(operation op, double a, double b, double *v, double *slope)
{
    if (op == SUB) *v = a - b, slope[0] = 1, slope[1] = WRONG == 2 ? 1 : -1;
    if (op == TANH) *v = tanh(a), slope[0] = 1 - (WRONG == 1 ? a * a : *v * *v);
}

int polynomial(tape *t, int x, int n, const int *c)
{
    if (WRONG == 3) {
        double sum = 0;
        for (int k = n - 1; k >= 0; k--) sum = sum * t->value[x] + t->value[c[k]];
        return leaf(t, sum);
    }
    int y = c[WRONG == 4 ? 0 : n - 1];
    if (WRONG == 9) y = (int)t->value[y];
    for (int k = 1; k < n && WRONG == 4; k++) y = add(t, mul(t, y, x), c[k]);
    for (int k = n - 2; k >= 0 && WRONG != 4 && WRONG != 5; k--)
        y = add(t, mul(t, y, x), c[k]);
    if (WRONG == 5) {
        y = c[0];
        for (int k = 1; k < n; k++) y = add(t, y, mul(t, c[k], x));
    }
    return y;
}

void run_again(tape *t, int x, double value)
{
    if (WRONG != 7) t->value[x] = value;
    if (WRONG == 8) return;
    for (int i = 0; i < t->n; i++) compute(t, WRONG == 6 ? t->n - 1 - i : i);
}
