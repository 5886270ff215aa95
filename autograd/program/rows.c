/* SPDX-License-Identifier: MIT */
/* rows.c: running a chain of passes/blocks.c: every instruction of it for a block of
 * rows, then for the next. Read next: passes/blocks.c. */
#include "program.h"

/* Points the operands at `n` rows from `first` on. What is local has memory for them
 * alone. */
static void rows_begin(const ht_program *p, hti_link *l, int64_t first, int64_t n)
{
    for (uint32_t k = 0; k <= p->value[l->value].n_in; k++) {
        ht_array *a = &l->array[k];
        a->data =
            (unsigned char *)p->value[l->operand[k]].array.data + first * l->step[k];
        if (l->axis[k] >= 0) a->shape.dim[l->axis[k]] = n;
    }
}

static void rows_step(const ht_program *p, hti_link *l, unsigned ends,
                      unsigned char *room)
{
    const hti_value *v = &p->value[l->value];
    if (v->op == &hti_op_matmul)
        hti_kernel(p->ctx, matmul_block, l->array[0], l->array[1], l->array[2], ends,
                   room + l->room);
    else
        v->op->run(&(ht_run){v->op, p->ctx, l->array[0], (int)v->n_in, l->in,
                             v->attributes, NULL, v->site});
}

/* The first value in the program's order that is not finite in this block or was not in
 * one before. */
static void rows_watch(ht_program *p, const hti_link *l, unsigned ends)
{
    bool there = l->axis[0] >= 0 || ends & HTI_BLOCK_LAST;
    if (there && l->value < p->bad && hti_not_finite(&l->array[0]) >= 0)
        p->bad = l->value;
}

void hti_run_chain(ht_program *p, hti_chain *c, unsigned char *room)
{
    for (int64_t i = 0; i < c->rows && p->ctx->status == HT_OK; i += c->block) {
        int64_t n = c->rows - i < c->block ? c->rows - i : c->block;
        unsigned ends =
            (i == 0 ? HTI_BLOCK_FIRST : 0u) | (i + n == c->rows ? HTI_BLOCK_LAST : 0u);
        p->ctx->first_row = i;
        for (uint32_t k = 0; k < c->n_links && p->ctx->status == HT_OK; k++) {
            hti_link *l = &c->link[k];
            rows_begin(p, l, i, n);
            rows_step(p, l, ends, room);
            if (p->watch) rows_watch(p, l, ends);
        }
    }
    p->ctx->first_row = 0;
}
