/* SPDX-License-Identifier: MIT */
/* loops_slope.h: derivatives of softmax and log-softmax by rows (see
 * loops_float.h).
 *
 * With p the softmax of row x (in[0]), and rows v and t beside it:
 *   slope  p (v - p.v)      of softmax, along v; its own transpose
 *   bend   p (z - p.z)      its derivative by x along t, z = (v - p.v) (t - p.t)
 *   rest   v - p.v          of log-softmax, along v
 *   back   v - p sum(v)     the transpose of rest
 * Near a corner p is 1 for one class, and what is left is made of the tiny others alone.
 * So v is counted from that of the largest class, which adds exactly 0 to every sum; of
 * ties, from their mean. Short rows lie side by side, class after class; in a long one,
 * whose exponentials are kept in the output, 16 lanes go side by side, in f64.
 * Read next: rows.c. */

enum { FLOAT(SLOPE_SHORT) = 15, FLOAT(SLOPE_ROWS) = 32 };

/* e = exp(x - max) is 1 at the largest, and NaN stays with the others. Functions, so that
 * x is read whatever e is. */
static inline ELEMENT FLOAT(slope_top)(ELEMENT e, ELEMENT x)
{
    return e >= 1 ? x : 0;
}

static inline ELEMENT FLOAT(slope_other)(ELEMENT e, ELEMENT x)
{
    return e >= 1 ? 0 : x;
}

static inline double FLOAT(slope_top_wide)(ELEMENT e, double x)
{
    return e >= 1 ? x : 0;
}

#define SLOPE_REST(x, o) ((x) - (o).ref - (o).mean)
/* v - p sum(v); where e is 1, v (1 - p) - p (sum(v) - v). */
#define SLOPE_BACK(e, v, tops, others, sum, top_v, other_v)                             \
    ((e) >= 1 ? ((v) * ((others) + ((tops)-1)) - (((top_v) - (v)) + (other_v))) / (sum) \
              : (v) - (e) / (sum) * ((top_v) + (other_v)))

/* Long rows. */

#define SLOPE_SUM(to, term)                                             \
    {                                                                   \
        double lane[16] = {0};                                          \
        int64_t i = 0;                                                  \
        for (; i + 16 <= n; i += 16)                                    \
            for (int64_t k = i; k < i + 16; ++k) lane[k - i] += (term); \
        for (int64_t k = i; k < n; ++k) lane[k - i] += (term);          \
        to = loop_sum_join_f64(lane);                                   \
    }

/* What an operand is counted from. */
struct FLOAT(slope_origin) {
    double ref, mean;
};

/* Of slope_long: element k of the product of v and t, each counted from its origin. */
#define SLOPE_Z(k) \
    (SLOPE_REST((double)v[(k)*q], at_v) * SLOPE_REST((double)t[(k)*u], at_t))

static inline void FLOAT(slope_long)(hti_slope kind, int64_t n, ELEMENT *e,
                                     const ELEMENT *x, int64_t p, const ELEMENT *v,
                                     int64_t q, const ELEMENT *t, int64_t u)
{
    struct FLOAT(slope_origin) at_v = {0, 0}, at_t = {0, 0}, at_z = {0, 0};
    double tops, others, sum, apart = 0;
    ELEMENT m = x[0];
    for (int64_t i = 1; i < n; ++i) m = LOOP_MAX(x[i * p], m);
    LOOP_INDEPENDENT for (int64_t i = 0; i < n; ++i) e[i] = FLOAT_EXP(x[i * p] - m);
    SLOPE_SUM(tops, FLOAT(slope_top)(e[k], 1))
    SLOPE_SUM(others, (double)FLOAT(slope_other)(e[k], e[k]))
    SLOPE_SUM(at_v.ref, (double)FLOAT(slope_top)(e[k], v[k * q]))
    sum = tops + others;
    if (kind == HTI_SLOPE_BACK) {
        SLOPE_SUM(apart, (double)FLOAT(slope_other)(e[k], v[k * q]))
        for (int64_t i = 0; i < n; ++i)
            e[i] = (ELEMENT)SLOPE_BACK((double)e[i], (double)v[i * q], tops, others, sum,
                                       at_v.ref, apart);
        return;
    }
    at_v.ref /= tops;
    SLOPE_SUM(at_v.mean, (double)e[k] * ((double)v[k * q] - at_v.ref))
    at_v.mean /= sum;
    if (kind == HTI_SLOPE_REST) {
        for (int64_t i = 0; i < n; ++i)
            e[i] = (ELEMENT)SLOPE_REST((double)v[i * q], at_v);
        return;
    }
    if (kind == HTI_SLOPE_SLOPE) {
        for (int64_t i = 0; i < n; ++i)
            e[i] = (ELEMENT)((double)e[i] / sum * SLOPE_REST((double)v[i * q], at_v));
        return;
    }
    SLOPE_SUM(at_t.ref, (double)FLOAT(slope_top)(e[k], t[k * u]))
    at_t.ref /= tops;
    SLOPE_SUM(at_t.mean, (double)e[k] * ((double)t[k * u] - at_t.ref))
    at_t.mean /= sum;
    SLOPE_SUM(at_z.ref, FLOAT(slope_top_wide)(e[k], SLOPE_Z(k)))
    at_z.ref /= tops;
    SLOPE_SUM(at_z.mean, (double)e[k] * (SLOPE_Z(k) - at_z.ref))
    at_z.mean /= sum;
    for (int64_t i = 0; i < n; ++i)
        e[i] = (ELEMENT)((double)e[i] / sum * SLOPE_REST(SLOPE_Z(i), at_z));
}
#undef SLOPE_Z
#undef SLOPE_SUM

/* Short rows, SLOPE_ROWS at a time: element c of row r at c * SLOPE_ROWS + r. */

typedef ELEMENT FLOAT(slope_lanes)[FLOAT(SLOPE_ROWS)];
typedef FLOAT(slope_lanes) FLOAT(slope_tile)[FLOAT(SLOPE_SHORT)];

static inline void FLOAT(slope_load)(int64_t rows, int64_t n, FLOAT(slope_tile) to,
                                     const ELEMENT *a, const int64_t *stride)
{
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < n; ++c) to[c][r] = a[r * stride[0] + c * stride[1]];
    for (int64_t r = rows; r < FLOAT(SLOPE_ROWS); ++r)
        for (int64_t c = 0; c < n; ++c) to[c][r] = 0;
}

#define SLOPE_LANES for (int r = 0; r < FLOAT(SLOPE_ROWS); ++r)
#define SLOPE_SUM(to, term)                                           \
    {                                                                 \
        SLOPE_LANES(to)[r] = 0;                                       \
        for (int64_t c = 0; c < n; ++c) SLOPE_LANES(to)[r] += (term); \
    }

/* e = exp(x - m) in x's place. */
static inline void FLOAT(slope_exp)(int64_t n, FLOAT(slope_tile) e, FLOAT(slope_lanes) m)
{
    SLOPE_LANES m[r] = -INFINITY;
    for (int64_t c = 0; c < n; ++c) SLOPE_LANES m[r] = LOOP_MAX(e[c][r], m[r]);
    for (int64_t c = 0; c < n; ++c) SLOPE_LANES e[c][r] = FLOAT_EXP(e[c][r] - m[r]);
}

/* How many are the largest, and the sum of the others. */
static inline void FLOAT(slope_sums)(int64_t n, FLOAT(slope_tile) e,
                                     FLOAT(slope_lanes) tops, FLOAT(slope_lanes) others)
{
    SLOPE_SUM(tops, FLOAT(slope_top)(e[c][r], 1))
    SLOPE_SUM(others, FLOAT(slope_other)(e[c][r], e[c][r]))
}

/* e over its sum. */
static inline void FLOAT(slope_share)(int64_t n, FLOAT(slope_tile) e)
{
    FLOAT(slope_lanes) sum;
    SLOPE_SUM(sum, e[c][r])
    for (int64_t c = 0; c < n; ++c) SLOPE_LANES e[c][r] /= sum[r];
}

static inline void FLOAT(slope_store)(int64_t rows, int64_t n, ELEMENT *out,
                                      FLOAT(slope_tile) from)
{
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < n; ++c) out[r * n + c] = from[c][r];
}

/* ref and mean of v, whose rest takes its place. */
static inline void FLOAT(slope_centre)(int64_t n, FLOAT(slope_tile) e,
                                       FLOAT(slope_lanes) tops, FLOAT(slope_lanes) sum,
                                       FLOAT(slope_tile) v)
{
    FLOAT(slope_lanes) ref, mean;
    SLOPE_SUM(ref, FLOAT(slope_top)(e[c][r], v[c][r]))
    SLOPE_LANES ref[r] /= tops[r];
    SLOPE_SUM(mean, e[c][r] * (v[c][r] - ref[r]))
    SLOPE_LANES mean[r] /= sum[r];
    for (int64_t c = 0; c < n; ++c) SLOPE_LANES v[c][r] = v[c][r] - ref[r] - mean[r];
}

static void FLOAT(slope_short)(hti_slope kind, const hti_rows *w, int64_t rows,
                               ELEMENT *out, const ELEMENT *const *in)
{
    FLOAT(slope_tile) e, v, t;
    FLOAT(slope_lanes) m, tops, others, sum, top_v, other_v;
    const int64_t n = w->columns;
    FLOAT(slope_load)(rows, n, e, in[0], w->stride[0]);
    FLOAT(slope_load)(rows, n, v, in[1], w->stride[1]);
    FLOAT(slope_exp)(n, e, m);
    FLOAT(slope_sums)(n, e, tops, others);
    SLOPE_LANES sum[r] = tops[r] + others[r];
    if (kind == HTI_SLOPE_BACK) {
        SLOPE_SUM(top_v, FLOAT(slope_top)(e[c][r], v[c][r]))
        SLOPE_SUM(other_v, FLOAT(slope_other)(e[c][r], v[c][r]))
        for (int64_t c = 0; c < n; ++c)
            SLOPE_LANES v[c][r] = SLOPE_BACK(e[c][r], v[c][r], tops[r], others[r], sum[r],
                                             top_v[r], other_v[r]);
    } else {
        FLOAT(slope_centre)(n, e, tops, sum, v);
    }
    if (kind == HTI_SLOPE_BEND) {
        FLOAT(slope_load)(rows, n, t, in[2], w->stride[2]);
        FLOAT(slope_centre)(n, e, tops, sum, t);
        for (int64_t c = 0; c < n; ++c) SLOPE_LANES v[c][r] *= t[c][r];
        FLOAT(slope_centre)(n, e, tops, sum, v);
    }
    if (kind == HTI_SLOPE_SLOPE || kind == HTI_SLOPE_BEND)
        for (int64_t c = 0; c < n; ++c) SLOPE_LANES v[c][r] *= e[c][r] / sum[r];
    FLOAT(slope_store)(rows, n, out, v);
}

/* out (rows, columns), contiguous and apart from the operands. */
static inline void FLOAT(slope_run)(hti_slope kind, const hti_rows *w, int64_t rows,
                                    void *to, const void *const *from)
{
    ELEMENT *out = to;
    const ELEMENT *in[3];
    const int64_t *p = w->stride[0], *q = w->stride[1], *u = w->stride[2];
    const int64_t n = w->columns, short_rows = FLOAT(SLOPE_ROWS);
    bool dense = p[1] == 1 && q[1] == 1 && (kind != HTI_SLOPE_BEND || u[1] == 1);
    for (int64_t r = 0, count; r < rows; r += count) {
        count = n > FLOAT(SLOPE_SHORT)  ? 1
                : rows - r < short_rows ? rows - r
                                        : short_rows;
        for (int k = 0; k < 3; ++k)
            in[k] = from[k] ? (const ELEMENT *)from[k] + r * w->stride[k][0] : NULL;
        if (n <= FLOAT(SLOPE_SHORT))
            FLOAT(slope_short)(kind, w, count, out + r * n, in);
        else if (dense)
            FLOAT(slope_long)(kind, n, out + r * n, in[0], 1, in[1], 1, in[2], 1);
        else
            FLOAT(slope_long)
        (kind, n, out + r * n, in[0], p[1], in[1], q[1], in[2], u[1]);
    }
}

#define SLOPE_LOOP(name, kind)                                                 \
    static void FLOAT(loop_##name)(const hti_rows *w, int64_t rows, void *out, \
                                   const void *const *in)                      \
    {                                                                          \
        FLOAT(slope_run)(kind, w, rows, out, in);                              \
    }
SLOPE_LOOP(softmax_slope, HTI_SLOPE_SLOPE)
SLOPE_LOOP(softmax_bend, HTI_SLOPE_BEND)
SLOPE_LOOP(softmax_rest, HTI_SLOPE_REST)
SLOPE_LOOP(softmax_back, HTI_SLOPE_BACK)

#undef SLOPE_SUM
