/* SPDX-License-Identifier: MIT */
/* columns.h: room in a tape's columns, and the table in which equal nodes are found. */
#ifndef HTI_COLUMNS_H
#define HTI_COLUMNS_H

#include <string.h>

#include "tape.h"

/* Room for one more node, of n_in inputs. False after an error. There are edges as soon
 * as there is a node: a leaf's none have an address too. */
bool hti_tape_grow(ht_tape *tape, uint32_t n_in);
static inline bool hti_tape_reserve(ht_tape *tape, uint32_t n_in)
{
    bool room = tape->n < tape->capacity && tape->edge &&
                n_in <= tape->edge_capacity - tape->n_edges;
    return room || hti_tape_grow(tape, n_in);
}

static inline uint32_t *hti_node_bucket(const ht_tape *tape, uint32_t i)
{
    return &tape->bucket[tape->hash[i] & (tape->capacity - 1)];
}
/* Puts node i into the table. Two reads of one tensor are two leaves (what differs is
 * memory, not a formula), so leaves are in no bucket. */
static inline void hti_bucket_insert(ht_tape *tape, uint32_t i)
{
    if (tape->op[i] == &hti_op_input) return;
    uint32_t *b = hti_node_bucket(tape, i);
    tape->next[i] = *b;
    *b = i;
}

static inline uint32_t hti_mix(uint32_t h, uint64_t word)
{
    uint64_t x = (h ^ word) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(x >> 32) ^ (uint32_t)x;
}

/* Inputs are added up, not chained: a commutative op hashes alike in both orders. The
 * newest is added as it is, so that nodes that follow each other lie side by side. */
static inline uint32_t hti_node_hash(const ht_op *op, const void *attributes, uint32_t n,
                                     const uint32_t *in)
{
    uint32_t h = hti_mix(0, (uint64_t)(uintptr_t)op), newest = 0;
    if (op->attribute_size) h = (uint32_t)hti_hash(h, attributes, op->attribute_size);
    for (uint32_t i = 0; i < n; i++) {
        bool newer = in[i] > newest;
        h += hti_mix(1, newer ? newest : in[i]);
        newest = newer ? in[i] : newest;
    }
    return h + newest;
}

static inline bool hti_node_equals(const ht_tape *tape, uint32_t i, const ht_op *op,
                                   const void *attributes, uint32_t n, const uint32_t *in)
{
    if (tape->op[i] != op || tape->n_in[i] != n) return false;
    if (op->attribute_size && memcmp(tape->attributes[i], attributes, op->attribute_size))
        return false;
    const uint32_t *e = hti_inputs(tape, i);
    if (!n || !memcmp(e, in, n * sizeof *in)) return true;
    return (op->flags & HT_OP_COMMUTATIVE) && e[0] == in[1] && e[1] == in[0];
}

/* The node that is op(in), whose hash is h, if there is one; else HTI_NONE. Weakness is
 * part of the type, hence of what "equal" means. */
static inline uint32_t hti_find_equal(const ht_tape *tape, uint32_t h, const ht_op *op,
                                      const void *attributes, uint32_t n,
                                      const uint32_t *in, ht_dtype dtype, bool weak)
{
    if (op == &hti_op_input) return HTI_NONE;
    for (uint32_t i = tape->bucket[h & (tape->capacity - 1)]; i != HTI_NONE;
         i = tape->next[i])
        if (tape->hash[i] == h && hti_node_equals(tape, i, op, attributes, n, in) &&
            tape->type[i].dtype == dtype && tape->weak[i] == weak)
            return i;
    return HTI_NONE;
}

#endif
