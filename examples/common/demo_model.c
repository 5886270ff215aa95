/* SPDX-License-Identifier: MIT */
/* demo_model.c: networks that demos train, from rows of pixels in 0 .. 1 to ten logits.
 * Read next: ../../nn/ht_nn.h, demo.c. */
#include "demo.h"

enum { CLASSES = 10, SIDE = 32, COLOURS = 3 };

void demo_mlp_init(ht_set *theta, int64_t pixels, int64_t hidden)
{
    ht_linear_init(theta, "hidden", HT_F32, pixels, hidden);
    ht_linear_init(theta, "out", HT_F32, hidden, CLASSES);
}

ht_var demo_mlp(ht_var x, const ht_vars *theta)
{
    return ht_linear(ht_relu(ht_linear(x, theta, "hidden")), theta, "out");
}

void demo_convnet_init(ht_set *theta, int64_t filters)
{
    const int64_t pooled = (SIDE / 8) * (SIDE / 8);
    ht_conv2d_init(theta, "conv1", HT_F32, HT_SHAPE(filters, COLOURS, 3, 3));
    ht_conv2d_init(theta, "conv2", HT_F32, HT_SHAPE(2 * filters, filters, 3, 3));
    ht_linear_init(theta, "out", HT_F32, 2 * filters * pooled, CLASSES);
}

ht_var demo_convnet(ht_var x, const ht_vars *theta)
{
    const ht_conv_options same = {{1, 1}, {1, 1}, {1, 1}, 1};
    const ht_pool_options half = {{2, 2}, {2, 2}, {0, 0}};
    int64_t n = ht_var_shape(x).dim[0];
    x = ht_avg_pool2d(ht_reshape(x, HT_SHAPE(n, COLOURS, SIDE, SIDE)), half);
    x = ht_mul(ht_sub(x, 0.47), 4);
    x = ht_max_pool2d(ht_relu(ht_conv2d_layer(x, theta, "conv1", same)), half);
    x = ht_max_pool2d(ht_relu(ht_conv2d_layer(x, theta, "conv2", same)), half);
    return ht_linear(ht_reshape(x, HT_SHAPE(n, -1)), theta, "out");
}

ht_var demo_losses(logits_fn model, const ht_vars *theta, const ht_vars *images)
{
    return ht_cross_entropy(model(ht_get(images, "x"), theta), ht_get(images, "label"));
}
