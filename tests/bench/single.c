/* SPDX-License-Identifier: MIT */
/* single.c: single loops on two problems of the benchmark of M. Dagreou, P. Ablin,
 * S. Vaiter & T. Moreau (NeurIPS 2022, github.com/benchopt/benchmark_bilevel):
 * quadratics, by the closed-form gradient of their value function, and data cleaning. A
 * method has a number of batches of 64 to read; HT_IMPLICIT reads all rows at once.
 *
 *   single_quadratic_...     |d Phi/d eta|^2 over its start
 *   single_cleaning_.5_...   test accuracy, half of the labels drawn anew
 *
 * Read next: quadratics.c, ../../bilevel/ht_single.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "models.h"
#include "single.h"

enum { BATCH = 64, PIXELS = 784, CLASSES = 10 };

static int64_t count(const ht_set *rows)
{
    return ht_tensor_shape(ht_set_at(rows, 0)).dim[0];
}

/* Each batch once, then drawn ones; what is left over of the rows is not read. */
static ht_status fill(single_task *t, int which, uint64_t number)
{
    int64_t n = count(t->rows[which]) / BATCH, j = (int64_t)number;
    if (j >= n) j = ht_random_below(5, (uint64_t)which, number, n);
    t->read++;
    for (int k = 0; k < ht_set_count(t->batch[which]); k++) {
        ht_tensor *to = ht_set_at(t->batch[which], k);
        size_t bytes = ht_tensor_bytes(to);
        memcpy(ht_tensor_data(to),
               (char *)ht_tensor_data(ht_set_at(t->rows[which], k)) + (size_t)j * bytes,
               bytes);
    }
    return HT_OK;
}

static ht_status fill_inner(uint64_t number, ht_set *batch, void *user)
{
    (void)batch;
    return fill(user, 0, number);
}

static ht_status fill_outer(uint64_t number, ht_set *batch, void *user)
{
    (void)batch;
    return fill(user, 1, number);
}

/* Sets like the rows, of one batch. */
static void task_batches(single_task *t)
{
    for (int which = 0; which < 2; which++) {
        t->batch[which] = ht_set_new(t->ctx);
        for (int k = 0; k < ht_set_count(t->rows[which]); k++) {
            const ht_tensor *all = ht_set_at(t->rows[which], k);
            ht_shape shape = ht_tensor_shape(all);
            shape.dim[0] = BATCH;
            ht_set_add(t->batch[which], ht_set_name(t->rows[which], k),
                       ht_tensor_dtype(all), shape);
        }
    }
}

static void task_close(single_task *t)
{
    ht_set_free(t->theta);
    ht_set_free(t->eta);
    for (int which = 0; which < 2; which++) {
        ht_set_free(t->rows[which]);
        ht_set_free(t->batch[which]);
    }
    ht_context_free(t->ctx);
}

/* Data cleaning: 20,000 images of MNIST, each with a weight sigmoid(u), pixels of mean 0
 * and deviation 1, softmax regression with 0.2 |w|^2; the outer loss is that of 5,000. */

static ht_var cleaning_inner(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *batch, void *user)
{
    (void)user;
    ht_var w = ht_get(theta, "w");
    ht_var weight = ht_sigmoid(ht_gather(ht_get(eta, "u"), ht_get(batch, "index")));
    ht_var losses =
        ht_cross_entropy(ht_matmul(ht_get(batch, "x"), w), ht_get(batch, "label"));
    return ht_add(ht_mean(ht_mul(weight, losses)), ht_mul(ht_sum(ht_square(w)), 0.2));
}

static ht_var cleaning_outer(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *batch, void *user)
{
    (void)eta;
    (void)user;
    return ht_mean(ht_cross_entropy(ht_matmul(ht_get(batch, "x"), ht_get(theta, "w")),
                                    ht_get(batch, "label")));
}

typedef struct cleaning {
    single_task t;
    ht_set *test;
    const char *note; /* NULL: all of MNIST */
} cleaning;

static bool images_read(cleaning *c, bool test, ht_images *images)
{
    const char *data = getenv("HYPERTAPE_DATA");
    char path[4096];
    snprintf(path, sizeof path, "%s/mnist", data ? data : BENCH_DATA "/../full");
    if (!data && ht_mnist_read(c->t.ctx, path, test, images) == HT_OK) return true;
    if (!data) ht_context_clear(c->t.ctx);
    if (!data) snprintf(path, sizeof path, "%s/mnist", BENCH_DATA);
    return ht_mnist_read(c->t.ctx, path, test, images) == HT_OK;
}

static ht_set *rows_of(cleaning *c, const ht_images *images, int64_t first, int64_t n,
                       const ht_set *by)
{
    ht_set *rows = bench_rows(c->t.ctx, HT_SHAPE(PIXELS), n);
    ht_images_rows(images, NULL, first, n, ht_set_at(rows, 0), ht_set_at(rows, 1));
    if (by) ht_normalize(ht_set_at(rows, 0), by);
    return rows;
}

/* A share of the labels drawn anew from all ten, and the number of each row. */
static void corrupt(ht_set *rows, double share)
{
    ht_tensor *label = ht_set_tensor(rows, "label");
    int64_t n = count(rows);
    ht_tensor *index = ht_set_add(rows, "index", HT_I32, HT_SHAPE(n));
    for (int64_t i = 0; i < n; i++) {
        ht_tensor_set(index, i, (double)i);
        if (ht_random_uniform(3, 1, (uint64_t)i) < share)
            ht_tensor_set(label, i, (double)ht_random_below(3, 2, (uint64_t)i, CLASSES));
    }
}

static bool cleaning_open(cleaning *c, double share)
{
    *c = (cleaning){0};
    single_task *t = &c->t;
    ht_images train = {0}, test = {0};
    t->ctx = ht_context_new(&(ht_context_options){.seed = 1, .threads = 1});
    t->theta = ht_set_new(t->ctx);
    t->eta = ht_set_new(t->ctx);
    if (images_read(c, false, &train) && images_read(c, true, &test)) {
        int64_t all = ht_tensor_count(train.labels),
                n = all < 25000 ? all * 4 / 5 : 20000;
        c->note = n < 20000 ? "the bundled images alone" : NULL;
        t->rows[0] = rows_of(c, &train, 0, n, NULL);
        ht_set *by = ht_normalizer_new(ht_set_at(t->rows[0], 0));
        ht_normalize(ht_set_at(t->rows[0], 0), by);
        t->rows[1] = rows_of(c, &train, n, n / 4, by);
        c->test = rows_of(c, &test, 0, ht_tensor_count(test.labels), by);
        ht_set_free(by);
        corrupt(t->rows[0], share);
        ht_tensor_fill(ht_set_add(t->theta, "w", HT_F32, HT_SHAPE(PIXELS, CLASSES)), 0);
        ht_tensor_fill(ht_set_add(t->eta, "u", HT_F32, HT_SHAPE(n)), 0);
        t->inner = cleaning_inner;
        t->outer = cleaning_outer;
    }
    ht_images_free(&train);
    ht_images_free(&test);
    return ht_context_status(t->ctx) == HT_OK;
}

/* Of softmax regression by w: the mean loss, and the share that is right. */
typedef struct score {
    double loss, right;
} score;

static score score_of(const ht_set *rows, const ht_set *theta)
{
    const float *w = ht_tensor_data(ht_set_at(theta, 0)),
                *x = ht_tensor_data(ht_set_at(rows, 0));
    const int32_t *label = ht_tensor_data(ht_set_at(rows, 1));
    int64_t n = count(rows);
    score s = {0};
    for (int64_t r = 0; r < n; r++, x += PIXELS) {
        double logit[CLASSES] = {0}, sum = 0;
        int best = 0;
        for (int i = 0; i < PIXELS; i++)
            for (int k = 0; k < CLASSES; k++)
                logit[k] += (double)x[i] * w[i * CLASSES + k];
        for (int k = 1; k < CLASSES; k++)
            if (logit[k] > logit[best]) best = k;
        for (int k = 0; k < CLASSES; k++) sum += exp(logit[k] - logit[best]);
        s.loss += (log(sum) + logit[best] - logit[label[r]]) / (double)n;
        s.right += (best == label[r]) / (double)n;
    }
    return s;
}

/* Runs: from theta and eta as opened, which are put back by the caller. */

typedef struct spent {
    double seconds;
    int64_t steps;
} spent;

static bool run_single(single_task *t, ht_single_options o, int64_t budget, spent *s)
{
    ht_bilevel_problem problem = {.inner = t->inner,
                                  .outer = t->outer,
                                  .theta = t->theta,
                                  .eta = t->eta,
                                  .inner_data = t->batch[0],
                                  .outer_data = t->batch[1],
                                  .inner_batch = fill_inner,
                                  .outer_batch = fill_outer,
                                  .user = t};
    if (o.method == HT_SABA || o.method == HT_VRBO) {
        o.inner_batches = count(t->rows[0]) / BATCH;
        o.outer_batches = count(t->rows[1]) / BATCH;
    }
    ht_single *single = ht_single_new(t->ctx, &problem, &o);
    double began = bench_seconds();
    *s = (spent){0};
    t->read = 0;
    while (single && t->read < budget && ht_single_step(single) == HT_OK) s->steps++;
    s->seconds = bench_seconds() - began;
    ht_single_free(single);
    return ht_context_status(t->ctx) == HT_OK;
}

/* What HT_IMPLICIT with CG has in the place of ht_single_options. */
typedef struct whole {
    double rate_inner, rate_outer;
    int64_t steps; /* of theta */
} whole;

static bool run_whole(single_task *t, whole o, int64_t outer_steps, spent *s)
{
    ht_bilevel_problem problem = {.inner = t->inner,
                                  .outer = t->outer,
                                  .theta = t->theta,
                                  .eta = t->eta,
                                  .inner_data = t->rows[0],
                                  .outer_data = t->rows[1],
                                  .steps = o.steps,
                                  .update = HT_SGD(o.rate_inner)};
    ht_bilevel *b = ht_bilevel_new(t->ctx, &problem,
                                   &(ht_bilevel_options){.method = HT_IMPLICIT,
                                                         .solver = HT_CG,
                                                         .solver_steps = 20,
                                                         .solver_tolerance = 1e-3,
                                                         .no_bound = true,
                                                         .warm = true});
    ht_tensor *eta = ht_set_at(t->eta, 0);
    int64_t inner = count(t->rows[0]) / BATCH, outer = count(t->rows[1]) / BATCH;
    double began = bench_seconds();
    *s = (spent){0};
    t->read = 0;
    for (; b && s->steps < outer_steps; s->steps++) {
        ht_bilevel_result r = ht_bilevel_run(b, 0);
        if (ht_context_status(t->ctx) != HT_OK) break;
        for (int64_t i = 0; i < ht_tensor_count(eta); i++)
            ht_tensor_set(eta, i,
                          ht_tensor_get(eta, i) -
                              o.rate_outer * ht_tensor_get(ht_set_at(r.gradient, 0), i));
        t->read += (r.inner_steps + r.solver_steps + 1) * inner + outer;
        ht_set_copy(t->theta, r.theta);
    }
    s->seconds = bench_seconds() - began;
    ht_bilevel_free(b);
    return ht_context_status(t->ctx) == HT_OK;
}

/* Rates picked by hand, on the quadratics near the published best ones. */

#define RATES(inner, linear, outer) \
    .rate_inner = inner, .rate_linear = linear, .rate_outer = outer
#define TEN .inner_steps = 10, .linear_steps = 10
static const struct method {
    const char *name;
    ht_single_options quadratic, cleaning;
} methods[] = {
    {"SOBA",
     {HT_SOBA, RATES(0.1, 0.1, 0.1), .decay = 0.4},
     {HT_SOBA, RATES(0.05, 0.05, 1000), .decay = 0.2}},
    {"SABA", {HT_SABA, RATES(0.1, 0.1, 0.1)}, {HT_SABA, RATES(0.05, 0.05, 1000)}},
    {"stocBiO",
     {HT_STOCBIO, RATES(0.1, 0.1, 1), .decay = 0.4, TEN},
     {HT_STOCBIO, RATES(0.05, 0.05, 20000), .decay = 0.2, TEN}},
    {"MRBO",
     {HT_MRBO, RATES(0.1, 0.1, 1), .decay = 0.3, .linear_steps = 10, .momentum = 0.5},
     {HT_MRBO, RATES(0.05, 0.05, 20000), .decay = 0.2, .linear_steps = 10,
      .momentum = 0.5}},
    {"VRBO",
     {HT_VRBO, RATES(0.1, 0.1, 1), TEN, .period = 100},
     {HT_VRBO, RATES(0.05, 0.05, 20000), TEN, .period = 100}},
    {"FSLA",
     {HT_FSLA, RATES(0.1, 0.1, 0.1), .decay = 0.4, .momentum = 0.5},
     {HT_FSLA, RATES(0.05, 0.05, 1000), .decay = 0.2, .momentum = 0.5}},
    {"AmIGO",
     {HT_AMIGO, RATES(0.1, 0.1, 0.5), .decay = 0.4, TEN},
     {HT_AMIGO, RATES(0.05, 0.05, 20000), .decay = 0.2, TEN}},
    {"F2SA",
     {HT_F2SA, .rate_inner = 0.05, .rate_outer = 0.1, .penalty = 10, .inner_steps = 10,
      .decay = 0.4},
     {HT_F2SA, .rate_inner = 0.01, .rate_outer = 1000, .penalty = 3, .inner_steps = 10,
      .decay = 0.2}},
    {"BOME",
     {HT_BOME, .rate_inner = 0.1, .rate_outer = 0.01, .penalty = 0.5, .inner_steps = 10},
     {HT_BOME, .rate_inner = 0.05, .rate_outer = 0.05, .penalty = 0.5,
      .inner_steps = 10}},
    {"PBGD",
     {HT_PBGD, .rate_inner = 0.1, .rate_outer = 0.01, .penalty = 10, .inner_steps = 10},
     {HT_PBGD, .rate_inner = 0.05, .rate_outer = 0.01, .penalty = 3, .inner_steps = 10}},
};
enum { METHODS = sizeof methods / sizeof *methods };

static void report(const single_task *t, const bench_row *row, spent r, const char *loss,
                   double value)
{
    bench_row full = *row;
    full.ms = r.steps ? 1e3 * r.seconds / (double)r.steps : 0;
    full.extra[0].key = "steps";
    full.extra[0].value = (double)r.steps;
    full.extra[1].key = "batches";
    full.extra[1].value = (double)t->read;
    full.extra[2].key = loss;
    full.extra[2].value = value;
    bench_report(&full);
}

/* Method k, or HT_IMPLICIT for k = METHODS. */
static bool run_method(single_task *t, int k, bool is_cleaning, spent *r)
{
    const whole quadratic = {1, 1, 20}, clean = {0.1, 3e6, 20};
    if (k == METHODS)
        return run_whole(t, is_cleaning ? clean : quadratic, bench.full ? 30 : 5, r);
    const struct method *m = &methods[k];
    return run_single(t, is_cleaning ? m->cleaning : m->quadratic,
                      (bench.full ? 10 : 1) * (is_cleaning ? 5000 : 10000), r);
}

static bool quadratics(void)
{
    single_task t;
    bool ok = quadratics_open(&t);
    quadratics_means *means = ok ? quadratics_means_new(&t) : NULL;
    ht_set *eta = ht_set_clone(t.eta, 0);
    task_batches(&t);
    for (int k = 0; means && ok && k <= METHODS; k++) {
        char name[48];
        spent r;
        ht_set_copy(t.eta, eta);
        ht_tensor_fill(ht_set_at(t.theta, 0), 0);
        double start = quadratics_square(means, t.eta);
        ok = run_method(&t, k, false, &r);
        snprintf(name, sizeof name, "single_quadratic_%s",
                 k < METHODS ? methods[k].name : "implicit");
        report(&t,
               &(bench_row){.name = name,
                            .value = quadratics_square(means, t.eta) / start,
                            .unit = "of |grad Phi|^2"},
               r, "start", start);
    }
    if (!ok) fprintf(stderr, "bench: %s\n", ht_context_message(t.ctx));
    free(means);
    ht_set_free(eta);
    task_close(&t);
    return ok;
}

static bool clean(double share)
{
    cleaning c;
    bool ok = cleaning_open(&c, share);
    task_batches(&c.t);
    for (int k = 0; ok && k <= METHODS; k++) {
        char name[48];
        spent r;
        ht_tensor_fill(ht_set_at(c.t.theta, 0), 0);
        ht_tensor_fill(ht_set_at(c.t.eta, 0), 0);
        ok = run_method(&c.t, k, true, &r);
        snprintf(name, sizeof name, "single_cleaning_.%.0f_%s", 10 * share,
                 k < METHODS ? methods[k].name : "implicit");
        report(&c.t,
               &(bench_row){.name = name,
                            .value = score_of(c.test, c.t.theta).right,
                            .unit = "test accuracy",
                            .note = c.note},
               r, "validation_loss", score_of(c.t.rows[1], c.t.theta).loss);
    }
    if (!ok) fprintf(stderr, "bench: %s\n", ht_context_message(c.t.ctx));
    ht_set_free(c.test);
    task_close(&c.t);
    return ok;
}

bool bench_single(void)
{
    return quadratics() && clean(0.5) && clean(0.7) && clean(0.9);
}
