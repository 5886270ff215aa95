/* SPDX-License-Identifier: MIT */
/* derive.h: the sweeps, and the guards that they and the public functions share. */
#ifndef HTI_DERIVE_H
#define HTI_DERIVE_H

#include "engine_graph.h"
#include "tape.h"

/* Node i, whose row has no `rule`, once more out of other ops; poison if it can't be. */
ht_var hti_decompose(ht_tape *tape, uint32_t i, const ht_rule *r, const char *rule);
/* Whether the rule of node i gave *d a type it may have: the dtype of x, which is input
 * e (the output if e is -1), and a shape that widens `least`. A weak one takes x's. */
bool hti_rule_fits(ht_tape *tape, uint32_t i, int e, ht_var x, ht_shape least, ht_var *d);
/* A cotangent or tangent must have its variable's type; a number takes it. */
bool hti_match(ht_tape *tape, ht_var x, ht_var *dx, const char *what, const char *site);
/* That y depends on x; if not, the error that says why and that `zeros` gives zeros. */
bool hti_reaches(ht_var y, ht_var x, const char *zeros, const char *site);
/* That no x is bypassed: used by y otherwise than through x. */
bool hti_not_bypassed(ht_tape *tape, int m, const ht_var *y, int n, const ht_var *x,
                      const char *name, const char *site);

#endif
