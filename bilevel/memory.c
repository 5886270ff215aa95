/* SPDX-License-Identifier: MIT */
/* memory.c: how many bytes a bilevel needs under each schedule, which one fits a budget,
 * and the one allocation all runs work in. Read next: run.c. */
#include <string.h>

#include "bilevel_internal.h"

size_t hti_set_room(const ht_set *set)
{
    size_t bytes = 0;
    for (int i = 0; i < set->n; i++)
        bytes += hti_round_up(ht_tensor_bytes(set->tensor[i]), HTI_ALIGN);
    return bytes;
}

static size_t hti_logs_room(const ht_bilevel *b)
{
    size_t bytes = 0;
    for (int k = 0; k < b->n_log; k++)
        bytes += hti_round_up(hti_bytes(b->log[k].dtype, b->log[k].shape), HTI_ALIGN);
    return bytes;
}

/* A schedule, its slots, and whether products are kept beside the states in them. */
typedef struct hti_choice {
    ht_schedule schedule;
    int64_t slots;
    bool logged;
} hti_choice;

static hti_choice hti_chosen(const ht_bilevel *b)
{
    return (hti_choice){b->schedule, b->slots, b->logged};
}

/* Whether a choice has a use for a program: the logged pair serves steps from states in
 * slots, the other any step from a state that is in none. */
static bool hti_call_used(hti_choice c, int kind)
{
    if (kind == HTI_FORWARD_LOGGED || kind == HTI_REVERSE_LOGGED) return c.logged;
    bool other = kind == HTI_FORWARD || kind == HTI_REVERSE_STEP;
    return !(other && c.logged && c.schedule == HT_STORE_ALL);
}

/* The largest arena of the programs a run replays: they share one, as none runs inside
 * another. */
static size_t hti_arena_room(const ht_bilevel *b, hti_choice c)
{
    size_t most = 0;
    for (int k = 0; k < HTI_CALLS; k++) {
        const ht_program *p = b->call[k].program;
        if (p && hti_call_used(c, k) && p->arena_bytes > most) most = p->arena_bytes;
    }
    return hti_round_up(most, HTI_ALIGN);
}

static hti_schedule_kind hti_kind(ht_schedule schedule)
{
    if (schedule == HT_TWO_LEVEL) return HTI_TWO_LEVEL;
    return schedule == HT_REVOLVE ? HTI_REVOLVE : HTI_STORE_ALL;
}

/* Of theta and the state. */
static size_t hti_tensors(const ht_bilevel *b)
{
    return (size_t)b->theta->n + (size_t)b->state->n;
}

/* Beside those in slots: the last state; and where not all are kept two that an advance
 * writes in turn. */
static int64_t hti_blocks(hti_choice c)
{
    return c.slots + (c.schedule == HT_STORE_ALL && c.slots > 0 ? 1 : 3);
}

/* Rooms for cotangents: a second one for those that a reverse step may not write over. */
static size_t hti_rooms(const ht_bilevel *b, hti_choice c)
{
    static const hti_call_kind kind[] = {HTI_REVERSE_STEP, HTI_REVERSE_LOGGED};
    for (int k = 0; k < 2; k++)
        if (b->call[kind[k]].over && hti_call_used(c, (int)kind[k]) &&
            !b->call[kind[k]].over_all)
            return 2;
    return 1;
}

/* What this choice takes of `memory` (part of it: where tables begin). */
static size_t hti_memory_bytes(const ht_bilevel *b, hti_choice c)
{
    size_t slots = (size_t)c.slots, blocks = (size_t)hti_blocks(c);
    size_t state = hti_set_room(b->theta) + hti_set_room(b->state);
    size_t tables = blocks * (sizeof *b->references + sizeof *b->free_block) +
                    slots * (sizeof *b->pinned + sizeof *b->kept) +
                    2 * hti_tensors(b) * sizeof *b->cotangent;
    return blocks * state + hti_rooms(b, c) * state + hti_arena_room(b, c) +
           hti_forward_bytes(b) + (c.logged ? slots * hti_logs_room(b) : 0) +
           hti_round_up(tables, HTI_ALIGN) + HTI_ALIGN;
}

/* The peak: of recording, for a small problem, else what stays with the memory of runs
 * and the schedule's own (a step per slot). */
static size_t hti_bytes_with(const ht_bilevel *b, hti_choice c)
{
    size_t bytes = b->recorded_bytes + hti_memory_bytes(b, c) + 256 +
                   (size_t)c.slots * sizeof(int64_t);
    return bytes > b->recorded_peak ? bytes : b->recorded_peak;
}

static bool hti_fits(const ht_bilevel *b, const ht_bilevel_options *o, hti_choice c)
{
    return !o->bytes || hti_bytes_with(b, c) <= o->bytes;
}

/* The most slots of revolve, up to n, that fit; 0 if none. */
static int64_t hti_most_slots(const ht_bilevel *b, const ht_bilevel_options *o, int64_t n,
                              bool logged)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (hti_fits(b, o, (hti_choice){HT_REVOLVE, middle, logged}))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static bool hti_too_small(ht_bilevel *b, const ht_bilevel_options *o, int64_t n)
{
    if (b->method == HT_FORWARD) {
        ht_context_fail(b->ctx, HT_ERROR_MEMORY, NULL,
                        "bilevel: a budget of %zu bytes is too small for forward mode "
                        "over %lld outer elements\n  hint: it needs %zu",
                        o->bytes, (long long)ht_set_elements(b->eta),
                        hti_bytes_with(b, (hti_choice){0}));
        return false;
    }
    int64_t two_level = hti_schedule_slots(HTI_TWO_LEVEL, n);
    ht_context_fail(
        b->ctx, HT_ERROR_MEMORY, NULL,
        "bilevel: a budget of %zu bytes is too small for %lld steps\n"
        "  hint: revolve with 1 slot needs %zu, two-level %zu, store-all %zu (%zu "
        "with products kept)",
        o->bytes, (long long)n, hti_bytes_with(b, (hti_choice){HT_REVOLVE, 1, false}),
        hti_bytes_with(b, (hti_choice){HT_TWO_LEVEL, two_level, false}),
        hti_bytes_with(b, (hti_choice){HT_STORE_ALL, n, false}),
        hti_bytes_with(b, (hti_choice){HT_STORE_ALL, n, b->n_log > 0}));
    return false;
}

/* The choice, with products kept if they fit. */
static bool hti_choose(ht_bilevel *b, const ht_bilevel_options *o, ht_schedule schedule,
                       int64_t slots)
{
    b->schedule = schedule;
    b->slots = slots;
    b->logged = b->n_log > 0 && hti_fits(b, o, (hti_choice){schedule, slots, true});
    return b->logged || hti_fits(b, o, (hti_choice){schedule, slots, false});
}

/* Flops of the products of a run of revolve. */
static double hti_cost(const ht_bilevel *b, int64_t n, int64_t slots, bool logged)
{
    const ht_program *reverse =
        b->call[logged ? HTI_REVERSE_LOGGED : HTI_REVERSE_STEP].program;
    int64_t steps = hti_schedule_forward_steps(HTI_REVOLVE, n, slots);
    return (double)steps * ht_program_flops(b->call[HTI_FORWARD].program) +
           (double)n * ht_program_flops(reverse);
}

/* As many slots as fit; products beside them, which leaves fewer, if that is cheaper. */
static bool hti_choose_revolve(ht_bilevel *b, const ht_bilevel_options *o, int64_t n)
{
    int64_t logged = b->n_log > 0 ? hti_most_slots(b, o, n, true) : 0;
    b->schedule = HT_REVOLVE;
    b->slots = hti_most_slots(b, o, n, false);
    b->logged =
        logged > 0 && hti_cost(b, n, logged, true) < hti_cost(b, n, b->slots, false);
    if (b->logged) b->slots = logged;
    return b->slots > 0;
}

static bool hti_choose_auto(ht_bilevel *b, const ht_bilevel_options *o, int64_t n)
{
    if (hti_choose(b, o, HT_STORE_ALL, n) && (b->logged || !b->n_log)) return true;
    if (!hti_choose_revolve(b, o, n)) return false;
    return b->logged || b->slots < n || hti_choose(b, o, HT_STORE_ALL, n);
}

bool hti_bilevel_choose(ht_bilevel *b, const ht_bilevel_options *o)
{
    int64_t n = b->problem.steps - b->first;
    bool fits;
    b->schedule = o->schedule;
    if (b->method == HT_FORWARD) {
        b->slots = 0;
        fits = hti_fits(b, o, (hti_choice){0});
    } else if (o->schedule == HT_SCHEDULE_AUTO) {
        fits = hti_choose_auto(b, o, n);
    } else if (o->schedule != HT_REVOLVE) {
        fits =
            hti_choose(b, o, o->schedule, hti_schedule_slots(hti_kind(o->schedule), n));
    } else if (o->slots) {
        fits = hti_choose(b, o, HT_REVOLVE, o->slots < n ? o->slots : n);
    } else if (o->bytes) {
        fits = hti_choose_revolve(b, o, n);
    } else {
        ht_context_fail(
            b->ctx, HT_ERROR_ARGUMENT, NULL,
            "bilevel: revolve needs options.slots, or options.bytes to find them");
        return false;
    }
    return fits || hti_too_small(b, o, n);
}

/* The allocation. */

static void hti_drop_unused(ht_bilevel *b)
{
    for (int k = 0; k < HTI_CALLS; k++)
        if (!hti_call_used(hti_chosen(b), k)) hti_call_free(b->ctx, &b->call[k]);
}

static unsigned char *hti_carve(unsigned char **at, size_t bytes)
{
    unsigned char *part = *at;
    *at += hti_round_up(bytes, HTI_ALIGN);
    return part;
}

bool hti_bilevel_allocate(ht_bilevel *b)
{
    hti_drop_unused(b);
    b->block_bytes = hti_set_room(b->theta) + hti_set_room(b->state);
    b->log_bytes = b->logged ? hti_logs_room(b) : 0;
    b->n_blocks = hti_blocks(hti_chosen(b));
    b->memory_bytes = hti_memory_bytes(b, hti_chosen(b));
    b->memory = hti_resize(b->ctx, NULL, 0, b->memory_bytes);
    if (!b->memory) return false;
    hti_large_pages(b->memory, b->memory_bytes);
    unsigned char *at = (unsigned char *)hti_round_up((uintptr_t)b->memory, HTI_ALIGN);
    b->blocks = hti_carve(&at, (size_t)b->n_blocks * b->block_bytes);
    b->logs = hti_carve(&at, (size_t)b->slots * b->log_bytes);
    b->room[0] = hti_carve(&at, b->block_bytes);
    b->room[1] = b->room[0];
    if (hti_rooms(b, hti_chosen(b)) == 2) b->room[1] = hti_carve(&at, b->block_bytes);
    b->arena = hti_carve(&at, hti_arena_room(b, hti_chosen(b)));
    b->tangents = hti_carve(&at, hti_forward_bytes(b));
    b->cotangent = (void **)(void *)at;
    b->spare = b->cotangent + hti_tensors(b);
    b->free_block = (int64_t *)(void *)(b->spare + hti_tensors(b));
    b->pinned = b->free_block + b->n_blocks;
    b->references = (int32_t *)(void *)(b->pinned + b->slots);
    b->kept = (bool *)(void *)(b->references + b->n_blocks);
    for (int k = 0; k < HTI_CALLS; k++)
        if (b->call[k].program) hti_program_bind(b->call[k].program, b->arena);
    if (b->method != HT_FORWARD)
        b->plan = hti_schedule_new(b->ctx, hti_kind(b->schedule), b->first,
                                   b->problem.steps, b->slots);
    return b->ctx->status == HT_OK;
}

void hti_bilevel_release(ht_bilevel *b)
{
    hti_schedule_free(b->plan);
    hti_resize(b->ctx, b->memory, b->memory_bytes, 0);
}
