/* SPDX-License-Identifier: MIT */
/* picture.h: pictures of any kind as pixels of four bytes, and what is made of those.
 * Read next: picture.c. */
#ifndef HTI_PICTURE_H
#define HTI_PICTURE_H

#include "data_internal.h"

/* The most pixels of a picture that is decoded: what it takes stays below a gigabyte. */
#define HTI_MOST_PIXELS ((int64_t)1 << 26)
#define HTI_SMALLER                                            \
    "make it smaller, it is scaled down in any case (Pillow: " \
    "im.thumbnail((4096, 4096)); ImageMagick: mogrify -resize '4096x4096>' FILE)"

/* What a PNG's chunks say of its pixels. */
typedef struct hti_png {
    int64_t width, height;
    int bits, colour, samples; /* of a sample; type; samples of a pixel */
    bool interlaced;
    uint8_t palette[256][4]; /* RGBA */
    int n_palette;
    bool keyed; /* the colour that is transparent, of grey or RGB: */
    unsigned key[3];
} hti_png;

/* Adam7: seven pictures of every 8th, 4th or 2nd pixel; else one, number 7, of all. */
typedef struct hti_png_pass {
    int64_t width, height; /* either may be 0 */
    int x, y, dx, dy;
} hti_png_pass;
hti_png_pass hti_png_pass_at(const hti_png *png, int pass);
enum { HTI_PNG_PASSES = 8 };
/* Bytes of a row of so many pixels. */
static inline int64_t hti_png_row(const hti_png *png, int64_t width)
{
    return (width * png->bits * png->samples + 7) / 8;
}

/* rgba (height, width, 4) of the rows of all passes, unfiltered; false: a pixel has a
 * colour that is not in the palette. */
bool hti_png_expand(const hti_png *png, const uint8_t *rows, uint8_t *rgba);

/* (height, width, 4) u8, owned: any PNG; any JPEG but CMYK, upright. NULL after an
 * error. */
ht_tensor *hti_png_rgba(ht_context *ctx, const char *path);
ht_tensor *hti_jpeg_rgba(ht_context *ctx, const char *path);

/* stb.c: rgba (*height, *width, 4), for hti_block_free; NULL, and why, after an error. */
uint8_t *hti_stb_jpeg(ht_context *ctx, const uint8_t *bytes, int n, int *width,
                      int *height, const char **why);

/* Pixels of `channels` bytes, by rows. */
typedef struct hti_picture {
    int64_t width, height;
    int channels;
    uint8_t *pixel;
} hti_picture;

/* Scales the part of `from` that begins at (x, y), of so many pixels, to `to`. Both have
 * the same channels. */
typedef struct hti_window {
    double x, y, width, height;
} hti_window;
ht_status hti_picture_scale(ht_context *ctx, const hti_picture *from, hti_window part,
                            ht_filter filter, const hti_picture *to);

#endif
