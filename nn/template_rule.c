/* SPDX-License-Identifier: MIT */
/* template_rule.c: a small update rule, to copy; the tests run it. Descent along the
 * average of the gradients:
 *   m = momentum m + (1 - momentum) g;  w -= rate m
 * Read next: README.md, "Add an update rule". */
#include "nn_internal.h"

static void averaged_apply(ht_update_step *s)
{
    ht_var kept = hti_beside(s->momentum, s->w);
    ht_var added = hti_beside(ht_sub(1.0, s->momentum), s->w); /* formed in f64 */
    ht_var m = ht_add(ht_mul(kept, s->state[0]), ht_mul(added, s->g));
    s->new_state[0] = m;
    s->new_w = ht_sub(s->w, ht_mul(hti_beside(s->rate, s->w), m));
}

static const ht_update_rule averaged_rule = {.name = "averaged",
                                             .n_state = 1,
                                             .state = {"m"},
                                             .has_momentum = true,
                                             .apply = averaged_apply};
