/* SPDX-License-Identifier: MIT */
/* write_picture.c: a text as modules, light and dark, and what weights show of it.
 * Read next: write_page.c, ../common/qr.c. */
#include <stb/stb_easy_font.h>
#include <stdlib.h>
#include <string.h>

#include "write.h"

enum { LETTERS = 8, PEN = 2, QUADS = 400, LETTER_ROWS = 9, SCALE = 8 };

static void room(picture *p, int64_t rows, int64_t cols)
{
    p->rows = rows;
    p->cols = cols;
    p->dark = calloc((size_t)(rows * cols), sizeof *p->dark);
    HT_ASSERT(p->dark, "no memory for %lld modules", (long long)(rows * cols));
}

/* The font gives a text as rectangles, four corners each. */
static void draw_word(picture *p, const char *text)
{
    struct {
        float x, y, z;
        uint8_t colour[4];
    } corner[4 * QUADS];
    char copy[LETTERS + 1];
    snprintf(copy, sizeof copy, "%s", text);
    room(p, LETTER_ROWS * PEN + MARGIN, stb_easy_font_width(copy) * PEN + MARGIN);
    int n = stb_easy_font_print(0, 0, copy, NULL, corner, sizeof corner);
    for (int k = 0; k < 4 * n; k += 4)
        for (int64_t i = (int64_t)corner[k].y * PEN; i < (int64_t)corner[k + 2].y * PEN;
             i++)
            for (int64_t j = (int64_t)corner[k].x * PEN;
                 j < (int64_t)corner[k + 2].x * PEN; j++)
                if (i < LETTER_ROWS * PEN)
                    p->dark[(i + MARGIN / 2) * p->cols + j + MARGIN / 2] = true;
    snprintf(p->about, sizeof p->about, "the letters %s", copy);
}

static void draw_code(picture *p)
{
    const qr_code *code = &p->code;
    int side = code->side;
    room(p, side + 2 * MARGIN, side + 2 * MARGIN);
    for (int at = 0; at < side * side; at++)
        p->dark[(at / side + MARGIN) * p->cols + at % side + MARGIN] = code->dark[at];
    snprintf(p->about, sizeof p->about,
             "a QR code, version %d-%c, which mends %d of its %d codewords",
             code->version, code->level, code->mends, code->n_codewords);
}

picture picture_new(ht_context *ctx, const char *text, bool as_word)
{
    picture p = {.rows = 0};
    bool plain = true;
    for (const char *c = text; *c; c++) plain = plain && *c >= ' ' && *c <= '~';
    int most = as_word ? LETTERS : QR_TEXT;
    if (!plain || strlen(text) > (size_t)most || (!as_word && !qr_make(&p.code, text)))
        ht_context_fail(ctx, HT_ERROR_ARGUMENT, NULL,
                        "--text %s: expected 1 to %d letters of ASCII, got %zu bytes\n"
                        "  hint: a short one is learned sooner",
                        text, most, strlen(text));
    ht_check(ctx);
    if (as_word)
        draw_word(&p, text);
    else
        draw_code(&p);
    return p;
}

int64_t picture_right(const picture *p, const ht_tensor *weight, double *score)
{
    const float *w = ht_tensor_data(weight);
    int64_t n = 0;
    for (int64_t i = 0; i < p->rows * p->cols; i++) {
        bool right = (w[i] > 0) == p->dark[i];
        n += right;
        if (score) score[i] = right ? 100 : 0;
    }
    return n;
}

int picture_wrong_codewords(const picture *p, const ht_tensor *weight)
{
    const float *w = ht_tensor_data(weight);
    bool wrong[QR_CODEWORDS] = {0};
    int n = 0, side = p->code.side;
    for (int at = 0; at < side * side; at++) {
        int64_t k = (at / side + MARGIN) * p->cols + at % side + MARGIN;
        int of = p->code.codeword[at];
        if (of < 0 || (w[k] > 0) == p->dark[k]) continue;
        n += !wrong[of];
        wrong[of] = true;
    }
    return n;
}

ht_status picture_write(ht_context *ctx, const char *path, const picture *p,
                        const ht_tensor *weight)
{
    int64_t rows = p->rows * SCALE, cols = p->cols * SCALE;
    ht_tensor *image = ht_tensor_new(ctx, HT_U8, HT_SHAPE(rows, cols));
    if (!image) return ht_context_status(ctx);
    const float *w = ht_tensor_data(weight);
    uint8_t *to = ht_tensor_data(image);
    for (int64_t i = 0; i < rows * cols; i++)
        to[i] = w[i / cols / SCALE * p->cols + i % cols / SCALE] > 0 ? 0 : 255;
    ht_status status = ht_png_write(ctx, path, image);
    ht_tensor_free(image);
    return status;
}
