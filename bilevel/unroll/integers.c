/* SPDX-License-Identifier: MIT */
/* integers.c: theta and its velocity s as integers I, in units of 2^-bits. A step is
 *   I(s)     = I(s) n/d + round(g 2^bits)         ratio.c keeps what n/d takes off
 *   I(theta) = I(theta) - round(rate s)
 * and each line is undone by what is known after it: theta by s, s by the gradient g at
 * the theta before. Read next: reversible.c. */
#include "integers.h"

#include <math.h>
#include <string.h>

static const double limit = (double)((int64_t)1 << HTI_WIDE);

/* Memory. */

static hti_remainders open_remainders(unsigned char *own, size_t *at, int64_t count,
                                      int64_t most)
{
    hti_remainders r = {.count = count, .most = most};
    size_t layers = (size_t)most;
    r.rest = hti_carve_own(own, at, (size_t)count * sizeof *r.rest);
    r.layer = hti_carve_own(own, at, layers * (size_t)count * sizeof *r.layer);
    r.layer_times = hti_carve_own(own, at, layers * sizeof *r.layer_times);
    return r;
}

static size_t padded(const ht_tensor *t)
{
    return hti_round_up(ht_tensor_bytes(t), HTI_ALIGN);
}

hti_integers hti_integers_open(const ht_bilevel *b, unsigned char *own)
{
    const ht_set *theta = b->problem.theta, *state = b->problem.state;
    hti_integers m = {.n = state->n};
    size_t theta_at = 0, s_at = hti_set_bytes(theta), *at = &m.bytes;
    hti_carve_own(own, at, sizeof m);
    m.tensor = hti_carve_own(own, at, (size_t)m.n * sizeof *m.tensor);
    m.speeds = hti_carve_own(own, at, 2 * (size_t)m.n * sizeof *m.speeds);
    m.gradient = hti_carve_own(own, at, hti_set_bytes(state));
    for (int i = 0, k = 0; i < theta->n; i++) {
        const ht_tensor *t = theta->tensor[i];
        hti_integer x = {.theta_at = theta_at, .s_at = s_at, .count = ht_tensor_count(t)};
        theta_at += padded(t);
        if (!b->programs.trained[i]) continue;
        s_at += padded(t);
        x.f64 = ht_tensor_dtype(t) == HT_F64;
        x.theta = hti_carve_own(own, at, (size_t)x.count * sizeof *x.theta);
        x.s = hti_carve_own(own, at, (size_t)x.count * sizeof *x.s);
        x.remainders = open_remainders(own, at, x.count, b->programs.layers[k]);
        if (own) m.tensor[k] = x;
        k++;
    }
    return m;
}

/* Arithmetic. */

/* to += round(x scale), modulo 2^64 as in ratio.c; whether all stays in range. What is
 * added for a scale is taken away by its negative: rounding to even is symmetric. */
#define ADD(name, type)                                                                 \
    static bool name(int64_t *to, const void *from, int64_t n, double scale)            \
    {                                                                                   \
        const type *x = from;                                                           \
        bool within = true;                                                             \
        for (int64_t k = 0; k < n; k++) {                                               \
            double y = (double)x[k] * scale;                                            \
            bool fits = fabs(y) < limit;                                                \
            to[k] = (int64_t)((uint64_t)to[k] + (uint64_t)(fits ? llrint(y) : 0));      \
            within = within && fits && to[k] < INT64_MAX / 2 && to[k] > -INT64_MAX / 2; \
        }                                                                               \
        return within;                                                                  \
    }
ADD(add_f32, float)
ADD(add_f64, double)
ADD(add_i64, int64_t)

static bool add_floats(const hti_integer *x, int64_t *to, const unsigned char *from,
                       double scale)
{
    return (x->f64 ? add_f64 : add_f32)(to, from, x->count, scale);
}

static void put_values(const hti_integer *x, unsigned char *to, const int64_t *from,
                       int bits)
{
    double unit = ldexp(1, -bits);
    for (int64_t k = 0; k < x->count; k++) {
        double value = (double)from[k] * unit;
        if (x->f64)
            ((double *)(void *)to)[k] = value;
        else
            ((float *)(void *)to)[k] = (float)value;
    }
}

static void put_theta(const hti_integer *x, unsigned char *block)
{
    put_values(x, block + x->theta_at, x->theta, x->theta_bits);
}

static void put_s(const hti_integer *x, unsigned char *block)
{
    put_values(x, block + x->s_at, x->s, x->s_bits);
}

static double largest_of(const hti_integer *x, const unsigned char *from)
{
    double largest = 0;
    for (int64_t k = 0; k < x->count; k++) {
        double y = x->f64 ? ((const double *)(const void *)from)[k]
                          : (double)((const float *)(const void *)from)[k];
        if (!(fabs(y) <= largest)) largest = fabs(y);
        if (isnan(largest)) break;
    }
    return largest;
}

/* Bits of a unit, for elements up to that. */
static int bits_for(double largest)
{
    int exponent;
    frexp(largest, &exponent);
    return HTI_FINE - (exponent > 0 ? exponent : 0);
}

/* Beginning. */

/* Integers of a block's floats, in units for elements up to `largest`. */
static bool begin(const hti_integer *x, int64_t *to, const unsigned char *from,
                  double largest, int *bits)
{
    if (!isfinite(largest)) return false;
    *bits = bits_for(largest);
    memset(to, 0, (size_t)x->count * sizeof *to);
    return add_floats(x, to, from, ldexp(1, *bits));
}

hti_stepped hti_integers_begin_theta(hti_integers *m, unsigned char *block)
{
    for (int k = 0; k < m->n; k++) {
        hti_integer *x = &m->tensor[k];
        const unsigned char *theta = block + x->theta_at;
        if (!begin(x, x->theta, theta, largest_of(x, theta), &x->theta_bits))
            return HTI_BEYOND;
        put_theta(x, block);
    }
    return HTI_STEPPED;
}

static unsigned char *gradient_of(const hti_integers *m, const hti_integer *x)
{
    return m->gradient + (x->s_at - m->tensor[0].s_at);
}

/* Of integers, in order (a polynomial's value, modulo 2^64). */
static uint64_t digest(uint64_t sum, const int64_t *x, int64_t n)
{
    for (int64_t k = 0; k < n; k++) sum = sum * 0x9e3779b97f4a7c15u + (uint64_t)x[k];
    return sum;
}

static uint64_t digest_all(const hti_integers *m)
{
    uint64_t sum = 1;
    for (int k = 0; k < m->n; k++) {
        sum = digest(sum, m->tensor[k].theta, m->tensor[k].count);
        sum = digest(sum, m->tensor[k].s, m->tensor[k].count);
    }
    return sum;
}

hti_stepped hti_integers_begin_s(hti_integers *m, const unsigned char *block)
{
    for (int k = 0; k < m->n; k++) {
        hti_integer *x = &m->tensor[k];
        const unsigned char *s = block + x->s_at;
        double largest = largest_of(x, s), added = largest_of(x, gradient_of(m, x));
        if (!begin(x, x->s, s, added > largest ? added : largest, &x->s_bits))
            return HTI_BEYOND;
        hti_remainders_clear(&x->remainders);
    }
    m->start = digest_all(m);
    return HTI_STEPPED;
}

bool hti_integers_returned(const hti_integers *m)
{
    bool none = true;
    for (int k = 0; k < m->n; k++)
        none = none && hti_remainders_none(&m->tensor[k].remainders);
    return none && digest_all(m) == m->start;
}

/* Steps. */

/* theta - rate s, or its undoing. */
static bool move_theta(const hti_integer *x, double rate)
{
    double units = ldexp(rate, x->theta_bits - x->s_bits);
    return add_i64(x->theta, x->s, x->count, -units);
}

static void keep_off(hti_integers *m, double momentum, hti_ratio ratio)
{
    double off = fabs((double)ratio.n / (double)ratio.d - momentum);
    if (!(off > m->off * (1 - momentum))) return;
    m->off = off / (1 - momentum);
    m->momentum = momentum;
    m->ratio = ratio;
}

static hti_stepped step(hti_integers *m, hti_integer *x, const double *speeds)
{
    hti_ratio ratio;
    if (!hti_ratio_of(speeds[1], &ratio))
        return isfinite(speeds[1]) ? HTI_NO_RATIO : HTI_BEYOND;
    keep_off(m, speeds[1], ratio);
    if (!hti_ratio_multiply(&x->remainders, ratio, x->s)) return HTI_NO_LAYER;
    bool within = add_floats(x, x->s, gradient_of(m, x), ldexp(1, x->s_bits)) &&
                  move_theta(x, speeds[0]);
    return within ? HTI_STEPPED : HTI_BEYOND;
}

hti_stepped hti_integers_step(hti_integers *m, unsigned char *block)
{
    hti_stepped how = HTI_STEPPED;
    for (int k = 0; k < m->n && how == HTI_STEPPED; k++)
        how = step(m, &m->tensor[k], m->speeds + 2 * (size_t)k);
    for (int k = 0; k < m->n && how == HTI_STEPPED; k++) {
        put_theta(&m->tensor[k], block);
        put_s(&m->tensor[k], block);
    }
    return how;
}

void hti_integers_undo_theta(hti_integers *m, unsigned char *block)
{
    for (int k = 0; k < m->n; k++) {
        move_theta(&m->tensor[k], -m->speeds[2 * (size_t)k]);
        put_theta(&m->tensor[k], block);
    }
}

void hti_integers_undo_s(hti_integers *m, unsigned char *block)
{
    for (int k = 0; k < m->n; k++) {
        hti_integer *x = &m->tensor[k];
        hti_ratio ratio = {1, 1};
        add_floats(x, x->s, gradient_of(m, x), -ldexp(1, x->s_bits));
        hti_ratio_of(m->speeds[2 * (size_t)k + 1], &ratio);
        hti_ratio_undo(&x->remainders, ratio, x->s);
        put_s(x, block);
    }
}

double hti_integers_bits(const hti_integers *m)
{
    double bits = 0;
    for (int k = 0; k < m->n; k++)
        bits +=
            hti_remainders_bits(&m->tensor[k].remainders) * (double)m->tensor[k].count;
    return bits;
}
