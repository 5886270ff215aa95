/* SPDX-License-Identifier: MIT */
/* streams.c: see streams.h. Read next: autograd/program/program.h, hyper.c. */
#include "streams.h"

#include "program.h"

static bool streams_runs(const ht_program *p, uint32_t i)
{
    const hti_value *v = &p->value[i];
    return v->when == i && v->place != HTI_IN_VIEW && v->place != HTI_IN_CONSTANT;
}

/* Elements that differ: a repeated axis counts once. */
static bool streams_large(const ht_program *p, uint32_t i, int64_t elements)
{
    const ht_array *a = &p->value[i].array;
    int64_t n = 1;
    for (int k = 0; k < a->shape.rank; k++)
        if (a->stride[k] != 0) n *= a->shape.dim[k];
    return n >= elements;
}

static int64_t streams_of_group(const ht_program *p, const hti_group *g, int64_t elements)
{
    int64_t n = 0;
    for (int k = 0; k < g->fused.n_operands; k++)
        n += streams_large(p, g->operand[k], elements);
    return n;
}

static int64_t streams_of_value(const ht_program *p, uint32_t i, int64_t elements)
{
    const uint32_t *in = p->edge + p->value[i].first_in;
    int64_t n = streams_large(p, i, elements);
    for (uint32_t e = 0; e < p->value[i].n_in; e++) {
        bool again = false;
        for (uint32_t k = 0; k < e; k++) again = again || in[k] == in[e];
        if (!again) n += streams_large(p, in[e], elements);
    }
    return n;
}

/* Of a chain: what is in memory for all rows, once. */
static int64_t streams_of_chain(const ht_program *p, const hti_chain *c, int64_t elements)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < p->n_values; i++) {
        bool reads = false;
        for (uint32_t k = 0; !reads && k < c->n_links; k++)
            for (uint32_t e = 0; e <= p->value[c->link[k].value].n_in; e++)
                reads = reads || p->value[c->link[k].operand[e]].root == i;
        n += reads && !p->value[i].local && streams_large(p, i, elements);
    }
    return n;
}

static int64_t streams_at(const ht_program *p, uint32_t i, int64_t elements)
{
    const hti_value *v = &p->value[i];
    if (v->chain) return streams_of_chain(p, hti_chain_of(p, v), elements);
    return v->group ? streams_of_group(p, v->group, elements)
                    : streams_of_value(p, i, elements);
}

int64_t bench_instructions(const ht_program *p)
{
    int64_t n = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++) n += streams_runs(p, i);
    return n;
}

int64_t bench_streams(const ht_program *p, int64_t elements)
{
    int64_t n = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        if (streams_runs(p, i)) n += streams_at(p, i, elements);
    return n;
}

int64_t bench_largest(const ht_set *set)
{
    int64_t most = 0;
    for (int i = 0; i < ht_set_count(set); i++) {
        int64_t n = ht_tensor_count(ht_set_at(set, i));
        if (n > most) most = n;
    }
    return most;
}
