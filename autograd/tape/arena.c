/* SPDX-License-Identifier: MIT */
/* arena.c: bump allocation in chunks. A tape allocates thousands of small things that die
 * together; after the first pass over a loop an arena asks the allocator for nothing.
 * Read next: tape.c. */
#include "arena.h"

enum { HTI_CHUNK_LEAST = 16 * 1024 };

/* Chunk headers take one alignment unit, so that what follows is aligned as the block is.
 */
static unsigned char *chunk_data(hti_chunk *chunk)
{
    uintptr_t at = (uintptr_t)(chunk + 1);
    return (unsigned char *)chunk + (hti_round_up(at, HTI_ALIGN) - (uintptr_t)chunk);
}

static size_t chunk_bytes(size_t size)
{
    return sizeof(hti_chunk) + HTI_ALIGN + size;
}

/* Sizes double, so that a tape of any length has few chunks. */
static hti_chunk *chunk_new(hti_arena *arena, size_t bytes)
{
    size_t size = arena->last ? 2 * arena->last->size : HTI_CHUNK_LEAST;
    if (size < bytes) size = bytes;
    hti_chunk *chunk = hti_resize(arena->ctx, NULL, 0, chunk_bytes(size));
    if (chunk) *chunk = (hti_chunk){.size = size};
    return chunk;
}

/* Goes on in this chunk, of which so many bytes are free; NULL: there is none. */
static void arena_enter(hti_arena *arena, hti_chunk *chunk, size_t left)
{
    arena->last = chunk;
    arena->left = chunk ? left : 0;
    arena->at = chunk ? chunk_data(chunk) + (chunk->size - left) : NULL;
}

void *hti_arena_more(hti_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 4) {
        ht_context_fail(arena->ctx, HT_ERROR_MEMORY, NULL,
                        "a value of %zu bytes is too large", bytes);
        return NULL;
    }
    bytes = hti_round_up(bytes ? bytes : 1, HTI_ALIGN);
    while (arena->left < bytes && arena->last && arena->last->next)
        arena_enter(arena, arena->last->next, arena->last->next->size);
    if (arena->left < bytes) {
        hti_chunk *chunk = chunk_new(arena, bytes);
        if (!chunk) return NULL;
        if (arena->last)
            arena->last->next = chunk;
        else
            arena->first = chunk;
        arena_enter(arena, chunk, chunk->size);
    }
    return hti_arena_alloc(arena, bytes);
}

hti_arena_mark hti_arena_at(const hti_arena *arena)
{
    return (hti_arena_mark){arena->last, arena->left};
}

void hti_arena_rewind(hti_arena *arena, hti_arena_mark mark)
{
    hti_chunk *first = arena->first;
    if (mark.chunk)
        arena_enter(arena, mark.chunk, mark.left);
    else
        arena_enter(arena, first, first ? first->size : 0);
}

void hti_arena_free(hti_arena *arena)
{
    for (hti_chunk *c = arena->first, *next; c; c = next) {
        next = c->next;
        hti_resize(arena->ctx, c, chunk_bytes(c->size), 0);
    }
    arena->first = NULL;
    arena_enter(arena, NULL, 0);
}
