/* SPDX-License-Identifier: MIT */
/* outer.h: an outer run at hand, and what its files share. Read next: minimize.c. */
#ifndef HTI_OUTER_H
#define HTI_OUTER_H

#include "bilevel_internal.h"

enum { HTI_NORMS = 9, HTI_NORMS_LEAST = 3, HTI_IN_A_ROW = 3 };
#define HTI_GUARD_GROWTH 1e3

/* What of a run is numbers, all of which are saved, under these names. step: done;
 * updates: of eta; unimproved, in_a_row: steps since one was better, or not refused;
 * n_norms: followed so far; gradient: the last norm; start: of the next inner training,
 * and whether one was committed. */
/* clang-format off */
#define HTI_OUTER_NUMBERS(X) \
    X(step) X(updates) X(outer) X(best) X(best_step) X(unimproved) X(refused) \
    X(clipped) X(in_a_row) X(n_norms) X(gradient) X(inner_steps) X(start) X(begun)
/* clang-format on */
#define HTI_NUMBER(name) double name;
typedef struct hti_numbers {
    HTI_OUTER_NUMBERS(HTI_NUMBER)
    double norm[HTI_NORMS]; /* a ring */
} hti_numbers;

typedef struct hti_outer {
    ht_bilevel *b;
    ht_context *ctx;
    const ht_outer_options *o;
    ht_optimizer *optimizer; /* of eta */
    hti_numbers at;
    ht_outer_step now;
    bool repeated; /* the step gave the numbers of the one before, which was refused */
    ht_set *file;  /* of `save`: memory for all of it; NULL: not saved */
    ht_set *run, *rule; /* of it: numbers, and one tensor whose name is the rule's */
    struct hti_newton *newton; /* NULL: an update rule moves eta */
    FILE *log;
} hti_outer;

/* guard.c: |x| over all of a set. What is done with the gradient at hand, whose norm is
 * known; one that is clipped is shortened where it lies. */
double hti_set_norm(const ht_set *set);
ht_outer_did hti_guard(hti_outer *r);
/* The sentence at hand: why a step was refused, and why the run ended. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
const char *
hti_outer_say(hti_outer *r, const char *format, ...);

/* state.c: false after an error. */
bool hti_outer_open_state(hti_outer *r); /* and goes on from what the file holds */
bool hti_outer_save(hti_outer *r);
void hti_outer_close_state(hti_outer *r);

/* newton.c: false after an error. eta to where F is lower, or REFUSED. */
bool hti_newton_open(hti_outer *r);
bool hti_newton_move(hti_outer *r, ht_outer_did *did);
void hti_newton_close(hti_outer *r);

/* log.c */
bool hti_outer_open_log(hti_outer *r);
bool hti_outer_log(hti_outer *r);
bool hti_outer_close_log(hti_outer *r);

#endif
