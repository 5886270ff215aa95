/* SPDX-License-Identifier: MIT */
/* memory.c: how many bytes a bilevel takes by each choice, and the one allocation all
 * runs work in. Read next: choose.c. */
#include "checkpoints.h"
#include "disk.h"
#include "unroll.h"

/* Of the first `kept` products. */
static size_t products_bytes(const ht_bilevel *b, int kept)
{
    size_t bytes = 0;
    for (int k = 0; k < kept; k++) bytes += hti_product_bytes(&b->programs.product[k]);
    return bytes;
}

/* Steps that are reversed at a time. */
static int64_t stretch(const ht_bilevel *b, hti_choice c)
{
    return c.segment ? c.segment : hti_reversed(b);
}

/* Every state a run differentiates from is kept. */
static bool stores_all(const ht_bilevel *b, hti_choice c)
{
    return c.slots == stretch(b, c) && c.schedule != HT_TWO_LEVEL;
}

static bool is_kept_pair(hti_call_kind kind)
{
    return kind == HTI_FORWARD_KEPT || kind == HTI_REVERSE_KEPT;
}

/* Whether a choice has a use for a program: the pair that keeps products serves steps
 * from states in slots, the other any step from a state that is in none, as where another
 * segment is begun or was reversed before. */
static bool call_used(const ht_bilevel *b, hti_choice c, hti_call_kind kind)
{
    bool kept = b->planning->level[c.level].kept > 0;
    if (is_kept_pair(kind)) return kept;
    bool other = kind == HTI_FORWARD || kind == HTI_REVERSE_STEP;
    return !(other && kept && stores_all(b, c) && !c.segment);
}

/* The largest arena of the programs a run replays: they share one, as none runs inside
 * another. */
static size_t arena_bytes(const ht_bilevel *b, hti_choice c)
{
    size_t most = b->planning->level[c.level].arena;
    for (hti_call_kind k = 0; k < HTI_CALLS; k++) {
        const ht_program *p = b->programs.call[k].program;
        if (!p || is_kept_pair(k) || !call_used(b, c, k)) continue;
        if (ht_program_bytes(p) > most) most = ht_program_bytes(p);
    }
    return hti_round_up(most, HTI_ALIGN);
}

/* Of theta and the state. */
static size_t state_tensors(const ht_bilevel *b)
{
    return (size_t)b->problem.theta->n + (size_t)b->problem.state->n;
}

/* Beside blocks in slots there are the last state and two that an advance writes in turn;
 * but never more than there are states, as none is in two blocks, nor fewer where the
 * advance is one to another segment. */
hti_room hti_reverse_room(const ht_bilevel *b, hti_choice c)
{
    int64_t n = stretch(b, c);
    if (c.segment && n < 2) n = 2;
    const hti_call *plain = &b->programs.call[HTI_REVERSE_STEP];
    const hti_level *level = &b->planning->level[c.level];
    bool second = plain->over && !plain->over_all && call_used(b, c, HTI_REVERSE_STEP);
    return (hti_room){.blocks = c.slots + 3 < n + 1 ? c.slots + 3 : n + 1,
                      .cotangents = second || (level->kept && !level->over_all) ? 2 : 1};
}

/* What this choice takes of the allocation, whose tables come last. */
static size_t memory_bytes(const ht_bilevel *b, hti_choice c)
{
    const hti_memory *m = &b->memory;
    const hti_run *run = &b->run;
    hti_room room = b->method->room(b, c);
    size_t slots = (size_t)c.slots, blocks = (size_t)room.blocks;
    size_t tables = blocks * (sizeof *m->references + sizeof *m->free_block) +
                    slots * (sizeof *m->pinned + sizeof *m->kept) +
                    2 * state_tensors(b) * sizeof *run->cotangent;
    size_t cotangents = (size_t)room.cotangents * (size_t)hti_outers(b);
    return (blocks + cotangents) * m->block_bytes + arena_bytes(b, c) + room.own +
           slots * products_bytes(b, b->planning->level[c.level].kept) +
           hti_round_up(tables, HTI_ALIGN) + HTI_ALIGN;
}

size_t hti_choice_lasting(const ht_bilevel *b, hti_choice c)
{
    size_t bytes = b->planning->own_bytes;
    bytes += (size_t)b->programs.n_products * sizeof *b->programs.product;
    for (hti_call_kind k = 0; k < HTI_CALLS; k++)
        if (!is_kept_pair(k) && call_used(b, c, k))
            bytes += hti_call_bytes(&b->programs.call[k]);
    bytes += b->planning->level[c.level].bytes + memory_bytes(b, c);
    if (b->method->keeps_states) bytes += hti_plan_bytes(c);
    return bytes + (c.segment ? hti_disk_bytes(c) : 0);
}

size_t hti_choice_bytes(const ht_bilevel *b, hti_choice c)
{
    size_t bytes = hti_choice_lasting(b, c), peak = b->planning->level[c.level].peak;
    return bytes > peak ? bytes : peak;
}

/* The allocation. */

/* Tables of pointers and numbers, the widest first. */
static void carve_tables(ht_bilevel *b, unsigned char *at)
{
    hti_memory *m = &b->memory;
    b->run.cotangent = (void **)(void *)at;
    b->run.back = b->run.cotangent + state_tensors(b);
    m->free_block = (int64_t *)(void *)(b->run.back + state_tensors(b));
    m->pinned = m->free_block + m->n_blocks;
    m->references = (int32_t *)(void *)(m->pinned + m->choice.slots);
    m->kept = (bool *)(void *)(m->references + m->n_blocks);
}

static void carve_all(ht_bilevel *b, hti_choice c, hti_room room)
{
    hti_memory *m = &b->memory;
    unsigned char *at =
        (unsigned char *)hti_round_up((uintptr_t)m->allocation, HTI_ALIGN);
    m->blocks = hti_carve(&at, (size_t)m->n_blocks * m->block_bytes);
    m->products = hti_carve(&at, (size_t)m->choice.slots * m->product_bytes);
    size_t cotangents = (size_t)hti_outers(b) * m->block_bytes;
    m->cotangents[0] = hti_carve(&at, room.cotangents > 0 ? cotangents : 0);
    m->cotangents[1] = m->cotangents[0];
    if (room.cotangents == 2) m->cotangents[1] = hti_carve(&at, cotangents);
    m->arena = hti_carve(&at, arena_bytes(b, c));
    m->own = hti_carve(&at, room.own);
    carve_tables(b, at);
}

static bool open_plan(ht_bilevel *b, hti_choice c)
{
    if (!b->method->keeps_states) return true;
    return hti_plan_open(b->ctx, &b->memory.plan, c, b->problem.first,
                         b->problem.steps) &&
           (!c.segment || hti_disk_open(b));
}

bool hti_memory_allocate(ht_bilevel *b)
{
    hti_memory *m = &b->memory;
    hti_call *call = b->programs.call;
    hti_choice c = m->choice;
    for (hti_call_kind k = 0; k < HTI_CALLS; k++)
        if (!call_used(b, c, k)) hti_call_free(b->ctx, &call[k]);
    hti_room room = b->method->room(b, c);
    m->product_bytes = products_bytes(b, b->programs.n_kept);
    m->n_blocks = room.blocks;
    m->bytes = memory_bytes(b, c);
    b->ctx->advice = "fewer steps, or a budget for them: options.bytes, or HT_REVOLVE "
                     "and its slots";
    m->allocation = hti_resize(b->ctx, NULL, 0, m->bytes);
    b->ctx->advice = NULL;
    if (!m->allocation) return false;
    hti_large_pages(m->allocation, m->bytes);
    carve_all(b, c, room);
    for (hti_call_kind k = 0; k < HTI_CALLS; k++)
        if (call[k].program) hti_program_bind(call[k].program, m->arena);
    return open_plan(b, c);
}

void hti_memory_release(ht_bilevel *b)
{
    hti_plan_close(&b->memory.plan);
    hti_disk_close(b);
    hti_resize(b->ctx, b->memory.allocation, b->memory.bytes, 0);
}
