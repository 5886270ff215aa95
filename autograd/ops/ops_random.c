/* SPDX-License-Identifier: MIT */
/* ops_random.c: uniform, normal and dropout masks. The seed and the stream are
 * attributes, fixed when the node is appended; the step is an input. So a value depends
 * on nothing but its node and the step: not on order, policy, threads, or being computed
 * again. Read next: tensor/random.c. */
#include "ops.h"

typedef struct random_attributes {
    uint64_t seed, stream;
    int64_t dtype;
    double rate;
    hti_shape_attributes shape;
} random_attributes;

static bool random_infer(ht_infer *it)
{
    const random_attributes *a = it->attributes;
    ht_shape shape = hti_shape_unpack(&a->shape);
    it->out = (ht_type){(ht_dtype)a->dtype, shape};
    if (it->in[0].dtype != HT_I32)
        return ht_infer_fail(it, HT_ERROR_DTYPE, "the step must be i32, got %s",
                             ht_dtype_name(it->in[0].dtype));
    if (!hti_dtype_is_float(it->out.dtype))
        return ht_infer_fail(it, HT_ERROR_DTYPE, "makes f32 or f64, not %s",
                             ht_dtype_name(it->out.dtype));
    if (it->in[0].shape.rank != 0)
        return ht_infer_fail(it, HT_ERROR_SHAPE, "needs a 0-d step\n  hint: ht_step");
    int64_t count = ht_shape_count(shape);
    char text[HT_SHAPE_TEXT];
    if (count < 0 || count > UINT32_MAX)
        return ht_infer_fail(it, HT_ERROR_SHAPE,
                             "makes 0 to 2^32 - 1 elements a step, not shape %s",
                             ht_shape_text(shape, text));
    if (!(a->rate >= 0 && a->rate < 1))
        return ht_infer_fail(it, HT_ERROR_ARGUMENT, "needs 0 <= rate < 1, the rate is %g",
                             a->rate);
    return true;
}

static void random_describe(const void *attributes, char *text, size_t size)
{
    const random_attributes *a = attributes;
    int used = snprintf(text, size, "stream %llu", (unsigned long long)a->stream);
    if (a->rate > 0 && used > 0 && (size_t)used < size)
        snprintf(text + used, size - (size_t)used, ", rate %g", a->rate);
}

static const ht_sample random_samples[] = {
    {1, {{HT_I32, {0, {0}}, 0, 9}}, &(random_attributes){3, 5, HT_F64, 0, {2, {3, 7}}}},
    {1, {{HT_I32, {0, {0}}, 0, 9}}, &(random_attributes){3, 5, HT_F32, 0.5, {1, {67}}}},
    {1, {{HT_I32, {0, {0}}, 0, 9}}, &(random_attributes){3, 5, HT_F64, 0.25, {0, {0}}}},
    {1, {{HT_I32, {0, {0}}, 0, 9}}, &(random_attributes){3, 5, HT_F64, 0, {2, {0, 3}}}},
};

#define RANDOM_ROW(op, draw)                                                    \
    HTI_RUN(op, random_attributes,                                              \
            hti_kernel(r->ctx, random, draw, r->out, a->seed, a->stream,        \
                       *(const int32_t *)r->in[0]->data, a->rate))              \
    HTI_ROW(op, random_samples, .flags = HT_OP_NO_GRADIENT,                     \
            .attribute_size = sizeof(random_attributes), .infer = random_infer, \
            .run = op##_run, .describe = random_describe);
RANDOM_ROW(uniform, HTI_UNIFORM)
RANDOM_ROW(normal, HTI_NORMAL)
RANDOM_ROW(dropout_mask, HTI_DROPOUT)

static ht_var random_apply(const ht_op *op, ht_var step, ht_type type, uint64_t stream,
                           double rate, const char *site)
{
    if (hti_check_named(step, op->name, site) == HTI_NONE) return step;
    random_attributes a = {step.tape->ctx->options.seed, stream, type.dtype, rate,
                           hti_shape_pack(type.shape)};
    return ht_apply(op, 1, &step, &a, site);
}

ht_var ht_uniform_at(ht_var step, ht_type type, uint64_t stream, const char *site)
{
    return random_apply(&hti_op_uniform, step, type, stream, 0, site);
}

ht_var ht_normal_at(ht_var step, ht_type type, uint64_t stream, const char *site)
{
    return random_apply(&hti_op_normal, step, type, stream, 0, site);
}

ht_var ht_dropout_mask_at(ht_var step, ht_type type, double rate, uint64_t stream,
                          const char *site)
{
    return random_apply(&hti_op_dropout_mask, step, type, stream, rate, site);
}

ht_var ht_dropout_at(ht_var x, double rate, uint64_t stream, ht_var step,
                     const char *site)
{
    if (ht_is_zero(x)) return x;
    ht_tape *tape = hti_tape_among(2, (ht_var[]){x, step});
    x = hti_needs(tape, x, "dropout", "x", -1, site);
    if (hti_check_var(x) == HTI_NONE || rate == 0) return x;
    step = hti_needs(tape, step, "dropout", "step", -1, site);
    ht_type type = hti_type(x);
    return HTI_CALL(
        "dropout", x,
        ht_mul_at(x, ht_dropout_mask_at(step, type, rate, stream, site), site));
}
