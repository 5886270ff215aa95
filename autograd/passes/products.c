/* SPDX-License-Identifier: MIT */
/* products.c: x + a . b becomes x += a . b, the same bits, where the sum is not read by
 * what could fuse with it: the product never reaches memory by itself. Read next:
 * order.c. */
#include "passes.h"

/* x + a . b. The plan gives x's memory; elsewhere x is copied first. */
static void matmul_add_run(const ht_run *r)
{
    if (r->in[0]->data != r->out.data) hti_run_copy(r->ctx, r->out, *r->in[0]);
    hti_run_matmul_add(r->ctx, r->out, *r->in[1], *r->in[2]);
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

/* What the pass knows of a value. */
typedef struct product_value {
    uint32_t readers; /* outputs count */
    uint32_t product; /* of a sum: the value added in place; HTI_NONE: none */
    bool fuses;       /* something elementwise reads it */
} product_value;

static void product_readers(const ht_program *p, product_value *known)
{
    for (uint32_t k = 0; k < p->n_out; k++) known[p->out[k]].readers++;
    for (uint32_t i = p->n_in; i < p->n_values; i++)
        for (uint32_t e = 0; e < p->value[i].n_in; e++) {
            product_value *in = &known[hti_input_of(p, i, e)];
            in->readers++;
            in->fuses = in->fuses || p->value[i].op->flags & HT_OP_ELEMENTWISE;
        }
}

/* Whether value `in` is made here for one reader, as large as it. */
static bool product_feeds(const ht_program *p, const product_value *known, uint32_t in,
                          uint32_t to)
{
    return in >= p->n_in && known[in].readers == 1 &&
           ht_shape_equal(p->value[in].type.shape, p->value[to].type.shape);
}

/* Whether sum = x + product can be said as x += product: x is made here for nothing else,
 * as the product is; and no fused pass would read the sum anyway. */
static bool product_adds(const ht_program *p, const product_value *known, uint32_t sum,
                         uint32_t x, uint32_t product)
{
    ht_shape shape = p->value[sum].type.shape;
    if (!product_feeds(p, known, x, sum) || !product_feeds(p, known, product, sum) ||
        p->value[product].op != &hti_op_matmul || known[sum].fuses ||
        !(p->value[x].op->flags & HT_OP_ELEMENTWISE) ||
        ht_shape_count(shape) < p->ctx->fuse_least || shape.rank != 2)
        return false;
    ht_type a = p->value[hti_input_of(p, product, 0)].type;
    return hti_matmul_adds(p->ctx, a.dtype, shape.dim[0], shape.dim[1], a.shape.dim[1]);
}

/* How many sums take in a product. */
static uint32_t product_find(const ht_program *p, product_value *known)
{
    uint32_t n = 0;
    for (uint32_t i = p->n_in; i < p->n_values; i++) {
        const hti_value *v = &p->value[i];
        const uint32_t *in = p->edge + v->first_in;
        known[i].product = HTI_NONE;
        for (int e = 0; v->op == &hti_op_add && e < 2; e++) {
            if (!product_adds(p, known, i, in[!e], in[e])) continue;
            known[i].product = in[e];
            n++;
            break;
        }
    }
    return n;
}

/* The sum's inputs become x, a, b, said at the end of the edges. */
static void product_take_in(ht_program *p, uint32_t sum, uint32_t product)
{
    hti_value *v = &p->value[sum];
    uint32_t first = p->n_edges, *in = p->edge + v->first_in;
    p->edge[p->n_edges++] = in[0] == product ? in[1] : in[0];
    for (uint32_t e = 0; e < 2; e++) p->edge[p->n_edges++] = hti_input_of(p, product, e);
    v->op = &hti_op_matmul_add;
    v->first_in = first;
    v->n_in = 3;
}

/* n sums, their products left out. */
static bool product_fold(ht_program *p, const product_value *known, uint32_t n)
{
    size_t values = p->n_values;
    uint32_t *place = hti_zalloc(p->ctx, values, sizeof *place), *edge = NULL, at = 0;
    if (place)
        edge = hti_resize(p->ctx, p->edge, p->n_edges * sizeof *edge,
                          (p->n_edges + 3 * (size_t)n) * sizeof *edge);
    bool ok = edge != NULL;
    if (ok) p->edge = edge;
    for (uint32_t i = p->n_in; ok && i < values; i++) {
        if (known[i].product == HTI_NONE) continue;
        product_take_in(p, i, known[i].product);
        place[known[i].product] = HTI_NONE;
    }
    for (uint32_t i = 0; ok && i < values; i++)
        if (place[i] != HTI_NONE) place[i] = at++;
    ok = ok && hti_program_rearrange(p, place);
    hti_resize(p->ctx, place, values * sizeof *place, 0);
    return ok;
}

bool hti_pass_products(ht_program *p)
{
    size_t n = p->n_values;
    product_value *known = hti_zalloc(p->ctx, n, sizeof *known);
    if (!known) return false;
    product_readers(p, known);
    uint32_t found = product_find(p, known);
    bool ok = !found || product_fold(p, known, found);
    hti_resize(p->ctx, known, n * sizeof *known, 0);
    return ok;
}
