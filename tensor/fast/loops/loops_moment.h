/* SPDX-License-Identifier: MIT */
/* loops_moment.h: sums in f64 about a centre (see
 * loops_float.h).
 *
 * total[i] += sum of (a - centre[i])^power, a and centre times `scale`, a power of two:
 * so that the squares of what is very large or very small stay in range. Read next:
 * reduce.c. */

static inline double FLOAT(moment_term)(double x, double centre, int power)
{
    double rest = x - centre;
    return power == 2 ? rest * rest : rest;
}

/* n <= HTI_SUM_BLOCK elements, over 16 lanes. */
static inline double FLOAT(moment_block)(int64_t n, const ELEMENT *a, int64_t stride,
                                         double centre, double scale, int power)
{
    double lane[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; ++k)
            lane[k] +=
                FLOAT(moment_term)((double)a[(i + k) * stride] * scale, centre, power);
    for (int k = 0; i < n; ++i, ++k)
        lane[k] += FLOAT(moment_term)((double)a[i * stride] * scale, centre, power);
    return loop_sum_join_f64(lane);
}

static inline void FLOAT(moment_along)(int64_t keep, int64_t keep_stride, int64_t fold,
                                       int64_t fold_stride, double *total,
                                       const ELEMENT *a, const double *centre,
                                       double scale, int power)
{
    for (int64_t i = 0; i < keep; ++i)
        for (int64_t j = 0; j < fold; j += HTI_SUM_BLOCK) {
            int64_t n = fold - j < HTI_SUM_BLOCK ? fold - j : HTI_SUM_BLOCK;
            total[i] += FLOAT(moment_block)(n, a + i * keep_stride + j * fold_stride,
                                            fold_stride, centre[i] * scale, scale, power);
        }
}

/* Contiguous columns, blocks of rows by themselves, so that few additions meet in one. */
static inline void FLOAT(moment_across)(int64_t keep, int64_t fold, int64_t fold_stride,
                                        double *total, const ELEMENT *a,
                                        const double *centre, double scale, int power)
{
    double lane[HTI_TILE], about[HTI_TILE];
    for (int64_t i = 0; i < keep; ++i) about[i] = centre[i] * scale;
    for (int64_t first = 0; first < fold; first += HTI_SUM_BLOCK) {
        int64_t last = fold - first < HTI_SUM_BLOCK ? fold : first + HTI_SUM_BLOCK;
        for (int64_t i = 0; i < keep; ++i) lane[i] = 0;
        for (int64_t j = first; j < last; ++j) {
            const ELEMENT *row = a + j * fold_stride;
            for (int64_t i = 0; i < keep; ++i)
                lane[i] += FLOAT(moment_term)((double)row[i] * scale, about[i], power);
        }
        for (int64_t i = 0; i < keep; ++i) total[i] += lane[i];
    }
}

#define MOMENT_LOOP(name, power)                                                         \
    static void FLOAT(loop_##name)(int64_t keep, int64_t keep_stride, int64_t fold,      \
                                   int64_t fold_stride, double *total, const void *a,    \
                                   const double *centre, double scale)                   \
    {                                                                                    \
        if (keep > 1 && keep_stride == 1 && fold_stride != 1) FLOAT(moment_across)       \
        (keep, fold, fold_stride, total, a, centre, scale, power);                       \
        else if (fold_stride == 1) FLOAT(moment_along)(keep, keep_stride, fold, 1,       \
                                                       total, a, centre, scale, power);  \
        else FLOAT(moment_along)(keep, keep_stride, fold, fold_stride, total, a, centre, \
                                 scale, power);                                          \
    }
MOMENT_LOOP(distances, 1)
MOMENT_LOOP(squares, 2)
