/* SPDX-License-Identifier: MIT */
/* infer.c: shape rules of several rows, the tangent of what is linear, and what public
 * functions ask of an input before there is a node. Read next: ops_elementwise.c. */
#include "ops.h"

bool hti_infer_floats(ht_infer *it)
{
    it->out = it->in[0];
    return hti_dtype_is_float(it->out.dtype) ||
           ht_infer_fail(it, HT_ERROR_DTYPE, "needs f32 or f64\n  hint: ht_cast");
}

bool hti_infer_rows(ht_infer *it)
{
    if (!hti_infer_floats(it)) return false;
    const ht_shape *shape = &it->out.shape;
    return (shape->rank > 0 && shape->dim[shape->rank - 1] > 0) ||
           ht_infer_fail(it, HT_ERROR_SHAPE, "needs a last axis of at least one element");
}

bool hti_infer_rows_alike(ht_infer *it)
{
    if (!hti_infer_rows(it)) return false;
    for (int i = 1; i < it->n_in; i++)
        if (!hti_same_type(&it->in[i], &it->out))
            return ht_infer_fail(it, hti_unlike(it->out.dtype, it->in[i].dtype),
                                 "needs inputs of one type");
    return true;
}

bool hti_infer_one_float(ht_infer *it)
{
    it->out.dtype = it->in[0].dtype;
    bool fits = hti_dtype_is_float(it->out.dtype);
    for (int i = 1; i < it->n_in; i++) fits = fits && it->in[i].dtype == it->out.dtype;
    return fits || ht_infer_fail(it, HT_ERROR_DTYPE,
                                 "needs one float type, f32 or f64\n  hint: ht_cast");
}

/* From the last input to the first: so the sum's first term is that of the first. */
ht_var hti_linear_jvp(const ht_rule *r)
{
    ht_var sum = HT_ZERO, in[HT_OP_INPUTS];
    for (int i = r->n_in; i-- > 0;) {
        if (ht_is_zero(r->t[i])) continue;
        for (int k = 0; k < r->n_in; k++) in[k] = k == i ? r->t[i] : r->in[k];
        ht_var part = ht_apply(hti_rule_op(r), r->n_in, in, r->attributes, HT_HERE);
        sum = ht_add(part, sum);
    }
    return sum;
}

ht_var hti_along(const ht_op *op, const ht_rule *r, int n, ht_var v)
{
    ht_var in[HT_OP_INPUTS];
    if (ht_is_zero(v)) return v;
    for (int i = 0; i < n; i++) in[i] = r->in[i];
    in[n] = v;
    return ht_apply(op, n + 1, in, r->attributes, HT_HERE);
}

bool hti_needs_floats(ht_var x, const char *op, const char *site)
{
    ht_type type = hti_type(x);
    char text[HT_SHAPE_TEXT];
    if (hti_dtype_is_float(type.dtype)) return true;
    hti_fail(x.tape, HT_ERROR_DTYPE, site, op,
             "needs f32 or f64, not %s %s\n  hint: ht_cast", ht_dtype_name(type.dtype),
             ht_shape_text(type.shape, text));
    return false;
}

int hti_needs_axis(ht_var x, int axis, const char *op, const char *site)
{
    ht_shape shape = hti_type(x).shape;
    int at = axis < 0 ? axis + shape.rank : axis;
    char text[HT_SHAPE_TEXT];
    if (at >= 0 && at < shape.rank) return at;
    hti_fail(x.tape, HT_ERROR_ARGUMENT, site, op, "shape %s has no axis %d",
             ht_shape_text(shape, text), axis);
    return -1;
}

bool hti_needs_beside(ht_var x, ht_var v, const char *what, const char *whose,
                      const char *op, const char *site)
{
    ht_shape both;
    char text[2][HT_SHAPE_TEXT];
    if (ht_is_zero(v) || hti_is_number(v) || hti_is_poison(x) ||
        hti_check_var(v) == HTI_NONE ||
        hti_broadcast_shapes(hti_type(x).shape, hti_type(v).shape, &both))
        return true;
    hti_fail(x.tape, HT_ERROR_SHAPE, site, op, "%s %s does not broadcast with %s %s",
             what, ht_shape_text(hti_type(v).shape, text[0]), whose,
             ht_shape_text(hti_type(x).shape, text[1]));
    return false;
}

hti_shape_attributes hti_shape_pack(ht_shape shape)
{
    hti_shape_attributes a = {.rank = shape.rank};
    for (int i = 0; i < shape.rank && i < HT_MAX_RANK; i++) a.dim[i] = shape.dim[i];
    return a;
}

ht_shape hti_shape_unpack(const hti_shape_attributes *a)
{
    ht_shape shape = {(int)a->rank, {0}};
    for (int i = 0; i < shape.rank && i < HT_MAX_RANK; i++) shape.dim[i] = a->dim[i];
    return shape;
}
