/* SPDX-License-Identifier: MIT */
/* matmul.c: matrix products: in f32, where the instruction set has them, our own of
 * gemm.c and skinny.c; for the rest OpenBLAS, where the strides can be said to it
 * (blas.c), else three plain loops. Which of them runs depends on shapes and strides
 * alone, so the same product has the same bits wherever it stands.
 *
 * OpenBLAS is always asked for one thread; large products are cut into parts of the
 * result on our own. Its own threading calls malloc in every product, gains nothing where
 * the result is narrow, and in the pthread build fights our loops for the cores. A part's
 * sums run in the order the whole has them.
 * Read next: gemm.h, blas.c, autograd's matmul op. */
#include "matmul.h"

#include "loops.h"

/* Multiply-adds below which a second thread costs more than it brings. */
enum { MATMUL_SERIAL = 1 << 21 };

hti_matmul_view hti_matmul_matrix(const ht_array *a, int64_t batch)
{
    int last = a->shape.rank - 1;
    return (hti_matmul_view){hti_part(a, last - 1, batch), a->dtype,
                             a->shape.dim[last - 1],       a->shape.dim[last],
                             a->stride[last - 1],          a->stride[last]};
}

/* (..., m, n) = (..., m, k) . (..., k, n), one floating dtype. */
static bool matmul_fits(const ht_array *out, const ht_array *a, const ht_array *b)
{
    int rank = out->shape.rank;
    if (rank < 2 || a->shape.rank != rank || b->shape.rank != rank) return false;
    for (int i = 0; i < rank - 2; i++)
        if (a->shape.dim[i] != out->shape.dim[i] || b->shape.dim[i] != out->shape.dim[i])
            return false;
    const int64_t *m = out->shape.dim + rank - 2, *p = a->shape.dim + rank - 2,
                  *q = b->shape.dim + rank - 2;
    return p[0] == m[0] && q[1] == m[1] && p[1] == q[0] &&
           hti_dtype_is_float(out->dtype) && a->dtype == out->dtype &&
           b->dtype == out->dtype && hti_is_contiguous(out);
}

/* One b for a whole batch, whose rows follow each other: a single product. */
static bool matmul_is_tall(const ht_array *out, const ht_array *a, const ht_array *b)
{
    int rows = out->shape.rank - 2;
    int64_t next = a->shape.dim[rows] * a->stride[rows];
    for (int i = rows - 1; i >= 0; i--) {
        int64_t n = out->shape.dim[i];
        if (n > 1 && (b->stride[i] != 0 || a->stride[i] != next)) return false;
        next *= n;
    }
    return true;
}

#define MATMUL_DOT(s, T)                                                              \
    static double matmul_dot_##s(int64_t k, const T *x, int64_t dx, const T *y,       \
                                 int64_t dy)                                          \
    {                                                                                 \
        double sum = 0;                                                               \
        for (int64_t i = 0; i < k; i++) sum += (double)x[i * dx] * (double)y[i * dy]; \
        return sum;                                                                   \
    }
MATMUL_DOT(f32, float)
MATMUL_DOT(f64, double)

/* out_ij = sum over l of a_il b_lj, plus what it was if `add`. */
static void matmul_loops(hti_matmul_view out, hti_matmul_view a, hti_matmul_view b,
                         bool add)
{
    for (int64_t i = 0; i < out.rows; i++)
        for (int64_t j = 0; j < out.cols; j++) {
            int64_t at = i * out.row + j * out.col;
            int64_t size = (int64_t)ht_dtype_bytes(out.dtype);
            const void *x = hti_at(a.data, i * a.row * size);
            const void *y = hti_at(b.data, j * b.col * size);
            if (out.dtype == HT_F32)
                ((float *)out.data)[at] =
                    (add ? ((float *)out.data)[at] : 0) +
                    (float)matmul_dot_f32(a.cols, x, a.col, y, b.row);
            else
                ((double *)out.data)[at] = (add ? ((double *)out.data)[at] : 0) +
                                           matmul_dot_f64(a.cols, x, a.col, y, b.row);
        }
}

/* Elements of the large operand from which skinny.c is faster than gemm.c: when it and
 * what gemm.c packs leave the second cache. */
enum { MATMUL_SKINNY = 1 << 18 };

typedef struct skinny_work {
    const hti_skinny *p;
    hti_skinny_loop run;
    int64_t rows, pieces;
} skinny_work;

/* A row's sum is the same in whatever piece it lies. */
static void skinny_piece(const void *work, int64_t i, int64_t next)
{
    const skinny_work *w = work;
    w->run(w->p, w->rows * i / w->pieces, w->rows * next / w->pieces);
}

/* Whether skinny.c can say this product, of a or of a' as `transposed`, and that. */
static bool matmul_as_skinny(const hti_skinny_loops *loops, hti_matmul_view out,
                             hti_matmul_view a, hti_matmul_view b, bool transposed,
                             hti_skinny *p)
{
    if (out.dtype != HT_F32 || out.cols > loops->columns[transposed] || b.col != 1 ||
        b.row < b.cols || (transposed ? a.row != 1 || a.col < a.rows : a.row < a.cols))
        return false;
    *p = (hti_skinny){.m = transposed ? a.cols : a.rows,
                      .k = transposed ? a.rows : a.cols,
                      .n = out.cols,
                      .x = a.data,
                      .w = b.data,
                      .out = out.data,
                      .x_step = transposed ? a.col : a.row,
                      .w_step = b.row,
                      .out_step = out.row};
    return true;
}

/* Few columns: see skinny.c. A piece is a run of rows of out. */
static bool matmul_skinny(const ht_context *ctx, int threads, hti_matmul_view out,
                          hti_matmul_view a, hti_matmul_view b)
{
    const hti_skinny_loops *loops = ctx->loops->skinny;
    bool transposed = a.col != 1;
    hti_skinny p;
    if (a.rows * a.cols < MATMUL_SKINNY || a.rows < HTI_SKINNY_LEAST ||
        a.cols < HTI_SKINNY_LEAST || !matmul_as_skinny(loops, out, a, b, transposed, &p))
        return false;
    bool share = threads > 1 && out.rows * out.cols * a.cols >= MATMUL_SERIAL;
    skinny_work w = {&p, loops->run[transposed], out.rows, share ? threads : 1};
    hti_share(ctx, w.pieces, skinny_piece, &w);
    return true;
}

/* Strides that are never stepped are 1, so that what is contiguous shows. */
static hti_matmul_view matmul_plain(hti_matmul_view a)
{
    if (a.rows == 1) a.row = 1;
    if (a.cols == 1) a.col = 1;
    return a;
}

static bool matmul_is_ours(const struct hti_loops *loops, const hti_matmul_view *a)
{
    return a->dtype == HT_F32 && a->cols > 0 && loops->gemm->columns > 0;
}

/* out = a . b, or += if `add`, on the calling thread by gemm.c, or on tiles, which take
 * f32 operands of any strides, and rows of `out` any distance apart. */
static void matmul_ours(const struct hti_loops *loops, const hti_tiles *tiles,
                        hti_matmul_view out, hti_matmul_view a, hti_matmul_view b,
                        bool add)
{
    a = matmul_plain(a);
    b = matmul_plain(b);
    hti_gemm p = {.m = out.rows,
                  .k = a.cols,
                  .n = out.cols,
                  .a = a.data,
                  .b = b.data,
                  .out = out.data,
                  .a_row = a.row,
                  .a_col = a.col,
                  .b_row = b.row,
                  .b_col = b.col,
                  .step = out.row,
                  .add = add};
    if (tiles)
        tiles->product(loops->gemm, &p);
    else
        loops->gemm->product(&p);
}

enum { MATMUL_PART = 16 }; /* rows or columns that are worth a thread */

/* out = a . b, or += if `add`, in `pieces`, `across` of them side by side; on tiles, or
 * NULL. */
typedef struct matmul_work {
    const ht_context *ctx;
    hti_matmul_view out, a, b;
    int64_t pieces, across;
    bool add;
    const hti_tiles *tiles;
} matmul_work;

/* Where part i of `parts` of n begins, on multiples of a grid. */
static int64_t matmul_cut(int64_t n, int64_t grid, int64_t i, int64_t parts)
{
    int64_t at = (n + grid - 1) / grid * i / parts * grid;
    return at < n ? at : n;
}

/* Columns in multiples of a part. */
static void matmul_part(const void *work, int64_t i, int64_t next)
{
    const matmul_work *w = work;
    hti_matmul_view out = w->out;
    int64_t across = w->across, r = i / across, c = i % across, down = w->pieces / across;
    int64_t high = w->tiles ? w->tiles->grid : 1;
    int64_t wide = w->tiles ? w->tiles->grid : MATMUL_PART;
    (void)next;
    int64_t first = matmul_cut(out.rows, high, r, down);
    int64_t last = matmul_cut(out.rows, high, r + 1, down);
    int64_t left = matmul_cut(out.cols, wide, c, across);
    int64_t right = matmul_cut(out.cols, wide, c + 1, across);
    matmul_ours(w->ctx->loops, w->tiles,
                hti_matmul_cols(hti_matmul_rows(out, first, last), left, right),
                hti_matmul_rows(w->a, first, last), hti_matmul_cols(w->b, left, right),
                w->add);
}

/* The result cut over threads, its longer side first. */
static bool matmul_parts(const ht_context *ctx, int threads, hti_matmul_view out,
                         hti_matmul_view a, hti_matmul_view b, bool add)
{
    if (!matmul_is_ours(ctx->loops, &a)) return false;
    const hti_tiles *tiles = hti_gemm_tiles(ctx->loops->gemm, out.rows, a.cols, out.cols);
    int64_t part = tiles ? tiles->grid : MATMUL_PART;
    int64_t tall = (out.rows + part - 1) / part, broad = (out.cols + part - 1) / part;
    int64_t more = tall > broad ? tall : broad, less = tall > broad ? broad : tall;
    int64_t most = out.rows * out.cols * a.cols < MATMUL_SERIAL ? 1 : threads;
    int64_t cuts = more < most ? more : most, rest = most / cuts;
    int64_t others = less < rest ? less : rest, pieces = cuts * others;
    int64_t across = tall > broad ? others : cuts;
    if (pieces == 1) {
        matmul_ours(ctx->loops, tiles, out, a, b, add);
        return true;
    }
    matmul_work w = {ctx, out, a, b, pieces, across, add, tiles};
    hti_share(ctx, pieces, matmul_part, &w);
    return true;
}

enum { MATMUL_BAND = 32 }; /* rows: a multiple of BLAS's own tiles */

/* A band of rows, a product of its own. */
static void matmul_band(const void *work, int64_t i, int64_t next)
{
    const matmul_work *w = work;
    int64_t bands = (w->out.rows + MATMUL_BAND - 1) / MATMUL_BAND;
    int64_t first = bands * i / w->pieces * MATMUL_BAND;
    int64_t last = bands * next / w->pieces * MATMUL_BAND;
    if (last > w->out.rows) last = w->out.rows;
    if (first < last)
        hti_blas_product(hti_matmul_rows(w->out, first, last),
                         hti_matmul_rows(w->a, first, last), w->b, false);
}

static bool matmul_bands(const ht_context *ctx, int threads, hti_matmul_view out,
                         hti_matmul_view a, hti_matmul_view b)
{
    int64_t pieces = out.rows / MATMUL_BAND < threads ? out.rows / MATMUL_BAND : threads;
    if (pieces < 2 || out.rows * out.cols * a.cols < MATMUL_SERIAL)
        return hti_blas_product(out, a, b, false);
    if (!hti_blas_fits(&a, &b)) return false;
    hti_share(ctx, pieces, matmul_band,
              &(matmul_work){.out = out, .a = a, .b = b, .pieces = pieces});
    return true;
}

/* On at most `threads` of the context's threads. */
static void matmul_best(const ht_context *ctx, int threads, hti_matmul_view out,
                        hti_matmul_view a, hti_matmul_view b)
{
    if (!matmul_skinny(ctx, threads, out, a, b) && !hti_blas_vector(out, a, b) &&
        !matmul_parts(ctx, threads, out, a, b, false) &&
        !matmul_bands(ctx, threads, out, a, b))
        matmul_loops(out, a, b, false);
}

typedef struct matmul_batch {
    const ht_context *ctx;
    const ht_array *out, *a, *b;
    int64_t n, pieces;
    int threads; /* of a product */
} matmul_batch;

static void matmul_some(const void *work, int64_t i, int64_t next)
{
    const matmul_batch *w = work;
    int64_t last = w->n * next / w->pieces;
    for (int64_t k = w->n * i / w->pieces; k < last; k++)
        matmul_best(w->ctx, w->threads, hti_matmul_matrix(w->out, k),
                    hti_matmul_matrix(w->a, k), hti_matmul_matrix(w->b, k));
}

/* The products of a batch, over threads where each is too small to be cut. */
static void matmul_each(const ht_context *ctx, const ht_array *out, const ht_array *a,
                        const ht_array *b)
{
    int rank = out->shape.rank, threads = ht_context_threads(ctx);
    int64_t size = out->shape.dim[rank - 2] * out->shape.dim[rank - 1];
    int64_t n = ht_shape_count(out->shape) / size, work = size * a->shape.dim[rank - 1];
    bool share = work < MATMUL_SERIAL && work * n >= MATMUL_SERIAL;
    int64_t pieces = !share ? 1 : n < threads ? n : threads;
    matmul_batch w = {ctx, out, a, b, n, pieces, pieces > 1 ? 1 : threads};
    hti_share(ctx, pieces, matmul_some, &w);
}

static void matmul_batches(const ht_context *ctx, const ht_array *out, const ht_array *a,
                           const ht_array *b)
{
    char o[HT_SHAPE_TEXT], p[HT_SHAPE_TEXT], q[HT_SHAPE_TEXT];
    HT_ASSERT(matmul_fits(out, a, b), "matmul: %s %s = %s %s . %s %s",
              ht_dtype_name(out->dtype), ht_shape_text(out->shape, o),
              ht_dtype_name(a->dtype), ht_shape_text(a->shape, p),
              ht_dtype_name(b->dtype), ht_shape_text(b->shape, q));
    int64_t count = ht_shape_count(out->shape);
    if (count == 0) return;
    if (matmul_is_tall(out, a, b)) {
        hti_matmul_view all = hti_matmul_matrix(out, 0), rows = hti_matmul_matrix(a, 0);
        all.rows = rows.rows = count / all.cols;
        matmul_best(ctx, ctx->options.threads, all, rows, hti_matmul_matrix(b, 0));
    } else {
        matmul_each(ctx, out, a, b);
    }
}

/* The products of vectors are BLAS's in f32, too. */
static bool matmul_has_vectors(const ht_array *out)
{
    int rank = out->shape.rank;
    return rank >= 2 && (out->shape.dim[rank - 2] == 1 || out->shape.dim[rank - 1] == 1);
}

static bool matmul_is_large(const ht_array *out, const ht_array *a)
{
    return ht_shape_count(out->shape) * a->shape.dim[a->shape.rank - 1] >= MATMUL_SERIAL;
}

static void fast_matmul(ht_context *ctx, ht_array out, ht_array a, ht_array b)
{
    hti_matmul_counts before = hti_matmul_enter(ctx, out.dtype, matmul_has_vectors(&out),
                                                matmul_is_large(&out, &a));
    matmul_batches(ctx, &out, &a, &b);
    hti_matmul_leave(before);
}

/* Our own alone: of a block of terms it makes one sum, which it then adds. */
static bool fast_matmul_adds(const ht_context *ctx, ht_dtype dtype, int64_t m, int64_t n,
                             int64_t k)
{
    const struct hti_loops *loops = ctx->loops;
    if (dtype != HT_F32 || m <= 1 || n <= 1 || k <= 0 || n <= loops->skinny->columns[1] ||
        loops->gemm->columns == 0)
        return false;
    const hti_tiles *tiles = hti_gemm_tiles(loops->gemm, m, k, n);
    return k <= (tiles ? tiles->depth : loops->gemm->depth);
}

static void fast_matmul_add(ht_context *ctx, ht_array out, ht_array a, ht_array b)
{
    hti_matmul_view o = hti_matmul_matrix(&out, 0), p = hti_matmul_matrix(&a, 0),
                    q = hti_matmul_matrix(&b, 0);
    hti_matmul_counts before = hti_matmul_enter(ctx, out.dtype, false, false);
    if (o.rows > 0 && o.cols > 0 &&
        !matmul_parts(ctx, ht_context_threads(ctx), o, p, q, true) &&
        !hti_blas_product(o, p, q, true))
        matmul_loops(o, p, q, true);
    hti_matmul_leave(before);
}

static size_t fast_matmul_room(const ht_context *ctx, const ht_array *out,
                               const ht_array *a, const ht_array *b)
{
    const hti_skinny_loops *loops = ctx->loops->skinny;
    hti_matmul_view x = hti_matmul_matrix(a, 0);
    bool transposed = x.col != 1;
    hti_skinny p;
    if (x.rows * x.cols < MATMUL_SKINNY || x.rows < HTI_SKINNY_LEAST ||
        x.cols < HTI_SKINNY_LEAST ||
        !matmul_as_skinny(loops, hti_matmul_matrix(out, 0), x, hti_matmul_matrix(b, 0),
                          transposed, &p))
        return 0;
    return loops->room[transposed](p.k, p.n);
}

/* A block of one row has strides that say less than those of all: a' is what is not a
 * row of out for a row of a. */
static void fast_matmul_block(ht_context *ctx, ht_array out, ht_array a, ht_array b,
                              unsigned ends, void *room)
{
    hti_matmul_view x = hti_matmul_matrix(&a, 0);
    bool transposed = x.col != 1;
    hti_skinny p;
    bool fits = matmul_as_skinny(ctx->loops->skinny, hti_matmul_matrix(&out, 0), x,
                                 hti_matmul_matrix(&b, 0), transposed, &p);
    HT_ASSERT(fits, "matmul_block: %lld columns", (long long)x.cols);
    ctx->loops->skinny->block[transposed](&p, ends, room);
}

void hti_matmul_tile(const struct hti_loops *loops, hti_matmul_view out,
                     hti_matmul_view a, hti_matmul_view b, bool add)
{
    if (out.rows == 0 || out.cols == 0) return;
    if (matmul_is_ours(loops, &a))
        matmul_ours(loops, hti_gemm_tiles(loops->gemm, out.rows, a.cols, out.cols), out,
                    a, b, add);
    else if (!hti_blas_product(out, a, b, add))
        matmul_loops(out, a, b, add);
}

void hti_fast_matmul(struct hti_kernels *kernels)
{
    kernels->matmul = fast_matmul;
    kernels->matmul_add = fast_matmul_add;
    kernels->matmul_adds = fast_matmul_adds;
    kernels->matmul_block = fast_matmul_block;
    kernels->matmul_room = fast_matmul_room;
}
