/* SPDX-License-Identifier: MIT */
/* gate.c: does S^ of margins, three trainings without a gradient, foretell LDS, which
 * takes a hypergradient and forty trainings? Read next: study.c, ../SCIENCE.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "science.h"
#include "stats.h"
#include "study.h"

#define GATE  0.95 /* S^ that lets through */
#define GOOD  0.85 /* LDS that should be let through */
#define SMALL 0.02
enum { QUERIES = 5, SUBSETS = 32, DIRECTIONS = 3 };

#define SMALL_MLP .wide = 64, .narrow = 32
#define MOMENTUM  .momentum = 0.9
static const setting settings[] = {
    {"softmax", .network = STUDY_SOFTMAX, .n = 1000, .batch = 64, .epochs = 10,
     .rate = 0.01},
    {"softmax, batch 32", .network = STUDY_SOFTMAX, .n = 1000, .batch = 32, .epochs = 20,
     .rate = 0.1},
    {"softmax, momentum", .network = STUDY_SOFTMAX, .n = 1000, .batch = 64, .epochs = 10,
     .rate = 0.01, MOMENTUM},
    {"softmax, n 3000", .network = STUDY_SOFTMAX, .n = 3000, .batch = 256, .epochs = 10,
     .rate = 0.1},
    {"softmax, momentum, rate .1", .network = STUDY_SOFTMAX, .n = 1000, .batch = 32,
     .epochs = 20, .rate = 0.1, MOMENTUM},
    {"GELU", .network = STUDY_GELU, SMALL_MLP, .n = 1000, .batch = 64, .epochs = 10,
     .rate = 0.01},
    {"GELU, rate .05", .network = STUDY_GELU, SMALL_MLP, .n = 1000, .batch = 64,
     .epochs = 10, .rate = 0.05},
    {"GELU, rate .1", .network = STUDY_GELU, SMALL_MLP, .n = 1000, .batch = 64,
     .epochs = 20, .rate = 0.1},
    {"GELU, batch 32", .network = STUDY_GELU, SMALL_MLP, .n = 1000, .batch = 32,
     .epochs = 20, .rate = 0.03},
    {"GELU, momentum", .network = STUDY_GELU, SMALL_MLP, .n = 1000, .batch = 64,
     .epochs = 10, .rate = 0.01, MOMENTUM},
    {"GELU, momentum, 20 epochs", .network = STUDY_GELU, SMALL_MLP, .n = 1000,
     .batch = 64, .epochs = 20, .rate = 0.01, MOMENTUM},
    {"GELU, momentum, rate .03", .network = STUDY_GELU, SMALL_MLP, .n = 1000, .batch = 64,
     .epochs = 10, .rate = 0.03, MOMENTUM},
    {"GELU, momentum, batch 256", .network = STUDY_GELU, SMALL_MLP, .n = 1000,
     .batch = 256, .epochs = 20, .rate = 0.01, MOMENTUM},
    {"GELU, momentum, batch 256, .05", .network = STUDY_GELU, SMALL_MLP, .n = 1000,
     .batch = 256, .epochs = 20, .rate = 0.05, MOMENTUM},
    {"GELU, momentum, batch 32", .network = STUDY_GELU, SMALL_MLP, .n = 1000, .batch = 32,
     .epochs = 20, .rate = 0.01, MOMENTUM},
    {"GELU, momentum, n 3000", .network = STUDY_GELU, SMALL_MLP, .n = 3000, .batch = 64,
     .epochs = 5, .rate = 0.01, MOMENTUM},
    {"GELU, momentum, n 3000, b. 256", .network = STUDY_GELU, SMALL_MLP, .n = 3000,
     .batch = 256, .epochs = 10, .rate = 0.01, MOMENTUM},
    {"ReLU", .network = STUDY_RELU, SMALL_MLP, .n = 1000, .batch = 64, .epochs = 10,
     .rate = 0.01},
    {"ReLU, rate .1", .network = STUDY_RELU, SMALL_MLP, .n = 1000, .batch = 64,
     .epochs = 20, .rate = 0.1},
    {"ReLU, momentum", .network = STUDY_RELU, SMALL_MLP, .n = 1000, .batch = 64,
     .epochs = 10, .rate = 0.01, MOMENTUM},
    {"ReLU, momentum, 20 epochs", .network = STUDY_RELU, SMALL_MLP, .n = 1000,
     .batch = 64, .epochs = 20, .rate = 0.01, MOMENTUM},
    {"ReLU, momentum, batch 256", .network = STUDY_RELU, SMALL_MLP, .n = 1000,
     .batch = 256, .epochs = 20, .rate = 0.01, MOMENTUM},
    {"ReLU, momentum, n 3000, b. 256", .network = STUDY_RELU, SMALL_MLP, .n = 3000,
     .batch = 256, .epochs = 10, .rate = 0.01, MOMENTUM},
    {"softplus 1, momentum", .network = STUDY_SOFTPLUS, .sharp = 1, SMALL_MLP, .n = 1000,
     .batch = 64, .epochs = 10, .rate = 0.01, MOMENTUM},
    {"softplus 5, rate .1", .network = STUDY_SOFTPLUS, .sharp = 5, SMALL_MLP, .n = 1000,
     .batch = 64, .epochs = 20, .rate = 0.1},
    {"softplus 5, momentum", .network = STUDY_SOFTPLUS, .sharp = 5, SMALL_MLP, .n = 1000,
     .batch = 64, .epochs = 10, .rate = 0.01, MOMENTUM},
    {"softplus 5, momentum, b. 256", .network = STUDY_SOFTPLUS, .sharp = 5, SMALL_MLP,
     .n = 1000, .batch = 256, .epochs = 20, .rate = 0.01, MOMENTUM},
    {"softplus 20, momentum", .network = STUDY_SOFTPLUS, .sharp = 20, SMALL_MLP,
     .n = 1000, .batch = 64, .epochs = 10, .rate = 0.01, MOMENTUM},
    {"softplus 20, momentum, b. 256", .network = STUDY_SOFTPLUS, .sharp = 20, SMALL_MLP,
     .n = 1000, .batch = 256, .epochs = 20, .rate = 0.01, MOMENTUM},
    /* The open case, as large as it was reported. */
    {"GELU 128-64, as reported", .network = STUDY_GELU, .wide = 128, .narrow = 64,
     .n = 5000, .batch = 64, .epochs = 20, .rate = 0.01, MOMENTUM},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

/* What might foretell, of a training. */
enum { ALONG, LEAST, QUERIED, THETA, BEYOND, HALVES, FIRST, ADDED, LOSS, MEASURES };
static const struct {
    const char *name, *what;
} measures[MEASURES] = {
    [ALONG] = {"S^", "of 100 margins along one random 5 % at 1, .5, 0"},
    [LEAST] = {"least S^", "the least along three of them"},
    [QUERIED] = {"S^ of queries", "of the five margins asked about"},
    [THETA] = {"S^ of theta", "of the weights of the network"},
    [BEYOND] = {"S^, h = 1", "weights at 1, 0, -1"},
    [HALVES] = {"halves", "Pearson of the changes from 1 to .5 and from .5 to 0"},
    [FIRST] = {"first", "Pearson of the changes from 1 to .98 and from 1 to 0"},
    [ADDED] = {"added", "Pearson of the change of both halves of the 5 % together and "
                        "of the sum of each alone"},
    [LOSS] = {"train loss", "mean cross-entropy of the train images"},
};

typedef struct found {
    double by[MEASURES];
    ht_lds lds;
    double accuracy;
} found;

/* What might foretell, by trainings without a gradient. */

/* Margins as `part` of the weights is at `left`, less `all`. */
static void change(study *s, const double *all, uint8_t *part, double left, double *to)
{
    study_train(s, part, left, to);
    for (int k = 0; k < STUDY_ASKED; k++) to[k] -= all[k];
    free(part);
}

/* More of the first direction, along which margins are `at`. */
static void look_closer(study *s, double at[3][STUDY_ASKED], found *to)
{
    enum { N = STUDY_ASKED };
    double half[N], rest[N], whole[N], other[N];
    for (int k = 0; k < N; k++) {
        half[k] = at[1][k] - at[0][k];
        rest[k] = at[2][k] - at[1][k];
        whole[k] = at[2][k] - at[0][k];
    }
    to->by[ALONG] = study_smooth(N, at[0], at[1], at[2]);
    to->by[QUERIED] = study_smooth(QUERIES, at[0], at[1], at[2]);
    to->by[HALVES] = stats_pearson(N, half, rest);
    change(s, at[0], study_part(s, 0, 0, STUDY_PART), -1, other);
    for (int k = 0; k < N; k++) other[k] += at[0][k];
    to->by[BEYOND] = study_smooth(N, at[0], at[2], other);
    change(s, at[0], study_part(s, 0, 0, STUDY_PART), 1 - SMALL, other);
    to->by[FIRST] = stats_pearson(N, other, whole);
    change(s, at[0], study_part(s, 0, 0, STUDY_PART / 2), 0, other);
    change(s, at[0], study_part(s, 0, STUDY_PART / 2, STUDY_PART), 0, rest);
    for (int k = 0; k < N; k++) other[k] += rest[k];
    to->by[ADDED] = stats_pearson(N, other, whole);
}

static void look(study *s, found *to)
{
    double margins[3][STUDY_ASKED];
    study_line(s, 0, margins);
    look_closer(s, margins, to);
    to->by[LEAST] = to->by[ALONG];
    for (uint64_t direction = 1; direction < DIRECTIONS; direction++) {
        study_line(s, direction, margins);
        to->by[LEAST] = fmin(
            to->by[LEAST], study_smooth(STUDY_ASKED, margins[0], margins[1], margins[2]));
    }
}

static found measure(const setting *is, uint64_t seed, const science_run *run)
{
    study s;
    found f;
    study_open(&s, is, seed, run->quick ? 2 : QUERIES);
    look(&s, &f);
    f.by[THETA] = ht_influence_smoothness(s.influence, STUDY_PART, seed).theta;
    study_fit fit = study_measure(&s);
    f.by[LOSS] = fit.loss;
    f.accuracy = fit.accuracy;
    ht_tensor *scores = study_scores(&s),
              *subsets = study_subsets(&s, run->quick ? 5 : SUBSETS),
              *changes = study_changes(&s, subsets);
    f.lds = ht_influence_lds(scores, subsets, changes, 400, seed);
    ht_check(s.ctx);
    ht_tensor_free(scores);
    ht_tensor_free(subsets);
    ht_tensor_free(changes);
    study_close(&s);
    return f;
}

/* Answers. */

/* How many of n a gate lets through that it should not, and refuses that are good. */
static void count(int n, const double *by, const double *lds, double gate, int *let,
                  int *kept)
{
    *let = *kept = 0;
    for (int k = 0; k < n; k++) {
        bool through = by[k] >= gate, good = lds[k] >= GOOD;
        *let += through && !good;
        *kept += !through && good;
    }
}

/* The least threshold, of those that were found, that lets nothing bad through. */
static double safe(int n, const double *by, const double *lds)
{
    double most = -1;
    for (int k = 0; k < n; k++)
        if (!(lds[k] >= GOOD) && by[k] > most) most = by[k];
    double least = 2;
    for (int k = 0; k < n; k++)
        if (by[k] > most && by[k] < least) least = by[k];
    return least;
}

typedef struct table {
    int n, seeds;
    found *at;                 /* (n, seeds) */
    double *x[MEASURES], *lds; /* (n) means over seeds, then (n seeds) each */
} table;

static double of(const table *t, int row, int measure)
{
    return measure < MEASURES ? t->at[row].by[measure] : t->at[row].lds.mean;
}

/* Means over seeds of each setting. */
static void average(const table *t, int measure, double *to)
{
    for (int i = 0; i < t->n; i++) {
        to[i] = 0;
        for (int k = 0; k < t->seeds; k++)
            to[i] += of(t, i * t->seeds + k, measure) / t->seeds;
    }
}

static void print_settings(const table *t)
{
    printf("| setting | train loss | test accuracy, %% | S^ | least S^ | halves | LDS, 5 "
           "%% |\n|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < t->n; i++) {
        double x[MEASURES + 2][SCIENCE_MOST];
        char text[STATS_TEXT], lds[STATS_TEXT];
        for (int k = 0; k < t->seeds; k++) {
            for (int m = 0; m <= MEASURES; m++) x[m][k] = of(t, i * t->seeds + k, m);
            x[MEASURES + 1][k] = 100 * t->at[i * t->seeds + k].accuracy;
        }
        printf("| %s | %.4f | %.1f | %s | %.3f | %.3f | %s |\n", settings[i].name,
               stats_mean(t->seeds, x[LOSS]).is, stats_mean(t->seeds, x[MEASURES + 1]).is,
               stats_text(stats_mean(t->seeds, x[ALONG]), text),
               stats_mean(t->seeds, x[LEAST]).is, stats_mean(t->seeds, x[HALVES]).is,
               stats_text(stats_mean(t->seeds, x[MEASURES]), lds));
    }
}

static void print_measures(const table *t)
{
    int all = t->n * t->seeds;
    double *lds = calloc((size_t)t->n, sizeof *lds), *x = calloc((size_t)t->n, sizeof *x),
           *loss = calloc((size_t)t->n, sizeof *loss),
           *each = calloc((size_t)all, sizeof *each),
           *each_lds = calloc((size_t)all, sizeof *each_lds);
    HT_ASSERT(lds && x && loss && each && each_lds, "no memory for %d figures", all);
    average(t, MEASURES, lds);
    average(t, LOSS, loss);
    for (int i = 0; i < all; i++) each_lds[i] = of(t, i, MEASURES);
    printf("\n| by | rank correlation with LDS, %d settings | given train loss | false "
           "accepts at .95, of %d trainings | false refusals | least threshold without "
           "false accepts | refusals then |\n|---|---|---|---|---|---|---|\n",
           t->n, all);
    for (int m = 0; m < MEASURES; m++) {
        char text[2][STATS_TEXT];
        int let, kept, unused, then;
        average(t, m, x);
        for (int i = 0; i < all; i++) each[i] = of(t, i, m);
        count(all, each, each_lds, GATE, &let, &kept);
        double least = safe(all, each, each_lds);
        count(all, each, each_lds, least, &unused, &then);
        estimate partial = {(double)NAN, (double)NAN, (double)NAN};
        if (m != LOSS) partial = stats_partial_interval(t->n, x, lds, loss);
        printf("| %s | %s | %s | %d | %d | %.3f | %d |\n", measures[m].name,
               stats_text(stats_spearman_interval(t->n, x, lds), text[0]),
               stats_text(partial, text[1]), let, kept, least, then);
    }
    free(lds);
    free(x);
    free(loss);
    free(each);
    free(each_lds);
}

/* Each training as it comes: all that might foretell, then LDS. */
static void say_found(const setting *is, int seed, const found *f)
{
    char line[16 * MEASURES];
    int n = 0;
    for (int m = 0; m < MEASURES; m++)
        n += snprintf(line + n, sizeof line - (size_t)n, " %.5f", f->by[m]);
    science_progress("gate: %s, seed %d:%s, LDS %.3f", is->name, seed, line, f->lds.mean);
}

static void print_legend(void)
{
    putchar('\n');
    for (int m = 0; m < MEASURES; m++)
        printf("- %s: %s\n", measures[m].name, measures[m].what);
}

bool science_gate(const science_run *run)
{
    table t = {.n = run->quick ? 3 : SETTINGS, .seeds = run->seeds};
    t.at = calloc((size_t)(t.n * t.seeds), sizeof *t.at);
    HT_ASSERT(t.at, "no memory for %d trainings", t.n * t.seeds);
    for (int i = 0; i < t.n; i++)
        for (int k = 0; k < t.seeds; k++) {
            setting is = settings[i];
            if (run->quick) is.n = 320, is.batch = 64, is.epochs = 2;
            found *f = &t.at[i * t.seeds + k];
            *f = measure(&is, (uint64_t)(run->first + k), run);
            say_found(&is, run->first + k, f);
        }
    print_settings(&t);
    print_measures(&t);
    print_legend();
    free(t.at);
    return true;
}
