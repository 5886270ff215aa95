/* SPDX-License-Identifier: MIT */
/* choose.c: which schedule, how many slots and how many products kept beside them, within
 * a budget. What a choice takes does not depend on the budget (memory.c), and AUTO walks
 * one way through the choices, each no slower than the one before: so what a message
 * offers is accepted, and more budget never runs more steps. Read next: sweep.c. */
#include <stdio.h>

#include "checkpoints.h"
#include "disk.h"
#include "unroll.h"

static bool fits(const ht_bilevel *b, const ht_bilevel_options *o, hti_choice c)
{
    return !o->bytes || hti_choice_bytes(b, c) <= o->bytes;
}

static bool take(ht_bilevel *b, hti_choice c)
{
    b->memory.choice = c;
    b->programs.n_kept = b->planning->level[c.level].kept;
    return true;
}

static int64_t wanted_slots(const ht_bilevel *b, const ht_bilevel_options *o)
{
    int64_t n = hti_reversed(b);
    if (o->schedule == HT_TWO_LEVEL) return hti_schedule_slots(HT_TWO_LEVEL, n);
    return o->schedule == HT_REVOLVE && o->slots && o->slots < n ? o->slots : n;
}

/* What would be taken without a budget. */
static hti_choice wanted(const ht_bilevel *b, const ht_bilevel_options *o)
{
    int last = b->planning->n_level - 1;
    if (!b->method->keeps_states)
        return (hti_choice){.schedule = HT_SCHEDULE_NONE, .level = last};
    return (hti_choice){.schedule = o->schedule ? o->schedule : HT_STORE_ALL,
                        .level = last,
                        .slots = wanted_slots(b, o)};
}

/* Words. */

/* The least a schedule takes, whatever is kept beside it. */
static size_t least(const ht_bilevel *b, ht_schedule schedule, int64_t slots)
{
    size_t fewest =
        hti_choice_bytes(b, (hti_choice){.schedule = schedule, .slots = slots});
    for (int level = 1; level < b->planning->n_level; level++) {
        size_t bytes = hti_choice_bytes(
            b, (hti_choice){.schedule = schedule, .level = level, .slots = slots});
        if (bytes < fewest) fewest = bytes;
    }
    return fewest;
}

void hti_reverse_refuse(const ht_bilevel *b, const ht_bilevel_options *o)
{
    int64_t n = hti_reversed(b);
    char slots[96] = "";
    if (o->slots > 1)
        snprintf(slots, sizeof slots, " with %lld slots of revolve, which need %zu",
                 (long long)o->slots, least(b, HT_REVOLVE, wanted_slots(b, o)));
    ht_context_fail(
        b->ctx, HT_ERROR_MEMORY, NULL,
        "bilevel: a budget of %zu bytes is too small for %lld steps%s\n"
        "  hint: revolve with 1 slot needs %zu, two-level %zu, store-all %zu (%zu "
        "with products kept)",
        o->bytes, (long long)n, slots, least(b, HT_REVOLVE, 1),
        least(b, HT_TWO_LEVEL, hti_schedule_slots(HT_TWO_LEVEL, n)),
        least(b, HT_STORE_ALL, n),
        hti_choice_bytes(b, (hti_choice){.schedule = HT_STORE_ALL,
                                         .level = b->planning->n_level - 1,
                                         .slots = n}));
}

void hti_refuse(const ht_bilevel *b, const ht_bilevel_options *o, const char *what)
{
    ht_context_fail(b->ctx, HT_ERROR_MEMORY, NULL,
                    "bilevel: a budget of %zu bytes is too small for %s\n"
                    "  hint: it needs %zu",
                    o->bytes, what, hti_choice_bytes(b, wanted(b, o)));
}

/* Choosing. */

/* The choice with as many products as fit. */
static bool choose_level(ht_bilevel *b, const ht_bilevel_options *o, hti_choice c)
{
    for (c.level = b->planning->n_level - 1; c.level >= 0; c.level--)
        if (fits(b, o, c)) return take(b, c);
    return false;
}

/* Flops of the products of a run of revolve, on one level or two, beside those of its
 * reverse steps without products kept. */
static double cost(const ht_bilevel *b, hti_choice c)
{
    int64_t n = hti_reversed(b), served = n;
    int64_t steps = hti_plan_forward_steps(c, n);
    if (c.slots < n) served = hti_plan_from_slots(c, n);
    double cost = (double)steps * ht_program_flops(b->programs.call[HTI_FORWARD].program);
    for (int k = 0; k < b->planning->level[c.level].kept; k++)
        cost -= (double)served * b->programs.product[k].flops;
    return cost;
}

/* Flops a byte, from one choice to a larger one. */
static double gain(const ht_bilevel *b, hti_choice from, hti_choice to)
{
    size_t less = hti_choice_lasting(b, from), more = hti_choice_lasting(b, to);
    double saved = cost(b, from) - cost(b, to);
    return saved / (more > less ? (double)(more - less) : 1);
}

/* One slot more, of many slots a few; one level more. The slots are the same where there
 * is none. */
static hti_choice more_slots(const ht_bilevel *b, hti_choice c)
{
    int64_t n = hti_reversed(b);
    c.slots += c.slots < 64 ? 1 : c.slots / 64;
    if (c.slots > n) c.slots = n;
    return c;
}

static hti_choice more_products(const ht_bilevel *b, hti_choice c)
{
    c.level += c.level + 1 < b->planning->n_level;
    return c;
}

/* The most slots that fit, from those that do to those that do not. */
static hti_choice between(const ht_bilevel *b, const ht_bilevel_options *o,
                          hti_choice enough, int64_t too_many)
{
    while (too_many - enough.slots > 1) {
        hti_choice middle = enough;
        middle.slots += (too_many - enough.slots) / 2;
        if (fits(b, o, middle))
            enough = middle;
        else
            too_many = middle.slots;
    }
    return enough;
}

/* From one slot on: more slots or more products, whichever save more flops to a byte, as
 * long as there is room. Neither steps nor flops grow on the way. Where one state is all
 * there are, and where products kept make room (they can spare a program), it is the
 * products alone. */
static bool choose_revolve(ht_bilevel *b, const ht_bilevel_options *o)
{
    hti_choice c = {.schedule = HT_REVOLVE, .slots = 1};
    if (hti_reversed(b) == 1 || !fits(b, o, c)) return choose_level(b, o, c);
    for (;;) {
        hti_choice slots = more_slots(b, c), products = more_products(b, c);
        bool no_slots = slots.slots == c.slots, no_products = products.level == c.level;
        if (no_slots && no_products) break;
        bool wider =
            no_slots || (!no_products && gain(b, c, products) > gain(b, c, slots));
        if (!fits(b, o, wider ? products : slots)) {
            if (!wider) c = between(b, o, c, slots.slots);
            break;
        }
        c = wider ? products : slots;
    }
    return take(b, c);
}

/* Segments. */

enum { REPEATS = 8 }; /* of a segment's steps, at most */

/* The longest segment that so many slots reverse by running each step `repeats` times;
 * once: every state is in a slot, and its products beside it. Then as many places as
 * there are segments to begin, or as the disk may hold; 0: not even one. */
static hti_choice in_segments(const ht_bilevel *b, const ht_bilevel_options *o,
                              hti_choice c, int64_t repeats)
{
    int64_t n = hti_reversed(b);
    c.segment = repeats == 1 ? c.slots : hti_revolve_most(c.slots, repeats);
    if (c.segment > n) c.segment = n;
    int64_t wanted = hti_segments(c, n) - 1, places = hti_disk_places(b, o);
    c.places = wanted < places ? wanted : places;
    return c;
}

/* Of one level, the most slots that fit. Bytes first fall with slots, as fewer segments
 * have smaller tables: the search begins where they are least. */
static hti_choice segments_within(const ht_bilevel *b, const ht_bilevel_options *o,
                                  hti_choice c, int64_t repeats)
{
    int64_t n = hti_reversed(b), most = n;
    hti_choice best = in_segments(b, o, c, repeats);
    for (c.slots = 2; c.slots < n; c.slots *= 2) {
        hti_choice next = in_segments(b, o, c, repeats);
        if (hti_choice_bytes(b, next) > hti_choice_bytes(b, best)) break;
        best = next;
    }
    if (!fits(b, o, best)) return (hti_choice){.slots = 0};
    while (most - best.slots > 1) {
        c.slots = best.slots + (most - best.slots) / 2;
        hti_choice middle = in_segments(b, o, c, repeats);
        if (fits(b, o, middle))
            best = middle;
        else
            most = c.slots;
    }
    return best;
}

/* The cheapest by flops, of all levels and of segments that are run once or more. */
static bool choose_segments(ht_bilevel *b, const ht_bilevel_options *o)
{
    hti_choice best = {.slots = 0};
    for (int level = 0; level < b->planning->n_level; level++)
        for (int64_t repeats = 1; repeats <= REPEATS; repeats++) {
            hti_choice c = {.schedule = HT_REVOLVE, .level = level, .slots = 1};
            c = segments_within(b, o, c, repeats);
            if (c.slots && c.places && (!best.slots || cost(b, c) < cost(b, best)))
                best = c;
        }
    return best.slots && take(b, best);
}

static bool refuse(const ht_bilevel *b, const ht_bilevel_options *o)
{
    b->method->refuse(b, o);
    return false;
}

/* Where the disk is what has no room: what one state and the records beside it take. */
static bool refuse_disk(const ht_bilevel *b, const ht_bilevel_options *o)
{
    if (hti_disk_places(b, o) > 0) return false;
    ht_context_fail(b->ctx, HT_ERROR_MEMORY, NULL,
                    "bilevel: options.disk_bytes of %zu is too small for one state\n"
                    "  hint: %zu, or 0 for as many as there are segments",
                    o->disk_bytes, hti_disk_size(b, (hti_choice){.places = 1}));
    return true;
}

bool hti_choose_all(ht_bilevel *b, const ht_bilevel_options *o)
{
    hti_choice c = wanted(b, o);
    if (fits(b, o, c)) return take(b, c);
    return !b->method->keeps_states && refuse(b, o);
}

bool hti_choose(ht_bilevel *b, const ht_bilevel_options *o)
{
    bool found = false;
    if (o->disk)
        return choose_level(b, o, wanted(b, o)) || choose_segments(b, o) ||
               (!refuse_disk(b, o) && refuse(b, o));
    if (o->schedule != HT_REVOLVE || o->slots) found = choose_level(b, o, wanted(b, o));
    if (!found && !o->slots && o->schedule != HT_TWO_LEVEL && o->schedule != HT_STORE_ALL)
        found = choose_revolve(b, o);
    return found || refuse(b, o);
}
