/* SPDX-License-Identifier: MIT */
/* levels.c: a schedule in memory inside one on disk. Both are the walk of checkpoints.c:
 * what is a step to the outer one is a segment, and where it reverses a segment the inner
 * one reverses its steps. With a place for each segment's first state the steps are run
 * twice, once to come by and once to be kept; with fewer places, as often as revolve runs
 * segments, and once more. Read next: disk.c. */
#include "checkpoints.h"

static bool keeps_all(hti_choice c, int64_t n)
{
    return c.slots >= (c.segment ? c.segment : n) && c.schedule != HT_TWO_LEVEL;
}

static ht_schedule kind_of(hti_choice c, int64_t n)
{
    return keeps_all(c, n) ? HT_STORE_ALL : c.schedule;
}

bool hti_plan_open(ht_context *ctx, hti_plan *plan, hti_choice c, int64_t first,
                   int64_t last)
{
    int64_t n = last - first, length = c.segment ? c.segment : n;
    *plan = (hti_plan){.first = first, .last = last, .length = length};
    int64_t from = c.segment ? 0 : first, to = from + length;
    plan->steps = hti_schedule_new(ctx, kind_of(c, n), from, to, c.slots);
    if (plan->steps && c.segment)
        plan->segments =
            hti_schedule_new(ctx, HT_REVOLVE, 0, hti_segments(c, n), c.places);
    if (!plan->steps || (c.segment && !plan->segments)) return false;
    hti_plan_reset(plan);
    return true;
}

void hti_plan_close(hti_plan *plan)
{
    hti_schedule_free(plan->steps);
    hti_schedule_free(plan->segments);
}

size_t hti_plan_bytes(hti_choice c)
{
    return hti_schedule_bytes(c.slots) + (c.segment ? hti_schedule_bytes(c.places) : 0);
}

/* The first state of a segment. */
static int64_t state_of(const hti_plan *plan, int64_t segment)
{
    return plan->first + segment * plan->length;
}

/* The last segment ends where the outer loss is, and may be shorter. */
static void begin_segment(hti_plan *plan, int64_t segment)
{
    int64_t from = state_of(plan, segment), to = from + plan->length;
    bool last = to >= plan->last;
    hti_schedule_begin(plan->steps, from, last ? plan->last : to, last);
    plan->inside = true;
}

void hti_plan_reset(hti_plan *plan)
{
    plan->ahead = plan->segments && plan->first > 0;
    plan->inside = false;
    if (!plan->segments) {
        hti_schedule_reset(plan->steps);
        return;
    }
    int64_t n = plan->last - plan->first;
    hti_schedule_begin(plan->segments, 0, (n + plan->length - 1) / plan->length, false);
}

void hti_plan_resume(hti_plan *plan, int64_t *numbers)
{
    plan->ahead = plan->inside = false;
    hti_schedule_move(plan->segments, numbers, false);
}

int64_t hti_plan_stands_at(const hti_plan *plan)
{
    return hti_schedule_slot(plan->segments);
}

static hti_action next_segment(hti_plan *plan)
{
    hti_action a = hti_schedule_next(plan->segments);
    switch (a.kind) {
    case HTI_ADVANCE:
        a.to = state_of(plan, a.to);
        break;
    case HTI_SAVE:
        a.kind = HTI_STORE;
        break;
    case HTI_LOAD:
        a.kind = HTI_FETCH;
        break;
    case HTI_DROP:
        a.kind = HTI_VACATE;
        return a;
    case HTI_REVERSE:
        begin_segment(plan, a.step);
        return hti_schedule_next(plan->steps);
    default:
        return a;
    }
    a.step = state_of(plan, a.step);
    return a;
}

hti_action hti_plan_next(hti_plan *plan)
{
    if (plan->ahead) {
        plan->ahead = false;
        return (hti_action){.kind = HTI_ADVANCE, .to = plan->first};
    }
    if (!plan->segments) return hti_schedule_next(plan->steps);
    if (!plan->inside) return next_segment(plan);
    hti_action a = hti_schedule_next(plan->steps);
    if (a.kind != HTI_DONE) return a;
    plan->inside = false;
    return (hti_action){.kind = HTI_MARK};
}

/* What a run comes to. */

/* Of the segments but the last, each, and of the last: what a schedule in memory does. */
static int64_t over_segments(hti_choice c, int64_t n, int64_t (*of)(hti_choice, int64_t))
{
    int64_t others = hti_segments(c, n) - 1, length = c.segment;
    return (others ? others * of(c, length) : 0) + of(c, n - others * length);
}

static int64_t forward_inside(hti_choice c, int64_t n)
{
    return hti_schedule_forward_steps(kind_of(c, n), n, c.slots);
}

static int64_t from_slots_inside(hti_choice c, int64_t n)
{
    return keeps_all(c, n) ? n : hti_revolve_from_slots(n, c.slots);
}

/* Only the last segment's last step is run for the state after it. */
int64_t hti_plan_forward_steps(hti_choice c, int64_t n)
{
    int64_t others = hti_segments(c, n) - 1;
    int64_t steps = over_segments(c, n, forward_inside) - others;
    if (others > 0)
        steps += c.segment *
                 (hti_schedule_forward_steps(HT_REVOLVE, others + 1, c.places) - 1);
    return steps;
}

/* Of a segment whose end is known the last state is not advanced from: what could be kept
 * beside it is not. */
int64_t hti_plan_from_slots(hti_choice c, int64_t n)
{
    int64_t not_kept = keeps_all(c, n) ? hti_segments(c, n) - 1 : 0;
    return over_segments(c, n, from_slots_inside) - not_kept;
}

int64_t hti_plan_stored(hti_choice c, int64_t n)
{
    return c.segment ? hti_revolve_from_slots(hti_segments(c, n), c.places) : 0;
}
