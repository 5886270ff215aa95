/* SPDX-License-Identifier: MIT */
/* columns.c: what a first reader may skip: how columns grow, and how an equal node is
 * found. */
#include "columns.h"

#include <string.h>

/* Equal nodes. */

static uint32_t mix(uint32_t h, uint64_t word)
{
    uint64_t x = (h ^ word) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(x >> 32) ^ (uint32_t)x;
}

/* Inputs are added up, not chained: a commutative op hashes alike in both orders. The
 * newest is added as it is, so that nodes that follow each other lie side by side. */
static uint32_t node_hash(const ht_op *op, const void *attributes, uint32_t n,
                          const uint32_t *in)
{
    uint32_t h = mix(0, (uint64_t)(uintptr_t)op), newest = 0;
    const unsigned char *bytes = attributes;
    uint64_t word = 0;
    for (size_t at = 0; at < op->attribute_size; at += sizeof word) {
        size_t left = op->attribute_size - at;
        memcpy(&word, bytes + at, left < sizeof word ? left : sizeof word);
        h = mix(h, word);
    }
    for (uint32_t i = 0; i < n; i++) {
        bool newer = in[i] > newest;
        h += mix(1, newer ? newest : in[i]);
        newest = newer ? in[i] : newest;
    }
    return h + newest;
}

static bool node_equals(const ht_tape *tape, uint32_t i, const ht_op *op,
                        const void *attributes, uint32_t n, const uint32_t *in)
{
    if (tape->op[i] != op || tape->n_in[i] != n) return false;
    if (op->attribute_size && memcmp(tape->attributes[i], attributes, op->attribute_size))
        return false;
    const uint32_t *e = hti_inputs(tape, i);
    if (!n || !memcmp(e, in, n * sizeof *in)) return true;
    return (op->flags & HT_OP_COMMUTATIVE) && e[0] == in[1] && e[1] == in[0];
}

static void rehash(ht_tape *tape)
{
    for (uint32_t b = 0; b < tape->n_buckets; b++) tape->bucket[b] = HTI_NONE;
    for (uint32_t i = 0; i < tape->n; i++) hti_bucket_insert(tape, i);
}

/* Weakness is part of the type, hence of what "equal" means. */
uint32_t hti_find_equal(const ht_tape *tape, const ht_op *op, const void *attributes,
                        uint32_t n, const uint32_t *in, ht_dtype dtype, bool weak,
                        uint32_t *hash)
{
    uint32_t h = *hash = node_hash(op, attributes, n, in);
    if (op == &hti_op_input) return HTI_NONE;
    for (uint32_t i = tape->bucket[h & (tape->n_buckets - 1)]; i != HTI_NONE;
         i = tape->next[i])
        if (tape->hash[i] == h && node_equals(tape, i, op, attributes, n, in) &&
            tape->type[i].dtype == dtype && tape->weak[i] == weak)
            return i;
    return HTI_NONE;
}

/* Growth. */

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
