/* SPDX-License-Identifier: MIT */
/* parts.h: rows that have rules, made of other ops: what their values and derivatives are
 * held against. Read next: parts.c. */
#ifndef HTI_PARTS_H
#define HTI_PARTS_H

#include "ht_autograd.h"

/* A decompose of the built-in row `op`: its own, or that of parts.c; NULL: neither. */
typedef ht_var hti_parts_fn(const ht_rule *r);
hti_parts_fn *hti_parts_of(const ht_op *op);

#endif
