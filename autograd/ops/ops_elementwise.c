/* SPDX-License-Identifier: MIT */
/* ops_elementwise.c: maths, compare and select. An elementwise Jacobian is diagonal,
 * hence its own transpose: one function per input serves vjp and jvp. Broadcasting is the
 * driver's: it sums cotangents down and widens tangents. Read next: derive.c. */
#include "ops.h"

void hti_loop_run(const ht_run *r)
{
    hti_kernel(r->ctx, elementwise, (hti_loop_kind)r->op->loop.kind, r->op->loop.function,
               &r->out, r->n_in, r->in);
}

/* Where x > 0: a, elsewhere b. */
static ht_var elementwise_positive(ht_var x, ht_var a, ht_var b)
{
    return ht_where(ht_greater(x, 0.0), a, b);
}

static bool elementwise_is(ht_var x, double value)
{
    double is;
    return hti_is_constant(x, &is) && is == value;
}

/* The op of x's node; NULL: x is none. */
static inline const ht_op *elementwise_op(ht_var x)
{
    return x.tape && !hti_is_number(x) && x.index < x.tape->n ? x.tape->op[x.index]
                                                              : NULL;
}

/* Whether x may be one number everywhere: most are not, and only look. */
static inline bool elementwise_may_fold(ht_var x)
{
    const ht_op *op = elementwise_op(x);
    return op ? op == &hti_op_constant || op->flags & HTI_OP_REPEATS : hti_is_number(x);
}

/* The type of an op of constants a and b, of floats or (dtype 0) weak; false: the row has
 * something to say of them. */
static bool elementwise_fold_type(ht_tape *tape, ht_var a, ht_var b, ht_type *type)
{
    *type = (ht_type){0, HT_SCALAR};
    for (int i = 0; i < 2; i++) {
        ht_var x = i ? b : a;
        if (hti_is_number(x)) continue;
        ht_type is = hti_type(x);
        if (x.tape != tape || !hti_broadcast_shapes(type->shape, is.shape, &type->shape))
            return false;
        if (hti_is_weak(x)) continue;
        if (type->dtype && type->dtype != is.dtype) return false;
        type->dtype = is.dtype;
    }
    return !type->dtype || hti_dtype_is_float(type->dtype);
}

/* Of f32 numbers too, once rounded: a double has more than twice their digits, so that
 * rounding twice is rounding once (Figueroa 1995). */
static double elementwise_number(const ht_op *op, double a, double b)
{
    return op == &hti_op_add   ? a + b
           : op == &hti_op_sub ? a - b
           : op == &hti_op_mul ? a * b
           : op == &hti_op_div ? a / b
                               : -b;
}

/* One of these ops, of constants, as the constant its loop would make of them, to the
 * bit. HT_ZERO: they are not, or the op may be made wrong on purpose. */
static ht_var elementwise_fold(const ht_op *op, ht_var a, ht_var b, const char *site)
{
    double x, y;
    ht_type type;
    if (!hti_is_constant(a, &x) || !hti_is_constant(b, &y)) return HT_ZERO;
    if (hti_is_number(a) && hti_is_number(b)) return HT_ZERO;
    ht_tape *tape = hti_is_number(a) ? b.tape : a.tape;
    if (tape->ctx->status != HT_OK || (tape->hook && tape->hook->emitting) ||
        !elementwise_fold_type(tape, a, b, &type))
        return HT_ZERO;
    bool weak = !type.dtype, f32 = type.dtype == HT_F32;
    double out = f32 ? (float)elementwise_number(op, (double)(float)x, (double)(float)y)
                     : elementwise_number(op, x, y);
    ht_var number = hti_constant(tape, out, weak ? HT_F64 : type.dtype, weak, site);
    return ht_broadcast_at(number, type.shape, site);
}

/* One input: slope(r, v) is v times the derivative. */

HTI_SLOPE(neg, ht_neg(v))
HTI_SLOPE(exp, ht_mul(v, y))
HTI_SLOPE(log, ht_div(v, x))

/* 1/(2 sqrt x), and 0 at 0. The inner select keeps the branch not taken finite, so that
 * its own derivative is not 0 * inf. */
static ht_var sqrt_slope(const ht_rule *r, ht_var v)
{
    ht_var zero = ht_equal(r->in[0], 0.0);
    ht_var half = ht_div(0.5, ht_where(zero, 1.0, r->out));
    return ht_mul(v, ht_where(zero, 0.0, half));
}

/* Not 1 - out^2 and out (1 - out), which have no digits left where out is near 1. */
HTI_SLOPE(tanh, ht_mul(v, hti_inner(&hti_op_tanh_slope, x)))
HTI_SLOPE(sigmoid, ht_mul(v, hti_inner(&hti_op_sigmoid_slope, x)))
HTI_SLOPE(tanh_slope, ht_mul(v, ht_mul(ht_mul(y, ht_tanh(x)), -2.0)))

/* tanh(x / 2), not 2 s - 1, which would cancel around 0. */
HTI_SLOPE(sigmoid_slope, ht_mul(v, ht_mul(y, ht_tanh(ht_mul(x, -0.5)))))

/* The result is positive where x is, and kept for other reasons: x need not be. */
HTI_SLOPE(relu, elementwise_positive(y, v, HT_ZERO))

static ht_var abs_slope(const ht_rule *r, ht_var v)
{
    ht_var below = elementwise_positive(ht_neg(r->in[0]), ht_neg(v), HT_ZERO);
    return elementwise_positive(r->in[0], v, below);
}

HTI_INNER_ROW(neg, "-$0", HT_OP_LINEAR, -2, 2)
HTI_UNARY_ROW(exp, NULL, 0, -2, 2)
HTI_UNARY_ROW(log, NULL, 0, 0.3, 3)
HTI_UNARY_ROW(sqrt, NULL, 0, 0.3, 3)
HTI_UNARY_ROW(tanh, NULL, 0, -2, 2)
HTI_UNARY_ROW(sigmoid, NULL, 0, -3, 3)
HTI_INNER_ROW(tanh_slope, NULL, 0, -2, 2)
HTI_INNER_ROW(sigmoid_slope, NULL, 0, -3, 3)
HTI_UNARY_ROW(relu, NULL, 0, -2, 2)
HTI_UNARY_ROW(abs, "|$0|", 0, -2, 2)

ht_var ht_neg_at(ht_var x, const char *site)
{
    ht_var number = HT_ZERO;
    if (elementwise_may_fold(x)) number = elementwise_fold(&hti_op_neg, x, x, site);
    return hti_is_zero(number) ? ht_apply(&hti_op_neg, 1, &x, NULL, site) : number;
}

ht_var ht_square_at(ht_var x, const char *site)
{
    return HTI_CALL("square", x, ht_mul_at(x, x, site));
}

/* Two inputs: a's and b's part of v; y is the result. */

#define SLOPE_OF(name, value)                          \
    static ht_var name(const ht_rule *r, ht_var v)     \
    {                                                  \
        ht_var a = r->in[0], b = r->in[1], y = r->out; \
        (void)a, (void)b, (void)y;                     \
        return value;                                  \
    }

SLOPE_OF(add_slope_a, v)
#define add_slope_b add_slope_a
#define sub_slope_a add_slope_a
#define sub_slope_b neg_slope

SLOPE_OF(mul_slope_a, ht_mul(v, b))
SLOPE_OF(mul_slope_b, ht_mul(v, a))
SLOPE_OF(div_slope_a, ht_div(v, b))
SLOPE_OF(div_slope_b, ht_neg(ht_div(ht_mul(v, y), b)))

/* b a^(b-1); as b a^b / a where b = 0, since 0 times a^-2, which that has in its own
 * derivative, may be 0 times infinity. Only 0^0 is singular: it is seen as 1^0, so that
 * b = 0 elsewhere keeps its mixed derivative 1/a. A constant b needs no select. */
static ht_var pow_slope_a(const ht_rule *r, ht_var v)
{
    ht_var a = r->in[0], b = r->in[1];
    double number;
    if (hti_is_constant(b, &number)) {
        if (number == 0) return HT_ZERO;
        return ht_mul(v, ht_mul(b, ht_pow(a, ht_sub(b, 1.0))));
    }
    ht_var none = ht_equal(b, 0.0), other = ht_where(none, 1.0, a);
    ht_var base = ht_where(none, ht_where(ht_equal(a, 0.0), 1.0, a), 1.0);
    ht_var flat = ht_div(ht_mul(b, ht_pow(base, b)), base);
    ht_var slope = ht_mul(b, ht_pow(other, ht_sub(b, 1.0)));
    return ht_mul(v, ht_where(none, flat, slope));
}

/* a^b log a, and 0 where a is not positive. */
static ht_var pow_slope_b(const ht_rule *r, ht_var v)
{
    ht_var positive = ht_greater(r->in[0], 0.0);
    ht_var log_a = ht_log(ht_where(positive, r->in[0], 1.0));
    return ht_mul(v, ht_where(positive, ht_mul(r->out, log_a), 0.0));
}

/* v to the winner; half of it at a tie. */
static ht_var elementwise_winner(ht_var winner, ht_var loser, ht_var v)
{
    ht_var tie = ht_where(ht_equal(winner, loser), ht_mul(v, 0.5), HT_ZERO);
    return ht_where(ht_greater(winner, loser), v, tie);
}

SLOPE_OF(maximum_slope_a, elementwise_winner(a, b, v))
SLOPE_OF(maximum_slope_b, elementwise_winner(b, a, v))
SLOPE_OF(minimum_slope_a, elementwise_winner(ht_neg(a), ht_neg(b), v))
SLOPE_OF(minimum_slope_b, elementwise_winner(ht_neg(b), ht_neg(a), v))

/* i32 too, where the maths is exact. */
static bool arithmetic_infer(ht_infer *it)
{
    bool integers = it->in[0].dtype == HT_I32 && it->in[1].dtype == HT_I32;
    if (it->in[0].dtype != it->in[1].dtype)
        return ht_infer_fail(it, HT_ERROR_DTYPE,
                             "element types differ\n  hint: ht_cast one of them");
    if (!integers && !hti_dtype_is_float(it->in[0].dtype))
        return ht_infer_fail(it, HT_ERROR_DTYPE,
                             "needs f32, f64 or i32\n  hint: ht_cast");
    return hti_infer_broadcast(it);
}

/* Shapes come in parentheses: (rank, {sizes}). */
#define BINARY_SHAPE(rank, ...) .shape = {rank, __VA_ARGS__}
#define BINARY_SAMPLE(low, high, a, b)                                            \
    {                                                                             \
        2, {{0, BINARY_SHAPE a, low, high}, {0, BINARY_SHAPE b, low, high}}, NULL \
    }

#define BINARY_ROW(op, text, more_flags, infer_fn, low, high)                           \
    static void op##_vjp(ht_rule *r)                                                    \
    {                                                                                   \
        if (r->wanted[0]) r->d[0] = op##_slope_a(r, r->v);                              \
        if (r->wanted[1]) r->d[1] = op##_slope_b(r, r->v);                              \
    }                                                                                   \
    static ht_var op##_jvp(const ht_rule *r)                                            \
    {                                                                                   \
        ht_var a = hti_is_zero(r->t[0]) ? HT_ZERO : op##_slope_a(r, r->t[0]);           \
        ht_var b = hti_is_zero(r->t[1]) ? HT_ZERO : op##_slope_b(r, r->t[1]);           \
        return ht_add(a, b);                                                            \
    }                                                                                   \
    static const ht_sample op##_samples[] = {                                           \
        BINARY_SAMPLE(low, high, (2, {HT_ANY_1, HT_ANY_2}), (2, {HT_ANY_1, HT_ANY_2})), \
        BINARY_SAMPLE(low, high, (2, {HT_SOME_1, HT_SOME_2}), (1, {HT_SOME_2})),        \
        BINARY_SAMPLE(low, high, (2, {HT_ANY_1, 1}), (3, {HT_ANY_2, 1, HT_ANY_3})),     \
        BINARY_SAMPLE(low, high, (0, {0}), (2, {HT_SOME_1, HT_SOME_2})),                \
        BINARY_SAMPLE(low, high, (1, {HT_SOME_1}), (0, {0})),                           \
        BINARY_SAMPLE(low, high, (2, {0, 3}), (1, {3})),                                \
    };                                                                                  \
    HTI_ROW(op, op##_samples, .formula = text,                                          \
            .flags = HT_OP_ELEMENTWISE | HTI_OP_SAME | (more_flags), .infer = infer_fn, \
            .loop = {HTI_LOOP_BINARY, HTI_BINARY_##op}, .run = hti_loop_run,            \
            .vjp = op##_vjp, .jvp = op##_jvp);

BINARY_ROW(add, "$0 + $1", HT_OP_COMMUTATIVE, arithmetic_infer, -2, 2)
BINARY_ROW(sub, "$0 - $1", 0, arithmetic_infer, -2, 2)
BINARY_ROW(mul, "$0 * $1", HT_OP_COMMUTATIVE | HT_OP_LINEAR, arithmetic_infer, -2, 2)
BINARY_ROW(div, "$0 / $1", 0, NULL, 0.4, 2)
BINARY_ROW(pow, "$0 ^ $1", 0, NULL, 0.4, 2)
BINARY_ROW(maximum, NULL, HT_OP_COMMUTATIVE, arithmetic_infer, -2, 2)
BINARY_ROW(minimum, NULL, HT_OP_COMMUTATIVE, arithmetic_infer, -2, 2)

/* x if `one` is the number 1 (times anything, exact), seen with the product's shape;
 * HT_ZERO if it is not. */
static ht_var mul_by_one(ht_var x, ht_var one, const char *site)
{
    if (!elementwise_is(one, 1) || hti_is_number(x) || hti_is_zero(x)) return HT_ZERO;
    if (hti_check_named(x, "mul", site) == HTI_NONE ||
        !hti_dtype_is_float(hti_type(x).dtype))
        return HT_ZERO;
    if (hti_is_number(one)) return x;
    ht_shape shape;
    bool same = hti_type(one).dtype == hti_type(x).dtype && !x.tape->weak[x.index];
    if (!(same || one.tape->weak[one.index]) ||
        !hti_broadcast_shapes(hti_type(x).shape, hti_type(one).shape, &shape))
        return HT_ZERO;
    return ht_broadcast_at(x, shape, site);
}

/* Of one or two numbers: what need not be computed. HT_ZERO: all of it. */
static ht_var elementwise_short(const ht_op *op, ht_var a, ht_var b, const char *site)
{
    bool mul = op == &hti_op_mul, pow = op == &hti_op_pow;
    ht_var x = HT_ZERO;
    if (mul || pow || op == &hti_op_div) x = mul_by_one(a, b, site);
    if (mul && hti_is_zero(x)) x = mul_by_one(b, a, site);
    if (!pow && hti_is_zero(x)) x = elementwise_fold(op, a, b, site);
    return x;
}

static inline ht_var elementwise_apply(const ht_op *op, ht_var a, ht_var b,
                                       const char *site)
{
    bool look = elementwise_may_fold(a) || elementwise_may_fold(b);
    ht_var x = look ? elementwise_short(op, a, b, site) : HT_ZERO;
    return hti_is_zero(x) ? ht_apply(op, 2, (ht_var[]){a, b}, NULL, site) : x;
}

/* base + scatter_add(zeros, index, v) is scatter_add(base, index, v): a per-step gradient
 * joins its sum without a dense array of zeros. HT_ZERO if x, a scatter_add, is no such
 * thing. */
static ht_var add_scattered(ht_var base, ht_var x, const char *site)
{
    if (!hti_is_live(x) || !hti_is_live(base) || base.tape != x.tape) return HT_ZERO;
    ht_tape *tape = x.tape;
    uint32_t i = x.index;
    const uint32_t *in = tape->edge + tape->first_in[i];
    if (!elementwise_is(hti_var(tape, in[0]), 0)) return HT_ZERO;
    ht_type type = hti_type(base), sum = tape->type[i];
    if (type.dtype != sum.dtype || !ht_shape_equal(type.shape, sum.shape)) return HT_ZERO;
    return ht_scatter_add_at(base, hti_var(tape, in[1]), hti_var(tape, in[2]), site);
}

ht_var ht_add_at(ht_var a, ht_var b, const char *site)
{
    if (hti_is_zero(a)) return b;
    if (hti_is_zero(b)) return a;
    ht_var sum = HT_ZERO;
    if (elementwise_op(b) == &hti_op_scatter_add) sum = add_scattered(a, b, site);
    if (elementwise_op(a) == &hti_op_scatter_add && hti_is_zero(sum))
        sum = add_scattered(b, a, site);
    return hti_is_zero(sum) ? elementwise_apply(&hti_op_add, a, b, site) : sum;
}

ht_var ht_sub_at(ht_var a, ht_var b, const char *site)
{
    if (hti_is_zero(b)) return a;
    if (hti_is_zero(a) && hti_is_number(b)) return ht_number(-hti_number_value(b));
    if (hti_is_zero(a)) return HTI_CALL("sub", b, ht_neg_at(b, site));
    return elementwise_apply(&hti_op_sub, a, b, site);
}

ht_var ht_mul_at(ht_var a, ht_var b, const char *site)
{
    if (hti_is_zero(a) || hti_is_zero(b)) return HT_ZERO;
    return elementwise_apply(&hti_op_mul, a, b, site);
}

ht_var ht_div_at(ht_var a, ht_var b, const char *site)
{
    return hti_is_zero(a) ? a : elementwise_apply(&hti_op_div, a, b, site);
}

ht_var ht_pow_at(ht_var a, ht_var b, const char *site)
{
    return elementwise_apply(&hti_op_pow, a, b, site);
}

HTI_AT_2(maximum)

HTI_AT_2(minimum)

/* Compare: u8, no gradient. */

static bool compare_infer(ht_infer *it)
{
    if (it->in[0].dtype != it->in[1].dtype)
        return ht_infer_fail(it, HT_ERROR_DTYPE,
                             "element types differ\n  hint: ht_cast one of them");
    if (!hti_infer_broadcast(it)) return false;
    it->out.dtype = HT_U8;
    return true;
}

static const ht_sample compare_samples[] = {
    {2, {{0, {2, {HT_ANY_1, HT_ANY_2}}, -1, 1}, {0, {1, {HT_ANY_2}}, -1, 1}}, NULL},
    {2, {{0, {0, {0}}, -1, 1}, {0, {0, {0}}, -1, 1}}, NULL},
    {2, {HTI_INDEX(3, HT_SOME_1, HT_SOME_2), HTI_INDEX(3, HT_SOME_1, 1)}, NULL},
};

#define COMPARE_ROW(op, text, more_flags)                                         \
    HTI_ROW(op, compare_samples, .formula = text,                                 \
            .flags = HT_OP_ELEMENTWISE | HT_OP_NO_GRADIENT | (more_flags),        \
            .infer = compare_infer, .loop = {HTI_LOOP_COMPARE, HTI_COMPARE_##op}, \
            .run = hti_loop_run);                                                 \
    HTI_AT_2(op)

COMPARE_ROW(equal, "$0 == $1", HT_OP_COMMUTATIVE)
COMPARE_ROW(greater, "$0 > $1", 0)
COMPARE_ROW(greater_equal, "$0 >= $1", 0)

/* Where. */

static bool where_infer(ht_infer *it)
{
    if (it->in[0].dtype != HT_U8)
        return ht_infer_fail(
            it, HT_ERROR_DTYPE,
            "the condition must be u8, as ht_greater and its like make it");
    if (it->in[1].dtype != it->in[2].dtype)
        return ht_infer_fail(
            it, HT_ERROR_DTYPE,
            "the branches' element types differ\n  hint: ht_cast one of them");
    if (!hti_infer_broadcast(it)) return false;
    it->out.dtype = it->in[1].dtype;
    return true;
}

static void where_vjp(ht_rule *r)
{
    if (r->wanted[1]) r->d[1] = ht_where(r->in[0], r->v, HT_ZERO);
    if (r->wanted[2]) r->d[2] = ht_where(r->in[0], HT_ZERO, r->v);
}

HTI_JVP(where, ht_where(r->in[0], r->t[1], r->t[2]))

#define WHERE_IF(...)                       \
    {                                       \
        HT_U8, HTI_SIZES(__VA_ARGS__), 0, 1 \
    }
static const ht_sample where_samples[] = {
    {3,
     {WHERE_IF(HT_ANY_1, HT_ANY_2), HTI_X(HT_ANY_1, HT_ANY_2), HTI_X(HT_ANY_1, HT_ANY_2)},
     NULL},
    {3, {WHERE_IF(HT_SOME_1, 1), HTI_SCALAR, HTI_X(HT_SOME_2)}, NULL},
    {3, {{HT_U8, {0, {0}}, 0, 1}, HTI_X(HT_SOME_1), HTI_X(HT_SOME_2, 1)}, NULL},
};

HTI_ROW(where, where_samples, .formula = "$0 ? $1 : $2",
        .flags = HT_OP_ELEMENTWISE | HTI_OP_CHOOSES, .infer = where_infer,
        .loop = {HTI_LOOP_WHERE, 0}, .run = hti_loop_run, .vjp = where_vjp,
        .jvp = where_jvp);

ht_var ht_where_at(ht_var condition, ht_var a, ht_var b, const char *site)
{
    if (hti_is_zero(a) && hti_is_zero(b)) return HT_ZERO;
    if (hti_is_zero(a)) a = ht_number(0);
    if (hti_is_zero(b)) b = ht_number(0);
    return ht_apply(&hti_op_where, 3, (ht_var[]){condition, a, b}, NULL, site);
}
