/* SPDX-License-Identifier: MIT */
/* precision.c: how far is the hypergradient of a training in f32 from that in f64, of the
 * same digits, order and initial numbers, as trainings grow longer; and does S^ of the
 * f32 training at a small step say where that is too far? Read next: ../SCIENCE.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "science.h"
#include "weighing.h"

enum { LENGTHS = 5, SUBSETS = 30 };
static const int64_t lengths[LENGTHS] = {10, 30, 100, 300, 1000};
/* A row for each length, or where it is one that is hard for the longest alone. */
typedef struct kind {
    lab_model model;
    const ht_update_rule *rule; /* ht_momentum, of 0.9, or ht_adam, of the usual eps */
    double rate;
    bool hard;
} kind;
static const kind kinds[] = {
    {LAB_SOFTMAX, &ht_momentum, 0.05, false}, {LAB_GELU, &ht_momentum, 0.05, false},
    {LAB_RELU, &ht_momentum, 0.05, false},    {LAB_GELU, &ht_momentum, 0.1, true},
    {LAB_GELU, &ht_momentum, 0.2, true},      {LAB_GELU, &ht_momentum, 0.4, true},
    {LAB_GELU, &ht_adam, 0.003, true},        {LAB_GELU, &ht_adam, 0.01, true},
    {LAB_RELU, &ht_momentum, 0.1, true},      {LAB_RELU, &ht_momentum, 0.2, true},
    {LAB_RELU, &ht_momentum, 0.4, true},      {LAB_RELU, &ht_adam, 0.003, true},
    {LAB_RELU, &ht_adam, 0.01, true}};
enum { KINDS = sizeof kinds / sizeof *kinds };
enum {
    LOSS,
    THETA,
    GRADIENT,
    COSINE,
    TRAIN_LOSS,
    SMALL,
    SMALL_WIDE,
    LARGE,
    LDS_NARROW,
    LDS_WIDE,
    NUMBERS
};
static const char *const heads[NUMBERS] = {"log10 error of F",
                                           "log10 error of theta",
                                           "log10 error of the hypergradient",
                                           "cosine",
                                           "last batch's loss",
                                           "S^ f32, h = 0.001",
                                           "S^ f64, h = 0.001",
                                           "S^ f32, h = 0.5",
                                           "LDS, scores f32",
                                           "LDS, scores f64"};
#define BELIEVED 0.95
#define FAR      0.1 /* of the hypergradient's error */

/* Everything that was found: [kind][length][number][seed]. */
typedef double findings[KINDS][LENGTHS][NUMBERS][SCIENCE_MOST];

static int first_length(int k)
{
    return kinds[k].hard ? LENGTHS - 1 : 0;
}

/* One training in one type. */
typedef struct side {
    weighing w;
    ht_set *theta, *gradient; /* f64 */
    double outer, train_loss;
    ht_tensor *scores;
} side;

static ht_set *widened(const ht_set *from)
{
    ht_set *to = ht_set_clone(from, HT_F64);
    ht_set_copy(to, from);
    return to;
}

static bool side_open(side *s, const weighing_options *options)
{
    *s = (side){0};
    if (!weighing_open(&s->w, options)) return false;
    ht_bilevel *b = weighing_mean(&s->w);
    ht_bilevel_result r = {0};
    if (b) r = ht_bilevel_run(b, 0);
    if (r.gradient) {
        s->theta = widened(r.theta);
        s->gradient = widened(r.gradient);
    }
    s->outer = r.outer;
    s->train_loss = r.inner;
    ht_bilevel_free(b);
    s->scores = weighing_scores(&s->w);
    return lab_good(s->w.ctx, "precision") && s->gradient;
}

static void side_close(side *s)
{
    ht_set_free(s->theta);
    ht_set_free(s->gradient);
    ht_tensor_free(s->scores);
    weighing_close(&s->w);
}

/* No fewer than the last place there is, so that its logarithm is a number. */
static double digits(double error)
{
    return error <= 1e-17 ? -17 : log10(error);
}

static void compare(side *narrow, side *wide, int subsets, double *at)
{
    weighing *w = &wide->w;
    ht_set *start = widened(w->theta);
    ht_tensor *left_out = weighing_subsets(w, subsets);
    ht_tensor *truth = weighing_truth(w, left_out);
    double moved = lab_apart(wide->theta, start);
    at[LOSS] = digits(fabs(narrow->outer - wide->outer) / fabs(wide->outer));
    at[THETA] = digits(lab_apart(narrow->theta, wide->theta) / moved);
    at[GRADIENT] =
        digits(lab_apart(narrow->gradient, wide->gradient) / lab_norm(wide->gradient));
    at[COSINE] = lab_cosine(narrow->gradient, wide->gradient);
    at[TRAIN_LOSS] = wide->train_loss;
    at[SMALL] = weighing_smooth(&narrow->w, 1e-3).outer;
    at[SMALL_WIDE] = weighing_smooth(w, 1e-3).outer;
    at[LARGE] = weighing_smooth(&narrow->w, 0.5).outer;
    at[LDS_NARROW] = weighing_lds(narrow->scores, left_out, truth);
    at[LDS_WIDE] = weighing_lds(wide->scores, left_out, truth);
    ht_tensor_free(left_out);
    ht_tensor_free(truth);
    ht_set_free(start);
}

static bool measure(const science_run *run, int k, int length, int seed,
                    double (*to)[SCIENCE_MOST])
{
    side narrow, wide;
    double at[NUMBERS];
    weighing_options o = {.model = kinds[k].model,
                          .dtype = HT_F32,
                          .update = HT_MOMENTUM(kinds[k].rate, 0.9),
                          .steps = run->quick ? 5 + length : lengths[length],
                          .seed = (uint64_t)(run->first + seed)};
    if (kinds[k].rule == &ht_adam) o.update = HT_ADAM(kinds[k].rate);
    bool ok = side_open(&narrow, &o);
    o.dtype = HT_F64;
    ok = side_open(&wide, &o) && ok;
    if (ok) compare(&narrow, &wide, run->quick ? 3 : SUBSETS, at);
    for (int i = 0; ok && i < NUMBERS; i++) to[i][seed] = at[i];
    ok = ok && lab_good(narrow.w.ctx, "f32") && lab_good(wide.w.ctx, "f64");
    side_close(&narrow);
    side_close(&wide);
    return ok;
}

/* How often S^ of f32 at a small step is below what is believed, where the hypergradient
 * is far off and where it is not; and the same of a large step. */
static void judge_gate(const science_run *run, findings found, int by)
{
    int count[2][2] = {{0}};
    for (int k = 0; k < KINDS; k++)
        for (int l = first_length(k); l < LENGTHS; l++)
            for (int s = 0; s < run->seeds; s++) {
                bool far = !(found[k][l][GRADIENT][s] <= log10(FAR));
                count[far][!(found[k][l][by][s] >= BELIEVED)]++;
            }
    printf("| %s | %d | %d | %d | %d |\n", heads[by], count[1][1], count[1][0],
           count[0][1], count[0][0]);
}

static void print_row(const science_run *run, int k, int l, double (*at)[SCIENCE_MOST])
{
    printf("| %s | %s %g | %lld |", lab_models[kinds[k].model], kinds[k].rule->name,
           kinds[k].rate, (long long)lengths[l]);
    for (int i = 0; i < NUMBERS; i++) {
        bool plain = i == LOSS || i == THETA || i == GRADIENT;
        lab_cell(plain ? "%.1f" : i == TRAIN_LOSS ? "%.2g" : "%.3f", run->seeds, at[i]);
    }
    printf("\n");
}

static void print(const science_run *run, findings found)
{
    printf("| model | rule | T |");
    for (int i = 0; i < NUMBERS; i++) printf(" %s |", heads[i]);
    printf("\n|---|---|---|");
    for (int i = 0; i < NUMBERS; i++) printf("---|");
    printf("\n");
    for (int k = 0; k < KINDS; k++)
        for (int l = first_length(k); l < LENGTHS; l++) print_row(run, k, l, found[k][l]);
    printf("\n| trainings whose hypergradient in f32 is off by more than %g: by | "
           "refused | believed | others refused | believed |\n|---|---|---|---|---|\n",
           FAR);
    judge_gate(run, found, SMALL);
    judge_gate(run, found, LARGE);
}

bool science_precision(const science_run *run)
{
    findings *found = calloc(1, sizeof *found);
    bool ok = found != NULL;
    for (int k = 0; ok && k < KINDS; k++)
        for (int l = first_length(k); ok && l < LENGTHS; l++) {
            for (int s = 0; ok && s < run->seeds; s++)
                ok = measure(run, k, l, s, (*found)[k][l]);
            science_progress("precision: %s, %s %g, T = %lld", lab_models[kinds[k].model],
                             kinds[k].rule->name, kinds[k].rate, (long long)lengths[l]);
        }
    if (ok) print(run, *found);
    free(found);
    return ok;
}
