/* SPDX-License-Identifier: MIT */
/* norm_layers.c: normalisation layers: the ops, with a gain and a shift found by name;
 * running statistics are variables the caller holds. Read next: multi_head.c. */
#include <math.h>

#include "nn_internal.h"

/* The layer's gain, and its shift or HT_ZERO, along an axis of x. */
static ht_var norm_gain(const hti_layer *layer, int axis, ht_var *shift)
{
    ht_shape shape = HT_SHAPE(hti_layer_size(layer->x, axis));
    ht_var gain = hti_layer_get(layer, "gain", shape);
    if (shift) *shift = hti_layer_maybe(layer, "shift", shape);
    return gain;
}

ht_var ht_layernorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                             const char *site)
{
    hti_layer layer = hti_layer_of(theta, "layernorm", name, site, x);
    x = layer.x;
    ht_var shift, gain = norm_gain(&layer, -1, &shift);
    return ht_layernorm_at(x, gain, shift, eps, site);
}

ht_var ht_rmsnorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                           const char *site)
{
    hti_layer layer = hti_layer_of(theta, "rmsnorm", name, site, x);
    x = layer.x;
    return ht_rmsnorm_at(x, norm_gain(&layer, -1, NULL), eps, site);
}

ht_var ht_groupnorm_layer_at(ht_var x, const ht_vars *theta, const char *name,
                             int64_t groups, double eps, const char *site)
{
    hti_layer layer = hti_layer_of(theta, "groupnorm", name, site, x);
    x = layer.x;
    ht_var shift, gain = norm_gain(&layer, 1, &shift);
    return ht_groupnorm_at(x, groups, gain, shift, eps, site);
}

ht_var ht_batchnorm_layer_at(ht_var x, const ht_vars *theta, const char *name, double eps,
                             const char *site)
{
    hti_layer layer = hti_layer_of(theta, "batchnorm", name, site, x);
    x = layer.x;
    char text[HT_SHAPE_TEXT];
    if (hti_layer_size(x, 1) > 0 && ht_shape_count(hti_type(x).shape) == 0)
        return hti_fail(x.tape, HT_ERROR_SHAPE, site, layer.kind,
                        "\"%s\": statistics need a value a channel, x is %s", name,
                        ht_shape_text(hti_type(x).shape, text));
    ht_var shift, gain = norm_gain(&layer, 1, &shift);
    return ht_batchnorm_at(x, gain, shift, eps, site);
}

/* Running statistics. */

/* old + momentum (new - old), in the place of old. */
static void norm_average(const hti_layer *layer, ht_vars *running, const char *part,
                         ht_var batch, double momentum)
{
    const char *site = layer->site;
    ht_var old = hti_layer_get(layer, part, HT_SHAPE(hti_layer_size(layer->x, 1)));
    ht_var step = ht_mul_at(ht_sub_at(batch, old, site), ht_number(momentum), site);
    hti_layer_set(running, layer->name, part, ht_add_at(old, step, site));
}

void ht_batchnorm_track_at(ht_var x, ht_vars *running, const char *name, double momentum,
                           const char *site)
{
    hti_layer layer = hti_layer_of(running, "batchnorm_track", name, site, x);
    x = layer.x;
    ht_var mean, variance;
    if (!(momentum > 0 && momentum <= 1)) {
        hti_fail(x.tape, HT_ERROR_ARGUMENT, site, layer.kind,
                 "needs a momentum above 0 and at most 1, \"%s\" has %g", name, momentum);
        return;
    }
    ht_batch_statistics_at(x, &mean, &variance, site);
    if (hti_check_var(variance) == HTI_NONE) return;
    ht_shape shape = hti_type(x).shape;
    double each = (double)ht_shape_count(shape) / (double)shape.dim[1];
    if (!(each > 1)) {
        char text[HT_SHAPE_TEXT];
        hti_fail(x.tape, HT_ERROR_SHAPE, site, layer.kind,
                 "\"%s\": a variance needs two values a channel, x is %s", name,
                 ht_shape_text(shape, text));
        return;
    }
    norm_average(&layer, running, "mean", mean, momentum);
    variance = ht_mul_at(variance, ht_number(each / (each - 1)), site);
    norm_average(&layer, running, "variance", variance, momentum);
}

/* v (channels) beside x (n, channels, ...). */
static ht_var norm_channels(ht_var v, ht_var x, const char *site)
{
    if (ht_is_zero(v) || hti_is_poison(v) || hti_is_poison(x)) return v;
    ht_shape shape = {hti_type(x).shape.rank - 1, {hti_type(x).shape.dim[1], 1, 1, 1, 1}};
    return ht_reshape_at(v, shape, site);
}

ht_var ht_batchnorm_given_layer_at(ht_var x, const ht_vars *theta, const ht_vars *running,
                                   const char *name, double eps, const char *site)
{
    HT_ASSERT(running, "batchnorm_given: running is NULL");
    hti_layer layer = hti_layer_of(theta, "batchnorm_given", name, site, x);
    hti_layer given = layer;
    x = layer.x;
    if (!(eps > 0 && isfinite(eps)))
        return hti_fail(x.tape, HT_ERROR_ARGUMENT, site, layer.kind,
                        "needs eps > 0, \"%s\" has %g", name, eps);
    given.theta = running;
    ht_shape shape = HT_SHAPE(hti_layer_size(x, 1));
    ht_var mean = hti_layer_get(&given, "mean", shape);
    ht_var variance = hti_layer_get(&given, "variance", shape);
    ht_var shift, gain = norm_gain(&layer, 1, &shift);
    ht_var y = ht_batchnorm_given_at(x, mean, variance, eps, site);
    y = ht_mul_at(y, norm_channels(gain, y, site), site);
    return ht_add_at(y, norm_channels(shift, y, site), site);
}

void ht_batchnorm_running_init(ht_set *running, const char *name, ht_dtype dtype,
                               int64_t n)
{
    if (!hti_init_sizes(running, "ht_batchnorm_running_init", name, dtype, "n > 0", n, n))
        return;
    int before = running->n;
    if (!hti_init_fill(running, name, "mean", dtype, n, 0) ||
        !hti_init_fill(running, name, "variance", dtype, n, 1))
        hti_init_undo(running, before);
}

/* Initial values. */

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
