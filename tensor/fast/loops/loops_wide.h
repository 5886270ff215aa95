/* SPDX-License-Identifier: MIT */
/* loops_wide.h: functions of an f32 worked out in f64, without a branch. Near their zeros
 * log1p, expm1, sin, cos and erf need more digits than f32 has: in f64 one plain formula
 * holds everywhere, and half an ulp of f32 is left, which is the last rounding's. The
 * series are Taylor's, cut where the rest is below 1e-10. Read next: loops.c. */
#ifndef HTI_LOOPS_WIDE_H
#define HTI_LOOPS_WIDE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Reduction to |r| <= pi / 4 is exact enough below this; libm takes the rest. */
#define WIDE_MOST_ANGLE 100000.0f

/* ln 2 and pi / 2, the high parts with zeros at the end: n * high is exact. */
static const double wide_ln2_high = 0x1.62e42fee00000p-1,
                    wide_ln2_low = 0x1.a39ef35793c76p-33;
static const double wide_half_pi_high = 0x1.921fb54400000p+0,
                    wide_half_pi_low = 0x1.0b4611a626331p-34;
/* Added, it leaves a whole number in the low bits. */
static const double wide_shift = 0x1.8p52;

static inline uint64_t wide_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double wide_double(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* exp(y) = power (1 + p), power = 2^n, p = exp(r) - 1, |r| <= ln(2) / 2; |y| < 700. */
static inline double wide_exp_within(double y, double *power)
{
    double shifted = y * 0x1.71547652b82fep+0 + wide_shift, n = shifted - wide_shift;
    double r = y - n * wide_ln2_high - n * wide_ln2_low;
    double p = 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * (r * r) + r;
    *power = wide_double((wide_bits(shifted) - wide_bits(wide_shift) + 1023u) << 52);
    return p;
}

/* Past both clamps an f32 is 0 or infinite. */
static inline double wide_exp(double x, double *power)
{
    double y = x < -104.0 ? -104.0 : x;
    return wide_exp_within(y > 89.0 ? 89.0 : y, power);
}

/* power p + (power - 1): for power = 1, where it is small, nothing cancels. */
static inline double wide_expm1(double x)
{
    double power, p = wide_exp(x, &power), z = power * p + (power - 1.0);
    return x == 0.0 ? x : z;
}

/* log(1 + x) = n ln 2 + 2 artanh(f / (2 + f)), 1 + f in [sqrt(1/2), sqrt(2)); for n = 0,
 * f is x itself, not the rounded sum less one. */
static inline double wide_log1p(double x)
{
    const uint64_t root_half = 0x3fe6a09e667f3bcdu, one = 0x3ff0000000000000u;
    double u = 1.0 + x;
    uint64_t bits = wide_bits(u) + (one - root_half);
    double n = wide_double(0x4330000000000000u | bits >> 52) - (0x1p52 + 1023.0);
    double m = wide_double((bits & 0xfffffffffffffu) + root_half) - 1.0;
    double f = n == 0.0 ? x : m;
    double s = f / (2.0 + f), ss = s * s;
    double p = 2.0 / 13;
    p = p * ss + 2.0 / 11;
    p = p * ss + 2.0 / 9;
    p = p * ss + 2.0 / 7;
    p = p * ss + 2.0 / 5;
    p = p * ss + 2.0 / 3;
    double y = n * wide_ln2_high + (s * (ss * p + 2.0) + n * wide_ln2_low);
    y = x == 0.0 ? x : y;
    y = x == INFINITY ? x : y;
    y = x == -1.0 ? -INFINITY : y;
    return x >= -1.0 ? y : NAN;
}

/* log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)): no overflow, and full relative
 * accuracy where the value is tiny. */
static inline double wide_softplus(double x)
{
    double power, p = wide_exp(-fabs(x), &power), z = wide_log1p(power * p + power);
    return (x < 0.0 ? 0.0 : x) + z;
}

/* x P(x^2) for |x| <= 4, past which f32 knows only 1; P is interpolated at Chebyshev's
 * points of t = x^2 / 8 - 1, to 1.1e-8 of erf. */
static inline double wide_erf(double x)
{
    static const double coefficient[] = {
        0.35353099564340584,    -0.17657617392213293,   0.13167509410088027,
        -0.1077132843307892,    0.09021008523680343,    -0.07468836514755006,
        0.05987173010711076,    -0.04601033117473611,   0.03315492933875257,
        -0.02167231957007147,   0.014041012812749562,   -0.010073057730973795,
        0.005419890236024451,   -0.0010855291015494195, 0.0007137555110649802,
        -0.0013705204435328756, 0.0005720870962758293};
    double y = x > 4.0 ? 4.0 : x;
    y = y < -4.0 ? -4.0 : y;
    double t = y * y * 0.125 - 1.0, p = coefficient[16];
    for (int k = 15; k >= 0; --k) p = p * t + coefficient[k];
    return y * p;
}

/* The sine of x + quarter pi / 2: x = n pi / 2 + r, |r| <= pi / 4, and the last two bits
 * of n + quarter say which of +-sin r, +-cos r it is. */
static inline double wide_wave(double x, uint64_t quarter)
{
    double shifted = x * 0x1.45f306dc9c883p-1 + wide_shift, n = shifted - wide_shift;
    double r = x - n * wide_half_pi_high - n * wide_half_pi_low, rr = r * r;
    double s = -1.0 / 39916800;
    s = s * rr + 1.0 / 362880;
    s = s * rr - 1.0 / 5040;
    s = s * rr + 1.0 / 120;
    s = s * rr - 1.0 / 6;
    s = s * (rr * r) + r;
    double c = 1.0 / 479001600;
    c = c * rr - 1.0 / 3628800;
    c = c * rr + 1.0 / 40320;
    c = c * rr - 1.0 / 720;
    c = c * rr + 1.0 / 24;
    c = c * (rr * rr) + (1.0 - 0.5 * rr);
    uint64_t turn = wide_bits(shifted) + quarter;
    double wave = (turn & 1u) ? c : s;
    return wide_double(wide_bits(wave) ^ (turn & 2u) << 62);
}

static inline double wide_sin(double x)
{
    double wave = wide_wave(x, 0);
    return x == 0.0 ? x : wave;
}

static inline double wide_cos(double x)
{
    return wide_wave(x, 1);
}

#endif
