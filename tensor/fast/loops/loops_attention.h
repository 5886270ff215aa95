/* SPDX-License-Identifier: MIT */
/* loops_attention.h: what attention does between its products (see
 * loops_float.h).
 *
 * A tile (rows, columns) holds the scores of some queries, one a column: a softmax goes
 * down columns, many at a time, and no sum across a vector. So the number for each column
 * (a largest score, a sum) is an array in the nearest cache, and rows are taken some at a
 * time lest one wait for another there. Read next: attention.c. */

#ifndef ATTEND_AT_ONCE
#define ATTEND_AT_ONCE     64 /* columns */
#define ATTEND_LESS        64 /* rows whose sum is one of ELEMENT */
#define ATTEND_MOST(a, b)  ((a) > (b) ? (a) : (b))
#define ATTEND_LEAST(a, b) ((a) < (b) ? (a) : (b))
#endif

/* The largest of each of m columns of n rows. A NaN may lose, which spares a test: it
 * comes back through the sum of the powers. */
static void FLOAT(attend_top)(int64_t n, int64_t m, int64_t step, const ELEMENT *x,
                              ELEMENT *restrict top)
{
    for (int64_t c = 0; c < m; ++c) top[c] = -INFINITY;
    for (int64_t r = 0; r < n; ++r, x += step)
        for (int64_t c = 0; c < m; ++c) top[c] = ATTEND_MOST(x[c], top[c]);
}

/* Powers in place of x, and 1 / their sums in place of the largest. */
static void FLOAT(attend_powers)(int64_t n, int64_t m, int64_t step, ELEMENT *restrict x,
                                 ELEMENT by, ELEMENT *restrict top)
{
    double total[ATTEND_AT_ONCE] = {0};
    for (int64_t r = 0, last; r < n; r = last) {
        ELEMENT part[ATTEND_AT_ONCE] = {0};
        last = ATTEND_LEAST(n, r + ATTEND_LESS);
        for (int64_t i = r; i < last; ++i, x += step)
            for (int64_t c = 0; c < m; ++c)
                part[c] += x[c] = FLOAT_POWER((x[c] - top[c]) * by);
        for (int64_t c = 0; c < m; ++c) total[c] += (double)part[c];
    }
    for (int64_t c = 0; c < m; ++c) top[c] = (ELEMENT)(1 / total[c]);
}

/* In place: the softmax down each column of scale times its first seen + column rows, the
 * rest 0. What is not seen of a row that some columns see is -inf before. */
static void FLOAT(loop_attend)(int64_t rows, int64_t columns, void *out, double scale,
                               int64_t seen)
{
    ELEMENT each[ATTEND_AT_ONCE], by = (ELEMENT)(FLOAT_BASE * scale);
    for (int64_t first = 0, m; first < columns; first += m, seen += m) {
        ELEMENT *x = (ELEMENT *)out + first;
        m = ATTEND_LEAST(columns - first, ATTEND_AT_ONCE);
        int64_t n = ATTEND_LEAST(rows, seen + m - 1);
        for (int64_t r = seen; r < n; ++r)
            for (int64_t c = 0; c <= r - seen; ++c) x[r * columns + c] = -INFINITY;
        FLOAT(attend_top)(n, m, columns, x, each);
        FLOAT(attend_powers)(n, m, columns, x, by, each);
        for (int64_t r = 0; r < n; ++r)
            for (int64_t c = 0; c < m; ++c) x[r * columns + c] *= each[c];
        for (int64_t r = n; r < rows; ++r)
            for (int64_t c = 0; c < m; ++c) x[r * columns + c] = 0;
    }
}

/* Without their sign, bits have the order of magnitudes: of numbers, infinity, NaN. */
static inline FLOAT_BITS FLOAT(attend_bits)(ELEMENT x)
{
    FLOAT_BITS bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & FLOAT_MAGNITUDE;
}

/* The largest magnitude; not finite if one is not. */
static double FLOAT(loop_attend_largest)(int64_t n, const void *from, int64_t step)
{
    const ELEMENT *x = from;
    FLOAT_BITS most = 0;
    if (step == 1)
        for (int64_t i = 0; i < n; ++i)
            most = ATTEND_MOST(most, FLOAT(attend_bits)(x[i]));
    else
        for (int64_t i = 0; i < n; ++i)
            most = ATTEND_MOST(most, FLOAT(attend_bits)(x[i * step]));
    ELEMENT largest;
    memcpy(&largest, &most, sizeof largest);
    return (double)largest;
}

/* The sums down each of m columns of p v. */
static void FLOAT(attend_dot)(int64_t n, int64_t m, int64_t step, const ELEMENT *p,
                              const ELEMENT *v, ELEMENT *restrict dot)
{
    double total[ATTEND_AT_ONCE] = {0};
    for (int64_t r = 0, last; r < n; r = last) {
        ELEMENT part[ATTEND_AT_ONCE] = {0};
        last = ATTEND_LEAST(n, r + ATTEND_LESS);
        int64_t i = r;
        for (; i + 2 <= last; i += 2, p += 2 * step, v += 2 * step)
            LOOP_INDEPENDENT for (int64_t c = 0; c < m; ++c) part[c] +=
                p[c] * v[c] + p[step + c] * v[step + c];
        for (; i < last; ++i, p += step, v += step)
            for (int64_t c = 0; c < m; ++c) part[c] += p[c] * v[c];
        for (int64_t c = 0; c < m; ++c) total[c] += (double)part[c];
    }
    for (int64_t c = 0; c < m; ++c) dot[c] = (ELEMENT)total[c];
}

/* Of q v + p w. */
static void FLOAT(attend_bent)(int64_t n, int64_t m, int64_t step, const ELEMENT *p,
                               const ELEMENT *v, const ELEMENT *q, const ELEMENT *w,
                               ELEMENT *restrict dot)
{
    double total[ATTEND_AT_ONCE] = {0};
    for (int64_t r = 0, last; r < n; r = last) {
        ELEMENT part[ATTEND_AT_ONCE] = {0};
        last = ATTEND_LEAST(n, r + ATTEND_LESS);
        for (int64_t i = r; i < last; ++i, p += step, v += step, q += step, w += step)
            LOOP_INDEPENDENT for (int64_t c = 0; c < m; ++c) part[c] +=
                q[c] * v[c] + p[c] * w[c];
        for (int64_t c = 0; c < m; ++c) total[c] += (double)part[c];
    }
    for (int64_t c = 0; c < m; ++c) dot[c] = (ELEMENT)total[c];
}

/* v, in place, from a cotangent of p = softmax(scale a) to that of a:
 * scale p (v - sum p v), by columns. */
static void FLOAT(loop_attend_slope)(int64_t rows, int64_t columns, void *out,
                                     const void *weights, double scale)
{
    ELEMENT dot[ATTEND_AT_ONCE], by = (ELEMENT)scale;
    for (int64_t first = 0, m; first < columns; first += m) {
        m = ATTEND_LEAST(columns - first, ATTEND_AT_ONCE);
        ELEMENT *restrict v = (ELEMENT *)out + first;
        const ELEMENT *restrict p = (const ELEMENT *)weights + first;
        FLOAT(attend_dot)(rows, m, columns, p, v, dot);
        for (int64_t r = 0; r < rows; ++r, v += columns, p += columns)
            for (int64_t c = 0; c < m; ++c) v[c] = p[c] * (v[c] - dot[c]) * by;
    }
}

/* That with tangents, out[1] of out[0] and weights[1] of the weights: v as above, and
 * w, in place, to scale (q (v - sum p v) + p (w - sum (q v + p w))). */
static void FLOAT(loop_attend_bend)(int64_t rows, int64_t columns, void *const out[2],
                                    const void *const weights[2], double scale)
{
    ELEMENT dot[ATTEND_AT_ONCE], bend[ATTEND_AT_ONCE], by = (ELEMENT)scale;
    for (int64_t first = 0, m; first < columns; first += m) {
        m = ATTEND_LEAST(columns - first, ATTEND_AT_ONCE);
        ELEMENT *restrict v = (ELEMENT *)out[0] + first;
        ELEMENT *restrict w = (ELEMENT *)out[1] + first;
        const ELEMENT *restrict p = (const ELEMENT *)weights[0] + first;
        const ELEMENT *restrict q = (const ELEMENT *)weights[1] + first;
        FLOAT(attend_dot)(rows, m, columns, p, v, dot);
        FLOAT(attend_bent)(rows, m, columns, p, v, q, w, bend);
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < m; ++c) {
                int64_t i = r * columns + c;
                ELEMENT rest = v[i] - dot[c];
                v[i] = p[i] * rest * by;
                w[i] = (q[i] * rest + p[i] * (w[i] - bend[c])) * by;
            }
    }
}
