/* SPDX-License-Identifier: MIT */
/* eps_root.c: what does an eps inside Adam's root do that one outside does not, at equal
 * scale? With eps = s outside, or eps_root = s^2 inside, a step from v = 0 has the slope
 * rate / s by the gradient at most, and where v is large both are plain Adam. What can
 * differ is what is near v = 0: outside, u = sqrt v has a kink there, and derivatives
 * through it are 0 by decree. Read next: ../SCIENCE.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "science.h"
#include "weighing.h"

enum { SCALES = 6, PLACES = 2, SUBSETS = 30, STEPS = 200 };
static const double scales[SCALES] = {1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3};
static const char *const places[PLACES] = {"outside", "inside"};
enum {
    TRAIN_LOSS,
    OUTER,
    SMOOTH,
    SMOOTH_SMALL,
    LENGTH_W,
    LENGTH_SHIFT,
    ERROR_W,
    ERROR_SHIFT,
    LDS,
    NUMBERS
};
static const char *const heads[NUMBERS] = {
    "last batch's loss", "outer loss",         "S^, h = 0.5",
    "S^, h = 0.001",     "log10 length, w",    "log10 length, shift",
    "log10 error, w",    "log10 error, shift", "LDS at 5 %"};
static const char *const formats[NUMBERS] = {"%.2g", "%.3f", "%.3f", "%.3f", "%.2f",
                                             "%.2f", "%.1f", "%.1f", "%.3f"};

/* [scale][place][number][seed] */
typedef double findings[SCALES][PLACES][NUMBERS][SCIENCE_MOST];

/* What the slope along signs of one outer variable is off from a central difference, in
 * the root mean square of such slopes, |gradient|: the least of five steps, so that it is
 * neither curvature nor rounding if another step is free of it. */
static double slope_error(weighing *w, ht_bilevel *b, const ht_set *gradient, int which)
{
    ht_tensor *x = ht_set_at(w->eta, which);
    const ht_tensor *g = ht_set_at(gradient, which);
    int64_t n = ht_tensor_count(x);
    double begin = ht_tensor_get(x, 0), slope = 0, squares = 0, least = (double)INFINITY;
    ht_tensor *v = ht_tensor_new(w->ctx, HT_F64, HT_SHAPE(n));
    lab_random_signs(v, 21);
    for (int64_t k = 0; k < n; k++) {
        double at = ht_tensor_get(g, k);
        slope += at * ht_tensor_get(v, k);
        squares += at * at;
    }
    for (double h = 1e-3; h > 5e-8; h /= 10) {
        double f[2];
        for (int side = 0; side < 2; side++) {
            for (int64_t k = 0; k < n; k++)
                ht_tensor_set(x, k, begin + (side ? -h : h) * ht_tensor_get(v, k));
            f[side] = ht_bilevel_evaluate(b, 0).outer;
        }
        least = fmin(least, fabs((f[0] - f[1]) / (2 * h) - slope));
    }
    ht_tensor_fill(x, begin);
    ht_tensor_free(v);
    return log10(fmax(least / sqrt(squares), 1e-17));
}

static double length_of(const ht_set *gradient, int which)
{
    const ht_tensor *g = ht_set_at(gradient, which);
    double squares = 0;
    for (int64_t k = 0; k < ht_tensor_count(g); k++)
        squares += ht_tensor_get(g, k) * ht_tensor_get(g, k);
    return log10(sqrt(squares));
}

static void gradients(weighing *w, double *at)
{
    ht_bilevel *b = weighing_mean(w);
    ht_bilevel_result r = {0};
    if (b) r = ht_bilevel_run(b, 0);
    if (r.gradient) {
        at[TRAIN_LOSS] = r.inner;
        at[OUTER] = r.outer;
        at[LENGTH_W] = length_of(r.gradient, 0);
        at[LENGTH_SHIFT] = length_of(r.gradient, 1);
        ht_set *kept = ht_set_clone(r.gradient, 0);
        at[ERROR_W] = slope_error(w, b, kept, 0);
        at[ERROR_SHIFT] = slope_error(w, b, kept, 1);
        ht_set_free(kept);
    }
    ht_bilevel_free(b);
}

static bool measure(const science_run *run, int scale, int place, int seed,
                    double (*to)[SCIENCE_MOST])
{
    weighing w;
    double at[NUMBERS] = {0};
    ht_update adam = HT_ADAM(3e-3);
    adam.eps = HT_FIXED(place ? 0 : scales[scale]);
    adam.eps_root = HT_FIXED(place ? scales[scale] * scales[scale] : 0);
    bool ok = weighing_open(&w, &(weighing_options){.model = LAB_GELU,
                                                    .dtype = HT_F64,
                                                    .update = adam,
                                                    .steps = run->quick ? 5 : STEPS,
                                                    .seed = (uint64_t)(run->first + seed),
                                                    .shift = true});
    if (ok) {
        gradients(&w, at);
        at[SMOOTH] = weighing_smooth(&w, 0.5).outer;
        at[SMOOTH_SMALL] = weighing_smooth(&w, 1e-3).outer;
        ht_tensor *subsets = weighing_subsets(&w, run->quick ? 3 : SUBSETS);
        ht_tensor *scores = weighing_scores(&w), *truth = weighing_truth(&w, subsets);
        at[LDS] = weighing_lds(scores, subsets, truth);
        ht_tensor_free(subsets);
        ht_tensor_free(scores);
        ht_tensor_free(truth);
    }
    for (int k = 0; k < NUMBERS; k++) to[k][seed] = at[k];
    ok = ok && lab_good(w.ctx, "eps_root");
    weighing_close(&w);
    return ok;
}

static void head(const char *first)
{
    printf("%s", first);
    for (int k = 0; k < NUMBERS; k++) printf(" %s |", heads[k]);
    printf("\n|---|---|");
    for (int k = 0; k < NUMBERS; k++) printf("---|");
    printf("\n");
}

static void print(const science_run *run, findings found)
{
    head("| eps | s |");
    for (int scale = 0; scale < SCALES; scale++)
        for (int place = 0; place < PLACES; place++) {
            printf("| %s | %g |", places[place], scales[scale]);
            for (int k = 0; k < NUMBERS; k++)
                lab_cell(formats[k], run->seeds, found[scale][place][k]);
            printf("\n");
        }
    printf("\nInside less outside, by seed:\n\n");
    head("| | s |");
    for (int scale = 0; scale < SCALES; scale++) {
        printf("| | %g |", scales[scale]);
        for (int k = 0; k < NUMBERS; k++) {
            double less[SCIENCE_MOST];
            for (int s = 0; s < run->seeds; s++)
                less[s] = found[scale][1][k][s] - found[scale][0][k][s];
            lab_cell(formats[k], run->seeds, less);
        }
        printf("\n");
    }
}

bool science_eps_root(const science_run *run)
{
    findings *found = calloc(1, sizeof *found);
    bool ok = found != NULL;
    for (int scale = 0; ok && scale < SCALES; scale++) {
        for (int place = 0; place < PLACES; place++)
            for (int s = 0; ok && s < run->seeds; s++)
                ok = measure(run, scale, place, s, (*found)[scale][place]);
        science_progress("eps_root: s = %g", scales[scale]);
    }
    if (ok) print(run, *found);
    free(found);
    return ok;
}
