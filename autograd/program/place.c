/* SPDX-License-Identifier: MIT */
/* place.c: what becomes of a program's lines: passes put them in another order or leave
 * some out, then each is a value that starts somewhere. Read next: plan.c. */
#include <string.h>

#include "program.h"

void *hti_program_scratch(ht_program *p, size_t n, size_t size)
{
    void *memory = hti_arena_alloc(p->scratch, n * size);
    return memory ? memset(memory, 0, n * size) : NULL;
}

bool hti_program_rearrange(ht_program *p, const uint32_t *place)
{
    uint32_t n_values = 0, n_edges = 0;
    hti_line *line = hti_arena_alloc(p->scratch, p->n_values * sizeof *line);
    uint32_t *edge = hti_arena_alloc(p->scratch, p->n_edges * sizeof *edge);
    if (!line || !edge) return false;
    for (uint32_t i = 0; i < p->n_values; i++) {
        if (place[i] == HTI_NONE) continue;
        line[place[i]] = p->line[i];
        n_values++;
    }
    for (hti_line *l = line; l < line + n_values; l++) {
        const uint32_t *from = p->edge + l->first_in;
        l->first_in = n_edges;
        for (uint32_t e = 0; e < l->n_in; e++) edge[n_edges++] = place[from[e]];
    }
    for (uint32_t k = 0; k < p->n_out; k++) p->out[k] = place[p->out[k]];
    p->line = line;
    p->edge = edge;
    p->n_values = n_values;
    p->n_edges = n_edges;
    return true;
}

/* The block, with edges and outputs moved into it. */
static bool place_alloc(ht_program *p)
{
    const uint32_t *edge = p->edge, *out = p->out;
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        p->data_bytes += hti_round_up(p->line[i].op->attribute_size, 16);
#define PLACE_SIZE(type, name, n) p->block_bytes += (n) * sizeof(type);
    HTI_PROGRAM_ARRAYS(PLACE_SIZE)
#undef PLACE_SIZE
    unsigned char *at = hti_zalloc(p->ctx, p->block_bytes, 1);
    if (!at) return false;
#define PLACE_ARRAY(type, name, n) \
    p->name = (type *)(void *)at;  \
    at += (n) * sizeof(type);
    HTI_PROGRAM_ARRAYS(PLACE_ARRAY)
#undef PLACE_ARRAY
    memcpy(p->out, out, p->n_out * sizeof *out);
    if (p->n_edges) memcpy(p->edge, edge, p->n_edges * sizeof *edge);
    for (uint32_t e = 0; e < p->n_edges; e++) p->operand[e] = &p->value[p->edge[e]].array;
    return true;
}

/* Roots get an address to count from, so that a view's distance can be read off its
 * array; any will do, since only differences are kept. */
static unsigned char place_origin[HTI_ALIGN];

/* Value i, a view of its first input if its op can make one of that input's strides. */
static void place_view(ht_program *p, uint32_t i)
{
    hti_value *v = &p->value[i];
    uint32_t from = p->edge[v->first_in], root = p->value[from].root;
    ht_array array;
    if (!v->op->view(v->attributes, &v->type, &p->value[from].array, &array)) return;
    v->place = HTI_IN_VIEW;
    v->slot = from;
    v->root = root;
    v->array = array;
    v->from_root = (ptrdiff_t)((uintptr_t)array.data - (uintptr_t)place_origin);
    v->next_view = p->value[root].next_view;
    p->value[root].next_view = i;
}

/* Line i as a value; attributes go to `data`. What is not said is 0. */
static void place_value(ht_program *p, uint32_t i, unsigned char *data)
{
    const hti_line *line = &p->line[i];
    hti_value *v = &p->value[i];
    v->op = line->op;
    v->site = line->site;
    v->type = *line->type;
    v->first_in = line->first_in;
    v->n_in = line->n_in;
    v->root = v->when = v->step = i;
    v->next_view = v->next = HTI_NONE;
    v->bytes = hti_round_up(hti_bytes_at(v->type.dtype, &v->type.shape), HTI_ALIGN);
    hti_lay_out(&v->array, place_origin, v->type.dtype, &v->type.shape);
    v->place = HTI_IN_INPUT;
    v->slot = i;
    if (i < p->n_in) return;
    if (v->op->attribute_size)
        v->attributes = memcpy(data, line->attributes, v->op->attribute_size);
    v->place = v->op == &hti_op_constant ? HTI_IN_CONSTANT : HTI_IN_ARENA;
    if (v->op->view) place_view(p, i);
}

bool hti_program_place(ht_program *p)
{
    if (p->data) return true;
    if (!place_alloc(p)) return false;
    unsigned char *data = p->data;
    for (uint32_t i = 0; i < p->n_values; i++) {
        place_value(p, i, data);
        if (i >= p->n_in) data += hti_round_up(p->value[i].op->attribute_size, 16);
    }
    for (uint32_t k = 0; k < p->n_out; k++) {
        p->value[p->out[k]].place = HTI_IN_OUTPUT;
        p->value[p->out[k]].slot = k;
    }
    return true;
}
