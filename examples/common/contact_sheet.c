/* SPDX-License-Identifier: MIT */
/* contact_sheet.c: a picture of many small images, each with a digit beside it, under a
 * title, a legend and a line for each part. Read next: demo_trust.c, which chooses
 * some. */
#include <stb/stb_easy_font.h>

#include "common.h"

enum {
    COLUMNS = 12,
    SCALE = 2, /* of an image's pixels, and of text */
    TITLE = 3, /* of the title */
    DIGIT = 4, /* of a digit */
    DIGIT_WIDTH = 6 * DIGIT,
    DIGIT_HEIGHT = 8 * DIGIT,
    LINE = 14 * SCALE, /* of text, from one to the next */
    TITLE_LINE = 14 * TITLE,
    GAP = 5,     /* between an image and its digit */
    MARGIN = 12, /* around a cell's content */
    QUADS = 2000 /* of a text; a letter is four or five */
};

typedef struct colour {
    uint8_t red, green, blue;
} colour;

static const colour black = {40, 40, 40}, blue = {30, 70, 190}, red = {200, 30, 30};

typedef struct canvas {
    colour *pixel;
    int64_t width, height;
} canvas;

/* What would be outside is cut. */
static void sheet_block(canvas *c, int64_t x, int64_t y, int wide, int high, colour with)
{
    for (int64_t j = y; j < y + high && j < c->height; j++)
        for (int64_t i = x; i < x + wide && i < c->width; i++)
            c->pixel[j * c->width + i] = with;
}

/* Ink is dark on the paper: 0 is white. Of colours 0 is none. */
static void sheet_image_at(canvas *c, int64_t x, int64_t y, const contact_sheet *sheet,
                           const float *pixels)
{
    for (int64_t j = 0; j < sheet->rows; j++)
        for (int64_t i = 0; i < sheet->cols; i++) {
            const float *at = pixels + j * sheet->cols + i;
            int64_t plane = sheet->rows * sheet->cols;
            uint8_t grey = (uint8_t)(245.0f * (1 - *at));
            colour with = {grey, grey, grey};
            if (sheet->colour)
                with = (colour){(uint8_t)(255 * at[0]), (uint8_t)(255 * at[plane]),
                                (uint8_t)(255 * at[2 * plane])};
            sheet_block(c, x + i * SCALE, y + j * SCALE, SCALE, SCALE, with);
        }
}

/* The font gives a text as rectangles, four corners each. Gives where the text ends. */
static int64_t sheet_text_at(canvas *c, int64_t x, int64_t y, int scale, const char *text,
                             colour with)
{
    struct {
        float x, y, z;
        uint8_t colour[4];
    } corner[4 * QUADS];
    char copy[200]; /* the font's functions ask for one that may be written */
    snprintf(copy, sizeof copy, "%s", text);
    int n = stb_easy_font_print(0, 0, copy, NULL, corner, sizeof corner);
    for (int k = 0; k < 4 * n; k += 4)
        sheet_block(c, x + (int64_t)corner[k].x * scale, y + (int64_t)corner[k].y * scale,
                    (int)(corner[k + 2].x - corner[k].x) * scale,
                    (int)(corner[k + 2].y - corner[k].y) * scale, with);
    return x + stb_easy_font_width(copy) * scale;
}

/* The title, and what the colours say. */
static void sheet_head(canvas *c, const contact_sheet *sheet)
{
    int64_t y = MARGIN + TITLE_LINE;
    sheet_text_at(c, MARGIN, MARGIN, TITLE, sheet->title, black);
    int64_t x = sheet_text_at(c, MARGIN, y, SCALE, sheet->plain, blue);
    sheet_text_at(c, x + 2 * MARGIN, y, SCALE, sheet->marked, red);
}

static int64_t part_height(const contact_sheet *sheet, const sheet_part *part)
{
    int64_t high =
        sheet->rows * SCALE > DIGIT_HEIGHT ? sheet->rows * SCALE : DIGIT_HEIGHT;
    return MARGIN + LINE + (part->n + COLUMNS - 1) / COLUMNS * (high + MARGIN);
}

static int64_t cell_width(const contact_sheet *sheet)
{
    return sheet->cols * SCALE + GAP + DIGIT_WIDTH + MARGIN;
}

static void sheet_part_at(canvas *c, int64_t y, const contact_sheet *sheet,
                          const sheet_part *part)
{
    int64_t lines = (part->n + COLUMNS - 1) / COLUMNS;
    y += MARGIN;
    sheet_text_at(c, MARGIN, y, SCALE, part->title, black);
    int64_t high = lines ? (part_height(sheet, part) - MARGIN - LINE) / lines : 0;
    for (int k = 0; k < part->n; k++) {
        const sheet_image *image = &part->image[k];
        int64_t left = MARGIN + k % COLUMNS * cell_width(sheet);
        int64_t top = y + LINE + k / COLUMNS * high;
        char digit[] = {(char)('0' + image->label), 0};
        sheet_image_at(c, left, top, sheet, image->pixels);
        sheet_text_at(c, left + sheet->cols * SCALE + GAP,
                      top + (high - MARGIN - DIGIT_HEIGHT) / 2, DIGIT, digit,
                      image->marked ? red : blue);
    }
}

ht_status contact_sheet_write(ht_context *ctx, const char *path,
                              const contact_sheet *sheet)
{
    int64_t head = MARGIN + TITLE_LINE + LINE, height = head;
    int64_t width = MARGIN + COLUMNS * cell_width(sheet);
    for (int p = 0; p < sheet->n_parts; p++)
        height += part_height(sheet, &sheet->part[p]);
    ht_tensor *picture = ht_tensor_new(ctx, HT_U8, HT_SHAPE(height, width, 3));
    if (!picture) return ht_context_status(ctx);
    ht_tensor_fill(picture, 255);
    canvas c = {ht_tensor_data(picture), width, height};
    sheet_head(&c, sheet);
    for (int p = 0; p < sheet->n_parts; p++) {
        sheet_part_at(&c, head, sheet, &sheet->part[p]);
        head += part_height(sheet, &sheet->part[p]);
    }
    ht_status status = ht_png_write(ctx, path, picture);
    ht_tensor_free(picture);
    return status;
}
