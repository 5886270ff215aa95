/* SPDX-License-Identifier: MIT */
/* test_edges_elementwise.c: the table of edges for ops of one element. */
#include "edges.h"

#define FORM_1(name)                           \
    static ht_var form_##name(const ht_var *x) \
    {                                          \
        return ht_##name(x[0]);                \
    }
#define FORM_2(name)                           \
    static ht_var form_##name(const ht_var *x) \
    {                                          \
        return ht_##name(x[0], x[1]);          \
    }
FORM_1(neg)
FORM_1(exp)
FORM_1(log)
FORM_1(sqrt)
FORM_1(tanh)
FORM_1(sigmoid)
FORM_1(relu)
FORM_1(abs)
FORM_1(square)
FORM_1(log1p)
FORM_1(expm1)
FORM_1(softplus)
FORM_1(rsqrt)
FORM_1(reciprocal)
FORM_1(sin)
FORM_1(cos)
FORM_1(erf)
FORM_1(silu)
FORM_1(gelu)
FORM_1(gelu_tanh)
FORM_1(stop_gradient)
FORM_2(add)
FORM_2(sub)
FORM_2(mul)
FORM_2(div)
FORM_2(pow)
FORM_2(maximum)
FORM_2(minimum)
FORM_2(equal)
FORM_2(greater)
FORM_2(greater_equal)

static ht_var form_leaky_relu(const ht_var *x)
{
    return ht_leaky_relu(x[0], 0.125);
}

static ht_var form_cast(const ht_var *x)
{
    ht_dtype dtype = ht_var_dtype(x[0]);
    return ht_cast(ht_cast(x[0], HT_F64), dtype);
}

static ht_var form_where(const ht_var *x)
{
    return ht_where(ht_greater(x[0], 0.0), x[1], x[2]);
}

static ht_var form_clamp(const ht_var *x)
{
    return ht_clamp(x[0], x[1], x[2]);
}

static const edge_form forms[] = {
    ROW(neg, "1"),
    ROW(exp, "1"),
    ROW(log, "1"),
    ROW(sqrt, "1"),
    ROW(tanh, "1"),
    ROW(sigmoid, "1"),
    ROW(relu, "1"),
    ROW(abs, "1"),
    ROW(square, "1"),
    ROW(log1p, "1"),
    ROW(expm1, "1"),
    ROW(softplus, "1"),
    ROW(rsqrt, "1"),
    ROW(reciprocal, "1"),
    ROW(sin, "1"),
    ROW(cos, "1"),
    ROW(erf, "1"),
    ROW(silu, "1"),
    ROW(gelu, "1"),
    ROW(gelu_tanh, "1"),
    ROW(cast, "1"),
    ROW(leaky_relu, "1"),
    ROW(stop_gradient, "1"),
    ROW(add, "1 1"),
    ROW(sub, "1 1"),
    ROW(mul, "1 1"),
    ROW(div, "1 1"),
    ROW(pow, "1 1"),
    ROW(maximum, "1 1"),
    ROW(minimum, "1 1"),
    ROW(equal, "1 1"),
    ROW(greater, "1 1"),
    ROW(where, "1 1 1"),
    ROW(clamp, "1 1 1"),
    ROW(greater_equal, "1 1"),
    {.name = NULL},
};

static void elementwise_at_the_edges_has_the_digits(void **state)
{
    (void)state;
    edge_tally tally = edge_walk(forms, NULL);
    assert_int_equal(tally.failed, 0);
    assert_true(tally.cases >= 2600);
    assert_true(tally.numbers[0] >= 2600);
    assert_true(tally.numbers[1] >= 3100);
    assert_true(tally.numbers[2] >= 4300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementwise_at_the_edges_has_the_digits),
    };
    return TEST_MAIN(tests);
}
