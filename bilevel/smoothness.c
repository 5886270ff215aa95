/* SPDX-License-Identifier: MIT */
/* smoothness.c: whether a training answers a change of eta as a function with a slope
 * does. A hypergradient is exact and foretells nothing where it does not: three trainings
 * along a direction tell (Engstrom et al. 2025, arXiv 2503.13751, definitions 1 and 2).
 * Read next: slope.c. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "bilevel_internal.h"

/* Random signs are a stream of their own. */
#define HTI_SIGNS UINT64_C(0x5349474e53)

/* Three trainings, at eta + k h v: eta itself, v, the one at hand, and theta and outer
 * losses of each, of all tasks one after the other. */
typedef struct hti_line {
    ht_bilevel *b;
    double h;
    int64_t n_eta, n_theta, n_outer;
    double *eta, *along, *moved, *theta[3], *outer[3];
    double total[3], inner;
    bool finite;
} hti_line;

static size_t line_bytes(const hti_line *l)
{
    return (size_t)(3 * l->n_eta + 3 * (l->n_theta + l->n_outer)) * sizeof(double);
}

/* Whether there is memory. What it takes for the call counts as the bilevel's. */
static bool line_open(hti_line *l)
{
    ht_bilevel *b = l->b;
    int64_t tasks = hti_tasks_count(b), many = b->problem.outers;
    l->n_eta = ht_set_elements(b->problem.eta);
    l->n_theta = ht_set_elements(b->problem.theta) * (tasks ? tasks : 1);
    l->n_outer = tasks ? tasks : many ? many : 1;
    size_t most = b->memory.allocated_bytes + hti_tasks_beside(b) + line_bytes(l);
    double *at = hti_resize(b->ctx, NULL, 0, line_bytes(l));
    if (!at) return false;
    if (most > b->memory.recorded_peak) b->memory.recorded_peak = most;
    l->eta = at;
    l->along = l->eta + l->n_eta;
    l->moved = l->along + l->n_eta;
    at = l->moved + l->n_eta;
    for (int k = 0; k < 3; k++, at += l->n_theta + l->n_outer) {
        l->theta[k] = at;
        l->outer[k] = at + l->n_theta;
    }
    return true;
}

static void line_close(hti_line *l)
{
    if (l->eta) hti_resize(l->b->ctx, l->eta, line_bytes(l), 0);
}

/* v, which may be eta itself or the last run's gradient. */
static void line_aim(hti_line *l, const ht_set *direction)
{
    ht_bilevel *b = l->b;
    uint64_t seed = ht_context_seed(b->ctx);
    hti_set_get(l->eta, b->problem.eta);
    if (direction) hti_set_get(l->along, direction);
    for (int64_t k = 0; !direction && k < l->n_eta; k++)
        l->along[k] = ht_random_bits(seed, HTI_SIGNS, (uint64_t)k) & 1 ? 1 : -1;
}

/* The training at eta + k h v; eta is as it was after it, whatever became of it, and as
 * nobody may read it in between, who watches its values is not told. */
static bool line_train(hti_line *l, int k)
{
    ht_bilevel *b = l->b;
    for (int64_t i = 0; i < l->n_eta; i++)
        l->moved[i] = l->eta[i] + k * l->h * l->along[i];
    hti_tasks_keep(b, l->theta[k]);
    if (k) hti_set_put(b->problem.eta, l->moved);
    ht_bilevel_result r = ht_bilevel_evaluate(b, b->run.outer_step);
    if (k) hti_set_put(b->problem.eta, l->eta);
    hti_tasks_keep(b, NULL);
    if (b->ctx->status != HT_OK) return false;
    l->total[k] = r.outer;
    l->inner = r.inner;
    l->finite = l->finite && r.bad_step < 0;
    if (r.theta) hti_set_get(l->theta[k], r.theta);
    memcpy(l->outer[k], r.outers ? r.outers : &r.outer,
           (size_t)l->n_outer * sizeof(double));
    return true;
}

static int sign(double x)
{
    return (x > 0) - (x < 0);
}

/* S^ = sum_i sign(x1_i - x0_i) sign(x2_i - x1_i) d_i / sum_i d_i,  d_i = |x2_i - x0_i|
 * All that moved came back to where it was: -1, the limit. Nothing moved: 0 / 0. */
static double agreement(int64_t n, double *const *x)
{
    double sum = 0, size = 0, moved = 0;
    for (int64_t i = 0; i < n; i++) {
        double first = x[1][i] - x[0][i], second = x[2][i] - x[1][i];
        double weight = fabs(x[2][i] - x[0][i]);
        sum += weight * sign(first) * sign(second);
        size += weight;
        moved += fabs(first);
    }
    return size == 0 && moved > 0 ? -1 : sum / size;
}

/* Whether n numbers differ by more than `rounding`. */
static bool differ(int64_t n, const double *x, double rounding)
{
    double least = x[0], most = x[0];
    for (int64_t i = 1; i < n; i++) least = fmin(least, x[i]), most = fmax(most, x[i]);
    return most - least > rounding;
}

/* Of what changes first and what changes then, where losses change differently, by more
 * than their own rounding. The changes take the place of x. */
static double halves(int64_t n, double *const *x, double epsilon)
{
    double size = 0;
    for (int64_t i = 0; i < n; i++) {
        size = fmax(size, fmax(fabs(x[0][i]), fmax(fabs(x[1][i]), fabs(x[2][i]))));
        x[2][i] -= x[1][i];
        x[1][i] -= x[0][i];
    }
    bool told = n >= 3 && differ(n, x[1], 8 * epsilon * size) &&
                differ(n, x[2], 8 * epsilon * size);
    return told ? hti_correlation(n, x[1], x[2]) : (double)NAN;
}

/* Of the type of the outer losses. */
static double epsilon_of(const ht_bilevel *b)
{
    const ht_program *program = b->programs.call[HTI_OUTER_LOSS].program;
    bool wide = hti_program_out_type(program, 0)->dtype == HT_F64;
    return wide ? DBL_EPSILON : (double)FLT_EPSILON;
}

static double distance(int64_t n, const double *x, const double *y)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sqrt(sum);
}

static ht_smoothness line_judge(const hti_line *l)
{
    const double *f = l->total;
    ht_smoothness s = {.outer = agreement(l->n_outer, l->outer),
                       .theta = agreement(l->n_theta, l->theta),
                       .second = fabs((f[2] - f[1]) - (f[1] - f[0])) / (l->h * l->h),
                       .moved = distance(l->n_theta, l->theta[1], l->theta[0]),
                       .inner = l->inner,
                       .at = {f[0], f[1], f[2]}};
    s.halves = halves(l->n_outer, l->outer, epsilon_of(l->b));
    if (!l->finite)
        s.note = "a training is not finite, of eta (at[0]), eta + h v or eta + 2 h v: a "
                 "smaller h, or look at bad_step of ht_bilevel_evaluate";
    else if (isnan(s.theta))
        s.note = "theta does not move along this direction: nothing of it reaches the "
                 "training, or h is below the rounding of eta";
    else if (isnan(s.outer))
        s.note = "theta moves along this direction, and the outer loss does not";
    return s;
}

static bool can_be_asked(const ht_bilevel *b, const ht_set *direction, double h)
{
    if (b->ctx->status != HT_OK || !hti_sets_hold(b, NULL) || !hti_within_horizon(b) ||
        (direction && !hti_like_eta(b, direction, "ht_bilevel_smoothness: direction")))
        return false;
    return (h > 0 && isfinite(h)) ||
           HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                       "ht_bilevel_smoothness: h is %g, but a step is positive and "
                       "finite\n  hint: the size of the change that is asked about, or "
                       "1e-3",
                       h);
}

static const ht_smoothness nothing = {.outer = (double)NAN,
                                      .theta = (double)NAN,
                                      .halves = (double)NAN,
                                      .second = (double)NAN,
                                      .moved = (double)NAN,
                                      .inner = (double)NAN,
                                      .at = {(double)NAN, (double)NAN, (double)NAN}};

ht_smoothness ht_bilevel_smoothness(ht_bilevel *b, const ht_set *direction, double h)
{
    HT_ASSERT(b, "ht_bilevel_smoothness: bilevel is NULL");
    HTI_ALIVE(b, "ht_bilevel_smoothness", "bilevel");
    HT_ASSERT(!b->run.running, "ht_bilevel_smoothness: called by a callback of its run");
    hti_line l = {.b = b, .h = h, .finite = true};
    if (!can_be_asked(b, direction, h)) return nothing;
    bool ok = line_open(&l);
    if (ok) line_aim(&l, direction);
    /* eta's own training comes last, so that it is what the bilevel has run, and what a
     * commit goes on from. */
    for (int k = 3; ok && k-- > 0;) ok = line_train(&l, k);
    ht_smoothness s = ok ? line_judge(&l) : nothing;
    line_close(&l);
    return s;
}
