/* SPDX-License-Identifier: MIT */
/* layers.c: layers are functions of variables found by name, whose shapes and dtypes are
 * checked as they are found. Read next: norm_layers.c, multi_head.c, recurrent.c. */
#include <stdio.h>
#include <string.h>

#include "nn_internal.h"

/* Index of "name.part", or -1. */
static int layer_find(const ht_vars *theta, const char *name, const char *part)
{
    size_t length = strlen(name);
    for (int i = 0; i < theta->n; i++)
        if (!strncmp(theta->name[i], name, length) && theta->name[i][length] == '.' &&
            !strcmp(theta->name[i] + length + 1, part))
            return i;
    return -1;
}

hti_layer hti_layer_of(const ht_vars *theta, const char *kind, const char *name,
                       const char *site, ht_var x)
{
    hti_vars_check(theta, kind, site);
    HT_ASSERT(name, "%s: the layer's name is NULL%s%s", kind, HTI_AT(site));
    x = hti_needs(theta->tape, x, kind, "x", -1, site);
    return (hti_layer){theta, kind, name, site, x, false};
}

int64_t hti_layer_size(ht_var x, int axis)
{
    if (hti_check_named(x, __func__, NULL) == HTI_NONE) return -1;
    ht_shape shape = hti_type(x).shape;
    int at = axis < 0 ? axis + shape.rank : axis;
    return at >= 0 && at < shape.rank ? shape.dim[at] : -1;
}

/* "(3, *)" */
static const char *layer_shape_text(ht_shape shape, char text[HT_SHAPE_TEXT])
{
    size_t used = (size_t)snprintf(text, HT_SHAPE_TEXT, "(");
    for (int i = 0; i < shape.rank; i++) {
        char size[32] = "*";
        if (shape.dim[i] >= 0)
            snprintf(size, sizeof size, "%lld", (long long)shape.dim[i]);
        used += (size_t)snprintf(text + used, HT_SHAPE_TEXT - used, "%s%s", i ? ", " : "",
                                 size);
    }
    snprintf(text + used, HT_SHAPE_TEXT - used, ")");
    return text;
}

static bool layer_fits(ht_shape want, ht_shape got)
{
    if (want.rank != got.rank) return false;
    for (int i = 0; i < want.rank; i++)
        if (want.dim[i] >= 0 && want.dim[i] != got.dim[i]) return false;
    return true;
}

/* What images want that are given to a layer of rows. */
static const char *layer_flatten(ht_shape x, ht_shape weight)
{
    int64_t row = 1;
    for (int i = 1; i < x.rank; i++) row *= x.dim[i];
    bool fits = weight.rank == 2 && x.rank > 2 && row == weight.dim[0];
    return fits ? "\n  hint: flatten: ht_reshape(x, HT_SHAPE(n, -1))" : "";
}

/* Of x and a weight of different dtypes. */
static const char *layer_cast(ht_dtype x)
{
    return x == HT_U8 ? "\n  hint: ht_cast; ht_images_rows makes pixels floats in 0 .. 1"
                      : "\n  hint: ht_cast one of them";
}

static ht_var layer_checked(const hti_layer *layer, const char *part, ht_shape shape,
                            ht_var found)
{
    if (hti_check_named(layer->x, layer->kind, layer->site) == HTI_NONE) return layer->x;
    if (hti_check_named(found, layer->kind, layer->site) == HTI_NONE) return found;
    ht_type x = hti_type(layer->x), got = hti_type(found);
    bool same = layer->any_dtype || got.dtype == x.dtype;
    char text[3][HT_SHAPE_TEXT];
    if (same && layer_fits(shape, got.shape)) return found;
    return hti_fail(layer->theta->tape, same ? HT_ERROR_SHAPE : HT_ERROR_DTYPE,
                    layer->site, layer->kind,
                    "\"%s.%s\" is %s %s; beside x %s %s it must be %s%s%s", layer->name,
                    part, ht_dtype_name(got.dtype), ht_shape_text(got.shape, text[0]),
                    ht_dtype_name(x.dtype), ht_shape_text(x.shape, text[1]),
                    layer_shape_text(shape, text[2]), same ? "" : " of the same dtype",
                    same ? layer_flatten(x.shape, got.shape) : layer_cast(x.dtype));
}

ht_var hti_layer_get(const hti_layer *layer, const char *part, ht_shape shape)
{
    const ht_vars *theta = layer->theta;
    int i = layer_find(theta, layer->name, part);
    if (i >= 0) return layer_checked(layer, part, shape, theta->var[i]);
    char names[HTI_NAMES];
    hti_set_names(names, sizeof names, theta->n, theta->name);
    return hti_fail(theta->tape, HT_ERROR_ARGUMENT, layer->site, layer->kind,
                    "no variable \"%s.%s\"; there are: %s", layer->name, part, names);
}

ht_var hti_layer_maybe(const hti_layer *layer, const char *part, ht_shape shape)
{
    int i = layer_find(layer->theta, layer->name, part);
    return i < 0 ? HT_ZERO : layer_checked(layer, part, shape, layer->theta->var[i]);
}

void hti_layer_set(ht_vars *vars, const char *name, const char *part, ht_var value)
{
    int i = layer_find(vars, name, part);
    if (i >= 0) vars->var[i] = value;
}

/* x . w; an x of one axis is a row that comes back as one. */
static ht_var layer_product(const hti_layer *layer, ht_var w)
{
    ht_var x = layer->x;
    if (hti_is_poison(x) || hti_is_poison(w)) return hti_poison(layer->theta->tape);
    int rank = hti_type(x).shape.rank;
    if (rank == 0)
        return hti_fail(x.tape, HT_ERROR_SHAPE, layer->site, layer->kind,
                        "\"%s\" needs x (..., n_in), got ()", layer->name);
    if (rank > 1) return ht_matmul_at(x, w, layer->site);
    x = ht_reshape_at(x, HT_SHAPE(1, hti_layer_size(x, 0)), layer->site);
    x = ht_matmul_at(x, w, layer->site);
    return ht_reshape_at(x, HT_SHAPE(hti_layer_size(w, 1)), layer->site);
}

ht_var hti_layer_linear(const hti_layer *layer, const char *weight, const char *bias,
                        int64_t n_out)
{
    int64_t n_in = hti_layer_size(layer->x, -1);
    ht_var w = hti_layer_get(layer, weight, HT_SHAPE(n_in, n_out));
    ht_var b = hti_layer_maybe(layer, bias, HT_SHAPE(hti_layer_size(w, 1)));
    return ht_add_at(layer_product(layer, w), b, layer->site);
}

ht_var ht_linear_at(ht_var x, const ht_vars *theta, const char *name, const char *site)
{
    hti_layer layer = hti_layer_of(theta, "linear", name, site, x);
    return hti_layer_linear(&layer, "weight", "bias", -1);
}

ht_var ht_conv2d_layer_at(ht_var x, const ht_vars *theta, const char *name,
                          ht_conv_options options, const char *site)
{
    hti_layer layer = hti_layer_of(theta, "conv2d", name, site, x);
    x = layer.x;
    int64_t c = hti_layer_size(x, 3) < 0 ? -1 : hti_layer_size(x, 1);
    int64_t groups = options.groups;
    /* Where x or the groups make no sense of their own the op says so. */
    bool divides = c > 0 && groups > 0 && c % groups == 0;
    ht_var w =
        hti_layer_get(&layer, "weight", HT_SHAPE(-1, divides ? c / groups : -1, -1, -1));
    int64_t n_out = hti_layer_size(w, 0);
    ht_var b = hti_layer_maybe(&layer, "bias", HT_SHAPE(n_out));
    ht_var y = ht_conv2d_at(x, w, options, site);
    if (ht_is_zero(b) || hti_is_poison(y)) return y;
    return ht_add_at(y, ht_reshape_at(b, HT_SHAPE(n_out, 1, 1), site), site);
}

ht_var ht_embedding_at(ht_var index, const ht_vars *theta, const char *name,
                       const char *site)
{
    hti_layer layer = hti_layer_of(theta, "embedding", name, site, index);
    layer.any_dtype = true;
    index = layer.x;
    if (hti_is_poison(index)) return index;
    ht_dtype dtype = hti_type(index).dtype;
    if (dtype != HT_I32)
        return hti_fail(index.tape, HT_ERROR_DTYPE, site, layer.kind,
                        "index must be i32, got %s\n  hint: ht_cast",
                        ht_dtype_name(dtype));
    return ht_gather_at(hti_layer_get(&layer, "weight", HT_SHAPE(-1, -1)), index, site);
}

ht_var ht_dropout_layer_at(ht_var x, const ht_vars *theta, const char *name, double rate,
                           const char *site)
{
    x = hti_layer_of(theta, "dropout", name, site, x).x;
    return ht_dropout_at(x, rate, ht_stream(name), theta->step, site);
}
