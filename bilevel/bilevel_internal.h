/* SPDX-License-Identifier: MIT */
/* bilevel_internal.h: what a bilevel is made of: recorded programs, then memory, then
 * runs. Read next: record.c, memory.c, bilevel.c. */
#ifndef HTI_BILEVEL_INTERNAL_H
#define HTI_BILEVEL_INTERNAL_H

#include "ht_bilevel.h"
#include "nn_internal.h"
#include "program_internal.h"
#include "schedule.h"

enum { HTI_NOTE = 200 };

/* The lists of pointers a program is given, laid out once; what changes from step to step
 * is set by place. */
typedef struct hti_call {
    ht_program *program;
    void **in, **out;
    int n_in, n_out;
    bool *over; /* theta and s, or their cotangents: which may be written over */
    bool over_all;
} hti_call;

/* The programs of a bilevel. Inputs and outputs in this order; sums are the parts of eta
 * the program adds to. */
typedef enum hti_call_kind {
    HTI_INITIAL,         /* eta theta              -> theta0 */
    HTI_INITIAL_REVERSE, /* eta theta cotangents(theta0) sums -> sums */
    HTI_INITIAL_TANGENT, /* eta theta tangents(eta) -> tangents(theta0) */
    HTI_FORWARD,         /* theta s eta batch step -> theta' s' */
    HTI_FORWARD_LOGGED,  /*                        -> theta' s' logs */
    HTI_REVERSE_STEP,    /* theta s eta batch step theta' s' cotangents sums -> cotangents
                            sums */
    HTI_REVERSE_LOGGED,  /* ... logs               -> cotangents sums */
    HTI_TANGENT, /* theta s eta batch step tangents(theta s eta) -> tangents(theta' s') */
    HTI_OUTER_LOSS, /* theta eta batch step   -> F dF/dtheta dF/deta */
    HTI_INNER_LOSS, /* theta eta batch step   -> inner loss */
    HTI_CALLS
} hti_call_kind;

/* A product of the step that its reverse needs too. */
typedef struct hti_log {
    ht_type type;
    double flops;
    uint32_t node; /* while recording */
} hti_log;

static inline size_t hti_log_room(const hti_log *log)
{
    return hti_round_up(hti_bytes(log->type.dtype, log->type.shape), HTI_ALIGN);
}

/* The sets a bilevel borrows; the last is the empty one callbacks get for data that is
 * NULL. */
typedef enum hti_role {
    HTI_THETA,
    HTI_ETA,
    HTI_INNER_DATA,
    HTI_OUTER_DATA,
    HTI_EMPTY,
    HTI_ROLES
} hti_role;

struct ht_bilevel {
    ht_context *ctx;
    ht_bilevel_problem problem;
    ht_method method;
    ht_schedule schedule;
    int64_t first, slots; /* steps first .. T-1 are differentiated */
    char note[HTI_NOTE];

    /* Sets of the problem, and those it does not have (empty). */
    ht_set *theta, *eta, *inner_data, *outer_data, *empty;
    hti_loan loan[HTI_ROLES];
    bool refill;   /* outer_batch fills the set that inner_data is, too */
    ht_set *state; /* the update rule's, zeros */
    ht_set *gradient, *gradient_theta0, *final; /* results */

    hti_call call[HTI_CALLS];
    bool *summed, *initial_summed; /* which eta reverse (initial_reverse) adds to */
    hti_log *log; /* products that could be kept, most flops to a byte first */
    int n_log;
    int n_cut;  /* how many of them the logged programs take */
    int n_kept; /* and this bilevel keeps, beside the states in slots */

    /* Memory: one allocation. A block holds (theta, s) of one step. */
    unsigned char *memory;
    size_t memory_bytes, block_bytes, log_bytes;
    size_t recorded_bytes,
        recorded_peak; /* live after recording, and the most during it */
    size_t allocated_bytes,
        predicted_bytes; /* live after ht_bilevel_new; and their peak */
    int64_t n_blocks;
    unsigned char *blocks, *logs, *room[2], *arena, *tangents;
    int32_t *references; /* to each block */
    int64_t *free_block, n_free;
    hti_schedule *plan;
    int64_t *pinned; /* block of each slot */
    bool *kept;      /* whether a slot's products are: its state has been advanced from */

    /* The run at hand. */
    int64_t current, before, after; /* blocks; before: what the last step read */
    void **cotangent,
        **spare;  /* of theta and s, in the two rooms: where each is, and is not */
    int64_t slot; /* of current; HTI_NO_SLOT: it is in none */
    int32_t step;
    int64_t batch_step; /* what inner_data holds; -1: nothing yet */
    double loss;        /* a program's 0-d output, either float type */
    double started;
    bool running;
    bool evaluating; /* no gradient: nothing is kept */
    bool watch;      /* look for the first non-finite value */
    ht_bilevel_result result;
};

/* bilevel.c: whether every set has as many tensors as programs and pointer lists were
 * made for; else an error kept, which says where one grew. Asked after each callback. */
bool hti_sets_hold(const ht_bilevel *b, const char *where);

/* record.c: the callbacks on tapes, derived and cut into programs, the logged ones with
 * the first `kept` products there are. May be called again. */
bool hti_bilevel_record(ht_bilevel *b, int kept);
void hti_call_free(ht_context *ctx, hti_call *call);

/* memory.c: schedule, slots and how many products are kept, at most `kept`, within the
 * budget, said before anything large is taken; then the one allocation. */
bool hti_bilevel_choose(ht_bilevel *b, const ht_bilevel_options *options, int kept);
/* Whether that holds of the programs as they were cut. */
bool hti_bilevel_fits(const ht_bilevel *b, const ht_bilevel_options *options);
bool hti_bilevel_allocate(ht_bilevel *b);
void hti_bilevel_release(ht_bilevel *b);
/* Bytes of a set's tensors, each rounded so that the next is aligned. */
size_t hti_set_room(const ht_set *set);

/* run.c: a whole run, and pieces both directions use. False after an error. */
bool hti_reverse_run(ht_bilevel *b, uint64_t outer_step);
bool hti_evaluate_run(ht_bilevel *b, uint64_t outer_step);
double hti_seconds(void);
unsigned char *hti_block(const ht_bilevel *b, int64_t block);
bool hti_run_initial(ht_bilevel *b);
bool hti_run_step(ht_bilevel *b, int64_t step);
bool hti_run_losses(ht_bilevel *b, uint64_t outer_step, unsigned char *gradient_theta);
bool hti_run_call(ht_bilevel *b, hti_call *call, int64_t step);
bool hti_fill_inner(ht_bilevel *b, int64_t step);
/* Fill a program's pointer list from `to` on, and return the place after. */
void **hti_point_set(void **to, const ht_set *set);
void **hti_point_room(void **to, const ht_set *set, unsigned char *memory);
void **hti_point_block(const ht_bilevel *b, void **to, unsigned char *block);

/* forward.c: tangents instead of cotangents, one per element of eta. */
size_t hti_forward_bytes(const ht_bilevel *b);
bool hti_forward_run(ht_bilevel *b, uint64_t outer_step);

#endif
