/* SPDX-License-Identifier: MIT */
/* engine.h: what functions made of ops may see of the engine beyond ht_autograd.h:
 * handles, numbers, and errors that name the function called. All that nn sees of it.
 * Read next: tape/tape.h, engine_graph.h. */
#ifndef HTI_ENGINE_H
#define HTI_ENGINE_H

#include "ht_autograd.h"
#include "tensor_internal.h"

#define HTI_NONE UINT32_MAX

/* What an op returns after an error; every op on it does nothing and returns it again. */
static inline ht_var hti_poison(ht_tape *tape)
{
    return (ht_var){tape, HTI_NONE, 0};
}
static inline bool hti_is_number(ht_var x)
{
    return x.tape == (ht_tape *)(uintptr_t)&ht_number_tag;
}
static inline bool hti_is_poison(ht_var x)
{
    return x.tape && x.index == HTI_NONE && !hti_is_number(x);
}
static inline bool hti_is_zero(ht_var x)
{
    return !x.tape && x.index == HTI_NONE;
}
double hti_number_value(ht_var x);
/* True if x is one number everywhere, and which. Looks through broadcasts
 * and reshapes. */
bool hti_is_constant(ht_var x, double *value);
/* A number as a 0-d node of dtype. */
ht_var hti_constant(ht_tape *tape, double value, ht_dtype dtype, bool weak,
                    const char *site);
/* The same everywhere, as a view of one number. */
ht_var hti_spread(ht_tape *tape, double value, ht_type type, const char *site);
/* A copy: appending moves the columns. */
ht_type hti_type(ht_var x);
static inline bool hti_same_type(const ht_type *a, const ht_type *b)
{
    return a->dtype == b->dtype && hti_same_shape(&a->shape, &b->shape);
}
/* "f32 (64, 10)" */
enum { HTI_TYPE_TEXT = HT_SHAPE_TEXT + HTI_DTYPE_TEXT };
const char *hti_type_text(ht_type type, char text[HTI_TYPE_TEXT]);
/* Whether x takes the dtype of its partner, as ht_constant does. */
bool hti_is_weak(ht_var x);
/* Memory that lives as long as the nodes there are; NULL after an error. */
void *hti_tape_alloc(ht_tape *tape, size_t bytes);
uint32_t hti_tape_resets(const ht_tape *tape); /* so far */
ht_policy hti_tape_policy(const ht_tape *tape);
/* Listings and errors call x[i] name[i]: borrowed for as long as the nodes live. */
void hti_name_all(ht_tape *tape, int n, const ht_var *x, char *const *name);

/* Stops the program, naming `who` (the function called, if one is, see HTI_CALL) and its
 * place (NULL: not known), unless x is a live variable (or poison) of a tape; returns the
 * index. hti_check_var is for functions that are given that place as `site`. */
uint32_t hti_check_named(ht_var x, const char *who, const char *site);
#define hti_check_var(x) hti_check_named(x, __func__, site)
/* Of variables on two tapes. */
#define HTI_ONE_TAPE                                                                    \
    ": all must be of one tape (the losses of a bilevel have theirs: what they use is " \
    "given to them)"
/* The tape of the first of n variables that is on one; NULL if none is. */
ht_tape *hti_tape_among(int n, const ht_var *x);
/* x, which `name` calls `input` (the i-th of such, or -1), a live variable of the tape or
 * poison. A number and HT_ZERO are errors, kept on the tape, and poison; where `tape` is
 * NULL, an assertion. */
ht_var hti_needs(ht_tape *tape, ht_var x, const char *name, const char *input, int i,
                 const char *site);

/* Records the error with the name of the function called, or of the op if that is none of
 * HTI_CALL or a rule emits, and returns poison. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
ht_var
hti_fail(ht_tape *tape, ht_status status, const char *site, const char *op,
         const char *format, ...);
/* Where poison ends in no result at all: an error, since that of the poison may have been
 * cleared since. */
void hti_fail_poisoned(ht_context *ctx, const char *who, const char *site);

/* Runs look for the first value that is not finite; the op that made it in the last run
 * watched, NULL if there was none, and (site not NULL) where that was called. */
void hti_program_watch(ht_program *program, bool on);
const char *hti_program_bad(const ht_program *program, const char **site);

/* `call`, a function made of ops, whose errors shall name the function and not those ops:
 * the outermost, which is what the user wrote, at `site`. `on` is an input of it. */
#define HTI_CALL(name, on, call) (hti_call_begin(on, name, site), hti_call_end(on, call))
void hti_call_begin(ht_var on, const char *name, const char *site);
ht_var hti_call_end(ht_var on, ht_var out);

/* sqrt(a x^2 + b y^2) of weights a, b that are not negative: a root mean square, a norm
 * of two, without their squares, which an f32 or f64 need not hold. Where it is 0 all its
 * derivatives are 0, as sqrt's. */
ht_var hti_weighted_hypot(ht_var a, ht_var x, ht_var b, ht_var y, const char *site);

#endif
