/* SPDX-License-Identifier: MIT */
/* debug.c: dead buffers filled with NaN, and the first value that is not finite. Read
 * next: replay.c. */
#include <string.h>

#include "program.h"

/* Whether another value that is alive after what runs at i took over this root's memory.
 */
static bool memory_lives_on(const ht_program *p, uint32_t i, const hti_value *root)
{
    for (uint32_t m = hti_first_at(p, i); m != HTI_NONE; m = p->value[m].next)
        if (p->value[m].place == HTI_IN_ARENA && p->value[m].offset == root->offset)
            return true;
    return false;
}

static void poison_value(const hti_value *v)
{
    size_t bytes = v->local ? v->bytes : hti_bytes(v->type.dtype, v->type.shape);
    if (bytes) memset(v->array.data, 0xFF, bytes);
}

void hti_poison_dead(ht_program *p, uint32_t i)
{
    for (uint32_t m = hti_first_at(p, i); m != HTI_NONE; m = p->value[m].next)
        for (uint32_t e = 0; e < p->value[m].n_in; e++) {
            hti_value *root = &p->value[p->value[hti_inputs_of(p, m)[e]].root];
            if (root->place == HTI_IN_ARENA && root->last_use == i &&
                !memory_lives_on(p, i, root))
                poison_value(root);
        }
}

void ht_program_poison(ht_program *program, bool on)
{
    HT_ASSERT(program, "ht_program_poison: the program is NULL");
    program->poison = on;
}

void hti_poison_all(ht_program *p)
{
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        if (p->value[i].place == HTI_IN_ARENA) poison_value(&p->value[i]);
}

void hti_program_watch(ht_program *program, bool on)
{
    program->watch = on;
}

const char *hti_program_bad(const ht_program *program, const char **site)
{
    if (site) *site = program->bad == HTI_NONE ? NULL : program->value[program->bad].site;
    return program->bad == HTI_NONE ? NULL : program->value[program->bad].op->name;
}

void hti_watch_value(ht_program *p, uint32_t i)
{
    if (p->bad == HTI_NONE && hti_not_finite(&p->value[i].array) >= 0) p->bad = i;
}
