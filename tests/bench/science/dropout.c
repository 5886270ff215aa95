/* SPDX-License-Identifier: MIT */
/* dropout.c: does dropout destroy influence, or does it only where its masks are not
 * replayed? Read next: study.c, ../SCIENCE.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "science.h"
#include "stats.h"
#include "study.h"

enum { QUERIES = 5, SUBSETS = 24, MASKS = 2, RATES = 3 };

static const setting settings[] = {
    {"SGD, rate 0.1", .network = STUDY_GELU, .wide = 64, .narrow = 32, .n = 1000,
     .batch = 64, .epochs = 10, .rate = 0.1},
    {"momentum 0.9, rate 0.01", .network = STUDY_GELU, .wide = 64, .narrow = 32,
     .n = 1000, .batch = 64, .epochs = 10, .rate = 0.01, .momentum = 0.9}};
enum { SETTINGS = sizeof settings / sizeof settings[0] };
static const double rates[RATES] = {0, 0.1, 0.5};

/* Truths, which differ in the masks of the trainings again. */
enum {
    REPLAYED,
    OTHER,
    FRESH,
    AVERAGED,
    AVERAGED_OTHER,
    SMOOTH,
    LOSS,
    ACCURACY,
    FIGURES
};

/* Masks of number `which`; all else as it is. */
static void wear(study *s, uint64_t which)
{
    study_seeds seeds = s->seeds;
    seeds.masks = which;
    study_vary(s, seeds);
}

/* Each training without a subset has masks of its own. */
static ht_tensor *changes_by_fresh_masks(study *s, const ht_tensor *subsets)
{
    int64_t rows = ht_tensor_shape(subsets).dim[0];
    double all[STUDY_ASKED], without[STUDY_ASKED];
    ht_tensor *changes = ht_tensor_new(s->ctx, HT_F64, HT_SHAPE(rows, s->queries));
    ht_check(s->ctx);
    wear(s, 0);
    study_train(s, NULL, 1, all);
    for (int64_t i = 0; i < rows; i++) {
        wear(s, 2 * MASKS + (uint64_t)i);
        study_train(s, (const uint8_t *)ht_tensor_data(subsets) + i * s->is.n, 0,
                    without);
        for (int64_t k = 0; k < s->queries; k++)
            ht_tensor_set(changes, i * s->queries + k, without[k] - all[k]);
    }
    return changes;
}

/* The truths that take many masks; the first MASKS have scores. Correlations of sums are
 * those of means. */
static void compare_masks(study *s, const ht_tensor *subsets, double *to)
{
    ht_tensor *scores[MASKS], *sum = NULL, *found[2] = {NULL, NULL};
    for (uint64_t m = 0; m < 2 * MASKS; m++) {
        wear(s, m);
        if (m < MASKS) study_sum(&sum, scores[m] = study_scores(s));
        ht_tensor *changes = study_changes(s, subsets);
        if (m == 0) to[REPLAYED] = study_lds(scores[0], subsets, changes);
        if (m == MASKS) to[OTHER] = study_lds(scores[0], subsets, changes);
        study_sum(&found[m / MASKS], changes);
        ht_tensor_free(changes);
    }
    to[AVERAGED] = study_lds(sum, subsets, found[0]);
    to[AVERAGED_OTHER] = study_lds(sum, subsets, found[1]);
    ht_tensor *fresh = changes_by_fresh_masks(s, subsets);
    to[FRESH] = study_lds(scores[0], subsets, fresh);
    for (int m = 0; m < MASKS; m++) ht_tensor_free(scores[m]);
    ht_tensor_free(sum);
    ht_tensor_free(found[0]);
    ht_tensor_free(found[1]);
    ht_tensor_free(fresh);
}

static void measure(const setting *is, uint64_t seed, bool quick, double *to)
{
    study s;
    double line[3][STUDY_ASKED];
    study_open(&s, is, seed, quick ? 2 : QUERIES);
    study_line(&s, 0, line);
    to[SMOOTH] = study_smooth(STUDY_ASKED, line[0], line[1], line[2]);
    study_fit fit = study_measure(&s);
    to[LOSS] = fit.loss;
    to[ACCURACY] = 100 * fit.accuracy;
    ht_tensor *subsets = study_subsets(&s, quick ? 5 : SUBSETS);
    if (is->dropout > 0) {
        compare_masks(&s, subsets, to);
    } else {
        ht_tensor *scores = study_scores(&s), *changes = study_changes(&s, subsets);
        to[REPLAYED] = study_lds(scores, subsets, changes);
        to[OTHER] = to[FRESH] = to[AVERAGED] = to[AVERAGED_OTHER] = (double)NAN;
        ht_tensor_free(scores);
        ht_tensor_free(changes);
    }
    ht_tensor_free(subsets);
    study_close(&s);
}

static void print_row(const setting *is, int seeds, double found[][FIGURES])
{
    static const int order[] = {LOSS,  ACCURACY, SMOOTH,   REPLAYED,
                                OTHER, FRESH,    AVERAGED, AVERAGED_OTHER};
    printf("| %s | %g |", is->name, is->dropout);
    for (size_t j = 0; j < sizeof order / sizeof *order; j++) {
        double x[SCIENCE_MOST];
        char text[STATS_TEXT];
        for (int k = 0; k < seeds; k++) x[k] = found[k][order[j]];
        estimate e = stats_mean(seeds, x);
        if (isnan(e.is))
            printf(" |");
        else if (order[j] == LOSS || order[j] == ACCURACY)
            printf(order[j] == LOSS ? " %.4f |" : " %.1f |", e.is);
        else
            printf(" %s |", stats_text(e, text));
    }
    putchar('\n');
}

bool science_dropout(const science_run *run)
{
    printf("LDS at 5 %%:\n\n| training | dropout | train loss | test accuracy, %% | S^ | "
           "replayed | other | fresh | averaged | averaged, others |\n"
           "|---|---|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < SETTINGS; i++)
        for (int j = 0; j < RATES; j++) {
            setting is = settings[i];
            double found[SCIENCE_MOST][FIGURES];
            is.dropout = rates[j];
            if (run->quick) is.n = 320, is.epochs = 2;
            for (int k = 0; k < run->seeds; k++) {
                measure(&is, (uint64_t)(run->first + k), run->quick, found[k]);
                science_progress("dropout: %s, %g, seed %d", is.name, is.dropout,
                                 run->first + k);
            }
            print_row(&is, run->seeds, found);
        }
    return true;
}
