/* SPDX-License-Identifier: MIT */
/* names.c: what variables are called: a set's tensors by their names there, any other by
 * ht_name. Names are a list beside the nodes, newest first, so that nodes without one
 * cost nothing; it lies in the tape's memory, and is cut back with it. Read next: fail.c,
 * which says them. */
#include <string.h>

#include "tape.h"

static void names_add(ht_tape *tape, uint32_t first, uint32_t n, const char *const *name)
{
    hti_names *more = hti_tape_alloc(tape, sizeof *more);
    if (!more) return;
    *more = (hti_names){tape->names, first, n, name};
    tape->names = more;
}

void hti_name_all(ht_tape *tape, int n, const ht_var *x, char *const *name)
{
    for (int i = 0, next; i < n; i = next) {
        next = i + 1;
        if (hti_is_poison(x[i])) continue;
        while (next < n && x[next].index == x[next - 1].index + 1) next++;
        names_add(tape, x[i].index, (uint32_t)(next - i), (const char *const *)name + i);
    }
}

ht_var ht_name(ht_var x, const char *name)
{
    HT_ASSERT(name, "ht_name: the name is NULL");
    uint32_t i = hti_check_named(x, __func__, NULL);
    if (i == HTI_NONE) return x;
    size_t bytes = strlen(name) + 1;
    const char **list = hti_tape_alloc(x.tape, sizeof *list + bytes);
    if (!list) return x;
    list[0] = memcpy(list + 1, name, bytes);
    names_add(x.tape, i, 1, list);
    return x;
}
