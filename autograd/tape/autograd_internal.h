/* SPDX-License-Identifier: MIT */
/* autograd_internal.h: the tape's columns, arenas and what the files of autograd/ share.
 * Read next: tape.c (append), derive.c (vjp, jvp), program.c and plan.c. */
#ifndef HTI_AUTOGRAD_INTERNAL_H
#define HTI_AUTOGRAD_INTERNAL_H

#include "ht_autograd.h"
#include "tensor_internal.h"

/* Arenas: bump allocation in chunks, given back by rewinding. */

typedef struct hti_chunk {
    struct hti_chunk *next;
    size_t size, used; /* bytes after this header, rounded to HTI_ALIGN */
} hti_chunk;

typedef struct hti_arena {
    ht_context *ctx;
    hti_chunk *first, *last; /* chunks past `last` are empty, kept for reuse */
} hti_arena;

typedef struct hti_arena_mark {
    hti_chunk *chunk;
    size_t used;
} hti_arena_mark;

void *hti_arena_alloc(hti_arena *arena, size_t bytes); /* HTI_ALIGN-aligned, not zeroed */
hti_arena_mark hti_arena_at(const hti_arena *arena);
void hti_arena_rewind(hti_arena *arena, hti_arena_mark mark);
void hti_arena_free(hti_arena *arena);

/* The tape. */

/* One array per line, indexed by node. `array` and `tensor` are used by eager tapes only.
 */
#define HTI_COLUMNS(COLUMN)                                     \
    COLUMN(const ht_op *, op)                                   \
    COLUMN(const void *, attributes)                            \
    COLUMN(ht_type, type)                                       \
    COLUMN(uint32_t, first_in) /* into edges */                 \
    COLUMN(uint32_t, n_in)                                      \
    COLUMN(uint32_t, stamp)                                     \
    COLUMN(uint32_t, hash)                                      \
    COLUMN(uint32_t, next) /* in its hash bucket */             \
    COLUMN(uint8_t, weak)  /* takes the dtype of its partner */ \
    COLUMN(const char *, site)                                  \
    COLUMN(ht_array, array)                                     \
    COLUMN(ht_tensor *, tensor) /* the borrowed one of a leaf, else ht_value's */

typedef struct hti_tape_mark {
    ht_mark mark;
    hti_arena_mark memory;
    uint32_t edges;
} hti_tape_mark;

struct ht_tape {
    ht_context *ctx;
    ht_policy policy;
    uint32_t n, capacity, current_stamp;
#define HTI_COLUMN_FIELD(type, name) type *name;
    HTI_COLUMNS(HTI_COLUMN_FIELD)
#undef HTI_COLUMN_FIELD
    uint32_t *edge, n_edges, edge_capacity;
    uint32_t *bucket, n_buckets; /* a power of two; HTI_NONE where empty */
    hti_tape_mark *marks;
    uint32_t n_marks, mark_capacity;
    hti_arena memory;      /* values and attributes: lives as long as the nodes */
    hti_arena scratch;     /* a derivative's bookkeeping: a stack */
    const char *rule_site; /* while rules emit: the differentiated node's call site */
    const char *calling;   /* the outermost HTI_CALL's name, and how many are open */
    uint32_t calls;
    uint32_t opaque; /* chains of movement end at nodes before this one: see derive.c */
    /* A rule made wrong on purpose, and the same while that rule emits; NULL: none. */
    struct hti_mutation *mutation, *emitting;
};

#define HTI_NONE UINT32_MAX

/* The handle of node i. */
static inline ht_var hti_var(ht_tape *tape, uint32_t i)
{
    return (ht_var){tape, i, tape->stamp[i]};
}
/* What an op returns after an error; every op on it does nothing and returns it again. */
static inline ht_var hti_poison(ht_tape *tape)
{
    return (ht_var){tape, HTI_NONE, 0};
}
static inline bool hti_is_poison(ht_var x)
{
    return x.tape && x.index == HTI_NONE &&
           x.tape != (ht_tape *)(uintptr_t)&ht_number_tag;
}
static inline bool hti_is_number(ht_var x)
{
    return x.tape == (ht_tape *)(uintptr_t)&ht_number_tag;
}
double hti_number_value(ht_var x);
static inline bool hti_is_zero(ht_var x)
{
    return !x.tape && x.index == HTI_NONE;
}

/* Stops the program, naming `who` (the function called, if one is, see HTI_CALL), unless
 * x is a live variable (or poison) of a tape; returns the index. */
uint32_t hti_check_unusual(ht_var x, const char *who);
static inline bool hti_is_live(ht_var x)
{
    return x.tape && !hti_is_number(x) && x.index < x.tape->n &&
           x.stamp == x.tape->stamp[x.index];
}
static inline uint32_t hti_check_named(ht_var x, const char *who)
{
    return hti_is_live(x) ? x.index : hti_check_unusual(x, who);
}
#define hti_check_var(x) hti_check_named(x, __func__)
/* Where poison ends in no result at all: an error, since that of the poison may have been
 * cleared since. */
void hti_fail_poisoned(ht_context *ctx, const char *who, const char *site);
/* The tape of the first of n variables that is on one; NULL if none is. */
ht_tape *hti_tape_among(int n, const ht_var *x);
/* x, which `name` calls `input` (the i-th of such, or -1), a live variable of the tape or
 * poison. A number and HT_ZERO are errors, kept on the tape, and poison; where `tape` is
 * NULL, an assertion. */
ht_var hti_needs(ht_tape *tape, ht_var x, const char *name, const char *input, int i,
                 const char *site);
/* The same, but a number or HT_ZERO may stand there too. */
static inline ht_var hti_takes(ht_tape *tape, ht_var x, const char *name,
                               const char *input, const char *site)
{
    return hti_is_zero(x) || hti_is_number(x) ? x
                                              : hti_needs(tape, x, name, input, -1, site);
}
/* The indices beside x in an op linear in x: HT_ZERO is none of them. */
static inline ht_var hti_needs_index(ht_var x, ht_var index, const char *name,
                                     const char *site)
{
    ht_tape *tape = hti_tape_among(2, (ht_var[]){x, index});
    return x.tape ? hti_needs(tape, index, name, "index", -1, site) : index;
}
/* A copy: appending moves the columns. */
ht_type hti_type(ht_var x);

/* `call`, a function made of ops, whose errors shall name the function and not those ops:
 * the outermost, which is what the user wrote. `on` is an input of it. */
#define HTI_CALL(name, on, call) (hti_call_begin(on, name), hti_call_end(on, call))
static inline void hti_call_begin(ht_var on, const char *name)
{
    if (hti_is_zero(on)) return;
    hti_check_named(on, name);
    if (!on.tape->calls++) on.tape->calling = name;
}
static inline ht_var hti_call_end(ht_var on, ht_var out)
{
    if (on.tape && !--on.tape->calls) on.tape->calling = NULL;
    return out;
}
/* What an error calls `op`: the function called, but of a rule's ops the op: they are not
 * what anybody called. */
static inline const char *hti_called(const ht_tape *tape, const char *op)
{
    return tape->calling && !tape->rule_site ? tape->calling : op;
}

/* Records the error with the name of the function called, or of the op if that is none of
 * HTI_CALL or a rule emits, and returns poison. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
ht_var
hti_fail(ht_tape *tape, ht_status status, const char *site, const char *op,
         const char *format, ...);

/* it->out becomes input 0's type, broadcast with the others' shapes; false, and an error,
 * if they do not. */
bool hti_infer_broadcast(ht_infer *it);

/* The node op(in) of a known type: the one that exists already, or a new one (which, on
 * an eager tape, runs). Inputs are live variables of this tape. */
ht_var hti_append(ht_tape *tape, const ht_op *op, uint32_t n, const ht_var *in,
                  const void *attributes, const ht_type *type, bool weak,
                  const char *site);
/* A number as a 0-d node of dtype. */
ht_var hti_constant(ht_tape *tape, double value, ht_dtype dtype, bool weak,
                    const char *site);
/* True if x is one number everywhere, and which. Looks through broadcasts
 * and reshapes. */
bool hti_is_constant(ht_var x, double *value);
/* Zeros of a type, as a view of one number. */
ht_var hti_zeros(ht_tape *tape, ht_type type, const char *site);
/* x's axes as bits. False, with an error kept that names op, for one out of range or
 * named twice, and where x is not of floats. */
bool hti_axes_bits(ht_var x, const char *op, ht_axes axes, const char *site,
                   uint64_t *bits);
/* out, a reduction of x that kept its axes, without those. */
ht_var hti_drop_axes(ht_var out, ht_var x, uint64_t bits, const char *site);
/* The squared distance of x from its mean over the axes, summed, by divisor. */
ht_var hti_variance(ht_var x, uint64_t axes, double divisor, bool keep, const char *site);
/* p log_q, and 0 where p is 0 and log_q -inf, with derivatives 0 there: the singular
 * input is replaced, not the result, whose derivatives would be 0 * inf. */
ht_var hti_weighted_log(ht_var p, ht_var log_q, const char *site);
/* v summed down to `shape`, which broadcasts to v's shape. */
ht_var hti_sum_to(ht_var v, ht_shape shape, const char *site);

/* sqrt(a x^2 + b y^2) of weights a, b that are not negative: a root mean square, a norm
 * of two, without their squares, which an f32 or f64 need not hold. Where it is 0 all its
 * derivatives are 0, as sqrt's. */
ht_var hti_weighted_hypot(ht_var a, ht_var x, ht_var b, ht_var y, const char *site);

/* Derivatives with absent values. */

/* As ht_vjp and ht_jvp, but absent results stay HT_ZERO. reached (n, or NULL): whether
 * any y depends on x[i] at all. False after an error. */
bool hti_vjp(ht_tape *tape, int m, const ht_var *y, const ht_var *v, int n,
             const ht_var *x, ht_var *dx, bool *reached, const char *site);
bool hti_jvp(ht_tape *tape, int n, const ht_var *x, const ht_var *dx, int m,
             const ht_var *y, ht_var *dy, const char *site);

/* Mutations: a rule made wrong on purpose, to see that the checks notice. Places are
 * what the rule emits and returns, counted from 0 for each kind. */

typedef enum hti_mutation_kind {
    HTI_MUTATE_FLIP, /* the sign of an emitted or returned value */
    HTI_MUTATE_DROP, /* a term of a sum, or a returned value */
    HTI_MUTATE_SWAP, /* the inputs of an emitted op, or of the rule */
    HTI_MUTATIONS
} hti_mutation_kind;

typedef struct hti_mutation {
    const ht_op *op; /* whose rule */
    bool jvp;        /* else vjp */
    hti_mutation_kind kind;
    int place;                      /* -1: none, only look */
    int seen[HTI_MUTATIONS];        /* places come to in the rule's present call */
    uint64_t places[HTI_MUTATIONS]; /* bit k: in some call place k could be changed */
} hti_mutation;

/* ht_apply while a rule under mutation emits. */
ht_var hti_mutation_apply(ht_tape *tape, const ht_op *op, int n, const ht_var *in,
                          const void *attributes, const char *site);
/* op's rules, called: the one place they are called from. */
void hti_rule_vjp(ht_tape *tape, const ht_op *op, ht_rule *r);
ht_var hti_rule_jvp(ht_tape *tape, const ht_op *op, ht_rule *r);

/* Checks of a row. */

enum { HTI_OP_ROUNDS = 6 };
typedef struct hti_op_options {
    uint64_t seed;
    int rounds;             /* points for every sample and view */
    hti_mutation *mutation; /* hung on every tape; NULL: none */
    FILE *report;           /* NULL: none */
} hti_op_options;
typedef struct hti_op_tally {
    int64_t cases, ratios; /* ratios: halved steps whose errors could be compared */
} hti_op_tally;
/* ht_op_check with options: stops at the first identity that fails. */
bool hti_op_check_row(ht_context *ctx, const ht_op *op, const hti_op_options *options,
                      hti_op_tally *tally);

/* Listings. */

/* "tanh(%3)" into text: names[i] says input i. */
void hti_formula(const ht_op *op, const void *attributes, uint32_t n, const uint32_t *in,
                 char *text, size_t size);
void hti_print_bytes(FILE *f, double bytes);

/* Product `side`, an hti_triangle, of ops_triangle.c. */
ht_var hti_triangle_at(int side, ht_var x, ht_var y, const char *site);

/* The op table. */

#define HT_OP_ROW(name) extern const ht_op hti_op_##name;
#include "ops.def"
#undef HT_OP_ROW

/* A built-in row: its name, an array of samples (without one, or with an empty one, it
 * does not compile), then the other fields. tests/check_tree.sh wants all made so. */
#define HTI_ROW(op, table, ...)                                                     \
    _Static_assert(sizeof(table) >= sizeof(ht_sample), #op " has no samples");      \
    const ht_op hti_op_##op = {.name = #op,                                         \
                               .n_samples = (int)(sizeof(table) / sizeof *(table)), \
                               .samples = (table),                                  \
                               __VA_ARGS__}

/* An elementwise row of one input over a kernel of kernels.h, from op##_slope(r, v): v
 * times the derivative, for vjp and jvp alike. low and high bound its samples; `parts` is
 * its decompose, or NULL. The public function is aside. */
#define HTI_UNARY_ROW(op, kernel, text, more_flags, low, high, parts) \
    HTI_INNER_ROW(op, kernel, text, more_flags, low, high, parts)     \
    ht_var ht_##op##_at(ht_var x, const char *site)                   \
    {                                                                 \
        return ht_apply(&hti_op_##op, 1, &x, NULL, site);             \
    }
#define HTI_INNER_ROW(op, kernel, text, more_flags, low, high, parts)                    \
    static void op##_run(const ht_run *r)                                                \
    {                                                                                    \
        hti_run_elementwise(r->ctx, HTI_LOOP_UNARY, kernel, &r->out, 1, r->in);          \
    }                                                                                    \
    static void op##_vjp(ht_rule *r)                                                     \
    {                                                                                    \
        r->d[0] = op##_slope(r, r->v);                                                   \
    }                                                                                    \
    static ht_var op##_jvp(const ht_rule *r)                                             \
    {                                                                                    \
        return op##_slope(r, r->t[0]);                                                   \
    }                                                                                    \
    static const ht_sample op##_samples[] = {                                            \
        {1, {{0, {2, {HT_ANY_1, HT_ANY_2}}, low, high}}, NULL},                          \
        {1, {{0, {0, {0}}, low, high}}, NULL},                                           \
        {1, {{0, {1, {HT_SOME_1}}, low, high}}, NULL},                                   \
        {1, {{0, {3, {HT_SOME_1, HT_SOME_2, 3}}, low, high}}, NULL},                     \
        {1, {{0, {3, {2, 0, 3}}, low, high}}, NULL},                                     \
    };                                                                                   \
    HTI_ROW(op, op##_samples, .formula = text,                                           \
            .flags = HT_OP_ELEMENTWISE | (more_flags), .run = op##_run, .vjp = op##_vjp, \
            .jvp = op##_jvp, .decompose = parts);

/* Attributes other files build or read. */
typedef struct hti_constant_attributes {
    double value;
} hti_constant_attributes;
typedef struct hti_shape_attributes {
    int64_t rank, dim[HT_MAX_RANK];
} hti_shape_attributes;

#endif
