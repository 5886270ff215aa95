/* SPDX-License-Identifier: MIT */
/* index.c: what goes by an index or by its place: one-hot, gather, scatter-add, take and
 * put, a triangle kept, and draws. Read next: products.c. */
#include <string.h>

#include "reference.h"

/* All bits 0 are 0 in any dtype. */
static void fill_zeros(const ht_array *out)
{
    size_t bytes = hti_bytes_at(out->dtype, &out->shape);
    if (bytes > 0) memset(out->data, 0, bytes);
}

static int64_t reference_one_hot(ht_context *ctx, ht_array out, ht_array labels)
{
    (void)ctx;
    HT_ASSERT(out.shape.rank > 0, "one-hot into rank %d", out.shape.rank);
    int64_t classes = out.shape.dim[out.shape.rank - 1];
    int64_t bad = hti_first_outside(&labels, classes);
    if (bad >= 0) return bad;
    fill_zeros(&out);
    for (int64_t i = 0; i < ht_shape_count(labels.shape); i++)
        hti_write(&out, i * classes + hti_index(&labels, i), 1);
    return -1;
}

/* Elements of a row, all axes of a but the first. */
static int64_t row_elements(const ht_array *a)
{
    int64_t n = 1;
    for (int i = 1; i < a->shape.rank; i++) n *= a->shape.dim[i];
    return n;
}

/* A row as a whole. */
static int64_t reference_gather(ht_context *ctx, ht_array out, ht_array x, ht_array index)
{
    HT_ASSERT(x.shape.rank > 0 && x.dtype == out.dtype, "gather of rank %d, %s into %s",
              x.shape.rank, ht_dtype_name(x.dtype), ht_dtype_name(out.dtype));
    int64_t bad = hti_first_outside(&index, x.shape.dim[0]);
    if (bad >= 0 || ht_shape_count(out.shape) == 0) return bad;
    ht_array row = {x.data, x.dtype, {x.shape.rank - 1, {0}}, {0}}, to;
    memcpy(row.shape.dim, x.shape.dim + 1, sizeof row.shape.dim - sizeof *row.shape.dim);
    memcpy(row.stride, x.stride + 1, sizeof row.stride - sizeof *row.stride);
    size_t bytes = hti_bytes_at(row.dtype, &row.shape);
    bool dense = hti_is_contiguous(&row);
    int64_t apart = x.stride[0] * (int64_t)ht_dtype_bytes(x.dtype);
    to = hti_contiguous(out.data, row.dtype, row.shape);
    for (int64_t i = 0; i < ht_shape_count(index.shape); i++) {
        to.data = hti_at(out.data, i * (int64_t)bytes);
        row.data = hti_at(x.data, hti_index(&index, i) * apart);
        if (dense)
            memcpy(to.data, row.data, bytes);
        else
            hti_run_copy(ctx, to, row);
    }
    return bad;
}

/* out[at] += x; integers wrap. */
static void add_element(const ht_array *out, int64_t at, double x)
{
    double sum = hti_element(out, at) + x;
    hti_put_element(out, at,
                    out->dtype == HT_I32 ? (int32_t)(uint32_t)(int64_t)sum : sum);
}

static int64_t reference_scatter_add(ht_context *ctx, ht_array out, ht_array index,
                                     ht_array updates)
{
    (void)ctx;
    int64_t bad = hti_first_outside(&index, out.shape.dim[0]), n = row_elements(&out);
    for (int64_t i = 0; i < ht_shape_count(updates.shape) && bad < 0; i++)
        add_element(&out, hti_index(&index, i / n) * n + i % n, hti_element(&updates, i));
    return bad;
}

static int64_t reference_take_last(ht_context *ctx, ht_array out, ht_array x,
                                   ht_array index)
{
    (void)ctx;
    hti_lines from = hti_rows_of(x), at = hti_rows_of(index), to = hti_rows_of(out);
    int64_t bad = hti_first_outside(&index, from.n);
    for (int64_t k = 0; k < to.lines && bad < 0; k++)
        for (int64_t j = 0; j < to.n; j++)
            hti_put(&to, k, j, hti_get(&from, k, (int64_t)hti_get(&at, k, j)));
    return bad;
}

static int64_t reference_put_last(ht_context *ctx, ht_array out, ht_array y,
                                  ht_array index)
{
    (void)ctx;
    hti_lines from = hti_rows_of(y), at = hti_rows_of(index);
    int64_t n = out.shape.dim[out.shape.rank - 1], bad = hti_first_outside(&index, n);
    if (bad >= 0) return bad;
    fill_zeros(&out);
    for (int64_t k = 0; k < from.lines; k++)
        for (int64_t j = 0; j < from.n; j++)
            add_element(&out, k * n + (int64_t)hti_get(&at, k, j), hti_get(&from, k, j));
    return -1;
}

static void reference_tril(ht_context *ctx, ht_array out, ht_array a, int64_t diagonal,
                           double fill)
{
    int rank = out.shape.rank;
    HT_ASSERT(rank >= 2, "a triangle of an array of rank %d", rank);
    hti_run_copy(ctx, out, a);
    int64_t rows = out.shape.dim[rank - 2], columns = out.shape.dim[rank - 1];
    for (int64_t r = 0; columns > 0 && r < ht_shape_count(out.shape) / columns; r++) {
        int64_t keep = r % rows + diagonal + 1;
        for (int64_t c = keep > 0 ? keep : 0; c < columns; c++)
            hti_write(&out, r * columns + c, fill);
    }
}

/* Draw i; normal ones are Box and Muller's pairs (see core/random.c). */
static double draw(hti_random f, uint64_t seed, uint64_t stream, uint64_t i, double rate)
{
    double u = ht_random_uniform(seed, stream, i);
    if (f == HTI_UNIFORM) return u;
    if (f == HTI_DROPOUT) return u < rate ? 0 : 1 / (1 - rate);
    double radius = sqrt(-2 * log(1 - ht_random_uniform(seed, stream, i & ~(uint64_t)1)));
    double angle = 2 * acos(-1) * ht_random_uniform(seed, stream, i | 1);
    return radius * (i & 1 ? sin(angle) : cos(angle));
}

static void reference_random(ht_context *ctx, hti_random f, ht_array out, uint64_t seed,
                             uint64_t stream, int32_t step, double rate)
{
    (void)ctx;
    double below_1 = out.dtype == HT_F32 ? 1 - 0x1p-24 : 1 - 0x1p-53;
    for (int64_t i = 0; i < ht_shape_count(out.shape); i++) {
        uint64_t at = ((uint64_t)(uint32_t)step << 32) + (uint64_t)i;
        double z = draw(f, seed, stream, at, rate);
        hti_put_element(&out, i, f == HTI_UNIFORM ? fmin(z, below_1) : z);
    }
}

void hti_reference_index(struct hti_kernels *kernels)
{
    kernels->one_hot = reference_one_hot;
    kernels->gather = reference_gather;
    kernels->scatter_add = reference_scatter_add;
    kernels->take_last = reference_take_last;
    kernels->put_last = reference_put_last;
    kernels->tril = reference_tril;
    kernels->random = reference_random;
}
