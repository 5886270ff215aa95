/* SPDX-License-Identifier: MIT */
/* call.c: a program of a bilevel on the memory of its operands, which are found by the
 * signature it was cut by. Read next: training.c. */
#include "bilevel_internal.h"

size_t hti_set_bytes(const ht_set *set)
{
    size_t bytes = 0;
    for (int i = 0; i < set->n; i++)
        bytes += hti_round_up(ht_tensor_bytes(set->tensor[i]), HTI_ALIGN);
    return bytes;
}

size_t hti_call_bytes(const hti_call *call)
{
    if (!call->program) return 0;
    size_t bytes = hti_program_held(call->program);
    bytes += (size_t)call->n_in * sizeof *call->in;
    bytes += (size_t)call->n_out * sizeof *call->out;
    return bytes + (call->over ? (size_t)call->n_out * sizeof *call->over : 0);
}

int hti_program_operands(const ht_bilevel *b, hti_call_kind kind, hti_operand operand)
{
    const hti_programs *p = &b->programs;
    if (operand == HTI_SQUARE) return hti_ends_early(b);
    if (operand == HTI_PICK) return b->problem.outers > 0;
    if (operand != HTI_ETA_COTANGENT) return hti_operand_count(b, operand);
    const bool *summed = kind == HTI_INITIAL_REVERSE ? p->initial_summed : p->summed;
    int n = 0;
    for (int j = 0; j < b->problem.eta->n; j++) n += summed[j];
    return n;
}

double hti_step_flops(const ht_bilevel *b, bool reverse)
{
    const hti_call *call = b->programs.call;
    const ht_program *p = call[reverse ? HTI_REVERSE_STEP : HTI_FORWARD].program;
    if (!p) p = call[reverse ? HTI_REVERSE_KEPT : HTI_FORWARD_KEPT].program;
    return p ? ht_program_flops(p) : 0;
}

void hti_call_free(ht_context *ctx, hti_call *call)
{
    ht_program_free(call->program);
    hti_resize(ctx, call->in, (size_t)call->n_in * sizeof *call->in, 0);
    hti_resize(ctx, call->out, (size_t)call->n_out * sizeof *call->out, 0);
    hti_resize(ctx, call->over, (size_t)call->n_out * sizeof *call->over, 0);
    *call = (hti_call){0};
}

void **hti_point_buffer(void **to, const ht_set *set, unsigned char **buffer)
{
    for (int i = 0; i < set->n; i++) {
        *to++ = *buffer;
        *buffer += hti_round_up(ht_tensor_bytes(set->tensor[i]), HTI_ALIGN);
    }
    return to;
}

/* A set's own tensors; marked NULL: all. */
static void **point_set(const ht_bilevel *b, void **to, const ht_set *set,
                        const bool *marked)
{
    bool part = b->problem.outers && set == b->problem.gradient;
    for (int i = 0; i < set->n; i++) {
        if (marked && !marked[i]) continue;
        *to++ =
            part ? hti_gradient_at(b, b->problem.many, i) : set->tensor[i]->array.data;
    }
    return to;
}

/* Cotangents: of many outer losses those of the one at hand. */
static void **point_list(const ht_bilevel *b, void **to, void *const *from, int n)
{
    size_t offset = (size_t)b->run.which * b->memory.block_bytes;
    for (int i = 0; i < n; i++) *to++ = (unsigned char *)from[i] + offset;
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

/* A set's own tensors, or a buffer: the state's lies behind theta's, where *buffer is. */
static void **point_tensors(const ht_bilevel *b, const ht_set *set, unsigned char *at,
                            unsigned char **buffer, void **to)
{
    if (!at && set != b->problem.state) return point_set(b, to, set, NULL);
    if (at) *buffer = at;
    return hti_point_buffer(to, set, buffer);
}

static void **point_operand(ht_bilevel *b, hti_call_kind kind, hti_operand operand,
                            void **to)
{
    const hti_programs *p = &b->programs;
    const hti_problem *of = &b->problem;
    switch (operand) {
    case HTI_STEP:
        *to = &b->run.step;
        return to + 1;
    case HTI_LOSS:
        *to = &b->run.loss;
        if (kind == HTI_OUTER_LOSS && of->outers) *to = of->outer_loss;
        return to + 1;
    case HTI_PICK:
        if (!of->outers) return to;
        *to = of->outer_pick;
        return to + 1;
    case HTI_SQUARE:
        if (!hti_ends_early(b)) return to;
        *to = &b->run.square;
        return to + 1;
    case HTI_SPEEDS:
        *to = b->run.speeds;
        return to + 1;
    case HTI_PRODUCTS:
        return point_products(b, to);
    case HTI_THETA_COTANGENT:
        return point_list(b, to, b->run.cotangent, of->theta->n);
    case HTI_STATE_COTANGENT:
        return point_list(b, to, b->run.cotangent + of->theta->n, of->state->n);
    case HTI_ETA_COTANGENT:
        return point_set(b, to, of->gradient,
                         kind == HTI_INITIAL_REVERSE ? p->initial_summed : p->summed);
    default:
        return NULL;
    }
}

static void point(ht_bilevel *b, hti_call_kind kind, const hti_operand *operands,
                  unsigned char *const *at, void **to)
{
    unsigned char *buffer = NULL;
    for (const hti_operand *o = operands; *o != HTI_END; o++) {
        void **after = point_operand(b, kind, *o, to);
        to =
            after ? after : point_tensors(b, hti_operand_set(b, *o), at[*o], &buffer, to);
    }
}

void hti_point_in(ht_bilevel *b, hti_call_kind kind, const hti_places *at)
{
    point(b, kind, hti_signatures[kind].in, at->in, b->programs.call[kind].in);
}

void hti_point_out(ht_bilevel *b, hti_call_kind kind, const hti_places *at)
{
    point(b, kind, hti_signatures[kind].out, at->out, b->programs.call[kind].out);
}

/* The first value that is not finite: of the training if it has one, which tangents run
 * ahead of; then of the outer loss; else of the derivative. */
static void keep_bad(ht_bilevel *b, hti_call_kind kind, int64_t step)
{
    const char *op = hti_program_bad(b->programs.call[kind].program, NULL);
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
