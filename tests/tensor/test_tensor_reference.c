/* SPDX-License-Identifier: MIT */
/* test_tensor_reference.c: every kernel of the table, the reference against each
 * instruction set, on random views, broadcast, empty and awkward ones, in both float
 * types. Bounds: with u the roundoff, an element that `terms` numbers of size `size` make
 * may be off by u (terms + 64) times the larger of that size and itself: each term is
 * rounded a few times on its way, and 64 covers what libm, our polynomials, and exponents
 * of up to 40 magnify. Integers are equal. What is not finite in one is not in the other;
 * which of infinity and NaN it is, and what large and small numbers leave of each other,
 * the order of sums may say, where there are sums. */
#include <stddef.h>

#include "test_arrays.h"

enum { MOST_ARRAYS = 12, TRIALS = 60 };

/* One call: the same seed makes the same operands for every index. */
typedef struct trial {
    ht_context *ctx;
    struct test_random random;
    struct test_array made[MOST_ARRAYS];
    int n_made, out; /* out: what is compared */
    ht_dtype dtype;
    double terms, size;
    bool awkward;
} trial;

static double awkward_value(trial *t)
{
    bool f32 = t->dtype == HT_F32;
    const double values[] = {(double)NAN, (double)INFINITY, -(double)INFINITY,
                             f32 ? 1e11 : 1e60, f32 ? -1e-11 : -1e-60};
    return values[test_below(&t->random, 5)];
}

/* An input: any view, of numbers within 2, awkward ones at times. */
static ht_array in(trial *t, ht_dtype dtype, ht_shape shape)
{
    struct test_array *a = &t->made[t->n_made++];
    *a = test_view(&t->random, dtype, shape, true);
    int64_t n = ht_shape_count(shape);
    for (int64_t i = 0; i < n && hti_dtype_is_float(dtype); i++)
        test_put(&a->array, i,
                 test_below(&t->random, 5)
                     ? 4 * ht_random_uniform(7, 7, t->random.next++) - 2
                     : (double)(test_below(&t->random, 5) - 2));
    if (n > 0 && t->awkward && hti_dtype_is_float(dtype) && !test_below(&t->random, 6))
        test_put(&a->array, test_below(&t->random, n), awkward_value(t));
    return a->array;
}

static ht_array in_dense(trial *t, ht_shape shape)
{
    t->made[t->n_made] = test_dense(&t->random, t->dtype, shape);
    return t->made[t->n_made++].array;
}

/* Integers from 0 to n - 1. */
static ht_array in_below(trial *t, ht_shape shape, int64_t n)
{
    ht_array a = in(t, HT_I32, shape);
    for (int64_t i = 0; i < ht_shape_count(shape); i++)
        test_put(&a, i, (double)test_below(&t->random, n));
    return a;
}

static ht_array out(trial *t, ht_dtype dtype, ht_shape shape)
{
    t->out = t->n_made;
    t->made[t->n_made++] = test_dense(&t->random, dtype, shape);
    ht_array a = t->made[t->out].array;
    memset(a.data, 0xff, hti_bytes(dtype, shape));
    return a;
}

static int64_t dim(trial *t, int64_t most)
{
    return test_below(&t->random, 12) ? 1 + test_below(&t->random, most) : 0;
}

static ht_shape rows(trial *t)
{
    return HT_SHAPE(dim(t, 5),
                    1 + test_below(&t->random, test_below(&t->random, 4) ? 40 : 900));
}

/* Elementwise. */

static bool is_integer(ht_dtype dtype)
{
    return dtype == HT_I32;
}

static void run_elementwise(trial *t)
{
    static const hti_binary whole[] = {HTI_BINARY_add, HTI_BINARY_sub, HTI_BINARY_mul,
                                       HTI_BINARY_maximum, HTI_BINARY_minimum};
    ht_shape shape = test_shape(&t->random);
    ht_dtype d = test_below(&t->random, 4) ? t->dtype : HT_I32;
    ht_array a = in(t, d, shape), b = in(t, d, shape), c = in(t, HT_U8, shape);
    int f = (int)test_below(&t->random, HTI_N_BINARY);
    switch (test_below(&t->random, 5)) {
    case 0:
        hti_run_compare(t->ctx, (hti_compare)(f % HTI_N_COMPARE), out(t, HT_U8, shape), a,
                        b);
        return;
    case 1:
        hti_run_where(t->ctx, out(t, d, shape), c, a, b);
        return;
    case 2:
        hti_run_copy(t->ctx, out(t, (ht_dtype)(1 + test_below(&t->random, 4)), shape), a);
        return;
    case 3:
        hti_run_binary(t->ctx, is_integer(d) ? whole[f % 5] : (hti_binary)f,
                       out(t, d, shape), a, b);
        return;
    default:
        f = (int)test_below(&t->random, HTI_N_UNARY);
        hti_run_unary(
            t->ctx, is_integer(d) ? f % 2 ? HTI_UNARY_neg : HTI_UNARY_abs : (hti_unary)f,
            out(t, d, shape), a);
    }
}

/* tanh, each binary, each tree, a choice and both sums, one on another. */
static void run_fused(trial *t)
{
    ht_shape shape = HT_SHAPE(dim(t, 700));
    ht_array a = in_dense(t, shape), b = in_dense(t, shape);
    ht_array sum = out(t, t->dtype, (ht_shape){0}), to = out(t, t->dtype, shape);
    uint8_t d = (uint8_t)t->dtype, tree = (uint8_t)test_below(&t->random, HTI_N_TREE);
    hti_fused f = {
        .n_steps = 6,
        .n_outputs = 1,
        .n_operands = 3,
        .n_sums = 1,
        .step = {{HTI_LOOP_UNARY, HTI_UNARY_tanh, d, d, 1, {1}, 3},
                 {HTI_LOOP_UNARY, HTI_UNARY_sigmoid, d, d, 1, {2}, 4},
                 {HTI_LOOP_TREE, tree, d, d, HTI_TREE_INPUTS, {4, 3, 4, 3, 4, 4}, 5},
                 {HTI_LOOP_COMPARE, HTI_COMPARE_greater, d, HT_U8, 2, {1, 2}, 6},
                 {HTI_LOOP_WHERE, 0, d, d, 3, {6, 5, 3}, 0},
                 {HTI_LOOP_SUM,
                  (uint8_t)(test_below(&t->random, 2) ? HTI_SUM : HTI_MEAN),
                  d,
                  d,
                  1,
                  {0},
                  0}}};
    if (f.step[5].function == HTI_MEAN && t->dtype == HT_F64)
        f.step[5].function = HTI_SUM;
    t->terms = (double)shape.dim[0];
    t->size = 100;
    hti_kernel(t->ctx, fused, &f, (const ht_array *[]){&to, &a, &b, &sum}, NULL);
    if (test_below(&t->random, 2)) t->out--;
}

/* Sums, moments, rows. */

static void run_reduce(trial *t)
{
    ht_shape shape = test_shape(&t->random), to = shape;
    unsigned axes = (unsigned)test_below(&t->random, 64);
    for (int i = 0; i < shape.rank; i++) to.dim[i] = axes >> i & 1 ? 1 : shape.dim[i];
    bool sum = test_below(&t->random, 2);
    ht_dtype d = sum && !test_below(&t->random, 3) ? HT_I32 : t->dtype;
    t->terms = (double)ht_shape_count(shape);
    ht_array a = in(t, d, shape);
    hti_kernel(t->ctx, reduce, sum ? HTI_SUM : HTI_MAX, out(t, d, to), a, axes);
}

static void run_moment(trial *t)
{
    static const hti_reduce kinds[] = {HTI_MEAN, HTI_VARIANCE, HTI_NORM, HTI_SCALED_NORM};
    ht_shape shape = rows(t), to = shape;
    unsigned axes = 1 + (unsigned)test_below(&t->random, 3);
    for (int i = 0; i < shape.rank; i++) to.dim[i] = axes >> i & 1 ? 1 : shape.dim[i];
    hti_reduce f = kinds[test_below(&t->random, 4)];
    ht_array a = in(t, t->dtype, shape);
    hti_kernel(t->ctx, moment, f, out(t, t->dtype, to), a, axes, 3);
}

static void run_cumsum(trial *t)
{
    ht_shape shape = rows(t);
    int axis = (int)test_below(&t->random, 2);
    t->terms = 900;
    ht_array a = in(t, t->dtype, shape);
    hti_kernel(t->ctx, cumsum, out(t, t->dtype, shape), a, axis,
               test_below(&t->random, 2));
}

static void run_argmax(trial *t)
{
    ht_shape shape = rows(t);
    ht_array a = in(t, t->dtype, shape);
    hti_kernel(t->ctx, argmax, out(t, HT_I32, HT_SHAPE(shape.dim[0])), a);
}

static void run_softmax(trial *t)
{
    ht_array a = in(t, t->dtype, rows(t));
    hti_kernel(t->ctx, softmax, out(t, t->dtype, a.shape), a);
}

static void run_log_softmax(trial *t)
{
    ht_array a = in(t, t->dtype, rows(t));
    hti_kernel(t->ctx, log_softmax, out(t, t->dtype, a.shape), a);
}

static void run_logsumexp(trial *t)
{
    ht_array a = in(t, t->dtype, rows(t));
    hti_kernel(t->ctx, logsumexp, out(t, t->dtype, HT_SHAPE(a.shape.dim[0])), a);
}

static void check_position(trial *t, int64_t got, int64_t want)
{
    if (got != want)
        fail_msg("%s returns %lld, not %lld", t->ctx->kernels->name, (long long)got,
                 (long long)want);
}

/* At times one index is outside: nothing is written then. */
static int64_t spoil(trial *t, ht_array *index, int64_t n)
{
    int64_t count = ht_shape_count(index->shape);
    if (count == 0 || test_below(&t->random, 8)) return -1;
    int64_t at = test_below(&t->random, count);
    test_put(index, at, test_below(&t->random, 2) ? -1 : (double)n);
    double bad = test_get(index, at);
    for (int64_t i = 0; i < at; i++)
        if (test_get(index, i) == bad) return i;
    return at;
}

static void run_cross_entropy(trial *t)
{
    ht_array a = in(t, t->dtype, rows(t));
    ht_array labels = in_below(t, HT_SHAPE(a.shape.dim[0]), a.shape.dim[1]);
    int64_t bad = spoil(t, &labels, a.shape.dim[1]);
    ht_array to = out(t, t->dtype, labels.shape);
    check_position(t, hti_kernel(t->ctx, cross_entropy, to, a, labels), bad);
}

static void run_cross_entropy_slope(trial *t)
{
    ht_array a = in(t, t->dtype, rows(t));
    ht_array labels = in_below(t, HT_SHAPE(a.shape.dim[0]), a.shape.dim[1]);
    int64_t bad = spoil(t, &labels, a.shape.dim[1]);
    ht_array to = out(t, t->dtype, a.shape);
    check_position(t, hti_kernel(t->ctx, cross_entropy_slope, to, a, labels), bad);
}

static void run_slope(trial *t)
{
    ht_shape shape = rows(t);
    ht_array x = in(t, t->dtype, shape), v = in(t, t->dtype, shape),
             u = in(t, t->dtype, shape);
    t->terms = (double)shape.dim[1];
    t->size = 20;
    hti_kernel(t->ctx, slope, (hti_slope)test_below(&t->random, HTI_N_SLOPE),
               out(t, t->dtype, shape), (const ht_array *[]){&x, &v, &u});
}

/* Itself, its derivative or the derivative of that. */
static void run_normalize(trial *t)
{
    ht_shape shape = rows(t);
    ht_array a = in(t, t->dtype, shape), v = in(t, t->dtype, shape),
             u = in(t, t->dtype, shape);
    int n = 1 + (int)test_below(&t->random, 3);
    t->size = n == 1 ? 10 : n == 2 ? 100 : 1000;
    hti_kernel(t->ctx, normalize, out(t, t->dtype, shape), n,
               (const ht_array *[]){&a, &v, &u}, 0.1, test_below(&t->random, 2));
}

/* Triangles, attention, draws. */

static void run_project(trial *t)
{
    ht_shape shape = rows(t), column = HT_SHAPE(shape.dim[0], 1);
    hti_projection set = (hti_projection)test_below(&t->random, HTI_N_PROJECTION);
    bool slopes = test_below(&t->random, 2);
    ht_array a = in(t, t->dtype, shape), radius = in(t, t->dtype, column);
    shape.dim[1] *= slopes ? 2 : 1;
    double v[1000];
    hti_kernel(t->ctx, project, set, slopes, out(t, t->dtype, shape), a, radius, v);
}

static void run_tril(trial *t)
{
    ht_array a = in(t, t->dtype, HT_SHAPE(dim(t, 3), dim(t, 20), dim(t, 20)));
    hti_kernel(t->ctx, tril, out(t, t->dtype, a.shape), a, test_below(&t->random, 9) - 4,
               7);
}

static void run_triangle(trial *t)
{
    hti_triangle side = (hti_triangle)test_below(&t->random, 3);
    int64_t b = dim(t, 3), n = dim(t, 80), s = dim(t, 80), d = dim(t, 20);
    ht_shape triangle = HT_SHAPE(b, n, s), tall = HT_SHAPE(b, n, d),
             wide = HT_SHAPE(b, s, d);
    bool pairs = side == HTI_TRIANGLE_PAIRS, below = side == HTI_TRIANGLE_BELOW;
    ht_array x = in(t, t->dtype, pairs ? tall : triangle);
    ht_array y = in(t, t->dtype, pairs || below ? wide : tall);
    t->terms = 80;
    t->size = 4;
    hti_kernel(t->ctx, triangle, side,
               out(t, t->dtype,
                   pairs   ? triangle
                   : below ? tall
                           : wide),
               x, y);
}

static void run_attention(trial *t)
{
    int64_t b = dim(t, 2), n = dim(t, 40), s = 1 + test_below(&t->random, 40),
            heads = dim(t, 3);
    int64_t d = dim(t, 9), e = dim(t, 9);
    hti_attention what = {0.5, test_below(&t->random, 2), test_below(&t->random, 2),
                          test_below(&t->random, 2)};
    const ht_shape shapes[] = {HT_SHAPE(b, n, heads, d), HT_SHAPE(b, s, heads, d),
                               HT_SHAPE(b, s, heads, e), HT_SHAPE(b, n, heads, e)};
    ht_array each[8];
    const ht_array *operands[8];
    int operands_of = 3 + what.gradient, count = operands_of << what.tangent;
    int64_t all = 0;
    for (int i = 0; i < 3; i++) all += ht_shape_count(shapes[i]);
    for (int i = 0; i < count; i++) {
        each[i] = in(t, t->dtype, shapes[i % operands_of]);
        operands[i] = &each[i];
    }
    t->terms = 40;
    t->size = 1000;
    ht_array to = out(t, t->dtype, what.gradient ? HT_SHAPE(all) : shapes[3]);
    size_t bytes =
        hti_kernel(t->ctx, attention_workspace, t->dtype, shapes[0], shapes[1], &what);
    void *room = aligned_alloc(HTI_ALIGN, hti_round_up(bytes + 1, HTI_ALIGN));
    memset(room, 0xff, bytes);
    hti_kernel(t->ctx, attention, to, operands, &what, room);
    free(room);
}

static void run_random(trial *t)
{
    hti_random f = (hti_random)test_below(&t->random, 3);
    ht_shape shape = HT_SHAPE(dim(t, 500));
    hti_kernel(t->ctx, random, f, out(t, t->dtype, shape), 3, 5,
               (int32_t)test_below(&t->random, 1000) - 500, 0.3);
}

/* By an index. */

static void run_one_hot(trial *t)
{
    ht_array labels = in_below(t, HT_SHAPE(dim(t, 4), dim(t, 30)), 9);
    int64_t bad = spoil(t, &labels, 9);
    ht_array to = out(t, t->dtype, HT_SHAPE(labels.shape.dim[0], labels.shape.dim[1], 9));
    check_position(t, hti_kernel(t->ctx, one_hot, to, labels), bad);
}

static void run_gather(trial *t)
{
    ht_array x = in(t, t->dtype, HT_SHAPE(7, dim(t, 20), 3));
    ht_array index = in_below(t, HT_SHAPE(dim(t, 4), 5), 7);
    int64_t bad = spoil(t, &index, 7);
    ht_array to = out(t, t->dtype, HT_SHAPE(index.shape.dim[0], 5, x.shape.dim[1], 3));
    check_position(t, hti_kernel(t->ctx, gather, to, x, index), bad);
}

static void run_scatter_add(trial *t)
{
    ht_array index = in_below(t, HT_SHAPE(dim(t, 4), 5), 7);
    ht_array x = in(t, t->dtype, HT_SHAPE(index.shape.dim[0], 5, dim(t, 20), 3));
    int64_t bad = spoil(t, &index, 7);
    ht_array to = out(t, t->dtype, HT_SHAPE(7, x.shape.dim[2], 3));
    hti_run_fill(t->ctx, to, 0.25);
    int64_t got = hti_kernel(t->ctx, scatter_add, to, index, x);
    if (ht_shape_count(x.shape) > 0) check_position(t, got, bad);
}

static void run_take_last(trial *t)
{
    int64_t n = dim(t, 5), k = dim(t, 9);
    ht_array x = in(t, t->dtype, HT_SHAPE(n, 11)),
             index = in_below(t, HT_SHAPE(n, k), 11);
    int64_t bad = spoil(t, &index, 11);
    check_position(
        t, hti_kernel(t->ctx, take_last, out(t, t->dtype, HT_SHAPE(n, k)), x, index),
        bad);
}

static void run_put_last(trial *t)
{
    int64_t n = dim(t, 5), k = dim(t, 9);
    ht_array y = in(t, t->dtype, HT_SHAPE(n, k)), index = in_below(t, HT_SHAPE(n, k), 11);
    int64_t bad = spoil(t, &index, 11);
    check_position(
        t, hti_kernel(t->ctx, put_last, out(t, t->dtype, HT_SHAPE(n, 11)), y, index),
        bad);
}

/* Products and windows. */

static void run_matmul(trial *t)
{
    int64_t b = dim(t, 3), m = dim(t, 40), k = dim(t, 70), n = dim(t, 40);
    ht_array x = in(t, t->dtype, HT_SHAPE(b, m, k)),
             y = in(t, t->dtype, HT_SHAPE(b, k, n));
    t->terms = 70;
    t->size = 4;
    hti_kernel(t->ctx, matmul, out(t, t->dtype, HT_SHAPE(b, m, n)), x, y);
}

static void run_matmul_add(trial *t)
{
    int64_t m = dim(t, 40), k = 1 + test_below(&t->random, 70), n = dim(t, 40);
    ht_array x = in(t, t->dtype, HT_SHAPE(m, k)), y = in(t, t->dtype, HT_SHAPE(k, n));
    ht_array to = out(t, t->dtype, HT_SHAPE(m, n));
    hti_run_fill(t->ctx, to, 0.25);
    t->terms = 70;
    t->size = 4;
    hti_kernel(t->ctx, matmul_add, to, x, y);
}

static ht_array in_between(trial *t, ht_shape shape)
{
    ht_array a = in_dense(t, shape);
    for (int64_t i = 0; i < ht_shape_count(shape); i++)
        test_put(&a, i, 4 * ht_random_uniform(7, 7, t->random.next++) - 2);
    return a;
}

/* Whole where the kernels say that it does not go by blocks. */
static void run_matmul_block(trial *t)
{
    bool large = !test_below(&t->random, 8), turned = test_below(&t->random, 2);
    int64_t m =
        large ? 1000 + test_below(&t->random, 300) : 1 + test_below(&t->random, 9);
    int64_t k = large ? 280 + test_below(&t->random, 40) : 9;
    int64_t n = 1 + test_below(&t->random, 11),
            step = 64 * (1 + test_below(&t->random, 3));
    ht_array x = in_between(t, HT_SHAPE(m, k));
    ht_array w = in_between(t, turned ? HT_SHAPE(m, n) : HT_SHAPE(k, n));
    ht_array to = out(t, t->dtype, turned ? HT_SHAPE(k, n) : HT_SHAPE(m, n));
    ht_array a = x;
    if (turned) {
        a.shape = HT_SHAPE(k, m);
        a.stride[0] = x.stride[1], a.stride[1] = x.stride[0];
    }
    t->terms = turned ? 1300 : 320;
    t->size = 4;
    size_t bytes = hti_kernel(t->ctx, matmul_room, &to, &a, &w);
    if (!bytes) {
        hti_kernel(t->ctx, matmul, to, a, w);
        return;
    }
    void *room = aligned_alloc(HTI_ALIGN, hti_round_up(bytes, HTI_ALIGN));
    assert_non_null(room);
    for (int64_t i = 0; i < m; i += step) {
        int64_t rows = m - i < step ? m - i : step;
        unsigned ends =
            (i == 0 ? HTI_BLOCK_FIRST : 0u) | (i + rows == m ? HTI_BLOCK_LAST : 0u);
        ht_array part = a, from = w, result = to;
        part.shape.dim[turned] = rows;
        part.data = hti_at(x.data, i * k * (int64_t)sizeof(float));
        ht_array *cut = turned ? &from : &result;
        cut->shape.dim[0] = rows;
        cut->data = hti_at(cut->data, i * n * (int64_t)sizeof(float));
        hti_kernel(t->ctx, matmul_block, result, part, from, ends, room);
    }
    free(room);
}

/* No awkward numbers: loops may multiply the zeros around x, or leave them out. */
static void run_conv(trial *t)
{
    t->awkward = false;
    hti_conv_geometry g = {.groups = 1 + test_below(&t->random, 2)};
    int64_t size[2], taps[2], to[2], n = dim(t, 2);
    for (int i = 0; i < 2; i++) {
        g.stride[i] = 1 + test_below(&t->random, 2);
        g.padding[i] = test_below(&t->random, 3);
        g.dilation[i] = 1 + test_below(&t->random, 2);
        taps[i] = 1 + test_below(&t->random, 3);
        size[i] = 6 + test_below(&t->random, 8);
        to[i] = (size[i] + 2 * g.padding[i] - (taps[i] - 1) * g.dilation[i] - 1) /
                    g.stride[i] +
                1;
    }
    int64_t c = 1 + test_below(&t->random, 5),
            o = g.groups * (1 + test_below(&t->random, 5));
    const ht_shape shapes[] = {HT_SHAPE(n, o, to[0], to[1]),
                               HT_SHAPE(n, c * g.groups, size[0], size[1]),
                               HT_SHAPE(o, c, taps[0], taps[1])};
    hti_conv_side side = (hti_conv_side)test_below(&t->random, 3);
    ht_array a[3];
    for (int i = 0; i < 3; i++)
        if (i != (int)side) a[i] = in(t, t->dtype, shapes[i]);
    a[side] = out(t, t->dtype, shapes[side]);
    t->terms = 200;
    t->size = 4;
    size_t bytes = hti_kernel(t->ctx, conv_workspace, side, t->dtype, shapes[1],
                              shapes[2], shapes[0], &g);
    void *room = aligned_alloc(HTI_ALIGN, hti_round_up(bytes + 1, HTI_ALIGN));
    memset(room, 0xff, bytes);
    hti_kernel(t->ctx, conv, side, a[HTI_CONV_X], a[HTI_CONV_W], a[HTI_CONV_Y], &g, room);
    free(room);
}

static hti_pool_geometry windows(trial *t, ht_shape *x, ht_shape *y)
{
    hti_pool_geometry g;
    *x = *y = HT_SHAPE(dim(t, 2), dim(t, 3), 0, 0);
    for (int i = 0; i < 2; i++) {
        g.kernel[i] = 1 + test_below(&t->random, 3);
        g.stride[i] = 1 + test_below(&t->random, 3);
        g.padding[i] = test_below(&t->random, g.kernel[i]);
        x->dim[2 + i] = 3 + test_below(&t->random, 12);
        y->dim[2 + i] =
            (x->dim[2 + i] + 2 * g.padding[i] - g.kernel[i]) / g.stride[i] + 1;
    }
    return g;
}

static void run_max_pool_index(trial *t)
{
    ht_shape x, y;
    hti_pool_geometry g = windows(t, &x, &y);
    ht_array a = in(t, t->dtype, x);
    hti_kernel(t->ctx, max_pool_index, out(t, HT_I32, y), a, &g);
}

static void run_avg_pool(trial *t)
{
    ht_shape x, y;
    hti_pool_geometry g = windows(t, &x, &y);
    ht_array a = in(t, t->dtype, x);
    hti_kernel(t->ctx, avg_pool, out(t, t->dtype, y), a, &g);
}

static void run_avg_pool_spread(trial *t)
{
    ht_shape x, y;
    hti_pool_geometry g = windows(t, &x, &y);
    ht_array a = in(t, t->dtype, y);
    t->size = 20;
    hti_kernel(t->ctx, avg_pool_spread, out(t, t->dtype, x), a, &g);
}

/* The table. What is not here says how others are called, and runs with them. */
#define ROW(kernel)                                                 \
    {                                                               \
#kernel, offsetof(struct hti_kernels, kernel), run_##kernel \
    }
static const struct {
    const char *name;
    size_t at;
    void (*run)(trial *t);
} kernels[] = {
    ROW(elementwise),
    ROW(fused),
    ROW(reduce),
    ROW(moment),
    ROW(cumsum),
    ROW(argmax),
    ROW(softmax),
    ROW(log_softmax),
    ROW(logsumexp),
    ROW(cross_entropy),
    ROW(cross_entropy_slope),
    ROW(slope),
    ROW(normalize),
    ROW(project),
    ROW(tril),
    ROW(triangle),
    ROW(attention),
    ROW(random),
    ROW(one_hot),
    ROW(gather),
    ROW(scatter_add),
    ROW(take_last),
    ROW(put_last),
    ROW(matmul),
    ROW(matmul_add),
    ROW(matmul_block),
    ROW(conv),
    ROW(max_pool_index),
    ROW(avg_pool),
    ROW(avg_pool_spread),
};
enum { N_KERNELS = sizeof kernels / sizeof kernels[0] };
static const size_t beside[] = {offsetof(struct hti_kernels, whole_loop),
                                offsetof(struct hti_kernels, matmul_adds),
                                offsetof(struct hti_kernels, matmul_room),
                                offsetof(struct hti_kernels, conv_workspace),
                                offsetof(struct hti_kernels, attention_workspace)};

static void free_made(trial *t)
{
    for (int i = 0; i < t->n_made; i++) free(t->made[i].block);
    t->n_made = 0;
}

static void check_near(const trial *t, const ht_array *got, const ht_array *want,
                       const char *kernel)
{
    double u = t->dtype == HT_F32 ? 0x1p-24 : 0x1p-53;
    bool exact = !hti_dtype_is_float(want->dtype),
         several = strcmp(kernel, "elementwise");
    for (int64_t i = 0; i < ht_shape_count(want->shape); i++) {
        double x = test_get(got, i), y = test_get(want, i);
        double size = fmax(t->size, fabs(y)),
               bound = exact ? 0 : u * (t->terms + 64) * size;
        bool both = isfinite(x) && isfinite(y), neither = !isfinite(x) && !isfinite(y);
        if (x == y || (isnan(x) && isnan(y)) || fabs(x - y) <= bound) continue;
        if (several && (neither || (both && t->awkward))) continue;
        fail_msg("%s of %s, seed %llu, element %lld: %s has %.17g, the reference %.17g, "
                 "bound %.3g",
                 kernel, ht_dtype_name(t->dtype), (unsigned long long)t->random.seed,
                 (long long)i, t->ctx->kernels->name, x, y, bound);
    }
}

static void check_kernel(ht_context *ctx, int k, ht_dtype dtype, bool awkward)
{
    trial blank = {.ctx = ctx,
                   .random = {test_seed() + (uint64_t)k, 0},
                   .dtype = dtype,
                   .awkward = awkward};
    for (int i = 0; i < TRIALS; i++) {
        trial want = blank, got;
        want.size = 2;
        want.random.seed += 1000 * (uint64_t)i;
        got = want;
        hti_context_use(ctx, HTI_REFERENCE);
        kernels[k].run(&want);
        for (int isa = HTI_BASELINE; hti_context_use(ctx, isa); isa++) {
            kernels[k].run(&got);
            check_near(&got, &got.made[got.out].array, &want.made[want.out].array,
                       kernels[k].name);
            free_made(&got);
            got.random = (struct test_random){want.random.seed, 0};
        }
        free_made(&want);
    }
}

static void kernels_of_random_views_are_the_reference(void **state)
{
    (void)state;
    ht_context *ctx = test_context(2);
    for (int k = 0; k < N_KERNELS; k++)
        for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++)
            check_kernel(ctx, k, dtype, false);
    ht_context_free(ctx);
}

static void kernels_of_awkward_numbers_are_the_reference(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    for (int k = 0; k < N_KERNELS; k++)
        for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++)
            check_kernel(ctx, k, dtype, true);
    ht_context_free(ctx);
}

/* A pointer at a place of the table. */
static bool is_there(const struct hti_kernels *table, size_t at)
{
    void (*kernel)(void);
    memcpy(&kernel, (const char *)table + at, sizeof kernel);
    return kernel != NULL;
}

static void every_kernel_is_answered_and_tried(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    size_t first = offsetof(struct hti_kernels, elementwise),
           pointer = sizeof(void (*)(void));
    for (int i = HTI_REFERENCE; hti_context_use(ctx, i); i++)
        for (size_t at = first; at < sizeof *ctx->kernels; at += pointer)
            if (!is_there(ctx->kernels, at))
                fail_msg("%s has no kernel at %zu", ctx->kernels->name, at);
    for (size_t at = first; at < sizeof *ctx->kernels; at += pointer) {
        int times = 0;
        for (int k = 0; k < N_KERNELS; k++) times += kernels[k].at == at;
        for (size_t k = 0; k < sizeof beside / sizeof *beside; k++)
            times += beside[k] == at;
        if (times != 1) fail_msg("the kernel at %zu is tried %d times", at, times);
    }
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_is_answered_and_tried),
        cmocka_unit_test(kernels_of_random_views_are_the_reference),
        cmocka_unit_test(kernels_of_awkward_numbers_are_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
