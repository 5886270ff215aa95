/* SPDX-License-Identifier: MIT */
/* conv.h: one convolution, however it is made. A method cuts it into tiles, of some rows
 * of y, one group and one image (Winograd's: of several), and makes one at a time; the
 * rest, from threads to weights that are summed, is conv.c's. Read next: conv.c. */
#ifndef HTI_CONV_H
#define HTI_CONV_H

#include "loops.h"
#include "matmul.h"

/* Sizes are of a group and in elements, but for bytes. Of an x that is the result, where
 * the method turns it, x and y have changed places and weights are turned: it is read as
 * y of these. */
typedef struct hti_conv {
    const struct hti_conv_method *method;
    const struct hti_loops *loops;
    hti_conv_side side;
    hti_conv_geometry g;
    ht_array x, w, y;                       /* w (groups, outputs, channels, kh, kw) */
    size_t size;                            /* of an element */
    int64_t channels, outputs, taps, terms; /* terms: channels * taps */
    int64_t tile, tiles;                    /* rows of y, and such in an image */
    int64_t whole, each;      /* units are of some of the whole, `each` tiles one */
    int64_t units, pieces;    /* pieces: of the units, each with a slot */
    int64_t parts, stride[5]; /* of weights that are summed, laid out so */

    /* The workspace: at least one part of the weights, what units share, slots. Of a
     * slot clear_bytes are zeros before the first tile; so is what a unit is summed
     * in. */
    char *weights, *shared, *slots, *sums;
    size_t weight_bytes, shared_bytes, slot_bytes, clear_at, clear_bytes, sum_bytes;

    int64_t rows, pitch, phases, plane, copy, step, n_at;            /* conv_direct.c */
    int64_t down, across, images, cuts, pairs, data_step, more_step; /* _winograd.c */
} hti_conv;

typedef struct hti_conv_method {
    bool turns;
    bool (*fits)(const hti_conv *c); /* NULL: always */
    /* Sets tile and tiles, if it has use for them, whole and each, stride, and bytes but
     * those of sums of weights. */
    void (*plan)(hti_conv *c);
    /* What units share, before there are any. */
    void (*begin)(ht_context *ctx, hti_conv *c);
    /* Tile `at`, to where it belongs or added to sum. */
    void (*tile)(const hti_conv *c, int64_t at, char *slot, char *sum);
    /* Makes weights of their sum; NULL: it is they. */
    void (*finish)(const hti_conv *c);
} hti_conv_method;
extern const hti_conv_method hti_conv_winograd, hti_conv_direct, hti_conv_columns;

/* Rows first .. first+rows-1 of y, of one group of one image. */
typedef struct hti_conv_tile {
    int64_t image, group, first, rows;
} hti_conv_tile;
hti_conv_tile hti_conv_tile_at(const hti_conv *c, int64_t at);

/* The convolution, its method not yet known. */
hti_conv hti_conv_of(const ht_context *ctx, hti_conv_side side, const ht_array *x,
                     const ht_array *w, const ht_array *y, const hti_conv_geometry *g);
size_t hti_conv_bytes(const hti_conv *c, int64_t count);
/* Weights that do not lie contiguous do so afterwards. */
void hti_conv_pack_weights(ht_context *ctx, hti_conv *c);
/* A tile of y, (outputs, positions), outputs `step` apart. */
void hti_conv_pack_y(const hti_conv *c, const hti_conv_tile *t, char *to, int64_t step);
static inline void *hti_conv_plane(const ht_array *a, int64_t image, int64_t channel)
{
    return hti_at(a->data, (image * a->stride[0] + channel * a->stride[1]) *
                               (int64_t)ht_dtype_bytes(a->dtype));
}
/* Room for n floats: an odd number of lines, for rows to begin in all sets of a cache. */
static inline int64_t hti_conv_odd(int64_t n)
{
    return (n + 15) / 16 * 16 | 16;
}

#endif
