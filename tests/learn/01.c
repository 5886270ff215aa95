/* SPDX-License-Identifier: MIT */
/* A solution of exercise 1, and wrong ones with what is said of each:
 * wrong 1: the slope is 1 - v v with the value v, not the input a
 * wrong 2: the sign: a - b falls when b rises
 * wrong 3: a number that was taken out by t->value[] has forgotten where it came from
 * wrong 4: the powers are given to the c in the wrong order
 * wrong 5: x is there to the first power only
 * wrong 6: was not computed before it: go from the first node to the last
 * wrong 7: leaf x is to be given the new value first
 * wrong 8: that is still its value at x = 1.5
 * wrong 9: add and mul take numbers of nodes, not their values
 * wrong 10: the power is squared each time
 * wrong 11: the last term is once too often times x
 * wrong 12: node 2 does not depend on x: it is to stay as it is
 * wrong 13: and keep for each whether it depends on x
 * wrong 14: x itself is given, not computed: it does not count
 * wrong 15: its second input is x, which is node 0
 * wrong 16: c[5] was read; the last is c[4]
 * wrong 17: a switch goes on into its next case where no break stands
 * wrong 18: Its second input is -1, which is none: there is no moved[-1]
 * wrong 19: A leaf's inputs are -1, which is none: ask first whether it is >= 0
 * wrong 20: leaf 1 is given 0.25, which it has already: how many were computed
 * wrong 21: a node was left out because no input's value had changed
 */
void compute_more(operation op, double a, double b, double *v, double *slope)
{
    if (op == SUB) *v = a - b, slope[0] = 1, slope[1] = WRONG == 2 ? 1 : -1;
    if (op == TANH || WRONG == 17)
        *v = tanh(a), slope[0] = 1 - (WRONG == 1 ? a * a : *v * *v);
}

int polynomial(tape *t, int x, int n, const int *c)
{
    if (WRONG == 3) {
        double sum = 0;
        for (int k = n - 1; k >= 0; k--) sum = sum * t->value[x] + t->value[c[k]];
        return leaf(t, sum);
    }
    int y = c[0], power = x;
    if (WRONG == 5 || WRONG == 10) {
        for (int k = 1; k < n; k++) {
            y = add(t, y, mul(t, c[k], power));
            if (WRONG == 10) power = mul(t, power, power);
        }
        return y;
    }
    if (WRONG != 4) y = c[n - 1];
    if (WRONG == 16) y = add(t, mul(t, c[n], x), y);
    if (WRONG == 9) y = (int)t->value[y];
    if (WRONG == 11) y = mul(t, y, x);
    for (int k = 1; k < n && WRONG == 4; k++) y = add(t, mul(t, y, x), c[k]);
    for (int k = n - 2; k >= 0 && WRONG != 4; k--) y = add(t, mul(t, y, x), c[k]);
    return y;
}

int run_again(tape *t, int x, double value)
{
    /* What stands before moved[0] is anything; here it is true. */
    bool room[NODES + 1] = {true}, *moved = room + 1;
    int computed = WRONG == 14;
    if (WRONG == 20 && t->value[x] == value) return 0;
    if (WRONG != 7) t->value[x] = value;
    moved[x] = true;
    for (int j = 0; j < t->n && WRONG != 8; j++) {
        int i = WRONG == 6 && j >= 4 && j <= 5 ? 9 - j : j;
        bool depends = WRONG == 12 && i > x;
        bool any = WRONG == 19 || (WRONG == 18 && t->op[i] != INPUT);
        for (int k = 0; k < 2; k++) {
            int in = t->input[i][k];
            if (WRONG == 15 ? in > 0 : in >= 0 || any) depends |= moved[in];
        }
        if (!depends) continue;
        double before = t->value[i];
        compute(t, i);
        computed++;
        moved[i] = WRONG == 21 ? t->value[i] != before : WRONG != 13;
    }
    return computed;
}
