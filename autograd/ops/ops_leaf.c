/* SPDX-License-Identifier: MIT */
/* ops_leaf.c: what computes nothing: copies, conversion and stop-gradient. Read next:
 * ops_elementwise.c. */
#include "ops.h"

/* Copy: what a program writes an output with that no instruction makes. */

static bool copy_infer(ht_infer *it)
{
    it->out = it->in[0];
    return true;
}

static void copy_run(const ht_run *r)
{
    if (r->out.data != r->in[0]->data) hti_run_copy(r->ctx, r->out, *r->in[0]);
}

HTI_SLOPE(copy, v)
HTI_SLOPE_RULES(copy, copy_slope)

static const ht_sample copy_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_ANY_2)}, NULL},
    {1, {HTI_SCALAR}, NULL},
};

HTI_ROW(copy, copy_samples, .flags = HT_OP_LINEAR, .infer = copy_infer, HTI_RULES(copy));

/* Cast. */

typedef struct cast_attributes {
    int64_t dtype;
} cast_attributes;

static bool cast_infer(ht_infer *it)
{
    const cast_attributes *a = it->attributes;
    it->out = (ht_type){(ht_dtype)a->dtype, it->in[0].shape};
    return true;
}

static void cast_run(const ht_run *r)
{
    int64_t at = hti_unheld(r->out.dtype, r->in[0]);
    if (at >= 0) {
        hti_fail_unheld(r->ctx, r->site, "cast", r->out.dtype, hti_element(r->in[0], at),
                        at);
        return;
    }
    hti_run_copy(r->ctx, r->out, *r->in[0]);
}

static void cast_vjp(ht_rule *r)
{
    ht_dtype dtype = ht_var_dtype(r->in[0]);
    if (hti_dtype_is_float(dtype) && hti_dtype_is_float(ht_var_dtype(r->out)))
        r->d[0] = ht_cast(r->v, dtype);
}

static ht_var cast_jvp(const ht_rule *r)
{
    ht_dtype dtype = ht_var_dtype(r->out);
    return hti_dtype_is_float(dtype) ? ht_cast(r->t[0], dtype) : HT_ZERO;
}

HTI_DESCRIBE(cast, cast_attributes, "%s", ht_dtype_name((ht_dtype)a->dtype))

static const ht_sample cast_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_ANY_2)}, &(cast_attributes){HT_F64}},
    {1, {HTI_X(HT_SOME_1)}, &(cast_attributes){HT_F64}},
    {1, {HTI_SCALAR}, &(cast_attributes){HT_F64}},
};

HTI_ROW(cast, cast_samples, .flags = HT_OP_LINEAR | HTI_OP_CONVERTS,
        .attribute_size = sizeof(cast_attributes), .infer = cast_infer,
        .loop = {HTI_LOOP_CONVERT, 0}, HTI_RULES(cast), .describe = cast_describe);

ht_var ht_cast_at(ht_var x, ht_dtype dtype, const char *site)
{
    HT_ASSERT(hti_dtype_is_valid(dtype), "cast: dtype %d", (int)dtype);
    if (ht_is_zero(x) || hti_check_var(x) == HTI_NONE) return x;
    double value;
    if (hti_type(x).dtype == dtype && !x.tape->weak[x.index]) return x;
    ht_shape shape = hti_type(x).shape;
    if (hti_dtype_is_float(dtype) && x.tape->weak[x.index] && hti_is_constant(x, &value))
        return ht_broadcast_at(hti_constant(x.tape, value, dtype, false, site), shape,
                               site);
    cast_attributes a = {dtype};
    return ht_apply(&hti_op_cast, 1, &x, &a, site);
}

/* Stop_gradient. */

static bool stop_view(const void *attributes, const ht_type *out, const ht_array *in,
                      ht_array *result)
{
    (void)attributes, (void)out;
    *result = *in;
    return true;
}

static const ht_sample stop_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_ANY_2)}, NULL},
};

HTI_ROW(stop_gradient, stop_samples, .flags = HT_OP_NO_GRADIENT | HT_OP_STOPS,
        .infer = copy_infer, .view = stop_view, .run = copy_run);

HTI_AT_1(stop_gradient)
