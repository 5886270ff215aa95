/* SPDX-License-Identifier: MIT */
/* 03_digits.c: a network learns to read digits, is saved, loaded and asked. */
#include <hypertape.h>

enum { PIXELS = 784, HIDDEN = 256, BATCH = 100, EPOCHS = 5, ASKED = 3 };

static ht_var logits(const ht_vars *theta, ht_var x)
{
    return ht_linear(ht_relu(ht_linear(x, theta, "hidden")), theta, "out");
}

int main(int argc, char **argv)
{
    ht_context *ctx =
        ht_context_new(&(ht_context_options){.on_error = ht_print_and_exit});
    const char *folder = argc > 1 ? argv[1] : "data/bundled/mnist";
    ht_images train, test;
    ht_mnist_read(ctx, folder, false, &train);
    ht_mnist_read(ctx, folder, true, &test);
    int64_t n = ht_tensor_count(train.labels), m = ht_tensor_count(test.labels);
    ht_tensor *x = ht_tensor_new(ctx, HT_F32, HT_SHAPE(BATCH, PIXELS));
    ht_tensor *label = ht_tensor_new(ctx, HT_I32, HT_SHAPE(BATCH));
    ht_tensor *unseen = ht_tensor_new(ctx, HT_F32, HT_SHAPE(m, PIXELS));
    ht_images_rows(&test, NULL, 0, m, unseen, NULL);

    ht_set *theta = ht_set_new(ctx);
    ht_linear_init(theta, "hidden", HT_F32, PIXELS, HIDDEN);
    ht_linear_init(theta, "out", HT_F32, HIDDEN, train.classes);
    ht_set *gradient = ht_set_clone(theta, HT_F32);
    ht_update update = HT_ADAM(1e-3);
    ht_optimizer *adam = ht_optimizer_new(theta, &update);
    ht_tape *tape = ht_tape_new(ctx, HT_EAGER);
    for (int step = 1; step <= EPOCHS * (n / BATCH); step++) {
        int64_t rows[BATCH];
        ht_batch_order(1, (uint64_t)step - 1, n, BATCH, rows);
        ht_images_rows(&train, rows, 0, BATCH, x, label);
        ht_vars *vars = ht_vars_input(tape, theta, step);
        ht_var guess = logits(vars, ht_input(tape, x));
        ht_var loss = ht_mean(ht_cross_entropy(guess, ht_input(tape, label)));
        ht_backward(loss, vars, gradient);
        ht_optimizer_step(adam, gradient);
        ht_tape_reset(tape); /* forgets this step; its memory is used again */
        if (step % (n / BATCH)) continue;
        ht_var out = logits(ht_vars_input(tape, theta, step), ht_input(tape, unseen));
        printf("epoch %d: %.2f %% of unseen digits right\n", (int)(step / (n / BATCH)),
               100 * ht_accuracy(ht_value(out), test.labels));
        ht_tape_reset(tape);
    }
    ht_set_write(theta, "digits.safetensors");
    ht_set *loaded = ht_set_load(ctx, "digits.safetensors");
    ht_tensor *few = ht_tensor_new(ctx, HT_F32, HT_SHAPE(ASKED, PIXELS));
    ht_rows(few, unseen, NULL, 0, ASKED);
    ht_var read = ht_argmax(logits(ht_vars_input(tape, loaded, 0), ht_input(tape, few)));
    for (int i = 0; i < ASKED; i++)
        printf("%.0f read as %.0f\n", ht_tensor_get(test.labels, i),
               ht_tensor_get(ht_value(read), i));
}
