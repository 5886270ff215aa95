/* SPDX-License-Identifier: MIT */
/* norm.c: normalisation layers: the ops, with a gain and a shift found by name. Read
 * next: attention.c. */
#include "nn_internal.h"

ht_var ht_layernorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                             const char *site)
{
    ht_var gain = hti_layer_get(theta, "layernorm", name, "gain", site);
    return ht_layernorm_at(x, gain, hti_layer_maybe(theta, name, "shift"), eps, site);
}

ht_var ht_rmsnorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                           const char *site)
{
    return ht_rmsnorm_at(x, hti_layer_get(theta, "rmsnorm", name, "gain", site), eps,
                         site);
}

ht_var ht_groupnorm_layer_at(ht_var x, const ht_vars *theta, const char *name,
                             int64_t groups, double eps, const char *site)
{
    ht_var gain = hti_layer_get(theta, "groupnorm", name, "gain", site);
    return ht_groupnorm_at(x, groups, gain, hti_layer_maybe(theta, name, "shift"), eps,
                           site);
}

ht_var ht_batchnorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                             const char *site)
{
    ht_var gain = hti_layer_get(theta, "batchnorm", name, "gain", site);
    return ht_batchnorm_at(x, gain, hti_layer_maybe(theta, name, "shift"), eps, site);
}

void ht_norm_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n)
{
    if (!hti_init_sizes(theta, "ht_norm_init", name, dtype, "n > 0", n, n)) return;
    int before = theta->n;
    if (!hti_init_fill(theta, name, "gain", dtype, n, 1) ||
        !hti_init_fill(theta, name, "shift", dtype, n, 0))
        hti_init_undo(theta, before);
}

void ht_rmsnorm_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n)
{
    if (hti_init_sizes(theta, "ht_rmsnorm_init", name, dtype, "n > 0", n, n))
        hti_init_fill(theta, name, "gain", dtype, n, 1);
}
