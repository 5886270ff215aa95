/* SPDX-License-Identifier: MIT */
/* ops_attention.c: the lower triangle; attention (Vaswani et al., Attention is all you
 * need, 2017), a row without a mask, else products and a softmax of rows. Read next:
 * ops_rows.c, tensor/attention.c. */
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

/* Attention by heads: q (..., t, heads, d), k (..., s, heads, d), v (..., s, heads, e),
 * as linear layers leave them; the leading axes are equal. Its gradient is a row too,
 * whose output holds those of q, k and v end to end; further derivatives are those of
 * the products and softmax both are made of. */

typedef struct attention_attributes {
    int64_t causal;
} attention_attributes;

static double attention_scale(ht_shape q)
{
    return 1 / sqrt((double)q.dim[q.rank - 1]);
}

/* Whether b has a's axes, but for axis -3 and the last. */
static bool attention_alike(ht_shape a, ht_shape b)
{
    if (a.rank != b.rank || a.rank < 3) return false;
    for (int i = 0; i < a.rank - 1; i++)
        if (i != a.rank - 3 && a.dim[i] != b.dim[i]) return false;
    return true;
}

static bool attention_infer(ht_infer *it)
{
    ht_shape q = it->in[0].shape, k = it->in[1].shape, v = it->in[2].shape;
    it->out = it->in[0];
    for (int i = 0; i < it->n_in; i++)
        if (it->in[i].dtype != it->out.dtype || !hti_dtype_is_float(it->out.dtype))
            return ht_infer_fail(it, HT_ERROR_DTYPE,
                                 "needs one float type, f32 or f64\n  hint: ht_cast");
    int last = q.rank - 1;
    if (!attention_alike(q, k) || !attention_alike(q, v) || q.dim[last] < 1 ||
        q.dim[last] != k.dim[last] || k.dim[last - 2] != v.dim[last - 2] ||
        k.dim[last - 2] < 1)
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "needs q (..., t, heads, d), k (..., s, heads, d) and v "
                             "(..., s, heads, e), s and d at least 1");
    it->out.shape.dim[last] = v.dim[last];
    return true;
}

static bool attention_vjp_infer(ht_infer *it)
{
    if (!attention_infer(it)) return false;
    if (!ht_shape_equal(it->in[3].shape, it->out.shape))
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "the cotangent must be (..., t, heads, e)");
    int64_t n = 0;
    for (int i = 0; i < 3; i++) n += ht_shape_count(it->in[i].shape);
    it->out.shape = HT_SHAPE(n);
    return true;
}

static void attention_run(const ht_run *r)
{
    const attention_attributes *a = r->attributes;
    hti_run_attention(r->ctx, r->out, r->in, attention_scale(r->in[0]->shape),
                      a->causal != 0, r->workspace);
}

static void attention_vjp_run(const ht_run *r)
{
    const attention_attributes *a = r->attributes;
    hti_run_attention_vjp(r->ctx, r->out, r->in, attention_scale(r->in[0]->shape),
                          a->causal != 0, r->workspace);
}

static size_t attention_workspace(const ht_context *ctx, const ht_type *in,
                                  const ht_type *out, const void *attributes)
{
    (void)attributes;
    return hti_attention_workspace(ctx, out->dtype, in[0].shape, in[1].shape, false);
}

static size_t attention_vjp_workspace(const ht_context *ctx, const ht_type *in,
                                      const ht_type *out, const void *attributes)
{
    (void)attributes;
    return hti_attention_workspace(ctx, out->dtype, in[0].shape, in[1].shape, true);
}

/* Two for every score and element of `wide` rows of q's width and `tall` of v's. */
static double attention_flops_of(const ht_type *in, double wide, double tall)
{
    ht_shape q = in[0].shape, v = in[2].shape;
    double rows = (double)ht_shape_count(q) / (double)q.dim[q.rank - 1];
    return 2 * rows * (double)v.dim[v.rank - 3] *
           (wide * (double)q.dim[q.rank - 1] + tall * (double)v.dim[v.rank - 1]);
}

static double attention_flops(const ht_type *in, const ht_type *out)
{
    (void)out;
    return attention_flops_of(in, 1, 1);
}

static double attention_vjp_flops(const ht_type *in, const ht_type *out)
{
    (void)out;
    return attention_flops_of(in, 3, 2);
}

/* Piece number i of the gradients' vector. */
static ht_var attention_piece(const ht_rule *r, ht_var vector, int i)
{
    int64_t at = 0, n = ht_shape_count(ht_var_shape(r->in[i]));
    for (int k = 0; k < i; k++) at += ht_shape_count(ht_var_shape(r->in[k]));
    return ht_reshape(ht_slice(vector, 0, at, n, 1), ht_var_shape(r->in[i]));
}

static void attention_vjp(ht_rule *r)
{
    ht_var in[] = {r->in[0], r->in[1], r->in[2], r->v};
    ht_var all = ht_apply(&hti_op_attention_vjp, 4, in, r->attributes, HT_HERE);
    for (int i = 0; i < 3; i++)
        if (r->wanted[i]) r->d[i] = attention_piece(r, all, i);
}

/* (..., rows, heads, width) to (..., heads, rows, width) and back. */
static ht_var attention_swap(ht_var x, const char *site)
{
    ht_axes axes = {ht_var_shape(x).rank, {0, 1, 2, 3, 4, 5}};
    axes.axis[axes.n - 3] = axes.n - 2;
    axes.axis[axes.n - 2] = axes.n - 3;
    return ht_permute_at(x, axes, site);
}

/* The scale goes on q, the smallest operand. A masked score is -inf, its weight and every
 * derivative of it exactly 0. Operands (..., rows, width). */
static ht_var attention_scores(ht_var q, ht_var k, const char *site)
{
    ht_var scale = ht_number(attention_scale(ht_var_shape(q)));
    return ht_matmul_at(ht_mul_at(q, scale, site), ht_transpose_at(k, site), site);
}

static ht_var attention_softmax(ht_var score, bool causal, const char *site)
{
    if (causal) score = ht_tril_at(score, 0, -(double)INFINITY, site);
    return ht_softmax_at(score, site);
}

static ht_var attention_rule_weights(const ht_rule *r)
{
    const attention_attributes *a = r->attributes;
    ht_var q = attention_swap(r->in[0], HT_HERE), k = attention_swap(r->in[1], HT_HERE);
    return attention_softmax(attention_scores(q, k, HT_HERE), a->causal, HT_HERE);
}

static ht_var attention_decompose(const ht_rule *r)
{
    ht_var v = attention_swap(r->in[2], HT_HERE);
    return attention_swap(ht_matmul(attention_rule_weights(r), v), HT_HERE);
}

static ht_var attention_flat(ht_var x)
{
    return ht_reshape(attention_swap(x, HT_HERE), HT_SHAPE(-1));
}

static ht_var attention_vjp_decompose(const ht_rule *r)
{
    ht_var in[4], weight = attention_rule_weights(r);
    for (int i = 0; i < 4; i++) in[i] = attention_swap(r->in[i], HT_HERE);
    ht_var p = ht_matmul(in[3], ht_transpose(in[2]));
    ht_var dot = ht_sum_axes(ht_mul(weight, p), HT_AXES(-1), true);
    double scale = attention_scale(ht_var_shape(in[0]));
    ht_var slope = ht_mul(ht_mul(weight, ht_sub(p, dot)), scale);
    ht_var d[] = {attention_flat(ht_matmul(slope, in[1])),
                  attention_flat(ht_matmul(ht_transpose(slope), in[0])),
                  attention_flat(ht_matmul(ht_transpose(weight), in[3]))};
    return ht_concat(3, d, 0);
}

static void attention_describe(const void *attributes, char *text, size_t size)
{
    const attention_attributes *a = attributes;
    snprintf(text, size, "%s", a->causal ? "causal" : "");
}

/* Queries, keys, values and, which the first row leaves, the cotangent. */
#define ATTENTION_SAMPLE(n, is_causal, q, k, v, g)                       \
    {                                                                    \
        n, {{0, q, -2, 2}, {0, k, -2, 2}, {0, v, -2, 2}, {0, g, -2, 2}}, \
            &(attention_attributes)                                      \
        {                                                                \
            is_causal                                                    \
        }                                                                \
    }
#define ATTENTION_SHAPE(...)                                \
    {                                                       \
        sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), \
        {                                                   \
            __VA_ARGS__                                     \
        }                                                   \
    }
#define ATTENTION_SAMPLES(n)                                                             \
    ATTENTION_SAMPLE(n, 0, ATTENTION_SHAPE(HT_ANY_1, 1, 2),                              \
                     ATTENTION_SHAPE(HT_SOME_2, 1, 2), ATTENTION_SHAPE(HT_SOME_2, 1, 1), \
                     ATTENTION_SHAPE(HT_ANY_1, 1, 1)),                                   \
        ATTENTION_SAMPLE(                                                                \
            n, 1, ATTENTION_SHAPE(HT_SOME_1, 2, 1), ATTENTION_SHAPE(HT_SOME_1, 2, 1),    \
            ATTENTION_SHAPE(HT_SOME_1, 2, 1), ATTENTION_SHAPE(HT_SOME_1, 2, 1)),         \
        ATTENTION_SAMPLE(n, 1, ATTENTION_SHAPE(2, 5, 2, 3), ATTENTION_SHAPE(2, 3, 2, 3), \
                         ATTENTION_SHAPE(2, 3, 2, 4), ATTENTION_SHAPE(2, 5, 2, 4)),      \
        ATTENTION_SAMPLE(n, 0, ATTENTION_SHAPE(2, HT_SOME_1, 3, 1),                      \
                         ATTENTION_SHAPE(2, 2, 3, 1), ATTENTION_SHAPE(2, 2, 3, 2),       \
                         ATTENTION_SHAPE(2, HT_SOME_1, 3, 2)),                           \
        ATTENTION_SAMPLE(n, 0, ATTENTION_SHAPE(0, 2, 3), ATTENTION_SHAPE(4, 2, 3),       \
                         ATTENTION_SHAPE(4, 2, 2), ATTENTION_SHAPE(0, 2, 2)),            \
        ATTENTION_SAMPLE(n, 0, ATTENTION_SHAPE(2, 2, 3), ATTENTION_SHAPE(4, 2, 3),       \
                         ATTENTION_SHAPE(4, 2, 0), ATTENTION_SHAPE(2, 2, 0))

static const ht_sample attention_samples[] = {ATTENTION_SAMPLES(3)};
static const ht_sample attention_vjp_samples[] = {ATTENTION_SAMPLES(4)};

#define ATTENTION_ROW(name, ...)                                                     \
    HTI_ROW(name, name##_samples, .flags = HT_OP_PRODUCT,                            \
            .attribute_size = sizeof(attention_attributes), .infer = name##_infer,   \
            .run = name##_run, .decompose = name##_decompose, .flops = name##_flops, \
            .workspace = name##_workspace, .describe = attention_describe, __VA_ARGS__)

ATTENTION_ROW(attention, .vjp = attention_vjp);
ATTENTION_ROW(attention_vjp, .vjp = NULL);

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

/* The leading axes of all three; false if they do not broadcast. */
static bool attention_leading(ht_shape q, ht_shape k, ht_shape v, ht_shape *leading)
{
    q.rank -= 2, k.rank -= 2, v.rank -= 2;
    ht_shape both;
    return hti_broadcast_shapes(q, k, &both) && hti_broadcast_shapes(both, v, leading);
}

/* x (..., rows, width) with these leading axes, as the row wants it; a single matrix is
 * one head. */
static ht_var attention_operand(ht_var x, ht_shape leading, const char *site)
{
    ht_shape shape = ht_var_shape(x), wide = leading;
    for (int i = 2; i > 0; i--) wide.dim[wide.rank++] = shape.dim[shape.rank - i];
    if (wide.rank > 2) return attention_swap(ht_broadcast_at(x, wide, site), site);
    return ht_reshape_at(x, HT_SHAPE(wide.dim[0], 1, wide.dim[1]), site);
}

static ht_var attention_fused(ht_var q, ht_var k, ht_var v, ht_shape leading, bool causal,
                              const char *site)
{
    attention_attributes a = {causal};
    ht_var in[] = {attention_operand(q, leading, site),
                   attention_operand(k, leading, site),
                   attention_operand(v, leading, site)};
    ht_var y = ht_apply(&hti_op_attention, 3, in, &a, site);
    if (leading.rank > 0 || hti_is_poison(y))
        return hti_is_poison(y) ? y : attention_swap(y, site);
    ht_shape shape = ht_var_shape(y);
    return ht_reshape_at(y, HT_SHAPE(shape.dim[0], shape.dim[2]), site);
}

/* A mask may have a gradient, as large as the scores: then these are made. */
static ht_var attention_parts(ht_var q, ht_var k, ht_var v, ht_var mask, bool causal,
                              const char *site)
{
    if (!attention_check(q, k, v, site)) return hti_poison(q.tape);
    ht_shape keys = hti_type(k).shape, leading;
    if (ht_is_zero(mask) && keys.dim[keys.rank - 2] > 0 &&
        attention_leading(hti_type(q).shape, keys, hti_type(v).shape, &leading))
        return attention_fused(q, k, v, leading, causal, site);
    ht_var score = attention_scores(q, k, site);
    if (!attention_mask_fits(score, mask, site)) return hti_poison(q.tape);
    if (!ht_is_zero(mask)) score = ht_add_at(score, mask, site);
    return ht_matmul_at(attention_softmax(score, causal, site), v, site);
}

ht_var ht_attention_at(ht_var q, ht_var k, ht_var v, ht_var mask, bool causal,
                       const char *site)
{
    return HTI_CALL("attention", q, attention_parts(q, k, v, mask, causal, site));
}
