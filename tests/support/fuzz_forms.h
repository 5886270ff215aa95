/* SPDX-License-Identifier: MIT */
/* fuzz_forms.h: what random programs are made of, one function a form: the public ops
 * over shapes, axes and options drawn at random, any row with a sample, and derivatives.
 * Part of fuzz.h. */
#ifndef HTI_FUZZ_FORMS_H
#define HTI_FUZZ_FORMS_H

#include "fuzz_grower.h"

/* Forms: of a, or HT_ZERO where they do not apply. */

typedef struct form {
    const char *name;
    ht_var (*grow)(grower *g, ht_var a);
    enum { SMOOTH = 0, KINKS = 1, GROWS = 2, FILLED = 4, AXES = 8, STOPS = 16 } flags;
} form;

#define FORM(name) static inline ht_var form_##name(grower *g, ht_var a)
#define FORM_1(name, of)      \
    FORM(name)                \
    {                         \
        (void)g;              \
        return ht_##name(of); \
    }
#define FORM_2(name, left, right)                                           \
    FORM(name)                                                              \
    {                                                                       \
        ht_shape both;                                                      \
        ht_var b = pick(g);                                                 \
        if (!hti_broadcast_shapes(ht_var_shape(a), ht_var_shape(b), &both)) \
            b = shaped(g, b, ht_var_shape(a));                              \
        return ht_##name(left, right);                                      \
    }

FORM_1(neg, a)
FORM_1(exp, ht_tanh(a))
FORM_1(log, within(a, 0.4, 2))
FORM_1(sqrt, within(a, 0.4, 2))
FORM_1(tanh, a)
FORM_1(sigmoid, a)
FORM_1(relu, a)
FORM_1(abs, a)
FORM_1(square, a)
FORM_1(log1p, within(a, -0.5, 1))
FORM_1(expm1, ht_tanh(a))
FORM_1(softplus, a)
FORM_1(rsqrt, within(a, 0.4, 2))
FORM_1(reciprocal, within(a, 0.5, 2))
FORM_1(sin, a)
FORM_1(cos, a)
FORM_1(erf, a)
FORM_1(silu, a)
FORM_1(gelu, a)
FORM_1(gelu_tanh, a)
FORM_1(stop_gradient, a)
FORM_1(sum, a)
FORM_1(mean, a)
FORM_1(softmax, a)
FORM_1(log_softmax, a)
FORM_2(add, a, b)
FORM_2(sub, a, b)
FORM_2(mul, a, b)
FORM_2(div, a, within(b, 0.5, 2))
FORM_2(pow, within(a, 0.5, 2), ht_mul(ht_tanh(b), 1.5))
FORM_2(maximum, a, b)
FORM_2(minimum, a, b)
FORM_2(equal, ht_abs(a), ht_relu(b))
FORM_2(greater, a, b)
FORM_2(greater_equal, a, b)

FORM(leaky_relu)
{
    return ht_leaky_relu(a, 0.1 * draw(g, 9));
}

FORM(clamp)
{
    return draw(g, 2) ? ht_clamp(a, -0.3, 0.4) : ht_clamp(a, ht_mul(a, 0.5), 0.6);
}

FORM(project_box)
{
    if (draw(g, 2)) return ht_project_box(a, 0, INFINITY);
    return ht_project_box(a, -0.3, ht_square(a));
}

#define FORM_BOUND(name)                                                      \
    FORM(name)                                                                \
    {                                                                         \
        ht_var r = draw(g, 2) ? ht_number(0.2 * (1 + draw(g, 9)))             \
                              : ht_square(ht_sum_axes(a, HT_AXES(-1), true)); \
        return ht_##name(a, r);                                               \
    }
FORM_BOUND(project_simplex)
FORM_BOUND(project_capped)
FORM_BOUND(project_l1)
FORM_BOUND(project_l2)
FORM_BOUND(group_soft_threshold)

FORM(soft_threshold)
{
    return ht_soft_threshold(a, draw(g, 2) ? ht_number(0.3) : ht_mul(ht_square(a), 0.2));
}

FORM(where)
{
    ht_var b = shaped(g, pick(g), ht_var_shape(a));
    switch (draw(g, g->f->kinks ? 3 : 2)) {
    case 0:
        return ht_where(coin(g, ht_var_shape(a)), a, b);
    case 1:
        return ht_where(coin(g, HT_SCALAR), 0.3, a);
    default:
        return ht_where(ht_greater(a, ht_tanh(b)), ht_mul(a, b), b);
    }
}

FORM(weighted_hypot)
{
    ht_var b = shaped(g, pick(g), ht_var_shape(a)), weight = ht_number(0.1 * draw(g, 9));
    return hti_weighted_hypot(weight, a, within(b, 0.5, 2), within(b, 0.5, 2), HT_HERE);
}

FORM(cast)
{
    if (g->dtype == HT_F32) return ht_cast(ht_sin(ht_cast(a, HT_F64)), HT_F32);
    return ht_mul(a, ht_cast(coin(g, ht_var_shape(a)), g->dtype));
}

#define FORM_AXES(name, of)                                 \
    FORM(name##_axes)                                       \
    {                                                       \
        ht_axes axes = random_axes(g, a);                   \
        return ht_##name##_axes(of, axes, draw(g, 2) == 0); \
    }
FORM_AXES(sum, a)
FORM_AXES(mean, a)
FORM_AXES(max, a)
FORM_AXES(min, a)
FORM_AXES(logsumexp, a)
FORM_AXES(norm, within(a, 0.4, 1))

FORM(variance_axes)
{
    return ht_variance_axes(a, random_axes(g, a), draw(g, 2) == 0, 0);
}

FORM(cumsum)
{
    return ht_cumsum(a, random_axis(g, a));
}

FORM(argmax)
{
    return ht_mul(ht_cast(ht_argmax(a), g->dtype), 0.2);
}

FORM(argmin)
{
    int64_t n = ht_var_shape(a).dim[ht_var_shape(a).rank - 1];
    if (ht_var_shape(a).rank == HT_MAX_RANK) return HT_ZERO;
    return ht_mul(a, ht_one_hot(ht_argmin(a), n, g->dtype));
}

FORM(reshape)
{
    int64_t n = count(a);
    for (int64_t rows = 2 + draw(g, 4); n > 0 && rows < 8; rows++)
        if (n % rows == 0) return ht_reshape(a, HT_SHAPE(rows, -1));
    return n == 1 ? ht_reshape(a, random_shape(g, 0)) : ht_reshape(a, HT_SHAPE(1, n, 1));
}

FORM(permute)
{
    ht_axes axes = {.n = ht_var_shape(a).rank};
    for (int i = 0; i < axes.n; i++) {
        int j = draw(g, i + 1);
        axes.axis[i] = axes.axis[j];
        axes.axis[j] = i;
    }
    return ht_permute(a, axes);
}

FORM(transpose)
{
    (void)g;
    return ht_var_shape(a).rank < 2 ? HT_ZERO : ht_transpose(a);
}

FORM(broadcast)
{
    ht_shape shape = ht_var_shape(a);
    for (int i = 0; i < shape.rank; i++)
        if (shape.dim[i] == 1) shape.dim[i] = 1 + draw(g, 4);
    if (shape.rank < HT_MAX_RANK && draw(g, 2)) {
        for (int i = shape.rank++; i > 0; i--) shape.dim[i] = shape.dim[i - 1];
        shape.dim[0] = 1 + draw(g, 3);
    }
    return ht_broadcast(a, shape);
}

FORM(slice)
{
    int axis = random_axis(g, a), step = 1 + draw(g, 3);
    ht_shape shape = ht_var_shape(a);
    int64_t n = shape.dim[axis < 0 ? axis + shape.rank : axis];
    if (n == 0 || draw(g, 40) == 0) return ht_slice(a, axis, 0, 0, 1);
    int start = draw(g, n);
    if (draw(g, 2)) return ht_slice(a, axis, start, 1 + draw(g, start / step + 1), -step);
    return ht_slice(a, axis, start, 1 + draw(g, (n - 1 - start) / step + 1), step);
}

FORM(pad)
{
    return ht_pad(a, random_axis(g, a), draw(g, 3), draw(g, 3));
}

FORM(concat)
{
    int axis = random_axis(g, a);
    ht_var b = draw(g, 2) ? ht_tanh(a) : a, none = ht_slice(b, axis, 0, 0, 1);
    return ht_concat(3, ((ht_var[]){a, none, b}), axis);
}

FORM(stack)
{
    int rank = ht_var_shape(a).rank;
    ht_var b = shaped(g, pick(g), ht_var_shape(a));
    if (rank == HT_MAX_RANK) return HT_ZERO;
    return ht_stack(2, ((ht_var[]){a, b}), draw(g, 2 * rank + 2) - rank - 1);
}

FORM(flip)
{
    return ht_flip(a, random_axis(g, a));
}

FORM(gather)
{
    if (ht_var_shape(a).rank > 3) return HT_ZERO;
    return ht_gather(a, indices(g, random_shape(g, draw(g, 3)), ht_var_shape(a).dim[0]));
}

FORM(scatter_add)
{
    ht_var index = indices(g, random_shape(g, draw(g, 3)), ht_var_shape(a).dim[0]);
    if (ht_var_shape(a).rank > 3) return HT_ZERO;
    ht_shape shape = ht_var_shape(ht_gather(a, index));
    return ht_scatter_add(a, index, shaped(g, pick(g), shape));
}

FORM(one_hot)
{
    int64_t n = count(a);
    ht_var rows = ht_one_hot(indices(g, HT_SHAPE(n), 3), 3, g->dtype);
    return ht_mul(rows, ht_reshape(a, HT_SHAPE(n, 1)));
}

FORM(take_last)
{
    ht_shape shape = ht_var_shape(a);
    int64_t n = shape.dim[shape.rank - 1];
    shape.dim[shape.rank - 1] = draw(g, 5);
    return ht_take_last(a, indices(g, shape, n));
}

FORM(matmul)
{
    ht_shape shape = ht_var_shape(a);
    if (shape.rank < 2) return HT_ZERO;
    ht_shape other = random_shape(g, 2 + draw(g, 3));
    other.dim[other.rank - 2] = shape.dim[shape.rank - 1];
    for (int i = 2; i < shape.rank && i < other.rank; i++)
        if (draw(g, 2) && shape.dim[shape.rank - 1 - i] != 1)
            other.dim[other.rank - 1 - i] = shape.dim[shape.rank - 1 - i];
        else if (shape.dim[shape.rank - 1 - i] != 1)
            other.dim[other.rank - 1 - i] = 1;
    if (ht_shape_count(other) > MOST_COUNT) return HT_ZERO;
    return ht_matmul(a, shaped(g, pick(g), other));
}

FORM(cross_entropy)
{
    int64_t rows = 1 + draw(g, 4), classes = 1 + draw(g, 5);
    return ht_cross_entropy(shaped(g, a, HT_SHAPE(rows, classes)),
                            indices(g, HT_SHAPE(rows), classes));
}

/* Images (n, c, h, w) of what there is. */
static inline ht_var image(grower *g, ht_var a, int64_t channels)
{
    return shaped(g, a,
                  HT_SHAPE(1 + draw(g, 2), channels, 2 + draw(g, 3), 3 + draw(g, 3)));
}

FORM(conv2d)
{
    int64_t groups = 1 + draw(g, 2), in = groups * (1 + draw(g, 2));
    int64_t out = groups * (1 + draw(g, 2));
    ht_conv_options o = {.groups = groups};
    for (int i = 0; i < 2; i++) {
        o.stride[i] = 1 + draw(g, 2);
        o.padding[i] = draw(g, 2);
        o.dilation[i] = 1 + i * draw(g, 2);
    }
    ht_shape w = HT_SHAPE(out, in / groups, 1 + draw(g, 2), 1 + draw(g, 2));
    return ht_conv2d(image(g, a, in), shaped(g, pick(g), w), o);
}

static inline ht_pool_options pool_options(grower *g)
{
    ht_pool_options o;
    for (int i = 0; i < 2; i++) {
        o.kernel[i] = 1 + draw(g, 2) + i;
        o.stride[i] = 1 + draw(g, 2);
        o.padding[i] = draw(g, o.kernel[i] / 2 + 1);
    }
    return o;
}

FORM(max_pool2d)
{
    return ht_max_pool2d(image(g, a, 1 + draw(g, 2)), pool_options(g));
}

FORM(avg_pool2d)
{
    return ht_avg_pool2d(image(g, a, 1 + draw(g, 2)), pool_options(g));
}

FORM(global_avg_pool2d)
{
    return ht_global_avg_pool2d(image(g, a, 1 + draw(g, 3)));
}

FORM(layernorm)
{
    ht_shape row = {1, {ht_var_shape(a).dim[ht_var_shape(a).rank - 1]}};
    ht_var gain = draw(g, 2) ? shaped(g, a, row) : HT_ZERO;
    return ht_layernorm(a, gain, draw(g, 2) ? shaped(g, a, row) : HT_ZERO, 0.3);
}

FORM(rmsnorm)
{
    ht_shape row = {1, {ht_var_shape(a).dim[ht_var_shape(a).rank - 1]}};
    return ht_rmsnorm(a, draw(g, 2) ? shaped(g, a, row) : HT_ZERO, 0.3);
}

FORM(groupnorm)
{
    int64_t groups = 1 + draw(g, 2), channels = groups * (1 + draw(g, 2));
    ht_var gain = draw(g, 2) ? shaped(g, a, HT_SHAPE(channels)) : HT_ZERO;
    return ht_groupnorm(image(g, a, channels), groups, gain, HT_ZERO, 0.3);
}

FORM(batchnorm)
{
    int64_t channels = 1 + draw(g, 3);
    ht_var shift = draw(g, 2) ? shaped(g, a, HT_SHAPE(channels)) : HT_ZERO;
    return ht_batchnorm(image(g, a, channels), HT_ZERO, shift, 0.3);
}

FORM(batchnorm_given)
{
    ht_var x = image(g, a, 1 + draw(g, 3)), mean, variance;
    ht_batch_statistics(shaped(g, pick(g), ht_var_shape(x)), &mean, &variance);
    return ht_batchnorm_given(x, mean, variance, 0.3);
}

FORM(tril)
{
    if (ht_var_shape(a).rank < 2) return HT_ZERO;
    return ht_tril(a, draw(g, 5) - 2, draw(g, 2) ? 0.5 : 0);
}

FORM(attention)
{
    int64_t t = 1 + draw(g, 3), s = 1 + draw(g, 3), d = 1 + draw(g, 3);
    int64_t batch = 1 + draw(g, 2);
    ht_var q = shaped(g, a, HT_SHAPE(batch, t, d)), k = shaped(g, a, HT_SHAPE(s, d));
    ht_var v = shaped(g, pick(g), HT_SHAPE(batch, s, 2));
    return ht_attention(q, k, v, draw(g, 2) ? shaped(g, a, HT_SHAPE(t, s)) : HT_ZERO,
                        draw(g, 2) == 0);
}

FORM(uniform)
{
    return ht_mul(a,
                  ht_uniform(g->step, (ht_type){g->dtype, ht_var_shape(a)}, stream(g)));
}

FORM(normal)
{
    return ht_add(a, ht_normal(g->step, (ht_type){g->dtype, ht_var_shape(a)}, stream(g)));
}

FORM(dropout)
{
    return ht_dropout(a, 0.3, stream(g), g->step);
}

/* Rows that are smooth in pieces only. */
static inline bool has_kink(const ht_op *op)
{
    return op == &hti_op_relu || op == &hti_op_abs || op == &hti_op_maximum ||
           op == &hti_op_minimum || op == &hti_op_max;
}

/* The sample's shape, sizes HT_ANY_1 .. HT_SOME_3 taken from `size`. */
static inline ht_shape drawn_shape(ht_shape shape, const int size[7])
{
    for (int i = 0; i < shape.rank; i++)
        if (shape.dim[i] < 0) shape.dim[i] = size[-shape.dim[i]];
    return shape;
}

/* A row of the table with one of its samples. */
FORM(row)
{
    int rows = 0, size[7] = {0};
    while (ht_op_at(rows)) rows++;
    const ht_op *op = ht_op_at(draw(g, rows));
    const ht_sample *sample = &op->samples[draw(g, op->n_samples)];
    ht_var in[HT_OP_INPUTS];
    bool kinks = op->flags & HT_OP_NO_GRADIENT || has_kink(op);
    if (sample->n_in == 0 || op == &hti_op_cast || (kinks && !g->f->kinks) ||
        (op->flags & HT_OP_STOPS && !g->f->stops))
        return HT_ZERO;
    for (int k = 1; k < 7; k++) size[k] = k > 3 || draw(g, 20) ? 1 + draw(g, 4) : 0;
    for (int i = 0; i < sample->n_in; i++) {
        const ht_sample_input *s = &sample->in[i];
        ht_shape shape = drawn_shape(s->shape, size);
        if (ht_shape_count(shape) > MOST_COUNT) return HT_ZERO;
        in[i] = s->dtype ? integers(g, s->dtype, shape, s->low, s->high)
                         : within(shaped(g, i ? pick(g) : a, shape), s->low, s->high);
    }
    return ht_apply(op, sample->n_in, in, sample->attributes, HT_HERE);
}

static inline ht_var grow_form(grower *g, ht_var a);

/* A movement that another may have passed over is no variable of a derivative. */
static inline bool is_moved(ht_var a)
{
    const ht_op *op = a.tape->op[a.index];
    return op == &hti_op_reshape || op == &hti_op_permute || op == &hti_op_broadcast;
}

/* Derivatives of a form as values of the program: its own derivatives are of the second
 * order and more. */
FORM(vjp)
{
    ht_var y = is_moved(a) ? HT_ZERO : grow_form(g, a), d;
    if (ht_is_zero(y)) return y;
    ht_var v = shaped(g, pick(g), ht_var_shape(y));
    ht_vjp(1, &y, &v, 1, &a, &d);
    return d;
}

FORM(jvp)
{
    ht_var y = is_moved(a) ? HT_ZERO : grow_form(g, a), d;
    if (ht_is_zero(y)) return y;
    ht_var t = shaped(g, pick(g), ht_var_shape(a));
    ht_jvp(1, &a, &t, 1, &y, &d);
    return d;
}

#endif
