/* SPDX-License-Identifier: MIT */
/* models.c: see models.h. Read next: steps.c, hyper.c. */
#include "models.h"

#include <stdio.h>
#include <stdlib.h>

enum { MODELS_NAME = 32 };

static const char *models_name(char name[MODELS_NAME], const char *kind, int64_t i)
{
    snprintf(name, MODELS_NAME, "%s%lld", kind, (long long)i);
    return name;
}

ht_var bench_model_losses(const bench_model *model, const ht_vars *theta, ht_var x,
                          ht_var label)
{
    return ht_cross_entropy(model->logits(model, theta, x), label);
}

/* Layers of one width. */

void bench_mlp_init(const bench_model *model, ht_set *theta)
{
    char name[MODELS_NAME];
    int64_t n_in = model->image.dim[0];
    for (int64_t i = 1; i <= model->depth; i++, n_in = model->width)
        ht_linear_init(theta, models_name(name, "fc", i), HT_F32, n_in, model->width);
    ht_linear_init(theta, "out", HT_F32, n_in, 10);
}

ht_var bench_mlp_logits(const bench_model *model, const ht_vars *theta, ht_var x)
{
    char name[MODELS_NAME];
    for (int64_t i = 1; i <= model->depth; i++)
        x = ht_relu(ht_linear(x, theta, models_name(name, "fc", i)));
    return ht_linear(x, theta, "out");
}

const bench_model bench_mlp = BENCH_MLP(784, 512, 2);
const bench_model bench_tiny = BENCH_MLP(32, 64, 1);
const bench_model bench_mlp_300 = BENCH_MLP(784, 300, 1);
const bench_model bench_softmax = BENCH_MLP(784, 0, 0);

/* Convolutions. */

static const ht_conv_options models_conv = {{1, 1}, {1, 1}, {1, 1}, 1};
static const ht_pool_options models_pool = {{2, 2}, {2, 2}, {0, 0}};

static void models_cnn_init(const bench_model *model, ht_set *theta)
{
    (void)model;
    ht_conv2d_init(theta, "conv1", HT_F32, HT_SHAPE(32, 3, 3, 3));
    ht_conv2d_init(theta, "conv2", HT_F32, HT_SHAPE(32, 32, 3, 3));
    ht_conv2d_init(theta, "conv3", HT_F32, HT_SHAPE(64, 32, 3, 3));
    ht_linear_init(theta, "out", HT_F32, 4096, 10);
}

static ht_var models_cnn(const bench_model *model, const ht_vars *theta, ht_var x)
{
    (void)model;
    x = ht_relu(ht_conv2d_layer(x, theta, "conv1", models_conv));
    x = ht_relu(ht_conv2d_layer(x, theta, "conv2", models_conv));
    x = ht_max_pool2d(x, models_pool);
    x = ht_relu(ht_conv2d_layer(x, theta, "conv3", models_conv));
    x = ht_max_pool2d(x, models_pool);
    return ht_linear(ht_reshape(x, HT_SHAPE(-1, 4096)), theta, "out");
}

const bench_model bench_cnn = {models_cnn_init, models_cnn, {3, {3, 32, 32}}, 0, 0};

/* Attention. */

static void models_vit_init(const bench_model *model, ht_set *theta)
{
    char name[MODELS_NAME];
    int64_t width = model->width;
    ht_linear_init(theta, "patch", HT_F32, 48, width);
    ht_set_add(theta, "position", HT_F32, HT_SHAPE(64, width));
    for (int64_t i = 1; i <= model->depth; i++)
        ht_transformer_block_init(theta, models_name(name, "block", i), HT_F32, width,
                                  4 * width);
    ht_norm_init(theta, "norm", HT_F32, width);
    ht_linear_init(theta, "out", HT_F32, width, 10);
}

static ht_var models_vit(const bench_model *model, const ht_vars *theta, ht_var x)
{
    static const ht_transformer_options block = {.attention = {.heads = 4}, .eps = 1e-5};
    char name[MODELS_NAME];
    x = ht_reshape(x, HT_SHAPE(-1, 3, 8, 4, 8, 4));
    x = ht_reshape(ht_permute(x, HT_AXES(0, 2, 4, 1, 3, 5)), HT_SHAPE(-1, 64, 48));
    x = ht_add(ht_linear(x, theta, "patch"), ht_get(theta, "position"));
    for (int64_t i = 1; i <= model->depth; i++)
        x = ht_transformer_block(x, theta, models_name(name, "block", i), &block);
    x = ht_layernorm_layer(x, theta, "norm", block.eps);
    return ht_linear(ht_mean_axes(x, HT_AXES(1), false), theta, "out");
}

const bench_model bench_vit = {
    models_vit_init, models_vit, {3, {3, 32, 32}}, .width = 96, .depth = 4};

/* Data. */

ht_set *bench_rows(ht_context *ctx, ht_shape image, int64_t rows)
{
    ht_shape x = {image.rank + 1, {rows}};
    for (int i = 0; i < image.rank; i++) x.dim[i + 1] = image.dim[i];
    ht_set *set = ht_set_new(ctx);
    if (set && ht_set_add(set, "x", HT_F32, x) &&
        ht_set_add(set, "label", HT_I32, HT_SHAPE(rows)))
        return set;
    ht_set_free(set);
    return NULL;
}

ht_set *bench_noise(ht_context *ctx, uint64_t stream, ht_shape image, int64_t rows)
{
    ht_set *set = bench_rows(ctx, image, rows);
    if (!set) return NULL;
    ht_tensor_uniform(ht_set_at(set, 0), stream, 0, 1);
    for (int64_t i = 0; i < rows; i++)
        ht_tensor_set(ht_set_at(set, 1), i, (double)(i % 10));
    return set;
}

ht_set *bench_mnist(ht_context *ctx, int64_t first, int64_t rows)
{
    char path[4096];
    const char *data = getenv("HYPERTAPE_DATA");
    snprintf(path, sizeof path, "%s/mnist", data ? data : BENCH_DATA);
    ht_images images;
    ht_set *set = NULL;
    if (ht_mnist_read(ctx, path, false, &images) == HT_OK)
        set = bench_rows(ctx, HT_SHAPE(784), rows);
    if (set)
        ht_images_rows(&images, NULL, first, rows, ht_set_at(set, 0), ht_set_at(set, 1));
    ht_images_free(&images);
    return set;
}
