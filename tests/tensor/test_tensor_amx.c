/* SPDX-License-Identifier: MIT */
/* test_tensor_amx.c: f32 products on matrix tiles: their errors against f64 beside those
 * of multiply-adds, over shapes and ranges; the same bits however they are cut; where the
 * processor has tiles, the bits of the model. Else it is the model that runs.
 * Read next: fast/amx/amx.c. */
#include "test.h"

#include "amx.h"
#include "kernels.h"
#include "loops.h"
#include "tile.h"

typedef struct dice {
    uint64_t seed, index;
} dice;

static int64_t roll(dice *d, int64_t n)
{
    return ht_random_below(d->seed, 1, d->index++, n);
}

static double between(dice *d, double low, double high)
{
    return low + (high - low) * ht_random_uniform(d->seed, 2, d->index++);
}

/* What an operand is drawn from, number (line, term) of it; `side` 1 is b. */
typedef enum range {
    RANDOM,
    POSITIVE,
    WIDE,
    GRADED,
    HUGE,
    CANCEL,
    BITS_24,
    LARGE,
    OVER,
    TINY,
    DENORMAL,
    NOT_FINITE,
    N_RANGE
} range;
static const char *const range_name[N_RANGE] = {
    "random, -1 .. 1",     "random, 0 .. 1",      "random, 2^-60 .. 2^20",
    "graded by term",      "one 2^30 among them", "pairs that cancel",
    "odd multiples 2^-23", "products to 2^120",   "near overflow",
    "products of 2^-120",  "denormal operands",   "NaN and infinity",
};

static float draw(dice *d, range r, int side, int64_t line, int64_t term)
{
    double x = between(d, -1, 1);
    switch (r) {
    case RANDOM:
        return (float)x;
    case POSITIVE:
        return (float)fabs(x);
    case WIDE:
        return (float)ldexp(x, (int)roll(d, 80) - 60);
    case GRADED:
        return (float)ldexp(x, side ? (int)(term % 37) : -(int)(term % 41));
    case HUGE:
        return roll(d, 50) ? (float)x : (float)ldexp(x, 30);
    case CANCEL:
        return (float)((term & 1 && !side ? -1 : 1) * (1 + 1e-4 * x));
    case BITS_24:
        return (float)(1 + (double)(2 * roll(d, 1 << 22) + 1) * 0x1p-23);
    case LARGE:
        return (float)ldexp(x, side ? 100 : 20);
    case OVER:
        return (float)ldexp(x, roll(d, 30) ? 20 : 127);
    case TINY:
        return (float)ldexp(x, -60);
    case DENORMAL:
        return (float)ldexp(x, side ? (int)(line % 9) : -130 - (int)roll(d, 19));
    default:
        break;
    }
    int64_t which = roll(d, 40000);
    return which == 0 ? NAN : which == 1 ? INFINITY : which == 2 ? -INFINITY : (float)x;
}

/* One operand, lines by terms, either contiguous, or neither. */
typedef struct operand {
    float *block;
    int64_t lines, terms, line, term;
} operand;

static operand operand_of(dice *d, range r, int side, int64_t lines, int64_t terms,
                          int layout)
{
    int64_t pad = roll(d, 3);
    operand x = {.lines = lines, .terms = terms};
    x.line = layout == 0 ? terms + pad : layout == 1 ? 1 : 2 * terms + 1;
    x.term = layout == 0 ? 1 : layout == 1 ? lines + pad : 2;
    size_t count = (size_t)((lines - 1) * x.line + (terms - 1) * x.term + 1);
    x.block = calloc(count, sizeof(float));
    assert_non_null(x.block);
    for (int64_t i = 0; i < lines; i++)
        for (int64_t l = 0; l < terms; l++)
            x.block[i * x.line + l * x.term] = draw(d, r, side, i, l);
    return x;
}

static hti_gemm product_of(const operand *a, const operand *b, float *out, bool add)
{
    return (hti_gemm){.m = a->lines,
                      .k = a->terms,
                      .n = b->lines,
                      .a = a->block,
                      .b = b->block,
                      .out = out,
                      .a_row = a->line,
                      .a_col = a->term,
                      .b_row = b->term,
                      .b_col = b->line,
                      .step = b->lines,
                      .add = add};
}

/* The multiply-adds of this machine's best instruction set; NULL: it has none. */
static const struct hti_loops *plain_row(void)
{
    const struct hti_loops *best = NULL;
    for (int i = 0; hti_loops_at(i); i++)
        if (hti_loops_at(i)->gemm->columns && !hti_loops_at(i)->gemm->tiles)
            best = hti_loops_at(i);
    return best;
}

/* Nothing is to be tried without: multiply-adds make what tiles cannot. */
static bool no_row(void)
{
    if (!plain_row()) printf("# no multiply-adds of our own on this machine\n");
    return !plain_row();
}

static void by_multiply_adds(const hti_gemm *p)
{
    hti_gemm q = *p;
    if (q.m == 1) q.a_row = 1;
    if (q.k == 1) q.a_col = q.b_row = 1;
    if (q.n == 1) q.b_col = 1;
    plain_row()->gemm->product(&q);
}

static void by_tiles(const hti_gemm *p)
{
    hti_tiles_model.product(plain_row()->gemm, p);
}

/* Errors relative to the sum of absolute products, in units of 2^-24. */
typedef struct errors {
    double most, squares;
    int64_t n;
} errors;

static void count_error(errors *e, double got, double want, double size)
{
    double error = fabs(got - want) / (size > 0x1p-126 ? size : 0x1p-126) * 0x1p24;
    if (error > e->most) e->most = error;
    e->squares += error * error;
    e->n++;
}

static double rms(const errors *e)
{
    return e->n ? sqrt(e->squares / (double)e->n) : 0;
}

static int kind_of(float x)
{
    return isnan(x) ? 2 : isinf(x) ? (x > 0 ? 1 : -1) : 0;
}

/* Element (i, j) by tiles and by multiply-adds: the same if not finite; else their errors
 * are counted, and that of tiles is within what rounding can do. */
static void compare(const hti_gemm *p, int64_t i, int64_t j, double old, float tiles,
                    float adds, errors e[2])
{
    double want = old, size = fabs(old);
    for (int64_t l = 0; l < p->k; l++) {
        double x = (double)p->a[i * p->a_row + l * p->a_col] *
                   (double)p->b[l * p->b_row + j * p->b_col];
        want += x, size += fabs(x);
    }
    assert_int_equal(kind_of(tiles), kind_of(adds));
    if (kind_of(tiles)) return;
    count_error(&e[0], (double)tiles, want, size);
    count_error(&e[1], (double)adds, want, size);
    double most = (double)(48 + p->k / 32) * 0x1p-24 * size + 0x1p-149;
    if (fabs((double)tiles - want) > most && fabs((double)adds - want) <= most)
        fail_msg("(%d, %d) of %d %d %d: %.9g, want %.17g", (int)i, (int)j, (int)p->m,
                 (int)p->k, (int)p->n, (double)tiles, want);
}

static void check_errors(dice *d, range r, int64_t m, int64_t k, int64_t n, int layouts,
                         bool add, errors e[2])
{
    operand a = operand_of(d, r, 0, m, k, layouts % 3);
    operand b = operand_of(d, r, 1, n, k, layouts / 3);
    size_t bytes = (size_t)(m * n) * sizeof(float);
    float *old = malloc(bytes), *tiles = malloc(bytes), *adds = malloc(bytes);
    assert_true(old && tiles && adds);
    for (int64_t i = 0; i < m * n; i++) old[i] = add ? (float)between(d, -1, 1) : 0;
    memcpy(tiles, old, bytes);
    memcpy(adds, old, bytes);
    hti_gemm p = product_of(&a, &b, tiles, add), q = product_of(&a, &b, adds, add);
    by_tiles(&p);
    by_multiply_adds(&q);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            compare(&p, i, j, (double)old[i * n + j], tiles[i * n + j], adds[i * n + j],
                    e);
    free(adds);
    free(tiles);
    free(old);
    free(b.block);
    free(a.block);
}

/* Their errors are no larger than multiply-adds', of every range: the largest, and the
 * mean square. */
static void tiles_errors_are_no_larger_than_those_of_multiply_adds(void **state)
{
    (void)state;
    if (no_row()) return;
    printf("# errors / 2^-24 of sum |a||b|:  tiles largest, rms;  multiply-adds\n");
    for (range r = 0; r < N_RANGE; r++) {
        dice d = {.seed = test_seed() + r};
        errors e[2] = {{0}};
        for (int i = 0; i < 9; i++) {
            check_errors(&d, r, 33 + roll(&d, 60), 64 + roll(&d, 200), 33 + roll(&d, 60),
                         i, i & 1, e);
            check_errors(&d, r, 1 + roll(&d, 70), 64 + roll(&d, 937), 1 + roll(&d, 70), i,
                         false, e);
        }
        printf("# %-24s %8.3f %7.4f   %8.3f %7.4f\n", range_name[r], e[0].most,
               rms(&e[0]), e[1].most, rms(&e[1]));
        assert_true(e[0].most <= e[1].most);
        assert_true(rms(&e[0]) <= rms(&e[1]));
    }
}

/* Of few terms, too, which are left to multiply-adds: all are within the bound. */
static void tiles_every_small_shape_is_within_its_bound(void **state)
{
    (void)state;
    if (no_row()) return;
    dice d = {.seed = test_seed()};
    errors e[2] = {{0}};
    for (int64_t i = 1; i <= 70; i++)
        check_errors(&d, (range)(i % N_RANGE), i, 1 + roll(&d, 80), 1 + roll(&d, 70),
                     (int)(i % 9), i & 1, e);
    for (int64_t k = 1; k <= 140; k++)
        check_errors(&d, k % 2 ? RANDOM : WIDE, 17, k, 34, (int)(k % 9), false, e);
}

/* A part that begins on the grid, by itself. */
static void tiles_any_part_on_the_grid_has_the_bits_of_the_whole(void **state)
{
    (void)state;
    if (no_row()) return;
    dice d = {.seed = test_seed()};
    int64_t grid = hti_tiles_model.grid;
    for (int i = 0; i < 36; i++) {
        int64_t m = 1 + roll(&d, i ? 150 : 600), k = 1 + roll(&d, 300);
        int64_t n = 1 + roll(&d, 150);
        range r = (range)(i % N_RANGE);
        operand a = operand_of(&d, r, 0, m, k, i % 3);
        operand b = operand_of(&d, r, 1, n, k, i / 3 % 3);
        float *whole = calloc((size_t)(m * n), sizeof *whole);
        float *parts = calloc((size_t)(m * n), sizeof *parts);
        assert_true(whole && parts);
        hti_gemm p = product_of(&a, &b, whole, false);
        by_tiles(&p);
        int64_t row = grid * roll(&d, (m + grid - 1) / grid), down = m - row;
        int64_t col = grid * roll(&d, (n + grid - 1) / grid), wide = n - col;
        if (down > 2 * grid) down = 2 * grid;
        if (wide > grid) wide = grid;
        p.m = down, p.n = wide;
        p.a += row * p.a_row, p.b += col * p.b_col, p.out = parts + row * n + col;
        by_tiles(&p);
        for (int64_t j = row; j < row + down; j++)
            assert_memory_equal(parts + j * n + col, whole + j * n + col,
                                (size_t)wide * sizeof(float));
        free(parts);
        free(whole);
        free(b.block);
        free(a.block);
    }
}

/* A context whose products run on the model's tiles, while `row` and `gemm` live. */
static ht_context *model_context(struct hti_loops *row, hti_gemm_loops *gemm, int threads)
{
    ht_context *ctx = ht_context_new(&(ht_context_options){.threads = threads});
    assert_non_null(ctx);
    *row = *plain_row();
    *gemm = *row->gemm;
    gemm->tiles = &hti_tiles_model;
    row->gemm = gemm;
    ctx->loops = row;
    return ctx;
}

static ht_array array_of(const operand *x, bool turned)
{
    ht_array y = {x->block, HT_F32, HT_SHAPE(x->lines, x->terms), {x->line, x->term}};
    if (turned) {
        y.shape = HT_SHAPE(x->terms, x->lines);
        y.stride[0] = x->term, y.stride[1] = x->line;
    }
    return y;
}

static void check_threads(dice *d, int64_t m, int64_t k, int64_t n, int layouts, range r)
{
    static const int counts[] = {1, 2, 3, 7};
    struct hti_loops row;
    hti_gemm_loops gemm;
    operand a = operand_of(d, r, 0, m, k, layouts % 3);
    operand b = operand_of(d, r, 1, n, k, layouts / 3);
    float *out[2];
    for (int i = 0; i < 2; i++) out[i] = calloc((size_t)(m * n), sizeof(float));
    assert_true(out[0] && out[1]);
    assert_true(hti_tiles_model.fits(m, k, n));
    for (int i = 0; i < 4; i++) {
        ht_context *ctx = model_context(&row, &gemm, counts[i]);
        hti_kernel(ctx, matmul, hti_contiguous(out[i > 0], HT_F32, HT_SHAPE(m, n)),
                   array_of(&a, false), array_of(&b, true));
        assert_memory_equal(out[0], out[i > 0], (size_t)(m * n) * sizeof(float));
        ht_context_free(ctx);
    }
    hti_gemm p = product_of(&a, &b, out[1], false);
    by_tiles(&p);
    assert_memory_equal(out[0], out[1], (size_t)(m * n) * sizeof(float));
    for (int i = 0; i < 2; i++) free(out[i]);
    free(b.block);
    free(a.block);
}

static void tiles_any_thread_count_gives_the_same_bits(void **state)
{
    (void)state;
    if (no_row()) return;
    dice d = {.seed = test_seed()};
    for (int layouts = 0; layouts < 9; layouts++) {
        range r = layouts % 2 ? NOT_FINITE : RANDOM;
        check_threads(&d, 160 + roll(&d, 40), 128, 120 + roll(&d, 40), layouts, r);
        if (layouts < 4) check_threads(&d, 70, 300, 330, layouts, WIDE);
    }
}

/* Where matmul_adds says so, an added product is the product, added. */
static void tiles_added_product_has_the_bits_of_the_sum(void **state)
{
    (void)state;
    if (no_row()) return;
    enum { M = 100, N = 130 };
    dice d = {.seed = test_seed()};
    struct hti_loops row;
    hti_gemm_loops gemm;
    float *x = malloc(sizeof(float[3][M * N]));
    assert_non_null(x);
    for (int64_t k = 100; k <= 160; k += 15) {
        ht_context *ctx = model_context(&row, &gemm, 2);
        operand a = operand_of(&d, NOT_FINITE, 0, M, k, (int)(k % 2));
        operand b = operand_of(&d, RANDOM, 1, N, k, 0);
        ht_array out[2];
        for (int i = 0; i < 2; i++)
            out[i] = hti_contiguous(x + i * M * N, HT_F32, HT_SHAPE(M, N));
        for (int i = 0; i < M * N; i++) x[i] = (float)between(&d, -9, 9);
        memcpy(x + 2 * M * N, x, sizeof(float[M * N]));
        bool adds = hti_kernel(ctx, matmul_adds, HT_F32, M, N, k);
        assert_int_equal(adds, k <= hti_tiles_model.depth);
        hti_kernel(ctx, matmul_add, out[0], array_of(&a, false), array_of(&b, true));
        hti_kernel(ctx, matmul, out[1], array_of(&a, false), array_of(&b, true));
        for (int i = 0; i < M * N && adds; i++) {
            float sum = x[2 * M * N + i] + x[M * N + i];
            assert_true(isnan(sum) ? isnan(x[i]) : sum == x[i]);
        }
        free(b.block);
        free(a.block);
        ht_context_free(ctx);
    }
    free(x);
}

/* The model's, counted. */
static _Atomic int products;

static void counted_product(const hti_gemm_loops *others, const hti_gemm *p)
{
    products++;
    hti_tiles_model.product(others, p);
}

/* What is made of products: 0 .. 2 are the sides of a convolution, 3 and 4 attention and
 * its gradient. */
enum { CASES = 5, IMAGES = 2, CHANNELS = 64, SIDE = 16, ROWS = 100, HEADS = 2 };

static void run_case(ht_context *ctx, int which, float *const x[4], float *out)
{
    void *work;
    if (which < 3) {
        const hti_conv_geometry g = {{1, 1}, {1, 1}, {1, 1}, 1};
        ht_shape image = HT_SHAPE(IMAGES, CHANNELS, SIDE, SIDE);
        ht_shape taps = HT_SHAPE(CHANNELS, CHANNELS, 3, 3);
        ht_shape shape[3] = {image, image, taps}; /* y, x, weight: by side */
        ht_array a[3];
        for (int i = 0; i < 3; i++)
            a[i] = hti_contiguous(i == which ? out : x[i], HT_F32, shape[i]);
        work = malloc(hti_kernel(ctx, conv_workspace, (hti_conv_side)which, HT_F32, image,
                                 taps, image, &g) +
                      1);
        assert_non_null(work);
        hti_kernel(ctx, conv, (hti_conv_side)which, a[1], a[2], a[0], &g, work);
    } else {
        const hti_attention what = {.scale = 0.1, .causal = true, .gradient = which == 4};
        ht_shape shape = HT_SHAPE(IMAGES, ROWS, HEADS, CHANNELS), all = shape;
        ht_array a[4];
        const ht_array *in[4];
        if (which == 4) all = HT_SHAPE(3 * IMAGES * ROWS * HEADS * CHANNELS);
        for (int i = 0; i < 4; i++)
            a[i] = hti_contiguous(x[i], HT_F32, shape), in[i] = &a[i];
        work =
            malloc(hti_kernel(ctx, attention_workspace, HT_F32, shape, shape, &what) + 1);
        assert_non_null(work);
        hti_kernel(ctx, attention, hti_contiguous(out, HT_F32, all), in, &what, work);
    }
    free(work);
}

static void
tiles_convolution_and_attention_have_the_same_bits_by_any_threads(void **state)
{
    (void)state;
    if (no_row()) return;
    enum { N = 3 * IMAGES * ROWS * HEADS * CHANNELS };
    static const int counts[] = {1, 2, 3, 7};
    hti_tiles counted = hti_tiles_model;
    counted.product = counted_product;
    dice d = {.seed = test_seed()};
    float *x[4], *out[3];
    for (int i = 0; i < 4; i++) assert_non_null(x[i] = malloc(sizeof(float[N])));
    for (int i = 0; i < 3; i++) assert_non_null(out[i] = calloc(N, sizeof(float)));
    for (int i = 0; i < 4 * N; i++) x[i / N][i % N] = (float)between(&d, -1, 1);
    for (int which = 0; which < CASES; which++) {
        struct hti_loops row;
        hti_gemm_loops gemm;
        products = 0;
        for (int i = 0; i < 5; i++) { /* the last by multiply-adds */
            ht_context *ctx = model_context(&row, &gemm, counts[i % 4]);
            gemm.tiles = i < 4 ? &counted : NULL;
            run_case(ctx, which, x, out[i == 0 ? 0 : i < 4 ? 1 : 2]);
            ht_context_free(ctx);
            if (i && i < 4) assert_memory_equal(out[0], out[1], sizeof(float[N]));
        }
        printf("# case %d: %d products on tiles\n", which, products);
        assert_true(products > 0);
        for (int i = 0; i < N; i++) assert_near(out[0][i], out[2][i], 2e-5);
        for (int i = 0; i < 3; i++) memset(out[i], 0, sizeof(float[N]));
    }
    for (int i = 0; i < 4; i++) free(x[i]);
    for (int i = 0; i < 3; i++) free(out[i]);
}

/* The manual's own order: even and odd terms apart, denormal numbers flushed. */
static void model_keeps_two_chains_and_flushes_denormals(void **state)
{
    (void)state;
    float sum[16] = {1, 0x1p-130f, 0x1p-126f}, even = 0, odd = 0;
    unsigned char a[TILE_BYTES], b[TILE_ROWS][TILE_BYTES];
    dice d = {.seed = test_seed()};
    float x[32], y[32][16];
    for (int l = 0; l < 32; l++) {
        x[l] = (float)(roll(&d, 255) - 127) * 0x1p-7f;
        memcpy(a + 2 * l, (char *)&x[l] + 2, 2);
        for (int j = 0; j < 16; j++) {
            y[l][j] = j == 1 || j == 2 ? 0 : (float)(roll(&d, 255) - 127) * 0x1p-9f;
            if (j == 3) y[l][j] *= 0x1p-118f;
            memcpy(&b[l / 2][4 * j + l % 2 * 2], (char *)&y[l][j] + 2, 2);
        }
        *(l % 2 ? &odd : &even) = fmaf(x[l], y[l][0], l % 2 ? odd : even);
    }
    tile_model_row(sum, a, (const unsigned char(*)[TILE_BYTES])b);
    assert_true(sum[0] == 1 + (even + odd));
    assert_true(sum[1] == 0 && sum[2] == 0x1p-126f);
    assert_true(sum[3] == 0 || fabsf(sum[3]) >= 0x1p-126f);
}

/* On tiles themselves. */
static void tiles_of_the_processor_have_the_bits_of_the_model(void **state)
{
    (void)state;
#if HTI_AMX
    bool usable = plain_row() && hti_amx_usable();
    printf("# matrix tiles of the processor: %s\n", usable ? "yes" : "none to try");
    if (!usable) return;
    dice d = {.seed = test_seed()};
    for (int i = 0; i < 4 * N_RANGE; i++) {
        int64_t m = 1 + roll(&d, 150), k = 1 + roll(&d, 300), n = 1 + roll(&d, 150);
        operand a = operand_of(&d, (range)(i % N_RANGE), 0, m, k, i % 3);
        operand b = operand_of(&d, (range)(i % N_RANGE), 1, n, k, i / 3 % 3);
        size_t bytes = (size_t)(m * n) * sizeof(float);
        float *got = malloc(bytes), *want = malloc(bytes);
        assert_true(got && want);
        hti_gemm p = product_of(&a, &b, got, false), q = product_of(&a, &b, want, false);
        hti_tiles_amx.product(plain_row()->gemm, &p);
        by_tiles(&q);
        assert_memory_equal(got, want, bytes);
        free(want);
        free(got);
        free(b.block);
        free(a.block);
    }
#endif
}

static void context_without_tiles_has_none(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(&(ht_context_options){.no_tiles = true});
    assert_non_null(ctx);
    assert_null(ctx->loops->gemm->tiles);
    ht_context_free(ctx);
#if HTI_AMX
    ctx = ht_context_new(NULL);
    bool tiles = ctx->loops->gemm->tiles;
    const char *name = ctx->kernels->name;
    ht_context_free(ctx);
    assert_int_equal(tiles, strcmp(name, "amx") == 0);
    if (tiles) assert_true(hti_amx_usable());
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_keeps_two_chains_and_flushes_denormals),
        cmocka_unit_test(tiles_errors_are_no_larger_than_those_of_multiply_adds),
        cmocka_unit_test(tiles_every_small_shape_is_within_its_bound),
        cmocka_unit_test(tiles_any_part_on_the_grid_has_the_bits_of_the_whole),
        cmocka_unit_test(tiles_any_thread_count_gives_the_same_bits),
        cmocka_unit_test(tiles_added_product_has_the_bits_of_the_sum),
        cmocka_unit_test(
            tiles_convolution_and_attention_have_the_same_bits_by_any_threads),
        cmocka_unit_test(tiles_of_the_processor_have_the_bits_of_the_model),
        cmocka_unit_test(context_without_tiles_has_none),
    };
    return TEST_MAIN(tests);
}
