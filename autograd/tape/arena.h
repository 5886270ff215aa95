/* SPDX-License-Identifier: MIT */
/* arena.h: bump allocation in chunks, given back by rewinding. */
#ifndef HTI_ARENA_H
#define HTI_ARENA_H

#include "tensor_internal.h"

typedef struct hti_chunk {
    struct hti_chunk *next;
    size_t size; /* bytes after this header, rounded to HTI_ALIGN */
} hti_chunk;

typedef struct hti_arena {
    ht_context *ctx;
    hti_chunk *first, *last; /* chunks past `last` are empty, kept for reuse */
    unsigned char *at;       /* what is free of `last`, ... */
    size_t left;             /* ... and how many bytes: whole HTI_ALIGN */
} hti_arena;

typedef struct hti_arena_mark {
    hti_chunk *chunk;
    size_t left;
} hti_arena_mark;

/* Of more bytes than `left`, or of none. */
void *hti_arena_more(hti_arena *arena, size_t bytes);
/* HTI_ALIGN-aligned, not zeroed. */
static inline void *hti_arena_alloc(hti_arena *arena, size_t bytes)
{
    if (bytes - 1 >= arena->left) return hti_arena_more(arena, bytes);
    unsigned char *p = arena->at;
    bytes = hti_round_up(bytes, HTI_ALIGN);
    arena->at += bytes;
    arena->left -= bytes;
    return p;
}
hti_arena_mark hti_arena_at(const hti_arena *arena);
void hti_arena_rewind(hti_arena *arena, hti_arena_mark mark);
void hti_arena_free(hti_arena *arena);

#endif
