/* SPDX-License-Identifier: MIT */
/* bilevel_internal.h: what a bilevel is made of: the problem, its programs, their memory,
 * and the run at hand. Read next: method.h, bilevel.c. */
#ifndef HTI_BILEVEL_INTERNAL_H
#define HTI_BILEVEL_INTERNAL_H

#include "engine_graph.h"
#include "ht_bilevel.h"
#include "method.h"
#include "nn_internal.h"

enum { HTI_NOTE = 800, HTI_LEVELS = 32, HTI_MAX_STEPS = 1 << 30 };
enum { HTI_NO_BLOCK = -1, HTI_NO_SLOT = -1 };
#define HTI_GROWTH_SAID 1e6 /* of the derivative */

/* The problem. */

/* The sets a bilevel borrows; the last is the empty one callbacks get for data that is
 * NULL. */
typedef enum hti_role {
    HTI_LENT_THETA,
    HTI_LENT_ETA,
    HTI_LENT_INNER_DATA,
    HTI_LENT_OUTER_DATA,
    HTI_LENT_EMPTY,
    HTI_ROLES
} hti_role;

typedef struct hti_problem {
    ht_bilevel_problem asked; /* for its callbacks; what batches are filled into */
    int64_t steps, first;     /* steps first .. steps-1 are differentiated */
    /* Steps of the training that were committed, and whether its state (theta's set and
     * `state`) is one to go on from: then init is over. horizon: steps in all, if outer
     * values are looked up by step; else unlimited. */
    int64_t start, horizon;
    bool begun;
    int64_t batches_from; /* added to the steps that inner_batch alone is given */
    ht_set *theta, *eta, *inner_data, *outer_data; /* borrowed; no data: empty */
    hti_loan loan[HTI_ROLES];
    ht_set *empty; /* owned, as are the rest */
    /* The update rule's state: that a run starts from (`initial` until it has begun,
     * whatever the set holds), and that the last run ended with, one set until it has
     * begun; and the rule's initial values, NULL: zeros. */
    ht_set *state, *ended, *initial;
    ht_set *gradient, *gradient_theta0, *final; /* results */
    /* Of m outer losses: results with a leading axis m, their values (m), and what the
     * program gives and takes for them, of the losses' type. m = 0: there is one, and
     * `gradient` and `gradient_theta0` are results. */
    int64_t outers;
    ht_set *many, *many_theta0;
    double *outer_value;
    void *outer_loss, *outer_pick;
    size_t outer_bytes;
    ht_set *best; /* eta in an outer run; NULL before the first */
    /* Where a run begins that goes on where the last one ended: theta, and "v" with
     * "begun", 0 before the first one. NULL: each begins afresh. */
    ht_set *warm_theta, *warm;
} hti_problem;

/* The programs. */

/* What of a problem an outer variable stands in. */
enum { HTI_BY_INIT = 1, HTI_BY_INNER = 2, HTI_BY_UPDATE = 4, HTI_BY_OUTER = 8 };

/* The lists of pointers a program is given, allocated once. */
typedef struct hti_call {
    ht_program *program;
    void **in, **out;
    int n_in, n_out;
    bool *over; /* which of its first results may be written over what it read */
    bool over_all;
} hti_call;

/* A product, or a sum, of the step that its reverse needs too. */
typedef struct hti_product {
    ht_type type;
    double flops;  /* of a sum: 0 */
    uint32_t node; /* while recording */
    bool sum;
} hti_product;

typedef struct hti_programs {
    hti_call call[HTI_CALLS];
    bool *trained; /* which theta follow the update rule; the others stay */
    /* Of the second derivative: of a whole step, not of the loss; and whether it is
     * symmetric. */
    bool whole_step, symmetric;
    bool *summed, *initial_summed; /* which eta reverse (initial reverse) adds to */
    bool *init_alone;              /* which eta only the initial value depends on */
    uint8_t *reach;                /* by what each eta does, HTI_BY_... */
    hti_product *product;          /* that could be kept, most worth it first */
    int n_products;
    int n_kept; /* how many of them are, beside the states in slots */
    /* Of HT_REVERSIBLE: layers of remainders there is room for, by parameter that trains;
     * else NULL. */
    int64_t *layers;
    const char *asymmetric; /* an op for which mixed mode was given up; NULL: none */
} hti_programs;

/* What the pair of programs takes that keeps the first `kept` products; none: no pair. */
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

/* Memory. */

typedef struct hti_schedule hti_schedule; /* unroll/checkpoints.h */
typedef struct hti_disk hti_disk;         /* unroll/disk.h */

/* A sweep's schedule: `steps` reverses them, of one segment at a time, and `segments`
 * says which. NULL: all is one segment. */
typedef struct hti_plan {
    hti_schedule *steps, *segments;
    int64_t first, last, length; /* steps first .. last-1 in segments of `length` */
    bool ahead;                  /* steps 0 .. first-1 are yet to be run */
    bool inside;                 /* a segment is being reversed */
} hti_plan;

/* One allocation. A block holds (theta, s) of one step. */
typedef struct hti_memory {
    hti_choice choice;
    int64_t n_blocks;
    unsigned char *allocation;
    size_t bytes, block_bytes, product_bytes;
    size_t recorded_peak;   /* the most while recording */
    size_t allocated_bytes; /* live after ht_bilevel_new */
    unsigned char *blocks, *products, *cotangents[2], *arena, *own;
    int32_t *references; /* to each block */
    int64_t *free_block, n_free;
    hti_plan plan;   /* all zero: no states are kept */
    hti_disk *disk;  /* NULL: none is used */
    int64_t *pinned; /* block of each slot */
    bool *kept;      /* whether a slot's products are: its state has been advanced from */
} hti_memory;

/* The run at hand. */

/* How much larger than the smallest before it a cotangent (tangent) of theta became. */
typedef struct hti_growth {
    double least, factor;
    int64_t least_step, from, to; /* states, 0 .. T */
} hti_growth;

typedef struct hti_run {
    int64_t current, before, after; /* blocks; before: what the last step read */
    int64_t which;                  /* of many outer losses */
    int64_t slot;                   /* of current; HTI_NO_SLOT: it is in none */
    void **cotangent;    /* of theta and s: where each is, in either of two buffers */
    void **back;         /* and its place in the other one, which the next may take */
    int64_t batch_step;  /* what inner_data holds; -1: nothing yet */
    uint32_t batch_fill; /* inner_data->fills then: another fill since, and it is gone */
    int32_t step;
    uint64_t outer_step; /* of the last run */
    double loss;         /* a program's 0-d output, either float type */
    double square;       /* the last step's HTI_SQUARE */
    int64_t last;        /* the step whose batch the inner loss sees */
    double *speeds;      /* the step's HTI_SPEEDS */
    int64_t left;        /* where integers no longer hold the training; -1: nowhere */
    double started;
    /* Of a linear system: how its solving ended, and what the outer loss would change
     * by if the training went on to its end. */
    int solver_end;
    double drift;
    bool running;
    bool evaluating; /* no gradient: nothing is kept */
    bool ended;      /* the last one did, without an error, and is not committed */
    bool watch;      /* look for the first non-finite value */
    hti_growth growth;
    ht_bilevel_result result;
} hti_run;

struct ht_bilevel {
    hti_owned owned;
    ht_context *ctx;
    const hti_method *method;
    ht_bilevel_options options;
    hti_problem problem;
    hti_programs programs;
    hti_memory memory;
    hti_run run;
    ht_bilevel *twice;               /* of twice the steps; NULL: not compared */
    struct hti_tasks *tasks;         /* NULL: there is one */
    struct hti_curvature *curvature; /* for ht_bilevel_hvp; NULL before the first */
    hti_planning *planning;          /* NULL once it is made */
    char *why; /* an outer run ended: HTI_NOTE bytes; NULL before the first */
    bool minimizing;
    char note[HTI_NOTE]; /* of its making, then of the last run */
    size_t note_made;    /* length of the first part */
};

/* problem.c: what is refused (method NULL: there is none of that kind); what is
 * borrowed, owned and given back. */
bool hti_problem_valid(ht_context *ctx, const hti_method *method,
                       const ht_bilevel_problem *p, const ht_bilevel_options *o);
#define HTI_REFUSED(ctx, status, ...) \
    (ht_context_fail(ctx, status, NULL, "bilevel: " __VA_ARGS__) == HT_OK)
/* Steps that an outer scalar a step has elements for. */
static inline int64_t hti_horizon(const ht_bilevel_problem *p)
{
    return p->horizon ? p->horizon : p->steps;
}
/* Whether a training ends where its whole step has a fixed point, which need not be where
 * what the rule descends is 0. */
bool hti_whole_step(const ht_bilevel_problem *p);
/* Elements of theta that train; of all the rule's state. */
int64_t hti_trained_elements(const ht_bilevel *b);
bool hti_problem_open(ht_bilevel *b, const ht_bilevel_problem *p, int64_t truncate);
/* Room for m outer losses, each of this type. */
bool hti_outers_open(ht_bilevel *b, int64_t m, ht_dtype dtype);
/* The set dF/d eta is a result in. */
static inline ht_set *hti_gradient(const ht_bilevel *b)
{
    return b->problem.outers ? b->problem.many : b->problem.gradient;
}
/* Where a tensor of the gradient set is: its own memory, or of many losses the part of
 * the one at hand. */
static inline void *hti_gradient_at(const ht_bilevel *b, const ht_set *many, int j)
{
    const ht_tensor *t = many->tensor[j];
    size_t part = ht_tensor_bytes(t) / (size_t)b->problem.outers;
    return (unsigned char *)t->array.data + (size_t)b->run.which * part;
}
/* Room for what the next run begins from, if options.warm asks for it. */
bool hti_warm_open(ht_bilevel *b);
void hti_problem_close(ht_bilevel *b);
/* Goes on from theta's set and `state`, which the caller fills, after `start` steps.
 * False, and nothing is changed, after an error. */
bool hti_state_begin(ht_bilevel *b, int64_t start);
/* Whether there is room for the best eta of an outer run; else an error. */
bool hti_best_open(ht_bilevel *b);
/* Whether outer values have an element for every step of the next run; else an error. */
bool hti_within_horizon(const ht_bilevel *b);
/* Whether v, which messages call `who`, has eta's names, types and shapes; else an error.
 */
bool hti_like_eta(const ht_bilevel *b, const ht_set *v, const char *who);
/* Whether every set has as many tensors as programs and pointer lists were made for; else
 * an error kept, which says where one grew. Asked after each callback. */
bool hti_sets_hold(const ht_bilevel *b, const char *where);

/* coordinate.c: whether a sigmoid has an open range of finite width; other kinds do. */
bool hti_coordinate_bounded(const ht_coordinate *c);

/* record/: the callbacks on tapes, derived and cut into programs. What is chosen is while
 * the step stands on its tape, so that no callback is called again. */
bool hti_record(ht_bilevel *b, const ht_bilevel_options *options);

/* The next part of memory; of a method's own, at `own` from *at on (NULL: for its size
 * alone). */
static inline unsigned char *hti_carve(unsigned char **at, size_t bytes)
{
    unsigned char *part = *at;
    *at += hti_round_up(bytes, HTI_ALIGN);
    return part;
}
static inline void *hti_carve_own(unsigned char *own, size_t *at, size_t bytes)
{
    unsigned char *part = own ? own + *at : NULL;
    *at += hti_round_up(bytes, HTI_ALIGN);
    return part;
}

/* worker.c: a bilevel on a context and sets of its own. An error of its making or of its
 * runs stays on its context until hti_worker_error passes it on as "<what> <k>". */
typedef struct hti_worker {
    ht_context *ctx;
    ht_set *set[4]; /* theta, eta, inner and outer data; one that stands twice, once */
    ht_bilevel *bilevel;
    ht_bilevel_result result;
} hti_worker;
/* Its sets begin as the problem's stand. False: not even a context. */
bool hti_worker_open(ht_context *ctx, hti_worker *w, const hti_method *method,
                     ht_bilevel_problem p, const ht_bilevel_options *o);
void hti_worker_close(hti_worker *w);
bool hti_worker_error(ht_context *ctx, const hti_worker *w, const char *what, int64_t k);
/* Its sets become what the bilevel's are, where no callback fills them. */
void hti_worker_refresh(const hti_worker *w, const ht_bilevel *b);

/* tasks.c: false after an error. Bytes: of all contexts together, at most. */
bool hti_tasks_open(ht_bilevel *b, const ht_bilevel_problem *p,
                    const ht_bilevel_options *options);
void hti_tasks_close(ht_bilevel *b);
size_t hti_tasks_bytes(const ht_bilevel *b);
/* What other contexts than the bilevel's hold of it; how many tasks there are, or 0. */
size_t hti_tasks_beside(const ht_bilevel *b);
int hti_tasks_count(const ht_bilevel *b);
/* Where each task's theta_T is put by runs from here on, one after the other; NULL:
 * nowhere. */
void hti_tasks_keep(ht_bilevel *b, double *theta);
ht_bilevel_result hti_tasks_run(ht_bilevel *b, uint64_t outer_step, bool evaluating);
/* compare.c */
bool hti_compare_open(ht_bilevel *b, const ht_bilevel_problem *problem,
                      const ht_bilevel_options *options);
void hti_compare_run(ht_bilevel *b, uint64_t outer_step, ht_bilevel_result *result);
/* bilevel.c: of the one training: what it takes at most, its end (NULL: nothing), and a
 * run or an evaluation. */
size_t hti_bilevel_bytes(const ht_bilevel *b);
void hti_bilevel_free(ht_bilevel *b);
ht_bilevel_result hti_run_whole(ht_bilevel *b, uint64_t outer_step, bool evaluating);

/* record/tangent.c: the program of a kind with its derivative: it reads tangents behind
 * what has them, and writes those of its results behind them. */
bool hti_record_tangents(ht_bilevel *b, hti_call_kind kind, hti_call *to);
bool hti_has_tangent(hti_operand operand);

/* unroll/curvature.c: of ht_bilevel_hvp. */
void hti_curvature_free(ht_bilevel *b);

/* unroll/memory.c: the one allocation. */
bool hti_memory_allocate(ht_bilevel *b);
void hti_memory_release(ht_bilevel *b);

/* call.c: what a call takes, its program included. */
void hti_call_free(ht_context *ctx, hti_call *call);
size_t hti_call_bytes(const hti_call *call);
/* Bytes of a set's tensors, each rounded so that the next is aligned; of a product. */
size_t hti_set_bytes(const ht_set *set);
static inline size_t hti_product_bytes(const hti_product *product)
{
    return hti_round_up(hti_bytes(product->type.dtype, product->type.shape), HTI_ALIGN);
}

/* Where a program's operands are that the bilevel does not know: a buffer for the
 * tensors of a set, in order, and of theta's for the state's behind them; NULL: the set's
 * own. */
typedef struct hti_places {
    unsigned char *in[HTI_OPERANDS], *out[HTI_OPERANDS];
} hti_places;
/* Points a call at what it reads or writes; runs it, a value that is not finite being of
 * `step`; both. False after an error. */
void hti_point_in(ht_bilevel *b, hti_call_kind kind, const hti_places *at);
void hti_point_out(ht_bilevel *b, hti_call_kind kind, const hti_places *at);
bool hti_replay(ht_bilevel *b, hti_call_kind kind, int64_t step);
bool hti_run_call(ht_bilevel *b, hti_call_kind kind, const hti_places *at, int64_t step);
/* Where each of a set's tensors is in a buffer of them all, which moves past them. */
void **hti_point_buffer(void **to, const ht_set *set, unsigned char **buffer);

/* training.c: an inner training and its pieces. False after an error. */
bool hti_evaluate_run(ht_bilevel *b, uint64_t outer_step);
/* From the initial values to theta_T, which is current; it may end early. */
bool hti_train(ht_bilevel *b);
static inline bool hti_ends_early(const ht_bilevel *b)
{
    return b->problem.asked.tolerance > 0;
}
double hti_seconds(void);
unsigned char *hti_block(const ht_bilevel *b, int64_t block);
/* One that nothing refers to; there is one. */
int64_t hti_block_take(ht_bilevel *b);
/* *place refers to block instead of what it did. */
void hti_block_move(ht_bilevel *b, int64_t *place, int64_t block);
/* Cotangents of every loss are 0, in the first buffer: where a sweep back begins. */
void hti_cotangents_clear(ht_bilevel *b);
bool hti_run_initial(ht_bilevel *b);
bool hti_run_step(ht_bilevel *b, int64_t step);
bool hti_run_losses(ht_bilevel *b, uint64_t outer_step);
/* Runs a loss; its value, whichever float type it has, to *value. */
bool hti_run_loss(ht_bilevel *b, hti_call_kind kind, const hti_places *at, int64_t step,
                  double *value);
/* The batch and the number of the step it reads. */
bool hti_enter_outer(ht_bilevel *b, uint64_t outer_step);
/* The outer loss at theta in a block, as the above leaves it. */
bool hti_run_outer(ht_bilevel *b, unsigned char *theta, uint64_t outer_step,
                   double *value);
/* The batch and the number of a step of the run, as programs read them. */
bool hti_enter_step(ht_bilevel *b, int64_t step);

/* call.c: how many of an operand's variables a program of this kind reads or writes:
 * those of eta's cotangent that it adds to, else all. */
int hti_program_operands(const ht_bilevel *b, hti_call_kind kind, hti_operand operand);
/* Flops of a step's program, or of its reverse's. */
double hti_step_flops(const ht_bilevel *b, bool reverse);

/* note.c: notes on the bilevel as it was made, and after those on the last run. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void hti_note(ht_bilevel *b, const char *format, ...);
/* Which outer variables the start of the training alone depends on. */
void hti_note_init_alone(ht_bilevel *b);
void hti_note_made(ht_bilevel *b);
void hti_note_run(ht_bilevel *b);
/* The largest |x| of a set's tensors, or of the like of them at `data`, NaN if there is
 * one; whether to look at it after so many steps of the sweep, as seldom as costs
 * nothing; and what it was at the state `step`. */
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

/* lds.c: Pearson's, of n pairs. */
double hti_correlation(int64_t n, const double *x, const double *y);

#endif
