/* SPDX-License-Identifier: MIT */
/* 11_checkpoints.c: which states to keep, and which steps to run again.
 *
 * (Needs lesson 9.) The way back through T steps needs the states theta_T-1, .., theta_0,
 * in this order; they are made in the other. To keep all takes T slots, a slot being the
 * memory of a state. A state that is not kept is made again, by steps from one that is.
 * What counts is s, the most slots in use at once, and the forward steps run.
 *
 * Two-level: cut T into segments of k = sqrt(T) steps, and on the way forward keep the
 * state each begins with. Then, from the last segment on, run it again, keeping all its
 * states, and go back through it: about 2 sqrt(T) slots. Run once are the last segment
 * and a segment's last step, the others twice: T + (T/k - 1)(k - 1) forward steps.
 *
 * Revolve (Griewank & Walther, ACM TOMS 26, 2000): to go back through n steps, the first
 * of which begins with a state that is kept, by s slots, its own among them,
 *
 *     first . . . . . . . . m . . . . . . n
 *       |------ run m ----->|                  m steps; keep the state, if n - m > 1
 *                           |<-- s - 1 ---|    revolve the rest, then free the slot
 *       |<-------- s -------|                  load the first, revolve m steps
 *
 *     t(n, s) = m + t(n - m, s - 1) + t(m, s) forward steps,         t(1, s) = 0
 *
 * (and one to theta_T besides, which F needs). Which m? Ask how many steps one can go
 * back through if none is run more than r times. The m steps have been run once, so r - 1
 * times are left; the others have a slot less:
 *
 *     reach(s, r) = reach(s, r - 1) + reach(s - 1, r)           reach(s, 0) = 1
 *                 = C(s + r, s) = (s + r)! / (s! r!)            by Pascal's rule
 *
 * So 3 slots and r = 7 do for 120 steps. For n steps take the least r with reach(s, r) at
 * least n. The best m (some smaller may be as good), and the cost, are
 *
 *     m       = min(reach(s, r - 1), n - reach(s - 1, r - 1))
 *     t(n, s) = r n - reach(s + 1, r - 1)
 *
 * A step run again gives the same state: all give the same bits. The library's are
 * ht_bilevel_options.schedule and .slots. Next: lesson 14, which keeps none. */
#include "lesson.h"

enum { T = 100 };
static const double rate = 0.05;

/* A training of one number, L = theta^4 / 4 and F = L at theta_T, and what it took. */
typedef struct walk {
    struct {
        double theta;
        int t;
    } now, kept[T]; /* a state; and a pile of `slots` states */
    int slots, most, steps;
    double v, d_rate;
} walk;

static void forward(walk *w, int n)
{
    for (w->steps += n, w->now.t += n; n > 0; n--)
        w->now.theta -= rate * pow(w->now.theta, 3);
}

static void keep(walk *w)
{
    w->kept[w->slots++] = w->now;
    if (w->most < w->slots) w->most = w->slots;
}

static void load(walk *w) { w->now = w->kept[w->slots - 1]; }

/* Back through the step from the state that is now: lesson 9. */
static void back(walk *w)
{
    double theta = w->now.theta;
    if (w->now.t == T - 1) forward(w, 1), w->v = pow(w->now.theta, 3); /* dF/dtheta_T */
    w->d_rate -= pow(theta, 3) * w->v;
    w->v -= rate * 3 * theta * theta * w->v;
}

static void two_level(walk *w, int k)
{
    int segments = (T + k - 1) / k, n = T - (segments - 1) * k; /* steps of the last */
    for (int i = 1; i < segments; i++) keep(w), forward(w, k);
    keep(w);
    for (int i = 0; i < segments; i++, n = k) {
        load(w);
        for (int j = 1; j < n; j++) forward(w, 1), keep(w);
        for (int j = 0; j < n; j++) load(w), back(w), w->slots--;
    }
}

static double reach(int s, int r) /* C(s + r, s) */
{
    double c = r >= 0;
    for (int i = 1; i <= s; i++) c = c * (r + i) / i;
    return c;
}

static int repeats(int n, int s) /* the least r with reach(s, r) >= n */
{
    int r = 0;
    while (s > 0 && reach(s, r) < n) r++;
    return r;
}

static void revolve(walk *w, int n, int s)
{
    if (n == 1) back(w);
    if (n == 1) return;
    int r = repeats(n, s), m = (int)fmin(reach(s, r - 1), n - reach(s - 1, r - 1));
    forward(w, m);
    if (n - m > 1) keep(w); /* a state that is used at once needs no slot */
    revolve(w, n - m, s - 1);
    if (n - m > 1) w->slots--;
    load(w), revolve(w, m, s);
}

static ht_var loss(const ht_vars *theta, const ht_vars *e, const ht_vars *d, void *u)
{
    return ht_mul(ht_square(ht_square(ht_get(theta, "theta"))), 0.25);
}

int main(int argc, char **argv)
{
    const char *page = lesson_page(argc, argv);
    ht_context *ctx = lesson_context();
    ht_set *theta = ht_set_new(ctx), *eta = ht_set_new(ctx);
    ht_tensor_fill(ht_set_add(theta, "theta", HT_F64, HT_SCALAR), 1.5);
    ht_tensor_fill(ht_set_add(eta, "rate", HT_F64, HT_SCALAR), rate);
    ht_bilevel_problem p = {loss, loss, .theta = theta, .eta = eta, .steps = T};
    p.update = (ht_update){&ht_sgd, .rate = HT_OUTER("rate")};
    const ht_schedule kind[] = {HT_STORE_ALL, HT_TWO_LEVEL, HT_REVOLVE};
    const char *name[] = {"store all", "two-level", "revolve"};
    const int slots[] = {0, 0, 1, 2, 3, 5, 10, 20};
    puts("T = 100    slots  forward steps  formula  library   dF/drate  library");
    for (int i = 0; i < 8; i++) {
        int s = slots[i], r = repeats(T, s), k = i < 2 ? i : 2;
        double formula = s ? r * T - reach(s + 1, r - 1) + 1 : i ? T + 9 * 9 : T;
        walk w = {.now = {1.5, 0}};
        if (s) keep(&w), revolve(&w, T, s);
        if (!s) two_level(&w, i ? 10 : T); /* store all: one segment */
        ht_bilevel_options how = {.schedule = kind[k], .slots = s};
        ht_bilevel *b = ht_bilevel_new(ctx, &p, &how);
        ht_bilevel_result run = ht_bilevel_run(b, 0);
        int library = (int)run.forward_steps;
        printf("%-10s %5d %14d %8.0f %8d", name[k], w.most, w.steps, formula, library);
        printf(" %10.4f %8.4f\n", w.d_rate, ht_tensor_get(ht_set_at(run.gradient, 0), 0));
        if (page && s == 3) ht_bilevel_write_html(b, page);
        ht_bilevel_free(b);
    }
    ht_set_free(theta), ht_set_free(eta);
    ht_context_free(ctx);
}
