/* SPDX-License-Identifier: MIT */
/* test_tensor_gemm.c: our own f32 products by every instruction set: against the
 * reference loops, in blocks of memory exactly as large as they need, and bit for bit
 * however they are cut. Read next: tensor/gemm.h. */
#include "test.h"

#include "loops.h"
#include "matmul.h"

/* The draws of one test, in order. */
typedef struct dice {
    uint64_t seed, index;
} dice;

static int64_t roll(dice *d, int64_t n)
{
    return ht_random_below(d->seed, 1, d->index++, n);
}

/* A matrix in a block that ends with its last element. */
typedef struct matrix {
    ht_array array;
    float *block;
    int64_t count;
} matrix;

static matrix random_matrix(dice *d, int64_t rows, int64_t cols, bool transposed)
{
    int64_t down = transposed ? cols : rows, across = transposed ? rows : cols;
    int64_t step = across + roll(d, 2) * roll(d, 40), start = roll(d, 4);
    matrix x = {.count = start + (down && across ? (down - 1) * step + across : 0)};
    x.block = malloc((size_t)x.count * sizeof(float) + !x.count);
    assert_non_null(x.block);
    for (int64_t i = 0; i < x.count; i++)
        x.block[i] = (float)(2 * ht_random_uniform(d->seed, 2, d->index++) - 1);
    x.array = (ht_array){x.block + start, HT_F32, HT_SHAPE(rows, cols), {step, 1}};
    if (transposed) x.array.stride[0] = 1, x.array.stride[1] = step;
    return x;
}

static float *place(const matrix *x, int64_t i, int64_t j)
{
    return (float *)x->array.data + i * x->array.stride[0] + j * x->array.stride[1];
}

static matrix copy_of(const matrix *x)
{
    matrix y = *x;
    y.block = malloc((size_t)x->count * sizeof(float) + !x->count);
    assert_non_null(y.block);
    memcpy(y.block, x->block, (size_t)x->count * sizeof(float));
    y.array.data = y.block + ((float *)x->array.data - x->block);
    return y;
}

/* `got` is `old`, if `add`, plus `want`; between its rows nothing has changed. */
static void check_out(const matrix *got, const matrix *old, const float *want, int64_t k,
                      bool add)
{
    int64_t m = got->array.shape.dim[0], n = got->array.shape.dim[1];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = (double)want[i * n + j];
            if (add) sum += (double)*place(old, i, j);
            assert_near(*place(got, i, j), sum, 6e-8 * (double)(k + 2));
            *place(got, i, j) = *place(old, i, j);
        }
    assert_memory_equal(got->block, old->block, (size_t)got->count * sizeof(float));
}

static void tile_product(const struct hti_loops *loops, ht_array out, ht_array a,
                         ht_array b, bool add)
{
    hti_matmul_tile(loops, hti_matmul_matrix(&out, 0), hti_matmul_matrix(&a, 0),
                    hti_matmul_matrix(&b, 0), add);
}

static void check_tile(dice *d, int64_t m, int64_t k, int64_t n, int sides)
{
    ht_context *ctx = ht_context_new(NULL);
    matrix a = random_matrix(d, m, k, sides & 1), b = random_matrix(d, k, n, sides & 2);
    matrix old = random_matrix(d, m, n, false);
    float *want = malloc((size_t)(m * n + 1) * sizeof *want);
    assert_non_null(want);
    hti_run_matmul_reference(ctx, hti_contiguous(want, HT_F32, HT_SHAPE(m, n)), a.array,
                             b.array);
    for (int i = 0; hti_loops_at(i); i++)
        for (int add = 0; add < 2; add++) {
            matrix got = copy_of(&old);
            tile_product(hti_loops_at(i), got.array, a.array, b.array, add);
            check_out(&got, &old, want, k, add);
            free(got.block);
        }
    free(want);
    free(old.block);
    free(b.block);
    free(a.block);
    ht_context_free(ctx);
}

static void matmul_tile_random_shapes_agree_with_reference(void **state)
{
    (void)state;
    dice d = {.seed = test_seed()};
    for (int i = 0; i < 400; i++)
        check_tile(&d, roll(&d, 40), roll(&d, 70), roll(&d, 110), i % 4);
    /* Several blocks of rows and of terms. */
    for (int i = 0; i < 8; i++)
        check_tile(&d, 500 + roll(&d, 50), 250 + roll(&d, 300), 1 + roll(&d, 70), i % 4);
}

/* Every width of one and two panels, every height of a tile. */
static void matmul_tile_every_edge_agrees_with_reference(void **state)
{
    (void)state;
    dice d = {.seed = test_seed()};
    for (int64_t n = 1; n <= 70; n++) check_tile(&d, 1 + n % 31, 9, n, (int)n % 4);
    for (int64_t n = 1; n < 16; n++) check_tile(&d, 1100, 3, n, 1 + (int)n % 2 * 2);
}

static matrix part_of(const matrix *x, int64_t row, int64_t rows, int64_t col,
                      int64_t cols)
{
    matrix y = *x;
    y.array.data = place(x, row, col);
    y.array.shape = HT_SHAPE(rows, cols);
    return y;
}

/* Of multiply-adds: what else there is, shapes settle. */
static bool has_multiply_adds_alone(int isa)
{
    return hti_loops_at(isa)->gemm->columns && !hti_loops_at(isa)->gemm->tiles;
}

/* A part of the result computed by itself. */
static void matmul_tile_any_part_has_the_bits_of_the_whole(void **state)
{
    (void)state;
    dice d = {.seed = test_seed()};
    for (int isa = 0; hti_loops_at(isa); isa++)
        for (int i = 0; i < 40 && has_multiply_adds_alone(isa); i++) {
            int64_t m = 1 + roll(&d, 90), k = 1 + roll(&d, 600), n = 1 + roll(&d, 120);
            matrix a = random_matrix(&d, m, k, i & 1);
            matrix b = random_matrix(&d, k, n, i & 2), out = random_matrix(&d, m, n, 0);
            matrix cut = copy_of(&out);
            int64_t row = roll(&d, m), rows = 1 + roll(&d, m - row);
            int64_t col = roll(&d, n), cols = 1 + roll(&d, n - col);
            tile_product(hti_loops_at(isa), out.array, a.array, b.array, i & 4);
            tile_product(hti_loops_at(isa), part_of(&cut, row, rows, col, cols).array,
                         part_of(&a, row, rows, 0, k).array,
                         part_of(&b, 0, k, col, cols).array, i & 4);
            for (int64_t r = row; r < row + rows; r++)
                assert_memory_equal(place(&out, r, col), place(&cut, r, col),
                                    (size_t)cols * sizeof(float));
            free(cut.block);
            free(out.block);
            free(b.block);
            free(a.block);
        }
}

static void check_threads(dice *d, const struct hti_loops *loops, int64_t m, int64_t k,
                          int64_t n, int sides)
{
    matrix a = random_matrix(d, m, k, sides & 1), b = random_matrix(d, k, n, sides & 2);
    size_t bytes = (size_t)(m * n) * sizeof(float);
    float *one = malloc(bytes), *more = malloc(bytes);
    assert_non_null(one);
    assert_non_null(more);
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = 1});
    ctx->loops = loops;
    hti_kernel(ctx, matmul, hti_contiguous(one, HT_F32, HT_SHAPE(m, n)), a.array,
               b.array);
    for (ctx->options.threads = 2; ctx->options.threads <= 5; ctx->options.threads++) {
        memset(more, 0xff, bytes);
        hti_kernel(ctx, matmul, hti_contiguous(more, HT_F32, HT_SHAPE(m, n)), a.array,
                   b.array);
        assert_memory_equal(one, more, bytes);
    }
    ht_context_free(ctx);
    free(more);
    free(one);
    free(b.block);
    free(a.block);
}

static void matmul_any_thread_count_gives_the_same_bits(void **state)
{
    (void)state;
    dice d = {.seed = test_seed()};
    for (int i = 0; hti_loops_at(i); i++) {
        if (hti_loops_at(i)->gemm->columns == 0) continue;
        for (int sides = 0; sides < 4; sides++) {
            check_threads(&d, hti_loops_at(i), 96, 300, 96, sides);
            check_threads(&d, hti_loops_at(i), 7, 700, 1111, sides);
            check_threads(&d, hti_loops_at(i), 1500, 90, 33, sides);
            check_threads(&d, hti_loops_at(i), 131, 257, 150, sides);
        }
    }
}

/* What gemm.h says of panels: written one by one, here by pack, block after block. */
static void gemm_panel_by_panel_has_the_bits_of_the_product(void **state)
{
    (void)state;
    dice d = {.seed = test_seed()};
    for (int isa = 0; hti_loops_at(isa); isa++) {
        const hti_gemm_loops *g = hti_loops_at(isa)->gemm;
        for (int64_t n = 1; n < 100 && has_multiply_adds_alone(isa); n += 7) {
            int64_t m = 1 + roll(&d, 60), k = 1 + roll(&d, 2 * g->depth);
            matrix a = random_matrix(&d, m, k, n & 1), b = random_matrix(&d, k, n, n & 2);
            matrix whole = random_matrix(&d, m, n, 0), out = copy_of(&whole);
            float *panel =
                aligned_alloc(HTI_ALIGN, (size_t)(g->depth * g->columns) * sizeof(float));
            assert_non_null(panel);
            tile_product(hti_loops_at(isa), whole.array, a.array, b.array, false);
            int64_t blocks = (k + g->depth - 1) / g->depth;
            for (int64_t i = 0, width; i < blocks; i++)
                for (int64_t j = 0; j < n; j += width) {
                    int64_t first = k * i / blocks, last = k * (i + 1) / blocks;
                    width = hti_gemm_panel_width(g->columns, n - j);
                    g->pack(last - first, width, place(&b, first, j), b.array.stride[0],
                            b.array.stride[1], panel);
                    g->multiply(&(hti_gemm){.m = m,
                                            .k = last - first,
                                            .n = width,
                                            .a = place(&a, 0, first),
                                            .a_row = a.array.stride[0],
                                            .a_col = a.array.stride[1],
                                            .b = panel,
                                            .out = place(&out, 0, j),
                                            .step = out.array.stride[0],
                                            .add = i > 0});
                }
            assert_memory_equal(whole.block, out.block,
                                (size_t)out.count * sizeof(float));
            free(panel);
            free(out.block);
            free(whole.block);
            free(b.block);
            free(a.block);
        }
    }
}

/* x . w, or x' . w, of n columns by skinny.c, whole and cut somewhere. */
static void check_skinny(dice *d, const struct hti_loops *loops, int64_t m, int64_t k,
                         int64_t n, bool transposed)
{
    ht_context *ctx = ht_context_new(NULL);
    matrix x = random_matrix(d, m, k, false), a = x;
    int64_t rows = transposed ? k : m, terms = transposed ? m : k, cut = roll(d, rows);
    if (transposed) {
        a.array.shape = HT_SHAPE(k, m);
        a.array.stride[0] = 1, a.array.stride[1] = x.array.stride[0];
    }
    matrix b = random_matrix(d, terms, n, false), old = random_matrix(d, rows, n, false);
    matrix whole = copy_of(&old), parts = copy_of(&old);
    float *want = malloc((size_t)(rows * n) * sizeof *want);
    assert_non_null(want);
    hti_run_matmul_reference(ctx, hti_contiguous(want, HT_F32, HT_SHAPE(rows, n)),
                             a.array, b.array);
    hti_skinny p = {.m = m,
                    .k = k,
                    .n = n,
                    .x = x.array.data,
                    .w = b.array.data,
                    .out = whole.array.data,
                    .x_step = x.array.stride[0],
                    .w_step = b.array.stride[0],
                    .out_step = old.array.stride[0]};
    loops->skinny->run[transposed](&p, 0, rows);
    p.out = parts.array.data;
    loops->skinny->run[transposed](&p, cut, rows);
    loops->skinny->run[transposed](&p, 0, cut);
    assert_memory_equal(whole.block, parts.block, (size_t)old.count * sizeof(float));
    check_out(&whole, &old, want, terms, false);
    free(want);
    free(parts.block);
    free(whole.block);
    free(old.block);
    free(b.block);
    free(x.block);
    ht_context_free(ctx);
}

/* Every number of columns; rows, vectors and parts that are not full; a cut anywhere. */
static void skinny_random_shapes_agree_with_reference_whole_or_cut(void **state)
{
    (void)state;
    dice d = {.seed = test_seed()};
    for (int i = 0; hti_loops_at(i); i++)
        for (int side = 0; side < 2; side++)
            for (int64_t n = 1; n <= hti_loops_at(i)->skinny->columns[side]; n++) {
                for (int64_t m = 1; m < 8; m++)
                    check_skinny(&d, hti_loops_at(i), m, HTI_SKINNY_LEAST + roll(&d, 70),
                                 n, side);
                for (int64_t m = 20; m < 80; m += 12)
                    check_skinny(&d, hti_loops_at(i), m,
                                 HTI_SKINNY_LEAST + roll(&d, 1500), n, side);
                check_skinny(&d, hti_loops_at(i), 70, 30000 / n, n, side);
            }
}

/* The last vector of a row shares lanes with the one before it: times nothing, an
 * infinity there would be no number. */
static void skinny_infinity_in_a_row_stays_infinite(void **state)
{
    (void)state;
    enum { M = 5, K = 135, N = 3 };
    for (int i = 0; hti_loops_at(i); i++) {
        float x[M * K], w[K * N], y[M * N];
        for (int l = 0; l < M * K; l++) x[l] = l % K == K - 8 ? (float)INFINITY : 1;
        for (int l = 0; l < K * N; l++) w[l] = 1;
        hti_skinny p = {M, K, N, x, w, y, K, N, N};
        if (hti_loops_at(i)->skinny->columns[0] == 0) continue;
        hti_loops_at(i)->skinny->run[0](&p, 0, M);
        for (int j = 0; j < M * N; j++) assert_true(isinf(y[j]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_tile_random_shapes_agree_with_reference),
        cmocka_unit_test(matmul_tile_every_edge_agrees_with_reference),
        cmocka_unit_test(matmul_tile_any_part_has_the_bits_of_the_whole),
        cmocka_unit_test(matmul_any_thread_count_gives_the_same_bits),
        cmocka_unit_test(skinny_random_shapes_agree_with_reference_whole_or_cut),
        cmocka_unit_test(skinny_infinity_in_a_row_stays_infinite),
        cmocka_unit_test(gemm_panel_by_panel_has_the_bits_of_the_product),
    };
    return TEST_MAIN(tests);
}
