/* SPDX-License-Identifier: MIT */
/* columns.c: what a first reader may skip: how columns grow. */
#include "columns.h"

#include <string.h>

static void rehash(ht_tape *tape)
{
    for (uint32_t b = 0; b < tape->n_buckets; b++) tape->bucket[b] = HTI_NONE;
    for (uint32_t i = 0; i < tape->n; i++) hti_bucket_insert(tape, i);
}

/* Nodes and edges are counted in 32 bits. */
static bool tape_full(ht_tape *tape, const char *what)
{
    ht_context_fail(tape->ctx, HT_ERROR_MEMORY, NULL,
                    "a tape of %u nodes and %u edges has no room for more %s\n"
                    "  hint: ht_tape_reset, ht_tape_rewind or another tape",
                    tape->n, tape->n_edges, what);
    return false;
}

/* Columns grow one by one; if one fails the others are merely longer than they need to
 * be, so sizes are kept by giving the grown ones back. */
static bool tape_grow_columns(ht_tape *tape)
{
    uint32_t old = tape->capacity, capacity = old ? 2 * old : 64;
    if (capacity < old) return tape_full(tape, "nodes");
#define HTI_COLUMN_GROW(type, name) \
    type *new_##name = hti_resize(tape->ctx, NULL, 0, capacity * sizeof(type));
    HTI_COLUMNS(HTI_COLUMN_GROW)
#undef HTI_COLUMN_GROW
    bool ok = true;
#define HTI_COLUMN_ALL(type, name) ok = ok && new_##name;
    HTI_COLUMNS(HTI_COLUMN_ALL)
#undef HTI_COLUMN_ALL
#define HTI_COLUMN_SWAP(type, name)                                    \
    if (ok) {                                                          \
        if (old) memcpy(new_##name, tape->name, old * sizeof(type));   \
        hti_resize(tape->ctx, tape->name, old * sizeof(type), 0);      \
        tape->name = new_##name;                                       \
    } else {                                                           \
        hti_resize(tape->ctx, new_##name, capacity * sizeof(type), 0); \
    }
    HTI_COLUMNS(HTI_COLUMN_SWAP)
#undef HTI_COLUMN_SWAP
    if (ok) tape->capacity = capacity;
    return ok;
}

static bool tape_grow_buckets(ht_tape *tape)
{
    uint32_t n = tape->n_buckets ? 2 * tape->n_buckets : 64;
    uint32_t *bucket = hti_resize(tape->ctx, NULL, 0, n * sizeof *bucket);
    if (!bucket) return false;
    hti_resize(tape->ctx, tape->bucket, tape->n_buckets * sizeof *bucket, 0);
    tape->bucket = bucket;
    tape->n_buckets = n;
    rehash(tape);
    return true;
}

bool hti_tape_grow(ht_tape *tape, uint32_t n_in)
{
    if (tape->n == tape->capacity && !tape_grow_columns(tape)) return false;
    if (tape->n >= tape->n_buckets && !tape_grow_buckets(tape)) return false;
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
