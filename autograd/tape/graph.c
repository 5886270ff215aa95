/* SPDX-License-Identifier: MIT */
/* graph.c: a tape's nodes for those above, who do not see its columns. */
#include "engine_graph.h"
#include "tape.h"

const ht_op *hti_node_op(const ht_tape *tape, uint32_t i)
{
    return tape->op[i];
}

const char *hti_node_site(const ht_tape *tape, uint32_t i)
{
    return tape->site[i];
}

ht_var hti_node_var(ht_tape *tape, uint32_t i)
{
    return hti_var(tape, i);
}

uint32_t hti_node_inputs(const ht_tape *tape, uint32_t i, const uint32_t **in)
{
    *in = hti_inputs(tape, i);
    return tape->n_in[i];
}

double hti_tape_flops(const ht_tape *tape, uint32_t i)
{
    const uint32_t *edge;
    uint32_t n = hti_node_inputs(tape, i, &edge);
    ht_type in[HT_OP_INPUTS] = {0};
    for (uint32_t e = 0; e < n && e < HT_OP_INPUTS; e++) in[e] = tape->type[edge[e]];
    return tape->op[i]->flops ? tape->op[i]->flops(in, &tape->type[i]) : 0;
}
