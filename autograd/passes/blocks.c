/* SPDX-License-Identifier: MIT */
/* blocks.c: instructions between two products of one tall operand x run for some rows of
 * it at a time, so that x comes from memory once: x . w, then what treats each row by
 * itself (softmax, slopes, weights), then x' . r. Values that only these see have memory
 * for a block of rows.
 *
 * A chain is the lines from a product x . w to the next x' . r whose r it makes. Between
 * them what does not depend on x . w moves before the chain, and what depends on it but
 * needs all rows at once behind it; any other x . v joins. Sums over rows are x' . r's
 * alone, whose order is that of all rows at once: the same bits. Only with one thread:
 * more would wait for each other twice a block. Read next: program/rows.c. */
#include <string.h>

#include "passes.h"

enum {
    BLOCKS_BYTES = 1 << 19, /* of x in a block: half of a second cache */
    BLOCKS_WIDE = 64,       /* elements in a row of what is between */
    BLOCKS_REACH = 256,     /* lines between the ends of a chain */
    BLOCKS_WORTH = 3        /* elements of x for one of what is between, in a row */
};

typedef enum blocks_part { BLOCKS_APART, BLOCKS_INSIDE, BLOCKS_AFTER } blocks_part;

typedef struct blocks_plan {
    ht_program *p;
    uint8_t *part;   /* of each line, as far as its chain's end */
    uint32_t *begin; /* of the line a chain ends with: where it begins; else HTI_NONE */
    bool *output, *read; /* of a line inside: somewhere else, too */
    bool *whole;         /* something that is not elementwise reads its memory */
    uint32_t *last;      /* that reads a line's memory; an output: past all */
} blocks_plan;

static const uint32_t *blocks_inputs(const ht_program *p, uint32_t i)
{
    return p->edge + p->line[i].first_in;
}

static bool blocks_is_view(const ht_program *p, uint32_t i)
{
    return p->line[i].op && p->line[i].op->view;
}

static uint32_t blocks_root(const ht_program *p, uint32_t i)
{
    while (blocks_is_view(p, i)) i = *blocks_inputs(p, i);
    return i;
}

static void blocks_last(blocks_plan *b)
{
    const ht_program *p = b->p;
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        for (uint32_t e = 0; e < p->line[i].n_in; e++) {
            uint32_t root = blocks_root(p, blocks_inputs(p, i)[e]);
            b->last[root] = i;
            if (!blocks_is_view(p, i) && !(p->line[i].op->flags & HT_OP_ELEMENTWISE))
                b->whole[root] = true;
        }
    for (uint32_t k = 0; k < p->n_out; k++) {
        b->output[p->out[k]] = true;
        b->last[p->out[k]] = HTI_NONE;
    }
}

/* Rows of a block of an x of this type. */
static int64_t blocks_rows(const ht_type *x)
{
    int64_t row = x->shape.dim[1] * (int64_t)ht_dtype_bytes(x->dtype);
    int64_t blocks = BLOCKS_BYTES / row / HTI_BLOCK_ROWS;
    return (blocks > 0 ? blocks : 1) * HTI_BLOCK_ROWS;
}

/* Products. */

/* x of line i = x . w, or x' . r if `turned`; HTI_NONE: it is none that goes by blocks.
 * `room`: what it needs for that. */
static uint32_t blocks_operand(const ht_program *p, uint32_t i, bool turned, size_t *room)
{
    const hti_line *l = &p->line[i];
    if (l->op != &hti_op_matmul || l->type->shape.rank != 2) return HTI_NONE;
    const uint32_t *in = blocks_inputs(p, i);
    bool is = p->line[in[0]].op == &hti_op_permute;
    uint32_t x = is ? *blocks_inputs(p, in[0]) : in[0];
    if (is != turned || blocks_is_view(p, x) || blocks_is_view(p, in[1])) return HTI_NONE;
    const ht_type *type = p->line[x].type;
    if (hti_count(&type->shape) < p->ctx->block_least) return HTI_NONE;
    ht_array out, a, b;
    hti_lay_out(&out, NULL, l->type->dtype, &l->type->shape);
    hti_lay_out(&a, NULL, type->dtype, &type->shape);
    hti_lay_out(&b, NULL, p->line[in[1]].type->dtype, &p->line[in[1]].type->shape);
    if (turned) {
        ht_array x_turned = a;
        for (int k = 0; k < 2; k++) {
            a.shape.dim[k] = x_turned.shape.dim[1 - k];
            a.stride[k] = x_turned.stride[1 - k];
        }
        if (!hti_same_shape(&a.shape, &p->line[in[0]].type->shape)) return HTI_NONE;
    }
    *room = hti_kernel(p->ctx, matmul_room, &out, &a, &b);
    return *room ? x : HTI_NONE;
}

/* What is between. */

static bool blocks_has_rows(const ht_type *type, int64_t rows)
{
    const ht_shape *s = &type->shape;
    return (s->rank == 1 || s->rank == 2) && s->dim[0] == rows &&
           hti_count(s) <= BLOCKS_WIDE * rows;
}

/* Whether an elementwise line has its rows from those of input `in`, or all of it. */
static bool blocks_in_step(const blocks_plan *b, uint32_t in, const ht_shape *shape)
{
    const ht_shape *s = &b->p->line[in].type->shape;
    return s->rank == shape->rank ? s->dim[0] == shape->dim[0] || s->dim[0] == 1
                                  : b->part[in] != BLOCKS_INSIDE;
}

/* Whether line i, which reads what is inside, makes each row of its result of that row of
 * its inputs. */
static bool blocks_by_rows(const blocks_plan *b, uint32_t i, int64_t rows)
{
    const ht_program *p = b->p;
    const hti_line *l = &p->line[i];
    const uint32_t *in = blocks_inputs(p, i);
    const ht_type *first = p->line[in[0]].type;
    if (!blocks_has_rows(l->type, rows) || l->op->workspace) return false;
    if (l->op == &hti_op_reshape) return blocks_has_rows(first, rows);
    if (l->op->flags & HT_OP_ELEMENTWISE) {
        for (uint32_t e = 0; e < l->n_in; e++)
            if (!blocks_in_step(b, in[e], &l->type->shape)) return false;
        return true;
    }
    if (!(l->op->flags & HTI_OP_ROWS) && l->op->loop.kind != HTI_LOOP_SUM) return false;
    bool by_rows = first->shape.rank == 2;
    for (uint32_t e = 0; by_rows && e < l->n_in; e++)
        by_rows = blocks_has_rows(p->line[in[e]].type, rows);
    return by_rows;
}

static blocks_part blocks_part_of(const blocks_plan *b, uint32_t begin, uint32_t i,
                                  uint32_t x)
{
    const hti_line *l = &b->p->line[i];
    const uint32_t *in = blocks_inputs(b->p, i);
    blocks_part most = BLOCKS_APART;
    size_t room;
    for (uint32_t e = 0; e < l->n_in; e++)
        if (in[e] >= begin && b->part[in[e]] > most) most = b->part[in[e]];
    if (most == BLOCKS_APART)
        return blocks_operand(b->p, i, false, &room) == x ? BLOCKS_INSIDE : BLOCKS_APART;
    return most == BLOCKS_INSIDE && blocks_by_rows(b, i, b->p->line[x].type->shape.dim[0])
               ? BLOCKS_INSIDE
               : BLOCKS_AFTER;
}

/* Outputs. */

/* Whether line i reads, as whatever shape, an input of the program that a caller could
 * give the memory of an output of this type. */
static bool blocks_reads_like(const ht_program *p, uint32_t i, const ht_type *type)
{
    const uint32_t *in = blocks_inputs(p, i);
    for (uint32_t e = 0; e < p->line[i].n_in; e++) {
        uint32_t root = blocks_root(p, in[e]);
        const ht_type *of = p->line[root].type;
        if (!p->line[root].op && of->dtype == type->dtype &&
            hti_count(&of->shape) == hti_count(&type->shape))
            return true;
    }
    return false;
}

/* Whether an output would be written before a line of its chain's place reads what may be
 * the same memory, and was not before. Lines inside take turns by blocks, but for the
 * last, whose result is there after all. */
static bool blocks_crosses_output(const blocks_plan *b, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i <= end; i++) {
        if (!b->output[i] || b->part[i] == BLOCKS_AFTER) continue;
        bool by_turns = i < end && b->part[i] == BLOCKS_INSIDE;
        for (uint32_t j = begin; j <= end; j++) {
            bool turn = by_turns && j != i && b->part[j] == BLOCKS_INSIDE;
            bool later = j < i && b->part[j] > b->part[i];
            if ((turn || later) && blocks_reads_like(b->p, j, b->p->line[i].type))
                return true;
        }
    }
    return false;
}

/* Memory. */

/* Bytes for all rows of line i, inside a chain. */
static size_t blocks_all(const blocks_plan *b, uint32_t i)
{
    const hti_line *l = &b->p->line[i];
    bool none = b->output[i] || b->part[i] != BLOCKS_INSIDE || blocks_is_view(b->p, i);
    return none ? 0 : hti_bytes(l->type->dtype, l->type->shape);
}

/* The same with all rows at once, where elementwise lines leave each other nothing in
 * memory. */
static size_t blocks_before(const blocks_plan *b, uint32_t i)
{
    bool fused = b->p->line[i].op->flags & HT_OP_ELEMENTWISE && !b->whole[i];
    return fused ? 0 : blocks_all(b, i);
}

/* Of line i's result and what is alive besides (`now`, without what i reads last from
 * then on) the bytes with all rows at once. */
static size_t blocks_need(const blocks_plan *b, uint32_t begin, uint32_t i, size_t *now)
{
    const hti_line *l = &b->p->line[i];
    size_t all = blocks_before(b, i), over = 0, need = *now + all;
    *now = need;
    for (uint32_t e = 0; e < l->n_in; e++) {
        const uint32_t *in = blocks_inputs(b->p, i);
        uint32_t root = blocks_root(b->p, in[e]);
        bool again = root < begin || b->last[root] != i;
        for (uint32_t k = 0; !again && k < e; k++)
            again = blocks_root(b->p, in[k]) == root;
        if (again) continue;
        if (l->op->flags & HT_OP_ELEMENTWISE && blocks_before(b, root) == all) over = all;
        *now -= blocks_before(b, root);
    }
    return need - over;
}

/* Bytes of line i that are there only once it moves before the chain: until then it was
 * elementwise and part of what reads it. */
static size_t blocks_moved(const blocks_plan *b, uint32_t i)
{
    const hti_line *l = &b->p->line[i];
    bool fused = b->part[i] == BLOCKS_APART && l->op->flags & HT_OP_ELEMENTWISE &&
                 !b->output[i] && !b->whole[i];
    return fused ? hti_bytes(l->type->dtype, l->type->shape) : 0;
}

/* Whether the chain needs no more memory than all rows at once: what its products keep,
 * blocks of what only it sees, and all of what is read elsewhere, too. */
static bool blocks_saves(blocks_plan *b, uint32_t begin, uint32_t end, const ht_type *x,
                         size_t rooms)
{
    size_t now = 0, most = 0;
    for (uint32_t i = begin; i < end; i++)
        for (uint32_t e = 0; e < b->p->line[i].n_in; e++) {
            uint32_t root = blocks_root(b->p, blocks_inputs(b->p, i)[e]);
            if (b->part[i] == BLOCKS_AFTER) b->read[root] = true;
        }
    for (uint32_t i = begin; i < end; i++) {
        size_t all = blocks_all(b, i), need = blocks_need(b, begin, i, &now);
        if (need > most) most = need;
        rooms += b->last[i] > end || b->read[i]
                     ? all
                     : all / (size_t)x->shape.dim[0] * (size_t)blocks_rows(x);
        rooms += blocks_moved(b, i);
        b->read[i] = false;
    }
    return rooms <= most;
}

/* Chains. */

/* Whether reading x once is worth that elementwise lines between no longer run as one. */
static bool blocks_is_worth(const blocks_plan *b, uint32_t begin, uint32_t end,
                            const ht_type *x)
{
    int64_t between = 0;
    for (uint32_t i = begin; i < end; i++) {
        const hti_line *l = &b->p->line[i];
        if (b->part[i] == BLOCKS_INSIDE && l->op->flags & HT_OP_ELEMENTWISE)
            between += hti_count(&l->type->shape);
    }
    return BLOCKS_WORTH * between <= hti_count(&x->shape);
}

/* Whether the lines from `begin` to `end` are one. */
static bool blocks_is_chain(blocks_plan *b, uint32_t begin, uint32_t end, uint32_t x)
{
    const ht_program *p = b->p;
    uint32_t r = blocks_inputs(p, end)[1];
    const ht_type *type = p->line[x].type;
    size_t rooms = 0, room;
    b->part[begin] = b->part[end] = BLOCKS_INSIDE;
    for (uint32_t i = begin + 1; i < end; i++)
        b->part[i] = (uint8_t)blocks_part_of(b, begin, i, x);
    if (r < begin || b->part[r] != BLOCKS_INSIDE) return false;
    for (uint32_t i = begin; i <= end; i++)
        if (b->part[i] == BLOCKS_INSIDE && blocks_operand(p, i, i == end, &room) == x)
            rooms += room;
    return blocks_is_worth(b, begin, end, type) &&
           blocks_saves(b, begin, end, type, rooms) &&
           !blocks_crosses_output(b, begin, end);
}

/* The chain that line `end` ends, which begins past `from`; HTI_NONE: none. */
static uint32_t blocks_find(blocks_plan *b, uint32_t from, uint32_t end)
{
    size_t room;
    uint32_t x = blocks_operand(b->p, end, true, &room);
    if (end - from > BLOCKS_REACH) from = end - BLOCKS_REACH;
    for (uint32_t i = from; x != HTI_NONE && i < end; i++)
        if (blocks_operand(b->p, i, false, &room) == x && blocks_is_chain(b, i, end, x))
            return i;
    return HTI_NONE;
}

static uint32_t blocks_find_all(blocks_plan *b)
{
    uint32_t n = 0, from = b->p->n_in;
    for (uint32_t i = from; i < b->p->n_values; i++) {
        b->begin[i] = blocks_find(b, from, i);
        if (b->begin[i] == HTI_NONE) continue;
        from = i + 1;
        n++;
    }
    return n;
}

/* What is apart, inside and after, one after another; a chain's ends as they are then. */
static bool blocks_rearrange(blocks_plan *b, hti_chain *chain)
{
    ht_program *p = b->p;
    uint32_t *place = hti_program_scratch(p, p->n_values, sizeof *place), at = 0;
    if (!place) return false;
    uint32_t i = 0;
    for (uint32_t end = 0; end < p->n_values; end++) {
        if (end < p->n_in || b->begin[end] == HTI_NONE) continue;
        for (; i < b->begin[end]; i++) place[i] = at++;
        for (unsigned part = BLOCKS_APART; part <= BLOCKS_AFTER; part++) {
            for (uint32_t k = i; k <= end; k++)
                if (b->part[k] == part) place[k] = at++;
            if (part == BLOCKS_APART) chain->begin = at;
            if (part == BLOCKS_INSIDE) chain->end = at - 1;
        }
        chain++;
        i = end + 1;
    }
    for (; i < p->n_values; i++) place[i] = at++;
    return hti_program_rearrange(p, place);
}

/* As values. */

/* The axis of an operand that rows are on: of a link's result, then of its inputs. */
static int blocks_axis(const ht_program *p, const hti_chain *c, uint32_t i, uint32_t k)
{
    static const int8_t product[2][3] = {{0, 0, -1}, {-1, 1, 0}};
    const hti_value *v = &p->value[i];
    if (v->op == &hti_op_matmul) return product[i == c->end][k];
    if (k == 0) return 0;
    const ht_shape *s = &p->value[hti_inputs_of(p, i)[k - 1]].type.shape;
    bool all = v->op->flags & HT_OP_ELEMENTWISE && s->rank != v->type.shape.rank;
    return s->dim[0] == c->rows && !all ? 0 : -1;
}

static void blocks_link(const ht_program *p, hti_chain *c, uint32_t i)
{
    const hti_value *v = &p->value[i];
    hti_link *l = &c->link[c->n_links++];
    l->value = i;
    l->room = c->room;
    for (uint32_t k = 0; k <= v->n_in; k++) {
        uint32_t of = k ? hti_inputs_of(p, i)[k - 1] : i;
        l->operand[k] = of;
        l->array[k] = p->value[of].array;
        l->axis[k] = (int8_t)blocks_axis(p, c, i, k);
        if (k) l->in[k - 1] = &l->array[k];
        if (l->axis[k] >= 0 && !p->value[p->value[of].root].local)
            l->step[k] = l->array[k].stride[l->axis[k]] *
                         (ptrdiff_t)ht_dtype_bytes(l->array[k].dtype);
    }
    if (v->op == &hti_op_matmul)
        c->room += hti_round_up(
            hti_kernel(p->ctx, matmul_room, &l->array[0], &l->array[1], &l->array[2]),
            HTI_ALIGN);
}

static bool blocks_runs(const hti_value *v)
{
    return v->place != HTI_IN_VIEW && v->place != HTI_IN_CONSTANT;
}

/* Puts a chain's instructions where its last is. */
static void blocks_gather(ht_program *p, hti_chain *c)
{
    uint32_t *link = &c->first;
    const ht_type *x = &p->value[*hti_inputs_of(p, c->begin)].type;
    c->rows = x->shape.dim[0];
    c->block = blocks_rows(x);
    for (uint32_t i = c->begin; i <= c->end; i++) {
        hti_value *v = &p->value[i];
        if (!blocks_runs(v)) continue;
        *link = i;
        link = &v->next;
        v->when = c->end;
        v->local = i != c->end && v->place == HTI_IN_ARENA;
        c->n_links++;
    }
    *link = HTI_NONE;
    p->value[c->end].chain = 1 + (uint32_t)(c - p->chain);
}

static size_t blocks_bytes(const hti_value *v, const hti_chain *c)
{
    size_t all = hti_bytes(v->type.dtype, v->type.shape);
    return hti_round_up(all / (size_t)c->rows * (size_t)c->block, HTI_ALIGN);
}

/* What is read elsewhere, too, has memory for all rows. */
static void blocks_localize(ht_program *p, const hti_chain *c)
{
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        if (!blocks_runs(&p->value[i])) continue;
        for (uint32_t e = 0; e < p->value[i].n_in; e++) {
            hti_value *root = &p->value[p->value[hti_inputs_of(p, i)[e]].root];
            if (root->when != p->value[i].when) root->local = false;
        }
    }
    for (uint32_t k = 0; k < p->n_chains; k++, c++)
        for (uint32_t i = c->first; i != HTI_NONE; i = p->value[i].next)
            if (p->value[i].local) p->value[i].bytes = blocks_bytes(&p->value[i], c);
}

static bool blocks_write(ht_program *p)
{
    for (uint32_t k = 0; k < p->n_chains; k++) blocks_gather(p, &p->chain[k]);
    blocks_localize(p, p->chain);
    for (uint32_t k = 0; k < p->n_chains; k++) {
        hti_chain *c = &p->chain[k];
        c->link = hti_zalloc(p->ctx, c->n_links, sizeof *c->link);
        if (!c->link) return false;
        c->n_links = 0;
        for (uint32_t i = c->first; i != HTI_NONE; i = p->value[i].next)
            blocks_link(p, c, i);
    }
    return true;
}

/* Whether some product could end a chain: most programs have none, and are not looked at
 * any further. */
static bool blocks_may_be(const ht_program *p)
{
    size_t room;
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        if (blocks_operand(p, i, true, &room) != HTI_NONE) return true;
    return false;
}

bool hti_pass_blocks(ht_program *p)
{
    if (ht_context_threads(p->ctx) > 1 || !blocks_may_be(p)) return true;
    blocks_plan b = {.p = p,
                     .part = hti_program_scratch(p, p->n_values, sizeof *b.part),
                     .begin = hti_program_scratch(p, p->n_values, sizeof *b.begin),
                     .output = hti_program_scratch(p, p->n_values, sizeof *b.output),
                     .read = hti_program_scratch(p, p->n_values, sizeof *b.read),
                     .whole = hti_program_scratch(p, p->n_values, sizeof *b.whole),
                     .last = hti_program_scratch(p, p->n_values, sizeof *b.last)};
    if (!b.part || !b.begin || !b.output || !b.read || !b.whole || !b.last) return false;
    blocks_last(&b);
    p->n_chains = blocks_find_all(&b);
    if (!p->n_chains) return true;
    p->chain = hti_zalloc(p->ctx, p->n_chains, sizeof *p->chain);
    return p->chain && blocks_rearrange(&b, p->chain) && hti_program_place(p) &&
           blocks_write(p);
}
