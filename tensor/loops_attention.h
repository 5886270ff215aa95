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

/* The sum of p v, n <= HTI_SUM_BLOCK. */
static inline ELEMENT ATTEND(attend_dot)(int64_t n, const ELEMENT *p, const ELEMENT *v)
{
    ELEMENT product[HTI_SUM_BLOCK];
    for (int64_t c = 0; c < n; ++c) product[c] = p[c] * v[c];
    return ATTEND_SUM(n, product);
}

/* v, in place, from a cotangent of p = softmax(scale a) to that of a:
 * scale p (v - sum p v), by rows. */
static void ATTEND(loop_attend_slope)(int64_t rows, int64_t columns, void *out,
                                      const void *weights, double scale)
{
    for (int64_t r = 0; r < rows; ++r) {
        ELEMENT *restrict v = (ELEMENT *)out + r * columns, by = (ELEMENT)scale;
        const ELEMENT *restrict p = (const ELEMENT *)weights + r * columns;
        double total = 0;
        for (int64_t c = 0; c < columns; c += HTI_SUM_BLOCK)
            total += (double)ATTEND(attend_dot)(
                columns - c < HTI_SUM_BLOCK ? columns - c : HTI_SUM_BLOCK, p + c, v + c);
        ELEMENT dot = (ELEMENT)total;
        for (int64_t c = 0; c < columns; ++c) v[c] = p[c] * (v[c] - dot) * by;
    }
}

#undef ATTEND
#undef ELEMENT
#undef ATTEND_EXP
#undef ATTEND_SUM
#undef ATTEND_SEEN
