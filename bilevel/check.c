/* SPDX-License-Identifier: MIT */
/* check.c: a user's bilevel problem, recorded again in f64 and held against central
 * differences and against itself by other ways. */
#include <math.h>
#include <string.h>

#include "bilevel_internal.h"

enum { HTI_FORWARD_MOST = 32, HTI_CHECK_SLOTS = 3 };

/* The problem in f64. Batches are filled by the user's callback into the user's sets and
 * converted. */
typedef struct hti_double {
    const ht_bilevel_problem *original;
    ht_bilevel_problem problem;
    ht_context *ctx;
    FILE *report;
    ht_set *clone[4]; /* the problem's sets, each once */
    ht_set *gradient, *other, *direction;
    ht_method method; /* the last run's */
} hti_double;

static ht_var hti_double_inner(const ht_vars *theta, const ht_vars *eta,
                               const ht_vars *batch, void *user)
{
    const ht_bilevel_problem *p = ((hti_double *)user)->original;
    return p->inner(theta, eta, batch, p->user);
}

static ht_var hti_double_outer(const ht_vars *theta, const ht_vars *eta,
                               const ht_vars *batch, void *user)
{
    const ht_bilevel_problem *p = ((hti_double *)user)->original;
    return p->outer(theta, eta, batch, p->user);
}

static void hti_double_init(const ht_vars *eta, ht_vars *theta0, void *user)
{
    const ht_bilevel_problem *p = ((hti_double *)user)->original;
    p->init(eta, theta0, p->user);
}

static ht_status hti_double_fill(ht_batch_fn fill, uint64_t step, ht_set *batch,
                                 ht_set *data, void *user)
{
    ht_status status = fill(step, data ? data : batch, user);
    return status == HT_OK && data ? ht_set_copy(batch, data) : status;
}

static ht_status hti_double_inner_batch(uint64_t step, ht_set *batch, void *user)
{
    const ht_bilevel_problem *p = ((hti_double *)user)->original;
    return hti_double_fill(p->inner_batch, step, batch, p->inner_data, p->user);
}

static ht_status hti_double_outer_batch(uint64_t step, ht_set *batch, void *user)
{
    const ht_bilevel_problem *p = ((hti_double *)user)->original;
    return hti_double_fill(p->outer_batch, step, batch, p->outer_data, p->user);
}

/* The problem's sets in f64: one that stands in two places does so there. */
static void hti_double_clone(hti_double *d, const ht_bilevel_problem *p)
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

static bool hti_double_open(hti_double *d, const ht_bilevel_problem *p)
{
    d->original = p;
    d->problem = *p;
    d->problem.user = d;
    d->problem.inner = hti_double_inner;
    d->problem.outer = hti_double_outer;
    d->problem.init = p->init ? hti_double_init : NULL;
    d->problem.inner_batch = p->inner_batch ? hti_double_inner_batch : NULL;
    d->problem.outer_batch = p->outer_batch ? hti_double_outer_batch : NULL;
    hti_double_clone(d, p);
    d->gradient = ht_set_clone(p->eta, HT_F64);
    d->other = ht_set_clone(p->eta, HT_F64);
    d->direction = ht_set_clone(p->eta, HT_F64);
    return d->ctx->status == HT_OK;
}

static void hti_double_close(hti_double *d)
{
    for (int k = 0; k < 4; k++) ht_set_free(d->clone[k]);
    ht_set_free(d->gradient);
    ht_set_free(d->other);
    ht_set_free(d->direction);
}

/* Numbers of f64 sets. */

static double hti_set_dot(const ht_set *a, const ht_set *b)
{
    double sum = 0;
    for (int i = 0; i < a->n; i++) {
        const double *x = ht_tensor_data(a->tensor[i]), *y = ht_tensor_data(b->tensor[i]);
        for (int64_t k = ht_tensor_count(a->tensor[i]); k-- > 0;) sum += *x++ * *y++;
    }
    return sum;
}

static void hti_set_move(ht_set *a, const ht_set *along, double scale)
{
    for (int i = 0; i < a->n; i++) {
        double *x = ht_tensor_data(a->tensor[i]);
        const double *d = ht_tensor_data(along->tensor[i]);
        for (int64_t k = ht_tensor_count(a->tensor[i]); k-- > 0;) *x++ += scale * *d++;
    }
}

/* |a - b| / max(|a|, |b|), 0 if both are 0. */
static double hti_set_distance(const ht_set *a, const ht_set *b)
{
    double aa = hti_set_dot(a, a), bb = hti_set_dot(b, b), scale = fmax(aa, bb), sum = 0;
    for (int i = 0; i < a->n; i++) {
        const double *x = ht_tensor_data(a->tensor[i]), *y = ht_tensor_data(b->tensor[i]);
        for (int64_t k = ht_tensor_count(a->tensor[i]); k-- > 0; x++, y++)
            sum += (*x - *y) * (*x - *y);
    }
    return scale > 0 ? sqrt(sum / scale) : sqrt(sum);
}

static bool hti_double_line(hti_double *d, const char *what, double error,
                            double tolerance)
{
    bool ok = d->ctx->status == HT_OK && error <= tolerance;
    if (d->report)
        fprintf(d->report, "%-48s %9.2e  (at most %.0e)  %s\n", what, error, tolerance,
                ok ? "ok" : "WRONG");
    return ok;
}

/* The checks. */

/* The hypergradient by these options, into `to`. */
static bool hti_double_run(hti_double *d, ht_bilevel_options options, ht_set *to)
{
    ht_bilevel *b = ht_bilevel_new(d->ctx, &d->problem, &options);
    bool ok = b != NULL;
    if (ok) {
        ht_bilevel_result result = ht_bilevel_run(b, 0);
        ok = result.gradient && ht_set_copy(to, result.gradient) == HT_OK;
        d->method = result.method;
    }
    ht_bilevel_free(b);
    return ok;
}

static bool hti_double_compare(hti_double *d, const char *what,
                               ht_bilevel_options options, double tolerance)
{
    return hti_double_run(d, options, d->other) &&
           hti_double_line(d, what, hti_set_distance(d->gradient, d->other), tolerance);
}

/* F along a direction, relative to the size of the whole gradient along a unit vector. */
static bool hti_double_differences(hti_double *d, int n_directions)
{
    const double h = 1e-5;
    double worst = 0, norm = sqrt(hti_set_dot(d->gradient, d->gradient));
    ht_bilevel_options options = {
        .method = HT_REVERSE, .schedule = HT_REVOLVE, .slots = 1};
    ht_bilevel *b = ht_bilevel_new(d->ctx, &d->problem, &options);
    double scale = 1 / sqrt((double)ht_set_elements(d->direction));
    ht_set_copy(d->other, d->problem.eta); /* moving back would round */
    for (int k = 0; b && k < n_directions; k++) {
        for (int i = 0; i < d->direction->n; i++)
            ht_tensor_normal(d->direction->tensor[i], (uint64_t)k * 1000 + (uint64_t)i, 0,
                             1);
        hti_set_move(d->problem.eta, d->direction, h * scale);
        double up = ht_bilevel_evaluate(b, 0).outer;
        ht_set_copy(d->problem.eta, d->other);
        hti_set_move(d->problem.eta, d->direction, -h * scale);
        double down = ht_bilevel_evaluate(b, 0).outer;
        ht_set_copy(d->problem.eta, d->other);
        double slope = scale * hti_set_dot(d->gradient, d->direction);
        double error = fabs((up - down) / (2 * h) - slope) / fmax(norm * scale, 1e-6);
        worst = error > worst || isnan(error) ? error : worst;
    }
    ht_bilevel_free(b);
    return b &&
           hti_double_line(d, "hypergradient, against central differences", worst, 1e-5);
}

bool ht_bilevel_check(ht_context *ctx, const ht_bilevel_problem *problem,
                      int n_directions, FILE *report)
{
    HT_ASSERT(ctx && problem && n_directions > 0, "n_directions = %d", n_directions);
    HT_ASSERT(problem->theta && problem->eta, "problem.theta or problem.eta is NULL");
    hti_double d = {.ctx = ctx, .report = report};
    int64_t n = ht_set_elements(problem->eta);
    ht_bilevel_options all = {.method = HT_REVERSE, .schedule = HT_STORE_ALL};
    bool ok = hti_double_open(&d, problem) && hti_double_run(&d, all, d.gradient);
    if (ok) {
        bool mixed = d.method == HT_REVERSE;
        ok = hti_double_differences(&d, n_directions);
        if (mixed)
            ok &= hti_double_compare(&d, "mixed mode = reverse over reverse",
                                     (ht_bilevel_options){.method = HT_REVERSE_REVERSE},
                                     1e-10);
        else if (report)
            fprintf(report,
                    "%-48s skipped: the inner loss holds an op whose rules may not "
                    "be its derivative\n",
                    "mixed mode = reverse over reverse");
        if (n <= HTI_FORWARD_MOST)
            ok &= hti_double_compare(&d, "reverse = forward mode",
                                     (ht_bilevel_options){.method = HT_FORWARD}, 1e-10);
        else if (report)
            fprintf(report, "%-48s skipped: %lld outer elements\n",
                    "reverse = forward mode", (long long)n);
        ok &= hti_double_compare(&d, "store-all = two-level, bit for bit",
                                 (ht_bilevel_options){.schedule = HT_TWO_LEVEL}, 0);
        ht_bilevel_options revolve = {.schedule = HT_REVOLVE, .slots = HTI_CHECK_SLOTS};
        ok &= hti_double_compare(&d, "store-all = revolve, bit for bit", revolve, 0);
    }
    hti_double_close(&d);
    return ok && ctx->status == HT_OK;
}
