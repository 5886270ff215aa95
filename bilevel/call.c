/* SPDX-License-Identifier: MIT */
/* call.c: a program of a bilevel on the memory of its operands, which are found by the
 * signature it was cut by. Read next: training.c. */
#include "bilevel_internal.h"

void **hti_point_buffer(void **to, const ht_set *set, unsigned char *buffer)
{
    for (int i = 0; i < set->n; i++) {
        *to++ = buffer;
        buffer += hti_round_up(ht_tensor_bytes(set->tensor[i]), HTI_ALIGN);
    }
    return to;
}

static void **point_set(void **to, const ht_set *set)
{
    for (int i = 0; i < set->n; i++) *to++ = set->tensor[i]->array.data;
    return to;
}

static void **point_list(void **to, void *const *from, int n)
{
    for (int i = 0; i < n; i++) *to++ = from[i];
    return to;
}

static void **point_sums(void **to, const ht_set *sum, const bool *summed)
{
    for (int j = 0; j < sum->n; j++)
        if (summed[j]) *to++ = sum->tensor[j]->array.data;
    return to;
}

/* Of current's slot, if it is in one: else no one will read them. */
static void **point_products(const ht_bilevel *b, void **to)
{
    size_t slot = b->run.slot == HTI_NO_SLOT ? 0 : (size_t)b->run.slot;
    unsigned char *memory = b->memory.products + slot * b->memory.product_bytes;
    for (int k = 0; k < b->programs.n_kept; k++) {
        *to++ = memory;
        memory += hti_product_bytes(&b->programs.product[k]);
    }
    return to;
}

/* A state lies behind the theta of its block, as its operand does behind theta's. */
static void **point_operand(ht_bilevel *b, hti_call_kind kind, hti_operand operand,
                            unsigned char *const *at, void **to)
{
    const ht_set *set = hti_operand_set(b, operand);
    unsigned char *buffer = at[operand];
    if (set == b->problem.state && at[operand - 1])
        buffer = at[operand - 1] + hti_set_bytes(b->problem.theta);
    bool initial = kind == HTI_INITIAL_REVERSE;
    switch (operand) {
    case HTI_STEP:
        *to = &b->run.step;
        return to + 1;
    case HTI_LOSS:
        *to = &b->run.loss;
        return to + 1;
    case HTI_PRODUCTS:
        return point_products(b, to);
    case HTI_THETA_COTANGENT:
        return point_list(to, b->run.cotangent, set->n);
    case HTI_STATE_COTANGENT:
        return point_list(to, b->run.cotangent + b->problem.theta->n, set->n);
    case HTI_ETA_COTANGENT:
        return point_sums(to, set,
                          initial ? b->programs.initial_summed : b->programs.summed);
    default:
        return buffer ? hti_point_buffer(to, set, buffer) : point_set(to, set);
    }
}

void hti_point_in(ht_bilevel *b, hti_call_kind kind, const hti_places *at)
{
    void **to = b->programs.call[kind].in;
    for (const hti_operand *o = hti_signatures[kind].in; *o != HTI_END; o++)
        to = point_operand(b, kind, *o, at->in, to);
}

void hti_point_out(ht_bilevel *b, hti_call_kind kind, const hti_places *at)
{
    void **to = b->programs.call[kind].out;
    for (const hti_operand *o = hti_signatures[kind].out; *o != HTI_END; o++)
        to = point_operand(b, kind, *o, at->out, to);
}

/* The first value that is not finite: of the training if it has one, which tangents run
 * ahead of; then of the outer loss; else of the derivative. */
static void keep_bad(ht_bilevel *b, hti_call_kind kind, int64_t step)
{
    const char *op = hti_program_bad(b->programs.call[kind].program);
    ht_bilevel_result *r = &b->run.result;
    ht_bad_where where = hti_signatures[kind].where;
    if (!op || (r->bad_where != HT_BAD_NONE && r->bad_where <= where)) return;
    r->bad_where = where;
    r->bad_step = step;
    r->bad_op = op;
}

bool hti_replay(ht_bilevel *b, hti_call_kind kind, int64_t step)
{
    hti_call *c = &b->programs.call[kind];
    hti_program_watch(c->program, b->run.watch);
    ht_status status = hti_program_run(c->program, c->in, c->out);
    if (b->run.watch) keep_bad(b, kind, step);
    return status == HT_OK;
}

bool hti_run_call(ht_bilevel *b, hti_call_kind kind, const hti_places *at, int64_t step)
{
    hti_point_in(b, kind, at);
    hti_point_out(b, kind, at);
    return hti_replay(b, kind, step);
}
