/* SPDX-License-Identifier: MIT */
/* split.c: which rows go where, at random and always the same: parts and batches.
 *
 * A batch must be a pure function of its step, because differentiating through training
 * calls for it again, out of order. So the random order is not shuffled and kept but
 * computed, one place at a time. Read next: corrupt.c. */
#include "data_internal.h"

#include <math.h>

/* Few rows mix slowly: the orders of 2 to 6 rows are all equally likely, by chi squared,
 * from 24 rounds on. */
enum { ORDER_ROUNDS = 8, ORDER_ROUNDS_SMALL = 24, ORDER_SMALL = 4096 };

/* The streams of epochs lie apart from the small numbers that people choose. */
#define BATCH_STREAM ((uint64_t)0x6261746368 << 24)

hti_order hti_order_new(uint64_t seed, uint64_t stream, int64_t n)
{
    int64_t width = (int64_t)ceil(sqrt((double)n));
    if (width < 1) width = 1;
    return (hti_order){.seed = seed,
                       .stream = stream,
                       .rounds = n < ORDER_SMALL ? ORDER_ROUNDS_SMALL : ORDER_ROUNDS,
                       .n = n,
                       .width = width,
                       .height = (n + width - 1) / width};
}

/* A generalised Feistel network (Black & Rogaway, CT-RSA 2002): place = l + width r;
 * rounds alternate l += F(r) mod width and r += F(l) mod height, F random and anew each
 * round. Each round can be undone, so the whole permutes 0 .. width height - 1. Places at
 * and past n are walked on from until one is below n, which permutes 0 .. n-1. */
int64_t hti_order_at(const hti_order *order, int64_t i)
{
    int64_t place = i;
    do {
        int64_t l = place % order->width, r = place / order->width;
        for (uint64_t round = 0; round < order->rounds; round += 2) {
            l += ht_random_below(order->seed, order->stream, round << 32 | (uint64_t)r,
                                 order->width);
            if (l >= order->width) l -= order->width;
            r += ht_random_below(order->seed, order->stream,
                                 (round + 1) << 32 | (uint64_t)l, order->height);
            if (r >= order->height) r -= order->height;
        }
        place = l + order->width * r;
    } while (place >= order->n);
    return place;
}

static ht_status split_check(ht_context *ctx, int64_t n, int n_parts,
                             const int64_t *sizes)
{
    int64_t asked = 0;
    for (int part = 0; part < n_parts; part++) {
        if (sizes[part] < 0)
            return ht_context_fail(
                ctx, HT_ERROR_ARGUMENT, NULL,
                "ht_split: part %d: expected a size of 0 or more, got %lld\n"
                "  hint: 0 leaves a part empty",
                part, (long long)sizes[part]);
        if (sizes[part] > n - asked)
            return ht_context_fail(
                ctx, HT_ERROR_ARGUMENT, NULL,
                "ht_split: part %d: %lld rows asked after %lld given away, "
                "but only %lld exist\n"
                "  hint: ask for fewer rows, or fetch the full set",
                part, (long long)sizes[part], (long long)asked, (long long)n);
        asked += sizes[part];
    }
    return HT_OK;
}

ht_status ht_split(ht_context *ctx, uint64_t stream, int64_t n, int n_parts,
                   const int64_t *sizes, int64_t *const *parts)
{
    HT_ASSERT(ctx && n_parts >= 0 && (n_parts == 0 || (sizes && parts)),
              "ht_split: context %p, %d parts, sizes %p, parts %p", (void *)ctx, n_parts,
              (const void *)sizes, (const void *)parts);
    ht_status status = split_check(ctx, n, n_parts, sizes);
    if (status) return status;
    hti_order order = hti_order_new(ht_context_seed(ctx), stream, n);
    int64_t place = 0;
    for (int part = 0; part < n_parts; part++)
        for (int64_t i = 0; i < sizes[part]; i++)
            parts[part][i] = hti_order_at(&order, place++);
    return HT_OK;
}

void ht_batch_order(uint64_t seed, uint64_t step, int64_t n, int64_t batch, int64_t *rows)
{
    HT_ASSERT(rows && batch > 0 && batch <= n,
              "ht_batch_order: batch %lld of %lld rows, to %p", (long long)batch,
              (long long)n, (void *)rows);
    uint64_t per_epoch = (uint64_t)(n / batch), epoch = step / per_epoch;
    hti_order order = hti_order_new(seed, BATCH_STREAM + epoch, n);
    int64_t first = (int64_t)(step % per_epoch) * batch;
    for (int64_t i = 0; i < batch; i++) rows[i] = hti_order_at(&order, first + i);
}
