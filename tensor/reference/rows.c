/* SPDX-License-Identifier: MIT */
/* rows.c: softmax and its kin, their derivatives, and rows of mean 0 and mean square 1,
 * along the last axis. Read next: index.c. */
#include "reference.h"

/* A row of softmax: its largest element and, of exp(x - most), the sum without one 1. */
typedef struct row_powers {
    int64_t top;
    double most, others;
} row_powers;

static row_powers powers_of(const hti_lines *l, int64_t k)
{
    row_powers p = {0, hti_get(l, k, 0), 0};
    for (int64_t j = 1; j < l->n; j++)
        if (hti_get(l, k, j) > p.most) p = (row_powers){j, hti_get(l, k, j), 0};
    for (int64_t j = 0; j < l->n; j++) {
        double less = hti_get(l, k, j) - p.most; /* inf - inf is NaN, at the top too */
        p.others += j == p.top ? less : exp(less);
    }
    return p;
}

static double share(const hti_lines *l, const row_powers *p, int64_t k, int64_t j)
{
    return exp(hti_get(l, k, j) - p->most) / (1 + p->others);
}

static double log_share(const hti_lines *l, const row_powers *p, int64_t k, int64_t j)
{
    return hti_get(l, k, j) - p->most - log1p(p->others);
}

static void reference_softmax(ht_context *ctx, ht_array out, ht_array a)
{
    (void)ctx;
    hti_lines from = hti_rows_of(a), to = hti_rows_of(out);
    for (int64_t k = 0; k < to.lines && to.n > 0; k++) {
        row_powers p = powers_of(&from, k);
        for (int64_t j = 0; j < to.n; j++) hti_put(&to, k, j, share(&from, &p, k, j));
    }
}

static void reference_log_softmax(ht_context *ctx, ht_array out, ht_array a)
{
    (void)ctx;
    hti_lines from = hti_rows_of(a), to = hti_rows_of(out);
    for (int64_t k = 0; k < to.lines && to.n > 0; k++) {
        row_powers p = powers_of(&from, k);
        for (int64_t j = 0; j < to.n; j++) hti_put(&to, k, j, log_share(&from, &p, k, j));
    }
}

static void reference_logsumexp(ht_context *ctx, ht_array out, ht_array a)
{
    (void)ctx;
    hti_lines from = hti_rows_of(a);
    for (int64_t k = 0; k < from.lines && from.n > 0; k++) {
        row_powers p = powers_of(&from, k);
        double value = p.most + log1p(p.others);
        if (isinf(p.most)) value = p.most;
        for (int64_t j = 0; j < from.n; j++)
            if (isnan(hti_get(&from, k, j))) value = NAN;
        hti_put_element(&out, k, value);
    }
}

static int64_t reference_cross_entropy(ht_context *ctx, ht_array out, ht_array a,
                                       ht_array labels)
{
    (void)ctx;
    hti_lines from = hti_rows_of(a);
    int64_t bad = hti_first_outside(&labels, from.n);
    for (int64_t k = 0; k < from.lines && bad < 0; k++) {
        row_powers p = powers_of(&from, k);
        hti_put_element(&out, k, -log_share(&from, &p, k, hti_index(&labels, k)));
    }
    return bad;
}

/* p - 1 of a label near 1 is what the others add up to. */
static int64_t reference_cross_entropy_slope(ht_context *ctx, ht_array out, ht_array a,
                                             ht_array labels)
{
    (void)ctx;
    hti_lines from = hti_rows_of(a), to = hti_rows_of(out);
    int64_t bad = hti_first_outside(&labels, from.n);
    for (int64_t k = 0; k < from.lines && bad < 0; k++) {
        row_powers p = powers_of(&from, k);
        int64_t label = hti_index(&labels, k);
        double at_label = share(&from, &p, k, label), others = 0;
        for (int64_t j = 0; j < from.n; j++) {
            double x = share(&from, &p, k, j);
            others += j == label ? 0 : x;
            hti_put(&to, k, j, x);
        }
        hti_put(&to, k, label, at_label > 0.5 ? -others : at_label - 1);
    }
    return bad;
}

static void reference_argmax(ht_context *ctx, ht_array out, ht_array a)
{
    (void)ctx;
    hti_lines from = hti_rows_of(a);
    for (int64_t k = 0; k < from.lines; k++) {
        int64_t best = 0;
        for (int64_t j = 1; j < from.n; j++) {
            double x = hti_get(&from, k, j), most = hti_get(&from, k, best);
            if (x > most || (isnan(x) && !isnan(most))) best = j;
        }
        hti_put_element(&out, k, (double)best);
    }
}

/* Derivatives of softmax: row k of x, v and t, e = exp(x - most). Operands 0 and 1 are v
 * and t, 2 is z = rest v rest t, each counted from its mean where e is 1, and then from
 * the mean by e of what is left. */
typedef struct slope_row {
    hti_lines x, operand[2];
    int64_t k;
    row_powers p;
    double tops, reference[3], mean[3];
} slope_row;

static double slope_power(const slope_row *r, int64_t j)
{
    return exp(hti_get(&r->x, r->k, j) - r->p.most);
}

static double slope_rest(const slope_row *r, int which, int64_t j);

static double slope_operand(const slope_row *r, int which, int64_t j)
{
    return which < 2 ? hti_get(&r->operand[which], r->k, j)
                     : slope_rest(r, 0, j) * slope_rest(r, 1, j);
}

static double slope_rest(const slope_row *r, int which, int64_t j)
{
    return slope_operand(r, which, j) - r->reference[which] - r->mean[which];
}

static void slope_centre(slope_row *r, int which)
{
    double tops = 0, sum = 0;
    for (int64_t j = 0; j < r->x.n; j++)
        if (slope_power(r, j) >= 1) tops += slope_operand(r, which, j);
    r->reference[which] = tops / r->tops;
    for (int64_t j = 0; j < r->x.n; j++)
        sum += slope_power(r, j) * (slope_operand(r, which, j) - r->reference[which]);
    r->mean[which] = sum / (1 + r->p.others);
}

/* v - p sum(v); at a largest element v (1 - p) - p (sum(v) - v). */
static double slope_back(const slope_row *r, int64_t j)
{
    double e = slope_power(r, j), v = slope_operand(r, 0, j), sum = 0;
    for (int64_t i = 0; i < r->x.n; i++)
        if (i != j) sum += slope_operand(r, 0, i);
    if (e >= 1) return (v * r->p.others - sum) / (1 + r->p.others);
    return v - e / (1 + r->p.others) * (sum + v);
}

static double slope_value(const slope_row *r, hti_slope kind, int64_t j)
{
    double p = slope_power(r, j) / (1 + r->p.others);
    switch (kind) {
    case HTI_SLOPE_SLOPE:
        return p * slope_rest(r, 0, j);
    case HTI_SLOPE_BEND:
        return p * slope_rest(r, 2, j);
    case HTI_SLOPE_REST:
        return slope_rest(r, 0, j);
    default:
        return slope_back(r, j);
    }
}

static void reference_slope(ht_context *ctx, hti_slope kind, ht_array out,
                            const ht_array *const *in)
{
    (void)ctx;
    int bend = kind == HTI_SLOPE_BEND;
    slope_row r = {.x = hti_rows_of(*in[0])};
    hti_lines to = hti_rows_of(out);
    for (int i = 0; i <= bend; i++) r.operand[i] = hti_rows_of(*in[i + 1]);
    for (r.k = 0; r.k < to.lines && to.n > 0; r.k++) {
        r.p = powers_of(&r.x, r.k);
        r.tops = 0;
        for (int64_t j = 0; j < to.n; j++) r.tops += slope_power(&r, j) >= 1;
        for (int i = 0; i < (bend ? 3 : 1); i++) slope_centre(&r, i);
        for (int64_t j = 0; j < to.n; j++) hti_put(&to, r.k, j, slope_value(&r, kind, j));
    }
}

/* Rows to mean 0 and mean square 1: y = (a - mean) s. */
typedef struct normal_row {
    hti_lines a;
    int64_t k;
    double mean, s;
    bool centred;
} normal_row;

static double normal_y(const normal_row *r, int64_t j)
{
    return (hti_get(&r->a, r->k, j) - r->mean) * r->s;
}

/* s = 1 / sqrt(mean of squares + eps); hypot, so that no square leaves the range. */
static void normal_start(normal_row *r, int64_t k, double eps)
{
    double rest, root = sqrt(eps), scale = 1 / sqrt((double)r->a.n);
    r->k = k;
    r->mean = r->centred ? hti_line_mean(&r->a, k, &rest) : 0;
    for (int64_t j = 0; j < r->a.n; j++)
        root = hypot(root, (hti_get(&r->a, k, j) - r->mean) * scale);
    r->s = 1 / root;
}

static void normal_values(ht_array out, const ht_array *const *in, double eps,
                          bool centred)
{
    normal_row r = {.a = hti_rows_of(*in[0]), .centred = centred};
    hti_lines to = hti_rows_of(out);
    for (int64_t k = 0; k < to.lines && to.n > 0; k++) {
        normal_start(&r, k, eps);
        for (int64_t j = 0; j < to.n; j++) hti_put(&to, k, j, normal_y(&r, j));
    }
}

/* An operand's mean, 0 if not centred, and that of its product with y. */
static double normal_along(const normal_row *r, const hti_lines *v, double *mean)
{
    hti_long_sum sum = {0};
    double rest;
    *mean = r->centred ? hti_line_mean(v, r->k, &rest) : 0;
    for (int64_t j = 0; j < v->n; j++)
        hti_add(&sum, normal_y(r, j) * hti_get(v, r->k, j));
    return hti_over(sum, (double)v->n);
}

static void normal_slopes(ht_array out, const ht_array *const *in, double eps,
                          bool centred)
{
    normal_row r = {.a = hti_rows_of(*in[0]), .centred = centred};
    hti_lines v = hti_rows_of(*in[1]), to = hti_rows_of(out);
    for (int64_t k = 0; k < to.lines && to.n > 0; k++) {
        normal_start(&r, k, eps);
        double mean, b = normal_along(&r, &v, &mean);
        for (int64_t j = 0; j < to.n; j++)
            hti_put(&to, k, j, r.s * (hti_get(&v, k, j) - mean - normal_y(&r, j) * b));
    }
}

static void normal_bends(ht_array out, const ht_array *const *in, double eps,
                         bool centred)
{
    normal_row r = {.a = hti_rows_of(*in[0]), .centred = centred};
    hti_lines v = hti_rows_of(*in[1]), t = hti_rows_of(*in[2]), to = hti_rows_of(out);
    for (int64_t k = 0; k < to.lines && to.n > 0; k++) {
        normal_start(&r, k, eps);
        double v_mean, t_mean, vt = 0;
        double b = normal_along(&r, &v, &v_mean), a = normal_along(&r, &t, &t_mean);
        for (int64_t j = 0; j < to.n; j++)
            vt += (hti_get(&v, k, j) - v_mean) * (hti_get(&t, k, j) - t_mean);
        for (int64_t j = 0; j < to.n; j++)
            hti_put(&to, k, j,
                    -r.s * r.s *
                        (a * (hti_get(&v, k, j) - v_mean) +
                         b * (hti_get(&t, k, j) - t_mean) +
                         (vt / (double)to.n - 3 * a * b) * normal_y(&r, j)));
    }
}

static void reference_normalize(ht_context *ctx, ht_array out, int n_in,
                                const ht_array *const *in, double eps, bool centred)
{
    (void)ctx;
    (n_in == 1   ? normal_values
     : n_in == 2 ? normal_slopes
                 : normal_bends)(out, in, eps, centred);
}

void hti_reference_rows(struct hti_kernels *kernels)
{
    kernels->argmax = reference_argmax;
    kernels->softmax = reference_softmax;
    kernels->log_softmax = reference_log_softmax;
    kernels->logsumexp = reference_logsumexp;
    kernels->cross_entropy = reference_cross_entropy;
    kernels->cross_entropy_slope = reference_cross_entropy_slope;
    kernels->slope = reference_slope;
    kernels->normalize = reference_normalize;
}
