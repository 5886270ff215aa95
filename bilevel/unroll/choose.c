/* SPDX-License-Identifier: MIT */
/* choose.c: which schedule, how many slots and how many products kept beside them, within
 * a budget. What a choice takes does not depend on the budget (memory.c), and AUTO walks
 * one way through the choices, each no slower than the one before: so what a message
 * offers is accepted, and more budget never runs more steps. Read next: sweep.c. */
#include "bilevel_internal.h"
#include "checkpoints.h"

static bool hti_fits(const ht_bilevel *b, const ht_bilevel_options *o, hti_choice c)
{
    return !o->bytes || hti_choice_bytes(b, c) <= o->bytes;
}

static bool hti_take(ht_bilevel *b, hti_choice c)
{
    b->schedule = c.schedule;
    b->slots = c.slots;
    b->n_kept = b->planning->level[c.level].kept;
    return true;
}

static int64_t hti_wanted_slots(const ht_bilevel *b, const ht_bilevel_options *o)
{
    int64_t n = b->problem.steps - b->first;
    if (b->method == HT_FORWARD) return 0;
    if (o->schedule == HT_TWO_LEVEL) return hti_schedule_slots(HTI_TWO_LEVEL, n);
    return o->schedule == HT_REVOLVE && o->slots && o->slots < n ? o->slots : n;
}

/* What would be taken without a budget. */
static hti_choice hti_wanted(const ht_bilevel *b, const ht_bilevel_options *o)
{
    ht_schedule schedule = o->schedule ? o->schedule : HT_STORE_ALL;
    if (b->method == HT_FORWARD) schedule = HT_SCHEDULE_AUTO;
    return (hti_choice){schedule, hti_wanted_slots(b, o), b->planning->n_level - 1};
}

/* Words. */

/* The least a schedule takes, whatever is kept beside it. */
static size_t hti_least(const ht_bilevel *b, ht_schedule schedule, int64_t slots)
{
    size_t least = hti_choice_bytes(b, (hti_choice){schedule, slots, 0});
    for (int level = 1; level < b->planning->n_level; level++) {
        size_t bytes = hti_choice_bytes(b, (hti_choice){schedule, slots, level});
        if (bytes < least) least = bytes;
    }
    return least;
}

static bool hti_too_small(const ht_bilevel *b, const ht_bilevel_options *o)
{
    int64_t n = b->problem.steps - b->first;
    if (b->method == HT_FORWARD) {
        ht_context_fail(b->ctx, HT_ERROR_MEMORY, NULL,
                        "bilevel: a budget of %zu bytes is too small for forward mode "
                        "over %lld outer elements\n  hint: it needs %zu",
                        o->bytes, (long long)ht_set_elements(b->eta),
                        hti_choice_bytes(b, hti_wanted(b, o)));
        return false;
    }
    char slots[96] = "";
    if (o->slots > 1)
        snprintf(slots, sizeof slots, " with %lld slots of revolve, which need %zu",
                 (long long)o->slots, hti_least(b, HT_REVOLVE, hti_wanted_slots(b, o)));
    ht_context_fail(
        b->ctx, HT_ERROR_MEMORY, NULL,
        "bilevel: a budget of %zu bytes is too small for %lld steps%s\n"
        "  hint: revolve with 1 slot needs %zu, two-level %zu, store-all %zu (%zu "
        "with products kept)",
        o->bytes, (long long)n, slots, hti_least(b, HT_REVOLVE, 1),
        hti_least(b, HT_TWO_LEVEL, hti_schedule_slots(HTI_TWO_LEVEL, n)),
        hti_least(b, HT_STORE_ALL, n),
        hti_choice_bytes(b, (hti_choice){HT_STORE_ALL, n, b->planning->n_level - 1}));
    return false;
}

/* Choosing. */

/* The choice with as many products as fit. */
static bool hti_choose_level(ht_bilevel *b, const ht_bilevel_options *o, hti_choice c)
{
    for (c.level = b->planning->n_level - 1; c.level >= 0; c.level--)
        if (hti_fits(b, o, c)) return hti_take(b, c);
    return false;
}

/* Flops of the products of a run of revolve, beside those of its reverse steps without
 * products kept. */
static double hti_cost(const ht_bilevel *b, hti_choice c)
{
    int64_t n = b->problem.steps - b->first, served = n;
    int64_t steps = hti_schedule_forward_steps(HTI_REVOLVE, n, c.slots);
    if (c.slots < n) served = hti_revolve_from_slots(n, c.slots);
    double cost = (double)steps * ht_program_flops(b->call[HTI_FORWARD].program);
    for (int k = 0; k < b->planning->level[c.level].kept; k++)
        cost -= (double)served * b->log[k].flops;
    return cost;
}

/* Flops a byte, from one choice to a larger one. */
static double hti_gain(const ht_bilevel *b, hti_choice from, hti_choice to)
{
    size_t less = hti_choice_lasting(b, from), more = hti_choice_lasting(b, to);
    double saved = hti_cost(b, from) - hti_cost(b, to);
    return saved / (more > less ? (double)(more - less) : 1);
}

/* One slot more, of many slots a few; one level more. The slots are the same where there
 * is none. */
static hti_choice hti_more_slots(const ht_bilevel *b, hti_choice c)
{
    int64_t n = b->problem.steps - b->first;
    c.slots += c.slots < 64 ? 1 : c.slots / 64;
    if (c.slots > n) c.slots = n;
    return c;
}

static hti_choice hti_more_products(const ht_bilevel *b, hti_choice c)
{
    c.level += c.level + 1 < b->planning->n_level;
    return c;
}

/* The most slots that fit, from those that do to those that do not. */
static hti_choice hti_between(const ht_bilevel *b, const ht_bilevel_options *o,
                              hti_choice fits, int64_t too_many)
{
    while (too_many - fits.slots > 1) {
        hti_choice middle = fits;
        middle.slots += (too_many - fits.slots) / 2;
        if (hti_fits(b, o, middle))
            fits = middle;
        else
            too_many = middle.slots;
    }
    return fits;
}

/* From one slot on: more slots or more products, whichever save more flops to a byte, as
 * long as there is room. Neither steps nor flops grow on the way. */
static bool hti_choose_revolve(ht_bilevel *b, const ht_bilevel_options *o)
{
    hti_choice c = {HT_REVOLVE, 1, 0};
    if (!hti_fits(b, o, c)) return false;
    for (;;) {
        hti_choice slots = hti_more_slots(b, c), products = hti_more_products(b, c);
        bool no_slots = slots.slots == c.slots, no_products = products.level == c.level;
        if (no_slots && no_products) break;
        bool wider = no_slots ||
                     (!no_products && hti_gain(b, c, products) > hti_gain(b, c, slots));
        if (!hti_fits(b, o, wider ? products : slots)) {
            if (!wider) c = hti_between(b, o, c, slots.slots);
            break;
        }
        c = wider ? products : slots;
    }
    return hti_take(b, c);
}

bool hti_bilevel_choose_all(ht_bilevel *b, const ht_bilevel_options *o)
{
    hti_choice c = hti_wanted(b, o);
    if (b->method == HT_FORWARD && !hti_fits(b, o, c)) return hti_too_small(b, o);
    return hti_fits(b, o, c) && hti_take(b, c);
}

bool hti_bilevel_choose(ht_bilevel *b, const ht_bilevel_options *o)
{
    bool fits = false;
    if (o->schedule != HT_REVOLVE || o->slots)
        fits = hti_choose_level(b, o, hti_wanted(b, o));
    if (!fits && !o->slots && o->schedule != HT_TWO_LEVEL && o->schedule != HT_STORE_ALL)
        fits = hti_choose_revolve(b, o);
    return fits || hti_too_small(b, o);
}
