/* SPDX-License-Identifier: MIT */
/* hypergradients.c: how far are cheaper hypergradients from exact ones, on the same runs,
 * and what do ten steps by each reach? Read next: trial.h, ../SCIENCE.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "science.h"
#include "trial.h"

enum { LENGTHS = 3, OUTER_STEPS = 10, OUTER_RATES = 2, OUTER_LENGTH = 100 };
static const int64_t lengths[LENGTHS] = {50, 150, 500};
static const double outer_rates[OUTER_RATES] = {0.05, 0.3};

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
        ht_set *exact = ht_set_clone(t.eta, 0), *got = ht_set_clone(t.eta, 0);
        double began = lab_seconds();
        ht_bilevel_evaluate(t.by[ONE_STEP], 0);
        double plain = lab_seconds() - began;
        for (int m = 0; m < METHODS; m++) {
            began = lab_seconds();
            bool has = trial_gradient(&t, m, got);
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
        free(table);
        if (!ok) break;
        printf("| %lld | exact beside a difference, log10 of the error |",
               (long long)of.steps);
        lab_cell("%.1f", run->seeds, error);
        printf(" | | |\n");
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
        has = trial_gradient(t, method, got);
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
