/* SPDX-License-Identifier: MIT */
/* mnist_mlp.c: handwritten digits by a multilayer perceptron.
 *
 *   784 pixels -> 512 -> relu -> 512 -> relu -> 10,  AdamW
 *
 * A model is two functions: one makes its parameters, one says how they act on a batch.
 * Everything else, from the command line to the last accuracy, is train.c.
 * Read next: cifar_convnet.c, train.c. */
#include "train.h"

enum { PIXELS = 28 * 28, HIDDEN = 512, CLASSES = 10 };

static void init(ht_set *theta)
{
    ht_linear_init(theta, "hidden1", HT_F32, PIXELS, HIDDEN);
    ht_linear_init(theta, "hidden2", HT_F32, HIDDEN, HIDDEN);
    ht_linear_init(theta, "out", HT_F32, HIDDEN, CLASSES);
}

/* x (batch, 28, 28) */
static ht_var logits(const ht_vars *theta, ht_var x)
{
    x = ht_reshape(x, HT_SHAPE(-1, PIXELS));
    ht_var hidden = ht_relu(ht_linear(x, theta, "hidden1"));
    hidden = ht_relu(ht_linear(hidden, theta, "hidden2"));
    return ht_linear(hidden, theta, "out");
}

int main(int argc, char **argv)
{
    const train_task task = {
        .name = "mnist_mlp",
        .about = "Trains a multilayer perceptron on MNIST: 784 pixels, two layers of "
                 "512 hidden\nunits, 10 digits.",
        .read = ht_mnist_read,
        .defaults = {.common = {.seed = 1, .data = TRAIN_DATA "/mnist"},
                     .epochs = 10,
                     .batch = 128,
                     .rate = 0.002,
                     .decay_epochs = 10},
        .warmup = 0.2,
        .update = HT_ADAMW(0, 0.1),
        .init = init,
        .logits = logits,
    };
    return train_main(argc, argv, &task);
}
