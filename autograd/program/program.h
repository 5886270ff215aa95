/* SPDX-License-Identifier: MIT */
/* program.h: what a program is made of, for the files that cut, plan, run and list it.
 * Read next: cut.c. */
#ifndef HTI_PROGRAM_H
#define HTI_PROGRAM_H

#include "engine_graph.h"
#include "kernels.h"
#include "tape.h"

/* Where a value lives. */
typedef enum hti_place {
    HTI_IN_INPUT,    /* the caller's, in[slot] */
    HTI_IN_OUTPUT,   /* the caller's, out[slot] */
    HTI_IN_CONSTANT, /* written once, when the program is made */
    HTI_IN_ARENA,    /* at `offset` */
    HTI_IN_VIEW,     /* of value `slot`, strides said by the op */
    HTI_IN_TILE      /* nowhere: made and read within a group */
} hti_place;

/* Elementwise instructions, and sums of what they make, that run as one: see fuse.c. */
typedef struct hti_group {
    hti_fused fused;
    ht_shape shape;                       /* of every element's walk */
    uint32_t first;                       /* instruction; the others by `next` */
    uint32_t operand[HTI_FUSED_OPERANDS]; /* values: outputs, inputs, sums */
    uint32_t value[HTI_FUSED_STEPS];      /* that each step makes */
} hti_group;

/* An instruction of a chain: its result, then its inputs, as rows are gone through. */
typedef struct hti_link {
    uint32_t value, operand[1 + HT_OP_INPUTS];
    int8_t axis[1 + HT_OP_INPUTS];    /* that rows are on; -1: all of it each time */
    ptrdiff_t step[1 + HT_OP_INPUTS]; /* bytes a row; 0: what is at hand */
    ht_array array[1 + HT_OP_INPUTS];
    const ht_array *in[HT_OP_INPUTS];
    size_t room; /* of a product: where it keeps what it keeps between blocks */
} hti_link;

/* Instructions that run for some rows at a time: see passes/blocks.c. */
typedef struct hti_chain {
    uint32_t begin, end; /* the instructions are among these, views too */
    uint32_t first;      /* instruction; the others by `next` */
    uint32_t n_links;
    int64_t rows, block;
    size_t room; /* bytes its products keep: its workspace */
    hti_link *link;
} hti_chain;

/* What a run goes through, in order. */
typedef struct hti_instruction {
    hti_loop loop;  /* all of it, if its operands are whole; NULL: a group, or op->run */
    uint32_t value; /* the instruction, or the root of its group */
    uint32_t count, first_in, n_in; /* for the loop: elements, and as in hti_value */
    size_t workspace_bytes, workspace_offset; /* in the arena, while it runs */
} hti_instruction;

/* An instruction while passes rewrite and move it; what it points at is the tape's. */
typedef struct hti_line {
    const ht_op *op; /* NULL: input */
    const void *attributes;
    const char *site;
    const ht_type *type;
    uint32_t first_in, n_in; /* into edges */
} hti_line;

/* A value and, past the inputs, the instruction that makes it. Ordinals are topological.
 */
typedef struct hti_value {
    const ht_op *op; /* as in hti_line */
    const void *attributes;
    const char *site;
    ht_type type;
    uint32_t first_in, n_in;
    hti_place place;
    uint32_t slot,
        root; /* root: the value whose memory this one is a view of, or itself */
    uint32_t next_view;  /* the next value in its root's memory; HTI_NONE: last */
    uint32_t when;       /* the instruction it runs at: itself, or its group's root */
    uint32_t next;       /* in its group; HTI_NONE: last */
    uint32_t step;       /* the member that computes it: itself, or its only reader */
    bool local;          /* has memory for a block of rows of its chain */
    hti_group *group;    /* of a root of one */
    uint32_t last_use;   /* roots: the last `when` that reads the memory */
    uint32_t chain;      /* that it ends, from 1 on; 0: none */
    size_t bytes;        /* rounded up to HTI_ALIGN */
    size_t offset;       /* HTI_IN_ARENA */
    ptrdiff_t from_root; /* bytes between the root's memory and this value's */
    ht_array array;      /* data is set when memory is bound */
} hti_value;

/* What a program `p` is made of: arrays in one block, those of wider elements first, so
 * that all are aligned. `edge` and `out` are scratch before that. */
#define HTI_PROGRAM_ARRAYS(ARRAY)                                                       \
    ARRAY(unsigned char, data, p->data_bytes) /* attributes and constants */            \
    ARRAY(hti_value, value, p->n_values)      /* inputs first */                        \
    ARRAY(hti_instruction, instruction, p->n_values - p->n_in) /* n_instructions run */ \
    ARRAY(const ht_array *, operand, p->n_edges)     /* edge[k]'s array, for op->run */ \
    ARRAY(void *, at, p->n_values)                   /* value[i].array.data */          \
    ARRAY(void *, bound, p->n_in + (size_t)p->n_out) /* the memory of the last run */   \
    ARRAY(uint32_t, edge, p->n_edges)                /* ordinals */                     \
    ARRAY(uint32_t, out, p->n_out)   /* value that out[k] is written by */              \
    ARRAY(uint32_t, begun, p->n_out) /* the first written to its memory */

struct ht_program {
    hti_owned owned; /* not of the library's own, which were made without a site */
    ht_context *ctx;
    hti_arena *scratch; /* the tape's, until it is planned: for what passes make */
    hti_line *line;     /* until it is placed; scratch */
    uint32_t n_values, n_in, n_out, n_edges, n_groups, n_chains, n_instructions;
    size_t data_bytes, arena_bytes, block_bytes;
#define HTI_PROGRAM_FIELD(type, name, n) type *name;
    HTI_PROGRAM_ARRAYS(HTI_PROGRAM_FIELD)
#undef HTI_PROGRAM_FIELD
    hti_group *group;
    hti_chain *chain;
    unsigned char *arena;
    bool arena_owned, poison;
    bool watch;   /* look for the first value that is not finite */
    uint32_t bad; /* which, of the last watched run; HTI_NONE: none */
};

/* What a program puts in where an output is no value of its own. */
extern const ht_op hti_op_copy;
/* What a chain runs in its own way. */
extern const ht_op hti_op_matmul;

static inline bool hti_program_passes(const ht_program *program, unsigned bit)
{
    return !(program->ctx->options.passes_off & bit);
}
/* The program as far as the tape says it, lines in the tape's scratch, which is given
 * back once it is planned. NULL after an error. */
ht_program *hti_program_cut(ht_tape *recorded, int n_in, const ht_var *in, int n_out,
                            const ht_var *out, const char *site);
/* For passes: room for n of `size` bytes, zero, until the program is planned; NULL after
 * an error. */
void *hti_program_scratch(ht_program *program, size_t n, size_t size);
/* Line i becomes line place[i], or is left out if that is HTI_NONE; inputs stay. False
 * after an error. */
bool hti_program_rearrange(ht_program *program, const uint32_t *place);
/* Lines become values, unless they are already: an input, an output, a view, a constant,
 * or memory of its own, each instruction by itself. False after an error. */
bool hti_program_place(ht_program *program);

/* Lays out memory: views, in-place results, best-fit offsets. False after an error. */
bool hti_program_plan(ht_program *program);
/* Which loop instruction i is; false: it is something else. */
bool hti_program_loop(const ht_program *program, uint32_t i, hti_fused_step *step);
/* Points a root, and what views it, at its memory. */
void hti_program_point(ht_program *program, uint32_t root, unsigned char *memory);
/* An input's or output's memory (slot: inputs, then outputs); false if it is that of the
 * last run. Then everything runs. */
static inline bool hti_program_set(ht_program *program, uint32_t slot, uint32_t value,
                                   void *memory)
{
    if (program->bound[slot] == memory) return false;
    program->bound[slot] = memory;
    hti_program_point(program, value, memory);
    return true;
}
ht_status hti_program_go(ht_program *program);
/* A chain, in `room`. */
void hti_run_chain(ht_program *program, hti_chain *chain, unsigned char *room);
/* The values that are instruction i's inputs. */
static inline const uint32_t *hti_inputs_of(const ht_program *program, uint32_t i)
{
    return program->edge + program->value[i].first_in;
}
static inline hti_chain *hti_chain_of(const ht_program *program, const hti_value *value)
{
    return &program->chain[value->chain - 1];
}
/* The instructions that run at i, in order, until HTI_NONE. */
static inline uint32_t hti_first_at(const ht_program *program, uint32_t i)
{
    const hti_value *v = &program->value[i];
    return v->group ? v->group->first : v->chain ? hti_chain_of(program, v)->first : i;
}

/* For whoever looks for a fault. NaN bytes: into all of the arena; into what nothing
 * reads after instruction i. */
void hti_poison_all(ht_program *program);
void hti_poison_dead(ht_program *program, uint32_t i);
/* Keeps i as the bad value, if it is the first that is not finite. */
void hti_watch_value(ht_program *program, uint32_t i);

double hti_value_flops(const ht_program *program, const hti_value *value);
/* Whether instruction i may write over the memory of `root`: whatever reads it when i
 * runs has done so by then, element by element. */
bool hti_overwrites_root(const ht_program *program, uint32_t i, uint32_t root);

#endif
