/* SPDX-License-Identifier: MIT */
/* memory.c: how many bytes a bilevel takes under each schedule, and the one allocation
 * all runs work in. Read next: choose.c. */
#include <string.h>

#include "bilevel_internal.h"
#include "checkpoints.h"

size_t hti_set_room(const ht_set *set)
{
    size_t bytes = 0;
    for (int i = 0; i < set->n; i++)
        bytes += hti_round_up(ht_tensor_bytes(set->tensor[i]), HTI_ALIGN);
    return bytes;
}

/* Of the first `kept` products. */
static size_t hti_logs_room(const ht_bilevel *b, int kept)
{
    size_t bytes = 0;
    for (int k = 0; k < kept; k++) bytes += hti_log_room(&b->log[k]);
    return bytes;
}

static hti_choice hti_chosen(const ht_bilevel *b)
{
    hti_choice c = {b->schedule, b->slots, 0};
    while (b->planning->level[c.level].kept != b->n_kept) c.level++;
    return c;
}

static int64_t hti_reversed_steps(const ht_bilevel *b)
{
    return b->problem.steps - b->first;
}

bool hti_stores_all(const ht_bilevel *b, hti_choice c)
{
    return b->method != HT_FORWARD && c.slots == hti_reversed_steps(b) &&
           c.schedule != HT_TWO_LEVEL;
}

/* Whether a choice has a use for a program: the logged pair serves steps from states in
 * slots, the other any step from a state that is in none. */
static bool hti_call_used(const ht_bilevel *b, hti_choice c, int kind)
{
    bool kept = b->planning->level[c.level].kept > 0;
    if (kind == HTI_FORWARD_LOGGED || kind == HTI_REVERSE_LOGGED) return kept;
    bool other = kind == HTI_FORWARD || kind == HTI_REVERSE_STEP;
    return !(other && kept && hti_stores_all(b, c));
}

static bool hti_is_logged(int kind)
{
    return kind == HTI_FORWARD_LOGGED || kind == HTI_REVERSE_LOGGED;
}

/* The largest arena of the programs a run replays: they share one, as none runs inside
 * another. */
static size_t hti_arena_room(const ht_bilevel *b, hti_choice c)
{
    size_t most = b->planning->level[c.level].arena;
    for (int k = 0; k < HTI_CALLS; k++) {
        const ht_program *p = b->call[k].program;
        if (p && !hti_is_logged(k) && hti_call_used(b, c, k) && p->arena_bytes > most)
            most = p->arena_bytes;
    }
    return hti_round_up(most, HTI_ALIGN);
}

/* Of theta and the state. */
static size_t hti_tensors(const ht_bilevel *b)
{
    return (size_t)b->theta->n + (size_t)b->state->n;
}

/* Beside those in slots: the last state, and two that an advance writes in turn; but
 * never more than there are states, as none is in two blocks. Forward mode only
 * advances. */
static int64_t hti_blocks(const ht_bilevel *b, hti_choice c)
{
    int64_t n = hti_reversed_steps(b);
    if (b->method == HT_FORWARD) return 2;
    return c.slots + 3 < n + 1 ? c.slots + 3 : n + 1;
}

/* Rooms for cotangents: a second one for those that a reverse step may not write over. */
static size_t hti_rooms(const ht_bilevel *b, hti_choice c)
{
    const hti_call *plain = &b->call[HTI_REVERSE_STEP];
    bool second =
        plain->over && !plain->over_all && hti_call_used(b, c, HTI_REVERSE_STEP);
    const hti_level *level = &b->planning->level[c.level];
    return second || (level->kept > 0 && !level->over_all) ? 2 : 1;
}

/* What this choice takes of `memory` (part of it: where tables begin). */
static size_t hti_memory_bytes(const ht_bilevel *b, hti_choice c)
{
    size_t slots = (size_t)c.slots, blocks = (size_t)hti_blocks(b, c);
    size_t state = hti_set_room(b->theta) + hti_set_room(b->state);
    size_t tables = blocks * (sizeof *b->references + sizeof *b->free_block) +
                    slots * (sizeof *b->pinned + sizeof *b->kept) +
                    2 * hti_tensors(b) * sizeof *b->cotangent;
    return blocks * state + hti_rooms(b, c) * state + hti_arena_room(b, c) +
           hti_forward_bytes(b) +
           slots * hti_logs_room(b, b->planning->level[c.level].kept) +
           hti_round_up(tables, HTI_ALIGN) + HTI_ALIGN;
}

size_t hti_call_bytes(const hti_call *call)
{
    if (!call->program) return 0;
    size_t bytes = hti_program_held(call->program);
    bytes += (size_t)call->n_in * sizeof *call->in;
    bytes += (size_t)call->n_out * sizeof *call->out;
    return bytes + (call->over ? (size_t)call->n_out * sizeof *call->over : 0);
}

size_t hti_choice_lasting(const ht_bilevel *b, hti_choice c)
{
    size_t bytes = b->planning->own_bytes + (size_t)b->n_log * sizeof *b->log;
    for (int k = 0; k < HTI_CALLS; k++)
        if (!hti_is_logged(k) && hti_call_used(b, c, k))
            bytes += hti_call_bytes(&b->call[k]);
    bytes += b->planning->level[c.level].bytes + hti_memory_bytes(b, c);
    return bytes + (b->method == HT_FORWARD ? 0 : hti_schedule_bytes(c.slots));
}

size_t hti_choice_bytes(const ht_bilevel *b, hti_choice c)
{
    size_t bytes = hti_choice_lasting(b, c), peak = b->planning->level[c.level].peak;
    return bytes > peak ? bytes : peak;
}

/* The allocation. */

static void hti_drop_unused(ht_bilevel *b)
{
    for (int k = 0; k < HTI_CALLS; k++)
        if (!hti_call_used(b, hti_chosen(b), k)) hti_call_free(b->ctx, &b->call[k]);
}

static unsigned char *hti_carve(unsigned char **at, size_t bytes)
{
    unsigned char *part = *at;
    *at += hti_round_up(bytes, HTI_ALIGN);
    return part;
}

bool hti_bilevel_allocate(ht_bilevel *b)
{
    hti_choice c = hti_chosen(b);
    hti_drop_unused(b);
    b->block_bytes = hti_set_room(b->theta) + hti_set_room(b->state);
    b->log_bytes = hti_logs_room(b, b->n_kept);
    b->n_blocks = hti_blocks(b, c);
    b->memory_bytes = hti_memory_bytes(b, c);
    b->memory = hti_resize(b->ctx, NULL, 0, b->memory_bytes);
    if (!b->memory) return false;
    hti_large_pages(b->memory, b->memory_bytes);
    unsigned char *at = (unsigned char *)hti_round_up((uintptr_t)b->memory, HTI_ALIGN);
    b->blocks = hti_carve(&at, (size_t)b->n_blocks * b->block_bytes);
    b->logs = hti_carve(&at, (size_t)b->slots * b->log_bytes);
    b->room[0] = hti_carve(&at, b->block_bytes);
    b->room[1] = b->room[0];
    if (hti_rooms(b, c) == 2) b->room[1] = hti_carve(&at, b->block_bytes);
    b->arena = hti_carve(&at, hti_arena_room(b, c));
    b->tangents = hti_carve(&at, hti_forward_bytes(b));
    b->cotangent = (void **)(void *)at;
    b->spare = b->cotangent + hti_tensors(b);
    b->free_block = (int64_t *)(void *)(b->spare + hti_tensors(b));
    b->pinned = b->free_block + b->n_blocks;
    b->references = (int32_t *)(void *)(b->pinned + b->slots);
    b->kept = (bool *)(void *)(b->references + b->n_blocks);
    for (int k = 0; k < HTI_CALLS; k++)
        if (b->call[k].program) hti_program_bind(b->call[k].program, b->arena);
    hti_schedule_kind kind = HTI_REVOLVE;
    if (b->schedule == HT_TWO_LEVEL) kind = HTI_TWO_LEVEL;
    if (hti_stores_all(b, c)) kind = HTI_STORE_ALL;
    if (b->method != HT_FORWARD)
        b->plan = hti_schedule_new(b->ctx, kind, b->first, b->problem.steps, b->slots);
    return b->ctx->status == HT_OK;
}

void hti_bilevel_release(ht_bilevel *b)
{
    hti_schedule_free(b->plan);
    hti_resize(b->ctx, b->memory, b->memory_bytes, 0);
}
