/* SPDX-License-Identifier: MIT */
/* loops_reduce.h: one reduction, included by loops.c for each function and dtype with
 *   REDUCE(name) names, ELEMENT reads, LANE adds up at most HTI_SUM_BLOCK of them; and,
 *   if it is not a sum of floats, COMBINE(x, y), START, the value of nothing, and TOTAL,
 *   which joins the lanes;
 *   READ(x), if defined, is what becomes of an element;
 *   AGAIN(name), if defined, names the same loop of wider lanes, for what came out
 *   infinite, as a total need not be.
 * Along a contiguous run 16 lanes go side by side; across rows each column is a lane.
 * Both orders are fixed by the shape. Read next: loops_moment.h, reduce.c. */

#ifndef COMBINE
#define COMBINE LOOP_ADD
#define START   0
#endif
#ifndef TOTAL
#define TOTAL double
#endif
#ifndef READ
#define READ(x) ((LANE)(x))
#endif

static inline LANE REDUCE(both)(LANE x, LANE y)
{
    return COMBINE(x, y);
}

/* Four lanes, 4 apart. */
static inline LANE REDUCE(four)(const LANE *x)
{
    return REDUCE(both)(REDUCE(both)(x[0], x[8]), REDUCE(both)(x[4], x[12]));
}

/* The 16 lanes, half folded onto half, said lane by lane: loops over what a vector just
 * stored wait for the store. */
static inline LANE REDUCE(join)(const LANE *x)
{
    return REDUCE(both)(REDUCE(both)(REDUCE(four)(x), REDUCE(four)(x + 2)),
                        REDUCE(both)(REDUCE(four)(x + 1), REDUCE(four)(x + 3)));
}

/* n <= HTI_SUM_BLOCK contiguous elements. */
static inline LANE REDUCE(block)(int64_t n, const ELEMENT *a)
{
    LANE lane[16];
    int64_t i = 0;
    if (n < 16) {
        LANE all = START;
        for (; i < n; ++i) all = COMBINE(all, READ(a[i]));
        return all;
    }
    for (int k = 0; k < 16; ++k) lane[k] = READ(a[k]);
    for (i = 16; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; ++k) lane[k] = COMBINE(lane[k], READ(a[i + k]));
    for (int k = 0; i < n; ++i, ++k) lane[k] = COMBINE(lane[k], READ(a[i]));
    return REDUCE(join)(lane);
}

static void REDUCE(along)(int64_t keep, int64_t keep_stride, int64_t fold,
                          int64_t fold_stride, TOTAL *total, const ELEMENT *a)
{
    ELEMENT packed[HTI_SUM_BLOCK];
    for (int64_t i = 0; i < keep; ++i)
        for (int64_t j = 0; j < fold; j += HTI_SUM_BLOCK) {
            int64_t n = fold - j < HTI_SUM_BLOCK ? fold - j : HTI_SUM_BLOCK;
            const ELEMENT *run = a + i * keep_stride + j * fold_stride;
            if (fold_stride != 1) {
                LOOP_PACK(ELEMENT)(1, n, packed, run, (const int64_t[]){0, fold_stride});
                run = packed;
            }
            TOTAL all = (TOTAL)REDUCE(block)(n, run);
#ifdef AGAIN
            if (!(all - all == 0)) all = AGAIN(block)(n, run);
#endif
            total[i] = COMBINE(total[i], all);
        }
}

/* lane[i] = the fold of rows[j * stride + i] over j < n, n <= HTI_SUM_BLOCK. */
static void REDUCE(stack)(int64_t width, int64_t n, int64_t stride, LANE *restrict lane,
                          const ELEMENT *restrict rows)
{
    int64_t j = 0;
    for (int64_t i = 0; i < width; ++i) lane[i] = START;
    for (; j + 4 <= n; j += 4) {
        const ELEMENT *a = rows + j * stride, *b = a + stride, *c = b + stride,
                      *d = c + stride;
        for (int64_t i = 0; i < width; ++i) {
            LANE ab = COMBINE(READ(a[i]), READ(b[i])),
                 cd = COMBINE(READ(c[i]), READ(d[i]));
            LANE abcd = COMBINE(ab, cd);
            lane[i] = COMBINE(lane[i], abcd);
        }
    }
    for (; j < n; ++j)
        for (int64_t i = 0; i < width; ++i)
            lane[i] = COMBINE(lane[i], READ(rows[j * stride + i]));
}

/* Contiguous columns. Several short rows that follow each other are taken as one wide
 * row, whose lanes fold onto the columns at the end. */
static void REDUCE(across)(int64_t keep, int64_t fold, int64_t fold_stride, TOTAL *total,
                           const ELEMENT *a)
{
    LANE lane[HTI_TILE];
    int64_t beside = fold_stride == keep && fold >= 64 ? HTI_TILE / 2 / keep : 1;
    if (beside < 1) beside = 1;
    int64_t wide = fold / beside;
    for (int64_t j = 0; j < wide; j += HTI_SUM_BLOCK) {
        int64_t n = wide - j < HTI_SUM_BLOCK ? wide - j : HTI_SUM_BLOCK;
        REDUCE(stack)
        (beside * keep, n, beside * fold_stride, lane, a + j * beside * fold_stride);
#ifdef AGAIN
        LANE lost = 0;
        for (int64_t i = 0; i < beside * keep; ++i) lost += lane[i] - lane[i];
        if (lost != 0) {
            AGAIN(across)
            (keep, n * beside, fold_stride, total, a + j * beside * fold_stride);
            continue;
        }
#endif
        for (int64_t k = 0; k < beside; ++k)
            for (int64_t i = 0; i < keep; ++i)
                total[i] = COMBINE(total[i], (TOTAL)lane[k * keep + i]);
    }
    for (int64_t j = wide * beside; j < fold; ++j)
        for (int64_t i = 0; i < keep; ++i)
            total[i] = COMBINE(total[i], (TOTAL)READ(a[j * fold_stride + i]));
}

static void REDUCE(run)(int64_t keep, int64_t keep_stride, int64_t fold,
                        int64_t fold_stride, void *total, const void *a)
{
    if (keep > 1 && keep_stride == 1 && fold_stride != 1)
        REDUCE(across)(keep, fold, fold_stride, total, a);
    else
        REDUCE(along)(keep, keep_stride, fold, fold_stride, total, a);
}

#undef REDUCE
#undef ELEMENT
#undef LANE
#undef TOTAL
#undef START
#undef COMBINE
#undef AGAIN
#undef READ
