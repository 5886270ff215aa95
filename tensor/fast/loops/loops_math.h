/* SPDX-License-Identifier: MIT */
/* loops_math.h: exp, log, tanh, sigmoid and gelu in f32 without a branch, so that loops
 * over them become vector code; and slopes that are relative to what they are, in both
 * types. Measured over all of f32, the largest errors are 1 ulp for exp and log, 1.4 for
 * tanh, 2.4 for sigmoid, 5 for slopes, where terms do not cancel. The polynomials are
 * minimax fits on the reduced range. In f64 the loops call libm. Read next: loops.c. */
#ifndef HTI_LOOPS_MATH_H
#define HTI_LOOPS_MATH_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "loops_wide.h"

/* ln 2 in two parts: n * math_ln2_high is exact for |n| < 2^15. */
static const float math_ln2_high = 0x1.63p-1f, math_ln2_low = -0x1.bd0106p-13f;

static inline uint32_t math_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float math_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* exp(r), |r| <= ln(2) / 2. */
static inline float math_exp_near(float r)
{
    float p = 0.00138144637f;
    p = p * r + 0.00836878084f;
    p = p * r + 0.0416683927f;
    p = p * r + 0.166665196f;
    p = p * r + 0.49999994f;
    return p * (r * r) + r + 1.0f;
}

/* exp(x) = 2^n exp(r), n = round(x / ln 2), for x in -150 .. 89. Adding 1.5 * 2^23 leaves
 * n in the low bits, or n and the bias of an exponent, if that is added, too. 2^n is
 * applied in two halves: it alone would overflow, or flush what is still a subnormal. */
static inline float math_exp_within(float x)
{
    const float shift = 0x1.8p23f;
    float shifted = x * 0x1.715476p0f + shift, n = shifted - shift;
    float r = x - n * math_ln2_high - n * math_ln2_low;
    uint32_t biased = math_bits(shifted) - math_bits(shift) + 256u, half = biased >> 1;
    float rest = math_float((biased - half - 1u) << 23);
    return math_exp_near(r) * math_float((half - 1u) << 23) * rest;
}

/* Of x in -150 .. 0 two factors are 2^99 exp(x) and 2^-99, so that the first is no
 * subnormal. The second is left to the caller, whose factors may lift the result out of
 * the subnormals. What is added to have n is even, or halves would go another way. */
static const float math_below = 0x1p-99f;
static const float math_below_shift = 0x1.8p23f + (127 + 99);

static inline float math_exp_part(float x, float *rest)
{
    float shifted = x * 0x1.715476p0f + math_below_shift, n = shifted - math_below_shift;
    float r = x - n * math_ln2_high - n * math_ln2_low;
    *rest = math_below;
    return math_exp_near(r) * math_float(math_bits(shifted) << 23);
}

static inline double math_exp_part_f64(double x, double *rest)
{
    return *rest = exp(0.5 * x);
}

/* NaN passes both clamps. */
static inline float math_exp(float x)
{
    x = x < -104.0f ? -104.0f : x;
    return math_exp_within(x > 89.0f ? 89.0f : x);
}

/* 2^x of x <= 0, 0 from 2^-126 on: 2^r / 2 times 2^(n + 1). NaN is kept, whatever 2^n is
 * of it. */
static inline float math_power(float x)
{
    const float shift = 0x1.8p23f + 128;
    float shifted = x + shift, r = x - (shifted - shift);
    float p = 0.5f * 0.000155946778f;
    p = p * r + 0.5f * 0.001340664341f;
    p = p * r + 0.5f * 0.009617692791f;
    p = p * r + 0.5f * 0.055503103882f;
    p = p * r + 0.5f * 0.240226522088f;
    p = p * r + 0.5f * 0.693147242069f;
    p = p * r + 0.5f;
    p *= math_float(math_bits(shifted) << 23);
    return x < -126.0f ? 0.0f : p;
}

/* log(x) = n ln 2 + log(1 + f), 1 + f in [sqrt(1/2), sqrt(2)); with P a polynomial
 * log(1 + f) = f - f^2 / 2 + f^3 P(f). Subnormals are scaled up first. */
static inline float math_log(float x)
{
    const uint32_t root_half = 0x3f3504f3u, one = 0x3f800000u;
    float scaled = x < FLT_MIN ? x * 0x1p23f : x;
    uint32_t bits = math_bits(scaled) + (one - root_half);
    float n = (float)((int32_t)(bits >> 23) - 127) - (x < FLT_MIN ? 23.0f : 0.0f);
    float f = math_float((bits & 0x7fffffu) + root_half) - 1.0f, ff = f * f;
    float p = 0.0674659833f;
    p = p * f - 0.116756141f;
    p = p * f + 0.118881606f;
    p = p * f - 0.124055952f;
    p = p * f + 0.142195538f;
    p = p * f - 0.166679949f;
    p = p * f + 0.200021192f;
    p = p * f - 0.250000089f;
    p = p * f + 0.333333135f;
    float y = f + (f * ff * p + n * math_ln2_low - 0.5f * ff) + n * math_ln2_high;
    y = x == INFINITY ? x : y;
    y = x == 0.0f ? -INFINITY : y;
    return x >= 0.0f ? y : NAN;
}

/* x + x^3 P(x^2) near zero, where 1 - 2 / (exp(2|x|) + 1) would cancel. */
static inline float math_tanh(float x)
{
    float a = fabsf(x), xx = x * x;
    float p = -0.00566078909f;
    p = p * xx + 0.0206020083f;
    p = p * xx - 0.0537292287f;
    p = p * xx + 0.133313283f;
    p = p * xx - 0.333332777f;
    float near = x + x * xx * p;
    float far = copysignf(1.0f - 2.0f / (math_exp(a + a) + 1.0f), x);
    return a < 0.625f ? near : far;
}

/* 1 / (1 + exp(-x)), the exponential always of -|x|: no overflow, and full relative
 * accuracy where the value is tiny. */
static inline float math_sigmoid(float x)
{
    float e = math_exp(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

static inline double math_sigmoid_f64(double x)
{
    double e = exp(-fabs(x));
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

/* exp(-c a^2), a >= 0, in two factors. A rounded a^2 alone would leave a relative error
 * of c a^2 in units of the last place; a's high half has an exact square (Dekker, "A
 * floating-point technique for extending the available precision", 1971). In f32 n ln 2
 * is taken from that, exactly, before what is left of a^2 is; c is 1 or a half, c a^2 at
 * most 150. */
static inline float math_bell_f32(float a, float c, float *rest)
{
    float high = math_float(math_bits(a) & 0xfffff000u), square = high * high;
    float left = (a - high) * (a + high);
    float shifted = (square + left) * (c * -0x1.715476p0f) + math_below_shift;
    float n = shifted - math_below_shift;
    float u = (square + n * (math_ln2_high / c)) + (n * (math_ln2_low / c) + left);
    float p = math_exp_near(-c * u);
    *rest = math_below;
    return p * math_float(math_bits(shifted) << 23);
}

/* What rounding took from square = a a, and exp(-c a^2) less that. */
static inline double math_square_rest_f64(double a, double square)
{
    double high = wide_double(wide_bits(a) & 0xfffffffff8000000u);
    return (high * high - square) + (a - high) * (a + high);
}

static inline double math_bell_f64(double a, double c, double *rest)
{
    double square = a * a, e = math_exp_part_f64(-c * square, rest);
    return e - e * (c * math_square_rest_f64(a, square));
}

/* What rounding took from product = a b. */
static inline double math_product_rest_f64(double a, double b, double product)
{
    const uint64_t high = 0xfffffffff8000000u;
    double ah = wide_double(wide_bits(a) & high), al = a - ah;
    double bh = wide_double(wide_bits(b) & high), bl = b - bh;
    return ((ah * bh - product) + ah * bl + al * bh) + al * bl;
}

/* 2 u = c (a + 0.044715 a^3), c = 2 sqrt(2 / pi), of gelu's tanh form; and what rounding
 * took from it, which exp(-2 u) would show magnified. */
static inline double math_gelu_inner(double a, double *rest)
{
    const double c = 1.5957691216057308, c_low = -9.96930880911092e-17;
    const double k = 0.044715, k_low = 2.1960211427085595e-18;
    double square = a * a, square_rest = math_square_rest_f64(a, square);
    double cubic = k * square;
    double cubic_rest =
        math_product_rest_f64(k, square, cubic) + k * square_rest + k_low * square;
    double sum = 1.0 + cubic, seen = sum - 1.0;
    double sum_rest = (1.0 - (sum - seen)) + (cubic - seen) + cubic_rest;
    double line = c * a, line_rest = math_product_rest_f64(c, a, line) + c_low * a;
    double w = line * sum;
    *rest = math_product_rest_f64(line, sum, w) + line * sum_rest + line_rest * sum;
    return w;
}

/* exp(-2 u), of an f32 worked out in f64. */
static inline double math_gelu_exp(double a, double *rest)
{
    double power,
        p = wide_exp_within(-1.5957691216057308 * a * (1.0 + 0.044715 * a * a), &power);
    *rest = 1.0;
    return power * p + power;
}

static inline double math_gelu_exp_f64(double a, double *rest)
{
    double w_rest, w = math_gelu_inner(a, &w_rest);
    double e = math_exp_part_f64(-w, rest);
    return e - e * w_rest;
}

/* a = |x|, at most `most`; and room for a power's second factor. */
#define MATH_SIZE(T, x, most)         \
    T a = (T)fabs((double)(x)), rest; \
    a = a > (most) ? (most) : a;

/* Functions of e = exp(-w) in two factors, w >= 0 growing with a = |x|: s (1 - s) and 1 -
 * tanh^2 have no digits left where s and tanh are near 1. Past `most` all are 0 or their
 * limit, and infinity times 0 must not come to be.
 * sigmoid's slope e / (1 + e)^2; tanh's four times that of 2 x; x sigmoid(+-w) and, with
 * d = a w'(a), its slope. */
#define MATH_GATES(s, T, EXP, most, GELU_T, GELU_EXP, gelu_most)        \
    static inline T math_sigmoid_slope_##s(T x)                         \
    {                                                                   \
        MATH_SIZE(T, x, most)                                           \
        T e = EXP(-a, &rest), sum = 1 + e * rest;                       \
        return e / (sum * sum) * rest;                                  \
    }                                                                   \
    static inline T math_tanh_slope_##s(T x)                            \
    {                                                                   \
        T a = x < 0 ? -2 * x : 2 * x, rest;                             \
        a = a > (most) ? (most) : a;                                    \
        T e = EXP(-a, &rest), sum = 1 + e * rest;                       \
        return 4 * e / (sum * sum) * rest;                              \
    }                                                                   \
    static inline T math_silu_##s(T x)                                  \
    {                                                                   \
        MATH_SIZE(T, x, most)                                           \
        T e = EXP(-a, &rest), sum = 1 + e * rest;                       \
        return (x < 0 ? -a * e : x) / sum * (x < 0 ? rest : 1);         \
    }                                                                   \
    static inline T math_silu_slope_##s(T x)                            \
    {                                                                   \
        MATH_SIZE(T, x, most)                                           \
        T e = EXP(-a, &rest), r = 1 / (1 + e * rest);                   \
        T below = e * r * (1 - a * r) * rest;                           \
        return x < 0 ? below : r + a * (e * rest) * (r * r);            \
    }                                                                   \
    static inline T math_gelu_tanh_##s(T from)                          \
    {                                                                   \
        GELU_T x = from;                                                \
        MATH_SIZE(GELU_T, x, gelu_most)                                 \
        GELU_T e = GELU_EXP(a, &rest), sum = 1 + e * rest;              \
        return (T)((x < 0 ? -a * e : x) / sum * (x < 0 ? rest : 1));    \
    }                                                                   \
    static inline T math_gelu_tanh_slope_##s(T from)                    \
    {                                                                   \
        GELU_T x = from;                                                \
        MATH_SIZE(GELU_T, x, gelu_most)                                 \
        GELU_T e = GELU_EXP(a, &rest), r = 1 / (1 + e * rest);          \
        GELU_T d = 1.5957691216057308 * a * (1 + 3 * 0.044715 * a * a); \
        GELU_T below = e * r * (1 - d * r) * rest;                      \
        return (T)(x < 0 ? below : r + d * (e * rest) * (r * r));       \
    }
MATH_GATES(f32, float, math_exp_part, 120, double, math_gelu_exp, 12)
MATH_GATES(f64, double, math_exp_part_f64, 800, double, math_gelu_exp_f64, 24)

/* The normal distribution's tail Q(a) = 1 - Phi(a), a >= 0, with its density phi in
 * one, both but for the factor `rest`: both are exp(-a^2 / 2) times something slow. Q's
 * is t P(t), t = 1 / (1 + 0.35 a), a form of Hastings (Approximations for digital
 * computers, 1955), P minimax to 3e-8; its high terms by pairs, or a vector would wait
 * for its own last term. a <= 15 keeps the power in range. */
static inline float math_tail(float a, float *phi, float *rest)
{
    float e = math_bell_f32(a, 0.5f, rest), t = 1.0f / (1.0f + 0.35f * a);
    float t2 = t * t;
    float p = (0.159392553172f - 0.25590160572f * t) +
              t2 * (0.14406070496f - 0.0291639112338f * t);
    p = (0.105574665166f - 0.0232635472338f * t) + t2 * p;
    p = p * t + 0.119815535411f;
    p = p * t + 0.139864330784f;
    p = p * t + 0.139621258691f;
    *phi = 0.398942280401f * e;
    return e * (t * p);
}

/* z is a / sqrt(2) but for d, what rounding took: erfc(z + d) is about erfc(z) (1 - 2 z
 * d) from where that matters on. */
static inline double math_tail_f64(double a, double *phi, double *rest)
{
    const double c = 0.70710678118654752440, c_low = -4.833646656726457e-17;
    double z = a * c, d = math_product_rest_f64(a, c, z) + a * c_low;
    *phi = 0.39894228040143267794 * math_bell_f64(a, 0.5, rest) * *rest;
    *rest = 1.0;
    return 0.5 * erfc(z) * (1.0 - 2.0 * z * d);
}

/* x Phi(x) and its slope, from the tail on x's side, so that what is tiny keeps its
 * digits. Past `most` the tail is 0, and infinity times it must not come to be. Then the
 * slope of erf, and the normal density, which is that of Phi. */
#define MATH_BELLS(s, T, TAIL, BELL, most, erf_most) \
    static inline T math_gelu_##s(T x)               \
    {                                                \
        MATH_SIZE(T, x, most)                        \
        T phi;                                       \
        T tail = a * TAIL(a, &phi, &rest);           \
        return (x > 0 ? x : 0) - tail * rest;        \
    }                                                \
    static inline T math_gelu_slope_##s(T x)         \
    {                                                \
        MATH_SIZE(T, x, most)                        \
        T phi;                                       \
        T tail = TAIL(a, &phi, &rest);               \
        tail = (tail - a * phi) * rest;              \
        return x > 0 ? 1 - tail : tail;              \
    }                                                \
    static inline T math_erf_slope_##s(T x)          \
    {                                                \
        MATH_SIZE(T, x, erf_most)                    \
        T e = BELL(a, 1, &rest);                     \
        return (T)1.12837916709551257390 * e * rest; \
    }                                                \
    static inline T math_density_##s(T x)            \
    {                                                \
        MATH_SIZE(T, x, most)                        \
        T e = BELL(a, (T)0.5, &rest);                \
        return (T)0.39894228040143267794 * e * rest; \
    }
MATH_BELLS(f32, float, math_tail, math_bell_f32, 15, 12)
MATH_BELLS(f64, double, math_tail_f64, math_bell_f64, 40, 30)

#endif
