/* SPDX-License-Identifier: MIT */
/* signature.h: what each program of a bilevel reads and writes, in order. The recorder
 * cuts a program by its signature and a run points it at memory by the same one, so that
 * no order is said twice. Read next: signature.c. */
#ifndef HTI_SIGNATURE_H
#define HTI_SIGNATURE_H

#include "ht_bilevel.h"

/* One variable for each tensor of a set, or a single one. Among what a program reads
 * theta and s are those a step starts from, among what it writes those it makes; the same
 * holds for cotangents, tangents and sums. */
typedef enum hti_operand {
    HTI_END, /* of a list */
    HTI_THETA,
    HTI_STATE,
    HTI_ETA,
    HTI_BATCH,
    HTI_OUTER_BATCH,
    HTI_STEP,           /* 0-d i32 */
    HTI_NEXT_THETA,     /* what the step made, where a derivative reads it */
    HTI_NEXT_STATE,     /* likewise */
    HTI_THETA_GRADIENT, /* of a loss */
    HTI_ETA_GRADIENT,
    HTI_THETA_COTANGENT,
    HTI_STATE_COTANGENT,
    HTI_ETA_COTANGENT, /* dF/d eta so far, those parts that the program adds to */
    HTI_THETA_TANGENT,
    HTI_STATE_TANGENT,
    HTI_ETA_TANGENT,
    HTI_PRODUCTS, /* matrix products that a step and its reverse share */
    HTI_LOSS,     /* 0-d, or of m outer losses */
    HTI_PICK,     /* which of m outer losses is derived, as their cotangent; or absent */
    HTI_SQUARE,   /* of the norm that problem.tolerance is for; 0-d f64, or absent */
    HTI_SPEEDS,   /* rate and momentum of each parameter that trains, f64 */
    HTI_OPERANDS
} hti_operand;

typedef enum hti_call_kind {
    HTI_INITIAL,
    HTI_INITIAL_REVERSE,
    HTI_INITIAL_TANGENT,
    HTI_FORWARD,
    HTI_FORWARD_KEPT,
    HTI_REVERSE_STEP,
    HTI_REVERSE_KEPT,
    HTI_TANGENT,
    HTI_OUTER_LOSS,
    HTI_INNER_LOSS,
    HTI_RESIDUAL,
    HTI_INNER_GRADIENT,
    HTI_DESCENT,
    HTI_SPEEDS_NOW,
    HTI_PRODUCT,
    HTI_TRANSPOSED,
    HTI_MIXED,
    HTI_CALLS, /* the two that follow are emitted into others, never run */
    HTI_UPDATE = HTI_CALLS,
    HTI_UPDATE_VJP,
    HTI_SIGNATURES
} hti_call_kind;

enum { HTI_SIGNATURE_IN = 12, HTI_SIGNATURE_OUT = 5 }; /* with their HTI_END */

typedef struct hti_signature {
    const char *title;  /* of ht_bilevel_print */
    ht_bad_where where; /* what a value that is not finite belongs to */
    hti_operand in[HTI_SIGNATURE_IN], out[HTI_SIGNATURE_OUT];
} hti_signature;

extern const hti_signature hti_signatures[HTI_SIGNATURES];

/* The set an operand has a variable for each tensor of; NULL: it is not one of a set. */
const ht_set *hti_operand_set(const ht_bilevel *b, hti_operand operand);
/* Variables of an operand, absent ones included. */
int hti_operand_count(const ht_bilevel *b, hti_operand operand);

#endif
