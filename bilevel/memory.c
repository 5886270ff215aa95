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

/* Of the first `kept` products. */
static size_t hti_logs_room(const ht_bilevel *b, int kept)
{
    size_t bytes = 0;
    for (int k = 0; k < kept; k++) bytes += hti_log_room(&b->log[k]);
    return bytes;
}

/* A schedule, its slots, and how many products are kept beside the states in them. */
typedef struct hti_choice {
    ht_schedule schedule;
    int64_t slots;
    int kept;
} hti_choice;

static hti_choice hti_chosen(const ht_bilevel *b)
{
    return (hti_choice){b->schedule, b->slots, b->n_kept};
}

/* Whether a choice has a use for a program: the logged pair serves steps from states in
 * slots, the other any step from a state that is in none. */
static bool hti_call_used(hti_choice c, int kind)
{
    if (kind == HTI_FORWARD_LOGGED || kind == HTI_REVERSE_LOGGED) return c.kept > 0;
    bool other = kind == HTI_FORWARD || kind == HTI_REVERSE_STEP;
    return !(other && c.kept > 0 && c.schedule == HT_STORE_ALL);
}

/* The largest arena of the programs a run replays: they share one, as none runs inside
 * another. With fewer products than the logged programs were cut with it is not known
 * yet: then any program's. */
static size_t hti_arena_room(const ht_bilevel *b, hti_choice c)
{
    size_t most = 0;
    for (int k = 0; k < HTI_CALLS; k++) {
        const ht_program *p = b->call[k].program;
        bool counts = hti_call_used(c, k) || (c.kept > 0 && c.kept != b->n_cut);
        if (p && counts && p->arena_bytes > most) most = p->arena_bytes;
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
           hti_forward_bytes(b) + slots * hti_logs_room(b, c.kept) +
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
                              int kept)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (hti_fits(b, o, (hti_choice){HT_REVOLVE, middle, kept}))
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
        o->bytes, (long long)n, hti_bytes_with(b, (hti_choice){HT_REVOLVE, 1, 0}),
        hti_bytes_with(b, (hti_choice){HT_TWO_LEVEL, two_level, 0}),
        hti_bytes_with(b, (hti_choice){HT_STORE_ALL, n, 0}),
        hti_bytes_with(b, (hti_choice){HT_STORE_ALL, n, b->n_log}));
    return false;
}

/* The choice, with as many products as fit, up to `kept`. */
static bool hti_choose(ht_bilevel *b, const ht_bilevel_options *o, ht_schedule schedule,
                       int64_t slots, int kept)
{
    while (kept > 0 && !hti_fits(b, o, (hti_choice){schedule, slots, kept})) kept--;
    b->schedule = schedule;
    b->slots = slots;
    b->n_kept = kept;
    return hti_fits(b, o, (hti_choice){schedule, slots, kept});
}

/* Flops of the products of a run of revolve, beside those of its reverse steps without
 * products kept. */
static double hti_cost(const ht_bilevel *b, int64_t n, int64_t slots, int kept)
{
    int64_t steps = hti_schedule_forward_steps(HTI_REVOLVE, n, slots);
    double cost = (double)steps * ht_program_flops(b->call[HTI_FORWARD].program);
    for (int k = 0; k < kept; k++) cost -= (double)n * b->log[k].flops;
    return cost;
}

/* As many slots as fit beside the number of products that makes the run cheapest: each
 * product kept leaves fewer slots. */
static bool hti_choose_revolve(ht_bilevel *b, const ht_bilevel_options *o, int64_t n,
                               int most)
{
    double least = 0;
    b->schedule = HT_REVOLVE;
    b->slots = 0;
    for (int kept = 0; kept <= most; kept++) {
        int64_t slots = hti_most_slots(b, o, n, kept);
        if (slots == 0) break;
        double cost = hti_cost(b, n, slots, kept);
        if (kept > 0 && cost >= least) continue;
        least = cost;
        b->slots = slots;
        b->n_kept = kept;
    }
    return b->slots > 0;
}

static bool hti_choose_auto(ht_bilevel *b, const ht_bilevel_options *o, int64_t n,
                            int kept)
{
    if (hti_fits(b, o, (hti_choice){HT_STORE_ALL, n, kept}))
        return hti_choose(b, o, HT_STORE_ALL, n, kept);
    if (!hti_choose_revolve(b, o, n, kept)) return false;
    return b->slots < n || hti_choose(b, o, HT_STORE_ALL, n, b->n_kept);
}

bool hti_bilevel_fits(const ht_bilevel *b, const ht_bilevel_options *o)
{
    return hti_fits(b, o, hti_chosen(b));
}

bool hti_bilevel_choose(ht_bilevel *b, const ht_bilevel_options *o, int kept)
{
    int64_t n = b->problem.steps - b->first;
    bool fits;
    b->schedule = o->schedule;
    if (b->method == HT_FORWARD) {
        b->slots = 0;
        fits = hti_fits(b, o, (hti_choice){0});
    } else if (o->schedule == HT_SCHEDULE_AUTO) {
        fits = hti_choose_auto(b, o, n, kept);
    } else if (o->schedule != HT_REVOLVE) {
        int64_t slots = hti_schedule_slots(hti_kind(o->schedule), n);
        fits = hti_choose(b, o, o->schedule, slots, kept);
    } else if (o->slots) {
        fits = hti_choose(b, o, HT_REVOLVE, o->slots < n ? o->slots : n, kept);
    } else if (o->bytes) {
        fits = hti_choose_revolve(b, o, n, kept);
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
    b->log_bytes = hti_logs_room(b, b->n_kept);
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
