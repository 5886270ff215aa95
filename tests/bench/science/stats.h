/* SPDX-License-Identifier: MIT */
/* stats.h: means, correlations of ranks, and their 95 % intervals. Read next: stats.c. */
#ifndef SCIENCE_STATS_H
#define SCIENCE_STATS_H

#include <stdint.h>

/* A figure and its interval of 95 %; NaN where there is none. */
typedef struct estimate {
    double is, low, high;
} estimate;

/* The mean over seeds, with the interval of Student's t: NaN ends of one seed. */
estimate stats_mean(int n, const double *x);
double stats_pearson(int n, const double *x, const double *y);
double stats_spearman(int n, const double *x, const double *y);
/* Spearman's correlation of x and y given z: of the ranks, (xy - xz yz) / sqrt((1 - xz^2)
 * (1 - yz^2)). */
double stats_partial(int n, const double *x, const double *y, const double *z);
/* The same two with the 2.5th and 97.5th of a hundred of 2,000 resamples of the n. */
estimate stats_spearman_interval(int n, const double *x, const double *y);
estimate stats_partial_interval(int n, const double *x, const double *y, const double *z);
/* "0.913 (0.88 to 0.94)" to buffer, which is returned; without ends the figure alone. */
enum { STATS_TEXT = 48 };
const char *stats_text(estimate e, char buffer[STATS_TEXT]);

#endif
