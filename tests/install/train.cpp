/* SPDX-License-Identifier: MIT */
/* train.cpp: a network trained, and a training differentiated, in C++17. Exit status 0 if
 * the loss fell a hundredfold and the hypergradient is the difference. */
#include <hypertape.h>

#include <cmath>
#include <cstdio>
#include <initializer_list>

static ht_var fit(const ht_vars *theta, const ht_vars *, const ht_vars *data, void *)
{
    ht_var hidden = ht_tanh(ht_linear(ht_get(data, "x"), theta, "hidden"));
    ht_var guess = ht_linear(hidden, theta, "out");
    return ht_mul(0.5, ht_mean(ht_squared_error(guess, ht_get(data, "y"))));
}

static ht_var penalised(const ht_vars *theta, const ht_vars *eta, const ht_vars *data,
                        void *user)
{
    ht_var penalty = ht_mul(ht_get(eta, "penalty"), ht_l2(theta, "*.weight"));
    return ht_add(fit(theta, eta, data, user), penalty);
}

static double train(ht_context *ctx, ht_set *theta, const ht_set *data, int steps)
{
    ht_update update = HT_MOMENTUM(0.1, 0.9);
    ht_optimizer *optimizer = ht_optimizer_new(theta, &update);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    ht_set *gradient = ht_set_clone(theta, HT_F64);
    double loss = NAN;
    for (int step = 0; step < steps; step++) {
        ht_vars *vars = ht_vars_input(tape, theta, step);
        ht_var y = fit(vars, nullptr, ht_vars_input(tape, data, step), nullptr);
        ht_backward(y, vars, gradient);
        ht_optimizer_step(optimizer, gradient);
        loss = ht_item(y);
        ht_tape_reset(tape);
        ht_check(ctx);
    }
    ht_set_free(gradient);
    ht_tape_free(tape);
    ht_optimizer_free(optimizer);
    return loss;
}

/* The relative difference between the hypergradient and a central difference. */
static double mistake(ht_context *ctx, ht_set *theta, ht_set *eta, ht_set *data)
{
    ht_bilevel_problem problem = {};
    problem.inner = penalised;
    problem.outer = fit;
    problem.theta = theta;
    problem.eta = eta;
    problem.inner_data = problem.outer_data = data;
    problem.steps = 50;
    problem.update = HT_SGD(0.1);
    ht_bilevel *training = ht_bilevel_new(ctx, &problem, nullptr);
    ht_check(ctx);
    double slope = ht_tensor_get(ht_set_at(ht_bilevel_run(training, 0).gradient, 0), 0);
    double h = 1e-5, loss[2];
    for (int i = 0; i < 2; i++) {
        ht_tensor_fill(ht_set_at(eta, 0), i ? 0.1 + h : 0.1 - h);
        loss[i] = ht_bilevel_evaluate(training, 0).outer;
    }
    ht_bilevel_free(training);
    double difference = (loss[1] - loss[0]) / (2 * h);
    std::printf("hypergradient %.10f, difference %.10f\n", slope, difference);
    return std::fabs(slope / difference - 1);
}

int main()
{
    ht_context *ctx = ht_context_new(nullptr);
    ht_set *theta = ht_set_new(ctx), *eta = ht_set_new(ctx), *data = ht_set_new(ctx);
    ht_linear_init(theta, "hidden", HT_F64, 8, 16);
    ht_linear_init(theta, "out", HT_F64, 16, 1);
    ht_tensor_fill(ht_set_add(eta, "penalty", HT_F64, HT_SCALAR), 0.1);
    ht_tensor_normal(ht_set_add(data, "x", HT_F64, HT_SHAPE(20, 8)), 1, 0, 1);
    ht_tensor_normal(ht_set_add(data, "y", HT_F64, HT_SHAPE(20, 1)), 2, 0, 1);
    double wrong = mistake(ctx, theta, eta, data);
    double first = train(ctx, theta, data, 1), last = train(ctx, theta, data, 500);
    std::printf("loss %g, after training %g\n", first, last);
    ht_check(ctx);
    for (ht_set *set : {theta, eta, data}) ht_set_free(set);
    ht_context_free(ctx);
    return wrong < 1e-6 && last < first / 100 ? 0 : 1;
}
