/* SPDX-License-Identifier: MIT */
/* science.h: what was not settled about hypergradients, asked by one command each and
 * answered with seeds and intervals. A question is a row of the table in science.c and a
 * file of its own here; its protocol stood in ../SCIENCE.md before its results.
 * Read next: science.c, study.h (trainings), stats.h. */
#ifndef SCIENCE_H
#define SCIENCE_H

#include <stdbool.h>

enum { SCIENCE_MOST = 99 }; /* seeds */

/* How it was asked. */
typedef struct science_run {
    int seeds, first; /* first, first + 1, .. */
    bool quick;       /* sizes that say nothing but that the program runs: some seconds */
} science_run;

/* The questions. Each prints its tables to stdout, and progress to stderr. False: could
 * not run, and has said why. */
bool science_gate(const science_run *run);
bool science_dropout(const science_run *run);
bool science_relu(const science_run *run);
bool science_cosine(const science_run *run);
bool science_hypergradients(const science_run *run);
bool science_eps_root(const science_run *run);
bool science_precision(const science_run *run);

/* Says on stderr how far a question is, with the CPU seconds so far. */
void science_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
