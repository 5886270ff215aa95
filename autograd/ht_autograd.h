/* SPDX-License-Identifier: MIT */
/* ht_autograd.h: the tape, its ops, derivatives that are programs again, and programs.
 *
 * A tape is a list of nodes; a variable (ht_var) is the handle of one. On an eager tape
 * an op runs as it is appended; on a recorded tape only types are known, and a *program*
 * cut out of it is replayed on tensors. Derivative rules append nodes, so a gradient can
 * be differentiated, cut and replayed like anything else. Read next: autograd/README.md.
 */
#ifndef HT_AUTOGRAD_H
#define HT_AUTOGRAD_H

#include <stdio.h>
#include <string.h>

#include "ht_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ht_tape ht_tape;       /* a list of nodes, inputs before what reads them */
typedef struct ht_program ht_program; /* a piece of a recorded one, planned, to replay */
typedef struct ht_op ht_op;           /* what a node does: "Ops of your own" */
/* Node `index` of a tape, passed by value. The stamp is of the node's making: a variable
 * that outlived it (reset, rewind) stops the program where it is used. */
typedef struct ht_var {
    ht_tape *tape;
    uint32_t index, stamp;
} ht_var;
/* A length of a tape (ht_tape_mark). */
typedef struct ht_mark {
    uint32_t nodes, stamp;
} ht_mark;
/* Whether ops run as they are appended, or only say their types. */
typedef enum ht_policy { HT_EAGER, HT_RECORD } ht_policy;
/* What is known of a value before it is computed. */
typedef struct ht_type {
    ht_dtype dtype;
    ht_shape shape;
} ht_type;

/* Tapes. Cost: a node's time and bytes do not grow with the tape; what prints or draws
 * goes over all of it. */

/* An empty tape, owned; NULL after an error. Holds up to 2^31 nodes, and 2^32 - 1 inputs
 * of theirs; one more is HT_ERROR_MEMORY. */
ht_tape *ht_tape_new(ht_context *ctx, ht_policy policy);
void ht_tape_free(ht_tape *tape); /* frees it and its nodes; NULL: nothing */
/* Forgets every node and every borrow; memory is kept for the next use. Variables made
 * before are stale: using one stops the program. */
void ht_tape_reset(ht_tape *tape);
ht_mark ht_tape_mark(ht_tape *tape); /* a point to come back to */
/* Forgets what was appended after the mark, and what it borrowed. A mark of another tape,
 * or rewound past, stops the program. */
void ht_tape_rewind(ht_tape *tape, ht_mark mark);
ht_context *ht_tape_context(const ht_tape *tape); /* the one it was made on */
uint32_t ht_tape_nodes(const ht_tape *tape); /* how many there are, leaves included */

/* A leaf. Eager: value is borrowed until reset, and must live that long. What is written
 * to it (by ht_optimizer_step, say, in PyTorch's order of gradient, step, reset) leaves
 * values computed before as they are; an op, derivative or value that would read the leaf
 * after that is HT_ERROR_ARGUMENT. Recorded: only its type is looked at. */
ht_var ht_input_at(ht_tape *tape, const ht_tensor *value, const char *site);
#define ht_input(tape, value) ht_input_at(tape, value, HT_HERE)
/* A leaf of a recorded tape, by type alone; if that is none HT_ERROR_SHAPE or _DTYPE. */
ht_var ht_input_like_at(ht_tape *tape, ht_type type, const char *site);
#define ht_input_like(...) ht_input_like_at(__VA_ARGS__, HT_HERE)
/* A 0-d number as a node. Its dtype is *weak*: that of its partner in an op, f64 where it
 * has none; what only weak numbers make is weak too. Sums, differences, products and
 * quotients of constants are constants. */
ht_var ht_constant(ht_tape *tape, double value);

ht_shape ht_var_shape(ht_var x); /* its shape, () of a poisoned one */
ht_dtype ht_var_dtype(ht_var x); /* its dtype, f32 of a poisoned one */
/* A node's value, borrowed until the next reset or rewind. Eager only: recorded, an
 * error, because it would freeze a branch. NULL after an error. */
const ht_tensor *ht_value_at(ht_var x, const char *site);
#define ht_value(x) ht_value_at(x, HT_HERE)
/* The value of one element, as a double; else HT_ERROR_SHAPE. NaN after an error. */
double ht_item_at(ht_var x, const char *site);
#define ht_item(x) ht_item_at(x, HT_HERE)
/* x, called so from now on in listings, graphs and errors, as a set's tensors are by
 * their names there; of two names the newer. The text is copied; forgotten with x, and by
 * a rewind past the call. */
ht_var ht_name(ht_var x, const char *name);
/* Prints type, formula, call site and, if eager, the value, as ht_tensor_print. */
void ht_print(ht_var x, FILE *f);
/* Prints every node: formula, type, bytes, name, call site and, if eager, the first
 * values. "d1 starts": of this node a derivative was taken, the first; "d1 by %4": node
 * 4's rule made this one; "d1 of %7", "d1 along %0": the derivative's beginning. */
void ht_tape_print(const ht_tape *tape, FILE *f);
/* Prints the tape as a Graphviz digraph: `dot -Tsvg`. Leaves are blue, constants grey,
 * what a first, second, third derivative made yellow, orange, red; a thick frame is where
 * one starts. Eager: with values, of more than a few the least, the mean and the largest.
 */
void ht_tape_dot(const ht_tape *tape, FILE *f);
/* Prints that of what these n variables of the tape are made of (0: all of it); `moves`
 * false: past reshape, permute and broadcast that have no name and start nothing. */
void ht_tape_dot_of(const ht_tape *tape, int n, const ht_var *y, bool moves, FILE *f);
/* Writes what ht_tape_print says as one page for a browser, which needs no network: to
 * step through, forward as nodes came to be and backward along the cotangents, with the
 * rules of every op. Some 150 bytes a node beside 70 kB. Where the file cannot be
 * written, HT_ERROR_FILE, and what stood there stays. */
ht_status ht_tape_write_html(const ht_tape *tape, const char *path);

/* Numbers, absent values. */

/* Wherever an elementwise op takes a variable it takes a number, ht_mul(x, 0.5), which
 * has its partner's dtype (one that an i32 or u8 can't hold is HT_ERROR_DTYPE). So do
 * gains and shifts, masks, targets and the vectors of a derivative. Elsewhere a number,
 * and HT_ZERO where nothing may be absent, is HT_ERROR_ARGUMENT, with the function and
 * the input's name; an assertion where no other input is on a tape. */
extern const char ht_number_tag; /* whose address, as `tape`, says "a number" */
/* A number as a handle, exactly: its 64 bits stand in index and stamp. No node. */
static inline ht_var ht_number(double value)
{
    uint32_t word[2];
    memcpy(word, &value, sizeof value);
    return HT_LITERAL(ht_var, (ht_tape *)(uintptr_t)&ht_number_tag, word[0], word[1]);
}
/* x: what HT_VAR does with a variable. */
static inline ht_var ht_same(ht_var x)
{
    return x;
}
/* A variable of a variable or a number of any arithmetic type. */
#ifdef __cplusplus
#define HT_VAR(x) ht_same(x)
/* x: what HT_VAR does with a number, where C chooses by _Generic. */
extern "C++" inline ht_var ht_same(double x)
{
    return ht_number(x);
}
#else
#define HT_VAR(x) _Generic((x), ht_var : ht_same, default : ht_number)(x)
#endif

/* Symbolic zero of whatever shape is wanted: what a rule gives for "no contribution". Ops
 * that are linear in an absent input are absent themselves; ht_add gives the other. */
#define HT_ZERO HT_LITERAL(ht_var, NULL, UINT32_MAX, 0)
bool ht_is_zero(ht_var x); /* whether x is HT_ZERO; numbers and nodes of 0 are not */

#include "ht_ops.h"

/* Derivatives. The x of a derivative are leaves: a path through one x to another does not
 * count. An x that is a reshape, permute or broadcast of something y also uses otherwise
 * is refused: differentiate by that. So is a constant, since equal ones are one node. All
 * variables are of one tape, and so are results, whose list may be that of the variables
 * or vectors; the same rules make derivatives of derivatives. Cost: a sweep (forward:
 * Wengert 1964; reverse: Linnainmaa 1970) takes a small multiple of what made y, however
 * many x or y there are; of a product, two more. */

/* dx[i] = dy/dx[i], of x[i]'s type, of a 0-d y (any other shape: HT_ERROR_SHAPE). An x
 * that y does not depend on, or of i32 or u8, is HT_ERROR_NO_GRADIENT. */
void ht_grad_at(ht_var y, int n, const ht_var *x, ht_var *dx, const char *site);
/* ht_grad with zeros for an x that y does not depend on. */
void ht_grad_or_zero_at(ht_var y, int n, const ht_var *x, ht_var *dx, const char *site);
/* Reverse mode: dx[i] = sum_j v[j] . dy[j]/dx[i]; v[j] has y[j]'s type, or is a number or
 * HT_ZERO; a y[j] of HT_ZERO counts for nothing. Zeros if unreached. */
void ht_vjp_at(int m, const ht_var *y, const ht_var *v, int n, const ht_var *x,
               ht_var *dx, const char *site);
/* Forward mode: dy[j] = sum_i dy[j]/dx[i] . dx[i], dx[i] as v[j] there; a y[j] of
 * HT_ZERO, whose type nobody knows, is an error. */
void ht_jvp_at(int n, const ht_var *x, const ht_var *dx, int m, const ht_var *y,
               ht_var *dy, const char *site);
/* hv[i] = sum_k d2y/dx[i]dx[k] . v[k] of a 0-d y: the tangent of the gradient (forward
 * over reverse; Pearlmutter 1994), two sweeps and no matrix. */
void ht_hvp_at(ht_var y, int n, const ht_var *x, const ht_var *v, ht_var *hv,
               const char *site);
/* dy_j/dx_i as element (j, i) of one matrix, of y's dtype and shape y.shape + x.shape:
 * min(m, n) sweeps for m elements of y and n of x, each as dear as ht_jvp (n <= m) or
 * ht_vjp and with nodes of its own, so that it can be differentiated again. More than
 * 4096 sweeps is HT_ERROR_ARGUMENT, more than 6 axes HT_ERROR_SHAPE, an x that y does not
 * depend on HT_ERROR_NO_GRADIENT. What does not count is 0 times its slope: NaN, not 0,
 * where that is infinite. */
ht_var ht_jacobian_at(ht_var y, ht_var x, const char *site);
/* d2y/dx dx of a 0-d y, shape x.shape + x.shape: the Jacobian of the gradient, n times
 * ht_hvp, its errors; symmetric to rounding. */
ht_var ht_hessian_at(ht_var y, ht_var x, const char *site);
#define ht_jacobian(y, x) ht_jacobian_at(y, x, HT_HERE)
#define ht_hessian(y, x)  ht_hessian_at(y, x, HT_HERE)
/* ht_grad(y, n, x, dx) and so on: variadic, so that a list may be written in place. */
#define ht_grad(...)         ht_grad_at(__VA_ARGS__, HT_HERE)
#define ht_grad_or_zero(...) ht_grad_or_zero_at(__VA_ARGS__, HT_HERE)
#define ht_vjp(...)          ht_vjp_at(__VA_ARGS__, HT_HERE)
#define ht_jvp(...)          ht_jvp_at(__VA_ARGS__, HT_HERE)
#define ht_hvp(...)          ht_hvp_at(__VA_ARGS__, HT_HERE)

/* Programs. */

/* Cuts a program out of a recorded tape, which may be reset afterwards: copies what `out`
 * needs, back to `in` (any nodes; a cut there ends the search). Owned; NULL after an
 * error. A leaf needed but not in `in` is an error. Memory is planned here:
 * ht_program_bytes is known before anything runs. */
ht_program *ht_program_new_at(ht_tape *recorded, int n_in, const ht_var *in, int n_out,
                              const ht_var *out, const char *site);
#define ht_program_new(...) ht_program_new_at(__VA_ARGS__, HT_HERE)
void ht_program_free(ht_program *program); /* frees it; NULL: nothing */
/* Computes out from in; allocates on the first run only. An out may be the same tensor as
 * an in which the program has finished reading by then (a parameter and its update);
 * where it has not, HT_ERROR_ARGUMENT. */
ht_status ht_program_run_at(ht_program *program, const ht_tensor *const *in,
                            ht_tensor *const *out, const char *site);
#define ht_program_run(...) ht_program_run_at(__VA_ARGS__, HT_HERE)
/* Appends the program's ops to a tape (eager or recorded) with other inputs, of its
 * types (else HT_ERROR_SHAPE or _DTYPE), at the cost of those ops. */
void ht_call_at(ht_tape *tape, const ht_program *program, const ht_var *in, ht_var *out,
                const char *site);
#define ht_call(...) ht_call_at(__VA_ARGS__, HT_HERE)
/* Prints its instructions: formula, type, place in the arena, flops, and what runs
 * together. */
void ht_program_print(const ht_program *program, FILE *f);
/* The same as a page, at the cost and with the error of ht_tape_write_html, and with the
 * arena as a picture: what lives where, and how long. */
ht_status ht_program_write_html(const ht_program *program, const char *path);
/* Bytes of the arena a run works in (inputs and outputs are the caller's). */
size_t ht_program_bytes(const ht_program *program);
int64_t ht_program_nodes(const ht_program *program); /* instructions, with views */
double ht_program_flops(const ht_program *program);  /* of its products, a run */
/* What makes a program faster than its ops one by one, and no bit other: a bit each, for
 * ht_context_options.passes_off. Without all of them an instruction is a call of its op's
 * run, and every value has memory of its own. */
enum {
    HT_PASS_PRODUCTS = 1, /* x + a . b adds the product where x stands */
    HT_PASS_ORDER = 2,    /* small instructions wait for what reads them */
    HT_PASS_FUSE = 4,     /* elementwise instructions run together, tile by tile */
    HT_PASS_MEMORY = 8,   /* results take over what is dead */
    HT_PASS_BLOCKS = 16,  /* between two products of a tall operand: rows in blocks */
    HT_PASSES = 31        /* all */
};
/* Fills dead buffers with NaN bytes while running: a value read too late shows. */
void ht_program_poison(ht_program *program, bool on);

/* Ops of your own. */

/* Flags of a row: what the driver may do without asking it. */
enum {
    HT_OP_ELEMENTWISE = 1 << 0, /* inputs broadcast to one type; infer may be NULL */
    HT_OP_COMMUTATIVE = 1 << 1, /* of two inputs */
    HT_OP_NO_GRADIENT = 1 << 2, /* piecewise constant: derivative zero, no rules */
    HT_OP_STOPS = 1 << 3,   /* rules are not the derivative of run: no Hessian symmetry */
    HT_OP_PRODUCT = 1 << 4, /* dear to compute, cheap to keep */
    HT_OP_OVERWRITES =
        1 << 5,           /* out may be the memory of input 0, if that has out's type */
    HT_OP_LINEAR = 1 << 6 /* in each input by itself: HT_ZERO in, HT_ZERO out */
};

/* The most inputs of a sample, and the most that `flops` and `workspace` are told of. */
enum { HT_OP_INPUTS = 8 };

/* What `infer` is given, and fills: from the types of the inputs that of the output. */
typedef struct ht_infer {
    const ht_op *op;
    ht_context *ctx;
    int n_in;
    const ht_type *in;
    const void *attributes;
    const char *site;
    const char *name;  /* of the function called: the op's, or of one made of it */
    const ht_var *var; /* the inputs, whose names an error says */
    ht_type out;       /* to fill */
} ht_infer;
/* Records "<name>: <text>", the input types and the call site; returns false. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
bool ht_infer_fail(ht_infer *it, ht_status status, const char *format, ...);

/* What `run` is given: the inputs' values, and where to write the output's. */
typedef struct ht_run {
    const ht_op *op;
    ht_context *ctx;
    ht_array out; /* contiguous, to write */
    int n_in;
    const ht_array *const *in; /* any strides */
    const void *attributes;
    void *workspace; /* as long as the row's `workspace` said, 64-byte aligned */
    const char *site;
} ht_run;

/* What vjp, jvp and decompose are given: the node, and cotangent or tangents. */
typedef struct ht_rule {
    int n_in;
    const ht_var *in;
    ht_var out;
    const void *attributes;
    ht_var v;           /* vjp: the cotangent of out */
    const bool *wanted; /* vjp: which d[i] are asked for */
    ht_var *d;       /* vjp: to fill, HT_ZERO before; of in[i]'s type, or summed down to
                        it where in[i] broadcast to out; any other is refused */
    const ht_var *t; /* jvp: tangents of the inputs, HT_ZERO where none */
} ht_rule;

/* Sizes of a sample that are drawn anew for every case, 0 or 1 now and then, up to 67;
 * SOME are at least 1. The same name is the same size throughout the sample. */
enum {
    HT_ANY_1 = -1,
    HT_ANY_2 = -2,
    HT_ANY_3 = -3,
    HT_SOME_1 = -4,
    HT_SOME_2 = -5,
    HT_SOME_3 = -6
};
/* One input of a sample: dtype 0 means "the float type under test"; floats in (low,
 * high), no two alike; integers from low to high. */
typedef struct ht_sample_input {
    ht_dtype dtype;
    ht_shape shape;
    double low, high;
} ht_sample_input;
/* Inputs and attributes at which ht_op_check tries a row. */
typedef struct ht_sample {
    int n_in;
    ht_sample_input in[HT_OP_INPUTS];
    const void *attributes;
} ht_sample;

/* A row of the op table. Rules append nodes with the ops above; a rule that returns
 * HT_ZERO says "no contribution". A node keeps a pointer to its row: it must live as
 * long. */
struct ht_op {
    const char *name;
    const char *formula; /* for listings, "$0 * $1"; NULL: name($0, ...) */
    unsigned flags;
    size_t attribute_size; /* attributes are compared and copied as bytes: zero the
                              padding */
    bool (*infer)(ht_infer *it);
    /* Says out as strides over in[0]; false: it can't be, run copies. NULL: never a view.
     */
    bool (*view)(const void *attributes, const ht_type *out, const ht_array *in,
                 ht_array *result);
    void (*run)(const ht_run *r);
    /* The library's rows: which loop run is, for what runs several at once. {0}: none. */
    struct {
        uint8_t kind, function;
    } loop;
    void (*vjp)(ht_rule *r);
    ht_var (*jvp)(const ht_rule *r);
    /* out again, out of other ops (r->in and r->attributes only): what the value is held
     * against, and what is differentiated where vjp or jvp is NULL. */
    ht_var (*decompose)(const ht_rule *r);
    double (*flops)(const ht_type *in, const ht_type *out); /* NULL: one per element */
    /* Bytes `run` needs to work in, contents undefined before and lost after. NULL: none.
     */
    size_t (*workspace)(const ht_context *ctx, const ht_type *in, const ht_type *out,
                        const void *attributes);
    void (*describe)(const void *attributes, char *text, size_t size); /* for listings */
    int n_samples;
    const ht_sample *samples;
};

/* Appends op(in...). Numbers, HT_ZERO and poisoned variables are dealt with before the
 * row is asked; attributes may be NULL only if the row has none. */
ht_var ht_apply(const ht_op *op, int n, const ht_var *in, const void *attributes,
                const char *site);

/* Checks. */

/* The built-in rows, for i = 0, 1, ... until NULL. */
const ht_op *ht_op_at(int i);

/* Checks a row, the caller's own as well as a built-in one, over its samples: dense,
 * transposed, stepped and repeated views of each, six times, at points and sizes drawn
 * from the context's seed. In f64: vjp and jvp against differences, whose error a halved
 * step must quarter; <u, J w> = <J' u, w>; the Hessian against differences, symmetric and
 * alike in all four orders of modes; the third derivative; run against decompose, if the
 * row has it; no gradient where there is said to be none. In f32: close to f64. In both,
 * bit by bit: what HT_OP_LINEAR and HT_OP_COMMUTATIVE say; replayed in poisoned memory.
 *
 * True if all holds. Else the first failure is a line in report (NULL: none) that names
 * sample, shapes, view, dtype, seed, identity and both values. A row without samples,
 * with none that has elements, or without rules, is such a failure. *cases (or NULL): how
 * many groups of identities were checked, each at one point in one dtype: first order,
 * second, third, decomposed, refused, flat, f32, flags, replay. A sample's inputs
 * together, and its output, have at most 1024 elements. Works on a context of its own
 * with ctx's allocator and limit, so no error is left on ctx. About 50 ms a row. */
bool ht_op_check(ht_context *ctx, const ht_op *op, FILE *report, int64_t *cases);

/* A 0-d function of n variables, written in ops. */
typedef ht_var (*ht_scalar_fn)(ht_tape *tape, int n, const ht_var *x, void *user);
/* Checks f's gradient against central differences and its Hessian (along random
 * directions) against differences of the gradient, its symmetry, and forward against
 * reverse; in f64 whatever the tensors' dtype, which are not changed. i32/u8 tensors are
 * passed on as they are. One line per check to report (NULL: none). True if all hold.
 * Some dozens of evaluations, gradients and Hessian products, whatever n. */
bool ht_gradient_check(ht_context *ctx, ht_scalar_fn f, int n, const ht_tensor *const *at,
                       void *user, FILE *report);

#ifdef __cplusplus
}
#endif
#endif
