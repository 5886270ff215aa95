/* SPDX-License-Identifier: MIT */
/* project.c: Euclidean projection onto the capped simplex, the constraint that keeps data
 * weights in [0, 1] and their sum in a budget.
 *
 * The nearest point to x of {0 <= y <= 1, sum y <= R} is y = clip(x - tau, 0, 1): tau = 0
 * if that is inside, else the tau > 0 with sum y = R (tau is the multiplier of the
 * budget). sum clip(x - tau, 0, 1) is piecewise linear and falls as tau grows, with kinks
 * where an element becomes positive (tau = x_i) or full (tau = x_i - 1). The sorted x
 * give both lists of kinks in order; a merge of the two walks tau down to the piece that
 * holds R. Compare W. Wang and C. Lu, arXiv:1503.01002. Read next: ht_bilevel.h. */
#include "ht_bilevel.h"

#include <float.h>
#include <math.h>

#include "tensor_internal.h"

/* tau = base + offset. base is an element of x near tau, so that x - base is small or
 * exact and large elements lose nothing. */
typedef struct project_shift {
    double base, offset;
} project_shift;

/* A sum with its rounding error carried along (Kahan): error near one rounding, however
 * many terms. */
typedef struct project_sum {
    double sum, carry;
} project_sum;

static void project_add(project_sum *total, double term)
{
    double corrected = term - total->carry;
    double next = total->sum + corrected;
    total->carry = (next - total->sum) - corrected;
    total->sum = next;
}

static double project_clip(double x, project_shift tau)
{
    double y = (x - tau.base) - tau.offset;
    return y < 0 ? 0 : y > 1 ? 1 : y;
}

/* sum of clip(x - tau, 0, 1) as x's dtype would store it. */
static double project_clipped_sum(const ht_tensor *x, project_shift tau)
{
    bool narrow = ht_tensor_dtype(x) == HT_F32;
    project_sum total = {0};
    for (int64_t i = 0; i < ht_tensor_count(x); i++) {
        double y = project_clip(ht_tensor_get(x, i), tau);
        project_add(&total, narrow ? (double)(float)y : y);
    }
    return total.sum;
}

/* Restores the heap rule (no parent above its children) below node i of v's first n. */
static void project_sift(double *v, int64_t n, int64_t i)
{
    double sinking = v[i];
    for (int64_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && v[child + 1] < v[child]) child++;
        if (sinking <= v[child]) break;
        v[i] = v[child];
        i = child;
    }
    v[i] = sinking;
}

/* Heapsort, largest first: in place, where qsort may allocate behind the context's back.
 */
static void project_sort(double *v, int64_t n)
{
    for (int64_t i = n / 2; i-- > 0;) project_sift(v, n, i);
    for (int64_t end = n - 1; end > 0; end--) {
        double least = v[0];
        v[0] = v[end];
        v[end] = least;
        project_sift(v, end, 0);
    }
}

/* The positive elements of x in descending order, to v; returns how many. As tau >= 0, no
 * other can exceed it. */
static int64_t project_gather(const ht_tensor *x, double *v)
{
    int64_t n = 0;
    for (int64_t i = 0; i < ht_tensor_count(x); i++) {
        double value = ht_tensor_get(x, i);
        if (value > 0) v[n++] = value;
    }
    project_sort(v, n);
    return n;
}

/* tau of v[0] >= v[1] >= ... >= v[n-1] > 0, n > 0, with the budget R = radius >= 0
 * exceeded at tau = 0. On the way down v[0 .. full) are 1, v[full .. entered) strictly
 * between, the rest 0; tau is kink - one (one is 0 or 1) and `sum` the sum there. On the
 * piece found, full + sum of (v_i - tau) over [full, entered) = R. */
static project_shift project_solve(const double *v, int64_t n, double radius)
{
    int64_t entered = 1, full = 0;
    double kink = v[0], one = 0;
    project_sum sum = {0};
    for (;;) {
        bool enters = entered < n && v[full] - v[entered] < 1;
        if (!enters && full + 1 == n) break;
        double next_kink = enters ? v[entered] : v[full], next_one = enters ? 0 : 1;
        double step = (kink - next_kink) + (next_one - one);
        project_add(&sum, (double)(entered - full) * step);
        if (sum.sum >= radius) break;
        kink = next_kink;
        one = next_one;
        *(enters ? &entered : &full) += 1;
    }
    project_sum excess = {(double)full, 0};
    project_add(&excess, -radius);
    for (int64_t i = full; i < entered; i++) project_add(&excess, v[i] - v[full]);
    return (project_shift){v[full], excess.sum / (double)(entered - full)};
}

static bool project_accepts(const ht_tensor *x, double radius)
{
    ht_context *ctx = ht_tensor_context(x);
    ht_dtype dtype = ht_tensor_dtype(x);
    if (!hti_dtype_is_float(dtype)) {
        ht_context_fail(ctx, HT_ERROR_DTYPE, NULL,
                        "ht_project_capped_simplex: expected f32 or f64, got %s\n"
                        "hint: only real numbers can be projected",
                        ht_dtype_name(dtype));
        return false;
    }
    if (!(radius >= 0)) {
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "ht_project_capped_simplex: expected radius >= 0, got %g\n"
                        "hint: it bounds a sum of elements of [0, 1]",
                        radius);
        return false;
    }
    for (int64_t i = 0; i < ht_tensor_count(x); i++) {
        double value = ht_tensor_get(x, i);
        if (isfinite(value)) continue;
        ht_context_fail(
            ctx, HT_ERROR_ARGUMENT, NULL,
            "ht_project_capped_simplex: expected finite elements, got %g at %lld\n"
            "hint: the step before this projection diverged",
            value, (long long)i);
        return false;
    }
    return true;
}

/* tau for an x outside. Rounding may leave the stored sum above the radius: then tau
 * grows by the excess, by twice that, and so on, until it does not. False: no memory. */
static bool project_find(const ht_tensor *x, double radius, project_shift *tau)
{
    ht_context *ctx = ht_tensor_context(x);
    size_t bytes = (size_t)ht_tensor_count(x) * sizeof(double);
    double *v = hti_resize(ctx, NULL, 0, bytes);
    if (!v) return false;
    int64_t n = project_gather(x, v);
    *tau = project_solve(v, n, radius);
    hti_resize(ctx, v, bytes, 0);
    double sum = project_clipped_sum(x, *tau);
    /* DBL_MIN: the quotient may underflow to 0. */
    double push = (sum - radius) / (double)n + DBL_MIN;
    while (sum > radius) {
        tau->offset += push;
        push *= 2;
        sum = project_clipped_sum(x, *tau);
    }
    return true;
}

/* The sum of the stored elements, taken in order with Kahan's correction, is at most
 * radius: projecting twice changes nothing. Each element is within a few roundings (of
 * its dtype, at 1) of the exact projection; x inside is left as it is. */
void ht_project_capped_simplex(ht_tensor *x, double radius)
{
    HT_ASSERT(x, "ht_project_capped_simplex: x %p, radius %g", (const void *)x, radius);
    if (!project_accepts(x, radius)) return;
    project_shift tau = {0};
    bool outside = project_clipped_sum(x, tau) > radius;
    if (outside && !project_find(x, radius, &tau)) return;
    for (int64_t i = 0; i < ht_tensor_count(x); i++)
        ht_tensor_set(x, i, project_clip(ht_tensor_get(x, i), tau));
}
