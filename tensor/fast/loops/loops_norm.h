/* SPDX-License-Identifier: MIT */
/* loops_norm.h: rows to mean 0 and mean square 1, and the derivative of that (see
 * loops_float.h).
 *
 * A row is summed piece by piece: a piece in its own type over sixteen lanes, pieces in
 * f64, about a mean whose rounding is made good: y = ((a - mean) - rest) s. Rows whose
 * squares are too large or too small for the type are summed in f64 throughout. Several
 * rows go side by side, one sum after another, so that no sum waits for the one before.
 * Read next: rows.c. */

enum { FLOAT(NORM_ROWS) = 8 };

struct FLOAT(norm_row) {
    ELEMENT mean, rest, s;
};

/* Rows of the operands, each its stride apart. */
struct FLOAT(norm_tile) {
    const hti_rows *w;
    int64_t rows;
    const ELEMENT *in[3];
    struct FLOAT(norm_row) row[FLOAT(NORM_ROWS)];
};

/* The n elements of a row from column c: where they lie, or else in packed. */
static inline const ELEMENT *FLOAT(norm_piece)(const ELEMENT *a, int64_t stride,
                                               int64_t c, int64_t n, ELEMENT *packed)
{
    if (stride == 1) return a + c;
    for (int64_t i = 0; i < n; ++i) packed[i] = a[(c + i) * stride];
    return packed;
}

/* The sum of a term of a piece (a, v contiguous), one term at a time: of two at once
 * compilers make no vectors. What is left over stays out of the lanes, and these in
 * registers. */
#define NORM_SUM(name, term)                                                             \
    static inline double FLOAT(name##_piece)(int64_t n, const ELEMENT *a,                \
                                             const ELEMENT *v,                           \
                                             const struct FLOAT(norm_row) * row)         \
    {                                                                                    \
        const ELEMENT mean = row->mean, rest = row->rest, s = row->s;                    \
        ELEMENT lane[16] = {0}, left = 0;                                                \
        int64_t at = 0;                                                                  \
        (void)v, (void)mean, (void)rest, (void)s;                                        \
        for (; at + 16 <= n; at += 16)                                                   \
            for (int k = 0; k < 16; ++k) lane[k] += term(at + k);                        \
        for (; at < n; ++at) left += term(at);                                           \
        return (double)(FLOAT(loop_sum_join)(lane) + left);                              \
    }                                                                                    \
                                                                                         \
    /* to[r] = the mean of the term over row r, of operands number i and j. */           \
    static void FLOAT(name)(const struct FLOAT(norm_tile) * t, int i, int j, double *to) \
    {                                                                                    \
        const hti_rows *w = t->w;                                                        \
        ELEMENT packed[2][HTI_TILE];                                                     \
        for (int64_t r = 0; r < t->rows; ++r) {                                          \
            const ELEMENT *a = t->in[i] + r * w->stride[i][0],                           \
                          *v = t->in[j] + r * w->stride[j][0];                           \
            double total = 0;                                                            \
            for (int64_t c = 0, n; c < w->columns; c += n) {                             \
                n = w->columns - c < HTI_TILE ? w->columns - c : HTI_TILE;               \
                total += FLOAT(name##_piece)(                                            \
                    n, FLOAT(norm_piece)(a, w->stride[i][1], c, n, packed[0]),           \
                    FLOAT(norm_piece)(v, w->stride[j][1], c, n, packed[1]), &t->row[r]); \
            }                                                                            \
            to[r] = total / (double)w->columns;                                          \
        }                                                                                \
    }

#define NORM_PLAIN(i)   a[i]
#define NORM_REST(i)    (a[i] - mean)
#define NORM_SQUARE(i)  ((a[i] - mean) * (a[i] - mean))
#define NORM_YV(i)      ((a[i] - mean - rest) * s * v[i])
#define NORM_PRODUCT(i) (a[i] * v[i])
NORM_SUM(norm_plain, NORM_PLAIN)
NORM_SUM(norm_rest, NORM_REST)
NORM_SUM(norm_square, NORM_SQUARE)
NORM_SUM(norm_yv, NORM_YV)
NORM_SUM(norm_product, NORM_PRODUCT)

/* In f64: the mean of (a - about) (b - b_about), or if b is NULL of a - about. */
static double FLOAT(norm_exact)(int64_t n, const ELEMENT *a, int64_t stride, double about,
                                const ELEMENT *b, int64_t b_stride, double b_about)
{
    double sum = 0;
    for (int64_t i = 0; i < n; ++i)
        sum +=
            ((double)a[i * stride] - about) * (b ? (double)b[i * b_stride] - b_about : 1);
    return sum / (double)n;
}

/* 1 / sqrt(mean square about the mean + eps), the squares at a scale that keeps them in
 * the range of f64. */
static double FLOAT(norm_deviation)(int64_t n, const ELEMENT *a, int64_t stride,
                                    double mean, double eps)
{
    double square = FLOAT(norm_exact)(n, a, stride, mean, a, stride, mean), scale = 1;
    if (!(square < INFINITY)) scale = 0x1p-600;
    if (square < 0x1p-900 && eps < 0x1p-900) scale = 0x1p600;
    if (scale == 1) return 1 / sqrt(square + eps);
    square = 0;
    for (int64_t i = 0; i < n; ++i) {
        double rest = ((double)a[i * stride] - mean) * scale;
        square += rest * rest;
    }
    return scale / sqrt(square / (double)n + eps * scale * scale);
}

static void FLOAT(norm_exact_row)(struct FLOAT(norm_tile) * t, int64_t r)
{
    const ELEMENT *a = t->in[0] + r * t->w->stride[0][0];
    int64_t n = t->w->columns, step = t->w->stride[0][1];
    double mean = t->w->centred ? FLOAT(norm_exact)(n, a, step, 0, NULL, 0, 0) : 0;
    if (t->w->centred) mean += FLOAT(norm_exact)(n, a, step, mean, NULL, 0, 0);
    struct FLOAT(norm_row) *row = &t->row[r];
    row->mean = (ELEMENT)mean;
    row->rest = (ELEMENT)(mean - (double)row->mean);
    row->s = (ELEMENT)FLOAT(norm_deviation)(n, a, step, mean, t->w->eps);
}

static void FLOAT(norm_statistics)(struct FLOAT(norm_tile) * t)
{
    double square[FLOAT(NORM_ROWS)], rest[FLOAT(NORM_ROWS)] = {0};
    for (int64_t r = 0; r < t->rows; ++r) t->row[r] = (struct FLOAT(norm_row)){0};
    if (t->w->centred) {
        FLOAT(norm_plain)(t, 0, 0, rest);
        for (int64_t r = 0; r < t->rows; ++r) t->row[r].mean = (ELEMENT)rest[r];
        FLOAT(norm_rest)(t, 0, 0, rest);
    }
    FLOAT(norm_square)(t, 0, 0, square);
    for (int64_t r = 0; r < t->rows; ++r) {
        t->row[r].rest = (ELEMENT)rest[r];
        t->row[r].s = (ELEMENT)(1 / sqrt(square[r] - rest[r] * rest[r] + t->w->eps));
    }
    for (int64_t r = 0; r < t->rows; ++r)
        if (!(square[r] + t->w->eps > 1e-25 && square[r] < 1e33))
            FLOAT(norm_exact_row)(t, r);
}

/* The mean of operand i, 0 if not centred, and of its product with y. */
static void FLOAT(norm_along)(struct FLOAT(norm_tile) * t, int i, double *plain,
                              double *dot)
{
    int64_t n = t->w->columns, step = t->w->stride[i][1];
    for (int64_t r = 0; r < t->rows; ++r) plain[r] = 0;
    if (t->w->centred) FLOAT(norm_plain)(t, i, i, plain);
    FLOAT(norm_yv)(t, 0, i, dot);
    for (int64_t r = 0; r < t->rows; ++r) {
        if (fabs(plain[r]) + fabs(dot[r]) < 1e33) continue;
        const ELEMENT *a = t->in[0] + r * t->w->stride[0][0],
                      *v = t->in[i] + r * t->w->stride[i][0];
        double mean = (double)t->row[r].mean + (double)t->row[r].rest;
        if (t->w->centred) plain[r] = FLOAT(norm_exact)(n, v, step, 0, NULL, 0, 0);
        dot[r] = (double)t->row[r].s *
                 FLOAT(norm_exact)(n, a, t->w->stride[0][1], mean, v, step, 0);
    }
}

/* The rows from `first` on, with their statistics. */
static void FLOAT(norm_tile_at)(const hti_rows *w, struct FLOAT(norm_tile) * t,
                                int64_t first, int64_t rows, const void *const *in)
{
    int64_t left = rows - first;
    t->w = w;
    t->rows = left < FLOAT(NORM_ROWS) ? left : FLOAT(NORM_ROWS);
    for (int k = 0; k < 3; ++k)
        t->in[k] = in[k] ? (const ELEMENT *)in[k] + first * w->stride[k][0] : NULL;
    FLOAT(norm_statistics)(t);
}

/* Whether row after row of n operands is contiguous. */
static bool FLOAT(norm_dense)(const hti_rows *w, int n)
{
    bool dense = true;
    for (int k = 0; k < n; ++k) dense = dense && w->stride[k][1] == 1;
    return dense;
}

#define NORM_EACH_ROW(n)                                  \
    for (int64_t r = 0; r < t.rows; ++r, o += w->columns) \
        if (FLOAT(norm_dense)(w, n))                      \
            NORM_ROW(1, 1, 1)                             \
        else                                              \
            NORM_ROW(w->stride[0][1], w->stride[1][1], w->stride[2][1])
#define NORM_AT(k, step) t.in[k][r * w->stride[k][0] + i * (step)]
#define NORM_Y(step)     ((NORM_AT(0, step) - row.mean - row.rest) * row.s)

/* out (rows, columns) = y. */
static void FLOAT(loop_normalize)(const hti_rows *w, int64_t rows, void *out,
                                  const void *const *in)
{
    struct FLOAT(norm_tile) t;
    ELEMENT *o = out;
    for (int64_t first = 0; first < rows; first += t.rows) {
        FLOAT(norm_tile_at)(w, &t, first, rows, in);
#define NORM_ROW(p, q, u)                                          \
    {                                                              \
        const struct FLOAT(norm_row) row = t.row[r];               \
        for (int64_t i = 0; i < w->columns; ++i) o[i] = NORM_Y(p); \
    }
        NORM_EACH_ROW(1)
#undef NORM_ROW
    }
}

/* out (rows, columns) = s (v - mean v - y mean(y v)); mean v only if centred. */
static void FLOAT(loop_normalize_slope)(const hti_rows *w, int64_t rows, void *out,
                                        const void *const *in)
{
    struct FLOAT(norm_tile) t;
    ELEMENT *o = out;
    double v[FLOAT(NORM_ROWS)], yv[FLOAT(NORM_ROWS)];
    for (int64_t first = 0; first < rows; first += t.rows) {
        FLOAT(norm_tile_at)(w, &t, first, rows, in);
        FLOAT(norm_along)(&t, 1, v, yv);
#define NORM_ROW(p, q, u)                                          \
    {                                                              \
        const struct FLOAT(norm_row) row = t.row[r];               \
        const ELEMENT by = (ELEMENT)yv[r], off = (ELEMENT)v[r];    \
        for (int64_t i = 0; i < w->columns; ++i)                   \
            o[i] = (NORM_AT(1, q) - off - NORM_Y(p) * by) * row.s; \
    }
        NORM_EACH_ROW(2)
#undef NORM_ROW
    }
}

/* Its derivative along t: with a = mean(y t), b = mean(y v), v and t less their means,
 * out = -s^2 (a v + b t + (mean(v t) - 3 a b) y). */
static void FLOAT(loop_normalize_bend)(const hti_rows *w, int64_t rows, void *out,
                                       const void *const *in)
{
    struct FLOAT(norm_tile) t;
    ELEMENT *o = out;
    double v[FLOAT(NORM_ROWS)], yv[FLOAT(NORM_ROWS)], u[FLOAT(NORM_ROWS)],
        yt[FLOAT(NORM_ROWS)], vt[FLOAT(NORM_ROWS)];
    for (int64_t first = 0; first < rows; first += t.rows) {
        FLOAT(norm_tile_at)(w, &t, first, rows, in);
        FLOAT(norm_along)(&t, 1, v, yv);
        FLOAT(norm_along)(&t, 2, u, yt);
        FLOAT(norm_product)(&t, 1, 2, vt);
#define NORM_ROW(p, q, z)                                                               \
    {                                                                                   \
        const struct FLOAT(norm_row) row = t.row[r];                                    \
        const double both = vt[r] - v[r] * u[r] - 3 * yv[r] * yt[r];                    \
        const ELEMENT by = (ELEMENT)both, v_by = (ELEMENT)yt[r], t_by = (ELEMENT)yv[r], \
                      v_off = (ELEMENT)v[r], t_off = (ELEMENT)u[r],                     \
                      scale = -row.s * row.s;                                           \
        for (int64_t i = 0; i < w->columns; ++i)                                        \
            o[i] = (v_by * (NORM_AT(1, q) - v_off) + t_by * (NORM_AT(2, z) - t_off) +   \
                    by * NORM_Y(p)) *                                                   \
                   scale;                                                               \
    }
        NORM_EACH_ROW(3)
#undef NORM_ROW
    }
}
