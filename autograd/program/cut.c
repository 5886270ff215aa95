/* SPDX-License-Identifier: MIT */
/* cut.c: cutting a program out of a recorded tape. What the outputs do not need is never
 * copied: that is dead-code elimination. Instructions keep the tape's order, but for
 * small ones between small ones (the arithmetic of a learning rate): those wait for their
 * first reader, out of the way of what could run together. A product that is only added
 * to something is added where that stands. Read next: fuse.c, plan.c. */
#include <string.h>

#include "ops.h"
#include "program.h"

/* A node of the tape, as the cut sees it. */
typedef struct hti_cut_node {
    uint32_t ordinal; /* among the program's values; HTI_NONE: not in it */
    uint32_t readers; /* among what is kept; outputs count */
    uint32_t output;  /* the first output it is, if it is one */
    /* Of small nodes s, t that wait for their first reader r, and are placed before it:
     * waiting of s and t is r (HTI_NONE: the program's end); that of r, which does not
     * wait, the first of them, s; and next of s is t. */
    uint32_t waiting, next;
    uint32_t product; /* that is added here; HTI_NONE: none */
    uint32_t scale;   /* or subtracted, times this number; HTI_NONE: added */
    bool fuses;       /* something elementwise reads it */
    bool waits;       /* it is small, and all it reads is */
} hti_cut_node;

typedef struct hti_cut {
    ht_tape *tape;
    uint32_t n_nodes;
    hti_cut_node *node;
    uint32_t end; /* the first that waits for the end */
    uint32_t n_in, n_values, n_edges, n_copies;
    size_t data_bytes;
} hti_cut;

static const uint32_t hti_cut_kept = HTI_NONE - 1; /* an ordinal not yet known */

/* Whether the node is an instruction of the program, not an input and not left out. */
static bool hti_cut_keeps(const hti_cut *cut, uint32_t node)
{
    return cut->node[node].ordinal == hti_cut_kept;
}

static const uint32_t *hti_cut_inputs(const hti_cut *cut, uint32_t node)
{
    return cut->tape->edge + cut->tape->first_in[node];
}

/* Marks what `out` needs, back to the inputs. */
static bool hti_cut_mark(hti_cut *cut, int n_out, const ht_var *out, const char *site)
{
    ht_tape *tape = cut->tape;
    for (int k = n_out; k-- > 0;) {
        hti_cut_node *node = &cut->node[out[k].index];
        node->output = (uint32_t)k;
        if (node->ordinal == HTI_NONE) node->ordinal = hti_cut_kept;
        node->readers++;
    }
    for (uint32_t i = cut->n_nodes; i-- > 0;) {
        if (!hti_cut_keeps(cut, i)) continue;
        if (tape->op[i] == &hti_op_input) {
            hti_fail(tape, HT_ERROR_ARGUMENT, site, "program",
                     "an output needs leaf %%%u%s%s, which is not among the inputs", i,
                     tape->site[i] ? ", made at " : "",
                     tape->site[i] ? tape->site[i] : "");
            return false;
        }
        for (uint32_t e = 0; e < tape->n_in[i]; e++) {
            hti_cut_node *in = &cut->node[hti_cut_inputs(cut, i)[e]];
            if (in->ordinal == HTI_NONE) in->ordinal = hti_cut_kept;
            in->readers++;
            in->fuses = in->fuses || tape->op[i]->flags & HT_OP_ELEMENTWISE;
        }
    }
    return true;
}

/* Whether a node is made here for one reader, as large as it. */
static bool hti_cut_feeds(const hti_cut *cut, uint32_t in, uint32_t to)
{
    const ht_tape *tape = cut->tape;
    return hti_cut_keeps(cut, in) && cut->node[in].readers == 1 &&
           ht_shape_equal(tape->type[in].shape, tape->type[to].shape);
}

/* Whether x + product can be said as x += product, the same bits: x is made here for
 * nothing else, as the product is; and no fused pass would read the sum anyway. */
static bool hti_cut_adds(const hti_cut *cut, uint32_t sum, uint32_t x, uint32_t product)
{
    const ht_tape *tape = cut->tape;
    if (tape->op[product] != &hti_op_matmul || cut->node[sum].fuses ||
        !(tape->op[x]->flags & HT_OP_ELEMENTWISE) ||
        ht_shape_count(tape->type[sum].shape) < tape->ctx->fuse_least ||
        !hti_cut_feeds(cut, x, sum) || !hti_cut_feeds(cut, product, sum))
        return false;
    ht_type a = tape->type[hti_cut_inputs(cut, product)[0]];
    return tape->type[product].shape.rank == 2 &&
           hti_matmul_adds(tape->ctx, a.dtype, a.shape.dim[0],
                           tape->type[sum].shape.dim[1], a.shape.dim[1]);
}

static void hti_cut_add_products(hti_cut *cut)
{
    const ht_tape *tape = cut->tape;
    for (uint32_t i = 0; i < cut->n_nodes; i++) {
        cut->node[i].product = cut->node[i].scale = HTI_NONE;
        if (!hti_cut_keeps(cut, i) || tape->op[i] != &hti_op_add) continue;
        const uint32_t *in = hti_cut_inputs(cut, i);
        for (int e = 0; e < 2 && cut->node[i].product == HTI_NONE; e++)
            if (hti_cut_adds(cut, i, in[!e], in[e])) cut->node[i].product = in[e];
        if (cut->node[i].product != HTI_NONE)
            cut->node[cut->node[i].product].ordinal = HTI_NONE;
    }
}

/* Fast: x - s (a . b), the update of plain descent, without the gradient in memory. */
static void hti_cut_fold(hti_cut *cut, uint32_t i)
{
    const ht_tape *tape = cut->tape;
    const struct hti_kernels *kernels = tape->ctx->kernels;
    uint32_t scaled = hti_cut_inputs(cut, i)[1];
    if (cut->node[i].fuses || tape->op[scaled] != &hti_op_mul ||
        tape->type[i].dtype != HT_F32 || !hti_cut_feeds(cut, scaled, i) ||
        !ht_shape_equal(tape->type[hti_cut_inputs(cut, i)[0]].shape, tape->type[i].shape))
        return;
    for (int e = 0; e < 2; e++) {
        uint32_t s = hti_cut_inputs(cut, scaled)[e],
                 product = hti_cut_inputs(cut, scaled)[!e];
        if (tape->op[product] != &hti_op_matmul || !hti_cut_feeds(cut, product, i) ||
            ht_shape_count(tape->type[s].shape) != 1 || tape->type[i].shape.rank != 2 ||
            !hti_matmul_folds(kernels, tape->type[i].shape))
            continue;
        cut->node[i].product = product;
        cut->node[i].scale = s;
        cut->node[product].ordinal = cut->node[scaled].ordinal = HTI_NONE;
        return;
    }
}

/* Inputs of the instruction that node i becomes. */
static uint32_t hti_cut_reads(const hti_cut *cut, uint32_t i, uint32_t in[4])
{
    const hti_cut_node *node = &cut->node[i];
    if (node->product == HTI_NONE) return 0;
    const uint32_t *add = hti_cut_inputs(cut, i),
                   *product = hti_cut_inputs(cut, node->product);
    in[0] = add[0] == node->product ? add[1] : add[0];
    in[1] = product[0];
    in[2] = product[1];
    if (node->scale == HTI_NONE) return 3;
    in[0] = add[0];
    in[3] = node->scale;
    return 4;
}

static void hti_cut_count(hti_cut *cut)
{
    const ht_tape *tape = cut->tape;
    for (uint32_t i = 0; i < cut->n_nodes; i++) {
        if (!hti_cut_keeps(cut, i)) continue;
        cut->n_values++;
        uint32_t in[4], n = hti_cut_reads(cut, i, in);
        cut->n_edges += n ? n : tape->n_in[i];
        cut->data_bytes += hti_round_up(tape->op[i]->attribute_size, 16);
    }
}

/* Waiting. */

static bool hti_cut_is_small(const hti_cut *cut, uint32_t i)
{
    const ht_tape *tape = cut->tape;
    bool small = ht_shape_count(tape->type[i].shape) < HTI_FUSE_LEAST;
    for (uint32_t e = 0; small && e < tape->n_in[i]; e++)
        small =
            ht_shape_count(tape->type[hti_cut_inputs(cut, i)[e]].shape) < HTI_FUSE_LEAST;
    return small && cut->node[i].product == HTI_NONE;
}

/* Input `in` is wanted by what runs at `until`. */
static void hti_cut_want(hti_cut *cut, uint32_t in, uint32_t until)
{
    if (cut->node[in].waits && until < cut->node[in].waiting)
        cut->node[in].waiting = until;
}

/* Which nodes wait for which. */
static void hti_cut_wait(hti_cut *cut)
{
    hti_cut_node *node = cut->node;
    cut->end = HTI_NONE;
    for (uint32_t i = 0; i < cut->n_nodes; i++) {
        node[i].waiting = HTI_NONE;
        node[i].waits = hti_cut_keeps(cut, i) && hti_cut_is_small(cut, i);
    }
    for (uint32_t i = cut->n_nodes; i-- > 0;) {
        if (!hti_cut_keeps(cut, i)) continue;
        uint32_t until = node[i].waits ? node[i].waiting : i, in[4];
        uint32_t n = hti_cut_reads(cut, i, in);
        for (uint32_t e = 0; e < n; e++) hti_cut_want(cut, in[e], until);
        for (uint32_t e = 0; !n && e < cut->tape->n_in[i]; e++)
            hti_cut_want(cut, hti_cut_inputs(cut, i)[e], until);
    }
    for (uint32_t i = cut->n_nodes; i-- > 0;) {
        if (!node[i].waits) continue;
        uint32_t until = node[i].waiting;
        uint32_t *first = until == HTI_NONE ? &cut->end : &node[until].waiting;
        node[i].next = *first;
        *first = i;
    }
}

/* Filling. */

/* An output is written by the instruction that makes it; one that is an input, a view, a
 * constant or an output already is written by a copy. */
static bool hti_output_needs_copy(const hti_cut *cut, const ht_var *out, int k)
{
    uint32_t node = out[k].index;
    const ht_op *op = cut->tape->op[node];
    return cut->node[node].ordinal < cut->n_in || op->view || op == &hti_op_constant ||
           cut->node[node].output != (uint32_t)k;
}

static void hti_cut_value(const hti_cut *cut, ht_program *p, uint32_t i, uint32_t *at,
                          size_t *data)
{
    const ht_tape *tape = cut->tape;
    const ht_op *op = tape->op[i];
    hti_value *v = &p->value[*at];
    uint32_t in[4], n = hti_cut_reads(cut, i, in);
    const uint32_t *from = n ? in : hti_cut_inputs(cut, i), n_in = n ? n : tape->n_in[i];
    *v = (hti_value){.op = n == 4 ? &hti_op_matmul_fold
                           : n    ? &hti_op_matmul_add
                                  : op,
                     .type = tape->type[i],
                     .site = tape->site[i],
                     .n_in = n_in,
                     .first_in = p->n_edges};
    for (uint32_t e = 0; e < n_in; e++)
        p->edge[p->n_edges++] = cut->node[from[e]].ordinal;
    if (op->attribute_size) {
        memcpy(p->data + *data, tape->attributes[i], op->attribute_size);
        v->attributes = p->data + *data;
        *data += hti_round_up(op->attribute_size, 16);
    }
    cut->node[i].ordinal = (*at)++;
}

static void hti_cut_values(const hti_cut *cut, ht_program *p, uint32_t *at)
{
    const hti_cut_node *node = cut->node;
    size_t data = 0;
    for (uint32_t i = 0; i < cut->n_nodes; i++) {
        if (!hti_cut_keeps(cut, i) || node[i].waits) continue;
        for (uint32_t w = node[i].waiting; w != HTI_NONE; w = node[w].next)
            hti_cut_value(cut, p, w, at, &data);
        hti_cut_value(cut, p, i, at, &data);
    }
    for (uint32_t w = cut->end; w != HTI_NONE; w = node[w].next)
        hti_cut_value(cut, p, w, at, &data);
}

/* Fills the allocated program: inputs, instructions, copies for outputs. */
static void hti_cut_fill(const hti_cut *cut, ht_program *p, const ht_var *in,
                         const ht_var *out, const char *site)
{
    uint32_t at = p->n_in;
    p->n_edges = 0;
    for (uint32_t j = 0; j < p->n_in; j++)
        p->value[j] = (hti_value){.type = hti_type(in[j]),
                                  .site = cut->tape->site[in[j].index],
                                  .place = HTI_IN_INPUT,
                                  .slot = j};
    hti_cut_values(cut, p, &at);
    for (uint32_t k = 0; k < p->n_out; k++) {
        p->out[k] = cut->node[out[k].index].ordinal;
        if (!hti_output_needs_copy(cut, out, (int)k)) continue;
        p->value[at] = (hti_value){.op = &hti_op_copy,
                                   .type = hti_type(out[k]),
                                   .site = site,
                                   .n_in = 1,
                                   .first_in = p->n_edges};
        p->edge[p->n_edges++] = p->out[k];
        p->out[k] = at++;
    }
}

static ht_program *hti_program_alloc(const hti_cut *cut, int n_out)
{
    ht_context *ctx = cut->tape->ctx;
    if ((uint64_t)cut->n_in + cut->n_values + cut->n_copies >= HTI_NONE ||
        (uint64_t)cut->n_edges + cut->n_copies > UINT32_MAX) {
        ht_context_fail(ctx, HT_ERROR_MEMORY, NULL,
                        "program: more than 2^32 values or inputs of them");
        return NULL;
    }
    ht_program *p = hti_zalloc(ctx, 1, sizeof *p);
    if (!p) return NULL;
    p->ctx = ctx;
    p->n_in = cut->n_in;
    p->n_out = (uint32_t)n_out;
    p->n_values = p->n_in + cut->n_values + cut->n_copies;
    p->n_edges = cut->n_edges + cut->n_copies;
    p->data_bytes = cut->data_bytes;
    p->value = hti_zalloc(ctx, p->n_values, sizeof *p->value);
    p->edge = hti_zalloc(ctx, p->n_edges, sizeof *p->edge);
    p->operand = hti_zalloc(ctx, p->n_edges, sizeof *p->operand);
    p->out = hti_zalloc(ctx, p->n_out, sizeof *p->out);
    p->begun = hti_zalloc(ctx, p->n_out, sizeof *p->begun);
    p->instruction = hti_zalloc(ctx, p->n_values, sizeof *p->instruction);
    p->at = hti_zalloc(ctx, p->n_values, sizeof *p->at);
    p->bound = hti_zalloc(ctx, (size_t)p->n_in + p->n_out, sizeof *p->bound);
    p->data = hti_zalloc(ctx, p->data_bytes, 1);
    if (ctx->status == HT_OK) return p;
    ht_program_free(p);
    return NULL;
}

/* Marks, counts, allocates, fills; the nodes are scratch. */
static ht_program *hti_cut_program(hti_cut *cut, const ht_var *in, int n_out,
                                   const ht_var *out, const char *site)
{
    for (uint32_t i = 0; i < cut->n_nodes; i++)
        cut->node[i] = (hti_cut_node){.ordinal = HTI_NONE};
    for (uint32_t j = cut->n_in; j-- > 0;) cut->node[in[j].index].ordinal = j;
    if (!hti_cut_mark(cut, n_out, out, site)) return NULL;
    hti_cut_add_products(cut);
    for (uint32_t i = 0; cut->tape->ctx->options.fast && i < cut->n_nodes; i++)
        if (hti_cut_keeps(cut, i) && cut->tape->op[i] == &hti_op_sub)
            hti_cut_fold(cut, i);
    hti_cut_count(cut);
    hti_cut_wait(cut);
    for (int k = 0; k < n_out; k++) cut->n_copies += hti_output_needs_copy(cut, out, k);
    ht_program *p = hti_program_alloc(cut, n_out);
    if (!p) return NULL;
    hti_cut_fill(cut, p, in, out, site);
    if (hti_program_plan(p)) return p;
    ht_program_free(p);
    return NULL;
}

/* Whether all of a list are variables of the tape. */
static bool hti_cut_takes(ht_tape *tape, const char *what, int n, const ht_var *list,
                          const char *site)
{
    for (int j = 0; j < n; j++) {
        ht_var x = hti_needs(tape, list[j], "program", what, j, site);
        if (hti_is_poison(x)) return hti_fail_poisoned(tape->ctx, "program", site), false;
    }
    return true;
}

ht_program *ht_program_new_at(ht_tape *recorded, int n_in, const ht_var *in, int n_out,
                              const ht_var *out, const char *site)
{
    HT_ASSERT(recorded, "ht_program_new: the tape is NULL");
    HT_ASSERT(recorded->policy == HT_RECORD,
              "ht_program_new: a program is cut from a recorded tape");
    HT_ASSERT(n_in >= 0 && n_out > 0 && (in || !n_in) && out,
              "ht_program_new: %d inputs at %p, %d outputs at %p", n_in, (const void *)in,
              n_out, (const void *)out);
    if (recorded->ctx->status != HT_OK) return NULL;
    if (!hti_cut_takes(recorded, "input", n_in, in, site) ||
        !hti_cut_takes(recorded, "output", n_out, out, site))
        return NULL;
    hti_arena_mark mark = hti_arena_at(&recorded->scratch);
    hti_cut cut = {.tape = recorded, .n_nodes = recorded->n, .n_in = (uint32_t)n_in};
    cut.node = hti_arena_alloc(&recorded->scratch, recorded->n * sizeof *cut.node);
    ht_program *p = cut.node ? hti_cut_program(&cut, in, n_out, out, site) : NULL;
    hti_arena_rewind(&recorded->scratch, mark);
    return p;
}
