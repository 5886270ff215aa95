/* SPDX-License-Identifier: MIT */
/* guard.c: whether a hypergradient is one to follow. Read next: minimize.c. */
#include <math.h>
#include <stdarg.h>

#include "outer.h"

/* Norms. */

/* Sum of squares in units of `size`, the largest there is: no square overflows. */
static double squares(const ht_tensor *t, double size)
{
    double sum = 0;
    int64_t n = ht_tensor_count(t);
    const void *x = t->array.data;
    if (ht_tensor_dtype(t) == HT_F64)
        for (int64_t i = 0; i < n; i++) {
            double d = ((const double *)x)[i] / size;
            sum += d * d;
        }
    else
        for (int64_t i = 0; i < n; i++) {
            double d = (double)((const float *)x)[i] / size;
            sum += d * d;
        }
    return sum;
}

double hti_set_norm(const ht_set *set)
{
    double size = hti_largest(set, NULL), sum = 0;
    if (!(size > 0) || isinf(size)) return size;
    for (int i = 0; i < set->n; i++) sum += squares(set->tensor[i], size);
    return size * sqrt(sum);
}

static void shorten(ht_set *set, double factor)
{
    for (int i = 0; i < set->n; i++) {
        ht_tensor *t = set->tensor[i];
        int64_t n = ht_tensor_count(t);
        double *wide = t->array.data;
        float *narrow = t->array.data;
        if (ht_tensor_dtype(t) == HT_F64)
            for (int64_t k = 0; k < n; k++) wide[k] *= factor;
        else
            for (int64_t k = 0; k < n; k++)
                narrow[k] = (float)((double)narrow[k] * factor);
        hti_tensor_write(t, "ht_bilevel_minimize", NULL);
    }
}

/* The norms so far. */

static void keep(hti_outer *r, double norm)
{
    r->at.norm[(int64_t)r->at.n_norms % HTI_NORMS] = norm;
    r->at.n_norms++;
}

/* 0: too few. */
static double median(const hti_numbers *at)
{
    double sorted[HTI_NORMS];
    int n = at->n_norms < HTI_NORMS ? (int)at->n_norms : HTI_NORMS;
    if (n < HTI_NORMS_LEAST) return 0;
    for (int i = 0; i < n; i++) {
        int k = i;
        for (; k > 0 && sorted[k - 1] > at->norm[i]; k--) sorted[k] = sorted[k - 1];
        sorted[k] = at->norm[i];
    }
    return sorted[n / 2];
}

/* Judging. */

const char *hti_outer_say(hti_outer *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->b->why, HTI_NOTE, format, args);
    va_end(args);
    return r->b->why;
}

static void say_not_finite(hti_outer *r)
{
    static const char *const where[] = {"hypergradient", "inner training", "outer loss",
                                        "derivative of the training"};
    const ht_bilevel_result *got = &r->now.result;
    r->now.why =
        hti_outer_say(r, "the %s is not finite, from step %lld of its run on (op %s)",
                      where[got->bad_where], (long long)got->bad_step,
                      got->bad_op ? got->bad_op : "unknown");
}

ht_outer_did hti_guard(hti_outer *r)
{
    double norm = r->now.gradient, usual = median(&r->at);
    if (!isfinite(norm) || r->now.result.bad_step >= 0) {
        say_not_finite(r);
        return HT_OUTER_REFUSED;
    }
    bool grown = usual > 0 && norm / usual > HTI_GUARD_GROWTH;
    if (!grown || r->o->guard == HT_GUARD_OFF) {
        keep(r, norm);
        return HT_OUTER_MOVED;
    }
    r->now.why =
        hti_outer_say(r, "|gradient| %.3g is %.1e times the median of the last %d, %.3g",
                      norm, norm / usual, HTI_NORMS, usual);
    if (r->o->guard != HT_GUARD_CLIP) return HT_OUTER_REFUSED;
    keep(r, norm);
    shorten(r->b->problem.gradient, HTI_GUARD_GROWTH * usual / norm);
    return HT_OUTER_CLIPPED;
}
