/* SPDX-License-Identifier: MIT */
/* products.c: x + a . b becomes x += a . b, the same bits, where the sum is not read by
 * what could fuse with it: the product never reaches memory by itself. Read next:
 * order.c. */
#include <string.h>

#include "passes.h"

/* x + a . b. The plan gives x's memory; elsewhere x is copied first. */
static void matmul_add_run(const ht_run *r)
{
    if (r->in[0]->data != r->out.data) hti_run_copy(r->ctx, r->out, *r->in[0]);
    hti_kernel(r->ctx, matmul_add, r->out, *r->in[1], *r->in[2]);
}

static double matmul_add_flops(const ht_type *in, const ht_type *out)
{
    return 2 * (double)in[1].shape.dim[1] * (double)ht_shape_count(out->shape);
}

static ht_var matmul_add_parts(const ht_rule *r)
{
    return ht_add(r->in[0], ht_matmul(r->in[1], r->in[2]));
}

const ht_op hti_op_matmul_add = {.name = "matmul_add",
                                 .formula = "$0; += $1 @ $2",
                                 .flags =
                                     HT_OP_PRODUCT | HT_OP_OVERWRITES | HTI_OP_INSIDE,
                                 .run = matmul_add_run,
                                 .decompose = matmul_add_parts,
                                 .flops = matmul_add_flops};

/* What the pass knows of a line. */
typedef struct product_line {
    uint32_t readers; /* outputs count */
    uint32_t product; /* of a sum: the line added in place; HTI_NONE: none */
    bool fuses;       /* something elementwise reads it */
} product_line;

static void product_readers(const ht_program *p, product_line *known)
{
    for (uint32_t k = 0; k < p->n_out; k++) known[p->out[k]].readers++;
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        for (uint32_t e = 0; e < p->line[i].n_in; e++) {
            product_line *in = &known[p->edge[p->line[i].first_in + e]];
            in->readers++;
            in->fuses = in->fuses || p->line[i].op->flags & HT_OP_ELEMENTWISE;
        }
}

/* Whether line `sum` may be x += a . b as far as ops and shapes say, and is worth it. */
static bool product_may(const ht_program *p, uint32_t sum, uint32_t x, uint32_t product)
{
    const hti_line *l = &p->line[product], *from = &p->line[x];
    const ht_shape *shape = &p->line[sum].type->shape;
    if (l->op != &hti_op_matmul || !from->op || !(from->op->flags & HT_OP_ELEMENTWISE) ||
        shape->rank != 2 || !hti_same_shape(&l->type->shape, shape) ||
        !hti_same_shape(&from->type->shape, shape) ||
        hti_count(shape) < p->ctx->fuse_least)
        return false;
    const ht_type *a = p->line[p->edge[l->first_in]].type;
    return hti_kernel(p->ctx, matmul_adds, a->dtype, shape->dim[0], shape->dim[1],
                      a->shape.dim[1]);
}

/* The product that line i adds to an x; HTI_NONE: none. Where readers are known: x and
 * the product are made for nothing else, and no fused pass would read the sum anyway. */
static uint32_t product_of(const ht_program *p, const product_line *known, uint32_t i)
{
    const uint32_t *in = p->edge + p->line[i].first_in;
    for (int e = 0; p->line[i].op == &hti_op_add && e < 2; e++)
        if (product_may(p, i, in[!e], in[e]) &&
            (!known ||
             (known[in[0]].readers == 1 && known[in[1]].readers == 1 && !known[i].fuses)))
            return in[e];
    return HTI_NONE;
}

/* Line `sum` becomes one of x, a, b, which are said at the end of the edges. */
static void product_take_in(ht_program *p, uint32_t sum, uint32_t product)
{
    hti_line *l = &p->line[sum];
    const uint32_t *in = p->edge + l->first_in, *ab = p->edge + p->line[product].first_in;
    uint32_t *edge = p->edge + p->n_edges;
    edge[0] = in[in[0] == product];
    edge[1] = ab[0];
    edge[2] = ab[1];
    l->op = &hti_op_matmul_add;
    l->first_in = p->n_edges;
    l->n_in = 3;
    p->n_edges += 3;
}

/* Up to n sums, their products left out. */
static bool product_fold(ht_program *p, uint32_t n)
{
    product_line *known = hti_program_scratch(p, p->n_values, sizeof *known);
    uint32_t *place = hti_program_scratch(p, p->n_values, sizeof *place), at = 0;
    uint32_t *edge = hti_program_scratch(p, p->n_edges + 3 * (size_t)n, sizeof *edge);
    if (!known || !place || !edge) return false;
    memcpy(edge, p->edge, p->n_edges * sizeof *edge);
    p->edge = edge;
    product_readers(p, known);
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        known[i].product = product_of(p, known, i);
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        if (known[i].product == HTI_NONE) continue;
        product_take_in(p, i, known[i].product);
        place[known[i].product] = HTI_NONE;
    }
    for (uint32_t i = 0; i < p->n_values; i++)
        if (place[i] != HTI_NONE) place[i] = at++;
    return hti_program_rearrange(p, place);
}

bool hti_pass_products(ht_program *p)
{
    uint32_t n = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        n += product_of(p, NULL, i) != HTI_NONE;
    return !n || product_fold(p, n);
}
