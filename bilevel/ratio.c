/* SPDX-License-Identifier: MIT */
/* ratio.c: an integer times n/d and back. With the symmetric remainder, c mod d in
 * -d/2 .. d/2,
 *   rest = rest d + c mod d;      c = (c - c mod d) / d        a digit of base d is kept
 *   c    = c n + rest mod n;      rest = (rest - rest mod n) / n   one of base n is used
 * is one to one, and undone by the same with n and d in each other's place. c is n/d of
 * what it was, but for a rounding whose mean is 0 (0 stays 0 as long as nothing is kept),
 * and the rest grows by log2(d/n) bits. After algorithm 3 of Maclaurin, Duvenaud & Adams,
 * ICML 2015, who have c mod d in 0 .. d-1. Read next: unroll/integers.c. */
#include "ratio.h"

#include <math.h>
#include <string.h>

enum { LAYER_BITS = 32 };

/* Continued fractions give the best approximations; the last is the one between two
 * (semi-convergent) whose denominator still fits. */
bool hti_ratio_of(double x, hti_ratio *ratio)
{
    int64_t n0 = 0, d0 = 1, n = 1, d = 0;
    double rest = x;
    if (!(x > 0 && x <= 1)) return false;
    for (;;) {
        double whole = floor(rest),
               most = d ? (double)((HTI_RATIO_MOST - d0) / d) : whole;
        int64_t a = (int64_t)(whole < most ? whole : most);
        int64_t n2 = a * n + n0, d2 = a * d + d0;
        bool better =
            !d || fabs((double)n2 / (double)d2 - x) < fabs((double)n / (double)d - x);
        if (a == 0 && d) break;
        n0 = n, d0 = d;
        if (better) n = n2, d = d2;
        if (!better || whole > most || rest == whole || (double)n / (double)d == x) break;
        rest = 1 / (rest - whole);
    }
    *ratio = (hti_ratio){n, d};
    return n > 0;
}

/* c / d with the symmetric remainder, of which there are d. */
static inline int64_t divide(int64_t c, int64_t d, int64_t *remainder)
{
    int64_t q = c / d, r = c - q * d;
    int64_t more = (r > (d - 1) / 2) - (r < -(d / 2));
    *remainder = r - more * d;
    return q + more;
}

/* a b + c; modulo 2^64 where what is undone was never done, which is found out later. */
static inline int64_t wrapped(int64_t a, int64_t b, int64_t c)
{
    return (int64_t)((uint64_t)a * (uint64_t)b + (uint64_t)c);
}

/* A digit of base `kept` for one of base `used`. */
static void exchange(int64_t count, int64_t *rest, int64_t *v, int64_t kept, int64_t used)
{
    for (int64_t k = 0; k < count; k++) {
        int64_t digit, high = divide(v[k], kept, &digit);
        rest[k] = divide(wrapped(rest[k], kept, digit), used, &digit);
        v[k] = wrapped(high, used, digit);
    }
}

/* Whether |rest| <= largest leaves no room for a digit of base d. */
static bool is_full(int64_t largest, int64_t d)
{
    return largest > (INT64_MAX - d / 2) / d;
}

static int64_t largest_after(int64_t largest, hti_ratio q)
{
    int64_t kept = largest * q.d + q.d / 2; /* no more than INT64_MAX - q.n / 2 */
    return kept / q.n + (kept % q.n + q.n / 2) / q.n;
}

static int64_t largest_without_layer(int64_t largest)
{
    return (largest >> LAYER_BITS) + 1;
}

int64_t hti_ratio_layers(hti_ratio q, int64_t times)
{
    int64_t largest = 0, layers = 0;
    for (int64_t k = 0; k < times; k++) {
        if (is_full(largest, q.d)) {
            largest = largest_without_layer(largest);
            layers++;
        }
        largest = largest_after(largest, q);
    }
    return layers;
}

void hti_remainders_clear(hti_remainders *r)
{
    memset(r->rest, 0, (size_t)r->count * sizeof *r->rest);
    r->largest = r->layers = r->times = 0;
}

static bool take_layer(hti_remainders *r)
{
    if (r->layers == r->most) return false;
    int32_t *layer = r->layer + r->layers * r->count;
    for (int64_t k = 0; k < r->count; k++) {
        int64_t low;
        r->rest[k] = divide(r->rest[k], (int64_t)1 << LAYER_BITS, &low);
        layer[k] = (int32_t)low;
    }
    r->layer_times[r->layers++] = r->times;
    r->largest = largest_without_layer(r->largest);
    return true;
}

bool hti_ratio_multiply(hti_remainders *r, hti_ratio q, int64_t *v)
{
    if (is_full(r->largest, q.d) && !take_layer(r)) return false;
    exchange(r->count, r->rest, v, q.d, q.n);
    r->largest = largest_after(r->largest, q);
    r->times++;
    return true;
}

void hti_ratio_undo(hti_remainders *r, hti_ratio q, int64_t *v)
{
    exchange(r->count, r->rest, v, q.n, q.d);
    r->times--;
    if (r->layers == 0 || r->layer_times[r->layers - 1] != r->times) return;
    const int32_t *layer = r->layer + --r->layers * r->count;
    for (int64_t k = 0; k < r->count; k++)
        r->rest[k] = wrapped(r->rest[k], (int64_t)1 << LAYER_BITS, layer[k]);
}

bool hti_remainders_none(const hti_remainders *r)
{
    int64_t any = r->layers | r->times;
    for (int64_t k = 0; k < r->count; k++) any |= r->rest[k];
    return any == 0;
}

double hti_remainders_bits(const hti_remainders *r)
{
    return LAYER_BITS * (double)r->layers + log2(2 * (double)r->largest + 1);
}
