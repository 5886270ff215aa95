/* SPDX-License-Identifier: MIT */
/* kernels.c: what is said of kernels without running one, what an index has to be, and
 * the kinds of `elementwise` by themselves. Read next: start.c. */
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

/* The usual case, without a division for each element: all are right. */
static bool index_all_inside(const ht_array *index, int64_t count, int64_t n)
{
    const int32_t *k = index->data;
    uint32_t last = (uint32_t)(n > INT32_MAX ? INT32_MAX : n - 1), signs = 0;
    if (!hti_is_contiguous(index)) return false;
    /* last - k is negative where k is larger. */
    for (int64_t i = 0; i < count; ++i) signs |= (uint32_t)k[i] | (last - (uint32_t)k[i]);
    return signs <= INT32_MAX;
}

int64_t hti_first_outside(const ht_array *index, int64_t n)
{
    int64_t count = ht_shape_count(index->shape);
    HT_ASSERT(index->dtype == HT_I32, "index of dtype %s", ht_dtype_name(index->dtype));
    if (index_all_inside(index, count, n)) return -1;
    for (int64_t i = 0; i < count; ++i) {
        int64_t k = (int64_t)hti_element(index, i);
        if (k < 0 || k >= n) return i;
    }
    return -1;
}

void hti_run_binary(ht_context *ctx, hti_binary f, ht_array out, ht_array a, ht_array b)
{
    hti_kernel(ctx, elementwise, HTI_LOOP_BINARY, (int)f, &out, 2,
               (const ht_array *[]){&a, &b});
}

void hti_run_copy(ht_context *ctx, ht_array out, ht_array a)
{
    hti_kernel(ctx, elementwise, HTI_LOOP_CONVERT, 0, &out, 1, (const ht_array *[]){&a});
}

void hti_run_fill(ht_context *ctx, ht_array out, double value)
{
    ht_array number = {.data = &value, .dtype = HT_F64, .shape = out.shape};
    hti_run_copy(ctx, out, number);
}
