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
