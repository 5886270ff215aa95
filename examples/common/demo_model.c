/* SPDX-License-Identifier: MIT */
/* demo_model.c: networks that demos train, from rows of pixels in 0 .. 1 to ten logits.
 * Read next: ../../nn/ht_nn.h, demo.c. */
#include <math.h>

#include "demo.h"

enum { CLASSES = 10, SIDE = 32, COLOURS = 3, FILTERS = 8 };

void demo_linear_init(ht_set *theta, int64_t pixels)
{
    ht_set_add(theta, "softmax.weight", HT_F32, HT_SHAPE(pixels, CLASSES));
    ht_set_add(theta, "softmax.bias", HT_F32, HT_SHAPE(CLASSES));
}

ht_var demo_linear(ht_var x, const ht_vars *theta)
{
    return ht_linear(x, theta, "softmax");
}

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

static void conv_init(ht_set *theta, ht_shape image)
{
    int64_t channels = image.rank == 4 ? image.dim[1] : 1;
    int64_t rows = image.dim[image.rank - 2], cols = image.dim[image.rank - 1];
    int64_t pooled = (rows + 1) / 2 / 2;
    if (rows != cols || pooled < 1)
        ht_context_fail(ht_set_context(theta), HT_ERROR_SHAPE, NULL,
                        "--model conv: expected square images of 3 pixels or more, got "
                        "%lld x %lld\n  hint: --model mlp takes any",
                        (long long)rows, (long long)cols);
    ht_check(ht_set_context(theta));
    ht_conv2d_init(theta, "conv", HT_F32, HT_SHAPE(FILTERS, channels, 5, 5));
    ht_linear_init(theta, "out", HT_F32, FILTERS * pooled * pooled, CLASSES);
}

/* x (n, channels side side) */
static ht_var conv(ht_var x, const ht_vars *theta)
{
    const ht_conv_options half = {.stride = {2, 2}, .padding = {2, 2}};
    int64_t channels = ht_var_shape(ht_get(theta, "conv.weight")).dim[1];
    ht_shape flat = ht_var_shape(x);
    int64_t side = lround(sqrt((double)(flat.dim[1] / channels)));
    x = ht_reshape(x, HT_SHAPE(flat.dim[0], channels, side, side));
    x = ht_relu(ht_conv2d_layer(ht_sub(x, 0.5), theta, "conv", half));
    x = ht_max_pool2d(x, (ht_pool_options){.kernel = {2, 2}});
    return ht_linear(ht_reshape(x, HT_SHAPE(flat.dim[0], -1)), theta, "out");
}

const char *const demo_models[] = {"linear", "mlp", "conv", NULL};

logits_fn demo_model(int which, ht_set *theta, const ht_images *like, int64_t hidden)
{
    static const logits_fn models[] = {demo_linear, demo_mlp, conv};
    int64_t pixels = ht_tensor_count(like->pixels) / ht_tensor_count(like->labels);
    if (models[which] == demo_linear) demo_linear_init(theta, pixels);
    if (models[which] == demo_mlp) demo_mlp_init(theta, pixels, hidden);
    if (models[which] == conv) conv_init(theta, ht_tensor_shape(like->pixels));
    ht_check(ht_set_context(theta));
    return models[which];
}

ht_var demo_losses(logits_fn model, const ht_vars *theta, const ht_vars *images)
{
    return ht_cross_entropy(model(ht_get(images, "x"), theta), ht_get(images, "label"));
}
