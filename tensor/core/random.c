/* SPDX-License-Identifier: MIT */
/* random.c: random numbers as a function of (seed, stream, index). There is no generator
 * to carry along: recomputing a step, or computing it on other threads, draws the same
 * numbers. Read next: nn/'s initialisers. */
#include <float.h>
#include <math.h>

#include "tensor_internal.h"

__extension__ typedef unsigned __int128 random_wide;

/* Philox4x32-10: Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2,
 * 3", SC 2011. Ten rounds, each two 32x32 -> 64 products whose halves are exchanged and
 * mixed with the key; the key moves on by Weyl constants. */
static void random_philox(uint32_t counter[4], uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)0xD2511F53 * counter[0];
        uint64_t q = (uint64_t)0xCD9E8D57 * counter[2];
        counter[0] = (uint32_t)(q >> 32) ^ counter[1] ^ key0;
        counter[2] = (uint32_t)(p >> 32) ^ counter[3] ^ key1;
        counter[1] = (uint32_t)q;
        counter[3] = (uint32_t)p;
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

/* The two draws 2 * block and 2 * block + 1 of a stream. */
static void random_block(uint64_t seed, uint64_t stream, uint64_t block, uint64_t bits[2])
{
    uint32_t c[4] = {(uint32_t)stream, (uint32_t)(stream >> 32), (uint32_t)block,
                     (uint32_t)(block >> 32)};
    random_philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
    bits[0] = c[0] | (uint64_t)c[1] << 32;
    bits[1] = c[2] | (uint64_t)c[3] << 32;
}

static double random_unit(uint64_t bits)
{
    return (double)(bits >> 11) * 0x1p-53;
}

uint64_t ht_random_bits(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint64_t bits[2];
    random_block(seed, stream, index / 2, bits);
    return bits[index & 1];
}

double ht_random_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    return random_unit(ht_random_bits(seed, stream, index));
}

int64_t ht_random_below(uint64_t seed, uint64_t stream, uint64_t index, int64_t n)
{
    HT_ASSERT(n > 0, "ht_random_below: n is %lld, expected > 0", (long long)n);
    random_wide scaled = (random_wide)ht_random_bits(seed, stream, index) * (uint64_t)n;
    return (int64_t)(scaled >> 64);
}

void ht_random_permutation(uint64_t seed, uint64_t stream, int64_t n, int64_t *order)
{
    HT_ASSERT(n >= 0 && (order || n == 0),
              "ht_random_permutation: n is %lld, expected >= 0, and order %p",
              (long long)n, (void *)order);
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = ht_random_below(seed, stream, (uint64_t)i, i + 1);
        int64_t moved = order[i];
        order[i] = order[j];
        order[j] = moved;
    }
}

/* Box & Muller (1958): with u, v uniform, r = sqrt(-2 log(1 - u)), the numbers r cos(2 pi
 * v) and r sin(2 pi v) are independent standard normals. 1 - u is never 0. */
static void random_normal_pair(const uint64_t bits[2], double z[2])
{
    const double two_pi = 6.283185307179586476925;
    double r = sqrt(-2 * log(1 - random_unit(bits[0])));
    double angle = two_pi * random_unit(bits[1]);
    z[0] = r * cos(angle);
    z[1] = r * sin(angle);
}

static void random_uniform_pair(const uint64_t bits[2], double z[2])
{
    z[0] = random_unit(bits[0]);
    z[1] = random_unit(bits[1]);
}

/* The least number of the type that is not below x. */
static double random_ceiling(ht_dtype dtype, double x)
{
    if (dtype == HT_F64) return x;
    float y = (float)x;
    return (double)((double)y < x ? nextafterf(y, INFINITY) : y);
}

/* What draws may become: low <= x < high; low itself, rounded, if the type has no such x.
 * Rounded to the nearest number of the type a draw could be the upper bound itself. */
static void random_between(hti_draws *w, double low, double high)
{
    w->least = random_ceiling(w->out.dtype, low);
    w->most = -random_ceiling(w->out.dtype, -nextafter(high, -INFINITY));
    if (w->least > w->most)
        w->least = w->most = w->out.dtype == HT_F32 ? (double)(float)low : low;
}

static void random_store(const hti_draws *w, int64_t i, double value)
{
    double rounded = w->out.dtype == HT_F32 ? (double)(float)value : value;
    rounded = rounded < w->least ? w->least : rounded;
    rounded = rounded > w->most ? w->most : rounded;
    if (w->out.dtype == HT_F32)
        ((float *)w->out.data)[i] = (float)rounded;
    else
        ((double *)w->out.data)[i] = rounded;
}

hti_draws hti_draws_of(hti_random f, ht_array out, uint64_t seed, uint64_t stream)
{
    hti_draws w = {f, out, seed, stream, 0, 0, 1, -INFINITY, INFINITY};
    if (f == HTI_UNIFORM) random_between(&w, 0, 1);
    return w;
}

void hti_draw_pairs(const void *work, int64_t first, int64_t last)
{
    const hti_draws *w = work;
    int64_t count = ht_shape_count(w->out.shape);
    for (int64_t pair = first; pair < last; pair++) {
        uint64_t bits[2];
        double z[2];
        random_block(w->seed, w->stream, w->block + (uint64_t)pair, bits);
        if (w->f == HTI_NORMAL)
            random_normal_pair(bits, z);
        else
            random_uniform_pair(bits, z);
        for (int k = 0; k < 2 && 2 * pair + k < count; k++) {
            if (w->f == HTI_DROPOUT)
                z[k] = z[k] < w->shift ? 0 : 1 / (1 - w->shift);
            else
                z[k] = w->shift + w->scale * z[k];
            random_store(w, 2 * pair + k, z[k]);
        }
    }
}

/* Draws of x, or an error of `who`. */
static ht_status random_fill(ht_tensor *x, const hti_draws *w, const char *who)
{
    if (!hti_dtype_is_float(x->array.dtype))
        return ht_context_fail(x->ctx, HT_ERROR_DTYPE, NULL,
                               "%s: expected an f32 or f64 tensor, got %s", who,
                               ht_dtype_name(x->array.dtype));
    hti_tensor_write(x, who, NULL);
    hti_draw_pairs(w, 0, (ht_shape_count(x->array.shape) + 1) / 2);
    return HT_OK;
}

/* Whether x's dtype holds numbers up to `most` in size. */
static bool random_holds(const ht_tensor *x, double most)
{
    return x->array.dtype != HT_F32 ? isfinite(most) : most <= (double)FLT_MAX;
}

ht_status ht_tensor_uniform(ht_tensor *x, uint64_t stream, double low, double high)
{
    HT_ASSERT(x, "ht_tensor_uniform: the tensor is NULL");
    if (!(isfinite(high - low) && low <= high && random_holds(x, fabs(low)) &&
          random_holds(x, fabs(high))))
        return ht_context_fail(x->ctx, HT_ERROR_ARGUMENT, NULL,
                               "ht_tensor_uniform: expected, finite in %s, low, high, "
                               "high - low and low <= high, got %g, %g",
                               ht_dtype_name(x->array.dtype), low, high);
    hti_draws w = hti_draws_of(HTI_UNIFORM, x->array, x->ctx->options.seed, stream);
    w.shift = low;
    w.scale = high - low;
    random_between(&w, low, high);
    return random_fill(x, &w, "ht_tensor_uniform");
}

ht_status ht_tensor_normal(ht_tensor *x, uint64_t stream, double mean, double deviation)
{
    HT_ASSERT(x, "ht_tensor_normal: the tensor is NULL");
    /* No draw is further out than 9 deviations. */
    if (!(deviation >= 0 && random_holds(x, fabs(mean) + 9 * deviation)))
        return ht_context_fail(
            x->ctx, HT_ERROR_ARGUMENT, NULL,
            "ht_tensor_normal: expected a finite mean and deviation >= 0, and draws "
            "finite in the tensor's dtype, got %g, %g",
            mean, deviation);
    hti_draws w = hti_draws_of(HTI_NORMAL, x->array, x->ctx->options.seed, stream);
    w.shift = mean;
    w.scale = deviation;
    return random_fill(x, &w, "ht_tensor_normal");
}
