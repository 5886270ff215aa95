/* SPDX-License-Identifier: MIT */
/* gate.c: does S^ of margins, three trainings without a gradient, foretell LDS, which
 * takes a hypergradient and forty trainings? Read next: study.c, ../SCIENCE.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "science.h"
#include "stats.h"
#include "study.h"

#define PART  0.05 /* of the examples, in subsets and directions */
#define GATE  0.95 /* S^ that lets through */
#define GOOD  0.85 /* LDS that should be let through */
#define SMALL 0.02
enum { QUERIES = 6, SUBSETS = 40, DIRECTIONS = 3 };

#define SMALL_MLP .wide = 64, .narrow = 32
#define MOMENTUM  .momentum = 0.9
static const setting settings[] = {
    {"softmax", .network = STUDY_SOFTMAX, .n = 2000, .batch = 64, .epochs = 10,
     .rate = 0.01},
    {"softmax, batch 32", .network = STUDY_SOFTMAX, .n = 2000, .batch = 32, .epochs = 20,
     .rate = 0.1},
    {"softmax, momentum", .network = STUDY_SOFTMAX, .n = 2000, .batch = 64, .epochs = 10,
     .rate = 0.01, MOMENTUM},
    {"softmax, n 5000", .network = STUDY_SOFTMAX, .n = 5000, .batch = 256, .epochs = 10,
     .rate = 0.1},
    {"softmax, n 1000", .network = STUDY_SOFTMAX, .n = 1000, .batch = 32, .epochs = 20,
     .rate = 0.1, MOMENTUM},
    {"GELU", .network = STUDY_GELU, SMALL_MLP, .n = 2000, .batch = 64, .epochs = 10,
     .rate = 0.01},
    {"GELU, rate .05", .network = STUDY_GELU, SMALL_MLP, .n = 2000, .batch = 64,
     .epochs = 10, .rate = 0.05},
    {"GELU, rate .1", .network = STUDY_GELU, SMALL_MLP, .n = 2000, .batch = 64,
     .epochs = 20, .rate = 0.1},
    {"GELU, batch 32", .network = STUDY_GELU, SMALL_MLP, .n = 1000, .batch = 32,
     .epochs = 20, .rate = 0.03},
    {"GELU, momentum", .network = STUDY_GELU, SMALL_MLP, .n = 2000, .batch = 64,
     .epochs = 10, .rate = 0.01, MOMENTUM},
    {"GELU, momentum, 20 epochs", .network = STUDY_GELU, SMALL_MLP, .n = 2000,
     .batch = 64, .epochs = 20, .rate = 0.01, MOMENTUM},
    {"GELU, momentum, rate .03", .network = STUDY_GELU, SMALL_MLP, .n = 2000, .batch = 64,
     .epochs = 10, .rate = 0.03, MOMENTUM},
    {"GELU, momentum, batch 256", .network = STUDY_GELU, SMALL_MLP, .n = 2000,
     .batch = 256, .epochs = 20, .rate = 0.01, MOMENTUM},
    {"GELU, momentum, batch 256, .05", .network = STUDY_GELU, SMALL_MLP, .n = 2000,
     .batch = 256, .epochs = 20, .rate = 0.05, MOMENTUM},
    {"GELU, momentum, batch 32", .network = STUDY_GELU, SMALL_MLP, .n = 1000, .batch = 32,
     .epochs = 20, .rate = 0.01, MOMENTUM},
    {"GELU, momentum, n 5000", .network = STUDY_GELU, SMALL_MLP, .n = 5000, .batch = 64,
     .epochs = 5, .rate = 0.01, MOMENTUM},
    {"GELU, momentum, n 5000, b. 256", .network = STUDY_GELU, SMALL_MLP, .n = 5000,
     .batch = 256, .epochs = 10, .rate = 0.01, MOMENTUM},
    {"ReLU", .network = STUDY_RELU, SMALL_MLP, .n = 2000, .batch = 64, .epochs = 10,
     .rate = 0.01},
    {"ReLU, rate .1", .network = STUDY_RELU, SMALL_MLP, .n = 2000, .batch = 64,
     .epochs = 20, .rate = 0.1},
    {"ReLU, momentum", .network = STUDY_RELU, SMALL_MLP, .n = 2000, .batch = 64,
     .epochs = 10, .rate = 0.01, MOMENTUM},
    {"ReLU, momentum, 20 epochs", .network = STUDY_RELU, SMALL_MLP, .n = 2000,
     .batch = 64, .epochs = 20, .rate = 0.01, MOMENTUM},
    {"ReLU, momentum, batch 256", .network = STUDY_RELU, SMALL_MLP, .n = 2000,
     .batch = 256, .epochs = 20, .rate = 0.01, MOMENTUM},
    {"ReLU, momentum, n 5000, b. 256", .network = STUDY_RELU, SMALL_MLP, .n = 5000,
     .batch = 256, .epochs = 10, .rate = 0.01, MOMENTUM},
    {"softplus 1, momentum", .network = STUDY_SOFTPLUS, .sharp = 1, SMALL_MLP, .n = 2000,
     .batch = 64, .epochs = 10, .rate = 0.01, MOMENTUM},
    {"softplus 5, rate .1", .network = STUDY_SOFTPLUS, .sharp = 5, SMALL_MLP, .n = 2000,
     .batch = 64, .epochs = 20, .rate = 0.1},
    {"softplus 5, momentum", .network = STUDY_SOFTPLUS, .sharp = 5, SMALL_MLP, .n = 2000,
     .batch = 64, .epochs = 10, .rate = 0.01, MOMENTUM},
    {"softplus 5, momentum, b. 256", .network = STUDY_SOFTPLUS, .sharp = 5, SMALL_MLP,
     .n = 2000, .batch = 256, .epochs = 20, .rate = 0.01, MOMENTUM},
    {"softplus 20, momentum", .network = STUDY_SOFTPLUS, .sharp = 20, SMALL_MLP,
     .n = 2000, .batch = 64, .epochs = 10, .rate = 0.01, MOMENTUM},
    {"softplus 20, momentum, b. 256", .network = STUDY_SOFTPLUS, .sharp = 20, SMALL_MLP,
     .n = 2000, .batch = 256, .epochs = 20, .rate = 0.01, MOMENTUM},
    /* The open case, as large as it was reported. */
    {"GELU 128-64, as reported", .network = STUDY_GELU, .wide = 128, .narrow = 64,
     .n = 5000, .batch = 64, .epochs = 20, .rate = 0.01, MOMENTUM},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

/* What might foretell, of a training, in the order of `asked`. */
enum { ALONG, LEAST, QUERIED, THETA, BEYOND, HALVES, FIRST, ADDED, LOSS, MEASURES };
static const struct {
    const char *name, *what;
} measures[MEASURES] = {
    [ALONG] = {"S^", "of 100 margins along one random 5 % at 1, .5, 0"},
    [LEAST] = {"least S^", "the least along three of them"},
    [QUERIED] = {"S^ of queries", "of the six margins asked about"},
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

/* Directions. */

/* The first `part` of a random order of the examples, from `from` on. */
static uint8_t *some(const study *s, uint64_t direction, double from, double to)
{
    int64_t *order = calloc((size_t)s->is.n, sizeof *order);
    uint8_t *left_out = calloc((size_t)s->is.n, sizeof *left_out);
    HT_ASSERT(order && left_out, "no memory for %lld examples", (long long)s->is.n);
    ht_random_permutation(s->seeds.data, 1000 + direction, s->is.n, order);
    for (int64_t k = (int64_t)(from * (double)s->is.n);
         k < (int64_t)(to * (double)s->is.n); k++)
        left_out[order[k]] = 1;
    free(order);
    return left_out;
}

/* Changes of the margins from `all` by such weights. */
static void change(study *s, const double *all, uint8_t *left_out, double left,
                   double *to)
{
    study_train(s, left_out, left, to);
    for (int k = 0; k < STUDY_ASKED; k++) to[k] -= all[k];
}

/* S^ of n that changed by x halfway and by y in all. */
static double agreement(int n, const double *x, const double *y)
{
    double sum = 0, size = 0;
    for (int k = 0; k < n; k++) {
        double agrees = x[k] * (y[k] - x[k]);
        sum += fabs(y[k]) * ((agrees > 0) - (agrees < 0));
        size += fabs(y[k]);
    }
    return sum / size;
}

/* What might foretell, by trainings without a gradient. */
static void look(study *s, found *to)
{
    enum { N = STUDY_ASKED };
    double all[N], half[N], whole[N], other[N], rest[N];
    study_train(s, NULL, 1, all);
    to->by[LEAST] = 1;
    for (uint64_t direction = DIRECTIONS; direction-- > 0;) {
        uint8_t *part = some(s, direction, 0, PART);
        change(s, all, part, 0.5, half);
        change(s, all, part, 0, whole);
        to->by[ALONG] = agreement(N, half, whole);
        to->by[LEAST] = fmin(to->by[LEAST], to->by[ALONG]);
        if (direction) {
            free(part);
            continue;
        }
        to->by[QUERIED] = agreement(QUERIES, half, whole);
        change(s, all, part, -1, other);
        to->by[BEYOND] = agreement(N, whole, other);
        for (int k = 0; k < N; k++) rest[k] = whole[k] - half[k];
        to->by[HALVES] = stats_pearson(N, half, rest);
        change(s, all, part, 1 - SMALL, other);
        to->by[FIRST] = stats_pearson(N, other, whole);
        free(part);
    }
    uint8_t *one = some(s, 0, 0, PART / 2), *two = some(s, 0, PART / 2, PART);
    change(s, all, one, 0, other);
    change(s, all, two, 0, rest);
    for (int k = 0; k < N; k++) other[k] += rest[k];
    to->by[ADDED] = stats_pearson(N, other, whole);
    free(one);
    free(two);
}

static found measure(const setting *is, uint64_t seed, const science_run *run)
{
    study s;
    found f;
    study_open(&s, is, seed, run->quick ? 2 : QUERIES);
    look(&s, &f);
    f.by[THETA] = ht_influence_smoothness(s.influence, PART, seed).theta;
    study_fit fit = study_measure(&s);
    f.by[LOSS] = fit.loss;
    f.accuracy = fit.accuracy;
    ht_tensor *scores = study_scores(&s),
              *subsets = study_subsets(&s, run->quick ? 5 : SUBSETS, PART),
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
    printf("| setting | train loss | test accuracy, %% | S^ | least S^ | added | LDS, 5 "
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
               stats_mean(t->seeds, x[LEAST]).is, stats_mean(t->seeds, x[ADDED]).is,
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

bool science_gate(const science_run *run)
{
    table t = {.n = run->quick ? 3 : SETTINGS, .seeds = run->seeds};
    t.at = calloc((size_t)(t.n * t.seeds), sizeof *t.at);
    HT_ASSERT(t.at, "no memory for %d trainings", t.n * t.seeds);
    for (int i = 0; i < t.n; i++)
        for (int k = 0; k < t.seeds; k++) {
            setting is = settings[i];
            if (run->quick) is.n = 320, is.batch = 64, is.epochs = 2;
            t.at[i * t.seeds + k] = measure(&is, (uint64_t)(run->first + k), run);
            science_progress("gate: %s, seed %d", is.name, run->first + k);
        }
    print_settings(&t);
    print_measures(&t);
    free(t.at);
    return true;
}
