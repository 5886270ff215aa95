/* SPDX-License-Identifier: MIT */
/* ht_outer.h: minimising an outer loss over eta, included by ht_bilevel.h.
 *
 *   each step k:  F, g = ht_bilevel_run(bilevel, k)       g = dF/d eta at eta_k
 *                 eta_k+1 = project(update(eta_k, g))     any ht_update, Adam too
 *
 * until the steps are done, |g| is small, nothing has become better for long, or the
 * caller says so. A whole program, of a problem and its sets:
 *
 *   static bool each(const ht_outer_step *s, void *user)
 *   {
 *       printf("%lld  F %.4f  |g| %.2e\n", (long long)s->step, s->result.outer,
 *              s->gradient);
 *       return !interrupted();
 *   }
 *   ht_bilevel *bilevel = ht_bilevel_new(ctx, &problem, NULL);
 *   ht_outer_result r = ht_bilevel_minimize(
 *       bilevel, &(ht_outer_options){.update = HT_ADAM(0.05), .steps = 200, .each = each,
 *                                    .keep_best = true, .log = "run.csv",
 *                                    .save = "run.safetensors"});
 *   ht_check(ctx);
 *   printf("%s; best %.4f at step %lld\n", r.why, r.best, (long long)r.best_step);
 *
 * Read next: bilevel/outer/minimize.c. */
#ifndef HT_OUTER_H
#define HT_OUTER_H

#include "ht_bilevel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What became of eta in a step. */
typedef enum ht_outer_did {
    HT_OUTER_MOVED,
    HT_OUTER_CLIPPED, /* moved, along a gradient that was shortened */
    HT_OUTER_REFUSED, /* stayed, and so did the rule's state: see guard */
    HT_OUTER_STAYED   /* the gradient is at most the tolerance */
} ht_outer_did;

/* A step, to callbacks; valid during the call. */
typedef struct ht_outer_step {
    int64_t step; /* 0, 1, ..., over all sittings of a saved run: outer_step of its run */
    /* Of the run at eta before this step moved it; in `each`, a clipped gradient is as it
     * was followed. */
    ht_bilevel_result result;
    double gradient;   /* |gradient| over all of eta, before it was clipped */
    double validation; /* what validate gave; NaN: there is none */
    double best;       /* lowest so far, this step's included; infinite: none */
    int64_t best_step; /* whose eta gave it */
    ht_outer_did did;
    const char *why;   /* it was refused or clipped, a sentence; NULL if neither */
    const ht_set *eta; /* as it now stands */
} ht_outer_step;

/* What to do with a step whose gradient is not finite, or in norm over 1000 times the
 * median of the last 9 that were followed (from the third on). */
typedef enum ht_guard {
    HT_GUARD_REFUSE, /* eta stays and the next step is tried; 3 in a row end the run, and
                        2 where there are no batch callbacks and both gave the same */
    HT_GUARD_CLIP,   /* one that is finite is shortened to 1000 times the median */
    HT_GUARD_STOP,   /* the first ends the run */
    HT_GUARD_OFF     /* only what is not finite is refused, as by HT_GUARD_REFUSE */
} ht_guard;

/* Zero is off or NULL, but for update's rule and rate; steps may be 0 where tolerance,
 * patience or each can end the run. */
typedef struct ht_outer_options {
    ht_update update; /* of eta, all scalars fixed, with schedules or without; its groups
                         may freeze some of it */
    /* Newton's method in the place of update: a direction d by conjugate gradients on
     * (d2F/d eta2) d = -gradient, of at most so many ht_bilevel_hvp and one that judges
     * (until the residual is 1e-8 of the gradient, or curvature is negative), halved
     * until F falls by 1e-4 of what the slope promises (Armijo). A step that finds no
     * such point is refused. For outer losses that do not change from step to step; three
     * runs a product, and an evaluation a halving. Not with update, nor online. 0:
     * update. */
    int64_t newton;
    int64_t steps; /* in all sittings together; 0: no limit */
    /* After each step that moved eta; what it does to eta is not differentiated. Sets to
     * keep it in: ht_tensor_project_simplex and so on, ht_project_capped_simplex. */
    void (*project)(ht_set *eta, void *user);
    /* After each step, and its row of the log; false: stop. What it does to eta (or, in
     * online mode, to theta) stands. Called again for a step that was done but not saved
     * when the program was killed. */
    bool (*each)(const ht_outer_step *step, void *user);
    void *user;
    double tolerance; /* stop, eta unmoved, when |gradient| is at most this. What project
                         holds back stays in the gradient */
    /* CSV with a header, a row a step, flushed. A log that is there is begun anew, but
     * for the rows of what a saved state has done. */
    const char *log;
    const char *save; /* state (safetensors), from which it goes on if the file exists */
    bool online;      /* ht_bilevel_commit after each run: windows of one training */
    /* What eta_k is worth, of theta_T (step->result.theta), smaller being better: a loss
     * on data the outer loss does not see. NULL: the outer loss. Called after each run
     * that is finite, before eta moves. It may run other bilevels, not this one. */
    double (*validate)(const ht_outer_step *step, void *user);
    int64_t patience; /* stop when so many steps in a row were no better than the best */
    bool keep_best;   /* when it ends, eta becomes the best one */
    ht_guard guard;   /* against steps that ruin what was learned */
    int64_t save_every; /* steps; 0: each. Also before the first, and at the end */
    ht_set *more;       /* the caller's own tensors, saved and read with the state */
} ht_outer_options;

/* Why it ended. */
typedef enum ht_outer_end {
    HT_OUTER_STEPS,
    HT_OUTER_TOLERANCE,
    HT_OUTER_PATIENCE,
    HT_OUTER_EACH, /* said stop */
    HT_OUTER_GUARD,
    HT_OUTER_ERROR /* see ht_check */
} ht_outer_end;

/* What came of it, all sittings together. */
typedef struct ht_outer_result {
    double outer; /* of the last run, at eta before its step moved it */
    double best;  /* lowest of what validate gave, or of the outer loss; infinite: none */
    int64_t steps, best_step; /* done, in all sittings; best_step: -1 if none */
    const char *why;          /* it ended: a sentence */
    ht_outer_end end;         /* the same, to compare */
    const ht_set *best_eta;   /* what gave the best; NULL after an error that kept any
                                  from being held */
    double gradient;          /* |gradient| of the last run */
    int64_t refused, clipped; /* steps that were */
} ht_outer_result; /* why, best_eta: borrowed until the next minimize, ht_bilevel_free */

/* Moves the problem's eta, step by step, as above. At the end eta is what the last step
 * made of it, which no run has judged yet, or with keep_best what best_eta holds: the eta
 * at which the lowest value was seen. In online mode values at different steps are of
 * different theta, so that the best is a matter of when as well.
 * A step costs a run, and for eta's size a few passes; it allocates nothing, but while a
 * state is written, and for the second derivative's first product by newton. Beside the
 * bilevel: the rule's state and a copy of eta; where it is saved, once more what is
 * saved; by newton three copies of eta, one of theta, and five vectors of eta's elements.
 * A saved run, killed at any moment and called again with the same problem and options,
 * ends in the same bits. The file holds eta, its rule's state, the best eta, counts and
 * norms, `more`, and in online mode theta, its rule's state and step; it is replaced as
 * a whole. One of other names, shapes, rule, seed, inner steps or mode is refused with
 * the difference. Steps, tolerance, patience, guard and rates may be others than before:
 * the run goes on with them. Rows that the log has beyond the saved state are cut.
 * Errors: options refused (nothing is done), files, an error of a run or callback; the
 * state last saved then stands. */
ht_outer_result ht_bilevel_minimize(ht_bilevel *bilevel, const ht_outer_options *options);

#ifdef __cplusplus
}
#endif
#endif
