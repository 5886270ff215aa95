/* SPDX-License-Identifier: MIT */
/* recurrent.c: GRU and LSTM cells as compositions: the gates are slices of one product,
 * so they have every derivative the ops have. Read next: init.c. */
#include <math.h>

#include "nn_internal.h"

/* x . input and h . hidden: the gates of both, each as wide as h, side by side. */
static void cell_products(hti_layer layer, ht_var h, int64_t gates, ht_var *in,
                          ht_var *back)
{
    int64_t columns = gates * hti_layer_size(h, 1);
    *in = hti_layer_linear(&layer, "input.weight", "input.bias", columns);
    layer.x = h;
    *back = hti_layer_linear(&layer, "hidden.weight", "hidden.bias", columns);
}

/* Gate i of `gates` that lie side by side in the last axis. */
static ht_var cell_gate(ht_var all, int i, int gates, const char *site)
{
    if (hti_is_poison(all)) return all;
    ht_shape shape = ht_var_shape(all);
    int64_t n = shape.dim[shape.rank - 1] / gates;
    return ht_slice_at(all, -1, i * n, n, 1, site);
}

static ht_var cell_state(const hti_layer *layer, ht_var h, const char *what)
{
    return hti_needs(layer->theta->tape, h, layer->kind, what, -1, layer->site);
}

/* c is h where a cell has no other state. */
static bool cell_check(ht_var x, ht_var h, ht_var c, const char *cell, const char *site)
{
    if (hti_check_var(x) == HTI_NONE || hti_check_var(h) == HTI_NONE ||
        hti_check_var(c) == HTI_NONE)
        return false;
    ht_shape a = ht_var_shape(x), b = ht_var_shape(h), other = ht_var_shape(c);
    char text[2][HT_SHAPE_TEXT];
    bool fits = a.rank == 2 && b.rank == 2 && a.dim[0] == b.dim[0];
    if (!fits)
        hti_fail(x.tape, HT_ERROR_SHAPE, site, cell,
                 "needs x (n, n_in) and h (n, n_hidden) of the same n, got %s and %s",
                 ht_shape_text(a, text[0]), ht_shape_text(b, text[1]));
    else if (!ht_shape_equal(b, other))
        hti_fail(x.tape, HT_ERROR_SHAPE, site, cell,
                 "needs h and c of the same shape, got %s and %s",
                 ht_shape_text(b, text[0]), ht_shape_text(other, text[1]));
    return fits && ht_shape_equal(b, other);
}

ht_var ht_gru_cell_at(ht_var x, ht_var h, const ht_vars *theta, const char *name,
                      const char *site)
{
    hti_layer layer = hti_layer_of(theta, "gru_cell", name, site, x);
    h = cell_state(&layer, h, "h");
    if (!cell_check(layer.x, h, h, "gru_cell", site)) return hti_poison(theta->tape);
    ht_var in, back;
    cell_products(layer, h, 3, &in, &back);
    ht_var gate[3];
    for (int i = 0; i < 2; i++)
        gate[i] = ht_sigmoid_at(
            ht_add_at(cell_gate(in, i, 3, site), cell_gate(back, i, 3, site), site),
            site);
    gate[2] = ht_mul_at(gate[0], cell_gate(back, 2, 3, site), site);
    ht_var c = ht_tanh_at(ht_add_at(cell_gate(in, 2, 3, site), gate[2], site), site);
    return ht_add_at(c, ht_mul_at(gate[1], ht_sub_at(h, c, site), site), site);
}

void ht_lstm_cell_at(ht_var x, ht_var *h, ht_var *c, const ht_vars *theta,
                     const char *name, const char *site)
{
    HT_ASSERT(h && c, "lstm_cell: h %p, c %p", (void *)h, (void *)c);
    hti_layer layer = hti_layer_of(theta, "lstm_cell", name, site, x);
    *h = cell_state(&layer, *h, "h");
    *c = cell_state(&layer, *c, "c");
    if (!cell_check(layer.x, *h, *c, "lstm_cell", site)) {
        *h = *c = hti_poison(theta->tape);
        return;
    }
    ht_var in, back;
    cell_products(layer, *h, 4, &in, &back);
    ht_var all = ht_add_at(in, back, site);
    ht_var gate[4];
    for (int i = 0; i < 4; i++) {
        gate[i] = cell_gate(all, i, 4, site);
        gate[i] = i == 2 ? ht_tanh_at(gate[i], site) : ht_sigmoid_at(gate[i], site);
    }
    *c = ht_add_at(ht_mul_at(gate[1], *c, site), ht_mul_at(gate[0], gate[2], site), site);
    *h = ht_mul_at(gate[3], ht_tanh_at(*c, site), site);
}

static void cell_init(ht_set *theta, const char *who, const char *name, ht_dtype dtype,
                      const int64_t size[2], int64_t gates)
{
    if (!hti_init_sizes(theta, who, name, dtype, "n_in > 0 and n_hidden > 0", size[0],
                        size[1]))
        return;
    int before = theta->n;
    /* More than can be addressed is refused as a shape, not wrapped around. */
    int64_t n_in = size[0], hidden = size[1];
    int64_t columns = hidden > INT64_MAX / gates ? INT64_MAX : gates * hidden;
    double bound = 1 / sqrt((double)hidden);
    if (!hti_init_uniform(theta, name, "input.weight", dtype, HT_SHAPE(n_in, columns),
                          bound) ||
        !hti_init_uniform(theta, name, "input.bias", dtype, HT_SHAPE(columns), bound) ||
        !hti_init_uniform(theta, name, "hidden.weight", dtype, HT_SHAPE(hidden, columns),
                          bound) ||
        !hti_init_uniform(theta, name, "hidden.bias", dtype, HT_SHAPE(columns), bound))
        hti_init_undo(theta, before);
}

void ht_gru_cell_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                      int64_t n_hidden)
{
    cell_init(theta, "ht_gru_cell_init", name, dtype, (int64_t[]){n_in, n_hidden}, 3);
}

void ht_lstm_cell_init(ht_set *theta, const char *name, ht_dtype dtype, int64_t n_in,
                       int64_t n_hidden)
{
    cell_init(theta, "ht_lstm_cell_init", name, dtype, (int64_t[]){n_in, n_hidden}, 4);
}
