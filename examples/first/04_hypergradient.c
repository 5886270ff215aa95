/* SPDX-License-Identifier: MIT */
#include <hypertape.h>
static ht_var fit(const ht_vars *theta, const ht_vars *eta, const ht_vars *data, void *u)
{
    ht_var guess = ht_matmul(ht_get(data, "x"), ht_get(theta, "w"));
    return ht_mean(ht_square(ht_sub(guess, ht_get(data, "y"))));
}
static ht_var loss(const ht_vars *theta, const ht_vars *eta, const ht_vars *data, void *u)
{
    ht_var norm = ht_sum(ht_square(ht_get(theta, "w")));
    return ht_add(fit(theta, eta, data, u), ht_mul(ht_get(eta, "penalty"), norm));
}
int main(void)
{
    ht_context *ctx = ht_context_new(NULL);
    ht_set *theta = ht_set_new(ctx), *eta = ht_set_new(ctx), *data = ht_set_new(ctx);
    ht_set_add(theta, "w", HT_F64, HT_SHAPE(8, 1));
    ht_tensor_fill(ht_set_add(eta, "penalty", HT_F64, HT_SCALAR), 0.1);
    ht_tensor_normal(ht_set_add(data, "x", HT_F64, HT_SHAPE(20, 8)), 1, 0, 1);
    ht_tensor_normal(ht_set_add(data, "y", HT_F64, HT_SHAPE(20, 1)), 2, 0, 1);
    ht_bilevel_problem p = {loss, fit, .theta = theta, .eta = eta, .inner_data = data,
        .outer_data = data, .steps = 50, .update = {&ht_sgd, .rate = HT_FIXED(0.1)}};
    ht_bilevel *training = ht_bilevel_new(ctx, &p, NULL);
    ht_check(ctx);
    double slope = ht_tensor_get(ht_set_at(ht_bilevel_run(training, 0).gradient, 0), 0);
    double F[2], h = 1e-5;
    for (int i = 0; i < 2; F[i++] = ht_bilevel_evaluate(training, 0).outer)
        ht_tensor_fill(ht_set_at(eta, 0), i ? 0.1 + h : 0.1 - h);
    printf("hypergradient %.10f, difference %.10f\n", slope, (F[1] - F[0]) / (2 * h));
}
