/* SPDX-License-Identifier: MIT */
/* 15_smoothness.c: when is a hypergradient useful?
 *
 * The hypergradient dF/deta (lesson 10) is exact, and says what small steps do: along a
 * direction v,   F(eta + h v) = F(eta) + h v'dF/deta + (what is of h^2).   A step that
 * helps has some size h, though, and there it may not be so:
 *
 *     F |  _       kinks: relu, max and clips change the    F |  /\  /\    chaos: too
 *       | / \_     training at some eta; before that,         | /  \/  \  large a rate,
 *       |/    \    dF/deta knows nothing of it                |/           changes grow
 *       +------ eta                                           +-------- eta step by step
 *
 * Chaos first. w <- w - rate (4 w^2 - 3 w) descends L = 4/3 w^3 - 3/2 w^2 to its minimum
 * 3/4, if rate < 2/3. With rate 1 it is w <- 4 w (1 - w): from w_0 = (sin a)^2 it goes to
 * w_T = (sin 2^T a)^2, by the double angle, and by the chain rule
 *     dw_T/dw_0 = 2^T sin(2^T 2 a) / sin 2 a
 * true, and of no use: w_T stays between 0 and 1, whatever a slope of 10^5 says.
 *
 * How to know? Train three times, at eta + k h v, k = 0, 1, 2 (Engstrom et al. 2025,
 * arXiv 2503.13751). With x_k the parameters that come out, F_k the outer loss,
 *
 *     S  = |F_2 - 2 F_1 + F_0| / h^2        the second difference: where F is smooth it
 *                                           stays as h shrinks, at a jump it is 1/h^2
 *     S^ = sum_i sign(x_1i - x_0i) sign(x_2i - x_1i) d_i / sum_i d_i
 *          d_i = |x_2i - x_0i|, i over all parameters
 *
 * S^ in [-1, 1]: of all that moves, how much goes on the same way in the second half. 1:
 * the training follows eta; 0: as if at random. No derivative is needed. Ask at the h of
 * the steps you mean. Where it is low: smoother activations, smaller rates, fewer steps.
 * Below, small networks: with tanh what dF/deta says is so at any h. With relu it is at
 * the smallest, and F jumps just behind: S is a hundred times as large at a tenth of h.
 * With tanh and too large a rate it is, about, from h = 0.001 down: too small to help. */
#include "lesson.h"

static const char *page;
enum { ROWS = 12, UNITS = 6, THETA = 3 * UNITS + 1 };

/* The slope by the chain rule, step by step, as lesson 9 has it; and the quotient, by
 * how much w_T moves if w_0 moves by h, over h. */
static void chaos(void)
{
    double a = asin(sqrt(0.3)), w = 0.3, moved = 0.301, slope = 1, turns = 1;
    puts("rate 1   T  dw_T/dw_0, step by step     by hand  quotient, h = 0.001");
    for (int t = 1; t <= 20; t++) {
        slope *= 4 - 8 * w, turns *= 2;
        w = 4 * w * (1 - w), moved = 4 * moved * (1 - moved);
        if (t % 5) continue;
        printf("%10d  %23.2f  %10.2f  %19.2f\n", t, slope,
               turns * sin(2 * turns * a) / sin(2 * a), (moved - w) / 0.001);
    }
}

/* Two layers; *user says whether with relu. eta is a weight for each row. */
static ht_var squares(const ht_vars *p, const ht_vars *d, const char *y, const bool *relu)
{
    ht_var z = ht_linear(ht_get(d, "x"), p, "a");
    ht_var guess = ht_linear(*relu ? ht_relu(z) : ht_tanh(z), p, "b");
    return ht_square(ht_sub(guess, ht_get(d, y)));
}

static ht_var inner(const ht_vars *p, const ht_vars *e, const ht_vars *d, void *user)
{
    return ht_mean(ht_mul(ht_get(e, "eta"), squares(p, d, "noisy", user)));
}

static ht_var outer(const ht_vars *p, const ht_vars *e, const ht_vars *d, void *user)
{
    return ht_mean(squares(p, d, "y", user));
}

static double v(int i) { return i % 2 ? -1 : 1; }
static double sign(double x) { return (x > 0) - (x < 0); }

/* F at eta + h v, eta all 1; the parameters that come out to x. */
static double train(ht_bilevel *training, ht_tensor *eta, double h, double *x)
{
    for (int i = 0; i < ROWS; i++) ht_tensor_set(eta, i, 1 + h * v(i));
    ht_bilevel_result r = ht_bilevel_evaluate(training, 0);
    for (int s = 0; s < ht_set_count(r.theta); s++)
        for (int i = 0; i < ht_tensor_count(ht_set_at(r.theta, s)); i++)
            *x++ = ht_tensor_get(ht_set_at(r.theta, s), i);
    return r.outer;
}

static double agreement(double (*x)[THETA])
{
    double sum = 0, all = 0;
    for (int i = 0; i < THETA; i++) {
        double d = fabs(x[2][i] - x[0][i]);
        sum += sign(x[1][i] - x[0][i]) * sign(x[2][i] - x[1][i]) * d, all += d;
    }
    return sum / all;
}

static void judge(ht_bilevel_problem b, bool relu, double rate, const ht_set *direction)
{
    b.update = HT_SGD(rate), b.user = &relu;
    ht_bilevel *training = ht_bilevel_new(ht_set_context(b.eta), &b, NULL);
    ht_tensor *g = ht_set_at(ht_bilevel_run(training, 0).gradient, 0);
    double slope = 0, x[3][THETA], F[3];
    for (int i = 0; i < ROWS; i++) slope += ht_tensor_get(g, i) * v(i);
    printf("\n%s, rate %.2f: v'dF/deta = %.3f\n", relu ? "relu" : "tanh", rate, slope);
    for (double h = 0.1; h > 5e-5; h /= 10) {
        for (int k = 2; k >= 0; k--)
            F[k] = train(training, ht_set_at(b.eta, 0), k * h, x[k]);
        ht_smoothness s = ht_bilevel_smoothness(training, direction, h);
        printf("%6g  %11.3f  %7.2g  %7.2g  %5.2f  %5.2f\n", h, (F[1] - F[0]) / h,
               fabs(F[2] - 2 * F[1] + F[0]) / (h * h), s.second, agreement(x), s.theta);
    }
    if (page) ht_bilevel_write_html(training, page);
    ht_bilevel_free(training);
}

static void nets(ht_bilevel_problem b, ht_set *direction)
{
    static const char *const name[] = {"eta", "eta", "x", "y", "noisy"};
    ht_set *home[] = {b.eta, direction, b.inner_data, b.inner_data, b.inner_data};
    for (int k = 0; k < 5; k++) ht_set_add(home[k], name[k], HT_F64, HT_SHAPE(ROWS, 1));
    for (int i = 0; i < ROWS; i++) {
        double x = -2 + i / 3.0, y = sin(2 * x), noise = 0.3 * sin(9.0 * i * i);
        const double row[] = {1, v(i), x, y, y + noise};
        for (int k = 0; k < 5; k++)
            ht_tensor_set(ht_set_tensor(home[k], name[k]), i, row[k]);
    }
    ht_linear_init(b.theta, "a", HT_F64, 1, UNITS);
    ht_linear_init(b.theta, "b", HT_F64, UNITS, 1);
    puts("\n     h  (F_1-F_0)/h        S  library     S^  library");
    judge(b, false, 0.2, direction);
    judge(b, true, 0.25, direction);
    judge(b, false, 0.6, direction);
}

int main(int argc, char **argv)
{
    page = lesson_page(argc, argv);
    ht_context *ctx = lesson_context();
    ht_set *set[4];
    for (int k = 0; k < 4; k++) set[k] = ht_set_new(ctx);
    ht_bilevel_problem b = {inner, outer, .theta = set[0], .eta = set[1], .steps = 100};
    b.inner_data = b.outer_data = set[2];
    chaos();
    nets(b, set[3]);
    for (int k = 0; k < 4; k++) ht_set_free(set[k]);
    ht_context_free(ctx);
}
