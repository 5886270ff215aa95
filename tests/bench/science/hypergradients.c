/* SPDX-License-Identifier: MIT */
/* hypergradients.c: how far are cheaper hypergradients from exact ones, on the same runs?
 * Three problems in f64, whole batches of 200 digits; eta as it begins:
 *
 *   cleaning   softmax regression by SGD, 40 % of the labels wrong; a weight
 *              sigmoid(eta_i) for each image, 1/2
 *   penalties  MLP with GELU by Adam; a penalty exp(eta_jk)/2 for the square of each of
 *              6,592 weights, 10^-3
 *   rates      MLP with GELU by SGD; the logarithm of a rate for each step and tensor,
 *              0.1
 *
 * Read next: approximate.h, ../SCIENCE.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "approximate.h"
#include "science.h"

enum { CLEANING, PENALTIES, RATES, PROBLEMS };
enum {
    EXACT,
    HALF,
    FIFTH,
    FIVE,
    ONE_STEP,
    SOLVED,
    NEUMANN,
    FIRST_ORDER,
    IDENTITY,
    DARTS,
    SAMA,
    SAMA_SMALL,
    METHODS,
    LIBRARY = IDENTITY
};
static const char *const problem_names[] = {"cleaning", "penalties", "rates"};
static const char *const method_names[] = {"exact",
                                           "last T/2",
                                           "last T/5",
                                           "last 5",
                                           "one step",
                                           "implicit, solved",
                                           "implicit, series",
                                           "first order",
                                           "identity",
                                           "DARTS",
                                           "SAMA, alpha 1",
                                           "SAMA, alpha 0.01"};
enum { LENGTHS = 3, OUTER_STEPS = 10, OUTER_RATES = 2, OUTER_LENGTH = 100 };
static const int64_t lengths[LENGTHS] = {50, 150, 500};
static const double outer_rates[OUTER_RATES] = {0.05, 0.3};
enum { TRAIN = 200, VALIDATION = 300, PRODUCTS = 20 };
#define DAMPING 0.01
#define RATE    0.1

typedef struct trial {
    int which;
    int64_t steps;
    ht_context *ctx;
    ht_set *train, *validation, *theta, *eta, *begin; /* begin: eta's */
    ht_bilevel_problem problem;
    ht_coordinate positive;
    ht_bilevel *by[LIBRARY];
    approximate *approximate;
} trial;

/* The problems. */

static lab_model model_of(const trial *t)
{
    return t->which == CLEANING ? LAB_SOFTMAX : LAB_GELU;
}

static ht_var outer(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                    void *user)
{
    (void)eta;
    return ht_mean(lab_losses(model_of(user), theta, batch));
}

static ht_var cleaning(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                       void *user)
{
    ht_var w = ht_sigmoid(ht_get(eta, "w"));
    return ht_mean(ht_mul(w, lab_losses(model_of(user), theta, batch)));
}

static ht_var penalties(const ht_vars *theta, const ht_vars *eta, const ht_vars *batch,
                        void *user)
{
    ht_var loss = outer(theta, eta, batch, user);
    for (int i = 0; i < ht_vars_count(eta); i++) {
        ht_var w = ht_get(theta, ht_vars_name(eta, i));
        ht_var pull = ht_mul(ht_exp(ht_vars_at(eta, i)), ht_square(w));
        loss = ht_add(loss, ht_mul(0.5, ht_sum(pull)));
    }
    return loss;
}

static void fill_eta(trial *t)
{
    ht_set *eta = t->eta;
    if (t->which == CLEANING) {
        ht_set_add(eta, "w", HT_F64, HT_SHAPE(TRAIN));
    } else if (t->which == PENALTIES) {
        for (int i = 0; i < ht_set_count(t->theta); i++) {
            ht_shape shape = ht_tensor_shape(ht_set_at(t->theta, i));
            if (shape.rank == 2)
                ht_tensor_fill(ht_set_add(eta, ht_set_name(t->theta, i), HT_F64, shape),
                               log(1e-3));
        }
    } else {
        ht_shape shape = HT_SHAPE(t->steps, ht_set_count(t->theta));
        ht_tensor_fill(ht_set_add(eta, "rate", HT_F64, shape), log(RATE));
    }
}

static const ht_loss_fn inner_of[] = {cleaning, penalties, outer};

static void trial_problem(trial *t)
{
    t->problem = (ht_bilevel_problem){.inner = inner_of[t->which],
                                      .outer = outer,
                                      .theta = t->theta,
                                      .eta = t->eta,
                                      .inner_data = t->train,
                                      .outer_data = t->validation,
                                      .update = HT_SGD(RATE),
                                      .steps = t->steps,
                                      .user = t};
    if (t->which == PENALTIES) t->problem.update = HT_ADAM(3e-3);
    if (t->which != RATES) return;
    t->positive = (ht_coordinate){.outer = "rate", .kind = HT_LOG};
    t->problem.update.rate = HT_OUTER("rate");
    t->problem.coordinates = &t->positive;
    t->problem.n_coordinates = 1;
}

static ht_bilevel_options options_of(const trial *t, int method)
{
    const int64_t last[] = {[HALF] = t->steps / 2, [FIFTH] = t->steps / 5, [FIVE] = 5};
    ht_bilevel_options o = {.bytes = 600000000};
    if (method >= HALF && method <= FIVE)
        o.method = HT_TRUNCATED, o.truncate = last[method];
    if (method == ONE_STEP) o.method = HT_ONE_STEP;
    if (method == FIRST_ORDER) o.method = HT_FIRST_ORDER;
    if (method != SOLVED && method != NEUMANN) return o;
    o.method = HT_IMPLICIT;
    o.solver = method == NEUMANN ? HT_NEUMANN : t->which == CLEANING ? HT_CG : HT_GMRES;
    o.solver_steps = PRODUCTS;
    o.no_bound = true;
    if (method == NEUMANN) o.solver_rate = RATE;
    if (method == SOLVED) o.damping = DAMPING;
    return o;
}

static bool trial_open(trial *t, int which, int64_t steps, uint64_t seed)
{
    *t = (trial){.which = which, .steps = steps};
    t->ctx = ht_context_new(&(ht_context_options){.seed = seed, .threads = 1});
    t->train = lab_images(t->ctx, HT_F64, 0, TRAIN);
    t->validation = lab_images(t->ctx, HT_F64, TRAIN, VALIDATION);
    t->theta = lab_theta(t->ctx, model_of(t), HT_F64);
    t->eta = ht_set_new(t->ctx);
    if (!lab_good(t->ctx, "data")) return false;
    if (which == CLEANING)
        ht_corrupt_labels(t->ctx, 5, 0.4, LAB_CLASSES, ht_set_tensor(t->train, "label"),
                          NULL);
    fill_eta(t);
    t->begin = ht_set_clone(t->eta, 0);
    trial_problem(t);
    for (int m = 0; m < LIBRARY; m++) {
        ht_bilevel_options o = options_of(t, m);
        t->by[m] = ht_bilevel_new(t->ctx, &t->problem, &o);
    }
    if (which != RATES) t->approximate = approximate_new(&t->problem);
    return lab_good(t->ctx, problem_names[which]);
}

static void trial_close(trial *t)
{
    approximate_free(t->approximate);
    for (int m = 0; m < LIBRARY; m++) ht_bilevel_free(t->by[m]);
    ht_set *const sets[] = {t->train, t->validation, t->theta, t->eta, t->begin};
    for (int i = 0; i < 5; i++) ht_set_free(sets[i]);
    ht_context_free(t->ctx);
}

/* Puts the hypergradient at eta in `to`; false: the method has none. */
static bool gradient(trial *t, int method, ht_set *to)
{
    if (method < LIBRARY) {
        const ht_set *got = ht_bilevel_run(t->by[method], 0).gradient;
        if (got) ht_set_copy(to, got);
        return got && lab_norm(to) > 0;
    }
    if (!t->approximate || !approximate_train(t->approximate)) return false;
    if (method == IDENTITY) return approximate_identity(t->approximate, to);
    if (method == DARTS) return approximate_darts(t->approximate, to);
    return approximate_sama(t->approximate, method == SAMA ? 1 : 0.01, to);
}

/* Against the exact one. */

enum { COSINE, RATIO, SIGNS, COST, NUMBERS };
static const char *const formats[NUMBERS] = {"%.3f", "%.2g", "%.3f", "%.2f"};
typedef struct comparison {
    double at[METHODS][NUMBERS][SCIENCE_MOST];
} comparison;

/* The exact slope along signs against the best of central differences of five steps: no
 * answer is better than it. */
static double exact_error(trial *t, const ht_set *exact)
{
    double slope = 0, least = (double)INFINITY;
    ht_set *v = ht_set_clone(t->eta, 0);
    for (int i = 0; i < ht_set_count(v); i++) lab_random_signs(ht_set_at(v, i), 3);
    slope = ht_set_dot(exact, v);
    for (double h = 1e-3; h > 5e-8; h /= 10) {
        double f[2];
        for (int side = 0; side < 2; side++) {
            ht_set_axpy(side ? -h : h, v, t->eta);
            f[side] = ht_bilevel_evaluate(t->by[EXACT], 0).outer;
            ht_set_copy(t->eta, t->begin);
        }
        least = fmin(least, fabs((f[0] - f[1]) / (2 * h) - slope));
    }
    ht_set_free(v);
    return least / lab_norm(exact);
}

static bool compare(const science_run *run, const trial *of, int seed, comparison *table,
                    double *error)
{
    trial t;
    bool ok = trial_open(&t, of->which, of->steps, (uint64_t)(run->first + seed));
    if (ok) {
        ht_set_copy(t.begin, t.eta);
        ht_set *exact = ht_set_clone(t.eta, 0), *got = ht_set_clone(t.eta, 0);
        double began = lab_seconds();
        ht_bilevel_evaluate(t.by[ONE_STEP], 0);
        double plain = lab_seconds() - began;
        for (int m = 0; m < METHODS; m++) {
            began = lab_seconds();
            bool has = gradient(&t, m, got);
            double cost = (lab_seconds() - began) / plain;
            if (m == EXACT) ht_set_copy(exact, got);
            double at[NUMBERS] = {lab_cosine(got, exact), lab_norm(got) / lab_norm(exact),
                                  lab_signs(got, exact), cost};
            for (int k = 0; k < NUMBERS; k++)
                table->at[m][k][seed] = has ? at[k] : (double)NAN;
        }
        error[seed] = log10(exact_error(&t, exact));
        ht_set_free(exact);
        ht_set_free(got);
        ok = lab_good(t.ctx, "a comparison");
    }
    trial_close(&t);
    return ok;
}

static bool ask_lengths(const science_run *run, int which)
{
    bool ok = true;
    printf("%s\n\n| T | method | cosine | length | signs | trainings |\n"
           "|---|---|---|---|---|---|\n",
           problem_names[which]);
    for (int l = 0; ok && l < (run->quick ? 1 : LENGTHS); l++) {
        comparison *table = calloc(1, sizeof *table);
        double error[SCIENCE_MOST];
        trial of = {.which = which, .steps = run->quick ? 10 : lengths[l]};
        for (int s = 0; ok && s < run->seeds; s++)
            ok = compare(run, &of, s, table, error);
        for (int m = 0; ok && m < METHODS; m++) {
            printf("| %lld | %s |", (long long)of.steps, method_names[m]);
            for (int k = 0; k < NUMBERS; k++)
                lab_cell(formats[k], run->seeds, table->at[m][k]);
            printf("\n");
        }
        printf("| %lld | exact beside a difference, log10 of the error |",
               (long long)of.steps);
        lab_cell("%.1f", run->seeds, error);
        printf(" | | |\n");
        free(table);
        science_progress("hypergradients: %s, T = %lld", problem_names[which],
                         (long long)of.steps);
    }
    printf("\n");
    return ok;
}

/* What it is good for: ten steps of Adam on eta. */

static double descend(trial *t, int method, double rate)
{
    ht_update adam = HT_ADAM(rate);
    adam.eps = HT_FIXED(1e-30); /* so that the length of a gradient does not matter */
    ht_set *got = ht_set_clone(t->eta, 0);
    ht_optimizer *optimizer = ht_optimizer_new(t->eta, &adam);
    bool has = true;
    for (int k = 0; has && k < OUTER_STEPS; k++) {
        has = gradient(t, method, got);
        if (has) has = ht_optimizer_step(optimizer, got) == HT_OK;
    }
    ht_context_clear(t->ctx); /* a gradient that is not finite is refused */
    double reached = has ? ht_bilevel_evaluate(t->by[EXACT], 0).outer : (double)NAN;
    ht_optimizer_free(optimizer);
    ht_set_free(got);
    ht_set_copy(t->eta, t->begin);
    return reached;
}

static bool ask_descent(const science_run *run, int which)
{
    static double part[METHODS][SCIENCE_MOST], reached[METHODS][SCIENCE_MOST];
    double begin[SCIENCE_MOST];
    bool ok = true;
    for (int s = 0; ok && s < run->seeds; s++) {
        trial t;
        ok = trial_open(&t, which, run->quick ? 10 : OUTER_LENGTH,
                        (uint64_t)(run->first + s));
        if (ok) ht_set_copy(t.begin, t.eta);
        begin[s] = ok ? ht_bilevel_evaluate(t.by[EXACT], 0).outer : (double)NAN;
        for (int m = 0; ok && m < METHODS; m++) {
            double *best = &reached[m][s];
            *best = descend(&t, m, outer_rates[0]);
            for (int r = 1; r < OUTER_RATES; r++)
                *best = fmin(*best, descend(&t, m, outer_rates[r]));
            part[m][s] = (begin[s] - *best) / (begin[s] - reached[EXACT][s]);
        }
        ok = ok && lab_good(t.ctx, "a descent");
        trial_close(&t);
        science_progress("hypergradients: %s, ten outer steps, seed %d",
                         problem_names[which], run->first + s);
    }
    printf("%s, ten outer steps, from", problem_names[which]);
    lab_cell("%.4f", run->seeds, begin);
    printf("\n\n| method | outer loss | part of what exact ones gain |\n|---|---|---|\n");
    for (int m = 0; ok && m < METHODS; m++) {
        printf("| %s |", method_names[m]);
        lab_cell("%.4f", run->seeds, reached[m]);
        lab_cell("%.3f", run->seeds, part[m]);
        printf("\n");
    }
    printf("\n");
    return ok;
}

bool science_hypergradients(const science_run *run)
{
    bool ok = true;
    for (int which = 0; ok && which < PROBLEMS; which++)
        ok = ask_lengths(run, which) && ask_descent(run, which);
    return ok;
}
