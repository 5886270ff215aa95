/* SPDX-License-Identifier: MIT */
/* row.h: how a row is made, and what rows of a kind say alike: both rules of one slope, a
 * listing's text, samples, the public function. Read next: ops_elementwise.c. */
#ifndef HTI_ROW_H
#define HTI_ROW_H

#include "tape.h"

/* A built-in row: its name, which is in ops.def, an array of samples (without one, or
 * with an empty one, it does not compile), then the other fields. tests/check_tree.sh
 * wants all made so. */
#define HTI_ROW(op, table, ...)                                                     \
    _Static_assert(HTI_LISTED_##op >= 0, #op " is not in ops.def");                 \
    _Static_assert(sizeof(table) >= sizeof(ht_sample), #op " has no samples");      \
    const ht_op hti_op_##op = {.name = #op,                                         \
                               .n_samples = (int)(sizeof(table) / sizeof *(table)), \
                               .samples = (table),                                  \
                               __VA_ARGS__}

/* An elementwise row of one input over the loop of its name in elementwise.def, from
 * op##_slope(r, v): v times the derivative, for vjp and jvp alike. low and high bound its
 * samples. The public function is aside. */
#define HTI_UNARY_ROW(op, text, more_flags, low, high) \
    HTI_INNER_ROW(op, text, more_flags, low, high)     \
    HTI_AT_1(op)
#define HTI_INNER_ROW(op, text, more_flags, low, high)                     \
    HTI_SLOPE_RULES(op, op##_slope)                                        \
    static const ht_sample op##_samples[] = {                              \
        {1, {{0, {2, {HT_ANY_1, HT_ANY_2}}, low, high}}, NULL},            \
        {1, {{0, {0, {0}}, low, high}}, NULL},                             \
        {1, {{0, {1, {HT_SOME_1}}, low, high}}, NULL},                     \
        {1, {{0, {3, {HT_SOME_1, HT_SOME_2, 3}}, low, high}}, NULL},       \
        {1, {{0, {3, {2, 0, 3}}, low, high}}, NULL},                       \
    };                                                                     \
    HTI_ROW(op, op##_samples, .formula = text,                             \
            .flags = HT_OP_ELEMENTWISE | HTI_OP_SAME | (more_flags),       \
            .loop = {HTI_LOOP_UNARY, HTI_UNARY_##op}, .run = hti_loop_run, \
            .vjp = op##_vjp, .jvp = op##_jvp);
/* The `run` of every row that names a loop in which an element is made of elements. */
void hti_loop_run(const ht_run *r);

/* What an elementwise row is made of, if it can be said in a line: op##_slope, v times
 * the derivative at x, where the value is y; op##_decompose, the value out of other ops.
 */
#define HTI_SLOPE(op, value)                             \
    static ht_var op##_slope(const ht_rule *r, ht_var v) \
    {                                                    \
        ht_var x = r->in[0], y = r->out;                 \
        (void)x, (void)y;                                \
        return value;                                    \
    }

/* Both rules from slope(r, v), v times the derivative: of a row of one input whose
 * Jacobian is its own transpose. */
#define HTI_SLOPE_RULES(op, slope)           \
    static void op##_vjp(ht_rule *r)         \
    {                                        \
        r->d[0] = slope(r, r->v);            \
    }                                        \
    static ht_var op##_jvp(const ht_rule *r) \
    {                                        \
        return slope(r, r->t[0]);            \
    }

/* A rule that is said in a line: of the cotangent v of one input's row, of tangents t. */
#define HTI_VJP(op, value)           \
    static void op##_vjp(ht_rule *r) \
    {                                \
        r->d[0] = value;             \
    }
#define HTI_JVP(op, value)                   \
    static ht_var op##_jvp(const ht_rule *r) \
    {                                        \
        return value;                        \
    }

/* The tangent of a row linear in each of its inputs: the sum of the row with each one's
 * tangent in its place. */
ht_var hti_linear_jvp(const ht_rule *r);

/* op of the first n inputs of r's row, and v, with its attributes; HT_ZERO if v is. */
ht_var hti_along(const ht_op *op, const ht_rule *r, int n, ht_var v);

/* Both rules of a row slope(x, v) = J v, J its own transpose, whose derivative by x along
 * t is the row bend(x, v, t), its own transpose too. */
#define HTI_SYMMETRIC_RULES(slope, bend)                                    \
    static void slope##_vjp(ht_rule *r)                                     \
    {                                                                       \
        if (r->wanted[0]) r->d[0] = hti_along(&hti_op_##bend, r, 2, r->v);  \
        if (r->wanted[1]) r->d[1] = hti_along(&hti_op_##slope, r, 1, r->v); \
    }                                                                       \
    static ht_var slope##_jvp(const ht_rule *r)                             \
    {                                                                       \
        return ht_add(hti_along(&hti_op_##slope, r, 1, r->t[1]),            \
                      hti_along(&hti_op_##bend, r, 2, r->t[0]));            \
    }

/* op(x), of a row that has no public function. */
static inline ht_var hti_inner(const ht_op *op, ht_var x)
{
    return ht_apply(op, 1, &x, NULL, HT_HERE);
}

/* The row r is a rule of. */
static inline const ht_op *hti_rule_op(const ht_rule *r)
{
    return r->out.tape->op[r->out.index];
}

/* A row's `run`, one call of a kernel: a are its attributes, r what there is to run. */
#define HTI_RUN(op, attributes_type, call)        \
    static void op##_run(const ht_run *r)         \
    {                                             \
        const attributes_type *a = r->attributes; \
        (void)a;                                  \
        call;                                     \
    }

/* The functions of row `op`, by their names; of one that is linear. */
#define HTI_RULES(op)        .run = op##_run, .vjp = op##_vjp, .jvp = op##_jvp
#define HTI_LINEAR_RULES(op) .run = op##_run, .vjp = op##_vjp, .jvp = hti_linear_jvp

/* A row's `describe`: a format, then what it prints of the attributes a. */
#define HTI_DESCRIBE(op, attributes_type, ...)                                 \
    static void op##_describe(const void *attributes, char *text, size_t size) \
    {                                                                          \
        const attributes_type *a = attributes;                                 \
        snprintf(text, size, __VA_ARGS__);                                     \
    }

/* The public function of a row of one or two inputs without attributes. */
#define HTI_AT_1(op)                                      \
    ht_var ht_##op##_at(ht_var x, const char *site)       \
    {                                                     \
        return ht_apply(&hti_op_##op, 1, &x, NULL, site); \
    }
#define HTI_AT_2(op)                                                    \
    ht_var ht_##op##_at(ht_var a, ht_var b, const char *site)           \
    {                                                                   \
        return ht_apply(&hti_op_##op, 2, (ht_var[]){a, b}, NULL, site); \
    }

/* Inputs of samples: floats of a shape in (low, high), (-2, 2) where nothing is said;
 * indices up to the largest. */
#define HTI_SIZES(...) \
    .shape = {(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}}
#define HTI_X_IN(low, high, ...)             \
    {                                        \
        0, HTI_SIZES(__VA_ARGS__), low, high \
    }
#define HTI_X(...) HTI_X_IN(-2, 2, __VA_ARGS__)
#define HTI_SCALAR         \
    {                      \
        0, {0, {0}}, -2, 2 \
    }
#define HTI_INDEX(largest, ...)                    \
    {                                              \
        HT_I32, HTI_SIZES(__VA_ARGS__), 0, largest \
    }

#endif
