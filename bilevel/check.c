/* SPDX-License-Identifier: MIT */
/* check.c: a user's bilevel problem, recorded again in f64 and held against differences
 * (slope.c) and against itself by other ways. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "bilevel_internal.h"

enum { HTI_FORWARD_MOST = 32, HTI_CHECK_SLOTS = 3 };
/* Seconds after which a check says where it is; then at twice the time, and so on. */
enum { HTI_SILENCE = 3 };

/* The problem in f64. The user's callbacks fill the user's own sets with batches, which
 * are converted. */
typedef struct hti_double {
    const ht_bilevel_problem *original;
    ht_bilevel_problem problem;
    ht_context *ctx;
    FILE *report;
    ht_set *clone[4]; /* the problem's sets, each once */
    ht_set *gradient, *other, *direction;
    ht_bilevel *evaluated; /* for differences, along direction times scale */
    double scale;
    double least;           /* a gradient smaller than this is rounding beside F */
    ht_bilevel_result last; /* run; its sets are gone */
    int trainings;          /* run so far */
    double began, next;     /* seconds; next: when to say so */
} hti_double;

/* The problem's sets in f64: one that stands in two places does so there. */
static void double_clone(hti_double *d, const ht_bilevel_problem *p)
{
    const ht_set *from[] = {p->theta, p->eta, p->inner_data, p->outer_data};
    ht_set **const to[] = {&d->problem.theta, &d->problem.eta, &d->problem.inner_data,
                           &d->problem.outer_data};
    for (int k = 0; k < 4; k++) {
        int same = 0;
        while (from[same] != from[k]) same++;
        if (same < k)
            *to[k] = *to[same];
        else
            *to[k] = d->clone[k] = from[k] ? ht_set_clone(from[k], HT_F64) : NULL;
    }
}

static bool double_open(hti_double *d, const ht_bilevel_problem *p)
{
    d->original = p;
    d->problem = *p;
    if (p->n_tasks) d->problem.user = p->tasks[0];
    d->problem.tasks = NULL; /* the first stands for all */
    d->problem.n_tasks = 0;
    d->problem.tolerance = 0; /* all steps, whose number is known */
    double_clone(d, p);
    d->gradient = ht_set_clone(p->eta, HT_F64);
    d->other = ht_set_clone(p->eta, HT_F64);
    d->direction = ht_set_clone(p->eta, HT_F64);
    return d->ctx->status == HT_OK;
}

static ht_bilevel *double_new(hti_double *d, ht_bilevel_options options)
{
    ht_bilevel *b = ht_bilevel_new_at(d->ctx, &d->problem, &options, NULL);
    if (!b) return NULL;
    b->problem.asked.inner_data = d->original->inner_data;
    b->problem.asked.outer_data = d->original->outer_data;
    return b;
}

static void double_close(hti_double *d)
{
    for (int k = 0; k < 4; k++) ht_set_free(d->clone[k]);
    ht_set_free(d->gradient);
    ht_set_free(d->other);
    ht_set_free(d->direction);
}

/* Numbers of f64 sets. */

/* |a|, or |a - b|, in units of `size`, the largest element there is: squares of large
 * elements overflow and of small ones vanish. */
static double set_norm(const ht_set *a, const ht_set *b, double size)
{
    double sum = 0;
    for (int i = 0; size > 0 && i < a->n; i++) {
        const double *x = ht_tensor_data(a->tensor[i]),
                     *y = b ? ht_tensor_data(b->tensor[i]) : NULL;
        for (int64_t k = 0, n = ht_tensor_count(a->tensor[i]); k < n; k++) {
            double d = x[k] / size - (y ? y[k] / size : 0);
            sum += d * d;
        }
    }
    return sqrt(sum);
}

/* |a - b| / max(|a|, |b|, least), 0 if all are 0. */
static double gradient_distance(const ht_set *a, const ht_set *b, double least)
{
    double size = fmax(hti_largest(a, NULL), hti_largest(b, NULL));
    if (!(size > 0)) return size;
    double norm = fmax(set_norm(a, NULL, size), set_norm(b, NULL, size));
    return set_norm(a, b, size) / fmax(norm, least / size);
}

static bool double_line(hti_double *d, const char *what, double error, double tolerance,
                        hti_verdict verdict)
{
    static const char *const word[] = {"ok", "undecided", "WRONG"};
    if (d->ctx->status != HT_OK) return false;
    if (d->report)
        fprintf(d->report, "%-48s %9.2e  (at most %.0e)  %s\n", what, error, tolerance,
                word[verdict]);
    return verdict != HTI_WRONG;
}

static void double_skip(const hti_double *d, const char *what, const char *why)
{
    if (d->report) fprintf(d->report, "%-48s  skipped: %s\n", what, why);
}

/* Counts a training, done for a line that is yet to come. */
static void double_progress(hti_double *d, const char *what)
{
    double took = hti_seconds() - d->began;
    d->trainings++;
    if (!d->report || took < d->next) return;
    d->next = 2 * took;
    fprintf(d->report, "  ... %.0f s, %d trainings: %s\n", took, d->trainings, what);
    fflush(d->report);
}

/* The checks. */

static bool double_one(const ht_bilevel *b)
{
    return !b->problem.outers ||
           HTI_REFUSED(b->ctx, HT_ERROR_ARGUMENT,
                       "ht_bilevel_check: the outer loss is %lld losses, but one is "
                       "checked\n  hint: ht_sum of them, in outer",
                       (long long)b->problem.outers);
}

static const char differences[] = "hypergradient, against central differences";

/* The hypergradient by these options, into `to`; `what` it is for. */
static bool double_run(hti_double *d, const char *what, ht_bilevel_options options,
                       ht_set *to)
{
    ht_bilevel *b = double_new(d, options);
    bool ok = b != NULL && double_one(b);
    if (ok) {
        ht_bilevel_result result = ht_bilevel_run(b, 0);
        ok = result.gradient && ht_set_copy(to, result.gradient) == HT_OK;
        d->last = result;
        double_progress(d, what);
    }
    ht_bilevel_free(b);
    return ok;
}

static void set_jog(ht_set *set)
{
    for (int i = 0; i < set->n; i++) {
        double *x = ht_tensor_data(set->tensor[i]);
        for (int64_t k = 0, n = ht_tensor_count(set->tensor[i]); k < n; k++)
            x[k] *= 1 + (k % 2 ? 2 : -2) * DBL_EPSILON;
    }
}

/* How far the gradient moves when theta and eta do in their last bits: what rounding
 * makes of it, at least. 0 after an error. */
static double double_rounding(hti_double *d, const char *what)
{
    double off = 0;
    ht_set *eta = ht_set_clone(d->problem.eta, 0),
           *theta = ht_set_clone(d->problem.theta, 0);
    if (eta && theta) {
        set_jog(d->problem.eta);
        if (d->problem.theta != d->problem.eta) set_jog(d->problem.theta);
        if (double_run(d, what, (ht_bilevel_options){.schedule = HT_STORE_ALL}, d->other))
            off = gradient_distance(d->gradient, d->other, d->least);
        ht_set_copy(d->problem.eta, eta);
        ht_set_copy(d->problem.theta, theta);
    }
    ht_set_free(eta);
    ht_set_free(theta);
    return off;
}

static bool double_compare(hti_double *d, const char *what, ht_bilevel_options options,
                           double tolerance)
{
    if (!double_run(d, what, options, d->other)) return false;
    if (d->last.bad_step >= 0) return double_skip(d, what, "it overflows"), true;
    double error = gradient_distance(d->gradient, d->other, d->least), rounding = 0;
    hti_verdict verdict = error <= tolerance ? HTI_RIGHT : HTI_WRONG;
    if (verdict == HTI_WRONG && tolerance > 0) rounding = double_rounding(d, what);
    if (verdict == HTI_WRONG && error <= 1e3 * rounding) verdict = HTI_UNDECIDED;
    bool ok = double_line(d, what, error, tolerance, verdict);
    if (ok && verdict == HTI_UNDECIDED && d->report)
        fprintf(
            d->report,
            "  the gradient itself moves by %.1e with the last bits of theta and eta: "
            "the training magnifies rounding\n",
            rounding);
    return ok;
}

/* F at h along the direction. Eta is copied back, since moving back would round. */
static double double_along(double h, void *user)
{
    hti_double *d = user;
    ht_set_axpy(h * d->scale, d->direction, d->problem.eta);
    double outer = ht_bilevel_evaluate(d->evaluated, 0).outer;
    double_progress(d, differences);
    ht_set_copy(d->problem.eta, d->other);
    return outer;
}

static void double_why(const hti_double *d, const hti_judgement *j)
{
    if (!d->report || j->verdict != HTI_UNDECIDED) return;
    if (j->why == HTI_KINK)
        fprintf(d->report,
                "  differences to both sides settle, at %g forward and %g backward: a "
                "kink lies there (relu, max, |x|, a clip)\n",
                j->forward, j->backward);
    else
        fprintf(d->report,
                "  differences of steps from 1e-3 to 1e-9 do not settle: the training "
                "bends or jumps on that scale (eps of Adam, relu on the way, chaos), or "
                "rounding hides it\n");
    fprintf(d->report, "  the lines of other modes decide; or check a little beside this "
                       "eta, fewer steps, smooth activations, a larger eps\n");
}

/* F's slope along random directions, relative to the size of the whole gradient along a
 * unit vector; the worst of them is reported. */
static bool double_differences(hti_double *d, int n_directions)
{
    const double tolerance = 1e-5;
    hti_judgement worst = {0};
    d->scale = 1 / sqrt((double)ht_set_elements(d->direction));
    double size = hti_largest(d->gradient, NULL);
    double norm = set_norm(d->gradient, NULL, size) * size;
    double unit = fmax(norm * d->scale, d->least);
    d->evaluated =
        double_new(d, (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 1});
    if (!d->evaluated) return false;
    ht_set_copy(d->other, d->problem.eta);
    for (int k = 0; k < n_directions && d->ctx->status == HT_OK; k++) {
        for (int i = 0; i < d->direction->n; i++)
            ht_tensor_normal(d->direction->tensor[i], (uint64_t)k * 1000 + (uint64_t)i, 0,
                             1);
        double slope = d->scale * ht_set_dot(d->gradient, d->direction);
        hti_judgement j = hti_judge_slope(double_along, d, slope, tolerance * unit);
        bool worse = j.verdict == worst.verdict ? !(j.off <= worst.off)
                                                : j.verdict > worst.verdict;
        if (worse) worst = j;
    }
    ht_bilevel_free(d->evaluated);
    bool ok = double_line(d, differences, worst.off / unit, tolerance, worst.verdict);
    if (ok) double_why(d, &worst);
    return ok;
}

/* Nothing can be said of a run that is not finite. */
static bool double_finite(const hti_double *d)
{
    if (d->last.bad_step < 0) return true;
    if (d->report)
        fprintf(d->report,
                "not checked: the run is not finite from step %lld on (%s)\n"
                "  check fewer steps, a smaller rate, another eta\n",
                (long long)d->last.bad_step, d->last.bad_op ? d->last.bad_op : "?");
    return false;
}

/* Whether F is a function of eta: two trainings alike. What callbacks of losses do was
 * recorded, what those of batches do is done again. */
static bool double_repeats(hti_double *d)
{
    const ht_bilevel_problem *p = d->original;
    if (!p->inner_batch && !p->outer_batch) return true;
    ht_bilevel *b =
        double_new(d, (ht_bilevel_options){.schedule = HT_REVOLVE, .slots = 1});
    double outer[2] = {0, 0};
    for (int k = 0; b && k < 2; k++) {
        outer[k] = ht_bilevel_evaluate(b, 0).outer;
        double_progress(d, differences);
    }
    ht_bilevel_free(b);
    if (d->ctx->status != HT_OK) return false;
    if (outer[0] == outer[1]) return true;
    if (d->report)
        fprintf(
            d->report,
            "not checked: two runs with the same eta differ, the outer loss is "
            "%.9g and %.9g: is %s a function of step alone?\n"
            "  rand(), a counter or a clock are none; ht_batch_order and ht_random_... "
            "of step are\n",
            outer[0], outer[1], p->inner_batch ? "inner_batch" : "outer_batch");
    return false;
}

/* The others' ways to the hypergradient. */
static const struct {
    const char *what;
    ht_bilevel_options by;
    double tolerance;
} ways[] = {{"mixed mode = reverse over reverse", {.method = HT_REVERSE_REVERSE}, 1e-10},
            {"reverse = forward mode", {.method = HT_FORWARD}, 1e-10},
            {"store-all = two-level, bit for bit", {.schedule = HT_TWO_LEVEL}, 0},
            {"store-all = revolve, bit for bit",
             {.schedule = HT_REVOLVE, .slots = HTI_CHECK_SLOTS},
             0}};

/* What was run first, by mixed mode where that may be, against all of them. */
static bool double_ways(hti_double *d)
{
    char many[64];
    bool ok = true, mixed = d->last.method == HT_REVERSE;
    int64_t n = ht_set_elements(d->problem.eta);
    snprintf(many, sizeof many, "%lld outer elements", (long long)n);
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        ht_method method = ways[k].by.method;
        if (method == HT_REVERSE_REVERSE && !mixed)
            double_skip(
                d, ways[k].what,
                "the inner loss holds an op whose rules may not be its derivative");
        else if (method == HT_FORWARD && n > HTI_FORWARD_MOST)
            double_skip(d, ways[k].what, many);
        else
            ok &= double_compare(d, ways[k].what, ways[k].by, ways[k].tolerance);
    }
    return ok;
}

bool ht_bilevel_check(ht_context *ctx, const ht_bilevel_problem *problem,
                      int n_directions, FILE *report)
{
    HT_ASSERT(ctx && problem && n_directions > 0,
              "ht_bilevel_check: ctx %p, problem %p, %d directions", (void *)ctx,
              (const void *)problem, n_directions);
    HT_ASSERT(problem->theta && problem->eta,
              "ht_bilevel_check: problem.theta or problem.eta is NULL");
    hti_double d = {
        .ctx = ctx, .report = report, .began = hti_seconds(), .next = HTI_SILENCE};
    ht_bilevel_options all = {.method = HT_REVERSE, .schedule = HT_STORE_ALL};
    bool ok = double_open(&d, problem) && double_run(&d, differences, all, d.gradient) &&
              double_finite(&d) && double_repeats(&d);
    if (ok) {
        d.least = d.last.outer != 0 ? 1e-6 * fabs(d.last.outer) : 1e-6;
        ok = double_differences(&d, n_directions);
        ok &= double_ways(&d);
    }
    double_close(&d);
    return ok && ctx->status == HT_OK;
}
