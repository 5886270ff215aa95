/* SPDX-License-Identifier: MIT */
/* models.h: the networks and the data the cases share. Read next: models.c, plain.h. */
#ifndef BENCH_MODELS_H
#define BENCH_MODELS_H

#include "hypertape.h"

typedef struct bench_model bench_model;
struct bench_model {
    void (*init)(const bench_model *model, ht_set *theta);
    ht_var (*logits)(const bench_model *model, const ht_vars *theta, ht_var x);
    ht_shape image;       /* of one example */
    int64_t width, depth; /* of what is hidden */
};

/* n rows -> n losses. */
ht_var bench_model_losses(const bench_model *model, const ht_vars *theta, ht_var x,
                          ht_var label);

/* `depth` hidden layers of `width` with ReLU, and 10 classes. */
void bench_mlp_init(const bench_model *model, ht_set *theta);
ht_var bench_mlp_logits(const bench_model *model, const ht_vars *theta, ht_var x);
#define BENCH_MLP(n_in, n_hidden, n_layers)                               \
    {                                                                     \
        bench_mlp_init, bench_mlp_logits, {1, {n_in}}, .width = n_hidden, \
                                                       .depth = n_layers  \
    }
/* 784-512-512-10; 32-64-10; 784-300-10; 784-10. */
extern const bench_model bench_mlp, bench_tiny, bench_mlp_300, bench_softmax;
/* 3 x 32 x 32: convolutions 3 x 3 to 32, 32, pool, 64, pool, linear. */
extern const bench_model bench_cnn;
/* 3 x 32 x 32: patches of 4 x 4, 64 tokens of width 96, 4 heads, 4 blocks with 384
 * between. */
extern const bench_model bench_vit;

/* A new set of `rows` images "x" and labels "label"; NULL after an error. */
ht_set *bench_rows(ht_context *ctx, ht_shape image, int64_t rows);
/* Filled with noise from a stream, and labels 0 1 .. 9 0 .. */
ht_set *bench_noise(ht_context *ctx, uint64_t stream, ht_shape image, int64_t rows);
/* The bundled MNIST training images from `first` on, as vectors. */
ht_set *bench_mnist(ht_context *ctx, int64_t first, int64_t rows);

#endif
