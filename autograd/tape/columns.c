/* SPDX-License-Identifier: MIT */
/* columns.c: what a first reader may skip: how columns grow. */
#include "columns.h"

#include <string.h>

/* Nodes and edges are counted in 32 bits. */
static bool tape_full(ht_tape *tape, const char *what)
{
    ht_context_fail(tape->ctx, HT_ERROR_MEMORY, NULL,
                    "a tape of %u nodes and %u edges has no room for more %s\n"
                    "  hint: ht_tape_reset, ht_tape_rewind or another tape",
                    tape->n, tape->n_edges, what);
    return false;
}

/* Twice the columns, one behind the other in one block, and every node in its bucket. */
static bool tape_grow_columns(ht_tape *tape)
{
    HTI_ALIVE(tape, "op", "tape"); /* one that was freed has room for no node */
    uint32_t old = tape->capacity, capacity = old ? 2 * old : 64;
    if (capacity < old) return tape_full(tape, "nodes");
    unsigned char *at = hti_resize(tape->ctx, NULL, 0, (size_t)capacity * HTI_NODE_BYTES);
    if (!at) return false;
    void *block = tape->block;
    tape->block = at;
#define HTI_COLUMN_MOVE(type, name)                      \
    if (old) memcpy(at, tape->name, old * sizeof(type)); \
    tape->name = (type *)(void *)at;                     \
    at += capacity * sizeof(type);
    HTI_COLUMNS(HTI_COLUMN_MOVE)
#undef HTI_COLUMN_MOVE
    hti_resize(tape->ctx, block, (size_t)old * HTI_NODE_BYTES, 0);
    tape->capacity = capacity;
    for (uint32_t b = 0; b < capacity; b++) tape->bucket[b] = HTI_NONE;
    for (uint32_t i = 0; i < tape->n; i++) hti_bucket_insert(tape, i);
    return true;
}

bool hti_tape_grow(ht_tape *tape, uint32_t n_in)
{
    if (tape->n == tape->capacity && !tape_grow_columns(tape)) return false;
    if (tape->edge && n_in <= tape->edge_capacity - tape->n_edges) return true;
    uint64_t capacity = 2 * (uint64_t)tape->edge_capacity + n_in + 64;
    if (capacity > UINT32_MAX) capacity = UINT32_MAX;
    if (capacity - tape->n_edges < n_in) return tape_full(tape, "edges");
    void *edge = hti_resize(tape->ctx, tape->edge, tape->edge_capacity * sizeof(uint32_t),
                            capacity * sizeof(uint32_t));
    if (!edge) return false;
    tape->edge = edge;
    tape->edge_capacity = (uint32_t)capacity;
    return true;
}
