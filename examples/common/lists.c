/* SPDX-License-Identifier: MIT */
/* lists.c: a set's tensors and variables in the order in which a program takes them. */
#include "common.h"

int list_tensors(const ht_set *set, const ht_tensor **to, int at)
{
    for (int i = 0; i < ht_set_count(set); i++) to[at++] = ht_set_at(set, i);
    return at;
}

int list_vars(const ht_vars *vars, ht_var *to, int at)
{
    for (int i = 0; i < ht_vars_count(vars); i++) to[at++] = ht_vars_at(vars, i);
    return at;
}
