/* SPDX-License-Identifier: MIT */
/* rater_network.c: the classifier that is trained, alone and eight at once, and the
 * rater, which is as large. Read next: rater_pool.c. */
#include <string.h>

#include "rater.h"

enum { FIRST = 1000 }; /* number of a start that no model of the table has */

void network_init(ht_set *set, int64_t pixels, int64_t outputs)
{
    ht_linear_init(set, "hidden", HT_F32, pixels, UNITS);
    ht_linear_init(set, "out", HT_F32, UNITS, outputs);
}

ht_var classifier(ht_var x, const ht_vars *weights)
{
    return ht_linear(ht_gelu(ht_linear(x, weights, "hidden")), weights, "out");
}

/* The log-probability of the label, and a number for the image alone: so what raises one
 * label lowers the others. */
ht_var rating(const ht_vars *rater, const ht_vars *examples)
{
    ht_var out = classifier(ht_get(examples, "x"), rater);
    ht_var image = ht_slice(out, 1, 10, 1, 1);
    ht_var label =
        ht_cross_entropy(ht_slice(out, 1, 0, 10, 1), ht_get(examples, "label"));
    return ht_sub(ht_reshape(image, HT_SHAPE(-1)), label);
}

void build_rating(const ht_vars *const *in, ht_vars *const *out, void *user)
{
    ht_vars_set(out[0], "score", rating(in[0], in[1]));
}

ht_set *population_of(const ht_set *model)
{
    ht_context *ctx = ht_set_context(model);
    ht_set *set = ht_set_new(ctx);
    for (int i = 0; i < ht_set_count(model); i++) {
        ht_shape is = ht_tensor_shape(ht_set_at(model, i));
        bool matrix = is.rank == 2;
        ht_set_add(set, ht_set_name(model, i), HT_F32,
                   HT_SHAPE(MODELS, matrix ? is.dim[0] : 1, is.dim[matrix]));
    }
    ht_check(ctx);
    return set;
}

void population_begin(ht_set *theta, ht_set *one, int64_t k, int64_t number)
{
    demo_start(one, FIRST + number);
    for (int i = 0; i < ht_set_count(one); i++) {
        size_t size = ht_tensor_bytes(ht_set_at(one, i));
        memcpy((char *)ht_tensor_data(ht_set_at(theta, i)) + (size_t)k * size,
               ht_tensor_data(ht_set_at(one, i)), size);
    }
}

ht_var population_losses(const ht_vars *weights, const ht_vars *images)
{
    ht_var x = ht_get(images, "x");
    x = ht_reshape(x, HT_SHAPE(MODELS, -1, ht_var_shape(x).dim[1]));
    x = ht_matmul(x, ht_get(weights, "hidden.weight"));
    x = ht_gelu(ht_add(x, ht_get(weights, "hidden.bias")));
    x = ht_matmul(x, ht_get(weights, "out.weight"));
    x = ht_reshape(ht_add(x, ht_get(weights, "out.bias")), HT_SHAPE(-1, 10));
    return ht_reshape(ht_cross_entropy(x, ht_get(images, "label")), HT_SHAPE(MODELS, -1));
}
