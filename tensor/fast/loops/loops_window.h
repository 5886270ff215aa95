/* SPDX-License-Identifier: MIT */
/* loops_window.h: pooling of one plane (see loops_float.h).
 *
 * A window is taken tap by tap: tap (p, q) of all the windows of a row of y is one run
 * over a row of x, whose step is the windows'. So windows of four elements fill vectors,
 * and each window still meets its elements in order. Read next: pool.c. */

#ifndef LOOP_TAPS
#define LOOP_TAPS

/* Tap (p, q), if `pair` also (p, q + 1), of windows first .. last-1 of a row of y: in
 * `row` of x, from column `left` on. A pair of windows two apart is a whole run of x,
 * which makes vectors where every second element does not. */
struct loop_tap {
    int64_t p, q, row, left, first, last;
    bool pair;
};

/* From here on, the next tap is the first one. */
static inline struct loop_tap loop_no_tap(void)
{
    return (struct loop_tap){.q = -1};
}

/* The next tap (or pair, if allowed) inside x for the windows from .. to-1 of row i of y,
 * if there is one. Only where windows overhang it takes a division. */
static inline bool loop_next_tap(const hti_window *w, int64_t i, int64_t from, int64_t to,
                                 bool pairs, struct loop_tap *t)
{
    const hti_pool_geometry *g = &w->geometry;
    const int64_t step = g->stride[1];
    for (;;) {
        t->q += t->pair ? 2 : 1;
        t->pair = false;
        if (t->q == g->kernel[1]) t->q = 0, t->p++;
        if (t->p == g->kernel[0]) return false;
        t->row = i * g->stride[0] - g->padding[0] + t->p;
        if (!g->padding[0] && !g->padding[1]) { /* all inside */
            t->first = from, t->last = to, t->left = from * step + t->q;
            t->pair = pairs && step == 2 && t->q + 1 < g->kernel[1];
            return true;
        }
        int64_t shift = g->padding[1] - t->q, past = w->in[1] + shift;
        if (t->row < 0 || t->row >= w->in[0]) t->q = g->kernel[1] - 1, past = 0;
        if (past <= from * step) continue;
        t->first = shift > from * step ? (shift + step - 1) / step : from;
        t->last = past > (to - 1) * step ? to : (past + step - 1) / step;
        t->left = t->first * step - shift;
        if (t->first >= t->last) continue;
        t->pair = pairs && step == 2 && t->q + 1 < g->kernel[1] && shift <= from * step &&
                  past - 1 > (to - 1) * step;
        return true;
    }
}

#endif

static void FLOAT(window_start)(const hti_window *w, int64_t i, int64_t from, int64_t n,
                                ELEMENT *most, int32_t *best)
{
    const hti_pool_geometry *g = &w->geometry;
    int64_t row = i * g->stride[0] - g->padding[0];
    const int32_t start = (int32_t)((row > 0 ? row : 0) * w->in[1]);
    const int32_t first = (int32_t)(from * g->stride[1] - g->padding[1]);
    const int32_t step = (int32_t)g->stride[1];
    LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
    {
        int32_t left = first + (int32_t)j * step;
        most[j] = -(ELEMENT)INFINITY;
        best[j] = start + (left > 0 ? left : 0);
    }
}

/* What a tap reads, window by window: where it lies, or else in packed; the other of a
 * pair HTI_TILE further. */
static inline const ELEMENT *FLOAT(window_read)(const hti_window *w,
                                                const struct loop_tap *t, const void *x,
                                                ELEMENT *packed)
{
    const ELEMENT *a =
        (const ELEMENT *)x + t->row * w->stride[0] + t->left * w->stride[1];
    const int64_t n = t->last - t->first, step = w->geometry.stride[1] * w->stride[1];
    ELEMENT *other = packed + HTI_TILE;
    if (step == 1) return a;
    if (t->pair) LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
        {
            packed[j] = a[2 * j];
            other[j] = a[2 * j + 1];
        }
    else
        for (int64_t j = 0; j < n; ++j) packed[j] = a[j * step];
    return packed;
}

static inline void FLOAT(window_larger)(int64_t n, const ELEMENT *a, int32_t at,
                                        int32_t by, ELEMENT *most, int32_t *best)
{
    LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
    {
        ELEMENT value = a[j], old = most[j];
        int more = !(value <= old) & (old == old), place = at + (int32_t)j * by;
        most[j] = more ? value : old;
        best[j] = more ? place : best[j];
    }
}

/* Row i of pairs of rows of x, `n` columns: the larger of each pair, and in `place` where
 * it lies if its column is counted from the n*i-th on. */
static inline void FLOAT(window_of_rows)(const hti_window *w, int64_t i, int64_t n,
                                         const ELEMENT *x, ELEMENT *most, int32_t *place)
{
    const ELEMENT *above = x + 2 * i * w->stride[0], *below = above + w->stride[0];
    const int32_t row = (int32_t)w->in[1], at = (int32_t)(2 * i * w->in[1] - i * n);
    LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
    {
        ELEMENT value = below[j], old = above[j];
        int more = !(value <= old) & (old == old);
        most[j] = more ? value : old;
        place[j] = more ? at + row : at;
    }
}

/* Windows of 2 x 2 apart, some rows of them at a time: first rows are compared, then
 * columns. Among equals of a window the upper is the first, then the left. */
static void FLOAT(window_index_of_four)(const hti_window *w, int32_t *index,
                                        const ELEMENT *x)
{
    ELEMENT most[HTI_TILE];
    int32_t place[HTI_TILE];
    const int64_t n = 2 * w->out[1], rows = HTI_TILE / n;
    for (int64_t i = 0, last; i < w->out[0]; i = last) {
        last = i + rows < w->out[0] ? i + rows : w->out[0];
        for (int64_t r = i; r < last; ++r)
            FLOAT(window_of_rows)(w, r, n, x, most + (r - i) * n, place + (r - i) * n);
        const int32_t from = (int32_t)(i * n);
        int32_t *to = index + i * w->out[1];
        LOOP_INDEPENDENT for (int64_t j = 0; j < (last - i) * w->out[1]; ++j)
        {
            ELEMENT old = most[2 * j], value = most[2 * j + 1];
            int32_t left = place[2 * j], right = place[2 * j + 1];
            int more = !(value <= old) & (old == old);
            int same = (value == old) | ((value != value) & (old != old));
            int second = more | (same & (right < left));
            to[j] = from + (int32_t)(2 * j) + (second ? right + 1 : left);
        }
    }
}

static bool FLOAT(window_is_of_four)(const hti_window *w)
{
    const hti_pool_geometry *g = &w->geometry;
    bool fits = w->stride[1] == 1 && 2 * w->out[1] <= HTI_TILE;
    for (int i = 0; i < 2; ++i)
        fits = fits && g->kernel[i] == 2 && g->stride[i] == 2 && g->padding[i] == 0;
    return fits;
}

/* The place, row * in[1] + column, of the first largest of each window; a NaN is larger
 * than any number. Windows are never empty: padding is smaller than the kernel. */
static void FLOAT(loop_window_index)(const hti_window *w, void *out, const void *x)
{
    int32_t *index = out;
    ELEMENT most[HTI_TILE], packed[2 * HTI_TILE];
    const int32_t hop = (int32_t)w->geometry.stride[1];
    if (FLOAT(window_is_of_four)(w)) {
        FLOAT(window_index_of_four)(w, index, x);
        return;
    }
    for (int64_t i = 0; i < w->out[0]; ++i)
        for (int64_t from = 0, n; from < w->out[1]; from += n, index += n) {
            n = w->out[1] - from < HTI_TILE ? w->out[1] - from : HTI_TILE;
            FLOAT(window_start)(w, i, from, n, most, index);
            struct loop_tap t = loop_no_tap();
            while (loop_next_tap(w, i, from, from + n, w->stride[1] == 1, &t)) {
                const ELEMENT *a = FLOAT(window_read)(w, &t, x, packed);
                int32_t at = (int32_t)(t.row * w->in[1] + t.left);
                for (int other = 0; other < (t.pair ? 2 : 1); ++other)
                    FLOAT(window_larger)
                (t.last - t.first, a + other * HTI_TILE, at + other, hop,
                 most + (t.first - from), index + (t.first - from));
            }
        }
}

/* sum (n) over the windows of row i, from column `from` on, of x times `by`. */
static inline void FLOAT(window_sum)(const hti_window *w, int64_t i, int64_t from,
                                     int64_t n, double by, double *sum, const void *x)
{
    ELEMENT packed[2 * HTI_TILE];
    struct loop_tap t = loop_no_tap();
    for (int64_t j = 0; j < n; ++j) sum[j] = 0;
    while (loop_next_tap(w, i, from, from + n, w->stride[1] == 1, &t)) {
        const ELEMENT *a = FLOAT(window_read)(w, &t, x, packed);
        double *s = sum + (t.first - from);
        for (int other = 0; other < (t.pair ? 2 : 1); ++other)
            for (int64_t j = 0; j < t.last - t.first; ++j)
                s[j] += by * (double)a[other * HTI_TILE + j];
    }
}

/* y = scale * sum over the window; of smaller numbers where the sum is past f64. */
static void FLOAT(loop_window_mean)(const hti_window *w, void *y, const void *x)
{
    const double scale = w->scale;
    ELEMENT *o = y;
    double sum[HTI_TILE];
    for (int64_t i = 0; i < w->out[0]; ++i)
        for (int64_t from = 0, n; from < w->out[1]; from += n, o += n) {
            n = w->out[1] - from < HTI_TILE ? w->out[1] - from : HTI_TILE;
            FLOAT(window_sum)(w, i, from, n, 1, sum, x);
            for (int64_t j = 0; j < n; ++j) o[j] = (ELEMENT)(scale * sum[j]);
            if (sizeof(ELEMENT) < sizeof(double)) continue; /* no sum of f32 passes f64 */
            int lost = 0;
            for (int64_t j = 0; j < n; ++j) lost |= sum[j] - sum[j] != 0;
            if (!lost) continue;
            FLOAT(window_sum)(w, i, from, n, HTI_SMALL, sum, x);
            for (int64_t j = 0; j < n; ++j)
                if (!isfinite(o[j])) o[j] = (ELEMENT)(scale * sum[j] / HTI_SMALL);
        }
}

/* Its transpose, x += scale * y over each window; x is dense, y has the strides. */
static void FLOAT(loop_window_spread)(const hti_window *w, void *x, const void *y)
{
    const double scale = w->scale;
    ELEMENT part[HTI_TILE];
    const int64_t step = w->geometry.stride[1];
    for (int64_t i = 0; i < w->out[0]; ++i)
        for (int64_t from = 0, n; from < w->out[1]; from += n) {
            n = w->out[1] - from < HTI_TILE ? w->out[1] - from : HTI_TILE;
            const ELEMENT *row = (const ELEMENT *)y + i * w->stride[0];
            for (int64_t j = 0; j < n; ++j)
                part[j] = (ELEMENT)(scale * (double)row[(from + j) * w->stride[1]]);
            struct loop_tap t = loop_no_tap();
            while (loop_next_tap(w, i, from, from + n, true, &t)) {
                ELEMENT *a = (ELEMENT *)x + t.row * w->in[1] + t.left;
                const ELEMENT *p = part + (t.first - from);
                const int64_t last = t.last - t.first;
                if (t.pair) LOOP_INDEPENDENT for (int64_t j = 0; j < last; ++j)
                    {
                        a[2 * j] += p[j];
                        a[2 * j + 1] += p[j];
                    }
                else
                    for (int64_t j = 0; j < last; ++j) a[j * step] += p[j];
            }
        }
}
