/* SPDX-License-Identifier: MIT */
/* test_autograd_project.c: projections and proximal maps. Values are those in place,
 * which test_tensor_project.c holds against bisection; Jacobians the closed forms;
 * kinks are in awkward.h. Read next: ops_project.c. */
#include <math.h>
#include <string.h>

#include "ht_autograd.h"
#include "test.h"

static ht_var box(ht_var x, ht_var bound)
{
    return ht_project_box(x, -0.75, bound);
}
static ht_var nonnegative(ht_var x, ht_var bound)
{
    (void)bound;
    return ht_project_box(x, 0, INFINITY);
}
static ht_var simplex(ht_var x, ht_var bound)
{
    return ht_project_simplex(x, bound);
}
static ht_var capped(ht_var x, ht_var bound)
{
    return ht_project_capped(x, bound);
}
static ht_var l1(ht_var x, ht_var bound)
{
    return ht_project_l1(x, bound);
}
static ht_var l2(ht_var x, ht_var bound)
{
    return ht_project_l2(x, bound);
}
static ht_var soft(ht_var x, ht_var bound)
{
    return ht_soft_threshold(x, bound);
}
static ht_var group(ht_var x, ht_var bound)
{
    return ht_group_soft_threshold(x, bound);
}

static ht_status box_in_place(ht_tensor *x, double bound)
{
    return ht_tensor_project_box(x, -0.75, bound);
}
static ht_status nonnegative_in_place(ht_tensor *x, double bound)
{
    (void)bound;
    return ht_tensor_project_box(x, 0, INFINITY);
}

typedef ht_var map_fn(ht_var x, ht_var bound);
enum { MAPS = 8 };
static const struct map {
    const char *name;
    map_fn *f;
    ht_status (*in_place)(ht_tensor *x, double bound);
} maps[MAPS] = {
    {"box", box, box_in_place},
    {"nonnegative", nonnegative, nonnegative_in_place},
    {"simplex", simplex, ht_tensor_project_simplex},
    {"capped", capped, ht_tensor_project_capped},
    {"l1", l1, ht_tensor_project_l1},
    {"l2", l2, ht_tensor_project_l2},
    {"soft_threshold", soft, ht_tensor_soft_threshold},
    {"group_soft_threshold", group, ht_tensor_group_soft_threshold},
};

static ht_tensor *filled(ht_context *ctx, ht_dtype dtype, ht_shape shape,
                         const double *values)
{
    ht_tensor *x = ht_tensor_new(ctx, dtype, shape);
    assert_non_null(x);
    for (int64_t i = 0; i < ht_tensor_count(x); i++) ht_tensor_set(x, i, values[i]);
    return x;
}

/* Values. */

static double element(int family, uint64_t seed, int64_t i)
{
    double u = ht_random_uniform(seed, 5, (uint64_t)i);
    if (family == 0) return 3 * u - 1;
    if (family == 1) return floor(8 * u) / 4 - 1;
    return ldexp(u - 0.5, (int)(20 * ht_random_uniform(seed, 6, (uint64_t)i)));
}

/* By a number and by a variable, eager and replayed: the bits of the one in place. */
static void check_same(ht_context *ctx, const struct map *map, ht_dtype dtype,
                       ht_shape shape, int family, double bound)
{
    ht_tensor *x = ht_tensor_new(ctx, dtype, shape),
              *r = ht_tensor_new(ctx, dtype, HT_SCALAR);
    ht_tensor *want = ht_tensor_new(ctx, dtype, shape), *out[2];
    for (int i = 0; i < 2; i++) out[i] = ht_tensor_new(ctx, dtype, shape);
    for (int64_t i = 0; i < ht_tensor_count(x); i++)
        ht_tensor_set(x, i, element(family, ht_context_seed(ctx), i));
    ht_tensor_fill(r, bound);
    ht_tensor_copy(want, x);
    assert_int_equal(map->in_place(want, bound), HT_OK);
    ht_tape *eager = ht_tape_new(ctx, HT_EAGER), *tape = ht_tape_new(ctx, HT_RECORD);
    ht_var v = ht_input(eager, x),
           y[2] = {map->f(v, ht_number(bound)), map->f(v, ht_input(eager, r))};
    ht_var in[] = {ht_input(tape, x), ht_input(tape, r)};
    ht_var z[2] = {map->f(in[0], ht_number(bound)), map->f(in[0], in[1])};
    ht_program *p = ht_program_new(tape, 2, in, 2, z);
    const ht_tensor *const from[] = {x, r};
    uint64_t allocations = 0;
    for (int again = 0; again < 2; again++) {
        allocations = ht_context_allocations(ctx);
        assert_int_equal(ht_program_run(p, from, out), HT_OK);
    }
    assert_int_equal(ht_context_allocations(ctx), allocations);
    for (int i = 0; i < 2; i++)
        for (int how = 0; how < 2; how++) {
            const ht_tensor *got = how ? out[i] : ht_value(y[i]);
            if (!memcmp(ht_tensor_data(got), ht_tensor_data(want), ht_tensor_bytes(want)))
                continue;
            for (int64_t j = 0; j < ht_tensor_count(want); j++)
                if (ht_tensor_get(got, j) != ht_tensor_get(want, j))
                    print_error("%lld: %.17g, in place %.17g\n", (long long)j,
                                ht_tensor_get(got, j), ht_tensor_get(want, j));
            fail_msg("%s, %s, family %d, bound %g, way %d %d", map->name,
                     ht_dtype_name(dtype), family, bound, i, how);
        }
    ht_program_free(p);
    ht_tape_free(eager);
    ht_tape_free(tape);
    ht_tensor *all[] = {x, r, want, out[0], out[1]};
    for (int i = 0; i < 5; i++) ht_tensor_free(all[i]);
}

static void values_are_those_in_place_bit_for_bit(void **state)
{
    (void)state;
    static const double bounds[] = {0, 0.1, 1, 2.5, 40};
    const ht_shape shapes[] = {HT_SHAPE(1), HT_SHAPE(7), HT_SHAPE(3, 5),
                               HT_SHAPE(2, 3, 70), HT_SHAPE(4, 1)};
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.seed = test_seed(), .threads = 1});
    for (int k = 0; k < MAPS; k++)
        for (int s = 0; s < 5; s++)
            for (int b = 0; b < 5; b++)
                for (int family = 0; family < 3; family++)
                    for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++)
                        check_same(ctx, &maps[k], dtype, shapes[s], family, bounds[b]);
    assert_string_equal(ht_context_message(ctx), "");
    ht_context_free(ctx);
}

/* Derivatives. Where no kink is near, by formula: dy/dx and dy/dr of one row. */

enum { N = 6 };

static double dot(const double *a, const double *b)
{
    double sum = 0;
    for (int i = 0; i < N; i++) sum += a[i] * b[i];
    return sum;
}

/* By sums: s_i is 1 for those that move, times the sign of what |x| is of. */
static void expect_by_sum(map_fn *f, const double *y, double r, double *by_x,
                          double *by_r)
{
    double s[N], held = 0;
    for (int i = 0; i < N; i++) {
        held += fabs(y[i]);
        s[i] = y[i] == 0 || (f == capped && y[i] == 1) ? 0 : y[i] > 0 ? 1 : -1;
    }
    bool full = f == simplex || fabs(held - r) < 1e-12;
    for (int i = 0; i < N; i++) {
        by_r[i] = full ? s[i] / dot(s, s) : 0;
        for (int j = 0; j < N; j++)
            by_x[N * i + j] =
                (i == j ? s[i] * s[i] : 0) - s[i] * (full ? s[j] / dot(s, s) : 0);
    }
}

/* By the norm: y = x r/|x|, or x (|x| - r)/|x|, or x, or 0. */
static void expect_by_norm(map_fn *f, const double *x, double r, double *by_x,
                           double *by_r)
{
    double norm = sqrt(dot(x, x)), part = r / norm;
    bool inside = norm <= r;
    for (int i = 0; i < N; i++) {
        double u = x[i] / norm;
        by_r[i] = f == l2 ? (inside ? 0 : u) : inside ? 0 : -u;
        for (int j = 0; j < N; j++) {
            double one = i == j, along = u * x[j] / norm;
            by_x[N * i + j] = f == l2  ? (inside ? one : part * (one - along))
                              : inside ? 0
                                       : one - part * (one - along);
        }
    }
}

static void expect_each(map_fn *f, const double *x, double r, double *by_x, double *by_r)
{
    memset(by_x, 0, N * N * sizeof *by_x);
    for (int i = 0; i < N; i++) {
        double sign = x[i] > 0 ? 1 : -1;
        bool moves = f == soft  ? fabs(x[i]) > r
                     : f == box ? x[i] > -0.75 && x[i] < r
                                : x[i] > 0;
        by_x[(N + 1) * i] = moves;
        by_r[i] = f == soft && moves ? -sign : f == box && x[i] > r ? 1 : 0;
    }
}

static void check_matrix(const char *what, ht_var got, const double *want, int n)
{
    for (int i = 0; i < n; i++) {
        double value = ht_tensor_get(ht_value(got), i);
        if (fabs(value - want[i]) <= 1e-14) continue;
        fail_msg("%s, element %d: %.17g, expected %.17g", what, i, value, want[i]);
    }
}

/* Both modes: J itself, and J' of a sum of its rows. */
static void check_slopes(ht_context *ctx, const struct map *map, const double *at,
                         double r)
{
    double by_x[N * N], by_r[N], y[N], back[N] = {0}, all = 0;
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *x = filled(ctx, HT_F64, HT_SHAPE(N), at),
              *b = filled(ctx, HT_F64, HT_SHAPE(1), &r);
    ht_var in[] = {ht_input(tape, x), ht_input(tape, b)}, out = map->f(in[0], in[1]),
           d[2];
    for (int i = 0; i < N; i++) y[i] = ht_tensor_get(ht_value(out), i);
    if (map->f == l2 || map->f == group)
        expect_by_norm(map->f, at, r, by_x, by_r);
    else if (map->f == simplex || map->f == capped || map->f == l1)
        expect_by_sum(map->f, y, r, by_x, by_r);
    else
        expect_each(map->f, at, r, by_x, by_r);
    check_matrix(map->name, ht_jacobian(out, in[0]), by_x, N * N);
    if (map->f != nonnegative) check_matrix(map->name, ht_jacobian(out, in[1]), by_r, N);
    for (int i = 0; i < N; i++) {
        all += by_r[i];
        for (int j = 0; j < N; j++) back[j] += by_x[N * i + j];
    }
    ht_grad_or_zero(ht_sum(out), 2, in, d);
    check_matrix(map->name, d[0], back, N);
    check_matrix(map->name, d[1], &all, 1);
    ht_tape_free(tape);
    ht_tensor_free(x);
    ht_tensor_free(b);
}

static void jacobians_are_the_closed_forms(void **state)
{
    (void)state;
    static const double bounds[] = {0.3, 1.1, 1.9, 4.3};
    ht_context *ctx = ht_context_new(&(ht_context_options){.seed = test_seed()});
    for (int k = 0; k < MAPS; k++)
        for (int b = 0; b < 4; b++)
            for (uint64_t trial = 0; trial < 50; trial++) {
                double x[N];
                for (int i = 0; i < N; i++)
                    x[i] =
                        3 * ht_random_uniform(ht_context_seed(ctx), trial, (uint64_t)i) -
                        1.2;
                check_slopes(ctx, &maps[k], x, bounds[b]);
            }
    assert_string_equal(ht_context_message(ctx), "");
    ht_context_free(ctx);
}

/* The sum of w y^2, y of rows with a bound each, and of the squares of those. */
static ht_var weighted(ht_tape *tape, int n, const ht_var *x, void *user)
{
    const struct map *map = user;
    (void)n;
    ht_var y = map->f(x[0], x[1]), all = ht_sum(ht_square(x[1]));
    (void)tape;
    return ht_add(all, ht_sum(ht_mul(ht_square(y), x[2])));
}

static void second_derivatives_are_those_of_differences(void **state)
{
    (void)state;
    static const double x[] = {1.31, -0.62, 0.47, 0.88, -1.53, 0.29,
                               2.17, 0.11,  0.35, 0.42, -0.27, 0.51},
                        r[] = {0.63, 1.27, 5.5}, w[] = {1, 2, 0.5, 0.25};
    ht_context *ctx = ht_context_new(NULL);
    ht_tensor *at[] = {filled(ctx, HT_F64, HT_SHAPE(3, 4), x),
                       filled(ctx, HT_F64, HT_SHAPE(3, 1), r),
                       filled(ctx, HT_F64, HT_SHAPE(4), w)};
    for (int k = 0; k < MAPS; k++) {
        struct map map = maps[k];
        bool holds = ht_gradient_check(ctx, weighted, 3, (const ht_tensor *const *)at,
                                       &map, stderr);
        if (!holds) fail_msg("%s", maps[k].name);
    }
    for (int i = 0; i < 3; i++) ht_tensor_free(at[i]);
    ht_context_free(ctx);
}

/* min (w - b)^2/2 + t |w|: w moves along -sign b on the support, and else not at all. */
static void lasso_path_moves_against_the_sign_on_the_support(void **state)
{
    (void)state;
    static const double b[] = {3, -2, 0.5, -0.25, 1, -1}, want[] = {-1, 1, 0, 0, 0, 0};
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *x = filled(ctx, HT_F64, HT_SHAPE(6), b),
              *one = filled(ctx, HT_F64, HT_SCALAR, (const double[]){1});
    ht_var t = ht_input(tape, one);
    check_matrix("dw/dt", ht_jacobian(ht_soft_threshold(ht_input(tape, x), t), t), want,
                 6);
    ht_tape_free(tape);
    ht_tensor_free(x);
    ht_tensor_free(one);
    ht_context_free(ctx);
}

/* What is not finite, and bounds that are not there. */

static void values_of_what_is_not_finite_are_the_documented_ones(void **state)
{
    (void)state;
    const double inf = INFINITY, nan = NAN;
    const struct {
        map_fn *f;
        double at[3], bound, want[3];
    } rows[] = {
        {simplex, {-inf, 1, 0.5}, 1, {0, 0.75, 0.25}},
        {simplex, {-inf, -inf, -inf}, 1, {nan, nan, nan}},
        {simplex, {inf, 1, 0}, 1, {nan, nan, nan}},
        {simplex, {1, nan, 0}, 1, {nan, nan, nan}},
        {simplex, {1, 2, 0}, -1, {nan, nan, nan}},
        {simplex, {1, 2, 0}, inf, {nan, nan, nan}},
        {capped, {-inf, 1, 0.5}, 1, {0, 0.75, 0.25}},
        {capped, {1, 2, -inf}, inf, {1, 1, 0}},
        {capped, {1, inf, 0}, 1, {nan, nan, nan}},
        {capped, {1, 2, 0}, nan, {nan, nan, nan}},
        {l1, {-inf, 1, 0.5}, 1, {nan, nan, nan}},
        {l1, {-8, 1, 0.5}, inf, {-8, 1, 0.5}},
        {l2, {-8, 1, 0.5}, inf, {-8, 1, 0.5}},
        {l2, {inf, 1, 0.5}, 1, {nan, nan, nan}},
        {l2, {nan, 1, 0.5}, 1, {nan, nan, nan}},
        {l2, {3, 0, 4}, -1, {nan, nan, nan}},
        {soft, {inf, -inf, nan}, 1, {inf, -inf, nan}},
        {soft, {3, 0, -4}, inf, {0, 0, 0}},
        {soft, {3, 0, -4}, -1, {nan, nan, nan}},
        {group, {inf, 1, 0}, 1, {nan, nan, nan}},
        {group, {3, 0, 4}, inf, {0, 0, 0}},
        {group, {3, 0, 4}, -1, {nan, nan, nan}},
        {nonnegative, {inf, -inf, nan}, 0, {inf, 0, nan}},
    };
    ht_context *ctx = ht_context_new(NULL);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (ht_dtype dtype = HT_F32; dtype <= HT_F64; dtype++) {
            ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
            ht_tensor *x = filled(ctx, dtype, HT_SHAPE(1, 3), rows[k].at);
            ht_tensor *b = filled(ctx, dtype, HT_SCALAR, &rows[k].bound);
            const ht_tensor *y =
                ht_value(rows[k].f(ht_input(tape, x), ht_input(tape, b)));
            for (int i = 0; i < 3; i++) {
                double got = ht_tensor_get(y, i), want = rows[k].want[i];
                if (got != want && !(isnan(got) && isnan(want)))
                    fail_msg("row %zu, element %d: %g, expected %g", k, i, got, want);
            }
            ht_tape_free(tape);
            ht_tensor_free(x);
            ht_tensor_free(b);
        }
    assert_string_equal(ht_context_message(ctx), "");
    ht_context_free(ctx);
}

/* A bound a row; of more leading axes than x; weak numbers; nothing at all. */
static void bounds_are_one_a_row_and_broadcast(void **state)
{
    (void)state;
    static const double x[] = {2, 1, 0, 3}, r[] = {1, 2},
                        want[] = {1, 0, 0, 1, 1.5, 0.5, 0, 2};
    ht_context *ctx = ht_context_new(NULL);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *at = filled(ctx, HT_F64, HT_SHAPE(2, 2), x),
              *b = filled(ctx, HT_F64, HT_SHAPE(2, 1, 1), r);
    ht_tensor *none = ht_tensor_new(ctx, HT_F64, HT_SHAPE(2, 0));
    ht_var v = ht_input(tape, at), y = ht_project_simplex(v, ht_input(tape, b));
    assert_true(ht_shape_equal(ht_var_shape(y), HT_SHAPE(2, 2, 2)));
    check_matrix("a bound a row", y, want, 8);
    check_matrix("a weak bound", ht_project_simplex(v, ht_sqrt(ht_constant(tape, 1))),
                 want, 4);
    check_matrix("HT_ZERO", ht_project_l2(v, HT_ZERO), (const double[]){0, 0, 0, 0}, 4);
    for (int k = 3; k < MAPS; k++)
        assert_int_equal(
            ht_tensor_count(ht_value(maps[k].f(ht_input(tape, none), ht_number(1)))), 0);
    assert_string_equal(ht_context_message(ctx), "");
    ht_tape_free(tape);
    ht_tensor_free(at);
    ht_tensor_free(b);
    ht_tensor_free(none);
    ht_context_free(ctx);
}

static void tapes_notice_what_is_projected_in_place(void **state)
{
    (void)state;
    for (int k = 0; k < MAPS; k++) {
        ht_context *ctx = ht_context_new(NULL);
        ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
        ht_tensor *x = filled(ctx, HT_F64, HT_SHAPE(3), (const double[]){3, -1, 2});
        ht_var v = ht_input(tape, x);
        assert_int_equal(maps[k].in_place(x, 1), HT_OK);
        ht_neg(v);
        assert_int_equal(ht_context_status(ctx), HT_ERROR_ARGUMENT);
        assert_contains(ht_context_message(ctx), k < 2 ? "box" : maps[k].name);
        ht_tape_free(tape);
        ht_tensor_free(x);
        ht_context_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_in_place_bit_for_bit),
        cmocka_unit_test(jacobians_are_the_closed_forms),
        cmocka_unit_test(second_derivatives_are_those_of_differences),
        cmocka_unit_test(lasso_path_moves_against_the_sign_on_the_support),
        cmocka_unit_test(values_of_what_is_not_finite_are_the_documented_ones),
        cmocka_unit_test(tapes_notice_what_is_projected_in_place),
        cmocka_unit_test(bounds_are_one_a_row_and_broadcast),
    };
    return TEST_MAIN(tests);
}
