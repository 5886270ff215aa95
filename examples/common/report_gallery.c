/* SPDX-License-Identifier: MIT */
/* report_gallery.c: small images with a caption each. All of a gallery are one PNG, one
 * below the other, which the page holds as base64 (RFC 4648); each place shows its part.
 * Read next: report.c. */
#include <math.h>
#include <stdlib.h>

#include "common.h"

static void put_base64(FILE *f, const uint8_t *byte, size_t n)
{
    static const char digit[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) bits = bits << 8 | (i + k < n ? byte[i + k] : 0u);
        for (size_t k = 0; k < 4; k++)
            fputc(i + k > n ? '=' : digit[bits >> (18 - 6 * k) & 63], f);
    }
}

/* Planes (channels, rows, cols) become bytes with the colours of a pixel side by side. */
static void copy_pixels(const report_gallery *gallery, const float *from, uint8_t *to)
{
    int64_t plane = gallery->rows * gallery->cols, depth = gallery->channels;
    double span = gallery->white - gallery->black;
    for (int64_t i = 0; i < plane * depth; i++) {
        double level = (double)from[i % depth * plane + i / depth] - gallery->black;
        to[i] = (uint8_t)lrint(255 * fmin(1, fmax(0, level / span)));
    }
}

static ht_tensor *gallery_strip(ht_context *ctx, const report_gallery *gallery)
{
    int64_t rows = gallery->rows * gallery->n, cols = gallery->cols;
    int64_t size = gallery->rows * cols * gallery->channels;
    ht_shape colour = HT_SHAPE(rows, cols, 3), grey = HT_SHAPE(rows, cols);
    ht_tensor *strip = ht_tensor_new(ctx, HT_U8, gallery->channels == 3 ? colour : grey);
    for (int k = 0; strip && k < gallery->n; k++)
        copy_pixels(gallery, gallery->image[k].pixels,
                    (uint8_t *)ht_tensor_data(strip) + k * size);
    return strip;
}

/* The bytes of a file, which goes. NULL after an error. */
static uint8_t *take_file(ht_context *ctx, const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    long size = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : 0;
    uint8_t *byte = size > 0 ? malloc((size_t)size) : NULL;
    if (f) rewind(f);
    *n = byte ? fread(byte, 1, (size_t)size, f) : 0;
    if (f) fclose(f);
    remove(path);
    if (*n) return byte;
    ht_context_fail(ctx, HT_ERROR_FILE, NULL,
                    "%s: expected the images just written there, got none\n"
                    "  hint: does another program write in this folder?",
                    path);
    free(byte);
    return NULL;
}

/* By way of a file, for that is what the writer writes. */
static uint8_t *gallery_png(report *page, const report_gallery *gallery, size_t *n)
{
    char path[OUTPUT_PATH];
    ht_context *ctx = page->out.ctx;
    if (!path_join(ctx, path, page->folder, "report.png.part")) return NULL;
    ht_tensor *strip = gallery_strip(ctx, gallery);
    if (!strip) return NULL;
    ht_status status = ht_png_write(ctx, path, strip);
    ht_tensor_free(strip);
    return status ? NULL : take_file(ctx, path, n);
}

static void put_image(report *page, const report_gallery *gallery, int k)
{
    static const char *const style[] = {"plain", "right", "wrong"};
    const report_image *image = &gallery->image[k];
    fprintf(page->out.file, "<li class=\"%s\"><i class=\"g%d\" style=\"",
            style[image->mark], page->n_galleries);
    fprintf(page->out.file, "background-position:0 %.4f%%\"></i>",
            gallery->n > 1 ? 100.0 * k / (gallery->n - 1) : 0.0);
    report_put(page, image->caption);
    fputs("</li>\n", page->out.file);
}

static void put_gallery(report *page, const report_gallery *gallery, const uint8_t *png,
                        size_t n)
{
    FILE *f = page->out.file;
    fprintf(f, "<style>.g%d{aspect-ratio:%lld/%lld;background-image:url(data:image/png;",
            ++page->n_galleries, (long long)gallery->cols, (long long)gallery->rows);
    fputs("base64,", f);
    put_base64(f, png, n);
    fprintf(f, ")}</style>\n<ul class=\"gallery%s\">\n", gallery->large ? " large" : "");
    for (int k = 0; k < gallery->n; k++) put_image(page, gallery, k);
    fputs("</ul>", f);
}

void report_images(report *page, const report_figure *figure,
                   const report_gallery *gallery)
{
    size_t n = 0;
    FILE *f = page->out.file;
    report_within(page, NULL);
    report_figure_begin(page, figure);
    uint8_t *png = gallery->n ? gallery_png(page, gallery, &n) : NULL;
    if (png && ftell(f) + (long)n / 3 * 4 < 1900000)
        put_gallery(page, gallery, png, n);
    else
        fprintf(f, "<p class=\"note\">%s</p>",
                png ? "Left out: the page would be too large." : "There are none.");
    free(png);
    fputs("</figure>\n", f);
}
