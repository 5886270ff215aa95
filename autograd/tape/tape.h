/* SPDX-License-Identifier: MIT */
/* tape.h: the tape's columns, its handles and how a node comes to be. No op but input and
 * constant is known in this folder. Read next: tape.c (append), apply.c, derive.c. */
#ifndef HTI_TAPE_H
#define HTI_TAPE_H

#include "arena.h"
#include "engine.h"

/* One array per line, all in one block, indexed by node; `bucket` by what is left of a
 * hash. `array` and `tensor` are used by eager tapes only. */
#define HTI_COLUMNS(COLUMN)                                                       \
    COLUMN(ht_type, type)                                                         \
    COLUMN(ht_array, array)                                                       \
    COLUMN(ht_tensor *, tensor) /* the borrowed one of a leaf, else ht_value's */ \
    COLUMN(const ht_op *, op)                                                     \
    COLUMN(const void *, attributes)                                              \
    COLUMN(const char *, site)                                                    \
    COLUMN(uint32_t, first_in) /* into edges */                                   \
    COLUMN(uint32_t, n_in)                                                        \
    COLUMN(uint32_t, stamp)                                                       \
    COLUMN(uint32_t, hash)                                                        \
    COLUMN(uint32_t, bucket) /* its first node; HTI_NONE: empty */                \
    COLUMN(uint32_t, next)   /* in its bucket; of a leaf: borrow.c */             \
    COLUMN(uint8_t, weak)    /* takes the dtype of its partner */

/* What the engine itself has to say in ops: dtypes of numbers, sums of derivatives, their
 * shapes. A tape is made with them, so that the ops are known to those above alone. */
typedef struct hti_linear {
    ht_var (*add)(ht_var a, ht_var b, const char *site);
    ht_var (*cast)(ht_var x, ht_dtype dtype, const char *site);
    ht_var (*broadcast)(ht_var x, ht_shape shape, const char *site);
    /* v summed down to `shape`, which broadcasts to v's. */
    ht_var (*sum_to)(ht_var v, ht_shape shape, const char *site);
} hti_linear;

#define HTI_COLUMN_BYTES(type, name) +sizeof(type)
enum { HTI_NODE_BYTES = HTI_COLUMNS(HTI_COLUMN_BYTES) };
#undef HTI_COLUMN_BYTES

/* From node `first` on: made by a call from outside, by the rule of `node` in a
 * derivative of this order, or to start one: backward or forward from `node`. */
typedef enum hti_origin_kind {
    HTI_BY_CALL,
    HTI_BY_RULE,
    HTI_BY_VJP,
    HTI_BY_JVP
} hti_origin_kind;
typedef struct hti_origin {
    uint32_t first, node, order;
    hti_origin_kind kind;
} hti_origin;

/* Nodes first, first + 1, ... have these names, unless a later list has another. */
typedef struct hti_names {
    const struct hti_names *before;
    uint32_t first, n;
    const char *const *name;
} hti_names;

typedef struct hti_tape_mark {
    ht_mark mark;
    hti_arena_mark memory;
    const hti_names *names;
    uint32_t edges;
} hti_tape_mark;

struct ht_tape {
    hti_owned owned;
    ht_context *ctx;
    const hti_linear *linear;
    ht_policy policy;
    uint32_t n, capacity;                /* a power of two */
    uint32_t current_stamp, reset_stamp; /* since the last reset */
    uint32_t resets;
#define HTI_COLUMN_FIELD(type, name) type *name;
    HTI_COLUMNS(HTI_COLUMN_FIELD)
#undef HTI_COLUMN_FIELD
    void *block;
    uint32_t *edge, n_edges, edge_capacity;
    hti_origin *origin; /* origin.c */
    uint32_t n_origins, origin_capacity;
    hti_tape_mark *marks;
    uint32_t n_marks, mark_capacity;
    hti_arena memory;  /* values and attributes: lives as long as the nodes */
    hti_arena scratch; /* a derivative's bookkeeping: a stack */
    const hti_names *names;
    const char *rule_site; /* while rules emit: the differentiated node's call site */
    const char *calling;   /* the outermost HTI_CALL's name, and how many are open */
    uint32_t calls;
    /* Movements in a row are recorded as one: with r = reshape(a), reshape(r) becomes a
     * reshape of a. Not so where r is older than this node: it is then what a derivative
     * is taken by, which must not be passed by. */
    uint32_t movements_from;
    struct hti_hook *hook; /* NULL: none */
    /* Whether a borrowed tensor has been written to, and up to which of the context's
     * changes that was looked into. */
    bool stale;
    uint32_t looked_at;
};

/* Whoever calls the rules of a tape in place of its sweeps: tests, which make them wrong
 * on purpose. While `emitting`, ht_apply is its too. */
typedef struct hti_hook {
    bool emitting;
    void (*vjp)(ht_tape *tape, const ht_op *op, ht_rule *r);
    ht_var (*jvp)(ht_tape *tape, const ht_op *op, ht_rule *r);
    ht_var (*apply)(ht_tape *tape, const ht_op *op, int n, const ht_var *in,
                    const void *attributes, const char *site);
} hti_hook;

/* What the tape asks of a row beside ht_op's public flags. */
enum {
    HTI_OP_MOVES = 1 << 16,    /* two of these in a row are recorded as one */
    HTI_OP_REPEATS = 1 << 17,  /* of one number everywhere it makes the same number */
    HTI_OP_CHOOSES = 1 << 18,  /* input 0 is a condition, whose dtype has no say */
    HTI_OP_CONVERTS = 1 << 19, /* its result has a dtype of its own, not a weak one */
    HTI_OP_INSIDE = 1 << 20,   /* of programs alone; elsewhere what it decomposes into */
    HTI_OP_SAME = 1 << 21,     /* of inputs of one float type it makes that */
    HTI_OP_ROWS = 1 << 22      /* along the last axis, each row by itself; see blocks.c */
};
/* Inputs of an elementwise op. */
enum { HTI_MOST_ELEMENTWISE = 4 };

/* The two leaves. */
extern const ht_op hti_op_input, hti_op_constant;
typedef struct hti_constant_attributes {
    double value;
} hti_constant_attributes;

/* As ht_tape_new, which is of ops/. */
ht_tape *hti_tape_new(ht_context *ctx, ht_policy policy, const hti_linear *linear);

/* The handle of node i. */
static inline ht_var hti_var(ht_tape *tape, uint32_t i)
{
    return (ht_var){tape, i, tape->stamp[i]};
}
/* The indices of node i's inputs. */
static inline uint32_t *hti_inputs(const ht_tape *tape, uint32_t i)
{
    return tape->edge + tape->first_in[i];
}
static inline bool hti_is_live(ht_var x)
{
    return x.tape && !hti_is_number(x) && x.index < x.tape->n &&
           x.stamp == x.tape->stamp[x.index];
}
/* x, or x where a number or HT_ZERO may stand too: see hti_needs. */
static inline ht_var hti_takes(ht_tape *tape, ht_var x, const char *name,
                               const char *input, const char *site)
{
    return hti_is_zero(x) || hti_is_number(x) ? x
                                              : hti_needs(tape, x, name, input, -1, site);
}
/* The n variables of a list, live and on the tape; HT_ZERO and numbers only where they
 * may stand. */
bool hti_needs_all(ht_tape *tape, int n, const ht_var *list, bool absent, bool numbers,
                   const char *name, const char *what, const char *site);
/* What an error calls `op`: the function called, but of a rule's ops the op: they are not
 * what anybody called. */
static inline const char *hti_called(const ht_tape *tape, const char *op)
{
    return tape->calling && !tape->rule_site ? tape->calling : op;
}
/* The place an error names: of a rule's ops the differentiated node's. */
static inline const char *hti_site(const ht_tape *tape, const char *site)
{
    return tape->rule_site ? tape->rule_site : site;
}

/* it->out becomes input 0's type, broadcast with the others' shapes; false, and an error,
 * if they do not. */
bool hti_infer_broadcast(ht_infer *it);

/* Node i's name; NULL: none. As errors say it, ` "hidden"`; "": none. */
enum { HTI_QUOTED = 64 };
const char *hti_name(const ht_tape *tape, uint32_t i);
const char *hti_quoted(const ht_tape *tape, uint32_t i, char text[HTI_QUOTED]);

/* origin.c: of node i, or the next if i is their number; what follows; what is left when
 * nodes were popped. */
hti_origin hti_origin_of(const ht_tape *tape, uint32_t i);
uint32_t hti_origin_end(const ht_tape *tape, uint32_t i); /* after node i's like */
void hti_origin_next(ht_tape *tape, hti_origin_kind kind, uint32_t node, uint32_t order);
void hti_origin_cut(ht_tape *tape);
static inline bool hti_origin_starts(const hti_origin *o)
{
    return o->kind == HTI_BY_VJP || o->kind == HTI_BY_JVP;
}

/* borrow.c: leaf i of an eager tape reads `value` until it is given back. */
void hti_borrow(ht_tape *tape, uint32_t i, const ht_tensor *value);
void hti_give_back(ht_tape *tape, uint32_t i);
/* Whether some leaf reads what has been written to since. */
void hti_look_for_changes(ht_tape *tape);
static inline bool hti_is_stale(ht_tape *tape)
{
    if (tape->looked_at != tape->ctx->changes) hti_look_for_changes(tape);
    return tape->stale;
}
/* The tensor in whose memory node i's value lies, if that was written to since; else
 * NULL. */
const ht_tensor *hti_changed(ht_tape *tape, uint32_t i);
/* Whether node i has the value it had; if not, the error of `op`, called at `site`. */
bool hti_still_holds(ht_tape *tape, uint32_t i, const char *op, const char *site);

/* The node op(in) of a known type: the one that exists already, or a new one (which, on
 * an eager tape, runs). Inputs are live variables of this tape. */
ht_var hti_append(ht_tape *tape, const ht_op *op, uint32_t n, const ht_var *in,
                  const void *attributes, const ht_type *type, bool weak,
                  const char *site);

#endif
