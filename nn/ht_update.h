/* SPDX-License-Identifier: MIT */
/* ht_update.h: update rules, what a rule is, and plain training by one, included by
 * ht_nn.h. Read next: nn/update_rules.c, ht_nn.h. */
#ifndef HT_UPDATE_H
#define HT_UPDATE_H

#include "ht_nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Update rules. Cost: a step is a pass over theta, gradient and state each; a schedule a
 * number, which has no gradient by the step. */

/* A schedule: the factor, 0-d, of a scalar at a step (i32, 0 in the first). */
typedef ht_var (*ht_schedule_fn)(ht_var step, const void *options);
/* A number of an update rule: fixed or an outer variable, and either times a schedule. */
typedef struct ht_scalar {
    double value;
    const char *outer;       /* a name in eta; NULL: value */
    ht_schedule_fn schedule; /* value or outer times this; NULL: as it is */
    const void *user;        /* the schedule's options */
} ht_scalar;
/* The number v. */
#define HT_FIXED(v) HT_LITERAL(ht_scalar, (double)(v), NULL, NULL, NULL)
/* The outer variable of that name. */
#define HT_OUTER(name) HT_LITERAL(ht_scalar, 0, (name), NULL, NULL)

/* Options of the schedules: {0.1, .schedule = ht_rate_cosine, .user = &(ht_rate){.steps =
 * 1000}}. The first `warmup` steps t = 0, 1, ... rise on a line from `start` to 1; then t
 * counts from 0 again. A field that is negative, zero where it is needed, or not the
 * schedule's is HT_ERROR_ARGUMENT. */
typedef struct ht_rate {
    int64_t warmup;
    double start; /* factor of the first step */
    int64_t steps;
    double final; /* factor at the end */
    int64_t every;
    double factor;
    double rise; /* of the steps; 0.3 is usual */
} ht_rate;
ht_var ht_rate_constant(ht_var step, const void *options); /* 1, after the warmup */
ht_var ht_rate_step(ht_var step, const void *options);     /* factor^floor(t / every) */
/* From 1 to final in `steps`, and no further: final + (1 - final)(1 + cos(pi t/steps))/2
 * (Loshchilov & Hutter 2017, no restarts). */
ht_var ht_rate_cosine(ht_var step, const void *options);
/* By half cosines from start to 1 at t = rise steps - 1, then to final at t = steps - 1;
 * no warmup (Smith & Topin 2018; torch: div_factor is 1/start, final_div_factor
 * start/final). */
ht_var ht_rate_one_cycle(ht_var step, const void *options);

/* A rule is a row: one function that appends a step of one parameter tensor to a tape. A
 * row of your own serves an optimizer and a bilevel as the library's do, without being
 * registered; it must outlive them. */
typedef struct ht_update_rule ht_update_rule;
/* The most states and own scalars of a row. */
enum { HT_UPDATE_STATES = 4, HT_UPDATE_OWN = 4 };
/* What `apply` is given and gives. Scalars are 0-d f64, whatever w is, so that 1 - beta^t
 * keeps its digits; they meet w by ht_cast(s->rate, ht_var_dtype(s->w)). Those the row
 * does not have, and a decay or eps_root that is off, are HT_ZERO. */
typedef struct ht_update_step {
    ht_var w, g; /* of one shape and type; g after clips, and after decay (see below) */
    ht_var state[HT_UPDATE_STATES];
    ht_var rate, momentum, beta2, eps, eps_root, decay, own[HT_UPDATE_OWN];
    ht_var t;                                  /* 1 in the first step */
    const ht_vars *eta;                        /* for rows that read it; else NULL */
    const void *user;                          /* update.user */
    ht_var new_w, new_state[HT_UPDATE_STATES]; /* to be set, of w's and state's types */
} ht_update_step;
/* What is not set is none. */
struct ht_update_rule {
    const char *name, *usual; /* usual: a call that has the usual numbers; NULL: none */
    int n_state;
    const char *state[HT_UPDATE_STATES];   /* "m": "w.m" in ht_optimizer_state */
    double initial[HT_UPDATE_STATES];      /* every element's first value */
    ht_shape (*shape)(int k, ht_shape w);  /* state k's; NULL: w's. Of w's dtype */
    const char *own[HT_UPDATE_OWN];        /* names of own scalars, of messages */
    bool has_momentum, has_beta2, has_eps; /* has_eps: eps_root as well */
    bool decays_itself;                    /* else decay w has been added to g */
    bool reads_eta; /* outer variables, ht_get(s->eta, name): only a bilevel has them */
    /* Only by ops on what s holds: values are not there yet, and an optimizer or a
     * bilevel calls it once a parameter, not once a step. What changes from step to step
     * is state, t, or a scalar. To be differentiable everywhere matters: see "Mind
     * points" in nn/README.md. Results not set, or of another type, are errors. */
    void (*apply)(ht_update_step *s);
};

/* With gradient g, all per element, to which decay w has been added but for adamw and
 * muon. State starts at zero; step t counts from 1; eps stands where torch has it.
 *   ht_sgd       w -= rate g
 *   ht_momentum  s = momentum s + g;  w -= rate s
 *   ht_nesterov  the same s;  w -= rate (g + momentum s)   (Sutskever et al. 2013)
 *   ht_adam      m = beta1 m + (1-beta1) g;  u = sqrt(beta2 u^2 + (1-beta2) g^2);
 *                w -= rate/(1-beta1^t) m / (root(u/sqrt(1-beta2^t)) + eps)
 *                (Kingma & Ba 2015)
 *   ht_adamw     first w -= rate decay w, then Adam's step (Loshchilov & Hutter 2019)
 *   ht_rmsprop   u = sqrt(beta2 u^2 + (1-beta2) g^2);  w -= rate g / (root(u) + eps)
 *                (Tieleman & Hinton 2012; beta2 is torch's alpha)
 *   ht_adagrad   u = sqrt(u^2 + g^2);  w -= rate g / (root(u) + eps)
 *                (Duchi et al. 2011)
 *   ht_muon      first w -= rate decay w; then s = momentum s + g and, of a matrix,
 *                w -= rate sqrt(max(1, n_out/n_in)) N(g + momentum s), N(x) five steps
 *                x = (3.4445 I - 4.7750 xx' + 2.0315 (xx')^2) x of Newton and Schulz from
 *                x / (|x| + 1e-7), which bring its singular values to 0.7 .. 1.2 (Jordan
 *                et al. 2024, in w's own type). A weight of rank 2 is (n_in, n_out); one
 *                of higher rank, a kernel, (n_out, n_in kh kw); rank 0 and 1 follow
 *                ht_nesterov at the same rate: a group gives them another rule
 * u is the root of the papers' v, torch's exp_avg_sq, square_avg and sum: v itself fits
 * no f32 where g is above 1.8e19 or below 1e-23. No square is formed on the way to u, so
 * that steps are right for every g that is a normal number; s and Adagrad's u are sums of
 * many, though, and infinite where those are past the type. Derivatives through u = 0 are
 * 0; so is the step where u, an outer eps and eps_root are all 0.
 *
 * root(u) = sqrt(u^2 + eps_root), u itself without (optax's eps_root; there v is u^2).
 * With eps_root > 0 the step is smooth in g: its slope at v = 0, where u has a kink, is
 * finite and what differences say, rate/(sqrt(eps_root) + eps) at most, against rate/eps.
 * eps may then be 0. The derivative by an outer eps_root that is 0 is 0 where u is.
 *
 * Before all that clip_value > 0 cuts each element of g to +-clip_value, infinite ones
 * too; then clip > 0 scales all of g by min(1, clip/|g|), |g| its norm over all tensors
 * that train, which neither overflows nor underflows; then decay w is added. A NaN among
 * them makes all of g NaN, as does an infinite |g|, since no direction is left: the step
 * is not finite, which a bilevel reports (bad_step). A NaN in clip_value or clip is NaN
 * too. */
extern const ht_update_rule ht_sgd, ht_momentum, ht_nesterov, ht_adam, ht_adamw,
    ht_rmsprop, ht_adagrad, ht_muon; /* the rows above */
typedef struct ht_update_group
    ht_update_group; /* parameters with an update of their own */
/* Fixed values are finite and not negative, betas of averages below 1, and none that is
 * not zero may be 0 or infinite in a parameter's type (eps 1e-46 in f32). Zero is off
 * (decay, clips, eps_root) or an error (rate; momentum, beta2, eps of rules that have
 * them, but for eps beside an eps_root, and own scalars). A field the rule has no use for
 * must be zero. Scalars, 1 - beta and 1 - beta^t are formed in f64: betas next to 1 keep
 * their digits in f32 too. Outer values are taken as they come; of Adam a beta of exactly
 * 1, which leaves 0/0, gives NaN. An outer scalar's tensor in eta is () for one value,
 * (steps) per step, (n) per parameter tensor in the order of theta, or (steps, n) for
 * both; where steps = n, (steps, 1) and (1, n) say which. What an update points to is
 * read while an optimizer or a bilevel is made, and not later. */
typedef struct ht_update {
    const ht_update_rule *rule;
    ht_scalar rate, momentum /* beta1 */, beta2, eps, decay, clip, clip_value, eps_root,
        own[HT_UPDATE_OWN];        /* own: the rule's, in its order */
    const void *user;              /* the rule's, if it takes one */
    const ht_update_group *groups; /* for parameters that differ; NULL: none */
    int n_groups;
    bool non_finite; /* plain training also follows gradients that are not finite */
} ht_update;
/* Parameters whose name matches follow another update, complete in itself, or none; of
 * several groups the first. A pattern that matches no name is an error. clip stands in
 * the main update only, its norm that of all that trains. n above still counts all. */
struct ht_update_group {
    const char *pattern;     /* "*.bias" */
    const ht_update *update; /* without groups; NULL: frozen, needs no gradient */
};

/* A rule with fixed numbers, the rest zero. */
ht_update ht_update_of(const ht_update_rule *rule, double rate, double momentum,
                       double beta2, double eps, double decay);
/* The usual ones (torch's; HT_MUON(0.02, 0.95)), to be changed as any
 * ht_update: u = HT_ADAM(1e-3); u.clip = HT_FIXED(1). */
#define HT_SGD(rate)                ht_update_of(&ht_sgd, rate, 0, 0, 0, 0)
#define HT_MOMENTUM(rate, momentum) ht_update_of(&ht_momentum, rate, momentum, 0, 0, 0)
#define HT_NESTEROV(rate, momentum) ht_update_of(&ht_nesterov, rate, momentum, 0, 0, 0)
#define HT_ADAM(rate)               ht_update_of(&ht_adam, rate, 0.9, 0.999, 1e-8, 0)
#define HT_ADAMW(rate, decay)       ht_update_of(&ht_adamw, rate, 0.9, 0.999, 1e-8, decay)
#define HT_RMSPROP(rate)            ht_update_of(&ht_rmsprop, rate, 0, 0.99, 1e-8, 0)
#define HT_MUON(rate, momentum)     ht_update_of(&ht_muon, rate, momentum, 0, 0, 0)
#define HT_ADAGRAD(rate)            ht_update_of(&ht_adagrad, rate, 0, 0, 1e-10, 0)

/* Holds a rule against itself, at random numbers, in trainings of four steps: an
 * optimizer, a tape a step and one program give the same bits, in f32 and f64; f32 is
 * close to f64; states are carried, states and numbers of the row used; derivatives by
 * parameters, states, gradients and every number are what differences say, forward as
 * reverse, the second ones too; and nothing is infinite where a gradient is always 0. A
 * line each to report (NULL: none), "ok" or "WRONG" and then a sentence: what it is and
 * what to do. True if all hold.
 *
 * Of update the rule, its numbers (decay too, but no clips), own scalars and user count,
 * no groups. theta's shapes are tried (NULL: of rank 0, 1, 2 and 4), not its values. eta
 * is for rules that read it and for outer scalars, which are 0-d; else NULL. A rule that
 * is flat in something (the sign of Lion) passes: the derivative is 0, and so are
 * differences; the line says that no hypergradient goes through it. Not seen: a rule that
 * is another one than was meant. Works on a context of its own with ctx's allocator and
 * limit, so that no error is left on ctx. About 10 ms. */
bool ht_update_check(ht_context *ctx, const ht_update *update, const ht_set *theta,
                     const ht_set *eta, FILE *report);

typedef struct ht_optimizer ht_optimizer; /* a set, its state and the step as a program */
/* Plain training of theta, which is borrowed until ht_optimizer_free (ht_set_free
 * checks), and may not grow till then: an error of the next step. Of update every scalar
 * is fixed, with a schedule or without. Owned; NULL after an error. */
ht_optimizer *ht_optimizer_new_at(ht_set *theta, const ht_update *update,
                                  const char *site);
#define ht_optimizer_new(...) ht_optimizer_new_at(__VA_ARGS__, HT_HERE)
/* Moves theta by one step along a gradient of theta's names and types; those of frozen
 * parameters may be missing. HT_ERROR_ARGUMENT with the tensor, and nothing is changed,
 * if it is infinite or NaN somewhere (then also the op it began at, if an ht_recording
 * wrote it), unless the update is .non_finite; if it is theta; or if a part of it is
 * still the parameter that ht_set_clone copied. Allocates nothing after the first. */
ht_status ht_optimizer_step_at(ht_optimizer *optimizer, const ht_set *gradient,
                               const char *site);
#define ht_optimizer_step(...) ht_optimizer_step_at(__VA_ARGS__, HT_HERE)
int64_t ht_optimizer_steps(const ht_optimizer *optimizer); /* made so far, or restored */
/* Its state, tensors "<parameter>.<m or u or s>", borrowed until ht_optimizer_free. */
const ht_set *ht_optimizer_state(const ht_optimizer *optimizer);
/* Goes on as if `steps` steps had led to this state, of the same names and types: with
 * theta as it was then, training goes on bit for bit. On an error nothing is copied. */
ht_status ht_optimizer_restore(ht_optimizer *optimizer, const ht_set *state,
                               int64_t steps);
void ht_optimizer_free(ht_optimizer *optimizer); /* frees it; NULL: nothing */

/* Writes a training as one file (safetensors): theta.<name>, state.<name>, more.<name>,
 * run.step and run.seed, the context's. From it training goes on bit for bit. `more` are
 * the caller's own (running statistics, where a loop has come to); NULL: none. */
ht_status ht_checkpoint_write(const char *path, const ht_optimizer *optimizer,
                              const ht_set *more);
/* Puts everything back in its place. The file must be of exactly these names and types,
 * and of this seed. On an error nothing is changed. */
ht_status ht_checkpoint_read(const char *path, ht_optimizer *optimizer, ht_set *more);

#ifdef __cplusplus
}
#endif
#endif
