/* SPDX-License-Identifier: MIT */
/* products.c: the reverse step as programs, and the matrix products and sums that a step
 * may keep for its reverse: which there are, and what each number of them takes, measured
 * while the step stands on its tape. Read next: ../unroll/choose.c. */
#include <stdlib.h>
#include <string.h>

#include "record.h"

/* Marks what `out` needs; a node in `stop` is needed but not looked behind. */
static void mark_needed(const ht_tape *tape, const ht_var *out, int n_out,
                        const bool *stop, bool *needed)
{
    const uint32_t *in;
    memset(needed, 0, ht_tape_nodes(tape) * sizeof *needed);
    for (int k = 0; k < n_out; k++) needed[out[k].index] = true;
    for (uint32_t i = ht_tape_nodes(tape); i-- > 0;) {
        if (!needed[i] || stop[i]) continue;
        for (uint32_t e = hti_node_inputs(tape, i, &in); e-- > 0;) needed[in[e]] = true;
    }
}

enum { SUM_LEAST = 4096, SUM_OF = 16 }; /* elements summed; and to one of the result */

/* A sum of many elements into few is kept as products are: it has next to no bytes, and
 * what it adds up, as the slope before a bias, often nothing else of the reverse needs.
 * An op, linear and of one input, that leaves so little of it is one, if no view. */
static bool is_sum(ht_tape *tape, uint32_t i)
{
    const ht_op *op = hti_node_op(tape, i);
    const uint32_t *in;
    if (!(op->flags & HT_OP_LINEAR) || op->view || hti_node_inputs(tape, i, &in) != 1)
        return false;
    ht_type of = hti_type(hti_node_var(tape, in[0])),
            to = hti_type(hti_node_var(tape, i));
    int64_t n = ht_shape_count(of.shape);
    return n >= SUM_LEAST && n / SUM_OF >= ht_shape_count(to.shape);
}

/* Sums first, then most flops to a byte; the tape's order where equal. */
static int product_order(const void *x, const void *y)
{
    const hti_product *a = x, *b = y;
    if (a->sum != b->sum) return a->sum ? -1 : 1;
    double p = a->flops * (double)hti_bytes(b->type.dtype, b->type.shape),
           q = b->flops * (double)hti_bytes(a->type.dtype, a->type.shape);
    if (p != q) return p < q ? 1 : -1;
    return (a->node > b->node) - (a->node < b->node);
}

/* The products that forward and reverse both compute, most worth keeping first: those
 * that only others of them need are none. */
static bool list_products(hti_recorder *r, const bool *both, const bool *needed)
{
    hti_programs *p = &r->b->programs;
    uint32_t n_nodes = ht_tape_nodes(r->tape);
    int n = 0;
    for (uint32_t i = 0; i < n_nodes; i++) n += both[i] && needed[i];
    p->product = hti_zalloc(r->b->ctx, (size_t)n, sizeof *p->product);
    if (r->b->ctx->status != HT_OK) return false;
    for (uint32_t i = 0; i < n_nodes; i++)
        if (both[i] && needed[i])
            p->product[p->n_products++] =
                (hti_product){hti_type(hti_node_var(r->tape, i)),
                              hti_tape_flops(r->tape, i), i, is_sum(r->tape, i)};
    if (n > 0) qsort(p->product, (size_t)n, sizeof *p->product, product_order);
    return true;
}

static bool find_products(hti_recorder *r)
{
    ht_tape *tape = r->tape;
    uint32_t n = ht_tape_nodes(tape);
    int n_in, n_step, n_out;
    bool *stop = hti_tape_alloc(tape, 3 * (size_t)n);
    ht_var *in = hti_list(r, r->in, hti_signatures[HTI_REVERSE_STEP].in, &n_in),
           *step = hti_list(r, r->out, hti_signatures[HTI_FORWARD].out, &n_step),
           *out = hti_list(r, r->out, hti_signatures[HTI_REVERSE_STEP].out, &n_out);
    if (!stop || !in || !step || !out) return false;
    bool *both = stop + n, *needed = both + n;
    memset(stop, 0, n);
    for (int k = 0; k < n_in; k++) stop[in[k].index] = true;
    mark_needed(tape, step, n_step, stop, both);
    mark_needed(tape, out, n_out, stop, needed);
    for (uint32_t i = 0; i < n; i++) {
        bool product = hti_node_op(tape, i)->flags & HT_OP_PRODUCT || is_sum(tape, i);
        both[i] = both[i] && needed[i] && !stop[i] && product;
        stop[i] = stop[i] || both[i];
    }
    mark_needed(tape, out, n_out, stop, needed);
    return list_products(r, both, needed);
}

static bool open_products(hti_recorder *r)
{
    hti_programs *p = &r->b->programs;
    if (!find_products(r)) return false;
    ht_var *kept = hti_vars_list(r->tape, p->n_products);
    for (int k = 0; kept && k < p->n_products; k++)
        kept[k] = hti_node_var(r->tape, p->product[k].node);
    r->in[HTI_PRODUCTS] = r->out[HTI_PRODUCTS] = kept;
    return kept != NULL;
}

/* Cutting. */

/* Variables before an operand in what a program reads. */
static int operand_place(const hti_recorder *r, hti_call_kind kind, hti_operand operand)
{
    int place = 0;
    for (const hti_operand *o = hti_signatures[kind].in; *o != operand; o++)
        place += hti_operand_count(r->b, *o);
    return place;
}

/* A call, and which of its first results, of theta and s or their cotangents, may be
 * written over what it read of the same name. */
static bool cut_over(hti_recorder *r, hti_call_kind kind)
{
    hti_call *call = &r->b->programs.call[kind];
    if (!hti_cut_call(r, kind)) return false;
    int first = operand_place(r, kind, hti_signatures[kind].out[0]);
    call->over = hti_zalloc(r->b->ctx, (size_t)call->n_out, sizeof *call->over);
    if (!call->over) return false;
    call->over_all = true;
    for (int k = 0; k < r->n_theta + r->n_state; k++) {
        call->over[k] =
            hti_program_may_share(call->program, (uint32_t)k, (uint32_t)(first + k));
        call->over_all = call->over_all && call->over[k];
    }
    return true;
}

/* One of the pair that keeps the first `kept` products. */
static bool cut_kept(hti_recorder *r, hti_call_kind kind, int kept)
{
    r->b->programs.n_kept = kept;
    return cut_over(r, kind);
}

static const hti_call_kind pair[] = {HTI_FORWARD_KEPT, HTI_REVERSE_KEPT};

static bool cut_pair(hti_recorder *r, int kept)
{
    return cut_kept(r, pair[0], kept) && cut_kept(r, pair[1], kept);
}

/* Levels. */

/* What those of the pair take that there are is a part of what their level does. */
static void level_add(const ht_bilevel *b, hti_level *level)
{
    for (int k = 0; k < 2; k++) {
        const hti_call *call = &b->programs.call[pair[k]];
        if (!call->program) continue;
        level->bytes += hti_call_bytes(call);
        size_t arena = ht_program_bytes(call->program);
        if (arena > level->arena) level->arena = arena;
        if (pair[k] == HTI_REVERSE_KEPT) level->over_all = call->over_all;
    }
}

static void drop_pair(ht_bilevel *b)
{
    for (int k = 0; k < 2; k++) hti_call_free(b->ctx, &b->programs.call[pair[k]]);
}

/* One call of a level at a time, so that measuring takes no more than all products do;
 * the peak is that of both together. */
static bool measure_level(hti_recorder *r, hti_level *level)
{
    ht_context *ctx = r->b->ctx;
    for (int k = 0; k < 2; k++) {
        size_t peak = ctx->peak;
        ctx->peak = ctx->live;
        bool ok = cut_kept(r, pair[k], level->kept);
        level->peak = ctx->peak - r->b->planning->base + level->bytes;
        if (ctx->peak < peak) ctx->peak = peak;
        if (!ok) return false;
        level_add(r->b, level);
        drop_pair(r->b);
    }
    return true;
}

/* Of many products some numbers of them, evenly spread; with any of them all sums, which
 * weigh nothing. */
static void set_levels(ht_bilevel *b)
{
    int sums = 0, n_products = b->programs.n_products;
    while (sums < n_products && b->programs.product[sums].sum) sums++;
    int others = n_products - sums, n = others < HTI_LEVELS ? others : HTI_LEVELS;
    if (n == 0 && sums > 0) n = 1;
    b->planning->n_level = n + 1;
    b->planning->level[0] = (hti_level){.kept = 0};
    for (int i = 1; i <= n; i++)
        b->planning->level[i] = (hti_level){.kept = sums + others * i / n};
}

/* The choice among all levels, each measured. What measuring took, any of them took. */
static bool choose_measured(hti_recorder *r)
{
    ht_bilevel *b = r->b;
    hti_planning *p = b->planning;
    drop_pair(b);
    for (int i = 1; i + 1 < p->n_level; i++)
        if (!measure_level(r, &p->level[i])) return false;
    size_t most = b->ctx->peak - p->base;
    for (int i = 0; i < p->n_level; i++)
        if (p->level[i].peak < most) p->level[i].peak = most;
    if (!hti_choose(b, r->options)) return false;
    return !b->programs.n_kept || cut_pair(r, b->programs.n_kept);
}

static bool fill_cotangents(hti_recorder *r)
{
    hti_fill_zeros(r, HTI_THETA_COTANGENT);
    hti_fill_zeros(r, HTI_STATE_COTANGENT);
    hti_add_sums(r, r->out[HTI_ETA_COTANGENT], r->b->programs.summed);
    return r->b->ctx->status == HT_OK;
}

bool hti_cut_reverse_alone(hti_recorder *r)
{
    return fill_cotangents(r) && cut_over(r, HTI_REVERSE_STEP);
}

bool hti_cut_reverse(hti_recorder *r)
{
    ht_bilevel *b = r->b;
    if (!fill_cotangents(r) || !cut_over(r, HTI_FORWARD) ||
        !cut_over(r, HTI_REVERSE_STEP) || !open_products(r))
        return false;
    set_levels(b);
    int n = b->programs.n_products;
    hti_level *all = &b->planning->level[b->planning->n_level - 1];
    if (n && !cut_pair(r, n)) return false;
    level_add(b, all);
    all->peak = b->ctx->peak - b->planning->base;
    return hti_choose_all(b, r->options) || choose_measured(r);
}
