/* SPDX-License-Identifier: MIT */
/* A solution of exercise 2, and wrong ones with what is said of each:
 * wrong 1: both shares are added, the last is not to be written over the first
 * wrong 2: c is not cleared: it held 100 before
 * wrong 3: go from the largest number to the smallest
 * wrong 4: the sign: a / b falls when b rises
 * wrong 5: the sweep begins with dy/dy = 1
 */
int divide(tape *t, int a, int b)
{
    double u = t->value[a], v = t->value[b];
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
            if (in < 0) continue;
            double share = c[j] * t->slope[j][k];
            c[in] = WRONG == 1 ? share : c[in] + share;
        }
    }
}
