/* SPDX-License-Identifier: MIT */
/* test_tensor_project.c: tensors projected and shrunk in place, by closed forms and by
 * bisection; ht_project_capped_simplex is test_bilevel_project.c.
 * Read next: tensor/kernels/project.c. */
#include <float.h>
#include <string.h>

#include "ht_tensor.h"
#include "test.h"

typedef ht_status project_fn(ht_tensor *x, double bound);

static ht_status nonnegative(ht_tensor *x, double bound)
{
    return ht_tensor_project_box(x, 0, bound);
}

static ht_status box(ht_tensor *x, double bound)
{
    return ht_tensor_project_box(x, -bound, bound);
}

enum { SETS = 8 };
static const struct set {
    const char *name;
    project_fn *f;
    bool shrinks; /* and so is no projection */
} sets[SETS] = {
    {"ht_tensor_project_box", nonnegative, false},
    {"ht_tensor_project_box", box, false},
    {"ht_tensor_project_simplex", ht_tensor_project_simplex, false},
    {"ht_tensor_project_capped", ht_tensor_project_capped, false},
    {"ht_tensor_project_l1", ht_tensor_project_l1, false},
    {"ht_tensor_project_l2", ht_tensor_project_l2, false},
    {"ht_tensor_soft_threshold", ht_tensor_soft_threshold, true},
    {"ht_tensor_group_soft_threshold", ht_tensor_group_soft_threshold, true},
};

static ht_tensor *matrix(ht_context *ctx, ht_dtype dtype, int64_t rows, int64_t n,
                         const double *values)
{
    ht_tensor *x = ht_tensor_new(ctx, dtype, HT_SHAPE(rows, n));
    assert_non_null(x);
    for (int64_t i = 0; i < rows * n; i++) ht_tensor_set(x, i, values[i]);
    return x;
}

static void projections_are_the_closed_forms(void **state)
{
    (void)state;
    static const struct {
        project_fn *f;
        double bound, at[6], want[6]; /* (2, 3) */
    } rows[] = {
        {nonnegative, (double)INFINITY, {-1, 0, 2, -0.5, 3, 9}, {0, 0, 2, 0, 3, 9}},
        {box, 1, {-3, -1, 0.5, 1, 2, -0.25}, {-1, -1, 0.5, 1, 1, -0.25}},
        {ht_tensor_project_simplex,
         1,
         {0.5, 0.75, 0.25, 3, 1, 2.5},
         {1. / 3, 7. / 12, 1. / 12, 0.75, 0, 0.25}},
        {ht_tensor_project_simplex,
         2,
         {-1, -1, -1, 0, 0, 2},
         {2. / 3, 2. / 3, 2. / 3, 0, 0, 2}},
        {ht_tensor_project_simplex,
         1,
         {1e30, 1e30, -1e30, 9, 0.25, 0},
         {0.5, 0.5, 0, 1, 0, 0}},
        {ht_tensor_project_simplex, 0, {7, 7, 1, -1, -2, -3}, {0}},
        {ht_tensor_project_capped,
         2,
         {7, 0.75, 0.5, -1, 0.5, 2},
         {1, 0.625, 0.375, 0, 0.5, 1}},
        {ht_tensor_project_l1,
         1,
         {0.25, -0.5, 0.25, -3, 2.5, 1},
         {0.25, -0.5, 0.25, -0.75, 0.25, 0}},
        {ht_tensor_project_l1, 0, {1, -2, 3, 0, 0, 0}, {0}},
        {ht_tensor_project_l2, 2.5, {3, 0, 4, 1, -1, 0.5}, {1.5, 0, 2, 1, -1, 0.5}},
        {ht_tensor_project_l2, 0, {3, 0, 4, 0, 0, 0}, {0}},
        {ht_tensor_soft_threshold,
         0.5,
         {2, -2, 0.5, -0.5, 0.75, 0},
         {1.5, -1.5, 0, 0, 0.25, 0}},
        {ht_tensor_soft_threshold,
         0,
         {2, -2, 0.5, -0.5, 0.75, 0},
         {2, -2, 0.5, -0.5, 0.75, 0}},
        {ht_tensor_group_soft_threshold,
         2.5,
         {3, 0, 4, 1, -1, 0.5},
         {1.5, 0, 2, 0, 0, 0}},
        {ht_tensor_group_soft_threshold, 0, {3, 0, 4, 0, 0, 0}, {3, 0, 4, 0, 0, 0}},
    };
    ht_context *ctx = ht_context_new(NULL);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++) {
            ht_tensor *x = matrix(ctx, dtype, 2, 3, rows[k].at);
            assert_int_equal(rows[k].f(x, rows[k].bound), HT_OK);
            for (int64_t i = 0; i < 6; i++)
                assert_near(ht_tensor_get(x, i), rows[k].want[i],
                            dtype == HT_F32 ? 3e-7 : 4e-16);
            ht_tensor_free(x);
        }
    ht_context_free(ctx);
}

/* A radius near the rounding of the largest element: who exceeds tau may lie on it. */
static void simplex_of_large_elements_loses_none(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *x = matrix(ctx, HT_F64, 1, 3, (const double[]){1e16 + 2, 1e16, 0});
    assert_int_equal(ht_tensor_project_simplex(x, 3), HT_OK);
    assert_near(ht_tensor_get(x, 0), 2.5, 0);
    assert_near(ht_tensor_get(x, 1), 0.5, 0);
    assert_near(ht_tensor_get(x, 2), 0, 0);
    ht_tensor_free(x);
    ht_context_free(ctx);
}

static double part(project_fn *f, double z, double shift)
{
    double most = f == ht_tensor_project_capped ? 1 : (double)INFINITY;
    return fmin(fmax(z - shift, 0), most);
}

/* A sum of terms of at least 0 with its rounding error beside it (Neumaier); a long
 * double may be no wider than a double. */
typedef struct long_sum {
    double sum, rest;
} long_sum;

static void add(long_sum *s, double term)
{
    double more = s->sum + term;
    s->rest += s->sum >= term ? s->sum - more + term : term - more + s->sum;
    s->sum = more;
}

static double sum_of_parts(project_fn *f, const double *z, int64_t n, double shift)
{
    long_sum sum = {0};
    for (int64_t j = 0; j < n; j++) add(&sum, part(f, z[j], shift));
    return sum.sum + sum.rest;
}

/* max(z - tau, 0), at most 1 if capped, of z = x or |x|: by bisection of its sum. tau is
 * counted from the largest z, so that it has digits. */
static void nearest_by_sum(project_fn *f, const double *x, int64_t n, double r, double *y)
{
    static double z[1000];
    double most = -(double)INFINITY, high = 0;
    bool sizes = f == ht_tensor_project_l1, capped = f == ht_tensor_project_capped;
    for (int64_t j = 0; j < n; j++) {
        z[j] = sizes ? fabs(x[j]) : x[j];
        most = fmax(most, z[j]);
    }
    double low = capped ? -fmax(most, 0) : -r;
    bool inside = f != ht_tensor_project_simplex && sum_of_parts(f, z, n, 0) <= r;
    if (!inside)
        for (int64_t j = 0; j < n; j++) z[j] -= most;
    for (int k = 0; k < 200 && !inside; k++) {
        double shift = low + (high - low) / 2;
        *(sum_of_parts(f, z, n, shift) > r ? &low : &high) = shift;
    }
    for (int64_t j = 0; j < n; j++)
        y[j] = part(f, z[j], inside ? 0 : high) * (sizes && x[j] < 0 ? -1 : 1);
}

/* x r/|x| where |x| is more than r. */
static void nearest_by_norm(const double *x, int64_t n, double r, double *y)
{
    long_sum squares = {0};
    for (int64_t j = 0; j < n; j++) add(&squares, x[j] * x[j]);
    double norm = sqrt(squares.sum + squares.rest);
    for (int64_t j = 0; j < n; j++) y[j] = norm > r ? x[j] * (r / norm) : x[j];
}

/* The constraint, to the rounding of n terms. */
static void check_inside(const double *y, int64_t n, project_fn *f, double r, double u)
{
    long_sum sizes = {0};
    double norm = 0;
    for (int64_t j = 0; j < n; j++) {
        add(&sizes, fabs(y[j]));
        norm = hypot(norm, y[j]);
        if (f == ht_tensor_project_simplex || f == ht_tensor_project_capped)
            assert_true(y[j] >= 0);
        if (f == ht_tensor_project_capped) assert_true(y[j] <= 1);
    }
    double sum = sizes.sum + sizes.rest;
    if (f == ht_tensor_project_simplex) assert_near(sum, r, 9 * u * r);
    if (f == ht_tensor_project_capped || f == ht_tensor_project_l1)
        assert_true(sum <= r * (1 + 2 * DBL_EPSILON));
    if (f == ht_tensor_project_l2) assert_true(norm <= r * (1 + 9 * u));
}

static void check_nearest(const double *x, const ht_tensor *y, int64_t first, int64_t n,
                          project_fn *f, double r)
{
    static double at[1000], want[1000];
    double u = ht_tensor_dtype(y) == HT_F32 ? (double)FLT_EPSILON : DBL_EPSILON, most = 0;
    if (f == ht_tensor_project_l2)
        nearest_by_norm(x + first, n, r, want);
    else
        nearest_by_sum(f, x + first, n, r, want);
    for (int64_t j = 0; j < n; j++) {
        at[j] = ht_tensor_get(y, first + j);
        most = fmax(most, fabs(x[first + j]));
    }
    check_inside(at, n, f, r, u);
    double bisected = f == ht_tensor_project_capped ? 4 * DBL_EPSILON * most : 0;
    for (int64_t j = 0; j < n; j++)
        assert_near(at[j], want[j], 4 * u * fmin(r, fmax(most, 1)) + bisected);
}

static double element(int family, uint64_t seed, int64_t i)
{
    double u = ht_random_uniform(seed, 5, (uint64_t)i);
    if (family == 0) return 3 * u - 1;
    if (family == 1) return floor(8 * u) / 4 - 1; /* ties */
    if (family == 2) return 0.7;
    return ldexp(u - 0.5, (int)(20 * ht_random_uniform(seed, 6, (uint64_t)i)));
}

static void check_random(ht_context *ctx, ht_dtype dtype, int64_t n, int family, double r,
                         const struct set *set)
{
    static double before[2000];
    ht_tensor *x = ht_tensor_new(ctx, dtype, HT_SHAPE(2, n));
    for (int64_t i = 0; i < 2 * n; i++) {
        ht_tensor_set(x, i, element(family, ht_context_seed(ctx), i));
        before[i] = ht_tensor_get(x, i);
    }
    assert_int_equal(set->f(x, r), HT_OK);
    for (int64_t row = 0; row < 2 && set->f != box && set->f != nonnegative; row++)
        check_nearest(before, x, row * n, n, set->f,
                      dtype == HT_F32 ? (double)(float)r : r);
    ht_tensor *twice = ht_tensor_new(ctx, dtype, HT_SHAPE(2, n));
    ht_tensor_copy(twice, x);
    assert_int_equal(set->f(twice, r), HT_OK);
    if (memcmp(ht_tensor_data(twice), ht_tensor_data(x), ht_tensor_bytes(x)))
        fail_msg("%s of %s (2, %lld), family %d, bound %g: twice is not once", set->name,
                 ht_dtype_name(dtype), (long long)n, family, r);
    ht_tensor_free(twice);
    ht_tensor_free(x);
}

static void projections_are_the_nearest_points_and_twice_is_once(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 7, 64, 1000};
    static const double bounds[] = {0, 1e-3, 0.1, 1, 2.5, 300};
    ht_context *ctx = ht_context_new(&(ht_context_options){.seed = test_seed()});
    size_t live = ht_context_live_bytes(ctx);
    for (int k = 0; k < SETS; k++)
        for (int i = 0; i < 6 && !sets[k].shrinks; i++)
            for (int j = 0; j < 6; j++)
                for (int family = 0; family < 4; family++)
                    for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++)
                        check_random(ctx, dtype, sizes[i], family, bounds[j], &sets[k]);
    assert_string_equal(ht_context_message(ctx), "");
    assert_int_equal(ht_context_live_bytes(ctx), live);
    ht_context_free(ctx);
}

static void only_sums_ask_for_memory_and_only_outside(void **state)
{
    (void)state;
    static const double inside[] = {0.5, 0.25, 0.25, 0, 1, 0},
                        outside[] = {7, 0.25, -3, 5, 1, 0};
    ht_context *ctx = ht_context_new(NULL);
    for (int k = 0; k < SETS; k++)
        for (int far = 0; far < 2; far++) {
            ht_tensor *x = matrix(ctx, HT_F64, 2, 3, far ? outside : inside);
            uint64_t before = ht_context_allocations(ctx);
            assert_int_equal(sets[k].f(x, 1), HT_OK);
            bool sums = k >= 2 && k <= 4;
            assert_int_equal(ht_context_allocations(ctx) - before, far && sums);
            ht_tensor_free(x);
        }
    ht_context_free(ctx);
}

static void projections_of_nothing_are_nothing(void **state)
{
    (void)state;
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *none = ht_tensor_new(ctx, HT_F64, HT_SHAPE(2, 0));
    ht_tensor *rows = ht_tensor_new(ctx, HT_F64, HT_SHAPE(0, 3));
    for (int k = 0; k < SETS; k++) {
        bool point = sets[k].f == ht_tensor_project_simplex;
        assert_int_equal(sets[k].f(rows, 1), HT_OK);
        assert_int_equal(sets[k].f(none, 1), point ? HT_ERROR_SHAPE : HT_OK);
        ht_context_clear(ctx);
    }
    ht_tensor_free(none);
    ht_tensor_free(rows);
    ht_context_free(ctx);
}

static void check_refused(const struct set *set, ht_dtype dtype, double last,
                          double bound, ht_status status, const char *message)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *x = matrix(ctx, dtype, 1, 3, (const double[]){2, 3, 0});
    if (dtype <= HT_F64) ht_tensor_set(x, 2, last);
    assert_int_equal(set->f(x, bound), status);
    assert_int_equal(ht_context_status(ctx), status);
    assert_contains(ht_context_message(ctx), set->name);
    assert_contains(ht_context_message(ctx), message);
    assert_near(ht_tensor_get(x, 0), 2, 0);
    assert_near(ht_tensor_get(x, 1), 3, 0);
    ht_tensor_free(x);
    ht_context_free(ctx);
}

static void bad_input_is_refused_and_left_alone(void **state)
{
    (void)state;
    for (int k = 0; k < SETS; k++) {
        const struct set *s = &sets[k];
        const char *negative = k < 2 ? "expected low <= high" : ">= 0, got -0.5";
        check_refused(s, HT_F64, NAN, 1, HT_ERROR_ARGUMENT, "got nan at 2");
        check_refused(s, HT_F32, INFINITY, 1, HT_ERROR_ARGUMENT, "got inf at 2");
        check_refused(s, HT_F64, 4, -0.5, HT_ERROR_ARGUMENT, negative);
        check_refused(s, HT_F64, 4, NAN, HT_ERROR_ARGUMENT, "got ");
        check_refused(s, HT_I32, 4, 1, HT_ERROR_DTYPE, "got i32");
    }
    check_refused(&sets[2], HT_F64, 4, INFINITY, HT_ERROR_ARGUMENT, "finite radius");
    check_refused(&sets[2], HT_F32, 4, 1e300, HT_ERROR_ARGUMENT, "finite radius");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(projections_are_the_closed_forms),
        cmocka_unit_test(projections_are_the_nearest_points_and_twice_is_once),
        cmocka_unit_test(simplex_of_large_elements_loses_none),
        cmocka_unit_test(only_sums_ask_for_memory_and_only_outside),
        cmocka_unit_test(projections_of_nothing_are_nothing),
        cmocka_unit_test(bad_input_is_refused_and_left_alone),
    };
    return TEST_MAIN(tests);
}
