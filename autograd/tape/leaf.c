/* SPDX-License-Identifier: MIT */
/* leaf.c: the two rows a tape begins with, inputs and constants. Read next:
 * ops_elementwise.c. */
#include "tape.h"

/* A row, as HTI_ROW of ops/row.h makes one, which this folder does not see. */
#define HTI_LEAF(op, table, ...)                                                    \
    const ht_op hti_op_##op = {.name = #op,                                         \
                               .n_samples = (int)(sizeof(table) / sizeof *(table)), \
                               .samples = (table),                                  \
                               __VA_ARGS__}

static bool leaf_never_infer(ht_infer *it)
{
    return ht_infer_fail(it, HT_ERROR_ARGUMENT,
                         "a leaf is made by ht_input or ht_constant");
}

static void leaf_never_run(const ht_run *r)
{
    HT_ASSERT(!r, "an input has no run");
}

static const ht_sample leaf_samples[] = {{.n_in = 0}};

HTI_LEAF(input, leaf_samples, .formula = "input", .flags = HT_OP_NO_GRADIENT,
         .infer = leaf_never_infer, .run = leaf_never_run);

/* Constant: one number, 0-d. */

static void constant_run(const ht_run *r)
{
    const hti_constant_attributes *a = r->attributes;
    ht_tensor_set(&(ht_tensor){.ctx = r->ctx, .array = r->out}, 0, a->value);
}

static void constant_describe(const void *attributes, char *text, size_t size)
{
    const hti_constant_attributes *a = attributes;
    snprintf(text, size, "%.9g", hti_printed(a->value));
}

static const ht_sample constant_samples[] = {
    {.n_in = 0, .attributes = &(hti_constant_attributes){0}},
};

HTI_LEAF(constant, constant_samples, .formula = "constant", .flags = HT_OP_NO_GRADIENT,
         .attribute_size = sizeof(hti_constant_attributes), .infer = leaf_never_infer,
         .run = constant_run, .describe = constant_describe);
