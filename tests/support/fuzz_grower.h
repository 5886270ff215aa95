/* SPDX-License-Identifier: MIT */
/* fuzz_grower.h: random graphs. A program is a number of leaves and 5-40 forms, each an
 * op, a row with one of its samples, or a derivative, of variables drawn from those there
 * are. What is drawn depends on seed and shapes only, so that a program can be grown on
 * several tapes and in several types. Values stay about one: what could grow goes through
 * tanh or is divided by its root mean square. Read next: fuzz_forms.h. */
#ifndef HTI_FUZZ_GROWER_H
#define HTI_FUZZ_GROWER_H

#include "ops.h"
#include "test.h"

enum { LEAVES = 3, LEAST_OPS = 5, MOST_OPS = 40, MOST_COUNT = 96, MOST_INDICES = 400 };

/* One program: what it is drawn from, and the integers it came to need. */
typedef struct fuzz {
    uint64_t seed;
    bool kinks, stops; /* may have ops with a kink; stop_gradient */
    int n_ops, n_index;
    ht_context *ctx;
    ht_shape shape[LEAVES];
    ht_tensor *step, *index[MOST_INDICES];
} fuzz;

/* It on one tape. */
typedef struct grower {
    fuzz *f;
    ht_tape *tape;
    ht_dtype dtype;
    uint64_t drawn;
    int n, n_index, *hits; /* by form; NULL: not counted */
    bool inside;           /* a derivative */
    ht_var pool[LEAVES + MOST_OPS], step, index[MOST_INDICES];
    bool used[LEAVES + MOST_OPS];
} grower;

static inline int draw(grower *g, int64_t n)
{
    return (int)ht_random_below(g->f->seed, 1, g->drawn++, n);
}

static inline int64_t count(ht_var x)
{
    return ht_shape_count(ht_var_shape(x));
}

/* One of the pool, more often a late one. */
static inline ht_var pick(grower *g)
{
    int late = g->n < 6 || draw(g, 2) ? g->n : 6, i = g->n - 1 - draw(g, late);
    g->used[i] = true;
    return g->pool[i];
}

/* Integers low .. high: a leaf, the same on every tape. */
static inline ht_var integers(grower *g, ht_dtype dtype, ht_shape shape, double low,
                              double high)
{
    int k = g->n_index++;
    assert_true(k < MOST_INDICES);
    uint64_t first = g->drawn++ * 1024;
    if (k == g->f->n_index) {
        ht_tensor *x = g->f->index[g->f->n_index++] =
            ht_tensor_new(g->f->ctx, dtype, shape);
        for (int64_t i = 0; i < ht_tensor_count(x); i++)
            ht_tensor_set(x, i,
                          low + (double)ht_random_below(g->f->seed, 2,
                                                        first + (uint64_t)i,
                                                        (int64_t)(high - low) + 1));
    }
    return g->index[k] = ht_input(g->tape, g->f->index[k]);
}

static inline ht_var indices(grower *g, ht_shape shape, int64_t below)
{
    return integers(g, HT_I32, shape, 0, (double)(below - 1));
}

/* Elements of a (of the first leaf, if it has none) in any shape. */
static inline ht_var shaped(grower *g, ht_var a, ht_shape shape)
{
    if (ht_shape_equal(ht_var_shape(a), shape)) return a;
    if (count(a) == 0) a = g->pool[0];
    ht_var flat = ht_reshape(a, HT_SHAPE(-1));
    int64_t n = ht_shape_count(shape), m = count(a);
    if (n <= m) return ht_reshape(ht_slice(flat, 0, draw(g, m - n + 1), n, 1), shape);
    return ht_reshape(ht_gather(flat, indices(g, HT_SHAPE(n), m)), shape);
}

static inline ht_shape random_shape(grower *g, int rank)
{
    ht_shape shape = {.rank = rank};
    for (int i = 0; i < rank; i++)
        shape.dim[i] = draw(g, 3) ? 1 + draw(g, rank > 3 ? 3 : 5) : 1;
    return shape;
}

/* (low, high), smoothly. */
static inline ht_var within(ht_var a, double low, double high)
{
    return ht_add(ht_mul(ht_sigmoid(a), high - low), low);
}

static inline ht_var calm(grower *g, ht_var a)
{
    if (draw(g, 2) || count(a) == 0) return ht_tanh(ht_mul(a, 0.5));
    return ht_mul(a, ht_rsqrt(ht_add(ht_mean(ht_square(a)), 1.0)));
}

static inline int random_axis(grower *g, ht_var a)
{
    int rank = ht_var_shape(a).rank;
    return draw(g, 2 * rank) - rank;
}

/* Some axes of a, each once; with all, every axis if need be. */
static inline ht_axes random_axes(grower *g, ht_var a)
{
    ht_axes axes = {0};
    int rank = ht_var_shape(a).rank;
    for (int i = 0; i < rank; i++)
        if (draw(g, 2)) axes.axis[axes.n++] = draw(g, 2) ? i : i - rank;
    return axes;
}

static inline uint64_t stream(grower *g)
{
    return (uint64_t)draw(g, 1000);
}

/* u8, of no derivative by anything. */
static inline ht_var coin(grower *g, ht_shape shape)
{
    return ht_greater(ht_uniform(g->step, (ht_type){g->dtype, shape}, stream(g)), 0.5);
}

#endif
