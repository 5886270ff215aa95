/* SPDX-License-Identifier: MIT */
/* Marks exercise 3: differences against derivatives by hand and by how their error falls,
 * the step against its neighbours, and the judge by gradients right and wrong. */
#include EXERCISE

/* x_0^3 e^(x_1) + sin(x_2): third derivatives of both signs, none 0. */
static double mixed(int n, const double *x)
{
    return x[0] * x[0] * x[0] * exp(x[1]) + sin(x[2]);
}
static void mixed_gradient(const double *x, double *g)
{
    g[0] = 3 * x[0] * x[0] * exp(x[1]), g[1] = x[0] * g[0] / 3, g[2] = cos(x[2]);
}

static const double point[] = {0.7, -0.3, 1.1};

/* At numbers that do not come back when h is added and taken off again. */
static void check_put_back(void)
{
    for (int i = 0; i < 24; i++) {
        double x[3], was[3];
        for (int k = 0; k < 3; k++) was[k] = x[k] = 0.01 + 0.037 * (i / 3) + 0.011 * k;
        partial(mixed, 3, x, i % 3, 0.3);
        for (int k = 0; k < 3; k++)
            if (memcmp(&x[k], &was[k], sizeof *x))
                mark_wrong(
                    "by x%d, h = 0.3: x%d is not put back; it was %g and differs by "
                    "%.3g. Adding and subtracting h rounds: keep x[i] before, and "
                    "write it back",
                    i % 3, k, was[k], x[k] - was[k]);
    }
}

static void check_partial(void)
{
    const double h = 0.01;
    double g[3], x[3];
    mixed_gradient(point, g);
    for (int i = 2; i >= 0; i--) {
        double up[3], down[3];
        memcpy(x, point, sizeof x), memcpy(up, point, sizeof x);
        memcpy(down, point, sizeof x);
        up[i] += h, down[i] -= h;
        double f = mixed(3, point), high = mixed(3, up), low = mixed(3, down),
               right = (high - low) / (2 * h), d = partial(mixed, 3, x, i, h);
        const char *at =
            mark_text("f = x0^3 e^x1 + sin x2 at (0.7, -0.3, 1.1), h = 0.01");
        mark_number(d, right, 1e-9,
                    SLIPS({(high - f) / h, "that is the one-sided difference up, whose "
                                           "error only halves; go down by h as well"},
                          {(f - low) / h, "that is the one-sided difference down, whose "
                                          "error only halves; go up by h as well"},
                          {(high - low) / h, "from x - h to x + h it is 2 h"},
                          {high - low, "it is to be divided by 2 h"},
                          {(high - low) / 2, "it is to be divided by h as well"},
                          {-right, "the sign: f(x + h) comes first"},
                          {right * h * h, "a / 2 * h is (a / 2) h: write a / (2 * h)"}),
                    "%s: by x%d (the derivative is %.6f)", at, i, g[i]);
    }
    check_put_back();
}

static void check_extrapolate(void)
{
    const double a[] = {2, -3.5, 0}, c[] = {0.3, 0.8, -1}, h = 0.5;
    for (int i = 0; i < 3; i++) {
        double d = a[i] + c[i] * h * h, half = a[i] + c[i] * h * h / 4;
        mark_number(
            extrapolate(d, half), a[i], 1e-12,
            SLIPS(
                {(4 * d - half) / 3,
                 "which of the two is the better, with the weight 4?"},
                {(d + half) / 2, "the mean still has 5/8 of the error of d"},
                {2 * half - d, "that is for errors that halve; these quarter"},
                {(4 * half - d) / 4, "the weights 4 and -1 sum to 3: divide by 3, not 4"},
                {(half - d) / 3, "that is what half still lacks: add it to half"},
                {4 * half - d, "the weights 4 and -1 sum to 3: divide by it"},
                {(4 * half + d) / 5, "errors are to cancel, so one is taken off"},
                {half, "that has still a quarter of the error of d"}),
            "d = %.9g, half = %.9g: what is left without c h^2", d, half);
    }
    double e[2];
    for (int k = 0; k < 2; k++) {
        double x = 1, s = k ? 0.1 : 0.2, d = (exp(x + s) - exp(x - s)) / (2 * s),
               half = (exp(x + s / 2) - exp(x - s / 2)) / s;
        e[k] = fabs(extrapolate(d, half) - exp(1));
    }
    if (!(e[0] / e[1] > 15 && e[0] / e[1] < 17))
        mark_wrong("e^x at 1: with half of the steps the error is to be 16 times less; "
                   "yours goes from %.3g to %.3g",
                   e[0], e[1]);
}

static double most_error(double h, double f, double f3)
{
    return h * h / 6 * fabs(f3) + EPS * fabs(f) / h;
}

/* Ends the check with what a step of that length means. */
static void tell_step(double h, double f, double f3)
{
    double ratio = fabs(f / f3), best = cbrt(3 * EPS * ratio);
    const slip slips[] = {
        {1, "1 / 3 of two int is 0, and a number to the 0 is 1: write 1.0 / 3, or cbrt"},
        {cbrt(EPS * ratio),
         "a 3 is missing: where is the slope of h^2/6 |f3| + EPS |f| / h "
         "by h zero?"},
        {cbrt(6 * EPS * ratio), "the two terms are equal there; their sum is least where "
                                "their slopes cancel"},
        {sqrt(EPS), "the square root is for one-sided differences"},
        {sqrt(EPS * ratio), "the square root is for one-sided differences"},
        {cbrt(3 * EPS / ratio),
         "f and f3 are the wrong way round: a larger f rounds more "
         "and needs a longer step"},
        {cbrt(EPS), "that is the usual advice; it knows nothing of f and f3"},
        {cbrt(3 * EPS), "f and f3 count as well"},
        {-best, "a step is positive: take |f| and |f3|"},
        {3 * EPS * ratio, "the root is missing: h^3 = 3 EPS |f| / |f3|"},
        {0, NULL},
    };
    for (const slip *s = slips; s->why; s++)
        if (fabs(h / s->value - 1) < 1e-6)
            mark_wrong("f = %g, f3 = %g: yours is %.4g, right is %.4g: %s", f, f3, h,
                       best, s->why);
    mark_wrong(
        "f = %g, f3 = %g: at yours, %.4g, the error is at most %.4g; at %.4g it is "
        "%.4g",
        f, f3, h, most_error(h, f, f3), best, most_error(best, f, f3));
}

static void check_best_step(void)
{
    const double fs[] = {2, 200, -3, 0.01}, f3s[] = {5, 0.5, 40, -7};
    for (int i = 0; i < 4; i++) {
        double h = best_step(fs[i], f3s[i]), best = cbrt(3 * EPS * fabs(fs[i] / f3s[i]));
        double least = most_error(best, fs[i], f3s[i]);
        if (!(h > 0 && most_error(h, fs[i], f3s[i]) <= least * (1 + 1e-6)))
            tell_step(h, fs[i], f3s[i]);
    }
}

static double quick(int n, const double *x) { return sin(30 * x[0]) + pow(x[1], 3); }
static double quadratic(int n, const double *x)
{
    return 1000 * x[0] * x[0] + x[0] * x[1];
}
static double kink(int n, const double *x) { return fabs(x[0]) + x[1] * x[1] * x[1]; }

typedef struct judged {
    scalar_fn f;
    int n;
    double x[3], g[3], h;
    bool right;
    const char *what, *why;
} judged;

#define MIXED "x0^3 e^x1 + sin x2"

/* In this order: each tells one mistake, if those before it were not made. */
static void check_is_gradient(void)
{
    double m[3];
    mixed_gradient(point, m);
#define AT_POINT \
    mixed, 3, { 0.7, -0.3, 1.1 }
    const judged cases[] = {
        {AT_POINT,
         {m[0], m[1], m[2]},
         0.01,
         true,
         "the gradient of " MIXED,
         "for each i e(h/2) is about e(h) / 4"},
        {quick,
         2,
         {0.3, 2},
         {30 * cos(9), 12},
         0.01,
         true,
         "the gradient of sin(30 x0) + x1^3",
         "its differences are far off, but the error quarters: ask for that, not for "
         "digits"},
        {quadratic,
         2,
         {0.6, 0.2},
         {1200.2, 0.6},
         0.01,
         true,
         "the gradient of 1000 x0^2 + x0 x1",
         "f''' is 0, and e nothing but rounding, with any ratio"},
        {AT_POINT,
         {0.999 * m[0], m[1], m[2]},
         0.01,
         false,
         "a gradient of " MIXED " with 0.999 of its g[0]",
         "its error does not quarter; one i that is right is not enough"},
        {AT_POINT,
         {1.001 * m[0], m[1], m[2]},
         0.01,
         false,
         "a gradient of " MIXED " with 1.001 of its g[0]",
         "e is an amount: the difference lies below g[0], so take fabs"},
        {AT_POINT,
         {m[0], 0.999 * m[1], m[2]},
         0.01,
         false,
         "a gradient of " MIXED " with 0.999 of its g[1]",
         "g[0] is right, g[1] is not; look at every i"},
        {AT_POINT,
         {m[0], m[1], m[2] + 1e-3},
         0.01,
         false,
         "a gradient of " MIXED " with g[2] too large by 0.001",
         "g[0] and g[1] are right, g[2] is not; look at every i"},
        {quadratic,
         2,
         {0.6, 0.2},
         {1200.2, 0.6 + 1e-7},
         0.01,
         false,
         "a gradient of 1000 x0^2 + x0 x1 with g[1] too large by 1e-7",
         "it is small, but far more than rounding, and does not quarter"},
        {kink,
         2,
         {0.003, 1},
         {1, 3},
         0.02,
         false,
         "1 as the slope of |x0| at 0.003, with a kink between x - h and x + h",
         "the error goes from 0.85 to 0.7, and does not quarter"},
    };
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        judged c = cases[i];
        bool said = is_gradient(c.f, c.n, c.x, c.g, c.h);
        if (said != c.right)
            mark_wrong("%s, h = %g: yours says %s, right is %s: %s", c.what, c.h,
                       said ? "true" : "false", c.right ? "true" : "false", c.why);
        if (memcmp(c.x, cases[i].x, sizeof c.x))
            mark_wrong("%s: x is not put back bit for bit", c.what);
    }
}

int main(int argc, char **argv)
{
    const hole holes[] = {
        {"partial",
         check_partial,
         {"f is asked twice: with x[i] a little more, and a little less",
          "double kept = x[i]; and at the end x[i] = kept",
          "x[i] = kept + h, up = f(n, x); x[i] = kept - h, down = f(n, x); "
          "(up - down) / (2 * h)"}},
        {"extrapolate",
         check_extrapolate,
         {"two equations, d = f' + e and half = f' + e / 4, and two unknowns",
          "4 half - d has no e any more; what has it instead of f'?",
          "(4 half - d) / 3"}},
        {"best_step",
         check_best_step,
         {"what is the derivative of h^2/6 |f3| + EPS |f| / h by h, and where is it 0?",
          "h/3 |f3| = EPS |f| / h^2; solve it for h", "cbrt(3 * EPS * fabs(f / f3))"}},
        {"is_gradient",
         check_is_gradient,
         {"for each i two differences, with h and with h / 2, by partial",
          "e is fabs(partial(f, n, x, i, h) - g[i]); return false at the first i that is "
          "wrong, true after the loop",
          "wrong is: half >= e / 3 && half > rounding(f(n, x), h / 2), with half like e "
          "for h / 2"},
         .needs = "partial"},
    };
    return mark_exercise(argc, argv, 3, holes, sizeof holes / sizeof *holes);
}
