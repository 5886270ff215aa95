/* SPDX-License-Identifier: MIT */
/* hyperclean_model.c: what is trained, by --model, from rows of pixels to ten logits:
 *
 *   linear  softmax regression, from zeros
 *   mlp     one hidden layer of relu
 *   conv    5 x 5 convolutions in steps of two, relu, 2 x 2 pooling, a linear layer
 *
 * Read next: hyperclean_train.c. */
#include <math.h>

#include "hyperclean.h"

enum { CLASSES = 10, FILTERS = 8 };

const char *const clean_models[] = {"linear", "mlp", "conv", NULL};

static ht_var linear(ht_var x, const ht_vars *theta)
{
    return ht_linear(x, theta, "softmax");
}

static ht_var mlp(ht_var x, const ht_vars *theta)
{
    return ht_linear(ht_relu(ht_linear(x, theta, "hidden")), theta, "out");
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

logits_fn clean_model(const clean_options *options, const clean_data *data, ht_set *theta)
{
    static const logits_fn models[] = {linear, mlp, conv};
    int64_t pixels = data->channels * data->rows * data->cols;
    int64_t pooled = (data->rows + 1) / 2 / 2;
    if (models[options->model] == linear) {
        ht_set_add(theta, "softmax.weight", HT_F32, HT_SHAPE(pixels, CLASSES));
        ht_set_add(theta, "softmax.bias", HT_F32, HT_SHAPE(CLASSES));
    } else if (models[options->model] == mlp) {
        ht_linear_init(theta, "hidden", HT_F32, pixels, options->hidden);
        ht_linear_init(theta, "out", HT_F32, options->hidden, CLASSES);
    } else if (data->rows != data->cols || pooled < 1) {
        ht_context_fail(ht_set_context(theta), HT_ERROR_SHAPE, NULL,
                        "hyperclean: --model conv: expected square images of 3 pixels or "
                        "more, got %lld x %lld\n  hint: --model mlp takes any",
                        (long long)data->rows, (long long)data->cols);
    } else {
        ht_conv2d_init(theta, "conv", HT_F32, HT_SHAPE(FILTERS, data->channels, 5, 5));
        ht_linear_init(theta, "out", HT_F32, FILTERS * pooled * pooled, CLASSES);
    }
    return models[options->model];
}
