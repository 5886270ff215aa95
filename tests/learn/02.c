/* SPDX-License-Identifier: MIT */
/* A solution of exercise 2, and wrong ones with what is said of each:
 * wrong 1: wrote its share, 0, over it: shares are added
 * wrong 2: c is not cleared: it held 100 before
 * wrong 3: go from the largest number to the smallest
 * wrong 4: the sign: a / b falls when b rises
 * wrong 5: the sweep begins with c[y[k]] = seed[k]
 * wrong 6: a leaf gave something to c[-1]: its inputs are -1, which is none
 * wrong 7: z is node 0, and a node: only -1 is no input
 * wrong 8: a share is c[j] times the slope
 * wrong 9: a / b * b is (a / b) b: write a / (b * b)
 * wrong 10: t->value[a] is a's value
 * wrong 11: not with 1 at the last node of the tape
 * wrong 12: And a node has two inputs: z is the second
 * wrong 13: the seeds are missing: c[y[k]] gets seed[k], not 1
 * wrong 14: its seeds are added, the last is not to be written over the first
 * wrong 15: a share was given on twice: put all the seeds first, then sweep once
 * wrong 16: only y[0] counts; n nodes have a seed
 * wrong 17: the inputs of the new node are 9 and 9; a and b are nodes 9 and 4
 * wrong 18: b is to be squared
 * wrong 20: both shares are added, the last is not to be written over the first
 * wrong 19: two int were divided: a and b are numbers of nodes
 */
int divide(tape *t, int a, int b)
{
    double u = t->value[a], v = t->value[b];
    if (WRONG == 9) return append(t, u / v, a, 1 / v, b, -u / v * v);
    if (WRONG == 10) return append(t, a / b, a, 1 / v, b, -u / (v * v));
    if (WRONG == 17) return append(t, u / v, a, 1 / v, a, -u / (v * v));
    if (WRONG == 18) return append(t, u / v, a, 1 / v, b, -u / v);
    if (WRONG == 19) return append(t, u / v, a, 1 / v, b, -a / (b * b));
    return append(t, u / v, b, (WRONG == 4 ? u : -u) / (v * v), a,
                  1 / v); /* either order */
}

void backward(const tape *t, int n, const int *y, const double *seed, double *c)
{
    for (int i = 0; i < t->n && WRONG != 2; i++) c[i] = 0;
    if (WRONG == 11) c[t->n - 1] = 1;
    for (int m = 0; m < (WRONG == 15 ? n : 1); m++) {
        for (int k = m; k < (WRONG == 15 ? m + 1 : WRONG == 16 ? 1 : n); k++) {
            double of_k = WRONG == 13 ? 1 : seed[k];
            if (WRONG == 14) c[y[k]] = 0;
            if (WRONG != 5 && WRONG != 11) c[y[k]] += of_k;
        }
        for (int i = 0; i < t->n; i++) {
            int j = WRONG == 3 ? (i * 3 + 4) % t->n : t->n - 1 - i;
            for (int k = 0; k < (WRONG == 12 ? 1 : 2); k++) {
                int in = t->input[j][k];
                if (WRONG == 7 ? in <= 0 : in < 0 && WRONG != 6) continue;
                double share = (WRONG == 8 ? 1 : c[j]) * t->slope[j][k];
                c[in] = WRONG == 1 || (WRONG == 20 && c[j] != 0) ? share : c[in] + share;
            }
        }
    }
}
