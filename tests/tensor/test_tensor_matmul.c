/* SPDX-License-Identifier: MIT */
/* test_tensor_matmul.c: the products against the reference loops over random shapes and
 * strides, and the reference against numbers worked by hand. Read next: tensor/matmul.c.
 */
#include "test.h"

#include "loops.h"

/* How the last two axes of an operand lie in memory. */
typedef enum layout {
    ROWS,
    COLUMNS,
    PADDED,
    PADDED_COLUMNS,
    STEPPED,
    BACKWARDS,
    SAME_ROW,
    SAME_COLUMN,
    N_LAYOUTS
} layout;

/* The draws of one test, in order. */
typedef struct dice {
    uint64_t seed, index;
} dice;

static int64_t roll(dice *d, int64_t n)
{
    return ht_random_below(d->seed, 1, d->index++, n);
}

static double element(const ht_array *a, int64_t at)
{
    return a->dtype == HT_F32 ? (double)((const float *)a->data)[at]
                              : ((const double *)a->data)[at];
}

static void set_element(const ht_array *a, int64_t at, double value)
{
    if (a->dtype == HT_F32)
        ((float *)a->data)[at] = (float)value;
    else
        ((double *)a->data)[at] = value;
}

/* Strides of the last two axes; returns the elements one matrix spans. */
static int64_t lay_matrix(ht_array *a, layout how)
{
    int last = a->shape.rank - 1;
    int64_t rows = a->shape.dim[last - 1], cols = a->shape.dim[last];
    int64_t *row = &a->stride[last - 1], *col = &a->stride[last];
    const int64_t strides[N_LAYOUTS][2] = {
        [ROWS] = {cols, 1},        [COLUMNS] = {1, rows},
        [PADDED] = {cols + 3, 1},  [PADDED_COLUMNS] = {1, rows + 2},
        [STEPPED] = {2 * cols, 2}, [BACKWARDS] = {-cols, 1},
        [SAME_ROW] = {0, 1},       [SAME_COLUMN] = {1, 0},
    };
    *row = strides[how][0];
    *col = strides[how][1];
    return (rows + 3) * (cols + 3) * 2;
}

/* A view of random numbers in [-1, 1]; *block is owned by the caller. */
static ht_array random_view(dice *d, ht_dtype dtype, ht_shape shape, layout how,
                            bool same_batch, void **block)
{
    ht_array a = {.dtype = dtype, .shape = shape};
    int64_t count = lay_matrix(&a, how), first = how == BACKWARDS ? count / 2 : 0;
    for (int axis = shape.rank - 3; axis >= 0; axis--) {
        a.stride[axis] = same_batch ? 0 : count;
        count *= same_batch || shape.dim[axis] == 0 ? 1 : shape.dim[axis];
    }
    *block = a.data = malloc((size_t)count * ht_dtype_bytes(dtype));
    assert_non_null(a.data);
    for (int64_t i = 0; i < count; i++)
        set_element(&a, i, 2 * ht_random_uniform(d->seed, 2, d->index++) - 1);
    a.data = (char *)a.data + first * (int64_t)ht_dtype_bytes(dtype);
    return a;
}

static ht_array nan_array(ht_dtype dtype, ht_shape shape)
{
    int64_t count = ht_shape_count(shape);
    void *data = malloc((size_t)(count + 1) * ht_dtype_bytes(dtype));
    assert_non_null(data);
    ht_array a = hti_contiguous(data, dtype, shape);
    for (int64_t i = 0; i < count; i++) set_element(&a, i, (double)NAN);
    return a;
}

static ht_shape batched(const ht_shape *batch, int64_t rows, int64_t cols)
{
    ht_shape shape = *batch;
    shape.dim[shape.rank++] = rows;
    shape.dim[shape.rank++] = cols;
    return shape;
}

/* One product both ways; the sums have k terms of at most 1. */
static void check_product(ht_context *ctx, ht_array a, ht_array b, ht_shape shape)
{
    ht_array got = nan_array(a.dtype, shape), want = nan_array(a.dtype, shape);
    hti_kernel(ctx, matmul, got, a, b);
    hti_run_matmul_reference(ctx, want, a, b);
    double k = (double)a.shape.dim[a.shape.rank - 1];
    double tolerance = (a.dtype == HT_F32 ? 6e-8 : 1.2e-16) * (k + 1);
    int64_t count = ht_shape_count(shape);
    for (int64_t i = 0; i < count; i++)
        assert_near(element(&got, i), element(&want, i), tolerance);
    free(got.data);
    free(want.data);
}

static void check_case(ht_context *ctx, dice *d, ht_dtype dtype, ht_shape batch,
                       int64_t m, int64_t k, int64_t n, layout left, layout right)
{
    void *p, *q;
    ht_array a = random_view(d, dtype, batched(&batch, m, k), left, roll(d, 3) == 0, &p);
    ht_array b = random_view(d, dtype, batched(&batch, k, n), right, roll(d, 3) == 0, &q);
    check_product(ctx, a, b, batched(&batch, m, n));
    free(p);
    free(q);
}

static void matmul_random_views_agree_with_reference(void **state)
{
    (void)state;
    const int64_t extents[] = {0, 1, 1, 2, 3, 5, 8, 17, 33};
    const ht_shape batches[] = {HT_SCALAR, HT_SHAPE(3), HT_SHAPE(2, 3), HT_SHAPE(1),
                                HT_SHAPE(2, 0)};
    dice d = {.seed = test_seed()};
    ht_context *ctx = ht_context_new(NULL);
    print_message("# %s\n", hti_matmul_backend());
    for (int dtype = HT_F32; dtype <= HT_F64; dtype++)
        for (int pair = 0; pair < N_LAYOUTS * N_LAYOUTS; pair++)
            for (int repeat = 0; repeat < 12; repeat++) {
                int64_t m = extents[roll(&d, 9)], k = extents[roll(&d, 9)];
                check_case(ctx, &d, (ht_dtype)dtype, batches[roll(&d, 5)], m, k,
                           extents[roll(&d, 9)], (layout)(pair % N_LAYOUTS),
                           (layout)(pair / N_LAYOUTS));
            }
    ht_context_free(ctx);
}

/* Large enough for OpenBLAS to split over threads, and for its blocking. */
static void matmul_large_agrees_for_every_thread_count(void **state)
{
    (void)state;
    dice d = {.seed = test_seed()};
    for (int threads = 1; threads <= 3; threads++) {
        ht_context *ctx = ht_context_new(&(ht_context_options){.threads = threads});
        for (int dtype = HT_F32; dtype <= HT_F64; dtype++)
            for (int side = 0; side < 4; side++) {
                layout left = side & 1 ? COLUMNS : ROWS,
                       right = side & 2 ? COLUMNS : ROWS;
                ht_dtype t = (ht_dtype)dtype;
                check_case(ctx, &d, t, HT_SCALAR, 150, 131, 170, left, right);
                check_case(ctx, &d, t, HT_SCALAR, 400, 784, 1, left, right);
                check_case(ctx, &d, t, HT_SCALAR, 1, 784, 400, left, right);
            }
        ht_context_free(ctx);
    }
}

/* Rows `step` apart in a block that ends with the last element. */
static ht_array exact_rows(dice *d, int64_t rows, int64_t cols, int64_t step,
                           void **block)
{
    int64_t count = (rows - 1) * step + cols;
    ht_array a = {.dtype = HT_F32, .shape = HT_SHAPE(rows, cols), .stride = {step, 1}};
    *block = a.data = malloc((size_t)count * sizeof(float));
    assert_non_null(a.data);
    for (int64_t i = 0; i < count; i++)
        set_element(&a, i, 2 * ht_random_uniform(d->seed, 2, d->index++) - 1);
    return a;
}

/* x . w and x' . r of n columns by every instruction set; where the loops are ours, three
 * threads give the bits of one. */
static void check_skinny(dice *d, int64_t m, int64_t k, int64_t n, bool transposed)
{
    void *p, *q;
    ht_array x = exact_rows(d, m, k, k + roll(d, 2) * roll(d, 9), &p), a = x;
    int64_t inner = transposed ? m : k, rows = transposed ? k : m;
    ht_array b = exact_rows(d, inner, n, n + roll(d, 2) * roll(d, 9), &q);
    if (transposed) a = (ht_array){x.data, HT_F32, HT_SHAPE(k, m), {1, x.stride[0]}};
    ht_shape shape = HT_SHAPE(rows, n);
    ht_array one = nan_array(HT_F32, shape), three = nan_array(HT_F32, shape);
    ht_context *ctx = ht_context_new(&(ht_context_options){0});
    for (int i = HTI_BASELINE; hti_context_use(ctx, i); i++) {
        ctx->options.threads = 1;
        check_product(ctx, a, b, shape);
        hti_kernel(ctx, matmul, one, a, b);
        ctx->options.threads = 3;
        hti_kernel(ctx, matmul, three, a, b);
        if (ctx->loops->skinny->columns[0])
            assert_memory_equal(one.data, three.data, (size_t)(rows * n) * sizeof(float));
    }
    ht_context_free(ctx);
    free(one.data);
    free(three.data);
    free(p);
    free(q);
}

static void matmul_of_few_columns_agrees_with_reference(void **state)
{
    (void)state;
    dice d = {.seed = test_seed()};
    for (int i = 0; i < 60; i++) {
        int64_t k = 1 + roll(&d, 1500), n = 1 + roll(&d, 34);
        int64_t elements = i % 3 ? 1 << 18 : 1 << 17; /* for skinny.c, for gemm.c */
        check_skinny(&d, elements / k + 1 + roll(&d, 40), k, n, i % 2);
    }
}

static void matmul_repeated_gives_the_same_bits(void **state)
{
    (void)state;
    dice d = {.seed = test_seed()};
    void *p, *q;
    ht_shape shape = HT_SHAPE(64, 10);
    ht_context *one = ht_context_new(&(ht_context_options){.threads = 1});
    ht_context *two = ht_context_new(&(ht_context_options){.threads = 2});
    ht_array a = random_view(&d, HT_F32, HT_SHAPE(64, 784), ROWS, false, &p);
    ht_array b = random_view(&d, HT_F32, HT_SHAPE(784, 10), ROWS, false, &q);
    ht_array first = nan_array(HT_F32, shape), other = nan_array(HT_F32, shape);
    hti_kernel(one, matmul, first, a, b);
    hti_kernel(two, matmul, other, a, b);
    hti_kernel(one, matmul, other, a, b);
    assert_memory_equal(first.data, other.data, 64 * 10 * sizeof(float));
    free(first.data);
    free(other.data);
    free(p);
    free(q);
    ht_context_free(one);
    ht_context_free(two);
}

/* Many small products are shared out; under one b they are a single tall one. */
static void matmul_batch_any_thread_count_gives_the_same_bits(void **state)
{
    (void)state;
    dice d = {.seed = test_seed()};
    void *p, *q;
    ht_shape batch = HT_SHAPE(5, 8), shape = HT_SHAPE(5, 8, 64, 64);
    for (int one_b = 0; one_b < 2; one_b++) {
        ht_array a = random_view(&d, HT_F32, batched(&batch, 64, 24), ROWS, false, &p);
        ht_array b = random_view(&d, HT_F32, batched(&batch, 24, 64), ROWS, one_b, &q);
        ht_array first = nan_array(HT_F32, shape), more = nan_array(HT_F32, shape);
        for (int threads = 1; threads <= 3; threads++) {
            ht_context *ctx = ht_context_new(&(ht_context_options){.threads = threads});
            check_product(ctx, a, b, shape);
            hti_kernel(ctx, matmul, threads == 1 ? first : more, a, b);
            if (threads > 1)
                assert_memory_equal(first.data, more.data,
                                    (size_t)ht_shape_count(shape) * sizeof(float));
            ht_context_free(ctx);
        }
        free(first.data);
        free(more.data);
        free(p);
        free(q);
    }
}

static void matmul_reference_worked_by_hand_agrees(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    double p[] = {1, 2, 3, 4, 5, 6}, q[] = {7, 8, 9, 10, 11, 12}, r[4];
    ht_array a = hti_contiguous(p, HT_F64, HT_SHAPE(2, 3));
    ht_array b = hti_contiguous(q, HT_F64, HT_SHAPE(3, 2));
    hti_run_matmul_reference(ctx, hti_contiguous(r, HT_F64, HT_SHAPE(2, 2)), a, b);
    const double want[] = {58, 64, 139, 154};
    for (int i = 0; i < 4; i++) assert_near(r[i], want[i], 0);

    /* The same numbers as (1 4; 2 5) . (1 2; 4 5): columns on the left. */
    ht_array columns = {p, HT_F64, HT_SHAPE(2, 2), {1, 3}};
    ht_array rows = {p, HT_F64, HT_SHAPE(2, 2), {3, 1}};
    const double corner[] = {17, 22, 22, 29};
    hti_run_matmul_reference(ctx, hti_contiguous(r, HT_F64, HT_SHAPE(2, 2)), columns,
                             rows);
    for (int i = 0; i < 4; i++) assert_near(r[i], corner[i], 0);
    ht_context_free(ctx);
}

static void matmul_reference_batches_step_together(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    float p[] = {1, 2, 3, 4}, q[] = {10, 100}, r[4] = {0};
    ht_shape shape = HT_SHAPE(2, 2, 1, 1);
    ht_array a = hti_contiguous(p, HT_F32, shape);
    ht_array b = hti_broadcast_array(hti_contiguous(q, HT_F32, HT_SHAPE(2, 1, 1)), shape);
    ht_array out = hti_contiguous(r, HT_F32, shape);
    const double want[] = {10, 200, 30, 400};
    hti_run_matmul_reference(ctx, out, a, b);
    for (int i = 0; i < 4; i++) assert_near(r[i], want[i], 0);
    memset(r, 0, sizeof r);
    hti_kernel(ctx, matmul, out, a, b);
    for (int i = 0; i < 4; i++) assert_near(r[i], want[i], 0);
    ht_context_free(ctx);
}

/* 2^24 + 1 is no f32: a sum kept in f32 would lose the ones. */
static void matmul_reference_f32_sums_in_f64(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    float p[] = {16777216, 1, 1, 1, 1}, one = 1, r;
    ht_array ones = {&one, HT_F32, HT_SHAPE(5, 1), {0, 0}};
    hti_run_matmul_reference(ctx, hti_contiguous(&r, HT_F32, HT_SHAPE(1, 1)),
                             hti_contiguous(p, HT_F32, HT_SHAPE(1, 5)), ones);
    assert_near(r, 16777220, 0);
    ht_context_free(ctx);
}

static void matmul_without_terms_is_zero(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    float r[6];
    memset(r, 0xff, sizeof r);
    hti_kernel(ctx, matmul, hti_contiguous(r, HT_F32, HT_SHAPE(2, 3)),
               hti_contiguous(NULL, HT_F32, HT_SHAPE(2, 0)),
               hti_contiguous(NULL, HT_F32, HT_SHAPE(0, 3)));
    for (int i = 0; i < 6; i++) assert_near(r[i], 0, 0);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_reference_worked_by_hand_agrees),
        cmocka_unit_test(matmul_reference_batches_step_together),
        cmocka_unit_test(matmul_reference_f32_sums_in_f64),
        cmocka_unit_test(matmul_random_views_agree_with_reference),
        cmocka_unit_test(matmul_large_agrees_for_every_thread_count),
        cmocka_unit_test(matmul_of_few_columns_agrees_with_reference),
        cmocka_unit_test(matmul_repeated_gives_the_same_bits),
        cmocka_unit_test(matmul_batch_any_thread_count_gives_the_same_bits),
        cmocka_unit_test(matmul_without_terms_is_zero),
    };
    return TEST_MAIN(tests);
}
