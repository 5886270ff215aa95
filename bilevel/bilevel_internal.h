/* SPDX-License-Identifier: MIT */
/* bilevel_internal.h: what a bilevel is made of: recorded programs, then memory, then
 * runs. Read next: record.c, memory.c, bilevel.c. */
#ifndef HTI_BILEVEL_INTERNAL_H
#define HTI_BILEVEL_INTERNAL_H

#include "ht_bilevel.h"
#include "nn_internal.h"
#include "program.h"

enum { HTI_NOTE = 800, HTI_LEVELS = 32 };
#define HTI_GROWTH_SAID 1e6 /* of the derivative */

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

/* What the logged pair takes that keeps the first `kept` products; none: no pair. */
typedef struct hti_level {
    int kept;
    size_t bytes;  /* of both calls, beside their arena */
    size_t arena;  /* the larger of the two */
    size_t peak;   /* of recording, the pair being cut */
    bool over_all; /* of the reverse call */
} hti_level;

/* What is known only while a bilevel is made. */
typedef struct hti_planning {
    size_t base, own_bytes;          /* live before it; its own before any program */
    hti_level level[HTI_LEVELS + 1]; /* from no products to all: what can be chosen */
    int n_level;
} hti_planning;

static inline size_t hti_log_room(const hti_log *log)
{
    return hti_round_up(hti_bytes(log->type.dtype, log->type.shape), HTI_ALIGN);
}

/* How much larger than the smallest before it a cotangent (tangent) of theta became. */
typedef struct hti_growth {
    double least, factor;
    int64_t least_step, from, to; /* states, 0 .. T */
} hti_growth;

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

typedef struct hti_schedule hti_schedule; /* unroll/checkpoints.h */
enum { HTI_MAX_STEPS = 1 << 30 };

struct ht_bilevel {
    ht_context *ctx;
    ht_bilevel_problem problem;
    ht_method method;
    ht_schedule schedule;
    int64_t first, slots;   /* steps first .. T-1 are differentiated */
    char note[HTI_NOTE];    /* of its making, then of the last run */
    size_t note_made;       /* length of the first part */
    const char *asymmetric; /* an op for which mixed mode was given up; NULL: none */
    hti_planning *planning; /* NULL once it is made */

    /* Sets of the problem, and those it does not have (empty). */
    ht_set *theta, *eta, *inner_data, *outer_data, *empty;
    hti_loan loan[HTI_ROLES];
    ht_set *state;                              /* the update rule's, zeros */
    ht_set *gradient, *gradient_theta0, *final; /* results */

    hti_call call[HTI_CALLS];
    bool *summed, *initial_summed; /* which eta reverse (initial_reverse) adds to */
    bool *init_alone;              /* which eta only the initial value depends on */
    hti_log *log; /* products that could be kept, most flops to a byte first */
    int n_log;
    int n_kept; /* how many of them are, beside the states in slots */

    /* Memory: one allocation. A block holds (theta, s) of one step. */
    unsigned char *memory;
    size_t memory_bytes, block_bytes, log_bytes;
    size_t recorded_peak; /* the most while recording */
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
    int64_t batch_step;  /* what inner_data holds; -1: nothing yet */
    uint32_t batch_fill; /* inner_data->fills then: another fill since, and it is gone */
    double loss;         /* a program's 0-d output, either float type */
    double started;
    bool running;
    bool evaluating; /* no gradient: nothing is kept */
    bool watch;      /* look for the first non-finite value */
    hti_growth growth;
    ht_bilevel_result result;
};

/* bilevel.c: whether every set has as many tensors as programs and pointer lists were
 * made for; else an error kept, which says where one grew. Asked after each callback. */
bool hti_sets_hold(const ht_bilevel *b, const char *where);

/* coordinate.c: whether a sigmoid has an open range of finite width; other kinds do. */
bool hti_coordinate_bounded(const ht_coordinate *c);

/* record.c: the callbacks on tapes, derived and cut into programs. What is chosen is,
 * while the step stands on its tape, so that nothing is recorded twice. */
bool hti_bilevel_record(ht_bilevel *b, const ht_bilevel_options *options);
void hti_call_free(ht_context *ctx, hti_call *call);

/* A schedule, its slots, and how many products are kept beside the states in them. */
typedef struct hti_choice {
    ht_schedule schedule;
    int64_t slots;
    int level;
} hti_choice;

/* choose.c: schedule, slots and products within the budget, said before anything large is
 * taken. First what would be taken without one, which needs the last level alone; false
 * without an error: too much. Then by all levels. */
bool hti_bilevel_choose_all(ht_bilevel *b, const ht_bilevel_options *options);
bool hti_bilevel_choose(ht_bilevel *b, const ht_bilevel_options *options);

/* memory.c: the peak of what a choice would take, exactly; and the one allocation. */
size_t hti_choice_bytes(const ht_bilevel *b, hti_choice c);
/* Without what recording takes, which is the same for all. */
size_t hti_choice_lasting(const ht_bilevel *b, hti_choice c);
/* Every state a run differentiates from is kept. */
bool hti_stores_all(const ht_bilevel *b, hti_choice c);
/* Bytes of a call and its program. */
size_t hti_call_bytes(const hti_call *call);
bool hti_bilevel_allocate(ht_bilevel *b);
void hti_bilevel_release(ht_bilevel *b);
/* Bytes of a set's tensors, each rounded so that the next is aligned. */
size_t hti_set_room(const ht_set *set);

/* unroll/sweep.c: a whole run, and pieces both directions use. False after an error. */
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

/* note.c: notes on the bilevel as it was made, and after those on the last run. */
void hti_note_made(ht_bilevel *b);
void hti_note_run(ht_bilevel *b);
/* The largest |x| of a set's tensors, or of the like of them at `data`, NaN if there is
 * one; whether to look at it after so many
 * steps of the sweep, as seldom as costs nothing; and what it was at the state `step`. */
double hti_largest(const ht_set *set, void *const *data);
bool hti_growth_due(const ht_bilevel *b, int64_t steps);
void hti_growth_look(ht_bilevel *b, double size, int64_t step);

/* slope.c: whether `slope` is f's at 0, within `least`. WRONG only where differences of
 * several steps, forward and backward, agree on another. */
typedef enum hti_verdict { HTI_RIGHT, HTI_UNDECIDED, HTI_WRONG } hti_verdict;
typedef struct hti_judgement {
    hti_verdict verdict;
    double off; /* of the differences that decided, from slope */
    /* Of what is undecided: differences settle to no slope, or to these two. */
    enum { HTI_UNSETTLED, HTI_KINK } why;
    double forward, backward;
} hti_judgement;
typedef double (*hti_slope_fn)(double h, void *user);
hti_judgement hti_judge_slope(hti_slope_fn f, void *user, double slope, double least);

/* forward.c: tangents instead of cotangents, one per element of eta. */
size_t hti_forward_bytes(const ht_bilevel *b);
bool hti_forward_run(ht_bilevel *b, uint64_t outer_step);

#endif
