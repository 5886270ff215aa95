/* SPDX-License-Identifier: MIT */
/* loops_rows.h: softmax and its kin (see loops_float.h).
 *
 * Rows of ten are too short for vectors: they lie side by side, class after class, as in
 * loops_slope.h. Others go through a tile of some rows, in which the exponentials are one
 * contiguous loop; a row longer than a tile goes piece by piece. Per row, m is the
 * maximum, s the sum of exp(a - m) and o that without m's own 1: log s is log(1 + o),
 * which keeps its digits where one class is nearly all. Read next:
 * loops_slope.h, rows.c. */

struct FLOAT(rows_tile) {
    int64_t rows, columns;
    const ELEMENT *a;
    const int64_t *stride;
    ELEMENT m[FLOAT(SLOPE_ROWS)], s[FLOAT(SLOPE_ROWS)]; /* (rows) */
    double o[FLOAT(SLOPE_ROWS)];
    bool found[FLOAT(SLOPE_ROWS)]; /* m, in a long row's pieces so far */
};

/* The tile that starts at row r: as many rows as fit, or one long row. */
static void FLOAT(rows_tile_at)(struct FLOAT(rows_tile) * t, const hti_rows *w, int64_t r,
                                int64_t rows, const ELEMENT *a)
{
    int64_t fit = w->columns < HTI_TILE ? HTI_TILE / w->columns : 1;
    if (w->columns <= FLOAT(SLOPE_SHORT)) fit = FLOAT(SLOPE_ROWS);
    t->rows = rows - r < fit ? rows - r : fit;
    t->columns = w->columns;
    t->stride = w->stride[0];
    t->a = a + r * t->stride[0];
}

/* Columns of the piece that starts at column c. */
static int64_t FLOAT(rows_piece)(const struct FLOAT(rows_tile) * t, int64_t c)
{
    return t->columns - c < HTI_TILE ? t->columns - c : HTI_TILE;
}

/* The n columns from c of every row, contiguous: where they lie, or else in packed. */
static const ELEMENT *FLOAT(rows_get)(const struct FLOAT(rows_tile) * t, int64_t c,
                                      int64_t n, ELEMENT *packed)
{
    const ELEMENT *x = t->a + c * t->stride[1];
    if (t->stride[1] == 1 && (t->rows == 1 || t->stride[0] == n)) return x;
    FLOAT(loop_pack)(t->rows, n, packed, x, t->stride);
    return packed;
}

/* each[r, c] = value[r], c < n. */
static void FLOAT(rows_repeat)(const struct FLOAT(rows_tile) * t, const ELEMENT *value,
                               int64_t n, ELEMENT *each)
{
    FLOAT(loop_pack)(t->rows, n, each, value, (const int64_t[]){1, 0});
}

static void FLOAT(rows_max)(struct FLOAT(rows_tile) * t)
{
    ELEMENT packed[HTI_TILE];
    for (int64_t c = 0, n; c < t->columns; c += n) {
        n = FLOAT(rows_piece)(t, c);
        const ELEMENT *x = FLOAT(rows_get)(t, c, n, packed);
        for (int64_t r = 0; r < t->rows; ++r) {
            ELEMENT top = FLOAT(loop_max_block)(n, x + r * n);
            t->m[r] = c == 0 ? top : LOOP_MAX(t->m[r], top);
        }
    }
}

/* What n of exp(a - m) add up to but for one that is 1, of which there is one. */
static double FLOAT(rows_others)(int64_t n, const ELEMENT *e)
{
    double others = 0, tops = -1;
    for (int64_t i = 0; i < n; ++i) {
        double x = (double)e[i];
        others += x < 1 ? x : 0;
        tops += x < 1 ? 0 : 1;
    }
    return others + tops;
}

/* o from the sums of exp(a - m) over the piece from column c on: the first 1 is left out.
 */
static void FLOAT(rows_left)(struct FLOAT(rows_tile) * t, int64_t c, int64_t n,
                             const ELEMENT *y, const double *sum)
{
    for (int64_t r = 0; r < t->rows; ++r) {
        bool before = c > 0 && t->found[r], here = !(sum[r] < 1) && !before;
        double others = here ? sum[r] - 1 : sum[r];
        if (here && sum[r] < 1.25) others = FLOAT(rows_others)(n, y + r * n);
        t->found[r] = before || here;
        t->o[r] = c > 0 ? t->o[r] + others : others;
    }
}

/* Short rows: m and o; or out, if not NULL, gets exp(a - m) / s. */
static void FLOAT(rows_short)(struct FLOAT(rows_tile) * t, ELEMENT *out)
{
    FLOAT(slope_tile) e;
    FLOAT(slope_lanes) tops, others;
    FLOAT(slope_load)(t->rows, t->columns, e, t->a, t->stride);
    FLOAT(slope_exp)(t->columns, e, t->m);
    if (out) {
        FLOAT(slope_share)(t->columns, e);
        FLOAT(slope_store)(t->rows, t->columns, out, e);
        return;
    }
    FLOAT(slope_sums)(t->columns, e, tops, others);
    for (int r = 0; r < FLOAT(SLOPE_ROWS); ++r)
        t->o[r] = (double)others[r] + ((double)tops[r] - 1);
}

/* Fills m, s and, if e is NULL, o; e, if not NULL, gets exp(a - m), (rows, columns). */
static void FLOAT(rows_sum)(struct FLOAT(rows_tile) * t, ELEMENT *e)
{
    ELEMENT packed[HTI_TILE], m[HTI_TILE], powers[HTI_TILE];
    double total[FLOAT(SLOPE_ROWS)], sum[FLOAT(SLOPE_ROWS)];
    FLOAT(rows_max)(t);
    for (int64_t c = 0, n; c < t->columns; c += n) {
        n = FLOAT(rows_piece)(t, c);
        const ELEMENT *x = FLOAT(rows_get)(t, c, n, packed);
        ELEMENT *y = e ? e + c : powers;
        FLOAT(rows_repeat)(t, t->m, n, m);
        LOOP_INDEPENDENT for (int64_t i = 0; i < t->rows * n; ++i) y[i] =
            FLOAT_EXP(x[i] - m[i]);
        for (int64_t r = 0; r < t->rows; ++r) {
            sum[r] = (double)FLOAT(loop_sum_block)(n, y + r * n);
            total[r] = c == 0 ? sum[r] : total[r] + sum[r];
        }
        if (!e) FLOAT(rows_left)(t, c, n, y, sum);
    }
    for (int64_t r = 0; r < t->rows; ++r) t->s[r] = (ELEMENT)total[r];
}

/* m and o of every row. */
static void FLOAT(rows_logs)(struct FLOAT(rows_tile) * t)
{
    if (t->columns <= FLOAT(SLOPE_SHORT))
        FLOAT(rows_short)(t, NULL);
    else
        FLOAT(rows_sum)(t, NULL);
    for (int64_t i = 0; i < t->rows; ++i) t->s[i] = FLOAT_LOG1P(t->o[i]);
}

/* exp(a - m) / s */
static void FLOAT(loop_softmax)(const hti_rows *w, int64_t rows, void *out,
                                const void *const *in)
{
    const int64_t columns = w->columns;
    struct FLOAT(rows_tile) t;
    ELEMENT s[HTI_TILE];
    for (int64_t r = 0; r < rows; r += t.rows) {
        FLOAT(rows_tile_at)(&t, w, r, rows, in[0]);
        ELEMENT *e = (ELEMENT *)out + r * columns;
        if (columns <= FLOAT(SLOPE_SHORT)) {
            FLOAT(rows_short)(&t, e);
            continue;
        }
        FLOAT(rows_sum)(&t, e);
        for (int64_t c = 0, n; c < columns; c += n) {
            n = FLOAT(rows_piece)(&t, c);
            FLOAT(rows_repeat)(&t, t.s, n, s);
            for (int64_t i = 0; i < t.rows * n; ++i) e[c + i] /= s[i];
        }
    }
}

/* (a - m) - log s */
static void FLOAT(loop_log_softmax)(const hti_rows *w, int64_t rows, void *out,
                                    const void *const *in)
{
    const int64_t columns = w->columns;
    struct FLOAT(rows_tile) t;
    ELEMENT packed[HTI_TILE], m[HTI_TILE], l[HTI_TILE];
    for (int64_t r = 0; r < rows; r += t.rows) {
        FLOAT(rows_tile_at)(&t, w, r, rows, in[0]);
        FLOAT(rows_logs)(&t);
        for (int64_t c = 0, n; c < columns; c += n) {
            n = FLOAT(rows_piece)(&t, c);
            const ELEMENT *x = FLOAT(rows_get)(&t, c, n, packed);
            ELEMENT *y = (ELEMENT *)out + r * columns + c;
            FLOAT(rows_repeat)(&t, t.m, n, m);
            FLOAT(rows_repeat)(&t, t.s, n, l);
            LOOP_INDEPENDENT for (int64_t i = 0; i < t.rows * n; ++i) y[i] =
                x[i] - m[i] - l[i];
        }
    }
}

/* An infinite m is the answer, for inf - inf is none; unless a NaN hides beside it. */
static ELEMENT FLOAT(rows_infinite)(int64_t columns, const ELEMENT *a, int64_t stride,
                                    ELEMENT m)
{
    for (int64_t c = 0; c < columns; ++c)
        if (a[c * stride] != a[c * stride]) return a[c * stride];
    return m;
}

/* m + log s */
static void FLOAT(loop_logsumexp)(const hti_rows *w, int64_t rows, void *out,
                                  const void *const *in)
{
    struct FLOAT(rows_tile) t;
    for (int64_t r = 0; r < rows; r += t.rows) {
        FLOAT(rows_tile_at)(&t, w, r, rows, in[0]);
        ELEMENT *o = (ELEMENT *)out + r;
        FLOAT(rows_logs)(&t);
        for (int64_t i = 0; i < t.rows; ++i)
            o[i] = t.m[i] - t.m[i] == 0
                       ? t.m[i] + t.s[i]
                       : FLOAT(rows_infinite)(t.columns, t.a + i * t.stride[0],
                                              t.stride[1], t.m[i]);
    }
}

/* log s - (a[label] - m), the very bits of -log_softmax. */
static void FLOAT(loop_cross_entropy)(const hti_rows *w, int64_t rows, void *out,
                                      const void *const *in)
{
    const int32_t *label = in[1];
    struct FLOAT(rows_tile) t;
    for (int64_t r = 0; r < rows; r += t.rows) {
        FLOAT(rows_tile_at)(&t, w, r, rows, in[0]);
        FLOAT(rows_logs)(&t);
        for (int64_t i = 0; i < t.rows; ++i) {
            int64_t k = label[(r + i) * w->stride[1][0]];
            ELEMENT x = t.a[i * t.stride[0] + k * t.stride[1]];
            ((ELEMENT *)out)[r + i] = t.s[i] - (x - t.m[i]);
        }
    }
}

/* softmax - 1 at the label: where that is nearly 0, what the others add up to. */
static void FLOAT(loop_cross_entropy_slope)(const hti_rows *w, int64_t rows, void *out,
                                            const void *const *in)
{
    const int64_t columns = w->columns;
    const int32_t *label = in[1];
    FLOAT(loop_softmax)(w, rows, out, in);
    for (int64_t r = 0; r < rows; ++r) {
        ELEMENT *p = (ELEMENT *)out + r * columns;
        int64_t k = label[r * w->stride[1][0]];
        double others = 0;
        if (p[k] > (ELEMENT)0.5) {
            for (int64_t c = 0; c < columns; ++c) others += c == k ? 0 : (double)p[c];
            p[k] = (ELEMENT)-others;
        } else {
            p[k] -= 1;
        }
    }
}
