/* SPDX-License-Identifier: MIT */
/* amx.c: f32 products on matrix tiles of bf16, whose products are summed in f32.
 *
 * With each operand three bf16, x = h + m + l (split.h), six of the nine products of
 * parts are made: hh, hm, mh, hl, mm, lh. The rest, ml, lm and ll, is at most 2^-24 of
 * the product, a rounding, mostly a fifth of one. A block of 32 x 32 of the result, four
 * tiles, is one sum over at most SPLIT_DEPTH terms: first all that is small, so that the
 * sum is rounded where it is small, then hh. It is unscaled and put, or added, where it
 * belongs.
 *
 * Whether a block is made so is settled by the largest exponents of its rows of a and its
 * columns of b. Where a number is not finite, or sums might overflow on the way, gemm.c's
 * multiply-adds make it, and its bits are theirs. Below, nothing is lost: scaled, parts
 * are multiples of 2^-125, and what is flushed to 0 on the way is less than 2^-174, 16 *
 * SPLIT_DEPTH times no half of the smallest f32.
 *
 * Blocks stand on a grid of 32 rows and columns of the whole product, which callers cut
 * at its lines alone: an element has the same bits in whatever part it is made.
 * Read next: tile.h, split.h, usable.c. */
#include "amx.h"

#include "split.h"

enum {
    AMX_LINES = 1 << 14, /* of an operand whose exponents are kept */
    AMX_HELD = 256,      /* lines of the operand that stays in the second cache */
    AMX_PANELS = AMX_HELD / SPLIT_LINES,
    AMX_SUM =
        2 * 127 + 126 - 48 - 10 /* of exponents: with the scale, 2^7 terms, to spare */
};

/* A product in progress: sides a and b. Of one, AMX_HELD lines are split at a time, and
 * panels of the other pass. */
typedef struct amx_work {
    hti_gemm p;
    split_side side[2];
    int64_t first[2], lines[2]; /* of the panels at hand */
    int64_t from, terms;        /* the block of terms */
    const uint16_t *panel[2];
    bool add;
    unsigned char exponent[2][AMX_LINES / SPLIT_LINES]; /* by panel, of all terms */
} amx_work;

/* Whether the block of rows and columns `at` is a sum of tiles. */
static bool amx_is_made(const amx_work *w, const int64_t at[2])
{
    int a = w->exponent[0][at[0] / SPLIT_LINES], b = w->exponent[1][at[1] / SPLIT_LINES];
    return a <= SPLIT_MOST && b <= SPLIT_MOST && a + b <= AMX_SUM;
}

/* Tiles 0 to 3 are sums, 4 and 5 a's, 6 and 7 b's. */
#define AMX_LOAD(n, more, from, part, two)                                    \
    do {                                                                      \
        TILE_LOAD(t, n, (from) + (part)*SPLIT_PART);                          \
        if (two) TILE_LOAD(t, more, (from) + (part)*SPLIT_PART + TILE_WORDS); \
    } while (0)
#define AMX_MULTIPLY()                               \
    do {                                             \
        TILE_MULTIPLY(t, 0, 4, 6);                   \
        if (wide) TILE_MULTIPLY(t, 1, 4, 7);         \
        if (tall) TILE_MULTIPLY(t, 2, 5, 6);         \
        if (wide && tall) TILE_MULTIPLY(t, 3, 5, 7); \
    } while (0)

enum { AMX_H, AMX_M, AMX_L };

/* 32 terms, the products that are small: one operand of the last stays. */
HTI_INLINE void amx_small(TILE_SET *t, const uint16_t *a, const uint16_t *b, bool tall,
                          bool wide)
{
    AMX_LOAD(4, 5, a, AMX_L, tall);
    AMX_LOAD(6, 7, b, AMX_H, wide);
    AMX_MULTIPLY();
    AMX_LOAD(4, 5, a, AMX_M, tall);
    AMX_MULTIPLY();
    AMX_LOAD(6, 7, b, AMX_M, wide);
    AMX_MULTIPLY();
    AMX_LOAD(4, 5, a, AMX_H, tall);
    AMX_MULTIPLY();
    AMX_LOAD(6, 7, b, AMX_L, wide);
    AMX_MULTIPLY();
    (void)t;
}

/* sum (32, 32) of two panels; `tall`, `wide`: more than 16 rows, columns. */
static __attribute__((noinline)) void amx_sum(TILE_SET *t, int64_t terms,
                                              const uint16_t *a, const uint16_t *b,
                                              bool tall, bool wide, float *sum)
{
    int64_t steps = (terms + SPLIT_TERMS - 1) / SPLIT_TERMS * SPLIT_STEP;
    TILE_BARRIER();
    TILE_ZERO(t, 0);
    TILE_ZERO(t, 1);
    TILE_ZERO(t, 2);
    TILE_ZERO(t, 3);
    for (int64_t l = 0; l < steps; l += SPLIT_STEP)
        amx_small(t, a + l, b + l, tall, wide);
    for (int64_t l = 0; l < steps; l += SPLIT_STEP) {
        AMX_LOAD(4, 5, a + l, AMX_H, tall);
        AMX_LOAD(6, 7, b + l, AMX_H, wide);
        AMX_MULTIPLY();
    }
    size_t row = SPLIT_LINES * sizeof *sum;
    TILE_STORE(t, 0, sum, row);
    TILE_STORE(t, 1, sum + TILE_ROWS, row);
    TILE_STORE(t, 2, sum + TILE_ROWS * SPLIT_LINES, row);
    TILE_STORE(t, 3, sum + TILE_ROWS * SPLIT_LINES + TILE_ROWS, row);
    TILE_BARRIER();
    (void)t;
}

static void amx_put(const amx_work *w, const float *sum, float *out)
{
    const float back = 1 / (SPLIT_SCALE * SPLIT_SCALE);
    int64_t cols = w->lines[1], step = w->p.step;
    for (int64_t i = 0; i < w->lines[0]; i++, out += step, sum += SPLIT_LINES)
        for (int64_t j = 0; j < cols; j++)
            out[j] = w->add ? out[j] + sum[j] * back : sum[j] * back;
}

static void amx_block(const amx_work *w, TILE_SET *t)
{
    float sum[SPLIT_LINES * SPLIT_LINES] __attribute__((aligned(HTI_ALIGN)));
    if (!amx_is_made(w, w->first)) return;
    amx_sum(t, w->terms, w->panel[0], w->panel[1], w->lines[0] > TILE_ROWS,
            w->lines[1] > TILE_ROWS, sum);
    amx_put(w, sum, w->p.out + w->first[0] * w->p.step + w->first[1]);
}

/* The panel of `side` at line `at`, of those before `last`, is `panel`. */
static void amx_take(amx_work *w, int side, int64_t at, int64_t last,
                     const uint16_t *panel)
{
    w->panel[side] = panel;
    w->first[side] = at;
    w->lines[side] = last - at < SPLIT_LINES ? last - at : SPLIT_LINES;
}

static void amx_split(const amx_work *w, int side, int64_t at, int64_t last, uint16_t *to)
{
    int64_t lines = last - at < SPLIT_LINES ? last - at : SPLIT_LINES;
    if (w->exponent[side][at / SPLIT_LINES] <= SPLIT_MOST)
        split_panel(&w->side[side], at, lines, w->from, w->terms, to);
}

/* Lines first .. last-1 of side `h`, which are held, and a block of terms, against all of
 * the other. */
static void amx_blocks(amx_work *w, TILE_SET *t, int h, int64_t first, int64_t last,
                       uint16_t *held)
{
    uint16_t passing[SPLIT_PANEL] __attribute__((aligned(HTI_ALIGN)));
    uint16_t *panel = held;
    for (int64_t i = first; i < last; i += SPLIT_LINES, panel += SPLIT_PANEL)
        amx_split(w, h, i, last, panel);
    int64_t others = w->side[!h].lines;
    for (int64_t j = 0; j < others; j += SPLIT_LINES) {
        amx_split(w, !h, j, others, passing);
        amx_take(w, !h, j, others, passing);
        panel = held;
        for (int64_t i = first; i < last; i += SPLIT_LINES, panel += SPLIT_PANEL) {
            amx_take(w, h, i, last, panel);
            amx_block(w, t);
        }
    }
}

static int64_t amx_over(int64_t n, int64_t part)
{
    return (n + part - 1) / part;
}

/* All blocks that are sums of tiles. The side is held with which less is split again. */
static __attribute__((noinline)) void amx_make(amx_work *w)
{
    uint16_t held[AMX_PANELS * SPLIT_PANEL] __attribute__((aligned(HTI_ALIGN)));
    int64_t m = w->p.m, n = w->p.n, k = w->p.k;
    int h = n + amx_over(n, AMX_HELD) * m < m + amx_over(m, AMX_HELD) * n;
    int64_t steps = amx_over(k, SPLIT_TERMS), depths = amx_over(k, SPLIT_DEPTH);
    int64_t lines = w->side[h].lines, panels = amx_over(lines, SPLIT_LINES);
    int64_t blocks = amx_over(panels, AMX_PANELS);
    TILE_SET tiles, *t = &tiles;
    TILE_CONFIGURE(t);
    for (int64_t i = 0; i < blocks; i++)
        for (int64_t d = 0; d < depths; d++) {
            int64_t last = panels * (i + 1) / blocks * SPLIT_LINES;
            int64_t end = steps * (d + 1) / depths * SPLIT_TERMS;
            w->from = steps * d / depths * SPLIT_TERMS;
            w->terms = (end < k ? end : k) - w->from;
            w->add = w->p.add || d > 0;
            amx_blocks(w, t, h, panels * i / blocks * SPLIT_LINES,
                       last < lines ? last : lines, held);
        }
    TILE_RELEASE(t);
}

/* All others, by multiply-adds, in runs of columns. */
static void amx_leave(const amx_work *w, const hti_gemm_loops *others)
{
    for (int64_t at[2] = {0}; at[0] < w->p.m; at[0] += SPLIT_LINES)
        for (at[1] = 0; at[1] < w->p.n; at[1] += SPLIT_LINES) {
            hti_gemm p = w->p;
            int64_t first = at[1];
            while (at[1] < p.n && !amx_is_made(w, at)) at[1] += SPLIT_LINES;
            if (at[1] == first) continue;
            p.m = p.m - at[0] < SPLIT_LINES ? p.m - at[0] : SPLIT_LINES;
            p.n = (at[1] < p.n ? at[1] : p.n) - first;
            p.a += at[0] * p.a_row, p.b += first * p.b_col;
            p.out += at[0] * p.step + first;
            others->product(&p);
        }
}

static void amx_part(const hti_gemm_loops *others, const hti_gemm *p)
{
    amx_work w = {.p = *p,
                  .side = {{p->a, p->m, p->a_row, p->a_col, false},
                           {p->b, p->n, p->b_col, p->b_row, true}}};
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < w.side[s].lines; i += SPLIT_LINES) {
            int64_t left = w.side[s].lines - i;
            w.exponent[s][i / SPLIT_LINES] = (unsigned char)split_exponent(
                &w.side[s], i, left < SPLIT_LINES ? left : SPLIT_LINES, p->k);
        }
    amx_make(&w);
    amx_leave(&w, others);
}

static void amx_product(const hti_gemm_loops *others, const hti_gemm *p)
{
    for (int64_t i = 0; i < p->m; i += AMX_LINES)
        for (int64_t j = 0; j < p->n; j += AMX_LINES) {
            hti_gemm part = *p;
            part.m = p->m - i < AMX_LINES ? p->m - i : AMX_LINES;
            part.n = p->n - j < AMX_LINES ? p->n - j : AMX_LINES;
            part.a += i * p->a_row, part.b += j * p->b_col;
            part.out += i * p->step + j;
            amx_part(others, &part);
        }
}

/* Cycles, from counts: a tile's product takes 16, six for 32 terms; a number is split in
 * half of one; against 24 of the 32 multiply-adds a cycle could make. */
static bool amx_fits(int64_t m, int64_t k, int64_t n)
{
    int64_t tiles = amx_over(m, TILE_ROWS) * amx_over(n, TILE_ROWS);
    int64_t cost = 96 * tiles * amx_over(k, SPLIT_TERMS) + (m + n) * k / 2 +
                   m * n * amx_over(k, SPLIT_DEPTH) / 8;
    return k >= 2 * SPLIT_TERMS && cost < m * n * k / 24;
}

#if HTI_TILE_MODEL
const hti_tiles hti_tiles_model = {SPLIT_LINES, SPLIT_DEPTH, amx_fits, amx_product};
#else
const hti_tiles hti_tiles_amx = {SPLIT_LINES, SPLIT_DEPTH, amx_fits, amx_product};

/* bf16 of all sizes but those whose sums would not be finite. */
static void amx_numbers(uint32_t *seed, uint16_t *to, double *value)
{
    for (int i = 0; i < TILE_WORDS; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        uint32_t exponent = (*seed >> 20 & 15) ? 40 + (*seed >> 24) % 120 : 0;
        uint32_t bits = (*seed & 0x807f0000u) | exponent << 23;
        float x;
        memcpy(&x, &bits, sizeof x);
        to[i] = (uint16_t)(bits >> 16);
        value[i] = exponent ? (double)x : 0; /* as of tiles denormal ones are */
    }
}

/* Whether sum is of a's rows and b's pairs, but for roundings of f32 in any order. */
static bool amx_is_sum(const float *sum, const double *a, const double *b)
{
    for (int i = 0; i < TILE_ROWS; i++)
        for (int j = 0; j < TILE_ROWS; j++) {
            double exact = 0, size = 0;
            for (int l = 0; l < SPLIT_TERMS; l++) {
                int at = l / 2 * SPLIT_TERMS + 2 * j + l % 2;
                double term = a[i * SPLIT_TERMS + l] * b[at];
                exact += term;
                size += fabs(term);
            }
            if (!(fabs((double)sum[i * TILE_ROWS + j] - exact) <= 0x1p-18 * size))
                return false;
        }
    return true;
}

bool hti_amx_agrees(void)
{
    uint16_t a[TILE_WORDS] __attribute__((aligned(HTI_ALIGN))), b[TILE_WORDS];
    float sum[TILE_ROWS * TILE_ROWS];
    double x[TILE_WORDS], y[TILE_WORDS];
    uint32_t seed = 18;
    TILE_SET tiles, *t = &tiles;
    TILE_CONFIGURE(t);
    amx_numbers(&seed, a, x);
    amx_numbers(&seed, b, y);
    TILE_BARRIER();
    TILE_ZERO(t, 3);
    TILE_LOAD(t, 4, a);
    TILE_LOAD(t, 7, b);
    TILE_MULTIPLY(t, 3, 4, 7);
    TILE_STORE(t, 3, sum, TILE_BYTES);
    TILE_BARRIER();
    TILE_RELEASE(t);
    return amx_is_sum(sum, x, y);
}
#endif
