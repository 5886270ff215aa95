/* SPDX-License-Identifier: MIT */
/* columns.h: room in a tape's columns, and the table in which equal nodes are found. */
#ifndef HTI_COLUMNS_H
#define HTI_COLUMNS_H

#include "tape.h"

/* Room for one more node, of n_in inputs. False after an error. There are edges as soon
 * as there is a node: a leaf's none have an address too. */
bool hti_tape_grow(ht_tape *tape, uint32_t n_in);
static inline bool hti_tape_reserve(ht_tape *tape, uint32_t n_in)
{
    bool room = tape->n < tape->capacity && tape->n < tape->n_buckets && tape->edge &&
                n_in <= tape->edge_capacity - tape->n_edges;
    return room || hti_tape_grow(tape, n_in);
}

/* The node that is op(in), if there is one; else HTI_NONE, and the hash to put one under.
 */
uint32_t hti_find_equal(const ht_tape *tape, const ht_op *op, const void *attributes,
                        uint32_t n, const uint32_t *in, ht_dtype dtype, bool weak,
                        uint32_t *hash);
static inline uint32_t *hti_node_bucket(const ht_tape *tape, uint32_t i)
{
    return &tape->bucket[tape->hash[i] & (tape->n_buckets - 1)];
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

#endif
