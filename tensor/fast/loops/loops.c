/* SPDX-License-Identifier: MIT */
/* loops.c: every loop of the library, in plain C that the compiler turns into vector
 * code.
 *
 * The build compiles this file once per instruction set, with HTI_ISA its name, and links
 * all the copies: only the table at the end has a name outside. No step may depend on the
 * width of a vector, so the copies agree bit for bit; sums therefore run over a fixed
 * number of lanes. Read next: loops_math.h, loops_reduce.h, loops_rows.h. */
#include "loops.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "loops_math.h"
#include "loops_wide.h"

/* An output may be the same memory as an input, element for element: the loops carry
 * nothing from one iteration to the next, which the compiler cannot know. */
#if defined(__GNUC__) && !defined(__clang__)
#define LOOP_INDEPENDENT _Pragma("GCC ivdep")
#else
#define LOOP_INDEPENDENT
#endif

#define LOOP_ADD(x, y) ((x) + (y))
/* NaN wins: from x by the test, from y because it compares false. */
#define LOOP_MAX(x, y) ((((x) > (y)) | ((x) != (x))) ? (x) : (y))
#define LOOP_MIN(x, y) ((((x) < (y)) | ((x) != (x))) ? (x) : (y))

#define LOOP_ROOT(x) _Generic((x), float : sqrtf, double : sqrt)(x)
/* sqrt(x^2 + y^2), NaN if either is: both scaled by a power of two, one of four that the
 * first two bits of the larger exponent choose, and back. Squares then neither overflow
 * nor lose what counts, and each power's inverse is a normal number. */
#define HYPOT(s, T, BITS_T, BITS, FLOAT, bias, mantissa)                                \
    static inline T loop_hypot_##s(T x, T y)                                            \
    {                                                                                   \
        const BITS_T first = (BITS_T)3 << (sizeof(T) * 8 - 3);                          \
        const BITS_T low = (BITS_T)((bias)-3 * ((bias) + 1) / 4) << (mantissa);         \
        const BITS_T high = (BITS_T)((bias) + 3 * ((bias) + 1) / 4) << (mantissa);      \
        T a = FLOAT(BITS(x) & first), b = FLOAT(BITS(y) & first), most = a > b ? a : b; \
        T down = FLOAT(high - BITS(most));                                              \
        x *= down;                                                                      \
        y *= down;                                                                      \
        return FLOAT(low + BITS(most)) * LOOP_ROOT(x * x + y * y);                      \
    }
HYPOT(f32, float, uint32_t, math_bits, math_float, 127, 23)
HYPOT(f64, double, uint64_t, wide_bits, wide_double, 1023, 52)
#define LOOP_HYPOT(x, y) \
    _Generic((x), float : loop_hypot_f32, double : loop_hypot_f64)(x, y)

#define UNARY(name, suffix, T, expression)                                          \
    static void loop_##name##_##suffix(int64_t n, void *out, const void *const *in) \
    {                                                                               \
        const T *a = in[0];                                                         \
        T *o = out;                                                                 \
        LOOP_INDEPENDENT for (int64_t i = 0; i < n; ++i)                            \
        {                                                                           \
            T x = a[i];                                                             \
            o[i] = expression;                                                      \
        }                                                                           \
    }

/* With two inputs and more there is a loop for each set of them that are one number, as
 * bits, which stays in a register; the last part of the loop's name. */
#define LOOP_FIRST(numbers, bit, a)   ((numbers) >> (bit)&1 ? *(a) : 0)
#define LOOP_AT(numbers, bit, a, one) ((numbers) >> (bit)&1 ? (one) : (a)[i])

#define BINARY_BY(name, suffix, T, R, expression, k)                \
    static void loop_##name##_##suffix##_##k(int64_t n, void *out,  \
                                             const void *const *in) \
    {                                                               \
        const T *a = in[0], *b = in[1];                             \
        const T x1 = LOOP_FIRST(k, 0, a), y1 = LOOP_FIRST(k, 1, b); \
        R *o = out;                                                 \
        LOOP_INDEPENDENT for (int64_t i = 0; i < n; ++i)            \
        {                                                           \
            T x = LOOP_AT(k, 0, a, x1), y = LOOP_AT(k, 1, b, y1);   \
            o[i] = expression;                                      \
        }                                                           \
    }
#define BINARY(name, suffix, T, R, expression)   \
    BINARY_BY(name, suffix, T, R, expression, 0) \
    BINARY_BY(name, suffix, T, R, expression, 1) \
    BINARY_BY(name, suffix, T, R, expression, 2)

/* A tree: which inputs there are its formula says. */
#define IN(e) (numbers >> (e)&1 ? one##e : in##e[i])
#define TREE_IN(T, e)       \
    const T *in##e = in[e]; \
    const T one##e = numbers >> (e)&1 ? *in##e : 0;
#define TREE_BY(name, suffix, T, expression, k)                              \
    static void loop_##name##_##suffix##_##k(int64_t n, void *out,           \
                                             const void *const *in)          \
    {                                                                        \
        enum { numbers = k };                                                \
        TREE_IN(T, 0)                                                        \
        TREE_IN(T, 1)                                                        \
        TREE_IN(T, 2) TREE_IN(T, 3) TREE_IN(T, 4) TREE_IN(T, 5) T *o = out;  \
        (void)in3, (void)in4, (void)in5, (void)one3, (void)one4, (void)one5; \
        LOOP_INDEPENDENT for (int64_t i = 0; i < n; ++i) o[i] = expression;  \
    }
#define HTI_TREE(name, pattern, formula, p, q, r, s) \
    TREE_BY(name, f32, float, formula, p)            \
    TREE_BY(name, f32, float, formula, q)            \
    TREE_BY(name, f32, float, formula, r)            \
    TREE_BY(name, f32, float, formula, s)            \
    TREE_BY(name, f64, double, formula, p)           \
    TREE_BY(name, f64, double, formula, q)           \
    TREE_BY(name, f64, double, formula, r)           \
    TREE_BY(name, f64, double, formula, s)
#include "elementwise.def"
#undef IN

#define FLOAT_LOOPS(s, T, EXP, LOG, TANH, SIGMOID, SQRT, ABS, POW) \
    UNARY(neg, s, T, -x)                                           \
    UNARY(exp, s, T, EXP(x))                                       \
    UNARY(log, s, T, LOG(x))                                       \
    UNARY(sqrt, s, T, SQRT(x))                                     \
    UNARY(tanh, s, T, TANH(x))                                     \
    UNARY(sigmoid, s, T, SIGMOID(x))                               \
    UNARY(relu, s, T, x <= 0 ? 0 : x)                              \
    UNARY(abs, s, T, ABS(x))                                       \
    BINARY(add, s, T, T, x + y)                                    \
    BINARY(sub, s, T, T, x - y)                                    \
    BINARY(mul, s, T, T, (x) * (y))                                \
    BINARY(div, s, T, T, x / y)                                    \
    BINARY(pow, s, T, T, POW(x, y))                                \
    BINARY(maximum, s, T, T, LOOP_MAX(x, y))                       \
    BINARY(minimum, s, T, T, LOOP_MIN(x, y))

FLOAT_LOOPS(f32, float, math_exp, math_log, math_tanh, math_sigmoid, sqrtf, fabsf, powf)
FLOAT_LOOPS(f64, double, exp, log, tanh, math_sigmoid_f64, sqrt, fabs, pow)

UNARY(log1p, f32, float, (float)wide_log1p((double)x))
UNARY(expm1, f32, float, (float)wide_expm1((double)x))
UNARY(rsqrt, f32, float, (float)(1.0 / sqrt((double)x)))
UNARY(erf, f32, float, (float)wide_erf((double)x))
UNARY(softplus, f32, float, (float)wide_softplus((double)x))
#define UNARY_MATH(name)                          \
    UNARY(name, f32, float, math_##name##_f32(x)) \
    UNARY(name, f64, double, math_##name##_f64(x))
UNARY_MATH(gelu)
UNARY_MATH(gelu_slope)
UNARY_MATH(density)
UNARY_MATH(sigmoid_slope)
UNARY_MATH(tanh_slope)
UNARY_MATH(silu)
UNARY_MATH(silu_slope)
UNARY_MATH(gelu_tanh)
UNARY_MATH(gelu_tanh_slope)
UNARY_MATH(erf_slope)
UNARY(log1p, f64, double, log1p(x))
UNARY(expm1, f64, double, expm1(x))
UNARY(rsqrt, f64, double, 1.0 / sqrt(x))
UNARY(sin, f64, double, sin(x))
UNARY(cos, f64, double, cos(x))
UNARY(erf, f64, double, erf(x))
UNARY(softplus, f64, double, (x < 0 ? 0 : x) + log1p(exp(-fabs(x))))

/* Runs that hold no large argument take the branch-free path; in the others each element
 * chooses, with the same bits for the small ones. */
#define ANGLE(name)                                                            \
    static void loop_##name##_f32(int64_t n, void *out, const void *const *in) \
    {                                                                          \
        const float *a = in[0];                                                \
        float *o = out;                                                        \
        for (int64_t j = 0; j < n; j += HTI_TILE) {                            \
            int64_t end = n - j < HTI_TILE ? n : j + HTI_TILE;                 \
            int large = 0;                                                     \
            for (int64_t i = j; i < end; ++i)                                  \
                large |= !(fabsf(a[i]) <= WIDE_MOST_ANGLE);                    \
            if (!large)                                                        \
                LOOP_INDEPENDENT for (int64_t i = j; i < end; ++i) o[i] =      \
                    (float)wide_##name((double)a[i]);                          \
            else                                                               \
                for (int64_t i = j; i < end; ++i)                              \
                    o[i] = (float)(fabsf(a[i]) <= WIDE_MOST_ANGLE              \
                                       ? wide_##name((double)a[i])             \
                                       : name((double)a[i]));                  \
        }                                                                      \
    }
ANGLE(sin)
ANGLE(cos)

/* Integers wrap, as two's complement does. */
#define WRAP(expression) ((int32_t)(expression))
UNARY(neg, i32, int32_t, WRAP(0u - (uint32_t)x))
UNARY(abs, i32, int32_t, x < 0 ? WRAP(0u - (uint32_t)x) : x)
BINARY(add, i32, int32_t, int32_t, WRAP((uint32_t)x + (uint32_t)y))
BINARY(sub, i32, int32_t, int32_t, WRAP((uint32_t)x - (uint32_t)y))
BINARY(mul, i32, int32_t, int32_t, WRAP((uint32_t)(x) * (uint32_t)(y)))
BINARY(maximum, i32, int32_t, int32_t, x > y ? x : y)
BINARY(minimum, i32, int32_t, int32_t, x < y ? x : y)

#define WHERE_BY(s, T, k)                                                         \
    static void loop_where_##s##_##k(int64_t n, void *out, const void *const *in) \
    {                                                                             \
        const uint8_t *condition = in[0];                                         \
        const T *a = in[1], *b = in[2];                                           \
        const T x1 = LOOP_FIRST(k, 1, a), y1 = LOOP_FIRST(k, 2, b);               \
        T *o = out;                                                               \
        LOOP_INDEPENDENT for (int64_t i = 0; i < n; ++i)                          \
        {                                                                         \
            T x = LOOP_AT(k, 1, a, x1), y = LOOP_AT(k, 2, b, y1);                 \
            o[i] = condition[i] ? x : y;                                          \
        }                                                                         \
    }
#define WHERE(s, T) WHERE_BY(s, T, 0) WHERE_BY(s, T, 2) WHERE_BY(s, T, 4)

/* A repeated column is written as whole groups of 16 while they fit: the next rows write
 * over what was too much, and rows of ten cost one store. */
#define PACK(s, T)                                                                   \
    static int64_t loop_repeat_##s(int64_t rows, int64_t columns, T *o, const T *a,  \
                                   int64_t stride)                                   \
    {                                                                                \
        int64_t r = 0, groups = (columns + 15) / 16 * 16;                            \
        for (; r * columns + groups <= rows * columns; ++r) {                        \
            const T x = a[r * stride];                                               \
            T *row = o + r * columns;                                                \
            for (int64_t c = 0; c < groups; c += 16)                                 \
                for (int k = 0; k < 16; ++k) row[c + k] = x;                         \
        }                                                                            \
        return r;                                                                    \
    }                                                                                \
                                                                                     \
    static void loop_pack_##s(int64_t rows, int64_t columns, void *out,              \
                              const void *from, const int64_t stride[2])             \
    {                                                                                \
        const T *a = from;                                                           \
        T *o = out;                                                                  \
        int64_t r = stride[1] ? 0 : loop_repeat_##s(rows, columns, o, a, stride[0]); \
        for (; r < rows; ++r) {                                                      \
            const T *row = a + r * stride[0];                                        \
            if (stride[1] == 1)                                                      \
                for (int64_t c = 0; c < columns; ++c) o[r * columns + c] = row[c];   \
            else                                                                     \
                for (int64_t c = 0; c < columns; ++c)                                \
                    o[r * columns + c] = row[c * stride[1]];                         \
        }                                                                            \
    }                                                                                \
                                                                                     \
    static void loop_unpack_##s(int64_t rows, int64_t columns, void *out,            \
                                const int64_t stride[2], const void *from)           \
    {                                                                                \
        const T *a = from;                                                           \
        T *o = out;                                                                  \
        for (int64_t r = 0; r < rows; ++r)                                           \
            for (int64_t c = 0; c < columns; ++c)                                    \
                o[r * stride[0] + c * stride[1]] = a[r * columns + c];               \
    }

#define LOOP_PACK(T)                  \
    _Generic((T){0}, float            \
             : loop_pack_f32, double  \
             : loop_pack_f64, int32_t \
             : loop_pack_i32)

#define COMPARE(s, T)                     \
    BINARY(equal, s, T, uint8_t, x == y)  \
    BINARY(greater, s, T, uint8_t, x > y) \
    BINARY(greater_equal, s, T, uint8_t, x >= y)

/* The first largest; a NaN is larger than any number. */
#define ARGMAX(s, T)                                                        \
    static void loop_argmax_##s(const hti_rows *w, int64_t rows, void *out, \
                                const void *const *in)                      \
    {                                                                       \
        const int64_t *stride = w->stride[0];                               \
        for (int64_t r = 0; r < rows; ++r) {                                \
            const T *a = (const T *)in[0] + r * stride[0];                  \
            int64_t best = 0;                                               \
            for (int64_t c = 1; c < w->columns; ++c) {                      \
                T x = a[c * stride[1]], y = a[best * stride[1]];            \
                if (x > y || (x != x && y == y)) best = c;                  \
            }                                                               \
            ((int32_t *)out)[r] = (int32_t)best;                            \
        }                                                                   \
    }

#define EVERY_DTYPE(s, T) WHERE(s, T) PACK(s, T) COMPARE(s, T) ARGMAX(s, T)
EVERY_DTYPE(f32, float)
EVERY_DTYPE(f64, double)
EVERY_DTYPE(i32, int32_t)
EVERY_DTYPE(u8, uint8_t)

/* A number outside an integer's range becomes the nearest end of it, NaN zero. */
#define CONVERT(to, R, from, T, expression)                                          \
    static void loop_##to##_from_##from(int64_t n, void *out, const void *const *in) \
    {                                                                                \
        const T *a = in[0];                                                          \
        R *o = out;                                                                  \
        LOOP_INDEPENDENT for (int64_t i = 0; i < n; ++i)                             \
        {                                                                            \
            T x = a[i];                                                              \
            o[i] = (R)(expression);                                                  \
        }                                                                            \
    }
#define TO_I32 \
    (x != x ? 0 : x >= 0x1p31f ? INT32_MAX : x < -0x1p31f ? INT32_MIN : (int32_t)x)
#define TO_U8 (x > 0 ? x < 255 ? (uint8_t)x : 255 : 0)
#define CONVERT_EACH(to, R, from_float, from_i32) \
    CONVERT(to, R, f32, float, from_float)        \
    CONVERT(to, R, f64, double, from_float)       \
    CONVERT(to, R, i32, int32_t, from_i32)        \
    CONVERT(to, R, u8, uint8_t, x)
CONVERT_EACH(f32, float, x, x)
CONVERT_EACH(f64, double, x, x)
CONVERT_EACH(i32, int32_t, TO_I32, x)
CONVERT_EACH(u8, uint8_t, TO_U8, TO_U8)

#define REDUCE(name) loop_mean_##name##_f32
#define ELEMENT      float
#define LANE         double
#include "loops_reduce.h"

#define REDUCE(name) loop_again_##name##_f32
#define AGAIN(name)  loop_mean_##name##_f32
#define ELEMENT      float
#define LANE         float
#include "loops_reduce.h"

#define REDUCE(name) loop_sum_##name##_f32
#define ELEMENT      float
#define LANE         float
#include "loops_reduce.h"

#define REDUCE(name) loop_sum_##name##_f64
#define ELEMENT      double
#define LANE         double
#include "loops_reduce.h"

#define REDUCE(name) loop_small_##name##_f64
#define ELEMENT      double
#define LANE         double
#define READ(x)      ((x)*HTI_SMALL)
#include "loops_reduce.h"

#define REDUCE(name) loop_sum_##name##_i32
#define ELEMENT      int32_t
#define LANE         int64_t
#define TOTAL        int64_t
#include "loops_reduce.h"

#define REDUCE(name) loop_max_##name##_f32
#define ELEMENT      float
#define LANE         float
#define COMBINE      LOOP_MAX
#define START        -INFINITY
#include "loops_reduce.h"

#define REDUCE(name) loop_max_##name##_f64
#define ELEMENT      double
#define LANE         double
#define COMBINE      LOOP_MAX
#define START        -INFINITY
#include "loops_reduce.h"

#define FLOAT(name)     name##_f32
#define ELEMENT         float
#define FLOAT_EXP       math_exp
#define FLOAT_LOG1P     (float)wide_log1p
#define FLOAT_POWER     math_power
#define FLOAT_BASE      1.4426950408889634
#define FLOAT_BITS      int32_t
#define FLOAT_MAGNITUDE INT32_MAX
#include "loops_float.h"

#define FLOAT(name)     name##_f64
#define ELEMENT         double
#define FLOAT_EXP       exp
#define FLOAT_LOG1P     log1p
#define FLOAT_POWER     exp
#define FLOAT_BASE      1
#define FLOAT_BITS      int64_t
#define FLOAT_MAGNITUDE INT64_MAX
#include "loops_float.h"

#include "loops_winograd.h"

#define FLOATS(name) loop_##name##_f32, loop_##name##_f64
#define SIGNED(name) FLOATS(name), loop_##name##_i32
#define ALL(name)    SIGNED(name), loop_##name##_u8
/* By the inputs that are one number; NULL: they have to be written out. */
#define TWO(name)                                         \
    {                                                     \
        loop_##name##_0, loop_##name##_1, loop_##name##_2 \
    }
#define TWO_FLOATS(name) TWO(name##_f32), TWO(name##_f64)
#define TWO_SIGNED(name) TWO_FLOATS(name), TWO(name##_i32)
#define TWO_ALL(name)    TWO_SIGNED(name), TWO(name##_u8)
#define TREE_LOOPS(name, suffix, p, q, r, s)                           \
    {                                                                  \
        loop_##name##_##suffix##_##p, loop_##name##_##suffix##_##q,    \
            loop_##name##_##suffix##_##r, loop_##name##_##suffix##_##s \
    }
#define SECOND_OR_THIRD(name)                                         \
    {                                                                 \
        loop_##name##_0, NULL, loop_##name##_2, NULL, loop_##name##_4 \
    }

extern const hti_skinny_loops HTI_OF_ISA(hti_skinny_);
extern const hti_gemm_loops HTI_OF_ISA(hti_gemm_);

const struct hti_loops HTI_OF_ISA(hti_loops_) = {
    .name = HT_STRING(HTI_ISA),
    .skinny = &HTI_OF_ISA(hti_skinny_),
    .gemm = &HTI_OF_ISA(hti_gemm_),
    .unary =
        {
#define HTI_UNARY(name, dtypes, formula) [HTI_UNARY_##name] = {dtypes(name)},
#include "elementwise.def"
        },
    .binary =
        {
#define HTI_BINARY(name, dtypes, formula) [HTI_BINARY_##name] = {TWO_##dtypes(name)},
#include "elementwise.def"
        },
    .tree =
        {
#define HTI_TREE(name, pattern, formula, p, q, r, s) \
    {TREE_LOOPS(name, f32, p, q, r, s), TREE_LOOPS(name, f64, p, q, r, s)},
#include "elementwise.def"
        },
    .compare =
        {
#define HTI_COMPARE(name, dtypes, formula) [HTI_COMPARE_##name] = {TWO_##dtypes(name)},
#include "elementwise.def"
        },
    .where = {SECOND_OR_THIRD(where_f32), SECOND_OR_THIRD(where_f64),
              SECOND_OR_THIRD(where_i32), SECOND_OR_THIRD(where_u8)},
    .convert = {{ALL(f32_from)}, {ALL(f64_from)}, {ALL(i32_from)}, {ALL(u8_from)}},
    .pack = {ALL(pack)},
    .unpack = {ALL(unpack)},
    .reduce = {[HTI_SUM] = {loop_sum_run_f32, loop_sum_run_f64, loop_sum_run_i32, NULL},
               [HTI_MAX] = {loop_max_run_f32, loop_max_run_f64, NULL, NULL},
               [HTI_SUM_AGAIN] = {loop_again_run_f32, loop_small_run_f64, NULL, NULL},
               [HTI_MEAN] = {loop_mean_run_f32, NULL, NULL, NULL}},
    .moment = {{FLOATS(distances)}, {FLOATS(squares)}},
    .argmax = {ALL(argmax)},
    .softmax = {FLOATS(softmax)},
    .log_softmax = {FLOATS(log_softmax)},
    .logsumexp = {FLOATS(logsumexp)},
    .cross_entropy = {FLOATS(cross_entropy)},
    .cross_entropy_slope = {FLOATS(cross_entropy_slope)},
    .slope = {[HTI_SLOPE_SLOPE] = {FLOATS(softmax_slope)},
              [HTI_SLOPE_BEND] = {FLOATS(softmax_bend)},
              [HTI_SLOPE_REST] = {FLOATS(softmax_rest)},
              [HTI_SLOPE_BACK] = {FLOATS(softmax_back)}},
    .normalize = {{FLOATS(normalize)},
                  {FLOATS(normalize_slope)},
                  {FLOATS(normalize_bend)}},
    .attend = {FLOATS(attend)},
    .attend_largest = {FLOATS(attend_largest)},
    .attend_slope = {FLOATS(attend_slope)},
    .attend_bend = {FLOATS(attend_bend)},
    .window_index = {FLOATS(window_index)},
    .window_mean = {FLOATS(window_mean)},
    .window_spread = {FLOATS(window_spread)},
    .winograd = &loop_winograd,
};
