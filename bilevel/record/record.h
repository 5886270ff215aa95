/* SPDX-License-Identifier: MIT */
/* record.h: what the two recording files share. Read next: record.c. */
#ifndef HTI_RECORD_H
#define HTI_RECORD_H

#include "bilevel_internal.h"

/* What recording shares. Lists of variables live in their tape's memory. */
typedef struct hti_recorder {
    ht_bilevel *b;
    int n_theta, n_state, n_eta;
    ht_program *update; /* theta s eta step g -> theta' s' */
    ht_program
        *update_vjp; /* theta s eta step g theta' s' cotangents -> the present parts of */
    bool *present;   /* theta s eta g: which have a cotangent */
    bool *eta_reached, *theta_reached;
    bool mixed;
    const ht_bilevel_options *options;
} hti_recorder;

/* One tape with the leaves every step program has. */
typedef struct hti_stage {
    ht_tape *tape;
    ht_var *theta, *state, *eta, *natural, *batch, step;
    ht_vars *theta_vars, *state_vars, *eta_vars, *batch_vars;
} hti_stage;

/* n times HT_ZERO, in the tape's memory. */
ht_var *hti_vars_list(ht_tape *tape, int n);
/* Leaves of a set's types; of theta's and then the state's. */
ht_var *hti_leaves(ht_tape *tape, const ht_set *set);
ht_var *hti_state_leaves(const ht_bilevel *b, ht_tape *tape);
/* Copies list `from` to *to and moves on. */
void hti_push(ht_var **to, const ht_var *from, int n);
/* x, or zeros of tensor i's type where it is absent. */
ht_var hti_zero_filled(ht_tape *tape, ht_var x, const ht_set *set, int i);
/* A tape with leaves for theta, state, eta, batch and step. False after an error; the
 * tape is the caller's to free either way. */
bool hti_stage_open(hti_stage *s, const ht_bilevel *b, const ht_set *batch);
/* A program as a call: its pointer lists are made here, once. */
bool hti_cut_call(ht_bilevel *b, hti_call *call, ht_tape *tape, const ht_var *in,
                  const ht_var *in_end, const ht_var *out, const ht_var *out_end);
/* A loss as the callback gave it: 0-d and float, or an error. */
bool hti_loss_valid(ht_bilevel *b, ht_tape *tape, ht_var loss, const char *which);
/* Adds each present part of d to its sum, listed from `end` on; what is absent is neither
 * read nor written. */
ht_var *hti_push_sums(int n, const ht_var *sum, const ht_var *d, bool *summed,
                      ht_var *end);
/* Whether every outer variable and parameter reaches something; else an error. */
bool hti_all_reached(const hti_recorder *r);
/* step.c: the inner step, its derivative, and its inner loss. */
bool hti_record_step(hti_recorder *r);

#endif
