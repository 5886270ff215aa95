/* SPDX-License-Identifier: MIT */
/* multi_head.c: multi-head attention: four linear layers about the op; and the block of
 * transformers, made of it and other layers by name. Read next: recurrent.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"

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
    x = heads_swap(x, site);
    if (hti_is_poison(x)) return x;
    ht_shape shape = ht_var_shape(x);
    shape.rank--;
    shape.dim[shape.rank - 1] *= shape.dim[shape.rank];
    return ht_reshape_at(x, shape, site);
}

/* What the products of queries and keys need, of x and context as (..., t, width). */
static bool heads_check_keys(ht_var x, ht_var context, const ht_var *mask,
                             const char *site)
{
    const char *name = "multi_head_attention";
    ht_type a = hti_type(x), b = hti_type(context);
    ht_shape p = a.shape, q = b.shape, both;
    char text[2][HT_SHAPE_TEXT];
    p.rank -= 2;
    q.rank -= 2;
    bool leading = hti_broadcast_shapes(p, q, &both);
    bool keys = q.dim[q.rank] > 0;
    if (!leading || !keys)
        hti_fail(x.tape, HT_ERROR_SHAPE, site, name, "x %s and context %s must have %s",
                 ht_shape_text(a.shape, text[0]), ht_shape_text(b.shape, text[1]),
                 leading ? "keys: s > 0 in context (..., s, width)"
                         : "equal leading axes, or axes that broadcast");
    if (!leading || !keys) return false;
    if (!mask || ht_is_zero(*mask) || hti_is_number(*mask)) return true;
    if (hti_is_poison(hti_needs(x.tape, *mask, name, "mask", -1, site))) return false;
    ht_dtype is = hti_type(*mask).dtype;
    if (is != a.dtype && !hti_is_weak(*mask))
        hti_fail(x.tape, HT_ERROR_DTYPE, site, name,
                 "the mask is %s, it must be %s like x\n  hint: ht_cast",
                 ht_dtype_name(is), ht_dtype_name(a.dtype));
    return is == a.dtype || hti_is_weak(*mask);
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
    return ok && heads_check_keys(x, context, options->mask, site);
}

ht_var ht_multi_head_attention_at(ht_var x, ht_var context, const ht_vars *theta,
                                  const char *name, const ht_heads *options,
                                  const char *site)
{
    HT_ASSERT(options, "multi_head_attention: options is NULL");
    hti_layer layer = hti_layer_of(theta, "multi_head_attention", name, site, x);
    x = layer.x;
    context = hti_needs(theta->tape, context, layer.kind, "context", -1, site);
    if (!heads_check(x, context, options, site)) return hti_poison(theta->tape);
    int64_t n = options->heads, width = hti_layer_size(x, -1);
    ht_var q = hti_layer_linear(&layer, "query.weight", "query.bias", width);
    layer.x = context;
    ht_var k = hti_layer_linear(&layer, "key.weight", "key.bias", width);
    ht_var v = hti_layer_linear(&layer, "value.weight", "value.bias", width);
    ht_var mask = options->mask ? *options->mask : HT_ZERO;
    ht_var y = ht_attention_at(heads_split(q, n, site), heads_split(k, n, site),
                               heads_split(v, n, site), mask, options->causal, site);
    layer.x = heads_join(y, site);
    return hti_layer_linear(&layer, "out.weight", "out.bias", width);
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

/* The transformer block. */

typedef struct block {
    const ht_vars *theta;
    const char *name;
    const ht_transformer_options *options;
    const char *site;
} block;

/* "name.part" in the tape's memory, "" when there is none left: the error is kept. */
static const char *block_part(const block *b, const char *part)
{
    size_t bytes = strlen(b->name) + strlen(part) + 2;
    char *full = hti_tape_alloc(b->theta->tape, bytes);
    if (!full) return "";
    snprintf(full, bytes, "%s.%s", b->name, part);
    return full;
}

static ht_var block_attend(const block *b, ht_var x)
{
    return ht_multi_head_attention_at(x, x, b->theta, block_part(b, "attention"),
                                      &b->options->attention, b->site);
}

static ht_var block_feed(const block *b, ht_var x)
{
    ht_var y = ht_linear_at(x, b->theta, block_part(b, "hidden"), b->site);
    return ht_linear_at(ht_gelu_at(y, b->site), b->theta, block_part(b, "out"), b->site);
}

/* x + dropout(f(norm(x))), or norm(x + dropout(f(x))). */
static ht_var block_half(const block *b, ht_var x, ht_var (*f)(const block *b, ht_var x),
                         const char *norm, const char *dropout)
{
    const ht_transformer_options *o = b->options;
    norm = block_part(b, norm);
    ht_var y =
        o->post_norm ? x : ht_layernorm_layer_at(x, b->theta, norm, o->eps, b->site);
    y = ht_dropout_layer_at(f(b, y), b->theta, block_part(b, dropout), o->dropout,
                            b->site);
    y = ht_add_at(x, y, b->site);
    return o->post_norm ? ht_layernorm_layer_at(y, b->theta, norm, o->eps, b->site) : y;
}

ht_var ht_transformer_block_at(ht_var x, const ht_vars *theta, const char *name,
                               const ht_transformer_options *options, const char *site)
{
    HT_ASSERT(options, "transformer_block: options is NULL");
    x = hti_layer_of(theta, "transformer_block", name, site, x).x;
    block b = {theta, name, options, site};
    x = block_half(&b, x, block_attend, "norm1", "dropout1");
    return block_half(&b, x, block_feed, "norm2", "dropout2");
}

void ht_transformer_block_init(ht_set *theta, const char *name, ht_dtype dtype,
                               int64_t width, int64_t hidden)
{
    static const char *const parts[] = {"norm1", "attention", "norm2", "hidden", "out"};
    enum { TENSORS = 2 + 8 + 2 + 2 + 2 };
    if (!hti_init_sizes(theta, "ht_transformer_block_init", name, dtype,
                        "width > 0 and hidden > 0", width, hidden))
        return;
    int before = theta->n;
    for (int i = 0; i < 5; i++) {
        char *full = hti_init_name(theta->ctx, name, parts[i]);
        if (!full) break;
        if (i == 0 || i == 2) ht_norm_init(theta, full, dtype, width);
        if (i == 1) ht_multi_head_attention_init(theta, full, dtype, width);
        if (i == 3) ht_linear_init(theta, full, dtype, width, hidden);
        if (i == 4) ht_linear_init(theta, full, dtype, hidden, width);
        hti_init_unname(theta->ctx, full);
    }
    if (theta->n != before + TENSORS) hti_init_undo(theta, before);
}
