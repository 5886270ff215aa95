/* SPDX-License-Identifier: MIT */
/* Marks exercise 15: closed forms, then trainings whose smoothness is known. */
#include EXERCISE

static void check_second_difference(void)
{
    const double h = 0.2;
    for (int k = 0; k < 3; k++) { /* 3 eta^2 - eta, -eta^4, |eta - 1.2| at eta = 1 */
        double F[3];
        for (int i = 0; i < 3; i++) {
            double eta = 1 + i * h;
            F[i] = k == 0 ? 3 * eta * eta - eta : k == 1 ? -pow(eta, 4) : fabs(eta - 1.2);
        }
        double twice = F[2] - 2 * F[1] + F[0], right = fabs(twice) / (h * h);
        mark_number(second_difference(F[0], F[1], F[2], h), right, 1e-9,
                    SLIPS({fabs(twice), "h^2 to divide by is missing"},
                          {fabs(twice) / h, "divide by h^2, not by h"},
                          {fabs(twice) / (4 * h * h), "the step is h, not 2 h"},
                          {twice / (h * h), "S is |F_2 - 2 F_1 + F_0| / h^2: its size, "
                                            "without a sign"},
                          {fabs(F[2] - F[1] + F[0]) / (h * h), "F_1 counts twice: it is "
                                                               "in both differences"},
                          {fabs(F[2] - F[0]) / (2 * h), "that is a slope; S is how much "
                                                        "the slope changes"}),
                    "F = %s at eta = 1, h = 0.2",
                    k == 0   ? "3 eta^2 - eta"
                    : k == 1 ? "-eta^4"
                             : "|eta - 1.2|");
    }
}

static double sign(double x) { return (x > 0) - (x < 0); }

/* S^ as it is, and as it is written by mistake. */
enum { RIGHT, ALL_ALIKE, FIRST_HALF, OF_VALUES, NOT_DIVIDED, WHOLE, ZERO_UP, ZERO_DOWN };
static double agree(int n, const double *x0, const double *x1, const double *x2,
                    int mistake)
{
    double sum = 0, all = 0;
    for (int i = 0; i < n; i++) {
        double a = sign(x1[i] - x0[i]), b = sign(x2[i] - x1[i]), d = fabs(x2[i] - x0[i]);
        if (mistake == ALL_ALIKE) d = 1;
        if (mistake == FIRST_HALF) d = fabs(x1[i] - x0[i]);
        if (mistake == OF_VALUES) a = sign(x1[i]), b = sign(x2[i]);
        if (mistake == WHOLE) b = sign(x2[i] - x0[i]);
        if (mistake >= ZERO_UP && a == 0) a = mistake == ZERO_UP ? 1 : -1;
        sum += a * b * d, all += d;
    }
    return mistake == NOT_DIVIDED ? sum : sum / all;
}

static void check_agreement(void)
{
    /* Goes on, turns, goes on far, rests at first, turns back to behind its start. */
    const double x0[] = {1, -2, 0.5, 3, 2}, x1[] = {1.5, -1, -1, 3, 2.5},
                 x2[] = {2.5, -1.5, -4, 2, 1.25};
    const char *at = "x_0 = (1, -2, 0.5, 3, 2), x_1 = (1.5, -1, -1, 3, 2.5), "
                     "x_2 = (2.5, -1.5, -4, 2, 1.25)";
    const slip slips[] = {
        {agree(5, x0, x1, x2, ALL_ALIKE),
         "each counts alike: it is to count by d_i, how far it moved in all"},
        {agree(5, x0, x1, x2, FIRST_HALF), "d_i is |x_2i - x_0i|, of both halves"},
        {agree(5, x0, x1, x2, OF_VALUES),
         "the signs are of what changed, x_1 - x_0 and x_2 - x_1, not of x"},
        {agree(5, x0, x1, x2, NOT_DIVIDED), "the sum of all d_i to divide by is missing"},
        {agree(5, x0, x1, x2, WHOLE),
         "the second sign is of x_2 - x_1, the second half alone"},
        {agree(5, x0, x1, x2, ZERO_UP),
         "what does not move in one half has sign 0 there, not 1"},
        {agree(5, x0, x1, x2, ZERO_DOWN),
         "what does not move in one half has sign 0 there, not -1"},
        {0, NULL}};
    mark_number(agreement(5, x0, x1, x2), agree(5, x0, x1, x2, RIGHT), 1e-9, slips, "%s",
                at);
    mark_number(agreement(2, x0, x1, x2), agree(2, x0, x1, x2, RIGHT), 1e-9, NULL,
                "the first 2 of these alone");
}

/* Trainings: 8 parameters from different starts, eta added to each. */
static double descend(double eta, double *x, double rate)
{
    double F = 0;
    for (int i = 0; i < PARAMETERS; i++) {
        double w = 0.1 + 0.08 * i + eta;
        for (int t = 0; t < 15; t++) w -= rate * (4 * w * w - 3 * w);
        x[i] = w, F += (w - 0.5) * (w - 0.5);
    }
    return F;
}

static double asked[16];
static int n_asked;

static double calm(double eta, double *x)
{
    asked[n_asked++ % 16] = eta;
    return descend(eta, x, 0.1);
}

static double wild(double eta, double *x) { return descend(eta, x, 1); }

static double diverged(double eta, double *x)
{
    double F = descend(eta, x, 0.1);
    for (int i = 0; i < PARAMETERS; i++) x[i] = (double)NAN;
    return F * (double)NAN;
}

/* Only F says that it diverged. */
static double lost(double eta, double *x)
{
    descend(eta, x, 0.1);
    return eta > 0.15 ? (double)NAN : 0;
}

/* All turn back, between eta = 0.15 and 0.2 (S^ = -1); or all but the first two. */
static double turns_back(double eta, double *x)
{
    for (int i = 0; i < PARAMETERS; i++) x[i] = -(i + 1) * pow(eta - 0.16, 2);
    return x[0];
}

static double mostly_turns_back(double eta, double *x)
{
    turns_back(eta, x);
    x[0] = x[1] = 0.01 * eta;
    return x[0];
}

/* Parameters that follow eta up to 0.15 and then, half of them, turn back. */
static double bent(double eta, double *x)
{
    for (int i = 0; i < PARAMETERS; i++)
        x[i] = i % 2 ? eta * (i + 1) : 0.15 - fabs(eta - 0.15 - 0.01 * i);
    return fabs(x[0]);
}

static double smoothness_of(training run, double eta, double h, double first)
{
    double x[3][PARAMETERS];
    for (int k = 0; k < 3; k++) run(eta + (first + k) * h, x[k]);
    return agree(PARAMETERS, x[0], x[1], x[2], RIGHT);
}

static void check_smoothness(void)
{
    double x[4][PARAMETERS], F[3];
    n_asked = 0;
    double yours = smoothness(calm, 0.05, 0.01);
    if (n_asked != 3)
        mark_wrong("eta = 0.05, h = 0.01: the training is run at 3 values of eta; yours "
                   "ran it %d times",
                   n_asked);
    for (int k = 0; k < 3; k++) {
        double want = 0.05 + k * 0.01;
        if (fabs(asked[0] - want) < 1e-12 || fabs(asked[1] - want) < 1e-12 ||
            fabs(asked[2] - want) < 1e-12)
            continue;
        mark_wrong("eta = 0.05, h = 0.01: you ran the training at eta = %g, %g and %g; "
                   "eta, eta + h and eta + 2 h are right",
                   asked[0], asked[1], asked[2]);
    }
    mark_number(yours, 1, 1e-9, NULL, "a training that follows eta");
    for (int k = 0; k < 3; k++) F[k] = bent(0.1 + k * 0.05, x[k]);
    mark_number(smoothness(bent, 0.1, 0.05), smoothness_of(bent, 0.1, 0.05, 0), 1e-9,
                SLIPS({agree(1, F, F + 1, F + 2, RIGHT), "that is S^ of F, one number: "
                                                         "it is wanted of all of x"},
                      {smoothness_of(bent, 0.1, 0.05, -1),
                       "that begins at eta - h: it is eta, eta + h, eta + 2 h"},
                      {agree(PARAMETERS, x[2], x[1], x[1], RIGHT),
                       "two of the three are the same: each has an array of its own"}),
                "a training in which half of x turns back, eta = 0.1, h = 0.05");
    double s = smoothness(lost, 0.1, 0.05);
    if (!isnan(s))
        mark_wrong(
            "a training with finite x, and F = NaN at eta + h and eta + 2 h: yours "
            "is %g, right is NaN: it diverged, though x does not show it",
            s);
}

enum { DIVERGED = 3, LOST, ALL_BACK, MOST_BACK };
static const char *const name[] = {"one that follows eta",
                                   "chaos",
                                   "one that turns back",
                                   "one that diverged",
                                   "one with finite x and F = NaN",
                                   "one all of which turns back (S^ = -1)",
                                   "one most of which turns back (S^ < 0)"};

static void ask(int n, const training *run, const int *is, double eta, double h, int best)
{
    char list[400] = "";
    for (int i = 0; i < n; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%d is %s",
                 i ? ", " : "", i, name[is[i]]);
    int yours = most_trusted(n, run, eta, h);
    if (yours == best) return;
    double least = INFINITY;
    int worst = -1;
    for (int i = 0; i < n; i++) {
        double s = smoothness_of(run[i], eta, h, 0);
        if (s < least) least = s, worst = i;
    }
    mark_wrong("%s (eta = %g, h = %g): yours is %d, right is %d%s", list, eta, h, yours,
               best,
               yours < -1 || yours >= n    ? ": that is no number of a training"
               : best < 0 && is[0] != LOST ? ": all diverged, none is to be trusted"
               : yours >= 0 && is[yours] == LOST
                   ? ": F = NaN says that it diverged, though x is finite: ask F too"
               : is[best] >= ALL_BACK && (yours < 0 || is[yours] == DIVERGED)
                   ? ": S^ may be below 0, and -1: a best that begins at 0 or -1 is "
                     "never passed, one of -INFINITY is"
               : yours >= 0 && is[yours] == DIVERGED
                   ? ": that one diverged; no comparison with NaN is true, so ask isnan"
               : yours == worst ? ": that is the least smooth; the largest S^ is wanted"
                                : "");
}

static void check_most_trusted(void)
{
    ask(3, (const training[]){wild, calm, bent}, (const int[]){1, 0, 2}, 0.1, 0.05, 1);
    ask(3, (const training[]){calm, wild, bent}, (const int[]){0, 1, 2}, 0.1, 0.05, 0);
    ask(2, (const training[]){wild, bent}, (const int[]){1, 2}, 0.1, 0.05,
        smoothness_of(wild, 0.1, 0.05, 0) < smoothness_of(bent, 0.1, 0.05, 0));
    ask(3, (const training[]){diverged, wild, calm}, (const int[]){3, 1, 0}, 0.1, 0.05,
        2);
    ask(3, (const training[]){calm, wild, diverged}, (const int[]){0, 1, 3}, 0.1, 0.05,
        0);
    ask(2, (const training[]){diverged, diverged}, (const int[]){3, 3}, 0.1, 0.05, -1);
    ask(2, (const training[]){diverged, mostly_turns_back},
        (const int[]){DIVERGED, MOST_BACK}, 0.1, 0.05, 1);
    ask(1, (const training[]){turns_back}, (const int[]){ALL_BACK}, 0.1, 0.05, 0);
    ask(2, (const training[]){turns_back, mostly_turns_back},
        (const int[]){ALL_BACK, MOST_BACK}, 0.1, 0.05, 1);
    ask(2, (const training[]){lost, wild}, (const int[]){LOST, 1}, 0.1, 0.05, 1);
    ask(1, (const training[]){lost}, (const int[]){LOST}, 0.1, 0.05, -1);
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"second_difference",
         check_second_difference,
         {"the difference of two differences: (F_2 - F_1) - (F_1 - F_0)",
          "its size, divided by h twice", "fabs(F2 - 2 * F1 + F0) / (h * h)"}},
        {"agreement",
         check_agreement,
         {"for each i: did it go on the same way in the second half?",
          "the product of two signs is 1, 0 or -1; weigh it by d_i = |x_2i - x_0i|",
          "sum += sign(x1 - x0) * sign(x2 - x1) * d, all += d; then sum / all"}},
        {"smoothness",
         check_smoothness,
         {"three runs, and three arrays of PARAMETERS numbers",
          "for (int k = 0; k < 3; k++) F[k] = run(eta + k * h, x[k]);",
          "if (isnan(F[0] + F[1] + F[2])) return NAN; "
          "return agreement(PARAMETERS, x[0], x[1], x[2])"}},
        {"most_trusted",
         check_most_trusted,
         {"keep the number of the best so far, -1 at first, and its smoothness",
          "a comparison with NaN is false: so begin with a best of -INFINITY, or ask "
          "isnan",
          "if (s > best) best = s, number = i;"}},
    };
    return mark_exercise(argc, argv, 15, holes, sizeof holes / sizeof *holes);
}
