/* SPDX-License-Identifier: MIT */
/* update_check.h: a check of an update rule: trainings of a few steps as functions of all
 * they depend on. Read next: update_check.c, update_check_slopes.c. */
#ifndef HTI_UPDATE_CHECK_H
#define HTI_UPDATE_CHECK_H

#include "nn_internal.h"

enum { HTI_CHECK_STEPS = 4, HTI_CHECK_OWN = HTI_FIELDS };

/* What a training depends on, tensors of one set in this order. */
typedef enum hti_check_part {
    HTI_AT_W,
    HTI_AT_STATE,
    HTI_AT_ETA,
    HTI_AT_G,
    HTI_PARTS
} hti_check_part;

typedef struct hti_rule_check {
    ht_context *ctx; /* of its own */
    FILE *report;
    const char *rule;
    ht_update fixed, outer;      /* its numbers as they are, and all as outer variables */
    ht_set *theta, *state, *eta; /* f64; eta: the user's, then the numbers */
    int n_users;                 /* tensors of eta that are the user's */
    /* Values of all these, and gradients by steps: "w.<name>", "s.<name>", "eta.<name>",
     * "g<step>.<name>". */
    ht_set *point;
    int first[HTI_PARTS + 1]; /* where a part of `point` begins */
    ht_set *end;              /* theta and state, as a training ends */
    bool ok;
} hti_rule_check;

/* A training from the first step `start` on, by the variables of `point`: what it ends
 * with, in `end`'s order. */
void hti_check_unroll(const hti_rule_check *c, const ht_update *u, const ht_vars *point,
                      int start, ht_var *end);
/* It run eagerly at `point`, to `end`. False after an error. */
bool hti_check_run(const hti_rule_check *c, const ht_update *u, const ht_set *point,
                   int start, ht_set *end);
/* The value of x, if there is one. */
void hti_check_take(ht_tensor *to, ht_var x);
/* A line of the report; `ok` again. */
bool hti_check_line(hti_rule_check *c, bool ok, const char *what);
/* A sentence under it. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void
hti_check_say(const hti_rule_check *c, const char *format, ...);
/* Derivatives of the end by all of `point`. */
void hti_check_slopes(hti_rule_check *c);

#endif
