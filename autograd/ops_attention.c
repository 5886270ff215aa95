/* SPDX-License-Identifier: MIT */
/* ops_attention.c: the lower triangle, and attention as products and a softmax of rows
 * (Vaswani et al., Attention is all you need, 2017). Read next: ops_rows.c. */
#include <math.h>

#include "autograd_internal.h"
#include "kernels.h"

typedef struct tril_attributes {
    int64_t diagonal;
    double fill;
} tril_attributes;

static bool tril_infer(ht_infer *it)
{
    it->out = it->in[0];
    if (!hti_dtype_is_float(it->out.dtype))
        return ht_infer_fail(it, HT_ERROR_DTYPE, "needs f32 or f64\n  hint: ht_cast");
    if (it->out.shape.rank < 2)
        return ht_infer_fail(it, HT_ERROR_SHAPE, "needs (..., rows, columns)");
    return true;
}

static void tril_run(const ht_run *r)
{
    const tril_attributes *a = r->attributes;
    hti_run_tril(r->ctx, r->out, *r->in[0], a->diagonal, a->fill);
}

static ht_var tril_slope(const ht_rule *r, ht_var v)
{
    const tril_attributes *a = r->attributes;
    return ht_tril(v, (int)a->diagonal, 0);
}

static void tril_vjp(ht_rule *r)
{
    r->d[0] = tril_slope(r, r->v);
}

static ht_var tril_jvp(const ht_rule *r)
{
    return tril_slope(r, r->t[0]);
}

static void tril_describe(const void *attributes, char *text, size_t size)
{
    const tril_attributes *a = attributes;
    snprintf(text, size, "diagonal %lld, else %g", (long long)a->diagonal, a->fill);
}

static const ht_sample tril_samples[] = {
    {1, {{0, {2, {HT_ANY_1, HT_ANY_2}}, -2, 2}}, &(tril_attributes){0, 0}},
    {1, {{0, {3, {HT_SOME_1, HT_SOME_2, 3}}, -2, 2}}, &(tril_attributes){-1, -1.5}},
    {1, {{0, {2, {3, 5}}, -2, 2}}, &(tril_attributes){9, 0}},
    {1, {{0, {2, {3, 5}}, -2, 2}}, &(tril_attributes){-9, 2}},
    {1, {{0, {3, {2, 0, 3}}, -2, 2}}, &(tril_attributes){0, 0}},
};

HTI_ROW(tril, tril_samples, .attribute_size = sizeof(tril_attributes),
        .infer = tril_infer, .run = tril_run, .vjp = tril_vjp, .jvp = tril_jvp,
        .describe = tril_describe);

ht_var ht_tril_at(ht_var x, int diagonal, double fill, const char *site)
{
    tril_attributes a = {diagonal, fill};
    if (ht_is_zero(x) && fill == 0) return x;
    return ht_apply(&hti_op_tril, 1, &x, &a, site);
}

/* False, with an error kept, unless the last two axes fit. */
static bool attention_check(ht_var q, ht_var k, ht_var v, const char *site)
{
    if (hti_check_var(q) == HTI_NONE || hti_check_var(k) == HTI_NONE ||
        hti_check_var(v) == HTI_NONE)
        return false;
    ht_shape a = hti_type(q).shape, b = hti_type(k).shape, c = hti_type(v).shape;
    ht_dtype dtype = hti_type(q).dtype;
    if (!hti_dtype_is_float(dtype) || hti_type(k).dtype != dtype ||
        hti_type(v).dtype != dtype) {
        hti_fail(q.tape, HT_ERROR_DTYPE, site, "attention",
                 "needs one float type, f32 or f64, for q, k and v, got %s, %s and %s\n"
                 "  hint: ht_cast",
                 ht_dtype_name(dtype), ht_dtype_name(hti_type(k).dtype),
                 ht_dtype_name(hti_type(v).dtype));
        return false;
    }
    bool axes = a.rank >= 2 && b.rank >= 2 && c.rank >= 2;
    if (axes && a.dim[a.rank - 1] > 0 && a.dim[a.rank - 1] == b.dim[b.rank - 1] &&
        b.dim[b.rank - 2] == c.dim[c.rank - 2])
        return true;
    char text[3][HT_SHAPE_TEXT];
    hti_fail(q.tape, HT_ERROR_SHAPE, site, "attention",
             "needs q (..., t, d), k (..., s, d) and v (..., s, e), got %s, %s and %s",
             ht_shape_text(a, text[0]), ht_shape_text(b, text[1]),
             ht_shape_text(c, text[2]));
    return false;
}

/* True as well where there is no mask, or an error already. */
static bool attention_mask_fits(ht_var score, ht_var mask, const char *site)
{
    if (ht_is_zero(mask) || hti_is_number(mask) || hti_is_poison(score) ||
        hti_check_var(mask) == HTI_NONE)
        return true;
    ht_shape want = hti_type(score).shape, is = hti_type(mask).shape, both;
    if (hti_broadcast_shapes(is, want, &both)) return true;
    char text[2][HT_SHAPE_TEXT];
    hti_fail(score.tape, HT_ERROR_SHAPE, site, "attention",
             "mask %s does not broadcast with the scores (..., t, s), here %s",
             ht_shape_text(is, text[0]), ht_shape_text(want, text[1]));
    return false;
}

/* The scale goes on q, the smallest operand. A masked score is -inf, its weight and every
 * derivative of it exactly 0. */
static ht_var attention_parts(ht_var q, ht_var k, ht_var v, ht_var mask, bool causal,
                              const char *site)
{
    if (!attention_check(q, k, v, site)) return hti_poison(q.tape);
    ht_shape shape = hti_type(q).shape;
    double scale = 1 / sqrt((double)shape.dim[shape.rank - 1]);
    ht_var score = ht_matmul_at(ht_mul_at(q, ht_number(scale), site),
                                ht_transpose_at(k, site), site);
    if (!attention_mask_fits(score, mask, site)) return hti_poison(q.tape);
    if (!ht_is_zero(mask)) score = ht_add_at(score, mask, site);
    if (causal) score = ht_tril_at(score, 0, -(double)INFINITY, site);
    return ht_matmul_at(ht_softmax_at(score, site), v, site);
}

ht_var ht_attention_at(ht_var q, ht_var k, ht_var v, ht_var mask, bool causal,
                       const char *site)
{
    return HTI_CALL("attention", q, attention_parts(q, k, v, mask, causal, site));
}
