/* SPDX-License-Identifier: MIT */
/* unroll.h: derivatives through the steps of a training: what its files share. Read next:
 * methods.c, sweep.c. */
#ifndef HTI_UNROLL_H
#define HTI_UNROLL_H

#include "bilevel_internal.h"

/* Steps that are differentiated. */
static inline int64_t hti_reversed(const ht_bilevel *b)
{
    return b->problem.steps - b->problem.first;
}

/* Outer losses, each with cotangents of its own. */
static inline int64_t hti_outers(const ht_bilevel *b)
{
    return b->problem.outers ? b->problem.outers : 1;
}

/* memory.c: the peak of what a choice would take, exactly. */
size_t hti_choice_bytes(const ht_bilevel *b, hti_choice c);
/* Without what recording takes, which is the same for all. */
size_t hti_choice_lasting(const ht_bilevel *b, hti_choice c);
/* Cotangents have two buffers where a reverse step may not write over what it reads. */
hti_room hti_reverse_room(const ht_bilevel *b, hti_choice c);

/* choose.c: says to the byte what each schedule needs. */
void hti_reverse_refuse(const ht_bilevel *b, const ht_bilevel_options *options);

/* sweep.c */
bool hti_reverse_run(ht_bilevel *b, uint64_t outer_step);
/* Its pieces. Both losses at current, which becomes `after`, and the cotangents of it;
 * those of current, the state `step`, which becomes `after`; of eta by theta_0. */
bool hti_sweep_outer(ht_bilevel *b, uint64_t outer_step);
bool hti_sweep_back(ht_bilevel *b, int64_t step);
bool hti_sweep_initial(ht_bilevel *b);

/* methods.c: slots go with revolve; notes on truncation and on mixed mode given up. */
bool hti_slots_fit(ht_context *ctx, const ht_bilevel_options *options);
void hti_unroll_explain(ht_bilevel *b);

#endif
