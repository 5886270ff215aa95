/* SPDX-License-Identifier: MIT */
/* mutation.h: a rule made wrong on purpose, to see that the checks notice. Places are
 * what the rule emits and returns, counted from 0 for each kind. Read next:
 * mutation.c. */
#ifndef HTI_MUTATION_H
#define HTI_MUTATION_H

#include "ops.h"

typedef enum hti_mutation_kind {
    HTI_MUTATE_FLIP, /* the sign of an emitted or returned value */
    HTI_MUTATE_DROP, /* a term of a sum, or a returned value */
    HTI_MUTATE_SWAP, /* the inputs of an emitted op, or of the rule */
    HTI_MUTATIONS
} hti_mutation_kind;

typedef struct hti_mutation {
    hti_hook hook;   /* the first: what a tape points to */
    const ht_op *op; /* whose rule */
    bool jvp;        /* else vjp */
    hti_mutation_kind kind;
    int place;                      /* -1: none, only look */
    int seen[HTI_MUTATIONS];        /* places come to in the rule's present call */
    uint64_t places[HTI_MUTATIONS]; /* bit k: in some call place k could be changed */
} hti_mutation;

/* Its hook, made to call the rules of this file. */
hti_hook *hti_mutation_hook(hti_mutation *m);

#endif
