/* SPDX-License-Identifier: MIT */
/* elementwise.c: functions of one element at a time, in f64 from the formulas of
 * elementwise.def, and several of them one after another. Read next: reduce.c. */
#include "reference.h"

#define HTI_UNARY(name, dtypes, formula)     \
    static double reference_##name(double x) \
    {                                        \
        return formula;                      \
    }
#define HTI_BINARY(name, dtypes, formula)              \
    static double reference_##name(double x, double y) \
    {                                                  \
        return formula;                                \
    }
#define HTI_COMPARE(name, dtypes, formula)             \
    static double reference_##name(double x, double y) \
    {                                                  \
        return formula;                                \
    }
#include "elementwise.def"

static double (*const unary[HTI_N_UNARY])(double x) = {
#define HTI_UNARY(name, dtypes, formula) [HTI_UNARY_##name] = reference_##name,
#include "elementwise.def"
};
static double (*const binary[HTI_N_BINARY])(double x, double y) = {
#define HTI_BINARY(name, dtypes, formula) [HTI_BINARY_##name] = reference_##name,
#include "elementwise.def"
};
static double (*const compare[HTI_N_COMPARE])(double x, double y) = {
#define HTI_COMPARE(name, dtypes, formula) [HTI_COMPARE_##name] = reference_##name,
#include "elementwise.def"
};

/* A tree from its pattern, operator first, each operation rounded; *at moves past it. */
static double tree(const char **at, ht_dtype dtype, const double *in)
{
    char c = *(*at)++;
    if (c >= 'a') return in[c - 'a'];
    double x = tree(at, dtype, in), y = tree(at, dtype, in);
    hti_binary f = c == '+'   ? HTI_BINARY_add
                   : c == '-' ? HTI_BINARY_sub
                   : c == '*' ? HTI_BINARY_mul
                              : HTI_BINARY_div;
    return hti_rounded(dtype, binary[f](x, y));
}

static double weighted_hypot(double a, double x, double b, double y)
{
    return isnan(x) || isnan(y) ? NAN : hypot(sqrt(a) * x, sqrt(b) * y);
}

/* What a step makes of its inputs, all but a conversion's rounding. */
static double step_value(const hti_fused_step *s, const double *in)
{
    const char *pattern;
    switch (s->kind) {
    case HTI_LOOP_UNARY:
        return unary[s->function](in[0]);
    case HTI_LOOP_BINARY:
        return binary[s->function](in[0], in[1]);
    case HTI_LOOP_COMPARE:
        return compare[s->function](in[0], in[1]);
    case HTI_LOOP_WHERE:
        return in[0] != 0 ? in[1] : in[2];
    case HTI_LOOP_TREE:
        pattern = hti_trees[s->function].pattern;
        return *pattern ? tree(&pattern, (ht_dtype)s->from, in)
                        : weighted_hypot(in[0], in[1], in[2], in[3]);
    default:
        return in[0];
    }
}

/* i32 wraps, as two's complement does; its products may be no doubles. */
static double step_value_i32(const hti_fused_step *s, const double *in)
{
    int64_t x = (int64_t)in[0], y = (int64_t)in[1];
    bool product = s->kind == HTI_LOOP_BINARY && s->function == HTI_BINARY_mul;
    int64_t value = product ? x * y : (int64_t)step_value(s, in);
    return (int32_t)(uint32_t)value;
}

static double step_rounded(const hti_fused_step *s, const double *in)
{
    double number = 0;
    ht_array room = {.data = &number, .dtype = (ht_dtype)s->to};
    bool wraps = room.dtype == HT_I32 && s->kind != HTI_LOOP_CONVERT;
    hti_write(&room, 0, wraps ? step_value_i32(s, in) : step_value(s, in));
    return hti_read(&room, 0);
}

static void reference_elementwise(ht_context *ctx, hti_loop_kind kind, int function,
                                  const ht_array *out, int n_in,
                                  const ht_array *const *in)
{
    (void)ctx;
    const hti_fused_step step = {.kind = (uint8_t)kind,
                                 .function = (uint8_t)function,
                                 .from = (uint8_t)in[n_in - 1]->dtype,
                                 .to = (uint8_t)out->dtype};
    ht_array seen[HTI_TREE_INPUTS];
    for (int e = 0; e < n_in; e++) seen[e] = hti_broadcast_array(*in[e], out->shape);
    for (int64_t k = 0; k < hti_count(&out->shape); k++) {
        double x[HTI_TREE_INPUTS] = {0};
        for (int e = 0; e < n_in; e++) x[e] = hti_element(&seen[e], k);
        hti_put_element(out, k, step_rounded(&step, x));
    }
}

static void note_bad(int *bad, int step, double value)
{
    if (bad && step < *bad && !isfinite(value)) *bad = step;
}

/* Element k through all steps: slot[i] is what operand or step i holds there. */
static void fused_element(const hti_fused *f, const ht_array *const *operand, int64_t k,
                          hti_long_sum *sums, int *bad)
{
    double slot[HTI_FUSED_SLOTS] = {0};
    for (int i = f->n_outputs; i < f->n_operands; i++)
        slot[i] = hti_element(operand[i], k);
    for (int i = 0; i < f->n_steps; i++) {
        const hti_fused_step *s = &f->step[i];
        double in[HTI_TREE_INPUTS] = {0};
        for (int e = 0; e < s->n_in; e++) in[e] = slot[s->in[e]];
        if (s->kind == HTI_LOOP_SUM) {
            hti_add(&sums[s->out], in[0]);
            continue;
        }
        slot[s->out] = step_rounded(s, in);
        note_bad(bad, i, slot[s->out]);
    }
    for (int i = 0; i < f->n_outputs; i++) hti_put_element(operand[i], k, slot[i]);
}

static void reference_fused(ht_context *ctx, const hti_fused *f,
                            const ht_array *const *operand, int *bad)
{
    (void)ctx;
    hti_long_sum sums[HTI_FUSED_STEPS] = {{0}};
    int64_t n = hti_count(&operand[0]->shape);
    if (bad) *bad = f->n_steps;
    for (int64_t k = 0; k < n; k++) fused_element(f, operand, k, sums, bad);
    for (int i = 0; i < f->n_steps; i++) {
        const hti_fused_step *s = &f->step[i];
        if (s->kind != HTI_LOOP_SUM) continue;
        const ht_array *out = operand[f->n_operands + s->out];
        hti_write(out, 0,
                  hti_over(sums[s->out], s->function == HTI_MEAN ? (double)n : 1));
        note_bad(bad, i, hti_read(out, 0));
    }
}

static hti_loop reference_whole_loop(const ht_context *ctx, const hti_fused_step *step,
                                     int operands, const ht_array *const *operand)
{
    (void)ctx, (void)step, (void)operands, (void)operand;
    return NULL;
}

void hti_reference_elementwise(struct hti_kernels *kernels)
{
    kernels->elementwise = reference_elementwise;
    kernels->fused = reference_fused;
    kernels->whole_loop = reference_whole_loop;
}
