/* SPDX-License-Identifier: MIT */
/* record.h: what the recording files share: the tape at hand, and on it the variables of
 * each operand, of which any program is cut by its signature. Read next: record.c. */
#ifndef HTI_RECORD_H
#define HTI_RECORD_H

#include "bilevel_internal.h"

/* Lists of variables live in the tape's memory. */
struct hti_recorder {
    ht_bilevel *b;
    const ht_bilevel_options *options;
    int n_theta, n_state, n_eta;
    ht_program *update, *update_vjp;
    bool *present; /* of what update_vjp could give: theta s eta g */
    bool *eta_reached, *theta_reached;
    ht_var *descent;        /* of a step: what the rule descends, by parameter */
    const char *asymmetric; /* an op of the inner loss; NULL: its Hessian is symmetric */

    ht_tape *tape;
    ht_var *in[HTI_OPERANDS];             /* as a program reads them */
    ht_var *out[HTI_OPERANDS];            /* as it makes them; HT_ZERO: an absent part */
    ht_vars *theta, *state, *eta, *batch; /* as the callbacks see them */
    ht_var *joint; /* of a step: d inner / d (theta, eta), absent parts HT_ZERO */
};

#define HTI_LIST(...) ((const hti_operand[]){__VA_ARGS__, HTI_END})

/* recorder.c */

/* A tape with leaves for theta, s, eta, batch (HTI_END: none), side by side, and step.
 * False after an error; hti_tape_close either way. */
bool hti_tape_open(hti_recorder *r, hti_operand batch);
void hti_tape_close(hti_recorder *r);
/* n times HT_ZERO, in the tape's memory. */
ht_var *hti_vars_list(ht_tape *tape, int n);
/* Operands side by side in one list, which is theirs: leaves, to be read; HT_ZERO, to be
 * made. */
ht_var *hti_leaves(hti_recorder *r, const hti_operand *operands);
ht_var *hti_made(hti_recorder *r, const hti_operand *operands);
/* The variables of a set, as a callback sees them. */
ht_vars *hti_vars_of(hti_recorder *r, hti_operand operand, const ht_var *var);
/* One list of the operands, as read (r->in) or made (r->out), in order, without absent
 * parts; and its length. */
ht_var *hti_list(hti_recorder *r, ht_var *const *from, const hti_operand *operands,
                 int *n);
/* Zeros of their tensors' types for an operand's absent parts. */
void hti_fill_zeros(hti_recorder *r, hti_operand operand);
/* d eta's present parts, each added to the sum so far; which they are to summed. */
void hti_add_sums(hti_recorder *r, ht_var *d, bool *summed);
/* d of what the losses (or results) y depend on, by the cotangents v, to `d` and
 * `reached`, in the order of the operands. */
bool hti_derive(hti_recorder *r, int n_y, const ht_var *y, const ht_var *v,
                const hti_operand *by, ht_var *d, bool *reached);
/* The program of a signature, from the operands at hand. */
ht_program *hti_cut_program(hti_recorder *r, hti_call_kind kind);
/* Notes what a loss depends on, theta before eta; the latter stand in `by`. */
void hti_join_reached(hti_recorder *r, const bool *reached, uint8_t by);
/* A loss as the callback gave it: 0-d and float, or an outer one of m; else an error. */
bool hti_loss_valid(hti_recorder *r, ht_var loss, bool outer);
/* Whether it depends on theta, the inner one on a part that trains; else an error. */
bool hti_loss_reads(hti_recorder *r, ht_var loss, const bool *reached, bool inner);
/* Notes which parts that train the inner loss does not depend on. */
void hti_note_idle(hti_recorder *r, const bool *reached);

/* initial.c: the parts of a problem outside the step. */
bool hti_record_update(hti_recorder *r);
bool hti_record_initial(hti_recorder *r);
bool hti_record_outer(hti_recorder *r);

/* step.c: the inner step and its inner loss, on the tape for the method's record. */
bool hti_record_step(hti_recorder *r);
/* The reverse of the step, by mixed mode where that may be, to `out`'s cotangents. */
bool hti_derive_step(hti_recorder *r);
/* What is 0 where the training has ended, by parameter, to `descent`: what the rule
 * descends, where that is all the step does; else the step itself. */
bool hti_record_descent(hti_recorder *r);

/* products.c: the reverse of the step, alone; forward and reverse, and both again with as
 * many products kept as are chosen. */
bool hti_cut_reverse_alone(hti_recorder *r);
bool hti_cut_reverse(hti_recorder *r);

#endif
