/* SPDX-License-Identifier: MIT */
/* A solution of exercise 11, and wrong ones with what is said of each:
 * wrong 1: a segment's first state is on the pile already
 * wrong 2: the last segment's steps are run once more than needed
 * wrong 3: a segment's last step is run again
 * wrong 4: from which a step was gone back through: drop what has been used
 * wrong 5: that is for one slot fewer
 * wrong 6: that is for r - 1 runs of a step
 * wrong 7: (s + 1)^r grows too fast
 * wrong 8: after m a slot is taken: the steps there have s - 1, not s
 * wrong 9: leave the others reach(s - 1, r - 1) steps at least
 * wrong 10: the first part cannot take so many: reach(s, r - 1) at most
 * wrong 11: half and half is not best
 * wrong 12: one off: is r the least
 * wrong 13: a segment of n steps has n - 1 states after its first to make, and none if
 * wrong 14: if it calls reach, which is not right, mend that first.
 */
void two_level(walk *w, int k)
{
    int segments = (w->T + k - 1) / k, n = w->T - (segments - 1) * k;
    for (int i = 0; i < segments; i++) {
        keep(w);
        if (i < segments - 1) forward(w, k);
        if (i == segments - 1 && WRONG == 2 && n > 1) forward(w, n - 1);
    }
    for (int i = 0; i < segments; i++, n = k) {
        load(w);
        if (WRONG == 1) keep(w);
        for (int j = 1; j < n; j++) forward(w, 1), keep(w);
        if (WRONG == 13 && n == 1) forward(w, 1), keep(w);
        if (WRONG == 3 && i > 0) forward(w, 1);
        for (int j = 0; j < n; j++) {
            load(w), back(w);
            if (WRONG != 4) drop(w);
        }
        if (WRONG == 1) drop(w);
    }
}

long reach(int s, int r)
{
    long c = 1;
    if (WRONG == 6) r--;
    if (WRONG == 7 || WRONG == 14) return r < 0 ? 0 : lround(pow(s + 1, r));
    if (r < 0) return 0;
    if (WRONG != 5 && WRONG != 6) return r && s ? reach(s, r - 1) + reach(s - 1, r) : 1;
    for (int i = 1; i <= s - (WRONG == 5); i++) c = c * (r + i) / i;
    return c;
}

int split(int n, int s)
{
    int r = 0;
    if (s == 1) return n - 1;
    if (WRONG == 11) return n / 2;
    while (reach(s, r) < n) r++;
    long left = reach(s, r - 1), right = n - reach(WRONG == 8 ? s : s - 1, r - 1);
    long m = left < right ? left : right;
    if (WRONG == 9) m = left;
    if (WRONG == 10) m = right;
    if (WRONG == 12 && m > 1) m--;
    return (int)m;
}
