/* SPDX-License-Identifier: MIT */
/* Marks exercise 11: two-level by the states that back is given and by its counts, reach
 * by Pascal's rule, split by the least of all costs, found by trying. */
#include EXERCISE

static void check_two_level_of(int T, int k)
{
    static walk w;
    w = (walk){.T = T, .end = T};
    two_level(&w, k);
    int segments = (T + k - 1) / k, last = T - (segments - 1) * k;
    int steps = (segments - 1) * k + (segments - 1) * (k - 1) + last - 1;
    int slots = segments - 1 + last; /* in the last segment; and in the one before */
    if (segments > 1 && slots < segments - 2 + k) slots = segments - 2 + k;
    const char *at = mark_text("T = %d, k = %d", T, k);
    if (w.end) mark_wrong("%s: steps %d .. 0 were not gone back through", at, w.end - 1);
    /* One fewer if a segment's last state is used at once and not kept. */
    mark_number(w.most, w.most == slots - 1 ? slots - 1 : slots, 0,
                SLIPS({T, "that is every state: within a segment keep states only when "
                          "its turn comes, to go back through it"},
                      {slots + 1,
                       "a segment's first state is on the pile already; keep only those "
                       "after it"},
                      {segments, "more is allowed: keep the states within a segment too, "
                                 "or its steps are run again and again"},
                      {segments - 1 + T, "drop a state when it has been used"}),
                "%s: the most slots in use", at);
    mark_number(
        w.steps, steps, 0,
        SLIPS({steps + 1, "the step to theta_T is not asked for here"},
              {steps + last - 1, "the last segment's steps are run once more than "
                                 "needed: stop at its first state on the way "
                                 "forward"},
              {steps + segments, "each segment's last step is run again: the "
                                 "state after it is not needed any more"},
              {steps + segments - 1, "a segment's last step is run again: the "
                                     "state after it is not needed any more"}),
        "%s: forward steps", at);
    if (w.slots)
        mark_wrong("%s: %d states are on the pile at the end: drop what has been used",
                   at, w.slots);
}

static void check_two_level(void)
{
    check_two_level_of(23, 5);
    check_two_level_of(16, 4);
    check_two_level_of(7, 7);
    check_two_level_of(100, 10);
    check_two_level_of(21, 5); /* the last segment is one step */
    check_two_level_of(5, 1);
    check_two_level_of(1, 3);
    check_two_level_of(5, 9);
}

/* By Pascal's rule. */
static double pascal(int s, int r)
{
    static double known[41][41];
    if (r < 0) return 0;
    if (r == 0 || s == 0) return 1;
    if (!known[s][r]) known[s][r] = pascal(s, r - 1) + pascal(s - 1, r);
    return known[s][r];
}

static void check_reach_at(int s, int r)
{
    mark_number(
        (double)reach(s, r), pascal(s, r), 0,
        SLIPS({s > 0 ? pascal(s - 1, r) : -9,
               "that is for one slot fewer: with one slot, s = 1, r + 1 steps can "
               "be gone back through"},
              {pascal(s, r - 1), "that is for r - 1 runs of a step"},
              {pascal(s + 1, r), "that is for one slot more"},
              {pascal(s, r + 1), "that is for r + 1 runs of a step"},
              {pow(s + 1, r), "(s + 1)^r grows too fast: reach(s, r) is reach(s, "
                              "r - 1) + reach(s - 1, r)"},
              {s * r, "a product is too few: reach(s, r) is C(s + r, s)"}),
        "reach(%d, %d)", s, r);
}

/* Where the mistakes give numbers that are not each other's, first. Pascal's rule may be
 * called as it stands, which takes as many calls as reach is large: so s, r <= 10. */
static void check_reach(void)
{
    check_reach_at(3, 4);
    for (int s = 0; s <= 10; s++)
        for (int r = -1; r <= 10; r++) check_reach_at(s, r);
}

/* t(n, s) by trying every m. */
enum { SIZE = 61 };
static int cost(int n, int s)
{
    static int known[SIZE][SIZE];
    if (n == 1) return 0;
    if (s == 0) return 1000000;
    if (known[n][s]) return known[n][s];
    int best = 1000000;
    for (int m = 1; m < n; m++) {
        int c = m + cost(n - m, s - 1) + cost(m, s);
        if (c < best) best = c;
    }
    return known[n][s] = best;
}

static int runs(int n, int s)
{
    int r = 0;
    while (pascal(s, r) < n) r++;
    return r;
}

static void check_split_at(int n, int s)
{
    int m = split(n, s), r = runs(n, s), right = 0;
    const char *at = mark_text("n = %d steps, s = %d slots", n, s);
    if (m < 1 || m >= n)
        mark_wrong("%s: m = %d is not in 1 .. %d%s", at, m, n - 1,
                   m == pascal(s, r - 1)
                       ? ": reach(s, r - 1) may be n and more; the others need "
                         "steps too, n - reach(s - 1, r - 1) is the most"
                   : m == n ? ": that is reach(s, r); the first m steps were run "
                              "once, so r - 1 runs are left"
                            : "");
    int c = m + cost(n - m, s - 1) + cost(m, s);
    for (int i = 1; i < n; i++)
        if (i + cost(n - i, s - 1) + cost(i, s) == cost(n, s)) right = i;
    if (c == cost(n, s)) return;
    int with_all = (int)fmin(pascal(s, r), n - pascal(s - 1, r));
    const char *why =
        s == 1 ? "no slot is free for another state: go to the last, m = n - 1"
        : m == (int)fmin(pascal(s, r - 1), n - pascal(s, r - 1))
            ? "after m a slot is taken: the steps there have s - 1, not s"
        : m == with_all || m == (int)fmin(pascal(s, r), n - 1)
            ? "the first m steps were run once already: r - 1 runs are left to "
              "them, reach(s, r - 1)"
        : m == (int)pascal(s, r - 1) ? "that is all the first part can take; "
                                       "leave the others reach(s - 1, "
                                       "r - 1) steps at least"
        : m == n - (int)pascal(s - 1, r - 1)
            ? "the first part cannot take so many: reach(s, r - 1) at most"
        : m == right + 1 || m == right - 1
            ? "one off: is r the least with reach(s, r) >= n, and the state of "
              "step m counted to the others?"
        : m == n / 2 || m == (n + 1) / 2
            ? "half and half is not best: the first part has one slot more"
            : "see the formula of m";
    if (c >= 1000000)
        mark_wrong("%s: after m = %d steps %d are left, which no slot is there "
                   "for: %s",
                   at, m, n - m, why);
    mark_wrong("%s: m = %d costs %d forward steps, m = %d costs %d: %s", at, m, c, right,
               cost(n, s), why);
}

static void check_split(void)
{
    check_split_at(13, 2);
    check_split_at(15, 2);
    for (int s = 1; s <= 6; s++)
        for (int n = 2; n < SIZE; n++) check_split_at(n, s);
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"two_level",
         check_two_level,
         {"first the way forward: keep(w), forward(w, k), keep(w), .. ; but the last "
          "segment's first state is the end of it",
          "then for each segment, from the last: load its first state, which is on top; "
          "forward(w, 1) and keep(w) until its last state is kept; then load, back, drop "
          "as often as it has states",
          "segments = (T + k - 1) / k, n = T - (segments - 1) k steps in the last, k in "
          "the others: load(w); n - 1 times forward(w, 1), keep(w); n times load(w), "
          "back(w), drop(w)"}},
        {"reach",
         check_reach,
         {"no runs at all (r = 0): one step, from the state that is kept, and none if r "
          "< "
          "0",
          "C(s + r, s) = (r + 1)(r + 2) .. (r + s) / s!",
          "long c = 1; for (int i = 1; i <= s; i++) c = c * (r + i) / i; and 0 for r < "
          "0"}},
        {"split",
         check_split,
         {"find the least r with reach(s, r) >= n first",
          "the first part can take reach(s, r - 1) steps; the others are to keep reach(s "
          "- 1, r - 1)",
          "m is the smaller of reach(s, r - 1) and n - reach(s - 1, r - 1)"},
         .needs = "reach"},
    };
    return mark_exercise(argc, argv, 11, holes, sizeof holes / sizeof *holes);
}
