/* SPDX-License-Identifier: MIT */
/* template.c: a row to copy. ht_roll(x, by) moves the last axis round by `by` places:
 * y[..., (i + by) mod n] = x[..., i]. Its tests compile it and let ht_op_check at it, but
 * it is no op of the library. Read next: README.md, "Add an op". */
#include "ops.h"

/* 8 bytes each: attributes are compared as bytes, so there must be no padding. */
typedef struct roll_attributes {
    int64_t by;
} roll_attributes;

/* What ops.def does for a row that is in it, and ht_ops.h for its function. */
enum { HTI_LISTED_roll };
extern const ht_op hti_op_roll;
ht_var ht_roll_at(ht_var x, int64_t by, const char *site);
#define ht_roll(x, by) ht_roll_at(x, by, HT_HERE)

/* The output's type. Shared rules are in infer.c; refuse with what was expected. */
static bool roll_infer(ht_infer *it)
{
    return hti_infer_rows(it);
}

/* Places first .. first + n - 1 of the last axis. */
static ht_array roll_part(ht_array whole, int64_t first, int64_t n)
{
    int last = whole.shape.rank - 1;
    int64_t bytes = (int64_t)ht_dtype_bytes(whole.dtype);
    whole.data = hti_at(whole.data, first * whole.stride[last] * bytes);
    whole.shape.dim[last] = n;
    return whole;
}

/* Calls of kernels.h, of inputs of any strides, of zero size too. */
static void roll_run(const ht_run *r)
{
    const roll_attributes *a = r->attributes;
    ht_array x = *r->in[0];
    int64_t n = x.shape.dim[x.shape.rank - 1], by = (a->by % n + n) % n;
    hti_run_copy(r->ctx, roll_part(r->out, by, n - by), roll_part(x, 0, n - by));
    hti_run_copy(r->ctx, roll_part(r->out, 0, by), roll_part(x, n - by, by));
}

/* Rules append nodes, by calling ops: the transpose rolls back. */
static void roll_vjp(ht_rule *r)
{
    const roll_attributes *a = r->attributes;
    r->d[0] = ht_roll(r->v, -a->by);
}

/* For listings: "roll(%3) by 2". */
HTI_DESCRIBE(roll, roll_attributes, "by %lld", (long long)a->by)

/* What ht_op_check draws its cases from: types, shapes, ranges, attributes. */
static const ht_sample roll_samples[] = {
    {1, {HTI_X(HT_ANY_1, HT_SOME_1)}, &(roll_attributes){2}},
    {1, {HTI_X(HT_SOME_1)}, &(roll_attributes){-1}},
    {1, {HTI_X(2, HT_SOME_1, 3)}, &(roll_attributes){0}},
};

HTI_ROW(roll, roll_samples, .flags = HT_OP_LINEAR,
        .attribute_size = sizeof(roll_attributes), .infer = roll_infer,
        HTI_LINEAR_RULES(roll), .describe = roll_describe);

/* The public function. What is absent stays so, and there may be nothing to do. */
ht_var ht_roll_at(ht_var x, int64_t by, const char *site)
{
    roll_attributes a = {by};
    return by == 0 ? x : ht_apply(&hti_op_roll, 1, &x, &a, site);
}
