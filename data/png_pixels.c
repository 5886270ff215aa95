/* SPDX-License-Identifier: MIT */
/* png_pixels.c: a PNG's samples, of 1 to 16 bits, grey, RGB or places in a palette, with
 * or without alpha, interlaced or not, as bytes of red, green, blue and alpha (W3C,
 * "Portable Network Graphics", 2003, 8.2 and 13.12). Of 16 bits the higher byte is kept,
 * as Pillow does. Read next: picture.c. */
#include "picture.h"

#include <string.h>

hti_png_pass hti_png_pass_at(const hti_png *png, int pass)
{
    static const hti_png_pass passes[HTI_PNG_PASSES] = {
        {0, 0, 0, 0, 8, 8}, {0, 0, 4, 0, 8, 8}, {0, 0, 0, 4, 4, 8}, {0, 0, 2, 0, 4, 4},
        {0, 0, 0, 2, 2, 4}, {0, 0, 1, 0, 2, 2}, {0, 0, 0, 1, 1, 2}, {0, 0, 0, 0, 1, 1}};
    hti_png_pass p = passes[pass];
    if (png->interlaced != (pass < HTI_PNG_PASSES - 1)) return p;
    p.width = (png->width - p.x + p.dx - 1) / p.dx;
    p.height = (png->height - p.y + p.dy - 1) / p.dy;
    if (p.width == 0 || p.height == 0) p.width = p.height = 0;
    return p;
}

/* Sample i of a row: its bits, the highest first. */
static unsigned png_sample(const hti_png *png, const uint8_t *row, int64_t i)
{
    int64_t bit = i * png->bits;
    const uint8_t *at = row + bit / 8;
    if (png->bits == 16) return (unsigned)at[0] << 8 | at[1];
    return (unsigned)(*at >> (8 - png->bits - bit % 8)) & ((1u << png->bits) - 1);
}

static uint8_t png_byte(const hti_png *png, unsigned sample)
{
    if (png->bits == 16) return (uint8_t)(sample >> 8);
    return (uint8_t)(sample * 255 / ((1u << png->bits) - 1));
}

/* Pixel x of a row. */
static bool png_pixel(const hti_png *png, const uint8_t *row, int64_t x, uint8_t rgba[4])
{
    unsigned sample[4];
    int colours = png->samples < 3 ? 1 : 3;
    for (int s = 0; s < png->samples; s++)
        sample[s] = png_sample(png, row, x * png->samples + s);
    if (png->colour == 3) {
        if (sample[0] >= (unsigned)png->n_palette) return false;
        memcpy(rgba, png->palette[sample[0]], 4);
        return true;
    }
    bool clear = png->keyed;
    for (int c = 0; c < colours; c++) clear = clear && sample[c] == png->key[c];
    for (int c = 0; c < 3; c++) rgba[c] = png_byte(png, sample[colours == 3 ? c : 0]);
    rgba[3] = clear ? 0 : 255;
    if (png->samples > colours) rgba[3] = png_byte(png, sample[colours]);
    return true;
}

bool hti_png_expand(const hti_png *png, const uint8_t *rows, uint8_t *rgba)
{
    for (int pass = 0; pass < HTI_PNG_PASSES; pass++) {
        hti_png_pass p = hti_png_pass_at(png, pass);
        for (int64_t y = 0; y < p.height; y++, rows += hti_png_row(png, p.width))
            for (int64_t x = 0; x < p.width; x++) {
                int64_t to = (p.y + y * p.dy) * png->width + p.x + x * p.dx;
                if (!png_pixel(png, rows, x, rgba + 4 * to)) return false;
            }
    }
    return true;
}
