/* SPDX-License-Identifier: MIT */
/* order.c: small instructions between small ones (the arithmetic of a learning rate) wait
 * for the first that reads them and is not small, out of the way of what could run
 * together. Read next: fuse.c. */
#include "passes.h"

typedef struct order_value {
    uint32_t reader; /* of a small one: what it waits for; HTI_NONE: the end */
    uint32_t first;  /* of any other: the first that waits for it; HTI_NONE: none */
    uint32_t next;   /* that waits for the same */
    bool few, small; /* few elements; so have all inputs */
} order_value;

static void order_begin(const ht_program *p, order_value *o, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const hti_line *l = &p->line[i];
        const uint32_t *in = p->edge + l->first_in;
        bool few = hti_count(&l->type->shape) < HTI_FUSE_LEAST, small = few && l->op;
        for (uint32_t e = 0; small && e < l->n_in; e++) small = o[in[e]].few;
        o[i] = (order_value){HTI_NONE, HTI_NONE, HTI_NONE, few, small};
    }
}

/* What each small one of the first n waits for, and lists of them. Returns the first that
 * waits for the end. */
static uint32_t order_wait(const ht_program *p, order_value *o, uint32_t n)
{
    uint32_t end = HTI_NONE;
    order_begin(p, o, n);
    for (uint32_t i = n; i-- > p->n_in;) {
        const hti_line *l = &p->line[i];
        uint32_t reader = o[i].small ? o[i].reader : i;
        for (uint32_t e = 0; e < l->n_in; e++) {
            order_value *in = &o[p->edge[l->first_in + e]];
            if (in->small && reader < in->reader) in->reader = reader;
        }
        if (!o[i].small) continue;
        uint32_t *first = o[i].reader == HTI_NONE ? &end : &o[o[i].reader].first;
        o[i].next = *first;
        *first = i;
    }
    return end;
}

/* The new places of a list of those that wait. */
static uint32_t order_place(const order_value *o, uint32_t i, uint32_t *place,
                            uint32_t at)
{
    for (; i != HTI_NONE; i = o[i].next) place[i] = at++;
    return at;
}

static void order_places(const ht_program *p, order_value *o, uint32_t *place)
{
    uint32_t n = p->n_values, at = 0;
    while (n > p->n_in && p->line[n - 1].op == &hti_op_copy) n--;
    uint32_t end = order_wait(p, o, n);
    for (uint32_t i = 0; i < n; i++) {
        if (o[i].small) continue;
        at = order_place(o, o[i].first, place, at);
        place[i] = at++;
    }
    order_place(o, end, place, at);
    for (uint32_t i = n; i < p->n_values; i++) place[i] = i;
}

/* Copies for outputs stay where they are, at the end. */
bool hti_pass_order(ht_program *p)
{
    order_value *o = hti_program_scratch(p, p->n_values, sizeof *o);
    uint32_t *place = hti_program_scratch(p, p->n_values, sizeof *place);
    if (!o || !place) return false;
    order_places(p, o, place);
    return hti_program_rearrange(p, place);
}
