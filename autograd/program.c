/* SPDX-License-Identifier: MIT */
/* program.c: cutting a program out of a recorded tape, and appending one to a tape. What
 * the outputs do not need is never copied: that is dead-code elimination. Instructions
 * keep the tape's order, but for small ones between small ones (the arithmetic of a
 * learning rate): those wait for their first reader, out of the way of what could run
 * together. Read next: plan.c. */
#include <string.h>

#include "program_internal.h"

/* Cut. */

/* The nodes a program keeps: in tape order, ordinal[node] their place, HTI_NONE if not.
 */
typedef struct hti_cut {
    ht_tape *tape;
    uint32_t *ordinal;
    /* Of a node that waits: for which, HTI_NONE for the end; and the next that waits for
     * the same. Of another: the first that waits for it. */
    uint32_t *waiting, *next;
    uint32_t end;     /* the first that waits for the end */
    uint32_t n_nodes; /* span of the above */
    uint32_t n_values, n_edges, n_copies;
    size_t data_bytes;
} hti_cut;

static bool hti_is_cut(const hti_cut *cut, uint32_t node, uint32_t n_in)
{
    return cut->ordinal[node] < n_in;
}

/* Marks what `out` needs (HTI_NONE - 1), back to the inputs, and counts it. */
static bool hti_cut_mark(hti_cut *cut, int n_in, int n_out, const ht_var *out,
                         const char *site)
{
    ht_tape *tape = cut->tape;
    const uint32_t marked = HTI_NONE - 1;
    for (int k = 0; k < n_out; k++)
        if (!hti_is_cut(cut, out[k].index, (uint32_t)n_in))
            cut->ordinal[out[k].index] = marked;
    for (uint32_t i = cut->n_nodes; i-- > 0;) {
        if (cut->ordinal[i] != marked) continue;
        if (tape->op[i] == &hti_op_input) {
            hti_fail(tape, HT_ERROR_ARGUMENT, site, "program",
                     "an output needs leaf %%%u%s%s, which is not among the inputs", i,
                     tape->site[i] ? ", made at " : "",
                     tape->site[i] ? tape->site[i] : "");
            return false;
        }
        cut->n_values++;
        cut->n_edges += tape->n_in[i];
        cut->data_bytes += hti_round_up(tape->op[i]->attribute_size, 16);
        for (uint32_t e = 0; e < tape->n_in[i]; e++) {
            uint32_t in = tape->edge[tape->first_in[i] + e];
            if (!hti_is_cut(cut, in, (uint32_t)n_in)) cut->ordinal[in] = marked;
        }
    }
    return true;
}

/* Whether a node and all it reads are small. */
static bool hti_cut_waits(const ht_tape *tape, uint32_t node)
{
    bool small = ht_shape_count(tape->type[node].shape) < HTI_FUSE_LEAST;
    for (uint32_t e = 0; small && e < tape->n_in[node]; e++) {
        uint32_t in = tape->edge[tape->first_in[node] + e];
        small = ht_shape_count(tape->type[in].shape) < HTI_FUSE_LEAST;
    }
    return small;
}

/* Which nodes wait for which. */
static void hti_cut_wait(hti_cut *cut)
{
    const ht_tape *tape = cut->tape;
    uint32_t *waiting = cut->waiting;
    cut->end = HTI_NONE;
    for (uint32_t i = 0; i < cut->n_nodes; i++) waiting[i] = HTI_NONE;
    for (uint32_t i = cut->n_nodes; i-- > 0;) {
        if (cut->ordinal[i] != HTI_NONE - 1) continue;
        bool waits = hti_cut_waits(tape, i);
        uint32_t until = waits ? waiting[i] : i;
        for (uint32_t e = 0; e < tape->n_in[i]; e++) {
            uint32_t in = tape->edge[tape->first_in[i] + e];
            if (cut->ordinal[in] == HTI_NONE - 1 && hti_cut_waits(tape, in) &&
                until < waiting[in])
                waiting[in] = until;
        }
    }
    for (uint32_t i = cut->n_nodes; i-- > 0;) {
        if (cut->ordinal[i] != HTI_NONE - 1 || !hti_cut_waits(tape, i)) continue;
        uint32_t *first = waiting[i] == HTI_NONE ? &cut->end : &waiting[waiting[i]];
        cut->next[i] = *first;
        *first = i;
    }
}

/* An output is written by the instruction that makes it; one that is an input, a view, a
 * constant or an output already is written by a copy. */
static bool hti_output_needs_copy(const hti_cut *cut, int n_in, const ht_var *out, int k)
{
    uint32_t node = out[k].index;
    const ht_op *op = cut->tape->op[node];
    if (hti_is_cut(cut, node, (uint32_t)n_in) || op->view || op == &hti_op_constant)
        return true;
    for (int j = 0; j < k; j++)
        if (out[j].index == node) return true;
    return false;
}

static void hti_cut_value(const hti_cut *cut, ht_program *p, uint32_t node, uint32_t *at,
                          size_t *data)
{
    const ht_tape *tape = cut->tape;
    const ht_op *op = tape->op[node];
    hti_value *v = &p->value[*at];
    *v = (hti_value){.op = op,
                     .type = tape->type[node],
                     .site = tape->site[node],
                     .n_in = tape->n_in[node],
                     .first_in = p->n_edges};
    for (uint32_t e = 0; e < v->n_in; e++)
        p->edge[p->n_edges++] = cut->ordinal[tape->edge[tape->first_in[node] + e]];
    if (op->attribute_size) {
        memcpy(p->data + *data, tape->attributes[node], op->attribute_size);
        v->attributes = p->data + *data;
        *data += hti_round_up(op->attribute_size, 16);
    }
    cut->ordinal[node] = (*at)++;
}

static void hti_cut_values(const hti_cut *cut, ht_program *p, uint32_t *at)
{
    size_t data = 0;
    for (uint32_t i = 0; i < cut->n_nodes; i++) {
        if (cut->ordinal[i] != HTI_NONE - 1 || hti_cut_waits(cut->tape, i)) continue;
        for (uint32_t w = cut->waiting[i]; w != HTI_NONE; w = cut->next[w])
            hti_cut_value(cut, p, w, at, &data);
        hti_cut_value(cut, p, i, at, &data);
    }
    for (uint32_t w = cut->end; w != HTI_NONE; w = cut->next[w])
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
        p->out[k] = cut->ordinal[out[k].index];
        if (!hti_output_needs_copy(cut, (int)p->n_in, out, (int)k)) continue;
        p->value[at] = (hti_value){.op = &hti_op_copy,
                                   .type = hti_type(out[k]),
                                   .site = site,
                                   .n_in = 1,
                                   .first_in = p->n_edges};
        p->edge[p->n_edges++] = p->out[k];
        p->out[k] = at++;
    }
}

static ht_program *hti_program_alloc(const hti_cut *cut, int n_in, int n_out)
{
    ht_context *ctx = cut->tape->ctx;
    ht_program *p = hti_zalloc(ctx, 1, sizeof *p);
    if (!p) return NULL;
    p->ctx = ctx;
    p->n_in = (uint32_t)n_in;
    p->n_out = (uint32_t)n_out;
    p->n_values = p->n_in + cut->n_values + cut->n_copies;
    p->n_edges = cut->n_edges + cut->n_copies;
    p->data_bytes = cut->data_bytes;
    p->value = hti_zalloc(ctx, p->n_values, sizeof *p->value);
    p->edge = hti_zalloc(ctx, p->n_edges, sizeof *p->edge);
    p->operand = hti_zalloc(ctx, p->n_edges, sizeof *p->operand);
    p->out = hti_zalloc(ctx, p->n_out, sizeof *p->out);
    p->bound = hti_zalloc(ctx, (size_t)p->n_in + p->n_out, sizeof *p->bound);
    p->data = hti_zalloc(ctx, p->data_bytes, 1);
    if (ctx->status == HT_OK) return p;
    ht_program_free(p);
    return NULL;
}

/* Marks, counts, allocates, fills; the cut's lists are scratch. */
static ht_program *hti_cut_program(hti_cut *cut, int n_in, const ht_var *in, int n_out,
                                   const ht_var *out, const char *site)
{
    for (uint32_t i = 0; i < cut->n_nodes; i++) cut->ordinal[i] = HTI_NONE;
    for (int j = n_in; j-- > 0;) cut->ordinal[in[j].index] = (uint32_t)j;
    if (!hti_cut_mark(cut, n_in, n_out, out, site)) return NULL;
    hti_cut_wait(cut);
    for (int k = 0; k < n_out; k++)
        cut->n_copies += hti_output_needs_copy(cut, n_in, out, k);
    ht_program *p = hti_program_alloc(cut, n_in, n_out);
    if (!p) return NULL;
    hti_cut_fill(cut, p, in, out, site);
    if (hti_program_plan(p)) return p;
    ht_program_free(p);
    return NULL;
}

ht_program *ht_program_new_at(ht_tape *recorded, int n_in, const ht_var *in, int n_out,
                              const ht_var *out, const char *site)
{
    HT_ASSERT(recorded && recorded->policy == HT_RECORD,
              "a program is cut from a recorded tape");
    HT_ASSERT(n_in >= 0 && n_out > 0, "%d inputs, %d outputs", n_in, n_out);
    if (recorded->ctx->status != HT_OK) return NULL;
    for (int j = 0; j < n_in + n_out; j++) {
        ht_var x = j < n_in ? in[j] : out[j - n_in];
        if (hti_check_var(x) == HTI_NONE) return NULL;
        HT_ASSERT(x.tape == recorded, "variable %d is on another tape", j);
    }
    hti_arena_mark mark = hti_arena_at(&recorded->scratch);
    hti_cut cut = {.tape = recorded, .n_nodes = recorded->n};
    cut.ordinal =
        hti_arena_alloc(&recorded->scratch, 3 * recorded->n * sizeof *cut.ordinal);
    ht_program *p = NULL;
    if (cut.ordinal) {
        cut.waiting = cut.ordinal + recorded->n;
        cut.next = cut.waiting + recorded->n;
        p = hti_cut_program(&cut, n_in, in, n_out, out, site);
    }
    hti_arena_rewind(&recorded->scratch, mark);
    return p;
}

void ht_program_free(ht_program *p)
{
    if (!p) return;
    if (p->arena_owned) hti_resize(p->ctx, p->arena, p->arena_bytes + HTI_ALIGN, 0);
    hti_resize(p->ctx, p->value, p->n_values * sizeof *p->value, 0);
    hti_resize(p->ctx, p->edge, p->n_edges * sizeof *p->edge, 0);
    hti_resize(p->ctx, p->operand, p->n_edges * sizeof *p->operand, 0);
    hti_resize(p->ctx, p->out, p->n_out * sizeof *p->out, 0);
    hti_resize(p->ctx, p->bound, ((size_t)p->n_in + p->n_out) * sizeof *p->bound, 0);
    hti_resize(p->ctx, p->group, p->n_groups * sizeof *p->group, 0);
    hti_resize(p->ctx, p->data, p->data_bytes, 0);
    hti_resize(p->ctx, p, sizeof *p, 0);
}

/* Call. */

/* Appends instruction i with its inputs looked up in map. */
static ht_var hti_call_value(ht_tape *tape, const ht_program *p, const hti_value *v,
                             const ht_var *map, const char *site)
{
    if (v->op == &hti_op_copy) return map[p->edge[v->first_in]];
    if (v->op == &hti_op_constant) {
        const hti_constant_attributes *a = v->attributes;
        return hti_constant(tape, a->value, v->type.dtype, false, site);
    }
    ht_var few[4];
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    ht_var *in =
        v->n_in <= 4 ? few : hti_arena_alloc(&tape->scratch, v->n_in * sizeof *in);
    if (!in) return hti_poison(tape);
    for (uint32_t e = 0; e < v->n_in; e++) in[e] = map[p->edge[v->first_in + e]];
    ht_var out =
        ht_apply(v->op, (int)v->n_in, in, v->attributes, v->site ? v->site : site);
    hti_arena_rewind(&tape->scratch, mark);
    return out;
}

static bool hti_call_input_fits(ht_tape *tape, const ht_program *p, uint32_t j, ht_var x,
                                const char *site)
{
    if (hti_check_var(x) == HTI_NONE) return false;
    HT_ASSERT(x.tape == tape, "input %u is on another tape", j);
    ht_type want = p->value[j].type, got = hti_type(x);
    if (want.dtype == got.dtype && ht_shape_equal(want.shape, got.shape)) return true;
    char a[HT_SHAPE_TEXT], b[HT_SHAPE_TEXT];
    hti_fail(tape, HT_ERROR_SHAPE, site, "call", "input %u must be %s %s, not %s %s", j,
             ht_dtype_name(want.dtype), ht_shape_text(want.shape, a),
             ht_dtype_name(got.dtype), ht_shape_text(got.shape, b));
    return false;
}

void ht_call_at(ht_tape *tape, const ht_program *p, const ht_var *in, ht_var *out,
                const char *site)
{
    HT_ASSERT(tape && p, "tape or program is NULL");
    hti_arena_mark mark = hti_arena_at(&tape->scratch);
    ht_var *map = NULL;
    bool ok = tape->ctx->status == HT_OK;
    if (ok) map = hti_arena_alloc(&tape->scratch, p->n_values * sizeof *map);
    ok = ok && map;
    for (uint32_t j = 0; ok && j < p->n_in; j++) {
        ok = hti_call_input_fits(tape, p, j, in[j], site);
        map[j] = in[j];
    }
    for (uint32_t i = p->n_in; ok && i < p->n_values; i++) {
        map[i] = hti_call_value(tape, p, &p->value[i], map, site);
        ok = tape->ctx->status == HT_OK;
    }
    for (uint32_t k = 0; k < p->n_out; k++)
        out[k] = ok ? map[p->out[k]] : hti_poison(tape);
    hti_arena_rewind(&tape->scratch, mark);
}

/* Looking at a program. */

const ht_type *hti_program_in_type(const ht_program *program, uint32_t j)
{
    return &program->value[j].type;
}

const ht_type *hti_program_out_type(const ht_program *program, uint32_t k)
{
    return &program->value[program->out[k]].type;
}

size_t ht_program_bytes(const ht_program *program)
{
    return program->arena_bytes;
}

int64_t ht_program_nodes(const ht_program *program)
{
    return (int64_t)program->n_values - program->n_in;
}

double hti_value_flops(const ht_program *p, const hti_value *v)
{
    if (!v->op || !v->op->flops) return 0;
    ht_type in[4] = {0};
    for (uint32_t e = 0; e < v->n_in && e < 4; e++)
        in[e] = p->value[p->edge[v->first_in + e]].type;
    return v->op->flops(in, &v->type);
}

double ht_program_flops(const ht_program *program)
{
    double sum = 0;
    for (uint32_t i = program->n_in; i < program->n_values; i++)
        sum += hti_value_flops(program, &program->value[i]);
    return sum;
}
