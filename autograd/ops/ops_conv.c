/* SPDX-License-Identifier: MIT */
/* ops_conv.c: conv and its two transposes. With y = conv(x, w), <v, y> is linear in each
 * of v, x and w, so three rows make what any two of them leave open:
 *
 *   y = conv(x, w)    x = conv_dx(y, w)    w = conv_dw(x, y)
 *
 * Each is bilinear and its derivatives are the other two: any order needs no other row.
 * Read next: ops_pool.c, tensor/conv.c. */
#include "ops.h"

typedef struct conv_attributes {
    hti_conv_geometry geometry;
    int64_t size[2]; /* the last two axes of the result of conv_dx and conv_dw; conv: 0 */
} conv_attributes;

/* Refuses options that mean nothing; false then. */
static bool conv_options_fit(ht_infer *it, const hti_conv_geometry *g)
{
    for (int i = 0; i < 2; i++) {
        bool fits = g->stride[i] > 0 && g->dilation[i] > 0 && g->padding[i] >= 0 &&
                    g->stride[i] <= INT32_MAX && g->dilation[i] <= INT32_MAX &&
                    g->padding[i] <= INT32_MAX;
        if (!fits)
            return ht_infer_fail(
                it, HT_ERROR_ARGUMENT,
                "axis %d has stride %lld, dilation %lld, padding %lld; they "
                "must be at least 1, 1 and 0, and at most %d",
                i + 2, (long long)g->stride[i], (long long)g->dilation[i],
                (long long)g->padding[i], INT32_MAX);
    }
    return g->groups > 0 ||
           ht_infer_fail(it, HT_ERROR_ARGUMENT, "groups is %lld, must be at least 1",
                         (long long)g->groups);
}

static bool conv_types_fit(ht_infer *it)
{
    if (it->in[0].shape.rank != 4 || it->in[1].shape.rank != 4)
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "needs 4 axes each: images (n, c, h, w), weight (o, "
                             "c/groups, kh, kw)\n  hint: ht_reshape adds an axis: grey "
                             "images are (n, 1, h, w)");
    return hti_infer_one_float(it) &&
           conv_options_fit(it, &((const conv_attributes *)it->attributes)->geometry);
}

/* The last two axes of y from those of x and of the weight. */
static bool conv_sizes(ht_infer *it, const int64_t *x, const int64_t *w, int64_t *y)
{
    const hti_conv_geometry *g = &((const conv_attributes *)it->attributes)->geometry;
    for (int i = 0; i < 2; i++) {
        bool huge = x[i] > INT64_MAX / 2; /* of an empty batch: beyond counting */
        int64_t room = huge ? 0 : x[i] + 2 * g->padding[i];
        if (w[i] < 1 || (w[i] - 1) >= room || (w[i] - 1) > (room - 1) / g->dilation[i])
            return ht_infer_fail(it, HT_ERROR_SHAPE,
                                 "axis %d: a kernel of %lld taps, dilation %lld, does "
                                 "not fit into %lld with padding %lld on both sides",
                                 i + 2, (long long)w[i], (long long)g->dilation[i],
                                 (long long)x[i], (long long)g->padding[i]);
        y[i] = (room - 1 - (w[i] - 1) * g->dilation[i]) / g->stride[i] + 1;
    }
    return true;
}

static bool conv_channels_fit(ht_infer *it, int64_t c, int64_t o, int64_t per_group)
{
    int64_t groups = ((const conv_attributes *)it->attributes)->geometry.groups;
    if (o % groups || c % groups || c / groups != per_group)
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "%lld channels in, %lld out and %lld groups need a weight "
                             "(%lld, %lld / %lld, kh, kw)",
                             (long long)c, (long long)o, (long long)groups, (long long)o,
                             (long long)c, (long long)groups);
    return true;
}

/* Where x, the weight and y of the product stand, by the side that is made: 0 and 1 are
 * the inputs, 2 the result. */
static const int conv_place[][3] = {
    [HTI_CONV_Y] = {0, 1, 2}, [HTI_CONV_X] = {2, 1, 0}, [HTI_CONV_W] = {0, 2, 1}};

static hti_conv_side conv_side(const ht_op *op)
{
    if (op == &hti_op_conv) return HTI_CONV_Y;
    return op == &hti_op_conv_dx ? HTI_CONV_X : HTI_CONV_W;
}

/* Of all three: what is not given, but for its last two axes, from the others; then y has
 * to be the product of x and the weight. */
static bool conv_infer(ht_infer *it)
{
    const conv_attributes *a = it->attributes;
    if (!conv_types_fit(it)) return false;
    ht_shape all[] = {it->in[0].shape, it->in[1].shape,
                      HT_SHAPE(0, 0, a->size[0], a->size[1])};
    hti_conv_side side = conv_side(it->op);
    const int *at = conv_place[side];
    int64_t *x = all[at[0]].dim, *w = all[at[1]].dim, *y = all[at[2]].dim;
    if (side == HTI_CONV_X) x[0] = y[0], x[1] = w[1] * a->geometry.groups;
    if (side == HTI_CONV_W) w[0] = y[1], w[1] = x[1] / a->geometry.groups;
    ht_shape product = HT_SHAPE(x[0], w[0], 0, 0);
    if (!conv_channels_fit(it, x[1], w[0], w[1]) ||
        !conv_sizes(it, x + 2, w + 2, product.dim + 2))
        return false;
    if (side == HTI_CONV_Y) all[2] = product;
    it->out.shape = all[2];
    char text[HT_SHAPE_TEXT];
    return ht_shape_equal(all[at[2]], product) ||
           ht_infer_fail(it, HT_ERROR_SHAPE, "the images of the product must be %s",
                         ht_shape_text(product, text));
}

static void conv_run(const ht_run *r)
{
    const conv_attributes *a = r->attributes;
    const ht_array all[] = {*r->in[0], *r->in[1], r->out};
    hti_conv_side side = conv_side(r->op);
    const int *at = conv_place[side];
    hti_kernel(r->ctx, conv, side, all[at[0]], all[at[1]], all[at[2]], &a->geometry,
               r->workspace);
}

static size_t conv_workspace_side(const ht_context *ctx, const ht_type *in,
                                  const ht_type *out, const void *attributes,
                                  hti_conv_side side)
{
    const conv_attributes *a = attributes;
    const ht_shape all[] = {in[0].shape, in[1].shape, out->shape};
    const int *at = conv_place[side];
    return hti_kernel(ctx, conv_workspace, side, out->dtype, all[at[0]], all[at[1]],
                      all[at[2]], &a->geometry);
}

/* Two flops for every tap of every element of y. */
static double conv_flops_side(const ht_type *in, const ht_type *out, hti_conv_side side)
{
    const ht_shape all[] = {in[0].shape, in[1].shape, out->shape};
    ht_shape w = all[conv_place[side][1]], y = all[conv_place[side][2]];
    return 2 * (double)ht_shape_count(y) * (double)w.dim[1] * (double)w.dim[2] *
           (double)w.dim[3];
}

/* Rules. Each of the three with the options of the row that asks; `like` has the last two
 * axes of the result. */

static ht_var conv_apply(const ht_op *op, const ht_rule *r, ht_var first, ht_var second,
                         ht_var like)
{
    conv_attributes a = *(const conv_attributes *)r->attributes;
    for (int i = 0; i < 2; i++)
        a.size[i] = op == &hti_op_conv ? 0 : ht_var_shape(like).dim[i + 2];
    return ht_apply(op, 2, (ht_var[]){first, second}, &a, HT_HERE);
}

static void conv_vjp(ht_rule *r)
{
    ht_var x = r->in[0], w = r->in[1];
    if (r->wanted[0]) r->d[0] = conv_apply(&hti_op_conv_dx, r, r->v, w, x);
    if (r->wanted[1]) r->d[1] = conv_apply(&hti_op_conv_dw, r, x, r->v, w);
}

static void conv_dx_vjp(ht_rule *r)
{
    ht_var y = r->in[0], w = r->in[1];
    if (r->wanted[0]) r->d[0] = conv_apply(&hti_op_conv, r, r->v, w, y);
    if (r->wanted[1]) r->d[1] = conv_apply(&hti_op_conv_dw, r, r->v, y, w);
}

static void conv_dw_vjp(ht_rule *r)
{
    ht_var x = r->in[0], y = r->in[1];
    if (r->wanted[0]) r->d[0] = conv_apply(&hti_op_conv_dx, r, y, r->v, x);
    if (r->wanted[1]) r->d[1] = conv_apply(&hti_op_conv, r, x, r->v, y);
}

static void conv_describe(const void *attributes, char *text, size_t size)
{
    const conv_attributes *a = attributes;
    const hti_conv_geometry *g = &a->geometry;
    int used = snprintf(
        text, size, "stride %lld %lld padding %lld %lld dilation %lld %lld groups %lld",
        (long long)g->stride[0], (long long)g->stride[1], (long long)g->padding[0],
        (long long)g->padding[1], (long long)g->dilation[0], (long long)g->dilation[1],
        (long long)g->groups);
    if (a->size[0] && used > 0 && (size_t)used < size)
        snprintf(text + used, size - (size_t)used, " size %lld %lld",
                 (long long)a->size[0], (long long)a->size[1]);
}

/* x, y, w of one product, seen from each row. Sizes are (n, c, h, w), (n, o, yh, yw) and
 * (o, c/groups, kh, kw). */
#define CONV_FIRST .geometry = {{1, 1}, {0, 0}, {1, 1}, 1}
#define CONV_WIDE  .geometry = {{2, 1}, {1, 2}, {1, 2}, 2}
#define CONV_DEPTH .geometry = {{3, 2}, {2, 0}, {2, 1}, 3}

static const ht_sample conv_samples[] = {
    {2,
     {HTI_X(HT_ANY_1, HT_SOME_2, 4, 5), HTI_X(HT_SOME_3, HT_SOME_2, 2, 3)},
     &(conv_attributes){CONV_FIRST}},
    {2, {HTI_X(HT_SOME_1, 4, 5, 3), HTI_X(2, 2, 3, 2)}, &(conv_attributes){CONV_WIDE}},
    {2, {HTI_X(HT_SOME_1, 3, 4, 5), HTI_X(6, 1, 2, 2)}, &(conv_attributes){CONV_DEPTH}},
    {2,
     {HTI_X(HT_SOME_1, HT_SOME_2, 1, HT_SOME_3), HTI_X(2, HT_SOME_2, 1, 1)},
     &(conv_attributes){CONV_FIRST}},
    {2, {HTI_X(0, 2, 3, 3), HTI_X(2, 2, 2, 2)}, &(conv_attributes){CONV_FIRST}},
    {2, {HTI_X(2, 0, 3, 3), HTI_X(2, 0, 2, 2)}, &(conv_attributes){CONV_FIRST}},
};
static const ht_sample conv_dx_samples[] = {
    {2,
     {HTI_X(HT_ANY_1, HT_SOME_2, 3, 3), HTI_X(HT_SOME_2, HT_SOME_3, 2, 3)},
     &(conv_attributes){CONV_FIRST, {4, 5}}},
    {2,
     {HTI_X(HT_SOME_1, 2, 3, 5), HTI_X(2, 2, 3, 2)},
     &(conv_attributes){CONV_WIDE, {5, 3}}},
    {2,
     {HTI_X(HT_SOME_1, 6, 2, 2), HTI_X(6, 1, 2, 2)},
     &(conv_attributes){CONV_DEPTH, {4, 5}}},
    {2, {HTI_X(2, 2, 1, 7), HTI_X(2, 3, 1, 1)}, &(conv_attributes){CONV_FIRST, {1, 7}}},
    {2, {HTI_X(2, 0, 2, 2), HTI_X(0, 2, 2, 2)}, &(conv_attributes){CONV_FIRST, {3, 3}}},
};
static const ht_sample conv_dw_samples[] = {
    {2,
     {HTI_X(HT_ANY_1, HT_SOME_2, 4, 5), HTI_X(HT_ANY_1, HT_SOME_3, 3, 3)},
     &(conv_attributes){CONV_FIRST, {2, 3}}},
    {2,
     {HTI_X(HT_SOME_1, 4, 5, 3), HTI_X(HT_SOME_1, 2, 3, 5)},
     &(conv_attributes){CONV_WIDE, {3, 2}}},
    {2,
     {HTI_X(HT_SOME_1, 3, 4, 5), HTI_X(HT_SOME_1, 6, 2, 2)},
     &(conv_attributes){CONV_DEPTH, {2, 2}}},
    {2, {HTI_X(2, 3, 1, 7), HTI_X(2, 2, 1, 7)}, &(conv_attributes){CONV_FIRST, {1, 1}}},
    {2, {HTI_X(0, 2, 3, 3), HTI_X(0, 2, 2, 2)}, &(conv_attributes){CONV_FIRST, {2, 2}}},
};

#define CONV_ROW(name, side)                                                   \
    static size_t name##_workspace(const ht_context *ctx, const ht_type *in,   \
                                   const ht_type *out, const void *attributes) \
    {                                                                          \
        return conv_workspace_side(ctx, in, out, attributes, side);            \
    }                                                                          \
    static double name##_flops(const ht_type *in, const ht_type *out)          \
    {                                                                          \
        return conv_flops_side(in, out, side);                                 \
    }                                                                          \
    HTI_ROW(name, name##_samples, .flags = HT_OP_PRODUCT | HT_OP_LINEAR,       \
            .attribute_size = sizeof(conv_attributes), .infer = conv_infer,    \
            .run = conv_run, .vjp = name##_vjp, .jvp = hti_linear_jvp,         \
            .flops = name##_flops, .workspace = name##_workspace,              \
            .describe = conv_describe);

CONV_ROW(conv, HTI_CONV_Y)
CONV_ROW(conv_dx, HTI_CONV_X)
CONV_ROW(conv_dw, HTI_CONV_W)

ht_var ht_conv2d_at(ht_var x, ht_var weight, ht_conv_options options, const char *site)
{
    conv_attributes a = {.geometry = {.groups = options.groups ? options.groups : 1}};
    for (int i = 0; i < 2; i++) {
        a.geometry.stride[i] = options.stride[i] ? options.stride[i] : 1;
        a.geometry.padding[i] = options.padding[i];
        a.geometry.dilation[i] = options.dilation[i] ? options.dilation[i] : 1;
    }
    ht_var in[] = {x, weight};
    ht_tape *tape = hti_tape_among(2, in);
    if (!ht_is_zero(x)) x = in[0] = hti_needs(tape, x, "conv2d", "x", -1, site);
    if (!ht_is_zero(weight))
        in[1] = hti_needs(tape, weight, "conv2d", "weight", -1, site);
    return HTI_CALL("conv2d", x, ht_apply(&hti_op_conv, 2, in, &a, site));
}
