/* SPDX-License-Identifier: MIT */
/* columns.h: room in a tape's columns, and the table in which equal nodes are found. */
#ifndef HTI_COLUMNS_H
#define HTI_COLUMNS_H

#include "tape.h"

/* Room for one more node, of n_in inputs. False after an error. */
bool hti_tape_reserve(ht_tape *tape, uint32_t n_in);

uint32_t hti_node_hash(const ht_op *op, const void *attributes, uint32_t n,
                       const uint32_t *in);
/* The node that is op(in), if there is one; else HTI_NONE. */
uint32_t hti_find_equal(const ht_tape *tape, uint32_t hash, const ht_op *op,
                        const void *attributes, uint32_t n, const uint32_t *in,
                        ht_dtype dtype, bool weak);
/* Puts node i, not a leaf, into the table; takes it out, the newest of it. */
void hti_bucket_insert(ht_tape *tape, uint32_t i);
void hti_bucket_pop(ht_tape *tape, uint32_t i);

#endif
