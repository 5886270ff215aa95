/* SPDX-License-Identifier: MIT */
/* lds.c: how well scores foretell: subsets at random, rank correlations over them, and
 * their interval. Read next: ../ht_influence.h. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bilevel_internal.h"

ht_status ht_influence_random(ht_tensor *left_out, int64_t k, uint64_t seed)
{
    static const char who[] = "ht_influence_random";
    HT_ASSERT(left_out, "%s: left_out is NULL", who);
    HTI_ALIVE(left_out, who, "tensor");
    ht_context *ctx = ht_tensor_context(left_out);
    ht_shape is = ht_tensor_shape(left_out);
    if (is.rank != 2 || ht_tensor_dtype(left_out) != HT_U8 || k < 1 || k > is.dim[1])
        return ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                               "%s: expected a table (s, n) of u8 and a k of 1 to n, got "
                               "%d axes of %s and %lld",
                               who, is.rank, ht_dtype_name(ht_tensor_dtype(left_out)),
                               (long long)k);
    int64_t s = is.dim[0], n = is.dim[1];
    int64_t *order = hti_resize(ctx, NULL, 0, (size_t)n * sizeof *order);
    if (!order) return ctx->status;
    ht_tensor_fill(left_out, 0);
    uint8_t *at = ht_tensor_data(left_out);
    for (int64_t row = 0; row < s; row++) {
        ht_random_permutation(seed, (uint64_t)row, n, order);
        if (k == 1 && s == n) order[0] = row;
        for (int64_t i = 0; i < k; i++) at[row * n + order[i]] = 1;
    }
    hti_resize(ctx, order, (size_t)n * sizeof *order, 0);
    return HT_OK;
}

/* Correlations. */

typedef struct place {
    double value;
    int64_t at;
} place;

static int by_value(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->value < y->value || x->value > y->value) return x->value < y->value ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* Ranks of n values; those that are equal share the mean of theirs. */
static void rank(int64_t n, const double *x, place *order, double *to)
{
    for (int64_t i = 0; i < n; i++) order[i] = (place){x[i], i};
    qsort(order, (size_t)n, sizeof *order, by_value);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && !(order[end].value > order[i].value);) end++;
        for (int64_t j = i; j < end; j++) to[order[j].at] = 0.5 * (double)(i + end - 1);
    }
}

/* Their mean, and the root of the sum of squares about it; 0 where that is no more than
 * the rounding of what is summed. In units of the largest, so that no square is lost. */
static double spread(int64_t n, const double *x, double *unit, double *mean)
{
    double squares = 0;
    *unit = *mean = 0;
    for (int64_t i = 0; i < n; i++) *unit = fmax(*unit, fabs(x[i]));
    if (!(*unit > 0)) return 0;
    for (int64_t i = 0; i < n; i++) *mean += x[i] / *unit / (double)n;
    for (int64_t i = 0; i < n; i++) squares += pow(x[i] / *unit - *mean, 2);
    return sqrt(squares) > 4 * DBL_EPSILON * sqrt((double)n) ? sqrt(squares) : 0;
}

double hti_correlation(int64_t n, const double *x, const double *y)
{
    double ux, uy, mx, my, sum = 0;
    double sx = spread(n, x, &ux, &mx), sy = spread(n, y, &uy, &my);
    if (!(sx > 0 && sy > 0)) return (double)NAN;
    for (int64_t i = 0; i < n; i++) sum += (x[i] / ux - mx) * (y[i] / uy - my);
    return sum / (sx * sy);
}

/* A comparison at hand: foretold and found of each query, (m, s); those drawn and their
 * ranks, (s) each. */
typedef struct hti_lds {
    int64_t m, s;
    double *foretold, *found, *part[2], *ranks[2];
    place *order;
    double *means; /* of resamples */
} hti_lds;

/* Of one query over subsets, drawn by a stream (resample < 0: each once). */
static double query(const hti_lds *l, int64_t k, int64_t resample, uint64_t seed,
                    bool ranked)
{
    for (int64_t i = 0; i < l->s; i++) {
        int64_t from = resample < 0 ? i
                                    : ht_random_below(seed, 2 * (uint64_t)resample,
                                                      (uint64_t)i, l->s);
        l->part[0][i] = l->foretold[k * l->s + from];
        l->part[1][i] = l->found[k * l->s + from];
    }
    for (int j = 0; j < 2; j++)
        for (int64_t i = 0; i < l->s; i++)
            if (!isfinite(l->part[j][i])) return (double)NAN;
    if (!ranked) return hti_correlation(l->s, l->part[0], l->part[1]);
    for (int j = 0; j < 2; j++) rank(l->s, l->part[j], l->order, l->ranks[j]);
    return hti_correlation(l->s, l->ranks[0], l->ranks[1]);
}

static double over_queries(const hti_lds *l, int64_t resample, uint64_t seed, bool ranked)
{
    double sum = 0;
    for (int64_t i = 0; i < l->m; i++) {
        int64_t k = resample < 0 ? i
                                 : ht_random_below(seed, 2 * (uint64_t)resample + 1,
                                                   (uint64_t)i, l->m);
        sum += query(l, k, resample, seed, ranked);
    }
    return sum / (double)l->m;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The 2.5th and 97.5th of a hundred of those that are numbers. */
static void interval(const hti_lds *l, int resamples, uint64_t seed, ht_lds *to)
{
    int n = 0;
    to->low = to->high = (double)NAN;
    for (int r = 0; r < resamples; r++) {
        double mean = over_queries(l, r, seed, true);
        if (!isnan(mean)) l->means[n++] = mean;
    }
    if (!n) return;
    qsort(l->means, (size_t)n, sizeof *l->means, ascending);
    to->low = l->means[(int)(0.025 * (n - 1))];
    to->high = l->means[(int)ceil(0.975 * (n - 1))];
}

/* What scores foretell of each subset, and what became of it, by query. */
static void lds_fill(const hti_lds *l, int64_t n, const double *scores,
                     const uint8_t *left_out, const double *changes)
{
    for (int64_t k = 0; k < l->m; k++)
        for (int64_t j = 0; j < l->s; j++) {
            double sum = 0;
            for (int64_t i = 0; i < n; i++)
                if (left_out[j * n + i]) sum += scores[k * n + i];
            l->foretold[k * l->s + j] = sum;
            l->found[k * l->s + j] = changes[j * l->m + k];
        }
}

static bool lds_fits(const ht_tensor *scores, const ht_tensor *left_out,
                     const ht_tensor *changes, int resamples)
{
    ht_shape a = ht_tensor_shape(scores), b = ht_tensor_shape(left_out),
             c = ht_tensor_shape(changes);
    bool forms = a.rank == 2 && b.rank == 2 && c.rank == 2 && a.dim[1] == b.dim[1] &&
                 b.dim[0] == c.dim[0] && c.dim[1] == a.dim[0];
    bool types = ht_tensor_dtype(scores) == HT_F64 &&
                 ht_tensor_dtype(left_out) == HT_U8 && ht_tensor_dtype(changes) == HT_F64;
    return (forms && types && resamples >= 0) ||
           ht_context_fail(
               ht_tensor_context(scores), HT_ERROR_SHAPE, NULL,
               "ht_influence_lds: expected scores (m, n) f64, left_out (s, n) "
               "u8, changes (s, m) f64 and resamples of 0 or more (%d)",
               resamples) == HT_OK;
}

ht_lds ht_influence_lds(const ht_tensor *scores, const ht_tensor *left_out,
                        const ht_tensor *changes, int resamples, uint64_t seed)
{
    static const char who[] = "ht_influence_lds";
    const double none = (double)NAN;
    ht_lds found = {none, none, none, none};
    HT_ASSERT(scores && left_out && changes, "%s: scores %p, left_out %p, changes %p",
              who, (const void *)scores, (const void *)left_out, (const void *)changes);
    HTI_ALIVE(scores, who, "tensor");
    HTI_ALIVE(left_out, who, "tensor");
    HTI_ALIVE(changes, who, "tensor");
    if (!lds_fits(scores, left_out, changes, resamples)) return found;
    ht_context *ctx = ht_tensor_context(scores);
    ht_shape form = ht_tensor_shape(scores);
    hti_lds l = {.m = form.dim[0], .s = ht_tensor_shape(changes).dim[0]};
    size_t s = (size_t)l.s, table = (size_t)l.m * s,
           bytes = (2 * table + 4 * s + (size_t)resamples) * sizeof(double) +
                   s * sizeof(place);
    unsigned char *at = hti_resize(ctx, NULL, 0, bytes), *memory = at;
    if (!at) return found;
    l.order = (place *)(void *)at;
    l.foretold = (double *)(void *)(at + s * sizeof(place));
    l.found = l.foretold + table;
    for (int j = 0; j < 2; j++) {
        l.part[j] = l.found + table + (size_t)j * s;
        l.ranks[j] = l.part[j] + 2 * s;
    }
    l.means = l.found + table + 4 * s;
    lds_fill(&l, form.dim[1], ht_tensor_data(scores), ht_tensor_data(left_out),
             ht_tensor_data(changes));
    found.mean = over_queries(&l, -1, seed, true);
    found.pearson = over_queries(&l, -1, seed, false);
    interval(&l, resamples, seed, &found);
    hti_resize(ctx, memory, bytes, 0);
    return found;
}
