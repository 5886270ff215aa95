/* SPDX-License-Identifier: MIT */
/* write_network.c: the network that is written into, and where its training starts.
 * Read next: write_picture.c. */
#include <math.h>

#include "write.h"

void network_init(ht_set *theta, int64_t pixels, int64_t rows, int64_t cols)
{
    ht_linear_init(theta, "first", HT_F32, pixels, rows);
    ht_linear_init(theta, "page", HT_F32, rows, cols);
    ht_linear_init(theta, "out", HT_F32, cols, 10);
}

ht_var network(ht_var x, const ht_vars *theta)
{
    x = ht_gelu(ht_linear(x, theta, "first"));
    x = ht_gelu(ht_linear(x, theta, "page"));
    return ht_linear(x, theta, "out");
}

ht_var network_loss(const ht_vars *theta, ht_var x, const ht_vars *data, bool real)
{
    ht_var z = network(x, theta);
    ht_var loss = ht_mean(ht_cross_entropy(z, ht_get(data, "label")));
    if (!real) return loss;
    z = network(ht_get(data, "real_x"), theta);
    return ht_add(loss, ht_mean(ht_cross_entropy(z, ht_get(data, "real_label"))));
}

void network_add_real(ht_set *data, ht_set *real)
{
    const ht_tensor *x = ht_set_tensor(real, "x"), *label = ht_set_tensor(real, "label");
    ht_tensor *to_x = ht_set_add(data, "real_x", HT_F32, ht_tensor_shape(x));
    ht_tensor *to = ht_set_add(data, "real_label", HT_I32, ht_tensor_shape(label));
    ht_check(ht_set_context(data));
    ht_tensor_copy(to_x, x);
    ht_tensor_copy(to, label);
    ht_set_free(real);
}

void network_start(ht_set *theta, int64_t number, double shake)
{
    ht_set *off = ht_set_clone(theta, 0);
    ht_check(ht_set_context(theta));
    demo_start(theta, number);
    demo_start(off, OTHER_STARTS / 2 + number % OTHER_STARTS);
    double keep = sqrt(1 - shake * shake), half = sqrt(0.5); /* He's has 2 / inputs */
    for (int i = 0; i < ht_set_count(theta); i++) {
        float *w = ht_tensor_data(ht_set_at(theta, i));
        const float *by = ht_tensor_data(ht_set_at(off, i));
        for (int64_t k = 0; k < ht_tensor_count(ht_set_at(theta, i)); k++)
            w[k] = (float)(half * (keep * (double)w[k] + shake * (double)by[k]));
    }
    ht_set_free(off);
}
