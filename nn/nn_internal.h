/* SPDX-License-Identifier: MIT */
/* nn_internal.h: variables from inside, and update rules as tape functions for
 * the engines that differentiate them. Read next: update.c. */
#ifndef HTI_NN_INTERNAL_H
#define HTI_NN_INTERNAL_H

#include "engine.h"
#include "ht_nn.h"
#include "set.h"

/* In the tape's memory, names and all: the set may grow. */
struct ht_vars {
    ht_tape *tape;
    int n;
    const ht_set *set; /* to compare with: recorded, it may be gone */
    char *const *name;
    ht_var *var;
    ht_var step;
};

/* One variable per tensor of set, made by the caller (in the order of the set). Belongs
 * to the tape; NULL after an error. */
ht_vars *hti_vars_new(ht_tape *tape, const ht_set *set, ht_var step);
/* Stops the program, naming `who`, unless these are of the tape as it stands now. */
void hti_vars_check(const ht_vars *vars, const char *who, const char *site);
/* Whether a step is 0 or more; else an error of `who`. */
bool hti_step_counts(ht_context *ctx, int32_t step, const char *who, const char *site);
/* The op that makes the first value that is not finite in what a recording last ran, and
 * where it was called; NULL: none, or it can't be run again. */
const char *hti_recording_bad(ht_recording *recording, const char **site);

/* Layers. */

/* One call of a layer, for looking its variables up and for what messages say. */
typedef struct hti_layer {
    const ht_vars *theta;
    const char *kind, *name, *site;
    ht_var x;
    bool any_dtype; /* variables need not be of x's */
} hti_layer;

/* Of x, a variable of theta's tape: a number or HT_ZERO is an error. */
hti_layer hti_layer_of(const ht_vars *theta, const char *kind, const char *name,
                       const char *site, ht_var x);
/* Size of an axis of x, from the end if negative; -1 where there is none. */
int64_t hti_layer_size(ht_var x, int axis);
/* The variable "name.part" of this shape, where -1 is any size, and of x's dtype; none is
 * an error that lists the names, one that does not fit an error that says both. */
ht_var hti_layer_get(const hti_layer *layer, const char *part, ht_shape shape);
/* The same, but HT_ZERO if there is none. */
ht_var hti_layer_maybe(const hti_layer *layer, const char *part, ht_shape shape);
/* "name.part", found before, stands for value from now on. */
void hti_layer_set(ht_vars *vars, const char *name, const char *part, ht_var value);
/* x . weight + bias, which may be missing; n_out -1: any. */
ht_var hti_layer_linear(const hti_layer *layer, const char *weight, const char *bias,
                        int64_t n_out);

/* "name.part", owned, to be given back by hti_init_unname. NULL after an error. */
char *hti_init_name(ht_context *ctx, const char *name, const char *part);
void hti_init_unname(ht_context *ctx, char *name);
/* Adds "name.part", zeros; its own stream to *stream unless that is NULL. NULL after an
 * error. */
ht_tensor *hti_init_add(ht_set *theta, const char *name, const char *part, ht_dtype dtype,
                        ht_shape shape, uint64_t *stream);
/* The same, uniform in +-bound; a vector of one value. False after an error. */
bool hti_init_uniform(ht_set *theta, const char *name, const char *part, ht_dtype dtype,
                      ht_shape shape, double bound);
bool hti_init_fill(ht_set *theta, const char *name, const char *part, ht_dtype dtype,
                   int64_t n, double value);
/* Back to n tensors: half a layer would be worse than none. */
void hti_init_undo(ht_set *theta, int n);
/* Two positive sizes and a float type, or an error kept that says so. */
bool hti_init_sizes(ht_set *theta, const char *who, const char *name, ht_dtype dtype,
                    const char *sizes, int64_t a, int64_t b);

/* Update rules. */

/* A 0-d f64 scalar for use beside x. */
ht_var hti_beside(ht_var scalar, ht_var x);
/* |x| of all its elements, 0-d f64, which holds the squares of every f32. */
ht_var hti_norm_of(ht_var x);

/* How an outer scalar's tensor is read. */
typedef struct hti_scalar_axes {
    bool valid, per_step, per_tensor;
} hti_scalar_axes;

hti_scalar_axes hti_scalar_layout(ht_shape shape, int64_t steps, int64_t n);
/* Fixed at zero: off. */
bool hti_scalar_is_zero(const ht_scalar *s);

/* A field of an update that is a scalar: whether its rule has it, and may not be off. */
typedef struct hti_field {
    const char *name;
    const ht_scalar *scalar;
    bool used, needed;
} hti_field;
enum { HTI_FIELDS = 8 + HT_UPDATE_OWN };
/* All of them; one that the rule does not have is named too. */
void hti_update_fields(const ht_update *update, hti_field field[HTI_FIELDS]);
/* The update a parameter of this name follows, by the groups; NULL: frozen. */
const ht_update *hti_update_of(const ht_update *update, const char *name);

/* Whether an outer scalar of it has an element for each step. */
bool hti_update_by_step(const ht_update *update, const ht_set *theta, const ht_set *eta,
                        int64_t steps);

ht_set *hti_optimizer_theta(const ht_optimizer *optimizer);

/* Files of what goes on (checkpoint.c). */

/* A set's tensors as "prefix.name"; set NULL: none. */
typedef struct hti_section {
    const char *prefix;
    const ht_set *set;
} hti_section;
/* Zeros like all of n sections, in order. Owned; NULL after an error. */
ht_set *hti_sections_new(ht_context *ctx, int n, const hti_section *section);
/* Their values into such a set, and back. */
void hti_sections_put(ht_set *file, int n, const hti_section *section);
void hti_sections_get(const ht_set *file, int n, const hti_section *section,
                      const char *who);
/* The seed as tensor "seed" of a section "run"; whether a file's is the context's. */
bool hti_seed_add(ht_set *run);
bool hti_seed_same(const ht_set *file, const char *path);

/* Complains (site-less, on ctx) about zeros, unused fields, unknown outer names, shapes
 * that do not fit and groups. eta NULL: every scalar must be fixed. */
bool hti_update_valid(ht_context *ctx, const ht_update *update, const ht_set *theta,
                      const ht_set *eta, int64_t steps);
/* The state for theta: parameter by parameter what its rule has, zeros. Owned. */
ht_set *hti_update_state(const ht_update *update, const ht_set *theta);
/* Appends one step: theta->n new parameters and as many states as hti_update_state has,
 * in its order. A frozen parameter is its own new one, and its gradient is not looked at.
 * eta may be NULL. Rules are given what `momentum` makes of theirs; NULL: itself. */
void hti_update_emit(const ht_update *update, const ht_vars *theta, const ht_vars *state,
                     const ht_vars *eta, int64_t steps, const ht_var *gradient,
                     ht_var (*momentum)(ht_var), ht_var *new_theta, ht_var *new_state);
/* Whether a parameter's rule decays it beside its gradient. */
bool hti_update_decays_itself(const ht_update *update, const ht_set *theta);
/* By parameter, what a rule is given to descend: g + decay w; HT_ZERO if it is frozen. It
 * is 0 at a fixed point of any rule that does not decay by itself; clips do not matter
 * there. */
void hti_update_descent(const ht_update *update, const ht_vars *theta, const ht_vars *eta,
                        int64_t steps, const ht_var *gradient, ht_var *descent);
/* Rate and momentum of each parameter that trains, 0-d f64, one after the other. */
void hti_update_speeds(const ht_update *update, const ht_vars *theta, const ht_vars *eta,
                       int64_t steps, ht_var *speeds);

#endif
