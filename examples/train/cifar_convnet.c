/* SPDX-License-Identifier: MIT */
/* cifar_convnet.c: small colour photographs by a convolutional network.
 *
 *   3 x 32 x 32 -> conv 32 -> pool -> conv 64 -> pool -> conv 64 -> pool -> linear 10
 *
 * Convolutions are 3 x 3, each followed by relu and a 2 x 2 pooling that keeps the
 * largest; weights start as He et al. (2015) have it. Half of the images are mirrored,
 * another half each epoch. Read next: cifar_vit.c. */
#include "train.h"

enum { CLASSES = 10, N_LAYERS = 3, LAST_SIDE = 4 };

static const char *const layer_names[N_LAYERS] = {"conv1", "conv2", "conv3"};
static const int64_t channels[N_LAYERS + 1] = {3, 32, 64, 64};

static void init(ht_set *theta)
{
    for (int i = 0; i < N_LAYERS; i++) {
        int before = ht_set_count(theta);
        ht_conv2d_init(theta, layer_names[i], HT_F32,
                       HT_SHAPE(channels[i + 1], channels[i], 3, 3));
        if (ht_set_count(theta) > before)
            ht_he_normal(ht_set_at(theta, before), ht_stream(layer_names[i]));
    }
    ht_linear_init(theta, "out", HT_F32, channels[N_LAYERS] * LAST_SIDE * LAST_SIDE,
                   CLASSES);
}

/* x (batch, 3, 32, 32) */
static ht_var logits(const ht_vars *theta, ht_var x)
{
    const ht_conv_options same = {{1, 1}, {1, 1}, {1, 1}, 1};
    const ht_pool_options half = {{2, 2}, {2, 2}, {0, 0}};
    x = ht_mul(ht_sub(x, 0.47), 4);
    for (int i = 0; i < N_LAYERS; i++) {
        x = ht_relu(ht_conv2d_layer(x, theta, layer_names[i], same));
        x = ht_max_pool2d(x, half);
    }
    x = ht_reshape(x, HT_SHAPE(-1, channels[N_LAYERS] * LAST_SIDE * LAST_SIDE));
    return ht_linear(x, theta, "out");
}

int main(int argc, char **argv)
{
    const train_task task = {
        .name = "cifar_convnet",
        .about =
            "Trains a convolutional network on CIFAR-10: three convolutions of 32, 64 "
            "and 64\nchannels, pooling between them, and a linear layer.",
        .read = ht_cifar_read,
        .flip = true,
        .defaults = {.common = {.seed = 1, .data = TRAIN_DATA "/cifar"},
                     .epochs = 6,
                     .batch = 64,
                     .rate = 0.002,
                     .decay_epochs = 6},
        .warmup = 0.2,
        .update = HT_ADAM(0),
        .init = init,
        .logits = logits,
    };
    return train_main(argc, argv, &task);
}
