/* SPDX-License-Identifier: MIT */
/* gemm.c: f32 matrix products, compiled once per instruction set as skinny.c is. See
 * gemm.h for the two steps and what their bits depend on.
 *
 * The inner loop holds a tile of out in registers, up to ROWS rows of two vectors, and
 * for each term reads two vectors of b and one number of a per row. Rows are shared out
 * evenly over tiles, each number of rows being a function of its own; columns that are no
 * multiple of a vector are covered by two vectors that overlap and agree, or a vector and
 * half of one. So no tile is mostly padding. Blocks follow Goto & van de Geijn (2008): a
 * panel of b in the first cache, the rows of a that meet it in the second, except that
 * a is never copied. */
#include "gemm.h"

#include "loops.h"

#if defined(__AVX2__)
#if defined(__AVX512F__)
enum { LANES = 16, ROWS = 14 };
#else
enum { LANES = 8, ROWS = 6 };
#endif
enum {
    COLUMNS = 2 * LANES,
    DEPTH = 256,  /* terms of a block: a panel takes two thirds of the first cache */
    BLOCK = 512,  /* rows of a block: of a, DEPTH of each stay in the second */
    ROOM = 2048,  /* rows of the panels packed at once, in the second cache; */
    FEW = 64,     /* with so few rows of a to meet them, in the first */
    PLACE = 4096, /* floats of b worth no copy: the first cache holds them, */
    PLACE_FEW = 64 * 1024 /* or few rows of a read them, and their pages are near */
};

/* Vectors of a size, anywhere in memory. */
#define GEMM_VECTOR(bytes) \
    __attribute__((vector_size(bytes), aligned(sizeof(float)), may_alias))
typedef float gemm_lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef float gemm_half __attribute__((vector_size(LANES / 2 * sizeof(float))));
typedef float gemm_any GEMM_VECTOR(LANES * sizeof(float));
typedef float gemm_any_half GEMM_VECTOR(LANES / 2 * sizeof(float));
typedef float gemm_8 GEMM_VECTOR(32);
typedef float gemm_4 GEMM_VECTOR(16);
typedef float gemm_2 GEMM_VECTOR(8);

#define GEMM_AT(p) (*(const gemm_any *)(p))
HTI_INLINE void gemm_put(float *to, gemm_lanes x)
{
    *(gemm_any *)to = x;
}

/* A tile: rows of a, `row` and `col` apart, and of b, with the second of two vectors at
 * b_next; it stands at `next` in out. One vector holds `width` columns. */
typedef struct gemm_part {
    int64_t k, row, col, b_row, b_next, next, width, step;
    const int64_t *at;
    bool add;
} gemm_part;

/* n floats, n >= 1 and less than twice a piece, in two pieces that may overlap. */
#define GEMM_PIECES(T)                                           \
    do {                                                         \
        int64_t rest = n - (int64_t)(sizeof(T) / sizeof(float)); \
        T low = *(const T *)x, high = *(const T *)(x + rest);    \
        if (add) {                                               \
            low += *(T *)out;                                    \
            high += *(T *)(out + rest);                          \
        }                                                        \
        *(T *)out = low;                                         \
        *(T *)(out + rest) = high;                               \
    } while (0)

/* out[0 .. n-1] = x, or += if `add`, 0 < n < LANES. */
HTI_INLINE void gemm_store_few(float *out, int64_t n, const float *x, bool add)
{
    if (n >= 8)
        GEMM_PIECES(gemm_8);
    else if (n >= 4)
        GEMM_PIECES(gemm_4);
    else if (n >= 2)
        GEMM_PIECES(gemm_2);
    else
        *out = add ? *out + *x : *x;
}

static __attribute__((noinline)) void gemm_store_edge(int rows, const gemm_part *p,
                                                      const gemm_lanes *sum, float *out)
{
    for (int r = 0; r < rows; r++)
        gemm_store_few(out + r * p->step, p->width, (const float *)&sum[r], p->add);
}

/* With `rows` and `wide` numbers loops over them unroll, and `sum` is registers. Rows of
 * b lie b_row apart, or, `listed`, at b + at[..]. */
HTI_INLINE void gemm_tile(int rows, int wide, bool listed, const gemm_part *p,
                          const float *a, int64_t row, int64_t col, const float *b,
                          float *out)
{
    gemm_lanes sum[ROWS][2];
    const int64_t *at = p->at;
    int64_t k = p->k, b_row = p->b_row, b_next = p->b_next, step = p->step;
    int64_t next = p->next;
    HTI_UNROLL for (int r = 0; r < rows; r++) HTI_UNROLL for (int v = 0; v < wide; v++)
        sum[r][v] = (gemm_lanes){0};

    for (int64_t l = 0; l < k; l++, a += col) {
        gemm_lanes y[2];
        const float *now = listed ? b + at[l] : b;
        /* The next tile's, where that is a new line of every row. */
        if (row == 1) __builtin_prefetch(a + 2 * ROWS - 1, 0, 2);
        HTI_UNROLL for (int v = 0; v < wide; v++) y[v] = GEMM_AT(now + v * b_next);
        if (!listed) b += b_row;
        HTI_UNROLL for (int r = 0; r < rows; r++)
        {
            float x = a[r * row];
            HTI_UNROLL for (int v = 0; v < wide; v++) sum[r][v] += x * y[v];
        }
    }
    if (wide == 1 && p->width < LANES) {
        gemm_lanes edge[ROWS];
        HTI_UNROLL for (int r = 0; r < rows; r++) edge[r] = sum[r][0];
        gemm_store_edge(rows, p, edge, out);
        return;
    }
    /* Both vectors before either is written: they may overlap. */
    if (p->add)
        HTI_UNROLL for (int r = 0; r < rows; r++)
            HTI_UNROLL for (int v = 0; v < wide; v++) sum[r][v] +=
            GEMM_AT(out + r * step + v * next);
    HTI_UNROLL for (int r = 0; r < rows; r++) HTI_UNROLL for (int v = 0; v < wide; v++)
        gemm_put(out + r * step + v * next, sum[r][v]);
}

/* The half of x that comes first. */
HTI_INLINE gemm_half gemm_first(gemm_lanes x)
{
#if defined(__AVX512F__)
    return __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
#else
    return __builtin_shufflevector(x, x, 0, 1, 2, 3);
#endif
}

/* Of a vector and a half at most, as attention's heads of 24 are: a quarter less where
 * half a vector costs half, as on Zen 4, and the same where it does not. */
HTI_INLINE void gemm_tile_narrow(int rows, const gemm_part *p, const float *a,
                                 int64_t row, int64_t col, const float *b, float *out)
{
    gemm_lanes sum[ROWS];
    gemm_half rest[ROWS];
    int64_t k = p->k, b_row = p->b_row, b_next = p->b_next, step = p->step;
    int64_t next = p->next;
    HTI_UNROLL for (int r = 0; r < rows; r++) sum[r] = (gemm_lanes){0},
                                              rest[r] = (gemm_half){0};
    for (int64_t l = 0; l < k; l++, a += col, b += b_row) {
        gemm_lanes y = GEMM_AT(b);
        gemm_half z = *(const gemm_any_half *)(b + b_next);
        if (row == 1) __builtin_prefetch(a + 2 * ROWS - 1, 0, 2);
        HTI_UNROLL for (int r = 0; r < rows; r++)
        {
            gemm_lanes x = a[r * row] - (gemm_lanes){0};
            sum[r] += x * y;
            rest[r] += gemm_first(x) * z;
        }
    }
    if (p->add) HTI_UNROLL for (int r = 0; r < rows; r++)
        {
            sum[r] += GEMM_AT(out + r * step);
            rest[r] += *(const gemm_any_half *)(out + r * step + next);
        }
    HTI_UNROLL for (int r = 0; r < rows; r++)
    {
        gemm_put(out + r * step, sum[r]);
        *(gemm_any_half *)(out + r * step + next) = rest[r];
    }
}

typedef void (*gemm_fn)(const gemm_part *p, const float *a, const float *b, float *out);

/* By rows of a tile, whether a's columns (not its rows) are contiguous, and vectors;
 * listed: along a's rows only. */
#define GEMM_TILE(rows, wide)                                                   \
    static void gemm_along_##rows##_##wide(const gemm_part *p, const float *a,  \
                                           const float *b, float *out)          \
    {                                                                           \
        gemm_tile(rows, wide, false, p, a, p->row, 1, b, out);                  \
    }                                                                           \
    static void gemm_across_##rows##_##wide(const gemm_part *p, const float *a, \
                                            const float *b, float *out)         \
    {                                                                           \
        gemm_tile(rows, wide, false, p, a, 1, p->col, b, out);                  \
    }                                                                           \
    static void gemm_listed_##rows##_##wide(const gemm_part *p, const float *a, \
                                            const float *b, float *out)         \
    {                                                                           \
        gemm_tile(rows, wide, true, p, a, p->row, 1, b, out);                   \
    }
#define GEMM_NARROW(rows)                                                       \
    static void gemm_along_##rows##_narrow(const gemm_part *p, const float *a,  \
                                           const float *b, float *out)          \
    {                                                                           \
        gemm_tile_narrow(rows, p, a, p->row, 1, b, out);                        \
    }                                                                           \
    static void gemm_across_##rows##_narrow(const gemm_part *p, const float *a, \
                                            const float *b, float *out)         \
    {                                                                           \
        gemm_tile_narrow(rows, p, a, 1, p->col, b, out);                        \
    }
#define GEMM_TILES(rows) GEMM_TILE(rows, 1) GEMM_TILE(rows, 2) GEMM_NARROW(rows)
#define GEMM_ENTRY(rows)                                                            \
    {{gemm_along_##rows##_1, gemm_along_##rows##_narrow, gemm_along_##rows##_2},    \
     {gemm_across_##rows##_1, gemm_across_##rows##_narrow, gemm_across_##rows##_2}, \
     {gemm_listed_##rows##_1, gemm_listed_##rows##_2, gemm_listed_##rows##_2}},
#if defined(__AVX512F__)
#define GEMM_MORE(X) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#else
#define GEMM_MORE(X)
#endif
#define GEMM_EACH(X) X(1) X(2) X(3) X(4) X(5) X(6) GEMM_MORE(X)
GEMM_EACH(GEMM_TILES)
static const gemm_fn gemm_tiles[ROWS][3][3] = {GEMM_EACH(GEMM_ENTRY)};

/* Tile after tile down a, each against all panels while its rows of a are near. */
static void gemm_multiply(const hti_gemm *p)
{
    bool packed = p->b_row == 0;
    gemm_part t = {.k = p->k,
                   .row = p->a_row,
                   .col = p->a_col,
                   .b_row = packed ? COLUMNS : p->b_row,
                   .step = p->step,
                   .add = p->add};
    int64_t tiles = (p->m + ROWS - 1) / ROWS;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t first = p->m * i / tiles, rows = p->m * (i + 1) / tiles - first;
        const gemm_fn *run = gemm_tiles[rows - 1][p->a_col != 1];
        const float *a = p->a + first * p->a_row, *b = p->b;
        float *out = p->out + first * p->step;
        for (int64_t j = 0; j < p->n; j += t.width, out += t.width) {
            t.width = hti_gemm_panel_width(COLUMNS, p->n - j);
            int kind = (t.width > LANES) + (t.width > LANES + LANES / 2);
            t.next = t.width - (kind == 1 ? LANES / 2 : LANES);
            t.b_next = !packed ? t.next : kind == 1 ? LANES + LANES / 2 : LANES;
            run[kind](&t, a, b, out);
            b += packed ? p->k * COLUMNS : t.width;
        }
    }
}

/* Tiles as above. */
static void gemm_multiply_listed(const hti_gemm_listed *p)
{
    gemm_part t = {
        .k = p->k, .row = p->a_row, .step = p->step, .at = p->at, .add = p->add};
    int64_t tiles = (p->m + ROWS - 1) / ROWS;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t first = p->m * i / tiles, rows = p->m * (i + 1) / tiles - first;
        const gemm_fn *run = gemm_tiles[rows - 1][2];
        const float *a = p->a + first * p->a_row;
        float *out = p->out + first * p->step;
        for (int64_t j = 0; j < p->panels; j++) {
            const hti_gemm_panel *q = &p->panel[j];
            t.width = q->width, t.b_next = q->b_next, t.next = q->next;
            run[t.width > LANES](&t, a, p->b + q->from, out + q->to);
        }
    }
}

/* The column of b at position j of a panel's row. */
static int64_t gemm_column(int64_t width, int64_t j)
{
    return j < LANES || width < LANES ? j : width - COLUMNS + j;
}

static void gemm_pack_rows(int64_t k, int64_t n, const float *b, int64_t b_row, float *to)
{
    for (int64_t l = 0; l < k; l++, b += b_row, to += COLUMNS)
        if (n >= LANES) {
            *(gemm_lanes *)to = GEMM_AT(b);
            *(gemm_lanes *)(to + LANES) = GEMM_AT(b + n - LANES);
        } else {
            *(gemm_lanes *)to = (gemm_lanes){0};
            gemm_store_few(to, n, b, false);
        }
}

/* In each 128 bits of two vectors: i and j of both in turns, or i and i + 1 of each. */
#if defined(__AVX512F__)
#define GEMM_ZIP(x, y, i, j)                                                          \
    __builtin_shufflevector(x, y, i, i + 16, j, j + 16, i + 4, i + 20, j + 4, j + 20, \
                            i + 8, i + 24, j + 8, j + 24, i + 12, i + 28, j + 12,     \
                            j + 28)
#define GEMM_HALVES(x, y, i)                                                      \
    __builtin_shufflevector(x, y, i, i + 1, i + 16, i + 17, i + 4, i + 5, i + 20, \
                            i + 21, i + 8, i + 9, i + 24, i + 25, i + 12, i + 13, \
                            i + 28, i + 29)
#else
#define GEMM_ZIP(x, y, i, j) \
    __builtin_shufflevector(x, y, i, i + 8, j, j + 8, i + 4, i + 12, j + 4, j + 12)
#define GEMM_HALVES(x, y, i) \
    __builtin_shufflevector(x, y, i, i + 1, i + 8, i + 9, i + 4, i + 5, i + 12, i + 13)
#endif
#define GEMM_JOIN_4(p, q)                                                              \
    __builtin_shufflevector(*(const gemm_4 *)(p), *(const gemm_4 *)(q), 0, 1, 2, 3, 4, \
                            5, 6, 7)

/* Four numbers of every fourth row, side by side. */
HTI_INLINE gemm_lanes gemm_fours(const float *const *row, int64_t l)
{
#if defined(__AVX512F__)
    return __builtin_shufflevector(GEMM_JOIN_4(row[0] + l, row[4] + l),
                                   GEMM_JOIN_4(row[8] + l, row[12] + l), 0, 1, 2, 3, 4, 5,
                                   6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    return GEMM_JOIN_4(row[0] + l, row[4] + l);
#endif
}

/* Four rows of a panel from LANES rows of four: 4 x 4 transposed in each 128 bits. */
HTI_INLINE void gemm_turn(const float *const *row, int64_t l, float *to)
{
    gemm_lanes a = gemm_fours(row, l), b = gemm_fours(row + 1, l);
    gemm_lanes c = gemm_fours(row + 2, l), d = gemm_fours(row + 3, l);
    gemm_lanes low[2] = {GEMM_ZIP(a, b, 0, 1), GEMM_ZIP(c, d, 0, 1)};
    gemm_lanes high[2] = {GEMM_ZIP(a, b, 2, 3), GEMM_ZIP(c, d, 2, 3)};
    to += l * COLUMNS;
    *(gemm_lanes *)to = GEMM_HALVES(low[0], low[1], 0);
    *(gemm_lanes *)(to + COLUMNS) = GEMM_HALVES(low[0], low[1], 2);
    *(gemm_lanes *)(to + 2 * COLUMNS) = GEMM_HALVES(high[0], high[1], 0);
    *(gemm_lanes *)(to + 3 * COLUMNS) = GEMM_HALVES(high[0], high[1], 2);
}

/* k >= 4. What stands past a narrow panel's columns is its last, again. */
static void gemm_pack_columns(int64_t k, int64_t n, const float *b, int64_t b_col,
                              float *to)
{
    for (int64_t v = 0; v < (n > LANES ? COLUMNS : LANES); v += LANES) {
        const float *row[LANES];
        for (int64_t i = 0; i < LANES; i++) {
            int64_t j = gemm_column(n, v + i);
            row[i] = b + (j < n ? j : n - 1) * b_col;
        }
        for (int64_t l = 0; l + 4 <= k; l += 4) gemm_turn(row, l, to + v);
        if (k % 4) gemm_turn(row, k - 4, to + v);
    }
}

static void gemm_pack_any(int64_t k, int64_t n, const float *b, int64_t b_row,
                          int64_t b_col, float *to)
{
    for (int64_t l = 0; l < k; l++, b += b_row)
        for (int64_t i = 0; i < COLUMNS; i++) {
            int64_t j = gemm_column(n, i);
            *to++ = j < n ? b[j * b_col] : 0;
        }
}

static void gemm_pack(int64_t k, int64_t n, const float *b, int64_t b_row, int64_t b_col,
                      float *to)
{
    for (int64_t j = 0, width; j < n; j += width, to += k * COLUMNS) {
        width = hti_gemm_panel_width(COLUMNS, n - j);
        if (b_col == 1)
            gemm_pack_rows(k, width, b + j, b_row, to);
        else if (b_row == 1 && k >= 4)
            gemm_pack_columns(k, width, b + j * b_col, b_col, to);
        else
            gemm_pack_any(k, width, b + j * b_col, b_row, b_col, to);
    }
}

/* Columns of at most `panels` panels. */
static int64_t gemm_columns(int64_t left, int64_t panels)
{
    int64_t n = 0;
    for (; panels > 0 && n < left; panels--) n += hti_gemm_panel_width(COLUMNS, left - n);
    return n;
}

/* A block: p->k <= DEPTH. */
static void gemm_block(const hti_gemm *p)
{
    gemm_lanes panels[2 * ROOM];
    hti_gemm t = *p;
    int64_t room = p->m <= FEW ? PLACE_FEW : PLACE;
    if (p->b_col == 1 && p->n >= LANES && p->b_row > 0 && p->b_row * p->k <= room) {
        gemm_multiply(p);
        return;
    }
    int64_t rows = p->m <= FEW ? DEPTH : ROOM;
    t.b = (const float *)panels;
    t.b_row = 0;
    for (int64_t j = 0; j < p->n; j += t.n, t.out += t.n) {
        t.n = gemm_columns(p->n - j, rows / p->k);
        gemm_pack(p->k, t.n, p->b + j * p->b_col, p->b_row, p->b_col, (float *)panels);
        gemm_multiply(&t);
    }
}

/* A block whose a has no contiguous rows or columns, by rows of a that are packed. */
static void gemm_gather(hti_gemm p)
{
    enum { GATHER = 16 };
    float a[GATHER * DEPTH];
    hti_gemm q = p;
    q.a = a, q.a_row = p.k, q.a_col = 1;
    for (int64_t i = 0; i < p.m; i += GATHER) {
        q.m = p.m - i < GATHER ? p.m - i : GATHER;
        q.out = p.out + i * p.step;
        for (int64_t r = 0; r < q.m; r++)
            for (int64_t l = 0; l < p.k; l++)
                a[r * p.k + l] = p.a[(i + r) * p.a_row + l * p.a_col];
        gemm_block(&q);
    }
}

static void gemm_blocks(const hti_gemm *p)
{
    int64_t blocks = (p->m + BLOCK - 1) / BLOCK, depths = (p->k + DEPTH - 1) / DEPTH;
    for (int64_t i = 0; i < blocks; i++)
        for (int64_t d = 0; d < depths; d++) {
            int64_t first = p->m * i / blocks, from = p->k * d / depths;
            hti_gemm t = *p;
            t.m = p->m * (i + 1) / blocks - first;
            t.k = p->k * (d + 1) / depths - from;
            t.a += first * p->a_row + from * p->a_col;
            t.b += from * p->b_row;
            t.out += first * p->step;
            t.add = p->add || d > 0;
            if (p->a_row == 1 || p->a_col == 1)
                gemm_block(&t);
            else
                gemm_gather(t);
        }
}

/* Few columns, and a's columns contiguous: out' = b' . a', whose vectors are full. */
static void gemm_turned(const hti_gemm *p)
{
    enum { PART = 512, STEP = PART + LANES }; /* rows off each other in a page */
    gemm_lanes turned[STEP];
    float *x = (float *)turned;
    for (int64_t i = 0; i < p->m; i += PART) {
        int64_t m = p->m - i < PART ? p->m - i : PART;
        float *out = p->out + i * p->step;
        for (int64_t j = 0; p->add && j < p->n; j++)
            for (int64_t r = 0; r < m; r++) x[j * STEP + r] = out[r * p->step + j];
        gemm_blocks(&(hti_gemm){.m = p->n,
                                .k = p->k,
                                .n = m,
                                .a = p->b,
                                .b = p->a + i,
                                .out = x,
                                .a_row = p->b_col,
                                .a_col = p->b_row,
                                .b_row = p->a_col,
                                .b_col = 1,
                                .step = STEP,
                                .add = p->add});
        for (int64_t r = 0; r < m; r++)
            for (int64_t j = 0; j < p->n; j++)
                /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): k, n > 0 */
                out[r * p->step + j] = x[j * STEP + r];
    }
}

static void gemm_product(const hti_gemm *p)
{
    if (p->n < LANES && p->m >= LANES && p->a_row == 1 && p->a_col != 1)
        gemm_turned(p);
    else
        gemm_blocks(p);
}

const hti_gemm_loops HTI_OF_ISA(hti_gemm_) = {
    COLUMNS, DEPTH, gemm_pack, gemm_multiply, gemm_multiply_listed, gemm_product, NULL};

#else
const hti_gemm_loops HTI_OF_ISA(hti_gemm_) = {0, 0, NULL, NULL, NULL, NULL, NULL};
#endif
