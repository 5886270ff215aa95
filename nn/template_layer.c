/* SPDX-License-Identifier: MIT */
/* template_layer.c: a small layer, to copy; the tests run it. A gated linear unit,
 *   (x U + b) sigmoid(x V + c)   (Dauphin et al. 2017),
 * whose parameters are name.value.* and name.gate.*. Read next: README.md, "Add a
 * layer". */
#include <math.h>

#include "nn_internal.h"

static ht_var gated_at(ht_var x, const ht_vars *theta, const char *name, const char *site)
{
    hti_layer layer = hti_layer_of(theta, "gated", name, site, x);
    ht_var value = hti_layer_linear(&layer, "value.weight", "value.bias", -1);
    int64_t n_out = hti_layer_size(value, -1);
    ht_var gate = hti_layer_linear(&layer, "gate.weight", "gate.bias", n_out);
    return ht_mul_at(value, ht_sigmoid_at(gate, site), site);
}

static void gated_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                       int64_t n_out)
{
    if (!hti_init_sizes(theta, "gated_init", name, dtype, "n_in > 0 and n_out > 0", n_in,
                        n_out))
        return;
    int before = theta->n;
    double bound = 1 / sqrt((double)n_in);
    ht_shape weight = HT_SHAPE(n_in, n_out), bias = HT_SHAPE(n_out);
    if (!hti_init_uniform(theta, name, "value.weight", dtype, weight, bound) ||
        !hti_init_uniform(theta, name, "value.bias", dtype, bias, bound) ||
        !hti_init_uniform(theta, name, "gate.weight", dtype, weight, bound) ||
        !hti_init_uniform(theta, name, "gate.bias", dtype, bias, bound))
        hti_init_undo(theta, before);
}
