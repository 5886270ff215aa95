/* SPDX-License-Identifier: MIT */
/* loops_norm.h: one row to mean 0 and mean square 1, included by loops.c for each float
 * type with NORM(name) names and ELEMENT.
 *
 * Two passes over a row that stays in cache: the mean, then the squares about it, which
 * loses nothing where the mean is large. Sums run in f64 over eight fixed lanes. Read
 * next: norm.c. */

static inline double NORM(norm_join)(const double lane[8])
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* The sum of (a - about)^2 or, if plain, of a - about; a contiguous. */
static inline double NORM(norm_sum)(int64_t n, const ELEMENT *a, double about, bool plain)
{
    double lane[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; ++k) {
            double x = (double)a[i + k] - about;
            lane[k] += plain ? x : x * x;
        }
    for (int k = 0; i < n; ++i, ++k) {
        double x = (double)a[i] - about;
        lane[k] += plain ? x : x * x;
    }
    return NORM(norm_join)(lane);
}

/* The same over a row of any stride, packed piece by piece: the same bits, because a
 * piece is a multiple of the lanes and both ways add up pieces. */
static double NORM(norm_row)(int64_t n, const ELEMENT *a, int64_t stride, double about,
                             bool plain)
{
    ELEMENT packed[HTI_TILE];
    double total = 0;
    for (int64_t at = 0, m; at < n; at += m) {
        m = n - at < HTI_TILE ? n - at : HTI_TILE;
        const ELEMENT *piece = a + at * stride;
        if (stride != 1) {
            for (int64_t i = 0; i < m; ++i) packed[i] = piece[i * stride];
            piece = packed;
        }
        total += plain ? NORM(norm_sum)(m, piece, about, true)
                       : NORM(norm_sum)(m, piece, about, false);
    }
    return total;
}

/* out (n), if not NULL, = (a - mean) s, or a s if not centred; returns
 * s = 1 / sqrt(mean square + eps). */
static double NORM(loop_normalize)(int64_t n, void *out, const void *a, int64_t stride,
                                   double eps, bool centred)
{
    const ELEMENT *x = a;
    ELEMENT *y = out;
    double count = (double)n, mean = 0;
    if (centred) mean = NORM(norm_row)(n, x, stride, 0, true) / count;
    double square = NORM(norm_row)(n, x, stride, mean, false) / count;
    double s = 1 / sqrt(square + eps);
    if (!y) return s;
    if (stride == 1)
        for (int64_t i = 0; i < n; ++i) y[i] = (ELEMENT)(((double)x[i] - mean) * s);
    else
        for (int64_t i = 0; i < n; ++i)
            y[i] = (ELEMENT)(((double)x[i * stride] - mean) * s);
    return s;
}

#undef NORM
#undef ELEMENT
