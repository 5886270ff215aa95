/* SPDX-License-Identifier: MIT */
/* checkpoints.c: store-all, two-level and binomial checkpointing as one state machine.
 *
 * All three are the same walk. `end` is the state after the next step to reverse. From
 * the newest checkpoint the walk goes forward, pinning states, until it stands at end-1;
 * that step is reversed and end moves down by one. The kinds differ only in how far they
 * go at once (schedule_target) and what they pin (schedule_pins).
 *
 * Revolve: A. Griewank and A. Walther, Algorithm 799, ACM TOMS 26(1), 2000. With s slots
 * and r runs of any step, beta(s, r) = C(s+r, s) steps can be reversed. n steps take r n
 * - beta(s+1, r-1) forward steps, r least with n <= beta(s, r), and one more here: the
 * state after the last step is needed for the outer loss. Read next: the engine. */
#include "checkpoints.h"

#include <math.h>
#include <string.h>

struct hti_schedule {
    ht_context *ctx;
    size_t bytes;
    ht_schedule kind;
    int64_t first, last, slots;
    int64_t segment; /* two-level: steps between the coarse checkpoints */
    int64_t current; /* the engine's current state; -1: undefined */
    int64_t end;     /* steps end .. last-1 are reversed */
    bool arrived;    /* current has just been computed, so it may need pinning */
    bool outer_done;
    int64_t depth;    /* slots 0 .. depth-1 are taken, */
    int64_t pinned[]; /* by these states, in ascending order */
};

/* beta(s, r) = C(s+r, s); 0 if r < 0. Saturates well above HTI_MAX_STEPS. */
static int64_t schedule_beta(int64_t s, int64_t r)
{
    int64_t k = s < r ? s : r, c = 1;
    if (k < 0) return 0;
    for (int64_t i = 1; i <= k; i++) {
        int64_t factor = s + r - k + i;
        if (c > INT64_MAX / factor) return INT64_MAX;
        c = c * factor / i; /* exact: C(s+r-k+i, i) */
    }
    return c;
}

/* The least r with n <= beta(s, r), for n, s >= 1. */
static int64_t schedule_repeats(int64_t n, int64_t s)
{
    int64_t below = -1, enough = 1;
    while (schedule_beta(s, enough) < n) {
        below = enough;
        enough *= 2;
    }
    while (enough - below > 1) {
        int64_t middle = below + (enough - below) / 2;
        *(schedule_beta(s, middle) < n ? &below : &enough) = middle;
    }
    return enough;
}

static int64_t schedule_segment(int64_t n)
{
    return (int64_t)ceil(sqrt((double)n));
}

int64_t hti_schedule_slots(ht_schedule kind, int64_t n)
{
    if (kind == HT_STORE_ALL) return n;
    if (kind == HT_REVOLVE) return 1;
    /* The last segment is pinned whole beside the starts before it; a full one can only
     * come later, when one start fewer is held and its own start is one of them. */
    int64_t k = schedule_segment(n), before = (n - 1) / k, rest = n - before * k;
    return before + (rest > k - 1 ? rest : k - 1);
}

int64_t hti_schedule_forward_steps(ht_schedule kind, int64_t n, int64_t slots)
{
    if (kind == HT_STORE_ALL) return n;
    if (kind == HT_TWO_LEVEL) {
        int64_t k = schedule_segment(n);
        return n + (n - 1) / k * (k - 1);
    }
    int64_t s = slots < n ? slots : n, r = schedule_repeats(n, s);
    return r * n - schedule_beta(s + 1, r - 1) + 1;
}

int64_t hti_revolve_most(int64_t slots, int64_t repeats)
{
    int64_t n = schedule_beta(slots, repeats);
    return n < HTI_MAX_STEPS ? n : HTI_MAX_STEPS;
}

/* Each pinned state is advanced from and reversed from once, so this counts pins. Of a
 * stretch of beta(s, r) steps they are beta(s-1, r); any other splits into two of which
 * one is such a stretch (see schedule_split). */
int64_t hti_revolve_from_slots(int64_t n, int64_t slots)
{
    int64_t s = slots < n ? slots : n, r = schedule_repeats(n, s), pins = 0;
    if (n < 2) return 0;
    while (n > 1) {
        while (schedule_beta(s, r - 1) >= n) r--;
        int64_t left = schedule_beta(s, r - 1), right = schedule_beta(s - 1, r - 1);
        if (n - right <= left) {
            pins += right > 1 ? schedule_beta(s - 2, r - 1) : 0;
            n -= right;
        } else {
            pins += schedule_beta(s - 1, r - 1);
            n -= left;
            s--;
            if (n == 1) return pins; /* a state used at once, in no slot */
        }
    }
    return pins + 1;
}

size_t hti_schedule_bytes(int64_t slots)
{
    return sizeof(hti_schedule) + (size_t)slots * sizeof(int64_t);
}

hti_schedule *hti_schedule_new(ht_context *ctx, ht_schedule kind, int64_t first,
                               int64_t last, int64_t slots)
{
    int64_t n = last - first;
    HT_ASSERT(first >= 0 && n > 0 && last <= HTI_MAX_STEPS &&
                  slots >= hti_schedule_slots(kind, n),
              "a schedule of steps %lld .. %lld by %lld slots", (long long)first,
              (long long)last, (long long)slots);
    if (slots > n) slots = n;
    size_t bytes = hti_schedule_bytes(slots);
    hti_schedule *schedule = hti_zalloc(ctx, 1, bytes);
    if (!schedule) return NULL;
    schedule->ctx = ctx;
    schedule->bytes = bytes;
    schedule->kind = kind;
    schedule->first = first;
    schedule->last = last;
    schedule->slots = slots;
    schedule->segment = schedule_segment(n);
    hti_schedule_reset(schedule);
    return schedule;
}

void hti_schedule_free(hti_schedule *schedule)
{
    if (schedule) hti_resize(schedule->ctx, schedule, schedule->bytes, 0);
}

void hti_schedule_begin(hti_schedule *schedule, int64_t first, int64_t last, bool outer)
{
    schedule->first = first;
    schedule->last = last;
    schedule->segment = schedule_segment(last - first);
    hti_schedule_reset(schedule);
    schedule->current = first;
    schedule->outer_done = !outer;
}

void hti_schedule_move(hti_schedule *schedule, int64_t *numbers, bool out)
{
    int64_t flags[2] = {schedule->arrived, schedule->outer_done};
    int64_t *part[HTI_SCHEDULE_NUMBERS] = {&schedule->current, &schedule->end, &flags[0],
                                           &flags[1], &schedule->depth};
    for (int k = 0; k < HTI_SCHEDULE_NUMBERS; k++)
        *(out ? &numbers[k] : part[k]) = *(out ? part[k] : &numbers[k]);
    schedule->arrived = flags[0];
    schedule->outer_done = flags[1];
    size_t bytes = (size_t)schedule->slots * sizeof *numbers;
    numbers += HTI_SCHEDULE_NUMBERS;
    memcpy(out ? numbers : schedule->pinned, out ? schedule->pinned : numbers, bytes);
}

int64_t hti_schedule_slot(const hti_schedule *schedule)
{
    int64_t slot = schedule->depth - 1;
    bool there = slot >= 0 && schedule->pinned[slot] == schedule->current;
    return there ? slot : -1;
}

void hti_schedule_reset(hti_schedule *schedule)
{
    schedule->current = 0;
    schedule->end = schedule->last;
    schedule->arrived = true;
    schedule->outer_done = false;
    schedule->depth = 0;
}

/* Two-level: does current lie in the segment that is reversed next? */
static bool schedule_in_segment(const hti_schedule *schedule)
{
    int64_t at = schedule->current - schedule->first;
    int64_t next = schedule->end - 1 - schedule->first;
    return at / schedule->segment == next / schedule->segment;
}

/* Revolve: how far to go from the newest checkpoint, n steps before `end`, s slots being
 * free or its own. With m steps to the next checkpoint the cost is m + t(m, s) +
 * t(n-m, s-1), and t(., s) has slope r between beta(s, r-1) and beta(s, r): m is best
 * where the left part runs its steps r-1 times and the right part r times. This is the
 * largest such m; 1 <= m <= n-1 for n >= 2, and n-1 when s = 1. */
static int64_t schedule_split(int64_t n, int64_t s)
{
    int64_t r = schedule_repeats(n, s);
    int64_t left = schedule_beta(s, r - 1), right = n - schedule_beta(s - 1, r - 1);
    return left < right ? left : right;
}

/* The state to advance to from current, which is before end-1. */
static int64_t schedule_target(const hti_schedule *schedule)
{
    int64_t at = schedule->current, k = schedule->segment;
    if (schedule->kind == HT_REVOLVE)
        return at +
               schedule_split(schedule->end - at, schedule->slots - schedule->depth + 1);
    if (schedule->kind == HT_TWO_LEVEL && !schedule_in_segment(schedule)) return at + k;
    return at + 1;
}

/* Is current, just computed, to be pinned? Revolve uses the state end-1 at once and needs
 * no slot for it; for any other state schedule_split has left one free. */
static bool schedule_pins(const hti_schedule *schedule)
{
    int64_t at = schedule->current - schedule->first;
    if (schedule->kind == HT_REVOLVE) return schedule->current < schedule->end - 1;
    return schedule->kind == HT_STORE_ALL || at % schedule->segment == 0 ||
           schedule_in_segment(schedule);
}

static hti_action schedule_advance(hti_schedule *schedule, int64_t to)
{
    int64_t from = schedule->current;
    schedule->current = to;
    schedule->arrived = true;
    return (hti_action){.kind = HTI_ADVANCE, .step = from, .to = to};
}

static hti_action schedule_save(hti_schedule *schedule)
{
    int64_t slot = schedule->depth++;
    HT_ASSERT(slot < schedule->slots, "slot %lld of %lld", (long long)slot,
              (long long)schedule->slots);
    schedule->pinned[slot] = schedule->current;
    schedule->arrived = false;
    return (hti_action){.kind = HTI_SAVE, .step = schedule->current, .slot = slot};
}

static hti_action schedule_load(hti_schedule *schedule)
{
    int64_t slot = schedule->depth - 1;
    schedule->current = schedule->pinned[slot];
    schedule->arrived = false;
    return (hti_action){.kind = HTI_LOAD, .step = schedule->current, .slot = slot};
}

static hti_action schedule_outer(hti_schedule *schedule)
{
    schedule->current = schedule->last - 1;
    schedule->arrived = false;
    schedule->outer_done = true;
    return (hti_action){.kind = HTI_OUTER, .step = schedule->last};
}

/* Current is end-1: first give its slot back, if it has one, then reverse. */
static hti_action schedule_reverse(hti_schedule *schedule)
{
    int64_t slot = hti_schedule_slot(schedule);
    if (slot >= 0) {
        schedule->depth = slot;
        return (hti_action){.kind = HTI_DROP, .slot = slot};
    }
    schedule->end = schedule->current;
    schedule->current = -1;
    return (hti_action){.kind = HTI_REVERSE, .step = schedule->end};
}

hti_action hti_schedule_next(hti_schedule *schedule)
{
    int64_t at = schedule->current;
    if (schedule->end == schedule->first) return (hti_action){.kind = HTI_DONE};
    if (at < 0) return schedule_load(schedule);
    if (at < schedule->first) return schedule_advance(schedule, schedule->first);
    if (at == schedule->last) return schedule_outer(schedule);
    if (schedule->arrived && schedule_pins(schedule)) return schedule_save(schedule);
    if (at < schedule->end - 1)
        return schedule_advance(schedule, schedule_target(schedule));
    if (!schedule->outer_done) return schedule_advance(schedule, schedule->last);
    return schedule_reverse(schedule);
}
