/* SPDX-License-Identifier: MIT */
/* products.c: matrix products, those with a triangle, and convolution, as plain loops
 * with sums in f64. Read next: attention.c. */
#include "reference.h"

/* Matrix `batch` of the last two axes. */
static ht_array matrix_of(const ht_array *a, int64_t batch)
{
    int last = a->shape.rank - 1;
    return (ht_array){hti_part(a, last - 1, batch),
                      a->dtype,
                      HT_SHAPE(a->shape.dim[last - 1], a->shape.dim[last]),
                      {a->stride[last - 1], a->stride[last]}};
}

static double entry(const ht_array *a, int64_t i, int64_t j)
{
    return hti_read(a, i * a->stride[0] + j * a->stride[1]);
}

static int64_t matrices(const ht_array *a)
{
    int64_t n = 1;
    for (int i = 0; i < a->shape.rank - 2; i++) n *= a->shape.dim[i];
    return n;
}

/* out_ij = sum over l of a_il b_lj, plus what it was if `add`. */
static void product(ht_array out, ht_array a, ht_array b, bool add)
{
    for (int64_t i = 0; i < out.shape.dim[0]; i++)
        for (int64_t j = 0; j < out.shape.dim[1]; j++) {
            double sum = 0, before = add ? entry(&out, i, j) : 0;
            for (int64_t l = 0; l < a.shape.dim[1]; l++)
                sum += entry(&a, i, l) * entry(&b, l, j);
            hti_write(&out, i * out.stride[0] + j * out.stride[1],
                      before + hti_rounded(out.dtype, sum));
        }
}

void hti_run_matmul_reference(ht_context *ctx, ht_array out, ht_array a, ht_array b)
{
    (void)ctx;
    for (int64_t k = 0; k < matrices(&out); k++)
        product(matrix_of(&out, k), matrix_of(&a, k), matrix_of(&b, k), false);
}

static void reference_matmul_add(ht_context *ctx, ht_array out, ht_array a, ht_array b)
{
    (void)ctx;
    product(out, a, b, true);
}

static size_t reference_matmul_room(const ht_context *ctx, const ht_array *out,
                                    const ht_array *a, const ht_array *b)
{
    (void)ctx, (void)out, (void)a, (void)b;
    return 0;
}

/* Nobody asks: a sum by blocks would be rounded after each. */
static void reference_matmul_block(ht_context *ctx, ht_array out, ht_array a, ht_array b,
                                   unsigned ends, void *room)
{
    (void)ctx, (void)out, (void)a, (void)b, (void)ends, (void)room;
    HT_ASSERT(false, "matmul_block: matmul_room is 0 for all products here");
}

static bool reference_matmul_adds(const ht_context *ctx, ht_dtype dtype, int64_t m,
                                  int64_t n, int64_t k)
{
    (void)ctx, (void)dtype, (void)m, (void)n, (void)k;
    return true;
}

/* Element (i, j) of a product with the triangle, (i, j) seen where j <= i. */
static double triangle_entry(hti_triangle side, const ht_array *x, const ht_array *y,
                             int64_t i, int64_t j)
{
    int64_t first = 0, end = x->shape.dim[1];
    if (side == HTI_TRIANGLE_PAIRS && j > i) return 0;
    if (side == HTI_TRIANGLE_BELOW && end > i + 1) end = i + 1;
    if (side == HTI_TRIANGLE_BESIDE) first = i, end = x->shape.dim[0];
    double sum = 0;
    for (int64_t l = first; l < end; l++)
        sum += (side == HTI_TRIANGLE_BESIDE ? entry(x, l, i) : entry(x, i, l)) *
               (side == HTI_TRIANGLE_PAIRS ? entry(y, j, l) : entry(y, l, j));
    return sum;
}

static void reference_triangle(ht_context *ctx, hti_triangle side, ht_array out,
                               ht_array x, ht_array y)
{
    (void)ctx;
    for (int64_t k = 0; k < matrices(&out); k++) {
        ht_array o = matrix_of(&out, k), a = matrix_of(&x, k), b = matrix_of(&y, k);
        for (int64_t i = 0; i < o.shape.dim[0]; i++)
            for (int64_t j = 0; j < o.shape.dim[1]; j++)
                hti_write(&o, i * o.stride[0] + j * o.stride[1],
                          triangle_entry(side, &a, &b, i, j));
    }
}

static size_t reference_conv_workspace(const ht_context *ctx, hti_conv_side side,
                                       ht_dtype dtype, ht_shape x, ht_shape weight,
                                       ht_shape y, const hti_conv_geometry *geometry)
{
    (void)ctx, (void)dtype, (void)geometry;
    const ht_shape *of = side == HTI_CONV_X ? &x : side == HTI_CONV_W ? &weight : &y;
    return hti_round_up((size_t)ht_shape_count(*of) * sizeof(double), HTI_ALIGN);
}

/* One convolution: its three arrays, and the sums that become one of them. */
typedef struct conv_sums {
    ht_array x, w, y;
    hti_conv_side side;
    double *sum;
} conv_sums;

static int64_t place(const ht_array *a, const int64_t *i)
{
    return ((i[0] * a->shape.dim[1] + i[1]) * a->shape.dim[2] + i[2]) * a->shape.dim[3] +
           i[3];
}

static double at_place(const ht_array *a, const int64_t *i)
{
    return hti_read(a, i[0] * a->stride[0] + i[1] * a->stride[1] + i[2] * a->stride[2] +
                           i[3] * a->stride[3]);
}

/* The term of three elements goes to the one that is the result. */
static void conv_term(const conv_sums *s, const int64_t *x, const int64_t *w,
                      const int64_t *y)
{
    if (s->side == HTI_CONV_Y)
        s->sum[place(&s->y, y)] += at_place(&s->w, w) * at_place(&s->x, x);
    else if (s->side == HTI_CONV_X)
        s->sum[place(&s->x, x)] += at_place(&s->w, w) * at_place(&s->y, y);
    else
        s->sum[place(&s->w, w)] += at_place(&s->x, x) * at_place(&s->y, y);
}

/* The terms of y's element `i`: n, o and a place. */
static void conv_terms(const conv_sums *s, const hti_conv_geometry *g, const int64_t *i)
{
    const int64_t *n = s->w.shape.dim;
    for (int64_t c = 0; c < n[1]; c++)
        for (int64_t p = 0; p < n[2]; p++)
            for (int64_t q = 0; q < n[3]; q++) {
                int64_t group = i[1] / (n[0] / g->groups);
                int64_t row = i[2] * g->stride[0] - g->padding[0] + p * g->dilation[0];
                int64_t col = i[3] * g->stride[1] - g->padding[1] + q * g->dilation[1];
                if (row >= 0 && row < s->x.shape.dim[2] && col >= 0 &&
                    col < s->x.shape.dim[3])
                    conv_term(s, (int64_t[]){i[0], group * n[1] + c, row, col},
                              (int64_t[]){i[1], c, p, q}, i);
            }
}

static void reference_conv(ht_context *ctx, hti_conv_side side, ht_array x,
                           ht_array weight, ht_array y, const hti_conv_geometry *geometry,
                           void *workspace)
{
    (void)ctx;
    conv_sums s = {x, weight, y, side, workspace};
    const ht_array *out = side == HTI_CONV_Y ? &y : side == HTI_CONV_X ? &x : &weight;
    const int64_t *n = y.shape.dim;
    for (int64_t i = 0; i < ht_shape_count(out->shape); i++) s.sum[i] = 0;
    for (int64_t k = 0; k < ht_shape_count(y.shape); k++)
        conv_terms(&s, geometry,
                   (int64_t[]){k / n[3] / n[2] / n[1], k / n[3] / n[2] % n[1],
                               k / n[3] % n[2], k % n[3]});
    for (int64_t i = 0; i < ht_shape_count(out->shape); i++)
        hti_put_element(out, i, s.sum[i]);
}

void hti_reference_products(struct hti_kernels *kernels)
{
    kernels->matmul = hti_run_matmul_reference;
    kernels->matmul_add = reference_matmul_add;
    kernels->matmul_adds = reference_matmul_adds;
    kernels->matmul_block = reference_matmul_block;
    kernels->matmul_room = reference_matmul_room;
    kernels->triangle = reference_triangle;
    kernels->conv = reference_conv;
    kernels->conv_workspace = reference_conv_workspace;
}
