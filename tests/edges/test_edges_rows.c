/* SPDX-License-Identifier: MIT */
/* test_edges_rows.c: the table of edges for reductions, softmax and its kin, norms,
 * losses and pooling. */
#include "edges.h"

static const ht_axes last = {1, {-1}};

FORM(sum, ht_sum(x[0]))
FORM(mean, ht_mean(x[0]))
FORM(sum_axes, ht_sum_axes(x[0], last, false))
FORM(mean_axes, ht_mean_axes(x[0], last, false))
FORM(variance_axes_0, ht_variance_axes(x[0], last, false, 0))
FORM(variance_axes_1, ht_variance_axes(x[0], last, false, 1))
FORM(variance_axes_1000,
     ht_variance_axes(ht_broadcast(x[0], HT_SHAPE(1000)), HT_AXES(0), false, 0))
FORM(norm_axes, ht_norm_axes(x[0], last, false))
FORM(max_axes, ht_max_axes(x[0], last, false))
FORM(min_axes, ht_min_axes(x[0], last, false))
FORM(logsumexp_axes, ht_logsumexp_axes(x[0], last, false))
FORM(cumsum, ht_cumsum(x[0], 0))
FORM(argmax, ht_argmax(x[0]))
FORM(argmin, ht_argmin(x[0]))
FORM(softmax, ht_softmax(x[0]))
FORM(log_softmax, ht_log_softmax(x[0]))
FORM(cross_entropy_soft, ht_cross_entropy(x[0], x[1]))

static ht_var edge_label(ht_var x, double k)
{
    return ht_broadcast(ht_cast(ht_constant(x.tape, k), HT_I32), HT_SHAPE(1));
}

FORM(cross_entropy_0, ht_cross_entropy(x[0], edge_label(x[0], 0)))
FORM(cross_entropy_2, ht_cross_entropy(x[0], edge_label(x[0], 2)))
FORM(cross_entropy_smoothed, ht_cross_entropy_smoothed(x[0], edge_label(x[0], 0), 0.125))
FORM(binary_cross_entropy, ht_binary_cross_entropy(x[0], x[1]))
FORM(squared_error, ht_squared_error(x[0], x[1]))
FORM(huber, ht_huber(x[0], x[1], 1.0))
FORM(kl_divergence, ht_kl_divergence(x[0], x[1]))
FORM(weighted_mean, ht_weighted_mean(x[0], x[1]))
FORM(layernorm, ht_layernorm(x[0], HT_ZERO, HT_ZERO, 1e-5))
FORM(rmsnorm, ht_rmsnorm(x[0], HT_ZERO, 1e-5))
FORM(groupnorm, ht_groupnorm(x[0], 2, HT_ZERO, HT_ZERO, 1e-5))
FORM(batchnorm, ht_batchnorm(x[0], HT_ZERO, HT_ZERO, 1e-5))
FORM(batchnorm_given, ht_batchnorm_given(x[0], x[1], x[2], 1e-5))

static ht_var edge_statistics(ht_var x, bool variance)
{
    ht_var both[2];
    ht_batch_statistics(x, &both[0], &both[1]);
    return both[variance];
}

FORM(batch_statistics_mean, edge_statistics(x[0], false))
FORM(batch_statistics_variance, edge_statistics(x[0], true))

static const ht_pool_options window = {{2, 2}, {2, 2}, {0, 0}};
FORM(max_pool2d, ht_max_pool2d(x[0], window))
FORM(avg_pool2d, ht_avg_pool2d(x[0], window))
FORM(global_avg_pool2d, ht_global_avg_pool2d(x[0]))

/* x as the one variable "w" of a set. */
static ht_set *penalized[2];

static const ht_vars *edge_penalized(ht_var x)
{
    ht_context *ctx = ht_tape_context(x.tape);
    ht_dtype dtype = ht_var_dtype(x);
    ht_set **set = &penalized[dtype == HT_F64];
    if (!*set) ht_set_add(*set = ht_set_new(ctx), "w", dtype, ht_var_shape(x));
    ht_vars *vars = ht_vars_input(x.tape, *set, 0);
    ht_vars_set(vars, "w", x);
    return vars;
}

FORM(l1, ht_l1(edge_penalized(x[0]), NULL))
FORM(l2, ht_l2(edge_penalized(x[0]), NULL))

static void edge_done(void)
{
    ht_set_free(penalized[0]);
    ht_set_free(penalized[1]);
}

FORM(softmax_one, ht_softmax(x[0]))
FORM(log_softmax_one, ht_log_softmax(x[0]))
FORM(cross_entropy_one, ht_cross_entropy(x[0], edge_label(x[0], 0)))
FORM(variance_axes_one, ht_variance_axes(x[0], last, false, 0))
FORM(layernorm_one, ht_layernorm(x[0], HT_ZERO, HT_ZERO, 1e-5))
FORM(logsumexp_axes_one, ht_logsumexp_axes(x[0], last, false))
FORM(mean_axes_one, ht_mean_axes(x[0], last, false))
FORM(max_axes_one, ht_max_axes(x[0], last, false))
FORM(sum_axes_one, ht_sum_axes(x[0], last, false))
FORM(cumsum_one, ht_cumsum(x[0], 0))
FORM(norm_axes_one, ht_norm_axes(x[0], last, false))
FORM(sum_empty, ht_sum(x[0]))
FORM(sum_axes_empty, ht_sum_axes(x[0], last, false))
FORM(norm_axes_empty, ht_norm_axes(x[0], last, false))

static const edge_form forms[] = {
    ROW(softmax_one, "1x1"),
    ROW(log_softmax_one, "1x1"),
    ROW(cross_entropy_one, "1x1"),
    ROW(variance_axes_one, "1"),
    ROW(layernorm_one, "1x1"),
    ROW(logsumexp_axes_one, "1"),
    ROW(mean_axes_one, "1"),
    ROW(max_axes_one, "1"),
    ROW(sum_axes_one, "1"),
    ROW(cumsum_one, "1"),
    ROW(norm_axes_one, "1"),
    ROW(sum_empty, "0"),
    ROW(sum_axes_empty, "0"),
    ROW(norm_axes_empty, "0"),
    ROW(sum, "3"),
    ROW(mean, "3"),
    ROW(sum_axes, "1x3"),
    ROW(mean_axes, "1x3"),
    ROW(variance_axes_0, "3"),
    ROW(variance_axes_1, "3"),
    ROW(variance_axes_1000, "1"),
    ROW(norm_axes, "3"),
    ROW(max_axes, "3"),
    ROW(min_axes, "3"),
    ROW(logsumexp_axes, "3"),
    ROW(cumsum, "3"),
    ROW(argmax, "3"),
    ROW(argmin, "3"),
    ROW(softmax, "1x3"),
    ROW(log_softmax, "1x3"),
    ROW(cross_entropy_0, "1x3"),
    ROW(cross_entropy_2, "1x3"),
    ROW(cross_entropy_soft, "1x3 1x3"),
    ROW(cross_entropy_smoothed, "1x3"),
    ROW(binary_cross_entropy, "1 1"),
    ROW(squared_error, "1 1"),
    ROW(huber, "1 1"),
    ROW(kl_divergence, "1x2 1x2"),
    ROW(weighted_mean, "2 2"),
    ROW(l1, "2"),
    ROW(l2, "2"),
    ROW(layernorm, "1x3"),
    ROW(rmsnorm, "1x3"),
    ROW(groupnorm, "1x2x3"),
    ROW(batchnorm, "3x1"),
    ROW(batchnorm_given, "1x1 1 1"),
    ROW(batch_statistics_mean, "3x1"),
    ROW(batch_statistics_variance, "3x1"),
    ROW(max_pool2d, "1x1x2x2"),
    ROW(avg_pool2d, "1x1x2x2"),
    ROW(global_avg_pool2d, "1x1x2x2"),
    {.name = NULL},
};

static void rows_at_the_edges_have_the_digits(void **state)
{
    (void)state;
    edge_tally tally = edge_walk(forms, edge_done);
    assert_int_equal(tally.failed, 0);
    assert_true(tally.cases >= 1000);
    assert_true(tally.numbers[0] >= 1650);
    assert_true(tally.numbers[1] >= 4800);
    assert_true(tally.numbers[2] >= 16900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_at_the_edges_have_the_digits),
    };
    return TEST_MAIN(tests);
}
