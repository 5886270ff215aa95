/* SPDX-License-Identifier: MIT */
/* stats.c: means, correlations of ranks, and their 95 % intervals. Read next: stats.h. */
#include "stats.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "hypertape.h"

enum { RESAMPLES = 2000, SEED = 1 };
#define NORMAL 1.96 /* Student's t of many */

/* Student's t at 97.5 %, of 1 .. 10 degrees of freedom. */
static const double student[] = {0,     12.706, 4.303, 3.182, 2.776, 2.571,
                                 2.447, 2.365,  2.306, 2.262, 2.228};

estimate stats_mean(int n, const double *x)
{
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++) mean += x[i] / n;
    for (int i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
    if (n < 2) return (estimate){mean, (double)NAN, (double)NAN};
    double t = n <= 11 ? student[n - 1] : NORMAL;
    double half = t * sqrt(square / (n - 1) / n);
    return (estimate){mean, mean - half, mean + half};
}

double stats_pearson(int n, const double *x, const double *y)
{
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (int i = 0; i < n; i++) mx += x[i] / n, my += y[i] / n;
    for (int i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    return xy / sqrt(xx * yy);
}

static double *room(int n)
{
    double *x = calloc((size_t)n, sizeof *x);
    HT_ASSERT(x, "no memory for %d numbers", n);
    return x;
}

/* Those that are equal share the mean of their ranks. n is small: by counting. */
static double *ranks(int n, const double *x)
{
    double *rank = room(n);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            rank[i] += x[j] < x[i] ? 1 : x[j] > x[i] || j == i ? 0 : 0.5;
    return rank;
}

double stats_spearman(int n, const double *x, const double *y)
{
    double *rx = ranks(n, x), *ry = ranks(n, y);
    double is = stats_pearson(n, rx, ry);
    free(rx);
    free(ry);
    return is;
}

double stats_partial(int n, const double *x, const double *y, const double *z)
{
    double xy = stats_spearman(n, x, y), xz = stats_spearman(n, x, z),
           yz = stats_spearman(n, y, z);
    return (xy - xz * yz) / sqrt((1 - xz * xz) * (1 - yz * yz));
}

static double correlate(int n, const double *x, const double *y, const double *z)
{
    return z ? stats_partial(n, x, y, z) : stats_spearman(n, x, y);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Resamples in which all are alike have no correlation, and are left out. */
static estimate resampled(int n, const double *x, const double *y, const double *z)
{
    double *of = room(RESAMPLES), *drawn[3];
    const double *from[3] = {x, y, z};
    int count = 0;
    for (int k = 0; k < 3; k++) drawn[k] = room(n);
    for (int r = 0; r < RESAMPLES; r++) {
        for (int i = 0; i < n; i++) {
            int64_t j = ht_random_below(SEED, (uint64_t)r, (uint64_t)i, n);
            for (int k = 0; k < 3; k++)
                if (from[k]) drawn[k][i] = from[k][j];
        }
        double is = correlate(n, drawn[0], drawn[1], z ? drawn[2] : NULL);
        if (isfinite(is)) of[count++] = is;
    }
    qsort(of, (size_t)count, sizeof *of, ascending);
    estimate e = {correlate(n, x, y, z), (double)NAN, (double)NAN};
    if (count > RESAMPLES / 2) {
        e.low = of[(int)(0.025 * count)];
        e.high = of[(int)(0.975 * count)];
    }
    for (int k = 0; k < 3; k++) free(drawn[k]);
    free(of);
    return e;
}

estimate stats_spearman_interval(int n, const double *x, const double *y)
{
    return resampled(n, x, y, NULL);
}

estimate stats_partial_interval(int n, const double *x, const double *y, const double *z)
{
    return resampled(n, x, y, z);
}

const char *stats_text(estimate e, char buffer[STATS_TEXT])
{
    if (isnan(e.low))
        snprintf(buffer, STATS_TEXT, "%.3f", e.is);
    else
        snprintf(buffer, STATS_TEXT, "%.3f (%.3f to %.3f)", e.is, e.low, e.high);
    return buffer;
}
