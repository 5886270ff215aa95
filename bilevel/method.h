/* SPDX-License-Identifier: MIT */
/* method.h: a bilevel method is a row, as an op is. What is the same for all (the
 * problem, the training, memory, results) asks the row and never which method it is. Read
 * next: unroll/methods.c, the first three rows; method.c, the table. */
#ifndef HTI_METHOD_H
#define HTI_METHOD_H

#include "signature.h"

typedef struct hti_recorder hti_recorder; /* record/record.h */

/* A schedule, its slots, and how many products are kept beside the states in them; and
 * of a run in segments their steps, and how many of their first states have a place on
 * disk (0: it is one segment, and no disk is used). */
typedef struct hti_choice {
    ht_schedule schedule;
    int level;
    int64_t slots, segment, places;
} hti_choice;

/* What a choice takes of the one allocation, beside what slots and programs do. */
typedef struct hti_room {
    int64_t blocks; /* of (theta, s): every state there is at one time */
    int cotangents; /* buffers of that size, 1 or 2; the first holds dF/d theta */
    size_t own;     /* bytes of the method's own, at b->memory.own */
} hti_room;

typedef struct hti_method {
    ht_method kind;
    const char *name; /* of the kind, in messages */
    /* What the method becomes where the Hessian may not be symmetric; NULL: itself. */
    const struct hti_method *otherwise;
    /* Whether states are kept by a schedule; else the schedule is HT_SCHEDULE_NONE. */
    bool keeps_states;
    bool solves;        /* whether it solves a linear system, by those options */
    bool many;          /* whether it differentiates many outer losses at once */
    bool ends_early;    /* whether problem.tolerance may end the training */
    int64_t last_steps; /* that are differentiated; 0: options.truncate says it */
    /* Whether these options go with the method and with each other; else an error that
     * names both. */
    bool (*fits)(ht_context *ctx, const ht_bilevel_options *options);
    /* What a training runs with for an update's momentum; NULL: itself. */
    ht_var (*momentum)(ht_var momentum);
    /* Cuts the derivative of the initial values; of the step, and ends by hti_choose_all
     * or hti_record_end. The recorder's tape holds them. */
    bool (*record_initial)(hti_recorder *r);
    bool (*record)(hti_recorder *r);
    hti_room (*room)(const ht_bilevel *b, hti_choice choice);
    /* Keeps the error that not even the least choice fits the budget. */
    void (*refuse)(const ht_bilevel *b, const ht_bilevel_options *options);
    /* One inner training, as hti_train; NULL: that. */
    bool (*train)(ht_bilevel *b);
    /* The same and its hypergradient, to b->run.result and the result sets. */
    bool (*run)(ht_bilevel *b, uint64_t outer_step);
    /* What a result says of how it was come by, by hti_note. */
    void (*explain)(ht_bilevel *b);
    /* And of the run at hand; NULL: nothing. */
    void (*explain_run)(ht_bilevel *b);
    /* How a run goes about it, a line or two, for ht_bilevel_explain. */
    void (*tell)(const ht_bilevel *b, FILE *f);
    uint8_t follows; /* of HTI_BY_...: the ways it differentiates; 0: all */
} hti_method;

/* All rows: hti_method_reverse and so on. */
#define HTI_METHODS(X) \
    X(reverse)         \
    X(reverse_reverse) \
    X(forward) X(truncated) X(one_step) X(implicit) X(first_order) X(reversible)
#define HTI_DECLARE(row) extern const hti_method hti_method_##row;
HTI_METHODS(HTI_DECLARE)

/* The row these options ask for; as ht_bilevel_new, by a row. */
const hti_method *hti_method_of(const ht_bilevel_options *options);
ht_bilevel *hti_bilevel_new(ht_context *ctx, const hti_method *method,
                            const ht_bilevel_problem *problem,
                            const ht_bilevel_options *options);
const hti_method *hti_method_row(ht_method kind);

/* record/: what a row may name as its record_initial and record. */
bool hti_record_initial_reverse(hti_recorder *r);
bool hti_record_initial_tangent(hti_recorder *r);
bool hti_record_mixed(hti_recorder *r); /* or the next, by `otherwise` */
bool hti_record_reverse_twice(hti_recorder *r);
bool hti_record_tangent(hti_recorder *r);
bool hti_record_second(hti_recorder *r);
bool hti_record_first_order(hti_recorder *r);
bool hti_record_products(hti_recorder *r);  /* of it, without the training */
bool hti_record_gradients(hti_recorder *r); /* first derivatives alone */
bool hti_record_reversible(hti_recorder *r);
ht_var hti_momentum_ratio(ht_var momentum); /* the fraction that integers take */
/* And of what a row's own is made: a program by its signature, of what is on the tape, as
 * a call; and the end, where no products can be kept. */
bool hti_cut_call(hti_recorder *r, hti_call_kind kind);
bool hti_record_end(hti_recorder *r);

/* unroll/choose.c: schedule, slots and products within the budget, said before anything
 * large is taken. First what would be taken without one, which needs the last level
 * alone; false without an error: too much. Then by all levels. */
bool hti_choose_all(ht_bilevel *b, const ht_bilevel_options *options);
bool hti_choose(ht_bilevel *b, const ht_bilevel_options *options);
/* For `refuse` of a method of one choice: the budget is too small for `what`, and what it
 * would need. */
void hti_refuse(const ht_bilevel *b, const ht_bilevel_options *options, const char *what);

#endif
