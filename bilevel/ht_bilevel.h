/* SPDX-License-Identifier: MIT */
/* ht_bilevel.h: gradients of an outer loss through a whole inner training run.
 *
 *   theta_0            = init(eta)
 *   theta_t+1, s_t+1   = update(theta_t, s_t, d inner/d theta, eta)    t = 0 .. T-1
 *   wanted: dF/d eta, the total derivative of F = outer(theta_T, eta)
 *
 * eta is anything: data weights, labels, penalties, learning rates, initial values. Read
 * next: bilevel/README.md. */
#ifndef HT_BILEVEL_H
#define HT_BILEVEL_H

#include "ht_nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A 0-d loss; of outer, also m losses at once, (m): see ht_bilevel_result. Recorded
 * when a bilevel is made, not called in runs: it must be a function of its variables
 * alone, written in ops. user is the problem's. */
typedef ht_var (*ht_loss_fn)(const ht_vars *theta, const ht_vars *eta,
                             const ht_vars *batch, void *user);
/* Sets parameters with ht_vars_set; those it leaves stay as they are: initial ones as
 * theta stands, as `after` those of the update. Recorded as a loss is. */
typedef void (*ht_init_fn)(const ht_vars *eta, ht_vars *theta0, void *user);
/* Fills batch for a step: all of it that a loss reads. inner_batch is given 0 .. T-1, the
 * same in every run until ht_bilevel_commit, then T .. 2T-1, and so on: the training's
 * own count, which is the step that losses, rules and schedules see too. outer_batch is
 * given the run's outer_step. Called again, in any order, when a
 * step is computed again: a pure function of step, and of what does not change during a
 * run (for other inner batches in the next one: an offset in *user, ht_batch_order's
 * seed). A status other than HT_OK ends the run, and so does a tensor added to any of the
 * problem's sets. */
typedef ht_status (*ht_batch_fn)(uint64_t step, ht_set *batch, void *user);

/* How an outer variable is kept in eta. The callbacks and the update rule see the natural
 * value; eta, and the gradient, are in the coordinate u, which is free. */
typedef enum ht_coordinate_kind {
    HT_IDENTITY, /* value = u */
    HT_LOG,      /* value = exp(u), positive: fill values, then from_value (u = 0.1 is
                    the value 1.1, not 0.1) */
    HT_SIGMOID   /* value = low + (high - low) / (1 + exp(-u)) */
} ht_coordinate_kind;
/* One outer variable and its coordinate. */
typedef struct ht_coordinate {
    const char *outer; /* a name in eta */
    ht_coordinate_kind kind;
    double low, high; /* HT_SIGMOID: low < high */
} ht_coordinate;
/* Turns a tensor of values (f32 or f64) into coordinates in place, in one pass: ln x, or
 * ln((x - low) / (high - x)). A value outside the open range is HT_ERROR_ARGUMENT and
 * leaves x as it was. */
ht_status ht_coordinate_from_value(const ht_coordinate *coordinate, ht_tensor *x);
/* Turns coordinates into values, in one pass; one that x's dtype does not hold is that
 * error. */
ht_status ht_coordinate_to_value(const ht_coordinate *coordinate, ht_tensor *x);

/* What is trained, and judged. A borrowed set may change its values between runs, which
 * read them again, but not grow: a tensor added since, or by a callback, is an error of
 * ht_bilevel_new or of the run; freeing the set first stops the program (ht_set_free).
 * One set in two places:
 *   inner_data = outer_data  with both batch callbacks each fills it before its loss
 *                            reads it; with inner_batch alone the outer loss sees the
 *                            last step's batch; with outer_batch alone it is refused
 *   theta = eta              theta_0 is eta: the gradient holds that part as well
 *   theta or eta as data     refused: derivatives through a batch would be missing */
typedef struct ht_bilevel_problem {
    ht_loss_fn inner, outer;
    ht_init_fn init;                      /* NULL: theta as it stands */
    ht_set *theta, *eta;                  /* borrowed until ht_bilevel_free */
    ht_set *inner_data, *outer_data;      /* storage of one batch, borrowed; NULL: none */
    ht_batch_fn inner_batch, outer_batch; /* NULL: the data is the batch */
    ht_update update;
    int64_t steps;
    void *user;
    const ht_coordinate *coordinates; /* for those that are not HT_IDENTITY */
    int n_coordinates;
    /* A training that goes on where another ended: from theta as it stands, the rule's
     * state (of ht_bilevel_state; copied when the bilevel is made) and its steps so far,
     * as if committed; init is not used. NULL and 0: it begins. */
    const ht_set *state;
    int64_t start;
    /* Steps of the whole training, where runs are windows of it: what an outer scalar a
     * step has elements for. 0: steps. */
    int64_t horizon;
    /* A part of each step: theta as the update rule made it becomes what this sets, a
     * projection or a proximal map (ht_project_..., ht_soft_threshold). NULL: nothing. */
    ht_init_fn after;
    /* Many tasks and one eta (meta-learning): a training for each, from theta as init
     * makes it, with the batches its callbacks are given tasks[k] for in the place of
     * user; losses, init, after and schedules are recorded once, with tasks[0]. F is the
     * mean over tasks, and so is the gradient, the same bits by any number of threads;
     * result.outers has each task's F. options.at_once of them run side by side, each on
     * one thread with sets of its own: batch callbacks are called from several threads at
     * once, with other sets each. Borrowed until ht_bilevel_free. NULL, 0: user alone. */
    void *const *tasks;
    int n_tasks;
    /* The training ends at the first theta_t whose gradient's norm, over what trains, is
     * at most this; steps are then the most there may be. The gradient is what the rule
     * descends, d inner + decay theta; with `after`, or a rule that decays by itself, it
     * is the step, theta_t+1 - theta_t. 0: all steps. For HT_IMPLICIT alone: the others
     * differentiate steps whose number is known. */
    double tolerance;
} ht_bilevel_problem;

/* HT_REVERSE is mixed mode (Kemaev et al., MixFlow-MG, ICML 2025): the vjp of the update
 * gives the cotangent of the gradient, and one jvp of the joint gradient along it both
 * second-order terms. It needs a symmetric Hessian: where a stop_gradient or an op from
 * outside stands in the inner loss, HT_REVERSE_REVERSE is used and `note` says so.
 * HT_TRUNCATED differentiates the last `truncate` steps, HT_ONE_STEP the last one (Bolte,
 * Pauwels and Vaiter, NeurIPS 2023: near a fixed point of a step that contracts by rho it
 * is off by about rho of the whole). HT_IMPLICIT differentiates where the training ends,
 *   (d2L/d theta2 + damping) v = @F/@theta,
 *   dF/d eta = @F/@eta - (d2L/d eta d theta)^T v
 * at theta_T, L the inner loss on the last step's batch with what the update decays:
 * exact where dL/d theta is 0, in memory and time that do not grow with the steps. With
 * problem.after, or a rule that decays by itself, it is the fixed point of the whole step
 * Phi of (theta, s):
 *   (1 - dPhi/d(theta, s) + damping)^T v = @F/@theta,
 *   dF/d eta = @F/@eta + (dPhi/d eta)^T v
 * Rates and initial values, which no such point depends on, get 0. HT_FIRST_ORDER goes
 * back through the updates as if inner gradients were constants (first-order MAML): no
 * second derivative, and a bias to match. HT_FORWARD carries one
 * tangent per outer element: for few of them, memory independent of steps.
 *
 * HT_REVERSIBLE keeps no state but runs the training backwards: theta and the velocity s
 * of ht_momentum are integers, in units of a power of two, and
 *   s = momentum s + round(g);  theta = theta - round(rate s)
 * is undone in the same bits, as what momentum < 1 takes off s is kept (Maclaurin,
 * Duvenaud & Adams, ICML 2015): log2(1 / momentum) bits a parameter and step, which
 * ht_bilevel_bytes counts. Its training is HT_REVERSE's but for rounding, its gradient
 * that training's, by the same program. A unit is 2^-50 of the largest element a tensor
 * begins with, s of its first g, or of 1 if that is more. Past 4096 times that the
 * training has left its range, which is reported as one that is not finite (bad_step).
 * momentum, in 2^-16 .. 1, is the nearest fraction of a denominator up to 2^16, there and
 * back: 0.9 is 9/10, 0.99999 is 65535/65536 (result.note says where 1 - momentum changes
 * by more than 1e-3 of itself); the gradient by an outer one is the slope there.
 * An outer one, or one with a schedule, has room for a bit a step, as 1/2 takes; a
 * run that takes more is an error. All parameters follow ht_momentum, with clips and
 * decay if need be, or are frozen; another rule, after, tolerance, truncate, schedule and
 * slots are refused. It takes a gradient a step more than HT_REVERSE.
 *
 * HT_AUTO: HT_REVERSE. */
typedef enum ht_method {
    HT_AUTO,
    HT_REVERSE,
    HT_REVERSE_REVERSE,
    HT_FORWARD,
    HT_TRUNCATED,
    HT_ONE_STEP,
    HT_IMPLICIT,
    HT_FIRST_ORDER,
    HT_REVERSIBLE
} ht_method;
/* Which states are kept, and beside each matrix products of the step from it, as many as
 * the budget allows: all; about 2 sqrt(T), two-level; or so many slots, by binomial
 * checkpointing (revolve, Griewank & Walther 2000). All give the same bits. AUTO:
 * store-all if its states fit the budget, and as many products as then do; else revolve,
 * slots and products added from one slot on, whichever saves more flops to a byte. So
 * more budget never runs more steps, nor more flops, but where store-all's fewest steps
 * take the place of products. */
typedef enum ht_schedule {
    HT_SCHEDULE_AUTO,
    HT_STORE_ALL,
    HT_TWO_LEVEL,
    HT_REVOLVE,
    HT_SCHEDULE_NONE /* of a result in forward mode, which keeps no states */
} ht_schedule;
/* How HT_IMPLICIT solves its linear system A v = b. What it needs of A: HT_CG and
 * HT_NYSTROM a symmetric, positive (semi)definite Hessian; HT_NEUMANN, HT_FIXED_POINT a
 * rate by which 1 - rate A contracts (Neumann's is the series cut off, and ignores a warm
 * start); HT_NORMAL_CG and HT_GMRES any. AUTO: HT_CG where A is symmetric, else HT_GMRES.
 */
typedef enum ht_solver {
    HT_SOLVER_AUTO,
    HT_CG,
    HT_NORMAL_CG,
    HT_GMRES,
    HT_NEUMANN,
    HT_FIXED_POINT,
    HT_NYSTROM
} ht_solver;
/* All zero: HT_REVERSE of all steps, every state and product kept. */
typedef struct ht_bilevel_options {
    ht_method method;
    ht_schedule schedule;
    int64_t truncate; /* last K steps; 0: all */
    /* Of HT_TRUNCATED: each run also differentiates 2 K steps (a second bilevel, whose
     * bytes and time come to it), and note says how far the two gradients are apart: a
     * part of the bias, and about all of it where the training forgets geometrically. */
    bool compare;
    size_t bytes;  /* budget for ht_bilevel_bytes; 0: none */
    int64_t slots; /* of HT_REVOLVE, else an error; 0: from the budget */
    /* Of methods that sweep back, with bytes: a folder, made if need be, for states that
     * memory has no room for. The steps are reversed in segments, each begun from a state
     * on disk; there are as many as segments, or as disk_bytes hold, and then segments
     * are run again by revolve. Segment, slots and products are chosen by flops; where
     * all states fit bytes, no disk is used. The gradient has the same bits. A run that
     * was killed leaves its states: the next run of the same training, eta and options
     * goes on where it was, to the same result. Whether it is the same is told by sets,
     * programs with the numbers in them, and the first batch: other later batches, or
     * rates by a schedule of the caller's, are not seen. Not made for a machine that
     * loses power: what is damaged is noticed, and refused. One bilevel at a time may use
     * a folder; when it is freed, after a run that ended, its files go. */
    const char *disk;
    size_t disk_bytes; /* budget of its files; 0: none */
    int at_once;       /* of problem.tasks: how many run side by side; 0: as many as the
                         context has threads. bytes is the budget of each */
    /* Of HT_IMPLICIT; with another method they are an error. */
    ht_solver solver;
    int64_t solver_steps;    /* products with A at most; 0: 2 n + 20, of n unknowns,
                                1,000 at most (HT_NORMAL_CG twice, HT_NYSTROM rank more;
                                1,000 by series and fixed point) */
    double solver_tolerance; /* |b - A v| / |b|; 0: 1e-12, where theta has f32 1e-6 */
    double damping;          /* A + damping; 0: none, and exact where A is not singular */
    double solver_rate;      /* of HT_NEUMANN and HT_FIXED_POINT; 0: 1 for a whole step */
    int64_t rank;            /* of HT_NYSTROM; steps until HT_GMRES restarts, 0: 30 */
    bool no_bound;           /* error_bound stays NaN, and its solves are spared */
    bool warm; /* theta and v begin where the last run's ended, its state at zeros */
} ht_bilevel_options;

/* Where the first value that is not finite is. If the training has one it is that, in any
 * method; the outer loss and its gradient at theta_T come next; the derivative (a reverse
 * step, a tangent, the derivative of the initial value) only if all of those are finite.
 */
typedef enum ht_bad_where {
    HT_BAD_NONE,
    HT_BAD_TRAINING,
    HT_BAD_OUTER,
    HT_BAD_DERIVATIVE
} ht_bad_where;

/* What a run found, and how. */
typedef struct ht_bilevel_result {
    double outer, inner; /* F; the inner loss at theta_T on the last step's batch */
    /* Borrowed until the next run or evaluation, which leaves the gradient NaN. gradient:
     * dF/d eta, in coordinates, by name. gradient_theta0: dF/d theta_0; NULL when
     * truncated, in forward mode, implicit, or out of a reversible training's range.
     * theta: theta_T. */
    const ht_set *gradient, *gradient_theta0, *theta;
    /* Of an outer loss of shape (m): its m values, of which `outer` is the sum, else
     * NULL. The gradients then have a leading axis m. One training and its states serve
     * all, and each has the bits of a run of its own: m reverse sweeps in one, by m
     * cotangents. Methods that sweep back have it; a check, an outer run and
     * ht_bilevel_hvp take one loss. Borrowed as the sets are. */
    /* Of many tasks: F of each; theta and gradient_theta0 are NULL. */
    const double *outers;
    size_t predicted_bytes, peak_bytes;   /* before the run; the allocator's high water */
    int64_t forward_steps, reverse_steps; /* steps run, and derived */
    int64_t resumed_steps;          /* of these, by a run that was killed; options.disk */
    size_t disk_written, disk_read; /* bytes of states, by this run */
    double seconds, inner_seconds;  /* whole run; the first sweep from 0 to T */
    ht_method method;               /* the one used */
    ht_schedule schedule;           /* and its schedule */
    /* Borrowed until the next run; NULL if there is nothing to say. One sentence each on
     * parameters that train and that the inner loss does not depend on; a method that is
     * not the one asked for; truncation, which biases the gradient and
     * leaves 0 for what init alone uses; what is not finite, from where on; a
     * derivative that grows 10^6-fold or more along the steps. */
    const char *note;
    /* Of HT_IMPLICIT, else NaN and 0. inner_residual: the norm problem.tolerance is for,
     * at theta_T. solver_residual: |b - A v| / |b| of the v used; solver_steps: products
     * it took. error_bound: of |gradient - that of an exact solution|, by correcting
     * theta and v until what is left of both residuals cannot matter (as a rule two
     * solves more, at most eight, and no constants of the problem; after Ehrhardt &
     * Roberts, IMA J. Numer. Anal. 2024, with the correction's own size in the place of
     * Lipschitz constants); NaN: not known, as with damping. */
    double inner_residual, solver_residual, error_bound;
    int64_t solver_steps;
    int64_t start;          /* steps of the training before this run's first */
    int64_t inner_steps;    /* to theta_T: problem.steps, or fewer by its tolerance */
    double remainder_bits;  /* of HT_REVERSIBLE, kept by parameter and step; else 0 */
    int64_t bad_step;       /* first non-finite, -1 if none; steps: the outer loss; */
                            /* counted from start, as all steps here */
    const char *bad_op;     /* the op that made it; NULL if none */
    ht_bad_where bad_where; /* in training, in the outer loss or in the derivative */
} ht_bilevel_result;

typedef struct ht_bilevel ht_bilevel; /* a problem's programs and the memory of a run */
/* Records the callbacks, derives and plans the programs and takes all memory runs need.
 * Owned. Problem and options are copied; what they point to, but for the sets and user
 * (groups, coordinates, names), is read here and not later. NULL after an error: a budget
 * too small is HT_ERROR_MEMORY and says, to the byte, what each schedule needs; an
 * outer variable (or parameter) that reaches no loss, and a loss that does not depend on
 * theta, is HT_ERROR_NO_GRADIENT. */
ht_bilevel *ht_bilevel_new_at(ht_context *ctx, const ht_bilevel_problem *problem,
                              const ht_bilevel_options *options, const char *site);
#define ht_bilevel_new(...) ht_bilevel_new_at(__VA_ARGS__, HT_HERE)
void ht_bilevel_free(ht_bilevel *bilevel); /* frees it; NULL: nothing */
/* Predicted peak bytes of everything the bilevel asks of the allocator. */
size_t ht_bilevel_bytes(const ht_bilevel *bilevel);
/* One inner training from theta_0 and its hypergradient. outer_step is what outer_batch
 * and the outer loss (dropout) are given for `step`: as a rule the number of updates of
 * eta so far. theta and eta are read, not changed. Allocates nothing. Cost: about two
 * trainings where all states are kept, more where fewer are (forward_steps). Divergence
 * is a result (bad_step); an error leaves sets NULL. */
ht_bilevel_result ht_bilevel_run(ht_bilevel *bilevel, uint64_t outer_step);
/* The same training and outer loss without a gradient (gradient sets NULL): T steps. */
ht_bilevel_result ht_bilevel_evaluate(ht_bilevel *bilevel, uint64_t outer_step);
/* (d2F/d eta2) v, the derivative of the hypergradient along v, a set of eta's names,
 * types and shapes, in coordinates: a forward sweep through step and reverse programs
 * (Pearlmutter 1994, of the whole training), exact and symmetric to rounding. It is that
 * of the last run's outer_step. Borrowed until the next call of it or the bilevel's end;
 * result sets of the last run stay. HT_REVERSE and HT_REVERSE_REVERSE of all steps have
 * it, others are refused. Every state and its tangent are kept: the first call takes that
 * memory, which ht_bilevel_bytes counts from then on, and costs its programs; later ones
 * some three runs each and no memory. NULL after an error. */
const ht_set *ht_bilevel_hvp(ht_bilevel *bilevel, const ht_set *v);
/* Whether the training answers a change of eta as smoothly as a hypergradient supposes,
 * by three evaluations x_k at eta + k h v, k = 0, 1, 2, of all outer losses together (of
 * one alone: a sign; of tasks: theirs) and of theta_T (Engstrom et al. 2025, arXiv
 * 2503.13751, definitions 2 and 1):
 *   S^ = sum_i sign(x1_i - x0_i) sign(x2_i - x1_i) d_i / sum_i d_i,   d_i = |x2_i - x0_i|
 *   S  = |F2 - 2 F1 + F0| / h^2
 * and Pearson's correlation over i of x1_i - x0_i and x2_i - x1_i, which foretells better
 * than S^ whether influence can be believed (tests/bench/SCIENCE.md: 0.95 is wanted).
 * 1: all that moves goes on moving the same way, as what is linear does. Kinks (relu,
 * max, a clip) that are passed, and a training that amplifies rounding, lower it: at a
 * small h too. So does one that memorises (`inner` near 0), at a step as large as the
 * change that is asked about. */
typedef struct ht_smoothness {
    double outer, theta; /* S^ in [-1, 1]; NaN where nothing moves, or not finite */
    double halves;    /* of 3 outer losses at least that change differently; else NaN */
    double second;    /* S of result.outer */
    double moved;     /* |theta(eta + h v) - theta(eta)| */
    double inner;     /* the training's loss, result.inner at eta */
    double at[3];     /* F at eta, eta + h v, eta + 2 h v */
    const char *note; /* why one is NaN, a constant; NULL: none is */
} ht_smoothness;
/* Measures it along v, `direction`, of eta's names, types and shapes (it may be the last
 * run's gradient); NULL: random signs by the context's seed, the same in each call. h >
 * 0. Both are in coordinates: by HT_LOG h v is a relative change. What is asked should be
 * what is to be done: for weights that fall from 1 to 0 a direction of -1 there, and h =
 * 0.5. No projection of an outer run is applied. The outer step is the last run's. eta is
 * moved and put back, the same bits, also after an error; no other set changes. The
 * bilevel is as after ht_bilevel_evaluate, which it calls for eta last: a commit takes
 * that one. Takes memory for the call, 3 eta, 3 theta (of each task) and 3 m in f64,
 * which ht_bilevel_bytes counts from then on. All NaN after an error. */
ht_smoothness ht_bilevel_smoothness(ht_bilevel *bilevel, const ht_set *direction,
                                    double h);
/* The training goes on from where the last run (or evaluation) ended: its theta_T is
 * copied to the problem's theta, the rule's state and the step count (Adam's bias
 * correction, batches, dropout, schedules, outer scalars a step) are taken over, and the
 * next run starts there. T steps a run are then windows of one training, each with the
 * gradient HT_TRUNCATED of T gives at its end, bit for bit, whatever the method. init
 * gives theta_0 until the first commit only; from then on nothing a run starts from
 * depends on eta, and what init alone uses gets 0, which `note` says.
 * Refused, and nothing is changed: no run since the last commit, one that ended in an
 * error, one whose training is not finite (a derivative or an outer loss may be), theta
 * that is eta. A run past the horizon of outer scalars a step is an error of the run.
 * Costs a copy of theta. The first commit takes memory for the rule's state once more,
 * which ht_bilevel_bytes counts from then on, the others none. */
ht_status ht_bilevel_commit(ht_bilevel *bilevel);
/* The update rule's state that the next run starts from, "<parameter>.<m or u or s>",
 * borrowed until the next commit; NULL: its first values, nothing was committed. With
 * theta and the next it is what a bilevel, or ht_bilevel_check, needs to go on there. */
const ht_set *ht_bilevel_state(const ht_bilevel *bilevel);
/* The steps of the training that were committed: problem.start, as it goes on. */
int64_t ht_bilevel_start(const ht_bilevel *bilevel);
/* Prints what was chosen and why: method, schedule and products within the budget, or
 * solver; steps a run makes, bytes, flops of a swept step; and by which way each outer
 * variable reaches the outer loss (the initial value, the inner loss, the update rule,
 * the outer loss itself), with those ways the method does not follow. */
void ht_bilevel_explain(const ht_bilevel *bilevel, FILE *f);
/* Prints the programs a run replays, with bytes and flops. */
void ht_bilevel_print(const ht_bilevel *bilevel, FILE *f);
/* Writes both as a page, at the cost and with the error of ht_tape_write_html: what a run
 * does step by step, which states are kept and what is run again, and its programs.
 * Beyond 100,000 actions, and 10,000 instructions of all programs, it says what it leaves
 * out. */
ht_status ht_bilevel_write_html(const ht_bilevel *bilevel, const char *path);

/* Checks the problem again in f64, callbacks and all: the hypergradient against
 * differences along random directions, mixed mode against reverse-over-reverse and
 * forward mode, schedules against each other. One line each to report (NULL: none), "ok",
 * "WRONG" or "undecided"; where that takes long, also how far it is, after 3 s, 6 s, and
 * so on. Where a central difference of step 1e-5 is off, twelve steps from 1e-3 to 1e-9
 * are extrapolated to 0 (Ridders 1982). WRONG: differences to both sides settle, on
 * another slope. Undecided, with the reason: they do not settle (bends and jumps on their
 * scale, as of relu in a long training; rounding), or on two slopes (a kink: relu at 0);
 * the other modes then decide. Modes too are undecided where the last bits of theta and
 * eta move the gradient as far. Errors are relative to the gradient, or to 1e-6 of the
 * outer loss if that is more. If two runs with the same eta differ, that alone is said: a
 * batch callback is no function of step then. Cost: some five runs in f64, and two
 * evaluations a direction, more where one is off. False: something is WRONG, the run is
 * not finite or not repeated, or an error. */
bool ht_bilevel_check(ht_context *ctx, const ht_bilevel_problem *problem,
                      int n_directions, FILE *report);

#ifdef __cplusplus
}
#endif

#include "ht_influence.h"
#include "ht_outer.h"
#include "ht_single.h"
#endif
