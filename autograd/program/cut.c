/* SPDX-License-Identifier: MIT */
/* cut.c: cutting a program out of a recorded tape. What the outputs do not need is never
 * copied: that is dead-code elimination. Instructions are in the tape's order. Read next:
 * passes/passes.c, then place.c. */
#include "program.h"

/* A node of the tape, as the cut sees it. */
typedef struct cut_node {
    uint32_t ordinal; /* among the program's values; HTI_NONE: not in it */
    uint32_t output;  /* the first output it is, if it is one */
} cut_node;

typedef struct cut {
    ht_tape *tape;
    cut_node *node;
    uint32_t n_in, n_out;
    uint64_t n_lines, n_edges;
} cut;

static const uint32_t cut_kept = HTI_NONE - 1; /* an ordinal not yet known */

/* Input leaf i is needed and not given. */
static bool cut_misses_leaf(const cut *c, uint32_t i, const char *site)
{
    const char *made = c->tape->site[i];
    char name[HTI_QUOTED];
    hti_fail(c->tape, HT_ERROR_ARGUMENT, site, "program",
             "an output needs leaf %%%u%s%s%s, which is not among the inputs\n"
             "  hint: list it in `in`; what a loss of a bilevel reads is in inner_data "
             "or outer_data, theta or eta, and what a recording does in its sets",
             i, hti_quoted(c->tape, i, name), made ? ", made at " : "", made ? made : "");
    return false;
}

/* Marks what `out` needs, back to the inputs, and counts it. */
static bool cut_mark(cut *c, const ht_var *out, const char *site)
{
    const ht_tape *tape = c->tape;
    for (uint32_t k = c->n_out; k-- > 0;) {
        cut_node *node = &c->node[out[k].index];
        node->output = k;
        if (node->ordinal == HTI_NONE) node->ordinal = cut_kept;
    }
    for (uint32_t i = tape->n; i-- > 0;) {
        if (c->node[i].ordinal != cut_kept) continue;
        if (tape->op[i] == &hti_op_input) return cut_misses_leaf(c, i, site);
        for (uint32_t e = 0; e < tape->n_in[i]; e++) {
            cut_node *in = &c->node[hti_inputs(tape, i)[e]];
            if (in->ordinal == HTI_NONE) in->ordinal = cut_kept;
        }
        c->n_lines++;
        c->n_edges += tape->n_in[i];
    }
    return true;
}

/* An output is written by the instruction that makes it; one that is an input, a view, a
 * constant or an output already is written by a copy. */
static bool cut_copies(const cut *c, const ht_var *out, uint32_t k)
{
    uint32_t node = out[k].index;
    const ht_op *op = c->tape->op[node];
    return c->node[node].ordinal < c->n_in || op->view || op == &hti_op_constant ||
           c->node[node].output != k;
}

/* Node i as the next line. */
static void cut_line(const cut *c, ht_program *p, uint32_t i)
{
    const ht_tape *tape = c->tape;
    const uint32_t *in = hti_inputs(tape, i), n_in = tape->n_in[i];
    p->line[p->n_values] = (hti_line){tape->op[i],    tape->attributes[i], tape->site[i],
                                      &tape->type[i], p->n_edges,          n_in};
    for (uint32_t e = 0; e < n_in; e++) p->edge[p->n_edges++] = c->node[in[e]].ordinal;
    c->node[i].ordinal = p->n_values++;
}

/* Inputs, instructions, copies for outputs. */
static void cut_lines(const cut *c, ht_program *p, const ht_var *in, const ht_var *out,
                      const char *site)
{
    const ht_tape *tape = c->tape;
    for (; p->n_values < p->n_in; p->n_values++) {
        uint32_t i = in[p->n_values].index;
        p->line[p->n_values] = (hti_line){.site = tape->site[i], .type = &tape->type[i]};
    }
    for (uint32_t i = 0; i < tape->n; i++)
        if (c->node[i].ordinal == cut_kept) cut_line(c, p, i);
    for (uint32_t k = 0; k < p->n_out; k++) {
        uint32_t i = out[k].index;
        p->out[k] = c->node[i].ordinal;
        if (!cut_copies(c, out, k)) continue;
        p->line[p->n_values] =
            (hti_line){&hti_op_copy, NULL, site, &tape->type[i], p->n_edges, 1};
        p->edge[p->n_edges++] = p->out[k];
        p->out[k] = p->n_values++;
    }
}

/* Room for the lines, with a copy for every output. */
static ht_program *cut_alloc(const cut *c)
{
    ht_context *ctx = c->tape->ctx;
    uint64_t n_lines = c->n_lines + c->n_in + c->n_out, n_edges = c->n_edges + c->n_out;
    if (n_lines >= cut_kept || n_edges > UINT32_MAX) {
        ht_context_fail(ctx, HT_ERROR_MEMORY, NULL,
                        "program: more than 2^32 values or inputs of them");
        return NULL;
    }
    ht_program *p = hti_zalloc(ctx, 1, sizeof *p);
    if (!p) return NULL;
    p->ctx = ctx;
    p->scratch = &c->tape->scratch;
    p->n_in = c->n_in;
    p->n_out = c->n_out;
    p->line = hti_arena_alloc(p->scratch, n_lines * sizeof *p->line);
    p->edge = hti_arena_alloc(p->scratch, n_edges * sizeof *p->edge);
    p->out = hti_arena_alloc(p->scratch, p->n_out * sizeof *p->out);
    if (ctx->status == HT_OK) return p;
    ht_program_free(p);
    return NULL;
}

ht_program *hti_program_cut(ht_tape *recorded, int n_in, const ht_var *in, int n_out,
                            const ht_var *out, const char *site)
{
    HT_ASSERT(n_in >= 0 && n_out > 0 && (in || !n_in) && out,
              "ht_program_new: %d inputs at %p, %d outputs at %p", n_in, (const void *)in,
              n_out, (const void *)out);
    if (recorded->ctx->status != HT_OK) return NULL;
    if (recorded->policy != HT_RECORD) {
        ht_context_fail(recorded->ctx, HT_ERROR_ARGUMENT, site,
                        "ht_program_new: the tape is eager, whose ops have run already\n"
                        "  hint: ht_tape_new(ctx, HT_RECORD)");
        return NULL;
    }
    if (!hti_needs_all(recorded, n_in, in, false, false, "program", "input", site) ||
        !hti_needs_all(recorded, n_out, out, false, false, "program", "output", site))
        return hti_fail_poisoned(recorded->ctx, "program", site), NULL;
    cut c = {.tape = recorded, .n_in = (uint32_t)n_in, .n_out = (uint32_t)n_out};
    c.node = hti_arena_alloc(&recorded->scratch, recorded->n * sizeof *c.node);
    if (!c.node) return NULL;
    for (uint32_t i = 0; i < recorded->n; i++) c.node[i] = (cut_node){HTI_NONE, 0};
    for (uint32_t j = c.n_in; j-- > 0;) c.node[in[j].index].ordinal = j;
    ht_program *p = cut_mark(&c, out, site) ? cut_alloc(&c) : NULL;
    if (p) cut_lines(&c, p, in, out, site);
    return p;
}
