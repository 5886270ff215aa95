/* SPDX-License-Identifier: MIT */
/* ops_triangle.c: the lower triangle of a matrix, and products of which it alone is seen.
 * Read next: ops_attention.c, tensor/triangle.c. */
#include "ops.h"

typedef struct tril_attributes {
    int64_t diagonal;
    double fill;
} tril_attributes;

static bool tril_infer(ht_infer *it)
{
    if (!hti_infer_floats(it)) return false;
    if (it->out.shape.rank < 2)
        return ht_infer_fail(it, HT_ERROR_SHAPE, "needs (..., rows, columns)");
    return true;
}

HTI_RUN(tril, tril_attributes,
        hti_kernel(r->ctx, tril, r->out, *r->in[0], a->diagonal, a->fill))

static ht_var tril_slope(const ht_rule *r, ht_var v)
{
    const tril_attributes *a = r->attributes;
    return ht_tril(v, (int)a->diagonal, 0);
}

HTI_SLOPE_RULES(tril, tril_slope)

HTI_DESCRIBE(tril, tril_attributes, "diagonal %lld, else %g", (long long)a->diagonal,
             a->fill)

static const ht_sample tril_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_ANY_2)}, &(tril_attributes){0, 0}},
    {1, {HTI_X(HT_SOME_1, HT_SOME_2, 3)}, &(tril_attributes){-1, -1.5}},
    {1, {HTI_X(3, 5)}, &(tril_attributes){9, 0}},
    {1, {HTI_X(3, 5)}, &(tril_attributes){-9, 2}},
    {1, {HTI_X(2, 0, 3)}, &(tril_attributes){0, 0}},
};

HTI_ROW(tril, tril_samples, .attribute_size = sizeof(tril_attributes),
        .infer = tril_infer, HTI_RULES(tril), .describe = tril_describe);

ht_var ht_tril_at(ht_var x, int diagonal, double fill, const char *site)
{
    tril_attributes a = {diagonal, fill};
    if (ht_is_zero(x) && fill == 0) return x;
    return ht_apply(&hti_op_tril, 1, &x, &a, site);
}

/* Products of which a triangle is seen: of x y' what is on and below the diagonal, or
 * that of x times y, or its transpose times y. What is above is not multiplied by 0 but
 * left out: NaN and infinity stay in what sees them. Each is linear in x and in y, and
 * made of the same sum over i >= j of g_ij x_i y_j, read three ways: so each other's
 * derivative. */
typedef struct triangle_attributes {
    int64_t side; /* hti_triangle */
} triangle_attributes;

static bool triangle_infer(ht_infer *it)
{
    const triangle_attributes *a = it->attributes;
    ht_shape x = it->in[0].shape, y = it->in[1].shape;
    if (!hti_infer_one_float(it)) return false;
    int p = x.rank - 1, q = y.rank - 1;
    bool pairs = a->side == HTI_TRIANGLE_PAIRS, below = a->side == HTI_TRIANGLE_BELOW;
    if (p < 1 || q < 1 || x.dim[below || pairs ? p : p - 1] != y.dim[pairs ? q : q - 1])
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "needs matrices whose inner sizes agree");
    int64_t rows = x.dim[a->side == HTI_TRIANGLE_BESIDE ? p : p - 1],
            columns = y.dim[pairs ? q - 1 : q];
    x.rank -= 2, y.rank -= 2;
    if (!hti_broadcast_shapes(x, y, &it->out.shape))
        return ht_infer_fail(it, HT_ERROR_SHAPE, "the leading axes do not broadcast");
    it->out.shape.dim[it->out.shape.rank++] = rows;
    it->out.shape.dim[it->out.shape.rank++] = columns;
    return true;
}

HTI_RUN(triangle, triangle_attributes,
        hti_kernel(r->ctx, triangle, (hti_triangle)a->side, r->out,
                   hti_batch_operand(r->in[0], r->out.shape),
                   hti_batch_operand(r->in[1], r->out.shape)))

ht_var hti_triangle_at(int side, ht_var x, ht_var y, const char *site)
{
    triangle_attributes a = {side};
    return ht_apply(&hti_op_triangle, 2, (ht_var[]){x, y}, &a, site);
}

static void triangle_vjp(ht_rule *r)
{
    const triangle_attributes *a = r->attributes;
    ht_var x = r->in[0], y = r->in[1], v = r->v;
    bool pairs = a->side == HTI_TRIANGLE_PAIRS, below = a->side == HTI_TRIANGLE_BELOW;
    if (r->wanted[0] && a->side == HTI_TRIANGLE_BESIDE)
        r->d[0] = hti_triangle_at(HTI_TRIANGLE_PAIRS, y, v, HT_HERE);
    else if (r->wanted[0])
        r->d[0] = hti_triangle_at(pairs ? HTI_TRIANGLE_BELOW : HTI_TRIANGLE_PAIRS, v, y,
                                  HT_HERE);
    if (r->wanted[1] && pairs)
        r->d[1] = hti_triangle_at(HTI_TRIANGLE_BESIDE, v, x, HT_HERE);
    else if (r->wanted[1])
        r->d[1] = hti_triangle_at(below ? HTI_TRIANGLE_BESIDE : HTI_TRIANGLE_BELOW, x, v,
                                  HT_HERE);
}

static double triangle_flops(const ht_type *in, const ht_type *out)
{
    double k = (double)in[0].shape.dim[in[0].shape.rank - 1];
    return k * (double)ht_shape_count(out->shape);
}

HTI_DESCRIBE(triangle, triangle_attributes, "%s",
             ((const char *const[]){"x y'", "x y", "x' y"})[a->side])

static const ht_sample triangle_samples[] = {
    {2,
     {HTI_X(HT_SOME_1, 2), HTI_X(HT_SOME_2, 2)},
     &(triangle_attributes){HTI_TRIANGLE_PAIRS}},
    {2, {HTI_X(2, 1, 4, 3), HTI_X(3, 4, 3)}, &(triangle_attributes){HTI_TRIANGLE_PAIRS}},
    {2,
     {HTI_X(HT_SOME_1, HT_SOME_2), HTI_X(HT_SOME_2, 2)},
     &(triangle_attributes){HTI_TRIANGLE_BELOW}},
    {2, {HTI_X(2, 4, 4), HTI_X(4, 4)}, &(triangle_attributes){HTI_TRIANGLE_BELOW}},
    {2,
     {HTI_X(HT_SOME_1, HT_SOME_2), HTI_X(HT_SOME_1, 2)},
     &(triangle_attributes){HTI_TRIANGLE_BESIDE}},
    {2, {HTI_X(2, 4, 4), HTI_X(4, 4)}, &(triangle_attributes){HTI_TRIANGLE_BESIDE}},
    {2, {HTI_X(3, 0), HTI_X(0, 2)}, &(triangle_attributes){HTI_TRIANGLE_BELOW}},
};

HTI_ROW(triangle, triangle_samples, .flags = HT_OP_PRODUCT | HT_OP_LINEAR,
        .attribute_size = sizeof(triangle_attributes), .infer = triangle_infer,
        HTI_LINEAR_RULES(triangle), .flops = triangle_flops,
        .describe = triangle_describe);
