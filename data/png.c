/* SPDX-License-Identifier: MIT */
/* png.c: images out, as PNG (W3C, "Portable Network Graphics", 2003).
 *
 * The format is a signature and chunks around one zlib stream, and zlib is here already.
 * Pixels go out a line at a time, so a picture of any size takes the same memory. Read
 * next: file.c. */
#include "data_internal.h"

#include <string.h>

enum { PNG_WINDOW = 15, PNG_GREY = 0, PNG_RGB = 2 };

/* Length, type, data, and the CRC of the last two. */
static void png_put_chunk(hti_draft *draft, const char *type, const unsigned char *data,
                          size_t n)
{
    unsigned char head[8], tail[4];
    hti_put_big_endian(head, n);
    memcpy(head + 4, type, 4);
    hti_put_big_endian(tail, crc32(crc32(0, head + 4, 4), data, (unsigned)n));
    hti_draft_write(draft, head, sizeof head);
    hti_draft_write(draft, data, n);
    hti_draft_write(draft, tail, sizeof tail);
}

static void png_put_data(hti_draft *draft, const void *data, size_t n)
{
    png_put_chunk(draft, "IDAT", data, n);
}

static void png_put_header(hti_draft *draft, ht_shape shape)
{
    static const unsigned char signature[] = {0x89, 'P',  'N',  'G',
                                              '\r', '\n', 0x1a, '\n'};
    unsigned char header[13] = {[8] = 8, [9] = shape.rank == 3 ? PNG_RGB : PNG_GREY};
    hti_put_big_endian(header, (size_t)shape.dim[1]);
    hti_put_big_endian(header + 4, (size_t)shape.dim[0]);
    hti_draft_write(draft, signature, sizeof signature);
    png_put_chunk(draft, "IHDR", header, sizeof header);
}

/* The byte with filter 0, itself, or 1, its difference from the pixel before. */
static unsigned char png_filtered(const unsigned char *pixel, size_t at, size_t depth,
                                  int filter)
{
    return (unsigned char)(pixel[at] - (filter && at >= depth ? pixel[at - depth] : 0));
}

/* The filter whose bytes, taken as signed, are smallest in sum: what is usual. */
static unsigned char png_choose(const unsigned char *pixel, size_t width, size_t depth)
{
    uint64_t sum[2] = {0};
    for (int filter = 0; filter < 2; filter++)
        for (size_t at = 0; at < width; at++) {
            unsigned char byte = png_filtered(pixel, at, depth, filter);
            sum[filter] += byte < 128 ? byte : 256u - byte;
        }
    return sum[1] < sum[0];
}

/* A line is led by the number of its filter. */
static void png_put_line(hti_output *out, const unsigned char *pixel, size_t width,
                         size_t depth)
{
    unsigned char piece[4096] = {png_choose(pixel, width, depth)}, filter = piece[0];
    size_t held = 1;
    for (size_t at = 0; at < width; at++) {
        if (held == sizeof piece) {
            hti_output_write(out, piece, held);
            held = 0;
        }
        piece[held++] = png_filtered(pixel, at, depth, filter);
    }
    hti_output_write(out, piece, held);
}

static void png_put_pixels(hti_output *out, const ht_tensor *image)
{
    const unsigned char *pixel = ht_tensor_data(image);
    int64_t height = ht_tensor_shape(image).dim[0];
    size_t depth = ht_tensor_shape(image).rank == 3 ? 3 : 1;
    size_t width = ht_tensor_bytes(image) / (size_t)height;
    for (int64_t y = 0; y < height; y++, pixel += width)
        png_put_line(out, pixel, width, depth);
}

static ht_status png_check(ht_context *ctx, const char *path, const ht_tensor *image)
{
    ht_shape shape = ht_tensor_shape(image);
    char text[HT_SHAPE_TEXT];
    if (ht_tensor_dtype(image) != HT_U8)
        return ht_context_fail(ctx, HT_ERROR_DTYPE, NULL,
                               "%s: expected a u8 image, got %s\n"
                               "  hint: scale to 0..255 and copy into a u8 tensor",
                               path, ht_dtype_name(ht_tensor_dtype(image)));
    bool image_like = shape.rank == 2 || (shape.rank == 3 && shape.dim[2] == 3);
    for (int axis = 0; axis < 2 && image_like; axis++)
        image_like = shape.dim[axis] > 0 && shape.dim[axis] <= HTI_PNG_SIDE;
    if (image_like) return HT_OK;
    return ht_context_fail(
        ctx, HT_ERROR_SHAPE, NULL,
        "%s: expected an image (height, width) or (height, width, 3), sides "
        "1 to %d, got %s\n  hint: axes are rows, columns, colours",
        path, HTI_PNG_SIDE, ht_shape_text(shape, text));
}

ht_status ht_png_write(ht_context *ctx, const char *path, const ht_tensor *image)
{
    HT_ASSERT(ctx && path && image, "ht_png_write: context %p, path %p, image %p",
              (void *)ctx, (const void *)path, (const void *)image);
    ht_status status = png_check(ctx, path, image);
    if (status) return status;
    hti_output out;
    hti_output_open(&out, ctx, path);
    png_put_header(&out.draft, ht_tensor_shape(image));
    hti_output_deflate(&out, PNG_WINDOW, 8, png_put_data);
    png_put_pixels(&out, image);
    hti_output_end_deflate(&out);
    png_put_chunk(&out.draft, "IEND", (const unsigned char *)"", 0);
    return hti_output_close(&out);
}
