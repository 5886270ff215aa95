/* SPDX-License-Identifier: MIT */
/* ops_project.c: rows projected to sets by their sums, with derivatives that are constant
 * between kinks; and, out of other ops, projections and shrinking by norms. Read next:
 * tensor/reference/project.c. */
#include <float.h>
#include <math.h>

#include "ops.h"

typedef struct project_attributes {
    int64_t set; /* hti_projection */
} project_attributes;

static const char *const project_names[] = {"project_simplex", "project_capped",
                                            "project_l1"};

/* x (..., n) and radius (..., 1). */
static bool project_infer(ht_infer *it)
{
    const project_attributes *a = it->attributes;
    if (!hti_infer_floats(it)) return false;
    ht_shape column = it->out.shape;
    if (column.rank == 0 || (a->set == HTI_SIMPLEX && column.dim[column.rank - 1] == 0))
        return ht_infer_fail(it, HT_ERROR_SHAPE, "needs a last axis%s",
                             column.rank ? " of at least one element" : "");
    column.dim[column.rank - 1] = 1;
    if (it->in[1].dtype != it->out.dtype)
        return ht_infer_fail(it, HT_ERROR_DTYPE,
                             "element types differ\n  hint: ht_cast one of them");
    return ht_shape_equal(it->in[1].shape, column) ||
           ht_infer_fail(it, HT_ERROR_SHAPE, "needs one radius a row, in (..., 1)");
}

static bool project_slopes_infer(ht_infer *it)
{
    if (!project_infer(it)) return false;
    it->out.shape.dim[it->out.shape.rank - 1] *= 2;
    return true;
}

static size_t project_workspace(const ht_context *ctx, const ht_type *in,
                                const ht_type *out, const void *attributes)
{
    (void)ctx, (void)out, (void)attributes;
    return (size_t)in[0].shape.dim[in[0].shape.rank - 1] * sizeof(double);
}

HTI_RUN(project, project_attributes,
        hti_kernel(r->ctx, project, (hti_projection)a->set, false, r->out, *r->in[0],
                   *r->in[1], r->workspace))
HTI_RUN(project_slopes, project_attributes,
        hti_kernel(r->ctx, project, (hti_projection)a->set, true, r->out, *r->in[0],
                   *r->in[1], r->workspace))

/* s and g of kernels.h, as constants. */
static ht_var project_part(const ht_rule *r, int part)
{
    ht_var both = ht_apply(&hti_op_project_slopes, 2, r->in, r->attributes, HT_HERE);
    ht_shape shape = ht_var_shape(r->in[0]);
    int64_t n = shape.dim[shape.rank - 1];
    return ht_slice(both, -1, part * n, n, 1);
}

static ht_var project_total(ht_var v)
{
    return ht_sum_axes(v, HT_AXES(-1), true);
}

/* s (s v - g.v), its own transpose: g is s over a number, or s is 0. */
static ht_var project_along(const ht_rule *r, ht_var v)
{
    if (ht_is_zero(v)) return v;
    ht_var s = project_part(r, 0), g = project_part(r, 1);
    return ht_mul(s, ht_sub(ht_mul(s, v), project_total(ht_mul(g, v))));
}

static void project_vjp(ht_rule *r)
{
    if (r->wanted[0]) r->d[0] = project_along(r, r->v);
    if (r->wanted[1]) r->d[1] = project_total(ht_mul(project_part(r, 1), r->v));
}

static ht_var project_jvp(const ht_rule *r)
{
    ht_var by_radius =
        ht_is_zero(r->t[1]) ? HT_ZERO : ht_mul(project_part(r, 1), r->t[1]);
    return ht_add(project_along(r, r->t[0]), by_radius);
}

HTI_DESCRIBE(project, project_attributes, "%s",
             project_names[a->set] + strlen("project_"))

/* Where no kink is near: all move, one does, none does, or all do freely. */
#define PROJECT_SAMPLE(set, n, low, high, least, most)                               \
    {                                                                                \
        2, {HTI_X_IN(low, high, HT_SOME_1, n), HTI_X_IN(least, most, HT_SOME_1, 1)}, \
            &(project_attributes)                                                    \
        {                                                                            \
            set                                                                      \
        }                                                                            \
    }
static const ht_sample project_samples[] = {
    PROJECT_SAMPLE(HTI_SIMPLEX, 3, 0, 1, 3, 4),
    PROJECT_SAMPLE(HTI_CAPPED, 2, 0.5, 1, 0.5, 0.9),
    PROJECT_SAMPLE(HTI_CAPPED, 3, 0.1, 0.9, 4, 5),
    PROJECT_SAMPLE(HTI_CAPPED, 3, 2, 3, 4, 5),
    PROJECT_SAMPLE(HTI_CAPPED, 3, -3, -1, 1, 2),
    PROJECT_SAMPLE(HTI_L1_BALL, 2, 1, 2, 1.5, 1.9),
    PROJECT_SAMPLE(HTI_L1_BALL, 2, -2, -1, 1.5, 1.9),
    PROJECT_SAMPLE(HTI_L1_BALL, 3, -0.3, 0.3, 1, 2),
    {2, {HTI_X(2, 3), HTI_X_IN(0.05, 0.1, 2, 1)}, &(project_attributes){HTI_SIMPLEX}},
    {2, {HTI_X_IN(1, 5, 3), HTI_X_IN(0.05, 0.1, 1)}, &(project_attributes){HTI_L1_BALL}},
    {2, {HTI_X(2, 0), HTI_X_IN(0.05, 0.1, 2, 1)}, &(project_attributes){HTI_CAPPED}},
    {2, {HTI_X(0, 3), HTI_X_IN(0.05, 0.1, 0, 1)}, &(project_attributes){HTI_SIMPLEX}},
};

HTI_ROW(project, project_samples, .attribute_size = sizeof(project_attributes),
        .infer = project_infer, HTI_RULES(project), .workspace = project_workspace,
        .describe = project_describe);
HTI_ROW(project_slopes, project_samples, .flags = HT_OP_NO_GRADIENT,
        .attribute_size = sizeof(project_attributes), .infer = project_slopes_infer,
        .run = project_slopes_run, .workspace = project_workspace,
        .describe = project_describe);

/* The public forms. */

/* x, poison after an error; its bound, which is called `what`, a variable or a number of
 * at least 0. */
static ht_var project_open(ht_var x, ht_var *bound, const char *what, double most,
                           const char *name, const char *site)
{
    double value = 0;
    ht_tape *tape = hti_tape_among(2, (ht_var[]){x, *bound});
    *bound = hti_takes(tape, *bound, name, what, site);
    x = hti_needs(tape, x, name, "x", -1, site);
    if (hti_is_zero(*bound)) *bound = ht_number(0);
    if (hti_is_poison(x) || hti_is_poison(*bound)) return hti_poison(tape);
    if (!hti_needs_floats(x, name, site)) return hti_poison(tape);
    bool known = hti_is_constant(*bound, &value);
    if (hti_type(x).dtype == HT_F32) value = (double)(float)value;
    if (known && !(value >= 0 && value <= most))
        return hti_fail(tape, HT_ERROR_ARGUMENT, site, name, "needs %s >= 0%s, got %g",
                        what, isinf(most) ? "" : " and finite", value);
    return x;
}

/* The shape of one bound a row of x, leading axes broadcast; false, with an error kept,
 * where x has no rows or there is more than one. */
static bool project_column(ht_var x, ht_var bound, const char *what, const char *name,
                           const char *site, ht_shape *column)
{
    char text[2][HT_SHAPE_TEXT];
    ht_shape shape = hti_type(x).shape, one = HT_SCALAR;
    if (!hti_is_number(bound)) one = hti_type(bound).shape;
    *column = shape;
    if (shape.rank > 0) column->dim[shape.rank - 1] = 1;
    if (shape.rank > 0 && hti_broadcast_shapes(*column, one, column) &&
        column->dim[column->rank - 1] == 1)
        return true;
    hti_fail(x.tape, HT_ERROR_SHAPE, site, name,
             "x %s has rows, its last axis, and %s %s one number a row: () or (..., 1)",
             ht_shape_text(shape, text[0]), what, ht_shape_text(one, text[1]));
    return false;
}

/* A bound as a variable of x's dtype and of that shape. */
static ht_var project_bound(ht_var x, ht_var bound, ht_shape column, const char *site)
{
    ht_dtype dtype = hti_type(x).dtype;
    double value;
    bool constant = hti_is_constant(bound, &value);
    if (constant && (hti_is_number(bound) || hti_is_weak(bound)))
        bound = hti_constant(x.tape, value, dtype, false, site);
    else if (hti_is_weak(bound))
        bound = ht_cast_at(bound, dtype, site);
    return ht_broadcast_at(bound, column, site);
}

static ht_var project_rows(hti_projection set, ht_var x, ht_var radius, const char *site)
{
    project_attributes a = {set};
    ht_shape column, rows;
    if (hti_is_poison(x)) return x;
    if (!project_column(x, radius, "radius", project_names[set], site, &column))
        return hti_poison(x.tape);
    ht_shape shape = hti_type(x).shape;
    rows = column;
    rows.dim[rows.rank - 1] = shape.dim[shape.rank - 1];
    ht_var in[] = {ht_broadcast_at(x, rows, site),
                   project_bound(x, radius, column, site)};
    return ht_apply(&hti_op_project, 2, in, &a, site);
}

#define PROJECT_AT(name, set, most)                                    \
    ht_var ht_##name##_at(ht_var x, ht_var radius, const char *site)   \
    {                                                                  \
        x = project_open(x, &radius, "radius", most, #name, site);     \
        return HTI_CALL(#name, x, project_rows(set, x, radius, site)); \
    }
PROJECT_AT(project_simplex, HTI_SIMPLEX, DBL_MAX)
PROJECT_AT(project_capped, HTI_CAPPED, (double)INFINITY)
PROJECT_AT(project_l1, HTI_L1_BALL, (double)INFINITY)

/* Out of other ops. */

/* A bound that is below 0 makes what it bounds NaN. */
static ht_var project_valid(ht_var bound, const char *site)
{
    double value;
    if (hti_is_constant(bound, &value)) return bound;
    return ht_where_at(ht_greater_equal_at(bound, ht_number(0), site), bound,
                       ht_number((double)NAN), site);
}

/* The norms of rows, NaN where they are not finite. */
static ht_var project_norm(ht_var x, const char *site)
{
    double most = hti_type(x).dtype == HT_F32 ? (double)FLT_MAX : DBL_MAX;
    ht_var norm = ht_norm_axes_at(x, HT_AXES(-1), true, site);
    return ht_where_at(ht_greater_at(norm, ht_number(most), site), ht_number((double)NAN),
                       norm, site);
}

/* x R / |x| where |x| > R, beyond the rounding of what that makes. */
static ht_var project_l2(ht_var x, ht_var radius, const char *site)
{
    ht_shape column;
    if (hti_is_poison(x)) return x;
    if (!project_column(x, radius, "radius", "project_l2", site, &column))
        return hti_poison(x.tape);
    double u = hti_type(x).dtype == HT_F32 ? (double)FLT_EPSILON : DBL_EPSILON;
    ht_var norm = project_norm(x, site);
    radius = project_valid(project_bound(x, radius, column, site), site);
    ht_var inside =
        ht_greater_equal_at(ht_mul_at(radius, ht_number(1 + 4 * u), site), norm, site);
    ht_var scale = ht_div_at(radius, ht_where_at(inside, ht_number(1), norm, site), site);
    return ht_mul_at(x, ht_where_at(inside, ht_number(1), scale, site), site);
}

ht_var ht_project_l2_at(ht_var x, ht_var radius, const char *site)
{
    x = project_open(x, &radius, "radius", (double)INFINITY, "project_l2", site);
    return HTI_CALL("project_l2", x, project_l2(x, radius, site));
}

/* max(x - t, 0) - max(-x - t, 0) */
static ht_var project_soft(ht_var x, ht_var t, const char *site)
{
    if (hti_is_poison(x) || !hti_needs_beside(x, t, "t", "x", "soft_threshold", site))
        return hti_poison(x.tape);
    t = project_valid(t, site);
    ht_var above = ht_relu_at(ht_sub_at(x, t, site), site);
    ht_var below = ht_relu_at(ht_sub_at(ht_neg_at(x, site), t, site), site);
    return ht_sub_at(above, below, site);
}

ht_var ht_soft_threshold_at(ht_var x, ht_var t, const char *site)
{
    x = project_open(x, &t, "t", (double)INFINITY, "soft_threshold", site);
    return HTI_CALL("soft_threshold", x, project_soft(x, t, site));
}

/* x max(|x| - t, 0) / |x| */
static ht_var project_group_soft(ht_var x, ht_var t, const char *site)
{
    ht_shape column;
    if (hti_is_poison(x)) return x;
    if (!project_column(x, t, "t", "group_soft_threshold", site, &column))
        return hti_poison(x.tape);
    ht_var norm = project_norm(x, site);
    t = project_valid(project_bound(x, t, column, site), site);
    ht_var rest = ht_relu_at(ht_sub_at(norm, t, site), site);
    ht_var none = ht_equal_at(norm, ht_number(0), site);
    ht_var divisor = ht_where_at(none, ht_number(1), norm, site);
    return ht_mul_at(x, ht_div_at(rest, divisor, site), site);
}

ht_var ht_group_soft_threshold_at(ht_var x, ht_var t, const char *site)
{
    x = project_open(x, &t, "t", (double)INFINITY, "group_soft_threshold", site);
    return HTI_CALL("group_soft_threshold", x, project_group_soft(x, t, site));
}
