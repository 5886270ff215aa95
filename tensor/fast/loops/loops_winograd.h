/* SPDX-License-Identifier: MIT */
/* loops_winograd.h: the small matrices of conv_winograd.c, applied to many tiles at once.
 * Included by loops.c.
 *
 * Rows of a plane lie by parity, first all columns, then the columns of each parity apart
 * (*phases*); so what makes an element of all tiles is runs of memory, a plane apart. */

/* Every second element of `n` pairs a row. */
static void loop_winograd_split(int64_t rows, int64_t n, float *even, float *odd,
                                int64_t pitch, const float *x, int64_t row)
{
    for (int64_t r = 0; r < rows; ++r, x += row, even += pitch, odd += pitch)
        LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
        {
            even[j] = x[2 * j];
            odd[j] = x[2 * j + 1];
        }
}

#define LOOP_PLANE HTI_WINOGRAD_PLANE

/* B' x B: columns of each row, then rows. */
static void loop_winograd_data(const hti_winograd *p)
{
    const int64_t n = p->across, step = p->step;
    for (int parity = 0; parity < 2; ++parity)
        for (int64_t r = 0; r <= p->rows; ++r) {
            const float *a = p->phases + 2 * parity * LOOP_PLANE + r * (n + 1);
            float *o = p->lines + parity * LOOP_PLANE + r * n;
            LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
            {
                float x = a[j], y = a[LOOP_PLANE + j], z = a[j + 1],
                      w = a[LOOP_PLANE + j + 1];
                o[j] = x - z;
                o[2 * LOOP_PLANE + j] = y + z;
                o[4 * LOOP_PLANE + j] = z - y;
                o[6 * LOOP_PLANE + j] = y - w;
            }
        }
    for (int64_t c = 0; c < 4; ++c) {
        const float *a = p->lines + 2 * c * LOOP_PLANE;
        float *o = p->places + c * step;
        LOOP_INDEPENDENT for (int64_t j = 0; j < p->rows * n; ++j)
        {
            float x = a[j], y = a[LOOP_PLANE + j], z = a[n + j],
                  w = a[LOOP_PLANE + n + j];
            o[j] = x - z;
            o[4 * step + j] = y + z;
            o[8 * step + j] = z - y;
            o[12 * step + j] = y - w;
        }
    }
}

/* A y A', likewise. */
static void loop_winograd_spread(const hti_winograd *p)
{
    const int64_t n = p->rows * p->across, step = p->step;
    for (int parity = 0; parity < 2; ++parity) {
        const float *a = p->phases + 2 * parity * LOOP_PLANE;
        float *o = p->lines + parity * LOOP_PLANE;
        LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
        {
            float x = a[j], y = a[LOOP_PLANE + j];
            o[j] = x;
            o[2 * LOOP_PLANE + j] = x + y;
            o[4 * LOOP_PLANE + j] = x - y;
            o[6 * LOOP_PLANE + j] = -y;
        }
    }
    for (int64_t c = 0; c < 4; ++c) {
        const float *a = p->lines + 2 * c * LOOP_PLANE;
        float *o = p->places + c * step;
        LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
        {
            float x = a[j], y = a[LOOP_PLANE + j];
            o[j] = x;
            o[4 * step + j] = x + y;
            o[8 * step + j] = x - y;
            o[12 * step + j] = -y;
        }
    }
}

/* y = A' places A: rows, then columns, which come together again. */
static void loop_winograd_back(const hti_winograd *p, int64_t height, int64_t width,
                               float *y)
{
    const int64_t n = p->across, step = p->step;
    for (int64_t c = 0; c < 4; ++c) {
        const float *a = p->places + c * step;
        float *o = p->lines + c * LOOP_PLANE;
        LOOP_INDEPENDENT for (int64_t j = 0; j < p->rows * n; ++j)
        {
            float x = a[j], z = a[4 * step + j], w = a[8 * step + j];
            o[j] = (x + z) + w;
            o[4 * LOOP_PLANE + j] = (z - w) - a[12 * step + j];
        }
    }
    for (int64_t r = 0; r < height; ++r, y += width) {
        const float *a = p->lines + r % 2 * 4 * LOOP_PLANE + r / 2 * n;
        LOOP_INDEPENDENT for (int64_t j = 0; j < width / 2; ++j)
        {
            float z = a[LOOP_PLANE + j], w = a[2 * LOOP_PLANE + j];
            y[2 * j] = (a[j] + z) + w;
            y[2 * j + 1] = (z - w) - a[3 * LOOP_PLANE + j];
        }
        if (width % 2)
            y[width - 1] = (a[n - 1] + a[LOOP_PLANE + n - 1]) + a[2 * LOOP_PLANE + n - 1];
    }
}

/* One side of G w G', and of its transpose. */
static void loop_winograd_taps(int64_t n, float *out, int64_t step, const float *in,
                               int64_t in_step)
{
    const float *b = in + in_step, *c = b + in_step;
    LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
    {
        float x = in[j], y = b[j], z = c[j];
        out[j] = x;
        out[step + j] = 0.5f * ((x + z) + y);
        out[2 * step + j] = 0.5f * ((x + z) - y);
        out[3 * step + j] = z;
    }
}

static void loop_winograd_gather(int64_t n, float *out, int64_t step, const float *in,
                                 int64_t in_step)
{
    const float *b = in + in_step, *c = b + in_step, *d = c + in_step;
    LOOP_INDEPENDENT for (int64_t j = 0; j < n; ++j)
    {
        float sum = 0.5f * (b[j] + c[j]), w = d[j];
        out[step + j] = 0.5f * (b[j] - c[j]);
        out[j] = in[j] + sum;
        out[2 * step + j] = sum + w;
    }
}

static const hti_winograd_loops loop_winograd = {
    loop_winograd_split, loop_winograd_data, loop_winograd_spread,
    loop_winograd_back,  loop_winograd_taps, loop_winograd_gather};

#undef LOOP_PLANE
