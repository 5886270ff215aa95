/* SPDX-License-Identifier: MIT */
/* test_autograd_attention.c: causal attention beside NaN and infinity: what a row sees
 * not at all reaches neither it nor its derivatives, in the row without a mask and, with
 * one or beyond second order, in what it is composed of; ht_tril likewise. The kernels
 * are in test_tensor_attention.c. Read next: autograd/ops_attention.c. */
#include "ht_autograd.h"
#include "test_arrays.h"

enum { T = 40, D = 3, BAD = 35, ORDERS = 3, RESULTS = 2 + ORDERS, ROW = BAD * D };

/* q, k, v and their tangents; a mask (T, T). */
typedef struct problem {
    ht_dtype dtype;
    bool masked;
    int operand; /* 1: k, 2: v; row BAD of it is `value` */
    double value;
} problem;

static const char *const result_names[RESULTS] = {
    "y", "its tangent", "first derivative", "second derivative", "third derivative"};

static ht_tensor *made_tensor(ht_context *ctx, const problem *p, int number,
                              ht_shape shape)
{
    ht_tensor *x = ht_tensor_new(ctx, p->dtype, shape);
    for (int64_t i = 0; i < ht_tensor_count(x); i++)
        ht_tensor_set(x, i, 2 * ht_random_uniform(9, (uint64_t)number, (uint64_t)i) - 1);
    for (int64_t i = 0; number == p->operand && i < D; i++)
        ht_tensor_set(x, BAD * D + i, p->value);
    return x;
}

/* Rows 0 .. BAD-1 and nothing else enter the loss, squared. */
static ht_var loss_of(ht_var y)
{
    ht_var rows = ht_slice(y, 0, 0, BAD, 1);
    return ht_sum(ht_mul(rows, rows));
}

static void keep(double *out, ht_var x)
{
    const ht_tensor *value = ht_value(x);
    assert_non_null(value);
    for (int64_t i = 0; i < ROW; i++) out[i] = ht_tensor_get(value, i);
}

/* Of rows 0 .. BAD-1: y, its tangent, and derivatives by q, one of another. */
static void solve(const problem *p, double out[RESULTS][ROW])
{
    ht_context *ctx = test_context(2);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *made[7];
    ht_var x[7];
    for (int i = 0; i < 7; i++) {
        made[i] = made_tensor(ctx, p, i, i < 6 ? HT_SHAPE(T, D) : HT_SHAPE(T, T));
        x[i] = ht_input(tape, made[i]);
    }
    ht_var y = ht_attention(x[0], x[1], x[2], p->masked ? x[6] : HT_ZERO, true), dy;
    keep(out[0], y);
    ht_jvp(3, x, x + 3, 1, &y, &dy);
    keep(out[1], dy);
    for (int order = 0; order < ORDERS; order++) {
        ht_grad(loss_of(y), 1, x, &y);
        keep(out[2 + order], y);
    }
    if (ht_context_status(ctx) != HT_OK) fail_msg("%s", ht_context_message(ctx));
    ht_tape_free(tape);
    for (int i = 0; i < 7; i++) ht_tensor_free(made[i]);
    ht_context_free(ctx);
}

static void check_problem(problem p)
{
    static double clean[RESULTS][ROW], got[RESULTS][ROW];
    solve(&p, got);
    double value = p.value;
    p.value = 0.25;
    solve(&p, clean);
    double tolerance = p.dtype == HT_F32 ? 2e-4 : 1e-11;
    for (int k = 0; k < RESULTS; k++)
        for (int i = 0; i < ROW; i++)
            if (!(fabs(got[k][i] - clean[k][i]) <= tolerance * (1 + fabs(clean[k][i]))))
                fail_msg("%s, %s, %g in row %d of %s: %s, row %d: got %.17g, want %.17g",
                         ht_dtype_name(p.dtype), p.masked ? "masked" : "no mask", value,
                         BAD, p.operand == 1 ? "k" : "v", result_names[k], i / D,
                         got[k][i], clean[k][i]);
}

static void attention_causal_keeps_nan_and_infinity_to_rows_that_see_them(void **state)
{
    (void)state;
    static const double values[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    for (int i = 0; i < 24; i++)
        check_problem(
            (problem){i & 1 ? HT_F32 : HT_F64, i & 2, 1 + (i >> 2) % 2, values[i / 8]});
}

/* Two ways to the same numbers, where all are finite. */
static void attention_causal_with_a_mask_of_zeros_is_that_without(void **state)
{
    (void)state;
    static double one[RESULTS][ROW], other[RESULTS][ROW];
    for (int d = 0; d < 2; d++) {
        ht_context *ctx = test_context(1);
        ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
        problem p = {d ? HT_F32 : HT_F64, false, 0, 0};
        p.operand = -1;
        ht_tensor *made[4];
        ht_var x[4], y[2];
        for (int i = 0; i < 4; i++) {
            made[i] = made_tensor(ctx, &p, i, i < 3 ? HT_SHAPE(T, D) : HT_SHAPE(T, T));
            if (i == 3) ht_tensor_fill(made[i], 0);
            x[i] = ht_input(tape, made[i]);
        }
        for (int i = 0; i < 2; i++) {
            y[i] = ht_attention(x[0], x[1], x[2], i ? x[3] : HT_ZERO, true);
            for (int order = 0; order < 1 + ORDERS; order++) {
                keep((i ? other : one)[order], y[i]);
                if (order < ORDERS) ht_grad(loss_of(y[i]), 1, x + order % 3, &y[i]);
            }
        }
        for (int k = 0; k < 1 + ORDERS; k++)
            for (int i = 0; i < ROW; i++)
                assert_near(other[k][i], one[k][i], d ? 2e-4 : 1e-11);
        ht_check(ctx);
        ht_tape_free(tape);
        for (int i = 0; i < 4; i++) ht_tensor_free(made[i]);
        ht_context_free(ctx);
    }
}

static void tril_beside_nan_is_its_fill(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *a = ht_tensor_new(ctx, HT_F64, HT_SHAPE(2, 2));
    ht_tensor_fill(a, 3);
    ht_tensor_set(a, 1, (double)NAN);
    ht_var x = ht_input(tape, a), y = ht_tril(x, 0, -1), dx;
    ht_grad(ht_sum(ht_mul(y, y)), 1, &x, &dx);
    static const double want[2][4] = {{3, -1, 3, 3}, {6, 0, 6, 6}};
    for (int i = 0; i < 4; i++) {
        assert_near(ht_tensor_get(ht_value(y), i), want[0][i], 0);
        assert_near(ht_tensor_get(ht_value(dx), i), want[1][i], 0);
    }
    ht_check(ctx);
    ht_tape_free(tape);
    ht_tensor_free(a);
    ht_context_free(ctx);
}

/* The sum of squares of attention(x, x, x), derived by x again and again: each place of x
 * counts, and so does one that tangents and cotangents are made of. */
static void attention_of_one_variable_derives_by_all_its_places(void **state)
{
    (void)state;
    ht_context *ctx = test_context(1);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_tensor *at = ht_tensor_new(ctx, HT_F64, HT_SHAPE(5, D));
    ht_tensor *none = ht_tensor_new(ctx, HT_F64, HT_SHAPE(5, 5));
    ht_tensor_uniform(at, 3, -1, 1);
    ht_var x = ht_input(tape, at), mask[] = {HT_ZERO, ht_input(tape, none)}, d[2];
    for (int causal = 0; causal < 2; causal++) {
        for (int k = 0; k < 2; k++) {
            d[k] = ht_attention(x, x, x, mask[k], causal);
            for (int order = 0; order < ORDERS; order++)
                ht_grad(ht_sum(ht_square(d[k])), 1, &x, &d[k]);
        }
        ht_check(ctx);
        for (int i = 0; i < 5 * D; i++) {
            double want = ht_tensor_get(ht_value(d[1]), i);
            assert_near(ht_tensor_get(ht_value(d[0]), i), want, 1e-10 * fabs(want));
        }
    }
    ht_tape_free(tape);
    ht_tensor_free(at);
    ht_tensor_free(none);
    ht_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_causal_keeps_nan_and_infinity_to_rows_that_see_them),
        cmocka_unit_test(attention_causal_with_a_mask_of_zeros_is_that_without),
        cmocka_unit_test(attention_of_one_variable_derives_by_all_its_places),
        cmocka_unit_test(tril_beside_nan_is_its_fill),
    };
    return TEST_MAIN(tests);
}
