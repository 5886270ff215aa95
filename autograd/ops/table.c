/* SPDX-License-Identifier: MIT */
/* table.c: the built-in op table, made from ops.def, and a tape that is written in them.
 */
#include "ops.h"

static const ht_op *const hti_op_table[] = {
#define HT_OP_ROW(name) &hti_op_##name,
#include "ops.def"
#undef HT_OP_ROW
};

const ht_op *ht_op_at(int i)
{
    int n = (int)(sizeof hti_op_table / sizeof hti_op_table[0]);
    return i >= 0 && i < n ? hti_op_table[i] : NULL;
}

ht_tape *ht_tape_new(ht_context *ctx, ht_policy policy)
{
    static const hti_linear linear = {ht_add_at, ht_cast_at, ht_broadcast_at, hti_sum_to};
    return hti_tape_new(ctx, policy, &linear);
}
