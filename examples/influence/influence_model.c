/* SPDX-License-Identifier: MIT */
/* influence_model.c: what is trained, a set of images and weights of each seed, and what
 * is asked. Read next: influence_trust.c. */
#include "influence.h"

#include <stdlib.h>

enum { MOST_BATCH = 4096, CLASSES = 10, WIDE = 128, NARROW = 64, FILTERS = 8 };

const char *const models[] = {"softmax", "mlp", "relu", "convnet", NULL};
static study
    *at_hand; /* what callbacks, which several threads call, read and not write */

/* Trainings. A recipe is the one found to be foretold best at about the best accuracy of
 * its network: labels mixed with others, so that no image is ever quite learned and
 * each goes on to pull, and a rate as large as that then bears; no momentum, no kinks. */
static const struct setting {
    int64_t n_train, n_batch, epochs, queries, subsets;
    double rate, momentum, smoothing, decay;
} plain[] = {{5000, 64, 20, 10, 50, 0.01, 0, 0, 0},
             {5000, 256, 20, 8, 32, 0.01, 0.9, 0, 0},
             {5000, 64, 20, 8, 32, 0.01, 0.9, 0, 0},
             {2000, 50, 10, 8, 32, 0.01, 0.9, 0, 0}},
  recipes[] = {[MLP] = {5000, 64, 20, 8, 32, 0.4, 0, 0.5, 0.0005},
               [CONVNET] = {2000, 50, 10, 8, 32, 0.15, 0, 0.3, 0}};

bool has_recipe(int model)
{
    return model == MLP || model == CONVNET;
}

void model_defaults(study *s)
{
    const struct setting *is =
        s->recipe && has_recipe(s->model) ? &recipes[s->model] : &plain[s->model];
    if (!s->options.common.data)
        s->options.common.data = s->model == CONVNET ? CIFAR_DATA : MNIST_DATA;
    if (!s->orders) s->orders = 1;
    if (!s->n_train) s->n_train = is->n_train;
    if (!s->n_batch) s->n_batch = is->n_batch;
    if (!s->epochs) s->epochs = is->epochs;
    if (s->most_queries < 0) s->most_queries = is->queries;
    if (s->most_subsets < 0) s->most_subsets = is->subsets;
    if (!(s->rate > 0)) s->rate = is->rate;
    if (s->momentum < 0) s->momentum = is->momentum;
    if (s->smoothing < 0) s->smoothing = is->smoothing;
    if (s->decay < 0) s->decay = is->decay;
    s->steps = s->epochs * (s->n_train / s->n_batch);
}

static ht_var perceptron(ht_var x, const ht_vars *params)
{
    static const char *const hidden[] = {"hidden", "narrow"};
    for (int k = 0; k < 2; k++) {
        x = ht_linear(x, params, hidden[k]);
        x = at_hand->model == RELU ? ht_relu(x) : ht_gelu(x);
    }
    return ht_linear(x, params, "out");
}

/* With relu and the largest of four; by the recipe gelu and their mean. */
static ht_var convolved(ht_var x, const ht_vars *params, const char *name)
{
    const ht_conv_options same = {{1, 1}, {1, 1}, {1, 1}, 1};
    const ht_pool_options half = {{2, 2}, {2, 2}, {0, 0}};
    x = ht_conv2d_layer(x, params, name, same);
    return at_hand->recipe ? ht_avg_pool2d(ht_gelu(x), half)
                           : ht_max_pool2d(ht_relu(x), half);
}

/* Photographs at half their size. */
static ht_var convnet(ht_var x, const ht_vars *params)
{
    const ht_pool_options half = {{2, 2}, {2, 2}, {0, 0}};
    int64_t n = ht_var_shape(x).dim[0];
    x = ht_avg_pool2d(ht_reshape(x, HT_SHAPE(n, 3, 32, 32)), half);
    x = convolved(ht_mul(ht_sub(x, 0.47), 4), params, "conv1");
    x = convolved(x, params, "conv2");
    return ht_linear(ht_reshape(x, HT_SHAPE(n, -1)), params, "out");
}

static ht_var network(ht_var x, const ht_vars *params)
{
    return at_hand->model == SOFTMAX   ? demo_linear(x, params)
           : at_hand->model == CONVNET ? convnet(x, params)
                                       : perceptron(x, params);
}

static void network_init(ht_set *theta, int64_t pixels)
{
    if (at_hand->model == SOFTMAX) {
        demo_linear_init(theta, pixels);
    } else if (at_hand->model == CONVNET) {
        demo_convnet_init(theta, FILTERS);
    } else {
        ht_linear_init(theta, "hidden", HT_F32, pixels, WIDE);
        ht_linear_init(theta, "narrow", HT_F32, WIDE, NARROW);
        ht_linear_init(theta, "out", HT_F32, NARROW, CLASSES);
    }
    ht_check(ht_set_context(theta));
}

static ht_var inner_loss(const ht_vars *params, const ht_vars *outer,
                         const ht_vars *images, void *user)
{
    ht_var w = ht_gather(ht_get(outer, "w"), ht_get(images, "row"));
    ht_var z = network(ht_get(images, "x"), params), y = ht_get(images, "label");
    ht_var loss = at_hand->smoothing > 0
                      ? ht_cross_entropy_smoothed(z, y, at_hand->smoothing)
                      : ht_cross_entropy(z, y);
    return ht_mean(ht_mul(w, loss));
}

/* (m), or of one 0-d. What is masked is no summand: exp of it is 0. */
static ht_var margins(const ht_vars *params, const ht_vars *outer, const ht_vars *images,
                      void *user)
{
    ht_var z = network(ht_get(images, "x"), params);
    ht_var is = ht_one_hot(ht_get(images, "label"), CLASSES, HT_F32);
    ht_var others = ht_logsumexp_axes(ht_sub(z, ht_mul(is, 1e9)), HT_AXES(1), false);
    z = ht_sub(ht_sum_axes(ht_mul(z, is), HT_AXES(1), false), others);
    return ht_var_shape(z).dim[0] == 1 ? ht_sum(z) : z;
}

static ht_status batch(uint64_t step, ht_set *room, void *user)
{
    int64_t rows[MOST_BATCH];
    ht_batch_order(at_hand->seed, step, at_hand->n_train, at_hand->n_batch, rows);
    return demo_fill(room, at_hand->train, rows, 0);
}

ht_bilevel_problem training_of(const study *s, ht_set *asked)
{
    static ht_rate falls;
    ht_update update =
        s->momentum > 0 ? HT_MOMENTUM(s->rate, s->momentum) : HT_SGD(s->rate);
    falls = (ht_rate){.steps = s->steps};
    if (s->cosine) update.rate.schedule = ht_rate_cosine, update.rate.user = &falls;
    update.decay = HT_FIXED(s->decay);
    return (ht_bilevel_problem){.inner = inner_loss,
                                .outer = margins,
                                .theta = s->theta,
                                .eta = s->weights,
                                .inner_data = s->room,
                                .inner_batch = batch,
                                .outer_data = asked,
                                .update = update,
                                .steps = s->steps};
}

ht_set *test_images(const study *s, int64_t n)
{
    return demo_set(s->own, &s->others, s->asked, n);
}

void model_data(study *s)
{
    at_hand = s;
    demo_read(s->ctx, s->options.common.data, s->n_train, &s->images, &s->others);
    if (s->model == CONVNET && ht_tensor_shape(s->images.pixels).rank != 4)
        ht_context_fail(s->ctx, HT_ERROR_ARGUMENT, NULL,
                        "--model convnet: expected photographs of 3 x 32 x 32 in %s\n"
                        "  hint: without --data it is CIFAR-10; --model mlp takes any",
                        s->options.common.data);
    ht_check(s->ctx);
}

double test_accuracy(study *s, const ht_set *theta)
{
    if (!s->judge) {
        int64_t n = ht_tensor_count(s->others.labels);
        ht_set *like = ht_set_new(s->ctx);
        ht_check(s->ctx);
        network_init(like, ht_tensor_count(s->others.pixels) / n);
        s->judge = judge_new(like, demo_set(s->ctx, &s->others, NULL, n), network);
        ht_set_free(like);
    }
    return judge_accuracy(s->judge, theta, NULL);
}

void seed_begin(study *s)
{
    s->seed_began = stopwatch_now();
    s->own = ht_context_new(
        &(ht_context_options){.seed = s->seed, .threads = s->options.common.threads});
    HT_ASSERT(s->own, "no memory for a context");
    s->row = demo_rows(s->own, &s->images, s->n_train);
    s->asked = demo_rows(s->own, &s->others, MOST_QUERIES);
    s->train = demo_set(s->own, &s->images, s->row, s->n_train);
    ht_tensor *row = ht_set_add(s->train, "row", HT_I32, HT_SHAPE(s->n_train));
    s->weights = ht_set_new(s->own);
    ht_tensor *w = ht_set_add(s->weights, "w", HT_F32, HT_SHAPE(s->n_train));
    ht_check(s->own);
    ht_tensor_fill(w, 1);
    for (int64_t i = 0; i < s->n_train; i++) ht_tensor_set(row, i, (double)i);
    s->theta = ht_set_new(s->own);
    network_init(s->theta,
                 ht_tensor_count(s->images.pixels) / ht_tensor_count(s->images.labels));
    s->room = demo_room(s->train, s->n_batch);
}

void seed_end(study *s)
{
    ht_set *const set[] = {s->room, s->train, s->theta, s->weights};
    for (int k = 0; k < 4; k++) ht_set_free(set[k]);
    free(s->row);
    free(s->asked);
    ht_context_free(s->own);
}
