/* SPDX-License-Identifier: MIT */
/* 02_regression.c: a curve through eight measured points, by gradient descent. */
#include <hypertape.h>

static float at[8] = {-1.7f, -1.3f, -0.8f, -0.2f, 0.3f, 0.9f, 1.2f, 1.8f};
static float is[8] = {2.1f, 0.9f, -0.4f, -1.1f, -0.9f, 0.3f, 1.2f, 4.0f};

/* a + b x + c x^2 */
static ht_var curve(const ht_vars *theta, ht_var x)
{
    ht_var slope = ht_add(ht_get(theta, "b"), ht_mul(ht_get(theta, "c"), x));
    return ht_add(ht_get(theta, "a"), ht_mul(slope, x));
}

int main(void)
{
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.on_error = ht_print_and_exit});
    ht_tensor *points = ht_tensor_wrap(ctx, HT_F32, HT_SHAPE(8), at);
    ht_tensor *values = ht_tensor_wrap(ctx, HT_F32, HT_SHAPE(8), is);
    ht_set *theta = ht_set_new(ctx);
    for (int i = 0; i < 3; i++)
        ht_set_add(theta, (const char *[]){"a", "b", "c"}[i], HT_F32, HT_SCALAR);
    ht_set *gradient = ht_set_clone(theta, HT_F32);
    ht_update update = HT_MOMENTUM(0.05, 0.9);
    ht_optimizer *optimizer = ht_optimizer_new(theta, &update);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    for (int step = 0; step <= 200; step++) {
        ht_vars *vars = ht_vars_input(tape, theta, step);
        ht_var error =
            ht_sub(curve(vars, ht_input(tape, points)), ht_input(tape, values));
        ht_var loss = ht_mean(ht_square(error));
        ht_backward(loss, vars, gradient);
        if (step % 50 == 0) printf("step %3d: loss %.5f\n", step, ht_item(loss));
        ht_optimizer_step(optimizer, gradient);
        ht_tape_reset(tape);
    }
    printf("y = %.3f + %.3f x + %.3f x^2\n", ht_tensor_get(ht_set_at(theta, 0), 0),
           ht_tensor_get(ht_set_at(theta, 1), 0), ht_tensor_get(ht_set_at(theta, 2), 0));
}
