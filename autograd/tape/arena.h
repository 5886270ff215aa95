/* SPDX-License-Identifier: MIT */
/* arena.h: bump allocation in chunks, given back by rewinding. */
#ifndef HTI_ARENA_H
#define HTI_ARENA_H

#include "tensor_internal.h"

typedef struct hti_chunk {
    struct hti_chunk *next;
    size_t size, used; /* bytes after this header, rounded to HTI_ALIGN */
} hti_chunk;

typedef struct hti_arena {
    ht_context *ctx;
    hti_chunk *first, *last; /* chunks past `last` are empty, kept for reuse */
} hti_arena;

typedef struct hti_arena_mark {
    hti_chunk *chunk;
    size_t used;
} hti_arena_mark;

void *hti_arena_alloc(hti_arena *arena, size_t bytes); /* HTI_ALIGN-aligned, not zeroed */
hti_arena_mark hti_arena_at(const hti_arena *arena);
void hti_arena_rewind(hti_arena *arena, hti_arena_mark mark);
void hti_arena_free(hti_arena *arena);

#endif
