/* SPDX-License-Identifier: MIT */
/* contact_sheet.c: a picture of many small images, each with a digit beside it.
 * Read next: bilevel/hyperclean_files.c, which chooses some. */
#include "common.h"

enum {
    COLUMNS = 12,
    SCALE = 2,      /* of an image's pixels */
    FONT_WIDTH = 5, /* of a digit, in its own pixels */
    FONT_HEIGHT = 7,
    FONT_SCALE = 4,
    GAP = 7,    /* between an image and its digit */
    MARGIN = 12 /* around a cell's content */
};

/* Each row of a digit is five bits, the leftmost highest. */
static const uint8_t font[10][FONT_HEIGHT] = {
    {0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e},
    {0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e},
    {0x0e, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1f},
    {0x0e, 0x11, 0x01, 0x06, 0x01, 0x11, 0x0e},
    {0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02},
    {0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e},
    {0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e},
    {0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08},
    {0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e},
    {0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c},
};

typedef struct colour {
    uint8_t red, green, blue;
} colour;

typedef struct canvas {
    colour *pixel;
    int64_t width;
} canvas;

static void sheet_block(canvas *c, int64_t x, int64_t y, int size, colour with)
{
    for (int64_t j = y; j < y + size; j++)
        for (int64_t i = x; i < x + size; i++) c->pixel[j * c->width + i] = with;
}

/* Ink is dark on the paper: 0 is white. */
static void sheet_image_at(canvas *c, int64_t x, int64_t y, int64_t rows, int64_t cols,
                           const float *pixels)
{
    for (int64_t j = 0; j < rows; j++)
        for (int64_t i = 0; i < cols; i++) {
            uint8_t grey = (uint8_t)(245.0f * (1 - pixels[j * cols + i]));
            sheet_block(c, x + i * SCALE, y + j * SCALE, SCALE,
                        (colour){grey, grey, grey});
        }
}

static void sheet_digit_at(canvas *c, int64_t x, int64_t y, int digit, colour with)
{
    for (int j = 0; j < FONT_HEIGHT; j++)
        for (int i = 0; i < FONT_WIDTH; i++)
            if (font[digit][j] >> (FONT_WIDTH - 1 - i) & 1)
                sheet_block(c, x + i * FONT_SCALE, y + j * FONT_SCALE, FONT_SCALE, with);
}

ht_status contact_sheet_write(ht_context *ctx, const char *path, int64_t rows,
                              int64_t cols, int n, const sheet_image *image)
{
    const colour red = {200, 30, 30}, blue = {30, 70, 190};
    int64_t wide = cols * SCALE, high = rows * SCALE;
    if (high < FONT_HEIGHT * FONT_SCALE) high = FONT_HEIGHT * FONT_SCALE;
    int64_t cell_wide = wide + GAP + FONT_WIDTH * FONT_SCALE + MARGIN;
    int64_t cell_high = high + MARGIN;
    int64_t lines = (n + COLUMNS - 1) / COLUMNS;
    ht_tensor *sheet = ht_tensor_new(
        ctx, HT_U8,
        HT_SHAPE(lines * cell_high + MARGIN, COLUMNS * cell_wide + MARGIN, 3));
    if (!sheet) return ht_context_status(ctx);
    ht_tensor_fill(sheet, 255);
    canvas c = {ht_tensor_data(sheet), COLUMNS * cell_wide + MARGIN};
    for (int k = 0; k < n; k++) {
        int64_t x = MARGIN + k % COLUMNS * cell_wide;
        int64_t y = MARGIN + k / COLUMNS * cell_high;
        sheet_image_at(&c, x, y, rows, cols, image[k].pixels);
        sheet_digit_at(&c, x + wide + GAP, y + (high - FONT_HEIGHT * FONT_SCALE) / 2,
                       image[k].label, image[k].marked ? red : blue);
    }
    ht_status status = ht_png_write(ctx, path, sheet);
    ht_tensor_free(sheet);
    return status;
}
