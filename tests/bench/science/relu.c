/* SPDX-License-Identifier: MIT */
/* relu.c: what mends influence of a network with ReLU that is trained with momentum and
 * small batches? Other bends, other rates, and averages over runs.
 * Read next: study.c, ../SCIENCE.md. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "science.h"
#include "stats.h"
#include "study.h"

enum { QUERIES = 4, SUBSETS = 24, STARTS = 8, ORDERS = 4, APART = 1000 };

#define ROUGH                                                                     \
    .wide = 64, .narrow = 32, .n = 1000, .batch = 64, .epochs = 15, .rate = 0.03, \
    .momentum = 0.9
static const setting settings[] = {
    {"ReLU", .network = STUDY_RELU, ROUGH},
    {"softplus, sharpness 50", .network = STUDY_SOFTPLUS, .sharp = 50, ROUGH},
    {"softplus, sharpness 20", .network = STUDY_SOFTPLUS, .sharp = 20, ROUGH},
    {"softplus, sharpness 10", .network = STUDY_SOFTPLUS, .sharp = 10, ROUGH},
    {"softplus, sharpness 5", .network = STUDY_SOFTPLUS, .sharp = 5, ROUGH},
    {"softplus, sharpness 2", .network = STUDY_SOFTPLUS, .sharp = 2, ROUGH},
    {"GELU", .network = STUDY_GELU, ROUGH},
    {"ReLU, rate to 0 by a cosine", .network = STUDY_RELU, ROUGH, .cosine = true},
    {"ReLU, rate 0.003", .network = STUDY_RELU, .wide = 64, .narrow = 32, .n = 1000,
     .batch = 64, .epochs = 15, .rate = 0.003, .momentum = 0.9},
};
/* What came out helping most, with other bends and more of it. */
static const setting falling[] = {
    {"ReLU, cosine", .network = STUDY_RELU, ROUGH, .cosine = true},
    {"ReLU, cosine, 30 epochs", .network = STUDY_RELU, .wide = 64, .narrow = 32,
     .n = 1000, .batch = 64, .epochs = 30, .rate = 0.03, .momentum = 0.9, .cosine = true},
    {"softplus, sharpness 5, cosine", .network = STUDY_SOFTPLUS, .sharp = 5, ROUGH,
     .cosine = true},
    {"GELU, cosine", .network = STUDY_GELU, ROUGH, .cosine = true},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

/* A question: trainings, and averages of the first over runs. */
typedef struct plan {
    const char *name;
    const setting *is;
    int n;
    bool orders; /* that differ in order alone, too */
} plan;
static const plan relu = {"relu", settings, SETTINGS, true},
                  cosine = {"cosine", falling, sizeof falling / sizeof falling[0], false};

/* Averages over runs. */
static const struct {
    const char *name;
    int runs;
    bool orders; /* that differ in order alone */
} averages[] = {{"mean over 2 starts and orders", 2, false},
                {"mean over 4 starts and orders", 4, false},
                {"mean over 8 starts and orders", 8, false},
                {"mean over 2 orders", 2, true},
                {"mean over 4 orders", 4, true}};
enum { AVERAGES = sizeof averages / sizeof averages[0], ROWS = SETTINGS + AVERAGES };

/* ONE: of a run's scores against the mean truth. */
enum { LDS, ONE, SMOOTH, LOSS, ACCURACY, FIGURES };

/* Sums over runs, and the first run's scores. */
typedef struct sums {
    ht_tensor *scores, *changes, *first;
    double line[3][STUDY_ASKED];
} sums;

static void sums_add(study *s, const ht_tensor *subsets, sums *to)
{
    double line[3][STUDY_ASKED];
    ht_tensor *scores = study_scores(s), *changes = study_changes(s, subsets);
    study_line(s, 0, line);
    if (!to->first) study_sum(&to->first, scores);
    study_sum(&to->scores, scores);
    study_sum(&to->changes, changes);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < STUDY_ASKED; i++) to->line[k][i] += line[k][i];
    ht_tensor_free(scores);
    ht_tensor_free(changes);
}

static void sums_judge(const sums *of, const ht_tensor *subsets, double *to)
{
    to[LDS] = study_lds(of->scores, subsets, of->changes);
    to[ONE] = study_lds(of->first, subsets, of->changes);
    to[SMOOTH] = study_smooth(STUDY_ASKED, of->line[0], of->line[1], of->line[2]);
}

static void sums_free(sums *of)
{
    ht_tensor_free(of->scores);
    ht_tensor_free(of->changes);
    ht_tensor_free(of->first);
}

static void measure_alone(study *s, const ht_tensor *subsets, double *to)
{
    sums one = {.scores = NULL};
    sums_add(s, subsets, &one);
    sums_judge(&one, subsets, to);
    sums_free(&one);
    study_fit fit = study_measure(s);
    to[LOSS] = fit.loss;
    to[ACCURACY] = 100 * fit.accuracy;
    to[ONE] = (double)NAN;
}

/* The first of `runs` is the training as it was. */
static void measure_averages(study *s, const ht_tensor *subsets, bool orders, int runs,
                             double to[AVERAGES][FIGURES])
{
    const study_seeds seeds = s->seeds;
    sums sum = {.scores = NULL};
    for (int r = 1; r <= runs; r++) {
        uint64_t other = seeds.data + (uint64_t)(r > 1 ? APART * r : 0);
        study_vary(s, (study_seeds){seeds.data, orders ? seeds.start : other, other, 0});
        sums_add(s, subsets, &sum);
        for (int k = 0; k < AVERAGES; k++) {
            if (averages[k].orders != orders || averages[k].runs != r) continue;
            sums_judge(&sum, subsets, to[k]);
            to[k][LOSS] = to[k][ACCURACY] = (double)NAN;
        }
    }
    study_vary(s, seeds);
    sums_free(&sum);
}

static void measure(const plan *p, uint64_t seed, bool quick, double to[ROWS][FIGURES])
{
    for (int i = 0; i < p->n; i++) {
        study s;
        setting is = p->is[i];
        if (quick) is.n = 128, is.epochs = 2;
        study_open(&s, &is, seed, quick ? 2 : QUERIES);
        ht_tensor *subsets = study_subsets(&s, quick ? 5 : SUBSETS);
        measure_alone(&s, subsets, to[i]);
        for (int orders = 0; i == 0 && orders < 1 + p->orders; orders++) {
            science_progress("%s: averages, seed %d", p->name, (int)seed);
            measure_averages(&s, subsets, orders, orders ? ORDERS : STARTS, to + p->n);
        }
        science_progress("%s: %s, seed %d", p->name, is.name, (int)seed);
        ht_tensor_free(subsets);
        study_close(&s);
    }
}

static void print_row(const char *name, int row, int seeds, double found[][ROWS][FIGURES])
{
    static const int order[] = {LOSS, ACCURACY, SMOOTH, LDS, ONE};
    printf("| %s |", name);
    for (size_t j = 0; j < sizeof order / sizeof *order; j++) {
        double x[SCIENCE_MOST];
        char text[STATS_TEXT];
        for (int k = 0; k < seeds; k++) x[k] = found[k][row][order[j]];
        estimate e = stats_mean(seeds, x);
        if (isnan(e.is))
            printf(" |");
        else if (order[j] == LOSS)
            printf(" %.4f |", e.is);
        else if (order[j] == ACCURACY)
            printf(" %.2f |", e.is);
        else
            printf(" %s |", stats_text(e, text));
    }
    putchar('\n');
}

static bool ask(const plan *p, const science_run *run)
{
    static double found[SCIENCE_MOST][ROWS][FIGURES];
    for (int k = 0; k < run->seeds; k++)
        measure(p, (uint64_t)(run->first + k), run->quick, found[k]);
    printf(
        "| training | train loss | test accuracy, %% | S^ | LDS, 5 %% | one run's scores "
        "against the mean truth |\n|---|---|---|---|---|---|\n");
    for (int i = 0; i < p->n; i++) print_row(p->is[i].name, i, run->seeds, found);
    for (int k = 0; k < AVERAGES; k++)
        if (p->orders || !averages[k].orders)
            print_row(averages[k].name, p->n + k, run->seeds, found);
    return true;
}

bool science_relu(const science_run *run)
{
    return ask(&relu, run);
}

bool science_cosine(const science_run *run)
{
    return ask(&cosine, run);
}
