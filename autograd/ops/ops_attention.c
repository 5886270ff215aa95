/* SPDX-License-Identifier: MIT */
/* ops_attention.c: attention (Vaswani et al., Attention is all you need, 2017), a row
 * without a mask, else products and a softmax of rows. Read next: ops_triangle.c,
 * tensor/attention.c. */
#include <math.h>

#include "engine_graph.h"
#include "ops.h"

/* Attention by heads: q (..., t, heads, d), k (..., s, heads, d), v (..., s, heads, e),
 * as linear layers leave them; the leading axes are equal. Four rows over one kernel:
 *
 *   attention       q k v         y
 *   attention_vjp   q k v g       y's gradient J' g, those by q, k and v end to end
 *   attention_jvp   q k v, t...   y's tangent J t
 *   attention_bend  q k v g, t... the tangent of J' g, laid out as that is
 *
 * They are each other's derivatives: of <J' g, c> = <g, J c>, that by g is J c, and that
 * by q, k and v the tangent of J' g along c, Hessians being symmetric. What is left are
 * third derivatives, those of the products and softmax all are made of. */

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

/* The type of the value, from q, k and v. */
static bool attention_value_infer(ht_infer *it)
{
    ht_shape q = it->in[0].shape, k = it->in[1].shape, v = it->in[2].shape;
    it->out = it->in[0];
    if (!hti_infer_one_float(it)) return false;
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

/* Of all four rows: q, k and v, or also g, and tangents of all of them. */
static bool attention_infer(ht_infer *it)
{
    int n = it->n_in < 6 ? it->n_in : it->n_in / 2;
    if (!attention_value_infer(it)) return false;
    if (n == 4 && !ht_shape_equal(it->in[3].shape, it->out.shape))
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "the cotangent must be (..., t, heads, e)");
    for (int i = n; i < it->n_in; i++)
        if (!ht_shape_equal(it->in[i - n].shape, it->in[i].shape))
            return ht_infer_fail(it, HT_ERROR_SHAPE, "a tangent must be as its input");
    if (n == 3) return true;
    it->out.shape = HT_SHAPE(0);
    for (int i = 0; i < 3; i++) it->out.shape.dim[0] += ht_shape_count(it->in[i].shape);
    return true;
}

static hti_attention attention_what(ht_shape q, const void *attributes, bool gradient,
                                    bool tangent)
{
    const attention_attributes *a = attributes;
    return (hti_attention){attention_scale(q), a->causal != 0, gradient, tangent};
}

/* Two for every score and element of `wide` rows of q's width and `tall` of v's. */
static double attention_flops_of(const ht_type *in, double wide, double tall)
{
    ht_shape q = in[0].shape, v = in[2].shape;
    double rows = (double)ht_shape_count(q) / (double)q.dim[q.rank - 1];
    return 2 * rows * (double)v.dim[v.rank - 3] *
           (wide * (double)q.dim[q.rank - 1] + tall * (double)v.dim[v.rank - 1]);
}

#define ATTENTION_RUN(name, gradient, tangent, wide, tall)                               \
    static void name##_run(const ht_run *r)                                              \
    {                                                                                    \
        hti_attention what =                                                             \
            attention_what(r->in[0]->shape, r->attributes, gradient, tangent);           \
        hti_kernel(r->ctx, attention, r->out, r->in, &what, r->workspace);               \
    }                                                                                    \
    static size_t name##_workspace(const ht_context *ctx, const ht_type *in,             \
                                   const ht_type *out, const void *attributes)           \
    {                                                                                    \
        hti_attention what = attention_what(in[0].shape, attributes, gradient, tangent); \
        return hti_kernel(ctx, attention_workspace, out->dtype, in[0].shape,             \
                          in[1].shape, &what);                                           \
    }                                                                                    \
    static double name##_flops(const ht_type *in, const ht_type *out)                    \
    {                                                                                    \
        (void)out;                                                                       \
        return attention_flops_of(in, wide, tall);                                       \
    }
ATTENTION_RUN(attention, false, false, 1, 1)
ATTENTION_RUN(attention_vjp, true, false, 3, 2)
ATTENTION_RUN(attention_jvp, false, true, 3, 2)
ATTENTION_RUN(attention_bend, true, true, 7, 5)

/* The rules. */

/* Piece number i of a vector of what is like q, k and v. */
static ht_var attention_piece(const ht_rule *r, ht_var vector, int i)
{
    int64_t at = 0, n = ht_shape_count(ht_var_shape(r->in[i]));
    for (int k = 0; k < i; k++) at += ht_shape_count(ht_var_shape(r->in[k]));
    return ht_reshape(ht_slice(vector, 0, at, n, 1), ht_var_shape(r->in[i]));
}

/* r->d[from ..]: the pieces of `vector`. */
static void attention_give(ht_rule *r, ht_var vector, int from)
{
    for (int i = 0; i < 3; i++)
        if (r->wanted[from + i]) r->d[from + i] = attention_piece(r, vector, i);
}

static bool attention_wants(const ht_rule *r, int from)
{
    return r->wanted[from] || r->wanted[from + 1] || r->wanted[from + 2];
}

/* One of these rows of n inputs and their tangents, an absent one a view of one 0, which
 * the kernel knows. */
static ht_var attention_along(const ht_rule *r, const ht_op *op, int n, ht_var g,
                              const ht_var *t)
{
    ht_var in[HT_OP_INPUTS] = {r->in[0], r->in[1], r->in[2], g};
    for (int i = 0; i < n; i++)
        in[n + i] = ht_is_zero(t[i])
                        ? hti_spread(r->out.tape, 0, hti_type(in[i]), HT_HERE)
                        : t[i];
    return ht_apply(op, 2 * n, in, r->attributes, HT_HERE);
}

static void attention_vjp(ht_rule *r)
{
    attention_give(r, hti_along(&hti_op_attention_vjp, r, 3, r->v), 0);
}

HTI_JVP(attention, attention_along(r, &hti_op_attention_jvp, 3, HT_ZERO, r->t))

static void attention_vjp_vjp(ht_rule *r)
{
    ht_var c[4] = {[3] = HT_ZERO};
    for (int i = 0; i < 3; i++) c[i] = attention_piece(r, r->v, i);
    if (attention_wants(r, 0))
        attention_give(r, attention_along(r, &hti_op_attention_bend, 4, r->in[3], c), 0);
    if (r->wanted[3]) r->d[3] = attention_along(r, &hti_op_attention_jvp, 3, HT_ZERO, c);
}

HTI_JVP(attention_vjp, attention_along(r, &hti_op_attention_bend, 4, r->in[3], r->t))

static void attention_jvp_vjp(ht_rule *r)
{
    ht_var t[] = {r->in[3], r->in[4], r->in[5], HT_ZERO};
    if (attention_wants(r, 0))
        attention_give(r, attention_along(r, &hti_op_attention_bend, 4, r->v, t), 0);
    if (attention_wants(r, 3))
        attention_give(r, hti_along(&hti_op_attention_vjp, r, 3, r->v), 3);
}

/* The same out of products and softmax. */

/* (..., rows, heads, width) to (..., heads, rows, width) and back. */
static ht_var attention_swap(ht_var x, const char *site)
{
    return hti_swap_axes(x, -3, -2, site);
}

/* a b', a b or a' b by `side`, a triangle of it if causal: of a b' or of a, the scores or
 * weights. */
static ht_var attention_times(hti_triangle side, bool causal, ht_var a, ht_var b,
                              const char *site)
{
    if (ht_is_zero(a) || ht_is_zero(b)) return HT_ZERO;
    if (causal) return hti_triangle_at((int)side, a, b, site);
    if (side == HTI_TRIANGLE_PAIRS) b = ht_transpose_at(b, site);
    if (side == HTI_TRIANGLE_BESIDE) a = ht_transpose_at(a, site);
    return ht_matmul_at(a, b, site);
}

/* The scale goes on q, the smallest operand. A masked score is -inf, its weight and every
 * derivative of it exactly 0. Operands (..., rows, width). */
static ht_var attention_scores(ht_var q, ht_var k, bool causal, const char *site)
{
    ht_var scale = ht_number(attention_scale(ht_var_shape(q)));
    return attention_times(HTI_TRIANGLE_PAIRS, causal, ht_mul_at(q, scale, site), k,
                           site);
}

static ht_var attention_softmax(ht_var score, bool causal, const char *site)
{
    if (causal) score = ht_tril_at(score, 0, -(double)INFINITY, site);
    return ht_softmax_at(score, site);
}

/* Operands (..., rows, width), a mask or HT_ZERO. */
static ht_var attention_composed(ht_var q, ht_var k, ht_var v, ht_var mask, bool causal,
                                 const char *site)
{
    ht_var score = attention_scores(q, k, causal, site);
    if (!hti_needs_beside(score, mask, "mask", "the scores (..., t, s), here",
                          "attention", site))
        return hti_poison(score.tape);
    if (!ht_is_zero(mask)) score = ht_add_at(score, mask, site);
    return attention_times(HTI_TRIANGLE_BELOW, causal,
                           attention_softmax(score, causal, site), v, site);
}

/* n variables as one vector: though two may be one, or be made of each other, each is a
 * piece of its own to derive by. */
static ht_var attention_vector(int n, const ht_var *in)
{
    ht_var flat[4];
    for (int i = 0; i < n; i++) flat[i] = ht_reshape(in[i], HT_SHAPE(-1));
    return ht_concat(n, flat, 0);
}

/* The value at q, k and v, the first pieces of z; the rows are its derivatives by z. */
static ht_var attention_at(const ht_rule *r, ht_var z)
{
    const attention_attributes *a = r->attributes;
    ht_var in[3];
    for (int i = 0; i < 3; i++) in[i] = attention_swap(attention_piece(r, z, i), HT_HERE);
    ht_var y = attention_composed(in[0], in[1], in[2], HT_ZERO, a->causal, HT_HERE);
    return attention_swap(y, HT_HERE);
}

static ht_var attention_decompose(const ht_rule *r)
{
    return attention_at(r, attention_vector(3, r->in));
}

/* The tangent of y by z along t. */
static ht_var attention_along_z(ht_var y, ht_var z, ht_var t)
{
    bool ok = hti_jvp(z.tape, 1, &z, &t, 1, &y, &y, HT_HERE);
    return ok ? y : hti_poison(z.tape);
}

static ht_var attention_jvp_decompose(const ht_rule *r)
{
    ht_var z = attention_vector(3, r->in);
    return attention_along_z(attention_at(r, z), z, attention_vector(3, r->in + 3));
}

/* The gradient by q, k and v, where g is the fourth piece of z. */
static ht_var attention_gradient(const ht_rule *r, ht_var z)
{
    ht_var y = attention_at(r, z), g = attention_piece(r, z, 3), d = HT_ZERO;
    if (!hti_vjp(z.tape, 1, &y, &g, 1, &z, &d, NULL, HT_HERE)) return hti_poison(z.tape);
    int64_t n = ht_shape_count(ht_var_shape(z)) - ht_shape_count(ht_var_shape(g));
    return ht_slice(d, 0, 0, n, 1);
}

static ht_var attention_vjp_decompose(const ht_rule *r)
{
    return attention_gradient(r, attention_vector(4, r->in));
}

static ht_var attention_bend_decompose(const ht_rule *r)
{
    ht_var z = attention_vector(4, r->in);
    return attention_along_z(attention_gradient(r, z), z, attention_vector(4, r->in + 4));
}

HTI_DESCRIBE(attention, attention_attributes, "%s", a->causal ? "causal" : "")

/* Of q, k, v and g the inputs of a row of n. */
#define ATTENTION_3(q, k, v, g) q, k, v
#define ATTENTION_4(q, k, v, g) q, k, v, g
#define ATTENTION_6(q, k, v, g) q, k, v, q, k, v
#define ATTENTION_8(q, k, v, g) q, k, v, g, q, k, v, g
#define ATTENTION_X(...)        HTI_X_IN(-1, 1, __VA_ARGS__)
#define ATTENTION_SAMPLE(n, is_causal, q, k, v, g)                                      \
    {                                                                                   \
        n, {ATTENTION_##n(ATTENTION_X q, ATTENTION_X k, ATTENTION_X v, ATTENTION_X g)}, \
            &(attention_attributes)                                                     \
        {                                                                               \
            is_causal                                                                   \
        }                                                                               \
    }
#define ATTENTION_SAMPLES(n)                                                            \
    ATTENTION_SAMPLE(n, 0, (HT_ANY_1, 1, 2), (HT_SOME_2, 1, 2), (HT_SOME_2, 1, 1),      \
                     (HT_ANY_1, 1, 1)),                                                 \
        ATTENTION_SAMPLE(n, 1, (HT_SOME_1, 2, 1), (HT_SOME_1, 2, 1), (HT_SOME_1, 2, 1), \
                         (HT_SOME_1, 2, 1)),                                            \
        ATTENTION_SAMPLE(n, 1, (2, 5, 2, 3), (2, 3, 2, 3), (2, 3, 2, 4), (2, 5, 2, 4)), \
        ATTENTION_SAMPLE(n, 0, (2, HT_SOME_1, 3, 1), (2, 2, 3, 1), (2, 2, 3, 2),        \
                         (2, HT_SOME_1, 3, 2)),                                         \
        ATTENTION_SAMPLE(n, 0, (0, 2, 3), (4, 2, 3), (4, 2, 2), (0, 2, 2)),             \
        ATTENTION_SAMPLE(n, 0, (2, 2, 3), (4, 2, 3), (4, 2, 0), (2, 2, 0))

static const ht_sample attention_samples[] = {ATTENTION_SAMPLES(3)};
static const ht_sample attention_vjp_samples[] = {ATTENTION_SAMPLES(4)};
static const ht_sample attention_jvp_samples[] = {ATTENTION_SAMPLES(6)};
static const ht_sample attention_bend_samples[] = {ATTENTION_SAMPLES(8)};

#define ATTENTION_ROW(name, ...)                                                      \
    HTI_ROW(name, name##_samples, .flags = HT_OP_PRODUCT,                             \
            .attribute_size = sizeof(attention_attributes), .infer = attention_infer, \
            .run = name##_run, .decompose = name##_decompose, .flops = name##_flops,  \
            .workspace = name##_workspace, .describe = attention_describe, __VA_ARGS__)

ATTENTION_ROW(attention, .vjp = attention_vjp, .jvp = attention_jvp);
ATTENTION_ROW(attention_vjp, .vjp = attention_vjp_vjp, .jvp = attention_vjp_jvp);
ATTENTION_ROW(attention_jvp, .vjp = attention_jvp_vjp);
ATTENTION_ROW(attention_bend, .vjp = NULL);

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
static ht_var attention_whole(ht_var q, ht_var k, ht_var v, ht_var mask, bool causal,
                              const char *site)
{
    if (!attention_check(q, k, v, site)) return hti_poison(q.tape);
    ht_shape keys = hti_type(k).shape, leading;
    if (ht_is_zero(mask) && keys.dim[keys.rank - 2] > 0 &&
        attention_leading(hti_type(q).shape, keys, hti_type(v).shape, &leading))
        return attention_fused(q, k, v, leading, causal, site);
    return attention_composed(q, k, v, mask, causal, site);
}

ht_var ht_attention_at(ht_var q, ht_var k, ht_var v, ht_var mask, bool causal,
                       const char *site)
{
    static const char *const name[] = {"q", "k", "v"};
    ht_var in[] = {q, k, v};
    ht_tape *tape = hti_tape_among(3, in);
    mask = hti_takes(tape, mask, "attention", "mask", site);
    for (int i = 0; i < 3; i++)
        in[i] = hti_needs(tape, in[i], "attention", name[i], -1, site);
    return HTI_CALL("attention", in[0],
                    attention_whole(in[0], in[1], in[2], mask, causal, site));
}
