/* SPDX-License-Identifier: MIT */
/* attention.c: multi-head attention: four linear layers about the op. Read next:
 * recurrent.c. */
#include <math.h>
#include <stdio.h>

#include "nn_internal.h"

/* x . name.part.weight + name.part.bias */
static ht_var heads_linear(ht_var x, const ht_vars *theta, const char *name,
                           const char *part, const char *site)
{
    char weight[32], bias[32];
    snprintf(weight, sizeof weight, "%s.weight", part);
    snprintf(bias, sizeof bias, "%s.bias", part);
    ht_var w = hti_layer_get(theta, "multi_head_attention", name, weight, site);
    return ht_add_at(ht_matmul_at(x, w, site), hti_layer_maybe(theta, name, bias), site);
}

/* (..., t, heads, d) and (..., heads, t, d): its own inverse. */
static ht_var heads_swap(ht_var x, const char *site)
{
    ht_axes axes = {ht_var_shape(x).rank, {0, 1, 2, 3, 4, 5}};
    if (axes.n < 3) return x;
    axes.axis[axes.n - 3] = axes.n - 2;
    axes.axis[axes.n - 2] = axes.n - 3;
    return ht_permute_at(x, axes, site);
}

/* (..., t, width) to (..., heads, t, width / heads). */
static ht_var heads_split(ht_var x, int64_t heads, const char *site)
{
    if (hti_is_poison(x)) return x;
    ht_shape shape = ht_var_shape(x);
    shape.dim[shape.rank - 1] /= heads;
    shape.dim[shape.rank] = shape.dim[shape.rank - 1];
    shape.dim[shape.rank++ - 1] = heads;
    return heads_swap(ht_reshape_at(x, shape, site), site);
}

static ht_var heads_join(ht_var x, const char *site)
{
    if (hti_is_poison(x)) return x;
    x = heads_swap(x, site);
    ht_shape shape = ht_var_shape(x);
    shape.rank--;
    shape.dim[shape.rank - 1] *= shape.dim[shape.rank];
    return ht_reshape_at(x, shape, site);
}

static bool heads_check(ht_var x, ht_var context, const ht_heads *options,
                        const char *site)
{
    if (hti_check_var(x) == HTI_NONE || hti_check_var(context) == HTI_NONE) return false;
    ht_shape a = ht_var_shape(x), b = ht_var_shape(context);
    char text[2][HT_SHAPE_TEXT];
    bool ok = a.rank >= 2 && a.rank < HT_MAX_RANK && b.rank >= 2 &&
              b.rank < HT_MAX_RANK && options->heads > 0 &&
              a.dim[a.rank - 1] == b.dim[b.rank - 1] &&
              a.dim[a.rank - 1] % options->heads == 0;
    if (!ok)
        hti_fail(
            x.tape, HT_ERROR_SHAPE, site, "multi_head_attention",
            "needs x (..., t, width) and context (..., s, width) of at most %d axes, "
            "the width a multiple of the heads, got %s, %s and %lld heads",
            HT_MAX_RANK - 1, ht_shape_text(a, text[0]), ht_shape_text(b, text[1]),
            (long long)options->heads);
    return ok;
}

ht_var ht_multi_head_attention_at(ht_var x, ht_var context, const ht_vars *theta,
                                  const char *name, const ht_heads *options,
                                  const char *site)
{
    HT_ASSERT(theta && name && options, "theta, name or options is NULL");
    if (!heads_check(x, context, options, site)) return hti_poison(theta->tape);
    int64_t n = options->heads;
    ht_var q = heads_split(heads_linear(x, theta, name, "query", site), n, site);
    ht_var k = heads_split(heads_linear(context, theta, name, "key", site), n, site);
    ht_var v = heads_split(heads_linear(context, theta, name, "value", site), n, site);
    ht_var mask = options->mask ? *options->mask : HT_ZERO;
    ht_var y = ht_attention_at(q, k, v, mask, options->causal, site);
    return heads_linear(heads_join(y, site), theta, name, "out", site);
}

void ht_multi_head_attention_init(ht_set *theta, const char *name, ht_dtype dtype,
                                  int64_t width)
{
    static const char *const parts[4][2] = {{"query.weight", "query.bias"},
                                            {"key.weight", "key.bias"},
                                            {"value.weight", "value.bias"},
                                            {"out.weight", "out.bias"}};
    if (!hti_init_sizes(theta, "ht_multi_head_attention_init", name, dtype, "width > 0",
                        width, width))
        return;
    int before = theta->n;
    double bound = sqrt(3 / (double)width);
    for (int i = 0; i < 4; i++)
        if (!hti_init_uniform(theta, name, parts[i][0], dtype, HT_SHAPE(width, width),
                              bound) ||
            !hti_init_fill(theta, name, parts[i][1], dtype, width, 0)) {
            hti_init_undo(theta, before);
            return;
        }
}
