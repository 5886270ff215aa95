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

/* The largest arena of the programs a run replays: they share one, as none runs inside
 * another. */
static size_t hti_arena_room(const ht_bilevel *b, bool logged)
{
    hti_call_kind skip[2] = {logged ? HTI_FORWARD : HTI_FORWARD_LOGGED,
                             logged ? HTI_REVERSE_STEP : HTI_REVERSE_LOGGED};
    size_t most = 0;
    for (int k = 0; k < HTI_CALLS; k++) {
        const ht_program *p = b->call[k].program;
        if (p && k != (int)skip[0] && k != (int)skip[1] && p->arena_bytes > most)
            most = p->arena_bytes;
    }
    return hti_round_up(most, HTI_ALIGN);
}

static hti_schedule_kind hti_kind(ht_schedule schedule)
{
    if (schedule == HT_TWO_LEVEL) return HTI_TWO_LEVEL;
    return schedule == HT_REVOLVE ? HTI_REVOLVE : HTI_STORE_ALL;
}

/* What this choice of slots takes of `memory` (part of it: where tables begin). */
static size_t hti_memory_bytes(const ht_bilevel *b, int64_t slots, bool logged)
{
    size_t n = (size_t)(b->problem.steps - b->first);
    size_t blocks = (size_t)slots + 3;
    size_t state = hti_set_room(b->theta) + hti_set_room(b->state);
    size_t tables = blocks * (sizeof *b->references + sizeof *b->free_block) +
                    (size_t)slots * sizeof *b->pinned;
    return blocks * state + 2 * state + hti_arena_room(b, logged) + hti_forward_bytes(b) +
           (logged ? n * hti_logs_room(b) : 0) + hti_round_up(tables, HTI_ALIGN) +
           HTI_ALIGN;
}

/* The peak: of recording, for a small problem, else what stays with the memory of runs
 * and the schedule's own (a step per slot). */
static size_t hti_bytes_with(const ht_bilevel *b, int64_t slots, bool logged)
{
    size_t bytes = b->recorded_bytes + hti_memory_bytes(b, slots, logged) + 256 +
                   (size_t)slots * sizeof(int64_t);
    return bytes > b->recorded_peak ? bytes : b->recorded_peak;
}

static bool hti_fits(const ht_bilevel *b, const ht_bilevel_options *o, int64_t slots,
                     bool logged)
{
    return !o->bytes || hti_bytes_with(b, slots, logged) <= o->bytes;
}

/* The most slots, up to n, that fit; 0 if none. */
static int64_t hti_most_slots(const ht_bilevel *b, const ht_bilevel_options *o, int64_t n)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (hti_fits(b, o, middle, false))
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
                        hti_bytes_with(b, 0, false));
        return false;
    }
    ht_context_fail(
        b->ctx, HT_ERROR_MEMORY, NULL,
        "bilevel: a budget of %zu bytes is too small for %lld steps\n"
        "  hint: revolve with 1 slot needs %zu, two-level %zu, store-all %zu (%zu "
        "with products kept)",
        o->bytes, (long long)n, hti_bytes_with(b, 1, false),
        hti_bytes_with(b, hti_schedule_slots(HTI_TWO_LEVEL, n), false),
        hti_bytes_with(b, n, false), hti_bytes_with(b, n, true));
    return false;
}

/* AUTO: all states with products, all states, as many as fit. */
static bool hti_choose_auto(ht_bilevel *b, const ht_bilevel_options *o, int64_t n)
{
    b->schedule = HT_STORE_ALL;
    b->slots = n;
    b->logged = b->n_log > 0 && hti_fits(b, o, n, true);
    if (b->logged || hti_fits(b, o, n, false)) return true;
    b->schedule = HT_REVOLVE;
    b->slots = hti_most_slots(b, o, n);
    return b->slots > 0 || hti_too_small(b, o, n);
}

static bool hti_choose_revolve(ht_bilevel *b, const ht_bilevel_options *o, int64_t n)
{
    if (!o->slots && !o->bytes) {
        ht_context_fail(
            b->ctx, HT_ERROR_ARGUMENT, NULL,
            "bilevel: revolve needs options.slots, or options.bytes to find them");
        return false;
    }
    b->slots = o->slots ? o->slots : hti_most_slots(b, o, n);
    if (b->slots > n) b->slots = n;
    return (b->slots > 0 && hti_fits(b, o, b->slots, false)) || hti_too_small(b, o, n);
}

bool hti_bilevel_choose(ht_bilevel *b, const ht_bilevel_options *o)
{
    int64_t n = b->problem.steps - b->first;
    b->schedule = o->schedule;
    if (b->method == HT_FORWARD) {
        b->slots = 0;
        return hti_fits(b, o, 0, false) || hti_too_small(b, o, n);
    }
    if (b->schedule == HT_SCHEDULE_AUTO) return hti_choose_auto(b, o, n);
    if (b->schedule == HT_REVOLVE) return hti_choose_revolve(b, o, n);
    b->slots = hti_schedule_slots(hti_kind(b->schedule), n);
    b->logged = b->schedule == HT_STORE_ALL && b->n_log > 0 && hti_fits(b, o, n, true);
    return b->logged || hti_fits(b, o, b->slots, false) || hti_too_small(b, o, n);
}

/* The allocation. */

/* Programs the choice has no use for go, so that the logged pair is the pair. */
static void hti_drop_unused(ht_bilevel *b)
{
    hti_call_kind drop = b->logged ? HTI_FORWARD : HTI_FORWARD_LOGGED;
    hti_call_kind drop_too = b->logged ? HTI_REVERSE_STEP : HTI_REVERSE_LOGGED;
    hti_call_free(b->ctx, &b->call[drop]);
    hti_call_free(b->ctx, &b->call[drop_too]);
}

static unsigned char *hti_carve(unsigned char **at, size_t bytes)
{
    unsigned char *part = *at;
    *at += hti_round_up(bytes, HTI_ALIGN);
    return part;
}

bool hti_bilevel_allocate(ht_bilevel *b)
{
    int64_t n = b->problem.steps - b->first;
    hti_drop_unused(b);
    b->block_bytes = hti_set_room(b->theta) + hti_set_room(b->state);
    b->log_bytes = b->logged ? hti_logs_room(b) : 0;
    b->n_blocks = b->slots + 3;
    b->memory_bytes = hti_memory_bytes(b, b->slots, b->logged);
    b->memory = hti_resize(b->ctx, NULL, 0, b->memory_bytes);
    if (!b->memory) return false;
    unsigned char *at = (unsigned char *)hti_round_up((uintptr_t)b->memory, HTI_ALIGN);
    b->blocks = hti_carve(&at, (size_t)b->n_blocks * b->block_bytes);
    b->logs = hti_carve(&at, (size_t)n * b->log_bytes);
    b->cotangent[0] = hti_carve(&at, b->block_bytes);
    b->cotangent[1] = hti_carve(&at, b->block_bytes);
    b->arena = hti_carve(&at, hti_arena_room(b, b->logged));
    b->tangents = hti_carve(&at, hti_forward_bytes(b));
    b->free_block = (int64_t *)(void *)at;
    b->pinned = b->free_block + b->n_blocks;
    b->references = (int32_t *)(void *)(b->pinned + b->slots);
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
