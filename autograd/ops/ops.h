/* SPDX-License-Identifier: MIT */
/* ops.h: what the rows share: the table, how a row is made, and functions of several
 * files. Read next: ops_elementwise.c. */
#ifndef HTI_OPS_H
#define HTI_OPS_H

#include "kernels.h"
#include "tape.h"

_Static_assert((int)HTI_MOST_ELEMENTWISE == (int)HTI_ELEMENTWISE_INPUTS,
               "what an elementwise op may take is what its loops do");

/* The op table. */

#define HT_OP_ROW(name) extern const ht_op hti_op_##name;
#include "ops.def"
#undef HT_OP_ROW

/* A built-in row: its name, an array of samples (without one, or with an empty one, it
 * does not compile), then the other fields. tests/check_tree.sh wants all made so. */
#define HTI_ROW(op, table, ...)                                                     \
    _Static_assert(sizeof(table) >= sizeof(ht_sample), #op " has no samples");      \
    const ht_op hti_op_##op = {.name = #op,                                         \
                               .n_samples = (int)(sizeof(table) / sizeof *(table)), \
                               .samples = (table),                                  \
                               __VA_ARGS__}

/* An elementwise row of one input over the loop of its name in elementwise.def, from
 * op##_slope(r, v): v times the derivative, for vjp and jvp alike. low and high bound its
 * samples; `parts` is its decompose, or NULL. The public function is aside. */
#define HTI_UNARY_ROW(op, text, more_flags, low, high, parts) \
    HTI_INNER_ROW(op, text, more_flags, low, high, parts)     \
    ht_var ht_##op##_at(ht_var x, const char *site)           \
    {                                                         \
        return ht_apply(&hti_op_##op, 1, &x, NULL, site);     \
    }
#define HTI_INNER_ROW(op, text, more_flags, low, high, parts)              \
    static void op##_vjp(ht_rule *r)                                       \
    {                                                                      \
        r->d[0] = op##_slope(r, r->v);                                     \
    }                                                                      \
    static ht_var op##_jvp(const ht_rule *r)                               \
    {                                                                      \
        return op##_slope(r, r->t[0]);                                     \
    }                                                                      \
    static const ht_sample op##_samples[] = {                              \
        {1, {{0, {2, {HT_ANY_1, HT_ANY_2}}, low, high}}, NULL},            \
        {1, {{0, {0, {0}}, low, high}}, NULL},                             \
        {1, {{0, {1, {HT_SOME_1}}, low, high}}, NULL},                     \
        {1, {{0, {3, {HT_SOME_1, HT_SOME_2, 3}}, low, high}}, NULL},       \
        {1, {{0, {3, {2, 0, 3}}, low, high}}, NULL},                       \
    };                                                                     \
    HTI_ROW(op, op##_samples, .formula = text,                             \
            .flags = HT_OP_ELEMENTWISE | (more_flags),                     \
            .loop = {HTI_LOOP_UNARY, HTI_UNARY_##op}, .run = hti_loop_run, \
            .vjp = op##_vjp, .jvp = op##_jvp, .decompose = parts);
/* The `run` of every row that names a loop in which an element is made of elements. */
void hti_loop_run(const ht_run *r);

/* Attributes other files build or read. */
typedef struct hti_shape_attributes {
    int64_t rank, dim[HT_MAX_RANK];
} hti_shape_attributes;

/* Zeros of a type, as a view of one number. */
ht_var hti_zeros(ht_tape *tape, ht_type type, const char *site);
/* The indices beside x in an op linear in x: HT_ZERO is none of them. */
static inline ht_var hti_needs_index(ht_var x, ht_var index, const char *name,
                                     const char *site)
{
    ht_tape *tape = hti_tape_among(2, (ht_var[]){x, index});
    return x.tape ? hti_needs(tape, index, name, "index", -1, site) : index;
}
/* x's axes as bits. False, with an error kept that names op, for one out of range or
 * named twice, and where x is not of floats. */
bool hti_axes_bits(ht_var x, const char *op, ht_axes axes, const char *site,
                   uint64_t *bits);
/* out, a reduction of x that kept its axes, without those. */
ht_var hti_drop_axes(ht_var out, ht_var x, uint64_t bits, const char *site);
/* The squared distance of x from its mean over the axes, summed, by divisor. */
ht_var hti_variance(ht_var x, uint64_t axes, double divisor, bool keep, const char *site);
/* p log_q, and 0 where p is 0 and log_q -inf, with derivatives 0 there: the singular
 * input is replaced, not the result, whose derivatives would be 0 * inf. */
ht_var hti_weighted_log(ht_var p, ht_var log_q, const char *site);
/* Product `side`, an hti_triangle, of ops_triangle.c. */
ht_var hti_triangle_at(int side, ht_var x, ht_var y, const char *site);

/* x + a . b, written over x where x dies: what a pass makes of the two. */
extern const ht_op hti_op_matmul_add;
/* x - s (a . b), s a number: a fast pass, which rounds otherwise. */
extern const ht_op hti_op_matmul_fold;

#endif
