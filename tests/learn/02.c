/* SPDX-License-Identifier: MIT */
/* A solution of exercise 2, and wrong ones with what is said of each:
 * wrong 1: both shares are added, the last is not to be written over the first
 * wrong 2: c is not cleared: it held 100 before
 * wrong 3: go from the largest number to the smallest
 * wrong 4: the sign: a / b falls when b rises
 * wrong 5: the sweep begins with dy/dy = 1
 * wrong 6: a leaf gave something to c[-1]: its inputs are -1, which is none
 * wrong 7: z is node 0, and a node: only -1 is no input
 * wrong 8: a share is c[j] times the slope
 * wrong 9: a / b * b is (a / b) b: write a / (b * b)
 * wrong 10: t->value[a] is a's value
 */
int divide(tape *t, int a, int b)
{
    double u = t->value[a], v = t->value[b];
    if (WRONG == 9) return append(t, u / v, a, 1 / v, b, -u / v * v);
    if (WRONG == 10) return append(t, a / b, a, 1 / v, b, -u / (v * v));
    return append(t, u / v, a, 1 / v, b, (WRONG == 4 ? u : -u) / (v * v));
}

void backward(const tape *t, int y, double *c)
{
    for (int i = 0; i < t->n && WRONG != 2; i++) c[i] = 0;
    if (WRONG != 5 && WRONG != 2) c[y] = 1;
    if (WRONG == 2) c[y] += 1;
    for (int i = 0; i <= y; i++) {
        int j = WRONG == 3 ? (i * 7 + 6) % (y + 1) : y - i;
        for (int k = 0; k < 2; k++) {
            int in = t->input[j][k];
            if (WRONG == 7 ? in <= 0 : in < 0 && WRONG != 6) continue;
            double share = (WRONG == 8 ? 1 : c[j]) * t->slope[j][k];
            c[in] = WRONG == 1 ? share : c[in] + share;
        }
    }
}
