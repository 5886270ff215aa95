/* SPDX-License-Identifier: MIT */
/* skinny.c: products with few columns, f32, where packing the large operand costs more
 * than it brings. That one is read once, as it lies, by vectors along k; the small one,
 * or the small result, stays in the first cache as its transpose:
 *
 *   y (m, n) = x (m, k) . w (k, n)     some rows of y at a time: rows * n sums, vectors
 *                                      along all of k, whose lanes are then added up
 *   g (k, n) = x (m, k)' . r (m, n)    some rows of x at a time: what they add to a few
 *                                      vectors of g'
 *
 * So no lane is padding, whatever n is. The order of a sum is that of its terms alone:
 * threads and blocks do not change its bits. As loops.c this is compiled once per
 * instruction set; unlike it a product and a sum may be one instruction, so that the bits
 * are those of one machine. Read next: gemm.h, matmul.c. */
#include <stddef.h>
#include <string.h>

#include "loops.h"

/* Floats of a vector, sums in registers, most columns of y and of g: with more gemm.c is
 * faster. And of two vectors every second float. An instruction set of shorter ones has
 * no such loops. */
#if defined(__AVX512F__)
enum { LANES = 16, SUMS = 28, COLUMNS = 14, MORE_COLUMNS = 16 };
#define SKINNY_HALF(a, b, i)                                                             \
    __builtin_shufflevector(a, b, i, i + 2, i + 4, i + 6, i + 8, i + 10, i + 12, i + 14, \
                            i + 16, i + 18, i + 20, i + 22, i + 24, i + 26, i + 28,      \
                            i + 30)
#define SKINNY_EACH(CASE) SKINNY_12(CASE) CASE(13) CASE(14) CASE(15) CASE(16)
#elif defined(__AVX2__)
enum { LANES = 8, SUMS = 12, COLUMNS = 12, MORE_COLUMNS = 12 };
#define SKINNY_HALF(a, b, i) \
    __builtin_shufflevector(a, b, i, i + 2, i + 4, i + 6, i + 8, i + 10, i + 12, i + 14)
#define SKINNY_EACH(CASE) SKINNY_12(CASE)
#endif
#define SKINNY_6(CASE)  CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#define SKINNY_12(CASE) SKINNY_6(CASE) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)

#if defined(__AVX2__)
enum {
    ROOM = 9216, /* floats of w' or g': three quarters of the first cache */
    NEAR = 6144, /* of them floats of w' that some tiles of rows go over first */
    HELD = 8,    /* so many tiles, whose sums are kept meanwhile */
    BLOCK = 64   /* rows of x between two visits to g' */
};
/* Rows of y, or vectors of g', whose sums of n columns are in registers at a time. */
#define SKINNY_TILE(n) (SUMS / (n) < 4 ? SUMS / (n) : 4)

/* x is asked for twice: from memory into the second cache, well ahead, and from there
 * into the first, which would not hold it for so long. */
#define SKINNY_SOON(x)  __builtin_prefetch(x)
#define SKINNY_LATER(x) __builtin_prefetch(x, 0, 2)

typedef float skinny_lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t skinny_bits __attribute__((vector_size(LANES * sizeof(float))));
/* The same anywhere in memory. */
typedef skinny_lanes skinny_memory __attribute__((aligned(4), may_alias));
#define SKINNY_AT(p) (*(const skinny_memory *)(p))

/* Terms first .. last-1 of k: for each vector of them n of w'. */
typedef struct skinny_part {
    int64_t first, last;
    skinny_bits tail; /* the lanes of the last that no other vector has */
    skinny_lanes w[ROOM / LANES];
} skinny_part;

/* Where a run of `width` floats of x's rows begins that should begin at l: earlier, if it
 * would not end within the row. */
static int64_t skinny_begin(const hti_skinny *p, int64_t l, int64_t width)
{
    return l < p->k - width ? l : p->k - width;
}

/* Of `count` what a part takes, in multiples of `unit`: at most what `room` floats hold n
 * of. */
static int64_t skinny_share(int64_t count, int64_t n, int64_t unit, int64_t room)
{
    int64_t most = room / n / unit * unit, parts = 1 + (count - 1) / most;
    return ((count + parts - 1) / parts + unit - 1) / unit * unit;
}

static void skinny_pack(const hti_skinny *p, skinny_part *part)
{
    float *to = (float *)part->w;
    for (int64_t l = part->first; l < part->last; l += LANES, to += p->n * LANES)
        for (int64_t t = 0, at = skinny_begin(p, l, LANES); t < LANES; t++, at++) {
            for (int64_t j = 0; j < p->n; j++)
                to[j * LANES + t] = at < l ? 0 : p->w[at * p->w_step + j];
            part->tail[t] = at < l ? 0 : -1;
        }
}

/* Halves of each of `count` vectors added up, two vectors to one. */
HTI_INLINE void skinny_halve(int count, const skinny_lanes *sum, skinny_lanes *half)
{
    HTI_UNROLL for (int s = 0; s < count; s += 2)
    {
        skinny_lanes a = sum[s], b = sum[s + 1 < count ? s + 1 : s];
        half[s / 2] = SKINNY_HALF(a, b, 0) + SKINNY_HALF(a, b, 1);
    }
}

/* The lanes of each vector added up: `count` floats from total[0] on. In registers, said
 * level by level for gcc to see it: the next rows wait. */
HTI_INLINE void skinny_fold(int count, const skinny_lanes *sum, skinny_lanes *total)
{
    skinny_lanes half[SUMS / 2], fourth[SUMS / 4], eighth[(SUMS + 7) / 8];
    skinny_halve(count, sum, half);
    skinny_halve((count + 1) / 2, half, fourth);
#if defined(__AVX512F__)
    skinny_halve((count + 3) / 4, fourth, eighth);
    skinny_halve((count + 7) / 8, eighth, total);
#else
    (void)eighth;
    skinny_halve((count + 3) / 4, fourth, total);
#endif
}

HTI_INLINE void skinny_terms(int rows, int n, skinny_lanes *sum, const skinny_lanes *x,
                             const skinny_lanes *w)
{
    HTI_UNROLL for (int j = 0; j < n; j++)
    {
        skinny_lanes b = w[j];
        /* One load for all rows: gcc makes it one each, more than there is time for. */
        if (rows > 1) __asm__("" : "+v"(b));
        HTI_UNROLL for (int r = 0; r < rows; r++) sum[r * n + j] += x[r] * b;
    }
}

/* Rows i .. i+rows-1 of y, those before `last`, from the lanes of their sums. */
HTI_INLINE void skinny_put(int rows, int n, const hti_skinny *p, bool add, int64_t i,
                           int64_t last, const skinny_lanes *sum)
{
    skinny_lanes total[(SUMS + LANES - 1) / LANES];
    const float *from = (const float *)total;
    skinny_fold(rows * n, sum, total);
    if (!add && p->out_step == n && i + rows <= last) {
        memcpy(p->out + i * n, total, sizeof(float) * (size_t)(rows * n));
        return;
    }
    for (int r = 0; r < rows && i + r < last; r++, from += n) {
        float *y = p->out + (i + r) * p->out_step;
        for (int j = 0; j < n; j++) y[j] = from[j] + (add ? y[j] : 0);
    }
}

/* The same rows: terms from `l` on of a part, before `stop`; their sums so far come from
 * `kept` and go there while terms are left. */
HTI_INLINE void skinny_rows(int rows, int n, const hti_skinny *p, const skinny_part *part,
                            int64_t i, int64_t last, int64_t l, int64_t stop,
                            skinny_lanes *kept)
{
    skinny_lanes sum[SUMS], a[4];
    const skinny_lanes *w = part->w + (l - part->first) / LANES * n;
    const float *x[4];
    bool begins = l == part->first, ends = stop == part->last;
    HTI_UNROLL for (int s = 0; s < rows * n; s++) sum[s] =
        begins ? (skinny_lanes){0} : kept[s];
    HTI_UNROLL for (int r = 0; r < rows; r++) x[r] =
        p->x + (i + r < last ? i + r : last - 1) * p->x_step;
    for (; l + LANES <= stop; l += LANES, w += n) {
        HTI_UNROLL for (int r = 0; r < rows; r++)
        {
            SKINNY_SOON(x[r] + l + rows * p->x_step);
            SKINNY_LATER(x[r] + l + HELD * rows * p->x_step);
            a[r] = SKINNY_AT(x[r] + l);
        }
        skinny_terms(rows, n, sum, a, w);
    }
    if (l < stop) {
        HTI_UNROLL for (int r = 0; r < rows; r++) a[r] =
            (skinny_lanes)(part->tail &
                           (skinny_bits)SKINNY_AT(x[r] + part->last - LANES));
        skinny_terms(rows, n, sum, a, w);
    }
    if (ends)
        skinny_put(rows, n, p, part->first > 0, i, last, sum);
    else
        HTI_UNROLL for (int s = 0; s < rows * n; s++) kept[s] = sum[s];
}

/* Rows first .. last-1 of y, a part's terms: HELD tiles of rows at a time, so that what
 * they share of w' is in the first cache. */
HTI_INLINE void skinny_tiles(int rows, int n, const hti_skinny *p,
                             const skinny_part *part, int64_t first, int64_t last)
{
    skinny_lanes kept[HELD][SUMS];
    int64_t step = skinny_share(part->last - part->first, n, LANES, NEAR);
    for (int64_t i = first; i < last; i += HELD * rows)
        for (int64_t l = part->first; l < part->last; l += step) {
            int64_t stop = part->last - l < step ? part->last : l + step;
            for (int64_t t = 0; t < HELD && i + t * rows < last; t++)
                skinny_rows(rows, n, p, part, i + t * rows, last, l, stop, kept[t]);
        }
}

/* g' += x' . r: rows i .. end-1 of x, `wide` vectors of each from `l`. */
HTI_INLINE void skinny_tile(int wide, int n, const hti_skinny *p, int64_t i, int64_t end,
                            int64_t l, skinny_lanes *g)
{
    skinny_lanes sum[SUMS], a[4];
    const float *x = p->x + i * p->x_step + l, *r = p->w + i * p->w_step;
    HTI_UNROLL for (int s = 0; s < wide * n; s++) sum[s] = (skinny_lanes){0};
    for (; i < end; i++, x += p->x_step, r += p->w_step) {
        HTI_UNROLL for (int v = 0; v < wide; v++)
        {
            SKINNY_SOON(x + (wide + v) * LANES);
            SKINNY_LATER(x + v * LANES + BLOCK * p->x_step);
            a[v] = SKINNY_AT(x + v * LANES);
        }
        HTI_UNROLL for (int j = 0; j < n; j++) HTI_UNROLL for (int v = 0; v < wide; v++)
            sum[j * wide + v] += r[j] * a[v];
    }
    HTI_UNROLL for (int s = 0; s < wide * n; s++) g[s] += sum[s];
}

HTI_INLINE void skinny_blocks(int wide, int n, const hti_skinny *p, int64_t first,
                              int64_t last, skinny_lanes *g)
{
    for (int64_t i = 0; i < p->m; i += BLOCK) {
        int64_t end = i + BLOCK < p->m ? i + BLOCK : p->m, width = wide * LANES;
        skinny_lanes *to = g;
        for (int64_t l = first; l < last; l += width, to += wide * n)
            skinny_tile(wide, n, p, i, end, skinny_begin(p, l, width), to);
    }
}

#define SKINNY_CASE(n)                                                              \
    static void skinny_rows_##n(const hti_skinny *p, const skinny_part *part,       \
                                int64_t first, int64_t last)                        \
    {                                                                               \
        skinny_tiles(SKINNY_TILE(n), n, p, part, first, last);                      \
    }                                                                               \
    static void skinny_blocks_##n(const hti_skinny *p, int64_t first, int64_t last, \
                                  skinny_lanes *g)                                  \
    {                                                                               \
        skinny_blocks(SKINNY_TILE(n), n, p, first, last, g);                        \
    }
SKINNY_EACH(SKINNY_CASE)
#undef SKINNY_CASE

static const struct {
    void (*rows)(const hti_skinny *p, const skinny_part *part, int64_t first,
                 int64_t last);
    void (*blocks)(const hti_skinny *p, int64_t first, int64_t last, skinny_lanes *g);
} skinny_of[] = {{NULL, NULL},
#define SKINNY_CASE(n) {skinny_rows_##n, skinny_blocks_##n},
                 SKINNY_EACH(SKINNY_CASE)};

static void skinny_begin_part(const hti_skinny *p, int64_t l, int64_t share,
                              skinny_part *part)
{
    part->first = l;
    part->last = p->k - l < share ? p->k : l + share;
    skinny_pack(p, part);
}

/* Rows first .. last-1 of y. */
static void skinny_forward(const hti_skinny *p, int64_t first, int64_t last)
{
    skinny_part part;
    int64_t share = skinny_share(p->k, p->n, LANES, ROOM);
    for (int64_t l = 0; l < p->k; l += share) {
        skinny_begin_part(p, l, share, &part);
        skinny_of[p->n].rows(p, &part, first, last);
    }
}

/* Rows first .. last-1 of g, a part of them, out of g'. */
static void skinny_spread(const hti_skinny *p, int64_t first, int64_t last, int64_t width,
                          const skinny_lanes *g)
{
    for (int64_t l = first; l < last; l++) {
        int64_t tile = (l - first) / width * width;
        const float *from = (const float *)g + tile * p->n;
        from += l - skinny_begin(p, first + tile, width);
        for (int64_t j = 0; j < p->n; j++) p->out[l * p->out_step + j] = from[j * width];
    }
}

/* Of g' for so many of its rows. */
static size_t skinny_bytes(const hti_skinny *p, int64_t rows, int64_t width)
{
    return sizeof(float) * (size_t)((rows + width - 1) / width * width * p->n);
}

/* What these rows of x add to a part of g', which begins and ends as `ends` says. */
static void skinny_gather(const hti_skinny *p, int64_t first, int64_t last, int64_t width,
                          unsigned ends, skinny_lanes *g)
{
    if (ends & HTI_BLOCK_FIRST) memset(g, 0, skinny_bytes(p, last - first, width));
    skinny_of[p->n].blocks(p, first, last, g);
    if (ends & HTI_BLOCK_LAST) skinny_spread(p, first, last, width, g);
}

/* Rows first .. last-1 of g. */
static void skinny_backward(const hti_skinny *p, int64_t first, int64_t last)
{
    skinny_lanes g[ROOM / LANES];
    int64_t width = SKINNY_TILE(p->n) * LANES;
    int64_t share = skinny_share(last - first, p->n, width, ROOM);
    for (int64_t l = first; l < last; l += share)
        skinny_gather(p, l, last - l < share ? last : l + share, width,
                      HTI_BLOCK_FIRST | HTI_BLOCK_LAST, g);
}

/* The same for x's rows a block at a time, all of w' packed, all of g' kept. */

/* A part of `share` terms. */
static size_t skinny_part_bytes(int64_t share, int64_t n)
{
    return offsetof(skinny_part, w) + sizeof(float) * (size_t)(share * n);
}

static void skinny_forward_block(const hti_skinny *p, unsigned ends, void *room)
{
    unsigned char *part = room;
    int64_t share = skinny_share(p->k, p->n, LANES, ROOM);
    for (int64_t l = 0; l < p->k; l += share, part += skinny_part_bytes(share, p->n)) {
        if (ends & HTI_BLOCK_FIRST) skinny_begin_part(p, l, share, (skinny_part *)part);
        skinny_of[p->n].rows(p, (skinny_part *)part, 0, p->m);
    }
}

static void skinny_backward_block(const hti_skinny *p, unsigned ends, void *room)
{
    skinny_lanes *g = room;
    int64_t width = SKINNY_TILE(p->n) * LANES;
    int64_t share = skinny_share(p->k, p->n, width, ROOM);
    for (int64_t l = 0; l < p->k; l += share, g += share * p->n / LANES)
        skinny_gather(p, l, p->k - l < share ? p->k : l + share, width, ends, g);
}

static size_t skinny_forward_room(int64_t k, int64_t n)
{
    int64_t share = skinny_share(k, n, LANES, ROOM);
    return (size_t)((k + share - 1) / share) * skinny_part_bytes(share, n);
}

static size_t skinny_backward_room(int64_t k, int64_t n)
{
    int64_t share = skinny_share(k, n, SKINNY_TILE(n) * LANES, ROOM);
    return (size_t)((k + share - 1) / share) * sizeof(float) * (size_t)(share * n);
}

const hti_skinny_loops HTI_OF_ISA(hti_skinny_) = {
    {COLUMNS, MORE_COLUMNS},
    {skinny_forward, skinny_backward},
    {skinny_forward_block, skinny_backward_block},
    {skinny_forward_room, skinny_backward_room}};

#else
const hti_skinny_loops HTI_OF_ISA(hti_skinny_) = {{0}, {NULL}, {NULL}, {NULL}};
#endif
