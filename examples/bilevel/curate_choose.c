/* SPDX-License-Identifier: MIT */
/* curate_choose.c: which images of a pool to keep, by a rule or a score.
 * Read next: curate_train.c. */
#include <math.h>
#include <stdlib.h>

#include "curate.h"

enum { CLASSES = 10, RANDOM_ORDER = 7 };

static choice choice_new(int64_t room)
{
    choice c = {.row = calloc((size_t)room, sizeof(int64_t))};
    HT_ASSERT(c.row, "no memory for a choice of %lld rows", (long long)room);
    return c;
}

static void add(const pool *p, choice *c, int64_t row)
{
    c->row[c->n++] = row;
    if (row < p->n) c->kept[p->kind[row]]++;
}

choice choice_range(const pool *p, int64_t first, int64_t n)
{
    choice c = choice_new(n);
    for (int64_t i = first; i < first + n; i++) add(p, &c, i);
    return c;
}

choice choice_joined(const pool *p, const choice *a, const choice *b)
{
    choice c = choice_new(a->n + b->n);
    for (int64_t i = 0; i < a->n; i++) add(p, &c, a->row[i]);
    for (int64_t i = 0; i < b->n; i++) add(p, &c, b->row[i]);
    return c;
}

typedef struct scored {
    double score;
    int64_t row;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score < y->score || x->score > y->score) return x->score > y->score ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

choice choice_best(const pool *p, const ht_tensor *score, int64_t keep)
{
    choice c = choice_new(keep);
    scored *order = calloc((size_t)p->n, sizeof *order);
    HT_ASSERT(order, "no memory to rank %lld images", (long long)p->n);
    for (int64_t i = 0; i < p->n; i++) order[i] = (scored){ht_tensor_get(score, i), i};
    qsort(order, (size_t)p->n, sizeof *order, by_score);
    for (int64_t i = 0; i < keep; i++) add(p, &c, order[i].row);
    free(order);
    return c;
}

/* All of the pool, in a random order: owned. */
static int64_t *shuffled(const pool *p)
{
    int64_t *row = calloc((size_t)p->n, sizeof *row);
    HT_ASSERT(row, "no memory for %lld rows", (long long)p->n);
    ht_context *ctx = ht_set_context(p->all);
    ht_split(ctx, RANDOM_ORDER, p->n, 1, &p->n, &row);
    ht_check(ctx);
    return row;
}

choice choice_random(const pool *p, int64_t keep)
{
    choice c = choice_new(keep);
    int64_t *row = shuffled(p);
    for (int64_t i = 0; i < keep; i++) add(p, &c, row[i]);
    free(row);
    return c;
}

/* At random, of each label as large a share as the target has; where there are too few,
 * the rest at random. */
static choice by_share(const pool *p, int64_t keep, bool right)
{
    choice c = choice_new(keep);
    double share[CLASSES] = {0}, room[CLASSES];
    int64_t *row = shuffled(p);
    for (int64_t j = 0; j < p->n_target; j++)
        share[p->given[p->n + j]] += (double)keep / (double)p->n_target;
    for (int k = 0; k < CLASSES; k++) room[k] = round(share[k]);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < p->n && c.n < keep; i++) {
            if (row[i] < 0 || (right && p->kind[row[i]] > OTHER)) continue;
            double *left = &room[p->given[row[i]]];
            if (pass == 0 && *left < 1) continue;
            *left -= 1;
            add(p, &c, row[i]);
            row[i] = -1;
        }
    free(row);
    return c;
}

choice choice_skewed(const pool *p, int64_t keep)
{
    return by_share(p, keep, false);
}

choice choice_oracle(const pool *p, int64_t keep)
{
    return by_share(p, keep, true);
}
