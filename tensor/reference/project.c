/* SPDX-License-Identifier: MIT */
/* project.c: the nearest point of a set to each row, and which elements move it.
 *
 * All three sets are {0 <= z <= cap, sum z <= r or = r} of z = x, or of z = |x| with x's
 * signs. The nearest point is z = clip(z - tau, 0, cap): tau = 0 if that is inside, else
 * the tau with sum z = r (the multiplier of the sum). The sum is piecewise linear and
 * falls as tau grows, with kinks where an element becomes positive (tau = z_i) or full
 * (tau = z_i - cap). The sorted z give both lists of kinks in order; a merge of the two
 * walks tau down to the piece that holds r. Compare W. Wang and C. Lu, arXiv:1503.01002.
 * Read next: kernels.h, tensor/kernels/project.c. */
#include <float.h>

#include "reference.h"

/* tau = base + offset. base is the element of the row that tau is nearest to from above,
 * so that z - base is exact or small and large elements lose nothing. */
typedef struct project_shift {
    double base, offset;
} project_shift;

/* n elements of a from `start` on, and where they stand: their sum is held at the radius,
 * or free. */
typedef struct project_row {
    const ht_array *a;
    int64_t start, step, n;
    hti_projection set;
    double radius, cap;
    project_shift tau;
    bool held;
} project_row;

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

static double project_x(const project_row *r, int64_t j)
{
    return hti_read(r->a, r->start + j * r->step);
}

static double project_z(const project_row *r, int64_t j)
{
    return r->set == HTI_L1_BALL ? fabs(project_x(r, j)) : project_x(r, j);
}

static double project_sign(const project_row *r, int64_t j)
{
    return r->set == HTI_L1_BALL ? copysign(1, project_x(r, j)) : 1;
}

static double project_moved(const project_row *r, int64_t j)
{
    return (project_z(r, j) - r->tau.base) - r->tau.offset;
}

static double project_clip(const project_row *r, int64_t j)
{
    double z = project_moved(r, j);
    return z < 0 ? 0 : z > r->cap ? r->cap : z;
}

/* The sum of the nearest point's elements as their dtype stores them. */
static double project_stored_sum(const project_row *r)
{
    project_sum total = {0};
    for (int64_t j = 0; j < r->n; j++)
        project_add(&total, hti_rounded(r->a->dtype, project_clip(r, j)));
    return total.sum;
}

/* Whether there is a nearest point: an element of -inf is 0 in it, but where |x| counts;
 * a simplex has one if an element is left. */
static bool project_exists(const project_row *r)
{
    bool simplex = r->set == HTI_SIMPLEX, any = !simplex;
    for (int64_t j = 0; j < r->n; j++) {
        double z = project_z(r, j);
        if (!(z < (double)INFINITY)) return false;
        any = any || z > -(double)INFINITY;
    }
    return any && r->radius >= 0 && !(simplex && isinf(r->radius));
}

/* Whether tau = 0 does. Of a simplex, a row that its dtype can't hold nearer to it does
 * too: so projecting twice changes nothing. */
static bool project_inside(const project_row *r)
{
    double sum = project_stored_sum(r),
           u = r->a->dtype == HT_F32 ? FLT_EPSILON : DBL_EPSILON;
    if (r->set != HTI_SIMPLEX) return sum <= r->radius;
    for (int64_t j = 0; j < r->n; j++)
        if (project_z(r, j) < 0) return false;
    return fabs(sum - r->radius) <= 4 * u * r->radius;
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

/* The elements that may exceed tau, largest first, to v; returns how many. Where none is
 * ever full, tau is at least the largest less the radius, whose rounding may be such an
 * element; and below 0 it is only on a simplex. */
static int64_t project_gather(const project_row *r, double *v)
{
    int64_t n = 0;
    double most = -(double)INFINITY;
    for (int64_t j = 0; j < r->n; j++) most = fmax(most, project_z(r, j));
    double least = isinf(r->cap) ? most - r->radius : 0;
    for (int64_t j = 0; j < r->n; j++) {
        double z = project_z(r, j);
        if (z >= least && (z > 0 || r->set == HTI_SIMPLEX)) v[n++] = z;
    }
    project_sort(v, n);
    return n;
}

/* tau of v[0] >= v[1] >= ... >= v[n-1], n > 0, where the sum is R = radius >= 0. On the
 * way down v[0 .. full) are cap, v[full .. entered) strictly between, the rest 0; tau is
 * kink - drop (drop is 0 or cap) and `sum` the sum there. On the piece found, full cap +
 * sum of (v_i - tau) over [full, entered) = R. */
static project_shift project_solve(const double *v, int64_t n, double radius, double cap)
{
    int64_t entered = 1, full = 0;
    double kink = v[0], drop = 0;
    project_sum sum = {0};
    for (;;) {
        bool enters = entered < n && v[full] - v[entered] < cap;
        if (!enters && (full + 1 == n || isinf(cap))) break;
        double next_kink = enters ? v[entered] : v[full], next_drop = enters ? 0 : cap;
        double step = (kink - next_kink) + (next_drop - drop);
        project_add(&sum, (double)(entered - full) * step);
        if (sum.sum >= radius) break;
        kink = next_kink;
        drop = next_drop;
        *(enters ? &entered : &full) += 1;
    }
    double base = v[entered - 1];
    project_sum excess = {full ? (double)full * cap : 0, 0};
    project_add(&excess, -radius);
    for (int64_t i = full; i < entered; i++) project_add(&excess, v[i] - base);
    return (project_shift){base, excess.sum / (double)(entered - full)};
}

/* Rounding may leave the stored sum above the radius: then tau grows by the excess, by
 * twice that, and so on, until it does not. DBL_MIN: the quotient may underflow to 0. */
static void project_push(project_row *r)
{
    double sum = project_stored_sum(r);
    double push = (sum - r->radius) / (double)r->n + DBL_MIN;
    while (sum > r->radius) {
        r->tau.offset += push;
        push *= 2;
        sum = project_stored_sum(r);
    }
}

/* What tau is; false, if v is needed for that and NULL. */
static bool project_find(project_row *r, double *v)
{
    r->tau = (project_shift){0};
    bool inside = project_inside(r);
    r->held = !inside || r->set == HTI_SIMPLEX;
    if (inside || !v) return inside;
    int64_t n = project_gather(r, v);
    r->tau = project_solve(v, n, r->radius, r->cap);
    return true;
}

/* To out, from `at` on. */
static void project_values(project_row *r, const ht_array *out, int64_t at, bool exists)
{
    bool pushed = exists && r->held && r->set != HTI_SIMPLEX;
    if (pushed) project_push(r);
    for (int64_t j = 0; j < r->n; j++)
        hti_write(out, at + j,
                  exists ? copysign(project_clip(r, j), project_sign(r, j))
                         : (double)NAN);
}

/* Elements that move are not clipped, or at an end of [0, cap]. With the row none does
 * if the set is a point, or if all that would are full, since tau then has room below;
 * the radius moves them even so. */
static void project_slopes(const project_row *r, const ht_array *out, int64_t at,
                           bool exists)
{
    int64_t n = r->n, m = 0;
    bool below = false;
    for (int64_t j = 0; exists && j < n; j++) {
        double z = project_moved(r, j);
        m += z >= 0 && z <= r->cap;
        below = below || (z >= 0 && z < r->cap);
    }
    bool flat = r->held && (r->radius == 0 || !below);
    for (int64_t j = 0; j < n; j++) {
        double z = project_moved(r, j);
        double side = m && z >= 0 && z <= r->cap ? project_sign(r, j) : 0;
        hti_write(out, at + j, flat ? 0 : side);
        hti_write(out, at + n + j, r->held && m ? side / (double)m : 0);
    }
}

static bool reference_project(ht_context *ctx, hti_projection set, bool slopes,
                              ht_array out, ht_array a, ht_array radius, double *v)
{
    (void)ctx;
    int last = a.shape.rank - 1;
    hti_lines rows = hti_rows_of(a);
    project_row r = {.a = &a, .step = a.stride[last], .n = rows.n, .set = set};
    r.cap = set == HTI_CAPPED ? 1 : (double)INFINITY;
    for (int again = v ? 1 : 0; again < 2; again++)
        for (int64_t k = 0; k < rows.lines && r.n > 0; k++) {
            r.start = hti_offset(&rows.start, k);
            r.radius = hti_element(&radius, k);
            bool exists = project_exists(&r);
            if (exists && !project_find(&r, v)) return false;
            if (again && slopes)
                project_slopes(&r, &out, 2 * k * r.n, exists);
            else if (again)
                project_values(&r, &out, k * r.n, exists);
        }
    return true;
}

void hti_reference_project(struct hti_kernels *kernels)
{
    kernels->project = reference_project;
}
