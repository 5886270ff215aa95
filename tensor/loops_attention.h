/* SPDX-License-Identifier: MIT */
/* loops_attention.h: the rows of attention between its products, included by loops.c for
 * each float type with ATTEND(name) names, ELEMENT, ATTEND_EXP(x) and the block
 * ATTEND_SUM. A row stays in the nearest cache. Read next: attention.c. */

/* The largest of x (n). A NaN may lose, which spares a test: it comes back through the
 * sum of the powers. */
static inline ELEMENT ATTEND(attend_top)(int64_t n, const ELEMENT *x)
{
    ELEMENT lane[16], top = -INFINITY;
    int64_t c = 0;
    if (n >= 16) {
        for (int k = 0; k < 16; ++k) lane[k] = x[k];
        for (c = 16; c + 16 <= n; c += 16)
            for (int k = 0; k < 16; ++k)
                lane[k] = x[c + k] > lane[k] ? x[c + k] : lane[k];
        for (int k = 0; k < 8; ++k)
            lane[k] = lane[k] > lane[k + 8] ? lane[k] : lane[k + 8];
        for (int k = 0; k < 8; ++k) top = lane[k] > top ? lane[k] : top;
    }
    for (; c < n; ++c) top = x[c] > top ? x[c] : top;
    return top;
}

static inline ELEMENT ATTEND(attend_inverse)(int64_t n, const ELEMENT *x)
{
    double total = 0;
    for (int64_t c = 0; c < n; c += HTI_SUM_BLOCK)
        total += (double)ATTEND_SUM(n - c < HTI_SUM_BLOCK ? n - c : HTI_SUM_BLOCK, x + c);
    return (ELEMENT)(1 / total);
}

/* Row r of x (rows, columns), in place: softmax of scale times its first seen + r, the
 * rest 0. A few rows at a time, so that one row's sums do not wait for another's. */
static void ATTEND(loop_attend)(int64_t rows, int64_t columns, void *out, double scale,
                                int64_t seen)
{
    enum { TOGETHER = 16 };
    ELEMENT each[TOGETHER], by = (ELEMENT)scale;
    for (int64_t first = 0, m; first < rows; first += m, seen += m) {
        ELEMENT *x = (ELEMENT *)out + first * columns;
        m = rows - first < TOGETHER ? rows - first : TOGETHER;
#define ATTEND_SEEN(r) (seen + (r) < columns ? seen + (r) : columns)
        for (int64_t r = 0; r < m; ++r)
            each[r] = ATTEND(attend_top)(ATTEND_SEEN(r), x + r * columns);
        for (int64_t r = 0; r < m; ++r) {
            ELEMENT *row = x + r * columns, top = each[r];
            int64_t n = ATTEND_SEEN(r);
            LOOP_INDEPENDENT for (int64_t c = 0; c < n; ++c) row[c] =
                ATTEND_EXP((row[c] - top) * by);
        }
        for (int64_t r = 0; r < m; ++r)
            each[r] = ATTEND(attend_inverse)(ATTEND_SEEN(r), x + r * columns);
        for (int64_t r = 0; r < m; ++r) {
            ELEMENT *row = x + r * columns, inverse = each[r];
            int64_t n = ATTEND_SEEN(r);
            for (int64_t c = 0; c < n; ++c) row[c] *= inverse;
            for (int64_t c = n; c < columns; ++c) row[c] = 0;
        }
    }
}

/* The sum of p v, or of p v + q w. */
static inline ELEMENT ATTEND(attend_dot)(int64_t columns, const ELEMENT *p,
                                         const ELEMENT *v)
{
    double total = 0;
    for (int64_t c = 0; c < columns; c += HTI_SUM_BLOCK) {
        int64_t n = columns - c < HTI_SUM_BLOCK ? columns - c : HTI_SUM_BLOCK;
        ELEMENT product[HTI_SUM_BLOCK];
        for (int64_t i = 0; i < n; ++i) product[i] = p[c + i] * v[c + i];
        total += (double)ATTEND_SUM(n, product);
    }
    return (ELEMENT)total;
}

static inline ELEMENT ATTEND(attend_dots)(int64_t columns, const ELEMENT *p,
                                          const ELEMENT *v, const ELEMENT *q,
                                          const ELEMENT *w)
{
    double total = 0;
    for (int64_t c = 0; c < columns; c += HTI_SUM_BLOCK) {
        int64_t n = columns - c < HTI_SUM_BLOCK ? columns - c : HTI_SUM_BLOCK;
        ELEMENT product[HTI_SUM_BLOCK];
        for (int64_t i = 0; i < n; ++i)
            product[i] = p[c + i] * v[c + i] + q[c + i] * w[c + i];
        total += (double)ATTEND_SUM(n, product);
    }
    return (ELEMENT)total;
}

/* v, in place, from a cotangent of p = softmax(scale a) to that of a:
 * scale p (v - sum p v), by rows. */
static void ATTEND(loop_attend_slope)(int64_t rows, int64_t columns, void *out,
                                      const void *weights, double scale)
{
    for (int64_t r = 0; r < rows; ++r) {
        ELEMENT *restrict v = (ELEMENT *)out + r * columns, by = (ELEMENT)scale;
        const ELEMENT *restrict p = (const ELEMENT *)weights + r * columns;
        ELEMENT dot = ATTEND(attend_dot)(columns, p, v);
        for (int64_t c = 0; c < columns; ++c) v[c] = p[c] * (v[c] - dot) * by;
    }
}

/* That with tangents, out[1] of out[0] and weights[1] of the weights: v as above, and
 * w, in place, to scale (q (v - sum p v) + p (w - sum (q v + p w))). */
static void ATTEND(loop_attend_bend)(int64_t rows, int64_t columns, void *const out[2],
                                     const void *const weights[2], double scale)
{
    for (int64_t r = 0; r < rows; ++r) {
        int64_t at = r * columns;
        ELEMENT *restrict v = (ELEMENT *)out[0] + at, by = (ELEMENT)scale;
        ELEMENT *restrict w = (ELEMENT *)out[1] + at;
        const ELEMENT *restrict p = (const ELEMENT *)weights[0] + at;
        const ELEMENT *restrict q = (const ELEMENT *)weights[1] + at;
        ELEMENT dot = ATTEND(attend_dot)(columns, p, v);
        ELEMENT slope = ATTEND(attend_dots)(columns, q, v, p, w);
        for (int64_t c = 0; c < columns; ++c) {
            ELEMENT rest = v[c] - dot;
            v[c] = p[c] * rest * by;
            w[c] = (q[c] * rest + p[c] * (w[c] - slope)) * by;
        }
    }
}

#undef ATTEND
#undef ELEMENT
#undef ATTEND_EXP
#undef ATTEND_SUM
#undef ATTEND_SEEN
