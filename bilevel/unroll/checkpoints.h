/* SPDX-License-Identifier: MIT */
/* checkpoints.h: which states of a training run are kept, and what is computed again.
 *
 * A schedule is a generator of actions; it knows nothing of tensors. The engine that
 * obeys it holds two states, `current` and `after`, and checkpoints in numbered slots.
 * Begin with state 0 as current and do what hti_schedule_next says until HTI_DONE. A
 * state is never changed in place: a step reads one block and writes another, so saving
 * and loading move pointers, and slots + 3 blocks serve every schedule (slots, after, and
 * two that an advance writes in turn). Read next: checkpoints.c, then the engine. */
#ifndef HTI_SCHEDULE_H
#define HTI_SCHEDULE_H

#include "bilevel_internal.h"

typedef enum hti_action_kind {
    HTI_ADVANCE, /* run steps step .. to-1; current becomes state `to` */
    HTI_SAVE,    /* pin current (state `step`) in the free slot `slot` */
    HTI_LOAD,    /* current = the state in `slot` (state `step`) */
    HTI_DROP,    /* `slot` is free again; current and after stay what they are */
    HTI_OUTER,   /* current is the last state `step`: outer loss and gradient. From here
                  * after is that state, and current the one before it, which the advance
                  * just read (it is not always in a slot) */
    HTI_REVERSE, /* current is state `step`, after is state step+1: run the derivative of
                  * the step. From here after is state `step`, and current is undefined */
    /* Of a run in segments. */
    HTI_STORE,  /* write current (state `step`) to the free place `slot` */
    HTI_FETCH,  /* current = the state in the place `slot` (state `step`) */
    HTI_VACATE, /* the place `slot` is free again */
    HTI_MARK,   /* a segment is reversed: after is state `step`, current is undefined */
    HTI_DONE
} hti_action_kind;

/* Fields an action does not use are 0. */
typedef struct hti_action {
    hti_action_kind kind;
    int64_t step, to, slot;
} hti_action;

typedef struct hti_schedule hti_schedule;

/* Owned. The derivatives of steps first .. last-1 in reverse order, by at most `slots`
 * checkpoints; steps 0 .. first-1 are run and forgotten. Needs 0 <= first < last <=
 * HTI_MAX_STEPS and hti_schedule_slots(kind, last - first) <= slots, or the program
 * stops. NULL without memory. */
hti_schedule *hti_schedule_new(ht_context *ctx, ht_schedule kind, int64_t first,
                               int64_t last, int64_t slots);
void hti_schedule_free(hti_schedule *schedule); /* NULL: nothing */
/* Back to the first action. */
void hti_schedule_reset(hti_schedule *schedule);
/* The same slots for other steps, beginning at state `first`, which is current: no more
 * of them than fit. Not outer: state `last` is `after`, and its cotangents are known. */
void hti_schedule_begin(hti_schedule *schedule, int64_t first, int64_t last, bool outer);
/* The next action; HTI_DONE for ever once the sweep is over. All slots are free then. No
 * memory; O(log n) time at most. */
hti_action hti_schedule_next(hti_schedule *schedule);

/* Slots without which n steps cannot be reversed: n, about 2 sqrt(n), and 1 for revolve,
 * which makes use of any more, up to n - 1. */
int64_t hti_schedule_slots(ht_schedule kind, int64_t n);
/* Steps a sweep over n advances, the last one included. slots matters to revolve only. */
int64_t hti_schedule_forward_steps(ht_schedule kind, int64_t n, int64_t slots);
/* The most steps that revolve reverses by so many slots, running none more often than
 * this; 2^30 if that is less. */
int64_t hti_revolve_most(int64_t slots, int64_t repeats);
/* Of the n steps, those that revolve reverses from a state in a slot, which it advanced
 * from: what was kept beside the state serves them. */
int64_t hti_revolve_from_slots(int64_t n, int64_t slots);
/* What hti_schedule_new takes. */
size_t hti_schedule_bytes(int64_t slots);
/* Where it stands, as HTI_SCHEDULE_NUMBERS and a number a slot: out of it, or into it. */
enum { HTI_SCHEDULE_NUMBERS = 5 };
void hti_schedule_move(hti_schedule *schedule, int64_t *numbers, bool out);
/* The newest slot, if it holds current, else -1. */
int64_t hti_schedule_slot(const hti_schedule *schedule);

/* levels.c: revolve over two levels of memory. The steps are cut into segments of
 * choice.segment; the first states of segments are checkpoints of one revolve, in places
 * on disk, and each segment is reversed by a schedule of its own, in slots. */

/* Of steps first .. last-1, by a choice; false without memory. */
bool hti_plan_open(ht_context *ctx, hti_plan *plan, hti_choice choice, int64_t first,
                   int64_t last);
void hti_plan_close(hti_plan *plan);
void hti_plan_reset(hti_plan *plan);
hti_action hti_plan_next(hti_plan *plan);
/* To where `segments` stands by the numbers of hti_schedule_move; the place whose state
 * is current there, -1: there is none. */
void hti_plan_resume(hti_plan *plan, int64_t *numbers);
int64_t hti_plan_stands_at(const hti_plan *plan);
size_t hti_plan_bytes(hti_choice choice);
/* Steps a sweep over n advances; of the n, those that are reversed from a state in a
 * slot; and the states that are written to disk and read. */
int64_t hti_plan_forward_steps(hti_choice choice, int64_t n);
int64_t hti_plan_from_slots(hti_choice choice, int64_t n);
int64_t hti_plan_stored(hti_choice choice, int64_t n);
static inline int64_t hti_segments(hti_choice choice, int64_t n)
{
    return choice.segment ? (n + choice.segment - 1) / choice.segment : 1;
}

#endif
