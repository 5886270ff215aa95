/* SPDX-License-Identifier: MIT */
/* reference.h: what the reference kernels are written in: hti_read and hti_write, sums of
 * doubles, and lines: the elements that meet in one result. Read next: elementwise.c,
 * rows.c. */
#ifndef HTI_REFERENCE_H
#define HTI_REFERENCE_H

#include <math.h>

#include "kernels.h"

/* x as a float of that dtype holds it. */
static inline double hti_rounded(ht_dtype dtype, double x)
{
    return dtype == HT_F32 ? (double)(float)x : x;
}

/* A sum that may leave the range of doubles on its way and come back. */
typedef struct hti_long_sum {
    double plain, small; /* small: of 2^-64 times the terms */
} hti_long_sum;

static inline void hti_add(hti_long_sum *sum, double x)
{
    sum->plain += x;
    sum->small += x * 0x1p-64;
}

/* The sum / divisor. */
static inline double hti_over(hti_long_sum sum, double divisor)
{
    return isfinite(sum.plain) ? sum.plain / divisor : sum.small / divisor / 0x1p-64;
}

/* Lines of a along some axes (bit i: axis i): element j of line k, each counted in
 * row-major order, `lines` of `n` elements. */
typedef struct hti_lines {
    ht_array start, along; /* a, of size 1 in those axes; and in the others */
    int64_t lines, n;
} hti_lines;

static inline hti_lines hti_lines_of(ht_array a, unsigned axes)
{
    hti_lines l = {.start = a, .along = a};
    for (int i = 0; i < a.shape.rank; i++)
        (axes >> i & 1 ? &l.start : &l.along)->shape.dim[i] = 1;
    l.lines = ht_shape_count(l.start.shape);
    l.n = ht_shape_count(l.along.shape);
    return l;
}

/* Rows are lines along the last axis. */
static inline hti_lines hti_rows_of(ht_array a)
{
    return hti_lines_of(a, 1u << (a.shape.rank - 1));
}

static inline double hti_get(const hti_lines *l, int64_t k, int64_t j)
{
    return hti_read(&l->start, hti_offset(&l->start, k) + hti_offset(&l->along, j));
}

static inline void hti_put(const hti_lines *l, int64_t k, int64_t j, double x)
{
    hti_write(&l->start, hti_offset(&l->start, k) + hti_offset(&l->along, j), x);
}

/* Element k of an array, in row-major order, written; hti_element reads it. */
static inline void hti_put_element(const ht_array *a, int64_t k, double x)
{
    hti_write(a, hti_offset(a, k), x);
}

/* The mean of line k and, in *rest, that of what is left of the numbers about it. */
double hti_line_mean(const hti_lines *l, int64_t k, double *rest);

/* Element k of an i32 index. */
static inline int64_t hti_index(const ht_array *index, int64_t k)
{
    return (int64_t)hti_element(index, k);
}

/* Each file's kernels, into the table. */
void hti_reference_elementwise(struct hti_kernels *kernels);
void hti_reference_reduce(struct hti_kernels *kernels);
void hti_reference_rows(struct hti_kernels *kernels);
void hti_reference_project(struct hti_kernels *kernels);
void hti_reference_index(struct hti_kernels *kernels);
void hti_reference_products(struct hti_kernels *kernels);
void hti_reference_attention(struct hti_kernels *kernels);
void hti_reference_windows(struct hti_kernels *kernels);

#endif
