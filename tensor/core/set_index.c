/* SPDX-License-Identifier: MIT */
/* set_index.c: finding a tensor of a set by its name, as quickly whatever the names are.
 *
 * The names are the leaves of a crit-bit tree (djb, "Crit-bit trees"): a fork asks for
 * one bit of the name, the first in which the names on its two sides differ, and forks
 * further down ask for later bits. So a name is found in steps no more than its own bits,
 * and no choice of names, by chance or in a file made for it, makes that slow: what a
 * hash would not promise. A fork is numbered as the tensor that it was made for, a link
 * to it is the complement of the number. Read next: set.c. */
#include <string.h>

#include "set.h"

static unsigned char index_byte(const char *name, size_t at)
{
    return (unsigned char)name[at];
}

/* Down to a tensor whose name begins as `name` does, as far as any does: where a fork
 * asks beyond the name's end, all below begin alike, and it is as good as they. */
static int index_descend(const ht_set *set, const char *name, size_t length)
{
    int link = set->root;
    while (link < 0) {
        const hti_fork *fork = &set->fork[~link];
        if (fork->byte > length) return ~link;
        link = fork->child[(index_byte(name, fork->byte) & fork->bit) != 0];
    }
    return link;
}

int hti_set_index_find(const ht_set *set, const char *name)
{
    if (set->n == 0) return -1;
    int i = index_descend(set, name, strlen(name));
    return strcmp(set->name[i], name) == 0 ? i : -1;
}

/* The link that leads to forks of this bit and later ones, on the way to `name`. */
static int *index_link(ht_set *set, const char *name, const hti_fork *before)
{
    int *link = &set->root;
    while (*link < 0) {
        hti_fork *fork = &set->fork[~*link];
        if (fork->byte > before->byte ||
            (fork->byte == before->byte && fork->bit <= before->bit))
            break;
        link = &fork->child[(index_byte(name, fork->byte) & fork->bit) != 0];
    }
    return link;
}

void hti_set_index_add(ht_set *set, int i)
{
    const char *name = set->name[i];
    if (i == 0) {
        set->root = 0;
        return;
    }
    const char *other = set->name[index_descend(set, name, strlen(name))];
    hti_fork *fork = &set->fork[i];
    fork->byte = 0;
    while (name[fork->byte] == other[fork->byte]) fork->byte++;
    unsigned differs = index_byte(name, fork->byte) ^ index_byte(other, fork->byte);
    while (differs & (differs - 1)) differs &= differs - 1;
    fork->bit = (unsigned char)differs;
    int *link = index_link(set, name, fork);
    int side = (index_byte(name, fork->byte) & fork->bit) != 0;
    fork->child[side] = i;
    fork->child[!side] = *link;
    *link = ~i;
}

/* Its fork has it on one side still, and on the other what was there before. */
void hti_set_index_drop(ht_set *set, int i)
{
    if (i == 0) return;
    int *link = index_link(set, set->name[i], &set->fork[i]);
    *link = set->fork[i].child[set->fork[i].child[0] == i];
}
