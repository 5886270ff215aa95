/* SPDX-License-Identifier: MIT */
/* rearrange.c: values in another order, or fewer: what a pass leaves. Read next:
 * passes/order.c. */
#include "program.h"

/* Value i goes to place[i], those left out behind the others. Slots say where what comes
 * to a place stands, so that each value of a cycle is copied once. */
static void permute(ht_program *p, const uint32_t *place)
{
    uint32_t gone = p->n_values;
    for (uint32_t i = p->n_values; i-- > 0;)
        p->value[place[i] == HTI_NONE ? --gone : place[i]].slot = i;
    for (uint32_t i = 0; i < p->n_values; i++) {
        if (p->value[i].slot == i) continue;
        const hti_value first = p->value[i];
        uint32_t to = i, from = first.slot;
        while (from != i) {
            uint32_t next = p->value[from].slot;
            p->value[to] = p->value[from];
            p->value[to].slot = to;
            to = from;
            from = next;
        }
        p->value[to] = first;
        p->value[to].slot = to;
    }
}

/* The edges of the values that are left, in their order. */
static bool rearrange_edges(ht_program *p, uint32_t n_values, const uint32_t *place)
{
    uint32_t n = 0, at = 0;
    for (uint32_t i = 0; i < n_values; i++) n += p->value[i].n_in;
    uint32_t *edge = hti_zalloc(p->ctx, n, sizeof *edge);
    if (p->ctx->status != HT_OK) return false;
    for (uint32_t i = 0; i < n_values; i++) {
        hti_value *v = &p->value[i];
        for (uint32_t e = 0; e < v->n_in; e++)
            edge[at + e] = place[p->edge[v->first_in + e]];
        v->first_in = at;
        at += v->n_in;
    }
    hti_resize(p->ctx, p->edge, p->n_edges * sizeof *edge, 0);
    p->edge = edge;
    p->n_edges = n;
    return true;
}

bool hti_program_rearrange(ht_program *p, const uint32_t *place)
{
    uint32_t n = 0, stay = 0;
    for (uint32_t i = 0; i < p->n_values; i++) {
        n += place[i] != HTI_NONE;
        stay += place[i] == i;
    }
    if (stay == p->n_values) return true;
    permute(p, place);
    for (uint32_t k = 0; k < p->n_out; k++) p->out[k] = place[p->out[k]];
    if (!rearrange_edges(p, n, place)) return false;
    if (n < p->n_values) {
        void *value = hti_resize(p->ctx, p->value, p->n_values * sizeof *p->value,
                                 n * sizeof *p->value);
        if (!value) return false;
        p->value = value;
        p->n_values = n;
    }
    p->placed = false;
    return true;
}
