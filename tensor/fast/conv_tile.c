/* SPDX-License-Identifier: MIT */
/* conv_tile.c: what the methods of convolution share: where a tile of y lies, and weights
 * and tiles laid out contiguous. Read next: conv_columns.c. */
#include "conv.h"

size_t hti_conv_bytes(const hti_conv *c, int64_t count)
{
    return hti_round_up((size_t)count * c->size, HTI_ALIGN);
}

hti_conv_tile hti_conv_tile_at(const hti_conv *c, int64_t at)
{
    int64_t first = at % c->tiles * c->tile, plane = at / c->tiles;
    return (hti_conv_tile){plane / c->g.groups, plane % c->g.groups, first,
                           hti_least(c->tile, c->y.shape.dim[2] - first)};
}

void hti_conv_pack_weights(ht_context *ctx, hti_conv *c)
{
    if (c->parts || hti_is_contiguous(&c->w)) return;
    ht_array packed = hti_contiguous(c->weights, c->w.dtype, c->w.shape);
    hti_run_copy(ctx, packed, c->w);
    c->w = packed;
}

void hti_conv_pack_y(const hti_conv *c, const hti_conv_tile *t, char *to, int64_t step)
{
    int64_t size = (int64_t)c->size;
    for (int64_t o = 0; o < c->outputs; o++)
        c->loops->pack[hti_row(c->y.dtype)](
            t->rows, c->y.shape.dim[3], to + o * step * size,
            hti_at(hti_conv_plane(&c->y, t->image, t->group * c->outputs + o),
                   t->first * c->y.stride[2] * size),
            c->y.stride + 2);
}
