/* SPDX-License-Identifier: MIT */
/* reduce.c: sums, maxima, moments and running sums over lines of any axes.
 * Read next: rows.c. */
#include "reference.h"

/* i32: in int64, and wraps. */
static void sum_integers(const hti_lines *from, const hti_lines *to, int64_t k)
{
    int64_t sum = 0;
    for (int64_t j = 0; j < from->n; j++) sum += (int64_t)hti_get(from, k, j);
    hti_put(to, k, 0, (int32_t)(uint32_t)sum);
}

static double line_sum(const hti_lines *l, int64_t k, double divisor)
{
    hti_long_sum sum = {0};
    for (int64_t j = 0; j < l->n; j++) hti_add(&sum, hti_get(l, k, j));
    return hti_over(sum, divisor);
}

static double line_most(const hti_lines *l, int64_t k)
{
    double most = -INFINITY;
    for (int64_t j = 0; j < l->n; j++) {
        double x = hti_get(l, k, j);
        if (x > most || isnan(x)) most = x;
        if (isnan(x)) break;
    }
    return most;
}

static void reference_reduce(ht_context *ctx, hti_reduce f, ht_array out, ht_array a,
                             unsigned axes)
{
    (void)ctx;
    hti_lines from = hti_lines_of(a, axes), to = hti_lines_of(out, axes);
    for (int64_t k = 0; k < to.lines; k++)
        if (a.dtype == HT_I32)
            sum_integers(&from, &to, k);
        else
            hti_put(&to, k, 0,
                    f == HTI_SUM ? line_sum(&from, k, 1) : line_most(&from, k));
}

/* The mean of sums is off by their rounding, which is made good once. */
double hti_line_mean(const hti_lines *l, int64_t k, double *rest)
{
    double n = (double)l->n, mean = line_sum(l, k, n);
    for (int again = 0; again < 2; again++) {
        hti_long_sum left = {0};
        for (int64_t j = 0; j < l->n; j++) hti_add(&left, hti_get(l, k, j) - mean);
        *rest = isfinite(mean) ? hti_over(left, n) : 0;
        if (!again) mean += isfinite(*rest) ? *rest : 0;
    }
    return mean;
}

/* sqrt(sum of (a - centre)^2) as root times size, the largest of them: no square leaves
 * the range. */
static double line_norm(const hti_lines *l, int64_t k, double centre, double *size)
{
    double most = 0, squares = 0;
    for (int64_t j = 0; j < l->n; j++) {
        double x = fabs(hti_get(l, k, j) - centre);
        if (x > most || isnan(x)) most = x;
        if (isnan(x)) break;
    }
    *size = most;
    if (most == 0 || !isfinite(most)) return 1;
    for (int64_t j = 0; j < l->n; j++) {
        double x = (hti_get(l, k, j) - centre) / most;
        squares += x * x;
    }
    return sqrt(squares);
}

static double line_variance(const hti_lines *l, int64_t k, double divisor)
{
    double rest, size, mean = hti_line_mean(l, k, &rest);
    double root = line_norm(l, k, mean, &size), off = size > 0 ? rest / size : 0;
    double squares = root * root - (double)l->n * off * off;
    if (isnan(mean)) return mean;
    return size * ((squares < 0 ? 0 : squares) / divisor) * size;
}

static double line_scaled_norm(const hti_lines *l, int64_t k)
{
    hti_norm_range range = hti_norm_range_of(l->start.dtype);
    double size, root = line_norm(l, k, 0, &size);
    double norm = hti_rounded(l->start.dtype, root * size);
    if (norm > range.most) return root * (size * range.down);
    return norm < range.least ? root * (size * range.up) : root * size;
}

static void reference_moment(ht_context *ctx, hti_reduce f, ht_array out, ht_array a,
                             unsigned axes, double divisor)
{
    (void)ctx;
    hti_lines from = hti_lines_of(a, axes), to = hti_lines_of(out, axes);
    for (int64_t k = 0; k < to.lines; k++) {
        double value, other;
        if (f == HTI_MEAN && a.dtype == HT_F32) /* exact enough, and as a fused one */
            value = line_sum(&from, k, (double)from.n);
        else if (f == HTI_MEAN)
            value = hti_line_mean(&from, k, &other);
        else if (f == HTI_VARIANCE)
            value = line_variance(&from, k, divisor);
        else if (f == HTI_SCALED_NORM)
            value = line_scaled_norm(&from, k);
        else
            value = line_norm(&from, k, 0, &other) * other;
        hti_put(&to, k, 0, value);
    }
}

static void reference_cumsum(ht_context *ctx, ht_array out, ht_array a, int axis,
                             bool backward)
{
    (void)ctx;
    hti_lines from = hti_lines_of(a, 1u << axis), to = hti_lines_of(out, 1u << axis);
    for (int64_t k = 0; k < to.lines; k++) {
        hti_long_sum sum = {0};
        for (int64_t i = 0; i < to.n; i++) {
            int64_t j = backward ? to.n - 1 - i : i;
            hti_add(&sum, hti_get(&from, k, j));
            hti_put(&to, k, j, hti_over(sum, 1));
        }
    }
}

void hti_reference_reduce(struct hti_kernels *kernels)
{
    kernels->reduce = reference_reduce;
    kernels->moment = reference_moment;
    kernels->cumsum = reference_cumsum;
}
