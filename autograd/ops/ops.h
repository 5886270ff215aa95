/* SPDX-License-Identifier: MIT */
/* ops.h: what the rows share: the table, shape rules, and functions of several files.
 * Read next: row.h (how a row is made), ops_elementwise.c. */
#ifndef HTI_OPS_H
#define HTI_OPS_H

#include "kernels.h"
#include "row.h"
#include "tape.h"

_Static_assert((int)HTI_MOST_ELEMENTWISE == (int)HTI_ELEMENTWISE_INPUTS,
               "what an elementwise op may take is what its loops do");

/* The op table. */

#define HT_OP_ROW(name) extern const ht_op hti_op_##name;
#include "ops.def"
#undef HT_OP_ROW
#define HT_OP_ROW(name) HTI_LISTED_##name,
enum hti_listed {
#include "ops.def"
    HTI_N_LISTED
};
#undef HT_OP_ROW

/* Shape rules: false, and an error kept, where they do not hold. */

/* out becomes input 0's type, which has to be of floats; ... */
bool hti_infer_floats(ht_infer *it);
/* ... and have a last axis of at least one element; ... */
bool hti_infer_rows(ht_infer *it);
/* ... and so have all inputs, which are of one type. */
bool hti_infer_rows_alike(ht_infer *it);
/* All inputs are of one float type, which is out's. */
bool hti_infer_one_float(ht_infer *it);
/* Of a public function `op`: x is of floats; axis `axis` of x, from its end if negative,
 * or -1. */
bool hti_needs_floats(ht_var x, const char *op, const char *site);
int hti_needs_axis(ht_var x, int axis, const char *op, const char *site);
/* v, its `what`, broadcasts with x, which is `whose`; so does what is absent, a number or
 * poisoned. */
bool hti_needs_beside(ht_var x, ht_var v, const char *what, const char *whose,
                      const char *op, const char *site);

/* A shape among attributes, which are compared as bytes. */
typedef struct hti_shape_attributes {
    int64_t rank, dim[HT_MAX_RANK];
} hti_shape_attributes;
hti_shape_attributes hti_shape_pack(ht_shape shape);
ht_shape hti_shape_unpack(const hti_shape_attributes *a);

/* v summed down to `shape`, which broadcasts to v's. */
ht_var hti_sum_to(ht_var v, ht_shape shape, const char *site);
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
/* Input `which` has, at the flat place `bad`, an index that is none of size; none is bad
 * if that is -1. */
void hti_complain(const ht_run *r, int which, int64_t bad, int64_t size);
/* x, a batch of matrices, with its leading axes broadcast to out's. */
ht_array hti_batch_operand(const ht_array *x, ht_shape out);
/* x with axes i and j exchanged, which it has; negative ones count from the end. */
ht_var hti_swap_axes(ht_var x, int i, int j, const char *site);
/* The squared distance of x from its mean over the axes, summed, by divisor. */
ht_var hti_variance(ht_var x, uint64_t axes, double divisor, bool keep, const char *site);
/* p log_q, and 0 where p is 0 and log_q -inf, with derivatives 0 there: the singular
 * input is replaced, not the result, whose derivatives would be 0 * inf. */
ht_var hti_weighted_log(ht_var p, ht_var log_q, const char *site);
/* Product `side`, an hti_triangle, of ops_triangle.c. */
ht_var hti_triangle_at(int side, ht_var x, ht_var y, const char *site);

#endif
