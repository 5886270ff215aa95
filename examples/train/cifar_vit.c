/* SPDX-License-Identifier: MIT */
/* cifar_vit.c: small colour photographs by a vision transformer (Dosovitskiy et al., ICLR
 * 2021).
 *
 *   64 patches of 4 x 4 x 3 numbers -> linear 64 + position -> 3 blocks -> norm
 *   -> mean over patches -> linear 10
 *
 * A block is attention with 4 heads and two linear layers, each after a layer norm and
 * added to what it was given. AdamW, whose rate rises before it falls: a transformer
 * forgives no large first steps. Read next: nn/ht_nn.h, README.md. */
#include "train.h"

enum {
    CLASSES = 10,
    SIDE = 8,
    PATCH = 4,
    TOKENS = SIDE * SIDE,
    WIDTH = 64,
    N_BLOCKS = 3
};

static const char *const block_names[N_BLOCKS] = {"block1", "block2", "block3"};
static const ht_transformer_options block = {.attention = {.heads = 4}, .eps = 1e-5};

static void init(ht_set *theta)
{
    ht_linear_init(theta, "patch", HT_F32, 3 * PATCH * PATCH, WIDTH);
    ht_tensor *position = ht_set_add(theta, "position", HT_F32, HT_SHAPE(TOKENS, WIDTH));
    if (position) ht_tensor_normal(position, ht_stream("position"), 0, 0.02);
    for (int i = 0; i < N_BLOCKS; i++)
        ht_transformer_block_init(theta, block_names[i], HT_F32, WIDTH, 2 * WIDTH);
    ht_norm_init(theta, "norm", HT_F32, WIDTH);
    ht_linear_init(theta, "out", HT_F32, WIDTH, CLASSES);
}

/* x (batch, 3, 32, 32) to (batch, 64, 48) */
static ht_var patches(ht_var x)
{
    x = ht_reshape(x, HT_SHAPE(-1, 3, SIDE, PATCH, SIDE, PATCH));
    x = ht_permute(x, HT_AXES(0, 2, 4, 1, 3, 5));
    return ht_reshape(x, HT_SHAPE(-1, TOKENS, 3 * PATCH * PATCH));
}

static ht_var logits(const ht_vars *theta, ht_var x)
{
    x = ht_linear(patches(ht_mul(ht_sub(x, 0.47), 4)), theta, "patch");
    x = ht_add(x, ht_get(theta, "position"));
    for (int i = 0; i < N_BLOCKS; i++)
        x = ht_transformer_block(x, theta, block_names[i], &block);
    x = ht_layernorm_layer(x, theta, "norm", block.eps);
    return ht_linear(ht_mean_axes(x, HT_AXES(1), false), theta, "out");
}

int main(int argc, char **argv)
{
    const train_task task = {
        .name = "cifar_vit",
        .about =
            "Trains a vision transformer on CIFAR-10: 64 patches, width 64, 4 heads, "
            "3 blocks.",
        .read = ht_cifar_read,
        .flip = true,
        .defaults = {.common = {.seed = 1, .data = TRAIN_DATA "/cifar"},
                     .epochs = 8,
                     .batch = 64,
                     .rate = 0.002,
                     .decay_epochs = 8},
        .warmup = 0.5,
        .update = HT_ADAMW(0, 0.05),
        .init = init,
        .logits = logits,
    };
    return train_main(argc, argv, &task);
}
