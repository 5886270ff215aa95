/* SPDX-License-Identifier: MIT */
/* kernels.c: what is said of kernels without running one, and the kinds of `elementwise`
 * by themselves. Read next: start.c. */
#include "kernels.h"

const hti_tree_row hti_trees[HTI_N_TREE] = {
#define HTI_TREE(name, pattern, formula, p, q, r, s) {pattern, {p, q, r, s}},
#include "elementwise.def"
};

hti_norm_range hti_norm_range_of(ht_dtype dtype)
{
    return dtype == HT_F32 ? (hti_norm_range){0x1p-100, 0x1p100, 0x1p64, 0x1p-64}
                           : (hti_norm_range){0x1p-900, 0x1p900, 0x1p512, 0x1p-512};
}

void hti_run_unary(ht_context *ctx, hti_unary f, ht_array out, ht_array a)
{
    hti_run_elementwise(ctx, HTI_LOOP_UNARY, (int)f, &out, 1, (const ht_array *[]){&a});
}

void hti_run_binary(ht_context *ctx, hti_binary f, ht_array out, ht_array a, ht_array b)
{
    hti_run_elementwise(ctx, HTI_LOOP_BINARY, (int)f, &out, 2,
                        (const ht_array *[]){&a, &b});
}

void hti_run_compare(ht_context *ctx, hti_compare f, ht_array out, ht_array a, ht_array b)
{
    hti_run_elementwise(ctx, HTI_LOOP_COMPARE, (int)f, &out, 2,
                        (const ht_array *[]){&a, &b});
}

void hti_run_where(ht_context *ctx, ht_array out, ht_array condition, ht_array a,
                   ht_array b)
{
    hti_run_elementwise(ctx, HTI_LOOP_WHERE, 0, &out, 3,
                        (const ht_array *[]){&condition, &a, &b});
}

void hti_run_copy(ht_context *ctx, ht_array out, ht_array a)
{
    hti_run_elementwise(ctx, HTI_LOOP_CONVERT, 0, &out, 1, (const ht_array *[]){&a});
}

void hti_run_fill(ht_context *ctx, ht_array out, double value)
{
    ht_array number = {.data = &value, .dtype = HT_F64, .shape = out.shape};
    hti_run_copy(ctx, out, number);
}
