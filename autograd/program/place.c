/* SPDX-License-Identifier: MIT */
/* place.c: where every value starts: an input, an output, a view, a constant or memory of
 * its own, each instruction by itself. Read next: plan.c. */
#include "program.h"

/* Roots get an address to count from, so that a view's distance can be read off its
 * array; any will do, since only differences are kept. */
static unsigned char plan_origin[HTI_ALIGN];

static void plan_place(ht_program *p, uint32_t i)
{
    hti_value *v = &p->value[i];
    v->root = i;
    v->next_view = HTI_NONE;
    v->array = hti_contiguous(plan_origin, v->type.dtype, v->type.shape);
    if (i < p->n_in) return;
    v->place = HTI_IN_ARENA;
    if (v->op == &hti_op_constant) v->place = HTI_IN_CONSTANT;
    if (!v->op->view) return;
    const hti_value *from = &p->value[p->edge[v->first_in]];
    ht_array array;
    if (!v->op->view(v->attributes, &v->type, &from->array, &array)) return;
    v->place = HTI_IN_VIEW;
    v->slot = p->edge[v->first_in];
    v->root = from->root;
    v->array = array;
    v->from_root = (ptrdiff_t)((uintptr_t)array.data - (uintptr_t)plan_origin);
    v->next_view = p->value[v->root].next_view;
    p->value[v->root].next_view = i;
}

void hti_program_place(ht_program *p)
{
    if (p->placed) return;
    p->placed = true;
    for (uint32_t i = 0; i < p->n_values; i++) {
        plan_place(p, i);
        p->value[i].when = i;
        p->value[i].next = HTI_NONE;
        p->value[i].step = i;
    }
    for (uint32_t k = 0; k < p->n_out; k++) {
        p->value[p->out[k]].place = HTI_IN_OUTPUT;
        p->value[p->out[k]].slot = k;
    }
}
