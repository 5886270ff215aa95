/* SPDX-License-Identifier: MIT */
/* ops_shape.c: movement. Views say their result as strides over the input's memory and
 * cost nothing; slice and embed (zeros around and between) are each other's transposes,
 * as are broadcast and sum. Read next: ops_index.c. */
#include "ops.h"

/* What a view op runs when it can't be a view. */
HTI_RUN(shape_copy, void, hti_run_copy(r->ctx, r->out, *r->in[0]))

/* A rank out of range would not even fit the attributes. -1 is left to reshape. */
static bool shape_valid(ht_var x, ht_shape shape, const char *op, const char *site)
{
    if (shape.rank >= 0 && shape.rank <= HT_MAX_RANK) return true;
    hti_fail(x.tape, HT_ERROR_SHAPE, site, op, "a shape of %d axes; 0 to %d can be",
             shape.rank, HT_MAX_RANK);
    return false;
}

static void shape_describe(const void *attributes, char *text, size_t size)
{
    char shape[HT_SHAPE_TEXT];
    snprintf(text, size, "%s", ht_shape_text(hti_shape_unpack(attributes), shape));
}

/* The input of node x if x is an `op`, so that a chain of movements is one. */
static ht_var shape_inner(ht_var x, const ht_op *op)
{
    ht_tape *tape = x.tape;
    if (tape->op[x.index] != op || x.index < tape->movements_from) return x;
    return hti_var(tape, tape->edge[tape->first_in[x.index]]);
}

/* Reshape. */

/* What an unresolved -1 stumbled over. */
static const char *reshape_hint(ht_shape shape)
{
    int open = 0;
    bool empty = false;
    for (int i = 0; i < shape.rank; i++) {
        open += shape.dim[i] == -1;
        empty = empty || shape.dim[i] == 0;
    }
    if (open > 1) return "\n  hint: at most one size can be -1";
    if (open && empty) return "\n  hint: beside a size 0, -1 could be any: give it";
    return "\n  hint: one size may be -1, which is what is left";
}

static bool reshape_infer(ht_infer *it)
{
    it->out = (ht_type){it->in[0].dtype, hti_shape_unpack(it->attributes)};
    if (ht_shape_count(it->out.shape) == ht_shape_count(it->in[0].shape)) return true;
    char text[HT_SHAPE_TEXT];
    return ht_infer_fail(it, HT_ERROR_SHAPE, "%lld elements do not make shape %s%s",
                         (long long)ht_shape_count(it->in[0].shape),
                         ht_shape_text(it->out.shape, text), reshape_hint(it->out.shape));
}

/* Axes of size 1 come and go for free; the others must match, or the input be contiguous.
 */
static bool reshape_view(const void *attributes, const ht_type *out, const ht_array *in,
                         ht_array *result)
{
    (void)attributes;
    *result = hti_contiguous(in->data, out->dtype, out->shape);
    if (hti_is_contiguous(in)) return true;
    int i = 0;
    for (int o = 0; o < out->shape.rank; o++) {
        if (out->shape.dim[o] == 1) continue;
        while (i < in->shape.rank && in->shape.dim[i] == 1) i++;
        if (i == in->shape.rank || in->shape.dim[i] != out->shape.dim[o]) return false;
        result->stride[o] = in->stride[i++];
    }
    return true;
}

HTI_VJP(reshape, ht_reshape(r->v, ht_var_shape(r->in[0])))

HTI_JVP(reshape, ht_reshape(r->t[0], ht_var_shape(r->out)))

/* A strided input is walked in row-major order, so copying into its own shape is right.
 */
HTI_RUN(reshape, void,
        hti_run_copy(r->ctx, hti_contiguous(r->out.data, r->out.dtype, r->in[0]->shape),
                     *r->in[0]))

static const ht_sample reshape_samples[] = {
    {1, {HTI_X(4, 6)}, &(hti_shape_attributes){3, {2, 3, 4}}},
    {1, {HTI_SCALAR}, &(hti_shape_attributes){2, {1, 1}}},
    {1, {HTI_X(67, 1)}, &(hti_shape_attributes){1, {67}}},
    {1, {HTI_X(3, 0)}, &(hti_shape_attributes){3, {0, 5, 2}}},
};

HTI_ROW(reshape, reshape_samples, .flags = HT_OP_LINEAR | HTI_OP_MOVES | HTI_OP_REPEATS,
        .attribute_size = sizeof(hti_shape_attributes), .infer = reshape_infer,
        .view = reshape_view, HTI_RULES(reshape), .describe = shape_describe);

ht_var ht_reshape_at(ht_var x, ht_shape shape, const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    if (!shape_valid(x, shape, "reshape", site)) return hti_poison(x.tape);
    int64_t known = 1, open = -1;
    for (int i = 0; i < shape.rank; i++) {
        if (shape.dim[i] == -1 && open < 0)
            open = i;
        else
            known = (int64_t)((uint64_t)known * (uint64_t)shape.dim[i]);
    }
    int64_t count = ht_shape_count(hti_type(x).shape);
    if (open >= 0 && known > 0 && count % known == 0) shape.dim[open] = count / known;
    if (ht_shape_equal(shape, hti_type(x).shape)) return x;
    ht_var inner = shape_inner(x, &hti_op_reshape);
    if (ht_shape_equal(shape, hti_type(inner).shape)) return inner;
    /* Of a turned view x may be the copy: another shape of it needs no second one. */
    if (x.tape->op[inner.index]->view) inner = x;
    hti_shape_attributes a = hti_shape_pack(shape);
    return ht_apply(&hti_op_reshape, 1, &inner, &a, site);
}

/* Permute. */

static bool permute_infer(ht_infer *it)
{
    const hti_shape_attributes *a = it->attributes;
    it->out = it->in[0];
    uint64_t seen = 0;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] >= 0 && a->dim[i] < a->rank) seen |= (uint64_t)1 << a->dim[i];
    if (a->rank != it->in[0].shape.rank || seen + 1 != (uint64_t)1 << a->rank)
        return ht_infer_fail(it, HT_ERROR_ARGUMENT,
                             "the axes must name each of %d axes once",
                             it->in[0].shape.rank);
    for (int i = 0; i < a->rank; i++)
        it->out.shape.dim[i] = it->in[0].shape.dim[a->dim[i]];
    return true;
}

static bool permute_view(const void *attributes, const ht_type *out, const ht_array *in,
                         ht_array *result)
{
    const hti_shape_attributes *a = attributes;
    *result = (ht_array){in->data, out->dtype, out->shape, {0}};
    for (int i = 0; i < a->rank; i++) result->stride[i] = in->stride[a->dim[i]];
    return true;
}

static ht_axes permute_axes(const void *attributes, bool inverse)
{
    const hti_shape_attributes *a = attributes;
    ht_axes axes = {.n = (int)a->rank};
    for (int i = 0; i < axes.n; i++) {
        if (inverse)
            axes.axis[a->dim[i]] = i;
        else
            axes.axis[i] = (int)a->dim[i];
    }
    return axes;
}

HTI_VJP(permute, ht_permute(r->v, permute_axes(r->attributes, true)))

HTI_JVP(permute, ht_permute(r->t[0], permute_axes(r->attributes, false)))

static const ht_sample permute_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_ANY_2)}, &(hti_shape_attributes){2, {1, 0}}},
    {1, {HTI_X(HT_SOME_1, HT_SOME_2, 4)}, &(hti_shape_attributes){3, {2, 0, 1}}},
};

HTI_ROW(permute, permute_samples, .flags = HT_OP_LINEAR | HTI_OP_MOVES,
        .attribute_size = sizeof(hti_shape_attributes), .infer = permute_infer,
        .view = permute_view, .run = shape_copy_run, .vjp = permute_vjp,
        .jvp = permute_jvp, .describe = shape_describe);

ht_var ht_permute_at(ht_var x, ht_axes axes, const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    char text[HT_SHAPE_TEXT];
    ht_var inner = shape_inner(x, &hti_op_permute);
    const hti_shape_attributes *first =
        inner.index == x.index ? NULL : x.tape->attributes[x.index];
    hti_shape_attributes a = {.rank = axes.n};
    bool identity = true, valid = axes.n == hti_type(x).shape.rank;
    for (int i = 0; i < axes.n && valid; i++) {
        int axis = axes.axis[i] < 0 ? axes.axis[i] + axes.n : axes.axis[i];
        valid = axis >= 0 && axis < axes.n;
        if (valid) a.dim[i] = first ? first->dim[axis] : axis;
        identity = identity && a.dim[i] == i;
    }
    if (!valid)
        return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, "permute",
                        "the axes must name each of %d axes once, of shape %s",
                        hti_type(x).shape.rank, ht_shape_text(hti_type(x).shape, text));
    return identity ? inner : ht_apply(&hti_op_permute, 1, &inner, &a, site);
}

ht_var hti_swap_axes(ht_var x, int i, int j, const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    ht_axes axes = {hti_type(x).shape.rank, {0, 1, 2, 3, 4, 5}};
    i += i < 0 ? axes.n : 0;
    j += j < 0 ? axes.n : 0;
    axes.axis[i] = j;
    axes.axis[j] = i;
    return ht_permute_at(x, axes, site);
}

ht_var ht_transpose_at(ht_var x, const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    int rank = hti_type(x).shape.rank;
    char text[HT_SHAPE_TEXT];
    if (rank < 2)
        return hti_fail(x.tape, HT_ERROR_SHAPE, site, "transpose",
                        "needs at least 2 axes, got shape %s",
                        ht_shape_text(hti_type(x).shape, text));
    return hti_swap_axes(x, -2, -1, site);
}

/* Broadcast. */

static bool broadcast_infer(ht_infer *it)
{
    ht_shape to = hti_shape_unpack(it->attributes), both;
    it->out = (ht_type){it->in[0].dtype, to};
    if (hti_broadcast_shapes(it->in[0].shape, to, &both) && ht_shape_equal(both, to))
        return true;
    char text[HT_SHAPE_TEXT];
    return ht_infer_fail(it, HT_ERROR_SHAPE, "does not broadcast to %s",
                         ht_shape_text(to, text));
}

static bool broadcast_view(const void *attributes, const ht_type *out, const ht_array *in,
                           ht_array *result)
{
    (void)attributes;
    *result = hti_broadcast_array(*in, out->shape);
    return true;
}

HTI_VJP(broadcast, hti_sum_to(r->v, ht_var_shape(r->in[0]), HT_HERE))

HTI_JVP(broadcast, ht_broadcast(r->t[0], ht_var_shape(r->out)))

static const ht_sample broadcast_samples[] = {
    {1, {HTI_X(4, 1)}, &(hti_shape_attributes){3, {2, 4, 5}}},
    {1, {HTI_X(1, 1, 1)}, &(hti_shape_attributes){3, {3, 0, 67}}},
    {1, {HTI_X(1, 67)}, &(hti_shape_attributes){3, {2, 3, 67}}},
    {1, {HTI_SCALAR}, &(hti_shape_attributes){2, {3, 2}}},
};

HTI_ROW(broadcast, broadcast_samples,
        .flags = HT_OP_LINEAR | HTI_OP_MOVES | HTI_OP_REPEATS,
        .attribute_size = sizeof(hti_shape_attributes), .infer = broadcast_infer,
        .view = broadcast_view, .run = shape_copy_run, .vjp = broadcast_vjp,
        .jvp = broadcast_jvp, .describe = shape_describe);

ht_var ht_broadcast_at(ht_var x, ht_shape shape, const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    if (!shape_valid(x, shape, "broadcast", site)) return hti_poison(x.tape);
    if (ht_shape_equal(shape, hti_type(x).shape)) return x;
    hti_shape_attributes a = hti_shape_pack(shape);
    ht_var inner = shape_inner(x, &hti_op_broadcast);
    return ht_apply(&hti_op_broadcast, 1, &inner, &a, site);
}

/* Slice and embed, along one axis.
 *
 *   slice: out[i] = x[start + i step], i < count
 *   embed: out[start + i step] = x[i], of `count` places; zeros elsewhere */

typedef struct slice_attributes {
    int64_t axis, start, count, step;
} slice_attributes;

static bool slice_fits(const slice_attributes *a, int64_t n, int64_t size)
{
    if (n == 0) return true;
    if (a->start < 0 || a->start >= size || n > size) return false;
    int64_t room = a->step > 0 ? size - 1 - a->start : a->start; /* before an end */
    int64_t most = a->step == INT64_MIN ? 0 : room / (a->step > 0 ? a->step : -a->step);
    return n - 1 <= most;
}

static bool slice_infer(ht_infer *it)
{
    const slice_attributes *a = it->attributes;
    it->out = it->in[0];
    int64_t size = it->in[0].shape.dim[a->axis];
    it->out.shape.dim[a->axis] = a->count;
    if (a->step == 0)
        return ht_infer_fail(it, HT_ERROR_ARGUMENT, "step 0: it must not be 0");
    if (a->count >= 0 && slice_fits(a, a->count, size)) return true;
    return ht_infer_fail(
        it, HT_ERROR_ARGUMENT,
        "start %lld, count %lld, step %lld leaves axis %lld of size %lld",
        (long long)a->start, (long long)a->count, (long long)a->step, (long long)a->axis,
        (long long)size);
}

/* Of fewer than two elements nothing takes the step, which may be of any size. */
static ht_array slice_array(const slice_attributes *a, ht_array whole, int64_t n)
{
    ht_array part = whole;
    part.shape.dim[a->axis] = n;
    if (n > 1) part.stride[a->axis] *= a->step;
    if (n > 0)
        part.data = hti_at(whole.data, a->start * whole.stride[a->axis] *
                                           (int64_t)ht_dtype_bytes(whole.dtype));
    return part;
}

static bool slice_view(const void *attributes, const ht_type *out, const ht_array *in,
                       ht_array *result)
{
    const slice_attributes *a = attributes;
    *result = slice_array(a, *in, out->shape.dim[a->axis]);
    return true;
}

/* Of both: the other, with as many elements as the input has. */
static void slice_vjp(ht_rule *r)
{
    const ht_op *other = hti_rule_op(r) == &hti_op_slice ? &hti_op_embed : &hti_op_slice;
    slice_attributes a = *(const slice_attributes *)r->attributes;
    a.count = ht_var_shape(r->in[0]).dim[a.axis];
    r->d[0] = ht_apply(other, 1, &r->v, &a, HT_HERE);
}

HTI_DESCRIBE(slice, slice_attributes, "axis %lld start %lld count %lld step %lld",
             (long long)a->axis, (long long)a->start, (long long)a->count,
             (long long)a->step)

static const ht_sample slice_samples[] = {
    {1, {HTI_X(6, HT_ANY_1)}, &(slice_attributes){0, 1, 3, 2}},
    {1, {HTI_X(HT_ANY_1, 7)}, &(slice_attributes){1, 6, 7, -1}},
    {1, {HTI_X(5)}, &(slice_attributes){0, 2, 0, 1}},
};

HTI_ROW(slice, slice_samples, .flags = HT_OP_LINEAR,
        .attribute_size = sizeof(slice_attributes), .infer = slice_infer,
        .view = slice_view, .run = shape_copy_run, .vjp = slice_vjp,
        .jvp = hti_linear_jvp, .describe = slice_describe);

static bool embed_infer(ht_infer *it)
{
    const slice_attributes *a = it->attributes;
    it->out = it->in[0];
    int64_t n = it->in[0].shape.dim[a->axis];
    it->out.shape.dim[a->axis] = a->count;
    if (a->count >= 0 && a->step != 0 && slice_fits(a, n, a->count)) return true;
    return ht_infer_fail(it, HT_ERROR_ARGUMENT,
                         "%lld elements do not fit into %lld places", (long long)n,
                         (long long)a->count);
}

static void embed_run(const ht_run *r)
{
    const slice_attributes *a = r->attributes;
    hti_run_fill(r->ctx, r->out, 0);
    hti_run_copy(r->ctx, slice_array(a, r->out, r->in[0]->shape.dim[a->axis]), *r->in[0]);
}

static const ht_sample embed_samples[] = {
    {1, {HTI_X(3, HT_ANY_1)}, &(slice_attributes){0, 1, 7, 2}},
    {1, {HTI_X(HT_ANY_1, 3)}, &(slice_attributes){1, 4, 5, -2}},
    {1, {HTI_X(HT_SOME_1)}, &(slice_attributes){0, 1, 70, 1}},
};

HTI_ROW(embed, embed_samples, .flags = HT_OP_LINEAR,
        .attribute_size = sizeof(slice_attributes), .infer = embed_infer,
        .run = embed_run, .vjp = slice_vjp, .jvp = hti_linear_jvp,
        .describe = slice_describe);

ht_var ht_slice_at(ht_var x, int axis, int64_t start, int64_t count, int64_t step,
                   const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    int at = hti_needs_axis(x, axis, "slice", site);
    if (at < 0) return hti_poison(x.tape);
    slice_attributes a = {at, start, count, step};
    if (start == 0 && step == 1 && count == hti_type(x).shape.dim[at]) return x;
    return ht_apply(&hti_op_slice, 1, &x, &a, site);
}

ht_var ht_pad_at(ht_var x, int axis, int64_t before, int64_t after, const char *site)
{
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    int at = hti_needs_axis(x, axis, "pad", site);
    if (at < 0) return hti_poison(x.tape);
    int64_t size = hti_type(x).shape.dim[at];
    char text[HT_SHAPE_TEXT];
    if (before > INT64_MAX / 4 || after > INT64_MAX / 4 || size > INT64_MAX / 4)
        return hti_fail(x.tape, HT_ERROR_SHAPE, site, "pad",
                        "the result would be too large: shape %s with %lld before "
                        "and %lld after",
                        ht_shape_text(hti_type(x).shape, text), (long long)before,
                        (long long)after);
    if (before < 0 || after < 0)
        return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, "pad",
                        "%lld before and %lld after shape %s: neither may be negative",
                        (long long)before, (long long)after,
                        ht_shape_text(hti_type(x).shape, text));
    slice_attributes a = {at, before, before + size + after, 1};
    if (before == 0 && after == 0) return x;
    return HTI_CALL("pad", x, ht_apply(&hti_op_embed, 1, &x, &a, site));
}

/* Concat. */

typedef struct concat_attributes {
    int64_t axis;
} concat_attributes;

static bool concat_infer(ht_infer *it)
{
    int64_t axis = ((const concat_attributes *)it->attributes)->axis;
    it->out = it->in[0];
    for (int i = 1; i < it->n_in; i++) {
        ht_shape shape = it->in[i].shape;
        int64_t size = axis < shape.rank ? shape.dim[axis] : 0;
        bool same = shape.rank == it->out.shape.rank;
        if (same) shape.dim[axis] = it->out.shape.dim[axis];
        if (!same || !ht_shape_equal(shape, it->out.shape))
            return ht_infer_fail(it, HT_ERROR_SHAPE,
                                 "shapes must agree but for axis %lld", (long long)axis);
        if (it->in[i].dtype != it->out.dtype)
            return ht_infer_fail(it, HT_ERROR_DTYPE,
                                 "element types differ\n  hint: ht_cast");
        if (size > INT64_MAX - it->out.shape.dim[axis])
            return ht_infer_fail(it, HT_ERROR_SHAPE, "the result would be too large");
        it->out.shape.dim[axis] += size;
    }
    return true;
}

static void concat_run(const ht_run *r)
{
    slice_attributes a = {((const concat_attributes *)r->attributes)->axis, 0, 0, 1};
    for (int i = 0; i < r->n_in; i++) {
        int64_t n = r->in[i]->shape.dim[a.axis];
        hti_run_copy(r->ctx, slice_array(&a, r->out, n), *r->in[i]);
        a.start += n;
    }
}

static void concat_vjp(ht_rule *r)
{
    int axis = (int)((const concat_attributes *)r->attributes)->axis;
    int64_t start = 0;
    for (int i = 0; i < r->n_in; i++) {
        int64_t n = ht_var_shape(r->in[i]).dim[axis];
        if (r->wanted[i]) r->d[i] = ht_slice(r->v, axis, start, n, 1);
        start += n;
    }
}

/* Built up by sums of embedded parts, since a rule has no memory for a list of tangents:
 * parts are disjoint, so the sums are exact. */
static ht_var concat_jvp(const ht_rule *r)
{
    int axis = (int)((const concat_attributes *)r->attributes)->axis;
    int64_t start = 0, total = ht_var_shape(r->out).dim[axis];
    ht_var out = HT_ZERO;
    for (int i = 0; i < r->n_in; i++) {
        int64_t n = ht_var_shape(r->in[i]).dim[axis];
        out = ht_add(out, ht_pad(r->t[i], axis, start, total - start - n));
        start += n;
    }
    return out;
}

HTI_DESCRIBE(concat, concat_attributes, "axis %lld", (long long)a->axis)

static const ht_sample concat_samples[] = {
    {2, {HTI_X(HT_ANY_1, HT_ANY_3), HTI_X(HT_ANY_2, HT_ANY_3)}, &(concat_attributes){0}},
    {3,
     {HTI_X(HT_SOME_1, 2), HTI_X(HT_SOME_1, 0), HTI_X(HT_SOME_1, HT_SOME_2)},
     &(concat_attributes){1}},
    {3, {HTI_X(HT_ANY_1), HTI_X(HT_ANY_2), HTI_X(1)}, &(concat_attributes){0}},
};

HTI_ROW(concat, concat_samples, .attribute_size = sizeof(concat_attributes),
        .infer = concat_infer, HTI_RULES(concat), .describe = concat_describe);

ht_var ht_concat_at(int n, const ht_var *x, int axis, const char *site)
{
    HT_ASSERT(n > 0 && x, "concat of %d variables at %p", n, (const void *)x);
    ht_var first = hti_needs(hti_tape_among(n, x), x[0], "concat", "x", 0, site);
    if (hti_check_var(first) == HTI_NONE) return first;
    int at = hti_needs_axis(first, axis, "concat", site);
    if (at < 0) return hti_poison(first.tape);
    concat_attributes a = {at};
    return n == 1 ? first : ht_apply(&hti_op_concat, n, x, &a, site);
}
