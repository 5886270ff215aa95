/* SPDX-License-Identifier: MIT */
/* origin.c: which derivative, and which node's rule in it, made each node. A list of
 * where that changes, in the order of the nodes: those that are no derivative's cost
 * nothing. Read next: derive.c. */
#include "tape.h"

/* The last entry for what is before node i, as a count. */
static uint32_t origin_count(const ht_tape *tape, uint32_t i)
{
    uint32_t low = 0, high = tape->n_origins;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tape->origin[middle].first <= i)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

hti_origin hti_origin_of(const ht_tape *tape, uint32_t i)
{
    uint32_t count = origin_count(tape, i);
    return count ? tape->origin[count - 1] : (hti_origin){0};
}

/* The first node behind i that came to be otherwise, or the tape's end. */
uint32_t hti_origin_end(const ht_tape *tape, uint32_t i)
{
    uint32_t count = origin_count(tape, i);
    return count < tape->n_origins ? tape->origin[count].first : tape->n;
}

static bool origin_room(ht_tape *tape)
{
    uint32_t old = tape->origin_capacity, capacity = old ? 2 * old : 64;
    if (tape->n_origins < old) return true;
    void *more = hti_resize(tape->ctx, tape->origin, old * sizeof *tape->origin,
                            capacity * sizeof *tape->origin);
    if (!more) return false;
    tape->origin = more;
    tape->origin_capacity = capacity;
    return true;
}

/* A rule that made nothing leaves no entry; where a derivative starts is always one. */
void hti_origin_next(ht_tape *tape, hti_origin_kind kind, uint32_t node, uint32_t order)
{
    hti_origin *last = tape->n_origins ? &tape->origin[tape->n_origins - 1] : NULL;
    bool empty = last && last->first == tape->n && !hti_origin_starts(last);
    if (!empty && !origin_room(tape)) return;
    if (!empty) tape->n_origins++;
    tape->origin[tape->n_origins - 1] = (hti_origin){tape->n, node, order, kind};
}

void hti_origin_cut(ht_tape *tape)
{
    while (tape->n_origins && tape->origin[tape->n_origins - 1].first >= tape->n)
        tape->n_origins--;
    if (tape->n_origins && tape->origin[tape->n_origins - 1].kind != HTI_BY_CALL)
        hti_origin_next(tape, HTI_BY_CALL, 0, 0);
}
