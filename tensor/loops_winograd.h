/* SPDX-License-Identifier: MIT */
/* loops_winograd.h: the small matrices of conv_winograd.c, each applied to `n` elements a
 * row: out[k][r*out_row + j] from in[..][r*in_row + j]. Included by loops.c. */

/* Every second element apart, and together again: n pairs a row. */
static void loop_winograd_split(int64_t rows, int64_t n, float *const *out,
                                int64_t out_row, const float *const *in, int64_t in_row)
{
    for (int64_t r = 0; r < rows; ++r) {
        const float *a = in[0] + r * in_row;
        float *even = out[0] + r * out_row, *odd = out[1] + r * out_row;
        LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
        {
            even[j] = a[2 * j];
            odd[j] = a[2 * j + 1];
        }
    }
}

static void loop_winograd_join(int64_t rows, int64_t n, float *const *out,
                               int64_t out_row, const float *const *in, int64_t in_row)
{
    for (int64_t r = 0; r < rows; ++r) {
        const float *even = in[0] + r * in_row, *odd = in[1] + r * in_row;
        float *o = out[0] + r * out_row;
        LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
        {
            o[2 * j] = even[j];
            o[2 * j + 1] = odd[j];
        }
    }
}

/* The last two of four operands and results may be absent. */
#define WINOGRAD(name, n_in, n_out, first, second, third, fourth)                \
    static void loop_winograd_##name(int64_t rows, int64_t n, float *const *out, \
                                     int64_t out_row, const float *const *in,    \
                                     int64_t in_row)                             \
    {                                                                            \
        for (int64_t r = 0; r < rows; ++r) {                                     \
            const float *a = in[0] + r * in_row, *b = in[1] + r * in_row;        \
            const float *c = n_in > 2 ? in[2] + r * in_row : a;                  \
            const float *d = n_in > 3 ? in[3] + r * in_row : a;                  \
            float *p = out[0] + r * out_row, *q = out[1] + r * out_row;          \
            float *s = n_out > 2 ? out[2] + r * out_row : p;                     \
            float *t = n_out > 3 ? out[3] + r * out_row : p;                     \
            LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)                     \
            {                                                                    \
                const float x = a[j], y = b[j], z = n_in > 2 ? c[j] : 0,         \
                            w = n_in > 3 ? d[j] : 0;                             \
                (void)z, (void)w;                                                \
                p[j] = first;                                                    \
                q[j] = second;                                                   \
                if (n_out > 2) s[j] = third;                                     \
                if (n_out > 3) t[j] = fourth;                                    \
            }                                                                    \
        }                                                                        \
    }

WINOGRAD(data, 4, 4, x - z, y + z, z - y, y - w)
WINOGRAD(sums, 4, 2, (x + y) + z, (y - z) - w, 0, 0)
WINOGRAD(spread, 2, 4, x, x + y, x - y, -y)
WINOGRAD(taps, 3, 4, x, 0.5f * ((x + z) + y), 0.5f * ((x + z) - y), z)
WINOGRAD(gather, 4, 3, x + 0.5f * (y + z), 0.5f * (y - z), 0.5f * (y + z) + w, 0)

#undef WINOGRAD
